/* The delivery book, reading side. Layout: docs/disk-format.md, "Environments and tables". */
#include "base/clock.h"
#include "db/db_file.h"
#include "delivery/book_impl.h"
#include "store/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

static const db_table_def book_tables[BOOK_TABLES] = {
    [BOOK_META] = {"meta", 0},
    [BOOK_RECEIPTS] = {"receipts", DB_INTKEY},
    [BOOK_SPARSE] = {"sparse", DB_INTKEY},
    [BOOK_DEAD] = {"dead", DB_INTKEY},
    [BOOK_CURSORS] = {"cursors", 0},
    [BOOK_NOTES] = {"notes", 0},
};

uint64_t book_topic_hash(sl_slice topic) { return XXH3_64bits(topic.data, topic.len); }

size_t book_totals_put(const book_totals *totals, uint8_t out[BOOK_TOTALS_MOST]) {
  sl_put_u64(out, totals->delivered);
  sl_put_u64(out + 8, totals->duplicates);
  sl_put_u64(out + 16, totals->dead);
  sl_put_u64(out + 24, totals->dropped);
  sl_put_u64(out + 32, totals->copies);
  sl_put_u64(out + 40, totals->drops);
  return totals->drops ? BOOK_TOTALS_MOST : BOOK_TOTALS_SIZE;
}

bool book_totals_get(sl_slice in, book_totals *totals) {
  if (in.len != BOOK_TOTALS_SIZE && in.len != BOOK_TOTALS_MOST) return false;
  const uint8_t *p = in.data;
  totals->delivered = sl_get_u64(p);
  totals->duplicates = sl_get_u64(p + 8);
  totals->dead = sl_get_u64(p + 16);
  totals->dropped = sl_get_u64(p + 24);
  totals->copies = sl_get_u64(p + 32);
  totals->drops = in.len == BOOK_TOTALS_MOST ? sl_get_u64(p + 40) : 0;
  return true;
}

sl_status book_meta_get(db_txn *txn, const char *key, sl_slice *value) {
  return db_get(txn, BOOK_META, sl_slice_of(key), value);
}

sl_status book_meta_put(db_txn *txn, const char *key, sl_slice value) {
  return db_put(txn, BOOK_META, sl_slice_of(key), value);
}

/* ------------------------------------------------------------------ open --- */

static sl_status read_last_seq(sl_store *store, uint64_t *last) {
  log_view *log;
  sl_status status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  *last = log_view_head(log)->last_seq;
  log_view_close(log);
  return SL_OK;
}

/* Sets up an empty environment, or checks that the one found is this store's. */
static sl_status book_init(sl_book *book) {
  sl_store *store = book->store;
  db_txn *txn;
  sl_status status = db_begin_write(book->env, false, &txn);
  if (status != SL_OK) return status;
  sl_slice id;
  status = book_meta_get(txn, BOOK_KEY_STORE, &id);
  if (status != SL_NOTFOUND) { /* another process was faster, or an error */
    db_abort(txn);
    return status;
  }
  const uint8_t version[4] = {SL_FORMAT_VERSION};
  const uint8_t totals[BOOK_TOTALS_SIZE] = {0};
  const uint64_t attempt = 0;
  const sl_progress start = {0};
  sl_buf progress = {0};
  status = sl_progress_encode(&start, &progress);
  if (status != SL_OK) db_txn_fail(txn, status);
  book_meta_put(txn, BOOK_KEY_VERSION, (sl_slice){version, sizeof version});
  book_meta_put(txn, BOOK_KEY_CURSOR, sl_buf_slice(&progress));
  book_meta_put(txn, BOOK_KEY_TOTALS, (sl_slice){totals, sizeof totals});
  book_meta_put(txn, BOOK_KEY_ATTEMPT, db_u64(&attempt));
  book_meta_put(txn, BOOK_KEY_STORE, (sl_slice){store->uuid, 16});
  sl_buf_free(&progress);
  return db_commit(txn);
}

/* *missing: the environment holds nothing yet. */
static sl_status book_check(sl_book *book, bool *missing) {
  sl_store *store = book->store;
  *missing = false;
  db_txn *txn;
  sl_status status = db_begin_read(book->env, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  status = book_meta_get(txn, BOOK_KEY_STORE, &value);
  if (status == SL_NOTFOUND) {
    *missing = true;
    db_abort(txn);
    return SL_OK;
  }
  sl_slice id = value;
  if (status == SL_OK) status = book_meta_get(txn, BOOK_KEY_VERSION, &value);
  if (status == SL_OK && (value.len != 4 || sl_get_u32(value.data) != SL_FORMAT_VERSION))
    status = sl_fail(SL_E_VERSION,
                     "%s/delivery has format version %u, this library knows %u: use a newer sidelog; "
                     "nothing was changed",
                     store->path, value.len == 4 ? sl_get_u32(value.data) : 0, SL_FORMAT_VERSION);
  if (status == SL_OK && !sl_slice_eq(id, (sl_slice){store->uuid, 16}))
    status = sl_fail(SL_E_MISMATCH,
                     "%s/delivery belongs to another store than %s/log (%s): put back the folder that "
                     "belongs to it",
                     store->path, store->path, store->uuid_text);
  db_abort(txn);
  if (status == SL_NOTFOUND)
    status = sl_fail(SL_E_CORRUPT, "%s/delivery has no format version: restore it from a backup",
                     store->path);
  return status;
}

/* A cursor that the log never reached means that one of the two was restored or replaced. A restored log
 * would give seqs that are "settled" to new events: 120 of them were never sent, seen. */
static sl_status book_check_cursor(sl_book *book) {
  book_view *view;
  sl_status status = book_view_open(book->store, &view);
  if (status != SL_OK) return status;
  const uint64_t cursor = view->cursor.seq, intent = book_view_intent_seq(view);
  book_view_close(view);
  uint64_t last; /* read after the cursor: the log only grows, so a live store never looks mismatched */
  status = read_last_seq(book->store, &last);
  if (status != SL_OK) return status;
  const uint64_t claimed = intent > cursor ? intent : cursor;
  if (claimed > last)
    return sl_fail(SL_E_MISMATCH,
                   "%s: delivery/ is at event %" PRIu64 " but log/ ends at %" PRIu64
                   ": one of the two was restored or replaced. Put back log/ and delivery/ of the same "
                   "moment",
                   book->store->path, claimed, last);
  return SL_OK;
}

static sl_status book_env_open(sl_book *book, bool create) {
  sl_store *store = book->store;
  char *dir = store_path(store, "delivery");
  if (!dir) return sl_fail(SL_E_NOMEM, "out of memory");
  const db_env_options options = {.map_size = 64ull << 30,
                                  .map_floor = 256ull << 20,
                                  .max_readers = 512,
                                  .mode = store->file_mode,
                                  .create = create};
  sl_status status = db_env_open(dir, book_tables, BOOK_TABLES, &options, &book->env);
  free(dir);
  return status;
}

/* The book is no cache: without it every event would be sent again. So it is made only while the log has
 * never held an event (also by the next process, when the one that created the store was killed half-way);
 * every sl_open returns with the book there, so a log with events and no book has lost it. */
sl_status book_open(sl_store *store) {
  sl_book *book = calloc(1, sizeof *book);
  if (!book) return sl_fail(SL_E_NOMEM, "out of memory");
  book->store = store;
  store->book = book;
  sl_status status = book_env_open(book, false);
  bool missing = status == SL_E_NO_STORE;
  if (status == SL_OK) status = book_check(book, &missing);
  if (missing) {
    uint64_t last;
    status = read_last_seq(store, &last);
    if (status == SL_OK && last > 0) { /* or its creator has just finished and appended */
      if (!book->env) status = book_env_open(book, false);
      if (status == SL_OK) status = book_check(book, &missing);
      if (status == SL_E_NO_STORE || (status == SL_OK && missing))
        status = sl_fail(SL_E_MISMATCH,
                         "%s: log/ holds events up to %" PRIu64
                         " but delivery/ is missing or empty: restore delivery/ of the same moment (without "
                         "it every event would be delivered again)",
                         store->path, last);
    } else if (status == SL_OK) {
      if (!book->env) status = book_env_open(book, true);
      if (status == SL_OK) status = book_init(book);
      if (status == SL_OK) status = book_check(book, &missing);
    }
  }
  if (status == SL_OK) status = book_check_cursor(book);
  if (status != SL_OK) {
    book_close(book);
    store->book = NULL;
  }
  return status;
}

void book_close(sl_book *book) {
  if (!book) return;
  db_env_close(book->env);
  free(atomic_load(&book->spare));
  free(book);
}

/* ------------------------------------------------------------------ view --- */

static sl_status view_load(book_view *view) {
  sl_slice value;
  sl_progress intent;
  sl_status status = book_meta_get(view->txn, BOOK_KEY_INTENT, &value);
  if (status == SL_OK) { /* decoded first: its lanes are then overwritten by the cursor's */
    status = sl_progress_decode(value, &intent, view->lanes);
    if (status != SL_OK) return sl_fail_context(status, "delivery/ intent");
    view->has_intent = true;
    view->intent_seq = intent.seq;
    view->intent_attempt = intent.attempt;
  } else if (status != SL_NOTFOUND) {
    return status;
  }
  status = book_meta_get(view->txn, BOOK_KEY_CURSOR, &value);
  if (status == SL_OK) {
    status = sl_progress_decode(value, &view->cursor, view->lanes);
    if (status != SL_OK) return sl_fail_context(status, "delivery/ cursor");
    status = book_meta_get(view->txn, BOOK_KEY_TOTALS, &value);
  }
  if (status == SL_NOTFOUND || (status == SL_OK && !book_totals_get(value, &view->totals)))
    return sl_fail(SL_E_CORRUPT, "delivery/ has no cursor or no totals: restore it from a backup");
  return status;
}

sl_status book_view_open(sl_store *store, book_view **out) {
  book_view *view = atomic_exchange(&store->book->spare, NULL);
  if (!view && (view = malloc(sizeof *view))) view->kept = (db_kept){0};
  if (!view) return sl_fail(SL_E_NOMEM, "out of memory");
  memset(view, 0, offsetof(book_view, kept));
  view->book = store->book;
  bool same;
  sl_status status = db_begin_kept(store->book->env, &view->kept, &same, &view->txn);
  if (status == SL_OK && !same) {
    /* 24 KB of lanes are written by the decoder, where any, and the blocks as they are found. */
    memset(&view->cursor, 0, offsetof(book_view, lanes) - offsetof(book_view, cursor));
    status = view_load(view);
  }
  if (status != SL_OK) {
    view->kept = (db_kept){0};
    book_view_close(view);
    return status;
  }
  *out = view;
  return SL_OK;
}

void book_view_close(book_view *view) {
  if (!view) return;
  db_cur_close(view->receipts);
  db_abort(view->txn);
  free(atomic_exchange(&view->book->spare, view));
}

const sl_progress *book_view_cursor(const book_view *view) { return &view->cursor; }
const book_totals *book_view_totals(const book_view *view) { return &view->totals; }
uint64_t book_view_intent_seq(const book_view *view) {
  return view->has_intent ? view->intent_seq : view->cursor.seq;
}

static int slice_cmp(sl_slice a, sl_slice b) {
  const size_t len = a.len < b.len ? a.len : b.len;
  const int order = len ? memcmp(a.data, b.data, len) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool book_view_settled(const book_view *view, uint64_t seq, sl_slice topic) {
  if (seq > view->cursor.seq) return false;
  size_t low = 0, high = view->cursor.lane_count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const int order = slice_cmp(topic, view->lanes[middle].topic);
    if (order == 0) return seq <= view->lanes[middle].seq;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return true;
}

uint64_t book_view_trim_limit(const book_view *view) {
  uint64_t limit = view->cursor.seq;
  for (size_t i = 0; i < view->cursor.lane_count; i++)
    if (view->lanes[i].seq < limit) limit = view->lanes[i].seq;
  return limit;
}

/* ----------------------------------------------------------------- fates --- */

static bool block_holds(const sl_receipt_block *block, uint64_t seq) {
  return block->count && seq >= block->first_seq && seq - block->first_seq < block->count;
}

/* How many of the known blocks begin at or before seq. */
static size_t known_before(const book_view *view, uint64_t seq) {
  size_t low = 0, high = view->block_count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (view->blocks[middle].first_seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void block_learn(book_view *view, size_t at, const sl_receipt_block *block) {
  if (view->block_count == BOOK_BLOCKS_KNOWN) return;
  memmove(view->blocks + at + 1, view->blocks + at, (view->block_count - at) * sizeof *block);
  view->blocks[at] = *block;
  view->block_count++;
}

void book_view_expect(const book_view *view, uint64_t seq) {
  const size_t at = known_before(view, seq);
  if (at == 0 || !block_holds(&view->blocks[at - 1], seq)) return;
  const sl_receipt_block *block = &view->blocks[at - 1];
  __builtin_prefetch(block->entries + (seq - block->first_seq) * SL_RECEIPT_STRIDE);
}

static sl_status block_find(book_view *view, uint64_t seq) {
  if (block_holds(&view->block, seq)) return SL_OK;
  const size_t at = known_before(view, seq);
  if (at > 0 && block_holds(&view->blocks[at - 1], seq)) {
    view->block = view->blocks[at - 1];
    return SL_OK;
  }
  if (!view->receipts) {
    sl_status status = db_cur_open(view->txn, BOOK_RECEIPTS, &view->receipts);
    if (status != SL_OK) return status;
  }
  const int64_t begun = sl_clock_monotonic_us();
  uint64_t wanted = seq;
  sl_slice key = db_u64(&wanted), value;
  sl_status status = db_cur_move(view->receipts, DB_SEEK, &key, &value);
  if (status == SL_NOTFOUND) status = db_cur_move(view->receipts, DB_LAST, &key, &value);
  else if (status == SL_OK && sl_get_u64(key.data) > seq)
    status = db_cur_move(view->receipts, DB_PREV, &key, &value);
  if (status != SL_OK) return status;
  sl_receipt_block block;
  status = sl_receipt_block_peek(value, &block);
  if (status != SL_OK) return sl_fail_context(status, "delivery/ receipts of event %" PRIu64, seq);
  if (!block_holds(&block, seq)) return SL_NOTFOUND;
  /* Not in memory: the rest of its pages is fetched at once, the next events' receipts are on them. */
  if (sl_clock_monotonic_us() - begun > DB_SLOW_US) db_file_will_need(value.data, value.len);
  view->block = block;
  block_learn(view, at, &block);
  return SL_OK;
}

/* Sparse entries (events of lanes, originals of replays) lie at or below the cursor, where place alone does
 * not tell a settled attempt from an abandoned one: the attempt number does. */
static sl_status sparse_find(book_view *view, uint64_t seq, sl_receipt *receipt, sl_receipt_block *head) {
  sl_slice value;
  uint64_t count = 0;
  sl_status status = SL_OK;
  if (view->sparse_known == 0) {
    status = db_count(view->txn, BOOK_SPARSE, &count);
    if (status == SL_OK) view->sparse_known = count > 0 ? 2 : 1;
  }
  if (status == SL_OK && view->sparse_known == 1) return SL_NOTFOUND;
  if (status == SL_OK) status = db_get(view->txn, BOOK_SPARSE, db_u64(&seq), &value);
  if (status != SL_OK) return status;
  status = sl_receipt_block_decode(value, head);
  if (status == SL_OK && head->attempt > view->cursor.attempt) return SL_NOTFOUND;
  if (status == SL_OK) status = sl_receipt_at(head, seq, receipt);
  if (status == SL_NOTFOUND) status = sl_fail(SL_E_CORRUPT, "the receipt is of another event");
  if (status != SL_OK) return sl_fail_context(status, "delivery/ receipt of event %" PRIu64, seq);
  return SL_OK;
}

sl_status book_receipt_find(book_view *view, uint64_t seq, sl_receipt *receipt, sl_receipt_block *head) {
  sl_status status = sparse_find(view, seq, receipt, head);
  if (status != SL_NOTFOUND) return status;
  status = block_find(view, seq);
  if (status != SL_OK) return status;
  *head = view->block;
  return sl_receipt_at(&view->block, seq, receipt);
}

sl_status book_view_fate(book_view *view, uint64_t seq, sl_slice topic, book_fate *fate) {
  *fate = (book_fate){.state = SL_PENDING, .partition = -1, .offset = -1};
  if (!book_view_settled(view, seq, topic)) return SL_OK;
  sl_receipt receipt;
  sl_receipt_block head;
  sl_status status = book_receipt_find(view, seq, &receipt, &head);
  if (status == SL_NOTFOUND)
    return sl_fail(SL_E_CORRUPT, "delivery/: event %" PRIu64 " is settled but has no receipt", seq);
  if (status != SL_OK) return status;
  fate->settled_us = head.settled_us;
  switch (receipt.verdict) {
  case SL_VERDICT_SENT:
    fate->state = SL_SENT;
    fate->partition = receipt.partition;
    fate->offset = receipt.place;
    return book_recreated(view, topic, head.attempt, seq, &fate->topic_recreated);
  case SL_VERDICT_DUPLICATE:
    fate->state = SL_DUPLICATE;
    fate->duplicate_of = (uint64_t)receipt.place;
    return SL_OK;
  case SL_VERDICT_DEAD:
  case SL_VERDICT_DROPPED: {
    fate->state = receipt.verdict == SL_VERDICT_DEAD ? SL_DEAD : SL_DROPPED;
    sl_slice value;
    status = db_get(view->txn, BOOK_DEAD, db_u64(&seq), &value);
    if (status == SL_OK) status = sl_letter_decode(value, &fate->letter);
    if (status == SL_NOTFOUND) status = sl_fail(SL_E_CORRUPT, "it is missing");
    if (status != SL_OK) return sl_fail_context(status, "delivery/: dead letter of event %" PRIu64, seq);
    return SL_OK;
  }
  default:
    return sl_fail(SL_E_CORRUPT, "delivery/: the receipt of event %" PRIu64 " says %s", seq,
                   receipt.verdict == SL_VERDICT_LANE ? "it waits in a lane, but the lane is beyond it"
                                                      : "there was no such event");
  }
}

void book_letter_of_tombstone(const sl_parts *parts, sl_letter *letter) {
  const bool lost = sl_slice_eq(parts->type, SL_STR(BOOK_CLASS_LOST));
  letter->error_class = lost ? SL_STR(BOOK_CLASS_LOST) : SL_STR(BOOK_CLASS_DROPPED);
  letter->error_text = lost ? SL_STR(BOOK_TEXT_LOST) : SL_STR(BOOK_TEXT_DROPPED);
}

void book_fate_of_tombstone(const sl_parts *parts, book_fate *fate) {
  if (fate->state != SL_PENDING || !(parts->flags & SL_RECORD_DROPPED)) return;
  fate->state = SL_DROPPED;
  fate->settled_us = parts->dropped_us;
  fate->letter = (sl_letter){0};
  book_letter_of_tombstone(parts, &fate->letter);
}
