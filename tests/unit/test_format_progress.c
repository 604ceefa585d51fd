/* Progress: one form for each value, and whatever is not that form is refused. */
#include "unit.h"

#include "base/crc32c.h"
#include "format/progress.h"

static sl_buf buf;
static sl_lane lanes[SL_LANES_MAX];
static sl_progress back;

static int tear_down(void **state) {
  (void)state;
  sl_buf_free(&buf);
  return 0;
}

static const sl_progress sample = {
  .seq = 1000, .dlq_no = 3, .attempt = 77, .incarnation = {1, 2, 3}, .lane_count = 2,
  .lanes = (const sl_lane[]){{{"a.v1", 4}, 10}, {{"b.v1", 4}, 1000}}};

static void every_bit_and_every_byte_counts(void **state) {
  (void)state;
  sl_buf_reset(&buf);
  assert_ok(sl_progress_encode(&sample, &buf));
  for (size_t bit = 0; bit < buf.len * 8; bit++) {
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(sl_progress_decode(sl_buf_slice(&buf), &back, lanes), SL_E_CORRUPT);
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t len = 0; len < buf.len; len++)
    assert_int_equal(sl_progress_decode(SL_BYTES(buf.data, len), &back, lanes), SL_E_CORRUPT);
  sl_buf_append(&buf, "", 1);
  assert_int_equal(sl_progress_decode(sl_buf_slice(&buf), &back, lanes), SL_E_CORRUPT);
}

static void random_progress_comes_back(void **state) {
  (void)state;
  random_seed();
  static char names[SL_LANES_MAX][8];
  static sl_lane some[SL_LANES_MAX];
  sl_buf again = {0};
  for (int i = 0; i < 300; i++) {
    sl_progress p = {.seq = random_next() >> random_below(64), .dlq_no = random_next() >> random_below(64),
                     .attempt = random_next() >> random_below(64), .lanes = some};
    for (int k = 0; k < 16; k++) p.incarnation[k] = (uint8_t)random_next();
    p.lane_count = i == 0 ? SL_LANES_MAX : random_below(30);
    for (size_t k = 0; k < p.lane_count; k++) {
      int len = snprintf(names[k], sizeof names[k], "t%04zu", k * (i == 0 ? 1 : 3));
      some[k] = (sl_lane){{names[k], (size_t)len}, p.seq ? random_next() % p.seq : 0};
    }
    sl_buf_reset(&buf);
    assert_ok(sl_progress_encode(&p, &buf));
    assert_ok(sl_progress_decode(sl_buf_slice(&buf), &back, lanes));
    assert_int_equal(back.seq, p.seq);
    assert_int_equal(back.dlq_no, p.dlq_no);
    assert_int_equal(back.attempt, p.attempt);
    assert_memory_equal(back.incarnation, p.incarnation, 16);
    assert_int_equal(back.lane_count, p.lane_count);
    for (size_t k = 0; k < p.lane_count; k++) {
      assert_true(sl_slice_eq(back.lanes[k].topic, some[k].topic));
      assert_int_equal(back.lanes[k].seq, some[k].seq);
    }
    sl_buf_reset(&again);
    assert_ok(sl_progress_encode(&back, &again));
    assert_true(sl_slice_eq(sl_buf_slice(&buf), sl_buf_slice(&again)));
  }
  sl_buf_free(&again);
}

static void lanes_keep_their_rules(void **state) {
  (void)state;
  sl_progress p = {.seq = 10, .lane_count = 2};
  sl_buf_reset(&buf);
  sl_buf_append(&buf, "kept", 4);
  p.lanes = (const sl_lane[]){{SL_STR("b"), 1}, {SL_STR("a"), 1}};
  assert_fails(sl_progress_encode(&p, &buf), SL_E_INVALID, "ascending");
  p.lanes = (const sl_lane[]){{SL_STR("a"), 1}, {SL_STR("a"), 1}};
  assert_fails(sl_progress_encode(&p, &buf), SL_E_INVALID, "ascending");
  p.lanes = (const sl_lane[]){{SL_STR("a"), 1}, {SL_STR("b"), 11}};
  assert_fails(sl_progress_encode(&p, &buf), SL_E_INVALID, "ahead of the cursor");
  p.lanes = (const sl_lane[]){{SL_STR(""), 1}, {SL_STR("b"), 1}};
  assert_fails(sl_progress_encode(&p, &buf), SL_E_INVALID, "topic");
  p.lane_count = SL_LANES_MAX + 1;
  assert_fails(sl_progress_encode(&p, &buf), SL_E_INVALID, "1025 lanes");
  assert_int_equal(buf.len, 4);
}

/* Puts a checksum that holds on bytes of any form. */
static sl_status decode_sealed(const char *bytes, size_t len) {
  uint8_t crc[6] = {0xc4, 4};
  sl_buf_reset(&buf);
  sl_buf_append(&buf, bytes, len);
  sl_put_u32(crc + 2, sl_crc32c(0, bytes, len));
  sl_buf_append(&buf, crc, 6);
  return sl_progress_decode(sl_buf_slice(&buf), &back, lanes);
}
#define I16 "\xc4\x10" "0123456789abcdef"
#define SEALED(text) decode_sealed(text, sizeof(text) - 1)

static void has_one_form(void **state) {
  (void)state;
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x90"), SL_OK);
  assert_int_equal(SEALED("\x97\x01\xcc\x05\x00\x01" I16 "\x90"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\xd0\x05\x00\x01" I16 "\x90"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\xdc\x00\x07\x01\x05\x00\x01" I16 "\x90"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x98\x01\x05\x00\x01" I16 "\x90\x00"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x90\x00"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01\xc4\x02xx\x90"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x91\xa1x"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x92\xa1x\x05"), SL_OK);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x92\xa1x\x06"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\x94\xa1y\x05\xa1x\x05"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x01\x05\x00\x01" I16 "\xdc\x08\x02"), SL_E_CORRUPT);
  assert_int_equal(SEALED("\x97\x00\x05\x00\x01" I16 "\x90"), SL_E_CORRUPT);
  assert_int_equal(SEALED(""), SL_E_CORRUPT);
}

static void a_newer_version_is_told_from_damage(void **state) {
  (void)state;
  assert_int_equal(SEALED("\x93\x02\xa3new"), SL_E_VERSION);
  buf.data[3] ^= 1;
  assert_int_equal(sl_progress_decode(sl_buf_slice(&buf), &back, lanes), SL_E_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_bit_and_every_byte_counts),
    cmocka_unit_test(random_progress_comes_back),
    cmocka_unit_test(lanes_keep_their_rules),
    cmocka_unit_test(has_one_form),
    cmocka_unit_test(a_newer_version_is_told_from_damage)};
  return cmocka_run_group_tests_name("progress", tests, NULL, tear_down);
}
