#include "trace_walk.h"

#include <stdlib.h>
#include <string.h>

void seq_list_add(seq_list *list, struct spot spot) {
  list->items = room_need(&list->room, (list->count + 1) * sizeof *list->items);
  list->items[list->count++] = spot;
}

static void add(seq_list *list, struct spot spot) {
  if (list->count == WALK_MOST)
    list->cut = true;
  else
    seq_list_add(list, spot);
}

void seq_list_free(seq_list *list) {
  room_free(&list->room);
  *list = (seq_list){0};
}

/* arg: does the list have more than one source? */
static int in_order(const void *a, const void *b, void *several) {
  const struct spot *x = a, *y = b;
  if (several && x->at_us != y->at_us)
    return x->at_us < y->at_us ? -1 : 1;
  if (several && x->source != y->source)
    return x->source < y->source ? -1 : 1;
  return (x->seq > y->seq) - (x->seq < y->seq);
}

static int sort(tool *t, seq_list *list, int code) {
  bool several = false;
  for (size_t i = 1; i < list->count; i++)
    several = several || list->items[i].source != list->items[0].source;
  if (!room_sort(list->items, list->count, sizeof *list->items, in_order, several ? list : NULL))
    code = tool_fail(t, EXIT_STORE, "out of memory");
  return code;
}

/* The first event with this id, and the id of its cause: "" when it is a root. False: it is not here. */
static bool look_up(tool *t, const char *id, struct spot *spot, char cause[SL_ID_MAX]) {
  sl_query query = {.event_id = slice_of(id), .limit = 1};
  look *l = NULL;
  const sl_record *r = look_first(t, &query, &l);
  if (r) {
    *spot = (struct spot){r->seq, look_source(l), r->appended_at_us};
    memcpy(cause, r->causation_id.len ? r->causation_id.data : "", r->causation_id.len);
    cause[r->causation_id.len] = 0;
  }
  look_close(l);
  return r != NULL;
}

/* The event id of what a person names by it or by a seq. */
static int resolve(tool *t, const char *typed, char id[SL_ID_MAX]) {
  sl_query query;
  look *l = NULL;
  int code = look_event(t, typed, &query, id);
  if (code != EXIT_DONE || query.event_id.data == id)
    return code;
  const sl_record *r = look_first(t, &query, &l);
  if (r) {
    memcpy(id, r->event_id.data, r->event_id.len);
    id[r->event_id.len] = 0;
    if (query.first_seq && look_next(l, &r) == SL_OK)
      code = tool_fail(t, EXIT_USAGE, "seq %s is of several stores: name the event by its id", typed);
  } else {
    code = tool_fail(t, EXIT_NOTHING, "there is no event %s %s", typed, sources_here(t));
  }
  look_close(l);
  return code;
}

/* Ids and seqs from the event up to its last cause here. A circle ends it. */
static void climb(tool *t, const char *event, id_set *ids, seq_list *seqs) {
  char id[SL_ID_MAX], cause[SL_ID_MAX];
  struct spot spot;
  memcpy(id, event, strlen(event) + 1);
  while (*id && seqs->count < WALK_MOST && look_up(t, id, &spot, cause) && id_set_add(ids, slice_of(id))) {
    add(seqs, spot);
    memcpy(id, cause, sizeof id);
  }
}

int walk_causes(tool *t, const char *event, seq_list *out) {
  char id[SL_ID_MAX];
  id_set ids = {0};
  int code = resolve(t, event, id);
  if (code == EXIT_DONE)
    climb(t, id, &ids, out);
  id_set_free(&ids);
  return sort(t, out, code);
}

int walk_effects(tool *t, const char *event, seq_list *out) {
  char id[SL_ID_MAX], cause[SL_ID_MAX];
  struct spot spot;
  id_set ids = {0};
  int code = resolve(t, event, id);
  if (code == EXIT_DONE && look_up(t, id, &spot, cause)) {
    id_set_add(&ids, slice_of(id));
    add(out, spot);
  }
  for (size_t at = 0; at < ids.count && code == EXIT_DONE && !out->cut; at++) {
    sl_query query = {.causation_id = slice_of(ids.items[at])};
    look *l = NULL;
    const sl_record *r;
    sl_status st = look_start(t, &query, &l);
    while (st == SL_OK && !out->cut) {
      st = look_next(l, &r);
      if (st == SL_OK && id_set_add(&ids, r->event_id))
        add(out, (struct spot){r->seq, look_source(l), r->appended_at_us});
      else if (st == SL_E_CORRUPT)
        st = SL_OK;
    }
    look_close(l);
    if (st != SL_OK && st != SL_NOTFOUND)
      code = tool_fail_status(t, st, "cannot read the store");
  }
  id_set_free(&ids);
  return sort(t, out, code);
}

int walk_path(tool *t, const char *from, const char *to, seq_list *out) {
  char a[SL_ID_MAX], b[SL_ID_MAX];
  id_set above_a = {0}, above_b = {0};
  seq_list seqs_a = {0}, seqs_b = {0};
  int code = resolve(t, from, a);
  if (code == EXIT_DONE)
    code = resolve(t, to, b);
  if (code == EXIT_DONE) {
    climb(t, a, &above_a, &seqs_a);
    climb(t, b, &above_b, &seqs_b);
    /* The lowest cause that both have: one of the two, where one led to the other. */
    size_t i = 0, meet = above_b.count;
    for (; i < above_a.count && meet == above_b.count; i++)
      meet = id_set_find(&above_b, slice_of(above_a.items[i]));
    if (meet == above_b.count)
      code = tool_fail(t, EXIT_NOTHING, "no chain of causes %s joins %s and %s", sources_here(t), a, b);
    for (size_t k = 0; k < i && code == EXIT_DONE; k++)
      add(out, seqs_a.items[k]);
    for (size_t k = 0; k < meet && code == EXIT_DONE; k++)
      add(out, seqs_b.items[k]);
    if (code == EXIT_DONE && i > 1 && meet > 0)
      tool_note(t, "neither led to the other: both come from %s", above_b.items[meet]);
  }
  id_set_free(&above_a);
  id_set_free(&above_b);
  seq_list_free(&seqs_a);
  seq_list_free(&seqs_b);
  return sort(t, out, code);
}
