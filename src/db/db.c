#include "db/db_inner.h"

#include "base/clock.h"
#include "db/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Each kept read transaction holds a slot of the shared reader table, so only a few are kept. */
#define CACHED_READS_MAX 8u
/* How long a begin waits for this process's other transactions before it gives up on a reopen. */
#define REOPEN_WAIT_US 500000
/* A file that grows at each look by more than its map. */
#define MAP_GROWS_TRIES 100
/* How often writers look for readers that were killed, and whether their file is still there. */
#define LOOK_AROUND_US 5000000
/* An EIO on a disk with less room than this is a full disk (LMDB reports a short write as EIO). */
#define FULL_BELOW_BYTES (4u << 20)

/* ---------------------------------------------------------------- errors --- */

static bool disk_is_full(const db_env *env) {
  struct statvfs fs;
  return statvfs(env->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BELOW_BYTES;
}

/* The one mapper from LMDB's codes (and errno) to ours. */
sl_status db_fail(const db_env *env, int rc, const char *doing) {
  switch (rc) {
    case MDB_NOTFOUND:
      return SL_NOTFOUND;
    case MDB_MAP_FULL:
      return sl_fail(SL_E_FULL, "%s is full: %s needs more than its map of %" PRIu64 " bytes", env->dir,
                     doing, env->options.map_size);
    case MDB_TXN_FULL:
      return sl_fail(SL_E_TOO_LARGE, "%s: %s: too much for one commit; use smaller batches", env->dir, doing);
    case MDB_READERS_FULL:
      return sl_fail(SL_E_BUSY, "%s: all %u reader slots are taken by live processes: too many readers "
                     "at once", env->dir, env->options.max_readers);
    case MDB_VERSION_MISMATCH:
      return sl_fail(SL_E_VERSION, "%s was written by another version of LMDB: %s; nothing was touched",
                     env->dir, mdb_strerror(rc));
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_CURSOR_FULL:
    case MDB_INCOMPATIBLE:
      return sl_fail(SL_E_CORRUPT, "%s: %s: %s; run `sidelog verify`", env->dir, doing, mdb_strerror(rc));
    case MDB_KEYEXIST:
      return sl_fail(SL_E_INVALID, "%s: %s: keys are not in ascending order", env->dir, doing);
    case MDB_BAD_VALSIZE:
    case EINVAL:
      return sl_fail(SL_E_INVALID, "%s: %s: %s", env->dir, doing, mdb_strerror(rc));
    case EIO:
      if (disk_is_full(env))
        return sl_fail(SL_E_FULL, "%s: %s: the disk is full; make room on it", env->dir, doing);
      return sl_fail(SL_E_IO, "%s: %s: %s", env->dir, doing, mdb_strerror(rc));
    default: break;
  }
  if (rc < 0) return sl_fail(SL_E_IO, "%s: %s: %s", env->dir, doing, mdb_strerror(rc));
  sl_status status = sl_status_of_errno(rc);
  if (status == SL_E_FULL)
    return sl_fail(status, "%s: %s: the disk is full; make room on it", env->dir, doing);
  if (status == SL_E_ACCESS)
    return sl_fail(status, "%s: %s: %s. Every user of a store must be able to write to it, also to read",
                   env->dir, doing, mdb_strerror(rc));
  return sl_fail(status, "%s: %s: %s", env->dir, doing, mdb_strerror(rc));
}

/* ------------------------------------------------------------------ open --- */

static unsigned lmdb_flags(unsigned flags) {
  return (flags & DB_INTKEY ? MDB_INTEGERKEY : 0u) |
         (flags & (DB_DUPFIXED | DB_DUPINT) ? MDB_DUPSORT | MDB_DUPFIXED : 0u) |
         (flags & DB_DUPINT ? MDB_INTEGERDUP : 0u);
}

static int open_tables(db_env *env, unsigned txn_flags, unsigned dbi_flags) {
  MDB_txn *txn;
  int rc = mdb_txn_begin(env->lmdb, NULL, txn_flags, &txn);
  if (rc != 0) return rc;
  for (unsigned i = 0; rc == 0 && i < env->count; i++)
    rc = mdb_dbi_open(txn, env->defs[i].name, lmdb_flags(env->defs[i].flags) | dbi_flags, &env->dbis[i]);
  if (rc == 0) return mdb_txn_commit(txn); /* of a read transaction too: that is what keeps the handles */
  mdb_txn_abort(txn);
  return rc;
}

/* umask does not shape the files: a group member who runs with 077 would lock the others out. */
static void fix_mode(const char *dir, const char *name, uint32_t mode) {
  char path[4096];
  struct stat st;
  if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) return;
  /* By path, not through a descriptor: closing one of lock.mdb would drop LMDB's fcntl locks on it. */
  if (stat(path, &st) == 0 && (st.st_mode & 0777) != mode && st.st_uid == geteuid())
    (void)chmod(path, mode);
}

static void close_lmdb(db_env *env) {
  for (db_txn *txn = env->cached, *next; txn; txn = next) {
    next = txn->next;
    mdb_txn_abort(txn->lmdb);
    free(txn);
  }
  env->cached = NULL;
  env->cached_count = 0;
  mdb_env_close(env->lmdb);
  env->lmdb = NULL;
}

/* As LMDB 0.9 sizes it: a header, and 64 bytes for each reader. */
static sl_status reserve_lock_file(const db_env *env) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/lock.mdb", env->dir) >= sizeof path) return SL_OK;
  return db_file_reserve(path, (env->options.max_readers - 1) * UINT64_C(64) + 192, env->options.mode);
}

/* Opens LMDB's environment and all tables. The data file has been checked. */
static sl_status open_lmdb(db_env *env, bool create) {
  uint64_t map = env->options.map_size;
  int rc;
  sl_status status = reserve_lock_file(env);
  if (status != SL_OK) return status;
  for (;;) {
    rc = mdb_env_create(&env->lmdb);
    if (rc != 0) return db_fail(env, rc, "opening");
    mdb_env_set_mapsize(env->lmdb, map);
    mdb_env_set_maxreaders(env->lmdb, env->options.max_readers);
    mdb_env_set_maxdbs(env->lmdb, env->count + 1); /* one to spare: db_drop_others */
    /* LMDB 0.9.24 looks at errno after calls that succeeded. */
    errno = 0;
    /* No readahead at page faults: it is as large as the device says, and one look-up once read 80 MB by it. Who
     * reads in order asks ahead (log.c). */
    rc = mdb_env_open(env->lmdb, env->dir, MDB_NOTLS | MDB_NORDAHEAD, env->options.mode);
    if (rc == 0) break;
    mdb_env_close(env->lmdb); /* LMDB wants it after a failed open, too */
    env->lmdb = NULL;
    if (rc != ENOMEM || map / 2 < env->options.map_floor) return db_fail(env, rc, "opening");
    map /= 2; /* a limit on address space (ulimit -v, small machines): less room to grow, but it works */
  }
  int fd, dead;
  struct stat st;
  if (mdb_env_get_fd(env->lmdb, &fd) == 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (mdb_env_get_fd(env->lmdb, &fd) == 0 && fstat(fd, &st) == 0)
    env->dev = (uint64_t)st.st_dev, env->ino = (uint64_t)st.st_ino;
  mdb_reader_check(env->lmdb, &dead);
  rc = open_tables(env, MDB_RDONLY, 0);
  /* LMDB maps at least what the file holds, but another process may have made it hold more since. */
  for (int tries = 0; rc == MDB_MAP_RESIZED && tries < MAP_GROWS_TRIES; tries++) {
    rc = mdb_env_set_mapsize(env->lmdb, 0); /* 0: what that process made it */
    if (rc == 0) rc = open_tables(env, MDB_RDONLY, 0);
  }
  if (rc == MDB_NOTFOUND && create) rc = open_tables(env, 0, MDB_CREATE);
  if (rc == 0) return SL_OK;
  close_lmdb(env);
  if (rc == MDB_NOTFOUND) return sl_fail(SL_E_NO_STORE, "%s holds no complete store", env->dir);
  return db_fail(env, rc, "opening the tables");
}

static void free_env(db_env *env) {
  for (unsigned i = 0; env->defs && i < env->count; i++) free((char *)(uintptr_t)env->defs[i].name);
  free(env->defs);
  free(env->dbis);
  free(env->dir);
  if (sl_life_goes_on(&env->life)) { /* in a child, who sleeps on them does not exist, and destroying would wait */
    pthread_mutex_destroy(&env->lock);
    pthread_cond_destroy(&env->idle);
  }
  free(env);
}

static db_env *new_env(const char *dir, const db_table_def *defs, unsigned count,
                       const db_env_options *options) {
  db_env *env = calloc(1, sizeof *env);
  if (!env) return NULL;
  env->dir = strdup(dir);
  env->defs = calloc(count, sizeof *defs);
  env->dbis = calloc(count, sizeof *env->dbis);
  env->count = count;
  env->options = *options;
  env->life = sl_life_now();
  pthread_mutex_init(&env->lock, NULL);
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
  pthread_cond_init(&env->idle, &attr);
  pthread_condattr_destroy(&attr);
  bool ok = env->dir && env->defs && env->dbis;
  for (unsigned i = 0; ok && i < count; i++) {
    env->defs[i] = (db_table_def){strdup(defs[i].name), defs[i].flags}; /* for a reopen, and for details */
    ok = env->defs[i].name != NULL;
  }
  if (ok) return env;
  free_env(env);
  return NULL;
}

static sl_status make_dir(const db_env *env) {
  uint32_t mode = env->options.mode | (env->options.mode & 0444) >> 2;
  struct stat st;
  if (mkdir(env->dir, mode) == 0) {
    /* The set-group-id bit comes from the store's folder: it gives new files the store's group. */
    if (stat(env->dir, &st) == 0 && chmod(env->dir, mode | (st.st_mode & S_ISGID)) == 0) return SL_OK;
  } else if (errno == EEXIST) {
    return SL_OK;
  }
  return sl_fail(sl_status_of_errno(errno), "%s cannot be created: %s", env->dir, strerror(errno));
}

sl_status db_env_open(const char *dir, const db_table_def *defs, unsigned count,
                      const db_env_options *options, db_env **out) {
  db_env *env = new_env(dir, defs, count, options);
  char path[4096];
  if (!env) return sl_fail(SL_E_NOMEM, "%s: out of memory", dir);
  if ((size_t)snprintf(path, sizeof path, "%s/data.mdb", dir) >= sizeof path) {
    free_env(env);
    return sl_fail(SL_E_INVALID, "%s: the path is too long", dir);
  }
  db_file_state state = DB_FILE_ABSENT;
  sl_status status = options->create ? make_dir(env) : SL_OK;
  if (status == SL_OK) status = db_file_check(path, &state);
  /* A file that is being made looks empty or foreign for a moment. So both are only believed of one that nobody
   * makes: truncated under its maker, it would end that process with SIGBUS. */
  int guard = -1;
  if (status == SL_E_CORRUPT || (status == SL_OK && state != DB_FILE_PRESENT && options->create)) {
    guard = db_file_guard(dir);
    state = DB_FILE_ABSENT;
    status = db_file_check(path, &state);
  }
  if (status == SL_OK && state != DB_FILE_PRESENT && !options->create)
    status = sl_fail(SL_E_NO_STORE, "%s: there is no store", dir);
  /* Zeros left by a power cut during creation; LMDB takes a file for new only when it is empty. */
  if (status == SL_OK && state == DB_FILE_EMPTY && truncate(path, 0) != 0)
    status = sl_fail(sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  if (status == SL_OK) {
    status = open_lmdb(env, options->create);
    /* No room even for the two meta pages: a part of them would be taken for a damaged store next time. */
    if (status != SL_OK && state == DB_FILE_ABSENT && options->create && status != SL_E_ACCESS) {
      db_file_state now;
      if (db_file_check(path, &now) != SL_OK) (void)unlink(path);
    }
  }
  if (guard >= 0) close(guard);
  if (status != SL_OK) {
    free_env(env);
    return status;
  }
  fix_mode(dir, "data.mdb", options->mode);
  fix_mode(dir, "lock.mdb", options->mode);
  if (state != DB_FILE_PRESENT) status = db_file_sync_dir(dir);
  if (status != SL_OK) db_env_close(env);
  else *out = env;
  return status;
}

void db_env_close(db_env *env) {
  if (!env) return;
  if (!sl_life_goes_on(&env->life)) {
    /* In a forked child. Ending the resting read transactions would write to the parent's slots of the shared
     * reader table, so their memory is left; closing the rest touches only what belongs to this process. */
    if (env->lmdb) mdb_env_close(env->lmdb);
    for (db_txn *txn = env->cached, *next; txn; txn = next) {
      next = txn->next;
      free(txn);
    }
  } else if (env->lmdb) {
    close_lmdb(env);
  }
  free_env(env);
}

/* ----------------------------------------------------------- removed files --- */

static bool file_at_path(const db_env *env, struct stat *st) {
  char path[4096];
  snprintf(path, sizeof path, "%s/data.mdb", env->dir); /* it was opened: it is not too long */
  return stat(path, st) == 0;
}

static bool is_ours(const db_env *env, const struct stat *st) {
  return (uint64_t)st->st_dev == env->dev && (uint64_t)st->st_ino == env->ino;
}

static sl_status was_removed(const db_env *env) {
  return sl_fail(SL_E_MISMATCH, "%s/data.mdb was removed or replaced while this process had it open, and nobody would find "
                 "what it writes there: close the store and open it anew", env->dir);
}

bool db_env_is_removed(db_env *env) {
  struct stat st;
  int fd;
  pthread_mutex_lock(&env->lock);
  const bool removed = env->lmdb && mdb_env_get_fd(env->lmdb, &fd) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0;
  pthread_mutex_unlock(&env->lock);
  return removed;
}

void db_env_renew(db_env *env) {
  struct stat st;
  if (!db_env_is_removed(env) || !file_at_path(env, &st)) return;
  pthread_mutex_lock(&env->lock);
  if (!is_ours(env, &st)) env->poisoned = env->renewed = true;
  pthread_mutex_unlock(&env->lock);
}

/* -------------------------------------------------------- coming and going --- */

/* With the lock held and no transaction open. */
static sl_status recover(db_env *env) {
  if (env->poisoned) {
    struct stat st;
    /* What is there may be another store's by now. */
    if (!file_at_path(env, &st) || (!is_ours(env, &st) && !env->options.disposable)) return was_removed(env);
    if (env->lmdb) close_lmdb(env);
    sl_status status = open_lmdb(env, false);
    if (status != SL_OK)
      return sl_fail_context(status, env->renewed ? "reopening what was made anew" : "reopening after a failed write");
  } else if (env->outgrown) {
    int rc = mdb_env_set_mapsize(env->lmdb, 0); /* 0: what the other process made it */
    if (rc != 0) {
      env->poisoned = true; /* LMDB has unmapped it already */
      return db_fail(env, rc, "growing the map");
    }
  }
  env->poisoned = env->renewed = env->outgrown = false;
  env->opening++;
  return SL_OK;
}

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

/* rested (may be NULL): a read transaction at rest, if there is one. */
static sl_status enter(db_env *env, db_txn **rested) {
  if (!sl_life_goes_on(&env->life))
    return sl_fail(SL_E_FORKED, "%s was opened by the parent process: open the store anew in the child",
                   env->dir);
  sl_status status = SL_OK;
  int64_t until = 0;
  pthread_mutex_lock(&env->lock);
  while (status == SL_OK && (env->poisoned || env->outgrown)) {
    if (env->active == 0) {
      status = recover(env);
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

static void leave(db_env *env, bool poisoned, bool outgrown) {
  pthread_mutex_lock(&env->lock);
  env->poisoned |= poisoned;
  env->outgrown |= outgrown;
  depart(env);
  pthread_mutex_unlock(&env->lock);
}

sl_status db_env_sync(db_env *env) {
  sl_status status = enter(env, NULL);
  if (status != SL_OK) return status;
  int fd;
  int rc = mdb_env_get_fd(env->lmdb, &fd);
  if (rc == 0 && db_file_flush(fd) != 0) rc = errno;
  leave(env, false, false);
  return rc == 0 ? SL_OK : db_fail(env, rc, "flushing");
}

sl_status db_env_copy(db_env *env, const char *path) {
  sl_status status = enter(env, NULL);
  if (status != SL_OK) return status;
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)env->options.mode);
  int rc = fd < 0 ? errno : mdb_env_copyfd2(env->lmdb, fd, MDB_CP_COMPACT);
  if (rc == 0 && db_file_flush(fd) != 0) rc = errno;
  if (fd >= 0) close(fd);
  status = rc == 0 ? SL_OK : db_fail(env, rc, "copying");
  if (rc != 0 && fd >= 0) (void)unlink(path);
  leave(env, false, false);
  return status;
}

sl_status db_env_check_readers(db_env *env) {
  sl_status status = enter(env, NULL);
  if (status != SL_OK) return status;
  int dead;
  int rc = mdb_reader_check(env->lmdb, &dead);
  leave(env, false, false);
  return rc == 0 ? SL_OK : db_fail(env, rc, "checking readers");
}

typedef struct reader_tally { uint64_t readers, oldest; } reader_tally;

/* LMDB lists readers as text only: "pid thread transaction", "-" for the last when the slot is at rest. */
static int tally_reader(const char *line, void *arg) {
  reader_tally *tally = arg;
  int pid;
  size_t thread, txn;
  if (sscanf(line, "%d %zx %zu", &pid, &thread, &txn) != 3) return 0;
  tally->readers++;
  if (tally->oldest == 0 || txn < tally->oldest) tally->oldest = txn;
  return 0;
}

uint64_t db_oldest_reader(db_env *env) {
  reader_tally tally = {0};
  mdb_reader_list(env->lmdb, tally_reader, &tally);
  return tally.readers ? tally.oldest : UINT64_MAX;
}

sl_status db_env_info_get(db_env *env, db_env_info *info) {
  sl_status status = enter(env, NULL);
  if (status != SL_OK) return status;
  MDB_envinfo e;
  MDB_stat stat;
  reader_tally tally = {0};
  mdb_env_info(env->lmdb, &e);
  mdb_env_stat(env->lmdb, &stat);
  mdb_reader_list(env->lmdb, tally_reader, &tally);
  leave(env, false, false);
  *info = (db_env_info){.page_size = stat.ms_psize, .map_size = e.me_mapsize, .last_page = e.me_last_pgno,
                        .last_txn = e.me_last_txnid, .readers = tally.readers};
  if (tally.oldest && tally.oldest < e.me_last_txnid) info->reader_lag = e.me_last_txnid - tally.oldest;
  return SL_OK;
}

/* ---------------------------------------------------------- transactions --- */

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
  if (counted) leave(env, false, false);
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

/* A reader that was killed inside a transaction keeps every page that was in use then, and the file grows with
 * each commit, until somebody looks for the dead. And what is written into a file that was removed is lost. */
static void look_around(db_env *env) {
  const int64_t now = sl_clock_monotonic_us();
  int64_t due = atomic_load_explicit(&env->look_due_us, memory_order_relaxed);
  int dead;
  if (now < due || !atomic_compare_exchange_strong(&env->look_due_us, &due, now + LOOK_AROUND_US)) return;
  (void)mdb_reader_check(env->lmdb, &dead);
  if (!env->options.disposable && db_env_is_removed(env)) atomic_store(&env->removed, true);
}

static sl_status begin(db_env *env, bool write, db_txn **out) {
  for (int tries = 0;; tries++) {
    db_txn *rested = NULL;
    sl_status status = enter(env, write ? NULL : &rested);
    if (status != SL_OK) return status;
    if (write) look_around(env);
    if (write && atomic_load_explicit(&env->removed, memory_order_relaxed)) {
      leave(env, false, false);
      return was_removed(env);
    }
    int rc = begin_once(env, write, rested, out);
    if (rc == 0 && write && db_gather(env, (*out)->lmdb) != 0) { /* no memory, no disk: it goes without */
      mdb_txn_abort((*out)->lmdb);
      free(*out);
      rc = db_begin_once(env, true, out);
    }
    if (rc == 0) return SL_OK;
    if (rc == MDB_READERS_FULL) {
      int dead;
      (void)mdb_reader_check(env->lmdb, &dead); /* killed processes leave their slots taken */
    }
    leave(env, rc == MDB_PANIC, rc == MDB_MAP_RESIZED);
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
  leave(env, false, false);
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
  leave(env, rc == MDB_PANIC, false); /* a poisoned one is reopened by the next begin */
  return status;
}

sl_status db_commit(db_txn *txn) {
  bool uncertain;
  return db_commit_certain(txn, &uncertain);
}

