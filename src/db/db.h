/* The one door to LMDB: the db*.c files alone include <lmdb.h>. They turn LMDB's codes into ours with the name of the
 * thing that failed, keep the transaction's first error (sticky: later operations are no-ops and commit
 * becomes abort, so callers read as straight lines), and hold the traps of LMDB in one place:
 * reader tables, map size, poisoned environments, pid checks. */
#ifndef SL_STORE_DB_H
#define SL_STORE_DB_H
#include "base/base.h"

typedef struct db_env db_env;
typedef struct db_txn db_txn;
typedef struct db_cur db_cur;

/* How a table's keys and values are laid out. The tables of an environment are fixed when it is opened and
 * all their handles are opened then, once: no handle is ever closed while the environment is open (a reader
 * that kept a handle over mdb_drop+close read another table's data; so generations live in fixed slots that
 * are emptied, never closed). */
typedef struct db_table_def {
  const char *name; /* NULL: the table in which LMDB keeps the heads of the others; without flags, for a small value that
                     * changes with every commit, as they do: there it costs no page of its own */
  enum {
    DB_INTKEY = 1u << 0,  /* keys are native uint64_t */
    DB_DUPFIXED = 1u << 1, /* many values a key, sorted, all of one size */
    DB_DUPINT = 1u << 2,  /* those values are native uint32_t or uint64_t */
    DB_TAIL = 1u << 3     /* with DB_INTKEY: keys come at its end; db_gather.c keeps its last pages together */
  } flags;
} db_table_def;

typedef struct db_env_options {
  uint64_t map_size;     /* wished; halved on ENOMEM down to map_floor */
  uint64_t map_floor;
  unsigned max_readers;
  uint32_t mode;         /* of its files, e.g. 0600 */
  bool create;           /* create folder, files and tables; else SL_E_NO_STORE */
  bool disposable;       /* others may remove it and make it anew: see db_env_renew */
} db_env_options;

/* Opens the environment in folder `dir`. Refuses a data file shorter than its meta page says
 * (SL_E_CORRUPT), checks for dead readers. Table i of `defs` is then named by its index i.
 * Never MDB_WRITEMAP, MDB_MAPASYNC, MDB_NOSYNC. */
sl_status db_env_open(const char *dir, const db_table_def *defs, unsigned count,
                      const db_env_options *options, db_env **env);
void db_env_close(db_env *env);                 /* NULL is fine. In a forked child: frees, touches no file */
sl_status db_env_sync(db_env *env);             /* flush what relaxed commits left */
/* Copies it without its free pages to the file `path` (replaced if there), flushed. Needs room for what is in use. */
sl_status db_env_copy(db_env *env, const char *path);
/* The file may grow to this many pages to keep free pages together (db_gather.c); 0, as at first: never for that. */
void db_env_allow_slack(db_env *env, uint64_t pages);
/* A number for the data file, as it was opened: that of another file is another. */
uint64_t db_env_file(const db_env *env);
/* Bytes of the file that this process can use. */
uint64_t db_env_map_size(db_env *env);
/* The map becomes so large as soon as no transaction of this process is open; where address space is short it stays as it
 * is. Nothing, where it is that large. */
void db_env_wish_map(db_env *env, uint64_t bytes);
sl_status db_env_check_readers(db_env *env);    /* frees slots of dead processes */

/* A data file that is removed or replaced under an open environment takes commits that nobody will ever see. So writes
 * fail with SL_E_MISMATCH then, and within a second reads, which would be of the past; an environment that has to be reopened
 * after a failed write is not reopened with another file; and where data.mdb alone was replaced, so that its reader table is
 * shared with those who have the old one, it is not opened. Where lock.mdb alone is gone,
 * the environment is opened again before the next write. One that is `disposable` goes on with its old files,
 * until: */
bool db_env_is_removed(db_env *env);
/* Where another file stands in the place of the one that was removed, be it lock.mdb, the next transaction begins
 * on that one. No transaction of the calling thread may be open, and the new file must be complete. */
void db_env_renew(db_env *env);

typedef struct db_env_info {
  uint64_t page_size, map_size;
  uint64_t last_page;     /* highest page in use: (last_page + 1) * page_size is the file's high-water mark */
  uint64_t last_txn;
  uint64_t readers;       /* read transactions open now */
  uint64_t reader_lag;    /* last_txn minus the oldest reader's transaction; 0: none */
} db_env_info;
sl_status db_env_info_get(db_env *env, db_env_info *info);

/* Transactions. A read transaction is a snapshot; keep it short (<= 2,000 events or a few ms).
 * A write transaction holds the environment's writer lock. Threads: each transaction stays in its thread. */
sl_status db_begin_read(db_env *env, db_txn **txn);
sl_status db_begin_write(db_env *env, bool relaxed, db_txn **txn);
/* Which snapshot something is of that was read and is kept, places in the map included. Zeroed: nothing is kept. */
typedef struct db_kept { uint64_t snapshot, opening; } db_kept;
/* As db_begin_read. *same: what is kept is of this very snapshot, and holds. Else *kept is of this one now: load anew what
 * is kept, and zero *kept if that fails. */
sl_status db_begin_kept(db_env *env, db_kept *kept, bool *same, db_txn **txn);
void db_set_relaxed(db_txn *txn, bool relaxed); /* of a write transaction, up to its commit */
uint64_t db_txn_id(const db_txn *txn);
sl_status db_txn_status(const db_txn *txn);     /* the sticky error, SL_OK if none */
sl_status db_txn_fail(db_txn *txn, sl_status status); /* sets it (first one stays); returns it */
/* Ends it in every case. A failed meta write poisons LMDB's environment: db_txn.c then reopens it before the
 * next transaction. SL_E_FULL for ENOSPC, EDQUOT, MDB_MAP_FULL, and EIO where the disk is full. */
sl_status db_commit(db_txn *txn);
/* The same; after a failure *uncertain tells whether it may have happened all the same: the meta page, which names the
 * pages that were flushed before, could not be written. */
sl_status db_commit_certain(db_txn *txn, bool *uncertain);
void db_abort(db_txn *txn);                     /* NULL is fine */

/* Values point into the map and are valid until the transaction ends (read) or its next write (write). */
sl_status db_get(db_txn *txn, unsigned table, sl_slice key, sl_slice *value);      /* SL_NOTFOUND (not sticky) */
sl_status db_put(db_txn *txn, unsigned table, sl_slice key, sl_slice value);       /* replaces; adds for DUPFIXED */
sl_status db_append(db_txn *txn, unsigned table, sl_slice key, sl_slice value);    /* key above all others */
/* As db_append, but returns where to write `len` bytes (valid until the next write). */
sl_status db_append_reserve(db_txn *txn, unsigned table, sl_slice key, size_t len, void **where);
sl_status db_del(db_txn *txn, unsigned table, sl_slice key);                       /* SL_NOTFOUND (not sticky) */
sl_status db_empty(db_txn *txn, unsigned table);                                   /* all entries, at once */
/* Removes the tables of the file that are none of this environment's: what an older layout left. */
sl_status db_drop_others(db_txn *txn);
sl_status db_count(db_txn *txn, unsigned table, uint64_t *entries);
/* Pages of the file up to the newest commit's high-water mark, free ones included. Cheap. */
sl_status db_high_water(db_txn *txn, uint64_t *pages, uint64_t *page_size);
/* Of them those in use: of the environment's tables (the file must have no others), of the list of tables, of the free list.
 * The rest is on the free list. Cheap; in a write transaction as of now. */
sl_status db_used_pages(db_txn *txn, uint64_t *pages);

/* Cursors end with db_cur_close, before their transaction does. */
sl_status db_cur_open(db_txn *txn, unsigned table, db_cur **cur);
void db_cur_close(db_cur *cur);
typedef enum db_move {
  DB_FIRST, DB_LAST, DB_NEXT, DB_PREV,
  DB_SEEK,        /* first key >= *key */
  DB_FIND,        /* exactly *key, its first value */
  DB_NEXT_VALUE,  /* next value of the same key; SL_NOTFOUND after the last */
  DB_NEXT_KEY,    /* first value of the next key */
  DB_SEEK_VALUE,  /* key exactly *key, first value >= *value */
  DB_LAST_VALUE   /* last value of the current key */
} db_move;
/* key and value are in/out as the move needs. SL_NOTFOUND is not sticky. */
sl_status db_cur_move(db_cur *cur, db_move move, sl_slice *key, sl_slice *value);
sl_status db_cur_del(db_cur *cur);              /* the entry it stands on */
sl_status db_cur_put(db_cur *cur, sl_slice key, sl_slice value); /* as db_put; cheap where it stands near already */
/* Append in key order, values in order (bulk load); same: it is the last key of the table. */
sl_status db_cur_put_sorted(db_cur *cur, sl_slice key, sl_slice value, bool same);

static inline sl_slice db_u64(const uint64_t *v) { return (sl_slice){v, sizeof *v}; }
#endif
