/* SL_QUERY_NEWEST: walks from the end down until `limit` events match, keeping their seqs only; query.c then
 * reads those, ascending. Blocks of a scan are read forward, the log's cursor being made for that. */
#include "query/query_impl.h"

#include <stdlib.h>

static sl_status add(sl_iter *it, uint64_t seq) {
  if (it->newest_count == it->newest_cap) {
    const size_t cap = it->newest_cap ? it->newest_cap * 2 : 64;
    uint64_t *grown = realloc(it->newest, cap * sizeof *grown);
    if (!grown) return sl_fail(SL_E_NOMEM, "out of memory");
    it->newest = grown;
    it->newest_cap = cap;
  }
  it->newest[it->newest_count++] = seq;
  return SL_OK;
}

static bool enough(const sl_iter *it) { return it->newest_count >= it->query.limit; }

/* A damaged record counts as found: it will be reported in its place. */
static sl_status match(sl_iter *it, snapshot *snap, uint64_t seq, sl_status status, sl_parts *parts,
                       bool whole, bool *hit) {
  book_fate fate;
  it->looks++;
  it->scanned++;
  if (status == SL_OK) status = query_match(it, snap, seq, parts, whole, &fate);
  *hit = status == SL_OK || status == SL_E_CORRUPT;
  return *hit || status == SL_NOTFOUND ? SL_OK : status;
}

/* Candidates of the index from *pos down to first. */
static sl_status index_down(sl_iter *it, snapshot *snap, uint64_t *pos, uint64_t first) {
  uint64_t seqs[128];
  size_t count = 0;
  sl_status status =
      index_view_seqs_down(snap->index, (index_attr)it->source, it->key, *pos, seqs, 128, &count);
  for (size_t i = 0; i < count && status == SL_OK; i++) {
    if (seqs[i] < first || enough(it)) break;
    sl_parts parts;
    bool hit = false;
    status = log_view_get(snap->log, seqs[i], true, &parts);
    if (status == SL_NOTFOUND) status = SL_OK;
    else status = match(it, snap, seqs[i], status, &parts, false, &hit);
    if (hit && status == SL_OK) status = add(it, seqs[i]);
    *pos = seqs[i] - 1;
  }
  if (status == SL_OK && (count < 128 || seqs[count - 1] < first)) *pos = first - 1;
  return status;
}

/* The block that ends at *pos, not below first, of at most `size` seqs. */
static sl_status scan_block(sl_iter *it, snapshot *snap, uint64_t *pos, uint64_t first, uint64_t size) {
  const uint64_t low = *pos - first >= size ? *pos - size + 1 : first;
  uint64_t hits[QUERY_LOOKS];
  size_t count = 0;
  for (uint64_t seq = low; seq <= *pos;) {
    log_place places[QUERY_PLACES];
    size_t found;
    sl_status status = log_view_places(snap->log, seq, *pos, places, QUERY_PLACES, &found);
    if (status != SL_OK) return status;
    if (found == 0) break;
    for (size_t i = 0; i < found; i++) {
      sl_parts parts;
      bool hit = false;
      status = log_view_decode(snap->log, places[i].seq, places[i].bytes, query_part(it), &parts);
      status = match(it, snap, places[i].seq, status, &parts, !it->peek, &hit);
      if (status != SL_OK) return status;
      if (hit) hits[count++] = places[i].seq;
    }
    seq = places[found - 1].seq + 1;
  }
  while (count > 0 && !enough(it)) {
    sl_status status = add(it, hits[--count]);
    if (status != SL_OK) return status;
  }
  *pos = low - 1;
  return SL_OK;
}

/* One snapshot's worth, from *top down; *top is 0 when nothing is left. */
static sl_status walk_down(sl_iter *it, snapshot *snap, uint64_t *top, uint64_t *size) {
  const log_head *head = log_view_head(snap->log);
  uint64_t bottom = it->query.first_seq > head->first_seq ? it->query.first_seq : head->first_seq;
  if (bottom == 0) bottom = 1;
  if (*top > head->last_seq) *top = head->last_seq;
  if (it->query.last_seq && *top > it->query.last_seq) *top = it->query.last_seq;
  log_range ranges[QUERY_RANGES];
  size_t count;
  sl_status status = query_ranges(it, snap, *top, ranges, &count);
  for (size_t i = count; i-- > 0 && status == SL_OK;) {
    const uint64_t first = ranges[i].first > bottom ? ranges[i].first : bottom;
    if (*top > ranges[i].last) *top = ranges[i].last;
    while (*top >= first && status == SL_OK) {
      uint64_t from = first, to;
      if (it->looks >= QUERY_LOOKS || enough(it)) return SL_OK;
      const bool covered = it->source >= 0 &&
                           index_view_covers(snap->index, (index_attr)it->source, *top, &from, &to);
      if (from < first) from = first;
      if (covered) {
        status = index_down(it, snap, top, from);
      } else {
        status = scan_block(it, snap, top, from, *size);
        if (*size < QUERY_LOOKS) *size = *size * 2 < QUERY_LOOKS ? *size * 2 : QUERY_LOOKS;
      }
    }
  }
  if (status == SL_OK) *top = 0;
  return status;
}

sl_status query_collect_newest(sl_iter *it) {
  uint64_t top = UINT64_MAX, size = it->query.limit < 64 ? 64 : QUERY_LOOKS;
  it->newest_count = 0;
  while (top > 0 && !enough(it)) {
    snapshot snap;
    it->looks = 0;
    sl_status status = snapshot_open(it->store, &snap);
    if (status != SL_OK) return status;
    status = walk_down(it, &snap, &top, &size);
    snapshot_close(&snap);
    if (status != SL_OK) return status;
  }
  for (size_t i = 0, j = it->newest_count; i + 1 < j; i++) {
    const uint64_t swap = it->newest[--j];
    it->newest[j] = it->newest[i];
    it->newest[i] = swap;
  }
  it->looks = 0;
  return SL_OK;
}
