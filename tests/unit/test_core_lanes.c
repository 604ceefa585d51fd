/* How long a lane may keep its events, and how many topics are prepared at a time. */
#include "core_rig.h"

#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)

/* An agent with events of a refused topic in a lane; the others went through. */
static rig *with_a_lane(int64_t max_age_us) {
  rig *r = rig_new(true);
  r->lane_max_age_us = max_age_us;
  r->sick = "topic-1";
  append(r, 1, 3);
  append(r, 0, 2);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 2);
  all_delivered(r);
  commit(r);
  assert_int_equal(r->book->state.cursor.lane_count, 1);
  assert_int_equal(phase(r), PHASE_IDLE);
  return r;
}

/* Lets the lane be tried, and refused, once. What follows is left to the caller: OP_NONE, or a FILL. */
static void refused_once(rig *r) {
  wake(r);
  while (r->act.op == OP_TOPIC) ok(r, OP_TOPIC);
}

static uint64_t dead(const rig *r) { return r->book->state.dead; }

static size_t lanes_told(const rig *r) {
  core_view v;
  core_view_get(r->core, &v);
  return v.lane_count;
}

/* A try that fails must not look, for its time, as if the topic could be written again; nor a start. */
static void test_what_is_told_of_lanes_is_the_books(void **state) {
  (void)state;
  const fault refused = no_write();
  rig *r = with_a_lane(0);
  r->sick = NULL; /* it may be described, but not written */
  refused_once(r);
  assert_int_equal(fill(r), 3);
  assert_int_equal(phase(r), PHASE_FLUSH);
  assert_int_equal(lanes_told(r), 1);
  for (size_t i = 0; i < 3; i++) delivered(r, i, &refused);
  bad(r, OP_FLUSH, refused);
  ok(r, OP_ABORT);
  assert_int_equal(lanes_told(r), 1);
  start(r);
  assert_int_equal(lanes_told(r), 1);
  rig_free(r);
}

static void test_too_old_is_set_aside_and_the_younger_wait(void **state) {
  (void)state;
  rig *r = with_a_lane(DAY);
  for (int i = 0; i < 15; i++) {
    refused_once(r);
    assert_int_equal(r->act.op, OP_NONE);
  }
  r->now += DAY - 10 * MINUTE;
  append(r, 1, 2); /* younger */
  append(r, 0, 1);
  tell_log(r);
  fill(r);
  all_delivered(r);
  commit(r);
  for (int i = 0; i < 40 && r->act.op == OP_NONE; i++) refused_once(r);
  assert_int_equal(r->act.op, OP_FILL);
  assert_string_equal(r->act.topic, "topic-1");
  assert_int_equal(fill(r), 0);
  begun(r);
  ok(r, OP_FLUSH);
  const delivery_attempt *a = core_attempt(r->core);
  assert_int_equal(a->lane_count, 3);
  const sl_letter *l = a->lane_verdicts[0].letter;
  assert_true(sl_slice_eq(l->error_code, SL_STR("LANE_TOO_OLD")));
  assert_true(sl_slice_eq(l->error_class, SL_STR("NON_RETRYABLE_SECURITY")));
  assert_non_null(strstr((const char *)l->error_text.data,
                         "refused since 1970-01-01T00:01:40Z: TOPIC_AUTHORIZATION_FAILED"));
  assert_true(l->attempts > 10 && l->first_failure_us == 100 * SECOND);
  ok(r, OP_INTENT);
  ok(r, OP_COMMIT);
  ok(r, OP_SETTLE);
  assert_int_equal(dead(r), 3);
  core_view v;
  core_view_get(r->core, &v);
  assert_int_equal(v.expired, 3);
  assert_int_equal(v.lane_count, 1);
  /* The rights return: the younger ones are delivered. */
  r->sick = NULL;
  refused_once(r);
  assert_int_equal(fill(r), 2);
  all_delivered(r);
  commit(r);
  assert_int_equal(dead(r), 3);
  assert_int_equal(r->book->state.cursor.lane_count, 0);
  assert_int_equal(core_lane_of(r->core, SL_STR("topic-1")).refused_since_us, 0);
  rig_free(r);
}

/* Nine days without a broker, and the first refusals after it: nothing is set aside until the cluster has refused
 * for a while again. */
static void test_an_outage_sets_nothing_aside(void **state) {
  (void)state;
  rig *r = with_a_lane(DAY);
  for (int i = 0; i < 3; i++) refused_once(r);
  fault gone = outage();
  gone.fatal = true;
  wake(r);
  bad(r, OP_TOPIC, gone);
  ok(r, OP_DESTROY);
  const int64_t until = r->now + 9 * DAY;
  unsigned tries = 0;
  while (r->now < until) {
    wake(r);
    bad(r, OP_CONNECT, outage());
    r->now += 4 * SECOND; /* what a try takes */
    tries++;
    if (tries > 100) r->now += 600 * SECOND;
  }
  assert_int_equal(dead(r), 0);
  wake(r);
  claim(r);
  unsigned refusals = 0;
  for (; r->act.op != OP_FILL; refusals++) {
    while (r->act.op == OP_TOPIC) ok(r, OP_TOPIC);
    if (r->act.op == OP_FILL) break;
    assert_true(refusals < 20);
    wake(r);
  }
  assert_true(refusals >= 7);
  assert_int_equal(dead(r), 0);
  rig_free(r);
}

static void test_never_means_never(void **state) {
  (void)state;
  rig *r = with_a_lane(0);
  for (int i = 0; i < 500; i++) {
    refused_once(r);
    assert_int_equal(r->act.op, OP_NONE);
    r->now += DAY;
  }
  assert_int_equal(dead(r), 0);
  rig_free(r);
}

static void test_beyond_its_share_the_oldest_go(void **state) {
  (void)state;
  rig *r = with_a_lane(0);
  for (int i = 0; i < 15; i++) refused_once(r);
  give(r, (core_event){.kind = EVENT_LANES, .lanes_full_to = 2}); /* the first two of its three */
  refused_once(r);
  assert_int_equal(fill(r), 0);
  begun(r);
  ok(r, OP_FLUSH);
  assert_true(sl_slice_eq(core_attempt(r->core)->lane_verdicts[0].letter->error_code, SL_STR("LANE_OVER_SHARE")));
  ok(r, OP_INTENT);
  ok(r, OP_COMMIT);
  ok(r, OP_SETTLE);
  assert_int_equal(dead(r), 2);
  assert_int_equal(r->book->state.cursor.lanes[0].seq, 2);
  refused_once(r);
  assert_int_equal(r->act.op, OP_NONE);
  rig_free(r);
}

/* A clock that was wrong is set: events that had waited for minutes looked a month old, and were set aside. */
static void test_a_clock_that_is_set_makes_nobody_old(void **state) {
  (void)state;
  rig *r = with_a_lane(DAY);
  for (int i = 0; i < 15; i++) refused_once(r);
  r->wall_ahead_us = 30 * DAY;
  for (int i = 0; i < 40; i++) refused_once(r);
  r->wall_ahead_us = 0; /* and back, and again */
  refused_once(r);
  r->wall_ahead_us = 30 * DAY;
  refused_once(r);
  assert_int_equal(r->act.op, OP_NONE);
  r->now += DAY; /* now they are old */
  for (int i = 0; i < 40 && r->act.op == OP_NONE; i++) refused_once(r);
  assert_int_equal(r->act.op, OP_FILL);
  rig_free(r);
}

/* A host that slept for a month is a month older. */
static void test_sleep_makes_old(void **state) {
  (void)state;
  rig *r = with_a_lane(DAY);
  for (int i = 0; i < 15; i++) refused_once(r);
  r->wall_ahead_us = r->slept_us = 30 * DAY;
  for (int i = 0; i < 40 && r->act.op == OP_NONE; i++) refused_once(r);
  assert_int_equal(r->act.op, OP_FILL);
  rig_free(r);
}

/* A lane of thousands goes in steps, and the main reader has its turns between them. */
static void test_many_go_in_steps(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->lane_max_age_us = MINUTE;
  r->config.txn_max_events = 100000;
  r->sick = "topic-1";
  append(r, 1, 2500);
  append(r, 0, 1);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 1);
  all_delivered(r);
  commit(r);
  for (int i = 0; i < 40 && r->act.op == OP_NONE; i++) refused_once(r);
  assert_int_equal(r->act.op, OP_FILL);
  append(r, 0, 5);
  tell_log(r);
  assert_int_equal(fill(r), 0);
  commit(r);
  assert_int_equal(dead(r), 1000);
  assert_int_equal(fill(r), 5); /* main's turn */
  all_delivered(r);
  commit(r);
  assert_int_equal(fill(r), 0);
  commit(r);
  assert_int_equal(dead(r), 2000);
  assert_int_equal(fill(r), 0);
  commit(r);
  assert_int_equal(dead(r), 2500);
  assert_int_equal(r->book->state.cursor.lane_count, 0);
  rig_free(r);
}

/* --- topics --- */

static void test_topics_of_a_backlog_are_prepared_together(void **state) {
  (void)state;
  rig *r = rig_new(true);
  for (uint8_t round = 0; round < 3; round++)
    for (uint8_t topic = 0; topic < SIM_TOPICS; topic++) append(r, topic, 2);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(r->act.op, OP_FILL);
  uint64_t tag;
  size_t looked = 0;
  for (uint64_t seq = 1; seq <= r->s->last; seq++, looked++) {
    const core_record record = {.seq = seq,
                                .topic = sl_slice_of(r->s->broker.topics[r->s->log[seq - 1].topic].name),
                                .size = 100};
    assert_int_equal(core_offer(r->core, &record, r->now, &tag), OFFER_SETTLED);
  }
  done_with(r, (core_event){.fill_end = FILL_END_OF_LOG});
  assert_int_equal(r->act.op, OP_TOPIC);
  assert_int_equal(r->act.topic_count, SIM_TOPICS);
  ok(r, OP_TOPIC);
  assert_int_equal(fill(r), looked);
  all_delivered(r);
  commit(r);
  rig_free(r);
}

static void test_partitions_that_change_are_noticed(void **state) {
  (void)state;
  rig *r = rig_new(true);
  core_view v;
  r->config.look_us = 300 * SECOND;
  append(r, 0, 1);
  start(r);
  ready(r);
  tell_log(r);
  fill(r);
  all_delivered(r);
  commit(r);
  r->partitions = 6;
  for (int late = 0; late < 2; late++) {
    append(r, 0, 1);
    tell_log(r);
    assert_int_equal(fill(r), 1);
    all_delivered(r);
    commit(r);
    core_view_get(r->core, &v);
    assert_int_equal(v.partition_changes, late);
    r->now += 301 * SECOND;
  }
  assert_true(sl_slice_eq(v.changed_topic, SL_STR("topic-0")));
  assert_int_equal(v.partitions_were, 3);
  assert_int_equal(v.partitions_are, 6);
  rig_free(r);
}

static void test_offsets_that_go_back(void **state) {
  (void)state;
  rig *r = rig_new(true);
  static const int64_t offsets[] = {7, 9, 40, 3, 4};
  static const fault none = {0};
  core_view v;
  start(r);
  ready(r);
  for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
    append(r, 0, 1);
    tell_log(r);
    assert_int_equal(fill(r), 1);
    core_delivered(r->core, r->tags[0], 0, offsets[i], &none);
    ok(r, OP_FLUSH);
    const delivery_attempt *attempt = core_attempt(r->core);
    assert_int_equal(attempt->recreated_count, i == 3); /* once, with the intent of the event that lies behind */
    if (i == 3) assert_int_equal(attempt->recreated[0].seq, attempt->verdicts[0].seq);
    ok(r, OP_INTENT);
    ok(r, OP_COMMIT);
    assert_int_equal(r->act.op, OP_SETTLE);
    book_settle(r->s, r->book);
    r->s->broken = NULL; /* the simulated broker has no such records, and the book says so */
    done_with(r, (core_event){.why = {0}});
    core_view_get(r->core, &v);
    assert_int_equal(v.offsets_back, i >= 3);
  }
  assert_true(sl_slice_eq(v.back_topic, SL_STR("topic-0")));
  assert_int_equal(v.back_from, 40);
  assert_int_equal(v.back_to, 3);
  rig_free(r);
}

/* A mute lane beside a main reader that is well: each of its good transactions took the lane's failures off the
 * count, so that the topic was never named, and cost a new producer each time, for ever. */
static void test_a_mute_lane_beside_a_busy_main_is_named(void **state) {
  (void)state;
  rig *r = with_a_lane(0);
  r->sick = NULL; /* it may be described again, not written */
  unsigned failures = 0;
  uint64_t main_went = 0;
  wake(r);
  while (strcmp(core_lane_of(r->core, SL_STR("topic-1")).why->name, "_PURGE_QUEUE") != 0) {
    assert_true(failures <= 4);
    append(r, 0, 1);
    tell_log(r);
    if (r->act.op == OP_NONE) wake(r);
    while (r->act.op == OP_TOPIC) ok(r, OP_TOPIC);
    const bool lane = r->act.topic != NULL;
    const size_t n = fill(r);
    fault why = purged();
    for (size_t i = 0; i < n; i++) delivered(r, i, lane ? &why : NULL);
    if (!lane) {
      commit(r);
      main_went++;
      continue;
    }
    failures++;
    ok(r, OP_FLUSH);
    ok(r, OP_DESTROY);
    wake(r);
    claim(r);
  }
  assert_int_equal(failures, 4);
  assert_true(main_went >= 3);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_told_of_lanes_is_the_books),
      cmocka_unit_test(test_too_old_is_set_aside_and_the_younger_wait),
      cmocka_unit_test(test_a_clock_that_is_set_makes_nobody_old), cmocka_unit_test(test_sleep_makes_old),
      cmocka_unit_test(test_an_outage_sets_nothing_aside),
      cmocka_unit_test(test_never_means_never),
      cmocka_unit_test(test_beyond_its_share_the_oldest_go),
      cmocka_unit_test(test_many_go_in_steps),
      cmocka_unit_test(test_topics_of_a_backlog_are_prepared_together),
      cmocka_unit_test(test_partitions_that_change_are_noticed),
      cmocka_unit_test(test_offsets_that_go_back),
      cmocka_unit_test(test_a_mute_lane_beside_a_busy_main_is_named)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
