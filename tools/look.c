/* Reading from several stores and bundles as from one (sources.h). */
#include "mask.h"
#include "room.h"
#include "sources.h"
#include "when.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct lane {
  size_t source;
  sl_iter *store;
  bundle_iter *bundle;
  const sl_record *head;
  sl_status status;     /* of the head; SL_OK: there is one */
  bool fetched;
} lane;

struct look {
  tool *tool;
  lane *lanes;
  size_t count, last;   /* last: whose head was returned */
  bool begun, copies_too, failed;
  sl_query query;
  struct { uint32_t needs; sl_filter_fn *fn; void *arg; } filters[SL_FILTERS_MAX];
  size_t filter_count;
  uint64_t left;
  /* For the newest ones of several sources: which they are, by their order. */
  struct picks {
    struct pick { size_t source; uint64_t seq; int64_t us; } *items;
    size_t count, at;
    room room;
  } picks;
  look *picked;
  uint64_t scanned;
  mask masks[2];
};

/* ------------------------------------------------------------------- lanes --- */

static sl_status lane_start(look *l, lane *at, size_t from) {
  const source *s = &l->tool->sources[from];
  *at = (lane){.source = from};
  return s->store ? sl_iter_start(s->store, &l->query, &at->store)
                  : bundle_iter_start(s->bundle, s->part, &l->query, &at->bundle);
}

static void lane_fetch(lane *at) {
  at->status = at->store ? sl_iter_next(at->store, &at->head) : bundle_iter_next(at->bundle, &at->head);
  at->fetched = true;
}

static void lane_close(lane *at) {
  sl_iter_close(at->store);
  bundle_iter_close(at->bundle);
}

static int64_t time_of(const look *l, const lane *at) {
  return at->head->appended_at_us - l->tool->sources[at->source].shift_us;
}

/* The lane whose head is next; a failure comes at once. count: all are at their end. */
static size_t earliest(look *l) {
  size_t first = l->count;
  for (size_t i = 0; i < l->count; i++) {
    lane *at = &l->lanes[i];
    if (!at->fetched)
      lane_fetch(at);
    if (at->status == SL_NOTFOUND)
      continue;
    if (at->status != SL_OK)
      return i;
    if (first == l->count || time_of(l, at) < time_of(l, &l->lanes[first]))
      first = i;
  }
  return first;
}

/* ------------------------------------------------------------------- start --- */

static sl_status start(tool *t, size_t first, size_t count, const sl_query *query, look **out) {
  look *l = tool_alloc(sizeof *l);
  memset(l, 0, sizeof *l);
  l->tool = t;
  l->query = query ? *query : (sl_query)SL_QUERY_INIT;
  l->lanes = tool_alloc((count + 1) * sizeof *l->lanes);
  memset(l->lanes, 0, count * sizeof *l->lanes);
  l->left = l->query.limit && count > 1 ? l->query.limit : UINT64_MAX;
  /* Copies that do not come must not use up a source's share: in order of seq the look counts, and of the newest
   * ones a source is asked for more where copies are among them. */
  if (count > 1 && !(l->query.flags & SL_QUERY_NEWEST))
    l->query.limit = 0;
  for (; l->count < count; l->count++) {
    sl_status st = lane_start(l, &l->lanes[l->count], first + l->count);
    if (st == SL_OK)
      continue;
    look_close(l);
    return st;
  }
  if (query)
    l->query.limit = query->limit;
  *out = l;
  return SL_OK;
}

sl_status look_start(tool *t, const sl_query *query, look **out) {
  return start(t, 0, t->source_count, query, out);
}

sl_status look_start_in(tool *t, size_t from, const sl_query *query, look **out) {
  return start(t, from, 1, query, out);
}

static sl_status lane_filter(const lane *at, uint32_t needs, sl_filter_fn *fn, void *arg) {
  return at->store ? sl_iter_filter(at->store, needs, fn, arg) : bundle_iter_filter(at->bundle, needs, fn, arg);
}

/* From its begin, as the query is now. */
static sl_status lane_again(look *l, size_t i) {
  lane *at = &l->lanes[i];
  lane_close(at);
  sl_status st = lane_start(l, at, at->source);
  for (size_t k = 0; k < l->filter_count && st == SL_OK; k++)
    st = lane_filter(at, l->filters[k].needs, l->filters[k].fn, l->filters[k].arg);
  return st;
}

void look_recent(look *l, uint64_t count) {
  for (size_t i = 0; i < l->count; i++) {
    sl_stats stats;
    size_t from = l->lanes[i].source;
    if (source_stats(l->tool, from, &stats, NULL) != SL_OK || stats.last_seq <= count)
      continue;
    sl_query whole = l->query;
    l->query.first_seq = stats.last_seq - count + 1;
    if (lane_again(l, i) != SL_OK)
      l->failed = true;
    l->query = whole;
  }
}

void look_copies_too(look *l) { l->copies_too = true; }

sl_status look_filter(look *l, uint32_t needs, sl_filter_fn *fn, void *arg) {
  sl_status st = SL_OK;
  if (l->filter_count == SL_FILTERS_MAX)
    return SL_E_INVALID;
  for (size_t i = 0; i < l->count && st == SL_OK; i++)
    st = lane_filter(&l->lanes[i], needs, fn, arg);
  l->filters[l->filter_count].needs = needs;
  l->filters[l->filter_count].fn = fn;
  l->filters[l->filter_count++].arg = arg;
  return st;
}

void look_close(look *l) {
  if (!l)
    return;
  for (size_t i = 0; i < l->count; i++)
    lane_close(&l->lanes[i]);
  look_close(l->picked);
  mask_free(&l->masks[0]);
  mask_free(&l->masks[1]);
  free(l->lanes);
  room_free(&l->picks.room);
  free(l);
}

/* ------------------------------------------------------------------ copies --- */

static bool is_duplicate(const sl_record *r) { return r->state == SL_DUPLICATE || r->duplicate_of != 0; }

static bool is_copy(const sl_record *a, const sl_record *b) {
  return slice_eq(a->event_id, b->event_id) && slice_eq(a->topic, b->topic) && !is_duplicate(b) &&
         (a->replay_of != 0) == (b->replay_of != 0);
}

/* Two events of one id: are they one? Where secrets of one are masked, so are the other's. Of a value that a line
 * does not have nothing is known. */
static bool same(look *l, const sl_record *a, size_t a_from, const sl_record *b, size_t b_from) {
  bool mask_a = l->tool->sources[b_from].redacted && !l->tool->sources[a_from].redacted;
  bool mask_b = l->tool->sources[a_from].redacted && !l->tool->sources[b_from].redacted;
  const sl_record *x = mask_a ? mask_record(&l->masks[0], a) : a, *y = mask_b ? mask_record(&l->masks[1], b) : b;
  bool known = (a->value.data || l->tool->sources[a_from].store) &&
               (b->value.data || l->tool->sources[b_from].store);
  return slice_eq(x->type, y->type) && slice_eq(x->correlation_id, y->correlation_id) &&
         slice_eq(x->causation_id, y->causation_id) && x->occurred_at_us == y->occurred_at_us &&
         (!known || slice_eq(x->value, y->value));
}

static bool meets(const look *l, const sl_record *r) {
  sl_query q = l->query;
  q.first_seq = q.last_seq = 0; /* seqs are each source's own */
  if (!record_fits(&q, r))
    return false;
  for (size_t i = 0; i < l->filter_count; i++)
    if (!l->filters[i].fn(l->filters[i].arg, r))
      return false;
  return true;
}

/* Did a source before this one bring the event, or will it? */
static bool comes_elsewhere(look *l, const sl_record *r, size_t from) {
  bool found = false;
  if (is_duplicate(r))
    return false;
  for (size_t i = 0; i < from && !found; i++) {
    sl_query query = {.event_id = r->event_id};
    look *other = NULL;
    const sl_record *twin;
    if (look_start_in(l->tool, i, &query, &other) != SL_OK)
      continue;
    while (!found && look_next(other, &twin) == SL_OK)
      found = is_copy(r, twin) && same(l, r, from, twin, i) && meets(l, twin);
    look_close(other);
  }
  return found;
}

void copies_find(tool *t, size_t from, const sl_record *r, copies *out) {
  for (size_t i = 0; i < out->count; i++)
    free(out->items[i].place);
  out->count = 0;
  for (size_t i = 0; i < t->source_count && !is_duplicate(r); i++) {
    sl_query query = {.event_id = r->event_id};
    look *other = NULL;
    const sl_record *twin;
    if (i == from || look_start_in(t, i, &query, &other) != SL_OK)
      continue;
    while (look_next(other, &twin) == SL_OK) {
      if (!is_copy(r, twin))
        continue;
      if (out->count == out->cap) {
        out->cap = out->cap ? out->cap * 2 : 4;
        out->items = tool_grow(out->items, out->cap * sizeof *out->items);
      }
      text place = {0};
      record_place(&place, twin, true, t->out.term.unicode);
      out->items[out->count++] = (copy){.source = i,
                                        .seq = twin->seq,
                                        .appended_us = twin->appended_at_us,
                                        .settled_us = twin->settled_at_us,
                                        .state = twin->state,
                                        .partition = twin->partition,
                                        .offset = twin->offset,
                                        .place = place.data ? place.data : tool_copy("", 0),
                                        .differs = !same(other, r, from, twin, i)};
    }
    look_close(other);
  }
}

void copies_words(text *out, const tool *t, const copies *c) {
  for (size_t i = 0; i < c->count; i++) {
    const copy *k = &c->items[i];
    text_puts(out, out->len ? ", " : "");
    if (k->differs) {
      text_puts(out, "differs from ");
      place_words(out, t, k->source, k->seq);
      text_puts(out, " of the same id");
    } else {
      text_printf(out, "also in %s: %s%s%s", t->sources[k->source].name, sl_state_text(k->state),
                  *k->place ? " " : "", k->place);
    }
  }
}

void copies_free(copies *c) {
  for (size_t i = 0; i < c->count; i++)
    free(c->items[i].place);
  free(c->items);
  *c = (copies){0};
}

/* -------------------------------------------------------------------- next --- */

static sl_status merge_next(look *l, const sl_record **record) {
  for (;;) {
    if (l->begun)
      l->lanes[l->last].fetched = false;
    l->begun = true;
    size_t i = earliest(l);
    if (i == l->count) {
      l->begun = false; /* every lane stays at its end */
      return SL_NOTFOUND;
    }
    lane *at = &l->lanes[i];
    l->last = i;
    if (at->status != SL_OK)
      return at->status;
    if (l->count > 1 && !l->copies_too && comes_elsewhere(l, at->head, at->source))
      continue;
    *record = at->head;
    return SL_OK;
  }
}

/* `begin`: of its lane, in which seqs ascend, whatever its clock did. */
static void pick(struct picks *p, size_t begin, size_t from, const sl_record *r, int64_t us) {
  p->items = room_need(&p->room, (p->count + 1) * sizeof *p->items);
  if (p->count > begin && p->items[p->count - 1].us > us)
    us = p->items[p->count - 1].us;
  p->items[p->count++] = (struct pick){from, r->seq, us};
}

/* The newest `limit` of one lane that are not of an earlier source, behind those that are picked already. What is
 * asked of the lane grows until they are so many, or it has no more. */
static sl_status pick_lane(look *l, size_t i, uint64_t limit) {
  const size_t begin = l->picks.count;
  const sl_record *r;
  sl_status st = SL_OK;
  for (uint64_t ask = limit; st == SL_OK; ask = ask > UINT64_MAX / 4 ? UINT64_MAX : ask * 4) {
    uint64_t came = 0;
    if (ask != limit) {
      l->query.limit = ask;
      st = lane_again(l, i);
      l->query.limit = limit;
    }
    for (l->picks.count = begin; st == SL_OK || st == SL_E_CORRUPT;) {
      lane_fetch(&l->lanes[i]);
      st = l->lanes[i].status;
      r = l->lanes[i].head;
      came += st == SL_OK || st == SL_E_CORRUPT;
      if (st == SL_OK && (l->copies_too || !comes_elsewhere(l, r, l->lanes[i].source)))
        pick(&l->picks, begin, l->lanes[i].source, r, time_of(l, &l->lanes[i]));
    }
    if (st == SL_NOTFOUND && came >= ask && l->picks.count - begin < limit)
      st = SL_OK;
  }
  if (l->picks.count - begin > limit) {
    size_t more = l->picks.count - begin - (size_t)limit;
    memmove(l->picks.items + begin, l->picks.items + begin + more, (size_t)limit * sizeof *l->picks.items);
    l->picks.count -= more;
  }
  return st == SL_NOTFOUND ? SL_OK : st;
}

static int by_time(const void *a, const void *b, void *arg) {
  const struct pick *x = a, *y = b;
  (void)arg;
  return (x->us > y->us) - (x->us < y->us);
}

/* Of the newest of each lane the newest. */
static sl_status pick_newest(look *l) {
  struct picks *p = &l->picks;
  sl_status st = SL_OK;
  for (size_t i = 0; i < l->count && st == SL_OK; i++) {
    l->last = i;
    st = pick_lane(l, i, l->query.limit);
  }
  if (st == SL_OK && !room_sort(p->items, p->count, sizeof *p->items, by_time, NULL))
    st = SL_E_NOMEM;
  p->at = p->count > l->query.limit ? p->count - (size_t)l->query.limit : 0;
  return st;
}

static sl_status next_pick(look *l, const sl_record **record) {
  while (l->picks.at < l->picks.count) {
    const struct pick *p = &l->picks.items[l->picks.at++];
    sl_query query = {.first_seq = p->seq, .last_seq = p->seq};
    look_close(l->picked);
    l->picked = NULL;
    l->last = p->source; /* lanes are all sources here */
    sl_status st = look_start_in(l->tool, p->source, &query, &l->picked);
    if (st == SL_OK)
      st = look_next(l->picked, record);
    if (st != SL_NOTFOUND) /* it was trimmed meanwhile */
      return st;
  }
  return SL_NOTFOUND;
}

sl_status look_next(look *l, const sl_record **record) {
  if (l->failed)
    return SL_E_IO;
  if (l->count == 1) {
    lane_fetch(&l->lanes[0]);
    *record = l->lanes[0].head;
    return l->lanes[0].status;
  }
  if (l->query.limit && l->query.flags & SL_QUERY_NEWEST) {
    sl_status st = l->begun ? SL_OK : pick_newest(l);
    l->begun = true;
    return st == SL_OK ? next_pick(l, record) : st;
  }
  if (l->left == 0)
    return SL_NOTFOUND;
  sl_status st = merge_next(l, record);
  l->left -= st == SL_OK;
  return st;
}

size_t look_source(const look *l) { return l->lanes[l->last].source; }

uint64_t look_scanned(const look *l) {
  uint64_t sum = 0;
  for (size_t i = 0; i < l->count; i++)
    sum += l->lanes[i].store ? sl_iter_scanned(l->lanes[i].store) : bundle_iter_scanned(l->lanes[i].bundle);
  return sum;
}

static void copy_id(char *out, sl_slice id) {
  if (!out)
    return;
  if (id.len)
    memcpy(out, id.data, id.len);
  out[id.len] = 0;
}

bool event_ids(tool *t, size_t from, uint64_t seq, char event[SL_ID_MAX], char correlation[SL_ID_MAX],
               char causation[SL_ID_MAX]) {
  sl_query query = {.first_seq = seq, .last_seq = seq};
  look *l = NULL;
  const sl_record *r;
  bool found = look_start_in(t, from, &query, &l) == SL_OK && look_next(l, &r) == SL_OK;
  const sl_record none = {0};
  r = found ? r : &none;
  copy_id(event, r->event_id);
  copy_id(correlation, r->correlation_id);
  copy_id(causation, r->causation_id);
  look_close(l);
  return found;
}

const sl_record *look_first(tool *t, const sl_query *query, look **out) {
  const sl_record *r = NULL;
  *out = NULL;
  if (look_start(t, query, out) != SL_OK || look_next(*out, &r) != SL_OK)
    return NULL;
  return r;
}

static bool is_there(tool *t, const sl_query *query) {
  look *l = NULL;
  bool found = look_first(t, query, &l) != NULL;
  look_close(l);
  return found;
}

int look_event(tool *t, const char *typed, sl_query *query, char id[SL_ID_MAX]) {
  uint64_t seq;
  *query = (sl_query){.event_id = slice_of(typed)};
  if (number_parse(typed, &seq) && seq > 0) {
    if (is_there(t, query))
      return EXIT_DONE;
    *query = (sl_query){.first_seq = seq, .last_seq = seq};
    if (is_there(t, query) || strlen(typed) < 4)
      return EXIT_DONE;
  }
  char found[1][SL_ID_MAX];
  size_t count = 0;
  sl_stats stats;
  if (query->first_seq && sources_resolve(t, SL_ID_EVENT, slice_of(typed), found, 1, &count) == SL_NOTFOUND) {
    text kept = {0};
    if (!many(t) && source_stats(t, 0, &stats, NULL) == SL_OK && stats.kept)
      text_printf(&kept, " (kept are %" PRIu64 " to %" PRIu64 ")", stats.first_seq, stats.last_seq);
    tool_fail(t, EXIT_NOTHING, "no event %s has seq %s%s, and no event id begins with it", sources_here(t), typed,
              text_str(&kept));
    text_free(&kept);
    return EXIT_NOTHING;
  }
  int code = tool_resolve(t, SL_ID_EVENT, typed, id);
  *query = (sl_query){.event_id = slice_of(id)};
  return code;
}
