#include "trace_layout.h"

#include <stdlib.h>
#include <string.h>

typedef struct id_table {
  size_t *slots, mask;
} id_table;

static bool same(sl_slice a, sl_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static size_t hash(sl_slice id) {
  const unsigned char *p = id.data;
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < id.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  return (size_t)(h ^ h >> 29);
}

/* The slot of an id: the node that has it, or TRACE_NONE. */
static size_t *slot_of(const id_table *table, const trace_node *nodes, sl_slice id) {
  size_t i = hash(id) & table->mask;
  while (table->slots[i] != TRACE_NONE && !same(nodes[table->slots[i]].event_id, id))
    i = (i + 1) & table->mask;
  return &table->slots[i];
}

static bool table_fill(id_table *table, const trace_node *nodes, size_t count) {
  size_t size = 16;
  while (size < count * 2)
    size *= 2;
  table->mask = size - 1;
  table->slots = malloc(size * sizeof *table->slots);
  if (!table->slots)
    return false;
  for (size_t i = 0; i < size; i++)
    table->slots[i] = TRACE_NONE;
  /* One id may stand in several topics; the first event that is no duplicate speaks for it. */
  for (size_t i = 0; i < count; i++) {
    size_t *slot = slot_of(table, nodes, nodes[i].event_id);
    if (*slot == TRACE_NONE || (nodes[*slot].duplicate && !nodes[i].duplicate))
      *slot = i;
  }
  return true;
}

static void find_cause(trace_node *nodes, size_t i, const id_table *table) {
  trace_node *n = &nodes[i];
  n->parent = TRACE_NONE;
  n->origin = TRACE_ROOT;
  if (n->causation_id.len == 0 || same(n->causation_id, n->event_id))
    return;
  size_t cause = *slot_of(table, nodes, n->causation_id);
  if (cause != TRACE_NONE && cause != i) {
    n->parent = cause;
    n->origin = TRACE_CHILD;
  } else if (!same(n->causation_id, n->correlation_id)) {
    n->origin = TRACE_ELSEWHERE;
  }
}

/* Walks up from every node; coming upon the own trail closes a cycle, which is cut above its earliest node.
 */
static void cut_cycles(trace_node *nodes, const size_t *by_time, size_t count, size_t *trail) {
  memset(trail, 0, count * sizeof *trail);
  for (size_t k = 0; k < count; k++) {
    size_t at = by_time[k];
    while (at != TRACE_NONE && trail[at] == 0) {
      trail[at] = k + 1;
      at = nodes[at].parent;
    }
    if (at == TRACE_NONE || trail[at] != k + 1)
      continue;
    size_t first = at;
    for (size_t i = nodes[at].parent; i != at; i = nodes[i].parent)
      if (nodes[i].at_us < nodes[first].at_us || (nodes[i].at_us == nodes[first].at_us && i < first))
        first = i;
    nodes[first].parent = TRACE_NONE;
    nodes[first].origin = TRACE_CYCLE;
  }
}

static size_t link_children(trace_node *nodes, const size_t *by_time, size_t count) {
  size_t roots = TRACE_NONE;
  for (size_t i = 0; i < count; i++)
    nodes[i].child = TRACE_NONE;
  for (size_t k = count; k > 0; k--) {
    trace_node *n = &nodes[by_time[k - 1]];
    size_t *head = n->parent == TRACE_NONE ? &roots : &nodes[n->parent].child;
    n->sibling = *head;
    n->last = *head == TRACE_NONE;
    *head = by_time[k - 1];
  }
  return roots;
}

/* Depth first, without recursion: a chain may be a hundred thousand deep. */
static void put_in_order(trace_node *nodes, size_t roots, size_t *order) {
  size_t at = roots, done = 0;
  uint32_t depth = 0;
  while (at != TRACE_NONE) {
    order[done++] = at;
    nodes[at].depth = depth;
    if (nodes[at].child != TRACE_NONE) {
      at = nodes[at].child;
      depth++;
      continue;
    }
    while (at != TRACE_NONE && nodes[at].sibling == TRACE_NONE) {
      at = nodes[at].parent;
      depth -= at != TRACE_NONE;
    }
    if (at != TRACE_NONE)
      at = nodes[at].sibling;
  }
}

typedef struct moment {
  int64_t at_us;
  size_t node;
} moment;

static int compare(const void *a_, const void *b_) {
  const moment *a = a_, *b = b_;
  if (a->at_us != b->at_us)
    return a->at_us < b->at_us ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

static bool sort_by_time(const trace_node *nodes, size_t count, size_t *by_time) {
  moment *moments = malloc((count + 1) * sizeof *moments);
  if (!moments)
    return false;
  for (size_t i = 0; i < count; i++)
    moments[i] = (moment){nodes[i].at_us, i};
  qsort(moments, count, sizeof *moments, compare);
  for (size_t i = 0; i < count; i++)
    by_time[i] = moments[i].node;
  free(moments);
  return true;
}

static void measure_gaps(trace_node *nodes, const size_t *by_time, size_t count, trace_shape *shape) {
  shape->largest = TRACE_NONE;
  for (size_t k = 0; k < count; k++) {
    trace_node *n = &nodes[by_time[k]];
    n->earlier = k ? by_time[k - 1] : TRACE_NONE;
    n->gap_us = k ? n->at_us - nodes[by_time[k - 1]].at_us : 0;
    if (n->gap_us > 0 && (shape->largest == TRACE_NONE || n->gap_us > nodes[shape->largest].gap_us))
      shape->largest = by_time[k];
  }
  shape->begin_us = count ? nodes[by_time[0]].at_us : 0;
  shape->end_us = count ? nodes[by_time[count - 1]].at_us : 0;
}

bool trace_layout(trace_node *nodes, size_t count, trace_shape *shape) {
  id_table table = {0};
  size_t *by_time = malloc((count + 1) * sizeof *by_time), *trail = malloc((count + 1) * sizeof *trail);
  bool fine = by_time && trail && table_fill(&table, nodes, count) && sort_by_time(nodes, count, by_time);
  *shape = (trace_shape){.largest = TRACE_NONE};
  if (fine) {
    for (size_t i = 0; i < count; i++)
      find_cause(nodes, i, &table);
    cut_cycles(nodes, by_time, count, trail);
    measure_gaps(nodes, by_time, count, shape);
    put_in_order(nodes, link_children(nodes, by_time, count), trail);
    shape->order = trail;
    trail = NULL;
  }
  free(table.slots);
  free(by_time);
  free(trail);
  return fine;
}

void trace_shape_free(trace_shape *shape) {
  free(shape->order);
  *shape = (trace_shape){.largest = TRACE_NONE};
}
