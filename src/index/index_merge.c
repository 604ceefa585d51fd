/* Merging generations: the ladder, and a merge in pieces.
 *
 * Small generations are cheap to write and dear to ask, large ones the other way round. So closed generations lie
 * on a ladder: INDEX_FAN neighbours of one class become one of the next, each by one pass over sorted lists into
 * empty tables, page after page. An event is written once into a small generation and about three times again.
 *
 * A merge is done in pieces, each a transaction of its own, so that no event waits long for its turn: its sources
 * stay as they are and are asked until it is complete, then one transaction puts the new one in their place. Where
 * it stands is in the state; whoever has the next turn goes on. Trim may take a source away: then the merge is
 * given up, and its slot emptied. Merges of different classes go on side by side, the lowest first: a large one
 * never keeps small ones from becoming fewer. */
#include "base/breathe.h"
#include "index/index_impl.h"

#include <stdlib.h>

/* ------------------------------------------------------------------ slots --- */

bool index_free_slot(const index_state *state, uint32_t *slot) {
  uint64_t used = state->dirty;
  for (uint32_t i = 0; i < state->count; i++) used |= UINT64_C(1) << state->gens[i].slot;
  for (uint32_t i = 0; i < state->merge_count; i++) used |= UINT64_C(1) << state->merges[i].slot;
  for (*slot = 0; *slot < INDEX_SLOTS; (*slot)++)
    if (!(used >> *slot & 1)) return true;
  return false;
}

sl_status index_clean_one(db_txn *txn, index_state *state) {
  uint32_t slot = 0;
  if (state->dirty == 0) return SL_OK;
  while (!(state->dirty >> slot & 1)) slot++;
  sl_status status = index_filter_empty(txn, slot);
  for (unsigned list = 0; list < INDEX_LISTS && status == SL_OK; list++)
    status = db_empty(txn, index_slot_table(slot, list));
  state->dirty &= ~(UINT64_C(1) << slot);
  return status;
}

static void end_merge(index_state *state, uint32_t at) {
  memmove(state->merges + at, state->merges + at + 1, (--state->merge_count - at) * sizeof state->merges[0]);
}

void index_give_up_merges(index_state *state, const index_gen *gen) {
  for (uint32_t m = state->merge_count; m-- > 0;) {
    if (state->merges[m].last_seq < gen->first_seq || state->merges[m].first_seq > index_gen_last(gen)) continue;
    state->dirty |= UINT64_C(1) << state->merges[m].slot;
    end_merge(state, m);
  }
}

void index_state_drop(index_state *state, uint64_t first_seq, unsigned *dropped) {
  unsigned gone = 0;
  while (gone < state->count && index_gen_last(&state->gens[gone]) < first_seq) {
    state->dirty |= UINT64_C(1) << state->gens[gone].slot;
    index_give_up_merges(state, &state->gens[gone]);
    gone++;
  }
  state->count -= gone;
  memmove(state->gens, state->gens + gone, state->count * sizeof state->gens[0]);
  *dropped = gone;
}

/* ---------------------------------------------------------------- closing --- */

static sl_status filter_list(index_filter_maker *maker, const index_gen *gen, unsigned list) {
  db_cur *cur;
  sl_slice key, value;
  sl_status status = db_cur_open(maker->txn, index_slot_table(gen->slot, list), &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_FIRST, &key, &value);
  while (status == SL_OK) {
    status = index_filter_add(maker, list, key.data);
    if (status == SL_OK) status = db_cur_move(cur, DB_NEXT_KEY, &key, &value);
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status index_close_newest(db_txn *txn, index_state *state) {
  index_gen *newest = state->count ? &state->gens[state->count - 1] : NULL;
  index_filter_maker maker;
  if (!newest || newest->closed) return SL_OK;
  sl_status status = index_filter_begin(&maker, txn, newest->slot);
  for (unsigned list = 0; list < INDEX_LISTS && status == SL_OK; list++)
    status = filter_list(&maker, newest, list);
  const sl_status ended = index_filter_end(&maker);
  if (status == SL_OK) status = ended;
  if (state->watermark >= newest->first_seq && state->watermark < index_gen_last(newest))
    newest->capacity = state->watermark - newest->first_seq + 1;
  newest->closed = true;
  return status;
}

/* ----------------------------------------------------------------- ladder --- */

typedef struct window { uint32_t first, count; } window; /* of gens */

static unsigned class_of(const sl_index *index, const index_gen *gen) {
  unsigned class = 0;
  for (uint64_t most = index->small; class < INDEX_CLASSES && gen->capacity > most; most *= INDEX_FAN) class++;
  return class;
}

static bool is_busy(const index_state *state, const index_gen *gen) {
  for (uint32_t m = 0; m < state->merge_count; m++)
    if (gen->first_seq >= state->merges[m].first_seq && gen->first_seq <= state->merges[m].last_seq) return true;
  return false;
}

static uint64_t span(const index_state *state, window w) {
  return index_gen_last(&state->gens[w.first + w.count - 1]) - state->gens[w.first].first_seq + 1;
}

/* Neighbours of at most this class, the oldest ones that are enough of them. */
static bool find_window(const sl_index *index, const index_state *state, unsigned class, uint32_t least,
                        window *out) {
  const uint64_t most = index->small * INDEX_LARGE;
  window w = {0, 0};
  uint32_t own = 0; /* of exactly this class, the last of which ends the window */
  for (uint32_t i = 0; i <= state->count; i++) {
    const index_gen *gen = i < state->count ? &state->gens[i] : NULL;
    const bool fits = gen && gen->closed && !is_busy(state, gen) && class_of(index, gen) <= class;
    const bool alike = fits && w.count > 0 && gen->attributes == state->gens[w.first].attributes;
    const bool full = alike && (w.count == INDEX_MERGE_MOST || span(state, (window){w.first, w.count + 1}) > most);
    if (w.count > 0 && (!alike || full)) { /* complete as it is */
      if (own >= least || (full && own > 1)) {
        *out = (window){w.first, own};
        return true;
      }
      w.count = own = 0;
    }
    if (!fits) continue;
    if (w.count == 0) w.first = i;
    w.count++;
    if (class_of(index, gen) == class || least == 2) own = w.count;
  }
  return false;
}

/* The pair of neighbours that is smallest together: for want of slots. */
static bool find_pair(const index_state *state, window *out) {
  uint64_t smallest = INDEX_MAX_CAPACITY;
  bool found = false;
  for (uint32_t i = 0; i + 1 < state->count; i++) {
    const index_gen *a = &state->gens[i], *b = a + 1;
    if (!b->closed || a->attributes != b->attributes || is_busy(state, a) || is_busy(state, b)) continue;
    if (span(state, (window){i, 2}) > smallest) continue;
    smallest = span(state, (window){i, 2});
    *out = (window){i, 2};
    found = true;
  }
  return found;
}

static bool begin_merge(index_state *state, window w) {
  index_merge *merge = &state->merges[state->merge_count];
  uint32_t slot;
  if (state->merge_count == INDEX_MERGES || !index_free_slot(state, &slot)) return false;
  *merge = (index_merge){.slot = slot, .first_seq = state->gens[w.first].first_seq,
                         .last_seq = index_gen_last(&state->gens[w.first + w.count - 1])};
  state->merge_count++;
  return true;
}

static uint64_t size_of(const index_merge *merge) { return merge->last_seq - merge->first_seq; }

/* Begins what is due, and says which merge is next: the smallest. */
static index_merge *next_merge(const sl_index *index, index_state *state, bool tidy) {
  window w;
  for (unsigned class = 0; class < INDEX_CLASSES; class++)
    if (find_window(index, state, class, INDEX_FAN, &w)) (void)begin_merge(state, w);
  if (tidy && state->merge_count == 0 && find_window(index, state, INDEX_CLASSES - 1, 2, &w))
    (void)begin_merge(state, w);
  if (INDEX_SLOTS - state->count < INDEX_FREE_SLOTS && state->merge_count + 1 < INDEX_MERGES &&
      find_pair(state, &w))
    (void)begin_merge(state, w);
  index_merge *next = NULL;
  for (uint32_t m = 0; m < state->merge_count; m++)
    if (!next || size_of(&state->merges[m]) < size_of(next)) next = &state->merges[m];
  return next;
}

/* ------------------------------------------------------------------ piece --- */

typedef struct source {
  const index_gen *gen;
  db_cur *cur; /* NULL: at its end */
  sl_slice value;
  uint8_t key[16];
} source;

typedef struct piece {
  db_txn *txn;
  index_merge *merge;
  index_gen target; /* as far as index_value_of needs it */
  uint64_t floor;   /* entries of seqs below are left out */
  source sources[INDEX_MERGE_MOST];
  uint32_t count;
  index_filter_maker maker;
  uint64_t left, done;
} piece;

static sl_status source_take(source *s, sl_status status, sl_slice key) {
  if (status == SL_OK && key.len == 16) {
    memcpy(s->key, key.data, 16);
    return SL_OK;
  }
  db_cur_close(s->cur);
  s->cur = NULL;
  return status == SL_NOTFOUND ? SL_OK : status;
}

static sl_status sources_open(piece *p) {
  const index_merge *m = p->merge;
  sl_status status = SL_OK;
  for (uint32_t i = 0; i < p->count && status == SL_OK; i++) {
    source *s = &p->sources[i];
    sl_slice key = {0};
    status = db_cur_open(p->txn, index_slot_table(s->gen->slot, m->list), &s->cur);
    if (status != SL_OK) break;
    status = index_seek_behind(s->cur, s->gen, m->list, m->inside, m->key, m->seq, &key, &s->value);
    status = source_take(s, status, key);
  }
  return status;
}

static void sources_close(piece *p) {
  for (uint32_t i = 0; i < p->count; i++) {
    db_cur_close(p->sources[i].cur);
    p->sources[i].cur = NULL;
  }
}

/* The first in the order of keys; of the same key, the oldest generation. */
static source *sources_least(piece *p) {
  source *least = NULL;
  for (uint32_t i = 0; i < p->count; i++)
    if (p->sources[i].cur && (!least || memcmp(p->sources[i].key, least->key, 16) < 0)) least = &p->sources[i];
  return least;
}

static sl_status write_entry(piece *p, db_cur *out, const source *s, uint64_t seq) {
  index_merge *m = p->merge;
  const bool same = m->inside && memcmp(m->key, s->key, 16) == 0;
  const uint32_t topic = m->list == INDEX_EVENT ? (uint32_t)(sl_get_u64(s->value.data) & 0xffff) : 0;
  const index_value value = index_value_of(&p->target, m->list, seq, topic);
  sl_status status = db_cur_put_sorted(out, (sl_slice){s->key, 16}, (sl_slice){&value.bits, value.len}, same);
  if (status == SL_OK && !same) status = index_filter_add(&p->maker, m->list, s->key);
  memcpy(m->key, s->key, 16);
  m->seq = seq;
  m->inside = true;
  if (m->list == INDEX_EVENT) m->events++;
  if (m->list == INDEX_CORRELATION) m->correlated++;
  return status;
}

/* To the end of the list, or of what may be done. */
static sl_status merge_list(piece *p) {
  db_cur *out = NULL;
  sl_status status = sources_open(p);
  if (status == SL_OK) status = db_cur_open(p->txn, index_slot_table(p->merge->slot, p->merge->list), &out);
  source *s;
  while (status == SL_OK && p->left > 0 && (s = sources_least(p))) {
    const uint64_t seq = index_value_seq(s->gen, p->merge->list, s->value);
    if (seq >= p->floor) status = write_entry(p, out, s, seq);
    sl_slice key = {0};
    if (status == SL_OK) {
      status = db_cur_move(s->cur, DB_NEXT, &key, &s->value);
      status = source_take(s, status, key);
    }
    p->left--;
    if (p->done++ % 32 == 0) sl_breathe();
  }
  const bool ended = status == SL_OK && !sources_least(p);
  db_cur_close(out);
  sources_close(p);
  if (ended) {
    p->merge->list++;
    p->merge->inside = false;
  }
  return status;
}

/* The new generation takes its sources' place. */
static void complete(index_state *state, const index_merge *merge) {
  uint32_t first = 0, count = 0;
  while (state->gens[first].first_seq < merge->first_seq) first++;
  for (; first + count < state->count && state->gens[first + count].first_seq <= merge->last_seq; count++)
    state->dirty |= UINT64_C(1) << state->gens[first + count].slot;
  state->gens[first] = (index_gen){
    .number = state->next_number++, .slot = merge->slot, .first_seq = merge->first_seq,
    .capacity = merge->last_seq - merge->first_seq + 1, .count = merge->events,
    .without_correlation = merge->events > merge->correlated ? merge->events - merge->correlated : 0,
    .attributes = state->gens[first].attributes, .closed = true};
  memmove(state->gens + first + 1, state->gens + first + count,
          (state->count - first - count) * sizeof state->gens[0]);
  state->count -= count - 1;
  end_merge(state, (uint32_t)(merge - state->merges));
}

sl_status index_merge_some(const sl_index *index, db_txn *txn, index_state *state, uint64_t first_seq,
                           uint64_t max, bool tidy, uint64_t *done) {
  index_merge *merge = next_merge(index, state, tidy);
  *done = 0;
  if (!merge) return SL_OK;
  piece p = {.txn = txn, .merge = merge, .floor = first_seq, .left = max};
  p.target.first_seq = merge->first_seq;
  for (uint32_t i = 0; i < state->count; i++) {
    const index_gen *gen = &state->gens[i];
    if (gen->first_seq < merge->first_seq || gen->first_seq > merge->last_seq) continue;
    if (p.count == INDEX_MERGE_MOST) break;
    p.sources[p.count++].gen = gen;
  }
  if (p.count == 0 || p.sources[0].gen->first_seq != merge->first_seq ||
      index_gen_last(p.sources[p.count - 1].gen) != merge->last_seq)
    return sl_fail(SL_E_CORRUPT, "index/: a merge has lost its sources: run `sidelog reindex`");
  sl_status status = index_filter_begin(&p.maker, txn, merge->slot);
  while (status == SL_OK && p.left > 0 && merge->list < INDEX_LISTS) status = merge_list(&p);
  const sl_status ended = index_filter_end(&p.maker);
  if (status == SL_OK) status = ended;
  if (status == SL_OK && merge->list == INDEX_LISTS) complete(state, merge);
  *done = p.done > 0 ? p.done : 1;
  return status;
}
