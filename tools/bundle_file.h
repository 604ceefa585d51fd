/* A file of events as `sidelog bundle` and `sidelog export` write it, read like a store: the same queries,
 * nothing written. A bundle of several stores has a part for each. The file may be larger than memory: of an
 * event some 70 bytes are kept, the rest is read when it is wanted. */
#ifndef TOOLS_BUNDLE_FILE_H
#define TOOLS_BUNDLE_FILE_H

#include "event_line.h"

typedef struct bundle_file bundle_file;

/* Is said of a line that is no event, or of the whole file (line 0). */
typedef void bundle_fault_fn(void *arg, const char *path, uint64_t line, const char *words);

/* Reads and checks all of it; a bad line is said and passed over. "-" is standard input. NULL: it cannot be read,
 * is of a newer form, or has no event: `why` says it. bundle_file_close ends it; accepts NULL. */
bundle_file *bundle_file_open(const char *path, bundle_fault_fn *fault, void *arg, text *why);
void bundle_file_close(bundle_file *b);

typedef struct bundle_about {
  const char *name, *host, *store_id; /* as the bundle has them; "" where it does not say */
  int64_t made_us;                    /* 0: not said */
  bool headed;                        /* it says these things at all: `export` does not */
  bool redacted;
  sl_stats stats;                     /* as far as it is said: kept is of the part itself */
  int64_t oldest_us;                  /* append of the oldest event that the store had then; 0: not said */
} bundle_about;
size_t bundle_parts(const bundle_file *b);
void bundle_about_of(const bundle_file *b, size_t part, bundle_about *about);

/* As sl_iter, sl_resolve. The record lives until the next call on the iterator. */
typedef struct bundle_iter bundle_iter;
sl_status bundle_iter_start(bundle_file *b, size_t part, const sl_query *query, bundle_iter **iter);
sl_status bundle_iter_filter(bundle_iter *i, uint32_t needs, sl_filter_fn *fn, void *arg);
sl_status bundle_iter_next(bundle_iter *i, const sl_record **record);
uint64_t bundle_iter_scanned(const bundle_iter *i);
void bundle_iter_close(bundle_iter *i);
sl_status bundle_resolve(bundle_file *b, size_t part, sl_id_kind kind, sl_slice typed, char (*out)[SL_ID_MAX],
                         size_t max, size_t *count);

/* Does a record meet a query, its limit aside? */
bool record_fits(const sl_query *q, const sl_record *r);
#endif
