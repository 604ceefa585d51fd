/* Who keeps the index fresh where no agent does: producers past the cap, and queries; and that their help is never
 * anybody's trouble. */
#include "kit.h"

#include "index/index_impl.h"
#include "store/agent_lock.h"
#include "store/log_inner.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static uint64_t watermark_of(kit *k) {
  index_view *view;
  assert_ok(index_view_open(k->store, &view));
  const uint64_t watermark = index_view_watermark(view);
  index_view_close(view);
  return watermark;
}

static uint64_t count_by_correlation(kit *k, const char *correlation) {
  const sl_query q = {.correlation_id = sl_slice_of(correlation)};
  sl_iter *it;
  const sl_record *r;
  uint64_t count = 0;
  sl_status status;
  assert_ok(sl_iter_start(k->store, &q, &it));
  while ((status = sl_iter_next(it, &r)) == SL_OK || status == SL_E_CORRUPT) count += status == SL_OK;
  assert_int_equal(status, SL_NOTFOUND);
  sl_iter_close(it);
  return count;
}

static void append_correlated(kit *k, const char *correlation, size_t count) {
  static sl_event events[500];
  for (size_t i = 0; i < 500; i++)
    events[i] = (sl_event){.topic = SL_STR("t"), .correlation_id = sl_slice_of(correlation), .value = SL_STR("v")};
  for (; count > 0; count -= count < 500 ? count : 500)
    assert_ok(sl_append_many(k->store, events, count < 500 ? count : 500, NULL, NULL));
}

/* In a child: no assertions, they would go on with the parent's tests. */
static void produce(const char *path, uint64_t batches) {
  sl_event events[50];
  const sl_options options = {.durability = SL_RELAXED};
  sl_store *store;
  if (sl_open(path, &options, &store) != SL_OK) _exit(2);
  for (size_t i = 0; i < 50; i++) events[i] = (sl_event){.topic = SL_STR("t"), .value = SL_STR("v")};
  for (; batches > 0; batches--)
    if (sl_append_many(store, events, 50, NULL, NULL) != SL_OK) _exit(3);
  sl_close(store);
  _exit(0);
}

static void wait_for(pid_t child) {
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_producers_keep_the_tail_bounded(void **state) {
  kit *k = *state;
  pid_t children[4];
  for (size_t i = 0; i < 4; i++) {
    children[i] = fork();
    if (children[i] == 0) produce(k->path, 1000);
  }
  uint64_t longest = 0, last = 0;
  while (last < 200000) {
    assert_ok(sl_wait(k->store, last < 199000 ? last + 999 : 199999, 50000, &last));
    const uint64_t watermark = watermark_of(k); /* read later: the tail was that short at that time */
    if (watermark < last && last - watermark > longest) longest = last - watermark;
  }
  for (size_t i = 0; i < 4; i++) wait_for(children[i]);
  assert_int_equal(kit_head(k).last_seq, 200000);
  print_message("longest tail seen: %llu\n", (unsigned long long)longest);
  /* Appends that come while a helper is at work go by: the cap is no wall, and the slower the helper's build, the
   * more of them. Without help all 200,000 would wait. */
  assert_true(longest <= 5 * INDEX_APPEND_CAP);
  assert_true(watermark_of(k) >= 200000 - 5 * INDEX_APPEND_CAP);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

/* A lone append never does more than 500 events of another's work, and does none while an agent is alive. */
static void test_a_producer_helps_a_little(void **state) {
  kit *k = *state;
  int agent = -1;
  append_correlated(k, "c", 3000);
  k->store->index->append_cap = 1000;
  assert_ok(agent_lock(k->store, AGENT_DELIVERS, &agent));
  for (int i = 0; i < 40; i++) append_correlated(k, "c", 25);
  assert_int_equal(watermark_of(k), 0);
  agent_unlock(agent);
  for (uint64_t before = 0, i = 0; i < 200; i++) {
    append_correlated(k, "c", 25);
    const uint64_t watermark = watermark_of(k);
    assert_true(watermark - before <= 500);
    before = watermark;
  }
  const uint64_t last = kit_head(k).last_seq;
  assert_in_range(last - watermark_of(k), 500, 1250);
}

static uint64_t owed_by(kit *k) {
  db_txn *txn;
  index_state s;
  assert_ok(db_begin_read(k->store->index->env, &txn));
  assert_ok(index_state_load(txn, &s));
  db_abort(txn);
  return s.owed;
}

/* An agent was killed when it had indexed much and merged nothing of it yet. Each time a helper pays a little. */
static void test_a_producer_does_not_pay_at_once_for_what_an_agent_left_owing(void **state) {
  kit *k = *state;
  sl_index *index = k->store->index;
  index->small = 100;
  index->piece = UINT64_C(1) << 40;
  for (int i = 0; i < 24; i++) {
    append_correlated(k, "c", 250);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  const uint64_t owed = owed_by(k);
  assert_int_equal(owed, 24 * 250 * INDEX_OWED);
  index->piece = 1000;
  index->append_cap = 100;
  append_correlated(k, "c", 250);
  assert_in_range(owed_by(k), owed - 3 * 1000, owed - 1); /* as much as it brought, and a piece */
  for (int i = 0; i < 400; i++) append_correlated(k, "c", 250);
  assert_true(owed_by(k) < 2 * 1000 + 500 * INDEX_OWED); /* together they pay it off */
  assert_int_equal(count_by_correlation(k, "c"), 250 * 425);
}

static void test_a_query_helps_and_does_not_wait(void **state) {
  kit *k = *state;
  k->store->index->append_cap = UINT32_MAX;
  append_correlated(k, "c", 3000);
  assert_int_equal(count_by_correlation(k, "c"), 3000);
  assert_int_equal(watermark_of(k), 0); /* a short tail is scanned in no time */
  append_correlated(k, "c", 3000);
  index_turn_take(k->store->index); /* somebody indexes */
  assert_int_equal(count_by_correlation(k, "c"), 6000);
  assert_int_equal(watermark_of(k), 0);
  index_turn_end(k->store->index);

  int pipes[2];
  assert_int_equal(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) { /* another process indexes, and is killed */
    sl_store *store;
    if (sl_open(k->path, NULL, &store) != SL_OK) _exit(2);
    index_turn_take(store->index);
    if (write(pipes[1], "x", 1) != 1) _exit(3);
    for (;;) pause();
  }
  char byte;
  assert_int_equal(read(pipes[0], &byte, 1), 1);
  assert_int_equal(count_by_correlation(k, "c"), 6000);
  assert_int_equal(watermark_of(k), 0);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  assert_int_equal(count_by_correlation(k, "c"), 6000);
  assert_int_equal(watermark_of(k), 1000);
  assert_int_equal(count_by_correlation(k, "c"), 6000);
  assert_int_equal(watermark_of(k), 1000); /* 5,000 are left */
  close(pipes[0]);
  close(pipes[1]);
}

/* A damaged record stops the index, and nobody but verify hears of it. */
static void test_damage_stops_the_help_alone(void **state) {
  kit *k = *state;
  append_correlated(k, "c", 10);
  db_txn *txn;
  uint64_t seq = 3;
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(db_put(txn, LOG_EVENTS, db_u64(&seq), SL_STR("no record")));
  assert_ok(db_commit(txn));
  k->store->index->append_cap = 1000;
  assert_fails(sl_append_many(k->store, NULL, 1, NULL, NULL), SL_E_INVALID, "1 to");
  append_correlated(k, "c", 8000);
  assert_int_equal(watermark_of(k), 2); /* it was tried */
  assert_non_null(strstr(sl_last_detail(), "1 to"));
  assert_int_equal(count_by_correlation(k, "c"), 8009);
  assert_non_null(strstr(sl_last_detail(), "no more"));
}

/* The index cannot grow (a limit on the size of files stands for a full disk): appends and queries go on. */
static void without_room_for_the_index(const char *path) {
  sl_store *store;
  const sl_options options = {.preallocate = 1u << 20};
  uint8_t *junk = calloc(1, 24u << 20);
  db_txn *txn;
  if (!junk || sl_open(path, &options, &store) != SL_OK) _exit(2);
  if (db_begin_write(store->index->env, false, &txn) != SL_OK) _exit(3);
  db_put(txn, INDEX_META, SL_STR("junk"), (sl_slice){junk, 24u << 20});
  if (db_commit(txn) != SL_OK) _exit(4);
  free(junk);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {20u << 20, 20u << 20};
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(5);
  if (sl_index_advance(store, 0, NULL) != SL_OK) _exit(6); /* nothing to do yet */
  store->index->append_cap = 500;
  sl_event e[250];
  for (size_t i = 0; i < 250; i++)
    e[i] = (sl_event){.topic = SL_STR("t"), .correlation_id = SL_STR("c"), .value = SL_STR("v")};
  for (int i = 0; i < 40; i++)
    if (sl_append_many(store, e, 250, NULL, NULL) != SL_OK) _exit(7);
  if (atomic_load(&store->index->rest_until_us) == 0) _exit(8); /* the help did fail */
  const sl_query q = {.correlation_id = SL_STR("c")};
  sl_iter *it;
  const sl_record *r;
  uint64_t count = 0;
  if (sl_iter_start(store, &q, &it) != SL_OK) _exit(9);
  while (sl_iter_next(it, &r) == SL_OK) count++;
  sl_iter_close(it);
  if (count != 10000) _exit(10);
  if (sl_index_advance(store, 0, NULL) == SL_OK) _exit(11);
  sl_close(store);
  _exit(0);
}

static void test_no_room_for_the_index(void **state) {
  kit *k = *state;
  const pid_t child = fork();
  if (child == 0) without_room_for_the_index(k->path);
  wait_for(child);
  assert_int_equal(count_by_correlation(k, "c"), 10000);
  assert_ok(sl_index_advance(k->store, 0, NULL)); /* there is room again */
  assert_int_equal(count_by_correlation(k, "c"), 10000);
}

/* Bytes of memory that RLIMIT_DATA counts. */
static uint64_t data_used(void) {
  char line[128];
  unsigned long long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) (void)sscanf(line, "VmData: %llu", &kib);
  if (f) fclose(f);
  return kib * 1024;
}

static uint64_t little_memory;

static int index_in_little_memory(kit *k) {
  if (sl_open(k->path, NULL, &k->store) != SL_OK) return 1;
  const struct rlimit little = {data_used() + little_memory, RLIM_INFINITY};
  if (setrlimit(RLIMIT_DATA, &little) != 0) return 2;
  const sl_status advance = sl_index_advance(k->store, 0, NULL), anew = sl_reindex(k->store);
  return advance != SL_OK ? 3 : anew != SL_OK ? 4 : 0;
}

static void test_an_index_is_made_in_little_memory(void **state) {
#if defined(__SANITIZE_ADDRESS__)
  (void)state;
  skip(); /* its shadow counts, too */
#else
  kit *k = *state;
  append_correlated(k, "c", 60000);
  kit_close(k);
  for (little_memory = 4u << 20; little_memory <= 16u << 20; little_memory += 2u << 20)
    assert_int_equal(kit_in_child(index_in_little_memory, k), 0);
  kit_open(k);
  assert_int_equal(watermark_of(k), 60000);
#endif
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_producers_keep_the_tail_bounded),
      WITH_STORE(test_a_producer_helps_a_little),
      WITH_STORE(test_a_producer_does_not_pay_at_once_for_what_an_agent_left_owing),
      WITH_STORE(test_a_query_helps_and_does_not_wait),
      WITH_STORE(test_damage_stops_the_help_alone),
      WITH_STORE(test_no_room_for_the_index),
      WITH_STORE(test_an_index_is_made_in_little_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
