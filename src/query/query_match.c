/* One event against one query, and its copy for the caller. */
#include "base/text.h"
#include "query/query_impl.h"

#include <stdalign.h>
#include <stdlib.h>

struct arena_block {
  arena_block *next;
  size_t cap, used;
  alignas(16) uint8_t data[];
};

#define ARENA_BLOCK (64u << 10)

void *arena_take(arena *a, size_t len, size_t align) {
  for (;;) {
    arena_block *block = a->current;
    if (block) {
      const size_t at = (block->used + align - 1) & ~(align - 1);
      if (at <= block->cap && len <= block->cap - at) {
        block->used = at + len;
        return block->data + at;
      }
      if (block->next && block->next->cap >= len) {
        a->current = block->next;
        continue;
      }
    }
    const size_t least = a->least ? a->least : ARENA_BLOCK;
    const size_t cap = len > least ? len : least;
    arena_block *fresh = malloc(sizeof *fresh + cap);
    if (!fresh) return NULL;
    *fresh = (arena_block){.next = block ? block->next : NULL, .cap = cap};
    if (block) block->next = fresh;
    else a->first = fresh;
    a->current = fresh;
  }
}

/* Keeps a chunk's worth: one value of 16 MB must not stay for days in an iterator that follows. */
void arena_reset(arena *a) {
  size_t kept = 0;
  for (arena_block **link = &a->first; *link;) {
    arena_block *block = *link;
    if (kept + block->cap > 2 * QUERY_BYTES) {
      *link = block->next;
      free(block);
      continue;
    }
    kept += block->cap;
    block->used = 0;
    link = &block->next;
  }
  a->current = a->first;
}

void arena_free(arena *a) {
  for (arena_block *block = a->first, *next; block; block = next) {
    next = block->next;
    free(block);
  }
  *a = (arena){0};
}

bool arena_is_small(const arena *a) { return !a->first || (!a->first->next && a->first->cap <= ARENA_BLOCK); }

/* ----------------------------------------------------------------- match --- */

#define NAMES_AT_ONCE 256u

static bool name_fits(name_verdicts *known, sl_slice glob, uint32_t id, sl_slice name) {
  enum { UNKNOWN, NO, YES };
  if (id == SL_NAME_INLINE) return sl_glob_match(glob, name);
  if (id >= known->cap) {
    const uint32_t cap = (id / NAMES_AT_ONCE + 1) * NAMES_AT_ONCE;
    uint8_t *grown = realloc(known->verdicts, cap);
    if (!grown) return sl_glob_match(glob, name);
    memset(grown + known->cap, UNKNOWN, cap - known->cap);
    *known = (name_verdicts){grown, cap};
  }
  if (known->verdicts[id] == UNKNOWN) known->verdicts[id] = sl_glob_match(glob, name) ? YES : NO;
  return known->verdicts[id] == YES;
}

static bool parts_match(sl_iter *it, const sl_parts *p) {
  const sl_query *q = &it->query;
  if (q->since_us && p->appended_us < q->since_us) return false;
  if (q->until_us && p->appended_us >= q->until_us) return false;
  if (q->event_id.len && !sl_slice_eq(q->event_id, p->event_id)) return false;
  if (q->correlation_id.len && !sl_slice_eq(q->correlation_id, p->correlation_id)) return false;
  if (q->causation_id.len && !sl_slice_eq(q->causation_id, p->causation_id)) return false;
  if (q->type.len && !name_fits(&it->types, q->type, p->type_id, p->type)) return false;
  if (q->topic.len && !name_fits(&it->topics, q->topic, p->topic_id, p->topic)) return false;
  return true;
}

static sl_status find_fate(snapshot *snap, uint64_t seq, const sl_parts *parts, book_fate *fate) {
  sl_status status = book_view_fate(snap->book, seq, parts->topic, fate);
  if (status == SL_OK) book_fate_of_tombstone(parts, fate);
  return status;
}

sl_status query_match(sl_iter *it, snapshot *snap, uint64_t seq, sl_parts *parts, bool whole,
                      book_fate *fate) {
  const sl_query *q = &it->query;
  if (!parts_match(it, parts)) return SL_NOTFOUND;
  sl_status status = query_filter_parts(it, snap, seq, parts, 0, NULL);
  if (status != SL_OK) return status;
  if (q->states) { /* most of a store is settled, most questions are about what is not */
    const bool settled = (parts->flags & SL_RECORD_DROPPED) || book_view_settled(snap->book, seq, parts->topic);
    const uint32_t possible = settled ? ~SL_STATE_BIT(SL_PENDING) : SL_STATE_BIT(SL_PENDING);
    if (!(q->states & possible)) return SL_NOTFOUND;
  }
  /* Its fate is a look-up of its own: last, unless the answer most likely is no. */
  if (q->states) status = find_fate(snap, seq, parts, fate);
  if (status != SL_OK) return status;
  if (q->states && !(q->states & SL_STATE_BIT(fate->state))) return SL_NOTFOUND;
  /* Attributes stand in front of the value: most events need not be read to their end. */
  const bool asked = q->tenant.len || q->source.len || q->key.len || query_filters_need(it, SL_FILTER_ATTRIBUTES);
  if (asked && !whole) status = query_header_room(it, QUERY_HEADERS_LEAST);
  if (status == SL_OK && asked && !whole)
    status = log_view_attributes(snap->log, seq, parts, it->headers, it->header_cap);
  if (status != SL_OK) return status;
  if (q->tenant.len && !sl_slice_eq(q->tenant, parts->tenant)) return SL_NOTFOUND;
  if (q->source.len && !sl_slice_eq(q->source, parts->source)) return SL_NOTFOUND;
  if (q->key.len && !sl_slice_eq(q->key, parts->key)) return SL_NOTFOUND;
  status = query_filter_parts(it, snap, seq, parts, SL_FILTER_ATTRIBUTES, NULL);
  if (status == SL_OK && !whole) status = log_view_get(snap->log, seq, false, parts);
  if (status == SL_OK) status = query_filter_parts(it, snap, seq, parts, SL_FILTER_WHOLE, NULL);
  if (status == SL_OK && !q->states) status = find_fate(snap, seq, parts, fate);
  return status == SL_OK ? query_filter_parts(it, snap, seq, parts, SL_FILTER_WHOLE | SL_FILTER_FATE, fate)
                         : status;
}

/* ------------------------------------------------------------------ copy --- */

static query_item *new_item(sl_iter *it) {
  if (it->count == it->cap) {
    const size_t cap = it->cap ? it->cap * 2 : QUERY_ITEMS_LEAST;
    query_item *grown = realloc(it->items, cap * sizeof *grown);
    if (!grown) return NULL;
    it->items = grown;
    it->cap = cap;
  }
  return &it->items[it->count];
}

static sl_slice copy_text(uint8_t **to, sl_slice from) {
  if (from.len == 0) return (sl_slice){from.data ? (const void *)"" : NULL, 0};
  memcpy(*to, from.data, from.len);
  const sl_slice copy = {*to, from.len};
  *to += from.len;
  return copy;
}

static sl_slice moved(sl_slice inner, sl_slice from, sl_slice to) {
  if (inner.len == 0) return (sl_slice){inner.data ? (const void *)"" : NULL, 0};
  return (sl_slice){(const uint8_t *)to.data + ((const uint8_t *)inner.data - (const uint8_t *)from.data),
                    inner.len};
}

sl_status query_copy(sl_iter *it, snapshot *snap, uint64_t seq, const sl_parts *p, const book_fate *fate) {
  const sl_letter *letter = &fate->letter;
  const size_t len = p->topic.len + p->type.len + p->event_id.len + p->correlation_id.len +
                     p->causation_id.len + p->key.len + p->tenant.len + p->source.len + p->headers_raw.len +
                     p->value.len + letter->error_class.len + letter->error_code.len + letter->error_text.len +
                     letter->dropped_by.len + letter->drop_reason.len;
  query_item *item = new_item(it);
  uint8_t *to = arena_take(&it->arena, len, 1);
  sl_header *headers = NULL;
  if (p->header_count)
    headers = arena_take(&it->arena, p->header_count * sizeof *headers, alignof(sl_header));
  if (!item || !to || (p->header_count && !headers)) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_record *r = &item->record;
  *item = (query_item){0};
  if (headers) {
    sl_status status = sl_record_headers(p, headers);
    if (status != SL_OK) return status;
    const sl_slice raw = copy_text(&to, p->headers_raw);
    for (size_t i = 0; i < p->header_count; i++) {
      headers[i].name = moved(headers[i].name, p->headers_raw, raw);
      headers[i].value = moved(headers[i].value, p->headers_raw, raw);
    }
  }
  r->seq = seq;
  r->appended_at_us = p->appended_us;
  r->occurred_at_us = p->occurred_us;
  r->topic = copy_text(&to, p->topic);
  r->type = copy_text(&to, p->type);
  r->event_id = copy_text(&to, p->event_id);
  r->correlation_id = copy_text(&to, p->correlation_id);
  r->causation_id = copy_text(&to, p->causation_id);
  r->key = copy_text(&to, p->key);
  r->tenant = copy_text(&to, p->tenant);
  r->source = copy_text(&to, p->source);
  r->headers = headers;
  r->header_count = p->header_count;
  r->value = copy_text(&to, p->value);
  r->replay_of = p->flags & SL_RECORD_REPLAY ? p->origin_seq : 0;
  sl_status status = query_set_fate(r, snap, fate);
  if (status != SL_OK) return status;
  r->error_class = copy_text(&to, r->error_class);
  r->error_code = copy_text(&to, r->error_code);
  r->error_text = copy_text(&to, r->error_text);
  r->dropped_by = copy_text(&to, r->dropped_by);
  r->drop_reason = copy_text(&to, r->drop_reason);
  it->bytes += len + p->header_count * sizeof *headers;
  it->count++;
  return SL_OK;
}

sl_status query_copy_damage(sl_iter *it, uint64_t seq) {
  const char *detail = sl_last_detail();
  const size_t len = strlen(detail) + 1;
  query_item *item = new_item(it);
  char *copy = arena_take(&it->arena, len, 1);
  if (!item || !copy) return sl_fail(SL_E_NOMEM, "out of memory");
  memcpy(copy, detail, len);
  *item = (query_item){.record.seq = seq, .damage = copy};
  it->count++;
  return SL_OK;
}

#define FETCHED_LEAST 256u /* a record that somebody keeps takes little more than its bytes */

sl_status query_fetch(sl_store *store, uint64_t seq, query_item *item, arena *out, bool *tombstone) {
  sl_iter it = {.store = store, .items = item, .cap = 1, .arena = {.least = FETCHED_LEAST}};
  snapshot snap;
  sl_parts parts;
  book_fate fate;
  sl_status status = snapshot_open(store, &snap);
  if (status != SL_OK) return status;
  status = log_view_get(snap.log, seq, false, &parts);
  if (status == SL_OK) *tombstone = (parts.flags & SL_RECORD_DROPPED) != 0;
  if (status == SL_OK) status = find_fate(&snap, seq, &parts, &fate);
  if (status == SL_OK) status = query_copy(&it, &snap, seq, &parts, &fate);
  snapshot_close(&snap);
  if (status == SL_OK) *out = it.arena;
  else arena_free(&it.arena);
  return status;
}
