/* The way of an append, for append.c (which waits for it) and async.c (which does not). */
#ifndef SL_STORE_APPEND_H
#define SL_STORE_APPEND_H
#include "format/record.h"
#include "store/group.h"

#define APPEND_EVENTS_MAX 65536u
#define APPEND_BYTES_MAX (UINT64_C(256) << 20) /* of encoded records: LMDB holds a commit's pages in memory */

/* Checks the events and appends their framed records to `bytes`; fills *batch but for its records, which are the
 * bytes. Errors and `bad` as sl_append_many. */
sl_status append_encode(sl_store *store, const sl_event *events, size_t count, sl_buf *bytes, group_batch *batch,
                        size_t *bad);
/* Checks nothing: the copy of a record that is in the log, for replay. The same otherwise. */
sl_status append_encode_copy(sl_store *store, const sl_parts *parts, uint64_t origin, sl_buf *bytes, group_batch *batch);
/* Commits a batch, with all that the store does for a producer around it. Errors as sl_append_many. */
sl_status append_commit(sl_store *store, const group_batch *batch, uint64_t *first_seq);
#endif
