/*
 * Inside the writer lock: next seq = last + 1 (trim leaves the newest record, so no counter is written); the times are
 * clamped against the newest record; new names get their numbers; quota; put, in one go or in several as producers come;
 * commit; then the cache learns the names.
 *
 * Records come encoded. One is changed here only for a new name, or when a clock reading taken later was committed
 * earlier (then its clamp is not zero, or its time another). That costs a fraction of a microsecond per KB against a
 * flush of 100 and more.
 *
 * Tickets are one value beside the heads of the tables: for each slot the last ticket committed and the seq it got. Every
 * commit writes that page anyhow. An append that goes alone writes none.
 */
#include "store/commit.h"

#include "base/clock.h"
#include "store/slots.h"

#include <stdio.h>
#include <stdlib.h>

#define ERA_STEP_US INT64_C(60000000)
#define TICKET 16u /* u64 ticket, u64 first seq */
#define TICKETS (SLOT_COUNT * TICKET)

/* ---------------------------------------------------------------- tickets --- */

/* *tickets, as they stand; NULL: there are none yet. An entry of another length is damaged: LMDB, which takes the room of
 * the old one by what it says, would write over the heads of the tables. */
static sl_status read_tickets(db_txn *txn, const uint8_t **tickets) {
  sl_slice value;
  *tickets = NULL;
  sl_status status = db_get(txn, LOG_HEADS, LOG_KEY_TICKETS, &value);
  if (status == SL_NOTFOUND) return SL_OK;
  if (status == SL_OK && value.len != TICKETS)
    status = sl_fail(SL_E_CORRUPT, "log/: the tickets of group commit are damaged: run `sidelog repair`");
  if (status == SL_OK) *tickets = value.data;
  return status;
}

sl_status commit_find_ticket(db_txn *txn, unsigned slot, uint64_t ticket, bool *found, uint64_t *first_seq) {
  const uint8_t *tickets;
  *found = false;
  sl_status status = read_tickets(txn, &tickets);
  if (status != SL_OK || !tickets) return status;
  const uint8_t *p = tickets + slot * TICKET;
  *found = sl_get_u64(p) == ticket;
  if (*found) *first_seq = sl_get_u64(p + 8);
  return SL_OK;
}

static void write_tickets(db_txn *txn, const commit_unit *units, size_t count) {
  uint8_t bytes[TICKETS] = {0};
  const uint8_t *before;
  bool any = false;
  for (size_t i = 0; i < count; i++) any |= units[i].slot >= 0 && units[i].ticket != 0;
  if (!any) return;
  sl_status status = read_tickets(txn, &before);
  if (status != SL_OK) {
    db_txn_fail(txn, status);
    return;
  }
  if (before) memcpy(bytes, before, sizeof bytes);
  for (size_t i = 0; i < count; i++) {
    if (units[i].slot < 0 || units[i].ticket == 0) continue;
    uint8_t *p = bytes + (size_t)units[i].slot * TICKET;
    sl_put_u64(p, units[i].ticket);
    sl_put_u64(p + 8, units[i].first_seq);
  }
  db_put(txn, LOG_HEADS, LOG_KEY_TICKETS, SL_BYTES(bytes, sizeof bytes));
}

/* ---------------------------------------------------------------- records --- */

/* The time of a unit's append. A reading from long before the newest record may be no clock that stepped back, but
 * a producer that was stopped between its reading and this commit: then the append happens now. As a new era it
 * would make everything that came in between as old as itself, for trim, too. */
static int64_t time_of(const log_commit *c, const commit_unit *unit) {
  const int64_t read_us = unit->batch.now_us;
  if (c->last == 0 || read_us >= c->newest_us || c->newest_us - read_us <= ERA_STEP_US) return read_us;
  const int64_t now_us = sl_clock_wall_us();
  return now_us < c->newest_us && c->newest_us - now_us > ERA_STEP_US ? read_us : now_us;
}

/* Fits a time to the newest record's. */
static sl_status fit_time(log_commit *c, int64_t now, uint32_t *clamp_us) {
  *clamp_us = 0;
  if (c->last > 0 && now < c->newest_us) {
    if (c->newest_us - now > ERA_STEP_US) {
      sl_status status = log_era_begin(c->txn, c->last + 1);
      if (status != SL_OK) return status;
    } else {
      *clamp_us = (uint32_t)(c->newest_us - now);
    }
  }
  c->newest_us = now + *clamp_us;
  return SL_OK;
}

/* A record of another process, which may be damaged (its memory, a bug): one bad record stops every reader. */
static sl_status check(const commit_unit *unit, sl_slice record) {
  sl_parts parts;
  if (unit->slot < 0) return SL_OK;
  sl_status status = sl_record_decode(record, &parts);
  if (status == SL_OK && parts.appended_us != unit->batch.now_us)
    status = sl_fail(SL_E_CORRUPT, "a record does not have its append's time");
  return status;
}

/* The record with its names' numbers, in c->changed; as it is when it has them. */
static sl_status renumber(log_commit *c, sl_slice *record) {
  sl_parts parts;
  uint32_t topic, type;
  sl_status status = sl_record_peek(*record, &parts);
  if (status != SL_OK) return status;
  topic = parts.topic_id;
  type = parts.type_id;
  sl_dict *dict = c->store->log->dict;
  if (topic == SL_NAME_INLINE) status = dict_assign(dict, c->txn, &c->pending, parts.topic, &topic);
  if (status == SL_OK && type == SL_NAME_INLINE) status = dict_assign(dict, c->txn, &c->pending, parts.type, &type);
  if (status != SL_OK || (topic == parts.topic_id && type == parts.type_id)) return status;
  sl_buf_reset(&c->changed);
  status = sl_record_renumber(*record, topic, type, &c->changed);
  if (status == SL_OK) *record = sl_buf_slice(&c->changed);
  return status;
}

static sl_status set_time(log_commit *c, const commit_unit *unit, int64_t now_us, uint32_t clamp_us, sl_slice *record) {
  if (record->data != c->changed.data) {
    sl_buf_reset(&c->changed);
    sl_buf_append(&c->changed, record->data, record->len);
    if (c->changed.failed) return sl_fail(SL_E_NOMEM, "out of memory");
    *record = sl_buf_slice(&c->changed);
  }
  if (now_us != unit->batch.now_us) sl_record_set_appended(c->changed.data, c->changed.len, now_us);
  if (clamp_us) sl_record_set_clamp(c->changed.data, c->changed.len, clamp_us);
  return SL_OK;
}

static sl_status put_unit(log_commit *c, commit_unit *unit) {
  uint32_t clamp_us, put = 0;
  sl_slice rest = unit->batch.records, record;
  const int64_t now_us = time_of(c, unit);
  sl_status status = fit_time(c, now_us, &clamp_us);
  unit->first_seq = c->last + 1;
  while (status == SL_OK && group_next(&rest, &record)) {
    status = check(unit, record);
    if (status == SL_OK && unit->batch.renumber) status = renumber(c, &record);
    if (status == SL_OK && (clamp_us || now_us != unit->batch.now_us))
      status = set_time(c, unit, now_us, clamp_us, &record);
    const uint64_t seq = c->last + 1;
    if (status == SL_OK) status = db_append(c->txn, LOG_EVENTS, db_u64(&seq), record);
    c->last = seq;
    put++;
  }
  if (status == SL_OK && (rest.len > 0 || put != unit->batch.count))
    status = sl_fail(SL_E_CORRUPT, "a batch of records is not as long as it says");
  return status;
}

/* ----------------------------------------------------------------- commit --- */

static uint64_t pages_of(const commit_unit *units, size_t count) {
  uint64_t pages = 0, leaf_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    sl_slice rest = units[i].batch.records, record;
    while (group_next(&rest, &record)) {
      uint64_t own = quota_pages_of(record.len);
      if (own > 1) pages += own;
      else leaf_bytes += record.len + 24;
    }
  }
  return pages + leaf_bytes / 3000 + 1; /* leaves that are split are not filled to the end */
}

static int by_time(const void *a, const void *b) {
  const commit_unit *x = a, *y = b;
  return (x->batch.now_us > y->batch.now_us) - (x->batch.now_us < y->batch.now_us);
}

/* Whoever passes a seq for good flushes a log to which anybody ever appended relaxed: the log must know. */
static void set_durability(log_commit *c) {
  bool relaxed = true;
  for (size_t i = 0; i < c->count; i++) relaxed &= c->units[i].batch.relaxed;
  db_set_relaxed(c->txn, relaxed);
  if (!relaxed || (c->meta.flags & LOG_RELAXED)) return;
  c->meta.flags |= LOG_RELAXED;
  log_meta_write(c->txn, &c->meta);
}

static void count_copies(log_commit *c) {
  const uint64_t before = c->meta.copies;
  for (size_t i = 0; i < c->count; i++) c->meta.copies += c->units[i].batch.copies;
  if (c->meta.copies != before) log_meta_write(c->txn, &c->meta);
}

static sl_status is_there(db_txn *txn, const commit_unit *unit, bool *there) {
  sl_slice rest = unit->batch.records, ours, found;
  sl_parts a = {0}, b = {0};
  *there = false;
  sl_status status = db_get(txn, LOG_EVENTS, db_u64(&unit->first_seq), &found);
  if (status != SL_OK || !group_next(&rest, &ours)) return status == SL_NOTFOUND ? SL_OK : status;
  status = sl_record_decode(found, &a);
  if (status == SL_OK) status = sl_record_decode(ours, &b);
  *there = status == SL_OK && a.appended_us >= b.appended_us && /* later: time_of */
           sl_slice_eq(a.event_id, b.event_id) && sl_slice_eq(a.value, b.value);
  return status;
}

/* The meta page of a commit could not be written, and may be in the file or come to the disk later. Another commit,
 * which writes that page or the one behind it, decides that for good. */
static sl_status settle(sl_store *store, const commit_unit *unit, bool *there) {
  db_txn *txn;
  log_meta meta;
  sl_status status = db_begin_write(store->log->env, false, &txn);
  if (status != SL_OK) return status;
  status = is_there(txn, unit, there);
  if (status == SL_OK) status = log_meta_read(txn, &meta);
  if (status == SL_OK) status = log_meta_write(txn, &meta);
  if (status == SL_OK) return db_commit(txn);
  db_abort(txn);
  return status;
}

/* *stage and the status of a commit that failed. */
static sl_status judge(sl_store *store, const commit_unit *unit, sl_status status, bool uncertain, commit_stage *stage) {
  char detail[512];
  bool there = false;
  *stage = COMMIT_ABORTED;
  if (!uncertain) return status;
  snprintf(detail, sizeof detail, "%s", sl_last_detail());
  const bool settled = settle(store, unit, &there) == SL_OK;
  if (settled) return there ? SL_OK : sl_fail(status, "%s", detail);
  *stage = COMMIT_UNCERTAIN;
  return sl_fail(SL_E_UNCERTAIN, "whether the append is on disk cannot be told (append it again with the same event "
                 "id): %s", detail);
}

void commit_begin(log_commit *c, sl_store *store, db_txn *txn) {
  c->store = store;
  c->txn = txn;
  c->pages = c->count = 0;
  c->pending = (dict_pending){0};
  c->changed = (sl_buf){0};
  if (log_meta_read(txn, &c->meta) == SL_OK) (void)log_newest(txn, &c->last, &c->newest_us); /* the transaction knows */
}

static void free_memory(log_commit *c) {
  dict_pending_free(&c->pending);
  sl_buf_free(&c->changed);
}

sl_status commit_add(log_commit *c, const commit_unit *units, size_t count) {
  sl_status status = db_txn_status(c->txn);
  const uint64_t pages = pages_of(units, count);
  if (status == SL_OK) status = quota_check(c->store, c->txn, &c->meta, c->pages, pages);
  if (status == SL_E_FULL && db_txn_status(c->txn) == SL_OK) return status;
  commit_unit *added = c->units + c->count;
  memcpy(added, units, count * sizeof *units);
  c->count += count;
  c->pages += pages;
  qsort(added, count, sizeof *added, by_time);
  for (size_t i = 0; status == SL_OK && i < count; i++) status = put_unit(c, &added[i]);
  return status == SL_OK ? SL_OK : db_txn_fail(c->txn, status);
}

sl_status commit_end(log_commit *c, commit_stage *stage) {
  bool uncertain;
  write_tickets(c->txn, c->units, c->count);
  count_copies(c);
  set_durability(c);
  sl_status status = db_commit_certain(c->txn, &uncertain); /* aborts, and says why, if something failed */
  if (status != SL_OK) status = judge(c->store, &c->units[0], status, uncertain, stage);
  if (status == SL_OK) dict_pending_learn(c->store->log->dict, &c->pending);
  free_memory(c);
  return status;
}

void commit_abandon(log_commit *c) {
  db_abort(c->txn);
  free_memory(c);
}

sl_status commit_units(sl_store *store, db_txn *txn, commit_unit *units, size_t count, commit_stage *stage) {
  log_commit c;
  commit_begin(&c, store, txn);
  sl_status status = commit_add(&c, units, count);
  if (c.count == 0) {
    commit_abandon(&c);
    *stage = COMMIT_ABORTED;
    return status;
  }
  status = commit_end(&c, stage);
  memcpy(units, c.units, count * sizeof *units);
  return status;
}
