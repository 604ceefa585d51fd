/*
 * Flat combining over LMDB's writer lock, for threads and processes alike.
 *
 * Alone: an append finds the lead free, takes it and commits its own records. No copy, no ticket, no waiting.
 *
 * In company: it finds the lead held, puts its records into a slot (slots.h) and sleeps. Whoever gives up the lead
 * wakes it: mostly its slot is DONE then. Else it tries for the lead itself, and as leader commits every slot that is
 * READY together with its own. So nobody waits longer than for the commit under way and the next one.
 *
 * A leader that waits for the others, whom the last commit woke, has begun its transaction, and writes their records into
 * it as they come: woken, they have both processors for a while, and what is left to do behind the last of them is little.
 *
 * A batch too large for a slot, or one that finds no free slot, keeps its records and waits for the lead; its turn is
 * kept for it (slots.c).
 *
 * What can go wrong:
 *   - The leader is killed. The lead passes on (a robust mutex); slots that it had TAKEN are decided by their tickets
 *     in the log. They are looked for inside a write transaction: LMDB publishes a commit to readers a moment after it
 *     is on disk, and a leader killed in that moment would look as if it had not committed. The writer lock's own
 *     recovery repairs that.
 *   - The commit fails. It may be one producer's record, or this process's limits (a smaller map, no memory). So the
 *     leader's failure is never another one's verdict: the others are REJECTED, and each tries again alone.
 *   - The commit fails at its last step, and may be on disk all the same. The log is asked (commit.c). Where that fails,
 *     too, the others look for their tickets first; who has none is told SL_E_UNCERTAIN.
 *   - All together do not fit into the quota. Then the leader commits its own, and each other one meets the quota as
 *     leader.
 *   - The leader's log was removed, and another process has opened one that was put in its place. Then it commits for
 *     nobody else: their events would not be where they look for them.
 *   - The owner of a slot is killed. A leader frees the slot, or commits it if it was READY and the death unseen: an
 *     append that never returned.
 */
#include "store/group.h"

#include "store/commit.h"
#include "store/slots.h"

bool group_next(sl_slice *rest, sl_slice *record) {
  if (rest->len < 4) return false;
  const uint8_t *p = rest->data;
  const uint32_t len = sl_get_u32(p);
  if (len > rest->len - 4) return false;
  *record = (sl_slice){p + 4, len};
  *rest = (sl_slice){p + 4 + len, rest->len - 4 - len};
  return true;
}

/* An append on its way. */
typedef struct waiter {
  sl_store *store;
  const group_batch *batch;
  int slot;        /* -1: none */
  bool alone;      /* was REJECTED: commits without others */
  bool looked, removed; /* is the log a file that others have no more? */
  bool doubt;      /* its records may be in the log: their leader died, or their commit failed halfway */
  uint64_t first_seq;
} waiter;

static commit_unit unit_of_slot(slots *s, unsigned i) {
  const append_slot *at = slots_at(s, i);
  const uint32_t len = at->len <= SLOT_BYTES ? at->len : 0;
  /* Private slots have the numbers of the shared ones: their tickets would stand in the others' places. */
  return (commit_unit){.slot = (int)i, .ticket = slots_shared(s) ? at->ticket : 0,
                       .batch = {.records = {slots_bytes(s, i), len}, .count = at->count, .now_us = at->now_us,
                                 .relaxed = at->relaxed, .renumber = at->renumber}};
}

/* Was the log's file removed or replaced? Who opened the store since has another one, and shares the slots. Looked at
 * once. */
static bool is_removed(waiter *w, slots *s) {
  if (!w->looked) w->removed = slots_shared(s) && db_env_is_removed(w->store->log->env);
  w->looked = true;
  return w->removed;
}

/* S2: decides the slots that a dead leader left. */
static sl_status settle_left(waiter *w, slots *s, db_txn *txn, unsigned *decided) {
  uint64_t left = slots_left(s);
  if (left && is_removed(w, s)) return SL_OK; /* each finds its own ticket in its own log */
  for (; left; left &= left - 1) {
    const unsigned i = (unsigned)__builtin_ctzll(left);
    bool found;
    uint64_t first_seq = 0;
    sl_status status = commit_find_ticket(txn, i, slots_at(s, i)->ticket, &found, &first_seq);
    if (status != SL_OK) return status;
    if (found) slots_decide(s, i, SLOT_DONE, first_seq);
    else slots_untake(s, i);
    ++*decided;
  }
  return SL_OK;
}

static bool is_published(const waiter *w, slots *s) {
  return w->slot >= 0 && slots_at(s, (unsigned)w->slot)->ticket != 0;
}

/* The slots that are READY, and before them `own`, the leader's unit, unless it is NULL. */
static size_t collect(waiter *w, slots *s, const commit_unit *own, commit_unit *units) {
  const uint64_t mine = own && own->slot >= 0 ? UINT64_C(1) << own->slot : 0;
  size_t count = 0;
  uint64_t mask = w->alone ? 0 : slots_ready(s) & ~mine;
  if (mask && is_removed(w, s)) {
    w->alone = true;
    mask = 0;
  }
  if (own) units[count++] = *own;
  if (mask | mine) slots_take(s, mask | mine);
  for (; mask; mask &= mask - 1) units[count++] = unit_of_slot(s, (unsigned)__builtin_ctzll(mask));
  return count;
}

static void give_back(slots *s, const commit_unit *units, size_t count) {
  for (size_t i = 0; i < count; i++) slots_untake(s, (unsigned)units[i].slot);
}

/* Adds w's own unit and what is READY, and while it waits a moment for those who were here last time, what comes. */
static sl_status fill(waiter *w, slots *s, bool published, log_commit *c) {
  commit_unit units[COMMIT_UNITS_MAX];
  const commit_unit own =
      published ? unit_of_slot(s, (unsigned)w->slot) : (commit_unit){.batch = *w->batch, .slot = -1};
  linger lingered = {0};
  size_t count = collect(w, s, &own, units);
  sl_status status = commit_add(c, units, count);
  if (status == SL_E_FULL && c->count == 0 && count > 1) { /* together they do not fit: each meets the quota as leader */
    give_back(s, units + 1, count - 1);
    return commit_add(c, units, 1);
  }
  while (status == SL_OK && !w->alone && slots_linger(s, (unsigned)c->count, &lingered)) {
    count = collect(w, s, NULL, units);
    if (count == 0) continue;
    const size_t before = c->count;
    /* There are not more slots: another process writes where it must not. */
    status = before + count > COMMIT_UNITS_MAX ? SL_E_FULL : commit_add(c, units, count);
    if (c->count > before) continue;
    give_back(s, units, count);
    return SL_OK;
  }
  return status;
}

/* Tells the others what became of theirs. */
static void tell(const waiter *w, slots *s, const commit_unit *units, size_t count, slot_state state) {
  for (size_t i = 0; i < count; i++)
    if (units[i].slot >= 0 && units[i].slot != w->slot)
      slots_decide(s, (unsigned)units[i].slot, state, units[i].first_seq);
}

static uint64_t own_seq(const commit_unit *units, size_t count, int slot) {
  for (size_t i = 0; i < count; i++)
    if (units[i].slot == slot) return units[i].first_seq;
  return 0;
}

static sl_status uncertain(void) {
  return sl_fail_context(SL_E_UNCERTAIN, "whether the append is on disk cannot be told (append it again with the same "
                         "event id)");
}

/* It failed before w's ticket could be looked for where the answer is certain. Where it is in doubt, a reader may see
 * the ticket; that it sees none is no proof (a commit is on disk before readers are told of it). */
static sl_status undecided(waiter *w, slots *s, sl_status status) {
  bool found = false;
  db_txn *txn;
  if (!w->doubt) return status;
  const unsigned slot = (unsigned)w->slot;
  if (db_begin_read(w->store->log->env, &txn) == SL_OK) {
    (void)commit_find_ticket(txn, slot, slots_at(s, slot)->ticket, &found, &w->first_seq);
    db_abort(txn);
  }
  return found ? SL_OK : uncertain();
}

/* One transaction. *again: the others were in the way, w's append shall try alone. */
static sl_status lead_once(waiter *w, slots *s, bool published, unsigned *served, bool *again) {
  log_commit c;
  commit_stage stage;
  db_txn *txn;
  bool done = false;
  *again = false;
  const append_slot *own = published && slots_shared(s) ? slots_at(s, (unsigned)w->slot) : NULL;
  if (own && atomic_load(&own->state) == SLOT_TAKEN) w->doubt = true;
  sl_status status = db_begin_write(w->store->log->env, false, &txn);
  if (status != SL_OK) return undecided(w, s, status);
  status = settle_left(w, s, txn, served);
  if (status == SL_OK && own) status = commit_find_ticket(txn, (unsigned)w->slot, own->ticket, &done, &w->first_seq);
  if (status != SL_OK || done) {
    db_abort(txn);
    return status == SL_OK ? SL_OK : undecided(w, s, status);
  }
  w->doubt = false;
  commit_begin(&c, w->store, txn);
  status = fill(w, s, published, &c);
  if (c.count == 0) {
    commit_abandon(&c);
    ++*served;
    return status;
  }
  status = commit_end(&c, &stage);
  *served += (unsigned)c.count;
  if (status == SL_OK) w->first_seq = own_seq(c.units, c.count, published ? w->slot : -1);
  /* An uncertain commit of records that no ticket tells of must not be tried again. */
  const bool told = slots_shared(s);
  const bool final = status != SL_OK && stage == COMMIT_UNCERTAIN && !told;
  w->doubt = own && status != SL_OK && stage == COMMIT_UNCERTAIN;
  for (size_t i = 0; status != SL_OK && i < c.count; i++)
    c.units[i].first_seq = !final && stage == COMMIT_UNCERTAIN;
  tell(w, s, c.units, c.count, status == SL_OK ? SLOT_DONE : final ? SLOT_FAILED : SLOT_REJECTED);
  /* Alone it is w's own failure. */
  *again = status != SL_OK && c.count > 1 && (stage == COMMIT_ABORTED || (published && told));
  return status;
}

/* Holding the lead: commits w's append and what is READY. The status is w's own, decided. *served: how many. */
static sl_status lead(waiter *w, slots *s, unsigned *served) {
  const bool published = is_published(w, s);
  for (bool doubt = w->doubt;; w->alone = true) {
    bool again;
    sl_status status = lead_once(w, s, published, served, &again);
    /* That a second try failed, and for certain, says nothing of the first one. */
    if (!again) return status == SL_OK || status == SL_E_UNCERTAIN || !doubt ? status : uncertain();
    doubt |= w->doubt;
  }
}

sl_status group_append_alone(sl_store *store, const group_batch *batch, uint64_t *first_seq) {
  commit_unit unit = {.batch = *batch, .slot = -1};
  commit_stage stage;
  db_txn *txn;
  sl_status status = db_begin_write(store->log->env, false, &txn);
  if (status != SL_OK) return status;
  status = commit_units(store, txn, &unit, 1, &stage);
  if (status == SL_OK) *first_seq = unit.first_seq;
  return status;
}

/* Takes a slot: with its records if they fit, else only to be in line for the lead. */
static void enter(waiter *w, slots *s) {
  w->slot = slots_claim(s);
  if (w->slot < 0) return;
  append_slot *at = slots_at(s, (unsigned)w->slot);
  at->ticket = 0;
  if (w->batch->records.len > SLOT_BYTES) {
    slots_queue(s, (unsigned)w->slot);
    return;
  }
  memcpy(slots_bytes(s, (unsigned)w->slot), w->batch->records.data, w->batch->records.len);
  at->len = (uint32_t)w->batch->records.len;
  at->count = w->batch->count;
  at->now_us = w->batch->now_us;
  at->relaxed = w->batch->relaxed;
  at->renumber = w->batch->renumber;
  slots_publish(s, (unsigned)w->slot);
}

/* True when the slot has been decided: *status. */
static bool is_done(waiter *w, slots *s, sl_status *status) {
  if (w->slot < 0) return false;
  const append_slot *at = slots_at(s, (unsigned)w->slot);
  const uint32_t state = atomic_load(&at->state);
  if (state == SLOT_REJECTED) {
    w->alone = true;
    w->doubt = at->first_seq != 0;
    slots_queue(s, (unsigned)w->slot);
  }
  if (state == SLOT_WAITING) slots_queue(s, (unsigned)w->slot); /* who missed its turn is in line again */
  if (state == SLOT_FAILED)
    *status = sl_fail(SL_E_UNCERTAIN, "the commit that the append shared with others failed; whether it is on "
                      "disk all the same cannot be told: append it again with the same event id");
  if (state != SLOT_DONE) return state == SLOT_FAILED;
  w->first_seq = at->first_seq;
  return true;
}

/* Lets go of the slot; a leader does so before it gives up the lead. */
static void leave(waiter *w, slots *s) {
  if (w->slot >= 0) slots_release(s, (unsigned)w->slot);
  w->slot = -1;
}

sl_status group_append(sl_store *store, const group_batch *batch, uint64_t *first_seq) {
  slots *s = store->log->slots;
  if (!s) return group_append_alone(store, batch, first_seq);
  waiter w = {.store = store, .batch = batch, .slot = -1};
  sl_status status = SL_OK;
  for (;;) {
    unsigned served = 0;
    const uint32_t round = slots_round(s);
    if (is_done(&w, s, &status)) break;
    const slots_lead got = slots_try_lead(s, w.slot);
    if (got == LEAD_BROKEN) w.alone = true;
    if (got == LEAD_HELD) {
      if (w.slot < 0) enter(&w, s);
      slots_sleep(s, w.slot, round);
      continue;
    }
    /* It may have been committed since the look; while the lead is ours nobody else decides. */
    if (!is_done(&w, s, &status)) status = lead(&w, s, &served);
    leave(&w, s);
    if (got == LEAD_TAKEN) slots_end_lead(s, served);
    break;
  }
  leave(&w, s);
  if (status == SL_OK) *first_seq = w.first_seq;
  return status;
}
