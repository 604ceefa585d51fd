/* What delivery*.c share: an attempt checked and turned into what is to be written. Private to them. */
#ifndef SL_STORE_DELIVERY_IMPL_H
#define SL_STORE_DELIVERY_IMPL_H
#include "delivery/book_impl.h"
#include "delivery/delivery.h"

typedef struct delivery_put {
  unsigned table; /* BOOK_RECEIPTS, BOOK_SPARSE, BOOK_DEAD, or DELIVERY_OUTBOX: the bytes are the topic */
  bool at_settle; /* not before the attempt is settled: the new fate of a replay's original */
  uint64_t seq;
  size_t offset, len; /* in delivery_plan.bytes */
} delivery_put;

typedef struct delivery_plan {
  sl_buf bytes;
  delivery_put *puts;
  size_t count, cap;
  book_totals before, totals; /* and after the attempt */
  uint64_t number;    /* of the attempt */
  sl_buf progress;    /* encoded */
} delivery_plan;

/* Checks the attempt against the book, the log and the index (I1, I2, I5) and fills the plan.
 * delivery_plan_free ends it, also after a failure. */
sl_status delivery_plan_make(sl_store *store, const delivery_attempt *attempt, delivery_plan *plan);
void delivery_plan_free(delivery_plan *plan);

/* As delivery_open, for a producer that settles tombstones: it waits for nobody; a starting agent waits for it. */
sl_status delivery_open_to_settle(sl_store *store, sl_delivery **delivery);
#define DELIVERY_OUTBOX 100u

/* --- dead letters that wait for their copy to be published (outbox.c) --- */

sl_status outbox_last(db_txn *txn, uint64_t *number); /* the highest number ever given; 0: none */
sl_status outbox_any(db_txn *txn, bool *any);
sl_status outbox_add(db_txn *txn, uint64_t number, uint64_t attempt, uint64_t seq, sl_slice topic);
void outbox_purge(db_txn *txn, uint64_t cursor_attempt); /* what attempts above it wrote */
void outbox_intend(db_txn *txn, const delivery_attempt *attempt);
sl_status outbox_settle(db_txn *txn); /* what the intent published waits no more */
/* I7 of delivery.h. SL_E_INVALID. */
sl_status outbox_check(book_view *book, const delivery_attempt *attempt);
sl_status outbox_next(book_view *book, uint64_t from, delivery_waiting *out, size_t max, size_t *count);

#define DELIVERY_HOLD_US INT64_C(30000000) /* how long a transaction that was overtaken is left alone */
#define DELIVERY_KEY_LANE_SEQS "intent.lanes" /* u64s: sparse entries and letters that the intent wrote */
#define DELIVERY_KEY_MOVES "intent.moves"     /* [u64 seq, u32 length, receipt block]: written at settle */

#endif
