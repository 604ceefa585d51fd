/*
 * What is read of LMDB 0.9's data file (format 1, 64-bit little-endian):
 *
 *   page p begins at p * psize: number u64, pad u16, flags u16, lower u16 | upper u16 (or: count u32)
 *   pages 0 and 1 are meta pages; their body at 16: magic u32, version u32, address u64, map size u64,
 *     two tree heads of 48 bytes (the free list's, the main one's), last page u64, transaction u64.
 *     The one with the larger transaction counts. The page size is the first word of the first tree head.
 *   a tree head: pad u32, flags u16, depth u16, four counts u64, root page u64
 *   a node: u16 lo, u16 hi, u16 flags, u16 key size, key, data. Leaf: lo | hi << 16 is the data's size.
 *     Branch: lo | hi << 16 | flags << 32 is the child's page.
 *
 * "Actually the file may be shorter if the freeDB lists the final pages", says mdb.c: pages that were taken
 * and given back within one transaction are never written. Refusing every short file would refuse sound
 * ones, so the free list is read before a verdict.
 */
#include "db/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

enum {
  PAGE_HEAD = 16, META_SIZE = 136,
  FLAG_BRANCH = 0x01, FLAG_LEAF = 0x02, FLAG_OVERFLOW = 0x04, FLAG_META = 0x08,
  NODE_HEAD = 8, NODE_BIG = 0x01,
  DEPTH_MAX = 32,
  EXTENTS = 16
};
#define LMDB_MAGIC 0xBEEFC0DEu
#define LMDB_VERSION 1u
#define NO_PAGE UINT64_MAX
#define PAGE_USUAL 4096u /* where the second meta page is looked for when the first one is missing */

typedef struct file {
  int fd;
  const char *path;
  uint64_t size, psize, last_page, txn, free_root;
  uint64_t missing_from; /* first page beyond the end of the file */
  uint8_t *missing;      /* one byte for each missing page: 1 once the free list names it */
} file;

#if defined(__linux__)
/* 0, or errno. A signal may interrupt it, which is no reason to go without the blocks. */
static int allocate(int fd, uint64_t from, uint64_t len) {
  int rc;
  do rc = fallocate(fd, 0, (off_t)from, (off_t)len);
  while (rc != 0 && errno == EINTR);
  return rc == 0 ? 0 : errno;
}

/* For good, and within the file: what a file system adds beyond the end of one that grows it takes back when the disk is
 * full. False where it cannot tell. Not SEEK_HOLE: it looks up to the end of the file, on tmpfs page by page. Not fstat:
 * to ask for times makes the next flush write the inode. LMDB sets the offset before each use of it. */
static bool has_blocks(int fd, uint64_t from, uint64_t len) {
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0 || (uint64_t)end < from + len) return false;
  union { struct fiemap map; uint8_t room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)]; } ask;
  memset(&ask, 0, sizeof ask);
  ask.map = (struct fiemap){.fm_start = from, .fm_length = len, .fm_extent_count = EXTENTS};
  if (ioctl(fd, FS_IOC_FIEMAP, &ask) != 0) return false;
  const struct fiemap_extent *extent = (const void *)((const uint8_t *)&ask + sizeof(struct fiemap));
  uint64_t to = from;
  for (uint32_t i = 0; i < ask.map.fm_mapped_extents && extent[i].fe_logical <= to; i++) {
    if (extent[i].fe_flags & FIEMAP_EXTENT_UNKNOWN) return false; /* not on the disk yet */
    to = extent[i].fe_logical + extent[i].fe_length;
  }
  return to >= from + len;
}
#endif

sl_status db_file_reserve(const char *path, uint64_t size, uint32_t mode) {
#if defined(__linux__)
  struct stat st = {0};
  /* Not posix_fallocate: where the file system has no such call, glibc writes into the file, which others may
   * have mapped. */
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, (mode_t)mode), error = 0;
  if (fd < 0) return SL_OK;
  if (fstat(fd, &st) == 0 && st.st_size > 0) size = (uint64_t)st.st_size;
  if ((uint64_t)st.st_blocks * 512 < size) error = allocate(fd, 0, size);
  close(fd);
  if (error == ENOSPC || error == EDQUOT)
    return sl_fail(SL_E_FULL, "%s: %s: the disk is full; make room on it", path, strerror(error));
#else
  (void)path, (void)size, (void)mode;
#endif
  return SL_OK;
}

int db_file_allocate(int fd, uint64_t from, uint64_t len) {
#if defined(__linux__)
  /* A file that gets blocks it has already is written to the disk with its inode, all the same: a flush of twice the
   * time. */
  const int error = has_blocks(fd, from, len) ? 0 : allocate(fd, from, len);
  return error == ENOSPC || error == EDQUOT ? error : 0;
#else
  (void)fd, (void)from, (void)len;
  return 0;
#endif
}

int db_file_guard(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (fd >= 0 && flock(fd, LOCK_EX) != 0)
    if (errno != EINTR) {
      close(fd);
      return -1;
    }
  return fd;
}

int db_file_flush(int fd) {
#if defined(F_FULLFSYNC)
  /* fsync on Apple's systems leaves the data in the drive's cache; some file systems know no F_FULLFSYNC. */
  if (fcntl(fd, F_FULLFSYNC) == 0) return 0;
  return fsync(fd);
#elif defined(_POSIX_SYNCHRONIZED_IO) && _POSIX_SYNCHRONIZED_IO > 0
  return fdatasync(fd);
#else
  return fsync(fd);
#endif
}

sl_status db_file_sync_dir(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return sl_fail(sl_status_of_errno(errno), "%s: cannot be opened: %s", path, strerror(errno));
  sl_status status = SL_OK;
  /* Some file systems refuse to flush a folder; there is nothing more one could do there. */
  if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
    status = sl_fail(sl_status_of_errno(errno), "%s: the folder cannot be flushed: %s", path,
                     strerror(errno));
  close(fd);
  return status;
}

static bool read_all(int fd, void *data, size_t len, uint64_t at) {
  uint8_t *to = data;
  while (len > 0) {
    ssize_t got = pread(fd, to, len, (off_t)at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got, at += (uint64_t)got, len -= (size_t)got;
  }
  return true;
}

static bool all_zero(const uint8_t *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (data[i]) return false;
  return true;
}

static sl_status foreign(const char *path) {
  return sl_fail(SL_E_CORRUPT, "%s is not a data file of LMDB (its meta page is wrong): it was damaged or "
                 "replaced. Restore it, or move the store away and start a new one", path);
}

/* Marks what one record of the free list names. */
static void mark(file *f, const uint8_t *list, uint64_t bytes) {
  if (bytes < 8) return;
  uint64_t count = sl_get_u64(list);
  if (count > bytes / 8 - 1) count = bytes / 8 - 1;
  for (uint64_t i = 1; i <= count; i++) {
    uint64_t page = sl_get_u64(list + i * 8);
    if (page >= f->missing_from && page <= f->last_page) f->missing[page - f->missing_from] = 1;
  }
}

/* Walks the free list's tree. False: part of it cannot be read (lies beyond the end, or makes no sense). */
static bool walk(file *f, uint64_t page, unsigned depth) {
  if (depth > DEPTH_MAX || page < 2 || page >= f->missing_from) return false;
  uint8_t *p = malloc(f->psize);
  if (!p) return false;
  bool ok = read_all(f->fd, p, f->psize, page * f->psize);
  unsigned flags = ok ? sl_get_u16(p + 10) : 0, lower = ok ? sl_get_u16(p + 12) : 0;
  ok = ok && (flags & (FLAG_BRANCH | FLAG_LEAF)) && lower >= PAGE_HEAD && lower <= f->psize;
  unsigned nodes = ok ? (lower - PAGE_HEAD) / 2 : 0;
  for (unsigned i = 0; ok && i < nodes; i++) {
    unsigned at = sl_get_u16(p + PAGE_HEAD + 2 * i);
    if (at + NODE_HEAD > f->psize) { ok = false; break; }
    const uint8_t *node = p + at;
    uint64_t low = (uint64_t)sl_get_u16(node) | (uint64_t)sl_get_u16(node + 2) << 16;
    unsigned node_flags = sl_get_u16(node + 4), key = sl_get_u16(node + 6);
    if (flags & FLAG_BRANCH) {
      ok = walk(f, low | (uint64_t)node_flags << 32, depth + 1);
      continue;
    }
    uint64_t data = (uint64_t)at + NODE_HEAD + key;
    if (!(node_flags & NODE_BIG)) {
      ok = data + low <= f->psize;
      if (ok) mark(f, p + data, low);
      continue;
    }
    if (data + 8 > f->psize) { ok = false; break; }
    uint64_t big = sl_get_u64(p + data);
    uint8_t *list = big < f->missing_from && low <= f->size ? malloc(low) : NULL;
    ok = list && read_all(f->fd, list, low, big * f->psize + PAGE_HEAD);
    if (ok) mark(f, list, low);
    free(list);
  }
  free(p);
  return ok;
}

/* Are all the pages beyond the end of the file free ones? */
static bool missing_are_free(file *f) {
  uint64_t count = f->last_page + 1 - f->missing_from;
  if (f->free_root == NO_PAGE || count > (1u << 20)) return false;
  f->missing = calloc(1, count);
  bool ok = f->missing && walk(f, f->free_root, 0) && !memchr(f->missing, 0, count);
  free(f->missing);
  f->missing = NULL;
  return ok;
}

/* Reads the newer meta page into *f. *blank: the file never was complete. LMDB's first write makes both meta
 * pages, its first commit flushes them before it writes a third version; so while one of them is missing, and the
 * other, if there, is of transaction 0, nothing has ever been committed. A power cut may leave either alone. */
static sl_status read_meta(file *f, bool *blank) {
  uint8_t meta[PAGE_HEAD + META_SIZE];
  unsigned missing = 0;
  *blank = false;
  f->psize = 0;
  for (int i = 0; i < 2; i++) {
    struct stat st;
    if (fstat(f->fd, &st) != 0) return foreign(f->path);
    const uint64_t at = i == 0 ? 0 : f->psize ? f->psize : PAGE_USUAL;
    bool there = read_all(f->fd, meta, sizeof meta, at);
    if (!there && i == 0 && st.st_size > 0) return foreign(f->path);
    if (!there || all_zero(meta, sizeof meta)) {
      missing++;
      continue;
    }
    const uint8_t *m = meta + PAGE_HEAD;
    if (!(sl_get_u16(meta + 10) & FLAG_META) || sl_get_u32(m) != LMDB_MAGIC) return foreign(f->path);
    if (sl_get_u32(m + 4) != LMDB_VERSION)
      return sl_fail(SL_E_VERSION, "%s was written by a later LMDB (data format %" PRIu32 ", this one reads %u"
                     "): use a newer sidelog; nothing was touched", f->path, sl_get_u32(m + 4), LMDB_VERSION);
    uint64_t psize = sl_get_u32(m + 24), txn = sl_get_u64(m + 128);
    if (psize < 512 || psize > 65536 || (psize & (psize - 1))) return foreign(f->path);
    if (f->psize == 0 || txn > f->txn) {
      f->txn = txn;
      f->last_page = sl_get_u64(m + 120);
      f->free_root = sl_get_u64(m + 64);
    }
    f->psize = psize;
  }
  *blank = missing > 0 && f->txn == 0;
  return missing == 0 || *blank ? SL_OK : foreign(f->path);
}

/* With both meta pages zero: nothing was ever committed. A power cut during creation, before the first flush, leaves
 * zeros, or of the first commit's pages what had come to the disk. That is one page, with the names of empty tables;
 * a longer file with anything in it is taken for damaged, and left alone. */
static bool never_committed(const file *f) {
  uint8_t block[4096];
  if (f->size <= 3 * (uint64_t)sysconf(_SC_PAGESIZE)) return true;
  if (f->size > 16 * sizeof block) return false;
  for (uint64_t at = 0; at < f->size; at += sizeof block) {
    size_t len = f->size - at < sizeof block ? (size_t)(f->size - at) : sizeof block;
    if (!read_all(f->fd, block, len, at) || !all_zero(block, len)) return false;
  }
  return true;
}

sl_status db_file_check(const char *path, db_file_state *state) {
  file f = {.path = path};
  f.fd = open(path, O_RDONLY | O_CLOEXEC);
  if (f.fd < 0) {
    if (errno == ENOENT) return *state = DB_FILE_ABSENT, SL_OK;
    return sl_fail(sl_status_of_errno(errno), "%s cannot be read: %s", path, strerror(errno));
  }
  bool blank;
  sl_status status = read_meta(&f, &blank);
  /* The size is read after the meta pages: a writer extends the file first and writes its meta page last. */
  struct stat st;
  if (status == SL_OK && fstat(f.fd, &st) != 0)
    status = sl_fail(SL_E_IO, "%s: fstat: %s", path, strerror(errno));
  if (status == SL_OK) {
    f.size = (uint64_t)st.st_size;
    uint64_t wanted = blank ? 0 : (f.last_page + 1) * f.psize;
    f.missing_from = blank ? 0 : f.size / f.psize;
    if (blank) {
      if (f.psize || never_committed(&f)) *state = DB_FILE_EMPTY;
      else status = foreign(path);
    } else if (f.last_page > (UINT64_MAX >> 17) || (f.size < wanted && !missing_are_free(&f))) {
      status = sl_fail(SL_E_CORRUPT, "%s is %" PRIu64 " bytes long, but its meta page says %" PRIu64
                       " pages of %" PRIu64 " bytes: the file was cut off. Restore it from a copy, or move the "
                       "store away and start a new one", path, f.size, f.last_page + 1, f.psize);
    } else {
      *state = DB_FILE_PRESENT;
    }
  }
  close(f.fd);
  return status;
}

void db_file_will_need(const void *data, size_t len) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)data + len;
  const uintptr_t from = (uintptr_t)data & ~(page - 1), last = (end - 1) & ~(page - 1);
#if defined(__linux__) /* asking for pages that are there costs a millisecond for each few megabytes */
  unsigned char there;
  if (mincore((void *)last, page, &there) == 0 && (there & 1)) return;
#endif
  (void)madvise((void *)from, end - from, MADV_WILLNEED);
}
