/* The delivery core, when the book does not take what it wants to write there. */
#include "core_rig.h"

/* The book refuses the attempt as it stands. */
static void refused(rig *r) {
  assert_int_equal(r->act.op, OP_INTENT);
  done_with(r, (core_event){.why = disk_full(), .refused = true});
}

/* While the disk is full the same big transaction was produced again every second, for nothing. */
static void full_disk_for_hours(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 500);
  start(r);
  ready(r);
  tell_log(r);
  int64_t begin = r->now;
  size_t produced = 0, tries = 0;
  while (r->now - begin < 3600 * SECOND) {
    size_t n = fill(r);
    produced += n;
    if (tries++) assert_int_equal(n, 1);
    all_delivered(r);
    ok(r, OP_FLUSH);
    bad(r, OP_INTENT, disk_full());
    ok(r, OP_ABORT);
    assert_int_equal(phase(r), PHASE_IDLE);
    wake(r);
  }
  assert_true(tries < 3600);
  while (r->book->state.cursor.seq < 500) {
    fill(r);
    all_delivered(r);
    commit(r);
  }
  rig_free(r);
}

/* After an abort the claim was forgotten: events would have followed under the old incarnation. */
static void full_disk_at_the_claim(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1);
  start(r);
  tell_log(r);
  to_marker(r);
  reads(r, (sl_slice){0});
  begun(r);
  ok(r, OP_FLUSH);
  bad(r, OP_INTENT, disk_full());
  ok(r, OP_ABORT);
  wake(r);
  assert_int_equal(r->act.op, OP_FLUSH); /* the claim again */
  commit(r);
  assert_int_equal(fill(r), 1);
  rig_free(r);
}

static void full_disk_at_least_once(void **state) {
  (void)state;
  rig *r = rig_new(false);
  append(r, 0, 3);
  start(r);
  ready(r);
  tell_log(r);
  fill(r);
  all_delivered(r);
  ok(r, OP_FLUSH);
  for (int i = 0; i < 100; i++) {
    bad(r, OP_INTENT, disk_full());
    assert_int_equal(r->act.op, OP_NONE); /* the note waits; nothing is sent again */
    int64_t before = r->now;
    wake(r);
    assert_true(r->now - before >= SECOND / 2);
  }
  ok(r, OP_INTENT);
  assert_int_equal(r->book->state.delivered, 3);
  rig_free(r);
}

/* That a topic is a new one must not be forgotten with the attempt that noticed it. */
static void full_disk_when_a_topic_was_created_again(void **state) {
  (void)state;
  static const fault none = {0};
  rig *r = rig_new(true);
  append(r, 0, 2);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 2);
  core_delivered(r->core, r->tags[0], 0, 40, &none);
  core_delivered(r->core, r->tags[1], 0, 3, &none);
  ok(r, OP_FLUSH);
  assert_int_equal(core_attempt(r->core)->recreated_count, 1);
  assert_int_equal(core_attempt(r->core)->recreated[0].seq, core_attempt(r->core)->verdicts[1].seq);
  bad(r, OP_INTENT, disk_full());
  ok(r, OP_ABORT);
  wake(r);
  assert_int_equal(fill(r), 1);
  core_delivered(r->core, r->tags[0], 0, 7, &none);
  ok(r, OP_FLUSH);
  assert_int_equal(core_attempt(r->core)->recreated_count, 1);
  assert_int_equal(core_attempt(r->core)->recreated[0].seq, 0); /* all of this attempt lies in the new one */
  ok(r, OP_INTENT);
  rig_free(r);
}

/* It was created again while no agent ran: its partitions end before receipts of the last agent. */
static void a_topic_created_again_before_the_start(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->recreated = true;
  append(r, 0, 2);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 2);
  r->recreated = false;
  all_delivered(r);
  ok(r, OP_FLUSH);
  assert_int_equal(core_attempt(r->core)->recreated_count, 1);
  assert_int_equal(core_attempt(r->core)->recreated[0].seq, 0); /* of this attempt all lies in the new one */
  core_view v;
  core_view_get(r->core, &v);
  assert_int_equal(v.offsets_back, 1);
  rig_free(r);
}

/* The book is fine, the attempt no longer is: an event of it was dropped from a full store meanwhile. This was
 * taken for a full disk: a pause, then events one by one. */
static void dropped_while_in_hand(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 500);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 500);
  all_delivered(r);
  ok(r, OP_FLUSH);
  int64_t before = r->now;
  refused(r);
  ok(r, OP_ABORT);
  assert_int_equal(r->act.op, OP_FILL); /* at once, and from the cursor */
  assert_int_equal(r->act.from, 1);
  assert_int_equal(r->now, before);
  while (r->book->state.cursor.seq < 500) {
    size_t n = fill(r);
    assert_in_range(n, 200, 250); /* half: it is done sooner, before the next one is dropped */
    all_delivered(r);
    commit(r);
  }
  assert_int_equal(r->book->state.delivered, 500);
  rig_free(r);
}

static void dropped_while_in_hand_at_least_once(void **state) {
  (void)state;
  rig *r = rig_new(false);
  append(r, 0, 3);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 3);
  all_delivered(r);
  ok(r, OP_FLUSH);
  refused(r); /* the same note would be refused for ever */
  while (r->book->state.cursor.seq < 3) {
    assert_int_equal(r->act.op, OP_FILL);
    assert_true(fill(r) > 0);
    all_delivered(r);
    ok(r, OP_FLUSH);
    ok(r, OP_INTENT);
  }
  rig_free(r);
}

/* What a later record's failure left of a transaction is refused too: the handle goes, as after the note. */
static void dropped_from_a_prefix(void **state) {
  (void)state;
  rig *r = rig_new(false);
  append(r, 0, 3);
  start(r);
  ready(r);
  tell_log(r);
  fill(r);
  const fault lost = outage();
  delivered(r, 0, NULL);
  delivered(r, 1, &lost);
  delivered(r, 2, NULL);
  ok(r, OP_FLUSH);
  refused(r);
  ok(r, OP_DESTROY);
  wake(r);
  ok(r, OP_CONNECT);
  fill(r);
  all_delivered(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  assert_true(r->book->state.cursor.seq > 0);
  rig_free(r);
}

/* Refused again and again, by a fault of ours perhaps: neither committed nor tried without a pause. */
static void refused_for_ever(void **state) {
  (void)state;
  for (int mode = 0; mode < 2; mode++) {
    rig *r = rig_new(mode == 0);
    append(r, 0, 500);
    start(r);
    ready(r);
    tell_log(r);
    int64_t begin = r->now;
    size_t tries = 0, n = 0;
    for (; r->now - begin < 3600 * SECOND; tries++) {
      n = fill(r);
      all_delivered(r);
      ok(r, OP_FLUSH);
      refused(r);
      if (mode == 0) ok(r, OP_ABORT);
      if (r->act.op == OP_NONE) wake(r);
    }
    assert_int_equal(n, 1);
    assert_in_range(tries, 100, 8000);
    assert_int_equal(r->book->state.cursor.seq, 0);
    while (r->book->state.cursor.seq < 500) {
      fill(r);
      all_delivered(r);
      if (mode == 0) commit(r);
      else ok(r, OP_FLUSH), ok(r, OP_INTENT);
    }
    rig_free(r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(full_disk_for_hours),
      cmocka_unit_test(full_disk_at_the_claim),
      cmocka_unit_test(full_disk_at_least_once),
      cmocka_unit_test(full_disk_when_a_topic_was_created_again),
      cmocka_unit_test(a_topic_created_again_before_the_start),
      cmocka_unit_test(dropped_while_in_hand),
      cmocka_unit_test(dropped_while_in_hand_at_least_once),
      cmocka_unit_test(dropped_from_a_prefix),
      cmocka_unit_test(refused_for_ever)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
