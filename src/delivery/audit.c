#include "delivery/audit.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_LEN (sizeof AUDIT_PREFIX - 1 + 16)
#define BEHIND "audit." /* the first key behind all of them */
#define AT_ONCE 100u    /* notes read in one transaction */
#define REMOVED_AT_ONCE 2u

static const int64_t age_us = INT64_C(86400000000) * SL_DROPS_DAYS;

static sl_slice key_of(uint64_t number, char text[KEY_LEN + 1]) {
  snprintf(text, KEY_LEN + 1, AUDIT_PREFIX "%016" PRIx64, number);
  return SL_BYTES(text, KEY_LEN);
}

static bool number_of(sl_slice key, uint64_t *number) {
  char text[KEY_LEN + 1], again[KEY_LEN + 1];
  if (key.len != KEY_LEN || memcmp(key.data, AUDIT_PREFIX, sizeof AUDIT_PREFIX - 1) != 0) return false;
  memcpy(text, key.data, KEY_LEN);
  text[KEY_LEN] = '\0';
  *number = strtoull(text + sizeof AUDIT_PREFIX - 1, NULL, 16);
  return sl_slice_eq(key, key_of(*number, again));
}

sl_status audit_check(sl_slice who, sl_slice why) {
  const sl_slice texts[] = {who, why};
  for (size_t i = 0; i < 2; i++)
    if (texts[i].len < 1 || texts[i].len > 255 || !texts[i].data || !sl_utf8_valid(texts[i]))
      return sl_fail(SL_E_INVALID, "%s has 1 to 255 bytes of UTF-8", i ? "the reason" : "who drops it");
  return SL_OK;
}

static sl_status newest(db_txn *txn, unsigned table, uint64_t *number) {
  db_cur *cur;
  sl_slice key = SL_STR(BEHIND), value;
  sl_status status = db_cur_open(txn, table, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_SEEK, &key, &value);
  if (status == SL_OK || status == SL_NOTFOUND)
    status = db_cur_move(cur, status == SL_OK ? DB_PREV : DB_LAST, &key, &value);
  if (status != SL_OK || !number_of(key, number)) *number = 0;
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

/* The oldest go where they are too many or too old: each addition takes along two at most. */
static sl_status prune(db_txn *txn, unsigned table, uint64_t number, int64_t now_us) {
  for (unsigned i = 0; i < REMOVED_AT_ONCE; i++) {
    char text[KEY_LEN + 1];
    uint64_t oldest;
    sl_drop_note note;
    db_cur *cur;
    sl_slice key = key_of(0, text), value;
    sl_status status = db_cur_open(txn, table, &cur);
    if (status != SL_OK) return status;
    status = db_cur_move(cur, DB_SEEK, &key, &value);
    const bool is_one = status == SL_OK && number_of(key, &oldest);
    const bool goes = is_one && (number - oldest >= SL_DROPS_MOST || sl_drop_note_decode(value, &note) != SL_OK ||
                                 now_us - note.dropped_us > age_us);
    if (goes) status = db_cur_del(cur);
    db_cur_close(cur);
    if (status != SL_OK || !goes) return status == SL_NOTFOUND ? SL_OK : status;
  }
  return SL_OK;
}

sl_status audit_add(db_txn *txn, unsigned table, sl_drop_note *note) {
  char text[KEY_LEN + 1];
  sl_buf bytes = {0};
  sl_status status = newest(txn, table, &note->number);
  note->number++;
  note->dropped_us = sl_clock_wall_us();
  if (status == SL_OK) status = prune(txn, table, note->number, note->dropped_us);
  if (status == SL_OK) status = sl_drop_note_encode(note, &bytes);
  if (status == SL_OK) status = db_put(txn, table, key_of(note->number, text), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  return status;
}

sl_status audit_note_check(sl_slice key, sl_slice value) {
  uint64_t number;
  sl_drop_note note;
  if (!number_of(key, &number)) return SL_NOTFOUND;
  sl_status status = sl_drop_note_decode(value, &note);
  if (status == SL_OK && note.number != number) status = sl_fail(SL_E_CORRUPT, "it is note %" PRIu64, note.number);
  return status == SL_OK ? SL_OK : sl_fail_context(status, "note %" PRIu64 " of the audit trail", number);
}

/* ------------------------------------------------------------------ each --- */

/* Copies up to AT_ONCE notes behind *number, as lengths and bytes. */
static sl_status gather(db_env *env, unsigned table, uint64_t *number, sl_buf *out, size_t *count) {
  char text[KEY_LEN + 1];
  db_txn *txn;
  db_cur *cur = NULL;
  sl_slice key = key_of(*number + 1, text), value;
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  *count = 0;
  status = db_cur_open(txn, table, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  for (; status == SL_OK && *count < AT_ONCE && number_of(key, number);
       status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    const uint64_t len = value.len;
    sl_buf_append(out, &len, sizeof len);
    sl_buf_append(out, value.data, value.len);
    ++*count;
  }
  db_cur_close(cur);
  db_abort(txn);
  if (status == SL_NOTFOUND) status = SL_OK;
  return status == SL_OK && out->failed ? sl_fail(SL_E_NOMEM, "out of memory") : status;
}

static void tell(const sl_drop_note *n, sl_slice reader, sl_drop_fn *fn, void *arg) {
  if (!sl_slice_eq(reader, SL_STR("*")) && !sl_slice_eq(reader, n->texts[DROP_READER])) return;
  const sl_drop drop = {.number = n->number, .dropped_us = n->dropped_us, .seq = n->seq,
                        .reader = n->texts[DROP_READER], .event_id = n->texts[DROP_EVENT_ID],
                        .topic = n->texts[DROP_TOPIC], .type = n->texts[DROP_TYPE],
                        .error_class = n->texts[DROP_CLASS], .error_code = n->texts[DROP_CODE],
                        .who = n->texts[DROP_WHO], .why = n->texts[DROP_WHY]};
  fn(arg, &drop);
}

sl_status audit_each(db_env *env, unsigned table, sl_slice reader, sl_drop_fn *fn, void *arg) {
  sl_buf bytes = {0};
  uint64_t number = 0;
  size_t count = 1;
  sl_status status = SL_OK;
  while (status == SL_OK && count > 0) {
    sl_buf_reset(&bytes);
    status = gather(env, table, &number, &bytes, &count);
    for (size_t at = 0; status == SL_OK && at < bytes.len;) {
      const size_t len = (size_t)sl_get_u64(bytes.data + at);
      sl_drop_note note;
      /* A damaged note hides no other; verify tells of it. */
      if (sl_drop_note_decode(SL_BYTES(bytes.data + at + 8, len), &note) == SL_OK) tell(&note, reader, fn, arg);
      at += 8 + len;
    }
  }
  sl_buf_free(&bytes);
  return status;
}
