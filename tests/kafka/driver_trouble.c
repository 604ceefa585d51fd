/* A broker that is killed, and one that says nothing. */
#include "driver.h"

static void broker(const char *what) {
  char command[512];
  snprintf(command, sizeof command, "%s %s %s 1 >/dev/null", getenv("SIDELOG_BROKER_SH"), broker_dir, what);
  if (system(command) != 0) printf("  %s failed\n", command);
}

void outage(void) {
  char t[64], id[64], cluster[64];
  host *h = ready(name(id, "outage"), name(t, "outage"), &three);
  kafka_topic_info info;
  fault f = kafka_begin(h->k);
  produce(h, t, 0, "k", "v", 1, 1);
  f = call(h, do_flush, 5000);
  OK(f);
  broker("kill");
  produce(h, t, 0, "k", "v", 1, 2);
  f = call(h, do_flush, 2000);
  CHECK(f.scope == SCOPE_CONNECTION && last_seconds < 3, "%s %.1f s", f.name, last_seconds);
  f = call(h, do_commit, 2000);
  CHECK(f.scope == SCOPE_CONNECTION && last_seconds < 3, "%s %.1f s", f.name, last_seconds);
  f = call(h, do_abort, 2000);
  CHECK(f.scope != SCOPE_NONE && last_seconds < 3, "%s %s %.1f s", f.name, f.text, last_seconds);
  CHECK(h->transports > 0, "no transport error was told");
  printf("  abort while down: %s; last error: %s\n", f.text, h->last_error.text);
  double destroy = host_free(h);
  CHECK(destroy < 6, "destroy took %.1f s", destroy);
  h = host_new(id, 15000);
  job j = {.run = do_connect, .h = h, .timeout_ms = 2000, .cluster_id = cluster};
  f = await(&j);
  CHECK(f.scope == SCOPE_CONNECTION && j.seconds < 3, "%s %.1f s", f.name, j.seconds);
  f = call(h, do_init, 2000);
  CHECK(f.scope == SCOPE_CONNECTION && last_seconds < 3, "%s %.1f s", f.name, last_seconds);
  f = prepare(h, t, &three, &info);
  CHECK(f.scope == SCOPE_CONNECTION && last_seconds < 12, "%s %.1f s", f.name, last_seconds);
  kafka_marker marker;
  double start = now();
  f = kafka_read_marker(h->k, t, 0, SL_STR("k"), -1, NULL, 2000, &marker);
  CHECK(f.scope == SCOPE_CONNECTION && now() - start < 4, "%s %s %.1f s", f.name, f.text, now() - start);
  double destroy_new = host_free(h);
  CHECK(destroy_new < 6, "destroy took %.1f s", destroy_new);
  h = host_new(id, 15000);
  broker("up");
  start = now();
  f = call(h, do_init, 10000);
  OK(f);
  printf("  destroy while down: %.2f s (transaction open), %.2f s (never connected); init on return %.2f s\n",
         destroy, destroy_new, now() - start);
  host_free(h);
}

/* A broker that is there but answers nothing, and then has two EndTxn in its socket. */
void silence(void) {
  char t[64], id[64];
  host *h = ready(name(id, "silence"), name(t, "silence"), &three);
  fault f = kafka_begin(h->k);
  produce(h, t, 0, "k", "v", 1, 1);
  f = call(h, do_flush, 5000);
  OK(f);
  broker("pause");
  double start = now();
  f = call(h, do_commit, 3000);
  CHECK(f.scope == SCOPE_CONNECTION && last_seconds < 4, "%s %.1f s", f.name, last_seconds);
  f = call(h, do_commit, 9500);
  CHECK(!fault_is_ok(&f), "%.1f s", now() - start);
  printf("  commit of a silent broker after %.1f s: %s %s\n", now() - start, f.name, f.text);
  broker("continue");
  f = call(h, do_commit, 10000);
  CHECK(!fault_is_ok(&f), "a commit that was sent twice passed for certain");
  printf("  and when it speaks again: %s %s\n", f.name, f.text);
  broker("pause");
  double destroy = host_free(h);
  CHECK(destroy < 6, "%.1f s", destroy);
  printf("  destroy while the broker is silent: %.2f s\n", destroy);
  broker("continue");
}
