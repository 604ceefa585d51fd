/* The order and shape of a trace: who caused whom, gaps in time. Pure; knows nothing of stores or terminals.
 * Works on any causal graph: several roots, cycles, chains of any depth; linear but for one sort. A story may
 * have millions of events, so a node is 56 bytes, and ids are told apart by a hash of 64 bits: in a story of
 * 100,000 two are taken for one in one of three thousand million. */
#ifndef TOOLS_TRACE_LAYOUT_H
#define TOOLS_TRACE_LAYOUT_H

#include "room.h"

#define TRACE_NONE UINT32_MAX /* and so many nodes at most */

typedef enum trace_origin {
  TRACE_ROOT,      /* names no cause, itself, or the correlation as a whole: all normal */
  TRACE_CHILD,     /* its cause is in the trace: `parent` */
  TRACE_ELSEWHERE, /* its cause is not in the trace */
  TRACE_CYCLE      /* causes that lead back to it; drawn as a root */
} trace_origin;

typedef struct trace_node {
  /* Filled in by the caller, ascending seq. */
  uint64_t seq;
  int64_t at_us;
  uint64_t id, cause, story; /* trace_key() of its event id, of its cause's, of its correlation's */
  uint16_t source;   /* whose seq it is, where there are several */
  bool duplicate;    /* of an earlier event: never the parent of anything */

  /* Filled in by trace_layout. */
  bool last;         /* no sibling follows */
  uint8_t origin;    /* trace_origin */
  uint32_t parent;   /* TRACE_NONE: none */
  uint32_t depth;    /* 0: a root */
  uint32_t earlier;  /* the event before it in time; TRACE_NONE: the first */
} trace_node;

typedef struct trace_shape {
  uint32_t *order;   /* as drawn: causes before effects, siblings by time */
  int64_t begin_us, end_us;
  uint32_t largest;  /* the node behind the largest gap; TRACE_NONE: there is no gap */
  room room;         /* of order */
} trace_shape;

/* 0 of an empty id, and of no other. */
uint64_t trace_key(sl_slice id);
/* Time since the event before it. */
int64_t trace_gap(const trace_node *nodes, size_t at);

/* False: out of memory. trace_shape_free ends it (idempotent). */
bool trace_layout(trace_node *nodes, size_t count, trace_shape *shape);
void trace_shape_free(trace_shape *shape);
#endif
