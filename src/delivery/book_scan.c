/* Walks over the delivery book: lanes, everything for verify, and forgetting what trim removed. */
#include "delivery/book_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* Positions on the block that holds `seq`, or else the first one behind it. */
static sl_status seek_block(db_cur *cur, uint64_t seq, sl_slice *key, sl_slice *value) {
  uint64_t wanted = seq;
  *key = db_u64(&wanted);
  sl_status status = db_cur_move(cur, DB_SEEK, key, value);
  if (status == SL_OK && sl_get_u64(key->data) == seq) return SL_OK;
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  const bool at_end = status == SL_NOTFOUND;
  status = db_cur_move(cur, at_end ? DB_LAST : DB_PREV, key, value);
  if (status == SL_OK) {
    sl_receipt_block block;
    status = sl_receipt_block_peek(*value, &block);
    if (status != SL_OK)
      return sl_fail_context(status, "delivery/ receipts at %" PRIu64, sl_get_u64(key->data));
    if (block.first_seq + block.count > seq) return SL_OK;
    return at_end ? SL_NOTFOUND : db_cur_move(cur, DB_NEXT, key, value);
  }
  if (status == SL_NOTFOUND && !at_end) { /* no block in front: back to the first */
    *key = db_u64(&wanted);
    return db_cur_move(cur, DB_SEEK, key, value);
  }
  return status;
}

sl_status book_lane_each(book_view *view, uint64_t last, book_lane_fn *fn, void *arg) {
  const size_t lanes = view->cursor.lane_count;
  if (lanes == 0) return SL_OK;
  uint64_t *hashes = malloc(lanes * sizeof *hashes);
  if (!hashes) return sl_fail(SL_E_NOMEM, "out of memory");
  uint64_t from = view->cursor.seq;
  for (size_t i = 0; i < lanes; i++) {
    hashes[i] = book_topic_hash(view->lanes[i].topic);
    if (view->lanes[i].seq < from) from = view->lanes[i].seq;
  }
  if (last > view->cursor.seq) last = view->cursor.seq;
  db_cur *cur = NULL;
  sl_slice key, value;
  sl_status said = SL_OK, status = db_cur_open(view->txn, BOOK_RECEIPTS, &cur);
  if (status == SL_OK) status = seek_block(cur, from + 1, &key, &value);
  for (; status == SL_OK; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    sl_receipt_block block;
    status = sl_receipt_block_peek(value, &block);
    if (status != SL_OK || block.first_seq > last) break;
    for (uint32_t i = 0; i < block.count && status == SL_OK; i++) {
      const uint64_t seq = block.first_seq + i;
      sl_receipt receipt;
      if (seq <= from || seq > last) continue;
      status = sl_receipt_at(&block, seq, &receipt);
      if (status != SL_OK || receipt.verdict != SL_VERDICT_LANE) continue;
      for (size_t lane = 0; lane < lanes; lane++) {
        if (hashes[lane] != (uint64_t)receipt.place) continue;
        if (seq > view->lanes[lane].seq) status = said = fn(arg, seq, lane);
        break;
      }
    }
    if (status != SL_OK) break;
  }
  db_cur_close(cur);
  free(hashes);
  return status == SL_NOTFOUND ? said : status; /* the callback's may be the same one: an event that was dropped */
}

/* Receipts of a block above the cursor belong to an attempt of unknown outcome: they are no receipts yet. */
static sl_status scan_block(book_view *view, sl_slice value, bool sparse, book_receipt_fn *fn, void *arg,
                            uint64_t *seen, uint64_t *end, bool *damaged) {
  sl_receipt_block block;
  sl_status status = sl_receipt_block_decode(value, &block);
  if (status != SL_OK) {
    *damaged = status == SL_E_CORRUPT;
    return *damaged ? SL_OK : status;
  }
  *end = block.first_seq + block.count;
  if (sparse && block.attempt > view->cursor.attempt) return SL_OK;
  for (uint32_t i = 0; i < block.count; i++) {
    sl_receipt receipt;
    if (!sparse && block.first_seq + i > view->cursor.seq) break;
    status = sl_receipt_at(&block, block.first_seq + i, &receipt);
    if (status == SL_OK) status = fn(arg, block.first_seq + i, &receipt);
    if (status != SL_OK) return status;
    ++*seen;
  }
  return SL_OK;
}

sl_status book_scan(book_view *view, uint64_t *from, uint64_t max, book_receipt_fn *fn, void *arg,
                    uint64_t *damaged) {
  static const unsigned tables[] = {BOOK_RECEIPTS, BOOK_SPARSE};
  const uint64_t begin = *from;
  uint64_t limit = UINT64_MAX; /* where the receipts of this step end; sparse ones and letters go as far */
  for (size_t t = 0; t < 2; t++) {
    db_cur *cur = NULL;
    uint64_t seen = 0, wanted = begin;
    sl_slice key = db_u64(&wanted), value;
    sl_status status = db_cur_open(view->txn, tables[t], &cur);
    if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
    for (; status == SL_OK; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
      const uint64_t seq = sl_get_u64(key.data);
      if (t == 0 && seen >= max) {
        limit = seq;
        if (limit <= begin)
          status = sl_fail(SL_E_CORRUPT, "delivery/: receipts are out of order at event %" PRIu64, seq);
        break;
      }
      if (seq >= limit) break;
      uint64_t end = 0;
      bool bad = false;
      status = scan_block(view, value, t == 1, fn, arg, &seen, &end, &bad);
      if (status != SL_OK) break;
      if (bad) {
        sl_fail_context(SL_E_CORRUPT, "delivery/ receipts at event %" PRIu64, seq);
        ++*damaged;
      }
    }
    db_cur_close(cur);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  db_cur *cur = NULL;
  uint64_t wanted = begin;
  sl_slice key = db_u64(&wanted), value;
  sl_status status = db_cur_open(view->txn, BOOK_DEAD, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  for (; status == SL_OK && sl_get_u64(key.data) < limit; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    sl_letter letter;
    const sl_status form = sl_letter_decode(value, &letter);
    if (form == SL_OK && letter.seq == sl_get_u64(key.data)) continue;
    if (form == SL_OK) sl_fail(SL_E_CORRUPT, "it is the letter of event %" PRIu64, letter.seq);
    sl_fail_context(SL_E_CORRUPT, "delivery/ dead letter of event %" PRIu64, sl_get_u64(key.data));
    ++*damaged;
  }
  db_cur_close(cur);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  *from = limit;
  return SL_OK;
}

/* ---------------------------------------------------------------- forget --- */

#define FORGET_STEP 1000u /* entries a write transaction: the agent waits for it at most a few ms */

static sl_status forget_some(db_txn *txn, unsigned table, uint64_t first_seq, unsigned *done) {
  db_cur *cur;
  sl_status status = db_cur_open(txn, table, &cur);
  if (status != SL_OK) return status;
  sl_slice key, value;
  status = db_cur_move(cur, DB_FIRST, &key, &value);
  while (status == SL_OK && *done < FORGET_STEP) {
    if (sl_get_u64(key.data) >= first_seq) break;
    if (table == BOOK_RECEIPTS) {
      sl_receipt_block block;
      status = sl_receipt_block_peek(value, &block);
      if (status != SL_OK || block.first_seq + block.count > first_seq) break;
    }
    status = db_cur_del(cur);
    if (status == SL_OK) status = db_cur_move(cur, DB_FIRST, &key, &value);
    ++*done;
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status book_forget_below(sl_store *store, uint64_t first_seq) {
  static const unsigned tables[] = {BOOK_RECEIPTS, BOOK_SPARSE, BOOK_DEAD};
  for (;;) {
    db_txn *txn;
    unsigned done = 0;
    sl_status status = db_begin_write(store->book->env, false, &txn);
    if (status != SL_OK) return status;
    for (size_t i = 0; i < 3 && status == SL_OK && done < FORGET_STEP; i++)
      status = forget_some(txn, tables[i], first_seq, &done);
    if (status != SL_OK || done == 0) {
      db_abort(txn);
      return status;
    }
    status = db_commit(txn);
    if (status != SL_OK || done < FORGET_STEP) return status;
  }
}
