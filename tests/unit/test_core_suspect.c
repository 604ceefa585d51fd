/* Poison that only the broker refuses: the first of a kind costs a transaction, those behind it none, and nobody
 * is set aside for a setting that was raised before it came. */
#include "core_rig.h"

typedef struct world {
  rig *r;
  int64_t takes; /* the broker; and nothing without a key: */
  bool keys;
  const char *size_error; /* how it calls that */
  bool old;   /* it refuses topic-0's records that have the time of their append, */
  bool clock; /* and those that have the time of their sending */
  unsigned refused, most;
} world;

static bool is_refused(const world *w, uint64_t seq) {
  return w->r->s->log[seq - 1].size > w->takes || (w->keys && w->r->keyless && seq % w->r->keyless == 0);
}

/* Does the driver send the record with a time that the broker does not take? */
static bool is_late(const world *w, size_t i) {
  const rig *r = w->r;
  if (!w->old || r->s->log[r->seqs[i] - 1].topic != 0) return false;
  return w->clock || core_stamp_max_age_us(r->core, r->tags[i]) == 0;
}

static void fill_and_judge(world *w) {
  rig *r = w->r;
  const size_t n = fill(r);
  const fault purge = purged();
  size_t bad_at = n;
  if (n > w->most) w->most = (unsigned)n;
  for (size_t i = n; i-- > 0;)
    if (is_refused(w, r->seqs[i]) || is_late(w, i)) bad_at = i;
  const bool fits = bad_at < n && r->s->log[r->seqs[bad_at] - 1].size <= w->takes;
  const bool late = bad_at < n && is_late(w, bad_at);
  const char *size_error = w->size_error ? w->size_error : "MSG_SIZE_TOO_LARGE";
  const char *error = late ? "INVALID_TIMESTAMP" : fits ? "INVALID_RECORD" : size_error;
  const fault why = sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, error);
  for (size_t i = 0; i < n; i++) delivered(r, i, bad_at == n ? NULL : i == bad_at ? &why : &purge);
  w->refused += bad_at < n;
}

static void step(world *w) {
  rig *r = w->r;
  r->now += 1000;
  switch (r->act.op) {
  case OP_NONE: wake(r); break;
  case OP_READ_MARKER: reads(r, r->book->state.marker_bytes); break;
  case OP_FLUSH:
    begun(r);
    ok(r, OP_FLUSH);
    break;
  case OP_FILL: fill_and_judge(w); break;
  default: ok(r, r->act.op);
  }
}

static void settle(world *w) {
  tell_log(w->r);
  for (int i = 0; i < 5000 && w->r->book->state.cursor.seq < w->r->s->last; i++) step(w);
  assert_int_equal(w->r->book->state.cursor.seq, w->r->s->last);
}

static void append_sized(rig *r, size_t n, unsigned every, uint32_t size) {
  for (size_t i = 0; i < n; i++) {
    append(r, 0, 1);
    if (every && r->s->last % every == 0) r->s->log[r->s->last - 1].size = size;
  }
}

static world world_new(int64_t limit) {
  world w = {.r = rig_new(true), .takes = limit};
  w.r->max_bytes = limit;
  w.r->packs = 1;
  start(w.r);
  ready(w.r);
  return w;
}

static void test_the_first_costs_a_transaction_the_rest_nothing(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 400, 10, 6000);
  settle(&w);
  assert_int_equal(w.refused, 1);
  assert_int_equal(w.r->book->state.dead, 40);
  assert_int_equal(w.r->book->state.delivered, 360);
  assert_true(w.most > 100); /* innocents go together */
  rig_free(w.r);
}

static void test_a_record_without_a_key_for_a_compacted_topic(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 1 << 20;
  w.keys = w.r->needs_key = true;
  w.r->keyless = 10;
  append_sized(w.r, 400, 0, 0);
  settle(&w);
  assert_int_equal(w.refused, 1);
  assert_int_equal(w.r->book->state.dead, 40);
  assert_true(w.most > 100);
  rig_free(w.r);
}

/* Nobody tells whether the topic is compacted: every keyless event took those beside it along into its abort. Now
 * the first does, and the others go alone; they are asked for all the same, since an invalid record may be one for
 * other reasons. */
static void test_a_missing_key_where_nobody_tells(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 1 << 20;
  w.keys = true;
  w.r->keyless = 10;
  append_sized(w.r, 400, 0, 0);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 40);
  assert_int_equal(w.r->book->state.delivered, 360);
  assert_true(w.refused < 40 + 10); /* each its own, and what it took to find the first */
  w.keys = false; /* one of them is taken: nobody goes alone for it any more */
  append_sized(w.r, 400, 0, 0);
  w.most = 0;
  settle(&w);
  assert_int_equal(w.r->book->state.delivered, 760);
  assert_true(w.most > 100);
  rig_free(w.r);
}

static void test_a_limit_that_was_raised_condemns_nobody(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 40, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 4);
  w.takes = w.r->max_bytes = 100000;
  append_sized(w.r, 40, 10, 6000); /* all of them behind the raise; the agent does not know of it */
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 4);
  assert_int_equal(w.refused, 1);
  w.takes = w.r->max_bytes = 5000; /* another setting than it knows: proved anew */
  append_sized(w.r, 40, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 8);
  rig_free(w.r);
}

/* Until it is asked what its topic is like, for the sake of the last event. */
static void to_look_up(world *w) {
  rig *r = w->r;
  for (int i = 0; i < 100 && r->act.op != OP_FILL; i++) step(w);
  uint64_t tag;
  core_record record = {.seq = r->s->last, .topic = SL_STR("topic-0"), .size = 6000, .weighed = true,
                        .least = 6000, .exact = true,
                        .appended_us = r->s->log[r->s->last - 1].appended_us};
  (void)core_offer(r->core, &record, r->now, &tag);
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  assert_int_equal(r->act.op, OP_TOPIC);
}

/* While it was being asked for, the connection was lost; with the next handle the driver knew it already, from
 * before the raise. */
static void test_what_was_looked_up_ahead_condemns_nobody(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 40, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 4);
  append_sized(w.r, 9, 0, 0);
  settle(&w);
  append_sized(w.r, 1, 1, 6000);
  tell_log(w.r);
  to_look_up(&w);
  bad(w.r, OP_TOPIC, outage());
  w.takes = w.r->max_bytes = 100000;
  w.r->now += 20 * SECOND;
  to_look_up(&w);
  const core_topic_result before = {.partitions = 3, .max_message_bytes = 5000};
  done_with(w.r, (core_event){.topics = &before, .age_us = 19 * SECOND});
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 4);
  assert_int_equal(w.refused, 1);
  rig_free(w.r);
}

static void test_settings_are_read_anew_and_not_for_each(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 10, 10, 6000);
  settle(&w);
  w.r->looked = 0;
  append_sized(w.r, 100, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->looked, 1);
  w.r->now += 60 * SECOND; /* since then it may have been changed */
  w.r->looked = 0;
  append_sized(w.r, 100, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->looked, 1);
  assert_int_equal(w.refused, 1);
  rig_free(w.r);
}

static void test_an_event_from_the_future_is_judged_too(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 20, 10, 6000);
  for (uint64_t i = 0; i < 20; i++) w.r->s->log[i].appended_us = INT64_MAX / 2; /* a clock that was wrong */
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 2);
  assert_int_equal(w.refused, 1);
  rig_free(w.r);
}

static void test_what_nobody_can_weigh_is_asked_of_the_broker(void **state) {
  (void)state;
  world w = world_new(5000);
  w.r->packs = 0;
  append_sized(w.r, 40, 10, 6000);
  settle(&w);
  assert_int_equal(w.refused, 4);
  assert_int_equal(w.r->book->state.dead, 4);
  rig_free(w.r);
}

static void test_what_may_fit_once_compressed_is_sent(void **state) {
  (void)state;
  world w = world_new(5000);
  append_sized(w.r, 10, 10, 6000);
  settle(&w);
  w.r->packs = 2;
  w.takes = 6000; /* of this size; compressed it is half */
  append_sized(w.r, 40, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 1);
  assert_int_equal(w.r->book->state.delivered, 49);
  rig_free(w.r);
}

/* Its rule is to be tried again, or to wait: then the broker decides each time. */
static void test_a_rule_of_its_own_stands(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  rules.of[CLASS_NON_RETRYABLE_VALIDATION] = (retry_rule){2, 1000, 1000};
  world w = world_new(5000);
  w.r->rules = &rules; /* of topic-1 */
  append(w.r, 1, 20);
  w.r->s->log[9].size = w.r->s->log[19].size = 6000;
  settle(&w);
  assert_int_equal(w.refused, 6);
  assert_int_equal(w.r->book->state.dead, 2);
  rig_free(w.r);
}

static void test_a_broker_that_takes_them_is_believed(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 1 << 20;
  w.r->needs_key = true;
  w.r->keyless = 2;
  append_sized(w.r, 200, 0, 0);
  settle(&w);
  assert_int_equal(w.r->book->state.delivered, 200);
  assert_true(w.most > 100); /* one alone, the rest in company */
  rig_free(w.r);
}

/* Settings that nobody may read: a refusal tells as much of what is no smaller. */
static void test_a_limit_that_nobody_tells(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 5000;
  append_sized(w.r, 2000, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 200);
  assert_int_equal(w.r->book->state.delivered, 1800);
  assert_in_range(w.refused, 2, 12); /* two of them had to be found among others */
  assert_true(w.most > 100);
  rig_free(w.r);
}

static void test_the_smallest_that_was_refused_counts(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 5000;
  append_sized(w.r, 100, 10, 9000);
  append_sized(w.r, 100, 10, 6000);
  append_sized(w.r, 1000, 10, 7000);
  append_sized(w.r, 100, 10, 4990); /* fits */
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 120);
  assert_int_equal(w.r->book->state.delivered, 1180);
  assert_in_range(w.refused, 3, 24);
  rig_free(w.r);
}

/* The agent was not yet sure how librdkafka packs when the first was refused: what is a little smaller may fit. */
static void test_an_estimate_condemns_nobody(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 5000;
  w.r->vague_to = 100;
  append_sized(w.r, 100, 10, 5040);
  append_sized(w.r, 100, 10, 4990); /* fits */
  append_sized(w.r, 1000, 10, 5040);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 110);
  assert_int_equal(w.r->book->state.delivered, 1090);
  assert_in_range(w.refused, 2, 24);
  rig_free(w.r);
}

static void test_a_limit_that_nobody_tells_and_is_raised(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 5000;
  append_sized(w.r, 100, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 10);
  w.takes = 100000;
  append_sized(w.r, 100, 10, 6000); /* behind the raise: none is set aside for what was */
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 10);
  w.takes = 5000;
  append_sized(w.r, 100, 10, 6000);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 20);
  rig_free(w.r);
}

static void test_a_segment_that_is_smaller(void **state) {
  (void)state;
  world w = world_new(5000);
  w.size_error = "RECORD_LIST_TOO_LARGE";
  append_sized(w.r, 400, 10, 6000);
  settle(&w);
  assert_int_equal(w.refused, 1);
  assert_int_equal(w.r->book->state.dead, 40);
  rig_free(w.r);
}

/* A time that the topic does not take any more is sent as that of the sending: no event is lost by it. */
static void test_a_time_that_is_refused(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 1 << 20;
  w.old = true;
  append_sized(w.r, 1, 0, 0); /* alone, too */
  settle(&w);
  append_sized(w.r, 400, 0, 0);
  settle(&w);
  assert_int_equal(w.r->book->state.delivered, 401);
  assert_int_equal(w.refused, 1);
  rig_free(w.r);
}

static void test_a_clock_that_differs_makes_its_topic_wait(void **state) {
  (void)state;
  world w = world_new(-1);
  w.takes = 1 << 20;
  w.clock = w.old = true;
  append_sized(w.r, 50, 0, 0);
  append(w.r, 1, 50);
  settle(&w);
  assert_int_equal(w.r->book->state.dead, 0);
  assert_int_equal(w.r->book->state.cursor.lane_count, 1);
  w.clock = false;
  for (int i = 0; i < 5000 && w.r->book->state.cursor.lane_count > 0; i++) {
    step(&w);
    if (w.r->act.op == OP_NONE) w.r->now += SECOND;
  }
  assert_int_equal(w.r->book->state.delivered, 100);
  rig_free(w.r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_first_costs_a_transaction_the_rest_nothing),
      cmocka_unit_test(test_a_record_without_a_key_for_a_compacted_topic),
      cmocka_unit_test(test_a_missing_key_where_nobody_tells),
      cmocka_unit_test(test_a_limit_that_was_raised_condemns_nobody),
      cmocka_unit_test(test_what_was_looked_up_ahead_condemns_nobody),
      cmocka_unit_test(test_settings_are_read_anew_and_not_for_each),
      cmocka_unit_test(test_an_event_from_the_future_is_judged_too),
      cmocka_unit_test(test_what_nobody_can_weigh_is_asked_of_the_broker),
      cmocka_unit_test(test_what_may_fit_once_compressed_is_sent),
      cmocka_unit_test(test_a_rule_of_its_own_stands),
      cmocka_unit_test(test_a_broker_that_takes_them_is_believed),
      cmocka_unit_test(test_a_limit_that_nobody_tells),
      cmocka_unit_test(test_the_smallest_that_was_refused_counts),
      cmocka_unit_test(test_an_estimate_condemns_nobody),
      cmocka_unit_test(test_a_limit_that_nobody_tells_and_is_raised),
      cmocka_unit_test(test_a_segment_that_is_smaller),
      cmocka_unit_test(test_a_time_that_is_refused),
      cmocka_unit_test(test_a_clock_that_differs_makes_its_topic_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
