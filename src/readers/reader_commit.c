/*
 * A reader's state from disk and to it.
 *
 * The happy path: reader_save writes, in one transaction, the place, the totals with what came to them, entries
 * of items that changed, the ends of those that were decided, and new dead letters.
 *
 * A commit that fails may have happened all the same (its meta page was written, then the flush failed). The
 * state counts its commits, and only the reader itself makes them, so the next transaction sees which of the
 * two it was, and takes what was sent then off what is to be sent now. Entries are put or removed by seq: doing
 * it twice is harmless.
 *
 * Others (readers_look.c) turn dead letters into open entries or drop them, beside the reader: they move the
 * totals on disk, to which the reader only adds, and count `changes`, by which it notices.
 */
#include "readers/reader_impl.h"

#include "base/clock.h"
#include "delivery/book.h"
#include "store/log.h"

#include <inttypes.h>
#include <stdlib.h>

/* ------------------------------------------------------------- entries --- */

/* When the wait that began at the failure is over, by the monotonic clock: the wall clock may have jumped
 * since. */
static int64_t due_of(const sl_reader_entry *e) {
  const int64_t whole = e->next_us - (e->has_letter ? e->letter.last_failure_us : e->next_us);
  int64_t left = e->next_us ? e->next_us - sl_clock_wall_us() : 0;
  if (left > whole) left = whole;
  return left > 0 ? sl_clock_monotonic_us() + left : 0;
}

static sl_status take_entry(void *arg, const sl_reader_entry *e) {
  sl_reader *r = arg;
  if (sl_map_get(&r->items, e->seq) || sl_map_get(&r->early, e->seq)) return SL_OK;
  item *it = item_new(e->seq, e->lane);
  if (!it) return sl_fail(SL_E_NOMEM, "out of memory");
  const sl_letter *l = &e->letter;
  sl_status status = SL_OK;
  it->e = *e;
  it->stored = true;
  it->due_us = due_of(e);
  if (e->has_letter) {
    status = item_blame(it, l->last_failure_us, l->error_class, l->error_code, l->error_text, l->topic);
    it->e.attempts = e->attempts; /* it is the same failure */
    it->e.letter.attempts = l->attempts;
  }
  if (status == SL_OK && e->seq > r->seq) {
    if (sl_map_reserve(&r->early)) sl_map_put(&r->early, e->seq, it);
    else status = sl_fail(SL_E_NOMEM, "out of memory");
  } else if (status == SL_OK) {
    status = item_add(r, it);
  }
  if (status != SL_OK) item_free(it);
  return status;
}

/* Entries that others have made of dead letters. Not while something decided is not saved: it is still there,
 * and would come back. */
static sl_status reload(sl_reader *r) {
  db_txn *txn;
  sl_reader_state state;
  sl_status status = db_begin_read(r->env, &txn);
  if (status != SL_OK) return status;
  status = readers_state_get(txn, r->name, &state);
  if (status == SL_OK) status = readers_walk(txn, READERS_OPEN, r->id, 0, take_entry, r);
  if (status == SL_OK) r->changes = state.changes;
  r->reload = status != SL_OK;
  db_abort(txn);
  return status;
}

/* ---------------------------------------------------------------- save --- */

static void totals_add(sl_reader_totals *to, const sl_reader_totals *more) {
  to->seen += more->seen;
  to->acked += more->acked;
  to->dead += more->dead;
  to->dropped += more->dropped;
  to->missed += more->missed;
}

static void totals_take(sl_reader_totals *from, const sl_reader_totals *part) {
  from->seen -= part->seen;
  from->acked -= part->acked;
  from->dead -= part->dead;
  from->dropped -= part->dropped;
  from->missed -= part->missed;
}

static void cut_front(sl_buf *buf, size_t len) {
  if (len) memmove(buf->data, buf->data + len, buf->len - len);
  buf->len -= len;
}

/* What the last commit sent is on disk, entries of items that are dirty still among it. */
static void forget_sent(sl_reader *r) {
  for (item *it = r->dirty_first; it; it = it->dirty_behind) it->stored = true;
  totals_take(&r->delta, &r->sent);
  cut_front(&r->gone, r->sent_gone);
  cut_front(&r->letters, r->sent_letters);
  r->commits++;
  r->unsure = false;
}

bool reader_unsaved(const sl_reader *r) {
  const sl_reader_totals *d = &r->delta;
  return r->unsure || r->options_new || r->dirty_first || r->seq != r->saved_seq || r->gone.len ||
         r->letters.len || d->seen || d->acked || d->dead || d->missed;
}

static sl_status put_all(sl_reader *r, db_txn *txn) {
  char text[READERS_KEY_LEN + 1];
  sl_status status = SL_OK;
  for (size_t at = 0; at < r->gone.len && status == SL_OK; at += 8) {
    status = db_del(txn, READERS_OPEN, readers_key(r->id, sl_get_u64(r->gone.data + at), text));
    if (status == SL_NOTFOUND) status = SL_OK;
  }
  for (size_t at = 0; at < r->letters.len && status == SL_OK;) {
    const size_t len = (size_t)sl_get_u64(r->letters.data + at);
    const sl_slice bytes = SL_BYTES(r->letters.data + at + 8, len);
    sl_reader_entry entry;
    status = sl_reader_entry_decode(bytes, &entry);
    if (status == SL_OK) status = db_put(txn, READERS_DEAD, readers_key(r->id, entry.seq, text), bytes);
    at += 8 + len;
  }
  for (item *it = r->dirty_first; it && status == SL_OK; it = it->dirty_behind)
    status = readers_entry_put(txn, READERS_OPEN, r->id, &it->e);
  return status;
}

static sl_status put_state(sl_reader *r, db_txn *txn) {
  sl_reader_state state;
  sl_status status = readers_state_get(txn, r->name, &state);
  if (status == SL_NOTFOUND) return sl_fail(SL_E_MISMATCH, "reader %s was removed from disk", r->name);
  if (status != SL_OK) return status;
  if (r->unsure && state.commits == r->commits + 1) forget_sent(r);
  r->unsure = false;
  if (state.id != r->id || state.commits != r->commits)
    return sl_fail(SL_E_MISMATCH, "reader %s was changed by another process: it must be open once only", r->name);
  if (state.changes != r->changes) r->reload = true;
  r->changes = state.changes;
  state.flags = r->options.flags & SL_READER_FLAGS_KEPT;
  state.max_attempts = r->options.max_attempts;
  state.seq = r->seq;
  state.expected = r->expected;
  totals_add(&state.totals, &r->delta);
  state.commits++;
  state.committed_us = sl_clock_wall_us();
  state.topics = r->options.topics;
  state.types = r->options.types;
  return readers_state_put(txn, r->name, &state);
}

/* Of what was known beforehand from a crash: what the reader has passed without meeting it is no more. Before a
 * commit: on disk an entry at or below the place is one that is not done with. */
static sl_status drop_early(sl_reader *r) {
  const uint64_t to = r->seq;
  if (r->early.count == 0 || r->early_passed == to) return SL_OK;
  for (size_t i = 0; i < r->early.cap; i++) {
    item *it = r->early.slots[i].value;
    if (!it || it->e.seq > to) continue;
    sl_status status = reader_room(r, it);
    if (status != SL_OK) return status;
    sl_map_take(&r->early, it->e.seq);
    reader_settle(r, it);
    i--; /* another one may have moved up */
  }
  r->early_passed = to;
  return SL_OK;
}

sl_status reader_save(sl_reader *r) {
  if (!reader_unsaved(r)) return SL_OK;
  sl_status status = drop_early(r);
  /* A reader must not be past an event that a power cut can take back from a relaxed log. */
  if (status == SL_OK) status = log_flush_for(r->store);
  db_txn *txn;
  if (status == SL_OK) status = db_begin_write(r->env, false, &txn);
  if (status != SL_OK) return status;
  status = put_state(r, txn);
  if (status == SL_OK) status = put_all(r, txn);
  if (status != SL_OK) {
    db_abort(txn);
    return status;
  }
  r->sent = r->delta;
  r->sent_gone = r->gone.len;
  r->sent_letters = r->letters.len;
  r->unsure = true;
  status = db_commit(txn);
  if (status != SL_OK) return status;
  forget_sent(r);
  while (r->dirty_first) item_clean(r, r->dirty_first);
  r->decisions = 0;
  r->options_new = false;
  r->saved_seq = r->seq;
  r->saved_us = sl_clock_monotonic_us();
  return r->reload ? reload(r) : SL_OK;
}

sl_status reader_look(sl_reader *r) {
  db_txn *txn;
  sl_reader_state state;
  sl_status status = db_begin_read(r->env, &txn);
  if (status != SL_OK) return status;
  status = readers_state_get(txn, r->name, &state);
  db_abort(txn);
  if (status != SL_OK || (state.changes == r->changes && !r->reload)) return status;
  r->reload = true;
  return reader_unsaved(r) ? reader_save(r) : reload(r);
}

/* ---------------------------------------------------------------- load --- */

static sl_status create(sl_reader *r, db_txn *txn) {
  log_view *log;
  uint8_t id[4];
  sl_slice value;
  sl_reader_state state = {.created_us = sl_clock_wall_us(), .max_attempts = r->options.max_attempts,
                           .flags = r->options.flags & SL_READER_FLAGS_KEPT, .topics = r->options.topics,
                           .types = r->options.types};
  sl_status status = db_get(txn, READERS_META, SL_STR(READERS_KEY_LAST_ID), &value);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  state.id = (status == SL_OK && value.len == 4 ? sl_get_u32(value.data) : 0) + 1;
  sl_put_u32(id, state.id);
  status = log_view_open(r->store, &log);
  if (status != SL_OK) return status;
  const log_head *head = log_view_head(log);
  state.born = head->last_seq;
  if (r->options.flags & SL_READER_FROM_NEWEST) {
    state.seq = head->last_seq;
  } else {
    state.seq = head->first_seq - 1;
    state.expected = head->kept;
  }
  log_view_close(log);
  status = log_flush_for(r->store); /* after the look: it must not stand past what a power cut can take back */
  if (status == SL_OK) status = db_put(txn, READERS_META, SL_STR(READERS_KEY_LAST_ID), SL_BYTES(id, sizeof id));
  return status == SL_OK ? readers_state_put(txn, r->name, &state) : status;
}

static sl_status find_or_create(sl_reader *r, sl_reader_state *state) {
  db_txn *txn;
  sl_status status = db_begin_write(r->env, false, &txn);
  if (status != SL_OK) return status;
  status = readers_state_get(txn, r->name, state);
  if (status == SL_NOTFOUND && !(r->options.flags & SL_READER_EXISTING)) {
    status = create(r, txn);
    if (status == SL_OK) status = db_commit(txn);
    else db_abort(txn);
    if (status != SL_OK) return status;
    status = db_begin_read(r->env, &txn);
    if (status != SL_OK) return status;
    status = readers_state_get(txn, r->name, state);
  }
  if (status == SL_OK) /* trim looks at the flags, people at the others */
    r->options_new = state->flags != (r->options.flags & SL_READER_FLAGS_KEPT) ||
                     state->max_attempts != r->options.max_attempts ||
                     !sl_slice_eq(state->topics, r->options.topics) ||
                     !sl_slice_eq(state->types, r->options.types);
  db_abort(txn);
  state->topics = state->types = (sl_slice){0}; /* they were the transaction's */
  return status;
}

/* ---------------------------------------------------------------- crash --- */

#define CRASHED SL_STR("READER_CRASHED")
#define CRASH_TEXT SL_STR("the process that had it in hand was killed, or ended without closing the reader")

static sl_status blame_crash(sl_reader *r, item *it) {
  log_view *log;
  sl_parts parts;
  sl_status status = log_view_open(r->store, &log);
  if (status != SL_OK) return status;
  const bool known = log_view_get(log, it->e.seq, true, &parts) == SL_OK;
  status = item_blame(it, sl_clock_wall_us(), CRASHED, SL_STR(""), CRASH_TEXT, known ? parts.topic : SL_STR(""));
  log_view_close(log);
  return status;
}

static sl_status crash_one(sl_reader *r, uint64_t seq, bool alone) {
  item *it = sl_map_get(&r->items, seq);
  sl_status status = SL_OK;
  if (!it && seq <= r->seq) return SL_OK; /* it was decided */
  if (!it) it = sl_map_get(&r->early, seq);
  if (!it) {
    it = item_new(seq, 0);
    if (!it || !sl_map_reserve(&r->early)) {
      item_free(it);
      return sl_fail(SL_E_NOMEM, "out of memory");
    }
    sl_map_put(&r->early, seq, it);
  }
  it->suspect = true;
  if (!alone) return SL_OK;
  status = blame_crash(r, it);
  if (status == SL_OK) item_touch(r, it);
  if (status == SL_OK && it->lane && it->e.attempts >= r->options.max_attempts) status = reader_bury(r, it);
  return status;
}

/* The blame of one event is counted by the next commit, before the slots are cleared; the lock file says
 * beforehand by which, for who is killed in between. */
static sl_status after_a_crash(sl_reader *r) {
  readers_hand hand;
  sl_status status = readers_hand_get(r->lock_fd, &hand);
  if (status != SL_OK) return status;
  const bool ours = hand.reader == 0 || hand.reader == r->id;
  const bool counted = hand.judged_by > 0 && r->commits >= hand.judged_by;
  if (ours && hand.count == 1 && !counted) readers_hand_judge(r->lock_fd, r->id, r->commits + 1);
  for (size_t i = 0; i < hand.count && ours && !counted && status == SL_OK; i++)
    status = crash_one(r, hand.seqs[i], hand.count == 1);
  free(hand.seqs);
  if (status == SL_OK) status = reader_save(r);
  if (status != SL_OK) return status;
  readers_hand_clear(r->lock_fd);
  readers_hand_own(r->lock_fd, r->id);
  return SL_OK;
}

/* What was trimmed while it waited holds back its key no longer. */
static sl_status miss_trimmed(sl_reader *r, uint64_t first_seq) {
  for (size_t i = 0; i < r->items.cap; i++) {
    item *it = r->items.slots[i].value;
    if (!it || it->e.seq >= first_seq) continue;
    sl_status status = reader_miss(r, it);
    if (status != SL_OK) return status;
    i--; /* another one may have moved up */
  }
  return SL_OK;
}

static sl_status log_bounds(sl_reader *r, uint64_t *first, uint64_t *last) {
  log_view *log;
  sl_status status = log_view_open(r->store, &log);
  if (status != SL_OK) return status;
  *first = log_view_head(log)->first_seq;
  *last = log_view_head(log)->last_seq;
  log_view_close(log);
  return SL_OK;
}

sl_status reader_load(sl_reader *r) {
  sl_reader_state state;
  db_txn *txn;
  uint64_t first = 0, last = 0;
  sl_status status = find_or_create(r, &state);
  if (status == SL_OK) status = log_bounds(r, &first, &last);
  if (status != SL_OK) return status;
  if (state.seq > last)
    return sl_fail(SL_E_MISMATCH, "reader %s stands at event %" PRIu64 " but log/ ends at %" PRIu64 ": a part of "
                   "the store was restored or replaced. Put back log/ and readers/ of the same moment, or delete "
                   "the reader", r->name, state.seq, last);
  r->id = state.id;
  r->seq = r->scanned = r->saved_seq = r->early_passed = state.seq;
  r->saved_us = sl_clock_monotonic_us();
  r->born = state.born;
  r->expected = r->scan_expected = state.expected;
  r->commits = state.commits;
  r->changes = state.changes;
  status = db_begin_read(r->env, &txn);
  if (status != SL_OK) return status;
  status = readers_walk(txn, READERS_OPEN, r->id, 0, take_entry, r);
  db_abort(txn);
  if (status == SL_OK) status = miss_trimmed(r, first);
  return status == SL_OK ? after_a_crash(r) : status;
}
