/* What a person does with dead letters: send one again, or give it up.
 *
 * A replay only appends; delivery moves the original (tally_copy in delivery_plan.c). A drop changes the book
 * beside the agent, in one transaction under its writer lock: the receipt, the letter, the totals and, where an
 * attempt's outcome is not known yet, the totals that it would set. An attempt that was planned before is planned
 * again (plan_in in delivery.c). A drop never meets a copy on its way: the intent names what it moves. */
#include "base/clock.h"
#include "delivery/audit.h"
#include "delivery/book_impl.h"
#include "delivery/delivery_impl.h"
#include "store/append.h"
#include "store/snapshot.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <stdlib.h>

static sl_status not_dead(uint64_t seq, sl_state state) {
  return sl_fail(SL_E_INVALID, "event %" PRIu64 " is no dead letter: it is %s", seq, sl_state_text(state));
}

sl_status sl_dead_letter_of(sl_store *store, uint64_t seq, sl_dead_letter_fn *fn, void *arg) {
  book_view *book;
  sl_slice value;
  sl_letter l;
  sl_buf bytes = {0};
  if (!fn) return sl_fail(SL_E_INVALID, "fn is NULL");
  sl_status status = store_enter(store);
  if (status == SL_OK) status = book_view_open(store, &book);
  if (status != SL_OK) return status;
  status = db_get(book->txn, BOOK_DEAD, db_u64(&seq), &value);
  if (status == SL_OK) sl_buf_append(&bytes, value.data, value.len);
  const uint64_t settled = book->cursor.attempt;
  book_view_close(book);
  if (bytes.failed) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK) status = sl_letter_decode(sl_buf_slice(&bytes), &l);
  /* Of an attempt whose outcome is not known it is no letter yet. */
  if (status == SL_NOTFOUND || (status == SL_OK && l.attempt > settled))
    status = sl_fail(SL_NOTFOUND, "event %" PRIu64 " has no dead letter", seq);
  if (status == SL_OK)
    fn(arg, &(sl_dead_letter){seq, l.attempts, l.error_class, l.error_code, l.error_text, l.code,
                              l.first_failure_us, l.last_failure_us, l.dropped_us});
  sl_buf_free(&bytes);
  return status;
}

/* The dead event's record, whole. *seq moves to the original where it is a copy. */
static sl_status find_dead(snapshot *snap, uint64_t *seq, sl_parts *parts) {
  book_fate fate;
  sl_status status = log_view_get(snap->log, *seq, false, parts);
  if (status == SL_OK && (parts->flags & SL_RECORD_REPLAY)) {
    *seq = parts->origin_seq;
    status = log_view_get(snap->log, *seq, false, parts);
  }
  if (status == SL_NOTFOUND) return sl_fail(SL_NOTFOUND, "there is no event %" PRIu64, *seq);
  if (status == SL_OK) status = book_view_fate(snap->book, *seq, parts->topic, &fate);
  if (status != SL_OK) return status;
  book_fate_of_tombstone(parts, &fate);
  return fate.state == SL_DEAD ? SL_OK : not_dead(*seq, fate.state);
}

/* ---------------------------------------------------------------- replay --- */

/* Looks at the copies that there are already. */
static sl_status check_copies(sl_store *store, uint64_t seq, sl_slice event_id, sl_slice topic, uint32_t most) {
  const sl_query query = {.event_id = event_id, .topic = topic, .first_seq = seq + 1};
  const sl_record *r;
  sl_iter *it;
  uint32_t count = 0;
  sl_status status = sl_iter_start(store, &query, &it);
  if (status != SL_OK) return status;
  while ((status = sl_iter_next(it, &r)) == SL_OK) {
    if (r->replay_of != seq) continue;
    count++;
    if (r->state != SL_PENDING) continue;
    status = sl_fail(SL_E_BUSY, "event %" PRIu64 " is on its way already, as %" PRIu64, seq, r->seq);
    break;
  }
  sl_iter_close(it);
  if (status != SL_NOTFOUND) return status;
  if (count >= most)
    return sl_fail(SL_E_LIMIT, "event %" PRIu64 " was replayed %" PRIu32 " times: is what made it fail mended?",
                   seq, count);
  return SL_OK;
}

sl_status sl_replay(sl_store *store, uint64_t seq, const sl_replay_options *options, uint64_t *copy_seq) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (options && options->version > SL_REPLAY_VERSION)
    return sl_fail(SL_E_INVALID, "sl_replay_options.version is %" PRIu32 ": this library knows up to %u",
                   options->version, SL_REPLAY_VERSION);
  const uint32_t most = options && options->most ? options->most : SL_REPLAYS_DEFAULT;
  char event_id[SL_ID_MAX], topic[256];
  size_t id_len = 0, topic_len = 0;
  snapshot snap = {0};
  sl_buf bytes = {0};
  group_batch batch;
  sl_parts parts;
  status = snapshot_open(store, &snap);
  if (status == SL_OK) status = find_dead(&snap, &seq, &parts);
  if (status == SL_OK) status = append_encode_copy(store, &parts, seq, &bytes, &batch);
  if (status == SL_OK) {
    id_len = parts.event_id.len;
    topic_len = parts.topic.len;
    memcpy(event_id, parts.event_id.data, id_len);
    memcpy(topic, parts.topic.data, topic_len);
  }
  snapshot_close(&snap);
  if (status == SL_OK)
    status = check_copies(store, seq, SL_BYTES(event_id, id_len), SL_BYTES(topic, topic_len), most);
  uint64_t copy = 0;
  if (status == SL_OK) status = append_commit(store, &batch, &copy);
  if (status == SL_OK && copy_seq) *copy_seq = copy;
  sl_buf_free(&bytes);
  return status;
}

/* ------------------------------------------------------------------ drop --- */

/* Does the attempt of unknown outcome move this original? */
static sl_status check_moves(db_txn *txn, uint64_t seq) {
  sl_slice moves;
  sl_status status = book_meta_get(txn, DELIVERY_KEY_MOVES, &moves);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  const uint8_t *p = moves.data;
  for (size_t at = 0; at + 12 <= moves.len; at += 12 + (size_t)sl_get_u32(p + at + 8))
    if (sl_get_u64(p + at) == seq)
      return sl_fail(SL_E_BUSY, "a copy of event %" PRIu64 " is being sent at this moment", seq);
  return SL_OK;
}

static sl_status put_dropped(db_txn *txn, book_view *book, uint64_t seq) {
  sl_receipt receipt;
  sl_receipt_block head;
  sl_status status = book_receipt_find(book, seq, &receipt, &head);
  if (status != SL_OK) return status;
  if (receipt.verdict != SL_VERDICT_DEAD) return not_dead(seq, SL_SENT);
  sl_receipt *all = malloc(head.count * sizeof *all);
  sl_buf bytes = {0};
  if (!all) return sl_fail(SL_E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < head.count && status == SL_OK; i++)
    status = sl_receipt_at(&head, head.first_seq + i, &all[i]);
  all[seq - head.first_seq].verdict = SL_VERDICT_DROPPED;
  sl_slice sparse;
  const bool alone = db_get(book->txn, BOOK_SPARSE, db_u64(&seq), &sparse) == SL_OK;
  const unsigned table = alone ? BOOK_SPARSE : BOOK_RECEIPTS;
  if (status == SL_OK) status = sl_receipt_block_encode(&head, all, &bytes);
  if (status == SL_OK) status = db_put(txn, table, db_u64(&head.first_seq), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  free(all);
  return status;
}

/* And the note of it in the audit trail. */
static sl_status put_letter(db_txn *txn, book_view *book, uint64_t seq, const sl_parts *parts, sl_slice who,
                            sl_slice why) {
  sl_slice value;
  sl_letter letter;
  sl_buf bytes = {0};
  sl_status status = db_get(book->txn, BOOK_DEAD, db_u64(&seq), &value);
  if (status == SL_NOTFOUND)
    status = sl_fail(SL_E_CORRUPT, "delivery/: the letter of event %" PRIu64 " is missing", seq);
  if (status == SL_OK) status = sl_letter_decode(value, &letter);
  if (status != SL_OK) return status;
  letter.dropped_us = sl_clock_wall_us();
  letter.dropped_by = who;
  letter.drop_reason = why;
  status = sl_letter_encode(&letter, &bytes);
  if (status == SL_OK) status = db_put(txn, BOOK_DEAD, db_u64(&seq), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  sl_drop_note note = {.seq = seq, .texts = {[DROP_EVENT_ID] = parts->event_id, [DROP_TOPIC] = parts->topic,
                                             [DROP_TYPE] = parts->type, [DROP_CLASS] = letter.error_class,
                                             [DROP_CODE] = letter.error_code, [DROP_WHO] = who, [DROP_WHY] = why}};
  return status == SL_OK ? audit_add(txn, BOOK_NOTES, &note) : status;
}

static sl_status move_total(db_txn *txn, const char *key, size_t tail) {
  sl_slice value;
  uint8_t bytes[BOOK_TOTALS_MOST + 1];
  book_totals totals;
  sl_status status = book_meta_get(txn, key, &value);
  if (status != SL_OK) return status;
  if (value.len <= tail || !book_totals_get(SL_BYTES(value.data, value.len - tail), &totals) || totals.dead == 0)
    return sl_fail(SL_E_CORRUPT, "delivery/ %s", key);
  totals.dead--;
  totals.dropped++;
  const uint8_t last = ((const uint8_t *)value.data)[value.len - 1];
  size_t len = book_totals_put(&totals, bytes);
  if (tail) bytes[len++] = last;
  return book_meta_put(txn, key, SL_BYTES(bytes, len));
}

sl_status sl_dead_drop(sl_store *store, uint64_t seq, sl_slice who, sl_slice why) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = audit_check(who, why);
  if (status != SL_OK) return status;
  db_txn *txn;
  status = db_begin_write(store->book->env, false, &txn);
  if (status != SL_OK) return status;
  snapshot snap = {0}; /* of the book as it stands: nobody writes it meanwhile */
  sl_parts parts;
  status = snapshot_open(store, &snap);
  if (status == SL_OK) status = find_dead(&snap, &seq, &parts);
  if (status == SL_OK) status = check_moves(txn, seq);
  if (status == SL_OK) status = put_dropped(txn, snap.book, seq);
  if (status == SL_OK) status = put_letter(txn, snap.book, seq, &parts, who, why);
  if (status == SL_OK) status = move_total(txn, BOOK_KEY_TOTALS, 0);
  if (status == SL_OK) {
    status = move_total(txn, BOOK_KEY_INTENT_TOTALS, 1);
    if (status == SL_NOTFOUND && !snap.book->has_intent) status = SL_OK; /* nothing to move */
  }
  snapshot_close(&snap);
  if (status == SL_OK) return db_commit(txn);
  db_abort(txn);
  return status;
}
