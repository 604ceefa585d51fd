/* sidelog behind the interface of the benchmarks (engine.h). */
#include "engine.h"
#include "delivery/delivery.h"

#include <string.h>

void hits_add(hits *h, const void *value, size_t len) {
  if (h->count == HITS_MAX) stop("more than %d hits", HITS_MAX);
  h->len[h->count] = len < HIT_BYTES ? len : HIT_BYTES;
  memcpy(h->value[h->count], value, h->len[h->count]);
  h->count++;
}

static void *sidelog_open(const char *folder, uint64_t events) {
  sl_store *store;
  const uint64_t bytes = events * RECORD > PREALLOCATE ? PREALLOCATE : events * RECORD + 1;
  must(sl_open(folder, &(sl_options){.quota_bytes = UINT64_C(64) << 30, .preallocate = bytes}, &store), "open");
  return store;
}

static void sidelog_append(void *self, const event *events, size_t count) {
  sl_event batch[BATCH_MAX];
  for (size_t i = 0; i < count; i++) batch[i] = event_for_sidelog(&events[i]);
  if (count == 1) must(sl_append(self, batch, NULL), "append");
  else must(sl_append_many(self, batch, count, NULL, NULL), "append");
}

/* Held as by an agent meanwhile: where none is, appends make the index, too. */
static void sidelog_bulk(void *self, bool on) {
  static sl_delivery *held;
  if (on) {
    must(delivery_open(self, &held), "hold");
    return;
  }
  delivery_close(held);
  must(sl_reindex(self), "reindex");
}

static void sidelog_catch_up(void *self) { must(sl_index_advance(self, 0, NULL), "index"); }

static void sidelog_find(void *self, char kind, uint64_t number, hits *out) {
  uint8_t uuid[16];
  char text[37];
  sl_query query = SL_QUERY_INIT;
  sl_iter *iter;
  const sl_record *record;
  sl_status status;
  event_uuid(number, kind, uuid);
  uuid_text(uuid, text);
  *(kind == 'e' ? &query.event_id : &query.correlation_id) = SL_BYTES(text, 36);
  must(sl_iter_start(self, &query, &iter), "query");
  while ((status = sl_iter_next(iter, &record)) == SL_OK) hits_add(out, record->value.data, record->value.len);
  if (status != SL_NOTFOUND) must(status, "query");
  sl_iter_close(iter);
}

static uint64_t sidelog_count(void *self) {
  sl_stats stats;
  must(sl_stats_get(self, &stats), "stats");
  return stats.kept;
}

static void sidelog_close(void *self) { sl_close(self); }

const engine engine_sidelog = {.name = "sidelog", .open = sidelog_open, .append = sidelog_append,
                               .bulk = sidelog_bulk, .catch_up = sidelog_catch_up, .find = sidelog_find,
                               .count = sidelog_count, .close = sidelog_close};
