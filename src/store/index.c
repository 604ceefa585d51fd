/* The index environment: opening, state, views. Layout: docs/disk-format.md, "Environments and tables". */
#include "store/index_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_STORE SL_STR("store")
#define KEY_VERSION SL_STR("version")
#define KEY_STATE SL_STR("state")

#define KEY_SECONDARY SL_STR("secondary")

#define SECONDARY_SIZE 16u

#define STATE_HEAD 16u
#define STATE_GEN 40u

/* ----------------------------------------------------------------- state --- */

/* Which generations have secondary attributes stands beside the state, with the number of events that it is true for:
 * a sidelog that knows nothing of it adds events without them, and then it is not believed any more. */
static sl_status secondary_load(db_txn *txn, index_state *state) {
  sl_slice value;
  sl_status status = db_get(txn, INDEX_META, KEY_SECONDARY, &value);
  state->secondary = status == SL_OK;
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  for (const uint8_t *p = value.data; value.len >= SECONDARY_SIZE; p += SECONDARY_SIZE, value.len -= SECONDARY_SIZE)
    for (uint32_t i = 0; i < state->count; i++)
      if (state->gens[i].number == sl_get_u32(p) && state->gens[i].count == sl_get_u64(p + 8))
        state->gens[i].attributes = sl_get_u32(p + 4);
  return SL_OK;
}

static sl_status secondary_save(db_txn *txn, const index_state *state) {
  uint8_t bytes[INDEX_SLOTS * SECONDARY_SIZE], *p = bytes;
  for (uint32_t i = 0; i < state->count; i++) {
    if (!state->gens[i].attributes) continue;
    sl_put_u32(p, state->gens[i].number);
    sl_put_u32(p + 4, state->gens[i].attributes);
    sl_put_u64(p + 8, state->gens[i].count);
    p += SECONDARY_SIZE;
  }
  if (p == bytes && !state->secondary) return SL_OK;
  return db_put(txn, INDEX_META, KEY_SECONDARY, (sl_slice){bytes, (size_t)(p - bytes)});
}

sl_status index_state_load(db_txn *txn, index_state *state) {
  sl_slice value;
  sl_status status = db_get(txn, INDEX_META, KEY_STATE, &value);
  if (status == SL_NOTFOUND)
    return sl_fail(SL_E_CORRUPT, "index/ has no state: remove the folder, it is rebuilt");
  if (status != SL_OK) return status;
  const uint8_t *p = value.data;
  const uint32_t count = value.len >= STATE_HEAD ? sl_get_u32(p + 12) : INDEX_SLOTS + 1;
  if (count > INDEX_SLOTS || value.len != STATE_HEAD + count * STATE_GEN)
    return sl_fail(SL_E_CORRUPT, "index/ has a damaged state: remove the folder, it is rebuilt");
  state->watermark = sl_get_u64(p);
  state->next_number = sl_get_u32(p + 8);
  state->count = count;
  p += STATE_HEAD;
  for (uint32_t i = 0; i < count; i++, p += STATE_GEN) {
    state->gens[i] = (index_gen){.number = sl_get_u32(p),
                                 .slot = sl_get_u32(p + 4),
                                 .first_seq = sl_get_u64(p + 8),
                                 .capacity = sl_get_u64(p + 16),
                                 .count = sl_get_u64(p + 24),
                                 .without_correlation = sl_get_u64(p + 32)};
    if (state->gens[i].slot >= INDEX_SLOTS)
      return sl_fail(SL_E_CORRUPT, "index/ has a damaged state: remove the folder, it is rebuilt");
  }
  return secondary_load(txn, state);
}

sl_status index_state_save(db_txn *txn, const index_state *state) {
  uint8_t bytes[STATE_HEAD + INDEX_SLOTS * STATE_GEN], *p = bytes;
  sl_put_u64(p, state->watermark);
  sl_put_u32(p + 8, state->next_number);
  sl_put_u32(p + 12, state->count);
  p += STATE_HEAD;
  for (uint32_t i = 0; i < state->count; i++, p += STATE_GEN) {
    const index_gen *gen = &state->gens[i];
    sl_put_u32(p, gen->number);
    sl_put_u32(p + 4, gen->slot);
    sl_put_u64(p + 8, gen->first_seq);
    sl_put_u64(p + 16, gen->capacity);
    sl_put_u64(p + 24, gen->count);
    sl_put_u64(p + 32, gen->without_correlation);
  }
  db_put(txn, INDEX_META, KEY_STATE, (sl_slice){bytes, (size_t)(p - bytes)});
  return secondary_save(txn, state);
}

sl_status index_state_drop(db_txn *txn, index_state *state, uint64_t first_seq, unsigned *dropped) {
  unsigned gone = 0;
  while (gone < state->count && index_gen_last(&state->gens[gone]) < first_seq) {
    for (unsigned kind = 0; kind < INDEX_SLOT_TABLES; kind++) {
      sl_status status = db_empty(txn, index_table(&state->gens[gone], kind));
      if (status != SL_OK) return status;
    }
    gone++;
  }
  state->count -= gone;
  memmove(state->gens, state->gens + gone, state->count * sizeof state->gens[0]);
  *dropped = gone;
  return SL_OK;
}

/* ------------------------------------------------------------------ open --- */

static sl_status env_open(sl_index *index, const char *dir) {
  static const char kinds[INDEX_SLOT_TABLES] = {'e', 'c', 'p', 't', 'd', 'a'};
  char names[INDEX_TABLES][8];
  db_table_def defs[INDEX_TABLES];
  defs[INDEX_META] = (db_table_def){.name = "meta"};
  for (unsigned slot = 0; slot < INDEX_SLOTS; slot++) {
    for (unsigned kind = 0; kind < INDEX_SLOT_TABLES; kind++) {
      const unsigned table = 1 + slot * INDEX_SLOT_TABLES + kind;
      snprintf(names[table], sizeof names[table], "%c%02u", kinds[kind], slot);
      defs[table].name = names[table];
      defs[table].flags = kind == INDEX_DUPLICATES ? DB_INTKEY : (DB_DUPFIXED | DB_DUPINT);
    }
  }
  const db_env_options options = {.map_size = 256ull << 30,
                                  .map_floor = 256ull << 20,
                                  .max_readers = 512,
                                  .mode = index->store->file_mode,
                                  .create = true};
  return db_env_open(dir, defs, INDEX_TABLES, &options, &index->env);
}

/* Empties every table and begins anew. Only for what is not this store's index. */
static sl_status index_init(sl_index *index, bool wipe) {
  db_txn *txn;
  sl_status status = db_begin_write(index->env, false, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  status = db_get(txn, INDEX_META, KEY_STORE, &value);
  if (status == SL_OK && sl_slice_eq(value, (sl_slice){index->store->uuid, 16})) { /* another was faster */
    db_abort(txn);
    return SL_OK;
  }
  if (wipe)
    for (unsigned table = 0; table < INDEX_TABLES; table++) db_empty(txn, table);
  const uint8_t version[4] = {SL_FORMAT_VERSION};
  const index_state state = {.next_number = 1};
  index_state_save(txn, &state);
  db_put(txn, INDEX_META, KEY_VERSION, (sl_slice){version, sizeof version});
  db_put(txn, INDEX_META, INDEX_KEY_ATTRIBUTES, SL_STR(INDEX_ATTRIBUTES));
  db_put(txn, INDEX_META, KEY_STORE, (sl_slice){index->store->uuid, 16});
  return db_commit(txn);
}

/* *fresh: nothing in it. *foreign: of another store. */
static sl_status index_look(sl_index *index, bool *fresh, bool *foreign, uint64_t *watermark) {
  db_txn *txn;
  sl_status status = db_begin_read(index->env, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  index_state state;
  *fresh = *foreign = false;
  status = db_get(txn, INDEX_META, KEY_VERSION, &value);
  if (status == SL_OK && (value.len != 4 || sl_get_u32(value.data) > SL_FORMAT_VERSION)) {
    status = sl_fail(SL_E_VERSION,
                     "%s/index has format version %u, this library knows %u: use a newer sidelog; nothing "
                     "was changed",
                     index->store->path, value.len == 4 ? sl_get_u32(value.data) : 0, SL_FORMAT_VERSION);
  } else if (status == SL_OK) {
    status = db_get(txn, INDEX_META, KEY_STORE, &value);
    if (status == SL_OK) *foreign = !sl_slice_eq(value, (sl_slice){index->store->uuid, 16});
    if (status == SL_OK && !*foreign) status = index_state_load(txn, &state);
    if (status == SL_OK && !*foreign) *watermark = state.watermark;
  }
  db_abort(txn);
  if (status != SL_NOTFOUND) return status;
  *fresh = true;
  return SL_OK;
}

/* An environment that LMDB cannot open holds nothing worth keeping. */
static sl_status remove_files(const sl_index *index) {
  static const char *const names[] = {"index/data.mdb", "index/lock.mdb"};
  for (size_t i = 0; i < 2; i++) {
    char *path = store_path(index->store, names[i]);
    if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
    unlink(path);
    free(path);
  }
  return SL_OK;
}

static sl_status check_watermark(sl_index *index, uint64_t watermark) {
  log_view *log; /* opened after the watermark was read: the log only grows */
  sl_status status = log_view_open(index->store, &log);
  if (status != SL_OK) return status;
  const uint64_t last = log_view_head(log)->last_seq;
  log_view_close(log);
  if (watermark <= last) return SL_OK;
  return sl_fail(SL_E_MISMATCH,
                 "%s: index/ has reached event %" PRIu64 " but log/ ends at %" PRIu64
                 ": one of the two was restored or replaced. If log/ is the right one, remove index/: it is "
                 "built again from the log",
                 index->store->path, watermark, last);
}

sl_status index_open(sl_store *store) {
  sl_index *index = calloc(1, sizeof *index);
  char *dir = store_path(store, "index");
  if (!index || !dir) {
    free(index);
    free(dir);
    return sl_fail(SL_E_NOMEM, "out of memory");
  }
  index->store = store;
  index->base_capacity = INDEX_BASE_CAPACITY;
  index->append_cap = INDEX_APPEND_CAP;
  index->query_cap = INDEX_QUERY_CAP;
  index->turn_fd = -1;
  bool fresh = false, foreign = false;
  uint64_t watermark = 0;
  sl_status status = env_open(index, dir);
  if (status == SL_OK) status = index_look(index, &fresh, &foreign, &watermark);
  if (status == SL_E_CORRUPT) { /* disposable: rebuilt from the log */
    db_env_close(index->env);
    index->env = NULL;
    status = remove_files(index);
    if (status == SL_OK) status = env_open(index, dir);
    fresh = true;
  }
  if (status == SL_OK && (fresh || foreign)) status = index_init(index, foreign);
  if (status == SL_OK && !fresh && !foreign) status = check_watermark(index, watermark);
  free(dir);
  if (status != SL_OK) {
    db_env_close(index->env);
    free(index);
    return status;
  }
  index_turn_open(index);
  store->index = index;
  return SL_OK;
}

void index_close(sl_index *index) {
  if (!index) return;
  index_turn_close(index);
  db_env_close(index->env);
  free(index);
}

/* ------------------------------------------------------------------ view --- */

sl_status index_view_open(sl_store *store, index_view **out) {
  index_view *view = malloc(sizeof *view);
  if (!view) return sl_fail(SL_E_NOMEM, "out of memory");
  view->index = store->index;
  sl_status status = db_begin_read(store->index->env, &view->txn);
  if (status == SL_OK) {
    status = index_state_load(view->txn, &view->state);
    if (status != SL_OK) db_abort(view->txn);
  }
  if (status != SL_OK) {
    free(view);
    return status;
  }
  *out = view;
  return SL_OK;
}

void index_view_close(index_view *view) {
  if (!view) return;
  db_abort(view->txn);
  free(view);
}

uint64_t index_view_watermark(const index_view *view) { return view->state.watermark; }

/* Whole generations: the one that trim is in the middle of counts its trimmed events too, at most one
 * generation's worth. */
uint64_t index_view_without_correlation(const index_view *view) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < view->state.count; i++) sum += view->state.gens[i].without_correlation;
  return sum;
}

sl_status index_drop_trimmed(sl_store *store) {
  log_view *log;
  sl_status status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  const uint64_t first_seq = log_view_head(log)->first_seq; /* only ascends: what lies below stays below */
  log_view_close(log);
  index_view *view = NULL;
  status = index_view_open(store, &view);
  if (status != SL_OK) return status;
  const bool any = view->state.count > 0 && index_gen_last(&view->state.gens[0]) < first_seq;
  index_view_close(view);
  if (!any) return SL_OK;
  index_turn_take(store->index);
  db_txn *txn;
  status = db_begin_write(store->index->env, true, &txn);
  if (status == SL_OK) {
    index_state state;
    unsigned dropped = 0;
    status = index_state_load(txn, &state);
    if (status == SL_OK) status = index_state_drop(txn, &state, first_seq, &dropped);
    if (status == SL_OK) status = index_state_save(txn, &state);
    if (status != SL_OK) db_txn_fail(txn, status);
    status = db_commit(txn);
  }
  index_turn_end(store->index);
  return status;
}
