/* sl_verify and the law: silent on a sound store, and each kind of damage is found and named. */
#include "kit.h"

#include "base/id.h"
#include "delivery/book_impl.h"
#include "index/index_impl.h"
#include "store/append.h"
#include "store/commit.h"

static char said[16384];

static void hear(void *arg, const char *text) {
  (void)arg;
  if (strlen(said) + strlen(text) + 2 < sizeof said) strcat(strcat(said, text), "\n");
}

static sl_verify_report verify(kit *k) {
  sl_verify_report report;
  said[0] = '\0';
  assert_ok(sl_verify(k->store, hear, NULL, &report));
  return report;
}

static bool balanced(kit *k) {
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  return s.balanced;
}

/* 20 events: 1-10 delivered in two attempts, 11-20 pending; 5 is a duplicate of 4, 6 is dead. */
static int setup(void **state) {
  if (kit_setup(state) != 0) return -1;
  kit *k = *state;
  for (int i = 1; i <= 20; i++) {
    char id[16];
    snprintf(id, sizeof id, "id %d", i == 5 ? 4 : i);
    const sl_event e = {.topic = SL_STR("t"), .event_id = sl_slice_of(id), .correlation_id = SL_STR("c"),
                        .causation_id = SL_STR("p"), .value = SL_STR("v")};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sl_delivery *d;
  assert_ok(delivery_open(k->store, &d));
  const sl_letter letter = {.attempts = 1};
  delivery_verdict v[10];
  for (uint64_t i = 0; i < 10; i++)
    v[i] = (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_SENT, .partition = 0, .place = -1};
  v[4] = (delivery_verdict){.seq = 5, .verdict = SL_VERDICT_DUPLICATE, .place = 4};
  v[5] = (delivery_verdict){.seq = 6, .verdict = SL_VERDICT_DEAD, .letter = &letter};
  for (uint64_t n = 1; n <= 2; n++) {
    const delivery_attempt a = {.progress = {.seq = n * 5, .attempt = n}, .verdicts = v + (n - 1) * 5,
                                .count = 5};
    assert_ok(delivery_record(d, &a));
  }
  delivery_close(d);
  return 0;
}

static db_txn *begin(db_env *env) {
  db_txn *txn;
  assert_ok(db_begin_write(env, false, &txn));
  return txn;
}

static void test_a_sound_store(void **state) {
  kit *k = *state;
  const sl_verify_report r = verify(k);
  assert_string_equal(said, "");
  assert_int_equal(r.problems, 0);
  assert_int_equal(r.events, 20);
  assert_int_equal(r.index_entries, 80);
  assert_int_equal(r.receipts, 10);
  assert_true(balanced(k));
}

/* Two producers who meet write tickets. Where those are damaged they must stop: LMDB, told a wrong length, writes over the
 * heads of the tables that stand beside them. One alone needs none. */
static void test_damaged_tickets(void **state) {
  kit *k = *state;
  static const uint8_t longer[1500];
  commit_stage stage;
  uint64_t seq;
  sl_buf bytes = {0};
  commit_unit unit = {.slot = 3, .ticket = 7};
  const sl_event e = {.topic = SL_STR("t"), .event_id = SL_STR("together"), .value = SL_STR("v")};
  assert_ok(append_encode(k->store, &e, 1, &bytes, &unit.batch, NULL));
  assert_ok(commit_units(k->store, begin(k->store->log->env), &unit, 1, &stage));
  assert_int_equal(verify(k).problems, 0);
  db_txn *txn = begin(k->store->log->env);
  db_put(txn, LOG_HEADS, LOG_KEY_TICKETS, SL_BYTES(longer, sizeof longer));
  assert_ok(db_commit(txn));
  assert_int_equal(verify(k).problems, 1);
  assert_non_null(strstr(said, "tickets"));
  unit = (commit_unit){.slot = 3, .ticket = 8, .batch = unit.batch};
  assert_fails(commit_units(k->store, begin(k->store->log->env), &unit, 1, &stage), SL_E_CORRUPT, "repair");
  sl_buf_free(&bytes);
  assert_ok(sl_append(k->store, &(sl_event){.topic = SL_STR("t"), .value = SL_STR("alone")}, &seq));
  assert_int_equal(seq, 22);
}

static void test_missing_index_entries(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->index->env);
  index_state s;
  assert_ok(index_state_load(txn, &s));
  db_empty(txn, index_table(&s.gens[0], INDEX_CORRELATION));
  assert_ok(db_commit(txn));
  sl_verify_report r = verify(k);
  assert_int_equal(r.index_errors, 20);
  assert_int_equal(r.problems, 20);
  assert_non_null(strstr(said, "event 7: its correlation is not in the index"));
  assert_ok(sl_reindex(k->store));
  assert_int_equal(verify(k).problems, 0);

  txn = begin(k->store->index->env);
  db_empty(txn, INDEX_DUPLICATES);
  assert_ok(db_commit(txn));
  r = verify(k);
  assert_int_equal(r.index_errors, 1);
  assert_non_null(strstr(said, "event 5 is a duplicate of event 4"));
}

/* An entry that is there, and which nobody would find: its filter denies it. */
static void test_a_filter_without_its_keys(void **state) {
  kit *k = *state;
  assert_ok(sl_reindex(k->store)); /* its generation is closed */
  assert_int_equal(verify(k).problems, 0);
  db_txn *txn = begin(k->store->index->env);
  db_cur *cur;
  sl_slice key, value;
  uint8_t name[18], bytes[4096];
  assert_ok(db_cur_open(txn, INDEX_FILTERS, &cur));
  assert_ok(db_cur_move(cur, DB_FIRST, &key, &value)); /* of the event ids */
  assert_int_equal(key.len, sizeof name);
  assert_true(value.len <= sizeof bytes);
  memcpy(name, key.data, sizeof name);
  memcpy(bytes, value.data, value.len);
  memset(bytes + 48, 0, value.len - 48);
  db_cur_close(cur);
  assert_ok(db_put(txn, INDEX_FILTERS, (sl_slice){name, sizeof name}, (sl_slice){bytes, value.len}));
  assert_ok(db_commit(txn));
  const sl_verify_report r = verify(k);
  assert_int_equal(r.index_errors, 20);
  assert_non_null(strstr(said, "event 7: its event is not in the index"));
  assert_ok(sl_reindex(k->store));
  assert_int_equal(verify(k).problems, 0);
}

static void test_foreign_index_entries(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->index->env);
  index_state s;
  uint8_t key[16];
  assert_ok(index_state_load(txn, &s));
  sl_id_key(SL_STR("another"), key);
  const index_value wrong = index_value_of(&s.gens[0], INDEX_CAUSATION, 7, 0);
  const index_value beyond = index_value_of(&s.gens[0], INDEX_TYPE, 50, 0);
  db_put(txn, index_table(&s.gens[0], INDEX_CAUSATION), SL_BYTES(key, 16), SL_BYTES(&wrong.bits, wrong.len));
  db_put(txn, index_table(&s.gens[0], INDEX_TYPE), SL_BYTES(key, 16), SL_BYTES(&beyond.bits, beyond.len));
  assert_ok(db_commit(txn));
  const sl_verify_report r = verify(k);
  assert_int_equal(r.index_errors, 3);
  assert_non_null(strstr(said, "another causation for event 7"));
  assert_non_null(strstr(said, "event 50 above its watermark"));
  assert_non_null(strstr(said, "event 50, which is not in the log"));
}

static void test_lost_receipts(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->book->env);
  uint64_t seq = 6;
  assert_ok(db_del(txn, BOOK_RECEIPTS, db_u64(&seq)));
  assert_ok(db_commit(txn));
  const sl_verify_report r = verify(k);
  assert_non_null(strstr(said, "event 9 is settled but has no receipt"));
  assert_true(r.receipt_errors >= 5);
  sl_iter *it;
  const sl_record *record;
  const sl_query q = {.first_seq = 6};
  assert_ok(sl_iter_start(k->store, &q, &it));
  assert_fails(sl_iter_next(it, &record), SL_E_CORRUPT, "event 6");
  sl_iter_close(it);
}

static void test_damaged_receipts(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->book->env);
  const uint64_t first = 1, dead = 6;
  sl_slice value;
  uint8_t bytes[4096];
  assert_ok(db_get(txn, BOOK_RECEIPTS, db_u64(&first), &value));
  memcpy(bytes, value.data, value.len);
  bytes[value.len - 3] ^= 4;
  db_put(txn, BOOK_RECEIPTS, db_u64(&first), SL_BYTES(bytes, value.len));
  assert_ok(db_del(txn, BOOK_DEAD, db_u64(&dead)));
  assert_ok(db_commit(txn));
  verify(k);
  assert_non_null(strstr(said, "receipts at event 1: damaged block of receipts"));
  assert_non_null(strstr(said, "dead letter of event 6"));
}

static void test_wrong_totals(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->book->env);
  uint8_t bytes[BOOK_TOTALS_MOST];
  const book_totals totals = {.delivered = 9, .duplicates = 1, .dead = 1}; /* 8 were */
  book_totals_put(&totals, bytes);
  book_meta_put(txn, BOOK_KEY_TOTALS, SL_BYTES(bytes, sizeof bytes));
  assert_ok(db_commit(txn));
  assert_false(balanced(k));
  verify(k);
  assert_non_null(strstr(said, "8 receipts say delivered, but the book's total is 9"));
  assert_non_null(strstr(said, "out of balance"));
}

static void lose(kit *k, uint64_t seq) {
  db_txn *txn = begin(k->store->log->env);
  assert_ok(db_del(txn, LOG_EVENTS, db_u64(&seq)));
  assert_ok(db_commit(txn));
}

/* Pending is counted, not subtracted: a record that vanishes without a trim breaks the law. */
static void test_lost_records(void **state) {
  kit *k = *state;
  lose(k, 15);
  assert_false(balanced(k));
  sl_verify_report r = verify(k);
  assert_int_equal(r.sequence_errors, 1);
  assert_non_null(strstr(said, "event 15 is missing from the log, and no trim removed it"));
  assert_non_null(strstr(said, "out of balance"));
  lose(k, 3); /* below the cursor, where trim may leave holes: the counts tell */
  r = verify(k);
  assert_int_equal(r.sequence_errors, 2);
  assert_non_null(strstr(said, "2 events are missing from the log: 20 appended, 18 kept, 0 trimmed"));
}

static void test_trim_is_no_damage(void **state) {
  kit *k = *state;
  sl_trim_policy policy = {.max_events = 12};
  sl_trim_result result;
  assert_ok(sl_trim(k->store, &policy, &result));
  assert_int_equal(result.removed, 8);
  assert_string_equal((verify(k), said), "");
  policy.max_events = 1;
  assert_ok(sl_trim(k->store, &policy, &result));
  assert_int_equal(result.first_seq, 11);
  assert_int_equal(result.held, 1);
  assert_string_equal((verify(k), said), "");
  assert_ok(sl_reindex(k->store));
  assert_string_equal((verify(k), said), "");
  assert_true(balanced(k));
}

/* Puts something wrong into a table and expects one problem that has these words. */
static void plant(kit *k, db_env *env, unsigned table, sl_slice key, sl_slice value, const char *words) {
  db_txn *txn = begin(env);
  if (value.data) db_put(txn, table, key, value);
  else assert_ok(db_del(txn, table, key));
  assert_ok(db_commit(txn));
  const sl_verify_report r = verify(k);
  if (!strstr(said, words)) fail_msg("\"%s\" is not said, but:\n%s", words, said);
  assert_int_equal(r.problems, 1);
}

static void test_names_differ(void **state) {
  kit *k = *state;
  plant(k, k->store->log->env, LOG_DICT_NAMES, SL_STR("t"), (sl_slice){0}, "name 1, 't', is not the same");
}

static void test_a_name_without_its_number(void **state) {
  kit *k = *state;
  plant(k, k->store->log->env, LOG_DICT_NAMES, SL_STR("u"), (sl_slice){"\7\0\0\0", 4},
        "name 7, 'u', is not the same");
}

static void test_damaged_eras(void **state) {
  kit *k = *state;
  const uint64_t eras[] = {1, 30};
  plant(k, k->store->log->env, LOG_META, LOG_KEY_ERAS, (sl_slice){eras, sizeof eras}, "list of eras is damaged");
}

static void test_time_that_falls(void **state) {
  kit *k = *state;
  const uint64_t seq = 10;
  db_txn *txn = begin(k->store->log->env);
  sl_slice value;
  sl_parts parts;
  sl_buf bytes = {0};
  assert_ok(db_get(txn, LOG_EVENTS, db_u64(&seq), &value));
  assert_ok(sl_record_decode(value, &parts));
  parts.appended_us -= 5000000;
  assert_ok(sl_record_encode(&parts, &bytes));
  db_abort(txn);
  plant(k, k->store->log->env, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&bytes),
        "event 10 has an earlier time than event 9");
  sl_buf_free(&bytes);
}

static void test_a_wrong_duplicate(void **state) {
  kit *k = *state;
  const uint64_t seq = 8, first = 3;
  plant(k, k->store->index->env, INDEX_DUPLICATES, db_u64(&seq), db_u64(&first),
        "index/ calls event 8 a duplicate of event 3, which it is not");
}

static void test_a_block_across_the_cursor(void **state) {
  kit *k = *state;
  const uint64_t seq = 6;
  sl_receipt receipts[7];
  sl_buf bytes = {0};
  for (size_t i = 0; i < 7; i++) receipts[i] = (sl_receipt){.verdict = SL_VERDICT_SENT, .place = -1};
  receipts[0] = (sl_receipt){.verdict = SL_VERDICT_DEAD};
  const sl_receipt_block head = {.first_seq = 6, .attempt = 2, .count = 7};
  assert_ok(sl_receipt_block_encode(&head, receipts, &bytes));
  plant(k, k->store->book->env, BOOK_RECEIPTS, db_u64(&seq), sl_buf_slice(&bytes),
        "events 6 to 12 cross the cursor at 10");
  sl_buf_free(&bytes);
}

static void plant_block(kit *k, unsigned table, uint64_t key, uint64_t first, uint64_t attempt,
                        const char *words) {
  const sl_receipt receipt = {.verdict = SL_VERDICT_SENT, .place = -1};
  const sl_receipt_block head = {.first_seq = first, .attempt = attempt, .count = 1};
  sl_buf bytes = {0};
  assert_ok(sl_receipt_block_encode(&head, &receipt, &bytes));
  plant(k, k->store->book->env, table, db_u64(&key), sl_buf_slice(&bytes), words);
  sl_buf_free(&bytes);
}

static void test_receipts_of_nobody(void **state) {
  plant_block(*state, BOOK_RECEIPTS, 11, 11, 3,
              "lie above the cursor at 10, and no unfinished delivery wrote them");
}

static void test_a_sparse_receipt_of_nobody(void **state) {
  plant_block(*state, BOOK_SPARSE, 7, 7, 9, "event 7 is of attempt 9, which is neither settled nor under way");
}

static void test_a_letter_without_a_receipt(void **state) {
  kit *k = *state;
  const uint64_t seq = 3;
  const sl_letter letter = {.seq = 3, .attempt = 1};
  sl_buf bytes = {0};
  assert_ok(sl_letter_encode(&letter, &bytes));
  plant(k, k->store->book->env, BOOK_DEAD, db_u64(&seq), sl_buf_slice(&bytes),
        "a letter of event 3, whose receipt does not");
  sl_buf_free(&bytes);
}

static void test_a_receipt_without_a_letter(void **state) {
  kit *k = *state;
  const uint64_t seq = 6;
  plant(k, k->store->book->env, BOOK_DEAD, db_u64(&seq), (sl_slice){0}, "dead letter of event 6: it is missing");
}

static void test_a_cursor_beyond_the_log(void **state) {
  kit *k = *state;
  const uint64_t seq = 21;
  plant(k, k->store->book->env, BOOK_CURSORS, SL_STR("reader"), db_u64(&seq),
        "cursor reader stands beyond the log");
}

static void test_a_damaged_note_of_a_recreated_topic(void **state) {
  kit *k = *state;
  uint8_t bytes[SL_RECREATION_MOST];
  const sl_recreation mark = {.attempt = 1, .topic = SL_STR("elsewhere")};
  const size_t len = sl_recreation_encode(&mark, bytes);
  const sl_slice name = SL_STR("recreated-0000000000000000");
  plant(k, k->store->book->env, BOOK_NOTES, name, SL_BYTES(bytes, len), "it is that of another topic");
  bytes[len - 1] ^= 1;
  plant(k, k->store->book->env, BOOK_NOTES, name, SL_BYTES(bytes, len), "its checksum does not hold");
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_a_sound_store), WITH_STORE(test_damaged_tickets),
      WITH_STORE(test_missing_index_entries),
      WITH_STORE(test_a_filter_without_its_keys), WITH_STORE(test_foreign_index_entries),
      WITH_STORE(test_lost_receipts),
      WITH_STORE(test_damaged_receipts),    WITH_STORE(test_wrong_totals),
      WITH_STORE(test_lost_records),        WITH_STORE(test_trim_is_no_damage),
      WITH_STORE(test_names_differ),        WITH_STORE(test_a_name_without_its_number),
      WITH_STORE(test_damaged_eras),        WITH_STORE(test_time_that_falls),
      WITH_STORE(test_a_wrong_duplicate),   WITH_STORE(test_a_block_across_the_cursor),
      WITH_STORE(test_receipts_of_nobody),  WITH_STORE(test_a_sparse_receipt_of_nobody),
      WITH_STORE(test_a_letter_without_a_receipt), WITH_STORE(test_a_receipt_without_a_letter),
      WITH_STORE(test_a_cursor_beyond_the_log), WITH_STORE(test_a_damaged_note_of_a_recreated_topic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
