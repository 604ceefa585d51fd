#include "places.h"
#include "log.h"
#include <stdlib.h>
#include <string.h>

#define WINDOW 20000 /* newest settled events are looked at: of 1 KB, 28 MB to read with nothing in memory */
#define PARTITIONS 12 /* of each topic; one would do, were its new records spread evenly */

typedef struct topic_places {
  size_t ask;
  sl_slice name;
  struct { int32_t partition; int64_t offset; } at[PARTITIONS];
} topic_places;
typedef struct looked_for { topic_places *list; size_t count, last; } looked_for;

static topic_places *find(looked_for *l, sl_slice name) {
  for (size_t i = 0; i < l->count; i++) {
    topic_places *p = &l->list[(l->last + i) % l->count];
    if (!sl_slice_eq(p->name, name)) continue;
    l->last = (size_t)(p - l->list);
    return p;
  }
  return NULL;
}

/* As a condition that no event meets, it sees them all and copies none. */
static int note_place(void *arg, const sl_record *r) {
  if (r->state != SL_SENT || r->offset < 0 || r->topic_recreated) return 0;
  topic_places *p = find(arg, r->topic);
  if (!p) return 0;
  p->at[r->partition % PARTITIONS].partition = r->partition;
  p->at[r->partition % PARTITIONS].offset = r->offset;
  return 0;
}

static bool read_places(agent *a, looked_for *l) {
  const uint64_t cursor = delivery_state_get(a->delivery)->cursor.seq;
  const sl_query query = {.first_seq = cursor > WINDOW ? cursor - WINDOW : 1, .last_seq = cursor,
                          .states = SL_STATE_BIT(SL_SENT)};
  const sl_record *r;
  sl_iter *it;
  if (cursor == 0 || sl_iter_start(a->store, &query, &it) != SL_OK) return false;
  sl_status st = sl_iter_filter(it, SL_FILTER_FATE, note_place, l);
  if (st == SL_OK) do st = sl_iter_next(it, &r);
    while (st == SL_E_CORRUPT); /* one that is damaged tells nothing */
  sl_iter_close(it);
  return st == SL_NOTFOUND;
}

static void compare(agent *a, kafka *k, looked_for *l, int timeout_ms) {
  kafka_place *places = calloc(l->count * PARTITIONS, sizeof *places);
  size_t *of = calloc(l->count * PARTITIONS, sizeof *of), count = 0;
  int64_t *offsets = calloc(l->count * PARTITIONS, sizeof *offsets);
  for (size_t i = 0; i < l->count && places && of && offsets; i++)
    for (size_t j = 0; j < PARTITIONS; j++) {
      const topic_places *p = &l->list[i];
      core_topic_result *result = &a->topics[p->ask];
      if (p->at[j].offset < 0) continue;
      if (p->at[j].partition >= result->partitions) { /* their number never falls */
        result->recreated = true;
        result->receipt_at = p->at[j].offset;
        continue;
      }
      of[count] = p->ask;
      offsets[count] = p->at[j].offset;
      places[count++] = (kafka_place){.topic = a->asks[p->ask].topic, .partition = p->at[j].partition};
    }
  const fault why = kafka_ends(k, places, count, timeout_ms);
  if (!fault_is_ok(&why)) log_line(LEVEL_DEBUG, "ends-unknown", "%s: %s", why.name, why.text);
  for (size_t i = 0; i < count && fault_is_ok(&why); i++) {
    core_topic_result *result = &a->topics[of[i]];
    if (result->recreated || places[i].end < 0 || places[i].end > offsets[i]) continue;
    result->recreated = true;
    result->receipt_at = offsets[i];
    result->ends_at = places[i].end;
  }
  free(places);
  free(of);
  free(offsets);
}

void places_look(agent *a, kafka *k, size_t count, int timeout_ms) {
  looked_for l = {.list = calloc(count + 1, sizeof *l.list)};
  for (size_t i = 0; l.list && i < count; i++) {
    if (!a->fresh[i] || !fault_is_ok(&a->asks[i].why)) continue;
    topic_places *p = &l.list[l.count++];
    *p = (topic_places){.ask = i, .name = sl_slice_of(a->asks[i].topic)};
    for (size_t j = 0; j < PARTITIONS; j++) p->at[j].offset = -1;
  }
  if (l.count > 0 && read_places(a, &l)) compare(a, k, &l, timeout_ms);
  free(l.list);
}
