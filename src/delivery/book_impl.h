/* What book*.c and delivery*.c share: the tables of delivery/ and the keys of its meta table. Private. */
#ifndef SL_STORE_BOOK_IMPL_H
#define SL_STORE_BOOK_IMPL_H
#include "delivery/book.h"

#include <stdatomic.h>

enum { BOOK_META, BOOK_RECEIPTS, BOOK_SPARSE, BOOK_DEAD, BOOK_CURSORS, BOOK_NOTES, BOOK_TABLES };

#define BOOK_KEY_STORE "store"
#define BOOK_KEY_VERSION "version"
#define BOOK_KEY_CURSOR "cursor"
#define BOOK_KEY_TOTALS "totals"
#define BOOK_KEY_INTENT "intent"
#define BOOK_KEY_INTENT_TOTALS "intent.totals"
#define BOOK_KEY_ATTEMPT "attempt"
#define BOOK_KEY_MARKER "marker"
#define BOOK_KEY_CLUSTER "cluster"
#define BOOK_KEY_PARTITION "partition"
#define BOOK_KEY_SENDER "sender"
#define BOOK_KEY_LETTERS "letters"               /* u64: the highest number of a letter that waited for its copy */
#define BOOK_KEY_INTENT_LETTERS "intent.letters" /* u64s: numbers whose copies the intent publishes */
#define BOOK_KEY_INTENT_MARKER "intent.marker"   /* u64: its marker was acknowledged right before this offset */

/* A transaction that a drop overtook has its seqs left alone for a while: u64 seq, i64 until (wall clock). */
#define BOOK_KEY_HOLD "hold"

/* Totals on disk: five u64 in the order of book_totals, and drops as a sixth where there are any. The intent's are
 * followed by one byte: marked. */
#define BOOK_TOTALS_SIZE 40u
#define BOOK_TOTALS_MOST 48u

/* Notes of topics that were deleted and created again (recreated.c). */
#define BOOK_RECREATED_PREFIX "recreated-"
#define BOOK_RECREATED_NAME_LEN 26u

struct sl_book {
  sl_store *store;
  db_env *env;
  _Atomic(book_view *) spare; /* memory of a view that was closed, as in the index */
};

#define BOOK_BLOCKS_KNOWN 2048u /* of 8 million events, where they are full */

struct book_view {
  sl_book *book;
  db_txn *txn;
  db_cur *receipts;          /* opened by the first look-up */
  sl_receipt_block block;    /* the block found last, when block.count > 0 */
  db_kept kept;              /* what follows is of: a view's memory that is used again may have it already */
  sl_progress cursor;
  bool has_intent;
  uint64_t intent_seq, intent_attempt;
  book_totals totals;
  int recreated_known;       /* are there notes of recreated topics? 0: not looked yet, 1: no, 2: yes */
  int sparse_known;          /* are there sparse receipts? likewise */
  size_t block_count;        /* blocks that were looked up */
  sl_lane lanes[SL_LANES_MAX];
  sl_receipt_block blocks[BOOK_BLOCKS_KNOWN]; /* ascending */
};

/* The number under which a topic's events wait in LANE receipts: XXH3-64 of its name. */
uint64_t book_topic_hash(sl_slice topic);

size_t book_totals_put(const book_totals *totals, uint8_t out[BOOK_TOTALS_MOST]); /* how many bytes */
bool book_totals_get(sl_slice in, book_totals *totals); /* false: not of a length that totals have */

/* A value of meta: SL_NOTFOUND when it is not there. */
sl_status book_meta_get(db_txn *txn, const char *key, sl_slice *value);
sl_status book_meta_put(db_txn *txn, const char *key, sl_slice value);

/* The receipt of a settled event, sparse entries before blocks. SL_NOTFOUND: none. `head` says when and by
 * which attempt it was written. */
sl_status book_receipt_find(book_view *view, uint64_t seq, sl_receipt *receipt, sl_receipt_block *head);

/* Events of lanes that wait: LANE receipts beyond their lane's seq, ascending, up to `last`. A callback that
 * returns other than SL_OK ends the walk with that status. */
typedef sl_status book_lane_fn(void *arg, uint64_t seq, size_t lane);
sl_status book_lane_each(book_view *view, uint64_t last, book_lane_fn *fn, void *arg);

typedef sl_status book_receipt_fn(void *arg, uint64_t seq, const sl_receipt *receipt);
/* For verify: from the first receipt at or above *from, about `max` of them (whole blocks), and their letters, CRC
 * checked; *from is then where to go on, UINT64_MAX when all were seen. A damaged block or letter is
 * counted in *damaged (with its detail set) and passed over. */
sl_status book_scan(book_view *view, uint64_t *from, uint64_t max, book_receipt_fn *fn, void *arg,
                    uint64_t *damaged);

bool book_recreated_is(sl_slice name); /* is it the name of such a note? */
/* Decodes it and compares its name. SL_E_CORRUPT, SL_E_VERSION. */
sl_status book_recreated_check(sl_slice name, sl_slice value, sl_recreation *mark);
sl_status book_recreated_put(db_txn *txn, const sl_recreation *mark);
/* Does the receipt that the attempt wrote for the event point into a topic that is gone? */
sl_status book_recreated(book_view *view, sl_slice topic, uint64_t attempt, uint64_t seq, bool *covered);

#endif
