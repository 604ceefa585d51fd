/* Copies of dead letters for their dead-letter topics: in transactions of their own, where one that its topic
 * refuses goes again without its value, and then waits. Or along with their verdicts, in a transaction in which
 * nothing else is sent: when that fails, no event is to blame either, and the next ones go on their own. */
#include "core/inner.h"
#include <stdlib.h>

#define ALONG_NEAR 64 /* with more behind it, its transaction shall take events instead */
#define LARGE_ANEW_US INT64_C(3600000000)

/* --- too large for a topic whose limit nobody tells --- */

/* Larger than one that was refused. */
static bool is_large(const topic *dlq, size_t size) {
  return dlq->max_message_bytes <= 0 && dlq->letter_refused > 0 && size >= dlq->letter_refused;
}

/* Its limit may be another one by now: the next large one tells, where no verdict waits for it. */
static bool is_to_be_tried(const core *c, const topic *dlq) {
  return c->now_us - dlq->letter_refused_us >= LARGE_ANEW_US;
}

static bool goes_slim(const topic *dlq, size_t size) {
  return dlq->max_message_bytes > 0 && size > (uint64_t)dlq->max_message_bytes;
}

static topic *topic_of(const core *c, const slot *s) { return s->along ? c->topics.list[s->most] : s->topic; }

bool letter_note_refused(core *c, const slot *s, const fault *why) {
  topic *dlq = topic_of(c, s);
  if (!s->whole || dlq->max_message_bytes > 0 || !suspect_is_of_size(why)) return false;
  if (dlq->letter_refused == 0 || s->size < dlq->letter_refused) dlq->letter_refused = s->size;
  dlq->letter_refused_us = c->now_us;
  return true;
}

void letter_note_taken(core *c, const slot *s) {
  topic *dlq = topic_of(c, s);
  if (s->whole && is_large(dlq, s->size)) dlq->letter_refused = 0;
}

/* --- along --- */

void letter_finish(letter_text *l) {
  l->letter.error_class = sl_slice_of(l->class_);
  l->letter.error_code = sl_slice_of(l->name);
  l->letter.error_text = sl_slice_of(l->text);
}

/* In order: behind no letter that waits to be looked at. */
static bool may_go_along(const core *c, int64_t now_us) {
  const txn *t = &c->txn;
  if (!t->open || c->phase != PHASE_FILL || t->copies || t->lane || t->failed || t->broken) return false;
  if (t->count == 0) return false;
  if (!c->config.exactly_once || !c->config.letters || c->along_us > now_us) return false;
  if (c->letters_wait && (c->letters_anew || c->letters_from <= c->last_letter)) return false;
  const size_t last = t->count - 1;
  return t->verdicts[last].verdict == SL_VERDICT_DEAD && !t->slots[last].along &&
         t->letter_count == t->along + 1 && t->produced == t->along && t->to - t->looked_to <= ALONG_NEAR;
}

const sl_letter *core_dead(core *c, uint64_t seq, int64_t now_us) {
  txn *t = &c->txn;
  if (!may_go_along(c, now_us) || t->verdicts[t->count - 1].seq != seq) return NULL;
  letter_text *l = &t->letters[t->slots[t->count - 1].letter - 1];
  letter_finish(l);
  return &l->letter;
}

static core_offer_result offer_along(core *c, const topic *dlq, size_t size, int64_t now_us, bool *slim,
                                     uint64_t *tag) {
  txn *t = &c->txn;
  if ((t->along > 0 && t->bytes + size > c->target_bytes) || !flow_has_room(c, size)) return OFFER_SETTLED;
  const bool large = is_large(dlq, size);
  if (large && is_to_be_tried(c, dlq)) return OFFER_SETTLED;
  *slim = t->along_slim || large || goes_slim(dlq, size);
  slot *s = &t->slots[t->count - 1];
  s->produced = s->along = true;
  s->whole = !*slim;
  s->size = (uint32_t)size;
  s->most = dlq->index;
  t->along++;
  t->produced++;
  txn_sends(t, s);
  t->bytes += size;
  flow_take(c, size, 1);
  if (t->begun_us == 0) t->begun_us = now_us;
  *tag = (uint64_t)t->number << 32 | (uint64_t)(t->count - 1);
  return OFFER_PRODUCE;
}

bool along_refused(core *c, const fault *why) {
  txn *t = &c->txn;
  slot *s = &t->slots[t->count - 1];
  s->along = false;
  t->along--;
  txn_not_sent(c, s);
  const bool again = why->scope == SCOPE_RECORD && !t->along_slim;
  t->along_slim = again;
  if (!again && (why->scope == SCOPE_RECORD || why->scope == SCOPE_TOPIC))
    c->along_us = c->now_us + c->config.probe_us;
  return again;
}

/* --- in transactions of their own --- */

core_offer_result txn_letter_ready(core *c, sl_slice name, int64_t now_us) {
  txn *t = &c->txn;
  if (!t->copies) {
    const topic *dlq = may_go_along(c, now_us) ? topics_find(&c->topics, name) : NULL;
    return dlq && dlq->health == TOPIC_READY ? OFFER_PRODUCE : OFFER_SETTLED;
  }
  if (!t->open || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
  topic *tp = topics_get(&c->topics, name);
  if (!tp) return txn_stop(t, true);
  if (tp->health == TOPIC_SICK && tp->lane_try_us <= now_us) tp->health = TOPIC_UNKNOWN;
  if (tp->health == TOPIC_UNKNOWN) {
    topics_want(c, tp);
    return txn_stop(t, true);
  }
  if (tp->health == TOPIC_READY) return OFFER_PRODUCE;
  if (c->letters_again_us == 0 || tp->lane_try_us < c->letters_again_us) c->letters_again_us = tp->lane_try_us;
  return OFFER_SETTLED;
}

core_offer_result txn_offer_letter(core *c, uint64_t number, sl_slice name, size_t size, int64_t now_us,
                                   bool *slim, uint64_t *tag) {
  txn *t = &c->txn;
  core_offer_result ready = txn_letter_ready(c, name, now_us);
  if (ready != OFFER_PRODUCE) return ready;
  topic *tp = topics_find(&c->topics, name);
  if (!t->copies) return offer_along(c, tp, size, now_us, slim, tag);
  const bool tried = tp->letter_trial.seq == number;
  const size_t most = c->letters_narrow.events ? c->letters_narrow.events : (size_t)c->config.txn_max_events;
  const bool full = t->bytes + size > c->target_bytes || !flow_has_room(c, size) || txn_is_late(c, now_us);
  const bool large = is_large(tp, size), to_be_tried = large && !tried && is_to_be_tried(c, tp);
  /* The broker refused it once, or another as large, long ago: no other shall suffer. */
  const bool alone = (tried && !tp->letter_trial.condemned) || to_be_tried;
  if (t->produced > 0 && (alone || t->produced >= most || c->book_failures || full)) return txn_stop(t, true);
  slot *s = txn_add_slot(t, number, tp, SL_VERDICT_SENT);
  if (!s) return txn_stop(t, true);
  *slim = tried || (large && !to_be_tried) || goes_slim(tp, size);
  if (t->begun_us == 0) t->begun_us = now_us;
  s->produced = true;
  s->whole = !*slim;
  s->size = (uint32_t)size;
  t->produced++;
  txn_sends(t, s);
  t->bytes += size;
  flow_take(c, size, 1);
  *tag = (uint64_t)t->number << 32 | (uint64_t)(t->count - 1);
  if (alone) txn_stop(t, true);
  return OFFER_PRODUCE;
}

bool txn_letter_gone(core *c, uint64_t number, sl_slice name) {
  txn *t = &c->txn;
  if (!t->open || !t->copies || t->stop || c->phase != PHASE_FILL) return false;
  topic *tp = topics_get(&c->topics, name);
  return tp && txn_add_slot(t, number, tp, SL_VERDICT_DROPPED) != NULL;
}

void letter_blame(core *c, topic *tp, uint64_t number, const fault *why) {
  trial *tr = &tp->letter_trial;
  if (tr->seq != number) *tr = (trial){.seq = number, .first_us = c->wall_us};
  const retry_rule rule = rule_on(tp, why).retry;
  if (tr->attempts++ <= rule.budget) {
    if (rule.budget > 0) c->letters_try_us = c->now_us + retry_delay(&c->config.seed, rule, tr->attempts - 1);
    return;
  }
  *tr = (trial){0};
  topic_sicken(c, tp, why);
}

bool letters_seal(core *c) {
  const txn *t = &c->txn;
  if (t->count > c->copy_cap) {
    delivery_copy *copies = realloc(c->copies, t->count * sizeof *copies);
    if (!copies) return false;
    c->copies = copies;
    c->copy_cap = t->count;
  }
  for (size_t i = 0; i < t->count; i++)
    c->copies[i] = (delivery_copy){.number = t->verdicts[i].seq, .gone = !t->slots[i].produced};
  return true;
}
