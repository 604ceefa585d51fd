/* readers/: opening, states, entries. Layout: docs/disk-format.md, "readers/". */
#include "readers/readers.h"

#include "db/db_file.h"
#include "store/store_fs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct sl_readers {
  pthread_mutex_t lock;
  db_env *env; /* NULL: not opened yet */
};

sl_readers *readers_new(void) {
  sl_readers *r = calloc(1, sizeof *r);
  if (r) pthread_mutex_init(&r->lock, NULL);
  return r;
}

void readers_close(sl_readers *r) {
  if (!r) return;
  db_env_close(r->env);
  pthread_mutex_destroy(&r->lock);
  free(r);
}

/* ------------------------------------------------------------------ open --- */

static sl_status check(sl_store *store, db_env *env, bool *empty) {
  db_txn *txn;
  sl_slice id = {0}, version = {0};
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  status = db_get(txn, READERS_META, SL_STR(READERS_KEY_STORE), &id);
  *empty = status == SL_NOTFOUND;
  if (status == SL_OK) status = db_get(txn, READERS_META, SL_STR(READERS_KEY_VERSION), &version);
  if (status == SL_OK && (version.len != 4 || sl_get_u32(version.data) > READERS_VERSION))
    status = sl_fail(SL_E_VERSION, "%s/readers was written by a newer sidelog: use that; nothing was changed",
                     store->path);
  if (status == SL_OK && !sl_slice_eq(id, SL_BYTES(store->uuid, 16)))
    status = sl_fail(SL_E_MISMATCH,
                     "%s/readers belongs to another store: put back the folder that belongs to it, or remove it: "
                     "then every reader begins anew", store->path);
  db_abort(txn);
  return *empty ? SL_OK : status;
}

static sl_status init(sl_store *store, db_env *env) {
  db_txn *txn;
  sl_slice value;
  uint8_t version[4];
  sl_status status = db_begin_write(env, false, &txn);
  if (status != SL_OK) return status;
  status = db_get(txn, READERS_META, SL_STR(READERS_KEY_STORE), &value);
  if (status != SL_NOTFOUND) { /* another process was faster, or an error */
    db_abort(txn);
    return status;
  }
  sl_put_u32(version, READERS_VERSION);
  db_put(txn, READERS_META, SL_STR(READERS_KEY_VERSION), SL_BYTES(version, sizeof version));
  db_put(txn, READERS_META, SL_STR(READERS_KEY_STORE), SL_BYTES(store->uuid, 16));
  return db_commit(txn);
}

static sl_status open_env(sl_store *store, bool create, db_env **out) {
  static const db_table_def tables[READERS_TABLES] = {
    [READERS_META] = {"meta", 0}, [READERS_STATES] = {"states", 0}, [READERS_OPEN] = {"open", 0},
    [READERS_DEAD] = {"dead", 0}, [READERS_AUDIT] = {"audit", 0}};
  const db_env_options options = {.map_size = 64ull << 30, .map_floor = 256ull << 20, .max_readers = 512,
                                  .mode = store->file_mode, .create = create};
  char *dir = store_path(store, "readers");
  db_env *env = NULL;
  bool empty = false;
  if (!dir) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = db_env_open(dir, tables, READERS_TABLES, &options, &env);
  free(dir);
  if (status == SL_OK) status = check(store, env, &empty);
  if (status == SL_OK && empty && create) status = init(store, env);
  if (status == SL_OK && empty && create) status = store_fs_own_files(store);
  if (status == SL_OK && empty && create) status = db_file_sync_dir(store->root);
  if (status == SL_OK && empty && create) status = check(store, env, &empty);
  if (status == SL_E_NO_STORE || (status == SL_OK && empty)) status = sl_fail(SL_NOTFOUND, "there are no readers");
  if (status == SL_OK) *out = env;
  else db_env_close(env);
  return status;
}

sl_status readers_env(sl_store *store, bool create, db_env **env) {
  sl_readers *r = store->readers;
  pthread_mutex_lock(&r->lock);
  sl_status status = r->env ? SL_OK : open_env(store, create, &r->env);
  if (status == SL_OK) *env = r->env;
  pthread_mutex_unlock(&r->lock);
  return status;
}

/* --------------------------------------------------------- states, entries --- */

sl_status readers_check_name(const char *name) {
  static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  const size_t len = name ? strlen(name) : 0;
  if (len >= 1 && len <= 128 && strspn(name, legal) == len) return SL_OK;
  return sl_fail(SL_E_INVALID, "a reader's name is 1 to 128 of [a-zA-Z0-9._-]");
}

sl_status readers_state_get(db_txn *txn, const char *name, sl_reader_state *state) {
  sl_slice value;
  sl_status status = db_get(txn, READERS_STATES, sl_slice_of(name), &value);
  if (status == SL_NOTFOUND) return sl_fail(SL_NOTFOUND, "there is no reader %s", name);
  if (status == SL_OK) status = sl_reader_state_decode(value, state);
  return status == SL_OK ? SL_OK : sl_fail_context(status, "readers/: reader %s", name);
}

sl_status readers_state_put(db_txn *txn, const char *name, const sl_reader_state *state) {
  sl_buf bytes = {0};
  sl_status status = sl_reader_state_encode(state, &bytes);
  if (status == SL_OK) status = db_put(txn, READERS_STATES, sl_slice_of(name), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  return status;
}

sl_slice readers_key(uint32_t id, uint64_t seq, char text[READERS_KEY_LEN + 1]) {
  snprintf(text, READERS_KEY_LEN + 1, "%08" PRIx32 "%016" PRIx64, id, seq);
  return SL_BYTES(text, READERS_KEY_LEN);
}

bool readers_key_parse(sl_slice key, uint32_t *id, uint64_t *seq) {
  char text[READERS_KEY_LEN + 1], again[READERS_KEY_LEN + 1];
  if (key.len != READERS_KEY_LEN) return false;
  memcpy(text, key.data, READERS_KEY_LEN);
  text[READERS_KEY_LEN] = '\0';
  *seq = strtoull(text + 8, NULL, 16);
  text[8] = '\0';
  *id = (uint32_t)strtoul(text, NULL, 16);
  return sl_slice_eq(key, readers_key(*id, *seq, again));
}

sl_status readers_walk(db_txn *txn, unsigned table, uint32_t id, uint64_t from, readers_entry_fn *fn, void *arg) {
  char text[READERS_KEY_LEN + 1];
  db_cur *cur;
  uint32_t of;
  uint64_t seq = 0;
  sl_slice key = readers_key(id, from, text), value;
  sl_status status = db_cur_open(txn, table, &cur);
  if (status != SL_OK) return status;
  for (status = db_cur_move(cur, DB_SEEK, &key, &value); status == SL_OK;
       status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    sl_reader_entry entry;
    if (!readers_key_parse(key, &of, &seq)) status = sl_fail(SL_E_CORRUPT, "readers/: a key is damaged");
    else if (of != id) break;
    else status = sl_reader_entry_decode(value, &entry);
    if (status == SL_OK && entry.seq != seq)
      status = sl_fail(SL_E_CORRUPT, "it is that of event %" PRIu64, entry.seq);
    if (status != SL_OK) status = sl_fail_context(status, "readers/: entry of event %" PRIu64, seq);
    if (status == SL_OK) status = fn(arg, &entry);
    if (status != SL_OK) break;
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status readers_entry_put(db_txn *txn, unsigned table, uint32_t id, const sl_reader_entry *entry) {
  char text[READERS_KEY_LEN + 1];
  sl_buf bytes = {0};
  sl_status status = sl_reader_entry_encode(entry, &bytes);
  if (status == SL_OK) status = db_put(txn, table, readers_key(id, entry->seq, text), sl_buf_slice(&bytes));
  sl_buf_free(&bytes);
  return status;
}

/* ------------------------------------------------------------------ trim --- */

#define FOUND ((sl_status)-1) /* ends a walk */

static sl_status first_open(void *arg, const sl_reader_entry *entry) {
  uint64_t *seq = arg;
  if (entry->seq <= *seq) *seq = entry->seq - 1;
  return FOUND;
}

sl_status readers_held_seq(db_txn *txn, const sl_reader_state *state, uint64_t *seq) {
  *seq = state->seq;
  const sl_status status = readers_walk(txn, READERS_OPEN, state->id, 0, first_open, seq);
  return status == FOUND ? SL_OK : status;
}

sl_status readers_hold(sl_store *store, uint64_t *seq) {
  db_env *env;
  db_txn *txn;
  db_cur *cur = NULL;
  sl_slice key = {"", 0}, value;
  *seq = UINT64_MAX;
  sl_status status = readers_env(store, false, &env);
  if (status == SL_OK) status = db_begin_read(env, &txn);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  status = db_cur_open(txn, READERS_STATES, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_FIRST, &key, &value);
  for (; status == SL_OK; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    sl_reader_state state;
    uint64_t held;
    /* A damaged one holds nothing: verify tells of it, and it has to begin anew. */
    if (sl_reader_state_decode(value, &state) != SL_OK || !(state.flags & SL_READER_HOLD_TRIM)) continue;
    status = readers_held_seq(txn, &state, &held);
    if (status != SL_OK && status != SL_E_CORRUPT) break;
    if (status == SL_OK && held < *seq) *seq = held;
    status = SL_OK;
  }
  db_cur_close(cur);
  db_abort(txn);
  return status == SL_NOTFOUND ? SL_OK : status;
}

#define FORGET_STEP 500u

static sl_status forget_some(db_txn *txn, uint64_t first_seq, unsigned *done) {
  db_cur *cur;
  sl_slice key = {"", 0}, value;
  char text[READERS_KEY_LEN + 1];
  uint32_t id;
  uint64_t seq;
  sl_status status = db_cur_open(txn, READERS_DEAD, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_FIRST, &key, &value);
  while (status == SL_OK && *done < FORGET_STEP) {
    if (!readers_key_parse(key, &id, &seq)) break; /* verify tells of it */
    if (seq < first_seq) {
      status = db_cur_del(cur);
      ++*done;
      key = readers_key(id, seq, text);
    } else { /* on to the next reader */
      if (id == UINT32_MAX) break;
      key = readers_key(id + 1, 0, text);
    }
    if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status readers_forget_below(sl_store *store, uint64_t first_seq) {
  db_env *env;
  db_txn *txn;
  uint64_t letters = 0;
  unsigned done = FORGET_STEP;
  sl_status status = readers_env(store, false, &env);
  if (status == SL_OK) status = db_begin_read(env, &txn);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  status = db_count(txn, READERS_DEAD, &letters);
  db_abort(txn);
  while (status == SL_OK && letters > 0 && done == FORGET_STEP) {
    done = 0;
    status = db_begin_write(env, false, &txn);
    if (status != SL_OK) break;
    status = forget_some(txn, first_seq, &done);
    if (status == SL_OK && done > 0) {
      status = db_commit(txn);
    } else {
      db_abort(txn);
    }
  }
  return status;
}
