/* Times in the log: ranges by search, eras of a clock that stepped back. */
#include "kit.h"

#include "store/log_inner.h"

/* An append as of a clock reading: the newest record's time is what counts, so it is written by hand. */
static void append_at(kit *k, int64_t us) {
  sl_log *log = k->store->log;
  db_txn *txn;
  uint64_t last;
  int64_t newest;
  sl_buf bytes = {0};
  assert_ok(db_begin_write(log->env, false, &txn));
  assert_ok(log_newest(txn, &last, &newest));
  uint64_t seq = last + 1;
  sl_parts parts = {.appended_us = us, .topic = SL_STR("t"), .type = SL_STR("t"), .event_id = SL_STR("x")};
  if (last > 0 && us < newest) {
    if (newest - us > 60000000) assert_ok(log_era_begin(txn, seq));
    else parts.clamp_us = (uint32_t)(newest - us);
  }
  assert_ok(sl_record_encode(&parts, &bytes));
  assert_ok(db_append(txn, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&bytes)));
  assert_ok(db_commit(txn));
  sl_buf_free(&bytes);
}

static void expect_ranges(kit *k, int64_t since, int64_t until, const char *expected) {
  log_view *view;
  log_range ranges[8];
  size_t count;
  char text[256] = "";
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_time_ranges(view, since, until, ranges, 8, &count));
  log_view_close(view);
  for (size_t i = 0; i < count; i++)
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d-%d", i ? " " : "", (int)ranges[i].first,
             (int)ranges[i].last);
  assert_string_equal(text, expected);
}

static const int64_t S = 1000000;

static void test_time_ranges_are_found_by_search(void **state) {
  kit *k = *state;
  for (int i = 1; i <= 100; i++) append_at(k, i * 100 * S);
  expect_ranges(k, 0, 0, "1-100");
  expect_ranges(k, 5000 * S, 0, "50-100");
  expect_ranges(k, 5000 * S + 1, 0, "51-100");
  /* A clamped time may be a minute above the raw one, so the end is generous by that. */
  expect_ranges(k, 5000 * S, 6000 * S, "50-60");
  expect_ranges(k, 20000 * S, 0, "");
  expect_ranges(k, 0, 30 * S, "");
  /* Holes: whatever trim left, the ranges cover what is there. */
  uint64_t gone[60];
  for (uint64_t i = 0; i < 60; i++) gone[i] = i + 20;
  assert_ok(log_remove(k->store, gone, 60));
  expect_ranges(k, 5000 * S, 0, "20-100"); /* from the hole on */
  expect_ranges(k, 8100 * S, 0, "81-100");
}

static void test_a_step_back_of_the_clock_starts_an_era(void **state) {
  kit *k = *state;
  for (int i = 1; i <= 10; i++) append_at(k, i * 100 * S);
  append_at(k, 1000 * S - 30 * S);                               /* 11: half a minute back: clamped */
  append_at(k, INT64_C(2145916800) * S);                         /* 12: in 2038 */
  for (int i = 13; i <= 20; i++) append_at(k, i * 100 * S);      /* back again */
  expect_ranges(k, 1300 * S, 1400 * S, "13-14");
  expect_ranges(k, 0, 1100 * S, "1-11");
  expect_ranges(k, 1500 * S, INT64_C(2000000000) * S, "15-20");
  expect_ranges(k, INT64_C(2100000000) * S, 0, "12-12");
  log_view *view;
  log_era *eras;
  size_t count;
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_eras(view, &eras, &count));
  assert_int_equal(count, 2);
  assert_int_equal(eras[0].last, 12);
  assert_int_equal(eras[0].bound_us, 1300 * S); /* 2038 came before 1300 */
  free(eras);
  log_view_close(view);
}

/* Whatever the clock did: no event of a span of time is outside the ranges given for it. */
static void test_no_event_is_missed_by_a_search_for_its_time(void **state) {
  kit *k = *state;
  enum { N = 400 };
  int64_t times[N + 1], now = INT64_C(1700000000) * S;
  random_seed();
  for (int i = 1; i <= N; i++) {
    size_t dice = random_below(40);
    now += dice == 0   ? -(int64_t)random_below(4000) * S
           : dice == 1 ? (int64_t)random_below(4000) * S
           : dice < 10 ? -(int64_t)random_below(50) * S / 10
                       : (int64_t)random_below(20) * S;
    append_at(k, times[i] = now);
  }
  for (int turn = 0; turn < 300; turn++) {
    int64_t since = times[1 + random_below(N)], until = since + (int64_t)random_below(3000) * S + 1;
    log_view *view;
    log_range ranges[64];
    size_t count, max = 1 + random_below(64);
    assert_ok(log_view_open(k->store, &view));
    assert_ok(log_view_time_ranges(view, since, until, ranges, max, &count));
    log_view_close(view);
    for (size_t i = 1; i < count; i++) assert_true(ranges[i].first > ranges[i - 1].last);
    for (uint64_t seq = 1; seq <= N; seq++) {
      if (times[seq] < since || times[seq] >= until) continue;
      size_t i = 0;
      while (i < count && !(seq >= ranges[i].first && seq <= ranges[i].last)) i++;
      if (i == count) fail_msg("event %d of %lld is not in the ranges", (int)seq, (long long)times[seq]);
    }
  }
}

static void test_a_record_from_the_future_does_not_stop_the_clock(void **state) {
  kit *k = *state;
  append_at(k, INT64_C(2145916800) * S);
  uint64_t seq = kit_append(k, "t", "now");
  log_view *view;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_get(view, seq, true, &parts));
  assert_true(parts.appended_us < INT64_C(2145916800) * S);
  assert_int_equal(parts.clamp_us, 0);
  log_view_close(view);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_time_ranges_are_found_by_search),
    TEST(test_a_step_back_of_the_clock_starts_an_era),
    TEST(test_no_event_is_missed_by_a_search_for_its_time),
    TEST(test_a_record_from_the_future_does_not_stop_the_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
