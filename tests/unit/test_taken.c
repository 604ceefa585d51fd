/* Files that are removed, replaced or renamed under processes that have the store open. */
#include "kit.h"

#include "base/clock.h"
#include "db/db_inner.h"
#include "index/index_impl.h"
#include "store/append.h"
#include "store/log_inner.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

static _Atomic int64_t monotonic_moved;

/* In place of the C library's, for the whole program. */
int clock_gettime(clockid_t id, struct timespec *now) {
  const int rc = (int)syscall(SYS_clock_gettime, id, now);
  if (id != CLOCK_REALTIME) now->tv_sec += (time_t)atomic_load(&monotonic_moved) / 1000000;
  return rc;
}

#if defined(__linux__) && defined(STATX_INO)
/* So are these. */
static atomic_uint times_asked_for;

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st) {
  if (mask & (STATX_ATIME | STATX_MTIME | STATX_CTIME)) atomic_fetch_add(&times_asked_for, 1);
  return (int)syscall(SYS_statx, fd, path, flags, mask, st);
}

int fstatat(int fd, const char *restrict path, struct stat *restrict st, int flags) {
  atomic_fetch_add(&times_asked_for, 1);
  return (int)syscall(SYS_newfstatat, fd, path, st, flags);
}

int stat(const char *restrict path, struct stat *restrict st) { return fstatat(AT_FDCWD, path, st, 0); }
int fstat(int fd, struct stat *st) { return fstatat(fd, "", st, AT_EMPTY_PATH); }

/* Linux gives the next write of a file whose times somebody has asked for a time of its own, and writes the inode with it:
 * each flush takes more than twice as long. */
static void test_an_append_asks_for_no_times_of_files(void **state) {
  kit *k = *state;
  kit_append(k, "t.v1", "one");
  const unsigned before = atomic_load(&times_asked_for);
  assert_true(before > 0); /* opening a store does */
  for (int i = 0; i < 20; i++) kit_append(k, "t.v1", "more");
  assert_int_equal(atomic_load(&times_asked_for), before);
}
#else
static void test_an_append_asks_for_no_times_of_files(void **state) {
  (void)state;
  skip();
}
#endif

static void ten_seconds_pass(void) { atomic_fetch_add(&monotonic_moved, 10 * INT64_C(1000000)); }

/* ----------------------------------------------------------------- the index --- */

static uint64_t count_all(kit *k) {
  const sl_query all = {0};
  sl_iter *iter;
  const sl_record *r;
  uint64_t count = 0;
  assert_ok(sl_iter_start(k->store, &all, &iter));
  while (sl_iter_next(iter, &r) == SL_OK) count++;
  sl_iter_close(iter);
  return count;
}

/* What another process does that finds the index damaged. */
static int make_index_anew(kit *k) {
  sl_store *store;
  if (unlink(kit_file(k, "index/lock.mdb")) != 0 || unlink(kit_file(k, "index/data.mdb")) != 0) return 1;
  if (sl_open(k->path, NULL, &store) != SL_OK || sl_index_advance(store, 0, NULL) != SL_OK) return 2;
  sl_close(store);
  return 0;
}

static int count_indexed(kit *k) {
  sl_store *store;
  sl_stats s;
  if (sl_open(k->path, NULL, &store) != SL_OK || sl_stats_get(store, &s) != SL_OK) return 255;
  sl_close(store);
  return (int)s.indexed_seq;
}

static void test_an_index_made_anew_by_another_process_is_worked_on_by_all(void **state) {
  kit *k = *state;
  sl_verify_report report;
  for (int i = 0; i < 3; i++) kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(kit_in_child(make_index_anew, k), 0);
  for (int i = 0; i < 2; i++) kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(kit_in_child(count_indexed, k), 5); /* not into a file without a name */
  assert_int_equal(count_all(k), 5);
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_int_equal(report.index_entries, 5 * 2); /* event and type */
}

/* Removed once more before it was gone over to: the file at hand is as good as before. */
static void test_a_new_index_that_is_removed_at_once_is_not_missed(void **state) {
  kit *k = *state;
  for (int i = 0; i < 3; i++) kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(kit_in_child(make_index_anew, k), 0);
  db_env_renew(k->store->index->env); /* as at the begin of a turn */
  assert_int_equal(unlink(kit_file(k, "index/lock.mdb")), 0);
  assert_int_equal(unlink(kit_file(k, "index/data.mdb")), 0);
  assert_int_equal(count_all(k), 3);
  kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(kit_in_child(count_indexed, k), 0);
  kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(kit_in_child(count_indexed, k), 5);
}

/* ------------------------------------------------------------------- the log --- */

static const sl_event event = {.topic = {"t", 1}};

static void assert_gone(sl_status status) { assert_fails(status, SL_E_MISMATCH, "open it anew"); }

static void test_nothing_is_acknowledged_into_a_file_that_was_removed(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  nftw(k->path, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  assert_fails(sl_append(k->store, &event, NULL), SL_E_MISMATCH, "log/data.mdb was removed");
  assert_gone(sl_append(k->store, &event, NULL));
  assert_gone(sl_trim(k->store, NULL, NULL));
  kit_reopen(k);
  assert_int_equal(kit_append(k, "t", "v"), 1);
}

/* A reader that looks on would never hear of what comes. */
static void test_who_only_reads_learns_that_the_store_is_gone(void **state) {
  kit *k = *state;
  sl_stats stats;
  sl_iter *iter;
  const sl_record *r;
  sl_verify_report report;
  kit_append(k, "t", "v");
  ten_seconds_pass();
  assert_ok(sl_stats_get(k->store, &stats));
  nftw(k->path, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  ten_seconds_pass();
  assert_gone(sl_stats_get(k->store, &stats));
  assert_gone(sl_wait(k->store, 1, -1, NULL));
  sl_status status = sl_iter_start(k->store, &(sl_query){0}, &iter);
  if (status == SL_OK) {
    status = sl_iter_next(iter, &r);
    sl_iter_close(iter);
  }
  assert_gone(status);
  assert_gone(sl_verify(k->store, NULL, NULL, &report));
}

static void copy_log(kit *k, const char *to) {
  char from[4400], command[9000];
  snprintf(from, sizeof from, "%s", kit_file(k, "log/data.mdb"));
  snprintf(command, sizeof command, "cp '%s' '%s/%s'", from, k->dir, to);
  assert_int_equal(system(command), 0);
}

static void put_log(kit *k, const char *copy) {
  char from[4400];
  snprintf(from, sizeof from, "%s/%s", k->dir, copy);
  assert_int_equal(rename(from, kit_file(k, "log/data.mdb")), 0);
}

/* Whoever made a backup by a hard link keeps the old file. */
static void test_a_log_with_a_second_name_can_be_replaced_too(void **state) {
  kit *k = *state;
  char backup[4400];
  kit_append(k, "t", "v");
  copy_log(k, "copy");
  snprintf(backup, sizeof backup, "%s/backup", k->dir);
  assert_int_equal(link(kit_file(k, "log/data.mdb"), backup), 0);
  put_log(k, "copy");
  assert_gone(sl_append(k->store, &event, NULL));
}

static void test_a_log_that_is_put_back_is_the_same_log(void **state) {
  kit *k = *state;
  char away[4400];
  kit_append(k, "t", "v");
  snprintf(away, sizeof away, "%s/away", k->dir);
  assert_int_equal(rename(kit_file(k, "log/data.mdb"), away), 0);
  assert_gone(sl_append(k->store, &event, NULL));
  assert_int_equal(rename(away, kit_file(k, "log/data.mdb")), 0);
  assert_int_equal(kit_append(k, "t", "v"), 2);
}

/* As long as one has the old file open, LMDB's reader table is of that one: whoever opened the new one would read
 * and write by the number of the other's newest transaction, over the newest of its own. */
static int open_it(kit *k) {
  sl_store *store;
  const sl_status status = sl_open(k->path, NULL, &store);
  if (status == SL_E_MISMATCH && !strstr(sl_last_detail(), "stop everything")) return 254;
  if (status == SL_OK) sl_close(store);
  return (int)status;
}

static void test_an_older_log_alone_is_not_opened_beside_the_other(void **state) {
  kit *k = *state;
  for (int i = 0; i < 5; i++) kit_append(k, "t", "v");
  copy_log(k, "older");
  for (int i = 0; i < 5; i++) kit_append(k, "t", "v");
  put_log(k, "older");
  assert_int_equal(kit_in_child(open_it, k), SL_E_MISMATCH);
  assert_gone(sl_append(k->store, &event, NULL));
  kit_reopen(k);
  assert_int_equal(kit_append(k, "t", "v"), 6);
}

static int append_twenty(kit *k) {
  kit_open(k);
  for (int i = 0; i < 20; i++) kit_append(k, "t", "theirs");
  sl_close(k->store);
  return 0;
}

static void test_a_newer_log_alone_is_not_opened_beside_the_other(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  copy_log(k, "older");
  kit_close(k);
  assert_int_equal(kit_in_child(append_twenty, k), 0);
  copy_log(k, "newer");
  put_log(k, "older");
  kit_open(k);
  put_log(k, "newer");
  assert_int_equal(kit_in_child(open_it, k), SL_E_MISMATCH);
  assert_gone(sl_append(k->store, &event, NULL));
  kit_reopen(k);
  assert_int_equal(kit_append(k, "t", "v"), 22);
}

/* Its newest transaction has the same number by chance. What the others commit there is not read by it in the old
 * file. */
static void test_a_log_of_the_same_age_takes_over_at_once(void **state) {
  kit *k = *state;
  sl_stats stats;
  kit_append(k, "t", "v");
  copy_log(k, "same");
  ten_seconds_pass();
  assert_ok(sl_stats_get(k->store, &stats));
  put_log(k, "same");
  assert_int_equal(kit_in_child(append_twenty, k), 0);
  assert_gone(sl_stats_get(k->store, &stats));
  assert_gone(sl_append(k->store, &event, NULL));
  kit_reopen(k);
  assert_int_equal(kit_append(k, "t", "v"), 22);
}

static int append_to_w(kit *k) {
  kit_open(k);
  for (int i = 0; i < 3; i++) kit_append(k, "w", "theirs");
  sl_close(k->store);
  return 0;
}

/* A backup was put in place with a reader table of its own, so it can be opened. In it the name's number is another's:
 * who opens it must not commit what was published with the numbers of the old one. */
static void test_what_was_published_for_the_old_log_is_not_committed_to_the_new_one(void **state) {
  kit *k = *state;
  slots *s = k->store->log->slots;
  sl_buf bytes = {0};
  group_batch batch;
  const sl_event e = {.topic = SL_STR("u")};
  if (!slots_shared(s)) skip();
  kit_append(k, "t", "v");
  copy_log(k, "backup");
  kit_append(k, "u", "v");
  assert_ok(append_encode(k->store, &e, 1, &bytes, &batch, NULL));
  const int i = slots_claim(s);
  append_slot *at = slots_at(s, (unsigned)i);
  memcpy(slots_bytes(s, (unsigned)i), batch.records.data, batch.records.len);
  at->len = (uint32_t)batch.records.len;
  at->count = 1;
  at->now_us = batch.now_us;
  slots_publish(s, (unsigned)i);
  put_log(k, "backup");
  assert_int_equal(unlink(kit_file(k, "log/lock.mdb")), 0);
  assert_int_equal(kit_in_child(append_to_w, k), 0);
  assert_int_equal(at->state, SLOT_READY);
  slots_release(s, (unsigned)i);
  sl_buf_free(&bytes);
  kit_reopen(k);
  assert_int_equal(kit_head(k).last_seq, 4);
}

static int make_another(kit *k) {
  sl_store *store;
  if (sl_open(k->path, &(sl_options){.preallocate = SL_NONE}, &store) != SL_OK) return 1;
  sl_close(store);
  return 0;
}

/* The folder was moved, another store was made in its place, and then a write fails: LMDB has to be opened anew,
 * by a path that leads elsewhere now. */
static void test_a_reopened_log_is_the_same_log(void **state) {
  kit *k = *state;
  char moved[sizeof k->path];
  kit_append(k, "t", "v");
  snprintf(moved, sizeof moved, "%s/moved", k->dir);
  assert_int_equal(rename(k->path, moved), 0);
  kit_append(k, "t", "it only has another name");
  assert_int_equal(kit_in_child(make_another, k), 0);
  k->store->log->env->poisoned = true; /* as after a meta page that could not be written */
  assert_fails(sl_append(k->store, &event, NULL), SL_E_MISMATCH, "open it anew");
  kit_reopen(k);
  assert_int_equal(kit_head(k).last_seq, 0);
  sl_close(k->store);
  memcpy(k->path, moved, sizeof moved);
  kit_open(k);
  assert_int_equal(kit_head(k).last_seq, 2);
}

/* ------------------------------------------------------------- the reader table --- */

static int append_one(kit *k) {
  kit_open(k);
  kit_append(k, "t", "theirs");
  sl_close(k->store);
  return 0;
}

/* LMDB's writer lock and the number of the newest transaction are in it. Who has the old one and who made a new one
 * would write over each other's commits. */
static void test_a_lock_file_that_is_removed_parts_nobody(void **state) {
  kit *k = *state;
  sl_verify_report report;
  kit_append(k, "t", "v");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  for (uint64_t i = 0; i < 3; i++) {
    for (size_t env = 0; env < 3; env++) {
      static const char *const locks[] = {"log/lock.mdb", "index/lock.mdb", "delivery/lock.mdb"};
      assert_int_equal(unlink(kit_file(k, locks[env])), 0);
    }
    assert_int_equal(kit_in_child(i == 1 ? append_twenty : append_one, k), 0);
    kit_append(k, "t", "ours");
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  assert_int_equal(count_all(k), 1 + 22 + 3);
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_int_equal(kit_in_child(count_indexed, k), 1 + 22 + 3);
}

/* Its snapshots are none of those that the others leave alone. */
static void test_who_only_reads_goes_on_with_the_new_lock_file(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  assert_int_equal(unlink(kit_file(k, "log/lock.mdb")), 0);
  assert_int_equal(kit_in_child(append_one, k), 0);
  ten_seconds_pass();
  assert_int_equal(count_all(k), 2);
}

/* LMDB's locks on lock.mdb end when the process closes any descriptor of it, as a host does that copies the files: who
 * opens the store next gives its place among the readers away. */
static void test_who_copies_its_own_store_is_told(void **state) {
  kit *k = *state;
  sl_stats stats;
  kit_append(k, "t", "v");
  assert_ok(sl_stats_get(k->store, &stats));
  const int fd = open(kit_file(k, "log/lock.mdb"), O_RDONLY);
  assert_true(fd >= 0);
  close(fd);
  assert_int_equal(kit_in_child(append_one, k), 0);
  assert_fails(sl_stats_get(k->store, &stats), SL_E_IO, "let another process copy it");
  kit_reopen(k);
  assert_int_equal(count_all(k), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_an_index_made_anew_by_another_process_is_worked_on_by_all),
    TEST(test_a_new_index_that_is_removed_at_once_is_not_missed),
    TEST(test_nothing_is_acknowledged_into_a_file_that_was_removed),
    TEST(test_who_only_reads_learns_that_the_store_is_gone),
    TEST(test_a_log_with_a_second_name_can_be_replaced_too),
    TEST(test_a_log_that_is_put_back_is_the_same_log),
    TEST(test_an_older_log_alone_is_not_opened_beside_the_other),
    TEST(test_a_newer_log_alone_is_not_opened_beside_the_other),
    TEST(test_a_log_of_the_same_age_takes_over_at_once),
    TEST(test_what_was_published_for_the_old_log_is_not_committed_to_the_new_one),
    TEST(test_a_reopened_log_is_the_same_log),
    TEST(test_a_lock_file_that_is_removed_parts_nobody),
    TEST(test_who_only_reads_goes_on_with_the_new_lock_file),
    TEST(test_who_copies_its_own_store_is_told),
    TEST(test_an_append_asks_for_no_times_of_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
