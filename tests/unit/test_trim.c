/* Trim: what may go, what must stay, and that the books agree afterwards. */
#include "kit.h"

#include "base/clock.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <stdatomic.h>

static sl_trim_result trim(kit *k, const sl_trim_policy *policy) {
  sl_trim_result result;
  assert_ok(sl_trim(k->store, policy, &result));
  log_head head = kit_head(k);
  assert_int_equal(head.kept + head.trimmed, head.last_seq); /* after each trim, whatever it did */
  assert_int_equal(head.first_seq, result.first_seq);
  return result;
}

static sl_stats stats(kit *k) {
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  assert_int_equal(s.appended, s.delivered + s.duplicates + s.dead + s.dropped + s.pending);
  return s;
}

/* An event appended `ago` before now, by the record's word. */
static void append_aged(kit *k, const char *topic, int64_t now_us, int64_t ago_us) {
  sl_log *log = k->store->log;
  db_txn *txn;
  uint64_t last;
  int64_t newest;
  uint32_t id;
  dict_pending pending = {0};
  sl_buf bytes = {0};
  assert_ok(db_begin_write(log->env, false, &txn));
  assert_ok(log_newest(txn, &last, &newest));
  assert_ok(dict_assign(log->dict, txn, &pending, sl_slice_of(topic), &id));
  uint64_t seq = last + 1;
  if (last > 0 && newest - (now_us - ago_us) > 60000000) assert_ok(log_era_begin(txn, seq));
  char name[32];
  snprintf(name, sizeof name, "event-%d", (int)seq);
  sl_parts parts = {.appended_us = now_us - ago_us, .topic_id = id, .type_id = id,
                    .event_id = sl_slice_of(name)};
  assert_ok(sl_record_encode(&parts, &bytes));
  assert_ok(db_append(txn, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&bytes)));
  assert_ok(db_commit(txn));
  dict_pending_learn(log->dict, &pending);
  dict_pending_free(&pending);
  sl_buf_free(&bytes);
}

static const int64_t DAY = INT64_C(86400) * 1000000;


static void test_undelivered_events_stay(void **state) {
  kit *k = *state;
  kit_fill(k, "t", 100, 10);
  sl_trim_policy policy = {.max_events = 10};
  sl_trim_result r = trim(k, &policy);
  assert_int_equal(r.removed, 0);
  assert_int_equal(r.held, 1);
  assert_ok(sl_index_advance(k->store, 0, NULL)); /* indexed alone is not enough */
  r = trim(k, &policy);
  assert_int_equal(r.removed, 0);
  kit_deliver(k, 40);
  r = trim(k, &policy);
  assert_int_equal(r.removed, 40);
  assert_int_equal(r.held, 1);
  assert_int_equal(r.first_seq, 41);
  kit_deliver(k, 100);
  r = trim(k, &policy);
  assert_int_equal(r.removed, 50);
  assert_int_equal(r.held, 0);
  sl_stats s = stats(k);
  assert_int_equal(s.kept, 10);
  assert_int_equal(s.trimmed, 90);
  assert_int_equal(s.appended, 100);
  assert_int_equal(s.delivered, 100);
}

static void test_no_policy_removes_nothing(void **state) {
  kit *k = *state;
  kit_fill(k, "t", 20, 10);
  kit_deliver(k, 20);
  assert_int_equal(trim(k, NULL).removed, 0);
}

static void test_the_newest_event_stays_whatever_the_policy(void **state) {
  kit *k = *state;
  int64_t now = sl_clock_wall_us();
  for (int i = 0; i < 10; i++) append_aged(k, "t", now, 100 * DAY - i * 1000000);
  kit_deliver(k, 10);
  sl_trim_result r = trim(k, &(sl_trim_policy){.max_age_us = DAY, .max_events = 1});
  assert_int_equal(r.removed, 9);
  assert_int_equal(r.first_seq, 10);
  assert_int_equal(kit_append(k, "t", "v"), 11);
}

static void test_age_and_budget(void **state) {
  kit *k = *state;
  int64_t now = sl_clock_wall_us();
  for (int i = 0; i < 50; i++) append_aged(k, "t", now, 10 * DAY - i * DAY / 10);
  kit_deliver(k, 50);
  sl_trim_policy policy = {.max_age_us = 7 * DAY, .budget = 12};
  assert_int_equal(trim(k, &policy).removed, 12);
  policy.budget = 0;
  assert_int_equal(trim(k, &policy).removed, 31 - 12);
  assert_int_equal(trim(k, &policy).removed, 0);
  assert_int_equal(trim(k, &policy).first_seq, 32);
}

static void test_ages_of_topics_leave_holes_that_are_accounted_for(void **state) {
  kit *k = *state;
  int64_t now = sl_clock_wall_us();
  for (int i = 0; i < 60; i++)
    append_aged(k, i % 3 == 0 ? "audit.login" : "debug.x", now, 10 * DAY - i * 1000000);
  append_aged(k, "debug.x", now, 0);
  kit_deliver(k, 61);
  sl_trim_topic topics[] = {{SL_STR("audit.*"), 365 * DAY}, {SL_STR("debug.*"), DAY}};
  sl_trim_policy policy = {.max_age_us = 30 * DAY, .topics = topics, .topic_count = 2};
  sl_trim_result r = trim(k, &policy);
  assert_int_equal(r.removed, 40);
  assert_int_equal(r.first_seq, 1);
  sl_stats s = stats(k);
  assert_int_equal(s.kept, 21);
  assert_int_equal(s.trimmed, 40);
  assert_int_equal(trim(k, &policy).removed, 0); /* remembered, not looked at again */
  /* A shorter age makes a new look; the memory was of the old one. */
  topics[0].max_age_us = 5 * DAY;
  r = trim(k, &policy);
  assert_int_equal(r.removed, 20);
  assert_int_equal(r.first_seq, 61);
  log_view *view;
  sl_parts parts;
  uint64_t found;
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_next(view, 1, false, &found, &parts));
  assert_int_equal(found, 61);
  log_view_close(view);
}

static void test_the_other_limits_are_not_shielded_by_a_topic(void **state) {
  kit *k = *state;
  for (int i = 0; i < 30; i++) kit_append(k, "audit", "v");
  kit_deliver(k, 30);
  sl_trim_topic topic = {SL_STR("audit"), 365 * DAY};
  sl_trim_policy policy = {.max_events = 10, .topics = &topic, .topic_count = 1};
  assert_int_equal(trim(k, &policy).removed, 20);
}

static void test_bytes(void **state) {
  kit *k = *state;
  uint64_t used;
  kit_fill(k, "t", 6000, 1000);
  kit_deliver(k, 6000);
  assert_ok(log_bytes_used(k->store, &used));
  assert_true(used > 6000000);
  sl_trim_result r = trim(k, &(sl_trim_policy){.max_bytes = 3000000});
  assert_ok(log_bytes_used(k->store, &used));
  assert_true(used <= 3000000);
  assert_true(used > 2000000); /* not much more than needed */
  assert_in_range(r.removed, 3000, 4500);
  stats(k);
}

static void test_one_event_of_the_future_does_not_spoil_retention(void **state) {
  kit *k = *state;
  int64_t now = sl_clock_wall_us();
  for (int i = 0; i < 10; i++) append_aged(k, "t", now, 20 * DAY - i * 1000000);
  append_aged(k, "t", now, -4000 * DAY);
  for (int i = 0; i < 10; i++) append_aged(k, "t", now, 10 * DAY - i * 1000000);
  for (int i = 0; i < 10; i++) append_aged(k, "t", now, DAY - i * 1000000);
  kit_deliver(k, 31);
  sl_trim_result r = trim(k, &(sl_trim_policy){.max_age_us = 7 * DAY});
  assert_int_equal(r.removed, 21);
}

static void test_space_is_used_again(void **state) {
  kit *k = *state;
  struct stat before, after;
  k->options.quota_bytes = 4u << 20;
  kit_reopen(k);
  kit_fill(k, "t", 2000, 1000);
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &before), 0);
  uint64_t last = 2000;
  for (int turn = 0; turn < 10; turn++) {
    kit_deliver(k, last);
    trim(k, &(sl_trim_policy){.max_events = 500});
    kit_fill(k, "t", 1500, 1000);
    last += 1500;
  }
  stats(k);
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &after), 0);
  assert_true(after.st_size < 4 << 20);
  assert_true(after.st_size < before.st_size + (1 << 20));
}

/* "For ever" is an age like another. */
static void test_the_longest_age_keeps(void **state) {
  kit *k = *state;
  const int64_t now = sl_clock_wall_us();
  for (int i = 0; i < 10; i++) append_aged(k, i % 2 ? "keep" : "go", now, 2 * DAY);
  kit_append(k, "go", "newest");
  kit_deliver(k, 11);
  const sl_trim_topic topics[] = {{.topic = SL_STR("keep"), .max_age_us = INT64_MAX}};
  const sl_trim_policy policy = {.max_age_us = DAY, .topics = topics, .topic_count = 1};
  assert_int_equal(trim(k, &policy).removed, 5);
  assert_int_equal(trim(k, &policy).removed, 0);
}

static void test_bad_policies_are_refused(void **state) {
  kit *k = *state;
  sl_trim_topic nameless = {.max_age_us = 1};
  assert_fails(sl_trim(k->store, &(sl_trim_policy){.max_age_us = -1}, NULL), SL_E_INVALID, "negative");
  sl_trim_topic dangling = {.topic = {NULL, 5}};
  assert_fails(sl_trim(k->store, &(sl_trim_policy){.topics = &dangling, .topic_count = 1}, NULL), SL_E_INVALID,
               "name");
  assert_fails(sl_trim(k->store, &(sl_trim_policy){.flags = 1}, NULL), SL_E_INVALID, "flags");
  assert_fails(sl_trim(k->store, &(sl_trim_policy){.topic_count = 1}, NULL), SL_E_INVALID, "topics");
  assert_fails(sl_trim(k->store, &(sl_trim_policy){.topics = &nameless, .topic_count = 1}, NULL), SL_E_INVALID,
               "topic 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

/* ---- full-rate appends ---- */

#define WRITERS 2
#define EACH 400
#define BATCH 50

typedef struct stream {
  kit *k;
  _Atomic unsigned writing, failed;
} stream;

static void *write_all(void *arg) {
  stream *s = arg;
  static const char value[1000] = {'v'};
  sl_event events[BATCH];
  for (size_t i = 0; i < BATCH; i++) events[i] = (sl_event){.topic = SL_STR("t"), .value = SL_BYTES(value, 1000)};
  for (int i = 0; i < EACH; i++) {
    sl_status status;
    while ((status = sl_append_many(s->k->store, events, BATCH, NULL, NULL)) == SL_E_FULL) sched_yield();
    if (status != SL_OK) atomic_fetch_add(&s->failed, 1);
  }
  atomic_fetch_sub(&s->writing, 1);
  return NULL;
}

/* 40 MB go through a quota of 8 MiB, of which 2,000 events are to be kept. However fast the writers are against
 * who delivers and trims, the file stays what the quota says; where they are not (a disk that flushes), near 2,000
 * events. */
static void test_trim_keeps_up_with_appends_at_full_rate(void **state) {
  kit *k = *state;
  stream s = {.k = k, .writing = WRITERS};
  pthread_t threads[WRITERS];
  const sl_trim_policy policy = {.max_events = 2000};
  uint64_t most = 0;
  sl_close(k->store);
  k->options.quota_bytes = 8u << 20;
  kit_open(k);
  for (int i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, write_all, &s), 0);
  bool ok = true; /* nothing is asserted while threads are at it: a failure would take the store from under them */
  while (atomic_load(&s.writing)) {
    sl_stats now = {0};
    ok = ok && sl_stats_get(k->store, &now) == SL_OK && now.balanced;
    if (now.kept > most) most = now.kept;
    kit_deliver(k, now.last_seq);
    ok = ok && sl_trim(k->store, &policy, NULL) == SL_OK;
  }
  for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
  assert_true(ok);
  assert_int_equal(atomic_load(&s.failed), 0);
  sl_stats end = stats(k);
  if (end.kept > most) most = end.kept;
  struct stat st;
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &st), 0);
  print_message("at most %u of %u kept, file %u KB\n", (unsigned)most, (unsigned)end.appended,
                (unsigned)(st.st_size / 1000));
  assert_int_equal(end.appended, WRITERS * EACH * BATCH);
  assert_true(st.st_size < 16 << 20);
  kit_deliver(k, end.last_seq);
  trim(k, &policy);
  assert_int_equal(stats(k).kept, 2000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_trim_keeps_up_with_appends_at_full_rate, kit_setup, kit_teardown),
    TEST(test_undelivered_events_stay),
    TEST(test_no_policy_removes_nothing),
    TEST(test_the_newest_event_stays_whatever_the_policy),
    TEST(test_age_and_budget),
    TEST(test_ages_of_topics_leave_holes_that_are_accounted_for),
    TEST(test_the_other_limits_are_not_shielded_by_a_topic),
    TEST(test_bytes),
    TEST(test_the_longest_age_keeps),
    TEST(test_one_event_of_the_future_does_not_spoil_retention),
    TEST(test_space_is_used_again),
    TEST(test_bad_policies_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
