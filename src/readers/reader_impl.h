/* What reader*.c share: an open reader in memory. Private to them.
 *
 * The reader has seen every event up to `seq`; those it has not done with are its items. Items of one key (of
 * one topic, where there is none) are a lane, ascending by seq. The first item of a lane in which nothing is in
 * hand is the only one of it that may be handed out; such lanes are in a heap: of those that are due, by the
 * first item's seq, or of those whose first item's wait is not over, by its end.
 *
 * A commit (reader_commit.c) writes `seq`, what changed in the totals, and the items that changed: so disk and
 * memory say the same of the same moment. All others only add to `delta` and mark items dirty. */
#ifndef SL_STORE_READER_IMPL_H
#define SL_STORE_READER_IMPL_H
#include "base/map.h"
#include "query/query_impl.h"
#include "readers/readers.h"

typedef struct item item;
typedef struct lane lane;

struct item {
  sl_reader_entry e;       /* as it is, or will be, on disk */
  char *texts;             /* backing of e.letter's slices */
  lane *lane;              /* NULL: early */
  item *before, *behind;   /* in the lane */
  item *dirty_before, *dirty_behind;
  bool dirty, stored;      /* to be written; on disk in some form */
  bool in_hand, suspect;   /* suspect: one of several that were in hand at a crash, so it is handed out alone */
  uint32_t slot;           /* in hand: its place in the lock file */
  int64_t due_us;          /* monotonic; 0: at once */
  query_item fetched;      /* in hand: the record, */
  arena memory;            /* and its bytes */
  sl_reader_event event;
};

struct lane {
  uint64_t hash;
  item *first, *last;
  uint32_t waiting, in_hand;
  struct lane_heap *heap;  /* the one that it is in; NULL: none */
  size_t place;
};

/* The lane that comes first is the first one; its children are 2i + 1 and 2i + 2. */
typedef struct lane_heap {
  lane **lanes;
  size_t count, cap;
  bool by_due;             /* the end of the first item's wait; else its seq */
} lane_heap;

typedef struct found {     /* an event that the scan found and the reader has not taken in yet */
  uint64_t seq, lane;
  uint64_t missed;         /* since the one before it */
  uint64_t expected;       /* sl_reader_state.expected behind it */
} found;

#define READER_WINDOW 256u /* of them at a time */
#define READER_LOOKS 2000u /* events looked at in one snapshot */

struct sl_reader {
  sl_store *store;
  db_env *env;
  int lock_fd;
  char name[SL_READER_NAME_MAX + 1];
  sl_reader_options options; /* with defaults filled in; the filter's texts are owned: texts */
  char *texts;
  uint64_t random;
  pthread_mutex_t lock;
  pthread_cond_t changed;  /* an item was decided */

  uint32_t id;
  uint64_t seq, born, expected;
  uint64_t commits, changes; /* as on disk */
  bool options_new;        /* others than those on disk */
  uint64_t saved_seq;      /* `seq` as on disk */
  int64_t saved_us;        /* monotonic: of the last commit */
  bool reload;             /* others have changed something on disk */

  found window[READER_WINDOW];
  size_t window_at, window_count;
  uint64_t scanned;        /* the scan has looked up to here */
  uint64_t tail_missed, scan_expected; /* behind the window's last one; sl_reader_state.expected at `scanned` */

  sl_map items, early, lanes; /* by seq; by seq, those beyond `seq` that were in hand at a crash; by hash */
  uint64_t early_passed;   /* none of `early` lies at or below */
  lane_heap due, later;    /* lanes that are ready: now, and when a wait is over */
  item *dirty_first;
  size_t waiting, in_hand;
  bool suspect_in_hand;
  uint32_t *free_slots;
  size_t free_count;
  uint64_t missed_untold;
  uint32_t outages;        /* failures by an outage, one after the other */
  int64_t paused_us;       /* monotonic: nothing is handed out before */

  sl_reader_totals delta;  /* not committed yet */
  sl_buf gone;             /* u64: seqs whose entries on disk go with the next commit */
  sl_buf letters;          /* entries, each behind its u64 length, that become dead letters with the next commit */
  uint32_t decisions;      /* since the last commit */
  int64_t decided_us;      /* monotonic: of the first of them */
  bool unsure;             /* the last commit failed, perhaps after it had happened: then this is what it did */
  sl_reader_totals sent;
  size_t sent_gone, sent_letters;
};

/* --- reader_items.c: lanes and items; nothing here touches the disk --- */

/* A new item, in no lane. NULL: out of memory. */
item *item_new(uint64_t seq, uint64_t lane_hash);
void item_free(item *it); /* in no lane, in no list */
/* Puts it among the reader's items, waiting. SL_E_NOMEM: it is left as it was. */
sl_status item_add(sl_reader *r, item *it);
void item_remove(sl_reader *r, item *it); /* out of lane, map and lists; not freed */
void item_hand(sl_reader *r, item *it);   /* from waiting to in hand */
void item_put_back(sl_reader *r, item *it, int64_t due_us); /* from in hand to waiting; due_us monotonic, 0: at
                                                               once */
void item_touch(sl_reader *r, item *it);  /* to be written by the next commit */
void item_clean(sl_reader *r, item *it);
/* The oldest of the items that are ready and due, or NULL; then *due_us is when the next one will be (INT64_MAX:
 * none). */
item *item_ready(sl_reader *r, int64_t now_us, int64_t *due_us);
void items_free(sl_reader *r); /* all of them, and what they are listed in */
/* Does a new event of this lane have to wait? */
bool lane_busy(const sl_reader *r, uint64_t hash);
/* Notes a failure in the item's entry, with texts of its own. SL_E_NOMEM: nothing was changed. */
sl_status item_blame(item *it, int64_t now_us, sl_slice error_class, sl_slice code, sl_slice text, sl_slice topic);

/* --- reader_scan.c: the log --- */

/* The next event that the scan finds, into *out; the scan stays in front of it until reader_take. SL_NOTFOUND:
 * none now. */
sl_status reader_peek(sl_reader *r, found *out);
/* The reader has seen it. */
void reader_take(sl_reader *r);
/* Reads the record of an item, into it->fetched. SL_NOTFOUND: it was trimmed, or given up by a full store.
 * SL_E_CORRUPT. */
sl_status reader_fetch(sl_reader *r, item *it);
bool reader_filter_ok(sl_slice globs);

/* --- reader_commit.c: the disk --- */

/* Creates the reader or finds it, and its items. What was in hand when its last process was killed is dealt
 * with. */
sl_status reader_load(sl_reader *r);
bool reader_unsaved(const sl_reader *r);
/* One commit of all that is not saved, and a look at what others did meanwhile. On failure nothing is
 * forgotten, and the next one tries again. */
sl_status reader_save(sl_reader *r);
/* Takes up what others have changed since the last commit. */
sl_status reader_look(sl_reader *r);

/* --- reader.c --- */

/* The item is done with, in whatever way the caller has counted: its entry on disk goes with the next commit.
 * Room in r->gone must have been made (reader_room). Frees it. */
sl_status reader_room(sl_reader *r, const item *it);
void reader_settle(sl_reader *r, item *it);
/* Its event is no more. SL_E_NOMEM: it is left as it was. Frees it. */
sl_status reader_miss(sl_reader *r, item *it);
/* The item, blamed, becomes a dead letter. SL_E_NOMEM: it is left as it was. Frees it. */
sl_status reader_bury(sl_reader *r, item *it);
#endif
