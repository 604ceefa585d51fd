/* The calls themselves are defined here, and under the names that programs with large files use for them: LMDB
 * uses the one, the library the other. */
#undef _FILE_OFFSET_BITS
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

const char *const fault_names[FAULT_KINDS] = {
  "none", "a failed write", "a short write", "a full disk", "a failed flush",
  "a meta page written in spite of an error", "no meta page any more", "no memory",
  "no room for a map", "killed", "killed in a write",
};

bool fault_plain_writes;
static _Atomic fault_kind armed;
static atomic_long left;
static atomic_bool struck;

bool fault_possible(fault_kind kind) { return kind != FAULT_ALLOC || OWN_MALLOC; }

void fault_arm(fault_kind kind, long nth) {
  armed = FAULT_NONE;
  atomic_store(&struck, false);
  atomic_store(&left, nth);
  armed = kind;
}

bool fault_struck(void) { return atomic_load(&struck); }

/* Is this call the one? A full disk stays full. */
static bool strikes(void) {
  long n = atomic_fetch_sub(&left, 1);
  if (n == 1 || ((armed == FAULT_DISK_FULL || armed == FAULT_META_GONE) && n < 1)) {
    atomic_store(&struck, true);
    return true;
  }
  return false;
}

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* What a write does in place of the real one: 1 go on, 0 fail with errno, -1 half of it. */
static int before_write(void) {
  switch (armed) {
    case FAULT_WRITE_EIO: return strikes() ? (errno = EIO, 0) : 1;
    case FAULT_DISK_FULL: return strikes() ? (errno = ENOSPC, 0) : 1;
    case FAULT_WRITE_SHORT: return strikes() ? -1 : 1;
    case FAULT_KILL_HALFWAY: return strikes() ? -1 : 1;
    case FAULT_KILL:
      if (strikes()) die();
      return 1;
    default: return 1;
  }
}

static bool flush_fails(void) {
  if (armed == FAULT_KILL && strikes()) die();
  if (armed != FAULT_FLUSH_EIO || !strikes()) return false;
  errno = EIO;
  return true;
}

/* LMDB's meta page, without its head. */
static bool is_meta(size_t len) { return len > 64 && len < 512; }

/* The putting back comes next: it is the (N + 1)th. */
static bool meta_fails(int fd, const void *data, size_t len, off_t at,
                       ssize_t (*next)(int, const void *, size_t, off_t)) {
  if (!is_meta(len) || (armed != FAULT_META_LATE && armed != FAULT_META_GONE)) return false;
  const bool back = armed == FAULT_META_LATE && atomic_load(&left) == 0;
  const bool fails = strikes();
  if (fails && armed == FAULT_META_LATE) (void)next(fd, data, len, at);
  if (!fails && !back) return false;
  errno = EIO;
  return true;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
  static ssize_t (*next)(int, const void *, size_t, off_t);
  if (!next) *(void **)&next = real("pwrite");
  if (meta_fails(fd, data, len, at, next)) return -1;
  int way = before_write();
  if (way == 0) return -1;
  if (way == 1) {
    /* LMDB writes its meta page to a descriptor with O_DSYNC: a write and a flush in one. */
    if (len < 512 && flush_fails()) return -1;
    return next(fd, data, len, at);
  }
  ssize_t done = next(fd, data, len / 2, at);
  if (armed == FAULT_KILL_HALFWAY) die();
  return done;
}

#if defined(__GLIBC__)
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) __attribute__((alias("pwrite")));
#endif

ssize_t write(int fd, const void *data, size_t len) {
  static ssize_t (*next)(int, const void *, size_t);
  struct stat st;
  if (!next) *(void **)&next = real("write");
  const bool counts = fault_plain_writes && armed != FAULT_NONE && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
  const int way = counts ? before_write() : 1;
  if (way == 0) return -1;
  if (way == 1) return next(fd, data, len);
  const ssize_t done = next(fd, data, len / 2);
  if (armed == FAULT_KILL_HALFWAY) die();
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  static ssize_t (*next)(int, const struct iovec *, int);
  if (!next) *(void **)&next = real("writev");
  int way = before_write();
  if (way == 0) return -1;
  if (way == 1) return next(fd, parts, count);
  ssize_t done = next(fd, parts, count / 2 ? count / 2 : 1);
  if (armed == FAULT_KILL_HALFWAY) die();
  return done;
}

int fdatasync(int fd) {
  static int (*next)(int);
  if (!next) *(void **)&next = real("fdatasync");
  return flush_fails() ? -1 : next(fd);
}

int fsync(int fd) {
  static int (*next)(int);
  if (!next) *(void **)&next = real("fsync");
  return flush_fails() ? -1 : next(fd);
}

static bool map_fails(int error) {
  if (armed != FAULT_MAP || !strikes()) return false;
  errno = error;
  return true;
}

#if !defined(__SANITIZE_THREAD__) /* whose runtime maps its memory before any of this works */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t from) {
  static void *(*next)(void *, size_t, int, int, int, off_t);
  if (!next) *(void **)&next = real("mmap");
  return fd >= 0 && map_fails(ENOMEM) ? MAP_FAILED : next(at, len, protection, flags, fd, from);
}
#if defined(__GLIBC__)
void *mmap64(void *at, size_t len, int protection, int flags, int fd, off64_t from) __attribute__((alias("mmap")));
#endif
#endif

int ftruncate(int fd, off_t size) {
  static int (*next)(int, off_t);
  if (!next) *(void **)&next = real("ftruncate");
  if (armed == FAULT_KILL && strikes()) die();
  return map_fails(ENOSPC) ? -1 : next(fd, size);
}

#if defined(__linux__)
int fallocate(int fd, int mode, off_t at, off_t len) {
  static int (*next)(int, int, off_t, off_t);
  if (!next) *(void **)&next = real("fallocate");
  return map_fails(ENOSPC) ? -1 : next(fd, mode, at, len);
}
#endif

#if defined(__GLIBC__)
int ftruncate64(int fd, off64_t size) __attribute__((alias("ftruncate")));
int fallocate64(int fd, int mode, off64_t at, off64_t len) __attribute__((alias("fallocate")));
#endif

#if OWN_MALLOC
/* glibc's own names: dlsym allocates, so it cannot be asked for malloc. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);

static bool no_memory(void) {
  if (armed != FAULT_ALLOC || !strikes()) return false;
  errno = ENOMEM;
  return true;
}

void *malloc(size_t size) { return no_memory() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return no_memory() ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return no_memory() ? NULL : __libc_realloc(old, size); }
#endif
