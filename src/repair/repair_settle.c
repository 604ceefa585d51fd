/* The delivery state of the repaired store. What was sound is copied byte for byte; a settled event whose receipt
 * is lost gets one that says so, because a settled event without a receipt is damage. */
#include "delivery/audit.h"
#include "repair/repair_impl.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>

#define STEP 1000u

typedef struct settler {
  repair *r;
  sl_store *store;
  db_txn *txn;
  uint64_t first, last; /* a run of lost receipts */
} settler;

/* ------------------------------------------------------------------ copying --- */

static sl_status copy_items(settler *s, unsigned table, const repair_items *items) {
  const repair *r = s->r;
  const uint64_t end = r->book.has_intent ? r->book.intent.seq : r->book.cursor.seq;
  sl_buf bytes = {0};
  sl_status status = SL_OK;
  for (size_t i = 0; i < items->count && status == SL_OK; i++) {
    const repair_item *item = &items->list[i];
    if (item->seq > end) break; /* of an attempt that was given up */
    status = repair_bytes(r->book.file, item, &bytes);
    if (status == SL_OK) status = db_append(s->txn, table, db_u64(&item->seq), sl_buf_slice(&bytes));
  }
  sl_buf_free(&bytes);
  return status;
}

static bool name_ok(const char *name) {
  static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return *name && strspn(name, legal) == strlen(name);
}

static void copy_cursors(settler *s, uint64_t last_seq) {
  for (size_t i = 0; i < s->r->book.cursors.count; i++) {
    const repair_pair *p = &s->r->book.cursors.list[i];
    if (!name_ok(p->key) || p->value.len != 8) {
      repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "a named cursor is damaged and left out");
      continue;
    }
    uint64_t seq = sl_get_u64(p->value.data);
    if (seq > last_seq) {
      repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "cursor %s stood beyond the log, at %" PRIu64 ": it stands at "
                  "%" PRIu64 " now", p->key, seq, last_seq);
      seq = last_seq;
    }
    db_put(s->txn, BOOK_CURSORS, sl_slice_of(p->key), db_u64(&seq));
  }
  if (s->r->book.cursors.damaged) repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "named cursors may be lost");
}

static void copy_notes(settler *s) {
  for (size_t i = 0; i < s->r->book.notes.count; i++) {
    const repair_pair *p = &s->r->book.notes.list[i];
    const sl_slice name = sl_slice_of(p->key);
    sl_recreation mark;
    if (book_recreated_is(name) && book_recreated_check(name, sl_buf_slice(&p->value), &mark) == SL_E_CORRUPT) {
      repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "a note of a topic that was deleted and created again is "
                  "damaged and left out: receipts from before no longer say so");
      continue;
    }
    if (audit_note_check(name, sl_buf_slice(&p->value)) == SL_E_CORRUPT) {
      repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "a note of the audit trail is damaged and left out");
      continue;
    }
    if (*p->key && strlen(p->key) <= 64 && p->value.len <= 4096)
      db_put(s->txn, BOOK_NOTES, sl_slice_of(p->key), sl_buf_slice(&p->value));
  }
}

/* ------------------------------------------------------------------- totals --- */

static uint64_t sum(const book_totals *t) {
  return t->delivered + t->duplicates + t->dead + t->dropped + t->copies;
}

/* Takes n away, from what was delivered if there is that much. */
static void take(book_totals *t, uint64_t n) {
  uint64_t *const from[] = {&t->delivered, &t->dropped, &t->dead, &t->duplicates, &t->copies};
  for (size_t i = 0; i < 5 && n > 0; i++) {
    const uint64_t part = *from[i] < n ? *from[i] : n;
    *from[i] -= part;
    n -= part;
  }
}

/* Every seq up to the cursor that waits in no lane is one of the five; the totals have no checksum. */
static void balance(settler *s, book_totals *t, uint64_t settled, const char *which) {
  const book_totals before = *t;
  if (t->delivered > settled || t->duplicates > settled || t->dead > settled || t->dropped > settled ||
      t->copies > settled)
    *t = (book_totals){.drops = t->drops};
  if (t->drops > settled) t->drops = 0;
  if (sum(t) > settled) take(t, sum(t) - settled);
  else t->delivered += settled - sum(t);
  if (memcmp(&before, t, sizeof before) != 0)
    repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "the %s do not add up to the %" PRIu64 " events that were "
                "settled: delivered %" PRIu64 " -> %" PRIu64 ", duplicates %" PRIu64 " -> %" PRIu64
                ", dead %" PRIu64 " -> %" PRIu64 ", dropped %" PRIu64 " -> %" PRIu64,
                which, settled, before.delivered, t->delivered, before.duplicates, t->duplicates,
                before.dead, t->dead, before.dropped, t->dropped);
}

static void put_totals(settler *s) {
  uint8_t bytes[BOOK_TOTALS_MOST];
  const size_t len = book_totals_put(&s->r->totals, bytes);
  book_meta_put(s->txn, BOOK_KEY_TOTALS, SL_BYTES(bytes, len));
}

/* ----------------------------------------------------------- lost receipts --- */

static sl_status put_block(settler *s, unsigned table, uint64_t seq, sl_receipt receipt, uint64_t attempt) {
  const sl_receipt_block head = {.first_seq = seq, .attempt = attempt, .settled_us = sl_clock_wall_us(),
                                 .count = 1};
  sl_buf bytes = {0};
  sl_status status = sl_receipt_block_encode(&head, &receipt, &bytes);
  if (status == SL_OK) status = db_put(s->txn, table, db_u64(&seq), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  return status;
}

static sl_status put_letter(settler *s, uint64_t seq, sl_slice topic, uint64_t attempt, const char *text) {
  const int64_t now = sl_clock_wall_us();
  const sl_letter letter = {.seq = seq, .attempt = attempt, .first_failure_us = now, .last_failure_us = now,
                            .error_class = SL_STR(REPAIR_LOST_CLASS), .error_text = sl_slice_of(text),
                            .topic = topic};
  sl_buf bytes = {0};
  sl_status status = sl_letter_encode(&letter, &bytes);
  if (status == SL_OK) status = db_put(s->txn, BOOK_DEAD, db_u64(&seq), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  return status;
}

static void end_run(settler *s) {
  if (s->first)
    repair_tell(s->r, SL_REPAIR_RECEIPTS, s->first, s->last, "what became of it is lost: settled it stays, and is "
                "called dropped now");
  s->first = s->last = 0;
}

static sl_status lose_receipt(settler *s, uint64_t seq, sl_slice topic) {
  book_totals *t = &s->r->totals;
  if (s->first && s->last + 1 == seq) s->last = seq;
  else {
    end_run(s);
    s->first = s->last = seq;
  }
  s->r->report.receipts_lost++;
  take(t, 1);
  t->dropped++;
  sl_status status = put_block(s, BOOK_SPARSE, seq, (sl_receipt){.verdict = SL_VERDICT_DROPPED, .partition = -1},
                               s->r->book.cursor.attempt);
  if (status != SL_OK) return status;
  return put_letter(s, seq, topic, s->r->book.cursor.attempt,
                    "the store was damaged: what became of the event is not known, only that it was settled");
}

static sl_status check_event(settler *s, book_view *book, uint64_t seq, sl_slice topic, bool copy) {
  sl_receipt receipt = {0};
  sl_receipt_block head;
  sl_status status = book_receipt_find(book, seq, &receipt, &head);
  if (status != SL_OK && status != SL_NOTFOUND && status != SL_E_CORRUPT) return status;
  const bool there = status == SL_OK;
  if (!book_view_settled(book, seq, topic)) { /* in a lane, which counts its events by these receipts */
    if (there && receipt.verdict == SL_VERDICT_LANE) return SL_OK;
    if (there)
      return sl_fail(SL_E_CORRUPT, "event %" PRIu64 " waits in a lane, but its receipt says otherwise", seq);
    receipt = (sl_receipt){.verdict = SL_VERDICT_LANE, .partition = -1, .place = (int64_t)book_topic_hash(topic)};
    return put_block(s, BOOK_RECEIPTS, seq, receipt, s->r->book.cursor.attempt);
  }
  if (!there || receipt.verdict == SL_VERDICT_LANE || receipt.verdict == SL_VERDICT_NONE) {
    if (copy) { /* of no event: only its receipt must be there */
      s->r->totals.delivered++;
      s->r->totals.dropped--;
    }
    return lose_receipt(s, seq, topic);
  }
  return SL_OK;
}

/* The events that are settled, or wait in a lane, one by one. */
static sl_status check_events(settler *s) {
  log_view *log = NULL;
  book_view *book;
  sl_status status = book_view_open(s->store, &book);
  if (status != SL_OK) return status;
  status = log_view_open(s->store, &log);
  for (uint64_t next = 1; status == SL_OK;) {
    sl_parts parts;
    uint64_t found = 0;
    status = log_view_next(log, next, true, &found, &parts);
    if (status != SL_OK || found > s->r->book.cursor.seq) break;
    status = check_event(s, book, found, parts.topic, (parts.flags & SL_RECORD_REPLAY) != 0);
    next = found + 1;
  }
  if (status == SL_NOTFOUND) status = SL_OK;
  end_run(s);
  log_view_close(log);
  book_view_close(book);
  return status;
}

/* `attempt`: that of the receipt which calls the event dead. It may have been sent again since, and the attempt of
 * the receipt that came then is no other letter's. */
static sl_status check_letter(settler *s, uint64_t seq, const sl_receipt *receipt, uint64_t attempt) {
  if (receipt->verdict != SL_VERDICT_DEAD && receipt->verdict != SL_VERDICT_DROPPED) return SL_OK;
  if (repair_find(&s->r->book.letters, seq)) return SL_OK;
  sl_slice there;
  if (db_get(s->txn, BOOK_DEAD, db_u64(&seq), &there) == SL_OK) return SL_OK;
  repair_tell(s->r, SL_REPAIR_RECEIPTS, seq, seq, "its letter is lost: why it was %s is not known any more",
              receipt->verdict == SL_VERDICT_DEAD ? "given up" : "dropped");
  return put_letter(s, seq, SL_STR(REPAIR_UNKNOWN_TOPIC), attempt,
                    "the store was damaged: the letter that said why is lost");
}

/* Letters of the cursor's receipts, and of those that the unfinished delivery wrote; not of events below `first`:
 * trim forgets their letters, but a block of receipts only with the last of its events. */
static sl_status check_letters(settler *s, uint64_t first) {
  sl_buf bytes = {0};
  sl_status status = SL_OK;
  const repair_items *const lists[] = {&s->r->book.receipts, &s->r->book.sparse};
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < lists[t]->count && status == SL_OK; i++) {
      sl_receipt_block block = {0};
      status = repair_bytes(s->r->book.file, &lists[t]->list[i], &bytes);
      if (status == SL_OK) status = sl_receipt_block_decode(sl_buf_slice(&bytes), &block);
      const uint64_t from = block.first_seq > first ? block.first_seq : first;
      for (uint64_t seq = from; status == SL_OK && seq < block.first_seq + block.count; seq++) {
        sl_receipt receipt;
        status = sl_receipt_at(&block, seq, &receipt);
        if (status == SL_OK) status = check_letter(s, seq, &receipt, block.attempt);
      }
    }
  sl_buf_free(&bytes);
  return status;
}

/* ---------------------------------------------------------------- the whole --- */

/* Where nothing was ever trimmed the receipts themselves can be counted. */
typedef struct tally { uint64_t verdicts[SL_VERDICT_LANE + 1]; } tally;

static sl_status count_one(void *arg, uint64_t seq, const sl_receipt *receipt) {
  (void)seq;
  ((tally *)arg)->verdicts[receipt->verdict]++;
  return SL_OK;
}

static sl_status recount(settler *s, const repair_written *w) {
  book_view *book = NULL;
  tally t = {0};
  uint64_t from = 0, damaged = 0;
  if (w->kept != w->last_seq || s->r->totals.copies || w->pending_copies) return SL_OK;
  sl_status status = book_view_open(s->store, &book);
  while (status == SL_OK && from != UINT64_MAX) status = book_scan(book, &from, 100000, count_one, &t, &damaged);
  book_view_close(book);
  if (status == SL_OK && damaged == 0)
    s->r->totals = (book_totals){.drops = s->r->totals.drops, .delivered = t.verdicts[SL_VERDICT_SENT],
                                 .duplicates = t.verdicts[SL_VERDICT_DUPLICATE],
                                 .dead = t.verdicts[SL_VERDICT_DEAD], .dropped = t.verdicts[SL_VERDICT_DROPPED]};
  return status;
}

static sl_status begin(settler *s) { return db_begin_write(s->store->book->env, false, &s->txn); }

static sl_status copy_all(settler *s, const repair_written *w) {
  const repair_book *b = &s->r->book;
  sl_status status = begin(s);
  if (status != SL_OK) return status;
  status = copy_items(s, BOOK_RECEIPTS, &b->receipts);
  if (status == SL_OK) status = copy_items(s, BOOK_SPARSE, &b->sparse);
  if (status == SL_OK) status = copy_items(s, BOOK_DEAD, &b->letters);
  for (size_t i = 0; i < b->meta.count; i++)
    db_put(s->txn, BOOK_META, sl_slice_of(b->meta.list[i].key), sl_buf_slice(&b->meta.list[i].value));
  const uint8_t version[4] = {SL_FORMAT_VERSION};
  book_meta_put(s->txn, BOOK_KEY_STORE, (sl_slice){s->r->id, 16});
  book_meta_put(s->txn, BOOK_KEY_VERSION, (sl_slice){version, sizeof version});
  put_totals(s);
  copy_cursors(s, w->last_seq);
  copy_notes(s);
  if (status != SL_OK) db_txn_fail(s->txn, status);
  return db_commit(s->txn);
}

/* Everything is pending, but what trim took away before: that much is called delivered. */
static sl_status begin_anew(settler *s, const repair_written *w) {
  const sl_progress start = {.seq = w->kept ? w->first_seq - 1 : 0};
  sl_buf progress = {0};
  sl_status status = begin(s);
  if (status != SL_OK) return status;
  status = sl_progress_encode(&start, &progress);
  if (status != SL_OK) db_txn_fail(s->txn, status);
  s->r->totals.delivered = start.seq;
  book_meta_put(s->txn, BOOK_KEY_CURSOR, sl_buf_slice(&progress));
  book_meta_put(s->txn, BOOK_KEY_STORE, (sl_slice){s->r->id, 16});
  put_totals(s);
  sl_buf_free(&progress);
  if (start.seq)
    repair_tell(s->r, SL_REPAIR_DELIVERY, 0, 0, "the %" PRIu64 " events that trim had removed count as delivered",
                start.seq);
  return db_commit(s->txn);
}

sl_status repair_write_book(repair *r, sl_store *store, const repair_written *w) {
  settler s = {.r = r, .store = store};
  if (!r->keep) return begin_anew(&s, w);
  balance(&s, &r->totals, r->book.cursor.seq - w->waiting, "totals");
  const book_totals before = r->totals;
  sl_status status = copy_all(&s, w);
  if (status == SL_OK) status = begin(&s);
  if (status != SL_OK) return status;
  status = check_events(&s);
  if (status == SL_OK) status = check_letters(&s, w->kept ? w->first_seq : 1);
  if (status != SL_OK) db_txn_fail(s.txn, status);
  status = db_commit(s.txn);
  if (status == SL_OK) status = recount(&s, w); /* reads what is committed */
  if (status == SL_OK) status = begin(&s);
  if (status != SL_OK) return status;
  put_totals(&s);
  if (r->book.has_intent) { /* the same moves in what the unfinished delivery would make of them */
    const sl_buf *old = repair_value(&r->book.meta, BOOK_KEY_INTENT_TOTALS);
    uint8_t bytes[BOOK_TOTALS_MOST + 1];
    book_totals t = {0};
    book_totals_get(SL_BYTES(old->data, old->len - 1), &t);
    t.delivered += r->totals.delivered - before.delivered;
    t.duplicates += r->totals.duplicates - before.duplicates;
    t.dead += r->totals.dead - before.dead;
    t.dropped += r->totals.dropped - before.dropped;
    const size_t len = book_totals_put(&t, bytes);
    bytes[len] = old->data[old->len - 1];
    book_meta_put(s.txn, BOOK_KEY_INTENT_TOTALS, SL_BYTES(bytes, len + 1));
  }
  return db_commit(s.txn);
}
