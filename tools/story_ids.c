#include "story_ids.h"

#include "sources.h"
#include "when.h"

#include <stdlib.h>
#include <string.h>

/* An event id in place of a correlation id: the story that the event is part of. 1: not found. */
static int correlation_of_event(tool *t, const char *typed, char id[SL_ID_MAX]) {
  char found[1][SL_ID_MAX];
  size_t count = 0;
  look *l = NULL;
  int code = EXIT_NOTHING;
  if (sources_resolve(t, SL_ID_EVENT, slice_of(typed), found, 1, &count) != SL_OK)
    return EXIT_NOTHING;
  sl_query query = {.event_id = slice_of(found[0]), .limit = 1};
  const sl_record *r = look_first(t, &query, &l);
  if (r && r->correlation_id.len) {
    memcpy(id, r->correlation_id.data, r->correlation_id.len);
    id[r->correlation_id.len] = 0;
    code = EXIT_DONE;
  }
  look_close(l);
  return code;
}

/* A seq in place of a correlation id, where that is none: as listings have it. */
static int correlation_of_seq(tool *t, const char *typed, char id[SL_ID_MAX]) {
  uint64_t seq;
  look *l = NULL;
  int code = EXIT_NOTHING;
  if (!number_parse(typed, &seq) || seq == 0)
    return EXIT_NOTHING;
  sl_query query = {.first_seq = seq, .last_seq = seq};
  const sl_record *r = look_first(t, &query, &l);
  if (r && r->correlation_id.len) {
    memcpy(id, r->correlation_id.data, r->correlation_id.len);
    id[r->correlation_id.len] = 0;
    code = look_next(l, &r) == SL_OK ? EXIT_NOTHING : EXIT_DONE; /* a seq of several stores is nobody's */
  }
  look_close(l);
  return code;
}

int story_resolve(tool *t, const char *typed, char id[SL_ID_MAX]) {
  char found[1][SL_ID_MAX];
  size_t count = 0;
  if (sources_resolve(t, SL_ID_CORRELATION, slice_of(typed), found, 1, &count) == SL_NOTFOUND) {
    bool event = correlation_of_event(t, typed, id) == EXIT_DONE;
    if (event || correlation_of_seq(t, typed, id) == EXIT_DONE) {
      tool_note(t, "%s is %s; this is the story it is part of", typed, event ? "an event" : "a seq");
      return EXIT_DONE;
    }
  }
  return tool_resolve(t, SL_ID_CORRELATION, typed, id);
}

int64_t appended_at(tool *t, size_t from, uint64_t seq) {
  sl_query query = {.first_seq = seq, .last_seq = seq};
  look *l = NULL;
  const sl_record *r;
  int64_t us = 0;
  if (seq && look_start_in(t, from, &query, &l) == SL_OK && look_next(l, &r) == SL_OK)
    us = r->appended_at_us;
  look_close(l);
  return us;
}

/* ------------------------------------------------------------------- ids --- */

static size_t hash(sl_slice s) {
  const unsigned char *p = s.data;
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  return (size_t)(h ^ h >> 29);
}

static uint32_t *slot_of(const id_set *set, sl_slice id) {
  size_t i = hash(id) & set->mask;
  while (set->slots[i] && !slice_eq(slice_of(set->items[set->slots[i] - 1]), id))
    i = (i + 1) & set->mask;
  return &set->slots[i];
}

/* Never more than half of the slots are taken. */
static void make_slots(id_set *set) {
  size_t slots = set->mask ? (set->mask + 1) * 2 : 128;
  set->slots = room_need(&set->slot_room, slots * sizeof *set->slots);
  set->mask = slots - 1;
  memset(set->slots, 0, slots * sizeof *set->slots);
  for (size_t i = 0; i < set->count; i++)
    *slot_of(set, slice_of(set->items[i])) = (uint32_t)i + 1;
}

bool id_set_add(id_set *set, sl_slice id) {
  if (set->mask < set->count * 2 + 1)
    make_slots(set);
  uint32_t *slot = slot_of(set, id);
  if (*slot)
    return false;
  set->items = room_need(&set->item_room, (set->count + 1) * sizeof *set->items);
  set->items[set->count++] = room_copy(&set->texts, id);
  *slot = (uint32_t)set->count;
  return true;
}

size_t id_set_find(const id_set *set, sl_slice id) {
  size_t place = set->count ? *slot_of(set, id) : 0;
  return place ? place - 1 : set->count;
}

void id_set_free(id_set *set) {
  room_free(&set->item_room);
  room_free(&set->slot_room);
  room_texts_free(&set->texts);
  *set = (id_set){0};
}
