/* Replay and drop of dead letters: what each does to the books, what it refuses, and that a failure or a kill at
 * any write leaves nothing twice and nothing lost. */
#include "kit.h"

#include "delivery/delivery.h"

#include <sidelog/dead.h>

static const sl_letter too_large = {.attempts = 2, .code = 10, .first_failure_us = 5, .last_failure_us = 7,
                                    .error_class = {"NON_RETRYABLE_VALIDATION", 24},
                                    .error_code = {"MSG_SIZE_TOO_LARGE", 18}, .error_text = {"it is", 5}};

static void settle_to(kit *k, sl_delivery *d, uint64_t to, uint8_t verdict) {
  const delivery_state *s = delivery_state_get(d);
  delivery_verdict v[16];
  delivery_attempt a = {.progress = s->cursor, .verdicts = v, .marked = true};
  assert_ok(sl_index_advance(k->store, 0, NULL));
  for (uint64_t seq = s->cursor.seq + 1; seq <= to; seq++)
    v[a.count++] = (delivery_verdict){.seq = seq, .verdict = verdict,
                                      .partition = verdict == SL_VERDICT_SENT ? 0 : -1,
                                      .place = (int64_t)seq,
                                      .letter = verdict == SL_VERDICT_DEAD ? &too_large : NULL};
  a.progress.seq = to;
  a.progress.attempt = s->last_attempt + 1;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
}

static sl_record record_of(kit *k, uint64_t seq) {
  static sl_iter *it;
  const sl_record *r;
  const sl_query q = {.first_seq = seq, .last_seq = seq};
  sl_iter_close(it);
  it = NULL;
  if (seq == 0) return (sl_record){0};
  assert_ok(sl_iter_start(k->store, &q, &it));
  assert_ok(sl_iter_next(it, &r));
  return *r;
}

static void assert_books(kit *k, uint64_t appended, uint64_t delivered, uint64_t dead, uint64_t dropped,
                         uint64_t pending) {
  sl_stats s;
  sl_verify_report report;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.appended, appended);
  assert_int_equal(s.delivered, delivered);
  assert_int_equal(s.dead, dead);
  assert_int_equal(s.dropped, dropped);
  assert_int_equal(s.pending, pending);
  assert_true(s.balanced);
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static sl_delivery *two_dead(kit *k) {
  sl_delivery *d;
  const sl_header h = {SL_STR("h"), SL_STR("v")};
  const sl_event e = {.topic = SL_STR("t"), .type = SL_STR("T"), .event_id = SL_STR("one"), .key = SL_STR("k"),
                      .headers = &h, .header_count = 1, .value = SL_STR("{\"a\":1}"), .occurred_at_us = 77};
  assert_ok(sl_append(k->store, &e, NULL));
  kit_append(k, "t", "x");
  assert_ok(delivery_open(k->store, &d));
  settle_to(k, d, 2, SL_VERDICT_DEAD);
  assert_books(k, 2, 0, 2, 0, 0);
  return d;
}

static void test_a_replay_brings_its_original_home(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  uint64_t copy = 0;
  assert_ok(sl_replay(k->store, 1, NULL, &copy));
  assert_int_equal(copy, 3);
  assert_books(k, 2, 0, 2, 0, 0); /* no event of its own, and the original stays dead meanwhile */
  sl_record r = record_of(k, 3);
  assert_int_equal(r.replay_of, 1);
  assert_int_equal(r.occurred_at_us, 77);
  assert_slice(r.event_id, "one");
  assert_slice(r.type, "T");
  assert_slice(r.key, "k");
  assert_slice(r.value, "{\"a\":1}");
  assert_int_equal(r.header_count, 1);
  assert_slice(r.headers[0].value, "v");
  assert_fails(sl_replay(k->store, 1, NULL, NULL), SL_E_BUSY, "on its way already, as 3");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(record_of(k, 3).duplicate_of, 0);
  settle_to(k, d, 3, SL_VERDICT_SENT);
  assert_books(k, 2, 1, 1, 0, 0);
  assert_int_equal(record_of(k, 1).state, SL_SENT);
  assert_fails(sl_replay(k->store, 1, NULL, NULL), SL_E_INVALID, "it is sent");
  assert_fails(sl_replay(k->store, 99, NULL, NULL), SL_NOTFOUND, "no event 99");
  record_of(k, 0);
  delivery_close(d);
}

static void test_a_replay_that_fails_again_is_limited(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  const sl_replay_options twice = {.most = 2};
  uint64_t copy;
  for (uint64_t i = 0; i < 2; i++) {
    assert_ok(sl_replay(k->store, i ? copy : 1, &twice, &copy)); /* of the copy: its original is meant */
    assert_int_equal(copy, 3 + i);
    settle_to(k, d, copy, SL_VERDICT_DEAD);
    assert_books(k, 2, 0, 2, 0, 0);
  }
  assert_fails(sl_replay(k->store, 1, &twice, NULL), SL_E_LIMIT, "replayed 2 times");
  assert_ok(sl_replay(k->store, 2, &twice, NULL));
  delivery_close(d);
}

static void test_a_drop_says_who_and_why(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  assert_fails(sl_dead_drop(k->store, 2, SL_STR("me"), SL_STR("")), SL_E_INVALID, "the reason");
  assert_fails(sl_dead_drop(k->store, 99, SL_STR("me"), SL_STR("a slip")), SL_NOTFOUND, "no event 99");
  assert_ok(sl_dead_drop(k->store, 2, SL_STR("me"), SL_STR("test data")));
  assert_books(k, 2, 0, 1, 1, 0);
  sl_record r = record_of(k, 2);
  assert_int_equal(r.state, SL_DROPPED);
  assert_slice(r.dropped_by, "me");
  assert_slice(r.drop_reason, "test data");
  assert_slice(r.error_code, "MSG_SIZE_TOO_LARGE");
  assert_int_equal(r.last_failure_us, 7);
  assert_fails(sl_dead_drop(k->store, 2, SL_STR("me"), SL_STR("again")), SL_E_INVALID, "it is dropped");
  kit_append(k, "t", "y");
  settle_to(k, d, 3, SL_VERDICT_SENT); /* the agent, whose book was open all the time, goes on */
  assert_books(k, 3, 1, 1, 1, 0);
  record_of(k, 0);
  delivery_close(d);
}

/* An agent's attempt that sends a new copy of event 1. */
static delivery_attempt replay_in_hand(kit *k, sl_delivery *d, delivery_verdict *sent) {
  uint64_t copy;
  assert_ok(sl_replay(k->store, 1, NULL, &copy));
  assert_ok(sl_index_advance(k->store, 0, NULL));
  *sent = (delivery_verdict){.seq = copy, .verdict = SL_VERDICT_SENT, .place = 5};
  delivery_attempt a = {.progress = delivery_state_get(d)->cursor, .verdicts = sent, .count = 1, .marked = true};
  a.progress.seq = copy;
  a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  return a;
}

/* A person drops an event whose copy an agent has in hand: before the intent the drop stands and the copy must not
 * go; behind it the copy stands. */
static void test_a_drop_and_a_replay_meet(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  delivery_verdict sent;
  delivery_attempt a = replay_in_hand(k, d, &sent);
  assert_ok(sl_dead_drop(k->store, 1, SL_STR("me"), SL_STR("no")));
  assert_fails(delivery_intent(d, &a), SL_NOTFOUND, "must not be sent");
  const delivery_verdict passed = {.seq = sent.seq, .verdict = SL_VERDICT_DUPLICATE, .place = 1};
  a.verdicts = &passed;
  a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  assert_ok(delivery_intent(d, &a));
  /* beside an intent: its totals follow */
  assert_ok(sl_dead_drop(k->store, 2, SL_STR("me"), SL_STR("meanwhile")));
  assert_ok(delivery_settle(d));
  assert_books(k, 2, 0, 0, 2, 0);
  delivery_close(d);
}

static void test_what_is_being_sent_is_not_dropped(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  delivery_verdict sent;
  delivery_attempt a = replay_in_hand(k, d, &sent);
  assert_ok(delivery_intent(d, &a));
  assert_fails(sl_dead_drop(k->store, 1, SL_STR("me"), SL_STR("no")), SL_E_BUSY, "being sent");
  assert_ok(delivery_abandon(d));
  assert_books(k, 2, 0, 2, 0, 0);
  assert_ok(sl_dead_drop(k->store, 1, SL_STR("me"), SL_STR("no")));
  assert_books(k, 2, 0, 1, 1, 0);
  delivery_close(d);
}

/* Letters wait for their copy from the settling of the attempt that wrote them to that of the one that published
 * it. */
static void test_letters_wait_for_their_copy(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  delivery_waiting w[4];
  size_t n = 0;
  assert_true(delivery_state_get(d)->letters_wait);
  assert_ok(delivery_letters(d, 0, w, 4, &n));
  assert_int_equal(n, 2);
  assert_int_equal(w[0].seq, 1);
  assert_string_equal(w[1].topic, "t");
  const delivery_copy both[] = {{.number = w[0].number}, {.number = w[1].number, .gone = true}};
  delivery_attempt a = {.progress = delivery_state_get(d)->cursor, .copies = both, .copy_count = 2,
                        .marked = true};
  a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "1 copies");
  a.progress.dlq_no++;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_abandon(d));
  assert_ok(delivery_letters(d, w[0].number + 1, w, 4, &n));
  assert_int_equal(n, 1);
  a.progress.attempt++;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  assert_false(delivery_state_get(d)->letters_wait);
  assert_int_equal(delivery_state_get(d)->cursor.dlq_no, 1);
  a.progress.attempt++;
  a.progress.dlq_no++;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "does not wait");
  /* Of an attempt that is abandoned nothing waits, and its number is not given again. */
  kit_append(k, "t", "z");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  const delivery_verdict dead = {.seq = 3, .verdict = SL_VERDICT_DEAD, .letter = &too_large};
  delivery_attempt b = {.progress = delivery_state_get(d)->cursor, .verdicts = &dead, .count = 1, .marked = true};
  b.progress.seq = 3;
  b.progress.attempt = delivery_state_get(d)->last_attempt + 1;
  assert_ok(delivery_intent(d, &b));
  assert_ok(delivery_letters(d, 0, w, 4, &n));
  assert_int_equal(n, 0);
  assert_ok(delivery_abandon(d));
  assert_false(delivery_state_get(d)->letters_wait);
  settle_to(k, d, 3, SL_VERDICT_DEAD);
  assert_ok(delivery_letters(d, 0, w, 4, &n));
  assert_int_equal(n, 1);
  assert_true(w[0].number > 3);
  delivery_close(d);
}

/* One whose copy went with its verdict never waits. */
static void test_a_letter_is_copied_with_its_verdict(void **state) {
  kit *k = *state;
  sl_delivery *d = two_dead(k);
  const delivery_state *s = delivery_state_get(d);
  delivery_waiting w[4];
  size_t n = 0;
  kit_append(k, "t", "z");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  delivery_verdict v = {.seq = 3, .verdict = SL_VERDICT_SENT, .copied = true};
  delivery_attempt a = {.progress = s->cursor, .verdicts = &v, .count = 1, .marked = true};
  a.progress.seq = 3;
  a.progress.attempt = s->last_attempt + 1;
  a.progress.dlq_no = s->cursor.dlq_no + 1;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "no letter to copy");
  v = (delivery_verdict){.seq = 3, .verdict = SL_VERDICT_DEAD, .letter = &too_large, .copied = true};
  a.progress.dlq_no = s->cursor.dlq_no;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "1 copies");
  a.progress.dlq_no++;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  assert_books(k, 3, 0, 3, 0, 0);
  assert_int_equal(s->cursor.dlq_no, 1);
  assert_ok(delivery_letters(d, 0, w, 4, &n));
  assert_int_equal(n, 2); /* those from before */
  delivery_close(d);
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_a_replay_brings_its_original_home), WITH_STORE(test_a_replay_that_fails_again_is_limited),
      WITH_STORE(test_a_drop_says_who_and_why),           WITH_STORE(test_a_drop_and_a_replay_meet),
      WITH_STORE(test_what_is_being_sent_is_not_dropped), WITH_STORE(test_letters_wait_for_their_copy),
      WITH_STORE(test_a_letter_is_copied_with_its_verdict),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
