/* Readers: what is handed out and when, and that the law holds after each. */
#include "reader_kit.h"

#include "base/clock.h"

#include <pthread.h>

static void test_what_is_acknowledged_stays_so(void **state) {
  kit *k = *state;
  for (int i = 0; i < 5; i++) kit_append(k, "t", "v");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  for (uint64_t seq = 1; seq <= 3; seq++) {
    assert_next(r, seq);
    assert_ok(sl_reader_ack(r, seq));
  }
  assert_fails(sl_reader_ack(r, 3), SL_E_INVALID, "not in hand");
  sl_reader_close(r);
  assert_law(k, "r", 3, 0, 0, 0, 0);
  r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 4);
  sl_reader_close(r); /* it was in hand, and is put back */
  r = reader_of(k, "r", (sl_reader_options){.flags = SL_READER_EXISTING});
  assert_next(r, 4);
  assert_ok(sl_reader_release(r, 4));
  assert_next(r, 4);
  assert_ok(sl_reader_ack(r, 4));
  assert_next(r, 5);
  assert_ok(sl_reader_ack(r, 5));
  assert_next(r, 0);
  assert_law(k, "r", 5, 0, 0, 0, 0); /* committed before it would have waited */
  assert_int_equal(info_of(k, "r").lag, 0);
  assert_int_equal(info_of(k, "r").pid, getpid());
  sl_reader_close(r);
  assert_int_equal(info_of(k, "r").pid, 0);
}

static void test_a_record_is_whole(void **state) {
  kit *k = *state;
  const sl_header h = {SL_STR("h"), SL_STR("x")};
  const sl_event e = {.topic = SL_STR("t"), .type = SL_STR("T"), .event_id = SL_STR("one"), .key = SL_STR("k"),
                      .headers = &h,
                      .header_count = 1, .value = SL_STR("{\"a\":1}"), .occurred_at_us = 77};
  assert_ok(sl_append(k->store, &e, NULL));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  const sl_reader_event *ev;
  assert_ok(sl_reader_next(r, 0, &ev));
  assert_slice(ev->record->event_id, "one");
  assert_slice(ev->record->type, "T");
  assert_slice(ev->record->key, "k");
  assert_slice(ev->record->value, "{\"a\":1}");
  assert_slice(ev->record->headers[0].value, "x");
  assert_int_equal(ev->record->occurred_at_us, 77);
  assert_int_equal(ev->attempts, 0);
  assert_int_equal(ev->missed, 0);
  sl_reader_close(r);
}

static void test_a_failure_holds_back_its_key_alone(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a"); /* 1 */
  put_keyed(k, "t", "b"); /* 2 */
  put_keyed(k, "t", "a"); /* 3 */
  put_keyed(k, "u", "a"); /* 4: another topic's key */
  put_keyed(k, "t", NULL); /* 5 */
  put_keyed(k, "t", "a"); /* 6 */
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER});
  assert_next(r, 1);
  assert_next(r, 2);
  assert_next(r, 4); /* 3 waits for 1 */
  assert_next(r, 5);
  assert_next(r, 0);
  assert_int_equal(fail_at(r, 1, "E", 0), 0);
  assert_law(k, "r", 0, 0, 0, 0, 6);
  assert_int_equal(info_of(k, "r").retrying, 1);
  assert_next(r, 0); /* its hour has not come */
  for (uint64_t seq = 2; seq <= 5; seq++)
    if (seq != 3) assert_ok(sl_reader_ack(r, seq));
  assert_next(r, 0);
  sl_reader_close(r);
  assert_law(k, "r", 3, 0, 0, 0, 3);
  put_keyed(k, "t", "a"); /* 7 */
  put_keyed(k, "t", "c"); /* 8 */
  r = reader_of(k, "r", (sl_reader_options){LATER}); /* the wait outlives the process */
  assert_next(r, 8);
  assert_next(r, 0);
  sl_reader_close(r);
}

static void test_what_failed_comes_again_in_order(void **state) {
  kit *k = *state;
  for (int i = 0; i < 3; i++) put_keyed(k, "t", "a");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .max_attempts = 3});
  const sl_reader_event *e;
  for (uint32_t n = 0; n < 3; n++) {
    assert_ok(sl_reader_next(r, 1000, &e));
    assert_int_equal(e->record->seq, 1);
    assert_int_equal(e->attempts, n);
    assert_int_equal(fail_at(r, 1, "E", 0), n == 2);
  }
  assert_law(k, "r", 0, 1, 0, 0, 0);
  assert_next(r, 2); /* its key goes on */
  assert_int_equal(fail_at(r, 2, "E", SL_READER_FINAL), 1);
  assert_next(r, 3);
  assert_ok(sl_reader_ack(r, 3));
  sl_reader_close(r);
  assert_law(k, "r", 1, 2, 0, 0, 0);
}

static void test_attempts_outlive_the_reader(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  for (uint32_t n = 0; n < 4; n++) {
    sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .max_attempts = 4});
    const sl_reader_event *e;
    assert_ok(sl_reader_next(r, 1000, &e));
    assert_int_equal(e->attempts, n);
    assert_int_equal(fail_at(r, 1, "E", 0), n == 3);
    sl_reader_close(r);
    kit_reopen(k);
  }
  assert_law(k, "r", 0, 1, 0, 0, 0);
}

static void test_an_outage_makes_no_dead_letters(void **state) {
  kit *k = *state;
  for (int i = 0; i < 3; i++) put_keyed(k, "t", i ? "a" : "b");
  const sl_reader_failure down = {.flags = SL_READER_OUTAGE}, both = {.flags = SL_READER_OUTAGE | SL_READER_FINAL};
  const sl_reader_failure for_an_hour = {.flags = SL_READER_OUTAGE, .retry_after_us = INT64_C(3600000000)};
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .max_attempts = 2});
  const sl_reader_event *e;
  for (int n = 0; n < 20; n++) {
    int dead = 1;
    assert_ok(sl_reader_next(r, 1000, &e));
    assert_int_equal(e->record->seq, 1);
    assert_int_equal(e->attempts, 0);
    assert_fails(sl_reader_fail(r, 1, &both, NULL), SL_E_INVALID, "flags");
    assert_ok(sl_reader_fail(r, 1, &down, &dead));
    assert_int_equal(dead, 0);
  }
  assert_ok(sl_reader_next(r, 1000, &e));
  assert_next(r, 2);
  assert_ok(sl_reader_fail(r, 2, &for_an_hour, NULL));
  assert_ok(sl_reader_ack(r, 1)); /* what is in hand is not concerned */
  put_keyed(k, "t", "c");
  assert_next(r, 0);
  sl_reader_close(r);
  assert_law(k, "r", 1, 0, 0, 0, 1);
  r = reader_of(k, "r", (sl_reader_options){AT_ONCE}); /* a new process looks anew */
  assert_next(r, 2);
  assert_next(r, 4);
  sl_reader_close(r);
}

static void test_what_waits_is_bounded(void **state) {
  kit *k = *state;
  for (int i = 0; i < 6; i++) put_keyed(k, "t", "a");
  put_keyed(k, "t", "b"); /* 7 */
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .max_waiting = 3, .max_attempts = 2});
  assert_next(r, 1);
  assert_next(r, 0); /* 2, 3, 4 wait; 5 finds no room, so 7 is not reached */
  assert_ok(sl_reader_commit(r));
  assert_law(k, "r", 0, 0, 0, 0, 4);
  assert_ok(sl_reader_ack(r, 1));
  assert_next(r, 2);
  fail_at(r, 2, "E", SL_READER_FINAL);
  uint64_t seen[8] = {0}, n = 0;
  for (uint64_t seq; (seq = next_of(r)) != 0; n++) {
    seen[n] = seq;
    assert_ok(sl_reader_ack(r, seq));
  }
  assert_int_equal(n, 5);
  assert_int_equal(seen[0], 3);
  assert_law(k, "r", 6, 1, 0, 0, 0);
  sl_reader_close(r);
}

static void test_a_filter_lets_pass_what_it_names(void **state) {
  kit *k = *state;
  static const char *const topics[] = {"a.x", "b.x", "a.y", "c"};
  for (int i = 0; i < 4; i++) kit_append(k, topics[i], "v");
  const sl_event e = {.topic = SL_STR("a.z"), .type = SL_STR("odd")};
  assert_ok(sl_append(k->store, &e, NULL)); /* 5 */
  sl_reader *r = reader_of(k, "r", (sl_reader_options){.topics = SL_STR("a.*,c"), .types = SL_STR("a.*,c")});
  assert_next(r, 1);
  assert_next(r, 3);
  assert_next(r, 4);
  assert_next(r, 0);
  for (uint64_t seq = 1; seq <= 4; seq++)
    if (seq != 2) assert_ok(sl_reader_ack(r, seq));
  sl_reader_close(r);
  assert_law(k, "r", 3, 0, 0, 0, 0);
  const sl_reader_info i = info_of(k, "r");
  assert_slice(i.topics, "a.*,c");
  assert_int_equal(i.seq, 5);
  sl_reader *bad;
  const sl_reader_options wrong = {.topics = SL_STR("a,,b")};
  assert_fails(sl_reader_open(k->store, "s", &wrong, &bad), SL_E_INVALID, "globs");
}

static void test_a_name_is_open_once(void **state) {
  kit *k = *state;
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0}), *other;
  assert_fails(sl_reader_open(k->store, "r", NULL, &other), SL_E_BUSY, "open already");
  assert_fails(sl_reader_delete(k->store, "r"), SL_E_BUSY, "open already");
  const sl_reader_options existing = {.flags = SL_READER_EXISTING};
  assert_fails(sl_reader_open(k->store, "s", &existing, &other), SL_NOTFOUND, "no reader s");
  assert_fails(sl_reader_open(k->store, "a/b", NULL, &other), SL_E_INVALID, "name");
  sl_reader_close(r);
  assert_ok(sl_reader_delete(k->store, "r"));
  assert_fails(sl_reader_delete(k->store, "r"), SL_NOTFOUND, "no reader r");
}

static void test_a_new_reader_begins_where_it_is_told(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){.flags = SL_READER_FROM_NEWEST});
  assert_next(r, 0);
  kit_append(k, "t", "v");
  assert_next(r, 2);
  assert_ok(sl_reader_ack(r, 2));
  sl_reader_close(r);
  r = reader_of(k, "r", (sl_reader_options){.flags = SL_READER_FROM_NEWEST}); /* of a new one alone */
  kit_append(k, "t", "v");
  assert_next(r, 3);
  sl_reader_close(r);
  assert_law(k, "r", 1, 0, 0, 0, 1);
}

/* Each of many keys has failed and is due again: the oldest first, and none of them costs a look at all the
 * others. */
static void test_many_keys_that_are_due_come_in_order(void **state) {
  enum { KEYS = 10000 };
  kit *k = *state;
  sl_event *events = calloc(KEYS, sizeof *events);
  char(*keys)[8] = calloc(KEYS, sizeof *keys);
  for (int i = 0; i < KEYS; i++) {
    snprintf(keys[i], sizeof keys[i], "%d", i);
    events[i] = (sl_event){.topic = SL_STR("t"), .key = sl_slice_of(keys[i]), .value = SL_STR("v")};
  }
  assert_ok(sl_append_many(k->store, events, KEYS, NULL, NULL));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .max_in_hand = KEYS, .commit_events = 100000});
  for (uint64_t seq = 1; seq <= KEYS; seq++) assert_next(r, seq);
  for (uint64_t seq = KEYS; seq > 0; seq--) assert_ok(sl_reader_release(r, seq));
  const int64_t begun = sl_clock_monotonic_us();
  for (uint64_t seq = 1; seq <= KEYS; seq++) assert_next(r, seq);
  print_message("%d keys were handed out again in %d ms\n", KEYS, (int)((sl_clock_monotonic_us() - begun) / 1000));
  for (uint64_t seq = 1; seq <= KEYS; seq++) assert_ok(sl_reader_ack(r, seq));
  sl_reader_close(r);
  assert_law(k, "r", KEYS, 0, 0, 0, 0);
  free(keys);
  free(events);
}

/* ------------------------------------------------------------------ threads --- */

enum { WORKERS = 4, EVENTS = 2000, KEYS = 7 };
typedef struct work {
  sl_reader *reader;
  pthread_mutex_t lock;
  uint64_t last[KEYS], done;
  bool disordered;
} work;

static void *work_on(void *arg) {
  work *w = arg;
  const sl_reader_event *e;
  for (bool all = false; !all;) {
    const sl_status status = sl_reader_next(w->reader, 100, &e);
    pthread_mutex_lock(&w->lock);
    if (status == SL_OK) {
      const size_t key = (size_t)(((const char *)e->record->key.data)[0] - 'a');
      w->disordered |= e->record->seq <= w->last[key];
      w->last[key] = e->record->seq;
      w->done++;
    }
    all = w->done == EVENTS;
    pthread_mutex_unlock(&w->lock);
    if (status != SL_OK && status != SL_TIMEOUT) return arg;
    if (status == SL_OK && sl_reader_ack(w->reader, e->record->seq) != SL_OK) return arg;
  }
  return NULL;
}

static void test_threads_share_a_reader_key_by_key(void **state) {
  kit *k = *state;
  char key[2] = "a";
  for (int i = 0; i < EVENTS; i++, key[0] = (char)('a' + random_below(KEYS))) {
    const sl_event e = {.topic = SL_STR("t"), .key = SL_BYTES(key, 1), .flags = SL_EVENT_RELAXED};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  work w = {.reader = reader_of(k, "r", (sl_reader_options){0}), .lock = PTHREAD_MUTEX_INITIALIZER};
  pthread_t threads[WORKERS];
  for (int i = 0; i < WORKERS; i++) pthread_create(&threads[i], NULL, work_on, &w);
  for (int i = 0; i < WORKERS; i++) {
    void *bad;
    pthread_join(threads[i], &bad);
    assert_null(bad);
  }
  sl_reader_close(w.reader);
  assert_false(w.disordered);
  assert_law(k, "r", EVENTS, 0, 0, 0, 0);
}

static void test_a_batch_of_one_key_is_in_hand_together(void **state) {
  kit *k = *state;
  for (int i = 0; i < 4; i++) put_keyed(k, "t", "a");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE, .flags = SL_READER_TOGETHER, .max_in_hand = 3});
  for (uint64_t seq = 1; seq <= 3; seq++) assert_next(r, seq);
  assert_next(r, 0); /* three is what it may have in hand */
  fail_at(r, 2, "E", 0);
  assert_ok(sl_reader_ack(r, 1));
  assert_next(r, 0); /* its key waits for what is in hand of it */
  assert_ok(sl_reader_release(r, 3));
  for (uint64_t seq = 2; seq <= 4; seq++) {
    const sl_reader_event *e;
    assert_ok(sl_reader_next(r, 1000, &e));
    assert_int_equal(e->record->seq, seq);
    assert_ok(sl_reader_ack(r, seq));
  }
  sl_reader_close(r);
  assert_law(k, "r", 4, 0, 0, 0, 0);
}

static void test_a_copy_for_kafka_is_not_handed_out(void **state) {
  kit *k = *state;
  static const sl_letter letter = {.attempts = 1, .error_class = {"C", 1}, .error_code = {"E", 1}};
  kit_append(k, "t", "v");
  sl_delivery *d;
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  const delivery_verdict v = {.seq = 1, .verdict = SL_VERDICT_DEAD, .partition = -1, .letter = &letter};
  delivery_attempt a = {.progress = delivery_state_get(d)->cursor, .verdicts = &v, .count = 1};
  a.progress.seq = 1;
  a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  assert_ok(delivery_record(d, &a));
  assert_ok(sl_replay(k->store, 1, NULL, NULL));
  delivery_close(d);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1); /* dead for delivery: that is nothing to this reader */
  assert_next(r, 0);
  sl_reader_close(r);
  assert_int_equal(info_of(k, "r").seq, 2);
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  random_seed();
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_what_is_acknowledged_stays_so),
      WITH_STORE(test_a_record_is_whole),
      WITH_STORE(test_a_failure_holds_back_its_key_alone),
      WITH_STORE(test_what_failed_comes_again_in_order),
      WITH_STORE(test_attempts_outlive_the_reader),
      WITH_STORE(test_an_outage_makes_no_dead_letters),
      WITH_STORE(test_what_waits_is_bounded),
      WITH_STORE(test_a_filter_lets_pass_what_it_names),
      WITH_STORE(test_a_name_is_open_once),
      WITH_STORE(test_a_new_reader_begins_where_it_is_told),
      WITH_STORE(test_many_keys_that_are_due_come_in_order),
      WITH_STORE(test_threads_share_a_reader_key_by_key),
      WITH_STORE(test_a_batch_of_one_key_is_in_hand_together),
      WITH_STORE(test_a_copy_for_kafka_is_not_handed_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
