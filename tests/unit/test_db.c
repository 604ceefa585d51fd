/* The door to LMDB: tables, sticky errors, kept readers, pages kept together. */
#include "db_kit.h"

#include <fcntl.h>
#include <sys/wait.h>
#if defined(__GLIBC__)
# include <malloc.h>
#endif

static void test_what_is_committed_is_read(void **state) {
  room *r = *state;
  db_txn *txn;
  sl_slice value;
  uint64_t key = 7, count;
  put_number(r, key, "seven");
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_get(txn, NUMBERS, db_u64(&key), &value));
  assert_slice(value, "seven");
  key = 8;
  assert_int_equal(db_get(txn, NUMBERS, db_u64(&key), &value), SL_NOTFOUND);
  assert_ok(db_txn_status(txn)); /* a miss is no error */
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 1);
  db_abort(txn);
}

static void test_a_snapshot_stays_as_it_was(void **state) {
  room *r = *state;
  db_txn *old;
  sl_slice value;
  uint64_t key = 1;
  put_number(r, 1, "old");
  assert_ok(db_begin_read(r->env, &old));
  put_number(r, 1, "new");
  assert_ok(db_get(old, NUMBERS, db_u64(&key), &value));
  assert_slice(value, "old");
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 1);
  assert_true(info.reader_lag > 0);
  db_abort(old);
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 0); /* the kept transaction is at rest and holds no space */
}

static bool holds(room *r, db_kept *kept) {
  db_txn *txn;
  bool same;
  assert_ok(db_begin_kept(r->env, kept, &same, &txn));
  db_abort(txn);
  return same;
}

static void test_what_is_kept_holds_for_one_snapshot_in_one_map(void **state) {
  room *r = *state;
  db_kept kept = {0};
  put_number(r, 1, "one");
  assert_false(holds(r, &kept));
  assert_true(holds(r, &kept));
  put_number(r, 2, "two");
  assert_false(holds(r, &kept));
  assert_true(holds(r, &kept));
  kept.opening++; /* of the same snapshot in another map */
  assert_false(holds(r, &kept));
}

static void test_the_first_error_stays_and_nothing_is_stored(void **state) {
  room *r = *state;
  db_txn *txn;
  sl_slice value;
  uint64_t key = 5, lower = 4, count;
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_append(txn, NUMBERS, db_u64(&key), SL_STR("five")));
  assert_fails(db_append(txn, NUMBERS, db_u64(&lower), SL_STR("four")), SL_E_INVALID, "ascending");
  assert_int_equal(db_put(txn, NUMBERS, db_u64(&key), SL_STR("x")), SL_E_INVALID);
  assert_int_equal(db_get(txn, NUMBERS, db_u64(&key), &value), SL_E_INVALID);
  assert_int_equal(db_commit(txn), SL_E_INVALID);
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 0);
  db_abort(txn);
}

static void test_cursors_walk_both_ways_and_through_values(void **state) {
  room *r = *state;
  db_txn *txn;
  db_cur *cur;
  sl_slice key, value;
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_cur_open(txn, PAIRS, &cur));
  for (uint64_t i = 0; i < 30; i++) {
    uint64_t v = i;
    assert_ok(db_cur_put_sorted(cur, i < 10 ? SL_STR("a") : i < 11 ? SL_STR("b") : SL_STR("c"), db_u64(&v),
                                 i != 0 && i != 10 && i != 11));
  }
  db_cur_close(cur);
  assert_ok(db_commit(txn));
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_cur_open(txn, PAIRS, &cur));
  key = SL_STR("c");
  assert_ok(db_cur_move(cur, DB_FIND, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 11);
  assert_ok(db_cur_move(cur, DB_LAST_VALUE, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 29);
  assert_slice(key, "c");
  assert_int_equal(db_cur_move(cur, DB_NEXT_VALUE, &key, &value), SL_NOTFOUND);
  uint64_t from = 15;
  key = SL_STR("c"), value = db_u64(&from);
  assert_ok(db_cur_move(cur, DB_SEEK_VALUE, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 15);
  assert_ok(db_cur_move(cur, DB_FIRST, &key, &value));
  assert_ok(db_cur_move(cur, DB_NEXT_KEY, &key, &value));
  assert_slice(key, "b");
  assert_ok(db_cur_move(cur, DB_LAST_VALUE, &key, &value)); /* of a key with one value */
  assert_slice(key, "b");
  assert_int_equal(sl_get_u64(value.data), 10);
  assert_ok(db_cur_move(cur, DB_PREV, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 9);
  db_cur_close(cur);
  db_abort(txn);
}

static void test_an_emptied_table_is_empty_and_usable(void **state) {
  room *r = *state;
  db_txn *txn;
  uint64_t count;
  put_number(r, 1, "one");
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_empty(txn, NUMBERS));
  assert_ok(db_commit(txn));
  put_number(r, 2, "two");
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 1);
  db_abort(txn);
}

static void test_more_readers_than_slots(void **state) {
  room *r = *state;
  db_txn *held[100];
  int n = 0;
  sl_status status = SL_OK;
  while (n < 100 && (status = db_begin_read(r->env, &held[n])) == SL_OK) n++;
  assert_int_equal(status, SL_E_BUSY);
  assert_non_null(strstr(sl_last_detail(), "reader"));
  while (n > 0) db_abort(held[--n]);
  assert_ok(db_begin_read(r->env, &held[0]));
  db_abort(held[0]);
}

/* Readers that were killed leave their slots taken; a begin that finds none free looks for the dead. */
static void test_slots_of_dead_readers_are_taken_back(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->env = NULL;
  for (int i = 0; i < 3; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      db_env *env;
      db_txn *txn;
      if (db_env_open(r->dir, tables, TABLES, &r->options, &env) != SL_OK) _exit(1);
      for (int n = 0; n < 60; n++)
        if (db_begin_read(env, &txn) != SL_OK) _exit(2);
      _exit(0);
    }
    int code;
    waitpid(pid, &code, 0);
    assert_int_equal(code, 0);
  }
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 0);
}

static void test_a_child_is_told_so(void **state) {
  room *r = *state;
  db_txn *txn;
  put_number(r, 1, "parent");
  assert_ok(db_begin_read(r->env, &txn)); /* one kept transaction for the child to leave alone */
  db_abort(txn);
  pid_t pid = fork();
  if (pid == 0) {
    sl_status a = db_begin_read(r->env, &txn), b = db_begin_write(r->env, false, &txn);
    db_env_close(r->env);
    _exit(a == SL_E_FORKED && b == SL_E_FORKED ? 0 : 1);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  put_number(r, 2, "parent goes on");
  assert_ok(db_begin_read(r->env, &txn));
  db_abort(txn);
}

/* Write calls of this process so far; 0: the system does not say. */
static uint64_t write_calls(void) {
  char line[128];
  unsigned long long calls = 0;
  FILE *f = fopen("/proc/self/io", "r");
  while (f && fgets(line, sizeof line, f)) (void)sscanf(line, "syscw: %llu", &calls);
  if (f) fclose(f);
  return calls;
}

enum { KEPT = 3000, BATCH = 16 };

static void append_and_trim(room *r, uint64_t *first, uint64_t *last) {
  static const uint8_t value[1000];
  db_txn *txn;
  assert_ok(db_begin_write(r->env, false, &txn));
  for (unsigned i = 0; i < BATCH; i++) {
    ++*last;
    db_append(txn, NUMBERS, db_u64(last), SL_BYTES(value, sizeof value));
  }
  db_put(txn, NAMES, SL_STR("last"), db_u64(last));
  assert_ok(db_commit(txn));
  if (*last - *first < KEPT + 1000) return;
  assert_ok(db_begin_write(r->env, false, &txn));
  for (; *last - *first >= KEPT; ++*first) db_del(txn, NUMBERS, db_u64(first));
  assert_ok(db_commit(txn));
}

/* Write calls a commit, after `commits` of them, over 1,000 more; 0: the system does not say. *pages: of the
 * file. */
static double live_on(room *r, uint64_t slack_pages, unsigned commits, uint64_t *pages) {
  uint64_t first = 1, last = 0, count;
  db_txn *txn;
  db_env_info info;
  db_env_allow_slack(r->env, slack_pages);
  for (unsigned i = 0; i < commits; i++) append_and_trim(r, &first, &last);
  const uint64_t before = write_calls();
  for (unsigned i = 0; i < 1000; i++) append_and_trim(r, &first, &last);
  const uint64_t calls = write_calls() - before;
  assert_ok(db_env_info_get(r->env, &info));
  *pages = info.last_page + 1;
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NAMES, &count));
  assert_int_equal(count, 1); /* what gathering puts there is never left */
  db_abort(txn);
  return (double)calls / 1000;
}

/* Each run of neighbouring pages is a write call. Pages that are freed a few at a time, in a store that is trimmed
 * beside its appends, once came to lie apart: 8 calls a commit here, where 4 are enough. */
static void test_commits_write_few_runs_however_long_a_store_lives(void **state) {
  uint64_t pages;
  if (write_calls() == 0) skip();
  assert_true(live_on(*state, 1 << 20, 6000, &pages) < 5);
}

/* The value of a key, unlike its neighbours'. */
static sl_slice long_value(uint64_t key) {
  static uint64_t words[125];
  for (unsigned i = 0; i < 125; i++) words[i] = key * 1000 + i;
  return SL_BYTES(words, sizeof words);
}

/* Commits of one record each leave a page of every nineteen that they write, and use the others again. Where the
 * left ones stayed in between, 7 pages came to be 4 runs; now they are moved out of the way, and no record may
 * change by that. */
static void test_commits_of_one_record_write_hardly_more_than_one_run(void **state) {
  enum { BEFORE = 20000, COMMITS = 3000, META = 1 };
  room *r = *state;
  db_txn *txn;
  db_env_info info;
  uint64_t key = 1;
  if (write_calls() == 0) skip();
  db_env_allow_slack(r->env, 1 << 20);
  assert_ok(db_begin_write(r->env, false, &txn));
  for (; key <= BEFORE; key++) db_append(txn, NUMBERS, db_u64(&key), long_value(key));
  assert_ok(db_commit(txn));
  assert_ok(db_env_info_get(r->env, &info));
  const uint64_t before = write_calls(), pages = info.last_page;
  for (; key <= BEFORE + COMMITS; key++) {
    assert_ok(db_begin_write(r->env, false, &txn));
    db_append(txn, NUMBERS, db_u64(&key), long_value(key));
    assert_ok(db_commit(txn));
  }
  assert_true((double)(write_calls() - before) / COMMITS - META < 2.5);
  assert_ok(db_env_info_get(r->env, &info));
  assert_true(info.last_page - pages < COMMITS / 3 + 400); /* that room is bounded */
  assert_ok(db_begin_read(r->env, &txn));
  for (key = 1; key <= BEFORE + COMMITS; key++) {
    sl_slice value;
    assert_ok(db_get(txn, NUMBERS, db_u64(&key), &value));
    assert_true(sl_slice_eq(value, long_value(key)));
  }
  db_abort(txn);
}

static void test_free_pages_are_kept_together_only_within_the_slack_allowed(void **state) {
  uint64_t pages;
  (void)live_on(*state, 1500, 6000, &pages);
  assert_true(pages < 1700);
}

/* A full disk has no room for holes, and trim relies on the free pages of the file. */
static void test_pages_kept_together_are_on_the_disk(void **state) {
  room *r = *state;
  struct stat st;
  uint64_t pages;
  (void)live_on(r, 1 << 20, 0, &pages);
  assert_int_equal(stat(r->data, &st), 0);
  assert_in_range(st.st_blocks * 512 / 4096, pages - 4, UINT64_MAX);
}

/* LMDB writes what a value left open of what it was given, too. */
static void test_what_lay_in_memory_does_not_get_into_the_file(void **state) {
#if defined(__GLIBC__)
  enum { BLOCKS = 8, LEN = 300000 };
  static const char secret[] = "the password of somebody";
  room *r = *state;
  char *blocks[BLOCKS];
  if (!mallopt(M_MMAP_THRESHOLD, 8 << 20) || !mallopt(M_TRIM_THRESHOLD, 64 << 20)) skip(); /* not this malloc */
  for (int i = 0; i < BLOCKS; i++) {
    assert_non_null(blocks[i] = malloc(LEN));
    for (size_t at = 0; at + sizeof secret <= LEN; at += sizeof secret)
      memcpy(blocks[i] + at, secret, sizeof secret);
  }
  for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
  db_txn *reader; /* no page is free yet: then LMDB does not take back what it gave */
  assert_ok(db_begin_read(r->env, &reader));
  db_env_allow_slack(r->env, 1 << 20);
  for (uint64_t key = 0; key < 64; key++) put_number(r, key, "one");
  db_abort(reader);
  const int fd = open(r->data, O_RDONLY);
  static char file[4 << 20];
  const ssize_t len = read(fd, file, sizeof file);
  close(fd);
  assert_true(len > 0 && len < (ssize_t)sizeof file);
  assert_null(memmem(file, (size_t)len, secret, sizeof secret));
#else
  (void)state;
  skip();
#endif
}

/* While somebody reads an old snapshot nothing can be gathered, and the file must not grow for it as well. */
static void test_behind_an_old_reader_nothing_is_gathered(void **state) {
  room *r = *state;
  db_txn *reader;
  db_env_info info;
  uint64_t pages[2];
  for (int i = 0; i < 2; i++) {
    put_number(r, 1, "one");
    assert_ok(db_begin_read(r->env, &reader));
    assert_ok(db_env_info_get(r->env, &info));
    pages[i] = info.last_page;
    db_env_allow_slack(r->env, i == 0 ? 0 : 1 << 20);
    for (uint64_t key = 0; key < 640; key++) put_number(r, key, "more");
    assert_ok(db_env_info_get(r->env, &info));
    pages[i] = info.last_page - pages[i];
    db_abort(reader);
  }
  assert_true(pages[1] <= pages[0] + 64 * 6);
}

/* By a copy without its free pages, which has no free list either. */
static void test_pages_in_use_are_counted(void **state) {
  room *r = *state;
  char copy[4300];
  struct stat st;
  db_txn *txn;
  uint64_t first = 1, last = 0, used, pages, size;
  for (int i = 0; i < 400; i++) append_and_trim(r, &first, &last);
  for (uint64_t key = first; key < last; key += 3) {
    assert_ok(db_begin_write(r->env, false, &txn));
    assert_ok(db_del(txn, NUMBERS, db_u64(&key)));
    assert_ok(db_commit(txn));
  }
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_used_pages(txn, &used));
  assert_ok(db_high_water(txn, &pages, &size));
  db_abort(txn);
  snprintf(copy, sizeof copy, "%s/copy", r->dir);
  assert_ok(db_env_copy(r->env, copy));
  assert_int_equal(stat(copy, &st), 0);
  const uint64_t kept = (uint64_t)st.st_size / size;
  assert_in_range(used, kept, kept + 8);
  assert_true(pages > used + 100); /* else this tests nothing */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, room_setup, room_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_what_is_committed_is_read),
    TEST(test_a_snapshot_stays_as_it_was),
    TEST(test_what_is_kept_holds_for_one_snapshot_in_one_map),
    TEST(test_the_first_error_stays_and_nothing_is_stored),
    TEST(test_cursors_walk_both_ways_and_through_values),
    TEST(test_an_emptied_table_is_empty_and_usable),
    TEST(test_more_readers_than_slots),
    TEST(test_slots_of_dead_readers_are_taken_back),
    TEST(test_a_child_is_told_so),
    TEST(test_pages_in_use_are_counted),
    TEST(test_commits_write_few_runs_however_long_a_store_lives),
    TEST(test_commits_of_one_record_write_hardly_more_than_one_run),
    TEST(test_free_pages_are_kept_together_only_within_the_slack_allowed),
    TEST(test_pages_kept_together_are_on_the_disk),
    TEST(test_what_lay_in_memory_does_not_get_into_the_file),
    TEST(test_behind_an_old_reader_nothing_is_gathered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
