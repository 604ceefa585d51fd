/* The events of a trace: some 110 bytes each, in a file beyond a bound (room.h), so that a story may have
 * millions. What many have in common is kept once, what only a few lines need is read again. */
#ifndef TOOLS_TRACE_EVENTS_H
#define TOOLS_TRACE_EVENTS_H

#include "clocks.h"
#include "story_ids.h"
#include "trace_notes.h"

typedef struct event_row event_row;

typedef struct trace_events {
  tool *tool;
  trace_node *nodes;
  event_row *rows;                /* rows[i] belongs to nodes[i] */
  size_t count;
  room node_room, row_room;
  size_t untimed;                 /* without a time of their own */
  uint64_t states[SL_STATE_COUNT];
  id_set topics, correlations;    /* distinct */
  id_set texts;                   /* types, producers, errors */
  room_texts notes;
  sl_stats *stats;                /* of each source, for places in line */
  skew *skew;                     /* of several */
  copies copies;
  tally tallies[SOURCES_MOST];
  text type, source, place, place_short; /* of the row that was asked for last */
} trace_events;

void trace_events_begin(trace_events *e, tool *t);
void trace_events_add(void *trace_events_, const sl_record *r); /* for tool_each */
/* All times as the clock of the first source would have had them, as far as that is known. */
void trace_events_settle(trace_events *e);
/* For trace_notes. */
void trace_events_note(void *trace_events_, size_t at, char *words);
bool trace_events_noted(const trace_events *e, size_t at);
sl_state trace_events_state(const trace_events *e, size_t at);
/* For trace_draw. */
trace_rows trace_events_rows(trace_events *e);
void trace_events_free(trace_events *e);
#endif
