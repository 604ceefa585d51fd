#include "alarm.h"

#include <stdlib.h>
#include <string.h>

/* Where `name` is, or belongs. */
static size_t place_of(const alarms *a, const char *name) {
  size_t low = 0, high = a->count;
  while (low < high) {
    const size_t mid = low + (high - low) / 2;
    if (strcmp(a->topics[mid].name, name) < 0) low = mid + 1;
    else high = mid;
  }
  return low;
}

static alarm_topic *topic_of(alarms *a, const char *name, int64_t now_us) {
  const size_t at = place_of(a, name);
  if (at < a->count && strcmp(a->topics[at].name, name) == 0) return &a->topics[at];
  if (a->count >= ALARM_TOPICS_MAX) return NULL;
  alarm_topic *more = realloc(a->topics, (a->count + 1) * sizeof *more);
  if (!more) return NULL;
  a->topics = more;
  char *copy = strdup(name);
  if (!copy) return NULL;
  memmove(&more[at + 1], &more[at], (a->count - at) * sizeof *more);
  more[at] = (alarm_topic){.name = copy, .since_us = now_us};
  a->count++;
  return &more[at];
}

static bool widen(alarm_topic *t, int32_t partitions, int64_t start) {
  if (partitions <= t->partitions) return true;
  int64_t *ends = realloc(t->ends, (size_t)partitions * sizeof *ends);
  if (!ends) return false;
  for (int32_t i = t->partitions; i < partitions; i++) ends[i] = start;
  t->ends = ends;
  t->partitions = partitions;
  return true;
}

bool alarms_end(alarms *a, const char *topic, int32_t partitions, int32_t partition, int64_t end, int64_t now_us) {
  if (partition < 0 || partition >= partitions || partitions > ALARM_PARTITIONS_MAX || end < 0) return false;
  alarm_topic *t = topic_of(a, topic, now_us);
  /* Partitions that a topic gets later are new with all that is in them, as a new topic is. */
  if (!t || !widen(t, partitions, t->partitions > 0 || a->listed ? 0 : -1)) return false;
  const int64_t was = t->ends[partition];
  t->ends[partition] = end;
  if (was < 0) return true;
  /* Back: it was deleted and created again. */
  const uint64_t fresh = (uint64_t)(end >= was ? end - was : end);
  t->fresh += fresh;
  a->fresh += fresh;
  return true;
}

void alarms_listed(alarms *a) { a->listed = true; }

void alarms_relist(alarms *a) { a->listed = false; }

bool alarms_next(alarms *a, uint64_t threshold, int64_t cooldown_us, int64_t now_us, alert *out) {
  for (size_t i = 0; i < a->count; i++) {
    alarm_topic *t = &a->topics[i];
    if (t->fresh == 0 || t->fresh < threshold || (t->told && now_us - t->since_us < cooldown_us)) continue;
    *out = (alert){t->name, t->fresh, now_us - t->since_us};
    t->fresh = 0;
    t->since_us = now_us;
    t->told = true;
    return true;
  }
  return false;
}

void alarms_free(alarms *a) {
  for (size_t i = 0; i < a->count; i++) {
    free(a->topics[i].name);
    free(a->topics[i].ends);
  }
  free(a->topics);
  *a = (alarms){0};
}
