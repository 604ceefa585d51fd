/*
 * The log as a reader sees it: short snapshots, up to READER_WINDOW events ahead.
 *
 * Seqs are dense, so a seq that is not there was trimmed: missed. For a new reader that is not so of the events
 * up to `born`, the newest one when it was created: holes among those may be older than the reader. How many
 * records there were is known (`expected`), so when the scan has passed `born`, what of them has not been met
 * was trimmed since.
 */
#include "readers/reader_impl.h"

#include "base/text.h"
#include "store/log.h"
#include "store/snapshot.h"

#include <xxhash.h>

static bool next_glob(const char **at, const char *end, sl_slice *glob) {
  if (*at >= end) return false;
  const char *comma = memchr(*at, ',', (size_t)(end - *at));
  if (!comma) comma = end;
  *glob = SL_BYTES(*at, comma - *at);
  *at = comma + 1;
  return true;
}

bool reader_filter_ok(sl_slice globs) {
  const char *at = globs.data, *end = at + globs.len;
  if (globs.len == 0) return true;
  if (globs.len > SL_READER_FILTER_MAX || !at || !sl_utf8_valid(globs) || end[-1] == ',') return false;
  for (sl_slice glob; next_glob(&at, end, &glob);)
    if (glob.len == 0) return false;
  return true;
}

static bool fits(sl_slice globs, sl_slice text) {
  const char *at = globs.data, *end = at + globs.len;
  if (globs.len == 0) return true;
  for (sl_slice glob; next_glob(&at, end, &glob);)
    if (sl_glob_match(glob, text)) return true;
  return false;
}

static uint64_t lane_of(const sl_parts *p) {
  const uint64_t topic = XXH3_64bits(p->topic.data, p->topic.len);
  return p->key.data ? XXH3_64bits_withSeed(p->key.data, p->key.len, topic | 1) : topic;
}

/* The scan passes the seqs from r->scanned + 1 up to the record `seq`. */
static void pass(sl_reader *r, uint64_t seq) {
  uint64_t from = r->scanned + 1;
  if (from <= r->born) from = r->born + 1; /* nothing is known of holes in front of it, */
  if (seq > from) r->tail_missed += seq - from;
  if (seq <= r->born && r->scan_expected > 0) r->scan_expected--;
  if (seq >= r->born) { /* until it is passed */
    r->tail_missed += r->scan_expected;
    r->scan_expected = 0;
  }
  r->scanned = seq;
}

static void note(sl_reader *r, uint64_t seq, uint64_t lane_hash) {
  r->window[r->window_count++] =
      (found){.seq = seq, .lane = lane_hash, .missed = r->tail_missed, .expected = r->scan_expected};
  r->tail_missed = 0;
}

/* One record: is it the reader's? */
static sl_status look(sl_reader *r, log_view *log, uint64_t seq, sl_parts *parts, bool damaged) {
  if (!damaged && (!fits(r->options.topics, parts->topic) || !fits(r->options.types, parts->type) ||
                   (parts->flags & SL_RECORD_REPLAY))) return SL_OK;
  if (!damaged && (parts->flags & SL_RECORD_DROPPED)) { /* its value is gone */
    r->tail_missed++;
    return SL_OK;
  }
  const sl_status status = damaged ? SL_E_CORRUPT : log_view_get(log, seq, false, parts);
  if (status != SL_OK && status != SL_E_CORRUPT) return status;
  note(r, seq, status == SL_OK ? lane_of(parts) : XXH3_64bits(&seq, sizeof seq));
  return SL_OK;
}

static sl_status refill(sl_reader *r) {
  log_view *log;
  sl_status status = log_view_open(r->store, &log);
  if (status != SL_OK) return status;
  const uint64_t last = log_view_head(log)->last_seq;
  r->window_at = r->window_count = 0;
  for (unsigned looks = 0; status == SL_OK && looks < READER_LOOKS && r->window_count < READER_WINDOW &&
       r->scanned < last; looks++) {
    sl_parts parts;
    uint64_t seq = 0;
    bool damaged;
    status = snapshot_next(log, r->scanned + 1, true, &seq, &parts, &damaged);
    if (status != SL_OK) break;
    pass(r, seq);
    status = look(r, log, seq, &parts, damaged);
  }
  log_view_close(log);
  return status == SL_NOTFOUND ? SL_OK : status;
}

/* What the scan has passed behind the window's last event, the reader has seen, too. */
static void take_tail(sl_reader *r) {
  r->delta.missed += r->tail_missed;
  r->delta.seen += r->tail_missed;
  r->missed_untold += r->tail_missed;
  r->tail_missed = 0;
  r->seq = r->scanned;
  r->expected = r->scan_expected;
}

sl_status reader_peek(sl_reader *r, found *out) {
  for (;;) {
    if (r->window_at < r->window_count) {
      *out = r->window[r->window_at];
      return SL_OK;
    }
    const uint64_t before = r->scanned;
    sl_status status = refill(r);
    if (status != SL_OK) return status;
    if (r->window_count > 0) continue;
    take_tail(r);
    if (r->scanned == before) return SL_NOTFOUND;
  }
}

void reader_take(sl_reader *r) {
  const found *f = &r->window[r->window_at++];
  r->delta.missed += f->missed;
  r->missed_untold += f->missed;
  r->delta.seen += f->missed + 1;
  r->seq = f->seq;
  r->expected = f->expected;
  if (r->window_at == r->window_count) take_tail(r);
}

/* ----------------------------------------------------------------- fetch --- */

sl_status reader_fetch(sl_reader *r, item *it) {
  bool tombstone = false;
  sl_status status = query_fetch(r->store, it->e.seq, &it->fetched, &it->memory, &tombstone);
  if (status != SL_OK || !tombstone) return status;
  arena_free(&it->memory);
  return SL_NOTFOUND;
}
