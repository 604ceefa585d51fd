/* Anomalies of one story, each by a documented rule (docs/cli.md, "check"). */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include "clocks.h"
#include "hops.h"
#include "story_ids.h"
#include "trace_layout.h"

#include <sidelog/envelope.h>

enum { CHECK_KINDS = 16 }; /* at most */

typedef struct check_event {
  sl_slice event_id, correlation_id, causation_id;
  const char *type, *error; /* error: of a dead or dropped one, made safe */
  const char *broken;     /* what is wrong with the envelope; NULL: nothing */
  sl_state state;
  uint64_t duplicate_of;
  bool timed;             /* it has a time of its own */
  const char *elsewhere;  /* of several sources: what became of it in others; NULL: it is in none of them */
  const char *differs;    /* ... and whose event of the same id is another */
} check_event;

typedef struct story {
  trace_node *nodes;
  check_event *events;    /* events[i] belongs to nodes[i] */
  size_t count;
  bool damaged;           /* events of it could not be read */
  room node_room, event_room;
  id_set common;          /* types and correlations, which many events have in common */
  room_texts texts;       /* all else */
  skew *skew;             /* of several sources; its owner is who made it */
  copies copies;
} story;

typedef struct check {
  tool *tool;
  hops *usual[SOURCES_MOST]; /* what other stories say, in each source: between two clocks nothing is usual */
  bool told[SOURCES_MOST];   /* that its clock differs */
  bool learned_all;       /* ... and this one too */
  sl_envelope_reader *reader;
  /* of each source; oldest_us: append of the oldest event kept */
  struct known { sl_stats stats; int64_t oldest_us; } *known;
  json *json;
  uint64_t stories, events, findings;
  struct { const char *kind; uint64_t count; } kinds[CHECK_KINDS]; /* of findings, as they came */
} check;

/* For tool_each: takes the next event of the story. */
typedef struct story_reader {
  check *check;
  story *story;
} story_reader;
void story_add(void *story_reader_, const sl_record *r);
void story_free(story *s); /* idempotent */

/* Called for every finding. */
typedef void check_fn(void *arg, const story *s, size_t at, const char *kind, const char *words);
/* False: out of memory. */
bool check_story(check *c, story *s, check_fn *found, void *arg);
#endif
