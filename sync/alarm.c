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
  alarm_topic *more = a->topics;
  if ((a->count & (a->count - 1)) == 0) { /* full at each power of two */
    more = realloc(a->topics, (a->count ? 2 * a->count : 1) * sizeof *more);
    if (!more) return NULL;
    a->topics = more;
  }
  char *copy = strdup(name);
  if (!copy) return NULL;
  memmove(&more[at + 1], &more[at], (a->count - at) * sizeof *more);
  more[at] = (alarm_topic){.name = copy, .since_us = now_us};
  a->count++;
  return &more[at];
}

static bool widen(alarm_topic *t, int32_t partitions, int64_t start) {
  if (partitions <= t->partitions) return true;
  alarm_part *parts = realloc(t->parts, (size_t)partitions * sizeof *parts);
  if (!parts) return false;
  for (int32_t i = t->partitions; i < partitions; i++) parts[i] = (alarm_part){start, 0};
  t->parts = parts;
  t->partitions = partitions;
  return true;
}

bool alarms_end(alarms *a, const char *topic, int32_t partitions, int32_t partition, int64_t end, int64_t now_us) {
  if (partition < 0 || partition >= partitions || partitions > ALARM_PARTITIONS_MAX || end < 0) return false;
  alarm_topic *t = topic_of(a, topic, now_us);
  /* Partitions that a topic gets later are new with all that is in them, as a new topic is. */
  if (!t || !widen(t, partitions, t->partitions > 0 || a->listed ? 0 : -1)) return false;
  alarm_part *p = &t->parts[partition];
  if (p->counted < 0) p->counted = end;
  if (end < p->end || end < p->counted) p->counted = 0; /* back: it was deleted and created again */
  p->end = end;
  return true;
}

void alarms_round(alarms *a) {
  a->turn += a->left > 0; /* the last round ended there */
  a->left = a->count;
  a->part = 0;
}

static void pass_over(alarms *a, alarm_part *p, alarm_topic *t) {
  p->counted = p->end;
  t->more = a->more = true;
}

bool alarms_unread(alarms *a, uint64_t threshold, alarm_span *out) {
  const uint64_t enough = threshold > ALARM_COUNT_LEAST ? threshold : ALARM_COUNT_LEAST;
  for (; a->left > 0; a->left--, a->turn++, a->part = 0) {
    alarm_topic *t = &a->topics[a->turn %= a->count];
    while (a->part < t->partitions) {
      alarm_part *p = &t->parts[a->part++];
      if (p->counted < 0 || p->counted >= p->end) continue;
      if (t->fresh >= enough) {
        pass_over(a, p, t);
        continue;
      }
      *out = (alarm_span){t->name, a->part - 1, p->counted, p->end, enough - t->fresh};
      return true;
    }
  }
  return false;
}

void alarms_read(alarms *a, const alarm_span *span, int64_t reached, uint64_t records) {
  const size_t at = place_of(a, span->topic);
  alarm_topic *t = &a->topics[at];
  alarm_part *p = &t->parts[span->partition];
  p->counted = reached;
  t->fresh += records;
  a->fresh += records;
  if (records >= span->most && reached < p->end) pass_over(a, p, t);
}

void alarms_error(alarms *a, const alarm_span *span, const char *text) {
  char *error = a->topics[place_of(a, span->topic)].error;
  size_t len = strnlen(text, ALARM_ERROR_MAX - 1);
  while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) len--; /* no half of a character */
  memcpy(error, text, len);
  error[len] = '\0';
}

void alarms_listed(alarms *a) { a->listed = true; }

void alarms_relist(alarms *a) { a->listed = false; }

bool alarms_next(alarms *a, uint64_t threshold, int64_t cooldown_us, int64_t now_us, alert *out) {
  for (size_t i = 0; i < a->count; i++) {
    alarm_topic *t = &a->topics[i];
    if (t->fresh == 0 || t->fresh < threshold || (t->told && now_us - t->since_us < cooldown_us)) continue;
    *out = (alert){.topic = t->name, .fresh = t->fresh, .more = t->more, .span_us = now_us - t->since_us};
    memcpy(out->error, t->error, sizeof out->error);
    t->fresh = 0;
    t->more = false;
    t->error[0] = '\0';
    t->since_us = now_us;
    t->told = true;
    return true;
  }
  return false;
}

void alarms_free(alarms *a) {
  for (size_t i = 0; i < a->count; i++) {
    free(a->topics[i].name);
    free(a->topics[i].parts);
  }
  free(a->topics);
  *a = (alarms){0};
}
