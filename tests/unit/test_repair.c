/* sl_repair: what can be read arrives byte for byte, what cannot is said seq by seq, and delivery goes on. */
#include "kit.h"

#include "delivery/book_impl.h"
#include "index/index_impl.h"
#include "repair/pages.h"
#include "store/log_inner.h"

#include <fcntl.h>
#include <sidelog/dead.h>

static char said[65536];

static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  (void)arg;
  const size_t len = strlen(said);
  snprintf(said + len, sizeof said - len, "%s %d-%d: %s\n", sl_repair_kind_text(kind), (int)first, (int)last,
           text);
}

static const char *target(const kit *k) {
  static char path[4400];
  snprintf(path, sizeof path, "%s/repaired", k->dir);
  return path;
}

static size_t size_of(uint64_t seq) { return seq % 10 == 7 ? 9000 : seq % 10 == 3 ? 1500 : 60; }

static void value_of(uint64_t seq, char *value) {
  for (size_t i = 0; i < size_of(seq); i++) value[i] = (char)('a' + (seq * 31 + i * 7) % 26);
  char name[16];
  memcpy(value, name, (size_t)snprintf(name, sizeof name, "event %d.", (int)seq));
}

/* 100 events of several sizes in two topics: 1-40 sent, but 12 a duplicate, 13 dead, 14 dropped. */
static int setup(void **state) {
  if (kit_setup(state) != 0) return -1;
  kit *k = *state;
  char value[9000];
  for (uint64_t i = 1; i <= 100; i++) {
    char id[16];
    snprintf(id, sizeof id, "id %d", i == 12 ? 11 : (int)i);
    value_of(i, value);
    const sl_event e = {.topic = i % 4 == 3 ? SL_STR("b") : SL_STR("a"), .event_id = sl_slice_of(id),
                        .correlation_id = SL_STR("c"), .value = {value, size_of(i)}};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sl_delivery *d;
  assert_ok(delivery_open(k->store, &d));
  const sl_letter letter = {.attempts = 3, .error_class = SL_STR("NON_RETRYABLE_POLICY")};
  delivery_verdict v[40];
  for (uint64_t i = 0; i < 40; i++)
    v[i] = (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_SENT, .partition = 2, .place = (int64_t)i + 500};
  v[11] = (delivery_verdict){.seq = 12, .verdict = SL_VERDICT_DUPLICATE, .place = 11};
  v[12] = (delivery_verdict){.seq = 13, .verdict = SL_VERDICT_DEAD, .letter = &letter};
  v[13] = (delivery_verdict){.seq = 14, .verdict = SL_VERDICT_DROPPED, .letter = &letter};
  for (uint64_t n = 1; n <= 4; n++) {
    const delivery_attempt a = {.progress = {.seq = n * 10, .attempt = n}, .verdicts = v + (n - 1) * 10,
                                .count = 10,
                                .marked = true};
    assert_ok(delivery_record(d, &a));
  }
  delivery_close(d);
  return 0;
}

static sl_repair_report repair(kit *k, uint32_t flags) {
  const sl_repair_options options = {.flags = flags};
  sl_repair_report report = {0};
  said[0] = '\0';
  kit_close(k);
  if (sl_repair(k->path, target(k), &options, hear, NULL, &report) != SL_OK)
    fail_msg("%s\n%s", sl_last_detail(), said);
  assert_ok(sl_open(target(k), &(sl_options){.flags = SL_OPEN_EXISTING}, &k->store));
  sl_verify_report found;
  assert_ok(sl_verify(k->store, NULL, NULL, &found));
  assert_int_equal(found.problems, 0);
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  return report;
}

/* Every event that is there is what was appended; *missing: how many of 1..100 are not, *tombstones: of them. */
static void check_events(kit *k, unsigned *missing, unsigned *tombstones) {
  sl_iter *it;
  const sl_record *r;
  char value[9000];
  uint64_t there = 0, stones = 0;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    if (sl_slice_eq(r->type, SL_STR("LOST_DAMAGED"))) {
      stones++;
      assert_int_equal(r->state, SL_DROPPED);
      assert_slice(r->error_class, "LOST_DAMAGED");
      continue;
    }
    there++;
    value_of(r->seq, value);
    assert_true(sl_slice_eq(r->value, SL_BYTES(value, size_of(r->seq))));
    assert_slice(r->topic, r->seq % 4 == 3 ? "b" : "a");
    assert_int_equal(r->state, r->seq > 40 ? SL_PENDING : r->seq == 12 ? SL_DUPLICATE : r->seq == 13 ? SL_DEAD
                                                     : r->seq == 14 ? SL_DROPPED : SL_SENT);
    if (r->state == SL_SENT) assert_int_equal(r->offset, r->seq + 499);
  }
  sl_iter_close(it);
  *missing = 100 - (unsigned)there;
  *tombstones = (unsigned)stones;
}

static db_txn *begin(db_env *env) {
  db_txn *txn;
  assert_ok(db_begin_write(env, false, &txn));
  return txn;
}

static void test_a_sound_store(void **state) {
  kit *k = *state;
  char id[37];
  memcpy(id, sl_store_id(k->store), 37);
  const sl_repair_report r = repair(k, 0);
  unsigned missing, stones;
  assert_string_equal(said, "");
  assert_int_equal(r.events, 100);
  assert_int_equal(r.findings, 0);
  assert_int_equal(r.delivery_kept, 1);
  assert_string_equal(sl_store_id(k->store), id);
  check_events(k, &missing, &stones);
  assert_int_equal(missing, 0);
}

/* Flips a bit of the value of an event, in the file, wherever it stands. */
static void flip_value(kit *k, uint64_t seq) {
  char value[9000];
  struct stat st;
  const int fd = open(kit_file(k, "log/data.mdb"), O_RDWR);
  assert_int_equal(fstat(fd, &st), 0);
  uint8_t *bytes = malloc((size_t)st.st_size);
  assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
  value_of(seq, value);
  unsigned flipped = 0;
  for (size_t at = 0; at + size_of(seq) <= (size_t)st.st_size; at++) {
    if (memcmp(bytes + at, value, size_of(seq)) != 0) continue;
    bytes[at + 5] ^= 1;
    assert_int_equal(pwrite(fd, bytes + at + 5, 1, (off_t)at + 5), 1);
    flipped++;
  }
  assert_true(flipped > 0);
  free(bytes);
  close(fd);
}

static void test_lost_events(void **state) {
  kit *k = *state;
  unsigned missing, stones;
  kit_close(k);
  flip_value(k, 7);
  flip_value(k, 63);
  flip_value(k, 64);
  flip_value(k, 100);
  const sl_repair_report r = repair(k, 0);
  assert_non_null(strstr(said, "lost-settled 7-7: its record fails its checksum"));
  assert_non_null(strstr(said, "lost-pending 63-64: its record fails its checksum"));
  assert_non_null(strstr(said, "lost-pending 100-100:"));
  assert_int_equal(r.lost_settled, 1);
  assert_int_equal(r.lost_pending, 3);
  assert_int_equal(r.events, 96);
  assert_int_equal(r.findings, 3);
  check_events(k, &missing, &stones);
  assert_int_equal(missing, 4);
  assert_int_equal(stones, 3);
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.dropped, 4); /* at once, not when delivery passes them */
  assert_int_equal(s.pending, 57);
  assert_int_equal(kit_append(k, "a", "next"), 101); /* no seq is used twice */

  /* Delivery goes on, over the tombstones. */
  sl_delivery *d;
  delivery_verdict v[61];
  const sl_letter letter = {.error_class = SL_STR("LOST_DAMAGED")};
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  assert_int_equal(delivery_state_get(d)->cursor.seq, 40);
  assert_int_equal(delivery_state_get(d)->last_attempt, 4);
  for (uint64_t i = 0; i < 61; i++) {
    v[i] = (delivery_verdict){.seq = i + 41, .verdict = SL_VERDICT_SENT, .place = -1};
    if (i == 22 || i == 23 || i == 59)
      v[i] = (delivery_verdict){.seq = i + 41, .verdict = SL_VERDICT_DROPPED, .letter = &letter};
  }
  const delivery_attempt a = {.progress = {.seq = 101, .attempt = 5}, .verdicts = v, .count = 61};
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  delivery_close(d);
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.pending, 0);
  assert_int_equal(s.dropped, 4);
  assert_true(s.balanced);
  sl_verify_report found;
  assert_ok(sl_verify(k->store, NULL, NULL, &found));
  assert_int_equal(found.problems, 0);
}

static void lose_block(kit *k, uint64_t seq) {
  db_txn *txn = begin(k->store->book->env);
  assert_ok(db_del(txn, BOOK_RECEIPTS, db_u64(&seq)));
  assert_ok(db_commit(txn));
}

static void test_lost_receipts(void **state) {
  kit *k = *state;
  lose_block(k, 21);
  db_txn *txn = begin(k->store->book->env);
  const uint64_t dead = 13;
  assert_ok(db_del(txn, BOOK_DEAD, db_u64(&dead)));
  assert_ok(db_commit(txn));
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.receipts_lost, 10);
  assert_non_null(strstr(said, "receipts 21-30: what became of it is lost"));
  assert_non_null(strstr(said, "receipts 13-13: its letter is lost"));
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.delivered, 27);
  assert_int_equal(s.dropped, 11);
  assert_int_equal(s.pending, 60);
}

/* Event 13 was dead, was sent again and arrived; the letter that said why it was dead is lost. */
static void test_the_lost_letter_of_an_event_that_was_sent_again(void **state) {
  kit *k = *state;
  const uint64_t dead = 13;
  uint64_t copy;
  assert_ok(sl_replay(k->store, dead, NULL, &copy));
  assert_ok(sl_index_advance(k->store, 0, NULL));
  kit_deliver(k, copy);
  db_txn *txn = begin(k->store->book->env);
  assert_ok(db_del(txn, BOOK_DEAD, db_u64(&dead)));
  assert_ok(db_commit(txn));
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.receipts_lost, 0);
  assert_non_null(strstr(said, "receipts 13-13: its letter is lost"));
}

static void test_no_delivery(void **state) {
  kit *k = *state;
  char id[37], path[4500];
  memcpy(id, sl_store_id(k->store), 37);
  kit_close(k);
  snprintf(path, sizeof path, "%s", kit_file(k, "delivery/data.mdb"));
  assert_int_equal(truncate(path, 100), 0);
  sl_repair_report report;
  assert_fails(sl_repair(k->path, target(k), NULL, hear, NULL, &report), SL_E_MISMATCH, "cannot be trusted");
  assert_int_not_equal(access(target(k), F_OK), 0);
  const sl_repair_report r = repair(k, SL_REPAIR_NO_DELIVERY);
  assert_int_equal(r.delivery_kept, 0);
  assert_string_not_equal(sl_store_id(k->store), id);
  assert_non_null(strstr(said, "sent again"));
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.pending, 100);
  kit_deliver(k, 100);
}

/* Which of the two meta pages is the newer one; *txn: its number. */
static int newer_meta(int fd, uint64_t *txn) {
  uint64_t txns[2];
  for (int i = 0; i < 2; i++) assert_int_equal(pread(fd, &txns[i], 8, i * 4096 + 16 + 128), 8);
  *txn = txns[txns[1] > txns[0]];
  return txns[1] > txns[0];
}

/* Where the page that leads to the tables lies. */
static off_t main_page(int fd) {
  uint64_t txn, root;
  assert_int_equal(pread(fd, &root, 8, newer_meta(fd, &txn) * 4096 + 16 + 112), 8);
  return (off_t)root * 4096;
}

/* The cursor of an older commit is no cursor: the newer meta page is damaged. */
static void test_an_older_cursor_is_not_believed(void **state) {
  kit *k = *state;
  kit_close(k);
  const int fd = open(kit_file(k, "delivery/data.mdb"), O_RDWR);
  uint64_t txn;
  const int newer = newer_meta(fd, &txn);
  txn -= 2;
  assert_int_equal(pwrite(fd, &txn, 8, newer * 4096 + 16 + 128), 8);
  close(fd);
  sl_repair_report report;
  assert_fails(sl_repair(k->path, target(k), NULL, hear, NULL, &report), SL_E_MISMATCH, "attempt 4");
}

static void test_trimmed_and_eras(void **state) {
  kit *k = *state;
  const sl_trim_policy policy = {.max_events = 70};
  assert_ok(sl_trim(k->store, &policy, NULL));
  const sl_repair_report r = repair(k, 0);
  assert_string_equal(said, "");
  assert_int_equal(r.first_seq, 31);
  assert_int_equal(r.events, 70);
}

/* The page that leads to the tables is gone: only older copies of it are left. */
static void lose_main_page(kit *k, const char *file) {
  static const uint8_t zeros[4096];
  const int fd = open(kit_file(k, file), O_RDWR);
  assert_int_equal(pwrite(fd, zeros, sizeof zeros, main_page(fd)), sizeof zeros);
  close(fd);
}

/* The main tree's root is gone, and with it the newest count. The copy that counts most is from before the
 * trim. */
static void test_no_event_is_made_up_from_an_older_count(void **state) {
  kit *k = *state;
  uint64_t seqs[40];
  for (uint64_t i = 0; i < 50; i++) kit_append(k, "t", "value value value value value");
  for (uint64_t i = 0; i < 40; i++) seqs[i] = i + 1;
  kit_deliver(k, 40);
  assert_ok(log_remove(k->store, seqs, 40));
  for (uint64_t i = 0; i < 20; i++) kit_append(k, "t", "value value value value value");
  kit_close(k);
  lose_main_page(k, "log/data.mdb");
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.last_seq, 70);
  assert_int_equal(r.lost_pending, 0);
  assert_true(r.end_unknown);
}

static void test_of_older_copies_the_newest_counts(void **state) {
  kit *k = *state;
  const sl_trim_policy policy = {.max_events = 70};
  assert_ok(sl_trim(k->store, &policy, NULL)); /* the copies from before it count more events */
  kit_append(k, "a", "one more");
  kit_close(k);
  lose_main_page(k, "log/data.mdb");
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.first_seq, 31);
  assert_int_equal(r.receipts_lost, 0);
  assert_true(r.end_unknown);
  assert_non_null(strstr(said, "may be back"));
}

/* The trim was the last commit. Its events have no receipts any more: they do not come back, or are not kept
 * secret. */
static void test_trimmed_events_do_not_come_back(void **state) {
  kit *k = *state;
  const sl_trim_policy policy = {.max_events = 70};
  sl_stats before, after;
  assert_ok(sl_trim(k->store, &policy, NULL));
  assert_ok(sl_stats_get(k->store, &before));
  kit_close(k);
  lose_main_page(k, "log/data.mdb");
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.first_seq, 31);
  assert_int_equal(r.events, 70);
  assert_int_equal(r.receipts_lost, 0);
  assert_non_null(strstr(said, "may be back"));
  assert_ok(sl_stats_get(k->store, &after));
  assert_int_equal(after.delivered, before.delivered);
  assert_int_equal(after.dropped, before.dropped);
  assert_int_equal(after.pending, before.pending);
}

static void test_without_the_delivery_state_trimmed_events_may_be_back_and_that_is_told(void **state) {
  kit *k = *state;
  const sl_trim_policy policy = {.max_events = 70};
  assert_ok(sl_trim(k->store, &policy, NULL));
  kit_close(k);
  lose_main_page(k, "log/data.mdb");
  const sl_repair_report r = repair(k, SL_REPAIR_NO_DELIVERY);
  assert_true(r.first_seq == 31 || strstr(said, "may be back") != NULL);
}

/* A bit of the log's head, which has no checksum, must not make trimmed events of all that are found another
 * way. */
static void test_a_flipped_first_seq_hides_no_events(void **state) {
  static const uint8_t zeros[4096];
  kit *k = *state;
  log_meta meta;
  sl_slice value;
  uint64_t seq = 50;
  db_txn *txn = begin(k->store->log->env);
  assert_ok(log_meta_read(txn, &meta));
  meta.first_seq ^= 1 << 20;
  assert_ok(log_meta_write(txn, &meta));
  assert_ok(db_commit(txn));
  assert_ok(db_begin_read(k->store->log->env, &txn));
  assert_ok(db_get(txn, LOG_EVENTS, db_u64(&seq), &value));
  const uint64_t page = sl_get_u64((const uint8_t *)((uintptr_t)value.data & ~(uintptr_t)4095));
  db_abort(txn);
  kit_close(k);
  /* its head alone: its records are found, if looked for */
  const int fd = open(kit_file(k, "log/data.mdb"), O_RDWR);
  assert_int_equal(pwrite(fd, zeros, 16, (off_t)page * 4096), 16);
  close(fd);
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.events, 100);
  assert_int_equal(r.lost_pending + r.lost_settled, 0);
}

/* A bit of a table's name: the page that leads to it is there, so nothing is old and nothing in doubt. */
static void test_a_flipped_name_of_a_table_is_no_older_table(void **state) {
  kit *k = *state;
  uint8_t page[4096];
  kit_close(k);
  const int fd = open(kit_file(k, "log/data.mdb"), O_RDWR);
  const off_t at = main_page(fd);
  assert_int_equal(pread(fd, page, sizeof page, at), sizeof page);
  uint8_t *name = memmem(page, sizeof page, "events", 6);
  assert_non_null(name);
  name[2] ^= 4;
  assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
  close(fd);
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.events, 100);
  assert_false(r.end_unknown);
  assert_int_equal(r.lost_pending + r.lost_settled, 0);
}

/* The head of the log is lost, and a record in the middle: the tree's end is whole, so the newest event is
 * known. */
static void test_the_end_is_known_where_the_tree_ends_whole(void **state) {
  kit *k = *state;
  db_txn *txn = begin(k->store->log->env);
  assert_ok(db_del(txn, LOG_META, LOG_KEY_HEAD));
  assert_ok(db_commit(txn));
  kit_close(k);
  flip_value(k, 63);
  const sl_repair_report r = repair(k, 0);
  assert_int_equal(r.last_seq, 100);
  assert_int_equal(r.lost_pending, 1);
  assert_false(r.end_unknown);
}

/* What the index says of the end is believed only by its checksum. */
static void test_a_damaged_watermark_makes_up_no_events(void **state) {
  kit *k = *state;
  sl_slice value;
  assert_ok(sl_index_advance(k->store, 0, NULL));
  db_txn *txn = begin(k->store->index->env);
  assert_ok(db_get(txn, INDEX_META, SL_STR(INDEX_STATE_NAME), &value));
  uint8_t bytes[4096];
  memcpy(bytes, value.data, value.len);
  bytes[0] ^= 128; /* 100 becomes 228 */
  assert_ok(db_put(txn, INDEX_META, SL_STR(INDEX_STATE_NAME), SL_BYTES(bytes, value.len)));
  assert_ok(db_commit(txn));
  kit_close(k);
  lose_main_page(k, "log/data.mdb"); /* so the index is asked */
  const sl_repair_report r = repair(k, 0);
  assert_true(r.last_seq <= 100);
  assert_true(r.end_unknown);
}

static void test_refusals(void **state) {
  kit *k = *state;
  assert_fails(sl_repair(k->path, k->dir, NULL, NULL, NULL, NULL), SL_E_INVALID, "exists");
  assert_fails(sl_repair(k->dir, target(k), NULL, NULL, NULL, NULL), SL_E_NO_STORE, "log/data.mdb");
  assert_fails(sl_repair(k->path, target(k), NULL, NULL, NULL, NULL), SL_E_BUSY, "open in another process");
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_a_sound_store),
      WITH_STORE(test_lost_events),
      WITH_STORE(test_lost_receipts),
      WITH_STORE(test_the_lost_letter_of_an_event_that_was_sent_again),
      WITH_STORE(test_no_delivery),
      WITH_STORE(test_an_older_cursor_is_not_believed),
      WITH_STORE(test_trimmed_and_eras),
      WITH_STORE(test_of_older_copies_the_newest_counts),
      WITH_STORE(test_trimmed_events_do_not_come_back),
      WITH_STORE(test_without_the_delivery_state_trimmed_events_may_be_back_and_that_is_told),
      WITH_STORE(test_a_flipped_first_seq_hides_no_events),
      WITH_STORE(test_a_flipped_name_of_a_table_is_no_older_table),
      WITH_STORE(test_the_end_is_known_where_the_tree_ends_whole),
      WITH_STORE(test_a_damaged_watermark_makes_up_no_events),
      cmocka_unit_test_setup_teardown(test_no_event_is_made_up_from_an_older_count, kit_setup, kit_teardown),
      WITH_STORE(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
