/* One consistent look at all three environments, for queries, statistics and verify. */
#ifndef SL_STORE_SNAPSHOT_H
#define SL_STORE_SNAPSHOT_H
#include "delivery/book.h"
#include "index/index.h"
#include "store/log.h"

typedef struct snapshot {
  index_view *index;
  book_view *book;
  log_view *log;
} snapshot;

/* Opens index, then book, then log, and begins again if trim has passed this book's cursor meanwhile. Then
 *   - every event of the log at or below the watermark is in the index (it was indexed before the log was
 *     looked at, and never leaves it while it is kept);
 *   - every event of the log at or below the cursor has its receipt.
 * snapshot_close ends it; closing a zeroed one is harmless. Keep it short. */
sl_status snapshot_open(sl_store *store, snapshot *snap);
void snapshot_close(snapshot *snap);

/* log_view_next that tells a damaged record from a damaged environment, which has no next record to go on
 * with. SL_OK with *damaged set: the record `*found` cannot be read (the detail says why). */
sl_status snapshot_next(log_view *log, uint64_t seq, bool peek, uint64_t *found, sl_parts *parts,
                        bool *damaged);
#endif
