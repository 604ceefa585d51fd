/* Blocks of receipts, letters and recreations: what was encoded is decoded, and nothing else. */
#include "unit.h"

#include "base/text.h"
#include "format/frame.h"
#include "format/receipt.h"

static sl_buf buf;

static int tear_down(void **state) {
  (void)state;
  sl_buf_free(&buf);
  return 0;
}

static sl_receipt random_receipt(void) {
  switch (random_below(6)) {
    case 0: return (sl_receipt){SL_VERDICT_SENT, (int32_t)random_below(1000),
    (int64_t)random_below(1u << 30) - 1};
    case 1: return (sl_receipt){SL_VERDICT_DUPLICATE, -1, 1 + (int64_t)random_below(1u << 30)};
    case 2: return (sl_receipt){SL_VERDICT_DEAD, -1, 0};
    case 3: return (sl_receipt){SL_VERDICT_DROPPED, -1, 0};
    case 4: return (sl_receipt){SL_VERDICT_LANE, -1, (int64_t)random_next()};
    default: return (sl_receipt){SL_VERDICT_NONE, -1, 0};
  }
}

static void blocks_of_every_size_come_back(void **state) {
  (void)state;
  random_seed();
  static sl_receipt all[SL_RECEIPT_BLOCK_MAX];
  for (uint32_t count = 1; count <= SL_RECEIPT_BLOCK_MAX; count = count < 40 ? count + 1 : count * 2 + 80) {
    if (count > 3000) count = SL_RECEIPT_BLOCK_MAX;
    for (uint32_t i = 0; i < count; i++) all[i] = random_receipt();
    sl_receipt_block head = {.first_seq = 1 + (random_next() >> 2), .attempt = random_next(),
                             .settled_us = (int64_t)random_next(), .count = count};
    sl_buf_reset(&buf);
    assert_ok(sl_receipt_block_encode(&head, all, &buf));
    assert_true(buf.len < 64u << 10);
    sl_receipt_block whole, peeked;
    assert_ok(sl_receipt_block_decode(sl_buf_slice(&buf), &whole));
    assert_ok(sl_receipt_block_peek(sl_buf_slice(&buf), &peeked));
    assert_ptr_equal(whole.entries, peeked.entries);
    assert_int_equal(whole.count, peeked.count);
    assert_int_equal(whole.first_seq, peeked.first_seq);
    assert_int_equal(whole.first_seq, head.first_seq);
    assert_int_equal(whole.attempt, head.attempt);
    assert_int_equal(whole.settled_us, head.settled_us);
    assert_int_equal(whole.count, count);
    sl_receipt r;
    for (uint32_t i = 0; i < count; i++) {
      assert_ok(sl_receipt_at(&whole, head.first_seq + i, &r));
      assert_true(r.verdict == all[i].verdict && r.partition == all[i].partition && r.place == all[i].place);
    }
    assert_int_equal(sl_receipt_at(&whole, head.first_seq - 1, &r), SL_NOTFOUND);
    assert_int_equal(sl_receipt_at(&whole, head.first_seq + count, &r), SL_NOTFOUND);
    assert_int_equal(sl_receipt_at(&whole, UINT64_MAX, &r), SL_NOTFOUND);
  }
}

static void what_a_verdict_does_not_use_is_ignored(void **state) {
  (void)state;
  sl_receipt_block head = {.first_seq = 5, .count = 2}, back;
  sl_receipt r;
  sl_buf_reset(&buf);
  assert_ok(sl_receipt_block_encode(&head, (sl_receipt[]){{SL_VERDICT_DEAD, 7, 9}, {SL_VERDICT_NONE, 0, 0}},
                                    &buf));
  assert_ok(sl_receipt_block_decode(sl_buf_slice(&buf), &back));
  assert_ok(sl_receipt_at(&back, 5, &r));
  assert_int_equal(r.partition, -1);
  assert_int_equal(r.place, 0);
  assert_ok(sl_receipt_at(&back, 6, &r));
  assert_int_equal(r.partition, -1);
}

static void nonsense_is_not_written(void **state) {
  (void)state;
  sl_receipt_block head = {.first_seq = 5, .count = 1};
  static const sl_receipt bad[] = {
    {6, -1, 0}, {255, -1, 0}, {SL_VERDICT_SENT, -1, 5}, {SL_VERDICT_SENT, 0, -2},
    {SL_VERDICT_DUPLICATE, -1, 0}};
  sl_buf_reset(&buf);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_fails(sl_receipt_block_encode(&head, &bad[i], &buf), SL_E_INVALID, "receipt of seq 5");
  sl_receipt good = {SL_VERDICT_DEAD, -1, 0};
  head.count = 0;
  assert_int_equal(sl_receipt_block_encode(&head, &good, &buf), SL_E_INVALID);
  head.count = SL_RECEIPT_BLOCK_MAX + 1;
  assert_int_equal(sl_receipt_block_encode(&head, &good, &buf), SL_E_INVALID);
  head = (sl_receipt_block){.first_seq = 0, .count = 1};
  assert_int_equal(sl_receipt_block_encode(&head, &good, &buf), SL_E_INVALID);
  head.first_seq = UINT64_MAX;
  assert_int_equal(sl_receipt_block_encode(&head, &good, &buf), SL_E_INVALID);
  assert_int_equal(buf.len, 0);
}

static void every_bit_of_a_block_counts(void **state) {
  (void)state;
  random_seed();
  sl_receipt all[20];
  for (int i = 0; i < 20; i++) all[i] = random_receipt();
  sl_receipt_block head = {.first_seq = 77, .attempt = 3, .settled_us = 5, .count = 20}, back;
  sl_buf_reset(&buf);
  assert_ok(sl_receipt_block_encode(&head, all, &buf));
  for (size_t bit = 0; bit < buf.len * 8; bit++) {
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(sl_receipt_block_decode(sl_buf_slice(&buf), &back), SL_E_CORRUPT);
    /* a point look-up may miss damage, but never leaves the bytes */
    sl_receipt r;
    if (!sl_receipt_block_peek(sl_buf_slice(&buf), &back))
      for (uint32_t i = 0; i < back.count; i++) (void)sl_receipt_at(&back, back.first_seq + i, &r);
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t len = 0; len < buf.len; len++) {
    assert_int_equal(sl_receipt_block_decode(SL_BYTES(buf.data, len), &back), SL_E_CORRUPT);
    assert_int_equal(sl_receipt_block_peek(SL_BYTES(buf.data, len), &back), SL_E_CORRUPT);
  }
  sl_buf_append(&buf, "", 1);
  assert_int_equal(sl_receipt_block_peek(sl_buf_slice(&buf), &back), SL_E_CORRUPT);
}

static const sl_letter sample = {
  .seq = 1, .attempt = 2, .first_failure_us = 3, .last_failure_us = INT64_MIN, .attempts = UINT32_MAX,
  .code = INT32_MIN, .error_class = {"C", 1}, .error_code = {"E", 1}, .error_text = {"why", 3},
  .topic = {"t", 1}};

static void every_bit_of_a_letter_counts(void **state) {
  (void)state;
  sl_letter back;
  sl_buf_reset(&buf);
  assert_ok(sl_letter_encode(&sample, &buf));
  assert_ok(sl_letter_decode(sl_buf_slice(&buf), &back));
  assert_int_equal(back.last_failure_us, INT64_MIN);
  assert_int_equal(back.attempts, UINT32_MAX);
  assert_int_equal(back.code, INT32_MIN);
  assert_slice(back.error_text, "why");
  for (size_t bit = 0; bit < buf.len * 8; bit++) {
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(sl_letter_decode(sl_buf_slice(&buf), &back), SL_E_CORRUPT);
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t len = 0; len < buf.len; len++)
    assert_int_equal(sl_letter_decode(SL_BYTES(buf.data, len), &back), SL_E_CORRUPT);
}

/* Who dropped a letter, when and why stand together or not at all. */
static void a_letter_that_is_half_dropped_is_refused(void **state) {
  (void)state;
  sl_letter letter = sample, back;
  letter.dropped_us = 5;
  sl_buf_reset(&buf);
  assert_ok(sl_letter_encode(&letter, &buf));
  const size_t len = buf.len;
  const size_t pairs = 8, when = len - 5; /* the map's head; the value of key 11, then 12 "" and 13 "" */
  assert_int_equal(buf.data[pairs], 0x8d);
  assert_int_equal(buf.data[when], 5);
  for (unsigned gone = 0; gone <= 2; gone++) {
    buf.data[pairs] = (uint8_t)(0x8d - gone);
    frame_seal(buf.data, len - 2 * gone, buf.data[0]);
    assert_int_equal(sl_letter_decode(SL_BYTES(buf.data, len - 2 * gone), &back), gone ? SL_E_CORRUPT : SL_OK);
  }
  buf.data[pairs] = 0x8d;
  buf.data[when] = 0;
  frame_seal(buf.data, len, buf.data[0]);
  assert_int_equal(sl_letter_decode(SL_BYTES(buf.data, len), &back), SL_E_CORRUPT);
}

static void a_long_error_text_is_cut_between_characters(void **state) {
  (void)state;
  char text[4002];
  for (size_t i = 0; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
  for (size_t shift = 0; shift < 3; shift++) {
    sl_letter letter = sample, back;
    memset(text, 'x', shift);
    for (size_t i = shift; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    letter.error_text = SL_BYTES(text, 4000);
    sl_buf_reset(&buf);
    assert_ok(sl_letter_encode(&letter, &buf));
    assert_ok(sl_letter_decode(sl_buf_slice(&buf), &back));
    assert_in_range(back.error_text.len, 1022, 1024);
    assert_true(sl_utf8_valid(back.error_text));
  }
  sl_letter letter = sample;
  letter.error_code = SL_BYTES(text, 256);
  assert_fails(sl_letter_encode(&letter, &buf), SL_E_INVALID, "more than 255 bytes");
}

static void every_bit_of_a_recreation_counts(void **state) {
  (void)state;
  uint8_t bytes[SL_RECREATION_MOST];
  char longest[256];
  memset(longest, 't', sizeof longest);
  sl_recreation mark = {.attempt = 9, .seq = 70, .noticed_us = -5, .topic = SL_STR("orders.v1")}, back;
  const size_t len = sl_recreation_encode(&mark, bytes);
  assert_ok(sl_recreation_decode(SL_BYTES(bytes, len), &back));
  assert_int_equal(back.noticed_us, -5);
  assert_slice(back.topic, "orders.v1");
  assert_true(sl_recreation_covers(&back, 8, 1000) && sl_recreation_covers(&back, 9, 69));
  assert_false(sl_recreation_covers(&back, 9, 70) || sl_recreation_covers(&back, 10, 1));
  for (size_t bit = 0; bit < len * 8; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(sl_recreation_decode(SL_BYTES(bytes, len), &back), SL_E_CORRUPT);
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t cut = 0; cut < len; cut++)
    assert_int_equal(sl_recreation_decode(SL_BYTES(bytes, cut), &back), SL_E_CORRUPT);
  frame_seal(bytes, len, 2);
  assert_int_equal(sl_recreation_decode(SL_BYTES(bytes, len), &back), SL_E_VERSION);
  mark.topic = (sl_slice){0};
  assert_int_equal(sl_recreation_encode(&mark, bytes), 0);
  mark.topic = SL_BYTES(longest, 256);
  assert_int_equal(sl_recreation_encode(&mark, bytes), 0);
  mark.topic.len = 255;
  assert_ok(sl_recreation_decode(SL_BYTES(bytes, sl_recreation_encode(&mark, bytes)), &back));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_of_every_size_come_back),
    cmocka_unit_test(what_a_verdict_does_not_use_is_ignored),
    cmocka_unit_test(nonsense_is_not_written),
    cmocka_unit_test(every_bit_of_a_block_counts),
    cmocka_unit_test(every_bit_of_a_letter_counts),
    cmocka_unit_test(every_bit_of_a_recreation_counts),
    cmocka_unit_test(a_letter_that_is_half_dropped_is_refused),
    cmocka_unit_test(a_long_error_text_is_cut_between_characters)};
  return cmocka_run_group_tests_name("receipts and letters", tests, NULL, tear_down);
}
