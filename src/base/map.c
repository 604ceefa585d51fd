/* Open addressing, never more than half full; what is removed leaves no mark, its successors move up. */
#include "base/map.h"

#include <stdlib.h>

#define FIRST_CAP 64u

static size_t home(const sl_map *map, uint64_t key) {
  key = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* seqs follow each other */
  return (size_t)(key >> 32) & (map->cap - 1);
}

static size_t find(const sl_map *map, uint64_t key) {
  size_t at = home(map, key);
  while (map->slots[at].value && map->slots[at].key != key) at = (at + 1) & (map->cap - 1);
  return at;
}

void *sl_map_get(const sl_map *map, uint64_t key) { return map->cap ? map->slots[find(map, key)].value : NULL; }

bool sl_map_reserve(sl_map *map) {
  if (map->count + 1 <= map->cap / 2) return true;
  sl_map grown = {.cap = map->cap ? map->cap * 2 : FIRST_CAP, .count = map->count};
  grown.slots = calloc(grown.cap, sizeof *grown.slots);
  if (!grown.slots) return false;
  for (size_t i = 0; i < map->cap; i++)
    if (map->slots[i].value) grown.slots[find(&grown, map->slots[i].key)] = map->slots[i];
  free(map->slots);
  *map = grown;
  return true;
}

void sl_map_put(sl_map *map, uint64_t key, void *value) {
  const size_t at = find(map, key);
  map->count += map->slots[at].value == NULL;
  map->slots[at] = (sl_map_slot){key, value};
}

void *sl_map_take(sl_map *map, uint64_t key) {
  if (!map->cap) return NULL;
  size_t hole = find(map, key);
  void *value = map->slots[hole].value;
  if (!value) return NULL;
  map->count--;
  for (size_t at = hole;;) {
    at = (at + 1) & (map->cap - 1);
    if (!map->slots[at].value) break;
    const size_t from = home(map, map->slots[at].key);
    if (((at - from) & (map->cap - 1)) < ((at - hole) & (map->cap - 1))) continue; /* home: behind the hole */
    map->slots[hole] = map->slots[at];
    hole = at;
  }
  map->slots[hole] = (sl_map_slot){0};
  return value;
}

void sl_map_free(sl_map *map) {
  free(map->slots);
  *map = (sl_map){0};
}
