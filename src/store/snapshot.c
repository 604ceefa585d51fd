#include "store/snapshot.h"

#define TRIES 1000 /* each takes microseconds; trim must pass the cursor in each of them to fail */

void snapshot_close(snapshot *snap) {
  log_view_close(snap->log);
  book_view_close(snap->book);
  index_view_close(snap->index);
  *snap = (snapshot){0};
}

sl_status snapshot_open(sl_store *store, snapshot *snap) {
  for (int i = 0; i < TRIES; i++) {
    snapshot s = {0};
    sl_status status = index_view_open(store, &s.index);
    if (status == SL_OK) status = book_view_open(store, &s.book);
    if (status == SL_OK) status = log_view_open(store, &s.log);
    if (status == SL_OK && log_view_head(s.log)->first_seq <= book_view_cursor(s.book)->seq + 1) {
      *snap = s;
      return SL_OK;
    }
    snapshot_close(&s);
    if (status != SL_OK) return status;
  }
  return sl_fail(SL_E_MISMATCH,
                 "%s: events beyond the delivery cursor were removed from log/: log/ or delivery/ was "
                 "restored or replaced",
                 store->path);
}

sl_status snapshot_next(log_view *log, uint64_t seq, bool peek, uint64_t *found, sl_parts *parts,
                        bool *damaged) {
  uint64_t at = 0;
  sl_status status = log_view_next(log, seq, peek, &at, parts);
  *damaged = status == SL_E_CORRUPT && at >= seq;
  if (status != SL_OK && !*damaged) return status;
  *found = at;
  return SL_OK;
}
