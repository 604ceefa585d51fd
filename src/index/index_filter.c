/* A filter for each closed generation, so that a look-up descends only where its key most likely is.
 *
 * A filter is a row of chunks in one table for all generations, each under the last key that it answers for: so it
 * is written from front to end, in the order of the keys, in as many transactions as its generation takes. A chunk
 * is a blocked Bloom filter, about 10 bits a key: a key's six bits lie in a line of 64 bytes. Layout:
 * docs/disk-format.md. */
#include "index/index_impl.h"

#include <stdlib.h>
#include <xxhash.h>

#define LINE 64u
#define HEAD 48u /* with the header of LMDB's page before it lines begin at multiples of 64 */
#define LINES_MOST 255u /* with the heads, four pages */
#define BITS_A_KEY 10u
#define KEYS_MOST (LINES_MOST * LINE * 8 / BITS_A_KEY)
#define BITS 6u
#define KEY_SIZE 18u

static void make_key(uint8_t out[KEY_SIZE], uint32_t slot, unsigned list, const uint8_t key[16]) {
  out[0] = (uint8_t)slot;
  out[1] = (uint8_t)list;
  memcpy(out + 2, key, 16);
}

/* The line is taken by the upper half of the hash, the bits by its lower 54. */
static size_t line_of(uint64_t hash, size_t lines) { return (size_t)(((hash >> 32) * lines) >> 32); }
static unsigned bit_of(uint64_t hash, unsigned i) { return (unsigned)(hash >> (9 * i)) & 511u; }

/* ----------------------------------------------------------------- making --- */

sl_status index_filter_begin(index_filter_maker *maker, db_txn *txn, uint32_t slot) {
  *maker = (index_filter_maker){.txn = txn, .slot = slot};
  maker->hashes = malloc(KEYS_MOST * sizeof(uint64_t) + HEAD + LINES_MOST * LINE);
  return maker->hashes ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
}

static sl_status write_chunk(index_filter_maker *maker) {
  const size_t bits = maker->count * BITS_A_KEY, lines = (bits + LINE * 8 - 1) / (LINE * 8);
  const size_t size = HEAD + lines * LINE;
  uint8_t *chunk = (uint8_t *)(maker->hashes + KEYS_MOST), key[KEY_SIZE];
  if (maker->count == 0) return SL_OK;
  memset(chunk, 0, size);
  sl_put_u64(chunk, maker->count);
  for (size_t i = 0; i < maker->count; i++) {
    uint8_t *line = chunk + HEAD + line_of(maker->hashes[i], lines) * LINE;
    for (unsigned b = 0; b < BITS; b++) {
      const unsigned bit = bit_of(maker->hashes[i], b);
      line[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
  }
  make_key(key, maker->slot, maker->list, maker->last);
  maker->count = 0;
  return db_put(maker->txn, INDEX_FILTERS, (sl_slice){key, sizeof key}, (sl_slice){chunk, size});
}

sl_status index_filter_add(index_filter_maker *maker, unsigned list, const uint8_t key[16]) {
  sl_status status = SL_OK;
  if (maker->count == KEYS_MOST || list != maker->list) status = write_chunk(maker);
  maker->list = list;
  maker->hashes[maker->count++] = XXH3_64bits(key, 16);
  memcpy(maker->last, key, 16);
  return status;
}

sl_status index_filter_end(index_filter_maker *maker) {
  sl_status status = maker->hashes ? write_chunk(maker) : SL_OK;
  free(maker->hashes);
  maker->hashes = NULL;
  return status;
}

sl_status index_filter_empty(db_txn *txn, uint32_t slot) {
  static const uint8_t least[16] = {0};
  uint8_t from[KEY_SIZE];
  make_key(from, slot, 0, least);
  for (;;) { /* each anew: deleting may move the cursor */
    db_cur *cur;
    sl_slice key = {from, sizeof from}, value;
    sl_status status = db_cur_open(txn, INDEX_FILTERS, &cur);
    if (status != SL_OK) return status;
    status = db_cur_move(cur, DB_SEEK, &key, &value);
    const bool own = status == SL_OK && key.len == KEY_SIZE && ((const uint8_t *)key.data)[0] == slot;
    if (own) status = db_cur_del(cur);
    db_cur_close(cur);
    if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
    if (!own) return SL_OK;
  }
}

/* ----------------------------------------------------------------- asking --- */

static bool is_before(index_place a, index_place b) {
  if (a.list != b.list) return a.list < b.list;
  return a.high != b.high ? a.high < b.high : a.low < b.low;
}

static uint64_t number_of(const uint8_t bytes[8]) {
  uint64_t n = 0;
  for (unsigned i = 0; i < 8; i++) n = n << 8 | bytes[i];
  return n;
}

static index_place place_of(uint32_t slot, unsigned list, const uint8_t key[16]) {
  return (index_place){(uint64_t)slot << 8 | list, number_of(key), number_of(key + 8)};
}

/* *place: of what stands there. False: it is of another list. */
static bool place_at(sl_slice k, uint64_t list, index_place *place) {
  const uint8_t *key = k.data;
  if (k.len != KEY_SIZE || ((uint64_t)key[0] << 8 | key[1]) != list) return false;
  *place = place_of(key[0], key[1], key + 2);
  return true;
}

static sl_status seek(index_filter *f, db_txn *txn, uint32_t slot, unsigned list, const uint8_t key[16],
                      index_chunk *chunk) {
  uint8_t wanted[KEY_SIZE];
  sl_status status = f->cur ? SL_OK : db_cur_open(txn, INDEX_FILTERS, &f->cur);
  if (status != SL_OK) return status;
  make_key(wanted, slot, list, key);
  sl_slice k = {wanted, sizeof wanted}, v;
  const uint64_t number = place_of(slot, list, key).list;
  *chunk = (index_chunk){.above = {number, 0, 0}, .to = {number, UINT64_MAX, UINT64_MAX}};
  status = db_cur_move(f->cur, DB_SEEK, &k, &v);
  const bool last = status == SL_NOTFOUND;
  if (status == SL_OK && place_at(k, number, &chunk->to)) { /* else it is above all its keys */
    chunk->lines = (const uint8_t *)v.data + HEAD;
    chunk->count = v.len > HEAD ? (v.len - HEAD) / LINE : 0;
    if (chunk->count == 0 || v.len != HEAD + chunk->count * LINE)
      return sl_fail(SL_E_CORRUPT, "index/: a filter has %zu bytes: run `sidelog reindex`", v.len);
  }
  if (status == SL_OK || last) status = db_cur_move(f->cur, last ? DB_LAST : DB_PREV, &k, &v);
  if (status == SL_OK) (void)place_at(k, number, &chunk->above);
  return status == SL_NOTFOUND ? SL_OK : status;
}

static bool answers(const index_chunk *chunk, index_place at) {
  return is_before(chunk->above, at) && !is_before(chunk->to, at);
}

/* The first known one that ends at or behind it. */
static size_t find_known(const index_chunks *known, index_place at) {
  size_t low = 0, high = known->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (is_before(known->chunks[middle].to, at)) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void learn(index_chunks *known, size_t i, const index_chunk *chunk) {
  index_chunk *place = known->chunks + i;
  if (known->count == INDEX_CHUNKS_KNOWN) return;
  if (i < known->count && !is_before(chunk->to, place->to)) return; /* known: the key of zeros is above nothing */
  memmove(place + 1, place, (known->count - i) * sizeof *place);
  *place = *chunk;
  known->count++;
}

static sl_status find_chunk(index_filter *f, db_txn *txn, uint32_t slot, unsigned list, const uint8_t key[16],
                            const index_chunk **chunk) {
  const index_place at = place_of(slot, list, key);
  *chunk = &f->last;
  if (f->valid && answers(&f->last, at)) return SL_OK;
  const size_t i = f->known ? find_known(f->known, at) : 0;
  if (f->known && i < f->known->count && answers(&f->known->chunks[i], at)) {
    *chunk = &f->known->chunks[i];
    return SL_OK;
  }
  sl_status status = seek(f, txn, slot, list, key, &f->last);
  f->valid = status == SL_OK;
  if (f->valid && f->known) learn(f->known, i, &f->last);
  return status;
}

/* *line: where the key's bits are; NULL: it is not in this generation. */
static sl_status locate(index_filter *f, db_txn *txn, const index_gen *gen, unsigned list, const uint8_t key[16],
                        uint64_t hash, const uint8_t **line) {
  const index_chunk *chunk;
  sl_status status = find_chunk(f, txn, gen->slot, list, key, &chunk);
  if (status != SL_OK) return status;
  *line = chunk->lines ? chunk->lines + line_of(hash, chunk->count) * LINE : NULL;
  return SL_OK;
}

static bool all_set(const uint8_t *line, uint64_t hash) {
  for (unsigned b = 0; b < BITS; b++) {
    const unsigned bit = bit_of(hash, b);
    if (!(line[bit / 8] >> bit % 8 & 1)) return false;
  }
  return true;
}

sl_status index_filter_ask(index_filter *f, db_txn *txn, const index_gen *gen, unsigned attr,
                           const uint8_t key[16], bool *may) {
  const uint8_t *line;
  *may = true;
  if (!gen->closed) return SL_OK;
  const uint64_t hash = XXH3_64bits(key, 16);
  sl_status status = locate(f, txn, gen, index_list(attr), key, hash, &line);
  if (status == SL_OK) *may = line && all_set(line, hash);
  return status;
}

/* All lines are found before the first is read: they come from memory side by side. */
sl_status index_filter_ask_all(index_filter *f, db_txn *txn, const index_state *state, unsigned attr,
                               const uint8_t key[16], uint64_t *may) {
  const uint64_t hash = XXH3_64bits(key, 16);
  const uint8_t *lines[INDEX_SLOTS];
  *may = 0;
  for (uint32_t i = 0; i < state->count; i++) {
    lines[i] = NULL;
    if (!state->gens[i].closed) {
      *may |= UINT64_C(1) << i;
      continue;
    }
    sl_status status = locate(f, txn, &state->gens[i], index_list(attr), key, hash, &lines[i]);
    if (status != SL_OK) return status;
    if (lines[i]) __builtin_prefetch(lines[i]);
  }
  for (uint32_t i = 0; i < state->count; i++)
    if (lines[i] && all_set(lines[i], hash)) *may |= UINT64_C(1) << i;
  return SL_OK;
}
