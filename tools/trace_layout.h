/* The order and shape of a trace: who caused whom, gaps in time. Pure; knows nothing of stores or terminals.
 * Works on any causal graph: several roots, cycles, chains of any depth; linear but for one sort. */
#ifndef TOOLS_TRACE_LAYOUT_H
#define TOOLS_TRACE_LAYOUT_H

#include <sidelog/sidelog.h>

#include <stdbool.h>

#define TRACE_NONE ((size_t) - 1)

typedef enum trace_origin {
  TRACE_ROOT,      /* names no cause, itself, or the correlation as a whole: all normal */
  TRACE_CHILD,     /* its cause is in the trace: `parent` */
  TRACE_ELSEWHERE, /* its cause is not in the trace */
  TRACE_CYCLE      /* causes that lead back to it; drawn as a root */
} trace_origin;

typedef struct trace_node {
  /* Filled in by the caller, ascending seq. The slices stay the caller's. */
  uint64_t seq;
  int64_t at_us;
  sl_slice event_id, correlation_id, causation_id;
  bool duplicate; /* of an earlier event: never the parent of anything */
  uint32_t source; /* whose seq it is, where there are several */

  /* Filled in by trace_layout. */
  trace_origin origin;
  size_t parent;  /* TRACE_NONE: none */
  uint32_t depth; /* 0: a root */
  bool last;      /* no sibling follows */
  size_t earlier; /* the event before it in time; TRACE_NONE: the first */
  int64_t gap_us; /* since then */
  size_t child, sibling; /* links while laying out */
} trace_node;

typedef struct trace_shape {
  size_t *order;   /* as drawn: causes before effects, siblings by time */
  int64_t begin_us, end_us;
  size_t largest;  /* the node behind the largest gap; TRACE_NONE: there is no gap */
} trace_shape;

/* False: out of memory. trace_shape_free ends it (idempotent). */
bool trace_layout(trace_node *nodes, size_t count, trace_shape *shape);
void trace_shape_free(trace_shape *shape);
#endif
