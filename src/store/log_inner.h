/* What the files of the log share: log.c (open, views), log_create.c, log_times.c, append.c, quota.c, trim.c,
 * dict.c. Nobody else includes it. */
#ifndef SL_STORE_LOG_INNER_H
#define SL_STORE_LOG_INNER_H
#include "store/dict.h"
#include "store/log.h"
#include "store/slots.h"
#include "store/space.h"

#include <stdatomic.h>

enum { LOG_EVENTS, LOG_META, LOG_DICT_IDS, LOG_DICT_NAMES, LOG_HEADS, LOG_TABLES };
extern const db_table_def log_tables[LOG_TABLES];

/* Entries of table `meta` by their names. */
#define LOG_KEY_FORMAT SL_STR("format")   /* u32: SL_FORMAT_VERSION of the writer */
#define LOG_KEY_STORE SL_STR("store")     /* 16 bytes of identity, then i64: created, microseconds */
#define LOG_KEY_HEAD SL_STR("head")       /* log_meta, LOG_META_SIZE bytes */
#define LOG_KEY_FULL SL_STR("full")       /* what to do when the store is full: space.c; missing: refuse */
#define LOG_KEY_ERAS SL_STR("eras")       /* u64 each: the first seq of each era, ascending; the first is 1 */

/* In LOG_HEADS, beside the heads of the tables. */
#define LOG_KEY_TICKETS SL_STR("tickets") /* of the last group commit through each slot: commit.c */

/* Changed by trim, by drops, by options and by replays, never by a plain append. */
typedef struct log_meta {
  uint64_t first_seq, trimmed, copies, quota;
  uint64_t flags; /* LOG_RELAXED, LOG_TIGHT */
  uint64_t drops; /* tombstones ever made; written when there are any, so others read as they always did */
} log_meta;
#define LOG_META_SIZE 40u
#define LOG_META_DROPS_SIZE 48u
/* The format of a store in which events may be dropped: an older sidelog must not touch it. */
#define LOG_FORMAT_DROPS 2u
#define LOG_DEFAULT_QUOTA (UINT64_C(10) << 30)
#define LOG_TIGHT 2u   /* the disk was full, the ballast is spent: the file must not grow, and keeps free pages */
#define LOG_RELAXED 1u /* some process opened the store to append without a flush of the meta page */

typedef struct sl_quota {
  pthread_mutex_t lock;
  uint64_t txn, used;     /* pages in use when this write transaction began */
} sl_quota;

/* What the last look of a trim with ages of topics found: everything below `upto` stays until `next_us`. */
typedef struct trim_memo {
  pthread_mutex_t lock;
  uint64_t ages;          /* hash of them; 0: nothing known */
  uint64_t upto;
  int64_t next_us;
} trim_memo;

struct sl_log {
  db_env *env;
  sl_dict *dict;
  sl_quota quota;
  trim_memo memo;
  space_memo drops;
  _Atomic uint64_t room_made; /* rounds of space_make_room that made some */
  slots *slots;   /* NULL: each append commits alone */
  _Atomic(log_view *) spare; /* memory of a view that was closed, and what it had read of its snapshot */
};

sl_status log_meta_read(db_txn *txn, log_meta *meta);
sl_status log_meta_write(db_txn *txn, const log_meta *meta);

/* Is there a complete log, of a version we read? Changes nothing. SL_E_NO_STORE: none, or unfinished. */
sl_status log_peek(const sl_store *store, const char *dir, uint64_t *quota);
/* Makes the log of a new store complete in an environment whose tables are there; harmless if another
 * process was faster. */
sl_status log_create(sl_store *store, db_env *env, const char *dir);

/* The newest record of this transaction: its seq and clamped time; seq 0: the log is empty. */
sl_status log_newest(db_txn *txn, uint64_t *seq, int64_t *clamped_us);
/* The newest seq right now. */
sl_status log_last_seq(sl_store *store, uint64_t *seq);

/* ---- eras (log_times.c) ---- */

/* Copies the eras' first seqs; free() *eras. At least one. */
sl_status log_eras_read(db_txn *txn, uint64_t **eras, size_t *count);
/* A new era begins at `seq`. */
sl_status log_era_begin(db_txn *txn, uint64_t seq);
/* Forgets eras that end before first_seq. */
sl_status log_eras_prune(db_txn *txn, uint64_t first_seq);

typedef struct log_era {
  uint64_t first, last;  /* seqs that can be in it, those kept */
  int64_t bound_us;      /* events of it were appended before this: a later era's first time; INT64_MAX: none */
} log_era;
/* The eras that still hold records. free() *eras. */
sl_status log_view_eras(log_view *view, log_era **eras, size_t *count);

/* ---- quota (quota.c) ---- */

/* May `pages` more be taken in this write transaction, which was granted some before? SL_E_FULL, with a detail. */
sl_status quota_check(sl_store *store, db_txn *txn, const log_meta *meta, uint64_t granted, uint64_t pages);
/* Pages that a record of `len` bytes takes at most. */
uint64_t quota_pages_of(size_t len);
/* Of a quota, what appends leave to trim: it writes before it frees. */
uint64_t quota_reserve(uint64_t quota);
/* The map that a log of this quota gets: address space, not memory. */
uint64_t log_map_for(uint64_t quota);
/* The store's quota, or what this process's map allows where that is less. */
uint64_t quota_limit(const sl_log *log, uint64_t quota);

/* As log_remove, with the number that were really there. */
sl_status log_remove_counted(sl_store *store, const uint64_t *seqs, size_t count, uint64_t *removed);

#endif
