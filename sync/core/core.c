/* The phases of delivery. Reads from top to bottom in the order of a good day: start, connect, reconcile, claim,
 * transaction after transaction; then what each setback leads to. */
#include "core/history_pack.h"
#include <stdlib.h>

#define FLOW_LOOK_US 60000000
#define LETTERS_GATHER_US 500000

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

void core_fault(core *c, const fault *why) {
  c->last_fault = *why;
  c->last_fault_us = c->now_us;
}

/* --- actions --- */

static core_action *act(core *c, core_actions *out, core_phase phase, core_op op) {
  core_enter(c, phase);
  c->op = op;
  c->wake_at = 0;
  core_action *a = &out->list[out->count++];
  *a = (core_action){.op = op};
  return a;
}

static void do_connect(core *c, core_actions *out) {
  c->next_try_us = 0;
  if (!c->handle) {
    c->handle = true;
    c->handles++;
    c->recreate = false;
  }
  act(c, out, PHASE_CONNECT, OP_CONNECT);
}

static void do_rest(core *c, core_actions *out, int status) {
  core_enter(c, PHASE_STOPPED);
  c->op = OP_NONE;
  c->wake_at = 0;
  out->list[out->count++] = (core_action){.op = OP_EXIT, .exit_status = status};
}

static int rest_status(const core *c) {
  if (!c->config.drain) return 0;
  if (c->drained) return 0;
  return c->park != PARK_NONE ? 4 : 5;
}

/* Partitions are added and limits changed under way: what was known of topics is asked for anew before their next
 * record, all that it takes in one request. */
static void look_again(core *c) {
  c->looked_us = c->now_us;
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->health == TOPIC_READY) c->topics.list[i]->health = TOPIC_UNKNOWN;
}

/* Ends the handle, then waits (BACKOFF), parks or stops. */
static void do_destroy(core *c, core_actions *out, core_phase after) {
  c->after_destroy = after;
  c->claimed = false;
  c->next_try_us = 0;
  txn_reset(c);
  look_again(c); /* what was known of READY topics came from this handle */
  act(c, out, PHASE_DESTROY, OP_DESTROY);
}

static void back_off(core *c) {
  core_enter(c, PHASE_BACKOFF);
  c->op = OP_NONE;
  /* At most 2 s, spread evenly: the agent is back within 2 s of its broker, and a thousand agents are not all
   * back in the same instant. */
  int64_t delay = retry_delay(&c->config.seed, (retry_rule){0, 100000, 2000000}, c->failures);
  if (c->recreate) delay = 0; /* nothing is wrong with the broker */
  else if (c->failures < 16) c->failures++;
  c->wake_at = c->next_try_us = c->now_us + delay;
}

static void do_park(core *c, core_actions *out, core_park park) {
  c->park = park;
  do_destroy(c, out, PHASE_PARKED);
}

/* --- idle: what next? --- */

static void do_flush(core *c, core_actions *out) {
  if (!txn_seal(c)) {
    do_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  core_action *a = act(c, out, PHASE_FLUSH, OP_FLUSH);
  if (c->config.exactly_once) a->marker = sl_buf_slice(&c->marker);
}

static void do_intent(core *c, core_actions *out) {
  txn_note_recreated(c);
  act(c, out, PHASE_INTENT, OP_INTENT);
}

static void do_fill(core *c, core_actions *out, topic *lane) {
  txn_reset(c);
  txn *t = &c->txn;
  topics_want_none(c);
  c->behind_since_us = 0;
  if (!lane && c->config.look_us > 0 && c->now_us - c->looked_us >= c->config.look_us) look_again(c);
  t->open = true;
  t->lane = lane;
  t->from = (lane ? lane->lane_seq : c->cursor.seq) + 1;
  t->to = lane ? c->cursor.seq : c->indexed_seq;
  t->looked_to = t->from - 1;
  core_action *a = act(c, out, PHASE_FILL, OP_FILL);
  a->from = t->from;
  a->to = t->to;
  a->topic = lane ? lane->name : NULL;
}

static void do_letters(core *c, core_actions *out) {
  txn_reset(c);
  txn *t = &c->txn;
  topics_want_none(c);
  t->open = t->copies = true;
  t->from = c->letters_from ? c->letters_from : 1;
  t->to = c->last_letter;
  t->looked_to = t->from - 1;
  core_action *a = act(c, out, PHASE_FILL, OP_FILL);
  a->letters = true;
  a->from = t->from;
  a->to = t->to;
}

static void do_claim(core *c, core_actions *out) {
  txn_reset(c);
  c->txn.open = true;
  c->txn.claim = true;
  c->txn.begun_us = c->now_us;
  c->txn.from = c->cursor.seq + 1;
  c->txn.looked_to = c->txn.to = c->cursor.seq;
  do_flush(c, out);
}

static void do_topics(core *c, core_actions *out) {
  c->asked_us = c->now_us;
  c->asked_wall_us = c->wall_us;
  core_action *a = act(c, out, PHASE_TOPIC, OP_TOPIC);
  a->topics = c->wanted_names;
  a->topic_count = c->wanted_count;
}

static void do_topic(core *c, core_actions *out, topic *tp) {
  topics_want_none(c);
  topics_want(c, tp);
  do_topics(c, out);
}

/* The next lane with events to set aside. */
static topic *lane_to_expire(core *c) {
  for (size_t k = 0; k < c->topics.count; k++) {
    topic *tp = c->topics.list[(c->lane_turn + k) % c->topics.count];
    if (!tp->expire) continue;
    tp->expire = false;
    if (tp->has_lane) return tp;
  }
  return NULL;
}

static topic *lane_due(core *c, int64_t *next_try) {
  topic *due = NULL;
  size_t n = c->topics.count;
  for (size_t k = 0; k < n; k++) {
    topic *tp = c->topics.list[(c->lane_turn + k) % n];
    if (!tp->has_lane) continue;
    if (tp->lane_try_us <= c->now_us) {
      if (!due) {
        due = tp;
        c->lane_turn = (c->lane_turn + k + 1) % n;
      }
    } else if (*next_try == 0 || tp->lane_try_us < *next_try) {
      *next_try = tp->lane_try_us;
    }
  }
  return due;
}

/* Is there a dead letter that nobody has looked at, or is it time to look at all of them again? */
static bool letters_due(core *c) {
  if (!c->config.letters || !c->letters_wait || c->letters_try_us > c->now_us) return false;
  if (c->letters_again_us > 0 && c->letters_again_us <= c->now_us) {
    c->letters_from = 0;
    c->letters_again_us = 0;
  }
  return c->letters_from <= c->last_letter;
}

static bool any_lane(const core *c, uint64_t below) {
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->has_lane && c->topics.list[i]->lane_seq < below) return true;
  return false;
}

static bool nothing_to_drain(const core *c) {
  return c->config.drain && c->cursor.seq >= c->config.drain_to && !any_lane(c, c->config.drain_to);
}

static void earlier(int64_t *wake, int64_t at) {
  if (at > 0 && (*wake == 0 || at < *wake)) *wake = at;
}

static void idle(core *c, core_actions *out) {
  core_enter(c, PHASE_IDLE);
  c->op = OP_NONE;
  c->wake_at = 0;
  c->drained = nothing_to_drain(c);
  /* A drain tries each letter, and does not wait for a dead-letter topic that cannot be written. */
  const bool letters = letters_due(c);
  if (c->stopping || (c->drained && !letters) || c->drain_expired) {
    do_destroy(c, out, PHASE_STOPPED);
    return;
  }
  if (c->recreate || c->stale) {
    do_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  if (c->hold_us > c->now_us) {
    c->wake_at = c->hold_us;
    return;
  }
  if (c->config.exactly_once && !c->claimed) {
    do_claim(c, out);
    return;
  }
  c->park = PARK_NONE;
  int64_t lane_at = 0;
  bool work = c->indexed_seq > c->cursor.seq;
  int64_t flow_us = work || letters || any_lane(c, UINT64_MAX) ? flow_wait_us(c) : 0;
  c->next_try_us = 0;
  if (flow_us > 0) {
    c->next_try_us = c->now_us + flow_us;
    c->wake_at = c->now_us + (flow_us < FLOW_LOOK_US ? flow_us : FLOW_LOOK_US); /* the wall clock may be set */
    return;
  }
  /* Letters and the rest take turns, too: neither a flood of letters nor a backlog keeps the other waiting. But beside a
   * backlog they gather: a transaction for the few of each turn took a third of its rate. */
  const bool gather = work && c->config.latency_budget_us == 0 && c->letters_us > 0 &&
                      c->now_us - c->letters_us < LETTERS_GATHER_US;
  if (letters && !gather && !(c->letters_last && work)) {
    c->letters_last = true;
    c->letters_us = c->now_us;
    do_letters(c, out);
    return;
  }
  c->letters_last = false;
  /* Lanes and main take turns, failed ones counted: a thousand sick lanes must not keep main waiting. */
  topic *lane = work && c->lane_last ? NULL : lane_to_expire(c);
  if (lane) {
    c->lane_last = true;
    do_fill(c, out, lane);
    c->txn.expire = true;
    return;
  }
  lane = work && c->lane_last ? NULL : lane_due(c, &lane_at);
  c->lane_last = lane != NULL;
  if (lane) {
    lane->lane_try_us = c->now_us + c->config.probe_us; /* unless it goes well */
    if (lane->health == TOPIC_SICK) lane->health = TOPIC_UNKNOWN;
    if (lane->health == TOPIC_UNKNOWN) do_topic(c, out, lane);
    else do_fill(c, out, lane);
    return;
  }
  if (work) {
    int64_t due = c->pending_since_us + c->config.latency_budget_us;
    if (c->config.latency_budget_us == 0 || due <= c->now_us || c->config.drain ||
        c->indexed_seq - c->cursor.seq >= (uint64_t)c->config.txn_max_events) {
      do_fill(c, out, NULL);
      return;
    }
    c->wake_at = due;
  } else {
    c->failures = 0;
  }
  earlier(&c->wake_at, lane_at);
  if (!c->config.letters || !c->letters_wait) return;
  earlier(&c->wake_at, c->letters_again_us);
  if (c->letters_from <= c->last_letter) earlier(&c->wake_at, c->letters_try_us);
}

/* --- setbacks --- */

/* Before anything is begun: connect, topics, init, marker. */
static void setback(core *c, core_actions *out, const fault *why) {
  core_fault(c, why);
  if (why->scope == SCOPE_CONNECTION) topics_forget_refusals(c);
  if (c->drained) do_destroy(c, out, PHASE_STOPPED); /* only letters are left: they wait for the next start */
  else if (why->scope == SCOPE_CLUSTER || (why->scope == SCOPE_TOPIC && c->phase == PHASE_MARKER_TOPIC))
    do_park(c, out, PARK_REFUSED);
  else if (c->phase == PHASE_CONNECT && why->scope == SCOPE_CONNECTION && !why->fatal) back_off(c);
  else do_destroy(c, out, PHASE_BACKOFF);
}

/* A transaction failed before its commit was called: an abort is safe. */
static void fail(core *c, core_actions *out, const fault *why) {
  txn *t = &c->txn;
  fault_scope scope = txn_blame(c, why);
  if (scope == SCOPE_CONNECTION) topics_forget_refusals(c);
  c->aborts++;
  bool handle_lives =
      !why->fatal && !t->why.fatal && !c->stale && (scope == SCOPE_RECORD || scope == SCOPE_TOPIC);
  if (!c->config.exactly_once) {
    txn_cut_at_failure(c);
    c->destroy_after_settle = true; /* later records must not pass the failed one */
    if (scope == SCOPE_CLUSTER) c->park = PARK_REFUSED;
    if (t->count > 0 && txn_seal(c)) do_intent(c, out);
    else do_destroy(c, out, c->park ? PHASE_PARKED : PHASE_BACKOFF);
  } else if (scope == SCOPE_CLUSTER) {
    do_park(c, out, PARK_REFUSED);
  } else if (!handle_lives && scope != SCOPE_AGENT) {
    do_destroy(c, out, PHASE_BACKOFF);
  } else if (t->begun) {
    t->op_us = c->now_us;
    t->transport = false;
    act(c, out, PHASE_ABORT, OP_ABORT);
  } else if (c->has_intent) {
    act(c, out, PHASE_ABANDON, OP_ABANDON);
  } else if (scope == SCOPE_AGENT) {
    do_destroy(c, out, PHASE_BACKOFF);
  } else {
    txn_reset(c);
    idle(c, out);
  }
}

/* --- the end of each operation --- */

static void done_connect(core *c, const core_event *e, core_actions *out) {
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  const char *id = e->cluster_id ? e->cluster_id : "";
  if (c->cluster_id[0] && id[0] && strcmp(c->cluster_id, id) != 0 && c->ever_delivered) {
    do_park(c, out, PARK_FOREIGN_CLUSTER);
    return;
  }
  if (id[0]) strncpy(c->cluster_id, id, sizeof c->cluster_id - 1);
  pace_connected(c, e->round_trip_us);
  if (c->recreate) {
    do_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  if (c->config.exactly_once) act(c, out, PHASE_MARKER_TOPIC, OP_MARKER_TOPIC);
  else if (c->has_intent) act(c, out, PHASE_READ_MARKER, OP_READ_MARKER); /* left by exactly-once */
  else idle(c, out);
}

/* The marker must be the cursor's or the intent's, exactly. Larger is not good enough: a prototype that took a
 * larger marker on trust never sent 120 new events of a restored store (seen). */
static void reconcile(core *c, sl_slice there, core_actions *out) {
  sl_slice intent = sl_buf_slice(&c->intent_bytes);
  core_park park = core_judge_marker(there, sl_buf_slice(&c->marker_bytes), intent);
  if (there.len > 0 && c->has_intent && sl_slice_eq(there, intent)) {
    act(c, out, PHASE_RECONCILE, OP_SETTLE);
  } else if (!c->config.exactly_once) {
    act(c, out, PHASE_RECONCILE, OP_ABANDON); /* at worst its events are sent twice, which this mode allows */
  } else if (park == PARK_NONE) {
    if (c->has_intent) act(c, out, PHASE_RECONCILE, OP_ABANDON);
    else idle(c, out);
  } else {
    buf_set(&c->marker_there, there);
    do_park(c, out, park);
  }
}

/* What kafka_read_marker says where the marker's place is not there: the topic was created again. */
static bool place_is_gone(const fault *why) {
  return strcmp(why->name, "OFFSET_OUT_OF_RANGE") == 0 || strcmp(why->name, "_UNKNOWN_PARTITION") == 0;
}

static void done_read_marker(core *c, const core_event *e, core_actions *out) {
  if (fault_is_ok(&e->why)) {
    reconcile(c, e->marker, out);
  } else if (!c->config.exactly_once && (e->why.scope == SCOPE_TOPIC || e->why.scope == SCOPE_CLUSTER)) {
    core_fault(c, &e->why);
    act(c, out, PHASE_RECONCILE, OP_ABANDON);
  } else if (place_is_gone(&e->why)) {
    core_fault(c, &e->why);
    do_park(c, out, PARK_MARKER_MISSING);
  } else {
    setback(c, out, &e->why);
  }
}

static void done_reconcile(core *c, const core_event *e, core_actions *out) {
  if (e->book) book_load(c, e->book); /* a write that failed may be there all the same */
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  idle(c, out);
}

/* A topic that takes fewer bytes than a batch holds would refuse whole batches of small records. */
#define BATCH_DEFAULT 1000000
#define BATCH_MIN 1024

static void fit_batches(core *c, int64_t max_message_bytes) {
  int64_t fit = max_message_bytes > BATCH_MIN ? max_message_bytes : BATCH_MIN;
  if (max_message_bytes <= 0 || fit >= (c->batch_bytes ? c->batch_bytes : BATCH_DEFAULT)) return;
  c->batch_bytes = fit;
  c->recreate = true;
}

/* A key goes on to the partition where the Java client puts it, of as many as there are now; who reads by key should
 * know that it moved. */
static void note_partitions(core *c, topic *tp, int32_t now) {
  if (now <= 0 || now == tp->partitions) return;
  if (tp->partitions > 0) {
    c->partition_changes++;
    c->changed_topic = tp->index;
    c->partitions_were = tp->partitions;
  }
  tp->partitions = now;
}

/* All that was sent before lies in a topic that is gone. */
static void note_recreated(core *c, topic *tp, const core_topic_result *r) {
  if (!r->recreated) return;
  txn_offsets_back(c, tp, r->receipt_at, r->ends_at);
  tp->back = true;
  tp->back_txn = c->txn.number; /* no transaction is in hand: the next one has another number */
  tp->back_seq = 0;
}

/* False: the fault is not this topic's own. */
static bool take_topic(core *c, topic *tp, const core_topic_result *r) {
  tp->max_age_us = r->lane_max_age_us;
  tp->rules = r->rules ? *r->rules : fault_rules_default;
  if (fault_is_ok(&r->why)) {
    tp->health = TOPIC_READY;
    note_partitions(c, tp, r->partitions);
    note_recreated(c, tp, r);
    suspect_settings(c, tp, r);
    fit_batches(c, r->max_message_bytes);
    if (tp->has_lane) tp->lane_try_us = c->now_us;
    return true;
  }
  if (r->why.scope != SCOPE_TOPIC && r->why.scope != SCOPE_RECORD && /* a name that librdkafka refuses, say: */
      (r->why.scope != SCOPE_AGENT || r->why.fatal))
    return false;
  core_fault(c, &r->why);
  topic_sicken(c, tp, &r->why);
  return true;
}

static void done_topic(core *c, const core_event *e, core_actions *out) {
  const fault *why = fault_is_ok(&e->why) ? NULL : &e->why;
  for (size_t i = 0; i < c->wanted_count && fault_is_ok(&e->why); i++)
    if (!take_topic(c, c->wanted[i], &e->topics[i])) why = &e->topics[i].why;
  topics_want_none(c);
  if (why) setback(c, out, why);
  else idle(c, out);
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
    do_flush(c, out);
    return;
  }
  /* Nothing could be taken. Main waits a while: no room for another lane, or no memory. */
  if (t->copies) c->letters_from = t->looked_to + 1;
  else if (!t->lane && c->wanted_count == 0 && !c->recreate) c->hold_us = c->now_us + 1000000;
  if (t->begun) { /* its only record was refused; left open, it would hold back readers */
    t->op_us = c->now_us;
    t->transport = false;
    act(c, out, PHASE_ABORT, OP_ABORT);
  } else if (c->wanted_count > 0 && !c->stopping && !c->drain_expired) {
    do_topics(c, out);
  } else {
    idle(c, out);
  }
}

/* Where only the marker's own record fails: no event and no topic of events is to blame for it. */
static void marker_refused(core *c, core_actions *out, const fault *why) {
  core_fault(c, why);
  c->aborts++;
  bool lasting = why->class_ != CLASS_RETRYABLE_TRANSIENT && why->class_ != CLASS_RETRYABLE_DEPENDENCY;
  if (lasting) do_park(c, out, PARK_REFUSED);
  else do_destroy(c, out, PHASE_BACKOFF);
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
    do_intent(c, out);
  }
}

static void go_on(core *c, core_actions *out) {
  if (c->destroy_after_settle) do_destroy(c, out, c->park ? PHASE_PARKED : PHASE_BACKOFF);
  else idle(c, out);
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
  if (e->book) book_load(c, e->book);
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
    do_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  c->txn.op_us = c->now_us;
  c->txn.transport = false;
  act(c, out, PHASE_COMMIT, OP_COMMIT);
}

static bool quick_and_clean(const core *c, const fault *why) {
  return fault_is_ok(why) && !c->txn.transport && !c->stale && c->now_us - c->txn.op_us <= c->config.doubt_us;
}

static void done_commit(core *c, const core_event *e, core_actions *out) {
  if (quick_and_clean(c, &e->why)) {
    act(c, out, PHASE_SETTLE, OP_SETTLE);
    return;
  }
  if (!fault_is_ok(&e->why)) {
    core_fault(c, &e->why);
    c->aborts++;
  }
  do_destroy(c, out, PHASE_BACKOFF); /* doubt: the intent stays, the marker will tell */
}

static void done_settle(core *c, const core_event *e, core_actions *out) {
  if (e->book) book_load(c, e->book);
  if (!fault_is_ok(&e->why)) { /* the commit stands on the broker; reading the marker settles it again */
    setback(c, out, &e->why);
    return;
  }
  finish(c, out);
}

static void done_abort(core *c, const core_event *e, core_actions *out) {
  if (!quick_and_clean(c, &e->why)) {
    if (!fault_is_ok(&e->why)) core_fault(c, &e->why);
    do_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  /* librdkafka 2.0.2 counts a batch that the broker refused as sent, and an abort does not change that: the next
   * batch to its partition leaves a gap (OUT_OF_ORDER_SEQUENCE_NUMBER), innocents are purged, or kept until their
   * transaction's timeout (seen). Only a new handle counts anew. */
  if (c->txn.named > 0) c->recreate = true;
  if (c->has_intent) {
    act(c, out, PHASE_ABANDON, OP_ABANDON);
  } else {
    txn_reset(c);
    idle(c, out);
  }
}

static void done_abandon(core *c, const core_event *e, core_actions *out) {
  if (e->book) book_load(c, e->book);
  if (!fault_is_ok(&e->why)) {
    setback(c, out, &e->why);
    return;
  }
  txn_reset(c);
  idle(c, out);
}

static void done_destroy(core *c, core_actions *out) {
  c->handle = c->stale = false;
  c->destroy_after_settle = false;
  if (c->stopping || c->drain_expired || (c->drained && !c->recreate)) c->after_destroy = PHASE_STOPPED;
  if (c->after_destroy == PHASE_PARKED && c->park == PARK_REFUSED && c->recreate)
    c->after_destroy = PHASE_BACKOFF; /* that refusal was of the old credentials */
  if (c->after_destroy == PHASE_PARKED) {
    if (c->config.drain) {
      do_rest(c, out, 4);
      return;
    }
    core_enter(c, PHASE_PARKED);
    c->op = OP_NONE;
    c->wake_at = c->next_try_us = c->park == PARK_REFUSED ? c->now_us + c->config.probe_us : 0;
  } else if (c->after_destroy == PHASE_STOPPED) {
    do_rest(c, out, rest_status(c));
  } else {
    back_off(c);
  }
}

static void done(core *c, const core_event *e, core_actions *out) {
  if (e->op == OP_NONE || e->op != c->op) return; /* a driver's bug; ignoring it is safe */
  c->op = OP_NONE;
  bool before_claim =
      e->op == OP_CONNECT || e->op == OP_MARKER_TOPIC || e->op == OP_INIT_TXN || e->op == OP_READ_MARKER;
  if (before_claim && (c->stopping || c->drain_expired || c->stale || c->recreate)) {
    do_destroy(c, out, c->stopping || c->drain_expired ? PHASE_STOPPED : PHASE_BACKOFF);
    return;
  }
  switch (e->op) {
  case OP_CONNECT: done_connect(c, e, out); break;
  case OP_MARKER_TOPIC:
    if (fault_is_ok(&e->why)) act(c, out, PHASE_INIT_TXN, OP_INIT_TXN);
    else setback(c, out, &e->why);
    break;
  case OP_INIT_TXN:
    if (fault_is_ok(&e->why)) {
      act(c, out, PHASE_READ_MARKER, OP_READ_MARKER);
    } else {
      if (e->why.scope == SCOPE_AGENT) { /* above the broker's limit? */
        c->timeout_refused = c->timeout_refused || c->timeout_us > c->config.txn_timeout_us;
        c->timeout_us = c->config.txn_timeout_us;
      }
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
  if (c->handle) do_destroy(c, out, PHASE_STOPPED);
  else do_rest(c, out, rest_status(c));
}

/* The handle is dead, or its connections are: the operation under way ends first, then it is destroyed. */
static void handle_lost(core *c, core_actions *out, const fault *why) {
  if (!c->handle || c->phase == PHASE_DESTROY) return;
  c->stale = true;
  c->stale_why = *why;
  c->stale_why.fatal = true;
  c->txn.stop = true;
  if (c->op == OP_NONE && c->phase != PHASE_INTENT) do_destroy(c, out, PHASE_BACKOFF);
}

void core_take(core *c, const core_event *e, core_actions *out) {
  out->count = 0;
  c->now_us = e->now_us;
  c->wall_us = e->wall_us;
  c->closed_us = e->closed_us;
  if (c->phase == PHASE_STOPPED) return;
  if (c->config.drain && c->config.drain_deadline_us && c->now_us >= c->config.drain_deadline_us)
    c->drain_expired = c->txn.stop = true;
  switch (e->kind) {
  case EVENT_START:
    c->drained = nothing_to_drain(c);
    if (c->drained && !(c->config.letters && c->letters_wait)) do_rest(c, out, 0); /* also with the broker away */
    else do_connect(c, out);
    return;
  case EVENT_DONE: done(c, e, out); return;
  case EVENT_LOG:
    if (e->last_seq > c->last_seq) c->last_seq = e->last_seq;
    c->indexed_seq = e->indexed_seq; /* may fall: a reindex begins anew, and delivery waits for it */
    if (c->pending_since_us == 0 && c->indexed_seq > c->cursor.seq) c->pending_since_us = c->now_us;
    if (c->behind_since_us == 0 && c->indexed_seq > c->txn.to) c->behind_since_us = c->now_us;
    if (c->phase == PHASE_IDLE) idle(c, out);
    return;
  case EVENT_TIMER:
    rest_if_asked(c, out);
    if (out->count || c->op != OP_NONE || c->wake_at == 0 || c->now_us < c->wake_at) return;
    if (c->phase == PHASE_IDLE) idle(c, out);
    else if (c->phase == PHASE_INTENT) act(c, out, PHASE_INTENT, OP_INTENT);
    else do_connect(c, out);
    return;
  case EVENT_ERROR:
    core_fault(c, &e->why);
    if (e->transport) c->txn.transport = true;
    if (e->why.fatal) handle_lost(c, out, &e->why);
    return;
  case EVENT_BOOK:
    if (c->op == OP_NONE && e->book) book_load(c, e->book);
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
    if (!c->handle && c->phase != PHASE_DESTROY) { /* the next one has them anyway; what they may mend need not wait */
      if (c->phase == PHASE_BACKOFF || (c->phase == PHASE_PARKED && c->wake_at)) c->wake_at = c->now_us;
      return;
    }
    c->recreate = true;
    if (c->phase == PHASE_IDLE) idle(c, out);
    else if (c->phase == PHASE_BACKOFF) do_destroy(c, out, PHASE_BACKOFF); /* nobody answered it, or only refused */
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
    earlier(&at, c->config.drain_deadline_us);
  return at;
}
