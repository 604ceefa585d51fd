/* How long a lone event takes, and how many go in a second. */
#include "driver.h"

static int by_value(const void *a, const void *b) { return *(const double *)a > *(const double *)b ? 1 : -1; }

void lone_latency(void) {
  enum { ROUNDS = 100 };
  char t[64], id[64], fresh[64];
  double took[ROUNDS];
  host *h = ready(name(id, "lone"), name(t, "lone"), &three);
  kafka_topic_info info;
  fault f;
  for (int i = 0; i < ROUNDS; i++) {
    double start = now();
    f = kafka_begin(h->k);
    produce(h, t, -1, "k", "lone event", 10, 1);
    f = call(h, do_flush, 5000);
    OK(f);
    f = call(h, do_commit, 5000);
    OK(f);
    took[i] = now() - start;
    /* Sooner, the coordinator still writes the markers before, and librdkafka asks again after 20 ms. */
    usleep(30000);
  }
  qsort(took, ROUNDS, sizeof *took, by_value);
  f = prepare(h, name(fresh, "lone-fresh"), &three, &info);
  OK(f);
  double start = now();
  f = kafka_begin(h->k);
  produce(h, fresh, -1, "k", "first", 5, 1);
  f = call(h, do_flush, 5000);
  OK(f);
  double first = now() - start;
  CHECK(first < 0.5, "first message to a new topic took %.3f s", first);
  f = call(h, do_commit, 5000);
  OK(f);
  printf("  begin to committed: p50 %.1f ms, p95 %.1f ms; first to a new topic, to flushed: %.1f ms\n",
         took[ROUNDS / 2] * 1e3, took[ROUNDS * 95 / 100] * 1e3, first * 1e3);
  host_free(h);
}

static void fill(host *h, const char *t, int count, const char *value, size_t len, const sl_header *headers,
                 size_t n) {
  for (int i = 0; i < count;) {
    char key[16];
    kafka_record r = {.topic = t, .partition = -1, .value = {value, len}, .headers = headers,
                      .header_count = n};
    snprintf(key, sizeof key, "k%d", i % 1000);
    r.key = (sl_slice){key, strlen(key)};
    fault f = kafka_produce(h->k, &r, (uint64_t)i);
    if (fault_is_ok(&f)) {
      i++;
      if (i % 500 == 0) serve(h);
      continue;
    }
    CHECK(kafka_fault_is_queue_full(&f), "%s", f.text);
    struct pollfd p = {kafka_fd(h->k), POLLIN, 0};
    poll(&p, 1, 1000);
    serve(h);
  }
}

void throughput(void) {
  enum { COUNT = 100000 };
  static char value[1024];
  const sl_header headers[] = {
    {SL_STR("sidelog-store"), SL_STR("0190a0b0-c0d0-7000-8000-000000000000")},
    {SL_STR("sidelog-seq"), SL_STR("123456789")},
    {SL_STR("event_id"), SL_STR("0190a0b0-c0d0-7000-8000-000000000001")},
    {SL_STR("correlation_id"), SL_STR("0190a0b0-c0d0-7000-8000-000000000002")},
    {SL_STR("event_type"), SL_STR("order.created")},
  };
  char t[64], id[64];
  for (size_t i = 0; i < sizeof value; i++) value[i] = (char)('a' + rand() % 26);
  host *h = ready(name(id, "bulk"), name(t, "bulk"), &three);
  for (int round = 0; round < 3; round++) {
    uint64_t before = h->delivered;
    double start = now();
    fault f = kafka_begin(h->k);
    OK(f);
    fill(h, t, COUNT, value, sizeof value, headers, 5);
    f = call(h, do_flush, 30000);
    OK(f);
    f = call(h, do_commit, 10000);
    OK(f);
    double took = now() - start;
    CHECK(h->delivered - before == COUNT, "%" PRIu64, h->delivered - before);
    printf("  %d x 1 KB with 5 headers in a transaction: %.2f s, %.0f /s, commit %.0f ms\n", COUNT, took,
           COUNT / took,
           last_seconds * 1e3);
  }
  host_free(h);
  /* the same through an idempotent producer, without transactions */
  h = host_new(NULL, 15000);
  kafka_topic_info info;
  fault f = prepare(h, t, &three, &info);
  OK(f);
  for (int round = 0; round < 3; round++) {
    double start = now();
    fill(h, t, COUNT, value, sizeof value, headers, 5);
    f = call(h, do_flush, 30000);
    OK(f);
    printf("  idempotent only: %.0f /s\n", COUNT / (now() - start));
  }
  host_free(h);
}
