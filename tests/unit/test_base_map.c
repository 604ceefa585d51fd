/* The map against an array: keys that meet in few places, so that what is removed has neighbours to move up. */
#include "unit.h"

#include "base/map.h"

enum { KEYS = 300, STEPS = 200000 };

static void test_it_holds_what_was_put(void **state) {
  (void)state;
  static char marks[KEYS];
  char *there[KEYS] = {NULL};
  sl_map map = {0};
  size_t count = 0;
  random_seed();
  assert_null(sl_map_get(&map, 1));
  assert_null(sl_map_take(&map, 1));
  for (int step = 0; step < STEPS; step++) {
    const size_t i = random_below(KEYS);
    const uint64_t key = i % 2 ? i : (uint64_t)i << 40; /* low ones, and some that differ above only */
    if (random_below(5) < 2) {
      assert_ptr_equal(sl_map_take(&map, key), there[i]);
      count -= there[i] != NULL;
      there[i] = NULL;
    } else {
      assert_true(sl_map_reserve(&map));
      count += there[i] == NULL;
      there[i] = &marks[random_below(KEYS)];
      sl_map_put(&map, key, there[i]);
    }
    assert_int_equal(map.count, count);
    const size_t other = random_below(KEYS);
    assert_ptr_equal(sl_map_get(&map, other % 2 ? other : (uint64_t)other << 40), there[other]);
  }
  sl_map_free(&map);
  sl_map_free(&map);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_it_holds_what_was_put)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
