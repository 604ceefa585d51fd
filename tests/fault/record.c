/* The calls themselves are defined here, and under the names that programs with large files use for them. */
#undef _FILE_OFFSET_BITS
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ARENA (UINT64_C(1) << 30) /* of address space; pages that are never written cost nothing */
#define MAPPED_MAX 4u
#define SHADOW (2u << 20)
#define PAGE 4096u

typedef struct known_file {
  uint64_t dev, ino;
  char path[RECORD_PATH];
  int shadow; /* of a file that is written through a shared map; -1: none */
} known_file;

/* In memory that forked processes share. */
typedef struct recording {
  pthread_mutex_t lock;
  atomic_bool on;
  char root[PATH_MAX];
  size_t root_len;
  uint32_t files, mapped;
  known_file file[RECORD_FILES];
  uint8_t shadow[MAPPED_MAX][SHADOW];
  size_t used;
  _Alignas(8) uint8_t entries[];
} recording;

static recording *r;
static _Atomic int64_t *clock_moved;

/* ---------------------------------------------------------------- the log --- */

static void lost(const char *what) {
  fprintf(stderr, "recording: %s\n", what);
  abort();
}

static record_entry *add(record_kind kind, uint32_t file, uint64_t at, uint64_t len, uint64_t bytes) {
  size_t size = (sizeof(record_entry) + bytes + 7) / 8 * 8;
  if (sizeof *r + r->used + size > ARENA) lost("too much for one recording");
  record_entry *e = (record_entry *)(r->entries + r->used);
  *e = (record_entry){.kind = (uint32_t)kind, .file = file, .at = at, .len = len};
  r->used += size;
  return e;
}

static void add_bytes(record_kind kind, uint32_t file, uint64_t at, const void *bytes, size_t len) {
  memcpy(add(kind, file, at, len, len)->bytes, bytes, len);
}

const record_entry *record_next(const record_entry *e) {
  const uint8_t *at = r->entries;
  if (e) at = (const uint8_t *)e + (sizeof *e + (e->kind == RECORD_NOTE ? 0 : e->len) + 7) / 8 * 8;
  return at < r->entries + r->used ? (const record_entry *)at : NULL;
}

const char *record_path(uint32_t file) { return r->file[file].path; }

bool record_begin(const char *root) {
  void *map = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void *clock = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t attr;
  if (map == MAP_FAILED || clock == MAP_FAILED) return false;
  r = map;
  clock_moved = clock;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&r->lock, &attr);
  r->root_len = (size_t)snprintf(r->root, sizeof r->root, "%s", root);
  atomic_store(&r->on, true);
  return true;
}

void record_end(void) { atomic_store(&r->on, false); }

static bool enter(void) {
  if (!r || !atomic_load(&r->on)) return false;
  pthread_mutex_lock(&r->lock);
  return true;
}

static void leave(void) { pthread_mutex_unlock(&r->lock); }

void record_note(uint32_t kind, uint64_t a, uint64_t b) {
  if (!enter()) return;
  add(RECORD_NOTE, kind, a, b, 0);
  leave();
}

/* ------------------------------------------------------------------ files --- */

/* The path below the root, or NULL. */
static const char *below(const char *path) {
  if (strncmp(path, r->root, r->root_len) != 0) return NULL;
  path += r->root_len;
  if (*path == 0) return path;
  return *path == '/' ? path + 1 : NULL;
}

static bool is_mapped(const char *path) {
  size_t len = strlen(path);
  return (len >= 8 && strcmp(path + len - 8, "lock.mdb") == 0) || strcmp(path, "log/slots") == 0;
}

static int find(const struct stat *st) {
  for (uint32_t i = r->files; i-- > 0;)
    if (r->file[i].ino == st->st_ino && r->file[i].dev == st->st_dev) return (int)i;
  return -1;
}

static int find_fd(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? find(&st) : -1;
}

static int learn(const char *relative, const struct stat *st) {
  if (r->files == RECORD_FILES || strlen(relative) >= RECORD_PATH) lost("too many files, or a long path");
  known_file *f = &r->file[r->files];
  *f = (known_file){.dev = st->st_dev, .ino = st->st_ino, .shadow = -1};
  strcpy(f->path, relative);
  if (is_mapped(relative) && r->mapped < MAPPED_MAX) f->shadow = (int)r->mapped++;
  return (int)r->files++;
}

static void made(const char *path, bool folder) {
  const char *relative = below(path);
  struct stat st;
  if (!relative || stat(path, &st) != 0) return;
  int file = learn(relative, &st);
  add_bytes(RECORD_MAKE, (uint32_t)file, folder, relative, strlen(relative) + 1);
}

/* What has changed in the maps since the last look. A process that has the store open may not look at lock.mdb:
 * LMDB's locks on it would go with the descriptor. */
static void look_at_maps(bool locks) {
  static uint8_t now[SHADOW];
  for (uint32_t i = 0; i < r->files; i++) {
    char path[PATH_MAX + RECORD_PATH];
    known_file *f = &r->file[i];
    if (f->shadow < 0 || (!locks && strcmp(f->path, "log/slots") != 0)) continue;
    snprintf(path, sizeof path, "%s/%s", r->root, f->path);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t len = fd >= 0 ? pread(fd, now, sizeof now, 0) : 0;
    if (fd >= 0) close(fd);
    uint8_t *was = r->shadow[f->shadow];
    for (ssize_t at = 0; at < len; at += PAGE) {
      size_t part = (size_t)(len - at) < PAGE ? (size_t)(len - at) : PAGE;
      if (memcmp(now + at, was + at, part) == 0) continue;
      memcpy(was + at, now + at, part);
      add_bytes(RECORD_WRITE, i, (uint64_t)at, now + at, part);
    }
  }
}

void record_locks(void) {
  if (!enter()) return;
  look_at_maps(true);
  leave();
}

/* ------------------------------------------------------------------ calls --- */

/* The real one of this name: `next`, a pointer to it. */
#define NEXT(name, type, arguments)                                                            \
  typedef type next_fn arguments;                                                              \
  static next_fn *next;                                                                        \
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, name)

int open(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list args;
    va_start(args, flags);
    mode = (mode_t)va_arg(args, unsigned);
    va_end(args);
  }
  bool on = (flags & (O_CREAT | O_TRUNC)) && enter();
  struct stat st;
  bool there = on && stat(path, &st) == 0;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (on) {
    int error = errno;
    if (fd >= 0 && !there) made(path, false);
    else if (fd >= 0 && (flags & O_TRUNC) && find_fd(fd) >= 0) add(RECORD_SIZE, (uint32_t)find_fd(fd), 0, 0, 0);
    errno = error;
    leave();
  }
  return fd;
}

int mkdir(const char *path, mode_t mode) {
  NEXT("mkdir", int, (const char *, mode_t));
  bool on = enter();
  int rc = next(path, mode);
  if (rc == 0 && on) made(path, true);
  if (on) leave();
  return rc;
}

int unlink(const char *path) {
  NEXT("unlink", int, (const char *));
  bool on = enter();
  int rc = next(path);
  if (rc == 0 && on && below(path)) add_bytes(RECORD_REMOVE, 0, 0, below(path), strlen(below(path)) + 1);
  if (on) leave();
  return rc;
}

int rename(const char *from, const char *to) {
  NEXT("rename", int, (const char *, const char *));
  bool on = enter();
  int rc = next(from, to);
  if (rc == 0 && on && below(from) && below(to)) {
    char both[2 * RECORD_PATH];
    size_t len = (size_t)snprintf(both, sizeof both, "%s%c%s", below(from), 0, below(to)) + 1;
    add_bytes(RECORD_RENAME, 0, 0, both, len);
  }
  if (on) leave();
  return rc;
}

static bool is_synced(int fd) { return fcntl(fd, F_GETFL) & O_DSYNC; }

static void wrote(int fd, uint64_t at, const void *data, ssize_t len) {
  int file = len > 0 ? find_fd(fd) : -1;
  if (file < 0) return;
  if (is_synced(fd)) look_at_maps(false);
  add_bytes(is_synced(fd) ? RECORD_WRITE_SYNCED : RECORD_WRITE, (uint32_t)file, at, data, (size_t)len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
  NEXT("pwrite", ssize_t, (int, const void *, size_t, off_t));
  bool on = enter();
  ssize_t done = next(fd, data, len, at);
  if (on) wrote(fd, (uint64_t)at, data, done), leave();
  return done;
}

ssize_t write(int fd, const void *data, size_t len) {
  NEXT("write", ssize_t, (int, const void *, size_t));
  bool on = enter();
  off_t at = on ? lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t done = next(fd, data, len);
  if (on && at >= 0) wrote(fd, (uint64_t)at, data, done);
  if (on) leave();
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  NEXT("writev", ssize_t, (int, const struct iovec *, int));
  bool on = enter();
  off_t at = on ? lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t done = next(fd, parts, count), left = done;
  for (int i = 0; on && at >= 0 && left > 0; i++) {
    ssize_t part = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
    wrote(fd, (uint64_t)at, parts[i].iov_base, part);
    at += part;
    left -= part;
  }
  if (on) leave();
  return done;
}

static void resized(int file, uint64_t size) {
  if (file >= 0) add(RECORD_SIZE, (uint32_t)file, size, 0, 0);
}

int ftruncate(int fd, off_t size) {
  NEXT("ftruncate", int, (int, off_t));
  bool on = enter();
  int rc = next(fd, size);
  if (on && rc == 0) resized(find_fd(fd), (uint64_t)size);
  if (on) leave();
  return rc;
}

int truncate(const char *path, off_t size) {
  NEXT("truncate", int, (const char *, off_t));
  bool on = enter();
  struct stat st;
  int rc = next(path, size);
  if (on && rc == 0 && stat(path, &st) == 0) resized(find(&st), (uint64_t)size);
  if (on) leave();
  return rc;
}

int fallocate(int fd, int mode, off_t at, off_t len) {
  NEXT("fallocate", int, (int, int, off_t, off_t));
  bool on = enter();
  struct stat st;
  int rc = next(fd, mode, at, len);
  if (on && rc == 0 && fstat(fd, &st) == 0) resized(find(&st), (uint64_t)st.st_size);
  if (on) leave();
  return rc;
}

static int flush(int fd, int (*next)(int fd)) {
  bool on = enter();
  int file = on ? find_fd(fd) : -1;
  if (file >= 0) look_at_maps(false);
  int rc = next(fd);
  if (file >= 0 && rc == 0) add(RECORD_FLUSH, (uint32_t)file, 0, 0, 0);
  if (on) leave();
  return rc;
}

int fdatasync(int fd) {
  NEXT("fdatasync", int, (int));
  return flush(fd, next);
}

int fsync(int fd) {
  NEXT("fsync", int, (int));
  return flush(fd, next);
}

#if defined(__GLIBC__)
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) __attribute__((alias("pwrite")));
int ftruncate64(int fd, off64_t size) __attribute__((alias("ftruncate")));
int truncate64(const char *path, off64_t size) __attribute__((alias("truncate")));
int fallocate64(int fd, int mode, off64_t at, off64_t len) __attribute__((alias("fallocate")));
#endif

int clock_gettime(clockid_t id, struct timespec *now) {
  int rc = (int)syscall(SYS_clock_gettime, id, now);
  if (rc == 0 && clock_moved && id == CLOCK_REALTIME) {
    int64_t us = (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000 + atomic_load(clock_moved);
    *now = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
  }
  return rc;
}

void record_move_clock(int64_t us) { atomic_fetch_add(clock_moved, us); }
