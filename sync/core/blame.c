/* A transaction failed: whom to blame, and how to go on. */
#include "core/inner.h"

void txn_cut_at_failure(core *c) {
  txn *t = &c->txn;
  size_t keep = 0;
  while (keep < t->count && (!t->slots[keep].produced || (t->slots[keep].reported && !t->slots[keep].failed)))
    keep++;
  if (keep == t->count) return;
  for (size_t i = keep; i < t->count; i++) t->produced -= t->slots[i].produced;
  t->outstanding = t->under_way = 0; /* reports of what was cut find no slot */
  t->named = 0; /* the culprit went with the cut: what is left must not be blamed for it */
  t->count = keep;
  t->looked_to = keep ? t->verdicts[keep - 1].seq : t->from - 1;
  if (t->copies) return;
  for (size_t i = 0; i < c->topics.count; i++) { /* lanes that only the cut part opened */
    topic *tp = c->topics.list[i];
    if (!tp->has_lane && tp->next_has_lane && tp->next_lane_seq >= t->looked_to) tp->next_has_lane = false;
  }
}

/* The next transactions of this reader are smaller: those before the first suspect; or the suspect alone; or half,
 * where more than one is suspected (one oversize record failed 513 innocents of its batch: seen). Always fewer
 * than failed, so that it ends with a record alone. */
static void narrow_down(core *c) {
  txn *t = &c->txn;
  narrow *n = txn_narrow(c);
  size_t before = 0;
  if (t->named)
    for (size_t i = 0; i < t->why_slot; i++) before += t->slots[i].produced;
  n->events = before ? before : t->named == 1 ? 1 : t->produced / 2;
  if (n->to < t->looked_to) n->to = t->looked_to;
}

static void blame_record(core *c, const fault *why) {
  txn *t = &c->txn;
  if (t->produced > 1) {
    narrow_down(c);
    return;
  }
  size_t at = 0;
  while (at < t->count && !t->slots[at].produced) at++;
  if (at == t->count) return;
  if (t->copies) {
    letter_note_refused(c, &t->slots[at], why);
    letter_blame(c, t->slots[at].topic, t->verdicts[at].seq, why);
    return;
  }
  topic *tp = t->slots[at].topic;
  trial *tr = &tp->trial;
  if (tr->seq != t->verdicts[at].seq) *tr = (trial){.seq = t->verdicts[at].seq, .first_us = c->wall_us};
  tr->attempts++;
  tr->last_us = c->wall_us;
  const ruling rule = rule_on(tp, why);
  tr->why = *why;
  tr->why.class_ = rule.class_;
  if (rule.lane) {
    topic_sicken(c, tp, why);
    return;
  }
  suspect_note(c, tp, &t->slots[at], why);
  tr->condemned = tr->attempts > rule.retry.budget;
  if (tr->condemned) return;
  int64_t again = c->now_us + retry_delay(&c->config.seed, rule.retry, tr->attempts - 1);
  if (t->lane) t->lane->lane_try_us = again;
  else c->hold_us = again;
}

/* Its time was refused. That is no fault of the record's: it is sent again with the time of its sending, as are
 * its topic's others from then on. Where that is refused, too, the clocks differ, and its topic waits. */
static bool blame_stamp(core *c, const fault *why) {
  txn *t = &c->txn;
  const int code = fault_record_code(why->name);
  if (t->copies || t->named == 0 || strcmp(why->name, "INVALID_TIMESTAMP") != 0) return false;
  topic *tp = t->slots[t->why_slot].topic;
  if (tp->restamps) {
    if (tp->rules.codes[code] != TREAT_BY_CLASS) return false; /* its own rule says what then */
    topic_sicken(c, tp, why);
  }
  tp->restamps = true;
  return true;
}

/* The only topic of the transaction; NULL: several, or none. */
static topic *only_topic(const txn *t) {
  topic *only = NULL;
  for (size_t i = 0; i < t->count; i++) {
    if (!t->slots[i].produced) continue;
    if (only && only != t->slots[i].topic) return NULL;
    only = t->slots[i].topic;
  }
  return only;
}

static void blame_topic(core *c) {
  txn *t = &c->txn;
  topic *guilty = t->named && t->why.scope == SCOPE_TOPIC ? t->slots[t->why_slot].topic : only_topic(t);
  if (guilty) topic_sicken(c, guilty, &c->last_fault);
  else if (t->produced > 1) narrow_down(c);
}

/* Nothing but _PURGE: a topic that may be described but not written says no more than that, for every record, and
 * the abort is fatal (seen). Once is bad luck; again, it is looked for as any other culprit. */
static void blame_mute(core *c) {
  txn *t = &c->txn;
  uint32_t *mute = &txn_narrow(c)->mute;
  if (t->failed == 0 || t->named || c->stale || ++*mute < 2) return;
  if (!only_topic(t)) narrow_down(c);
  else if (*mute >= 4) topic_sicken(c, only_topic(t), &c->last_fault);
}

int64_t book_pause(core *c) {
  return 500000 + retry_delay(&c->config.seed, (retry_rule){0, 500000, 10000000}, c->book_failures);
}

/* The attempt is not in the book. It could not be written (a full disk, say): not again at once. Or it no longer
 * fits the log: fewer are through sooner, before the next is dropped; only what is refused again waits. */
static void blame_book(core *c) {
  if (!c->txn.refused) {
    c->hold_us = c->now_us + book_pause(c);
    return;
  }
  if (c->txn.produced > 1) narrow_down(c);
  if (c->refusals > 0)
    c->hold_us = c->now_us + retry_delay(&c->config.seed, (retry_rule){0, 10000, 2000000}, c->refusals);
  if (c->refusals < 16) c->refusals++;
}

/* Perhaps it was too much for the link: what cannot finish inside its timeout is tried again for ever
 * (over 128 kB/s, 3,000 events of 1 KB never arrived: seen). */
static void too_much(core *c) {
  txn *t = &c->txn;
  if (c->target_bytes > TARGET_MIN) {
    uint64_t sent = t->bytes < c->target_bytes ? t->bytes : c->target_bytes;
    c->target_bytes = sent / 4 > TARGET_MIN ? sent / 4 : TARGET_MIN;
  }
  if (t->produced == 1 && !c->timeout_refused && ++c->timeouts >= 2 &&
      c->timeout_us < pace_timeout_most(&c->config)) {
    c->timeout_us = pace_timeout(&c->config, c->timeout_us * 2);
    c->kept_long = true;
    c->timeouts = 0;
  }
}

static void blame_connection(core *c) {
  if (c->txn.failed > 0 || c->txn.outstanding > 0) too_much(c);
}

bool txn_blame_time(core *c) {
  const txn *t = &c->txn;
  if (t->produced == 0 || t->begun_us == 0 || c->now_us - t->begun_us <= c->timeout_us) return false;
  too_much(c);
  return true;
}

fault_scope txn_blame(core *c, const fault *why) {
  txn *t = &c->txn;
  const fault *f = t->named && !why->fenced ? &t->why : why;
  core_fault(c, f);
  if (t->lane && f->scope != SCOPE_TOPIC) t->lane->lane_try_us = c->now_us;
  if (t->along > 0 && (f->scope == SCOPE_RECORD || f->scope == SCOPE_TOPIC || f->scope == SCOPE_PRODUCER)) {
    const bool known = t->along == 1 && t->named && letter_note_refused(c, &t->slots[t->why_slot], f);
    /* No event is to blame: a transaction of copies finds out who is. */
    if (!known) c->along_us = c->now_us + c->config.probe_us;
    return f->scope;
  }
  switch (f->scope) {
  case SCOPE_RECORD:
    if (!blame_stamp(c, f)) blame_record(c, f);
    break;
  case SCOPE_TOPIC: blame_topic(c); break;
  case SCOPE_CONNECTION: blame_connection(c); break;
  case SCOPE_PRODUCER:
    if (!txn_blame_time(c)) blame_mute(c);
    break;
  case SCOPE_AGENT: blame_book(c); break;
  case SCOPE_NONE:
  case SCOPE_CLUSTER: break;
  }
  return f->scope;
}
