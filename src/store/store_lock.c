/*
 * flock() and not fcntl(F_SETLK): POSIX record locks go when any descriptor of the file is closed.
 *
 * From exclusive to shared is no atomic step: for a moment the lock is nobody's. Who compacted the store in that
 * moment would put another file in the place of the one that the opener has opened already, and its appends would
 * go into a file without a name. So an opener that is alone holds the store's folder locked, too (the gate), until
 * it shares, and who wants the store for itself needs both.
 */
#include "store/store_lock.h"
#include "base/clock.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define LOCK_FILE "store.lock"
#define PATIENCE_US 10000000

static bool try_lock(int fd, int how, int *error) {
  int rc;
  do rc = flock(fd, how | LOCK_NB);
  while (rc != 0 && errno == EINTR);
  *error = rc == 0 ? 0 : errno;
  return rc == 0;
}

uint64_t store_lock_pulse(const char *root, const char *const *names, size_t count) {
  uint64_t pulse = 0;
  for (size_t i = 0; i < count; i++) {
    char path[PATH_MAX];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", root, names[i]) >= sizeof path || stat(path, &st) != 0)
      continue;
    const uint64_t seen[] = {(uint64_t)st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtime};
    pulse = XXH3_64bits_withSeed(seen, sizeof seen, pulse + i);
  }
  return pulse;
}

/* What grows while a store is made or compacted. */
static const char *const worked_on[] = {"log/data.mdb", "log/compact.tmp", "index/data.mdb", "index/compact.tmp",
                                        "delivery/data.mdb", "delivery/compact.tmp"};

static sl_status take(const sl_store *store, int fd, bool *alone) {
  int64_t until = sl_clock_monotonic_us() + PATIENCE_US;
  uint64_t before = 0;
  for (int error;;) {
    *alone = try_lock(fd, LOCK_EX, &error);
    if (*alone || (error == EWOULDBLOCK && try_lock(fd, LOCK_SH, &error))) return SL_OK;
    if (error != EWOULDBLOCK) {
      if (error == ENOSYS || error == EOPNOTSUPP || error == EINVAL) return SL_E_UNSUPPORTED;
      return sl_fail(sl_status_of_errno(error), "%s/" LOCK_FILE " cannot be locked: %s", store->path,
                     strerror(error));
    }
    const uint64_t pulse = store_lock_pulse(store->root, worked_on, sizeof worked_on / sizeof *worked_on);
    const int64_t now = sl_clock_monotonic_us();
    if (pulse != before) until = now + PATIENCE_US;
    before = pulse;
    if (now > until)
      return sl_fail(SL_E_BUSY, "another process has the store at %s for itself (it makes or compacts it) and has "
                     "written nothing for %d seconds: wait for its end, or see whether it is stopped",
                     store->path, PATIENCE_US / 1000000);
    const struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
  }
}

sl_status store_lock_enter(sl_store *store, bool *alone) {
  char *path = store_path(store, LOCK_FILE);
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = store_fs_open_file(store, path, O_RDWR);
  free(path);
  *alone = false;
  if (fd < 0) {
    const sl_status status = sl_status_of_errno(errno);
    return sl_fail(status, "%s/" LOCK_FILE " cannot be opened: %s%s", store->path, strerror(errno),
                   status == SL_E_ACCESS ? ". Every user of a store must be able to write to it, also to read"
                                         : "");
  }
  sl_status status = take(store, fd, alone);
  if (status != SL_OK) {
    close(fd);
    return status == SL_E_UNSUPPORTED ? SL_OK : status; /* no flock here */
  }
  store->lock_fd = fd;
  if (!*alone) return SL_OK;
  /* It is free, or held for a moment by one that does not get the other lock. Where a folder cannot be locked
   * there is no gate. */
  store->gate_fd = open(store->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (store->gate_fd >= 0 && flock(store->gate_fd, LOCK_SH) != 0)
    if (errno != EINTR) store_lock_close(store->gate_fd), store->gate_fd = -1;
  return SL_OK;
}

sl_status store_lock_share(sl_store *store) {
  sl_status status = SL_OK;
  while (status == SL_OK && store->lock_fd >= 0 && flock(store->lock_fd, LOCK_SH) != 0)
    if (errno != EINTR)
      status = sl_fail(sl_status_of_errno(errno), "%s/" LOCK_FILE " cannot be locked: %s", store->path,
                       strerror(errno));
  store_lock_close(store->gate_fd);
  store->gate_fd = -1;
  return status;
}

#if defined(F_OFD_SETLK)
/* A byte of the lock's file for each log: those locks die with the open file, too, and are of another kind than
 * flock's. */
static bool ofd_lock(int fd, int command, short type, off_t from, off_t len, bool *held) {
  struct flock at = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};
  int rc;
  do rc = fcntl(fd, command, &at);
  while (rc != 0 && errno == EINTR);
  if (held) *held = rc == 0 && at.l_type != F_UNLCK;
  return rc == 0;
}

bool store_lock_same_log(const sl_store *store, uint64_t file) {
  const off_t own = (off_t)(1 + file % (UINT64_C(1) << 61));
  bool below = false, above = false;
  if (store->lock_fd < 0 || !ofd_lock(store->lock_fd, F_OFD_SETLK, F_RDLCK, own, 1, NULL)) return true;
  (void)ofd_lock(store->lock_fd, F_OFD_GETLK, F_WRLCK, 0, own, &below);
  (void)ofd_lock(store->lock_fd, F_OFD_GETLK, F_WRLCK, own + 1, 0, &above); /* 0: to the end */
  return !below && !above;
}
#else
bool store_lock_same_log(const sl_store *store, uint64_t file) {
  (void)store, (void)file;
  return true;
}
#endif

void store_lock_leave(sl_store *store, bool ours) {
#if defined(F_OFD_SETLK)
  if (ours && store->lock_fd >= 0) (void)ofd_lock(store->lock_fd, F_OFD_SETLK, F_UNLCK, 0, 0, NULL);
#endif
  if (ours) {
    store_lock_close(store->gate_fd);
    store_lock_close(store->lock_fd);
  } else {
    if (store->gate_fd >= 0) close(store->gate_fd);
    if (store->lock_fd >= 0) close(store->lock_fd);
  }
  store->lock_fd = store->gate_fd = -1;
}

sl_status store_lock_exclusive(const char *root, int *out) {
  char path[PATH_MAX];
  int error;
  if ((size_t)snprintf(path, sizeof path, "%s/" LOCK_FILE, root) >= sizeof path)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", root);
  /* 0600: whoever opens the store next and owns the file gives it the store's mode. */
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return sl_fail(errno == ENOENT ? SL_E_NO_STORE : sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  struct stat folder, st;
  if (geteuid() == 0 && stat(root, &folder) == 0 && fstat(fd, &st) == 0 && store_fs_is_ours(&st) &&
      fchown(fd, folder.st_uid, (gid_t)-1) != 0) errno = 0;
  if (try_lock(fd, LOCK_EX, &error)) {
    const int gate = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool opening = gate >= 0 && !try_lock(gate, LOCK_EX, &error) && error == EWOULDBLOCK;
    store_lock_close(gate); /* nobody comes through it while the other one is ours */
    if (!opening) {
      *out = fd;
      return SL_OK;
    }
  }
  store_lock_close(fd);
  if (error == EWOULDBLOCK)
    return sl_fail(SL_E_BUSY, "the store at %s is open in another process: stop its agent and producers first",
                   root);
  return sl_fail(SL_E_UNSUPPORTED, "%s cannot be locked: %s", path, strerror(error));
}

void store_lock_close(int fd) {
  if (fd < 0) return;
  flock(fd, LOCK_UN);
  close(fd);
}
