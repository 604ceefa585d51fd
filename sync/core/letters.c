/* Copies of dead letters for their dead-letter topics: in transactions of their own, where one that its topic refuses goes
 * again without its value, and then waits. */
#include "core/inner.h"
#include <stdlib.h>

core_offer_result txn_letter_ready(core *c, sl_slice name, int64_t now_us) {
  txn *t = &c->txn;
  if (!t->open || !t->copies || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
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

core_offer_result txn_offer_letter(core *c, uint64_t number, sl_slice name, size_t size, int64_t now_us, bool *slim,
                                   uint64_t *tag) {
  txn *t = &c->txn;
  core_offer_result ready = txn_letter_ready(c, name, now_us);
  if (ready != OFFER_PRODUCE) return ready;
  topic *tp = topics_find(&c->topics, name);
  const bool tried = tp->letter_trial.seq == number;
  const size_t most = c->letters_narrow.events ? c->letters_narrow.events : (size_t)c->config.txn_max_events;
  const bool full = t->bytes + size > c->target_bytes || !flow_has_room(c, size);
  const bool alone = tried && !tp->letter_trial.condemned; /* the broker refused it once: no other shall suffer */
  if (t->produced > 0 && (alone || t->produced >= most || c->book_failures || full)) return txn_stop(t, true);
  slot *s = txn_add_slot(t, number, tp, SL_VERDICT_SENT);
  if (!s) return txn_stop(t, true);
  *slim = tried || (tp->max_message_bytes > 0 && size > (uint64_t)tp->max_message_bytes);
  if (t->begun_us == 0) t->begun_us = now_us;
  s->produced = true;
  t->produced++;
  t->outstanding++;
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
