/* The way of an append, for append.c (which waits for it) and async.c (which does not). */
#ifndef SL_STORE_APPEND_H
#define SL_STORE_APPEND_H
#include "store/group.h"

#define APPEND_EVENTS_MAX 65536u
#define APPEND_BYTES_MAX (UINT64_C(256) << 20) /* of encoded records: LMDB holds a commit's pages in memory */

/* Checks the events and appends their framed records to `bytes`; fills *batch but for its records, which are the
 * bytes. Errors and `bad` as sl_append_many. */
sl_status append_encode(sl_store *store, const sl_event *events, size_t count, sl_buf *bytes, group_batch *batch,
                        size_t *bad);
/* Commits a batch, with all that the store does for a producer around it. Errors as sl_append_many. */
sl_status append_commit(sl_store *store, const group_batch *batch, uint64_t *first_seq);
#endif
