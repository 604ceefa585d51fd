/* The format leaves open which matches are taken; this takes those that the reference did in the version that
 * librdkafka has: a table of 2^8 to 2^14 places where a hash of four bytes was seen last, a first look at each
 * byte, then at fewer and fewer where nothing is found (one byte more for each 32 looks), and another look right
 * behind each match. */
#include "snappy.h"
#include <stdbool.h>
#include <string.h>

enum { TABLE_LEAST = 1 << 8, TABLE_MOST = 1 << 14, MARGIN = 15, MATCH_LEAST = 4 };

typedef struct packing {
  const uint8_t *data;
  size_t len;
  unsigned shift;
  uint16_t table[TABLE_MOST];
  size_t made;
} packing;

static uint32_t four_at(const packing *p, size_t at) {
  uint32_t v;
  memcpy(&v, p->data + at, sizeof v);
  return v;
}

static uint16_t *place_of(packing *p, size_t at) { return &p->table[(four_at(p, at) * 0x1e35a7bdu) >> p->shift]; }

/* A literal's length stands in its first byte, or in one or two more. */
static void make_literal(packing *p, size_t len) {
  p->made += len + (len <= 60 ? 1 : len <= 256 ? 2 : 3);
}

/* A match is cut into pieces of at most 64 bytes, none below four; a short and near one takes a byte less. */
static void make_copy(packing *p, size_t offset, size_t len) {
  for (; len >= 68; len -= 64) p->made += 3;
  if (len > 64) {
    p->made += 3;
    len -= 60;
  }
  p->made += len < 12 && offset < 2048 ? 2 : 3;
}

static size_t match_length(const packing *p, size_t before, size_t at) {
  size_t n = 0;
  while (at + n < p->len && p->data[before + n] == p->data[at + n]) n++;
  return n;
}

/* The next match at or behind *at, *before it; false: there is none. */
static bool find(packing *p, size_t *at, size_t *before) {
  const size_t last = p->len - MARGIN;
  for (uint32_t looks = 32;; looks++) {
    const size_t next = *at + (looks >> 5);
    if (next > last) return false;
    uint16_t *place = place_of(p, *at);
    *before = *place;
    *place = (uint16_t)*at;
    if (four_at(p, *before) == four_at(p, *at)) return true;
    *at = next;
  }
}

size_t snappy_block_size(const uint8_t *data, size_t len) {
  static _Thread_local packing p;
  size_t size = TABLE_LEAST, at = 1, literal = 0, before = 0;
  p.shift = 32 - 8;
  for (; size < TABLE_MOST && size < len; size <<= 1) p.shift--;
  memset(p.table, 0, size * sizeof *p.table);
  p.data = data;
  p.len = len;
  p.made = 0;
  while (len >= MARGIN && find(&p, &at, &before)) {
    make_literal(&p, at - literal);
    bool again;
    do {
      const size_t n = MATCH_LEAST + match_length(&p, before + MATCH_LEAST, at + MATCH_LEAST);
      make_copy(&p, at - before, n);
      at += n;
      literal = at;
      if (at >= len - MARGIN) goto rest;
      *place_of(&p, at - 1) = (uint16_t)(at - 1);
      uint16_t *place = place_of(&p, at);
      before = *place;
      *place = (uint16_t)at;
      again = four_at(&p, before) == four_at(&p, at);
    } while (again);
    at++;
  }
rest:
  if (literal < len) make_literal(&p, len - literal);
  return p.made;
}
