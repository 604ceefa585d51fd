/* Group commit: appends of many threads and processes in one transaction of log/. */
#ifndef SL_STORE_GROUP_H
#define SL_STORE_GROUP_H
#include "store/store.h"

/* The records of one append, encoded and checked: all or none of them are committed, in order. */
typedef struct group_batch {
  sl_slice records;   /* framed: before each record its length, u32 */
  uint32_t count;     /* at least 1 */
  int64_t now_us;     /* the append time of all of them */
  bool relaxed;       /* need not be flushed; a commit is as durable as the strictest append in it */
  uint32_t copies;    /* how many of them are replays; such a batch commits alone (group_append_alone) */
  bool renumber;      /* some record carries a name that may get a number */
} group_batch;

/* The next record of `*rest`, which moves behind it; false at the end and at a length that does not fit. */
bool group_next(sl_slice *rest, sl_slice *record);

/* Commits the batch, by itself, together with others', or by another's hand, and returns when that is decided.
 * *first_seq is the seq of its first record. Statuses as sl_append_many. Any thread. */
sl_status group_append(sl_store *store, const group_batch *batch, uint64_t *first_seq);
/* The same in a transaction of its own. */
sl_status group_append_alone(sl_store *store, const group_batch *batch, uint64_t *first_seq);
#endif
