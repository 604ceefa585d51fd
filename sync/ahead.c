#include "ahead.h"
#include "base/clock.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FAR_US 50000  /* a round trip */
#define OLD_US 30000000 /* closed hours, or the link's share, may lie between the two */
#define WINDOW 4096   /* of the events that wait; as many as the core looks at */

struct ahead {
  pthread_t thread;
  bool running;
  sl_store *store;
  kafka *kafka;
  uint64_t from;
  int timeout_ms;
  int64_t begun_us;
  size_t count;
  kafka_topic_ask asks[CORE_TOPICS_MAX];
  char names[CORE_TOPICS_MAX][256];
  fault why;
};

/* As a condition that no event meets, it sees them all and copies none. */
static int note_topic(void *arg, const sl_record *r) {
  ahead *h = arg;
  if (r->topic.len >= sizeof h->names[0]) return 0;
  for (size_t i = h->count; i-- > 0;)
    if (sl_slice_eq(r->topic, sl_slice_of(h->names[i]))) return 0;
  if (h->count == CORE_TOPICS_MAX) return 0;
  memcpy(h->names[h->count], r->topic.data, r->topic.len);
  h->asks[h->count] = (kafka_topic_ask){.topic = h->names[h->count]}; /* not created: who parks changes nothing */
  h->count++;
  return 0;
}

static void *look(void *arg) {
  ahead *h = arg;
  const sl_query query = {.first_seq = h->from, .last_seq = h->from + WINDOW - 1};
  const sl_record *r;
  sl_iter *it;
  if (sl_iter_start(h->store, &query, &it) != SL_OK) return NULL;
  if (sl_iter_filter(it, SL_FILTER_FATE, note_topic, h) == SL_OK) (void)sl_iter_next(it, &r);
  sl_iter_close(it);
  h->begun_us = sl_clock_monotonic_us();
  if (h->count > 0) h->why = kafka_prepare_topics(h->kafka, h->asks, h->count, h->timeout_ms);
  return NULL;
}

void ahead_start(agent *a, kafka *k, int timeout_ms) {
  ahead_forget(a);
  if (kafka_round_trip_us(k) < FAR_US) return;
  ahead *h = calloc(1, sizeof *h);
  if (!h) return;
  h->store = a->store;
  h->kafka = k;
  h->from = delivery_state_get(a->delivery)->cursor.seq + 1;
  h->timeout_ms = timeout_ms;
  h->running = pthread_create(&h->thread, NULL, look, h) == 0;
  a->ahead = h;
}

void ahead_end(agent *a) {
  if (!a->ahead || !a->ahead->running) return;
  pthread_join(a->ahead->thread, NULL);
  a->ahead->running = false;
}

bool ahead_take(agent *a, size_t count, int64_t *age_us) {
  ahead *h = a->ahead;
  size_t known = 0;
  if (!h || !fault_is_ok(&h->why) || sl_clock_monotonic_us() - h->begun_us > OLD_US) {
    ahead_forget(a);
    return false;
  }
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < h->count; j++) {
      if (strcmp(a->asks[i].topic, h->names[j]) != 0 || !fault_is_ok(&h->asks[j].why)) continue;
      a->asks[i].info = h->asks[j].info;
      a->asks[i].why = (fault){0};
      known++;
      break;
    }
  *age_us = sl_clock_monotonic_us() - h->begun_us;
  ahead_forget(a);
  return known == count;
}

void ahead_forget(agent *a) {
  ahead_end(a);
  free(a->ahead);
  a->ahead = NULL;
}
