#include "witness.h"
#include "base/clock.h"
#include "log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 8 /* events that are asked for: the topic of one may have lost records too */
#define ASK_TIMEOUT_MS 4000
#define ALL_TIMEOUT_US INT64_C(12000000)

kafka_sought witness_sought(const delivery_state *book) {
  return (kafka_sought){.offset = (int64_t)book->intent_marker_end - 1, .value = book->intent_bytes};
}

typedef enum answer { REFUSED, NOT_THERE, THERE, SILENT } answer;

typedef struct event { uint64_t seq; char topic[256]; sl_buf value; bool there; } event;

static void see(void *arg, sl_slice value, sl_slice header) {
  event *e = arg;
  char seq[24];
  const int len = snprintf(seq, sizeof seq, "%llu", (unsigned long long)e->seq);
  e->there = sl_slice_eq(header, SL_BYTES(seq, (size_t)len)) && sl_slice_eq(value, sl_buf_slice(&e->value));
}

static bool read_event(sl_store *store, uint64_t seq, event *e) {
  const sl_query query = {.first_seq = seq, .last_seq = seq};
  const sl_record *r;
  sl_iter *it;
  *e = (event){.seq = seq};
  if (sl_iter_start(store, &query, &it) != SL_OK) return false;
  const bool found = sl_iter_next(it, &r) == SL_OK && r->topic.len < sizeof e->topic;
  if (found) memcpy(e->topic, r->topic.data, r->topic.len);
  if (found) sl_buf_append(&e->value, r->value.data, r->value.len);
  sl_iter_close(it);
  return found && !e->value.failed;
}

/* Does a read_committed consumer see the event where it was acknowledged? */
static answer ask(sl_store *store, kafka_watch *watch, const delivery_place *place) {
  static const atomic_bool never;
  event e;
  int64_t reached = 0;
  size_t bytes = 0;
  fault f = {0};
  const bool known = read_event(store, place->seq, &e);
  const kafka_watch_span span = {e.topic, place->partition, place->offset, place->offset + 1, 1, SIZE_MAX};
  const bool gone = known && kafka_watch_is_gone(watch, e.topic, place->partition, ASK_TIMEOUT_MS);
  if (known && !gone)
    f = kafka_watch_read(watch, &span, ASK_TIMEOUT_MS, &never, "x-sidelog-seq", see, &e, &reached, &bytes);
  sl_buf_free(&e.value);
  if (!known || gone || (!fault_is_ok(&f) && f.scope != SCOPE_CONNECTION)) return REFUSED;
  if (!fault_is_ok(&f) || reached <= place->offset) return SILENT;
  return e.there ? THERE : NOT_THERE;
}

/* An event is committed together with the marker, or not at all: so one of them is as good a witness. */
static answer ask_the_events(sl_store *store, const kafka_options *options, uint64_t *seq) {
  const kafka_options plain = {.brokers = options->brokers, .properties = options->properties,
                               .property_count = options->property_count, .txn_timeout_ms = ASK_TIMEOUT_MS};
  const int64_t until_us = sl_clock_monotonic_us() + ALL_TIMEOUT_US;
  delivery_place places[PLACES];
  size_t count = 0, answers[SILENT + 1] = {0};
  kafka_watch *watch = NULL;
  fault f;
  if (delivery_intent_places(store, places, PLACES, &count) != SL_OK || count == 0) return REFUSED;
  if (!kafka_watch_new(&plain, ASK_TIMEOUT_MS, &watch, &f)) return REFUSED;
  for (size_t i = 0; i < count && !answers[THERE] && sl_clock_monotonic_us() < until_us; i++) {
    answers[ask(store, watch, &places[i])]++;
    *seq = places[i].seq;
  }
  kafka_watch_free(watch);
  return answers[THERE] ? THERE : answers[NOT_THERE] ? NOT_THERE : answers[SILENT] ? SILENT : REFUSED;
}

/* Attempts' numbers ascend: who wrote a later one of this store's, elsewhere, has lost nothing. A backup with an
 * intent, whose marker compaction has taken since: "records are lost" would have hidden the choice that fits. */
static bool is_later(sl_slice there, uint64_t attempt) {
  sl_lane lanes[SL_LANES_MAX];
  sl_progress p;
  return sl_progress_decode(there, &p, lanes) == SL_OK && p.attempt > attempt;
}

fault witness_of_marker(sl_store *store, const delivery_state *book, const kafka_options *options,
                        const char *topic, const kafka_marker *marker) {
  fault f = {0};
  uint64_t seq = 0;
  const long long at = (long long)book->intent_marker_end - 1;
  const int partition = book->marker_partition;
  if (!book->has_intent || !marker->found || at < 0) return f;
  const sl_slice there = SL_BYTES(marker->value, marker->len);
  if (sl_slice_eq(there, book->intent_bytes) || is_later(there, book->intent.attempt)) return f;
  if (marker->end_offset <= at) {
    f = (fault){.scope = SCOPE_CONNECTION, .class_ = CLASS_RETRYABLE_TRANSIENT, .name = "MARKER_BEHIND"};
    snprintf(f.text, sizeof f.text, "%.60s [%d] ends at offset %lld, but a marker was acknowledged at %lld: this "
             "broker is behind, or lost it; if that lasts, see `sidelogd --adopt`", topic, partition,
             (long long)marker->end_offset, at);
    return f;
  }
  const answer said = marker->sought == SIGHT_NOTHING ? ask_the_events(store, options, &seq) : REFUSED;
  if (marker->sought == SIGHT_OTHER || said == THERE) {
    f = (fault){.scope = SCOPE_CLUSTER, .class_ = CLASS_NON_RETRYABLE_POLICY, .name = "MARKER_LOST"};
    const int n = snprintf(f.text, sizeof f.text, "%.60s [%d] lost records: it has %s at offset %lld, where a "
                           "marker of this store was acknowledged", topic, partition,
                           said == THERE ? "none" : "another", at);
    if (said == THERE)
      snprintf(f.text + n, sizeof f.text - (size_t)n, ", but event %llu of the same transaction has arrived",
               (unsigned long long)seq);
  } else if (said == SILENT) {
    f = (fault){.scope = SCOPE_CONNECTION, .class_ = CLASS_RETRYABLE_TRANSIENT, .name = "MARKER_UNPROVEN"};
    snprintf(f.text, sizeof f.text, "%.60s [%d] has no record at offset %lld, where a marker was acknowledged, "
             "and the events of its transaction cannot be read for now", topic, partition, at);
  }
  return f;
}
