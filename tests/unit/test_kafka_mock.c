/* Error paths of the Kafka room on librdkafka's mock cluster. Its transactions are stubs: what is proven here
 * is which fault comes out, never that anything is exact (tests/kafka/driver_check.c does that). */
#include "kafka/handle.h"
#include "log.h"
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { API_PRODUCE = 0, API_FETCH = 1, API_METADATA = 3, API_INIT_PRODUCER_ID = 22, API_ADD_PARTITIONS = 24,
      API_END_TXN = 26 };

typedef struct world {
  rd_kafka_t *rk;
  rd_kafka_mock_cluster_t *cluster;
  kafka *k;
  unsigned delivered, failed, errors, transports;
  uint64_t tag;
  fault failure, error;
} world;

static void on_delivered(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  world *w = arg;
  (void)partition, (void)offset;
  w->tag = tag;
  if (fault_is_ok(why)) {
    w->delivered++;
  } else {
    w->failed++;
    w->failure = *why;
  }
}

static void on_error(void *arg, const fault *why, bool transport) {
  world *w = arg;
  w->errors++;
  w->transports += transport;
  if (!w->error.fatal) w->error = *why;
}

static size_t serve(world *w) {
  const kafka_sink sink = {w, on_delivered, on_error, NULL};
  size_t all = 0, some;
  while ((some = kafka_poll(w->k, 7, &sink)) > 0) all += some;
  return all;
}

static int setup(void **state) {
  char error[256];
  world *w = calloc(1, sizeof *w);
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rd_kafka_conf_set_log_cb(conf, NULL);
  log_setup(LEVEL_ERROR, FORMAT_TEXT);
  w->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  assert_non_null(w->rk);
  w->cluster = rd_kafka_mock_cluster_new(w->rk, 1);
  assert_non_null(w->cluster);
  rd_kafka_mock_topic_create(w->cluster, "events", 1, 1);
  *state = w;
  return 0;
}

static int teardown(void **state) {
  world *w = *state;
  kafka_destroy(w->k);
  rd_kafka_mock_cluster_destroy(w->cluster);
  rd_kafka_destroy(w->rk);
  free(w);
  return 0;
}

static kafka_options options_of(world *w, const char *id) {
  return (kafka_options){.brokers = rd_kafka_mock_cluster_bootstraps(w->cluster), .transactional_id = id,
                         .txn_timeout_ms = 5000, .queue_bytes = 1 << 20};
}

static void start(world *w, const char *id) {
  kafka_options o = options_of(w, id);
  fault why;
  assert_true(kafka_new(&o, &w->k, &why));
}

/* ---- blocking calls on a thread of their own, as in the agent ---- */

typedef struct job {
  world *w;
  fault (*run)(kafka *k, int timeout_ms);
  int timeout_ms, done[2];
  fault result;
} job;

static void *job_main(void *arg) {
  job *j = arg;
  j->result = j->run(j->w->k, j->timeout_ms);
  if (write(j->done[1], "1", 1) != 1) abort();
  return NULL;
}

static fault await(world *w, fault (*run)(kafka *, int), int timeout_ms) {
  job j = {.w = w, .run = run, .timeout_ms = timeout_ms};
  pthread_t thread;
  assert_int_equal(pipe(j.done), 0);
  assert_int_equal(pthread_create(&thread, NULL, job_main, &j), 0);
  for (;;) {
    struct pollfd p[2] = {{kafka_fd(w->k), POLLIN, 0}, {j.done[0], POLLIN, 0}};
    serve(w);
    poll(p, 2, -1);
    if (p[1].revents) break;
  }
  pthread_join(thread, NULL);
  close(j.done[0]);
  close(j.done[1]);
  serve(w);
  return j.result;
}

static fault prepare_events(kafka *k, int timeout_ms) {
  kafka_topic_info info;
  const kafka_topic_spec spec = {0};
  return kafka_prepare_topic(k, "events", &spec, timeout_ms, &info);
}

static fault produce(world *w, uint64_t tag) {
  kafka_record r = {.topic = "events", .partition = 0, .key = SL_STR("k"), .value = SL_STR("value")};
  return kafka_produce(w->k, &r, tag);
}

#define assert_ok(f)                                                    \
  do {                                                                  \
    fault f_ = (f);                                                     \
    if (!fault_is_ok(&f_)) fail_msg("%s: %s", f_.name, f_.text);        \
  } while (0)

static void begun(world *w) {
  start(w, "mock");
  assert_ok(await(w, kafka_init_transactions, 5000));
  assert_ok(kafka_begin(w->k));
}

/* ---------------------------------------------------------------- */

/* The settings own their strings; these are literals. */
static kv pair(const char *key, const char *value) { return (kv){(char *)key, (char *)value}; }

static void refused_property(void **state) {
  world *w = *state;
  kafka_options o = options_of(w, NULL);
  const kv bad[] = {pair("no.such.property", "1"), pair("linger.ms", "soon")};
  const kv late[] = {pair("security.protocol", "sasl_plaintext"), pair("sasl.mechanisms", "hunter2")};
  fault why;
  o.properties = bad;
  o.property_count = 1;
  if (!kafka_new(&o, &w->k, &why)) fail_msg("%s", why.text); /* unknown: a warning */
  kafka_destroy(w->k);
  w->k = NULL;
  o.property_count = 2;
  assert_false(kafka_new(&o, &w->k, &why));
  assert_null(w->k);
  assert_int_equal(why.scope, SCOPE_AGENT);
  assert_non_null(strstr(why.text, "linger.ms"));
  o.properties = late;
  assert_false(kafka_new(&o, &w->k, &why)); /* refused by rd_kafka_new, not by rd_kafka_conf_set */
  assert_int_equal(why.scope, SCOPE_AGENT);
}

static void property_check(void **state) {
  char reason[256];
  (void)state;
  assert_int_equal(kafka_check_property("linger.ms", "7", reason, sizeof reason), KAFKA_PROPERTY_KNOWN);
  assert_int_equal(kafka_check_property("linger.ns", "7", reason, sizeof reason), KAFKA_PROPERTY_UNKNOWN);
  assert_int_equal(kafka_check_property("linger.ms", "long", reason, sizeof reason), KAFKA_PROPERTY_BAD);
  assert_true(*reason);
}

static void descriptor_follows_the_queue(void **state) {
  world *w = *state;
  begun(w);
  struct pollfd p = {kafka_fd(w->k), POLLIN, 0};
  serve(w);
  assert_int_equal(poll(&p, 1, 50), 0);
  for (uint64_t i = 0; i < 100; i++) assert_ok(produce(w, i));
  size_t waiting = kafka_waiting(w->k);
  assert_true(waiting >= 100 * 6);
  while (w->delivered < 100) {
    assert_int_equal(poll(&p, 1, 5000), 1); /* never misses an edge */
    serve(w);
  }
  assert_int_equal(w->tag, 99);
  assert_int_equal(kafka_waiting(w->k), 0);
  assert_int_equal(poll(&p, 1, 50), 0);
  assert_ok(await(w, kafka_commit, 5000));
}

static void full_queue(void **state) {
  world *w = *state;
  static char big[3 << 20];
  begun(w);
  kafka_record r = {.topic = "events", .partition = 0, .value = {big, sizeof big}};
  assert_ok(kafka_produce(w->k, &r, 1)); /* larger than the queue, alone in it: taken */
  fault f = produce(w, 2);
  assert_true(kafka_fault_is_queue_full(&f));
  assert_true(f.scope != SCOPE_NONE && f.class_ == CLASS_RETRYABLE_TRANSIENT);
  await(w, kafka_flush, 5000);
  assert_ok(produce(w, 2));
}

/* Small records, then large ones: the headers kept of the first took as much again as may wait. */
static void headers_that_are_kept_make_room(void **state) {
  world *w = *state;
  static char large[32 << 10];
  sl_header headers[8];
  for (size_t i = 0; i < 8; i++) headers[i] = (sl_header){SL_STR("name"), SL_STR("value")};
  begun(w);
  kafka_record r = {.topic = "events", .partition = 0, .value = SL_STR("v"), .headers = headers, .header_count = 8};
  fault f = {0};
  while (fault_is_ok(&f)) f = kafka_produce(w->k, &r, 1);
  assert_true(kafka_fault_is_queue_full(&f));
  assert_ok(await(w, kafka_flush, 5000));
  assert_int_equal(kafka_waiting(w->k), 0);
  const size_t kept = w->k->spare_bytes;
  assert_true(kept > 1 << 19);
  r.value = SL_BYTES(large, sizeof large);
  for (f = (fault){0}; fault_is_ok(&f);) {
    assert_true(kafka_waiting(w->k) + w->k->spare_bytes <= 1 << 20);
    f = kafka_produce(w->k, &r, 2);
  }
  assert_true(kafka_waiting(w->k) > 900 << 10);
}

static void too_large_for_the_handle(void **state) {
  world *w = *state;
  size_t size = 17 << 20;
  char *huge = calloc(1, size);
  begun(w);
  kafka_record r = {.topic = "events", .partition = 0, .value = {huge, size}};
  fault f = kafka_produce(w->k, &r, 1);
  assert_int_equal(f.scope, SCOPE_RECORD);
  assert_int_equal(f.class_, CLASS_NON_RETRYABLE_VALIDATION);
  assert_int_equal(kafka_waiting(w->k), 0);
  free(huge);
}

static void too_large_for_the_topic(void **state) {
  world *w = *state;
  begun(w);
  rd_kafka_mock_push_request_errors(w->cluster, API_PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  assert_ok(produce(w, 7));
  await(w, kafka_flush, 5000);
  assert_int_equal(w->failed, 1);
  assert_int_equal(w->tag, 7);
  assert_int_equal(w->failure.scope, SCOPE_RECORD);
  assert_string_equal(w->failure.name, "MSG_SIZE_TOO_LARGE");
  assert_non_null(strstr(w->failure.text, "events"));
  fault f = await(w, kafka_commit, 5000);
  assert_true(f.abortable);
  assert_false(f.fatal);
  assert_ok(await(w, kafka_abort, 5000));
  assert_ok(kafka_begin(w->k));
}

static void no_right_to_write(void **state) {
  world *w = *state;
  begun(w);
  rd_kafka_mock_push_request_errors(w->cluster, API_PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  assert_ok(produce(w, 1));
  await(w, kafka_flush, 5000);
  assert_int_equal(w->failure.scope, SCOPE_TOPIC);
  assert_int_equal(w->failure.class_, CLASS_NON_RETRYABLE_SECURITY);
}

static void no_right_to_see(void **state) {
  world *w = *state;
  rd_kafka_mock_topic_set_error(w->cluster, "events", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  start(w, NULL);
  fault f = await(w, prepare_events, 5000);
  assert_int_equal(f.scope, SCOPE_TOPIC);
  assert_int_equal(f.class_, CLASS_NON_RETRYABLE_SECURITY);
}

static void no_right_to_the_id(void **state) {
  world *w = *state;
  rd_kafka_mock_push_request_errors(w->cluster, API_INIT_PRODUCER_ID, 1,
                                    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  start(w, "mock");
  fault f = await(w, kafka_init_transactions, 5000);
  assert_int_equal(f.scope, SCOPE_CLUSTER);
  assert_int_equal(f.class_, CLASS_NON_RETRYABLE_SECURITY);
  assert_true(f.fatal);
}

static void fenced(void **state) {
  world *w = *state;
  begun(w);
  rd_kafka_mock_push_request_errors(w->cluster, API_ADD_PARTITIONS, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
  assert_ok(produce(w, 1));
  fault f = await(w, kafka_commit, 5000);
  assert_true(f.fatal && f.fenced);
  assert_int_equal(f.scope, SCOPE_PRODUCER);
  /* The error event says the cause, not that there is one. */
  assert_true(w->error.fatal && w->error.fenced);
  /* And so does every call after. */
  f = produce(w, 2);
  assert_true(f.fatal && f.fenced);
  f = kafka_begin(w->k);
  assert_true(f.fatal && f.fenced);
}

static void commit_answered_once(void **state) {
  world *w = *state;
  begun(w);
  for (int i = 0; i < 3; i++) {
    assert_ok(produce(w, 1));
    assert_ok(await(w, kafka_commit, 5000));
    assert_ok(kafka_begin(w->k));
  }
  /* Refused with an answer, sent again: no copy is on the way. */
  assert_ok(produce(w, 1));
  rd_kafka_mock_push_request_errors(w->cluster, API_END_TXN, 1,
                                    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
  assert_ok(await(w, kafka_commit, 5000));
}

static void commit_whose_answer_was_lost(void **state) {
  world *w = *state;
  begun(w);
  assert_ok(produce(w, 1));
  rd_kafka_mock_push_request_errors(w->cluster, API_END_TXN, 1, RD_KAFKA_RESP_ERR__TRANSPORT);
  fault f = await(w, kafka_commit, 5000);
  assert_string_equal(f.name, "END_TXN_RESENT");
  assert_int_equal(f.scope, SCOPE_PRODUCER);
  assert_true(w->transports > 0);
}

static void lost_connections_are_told_each_time(void **state) {
  world *w = *state;
  begun(w);
  /* librdkafka itself keeps silent on the second one: the same error within 30 s. */
  for (unsigned i = 1; i <= 3; i++) {
    unsigned before = w->transports;
    rd_kafka_mock_push_request_errors(w->cluster, API_PRODUCE, 1, RD_KAFKA_RESP_ERR__TRANSPORT);
    assert_ok(produce(w, i));
    await(w, kafka_flush, 5000);
    assert_true(w->transports > before);
  }
  assert_int_equal(w->delivered, 3);
}

/* Without transactions a record that the broker refuses ends the handle, before a later one can pass it. */
static void gap_ends_the_handle(void **state) {
  world *w = *state;
  start(w, NULL);
  rd_kafka_mock_push_request_errors(w->cluster, API_PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
  assert_ok(produce(w, 1));
  await(w, kafka_flush, 5000);
  assert_int_equal(w->failed, 1);
  assert_string_equal(w->failure.name, "INVALID_TIMESTAMP"); /* the record's own reason stays */
  assert_int_equal(w->failure.scope, SCOPE_RECORD);
  assert_true(w->error.fatal);
  fault f = produce(w, 2);
  assert_true(f.fatal);
  assert_string_equal(f.name, "_GAPLESS_GUARANTEE");
  assert_int_equal(f.scope, SCOPE_PRODUCER);
}

static void destroy_with_records_waiting(void **state) {
  world *w = *state;
  begun(w);
  rd_kafka_mock_broker_set_down(w->cluster, 1);
  for (uint64_t i = 0; i < 200; i++) assert_ok(produce(w, i));
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  kafka_destroy(w->k);
  clock_gettime(CLOCK_MONOTONIC, &b);
  w->k = NULL;
  assert_true(b.tv_sec - a.tv_sec < 6);
}

static fault connect_quickly(kafka *k, int timeout_ms) {
  char id[64];
  return kafka_connect(k, timeout_ms, id);
}

static void nobody_there(void **state) {
  world *w = *state;
  rd_kafka_mock_broker_set_down(w->cluster, 1);
  start(w, "mock");
  fault f = await(w, connect_quickly, 700);
  assert_int_equal(f.scope, SCOPE_CONNECTION);
  f = await(w, kafka_init_transactions, 700);
  assert_int_equal(f.scope, SCOPE_CONNECTION);
  f = await(w, prepare_events, 700);
  assert_int_equal(f.scope, SCOPE_CONNECTION);
  kafka_marker marker;
  f = kafka_read_marker(w->k, "events", 0, SL_STR("k"), -1, NULL, 700, &marker);
  assert_int_equal(f.scope, SCOPE_CONNECTION);
  int up, known;
  kafka_brokers(w->k, &up, &known);
  assert_int_equal(up, 0);
  kafka_destroy(NULL);
}

static void until_alone(world *w, bool alone) {
  struct pollfd p = {kafka_fd(w->k), POLLIN, 0};
  for (int looks = 0; (kafka_alone_since_us(w->k) > 0) != alone; looks++) {
    assert_true(looks < 500);
    serve(w);
    poll(&p, 1, 20);
  }
}

/* An idle agent whose brokers had gone said that all was well until it had something to send. */
static void brokers_that_go_while_nothing_is_sent(void **state) {
  world *w = *state;
  start(w, "mock");
  assert_ok(await(w, kafka_init_transactions, 5000));
  assert_int_equal(kafka_alone_since_us(w->k), 0);
  for (int turn = 0; turn < 2; turn++) {
    rd_kafka_mock_broker_set_down(w->cluster, 1);
    until_alone(w, true);
    rd_kafka_mock_broker_set_up(w->cluster, 1);
    until_alone(w, false);
  }
}

static int resolve_all_to_here(const char *node, const char *service, const struct addrinfo *hints,
                               struct addrinfo **result, void *opaque) {
  (void)opaque;
  if (node) return getaddrinfo("127.0.0.1", service, hints, result);
  freeaddrinfo(*result);
  return 0;
}

static void until_woken(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  char byte;
  assert_int_equal(poll(&p, 1, 5000), 1);
  assert_int_equal(read(fd, &byte, 1), 1);
}

/* Each change of such a connection was one of a new broker's: the old one stayed up for ever. */
static void a_broker_with_a_long_name(void **state) {
  world *w = *state;
  char brokers[300], name[300], error[200];
  int woken[2];
  const char *port = strrchr(rd_kafka_mock_cluster_bootstraps(w->cluster), ':');
  assert_non_null(port);
  snprintf(brokers, sizeof brokers, "%0200d%s", 0, port);
  assert_int_equal(pipe(woken), 0);
  wire *seen = wire_new(woken[1]);
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rd_kafka_conf_set_log_cb(conf, NULL);
  rd_kafka_conf_set_resolve_cb(conf, resolve_all_to_here);
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
  rd_kafka_conf_set(conf, "reconnect.backoff.ms", "10", NULL, 0);
  wire_attach(seen, conf);
  rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  assert_non_null(rk);
  until_woken(woken[0]);
  wire_one(seen, name, sizeof name);
  rd_kafka_mock_broker_set_down(w->cluster, 1);
  until_woken(woken[0]);
  assert_int_equal(wire_up(seen), 0);
  for (int looks = 0; wire_alone_since_us(seen) == 0; looks++) {
    assert_true(looks < 500);
    rd_kafka_poll(rk, 20);
  }
  assert_string_equal(name, brokers);
  rd_kafka_destroy(rk);
  wire_free(seen);
  close(woken[0]);
  close(woken[1]);
}

static fault read_marker(kafka *k, int timeout_ms) {
  kafka_marker marker = {0};
  const fault f = kafka_read_marker(k, "events", 0, SL_STR("k"), -1, NULL, timeout_ms, &marker);
  free(marker.value);
  return f;
}

/* The topic lost what was to be read between the question where it begins and the reading. */
static void a_marker_that_goes_while_it_is_read(void **state) {
  world *w = *state;
  start(w, NULL);
  assert_ok(produce(w, 1));
  assert_ok(await(w, kafka_flush, 5000));
  rd_kafka_mock_push_request_errors(w->cluster, API_FETCH, 1, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
  const fault f = await(w, read_marker, 5000);
  assert_string_equal(f.name, "OFFSET_OUT_OF_RANGE");
  if (!strstr(f.text, "events [0] has no offset 0 any more")) fail_msg("%s", f.text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(refused_property),       TEST(property_check),          TEST(descriptor_follows_the_queue),
    TEST(full_queue),             TEST(headers_that_are_kept_make_room),
    TEST(too_large_for_the_handle), TEST(too_large_for_the_topic),
    TEST(no_right_to_write),      TEST(no_right_to_see),         TEST(no_right_to_the_id),
    TEST(fenced),                 TEST(commit_answered_once),    TEST(commit_whose_answer_was_lost),
    TEST(lost_connections_are_told_each_time), TEST(gap_ends_the_handle),
    TEST(destroy_with_records_waiting),        TEST(nobody_there),
    TEST(brokers_that_go_while_nothing_is_sent),
    TEST(a_broker_with_a_long_name),           TEST(a_marker_that_goes_while_it_is_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
