/* Transactions: who comes and goes, so that an environment can be opened again when nobody is in it; those at rest. */
#include "db/db_inner.h"

#include "base/clock.h"
#include "db/db_file.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Each kept read transaction holds a slot of the shared reader table, so only a few are kept. */
#define CACHED_READS_MAX 8u
/* How long a begin waits for this process's other transactions before it gives up on a reopen. */
#define REOPEN_WAIT_US 500000
/* How often writers look for readers that were killed, */
#define LOOK_FOR_DEAD_US 5000000
/* and readers whether their file is still there: a system call or two. */
#define LOOK_FOR_FILE_US 1000000

/* -------------------------------------------------------- coming and going --- */

/* With the lock held. False: it is past `until` of the monotonic clock; the wall clock may jump. */
static bool wait_idle(db_env *env, int64_t until) {
#if defined(__APPLE__)
  const int64_t left = until - sl_clock_monotonic_us();
  if (left <= 0) return false;
  const struct timespec at = {.tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000) * 1000};
  return pthread_cond_timedwait_relative_np(&env->idle, &env->lock, &at) != ETIMEDOUT;
#else
  const struct timespec at = {.tv_sec = (time_t)(until / 1000000), .tv_nsec = (long)(until % 1000000) * 1000};
  return pthread_cond_timedwait(&env->idle, &env->lock, &at) != ETIMEDOUT;
#endif
}

static db_txn *take_cached(db_env *env) {
  db_txn *txn = env->cached;
  if (txn) {
    env->cached = txn->next;
    env->cached_count--;
  }
  return txn;
}

sl_status db_enter(db_env *env, db_txn **rested) {
  if (!sl_life_goes_on(&env->life))
    return sl_fail(SL_E_FORKED, "%s was opened by the parent process: open the store anew in the child",
                   env->dir);
  sl_status status = SL_OK;
  int64_t until = 0;
  pthread_mutex_lock(&env->lock);
  if (env->map_wished && env->active == 0 && !env->poisoned) db_grow_map(env);
  while (status == SL_OK && (env->poisoned || env->outgrown)) {
    if (env->active == 0) {
      status = db_recover(env);
      continue;
    }
    if (until == 0) until = sl_clock_monotonic_us() + REOPEN_WAIT_US;
    if (!wait_idle(env, until) && env->active > 0)
      status = sl_fail(SL_E_IO, "%s must be reopened after %s, but %u transactions of this process are still "
                       "open: end them and try again", env->dir,
                       env->renewed ? "another process made it anew" : env->poisoned ? "a failed write"
                       : "another process made it larger", env->active);
  }
  if (status == SL_OK) env->active++;
  if (status == SL_OK && rested) *rested = take_cached(env);
  pthread_mutex_unlock(&env->lock);
  return status;
}

/* With the lock held. */
static void depart(db_env *env) {
  if (--env->active == 0 && (env->poisoned || env->outgrown)) pthread_cond_broadcast(&env->idle);
}

void db_leave(db_env *env, bool poisoned, bool outgrown) {
  pthread_mutex_lock(&env->lock);
  env->poisoned |= poisoned;
  env->outgrown |= outgrown;
  depart(env);
  pthread_mutex_unlock(&env->lock);
}

/* ------------------------------------------------------------ begin, end --- */

/* With the lock held. False: enough are kept. */
static bool keep_cached(db_txn *txn) {
  db_env *env = txn->env;
  if (env->cached_count >= CACHED_READS_MAX) return false;
  txn->next = env->cached;
  env->cached = txn;
  env->cached_count++;
  return true;
}

/* counted: it is one of the environment's active ones. */
static void rest(db_txn *txn, bool counted) {
  db_env *env = txn->env;
  mdb_txn_reset(txn->lmdb);
  pthread_mutex_lock(&env->lock);
  const bool kept = keep_cached(txn);
  if (kept && counted) depart(env);
  pthread_mutex_unlock(&env->lock);
  if (kept) return;
  mdb_txn_abort(txn->lmdb);
  free(txn);
  if (counted) db_leave(env, false, false);
}

void db_rest(db_txn *txn) { rest(txn, false); }

/* txn: one at rest, or NULL. */
static int begin_once(db_env *env, bool write, db_txn *txn, db_txn **out) {
  int rc;
  if (txn) {
    rc = mdb_txn_renew(txn->lmdb);
    if (rc != 0) mdb_txn_abort(txn->lmdb);
  } else {
    txn = calloc(1, sizeof *txn);
    if (!txn) return ENOMEM;
    txn->env = env;
    txn->write = write;
    rc = mdb_txn_begin(env->lmdb, NULL, write ? 0 : MDB_RDONLY, &txn->lmdb);
  }
  if (rc != 0) {
    free(txn);
    return rc;
  }
  txn->status = SL_OK;
  *out = txn;
  return 0;
}

int db_begin_once(db_env *env, bool write, db_txn **out) {
  db_txn *rested = NULL;
  if (!write) {
    pthread_mutex_lock(&env->lock);
    rested = take_cached(env);
    pthread_mutex_unlock(&env->lock);
  }
  return begin_once(env, write, rested, out);
}

static bool is_due(_Atomic int64_t *due_us, int64_t every_us) {
  const int64_t now = sl_clock_monotonic_us();
  int64_t due = atomic_load_explicit(due_us, memory_order_relaxed);
  return now >= due && atomic_compare_exchange_strong(due_us, &due, now + every_us);
}

/* A reader that was killed inside a transaction keeps every page that was in use then, and the file grows with
 * each commit, until somebody looks for the dead. */
static void look_for_dead(db_env *env) {
  int dead;
  if (is_due(&env->look_due_us, LOOK_FOR_DEAD_US)) (void)mdb_reader_check(env->lmdb, &dead);
}

/* Of a transaction that has just begun: what is written into a file that was removed is lost, and what is read there is the
 * past. Writers look each time: within the writer lock, for which they may have waited long.
 * *parted: db_lock_is_removed, and nothing else is wrong. */
static sl_status check_file(db_env *env, const db_txn *txn, bool *parted) {
  if (env->options.disposable) return SL_OK;
  const bool adrift = db_is_adrift(env->lmdb, mdb_txn_id(txn->lmdb) - txn->write, txn->write);
  const bool look = adrift || txn->write || is_due(&env->file_due_us, LOOK_FOR_FILE_US);
  if (look) atomic_store(&env->removed, db_is_removed(env));
  if (atomic_load_explicit(&env->removed, memory_order_relaxed)) return db_was_removed(env);
  *parted = look && db_lock_is_removed(env);
  return adrift || *parted ? db_is_shared(env) : SL_OK;
}

/* As soon as no transaction of this process is open. */
static void open_again(db_env *env) {
  pthread_mutex_lock(&env->lock);
  env->poisoned = env->renewed = true;
  pthread_mutex_unlock(&env->lock);
}

static sl_status begin(db_env *env, bool write, db_txn **out) {
  for (int tries = 0;; tries++) {
    db_txn *rested = NULL, *txn;
    sl_status status = db_enter(env, write ? NULL : &rested);
    if (status != SL_OK) return status;
    if (write) look_for_dead(env);
    int rc = begin_once(env, write, rested, &txn);
    if (rc == 0 && write && db_gather(env, txn->lmdb) != 0) { /* no memory, no disk: it goes without */
      mdb_txn_abort(txn->lmdb);
      free(txn);
      rc = db_begin_once(env, true, &txn);
    }
    if (rc == 0) {
      bool parted = false;
      status = check_file(env, txn, &parted);
      if (status == SL_OK) *out = txn;
      if (status == SL_OK) return SL_OK;
      if (parted) open_again(env);
      db_abort(txn);
      if (!parted || tries >= 3) return status;
      continue;
    }
    if (rc == MDB_READERS_FULL) {
      int dead;
      (void)mdb_reader_check(env->lmdb, &dead); /* killed processes leave their slots taken */
    }
    db_leave(env, rc == MDB_PANIC, rc == MDB_MAP_RESIZED);
    if (tries >= 3 || (rc != MDB_READERS_FULL && rc != MDB_PANIC && rc != MDB_MAP_RESIZED))
      return db_fail(env, rc, write ? "beginning a write" : "beginning a read");
  }
}

sl_status db_begin_read(db_env *env, db_txn **txn) { return begin(env, false, txn); }

sl_status db_begin_write(db_env *env, bool relaxed, db_txn **txn) {
  sl_status status = begin(env, true, txn);
  if (status == SL_OK) (*txn)->relaxed = relaxed;
  return status;
}

void db_set_relaxed(db_txn *txn, bool relaxed) { txn->relaxed = relaxed; }
uint64_t db_txn_id(const db_txn *txn) { return mdb_txn_id(txn->lmdb); }

/* Its number, if what it sees is for sure what others of that number see; 0: not known. LMDB reads the newest number, and
 * then the head of the tree from that one's meta page, which the second commit behind it overwrites: who is stopped in
 * between sees a later tree than its number says. */
static uint64_t snapshot_of(const db_txn *txn) {
  MDB_envinfo info;
  atomic_thread_fence(memory_order_acquire);
  mdb_env_info(txn->env->lmdb, &info);
  const uint64_t id = mdb_txn_id(txn->lmdb);
  return info.me_last_txnid == id ? id : 0;
}

sl_status db_begin_kept(db_env *env, db_kept *kept, bool *same, db_txn **txn) {
  sl_status status = db_begin_read(env, txn);
  if (status != SL_OK) return status;
  const db_kept now = {snapshot_of(*txn), env->opening};
  *same = now.snapshot != 0 && now.snapshot == kept->snapshot && now.opening == kept->opening;
  *kept = now;
  return SL_OK;
}

sl_status db_txn_status(const db_txn *txn) { return txn->status; }

sl_status db_txn_fail(db_txn *txn, sl_status status) {
  if (txn->status == SL_OK) txn->status = status;
  return txn->status;
}

void db_abort(db_txn *txn) {
  if (!txn) return;
  db_env *env = txn->env;
  if (!txn->write) {
    rest(txn, true);
    return;
  }
  mdb_txn_abort(txn->lmdb);
  free(txn);
  db_leave(env, false, false);
}

/* Which step of a commit failed LMDB does not say. If it was the meta page, its environment takes no transaction any
 * more (MDB_PANIC). */
static bool is_poisoned(db_env *env) {
  MDB_txn *txn;
  const int rc = mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, &txn);
  if (rc == 0) mdb_txn_abort(txn);
  return rc != 0;
}

sl_status db_commit_certain(db_txn *txn, bool *uncertain) {
  db_env *env = txn->env;
  sl_status status = txn->status;
  *uncertain = false;
  if (!txn->write || status != SL_OK) {
    db_abort(txn);
    return status;
  }
  /* LMDB 0.9 takes no sync flags for a transaction (master does), only for the environment, and reads them
   * in the commit. The writer lock is ours until the commit is over, so nobody else's commit sees this. */
  mdb_env_set_flags(env->lmdb, MDB_NOMETASYNC, txn->relaxed);
  int rc = mdb_txn_commit(txn->lmdb);
  if (rc != 0) *uncertain = is_poisoned(env);
#if defined(F_FULLFSYNC)
  /* LMDB 0.9 flushes with fsync, which on Apple's systems stops at the drive's cache. */
  int fd;
  if (rc == 0 && !txn->relaxed && mdb_env_get_fd(env->lmdb, &fd) == 0 && db_file_flush(fd) != 0) {
    rc = errno;
    *uncertain = true;
  }
#endif
  free(txn);
  if (rc != 0) status = db_fail(env, rc, "committing");
  db_leave(env, rc == MDB_PANIC, false); /* a poisoned one is reopened by the next begin */
  return status;
}

sl_status db_commit(db_txn *txn) {
  bool uncertain;
  return db_commit_certain(txn, &uncertain);
}

