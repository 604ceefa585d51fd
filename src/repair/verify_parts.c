/* What must hold between the parts of a store beside records, index entries and receipts themselves: names, eras
 * and times, duplicates, and the delivery book's tables against its cursor. Each pass takes short snapshots. */
#include "repair/verify_impl.h"

#include "index/index_impl.h"
#include "store/commit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---------------------------------------------------------- times and names --- */

sl_status verify_time(verifier *v, uint64_t seq, int64_t clamped_us) {
  const uint64_t before = v->timed_seq;
  const int64_t before_us = v->timed_us;
  v->timed_seq = seq;
  v->timed_us = clamped_us;
  if (before == 0 || clamped_us >= before_us) return SL_OK;
  log_era *eras;
  size_t count;
  sl_status status = log_view_eras(v->snap.log, &eras, &count);
  if (status == SL_E_CORRUPT) return SL_OK; /* verify_names tells */
  if (status != SL_OK) return status;
  bool begun = false;
  for (size_t i = 0; i < count; i++) begun |= eras[i].first > before && eras[i].first <= seq;
  free(eras);
  if (!begun)
    verify_problem(v, &v->report.bad_records, "event %" PRIu64 " has an earlier time than event %" PRIu64
            " in front of it, and no era begins between them", seq, before);
  return SL_OK;
}

static sl_status check_eras(verifier *v, db_txn *txn) {
  uint64_t *eras, last = 0;
  int64_t ignored;
  size_t count;
  log_meta meta;
  sl_status status = log_eras_read(txn, &eras, &count);
  if (status == SL_E_CORRUPT) {
    verify_problem(v, NULL, "%s", sl_last_detail());
    return SL_OK;
  }
  if (status != SL_OK) return status;
  status = log_meta_read(txn, &meta);
  if (status == SL_OK) status = log_newest(txn, &last, &ignored);
  bool good = status != SL_OK || (eras[0] >= 1 && eras[0] <= meta.first_seq);
  for (size_t i = 1; i < count; i++) good &= eras[i] > eras[i - 1];
  if (status == SL_OK && count > 1) good &= eras[count - 1] <= last;
  free(eras);
  if (!good)
    verify_problem(v, NULL,
                   "the log's list of eras is damaged: it does not ascend from the first event to the newest");
  return status;
}

/* Number to name and back, in one snapshot: there are 65,535 at most. */
static sl_status check_dictionary(verifier *v, db_txn *txn) {
  static const unsigned tables[] = {LOG_DICT_IDS, LOG_DICT_NAMES};
  sl_status status = SL_OK;
  for (size_t t = 0; t < 2 && status == SL_OK; t++) {
    db_cur *cur;
    sl_slice key, value, back;
    status = db_cur_open(txn, tables[t], &cur);
    if (status != SL_OK) return status;
    for (status = db_cur_move(cur, DB_FIRST, &key, &value); status == SL_OK;
         status = db_cur_move(cur, DB_NEXT, &key, &value)) {
      const bool by_id = t == 0;
      const uint64_t id = by_id ? sl_get_u64(key.data) : value.len == 4 ? sl_get_u32(value.data) : 0;
      const sl_slice name = by_id ? value : key;
      sl_status found = SL_NOTFOUND;
      if (name.len >= 1 && name.len <= 255 && id >= 1 && id <= DICT_MAX)
        found = db_get(txn, tables[1 - t], by_id ? name : db_u64(&id), &back);
      if (found != SL_OK && found != SL_NOTFOUND) status = found;
      if (status != SL_OK) break;
      const bool same = found == SL_OK &&
          (by_id ? back.len == 4 && sl_get_u32(back.data) == id : sl_slice_eq(back, name));
      if (!same)
        verify_problem(v, NULL, "the log's dictionary: name %" PRIu64 ", '%.*s', is not the same in both of its "
                       "tables", id, (int)(name.len < 255 ? name.len : 255), (const char *)name.data);
    }
    db_cur_close(cur);
    if (status == SL_NOTFOUND) status = SL_OK;
  }
  return status;
}

/* Where they cannot be read, appends that meet are refused. */
static sl_status check_tickets(verifier *v, db_txn *txn) {
  bool found;
  uint64_t ignored;
  sl_status status = commit_find_ticket(txn, 0, 0, &found, &ignored);
  if (status != SL_E_CORRUPT) return status;
  verify_problem(v, NULL, "%s", sl_last_detail());
  return SL_OK;
}

sl_status verify_names(verifier *v) {
  db_txn *txn;
  sl_status status = db_begin_read(v->store->log->env, &txn);
  if (status != SL_OK) return status;
  status = check_dictionary(v, txn);
  if (status == SL_OK) status = check_eras(v, txn);
  if (status == SL_OK) status = check_tickets(v, txn); /* last: LMDB may refuse the transaction then */
  db_abort(txn);
  return status;
}

/* -------------------------------------------------------------- duplicates --- */

static sl_status check_duplicate(verifier *v, uint64_t seq, uint64_t first) {
  sl_parts a, b;
  sl_status status = log_view_get(v->snap.log, seq, true, &a);
  if (status == SL_NOTFOUND || status == SL_E_CORRUPT) return SL_OK; /* trimmed, or told with the records */
  if (status != SL_OK) return status;
  if (first > 0 && first < seq) {
    status = log_view_get(v->snap.log, first, true, &b);
    if (status == SL_NOTFOUND || status == SL_E_CORRUPT) return SL_OK;
    if (status != SL_OK) return status;
    if (sl_slice_eq(a.event_id, b.event_id) && sl_slice_eq(a.topic, b.topic)) return SL_OK;
  }
  verify_problem(v, &v->report.index_errors, "index/ calls event %" PRIu64 " a duplicate of event %" PRIu64
          ", which it is not: run `sidelog reindex`", seq, first);
  return SL_OK;
}

sl_status verify_duplicates(verifier *v) {
  uint64_t from = 0;
  for (bool done = false; !done;) {
    sl_status status = snapshot_open(v->store, &v->snap);
    if (status != SL_OK) return status;
    db_cur *cur = NULL;
    status = db_cur_open(v->snap.index->txn, INDEX_DUPLICATES, &cur);
    sl_slice key = db_u64(&from), value;
    if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
    for (unsigned looks = 0; status == SL_OK && looks < VERIFY_STEP; looks++) {
      const uint64_t seq = sl_get_u64(key.data);
      if (seq < from) status = sl_fail(SL_E_CORRUPT, "index/: duplicates are out of order: run `sidelog reindex`");
      else status = check_duplicate(v, seq, value.len == 8 ? sl_get_u64(value.data) : 0);
      from = seq + 1;
      if (status == SL_OK) status = db_cur_move(cur, DB_NEXT, &key, &value);
    }
    db_cur_close(cur);
    done = status == SL_NOTFOUND;
    snapshot_close(&v->snap);
    if (status != SL_OK && !done) return status;
  }
  return SL_OK;
}

/* -------------------------------------------------------------------- book --- */

typedef sl_status book_entry_fn(verifier *v, book_view *book, uint64_t seq, sl_slice value, uint64_t *state);

static bool of_the_intent(const book_view *book, uint64_t attempt) {
  return book->has_intent && attempt == book->intent_attempt;
}

/* *end: where the block before ended. */
static sl_status check_block(verifier *v, book_view *book, uint64_t seq, sl_slice value, uint64_t *end) {
  sl_receipt_block block;
  if (sl_receipt_block_decode(value, &block) != SL_OK) return SL_OK; /* told with the receipts */
  const uint64_t last = block.first_seq + block.count - 1, cursor = book->cursor.seq;
  if (block.first_seq != seq)
    verify_problem(v, &v->report.receipt_errors, "delivery/ receipts under event %" PRIu64 " are those of event "
                   "%" PRIu64, seq, block.first_seq);
  else if (seq <= *end)
    verify_problem(v, &v->report.receipt_errors, "delivery/ receipts at event %" PRIu64 " overlap those in front "
                   "of them", seq);
  else if (seq <= cursor && last > cursor)
    verify_problem(v, &v->report.receipt_errors, "delivery/ receipts of events %" PRIu64 " to %" PRIu64 " cross "
                   "the cursor at %" PRIu64, seq, last, cursor);
  else if (seq > cursor && (!of_the_intent(book, block.attempt) || last > book->intent_seq))
    verify_problem(v, &v->report.receipt_errors, "delivery/ receipts at event %" PRIu64 " lie above the cursor at "
                   "%" PRIu64 ", and no unfinished delivery wrote them", seq, cursor);
  *end = last;
  return SL_OK;
}

static sl_status check_sparse(verifier *v, book_view *book, uint64_t seq, sl_slice value, uint64_t *state) {
  sl_receipt_block block;
  (void)state;
  if (sl_receipt_block_decode(value, &block) != SL_OK) return SL_OK;
  if (block.first_seq != seq || block.count != 1)
    verify_problem(v, &v->report.receipt_errors, "delivery/ the receipt under event %" PRIu64 " is that of event "
                   "%" PRIu64, seq, block.first_seq);
  else if (block.attempt > book->cursor.attempt && !of_the_intent(book, block.attempt))
    verify_problem(v, &v->report.receipt_errors, "delivery/ the receipt of event %" PRIu64 " is of attempt "
                   "%" PRIu64 ", which is neither settled nor under way", seq, block.attempt);
  else if (seq > book->cursor.seq)
    verify_problem(v, &v->report.receipt_errors, "delivery/ the receipt of event %" PRIu64 " lies above the "
                   "cursor at %" PRIu64, seq, book->cursor.seq);
  return SL_OK;
}

static sl_status check_letter(verifier *v, book_view *book, uint64_t seq, sl_slice value, uint64_t *first_seq) {
  sl_letter letter;
  sl_receipt receipt;
  sl_receipt_block head;
  if (sl_letter_decode(value, &letter) != SL_OK || seq < *first_seq) return SL_OK; /* told, or trimmed now */
  if (letter.attempt > book->cursor.attempt) {
    if (!of_the_intent(book, letter.attempt))
      verify_problem(v, &v->report.receipt_errors, "delivery/ the letter of event %" PRIu64 " is of attempt "
                     "%" PRIu64 ", which is neither settled nor under way", seq, letter.attempt);
    return SL_OK;
  }
  sl_status status = book_receipt_find(book, seq, &receipt, &head);
  if (status == SL_E_CORRUPT) return SL_OK; /* told with the receipts */
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  /* A replay gives the event another receipt later; its letter stays. */
  const bool wrong = status == SL_NOTFOUND || receipt.verdict == SL_VERDICT_NONE ||
      receipt.verdict == SL_VERDICT_DUPLICATE ||
      (receipt.verdict == SL_VERDICT_SENT && head.attempt == letter.attempt);
  if (!wrong) return SL_OK;
  log_view *log; /* a trim forgets receipts before letters */
  status = log_view_open(v->store, &log);
  if (status != SL_OK) return status;
  *first_seq = log_view_head(log)->first_seq;
  log_view_close(log);
  if (seq >= *first_seq)
    verify_problem(v, &v->report.receipt_errors, "delivery/ has a letter of event %" PRIu64 ", whose receipt does "
                   "not call it dead or dropped", seq);
  return SL_OK;
}

static sl_status each_entry(verifier *v, unsigned table, book_entry_fn *fn, uint64_t state) {
  uint64_t from = 0;
  for (bool more = true; more;) {
    sl_status status = book_view_open(v->store, &v->snap.book);
    db_cur *cur = NULL;
    sl_slice key = db_u64(&from), value;
    if (status == SL_OK) status = db_cur_open(v->snap.book->txn, table, &cur);
    if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
    for (unsigned looks = 0; status == SL_OK && looks < VERIFY_STEP; looks++) {
      const uint64_t seq = sl_get_u64(key.data);
      if (seq < from) status = sl_fail(SL_E_CORRUPT, "delivery/: entries are out of order at event %" PRIu64, seq);
      else status = fn(v, v->snap.book, seq, value, &state);
      from = seq + 1;
      if (status == SL_OK) status = db_cur_move(cur, DB_NEXT, &key, &value);
    }
    db_cur_close(cur);
    more = status == SL_OK && from != 0;
    snapshot_close(&v->snap);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  return SL_OK;
}

/* Their place is read before the log's end, which only grows. */
static sl_status check_cursors(verifier *v) {
  db_txn *txn;
  db_cur *cur;
  sl_slice key, value;
  uint64_t last = 0, furthest = 0;
  char name[129] = "";
  sl_status status = db_begin_read(v->store->book->env, &txn);
  if (status != SL_OK) return status;
  status = db_cur_open(txn, BOOK_CURSORS, &cur);
  if (status == SL_OK) {
    for (status = db_cur_move(cur, DB_FIRST, &key, &value); status == SL_OK;
         status = db_cur_move(cur, DB_NEXT, &key, &value)) {
      const uint64_t seq = value.len == 8 ? sl_get_u64(value.data) : UINT64_MAX;
      if (seq < furthest) continue;
      furthest = seq;
      snprintf(name, sizeof name, "%.*s", (int)(key.len < 128 ? key.len : 128), (const char *)key.data);
    }
    db_cur_close(cur);
  }
  db_abort(txn);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  status = log_last_seq(v->store, &last);
  if (status == SL_OK && furthest > last)
    verify_problem(v, NULL, "cursor %s stands beyond the log, which ends at %" PRIu64 ": set it anew", name, last);
  return status;
}

static sl_status check_recreated(verifier *v) {
  book_view *book;
  db_cur *cur = NULL;
  sl_slice key = sl_slice_of(BOOK_RECREATED_PREFIX), value;
  sl_status status = book_view_open(v->store, &book);
  if (status != SL_OK) return status;
  status = db_cur_open(book->txn, BOOK_NOTES, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  for (; status == SL_OK && book_recreated_is(key); status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    sl_recreation mark;
    const sl_status form = book_recreated_check(key, value, &mark);
    if (form != SL_OK && form != SL_E_CORRUPT) status = form;
    if (form == SL_E_CORRUPT) verify_problem(v, &v->report.receipt_errors, "%s", sl_last_detail());
    if (status != SL_OK) break;
  }
  db_cur_close(cur);
  book_view_close(book);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status verify_book(verifier *v) {
  log_view *log;
  sl_status status = each_entry(v, BOOK_RECEIPTS, check_block, 0);
  if (status == SL_OK) status = each_entry(v, BOOK_SPARSE, check_sparse, 0);
  if (status == SL_OK) status = log_view_open(v->store, &log);
  if (status != SL_OK) return status;
  const uint64_t first_seq = log_view_head(log)->first_seq;
  log_view_close(log);
  status = each_entry(v, BOOK_DEAD, check_letter, first_seq);
  if (status == SL_OK) status = check_recreated(v);
  return status == SL_OK ? check_cursors(v) : status;
}
