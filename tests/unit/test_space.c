/* A full store: each policy does what it promises, the law holds at every look, no event is both sent and
 * dropped. */
#include "kit.h"

#include "delivery/book_impl.h"
#include "store/log_inner.h"

#include <fcntl.h>
#include <sys/file.h>

#define QUOTA (UINT64_C(2) << 20)
#define VALUE 1000

static int setup(void **state) {
  int rc = kit_setup(state);
  if (rc) return rc;
  kit *k = *state;
  sl_close(k->store);
  k->store = NULL;
  k->options.quota_bytes = QUOTA;
  k->options.preallocate = SL_NONE;
  return sl_open(k->path, &k->options, &k->store) == SL_OK ? 0 : -1;
}

static sl_stats stats(kit *k) {
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  assert_int_equal(s.kept + s.trimmed, s.last_seq);
  return s;
}

static void say(void *arg, const char *text) {
  (void)arg;
  print_error("%s\n", text);
}

static void sound(kit *k) {
  sl_verify_report report;
  assert_ok(sl_verify(k->store, say, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static sl_status append(kit *k, const char *topic, uint64_t *seq) {
  static const char value[VALUE] = {'v'};
  const sl_event e = {.topic = sl_slice_of(topic), .value = SL_BYTES(value, VALUE), .key = SL_STR("k")};
  return sl_append(k->store, &e, seq);
}

#define BATCH 20

static sl_status append_many(kit *k, const char *topic, uint64_t *first) {
  static const char value[VALUE] = {'v'};
  sl_event events[BATCH];
  for (size_t i = 0; i < BATCH; i++)
    events[i] = (sl_event){.topic = sl_slice_of(topic), .value = SL_BYTES(value, VALUE), .key = SL_STR("k")};
  return sl_append_many(k->store, events, BATCH, first, NULL);
}

static void policy(kit *k, uint32_t flags, const char *drop) {
  const sl_full_policy p = {.flags = flags, .drop_oldest = sl_slice_of(drop)};
  assert_ok(sl_full_policy_set(k->store, &p));
}

/* Appends until the store refuses; the newest seq then. */
static uint64_t fill_up(kit *k, const char *topic) {
  uint64_t seq = 0;
  sl_status status = SL_OK;
  for (int i = 0; i < 2000 && status == SL_OK; i++) status = append_many(k, topic, &seq);
  while (append(k, topic, &seq) == SL_OK) {}
  assert_int_equal(status, SL_E_FULL);
  return stats(k).last_seq;
}

static uint64_t file_bytes(kit *k) {
  struct stat st;
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &st), 0);
  return (uint64_t)st.st_size;
}

/* What became of each kept event, by asking for it. */
static void count_states(kit *k, uint64_t counts[SL_STATE_COUNT]) {
  sl_iter *it;
  const sl_record *r;
  memset(counts, 0, SL_STATE_COUNT * sizeof *counts);
  assert_ok(sl_iter_start(k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    counts[r->state]++;
    if (r->state != SL_DROPPED) continue;
    assert_int_equal(r->value.len + r->header_count, 0);
    assert_null(r->key.data);
    assert_slice(r->error_class, "DROPPED_STORE_FULL");
    assert_true(r->settled_at_us > 0 && r->event_id.len > 0);
  }
  sl_iter_close(it);
}

static void test_the_policy_is_kept_with_the_store(void **state) {
  kit *k = *state;
  char topics[SL_FULL_TOPICS_MAX];
  sl_full_policy p;
  assert_ok(sl_full_policy_get(k->store, &p, topics));
  assert_int_equal(p.flags, 0);
  assert_int_equal(p.drop_oldest.len, 0);
  assert_int_equal(p.ballast_bytes, 1u << 20);
  policy(k, 0, "metrics.*,debug");
  kit_reopen(k);
  assert_ok(sl_full_policy_get(k->store, &p, topics));
  assert_int_equal(p.flags, SL_FULL_DROP_DELIVERED);
  assert_slice(p.drop_oldest, "metrics.*,debug");
  static const char *const bad[] = {",", "a,", ",a", "a,,b"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    p = (sl_full_policy){.drop_oldest = sl_slice_of(bad[i])};
    assert_fails(sl_full_policy_set(k->store, &p), SL_E_INVALID, "drop_oldest");
  }
  p = (sl_full_policy){.flags = 2};
  assert_fails(sl_full_policy_set(k->store, &p), SL_E_INVALID, "flags");
  p = (sl_full_policy){.ballast_bytes = UINT64_C(2) << 30};
  assert_fails(sl_full_policy_set(k->store, &p), SL_E_INVALID, "1 GiB");
}

static void test_refuse_stores_nothing_and_recovers(void **state) {
  kit *k = *state;
  uint64_t last = fill_up(k, "t"), seq;
  sl_stats s = stats(k);
  assert_int_equal(s.last_seq, last);
  assert_int_equal(s.pending, last);
  assert_true(s.bytes_used <= QUOTA);
  kit_deliver(k, last); /* delivered, but nobody said that it may go early */
  assert_int_equal(append(k, "t", &seq), SL_E_FULL);
  const sl_trim_policy p = {.max_bytes = QUOTA / 2};
  assert_ok(sl_trim(k->store, &p, NULL));
  assert_ok(append(k, "t", &seq));
  assert_int_equal(seq, last + 1);
  sound(k);
}

static void test_drop_delivered_takes_the_oldest_settled(void **state) {
  kit *k = *state;
  policy(k, SL_FULL_DROP_DELIVERED, "");
  uint64_t last = fill_up(k, "t"), seq;
  assert_int_equal(stats(k).trimmed, 0); /* none was delivered */
  kit_deliver(k, last / 2);
  for (uint64_t i = 1; i <= last / 4; i++) {
    assert_ok(append(k, "t", &seq));
    assert_int_equal(seq, last + i);
  }
  sl_stats s = stats(k);
  assert_true(s.trimmed > 0 && s.trimmed <= last / 2);
  assert_int_equal(s.first_seq, s.trimmed + 1);
  fill_up(k, "t"); /* and what is undelivered stays */
  s = stats(k);
  assert_int_equal(s.pending, s.kept);
  assert_int_equal(s.dropped, 0);
  sound(k);
}

/* Ten times the quota goes in with no agent there at all: each event is there or counted. */
static void test_drop_oldest_lets_every_append_through(void **state) {
  kit *k = *state;
  policy(k, 0, "m.*");
  uint64_t seq, counts[SL_STATE_COUNT];
  for (uint64_t i = 0; i < 10 * QUOTA / VALUE; i += BATCH) {
    assert_ok(append_many(k, i % 100 ? "m.cpu" : "m.disk", &seq));
    assert_int_equal(seq, i + 1);
    if (i % 1000 == 0) stats(k);
  }
  sl_stats s = stats(k);
  assert_int_equal(s.dropped + s.pending, s.appended);
  assert_int_equal(s.dropped_full, s.dropped);
  assert_true(s.pending > QUOTA / 2 / (VALUE + 200)); /* no more goes than must */
  assert_true(s.bytes_used <= QUOTA);
  assert_true(file_bytes(k) < QUOTA * 3 / 2);
  count_states(k, counts);
  assert_int_equal(counts[SL_PENDING], s.pending);
  assert_int_equal(counts[SL_PENDING] + counts[SL_DROPPED], s.kept);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sound(k);
  kit_reopen(k);
  sl_stats after = stats(k);
  assert_int_equal(after.dropped, s.dropped);
  assert_int_equal(after.pending, s.pending);
  sound(k);
}

static void test_a_wrong_count_of_drops_is_found(void **state) {
  kit *k = *state;
  policy(k, 0, "m.*");
  for (int i = 0; i < 200; i++) assert_ok(append_many(k, "m.cpu", NULL));
  assert_true(stats(k).dropped_full > 1000);
  for (int64_t by = 1; by >= -1; by -= 2) {
    sl_verify_report report;
    db_txn *txn;
    log_meta meta;
    for (int turn = 0; turn < 2; turn++) { /* wrong, and right again */
      assert_ok(db_begin_write(k->store->log->env, false, &txn));
      assert_ok(log_meta_read(txn, &meta));
      meta.drops += (uint64_t)(turn ? -by : by);
      assert_ok(log_meta_write(txn, &meta));
      assert_ok(db_commit(txn));
      assert_ok(sl_verify(k->store, NULL, NULL, &report));
      assert_int_equal(report.problems, turn ? 0 : 1);
    }
  }
}

static void test_other_topics_are_left_alone(void **state) {
  kit *k = *state;
  policy(k, 0, "m.*");
  uint64_t seq, there = 0;
  for (int i = 0; i < 300 / BATCH; i++) assert_ok(append_many(k, "orders", &seq));
  for (int i = 0; i < 4000 / BATCH; i++) assert_ok(append_many(k, "m.cpu", &seq));
  sl_iter *it;
  const sl_record *r;
  const sl_query q = {.topic = SL_STR("orders"), .states = SL_STATE_BIT(SL_PENDING)};
  assert_ok(sl_iter_start(k->store, &q, &it));
  while (sl_iter_next(it, &r) == SL_OK) there += r->value.len == VALUE;
  sl_iter_close(it);
  assert_int_equal(there, 300);
  fill_up(k, "orders"); /* the metrics go before it refuses */
  assert_non_null(strstr(sl_last_detail(), "nothing that may go"));
  assert_int_equal(stats(k).dropped, 4000);
  sound(k);
}

/* ---- against the agent ---- */

static delivery_attempt attempt_to(const sl_delivery *d, uint64_t seq, const delivery_verdict *v, size_t count) {
  delivery_attempt a = {.progress = delivery_state_get(d)->cursor, .verdicts = v, .count = count, .marked = true};
  a.progress.seq = seq;
  a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  return a;
}

static void all_sent(delivery_verdict *v, uint64_t first, size_t count) {
  for (size_t i = 0; i < count; i++)
    v[i] = (delivery_verdict){.seq = first + i, .verdict = SL_VERDICT_SENT, .partition = 1, .place = (int64_t)i};
}

static uint64_t drop_some(kit *k, uint64_t bytes) {
  space_policy p;
  uint64_t dropped;
  assert_ok(space_policy_read(k->store, &p));
  assert_ok(space_drop_oldest(k->store, &p, bytes, &dropped));
  return dropped;
}

static void test_what_is_in_an_intent_is_not_dropped(void **state) {
  kit *k = *state;
  sl_delivery *d;
  uint64_t counts[SL_STATE_COUNT];
  delivery_verdict v[50];
  policy(k, 0, "m");
  kit_fill(k, "m", 100, VALUE);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  all_sent(v, 1, 50);
  delivery_attempt a = attempt_to(d, 50, v, 50);
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(drop_some(k, 1u << 20), 49); /* 51 to 99: never the newest */
  assert_ok(delivery_settle(d));
  count_states(k, counts);
  assert_int_equal(counts[SL_SENT], 50);
  assert_int_equal(counts[SL_DROPPED], 49);
  sl_stats s = stats(k);
  assert_int_equal(s.pending, 1);
  assert_int_equal(s.dropped, 49);
  uint64_t settled;
  assert_ok(delivery_settle_tombstones(d, k->store, &settled)); /* with their receipts nothing changes */
  assert_int_equal(settled, 49);
  count_states(k, counts);
  assert_int_equal(counts[SL_SENT], 50);
  assert_int_equal(counts[SL_DROPPED], 49);
  s = stats(k);
  assert_int_equal(s.pending, 1);
  assert_int_equal(s.dropped, 49);
  assert_int_equal(s.delivery_seq, 99);
  sound(k);
  delivery_close(d);
}

/* 100 events, every fourth of the topic in a lane that stands at 8; everything else is delivered up to 80. */
static sl_delivery *with_a_lane(kit *k, sl_lane *lane) {
  sl_delivery *d;
  delivery_verdict v[80];
  for (int i = 1; i <= 100; i++) assert_ok(append(k, i % 4 ? "other" : "m", NULL));
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  all_sent(v, 1, 80);
  for (size_t i = 11; i < 80; i += 4) v[i] = (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_LANE};
  *lane = (sl_lane){SL_STR("m"), 8};
  delivery_attempt a = attempt_to(d, 80, v, 80);
  a.progress.lanes = lane;
  a.progress.lane_count = 1;
  assert_ok(delivery_record(d, &a));
  return d;
}

static void test_what_waits_in_a_lane_goes_too(void **state) {
  kit *k = *state;
  uint64_t counts[SL_STATE_COUNT];
  sl_lane lane, moved = {SL_STR("m"), 40};
  delivery_verdict w[18];
  const sl_letter letter = {.attempts = 1, .error_class = SL_STR("DROPPED_STORE_FULL")};
  policy(k, 0, "m");
  sl_delivery *d = with_a_lane(k, &lane);
  /* An intent that moves the lane to 40: 12, 16 .. 40 are its own. */
  for (size_t i = 0; i < 8; i++)
    w[i] = (delivery_verdict){.seq = 12 + i * 4, .verdict = SL_VERDICT_SENT, .partition = 1, .place = (int64_t)i};
  delivery_attempt a = attempt_to(d, 80, NULL, 0);
  a.progress.lanes = &moved;
  a.progress.lane_count = 1;
  a.lane_verdicts = w;
  a.lane_count = 8;
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(drop_some(k, 1u << 20), 14); /* 44 .. 80 in the lane, 84 .. 96 beyond: never the newest */
  assert_int_equal(drop_some(k, 1u << 20), 0);
  sl_stats s = stats(k);
  assert_int_equal(s.dropped, 14);
  assert_int_equal(s.pending, 100 - 62 - 14);
  sound(k);
  /* Given up, they may go. */
  assert_ok(delivery_abandon(d));
  assert_int_equal(drop_some(k, 1u << 20), 8);
  sound(k);
  /* Its lane cannot say of a tombstone that it was sent; that it was dropped. */
  moved.seq = 80;
  for (size_t i = 0; i < 18; i++)
    w[i] = (delivery_verdict){.seq = 12 + i * 4, .verdict = SL_VERDICT_SENT, .partition = 1, .place = (int64_t)i};
  a = attempt_to(d, 80, NULL, 0);
  a.progress.lane_count = 0;
  a.lane_verdicts = w;
  a.lane_count = 18;
  assert_fails(delivery_intent(d, &a), SL_NOTFOUND, "was dropped by the full store");
  for (size_t i = 0; i < 18; i++)
    w[i] = (delivery_verdict){.seq = 12 + i * 4, .verdict = SL_VERDICT_DROPPED, .letter = &letter};
  assert_ok(delivery_record(d, &a));
  s = stats(k);
  assert_int_equal(s.dropped, 22);
  assert_int_equal(s.delivered, 62);
  count_states(k, counts);
  assert_int_equal(counts[SL_DROPPED], 22);
  assert_int_equal(counts[SL_SENT], 62);
  sound(k);
  delivery_close(d);
}

static void test_a_transaction_that_was_overtaken_is_refused_and_then_left_alone(void **state) {
  kit *k = *state;
  sl_delivery *d;
  delivery_verdict v[50];
  policy(k, 0, "m");
  kit_fill(k, "m", 100, VALUE);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  all_sent(v, 1, 50);
  delivery_attempt a = attempt_to(d, 50, v, 50);
  const uint64_t dropped = drop_some(k, 10 * VALUE);
  assert_in_range(dropped, 9, 12);
  assert_fails(delivery_intent(d, &a), SL_NOTFOUND, "was dropped by the full store");
  assert_false(delivery_state_get(d)->has_intent);
  assert_int_equal(stats(k).dropped, dropped);
  assert_int_equal(drop_some(k, 1u << 20), 49); /* of the other fifty: these wait for the next try */
  static const sl_letter letter = {.error_class = {BOOK_CLASS_DROPPED, sizeof BOOK_CLASS_DROPPED - 1}};
  for (size_t i = 0; i < dropped; i++)
    v[i] = (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_DROPPED, .letter = &letter};
  a = attempt_to(d, 50, v, 50);
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  sl_stats s = stats(k);
  assert_int_equal(s.delivered, 50 - dropped);
  assert_int_equal(s.dropped, 49 + dropped);
  assert_int_equal(s.pending, 1);
  sound(k);
  delivery_close(d);
}

/* Acknowledged before it is recorded: such an event was sent, whatever became of its record since. */
static void test_at_least_once_says_what_was_sent(void **state) {
  kit *k = *state;
  sl_delivery *d;
  delivery_verdict v[20];
  policy(k, 0, "m");
  kit_fill(k, "m", 100, VALUE);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  all_sent(v, 1, 20);
  delivery_attempt a = attempt_to(d, 20, v, 20);
  a.marked = false;
  const uint64_t dropped = drop_some(k, 10 * VALUE);
  assert_int_equal(stats(k).dropped, dropped);
  assert_ok(delivery_record(d, &a));
  sl_stats s = stats(k);
  assert_int_equal(s.delivered, 20);
  assert_int_equal(s.dropped, 0);
  assert_int_equal(s.pending, 80);
  sound(k);
  delivery_close(d);
}

/* ----------------------------------------------------------------- ballast --- */

static off_t size_of(kit *k, const char *name) {
  struct stat st;
  return stat(kit_file(k, name), &st) == 0 ? st.st_size : -1;
}

static int half_a_ballast(kit *k) {
  const int fd = open(kit_file(k, "ballast.new"), O_WRONLY | O_CREAT, 0600);
  assert_int_equal(write(fd, "half", 4), 4);
  return fd;
}

static void test_a_ballast_that_was_left_half_made_goes(void **state) {
  kit *k = *state;
  assert_int_equal(size_of(k, "ballast"), 1 << 20);
  close(half_a_ballast(k));
  kit_reopen(k);
  assert_int_equal(size_of(k, "ballast.new"), -1);
  assert_int_equal(size_of(k, "ballast"), 1 << 20);
  assert_ok(sl_full_policy_set(k->store, &(sl_full_policy){.ballast_bytes = SL_NONE}));
  close(half_a_ballast(k));
  kit_reopen(k);
  assert_int_equal(size_of(k, "ballast.new"), -1);
  assert_int_equal(size_of(k, "ballast"), -1);
}

/* Two at once would leave it with a hole, and it would carry no emergency. */
static void test_one_process_makes_the_ballast_at_a_time(void **state) {
  kit *k = *state;
  assert_int_equal(unlink(kit_file(k, "ballast")), 0);
  const int other = half_a_ballast(k);
  assert_int_equal(flock(other, LOCK_EX), 0); /* as another process has it that is at it */
  assert_ok(sl_trim(k->store, NULL, NULL));
  assert_int_equal(size_of(k, "ballast.new"), 4);
  assert_int_equal(size_of(k, "ballast"), -1);
  close(other);
  assert_ok(sl_trim(k->store, NULL, NULL));
  assert_int_equal(size_of(k, "ballast.new"), -1);
  assert_int_equal(size_of(k, "ballast"), 1 << 20);
}

/* Free pages that one process has counted are taken by another meanwhile. */
static int fill_it(kit *k) {
  if (sl_open(k->path, NULL, &k->store) != SL_OK) return 1;
  sl_status status = SL_OK;
  while (status == SL_OK) status = append_many(k, "t", NULL);
  sl_close(k->store);
  return status == SL_E_FULL ? 0 : 2;
}

static void test_two_processes_do_not_take_the_same_room(void **state) {
  kit *k = *state;
  sl_trim_result trimmed;
  while (append(k, "t", NULL) == SL_OK) continue;
  kit_deliver(k, kit_head(k).last_seq);
  assert_ok(sl_trim(k->store, &(sl_trim_policy){.max_events = 10}, &trimmed));
  assert_true(trimmed.removed > 1000);
  assert_ok(append(k, "t", NULL)); /* it knows of the room */
  assert_int_equal(kit_in_child(fill_it, k), 0);
  unsigned more = 0;
  while (append_many(k, "t", NULL) == SL_OK) more++;
  assert_true(more == 0);
  assert_true(stats(k).bytes_used <= QUOTA);
}

static int raise_quota(kit *k) {
  const sl_options o = {.quota_bytes = UINT64_C(1) << 40};
  if (sl_open(k->path, &o, &k->store) != SL_OK) return 1;
  sl_close(k->store);
  return 0;
}

/* The map of a store with a small quota has 128 GiB. */
static void test_a_quota_that_another_process_raised_beyond_our_map(void **state) {
  kit *k = *state;
  assert_ok(append(k, "t", NULL));
  assert_int_equal(kit_in_child(raise_quota, k), 0);
  assert_ok(append(k, "t", NULL)); /* sees it, */
  assert_ok(append(k, "t", NULL)); /* and goes by it */
  assert_int_equal(stats(k).bytes_quota, UINT64_C(1) << 40);
  assert_true(db_env_map_size(k->store->log->env) > UINT64_C(1) << 40);
  assert_int_equal(stats(k).kept, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_two_processes_do_not_take_the_same_room, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_a_quota_that_another_process_raised_beyond_our_map, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_the_policy_is_kept_with_the_store, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_refuse_stores_nothing_and_recovers, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_drop_delivered_takes_the_oldest_settled, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_drop_oldest_lets_every_append_through, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_a_wrong_count_of_drops_is_found, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_other_topics_are_left_alone, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_what_is_in_an_intent_is_not_dropped, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_what_waits_in_a_lane_goes_too, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_a_transaction_that_was_overtaken_is_refused_and_then_left_alone, setup,
                                    kit_teardown),
    cmocka_unit_test_setup_teardown(test_at_least_once_says_what_was_sent, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_a_ballast_that_was_left_half_made_goes, setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_one_process_makes_the_ballast_at_a_time, setup, kit_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
