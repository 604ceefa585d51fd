/* OP_FILL: reads records from the log, offers each to the core and hands those it wants to librdkafka. In slices
 * of a few milliseconds, so that deliveries, signals and timers are served in between. A full producer queue
 * pauses the reading until deliveries make room: that bounds memory, whatever the backlog. */
#include "agent.h"
#include "base/breathe.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_RECORDS 2000
#define SLICE_US 4000
#define RECORD_OVERHEAD 90 /* of a record in a batch beside key, value and headers */
#define OUR_HEADERS 8

static void fill_end(agent *a, core_fill_end end, const fault *why) {
  fill *f = &a->fill;
  core_event done = f->done;
  done.fill_end = end;
  if (why) done.why = *why;
  uv_idle_stop(&f->idle);
  sl_iter_close(f->iter);
  f->iter = NULL;
  f->held = NULL;
  f->active = f->waiting = false;
  agent_event(a, done);
}

static void wait_for_deliveries(fill *f) {
  f->waiting = true;
  uv_idle_stop(&f->idle);
}

void fill_free(agent *a) {
  free(a->fill.headers);
  free(a->fill.list);
  letter_free(&a->fill.letter);
}

static bool has_header(const sl_record *r, sl_slice name) {
  for (size_t i = 0; i < r->header_count; i++)
    if (sl_slice_eq(r->headers[i].name, name)) return true;
  return false;
}

static sl_header *room_for_headers(fill *f, size_t count) {
  if (count > f->headers_cap) {
    sl_header *more = realloc(f->headers, count * sizeof *more);
    if (!more) return NULL;
    f->headers = more;
    f->headers_cap = count;
  }
  return f->headers;
}

/* For each event: snprintf took a twentieth of this thread's time. */
static size_t decimal(uint64_t value, char out[24]) {
  char *p = out + 24;
  do *--p = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  const size_t len = (size_t)(out + 24 - p);
  memmove(out, p, len);
  return len;
}

static const fault no_memory = {
    .scope = SCOPE_AGENT, .name = "NO_MEMORY", .text = "no memory for a record's copy"};

typedef struct outgoing { /* a record as it is sent, and what it points to */
  kafka_record record;
  char topic[256], seq[24], origin[24], dedup[520];
} outgoing;

/* False: no memory. Valid until the next one. */
static bool shape(agent *a, const sl_record *r, outgoing *o) {
  char *const topic = o->topic, *const seq = o->seq, *const origin = o->origin, *const dedup = o->dedup;
  const sl_slice id = r->event_id;
  size_t n = r->header_count;
  sl_header *headers = room_for_headers(&a->fill, n + OUR_HEADERS);
  if (!headers) return false;
  memcpy(topic, r->topic.data, r->topic.len);
  topic[r->topic.len] = '\0';
  if (n > 0) memcpy(headers, r->headers, n * sizeof *headers);
  const size_t seq_len = decimal(r->seq, seq), origin_len = r->replay_of ? decimal(r->replay_of, origin) : 0;
  memcpy(dedup, topic, r->topic.len);
  dedup[r->topic.len] = '/';
  if (id.len) memcpy(dedup + r->topic.len + 1, id.data, id.len);
  const size_t dedup_len = r->topic.len + 1 + id.len;
  const sl_header ours[OUR_HEADERS] = {
      {SL_STR("x-correlation-id"), r->correlation_id}, {SL_STR("x-causation-id"), r->causation_id},
      {SL_STR("x-tenant"), r->tenant},                 {SL_STR("x-event-id"), r->event_id},
      {SL_STR("x-dedup-key"), SL_BYTES(dedup, dedup_len)},
      {SL_STR("x-sidelog-store"), SL_BYTES(a->store_id, 36)}, {SL_STR("x-sidelog-seq"), SL_BYTES(seq, seq_len)},
      {SL_STR("x-sidelog-replay-of"), SL_BYTES(origin, origin_len)}};
  for (size_t i = 0; i < OUR_HEADERS; i++) /* a producer's own header of that name stands */
    if (ours[i].value.len > 0 && !has_header(r, ours[i].name)) headers[n++] = ours[i];
  /* An append dated in the future (a clock set to 2038) must not make the broker refuse the record. */
  int64_t at = r->appended_at_us <= a->fill.wall_us && r->appended_at_us > 0 ? r->appended_at_us / 1000 : 0;
  o->record = (kafka_record){.topic = topic, .partition = -1, .key = r->key,
                             .value = r->value.data ? r->value : SL_BYTES("", 0),
                             .headers = headers, .header_count = n, .timestamp_ms = at};
  return true;
}

static fault produce(agent *a, const sl_record *r, uint64_t tag) {
  outgoing o;
  if (!shape(a, r, &o)) return no_memory;
  /* An event that waited longer than its topic looks back (an outage, say) is sent with the time of its sending; a
   * quarter early, since it may wait a little more. */
  const int64_t most = core_stamp_max_age_us(a->core, tag);
  if (most > 0 && a->fill.wall_us - r->appended_at_us > most / 4 * 3) o.record.timestamp_ms = 0;
  return kafka_produce(a->kafka, &o.record, tag);
}

static void weigh(agent *a, const sl_record *r, core_record *record) {
  outgoing o;
  record->weighed = true;
  if (shape(a, r, &o)) record->exact = kafka_weigh(a->kafka, &o.record, &record->size, &record->least);
}

size_t fill_record_size(const sl_record *r) {
  size_t size = RECORD_OVERHEAD + 2 * (r->topic.len + r->event_id.len) + r->value.len + r->key.len +
                r->correlation_id.len + r->causation_id.len + r->tenant.len;
  for (size_t i = 0; i < r->header_count; i++) size += r->headers[i].name.len + r->headers[i].value.len + 4;
  return size;
}

typedef enum taken { TAKEN, PAUSED, ENDED, AGAIN } taken;

static void send_along(agent *a, const sl_record *r);

/* Before the first record of a transaction. */
static fault begin(agent *a) {
  fault why = {0};
  if (a->settings.mode != MODE_EXACTLY_ONCE || core_txn_begun(a->core)) return why;
  why = kafka_begin(a->kafka);
  if (fault_is_ok(&why)) core_begun(a->core);
  return why;
}

/* Is the copy of a dead event to be sent? Not if its original is dead no more, or goes with this transaction
 * already: then it is settled as a duplicate of it (*instead). False: the store cannot be read. */
static bool replay_wanted(agent *a, uint64_t origin, uint64_t *instead) {
  const sl_query query = {.first_seq = origin, .last_seq = origin};
  const sl_record *r;
  sl_iter *it;
  fill *f = &a->fill;
  for (size_t i = 0; i < f->replay_count; i++)
    if (f->replays[i] == origin) *instead = origin;
  if (*instead) return true;
  if (sl_iter_start(a->store, &query, &it) != SL_OK) return false;
  const sl_status st = sl_iter_next(it, &r);
  if (st == SL_OK && r->state != SL_DEAD) *instead = origin;
  sl_iter_close(it);
  return st == SL_OK || st == SL_NOTFOUND; /* trimmed: the copy is all there is of it */
}

static taken take(agent *a, const sl_record *r) {
  uint64_t tag;
  if (r->state == SL_DROPPED) { /* by a full store: nothing is left of it to send */
    core_offer_result dropped =
        core_offer_dropped(a->core, r->seq, r->topic, r->error_class, r->error_text, r->settled_at_us);
    return dropped == OFFER_STOP ? ENDED : TAKEN;
  }
  const size_t size = fill_record_size(r);
  uint64_t instead = r->duplicate_of;
  if (r->replay_of && a->fill.replay_count == REPLAYS_MOST) return ENDED; /* the next transaction looks afresh */
  if (r->replay_of && !replay_wanted(a, r->replay_of, &instead)) return ENDED;
  core_record record = {.seq = r->seq, .topic = r->topic, .duplicate_of = instead, .size = size,
                        .keyless = r->key.data == NULL, .appended_us = r->appended_at_us};
  core_offer_result offered = core_offer(a->core, &record, a->fill.now_us, &tag);
  if (offered == OFFER_WEIGH) {
    weigh(a, r, &record);
    offered = core_offer(a->core, &record, a->fill.now_us, &tag);
  }
  switch (offered) {
  case OFFER_SETTLED: send_along(a, r); return TAKEN;
  case OFFER_WEIGH:
  case OFFER_STOP: return ENDED;
  case OFFER_PRODUCE: break;
  }
  fault why = begin(a);
  if (fault_is_ok(&why)) why = produce(a, r, tag);
  if (fault_is_ok(&why) && r->replay_of) a->fill.replays[a->fill.replay_count++] = r->replay_of;
  if (fault_is_ok(&why)) return TAKEN;
  if (kafka_fault_is_queue_full(&why)) return core_queue_full(a->core, record.size) ? PAUSED : ENDED;
  if (!core_refused(a->core, tag, &why, sl_clock_wall_us())) return ENDED;
  send_along(a, r);
  return TAKEN;
}

/* --- dead letters --- */

static fault store_fault(void) {
  fault why = {.scope = SCOPE_AGENT, .class_ = CLASS_RETRYABLE_DEPENDENCY, .name = "STORE"};
  snprintf(why.text, sizeof why.text, "%.250s", sl_last_detail());
  return why;
}

/* The event of a letter, in state SL_DEAD; NULL: it is that no more, or trimmed. */
static sl_status read_dead(agent *a, uint64_t seq, const sl_record **record) {
  fill *f = &a->fill;
  const sl_query query = {.first_seq = seq, .last_seq = seq, .states = SL_STATE_BIT(SL_DEAD)};
  sl_iter_close(f->iter);
  f->iter = NULL;
  *record = NULL;
  sl_status st = sl_iter_start(a->store, &query, &f->iter);
  if (st == SL_OK) st = sl_iter_next(f->iter, record);
  return st == SL_NOTFOUND ? SL_OK : st;
}

static fault produce_letter(agent *a, const char *dlq, uint64_t tag) {
  const letter *l = &a->fill.letter;
  const kafka_record record = {.topic = dlq, .partition = -1, .key = l->key, .value = sl_buf_slice(&l->value),
                               .headers = l->headers, .header_count = l->header_count};
  return kafka_produce(a->kafka, &record, tag);
}

/* The copy of an event that just became a dead letter, with its verdict. It waits if something is in the way. */
static void send_along(agent *a, const sl_record *r) {
  char dlq[250];
  fault no = {0};
  do {
    const int64_t now = sl_clock_monotonic_us();
    const sl_letter *dead = core_dead(a->core, r->seq, now);
    if (!dead || !settings_letter_topic(&a->settings, r->topic, dlq)) return;
    if (core_letter_ready(a->core, sl_slice_of(dlq), now) != OFFER_PRODUCE) return;
    const topic_rule rule = settings_topic(&a->settings, r->topic);
    letter_place place = {
        .topic = dlq, .store = a->store_id, .profile = (letter_profile)(rule.letter_profile - 1)};
    sl_record copy = *r;
    copy.error_class = dead->error_class;
    copy.error_code = dead->error_code;
    copy.error_text = dead->error_text;
    copy.attempts = dead->attempts;
    copy.last_failure_us = dead->last_failure_us;
    uint64_t tag;
    if (!letter_make(&a->fill.letter, &copy, &place)) return;
    if (core_offer_letter(a->core, r->seq, sl_slice_of(dlq), letter_size(&a->fill.letter), now, &place.slim,
                          &tag) != OFFER_PRODUCE)
      return;
    no = begin(a);
    if (fault_is_ok(&no) && place.slim && !letter_make(&a->fill.letter, &copy, &place)) no = no_memory;
    if (fault_is_ok(&no)) no = produce_letter(a, dlq, tag);
    if (fault_is_ok(&no)) return;
    if (!core_refused(a->core, tag, &no, sl_clock_wall_us())) return;
  } while (true);
}

static taken take_letter(agent *a, const delivery_waiting *w, fault *why) {
  char dlq[250];
  const int64_t now = sl_clock_monotonic_us();
  if (!settings_letter_topic(&a->settings, sl_slice_of(w->topic), dlq)) return TAKEN; /* it stays local */
  core_offer_result ready = core_letter_ready(a->core, sl_slice_of(dlq), now);
  if (ready != OFFER_PRODUCE) return ready == OFFER_STOP ? ENDED : TAKEN;
  const sl_record *r;
  if (read_dead(a, w->seq, &r) != SL_OK) {
    *why = store_fault();
    return ENDED;
  }
  if (!r) return core_letter_gone(a->core, w->number, sl_slice_of(dlq)) ? TAKEN : ENDED;
  const topic_rule rule = settings_topic(&a->settings, r->topic);
  letter_place place = {.topic = dlq, .store = a->store_id, .profile = (letter_profile)(rule.letter_profile - 1)};
  letter *l = &a->fill.letter;
  uint64_t tag;
  bool slim = false;
  if (!letter_make(l, r, &place)) {
    *why = no_memory;
    return ENDED;
  }
  const size_t size = letter_size(l);
  ready = core_offer_letter(a->core, w->number, sl_slice_of(dlq), size, now, &slim, &tag);
  if (ready != OFFER_PRODUCE) return ready == OFFER_STOP ? ENDED : TAKEN;
  place.slim = slim;
  fault no = begin(a);
  if (fault_is_ok(&no) && slim && !letter_make(l, r, &place)) no = no_memory;
  if (fault_is_ok(&no)) no = produce_letter(a, dlq, tag);
  if (fault_is_ok(&no)) return TAKEN;
  if (kafka_fault_is_queue_full(&no)) return core_queue_full(a->core, size) ? PAUSED : ENDED;
  return core_refused(a->core, tag, &no, sl_clock_wall_us()) ? AGAIN : ENDED;
}

#define LETTERS_CHUNK 256

/* The next letter that waits, up to the last one that the core has heard of; NULL: none is left. */
static sl_status next_letter(agent *a, uint64_t to, const delivery_waiting **out) {
  fill *f = &a->fill;
  *out = NULL;
  if (f->list_at == f->list_count && f->list_from > 0) {
    sl_status st = delivery_letters(a->delivery, f->list_from, f->list, LETTERS_CHUNK, &f->list_count);
    if (st != SL_OK) return st;
    f->list_at = 0;
    f->list_from = f->list_count == LETTERS_CHUNK ? f->list[f->list_count - 1].number + 1 : 0;
  }
  if (f->list_at < f->list_count && f->list[f->list_at].number <= to) *out = &f->list[f->list_at];
  return SL_OK;
}

static void letters_slice(uv_idle_t *idle) {
  agent *a = idle->data;
  fill *f = &a->fill;
  int64_t until = sl_clock_monotonic_us() + SLICE_US;
  do {
    const delivery_waiting *w;
    fault why = {0};
    if (core_waits(a->core)) {
      wait_for_deliveries(f);
      return;
    }
    if (next_letter(a, f->letters_to, &w) != SL_OK) {
      why = store_fault();
      fill_end(a, FILL_STOPPED, &why);
      return;
    }
    if (!w) {
      fill_end(a, FILL_END_OF_LOG, NULL);
      return;
    }
    switch (take_letter(a, w, &why)) {
    case TAKEN: f->list_at++; break;
    case AGAIN: break;
    case ENDED: fill_end(a, FILL_STOPPED, fault_is_ok(&why) ? NULL : &why); return;
    case PAUSED:
      wait_for_deliveries(f);
      return;
    }
  } while (sl_clock_monotonic_us() < until);
  agent_serve_kafka(a);
}

static void letters_start(agent *a, const core_action *action) {
  fill *f = &a->fill;
  if (!f->list) f->list = malloc(LETTERS_CHUNK * sizeof *f->list);
  if (!f->list) {
    f->done.why = no_memory;
    ops_done(a, f->done);
    return;
  }
  f->list_at = f->list_count = 0;
  f->list_from = action->from;
  f->letters_to = action->to;
  f->active = true;
  f->waiting = false;
  f->idle.data = a;
  uv_idle_start(&f->idle, letters_slice);
}

/* --- events --- */

static void look_at_clocks(fill *f) {
  f->now_us = sl_clock_monotonic_us();
  f->wall_us = sl_clock_wall_us();
}

static void slice(uv_idle_t *idle) {
  agent *a = idle->data;
  fill *f = &a->fill;
  sl_breathes = indexer_gives_way(&a->indexer);
  look_at_clocks(f);
  const int64_t until = f->now_us + SLICE_US;
  for (int i = 0; i < SLICE_RECORDS; i++) {
    if (core_waits(a->core)) {
      wait_for_deliveries(f);
      return;
    }
    const sl_record *r = f->held;
    f->held = NULL;
    sl_status st = r ? SL_OK : sl_iter_next(f->iter, &r);
    if (st == SL_NOTFOUND) {
      fill_end(a, FILL_END_OF_LOG, NULL);
      return;
    }
    if (st != SL_OK) {
      fault why = store_fault();
      fill_end(a, FILL_STOPPED, &why);
      return;
    }
    switch (take(a, r)) {
    case TAKEN:
    case AGAIN: break;
    case ENDED: fill_end(a, FILL_STOPPED, NULL); return;
    case PAUSED:
      f->held = r;
      wait_for_deliveries(f);
      return;
    }
    if ((i & 63) != 63) continue;
    sl_breathe();
    look_at_clocks(f);
    if (f->now_us >= until) break;
  }
  agent_serve_kafka(a);
}

void fill_resume(agent *a) {
  if (!a->fill.active || !a->fill.waiting) return;
  a->fill.waiting = false;
  uv_idle_start(&a->fill.idle, a->fill.letters ? letters_slice : slice);
}

void fill_start(agent *a, const core_action *action) {
  fill *f = &a->fill;
  f->done = (core_event){.kind = EVENT_DONE, .op = OP_FILL};
  f->replay_count = 0;
  f->letters = action->letters;
  if (f->letters) {
    letters_start(a, action);
    return;
  }
  sl_query query = {.first_seq = action->from, .last_seq = action->to};
  if (action->topic) query.topic = sl_slice_of(action->topic); /* a glob that means itself: a name has no * ? [ */
  if (sl_iter_start(a->store, &query, &f->iter) != SL_OK) {
    f->done.why = store_fault();
    ops_done(a, f->done);
    return;
  }
  f->active = true;
  f->waiting = false;
  f->held = NULL;
  f->idle.data = a;
  uv_idle_start(&f->idle, slice);
}

fault fill_produce_marker(agent *a, sl_slice marker) {
  fault why = {0};
  if (!core_txn_begun(a->core)) {
    why = kafka_begin(a->kafka);
    if (!fault_is_ok(&why)) return why;
    core_begun(a->core);
  }
  a->marker_offset = -1;
  a->marker_fault = (fault){0};
  kafka_record record = {.topic = a->settings.marker_topic,
                         .partition = delivery_state_get(a->delivery)->marker_partition,
                         .key = SL_BYTES(a->store_id, 36), .value = marker};
  return kafka_produce(a->kafka, &record, TAG_MARKER);
}
