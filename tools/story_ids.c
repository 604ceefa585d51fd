#include "story_ids.h"

#include "sources.h"
#include "when.h"

#include <stdlib.h>
#include <string.h>

/* An event id in place of a correlation id: the story that the event is part of; of a prefix that fits several,
 * the one that all of them are part of. */
static int correlation_of_event(tool *t, const char *typed, char id[SL_ID_MAX]) {
  enum { MOST = 10 };
  char found[MOST + 1][SL_ID_MAX];
  size_t count = 0;
  sl_status st = sources_resolve(t, SL_ID_EVENT, slice_of(typed), found, MOST + 1, &count);
  if ((st != SL_OK && st != SL_E_AMBIGUOUS) || count > MOST)
    return EXIT_NOTHING;
  for (size_t i = 0; i < count; i++) {
    look *l = NULL;
    sl_query query = {.event_id = slice_of(found[i]), .limit = 1};
    const sl_record *r = look_first(t, &query, &l);
    bool fine = r && r->correlation_id.len && (i == 0 || slice_eq(r->correlation_id, slice_of(id)));
    if (fine && i == 0) {
      memcpy(id, r->correlation_id.data, r->correlation_id.len);
      id[r->correlation_id.len] = 0;
    }
    look_close(l);
    if (!fine)
      return EXIT_NOTHING;
  }
  return EXIT_DONE;
}

/* A seq in place of a correlation id, where that is none: as listings have it. *lone: there is such an event, of
 * no story. */
static int correlation_of_seq(tool *t, const char *typed, char id[SL_ID_MAX], bool *lone) {
  uint64_t seq;
  look *l = NULL;
  int code = EXIT_NOTHING;
  if (!number_parse(typed, &seq) || seq == 0)
    return EXIT_NOTHING;
  sl_query query = {.first_seq = seq, .last_seq = seq};
  const sl_record *r = look_first(t, &query, &l);
  *lone = r && !r->correlation_id.len;
  if (r && r->correlation_id.len) {
    memcpy(id, r->correlation_id.data, r->correlation_id.len);
    id[r->correlation_id.len] = 0;
    code = look_next(l, &r) == SL_OK ? EXIT_NOTHING : EXIT_DONE; /* a seq of several stores is nobody's */
  }
  look_close(l);
  return code;
}

/* Nothing is called so: what is like it, of correlations and events, or of that kind which is more like it. */
static int no_story(tool *t, const char *typed) {
  text stories = {0}, events = {0};
  size_t by_story = tool_near(t, SL_ID_CORRELATION, typed,
                              &stories), by_event = tool_near(t, SL_ID_EVENT, typed, &events);
  bool say_stories = by_story && by_story >= by_event, say_events = by_event && by_event >= by_story;
  tool_fail(t, EXIT_NOTHING,
            "no correlation id and no event id %s is %s%s%s%s%s%s%s",
            sources_here(t), typed, tool_not_found_why(typed), say_stories || say_events ? "; close to it: " : "",
            say_stories ? text_str(&stories) : "",
            say_stories && say_events ? "; " : "",
            say_events ? strchr(text_str(&events), ',') ? "the events " : "the event " : "",
            say_events ? text_str(&events) : "");
  text_free(&stories);
  text_free(&events);
  return EXIT_NOTHING;
}

int story_resolve(tool *t, const char *typed, char id[SL_ID_MAX]) {
  char found[1][SL_ID_MAX];
  size_t count = 0;
  if (sources_resolve(t, SL_ID_CORRELATION, slice_of(typed), found, 1, &count) != SL_NOTFOUND)
    return tool_resolve(t, SL_ID_CORRELATION, typed, id);
  bool lone = false, event = correlation_of_event(t, typed, id) == EXIT_DONE;
  if (event || correlation_of_seq(t, typed, id, &lone) == EXIT_DONE) {
    tool_note(t, "%s is %s; this is the story it is part of", typed, event ? "an event" : "a seq");
    return EXIT_DONE;
  }
  switch (sources_resolve(t, SL_ID_EVENT, slice_of(typed), found, 1, &count)) {
  case SL_E_AMBIGUOUS: return tool_resolve(t, SL_ID_EVENT, typed, id); /* says which */
  case SL_NOTFOUND:
    return lone
        ? tool_fail(t, EXIT_NOTHING, "event %s has no correlation id, so it is part of no story: sidelog show %s",
                    typed, typed)
                : no_story(t, typed);
  default:
    return tool_fail(t, EXIT_NOTHING, "event %s has no correlation id, so it is part of no story: sidelog show %s",
                     found[0], found[0]);
  }
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
