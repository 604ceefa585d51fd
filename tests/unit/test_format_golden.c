/* The bytes on disk, held to files that never change: what one version wrote every later one must read, and
 * what is the same must stay the same bytes. SIDELOG_GOLDEN_WRITE=1 writes files that are missing; one that
 * is there is never touched (a new encoding is a new version with files of its own). */
#include "unit.h"

#include "format/progress.h"
#include "format/reader.h"
#include "format/receipt.h"
#include "format/record.h"

static void path_of(const char *name, char path[512]) { snprintf(path, 512, GOLDEN_DIR "/%s.hex", name); }

/* Hexadecimal text, blanks and lines as one likes, # begins a comment. */
static bool load(const char *name, sl_buf *out) {
  char path[512];
  path_of(name, path);
  FILE *file = fopen(path, "r");
  if (!file) return false;
  int c, high = -1;
  bool comment = false;
  while ((c = fgetc(file)) != EOF) {
    if (c == '#') comment = true;
    if (c == '\n') comment = false;
    if (comment || c == ' ' || c == '\n') continue;
    int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (v < 0) fail_msg("%s: '%c' is no hexadecimal digit", path, c);
    if (high < 0) {
      high = v;
    } else {
      uint8_t byte = (uint8_t)(high << 4 | v);
      sl_buf_append(out, &byte, 1);
      high = -1;
    }
  }
  fclose(file);
  assert_int_equal(high, -1);
  return true;
}

static void store(const char *name, sl_slice bytes) {
  char path[512];
  path_of(name, path);
  FILE *file = fopen(path, "wx");
  if (!file) fail_msg("cannot write %s", path);
  fprintf(file, "# %s, %zu bytes\n", name, bytes.len);
  for (size_t i = 0; i < bytes.len; i++)
    fprintf(file, "%02x%c", ((const uint8_t *)bytes.data)[i],
            i % 16 == 15 || i + 1 == bytes.len ? '\n' : ' ');
  fclose(file);
}

/* Compares `made` with the file and gives the file's bytes, to be decoded. */
static void hold(const char *name, const sl_buf *made, sl_buf *golden) {
  if (!load(name, golden)) {
    if (!getenv("SIDELOG_GOLDEN_WRITE")) fail_msg("tests/golden/%s.hex is missing", name);
    store(name, sl_buf_slice(made));
    assert_true(load(name, golden));
  }
  if (!sl_slice_eq(sl_buf_slice(made), sl_buf_slice(golden))) {
    size_t i = 0;
    while (i < made->len && i < golden->len && made->data[i] == golden->data[i]) i++;
    fail_msg("the encoding drifted from tests/golden/%s.hex at byte %zu (%zu bytes, were %zu)", name, i,
             made->len,
             golden->len);
  }
}

#define UUID1 "0190a5d2-1fa3-7abc-8def-0123456789ab"
#define UUID2 "0190a5d2-1fa3-7abc-8def-0123456789ac"
#define UUID3 "0190a5d2-1fa3-4abc-8def-0123456789ad"

static const sl_header headers[] = {
  {{"x-correlation-id", 16}, {UUID2, 36}}, {{"empty", 5}, {NULL, 0}}, {{"bytes", 5}, {"\x00\xff\x80", 3}}};

static void same_parts(const sl_parts *a, const sl_parts *b) {
  assert_int_equal(a->flags, b->flags);
  assert_int_equal(a->appended_us, b->appended_us);
  assert_int_equal(a->clamp_us, b->clamp_us);
  assert_int_equal(a->occurred_us, b->occurred_us);
  assert_int_equal(a->topic_id, b->topic_id);
  assert_int_equal(a->type_id, b->type_id);
  const sl_slice one[] = {a->topic, a->type, a->event_id, a->correlation_id, a->causation_id, a->key,
  a->tenant,
                          a->source, a->value};
  const sl_slice two[] = {b->topic, b->type, b->event_id, b->correlation_id, b->causation_id, b->key,
  b->tenant,
                          b->source, b->value};
  for (size_t i = 0; i < sizeof one / sizeof *one; i++) assert_true(sl_slice_eq(one[i], two[i]));
  assert_int_equal(!a->key.data, !b->key.data);
  assert_int_equal(a->origin_seq, b->origin_seq);
  assert_int_equal(a->header_count, b->header_count);
}

static void record(const char *name, const sl_parts *parts) {
  sl_buf made = {0}, golden = {0};
  assert_ok(sl_record_encode(parts, &made));
  hold(name, &made, &golden);
  sl_parts back;
  assert_ok(sl_record_decode(sl_buf_slice(&golden), &back));
  same_parts(&back, parts);
  sl_header out[8];
  assert_ok(sl_record_headers(&back, out));
  for (size_t i = 0; i < parts->header_count; i++) {
    assert_true(sl_slice_eq(out[i].name, parts->headers[i].name));
    assert_true(sl_slice_eq(out[i].value, parts->headers[i].value));
  }
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void records(void **state) {
  (void)state;
  record("record-minimal", &(sl_parts){.topic_id = 1, .type_id = 2, .event_id = SL_STR(UUID1),
                                       .appended_us = INT64_C(1709210096789000), .value = SL_STR("{}")});
  record("record-full", &(sl_parts){
    .appended_us = INT64_C(1709210096789000), .clamp_us = 1500, .occurred_us = INT64_C(1709210096123456),
    .topic_id = 65535, .type_id = 258, .event_id = SL_STR(UUID1), .correlation_id = SL_STR(UUID2),
    .causation_id = SL_STR(UUID3), .key = SL_STR("order-42"), .tenant = SL_STR("acme"),
    .source = SL_STR("orchestrator"), .headers = headers, .header_count = 3,
    .value = SL_STR("{\"n\":12345678901234567890}")});
  record("record-texts", &(sl_parts){
    .appended_us = -1, .occurred_us = -2, .topic = SL_STR("dev.late.topic.v1"),
    .type = SL_STR("ZU_SP\xc3\x84T"),
    .event_id = SL_STR("evt_1"), .correlation_id = SL_STR("0190A5D2-1FA3-7ABC-8DEF-0123456789AB"),
    .causation_id = SL_STR("\xe2\x82\xac"), .key = SL_STR(""), .value = SL_BYTES("\x00\xff", 2)});
  record("record-replay", &(sl_parts){
    .flags = SL_RECORD_REPLAY, .origin_seq = 4294967296, .appended_us = INT64_C(1709210096789000),
    .topic_id = 7,
    .type_id = 7, .event_id = SL_STR(UUID1), .value = SL_BYTES(NULL, 0)});
  record("record-dropped", &(sl_parts){
    .flags = SL_RECORD_DROPPED, .dropped_us = INT64_C(1709210196789000), .appended_us = INT64_C(1709210096789000),
    .clamp_us = 3, .occurred_us = INT64_C(1709210096123456), .topic_id = 7, .type_id = 8,
    .event_id = SL_STR(UUID1), .correlation_id = SL_STR("story 7"), .value = SL_BYTES(NULL, 0)});
}

/* What a later version may write: attributes that this one does not know are stepped over. */
static void a_record_with_unknown_attributes(void **state) {
  (void)state;
  sl_buf golden = {0};
  assert_true(load("record-unknown-attributes", &golden));
  sl_parts parts;
  assert_ok(sl_record_decode(sl_buf_slice(&golden), &parts));
  assert_slice(parts.key, "k");
  assert_slice(parts.event_id, UUID1);
  assert_slice(parts.value, "v");
  assert_ok(sl_record_peek(sl_buf_slice(&golden), &parts));
  sl_buf_free(&golden);
}

static void a_record_of_a_newer_version(void **state) {
  (void)state;
  sl_buf golden = {0};
  assert_true(load("record-version-2", &golden));
  sl_parts parts;
  assert_fails(sl_record_decode(sl_buf_slice(&golden), &parts), SL_E_VERSION, "format version 2");
  assert_fails(sl_record_peek(sl_buf_slice(&golden), &parts), SL_E_VERSION, "use a newer sidelog");
  golden.data[golden.len - 1] ^= 1; /* damage is told from news */
  assert_fails(sl_record_decode(sl_buf_slice(&golden), &parts), SL_E_CORRUPT, "checksum");
  sl_buf_free(&golden);
}

static void receipts(void **state) {
  (void)state;
  static const sl_receipt all[] = {
    {SL_VERDICT_SENT, 2, 1234567890123}, {SL_VERDICT_SENT, 0, -1}, {SL_VERDICT_DUPLICATE, -1, 1000},
    {SL_VERDICT_DEAD, -1, 0}, {SL_VERDICT_DROPPED, -1, 0}, {SL_VERDICT_LANE, -1, INT64_MIN + 5},
    {SL_VERDICT_NONE, -1, 0}};
  sl_receipt_block head = {.first_seq = 1001, .attempt = 9, .settled_us = INT64_C(1709210096789000),
  .count = 7};
  sl_buf made = {0}, golden = {0};
  assert_ok(sl_receipt_block_encode(&head, all, &made));
  hold("receipts", &made, &golden);
  sl_receipt_block back;
  assert_ok(sl_receipt_block_decode(sl_buf_slice(&golden), &back));
  assert_int_equal(back.first_seq, 1001);
  assert_int_equal(back.attempt, 9);
  assert_int_equal(back.settled_us, head.settled_us);
  assert_int_equal(back.count, 7);
  for (uint64_t i = 0; i < 7; i++) {
    sl_receipt r;
    assert_ok(sl_receipt_at(&back, 1001 + i, &r));
    assert_int_equal(r.verdict, all[i].verdict);
    assert_int_equal(r.partition, all[i].partition);
    assert_int_equal(r.place, all[i].place);
  }
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void letters(void **state) {
  (void)state;
  sl_letter letter = {
    .seq = 1004, .attempt = 9, .first_failure_us = INT64_C(1709210096789000), .last_failure_us = -1,
    .attempts = 3, .code = -181, .error_class = SL_STR("NON_RETRYABLE_VALIDATION"),
    .error_code = SL_STR("MSG_SIZE_TOO_LARGE"), .error_text = SL_STR("Broker: Message size too large"),
    .topic = SL_STR("orders.v1")};
  sl_buf made = {0}, golden = {0};
  assert_ok(sl_letter_encode(&letter, &made));
  hold("letter", &made, &golden);
  sl_letter back;
  assert_ok(sl_letter_decode(sl_buf_slice(&golden), &back));
  assert_int_equal(back.seq, 1004);
  assert_int_equal(back.attempt, 9);
  assert_int_equal(back.first_failure_us, letter.first_failure_us);
  assert_int_equal(back.last_failure_us, -1);
  assert_int_equal(back.attempts, 3);
  assert_int_equal(back.code, -181);
  assert_slice(back.error_class, "NON_RETRYABLE_VALIDATION");
  assert_slice(back.error_code, "MSG_SIZE_TOO_LARGE");
  assert_slice(back.error_text, "Broker: Message size too large");
  assert_slice(back.topic, "orders.v1");
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void recreations(void **state) {
  (void)state;
  const sl_recreation mark = {
    .attempt = 9, .seq = 1004, .noticed_us = INT64_C(1709210096789000), .topic = SL_STR("orders.v1")};
  uint8_t bytes[SL_RECREATION_MOST];
  sl_buf made = {0}, golden = {0};
  sl_buf_append(&made, bytes, sl_recreation_encode(&mark, bytes));
  hold("recreation", &made, &golden);
  sl_recreation back;
  assert_ok(sl_recreation_decode(sl_buf_slice(&golden), &back));
  assert_int_equal(back.attempt, 9);
  assert_int_equal(back.seq, 1004);
  assert_int_equal(back.noticed_us, mark.noticed_us);
  assert_slice(back.topic, "orders.v1");
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void readers(void **state) {
  (void)state;
  const sl_reader_state s = {.id = 3, .flags = 5, .max_attempts = 7, .seq = 1000, .born = 900, .expected = 4,
                             .totals = {.seen = 100, .acked = 80, .dead = 7, .dropped = 2, .missed = 6},
                             .commits = 44,
                             .changes = 5, .created_us = INT64_C(1709210096789000),
                             .committed_us = INT64_C(1709210097000000),
                             .topics = SL_STR("orders.*"), .types = SL_STR("A,B")};
  sl_reader_entry e = {.seq = 1004, .lane = UINT64_C(0x1122334455667788), .next_us = 99, .attempts = 2,
                       .replays = 1};
  sl_buf made = {0}, golden = {0};
  sl_reader_state s_back;
  sl_reader_entry e_back;
  assert_ok(sl_reader_state_encode(&s, &made));
  hold("reader-state", &made, &golden);
  assert_ok(sl_reader_state_decode(sl_buf_slice(&golden), &s_back));
  assert_int_equal(s_back.totals.missed, 6);
  assert_int_equal(s_back.expected, 4);
  assert_slice(s_back.types, "A,B");
  sl_buf_reset(&made);
  sl_buf_reset(&golden);
  assert_ok(sl_reader_entry_encode(&e, &made));
  hold("reader-entry-waiting", &made, &golden);
  assert_ok(sl_reader_entry_decode(sl_buf_slice(&golden), &e_back));
  assert_false(e_back.has_letter);
  e.has_letter = true;
  e.letter = (sl_letter){.seq = 1004, .first_failure_us = 5, .last_failure_us = 7, .attempts = 4,
                         .error_class = SL_STR("RETRYABLE"),
                         .error_code = SL_STR("BUSY"), .error_text = SL_STR("it broke"),
                         .topic = SL_STR("orders.v1")};
  sl_buf_reset(&made);
  sl_buf_reset(&golden);
  assert_ok(sl_reader_entry_encode(&e, &made));
  hold("reader-entry-failed", &made, &golden);
  assert_ok(sl_reader_entry_decode(sl_buf_slice(&golden), &e_back));
  assert_int_equal(e_back.lane, e.lane);
  assert_int_equal(e_back.replays, 1);
  assert_slice(e_back.letter.error_code, "BUSY");
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void drops(void **state) {
  (void)state;
  const sl_drop_note n = {.number = 12, .seq = 1004, .dropped_us = INT64_C(1709210096789000),
                          .texts = {SL_STR("billing"), SL_STR("id 1"), SL_STR("orders.v1"), SL_STR("T"),
                                    SL_STR("C"), SL_STR(""),
                                    SL_STR("me"), SL_STR("test data")}};
  sl_buf made = {0}, golden = {0};
  sl_drop_note back;
  assert_ok(sl_drop_note_encode(&n, &made));
  hold("drop", &made, &golden);
  assert_ok(sl_drop_note_decode(sl_buf_slice(&golden), &back));
  assert_int_equal(back.number, 12);
  assert_slice(back.texts[DROP_READER], "billing");
  assert_slice(back.texts[DROP_WHY], "test data");
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void progress_one(const char *name, const sl_progress *progress) {
  static sl_lane lanes[SL_LANES_MAX];
  sl_buf made = {0}, golden = {0};
  assert_ok(sl_progress_encode(progress, &made));
  hold(name, &made, &golden);
  sl_progress back;
  assert_ok(sl_progress_decode(sl_buf_slice(&golden), &back, lanes));
  assert_int_equal(back.seq, progress->seq);
  assert_int_equal(back.dlq_no, progress->dlq_no);
  assert_int_equal(back.attempt, progress->attempt);
  assert_memory_equal(back.incarnation, progress->incarnation, 16);
  assert_int_equal(back.lane_count, progress->lane_count);
  for (size_t i = 0; i < back.lane_count; i++) {
    assert_true(sl_slice_eq(back.lanes[i].topic, progress->lanes[i].topic));
    assert_int_equal(back.lanes[i].seq, progress->lanes[i].seq);
  }
  sl_buf_free(&made);
  sl_buf_free(&golden);
}

static void progress(void **state) {
  (void)state;
  progress_one("progress-new", &(sl_progress){0});
  progress_one("progress-lanes", &(sl_progress){
    .seq = 70000, .dlq_no = 200, .attempt = UINT64_MAX, .incarnation = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    255},
    .lane_count = 3,
    .lanes = (const sl_lane[]){{SL_STR("a"), 0}, {SL_STR("a.b"), 70000}, {SL_STR("orders.v1"), 127}}});
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(records),
    cmocka_unit_test(a_record_with_unknown_attributes),
    cmocka_unit_test(a_record_of_a_newer_version),
    cmocka_unit_test(receipts),
    cmocka_unit_test(letters),
    cmocka_unit_test(recreations),
    cmocka_unit_test(readers),
    cmocka_unit_test(drops),
    cmocka_unit_test(progress)};
  return cmocka_run_group_tests_name("golden files", tests, NULL, NULL);
}
