/* Topics are made and found; what is sent is what is read, byte for byte. */
#include "driver.h"

void connect_and_topics(void) {
  char id[64] = "", a[64], b[64];
  host *h = host_new(NULL, 15000);
  kafka_topic_info info;
  int up, known;
  job j = {.run = do_connect, .h = h, .timeout_ms = 5000, .cluster_id = id};
  fault f = await(&j);
  OK(f);
  CHECK(strlen(id) > 10, "cluster id '%s'", id);
  kafka_brokers(h->k, &up, &known);
  CHECK(up >= 1 && known >= 1, "%d of %d", up, known);
  f = prepare(h, name(a, "made"), &three, &info);
  OK(f);
  CHECK(info.created && info.partitions == 3 && info.max_message_bytes == 1048588, "%d %d %" PRId64,
        info.created,
        info.partitions, info.max_message_bytes);
  printf("  connect %.0f ms, create %.0f ms", j.seconds * 1e3, last_seconds * 1e3);
  f = prepare(h, a, &three, &info);
  OK(f);
  CHECK(!info.created, "created twice");
  printf(", again %.0f ms", last_seconds * 1e3);
  f = prepare(h, name(b, "markers"), &markers, &info);
  OK(f);
  CHECK(info.created && info.partitions == 50, "%d", info.partitions);
  printf(", 50 partitions %.0f ms", last_seconds * 1e3);
  const kafka_topic_spec no = {0};
  f = prepare(h, name(b, "missing"), &no, &info);
  CHECK(f.scope == SCOPE_TOPIC && f.code == 3, "%d %s", f.scope, f.text);
  f = prepare(h, "bad name", &three, &info);
  CHECK(f.scope == SCOPE_TOPIC, "%d %s", f.scope, f.text);
  const kafka_topic_spec greedy = {true, 1, 7, -1, false};
  f = prepare(h, b, &greedy, &info);
  CHECK(f.scope == SCOPE_TOPIC, "%d %s", f.scope, f.text);
  printf(", destroy %.0f ms\n", host_free(h) * 1e3);
}

void bytes(void) {
  char t[64], id[64];
  host *h = ready(name(id, "bytes"), name(t, "bytes"), &three);
  const sl_header headers[] = {{SL_STR("correlation"), SL_STR("c-1")}, {SL_STR("empty"), {NULL, 0}}};
  kafka_record r = {.topic = t, .partition = 1, .headers = headers, .header_count = 2};
  fault f = kafka_begin(h->k);
  OK(f);
  f = kafka_produce(h->k, &r, 1); /* a tombstone without a key */
  OK(f);
  r.value = (sl_slice){"", 0};
  r.key = (sl_slice){"", 0};
  f = kafka_produce(h->k, &r, 2);
  OK(f);
  size_t big = 17 << 20;
  void *p = calloc(1, big);
  r.value = (sl_slice){p, big};
  f = kafka_produce(h->k, &r, 3);
  CHECK(f.scope == SCOPE_RECORD && f.class_ == CLASS_NON_RETRYABLE_VALIDATION, "%d %s", f.scope, f.text);
  free(p);
  f = call(h, do_flush, 10000);
  OK(f);
  CHECK(h->delivered == 2 && kafka_waiting(h->k) == 0 && h->last_partition == 1, "%" PRIu64, h->delivered);
  f = call(h, do_commit, 10000);
  OK(f);
  host_free(h);
}
