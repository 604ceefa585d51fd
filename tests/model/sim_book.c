/* The book of src/delivery/delivery.c in memory, as strict as the real one and simpler. */
#include "sim.h"

static void progress_take(const sl_buf *bytes, sl_progress *p, sl_lane *lanes, char (*names)[24],
                          sl_lane *scratch) {
  sl_progress_decode(sl_buf_slice(bytes), p, scratch);
  for (size_t i = 0; i < p->lane_count; i++) {
    memset(names[i], 0, 24);
    memcpy(names[i], scratch[i].topic.data, scratch[i].topic.len);
    lanes[i] = (sl_lane){sl_slice_of(names[i]), scratch[i].seq};
  }
  p->lanes = lanes;
}

static void refresh(sim_book *b) {
  progress_take(&b->cursor, &b->state.cursor, b->cursor_lanes, b->lane_names[0], b->scratch);
  b->state.intent = (sl_progress){0};
  b->state.has_intent = b->intent.len > 0;
  if (b->intent.len) progress_take(&b->intent, &b->state.intent, b->intent_lanes, b->lane_names[1], b->scratch);
  b->state.letters_wait = false;
  for (uint64_t i = 1; i <= b->state.last_letter; i++)
    if (b->letters[i].state == LETTER_INTENT || b->letters[i].state == LETTER_WAITS) b->state.letters_wait = true;
  b->state.cursor_bytes = sl_buf_slice(&b->cursor);
  b->state.intent_bytes = sl_buf_slice(&b->intent);
  b->state.marker_bytes = sl_buf_slice(&b->marker);
}

static void set(sl_buf *to, const sl_buf *from) {
  sl_buf_reset(to);
  sl_buf_append(to, from->data, from->len);
}

void book_init(sim_book *b) {
  memset(b, 0, sizeof *b);
  sl_progress none = {0};
  sl_progress_encode(&none, &b->cursor);
  b->state.marker_partition = -1;
  refresh(b);
}

void book_free(sim_book *b) {
  sl_buf_free(&b->cursor);
  sl_buf_free(&b->intent);
  sl_buf_free(&b->marker);
}

void book_copy(sim_book *to, const sim_book *from) {
  book_free(to);
  *to = *from;
  to->cursor = to->intent = to->marker = (sl_buf){0};
  set(&to->cursor, &from->cursor);
  set(&to->intent, &from->intent);
  set(&to->marker, &from->marker);
  refresh(to);
}

static uint64_t settled_to(const sim *s, const sl_progress *p, uint64_t seq) {
  sl_slice name = sl_slice_of(s->broker.topics[s->log[seq - 1].topic].name);
  for (size_t i = 0; i < p->lane_count; i++)
    if (sl_slice_eq(p->lanes[i].topic, name)) return p->lanes[i].seq;
  return p->seq;
}

static bool pend(sim *s, sim_book *b, const delivery_verdict *v, bool lane) {
  if ((v->verdict == SL_VERDICT_LANE) != lane) {
    sim_break(s, "I1: event %llu has verdict %u where its topic's settled seq says otherwise",
              (unsigned long long)v->seq, v->verdict);
    return false;
  }
  if ((v->verdict == SL_VERDICT_SENT && v->partition < 0) || (v->verdict == SL_VERDICT_DEAD && !v->letter) ||
      (v->verdict == SL_VERDICT_DUPLICATE && s->log[v->seq - 1].duplicate_of != (uint64_t)v->place)) {
    sim_break(s, "event %llu has a verdict that makes no sense", (unsigned long long)v->seq);
    return false;
  }
  if (v->verdict == SL_VERDICT_DEAD && (v->letter->error_class.len == 0 || v->letter->seq != v->seq ||
                                        v->letter->attempts == 0 || v->letter->topic.len == 0)) {
    sim_break(s, "event %llu has half a letter", (unsigned long long)v->seq);
    return false;
  }
  if (v->copied && v->verdict != SL_VERDICT_DEAD)
    sim_break(s, "I7: event %llu has a copy and no letter", (unsigned long long)v->seq);
  if (v->verdict == SL_VERDICT_DEAD && !v->copied)
    b->letters[++b->state.last_letter] = (sim_letter){v->seq, LETTER_INTENT};
  if (v->verdict == SL_VERDICT_DEAD && sl_slice_eq(v->letter->error_code, sl_slice_of("LANE_TOO_OLD"))) {
    const sim_event *e = &s->log[v->seq - 1];
    if (!s->broker.topics[e->topic].ever_sick || s->lane_max_age_us == 0 ||
        s->now_us - e->appended_us <= s->lane_max_age_us) {
      sim_break(s, "event %llu is set aside, but its topic was never refused, or not long enough",
                (unsigned long long)v->seq);
      return false;
    }
    s->expired++;
  }
  const bool expired = v->verdict == SL_VERDICT_DEAD && v->letter->error_code.len > 5 &&
                       memcmp(v->letter->error_code.data, "LANE_", 5) == 0;
  b->pending[v->seq] = (sim_verdict){v->verdict, v->partition, v->place, expired};
  b->touched[b->touched_count++] = v->seq;
  return true;
}

static bool copies_hold(sim *s, sim_book *b, const delivery_attempt *a) {
  b->copy_count = 0;
  for (size_t i = 0; i < a->copy_count; i++) {
    const uint64_t number = a->copies[i].number;
    if (i > 0 && number <= a->copies[i - 1].number) sim_break(s, "I7: copies ascend");
    if (b->letters[number].state != LETTER_WAITS || a->copies[i].gone)
      sim_break(s, "I7: letter %llu does not wait", (unsigned long long)number);
    b->copies[b->copy_count++] = number;
  }
  uint64_t published = a->copy_count;
  for (size_t i = 0; i < a->count; i++) published += a->verdicts[i].copied;
  if (a->progress.dlq_no != b->state.cursor.dlq_no + published)
    sim_break(s, "I7: dlq_no does not count the copies");
  return !s->broken;
}

static bool lanes_hold(sim *s, const sl_progress *before, const sl_progress *after) {
  for (size_t i = 0; i < before->lane_count; i++) {
    uint64_t to = after->seq;
    for (size_t k = 0; k < after->lane_count; k++)
      if (sl_slice_eq(before->lanes[i].topic, after->lanes[k].topic)) to = after->lanes[k].seq;
    if (to < before->lanes[i].seq) {
      sim_break(s, "a lane steps back");
      return false;
    }
  }
  for (size_t k = 0; k < after->lane_count; k++) {
    for (size_t i = 0; i < s->broker.topic_count; i++)
      if (sl_slice_eq(after->lanes[k].topic, sl_slice_of(s->broker.topics[i].name)) &&
          !s->broker.topics[i].ever_sick) {
        sim_break(s, "topic %s has a lane and was never sick", s->broker.topics[i].name);
        return false;
      }
    bool had = false;
    for (size_t i = 0; i < before->lane_count; i++)
      had = had || sl_slice_eq(before->lanes[i].topic, after->lanes[k].topic);
    if (!had && after->lanes[k].seq < before->seq) {
      sim_break(s, "a lane opens below the cursor");
      return false;
    }
  }
  return true;
}

bool book_intent(sim *s, sim_book *b, const delivery_attempt *a) {
  const sl_progress *before = &b->state.cursor, *after = &a->progress;
  b->touched_count = 0;
  if (b->state.has_intent) sim_break(s, "an intent of unknown outcome would be overwritten");
  else if (after->attempt != b->state.last_attempt + 1) sim_break(s, "I2: attempt numbers ascend by one");
  else if (after->seq < before->seq) sim_break(s, "progress steps back");
  else if (after->seq > s->indexed) sim_break(s, "I5: beyond the index");
  if (s->broken || !lanes_hold(s, before, after) || !copies_hold(s, b, a)) return false;
  size_t next = 0;
  for (uint64_t seq = before->seq + 1; seq <= after->seq; seq++, next++) {
    if (next >= a->count || a->verdicts[next].seq != seq) {
      sim_break(s, "I1: event %llu has no verdict", (unsigned long long)seq);
      return false;
    }
    if (!pend(s, b, &a->verdicts[next], seq > settled_to(s, after, seq))) return false;
  }
  if (next != a->count) sim_break(s, "I1: verdicts beyond the progress");
  size_t found = 0;
  for (uint64_t seq = 1; seq <= before->seq && !s->broken; seq++) {
    if (seq <= settled_to(s, before, seq) || seq > settled_to(s, after, seq)) continue;
    const delivery_verdict *v = NULL;
    for (size_t i = 0; i < a->lane_count; i++)
      if (a->lane_verdicts[i].seq == seq) v = &a->lane_verdicts[i];
    if (!v) sim_break(s, "I1: event %llu leaves its lane without a verdict", (unsigned long long)seq);
    else if (pend(s, b, v, false)) found++;
  }
  if (!s->broken && found != a->lane_count) sim_break(s, "I1: lane verdicts of events that do not wait");
  if (s->broken) return false;
  sl_buf_reset(&b->intent);
  if (sl_progress_encode(after, &b->intent) != SL_OK)
    sim_break(s, "progress cannot be encoded: %s", sl_last_detail());
  b->intent_marked = a->marked;
  b->state.last_attempt = after->attempt;
  refresh(b);
  return !s->broken;
}

bool book_settle(sim *s, sim_book *b) {
  if (!b->state.has_intent) {
    sim_break(s, "there is no intent to settle");
    return false;
  }
  for (size_t i = 0; i < b->touched_count; i++) {
    uint64_t seq = b->touched[i];
    b->verdicts[seq] = b->pending[seq];
    switch (b->pending[seq].verdict) {
    case SL_VERDICT_SENT: b->state.delivered++; break;
    case SL_VERDICT_DUPLICATE: b->state.duplicates++; break;
    case SL_VERDICT_DEAD: b->state.dead++; break;
    default: break;
    }
  }
  for (uint64_t i = 1; i <= b->state.last_letter; i++)
    if (b->letters[i].state == LETTER_INTENT) b->letters[i].state = LETTER_WAITS;
  for (size_t i = 0; i < b->copy_count; i++) b->letters[b->copies[i]].state = LETTER_PUBLISHED;
  b->copy_count = 0;
  set(&b->cursor, &b->intent);
  if (b->intent_marked) set(&b->marker, &b->intent);
  sl_buf_reset(&b->intent);
  refresh(b);
  book_audit(s, b);
  return !s->broken;
}

bool book_abandon(sim *s, sim_book *b) {
  if (!b->state.has_intent) {
    sim_break(s, "there is no intent to abandon");
    return false;
  }
  b->touched_count = b->copy_count = 0;
  for (uint64_t i = 1; i <= b->state.last_letter; i++)
    if (b->letters[i].state == LETTER_INTENT) b->letters[i].state = LETTER_NONE;
  sl_buf_reset(&b->intent);
  refresh(b);
  return true;
}

bool book_letters_wait(const sim *s, const sim_book *b) {
  for (uint64_t i = 1; i <= b->state.last_letter; i++)
    if (b->letters[i].state == LETTER_WAITS &&
        s->broker.topics[sim_dlq_of(s, b->letters[i].seq)].rights == RIGHTS_ALL)
      return true;
  return false;
}

uint64_t book_pending(const sim *s, const sim_book *b) {
  uint64_t pending = 0;
  for (uint64_t seq = 1; seq <= s->last; seq++) pending += seq > settled_to(s, &b->state.cursor, seq);
  return pending;
}

void book_audit(sim *s, const sim_book *b) {
  const delivery_state *d = &b->state;
  uint64_t pending = book_pending(s, b);
  if (s->last != d->delivered + d->duplicates + d->dead + pending)
    sim_break(s, "the conservation law: %llu appended, %llu delivered, %llu duplicates, %llu dead, %llu pending",
              (unsigned long long)s->last, (unsigned long long)d->delivered, (unsigned long long)d->duplicates,
              (unsigned long long)d->dead, (unsigned long long)pending);
  for (uint64_t seq = 1; seq <= d->cursor.seq && !s->broken; seq++) {
    const sim_verdict *v = &b->verdicts[seq];
    if (v->verdict != SL_VERDICT_SENT || v->place < 0) continue;
    const sim_topic *t = &s->broker.topics[s->log[seq - 1].topic];
    const sim_part *p = &t->parts[v->partition];
    if (v->partition >= t->partitions || (size_t)v->place >= p->n || p->recs[v->place].seq != seq ||
        !broker_committed(s, p->recs[v->place].txn))
      sim_break(s, "the receipt of event %llu is not true", (unsigned long long)seq);
  }
}
