/* What a look keeps for the next one is only of the same snapshot. LMDB's number of a snapshot may be older than
 * what it shows: of a reader that was stopped in the middle of its begin while others committed twice. With more
 * threads than processors that is one of a million begins. */
#include "kit.h"

#include "base/clock.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <stdatomic.h>

enum { READERS = 4, SECONDS = 4 };

static sl_store *store;
static _Atomic bool stop;
static _Atomic unsigned failed, opened, later;

static void *append(void *arg) {
  const sl_event e = {.topic = SL_STR("t"), .value = SL_STR("v"), .flags = SL_EVENT_RELAXED};
  while (!stop) failed += sl_append(store, &e, NULL) != SL_OK;
  return arg;
}

static void *look(void *arg) {
  while (!stop) {
    log_view *view;
    sl_parts parts;
    uint64_t found;
    if (log_view_open(store, &view) != SL_OK) {
      failed++;
      continue;
    }
    opened++;
    later += log_view_next(view, log_view_head(view)->last_seq + 1, true, &found, &parts) == SL_OK;
    log_view_close(view);
  }
  return arg;
}

static void test_a_head_is_of_the_snapshot_that_it_is_told_of(void **state) {
  kit *k = *state;
  pthread_t threads[READERS + 1];
  store = k->store;
  for (size_t i = 0; i <= READERS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, i ? look : append, NULL), 0);
  const int64_t until = sl_clock_monotonic_us() + SECONDS * INT64_C(1000000);
  while (sl_clock_monotonic_us() < until) (void)sl_wait(store, UINT64_MAX, 100, NULL);
  stop = true;
  for (size_t i = 0; i <= READERS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(failed, 0);
  assert_true(opened > 0);
  assert_int_equal(later, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_a_head_is_of_the_snapshot_that_it_is_told_of, kit_setup, kit_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
