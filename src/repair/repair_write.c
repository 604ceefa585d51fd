/* The new store: its log record by record, byte for byte, with a tombstone for each pending event that is lost;
 * its index from the log; its books from repair_settle.c. Made beside its place, moved there once verified. */
#include "repair/repair_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "db/db_file.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMMIT_RECORDS = 1000, COMMIT_BYTES = 8 << 20 };

typedef struct writer {
  repair *r;
  sl_store *store;
  db_txn *txn;
  size_t records, bytes; /* in txn */
  sl_buf record, eras;
  size_t era;            /* the next of the old list */
  int64_t clamped_us;    /* of the newest record written; INT64_MIN: none yet */
  uint64_t last;         /* written last */
  bool stones;           /* some are tombstones of ours */
  repair_written out;
  struct { sl_repair_kind kind; uint64_t first, last; char why[200]; } run; /* findings of one kind in a row */
} writer;

/* ----------------------------------------------------------------- findings --- */

static void end_run(writer *w) {
  static const char *const fates[] = {"a tombstone stands for it: it is dropped, and counted so",
                                      "it was settled, and that is kept", "it was found outside of the tree"};
  if (w->run.first)
    repair_tell(w->r, w->run.kind, w->run.first, w->run.last, "%s; %s", w->run.why, fates[w->run.kind]);
  w->run.first = 0;
}

static void find(writer *w, sl_repair_kind kind, uint64_t first, uint64_t last, const char *why) {
  sl_repair_report *report = &w->r->report;
  uint64_t *count = kind == SL_REPAIR_LOST_PENDING   ? &report->lost_pending
                    : kind == SL_REPAIR_LOST_SETTLED ? &report->lost_settled
                                                     : &report->recovered;
  *count += last - first + 1;
  if (w->run.first && w->run.kind == kind && w->run.last + 1 == first && strcmp(w->run.why, why) == 0) {
    w->run.last = last;
    return;
  }
  end_run(w);
  w->run.kind = kind;
  w->run.first = first;
  w->run.last = last;
  snprintf(w->run.why, sizeof w->run.why, "%s", why);
}

/* ------------------------------------------------------------------ records --- */

static sl_status flush(writer *w) {
  if (!w->txn) return SL_OK;
  db_txn *txn = w->txn;
  w->txn = NULL;
  w->records = w->bytes = 0;
  return db_commit(txn);
}

static void add_era(writer *w, uint64_t first) {
  uint64_t last = 0;
  if (w->eras.len) last = sl_get_u64(w->eras.data + w->eras.len - 8);
  if (first > last) sl_buf_append(&w->eras, &first, 8);
}

/* The old list of eras, and a new one wherever time falls, so that times are in order whatever was lost. */
static void follow_time(writer *w, uint64_t seq, int64_t clamped_us) {
  const sl_buf *old = repair_value(&w->r->log.meta, "eras");
  bool begun = false;
  for (; old && (w->era + 1) * 8 <= old->len && sl_get_u64(old->data + w->era * 8) <= seq; w->era++) {
    add_era(w, sl_get_u64(old->data + w->era * 8));
    begun = true;
  }
  if (w->eras.len == 0) add_era(w, 1);
  if (!begun && w->clamped_us != INT64_MIN && clamped_us < w->clamped_us) add_era(w, seq);
  w->clamped_us = clamped_us;
}

static sl_status put(writer *w, uint64_t seq, sl_slice bytes, const sl_parts *parts) {
  sl_status status = SL_OK;
  if (!w->txn) status = db_begin_write(w->store->log->env, false, &w->txn);
  if (status != SL_OK) return status;
  follow_time(w, seq, parts->appended_us + parts->clamp_us);
  status = db_append(w->txn, LOG_EVENTS, db_u64(&seq), bytes);
  const bool settled = repair_settled(w->r, seq, parts->topic);
  if (!settled && w->r->keep && seq <= w->r->book.cursor.seq) w->out.waiting++;
  if (!settled && (parts->flags & SL_RECORD_REPLAY)) w->out.pending_copies++;
  if (!settled && (parts->flags & SL_RECORD_DROPPED)) w->out.tombstones++;
  if (w->out.kept++ == 0) w->out.first_seq = seq;
  w->last = seq;
  w->bytes += bytes.len;
  if (status == SL_OK && (++w->records >= COMMIT_RECORDS || w->bytes >= COMMIT_BYTES)) status = flush(w);
  return status;
}

/* In the place of an event that is lost: it keeps the seq from being used twice, and delivery drops it. */
static sl_status put_tombstone(writer *w, uint64_t seq, sl_slice topic) {
  uint8_t uuid[16];
  char id[36];
  const int64_t now = sl_clock_wall_us();
  if (!sl_uuid_v7(now / 1000, uuid)) return sl_fail(SL_E_IO, "the system gives no random bytes");
  sl_uuid_format(uuid, id);
  const sl_parts parts = {.flags = SL_RECORD_DROPPED, .dropped_us = now,
                          .appended_us = w->clamped_us == INT64_MIN ? now : w->clamped_us,
                          .topic = topic.len ? topic : SL_STR(REPAIR_UNKNOWN_TOPIC),
                          .type = SL_STR(REPAIR_LOST_CLASS), .event_id = {id, 36}};
  sl_buf bytes = {0};
  sl_status status = sl_record_encode(&parts, &bytes);
  if (status == SL_OK) status = put(w, seq, sl_buf_slice(&bytes), &parts);
  sl_buf_free(&bytes);
  w->stones = true;
  return status;
}

/* Trim has removed nothing above it, so no seq may be missing there. */
static uint64_t trim_limit(const writer *w) {
  const repair *r = w->r;
  uint64_t limit = r->keep ? r->book.cursor.seq : w->out.start - 1;
  for (size_t i = 0; r->keep && i < r->book.cursor.lane_count; i++)
    if (r->book.lanes[i].seq < limit) limit = r->book.lanes[i].seq;
  return limit;
}

/* An event that is not to be had. */
static sl_status lose(writer *w, uint64_t seq, const char *why) {
  repair *r = w->r;
  const sl_lane *lane = repair_waits_in(r, seq);
  if (r->keep && seq <= r->book.cursor.seq && !lane) {
    find(w, SL_REPAIR_LOST_SETTLED, seq, seq, why);
    /* Behind a lane that lags a tombstone holds its seq; what became of it says its receipt. */
    return seq > trim_limit(w) ? put_tombstone(w, seq, (sl_slice){0}) : SL_OK;
  }
  find(w, SL_REPAIR_LOST_PENDING, seq, seq, why);
  return put_tombstone(w, seq, lane ? lane->topic : (sl_slice){0});
}

/* Seqs without a record, first to last. Below the cursor trim leaves holes: only those where the tree was damaged
 * are losses. */
static sl_status pass_gap(writer *w, uint64_t first, uint64_t last) {
  repair *r = w->r;
  const uint64_t settled = trim_limit(w);
  repair_ranges *damage = &r->log.damage;
  while (first <= last && first <= settled) {
    uint64_t next = UINT64_MAX, end = 0;
    const char *why = NULL;
    for (size_t i = 0; i < damage->count; i++) {
      const repair_range *d = &damage->list[i];
      if (d->first <= first && d->last >= first && d->last > end) end = d->last, why = d->why;
      if (d->first > first && d->first < next) next = d->first;
    }
    const uint64_t most = last < settled ? last : settled;
    if (why) {
      if (end > most) end = most;
      find(w, SL_REPAIR_LOST_SETTLED, first, end, why);
      first = end + 1;
    } else {
      if (next > most) next = most + 1;
      first = next;
    }
  }
  sl_status status = SL_OK;
  for (; first <= last && status == SL_OK; first++) {
    const char *why = repair_why(damage, first);
    status = lose(w, first, why ? why : "there is no record of it");
  }
  return status;
}

static void choose_start(writer *w) {
  repair_log *log = &w->r->log;
  const uint64_t first = log->events.count ? log->events.list[0].seq : log->last_seq;
  const pages_state *state = pages_state_get(log->file);
  w->out.start = first ? first : 1;
  if (log->head_known && log->head.first_seq >= 1 && log->head.first_seq < w->out.start &&
      w->out.start - log->head.first_seq < state->file_pages * 64)
    w->out.start = log->head.first_seq;
  else if (!log->head_known && repair_why(&log->damage, 1) && first < state->file_pages * 64)
    w->out.start = 1;
}

static sl_status write_events(writer *w) {
  repair *r = w->r;
  sl_status status = SL_OK;
  choose_start(w);
  uint64_t next = w->out.start;
  for (size_t i = 0; i < r->log.events.count && status == SL_OK; i++) {
    const repair_item *item = &r->log.events.list[i];
    sl_parts parts;
    if (item->seq > r->log.last_seq) break;
    const sl_status read = repair_record(r, item, &w->record, &parts);
    if (read != SL_OK && read != SL_E_CORRUPT) return read;
    if (w->clamped_us == INT64_MIN && read == SL_OK && item->seq > next) { /* tombstones in front take its time */
      w->clamped_us = parts.appended_us + parts.clamp_us;
      status = pass_gap(w, next, item->seq - 1);
      if (status == SL_OK) status = repair_record(r, item, &w->record, &parts);
    } else if (item->seq > next) {
      sl_buf kept = w->record;
      w->record = (sl_buf){0};
      status = pass_gap(w, next, item->seq - 1);
      w->record = kept;
    }
    if (status == SL_OK && read == SL_E_CORRUPT) {
      char why[200];
      snprintf(why, sizeof why, "%s", sl_last_detail());
      status = lose(w, item->seq, why);
    } else if (status == SL_OK) {
      if (item->searched) find(w, SL_REPAIR_RECOVERED, item->seq, item->seq, "the tree does not lead to it");
      status = put(w, item->seq, sl_buf_slice(&w->record), &parts);
      r->report.events++;
    }
    next = item->seq + 1;
  }
  if (status == SL_OK && next <= r->log.last_seq) status = pass_gap(w, next, r->log.last_seq);
  /* The newest seq must stand in the log, or it would be used again. */
  if (status == SL_OK && r->log.last_seq > w->last) status = put_tombstone(w, r->log.last_seq, (sl_slice){0});
  end_run(w);
  w->out.last_seq = w->last;
  if (status == SL_OK && (r->starved || w->eras.failed)) status = sl_fail(SL_E_NOMEM, "out of memory");
  return status == SL_OK ? flush(w) : status;
}

/* --------------------------------------------------------------------- meta --- */

static sl_status write_names(writer *w) {
  db_txn *txn;
  sl_slice value;
  sl_status status = db_begin_write(w->store->log->env, false, &txn);
  if (status != SL_OK) return status;
  for (uint64_t id = 1; id <= DICT_MAX; id++) {
    char **name = &w->r->log.names[id];
    uint8_t number[4];
    if (!*name) continue;
    if (db_get(txn, LOG_DICT_NAMES, sl_slice_of(*name), &value) == SL_OK) { /* two numbers, one name: not both */
      free(*name);
      *name = NULL;
      continue;
    }
    sl_put_u32(number, (uint32_t)id);
    db_append(txn, LOG_DICT_IDS, db_u64(&id), sl_slice_of(*name));
    db_put(txn, LOG_DICT_NAMES, sl_slice_of(*name), SL_BYTES(number, 4));
  }
  return db_commit(txn);
}

static sl_status write_meta(writer *w) {
  const repair *r = w->r;
  const sl_buf *old = repair_value(&r->log.meta, "store");
  uint8_t identity[24];
  memcpy(identity, r->id, 16);
  if (old && old->len == 24) memcpy(identity + 16, old->data + 16, 8);
  else sl_put_u64(identity + 16, (uint64_t)sl_clock_wall_us());
  const log_meta meta = {.first_seq = w->out.kept ? w->out.first_seq : 1, .trimmed = w->out.last_seq - w->out.kept,
                         .copies = r->totals.copies + w->out.pending_copies, .quota = r->log.head.quota,
                         .flags = r->log.head.flags & LOG_RELAXED, .drops = r->totals.drops + w->out.tombstones};
  if (r->log.head_known && meta.copies != r->log.head.copies)
    repair_tell(w->r, SL_REPAIR_LOG, 0, 0, "the log counted %" PRIu64 " replays, %" PRIu64 " are found: that is "
                "the count now", r->log.head.copies, meta.copies);
  size_t gone = 0;
  if (w->eras.len == 0) add_era(w, 1);
  while ((gone + 2) * 8 <= w->eras.len && sl_get_u64(w->eras.data + (gone + 1) * 8) <= meta.first_seq) gone++;
  db_txn *txn;
  sl_status status = db_begin_write(w->store->log->env, false, &txn);
  if (status != SL_OK) return status;
  log_meta_write(txn, &meta);
  db_put(txn, LOG_META, LOG_KEY_ERAS, SL_BYTES(w->eras.data + gone * 8, w->eras.len - gone * 8));
  db_put(txn, LOG_META, LOG_KEY_STORE, SL_BYTES(identity, sizeof identity));
  const sl_buf *full = repair_value(&r->log.meta, "full");
  const sl_buf *old_format = repair_value(&r->log.meta, "format");
  const bool known = old_format && old_format->len == 4 && sl_get_u32(old_format->data) == LOG_FORMAT_DROPS;
  const bool drops = w->stones || meta.drops || known;
  /* It has no checksum, and a wrong one drops events: whoever set it sets it again. */
  if (full)
    repair_tell(w->r, SL_REPAIR_LOG, 0, 0, "the policy for a full store is not taken over: until it is set again, "
                "a full store refuses events");
  if (drops) { /* tombstones: not for a sidelog from before them */
    uint8_t format[4];
    sl_put_u32(format, LOG_FORMAT_DROPS);
    db_put(txn, LOG_META, LOG_KEY_FORMAT, SL_BYTES(format, sizeof format));
  }
  return db_commit(txn);
}

/* -------------------------------------------------------------------- store --- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static void hear(void *arg, const char *text) {
  repair *r = arg;
  repair_tell(r, SL_REPAIR_LOG, 0, 0, "the new store is not sound: %s", text);
}

static sl_status move_in_place(const repair *r) {
  char *copy = strdup(r->target);
  if (!copy) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = db_file_sync_dir(r->building);
  if (status == SL_OK && rename(r->building, r->target) != 0)
    status = sl_fail(sl_status_of_errno(errno), "%s cannot be renamed to %s: %s", r->building, r->target,
                     strerror(errno));
  if (status == SL_OK) {
    status = db_file_sync_dir(dirname(copy));
    if (status != SL_OK) (void)!rename(r->target, r->building); /* to be removed: what failed leaves nothing */
  }
  free(copy);
  return status;
}

static sl_status open_new(repair *r, sl_store **store, bool create) {
  char path[4096], group[24];
  struct stat st;
  const uint64_t used = pages_state_get(r->log.file)->file_pages * pages_state_get(r->log.file)->page_size;
  sl_options options = {.flags = create ? 0 : SL_OPEN_EXISTING, .quota_bytes = r->log.head.quota};
  options.preallocate = used < UINT64_C(64) << 20 ? used + (1u << 20) : 0;
  snprintf(path, sizeof path, "%s/log", r->source);
  const bool known = stat(path, &st) == 0;
  if (known && (st.st_mode & 0070)) {
    snprintf(group, sizeof group, "%u", (unsigned)st.st_gid);
    options.group = group;
  }
  /* Repaired by root it is still its owner's: the store is of whoever its folder is of. */
  if (known && create && geteuid() == 0 && mkdir(r->building, 0700) == 0 &&
      lchown(r->building, st.st_uid, (gid_t)-1) != 0)
    errno = 0;
  return sl_open(r->building, &options, store);
}

sl_status repair_write(repair *r) {
  writer w = {.r = r, .clamped_us = INT64_MIN};
  struct stat st;
  if (lstat(r->building, &st) == 0)
    return sl_fail(SL_E_INVALID, "%s exists, left by a repair that did not end: remove it", r->building);
  r->totals = r->keep ? r->book.totals : (book_totals){0};
  sl_status status = open_new(r, &w.store, true);
  if (status == SL_OK) status = write_names(&w);
  if (status == SL_OK) status = write_events(&w);
  if (status == SL_OK) status = write_meta(&w);
  if (status == SL_OK) status = repair_write_book(r, w.store, &w.out);
  if (w.txn) db_abort(w.txn);
  sl_buf_free(&w.record);
  sl_buf_free(&w.eras);
  sl_close(w.store);
  w.store = NULL;
  /* Opened anew the store has its own id, and the index made under another one is emptied. */
  if (status == SL_OK) status = open_new(r, &w.store, false);
  if (status == SL_OK) status = repair_write_readers(r, w.store, w.out.last_seq);
  if (status == SL_OK) status = sl_reindex(w.store);
  sl_verify_report found = {0};
  if (status == SL_OK) status = sl_verify(w.store, hear, r, &found);
  if (status == SL_OK && found.problems)
    status = sl_fail(SL_E_CORRUPT, "the new store is not sound (%" PRIu64 " problems): keep %s and report this",
                     found.problems, r->source);
  sl_close(w.store);
  if (status == SL_OK) status = move_in_place(r);
  if (status != SL_OK) nftw(r->building, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  r->report.first_seq = w.out.kept ? w.out.first_seq : 0;
  r->report.last_seq = w.out.last_seq;
  r->report.delivery_kept = r->keep;
  return status;
}
