/*
 * The quota is soft: it is far below the map's size, so that trim, which writes before it frees, always has room
 * (a map full to the brim could never be trimmed again). A full quota is refused before anything is written. What
 * is in use is asked of LMDB, which counts the pages of each table: so no process goes by a count of its own while
 * others take what is left.
 */
#include "store/log_inner.h"

#include <inttypes.h>

#define SLACK_OF_QUOTA 2 /* half of it; db_gather.c */
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

/* Pages in use when the transaction began, noted at its first look, before anything is granted. One that is
 * aborted gives its number, and what it found, to the next. */
static sl_status used_before(sl_quota *q, db_txn *txn, bool first, uint64_t *used) {
  sl_status status = SL_OK;
  pthread_mutex_lock(&q->lock);
  if (first || q->txn != db_txn_id(txn)) status = db_used_pages(txn, &q->used);
  q->txn = db_txn_id(txn);
  *used = q->used;
  pthread_mutex_unlock(&q->lock);
  return status;
}

sl_status quota_check(sl_store *store, db_txn *txn, const log_meta *meta, uint64_t granted, uint64_t want) {
  uint64_t pages, size, used, quota = quota_limit(store->log, meta->quota);
  if (quota < meta->quota) /* another process raised it */
    db_env_wish_map(store->log->env, log_map_for(meta->quota));
  sl_status status = db_high_water(txn, &pages, &size);
  if (status == SL_OK) status = used_before(&store->log->quota, txn, granted == 0, &used);
  if (status != SL_OK) return status;
  uint64_t limit = (quota - quota_reserve(quota)) / size;
  const bool tight = meta->flags & LOG_TIGHT;
  db_env_allow_slack(store->log->env, tight ? 0 : quota / size / SLACK_OF_QUOTA);
  if (tight && pages < limit + TIGHT_PAGES) limit = pages > TIGHT_PAGES ? pages - TIGHT_PAGES : 0;
  const uint64_t all = granted + want + COMMIT_PAGES;
  return used + all <= limit ? SL_OK : full(store, used * size, quota);
}

sl_status log_space_get(sl_store *store, log_space *space) {
  db_txn *txn;
  log_meta meta;
  uint64_t pages, size, used;
  sl_status status = db_begin_read(store->log->env, &txn);
  if (status != SL_OK) return status;
  status = db_used_pages(txn, &used);
  if (status == SL_OK) status = db_high_water(txn, &pages, &size);
  if (status == SL_OK) status = log_meta_read(txn, &meta);
  db_abort(txn);
  if (status != SL_OK) return status;
  const uint64_t free_pages = pages > used ? pages - used : 0;
  *space = (log_space){.used = used * size, .free = free_pages * size,
                       .reserved = quota_reserve(quota_limit(store->log, meta.quota))};
  return SL_OK;
}

sl_status log_bytes_used(sl_store *store, uint64_t *bytes) {
  log_space space;
  sl_status status = log_space_get(store, &space);
  if (status == SL_OK) *bytes = space.used;
  return status;
}
