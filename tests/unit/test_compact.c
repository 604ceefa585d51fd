/* Compaction: smaller, nothing lost, and a kill at any moment leaves a store that opens and holds everything. */
#include "kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static void say(void *arg, const char *text) {
  (void)arg;
  print_error("%s\n", text);
}

static sl_stats sound(kit *k) {
  sl_verify_report report;
  sl_stats s;
  assert_ok(sl_verify(k->store, say, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  return s;
}

static uint64_t bytes_of(kit *k, const char *name) {
  struct stat st;
  assert_int_equal(stat(kit_file(k, name), &st), 0);
  return (uint64_t)st.st_blocks * 512;
}

/* 6,000 events, the first 5,000 delivered, the first 4,500 trimmed. */
static sl_stats grown_and_trimmed(kit *k) {
  kit_fill(k, "a", 6000, 2000);
  kit_deliver(k, 5000);
  const sl_trim_policy policy = {.max_events = 1500};
  assert_ok(sl_trim(k->store, &policy, NULL));
  return sound(k);
}

static void test_it_gives_back_what_trim_freed(void **state) {
  kit *k = *state;
  const sl_stats before = grown_and_trimmed(k);
  sl_compact_result r;
  assert_fails(sl_compact(k->path, NULL, &r), SL_E_BUSY, "open");
  const uint64_t log_before = bytes_of(k, "log/data.mdb");
  sl_close(k->store);
  k->store = NULL;
  assert_ok(sl_compact(k->path, NULL, &r));
  assert_true(r.bytes_after < r.bytes_before / 2);
  assert_true(bytes_of(k, "log/data.mdb") < log_before / 2);
  kit_open(k);
  const sl_stats after = sound(k);
  assert_int_equal(after.appended, before.appended);
  assert_int_equal(after.delivered, before.delivered);
  assert_int_equal(after.pending, before.pending);
  assert_int_equal(after.kept, before.kept);
  assert_int_equal(after.first_seq, before.first_seq);
  assert_int_equal(after.indexed_seq, before.indexed_seq);
  assert_true(after.bytes_free < before.bytes_free / 2);
  assert_int_equal(kit_append(k, "a", "and on"), before.last_seq + 1);
  kit_deliver(k, before.last_seq + 1);
  sound(k);
}

static void test_it_refuses_what_is_no_store(void **state) {
  kit *k = *state;
  sl_compact_result r;
  assert_fails(sl_compact(k->dir, NULL, &r), SL_E_NO_STORE, "no store");
  assert_fails(sl_compact("/nonexistent/store", NULL, &r), SL_E_NO_STORE, "no store");
  struct stat st;
  char stray[4400];
  snprintf(stray, sizeof stray, "%s/store.lock", k->dir);
  assert_int_equal(stat(stray, &st), -1);
}

static void nap_us(long us) {
  const struct timespec t = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&t, NULL);
}

/* A child compacts again and again, and is killed a little later each time. */
static void test_a_kill_at_any_moment_loses_nothing(void **state) {
  kit *k = *state;
  const sl_stats before = grown_and_trimmed(k);
  sl_close(k->store);
  k->store = NULL;
  unsigned cut = 0;
  for (long delay = 0; delay < 40000; delay += 500) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      while (sl_compact(k->path, NULL, NULL) == SL_OK) {}
      _exit(1);
    }
    nap_us(delay);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* it never failed by itself */
    struct stat st;
    cut += stat(kit_file(k, "log/compact.tmp"), &st) == 0;
    kit_open(k);
    assert_int_equal(stat(kit_file(k, "log/compact.tmp"), &st), -1); /* a copy of all there is takes no room */
    sl_stats s;
    assert_ok(sl_stats_get(k->store, &s));
    assert_true(s.balanced);
    assert_int_equal(s.kept, before.kept);
    assert_int_equal(s.pending, before.pending);
    if (delay % 5000 == 0) sound(k);
    sl_close(k->store);
    k->store = NULL;
  }
  assert_true(cut > 0); /* some kills fell between copy and rename */
  assert_ok(sl_compact(k->path, NULL, NULL));
  kit_open(k);
  sound(k);
  struct stat st;
  assert_int_equal(stat(kit_file(k, "log/compact.tmp"), &st), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_it_gives_back_what_trim_freed, kit_setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_it_refuses_what_is_no_store, kit_setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_a_kill_at_any_moment_loses_nothing, kit_setup, kit_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
