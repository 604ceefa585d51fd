/* A trace on the terminal. What does not fit the width goes in this order: the bar, offsets, the source,
 * where an event went, the end of its type. No line wraps. Which store an event is of stays. */
#ifndef TOOLS_TRACE_DRAW_H
#define TOOLS_TRACE_DRAW_H

#include "output.h"
#include "trace_layout.h"

typedef struct trace_row {
  char *type, *source;        /* made safe */
  char *place, *place_short;  /* with and without partition and offset */
  char *note;                 /* what is out of the ordinary; NULL: nothing */
  sl_state state;
  int64_t occurred_us, appended_us, settled_us; /* 0: not known */
  const char *store;          /* the name of the store it is of; NULL: there is but one */
  bool moved;                 /* its times are not as its store has them, but as another clock would (skew.h) */
  bool gap_moved;             /* ... or those of the event before it */
} trace_row;

/* Rows as they are asked for, each for a short while: a long story has no room for all their texts. */
typedef struct trace_rows {
  void (*get)(void *arg, size_t at, trace_row *row); /* what it sets lives until the next call */
  void *arg;
} trace_rows;

/* `rows` are of nodes[0..count). */
void trace_draw(output *o, const trace_node *nodes, const trace_rows *rows, size_t count,
                const trace_shape *shape);
/* The branches that lead to a node, as they stand before its name. */
void trace_tree(text *out, const trace_node *nodes, size_t at, bool unicode);
/* The same events as a table of their times. */
void trace_times(output *o, const trace_node *nodes, const trace_rows *rows, size_t count,
                 const trace_shape *shape);
#endif
