/* Secondary attributes: which of the record's key, tenant and source are in the index. A generation has an
 * attribute for all of its events or for none, decided when it begins. All share the table `a` of the generation's
 * slot, so that a further one needs neither tables nor a format. */
#include "base/id.h"
#include "base/text.h"
#include "index/index_impl.h"

#include <stdio.h>
#include <xxhash.h>

static const char *const names[INDEX_SECONDARY_COUNT] = {"key", "tenant", "source"}; /* as in index_secondary */

void index_key_of(index_attr attr, sl_slice text, uint8_t key[16]) {
  if (attr < INDEX_SECONDARY_ATTR) {
    sl_id_key(text, key);
    return;
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(text.data, text.len, attr - INDEX_SECONDARY_ATTR));
  memcpy(key, canonical.digest, 16);
}

sl_slice index_text_of(index_attr attr, const sl_parts *parts) {
  switch (attr) {
  case INDEX_EVENT: return parts->event_id;
  case INDEX_CORRELATION: return parts->correlation_id;
  case INDEX_CAUSATION: return parts->causation_id;
  case INDEX_TYPE: return parts->type;
  case INDEX_KEY: return parts->key;
  case INDEX_TENANT: return parts->tenant;
  case INDEX_SOURCE: return parts->source;
  }
  return (sl_slice){0};
}

/* ---------------------------------------------------------------- wanted --- */

static bool named(sl_slice list, const char *name) {
  const char *at = list.data, *end = at + list.len;
  while (at < end) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const size_t len = (size_t)((comma ? comma : end) - at);
    if (sl_slice_eq((sl_slice){at, len}, sl_slice_of(name))) return true;
    at += len + 1;
  }
  return false;
}

sl_status index_wanted(db_txn *txn, uint32_t *attributes) {
  sl_slice list;
  sl_status status = db_get(txn, INDEX_META, INDEX_KEY_ATTRIBUTES, &list);
  *attributes = 0;
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  for (size_t i = 0; i < INDEX_SECONDARY_COUNT; i++)
    if (named(list, names[i])) *attributes |= index_bit(index_secondary[i]);
  return SL_OK;
}

static sl_status set_in_turn(sl_index *index, uint32_t attributes) {
  db_txn *txn;
  index_state state;
  uint32_t present;
  char list[128];
  sl_status status = db_begin_write(index->env, false, &txn);
  if (status != SL_OK) return status;
  status = index_wanted(txn, &present);
  if (status == SL_OK) status = index_state_load(txn, &state);
  if (status != SL_OK || present == attributes) {
    db_abort(txn);
    return status;
  }
  int len = snprintf(list, sizeof list, "%s", INDEX_ATTRIBUTES);
  for (size_t i = 0; i < INDEX_SECONDARY_COUNT; i++)
    if (attributes & index_bit(index_secondary[i]))
      len += snprintf(list + len, sizeof list - (size_t)len, ",%s", names[i]);
  index_close_newest(txn, &state); /* the next event begins a generation */
  db_put(txn, INDEX_META, INDEX_KEY_ATTRIBUTES, sl_slice_of(list));
  index_state_save(txn, &state);
  return db_commit(txn);
}

sl_status sl_index_attributes_set(sl_store *store, uint32_t attributes) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (attributes & ~(uint32_t)(SL_INDEX_KEY | SL_INDEX_TENANT | SL_INDEX_SOURCE))
    return sl_fail(SL_E_INVALID, "unknown attributes %#x", attributes);
  index_turn_take(store->index);
  status = set_in_turn(store->index, attributes);
  index_turn_end(store->index);
  return status;
}

sl_status sl_index_attributes_get(sl_store *store, uint32_t *attributes) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!attributes) return sl_fail(SL_E_INVALID, "attributes is NULL");
  db_txn *txn;
  uint32_t wanted;
  status = db_begin_read(store->index->env, &txn);
  if (status != SL_OK) return status;
  status = index_wanted(txn, &wanted);
  db_abort(txn);
  if (status == SL_OK) *attributes = wanted;
  return status;
}

/* -------------------------------------------------------------- coverage --- */

bool index_view_covers(const index_view *view, index_attr attr, uint64_t seq, uint64_t *first, uint64_t *last) {
  const index_state *s = &view->state;
  *first = s->watermark + 1;
  *last = UINT64_MAX;
  if (seq > s->watermark) return false;
  *first = 0;
  *last = s->watermark;
  if (attr < INDEX_SECONDARY_ATTR) return true;
  for (uint32_t i = 0; i < s->count; i++) {
    const index_gen *gen = &s->gens[i];
    if (seq < gen->first_seq) { /* between generations there is nothing */
      *last = gen->first_seq - 1;
      return true;
    }
    if (seq <= index_gen_last(gen)) {
      *first = gen->first_seq;
      if (index_gen_last(gen) < *last) *last = index_gen_last(gen);
      return gen->attributes & index_bit(attr);
    }
    *first = index_gen_last(gen) + 1;
  }
  return true;
}

uint32_t index_view_attributes(const index_view *view, uint64_t seq) {
  for (uint32_t i = 0; i < view->state.count; i++) {
    const index_gen *gen = &view->state.gens[i];
    if (seq >= gen->first_seq && seq <= index_gen_last(gen)) return gen->attributes;
  }
  return 0;
}
