#include "store/dict.h"

#include "store/log_inner.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <xxhash.h>

/* Twice the most names there can be; both tables are zero pages until they are used. */
#define SLOTS (2u * (DICT_MAX + 1u))

typedef struct entry {
  uint32_t id;
  uint32_t len;
  char text[];
} entry;

struct sl_dict {
  pthread_mutex_t lock; /* of writers; readers follow published pointers */
  _Atomic(entry *) *by_name;
  _Atomic(entry *) *by_id;
};

sl_dict *dict_new(void) {
  sl_dict *dict = calloc(1, sizeof *dict);
  if (!dict) return NULL;
  pthread_mutex_init(&dict->lock, NULL);
  dict->by_name = calloc(SLOTS, sizeof *dict->by_name);
  dict->by_id = calloc(DICT_MAX + 1u, sizeof *dict->by_id);
  if (dict->by_name && dict->by_id) return dict;
  dict_free(dict);
  return NULL;
}

void dict_free(sl_dict *dict) {
  if (!dict) return;
  for (uint32_t id = 1; dict->by_id && id <= DICT_MAX; id++) free(atomic_load(&dict->by_id[id]));
  free(dict->by_id);
  free(dict->by_name);
  pthread_mutex_destroy(&dict->lock);
  free(dict);
}

static uint32_t slot_of(sl_slice name) { return (uint32_t)(XXH3_64bits(name.data, name.len) % SLOTS); }

uint32_t dict_id(const sl_dict *dict, sl_slice name) {
  for (uint32_t i = slot_of(name);; i = (i + 1) % SLOTS) {
    const entry *e = atomic_load_explicit(&dict->by_name[i], memory_order_acquire);
    if (!e) return SL_NAME_INLINE;
    if (e->len == name.len && memcmp(e->text, name.data, name.len) == 0) return e->id;
  }
}

sl_slice dict_name(const sl_dict *dict, uint32_t id) {
  if (id == SL_NAME_INLINE || id > DICT_MAX) return (sl_slice){0};
  const entry *e = atomic_load_explicit(&dict->by_id[id], memory_order_acquire);
  return e ? (sl_slice){e->text, e->len} : (sl_slice){0};
}

void dict_learn(sl_dict *dict, sl_slice name, uint32_t id) {
  if (id == SL_NAME_INLINE || id > DICT_MAX) return;
  pthread_mutex_lock(&dict->lock);
  entry *e = atomic_load(&dict->by_id[id]) ? NULL : malloc(sizeof *e + name.len);
  if (e) {
    e->id = id;
    e->len = (uint32_t)name.len;
    memcpy(e->text, name.data, name.len);
    uint32_t i = slot_of(name);
    while (atomic_load(&dict->by_name[i])) i = (i + 1) % SLOTS;
    atomic_store_explicit(&dict->by_id[id], e, memory_order_release);
    atomic_store_explicit(&dict->by_name[i], e, memory_order_release);
  }
  pthread_mutex_unlock(&dict->lock);
}

uint32_t dict_id_in(sl_dict *dict, db_txn *txn, sl_slice name) {
  uint32_t id = name.len > 0 ? dict_id(dict, name) : SL_NAME_INLINE;
  sl_slice value;
  if (id != SL_NAME_INLINE || name.len == 0 || name.len > 255) return id;
  if (db_get(txn, LOG_DICT_NAMES, name, &value) != SL_OK || value.len != 4) return SL_NAME_INLINE;
  id = sl_get_u32(value.data);
  dict_learn(dict, name, id);
  return id;
}

sl_slice dict_name_in(sl_dict *dict, db_txn *txn, uint32_t id) {
  sl_slice name = dict_name(dict, id), value;
  uint64_t key = id;
  if (name.data || db_get(txn, LOG_DICT_IDS, db_u64(&key), &value) != SL_OK) return name;
  dict_learn(dict, value, id);
  name = dict_name(dict, id);
  return name.data ? name : value;
}

static sl_status remember(db_txn *txn, dict_pending *pending, sl_slice name, uint32_t id) {
  if (pending->count == pending->cap) {
    size_t cap = pending->cap ? pending->cap * 2 : 8;
    void *grown = realloc(pending->pairs, cap * sizeof *pending->pairs);
    if (!grown) return db_txn_fail(txn, sl_fail(SL_E_NOMEM, "out of memory for the names of topics"));
    pending->pairs = grown;
    pending->cap = cap;
  }
  pending->pairs[pending->count].name = name;
  pending->pairs[pending->count++].id = id;
  return SL_OK;
}

sl_status dict_assign(sl_dict *dict, db_txn *txn, dict_pending *pending, sl_slice name, uint32_t *id) {
  *id = dict_id(dict, name);
  if (*id != SL_NAME_INLINE) return SL_OK;
  /* The table answers for names of other processes and for those given out earlier in this transaction. */
  sl_slice value;
  sl_status status = db_get(txn, LOG_DICT_NAMES, name, &value);
  if (status == SL_OK) {
    *id = value.len == 4 ? sl_get_u32(value.data) : SL_NAME_INLINE;
    return remember(txn, pending, name, *id);
  }
  if (status != SL_NOTFOUND) return status;

  db_cur *cur;
  sl_slice key;
  uint64_t last = 0;
  status = db_cur_open(txn, LOG_DICT_IDS, &cur);
  if (status != SL_OK) return status;
  if (db_cur_move(cur, DB_LAST, &key, &value) == SL_OK) last = sl_get_u64(key.data);
  db_cur_close(cur);
  if (last >= DICT_MAX) return SL_OK;
  uint64_t next = last + 1;
  uint8_t bytes[4];
  sl_put_u32(bytes, (uint32_t)next);
  db_append(txn, LOG_DICT_IDS, db_u64(&next), name);
  db_put(txn, LOG_DICT_NAMES, name, SL_BYTES(bytes, 4));
  *id = (uint32_t)next;
  status = remember(txn, pending, name, *id);
  return status != SL_OK ? status : db_txn_status(txn);
}

void dict_pending_learn(sl_dict *dict, const dict_pending *pending) {
  for (size_t i = 0; i < pending->count; i++) dict_learn(dict, pending->pairs[i].name, pending->pairs[i].id);
}

void dict_pending_free(dict_pending *pending) {
  free(pending->pairs);
  *pending = (dict_pending){0};
}
