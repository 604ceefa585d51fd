/* The transaction in hand: which records it takes, what became of each, and whom to blame when it fails. */
#include "core/inner.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SCOUT_MAX 4096   /* records looked at for their topics, before any of them is prepared */
#define EXPIRE_MAX 1000  /* events set aside unsent in one transaction */
#define REFUSED_PROBES 10 /* refused for so many probes' time, at least, before the first is */

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

static narrow *narrow_of(core *c) {
  return c->txn.copies ? &c->letters_narrow : c->txn.lane ? &c->txn.lane->narrow : &c->narrow;
}

/* What waits in a lane waits no longer than its age, nor keeps more of the log than its share: but only what the cluster
 * itself refuses, again and again, counts; an outage sets nothing aside, nor does the first refusal after one. */
static bool is_too_much(const core *c, const topic *tp, uint64_t seq, int64_t appended_us) {
  return (tp->max_age_us > 0 && c->wall_us - appended_us > tp->max_age_us) || seq <= c->lanes_full_to;
}

static void count_refusal(core *c, topic *tp) {
  const int64_t since = c->now_us - tp->refused_at_us, most = 3 * c->config.probe_us;
  if (tp->refused_at_us) tp->refused_us += since < most ? since : most;
  tp->refused_at_us = c->now_us;
  if (tp->refusals++ == 0) tp->refused_wall_us = c->wall_us;
  int64_t enough = REFUSED_PROBES * c->config.probe_us;
  if (tp->max_age_us > 0 && tp->max_age_us < enough) enough = tp->max_age_us;
  if (!tp->has_lane || tp->refusals < 2 || tp->refused_us < enough) return;
  tp->expire = tp->oldest_us == 0 ? tp->max_age_us > 0 || c->lanes_full_to > tp->lane_seq
                                  : is_too_much(c, tp, tp->lane_seq + 1, tp->oldest_us);
}

void topic_sicken(core *c, topic *tp, const fault *why) {
  tp->health = TOPIC_SICK;
  tp->sick_of = *why;
  tp->lane_try_us = c->now_us + c->config.probe_us;
  count_refusal(c, tp);
}

static slot *add_slot(txn *t, uint64_t seq, topic *tp, uint8_t verdict) {
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
  return &t->slots[t->count++];
}

static void drop_last(txn *t) {
  t->count--;
  t->looked_to = t->count ? t->verdicts[t->count - 1].seq : t->from - 1;
}

static bool add_letter(core *c, size_t index, const fault *why, uint32_t attempts, int64_t first_us,
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

static core_offer_result stop(txn *t, bool cut) {
  t->stop = true;
  t->cut = t->cut || cut;
  return OFFER_STOP;
}

static core_offer_result settle_as(txn *t, uint64_t seq, topic *tp, uint8_t verdict, int64_t place) {
  if (!add_slot(t, seq, tp, verdict)) return stop(t, true);
  t->verdicts[t->count - 1].place = place;
  return OFFER_SETTLED;
}

static size_t lanes_next(const core *c) {
  size_t n = 0;
  for (size_t i = 0; i < c->topics.count; i++) n += c->topics.list[i]->next_has_lane;
  return n;
}

/* Skips the record to its topic's lane, opening it with this very transaction if need be: every earlier event
 * of the topic is settled by then, so the lane begins right before this one and order is kept. */
static core_offer_result to_lane(core *c, uint64_t seq, topic *tp, int64_t appended_us) {
  if (!tp->next_has_lane) {
    if (lanes_next(c) >= SL_LANES_MAX) return stop(&c->txn, false);
    tp->next_has_lane = true;
    tp->next_lane_seq = seq - 1;
    tp->oldest_us = appended_us;
  }
  return settle_as(&c->txn, seq, tp, SL_VERDICT_LANE, -1);
}

/* An unknown topic is prepared between transactions: an open one would hold back its readers. Since that takes a request
 * or three, what comes next is looked at for more of them. */
static core_offer_result scout(core *c, topic *tp) {
  txn *t = &c->txn;
  topics_want(c, tp);
  if (t->lane || t->count > 0 || c->wanted_count == CORE_TOPICS_MAX || ++t->scouted >= SCOUT_MAX) return stop(t, true);
  return OFFER_SETTLED;
}

/* Not sent, for the broker would refuse it; after its topic has been asked for its settings anew. */
static core_offer_result condemn(core *c, const core_record *r, topic *tp, suspicion s, int64_t now_us) {
  txn *t = &c->txn;
  if (!suspect_by_refusal(tp, s) && !suspect_is_fresh(tp, r, now_us)) {
    tp->health = TOPIC_UNKNOWN;
    tp->asked_for = r->seq;
    topics_want(c, tp);
    return stop(t, true);
  }
  if (t->letter_count >= EXPIRE_MAX || !add_slot(t, r->seq, tp, SL_VERDICT_DEAD)) return stop(t, true);
  const fault why = suspect_fault(tp, r, s);
  if (!add_letter(c, t->count - 1, &why, 1, c->wall_us, c->wall_us)) {
    drop_last(t);
    return stop(t, true);
  }
  /* At least once: what is sent behind it stays sent, so its verdict must be in the book before. */
  if (!c->config.exactly_once) stop(t, true);
  return OFFER_SETTLED;
}

static void text_of_time(int64_t wall_us, char *to, size_t cap) {
  const time_t s = (time_t)(wall_us / 1000000);
  struct tm tm;
  if (!gmtime_r(&s, &tm) || strftime(to, cap, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) to[0] = '\0';
}

/* The lane's events are set aside from its oldest on, until one may still wait. */
static core_offer_result offer_to_expire(core *c, const core_record *r, topic *tp) {
  txn *t = &c->txn;
  char since[40];
  if (t->letter_count >= EXPIRE_MAX) {
    tp->expire = true; /* on, after main's turn */
    return stop(t, true);
  }
  if (!is_too_much(c, tp, r->seq, r->appended_us)) {
    tp->oldest_us = r->appended_us;
    if (t->count > 0) t->looked_to = r->seq - 1; /* nothing of the topic is between */
    return stop(t, false);
  }
  if (!add_slot(t, r->seq, tp, SL_VERDICT_DEAD)) return stop(t, true);
  fault why = tp->sick_of;
  const bool old = tp->max_age_us > 0 && c->wall_us - r->appended_us > tp->max_age_us;
  snprintf(why.name, sizeof why.name, "%s", old ? "LANE_TOO_OLD" : "LANE_OVER_SHARE");
  text_of_time(tp->refused_wall_us, since, sizeof since);
  snprintf(why.text, sizeof why.text, "%s; refused since %s: %s: %.100s",
           old ? "it waited longer than lanes.max_age" : "what waits for refused topics filled lanes.quota_share", since,
           tp->sick_of.name, tp->sick_of.text);
  if (add_letter(c, t->count - 1, &why, tp->refusals, tp->refused_wall_us, c->wall_us)) return OFFER_SETTLED;
  drop_last(t);
  return stop(t, true);
}

core_offer_result txn_offer(core *c, const core_record *r, int64_t now_us, uint64_t *tag) {
  txn *t = &c->txn;
  const uint64_t seq = r->seq, duplicate_of = r->duplicate_of;
  const size_t size = r->size;
  if (!t->open || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
  if (t->count >= (size_t)c->config.txn_max_events * 2) return stop(t, true);
  topic *tp = topics_get(&c->topics, r->topic);
  if (!tp) return stop(t, true);
  if (t->scouted > 0) {
    if (tp->health == TOPIC_UNKNOWN && !tp->next_has_lane) return scout(c, tp);
    return ++t->scouted < SCOUT_MAX ? OFFER_SETTLED : stop(t, true);
  }
  if (t->lane && t->count == 0) tp->oldest_us = r->appended_us;

  /* The lane comes first: whatever else is true of the event, its lane gives the verdict, in order. */
  if (!t->lane && tp->next_has_lane) return to_lane(c, seq, tp, r->appended_us);
  if (duplicate_of) return settle_as(t, seq, tp, SL_VERDICT_DUPLICATE, (int64_t)duplicate_of);
  const trial *tr = tp->trial.seq == seq ? &tp->trial : NULL;
  if (tr && tr->condemned) {
    if (!add_slot(t, seq, tp, SL_VERDICT_DEAD)) return stop(t, true);
    if (!add_letter(c, t->count - 1, &tr->why, tr->attempts, tr->first_us, tr->last_us)) {
      drop_last(t);
      return stop(t, true);
    }
    stop(t, true); /* settled at once: the next of its topic may need the place of its trial */
    return OFFER_SETTLED;
  }
  /* Sick, but no record came since: it may have recovered. */
  if (tp->health == TOPIC_SICK && !tp->next_has_lane && tp->lane_try_us <= now_us) tp->health = TOPIC_UNKNOWN;
  if (t->expire) return offer_to_expire(c, r, tp);
  if (tp->health == TOPIC_UNKNOWN) return scout(c, tp);
  if (tp->health == TOPIC_SICK) return t->lane ? stop(t, false) : to_lane(c, seq, tp, r->appended_us);

  if (suspect_unweighed(tp, r)) return OFFER_WEIGH;
  const suspicion suspect = suspect_of(tp, r);
  if (suspect_is_proved(tp, suspect) && (!suspect_by_refusal(tp, suspect) || suspect_was_seen(tp, r, now_us)))
    return condemn(c, r, tp, suspect, now_us);

  /* A record that may break its transaction goes alone: no innocent is harmed. */
  bool alone = tr || suspect || suspect_is_doubtful(tp, r) ||
               (tp->max_message_bytes > 0 && size > (uint64_t)tp->max_message_bytes);
  size_t narrowed = narrow_of(c)->events;
  size_t most = narrowed ? narrowed : (size_t)c->config.txn_max_events;
  if (c->book_failures) most = 1; /* until the book is writable again: the rest would be produced in vain */
  if (t->produced > 0 && (alone || t->produced >= most || t->bytes + size > c->target_bytes || !flow_has_room(c, size)))
    return stop(t, true);
  slot *s = add_slot(t, seq, tp, SL_VERDICT_SENT);
  if (!s) return stop(t, true);
  if (t->produced == 0 && t->begun_us == 0) t->begun_us = now_us;
  s->produced = true;
  s->suspect = (uint8_t)suspect;
  s->size = size;
  s->least = r->least;
  t->produced++;
  t->outstanding++;
  t->bytes += size;
  flow_take(c, size, 1);
  t->appended_us = r->appended_us;
  *tag = (uint64_t)t->number << 32 | (uint64_t)(t->count - 1);
  if (alone) stop(t, true);
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
  if (t->count >= (size_t)c->config.txn_max_events * 2) return stop(t, true);
  topic *tp = topics_get(&c->topics, name);
  if (!tp) return stop(t, true);
  if (t->scouted > 0) return OFFER_SETTLED;
  if (!t->lane && tp->next_has_lane) return to_lane(c, seq, tp, dropped_us);
  if (!add_slot(t, seq, tp, SL_VERDICT_DROPPED)) return stop(t, true);
  if (!add_letter(c, t->count - 1, &none, 0, dropped_us, dropped_us)) {
    drop_last(t);
    return stop(t, true);
  }
  letter_text *l = &t->letters[t->letter_count - 1];
  copy_text(l->class_, sizeof l->class_, class_);
  copy_text(l->text, sizeof l->text, text);
  t->verdicts[t->count - 1].verdict = SL_VERDICT_DROPPED;
  return OFFER_SETTLED;
}

/* --- letters --- */

core_offer_result txn_letter_ready(core *c, sl_slice name, int64_t now_us) {
  txn *t = &c->txn;
  if (!t->open || !t->copies || t->stop || c->phase != PHASE_FILL) return OFFER_STOP;
  topic *tp = topics_get(&c->topics, name);
  if (!tp) return stop(t, true);
  if (tp->health == TOPIC_SICK && tp->lane_try_us <= now_us) tp->health = TOPIC_UNKNOWN;
  if (tp->health == TOPIC_UNKNOWN) {
    topics_want(c, tp);
    return stop(t, true);
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
  if (t->produced > 0 && (alone || t->produced >= most || c->book_failures || full)) return stop(t, true);
  slot *s = add_slot(t, number, tp, SL_VERDICT_SENT);
  if (!s) return stop(t, true);
  *slim = tried || (tp->max_message_bytes > 0 && size > (uint64_t)tp->max_message_bytes);
  if (t->begun_us == 0) t->begun_us = now_us;
  s->produced = true;
  t->produced++;
  t->outstanding++;
  t->bytes += size;
  flow_take(c, size, 1);
  *tag = (uint64_t)t->number << 32 | (uint64_t)(t->count - 1);
  if (alone) stop(t, true);
  return OFFER_PRODUCE;
}

bool txn_letter_gone(core *c, uint64_t number, sl_slice name) {
  txn *t = &c->txn;
  if (!t->open || !t->copies || t->stop || c->phase != PHASE_FILL) return false;
  topic *tp = topics_get(&c->topics, name);
  return tp && add_slot(t, number, tp, SL_VERDICT_DROPPED) != NULL;
}

/* A copy was refused for itself: again, without the value. Refused like that, too, its topic takes no letters for now. */
static void blame_letter(core *c, topic *tp, uint64_t number, const fault *why) {
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

static void take_back(core *c, size_t size) {
  txn *t = &c->txn;
  flow_take(c, size, -1);
  t->produced--;
  t->outstanding--;
  t->bytes -= size < t->bytes ? size : t->bytes;
  drop_last(t);
}

bool txn_queue_full(core *c, size_t size) {
  txn *t = &c->txn;
  take_back(c, size);
  t->stop = t->failed > 0 || t->broken || c->stopping;
  if (t->outstanding > 0) return true;
  int64_t wanted = (int64_t)size * 2 + (1 << 20);
  c->queue_bytes = c->queue_bytes < wanted ? wanted : c->queue_bytes * 2;
  c->recreate = true;
  stop(t, true);
  return false;
}

bool txn_refused(core *c, uint64_t tag, const fault *refusal, int64_t wall_us) {
  txn *t = &c->txn;
  size_t index = (size_t)(tag & UINT32_MAX);
  if (index + 1 != t->count) return false;
  core_fault(c, refusal);
  slot *s = &t->slots[index];
  topic *tp = s->topic;
  const ruling rule = rule_on(tp, refusal);
  fault f = *refusal;
  const fault *why = &f;
  f.class_ = rule.class_;
  if (rule.lane && !t->copies) f.scope = SCOPE_TOPIC;
  if (t->copies && (why->scope == SCOPE_RECORD || why->scope == SCOPE_TOPIC)) {
    const uint64_t number = t->verdicts[index].seq;
    take_back(c, 0);
    if (why->scope == SCOPE_TOPIC) topic_sicken(c, tp, why);
    else blame_letter(c, tp, number, why);
    if (tp->letter_trial.seq == number) tp->letter_trial.condemned = true; /* to go without its value, in company */
    return true;
  }
  if (why->scope == SCOPE_RECORD && why->class_ != CLASS_NON_RETRYABLE_IDEMPOTENCY) {
    if (rule.retry.budget == 0 && add_letter(c, index, why, 1, wall_us, wall_us)) {
      s->produced = false;
      t->produced--;
      t->outstanding--;
      return true;
    }
    txn_delivered(c, tag, -1, -1, why); /* it keeps its slot: who failed must be known */
    return false;
  }
  uint64_t seq = t->verdicts[index].seq;
  take_back(c, 0);
  if (why->scope == SCOPE_TOPIC) {
    topic_sicken(c, tp, why);
    if (t->lane) stop(t, false);
    else return to_lane(c, seq, tp, t->appended_us) == OFFER_SETTLED;
    return false;
  }
  t->why = *why;
  t->broken = true;
  stop(t, false);
  return false;
}

void txn_delivered(core *c, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  txn *t = &c->txn;
  size_t index = (size_t)(tag & UINT32_MAX);
  if (!t->open || tag >> 32 != t->number || index >= t->count) return;
  slot *s = &t->slots[index];
  if (!s->produced || s->reported) return;
  s->reported = true;
  t->outstanding--;
  if (fault_is_ok(why)) {
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

static int by_topic(const void *a, const void *b) {
  const sl_lane *x = a, *y = b;
  size_t n = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
  int order = memcmp(x->topic.data, y->topic.data, n);
  return order ? order : (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
}

static bool seal_copies(core *c) {
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

void txn_offsets_back(core *c, topic *tp, int64_t from, int64_t to) {
  c->offsets_back++;
  c->back_topic = tp->index;
  c->back_from = from;
  c->back_to = to;
  memset(tp->seen, 0, sizeof tp->seen); /* of its other partitions too: they would tell it again */
}

/* Offsets of a partition only ascend. Where they do not, the topic was deleted and created again since (or a broker lost
 * records that it had acknowledged): receipts from before tell of places that are gone. */
static void watch_offset(core *c, topic *tp, const delivery_verdict *v) {
  const size_t at = (size_t)v->partition % SEEN_PLACES;
  if (tp->seen[at].partition == v->partition + 1 && v->place <= tp->seen[at].offset) {
    txn_offsets_back(c, tp, tp->seen[at].offset, v->place);
    if (!c->txn.copies) {
      tp->back = true;
      tp->back_txn = c->txn.number;
      tp->back_seq = v->seq;
    }
  }
  tp->seen[at].partition = v->partition + 1;
  tp->seen[at].offset = v->place;
}

/* Events of a later transaction were sent when the topic was a new one already, all of them. */
void txn_note_recreated(core *c) {
  txn *t = &c->txn;
  for (size_t i = 0; i < t->count && !t->watched; i++)
    if (t->verdicts[i].verdict == SL_VERDICT_SENT && t->verdicts[i].place >= 0 && t->verdicts[i].partition >= 0)
      watch_offset(c, t->slots[i].topic, &t->verdicts[i]);
  t->watched = true;
  size_t count = 0;
  for (size_t i = 0; i < c->topics.count; i++) count += c->topics.list[i]->back;
  if (count > c->recreated_cap) {
    delivery_recreated *list = realloc(c->recreated, count * sizeof *list);
    if (!list) return; /* with the next attempt, then */
    c->recreated = list;
    c->recreated_cap = count;
  }
  count = 0;
  for (size_t i = 0; i < c->topics.count; i++) {
    const topic *tp = c->topics.list[i];
    if (!tp->back) continue;
    c->recreated[count++] = (delivery_recreated){{tp->name, tp->len}, tp->back_txn == t->number ? tp->back_seq : 0};
  }
  c->attempt.recreated = c->recreated;
  c->attempt.recreated_count = count;
}

void txn_noted(core *c) {
  if (c->attempt.recreated_count == 0) return;
  for (size_t i = 0; i < c->topics.count; i++) c->topics.list[i]->back = false;
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
  if (n > 1) qsort(c->lanes, n, sizeof *c->lanes, by_topic);
  for (size_t i = 0; i < t->count; i++) {
    if (!t->slots[i].letter) continue;
    letter_text *l = &t->letters[t->slots[i].letter - 1];
    l->letter.error_class = sl_slice_of(l->class_);
    l->letter.error_code = sl_slice_of(l->name);
    l->letter.error_text = sl_slice_of(l->text);
    l->letter.topic = (sl_slice){t->slots[i].topic->name, t->slots[i].topic->len};
    l->letter.attempt = c->last_attempt + 1;
    t->verdicts[i].letter = &l->letter;
  }
  if (t->copies && !seal_copies(c)) return false;
  delivery_attempt *a = &c->attempt;
  *a = (delivery_attempt){
      .progress = {.seq = t->lane || t->claim || t->copies ? c->cursor.seq : t->looked_to,
                   .dlq_no = c->cursor.dlq_no + (t->copies ? t->produced : 0),
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

void txn_cut_at_failure(core *c) {
  txn *t = &c->txn;
  size_t keep = 0;
  while (keep < t->count && (!t->slots[keep].produced || (t->slots[keep].reported && !t->slots[keep].failed)))
    keep++;
  if (keep == t->count) return;
  for (size_t i = keep; i < t->count; i++) t->produced -= t->slots[i].produced;
  t->outstanding = 0; /* reports of what was cut find no slot */
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
  narrow *n = narrow_of(c);
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
    blame_letter(c, t->slots[at].topic, t->verdicts[at].seq, why);
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
  suspect_note(c, tp, (suspicion)t->slots[at].suspect, t->slots[at].least, why);
  tr->condemned = tr->attempts > rule.retry.budget;
  if (tr->condemned) return;
  int64_t again = c->now_us + retry_delay(&c->config.seed, rule.retry, tr->attempts - 1);
  if (t->lane) t->lane->lane_try_us = again;
  else c->hold_us = again;
}

/* Its time was refused. That is no fault of the record's: it is sent again with the time of its sending, as are its
 * topic's others from then on. Where that is refused, too, the clocks differ, and its topic waits. */
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
  uint32_t *mute = &narrow_of(c)->mute;
  if (t->failed == 0 || t->named || c->stale || ++*mute < 2) return;
  if (!only_topic(t)) narrow_down(c);
  else if (*mute >= 4) topic_sicken(c, only_topic(t), &c->last_fault);
}

int64_t book_pause(core *c) {
  return 500000 + retry_delay(&c->config.seed, (retry_rule){0, 500000, 10000000}, c->book_failures);
}

/* The attempt is not in the book. It could not be written (a full disk, say): not again at once. Or it no longer fits
 * the log: fewer are sooner through, before the next one of them is dropped; only what is refused again waits. */
static void blame_book(core *c) {
  if (!c->txn.refused) {
    c->hold_us = c->now_us + book_pause(c);
    return;
  }
  if (c->txn.produced > 1) narrow_down(c);
  if (c->refusals > 0) c->hold_us = c->now_us + retry_delay(&c->config.seed, (retry_rule){0, 10000, 2000000}, c->refusals);
  if (c->refusals < 16) c->refusals++;
}

static void blame_connection(core *c) {
  txn *t = &c->txn;
  if (t->failed == 0 && t->outstanding == 0) return;
  /* Perhaps it was too much for the link: what cannot finish inside its timeout is tried again for ever
   * (over 128 kB/s, 3,000 events of 1 KB never arrived: seen). */
  if (c->target_bytes > TARGET_MIN) {
    uint64_t sent = t->bytes < c->target_bytes ? t->bytes : c->target_bytes;
    c->target_bytes = sent / 4 > TARGET_MIN ? sent / 4 : TARGET_MIN;
  }
  if (t->produced == 1 && ++c->timeouts >= 2 && c->timeout_us < pace_timeout_most(&c->config)) {
    c->timeout_us = pace_timeout(&c->config, c->timeout_us * 2);
    c->timeouts = 0;
  }
}

fault_scope txn_blame(core *c, const fault *why) {
  txn *t = &c->txn;
  const fault *f = t->named && !why->fenced ? &t->why : why;
  core_fault(c, f);
  if (t->lane && f->scope != SCOPE_TOPIC) t->lane->lane_try_us = c->now_us;
  switch (f->scope) {
  case SCOPE_RECORD:
    if (!blame_stamp(c, f)) blame_record(c, f);
    break;
  case SCOPE_TOPIC: blame_topic(c); break;
  case SCOPE_CONNECTION: blame_connection(c); break;
  case SCOPE_PRODUCER: blame_mute(c); break;
  case SCOPE_AGENT: blame_book(c); break;
  case SCOPE_NONE:
  case SCOPE_CLUSTER: break;
  }
  return f->scope;
}

void txn_settled(core *c) {
  txn *t = &c->txn;
  if (t->claim) pace_claimed(c);
  else if (t->failed == 0) pace_learn(c);
  c->transactions++;
  c->last_commit_us = c->now_us;
  if (t->claim) return;
  if (t->expire) c->expired += t->letter_count;
  if (t->copies) c->letters_from = t->looked_to + 1;
  if (t->lane && t->lane->health == TOPIC_READY) t->lane->lane_try_us = c->now_us; /* it goes well: on */
  for (size_t i = 0; i < t->count; i++) {
    const slot *s = &t->slots[i];
    if (s->suspect) suspect_refuted(s->topic, (suspicion)s->suspect);
    if (s->produced && s->size > s->topic->taken) s->topic->taken = s->size;
  }
  for (size_t i = 0; i < t->count; i++) /* written: what was refused before no longer counts */
    if (t->slots[i].produced && t->slots[i].topic->refusals) {
      topic *tp = t->slots[i].topic;
      tp->refusals = 0;
      tp->refused_us = tp->refused_at_us = tp->refused_wall_us = 0;
    }
  narrow *n = narrow_of(c);
  n->mute = c->refusals = 0;
  if (n->events && t->produced >= n->events && t->failed == 0) n->events *= 2;
  if (t->looked_to >= n->to) *n = (narrow){0};
  c->failures = 0; /* not for a claim: it says nothing of the transactions that failed before it */
}

bool lanes_load(core *c, const sl_lane *lanes, size_t count) {
  bool ok = true;
  for (size_t i = 0; i < c->topics.count; i++) c->topics.list[i]->next_has_lane = false;
  for (size_t i = 0; i < count; i++) {
    topic *tp = topics_get(&c->topics, lanes[i].topic);
    if (!tp) {
      ok = false;
      continue;
    }
    /* A lane that was opened just now may wait; one that the last agent left is tried at once. */
    if (!tp->has_lane && c->phase != PHASE_BACKOFF) tp->lane_try_us = c->now_us + c->config.probe_us;
    tp->has_lane = tp->next_has_lane = true;
    tp->lane_seq = tp->next_lane_seq = lanes[i].seq;
  }
  for (size_t i = 0; i < c->topics.count; i++) {
    topic *tp = c->topics.list[i];
    if (!tp->next_has_lane) {
      tp->has_lane = false;
      tp->narrow = (narrow){0};
    }
  }
  return ok;
}
