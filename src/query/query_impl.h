/* What query*.c share; readers copy records with it, too. */
#ifndef SL_STORE_QUERY_IMPL_H
#define SL_STORE_QUERY_IMPL_H
#include "store/snapshot.h"

#define QUERY_LOOKS 2000u         /* events looked at in one snapshot ... */
#define QUERY_BYTES (1u << 20)    /* ... or bytes copied out of it */
#define QUERY_PLACES 32u          /* records of a scan found before the first is decoded */

/* Memory of the records that an iterator has copied out: blocks that are kept and used again. */
typedef struct arena_block arena_block;
typedef struct arena {
  arena_block *first, *current;
  size_t least; /* bytes of a block, if it is not made for more; 0: 64 KiB */
} arena;
void *arena_take(arena *a, size_t len, size_t align); /* NULL: out of memory */
void arena_reset(arena *a);
void arena_free(arena *a);
bool arena_is_small(const arena *a); /* a block of the usual size, or none */

#define QUERY_ITEMS_LEAST 32u
typedef struct query_item {
  sl_record record;
  const char *damage; /* not NULL: what sl_iter_next says instead of a record */
} query_item;

/* Does a name of the store's dictionary fit the query? Names are few, events are many. */
typedef struct name_verdicts {
  uint8_t *verdicts; /* by number; 0: not known yet */
  uint32_t cap;
} name_verdicts;

typedef struct query_filter {
  uint32_t needs;
  sl_filter_fn *fn;
  void *arg;
} query_filter;

struct sl_iter {
  sl_store *store;
  sl_query query;
  char *text;           /* backing of the query's slices */
  int source;           /* an index_attr, or -1: scan */
  uint8_t key[16];
  bool peek;            /* most events looked at will not match: read their headers first */
  bool peek_hits;       /* the same of those that the index names */
  bool ids;             /* somebody looks at ids in what was peeked at */
  bool bounded, finished;
  uint64_t watermark, last_seq; /* of the latest snapshot: at its end a query with an index helps to build it */
  bool helped;
  uint64_t next;        /* the first seq not yet looked at */
  uint64_t end;         /* the last one to look at, once bounded */
  uint64_t scanned, returned, trimmed;
  bool looked;          /* there was a snapshot: what is missing before `next` from now on was trimmed unseen */

  query_item *items;    /* copied out, waiting to be returned */
  size_t count, cap, pos;
  size_t bytes;
  unsigned looks;
  arena arena;

  name_verdicts types, topics;
  query_filter filters[SL_FILTERS_MAX]; /* those with the same needs in the order in which they came */
  size_t filter_count;
  sl_header *headers;   /* scratch: those of the record that a filter looks at */
  size_t header_cap;

  uint64_t *newest;     /* SL_QUERY_NEWEST: the seqs that matched, ascending */
  size_t newest_count, newest_cap, newest_pos;
  bool collected;
};

/* Does the event match? parts as they were read (peeked or whole). *parts is read whole when that is needed.
 * SL_OK with fate set; SL_NOTFOUND: no; SL_E_CORRUPT. */
sl_status query_match(sl_iter *it, snapshot *snap, uint64_t seq, sl_parts *parts, bool whole,
                      book_fate *fate);

/* query_filter.c: do the filters that need `needs` (the bits exactly) accept it? SL_NOTFOUND: no. `fate` may be
 * NULL where they do not need it. */
sl_status query_filter_parts(sl_iter *it, snapshot *snap, uint64_t seq, const sl_parts *parts, uint32_t needs,
                             const book_fate *fate);
bool query_filters_need(const sl_iter *it, uint32_t needs);
/* it->headers has room for so many. SL_E_NOMEM. */
#define QUERY_HEADERS_LEAST 8u
sl_status query_header_room(sl_iter *it, size_t count);
/* A record's part that tells its fate. */
sl_status query_set_fate(sl_record *r, snapshot *snap, const book_fate *fate);

/* Copies an event into the iterator's items. */
sl_status query_copy(sl_iter *it, snapshot *snap, uint64_t seq, const sl_parts *parts, const book_fate *fate);
/* One event, copied into an item and an arena of the caller's. SL_NOTFOUND: it is not there; SL_E_CORRUPT.
 * *tombstone: its value was given up. On failure the arena is empty. */
sl_status query_fetch(sl_store *store, uint64_t seq, query_item *item, arena *arena, bool *tombstone);
/* Puts the present detail there instead. */
sl_status query_copy_damage(sl_iter *it, uint64_t seq);

/* The runs of seqs to look at, ascending: all of them, or those that can hold the query's times. */
#define QUERY_RANGES 256u
sl_status query_ranges(const sl_iter *it, snapshot *snap, uint64_t end, log_range *ranges, size_t *count);

/* SL_QUERY_NEWEST: fills it->newest. */
sl_status query_collect_newest(sl_iter *it);

/* What a scan reads of each event first. */
static inline log_part query_part(const sl_iter *it) {
  return !it->peek ? LOG_WHOLE : it->ids ? LOG_FRONT : LOG_NAMES;
}

/* Room for one more in the iterator? */
static inline bool query_full(const sl_iter *it) {
  return it->looks >= QUERY_LOOKS || it->bytes >= QUERY_BYTES ||
         (it->query.limit && it->returned + it->count >= it->query.limit);
}

#endif
