/* Records: what was encoded is decoded, and any bit that flips, cut or extra byte is refused. */
#include "unit.h"

#include "format/frame.h"
#include "format/record.h"

static sl_buf buf;

static int tear_down(void **state) {
  (void)state;
  sl_buf_free(&buf);
  return 0;
}

#define UUID "0190a5d2-1fa3-7abc-8def-0123456789ab"

/* A random record whose slices stand in a pool of random bytes. */
static uint8_t pool[4096];
static sl_header pool_headers[20];

static sl_slice random_slice(size_t most, bool may_be_empty) {
  size_t len = random_below(most + 1);
  if (len == 0 && !may_be_empty) len = 1;
  return (sl_slice){pool + random_below(sizeof pool - len), len};
}

static sl_slice random_id(bool may_be_none) {
  static char uuids[8][36];
  static size_t next;
  size_t kind = random_below(may_be_none ? 4 : 3);
  if (kind == 3) return (sl_slice){0};
  if (kind == 2) return random_slice(255, false);
  char *text = uuids[next++ % 8];
  memcpy(text, UUID, 36);
  for (int i = 0; i < 36; i++)
    if (text[i] != '-') text[i] = "0123456789abcdef"[random_below(16)];
  return (sl_slice){text, 36};
}

static void random_parts(sl_parts *p) {
  *p = (sl_parts){.appended_us = (int64_t)random_next(), .clamp_us = (uint32_t)random_next(),
                  .occurred_us = random_below(2) ? (int64_t)random_next() : 0,
                  .topic_id = (uint32_t)random_below(4) * 21845,
                  .type_id = (uint32_t)random_below(4) * 21845};
  if (p->topic_id == SL_NAME_INLINE) p->topic = random_slice(249, false);
  if (p->type_id == SL_NAME_INLINE) p->type = random_slice(255, true);
  p->event_id = random_id(false);
  p->correlation_id = random_id(true);
  p->causation_id = random_id(true);
  if (random_below(2)) p->key = random_slice(1000, true);
  if (random_below(2)) p->tenant = random_slice(255, true);
  if (random_below(2)) p->source = random_slice(255, true);
  if (random_below(4) == 0) {
    p->flags = SL_RECORD_REPLAY;
    p->origin_seq = random_next() >> random_below(64);
  }
  p->header_count = random_below(2) ? random_below(20) : 0;
  p->headers = pool_headers;
  for (size_t i = 0; i < p->header_count; i++)
    pool_headers[i] = (sl_header){random_slice(255, false), random_slice(300, true)};
  p->value = random_slice(2000, true);
}

static bool same_names_and_ids(const sl_parts *a, const sl_parts *b) {
  return a->flags == b->flags && a->appended_us == b->appended_us && a->clamp_us == b->clamp_us &&
         a->occurred_us == b->occurred_us && a->topic_id == b->topic_id && a->type_id == b->type_id &&
         sl_slice_eq(a->topic, b->topic) && sl_slice_eq(a->type, b->type) &&
         sl_slice_eq(a->event_id, b->event_id) && sl_slice_eq(a->correlation_id, b->correlation_id) &&
         sl_slice_eq(a->causation_id, b->causation_id) && a->origin_seq == b->origin_seq;
}

static void random_records_come_back(void **state) {
  (void)state;
  uint64_t seed = random_seed();
  for (size_t i = 0; i < sizeof pool; i++) pool[i] = (uint8_t)random_next();
  for (int round = 0; round < 20000; round++) {
    sl_parts in, out, peeked;
    random_parts(&in);
    sl_buf_reset(&buf);
    sl_buf_append(&buf, "before", 6);
    assert_ok(sl_record_encode(&in, &buf));
    assert_memory_equal(buf.data, "before", 6);
    sl_slice bytes = {buf.data + 6, buf.len - 6};
    assert_ok(sl_record_decode(bytes, &out));
    assert_ok(sl_record_peek(bytes, &peeked));
    bool ok = same_names_and_ids(&in, &out) && same_names_and_ids(&in, &peeked) &&
              sl_slice_eq(in.key, out.key) && !in.key.data == !out.key.data &&
              sl_slice_eq(in.tenant, out.tenant) && sl_slice_eq(in.source, out.source) &&
              sl_slice_eq(in.value, out.value) && in.header_count == out.header_count;
    sl_header headers[20];
    assert_ok(sl_record_headers(&out, headers));
    for (size_t i = 0; i < in.header_count && ok; i++)
      ok = sl_slice_eq(headers[i].name, in.headers[i].name) && sl_slice_eq(headers[i].value,
                                                                           in.headers[i].value);
    if (!ok) fail_msg("round %d of seed %llu", round, (unsigned long long)seed);
  }
}

static const sl_header two_headers[] = {{{"a", 1}, {"1", 1}}, {{"b", 1}, {NULL, 0}}};
static const sl_parts sample = {
  .appended_us = 1, .occurred_us = 2, .clamp_us = 3, .topic_id = 4, .event_id = {UUID, 36},
  .correlation_id = {"text id", 7}, .type = {"TYPE", 4}, .key = {"k", 1}, .tenant = {"t", 1},
  .source = {"s", 1},
  .headers = two_headers, .header_count = 2, .value = {"value", 5}, .flags = SL_RECORD_REPLAY,
  .origin_seq = 300};

static void every_bit_counts(void **state) {
  (void)state;
  sl_parts out;
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&sample, &buf));
  for (size_t bit = 0; bit < buf.len * 8; bit++) {
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_fails(sl_record_decode(sl_buf_slice(&buf), &out), SL_E_CORRUPT, "checksum");
    /* A peek may overlook damage, but takes none for a newer version: readers would stop instead of going on. */
    assert_int_not_equal(sl_record_peek(sl_buf_slice(&buf), &out), SL_E_VERSION);
    buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  assert_ok(sl_record_decode(sl_buf_slice(&buf), &out));
}

static void every_truncation_is_refused(void **state) {
  (void)state;
  sl_parts out;
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&sample, &buf));
  for (size_t len = 0; len < buf.len; len++) {
    uint8_t *exact = malloc(len + !len);
    memcpy(exact, buf.data, len);
    assert_int_equal(sl_record_decode(SL_BYTES(exact, len), &out), SL_E_CORRUPT);
    assert_int_equal(sl_record_peek(SL_BYTES(exact, len), &out), SL_E_CORRUPT);
    free(exact);
  }
  sl_buf_append(&buf, "", 1);
  assert_int_equal(sl_record_decode(sl_buf_slice(&buf), &out), SL_E_CORRUPT);
  assert_int_equal(sl_record_peek(sl_buf_slice(&buf), &out), SL_E_CORRUPT);
}

/* Structure is checked also where the checksum holds: it may have been made by another program. */
static sl_status decode_sealed(size_t at, uint8_t byte) {
  sl_parts out;
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&sample, &buf));
  buf.data[at] = byte;
  frame_seal(buf.data, buf.len, at == 0 ? byte : 1);
  return sl_record_decode(sl_buf_slice(&buf), &out);
}

static void a_checksum_does_not_excuse_a_wrong_structure(void **state) {
  (void)state;
  assert_int_equal(decode_sealed(0, 1), SL_OK);
  assert_int_equal(decode_sealed(0, 0), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(0, 2), SL_E_VERSION);
  assert_int_equal(decode_sealed(0, 255), SL_E_VERSION);
  assert_int_equal(decode_sealed(1, 0), SL_E_CORRUPT);  /* origin without the replay flag */
  assert_int_equal(decode_sealed(1, 2), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(2, 0), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(2, 1), SL_E_CORRUPT);  /* a text id that no attribute holds,
  or the reverse */
  assert_int_equal(decode_sealed(2, 0x29), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(2, 0x49), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(3, 1), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(30, 9), SL_E_CORRUPT); /* a type number beside the inline type */
  assert_int_equal(decode_sealed(32, 0), SL_E_CORRUPT);
  assert_int_equal(decode_sealed(39, 0xff), SL_E_CORRUPT);
  /* every byte of the attributes at every value: refused or read, never beyond the bytes */
  for (size_t at = 40; at < buf.len; at++)
    for (int byte = 0; byte < 256; byte++) (void)decode_sealed(at, (uint8_t)byte);
}

static void a_tombstone_keeps_who_and_when_and_loses_what(void **state) {
  (void)state;
  sl_parts before, after;
  sl_buf tomb = {0};
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&sample, &buf));
  assert_ok(sl_record_drop(sl_buf_slice(&buf), 77, &tomb));
  assert_ok(sl_record_decode(sl_buf_slice(&buf), &before));
  assert_ok(sl_record_decode(sl_buf_slice(&tomb), &after));
  assert_int_equal(after.flags, before.flags | SL_RECORD_DROPPED);
  assert_int_equal(after.dropped_us, 77);
  assert_true(sl_slice_eq(after.event_id, before.event_id));
  assert_true(sl_slice_eq(after.correlation_id, before.correlation_id));
  assert_true(sl_slice_eq(after.causation_id, before.causation_id));
  assert_true(sl_slice_eq(after.topic, before.topic));
  assert_true(sl_slice_eq(after.type, before.type));
  assert_int_equal(after.appended_us, before.appended_us);
  assert_int_equal(after.clamp_us, before.clamp_us);
  assert_int_equal(after.occurred_us, before.occurred_us);
  assert_int_equal(after.origin_seq, before.origin_seq);
  assert_null(after.key.data);
  assert_int_equal(after.header_count + after.tenant.len + after.source.len + after.value.len, 0);
  /* and nothing may stand there that went with the value */
  sl_parts odd = sample;
  sl_buf_reset(&buf);
  odd.flags |= SL_RECORD_DROPPED;
  odd.dropped_us = 77;
  assert_fails(sl_record_encode(&odd, &buf), SL_E_INVALID, "out of range");
  sl_buf_free(&tomb);
}

static void attributes_have_a_limit(void **state) {
  (void)state;
  char *big = calloc(1, SL_MAX_ATTRIBUTES + 1);
  sl_parts p = {.topic_id = 1, .type_id = 1, .event_id = SL_STR(UUID), .value = SL_STR("v")};
  sl_buf_reset(&buf);
  sl_buf_append(&buf, "kept", 4);
  p.key = SL_BYTES(big, SL_MAX_ATTRIBUTES - 5); /* and 1 of the map, 1 of the number, 3 of the length */
  assert_ok(sl_record_encode(&p, &buf));
  assert_int_equal(buf.len, 4 + 40 + 16 + SL_MAX_ATTRIBUTES + 1);
  sl_buf_reset(&buf);
  for (size_t len = SL_MAX_ATTRIBUTES - 4; len <= SL_MAX_ATTRIBUTES + 1; len++) {
    p.key.len = len;
    assert_fails(sl_record_encode(&p, &buf), SL_E_TOO_LARGE, "headers");
    assert_int_equal(buf.len, 0);
  }
  p.key = (sl_slice){0};
  sl_header *many = calloc(40000, sizeof *many);
  p.headers = many;
  p.header_count = 40000;
  assert_fails(sl_record_encode(&p, &buf), SL_E_TOO_LARGE, "headers");
  p.header_count = 0;
  p.value.len = (size_t)SL_MAX_VALUE + 1;
  assert_fails(sl_record_encode(&p, &buf), SL_E_TOO_LARGE, "value");
  p.value = SL_STR("v");
  p.topic_id = 65536;
  assert_fails(sl_record_encode(&p, &buf), SL_E_INVALID, "65536");
  assert_int_equal(buf.len, 0);
  free(many);
  free(big);
}

static void the_largest_value_comes_back(void **state) {
  (void)state;
  uint8_t *value = malloc(SL_MAX_VALUE);
  for (size_t i = 0; i < SL_MAX_VALUE; i += 8) sl_put_u64(value + i, random_next());
  sl_parts p = {.topic_id = 1, .type_id = 1, .event_id = SL_STR(UUID),
  .value = SL_BYTES(value, SL_MAX_VALUE)}, out;
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&p, &buf));
  assert_ok(sl_record_decode(sl_buf_slice(&buf), &out));
  assert_true(sl_slice_eq(p.value, out.value));
  free(value);
}

static void small_events_stay_small(void **state) {
  (void)state;
  sl_parts p = {.topic_id = 1, .type_id = 1, .event_id = SL_STR(UUID), .correlation_id = SL_STR(UUID),
                .causation_id = SL_STR(UUID), .value = SL_STR("v")};
  sl_buf_reset(&buf);
  assert_ok(sl_record_encode(&p, &buf));
  assert_int_equal(buf.len, 40 + 3 * 16 + 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_records_come_back),
    cmocka_unit_test(every_bit_counts),
    cmocka_unit_test(every_truncation_is_refused),
    cmocka_unit_test(a_checksum_does_not_excuse_a_wrong_structure),
    cmocka_unit_test(a_tombstone_keeps_who_and_when_and_loses_what), cmocka_unit_test(attributes_have_a_limit),
    cmocka_unit_test(the_largest_value_comes_back),
    cmocka_unit_test(small_events_stay_small)};
  return cmocka_run_group_tests_name("records", tests, NULL, tear_down);
}
