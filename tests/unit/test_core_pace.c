/* Delivery core: how large a transaction is, and how long it may take, on links that are slow or far. */
#include "core_rig.h"

/* Over 128 kB/s, 3,000 events of 1 KB never arrived: each transaction was too much for its timeout. */
static void slow_link(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1000);
  start(r);
  tell_log(r);
  unsigned failed = 0;
  for (unsigned round = 0; r->book->state.cursor.seq < r->s->last && round < 4000; round++) {
    if (r->act.op == OP_NONE) wake(r);
    if (r->act.op == OP_DESTROY) {
      ok(r, OP_DESTROY);
      continue;
    }
    if (r->act.op == OP_CONNECT) claim(r);
    if (r->act.op == OP_NONE) continue;
    size_t n = fill_sized(r, 8000);
    int64_t us = (int64_t)n * 8000 * SECOND / 2000; /* 2 kB/s: not one such event in 3 s */
    if (us > core_txn_timeout_us(r->core)) {
      r->now += core_txn_timeout_us(r->core);
      fault why = sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT, "_TIMED_OUT");
      bad(r, OP_FLUSH, why);
      failed++;
    } else {
      r->now += us;
      all_delivered(r);
      commit(r);
    }
  }
  assert_int_equal(r->book->state.delivered, 1000);
  assert_int_equal(r->book->state.dead, 0);
  assert_true(failed < 40);
  rig_free(r);
}

/* However large the backlog, few transactions lead to the size that the link carries; a slow one does not grow. */
static void size_grows_with_the_pace(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 4000);
  start(r);
  ready(r);
  const int64_t timeout = core_txn_timeout_us(r->core);
  const struct { int64_t took; uint64_t times_16; } steps[] = {
      {timeout / 12 + 10000, 63}, {timeout / 12, 64}, {timeout / 3, 32}, {timeout / 2, 16}, {timeout * 3 / 4, 8}};
  tell_log(r);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    core_view before, after;
    core_view_get(r->core, &before);
    fill_sized(r, 8000);
    r->now += steps[i].took;
    all_delivered(r);
    commit(r);
    core_view_get(r->core, &after);
    assert_int_equal(after.txn_bytes, before.txn_bytes * steps[i].times_16 / 16);
  }
  rig_free(r);
}

/* A link with round trips of 2 s: five of them in a transaction, three in a claim. Under a timeout of 15 s
 * transactions stayed at what they began with, or shrank, since none ended within a third of it. */
static void round_trips_that_take_seconds(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_timeout_us = 15 * SECOND;
  append(r, 0, 4000);
  start(r);
  tell_log(r);
  int64_t begun = 0;
  size_t connected = 0;
  while (r->book->state.delivered < 4000) {
    if (r->act.op == OP_DESTROY) {
      ok(r, OP_DESTROY);
      wake(r);
    }
    if (r->act.op == OP_CONNECT) {
      to_marker(r);
      reads(r, r->book->state.marker_bytes);
      r->now += (connected++ ? 30 : 0) * SECOND;
      r->now += 6 * SECOND;
      commit(r);
      if (begun == 0) begun = r->now;
    }
    const size_t n = fill_sized(r, 8000);
    r->now += 10 * SECOND + (int64_t)n * 8000 * SECOND / 128000;
    assert_true(10 * SECOND + (int64_t)n * 8000 * SECOND / 128000 < core_txn_timeout_us(r->core)); /* or the broker ends it */
    all_delivered(r);
    commit(r);
  }
  const int64_t carried = 4000 * (int64_t)8000 * SECOND / (r->now - begun);
  assert_true(carried > 128000 * 2 / 3); /* with what it takes to learn it and to connect anew */
  assert_true(connected <= 2);
  rig_free(r);
}

/* The same where the cluster takes no longer transactions: they stay small, but do not shrink to nothing. */
static void round_trips_where_none_may_take_longer(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_timeout_us = 15 * SECOND;
  append(r, 0, 1000);
  start(r);
  tell_log(r);
  int refused = 0;
  for (int i = 0; i < 100 && r->book->state.delivered < 1000; i++) {
    if (r->act.op == OP_DESTROY) {
      ok(r, OP_DESTROY);
      wake(r);
    }
    if (r->act.op == OP_CONNECT) {
      ok(r, OP_CONNECT);
      ok(r, OP_MARKER_TOPIC);
      if (core_txn_timeout_us(r->core) > 15 * SECOND) {
        fault why = {.scope = SCOPE_AGENT, .class_ = CLASS_NON_RETRYABLE_VALIDATION, .name = "INVALID_TRANSACTION_TIMEOUT"};
        bad(r, OP_INIT_TXN, why);
        refused++;
        continue;
      }
      ok(r, OP_INIT_TXN);
      reads(r, r->book->state.marker_bytes);
      r->now += 6 * SECOND;
      commit(r);
    }
    fill_sized(r, 8000);
    r->now += 12 * SECOND;
    all_delivered(r);
    commit(r);
  }
  assert_int_equal(refused, 1);
  assert_int_equal(r->book->state.delivered, 1000); /* of 256 KiB each: 32 transactions */
  rig_free(r);
}

/* It goes on with the longest that the cluster takes, and does not ask for more again: each refusal was a handle
 * in vain. */
static void a_cluster_that_takes_no_longer_timeout(void **state) {
  (void)state;
  for (int64_t most = 15; most <= 45; most += 30) {
    rig *r = rig_new(true);
    append(r, 0, 1);
    start(r);
    tell_log(r);
    int refused = 0;
    for (int i = 0; i < 20; i++) {
      if (core_txn_timeout_us(r->core) > most * SECOND) {
        ok(r, OP_CONNECT);
        ok(r, OP_MARKER_TOPIC);
        const fault why = {.scope = SCOPE_AGENT, .class_ = CLASS_NON_RETRYABLE_VALIDATION, .name = "INVALID_TRANSACTION_TIMEOUT"};
        bad(r, OP_INIT_TXN, why);
        refused++;
      } else {
        claim(r);
        assert_int_equal(fill(r), 1);
        r->now += core_txn_timeout_us(r->core);
        bad(r, OP_FLUSH, outage());
      }
      ok(r, OP_DESTROY);
      wake(r);
    }
    assert_int_equal(refused, 1);
    assert_int_equal(core_txn_timeout_us(r->core), (most == 15 ? 15 : 30) * SECOND);
    rig_free(r);
  }
}

static void single_event_that_cannot_cross_in_time(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 1);
  start(r);
  tell_log(r);
  for (int i = 0; i < 20 && core_txn_timeout_us(r->core) < 60 * SECOND; i++) {
    claim(r);
    assert_int_equal(fill(r), 1);
    r->now += core_txn_timeout_us(r->core);
    bad(r, OP_FLUSH, outage());
    ok(r, OP_DESTROY);
    wake(r);
  }
  assert_true(core_txn_timeout_us(r->core) >= 60 * SECOND); /* a longer time, never a dead letter */
  rig_free(r);
}

/* Five round trips are a third of what a transaction may take: the handle that says how long that is is made anew
 * before anything is begun with it, and the first transaction holds as much more as it may take longer. */
static void far_away_is_seen_while_connecting(void **state) {
  (void)state;
  const struct { int64_t round_trip, max; bool longer; } cases[] = {
      {2 * SECOND, 240 * SECOND, true}, {SECOND, 240 * SECOND, true}, {SECOND - 1, 240 * SECOND, false}, {0, 240 * SECOND, false},
      {2 * SECOND, 30 * SECOND, true}, {2 * SECOND, 15 * SECOND, false}, {2 * SECOND, SECOND, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig *r = rig_new(true);
    r->config.txn_timeout_max_us = cases[i].max;
    core_view before, after;
    start(r);
    core_view_get(r->core, &before);
    done_with(r, (core_event){.round_trip_us = cases[i].round_trip});
    core_view_get(r->core, &after);
    const int64_t times = core_txn_timeout_us(r->core) / (15 * SECOND);
    assert_int_equal(after.txn_bytes, before.txn_bytes * (uint64_t)times);
    if (cases[i].longer) {
      assert_true(times >= 2);
      assert_int_equal(r->act.op, OP_DESTROY);
      ok(r, OP_DESTROY);
      wake(r);
      done_with(r, (core_event){.round_trip_us = cases[i].round_trip}); /* and that was it */
    }
    assert_true(core_txn_timeout_us(r->core) <= (cases[i].max > 15 * SECOND ? cases[i].max : 15 * SECOND));
    assert_int_equal(r->act.op, OP_MARKER_TOPIC);
    rig_free(r);
  }
}

/* What was learned in an office holds too much for the satellite that the host speaks over now; what was learned
 * there is gone on with. */
static void size_learned_on_another_link(void **state) {
  (void)state;
  for (int there = 0; there < 2; there++) {
    rig *r = rig_new(true);
    r->config.txn_max_bytes = 256 << 20;
    r->config.txn_start_bytes = 200 << 20;
    if (there) r->config.txn_start_timeout_us = 200 * SECOND;
    start(r);
    done_with(r, (core_event){.round_trip_us = 2 * SECOND});
    core_view view;
    core_view_get(r->core, &view);
    assert_int_equal(r->act.op, there ? OP_MARKER_TOPIC : OP_DESTROY);
    assert_int_equal(core_txn_timeout_us(r->core), 200 * SECOND);
    if (there) assert_int_equal(view.txn_bytes, 200 << 20);
    else assert_true(view.txn_bytes <= 4 << 20); /* three minutes at 24 kB/s */
    rig_free(r);
  }
}

static void cut(rig *r) { /* each of the agent's connections tells it */
  for (int each = 0; each < 2; each++) {
    const core_action under_way = r->act;
    give(r, (core_event){.kind = EVENT_ERROR, .transport = true, .why = outage()});
    r->act = under_way;
  }
}

static void connect_over(rig *r, int64_t round_trip_us) { /* claimed, and what waits is asked for */
  done_with(r, (core_event){.cluster_id = "cluster-1", .round_trip_us = round_trip_us});
  ok(r, OP_MARKER_TOPIC);
  ok(r, OP_INIT_TXN);
  reads(r, r->book->state.marker_bytes);
  commit(r);
}

static core_view view_of(const rig *r) {
  core_view view;
  core_view_get(r->core, &view);
  return view;
}

/* 128 kB/s, cut every 3.5 s: so little under way that little is lost with each cut, transactions so long that few
 * commits are cut; and as before once that is over. */
static void a_link_that_breaks(void **state) {
  (void)state;
  const struct { double rate; int64_t gap; bool breaks; } cases[] = {
      {128e3, SECOND * 7 / 2, true}, {128e3, 90 * SECOND, false}, {50e6, SECOND * 7 / 2, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig *r = rig_new(true);
    append(r, 0, 2000);
    start(r);
    ready(r);
    tell_log(r);
    int64_t next = r->now + cases[i].gap;
    for (int n = 0; n < 6 && r->act.op != OP_DESTROY; n++) {
      const size_t sent = fill_sized(r, 50000);
      const int64_t end = r->now + (int64_t)((double)sent * 50000 / cases[i].rate * 1e6) + SECOND / 10;
      for (; next < end; next += cases[i].gap) {
        r->now = next;
        cut(r);
      }
      r->now = end;
      all_delivered(r);
      commit(r);
    }
    assert_int_equal(r->act.op == OP_DESTROY, cases[i].breaks);
    if (!cases[i].breaks) {
      assert_int_equal(view_of(r).link_room, 0);
      assert_int_equal(core_txn_timeout_us(r->core), 15 * SECOND);
    } else {
      assert_in_range(view_of(r).link_room, 48 << 10, 192 << 10);
      assert_int_equal(core_txn_timeout_us(r->core), 60 * SECOND);
      ok(r, OP_DESTROY);
      wake(r);
      done_with(r, (core_event){.cluster_id = "cluster-1", .round_trip_us = SECOND / 5}); /* does not make it short again */
      assert_int_equal(r->act.op, OP_MARKER_TOPIC);
      assert_int_equal(core_txn_timeout_us(r->core), 60 * SECOND);
      r->now += 3600 * SECOND;
      give(r, (core_event){.kind = EVENT_LOGIN}); /* a new handle, an hour later */
      r->act.op = OP_MARKER_TOPIC;
      ok(r, OP_MARKER_TOPIC);
      ok(r, OP_DESTROY);
      wake(r);
      assert_int_equal(view_of(r).link_room, 0);
    }
    rig_free(r);
  }
}

static void look_up(rig *r) {
  uint64_t tag;
  const core_record record = {.seq = r->act.from, .topic = SL_STR("topic-0"), .size = 100, .appended_us = r->now};
  (void)core_offer(r->core, &record, r->now, &tag);
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  ok(r, OP_TOPIC);
}

/* How many of the offered fit before the core wants to see deliveries. */
static size_t fits(rig *r, uint32_t size) {
  uint64_t tag, seq = r->act.from;
  for (; seq <= r->act.to && !core_waits(r->core); seq++) {
    const core_record record = {.seq = seq, .topic = SL_STR("topic-0"), .size = size, .appended_us = r->now};
    if (core_offer(r->core, &record, r->now, &tag) != OFFER_PRODUCE) break;
    begun(r);
    r->tags[seq - r->act.from] = tag;
  }
  return r->tag_count = (size_t)(seq - r->act.from);
}

/* Far away the first cut teaches: at once less is under way, of the very transaction that it met, and no handle is
 * made for that. The longer timeout comes with the new handle that the commit in doubt takes anyway. */
static void the_first_cut_of_a_far_link(void **state) {
  (void)state;
  rig *r = rig_new(true);
  append(r, 0, 2000);
  start(r);
  connect_over(r, SECOND / 5);
  tell_log(r);
  look_up(r);
  const size_t first = fits(r, 1300);
  assert_int_equal(first, 201); /* a quarter of a megabyte: nobody waits */
  r->now += 3 * SECOND;
  cut(r);
  assert_in_range(view_of(r).link_room, 48 << 10, 192 << 10);
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  all_delivered(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  bad(r, OP_COMMIT, sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "END_TXN_RESENT"));
  ok(r, OP_DESTROY);
  wake(r);
  assert_int_equal(core_txn_timeout_us(r->core), 60 * SECOND);
  done_with(r, (core_event){.cluster_id = "cluster-1", .round_trip_us = SECOND / 5});
  ok(r, OP_MARKER_TOPIC);
  ok(r, OP_INIT_TXN);
  reads(r, sl_buf_slice(&r->book->intent)); /* it was committed */
  ok(r, OP_SETTLE);
  commit(r); /* the claim */
  look_up(r);
  assert_true(view_of(r).txn_bytes > 512 << 10);
  const size_t some = fits(r, 1300);
  assert_true(core_waits(r->core));
  assert_in_range(some * 1300, 48 << 10, 192 << 10);
  delivered(r, 0, NULL);
  assert_int_equal(core_waits(r->core), some * 1300 - 1300 >= view_of(r).link_room); /* one has made room for one */
  rig_free(r);
}

static void knows_a_link_that_breaks(rig *r) { /* from the run before */
  r->config.link_gap_us = SECOND * 7 / 2;
  r->config.link_bytes_per_s = 100000;
  r->config.txn_start_timeout_us = 60 * SECOND;
}

/* The next run knows it from its first record on, for as long as the link goes on breaking. */
static void what_a_run_learned_of_a_link_that_breaks(void **state) {
  (void)state;
  rig *r = rig_new(true);
  knows_a_link_that_breaks(r);
  append(r, 0, 2000);
  start(r);
  connect_over(r, SECOND / 5); /* the longer timeout is not taken for that of a satellite left behind */
  assert_int_equal(core_txn_timeout_us(r->core), 60 * SECOND);
  tell_log(r);
  look_up(r);
  assert_true(fits(r, 1300) < 201);
  assert_true(core_waits(r->core));
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  all_delivered(r);
  r->now += 3600 * SECOND; /* no cut in an hour */
  commit(r);
  assert_int_equal(view_of(r).link_room, 0);
  assert_int_equal(view_of(r).link_gap_us, 0);
  rig_free(r);
}

/* The link is a tenth as fast by now. Each record is acknowledged soon after it was sent, so none was ever late;
 * but the transaction was, the coordinator aborted it, and as large a one was tried again, for ever. */
static void what_waits_for_room_ends_in_time(void **state) {
  (void)state;
  rig *r = rig_new(true);
  knows_a_link_that_breaks(r);
  r->config.txn_start_bytes = 1 << 22;
  append(r, 0, 2000);
  start(r);
  connect_over(r, SECOND / 5);
  tell_log(r);
  look_up(r);
  const int64_t begun_us = r->now;
  size_t told = 0;
  uint64_t seq = r->act.from;
  for (r->tag_count = 0;; r->tag_count++) {
    for (; core_waits(r->core); r->now += 1300 * SECOND / 10000) delivered(r, told++, NULL);
    const core_record record = {.seq = seq++, .topic = SL_STR("topic-0"), .size = 1300, .appended_us = r->now};
    if (core_offer(r->core, &record, r->now, &r->tags[r->tag_count]) != OFFER_PRODUCE) break;
    begun(r);
  }
  assert_in_range(r->now - begun_us, 35 * SECOND, 45 * SECOND);
  done_with(r, (core_event){.fill_end = FILL_STOPPED});
  for (; told < r->tag_count; r->now += 1300 * SECOND / 10000) delivered(r, told++, NULL);
  assert_true(r->now - begun_us < 60 * SECOND);
  commit(r);
  assert_true(view_of(r).txn_bytes <= 1 << 21);
  rig_free(r);
}

/* What was under way at once took longer than a transaction may: the coordinator ended it, as who was fenced. */
static void what_the_coordinator_ended_for_its_time_is_smaller(void **state) {
  (void)state;
  const fault fenced = {.scope = SCOPE_PRODUCER, .class_ = CLASS_RETRYABLE_TRANSIENT, .name = "_FENCED", .fatal = true,
                        .fenced = true};
  for (int when = 0; when < 3; when++) {
    rig *r = rig_new(true);
    r->config.txn_start_bytes = 1 << 20;
    append(r, 0, 2000);
    start(r);
    ready(r);
    tell_log(r);
    fill_sized(r, 1000);
    r->now += when ? 20 * SECOND : SECOND;
    if (when < 2) {
      give(r, (core_event){.kind = EVENT_ERROR, .why = fenced});
      r->act.op = OP_FLUSH;
      delivered(r, 0, &fenced);
      bad(r, OP_FLUSH, fenced);
    } else {
      all_delivered(r);
      ok(r, OP_FLUSH);
      ok(r, OP_INTENT);
      bad(r, OP_COMMIT, fenced);
    }
    assert_int_equal(r->act.op, OP_DESTROY);
    if (when) assert_true(view_of(r).txn_bytes <= 1 << 18);
    else assert_int_equal(view_of(r).txn_bytes, 1 << 20); /* by another agent */
    rig_free(r);
  }
}

/* Three cuts, and then never again: with batches as before, the cuts of long ago asked for small ones once more,
 * and these were forgotten with the new handle, so each transaction had one of its own. */
static void a_link_that_broke_long_ago(void **state) {
  (void)state;
  for (int exactly_once = 0; exactly_once < 2; exactly_once++) {
    rig *r = rig_new(exactly_once);
    start(r);
    ready(r);
    unsigned handles = 0;
    for (int n = 0; n < 40; n++) {
      if (n == 20) { /* an hour later, a new handle for another reason */
        const core_action under_way = r->act;
        r->now += 3600 * SECOND;
        give(r, (core_event){.kind = EVENT_LOGIN});
        if (r->act.op == OP_NONE) r->act = under_way;
      }
      append(r, 0, 5);
      tell_log(r);
      while (r->act.op != OP_FILL && r->act.op != OP_TOPIC) {
        handles += r->act.op == OP_CONNECT && n >= 20;
        if (r->act.op == OP_NONE) wake(r);
        else if (r->act.op == OP_CONNECT) ready(r);
        else ok(r, r->act.op);
      }
      fill_sized(r, 50000);
      for (int cut = 0; cut < 3 && n == 0; cut++) {
        const core_action under_way = r->act;
        r->now += 3 * SECOND;
        give(r, (core_event){.kind = EVENT_ERROR, .transport = true, .why = outage()});
        r->act = under_way;
      }
      r->now += 6 * SECOND; /* slow all the while, which is no reason for a shorter timeout */
      all_delivered(r);
      if (exactly_once) {
        commit(r);
      } else {
        ok(r, OP_FLUSH);
        ok(r, OP_INTENT);
      }
    }
    assert_int_equal(handles, 1);
    rig_free(r);
  }
}

static int connects(rig *r, int64_t round_trip_us) { /* how many handles it took */
  int handles = 0;
  do {
    handles++;
    done_with(r, (core_event){.round_trip_us = round_trip_us});
    if (r->act.op == OP_DESTROY) {
      ok(r, OP_DESTROY);
      wake(r);
    }
  } while (r->act.op == OP_CONNECT && handles < 5);
  assert_int_equal(r->act.op, OP_MARKER_TOPIC);
  return handles;
}

/* What comes next is looked at for topics to prepare, and each record is read for it. Of large ones that took a
 * second before the first was sent. */
static void large_events_before_their_topic_is_known(void **state) {
  (void)state;
  for (int large = 0; large < 2; large++) {
    rig *r = rig_new(true);
    append(r, 0, 4000);
    start(r);
    ready(r);
    tell_log(r);
    assert_int_equal(r->act.op, OP_FILL);
    unsigned looked = 0;
    uint64_t tag;
    core_record record = {.topic = sl_slice_of(r->s->broker.topics[0].name), .size = large ? 100000 : 500};
    do {
      record.seq = ++looked;
    } while (core_offer(r->core, &record, r->now, &tag) == OFFER_SETTLED && looked < 4000);
    if (large) assert_in_range(looked, 10, 50);
    else assert_int_equal(looked, 4000);
    rig_free(r);
  }
}

/* A broker that answers within two milliseconds takes sixteen megabytes to begin with: a backlog is spared the
 * small transactions that only find that out. Once one has failed the size is what is learned, however near the
 * broker is. */
static void a_near_broker(void **state) {
  (void)state;
  const uint64_t far = 256 << 10, near = 16 << 20;
  const struct { int64_t round_trip, learned, most; uint64_t begins; } cases[] = {
      {300, 0, 256 << 20, near}, {2000, 0, 256 << 20, near}, {2001, 0, 256 << 20, far}, {0, 0, 256 << 20, far},
      {300, 1 << 20, 256 << 20, 1 << 20}, {300, 0, 4 << 20, 4 << 20}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig *r = rig_new(true);
    r->config.txn_max_bytes = cases[i].most;
    r->config.txn_start_bytes = cases[i].learned;
    append(r, 0, 100);
    start(r);
    connect_over(r, cases[i].round_trip);
    assert_int_equal(view_of(r).txn_bytes, cases[i].begins);
    tell_log(r);
    fill_sized(r, 8000);
    r->now += core_txn_timeout_us(r->core);
    bad(r, OP_FLUSH, outage());
    ok(r, OP_DESTROY);
    wake(r);
    const uint64_t less = view_of(r).txn_bytes;
    assert_true(less < cases[i].begins);
    connect_over(r, 300);
    assert_int_equal(view_of(r).txn_bytes, less);
    rig_free(r);
  }
}

/* What a satellite made longer was so for ever, and a crash in the office held back readers for minutes. */
static void back_from_far_away(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_start_timeout_us = 200 * SECOND;
  r->config.txn_start_bytes = 12 << 20;
  start(r);
  assert_int_equal(connects(r, 0), 1); /* nothing was seen */
  assert_int_equal(core_txn_timeout_us(r->core), 200 * SECOND);
  start(r);
  assert_int_equal(connects(r, SECOND / 50), 2);
  core_view view;
  core_view_get(r->core, &view);
  assert_int_equal(core_txn_timeout_us(r->core), 15 * SECOND);
  assert_true(view.txn_bytes <= 1 << 20); /* nobody knows yet what this link carries */
  start(r); /* an office that is not quite as near: no reason for either */
  assert_int_equal(connects(r, SECOND * 9 / 10), 1);
  start(r); /* a satellite that is nearer */
  assert_int_equal(connects(r, SECOND), 2);
  assert_int_equal(core_txn_timeout_us(r->core), 100 * SECOND);
  rig_free(r);
}

/* The same where nothing was seen while connecting: transactions that have no need of a longer one say it. */
static void long_transactions_that_are_quick(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_start_timeout_us = 200 * SECOND;
  append(r, 0, 4000);
  start(r);
  ready(r);
  tell_log(r);
  unsigned done = 0;
  while (core_txn_timeout_us(r->core) > 15 * SECOND && done++ < 50) {
    fill(r);
    r->now += done == 10 ? 40 * SECOND : SECOND / 10;
    all_delivered(r);
    commit(r);
    append(r, 0, 1);
    tell_log(r);
  }
  assert_true(done >= 20 && done < 50);
  ok(r, OP_DESTROY); /* the broker is told with the next handle */
  rig_free(r);
}

/* Nobody's readers shall wait longer than 15 s: an event that cannot cross in time waits, and does not die. */
static void none_longer_than_the_setting(void **state) {
  (void)state;
  rig *r = rig_new(true);
  r->config.txn_timeout_max_us = 0;
  append(r, 0, 1);
  start(r);
  tell_log(r);
  for (int i = 0; i < 20; i++) {
    claim(r);
    assert_int_equal(fill(r), 1);
    r->now += core_txn_timeout_us(r->core);
    bad(r, OP_FLUSH, outage());
    ok(r, OP_DESTROY);
    wake(r);
    assert_int_equal(core_txn_timeout_us(r->core), 15 * SECOND);
  }
  assert_int_equal(r->book->state.dead, 0);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(large_events_before_their_topic_is_known), cmocka_unit_test(a_near_broker), cmocka_unit_test(slow_link), cmocka_unit_test(size_grows_with_the_pace),
      cmocka_unit_test(round_trips_that_take_seconds), cmocka_unit_test(round_trips_where_none_may_take_longer),
      cmocka_unit_test(single_event_that_cannot_cross_in_time), cmocka_unit_test(a_cluster_that_takes_no_longer_timeout),
      cmocka_unit_test(the_first_cut_of_a_far_link), cmocka_unit_test(what_a_run_learned_of_a_link_that_breaks),
      cmocka_unit_test(what_waits_for_room_ends_in_time),
      cmocka_unit_test(what_the_coordinator_ended_for_its_time_is_smaller),
      cmocka_unit_test(far_away_is_seen_while_connecting),
      cmocka_unit_test(size_learned_on_another_link), cmocka_unit_test(back_from_far_away), cmocka_unit_test(a_link_that_breaks),
      cmocka_unit_test(a_link_that_broke_long_ago),
      cmocka_unit_test(long_transactions_that_are_quick), cmocka_unit_test(none_longer_than_the_setting)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
