/*
 * A full store's life while the Nth write, flush or allocation fails or kills: appends that make room by dropping
 * what is delivered and then the oldest undelivered events of one topic; a named cursor, reindex, trim, another
 * policy and a new ballast; and a compaction. After each the parent judges: every acknowledged event is there,
 * whole, or is one that may have been dropped, and says so; what was sent counts as sent; the law holds, and
 * sl_verify finds nothing.
 *
 *   space_sweep [KIND[:FROM]]      SIDELOG_LONG=1: every N; else the later ones in growing steps
 */
#include "lives.h"
#include "must.h"

#include "delivery/delivery.h"
#include "store/space.h"

#include <inttypes.h>
#include <string.h>

enum { SIZE = 1000, OLD = 600, SENT = 40, BATCHES = 12, BATCH = 20, SEQS = 4000 };

static sl_slice value_of(uint64_t n) {
  static uint8_t bytes[SIZE];
  for (size_t i = 0; i < SIZE; i++) bytes[i] = (uint8_t)(n * 31 + i);
  return (sl_slice){bytes, SIZE};
}

static sl_status append_batch(sl_store *store, const char *topic, uint64_t from, uint64_t *first) {
  static uint8_t copies[BATCH][SIZE];
  sl_event events[BATCH];
  for (uint64_t i = 0; i < BATCH; i++) {
    memcpy(copies[i], value_of(from + i).data, SIZE);
    events[i] = (sl_event){.topic = sl_slice_of(topic), .value = {copies[i], SIZE}};
  }
  return sl_append_many(store, events, BATCH, first, NULL);
}

static void send_up_to(sl_store *store, uint64_t to) {
  static delivery_verdict v[SEQS];
  sl_delivery *d;
  MUST(sl_index_advance(store, 0, NULL) == SL_OK && delivery_open(store, &d) == SL_OK, "cannot deliver");
  const delivery_state *s = delivery_state_get(d);
  const sl_query q = {.first_seq = s->cursor.seq + 1, .last_seq = to};
  static const sl_letter full = {.error_class = {"DROPPED_STORE_FULL", 18}};
  delivery_attempt a = {.progress = s->cursor, .verdicts = v, .marked = true};
  sl_iter *it;
  const sl_record *r;
  MUST(sl_iter_start(store, &q, &it) == SL_OK, "cannot read");
  while (sl_iter_next(it, &r) == SL_OK) {
    v[a.count] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .place = 1};
    if (r->state == SL_DROPPED) v[a.count].verdict = SL_VERDICT_DROPPED, v[a.count].letter = &full;
    a.count++;
  }
  sl_iter_close(it);
  a.progress.seq = to;
  a.progress.attempt = s->last_attempt + 1;
  if (a.count) MUST(delivery_record(d, &a) == SL_OK, "delivery");
  delivery_close(d);
}

static void make(void) {
  sl_store *store;
  const sl_options o = {.preallocate = SL_NONE, .quota_bytes = 1u << 20};
  MUST(sl_open(path, &o, &store) == SL_OK, "cannot make a store");
  for (uint64_t n = 1; n < OLD; n += BATCH) MUST(append_batch(store, "m", n, NULL) == SL_OK, "cannot fill it");
  send_up_to(store, SENT);
  MUST(sl_full_policy_set(store, &(sl_full_policy){.drop_oldest = SL_STR("m"), .ballast_bytes = SL_NONE}) == SL_OK,
       "policy");
  sl_close(store);
}

/* Where no commit succeeds any more no room can be made either, and the store stays full. The detail says both. */
static sl_status append_or_fail(sl_store *store, uint64_t n, uint64_t *first) {
  const sl_status status = append_batch(store, "o", n, first); /* another topic: these may not be dropped */
  const bool both = status == SL_E_FULL && life_kind() == FAULT_META_GONE && fault_struck();
  return both && strstr(sl_last_detail(), "is full") && strstr(sl_last_detail(), "Input/output error") ? SL_E_IO
      : status;
}

static void live(void) {
  sl_store *store;
  life_arm();
  TRY(sl_open(path, NULL, &store));
  uint64_t n = OLD + 1, first = 0;
  for (int i = 0; i < BATCHES; i++, n += BATCH) {
    TRY(append_or_fail(store, n, &first));
    life_say("ack", first, n);
  }
  TRY(sl_cursor_set(store, "place", first));
  TRY(sl_trim(store, &(sl_trim_policy){.max_events = 400}, NULL));
  TRY(sl_reindex(store));
  TRY(sl_full_policy_set(store, &(sl_full_policy){.flags = SL_FULL_DROP_DELIVERED, .ballast_bytes = 100000}));
  sl_close(store);
  TRY(sl_compact(path, NULL, NULL));
  TRY(sl_open(path, NULL, &store));
  TRY(sl_index_advance(store, 0, NULL));
  sl_close(store);
}

static void problem(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "%s: verify: %s\n", what, text);
}

static void check(sl_store *store, uint64_t last, uint64_t most) {
  sl_iter *it;
  const sl_record *r;
  sl_stats s;
  sl_status status;
  uint64_t dropped = 0, pending = 0, next = 0;
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced, "out of balance");
  MUST(s.last_seq >= last && s.last_seq <= most, "%" PRIu64 " events, %" PRIu64 " acknowledged", s.last_seq, last);
  MUST(s.kept + s.trimmed == s.last_seq, "%" PRIu64 " kept, %" PRIu64 " trimmed", s.kept, s.trimmed);
  MUST(sl_iter_start(store, NULL, &it) == SL_OK, "no iterator");
  while ((status = sl_iter_next(it, &r)) == SL_OK) {
    MUST(next == 0 || r->seq == next, "event %" PRIu64 " behind %" PRIu64, r->seq, next - 1);
    next = r->seq + 1;
    MUST((r->state == SL_SENT) == (r->seq <= SENT), "event %" PRIu64 " is %s", r->seq, sl_state_text(r->state));
    MUST(r->state != SL_DROPPED || r->seq <= OLD, "event %" PRIu64 " was dropped", r->seq);
    MUST(r->state == SL_DROPPED || sl_slice_eq(r->value, value_of(r->seq)), "event %" PRIu64 " has another value",
         r->seq);
    dropped += r->state == SL_DROPPED;
    pending += r->state == SL_PENDING;
  }
  MUST(status == SL_NOTFOUND && next == s.last_seq + 1, "reading ended at %" PRIu64 " with %s", next,
       sl_status_text(status));
  sl_iter_close(it);
  MUST(s.delivered == SENT && s.pending == pending && s.dropped == s.dropped_full && s.dropped >= dropped,
       "totals");
  MUST(s.pending + s.dropped + SENT == s.last_seq, "an event is in none of the totals");
  MUST(last < OLD + BATCHES * BATCH || (s.dropped > 0 && s.trimmed > 0), "nothing had to go: this tests nothing");
}

static void judge(const char *said, bool killed) {
  sl_store *store;
  uint64_t last = OLD, seq, n;
  for (const char *line = said; (line = strstr(line, "ack ")); line += 4) {
    MUST(sscanf(line, "ack %" SCNu64 " %" SCNu64, &seq, &n) == 2 && seq == n,
         "acknowledged %" PRIu64 " as %" PRIu64, n, seq);
    last = seq + BATCH - 1;
  }
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  check(store, last, last + (killed ? BATCH : 0));
  sl_verify_report report;
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
  MUST(sl_verify(store, problem, NULL, &report) == SL_OK && report.problems == 0, "not sound");
  sl_stats s;
  MUST(sl_stats_get(store, &s) == SL_OK, "no statistics");
  send_up_to(store, s.last_seq);
  MUST(sl_full_policy_set(store, &(sl_full_policy){.flags = SL_FULL_DROP_DELIVERED}) == SL_OK, "policy");
  for (uint64_t i = 0; i < 3; i++)
    MUST(append_batch(store, "after", s.last_seq + 1 + i * BATCH, NULL) == SL_OK, "takes no event");
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced && s.pending == 3 * BATCH, "out of balance at the end");
  sl_close(store);
}

int main(int argc, char **argv) {
  const life_plan plan = {.make = make, .live = live, .judge = judge, .dense = 4, .part = 1};
  if (!lives_begin("space")) return 2;
  fault_plain_writes = true;
  lives_run_all(&plan, argc > 1 ? argv[1] : NULL);
  return lives_end();
}
