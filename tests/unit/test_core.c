/* The delivery core, history by history: each test is named after what once went wrong, here or in the prototype
 * (docs/delivery.md tells them). The random histories are in test_core_model.c. */
#include "core_rig.h"

/* --- the rule of doubt --- */

/* Ten events are sent, their intent is written, and the commit is next. */
static rig *committing_within(int64_t timeout_us) {
  rig *r = rig_new(true);
  if (timeout_us > 0) r->config.txn_timeout_us = timeout_us, r->config.doubt_us = 0;
  start(r);
  ready(r);
  append(r, 0, 10);
  tell_log(r);
  assert_int_equal(fill(r), 10);
  all_delivered(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  assert_int_equal(r->act.op, OP_COMMIT);
  return r;
}
static rig *committing(void) { return committing_within(0); }

/* librdkafka sends EndTxn again under the same epoch: the held copy aborted the NEXT transaction, whose commit
 * then returned ok: marker read, 0 of 10 events. */
static void held_end_txn(void **state) {
  (void)state;
  for (int how = 0; how < 4; how++) {
    rig *r = committing();
    if (how == 0) r->now += r->config.doubt_us + 1;
    if (how == 1) give(r, (core_event){.kind = EVENT_ERROR, .transport = true, .why = outage()});
    if (how == 3) give(r, (core_event){.kind = EVENT_RESUMED});
    r->act.op = OP_COMMIT;
    done_with(r, (core_event){.why = how == 2 ? outage() : (fault){0}});
    assert_int_equal(r->act.op, OP_DESTROY);
    assert_int_equal(r->book->state.cursor.seq, 0);
    ok(r, OP_DESTROY);
    wake(r);
    to_marker(r); /* the outcome is read from the marker, before anything is begun */
    reads(r, how % 2 ? r->book->state.intent_bytes : r->book->state.marker_bytes);
    ok(r, how % 2 ? OP_SETTLE : OP_ABANDON);
    assert_int_equal(r->book->state.cursor.seq, how % 2 ? 10 : 0);
    commit(r); /* the claim */
    rig_free(r);
  }
}

/* The client's requests may take a third of a transaction's time where that is long, but every commit of more than
 * five seconds was doubted: a new handle for each, on the very links that it was made long for. */
static void a_slow_commit_over_a_slow_link(void **state) {
  (void)state;
  static const struct { int64_t timeout, socket; } cases[] = {{4, 4}, {15, 10}, {30, 10}, {60, 20}, {240, 80}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int late = 0; late < 2; late++) {
      rig *r = committing_within(cases[i].timeout * SECOND);
      assert_int_equal(core_socket_timeout_us(core_txn_timeout_us(r->core)), cases[i].socket * SECOND);
      r->now += cases[i].socket * SECOND / 2 + late;
      ok(r, OP_COMMIT);
      assert_int_equal(r->act.op, late ? OP_DESTROY : OP_SETTLE);
      rig_free(r);
    }
}

/* Over a link that is cut every few seconds, each cut near a commit cost a new handle and twenty round trips,
 * whichever connection it was that ended. Where the driver has an answer to each EndTxn there is no copy to be
 * afraid of. */
static void another_connection_is_lost_during_a_commit(void **state) {
  (void)state;
  for (int answered = 0; answered < 2; answered++) {
    rig *r = committing();
    give(r, (core_event){.kind = EVENT_ERROR, .transport = true, .why = outage()});
    r->act.op = OP_COMMIT;
    done_with(r, (core_event){.answered = answered});
    assert_int_equal(r->act.op, answered ? OP_SETTLE : OP_DESTROY);
    rig_free(r);
  }
}

static void abort_in_doubt(void **state) {
  (void)state;
  rig *r = rig_new(true);
  start(r);
  ready(r);
  append(r, 0, 2);
  tell_log(r);
  fill(r);
  fault why = too_large();
  delivered(r, 0, NULL);
  delivered(r, 1, &why);
  ok(r, OP_FLUSH);
  assert_int_equal(r->act.op, OP_ABORT);
  r->now += r->config.doubt_us + 1;
  ok(r, OP_ABORT);
  assert_int_equal(r->act.op, OP_DESTROY);
  rig_free(r);
}

/* --- reconciling --- */

/* The prototype took a larger marker on trust: 120 new events of a restored store were never sent. */
static void larger_marker(void **state) {
  (void)state;
  rig *r = rig_new(true);
  sl_buf larger = {0};
  sl_progress p = {.seq = 120, .attempt = 99};
  assert_ok(sl_progress_encode(&p, &larger));
  start(r);
  ready(r);
  start(r);
  to_marker(r);
  reads(r, sl_buf_slice(&larger));
  ok(r, OP_DESTROY);
  assert_int_equal(parked(r), PARK_MARKER_AHEAD);
  assert_int_equal(core_wake_at(r->core), 0);
  start(r); /* even of a store that knows no marker */
  to_marker(r);
  reads(r, (sl_slice){0});
  ok(r, OP_DESTROY);
  assert_int_equal(parked(r), PARK_MARKER_MISSING);
  sl_buf_free(&larger);
  rig_free(r);
}

/* Of a progress topic created again with fewer partitions the agent said that the cluster refused it: see to
 * credentials and ACLs. It tried for ever, and nobody was sent to --adopt. */
static void progress_topic_created_again(void **state) {
  (void)state;
  static const char *const names[] = {"OFFSET_OUT_OF_RANGE", "_UNKNOWN_PARTITION", "MARKER_LOST"};
  for (size_t how = 0; how < sizeof names / sizeof *names; how++) {
    rig *r = rig_new(true);
    start(r);
    ready(r);
    start(r);
    to_marker(r);
    bad(r, OP_READ_MARKER, sim_fault_of(SCOPE_CLUSTER, CLASS_NON_RETRYABLE_POLICY, names[how]));
    ok(r, OP_DESTROY);
    assert_int_equal(parked(r), PARK_MARKER_MISSING);
    rig_free(r);
  }
}

/* A broker that was cut off and has not heard that it leads no more may end before the marker, or know only an
 * older one. The agent parked, and waited for a person long after the cluster was whole again. */
static void leader_that_was_behind(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    rig *r = rig_new(true);
    start(r);
    ready(r);
    sl_buf older = {0};
    sl_buf_append(&older, r->book->state.marker_bytes.data, r->book->state.marker_bytes.len);
    start(r);
    claim(r);
    start(r);
    to_marker(r);
    if (how == 0)
      bad(r, OP_READ_MARKER, sim_fault_of(SCOPE_CLUSTER, CLASS_NON_RETRYABLE_POLICY, "OFFSET_OUT_OF_RANGE"));
    else reads(r, how == 1 ? (sl_slice){0} : sl_buf_slice(&older));
    ok(r, OP_DESTROY);
    assert_int_equal(parked(r), how == 2 ? PARK_MARKER_AHEAD : PARK_MARKER_MISSING);
    assert_int_equal(core_wake_at(r->core), r->now + r->config.probe_us);
    /* it fences nobody meanwhile: a copy of this store may be delivering */
    for (int looks = 0; looks < 3; looks++) {
      wake(r);
      ok(r, OP_CONNECT);
      ok(r, OP_MARKER_TOPIC);
      if (looks == 0) reads(r, how == 2 ? sl_buf_slice(&older) : (sl_slice){0});
      else if (looks == 1) bad(r, OP_READ_MARKER, outage());
      else reads(r, r->book->state.marker_bytes);
      if (looks < 2) ok(r, OP_DESTROY);
      if (looks == 0) assert_int_equal(parked(r), how == 2 ? PARK_MARKER_AHEAD : PARK_MARKER_MISSING);
    }
    ok(r, OP_INIT_TXN);
    reads(r, r->book->state.marker_bytes); /* it is there again: nobody had to decide anything */
    commit(r);
    assert_int_equal(phase(r), PHASE_IDLE);
    sl_buf_free(&older);
    rig_free(r);
  }
}

static void is_fenced(rig *r) {
  fault why = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "PRODUCER_FENCED");
  why.fenced = why.fatal = true;
  give(r, (core_event){.kind = EVENT_ERROR, .why = why});
  ok(r, OP_DESTROY);
}

/* Two stores with one `transactions.id` fenced each other for ever, and nobody was told. */
static void stores_that_share_an_id(void **state) {
  (void)state;
  rig *r = rig_new(true);
  start(r);
  int times = 0;
  while (parked(r) == PARK_NONE && times < 100) {
    times++;
    claim(r); /* each time its own marker is there */
    is_fenced(r);
    if (parked(r) == PARK_NONE) wake(r);
  }
  assert_int_equal(parked(r), PARK_SHARED_ID);
  assert_int_equal(core_wake_at(r->core), r->now + 3600 * SECOND); /* each look fences the other one */
  wake(r); /* which has gone */
  claim(r);
  assert_int_equal(phase(r), PHASE_IDLE);
  /* a copy of this store, started a few times, fences some ten times (tests/kafka/test_odd.py) */
  assert_in_range(times, 30, 50);
  /* Now and then it is nothing: a copy of this store whose agent is started every five minutes, and parks each
   * time. */
  start(r);
  for (int i = 0; i < 20; i++) {
    claim(r);
    r->now += 300 * SECOND;
    is_fenced(r);
    assert_int_equal(parked(r), PARK_NONE);
    wake(r);
  }
  /* Nor is it where a transaction took too long: the coordinator does that. */
  start(r);
  for (int i = 0; i < 20; i++) {
    claim(r);
    append(r, 0, 1);
    tell_log(r);
    assert_int_equal(fill(r), i + 1); /* nothing was committed */
    begun(r);
    r->now += 20 * SECOND;
    fault why = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "PRODUCER_FENCED");
    why.fenced = why.fatal = true;
    bad(r, OP_FLUSH, why);
    ok(r, OP_DESTROY);
    assert_int_equal(parked(r), PARK_NONE);
    wake(r);
  }
  rig_free(r);
}

/* Two copies of a store claim with the same attempt number and the same seq: only the incarnation differs. */
static void claim_of_a_copy(void **state) {
  (void)state;
  rig *r = rig_new(true), *copy = rig_new(true);
  copy->config.incarnation[0] = 2;
  start(r);
  start(copy);
  to_marker(r);
  to_marker(copy);
  reads(r, (sl_slice){0});
  reads(copy, (sl_slice){0});
  begun(r);
  begun(copy);
  ok(r, OP_FLUSH);
  ok(copy, OP_FLUSH);
  ok(r, OP_INTENT);
  ok(copy, OP_INTENT);
  ok(copy, OP_COMMIT);
  bad(r, OP_COMMIT, sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "PRODUCER_FENCED"));
  ok(r, OP_DESTROY);
  wake(r);
  to_marker(r);
  reads(r, copy->book->state.intent_bytes);
  ok(r, OP_DESTROY);
  assert_int_equal(parked(r), PARK_MARKER_AHEAD);
  rig_free(r);
  rig_free(copy);
}

static void foreign_cluster(void **state) {
  (void)state;
  rig *r = rig_new(true);
  start(r);
  ready(r);
  r->book->state.cluster_id = sl_slice_of("cluster-0");
  start(r);
  ok(r, OP_CONNECT);
  ok(r, OP_DESTROY);
  assert_int_equal(parked(r), PARK_FOREIGN_CLUSTER);
  rig_free(r);
}

/* A switch to at-least-once while a commit was in doubt: it could neither begin nor say why. */
static void intent_left_to_at_least_once(void **state) {
  (void)state;
  /* The broker's partition ends before the intent's marker, and may do so for ever; or has something else in its
   * place. */
  enum { NOT_COMMITTED, COMMITTED, BEHIND, LOST };
  for (int outcome = 0; outcome <= LOST; outcome++) {
    const int committed = outcome == COMMITTED;
    rig *r = rig_new(true);
    start(r);
    ready(r);
    append(r, 0, 3);
    tell_log(r);
    fill(r);
    all_delivered(r);
    ok(r, OP_FLUSH);
    ok(r, OP_INTENT);
    r->config.exactly_once = false;
    start(r);
    ok(r, OP_CONNECT);
    assert_int_equal(r->act.op, OP_READ_MARKER);
    if (outcome == BEHIND)
      bad(r, OP_READ_MARKER, sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT, "MARKER_BEHIND"));
    else if (outcome == LOST)
      bad(r, OP_READ_MARKER, sim_fault_of(SCOPE_CLUSTER, CLASS_NON_RETRYABLE_POLICY, "MARKER_LOST"));
    else reads(r, committed ? r->book->state.intent_bytes : r->book->state.marker_bytes);
    ok(r, committed ? OP_SETTLE : OP_ABANDON);
    assert_int_equal(r->book->state.cursor.seq, committed ? 3 : 0);
    rig_free(r);
  }
}

/* --- outages, slow links, full disks --- */

static void outage_of_days(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 5);
  start(r);
  tell_log(r);
  int64_t begin = r->now;
  unsigned tries = 0;
  while (r->now - begin < 3 * 86400 * SECOND) {
    r->now += SECOND / 10;
    bad(r, OP_CONNECT, outage());
    assert_true(core_wake_at(r->core) - r->now <= 2 * SECOND); /* back within 2 s of the broker's return */
    wake(r);
    tries++;
  }
  assert_true(tries < 3 * 86400 * 2);
  claim(r);
  fill(r);
  all_delivered(r);
  commit(r);
  assert_int_equal(r->book->state.delivered, 5);
  assert_int_equal(r->book->state.dead, 0);
  rig_free(r);
}

/* --- records and topics --- */

/* One oversize record failed 513 innocents of its batch, under its own error. */
static void oversize_record_in_a_batch(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 600);
  r->s->log[412].poison = POISON_BROKER;
  start(r);
  ready(r);
  tell_log(r);
  unsigned aborts = 0;
  while (r->book->state.cursor.seq < 600) {
    size_t n = fill(r);
    uint64_t first = r->book->state.cursor.seq + 1;
    bool in = first <= 413 && first + n > 413 && n > 0;
    fault why = too_large();
    for (size_t i = 0; i < n; i++) delivered(r, i, in ? &why : NULL);
    if (!in) {
      commit(r);
      continue;
    }
    ok(r, OP_FLUSH);
    ok(r, OP_ABORT);
    /* Its partition's sequence has a gap now: the next transaction's records were purged, or kept for 15 s. */
    ok(r, OP_DESTROY);
    int64_t before = r->now;
    wake(r);
    assert_int_equal(r->now, before);
    claim(r);
    assert_true(++aborts < 60);
  }
  assert_int_equal(r->book->state.dead, 1);
  assert_int_equal(r->book->verdicts[413].verdict, SL_VERDICT_DEAD);
  rig_free(r);
}

/* What is known to be too large goes alone: no innocent fails with it. */
static void oversize_record_known_before(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 9);
  r->s->log[4].size = 5000;
  start(r);
  ready(r);
  tell_log(r);
  r->max_bytes = 2000;
  assert_int_equal(fill(r), 0);
  ok(r, OP_DESTROY); /* batches must fit the topic: a new handle */
  assert_int_equal(core_batch_bytes(r->core), 2000);
  wake(r);
  claim(r);
  assert_int_equal(fill(r), 4);
  all_delivered(r);
  commit(r);
  assert_int_equal(fill(r), 1);
  rig_free(r);
}

/* A topic with Describe but no Write says _PURGE for every record, and the abort is fatal. */
static void mute_topic(void **state) {
  (void)state;
  rig *r = rig_new(true);
  for (int i = 0; i < 40; i++) append(r, (uint8_t)(i % 3), 1);
  start(r);
  ready(r);
  tell_log(r);
  unsigned failures = 0;
  while (r->book->state.cursor.seq < 40) {
    size_t n = fill(r);
    bool mute = false;
    for (size_t i = 0; i < n; i++)
      mute = mute || core_attempt(r->core)->verdicts[r->tags[i] & UINT32_MAX].seq % 3 == 2;
    fault why = purged();
    for (size_t i = 0; i < n; i++) delivered(r, i, mute ? &why : NULL);
    if (!mute) {
      commit(r);
      continue;
    }
    assert_true(++failures < 30);
    ok(r, OP_FLUSH);
    ok(r, OP_DESTROY);
    wake(r);
    claim(r);
  }
  assert_int_equal(r->book->state.cursor.lane_count, 1);
  assert_slice(r->book->state.cursor.lanes[0].topic, "topic-1");
  assert_int_equal(r->book->state.delivered, 27);
  rig_free(r);
}

/* The marker's own refusal was blamed on an event (a dead letter) or on its topic (a lane). */
static void marker_refused(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) {
    rig *r = rig_new(true);
    append(r, 0, 1);
    start(r);
    ready(r);
    tell_log(r);
    fill(r);
    all_delivered(r);
    bad(r, OP_FLUSH, kind ? too_large() : no_write());
    ok(r, OP_DESTROY);
    assert_int_equal(parked(r), PARK_REFUSED);
    wake(r); /* probes by itself */
    claim(r);
    assert_int_equal(fill(r), 1);
    all_delivered(r);
    commit(r);
    assert_int_equal(r->book->state.delivered, 1);
    rig_free(r);
  }
}

/* A lane was given one transaction per probe: 30 s each. */
static void lane_drains_at_once(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_max_events = 10;
  append(r, 1, 200);
  start(r);
  ready(r);
  tell_log(r);
  r->sick = "topic-1";
  while (r->book->state.cursor.seq < 200) {
    assert_int_equal(fill(r), 0);
    commit(r);
  }
  assert_int_equal(r->book->state.cursor.lane_count, 1);
  r->sick = NULL;
  int64_t begin = r->now + 31 * SECOND;
  while (r->book->state.cursor.lane_count) {
    if (r->act.op == OP_NONE) wake(r);
    assert_true(r->now < begin);
    if (fill(r)) all_delivered(r);
    commit(r);
  }
  assert_int_equal(r->book->state.delivered, 200);
  rig_free(r);
}

/* A transaction whose only record was refused stayed open, and the next begin failed. */
static void refused_in_its_lane(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 1, 2);
  start(r);
  ready(r);
  tell_log(r);
  r->sick = "topic-1";
  fill(r);
  commit(r);
  r->sick = NULL; /* it can be described, but not written */
  wake(r);
  ok(r, OP_TOPIC);
  uint64_t tag;
  const core_record first = {.seq = 1, .topic = SL_STR("topic-1"), .size = 100};
  assert_int_equal(core_offer(r->core, &first, r->now, &tag), OFFER_PRODUCE);
  begun(r);
  fault why = no_write();
  assert_false(core_refused(r->core, tag, &why, r->now));
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  ok(r, OP_ABORT);
  assert_int_equal(phase(r), PHASE_IDLE);
  rig_free(r);
}

/* A tombstone has its verdict and its letter without a look at its topic, and nothing is produced for it. */
static void what_a_full_store_dropped_is_not_sent(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(r->act.op, OP_FILL);
  assert_int_equal(core_offer_dropped(r->core, 1, SL_STR("topic-0"), SL_STR("DROPPED_STORE_FULL"), SL_STR("why"),
                                      7),
                   OFFER_SETTLED);
  done_with(r, (core_event){.fill_end = FILL_END_OF_LOG});
  assert_int_equal(r->act.op, OP_FLUSH);
  const delivery_attempt *a = core_attempt(r->core);
  assert_int_equal(a->count, 1);
  assert_int_equal(a->progress.seq, 1);
  assert_int_equal(a->verdicts[0].verdict, SL_VERDICT_DROPPED);
  assert_slice(a->verdicts[0].letter->error_class, "DROPPED_STORE_FULL");
  assert_slice(a->verdicts[0].letter->error_text, "why");
  assert_int_equal(a->verdicts[0].letter->first_failure_us, 7);
  rig_free(r);
}

static void event_larger_than_the_queue(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1);
  start(r);
  ready(r);
  tell_log(r);
  uint64_t tag;
  const core_record large = {.seq = 1, .topic = SL_STR("topic-0"), .size = 9000000};
  while (r->act.op != OP_FILL || core_offer(r->core, &large, r->now, &tag) != OFFER_PRODUCE) {
    if (r->act.op == OP_FILL) done_with(r, (core_event){.fill_end = FILL_STOPPED});
    else ok(r, OP_TOPIC);
  }
  begun(r);
  assert_false(core_queue_full(r->core, 9000000));
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  if (r->act.op == OP_ABORT) ok(r, OP_ABORT);
  ok(r, OP_DESTROY); /* that ends the open transaction too */
  assert_true(core_queue_bytes(r->core, 1 << 20) > 9000000);
  rig_free(r);
}

/* --- at least once --- */

/* Without gapless delivery later records passed a failed one: only what is in order before it is noted. */
static void prefix_only(void **state) {
  (void)state;
  rig *r = rig_new(false);
  append(r, 0, 10);
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 10);
  fault why = outage();
  for (size_t i = 0; i < 10; i++) delivered(r, i, i == 4 ? &why : NULL);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  assert_int_equal(r->book->state.cursor.seq, 4);
  ok(r, OP_DESTROY);
  wake(r);
  ok(r, OP_CONNECT);
  assert_int_equal(fill(r), 6);
  rig_free(r);
}

/* What was sent behind an event that the client refused stays sent: were it not in the book, a kill and a larger
 * message.max.bytes would bring the refused one behind it. */
static void nothing_passes_what_is_not_noted(void **state) {
  (void)state;
  rig *r = rig_new(false);
  append(r, 0, 10);
  r->refuse_seq = 4;
  r->refuse_why = too_large();
  start(r);
  ready(r);
  tell_log(r);
  assert_int_equal(fill(r), 3);
  all_delivered(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  assert_int_equal(r->book->state.cursor.seq, 4);
  assert_int_equal(r->book->state.dead, 1);
  assert_int_equal(fill(r), 6);
  rig_free(r);
}

/* --- reports --- */

/* A report names the reason beside the topic that waits. */
static void lane_tells_why(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 1, 2);
  start(r);
  ready(r);
  tell_log(r);
  assert_null(core_lane_of(r->core, sl_slice_of("topic-1")).why);
  r->sick = "topic-1";
  fill(r);
  commit(r);
  assert_string_equal(core_lane_of(r->core, sl_slice_of("topic-1")).why->name, no_write().name);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(held_end_txn), cmocka_unit_test(a_slow_commit_over_a_slow_link),
      cmocka_unit_test(another_connection_is_lost_during_a_commit),
      cmocka_unit_test(abort_in_doubt), cmocka_unit_test(larger_marker), cmocka_unit_test(leader_that_was_behind),
      cmocka_unit_test(stores_that_share_an_id),
      cmocka_unit_test(progress_topic_created_again),
      cmocka_unit_test(claim_of_a_copy), cmocka_unit_test(foreign_cluster),
      cmocka_unit_test(intent_left_to_at_least_once), cmocka_unit_test(outage_of_days),
      cmocka_unit_test(oversize_record_in_a_batch), cmocka_unit_test(oversize_record_known_before),
      cmocka_unit_test(mute_topic), cmocka_unit_test(marker_refused), cmocka_unit_test(lane_drains_at_once),
      cmocka_unit_test(refused_in_its_lane), cmocka_unit_test(event_larger_than_the_queue),
      cmocka_unit_test(what_a_full_store_dropped_is_not_sent),
      cmocka_unit_test(prefix_only),
      cmocka_unit_test(nothing_passes_what_is_not_noted), cmocka_unit_test(lane_tells_why)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
