/* The delivery book: cursor, intent, receipts, dead letters, totals, named cursors. Environment delivery/.
 * Reading side; delivery.h is the agent's writing side. */
#ifndef SL_STORE_BOOK_H
#define SL_STORE_BOOK_H
#include "format/progress.h"
#include "format/receipt.h"
#include "format/record.h"
#include "store/store.h"

sl_status book_open(sl_store *store);
void book_close(sl_book *book);

typedef struct book_totals {
  uint64_t delivered, duplicates, dead, dropped;
  uint64_t copies; /* replay copies settled: they are no events, so the law must leave them out of pending */
  uint64_t drops;  /* tombstones settled; those not yet settled count as dropped by the log's word (stats.c) */
} book_totals;

typedef struct book_view book_view;
/* Open it after the index view and before the log view. Start again if the log's first seq is then beyond
 * the cursor + 1: trim has passed this snapshot. */
sl_status book_view_open(sl_store *store, book_view **view);
void book_view_close(book_view *view);
const sl_progress *book_view_cursor(const book_view *view); /* committed; seq 0 in a new store */
const book_totals *book_view_totals(const book_view *view);
/* Highest seq of an unfinished delivery attempt (the intent), or the cursor's when there is none. */
uint64_t book_view_intent_seq(const book_view *view);

/* Is the event settled, by the cursor and the lanes? Needs its topic for the lanes. */
bool book_view_settled(const book_view *view, uint64_t seq, sl_slice topic);

typedef struct book_fate {
  sl_state state;
  int64_t settled_us;
  int32_t partition;
  int64_t offset;
  bool topic_recreated;  /* SENT: to a topic of that name that was deleted since */
  uint64_t duplicate_of;
  sl_letter letter;      /* DEAD, DROPPED; slices valid until the view closes */
} book_fate;
/* What became of the event. A receipt is believed only for a settled event. SL_E_CORRUPT when a settled
 * event has no receipt. */
sl_status book_view_fate(book_view *view, uint64_t seq, sl_slice topic, book_fate *fate);
/* It will be asked for: its receipt is fetched from memory meanwhile, if the view knows where it is. */
void book_view_expect(const book_view *view, uint64_t seq);

/* Class and text of a tombstone's letter. One of type LOST_DAMAGED was made by repair. */
void book_letter_of_tombstone(const sl_parts *parts, sl_letter *letter);
#define BOOK_CLASS_LOST "LOST_DAMAGED"
#define BOOK_TEXT_LOST "the store was damaged, and the event could not be read any more when it was repaired"
/* A tombstone is dropped at once, by the record's own word, until its receipt says so (or, in at-least-once, that
 * it had been sent after all). No-op for other records and settled ones. */
void book_fate_of_tombstone(const sl_parts *parts, book_fate *fate);
#define BOOK_CLASS_DROPPED "DROPPED_STORE_FULL"
#define BOOK_TEXT_DROPPED \
  "the store was full, and its policy drops the oldest events of this topic; the value is gone"

/* Below every seq that trim must keep: min(cursor, lanes, and - with an intent - the cursor before it). */
uint64_t book_view_trim_limit(const book_view *view);

/* Removes receipts, letters and drops of seqs below first_seq (after trim). */
sl_status book_forget_below(sl_store *store, uint64_t first_seq);

#endif
