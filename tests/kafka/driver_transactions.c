/* Transactions: ends, markers, strangers in the same partition, fencing. */
#include "driver.h"

void commit_and_abort(void) {
  char t[64], id[64], m[64];
  host *h = ready(name(id, "txn"), name(t, "txn"), &three);
  kafka_topic_info info;
  kafka_marker marker;
  const sl_slice key = SL_STR("store-a");
  fault f = prepare(h, name(m, "txn-markers"), &markers, &info);
  OK(f);
  f = kafka_read_marker(h->k, m, 7, key, -1, NULL, 10000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 0, "found %d end %" PRId64, marker.found, marker.end_offset);
  double one_commit = 0;
  for (int i = 0; i < 5; i++) {
    char v[16];
    snprintf(v, sizeof v, "value-%d", i);
    f = kafka_begin(h->k);
    OK(f);
    produce(h, t, -1, "k", "event", 5, 10);
    produce(h, m, 7, "store-a", v, strlen(v), 99);
    f = call(h, do_flush, 10000);
    OK(f);
    f = i == 3 ? call(h, do_abort, 10000) : call(h, do_commit, 10000);
    OK(f);
    if (i == 4) one_commit = last_seconds;
  }
  double start = now();
  f = kafka_read_marker(h->k, m, 7, key, -1, NULL, 10000, &marker);
  OK(f);
  CHECK(marker.found && marker.len == 7 && memcmp(marker.value, "value-4", 7) == 0 && marker.offset == 8 &&
          marker.end_offset == 10, "%d at %" PRId64 " end %" PRId64, marker.found, marker.offset,
            marker.end_offset);
  free(marker.value);
  double all = now() - start;
  /* what was acknowledged once: an aborted record, another one's place, the end of a transaction, what was not
   * read */
  static const struct { int64_t offset, from; kafka_sight sight; } sought[] = {
    {6, -1, SIGHT_SAME}, {4, -1, SIGHT_OTHER}, {7, -1, SIGHT_NOTHING}, {6, 8, SIGHT_UNKNOWN},
    {10, -1, SIGHT_UNKNOWN}};
  for (size_t i = 0; i < sizeof sought / sizeof *sought; i++) {
    const kafka_sought one = {sought[i].offset, SL_STR("value-3")};
    f = kafka_read_marker(h->k, m, 7, key, sought[i].from, &one, 10000, &marker);
    OK(f);
    CHECK(marker.sought == sought[i].sight && marker.offset == 8, "%zu: %d", i, (int)marker.sought);
    free(marker.value);
  }
  /* from the last aborted one: nothing committed at or above it but the last */
  f = kafka_read_marker(h->k, m, 7, key, 9, NULL, 10000, &marker);
  OK(f);
  CHECK(!marker.found, "at %" PRId64, marker.offset);
  f = kafka_read_marker(h->k, m, 7, key, 10, NULL, 10000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 10, "end %" PRId64, marker.end_offset);
  f = kafka_read_marker(h->k, m, 7, key, 11, NULL, 10000, &marker);
  CHECK(f.scope == SCOPE_CLUSTER && strcmp(f.name, "OFFSET_OUT_OF_RANGE") == 0, "%s %s", f.name, f.text);
  f = kafka_read_marker(h->k, m, 70, key, 0, NULL, 10000, &marker);
  CHECK(f.scope == SCOPE_CLUSTER, "%s %s", f.name, f.text);
  f = kafka_read_marker(h->k, "no-such-topic", 7, key, -1, NULL, 10000, &marker);
  CHECK(f.scope == SCOPE_TOPIC, "%s %s", f.name, f.text);
  printf("  commit %.1f ms, marker read %.0f ms\n", one_commit * 1e3, all * 1e3);
  /* aborted only */
  f = kafka_begin(h->k);
  produce(h, m, 8, "store-a", "x", 1, 99);
  f = call(h, do_flush, 10000);
  OK(f);
  f = call(h, do_abort, 10000);
  OK(f);
  f = kafka_read_marker(h->k, m, 8, key, -1, NULL, 10000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 2, "end %" PRId64, marker.end_offset);
  host_free(h);
}

void strangers(void) {
  char t[64], id[64], other[64];
  host *stranger = ready(name(other, "stranger"), name(t, "strangers"), &markers);
  host *mine = ready(name(id, "mine"), t, &markers);
  kafka_marker marker;
  fault f = kafka_begin(mine->k);
  produce(mine, t, 3, "mine", "one", 3, 1);
  f = call(mine, do_commit, 10000);
  OK(f);
  f = kafka_begin(stranger->k);
  produce(stranger, t, 3, "stranger", "open", 4, 1);
  f = call(stranger, do_flush, 5000); /* and now it hangs */
  OK(f);
  double start = now();
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 1, NULL, 5000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 3, "%d end %" PRId64, marker.found, marker.end_offset);
  double nothing = now() - start;
  start = now();
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, NULL, 5000, &marker);
  OK(f);
  CHECK(marker.found && marker.offset == 0, "%d", marker.found);
  free(marker.value);
  double below = now() - start;
  /* ours behind the stranger's: only the end of that transaction tells */
  f = kafka_begin(mine->k);
  produce(mine, t, 3, "mine", "two", 3, 1);
  f = call(mine, do_commit, 10000);
  OK(f);
  start = now();
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, NULL, 1500, &marker);
  CHECK(f.scope == SCOPE_CONNECTION && strcmp(f.name, "_TIMED_OUT") == 0, "%s %s", f.name, f.text);
  CHECK(now() - start < 3, "%.1f s", now() - start);
  printf("  past an open transaction: none %.0f ms, below it %.0f ms; behind it: %s\n", nothing * 1e3,
         below * 1e3, f.text);
  f = call(stranger, do_abort, 10000);
  OK(f);
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, NULL, 5000, &marker);
  OK(f);
  CHECK(marker.found && marker.offset == 3 && memcmp(marker.value, "two", 3) == 0, "%" PRId64, marker.offset);
  free(marker.value);
  host_free(stranger);
  host_free(mine);
}

void fencing(void) {
  char t[64], id[64];
  host *a = ready(name(id, "fence"), name(t, "fence"), &three);
  kafka_marker marker;
  fault f = kafka_begin(a->k);
  produce(a, t, 0, "k", "in doubt", 8, 1);
  f = call(a, do_flush, 5000);
  OK(f);
  host *b = host_new(id, 15000);
  f = call(b, do_init, 10000);
  OK(f);
  double init = last_seconds;
  /* in doubt no more: the newcomer's INIT ended it */
  f = kafka_read_marker(b->k, t, 0, SL_STR("k"), -1, NULL, 5000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 2, "%d end %" PRId64, marker.found, marker.end_offset);
  f = call(a, do_commit, 10000);
  CHECK(f.scope == SCOPE_PRODUCER && f.fenced && f.fatal, "%s %s fatal %d", f.name, f.text, f.fatal);
  fault again = kafka_begin(a->k);
  CHECK(again.fatal && again.fenced, "%s %s", again.name, again.text);
  printf("  init over an open transaction %.0f ms; fenced: %s %s\n", init * 1e3, f.name, f.text);
  host_free(a);
  f = kafka_begin(b->k);
  OK(f);
  produce(b, t, 0, "k", "v", 1, 1);
  f = call(b, do_commit, 10000);
  OK(f);
  host_free(b);
}
