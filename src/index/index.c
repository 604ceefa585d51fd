/* The index environment: opening, state, views. Layout: docs/disk-format.md, "Environments and tables". */
#include "index/index_impl.h"

#include "base/crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_STORE SL_STR("store")
#define KEY_VERSION SL_STR("version")
#define KEY_STATE SL_STR(INDEX_STATE_NAME)

#define STATE_HEAD 40u
#define STATE_CRC 36u /* its last four bytes */
#define STATE_GEN 48u
#define STATE_MERGE 72u
#define GEN_CLOSED 1u

#define DUPLICATES_AT_ONCE 100000u /* of trimmed events, a transaction */

/* ----------------------------------------------------------------- state --- */

static sl_status damaged(void) {
  return sl_fail(SL_E_CORRUPT, "index/ has a damaged state: remove the folder, it is rebuilt");
}

/* Over the whole of it, with zeros in its own place; 0: of a sidelog that wrote none. */
static uint32_t state_crc(sl_slice value) {
  static const uint8_t none[4];
  const uint8_t *p = value.data;
  const uint32_t crc = sl_crc32c(sl_crc32c(sl_crc32c(0, p, STATE_CRC), none, 4), p + STATE_HEAD,
                                 value.len - STATE_HEAD);
  return crc ? crc : 1;
}

bool index_state_sound(sl_slice value) {
  if (value.len < STATE_HEAD) return false;
  const uint32_t crc = sl_get_u32((const uint8_t *)value.data + STATE_CRC);
  return crc == 0 || crc == state_crc(value);
}

sl_status index_state_load(db_txn *txn, index_state *state) {
  sl_slice value;
  sl_status status = db_get(txn, INDEX_META, KEY_STATE, &value);
  if (status == SL_NOTFOUND)
    return sl_fail(SL_E_CORRUPT, "index/ has no state: remove the folder, it is rebuilt");
  if (status != SL_OK) return status;
  const uint8_t *p = value.data;
  if (!index_state_sound(value)) return damaged();
  state->watermark = sl_get_u64(p);
  state->owed = sl_get_u64(p + 8);
  state->dirty = sl_get_u64(p + 16);
  state->next_number = sl_get_u32(p + 24);
  state->count = sl_get_u32(p + 28);
  state->merge_count = sl_get_u32(p + 32);
  if (state->count > INDEX_SLOTS || state->merge_count > INDEX_MERGES || state->dirty >> INDEX_SLOTS ||
      value.len != STATE_HEAD + state->count * STATE_GEN + state->merge_count * STATE_MERGE)
    return damaged();
  p += STATE_HEAD;
  for (uint32_t i = 0; i < state->count; i++, p += STATE_GEN) {
    state->gens[i] = (index_gen){.number = sl_get_u32(p), .slot = sl_get_u32(p + 4),
                                 .attributes = sl_get_u32(p + 8), .closed = sl_get_u32(p + 12) & GEN_CLOSED,
                                 .first_seq = sl_get_u64(p + 16), .capacity = sl_get_u64(p + 24),
                                 .count = sl_get_u64(p + 32), .without_correlation = sl_get_u64(p + 40)};
    if (state->gens[i].slot >= INDEX_SLOTS) return damaged();
  }
  for (uint32_t i = 0; i < state->merge_count; i++, p += STATE_MERGE) {
    index_merge *m = &state->merges[i];
    *m = (index_merge){.slot = sl_get_u32(p), .list = sl_get_u32(p + 4), .inside = sl_get_u32(p + 8) != 0,
                       .first_seq = sl_get_u64(p + 16), .last_seq = sl_get_u64(p + 24),
                       .events = sl_get_u64(p + 32), .correlated = sl_get_u64(p + 40), .seq = sl_get_u64(p + 48)};
    memcpy(m->key, p + 56, 16);
    if (m->slot >= INDEX_SLOTS || m->list >= INDEX_LISTS) return damaged();
  }
  return SL_OK;
}

sl_status index_state_save(db_txn *txn, const index_state *state) {
  uint8_t bytes[STATE_HEAD + INDEX_SLOTS * STATE_GEN + INDEX_MERGES * STATE_MERGE] = {0}, *p = bytes;
  sl_put_u64(p, state->watermark);
  sl_put_u64(p + 8, state->owed);
  sl_put_u64(p + 16, state->dirty);
  sl_put_u32(p + 24, state->next_number);
  sl_put_u32(p + 28, state->count);
  sl_put_u32(p + 32, state->merge_count);
  p += STATE_HEAD;
  for (uint32_t i = 0; i < state->count; i++, p += STATE_GEN) {
    const index_gen *gen = &state->gens[i];
    sl_put_u32(p, gen->number);
    sl_put_u32(p + 4, gen->slot);
    sl_put_u32(p + 8, gen->attributes);
    sl_put_u32(p + 12, gen->closed ? GEN_CLOSED : 0);
    sl_put_u64(p + 16, gen->first_seq);
    sl_put_u64(p + 24, gen->capacity);
    sl_put_u64(p + 32, gen->count);
    sl_put_u64(p + 40, gen->without_correlation);
  }
  for (uint32_t i = 0; i < state->merge_count; i++, p += STATE_MERGE) {
    const index_merge *m = &state->merges[i];
    sl_put_u32(p, m->slot);
    sl_put_u32(p + 4, m->list);
    sl_put_u32(p + 8, m->inside);
    sl_put_u64(p + 16, m->first_seq);
    sl_put_u64(p + 24, m->last_seq);
    sl_put_u64(p + 32, m->events);
    sl_put_u64(p + 40, m->correlated);
    sl_put_u64(p + 48, m->seq);
    memcpy(p + 56, m->key, 16);
  }
  const sl_slice value = {bytes, (size_t)(p - bytes)};
  sl_put_u32(bytes + STATE_CRC, state_crc(value));
  return db_put(txn, INDEX_META, KEY_STATE, value);
}

/* ------------------------------------------------------------------ open --- */

static sl_status env_open(sl_index *index, const char *dir) {
  static const char lists[INDEX_LISTS] = {'e', 'c', 'p', 't', 'a'};
  char names[INDEX_TABLES][8];
  db_table_def defs[INDEX_TABLES] = {[INDEX_META] = {.name = "meta"}, [INDEX_FILTERS] = {.name = "filters"},
                                     [INDEX_DUPLICATES] = {.name = "duplicates", .flags = DB_INTKEY}};
  for (uint32_t slot = 0; slot < INDEX_SLOTS; slot++) {
    for (unsigned list = 0; list < INDEX_LISTS; list++) {
      const unsigned table = index_slot_table(slot, list);
      /* Those of a slot are neighbours among the tables: a step changes their entries there. */
      snprintf(names[table], sizeof names[table], "s%02u%c", slot, lists[list]);
      defs[table] = (db_table_def){.name = names[table], .flags = DB_DUPFIXED | DB_DUPINT};
    }
  }
  const db_env_options options = {.map_size = 256ull << 30,
                                  .map_floor = 256ull << 20,
                                  .max_readers = 512,
                                  .mode = index->store->file_mode,
                                  .create = true,
                                  .disposable = true};
  return db_env_open(dir, defs, INDEX_TABLES, &options, &index->env);
}

static uint32_t layout_of(db_txn *txn) {
  sl_slice value;
  return db_get(txn, INDEX_META, KEY_VERSION, &value) == SL_OK && value.len == 4 ? sl_get_u32(value.data) : 0;
}

/* Empties every table and begins anew. Only for what is not this store's index, or of an older layout. */
static sl_status index_init(sl_index *index, bool wipe) {
  db_txn *txn;
  sl_status status = db_begin_write(index->env, false, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  char attributes[128] = INDEX_ATTRIBUTES; /* which ones is people's choice: it outlives a layout */
  status = db_get(txn, INDEX_META, KEY_STORE, &value);
  if (status == SL_OK && sl_slice_eq(value, (sl_slice){index->store->uuid, 16})) {
    if (layout_of(txn) == INDEX_LAYOUT) { /* another was faster */
      db_abort(txn);
      return SL_OK;
    }
    if (db_get(txn, INDEX_META, INDEX_KEY_ATTRIBUTES, &value) == SL_OK && value.len < sizeof attributes) {
      memcpy(attributes, value.data, value.len);
      attributes[value.len] = 0;
    }
  }
  for (unsigned table = 0; wipe && table < INDEX_TABLES; table++) db_empty(txn, table);
  if (wipe) db_drop_others(txn);
  const uint8_t version[4] = {INDEX_LAYOUT};
  const index_state state = {.next_number = 1};
  index_state_save(txn, &state);
  db_put(txn, INDEX_META, KEY_VERSION, (sl_slice){version, sizeof version});
  db_put(txn, INDEX_META, INDEX_KEY_ATTRIBUTES, sl_slice_of(attributes));
  db_put(txn, INDEX_META, KEY_STORE, (sl_slice){index->store->uuid, 16});
  return db_commit(txn);
}

/* *fresh: nothing in it. *foreign: of another store, or of an older layout. */
static sl_status index_look(sl_index *index, bool *fresh, bool *foreign, uint64_t *watermark) {
  db_txn *txn;
  sl_status status = db_begin_read(index->env, &txn);
  if (status != SL_OK) return status;
  sl_slice value;
  index_state state;
  *fresh = *foreign = false;
  status = db_get(txn, INDEX_META, KEY_VERSION, &value);
  if (status == SL_OK && (value.len != 4 || sl_get_u32(value.data) > INDEX_LAYOUT)) {
    status = sl_fail(SL_E_VERSION,
                     "%s/index has format version %u, this library knows %u: use a newer sidelog; nothing "
                     "was changed",
                     index->store->path, value.len == 4 ? sl_get_u32(value.data) : 0, INDEX_LAYOUT);
  } else if (status == SL_OK) {
    status = db_get(txn, INDEX_META, KEY_STORE, &value);
    if (status == SL_OK)
      *foreign = !sl_slice_eq(value, (sl_slice){index->store->uuid, 16}) || layout_of(txn) != INDEX_LAYOUT;
    if (status == SL_OK && !*foreign) status = index_state_load(txn, &state);
    if (status == SL_OK && !*foreign) *watermark = state.watermark;
  }
  db_abort(txn);
  if (status != SL_NOTFOUND) return status;
  *fresh = true;
  return SL_OK;
}

/* An environment that LMDB cannot open holds nothing worth keeping. The reader table goes first: who opens the
 * folder in between must not use that of the old file for a new one. */
static sl_status remove_files(const sl_index *index) {
  static const char *const names[] = {"index/lock.mdb", "index/data.mdb"};
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

typedef struct found {
  bool fresh, foreign;
  uint64_t watermark;
} found;

static sl_status open_and_look(sl_index *index, const char *dir, found *f) {
  sl_status status = env_open(index, dir);
  if (status == SL_OK) status = index_look(index, &f->fresh, &f->foreign, &f->watermark);
  if (status == SL_OK) return SL_OK;
  db_env_close(index->env);
  index->env = NULL;
  return status;
}

/* A damaged index is made anew, whole within a turn: one process does it for all, and those that have the old file
 * open find the new one at their next turn (db_env_renew). */
static sl_status replace(sl_index *index, const char *dir, found *f) {
  index_turn_take(index);
  sl_status status = open_and_look(index, dir, f); /* another was faster? */
  if (status == SL_E_CORRUPT) {
    status = remove_files(index);
    if (status == SL_OK) status = open_and_look(index, dir, f);
  }
  if (status == SL_OK && f->fresh) status = index_init(index, false);
  f->fresh &= status != SL_OK;
  index_turn_end(index);
  return status;
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
  index->small = INDEX_SMALL;
  index->piece = INDEX_PIECE;
  index->append_cap = INDEX_APPEND_CAP;
  index->query_cap = INDEX_QUERY_CAP;
  found f = {0};
  sl_status status = open_and_look(index, dir, &f);
  index_turn_open(index);
  if (status == SL_E_CORRUPT) status = replace(index, dir, &f);
  const bool anew = f.fresh || f.foreign;
  if (status == SL_OK) status = anew ? index_init(index, f.foreign) : check_watermark(index, f.watermark);
  free(dir);
  if (status != SL_OK) {
    index_close(index);
    return status;
  }
  store->index = index;
  return SL_OK;
}

void index_close(sl_index *index) {
  if (!index) return;
  index_turn_close(index);
  db_env_close(index->env);
  free(atomic_load(&index->spare));
  free(index);
}

/* ------------------------------------------------------------------ view --- */

sl_status index_view_open(sl_store *store, index_view **out) {
  index_view *view = atomic_exchange(&store->index->spare, NULL);
  if (!view && (view = malloc(sizeof *view))) view->kept = (db_kept){0};
  if (!view) return sl_fail(SL_E_NOMEM, "out of memory");
  view->index = store->index;
  view->filter = (index_filter){.known = &view->known};
  bool same;
  sl_status status = db_begin_kept(store->index->env, &view->kept, &same, &view->txn);
  if (status == SL_OK && !same) {
    view->known.count = 0;
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
  db_cur_close(view->filter.cur);
  db_abort(view->txn);
  free(atomic_exchange(&view->index->spare, view));
}

uint64_t index_view_watermark(const index_view *view) { return view->state.watermark; }

/* Whole generations: the one that trim is in the middle of counts its trimmed events too, until it is merged: at
 * most one generation's worth. */
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
    if (status == SL_OK) index_state_drop(&state, first_seq, &dropped);
    if (status == SL_OK) status = index_forget_duplicates(txn, first_seq, DUPLICATES_AT_ONCE);
    while (status == SL_OK && state.dirty) status = index_clean_one(txn, &state);
    if (status == SL_OK) status = index_state_save(txn, &state);
    if (status != SL_OK) db_txn_fail(txn, status);
    status = db_commit(txn);
  }
  index_turn_end(store->index);
  return status;
}
