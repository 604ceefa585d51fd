/* Items, their lanes, and the list of lanes that are ready. */
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

static void unlist(sl_reader *r, lane *l) {
  if (!l->ready) return;
  l->ready = false;
  if (l->before) l->before->behind = l->behind;
  else r->ready_first = l->behind;
  if (l->behind) l->behind->before = l->before;
  else r->ready_last = l->before;
}

/* Puts the lane into the ready list, or takes it off, as its items say. One without items goes. */
static void refresh(sl_reader *r, lane *l) {
  const bool ready = l->waiting > 0 && l->in_hand == 0;
  if (!ready) unlist(r, l);
  if (ready && !l->ready) {
    l->ready = true;
    l->before = r->ready_last;
    l->behind = NULL;
    if (r->ready_last) r->ready_last->behind = l;
    else r->ready_first = l;
    r->ready_last = l;
  }
  if (ready && l->first->due_us < r->ready_due_us) r->ready_due_us = l->first->due_us;
  if (!l->first) free(sl_map_take(&r->lanes, l->hash));
}

bool lane_busy(const sl_reader *r, uint64_t hash) {
  const lane *l = sl_map_get(&r->lanes, hash);
  if (!l) return false;
  return l->waiting > 0 || !(r->options.flags & SL_READER_TOGETHER);
}

item *item_ready(sl_reader *r, int64_t now_us, int64_t *due_us) {
  *due_us = r->ready_due_us;
  if (r->ready_due_us > now_us) return NULL;
  r->ready_due_us = INT64_MAX;
  item *oldest = NULL;
  for (lane *l = r->ready_first; l; l = l->behind) {
    if (l->first->due_us > now_us) {
      if (l->first->due_us < r->ready_due_us) r->ready_due_us = l->first->due_us;
    } else if (!oldest || l->first->e.seq < oldest->e.seq) {
      oldest = l->first;
    }
  }
  *due_us = r->ready_due_us;
  if (oldest) r->ready_due_us = 0; /* there may be more */
  return oldest;
}

sl_status item_add(sl_reader *r, item *it) {
  lane *l = sl_map_get(&r->lanes, it->e.lane);
  if (!sl_map_reserve(&r->items) || !sl_map_reserve(&r->lanes)) return sl_fail(SL_E_NOMEM, "out of memory");
  if (!l) {
    l = calloc(1, sizeof *l);
    if (!l) return sl_fail(SL_E_NOMEM, "out of memory");
    l->hash = it->e.lane;
    sl_map_put(&r->lanes, l->hash, l);
  }
  sl_map_put(&r->items, it->e.seq, it);
  it->lane = l;
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
  refresh(r, l);
  return SL_OK;
}

void item_remove(sl_reader *r, item *it) {
  lane *l = it->lane;
  if (it->before) it->before->behind = it->behind;
  else l->first = it->behind;
  if (it->behind) it->behind->before = it->before;
  else l->last = it->before;
  if (it->in_hand) l->in_hand--, r->in_hand--;
  else l->waiting--, r->waiting--;
  it->lane = NULL;
  item_clean(r, it);
  sl_map_take(&r->items, it->e.seq);
  refresh(r, l);
}

void item_hand(sl_reader *r, item *it) {
  it->in_hand = true;
  it->lane->waiting--;
  r->waiting--;
  it->lane->in_hand++;
  r->in_hand++;
  refresh(r, it->lane);
}

void item_put_back(sl_reader *r, item *it, int64_t due_us) {
  it->in_hand = false;
  it->due_us = due_us;
  it->lane->in_hand--;
  r->in_hand--;
  it->lane->waiting++;
  r->waiting++;
  refresh(r, it->lane);
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
