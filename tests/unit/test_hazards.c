/* What the world does to a store: readers that are killed, forks in full swing, clocks that jump. */
#include "kit.h"

#include <sidelog/reader.h>

#include "base/clock.h"
#include "store/append.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static const int64_t DAY = INT64_C(86400) * 1000000;

/* ------------------------------------------------------------------ clocks --- */

static _Atomic int64_t wall_moved, monotonic_moved;

/* In place of the C library's, for the whole program. */
int clock_gettime(clockid_t id, struct timespec *now) {
  int rc = (int)syscall(SYS_clock_gettime, id, now);
  int64_t us = atomic_load(id == CLOCK_REALTIME ? &wall_moved : &monotonic_moved);
  us += (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000;
  *now = (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
  return rc;
}

static uint64_t disk_left; /* what the file system says that it has; 0: what it has */

/* The same. */
int statvfs(const char *path, struct statvfs *fs) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = fd < 0 ? -1 : fstatvfs(fd, fs);
  if (fd >= 0) close(fd);
  if (rc == 0 && disk_left) fs->f_bavail = disk_left / fs->f_frsize;
  return rc;
}

static uint64_t count_since(kit *k, int64_t since_us, int64_t until_us) {
  const sl_query q = {.since_us = since_us, .until_us = until_us};
  sl_iter *iter;
  const sl_record *r;
  uint64_t count = 0;
  assert_ok(sl_iter_start(k->store, &q, &iter));
  while (sl_iter_next(iter, &r) == SL_OK) count++;
  sl_iter_close(iter);
  return count;
}

static void test_a_clock_that_jumps_to_2038_and_back(void **state) {
  kit *k = *state;
  sl_trim_result result;
  const int64_t start = sl_clock_wall_us(), future = INT64_C(2145916800000000);
  for (int i = 0; i < 10; i++) kit_append(k, "t", "before");
  atomic_store(&wall_moved, future - start);
  kit_append(k, "t", "in 2038");
  atomic_store(&wall_moved, 0);
  for (int i = 0; i < 10; i++) kit_append(k, "t", "after");
  assert_int_equal(count_since(k, start, future - DAY), 20);
  assert_int_equal(count_since(k, future - DAY, 0), 1);
  kit_deliver(k, 21);
  const sl_trim_policy policy = {.max_age_us = 7 * DAY};
  assert_ok(sl_trim(k->store, &policy, &result));
  assert_int_equal(result.removed, 0);
  atomic_store(&wall_moved, 8 * DAY); /* a week and a day later nothing of it is kept */
  kit_append(k, "t", "later");
  kit_deliver(k, 22);
  assert_ok(sl_trim(k->store, &policy, &result));
  atomic_store(&wall_moved, 0);
  assert_int_equal(result.removed, 21);
}

/* The same where topics have ages of their own, and a trim in 2038 has found what it must come back for then. */
static void test_a_trim_in_2038_does_not_keep_events_until_then(void **state) {
  kit *k = *state;
  sl_trim_result result;
  const int64_t start = sl_clock_wall_us(), future = INT64_C(2145916800000000);
  const sl_trim_topic ages[] = {{.topic = SL_STR("long"), .max_age_us = 10 * DAY}};
  const sl_trim_policy policy = {.max_age_us = DAY, .topics = ages, .topic_count = 1};
  atomic_store(&wall_moved, future - start);
  kit_append(k, "long", "in 2038");
  atomic_store(&wall_moved, future - start + 2 * DAY);
  kit_append(k, "t", "two days later");
  kit_deliver(k, 2);
  assert_ok(sl_trim(k->store, &policy, &result));
  atomic_store(&wall_moved, 0);
  kit_append(k, "t", "now");
  kit_append(k, "t", "now");
  kit_deliver(k, 4);
  atomic_store(&wall_moved, 11 * DAY);
  assert_ok(sl_trim(k->store, &policy, &result));
  atomic_store(&wall_moved, 0);
  /* all but the newest: what is dated 2038 is as old as what came behind it */
  assert_int_equal(result.first_seq, 4);
}

/* Stopped between its look at the clock and its commit: its event comes late, and makes nobody old. */
static void test_a_producer_that_was_stopped_makes_no_event_older(void **state) {
  kit *k = *state;
  sl_trim_result result;
  sl_buf bytes = {0};
  group_batch batch;
  uint64_t seq;
  const int64_t hour = DAY / 24;
  const sl_event late = {.topic = SL_STR("t"), .value = SL_STR("late")};
  kit_append(k, "t", "old");
  assert_ok(append_encode(k->store, &late, 1, &bytes, &batch, NULL));
  atomic_store(&wall_moved, 2 * hour);
  kit_append(k, "t", "young");
  assert_ok(append_commit(k->store, &batch, &seq));
  sl_buf_free(&bytes);
  assert_int_equal(seq, 3);
  assert_int_equal(count_since(k, sl_clock_wall_us() - hour, 0), 2);
  kit_append(k, "t", "newest");
  kit_deliver(k, 4);
  const sl_trim_policy policy = {.max_age_us = hour};
  assert_ok(sl_trim(k->store, &policy, &result));
  atomic_store(&wall_moved, 0);
  assert_int_equal(result.removed, 1);
}

/* ---------------------------------------------------------------- until full --- */

static sl_stats look(kit *k) {
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  return s;
}

static void test_how_long_until_full(void **state) {
  kit *k = *state;
  const int64_t minute = INT64_C(60000000);
  assert_int_equal(look(k).full_in_us, -1);
  kit_fill(k, "t", 3000, 1000);
  assert_int_equal(look(k).full_in_us, -1); /* a burst of a moment says nothing */
  atomic_store(&wall_moved, minute);
  kit_fill(k, "t", 3000, 1000);
  sl_stats s = look(k);
  assert_in_range(s.bytes_per_s, 6000 * 1000 / 60, 6000 * 1300 / 60);
  int64_t by_quota = (int64_t)((double)(s.bytes_quota - s.bytes_used) / (double)s.bytes_per_s * 1e6);
  assert_in_range(s.full_in_us, by_quota / 10 * 9, by_quota);
  /* The disk ends before the quota does. */
  disk_left = UINT64_C(100) << 20;
  s = look(k);
  int64_t by_disk = (int64_t)((double)(disk_left + s.bytes_free) / (double)s.bytes_per_s * 1e6);
  assert_in_range(s.full_in_us, by_disk / 10 * 9, by_disk);
  disk_left = 0;
  /* A clock that steps back an hour: what came before it is not of the last ten minutes. */
  atomic_store(&wall_moved, -60 * minute);
  assert_int_equal(look(k).full_in_us, -1);
  atomic_store(&wall_moved, 24 * 60 * minute);
  assert_int_equal(look(k).bytes_per_s, 0); /* nothing for a day */
  atomic_store(&wall_moved, 0);
}

/* ----------------------------------------------------------------- readers --- */

static uint64_t high_water(kit *k) {
  db_env_info info;
  assert_ok(log_env_info(k->store, &info));
  return info.last_page;
}

static void churn(kit *k, unsigned commits) {
  while (commits-- > 0) kit_append(k, "t", "v");
}

/* A reader that stands still keeps every page that was in use when it began; a killed one must not do so for ever.
 * */
static void test_a_reader_killed_in_a_transaction_holds_nothing_back(void **state) {
  kit *k = *state;
  int ready[2];
  sl_stats s;
  char byte;
  churn(k, 50);
  assert_int_equal(pipe(ready), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    sl_store *own;
    log_view *view;
    if (sl_open(k->path, NULL, &own) != SL_OK || log_view_open(own, &view) != SL_OK) _exit(1);
    if (write(ready[1], "r", 1) != 1) _exit(2);
    for (;;) pause();
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  const uint64_t before = high_water(k);
  churn(k, 300);
  const uint64_t held = high_water(k);
  assert_true(held > before + 300); /* else this tests nothing */
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.readers, 1);
  assert_true(s.reader_lag >= 300); /* what an alarm is raised on */
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  atomic_fetch_add(&monotonic_moved, 10 * INT64_C(1000000));
  churn(k, 600);
  assert_true(high_water(k) <= held + 16);
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.readers, 0);
  close(ready[0]);
  close(ready[1]);
}

/* ------------------------------------------------------------------- forks --- */

static atomic_bool over;
static atomic_uint appended;

static void *append_on(void *arg) {
  kit *k = arg;
  while (!atomic_load(&over)) {
    kit_append(k, "t", "parent");
    atomic_fetch_add(&appended, 1);
  }
  return NULL;
}

static void ignore(void *arg, sl_status status, uint64_t seq, const char *detail) {
  (void)arg, (void)status, (void)seq, (void)detail;
}

/* Whatever threads of the parent hold in that moment - the lead, slots, locks - the child has only a copy of it.
 * */
static void test_forks_among_threads_that_append_together(void **state) {
  kit *k = *state;
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, append_on, k), 0);
  for (int i = 0; i < 30; i++) {
    const unsigned before = atomic_load(&appended);
    const pid_t pid = fork();
    if (pid == 0) {
      sl_event e = {.topic = SL_STR("t")};
      int wrong = sl_append(k->store, &e, NULL) != SL_E_FORKED;
      wrong |= (sl_append_async(k->store, &e, ignore, NULL) != SL_E_FORKED) << 1;
      wrong |= (sl_stats_get(k->store, &(sl_stats){0}) != SL_E_FORKED) << 2;
      _exit(wrong);
    }
    int code;
    waitpid(pid, &code, 0);
    assert_int_equal(code, 0);
    while (atomic_load(&appended) == before) sched_yield(); /* the parent goes on */
  }
  atomic_store(&over, true);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_int_equal(kit_head(k).kept, atomic_load(&appended));
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static int compact(kit *k) { return sl_compact(k->path, NULL, NULL); }

/* One that no fork() made, so that no handler of pthread_atfork ran: its parent's store is not its own, and what
 * it gives up was not its to give up. */
static void test_a_child_made_by_a_bare_system_call(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  const pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    const sl_event e = {.topic = SL_STR("t")};
    const int wrong = sl_append(k->store, &e, NULL) != SL_E_FORKED || sl_sync(k->store) != SL_E_FORKED;
    sl_close(k->store);
    _exit(wrong);
  }
  int code;
  assert_int_equal(waitpid(pid, &code, 0), pid);
  assert_int_equal(code, 0);
  assert_int_equal(kit_in_child(compact, k), SL_E_BUSY); /* it is still open */
  kit_append(k, "t", "v");
  kit_reopen(k);
  assert_int_equal(kit_head(k).kept, 2);
}

static void *next_event(void *arg) {
  const sl_reader_event *event;
  (void)sl_reader_next(arg, 30000, &event);
  return NULL;
}

/* The child closes what it inherited while a thread of the parent slept on it. */
static int close_reader(sl_reader *reader) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(5);
    sl_reader_close(reader);
    _exit(0);
  }
  int code;
  assert_int_equal(waitpid(pid, &code, 0), pid);
  return code;
}

static void test_a_child_closes_a_reader_on_which_its_parent_sleeps(void **state) {
  kit *k = *state;
  sl_reader *reader;
  const sl_reader_event *event;
  pthread_t sleeper;
  kit_append(k, "t", "v");
  assert_ok(sl_reader_open(k->store, "r", &(sl_reader_options){.max_in_hand = 1}, &reader));
  assert_ok(sl_reader_next(reader, 0, &event));
  assert_int_equal(pthread_create(&sleeper, NULL, next_event, reader), 0);
  for (int i = 0; i < 20; i++) assert_int_equal(close_reader(reader), 0); /* most of them while it sleeps */
  assert_ok(sl_reader_ack(reader, event->record->seq));
  kit_append(k, "t", "wakes the sleeper");
  pthread_join(sleeper, NULL);
  sl_reader_close(reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_a_clock_that_jumps_to_2038_and_back),
    TEST(test_a_trim_in_2038_does_not_keep_events_until_then),
    TEST(test_a_producer_that_was_stopped_makes_no_event_older),
    TEST(test_how_long_until_full),
    TEST(test_a_reader_killed_in_a_transaction_holds_nothing_back),
    TEST(test_forks_among_threads_that_append_together),
    TEST(test_a_child_made_by_a_bare_system_call),
    TEST(test_a_child_closes_a_reader_on_which_its_parent_sleeps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
