/* sl_resolve: whole ids first, then UUIDs by prefix from the index and from the tail behind it. */
#include "base/id.h"
#include "query/query_impl.h"

#include <stdlib.h>

#define KEYS_AT_ONCE 64u
#define MIN_PREFIX_DIGITS 4u

typedef struct resolver {
  sl_store *store;
  index_attr attr;
  uint8_t low[16], high[16];
  uint8_t (*found)[16]; /* ascending, distinct */
  size_t count, cap;
} resolver;

static sl_slice id_of(const sl_parts *parts, index_attr attr) {
  if (attr == INDEX_EVENT) return parts->event_id;
  return attr == INDEX_CORRELATION ? parts->correlation_id : parts->causation_id;
}

static void insert(resolver *r, const uint8_t key[16]) {
  size_t at = 0;
  while (at < r->count && memcmp(r->found[at], key, 16) < 0) at++;
  if (at < r->count && memcmp(r->found[at], key, 16) == 0) return;
  if (r->count == r->cap) return;
  memmove(r->found[at + 1], r->found[at], (r->count - at) * 16);
  memcpy(r->found[at], key, 16);
  r->count++;
}

/* A key is also the hash of an id that is no UUID, or may be left of events that were trimmed. */
static sl_status confirm(const resolver *r, snapshot *snap, const uint8_t key[16], bool *there) {
  uint64_t seqs[16], from = log_view_head(snap->log)->first_seq;
  *there = false;
  for (size_t count = 16; count == 16;) {
    sl_status status = index_view_seqs(snap->index, r->attr, key, from, seqs, 16, &count);
    if (status != SL_OK) return status;
    for (size_t i = 0; i < count; i++) {
      sl_parts parts;
      uint8_t id[16];
      status = log_view_get(snap->log, seqs[i], true, &parts);
      if (status != SL_OK && status != SL_NOTFOUND && status != SL_E_CORRUPT) return status;
      if (status != SL_OK || !sl_uuid_parse(id_of(&parts, r->attr), id) || memcmp(id, key, 16) != 0) continue;
      *there = true;
      return SL_OK;
    }
    if (count) from = seqs[count - 1] + 1;
  }
  return SL_OK;
}

/* The smallest key above; false when there is none. */
static bool next_key(uint8_t key[16]) {
  for (int i = 16; i-- > 0;)
    if (++key[i]) return true;
  return false;
}

static sl_status from_index(resolver *r, uint64_t *watermark) {
  uint8_t low[16];
  memcpy(low, r->low, 16);
  *watermark = UINT64_MAX;
  for (bool more = true; more && r->count < r->cap;) {
    snapshot snap;
    sl_status status = snapshot_open(r->store, &snap);
    if (status != SL_OK) return status;
    const uint64_t reached = index_view_watermark(snap.index);
    if (reached < *watermark) *watermark = reached;
    index_key keys[KEYS_AT_ONCE];
    size_t count = 0;
    status = index_view_keys(snap.index, r->attr, low, r->high, keys, KEYS_AT_ONCE, &count);
    for (size_t i = 0; i < count && status == SL_OK && r->count < r->cap; i++) {
      bool there = false;
      status = confirm(r, &snap, keys[i].key, &there);
      if (there) insert(r, keys[i].key);
    }
    snapshot_close(&snap);
    if (status != SL_OK) return status;
    more = count == KEYS_AT_ONCE;
    if (more) {
      memcpy(low, keys[count - 1].key, 16);
      more = next_key(low);
    }
  }
  return SL_OK;
}

static sl_status from_tail(resolver *r, uint64_t next) {
  for (bool more = true; more && r->count < r->cap;) {
    log_view *log;
    sl_status status = log_view_open(r->store, &log);
    if (status != SL_OK) return status;
    more = false;
    for (unsigned looks = 0; r->count < r->cap; looks++) {
      if (looks == QUERY_LOOKS) {
        more = true;
        break;
      }
      sl_parts parts;
      uint64_t found = 0;
      uint8_t id[16];
      bool damaged;
      status = snapshot_next(log, next, true, &found, &parts, &damaged);
      if (status != SL_OK) break;
      next = found + 1;
      if (damaged || !sl_uuid_parse(id_of(&parts, r->attr), id)) continue;
      if (memcmp(id, r->low, 16) >= 0 && memcmp(id, r->high, 16) <= 0) insert(r, id);
    }
    log_view_close(log);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  return SL_OK;
}

static sl_status exact(sl_store *store, sl_id_kind kind, sl_slice text) {
  sl_query query = {.limit = 1};
  if (kind == SL_ID_EVENT) query.event_id = text;
  else if (kind == SL_ID_CORRELATION) query.correlation_id = text;
  else query.causation_id = text;
  sl_iter *it;
  sl_status status = sl_iter_start(store, &query, &it);
  if (status != SL_OK) return status;
  const sl_record *record;
  do status = sl_iter_next(it, &record);
  while (status == SL_E_CORRUPT);
  sl_iter_close(it);
  return status;
}

static bool is_prefix(sl_slice text) {
  size_t digits = 0;
  for (size_t i = 0; i < text.len; i++) digits += ((const char *)text.data)[i] != '-';
  return digits >= MIN_PREFIX_DIGITS;
}

sl_status sl_resolve(sl_store *store, sl_id_kind kind, sl_slice text, char (*out)[SL_ID_MAX], size_t max,
                     size_t *count) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!out || max == 0 || !count) return sl_fail(SL_E_INVALID, "out or count is NULL, or max is 0");
  if ((unsigned)kind > SL_ID_CAUSATION) return sl_fail(SL_E_INVALID, "unknown kind of id %d", (int)kind);
  if (text.len == 0 || text.len >= SL_ID_MAX)
    return sl_fail(SL_E_INVALID, "an id has 1 to %d bytes, not %zu", SL_ID_MAX - 1, text.len);
  status = exact(store, kind, text);
  if (status == SL_OK) {
    memcpy(out[0], text.data, text.len);
    out[0][text.len] = '\0';
    *count = 1;
    return SL_OK;
  }
  resolver r = {.store = store, .attr = (index_attr)kind, .cap = max < SIZE_MAX / 16 - 1 ? max + 1 : max};
  if (status != SL_NOTFOUND) return status;
  if (!is_prefix(text) || !sl_uuid_prefix_range(text, r.low, r.high))
    return sl_fail(SL_NOTFOUND, "no id is %.*s", (int)text.len, (const char *)text.data);
  r.found = malloc(r.cap * 16);
  if (!r.found) return sl_fail(SL_E_NOMEM, "out of memory");
  uint64_t watermark;
  status = from_index(&r, &watermark);
  if (status == SL_OK && r.count < r.cap) status = from_tail(&r, watermark + 1);
  if (status == SL_OK && r.count == 0)
    status = sl_fail(SL_NOTFOUND, "no id is %.*s, and no UUID begins with it", (int)text.len,
                     (const char *)text.data);
  if (status == SL_OK) {
    *count = r.count < max ? r.count : max;
    for (size_t i = 0; i < *count; i++) {
      sl_uuid_format(r.found[i], out[i]);
      out[i][36] = '\0';
    }
    if (r.count > 1)
      status = sl_fail(SL_E_AMBIGUOUS, "%.*s fits %s%zu ids", (int)text.len, (const char *)text.data,
                       r.count > max ? "more than " : "", *count);
  }
  free(r.found);
  return status;
}
