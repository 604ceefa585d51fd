/* Look-ups in a snapshot of the index. Whatever they return is a candidate: the log confirms it. */
#include "index/index_impl.h"

#include <stdlib.h>

static sl_slice value_slice(const index_value *value) { return (sl_slice){&value->bits, value->len}; }

static const index_gen *gen_of(const index_view *view, uint64_t seq) {
  for (uint32_t i = view->state.count; i-- > 0;) {
    const index_gen *gen = &view->state.gens[i];
    if (seq >= gen->first_seq) return seq <= index_gen_last(gen) ? gen : NULL;
  }
  return NULL;
}

/* Who went on from there would never end. */
static sl_status out_of_order(void) {
  return sl_fail(SL_E_CORRUPT, "index/: entries are out of order: run `sidelog reindex`");
}

sl_status index_view_seqs(index_view *view, index_attr attr, const uint8_t key[16], uint64_t from,
                          uint64_t *seqs, size_t max, size_t *count) {
  size_t n = 0;
  uint64_t may = 0;
  sl_status status = index_filter_ask_all(&view->filter, view->txn, &view->state, attr, key, &may);
  if (status != SL_OK) return status;
  for (uint32_t i = 0; i < view->state.count && n < max; i++) {
    const index_gen *gen = &view->state.gens[i];
    if (!(may >> i & 1) || index_gen_last(gen) < from) continue;
    db_cur *cur;
    status = db_cur_open(view->txn, index_table(gen, attr), &cur);
    if (status != SL_OK) return status;
    index_value start = index_value_of(gen, attr, from > gen->first_seq ? from : gen->first_seq, 0);
    sl_slice k = {key, 16}, v = value_slice(&start);
    status = db_cur_move(cur, DB_SEEK_VALUE, &k, &v);
    while (status == SL_OK) {
      const uint64_t seq = index_value_seq(gen, attr, v);
      if (seq < from || (n > 0 && seq <= seqs[n - 1])) status = out_of_order();
      if (status != SL_OK) break;
      seqs[n++] = seq;
      if (n == max) break;
      status = db_cur_move(cur, DB_NEXT_VALUE, &k, &v);
    }
    db_cur_close(cur);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  *count = n;
  return SL_OK;
}

/* Positions on the last value of the key that is at or below seq `to`. */
static sl_status seek_down(db_cur *cur, const index_gen *gen, index_attr attr, const uint8_t key[16],
                           uint64_t to, sl_slice *v) {
  index_value above = index_value_of(gen, attr, to + 1, 0);
  sl_slice k = {key, 16};
  *v = value_slice(&above);
  sl_status status = SL_NOTFOUND;
  if (to < index_gen_last(gen)) status = db_cur_move(cur, DB_SEEK_VALUE, &k, v);
  if (status == SL_OK) {
    status = db_cur_move(cur, DB_PREV, &k, v);
    return status == SL_OK && memcmp(k.data, key, 16) != 0 ? SL_NOTFOUND : status;
  }
  if (status != SL_NOTFOUND) return status;
  k = (sl_slice){key, 16};
  status = db_cur_move(cur, DB_FIND, &k, v);
  return status == SL_OK ? db_cur_move(cur, DB_LAST_VALUE, &k, v) : status;
}

sl_status index_view_seqs_down(index_view *view, index_attr attr, const uint8_t key[16], uint64_t from,
                               uint64_t *seqs, size_t max, size_t *count) {
  size_t n = 0;
  uint64_t may = 0;
  sl_status status = index_filter_ask_all(&view->filter, view->txn, &view->state, attr, key, &may);
  if (status != SL_OK) return status;
  for (uint32_t i = view->state.count; i-- > 0 && n < max;) {
    const index_gen *gen = &view->state.gens[i];
    if (!(may >> i & 1) || gen->first_seq > from) continue;
    db_cur *cur;
    status = db_cur_open(view->txn, index_table(gen, attr), &cur);
    if (status != SL_OK) return status;
    sl_slice k, v;
    const uint64_t last = index_gen_last(gen);
    status = seek_down(cur, gen, attr, key, from < last ? from : last, &v);
    while (status == SL_OK) {
      seqs[n++] = index_value_seq(gen, attr, v);
      if (n == max) break;
      status = db_cur_move(cur, DB_PREV, &k, &v);
      if (status == SL_OK && memcmp(k.data, key, 16) != 0) break;
    }
    db_cur_close(cur);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  *count = n;
  return SL_OK;
}

/* ------------------------------------------------------------------ keys --- */

static int by_key(const void *a, const void *b) {
  const index_key *x = a, *y = b;
  const int order = memcmp(x->key, y->key, 16);
  return order ? order : (x->seq > y->seq) - (x->seq < y->seq);
}

static sl_status gen_keys(index_view *view, const index_gen *gen, index_attr attr, const uint8_t low[16],
                          const uint8_t high[16], index_key *keys, size_t max, size_t *count) {
  db_cur *cur;
  size_t n = 0;
  sl_status status = db_cur_open(view->txn, index_table(gen, attr), &cur);
  if (status != SL_OK) return status;
  sl_slice k = {low, 16}, v;
  status = db_cur_move(cur, DB_SEEK, &k, &v);
  while (status == SL_OK && n < max && memcmp(k.data, high, 16) <= 0) {
    memcpy(keys[n].key, k.data, 16);
    keys[n++].seq = index_value_seq(gen, attr, v);
    status = db_cur_move(cur, DB_NEXT_KEY, &k, &v);
  }
  db_cur_close(cur);
  *count = n;
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status index_view_keys(index_view *view, index_attr attr, const uint8_t low[16], const uint8_t high[16],
                          index_key *keys, size_t max, size_t *count) {
  *count = 0;
  if (max == 0 || view->state.count == 0) return SL_OK;
  index_key *all = malloc(max * view->state.count * sizeof *all);
  if (!all) return sl_fail(SL_E_NOMEM, "out of memory");
  size_t total = 0;
  sl_status status = SL_OK;
  for (uint32_t i = 0; i < view->state.count && status == SL_OK; i++) {
    size_t found = 0;
    status = gen_keys(view, &view->state.gens[i], attr, low, high, all + total, max, &found);
    total += found;
  }
  size_t n = 0;
  if (status == SL_OK) qsort(all, total, sizeof *all, by_key);
  for (size_t i = 0; status == SL_OK && i < total && n < max; i++)
    if (n == 0 || memcmp(keys[n - 1].key, all[i].key, 16) != 0) keys[n++] = all[i];
  free(all);
  if (status == SL_OK) *count = n;
  return status;
}

/* ---------------------------------------------------------------- points --- */

sl_status index_view_duplicate_of(index_view *view, uint64_t seq, uint64_t *original) {
  *original = 0;
  if (seq > view->state.watermark) return SL_OK;
  sl_slice value;
  sl_status status = db_get(view->txn, INDEX_DUPLICATES, db_u64(&seq), &value);
  if (status == SL_NOTFOUND) return SL_OK;
  if (status != SL_OK) return status;
  if (value.len != 8) return sl_fail(SL_E_CORRUPT, "index/: a duplicate's entry has %zu bytes", value.len);
  *original = sl_get_u64(value.data);
  return SL_OK;
}

sl_status index_view_has(index_view *view, index_attr attr, const uint8_t key[16], uint64_t seq) {
  const index_gen *gen = gen_of(view, seq);
  if (!gen) return SL_NOTFOUND;
  db_cur *cur;
  bool may = false;
  /* What its filter denies nobody finds. */
  sl_status status = index_filter_ask(&view->filter, view->txn, gen, attr, key, &may);
  if (status == SL_OK && !may) status = SL_NOTFOUND;
  if (status == SL_OK) status = db_cur_open(view->txn, index_table(gen, attr), &cur);
  if (status != SL_OK) return status;
  index_value wanted = index_value_of(gen, attr, seq, 0);
  sl_slice k = {key, 16}, v = value_slice(&wanted);
  status = db_cur_move(cur, DB_SEEK_VALUE, &k, &v);
  if (status == SL_OK && index_value_seq(gen, attr, v) != seq) status = SL_NOTFOUND;
  db_cur_close(cur);
  return status;
}

/* ------------------------------------------------------------------ scan --- */

sl_status index_seek_behind(db_cur *cur, const index_gen *gen, unsigned attr, bool inside, const uint8_t key[16],
                            uint64_t seq, sl_slice *k, sl_slice *v) {
  if (!inside) return db_cur_move(cur, DB_FIRST, k, v);
  sl_status status = SL_NOTFOUND;
  if (seq < index_gen_last(gen)) {
    index_value next = index_value_of(gen, attr, seq < gen->first_seq ? gen->first_seq : seq + 1, 0);
    *k = (sl_slice){key, 16};
    *v = value_slice(&next);
    status = db_cur_move(cur, DB_SEEK_VALUE, k, v);
    if (status == SL_OK) *k = (sl_slice){key, 16};
  }
  if (status != SL_NOTFOUND) return status;
  *k = (sl_slice){key, 16};
  status = db_cur_move(cur, DB_SEEK, k, v);
  if (status == SL_OK && memcmp(k->data, key, 16) == 0) status = db_cur_move(cur, DB_NEXT_KEY, k, v);
  return status;
}

/* After the four attributes that have tables of their own comes the one table of the others. */
static uint32_t next_table(uint32_t attr) {
  return attr + 1 == INDEX_LIST_SECONDARY ? INDEX_SECONDARY_ATTR : attr + 1;
}

/* On from pos in its generation, as it is now. SL_OK: max reached, SL_NOTFOUND: at its end. */
static sl_status scan_gen(index_view *view, const index_gen *gen, index_pos *pos, uint64_t max, uint64_t *seen,
                          index_entry_fn *fn, void *arg) {
  for (; pos->attr <= INDEX_SECONDARY_ATTR; pos->attr = next_table(pos->attr), pos->inside = false) {
    db_cur *cur;
    sl_slice k, v;
    sl_status status = db_cur_open(view->txn, index_table(gen, pos->attr), &cur);
    if (status != SL_OK) return status;
    status = index_seek_behind(cur, gen, pos->attr, pos->inside, pos->key, pos->seq, &k, &v);
    while (status == SL_OK && *seen < max) {
      uint8_t key[16];
      memcpy(key, k.data, 16);
      const uint64_t seq = index_value_seq(gen, pos->attr, v);
      const int order = pos->inside ? memcmp(key, pos->key, 16) : 1;
      if (order < 0 || (order == 0 && seq <= pos->seq)) {
        status = out_of_order();
        break;
      }
      memcpy(pos->key, key, 16);
      pos->seq = seq;
      pos->inside = true;
      ++*seen;
      if (seq >= pos->from) status = fn(arg, (index_attr)pos->attr, key, seq);
      if (status == SL_OK) status = db_cur_move(cur, DB_NEXT, &k, &v);
    }
    db_cur_close(cur);
    if (status != SL_NOTFOUND) return status;
  }
  return SL_NOTFOUND;
}

sl_status index_scan(index_view *view, index_pos *pos, uint64_t max, index_entry_fn *fn, void *arg,
                     bool *done) {
  uint64_t seen = 0;
  *done = false;
  for (uint32_t i = 0; i < view->state.count; i++) {
    const index_gen *gen = &view->state.gens[i];
    if (index_gen_last(gen) < pos->from) continue;
    /* One that came by a merge is seen from its beginning, without what came before. */
    if (gen->number != pos->number) *pos = (index_pos){.from = pos->from, .number = gen->number};
    sl_status status = scan_gen(view, gen, pos, max, &seen, fn, arg);
    if (status != SL_NOTFOUND) return status;
    pos->from = index_gen_last(gen) + 1;
  }
  *done = true;
  return SL_OK;
}
