#include "trace_layout.h"

#include <stdlib.h>
#include <string.h>

typedef struct id_table {
  room room;
  uint32_t *slots;
  size_t mask;
} id_table;

uint64_t trace_key(sl_slice id) {
  const unsigned char *p = id.data;
  uint64_t h = 14695981039346656037u;
  if (id.len == 0)
    return 0;
  for (size_t i = 0; i < id.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
  h ^= h >> 32;
  return h ? h : 1;
}

int64_t trace_gap(const trace_node *nodes, size_t at) {
  return nodes[at].earlier == TRACE_NONE ? 0 : nodes[at].at_us - nodes[nodes[at].earlier].at_us;
}

/* The slot of an id: the node that has it, or TRACE_NONE. */
static uint32_t *slot_of(const id_table *table, const trace_node *nodes, uint64_t id) {
  size_t i = id & table->mask;
  while (table->slots[i] != TRACE_NONE && nodes[table->slots[i]].id != id)
    i = (i + 1) & table->mask;
  return &table->slots[i];
}

static bool table_fill(id_table *table, const trace_node *nodes, size_t count) {
  size_t size = 16;
  while (size < count * 2)
    size *= 2;
  table->mask = size - 1;
  if (!room_fit(&table->room, size * sizeof *table->slots))
    return false;
  table->slots = table->room.data;
  for (size_t i = 0; i < size; i++)
    table->slots[i] = TRACE_NONE;
  /* One id may stand in several topics; the first event that is no duplicate speaks for it. */
  for (uint32_t i = 0; i < count; i++) {
    uint32_t *slot = slot_of(table, nodes, nodes[i].id);
    if (*slot == TRACE_NONE || (nodes[*slot].duplicate && !nodes[i].duplicate))
      *slot = i;
  }
  return true;
}

static void find_cause(trace_node *nodes, size_t i, const id_table *table) {
  trace_node *n = &nodes[i];
  n->parent = TRACE_NONE;
  n->origin = TRACE_ROOT;
  if (n->cause == 0 || n->cause == n->id)
    return;
  uint32_t cause = *slot_of(table, nodes, n->cause);
  if (cause != TRACE_NONE && cause != i) {
    n->parent = cause;
    n->origin = TRACE_CHILD;
  } else if (n->cause != n->story) {
    n->origin = TRACE_ELSEWHERE;
  }
}

/* Walks up from every node; coming upon the own trail closes a cycle, which is cut above its earliest node.
 */
static void cut_cycles(trace_node *nodes, const uint32_t *by_time, size_t count, uint32_t *trail) {
  memset(trail, 0, count * sizeof *trail);
  for (uint32_t k = 0; k < count; k++) {
    uint32_t at = by_time[k];
    while (at != TRACE_NONE && trail[at] == 0) {
      trail[at] = k + 1;
      at = nodes[at].parent;
    }
    if (at == TRACE_NONE || trail[at] != k + 1)
      continue;
    uint32_t first = at;
    for (uint32_t i = nodes[at].parent; i != at; i = nodes[i].parent)
      if (nodes[i].at_us < nodes[first].at_us || (nodes[i].at_us == nodes[first].at_us && i < first))
        first = i;
    nodes[first].parent = TRACE_NONE;
    nodes[first].origin = TRACE_CYCLE;
  }
}

typedef struct link_to { uint32_t child, sibling; } link_to;

static uint32_t link_children(trace_node *nodes, const uint32_t *by_time, size_t count, link_to *links) {
  uint32_t roots = TRACE_NONE;
  for (size_t i = 0; i < count; i++)
    links[i].child = TRACE_NONE;
  for (size_t k = count; k > 0; k--) {
    trace_node *n = &nodes[by_time[k - 1]];
    uint32_t *head = n->parent == TRACE_NONE ? &roots : &links[n->parent].child;
    links[by_time[k - 1]].sibling = *head;
    n->last = *head == TRACE_NONE;
    *head = by_time[k - 1];
  }
  return roots;
}

/* Depth first, without recursion: a chain may be a hundred thousand deep. */
static void put_in_order(trace_node *nodes, uint32_t roots, const link_to *links, uint32_t *order) {
  uint32_t at = roots, depth = 0;
  size_t done = 0;
  while (at != TRACE_NONE) {
    order[done++] = at;
    nodes[at].depth = depth;
    if (links[at].child != TRACE_NONE) {
      at = links[at].child;
      depth++;
      continue;
    }
    while (at != TRACE_NONE && links[at].sibling == TRACE_NONE) {
      at = nodes[at].parent;
      depth -= at != TRACE_NONE;
    }
    if (at != TRACE_NONE)
      at = links[at].sibling;
  }
}

static int by_moment(const void *a_, const void *b_, void *nodes_) {
  const uint32_t *a = a_, *b = b_;
  const trace_node *nodes = nodes_;
  if (nodes[*a].at_us != nodes[*b].at_us)
    return nodes[*a].at_us < nodes[*b].at_us ? -1 : 1;
  return *a < *b ? -1 : *a > *b;
}

static bool sort_by_time(trace_node *nodes, size_t count, uint32_t *by_time) {
  for (uint32_t i = 0; i < count; i++)
    by_time[i] = i;
  return room_sort(by_time, count, sizeof *by_time, by_moment, nodes);
}

static void measure_gaps(trace_node *nodes, const uint32_t *by_time, size_t count, trace_shape *shape) {
  int64_t largest = 0;
  for (size_t k = 0; k < count; k++) {
    nodes[by_time[k]].earlier = k ? by_time[k - 1] : TRACE_NONE;
    if (trace_gap(nodes, by_time[k]) <= largest)
      continue;
    largest = trace_gap(nodes, by_time[k]);
    shape->largest = by_time[k];
  }
  shape->begin_us = count ? nodes[by_time[0]].at_us : 0;
  shape->end_us = count ? nodes[by_time[count - 1]].at_us : 0;
}

/* `trail` has room for as many as there are nodes, and becomes the order. */
static bool lay_out(trace_node *nodes, size_t count, trace_shape *shape, uint32_t *by_time, uint32_t *trail) {
  id_table table = {0};
  room links = {0};
  if (!table_fill(&table, nodes, count))
    return false;
  for (size_t i = 0; i < count; i++)
    find_cause(nodes, i, &table);
  room_free(&table.room);
  if (!sort_by_time(nodes, count, by_time))
    return false;
  cut_cycles(nodes, by_time, count, trail);
  measure_gaps(nodes, by_time, count, shape);
  if (!room_fit(&links, (count + 1) * sizeof(link_to)))
    return false;
  put_in_order(nodes, link_children(nodes, by_time, count, links.data), links.data, trail);
  room_free(&links);
  return true;
}

bool trace_layout(trace_node *nodes, size_t count, trace_shape *shape) {
  room by_time = {0};
  *shape = (trace_shape){.largest = TRACE_NONE};
  bool fine = count < TRACE_NONE && room_fit(&by_time, (count + 1) * sizeof(uint32_t)) &&
              room_fit(&shape->room, (count + 1) * sizeof *shape->order) &&
              lay_out(nodes, count, shape, by_time.data, shape->room.data);
  shape->order = shape->room.data;
  if (!fine)
    trace_shape_free(shape);
  room_free(&by_time);
  return fine;
}

void trace_shape_free(trace_shape *shape) {
  room_free(&shape->room);
  *shape = (trace_shape){.largest = TRACE_NONE};
}
