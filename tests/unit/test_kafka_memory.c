/* No memory in the Kafka room: the caller hears of it, and nothing is taken for done. */
#include "fail_malloc.h"
#include "kafka/kafka.h"
#include "log.h"
#include "unit.h"

static kafka *handle(void) {
  const kafka_options options = {.brokers = "127.0.0.1:1", .txn_timeout_ms = 5000, .queue_bytes = 1 << 20};
  kafka *k = NULL;
  fault why;
  log_setup(LEVEL_ERROR, FORMAT_TEXT);
  assert_true(kafka_new(&options, &k, &why));
  return k;
}

/* It said that all was well, and the record was nowhere: its report would never have come. */
static void a_record_of_a_new_topic(void **state) {
  (void)state;
  kafka *k = handle();
  const kafka_record record = {.topic = "events", .partition = 0, .key = SL_STR("k"), .value = SL_STR("v")};
  countdown = 0;
  fault f = kafka_produce(k, &record, 1);
  assert_int_equal(countdown, -1); /* it was wanted */
  assert_int_equal(kafka_waiting(k), 0);
  assert_int_equal(f.scope, SCOPE_AGENT);
  assert_string_equal(f.name, "_CRIT_SYS_RESOURCE");
  f = kafka_produce(k, &record, 1);
  assert_true(fault_is_ok(&f));
  assert_true(kafka_waiting(k) > 0);
  kafka_destroy(k);
}

/* It was the topic that was blamed: its events went to a lane. */
static void the_look_up_of_a_new_topic(void **state) {
  (void)state;
  kafka *k = handle();
  kafka_topic_ask ask = {.topic = "events"};
  for (long n = 0;; n++) {
    countdown = n;
    ask.why = (fault){0};
    const fault f = kafka_prepare_topics(k, &ask, 1, 10);
    const bool all_was_had = countdown >= 0;
    const fault_scope scope = fault_is_ok(&f) ? ask.why.scope : f.scope;
    countdown = -1;
    if (all_was_had) assert_int_equal(scope, SCOPE_CONNECTION); /* nobody is there */
    else if (scope != SCOPE_AGENT) assert_int_equal(scope, SCOPE_CONNECTION);
    assert_in_range(n, 0, 100);
    if (!all_was_had) continue;
    assert_true(n > 3);
    break;
  }
  kafka_destroy(k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_record_of_a_new_topic),
                                     cmocka_unit_test(the_look_up_of_a_new_topic)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
