/* A story as one HTML page that loads nothing and runs nothing. Whatever the bytes of events, they are text in it:
 * markup is escaped, control and direction characters and invalid bytes are written as escapes. */
#ifndef TOOLS_BUNDLE_PAGE_H
#define TOOLS_BUNDLE_PAGE_H

#include "clocks.h"
#include "trace_notes.h"

enum {
  PAGE_EVENTS = 10000,            /* the page shows so many; the others are counted */
  PAGE_VALUE = 64 << 10,          /* of a value so many bytes */
  PAGE_VALUES = 16 << 20          /* and of all values */
};

typedef struct page {
  tool *tool;
  bool redacted;
  trace_node *nodes; /* with ids as they are in the store */
  trace_row *rows;   /* as HTML */
  size_t shown, cap;
  uint64_t count;    /* of all */
  uint64_t states[SL_STATE_COUNT];
  size_t value_bytes; /* shown so far */
  text events;        /* as HTML */
  /* Of several sources. */
  skew *skew;
  copies copies;
  tally tallies[SOURCES_MOST];
} page;

/* Zeroed but for `tool` and `redacted`, a page is empty. `r` is the event as stored, `shown` as it is to be
 * seen. */
void page_add(page *p, const sl_record *r, const sl_record *shown);
/* False: out of memory. `id` of the correlation, as it is to be seen; `lines`: the name of the file beside it. */
bool page_write(page *p, output *o, sl_slice id, const char *lines);
void page_free(page *p); /* idempotent */
#endif
