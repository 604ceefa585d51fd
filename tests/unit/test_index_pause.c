/* The rhythm of the indexer: pauses while producers are busy, none for those who are not. */
#include "unit.h"

#include "index_pause.h"

/* Events come at `rate`; each step takes step_us and finds what came since the last. Runs for a second from *now
 * on. */
static unsigned run(index_pause *p, uint64_t *seq, int64_t *now, unsigned rate, int64_t step_us, unsigned *steps) {
  const int64_t end = *now + 1000000;
  unsigned longest = 0;
  double came = 0;
  *steps = 0;
  while (*now < end) {
    const unsigned ms = index_pause_next(p, *seq, *now);
    const int64_t passes = step_us + ms * INT64_C(1000);
    longest = ms > longest ? ms : longest;
    came += (double)rate * (double)passes / 1e6;
    *seq += (uint64_t)came;
    came -= (double)(uint64_t)came;
    *now += passes;
    ++*steps;
  }
  return longest;
}

static void busy_producers_are_met_by_few_steps_however_quick_each_is(void **state) {
  (void)state;
  static const int64_t step_us[] = {200, 1000, 5000};
  for (int i = 0; i < 3; i++) {
    index_pause p = {0};
    uint64_t seq = 1;
    int64_t now = 1;
    unsigned steps;
    assert_int_equal(run(&p, &seq, &now, 40000, step_us[i], &steps), (unsigned)INDEX_PAUSE_MOST_MS);
    (void)run(&p, &seq, &now, 40000, step_us[i], &steps);
    assert_true(steps <= 6);
    assert_true(p.ms > 0);
  }
}

static void a_thousand_events_a_second_never_wait(void **state) {
  (void)state;
  index_pause p = {0};
  uint64_t seq = 1;
  int64_t now = 1;
  unsigned steps;
  assert_int_equal(run(&p, &seq, &now, 1000, 1000, &steps), 0);
  assert_true(steps > 900);
}

static void behind_busy_times_the_next_pause_is_the_last(void **state) {
  (void)state;
  index_pause p = {0};
  uint64_t seq = 1;
  int64_t now = 1;
  unsigned steps;
  (void)run(&p, &seq, &now, 40000, 1000, &steps);
  now += (int64_t)index_pause_next(&p, seq, now) * 1000; /* producers have gone */
  assert_int_equal(index_pause_next(&p, seq + 10, now), 0);
  now += 5000000;
  assert_int_equal(index_pause_next(&p, seq + 11, now), 0);
}

static void a_single_burst_after_quiet_times_does_not_wait(void **state) {
  (void)state;
  index_pause p = {0};
  assert_int_equal(index_pause_next(&p, 100, 1000000), 0);
  assert_int_equal(index_pause_next(&p, 3000, 3000000), 0);
}

static void a_backlog_is_worked_off_without_pauses(void **state) {
  (void)state;
  index_pause p = {0};
  int64_t now = 1;
  for (uint64_t seq = 1; seq < 1000000; seq += INDEX_STEP) {
    assert_int_equal(index_pause_next(&p, seq, now), 0);
    now += 60000;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(busy_producers_are_met_by_few_steps_however_quick_each_is),
    cmocka_unit_test(a_thousand_events_a_second_never_wait),
    cmocka_unit_test(behind_busy_times_the_next_pause_is_the_last),
    cmocka_unit_test(a_single_burst_after_quiet_times_does_not_wait),
    cmocka_unit_test(a_backlog_is_worked_off_without_pauses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
