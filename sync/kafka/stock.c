#include "stock.h"
#include <string.h>
#include <sys/mman.h>

#define SLAB_BYTES (256u << 10)
#define ALONE_ABOVE (32u << 10) /* such a value has a slab of its own: nothing is left unused behind it */

struct stock_slab {
  stock_slab *next, *prev;
  size_t size, used, live;
};

/* From the system, not malloc: after the first that is freed glibc would take them from the heap, between small ones. */
static stock_slab *slab_new(size_t size) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  stock_slab *slab = at;
  slab->size = size;
  return slab;
}

static void push(stock_slab **list, stock_slab *slab) {
  slab->prev = NULL;
  slab->next = *list;
  if (*list) (*list)->prev = slab;
  *list = slab;
}

static void unlink_from(stock_slab **list, stock_slab *slab) {
  if (slab->next) slab->next->prev = slab->prev;
  if (slab->prev) slab->prev->next = slab->next;
  else *list = slab->next;
}

static void free_list(stock_slab **list) {
  while (*list) {
    stock_slab *slab = *list;
    unlink_from(list, slab);
    munmap(slab, slab->size);
  }
}

static size_t entry_size(size_t value_len) { return (sizeof(stock_entry) + value_len + 7) & ~(size_t)7; }

static size_t slab_for(size_t size) { return size > ALONE_ABOVE ? size + sizeof(stock_slab) : SLAB_BYTES; }

static bool fits_open(const stock *s, size_t size) {
  return size <= ALONE_ABOVE && s->open && s->open->size - s->open->used >= size;
}

bool stock_has_room(const stock *s, size_t value_len, size_t most) {
  const size_t size = entry_size(value_len);
  return fits_open(s, size) || s->bytes + slab_for(size) <= most;
}

static stock_slab *slab_busy(stock *s, size_t size) {
  const size_t bytes = slab_for(size);
  stock_slab *slab = bytes == SLAB_BYTES ? s->spare : NULL;
  if (slab) unlink_from(&s->spare, slab);
  else slab = slab_new(bytes);
  if (!slab) return NULL;
  slab->used = sizeof *slab;
  slab->live = 0;
  push(&s->busy, slab);
  s->bytes += bytes;
  if (bytes == SLAB_BYTES && ++s->slabs > s->most) s->most = s->slabs;
  return slab;
}

static void retire(stock *s, stock_slab *slab) {
  unlink_from(&s->busy, slab);
  s->bytes -= slab->size;
  if (slab->size != SLAB_BYTES) {
    munmap(slab, slab->size);
    return;
  }
  s->slabs--;
  push(&s->spare, slab);
}

/* Between transactions: as many spare ones stay as the last one needed. */
static void thin_out(stock *s) {
  size_t kept = 0;
  for (stock_slab *slab = s->spare, *next; slab; slab = next) {
    next = slab->next;
    if (++kept < s->most) continue;
    unlink_from(&s->spare, slab);
    munmap(slab, slab->size);
  }
  s->most = s->slabs;
}

stock_entry *stock_take(stock *s, sl_slice value) {
  const size_t size = entry_size(value.len);
  stock_slab *slab = s->open;
  if (!fits_open(s, size)) {
    slab = slab_busy(s, size);
    if (!slab) return NULL;
    if (size <= ALONE_ABOVE) {
      stock_slab *full = s->open;
      s->open = slab;
      if (full && full->live == 0) retire(s, full);
    }
  }
  stock_entry *entry = (stock_entry *)((uint8_t *)slab + slab->used);
  slab->used += size;
  slab->live++;
  s->live++;
  s->value_bytes += value.len;
  entry->slab = slab;
  entry->len = value.len;
  if (value.len) memcpy(entry->value, value.data, value.len);
  return entry;
}

void stock_give(stock *s, stock_entry *entry) {
  stock_slab *slab = entry->slab;
  s->live--;
  s->value_bytes -= entry->len;
  if (--slab->live == 0) {
    if (slab == s->open) slab->used = sizeof *slab;
    else retire(s, slab);
  }
  if (s->live == 0) thin_out(s);
}

void stock_free(stock *s) {
  free_list(&s->busy);
  free_list(&s->spare);
  *s = (stock){0};
}
