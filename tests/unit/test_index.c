/* The index by itself: generations, duplicates, damaged and foreign environments. */
#include "kit.h"

#include "base/id.h"
#include "index/index_impl.h"
#include "store/log_inner.h"

#include <fcntl.h>

static uint64_t append_ids(kit *k, const char *topic, const char *id, const char *correlation) {
  uint64_t seq = 0;
  const sl_event e = {.topic = sl_slice_of(topic), .event_id = sl_slice_of(id),
                      .correlation_id = sl_slice_of(correlation), .value = SL_STR("v")};
  assert_ok(sl_append(k->store, &e, &seq));
  return seq;
}

static uint64_t original_of(kit *k, uint64_t seq) {
  index_view *view;
  uint64_t original;
  assert_ok(index_view_open(k->store, &view));
  assert_ok(index_view_duplicate_of(view, seq, &original));
  index_view_close(view);
  return original;
}

static void test_duplicates_within_a_topic(void **state) {
  kit *k = *state;
  append_ids(k, "a", "one", "");                                  /* 1 */
  append_ids(k, "b", "one", "");                                  /* 2: fans out */
  append_ids(k, "a", "one", "");                                  /* 3: of 1, in the same batch */
  append_ids(k, "a", "0198c5b2-0000-7000-8000-000000000001", ""); /* 4 */
  assert_ok(sl_index_advance(k->store, 0, NULL));
  append_ids(k, "b", "one", "");                                  /* 5: of 2, stored before */
  append_ids(k, "a", "0198c5b2-0000-7000-8000-000000000001", ""); /* 6: of 4 */
  append_ids(k, "c", "0198c5b2-0000-7000-8000-000000000001", ""); /* 7 */
  append_ids(k, "a", "one", "");                                  /* 8: of 1, the first */
  assert_int_equal(original_of(k, 8), 0);                         /* not indexed yet */
  assert_ok(sl_index_advance(k->store, 0, NULL));
  const uint64_t wanted[] = {0, 0, 0, 1, 0, 2, 4, 0, 1};
  for (int round = 0; round < 2; round++) {
    for (uint64_t seq = 1; seq <= 8; seq++) assert_int_equal(original_of(k, seq), wanted[seq]);
    assert_ok(sl_reindex(k->store));
  }
}

/* A replay's copy has its original's id and must be delivered. */
static void test_replays_are_exempt_and_move_the_totals(void **state) {
  kit *k = *state;
  append_ids(k, "a", "one", "");
  sl_delivery *d;
  const sl_letter letter = {.attempts = 1};
  delivery_verdict v = {.seq = 1, .verdict = SL_VERDICT_DEAD, .letter = &letter};
  delivery_attempt a = {.progress = {.seq = 1, .attempt = 1}, .verdicts = &v, .count = 1};
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  assert_ok(delivery_record(d, &a));

  sl_buf copy = {0};
  const sl_parts parts = {.flags = SL_RECORD_REPLAY, .origin_seq = 1, .topic = SL_STR("a"),
                          .type = SL_STR("a"), .event_id = SL_STR("one"), .appended_us = 1,
                          .value = SL_STR("v")};
  assert_ok(sl_record_encode(&parts, &copy));
  for (uint64_t seq = 2; seq <= 3; seq++) {
    db_txn *txn;
    log_meta meta;
    assert_ok(db_begin_write(k->store->log->env, false, &txn));
    assert_ok(log_meta_read(txn, &meta));
    meta.copies++;
    db_append(txn, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&copy));
    log_meta_write(txn, &meta);
    assert_ok(db_commit(txn));
  }
  sl_buf_free(&copy);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(original_of(k, 2), 0);
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.appended, 1);
  assert_int_equal(s.pending, 0);
  assert_int_equal(s.dead, 1);
  assert_true(s.balanced);
  for (uint64_t seq = 2; seq <= 3; seq++) { /* the second copy moves nothing */
    v = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_SENT, .partition = 0, .place = (int64_t)seq};
    a.progress.seq = seq;
    a.progress.attempt++;
    assert_ok(delivery_intent(d, &a));
    if (seq == 2) {
      assert_ok(delivery_abandon(d));
      a.progress.attempt++;
      assert_ok(delivery_intent(d, &a));
    }
    assert_ok(delivery_settle(d));
    assert_ok(sl_stats_get(k->store, &s));
    assert_int_equal(s.delivered, 1);
    assert_int_equal(s.dead, 0);
    assert_true(s.balanced);
  }
  book_view *book;
  book_fate fate;
  assert_ok(book_view_open(k->store, &book));
  assert_ok(book_view_fate(book, 1, SL_STR("a"), &fate));
  assert_int_equal(fate.state, SL_SENT);
  assert_int_equal(fate.offset, 2);
  book_view_close(book);
  delivery_close(d);
}

static void test_postings_over_generations(void **state) {
  kit *k = *state;
  k->store->index->small = 8;
  k->store->index->piece = UINT64_MAX; /* nothing is merged */
  uint8_t key[16], low[16] = {0}, high[16];
  memset(high, 0xff, sizeof high);
  for (int i = 0; i < 100; i++) {
    char id[40];
    snprintf(id, sizeof id, "id %d", i);
    append_ids(k, "t", id, i % 3 == 0 ? "third" : i % 3 == 1 ? "other" : "");
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  assert_int_equal(view->state.count, 13);
  assert_int_equal(index_view_without_correlation(view), 33);
  sl_id_key(SL_STR("third"), key); /* 1 4 7 ... 100 */
  uint64_t seqs[64];
  size_t count;
  for (uint64_t from = 0; from <= 102; from++) {
    for (size_t max = 1; max <= 40; max += 13) {
      assert_ok(index_view_seqs(view, INDEX_CORRELATION, key, from, seqs, max, &count));
      uint64_t next = from <= 1 ? 1 : from + (3 - (from - 1) % 3) % 3;
      for (size_t i = 0; i < count; i++, next += 3) assert_int_equal(seqs[i], next);
      assert_true(count == max || next > 100);
      assert_ok(index_view_seqs_down(view, INDEX_CORRELATION, key, from, seqs, max, &count));
      uint64_t previous = from >= 100 ? 100 : from == 0 ? 0 : from - (from - 1) % 3;
      for (size_t i = 0; i < count; i++, previous -= 3) assert_int_equal(seqs[i], previous);
      assert_true(count == max || previous < 1 || previous > 100);
    }
  }
  index_key keys[10];
  assert_ok(index_view_keys(view, INDEX_CORRELATION, low, high, keys, 10, &count));
  assert_int_equal(count, 2);
  assert_ok(index_view_keys(view, INDEX_EVENT, low, high, keys, 10, &count));
  assert_int_equal(count, 10);
  for (size_t i = 1; i < count; i++) assert_true(memcmp(keys[i - 1].key, keys[i].key, 16) < 0);
  assert_ok(index_view_has(view, INDEX_CORRELATION, key, 4));
  assert_int_equal(index_view_has(view, INDEX_CORRELATION, key, 5), SL_NOTFOUND);
  index_view_close(view);
}

/* Under ids that are spread over all keys. */
static sl_slice spread_id(unsigned i, char text[37]) {
  snprintf(text, 37, "%08x-%04x-4000-8000-%012x", i * 2654435761u, i & 0xffff, i);
  return SL_BYTES(text, 36);
}

static void append_spread(kit *k, unsigned from, unsigned to) {
  static char ids[1000][37];
  sl_event events[1000];
  for (unsigned n; from < to; from += n) {
    for (n = 0; n < 1000 && from + n < to; n++)
      events[n] = (sl_event){.topic = SL_STR("t"), .event_id = spread_id(from + n, ids[n]), .value = SL_STR("v"),
                             .flags = SL_EVENT_RELAXED};
    assert_ok(sl_append_many(k->store, events, n, NULL, NULL));
  }
}

/* Each look with a view of its own: event i has seq i + 1, up to `count`. */
static void look_around(kit *k, unsigned count, bool twice) {
  for (unsigned i = 0; i < 3000; i++) {
    const unsigned asked = (i * 7919 + 13) % (count * 2); /* half of them are there */
    uint8_t key[16];
    char text[37];
    uint64_t seqs[2];
    size_t found;
    index_view *view;
    sl_id_key(spread_id(asked, text), key);
    assert_ok(index_view_open(k->store, &view));
    for (int again = 0; again <= twice; again++) {
      assert_ok(index_view_seqs(view, INDEX_EVENT, key, 1, seqs, 2, &found));
      assert_int_equal(found, asked < count);
      if (found) assert_int_equal(seqs[0], asked + 1);
    }
    index_view_close(view);
  }
}

/* Filters are in several chunks, and where those lie is kept from one look to the next of the same snapshot. */
static void test_what_a_look_keeps_is_of_its_snapshot(void **state) {
  kit *k = *state;
  append_spread(k, 0, 30000);
  assert_ok(sl_reindex(k->store));
  look_around(k, 30000, true);
  look_around(k, 30000, false);
  append_spread(k, 30000, 60000);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  look_around(k, 60000, false);
  assert_ok(sl_reindex(k->store));
  look_around(k, 60000, false);
  uint8_t least[16] = {0}, most[16]; /* where no other keys are */
  memset(most, 0xff, sizeof most);
  index_view *view;
  uint64_t seq;
  size_t found;
  assert_ok(index_view_open(k->store, &view));
  for (int i = 0; i < 3; i++) {
    assert_ok(index_view_seqs(view, INDEX_EVENT, least, 1, &seq, 1, &found));
    assert_int_equal(found, 0);
    assert_ok(index_view_seqs(view, INDEX_EVENT, most, 1, &seq, 1, &found));
    assert_int_equal(found, 0);
  }
  index_view_close(view);
}

static uint64_t entries_seen;
static sl_status count_entry(void *arg, index_attr attr, const uint8_t key[16], uint64_t seq) {
  (void)arg, (void)attr, (void)key, (void)seq;
  entries_seen++;
  return SL_OK;
}

static void test_scans_resume_anywhere(void **state) {
  kit *k = *state;
  k->store->index->small = 32;
  for (int i = 0; i < 150; i++) {
    append_ids(k, "t", i % 5 ? "" : "same", i % 2 ? "x" : "y");
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  index_view *view;
  for (uint64_t step = 1; step < 40; step += 6) {
    index_pos pos = {0};
    entries_seen = 0;
    for (bool done = false; !done;) {
      assert_ok(index_view_open(k->store, &view));
      assert_ok(index_scan(view, &pos, step, count_entry, NULL, &done));
      index_view_close(view);
    }
    assert_int_equal(entries_seen, 450);
  }
}

/* A damaged record is not passed: the watermark stays before it, the status names it, queries go on. */
static void test_stops_before_a_damaged_record(void **state) {
  kit *k = *state;
  for (int i = 0; i < 5; i++) append_ids(k, "t", "", "c");
  db_txn *txn;
  uint64_t seq = 3, reached = 0;
  sl_slice value;
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(db_get(txn, LOG_EVENTS, db_u64(&seq), &value));
  uint8_t bytes[512];
  memcpy(bytes, value.data, value.len);
  bytes[value.len - 1] ^= 1;
  db_put(txn, LOG_EVENTS, db_u64(&seq), (sl_slice){bytes, value.len});
  assert_ok(db_commit(txn));
  for (int i = 0; i < 2; i++) assert_fails(sl_index_advance(k->store, 0, &reached), SL_E_CORRUPT, "event 3");
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  assert_int_equal(index_view_watermark(view), 2);
  index_view_close(view);
  assert_fails(sl_reindex(k->store), SL_E_CORRUPT, "event 3");
  sl_iter *it;
  const sl_record *r;
  const sl_query q = {.correlation_id = SL_STR("c")};
  assert_ok(sl_iter_start(k->store, &q, &it));
  uint64_t sum = 0;
  sl_status status;
  while ((status = sl_iter_next(it, &r)) != SL_NOTFOUND) {
    if (status == SL_E_CORRUPT) assert_non_null(strstr(sl_last_detail(), "event 3"));
    else sum += r->seq;
  }
  assert_int_equal(sum, 1 + 2 + 4 + 5);
  sl_iter_close(it);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.bad_records, 1);
  assert_int_equal(report.problems, 1);
}

static void test_a_lost_index_is_rebuilt(void **state) {
  kit *k = *state;
  for (int i = 0; i < 50; i++) append_ids(k, "t", "", "c");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  for (int how = 0; how < 4; how++) {
    sl_close(k->store);
    if (how == 0) { /* gone */
      unlink(kit_file(k, "index/data.mdb"));
      unlink(kit_file(k, "index/lock.mdb"));
      rmdir(kit_file(k, "index"));
    } else if (how == 1) { /* not LMDB's */
      int fd = open(kit_file(k, "index/data.mdb"), O_WRONLY | O_TRUNC);
      char junk[16384];
      memset(junk, 'j', sizeof junk);
      assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
      close(fd);
    } else if (how == 2) { /* cut short */
      assert_int_equal(truncate(kit_file(k, "index/data.mdb"), 12000), 0);
    }
    kit_open(k);
    if (how == 3) { /* another store's */
      db_txn *txn;
      assert_ok(db_begin_write(k->store->index->env, false, &txn));
      db_put(txn, INDEX_META, SL_STR("store"), SL_STR("0123456789abcdef"));
      assert_ok(db_commit(txn));
      kit_reopen(k);
    }
    index_view *view;
    assert_ok(index_view_open(k->store, &view));
    assert_int_equal(index_view_watermark(view), 0);
    index_view_close(view);
    uint64_t reached;
    assert_ok(sl_index_advance(k->store, 0, &reached));
    assert_int_equal(reached, 50);
    sl_verify_report report;
    assert_ok(sl_verify(k->store, NULL, NULL, &report));
    assert_int_equal(report.problems, 0);
  }
}

static uint64_t scanned_for(kit *k, const sl_query *q, uint64_t wanted) {
  sl_iter *it;
  const sl_record *r;
  uint64_t count = 0;
  assert_ok(sl_iter_start(k->store, q, &it));
  while (sl_iter_next(it, &r) == SL_OK) count++;
  assert_int_equal(count, wanted);
  const uint64_t scanned = sl_iter_scanned(it);
  sl_iter_close(it);
  return scanned;
}

static void append_owned(kit *k, size_t count, const char *tenant) {
  for (size_t i = 0; i < count; i++) {
    const sl_event e = {.topic = SL_STR("t"), .tenant = sl_slice_of(tenant), .source = SL_STR("acme"),
                        .key = SL_BYTES("acme", i % 2 ? 4 : 3), .value = SL_STR("v")};
    assert_ok(sl_append(k->store, &e, NULL));
  }
}

/* From the moment it is asked for, and for older events after a rebuild. */
static void test_secondary_attributes(void **state) {
  kit *k = *state;
  const sl_query by_tenant = {.tenant = SL_STR("acme")}, by_source = {.source = SL_STR("acme")};
  const sl_query by_key = {.key = SL_STR("acme")};
  uint32_t attributes = 99;
  append_owned(k, 5, "acme");
  append_owned(k, 95, "other");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(sl_index_attributes_get(k->store, &attributes));
  assert_int_equal(attributes, 0);
  assert_int_equal(scanned_for(k, &by_tenant, 5), 100);

  assert_fails(sl_index_attributes_set(k->store, 1), SL_E_INVALID, "0x1");
  assert_ok(sl_index_attributes_set(k->store, SL_INDEX_TENANT | SL_INDEX_KEY));
  append_owned(k, 10, "acme");
  append_owned(k, 90, "other");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(scanned_for(k, &by_tenant, 15), 110);
  assert_int_equal(scanned_for(k, &by_source, 200), 200);
  assert_int_equal(scanned_for(k, &by_key, 99), 150);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);

  assert_ok(sl_reindex(k->store));
  kit_reopen(k);
  assert_int_equal(scanned_for(k, &by_tenant, 15), 15);
  assert_int_equal(scanned_for(k, &by_key, 99), 99);
  const sl_query newest = {.tenant = SL_STR("acme"), .flags = SL_QUERY_NEWEST, .limit = 3};
  assert_true(scanned_for(k, &newest, 3) <= 6);
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_int_equal(report.index_entries, 2 * 200 + 2 * 200); /* event, type; tenant, key */

  assert_ok(sl_index_attributes_set(k->store, 0));
  append_owned(k, 10, "acme");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(scanned_for(k, &by_tenant, 25), 25);
}

/* An entry lost, an entry of nobody: verify sees both. */
static void test_verify_sees_secondary_attributes(void **state) {
  kit *k = *state;
  assert_ok(sl_index_attributes_set(k->store, SL_INDEX_SOURCE));
  append_owned(k, 3, "acme");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  uint8_t key[16];
  const uint32_t position = 2;
  const sl_slice value = {&position, 4};
  index_key_of(INDEX_SOURCE, SL_STR("nobody"), key);
  const index_gen gen = {.slot = 0};
  sl_verify_report report;
  for (int round = 0; round < 2; round++) {
    db_txn *txn;
    assert_ok(db_begin_write(k->store->index->env, false, &txn));
    if (round == 1) assert_ok(db_empty(txn, index_table(&gen, INDEX_SOURCE)));
    else assert_ok(db_put(txn, index_table(&gen, INDEX_SOURCE), (sl_slice){key, 16}, value));
    assert_ok(db_commit(txn));
    assert_ok(sl_verify(k->store, NULL, NULL, &report));
    assert_int_equal(report.index_errors, round == 0 ? 1 : 3);
  }
}

static void test_an_index_ahead_of_the_log(void **state) {
  kit *k = *state;
  append_ids(k, "t", "", "");
  db_txn *txn;
  const index_state ahead = {.watermark = 2, .next_number = 1};
  assert_ok(db_begin_write(k->store->index->env, false, &txn));
  index_state_save(txn, &ahead);
  assert_ok(db_commit(txn));
  sl_close(k->store);
  k->store = NULL;
  assert_fails(sl_open(k->path, &k->options, &k->store), SL_E_MISMATCH, "reached event 2 but log/ ends at 1");
}

/* What layout 1 had: a version, a state of its own, tables of other names. Which attributes there are is kept. */
static void test_an_older_layout_is_built_anew(void **state) {
  kit *k = *state;
  const sl_query by_tenant = {.tenant = SL_STR("acme")};
  append_owned(k, 30, "acme");
  assert_ok(sl_index_attributes_set(k->store, SL_INDEX_TENANT));
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sl_close(k->store);
  k->store = NULL;
  static const db_table_def old[] = {{.name = "meta"}, {.name = "e00", .flags = DB_DUPFIXED | DB_DUPINT}};
  const db_env_options options = {.map_size = 64u << 20, .map_floor = 1u << 20, .max_readers = 512, .create = true,
                                  .mode = 0600}, found = {.map_size = 64u << 20, .max_readers = 512};
  db_env *env;
  db_txn *txn;
  assert_ok(db_env_open(kit_file(k, "index"), old, 2, &options, &env));
  assert_ok(db_begin_write(env, false, &txn));
  const uint64_t value = 1;
  db_put(txn, 1, SL_STR("0123456789abcdef"), db_u64(&value));
  db_put(txn, 0, SL_STR("version"), SL_BYTES("\x01\0\0\0", 4));
  db_put(txn, 0, SL_STR("state"), SL_STR("of layout 1"));
  assert_ok(db_commit(txn));
  db_env_close(env);

  for (int round = 0; round < 2; round++) {
    kit_open(k);
    index_view *view;
    assert_ok(index_view_open(k->store, &view));
    assert_int_equal(index_view_watermark(view), round == 0 ? 0 : 30);
    index_view_close(view);
    assert_ok(sl_index_advance(k->store, 0, NULL));
    assert_int_equal(scanned_for(k, &by_tenant, 30), 30);
    sl_verify_report report;
    assert_ok(sl_verify(k->store, NULL, NULL, &report));
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.index_entries, 3 * 30); /* event, type, tenant */
    sl_close(k->store);
    k->store = NULL;
  }
  assert_int_equal(db_env_open(kit_file(k, "index"), old, 2, &found, &env), SL_E_NO_STORE); /* e00 is gone */
  kit_open(k);
}

static void test_a_newer_index_is_refused(void **state) {
  kit *k = *state;
  db_txn *txn;
  assert_ok(db_begin_write(k->store->index->env, false, &txn));
  db_put(txn, INDEX_META, SL_STR("version"), SL_BYTES("\x09\0\0\0", 4));
  assert_ok(db_commit(txn));
  sl_close(k->store);
  k->store = NULL;
  assert_fails(sl_open(k->path, &k->options, &k->store), SL_E_VERSION, "newer sidelog");
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_duplicates_within_a_topic),
      WITH_STORE(test_replays_are_exempt_and_move_the_totals),
      WITH_STORE(test_postings_over_generations),
      WITH_STORE(test_what_a_look_keeps_is_of_its_snapshot),
      WITH_STORE(test_scans_resume_anywhere),
      WITH_STORE(test_stops_before_a_damaged_record),
      WITH_STORE(test_a_lost_index_is_rebuilt),
      WITH_STORE(test_secondary_attributes),
      WITH_STORE(test_verify_sees_secondary_attributes),
      WITH_STORE(test_an_older_layout_is_built_anew),
      WITH_STORE(test_an_index_ahead_of_the_log),
      WITH_STORE(test_a_newer_index_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
