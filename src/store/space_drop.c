/*
 * drop-oldest: an undelivered event of a full store becomes a tombstone, its record without the value (record.h).
 * The tombstone is the receipt, and one transaction puts it in the value's place and counts it, so there is no
 * instant at which an event is gone and not counted.
 *
 * No event is both sent and dropped. A drop holds the delivery book's write lock from before it reads cursor and
 * intent until its tombstones are committed in log/ (lock order: delivery, then log). So
 *   - an intent that is there covers only events that a drop leaves alone;
 *   - an intent that comes later sees the counter of drops moved, is planned anew, and refuses what was sent and
 *     is a tombstone now: its transaction is aborted (delivery.c).
 * A transaction that was overtaken so has its events held back from drops for a while (BOOK_KEY_HOLD).
 *
 * Events that wait in a lane lie below the cursor, and go as well: a topic that cannot be written is where a full
 * store gathers. They are undelivered up to the lane's own seq, or what the intent would make of that. The two
 * rules above hold for them as they stand: the lanes of cursor and intent are read under the same lock, and each
 * event that a lane moves over is looked at again when an intent is planned (delivery_plan.c, take_waiting). The
 * tombstone is settled with its lane.
 *
 * LMDB neither merges nor frees a leaf whose entries are replaced by smaller ones, only one whose entries are
 * deleted. So a run is deleted first and its tombstones are put behind, both in the one transaction.
 */
#include "base/clock.h"
#include "delivery/delivery_impl.h"
#include "index/index.h"
#include "store/log_inner.h"
#include "store/snapshot.h"
#include "store/space.h"

#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#define DROP_LOOKS 2000u   /* records looked at under the lock */
#define DROP_MOST 1000u    /* tombstones made in one transaction */
#define DROP_STEPS 64u     /* of records looked at without one that may go, before the append fails */
#define SETTLE_MOST 4000u
#define HOLD_MOST_US INT64_C(60000000) /* a hold from further in the future was written by another clock */

typedef struct drop_lane {
  sl_slice topic;
  uint64_t above;         /* what waits beyond this seq, up to the cursor, may go */
} drop_lane;

typedef struct drop {
  sl_store *store;
  const space_policy *policy;
  uint64_t bytes, freed;
  book_view *book;        /* the lanes' names lie in it */
  uint64_t cursor, floor; /* what lies between them is held by an intent, or for a transaction */
  uint64_t held;          /* the first seq that is only held: it may go later */
  drop_lane lanes[SL_LANES_MAX]; /* of topics that are dropped */
  size_t lane_count;
  uint64_t from, at;      /* where this look began, where it goes on */
  bool end;               /* of the log: nothing is left to look at */
  sl_buf records;         /* the tombstones, one behind the other */
  size_t count;
  uint64_t seqs[DROP_MOST];
  size_t ends[DROP_MOST]; /* in `records` */
} drop;

/* ---------------------------------------------------------------- choosing --- */

static sl_status held_to(book_view *book, uint64_t *seq) {
  sl_slice value;
  sl_status status = book_meta_get(book->txn, BOOK_KEY_HOLD, &value);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  const uint8_t *p = value.data;
  const int64_t left = value.len == 16 ? (int64_t)sl_get_u64(p + 8) - sl_clock_wall_us() : 0;
  if (left > 0 && left <= HOLD_MOST_US && sl_get_u64(p) > *seq) *seq = sl_get_u64(p);
  return SL_OK;
}

/* What the intent would settle of a topic; 0: there is none. */
static sl_status read_intent(const book_view *book, sl_buf *bytes, sl_progress *intent, sl_lane *lanes) {
  sl_slice value;
  *intent = (sl_progress){0};
  sl_status status = book_meta_get(book->txn, BOOK_KEY_INTENT, &value);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  sl_buf_append(bytes, value.data, value.len); /* the lanes' names point into it */
  if (bytes->failed) return sl_fail(SL_E_NOMEM, "out of memory");
  return sl_progress_decode(sl_buf_slice(bytes), intent, lanes);
}

static uint64_t settled_to(const sl_progress *progress, sl_slice topic) {
  for (size_t i = 0; i < progress->lane_count; i++)
    if (sl_slice_eq(progress->lanes[i].topic, topic)) return progress->lanes[i].seq;
  return progress->seq;
}

/* Nothing up to the floor (the cursor, the intent, a held transaction) may go, but what waits in lanes. */
static sl_status read_floor(drop *d) {
  sl_buf bytes = {0};
  sl_progress intent;
  uint64_t hold = 0;
  sl_lane *lanes = calloc(SL_LANES_MAX, sizeof *lanes);
  sl_status status = lanes ? book_view_open(d->store, &d->book) : sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK) status = held_to(d->book, &hold);
  if (status == SL_OK) status = read_intent(d->book, &bytes, &intent, lanes);
  if (status == SL_OK) {
    const sl_progress *cursor = book_view_cursor(d->book);
    d->cursor = d->floor = cursor->seq;
    if (intent.seq > d->floor) d->floor = intent.seq;
    if (hold > d->floor) d->floor = hold;
    d->held = d->floor > d->cursor ? d->cursor + 1 : UINT64_MAX;
    d->from = d->floor + 1;
    d->lane_count = 0;
    for (size_t i = 0; i < cursor->lane_count; i++) {
      const sl_lane *lane = &cursor->lanes[i];
      if (!space_drops(d->policy, lane->topic)) continue;
      uint64_t above = lane->seq;
      const uint64_t covered = intent.seq ? settled_to(&intent, lane->topic) : 0;
      if (covered > above) above = covered;
      if (hold > above) above = hold;
      if (above > lane->seq && lane->seq + 1 < d->held) d->held = lane->seq + 1;
      if (above >= d->cursor) continue;
      d->lanes[d->lane_count++] = (drop_lane){lane->topic, above};
      if (above + 1 < d->from) d->from = above + 1;
    }
  }
  free(lanes);
  sl_buf_free(&bytes);
  return status;
}

/* Is it undelivered, and nobody's at the moment? */
static bool is_free(const drop *d, uint64_t seq, sl_slice topic) {
  if (seq > d->floor) return true;
  for (size_t i = 0; i < d->lane_count && seq <= d->cursor; i++)
    if (seq > d->lanes[i].above && sl_slice_eq(d->lanes[i].topic, topic)) return true;
  return false;
}

static uint64_t policy_hash(const space_policy *p) { return XXH3_64bits(p->topics, p->topics_len) | 1; }

static void recall(drop *d) {
  const space_memo *memo = &d->store->log->drops;
  if (memo->policy == policy_hash(d->policy) && d->from >= memo->from && d->from <= memo->upto) d->at = memo->upto;
}

/* Everything in [from, at) is a tombstone, settled, or of a topic that is not dropped. */
static void remember(const drop *d) {
  space_memo *memo = &d->store->log->drops;
  if (d->held < d->from) return;
  const bool joined = memo->policy == policy_hash(d->policy) && d->from >= memo->from && d->from <= memo->upto;
  if (!joined) memo->from = d->from;
  memo->policy = policy_hash(d->policy);
  memo->upto = d->at < d->held ? d->at : d->held;
}

static sl_status take(drop *d, log_view *view, uint64_t seq, int64_t now) {
  sl_slice record;
  sl_status status = log_view_raw(view, seq, &record);
  const size_t before = d->records.len;
  if (status == SL_OK) status = sl_record_drop(record, now, &d->records);
  if (status == SL_E_CORRUPT) return SL_OK; /* it stays, for verify to find */
  if (status != SL_OK) return status;
  const size_t left = d->records.len - before;
  d->freed += record.len > left ? record.len - left : 0;
  d->seqs[d->count] = seq;
  d->ends[d->count++] = d->records.len;
  return SL_OK;
}

static sl_status choose(drop *d) {
  log_view *view;
  sl_status status = log_view_open(d->store, &view);
  if (status != SL_OK) return status;
  const uint64_t last = log_view_head(view)->last_seq;
  const int64_t now = sl_clock_wall_us();
  for (unsigned looks = 0; status == SL_OK && looks < DROP_LOOKS; looks++) {
    if (d->count == DROP_MOST || d->freed >= d->bytes) break;
    sl_parts parts;
    uint64_t seq = 0;
    bool damaged = false;
    if (d->at > d->cursor && d->at <= d->floor) d->at = d->floor + 1;
    status = snapshot_next(view, d->at, true, &seq, &parts, &damaged);
    /* Never the newest: the next seq is counted from it. */
    if (status == SL_NOTFOUND || (status == SL_OK && seq >= last)) {
      d->end = true;
      status = SL_OK;
      break;
    }
    if (status != SL_OK) break;
    /* A copy of a dead letter is no event of its own; its original has its state. */
    if (!damaged && !(parts.flags & (SL_RECORD_REPLAY | SL_RECORD_DROPPED)) && is_free(d, seq, parts.topic) &&
        space_drops(d->policy, parts.topic))
      status = take(d, view, seq, now);
    d->at = seq + 1;
  }
  log_view_close(view);
  return status;
}

/* ---------------------------------------------------------------- dropping --- */

static sl_status write_tombstones(drop *d) {
  db_txn *txn;
  log_meta meta;
  /* Durable in a relaxed store too: a power cut must not bring the value back, as an event that was counted. */
  sl_status status = db_begin_write(d->store->log->env, false, &txn);
  if (status != SL_OK) return status;
  status = log_meta_read(txn, &meta);
  for (size_t i = 0; status == SL_OK && i < d->count; i++) {
    status = db_del(txn, LOG_EVENTS, db_u64(&d->seqs[i]));
    if (status == SL_NOTFOUND)
      status = sl_fail(SL_E_CORRUPT, "event %" PRIu64 " is missing from the log, and no trim removed it",
                       d->seqs[i]);
  }
  for (size_t i = 0, at = 0; status == SL_OK && i < d->count; at = d->ends[i++])
    status = db_put(txn, LOG_EVENTS, db_u64(&d->seqs[i]), SL_BYTES(d->records.data + at, d->ends[i] - at));
  meta.drops += d->count;
  if (status == SL_OK) log_meta_write(txn, &meta);
  else db_txn_fail(txn, status);
  status = db_commit(txn);
  return status;
}

static sl_status step(drop *d) {
  db_txn *lock;
  sl_status status = db_begin_write(d->store->book->env, false, &lock);
  if (status != SL_OK) return status;
  status = read_floor(d);
  if (status == SL_OK) {
    d->at = d->from;
    recall(d);
    status = choose(d);
  }
  book_view_close(d->book);
  d->book = NULL;
  if (status == SL_OK && d->count > 0) status = write_tombstones(d);
  if (status == SL_OK) remember(d);
  db_abort(lock);
  return status;
}

sl_status space_drop_oldest(sl_store *store, const space_policy *policy, uint64_t bytes, uint64_t *dropped) {
  drop *d = calloc(1, sizeof *d);
  if (!d) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = SL_OK;
  d->store = store;
  d->policy = policy;
  d->bytes = bytes;
  bool again = true;
  for (unsigned i = 0; i < DROP_STEPS && status == SL_OK && d->count == 0 && !d->end; i++) {
    status = step(d);
    if (status == SL_E_FULL && again && space_release_ballast(store)) {
      again = false;
      d->count = d->freed = 0;
      sl_buf_reset(&d->records);
      status = SL_OK;
    }
  }
  *dropped = status == SL_OK ? d->count : 0;
  sl_buf_free(&d->records);
  free(d);
  return status;
}

/* ---------------------------------------------------------------- settling --- */

typedef struct run {
  delivery_verdict verdicts[SETTLE_MOST];
  sl_letter letters[SETTLE_MOST];
  size_t count, tombstones;
} run;

static bool has_lane(const sl_progress *progress, sl_slice topic) {
  for (size_t i = 0; i < progress->lane_count; i++)
    if (sl_slice_eq(progress->lanes[i].topic, topic)) return true;
  return false;
}

/* Tombstones and duplicates from the cursor on: they need no broker. Views stay open: letters point into them. */
static sl_status collect(run *r, const delivery_state *state, snapshot *snap, uint64_t *to) {
  const uint64_t watermark = index_view_watermark(snap->index);
  *to = state->cursor.seq;
  while (r->count < SETTLE_MOST && *to < watermark) {
    sl_parts parts;
    uint64_t seq = 0, first = 0;
    bool damaged = false;
    sl_status status = snapshot_next(snap->log, *to + 1, true, &seq, &parts, &damaged);
    if (status == SL_OK) status = index_view_duplicate_of(snap->index, seq, &first);
    if (status == SL_NOTFOUND) return SL_OK;
    if (status != SL_OK) return status;
    const bool tombstone = !damaged && (parts.flags & SL_RECORD_DROPPED);
    if (damaged || seq != *to + 1 || seq > watermark || (!tombstone && !first)) return SL_OK;
    delivery_verdict *v = &r->verdicts[r->count];
    *v = (delivery_verdict){.seq = seq, .partition = -1, .place = (int64_t)first, .verdict = SL_VERDICT_DUPLICATE};
    if (tombstone) {
      r->letters[r->count] = (sl_letter){.topic = parts.topic, .first_failure_us = parts.dropped_us,
                                         .last_failure_us = parts.dropped_us};
      book_letter_of_tombstone(&parts, &r->letters[r->count]);
      v->verdict = SL_VERDICT_DROPPED;
      v->letter = &r->letters[r->count];
    }
    if (has_lane(&state->cursor, parts.topic)) v->verdict = SL_VERDICT_LANE; /* its lane decides, as for others */
    r->tombstones += tombstone;
    r->count++;
    *to = seq;
  }
  return SL_OK;
}

/* Does a tombstone wait right behind the cursor? A look, before anything is allocated or locked. */
static sl_status look_for_one(sl_store *store, bool *due) {
  log_view *log;
  book_view *book;
  sl_parts parts;
  *due = false;
  sl_status status = book_view_open(store, &book);
  if (status != SL_OK) return status;
  const uint64_t next = book_view_cursor(book)->seq + 1;
  book_view_close(book);
  status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  if (log_view_head(log)->drops > 0)
    *due = log_view_get(log, next, true, &parts) == SL_OK && (parts.flags & SL_RECORD_DROPPED);
  log_view_close(log);
  return SL_OK;
}

sl_status delivery_settle_tombstones(sl_delivery *delivery, sl_store *store, uint64_t *settled) {
  bool due;
  *settled = 0;
  const delivery_state *state = delivery_state_get(delivery);
  sl_status status = look_for_one(store, &due);
  if (status != SL_OK || !due || state->has_intent) return status;
  run *r = calloc(1, sizeof *r);
  snapshot snap;
  if (!r) return sl_fail(SL_E_NOMEM, "out of memory");
  status = snapshot_open(store, &snap);
  if (status == SL_OK) {
    delivery_attempt attempt = {.verdicts = r->verdicts, .progress = state->cursor};
    status = collect(r, state, &snap, &attempt.progress.seq);
    attempt.count = r->count;
    attempt.progress.attempt = state->last_attempt + 1;
    if (status == SL_OK && r->tombstones > 0) {
      status = delivery_record(delivery, &attempt);
      if (status == SL_OK) *settled = attempt.count;
    }
    snapshot_close(&snap);
  }
  free(r);
  return status;
}

sl_status space_settle_tombstones(sl_store *store, uint64_t *settled) {
  sl_delivery *delivery;
  bool due;
  *settled = 0;
  sl_status status = look_for_one(store, &due);
  if (status != SL_OK || !due) return status;
  status = sl_agent_alive(store, NULL, NULL);
  if (status != SL_NOTFOUND) return status; /* it does that itself, or cannot be asked */
  status = sl_index_advance(store, SETTLE_MOST, NULL);
  if (status == SL_OK) status = delivery_open_to_settle(store, &delivery);
  if (status != SL_OK) return status == SL_E_BUSY ? SL_OK : status;
  status = delivery_settle_tombstones(delivery, store, settled);
  delivery_close(delivery);
  return status;
}
