/* Who has the store open, who has it for itself, who delivers from it: what happens between, and how long one
 * waits. */
#include "kit.h"

#include "base/clock.h"
#include "store/agent_lock.h"
#include "store/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* ------------------------------------------------------- the moment between --- */

/* the store that another process compacts in the moment in which the lock is nobody's */
static const char *compact_at;
static sl_status compacted;

static sl_status compact_elsewhere(const char *path) {
  int code;
  const pid_t pid = fork();
  if (pid == 0) _exit(sl_compact(path, NULL, NULL) == SL_OK ? 0 : 1);
  assert_int_equal(waitpid(pid, &code, 0), pid);
  assert_true(WIFEXITED(code));
  return WEXITSTATUS(code) == 0 ? SL_OK : SL_E_BUSY;
}

/* In place of the C library's, for the whole program. */
int flock(int fd, int how) {
  if (how == LOCK_SH && compact_at) {
    const char *path = compact_at;
    compact_at = NULL;
    syscall(SYS_flock, fd, LOCK_UN);
    compacted = compact_elsewhere(path);
  }
  return (int)syscall(SYS_flock, fd, how);
}

static void check_kept(kit *k, uint64_t events) {
  sl_verify_report report;
  assert_int_equal(kit_head(k).last_seq, events);
  assert_int_equal(kit_head(k).kept, events);
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void test_a_store_that_is_being_opened_is_not_compacted(void **state) {
  kit *k = *state;
  kit_append(k, "t", "before");
  sl_close(k->store);
  k->store = NULL;
  compacted = SL_OK;
  compact_at = k->path;
  kit_open(k);
  assert_null(compact_at); /* else this tests nothing */
  assert_int_equal(compacted, SL_E_BUSY);
  kit_append(k, "t", "after");
  kit_reopen(k);
  check_kept(k, 2);
  sl_close(k->store);
  k->store = NULL;
  assert_ok(compact_elsewhere(k->path)); /* nothing is left locked */
  kit_open(k);
  check_kept(k, 2);
}

/* mdb_copy, or any other tool of LMDB's: it knows nothing of store.lock. */
static void test_a_foreign_reader_during_a_compaction_harms_nobody(void **state) {
  kit *k = *state;
  int ready[2], over[2], code;
  char byte;
  for (int i = 0; i < 40; i++) kit_append(k, "t", "before");
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(pipe(ready), 0);
  assert_int_equal(pipe(over), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    const db_table_def table = {"meta", 0};
    const db_env_options options = {.map_size = 1u << 20, .map_floor = 1u << 20, .max_readers = 1024,
                                    .mode = 0600};
    db_env *env;
    db_txn *txn;
    close(over[1]);
    if (db_env_open(kit_file(k, "log"), &table, 1, &options, &env) != SL_OK || db_begin_read(env, &txn) != SL_OK)
      _exit(1);
    if (write(ready[1], "r", 1) != 1) _exit(2);
    _exit(read(over[0], &byte, 1) == 0 ? 0 : 3);
  }
  close(over[0]);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_ok(sl_compact(k->path, NULL, NULL));
  kit_open(k);
  for (int i = 0; i < 5; i++) kit_append(k, "t", "after");
  check_kept(k, 45);
  kit_reopen(k);
  check_kept(k, 45);
  close(over[1]);
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  kit_reopen(k);
  check_kept(k, 45);
  close(ready[0]);
  close(ready[1]);
}

/* ------------------------------------------------------------------ patience --- */

static int64_t moved; /* how far the monotonic clock is ahead */
static int looks, works_until, ends_at;
static int other = -1;
static char grows[4400];

/* In place of the C library's. While `other` holds a lock each look at the clock takes a second, and the holder
 * works, and ends, by the number of looks. */
int clock_gettime(clockid_t id, struct timespec *now) {
  int rc = (int)syscall(SYS_clock_gettime, id, now);
  if (id != CLOCK_MONOTONIC) return rc;
  if (other >= 0) {
    moved++;
    if (++looks <= works_until && truncate(grows, looks) != 0) abort();
    if (looks == ends_at) {
      syscall(SYS_flock, other, LOCK_UN);
      close(other);
      other = -1;
    }
  }
  now->tv_sec += (time_t)moved;
  return rc;
}

static void hold(int fd, const char *path, int works, int ends) {
  snprintf(grows, sizeof grows, "%s", path);
  assert_true(fd >= 0);
  const int made = open(grows, O_RDWR | O_CREAT, 0600);
  close(made);
  looks = 0;
  works_until = works;
  ends_at = ends;
  other = fd;
}

static void let_go(void) {
  if (other >= 0) close(other);
  other = -1;
  (void)unlink(grows);
}

static void hold_store(kit *k, int works, int ends) {
  const int fd = open(kit_file(k, "store.lock"), O_RDWR);
  assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
  hold(fd, kit_file(k, "log/compact.tmp"), works, ends);
}

static void test_an_opener_waits_as_long_as_the_other_one_works(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_close(k->store);
  k->store = NULL;
  hold_store(k, 60, 65);
  kit_open(k);
  assert_int_equal(other, -1); /* it has waited for the end */
  check_kept(k, 1);
  sl_close(k->store);
  k->store = NULL;
  hold_store(k, 30, 1000);
  assert_fails(sl_open(k->path, &k->options, &k->store), SL_E_BUSY, "has written nothing for 10 seconds");
  assert_in_range(looks, 40, 80);
  let_go();
  k->store = NULL;
  kit_open(k);
}

static void hold_book(kit *k, agent_role role, int ends) {
  int fd = -1;
  assert_ok(agent_lock(k->store, role, &fd));
  hold(fd, kit_file(k, "unused"), 0, ends);
}

static void test_an_agent_waits_for_a_producer_that_settles(void **state) {
  kit *k = *state;
  sl_delivery *d;
  int fd = -1;
  hold_book(k, AGENT_SETTLES, 8);
  assert_fails(sl_agent_alive(k->store, NULL, NULL), SL_NOTFOUND, "no agent runs");
  assert_ok(delivery_open(k->store, &d));
  assert_int_equal(other, -1); /* it has waited for the end */
  delivery_close(d);
  let_go();
  hold_book(k, AGENT_SETTLES, 1000);
  assert_fails(delivery_open(k->store, &d), SL_E_BUSY, "settles events that the full store");
  assert_in_range(looks, 10, 30);
  looks = 0;
  /* producers do not queue up */
  assert_fails(agent_lock(k->store, AGENT_SETTLES, &fd), SL_E_BUSY, "settles events");
  assert_in_range(looks, 1, 4);
  let_go();
  hold_book(k, AGENT_DELIVERS, 8);
  assert_ok(sl_agent_alive(k->store, NULL, NULL));
  assert_fails(delivery_open(k->store, &d), SL_E_BUSY, "a store has one agent");
  let_go();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_a_store_that_is_being_opened_is_not_compacted),
    TEST(test_a_foreign_reader_during_a_compaction_harms_nobody),
    TEST(test_an_opener_waits_as_long_as_the_other_one_works),
    TEST(test_an_agent_waits_for_a_producer_that_settles),
  };
  return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
