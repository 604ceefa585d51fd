/* The ladder: whatever is merged when, and whatever is trimmed meanwhile, every look-up answers as a list
 * would. */
#include "kit.h"

#include "base/id.h"
#include "index/index_impl.h"
#include "store/log_inner.h"

enum { EVENTS = 2500, IDS = 700, CORRELATIONS = 60 };

typedef struct made { unsigned id, correlation, causation, tenant; } made; /* 0: none, but for the id */

typedef struct naive {
  kit *k;
  made events[EVENTS + 1]; /* by seq */
  uint64_t last, watermark, first;
} naive;

static sl_slice text_of(char *to, const char *kind, unsigned number) {
  return number ? SL_BYTES(to, (size_t)snprintf(to, 32, "%s %u", kind, number)) : (sl_slice){0};
}

/* What a flush costs plays no part here. */
static int setup(void **state) {
  const int rc = kit_setup(state);
  kit *k = *state;
  if (rc != 0) return rc;
  k->options.durability = SL_RELAXED;
  kit_reopen(k);
  return 0;
}

static void append_some(naive *n, size_t count) {
  for (; count > 0 && n->last < EVENTS; count--) {
    made *m = &n->events[n->last + 1];
    *m = (made){1 + (unsigned)random_below(IDS), (unsigned)random_below(CORRELATIONS), (unsigned)random_below(IDS),
                (unsigned)random_below(4)};
    char id[32], correlation[32], causation[32], tenant[32];
    const sl_event e = {.topic = SL_STR("t"), .event_id = text_of(id, "event", m->id),
                        .correlation_id = text_of(correlation, "flow", m->correlation),
                        .causation_id = text_of(causation, "cause", m->causation),
                        .tenant = text_of(tenant, "tenant", m->tenant), .value = SL_STR("v")};
    assert_ok(sl_append(n->k->store, &e, &n->last));
  }
}

static unsigned number_of(const made *m, index_attr attr) {
  return attr == INDEX_EVENT ? m->id : attr == INDEX_CORRELATION ? m->correlation
       : attr == INDEX_CAUSATION ? m->causation : m->tenant;
}

static void key_of(index_attr attr, unsigned number, uint8_t key[16]) {
  char text[32];
  const char *kind = attr == INDEX_EVENT ? "event" : attr == INDEX_CORRELATION ? "flow"
                   : attr == INDEX_CAUSATION ? "cause" : "tenant";
  index_key_of(attr, text_of(text, kind, number), key);
}

/* Entries of trimmed events may still be there: they are candidates that the log denies. */
static size_t kept_only(const naive *n, uint64_t *seqs, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++)
    if (seqs[i] >= n->first) seqs[kept++] = seqs[i];
  return kept;
}

static void check_key(const naive *n, index_view *view, index_attr attr, unsigned number) {
  static uint64_t wanted[EVENTS], found[EVENTS];
  uint8_t key[16];
  size_t count = 0, got;
  const uint64_t from = n->first + random_below((size_t)(n->watermark - n->first + 2));
  key_of(attr, number, key);
  for (uint64_t s = from; s <= n->watermark; s++)
    if (number_of(&n->events[s], attr) == number) wanted[count++] = s;
  assert_ok(index_view_seqs(view, attr, key, from, found, EVENTS, &got));
  assert_int_equal(got, count);
  if (count) assert_memory_equal(found, wanted, count * sizeof *found);
  for (size_t i = 0; i < count; i += 7) assert_ok(index_view_has(view, attr, key, wanted[i]));
  count = 0;
  for (uint64_t s = from; s >= n->first; s--)
    if (s <= n->watermark && number_of(&n->events[s], attr) == number) wanted[count++] = s;
  assert_ok(index_view_seqs_down(view, attr, key, from, found, EVENTS, &got));
  got = kept_only(n, found, got);
  assert_int_equal(got, count);
  if (count) assert_memory_equal(found, wanted, count * sizeof *found);
}

static void check_state(const index_state *s) {
  uint64_t used = s->dirty, next = 0;
  for (uint32_t i = 0; i < s->count; i++) {
    assert_true(s->gens[i].first_seq >= next);
    next = index_gen_last(&s->gens[i]) + 1;
    assert_true(s->gens[i].closed || i + 1 == s->count);
    assert_false(used >> s->gens[i].slot & 1);
    used |= UINT64_C(1) << s->gens[i].slot;
  }
  for (uint32_t i = 0; i < s->merge_count; i++) {
    assert_false(used >> s->merges[i].slot & 1);
    used |= UINT64_C(1) << s->merges[i].slot;
  }
}

static void check(const naive *n) {
  index_view *view;
  uint8_t low[16] = {0}, high[16];
  static index_key keys[IDS + 1];
  static bool there[IDS + 1];
  size_t count = 0, ids = 0;
  memset(high, 0xff, sizeof high);
  assert_ok(index_view_open(n->k->store, &view));
  assert_int_equal(index_view_watermark(view), n->watermark);
  check_state(&view->state);
  for (int i = 0; i < 8; i++) {
    check_key(n, view, INDEX_EVENT, 1 + (unsigned)random_below(IDS + 20));
    check_key(n, view, INDEX_CORRELATION, 1 + (unsigned)random_below(CORRELATIONS + 5));
    check_key(n, view, INDEX_CAUSATION, 1 + (unsigned)random_below(IDS + 20));
    check_key(n, view, INDEX_TENANT, 1 + (unsigned)random_below(5));
  }
  for (int i = 0; i < 20 && n->watermark >= n->first; i++) {
    const uint64_t seq = n->first + random_below((size_t)(n->watermark - n->first + 1));
    uint64_t original, wanted = 0;
    for (uint64_t s = seq - 1; s >= n->first; s--)
      if (n->events[s].id == n->events[seq].id) wanted = s;
    assert_ok(index_view_duplicate_of(view, seq, &original));
    if (original >= n->first) assert_int_equal(original, wanted); /* else of one that was trimmed since */
    else if (original == 0) assert_int_equal(wanted, 0);
  }
  memset(there, 0, sizeof there);
  for (uint64_t s = n->first; s <= n->watermark; s++)
    ids += !there[n->events[s].id], there[n->events[s].id] = true;
  assert_ok(index_view_keys(view, INDEX_EVENT, low, high, keys, IDS + 1, &count));
  assert_true(count >= ids);
  for (size_t i = 1; i < count; i++) assert_true(memcmp(keys[i - 1].key, keys[i].key, 16) < 0);
  index_view_close(view);
}

static void trim_some(naive *n) {
  const sl_trim_policy policy = {.max_events = 200 + random_below(1000)};
  kit_deliver(n->k, n->watermark);
  assert_ok(sl_trim(n->k->store, &policy, NULL));
  n->first = kit_head(n->k).first_seq;
}

static void verify_sound(kit *k) {
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void test_merges_change_no_answer(void **state) {
  kit *k = *state;
  static naive n;
  n = (naive){.k = k, .first = 1};
  print_message("seed %llu\n", (unsigned long long)random_seed());
  assert_ok(sl_index_attributes_set(k->store, SL_INDEX_TENANT));
  unsigned merged = 0;
  for (int turn = 0; n.last < EVENTS; turn++) {
    k->store->index->small = 4u << random_below(3);
    k->store->index->piece = 1 + random_below(300);
    append_some(&n, 1 + random_below(40));
    assert_ok(sl_index_advance(k->store, 1 + random_below(60), &n.watermark));
    if (turn % 20 == 0) check(&n);
    if (turn % 25 == 24) trim_some(&n);
    if (turn % 60 == 59) verify_sound(k);
    if (turn % 70 == 69) kit_reopen(k);
    index_view *view;
    assert_ok(index_view_open(k->store, &view));
    merged += view->state.merge_count;
    index_view_close(view);
  }
  assert_true(merged > 20); /* seen under way: not each is complete at once */
  assert_ok(sl_index_advance(k->store, 0, &n.watermark));
  check(&n);
  verify_sound(k);
  assert_ok(sl_reindex(k->store));
  check(&n);
  verify_sound(k);
}

static index_state state_of(kit *k) {
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  const index_state s = view->state;
  index_view_close(view);
  return s;
}

/* Whatever the steps' size, generations stay few, and those merged count exactly. */
static void test_the_ladder_holds(void **state) {
  kit *k = *state;
  k->store->index->small = 4;
  k->store->index->piece = 64;
  for (int i = 0; i < 400; i++) {
    const sl_event with = {.topic = SL_STR("t"), .correlation_id = SL_STR("c")}, without = {.topic = SL_STR("t")};
    const sl_event events[] = {with, without, with};
    assert_ok(sl_append_many(k->store, events, 3, NULL, NULL));
    assert_ok(sl_index_advance(k->store, 0, NULL));
    assert_true(state_of(k).count <= INDEX_SLOTS - INDEX_FREE_SLOTS);
  }
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  assert_int_equal(index_view_without_correlation(view), 400);
  index_view_close(view);
  verify_sound(k);
  k->store->index->small = INDEX_SMALL;
  assert_ok(sl_reindex(k->store));
  assert_int_equal(state_of(k).count, 1); /* packed */
}

/* With merging far behind the newest generation goes on, and later all is merged again. */
static void test_slots_suffice(void **state) {
  kit *k = *state;
  k->store->index->small = 4;
  k->store->index->piece = UINT64_MAX;
  for (int i = 0; i < 100; i++) {
    kit_fill(k, "t", 4, 4);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  assert_int_equal(state_of(k).count, INDEX_SLOTS);
  verify_sound(k);
  k->store->index->piece = 64;
  for (int i = 0; i < 100; i++) {
    kit_fill(k, "t", 4, 4);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  assert_true(state_of(k).count <= INDEX_SLOTS);
  verify_sound(k);
  kit_deliver(k, 800);
  const sl_trim_policy policy = {.max_events = 3};
  assert_ok(sl_trim(k->store, &policy, NULL));
  assert_int_equal(state_of(k).dirty, 0);
  assert_int_equal(state_of(k).count, 1);
  verify_sound(k);
}

/* Trim takes a source of a merge under way: it is given up, its slot is empty again, the rest goes on. */
static void test_a_merge_whose_source_is_trimmed(void **state) {
  kit *k = *state;
  sl_index *index = k->store->index;
  index->small = 16;
  index->piece = UINT64_MAX;
  for (int i = 0; i < 8; i++) {
    kit_fill(k, "t", 16, 4);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  db_txn *txn;
  index_state s;
  uint64_t done, entries;
  assert_ok(db_begin_write(index->env, false, &txn));
  assert_ok(index_state_load(txn, &s));
  assert_ok(index_merge_some(index, txn, &s, 1, 50, false, &done));
  assert_int_equal(done, 50);
  assert_int_equal(s.merge_count, 1);
  const uint32_t slot = s.merges[0].slot;
  assert_ok(index_state_save(txn, &s));
  assert_ok(db_commit(txn));
  verify_sound(k);
  kit_deliver(k, 128);
  const sl_trim_policy policy = {.max_events = 100};
  assert_ok(sl_trim(k->store, &policy, NULL));
  s = state_of(k);
  assert_int_equal(s.merge_count, 0);
  assert_int_equal(s.count, 7);
  assert_int_equal(s.dirty, 0);
  assert_ok(db_begin_read(index->env, &txn));
  assert_ok(db_count(txn, index_slot_table(slot, 0), &entries));
  db_abort(txn);
  assert_int_equal(entries, 0);
  index->piece = 10;
  kit_fill(k, "t", 16, 4);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  verify_sound(k);
}

/* docs/disk-format.md: none is denied that is there, and about one in seventy is not that is not. */
static void test_filters(void **state) {
  kit *k = *state;
  enum { MANY = 30000, BATCH = 1000 };
  static char ids[BATCH][24];
  static sl_event batch[BATCH];
  for (unsigned n = 0; n < MANY; n += BATCH) {
    for (unsigned i = 0; i < BATCH; i++)
      batch[i] = (sl_event){.topic = SL_STR("t"),
                            .event_id = SL_BYTES(ids[i], (size_t)snprintf(ids[i], 24, "%u", n + i))};
    assert_ok(sl_append_many(k->store, batch, BATCH, NULL, NULL));
  }
  assert_ok(sl_reindex(k->store));
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  assert_int_equal(view->state.count, 1);
  unsigned wrong = 0;
  for (unsigned n = 0; n < 2 * MANY; n++) {
    char text[24];
    uint8_t key[16];
    bool may, all_may;
    uint64_t bits;
    index_key_of(INDEX_EVENT, SL_BYTES(text, (size_t)snprintf(text, 24, "%u", n)), key);
    assert_ok(index_filter_ask(&view->filter, view->txn, &view->state.gens[0], INDEX_EVENT, key, &may));
    assert_ok(index_filter_ask_all(&view->filter, view->txn, &view->state, INDEX_EVENT, key, &bits));
    all_may = bits & 1;
    assert_int_equal(may, all_may);
    if (n < MANY) assert_true(may);
    else wrong += may;
  }
  index_view_close(view);
  print_message("%u of %d strangers pass\n", wrong, MANY);
  assert_in_range(wrong, 1, MANY / 45);
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, setup, kit_teardown)

/* Where merging has failed for so long that no slot is left, the index goes on, also while the newest generation
 * is being merged. */
static void test_no_slot_is_left_while_the_newest_is_merged(void **state) {
  kit *k = *state;
  sl_index *index = k->store->index;
  db_txn *txn;
  index_state s;
  uint64_t done, watermark;
  index->small = 4;
  index->piece = UINT64_C(1) << 40; /* never due */
  for (unsigned i = 0; i < INDEX_SLOTS - 2; i++) {
    kit_append(k, "t", "v");
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  assert_ok(db_begin_write(index->env, true, &txn));
  assert_ok(index_state_load(txn, &s));
  assert_int_equal(s.count, INDEX_SLOTS - 2);
  assert_ok(index_merge_some(index, txn, &s, 1, 1, false, &done));
  assert_int_equal(s.merge_count, 2); /* of the oldest, and of the newest two: no slot is left */
  assert_int_equal(s.merges[1].last_seq, INDEX_SLOTS - 2);
  assert_ok(index_state_save(txn, &s));
  assert_ok(db_commit(txn));
  for (unsigned i = 0; i < 50; i++) {
    kit_append(k, "t", "v");
    assert_ok(sl_index_advance(k->store, 0, &watermark));
    if (i == 5) index->piece = 64;
  }
  assert_int_equal(watermark, INDEX_SLOTS - 2 + 50);
  verify_sound(k);
}

/* No sidelog writes such a record, but a file that one is given may hold it. */
static void test_a_replay_without_an_id(void **state) {
  kit *k = *state;
  db_txn *txn;
  sl_buf bytes = {0};
  const uint64_t seq = 1;
  const sl_parts parts = {.flags = SL_RECORD_REPLAY, .origin_seq = 1, .appended_us = 1, .topic = SL_STR("t"),
                          .type = SL_STR("t")};
  assert_ok(sl_record_encode(&parts, &bytes));
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(db_append(txn, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&bytes)));
  assert_ok(db_commit(txn));
  sl_buf_free(&bytes);
  assert_ok(sl_index_advance(k->store, 0, NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_merges_change_no_answer), WITH_STORE(test_the_ladder_holds), WITH_STORE(test_slots_suffice),
      WITH_STORE(test_a_merge_whose_source_is_trimmed), WITH_STORE(test_filters),
      WITH_STORE(test_no_slot_is_left_while_the_newest_is_merged), WITH_STORE(test_a_replay_without_an_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
