#include "adopt_cover.h"
#include <stdlib.h>
#include <string.h>

#define STEP 20000 /* events a durable write */

/* ---------------------------------------------------------------- topics with lanes */

static cover_topic *topic_of(cover *c, sl_slice name) {
  for (size_t i = 0; i < c->topic_count; i++)
    if (sl_slice_eq(SL_BYTES(c->topics[i].name, c->topics[i].len), name)) return &c->topics[i];
  return NULL;
}

static int by_name(const void *a, const void *b) {
  const cover_topic *x = a, *y = b;
  const size_t len = x->len < y->len ? x->len : y->len;
  const int order = memcmp(x->name, y->name, len);
  return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void add_topic(cover *c, sl_slice name) {
  if (name.len >= sizeof c->topics->name || topic_of(c, name)) return;
  cover_topic *t = &c->topics[c->topic_count++];
  *t = (cover_topic){.len = name.len};
  memcpy(t->name, name.data, name.len);
}

/* Where each topic with a lane ends up: at the marker's lane, or with everything else; never behind the book. */
static sl_status find_topics(cover *c, const delivery_state *book) {
  c->topics = calloc(book->cursor.lane_count + c->there.lane_count + 1, sizeof *c->topics);
  if (!c->topics) return SL_E_NOMEM;
  for (size_t i = 0; i < book->cursor.lane_count; i++) add_topic(c, book->cursor.lanes[i].topic);
  for (size_t i = 0; i < c->there.lane_count; i++) add_topic(c, c->there.lanes[i].topic);
  qsort(c->topics, c->topic_count, sizeof *c->topics, by_name);
  for (size_t i = 0; i < c->topic_count; i++) {
    c->topics[i].goal = c->to;
    c->topics[i].lane_seq = c->from;
  }
  for (size_t i = 0; i < c->there.lane_count; i++) {
    cover_topic *t = topic_of(c, c->there.lanes[i].topic);
    if (t && c->there.lanes[i].seq < t->goal) t->goal = c->there.lanes[i].seq;
  }
  for (size_t i = 0; i < book->cursor.lane_count; i++) {
    cover_topic *t = topic_of(c, book->cursor.lanes[i].topic);
    if (!t) continue;
    t->waits = true;
    t->lane_seq = book->cursor.lanes[i].seq;
  }
  for (size_t i = 0; i < c->topic_count; i++)
    if (c->topics[i].goal < c->topics[i].lane_seq) c->topics[i].goal = c->topics[i].lane_seq;
  return SL_OK;
}

/* ---------------------------------------------------------------- walking */

typedef sl_status each_fn(void *arg, const sl_record *r);

/* Every record of first..last, of one topic or of all. */
static sl_status each(const cover *c, uint64_t first, uint64_t last, const cover_topic *topic, each_fn *fn,
                      void *arg) {
  const sl_query query = {.first_seq = first, .last_seq = last,
                          .topic = topic ? SL_BYTES(topic->name, topic->len) : (sl_slice){0}};
  sl_iter *iter;
  const sl_record *r;
  if (first > last) return SL_OK;
  sl_status st = sl_iter_start(c->store, &query, &iter);
  if (st != SL_OK) return st;
  while ((st = sl_iter_next(iter, &r)) == SL_OK && (st = fn(arg, r)) == SL_OK) continue;
  sl_iter_close(iter);
  return st == SL_NOTFOUND ? SL_OK : st;
}

typedef struct verdicts {
  cover *cover;
  bool lane;
  int64_t until_us;          /* while the end is looked for */
  delivery_verdict *list;
  size_t count, cap;
} verdicts;

static sl_status note_end(void *arg, const sl_record *r) {
  verdicts *v = arg;
  if (r->appended_at_us > v->until_us) return SL_NOTFOUND; /* the walk's end */
  v->cover->to = r->seq;
  return SL_OK;
}

static sl_status count_one(void *arg, const sl_record *r) {
  verdicts *v = arg;
  const cover_topic *t = v->lane ? NULL : topic_of(v->cover, r->topic);
  v->cover->covered += !t || r->seq <= t->goal;
  return SL_OK;
}

static sl_status judge(void *arg, const sl_record *r) {
  verdicts *v = arg;
  if (v->count == v->cap) {
    const size_t cap = v->cap ? v->cap * 2 : 1024;
    delivery_verdict *grown = realloc(v->list, cap * sizeof *grown);
    if (!grown) return SL_E_NOMEM;
    v->list = grown;
    v->cap = cap;
  }
  const cover_topic *t = v->lane ? NULL : topic_of(v->cover, r->topic);
  delivery_verdict one = {.seq = r->seq, .verdict = SL_VERDICT_SENT, .partition = -1, .place = -1};
  if (t && r->seq > t->goal) one.verdict = SL_VERDICT_LANE;
  else if (r->duplicate_of) one.verdict = SL_VERDICT_DUPLICATE, one.place = (int64_t)r->duplicate_of;
  v->list[v->count++] = one;
  return SL_OK;
}

/* A lane's waiting events lie at or below the cursor; the rest of its way is walked with everything else. */
static uint64_t lane_goal(const cover *c, const cover_topic *t) { return t->goal < c->from ? t->goal : c->from; }

sl_status cover_find(cover *c, sl_store *store, const delivery_state *book, sl_slice marker, int64_t marker_ms) {
  sl_lane *lanes = calloc(SL_LANES_MAX, sizeof *lanes);
  uint64_t last = 0, indexed = 0;
  if (!lanes) return SL_E_NOMEM;
  *c = (cover){.store = store, .from = book->cursor.seq, .to = book->cursor.seq};
  c->readable = sl_progress_decode(marker, &c->there, lanes) == SL_OK;
  sl_status st = SL_OK;
  if (c->readable) {
    c->attempt = c->there.attempt;
    st = sl_wait(store, 0, 0, &last);
    if (st == SL_TIMEOUT) st = SL_OK;
    if (last > c->there.seq) last = c->there.seq;
    while (st == SL_OK && indexed < last) st = sl_index_advance(store, STEP, &indexed);
    verdicts v = {.cover = c, .until_us = (marker_ms + 1) * 1000};
    if (st == SL_OK) st = each(c, c->from + 1, last, NULL, note_end, &v);
    if (st == SL_OK) st = find_topics(c, book);
    if (st == SL_OK) st = each(c, c->from + 1, c->to, NULL, count_one, &v);
    v.lane = true;
    for (size_t i = 0; i < c->topic_count && st == SL_OK && c->there.seq >= c->from; i++)
      if (c->topics[i].waits)
        st = each(c, c->topics[i].lane_seq + 1, lane_goal(c, &c->topics[i]), &c->topics[i], count_one, &v);
  }
  c->there.lanes = NULL;
  c->there.lane_count = 0;
  free(lanes);
  return st;
}

/* ---------------------------------------------------------------- taking */

/* The lanes of a progress up to `end`, when those before `moved` have been taken along. */
static size_t lanes_at(const cover *c, uint64_t end, size_t moved, sl_lane *lanes) {
  size_t n = 0;
  for (size_t i = 0; i < c->topic_count; i++) {
    const cover_topic *t = &c->topics[i];
    const uint64_t at = i < moved || !t->waits ? t->goal : t->lane_seq;
    if (at < end) lanes[n++] = (sl_lane){SL_BYTES(t->name, t->len), at};
  }
  return n;
}

static sl_status record(const cover *c, sl_delivery *d, uint64_t end, size_t moved, const verdicts *v) {
  sl_lane *lanes = calloc(c->topic_count + 1, sizeof *lanes);
  if (!lanes) return SL_E_NOMEM;
  const delivery_state *book = delivery_state_get(d);
  delivery_attempt attempt = {.progress = {.seq = end, .dlq_no = book->cursor.dlq_no,
                                           .attempt = book->last_attempt + 1, .lanes = lanes}};
  memcpy(attempt.progress.incarnation, c->there.incarnation, sizeof attempt.progress.incarnation);
  attempt.progress.lane_count = lanes_at(c, end, moved, lanes);
  if (v->lane) {
    attempt.lane_verdicts = v->list;
    attempt.lane_count = v->count;
  } else {
    attempt.verdicts = v->list;
    attempt.count = v->count;
  }
  const sl_status st = delivery_record(d, &attempt);
  free(lanes);
  return st;
}

sl_status cover_take(cover *c, sl_delivery *d) {
  sl_status st = delivery_state_get(d)->has_intent ? delivery_abandon(d) : SL_OK;
  verdicts v = {.cover = c, .lane = true};
  for (size_t i = 0; i < c->topic_count && st == SL_OK && c->there.seq >= c->from; i++) {
    v.count = 0;
    if (!c->topics[i].waits || c->topics[i].goal == c->topics[i].lane_seq) continue;
    st = each(c, c->topics[i].lane_seq + 1, lane_goal(c, &c->topics[i]), &c->topics[i], judge, &v);
    if (st == SL_OK) st = record(c, d, c->from, i + 1, &v);
  }
  v.lane = false;
  for (uint64_t at = c->from; st == SL_OK && at < c->to;) {
    const uint64_t end = c->to - at > STEP ? at + STEP : c->to;
    v.count = 0;
    st = each(c, at + 1, end, NULL, judge, &v);
    if (st == SL_OK) st = record(c, d, end, c->topic_count, &v);
    at = end;
  }
  free(v.list);
  return st;
}

void cover_free(cover *c) {
  free(c->topics);
  c->topics = NULL;
  c->topic_count = 0;
}
