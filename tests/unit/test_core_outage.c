/* Outages: of many agents at once, of days, and of a host that slept. */
#include "core_rig.h"

#include "core/history_pack.h"

#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

/* A thousand agents whose broker went away in the same instant. While it is away each tries again at a time of its
 * own, uniform in up to two seconds; when it returns, it sees them come evenly, and all of them soon. */
static void test_no_herd(void **state) {
  (void)state;
  enum { AGENTS = 1000, BINS = 25 };
  core *list[AGENTS];
  core_config config = {.exactly_once = true, .txn_max_events = 1000, .txn_max_bytes = 1 << 24,
                        .txn_timeout_us = 15 * SECOND,
                        .doubt_us = 5 * SECOND, .probe_us = 30 * SECOND};
  sim_book book;
  book_init(&book);
  core_actions out;
  for (unsigned i = 0; i < AGENTS; i++) {
    config.seed = 0x5eed + i * UINT64_C(0x1234567);
    list[i] = core_new(&config, &book.state);
    assert_non_null(list[i]);
    const core_event go = {.kind = EVENT_START, .now_us = SECOND, .wall_us = SECOND};
    core_step(list[i], &go, &out);
    const core_event lost = {.kind = EVENT_DONE, .op = OP_CONNECT, .why = outage(), .now_us = SECOND,
                             .wall_us = SECOND};
    core_step(list[i], &lost, &out);
  }
  const int64_t back = 120 * SECOND; /* refused connections fail at once: that is the worst case for a herd */
  for (unsigned i = 0; i < AGENTS; i++)
    while (core_wake_at(list[i]) < back) {
      const int64_t at = core_wake_at(list[i]);
      assert_true(at > 0);
      const core_event timer = {.kind = EVENT_TIMER, .now_us = at, .wall_us = at};
      core_step(list[i], &timer, &out);
      const core_event lost = {.kind = EVENT_DONE, .op = OP_CONNECT, .why = outage(), .now_us = at, .wall_us = at};
      core_step(list[i], &lost, &out);
    }
  unsigned bins[BINS] = {0}, most = 0, within_two = 0;
  for (unsigned i = 0; i < AGENTS; i++) {
    const int64_t after = core_wake_at(list[i]) - back;
    within_two += after <= 2 * SECOND;
    if (after / 100000 < BINS) bins[after / 100000]++;
    core_free(list[i]);
  }
  for (unsigned i = 0; i < BINS; i++) most = bins[i] > most ? bins[i] : most;
  assert_int_equal(within_two, AGENTS);
  /* Who sleeps for longer is the likelier to be met asleep: the arrivals thin out over the two seconds, from about
   * a tenth of them in the first tenth of a second. All at once would be 1,000. */
  if (most > 150) fail_msg("%u of %d agents come within a tenth of a second", most, AGENTS);
  book_free(&book);
}

/* What the core holds in memory, itself and what it points at. */
static size_t footprint(const core *c) {
  sl_buf image = {0};
  assert_true(core_image_save(c, &image));
  const size_t bytes = image.len + c->txn.cap * (sizeof *c->txn.verdicts + sizeof *c->txn.slots) +
                       c->txn.letter_cap * sizeof *c->txn.letters + c->lane_cap * sizeof *c->lanes +
                       c->topics.cap * sizeof *c->topics.list + c->topics.hash_cap * sizeof *c->topics.hash + c->marker.cap;
  sl_buf_free(&image);
  return bytes;
}

/* Three days without a broker while events are appended: nothing is set aside, what the core keeps does not grow
 * with the outage, and all of it drains in order once the broker is back. */
/* Up to 2 s of a wait were left when the broker was back, beside the client's own second and the steps of a new
 * session. */
static void test_a_broker_that_answers_ends_the_wait(void **state) {
  (void)state;
  int64_t sum = 0;
  for (int round = 0; round < 100; round++) {
    rig *r = rig_new(true);
    r->config.seed = (uint64_t)round;
    start(r);
    for (int i = 0; i < 8; i++) {
      bad(r, OP_CONNECT, outage());
      if (i < 7) wake(r);
    }
    const int64_t before = core_wake_at(r->core);
    give(r, (core_event){.kind = EVENT_REACHED});
    assert_int_equal(r->act.op, OP_NONE);
    const int64_t at = core_wake_at(r->core);
    assert_true(at > r->now && at <= before && at <= r->now + SECOND / 5);
    sum += at - r->now;
    wake(r);
    assert_int_equal(r->act.op, OP_CONNECT);
    const core_action under_way = r->act;
    give(r, (core_event){.kind = EVENT_REACHED}); /* nobody waits */
    assert_int_equal(r->act.op, OP_NONE);
    r->act = under_way;
    rig_free(r);
  }
  assert_in_range(sum / 100, SECOND / 20, SECOND / 5); /* spread: not all agents in the same instant */
}

static void test_an_outage_of_days(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->lane_max_age_us = HOUR; /* lanes have an age; an outage is no lane */
  append(r, 0, 5);
  start(r);
  ready(r);
  tell_log(r);
  fill(r);
  all_delivered(r);
  commit(r);
  append(r, 0, 1);
  tell_log(r);
  fill(r);
  const fault lost = outage();
  delivered(r, 0, &lost);
  bad(r, OP_FLUSH, outage());
  ok(r, OP_DESTROY);
  const int64_t begun_us = r->now;
  size_t kept_early = 0, kept_late = 0;
  unsigned tries = 0;
  while (r->now < begun_us + 3 * DAY) {
    wake(r);
    bad(r, OP_CONNECT, outage());
    r->now += 4 * SECOND;
    if (++tries % 15 == 0 && r->s->last < 3000) {
      append(r, (uint8_t)(tries % 3), 1);
      tell_log(r);
    }
    if (tries == 2000) kept_early = footprint(r->core);
  }
  kept_late = footprint(r->core);
  assert_true(tries > 40000);
  assert_int_equal(kept_late, kept_early);
  assert_int_equal(r->book->state.dead, 0);
  assert_true(r->s->last >= 2900);
  wake(r);
  claim(r);
  while (r->book->state.cursor.seq < r->s->last) {
    const uint64_t from = r->book->state.cursor.seq;
    assert_true(fill(r) > 0);
    all_delivered(r);
    commit(r);
    assert_true(r->book->state.cursor.seq > from);
  }
  assert_int_equal(r->book->state.delivered, r->s->last);
  assert_int_equal(r->book->state.dead, 0);
  assert_int_equal(r->book->state.cursor.lane_count, 0);
  rig_free(r);
}

/* A laptop closes its lid in each of the phases: whatever was in hand is finished without a commit, a new handle
 * is made at once, and nothing is counted that the marker does not confirm. */
static void test_sleep_in_every_phase(void **state) {
  (void)state;
  static const core_op at[] = {OP_CONNECT, OP_MARKER_TOPIC, OP_INIT_TXN, OP_READ_MARKER, OP_TOPIC, OP_FILL,
                               OP_FLUSH, OP_INTENT,
                               OP_COMMIT};
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    rig *r = rig_new(true);
    append(r, 0, 3);
    start(r);
    bool slept = false;
    for (int n = 0; n < 60 && r->book->state.delivered < 3; n++) {
      if (r->act.op == OP_NONE) {
        if (phase(r) == PHASE_IDLE) tell_log(r);
        else wake(r);
        continue;
      }
      if (at[i] == OP_TOPIC && !slept && r->act.op == OP_FILL) { /* up to the look-up */
        uint64_t tag;
        const core_record first = {.seq = 1, .topic = SL_STR("topic-0"), .size = 100};
        assert_int_equal(core_offer(r->core, &first, r->now, &tag), OFFER_SETTLED);
        done_with(r, (core_event){.fill_end = FILL_END_OF_LOG});
        assert_int_equal(r->act.op, OP_TOPIC);
      }
      bool in_claim = r->book->state.cursor.attempt == 0;
      if (!slept && r->act.op == at[i] && (i < 4 || !in_claim)) {
        slept = true;
        const core_action under_way = r->act;
        r->now += 8 * HOUR;
        give(r, (core_event){.kind = EVENT_RESUMED});
        assert_int_equal(r->act.op, OP_NONE);
        r->act = under_way;
      }
      if (r->act.op == OP_READ_MARKER) reads(r, r->book->state.marker_bytes);
      else if (r->act.op == OP_FILL || r->act.op == OP_TOPIC) fill(r), all_delivered(r);
      else if (r->act.op == OP_FLUSH) begun(r), ok(r, OP_FLUSH);
      else ok(r, r->act.op);
    }
    assert_true(slept);
    assert_int_equal(r->book->state.delivered, 3);
    core_view v;
    core_view_get(r->core, &v);
    assert_int_equal(v.handles, 2);
    rig_free(r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_herd),
                                     cmocka_unit_test(test_a_broker_that_answers_ends_the_wait),
                                     cmocka_unit_test(test_an_outage_of_days),
                                     cmocka_unit_test(test_sleep_in_every_phase)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
