/* The log: append-only events, the dictionary of names, eras of time, quota. Environment log/. */
#ifndef SL_STORE_LOG_H
#define SL_STORE_LOG_H
#include "format/record.h"
#include "store/store.h"

/* Opens or creates log/. Sets store->uuid from its meta (creates it). */
sl_status log_open(sl_store *store);
void log_close(sl_log *log);

/* What a snapshot of the log says of itself. */
typedef struct log_head {
  uint64_t first_seq;  /* no event below is kept; 1 in a new store */
  uint64_t last_seq;   /* newest event; 0: none yet */
  uint64_t kept;       /* records in the table (its own count) */
  uint64_t trimmed;    /* removed by trim ever: kept + trimmed == last_seq, or records are missing */
  uint64_t copies;     /* replay copies among all ever appended */
  uint64_t quota;      /* bytes, as all openers have it now */
  uint64_t drops;      /* tombstones ever made, settled ones and trimmed ones too */
} log_head;

/* How much of a record is read: false and true of a `peek` are the first two. */
typedef enum log_part {
  LOG_WHOLE, /* all of it, and its checksum: sl_record_decode */
  LOG_FRONT, /* sl_record_peek */
  LOG_NAMES  /* sl_record_peek_names */
} log_part;

/* A read transaction on the log. Short-lived, one thread. */
typedef struct log_view log_view;
sl_status log_view_open(sl_store *store, log_view **view);
void log_view_close(log_view *view);
const log_head *log_view_head(const log_view *view);

/* One record. `parts` points into the view's snapshot and is valid until log_view_close; topic and type are
 * filled in from the dictionary. SL_NOTFOUND: no such seq. SL_E_CORRUPT with the seq in the detail.
 * peek: see sl_record_peek. */
sl_status log_view_get(log_view *view, uint64_t seq, bool peek, sl_parts *parts);
/* The same in two steps, for several records: all are found first, which starts to fetch their bytes from memory,
 * then each is decoded. */
sl_status log_view_find(log_view *view, uint64_t seq, sl_slice *bytes);
sl_status log_view_decode(log_view *view, uint64_t seq, sl_slice bytes, log_part part, sl_parts *parts);

/* After a peek: what sl_record_attributes adds to `parts`. */
sl_status log_view_attributes(log_view *view, uint64_t seq, sl_parts *parts, sl_header *room, size_t cap);

/* The first record at or above `seq` (trim leaves holes below the delivery cursor). *found is its seq, set
 * also with SL_E_CORRUPT so that the caller can go on behind it. Sequential calls are fast. */
sl_status log_view_next(log_view *view, uint64_t seq, bool peek, uint64_t *found, sl_parts *parts);

/* Where records lie. */
typedef struct log_place {
  uint64_t seq;
  sl_slice bytes; /* in the view's snapshot */
} log_place;
/* The first records from `seq` to `last`, at most `most`; *count is 0 when there are none. Their fronts (enough
 * for the attributes of most) are on their way from memory when it returns, so that who decodes one waits for
 * none. Sequential calls are fast. SL_E_CORRUPT: the table is damaged, and there is no going on. */
sl_status log_view_places(log_view *view, uint64_t seq, uint64_t last, log_place *places, size_t most,
                          size_t *count);

/* Runs of seqs that can hold appended_at in [since_us, until_us) (0: no bound), ascending, at most `max`;
 * binary searches over the clamped time within each era. The caller still compares the raw time. */
typedef struct log_range { uint64_t first, last; } log_range;
sl_status log_view_time_ranges(log_view *view, int64_t since_us, int64_t until_us,
                               log_range *ranges, size_t max, size_t *count);

/* The dictionary number of a topic or type in this view; SL_NAME_INLINE when it has none. */
uint32_t log_view_name_id(log_view *view, sl_slice name);

/* Removes the records of seqs[0..count), ascending, in one write transaction and moves first_seq up to the first
 * record then kept. The caller (trim.c) has made sure that each is settled and indexed; log_remove itself refuses
 * the newest record. */
sl_status log_remove(sl_store *store, const uint64_t *seqs, size_t count);

typedef struct log_space {
  uint64_t used;       /* bytes of log/ that hold data: high-water mark less free pages */
  uint64_t free;       /* bytes of its file below the high-water mark that are free */
  uint64_t reserved;   /* of the quota, kept from appends for trim */
} log_space;
/* Cached for a moment: the free list is counted, not looked up. */
sl_status log_space_get(sl_store *store, log_space *space);
sl_status log_bytes_used(sl_store *store, uint64_t *bytes); /* log_space.used alone */

/* The encoded record, in the view's snapshot. SL_NOTFOUND. */
sl_status log_view_raw(log_view *view, uint64_t seq, sl_slice *record);
/* Bytes that the record of `seq` takes in the file, about. SL_NOTFOUND. */
sl_status log_view_size(log_view *view, uint64_t seq, uint64_t *bytes);
/* Bytes a second that were appended lately: over the last ten minutes before now_us, or since the first event
 * where the log is younger. 0: nothing was, or for less than ten seconds. Costs a few binary searches. */
sl_status log_view_rate(log_view *view, int64_t now_us, uint64_t *bytes_per_s);

/* Environment facts for statistics. */
sl_status log_env_info(sl_store *store, db_env_info *info);

/* Before anyone passes a seq for good: flush what relaxed appends left (no-op if no process ever appended
 * relaxed to this store). */
sl_status log_flush_for(sl_store *store);
#endif
