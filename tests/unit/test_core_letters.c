/* Copies of dead letters: alone they go with their verdict, and otherwise in turns of their own. */
#include "core_rig.h"

/* A backlog with a dead letter in every transaction: their copies have their turns all the same. */
static void letters_beside_a_backlog_that_makes_more(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.letters = true;
  r->config.txn_max_events = 4;
  r->refuse_why = too_large();
  append(r, 1, 400);
  start(r);
  ready(r);
  tell_log(r);
  int turns = 0;
  for (; turns < 40; turns++) {
    if (r->act.op == OP_TOPIC) ok(r, OP_TOPIC);
    if (r->act.op == OP_FILL && r->act.letters) break;
    assert_int_equal(r->act.op, OP_FILL);
    r->refuse_seq = r->act.from;
    fill(r);
    all_delivered(r);
    begun(r);
    ok(r, OP_FLUSH);
    ok(r, OP_INTENT);
    ok(r, OP_COMMIT);
    r->now += 30000;
    ok(r, OP_SETTLE);
  }
  assert_true(turns < 3);
  rig_free(r);
}

/* An agent whose dead-letter topic is known: one letter has gone there. The client refuses every event of
 * topic-1. */
static rig *with_a_letter_gone(void) {
  rig *r = rig_new(true);
  r->config.letters = true;
  r->refuse_why = too_large();
  snprintf(r->s->broker.topics[SIM_TOPICS + 1].name, sizeof r->s->broker.topics[0].name, "topic-1.dlq");
  r->dlq = "topic-1.dlq";
  append(r, 1, 1);
  r->refuse_seq = 1;
  start(r);
  ready(r);
  tell_log(r);
  fill(r);
  assert_int_equal(r->along_count, 0); /* its topic is not known yet */
  commit(r);
  wake(r);
  uint64_t tag;
  bool slim;
  assert_true(r->act.letters);
  const sl_slice dlq = sl_slice_of(r->dlq);
  assert_int_equal(core_letter_ready(r->core, dlq, r->now), OFFER_STOP);
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  ok(r, OP_TOPIC);
  assert_int_equal(core_offer_letter(r->core, 1, dlq, 500, r->now, &slim, &tag), OFFER_PRODUCE);
  begun(r);
  done_with(r, (core_event){.fill_end = FILL_END_OF_LOG});
  core_delivered(r->core, tag, 0, 0, &(fault){0});
  commit(r);
  assert_int_equal(r->book->state.cursor.dlq_no, 1);
  assert_false(r->book->state.letters_wait);
  return r;
}

static void fails(rig *r) { /* a lone event is appended, and the client refuses it */
  append(r, 1, 1);
  r->refuse_seq = r->s->last;
  tell_log(r);
  fill(r);
}

static void alone_it_goes_with_its_verdict(void **state) {
  (void)state;
  rig *r = with_a_letter_gone();
  fails(r);
  assert_int_equal(r->along_count, 1);
  core_delivered(r->core, r->along[0], 0, 1, &(fault){0});
  ok(r, OP_FLUSH);
  const delivery_verdict *v = &core_attempt(r->core)->verdicts[0];
  assert_true(v->verdict == SL_VERDICT_DEAD && v->copied);
  assert_int_equal(v->partition, -1); /* of the event: it has no place */
  ok(r, OP_INTENT);
  ok(r, OP_COMMIT);
  ok(r, OP_SETTLE);
  assert_int_equal(r->book->state.cursor.dlq_no, 2);
  assert_int_equal(r->book->state.dead, 2);
  assert_false(r->book->state.letters_wait);
  assert_int_equal(phase(r), PHASE_IDLE);
  rig_free(r);
}

/* Nothing is sent in the same transaction that a failing copy could take with it. */
static void with_events_beside_it_it_waits(void **state) {
  (void)state;
  rig *r = with_a_letter_gone();
  append(r, 2, 1);
  fails(r);
  assert_int_equal(r->tag_count, 1);
  assert_int_equal(r->along_count, 0);
  all_delivered(r);
  commit(r);
  assert_true(r->book->state.letters_wait);
  rig_free(r);
}

static void events_behind_it_take_the_next_transaction(void **state) {
  (void)state;
  rig *r = with_a_letter_gone();
  append(r, 1, 1);
  r->refuse_seq = r->s->last;
  append(r, 2, 3);
  tell_log(r);
  fill(r);
  assert_int_equal(r->along_count, 1);
  assert_int_equal(r->tag_count, 0);
  core_delivered(r->core, r->along[0], 0, 1, &(fault){0});
  commit(r);
  assert_int_equal(r->book->state.cursor.seq, 2);
  assert_int_equal(fill(r), 3);
  rig_free(r);
}

/* With another handle, if need be. */
static void to_fill(rig *r) {
  while (r->act.op != OP_FILL && r->act.op != OP_TOPIC) {
    if (r->act.op == OP_NONE) wake(r);
    else if (r->act.op == OP_CONNECT) ready(r);
    else ok(r, r->act.op);
  }
}

/* The broker refuses the copy: nobody is set aside for that, no topic of events gets a lane, and the letter is
 * settled without it, to be copied in a transaction of its own. */
static void refused_it_harms_nobody(void **state) {
  (void)state;
  const fault whys[] = {too_large(), no_write(), purged()};
  for (size_t i = 0; i < 3; i++) {
    rig *r = with_a_letter_gone();
    fails(r);
    core_delivered(r->core, r->along[0], -1, -1, &whys[i]);
    bad(r, OP_FLUSH, i < 2 ? (fault){0} : whys[i]);
    if (r->act.op == OP_ABORT) ok(r, OP_ABORT);
    to_fill(r);
    fill(r);
    assert_int_equal(r->along_count, 0);
    commit(r);
    core_view v;
    core_view_get(r->core, &v);
    assert_int_equal(v.lane_count, 0);
    assert_int_equal(r->book->state.dead, 2);
    assert_int_equal(r->book->state.cursor.dlq_no, 1);
    assert_true(r->book->state.letters_wait);
    rig_free(r);
  }
}

static void refused_by_the_client_it_goes_without_its_value(void **state) {
  (void)state;
  rig *r = with_a_letter_gone();
  r->refuse_along = too_large();
  r->refuse_along_times = 1;
  fails(r);
  assert_int_equal(r->along_count, 1);
  assert_true(r->slim);
  core_delivered(r->core, r->along[0], 0, 1, &(fault){0});
  commit(r);
  r->refuse_along_times = 2; /* nor does that go */
  fails(r);
  assert_int_equal(r->along_count, 0);
  commit(r);
  assert_int_equal(r->book->state.dead, 3);
  assert_int_equal(r->book->state.cursor.dlq_no, 2);
  assert_true(r->book->state.letters_wait);
  rig_free(r);
}

/* The copy of a letter whose number is known, in a transaction of its own: is it sent without the value? */
static bool own_turn(rig *r, uint64_t number, const fault *why) {
  core_offer_result offered = OFFER_STOP;
  uint64_t tag;
  bool slim = false;
  while (offered == OFFER_STOP) { /* its topic is not looked up yet */
    while (r->act.op != OP_FILL) {
      if (r->act.op == OP_NONE) wake(r);
      else if (r->act.op == OP_CONNECT) ready(r);
      else ok(r, r->act.op);
    }
    assert_true(r->act.letters);
    offered = core_offer_letter(r->core, number, sl_slice_of(r->dlq), r->letter_size, r->now, &slim, &tag);
    if (offered == OFFER_STOP) done_with(r, (core_event){.fill_end = FILL_STOPPED});
  }
  assert_int_equal(offered, OFFER_PRODUCE);
  begun(r);
  done_with(r, (core_event){.fill_end = FILL_END_OF_LOG});
  core_delivered(r->core, tag, why ? -1 : 0, why ? -1 : 7, why ? why : &(fault){0});
  if (!why) {
    commit(r);
    return slim;
  }
  ok(r, OP_FLUSH);
  ok(r, OP_ABORT);
  return slim;
}

static void goes_along(rig *r) {
  assert_int_equal(r->along_count, 1);
  core_delivered(r->core, r->along[0], 0, 1, &(fault){0});
  commit(r);
}

/* Where nobody tells the limit of a dead-letter topic, a large letter that went along had its transaction aborted,
 * and again half a minute later, for ever. */
static void a_limit_of_letters_that_nobody_tells(void **state) {
  (void)state;
  rig *r = with_a_letter_gone();
  const fault why = too_large();
  r->letter_size = 5000;
  fails(r);
  assert_false(r->slim);
  core_delivered(r->core, r->along[0], -1, -1, &why);
  ok(r, OP_FLUSH);
  ok(r, OP_ABORT);
  to_fill(r);
  fill(r);
  assert_int_equal(r->along_count, 0); /* with another handle: its topic is not looked up yet */
  commit(r);
  assert_true(own_turn(r, r->book->state.last_letter, NULL));
  for (int i = 0; i < 50; i++) {
    r->now += 60 * SECOND;
    fails(r);
    assert_true(r->slim);
    goes_along(r);
  }
  r->letter_size = 4000;
  fails(r);
  assert_false(r->slim);
  goes_along(r);
  /* After an hour one goes as it is, where no verdict waits for it: the limit may be another one by now. */
  for (int raised = 0; raised < 2; raised++) {
    r->now += 3601 * SECOND;
    r->letter_size = 6000;
    fails(r);
    assert_int_equal(r->along_count, 0);
    commit(r);
    assert_false(own_turn(r, r->book->state.last_letter, raised ? NULL : &why));
    if (raised) continue;
    assert_true(own_turn(r, r->book->state.last_letter, NULL));
    fails(r);
    assert_true(r->slim);
    goes_along(r);
  }
  fails(r);
  assert_false(r->slim);
  goes_along(r);
  assert_int_equal(r->book->state.cursor.dlq_no, r->book->state.dead);
  rig_free(r);
}

/* What the client refuses says nothing of what the broker would have: the topic's limit is believed as before, so
 * only one record of it costs an abort. */
static void the_clients_refusal_does_not_clear_a_suspect(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->max_bytes = 50; /* every event is larger */
  r->packs = 1;
  r->refuse_why = too_large();
  append(r, 1, 4);
  r->refuse_seq = 1;
  start(r);
  ready(r);
  tell_log(r);
  unsigned aborts = 0;
  while (r->book->state.cursor.seq < 4) {
    to_fill(r);
    if (fill(r) == 0) {
      if (r->act.op == OP_FLUSH) commit(r);
      continue;
    }
    const fault why = too_large();
    delivered(r, 0, &why);
    ok(r, OP_FLUSH);
    ok(r, OP_ABORT);
    aborts++;
  }
  assert_int_equal(aborts, 1);
  assert_int_equal(r->book->state.dead, 4);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(letters_beside_a_backlog_that_makes_more),
      cmocka_unit_test(alone_it_goes_with_its_verdict),
      cmocka_unit_test(with_events_beside_it_it_waits),
      cmocka_unit_test(events_behind_it_take_the_next_transaction),
      cmocka_unit_test(refused_it_harms_nobody),
      cmocka_unit_test(refused_by_the_client_it_goes_without_its_value),
      cmocka_unit_test(a_limit_of_letters_that_nobody_tells),
      cmocka_unit_test(the_clients_refusal_does_not_clear_a_suspect)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
