#include "groups.h"

#include <stdlib.h>
#include <string.h>

static size_t hash(sl_slice s) {
  const unsigned char *p = s.data;
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  return (size_t)(h ^ h >> 29);
}

static bool same(sl_slice a, sl_slice b) { return !a.data == !b.data && slice_eq(a, b); }

static size_t *slot_of(const groups *g, sl_slice value) {
  size_t i = hash(value) & g->mask;
  while (g->slots[i] && !same(g->items[g->slots[i] - 1].value, value))
    i = (i + 1) & g->mask;
  return &g->slots[i];
}

static void grow(groups *g) {
  g->cap = g->cap ? g->cap * 2 : 256;
  g->items = tool_grow(g->items, g->cap * sizeof *g->items);
  free(g->slots);
  g->mask = g->cap * 2 - 1;
  g->slots = tool_alloc((g->mask + 1) * sizeof *g->slots);
  memset(g->slots, 0, (g->mask + 1) * sizeof *g->slots);
  for (size_t i = 0; i < g->count; i++)
    *slot_of(g, g->items[i].value) = i + 1;
}

void groups_add(groups *g, sl_slice value, uint64_t seq, int64_t at_us) {
  if (g->count == g->cap)
    grow(g);
  size_t *slot = slot_of(g, value);
  if (*slot == 0) {
    if (g->count == GROUPS_MOST) {
      g->left_out++;
      return;
    }
    g->items[g->count++] = (group){.value = value, .first_seq = seq};
    if (value.data)
      g->items[g->count - 1].value.data = tool_copy(value.data, value.len);
    *slot = g->count;
  }
  group *one = &g->items[*slot - 1];
  one->count++;
  one->last_seq = seq;
  one->newest_us = at_us > one->newest_us ? at_us : one->newest_us;
}

static int compare(const void *a_, const void *b_) {
  const group *a = a_, *b = b_;
  if (a->count != b->count)
    return a->count > b->count ? -1 : 1;
  size_t least = a->value.len < b->value.len ? a->value.len : b->value.len;
  int order = least ? memcmp(a->value.data, b->value.data, least) : 0;
  return order ? order : (a->value.len > b->value.len) - (a->value.len < b->value.len);
}

void groups_sort(groups *g) {
  if (g->count)
    qsort(g->items, g->count, sizeof *g->items, compare);
}

void groups_free(groups *g) {
  for (size_t i = 0; i < g->count; i++)
    free((void *)(uintptr_t)g->items[i].value.data);
  free(g->items);
  free(g->slots);
  *g = (groups){0};
}
