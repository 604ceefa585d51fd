/* Readers: what is handed out and when, what becomes of failures, and that the law holds after each. */
#include "reader_kit.h"

#include "readers/reader_impl.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define AT_ONCE .backoff_us = 1, .backoff_max_us = 1 /* a failed event is due again at once */
#define LATER .backoff_us = 3600000000, .backoff_max_us = 3600000000

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

typedef struct letters {
  sl_reader_letter list[16];
  char text[16][64];
  char topic[16][16];
  size_t count;
} letters;

static void take_letter(void *arg, const sl_reader_letter *l) {
  letters *all = arg;
  snprintf(all->text[all->count], 64, "%.*s %.*s %.*s", (int)l->error_class.len, (const char *)l->error_class.data,
           (int)l->error_code.len, (const char *)l->error_code.data, (int)l->error_text.len, (const char *)l->error_text.data);
  snprintf(all->topic[all->count], 16, "%.*s", (int)l->topic.len, (const char *)l->topic.data);
  all->list[all->count++] = *l;
}

static letters letters_of(kit *k, int retrying) {
  letters all = {.count = 0};
  assert_ok(sl_reader_letters(k->store, "r", retrying, take_letter, &all));
  return all;
}

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

typedef struct drops {
  size_t count;
  char text[300];
} drops;

static void take_drop(void *arg, const sl_drop *d) {
  drops *all = arg;
  all->count++;
  snprintf(all->text, sizeof all->text, "%.*s|%lu|%.*s|%.*s|%.*s|%.*s|%.*s", (int)d->reader.len,
           (const char *)d->reader.data,
           d->seq, (int)d->event_id.len, (const char *)d->event_id.data, (int)d->topic.len, (const char *)d->topic.data,
           (int)d->error_code.len, (const char *)d->error_code.data, (int)d->who.len, (const char *)d->who.data, (int)d->why.len,
           (const char *)d->why.data);
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

/* ----------------------------------------------------------------- crashes --- */

/* A process that takes `count` events of a key each, and ends as by a kill. */
static void crash_with(kit *k, int count) {
  sl_close(k->store);
  const pid_t pid = fork();
  if (pid == 0) {
    const sl_reader_event *e;
    sl_reader *r;
    if (sl_open(k->path, &k->options, &k->store) != SL_OK) _exit(1);
    if (sl_reader_open(k->store, "r", NULL, &r) != SL_OK) _exit(1);
    for (int i = 0; i < count; i++)
      if (sl_reader_next(r, 0, &e) != SL_OK) _exit(2);
    kill(getpid(), SIGKILL);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_true(WIFSIGNALED(code));
  kit_open(k);
}

static void test_an_event_that_kills_its_reader_ends_as_a_letter(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a");
  put_keyed(k, "t", "b");
  for (int i = 0; i < 5; i++) crash_with(k, 1);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 2);
  assert_ok(sl_reader_ack(r, 2));
  sl_reader_close(r);
  assert_law(k, "r", 1, 1, 0, 0, 0);
  letters all = letters_of(k, 0);
  assert_int_equal(all.list[0].attempts, 5);
  assert_non_null(strstr(all.text[0], "READER_CRASHED"));
  assert_string_equal(all.topic[0], "t");
}

static void test_suspects_are_handed_out_alone(void **state) {
  kit *k = *state;
  static const char *const keys[] = {"a", "b", "c", "d"};
  for (int i = 0; i < 4; i++) put_keyed(k, "t", keys[i]);
  crash_with(k, 3);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  for (uint64_t seq = 1; seq <= 3; seq++) {
    const sl_reader_event *e;
    assert_ok(sl_reader_next(r, 0, &e));
    assert_int_equal(e->record->seq, seq);
    assert_int_equal(e->attempts, 0);
    assert_next(r, 0);
    assert_ok(sl_reader_ack(r, seq));
  }
  assert_next(r, 4);
  assert_ok(sl_reader_ack(r, 4));
  sl_reader_close(r);
  assert_law(k, "r", 4, 0, 0, 0, 0);
}

static void test_an_event_that_cannot_be_read_blocks_nothing(void **state) {
  kit *k = *state;
  for (int i = 0; i < 3; i++) kit_append(k, "t", "value");
  db_txn *txn;
  uint64_t seq = 2;
  sl_slice value;
  uint8_t bytes[4096];
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(db_get(txn, LOG_EVENTS, db_u64(&seq), &value));
  memcpy(bytes, value.data, value.len);
  bytes[value.len - 1] ^= 1;
  assert_ok(db_put(txn, LOG_EVENTS, db_u64(&seq), SL_BYTES(bytes, value.len)));
  assert_ok(db_commit(txn));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  assert_ok(sl_reader_ack(r, 1));
  assert_next(r, 3);
  assert_ok(sl_reader_ack(r, 3));
  sl_reader_close(r);
  letters all = letters_of(k, 0);
  assert_int_equal(all.count, 1);
  assert_non_null(strstr(all.text[0], "LOST_DAMAGED"));
  assert_int_equal(info_of(k, "r").dead, 1);
}

/* A commit that is reported as failed may have happened all the same (the flush of its last page failed): the
 * next one must see that, and count nothing twice and leave nothing behind. */
static void test_a_commit_that_happened_after_all_counts_once(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a");
  put_keyed(k, "t", "b");
  put_keyed(k, "t", "c");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  for (uint64_t seq = 1; seq <= 3; seq++) assert_next(r, seq);
  assert_ok(sl_reader_ack(r, 1));
  const sl_reader_totals sent = r->delta;
  assert_ok(sl_reader_commit(r));
  assert_law(k, "r", 1, 0, 0, 0, 2);
  r->unsure = true; /* as it is behind a failed db_commit */
  r->sent = r->delta = sent;
  r->sent_gone = r->sent_letters = 0;
  r->commits--;
  for (uint64_t seq = 2; seq <= 3; seq++) {
    item *it = sl_map_get(&r->items, seq);
    it->stored = false;
    item_touch(r, it);
  }
  assert_ok(sl_reader_ack(r, 2));
  assert_ok(sl_reader_commit(r));
  assert_law(k, "r", 2, 0, 0, 0, 1);
  assert_ok(sl_reader_ack(r, 3));
  sl_reader_close(r);
  assert_law(k, "r", 3, 0, 0, 0, 0);
}

/* ------------------------------------------------------------------- damage --- */

static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  (void)kind, (void)first, (void)last;
  strncat(arg, text, 2000);
}

/* Into a new store, which is the kit's then. */
static void repair(kit *k, char said[4096]) {
  char target[4400];
  snprintf(target, sizeof target, "%s/repaired", k->dir);
  sl_close(k->store);
  k->store = NULL;
  said[0] = '\0';
  assert_ok(sl_repair(k->path, target, NULL, hear, said, NULL));
  assert_ok(sl_open(target, &(sl_options){.flags = SL_OPEN_EXISTING}, &k->store));
}

static void make_some_of_each(kit *k) {
  for (int i = 0; i < 5; i++) kit_append(k, i < 4 ? "t" : "u", "v");
  const sl_event keyed = {.topic = SL_STR("t"), .key = SL_STR("k")};
  assert_ok(sl_append(k->store, &keyed, NULL)); /* 6 */
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER, .topics = SL_STR("t,u,needle")});
  assert_next(r, 1);
  assert_ok(sl_reader_ack(r, 1));
  for (uint64_t seq = 2; seq <= 3; seq++) {
    assert_next(r, seq);
    fail_at(r, seq, "E", SL_READER_FINAL);
  }
  assert_next(r, 4);
  fail_at(r, 4, "E", 0);
  sl_reader_close(r);
  assert_ok(sl_reader_drop(k->store, "r", 3, SL_STR("me"), SL_STR("why")));
}

static void test_repair_takes_readers_over(void **state) {
  kit *k = *state;
  char said[4096];
  drops d = {0};
  make_some_of_each(k);
  repair(k, said);
  assert_law(k, "r", 1, 1, 1, 0, 1);
  assert_ok(sl_drops_each(k->store, "r", take_drop, &d));
  assert_int_equal(d.count, 1);
  assert_ok(sl_reader_replay(k->store, "r", 2, NULL));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER});
  assert_next(r, 2);
  assert_next(r, 5);
  assert_next(r, 6);
  assert_next(r, 0); /* 4 waits */
  sl_reader_close(r);
}

static void test_a_damaged_reader_begins_anew(void **state) {
  kit *k = *state;
  char said[4096];
  make_some_of_each(k);
  sl_close(k->store);
  FILE *f = fopen(kit_file(k, "readers/data.mdb"), "r+b");
  static char bytes[1 << 20];
  const size_t len = fread(bytes, 1, sizeof bytes, f);
  for (size_t at = 0; at + 6 <= len; at++)
    if (memcmp(bytes + at, "needle", 6) == 0) {
      fseek(f, (long)at, SEEK_SET);
      fputc('x', f);
    }
  fclose(f);
  kit_open(k);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 1);
  sl_reader *r;
  assert_fails(sl_reader_open(k->store, "r", NULL, &r), SL_E_CORRUPT, "reader r");
  assert_ok(sl_trim(k->store, NULL, NULL)); /* it is in nobody's way */
  repair(k, said);
  assert_non_null(strstr(said, "begins anew"));
  r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  sl_reader_close(r);
}

/* log/ was put back from a backup, readers/ was not: new events would get seqs that the reader has seen. */
static void test_a_reader_beyond_the_log_is_refused(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader_close(reader_of(k, "r", (sl_reader_options){0}));
  db_env *env;
  db_txn *txn;
  sl_reader_state s;
  assert_ok(readers_env(k->store, false, &env));
  assert_ok(db_begin_write(env, false, &txn));
  assert_ok(readers_state_get(txn, "r", &s));
  s.seq = 2;
  assert_ok(readers_state_put(txn, "r", &s));
  assert_ok(db_commit(txn));
  sl_reader *r;
  assert_fails(sl_reader_open(k->store, "r", NULL, &r), SL_E_MISMATCH, "stands at event 2");
}

static void test_a_child_has_no_reader(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  const sl_reader_event *e;
  int code;
  const pid_t pid = fork();
  if (pid == 0) {
    const bool told = sl_reader_next(r, 0, &e) == SL_E_FORKED && sl_reader_commit(r) == SL_E_FORKED;
    sl_reader_close(r);
    _exit(told ? 0 : 1);
  }
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  sl_reader *other;
  assert_fails(sl_reader_open(k->store, "r", NULL, &other), SL_E_BUSY, "open already"); /* the lock is still the parent's */
  assert_next(r, 1);
  sl_reader_close(r);
}

static void test_a_damaged_reader_can_be_forgotten(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader_close(reader_of(k, "r", (sl_reader_options){0}));
  db_env *env;
  db_txn *txn;
  assert_ok(readers_env(k->store, false, &env));
  assert_ok(db_begin_write(env, false, &txn));
  assert_ok(db_put(txn, READERS_STATES, SL_STR("r"), SL_STR("nonsense")));
  assert_ok(db_commit(txn));
  assert_int_equal(sl_readers_each(k->store, NULL, NULL), SL_E_INVALID);
  assert_fails(sl_reader_letters(k->store, "r", 0, take_letter, NULL), SL_E_CORRUPT, "reader r");
  assert_ok(sl_reader_delete(k->store, "r"));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  sl_reader_close(r);
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
      WITH_STORE(test_a_letter_says_why_and_when),
      WITH_STORE(test_what_waits_is_bounded),
      WITH_STORE(test_a_filter_lets_pass_what_it_names),
      WITH_STORE(test_a_name_is_open_once),
      WITH_STORE(test_a_new_reader_begins_where_it_is_told),
      WITH_STORE(test_a_replay_hands_it_out_again_once),
      WITH_STORE(test_a_waiting_reader_sees_a_replay),
      WITH_STORE(test_replays_are_limited),
      WITH_STORE(test_a_drop_outlives_its_event),
      WITH_STORE(test_who_falls_behind_is_told_how_many_it_missed),
      WITH_STORE(test_holes_from_before_are_not_missed),
      WITH_STORE(test_a_reader_may_hold_trim),
      WITH_STORE(test_an_event_that_kills_its_reader_ends_as_a_letter),
      WITH_STORE(test_suspects_are_handed_out_alone),
      WITH_STORE(test_an_event_that_cannot_be_read_blocks_nothing),
      WITH_STORE(test_a_commit_that_happened_after_all_counts_once),
      WITH_STORE(test_repair_takes_readers_over),
      WITH_STORE(test_a_damaged_reader_begins_anew),
      WITH_STORE(test_a_damaged_reader_can_be_forgotten),
      WITH_STORE(test_a_reader_beyond_the_log_is_refused),
      WITH_STORE(test_a_child_has_no_reader),
      WITH_STORE(test_threads_share_a_reader_key_by_key),
      WITH_STORE(test_a_batch_of_one_key_is_in_hand_together),
      WITH_STORE(test_a_copy_for_kafka_is_not_handed_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
