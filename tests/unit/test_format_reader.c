/* The codecs of readers/: what they refuse. Their bytes are held by test_format_golden.c. */
#include "unit.h"

#include "format/frame.h"
#include "format/reader.h"

static const sl_reader_state a_state = {.id = 3, .max_attempts = 7, .seq = 1000, .topics = {"orders.*", 8},
                                        .types = {"A,B", 3}};
static const sl_reader_entry an_entry = {.seq = 9, .lane = 77, .has_letter = true,
                                         .letter = {.seq = 9, .attempts = 1, .error_class = {"C", 1}}};
static const sl_drop_note a_note = {
  .number = 1, .seq = 9,
  .texts = {{"r", 1}, {"id", 2}, {"t", 1}, {"T", 1}, {"C", 1}, {"", 0}, {"me", 2}, {"why", 3}}};

static sl_status decode_state(sl_slice bytes) { sl_reader_state s; return sl_reader_state_decode(bytes, &s); }
static sl_status decode_entry(sl_slice bytes) { sl_reader_entry e; return sl_reader_entry_decode(bytes, &e); }
static sl_status decode_note(sl_slice bytes) { sl_drop_note n; return sl_drop_note_decode(bytes, &n); }

static sl_buf encoded[3];
static sl_status (*const decode[3])(sl_slice) = {decode_state, decode_entry, decode_note};

static int setup(void **state) {
  (void)state;
  assert_ok(sl_reader_state_encode(&a_state, &encoded[0]));
  assert_ok(sl_reader_entry_encode(&an_entry, &encoded[1]));
  assert_ok(sl_drop_note_encode(&a_note, &encoded[2]));
  return 0;
}

static int teardown(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) sl_buf_free(&encoded[i]);
  return 0;
}

static void every_bit_counts(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++)
    for (size_t bit = 0; bit < encoded[i].len * 8; bit++) {
      encoded[i].data[bit / 8] ^= (uint8_t)(1u << bit % 8);
      assert_int_equal(decode[i](sl_buf_slice(&encoded[i])), SL_E_CORRUPT);
      encoded[i].data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Also with a checksum that holds: lengths are never trusted. */
static void no_other_length_is_taken(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++)
    for (size_t len = 8; len < encoded[i].len; len++) {
      uint8_t *cut = malloc(len); /* of its own, so that a read behind it is seen */
      memcpy(cut, encoded[i].data, len);
      frame_seal(cut, len, 1);
      /* an entry without a letter */
      if (!(i == 1 && len == 40)) assert_int_equal(decode[i](SL_BYTES(cut, len)), SL_E_CORRUPT);
      free(cut);
    }
}

static void a_newer_version_is_told_from_damage(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    frame_seal(encoded[i].data, encoded[i].len, 2);
    assert_int_equal(decode[i](sl_buf_slice(&encoded[i])), SL_E_VERSION);
    frame_seal(encoded[i].data, encoded[i].len, 1);
  }
}

static void a_letter_of_another_event_is_refused(void **state) {
  (void)state;
  sl_put_u64(encoded[1].data + 8, 10);
  frame_seal(encoded[1].data, encoded[1].len, 1);
  assert_fails(decode_entry(sl_buf_slice(&encoded[1])), SL_E_CORRUPT, "another event");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(every_bit_counts, setup, teardown),
      cmocka_unit_test_setup_teardown(no_other_length_is_taken, setup, teardown),
      cmocka_unit_test_setup_teardown(a_newer_version_is_told_from_damage, setup, teardown),
      cmocka_unit_test_setup_teardown(a_letter_of_another_event_is_refused, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
