/* Numbers, lengths and times at the ends of their ranges, in every public function that takes some: each call
 * ends, says what is wrong or does what was asked, and the store stays sound. The sanitizers' runs look for
 * overflows. */
#include "kit.h"

#include <limits.h>
#include <sidelog/dead.h>
#include <sidelog/reader.h>

static const uint64_t numbers[] = {0, 1, 2, UINT64_C(1) << 32, UINT64_C(1) << 48, INT64_MAX,
                                   (uint64_t)INT64_MAX + 1,
                                   UINT64_MAX - 1, UINT64_MAX};
static const int64_t times[] = {0, 1, -1, INT64_MIN, INT64_MIN + 1, INT64_MAX - 60000000, INT64_MAX - 1,
                                INT64_MAX};
#define NUMBERS (sizeof numbers / sizeof *numbers)
#define TIMES (sizeof times / sizeof *times)

static void sound(kit *k, uint64_t events) {
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_int_equal(report.events, events);
}

static void test_lengths(void **state) {
  kit *k = *state;
  const sl_event good = {.topic = SL_STR("t"), .value = SL_STR("v"), .key = SL_STR("k")};
  sl_event e[9];
  for (size_t i = 0; i < 9; i++) e[i] = good;
  e[0].topic.len = e[1].value.len = e[2].key.len = SIZE_MAX;
  e[3].event_id = e[4].type = e[5].tenant = SL_BYTES("x", SIZE_MAX);
  e[6].headers = &(sl_header){SL_STR("h"), SL_BYTES("v", SIZE_MAX)};
  e[7].headers = e[6].headers;
  e[6].header_count = 1;
  e[7].header_count = SIZE_MAX;
  e[8].correlation_id = SL_BYTES(NULL, SIZE_MAX);
  for (size_t i = 0; i < 9; i++) {
    const sl_status status = sl_append(k->store, &e[i], NULL);
    assert_true(status == SL_E_INVALID || status == SL_E_TOO_LARGE);
    assert_int_equal(sl_event_check(k->store, &e[i]), status);
  }
  assert_int_equal(sl_append_many(k->store, &good, SIZE_MAX, NULL, NULL), SL_E_INVALID);
  const sl_query q = {.tenant = SL_BYTES("x", SIZE_MAX)};
  sl_iter *it;
  char out[1][SL_ID_MAX];
  size_t count;
  assert_int_equal(sl_iter_start(k->store, &q, &it), SL_E_INVALID);
  assert_int_equal(sl_resolve(k->store, SL_ID_EVENT, SL_BYTES("x", SIZE_MAX), out, 1, &count), SL_E_INVALID);
  assert_int_equal(sl_full_policy_set(k->store, &(sl_full_policy){.drop_oldest = SL_BYTES("x", SIZE_MAX)}),
                   SL_E_INVALID);
  sound(k, 0);
}

static void test_bounds_of_queries(void **state) {
  kit *k = *state;
  const int64_t before = INT64_C(1000000);
  for (int i = 0; i < 5; i++) kit_append(k, "t", "v");
  for (size_t n = 0; n < NUMBERS * NUMBERS * TIMES * 3; n++) {
    const sl_query q = {.first_seq = numbers[n % NUMBERS], .last_seq = numbers[n / NUMBERS % NUMBERS],
                        .since_us = times[n / NUMBERS / NUMBERS % TIMES],
                        .until_us = times[(n + n / NUMBERS) % TIMES],
                        .limit = n % 5, .flags = (uint32_t)(n / NUMBERS / NUMBERS / TIMES)};
    const uint64_t last = q.last_seq && q.last_seq < 5 ? q.last_seq : 5, first = q.first_seq ? q.first_seq : 1;
    const bool in_time = q.since_us <= before && (q.until_us == 0 || q.until_us > INT64_MAX / 2);
    uint64_t expected = in_time && first <= last ? last - first + 1 : 0, found = 0;
    if (q.limit && q.limit < expected) expected = q.limit;
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, &q, &it));
    while (sl_iter_next(it, &r) == SL_OK) found++;
    sl_iter_close(it);
    assert_int_equal(found, expected);
  }
}

static void test_limits_of_trim(void **state) {
  kit *k = *state;
  for (int i = 0; i < 10; i++) kit_append(k, "t", "v");
  kit_deliver(k, 5);
  for (size_t n = 0; n < NUMBERS * NUMBERS * TIMES; n++) {
    const sl_trim_topic topic = {SL_STR("*"), times[(n + 1) % TIMES]};
    const sl_trim_policy policy = {.max_age_us = times[n % TIMES], .max_events = numbers[n % NUMBERS],
                                   .max_bytes = numbers[n / NUMBERS % NUMBERS],
                                   .budget = numbers[(n + 3) % NUMBERS],
                                   .topics = &topic, .topic_count = n % 2};
    const bool bad = policy.max_age_us < 0 || (policy.topic_count && topic.max_age_us < 0);
    assert_int_equal(sl_trim(k->store, &policy, NULL), bad ? SL_E_INVALID : SL_OK);
  }
  assert_int_equal(kit_head(k).first_seq, 6); /* what is pending stays */
  sound(k, 5);
}

static void test_seqs_and_waits(void **state) {
  kit *k = *state;
  uint64_t last = 0;
  kit_append(k, "t", "v");
  for (size_t i = 0; i < NUMBERS; i++) {
    const uint64_t n = numbers[i];
    assert_int_equal(sl_wait(k->store, n, 0, &last), n < 1 ? SL_OK : SL_TIMEOUT);
    assert_int_equal(sl_cursor_set(k->store, "c", n), n <= 1 ? SL_OK : SL_E_INVALID);
    assert_int_equal(sl_replay(k->store, n, NULL, NULL), n == 1 ? SL_E_INVALID : SL_NOTFOUND);
    assert_int_equal(sl_dead_drop(k->store, n, SL_STR("who"), SL_STR("why")), n == 1 ? SL_E_INVALID : SL_NOTFOUND);
    assert_ok(sl_index_advance(k->store, n, NULL));
  }
  assert_ok(sl_wait(k->store, 0, INT_MAX, &last));
  assert_ok(sl_append_wait(k->store, INT_MAX));
  sl_reader *reader;
  const sl_reader_event *event;
  const sl_reader_options o = {.commit_us = INT64_MAX, .backoff_us = INT64_C(86400000000), .max_attempts = 1000};
  assert_ok(sl_reader_open(k->store, "r", &o, &reader));
  assert_ok(sl_reader_next(reader, INT_MAX, &event));
  assert_int_equal(sl_reader_fail(reader, 1, &(sl_reader_failure){.retry_after_us = INT64_MAX}, NULL),
                   SL_E_INVALID);
  for (size_t i = 0; i < NUMBERS; i++)
    if (numbers[i] != 1) assert_int_equal(sl_reader_ack(reader, numbers[i]), SL_E_INVALID);
  assert_ok(sl_reader_ack(reader, 1));
  sl_reader_close(reader);
  for (size_t i = 0; i < TIMES; i++) {
    const sl_event e = {.topic = SL_STR("t"), .occurred_at_us = times[i]};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  sound(k, 1 + TIMES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_lengths), TEST(test_bounds_of_queries), TEST(test_limits_of_trim),
                                     TEST(test_seqs_and_waits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
