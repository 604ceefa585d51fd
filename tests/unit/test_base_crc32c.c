/* CRC-32C: known values, any length and alignment, in pieces as in one. */
#include "unit.h"

#include "base/crc32c.h"

/* RFC 3720, appendix B.4 */
static void known_answers(void **state) {
  (void)state;
  uint8_t bytes[32];
  static const struct { int first, step; uint32_t crc; } rows[] = {
    {0, 0, 0x8a9136aa}, {0xff, 0, 0x62a8ab43}, {0, 1, 0x46dd794e}, {31, -1, 0x113fdb5c}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (int k = 0; k < 32; k++) bytes[k] = (uint8_t)(rows[i].first + k * rows[i].step);
    assert_int_equal(sl_crc32c(0, bytes, 32), rows[i].crc);
    assert_int_equal(sl_crc32c_portable(0, bytes, 32), rows[i].crc);
  }
  assert_int_equal(sl_crc32c(0, "123456789", 9), 0xe3069283);
  assert_int_equal(sl_crc32c(0, "", 0), 0);
}

static void every_path_agrees_at_every_length_and_alignment(void **state) {
  (void)state;
  random_seed();
  uint8_t bytes[400];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random_next();
  for (size_t from = 0; from < 9; from++)
    for (size_t len = 0; len + from <= sizeof bytes; len++) {
      uint32_t begin = (uint32_t)random_next();
      assert_int_equal(sl_crc32c(begin, bytes + from, len), sl_crc32c_portable(begin, bytes + from, len));
    }
}

static void goes_on_where_it_stopped(void **state) {
  (void)state;
  random_seed();
  uint8_t bytes[257];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random_next();
  uint32_t whole = sl_crc32c(0, bytes, sizeof bytes);
  for (size_t cut = 0; cut <= sizeof bytes; cut++) {
    uint32_t first = sl_crc32c(0, bytes, cut);
    assert_int_equal(sl_crc32c(first, bytes + cut, sizeof bytes - cut), whole);
    assert_int_equal(sl_crc32c_portable(first, bytes + cut, sizeof bytes - cut), whole);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(known_answers),
    cmocka_unit_test(every_path_agrees_at_every_length_and_alignment),
    cmocka_unit_test(goes_on_where_it_stopped)};
  return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
