/* driver_check: the Kafka room (sync/kafka) against a real broker, without the agent.
 *
 *   driver_check BOOTSTRAP [BROKER_DIR] [SCENARIO...]
 *
 * BROKER_DIR is what broker.sh made, "" for none; with it (and $SIDELOG_BROKER_SH) the scenarios that kill
 * the broker run too; with $SIDELOG_SASL only those for a cluster made with --sasl. One line a scenario, with
 * its figures; exit status 1 when one failed. The loop is a real one: poll(2) on kafka_fd, blocking calls on
 * a thread of their own. */
#include "driver.h"
#include "log.h"

const char *bootstrap, *broker_dir;
int failures;
char run_id[16];

typedef struct scenario {
  const char *name;
  void (*run)(void);
  bool kills, sasl;
} scenario;

static const scenario scenarios[] = {
  {"connect-and-topics", connect_and_topics, false, false},
  {"bytes", bytes, false, false},
  {"commit-and-abort", commit_and_abort, false, false},
  {"strangers", strangers, false, false},
  {"fencing", fencing, false, false},
  {"lone-latency", lone_latency, false, false},
  {"throughput", throughput, false, false},
  {"outage", outage, true, false},
  {"silence", silence, true, false},
  {"security", security, true, true},
};

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc < 2) {
    fputs("usage: driver_check BOOTSTRAP [BROKER_DIR] [SCENARIO...]\n", stderr);
    return 2;
  }
  bootstrap = argv[1];
  broker_dir = argc > 2 ? argv[2] : "";
  log_setup(getenv("SIDELOG_DEBUG") ? LEVEL_DEBUG : LEVEL_ERROR, FORMAT_TEXT);
  snprintf(run_id, sizeof run_id, "%08lx", (unsigned long)getpid() << 12 ^ (unsigned long)time(NULL));
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    bool wanted = argc <= 3;
    int before = failures;
    double start = now();
    for (int a = 3; a < argc; a++) wanted |= strcmp(argv[a], scenarios[i].name) == 0;
    if (!wanted || (scenarios[i].kills && (!*broker_dir || !getenv("SIDELOG_BROKER_SH")))) continue;
    if (scenarios[i].sasl != (getenv("SIDELOG_SASL") != NULL)) continue;
    printf("%s\n", scenarios[i].name);
    scenarios[i].run();
    printf("%s %s (%.1f s)\n", failures == before ? "ok" : "NOT OK", scenarios[i].name, now() - start);
  }
  return failures ? 1 : 0;
}
