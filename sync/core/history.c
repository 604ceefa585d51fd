#include "core/history.h"
#include "base/crc32c.h"
#include "core/history_pack.h"
#include <stdio.h>
#include <stdlib.h>

/* --- numbers and texts --- */

static void put(history *h, uint64_t v) {
  uint8_t bytes[10];
  size_t n = 0;
  for (; v >= 0x80; v >>= 7) bytes[n++] = (uint8_t)(v | 0x80);
  bytes[n++] = (uint8_t)v;
  sl_buf_append(&h->record, bytes, n);
}

static void put_signed(history *h, int64_t v) { put(h, zigzag(v)); }

static void put_slice(history *h, sl_slice s) {
  put(h, s.len);
  sl_buf_append(&h->record, s.data, s.len);
}

static void put_text(history *h, const char *text) { put_slice(h, sl_slice_of(text)); }

static void put_now(history *h, int64_t now_us) {
  put_signed(h, now_us - h->base.now_us);
  h->base.now_us = now_us;
}

static void put_seq(history *h, uint64_t seq) {
  put_signed(h, (int64_t)(seq - h->base.seq));
  h->base.seq = seq;
}

static void put_tag(history *h, uint64_t tag) {
  put_signed(h, (int64_t)(tag - h->base.tag));
  h->base.tag = tag;
}

static bool same_fault(const fault *a, const fault *b) {
  return a->scope == b->scope && a->class_ == b->class_ && a->code == b->code && a->fatal == b->fatal &&
         a->abortable == b->abortable && a->fenced == b->fenced && strcmp(a->name, b->name) == 0 &&
         strcmp(a->text, b->text) == 0;
}

static void put_fault(history *h, const fault *f) {
  if (fault_is_ok(f)) {
    put(h, 0);
  } else if (same_fault(f, &h->base.why)) {
    put(h, 1); /* the same again: an outage tells it for each record */
  } else {
    put(h, 1 + (uint64_t)f->scope);
    put(h, (uint64_t)f->class_);
    put_signed(h, f->code);
    put(h, (uint64_t)f->fatal | (uint64_t)f->abortable << 1 | (uint64_t)f->fenced << 2);
    put_text(h, f->name);
    put_text(h, f->text);
    h->base.why = *f;
  }
}

/* --- one record --- */

static bool hears(const history *h) { return h && h->begun; }

static bool start(history *h, unsigned call) {
  if (!hears(h)) return false;
  sl_buf_reset(&h->record);
  put(h, call);
  return true;
}

static void finish(history *h) {
  if (h->record.failed) { /* a record is missing: what comes behind it would not replay */
    h->begun = false;
    h->wanted = true;
    return;
  }
  h->to.write(h->to.arg, h->record.data, h->record.len);
  h->written += h->record.len;
}

static void begin_if_wanted(history *h, const core *c) {
  if (!h->wanted || !core_image_fits(c)) return;
  char line[120];
  sl_buf_reset(&h->record);
  const int n = snprintf(line, sizeof line, "%s %s %zu %zu\n", HISTORY_MAGIC, sl_version(), sizeof *c,
                         sizeof(topic));
  sl_buf_append(&h->record, line, (size_t)n);
  if (!core_image_save(c, &h->record)) return;
  h->to.begin(h->to.arg);
  h->to.write(h->to.arg, h->record.data, h->record.len);
  h->written = h->record.len;
  h->base = (history_base){0};
  h->begun = true;
  h->wanted = false;
}

bool core_listen(core *c, const core_recorder *recorder) {
  history_free(c->history);
  c->history = NULL;
  if (!recorder) return true;
  history *h = calloc(1, sizeof *h);
  if (!h) return false;
  h->to = *recorder;
  h->wanted = true;
  c->history = h;
  begin_if_wanted(h, c);
  return true;
}

history *history_of_replay(const core_recorder *to) {
  history *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  h->to = *to;
  h->begun = true;
  return h;
}

void history_free(history *h) {
  if (!h) return;
  sl_buf_free(&h->record);
  free(h);
}

/* --- the calls --- */

static void put_book(history *h, const delivery_state *b) {
  put(h, b != NULL);
  if (!b) return;
  put_slice(h, b->cursor_bytes);
  put_slice(h, b->intent_bytes);
  put_slice(h, b->marker_bytes);
  put(h, b->last_attempt);
  put(h, b->delivered);
  put(h, b->dead);
  put(h, b->last_letter << 1 | b->letters_wait);
}

static void put_rules(history *h, const fault_rules *rules) {
  put(h, rules != NULL);
  if (!rules) return;
  for (size_t i = 0; i < FAULT_CLASSES; i++) {
    put(h, rules->of[i].budget);
    put_signed(h, rules->of[i].base_us);
    put_signed(h, rules->of[i].cap_us);
  }
  for (size_t i = 0; i < FAULT_RECORD_CODES; i++) put(h, rules->codes[i]);
}

void history_step(history *h, const core *c, const core_event *e) {
  if (!start(h, CALL_STEP)) return;
  put_now(h, e->now_us);
  put_signed(h, e->wall_us - e->now_us - (h->base.wall_us));
  h->base.wall_us = e->wall_us - e->now_us;
  put_signed(h, e->slept_us);
  put(h, (uint64_t)e->closed_us);
  put(h, (uint64_t)e->kind);
  put(h, (uint64_t)e->op);
  put_fault(h, &e->why);
  put_book(h, e->book);
  put(h, (uint64_t)e->refused | (uint64_t)e->transport << 1 | (uint64_t)(e->cluster_id != NULL) << 2 |
         (uint64_t)e->answered << 3);
  if (e->cluster_id) put_text(h, e->cluster_id);
  const size_t topics = e->topics && fault_is_ok(&e->why) ? c->wanted_count : 0;
  put(h, topics);
  for (size_t i = 0; i < topics; i++) {
    put_fault(h, &e->topics[i].why);
    put_signed(h, e->topics[i].partitions);
    put_signed(h, e->topics[i].max_message_bytes);
    put(h, e->topics[i].needs_key);
    put_signed(h, e->topics[i].stamp_max_age_us);
    put_signed(h, e->topics[i].lane_max_age_us);
    put_rules(h, e->topics[i].rules);
    put(h, e->topics[i].recreated);
    put_signed(h, e->topics[i].receipt_at);
    put_signed(h, e->topics[i].ends_at);
  }
  put(h, e->lanes_full_to);
  put_slice(h, e->marker);
  put_signed(h, e->marker_offset);
  put_signed(h, e->round_trip_us);
  put_signed(h, e->age_us);
  put(h, (uint64_t)e->fill_end);
  put(h, e->last_seq);
  put(h, e->indexed_seq);
}

static uint32_t sum_of_verdicts(const delivery_verdict *v, size_t count, uint32_t sum) {
  for (size_t i = 0; i < count; i++) {
    const sl_letter *l = v[i].letter;
    const uint64_t fields[] = {v[i].seq, v[i].verdict | (uint64_t)v[i].copied << 8,
                               (uint64_t)(int64_t)v[i].partition, (uint64_t)v[i].place,
                               l ? l->attempts : 0, l ? (uint64_t)l->first_failure_us : 0};
    sum = sl_crc32c(sum, fields, sizeof fields);
    if (l) sum = sl_crc32c(sum, l->error_text.data, l->error_text.len);
  }
  return sum;
}

/* What came out: the phase, when to wake, the actions; with an INTENT also what it would write. */
void history_step_end(history *h, core *c, const core_actions *out) {
  if (!h) return;
  if (h->begun) {
    put(h, (uint64_t)c->phase);
    put_signed(h, core_wake_at(c) ? core_wake_at(c) - h->base.now_us : INT64_MIN);
    put(h, out->count);
    for (size_t i = 0; i < out->count; i++) {
      const core_action *a = &out->list[i];
      put(h, (uint64_t)a->op);
      put_text(h, a->topic);
      put(h, a->topic_count);
      for (size_t k = 0; k < a->topic_count; k++) put_text(h, a->topics[k]);
      put(h, a->from);
      put(h, a->to);
      put(h, a->marker.len);
      put(h, sl_crc32c(0, a->marker.data, a->marker.len));
      put_signed(h, a->exit_status);
      const delivery_attempt *t = &c->attempt;
      if (a->op == OP_INTENT)
        put(h, sum_of_verdicts(t->lane_verdicts, t->lane_count, sum_of_verdicts(t->verdicts, t->count, 0)));
    }
    finish(h);
    if (h->to.most && h->written >= h->to.most) h->wanted = true;
  }
  begin_if_wanted(h, c);
}

void history_offer(history *h, const core *c, const core_record *r, int64_t now_us) {
  if (!start(h, CALL_OFFER)) return;
  const topic *tp = topics_find(&c->topics, r->topic);
  put_now(h, now_us);
  put_seq(h, r->seq);
  put(h, tp ? tp->index + 1 : 0);
  if (!tp) put_slice(h, r->topic);
  put(h, r->duplicate_of);
  put(h, r->size);
  put(h, (uint64_t)r->keyless | (uint64_t)r->weighed << 1 | (uint64_t)(r->least > 0) << 2 |
         (uint64_t)r->exact << 3);
  if (r->least > 0) put(h, r->least);
  put_signed(h, r->appended_us - h->base.appended_us);
  h->base.appended_us = r->appended_us;
}

void history_offer_end(history *h, core_offer_result result, uint64_t tag) {
  if (!hears(h)) return;
  put(h, (uint64_t)result);
  if (result == OFFER_PRODUCE) put_tag(h, tag);
  finish(h);
}

void history_dropped(history *h, uint64_t seq, sl_slice name, sl_slice class_, sl_slice text, int64_t dropped_us) {
  if (!start(h, CALL_OFFER_DROPPED)) return;
  put_seq(h, seq);
  put_slice(h, name);
  put_slice(h, class_);
  put_slice(h, text);
  put_signed(h, dropped_us);
}

void history_letter(history *h, unsigned call, uint64_t number, sl_slice name, size_t size, int64_t now_us) {
  if (!start(h, call)) return;
  put_now(h, now_us);
  put(h, number);
  put_slice(h, name);
  put(h, size);
}

void history_begun(history *h) {
  if (start(h, CALL_BEGUN)) finish(h);
}

void history_queue_full(history *h, size_t size) {
  if (start(h, CALL_QUEUE_FULL)) put(h, size);
}

void history_refused(history *h, uint64_t tag, const fault *why, int64_t wall_us) {
  if (!start(h, CALL_REFUSED)) return;
  put_tag(h, tag);
  put_fault(h, why);
  put_signed(h, wall_us);
}

void history_result(history *h, unsigned result) {
  if (!hears(h)) return;
  put(h, result);
  finish(h);
}

void history_delivered(history *h, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  if (!start(h, CALL_DELIVERED)) return;
  put_tag(h, tag);
  put_signed(h, partition);
  put_signed(h, offset);
  put_fault(h, why);
  finish(h);
}
