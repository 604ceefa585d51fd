/* Dead letters of readers: what they say, replay, drop, and what trim does to what a reader has not come to. */
#include "reader_kit.h"

#include "store/log_inner.h"

static void test_a_letter_says_why_and_when(void **state) {
  kit *k = *state;
  for (int i = 0; i < 2; i++) put_keyed(k, "t", i ? "a" : "b");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER});
  assert_next(r, 1);
  assert_next(r, 2);
  fail_at(r, 1, "BAD_INPUT", SL_READER_FINAL);
  fail_at(r, 2, "BUSY", 0);
  letters all = letters_of(k, 1);
  assert_int_equal(all.count, 2);
  assert_string_equal(all.text[0], "RETRYABLE BUSY it broke");
  assert_false(all.list[0].dead);
  assert_true(all.list[0].next_us > all.list[0].last_failure_us);
  assert_string_equal(all.text[1], "NON_RETRYABLE BAD_INPUT it broke");
  assert_true(all.list[1].dead);
  assert_int_equal(all.list[1].seq, 1);
  assert_int_equal(all.list[1].attempts, 1);
  assert_true(all.list[1].first_failure_us > 0);
  assert_int_equal(letters_of(k, 0).count, 1);
  const sl_reader_failure wrong = {.error_class = SL_STR("\xff")};
  assert_next(r, 0);
  assert_fails(sl_reader_fail(r, 2, &wrong, NULL), SL_E_INVALID, "UTF-8");
  sl_reader_close(r);
}

static void count_letter(void *arg, const sl_reader_letter *l) { *(uint64_t *)arg += l->dead != 0; }

/* Trim by the ages of topics leaves holes: a letter in one is none any more, whoever is asked. */
static void test_letters_and_their_count_are_of_one_mind(void **state) {
  kit *k = *state;
  uint64_t told = 0;
  const uint64_t gone[] = {2};
  for (int i = 0; i < 4; i++) put_keyed(k, "t", "a");
  kit_deliver(k, 3);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE});
  for (uint64_t seq = 1; seq <= 3; seq++) {
    assert_next(r, seq);
    fail_at(r, seq, "E", SL_READER_FINAL);
  }
  assert_ok(log_remove(k->store, gone, 1));
  assert_ok(sl_reader_letters(k->store, "r", 0, count_letter, &told));
  assert_int_equal(told, 2);
  assert_int_equal(info_of(k, "r").waiting_dead, 2);
  assert_int_equal(info_of(k, "r").dead, 3);
  sl_reader_close(r);
}

/* ------------------------------------------------------------ replay, drop --- */

static void test_a_replay_hands_it_out_again_once(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a");
  put_keyed(k, "t", "a");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE});
  assert_next(r, 1);
  fail_at(r, 1, "E", SL_READER_FINAL);
  assert_next(r, 2);
  assert_ok(sl_reader_replay(k->store, "r", 1, NULL)); /* beside the open reader */
  assert_law(k, "r", 0, 0, 0, 0, 1);
  assert_fails(sl_reader_replay(k->store, "r", 1, NULL), SL_E_BUSY, "on its way");
  assert_next(r, 0); /* its key is in hand */
  assert_ok(sl_reader_ack(r, 2));
  const sl_reader_event *e;
  assert_ok(sl_reader_next(r, 0, &e));
  assert_int_equal(e->record->seq, 1);
  assert_int_equal(e->replays, 1);
  assert_int_equal(e->attempts, 0);
  assert_ok(sl_reader_ack(r, 1));
  assert_next(r, 0);
  assert_law(k, "r", 2, 0, 0, 0, 0);
  assert_fails(sl_reader_replay(k->store, "r", 1, NULL), SL_NOTFOUND, "no dead letter");
  assert_fails(sl_reader_replay(k->store, "nobody", 1, NULL), SL_NOTFOUND, "no reader nobody");
  sl_reader_close(r);
}

static void test_a_waiting_reader_sees_a_replay(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  const sl_reader_event *e;
  assert_next(r, 1);
  fail_at(r, 1, "E", SL_READER_FINAL);
  assert_next(r, 0);
  assert_ok(sl_reader_replay(k->store, "r", 1, NULL));
  assert_ok(sl_reader_next(r, 10000, &e));
  assert_int_equal(e->record->seq, 1);
  sl_reader_close(r);
}

static void test_replays_are_limited(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  const sl_replay_options twice = {.most = 2};
  for (uint32_t n = 0; n <= 2; n++) {
    sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE});
    assert_next(r, 1);
    assert_int_equal(fail_at(r, 1, "E", SL_READER_FINAL), 1);
    sl_reader_close(r);
    if (n < 2) assert_ok(sl_reader_replay(k->store, "r", 1, &twice));
  }
  assert_fails(sl_reader_replay(k->store, "r", 1, &twice), SL_E_LIMIT, "again 2 times");
  letters all = letters_of(k, 0);
  assert_int_equal(all.list[0].replays, 2);
  assert_law(k, "r", 0, 1, 0, 0, 0);
}

static void test_a_drop_outlives_its_event(void **state) {
  kit *k = *state;
  const sl_event e = {.topic = SL_STR("t"), .event_id = SL_STR("one")};
  assert_ok(sl_append(k->store, &e, NULL));
  kit_fill(k, "t", 20, 10);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  fail_at(r, 1, "E", SL_READER_FINAL);
  assert_fails(sl_reader_drop(k->store, "r", 1, SL_STR("me"), SL_STR("")), SL_E_INVALID, "the reason");
  assert_ok(sl_reader_drop(k->store, "r", 1, SL_STR("me"), SL_STR("test data")));
  assert_fails(sl_reader_drop(k->store, "r", 1, SL_STR("me"), SL_STR("x")), SL_NOTFOUND, "no dead letter");
  assert_law(k, "r", 0, 0, 1, 0, 0);
  sl_reader_close(r);
  assert_ok(sl_reader_delete(k->store, "r"));
  kit_deliver(k, 21);
  const sl_trim_policy all_but_one = {.max_events = 1};
  assert_ok(sl_trim(k->store, &all_but_one, NULL));
  drops d = {0};
  assert_ok(sl_drops_each(k->store, "r", take_drop, &d));
  assert_int_equal(d.count, 1);
  assert_string_equal(d.text, "r|1|one|t|E|me|test data");
  assert_ok(sl_drops_each(k->store, "*", take_drop, &d));
  assert_int_equal(d.count, 2);
  assert_ok(sl_drops_each(k->store, "other", take_drop, &d));
  assert_ok(sl_drops_each(k->store, NULL, take_drop, &d));
  assert_int_equal(d.count, 2);
}

/* -------------------------------------------------------------------- trim --- */

static void trim_to(kit *k, uint64_t keep) {
  const sl_trim_policy policy = {.max_events = keep};
  kit_deliver(k, kit_head(k).last_seq);
  assert_ok(sl_trim(k->store, &policy, NULL));
}

static void test_who_falls_behind_is_told_how_many_it_missed(void **state) {
  kit *k = *state;
  for (int i = 0; i < 10; i++) put_keyed(k, "t", i % 2 ? "a" : "b");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER});
  assert_next(r, 1);
  fail_at(r, 1, "E", 0); /* 1 is to be tried again, and is trimmed meanwhile */
  assert_next(r, 2);
  fail_at(r, 2, "E", SL_READER_FINAL);
  sl_reader_close(r);
  trim_to(k, 3); /* 8, 9, 10 are left */
  assert_int_equal(letters_of(k, 1).count, 0);
  r = reader_of(k, "r", (sl_reader_options){LATER});
  const sl_reader_event *e;
  uint64_t missed = 0, n = 0;
  for (sl_status s; (s = sl_reader_next(r, 0, &e)) != SL_TIMEOUT; n++) {
    assert_ok(s);
    missed += e->missed;
    assert_ok(sl_reader_ack(r, e->record->seq));
  }
  assert_int_equal(n, 3);
  assert_int_equal(missed, 6); /* 1, and 3 to 7 */
  sl_reader_close(r);
  assert_law(k, "r", 3, 1, 0, 6, 0);
}

static void test_holes_from_before_are_not_missed(void **state) {
  kit *k = *state;
  for (int i = 0; i < 10; i++) kit_append(k, i % 2 ? "short" : "long", "v");
  kit_append(k, "long", "v"); /* 11 */
  kit_deliver(k, 11);
  const uint64_t gone[] = {2, 4}, gone_later[] = {6, 8, 10};
  assert_ok(log_remove(k->store, gone, 2));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_ok(log_remove(k->store, gone_later, 3)); /* of what was there when it began, these went before it came */
  kit_append(k, "long", "v");                     /* 12 */
  const sl_reader_event *e;
  uint64_t missed = 0, n = 0;
  for (sl_status s; (s = sl_reader_next(r, 0, &e)) != SL_TIMEOUT; n++) {
    assert_ok(s);
    missed += e->missed;
    assert_ok(sl_reader_ack(r, e->record->seq));
  }
  assert_int_equal(n, 7);
  assert_int_equal(missed, 3);
  sl_reader_close(r);
  assert_law(k, "r", 7, 0, 0, 3, 0);
}

static void test_a_reader_may_hold_trim(void **state) {
  kit *k = *state;
  kit_fill(k, "t", 10, 10);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){.flags = SL_READER_HOLD_TRIM});
  for (uint64_t seq = 1; seq <= 4; seq++) {
    assert_next(r, seq);
    if (seq == 3) fail_at(r, seq, "E", SL_READER_FINAL);
    else assert_ok(sl_reader_ack(r, seq));
  }
  assert_next(r, 5);
  sl_reader_close(r);
  assert_int_equal(info_of(k, "r").held_seq, 4);
  trim_to(k, 1);
  assert_int_equal(kit_head(k).first_seq, 5); /* dead letters hold nothing */
  r = reader_of(k, "r", (sl_reader_options){0}); /* it asks no more */
  sl_reader_close(r);
  assert_int_equal(info_of(k, "r").held_seq, 0);
  trim_to(k, 1);
  assert_int_equal(kit_head(k).first_seq, 10);
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  random_seed();
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_a_letter_says_why_and_when),
      WITH_STORE(test_letters_and_their_count_are_of_one_mind),
      WITH_STORE(test_a_replay_hands_it_out_again_once),
      WITH_STORE(test_a_waiting_reader_sees_a_replay),
      WITH_STORE(test_replays_are_limited),
      WITH_STORE(test_a_drop_outlives_its_event),
      WITH_STORE(test_who_falls_behind_is_told_how_many_it_missed),
      WITH_STORE(test_holes_from_before_are_not_missed),
      WITH_STORE(test_a_reader_may_hold_trim),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
