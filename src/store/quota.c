/*
 * The quota is soft: it is far below the map's size, so that trim, which writes before it frees, always has
 * room (a map full to the brim could never be trimmed again). A full quota is refused before anything is
 * written. Below the quota's high-water mark the check costs one comparison; above it the free list decides,
 * which is counted, not looked up, so the count is kept and only redone when it has run out or is old.
 */
#include "store/log_inner.h"

#include "base/clock.h"

#include <inttypes.h>

#define RECOUNT_AFTER_TXNS 64u
#define SLACK_OF_QUOTA 2 /* half of it; db_gather.c */
#define USED_FRESH_US 20000
/* Pages a commit touches besides its records: the path to the last leaf, meta tables, the free list. */
#define COMMIT_PAGES 16u
/* What a step of trim and the commit of a drop take at most before they give back more. */
#define RESERVE_LEAST (UINT64_C(64) << 10)
#define RESERVE_MOST (UINT64_C(8) << 20)
/* With the ballast gone and the disk full, what appends leave free in the file: enough for trim to free more. */
#define TIGHT_PAGES 64u
#define PAGE 4096u
/* LMDB keeps a value up to about half a page in the leaf; a larger one gets pages of its own. */
#define LEAF_VALUE_MAX 2000u

uint64_t quota_pages_of(size_t len) {
  return len <= LEAF_VALUE_MAX ? 1 : (len + 16 + PAGE - 1) / PAGE;
}

void quota_forget(sl_log *log) {
  pthread_mutex_lock(&log->quota.lock);
  log->quota.counted_txn = log->quota.used_txn = 0;
  pthread_mutex_unlock(&log->quota.lock);
}

uint64_t quota_limit(const sl_log *log, uint64_t quota) {
  /* Where address space was short the map is what limits; a part of it stays for trim. */
  const uint64_t map = db_env_map_size(log->env), most = map - map / 8;
  return quota < most ? quota : most;
}

uint64_t quota_reserve(uint64_t quota) {
  uint64_t reserve = quota / 256;
  return reserve < RESERVE_LEAST ? RESERVE_LEAST : reserve > RESERVE_MOST ? RESERVE_MOST : reserve;
}

static sl_status full(const sl_store *store, uint64_t used, uint64_t quota) {
  /* The delivery book is not opened under the log's writer lock; `stats` tells what is pending. */
  return sl_fail(SL_E_FULL, "the store at %s is full: %.1f MB of %.1f MB used; the event was not stored. Let "
                 "the agent deliver and trim, run `sidelog trim`, or raise the quota (`sidelog stats` tells "
                 "what is pending)", store->path, (double)used / 1e6, (double)quota / 1e6);
}

sl_status quota_check(sl_store *store, db_txn *txn, const log_meta *meta, uint64_t granted, uint64_t want) {
  sl_quota *q = &store->log->quota;
  uint64_t pages, size, quota = quota_limit(store->log, meta->quota);
  if (quota < meta->quota) db_env_wish_map(store->log->env, log_map_for(meta->quota)); /* another process raised it */
  sl_status status = db_high_water(txn, &pages, &size);
  if (status != SL_OK) return status;
  const uint64_t all = granted + want + COMMIT_PAGES; /* of a count that knows nothing of what was granted */
  uint64_t id = db_txn_id(txn), limit = (quota - quota_reserve(quota)) / size;
  const bool tight = meta->flags & LOG_TIGHT;
  db_env_allow_slack(store->log->env, tight ? 0 : quota / size / SLACK_OF_QUOTA);
  if (tight && pages < limit + TIGHT_PAGES) limit = pages > TIGHT_PAGES ? pages - TIGHT_PAGES : 0;
  if (!tight && pages + all <= limit) return SL_OK;
  /* So was what was granted, unless the count was asked for it already. */
  if (granted == 0 || (!tight && pages + granted + COMMIT_PAGES <= limit)) want = all;

  pthread_mutex_lock(&q->lock);
  for (int look = 0; status == SL_OK; look++) {
    bool fresh = look > 0;
    if (fresh || q->counted_txn == 0 || id - q->counted_txn > RECOUNT_AFTER_TXNS) {
      status = db_free_pages(txn, &q->free_pages);
      q->counted_txn = id;
      fresh = true;
      want = all;
    }
    if (status != SL_OK) break;
    uint64_t free_pages = q->free_pages < pages ? q->free_pages : pages;
    if (pages - free_pages + want <= limit) {
      q->free_pages -= free_pages < want ? free_pages : want;
      break;
    }
    if (fresh) status = full(store, (pages - free_pages) * size, quota);
  }
  pthread_mutex_unlock(&q->lock);
  return status;
}

sl_status log_space_get(sl_store *store, log_space *space) {
  sl_quota *q = &store->log->quota;
  db_txn *txn;
  log_meta meta;
  uint64_t pages, size, free_pages;
  int64_t now = sl_clock_monotonic_us();
  sl_status status = db_begin_read(store->log->env, &txn);
  if (status != SL_OK) return status;
  uint64_t id = db_txn_id(txn);
  pthread_mutex_lock(&q->lock);
  bool fresh = q->used_txn != 0 && (q->used_txn == id || now - q->used_at_us < USED_FRESH_US);
  log_space found = q->used;
  pthread_mutex_unlock(&q->lock);
  if (!fresh) {
    status = db_free_pages(txn, &free_pages);
    if (status == SL_OK) status = db_high_water(txn, &pages, &size);
    if (status == SL_OK) status = log_meta_read(txn, &meta);
    if (status == SL_OK) {
      if (free_pages > pages) free_pages = pages;
      found = (log_space){.used = (pages - free_pages) * size, .free = free_pages * size,
                          .reserved = quota_reserve(quota_limit(store->log, meta.quota))};
      pthread_mutex_lock(&q->lock);
      q->used_txn = id;
      q->used = found;
      q->used_at_us = now;
      pthread_mutex_unlock(&q->lock);
    }
  }
  db_abort(txn);
  if (status == SL_OK) *space = found;
  return status;
}

sl_status log_bytes_used(sl_store *store, uint64_t *bytes) {
  log_space space;
  sl_status status = log_space_get(store, &space);
  if (status == SL_OK) *bytes = space.used;
  return status;
}
