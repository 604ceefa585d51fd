/* An event as `sidelog export` and `sidelog bundle` write it, back into a record. Pure. Whatever stands in the
 * line, what comes out keeps the limits that the store keeps: ids of at most 255 bytes, without NUL. */
#ifndef TOOLS_EVENT_LINE_H
#define TOOLS_EVENT_LINE_H

#include "text.h"

enum { BUNDLE_VERSION = 1 };

/* Zeroed is empty. */
typedef struct event_line {
  sl_record record;   /* slices are of the line that was read, or of `arena` */
  sl_slice store;     /* the source that it names; empty: none */
  char *arena;
  size_t used, cap, header_cap;
  sl_header *headers;
} event_line;

typedef enum line_kind {
  LINE_EVENT,
  LINE_HEAD,      /* a bundle begins: see bundle_head */
  LINE_END,       /* it is whole */
  LINE_OTHER,     /* JSON of another kind (what --json adds to events): of no use, and no damage */
  LINE_DAMAGED,   /* `why` says it */
  LINE_NEWER      /* a bundle of a later form begins */
} line_kind;

/* `line` must live as long as the record is used. */
line_kind event_line_read(event_line *e, sl_slice line, text *why);
void event_line_free(event_line *e); /* idempotent */

/* What the first line of a bundle says of a source. Texts are copies. */
typedef struct bundle_part {
  char *name, *store_id;  /* "" where it is not said */
  sl_stats stats;         /* first_seq, last_seq, trimmed, kept, delivery_seq, lanes */
  int64_t oldest_us;      /* append of its oldest event */
} bundle_part;
typedef struct bundle_head {
  char *host;
  int64_t made_us;
  bool redacted;
  bundle_part *parts;
  size_t count;
} bundle_head;
/* Of a LINE_HEAD. bundle_head_free ends it (idempotent). */
void bundle_head_read(bundle_head *h, sl_slice line);
void bundle_head_free(bundle_head *h);
/* How many events a LINE_END says that there are. */
uint64_t bundle_end_read(sl_slice line);
#endif
