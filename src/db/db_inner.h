/* Inside db: the structures that its files share. Included by db*.c alone, which alone know LMDB. */
#ifndef SL_STORE_DB_INNER_H
#define SL_STORE_DB_INNER_H
#include "base/life.h"
#include "db/db.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct db_env {
  MDB_env *lmdb; /* NULL: closed by a reopen that failed */
  char *dir;
  db_table_def *defs;
  MDB_dbi *dbis;
  unsigned count;
  db_env_options options;
  sl_life life;         /* of the process that opened it */
  _Atomic int64_t look_due_us; /* when writers look for the dead */
  _Atomic int64_t file_due_us; /* when readers look whether the file is still there */
  _Atomic uint64_t slack_below;   /* pages; db_env_allow_slack */
  _Atomic uint64_t map_size;      /* as it is; options.map_size is what was wished */
  _Atomic bool removed;           /* as last seen: nothing is read any more */
  uint64_t dev, ino;              /* of the data file */
  uint64_t lock_dev, lock_ino;    /* of lock.mdb; 0: not known */
  int dir_fd;                     /* of its folder, whatever name that has by now; -1: it cannot be had */

  pthread_mutex_t lock; /* guards what follows, and lmdb itself against use during a reopen */
  pthread_cond_t idle;
  unsigned active;      /* transactions of this process */
  uint64_t opening;     /* how often it was opened again, or its map made anew */
  bool map_wished;      /* db_env_wish_map, and it has not been tried */
  bool poisoned;        /* LMDB refuses everything until it is closed and opened again */
  bool renewed;         /* poisoned because another file is there now, the data file or lock.mdb */
  bool outgrown;        /* another process uses more of the file than our map covers */
  db_txn *cached;       /* read transactions at rest */
  unsigned cached_count;
};

struct db_txn {
  db_env *env;
  MDB_txn *lmdb;
  db_txn *next;
  bool write, relaxed;
  sl_status status;
};

struct db_cur {
  db_txn *txn;
  MDB_cursor *lmdb;
  unsigned table;
};

/* The one mapper from LMDB's codes (and errno) to ours; `doing` names the step. */
sl_status db_fail(const db_env *env, int rc, const char *doing);
sl_status db_was_removed(const db_env *env); /* SL_E_MISMATCH, with its detail */
void db_note_files(db_env *env);             /* which ones LMDB has opened just now */
bool db_is_there(const db_env *env, bool *ours); /* is a data file at its path, and the one that is open? */
bool db_is_removed(const db_env *env);       /* as db_env_is_removed, for who is inside (db_enter) */
/* Is another lock.mdb in its place, or none? It has LMDB's writer lock and its reader table: whoever opens the
 * environment now does not know of us. It is to be opened again then. */
bool db_lock_is_removed(const db_env *env);
/* LMDB keeps the number of the newest transaction in lock.mdb, and believes it. Where data.mdb alone was put in another
 * one's place under processes that have the old one open, they and who opens the new one share that number: it is of the one
 * file, and false of the other. Is `newest`, as the transaction that has just begun read it, false of our file? */
bool db_is_adrift(MDB_env *lmdb, uint64_t newest, bool write);
sl_status db_is_shared(const db_env *env);   /* SL_E_MISMATCH, with what to do about that */
/* Both with its lock held and no transaction open. Opens it again, or makes its map anew, where that is due. */
sl_status db_recover(db_env *env);
/* Does what db_env_wish_map asked for. After a failure that took the old map away it is to be opened again. */
void db_grow_map(db_env *env);
/* Around each use of LMDB's environment. SL_E_FORKED; SL_E_IO: it is to be opened again and others stay in it. rested (may
 * be NULL): a read transaction at rest, if there is one. */
sl_status db_enter(db_env *env, db_txn **rested);
void db_leave(db_env *env, bool poisoned, bool outgrown); /* it takes no transaction any more; it is larger than our map */
/* A transaction that is not counted among the environment's: from db_begin_*, or for a look beside one. */
int db_begin_once(db_env *env, bool write, db_txn **txn);
void db_rest(db_txn *txn); /* ends a read transaction of db_begin_once; LMDB's is kept for the next */
uint64_t db_oldest_reader(db_env *env); /* the transaction that the oldest read transaction sees; UINT64_MAX: there is none */
/* Of every GATHER_EVERY-th write transaction, right after its begin: see db_gather.c. Not 0: it must be begun anew. */
int db_gather(db_env *env, MDB_txn *txn);
#endif
