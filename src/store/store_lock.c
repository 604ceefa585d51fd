/* flock() and not fcntl(F_SETLK): POSIX record locks go when any descriptor of the file is closed. */
#include "store/store_lock.h"
#include "base/clock.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_FILE "store.lock"
#define PATIENCE_US 10000000

static bool try_lock(int fd, int how, int *error) {
  int rc;
  do rc = flock(fd, how | LOCK_NB);
  while (rc != 0 && errno == EINTR);
  *error = rc == 0 ? 0 : errno;
  return rc == 0;
}

sl_status store_lock_enter(sl_store *store, int *out, bool *alone) {
  char *path = store_path(store, LOCK_FILE);
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = store_fs_open_file(store, path, O_RDWR);
  free(path);
  *alone = false;
  *out = -1;
  if (fd < 0)
    return sl_fail(sl_status_of_errno(errno), "%s/" LOCK_FILE " cannot be opened: %s. Every user of a store must be able "
                   "to write to it, also to read", store->path, strerror(errno));
  const int64_t until = sl_clock_monotonic_us() + PATIENCE_US;
  for (int error;;) {
    if (try_lock(fd, LOCK_EX, &error)) {
      *alone = true;
      break;
    }
    if (error == EWOULDBLOCK && try_lock(fd, LOCK_SH, &error)) break;
    if (error != EWOULDBLOCK) {
      close(fd);
      if (error == ENOSYS || error == EOPNOTSUPP || error == EINVAL) return SL_OK; /* no flock here */
      return sl_fail(sl_status_of_errno(error), "%s/" LOCK_FILE " cannot be locked: %s", store->path, strerror(error));
    }
    if (sl_clock_monotonic_us() > until) {
      close(fd);
      return sl_fail(SL_E_BUSY, "another process has the store at %s for itself (compacting it?): wait for its end",
                     store->path);
    }
    const struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
  }
  *out = fd;
  return SL_OK;
}

sl_status store_lock_share(const sl_store *store, int fd) {
  /* Not an atomic conversion: for a moment the lock is nobody's. */
  while (fd >= 0 && flock(fd, LOCK_SH) != 0)
    if (errno != EINTR)
      return sl_fail(sl_status_of_errno(errno), "%s/" LOCK_FILE " cannot be locked: %s", store->path, strerror(errno));
  return SL_OK;
}

sl_status store_lock_exclusive(const char *root, int *out) {
  char path[PATH_MAX];
  int error;
  if ((size_t)snprintf(path, sizeof path, "%s/" LOCK_FILE, root) >= sizeof path)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", root);
  /* 0600: whoever opens the store next and owns the file gives it the store's mode. */
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return sl_fail(errno == ENOENT ? SL_E_NO_STORE : sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  if (try_lock(fd, LOCK_EX, &error)) {
    *out = fd;
    return SL_OK;
  }
  close(fd);
  if (error == EWOULDBLOCK)
    return sl_fail(SL_E_BUSY, "the store at %s is open in another process: stop its agent and producers first", root);
  return sl_fail(SL_E_UNSUPPORTED, "%s cannot be locked: %s", path, strerror(error));
}

void store_lock_close(int fd, bool ours) {
  if (fd >= 0 && ours) flock(fd, LOCK_UN);
  if (fd >= 0) close(fd);
}
