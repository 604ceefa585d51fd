/* What index*.c share: tables, generations, the state record. Private to them, verify and the tests. */
#ifndef SL_STORE_INDEX_IMPL_H
#define SL_STORE_INDEX_IMPL_H
#include "index/index.h"

#include <pthread.h>
#include <stdatomic.h>

/* Slots are fixed when the environment is opened: LMDB's mdb_drop with a delete closes the handle, and a
 * reader that kept it read another generation's data (seen). Slots are emptied, handles never closed. */
#define INDEX_SLOTS 40u /* each look-up pays a little for each table there is */
#define INDEX_LISTS 5u          /* tables of a slot: four attributes that are always there, the others together */
#define INDEX_LIST_SECONDARY 4u
enum { INDEX_META, INDEX_FILTERS, INDEX_DUPLICATES, INDEX_FIRST_SLOT };
#define INDEX_TABLES (INDEX_FIRST_SLOT + INDEX_SLOTS * INDEX_LISTS)
#define INDEX_LAYOUT 2u         /* of index/ alone: of another one it is built anew */

/* The ladder (index_merge.c): generations of one class are merged into one of the next. */
#define INDEX_SMALL 4096u       /* seqs of an open generation; if fewer than a quarter of it wait, they go there */
#define INDEX_FAN 8u
#define INDEX_CLASSES 3u        /* up to 1, 8 and 64 times INDEX_SMALL; what is larger stays */
#define INDEX_LARGE 512u        /* times INDEX_SMALL: the largest that the ladder makes */
#define INDEX_MERGE_MOST 16u    /* generations into one */
#define INDEX_MERGES 4u         /* under way: one a class, and one for want of slots */
#define INDEX_FREE_SLOTS 8u     /* fewer left: two large generations become one */
#define INDEX_MAX_CAPACITY (1ull << 31) /* positions in a generation are u32 */

/* Each event pays for the merging of so many entries: enough for its four, or seven, through three classes. */
#define INDEX_OWED 32u
#define INDEX_PIECE 32768u      /* entries merged in a transaction, about 10 ms */
#define INDEX_PIECE_MOST 131072u /* where much is owed */

#define INDEX_BATCH (1ull << 16)         /* events a write transaction, 120 bytes of memory each */
#define INDEX_BATCH_REBUILD (1ull << 18) /* the same where the whole index is built */
#define INDEX_BATCH_LEAST 4000u          /* where memory is short */
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
  bool closed;                  /* nothing more comes in: it has a filter. All but the newest are */
} index_gen;

/* A merge under way: the generations in [first_seq, last_seq], of equal attributes, into an empty slot. Its place
 * in the order of lists, keys and seqs is the last entry that was written. */
typedef struct index_merge {
  uint32_t slot, list;
  uint64_t first_seq, last_seq;
  uint64_t events, correlated; /* written so far */
  bool inside;                 /* key and seq mean something */
  uint8_t key[16];
  uint64_t seq;
} index_merge;

typedef struct index_state {
  uint64_t watermark;   /* every event up to here is in a generation, or was damaged or trimmed before */
  uint64_t owed;        /* entries to merge before the events so far are paid for */
  uint64_t dirty;       /* slots to be emptied, by their bits */
  uint32_t next_number;
  uint32_t count, merge_count;
  index_gen gens[INDEX_SLOTS]; /* ascending */
  index_merge merges[INDEX_MERGES];
} index_state;

struct sl_index {
  sl_store *store;
  db_env *env;
  uint64_t small;                 /* INDEX_SMALL; tests take less, here and of the caps and the piece */
  uint64_t piece;                 /* INDEX_PIECE */
  uint64_t append_cap, query_cap; /* INDEX_APPEND_CAP, INDEX_QUERY_CAP */
  pthread_mutex_t turn_lock;
  int turn_fd;                    /* -1: no file */
  _Atomic int64_t rest_until_us;  /* no help before then (monotonic) */
  _Atomic(index_view *) spare;    /* memory of a closed view: they are too large for malloc's quick ways */
};

/* A key among all filters' keys, in their order: slot and list, then its bytes as numbers. */
typedef struct index_place {
  uint64_t list, high, low;
} index_place;

/* A chunk of a filter: it answers for the keys above `above` up to `to`. */
typedef struct index_chunk {
  index_place above, to;
  size_t count;
  const uint8_t *lines; /* NULL: none of these keys is in the generation */
} index_chunk;

/* Chunks that were looked up in a snapshot, ascending. */
#define INDEX_CHUNKS_KNOWN 1024u /* of events, as many as 13 million have */
typedef struct index_chunks {
  size_t count;
  index_chunk chunks[INDEX_CHUNKS_KNOWN];
} index_chunks;

typedef struct index_filter {
  db_cur *cur;         /* NULL: none yet */
  bool valid;          /* is there a last one? */
  index_chunk last;    /* the one looked up last */
  index_chunks *known; /* NULL: none is kept but the last */
} index_filter;

struct index_view {
  sl_index *index;
  db_txn *txn;
  index_filter filter;
  db_kept kept; /* what follows is of: a view's memory that is used again may have it already */
  index_state state;
  index_chunks known;
};

static inline unsigned index_list(unsigned attr) {
  return attr < INDEX_SECONDARY_ATTR ? attr : INDEX_LIST_SECONDARY;
}
static inline unsigned index_slot_table(uint32_t slot, unsigned list) {
  return INDEX_FIRST_SLOT + slot * INDEX_LISTS + list;
}
static inline unsigned index_table(const index_gen *gen, unsigned attr) {
  return index_slot_table(gen->slot, index_list(attr));
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
/* Takes the generations that end below first_seq off the state, and the merges that had to do with them; their
 * slots are dirty then. *dropped counts them. */
void index_state_drop(index_state *state, uint64_t first_seq, unsigned *dropped);
/* Gives up the merges that this generation is a source of; their slots are dirty then. */
void index_give_up_merges(index_state *state, const index_gen *gen);
/* Empties one dirty slot. */
sl_status index_clean_one(db_txn *txn, index_state *state);
/* Forgets at most `max` duplicates among the events below first_seq. */
sl_status index_forget_duplicates(db_txn *txn, uint64_t first_seq, uint64_t max);
/* An empty slot; false: there is none. */
bool index_free_slot(const index_state *state, uint32_t *slot);
/* The newest generation, if it is open, covers what it has, and gets its filter. */
sl_status index_close_newest(db_txn *txn, index_state *state);

/* Merging (index_merge.c). Begins what is due as the state is now, and goes on with the smallest merge, about
 * `max` entries of it, without those of events below first_seq; *done counts them, 0: there was nothing to merge.
 * `tidy`: also few generations become one. */
sl_status index_merge_some(const sl_index *index, db_txn *txn, index_state *state, uint64_t first_seq,
                           uint64_t max, bool tidy, uint64_t *done);

/* Filters (index_filter.c). Made in the order of the keys, each once; begun and ended in one transaction. */
typedef struct index_filter_maker {
  db_txn *txn;
  uint32_t slot;
  unsigned list;
  size_t count;
  uint8_t last[16];
  uint64_t *hashes; /* and behind them room for a chunk */
} index_filter_maker;
sl_status index_filter_begin(index_filter_maker *maker, db_txn *txn, uint32_t slot);
sl_status index_filter_add(index_filter_maker *maker, unsigned list, const uint8_t key[16]);
sl_status index_filter_end(index_filter_maker *maker); /* writes what is left; call it once, also after failures */
sl_status index_filter_empty(db_txn *txn, uint32_t slot);
/* *may: the key may be in that list of a generation that is closed. False is certain. */
sl_status index_filter_ask(index_filter *filter, db_txn *txn, const index_gen *gen, unsigned attr,
                           const uint8_t key[16], bool *may);

/* The same of all generations: *may has a bit for each, by its place in the state. */
sl_status index_filter_ask_all(index_filter *filter, db_txn *txn, const index_state *state, unsigned attr,
                               const uint8_t key[16], uint64_t *may);

/* Stands on the first entry behind (key, seq) in a list of a generation; inside is false: on the first of all. */
sl_status index_seek_behind(db_cur *cur, const index_gen *gen, unsigned attr, bool inside, const uint8_t key[16],
                            uint64_t seq, sl_slice *k, sl_slice *v);

/* One write transaction of at most `max` events behind the watermark. *watermark is the new one, *more: there
 * are others behind it, *indexed (may be NULL) counts. SL_E_CORRUPT: stopped before a damaged record. */
sl_status index_step(sl_index *index, uint64_t max, uint64_t *watermark, bool *more, uint64_t *indexed);
/* The step alone, in a transaction of the caller's, who flushes the log before its commit. */
sl_status index_step_in_txn(sl_index *index, db_txn *txn, uint64_t max, uint64_t *watermark, bool *more,
                            uint64_t *indexed, sl_status *damaged);
/* Step and merging for who has the turn already. Who only helps pays for what it has indexed, and for a piece of
 * what others have left owing, not for all of that. */
sl_status index_step_in_turn(sl_index *index, uint64_t max, bool helps, uint64_t *watermark, bool *more,
                             uint64_t *indexed);

/* The turn to write the index (index_help.c), taken before LMDB's writer lock, which cannot be tried. */
void index_turn_open(sl_index *index);
void index_turn_close(sl_index *index);
void index_turn_take(sl_index *index);
bool index_turn_try(sl_index *index);
void index_turn_end(sl_index *index);

/* attr is INDEX_SECONDARY_ATTR for all secondary ones. */
typedef sl_status index_entry_fn(void *arg, index_attr attr, const uint8_t key[16], uint64_t seq);
/* For verify: about `max` entries of all generations behind *pos (zeroed: from the start), over views of different
 * snapshots. *done when there are no more. What was merged in between may in part be seen again. */
typedef struct index_pos {
  uint64_t from;   /* all entries of seqs below have been seen */
  uint32_t number; /* of the generation it stands in */
  uint32_t attr;
  bool inside;     /* key and seq are those of the last entry seen */
  uint8_t key[16];
  uint64_t seq;
} index_pos;
sl_status index_scan(index_view *view, index_pos *pos, uint64_t max, index_entry_fn *fn, void *arg,
                     bool *done);

#endif
