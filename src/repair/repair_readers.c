/*
 * Readers of the new store. What a reader has not done with must not be lost, and being handed an event twice
 * is within its promise: so a reader is taken over whole, or it begins anew.
 */
#include "delivery/audit.h"
#include "readers/readers.h"
#include "repair/repair_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct found {
  repair_pairs states, open, dead, audit;
} found;

/* The entries of reader `id` among the pairs, up to `most`, into the table; *bad: one cannot be read. */
static sl_status copy_entries(db_txn *txn, unsigned table, const repair_pairs *pairs, uint32_t id, uint64_t most,
                              uint64_t *count, bool *bad) {
  sl_status status = SL_OK;
  *count = 0;
  for (size_t i = 0; i < pairs->count && status == SL_OK; i++) {
    uint32_t of;
    uint64_t seq;
    sl_reader_entry e;
    if (!readers_key_parse(sl_slice_of(pairs->list[i].key), &of, &seq)) {
      *bad = true;
      continue;
    }
    if (of != id || seq > most) continue;
    if (sl_reader_entry_decode(sl_buf_slice(&pairs->list[i].value), &e) != SL_OK || e.seq != seq) {
      *bad = true;
      continue;
    }
    if (txn) status = db_put(txn, table, sl_slice_of(pairs->list[i].key), sl_buf_slice(&pairs->list[i].value));
    ++*count;
  }
  return status;
}

/* *last_id: the highest number among the readers. */
static sl_status copy_reader(repair *r, db_txn *txn, const found *f, const repair_pair *p, uint64_t last_seq,
                             uint32_t *last_id) {
  sl_reader_state s;
  uint64_t open = 0, dead = 0;
  bool bad = false, bad_letter = false;
  if (readers_check_name(p->key) != SL_OK) bad = true;
  else if (sl_reader_state_decode(sl_buf_slice(&p->value), &s) != SL_OK) bad = true;
  sl_status status = bad ? SL_OK : copy_entries(NULL, 0, &f->open, s.id, UINT64_MAX, &open, &bad);
  if (bad) {
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0,
                "what reader %s has done is damaged: it begins anew, with the oldest event", p->key);
    return SL_OK;
  }
  if (s.seq > last_seq) {
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0,
                "reader %s stood beyond the log, at %" PRIu64 ": it stands at %" PRIu64 " now", p->key,
                s.seq, last_seq);
    s.seq = last_seq;
  }
  if (s.id > *last_id) *last_id = s.id;
  if (status == SL_OK) status = copy_entries(txn, READERS_OPEN, &f->open, s.id, s.seq, &open, &bad);
  if (status == SL_OK) status = copy_entries(txn, READERS_DEAD, &f->dead, s.id, s.seq, &dead, &bad_letter);
  if (bad_letter)
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0, "dead letters of reader %s are damaged and left out", p->key);
  if (s.totals.dead < dead) s.totals.dead = dead;
  s.totals.seen = s.totals.acked + s.totals.dead + s.totals.dropped + s.totals.missed + open;
  return status == SL_OK ? readers_state_put(txn, p->key, &s) : status;
}

static sl_status copy_all(repair *r, db_txn *txn, const found *f, uint64_t last_seq) {
  uint32_t last_id = 0;
  uint8_t id[4];
  bool bad = false;
  sl_status status = SL_OK;
  for (size_t i = 0; i < f->states.count && status == SL_OK; i++)
    status = copy_reader(r, txn, f, &f->states.list[i], last_seq, &last_id);
  sl_put_u32(id, last_id);
  if (status == SL_OK) status = db_put(txn, READERS_META, SL_STR(READERS_KEY_LAST_ID), SL_BYTES(id, sizeof id));
  for (size_t i = 0; i < f->audit.count && status == SL_OK; i++) {
    const sl_slice key = sl_slice_of(f->audit.list[i].key), value = sl_buf_slice(&f->audit.list[i].value);
    if (audit_note_check(key, value) == SL_OK) status = db_put(txn, READERS_AUDIT, key, value);
    else bad = true;
  }
  if (bad || f->audit.damaged)
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0, "notes of the readers' audit trail are lost");
  return status;
}

static sl_status copy_file(repair *r, sl_store *store, pages *file, uint64_t last_seq) {
  found f = {.states = {0}};
  db_env *env;
  db_txn *txn;
  sl_status status = repair_read_pairs(file, "states", &f.states);
  if (status == SL_OK) status = repair_read_pairs(file, "open", &f.open);
  if (status == SL_OK) status = repair_read_pairs(file, "dead", &f.dead);
  if (status == SL_OK) status = repair_read_pairs(file, "audit", &f.audit);
  if (f.states.damaged || f.open.damaged || f.dead.damaged || !pages_state_get(file)->certain) {
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0,
                "readers/ is damaged and not taken over: every reader begins anew, with the oldest "
                "event");
  } else if (status == SL_OK) {
    status = readers_env(store, true, &env);
    if (status == SL_OK) status = db_begin_write(env, false, &txn);
    if (status == SL_OK) {
      status = copy_all(r, txn, &f, last_seq);
      if (status == SL_OK) status = db_commit(txn);
      else db_abort(txn);
    }
  }
  repair_free_pairs(&f.states);
  repair_free_pairs(&f.open);
  repair_free_pairs(&f.dead);
  repair_free_pairs(&f.audit);
  return status;
}

sl_status repair_write_readers(repair *r, sl_store *store, uint64_t last_seq) {
  char path[4096];
  pages *file;
  snprintf(path, sizeof path, "%s/readers/data.mdb", r->source);
  sl_status status = pages_open(path, &file);
  if (status == SL_E_NO_STORE) return SL_OK; /* there never were any */
  if (status == SL_E_CORRUPT) {
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0,
                "readers/ cannot be read: every reader begins anew, with the oldest event");
    return SL_OK;
  }
  if (status != SL_OK) return status;
  status = copy_file(r, store, file, last_seq);
  pages_close(file);
  return status;
}
