/* driver_check: the Kafka room (sync/kafka) against a real broker, without the agent.
 *
 *   driver_check BOOTSTRAP [BROKER_DIR] [SCENARIO...]
 *
 * BROKER_DIR is what broker.sh made, "" for none; with it (and $SIDELOG_BROKER_SH) the scenarios that kill
 * the broker run too; with $SIDELOG_SASL only those for a cluster made with --sasl. One line a scenario, with
 * its figures; exit status 1 when one failed. The loop is a real one: poll(2) on kafka_fd, blocking calls on
 * a thread of their own. */
#include "kafka/kafka.h"
#include "log.h"
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *bootstrap, *broker_dir;
static int failures;
static char run_id[16];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define CHECK(condition, ...)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      failures++;                                                          \
      printf("  FAILED %s:%d: %s: ", __func__, __LINE__, #condition);      \
      printf(__VA_ARGS__);                                                 \
      putchar('\n');                                                       \
    }                                                                      \
  } while (0)
#define OK(f) CHECK(fault_is_ok(&(f)), "%s %s %s", fault_scope_text((f).scope), (f).name, (f).text)

/* ---------------------------------------------------------------- one producer and its loop */

typedef struct host {
  kafka *k;
  uint64_t delivered, failed, transports, errors;
  int64_t last_offset;
  int32_t last_partition;
  uint64_t last_tag;
  fault last_fault, last_error;
} host;

static void delivered(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  host *h = arg;
  h->last_tag = tag;
  if (fault_is_ok(why)) {
    h->delivered++;
    h->last_partition = partition;
    h->last_offset = offset;
  } else {
    h->failed++;
    h->last_fault = *why;
  }
}

static void error(void *arg, const fault *why, bool transport) {
  host *h = arg;
  h->errors++;
  h->transports += transport;
  h->last_error = *why;
}

static void serve(host *h) {
  const kafka_sink sink = {h, delivered, error};
  while (kafka_poll(h->k, 1000, &sink) > 0) continue;
}

typedef struct job {
  fault (*run)(struct job *);
  host *h;
  fault result;
  int timeout_ms, done[2];
  const char *topic;
  const kafka_topic_spec *spec;
  kafka_topic_info *info;
  char *cluster_id;
  double seconds;
} job;

static void *job_main(void *arg) {
  job *j = arg;
  double start = now();
  j->result = j->run(j);
  j->seconds = now() - start;
  if (write(j->done[1], "1", 1) != 1) abort();
  return NULL;
}

/* Runs a blocking call while the loop lives from the descriptor alone. */
static fault await(job *j) {
  pthread_t thread;
  if (pipe(j->done) != 0 || pthread_create(&thread, NULL, job_main, j) != 0) abort();
  for (;;) {
    struct pollfd p[2] = {{kafka_fd(j->h->k), POLLIN, 0}, {j->done[0], POLLIN, 0}};
    serve(j->h);
    poll(p, 2, -1);
    if (p[1].revents) break;
  }
  pthread_join(thread, NULL);
  close(j->done[0]);
  close(j->done[1]);
  serve(j->h);
  return j->result;
}

static fault do_connect(job *j) { return kafka_connect(j->h->k, j->timeout_ms, j->cluster_id); }
static fault do_prepare(job *j) {
  return kafka_prepare_topic(j->h->k, j->topic, j->spec, j->timeout_ms, j->info);
}
static fault do_init(job *j) { return kafka_init_transactions(j->h->k, j->timeout_ms); }
static fault do_commit(job *j) { return kafka_commit(j->h->k, j->timeout_ms); }
static fault do_abort(job *j) { return kafka_abort(j->h->k, j->timeout_ms); }
static fault do_flush(job *j) { return kafka_flush(j->h->k, j->timeout_ms); }

static double last_seconds;
static fault call(host *h, fault (*run)(job *), int timeout_ms) {
  job j = {.run = run, .h = h, .timeout_ms = timeout_ms};
  await(&j);
  last_seconds = j.seconds;
  return j.result;
}
static fault prepare(host *h, const char *topic, const kafka_topic_spec *spec, kafka_topic_info *info) {
  job j = {.run = do_prepare, .h = h, .timeout_ms = 10000, .topic = topic, .spec = spec, .info = info};
  await(&j);
  last_seconds = j.seconds;
  return j.result;
}

static host *host_with(const char *id, int txn_timeout_ms, const kv *properties, size_t count) {
  host *h = calloc(1, sizeof *h);
  kafka_options o = {.brokers = bootstrap, .transactional_id = id, .txn_timeout_ms = txn_timeout_ms,
                     .queue_bytes = 24 << 20, .properties = properties, .property_count = count};
  fault why;
  if (!h || !kafka_new(&o, &h->k, &why)) {
    printf("kafka_new: %s\n", why.text);
    exit(1);
  }
  return h;
}

static host *host_new(const char *id, int txn_timeout_ms) { return host_with(id, txn_timeout_ms, NULL, 0); }

static double host_free(host *h) {
  double start = now();
  kafka_destroy(h->k);
  free(h);
  return now() - start;
}

static const char *name(char *buffer, const char *what) {
  snprintf(buffer, 64, "%s-%s", what, run_id);
  return buffer;
}

static fault produce(host *h, const char *topic, int32_t partition, const char *key, const void *value,
                     size_t len,
                     uint64_t tag) {
  kafka_record r = {.topic = topic, .partition = partition, .value = {value, len}};
  if (key) r.key = (sl_slice){key, strlen(key)};
  return kafka_produce(h->k, &r, tag);
}

static const kafka_topic_spec three = {true, 3, -1, 7 * 86400000LL, false};
static const kafka_topic_spec markers = {true, 50, -1, -1, true};

/* A ready transactional producer with its topic. */
static host *ready(const char *id, const char *topic, const kafka_topic_spec *spec) {
  host *h = host_new(id, 15000);
  kafka_topic_info info;
  fault f = prepare(h, topic, spec, &info);
  OK(f);
  f = call(h, do_init, 10000);
  OK(f);
  return h;
}

/* ---------------------------------------------------------------- scenarios */

static void connect_and_topics(void) {
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

static void bytes(void) {
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

static void commit_and_abort(void) {
  char t[64], id[64], m[64];
  host *h = ready(name(id, "txn"), name(t, "txn"), &three);
  kafka_topic_info info;
  kafka_marker marker;
  const sl_slice key = SL_STR("store-a");
  fault f = prepare(h, name(m, "txn-markers"), &markers, &info);
  OK(f);
  f = kafka_read_marker(h->k, m, 7, key, -1, 10000, &marker);
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
  f = kafka_read_marker(h->k, m, 7, key, -1, 10000, &marker);
  OK(f);
  CHECK(marker.found && marker.len == 7 && memcmp(marker.value, "value-4", 7) == 0 && marker.offset == 8 &&
          marker.end_offset == 10, "%d at %" PRId64 " end %" PRId64, marker.found, marker.offset,
            marker.end_offset);
  free(marker.value);
  double all = now() - start;
  /* from the last aborted one: nothing committed at or above it but the last */
  f = kafka_read_marker(h->k, m, 7, key, 9, 10000, &marker);
  OK(f);
  CHECK(!marker.found, "at %" PRId64, marker.offset);
  f = kafka_read_marker(h->k, m, 7, key, 10, 10000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 10, "end %" PRId64, marker.end_offset);
  f = kafka_read_marker(h->k, m, 7, key, 11, 10000, &marker);
  CHECK(f.scope == SCOPE_CLUSTER && strcmp(f.name, "OFFSET_OUT_OF_RANGE") == 0, "%s %s", f.name, f.text);
  f = kafka_read_marker(h->k, m, 70, key, 0, 10000, &marker);
  CHECK(f.scope == SCOPE_CLUSTER, "%s %s", f.name, f.text);
  f = kafka_read_marker(h->k, "no-such-topic", 7, key, -1, 10000, &marker);
  CHECK(f.scope == SCOPE_TOPIC, "%s %s", f.name, f.text);
  printf("  commit %.1f ms, marker read %.0f ms\n", one_commit * 1e3, all * 1e3);
  /* aborted only */
  f = kafka_begin(h->k);
  produce(h, m, 8, "store-a", "x", 1, 99);
  f = call(h, do_flush, 10000);
  OK(f);
  f = call(h, do_abort, 10000);
  OK(f);
  f = kafka_read_marker(h->k, m, 8, key, -1, 10000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 2, "end %" PRId64, marker.end_offset);
  host_free(h);
}

static void strangers(void) {
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
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 1, 5000, &marker);
  OK(f);
  CHECK(!marker.found && marker.end_offset == 3, "%d end %" PRId64, marker.found, marker.end_offset);
  double nothing = now() - start;
  start = now();
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, 5000, &marker);
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
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, 1500, &marker);
  CHECK(f.scope == SCOPE_CONNECTION && strcmp(f.name, "_TIMED_OUT") == 0, "%s %s", f.name, f.text);
  CHECK(now() - start < 3, "%.1f s", now() - start);
  printf("  past an open transaction: none %.0f ms, below it %.0f ms; behind it: %s\n", nothing * 1e3,
         below * 1e3, f.text);
  f = call(stranger, do_abort, 10000);
  OK(f);
  f = kafka_read_marker(mine->k, t, 3, SL_STR("mine"), 0, 5000, &marker);
  OK(f);
  CHECK(marker.found && marker.offset == 3 && memcmp(marker.value, "two", 3) == 0, "%" PRId64, marker.offset);
  free(marker.value);
  host_free(stranger);
  host_free(mine);
}

static void fencing(void) {
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
  f = kafka_read_marker(b->k, t, 0, SL_STR("k"), -1, 5000, &marker);
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

static int by_value(const void *a, const void *b) { return *(const double *)a > *(const double *)b ? 1 : -1; }

static void lone_latency(void) {
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

static void throughput(void) {
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

static void broker(const char *what) {
  char command[512];
  snprintf(command, sizeof command, "%s %s %s 1 >/dev/null", getenv("SIDELOG_BROKER_SH"), broker_dir, what);
  if (system(command) != 0) printf("  %s failed\n", command);
}

static void outage(void) {
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
  f = kafka_read_marker(h->k, t, 0, SL_STR("k"), -1, 2000, &marker);
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
static void silence(void) {
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

/* The settings own their strings; these are literals. */
static kv pair(const char *key, const char *value) { return (kv){(char *)key, (char *)value}; }

/* On a cluster of broker.sh --sasl. */
static host *user(const char *id, const char *who, const char *password) {
  const kv p[] = {pair("security.protocol", "sasl_plaintext"), pair("sasl.mechanisms", "PLAIN"),
                  pair("sasl.username", who), pair("sasl.password", password)};
  return host_with(id, 15000, p, 4);
}

static void allow(const char *rights) {
  char command[512];
  snprintf(command, sizeof command, "%s %s acls --add --allow-principal User:agent %s >/dev/null",
           getenv("SIDELOG_BROKER_SH"), broker_dir, rights);
  if (system(command) != 0) printf("  %s failed\n", command);
}

static void security(void) {
  char t[64], id[64], m[64], cluster[64], rights[256];
  kafka_topic_info info;
  kafka_marker marker;
  const kafka_topic_spec no = {0};
  host *h = user(NULL, "agent", "wrong");
  job j = {.run = do_connect, .h = h, .timeout_ms = 10000, .cluster_id = cluster};
  fault f = await(&j);
  CHECK(f.scope == SCOPE_CLUSTER && f.class_ == CLASS_NON_RETRYABLE_SECURITY && j.seconds < 4,
        "%s %s %.1f s", f.name,
        f.text, j.seconds);
  printf("  wrong password after %.1f s: %s\n", j.seconds, f.text);
  host_free(h);

  h = user(name(id, "secured"), "agent", "agent");
  j = (job){.run = do_connect, .h = h, .timeout_ms = 10000, .cluster_id = cluster};
  f = await(&j);
  OK(f);
  f = prepare(h, name(t, "secured"), &three, &info);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  printf("  no right to create: %s\n", f.text);
  f = call(h, do_init, 5000);
  CHECK(f.scope == SCOPE_CLUSTER && f.class_ == CLASS_NON_RETRYABLE_SECURITY && f.fatal, "%s %s", f.name,
        f.text);
  printf("  no right to the id: %s\n", f.text);
  host_free(h);

  host *admin = user(NULL, "admin", "admin");
  f = prepare(admin, t, &three, &info);
  OK(f);
  f = prepare(admin, name(m, "secured-markers"), &markers, &info);
  OK(f);
  host_free(admin);
  snprintf(rights, sizeof rights, "--operation Write --operation Describe --transactional-id %s", id);
  allow(rights);
  h = user(id, "agent", "agent");
  f = call(h, do_init, 5000);
  OK(f);
  f = prepare(h, t, &no, &info);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  snprintf(rights, sizeof rights, "--operation Describe --topic %s", t);
  allow(rights);
  f = prepare(h, t, &no, &info);
  OK(f);
  CHECK(info.max_message_bytes == -1, "%" PRId64, info.max_message_bytes);
  /* Describe without Write */
  f = kafka_begin(h->k);
  OK(f);
  produce(h, t, 0, "k", "v", 1, 1);
  f = call(h, do_flush, 3000);
  printf("  no right to write: record %s; flush %s; ", h->last_fault.name, f.name);
  f = call(h, do_commit, 5000);
  printf("commit %s %s (abortable %d fatal %d); ", f.name, fault_scope_text(f.scope), f.abortable, f.fatal);
  CHECK(f.class_ == CLASS_NON_RETRYABLE_SECURITY && f.scope == SCOPE_TOPIC, "%s %s", f.name, f.text);
  f = call(h, do_abort, 5000);
  printf("abort %s (fatal %d)\n", f.scope ? f.name : "ok", f.fatal);
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, 5000, &marker);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  printf("  no right to the marker topic: %s\n", f.text);
  snprintf(rights, sizeof rights, "--operation Describe --operation Write --topic %s", m);
  allow(rights);
  double start = now();
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, 5000, &marker);
  printf("  may not read it, empty: %s (%.1f s)\n", f.scope ? f.text : "ok", now() - start);
  host_free(h);
  h = user(id, "agent", "agent");
  f = call(h, do_init, 5000);
  OK(f);
  f = prepare(h, m, &no, &info);
  OK(f);
  f = kafka_begin(h->k);
  produce(h, m, 0, "k", "v", 1, 1);
  f = call(h, do_commit, 5000);
  OK(f);
  start = now();
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, 5000, &marker);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY && now() - start < 3,
        "%s %s %.1f s", f.name,
        f.text, now() - start);
  printf("  may not read it: %s\n", f.text);
  host_free(h);
}

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
