/* A map from 64-bit numbers to pointers, in memory. One thread. */
#ifndef SL_BASE_MAP_H
#define SL_BASE_MAP_H
#include "base/base.h"

typedef struct sl_map_slot {
  uint64_t key;
  void *value; /* NULL: empty */
} sl_map_slot;

/* Zeroed is valid and empty. */
typedef struct sl_map {
  sl_map_slot *slots;
  size_t cap, count; /* cap: a power of two */
} sl_map;

void *sl_map_get(const sl_map *map, uint64_t key); /* NULL: it is not there */
/* Makes room for one more, so that the next sl_map_put of a new key cannot fail. False: out of memory. */
bool sl_map_reserve(sl_map *map);
void sl_map_put(sl_map *map, uint64_t key, void *value); /* replaces; value is not NULL */
void *sl_map_take(sl_map *map, uint64_t key); /* removes and returns it; NULL: it was not there */
void sl_map_free(sl_map *map);            /* idempotent; what the values point at is the caller's */
#endif
