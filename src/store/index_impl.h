/* What index*.c share: tables, generations, the state record. Private to them, verify and the tests. */
#ifndef SL_STORE_INDEX_IMPL_H
#define SL_STORE_INDEX_IMPL_H
#include "store/index.h"

#include <pthread.h>
#include <stdatomic.h>

/* Slots are fixed when the environment is opened: LMDB's mdb_drop with a delete closes the handle, and a
 * reader that kept it read another generation's data (seen). Slots are emptied, handles never closed. */
#define INDEX_SLOTS 24u
#define INDEX_SLOT_TABLES 6u
#define INDEX_DUPLICATES 4u /* the table behind the four attributes that are always there */
#define INDEX_SECONDARY 5u  /* the table of the others */
#define INDEX_LISTS 5u      /* of entries: the four, and the others together */
#define INDEX_META 0u
#define INDEX_TABLES (1u + INDEX_SLOTS * INDEX_SLOT_TABLES)

#define INDEX_BASE_CAPACITY (1ull << 21)
#define INDEX_MAX_CAPACITY (1ull << 31) /* positions in a generation are u32 */
#define INDEX_FREE_SLOTS 8u             /* fewer left: generations double, so that 24 always suffice */
/* Events a write transaction, as many as wait: sorted, they fill empty tables page by page, and of others they rewrite
 * each page once. */
#define INDEX_BATCH (1ull << 20)
#define INDEX_BATCH_LEAST 4000u         /* where memory is short */
#define INDEX_APPEND_CAP 20000u         /* un-indexed events beyond which a producer helps: 2 to 4 ms of a scan */
#define INDEX_QUERY_CAP 5000u           /* and a query: below it the scan costs less than the help */

#define INDEX_KEY_ATTRIBUTES SL_STR("attributes")
#define INDEX_ATTRIBUTES "event,correlation,causation,type" /* always; secondary ones follow */

typedef struct index_gen {
  uint32_t number; /* ascends, never reused */
  uint32_t slot;
  uint64_t first_seq, capacity; /* covers [first_seq, first_seq + capacity) */
  uint64_t count;               /* events in it */
  uint64_t without_correlation;
  uint32_t attributes;          /* secondary ones, of all its events: SL_INDEX_* */
} index_gen;

typedef struct index_state {
  uint64_t watermark;   /* every event up to here is in a generation, or was damaged or trimmed before */
  uint32_t next_number;
  uint32_t count;
  bool secondary;       /* some generation has, or had, secondary attributes */
  index_gen gens[INDEX_SLOTS]; /* ascending */
} index_state;

struct sl_index {
  sl_store *store;
  db_env *env;
  uint64_t base_capacity;         /* INDEX_BASE_CAPACITY; tests take less, here and of the caps */
  uint64_t append_cap, query_cap; /* INDEX_APPEND_CAP, INDEX_QUERY_CAP */
  pthread_mutex_t turn_lock;
  int turn_fd;                    /* -1: no file */
  _Atomic int64_t rest_until_us;  /* no help before then (monotonic) */
};

struct index_view {
  sl_index *index;
  db_txn *txn;
  index_state state;
};

static inline unsigned index_table(const index_gen *gen, unsigned kind) {
  return 1u + gen->slot * INDEX_SLOT_TABLES + (kind < INDEX_SECONDARY_ATTR ? kind : INDEX_SECONDARY);
}
static inline uint64_t index_gen_last(const index_gen *gen) { return gen->first_seq + gen->capacity - 1; }

/* The value under which a seq stands: events carry the topic's number in the low 16 bits, so that a duplicate
 * is nominated without a look at the log. */
typedef struct index_value { uint64_t bits; size_t len; } index_value;
static inline index_value index_value_of(const index_gen *gen, unsigned attr, uint64_t seq,
                                         uint32_t topic_id) {
  const uint64_t rel = seq - gen->first_seq;
  return attr == INDEX_EVENT ? (index_value){rel << 16 | topic_id, 8} : (index_value){rel, 4};
}
static inline uint64_t index_value_seq(const index_gen *gen, unsigned attr, sl_slice value) {
  return gen->first_seq + (attr == INDEX_EVENT ? sl_get_u64(value.data) >> 16 : sl_get_u32(value.data));
}

/* Secondary attributes by their bits in SL_INDEX_*: bit n is attribute n of a record. */
static const index_attr index_secondary[] = {INDEX_KEY, INDEX_TENANT, INDEX_SOURCE};
#define INDEX_SECONDARY_COUNT (sizeof index_secondary / sizeof index_secondary[0])
static inline uint32_t index_bit(index_attr attr) { return 1u << (attr - INDEX_SECONDARY_ATTR); }

/* Those that new generations get. */
sl_status index_wanted(db_txn *txn, uint32_t *attributes);

sl_status index_state_load(db_txn *txn, index_state *state);
sl_status index_state_save(db_txn *txn, const index_state *state);
/* Empties the generations that end below first_seq; *dropped counts them. */
sl_status index_state_drop(db_txn *txn, index_state *state, uint64_t first_seq, unsigned *dropped);

/* One write transaction of at most `max` events behind the watermark. *watermark is the new one, *more: there
 * are others behind it, *indexed (may be NULL) counts. SL_E_CORRUPT: stopped before a damaged record. */
sl_status index_step(sl_index *index, uint64_t max, uint64_t *watermark, bool *more, uint64_t *indexed);
/* The same for who has the turn already. */
sl_status index_step_in_turn(sl_index *index, uint64_t max, uint64_t *watermark, bool *more, uint64_t *indexed);

/* The turn to write the index (index_help.c), taken before LMDB's writer lock, which cannot be tried. */
void index_turn_open(sl_index *index);
void index_turn_close(sl_index *index);
void index_turn_take(sl_index *index);
bool index_turn_try(sl_index *index);
void index_turn_end(sl_index *index);

/* index_view_each in steps: about `max` entries behind *pos (zeroed: from the start), over views of different
 * snapshots. *done when there are no more. */
typedef struct index_pos {
  uint32_t number; /* of the generation */
  uint32_t attr;
  bool inside;     /* key and seq are those of the last entry seen */
  uint8_t key[16];
  uint64_t seq;
} index_pos;
sl_status index_scan(index_view *view, index_pos *pos, uint64_t max, index_entry_fn *fn, void *arg,
                     bool *done);

#endif
