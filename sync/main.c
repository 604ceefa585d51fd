/* sidelogd: drains a sidelog store to Kafka or Redpanda. */
#include "adopt.h"
#include "agent.h"
#include "check.h"
#include "keep.h"
#include <signal.h>
#include <stdio.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Records are allocated by one thread and freed by others. With an arena for each thread of librdkafka's the holes
 * that this leaves doubled what a drain took (70 MiB, and 33 with one arena for all, at the same speed).
 *
 * Librdkafka makes room for a request of everything that waits for its partition, several MB, and uses one of it;
 * the core's tables grow by copying. In the heap each leaves a hole that small allocations then cut up: over two
 * million events it grew from 29 to 49 MB. Mapped, they cost what they use and go back to the system; the heap
 * goes up and down between 31 and 42. */
static void keep_memory_together(void) {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 1536 << 10); /* above a batch */
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
#endif
}

int main(int argc, char **argv) {
  settings s;
  settings_action action;
  keep_memory_together();
  signal(SIGPIPE, SIG_IGN);
  agent_hold_signals(true); /* one that comes now is served once there is a loop to serve it */
  int status = settings_parse_checked(&s, &action, argc, argv, kafka_check_property, stderr);
  if (status == 0 && action == SETTINGS_RUN) return agent_run(&s, argc, argv);
  if (action == SETTINGS_REPLAY) return keep_replay(s.choice, stdout);
  if (action == SETTINGS_CHECK || action == SETTINGS_ADOPT) agent_hold_signals(false);
  if (status == 0 && action == SETTINGS_CHECK) status = check_run(&s, stdout);
  else if (status == 0 && action == SETTINGS_ADOPT) status = adopt_run(&s, stdout);
  else if (status == 0) status = settings_act(action, &s, stdout);
  settings_free(&s);
  return status;
}
