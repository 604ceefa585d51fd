/* Delivery core: budgets and limits of time, stops, sleeps, and other credentials in each phase. */
#include "core_rig.h"

static void latency_budget(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.latency_budget_us = 2 * SECOND;
  start(r);
  ready(r);
  append(r, 0, 1);
  tell_log(r);
  assert_int_equal(r->act.op, OP_NONE);
  assert_int_equal(core_wake_at(r->core), r->now + 2 * SECOND);
  wake(r);
  fill(r);
  all_delivered(r);
  append(r, 0, 1); /* comes while the first is under way: its time counts from here, not from the commit */
  int64_t seen = r->now;
  tell_log(r);
  r->now += SECOND;
  commit(r);
  assert_int_equal(core_wake_at(r->core), seen + 2 * SECOND);
  rig_free(r);
}

/* --- the limit of what goes to the brokers --- */

/* Delivers what is there for `seconds` and says how many records went out. */
static size_t sent_within(rig *r, int64_t seconds, uint32_t size) {
  const int64_t end = r->now + seconds * SECOND;
  size_t sent = 0;
  while (r->now < end) {
    while (r->act.op == OP_TOPIC || r->act.op == OP_FILL) {
      sent += fill_sized(r, size);
      all_delivered(r);
      commit(r);
      r->now += 20000;
    }
    if (core_wake_at(r->core) == 0) break; /* nothing is left */
    wake(r);
  }
  return sent;
}

static void flow_of_bytes(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.flow_bytes_per_s = 100000;
  start(r);
  ready(r);
  append(r, 0, 1);
  tell_log(r);
  assert_int_equal(sent_within(r, 1, 1000), 1); /* a lone event goes at once */
  append(r, 0, 3000);
  tell_log(r);
  size_t sent = sent_within(r, 10, 1000); /* one second's worth was saved up */
  assert_in_range(sent, 950, 1150);
  core_view v;
  core_view_get(r->core, &v);
  assert_true(v.transactions < 30); /* not one for each event */
  rig_free(r);
}

static void flow_of_events_and_their_debt(void **state) {
  (void)state;
  rig *r = rig_new(false);
  r->config.flow_events_per_s = 10;
  r->config.flow_bytes_per_s = 1000000;
  start(r);
  ready(r);
  append(r, 0, 500);
  tell_log(r);
  size_t sent = 0;
  const int64_t end = r->now + 20 * SECOND;
  for (; r->now < end; wake(r))
    while (r->act.op == OP_TOPIC || r->act.op == OP_FILL) {
      sent += fill_sized(r, 100);
      all_delivered(r);
      begun(r);
      ok(r, OP_FLUSH);
      ok(r, OP_INTENT);
    }
  assert_in_range(sent, 195, 215);
  rig_free(r);
  /* One larger than the bucket goes alone, and the next waits until it is paid for. */
  r = rig_new(true);
  r->config.flow_bytes_per_s = 1000;
  start(r);
  ready(r);
  append(r, 0, 2);
  tell_log(r);
  assert_int_equal(fill_sized(r, 30000), 1);
  all_delivered(r);
  commit(r);
  assert_int_equal(r->act.op, OP_NONE);
  core_view v;
  core_view_get(r->core, &v);
  assert_true(v.held);
  assert_in_range(v.next_try_us - r->now, 29 * SECOND, 30 * SECOND);
  rig_free(r);
}

/* What the client refuses never goes to the link, so it neither waits nor makes others wait. */
static void flow_of_what_is_refused_here(void **state) {
  (void)state;
  const fault refusals[] = {too_large(), no_write()}; /* a dead letter; to its lane */
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    rig *r = rig_new(true);
    r->config.flow_bytes_per_s = 1000;
    start(r);
    ready(r);
    append(r, 0, 1);
    append(r, 1, 2);
    tell_log(r);
    r->refuse_seq = 1;
    r->refuse_why = refusals[i];
    assert_int_equal(fill_sized(r, 30000), 1);
    all_delivered(r);
    commit(r);
    core_view v;
    core_view_get(r->core, &v);
    assert_true(v.held);
    assert_in_range(v.next_try_us - r->now, 29 * SECOND, 30 * SECOND);
    rig_free(r);
  }
}

static void closed_by_the_time_of_day(void **state) {
  (void)state;
  rig *r = rig_new(true);
  core_view v;
  start(r);
  ready(r);
  append(r, 0, 5);
  give(r, (core_event){.kind = EVENT_LOG, .last_seq = 5, .indexed_seq = 5, .closed_us = 3 * 3600 * SECOND});
  assert_int_equal(r->act.op, OP_NONE);
  core_view_get(r->core, &v);
  assert_true(v.held);
  assert_int_equal(v.next_try_us, r->now + 3 * 3600 * SECOND);
  assert_true(core_wake_at(r->core) <= r->now + 60 * SECOND); /* somebody may set the clock */
  wake(r);
  assert_int_equal(fill(r), 5);
  all_delivered(r);
  begun(r);
  /* What has begun is finished. */
  core_event done = {.kind = EVENT_DONE, .op = OP_FLUSH, .closed_us = SECOND};
  give(r, done);
  assert_int_equal(r->act.op, OP_INTENT);
  rig_free(r);
}

static const core_op good_day[] = {OP_CONNECT, OP_MARKER_TOPIC, OP_INIT_TXN, OP_READ_MARKER, OP_FLUSH,
                                   OP_INTENT, OP_COMMIT, OP_SETTLE, OP_FILL};

/* `what` happens while the operation number `at` of a good day is under way; goes on until the core rests. */
static void in_each_phase(core_event what, size_t at) {
  rig *r = rig_new(true);
  append(r, 0, 3);
  start(r);
  tell_log(r);
  r->act = (core_action){.op = OP_CONNECT};
  size_t n = 0;
  for (unsigned i = 0; i < 80 && r->act.op != OP_EXIT; i++, n++) {
    core_action act = r->act;
    if (n == at) {
      give(r, what);
      if (act.op != OP_NONE) {
        assert_int_equal(r->act.op, OP_NONE);
        r->act = act;
      }
    }
    if (n < at && act.op != good_day[n]) fail_msg("step %zu asks for %d", n, act.op);
    if (act.op == OP_NONE && r->act.op == OP_NONE) {
      if (n > at && core_wake_at(r->core) == 0) break;
      if (core_wake_at(r->core)) wake(r);
    } else if (r->act.op == OP_READ_MARKER) {
      reads(r, r->book->state.marker_bytes);
    } else if (r->act.op == OP_FILL) {
      size_t had = fill(r);
      for (size_t k = 0; k < had; k++) delivered(r, k, NULL);
      n++;
    } else if (r->act.op != OP_EXIT) {
      if (r->act.op == OP_FLUSH) begun(r);
      ok(r, r->act.op);
    }
  }
  if (what.kind == EVENT_STOP) assert_int_equal(r->act.op, OP_EXIT);
  else assert_int_equal(r->book->state.cursor.seq, 3);
  rig_free(r);
}

static void stop_in_each_phase(void **state) {
  (void)state;
  for (size_t at = 0; at < 9; at++) in_each_phase((core_event){.kind = EVENT_STOP}, at);
}
static void sleep_in_each_phase(void **state) {
  (void)state;
  for (size_t at = 0; at < 9; at++) in_each_phase((core_event){.kind = EVENT_RESUMED}, at);
}
/* A changed password: what is in hand is finished with the old handle, then there is a new one. */
static void login_in_each_phase(void **state) {
  (void)state;
  for (size_t at = 0; at < 9; at++) in_each_phase((core_event){.kind = EVENT_LOGIN}, at);
}

static void login_after_the_transaction(void **state) {
  (void)state;
  rig *r = rig_new(true);
  start(r);
  ready(r);
  append(r, 0, 3);
  tell_log(r);
  fill(r);
  all_delivered(r);
  give(r, (core_event){.kind = EVENT_LOGIN});
  assert_int_equal(r->act.op, OP_NONE);
  r->act.op = OP_FLUSH;
  commit(r);
  assert_int_equal(r->act.op, OP_DESTROY);
  assert_int_equal(r->book->state.cursor.seq, 3);
  ok(r, OP_DESTROY);
  wake(r);
  claim(r);
  assert_int_equal(phase(r), PHASE_IDLE);
  give(r, (core_event){.kind = EVENT_LOGIN}); /* nothing is in hand: at once */
  assert_int_equal(r->act.op, OP_DESTROY);
  rig_free(r);
}

/* Parked for a wrong password: the right one is tried at once, not after the probe's pause. */
static void login_while_refused(void **state) {
  (void)state;
  const fault refused = sim_fault_of(SCOPE_CLUSTER, CLASS_NON_RETRYABLE_SECURITY, "_AUTHENTICATION");
  for (int moment = 0; moment < 3; moment++) {
    rig *r = rig_new(true);
    start(r);
    if (moment == 0) give(r, (core_event){.kind = EVENT_LOGIN});
    r->act.op = OP_CONNECT;
    bad(r, OP_CONNECT, refused);
    if (moment == 1) give(r, (core_event){.kind = EVENT_LOGIN});
    r->act.op = OP_DESTROY;
    ok(r, OP_DESTROY);
    if (moment == 2) {
      assert_int_equal(parked(r), PARK_REFUSED);
      give(r, (core_event){.kind = EVENT_LOGIN});
    }
    assert_true(core_wake_at(r->core) < r->now + 3 * SECOND);
    wake(r);
    claim(r);
    assert_int_equal(phase(r), PHASE_IDLE);
    rig_free(r);
  }
}

/* Nobody answers, and the handle is kept over the pause: it has the old password. */
static void login_in_an_outage(void **state) {
  (void)state;
  rig *r = rig_new(true);
  start(r);
  bad(r, OP_CONNECT, outage());
  assert_int_equal(phase(r), PHASE_BACKOFF);
  give(r, (core_event){.kind = EVENT_LOGIN});
  ok(r, OP_DESTROY);
  wake(r);
  claim(r);
  rig_free(r);
}

static void fatal_error_in_each_phase(void **state) {
  (void)state;
  fault why = purged();
  why.fatal = true;
  for (size_t at = 0; at < 9; at++) in_each_phase((core_event){.kind = EVENT_ERROR, .why = why}, at);
}

static void drain_deadline(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1);
  r->config.drain = true;
  r->config.drain_to = 1;
  r->config.drain_deadline_us = r->now + 10 * SECOND;
  start(r);
  while (r->act.op == OP_CONNECT) {
    bad(r, OP_CONNECT, outage());
    wake(r);
  }
  if (r->act.op == OP_DESTROY) ok(r, OP_DESTROY);
  assert_int_equal(r->act.op, OP_EXIT);
  assert_int_equal(r->act.exit_status, 5);
  assert_true(r->now <= 111 * SECOND);
  rig_free(r);
}

/* `--drain` is done at once where nothing waits, with the broker away too. */
static void drain_of_nothing(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.drain = true;
  start(r);
  assert_int_equal(r->act.op, OP_EXIT);
  assert_int_equal(r->act.exit_status, 0);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(latency_budget), cmocka_unit_test(flow_of_bytes),
      cmocka_unit_test(flow_of_events_and_their_debt), cmocka_unit_test(flow_of_what_is_refused_here),
      cmocka_unit_test(closed_by_the_time_of_day),
      cmocka_unit_test(stop_in_each_phase), cmocka_unit_test(sleep_in_each_phase),
      cmocka_unit_test(login_in_each_phase), cmocka_unit_test(login_after_the_transaction),
      cmocka_unit_test(login_while_refused), cmocka_unit_test(login_in_an_outage),
      cmocka_unit_test(fatal_error_in_each_phase), cmocka_unit_test(drain_deadline),
      cmocka_unit_test(drain_of_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
