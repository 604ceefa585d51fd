/* What the driver and the tests read from the core. Nothing here changes it. */
#include "core/inner.h"
#include <stdlib.h>

bool core_txn_begun(const core *c) { return c->txn.begun; }
const delivery_attempt *core_attempt(const core *c) { return &c->attempt; }
core_phase core_phase_of(const core *c) { return c->phase; }
int64_t core_batch_bytes(const core *c) { return c->batch_bytes; }
int64_t core_txn_timeout_us(const core *c) { return c->timeout_us; }
int64_t core_queue_bytes(const core *c, int64_t configured) {
  return c->queue_bytes > configured ? c->queue_bytes : configured;
}

const char *core_phase_text(core_phase phase) {
  static const char *const text[PHASE_COUNT] = {
      "backoff", "connect", "marker-topic", "init-txn", "read-marker", "reconcile", "idle", "topic", "fill",
      "flush", "intent", "commit", "settle", "abort", "abandon", "destroy", "parked", "stopped"};
  return (unsigned)phase < PHASE_COUNT ? text[phase] : "?";
}

void core_view_get(const core *c, core_view *v) {
  *v = (core_view){.phase = c->phase, .since_us = c->phase_us, .park = c->park, .park_probes = c->park_probes,
                   .last_fault = c->last_fault, .last_fault_us = c->last_fault_us,
                   .last_commit_us = c->last_commit_us,
                   .next_try_us = c->next_try_us, .held = c->phase == PHASE_IDLE && c->next_try_us > 0,
                   .cursor_seq = c->cursor.seq, .last_seq = c->last_seq, .indexed_seq = c->indexed_seq,
                   .letters_published = c->cursor.dlq_no, .letters_wait = c->letters_wait,
                   .transactions = c->transactions, .aborts = c->aborts, .handles = c->handles,
                   .renewed = c->renewed, .expired = c->expired, .partition_changes = c->partition_changes,
                   .partitions_were = c->partitions_were, .txn_bytes = c->target_bytes,
                   .bytes_per_s = c->bytes_per_s, .events_per_s = c->events_per_s,
                   .link_gap_us = c->gap_us, .link_room = c->room_bytes,
                   .marker_here = sl_buf_slice(&c->marker_bytes), .marker_there = sl_buf_slice(&c->marker_there)};
  for (size_t i = 0; i < c->topics.count; i++) v->lane_count += c->topics.list[i]->has_lane;
  if (c->offsets_back > 0) {
    const topic *back = c->topics.list[c->back_topic];
    v->offsets_back = c->offsets_back;
    v->back_topic = (sl_slice){back->name, back->len};
    v->back_from = c->back_from;
    v->back_to = c->back_to;
  }
  if (c->partition_changes == 0) return;
  const topic *tp = c->topics.list[c->changed_topic];
  v->changed_topic = (sl_slice){tp->name, tp->len};
  v->partitions_are = tp->partitions;
}

core_lane_view core_lane_of(const core *c, sl_slice name) {
  const topic *tp = topics_find(&c->topics, name);
  if (!tp) return (core_lane_view){0};
  return (core_lane_view){fault_is_ok(&tp->sick_of) ? NULL : &tp->sick_of, tp->has_lane ? tp->oldest_us : 0,
                          tp->refused_wall_us, tp->max_age_us};
}

size_t core_lanes(const core *c, sl_lane *list, size_t max) {
  size_t n = 0;
  for (size_t i = 0; i < c->topics.count && n < max; i++) {
    const topic *tp = c->topics.list[i];
    if (tp->has_lane) list[n++] = (sl_lane){{tp->name, tp->len}, tp->lane_seq};
  }
  if (n > 1) qsort(list, n, sizeof *list, lanes_by_topic);
  return n;
}

bool core_topic_is_new(const core *c, sl_slice name) {
  const topic *tp = topics_find(&c->topics, name);
  return !tp || tp->partitions == 0;
}

int64_t core_stamp_max_age_us(const core *c, uint64_t tag) {
  const size_t index = (size_t)(tag & UINT32_MAX);
  if (index >= c->txn.count) return 0;
  const topic *tp = c->txn.slots[index].topic;
  return tp->restamps ? 1 : tp->stamp_max_age_us;
}

const char *core_check(const core *c) {
  const txn *t = &c->txn;
  if (c->phase >= PHASE_COUNT) return "the phase is one of the list";
  if ((c->phase == PHASE_IDLE || c->phase == PHASE_BACKOFF || c->phase == PHASE_PARKED ||
       c->phase == PHASE_STOPPED) && c->op != OP_NONE)
    return "at rest no operation is under way";
  if (t->outstanding > t->produced || t->produced > t->count) return "outstanding <= produced <= records";
  if ((t->outstanding == 0) != (t->under_way == 0)) return "bytes are under way with records";
  if (t->along > 0 && (t->produced != t->along || t->lane || t->copies))
    return "a copy goes along with verdicts alone";
  if (c->phase == PHASE_COMMIT && !c->has_intent) return "the intent is written before the commit";
  if (c->phase == PHASE_COMMIT && (t->outstanding || t->failed)) return "a commit follows complete delivery";
  if ((c->phase == PHASE_FILL || c->phase == PHASE_FLUSH) && c->has_intent)
    return "a transaction begins only when the last one's outcome is known";
  if (c->phase == PHASE_FILL && c->config.exactly_once && !c->claimed) return "events follow the claim";
  if (!c->handle && c->phase >= PHASE_CONNECT && c->phase <= PHASE_ABANDON) return "work needs a handle";
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->has_lane && c->topics.list[i]->lane_seq > c->cursor.seq)
      return "no lane is ahead of the cursor";
  for (size_t i = 1; i < t->count; i++)
    if (t->verdicts[i].seq <= t->verdicts[i - 1].seq) return "verdicts ascend";
  if (c->cursor.attempt > c->last_attempt) return "attempt numbers are not reused";
  return NULL;
}
