/* Who brings the index up to date: steps, the merging that they owe after them, and rebuilding. */
#include "index/index_impl.h"
#include "store/snapshot.h"
#include "store/space.h"

/* All there is, also what is not owed; what is owed, in larger pieces where that is much; a piece of it. */
typedef enum work { WORK_TIDY, WORK_OWED, WORK_PIECE } work;

/* One transaction of merging, of *done entries, or of emptying a slot. *more: there is as much again to do. */
static sl_status work_off(sl_index *index, work kind, uint64_t *done, bool *more) {
  const bool tidy = kind == WORK_TIDY;
  db_txn *txn;
  index_state state;
  log_view *log;
  *more = false;
  *done = 0;
  sl_status status = log_view_open(index->store, &log);
  if (status != SL_OK) return status;
  const uint64_t first_seq = log_view_head(log)->first_seq;
  log_view_close(log);
  status = db_begin_write(index->env, true, &txn);
  if (status != SL_OK) return status;
  status = index_state_load(txn, &state);
  if (status == SL_OK && tidy) status = index_close_newest(txn, &state);
  if (status == SL_OK && state.dirty) {
    status = index_clean_one(txn, &state);
    *more = tidy || state.dirty || state.owed >= index->piece;
  } else if (status == SL_OK && (tidy || state.owed >= index->piece)) {
    uint64_t most = index->piece;
    if (tidy || (kind == WORK_OWED && state.owed > 8 * index->piece)) most *= 4;
    status = index_merge_some(index, txn, &state, first_seq, most, tidy, done);
    state.owed = *done == 0 || state.owed < *done ? 0 : state.owed - *done;
    *more = tidy ? *done > 0 || state.dirty : state.dirty || state.owed >= index->piece;
  } else if (status == SL_OK) {
    db_abort(txn);
    return SL_OK;
  }
  if (status == SL_OK) status = index_state_save(txn, &state);
  if (status != SL_OK) {
    *more = false;
    db_abort(txn);
    return status;
  }
  return db_commit(txn);
}

sl_status index_step_in_turn(sl_index *index, uint64_t max, bool helps, uint64_t *watermark, bool *more,
                             uint64_t *indexed) {
  db_txn *txn;
  uint64_t reached = 0, count = 0;
  bool others = false;
  sl_status damaged = SL_OK;
  /* Relaxed: a power cut may take back the last steps, watermark and entries together; they are redone. */
  sl_status status = db_begin_write(index->env, true, &txn);
  if (status != SL_OK) return status;
  status = index_step_in_txn(index, txn, max, &reached, &others, &count, &damaged);
  /* Flushed first, or a power cut could leave entries of seqs that the log then gives to other events. */
  if (status == SL_OK) status = log_flush_for(index->store);
  if (status != SL_OK) {
    db_abort(txn);
    return status;
  }
  status = db_commit(txn);
  if (status != SL_OK) return status;
  *watermark = reached;
  *more = others;
  if (indexed) *indexed = count;
  if (damaged != SL_OK) return damaged;
  /* What fails here loses nothing, the events are in: the next step tries again. But a damaged index is told. */
  uint64_t pay = helps ? count * INDEX_OWED + index->piece : UINT64_MAX, done;
  for (bool again = true; again && pay > 0 && status == SL_OK; pay -= done < pay ? done : pay)
    status = work_off(index, helps ? WORK_PIECE : WORK_OWED, &done, &again);
  return status == SL_E_CORRUPT ? status : SL_OK;
}

sl_status index_step(sl_index *index, uint64_t max, uint64_t *watermark, bool *more, uint64_t *indexed) {
  for (;; max /= 2) { /* a large step takes memory, of LMDB's, too: where there is little, smaller ones do */
    index_turn_take(index);
    const sl_status status = index_step_in_turn(index, max, false, watermark, more, indexed);
    index_turn_end(index);
    if (status != SL_E_NOMEM || max / 2 < INDEX_BATCH_LEAST) return status;
  }
}

/* Watermark and newest seq, without the writer lock. */
static sl_status look(sl_store *store, uint64_t *watermark, uint64_t *last) {
  index_view *view;
  log_view *log;
  sl_status status = index_view_open(store, &view);
  if (status != SL_OK) return status;
  *watermark = index_view_watermark(view);
  index_view_close(view);
  status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  *last = log_view_head(log)->last_seq;
  log_view_close(log);
  return SL_OK;
}

sl_status sl_index_advance(sl_store *store, uint64_t max_events, uint64_t *watermark) {
  sl_status status = store_enter(store);
  uint64_t reached = 0, last = 0;
  if (status == SL_OK) status = look(store, &reached, &last);
  bool more = reached < last;
  uint64_t left = max_events ? max_events : UINT64_MAX;
  while (status == SL_OK && more && left > 0) {
    uint64_t count = 0;
    status = index_step(store->index, left < INDEX_BATCH ? left : INDEX_BATCH, &reached, &more, &count);
    left -= count < left ? count : left;
    /* Trim waits for the index, so it may use the ballast of a full disk. */
    if (status == SL_E_FULL && space_release_ballast(store)) status = SL_OK;
  }
  if (status == SL_OK && watermark) *watermark = reached;
  return status;
}

static sl_status forget_in_turn(sl_index *index) {
  db_txn *txn;
  sl_status status = db_begin_write(index->env, true, &txn);
  if (status != SL_OK) return status;
  index_state state;
  status = index_state_load(txn, &state);
  for (unsigned table = INDEX_META + 1; status == SL_OK && table < INDEX_TABLES; table++)
    status = db_empty(txn, table);
  if (status == SL_OK) {
    state = (index_state){.next_number = state.next_number};
    status = index_state_save(txn, &state);
  }
  if (status != SL_OK) {
    db_abort(txn);
    return status;
  }
  return db_commit(txn);
}

sl_status sl_reindex(sl_store *store) {
  sl_status status = store_enter(store);
  uint64_t reached = 0, last = 0, ignored;
  if (status == SL_OK) {
    index_turn_take(store->index);
    status = forget_in_turn(store->index);
    index_turn_end(store->index);
    if (status == SL_E_CORRUPT)
      status = sl_fail_context(status,
                               "%s/index cannot even be emptied: close the store everywhere and remove that "
                               "folder, it is built again",
                               store->path);
  }
  if (status == SL_OK) status = look(store, &reached, &last);
  for (bool more = reached < last; status == SL_OK && more && reached < last;)
    status = index_step(store->index, INDEX_BATCH_REBUILD, &reached, &more, NULL);
  for (bool more = status == SL_OK; status == SL_OK && more;) {
    index_turn_take(store->index);
    status = work_off(store->index, WORK_TIDY, &ignored, &more);
    index_turn_end(store->index);
  }
  return status;
}
