/* Named cursors: the places of local readers, in delivery/. */
#include "delivery/book_impl.h"
#include "store/log.h"

#include <inttypes.h>

static sl_status check_name(const char *name) {
  const size_t len = name ? strlen(name) : 0;
  bool good = len >= 1 && len <= 128;
  for (size_t i = 0; good && i < len; i++) {
    const char c = name[i];
    good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  }
  if (good) return SL_OK;
  return sl_fail(SL_E_INVALID, "a cursor's name is 1 to 128 of [a-zA-Z0-9._-]");
}

sl_status sl_cursor_get(sl_store *store, const char *name, uint64_t *seq) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = check_name(name);
  if (status == SL_OK && !seq) status = sl_fail(SL_E_INVALID, "seq is NULL");
  db_txn *txn;
  if (status == SL_OK) status = db_begin_read(store->book->env, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  status = db_get(txn, BOOK_CURSORS, sl_slice_of(name), &value);
  if (status == SL_OK && value.len != 8)
    status = sl_fail(SL_E_CORRUPT, "delivery/: cursor %s is damaged", name);
  if (status == SL_OK) *seq = sl_get_u64(value.data);
  db_abort(txn);
  return status == SL_NOTFOUND ? sl_fail(SL_NOTFOUND, "there is no cursor %s", name) : status;
}

sl_status sl_cursor_set(sl_store *store, const char *name, uint64_t seq) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = check_name(name);
  log_view *log;
  if (status == SL_OK) status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  const uint64_t last = log_view_head(log)->last_seq;
  log_view_close(log);
  if (seq > last)
    return sl_fail(SL_E_INVALID, "cursor %s cannot stand at event %" PRIu64 ": the log ends at %" PRIu64,
                   name, seq, last);
  /* A reader must not be past an event that a power cut can take back from a relaxed log. */
  status = log_flush_for(store);
  db_txn *txn;
  if (status == SL_OK) status = db_begin_write(store->book->env, false, &txn);
  if (status != SL_OK) return status;
  db_put(txn, BOOK_CURSORS, sl_slice_of(name), db_u64(&seq));
  return db_commit(txn);
}

sl_status sl_cursor_delete(sl_store *store, const char *name) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = check_name(name);
  db_txn *txn;
  if (status == SL_OK) status = db_begin_write(store->book->env, false, &txn);
  if (status != SL_OK) return status;
  status = db_del(txn, BOOK_CURSORS, sl_slice_of(name));
  if (status == SL_NOTFOUND) {
    db_abort(txn);
    return sl_fail(SL_NOTFOUND, "there is no cursor %s", name);
  }
  return db_commit(txn);
}
