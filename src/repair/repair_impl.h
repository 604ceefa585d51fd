/* What repair*.c share: what was found in the files of a damaged store, and what is to be written of it. */
#ifndef SL_STORE_REPAIR_IMPL_H
#define SL_STORE_REPAIR_IMPL_H
#include "delivery/book_impl.h"
#include "repair/pages.h"
#include "store/log_inner.h"

#define REPAIR_LOST_CLASS BOOK_CLASS_LOST     /* of letters, and the type of records that stand for lost events */
#define REPAIR_UNKNOWN_TOPIC "sidelog.lost"   /* where even the topic is lost */

/* Where bytes lie in a data file: nothing is kept in memory but this. */
typedef struct repair_item {
  uint64_t seq, at;
  int64_t rank; /* of several searched under one seq the largest is the newest */
  uint32_t len;
  bool searched; /* not by the tree, but by a look at every page */
} repair_item;

typedef struct repair_items {
  repair_item *list;
  size_t count, cap;
  bool failed; /* out of memory */
} repair_items;
void repair_add(repair_items *items, repair_item item);
/* Ascending by seq, one of each: those of the tree before those searched. */
void repair_sort(repair_items *items);
const repair_item *repair_find(const repair_items *items, uint64_t seq);

typedef struct repair_range {
  uint64_t first, last;
  const char *why;
  uint64_t reach; /* once sorted: the largest `last` up to here */
} repair_range;

typedef struct repair_ranges {
  repair_range *list;
  size_t count, cap;
  bool failed, sorted;
} repair_ranges;
void repair_add_range(repair_ranges *ranges, uint64_t first, uint64_t last, const char *why);
const char *repair_why(repair_ranges *ranges, uint64_t seq); /* NULL: not in one */

typedef struct repair_pair { char key[129]; sl_buf value; } repair_pair;
typedef struct repair_pairs {
  repair_pair *list;
  size_t count, cap;
  bool failed, damaged;
} repair_pairs;
const sl_buf *repair_value(const repair_pairs *pairs, const char *key); /* NULL: not there */

typedef struct repair repair;

typedef struct repair_log {
  pages *file;
  repair_pairs meta;
  repair_items events;
  repair_ranges damage;
  char *names[DICT_MAX + 1]; /* NULL: no such number, or its name cannot be told */
  bool head_known;
  log_meta head;
  uint64_t entries;          /* of the table of events, as LMDB counted; 0: not known */
  bool old_table;            /* before the last commits, perhaps: the newest head of that table is lost */
  uint64_t first_seq, last_seq;
} repair_log;

typedef struct repair_book {
  pages *file;
  repair_pairs meta, cursors, notes;
  repair_items receipts, sparse, letters;
  repair_ranges damage;      /* of receipts, sparse entries and letters */
  const char *wrong;         /* why it cannot be trusted; NULL: it can */
  char wrong_text[512];
  sl_progress cursor, intent;
  sl_lane lanes[SL_LANES_MAX], intent_lanes[SL_LANES_MAX];
  bool has_intent;
  uint64_t attempt;
  book_totals totals;
} repair_book;

struct repair {
  const char *source, *target;
  char *building;            /* the folder that becomes the target at the end */
  uint32_t flags;
  const char *const *names;
  size_t name_count;
  sl_repair_fn *fn;
  void *arg;
  sl_repair_report report;
  repair_log log;
  repair_book book;
  struct { bool has_id; uint8_t id[16]; uint64_t watermark; } index; /* watermark 0: not known */
  uint8_t id[16];
  bool keep;                 /* the delivery state */
  bool starved;              /* something could not be asked for want of memory */
  book_totals totals;        /* of the new store */
};

/* Tells the caller, and counts as a problem. seqs 0: not of events. */
void repair_tell(repair *r, sl_repair_kind kind, uint64_t first, uint64_t last, const char *format, ...)
    SL_PRINTF(5, 6);

/* All entries of a table with plain keys. */
sl_status repair_read_pairs(pages *file, const char *table, repair_pairs *out);
/* The bytes of an item, into `out`. */
sl_status repair_bytes(pages *file, const repair_item *item, sl_buf *out);

/* repair_log.c: finds everything in log/. r->book is read already: it tells what has been settled. */
sl_status repair_read_log(repair *r);
/* A record as it is in the file; topic and type are filled in. SL_E_CORRUPT: a name is lost. */
sl_status repair_record(repair *r, const repair_item *item, sl_buf *bytes, sl_parts *parts);
/* repair_book.c: finds everything in delivery/, and judges it. */
sl_status repair_read_book(repair *r);
/* Totals as they stand on disk. */
/* Is the event settled, by the cursor that was found? `topic` as in book_view_settled. */
bool repair_settled(const repair *r, uint64_t seq, sl_slice topic);
/* Is it known that trim has removed the event? Receipts are forgotten after their events, so a settled one without
 * a receipt was. */
bool repair_was_trimmed(const repair *r, uint64_t seq);
/* The lane in which the event waits, by its receipt; NULL: in none. */
const sl_lane *repair_waits_in(repair *r, uint64_t seq);
/* repair_write.c: makes the new store, verifies it and puts it in its place. */
sl_status repair_write(repair *r);

/* What the new log holds, for its books. */
typedef struct repair_written {
  uint64_t first_seq, last_seq, kept;
  uint64_t start;   /* the first seq that is not known to have been trimmed */
  uint64_t waiting; /* in lanes, at or below the cursor */
  uint64_t pending_copies;
  uint64_t tombstones; /* not settled */
} repair_written;
/* repair_settle.c: the delivery state of the new store, whose log is there. */
sl_status repair_write_book(repair *r, sl_store *store, const repair_written *w);
/* repair_readers.c: readers/ of the new store, which has its id and its log. */
sl_status repair_write_readers(repair *r, sl_store *store, uint64_t last_seq);
void repair_free_pairs(repair_pairs *pairs);
#endif
