/* The agent's side of the delivery book. delivery.h has the protocol and its invariants; delivery_plan.c
 * checks an attempt, here it is written, settled or abandoned, each in one write transaction. */
#include "base/clock.h"
#include "base/id.h"
#include "delivery/delivery_impl.h"
#include "store/agent_lock.h"
#include "store/log.h"
#include "store/space.h"

#include <inttypes.h>
#include <stdlib.h>

struct sl_delivery {
  sl_store *store;
  int lock_fd;
  bool look;            /* without the lock: writes nothing */
  char *watch_path;
  delivery_state state;
  bool stale;           /* the last write is on disk, but could not be read back: load before the next */
  sl_buf cursor, intent, marker, cluster;
  sl_lane cursor_lanes[SL_LANES_MAX], intent_lanes[SL_LANES_MAX];
};

/* ----------------------------------------------------------------- state --- */

static sl_status load_bytes(db_txn *txn, const char *key, sl_buf *buf, sl_slice *out) {
  sl_slice value;
  sl_status status = book_meta_get(txn, key, &value);
  sl_buf_reset(buf);
  *out = (sl_slice){0};
  if (status == SL_NOTFOUND) return SL_OK;
  if (status != SL_OK) return status;
  sl_buf_append(buf, value.data, value.len);
  if (buf->failed) return sl_fail(SL_E_NOMEM, "out of memory");
  *out = sl_buf_slice(buf);
  return SL_OK;
}

static sl_status load_from(sl_delivery *d, db_txn *txn) {
  delivery_state *s = &d->state;
  sl_slice value;
  sl_status status = load_bytes(txn, BOOK_KEY_CURSOR, &d->cursor, &s->cursor_bytes);
  if (status == SL_OK) status = load_bytes(txn, BOOK_KEY_INTENT, &d->intent, &s->intent_bytes);
  if (status == SL_OK) status = load_bytes(txn, BOOK_KEY_MARKER, &d->marker, &s->marker_bytes);
  if (status == SL_OK) status = load_bytes(txn, BOOK_KEY_CLUSTER, &d->cluster, &s->cluster_id);
  if (status == SL_OK) status = sl_progress_decode(s->cursor_bytes, &s->cursor, d->cursor_lanes);
  if (status != SL_OK) return sl_fail_context(status, "delivery/ cursor");
  s->has_intent = s->intent_bytes.len > 0;
  s->intent = (sl_progress){0};
  if (s->has_intent) status = sl_progress_decode(s->intent_bytes, &s->intent, d->intent_lanes);
  if (status != SL_OK) return sl_fail_context(status, "delivery/ intent");
  status = book_meta_get(txn, BOOK_KEY_INTENT_MARKER, &value);
  s->intent_marker_end = status == SL_OK && value.len == 8 ? sl_get_u64(value.data) : 0;
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  status = book_meta_get(txn, BOOK_KEY_ATTEMPT, &value);
  if (status == SL_NOTFOUND || (status == SL_OK && value.len != 8))
    return sl_fail(SL_E_CORRUPT, "delivery/ has no attempt number");
  if (status != SL_OK) return status;
  s->last_attempt = sl_get_u64(value.data);
  status = book_meta_get(txn, BOOK_KEY_TOTALS, &value);
  book_totals totals;
  if (status == SL_NOTFOUND || (status == SL_OK && !book_totals_get(value, &totals)))
    return sl_fail(SL_E_CORRUPT, "delivery/ has no totals");
  if (status != SL_OK) return status;
  s->delivered = totals.delivered;
  s->duplicates = totals.duplicates;
  s->dead = totals.dead;
  s->dropped = totals.dropped;
  status = outbox_last(txn, &s->last_letter);
  if (status == SL_OK) status = outbox_any(txn, &s->letters_wait);
  if (status != SL_OK) return status;
  s->marker_partition = -1;
  status = book_meta_get(txn, BOOK_KEY_PARTITION, &value);
  if (status == SL_OK && value.len == 4) s->marker_partition = (int32_t)sl_get_u32(value.data);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  memcpy(s->sender, d->store->uuid_text, sizeof s->sender);
  status = book_meta_get(txn, BOOK_KEY_SENDER, &value);
  if (status == SL_OK && value.len != 16) return sl_fail(SL_E_CORRUPT, "delivery/ sender");
  if (status == SL_OK) sl_uuid_format(value.data, s->sender);
  return status == SL_NOTFOUND ? SL_OK : status;
}

static sl_status load(sl_delivery *d) {
  db_txn *txn;
  d->stale = true;
  sl_status status = db_begin_read(d->store->book->env, &txn);
  if (status != SL_OK) return status;
  status = load_from(d, txn);
  db_abort(txn);
  d->stale = status != SL_OK;
  return status;
}

static sl_status open_book(sl_store *store, bool look, agent_role role, sl_delivery **out) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  sl_delivery *d = calloc(1, sizeof *d);
  if (!d) return sl_fail(SL_E_NOMEM, "out of memory");
  d->store = store;
  d->lock_fd = -1;
  d->look = look;
  d->watch_path = store_path(store, "log/data.mdb");
  if (!d->watch_path) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK && !look) status = agent_lock(store, role, &d->lock_fd);
  if (status == SL_OK) status = load(d);
  if (status != SL_OK) {
    delivery_close(d);
    return status;
  }
  *out = d;
  return SL_OK;
}

sl_status delivery_open(sl_store *store, sl_delivery **out) {
  return open_book(store, false, AGENT_DELIVERS, out);
}
sl_status delivery_look(sl_store *store, sl_delivery **out) { return open_book(store, true, AGENT_DELIVERS, out); }
sl_status delivery_open_to_settle(sl_store *store, sl_delivery **out) {
  return open_book(store, false, AGENT_SETTLES, out);
}

void delivery_close(sl_delivery *d) {
  if (!d) return;
  /* In a forked child the lock's open file is shared with the agent: leave it locked. */
  if (d->lock_fd >= 0 && store_enter(d->store) == SL_OK) agent_unlock(d->lock_fd);
  sl_buf_free(&d->cursor);
  sl_buf_free(&d->intent);
  sl_buf_free(&d->marker);
  sl_buf_free(&d->cluster);
  free(d->watch_path);
  free(d);
}

const delivery_state *delivery_state_get(const sl_delivery *d) { return &d->state; }
const char *delivery_watch_path(const sl_delivery *d) { return d->watch_path; }

/* --------------------------------------------------------------- writing --- */

/* I3: removes receipts or letters above the cursor. A stale block behind a shorter later transaction once
 * answered for events that it had not delivered. */
static void purge_above(db_txn *txn, unsigned table, uint64_t cursor) {
  db_cur *cur;
  if (db_cur_open(txn, table, &cur) != SL_OK) return;
  uint64_t wanted = cursor + 1;
  sl_slice key = db_u64(&wanted), value;
  while (db_cur_move(cur, DB_SEEK, &key, &value) == SL_OK) {
    if (db_cur_del(cur) != SL_OK) break;
    key = db_u64(&wanted);
  }
  db_cur_close(cur);
}

static void del_meta(db_txn *txn, const char *key) { db_del(txn, BOOK_META, sl_slice_of(key)); }

static void forget_intent(db_txn *txn) {
  del_meta(txn, BOOK_KEY_INTENT);
  del_meta(txn, BOOK_KEY_INTENT_TOTALS);
  del_meta(txn, DELIVERY_KEY_LANE_SEQS);
  del_meta(txn, DELIVERY_KEY_MOVES);
  del_meta(txn, BOOK_KEY_INTENT_LETTERS);
  del_meta(txn, BOOK_KEY_INTENT_MARKER);
}

static void write_plan(db_txn *txn, const sl_delivery *d, const delivery_plan *plan) {
  sl_buf lanes = {0}, moves = {0};
  uint64_t letter = 0;
  purge_above(txn, BOOK_RECEIPTS, d->state.cursor.seq);
  purge_above(txn, BOOK_DEAD, d->state.cursor.seq);
  outbox_purge(txn, d->state.cursor.attempt);
  if (outbox_last(txn, &letter) != SL_OK) db_txn_fail(txn, SL_E_CORRUPT);
  for (size_t i = 0; i < plan->count; i++) {
    const delivery_put *put = &plan->puts[i];
    const sl_slice bytes = {plan->bytes.data + put->offset, put->len};
    uint8_t head[12];
    sl_put_u64(head, put->seq);
    sl_put_u32(head + 8, (uint32_t)put->len);
    if (put->at_settle) {
      sl_buf_append(&moves, head, sizeof head);
      sl_buf_append(&moves, bytes.data, bytes.len);
      continue;
    }
    if (put->table == DELIVERY_OUTBOX) {
      outbox_add(txn, ++letter, plan->number, put->seq, bytes);
      continue;
    }
    if (put->table == BOOK_SPARSE) sl_buf_append(&lanes, head, 8);
    if (put->table == BOOK_RECEIPTS) db_append(txn, put->table, db_u64(&put->seq), bytes);
    else db_put(txn, put->table, db_u64(&put->seq), bytes);
  }
  if (lanes.failed || moves.failed) db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  if (lanes.len) book_meta_put(txn, DELIVERY_KEY_LANE_SEQS, sl_buf_slice(&lanes));
  if (moves.len) book_meta_put(txn, DELIVERY_KEY_MOVES, sl_buf_slice(&moves));
  sl_buf_free(&lanes);
  sl_buf_free(&moves);
}

static void write_intent(db_txn *txn, const sl_delivery *d, const delivery_attempt *attempt,
                         const delivery_plan *plan) {
  uint8_t totals[BOOK_TOTALS_MOST + 1];
  const size_t len = book_totals_put(&plan->totals, totals);
  totals[len] = attempt->marked ? 1 : 0;
  const uint64_t number = attempt->progress.attempt;
  write_plan(txn, d, plan);
  outbox_intend(txn, attempt);
  for (size_t i = 0; i < attempt->recreated_count; i++) {
    const delivery_recreated *r = &attempt->recreated[i];
    book_recreated_put(txn, &(sl_recreation){number, r->seq, sl_clock_wall_us(), r->topic});
  }
  book_meta_put(txn, BOOK_KEY_INTENT, sl_buf_slice(&plan->progress));
  book_meta_put(txn, BOOK_KEY_INTENT_TOTALS, (sl_slice){totals, len + 1});
  if (attempt->marker_end > 0) book_meta_put(txn, BOOK_KEY_INTENT_MARKER, db_u64(&attempt->marker_end));
  book_meta_put(txn, BOOK_KEY_ATTEMPT, db_u64(&number));
  del_meta(txn, BOOK_KEY_HOLD);
}

static sl_status apply_moves(db_txn *txn) {
  sl_slice value;
  sl_status status = book_meta_get(txn, DELIVERY_KEY_MOVES, &value);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  sl_buf moves = {0}; /* a value is valid until the next write only */
  sl_buf_append(&moves, value.data, value.len);
  if (moves.failed) return db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  for (size_t at = 0; at + 12 <= moves.len && status == SL_OK;) {
    const uint64_t seq = sl_get_u64(moves.data + at);
    const uint32_t len = sl_get_u32(moves.data + at + 8);
    if (len > moves.len - at - 12) status = db_txn_fail(txn, sl_fail(SL_E_CORRUPT, "delivery/ intent.moves"));
    else status = db_put(txn, BOOK_SPARSE, db_u64(&seq), (sl_slice){moves.data + at + 12, len});
    at += 12 + (size_t)len;
  }
  sl_buf_free(&moves);
  return status;
}

/* The intent becomes the cursor, inside txn. */
static sl_status settle_in(db_txn *txn) {
  sl_slice value;
  uint8_t totals[BOOK_TOTALS_MOST + 1];
  sl_status status = book_meta_get(txn, BOOK_KEY_INTENT_TOTALS, &value);
  if (status == SL_NOTFOUND) return db_txn_fail(txn, sl_fail(SL_E_INVALID, "there is no intent to settle"));
  if (status != SL_OK) return status;
  if (value.len != BOOK_TOTALS_SIZE + 1 && value.len != BOOK_TOTALS_MOST + 1)
    return db_txn_fail(txn, sl_fail(SL_E_CORRUPT, "delivery/ intent.totals"));
  const size_t len = value.len - 1;
  memcpy(totals, value.data, value.len);
  status = book_meta_get(txn, BOOK_KEY_INTENT, &value);
  if (status == SL_NOTFOUND) return db_txn_fail(txn, sl_fail(SL_E_CORRUPT, "delivery/ has half an intent"));
  if (status != SL_OK) return status;
  sl_buf progress = {0};
  sl_buf_append(&progress, value.data, value.len);
  if (progress.failed) return db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  apply_moves(txn);
  outbox_settle(txn);
  book_meta_put(txn, BOOK_KEY_CURSOR, sl_buf_slice(&progress));
  book_meta_put(txn, BOOK_KEY_TOTALS, (sl_slice){totals, len});
  if (totals[len]) book_meta_put(txn, BOOK_KEY_MARKER, sl_buf_slice(&progress));
  sl_buf_free(&progress);
  forget_intent(txn);
  return db_txn_status(txn);
}

static sl_status looks_only(void) {
  return sl_fail(SL_E_INVALID, "this book was opened for a look: only who holds the agent's lock may change it");
}

/* A call whose commit succeeded but whose reading back did not has failed for its caller; what it wrote stands.
 * The next call begins with what is on disk. */
static sl_status enter(sl_delivery *d) {
  sl_status status = store_enter(d->store);
  if (status == SL_OK && d->look) status = looks_only();
  return status == SL_OK && d->stale ? load(d) : status;
}

static sl_status begin(sl_delivery *d, db_txn **txn) {
  sl_status status = enter(d);
  return status == SL_OK ? db_begin_write(d->store->book->env, false, txn) : status;
}

static sl_status read_drops(sl_store *store, uint64_t *drops) {
  log_view *log;
  sl_status status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  *drops = log_view_head(log)->drops;
  log_view_close(log);
  return SL_OK;
}

/* Plans the attempt. A drop (space_drop.c) holds the lock that `txn` is, so the plan is good as long as no
 * tombstone was made since it was begun; else it is made anew under the lock, where none can come. */
static sl_status plan_in(sl_delivery *d, db_txn *txn, const delivery_attempt *attempt, uint64_t drops,
                         delivery_plan *plan) {
  uint64_t now = drops;
  sl_status status = read_drops(d->store, &now);
  /* A dead letter dropped by a person moves the totals: then, too, the plan is of another book. */
  uint8_t before[BOOK_TOTALS_MOST];
  sl_slice totals;
  if (status == SL_OK) status = book_meta_get(txn, BOOK_KEY_TOTALS, &totals);
  if (status != SL_OK) return status;
  if (now == drops && sl_slice_eq(totals, SL_BYTES(before, book_totals_put(&plan->before, before)))) return status;
  delivery_plan_free(plan);
  status = delivery_plan_make(d->store, attempt, plan);
  if (status != SL_NOTFOUND) return status;
  /* Overtaken. The next try has its events to itself for a while, or droppers that take the oldest again and again
   * would never let a transaction through. */
  uint8_t hold[16];
  sl_put_u64(hold, attempt->progress.seq);
  sl_put_u64(hold + 8, (uint64_t)(sl_clock_wall_us() + DELIVERY_HOLD_US));
  book_meta_put(txn, BOOK_KEY_HOLD, SL_BYTES(hold, sizeof hold));
  return status;
}

static sl_status write_attempt(sl_delivery *d, const delivery_attempt *attempt, bool settle) {
  sl_status status = enter(d);
  if (status != SL_OK) return status;
  delivery_plan plan = {0};
  uint64_t drops = 0;
  db_txn *txn;
  status = read_drops(d->store, &drops);
  if (status == SL_OK) status = delivery_plan_make(d->store, attempt, &plan);
  /* What a relaxed append left unflushed must not be in a receipt: after a power cut the same seqs would be
   * given to other events, which would then count as delivered. */
  if (status == SL_OK) status = log_flush_for(d->store);
  if (status == SL_NOTFOUND) drops = UINT64_MAX; /* overtaken: to be said under the lock, with a hold */
  if (status == SL_OK || status == SL_NOTFOUND) {
    status = db_begin_write(d->store->book->env, false, &txn);
    if (status == SL_OK) {
      const sl_status planned = plan_in(d, txn, attempt, drops, &plan);
      if (planned == SL_OK) {
        write_intent(txn, d, attempt, &plan);
        if (settle) settle_in(txn);
      } else if (planned != SL_NOTFOUND) {
        db_txn_fail(txn, planned);
      }
      status = db_commit(txn);
      if (status == SL_OK && planned == SL_NOTFOUND) status = planned;
    }
  }
  delivery_plan_free(&plan);
  return status == SL_OK ? load(d) : status;
}

/* What settles events lets trim free the space of them, so it may use the ballast of a full disk. */
static sl_status write_on_ballast(sl_delivery *d, const delivery_attempt *attempt, bool settle) {
  sl_status status = write_attempt(d, attempt, settle);
  if (status == SL_E_FULL && space_release_ballast(d->store)) status = write_attempt(d, attempt, settle);
  return status;
}

sl_status delivery_intent(sl_delivery *d, const delivery_attempt *attempt) {
  return write_on_ballast(d, attempt, false);
}

sl_status delivery_record(sl_delivery *d, const delivery_attempt *attempt) {
  return write_on_ballast(d, attempt, true);
}

static sl_status settle(sl_delivery *d) {
  db_txn *txn;
  sl_status status = begin(d, &txn);
  if (status != SL_OK) return status;
  settle_in(txn);
  /* Durable, though the broker could tell it again: trim goes by this cursor, and a cursor that fell back
   * behind a trim would leave events without a trace. */
  status = db_commit(txn);
  return status == SL_OK ? load(d) : status;
}

sl_status delivery_settle(sl_delivery *d) {
  sl_status status = settle(d);
  if (status == SL_E_FULL && space_release_ballast(d->store)) status = settle(d);
  return status;
}

/* What an abandoned attempt wrote among the settled seqs, for lanes. */
static void purge_lanes(db_txn *txn) {
  sl_slice value;
  if (book_meta_get(txn, DELIVERY_KEY_LANE_SEQS, &value) != SL_OK) return;
  sl_buf seqs = {0};
  sl_buf_append(&seqs, value.data, value.len);
  if (seqs.failed) db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  for (size_t at = 0; at + 8 <= seqs.len; at += 8) {
    const uint64_t seq = sl_get_u64(seqs.data + at);
    db_del(txn, BOOK_SPARSE, db_u64(&seq));
    db_del(txn, BOOK_DEAD, db_u64(&seq)); /* the event was waiting: it had no letter before */
  }
  sl_buf_free(&seqs);
}

static void forget_attempt(db_txn *txn, const sl_delivery *d) {
  purge_above(txn, BOOK_RECEIPTS, d->state.cursor.seq);
  purge_above(txn, BOOK_DEAD, d->state.cursor.seq);
  purge_lanes(txn);
  outbox_purge(txn, d->state.cursor.attempt);
  forget_intent(txn);
}

sl_status delivery_abandon(sl_delivery *d) {
  db_txn *txn;
  sl_status status = begin(d, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  status = book_meta_get(txn, BOOK_KEY_INTENT, &value);
  if (status == SL_NOTFOUND) db_txn_fail(txn, sl_fail(SL_E_INVALID, "there is no intent to abandon"));
  forget_attempt(txn, d);
  status = db_commit(txn);
  return status == SL_OK ? load(d) : status;
}

sl_status delivery_set_cluster(sl_delivery *d, sl_slice cluster_id, int32_t marker_partition) {
  if (cluster_id.len == 0 || cluster_id.len > 255)
    return sl_fail(SL_E_INVALID, "a cluster id has 1 to 255 bytes, not %zu", cluster_id.len);
  db_txn *txn;
  sl_status status = begin(d, &txn);
  if (status != SL_OK) return status;
  uint8_t partition[4];
  sl_put_u32(partition, (uint32_t)marker_partition);
  book_meta_put(txn, BOOK_KEY_CLUSTER, cluster_id);
  book_meta_put(txn, BOOK_KEY_PARTITION, (sl_slice){partition, sizeof partition});
  status = db_commit(txn);
  return status == SL_OK ? load(d) : status;
}

sl_status delivery_adopt(sl_delivery *d, const delivery_adoption *adoption) {
  uint8_t sender[16], partition[4];
  if (adoption->as_new && !sl_random(sender, sizeof sender))
    return sl_fail(SL_E_IO, "the system gives no random bytes for a new identity");
  sender[6] = (uint8_t)((sender[6] & 0x0f) | 0x40); /* RFC 9562: version 4, */
  sender[8] = (uint8_t)((sender[8] & 0x3f) | 0x80); /* variant 10 */
  db_txn *txn;
  sl_status status = begin(d, &txn);
  if (status != SL_OK) return status;
  const uint64_t attempt = adoption->attempt > d->state.last_attempt ? adoption->attempt : d->state.last_attempt;
  if (d->state.has_intent) forget_attempt(txn, d);
  db_del(txn, BOOK_NOTES, sl_slice_of(DELIVERY_NOTE_MARKER));
  if (adoption->as_new) {
    del_meta(txn, BOOK_KEY_MARKER);
    del_meta(txn, BOOK_KEY_CLUSTER);
    del_meta(txn, BOOK_KEY_PARTITION);
    book_meta_put(txn, BOOK_KEY_SENDER, SL_BYTES(sender, sizeof sender));
  } else {
    sl_put_u32(partition, (uint32_t)adoption->marker_partition);
    if (adoption->marker.len) book_meta_put(txn, BOOK_KEY_MARKER, adoption->marker);
    else del_meta(txn, BOOK_KEY_MARKER);
    if (adoption->cluster_id.len) book_meta_put(txn, BOOK_KEY_CLUSTER, adoption->cluster_id);
    book_meta_put(txn, BOOK_KEY_PARTITION, SL_BYTES(partition, sizeof partition));
    book_meta_put(txn, BOOK_KEY_ATTEMPT, db_u64(&attempt));
  }
  status = db_commit(txn);
  return status == SL_OK ? load(d) : status;
}

/* ---------------------------------------------------- letters that wait --- */

sl_status delivery_letters(sl_delivery *d, uint64_t from, delivery_waiting *out, size_t max, size_t *count) {
  book_view *book;
  sl_status status = store_enter(d->store);
  if (status == SL_OK) status = book_view_open(d->store, &book);
  if (status != SL_OK) return status;
  status = outbox_next(book, from, out, max, count);
  book_view_close(book);
  return status;
}

sl_status delivery_letters_count(sl_delivery *d, uint64_t most, uint64_t *count) {
  enum { STEP = 64 };
  delivery_waiting list[STEP];
  uint64_t from = 0, sum = 0;
  size_t n = STEP;
  while (n == STEP && sum < most) {
    sl_status status = delivery_letters(d, from, list, STEP, &n);
    if (status != SL_OK) return status;
    sum += n;
    if (n > 0) from = list[n - 1].number + 1;
  }
  *count = sum < most ? sum : most;
  return SL_OK;
}

/* ----------------------------------------------------------------- notes --- */

static sl_status check_note(const char *name) {
  const size_t len = name ? strlen(name) : 0;
  if (len < 1 || len > 64) return sl_fail(SL_E_INVALID, "a note's name has 1 to 64 bytes, not %zu", len);
  return SL_OK;
}

sl_status delivery_note_set(sl_delivery *d, const char *name, sl_slice value) {
  sl_status status = check_note(name);
  if (status == SL_OK && value.len > 4096)
    status = sl_fail(SL_E_INVALID, "note %s has %zu bytes, above 4,096", name, value.len);
  db_txn *txn;
  if (status == SL_OK) status = enter(d);
  if (status == SL_OK) status = db_begin_write(d->store->book->env, true, &txn);
  if (status != SL_OK) return status;
  db_put(txn, BOOK_NOTES, sl_slice_of(name), value);
  return db_commit(txn);
}

sl_status delivery_note_get(sl_delivery *d, const char *name, void *out, size_t cap, size_t *len) {
  sl_status status = check_note(name);
  db_txn *txn;
  if (status == SL_OK) status = store_enter(d->store);
  if (status == SL_OK) status = db_begin_read(d->store->book->env, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  status = db_get(txn, BOOK_NOTES, sl_slice_of(name), &value);
  if (status == SL_OK) {
    const size_t copied = value.len < cap ? value.len : cap;
    if (copied) memcpy(out, value.data, copied);
    if (len) *len = value.len;
  }
  db_abort(txn);
  return status == SL_NOTFOUND ? sl_fail(SL_NOTFOUND, "there is no note %s", name) : status;
}

sl_status delivery_report_set(sl_delivery *d, sl_slice json) {
  sl_status status = store_enter(d->store); /* not enter(): another thread may be loading the state */
  if (status == SL_OK && d->look) status = looks_only();
  return status == SL_OK ? agent_report_set(d->store, json) : status;
}
