/* Topics that were deleted and created again: a note for each, written with the attempt whose offsets gave it away
 * (or with the first one after it became known). It says which receipts point into a topic that is gone. The name
 * of the note is a hash of the topic, since topics may be longer than names of notes. */
#include "delivery/book_impl.h"

#include <inttypes.h>
#include <stdio.h>

static sl_slice name_of(sl_slice topic, char out[BOOK_RECREATED_NAME_LEN + 1]) {
  snprintf(out, BOOK_RECREATED_NAME_LEN + 1, BOOK_RECREATED_PREFIX "%016" PRIx64, book_topic_hash(topic));
  return SL_BYTES(out, BOOK_RECREATED_NAME_LEN);
}

bool book_recreated_is(sl_slice name) {
  return name.len >= sizeof BOOK_RECREATED_PREFIX - 1 &&
         memcmp(name.data, BOOK_RECREATED_PREFIX, sizeof BOOK_RECREATED_PREFIX - 1) == 0;
}

sl_status book_recreated_check(sl_slice name, sl_slice value, sl_recreation *mark) {
  char right[BOOK_RECREATED_NAME_LEN + 1];
  sl_status status = sl_recreation_decode(value, mark);
  if (status == SL_OK && !sl_slice_eq(name, name_of(mark->topic, right)))
    status = sl_fail(SL_E_CORRUPT, "it is that of another topic");
  return sl_fail_context(status, "delivery/ note %.*s", (int)(name.len < 64 ? name.len : 64),
                         (const char *)name.data);
}

sl_status book_recreated_put(db_txn *txn, const sl_recreation *mark) {
  char name[BOOK_RECREATED_NAME_LEN + 1];
  uint8_t value[SL_RECREATION_MOST];
  const size_t len = sl_recreation_encode(mark, value);
  return len ? db_put(txn, BOOK_NOTES, name_of(mark->topic, name), SL_BYTES(value, len)) : SL_OK;
}

/* Most books have no such note, and whoever reads a million events should not ask a million times. */
static sl_status any(book_view *view, bool *there) {
  if (view->recreated_known == 0) {
    db_cur *cur;
    sl_slice key = sl_slice_of(BOOK_RECREATED_PREFIX), value;
    sl_status status = db_cur_open(view->txn, BOOK_NOTES, &cur);
    if (status != SL_OK) return status;
    status = db_cur_move(cur, DB_SEEK, &key, &value);
    if (status == SL_OK || status == SL_NOTFOUND)
      view->recreated_known = status == SL_OK && book_recreated_is(key) ? 2 : 1;
    db_cur_close(cur);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  *there = view->recreated_known == 2;
  return SL_OK;
}

sl_status book_recreated(book_view *view, sl_slice topic, uint64_t attempt, uint64_t seq, bool *covered) {
  char text[BOOK_RECREATED_NAME_LEN + 1];
  sl_recreation mark;
  sl_slice value;
  bool there = false;
  *covered = false;
  sl_status status = any(view, &there);
  if (status != SL_OK || !there) return status;
  const sl_slice name = name_of(topic, text);
  status = db_get(view->txn, BOOK_NOTES, name, &value);
  if (status == SL_NOTFOUND) return SL_OK;
  if (status == SL_OK) status = book_recreated_check(name, value, &mark);
  if (status == SL_OK && sl_slice_eq(mark.topic, topic)) *covered = sl_recreation_covers(&mark, attempt, seq);
  return status;
}
