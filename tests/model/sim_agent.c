/* The agent's driver in the simulated world: what sync/ops.c and sync/fill.c do, and what can go wrong there. */
#include "sim.h"
#include <stdio.h>
#include <stdlib.h>

/* --- FILL --- */

static void done(sim *s, sim_agent *a, core_event e) {
  e.kind = EVENT_DONE;
  e.op = a->action.op;
  a->action = (core_action){0};
  if (!fault_is_ok(&e.why)) sim_trace(s, "agent %d: -> %s%s", a->id, e.why.name, e.why.fatal ? " (fatal)" : "");
  agent_give(s, a, e);
}

static bool fill_letter(sim *s, sim_agent *a, uint64_t number) {
  const sim_letter *l = &a->book.letters[number];
  if (l->state != LETTER_WAITS) return true;
  const sl_slice topic = sl_slice_of(s->broker.topics[sim_dlq_of(s, l->seq)].name);
  uint32_t size = s->log[l->seq - 1].size + 200;
  uint64_t tag = 0;
  bool slim = false, full = false;
  core_offer_result r = core_letter_ready(a->core, topic, s->now_us);
  if (r == OFFER_PRODUCE) r = core_offer_letter(a->core, number, topic, size, s->now_us, &slim, &tag);
  if (r == OFFER_SETTLED) return true;
  fault why = {0};
  if (r == OFFER_PRODUCE) {
    if (slim) size = 200;
    if (a->exactly_once && !core_txn_begun(a->core)) why = handle_begin(s, a);
    if (fault_is_ok(&why)) why = handle_produce(s, a, l->seq, tag, size, &full);
    if (full && core_queue_full(a->core, size)) {
      a->fill_waiting = true;
      return false;
    }
    if (!full && fault_is_ok(&why)) return true;
    if (!full && core_refused(a->core, tag, &why, s->now_us)) return fill_letter(s, a, number);
  }
  done(s, a, (core_event){.fill_end = FILL_STOPPED});
  return false;
}

/* The copy of an event that has just become a dead letter, with its verdict, where the core lets it. */
static void send_along(sim *s, sim_agent *a, uint64_t seq) {
  const sl_slice topic = sl_slice_of(s->broker.topics[sim_dlq_of(s, seq)].name);
  const uint32_t whole = s->log[seq - 1].size + 200;
  fault why = {0};
  do {
    uint64_t tag = 0;
    bool slim = false, full = false;
    if (!core_dead(a->core, seq, s->now_us) || core_letter_ready(a->core, topic, s->now_us) != OFFER_PRODUCE)
      return;
    if (core_offer_letter(a->core, seq, topic, whole, s->now_us, &slim, &tag) != OFFER_PRODUCE) return;
    why = core_txn_begun(a->core) ? (fault){0} : handle_begin(s, a);
    if (fault_is_ok(&why)) why = handle_produce(s, a, seq, tag, slim ? 200 : whole, &full);
    if (full) why = sim_fault_of(SCOPE_AGENT, CLASS_RETRYABLE_TRANSIENT, "_QUEUE_FULL");
    if (fault_is_ok(&why)) {
      s->along++;
      return;
    }
    if (!core_refused(a->core, tag, &why, s->now_us)) return;
  } while (true);
}

/* Offers some records; ends the operation where fill.c would. */
static void fill(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  if (sim_fault(s, 1)) {
    done(s, a,
         (core_event){.fill_end = FILL_STOPPED,
                      .why = sim_fault_of(SCOPE_AGENT, CLASS_RETRYABLE_DEPENDENCY, "STORE")});
    return;
  }
  for (uint64_t n = 1 + sim_below(s, 12); n > 0; n--) {
    if (core_waits(a->core)) {
      if (h->wire_count == 0 && h->report_count == 0) sim_break(s, "the core waits for deliveries, but none are outstanding");
      a->fill_waiting = true;
      s->waited++;
      return;
    }
    uint64_t seq = a->fill_at;
    if (a->action.letters) {
      if (seq > a->action.to) {
        done(s, a, (core_event){.fill_end = FILL_END_OF_LOG});
        return;
      }
      if (!fill_letter(s, a, seq)) return;
      a->fill_at = seq + 1;
      continue;
    }
    if (a->action.topic)
      while (seq <= a->action.to && strcmp(s->broker.topics[s->log[seq - 1].topic].name, a->topic) != 0) seq++;
    if (seq > a->action.to || seq > s->last) {
      done(s, a, (core_event){.fill_end = FILL_END_OF_LOG});
      return;
    }
    const sim_event *e = &s->log[seq - 1];
    uint64_t tag = 0;
    core_record record = {.seq = seq, .topic = sl_slice_of(s->broker.topics[e->topic].name),
                          .duplicate_of = e->duplicate_of, .size = e->size, .appended_us = e->appended_us};
    core_offer_result r = core_offer(a->core, &record, s->now_us, &tag);
    if (r == OFFER_WEIGH) {
      record.weighed = true;
      record.least = seq % 4 ? e->size : 0; /* of some nobody can say */
      record.exact = true;
      r = core_offer(a->core, &record, s->now_us, &tag);
    }
    if (r == OFFER_STOP) {
      done(s, a, (core_event){.fill_end = FILL_STOPPED});
      return;
    }
    if (r == OFFER_PRODUCE) {
      fault why = {0};
      bool full = false;
      if (a->exactly_once && !core_txn_begun(a->core)) why = handle_begin(s, a);
      if (fault_is_ok(&why)) why = handle_produce(s, a, seq, tag, 0, &full);
      if (full) {
        if (core_queue_full(a->core, e->size)) {
          if (h->wire_count == 0 && h->report_count == 0)
            sim_break(s, "the core waits for deliveries, but none are outstanding");
          a->fill_at = seq;
          a->fill_waiting = true;
        } else {
          done(s, a, (core_event){.fill_end = FILL_STOPPED});
        }
        return;
      }
      if (!fault_is_ok(&why) && !core_refused(a->core, tag, &why, s->now_us)) {
        done(s, a, (core_event){.fill_end = FILL_STOPPED});
        return;
      }
      if (!fault_is_ok(&why)) send_along(s, a, seq);
    } else {
      send_along(s, a, seq);
    }
    a->fill_at = seq + 1;
  }
}

/* --- operations --- */

static fault connection(const char *name) { return sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT,
                                                                name); }

static void perform(sim *s, sim_agent *a, const core_action *action) {
  sim_handle *h = &a->handle;
  if (action->op == OP_EXIT) {
    a->exited = true;
    a->exit_status = action->exit_status;
    sim_trace(s, "agent %d: exits with %d", a->id, action->exit_status);
    return;
  }
  if (a->action.op != OP_NONE) sim_break(s, "two operations at a time");
  a->action = *action;
  a->topic[0] = '\0';
  if (action->topic) snprintf(a->topic, sizeof a->topic, "%s", action->topic);
  a->topic_count = action->topic_count;
  for (size_t i = 0; i < action->topic_count; i++)
    snprintf(a->topics[i], sizeof a->topics[i], "%s", action->topics[i]);
  if (action->op != OP_CONNECT && action->op != OP_DESTROY && !h->exists)
    sim_break(s, "an operation without a handle");
  switch (action->op) {
  case OP_CONNECT:
    if (h->exists) break;
    h->exists = true;
    h->transactional = a->exactly_once;
    h->timeout_us = core_txn_timeout_us(a->core);
    h->queue_bytes = core_queue_bytes(a->core, 40000);
    break;
  case OP_FILL:
    a->fill_at = action->from;
    a->fill_waiting = false;
    if (!a->exactly_once) { /* gapless: the handle does not live on after a failure */
      memset(h->part_failed, 0, sizeof h->part_failed);
      memset(h->batch_failed, 0, sizeof h->batch_failed);
      h->failed = false;
    }
    break;
  case OP_FLUSH:
    if (action->marker.len > sizeof a->marker.bytes) sim_break(s, "a marker too large for this test");
    else if (action->marker.len) memcpy(a->marker.bytes, action->marker.data, action->marker.len);
    a->marker.len = action->marker.len;
    break;
  default: break;
  }
}

static bool slow(sim *s) {
  s->now_us += s->options.instant ? 0 : 1000 + (int64_t)sim_below(s, 20000);
  return sim_fault(s, 8);
}

static bool book_writable(sim *s) { return !s->store_full && !sim_fault(s, 4); }

static const fault store_fault = {.scope = SCOPE_AGENT, .class_ = CLASS_RETRYABLE_DEPENDENCY, .name = "STORE"};

/* EndTxn: may be lost, late, answered late, sent again, or its answer lost. Copies stay in the network only where
 * librdkafka could have sent it again: after socket.timeout, or after a transport error. *answered: the driver has
 * counted an answer to each. */
static fault end_txn(sim *s, sim_agent *a, bool commit, bool *answered) {
  sim_handle *h = &a->handle;
  *answered = false;
  if (h->dead || h->mute || (commit && h->failed)) {
    fault f = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_STATE");
    f.fatal = h->dead || h->mute;
    h->dead = h->dead || h->mute;
    return f;
  }
  bool purged = h->wire_count > 0;
  ghost_add(s, h); /* purged, but perhaps on its way */
  h->waiting = 0;
  if (h->epoch != s->broker.epoch) {
    h->dead = true;
    fault f = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "INVALID_PRODUCER_EPOCH");
    f.fenced = f.fatal = true;
    return f;
  }
  h->begun = false;
  h->failed = false;
  if (s->broker.down) {
    s->now_us += 15000000;
    broker_hold(s, h->epoch, commit);
    return connection("_TIMED_OUT");
  }
  bool was_open = s->broker.open != 0;
  switch (sim_fault(s, 60) ? sim_below(s, 7) : 7) {
  case 0: /* lost for good */
    s->now_us += 15000000;
    return connection("_TIMED_OUT");
  case 1: /* held, perhaps for long */
    s->now_us += 15000000;
    broker_hold(s, h->epoch, commit);
    return connection("_TIMED_OUT");
  case 2: /* done, but the answer was lost */
    broker_end(s, h->epoch, commit);
    s->now_us += 15000000;
    if (sim_below(s, 2)) broker_hold(s, h->epoch, commit);
    return connection("_TIMED_OUT");
  case 3: /* sent again after socket.timeout; success */
    broker_end(s, h->epoch, commit);
    s->now_us += 2 * s->config.doubt_us + 1;
    broker_hold(s, h->epoch, commit);
    return (fault){0};
  case 4: /* sent again after a transport error; success, and quickly */
    broker_end(s, h->epoch, commit);
    broker_hold(s, h->epoch, commit);
    agent_give(s, a, (core_event){.kind = EVENT_ERROR, .why = connection("_TRANSPORT"), .transport = true});
    return (fault){0};
  case 5: /* merely slow */
    broker_end(s, h->epoch, commit);
    s->now_us += s->config.doubt_us + 1;
    return (fault){0};
  case 6: /* another connection was lost meanwhile */
    agent_give(s, a, (core_event){.kind = EVENT_ERROR, .why = connection("_TRANSPORT"), .transport = true});
    *answered = true;
    break;
  default: break;
  }
  if (!was_open && commit && !s->broker.last_committed)
    return sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "INVALID_TXN_STATE");
  broker_end(s, h->epoch, commit);
  if (purged) { /* as librdkafka does, so that what is on its way is refused */
    h->epoch = broker_bump(s);
    memset(h->gap, 0, sizeof h->gap);
  }
  return (fault){0};
}

static void purge(sim *s, sim_handle *h) {
  const fault why = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_PURGE_INFLIGHT");
  (void)s;
  for (size_t i = 0; i < h->wire_count; i++) handle_report(h, &h->wires[i], -1, &why);
}

/* Its answers may have been had while the marker was read: *age_us, since when they are true. */
static void look_up(sim *s, sim_agent *a, int64_t *age_us) {
  if (a->topic_count == 0) sim_break(s, "a look-up of nothing");
  const bool ahead = a->ahead_us > 0 && s->now_us - a->ahead_us < 30000000;
  const sim_topic *topics = ahead ? a->ahead : s->broker.topics;
  *age_us = ahead ? s->now_us - a->ahead_us : 0;
  a->ahead_us = 0;
  for (size_t n = 0; n < a->topic_count; n++) {
    const sim_topic *t = NULL;
    for (size_t i = 0; i < SIM_TOPICS + SIM_DLQS; i++)
      if ((i < s->broker.topic_count || i >= SIM_TOPICS) && strcmp(s->broker.topics[i].name, a->topics[n]) == 0)
        t = topics[i].rights == RIGHTS_NO_LOOKUP ? &s->broker.topics[i] : &topics[i];
    if (!t) {
      sim_break(s, "a topic that nobody asked for");
      return;
    }
    a->topic_results[n] = (core_topic_result){.partitions = t->partitions,
                                              .max_message_bytes = t->untold ? -1 : t->max_bytes,
                                              .lane_max_age_us = s->lane_max_age_us,
                                              .rules = s->config.letters ? &fault_rules_default : NULL};
    if (t->rights == RIGHTS_NO_LOOKUP)
      a->topic_results[n].why = sim_fault_of(SCOPE_TOPIC, CLASS_RETRYABLE_DEPENDENCY, "UNKNOWN_TOPIC_OR_PART");
    else if (sim_fault(s, 2)) /* one of many is in the middle of an election */
      a->topic_results[n].why = connection("LEADER_NOT_AVAILABLE");
  }
}

static core_event result_of(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  sim_broker *b = &s->broker;
  core_event e = {0};
  bool trouble = slow(s);
  switch (a->action.op) {
  case OP_CONNECT:
    e.cluster_id = "cluster-1";
    e.book = &a->book.state;
    e.round_trip_us = (int64_t)sim_below(s, 1500000); /* a third of them so far that a new handle follows */
    if (b->down) s->now_us += 4000000;
    if (b->down || trouble) e.why = connection("_TRANSPORT");
    else if (b->refuses) e.why = sim_fault_of(SCOPE_CLUSTER, CLASS_NON_RETRYABLE_SECURITY, "_AUTHENTICATION");
    else if (sim_fault(s, 2)) e.why = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_FAIL");
    break;
  case OP_MARKER_TOPIC:
    if (b->down || trouble) e.why = connection("_TRANSPORT");
    break;
  case OP_INIT_TXN:
    if (b->down || h->dead) {
      s->now_us += 30000000;
      e.why = connection("_TIMED_OUT");
    } else if (trouble && sim_below(s, 2)) {
      broker_bump(s); /* it took effect, the answer was lost */
      e.why = connection("_TRANSPORT");
    } else if (trouble) {
      e.why = sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_DEPENDENCY, "COORDINATOR_LOAD_IN_PROGRESS");
    } else {
      h->epoch = broker_bump(s);
      h->begun = h->failed = h->mute = false;
      memset(h->part_failed, 0, sizeof h->part_failed);
    }
    break;
  case OP_READ_MARKER: {
    bool undecided;
    const sim_marker *m = broker_marker(s, &undecided);
    a->ahead_us = sim_below(s, 2) ? s->now_us : 0;
    memcpy(a->ahead, b->topics, sizeof a->ahead);
    if (undecided) s->now_us += 5000000;
    if (b->down || trouble || undecided) e.why = connection("_TIMED_OUT");
    else if (m) e.marker = (sl_slice){m->bytes, m->len};
    break;
  }
  case OP_TOPIC: {
    if (b->down || trouble) e.why = connection("_TRANSPORT");
    else look_up(s, a, &e.age_us);
    e.topics = a->topic_results;
    break;
  }
  case OP_FLUSH:
    if (h->wire_count || h->report_count) {
      s->now_us += h->timeout_us;
      e.why = connection("_TIMED_OUT");
    } else {
      e.why = h->marker_fault;
    }
    break;
  case OP_INTENT: {
    const delivery_attempt *at = core_attempt(a->core);
    bool writable = book_writable(s);
    e.refused = writable && sim_fault(s, 4); /* as if an event of it had been dropped from the log */
    bool there = !e.refused && (writable || sim_fault(s, 20));
    if (there && book_intent(s, &a->book, at) && !a->exactly_once) book_settle(s, &a->book);
    if (!writable || e.refused) e.why = store_fault;
    e.book = &a->book.state;
    break;
  }
  case OP_SETTLE: {
    bool writable = book_writable(s), there = writable || sim_fault(s, 20);
    if (there) book_settle(s, &a->book);
    if (!writable) e.why = store_fault;
    e.book = &a->book.state;
    break;
  }
  case OP_ABANDON: {
    bool writable = book_writable(s), there = writable || sim_fault(s, 20);
    if (there) book_abandon(s, &a->book);
    if (!writable) e.why = store_fault;
    e.book = &a->book.state;
    break;
  }
  case OP_COMMIT:
    if (h->wire_count) sim_break(s, "a commit with records on their way");
    e.why = end_txn(s, a, true, &e.answered);
    break;
  case OP_ABORT:
    purge(s, h);
    e.why = end_txn(s, a, false, &e.answered);
    break;
  case OP_DESTROY:
    a->ahead_us = 0;
    handle_drop(s, h);
    break;
  case OP_FILL:
  case OP_EXIT:
  case OP_NONE: break;
  }
  return e;
}

/* The marker is produced when the FLUSH begins; its own fault comes with the end of the flush. */
static bool flush_begin(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  if (a->action.op != OP_FLUSH || a->marker.len == 0) return true;
  fault why = {0};
  if (!core_txn_begun(a->core)) why = handle_begin(s, a);
  if (fault_is_ok(&why) && h->dead) {
    why = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_FATAL");
    why.fatal = true;
  }
  size_t len = a->marker.len;
  a->marker.len = 0;
  if (!fault_is_ok(&why)) {
    done(s, a, (core_event){.why = why});
    return false;
  }
  h->marker = a->marker;
  h->marker.len = len;
  h->marker_fault = (fault){0};
  handle_push(h, (sim_wire){UINT64_MAX, 0, SIM_MARKER_TOPIC, 0, 100});
  return true;
}

static void deliver(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  size_t i = sim_below(s, h->report_count);
  sim_report r = h->reports[i];
  h->reports[i] = h->reports[--h->report_count];
  core_delivered(a->core, r.tag, r.partition, r.offset, &r.why);
  a->fill_waiting = false;
}

bool agent_progress(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  if (!a->exists || a->exited) return false;
  if (h->report_count && sim_below(s, 2)) {
    deliver(s, a);
    return true;
  }
  if (h->wire_count && sim_fault(s, 4)) { /* a link that breaks again and again; what was on its way goes again */
    for (int i = 0; i < 3; i++) {
      s->now_us += 400000;
      agent_give(s, a, (core_event){.kind = EVENT_ERROR, .why = connection("_TRANSPORT"), .transport = true});
    }
    core_view view;
    core_view_get(a->core, &view);
    s->cut += view.link_room > 0;
    return true;
  }
  if (h->wire_count && sim_below(s, 2)) {
    agent_wire(s, a);
    return true;
  }
  if (a->action.op == OP_FILL) {
    if (a->fill_waiting && (h->wire_count || h->report_count)) {
      if (h->report_count) deliver(s, a);
      else agent_wire(s, a);
    } else {
      fill(s, a);
    }
    return true;
  }
  if (a->action.op == OP_NONE) {
    if (h->report_count) deliver(s, a);
    else if (h->wire_count) agent_wire(s, a);
    else return false;
    return true;
  }
  if (a->action.op == OP_FLUSH) {
    if (!flush_begin(s, a)) return true;
    if ((h->wire_count || h->report_count) && !sim_fault(s, 2)) {
      if (h->report_count) deliver(s, a);
      else agent_wire(s, a);
      return true;
    }
  }
  if (a->action.op == OP_ABORT && h->report_count) { /* it waits until the loop has taken what was reported */
    deliver(s, a);
    return true;
  }
  done(s, a, result_of(s, a));
  return true;
}

/* --- the recorder --- */

static void replay(sim *s, sim_agent *a) {
  replay_result r;
  if (a->history.len == 0 || s->broken) return;
  core_replay(sl_buf_slice(&a->history), NULL, NULL, &r);
  if (!r.readable || !r.equal) sim_break(s, "a recorded history does not replay: %s", r.text);
  s->replayed += r.calls;
  sl_buf_reset(&a->history);
}

static void history_begins(void *arg) {
  sim_agent *a = arg;
  replay(a->of, a);
}

static void history_grows(void *arg, const void *data,
                          size_t len) { sl_buf_append(&((sim_agent *)arg)->history, data, len); }

/* --- life --- */

/* A cycle of actions that never waits and never gets anywhere would burn a processor, and a broker. */
static void hunt_hot_loops(sim *s, sim_agent *a) {
  uint64_t at = a->book.state.cursor.seq * 3 + s->last + a->book.state.cursor.dlq_no * 5;
  for (size_t i = 0; i < a->book.state.cursor.lane_count; i++) at += a->book.state.cursor.lanes[i].seq;
  if (at != a->still_at || s->now_us - a->still_us > 1000) {
    a->still_at = at;
    a->still_us = s->now_us;
    a->still_actions = 0;
  } else if (++a->still_actions > 300) {
    sim_break(s, "a hot loop: 300 actions in no time, without progress");
  }
}

void agent_give(sim *s, sim_agent *a, core_event e) {
  core_actions actions;
  if (!a->exists || a->exited || s->broken) return;
  broker_expire(s);
  e.now_us = e.wall_us = s->now_us;
  core_phase before = core_phase_of(a->core);
  core_step(a->core, &e, &actions);
  s->steps++;
  const char *wrong = core_check(a->core);
  if (wrong) sim_break(s, "core_check: %s", wrong);
  core_phase after = core_phase_of(a->core);
  if (s->tracing && (before != after || actions.count || e.kind == EVENT_ERROR))
    sim_trace(s, "agent %d: event %d op %d: %s -> %s (cursor %llu%s)", a->id, e.kind, e.op,
              core_phase_text(before),
              core_phase_text(after), (unsigned long long)a->book.state.cursor.seq,
              a->book.state.has_intent ? ", intent" : "");
  core_view v;
  core_view_get(a->core, &v);
  if (v.cursor_seq != a->book.state.cursor.seq && a->action.op == OP_NONE)
    sim_break(s, "the core's cursor is not the book's");
  if (v.offsets_back) sim_break(s, "offsets are said to have gone back, which they never do here");
  if (after == PHASE_PARKED && v.park != PARK_REFUSED && !s->options.copies)
    sim_break(s, "parked without a reason: %d", v.park);
  for (size_t i = 0; i < actions.count; i++) {
    hunt_hot_loops(s, a);
    perform(s, a, &actions.list[i]);
  }
}

void agent_log(sim *s, sim_agent *a) {
  agent_give(s, a, (core_event){.kind = EVENT_LOG, .last_seq = s->last, .indexed_seq = s->indexed});
}

bool agent_wake(sim *s, sim_agent *a) {
  if (!a->exists || a->exited) return false;
  int64_t at = core_wake_at(a->core);
  if (at == 0) return false;
  if (s->now_us < at) s->now_us = at;
  agent_give(s, a, (core_event){.kind = EVENT_TIMER});
  at = core_wake_at(a->core);
  a->vain_wakes = at > 0 && at <= s->now_us ? a->vain_wakes + 1 : 0;
  if (a->vain_wakes > 5)
    sim_break(s, "it wakes for nothing, again and again, in %s", core_phase_text(core_phase_of(a->core)));
  return true;
}

void agent_start(sim *s, sim_agent *a, bool drain) {
  core_config config = s->config;
  config.drain = drain;
  config.drain_to = s->last;
  config.seed = sim_random(s);
  for (size_t i = 0; i < 16; i++) config.incarnation[i] = (uint8_t)sim_random(s);
  a->exactly_once = s->options.mixed ? s->calm || sim_below(s, 2) : !s->options.at_least_once;
  config.exactly_once = a->exactly_once;
  a->core = core_new(&config, &a->book.state);
  a->of = s;
  const core_recorder recorder = {.arg = a, .begin = history_begins, .write = history_grows, .most = 30000};
  if (s->options.record) core_listen(a->core, &recorder);
  a->exists = true;
  a->exited = false;
  a->action = (core_action){0};
  a->still_actions = 0;
  a->ahead_us = 0;
  sim_trace(s, "agent %d: starts%s%s at cursor %llu%s", a->id, a->exactly_once ? "" : " (at-least-once)",
            drain ? " (drain)" : "", (unsigned long long)a->book.state.cursor.seq,
            a->book.state.has_intent ? " with an intent" : "");
  agent_give(s, a, (core_event){.kind = EVENT_START});
  if (sim_below(s, 2)) agent_log(s, a);
}

/* SIGKILL: what was under way may or may not have happened, and what was sent may still arrive. */
void agent_kill(sim *s, sim_agent *a) {
  if (!a->exists) return;
  sim_trace(s, "agent %d: KILLED in %s", a->id, core_phase_text(core_phase_of(a->core)));
  s->kills++;
  if (!a->exited && sim_below(s, 2)) {
    switch (a->action.op) {
    case OP_COMMIT: broker_hold(s, a->handle.epoch, true); break;
    case OP_ABORT: broker_hold(s, a->handle.epoch, false); break;
    case OP_INIT_TXN: broker_bump(s); break;
    case OP_INTENT:
      if (book_intent(s, &a->book, core_attempt(a->core)) && !a->exactly_once) book_settle(s, &a->book);
      break;
    case OP_SETTLE: book_settle(s, &a->book); break;
    case OP_ABANDON: book_abandon(s, &a->book); break;
    default: break;
    }
  }
  handle_drop(s, &a->handle);
  replay(s, a);
  core_free(a->core);
  a->core = NULL;
  a->exists = false;
  a->action = (core_action){0};
}

void agent_free(sim_agent *a) {
  core_free(a->core);
  a->core = NULL;
  sl_buf_free(&a->history);
  handle_free(&a->handle);
  book_free(&a->book);
}
