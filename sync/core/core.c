/* The phases of delivery. Reads from top to bottom in the order of a good day: start, connect, reconcile, claim,
 * transaction after transaction; then what each setback leads to. */
#include "core/history_pack.h"
#include <stdlib.h>

#define CLOCK_STEP_US 60000000
#define DRAIN_AGAIN 8 /* handles for letters alone, none of which said more than that the transaction was over */
#define FENCES_FORGOTTEN_US 30000000 /* who fights for an id is back within seconds */
#define SHARED_ID_LOOK_US INT64_C(3600000000)

static bool buf_set(sl_buf *buf, sl_slice bytes) {
  sl_buf_reset(buf);
  sl_buf_append(buf, bytes.data, bytes.len);
  return !buf->failed;
}

bool book_load(core *c, const delivery_state *book) {
  c->cursor.seq = book->cursor.seq;
  c->cursor.dlq_no = book->cursor.dlq_no;
  c->last_letter = book->last_letter;
  c->letters_wait = book->letters_wait;
  c->cursor.attempt = book->cursor.attempt;
  memcpy(c->cursor.incarnation, book->cursor.incarnation, sizeof c->cursor.incarnation);
  c->last_attempt = book->last_attempt;
  c->has_intent = book->has_intent;
  c->ever_delivered = delivery_has_begun(book);
  bool ok = buf_set(&c->cursor_bytes, book->cursor_bytes) && buf_set(&c->intent_bytes, book->intent_bytes) &&
            buf_set(&c->marker_bytes, book->marker_bytes);
  return lanes_load(c, book->cursor.lanes, book->cursor.lane_count) && ok;
}

core *core_new(const core_config *config, const delivery_state *book) {
  core *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->config = *config;
  c->timeout_us = pace_timeout(config, config->txn_start_timeout_us);
  c->target_bytes = config->txn_start_bytes > 0 ? (uint64_t)config->txn_start_bytes : TARGET_START;
  if (c->target_bytes > (uint64_t)config->txn_max_bytes) c->target_bytes = (uint64_t)config->txn_max_bytes;
  bool ok = book_load(c, book);
  if (book->cluster_id.len > 0 && book->cluster_id.len < sizeof c->cluster_id)
    memcpy(c->cluster_id, book->cluster_id.data, book->cluster_id.len);
  if (ok) return c;
  core_free(c);
  return NULL;
}

void core_free(core *c) {
  if (!c) return;
  topics_free(&c->topics);
  txn_free(c);
  free(c->lanes);
  free(c->copies);
  free(c->recreated);
  sl_buf_free(&c->cursor_bytes);
  sl_buf_free(&c->intent_bytes);
  sl_buf_free(&c->marker_bytes);
  sl_buf_free(&c->marker_there);
  sl_buf_free(&c->marker);
  history_free(c->history);
  free(c);
}

void core_enter(core *c, core_phase phase) {
  bool was_running = c->phase >= PHASE_IDLE && c->phase <= PHASE_ABANDON;
  bool running = phase >= PHASE_IDLE && phase <= PHASE_ABANDON;
  if (c->phase != phase && !(was_running && running)) c->phase_us = c->now_us;
  c->phase = phase;
}

/* A copy of this store fences a few times at each start: what it claimed is then found at READ_MARKER, or it
 * parks. Who goes on fencing has a marker of his own, or none. The coordinator, too, fences: who was slow, or
 * slept through a timeout. */
static void note_fence(core *c) {
  const txn *t = &c->txn;
  if (!c->claimed || c->stale || c->fenced_handle == c->handles) return;
  if (t->open && t->begun_us && c->now_us - t->begun_us > c->timeout_us / 2) return;
  if (c->fences > 0 && c->now_us - c->fenced_us > FENCES_FORGOTTEN_US) c->fences = 0;
  c->fences++;
  c->fenced_handle = c->handles;
  c->fenced_us = c->now_us;
}

void core_fault(core *c, const fault *why) {
  c->last_fault = *why;
  c->last_fault_us = c->now_us;
  if (why->fenced) note_fence(c);
}

/* --- setbacks --- */

/* Before anything is begun: connect, topics, init, marker. */
static void setback(core *c, core_actions *out, const fault *why) {
  core_fault(c, why);
  if (why->scope == SCOPE_CONNECTION) topics_forget_refusals(c);
  if (c->drained) core_destroy(c, out, PHASE_STOPPED); /* only letters are left: they wait for the next start */
  else if (why->scope == SCOPE_CLUSTER || (why->scope == SCOPE_TOPIC && c->phase == PHASE_MARKER_TOPIC))
    core_go_park(c, out, PARK_REFUSED);
  else if (c->phase == PHASE_CONNECT && why->scope == SCOPE_CONNECTION && !why->fatal) core_back_off(c);
  else core_destroy(c, out, PHASE_BACKOFF);
}

/* A transaction failed before its commit was called: an abort is safe. */
static void fail(core *c, core_actions *out, const fault *why) {
  txn *t = &c->txn;
  fault_scope scope = txn_blame(c, why);
  if (scope == SCOPE_CONNECTION) topics_forget_refusals(c);
  c->aborts++;
  /* A drain, too, sends a letter without its value, and hears who was refused where so far only a
   * neighbour's fate is told. */
  const bool untold = scope == SCOPE_PRODUCER && t->named == 0 && !c->stale && !why->fatal && !why->fenced;
  if (t->copies && !c->config.exactly_once && scope == SCOPE_RECORD) c->recreate = RENEWAL_REFUSED;
  if (t->copies && c->drained && untold && c->drain_again++ < DRAIN_AGAIN) c->recreate = RENEWAL_REFUSED;
  bool handle_lives =
      !why->fatal && !t->why.fatal && !c->stale && (scope == SCOPE_RECORD || scope == SCOPE_TOPIC);
  if (!c->config.exactly_once) {
    txn_cut_at_failure(c);
    c->destroy_after_settle = true; /* later records must not pass the failed one */
    if (scope == SCOPE_CLUSTER) c->park = PARK_REFUSED, c->park_probes = true;
    if (t->count > 0 && txn_seal(c)) core_intent(c, out);
    else core_destroy(c, out, c->park ? PHASE_PARKED : PHASE_BACKOFF);
  } else if (scope == SCOPE_CLUSTER) {
    core_go_park(c, out, PARK_REFUSED);
  } else if (!handle_lives && scope != SCOPE_AGENT) {
    core_destroy(c, out, PHASE_BACKOFF);
  } else if (t->begun) {
    t->op_us = c->now_us;
    t->transport = false;
    core_act(c, out, PHASE_ABORT, OP_ABORT);
  } else if (c->has_intent) {
    core_act(c, out, PHASE_ABANDON, OP_ABANDON);
  } else if (scope == SCOPE_AGENT) {
    core_destroy(c, out, PHASE_BACKOFF);
  } else {
    txn_reset(c);
    core_idle(c, out);
  }
}

/* --- the end of each operation --- */

/* False: there was no memory for it. What is known then is not whole, and nothing may follow from it: the next
 * CONNECT brings the book again. */
static bool take_book(core *c, const core_event *e, core_actions *out) {
  static const fault none = {.scope = SCOPE_AGENT, .class_ = CLASS_RETRYABLE_DEPENDENCY, .name = "NO_MEMORY",
                             .text = "no memory for what the store's notes on delivery say"};
  if (!e->book || book_load(c, e->book)) return true;
  core_fault(c, &none);
  core_destroy(c, out, PHASE_BACKOFF);
  return false;
}

static void done_connect(core *c, const core_event *e, core_actions *out) {
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  if (!take_book(c, e, out)) return;
  const char *id = e->cluster_id ? e->cluster_id : "";
  if (c->cluster_id[0] && id[0] && strcmp(c->cluster_id, id) != 0 && c->ever_delivered) {
    core_go_park(c, out, PARK_FOREIGN_CLUSTER);
    return;
  }
  if (id[0]) strncpy(c->cluster_id, id, sizeof c->cluster_id - 1);
  pace_connected(c, e->round_trip_us);
  if (c->recreate) {
    core_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  if (c->config.exactly_once) core_act(c, out, PHASE_MARKER_TOPIC, OP_MARKER_TOPIC);
  else if (c->has_intent) core_act(c, out, PHASE_READ_MARKER, OP_READ_MARKER); /* left by exactly-once */
  else core_idle(c, out);
}

/* Numbers are never used again, so who has only an older one lacks the newest: behind, or records lost. */
static bool is_older(const core *c, sl_slice there) {
  sl_lane lanes[SL_LANES_MAX];
  sl_progress p;
  return sl_progress_decode(there, &p, lanes) == SL_OK && p.attempt < c->cursor.attempt;
}

/* The marker must be the cursor's or the intent's, exactly. Larger is not good enough: a prototype that took a
 * larger marker on trust never sent 120 new events of a restored store (seen). */
static void reconcile(core *c, sl_slice there, core_actions *out) {
  sl_slice intent = sl_buf_slice(&c->intent_bytes);
  core_park park = core_judge_marker(there, sl_buf_slice(&c->marker_bytes), intent);
  if (there.len > 0 && c->has_intent && sl_slice_eq(there, intent)) {
    core_act(c, out, PHASE_RECONCILE, OP_SETTLE);
  } else if (!c->config.exactly_once) {
    core_act(c, out, PHASE_RECONCILE, OP_ABANDON); /* at worst its events are sent twice, which this mode allows */
  } else if (park == PARK_NONE) {
    if (c->has_intent) core_act(c, out, PHASE_RECONCILE, OP_ABANDON);
    else core_idle(c, out);
  } else {
    buf_set(&c->marker_there, there);
    core_go_park(c, out, park);
    c->park_probes = park == PARK_MARKER_MISSING || is_older(c, there);
  }
}

/* The marker's place is not there, or holds something else: the topic was created again, or lost records. */
static bool place_is_gone(const fault *why) {
  return strcmp(why->name, "OFFSET_OUT_OF_RANGE") == 0 || strcmp(why->name, "_UNKNOWN_PARTITION") == 0 ||
         strcmp(why->name, "MARKER_LOST") == 0;
}

static void done_marker_topic(core *c, const core_event *e, core_actions *out) {
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  /* Parked for its marker it only looks: a fence at each look would hurt whoever delivers under this id. */
  c->only_looks = c->park == PARK_MARKER_AHEAD || c->park == PARK_MARKER_MISSING;
  if (c->only_looks) core_act(c, out, PHASE_READ_MARKER, OP_READ_MARKER);
  else core_act(c, out, PHASE_INIT_TXN, OP_INIT_TXN);
}

static void done_read_marker(core *c, const core_event *e, core_actions *out) {
  const bool only_looked = c->only_looks;
  c->only_looks = false;
  if (only_looked && fault_is_ok(&e->why) &&
      core_judge_marker(e->marker, sl_buf_slice(&c->marker_bytes), sl_buf_slice(&c->intent_bytes)) == PARK_NONE) {
    core_act(c, out, PHASE_INIT_TXN, OP_INIT_TXN); /* and is read once more behind it */
  } else if (fault_is_ok(&e->why)) {
    reconcile(c, e->marker, out);
  } else if (!c->config.exactly_once &&
             (e->why.scope == SCOPE_TOPIC || e->why.scope == SCOPE_CLUSTER ||
              strncmp(e->why.name, "MARKER_", 7) == 0)) {
    core_fault(c, &e->why);
    core_act(c, out, PHASE_RECONCILE, OP_ABANDON);
  } else if (place_is_gone(&e->why)) {
    core_fault(c, &e->why);
    core_go_park(c, out, PARK_MARKER_MISSING);
    c->park_probes = true;
  } else {
    setback(c, out, &e->why);
  }
}

static void done_reconcile(core *c, const core_event *e, core_actions *out) {
  if (!take_book(c, e, out)) return; /* a write that failed may be there all the same */
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  core_idle(c, out);
}

static void done_topic(core *c, const core_event *e, core_actions *out) {
  const fault *why = fault_is_ok(&e->why) ? NULL : &e->why;
  if (e->age_us > c->now_us - c->asked_us) { /* known by the driver already, who asked for no event's sake */
    for (size_t i = 0; i < c->wanted_count; i++) c->wanted[i]->asked_for = 0;
    c->asked_wall_us -= e->age_us - (c->now_us - c->asked_us);
    c->asked_us = c->now_us - e->age_us;
  }
  for (size_t i = 0; i < c->wanted_count && fault_is_ok(&e->why); i++)
    if (!topic_take_result(c, c->wanted[i], &e->topics[i])) why = &e->topics[i].why;
  topics_want_none(c);
  if (why) setback(c, out, why);
  else core_idle(c, out);
}

static void done_fill(core *c, const core_event *e, core_actions *out) {
  txn *t = &c->txn;
  if (c->stale || t->broken || t->failed > 0 || !fault_is_ok(&e->why)) {
    fault why = c->stale ? c->stale_why : t->broken || t->failed > 0 ? t->why : e->why;
    fail(c, out, &why);
    return;
  }
  if (t->lane && e->fill_end == FILL_END_OF_LOG) t->looked_to = t->to; /* nothing of the topic is left there */
  if (t->copies && e->fill_end == FILL_END_OF_LOG) t->looked_to = t->to;
  if (t->count > 0 || (t->lane && (t->looked_to > t->lane->lane_seq || t->lane->lane_seq >= c->cursor.seq))) {
    core_flush(c, out);
    return;
  }
  /* Nothing could be taken. Main waits a while: no room for another lane, or no memory. */
  if (t->copies) c->letters_from = t->looked_to + 1;
  else if (!t->lane && c->wanted_count == 0 && !c->recreate) c->hold_us = c->now_us + 1000000;
  if (t->begun) { /* its only record was refused; left open, it would hold back readers */
    t->op_us = c->now_us;
    t->transport = false;
    core_act(c, out, PHASE_ABORT, OP_ABORT);
  } else if (c->wanted_count > 0 && !c->stopping && !c->drain_expired) {
    core_look_up(c, out);
  } else {
    core_idle(c, out);
  }
}

/* Where only the marker's own record fails: no event and no topic of events is to blame for it. */
static void marker_refused(core *c, core_actions *out, const fault *why) {
  core_fault(c, why);
  c->aborts++;
  bool lasting = why->class_ != CLASS_RETRYABLE_TRANSIENT && why->class_ != CLASS_RETRYABLE_DEPENDENCY;
  if (lasting) core_go_park(c, out, PARK_REFUSED);
  else core_destroy(c, out, PHASE_BACKOFF);
}

static void done_flush(core *c, const core_event *e, core_actions *out) {
  txn *t = &c->txn;
  if (c->stale) {
    fault why = c->stale_why;
    fail(c, out, &why);
  } else if (!t->named && (e->why.scope == SCOPE_TOPIC || e->why.scope == SCOPE_RECORD)) {
    marker_refused(c, out, &e->why);
  } else if (!fault_is_ok(&e->why) || t->failed > 0) {
    fault why = fault_is_ok(&e->why) ? t->why : e->why;
    fail(c, out, &why);
  } else if (t->outstanding > 0) {
    const fault late = {.scope = SCOPE_CONNECTION, .class_ = CLASS_RETRYABLE_TRANSIENT,
                        .name = "FLUSH_TIMED_OUT", .text = "not every record was acknowledged in time"};
    fail(c, out, &late);
  } else {
    core_intent(c, out);
  }
}

static void go_on(core *c, core_actions *out) {
  if (c->destroy_after_settle) core_destroy(c, out, c->park ? PHASE_PARKED : PHASE_BACKOFF);
  else core_idle(c, out);
}

static void finish(core *c, core_actions *out) {
  txn *t = &c->txn;
  txn_settled(c);
  if (t->claim) c->claimed = true;
  if (c->indexed_seq <= c->cursor.seq) c->pending_since_us = 0;
  else if (!t->claim && !t->lane && !t->copies && t->looked_to >= t->to) c->pending_since_us = c->behind_since_us;
  t->open = false;
  go_on(c, out);
}

static void done_intent(core *c, const core_event *e, core_actions *out) {
  if (!take_book(c, e, out)) return;
  bool there = !c->config.exactly_once && c->cursor.attempt == c->attempt.progress.attempt;
  if (!fault_is_ok(&e->why) && !there) {
    c->txn.refused = e->refused;
    if (!e->refused && c->book_failures < 16) c->book_failures++;
    if (c->config.exactly_once) {
      fail(c, out, &e->why);
      return;
    }
    if (e->refused) { /* for ever, as it stands: what the log still holds of it is sent again */
      txn_blame(c, &e->why);
      txn_reset(c);
      go_on(c, out);
      return;
    }
    /* The events are on the broker: only the note of it is repeated, or a full disk would fill the topics. */
    core_fault(c, &e->why);
    c->op = OP_NONE;
    c->wake_at = c->now_us + book_pause(c);
    return;
  }
  c->book_failures = 0;
  txn_noted(c);
  if (!c->config.exactly_once) {
    finish(c, out);
    return;
  }
  if (c->stale) { /* not committed, so it did not happen; the marker will say so */
    core_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  c->txn.op_us = c->now_us;
  c->txn.transport = false;
  core_act(c, out, PHASE_COMMIT, OP_COMMIT);
}

/* A connection that was lost meanwhile may not be the coordinator's, or may have carried no EndTxn. */
static bool quick_and_clean(const core *c, const core_event *e) {
  return fault_is_ok(&e->why) && (!c->txn.transport || e->answered) && !c->stale &&
         c->now_us - c->txn.op_us <= c->doubt_us;
}

static void done_commit(core *c, const core_event *e, core_actions *out) {
  if (quick_and_clean(c, e)) {
    core_act(c, out, PHASE_SETTLE, OP_SETTLE);
    return;
  }
  if (!fault_is_ok(&e->why)) {
    core_fault(c, &e->why);
    c->aborts++;
    (void)txn_blame_time(c);
  }
  core_destroy(c, out, PHASE_BACKOFF); /* doubt: the intent stays, the marker will tell */
}

static void done_settle(core *c, const core_event *e, core_actions *out) {
  if (!take_book(c, e, out)) return;
  if (!fault_is_ok(&e->why)) { /* the commit stands on the broker; reading the marker settles it again */
    setback(c, out, &e->why);
    return;
  }
  finish(c, out);
}

static void done_abort(core *c, const core_event *e, core_actions *out) {
  if (!quick_and_clean(c, e)) {
    if (!fault_is_ok(&e->why)) core_fault(c, &e->why);
    core_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  /* librdkafka 2.0.2 counts a batch that the broker refused as sent, and an abort does not change that: the next
   * batch to its partition leaves a gap (OUT_OF_ORDER_SEQUENCE_NUMBER), innocents are purged, or kept until their
   * transaction's timeout (seen). Only a new handle counts anew. */
  if (c->txn.named > 0) c->recreate = RENEWAL_REFUSED;
  if (c->has_intent) {
    core_act(c, out, PHASE_ABANDON, OP_ABANDON);
  } else {
    txn_reset(c);
    core_idle(c, out);
  }
}

static void done_abandon(core *c, const core_event *e, core_actions *out) {
  if (!take_book(c, e, out)) return;
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  txn_reset(c);
  core_idle(c, out);
}

static void done_destroy(core *c, core_actions *out) {
  c->handle = c->stale = false;
  c->destroy_after_settle = false;
  if (c->stopping || c->drain_expired || (c->drained && !c->recreate)) c->after_destroy = PHASE_STOPPED;
  if (c->after_destroy == PHASE_PARKED && c->park == PARK_REFUSED && c->recreate)
    c->after_destroy = PHASE_BACKOFF; /* that refusal was of the old credentials */
  if (c->after_destroy == PHASE_PARKED) {
    if (c->config.drain) {
      core_rest(c, out, 4);
      return;
    }
    core_enter(c, PHASE_PARKED);
    c->op = OP_NONE;
    const int64_t pause_us = c->park == PARK_SHARED_ID ? SHARED_ID_LOOK_US : c->config.probe_us;
    c->wake_at = c->next_try_us = c->park_probes ? c->now_us + pause_us : 0;
  } else if (c->after_destroy == PHASE_STOPPED) {
    core_rest(c, out, core_rest_status(c));
  } else {
    core_back_off(c);
  }
}

static void done(core *c, const core_event *e, core_actions *out) {
  if (e->op == OP_NONE || e->op != c->op) return; /* a driver's bug; ignoring it is safe */
  c->op = OP_NONE;
  bool before_claim =
      e->op == OP_CONNECT || e->op == OP_MARKER_TOPIC || e->op == OP_INIT_TXN || e->op == OP_READ_MARKER;
  if (before_claim && (c->stopping || c->drain_expired || c->stale || c->recreate)) {
    core_destroy(c, out, c->stopping || c->drain_expired ? PHASE_STOPPED : PHASE_BACKOFF);
    return;
  }
  switch (e->op) {
  case OP_CONNECT: done_connect(c, e, out); break;
  case OP_MARKER_TOPIC: done_marker_topic(c, e, out); break;
  case OP_INIT_TXN:
    if (fault_is_ok(&e->why)) {
      c->timeout_accepted_us = c->timeout_us;
      core_act(c, out, PHASE_READ_MARKER, OP_READ_MARKER);
    } else {
      if (e->why.scope == SCOPE_AGENT) pace_timeout_refused(c); /* above the broker's limit? */
      setback(c, out, &e->why);
    }
    break;
  case OP_READ_MARKER: done_read_marker(c, e, out); break;
  case OP_TOPIC: done_topic(c, e, out); break;
  case OP_FILL: done_fill(c, e, out); break;
  case OP_FLUSH: done_flush(c, e, out); break;
  case OP_INTENT: done_intent(c, e, out); break;
  case OP_COMMIT: done_commit(c, e, out); break;
  case OP_SETTLE:
    if (c->phase == PHASE_RECONCILE) done_reconcile(c, e, out);
    else done_settle(c, e, out);
    break;
  case OP_ABORT: done_abort(c, e, out); break;
  case OP_ABANDON:
    if (c->phase == PHASE_RECONCILE) done_reconcile(c, e, out);
    else done_abandon(c, e, out);
    break;
  case OP_DESTROY: done_destroy(c, out); break;
  case OP_NONE:
  case OP_EXIT: break;
  }
}

/* No operation is under way: may the core come to rest right now? */
static void rest_if_asked(core *c, core_actions *out) {
  if (c->op != OP_NONE || c->phase == PHASE_STOPPED) return;
  if (!c->stopping && !c->drain_expired) return;
  if (c->handle) core_destroy(c, out, PHASE_STOPPED);
  else core_rest(c, out, core_rest_status(c));
}

/* The handle is dead, or its connections are: the operation under way ends first, then it is destroyed. */
static void handle_lost(core *c, core_actions *out, const fault *why) {
  if (!c->handle || c->phase == PHASE_DESTROY) return;
  c->stale = true;
  c->stale_why = *why;
  c->stale_why.fatal = true;
  c->txn.stop = true;
  if (c->op == OP_NONE && c->phase != PHASE_INTENT) core_destroy(c, out, PHASE_BACKOFF);
}

/* How old an event is must not depend on somebody's setting the clock. What is slewed is followed. */
static void watch_clock(core *c, const core_event *e) {
  const int64_t clock_us = e->wall_us - e->now_us - e->slept_us, step_us = clock_us - c->clock_us;
  if (c->clock_known && step_us > CLOCK_STEP_US) {
    c->clock_ahead_us += step_us;
    c->clock_before_us = e->wall_us - step_us;
  } else if (c->clock_known && step_us < -CLOCK_STEP_US) {
    c->clock_ahead_us = c->clock_ahead_us > -step_us ? c->clock_ahead_us + step_us : 0;
  }
  c->clock_us = clock_us;
  c->clock_known = true;
}

void core_take(core *c, const core_event *e, core_actions *out) {
  out->count = 0;
  watch_clock(c, e);
  c->now_us = e->now_us;
  c->wall_us = e->wall_us;
  c->closed_us = e->closed_us;
  if (c->phase == PHASE_STOPPED) return;
  if (c->config.drain && c->config.drain_deadline_us && c->now_us >= c->config.drain_deadline_us)
    c->drain_expired = c->txn.stop = true;
  switch (e->kind) {
  case EVENT_START:
    cuts_start(c);
    c->drained = core_nothing_to_drain(c);
    if (c->drained && !(c->config.letters && c->letters_wait)) core_rest(c, out, 0); /* even without a broker */
    else core_connect(c, out);
    return;
  case EVENT_DONE: done(c, e, out); return;
  case EVENT_LOG:
    if (e->last_seq > c->last_seq) c->last_seq = e->last_seq;
    c->indexed_seq = e->indexed_seq; /* may fall: a reindex begins anew, and delivery waits for it */
    if (c->pending_since_us == 0 && c->indexed_seq > c->cursor.seq) c->pending_since_us = c->now_us;
    if (c->behind_since_us == 0 && c->indexed_seq > c->txn.to) c->behind_since_us = c->now_us;
    if (c->phase == PHASE_IDLE) core_idle(c, out);
    return;
  case EVENT_TIMER:
    rest_if_asked(c, out);
    if (out->count || c->op != OP_NONE || c->wake_at == 0 || c->now_us < c->wake_at) return;
    if (c->phase == PHASE_IDLE) core_idle(c, out);
    else if (c->phase == PHASE_INTENT) core_act(c, out, PHASE_INTENT, OP_INTENT);
    else core_connect(c, out);
    return;
  case EVENT_ERROR:
    core_fault(c, &e->why);
    if (e->transport) {
      c->txn.transport = true;
      cuts_seen(c);
    }
    if (e->why.fatal) handle_lost(c, out, &e->why);
    return;
  case EVENT_REACHED:
    core_reached(c);
    return;
  case EVENT_BOOK:
    if (c->op == OP_NONE && e->book) (void)book_load(c, e->book); /* CONNECT is next, and brings it again */
    return;
  case EVENT_RESUMED: {
    const fault slept = {.scope = SCOPE_PRODUCER, .class_ = CLASS_RETRYABLE_TRANSIENT, .name = "RESUMED",
                         .text = "the host slept: its connections are dead"};
    handle_lost(c, out, &slept);
    topics_forget_refusals(c);
    if (c->phase == PHASE_BACKOFF || (c->phase == PHASE_PARKED && c->wake_at)) c->wake_at = c->now_us;
    return;
  }
  case EVENT_LOGIN:
    if (!c->handle && c->phase != PHASE_DESTROY) { /* the next one has them; what they may mend need not wait */
      if (c->phase == PHASE_BACKOFF || (c->phase == PHASE_PARKED && c->wake_at)) c->wake_at = c->now_us;
      return;
    }
    c->recreate = RENEWAL_LOGIN;
    if (c->phase == PHASE_IDLE) core_idle(c, out);
    else if (c->phase == PHASE_BACKOFF) core_destroy(c, out, PHASE_BACKOFF); /* no answer yet but refusals */
    return;
  case EVENT_RULES:
    c->letters_anew = true;
    if (c->phase == PHASE_IDLE) core_idle(c, out);
    return;
  case EVENT_LANES: c->lanes_full_to = e->lanes_full_to; return;
  case EVENT_STOP:
    c->stopping = true;
    c->txn.stop = true;
    rest_if_asked(c, out);
    return;
  }
}

int64_t core_wake_at(const core *c) {
  int64_t at = c->op == OP_NONE ? c->wake_at : 0;
  if (c->config.drain && c->config.drain_deadline_us && !c->drain_expired)
    core_earlier(&at, c->config.drain_deadline_us);
  return at;
}
