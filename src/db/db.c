#include "db/db_inner.h"

#include "db/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* A file that grows at each look by more than its map. */
#define MAP_GROWS_TRIES 100
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
                     doing, atomic_load(&env->map_size));
    case MDB_TXN_FULL:
      return sl_fail(SL_E_TOO_LARGE, "%s: %s: too much for one commit; use smaller batches", env->dir, doing);
    case MDB_READERS_FULL:
      return sl_fail(SL_E_BUSY, "%s: all %u reader slots are taken by live processes: too many readers "
                     "at once", env->dir, env->options.max_readers);
    case MDB_BAD_RSLOT: /* POSIX locks end when any descriptor of the file is closed */
      return sl_fail(SL_E_IO, "%s: others take this process for dead, as it has opened and closed lock.mdb itself "
                     "(to copy the store?): close the store and open it anew, and let another process copy it",
                     env->dir);
    case EAGAIN: /* each process has a byte of lock.mdb locked, by its number */
      return sl_fail(SL_E_UNSUPPORTED, "%s: a process of another pid namespace, with the number of this one "
                     "(%ld), has it open: containers that share a store must share their pid namespace, too",
                     env->dir, (long)getpid());
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

/* Of one that an environment which was opened again may have made: it is for those who can use the data file. */
static void fix_lock_file(const db_env *env) {
  int fd;
  struct stat data, st;
  fix_mode(env->dir, "lock.mdb", env->options.mode);
  if (geteuid() != 0 || env->dir_fd < 0 || mdb_env_get_fd(env->lmdb, &fd) != 0 || fstat(fd, &data) != 0 ||
      fstatat(env->dir_fd, "lock.mdb", &st, AT_SYMLINK_NOFOLLOW) != 0)
    return;
  if (S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == 0 && st.st_uid != data.st_uid &&
      fchownat(env->dir_fd, "lock.mdb", data.st_uid, data.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    errno = 0; /* as in store_fs.c: best effort */
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

static void note_map(db_env *env) {
  MDB_envinfo info;
  mdb_env_info(env->lmdb, &info);
  atomic_store(&env->map_size, info.me_mapsize);
}

static void open_dir(db_env *env) {
  if (env->dir_fd >= 0) close(env->dir_fd);
  env->dir_fd = open(env->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Only the writer lock shows a file that is ahead of the number from a commit under way. 0, MDB_BAD_TXN: it is adrift. */
static int look_adrift(db_env *env) {
  int rc = 0;
  for (int write = 0; rc == 0 && write < 2; write++) {
    MDB_envinfo info;
    MDB_txn *txn;
    rc = mdb_txn_begin(env->lmdb, NULL, write ? 0 : MDB_RDONLY, &txn);
    if (rc != 0) return rc == MDB_MAP_RESIZED ? 0 : rc;
    const uint64_t newest = mdb_txn_id(txn) - (uint64_t)write;
    const bool adrift = db_is_adrift(env->lmdb, newest, write);
    mdb_env_info(env->lmdb, &info);
    mdb_txn_abort(txn);
    if (adrift) rc = MDB_BAD_TXN;
    if (info.me_last_txnid == newest) break;
  }
  return rc;
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
  if (mdb_env_get_fd(env->lmdb, &fd) == 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  open_dir(env);
  db_note_files(env);
  mdb_reader_check(env->lmdb, &dead);
  if (!env->options.disposable && look_adrift(env) == MDB_BAD_TXN) {
    close_lmdb(env);
    return db_is_shared(env);
  }
  rc = open_tables(env, MDB_RDONLY, 0);
  /* LMDB maps at least what the file holds, but another process may have made it hold more since. */
  for (int tries = 0; rc == MDB_MAP_RESIZED && tries < MAP_GROWS_TRIES; tries++) {
    rc = mdb_env_set_mapsize(env->lmdb, 0); /* 0: what that process made it */
    if (rc == 0) rc = open_tables(env, MDB_RDONLY, 0);
  }
  if (rc == MDB_NOTFOUND && create) rc = open_tables(env, 0, MDB_CREATE);
  note_map(env);
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
  if (env->dir_fd >= 0) close(env->dir_fd);
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
  env->dir_fd = -1;
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
    if (!defs[i].name) continue;
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

/* --------------------------------------------------------------- opened again --- */

sl_status db_recover(db_env *env) {
  if (env->poisoned) {
    bool ours;
    const bool there = db_is_there(env, &ours);
    if (!there && env->renewed && env->lmdb) { /* it has gone, too, and nothing is wrong with the old one */
      env->poisoned = env->renewed = false;
      return SL_OK;
    }
    /* What is there may be another store's by now. */
    if (!there || (!ours && !env->options.disposable)) return db_was_removed(env);
    if (env->lmdb) close_lmdb(env);
    sl_status status = open_lmdb(env, false);
    if (status == SL_OK) fix_lock_file(env);
    if (status != SL_OK)
      return sl_fail_context(status, env->renewed ? "reopening what was made anew" : "reopening after a failed write");
  } else if (env->outgrown) {
    int rc = mdb_env_set_mapsize(env->lmdb, 0); /* 0: what the other process made it */
    if (rc != 0) {
      env->poisoned = true; /* LMDB has unmapped it already */
      return db_fail(env, rc, "growing the map");
    }
    note_map(env);
  }
  env->poisoned = env->renewed = env->outgrown = false;
  env->opening++;
  return SL_OK;
}

uint64_t db_env_map_size(db_env *env) { return atomic_load_explicit(&env->map_size, memory_order_relaxed); }

void db_env_wish_map(db_env *env, uint64_t bytes) {
  if (bytes <= db_env_map_size(env)) return;
  pthread_mutex_lock(&env->lock);
  if (bytes > env->options.map_size) {
    env->options.map_size = bytes;
    env->map_wished = true;
  }
  pthread_mutex_unlock(&env->lock);
}

void db_grow_map(db_env *env) {
  const size_t more = env->options.map_size - db_env_map_size(env);
  env->map_wished = false;
  /* LMDB gives its old map up before it asks for the new one. */
  void *room = mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return;
  munmap(room, more);
  env->poisoned = mdb_env_set_mapsize(env->lmdb, env->options.map_size) != 0;
  if (env->poisoned) return;
  note_map(env);
  env->opening++;
}

sl_status db_env_sync(db_env *env) {
  sl_status status = db_enter(env, NULL);
  if (status != SL_OK) return status;
  int fd;
  int rc = mdb_env_get_fd(env->lmdb, &fd);
  if (rc == 0 && db_file_flush(fd) != 0) rc = errno;
  db_leave(env, false, false);
  return rc == 0 ? SL_OK : db_fail(env, rc, "flushing");
}

sl_status db_env_copy(db_env *env, const char *path) {
  sl_status status = db_enter(env, NULL);
  if (status != SL_OK) return status;
  (void)unlink(path); /* a link in its place is replaced, not followed */
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)env->options.mode);
  int rc = fd < 0 ? errno : mdb_env_copyfd2(env->lmdb, fd, MDB_CP_COMPACT);
  if (rc == 0 && db_file_flush(fd) != 0) rc = errno;
  if (fd >= 0) close(fd);
  status = rc == 0 ? SL_OK : db_fail(env, rc, "copying");
  if (rc != 0 && fd >= 0) (void)unlink(path);
  db_leave(env, false, false);
  return status;
}

sl_status db_env_check_readers(db_env *env) {
  sl_status status = db_enter(env, NULL);
  if (status != SL_OK) return status;
  int dead;
  int rc = mdb_reader_check(env->lmdb, &dead);
  db_leave(env, false, false);
  return rc == 0 ? SL_OK : db_fail(env, rc, "checking readers");
}

typedef struct reader_tally { uint64_t readers, oldest; } reader_tally;

/* LMDB lists readers as text only: "pid thread transaction", "-" for the last when the slot is at rest. */
static int tally_reader(const char *line, void *arg) {
  reader_tally *tally = arg;
  int pid;
  size_t thread, txn;
  if (sscanf(line, "%d %zx %zu", &pid, &thread, &txn) != 3) return 0;
  if (tally->readers++ == 0 || txn < tally->oldest) tally->oldest = txn;
  return 0;
}

uint64_t db_oldest_reader(db_env *env) {
  reader_tally tally = {0};
  mdb_reader_list(env->lmdb, tally_reader, &tally);
  return tally.readers ? tally.oldest : UINT64_MAX;
}

sl_status db_env_info_get(db_env *env, db_env_info *info) {
  sl_status status = db_enter(env, NULL);
  if (status != SL_OK) return status;
  MDB_envinfo e;
  MDB_stat stat;
  reader_tally tally = {0};
  mdb_env_info(env->lmdb, &e);
  mdb_env_stat(env->lmdb, &stat);
  mdb_reader_list(env->lmdb, tally_reader, &tally);
  db_leave(env, false, false);
  *info = (db_env_info){.page_size = stat.ms_psize, .map_size = e.me_mapsize, .last_page = e.me_last_pgno,
                        .last_txn = e.me_last_txnid, .readers = tally.readers};
  if (tally.oldest && tally.oldest < e.me_last_txnid) info->reader_lag = e.me_last_txnid - tally.oldest;
  return SL_OK;
}
