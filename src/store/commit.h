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
  COMMIT_REFUSED,   /* the quota: nothing is written, and the transaction is still open for another try */
  COMMIT_ABORTED,   /* nothing is in the log; the transaction has ended */
  COMMIT_UNCERTAIN  /* it may be in the log, which could not be asked: SL_E_UNCERTAIN. The tickets tell */
} commit_stage;

/* Writes the units' records, ordered by their append times (units is sorted then), and their tickets, and commits.
 * SL_E_FULL with COMMIT_REFUSED: they do not fit together. `stage` is set on failure only. */
sl_status commit_units(sl_store *store, db_txn *txn, commit_unit *units, size_t count, commit_stage *stage);

/* Does the log hold this ticket? *first_seq of its append. */
sl_status commit_find_ticket(db_txn *txn, unsigned slot, uint64_t ticket, bool *found, uint64_t *first_seq);
#endif
