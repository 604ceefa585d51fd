/*
 * Time in the log. Each record keeps the wall clock as it was read, and how much to add so that times never
 * step back (`clamp`). A clock that steps back by more than a minute is not smoothed over but starts a new
 * era, with its first seq in meta: in a store where one append was dated 2038, clamping all later ones to
 * 2038 made retention wait for years. Within an era the clamped time ascends with the seq, so a range of
 * times is a binary search in each era.
 */
#include "store/log_inner.h"

#include <stdlib.h>

#define CLAMP_MAX_US INT64_C(60000000) /* an era's clock is never clamped by more */

sl_status log_eras_read(db_txn *txn, uint64_t **eras, size_t *count) {
  sl_slice value;
  sl_status status = db_get(txn, LOG_META, LOG_KEY_ERAS, &value);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  if (status == SL_NOTFOUND || value.len < 8 || value.len % 8)
    return db_txn_fail(txn, sl_fail(SL_E_CORRUPT, "the log's list of eras is missing or damaged"));
  uint64_t *list = malloc(value.len);
  if (!list) return sl_fail(SL_E_NOMEM, "out of memory");
  memcpy(list, value.data, value.len);
  *eras = list;
  *count = value.len / 8;
  return SL_OK;
}

sl_status log_era_begin(db_txn *txn, uint64_t seq) {
  uint64_t *eras;
  size_t count;
  sl_buf list = {0};
  sl_status status = log_eras_read(txn, &eras, &count);
  if (status != SL_OK) return db_txn_fail(txn, status);
  sl_buf_append(&list, eras, count * 8);
  sl_buf_append(&list, &seq, 8);
  status = list.failed ? db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"))
                       : db_put(txn, LOG_META, LOG_KEY_ERAS, sl_buf_slice(&list));
  sl_buf_free(&list);
  free(eras);
  return status;
}

sl_status log_eras_prune(db_txn *txn, uint64_t first_seq) {
  uint64_t *eras;
  size_t count, gone = 0;
  sl_status status = log_eras_read(txn, &eras, &count);
  if (status != SL_OK) return db_txn_fail(txn, status);
  while (gone + 1 < count && eras[gone + 1] <= first_seq) gone++;
  if (gone > 0) status = db_put(txn, LOG_META, LOG_KEY_ERAS, SL_BYTES(eras + gone, (count - gone) * 8));
  free(eras);
  return status;
}

/* The smallest seq in [low, high + 1] from which on no record up to `high` has a clamped time below us. Trim
 * leaves holes; a look at one finds the next record. *damaged: a record on the way could not be read. */
static uint64_t first_at(log_view *view, uint64_t low, uint64_t high, int64_t us, bool *damaged) {
  uint64_t end = high + 1;
  while (low < end && !*damaged) {
    uint64_t middle = low + (end - low) / 2, found = 0;
    sl_parts parts;
    sl_status status = log_view_next(view, middle, true, &found, &parts);
    if (status != SL_OK && status != SL_NOTFOUND) *damaged = true;
    else if (status == SL_OK && found <= high && parts.appended_us + parts.clamp_us < us) low = found + 1;
    else end = middle;
  }
  return low;
}

sl_status log_view_time_ranges(log_view *view, int64_t since_us, int64_t until_us,
                               log_range *ranges, size_t max, size_t *count) {
  log_era *eras;
  size_t era_count, n = 0;
  sl_status status = log_view_eras(view, &eras, &era_count);
  if (status != SL_OK) return status;
  for (size_t i = 0; i < era_count; i++) {
    uint64_t first = eras[i].first, last = eras[i].last;
    bool damaged = false;
    if (since_us) first = first_at(view, first, last, since_us, &damaged);
    /* A clamped time is at most a minute above the raw one, which the caller asks about. */
    if (until_us && until_us < INT64_MAX - CLAMP_MAX_US && first <= last)
      last = first_at(view, first, last, until_us + CLAMP_MAX_US, &damaged) - 1;
    if (damaged) first = eras[i].first, last = eras[i].last;
    if (first > last || max == 0) continue;
    /* More eras than the caller has room for: the last range covers the rest, and is read through. */
    if (n > 0 && (n == max || ranges[n - 1].last + 1 == first)) ranges[n - 1].last = last;
    else ranges[n++] = (log_range){first, last};
  }
  free(eras);
  *count = n;
  return SL_OK;
}

#define RATE_SPAN_US INT64_C(600000000)
#define RATE_LEAST_US INT64_C(10000000)
#define RATE_SAMPLE 64u

/* How large the newest records are: a store's traffic changes, and what is old may be tombstones by now. */
static uint64_t mean_size(log_view *view) {
  uint64_t sum = 0, count = 0;
  const log_head *head = log_view_head(view);
  for (uint64_t seq = head->last_seq; seq >= head->first_seq && seq > 0 && count < RATE_SAMPLE; seq--) {
    uint64_t bytes;
    if (log_view_size(view, seq, &bytes) != SL_OK) break;
    sum += bytes;
    count++;
  }
  return count ? sum / count : 0;
}

sl_status log_view_rate(log_view *view, int64_t now_us, uint64_t *bytes_per_s) {
  log_range ranges[16];
  size_t count = 0;
  uint64_t events = 0;
  sl_status status = log_view_time_ranges(view, now_us - RATE_SPAN_US, now_us, ranges, 16, &count);
  if (status != SL_OK) return status;
  for (size_t i = 0; i < count; i++) events += ranges[i].last - ranges[i].first + 1;
  *bytes_per_s = 0;
  if (events == 0) return SL_OK;
  int64_t span = RATE_SPAN_US;
  sl_parts oldest;
  uint64_t found;
  /* A log younger than that: one that has kept every event it ever had. */
  if (ranges[0].first == 1 && log_view_next(view, 1, true, &found, &oldest) == SL_OK && found == 1)
    span = now_us - oldest.appended_us;
  if (span < RATE_LEAST_US) return SL_OK; /* a burst of a moment says nothing of the days to come */
  *bytes_per_s = (uint64_t)((double)events * (double)mean_size(view) * 1e6 / (double)span);
  return SL_OK;
}
