/* The transaction in hand: which records it takes, and what became of each. */
#include "core/inner.h"
#include <stdlib.h>

#define SCOUT_MAX 4096         /* records looked at for their topics, before any of them is prepared; */
#define SCOUT_BYTES (4u << 20) /* of what size: each is read from the disk (3,200 of 100 KB took a second: seen) */

void txn_reset(core *c) {
  txn *t = &c->txn;
  delivery_verdict *verdicts = t->verdicts;
  slot *slots = t->slots;
  letter_text *letters = t->letters;
  size_t cap = t->cap, letter_cap = t->letter_cap;
  uint32_t number = t->number + 1;
  *t = (txn){.verdicts = verdicts, .slots = slots, .letters = letters, .cap = cap,
             .letter_cap = letter_cap, .number = number};
  for (size_t i = 0; i < c->topics.count; i++) {
    topic *tp = c->topics.list[i];
    tp->next_has_lane = tp->has_lane;
    tp->next_lane_seq = tp->lane_seq;
  }
}

void txn_free(core *c) {
  free(c->txn.verdicts);
  free(c->txn.slots);
  free(c->txn.letters);
  c->txn = (txn){0};
}

narrow *txn_narrow(core *c) {
  return c->txn.copies ? &c->letters_narrow : c->txn.lane ? &c->txn.lane->narrow : &c->narrow;
}

slot *txn_add_slot(txn *t, uint64_t seq, topic *tp, uint8_t verdict) {
  if (t->count == t->cap) {
    size_t cap = t->cap ? t->cap * 2 : 256;
    delivery_verdict *verdicts = realloc(t->verdicts, cap * sizeof *verdicts);
    if (!verdicts) return NULL;
    t->verdicts = verdicts;
    slot *slots = realloc(t->slots, cap * sizeof *slots);
    if (!slots) return NULL;
    t->slots = slots;
    t->cap = cap;
  }
  t->verdicts[t->count] = (delivery_verdict){.seq = seq, .verdict = verdict, .partition = -1, .place = -1};
  t->slots[t->count] = (slot){.topic = tp};
  t->looked_to = seq;
  t->along_slim = false;
  return &t->slots[t->count++];
}

void txn_drop_last(txn *t) {
  t->count--;
  t->looked_to = t->count ? t->verdicts[t->count - 1].seq : t->from - 1;
}

bool txn_add_letter(core *c, size_t index, const fault *why, uint32_t attempts, int64_t first_us,
                       int64_t last_us) {
  txn *t = &c->txn;
  if (t->letter_count == t->letter_cap) {
    size_t cap = t->letter_cap ? t->letter_cap * 2 : 8;
    letter_text *letters = realloc(t->letters, cap * sizeof *letters);
    if (!letters) return false;
    t->letters = letters;
    t->letter_cap = cap;
  }
  letter_text *l = &t->letters[t->letter_count++];
  memset(l, 0, sizeof *l);
  strncpy(l->class_, fault_class_text(why->class_), sizeof l->class_ - 1);
  memcpy(l->name, why->name, sizeof l->name - 1);
  memcpy(l->text, why->text, sizeof l->text - 1);
  l->letter = (sl_letter){.seq = t->verdicts[index].seq, .attempts = attempts, .code = why->code,
                          .first_failure_us = first_us, .last_failure_us = last_us};
  t->slots[index].letter = (uint32_t)t->letter_count;
  t->verdicts[index].verdict = SL_VERDICT_DEAD;
  return true;
}

/* Where records wait for room the time may run out before the bytes do. */
bool txn_is_late(const core *c, int64_t now_us) {
  const txn *t = &c->txn;
  return t->produced > 0 && t->begun_us > 0 && now_us - t->begun_us > c->timeout_us / 3 * 2;
}

core_offer_result txn_stop(txn *t, bool cut) {
  t->stop = true;
  t->cut = t->cut || cut;
  return OFFER_STOP;
}

core_offer_result txn_settle_as(txn *t, uint64_t seq, topic *tp, uint8_t verdict, int64_t place) {
  if (!txn_add_slot(t, seq, tp, verdict)) return txn_stop(t, true);
  t->verdicts[t->count - 1].place = place;
  return OFFER_SETTLED;
}

static core_offer_result scouted(txn *t, size_t size) {
  t->scouted_bytes += size;
  return ++t->scouted < SCOUT_MAX && t->scouted_bytes < SCOUT_BYTES ? OFFER_SETTLED : txn_stop(t, true);
}

/* An unknown topic is prepared between transactions: an open one would hold back its readers. Since that takes a
 * request or three, what comes next is looked at for more of them. */
static core_offer_result scout(core *c, topic *tp, size_t size) {
  txn *t = &c->txn;
  topics_want(c, tp);
  if (t->lane || t->count > 0 || c->wanted_count == CORE_TOPICS_MAX) return txn_stop(t, true);
  return scouted(t, size);
}

/* Not sent, for the broker would refuse it; after its topic has been asked for its settings anew. */
static core_offer_result condemn(core *c, const core_record *r, topic *tp, suspicion s, int64_t now_us) {
  txn *t = &c->txn;
  if (!suspect_by_refusal(tp, s) && !suspect_is_fresh(tp, r, now_us)) {
    tp->health = TOPIC_UNKNOWN;
    tp->asked_for = r->seq;
    topics_want(c, tp);
    return txn_stop(t, true);
  }
  if (t->letter_count >= EXPIRE_MAX || !txn_add_slot(t, r->seq, tp, SL_VERDICT_DEAD)) return txn_stop(t, true);
  const fault why = suspect_fault(tp, r, s);
  if (!txn_add_letter(c, t->count - 1, &why, 1, c->wall_us, c->wall_us)) {
    txn_drop_last(t);
    return txn_stop(t, true);
  }
  /* At least once: what is sent behind it stays sent, so its verdict must be in the book before. */
  if (!c->config.exactly_once) txn_stop(t, true);
  return OFFER_SETTLED;
}

core_offer_result txn_offer(core *c, const core_record *r, int64_t now_us, uint64_t *tag) {
  txn *t = &c->txn;
  const uint64_t seq = r->seq, duplicate_of = r->duplicate_of;
  const size_t size = r->size;
  if (!t->open || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
  if (t->count >= (size_t)c->config.txn_max_events * 2) return txn_stop(t, true);
  topic *tp = topics_get(&c->topics, r->topic);
  if (!tp) return txn_stop(t, true);
  if (t->scouted > 0) {
    if (tp->health == TOPIC_UNKNOWN && !tp->next_has_lane) return scout(c, tp, size);
    return scouted(t, size);
  }
  if (t->lane && t->count == 0) tp->oldest_us = r->appended_us;

  /* The lane comes first: whatever else is true of the event, its lane gives the verdict, in order. */
  if (!t->lane && tp->next_has_lane) return lane_take(c, seq, tp, r->appended_us);
  if (duplicate_of) return txn_settle_as(t, seq, tp, SL_VERDICT_DUPLICATE, (int64_t)duplicate_of);
  const trial *tr = tp->trial.seq == seq ? &tp->trial : NULL;
  if (tr && tr->condemned) {
    if (!txn_add_slot(t, seq, tp, SL_VERDICT_DEAD)) return txn_stop(t, true);
    if (!txn_add_letter(c, t->count - 1, &tr->why, tr->attempts, tr->first_us, tr->last_us)) {
      txn_drop_last(t);
      return txn_stop(t, true);
    }
    txn_stop(t, true); /* settled at once: the next of its topic may need the place of its trial */
    return OFFER_SETTLED;
  }
  /* Sick, but no record came since: it may have recovered. */
  if (tp->health == TOPIC_SICK && !tp->next_has_lane && tp->lane_try_us <= now_us) tp->health = TOPIC_UNKNOWN;
  if (t->expire) return lane_offer_expired(c, r, tp);
  if (tp->health == TOPIC_UNKNOWN) return scout(c, tp, size);
  if (tp->health == TOPIC_SICK) return t->lane ? txn_stop(t, false) : lane_take(c, seq, tp, r->appended_us);

  if (suspect_unweighed(tp, r)) return OFFER_WEIGH;
  const suspicion suspect = suspect_of(tp, r);
  if (suspect_is_proved(tp, suspect) && (!suspect_by_refusal(tp, suspect) || suspect_was_seen(tp, r, now_us)))
    return condemn(c, r, tp, suspect, now_us);

  if (t->along > 0 || txn_is_late(c, now_us)) return txn_stop(t, true);
  /* A record that may break its transaction goes alone: no innocent is harmed. */
  bool alone = tr || suspect || suspect_is_doubtful(tp, r) ||
               (tp->max_message_bytes > 0 && size > (uint64_t)tp->max_message_bytes);
  size_t narrowed = txn_narrow(c)->events;
  size_t most = narrowed ? narrowed : (size_t)c->config.txn_max_events;
  if (c->book_failures) most = 1; /* until the book is writable again: the rest would be produced in vain */
  if (t->produced > 0 &&
      (alone || t->produced >= most || t->bytes + size > c->target_bytes || !flow_has_room(c, size)))
    return txn_stop(t, true);
  slot *s = txn_add_slot(t, seq, tp, SL_VERDICT_SENT);
  if (!s) return txn_stop(t, true);
  if (t->produced == 0 && t->begun_us == 0) t->begun_us = now_us;
  s->produced = true;
  s->suspect = (uint8_t)suspect;
  s->keyless = r->keyless;
  s->size = (uint32_t)size;
  s->most = (uint32_t)suspect_most(r);
  t->produced++;
  txn_sends(t, s);
  t->bytes += size;
  flow_take(c, size, 1);
  t->appended_us = r->appended_us;
  *tag = (uint64_t)t->number << 32 | (uint64_t)(t->count - 1);
  if (alone) txn_stop(t, true);
  return OFFER_PRODUCE;
}

static void copy_text(char *to, size_t cap, sl_slice from) {
  const size_t len = from.len < cap - 1 ? from.len : cap - 1;
  memcpy(to, from.data, len);
  to[len] = '\0';
}

core_offer_result txn_offer_dropped(core *c, uint64_t seq, sl_slice name, sl_slice class_, sl_slice text,
                                    int64_t dropped_us) {
  txn *t = &c->txn;
  static const fault none = {0};
  if (!t->open || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
  if (t->count >= (size_t)c->config.txn_max_events * 2) return txn_stop(t, true);
  topic *tp = topics_get(&c->topics, name);
  if (!tp) return txn_stop(t, true);
  if (t->scouted > 0) return OFFER_SETTLED;
  if (!t->lane && tp->next_has_lane) return lane_take(c, seq, tp, dropped_us);
  if (!txn_add_slot(t, seq, tp, SL_VERDICT_DROPPED)) return txn_stop(t, true);
  if (!txn_add_letter(c, t->count - 1, &none, 0, dropped_us, dropped_us)) {
    txn_drop_last(t);
    return txn_stop(t, true);
  }
  letter_text *l = &t->letters[t->letter_count - 1];
  copy_text(l->class_, sizeof l->class_, class_);
  copy_text(l->text, sizeof l->text, text);
  t->verdicts[t->count - 1].verdict = SL_VERDICT_DROPPED;
  return OFFER_SETTLED;
}

void txn_not_sent(core *c, slot *s) {
  txn *t = &c->txn;
  flow_take(c, s->size, -1);
  t->bytes -= s->size;
  t->produced--;
  s->produced = false;
  txn_has(t, s);
}

static void take_back(core *c) {
  txn_not_sent(c, &c->txn.slots[c->txn.count - 1]);
  txn_drop_last(&c->txn);
}

bool txn_queue_full(core *c, size_t size) {
  txn *t = &c->txn;
  take_back(c);
  t->stop = t->failed > 0 || t->broken || c->stopping;
  if (t->outstanding > 0) return true;
  int64_t wanted = (int64_t)size * 2 + (1 << 20);
  c->queue_bytes = c->queue_bytes < wanted ? wanted : c->queue_bytes * 2;
  c->recreate = RENEWAL_QUEUE;
  txn_stop(t, true);
  return false;
}

bool txn_refused(core *c, uint64_t tag, const fault *refusal, int64_t wall_us) {
  txn *t = &c->txn;
  size_t index = (size_t)(tag & UINT32_MAX);
  if (index + 1 != t->count) return false;
  core_fault(c, refusal);
  slot *s = &t->slots[index];
  if (s->along) return along_refused(c, refusal);
  topic *tp = s->topic;
  const ruling rule = rule_on(tp, refusal);
  fault f = *refusal;
  const fault *why = &f;
  f.class_ = rule.class_;
  if (rule.lane && !t->copies) f.scope = SCOPE_TOPIC;
  if (t->copies && (why->scope == SCOPE_RECORD || why->scope == SCOPE_TOPIC)) {
    const uint64_t number = t->verdicts[index].seq;
    take_back(c);
    if (why->scope == SCOPE_TOPIC) topic_sicken(c, tp, why);
    else letter_blame(c, tp, number, why);
    if (tp->letter_trial.seq == number) tp->letter_trial.condemned = true; /* without its value, in company */
    return true;
  }
  if (why->scope == SCOPE_RECORD && why->class_ != CLASS_NON_RETRYABLE_IDEMPOTENCY) {
    if (rule.retry.budget == 0 && txn_add_letter(c, index, why, 1, wall_us, wall_us)) {
      s->suspect = SUSPECT_NOTHING; /* the broker was not asked */
      txn_not_sent(c, s);
      if (!c->config.exactly_once) txn_stop(t, true); /* as in condemn() */
      return c->config.exactly_once;
    }
    flow_take(c, s->size, -1);
    txn_delivered(c, tag, -1, -1, why); /* it keeps its slot: who failed must be known */
    return false;
  }
  uint64_t seq = t->verdicts[index].seq;
  take_back(c);
  if (why->scope == SCOPE_TOPIC) {
    topic_sicken(c, tp, why);
    if (t->lane) txn_stop(t, false);
    else return lane_take(c, seq, tp, t->appended_us) == OFFER_SETTLED;
    return false;
  }
  t->why = *why;
  t->broken = true;
  txn_stop(t, false);
  return false;
}

void txn_delivered(core *c, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  txn *t = &c->txn;
  size_t index = (size_t)(tag & UINT32_MAX);
  if (!t->open || tag >> 32 != t->number || index >= t->count) return;
  slot *s = &t->slots[index];
  if (!s->produced || s->reported) return;
  s->reported = true;
  txn_has(t, s);
  if (fault_is_ok(why)) {
    if (s->along) return; /* the copy has a place, its event has none */
    t->verdicts[index].partition = partition;
    t->verdicts[index].place = offset;
    return;
  }
  s->failed = true;
  t->failed++;
  /* A purge says only that the transaction is over; the first fault of a record's own names the culprit. */
  bool named = strstr(why->name, "PURGE") == NULL;
  if (t->failed == 1 || (named && (t->named == 0 || index < t->why_slot))) {
    t->why = *why;
    t->why_slot = index;
    /* "The broker has it already" is no reason to bury it: a new session, again from the cursor. */
    if (why->class_ == CLASS_NON_RETRYABLE_IDEMPOTENCY) t->why.scope = SCOPE_PRODUCER;
  }
  t->named += named;
  t->stop = true;
}

bool txn_seal(core *c) {
  txn *t = &c->txn;
  if (t->lane) {
    t->lane->next_lane_seq = t->looked_to;
    t->lane->next_has_lane = t->looked_to < c->cursor.seq;
  }
  size_t lanes = lanes_next(c);
  if (lanes > c->lane_cap) {
    sl_lane *list = realloc(c->lanes, lanes * sizeof *list);
    if (!list) return false;
    c->lanes = list;
    c->lane_cap = lanes;
  }
  size_t n = 0;
  for (size_t i = 0; i < c->topics.count; i++) {
    const topic *tp = c->topics.list[i];
    if (tp->next_has_lane) c->lanes[n++] = (sl_lane){{tp->name, tp->len}, tp->next_lane_seq};
  }
  if (n > 1) qsort(c->lanes, n, sizeof *c->lanes, lanes_by_topic);
  for (size_t i = 0; i < t->count; i++) {
    if (!t->slots[i].letter) continue;
    letter_text *l = &t->letters[t->slots[i].letter - 1];
    letter_finish(l);
    l->letter.topic = (sl_slice){t->slots[i].topic->name, t->slots[i].topic->len};
    l->letter.attempt = c->last_attempt + 1;
    t->verdicts[i].letter = &l->letter;
    t->verdicts[i].copied = t->slots[i].along;
  }
  if (t->copies && !letters_seal(c)) return false;
  delivery_attempt *a = &c->attempt;
  *a = (delivery_attempt){
      .progress = {.seq = t->lane || t->claim || t->copies ? c->cursor.seq : t->looked_to,
                   .dlq_no = c->cursor.dlq_no + (t->copies ? t->produced : t->along),
                   .attempt = c->last_attempt + 1, .lane_count = n, .lanes = c->lanes},
      .marked = c->config.exactly_once};
  memcpy(a->progress.incarnation, c->config.incarnation, sizeof a->progress.incarnation);
  if (t->copies) {
    a->copies = c->copies;
    a->copy_count = t->count;
  } else if (t->lane) {
    a->lane_verdicts = t->verdicts;
    a->lane_count = t->count;
  } else {
    a->verdicts = t->verdicts;
    a->count = t->count;
  }
  sl_buf_reset(&c->marker);
  return sl_progress_encode(&a->progress, &c->marker) == SL_OK && !c->marker.failed;
}

/* For some ms the coordinator still ends the transaction before, and librdkafka 2.0.2, told so, waits 20 ms. */
#define LETTERS_AFTER_US 4000

void txn_settled(core *c) {
  txn *t = &c->txn;
  if (t->claim) pace_claimed(c);
  else if (t->failed == 0) pace_learn(c);
  c->transactions++;
  c->last_commit_us = c->now_us;
  if (t->claim) return;
  if (t->expire) c->expired += t->letter_count;
  if (t->copies) c->letters_from = t->looked_to + 1;
  else if (t->letter_count > t->along && !c->config.drain && c->config.exactly_once && !c->letters_put_off) {
    c->letters_put_off = true; /* not again before their turn: a backlog may have one in each transaction */
    if (c->letters_try_us < c->now_us + LETTERS_AFTER_US) c->letters_try_us = c->now_us + LETTERS_AFTER_US;
  }
  if (t->lane && t->lane->health == TOPIC_READY) t->lane->lane_try_us = c->now_us; /* it goes well: on */
  for (size_t i = 0; i < t->count; i++) {
    const slot *s = &t->slots[i];
    if (!s->produced) continue;
    if (t->copies || s->along) letter_note_taken(c, s);
    else suspect_taken(s->topic, s);
  }
  for (size_t i = 0; i < t->count; i++) /* written: what was refused before no longer counts */
    if (t->slots[i].produced && !t->slots[i].along && t->slots[i].topic->refusals) {
      topic *tp = t->slots[i].topic;
      tp->refusals = 0;
      tp->refused_us = tp->refused_at_us = tp->refused_wall_us = 0;
    }
  narrow *n = txn_narrow(c);
  n->mute = c->refusals = 0;
  if (n->events && t->produced >= n->events && t->failed == 0) n->events *= 2;
  if (t->looked_to >= n->to) *n = (narrow){0};
  c->failures = 0; /* not for a claim: it says nothing of the transactions that failed before it */
}

