/* Where the events of an intent were acknowledged: to be asked where its marker cannot tell the outcome. */
#include "delivery/delivery_impl.h"
#include "store/log.h"

#define LOOKS 64u /* where those looked at first were set aside, or went to a lane */

static sl_status place_in(const sl_receipt_block *head, uint64_t attempt, uint64_t seq, delivery_place *out) {
  sl_receipt receipt;
  if (head->attempt != attempt) return SL_NOTFOUND;
  const sl_status status = sl_receipt_at(head, seq, &receipt);
  if (status != SL_OK) return status;
  if (receipt.verdict != SL_VERDICT_SENT || receipt.place < 0) return SL_NOTFOUND;
  *out = (delivery_place){seq, receipt.partition, receipt.place};
  return SL_OK;
}

/* Above the cursor. */
static sl_status place_of(book_view *view, uint64_t seq, delivery_place *out) {
  sl_receipt receipt;
  sl_receipt_block head;
  const sl_status status = book_receipt_find(view, seq, &receipt, &head);
  return status == SL_OK ? place_in(&head, view->intent_attempt, seq, out) : status;
}

/* Of a lane: look-ups know only what is settled there. */
static sl_status lane_place_of(book_view *view, uint64_t seq, delivery_place *out) {
  sl_receipt_block head;
  sl_slice value;
  sl_status status = db_get(view->txn, BOOK_SPARSE, db_u64(&seq), &value);
  if (status == SL_OK) status = sl_receipt_block_decode(value, &head);
  return status == SL_OK ? place_in(&head, view->intent_attempt, seq, out) : status;
}

/* As many looks as that, spread evenly. */
static sl_status look(book_view *view, sl_slice lane_seqs, uint64_t looks, delivery_place *out, size_t max,
                      size_t *count) {
  const uint64_t in_lanes = lane_seqs.len / 8, all = in_lanes + (view->intent_seq - view->cursor.seq);
  if (looks > all) looks = all;
  sl_status status = SL_OK;
  for (uint64_t i = 0; i < looks && *count < max && status == SL_OK; i++) {
    const uint64_t at = all * i / looks;
    if (at < in_lanes)
      status = lane_place_of(view, sl_get_u64((const uint8_t *)lane_seqs.data + at * 8), &out[*count]);
    else status = place_of(view, view->cursor.seq + 1 + (at - in_lanes), &out[*count]);
    *count += status == SL_OK;
    if (status == SL_NOTFOUND) status = SL_OK;
  }
  return status;
}

sl_status delivery_intent_places(sl_store *store, delivery_place *out, size_t max, size_t *count) {
  book_view *view;
  sl_slice lane_seqs = {0};
  *count = 0;
  sl_status status = store_enter(store);
  if (status == SL_OK) status = book_view_open(store, &view);
  if (status != SL_OK) return status;
  if (view->has_intent) {
    status = book_meta_get(view->txn, DELIVERY_KEY_LANE_SEQS, &lane_seqs);
    if (status == SL_OK || status == SL_NOTFOUND) status = look(view, lane_seqs, max, out, max, count);
    if (status == SL_OK && *count == 0) status = look(view, lane_seqs, LOOKS, out, max, count);
  }
  book_view_close(view);
  return status;
}
