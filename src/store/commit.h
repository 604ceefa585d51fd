/* One transaction of log/ with the records of several appends. group.c decides which; here it is written. */
#ifndef SL_STORE_COMMIT_H
#define SL_STORE_COMMIT_H
#include "store/group.h"
#include "store/log_inner.h"

#define COMMIT_UNITS_MAX 65u

typedef struct commit_unit {
  group_batch batch;
  int slot;           /* whose append it is: the ticket is written under it; -1: in no slot */
  uint64_t ticket;    /* 0: none is written */
  uint64_t first_seq; /* out */
} commit_unit;

/* How far a commit that failed had come. */
typedef enum commit_stage {
  COMMIT_ABORTED,   /* nothing is in the log */
  COMMIT_UNCERTAIN  /* it may be in the log, which could not be asked: SL_E_UNCERTAIN. The tickets tell */
} commit_stage;

/* A commit on its way. The units in the order of their seqs. */
typedef struct log_commit {
  sl_store *store;
  db_txn *txn;
  log_meta meta;
  uint64_t last;       /* seq */
  int64_t newest_us;
  uint64_t pages;      /* granted by the quota */
  dict_pending pending;
  sl_buf changed;      /* records of the unit at hand that had to be encoded anew */
  commit_unit units[COMMIT_UNITS_MAX];
  size_t count;
} log_commit;

/* Begins in a write transaction of the caller's, which commit_end or commit_abandon ends. */
void commit_begin(log_commit *c, sl_store *store, db_txn *txn);
/* Writes the units' records, ordered by their append times among each other. SL_E_FULL: by the quota they do not fit
 * beside what was added before, nothing of them is written, and what was may still be committed. Any other failure is
 * the whole commit's. */
sl_status commit_add(log_commit *c, const commit_unit *units, size_t count);
/* Writes the tickets, and commits. `stage` is set on failure only. */
sl_status commit_end(log_commit *c, commit_stage *stage);
void commit_abandon(log_commit *c);

/* All of it, for units that are there at once; their first_seq is set. SL_E_FULL: they do not fit together. */
sl_status commit_units(sl_store *store, db_txn *txn, commit_unit *units, size_t count, commit_stage *stage);

/* Does the log hold this ticket? *first_seq of its append. SL_E_CORRUPT: the tickets are damaged. */
sl_status commit_find_ticket(db_txn *txn, unsigned slot, uint64_t ticket, bool *found, uint64_t *first_seq);
#endif
