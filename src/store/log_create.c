/*
 * A store is complete when table `meta` of log/ has its head, written by one durable commit at the very end
 * of creation. A crash before that leaves tables without a head (or less), and the next open does it again.
 * Everything before the head is done under LMDB's writer lock: two processes that create the same store at
 * once must not zero-write over each other's first events.
 */
#include "base/clock.h"
#include "base/id.h"
#include "db/db_file.h"
#include "store/log_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ZEROS (256u << 10)
#define ZEROS_FLUSH (4u << 20) /* so that who waits sees the file change, on the slowest card too */

sl_status log_peek(const sl_store *store, const char *dir, uint64_t *quota) {
  /* The smallest map (LMDB makes it as large as the data), the one table that every format has. */
  db_env_options options = {.map_size = 1u << 20, .map_floor = 1u << 20, .max_readers = 1024, .mode = 0600};
  db_env *env;
  db_txn *txn;
  sl_slice value;
  log_meta meta = {0};
  sl_status status = db_env_open(dir, &log_tables[LOG_META], 1, &options, &env);
  if (status != SL_OK) return status;
  status = db_begin_read(env, &txn);
  if (status == SL_OK) {
    /* Table 0 of this environment is `meta`. */
    status = db_get(txn, 0, LOG_KEY_FORMAT, &value);
    if (status == SL_NOTFOUND) status = sl_fail(SL_E_NO_STORE, "the store at %s was never completed", store->path);
    uint32_t format = status == SL_OK && value.len == 4 ? sl_get_u32(value.data) : 0;
    if (status == SL_OK && format > LOG_FORMAT_DROPS)
      status = sl_fail(SL_E_VERSION, "the store at %s was written by format %" PRIu32 ", this sidelog reads "
                       "up to %u: use a newer sidelog; nothing was touched", store->path, format,
                       LOG_FORMAT_DROPS);
    if (status == SL_OK && format == 0)
      status = sl_fail(SL_E_CORRUPT, "%s: the format version is damaged", dir);
    if (status == SL_OK) status = db_get(txn, 0, LOG_KEY_HEAD, &value);
    if (status == SL_NOTFOUND || (status == SL_OK && value.len < LOG_META_SIZE))
      status = sl_fail(SL_E_CORRUPT, "%s: the head of the log is missing", dir);
    if (status == SL_OK) meta.quota = sl_get_u64((const uint8_t *)value.data + 24);
    db_abort(txn);
  }
  db_env_close(env);
  if (status == SL_OK) *quota = meta.quota;
  return status;
}

static sl_status flush(int fd, const char *path) {
  if (db_file_flush(fd) == 0) return SL_OK;
  return sl_fail(sl_status_of_errno(errno), "%s: flushing: %s", path, strerror(errno));
}

static sl_status zero_file(int fd, const char *path, uint64_t from, uint64_t to) {
  uint8_t *zeros = calloc(1, ZEROS);
  if (!zeros) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = SL_OK;
  for (uint64_t at = from; status == SL_OK && at < to;) {
    size_t len = to - at < ZEROS ? (size_t)(to - at) : ZEROS;
    ssize_t done = pwrite(fd, zeros, len, (off_t)at);
    if (done > 0) {
      at += (uint64_t)done;
      if ((at - from) % ZEROS_FLUSH == 0) status = flush(fd, path);
    } else if (done == 0 || errno != EINTR) {
      status = sl_fail(done == 0 ? SL_E_FULL : sl_status_of_errno(errno), "%s: reserving %" PRIu64
                       " bytes: %s. Make room, or preallocate less", path, to,
                       done == 0 ? "no room" : strerror(errno));
    }
  }
  free(zeros);
  return status == SL_OK ? flush(fd, path) : status;
}

/* Writes zeros behind LMDB's pages, so that later flushes find the blocks allocated and written: fewer
 * journal commits of the file system. fallocate was measured not to pay: its blocks are unwritten extents,
 * each turned by the first write, which is what the journal commit is about. LMDB takes these bytes for the
 * rest of its file and overwrites them as it grows. */
static sl_status reserve(db_txn *txn, const char *dir, uint64_t bytes) {
  uint64_t pages, page_size;
  char path[4096];
  sl_status status = db_high_water(txn, &pages, &page_size);
  uint64_t used = status == SL_OK ? pages * page_size : 0;
  if (status != SL_OK || bytes <= used) return status;
  snprintf(path, sizeof path, "%s/data.mdb", dir);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return sl_fail(sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  status = zero_file(fd, path, used, bytes);
  if (status != SL_OK) (void)!ftruncate(fd, (off_t)used);
  close(fd);
  return status;
}

sl_status log_create(sl_store *store, db_env *env, const char *dir) {
  db_txn *txn;
  sl_slice value;
  const sl_options *o = &store->options;
  uint8_t identity[24], format[4], first_era[8];
  sl_status status = db_begin_write(env, false, &txn);
  if (status != SL_OK) return status;
  status = db_get(txn, LOG_META, LOG_KEY_FORMAT, &value);
  if (status != SL_NOTFOUND) { /* another process was faster */
    db_abort(txn);
    return status;
  }
  if (!sl_random(identity, 16)) {
    db_abort(txn);
    return sl_fail(SL_E_IO, "the system gives no random bytes for the store's identity");
  }
  identity[6] = (uint8_t)((identity[6] & 0x0f) | 0x40); /* RFC 9562: version 4, */
  identity[8] = (uint8_t)((identity[8] & 0x3f) | 0x80); /* variant 10 */
  sl_put_u64(identity + 16, (uint64_t)sl_clock_wall_us());
  sl_put_u32(format, SL_FORMAT_VERSION);
  sl_put_u64(first_era, 1);
  log_meta meta = {.first_seq = 1, .quota = o->quota_bytes ? o->quota_bytes : LOG_DEFAULT_QUOTA};
  uint64_t zeros = o->preallocate == SL_NONE ? 0 : o->preallocate;
  status = reserve(txn, dir, zeros < meta.quota ? zeros : meta.quota);
  if (status != SL_OK) db_txn_fail(txn, status);
  db_put(txn, LOG_META, LOG_KEY_STORE, SL_BYTES(identity, sizeof identity));
  db_put(txn, LOG_META, LOG_KEY_ERAS, SL_BYTES(first_era, sizeof first_era));
  log_meta_write(txn, &meta);
  db_put(txn, LOG_META, LOG_KEY_FORMAT, SL_BYTES(format, sizeof format));
  return db_commit(txn);
}
