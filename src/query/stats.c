/* sl_stats_get: the conservation law, counted.
 *
 * appended = delivered + duplicates + dead + dropped + pending, where the four in the middle are the book's
 * totals, and pending is counted from the log's own number of records (LMDB counts the entries of its table;
 * nobody here adds or subtracts from it):
 *
 *   records above the cursor = kept - (cursor - trimmed)     all trimmed ones lie below the cursor
 *   pending                  = those + the lanes' waiting events - replay copies among them
 *   appended                 = last seq - replay copies ever appended
 *
 * A tombstone (an event that a full store dropped) is dropped from the moment its record says so. Until delivery
 * passes it, the log's counter of drops less the book's of settled ones moves it from pending to dropped.
 *
 * On a sound store kept + trimmed = last seq, and the law holds. It fails when a record is missing that no
 * trim removed (kept is short by one, so pending is), when a receipt was counted twice or never (totals
 * differ), or when log/ and delivery/ do not belong together. If pending were last seq minus the settled
 * ones, it could never fail, and would say nothing. sl_verify counts the same record by record. */
#include "base/clock.h"
#include "delivery/book_impl.h"
#include "store/snapshot.h"
#include "store/space.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TRIES 100
#define OLDEST_LOOKS 20000u

typedef struct waiting {
  uint64_t count, first;
} waiting;

static sl_status count_waiting(void *arg, uint64_t seq, size_t lane) {
  waiting *w = arg;
  (void)lane;
  if (w->count++ == 0) w->first = seq;
  return SL_OK;
}

/* Is the book still where it was? Then totals and records are those of the instant of the log's snapshot. */
static sl_status book_stands(sl_store *store, const book_view *before, bool *stands) {
  book_view *now;
  sl_status status = book_view_open(store, &now);
  if (status != SL_OK) return status;
  *stands = book_view_cursor(now)->attempt == book_view_cursor(before)->attempt &&
            book_view_cursor(now)->seq == book_view_cursor(before)->seq;
  book_view_close(now);
  return SL_OK;
}

static sl_status look(sl_store *store, snapshot *snap) {
  for (int i = 0;; i++) {
    sl_status status = snapshot_open(store, snap);
    if (status != SL_OK) return status;
    bool stands = false;
    status = book_stands(store, snap->book, &stands);
    /* A book that moves at every look is as good, unless trim has also gone beyond: first_seq was checked. */
    if (status == SL_OK && (stands || i >= TRIES)) return SL_OK;
    snapshot_close(snap);
    if (status != SL_OK) return status;
  }
}

/* Tombstones in front are passed over, as many as can be in a moment; 0: beyond. */
static sl_status oldest_pending(snapshot *snap, uint64_t from, int64_t *at) {
  sl_parts parts;
  uint64_t seq = from, found = 0;
  for (unsigned looks = 0; looks < OLDEST_LOOKS; looks++, seq = found + 1) {
    bool damaged;
    sl_status status = snapshot_next(snap->log, seq, true, &found, &parts, &damaged);
    if (status == SL_NOTFOUND) return SL_OK;
    if (status == SL_OK && (damaged || (parts.flags & SL_RECORD_DROPPED))) continue;
    if (status == SL_OK) *at = parts.appended_us;
    return status;
  }
  return SL_OK;
}

static sl_status count(snapshot *snap, sl_stats *s) {
  const log_head *head = log_view_head(snap->log);
  const sl_progress *cursor = book_view_cursor(snap->book);
  const book_totals *totals = book_view_totals(snap->book);
  waiting lanes = {0};
  sl_status status = book_lane_each(snap->book, cursor->seq, count_waiting, &lanes);
  if (status != SL_OK) return status;
  const uint64_t copies = head->copies > totals->copies ? head->copies - totals->copies : 0;
  const uint64_t below = cursor->seq > head->trimmed ? cursor->seq - head->trimmed : 0;
  const uint64_t above = head->kept > below ? head->kept - below : 0;
  const uint64_t open = above + lanes.count;
  const uint64_t tombstones = head->drops > totals->drops ? head->drops - totals->drops : 0;
  s->appended = head->last_seq - head->copies;
  s->delivered = totals->delivered;
  s->duplicates = totals->duplicates;
  s->dead = totals->dead;
  s->dropped = totals->dropped + tombstones;
  s->dropped_full = head->drops;
  s->pending = open > copies + tombstones ? open - copies - tombstones : 0;
  s->balanced = s->appended == s->delivered + s->duplicates + s->dead + s->dropped + s->pending;
  s->first_seq = head->kept ? head->first_seq : 0;
  s->last_seq = head->last_seq;
  s->kept = head->kept;
  s->trimmed = head->trimmed;
  s->bytes_quota = head->quota;
  s->delivery_seq = cursor->seq;
  s->indexed_seq = index_view_watermark(snap->index);
  s->without_correlation = index_view_without_correlation(snap->index);
  s->lanes = cursor->lane_count;
  const uint64_t first_open = lanes.count ? lanes.first : cursor->seq + 1;
  if (s->pending > 0) status = oldest_pending(snap, first_open, &s->oldest_pending_us);
  sl_parts parts;
  if (status == SL_OK && head->last_seq) {
    status = log_view_get(snap->log, head->last_seq, true, &parts);
    if (status == SL_OK) s->newest_us = parts.appended_us;
    if (status == SL_NOTFOUND || status == SL_E_CORRUPT) status = SL_OK; /* verify's business */
  }
  return status;
}

/* When the quota or the disk is met, if the log grows on as it did lately and nothing is trimmed. */
static int64_t full_in(const sl_store *store, const sl_stats *s, const log_space *space) {
  const uint64_t usable = s->bytes_quota - (space->reserved < s->bytes_quota ? space->reserved : 0);
  uint64_t room = space->used < usable ? usable - space->used : 0, disk;
  if (space_disk_free(store, &disk) && disk + space->free < room) room = disk + space->free;
  if (room == 0) return 0;
  if (s->bytes_per_s == 0) return -1;
  const double us = (double)room / (double)s->bytes_per_s * 1e6;
  return us < 9e18 ? (int64_t)us : INT64_MAX;
}

static uint64_t folder_bytes(const sl_store *store, const char *name) {
  char *path = store_path(store, name);
  DIR *dir = path ? opendir(path) : NULL;
  uint64_t sum = 0;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    struct stat st;
    if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
      sum += (uint64_t)st.st_blocks * 512;
  }
  if (dir) closedir(dir);
  free(path);
  return sum;
}

sl_status sl_stats_get(sl_store *store, sl_stats *out) {
  sl_status status = store_enter(store);
  if (status == SL_OK && !out) status = sl_fail(SL_E_INVALID, "stats is NULL");
  if (status != SL_OK) return status;
  sl_stats s = {0};
  snapshot snap;
  status = look(store, &snap);
  if (status != SL_OK) return status;
  status = count(&snap, &s);
  if (status == SL_OK) status = log_view_rate(snap.log, sl_clock_wall_us(), &s.bytes_per_s);
  snapshot_close(&snap);
  db_env_info log = {0}, book = {0};
  log_space space = {0};
  if (status == SL_OK) status = log_space_get(store, &space);
  if (status == SL_OK) status = log_env_info(store, &log);
  if (status == SL_OK) status = db_env_info_get(store->book->env, &book);
  if (status != SL_OK) return status;
  s.bytes_used = space.used;
  s.bytes_free = space.free;
  const uint64_t ballast = space_ballast_bytes(store);
  s.bytes_reserved = space.reserved + ballast;
  s.full_in_us = full_in(store, &s, &space);
  s.bytes_on_disk =
      folder_bytes(store, "log") + folder_bytes(store, "index") + folder_bytes(store, "delivery") +
      folder_bytes(store, "readers") + ballast;
  s.readers = log.readers + book.readers;
  s.reader_lag = log.reader_lag > book.reader_lag ? log.reader_lag : book.reader_lag;
  *out = s;
  return SL_OK;
}
