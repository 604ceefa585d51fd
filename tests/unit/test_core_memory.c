/* No memory in the core for what the book says: a core that goes on with half of it takes a marker for another's,
 * or writes a progress that lacks a lane. */
#include "core_rig.h"
#include "core/inner.h"
#include "fail_malloc.h"

/* The operation ends well, and the nth allocation of the core's step behind it fails. False: there were fewer. */
static bool ok_but(rig *r, core_op op, long n) {
  assert_int_equal(r->act.op, op);
  if (op == OP_INTENT) book_intent(r->s, r->book, core_attempt(r->core));
  if (op == OP_SETTLE || (op == OP_INTENT && !r->config.exactly_once)) book_settle(r->s, r->book);
  if (op == OP_ABANDON) book_abandon(r->s, r->book);
  sl_buf *const kept[] = {&r->core->cursor_bytes, &r->core->intent_bytes, &r->core->marker_bytes};
  for (size_t i = 0; i < 3; i++) sl_buf_free(kept[i]); /* they are loaded anew, into what it takes */
  countdown = n;
  done_with(r, (core_event){.cluster_id = "cluster-1"});
  const bool failed = countdown < 0;
  countdown = -1;
  return failed;
}

static void delivers(rig *r, size_t events) {
  append(r, 0, events);
  tell_log(r);
  assert_int_equal(fill(r), r->s->last - r->book->state.cursor.seq);
  all_delivered(r);
}

static void connects_anew(rig *r) {
  core_view v;
  core_view_get(r->core, &v);
  assert_int_equal(r->act.op, OP_DESTROY);
  assert_string_equal(v.last_fault.name, "NO_MEMORY");
  ok(r, OP_DESTROY);
  wake(r);
}

static bool exactly_once_without_memory_at(core_op op, long n) {
  rig *r = rig_new(true);
  start(r);
  to_marker(r);
  reads(r, r->book->state.marker_bytes);
  begun(r);
  ok(r, OP_FLUSH);
  if (op == OP_ABANDON) { /* the commit is in doubt, and was none */
    ok(r, OP_INTENT);
    r->now += r->config.doubt_us + 1;
    ok(r, OP_COMMIT);
    ok(r, OP_DESTROY);
    wake(r);
    to_marker(r);
    reads(r, r->book->state.marker_bytes);
  } else if (op == OP_SETTLE) {
    ok(r, OP_INTENT);
    ok(r, OP_COMMIT);
  }
  const bool failed = ok_but(r, op, n);
  if (failed) {
    connects_anew(r);
    to_marker(r);
    reads(r, r->book->state.marker_bytes);
    if (op == OP_INTENT) ok(r, OP_ABANDON);
    commit(r); /* the claim: it did not park */
    delivers(r, 10);
    commit(r);
    assert_int_equal(r->book->state.delivered, 10);
  }
  rig_free(r);
  return failed;
}

static void exactly_once(void **state) {
  (void)state;
  long n[3] = {0, 0, 0};
  while (exactly_once_without_memory_at(OP_INTENT, n[0])) n[0]++;
  while (exactly_once_without_memory_at(OP_SETTLE, n[1])) n[1]++;
  while (exactly_once_without_memory_at(OP_ABANDON, n[2])) n[2]++;
  for (size_t i = 0; i < sizeof n / sizeof *n; i++) assert_in_range(n[i], 1, 20);
}

static rig *opens_a_lane(bool exactly_once) {
  rig *r = rig_new(exactly_once);
  start(r);
  ready(r);
  r->sick = "topic-1";
  append(r, 1, 3);
  tell_log(r);
  assert_int_equal(fill(r), 0);
  ok(r, OP_FLUSH);
  return r;
}

static void sends_the_lane(rig *r) {
  r->sick = NULL;
  wake(r);
  assert_int_equal(fill(r), 3);
  all_delivered(r);
  ok(r, OP_FLUSH);
  assert_int_equal(core_attempt(r->core)->progress.lane_count, 0);
  ok(r, OP_INTENT);
  assert_int_equal(r->book->state.cursor.lane_count, r->config.exactly_once);
  rig_free(r);
}

static void a_lane_exactly_once(void **state) {
  (void)state;
  long n = 0;
  for (bool failed = true; failed; n++) {
    rig *r = opens_a_lane(true);
    failed = ok_but(r, OP_INTENT, n);
    if (failed) {
      connects_anew(r);
      to_marker(r);
      reads(r, r->book->state.marker_bytes);
      ok(r, OP_ABANDON);
      commit(r); /* the claim */
      assert_int_equal(fill(r), 0);
      ok(r, OP_FLUSH);
      ok(r, OP_INTENT);
    }
    ok(r, OP_COMMIT);
    ok(r, OP_SETTLE);
    sends_the_lane(r);
  }
  assert_in_range(n, 2, 20);
}

static void a_lane_at_least_once(void **state) {
  (void)state;
  long n = 0;
  for (bool failed = true; failed; n++) {
    rig *r = opens_a_lane(false);
    failed = ok_but(r, OP_INTENT, n);
    if (failed) {
      connects_anew(r);
      assert_true(ok_but(r, OP_CONNECT, 0)); /* nor then, at first */
      connects_anew(r);
      ok(r, OP_CONNECT);
    }
    sends_the_lane(r);
  }
  assert_in_range(n, 2, 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(exactly_once), cmocka_unit_test(a_lane_exactly_once),
                                     cmocka_unit_test(a_lane_at_least_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
