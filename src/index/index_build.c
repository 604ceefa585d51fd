/* A step of the indexer: brings the watermark forward, recognises duplicates.
 *
 * One step is one write transaction: take the writer lock of index/ (producers never need it), read events behind
 * the watermark in short log transactions, sort each attribute's keys, look for duplicates, insert, move the
 * watermark. An event is in the index exactly when the watermark has passed it, whatever is killed when.
 *
 * Many events at once become a generation of their own, its pages filled to the brim and written once; few go to
 * the open generation, which is small, so that they touch few pages however random their keys are.
 *
 * A damaged record stops the watermark in front of it: to pass would be to lose it silently, and delivery
 * goes no further than the watermark. The status names its seq. Queries go on (they scan the tail). */
#include "base/breathe.h"
#include "base/id.h"
#include "index/index_impl.h"
#include "store/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>

#define VIEW_STEP 2000u /* events read in one log transaction */
#define INDEX_ALONE 4u  /* this part of a small generation is enough for one of its own */
#define DUPLICATES_AT_ONCE 1000u /* forgotten a step */
#define BREATHE_EVERY 32u
#define EXEMPT (1ull << 63) /* in an event entry while it is sorted: a replay, never a duplicate */

typedef struct entry {
  uint64_t high, low; /* the key as two numbers in the order of its bytes */
  uint64_t value;
} entry;

typedef struct list {
  entry *items;
  size_t count;
} list;

typedef struct batch {
  list lists[INDEX_LISTS]; /* by index_attr, and the secondary ones */
  entry *memory;           /* the lists, and room to sort one */
  entry *scratch;
  size_t cap;
  uint64_t events, without_correlation, last;
} batch;

static uint64_t get_be64(const uint8_t *p) {
  uint64_t v = 0;
  for (int i = 0; i < 8; i++) v = v << 8 | p[i];
  return v;
}

static void put_be64(uint8_t *p, uint64_t v) {
  for (int i = 8; i-- > 0; v >>= 8) p[i] = (uint8_t)v;
}

static void entry_key(const entry *e, uint8_t key[16]) {
  put_be64(key, e->high);
  put_be64(key + 8, e->low);
}

static bool same_key(const entry *a, const entry *b) { return a->high == b->high && a->low == b->low; }

static bool in_order(const entry *a, const entry *b) {
  return a->high < b->high || (a->high == b->high && a->low <= b->low);
}

static void merge(const entry *a, const entry *a_end, const entry *b, const entry *b_end, entry *out) {
  while (a < a_end && b < b_end) *out++ = in_order(a, b) ? *a++ : *b++;
  while (a < a_end) *out++ = *a++;
  while (b < b_end) *out++ = *b++;
}

/* Stable, by key: events came in ascending, so each key's values stay ascending. */
static void sort_list(list *l, entry *scratch) {
  entry *from = l->items, *to = scratch;
  const size_t n = l->count;
  size_t sorted = 1; /* UUIDv7 come in order */
  while (sorted < n && in_order(&from[sorted - 1], &from[sorted])) sorted++;
  if (sorted >= n) return;
  for (size_t width = 1; width < n; width *= 2) {
    sl_breathe();
    for (size_t i = 0; i < n; i += 2 * width) {
      const size_t middle = i + width < n ? i + width : n, end = i + 2 * width < n ? i + 2 * width : n;
      if (middle == end || in_order(&from[middle - 1], &from[middle]))
        memcpy(to + i, from + i, (end - i) * sizeof *to);
      else
        merge(from + i, from + middle, from + middle, from + end, to + i);
    }
    entry *other = from;
    from = to;
    to = other;
  }
  if (from != l->items) memcpy(l->items, from, n * sizeof *from);
}

/* --------------------------------------------------------------- reading --- */

/* Room for `wanted` events with `secondary` attributes each, or for fewer events where memory is short. */
static sl_status batch_new(batch *b, size_t wanted, size_t secondary) {
  *b = (batch){.cap = wanted};
  const size_t each = 4 + secondary + (secondary > 1 ? secondary : 1);
  while (!(b->memory = malloc(b->cap * each * sizeof *b->memory))) {
    if (b->cap < INDEX_BATCH_LEAST) return sl_fail(SL_E_NOMEM, "out of memory");
    b->cap /= 2;
  }
  for (size_t i = 0; i < INDEX_LISTS; i++) b->lists[i].items = b->memory + i * b->cap;
  b->scratch = b->memory + (4 + secondary) * b->cap;
  return SL_OK;
}

static void list_add(list *l, const index_gen *gen, index_attr attr, uint64_t seq, const sl_parts *parts) {
  const sl_slice text = index_text_of(attr, parts);
  if (text.len == 0) return;
  uint8_t key[16];
  index_key_of(attr, text, key);
  l->items[l->count++] = (entry){.high = get_be64(key), .low = get_be64(key + 8),
                                 .value = index_value_of(gen, attr, seq, parts->topic_id).bits};
}

static void batch_add(batch *b, const index_gen *gen, uint64_t seq, const sl_parts *parts) {
  for (unsigned attr = 0; attr < 4; attr++) list_add(&b->lists[attr], gen, attr, seq, parts);
  for (size_t i = 0; i < INDEX_SECONDARY_COUNT; i++)
    if (gen->attributes & index_bit(index_secondary[i]))
      list_add(&b->lists[4], gen, index_secondary[i], seq, parts);
  list *events = &b->lists[INDEX_EVENT];
  if ((parts->flags & SL_RECORD_REPLAY) && parts->event_id.len) events->items[events->count - 1].value |= EXEMPT;
  if (parts->correlation_id.len == 0) b->without_correlation++;
  b->events++;
  b->last = seq;
}

/* The generation that the next event goes to: the open one, or a new one; for `alone` a new one in any case. */
static sl_status pick_gen(const sl_index *index, db_txn *txn, index_state *state, uint32_t wanted, bool alone,
                          uint64_t seq, index_gen **out) {
  index_gen *newest = state->count ? &state->gens[state->count - 1] : NULL;
  uint32_t slot;
  if (newest && !newest->closed && !alone && newest->attributes == wanted && seq <= index_gen_last(newest)) {
    *out = newest;
    return SL_OK;
  }
  while (!index_free_slot(state, &slot)) {
    if (!state->dirty && newest) index_give_up_merges(state, newest); /* it could not go on as a source of one */
    if (!state->dirty) break;
    sl_status status = index_clean_one(txn, state);
    if (status != SL_OK) return status;
  }
  if (state->count < INDEX_SLOTS && index_free_slot(state, &slot)) {
    sl_status status = index_close_newest(txn, state);
    index_gen *gen = &state->gens[state->count++];
    *gen = (index_gen){.number = state->next_number++, .slot = slot, .first_seq = seq, .capacity = index->small,
                       .attributes = wanted};
    if (alone) gen->capacity = INDEX_MAX_CAPACITY; /* closed behind its last event */
    *out = gen;
    return status;
  }
  /* Merging is far behind: the newest goes on, whatever attributes it has. */
  newest->closed = false;
  while (seq > index_gen_last(newest) && newest->capacity < INDEX_MAX_CAPACITY) newest->capacity *= 2;
  if (seq > index_gen_last(newest))
    return sl_fail(SL_E_FULL, "index/ has no room for event %" PRIu64 ": trim the store", seq);
  *out = newest;
  return index_filter_empty(txn, newest->slot);
}

typedef struct reader {
  sl_store *store;
  log_view *log;
  uint64_t looked;
} reader;

static sl_status reader_fresh(reader *r) {
  if (r->log && r->looked < VIEW_STEP) return SL_OK;
  log_view_close(r->log);
  r->log = NULL;
  r->looked = 0;
  return log_view_open(r->store, &r->log);
}

/* Reads events behind the watermark into the batch. *damaged: SL_E_CORRUPT when it stopped before a
 * record that cannot be read. b->last is then the seq that the watermark may move to. */
static sl_status read_events(sl_index *index, db_txn *txn, reader *r, index_state *state, uint32_t wanted,
                             uint64_t end, batch *b, index_gen **gen, sl_status *damaged) {
  uint64_t seq = state->watermark + 1, limit = end;
  *damaged = SL_OK;
  *gen = NULL;
  b->last = state->watermark;
  while (b->events < b->cap && seq <= limit) {
    sl_status status = reader_fresh(r);
    if (status != SL_OK) return status;
    sl_parts parts;
    uint64_t found = 0;
    bool bad;
    status = snapshot_next(r->log, seq, false, &found, &parts, &bad);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
    if (status == SL_NOTFOUND || found > limit) {
      b->last = limit; /* holes: trimmed long ago */
      return SL_OK;
    }
    if (bad) {
      *damaged = sl_fail_context(SL_E_CORRUPT, "index/ stops before event %" PRIu64, found);
      b->last = found - 1;
      return SL_OK;
    }
    if (!*gen) {
      status = pick_gen(index, txn, state, wanted, b->cap * INDEX_ALONE >= index->small, found, gen);
      if (status != SL_OK) return status;
      if (index_gen_last(*gen) < limit) limit = index_gen_last(*gen);
    }
    batch_add(b, *gen, found, &parts);
    if (r->looked++ % BREATHE_EVERY == 0) sl_breathe();
    seq = found + 1;
  }
  return SL_OK;
}

/* ------------------------------------------------------------ duplicates --- */

typedef struct finder {
  reader *r;
  db_txn *txn;
  const index_state *state;
  const index_gen *gen; /* of the batch */
  db_cur *cursors[INDEX_SLOTS];
  index_filter filters[INDEX_SLOTS]; /* keys come ascending: a chunk answers for many */
} finder;

/* A hash and a truncated topic number only nominate: the log decides, by the whole id and topic. An original
 * that was trimmed, or cannot be read any more, is no original. */
static sl_status confirm(finder *f, uint64_t seq, uint64_t candidate, bool *same) {
  sl_parts a, b;
  *same = false;
  sl_status status = reader_fresh(f->r);
  if (status != SL_OK) return status;
  f->r->looked += 2;
  status = log_view_get(f->r->log, candidate, true, &b);
  if (status == SL_OK) status = log_view_get(f->r->log, seq, true, &a);
  if (status == SL_NOTFOUND || status == SL_E_CORRUPT) return SL_OK;
  if (status != SL_OK) return status;
  *same = sl_slice_eq(a.event_id, b.event_id) && sl_slice_eq(a.topic, b.topic);
  return SL_OK;
}

static bool topics_may_match(uint64_t a, uint64_t b) {
  const uint64_t x = a & 0xffff, y = b & 0xffff;
  return x == y || x == SL_NAME_INLINE || y == SL_NAME_INLINE;
}

/* Is the event of `e` a duplicate of one in the generations? *original: its seq, or 0. */
static sl_status find_stored(finder *f, const entry *e, uint64_t seq, uint64_t *original) {
  uint8_t key[16];
  entry_key(e, key);
  for (uint32_t i = 0; i < f->state->count; i++) {
    const index_gen *gen = &f->state->gens[i];
    bool may = false;
    if (gen->count == 0) continue;
    sl_status status = index_filter_ask(&f->filters[i], f->txn, gen, INDEX_EVENT, key, &may);
    if (status == SL_OK && !may) continue;
    if (status == SL_OK && !f->cursors[i])
      status = db_cur_open(f->txn, index_table(gen, INDEX_EVENT), &f->cursors[i]);
    if (status != SL_OK) return status;
    sl_slice k = {key, 16}, v;
    status = db_cur_move(f->cursors[i], DB_FIND, &k, &v);
    for (; status == SL_OK; status = db_cur_move(f->cursors[i], DB_NEXT_VALUE, &k, &v)) {
      bool same = false;
      if (topics_may_match(sl_get_u64(v.data), e->value))
        status = confirm(f, seq, index_value_seq(gen, INDEX_EVENT, v), &same);
      if (status != SL_OK) return status;
      if (same) {
        *original = index_value_seq(gen, INDEX_EVENT, v);
        return SL_OK;
      }
    }
    if (status != SL_NOTFOUND) return status;
  }
  return SL_OK;
}

/* Writes an entry for each duplicate of the batch: sorted, so events of one id are neighbours. */
static sl_status find_duplicates(finder *f, list *events) {
  entry *e = events->items;
  sl_status status = SL_OK;
  for (size_t i = 0, run = 0; i < events->count && status == SL_OK; i++) {
    if (!same_key(&e[run], &e[i])) run = i;
    if (i % BREATHE_EVERY == 0) sl_breathe();
    const bool exempt = e[i].value & EXEMPT;
    e[i].value &= ~EXEMPT;
    if (exempt) continue;
    const uint64_t seq = f->gen->first_seq + (e[i].value >> 16);
    uint64_t original = 0;
    status = find_stored(f, &e[i], seq, &original);
    for (size_t j = run; j < i && status == SL_OK && !original; j++) {
      bool same = false;
      if (topics_may_match(e[j].value, e[i].value))
        status = confirm(f, seq, f->gen->first_seq + (e[j].value >> 16), &same);
      if (same) original = f->gen->first_seq + (e[j].value >> 16);
    }
    if (status != SL_OK || !original) continue;
    status = db_put(f->txn, INDEX_DUPLICATES, db_u64(&seq), db_u64(&original));
    for (uint32_t g = 0; g < INDEX_SLOTS; g++) f->filters[g].valid = false; /* a write may move what was read */
  }
  for (uint32_t i = 0; i < INDEX_SLOTS; i++) {
    db_cur_close(f->cursors[i]);
    db_cur_close(f->filters[i].cur);
  }
  return status;
}

sl_status index_forget_duplicates(db_txn *txn, uint64_t first_seq, uint64_t max) {
  db_cur *cur;
  sl_slice key, value;
  sl_status status = db_cur_open(txn, INDEX_DUPLICATES, &cur);
  if (status != SL_OK) return status;
  for (; max > 0 && status == SL_OK; max--) {
    status = db_cur_move(cur, DB_FIRST, &key, &value);
    if (status != SL_OK || sl_get_u64(key.data) >= first_seq) break;
    status = db_cur_del(cur);
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

/* --------------------------------------------------------------- writing --- */

/* Into empty tables pages are filled to the brim, in order. `maker` may be NULL. */
static sl_status insert_list(db_txn *txn, const index_gen *gen, unsigned at, const list *l,
                             index_filter_maker *maker) {
  const size_t len = at == INDEX_EVENT ? 8 : 4;
  db_cur *cur = NULL;
  sl_status status = db_cur_open(txn, index_slot_table(gen->slot, at), &cur);
  for (size_t i = 0; i < l->count && status == SL_OK; i++) {
    uint8_t key[16];
    if (i % BREATHE_EVERY == 0) sl_breathe();
    entry_key(&l->items[i], key);
    const bool same = i > 0 && same_key(&l->items[i - 1], &l->items[i]);
    const sl_slice k = {key, 16}, v = {&l->items[i].value, len};
    status = gen->count == 0 ? db_cur_put_sorted(cur, k, v, same) : db_cur_put(cur, k, v);
    if (maker && !same && status == SL_OK) status = index_filter_add(maker, at, key);
  }
  db_cur_close(cur);
  return status;
}

static sl_status insert(db_txn *txn, index_gen *gen, const batch *b) {
  const bool alone = gen->capacity == INDEX_MAX_CAPACITY && gen->count == 0;
  index_filter_maker maker;
  sl_status status = alone ? index_filter_begin(&maker, txn, gen->slot) : SL_OK;
  for (unsigned i = 0; i < INDEX_LISTS && status == SL_OK; i++)
    status = insert_list(txn, gen, i, &b->lists[i], alone ? &maker : NULL);
  if (alone) {
    const sl_status ended = index_filter_end(&maker);
    if (status == SL_OK) status = ended;
    gen->closed = true;
    gen->capacity = b->last - gen->first_seq + 1;
  }
  gen->count += b->events;
  gen->without_correlation += b->without_correlation;
  return status;
}

/* How many entries each event can have in the list of secondary attributes. */
static size_t secondary_of(const index_state *state, uint32_t wanted) {
  const uint32_t any = wanted | (state->count ? state->gens[state->count - 1].attributes : 0);
  size_t count = 0;
  for (size_t i = 0; i < INDEX_SECONDARY_COUNT; i++) count += (any & index_bit(index_secondary[i])) != 0;
  return count;
}

sl_status index_step_in_txn(sl_index *index, db_txn *txn, uint64_t max, uint64_t *watermark, bool *more,
                            uint64_t *indexed, sl_status *damaged) {
  reader r = {.store = index->store};
  batch b = {0};
  index_state state;
  index_gen *gen = NULL;
  uint32_t wanted = 0;
  sl_status status = index_state_load(txn, &state);
  if (status == SL_OK) status = reader_fresh(&r);
  const uint64_t end = status == SL_OK ? log_view_head(r.log)->last_seq : 0;
  if (status == SL_OK) status = index_wanted(txn, &wanted);
  if (status == SL_OK) {
    const uint64_t waiting = end > state.watermark ? end - state.watermark : 1;
    status = batch_new(&b, (size_t)(waiting < max ? waiting : max), secondary_of(&state, wanted));
  }
  if (status == SL_OK) {
    const uint64_t first_seq = log_view_head(r.log)->first_seq;
    unsigned dropped;
    index_state_drop(&state, first_seq, &dropped);
    status = index_forget_duplicates(txn, first_seq, DUPLICATES_AT_ONCE);
  }
  if (status == SL_OK) status = read_events(index, txn, &r, &state, wanted, end, &b, &gen, damaged);
  if (status == SL_OK && gen) {
    finder f = {.r = &r, .txn = txn, .state = &state, .gen = gen};
    for (unsigned i = 0; i < INDEX_LISTS; i++) sort_list(&b.lists[i], b.scratch);
    status = find_duplicates(&f, &b.lists[INDEX_EVENT]);
    if (status == SL_OK) status = insert(txn, gen, &b);
  }
  log_view_close(r.log);
  if (status == SL_OK) {
    state.watermark = b.last;
    state.owed += b.events * INDEX_OWED;
    if (gen && b.last >= index_gen_last(gen)) status = index_close_newest(txn, &state);
    if (status == SL_OK) status = index_state_save(txn, &state);
    *watermark = b.last;
    *more = b.last < end && *damaged == SL_OK;
    *indexed = b.events;
  }
  free(b.memory);
  return status;
}
