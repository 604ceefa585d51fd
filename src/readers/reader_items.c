/* Items, their lanes, and the lanes that are ready. */
#include "readers/reader_impl.h"

#include <stdlib.h>

item *item_new(uint64_t seq, uint64_t lane_hash) {
  item *it = calloc(1, sizeof *it);
  if (it) it->e = (sl_reader_entry){.seq = seq, .lane = lane_hash};
  return it;
}

void item_free(item *it) {
  if (!it) return;
  arena_free(&it->memory);
  free(it->texts);
  free(it);
}

void item_touch(sl_reader *r, item *it) {
  if (it->dirty) return;
  it->dirty = true;
  it->dirty_before = NULL;
  it->dirty_behind = r->dirty_first;
  if (r->dirty_first) r->dirty_first->dirty_before = it;
  r->dirty_first = it;
}

void item_clean(sl_reader *r, item *it) {
  if (!it->dirty) return;
  it->dirty = false;
  if (it->dirty_before) it->dirty_before->dirty_behind = it->dirty_behind;
  else r->dirty_first = it->dirty_behind;
  if (it->dirty_behind) it->dirty_behind->dirty_before = it->dirty_before;
}

/* ------------------------------------------------------------------ lanes --- */

static bool comes_before(const lane_heap *h, const lane *a, const lane *b) {
  if (h->by_due && a->first->due_us != b->first->due_us) return a->first->due_us < b->first->due_us;
  return a->first->e.seq < b->first->e.seq;
}

static void place(lane_heap *h, size_t at, lane *l) {
  h->lanes[at] = l;
  l->place = at;
}

/* Puts the lane where it belongs, from a place that is free. */
static void settle(lane_heap *h, size_t at, lane *l) {
  for (; at > 0 && comes_before(h, l, h->lanes[(at - 1) / 2]); at = (at - 1) / 2)
    place(h, at, h->lanes[(at - 1) / 2]);
  for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
    if (child + 1 < h->count && comes_before(h, h->lanes[child + 1], h->lanes[child])) child++;
    if (!comes_before(h, h->lanes[child], l)) break;
    place(h, at, h->lanes[child]);
  }
  place(h, at, l);
}

static void unlist(lane *l) {
  lane_heap *h = l->heap;
  if (!h) return;
  l->heap = NULL;
  lane *last = h->lanes[--h->count];
  if (last != l) settle(h, l->place, last);
}

static void enlist(lane_heap *h, lane *l) {
  l->heap = h;
  settle(h, h->count++, l);
}

static bool reserve(lane_heap *h, size_t count) {
  if (count <= h->cap) return true;
  const size_t cap = h->cap ? 2 * h->cap : 64;
  lane **grown = realloc(h->lanes, cap * sizeof *grown);
  if (!grown) return false;
  h->lanes = grown;
  h->cap = cap;
  return true;
}

/* Takes the lane out of the heaps before its items change, ... */
static lane *lift(lane *l) {
  unlist(l);
  return l;
}

/* ... and puts it back as they say. One without items goes. */
static void lower(sl_reader *r, lane *l) {
  if (l->waiting > 0 && l->in_hand == 0) enlist(l->first->due_us > 0 ? &r->later : &r->due, l);
  if (!l->first) free(sl_map_take(&r->lanes, l->hash));
}

bool lane_busy(const sl_reader *r, uint64_t hash) {
  const lane *l = sl_map_get(&r->lanes, hash);
  if (!l) return false;
  return l->waiting > 0 || !(r->options.flags & SL_READER_TOGETHER);
}

item *item_ready(sl_reader *r, int64_t now_us, int64_t *due_us) {
  while (r->later.count > 0 && r->later.lanes[0]->first->due_us <= now_us)
    enlist(&r->due, lift(r->later.lanes[0]));
  *due_us = r->later.count > 0 ? r->later.lanes[0]->first->due_us : INT64_MAX;
  return r->due.count > 0 ? r->due.lanes[0]->first : NULL;
}

sl_status item_add(sl_reader *r, item *it) {
  lane *l = sl_map_get(&r->lanes, it->e.lane);
  r->later.by_due = true;
  if (!sl_map_reserve(&r->items) || !sl_map_reserve(&r->lanes) || !reserve(&r->due, r->lanes.count + 1) ||
      !reserve(&r->later, r->lanes.count + 1))
    return sl_fail(SL_E_NOMEM, "out of memory");
  if (!l) {
    l = calloc(1, sizeof *l);
    if (!l) return sl_fail(SL_E_NOMEM, "out of memory");
    l->hash = it->e.lane;
    sl_map_put(&r->lanes, l->hash, l);
  }
  sl_map_put(&r->items, it->e.seq, it);
  it->lane = lift(l);
  item *before = l->last;
  while (before && before->e.seq > it->e.seq) before = before->before;
  it->before = before;
  it->behind = before ? before->behind : l->first;
  if (it->before) it->before->behind = it;
  else l->first = it;
  if (it->behind) it->behind->before = it;
  else l->last = it;
  l->waiting++;
  r->waiting++;
  lower(r, l);
  return SL_OK;
}

void item_remove(sl_reader *r, item *it) {
  lane *l = lift(it->lane);
  if (it->before) it->before->behind = it->behind;
  else l->first = it->behind;
  if (it->behind) it->behind->before = it->before;
  else l->last = it->before;
  if (it->in_hand) l->in_hand--, r->in_hand--;
  else l->waiting--, r->waiting--;
  it->lane = NULL;
  item_clean(r, it);
  sl_map_take(&r->items, it->e.seq);
  lower(r, l);
}

void item_hand(sl_reader *r, item *it) {
  lane *l = lift(it->lane);
  it->in_hand = true;
  l->waiting--;
  r->waiting--;
  l->in_hand++;
  r->in_hand++;
  lower(r, l);
}

void item_put_back(sl_reader *r, item *it, int64_t due_us) {
  lane *l = lift(it->lane);
  it->in_hand = false;
  it->due_us = due_us;
  l->in_hand--;
  r->in_hand--;
  l->waiting++;
  r->waiting++;
  lower(r, l);
}

static void free_all(sl_map *map) {
  for (size_t i = 0; i < map->cap; i++) item_free(map->slots[i].value);
  sl_map_free(map);
}

void items_free(sl_reader *r) {
  free_all(&r->items);
  free_all(&r->early);
  for (size_t i = 0; i < r->lanes.cap; i++) free(r->lanes.slots[i].value);
  sl_map_free(&r->lanes);
  free(r->due.lanes);
  free(r->later.lanes);
}

/* ------------------------------------------------------------------ blame --- */

static sl_slice copy_text(char **to, sl_slice from) {
  if (from.len) memcpy(*to, from.data, from.len);
  const sl_slice copy = SL_BYTES(*to, from.len);
  *to += from.len;
  return copy;
}

sl_status item_blame(item *it, int64_t now_us, sl_slice error_class, sl_slice code, sl_slice text,
                     sl_slice topic) {
  enum { TEXT_MOST = 1024 };
  size_t len = text.len;
  if (len > TEXT_MOST) { /* between characters, as the letter's codec cuts it */
    const uint8_t *p = text.data;
    for (len = TEXT_MOST; len > TEXT_MOST - 4 && (p[len] & 0xc0) == 0x80;) len--;
  }
  text.len = len;
  if (topic.len == 0) topic = it->e.letter.topic;
  char *texts = malloc(error_class.len + code.len + text.len + topic.len + 1), *to = texts;
  if (!texts) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_letter *letter = &it->e.letter;
  letter->seq = it->e.seq;
  letter->error_class = copy_text(&to, error_class);
  letter->error_code = copy_text(&to, code);
  letter->error_text = copy_text(&to, text);
  letter->topic = copy_text(&to, topic);
  if (!it->e.has_letter) letter->first_failure_us = now_us;
  letter->last_failure_us = now_us;
  letter->attempts++;
  it->e.attempts++;
  it->e.has_letter = true;
  free(it->texts);
  it->texts = texts;
  return SL_OK;
}
