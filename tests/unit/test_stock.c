/* The memory of the values that the producer has: nothing is lost or overwritten while librdkafka points to it, and it
 * stays within its bound whatever order the values go in. */
#include "unit.h"

#include "kafka/stock.h"

enum { MOST = 4 << 20, HELD = 4000 };

static uint32_t roll(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u; }

static size_t some_length(uint32_t *seed) {
  const uint32_t kind = roll(seed) >> 24;
  return kind < 4 ? 0 : kind < 8 ? (roll(seed) >> 8) % 400000 : (roll(seed) >> 8) % 3000;
}

static bool is_whole(const stock_entry *e) {
  for (size_t i = 0; i < e->len; i++)
    if (e->value[i] != (uint8_t)(e->tag + i)) return false;
  return true;
}

static void values_come_and_go_in_any_order(void **state) {
  (void)state;
  stock s = {0};
  static stock_entry *held[HELD];
  static uint8_t value[400000];
  uint32_t seed = 7;
  size_t count = 0, bytes = 0;
  for (uint64_t tag = 0; tag < 60000; tag++) {
    const size_t len = some_length(&seed);
    while (count == HELD || (count > 0 && !stock_has_room(&s, len, MOST))) {
      const size_t at = (roll(&seed) >> 8) % count;
      assert_true(is_whole(held[at]));
      bytes -= held[at]->len;
      stock_give(&s, held[at]);
      held[at] = held[--count];
    }
    for (size_t i = 0; i < len; i++) value[i] = (uint8_t)(tag + i);
    stock_entry *e = stock_take(&s, SL_BYTES(value, len));
    assert_non_null(e);
    e->tag = tag;
    bytes += len;
    held[count++] = e;
    assert_true(s.bytes <= MOST);
    assert_int_equal(s.live, count);
    assert_int_equal(s.value_bytes, bytes);
  }
  while (count > 0) {
    assert_true(is_whole(held[--count]));
    stock_give(&s, held[count]);
  }
  assert_int_equal(s.value_bytes, 0);
  stock_free(&s);
}

static void what_a_backlog_needed_is_given_back(void **state) {
  (void)state;
  stock s = {0};
  static stock_entry *held[HELD];
  static const uint8_t value[1000];
  for (size_t i = 0; i < HELD; i++) held[i] = stock_take(&s, SL_BYTES(value, sizeof value));
  assert_true(s.bytes > (size_t)HELD * 1000);
  for (size_t i = 0; i < HELD; i++) stock_give(&s, held[i]);
  assert_non_null(s.spare); /* the next transaction may be as large */
  for (size_t i = 0; i < 3; i++) stock_give(&s, stock_take(&s, SL_BYTES(value, sizeof value)));
  assert_null(s.spare);
  assert_int_equal(s.slabs, 1);
  stock_free(&s);
}

static void a_value_beyond_the_bound_is_taken_alone(void **state) {
  (void)state;
  stock s = {0};
  static const uint8_t value[2 << 20];
  assert_false(stock_has_room(&s, sizeof value, 1 << 20)); /* who holds nothing else takes it all the same */
  stock_entry *e = stock_take(&s, SL_BYTES(value, sizeof value));
  assert_non_null(e);
  assert_false(stock_has_room(&s, 1, 1 << 20));
  stock_give(&s, e);
  assert_true(stock_has_room(&s, 1, 1 << 20));
  stock_take(&s, SL_BYTES(value, 10)); /* of a handle that ends with records in it */
  stock_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_come_and_go_in_any_order),
      cmocka_unit_test(what_a_backlog_needed_is_given_back),
      cmocka_unit_test(a_value_beyond_the_bound_is_taken_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
