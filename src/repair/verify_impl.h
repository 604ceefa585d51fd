/* What verify*.c share. Private to them. */
#ifndef SL_STORE_VERIFY_IMPL_H
#define SL_STORE_VERIFY_IMPL_H
#include "delivery/book_impl.h"
#include "store/snapshot.h"

#define VERIFY_STEP 1000u /* records, index entries or receipts in one snapshot */

typedef struct verifier {
  sl_store *store;
  sl_verify_fn *fn;
  void *arg;
  sl_verify_report report;
  snapshot snap;
  uint64_t verdicts[SL_VERDICT_LANE + 1]; /* counted by the pass over receipts */
  uint64_t timed_seq;                     /* the record before, and its clamped time */
  int64_t timed_us;
} verifier;

/* Counts and tells one problem; counter may be NULL. */
void verify_problem(verifier *v, uint64_t *counter, const char *format, ...) SL_PRINTF(3, 4);

/* verify_parts.c */

/* Records come in ascending: does time fall without an era? In v->snap. */
sl_status verify_time(verifier *v, uint64_t seq, int64_t clamped_us);
/* The dictionary both ways, the list of eras, the tickets of group commit. */
sl_status verify_names(verifier *v);
/* Every event that the index calls a duplicate is one. */
sl_status verify_duplicates(verifier *v);
/* Blocks, sparse entries, letters and named cursors against cursor and intent. */
sl_status verify_book(verifier *v);
#endif
