/* Dead letters whose copy is not on its dead-letter topic yet: a note for each, numbered in the order in which
 * they were written. A note is written with its letter, in the intent, and goes when the attempt that published
 * the copy is settled. Numbers are never reused. Those of an abandoned attempt lie at the end, and go with it. */
#include "delivery/delivery_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME "letter-%016" PRIx64
#define NAME_LEN 23u
#define PREFIX "letter-"
#define VALUE_HEAD 16u /* u64 attempt, u64 seq; the topic follows */

static sl_slice name_of(uint64_t number, char out[NAME_LEN + 1]) {
  snprintf(out, NAME_LEN + 1, NAME, number);
  return SL_BYTES(out, NAME_LEN);
}

static bool number_of(sl_slice name, uint64_t *number) {
  char text[NAME_LEN + 1];
  if (name.len != NAME_LEN || memcmp(name.data, PREFIX, sizeof PREFIX - 1) != 0) return false;
  memcpy(text, name.data, NAME_LEN);
  text[NAME_LEN] = '\0';
  char *end;
  *number = strtoull(text + sizeof PREFIX - 1, &end, 16);
  return *end == '\0' && *number > 0;
}

static bool value_get(sl_slice value, uint64_t *attempt, uint64_t *seq, sl_slice *topic) {
  if (value.len <= VALUE_HEAD) return false;
  const uint8_t *p = value.data;
  *attempt = sl_get_u64(p);
  *seq = sl_get_u64(p + 8);
  *topic = SL_BYTES(p + VALUE_HEAD, value.len - VALUE_HEAD);
  return true;
}

sl_status outbox_last(db_txn *txn, uint64_t *number) {
  sl_slice value;
  *number = 0;
  sl_status status = book_meta_get(txn, BOOK_KEY_LETTERS, &value);
  if (status == SL_OK && value.len != 8) return sl_fail(SL_E_CORRUPT, "delivery/ letters");
  if (status == SL_OK) *number = sl_get_u64(value.data);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status outbox_any(db_txn *txn, bool *any) {
  char name[NAME_LEN + 1];
  uint64_t number;
  db_cur *cur;
  sl_slice key = name_of(1, name), value;
  sl_status status = db_cur_open(txn, BOOK_NOTES, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_SEEK, &key, &value);
  *any = status == SL_OK && number_of(key, &number);
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status outbox_add(db_txn *txn, uint64_t number, uint64_t attempt, uint64_t seq, sl_slice topic) {
  char name[NAME_LEN + 1];
  uint8_t value[VALUE_HEAD + 255];
  if (topic.len == 0 || topic.len > 255) return SL_OK; /* a record that cannot be read: there is nothing to copy */
  sl_put_u64(value, attempt);
  sl_put_u64(value + 8, seq);
  memcpy(value + VALUE_HEAD, topic.data, topic.len);
  sl_status status = db_put(txn, BOOK_NOTES, name_of(number, name), SL_BYTES(value, VALUE_HEAD + topic.len));
  return status == SL_OK ? book_meta_put(txn, BOOK_KEY_LETTERS, db_u64(&number)) : status;
}

void outbox_purge(db_txn *txn, uint64_t cursor_attempt) {
  uint64_t last, attempt, seq;
  char name[NAME_LEN + 1];
  sl_slice value, topic;
  if (outbox_last(txn, &last) != SL_OK) return;
  for (; last > 0; last--) { /* the intent's are the last ones: at the first other one it ends */
    if (db_get(txn, BOOK_NOTES, name_of(last, name), &value) != SL_OK) return;
    if (!value_get(value, &attempt, &seq, &topic) || attempt <= cursor_attempt) return;
    db_del(txn, BOOK_NOTES, name_of(last, name));
  }
}

void outbox_intend(db_txn *txn, const delivery_attempt *attempt) {
  sl_buf numbers = {0};
  for (size_t i = 0; i < attempt->copy_count; i++) {
    uint8_t bytes[8];
    sl_put_u64(bytes, attempt->copies[i].number);
    sl_buf_append(&numbers, bytes, sizeof bytes);
  }
  if (numbers.failed) db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  if (numbers.len) book_meta_put(txn, BOOK_KEY_INTENT_LETTERS, sl_buf_slice(&numbers));
  sl_buf_free(&numbers);
}

sl_status outbox_settle(db_txn *txn) {
  sl_slice value;
  sl_status status = book_meta_get(txn, BOOK_KEY_INTENT_LETTERS, &value);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  sl_buf numbers = {0}; /* a value is valid until the next write only */
  sl_buf_append(&numbers, value.data, value.len);
  if (numbers.failed) return db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory"));
  for (size_t at = 0; at + 8 <= numbers.len; at += 8) {
    char name[NAME_LEN + 1];
    status = db_del(txn, BOOK_NOTES, name_of(sl_get_u64(numbers.data + at), name));
    if (status != SL_OK && status != SL_NOTFOUND) break;
  }
  sl_buf_free(&numbers);
  return status == SL_NOTFOUND ? SL_OK : status;
}

static uint64_t copied(const delivery_verdict *verdicts, size_t count) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += verdicts[i].copied;
  return sum;
}

sl_status outbox_check(book_view *book, const delivery_attempt *attempt) {
  uint64_t before = 0, published = copied(attempt->verdicts, attempt->count);
  published += copied(attempt->lane_verdicts, attempt->lane_count);
  for (size_t i = 0; i < attempt->copy_count; i++) {
    const uint64_t number = attempt->copies[i].number;
    char name[NAME_LEN + 1];
    uint64_t of = 0, seq;
    sl_slice value, topic;
    if (number <= before)
      return sl_fail(SL_E_INVALID, "copies of dead letters are not in ascending order at number %" PRIu64, number);
    before = number;
    sl_status status = db_get(book->txn, BOOK_NOTES, name_of(number, name), &value);
    if (status == SL_NOTFOUND ||
        (status == SL_OK && (!value_get(value, &of, &seq, &topic) || of > book->cursor.attempt)))
      return sl_fail(SL_E_INVALID, "dead letter %" PRIu64 " does not wait to be published", number);
    if (status != SL_OK) return status;
    published += !attempt->copies[i].gone;
  }
  if (attempt->progress.dlq_no != book->cursor.dlq_no + published)
    return sl_fail(SL_E_INVALID, "%" PRIu64 " copies of dead letters are published, but their count goes from "
                   "%" PRIu64 " to %" PRIu64, published, book->cursor.dlq_no, attempt->progress.dlq_no);
  return SL_OK;
}

sl_status outbox_next(book_view *book, uint64_t from, delivery_waiting *out, size_t max, size_t *count) {
  char name[NAME_LEN + 1];
  db_cur *cur;
  size_t n = 0;
  sl_slice key = name_of(from ? from : 1, name), value;
  sl_status status = db_cur_open(book->txn, BOOK_NOTES, &cur);
  if (status != SL_OK) return status;
  for (status = db_cur_move(cur, DB_SEEK, &key, &value); status == SL_OK && n < max;
       status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    uint64_t attempt;
    sl_slice topic;
    delivery_waiting *w = &out[n];
    if (!number_of(key, &w->number)) {
      if (key.len > sizeof PREFIX - 1 && memcmp(key.data, PREFIX, sizeof PREFIX - 1) == 0) continue;
      break; /* another kind of note */
    }
    if (!value_get(value, &attempt, &w->seq, &topic) || topic.len >= sizeof w->topic) continue;
    if (attempt > book->cursor.attempt) break;
    memcpy(w->topic, topic.data, topic.len);
    w->topic[topic.len] = '\0';
    n++;
  }
  db_cur_close(cur);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  *count = n;
  return SL_OK;
}
