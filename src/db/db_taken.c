/* Are the files of an open environment still those at their place? */
#include "db/db_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/sysmacros.h>
#endif

#define ADRIFT_LOOKS 100

/* Whoever asks for a file's times makes Linux (from 6.13) give its next write a time of its own; and with that the inode
 * is written at each flush, which took 116 us instead of 44. So only the numbers are asked for, at every commit. */
static bool file_in_place(const db_env *env, const char *name, struct stat *st) {
#if defined(STATX_INO)
  struct statx is;
  if (statx(env->dir_fd, name, 0, STATX_INO, &is) != 0) return false;
  st->st_dev = makedev(is.stx_dev_major, is.stx_dev_minor);
  st->st_ino = is.stx_ino;
  return true;
#else
  return fstatat(env->dir_fd, name, st, 0) == 0;
#endif
}

void db_note_files(db_env *env) {
  int fd;
  struct stat st;
  if (mdb_env_get_fd(env->lmdb, &fd) == 0 && fstat(fd, &st) == 0)
    env->dev = (uint64_t)st.st_dev, env->ino = (uint64_t)st.st_ino;
  env->lock_dev = env->lock_ino = 0; /* of this one LMDB does not tell */
  if (env->dir_fd >= 0 && file_in_place(env, "lock.mdb", &st))
    env->lock_dev = (uint64_t)st.st_dev, env->lock_ino = (uint64_t)st.st_ino;
}

uint64_t db_env_file(const db_env *env) { return env->ino ^ env->dev * UINT64_C(0x9E3779B97F4A7C15); }

static bool is_ours(const db_env *env, const struct stat *st) {
  return (uint64_t)st->st_dev == env->dev && (uint64_t)st->st_ino == env->ino;
}

bool db_is_there(const db_env *env, bool *ours) {
  char path[4096];
  struct stat st;
  snprintf(path, sizeof path, "%s/data.mdb", env->dir); /* it was opened: it is not too long */
  const bool there = stat(path, &st) == 0;
  *ours = there && is_ours(env, &st);
  return there;
}

sl_status db_was_removed(const db_env *env) {
  return sl_fail(SL_E_MISMATCH, "%s/data.mdb was removed or replaced while this process had it open, and nobody would find "
                 "what it writes there: close the store and open it anew", env->dir);
}

sl_status db_is_shared(const db_env *env) {
  return sl_fail(SL_E_MISMATCH, "%s/data.mdb was replaced while a process had the old one open, and has it still: stop "
                 "everything that has this store open, then start again", env->dir);
}

bool db_is_removed(const db_env *env) {
  struct stat ours, there;
  int fd;
  if (mdb_env_get_fd(env->lmdb, &fd) != 0) return false;
  if (env->dir_fd < 0) return fstat(fd, &ours) == 0 && ours.st_nlink == 0;
  if (!file_in_place(env, "data.mdb", &there)) return errno == ENOENT;
  if (is_ours(env, &there)) return false;
  /* Are the numbers of an open file sure to stay? */
  return fstat(fd, &ours) == 0 && (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino);
}

bool db_lock_is_removed(const db_env *env) {
  struct stat st;
  if (env->dir_fd < 0 || env->lock_ino == 0) return false;
  if (!file_in_place(env, "lock.mdb", &st)) return errno == ENOENT;
  return (uint64_t)st.st_dev != env->lock_dev || (uint64_t)st.st_ino != env->lock_ino;
}

bool db_env_is_removed(db_env *env) {
  pthread_mutex_lock(&env->lock);
  const bool removed = env->lmdb && db_is_removed(env);
  pthread_mutex_unlock(&env->lock);
  return removed;
}

bool db_is_adrift(MDB_env *lmdb, uint64_t newest, bool write) {
  MDB_envinfo info;
  /* A meta page comes before its number, and may be seen a moment after it. Whose meta page could not be written, nor be
   * put back, left a file ahead by one, and the next commit writes over it. */
  for (int tries = 0; tries < ADRIFT_LOOKS; tries++) {
    atomic_thread_fence(memory_order_seq_cst);
    mdb_env_info(lmdb, &info);
    if (newest <= info.me_last_txnid && (!write || info.me_last_txnid <= newest + 1)) return false;
  }
  return true;
}

void db_env_renew(db_env *env) {
  bool ours;
  pthread_mutex_lock(&env->lock);
  const bool anew = env->lmdb && (db_is_removed(env) ? db_is_there(env, &ours) && !ours : db_lock_is_removed(env));
  if (anew && !env->poisoned) env->poisoned = env->renewed = true;
  pthread_mutex_unlock(&env->lock);
}
