/* Where a command reads from: one store, or several, and bundles of stores that are elsewhere. All that read go
 * through here, so that several stores are one story and a bundle is a store. */
#ifndef TOOLS_SOURCES_H
#define TOOLS_SOURCES_H

#include "bundle_file.h"
#include "tool.h"

typedef struct source {
  char *name;          /* short, unique among them, safe for a terminal */
  char *path;
  sl_store *store;     /* NULL: it is a part of a bundle */
  bundle_file *bundle;
  size_t part;
  bool owner;          /* of `bundle`, which several parts share */
  bool redacted;       /* secrets in it may be masked */
  bool named;          /* on the command line */
  int64_t made_us;     /* of a bundle; 0: not said */
  int64_t shift_us;    /* what is taken from its times to tell them together with the first source's (skew.h) */
  uint64_t told_seq;   /* the first of its events that is told in this look (clocks.h); 0: none */
} source;

enum { SOURCES_MOST = 32 };

/* Opens every --store of the command line into t->sources: [NAME=]FOLDER, or [NAME=]FILE or - of a bundle. With
 * one store t->store is that one. 0, or an exit status after saying why. */
int sources_open(tool *t);
void sources_close(tool *t); /* idempotent */

/* Is there more than one? */
bool many(const tool *t);
/* "the store at PATH", "PATH" of a bundle, "these 3 stores". Safe. */
void sources_words(text *out, const tool *t);
/* "in this store", "in any of these stores" ... after "is not". */
const char *sources_here(const tool *t);

/* "seq 7", and of several "seq 7 of NAME". */
void place_words(text *out, const tool *t, size_t source, uint64_t seq);

/* As sl_stats_get, of a bundle as far as it says. `oldest_us` (may be NULL): append of the oldest event that its
 * store kept. */
sl_status source_stats(tool *t, size_t source, sl_stats *stats, int64_t *oldest_us);
/* "" where it is not known. */
const char *source_store_id(const tool *t, size_t source);

/* As sl_resolve, in all of them. */
sl_status sources_resolve(tool *t, sl_id_kind kind, sl_slice typed, char (*out)[SL_ID_MAX], size_t max,
                          size_t *count);

/* -------------------------------------------------------------- reading --- */

/* As sl_iter, over all sources: by the time of the append (less shift_us), in one source by seq. An event that
 * several have, with the same contents, comes once: from the first of those whose copy meets the query. */
typedef struct look look;
sl_status look_start(tool *t, const sl_query *query, look **out);
/* Of one source alone. */
sl_status look_start_in(tool *t, size_t source, const sl_query *query, look **out);
/* Before the first look_next: only the newest `count` of each source are looked at. */
void look_recent(look *l, uint64_t count);
/* ... : every copy comes, each as its source has it. */
void look_copies_too(look *l);
sl_status look_filter(look *l, uint32_t needs, sl_filter_fn *fn, void *arg);
/* After SL_E_CORRUPT go on, as with sl_iter_next. */
sl_status look_next(look *l, const sl_record **record);
size_t look_source(const look *l); /* of what look_next returned last, failures too */
uint64_t look_scanned(const look *l);
void look_close(look *l); /* accepts NULL */

/* The first event that meets a query, as a look has it; NULL: there is none. look_close ends it. */
const sl_record *look_first(tool *t, const sl_query *query, look **out);
/* The query for what a person's EVENT names: an exact event id, else a seq, else a unique prefix of an event id.
 * `id` is room for that; EXIT_DONE, also where no event has the seq, or what was said of an id that is not
 * here. */
int look_event(tool *t, const char *typed, sl_query *query, char id[SL_ID_MAX]);

/* The ids of one event of one source, each where it is wanted; "" where there is none. False: it is not there. */
bool event_ids(tool *t, size_t source, uint64_t seq, char event[SL_ID_MAX], char correlation[SL_ID_MAX],
               char causation[SL_ID_MAX]);

/* Where else an event is. */
typedef struct copy {
  size_t source;
  uint64_t seq;
  int64_t appended_us, settled_us;
  sl_state state;
  int32_t partition;
  int64_t offset;
  char *place;    /* record_place, with the offset */
  bool differs;   /* under the same id and topic something else */
} copy;
typedef struct copies {
  copy *items;
  size_t count, cap;
} copies;
/* The other sources' events of this id and topic, duplicates aside. Zeroed `copies` are empty, filled ones are
 * reused. */
void copies_find(tool *t, size_t from, const sl_record *r, copies *out);
void copies_free(copies *c); /* idempotent */
/* "also in b: sent orders.v1[0]@7", "differs from seq 9 of c of the same id"; "" when there are none. Safe. */
void copies_words(text *out, const tool *t, const copies *c);

/* Lists of events: JSON lines, or a table that fits the terminal. Shared by query and tail. */
typedef struct lister {
  tool *tool;
  json *json;
  table *table;
  int parts;
  bool marked;     /* with the names of stores */
  copies copies;
} lister;
void lister_begin(lister *l, tool *t, int json_parts);
void lister_put(void *lister_, const sl_record *r); /* for tool_each */
void lister_flush(lister *l);
void lister_end(lister *l);
#endif
