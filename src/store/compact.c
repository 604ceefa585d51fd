/*
 * sl_compact: each of the store's environments is copied without its free pages into a file beside its own, and
 * the copy takes the file's place by a rename. The store belongs to this call alone meanwhile (store.lock), so
 * nothing is written between the copy and the rename.
 *
 * A kill at any step leaves a store that opens and holds everything: before a rename the old file is whole and the
 * copy a stray file, which the next opener removes that is alone; after it the copy is, flushed before it got its
 * name. The three environments need not be done together: none of them changes what it says.
 */
#include "db/db_file.h"
#include "store/log_inner.h"
#include "store/store_fs.h"
#include "store/store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY "compact.tmp" /* beside data.mdb: a rename stays within a file system */

static const db_table_def meta_table = {"meta", 0}; /* every environment has one; the copy takes all there are */

static sl_status open_env(const char *dir, mode_t mode, db_env **env) {
  const db_env_options options = {.map_size = 1u << 20, .map_floor = 1u << 20, .max_readers = 1024, .mode = mode};
  return db_env_open(dir, &meta_table, 1, &options, env);
}

/* What a later sidelog wrote is not touched. */
static sl_status check_format(db_env *env, const char *root) {
  db_txn *txn;
  sl_slice value;
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  status = db_get(txn, 0, LOG_KEY_FORMAT, &value);
  const uint32_t format = status == SL_OK && value.len == 4 ? sl_get_u32(value.data) : 0;
  if (status == SL_NOTFOUND) status = sl_fail(SL_E_NO_STORE, "the store at %s was never completed", root);
  else if (status == SL_OK && format > LOG_FORMAT_DROPS)
    status = sl_fail(SL_E_VERSION, "the store at %s was written by format %" PRIu32 ": use a newer sidelog; "
                     "nothing was touched", root, format);
  db_abort(txn);
  return status;
}

/* The copy gets who may use the original. The folder's owner may have put another file there since. */
static sl_status dress(const char *path, const struct stat *like) {
  struct stat st;
  const uid_t uid = geteuid() == 0 ? like->st_uid : (uid_t)-1; /* only root may give files to others */
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  bool done = fd >= 0 && fstat(fd, &st) == 0;
  if (done && !store_fs_is_ours(&st)) {
    errno = EPERM;
    done = false;
  }
  done = done && (fchown(fd, uid, like->st_gid) == 0 || fchown(fd, (uid_t)-1, like->st_gid) == 0) &&
         fchmod(fd, like->st_mode & 07777) == 0;
  const sl_status status = done ? SL_OK : sl_fail(sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  return status;
}

static sl_status compact_env(const char *root, const char *name, sl_compact_result *sum) {
  char dir[PATH_MAX], from[PATH_MAX], to[PATH_MAX], readers[PATH_MAX];
  struct stat st;
  db_env *env;
  if ((size_t)snprintf(dir, sizeof dir, "%s/%s", root, name) >= sizeof dir ||
      (size_t)snprintf(from, sizeof from, "%s/data.mdb", dir) >= sizeof from ||
      (size_t)snprintf(to, sizeof to, "%s/" COPY, dir) >= sizeof to ||
      (size_t)snprintf(readers, sizeof readers, "%s/lock.mdb", dir) >= sizeof readers)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", root);
  /* An index that is not there is made anew by the next opener; readers/ is there once there are some. */
  if (stat(from, &st) != 0)
    return errno == ENOENT ? SL_OK : sl_fail(sl_status_of_errno(errno), "%s: %s", from, strerror(errno));
  const uint64_t before = (uint64_t)st.st_blocks * 512;
  sl_status status = open_env(dir, st.st_mode & 0777, &env);
  if (status != SL_OK) return status;
  if (strcmp(name, "log") == 0) status = check_format(env, root);
  if (status == SL_OK) status = db_env_copy(env, to);
  db_env_close(env);
  if (status == SL_OK) status = dress(to, &st);
  if (status == SL_OK && rename(to, from) != 0)
    status = sl_fail(sl_status_of_errno(errno), "%s cannot take the place of %s: %s", to, from, strerror(errno));
  /* The reader table says which transaction is the newest, and the copy counts anew. Its next opener would correct
   * that, unless somebody who knows nothing of store.lock (mdb_copy) has the old file open. */
  if (status == SL_OK && unlink(readers) != 0 && errno != ENOENT)
    status = sl_fail(sl_status_of_errno(errno), "%s: %s", readers, strerror(errno));
  if (status == SL_OK) status = db_file_sync_dir(dir);
  if (status != SL_OK) (void)unlink(to);
  if (status == SL_OK && stat(from, &st) == 0) {
    sum->bytes_before += before;
    sum->bytes_after += (uint64_t)st.st_blocks * 512;
  }
  return status;
}

static const char *const names[] = {"log", "index", "delivery", "readers"};

void compact_tidy(const sl_store *store) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s/" COPY, store->root, names[i]) < sizeof path)
      (void)unlink(path);
  }
}

sl_status sl_compact(const char *path, const sl_compact_options *options, sl_compact_result *result) {
  if (!path || !*path) return sl_fail(SL_E_INVALID, "sl_compact needs a path");
  if (options && (options->version > SL_COMPACT_VERSION || options->flags))
    return sl_fail(SL_E_INVALID, "sl_compact_options: unknown version or flags");
  char log[PATH_MAX];
  struct stat st;
  if ((size_t)snprintf(log, sizeof log, "%s/log/data.mdb", path) >= sizeof log)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", path);
  if (stat(log, &st) != 0)
    return errno == EACCES ? sl_fail(SL_E_ACCESS, "%s: permission denied", path)
                           : sl_fail(SL_E_NO_STORE, "there is no store at %s", path);
  int lock = -1;
  sl_compact_result sum = {0};
  sl_status status = store_lock_exclusive(path, &lock);
  for (size_t i = 0; status == SL_OK && i < sizeof names / sizeof *names; i++)
    status = compact_env(path, names[i], &sum);
  store_lock_close(lock);
  if (status == SL_OK && result) *result = sum;
  return status;
}
