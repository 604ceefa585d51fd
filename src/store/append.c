/*
 * An append, from the caller's event to its records: check the fields, make ids, read the clock, look names up in the
 * cache, encode. group.c and commit.c bring them into the log. What a leader of another process did with names that
 * were new is learned afterwards.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "store/group.h"
#include "store/log_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_EVENTS_MAX 65536u
#define BATCH_BYTES_MAX (UINT64_C(256) << 20) /* of encoded records: LMDB holds a commit's pages in memory */

typedef struct batch {
  sl_store *store;
  size_t count;
  sl_buf bytes;              /* framed records */
  int64_t now_us;
  bool relaxed, renumber;    /* as in group_batch */
} batch;

/* ---------------------------------------------------------------- rules --- */

static sl_status check_text(const char *field, sl_slice text, size_t max, bool required) {
  if (text.len == 0 && !required) return SL_OK;
  if (text.len > 0 && !text.data)
    return sl_fail(SL_E_INVALID, "%s has a length but no data", field);
  if (text.len == 0) return sl_fail(SL_E_INVALID, "%s is empty, but required", field);
  if (text.len > max)
    return sl_fail(SL_E_INVALID, "%s has %zu bytes: at most %zu are allowed", field, text.len, max);
  if (!sl_utf8_valid(text)) return sl_fail(SL_E_INVALID, "%s is not valid UTF-8", field);
  if (memchr(text.data, 0, text.len)) return sl_fail(SL_E_INVALID, "%s contains a NUL byte", field);
  return SL_OK;
}

static sl_status check_topic(sl_slice topic) {
  sl_status status = check_text("topic", topic, 249, true);
  if (status != SL_OK || sl_topic_valid(topic)) return status;
  const char *text = topic.data;
  for (size_t i = 0; i < topic.len; i++) {
    unsigned char c = (unsigned char)text[i];
    if (sl_topic_valid(SL_BYTES(text + i, 1)) || c == '.') continue;
    char what[32] = "a blank";
    if (c < 0x20 || c == 0x7f) snprintf(what, sizeof what, "a control character (0x%02x)", c);
    else if (c >= 0x80) snprintf(what, sizeof what, "a non-ASCII character");
    else if (c != ' ') snprintf(what, sizeof what, "'%c'", c);
    int shown = (int)(topic.len < 80 ? topic.len : 80);
    return sl_fail(SL_E_INVALID, "topic '%.*s' has %s at %zu: allowed are letters, digits, . _ -", shown,
                   text, what, i + 1);
  }
  return sl_fail(SL_E_INVALID, "topic '%.*s' is no legal name: . and .. are reserved", (int)topic.len, text);
}

static sl_status check_value(const sl_store *store, const sl_event *e) {
  if (e->value.len > 0 && !e->value.data) return sl_fail(SL_E_INVALID, "value has a length but no data");
  if (e->value.len > store->options.max_value)
    return sl_fail(SL_E_TOO_LARGE, "value has %zu bytes: max_value is %" PRIu32, e->value.len,
                   store->options.max_value);
  if (e->key.len > 0 && !e->key.data) return sl_fail(SL_E_INVALID, "key has a length but no data");
  if (e->key.len > 32768)
    return sl_fail(SL_E_INVALID, "key has %zu bytes: at most 32768 are allowed", e->key.len);
  return SL_OK;
}

static sl_status check_headers(const sl_event *e) {
  if (e->header_count > 0 && !e->headers)
    return sl_fail(SL_E_INVALID, "headers is NULL, but header_count is not 0");
  if (e->header_count > SL_MAX_ATTRIBUTES)
    return sl_fail(SL_E_TOO_LARGE, "%zu headers cannot fit: attributes take at most %u bytes",
                   e->header_count, SL_MAX_ATTRIBUTES);
  for (size_t i = 0; i < e->header_count; i++) {
    sl_status status = check_text("header name", e->headers[i].name, 255, true);
    if (status == SL_OK && e->headers[i].value.len > 0 && !e->headers[i].value.data)
      status = sl_fail(SL_E_INVALID, "header value has a length but no data");
    if (status != SL_OK) return sl_fail_context(status, "header %zu", i);
  }
  return SL_OK;
}

static sl_status check_event(const sl_store *store, const sl_event *e) {
  sl_status s = SL_OK;
  if (e->version > SL_EVENT_VERSION)
    s = sl_fail(SL_E_INVALID, "sl_event.version is %" PRIu32 ": this library knows up to %u", e->version,
                SL_EVENT_VERSION);
  if (s == SL_OK && (e->flags & ~(uint32_t)(SL_EVENT_DURABLE | SL_EVENT_RELAXED)))
    s = sl_fail(SL_E_INVALID, "sl_event.flags has unknown bits: %#" PRIx32, e->flags);
  if (s == SL_OK) s = check_topic(e->topic);
  if (s == SL_OK) s = check_text("type", e->type, 255, false);
  if (s == SL_OK) s = check_text("event_id", e->event_id, 255, false);
  if (s == SL_OK) s = check_text("correlation_id", e->correlation_id, 255, false);
  if (s == SL_OK) s = check_text("causation_id", e->causation_id, 255, false);
  if (s == SL_OK) s = check_text("tenant", e->tenant, 255, false);
  if (s == SL_OK) s = check_text("source", e->source, 255, false);
  if (s == SL_OK) s = check_headers(e);
  if (s == SL_OK) s = check_value(store, e);
  return s;
}

/* ---------------------------------------------------------------- encode --- */

static sl_status encode(batch *b, const sl_event *e, const sl_parts *parts) {
  const size_t at = b->bytes.len;
  sl_buf_extend(&b->bytes, 4);
  sl_status status = sl_record_encode(parts, &b->bytes);
  if (status != SL_OK) return status;
  sl_put_u32(b->bytes.data + at, (uint32_t)(b->bytes.len - at - 4));
  b->renumber |= parts->topic_id == SL_NAME_INLINE || parts->type_id == SL_NAME_INLINE;
  if (e->flags & SL_EVENT_DURABLE) b->relaxed = false;
  else if (!(e->flags & SL_EVENT_RELAXED) && b->store->options.durability != SL_RELAXED) b->relaxed = false;
  return SL_OK;
}

static sl_status prepare(batch *b, const sl_event *e) {
  sl_status status = check_event(b->store, e);
  if (status != SL_OK) return status;
  const sl_dict *dict = b->store->log->dict;
  char made_id[36];
  sl_parts parts = {
    .appended_us = b->now_us, .occurred_us = e->occurred_at_us,
    .topic = e->topic, .type = e->type.len ? e->type : e->topic,
    .event_id = e->event_id, .correlation_id = e->correlation_id, .causation_id = e->causation_id,
    .key = e->key, .tenant = e->tenant, .source = e->source,
    .header_count = e->header_count, .headers = e->headers, .value = e->value,
  };
  parts.topic_id = dict_id(dict, parts.topic);
  parts.type_id = e->type.len ? dict_id(dict, parts.type) : parts.topic_id;
  if (e->event_id.len == 0) {
    uint8_t uuid[16];
    if (!sl_uuid_v7(b->now_us / 1000, uuid)) return sl_fail(SL_E_IO, "the system gives no random bytes");
    sl_uuid_format(uuid, made_id);
    parts.event_id = SL_BYTES(made_id, 36);
  }
  return encode(b, e, &parts);
}

static sl_status prepare_all(batch *b, const sl_event *events, size_t *bad) {
  b->now_us = sl_clock_wall_us();
  b->relaxed = true;
  for (size_t i = 0; i < b->count; i++) {
    sl_status status = prepare(b, &events[i]);
    if (status == SL_OK && b->bytes.len > BATCH_BYTES_MAX)
      status = sl_fail(SL_E_TOO_LARGE, "a batch may hold %" PRIu64 " MiB: use smaller ones",
                       BATCH_BYTES_MAX >> 20);
    if (status == SL_OK) continue;
    if (status != SL_E_INVALID && status != SL_E_TOO_LARGE) return status;
    if (bad) *bad = i;
    return b->count > 1 ? sl_fail_context(status, "event %zu of %zu", i + 1, b->count) : status;
  }
  return SL_OK;
}

/* Numbers that the names have since: another process may have committed for us. Best effort: a name that is not
 * learned costs the next leader a look. */
static void learn_names(const batch *b, const sl_event *events) {
  db_txn *txn;
  sl_dict *dict = b->store->log->dict;
  bool missing = false;
  for (size_t i = 0; i < b->count && !missing; i++)
    missing = dict_id(dict, events[i].topic) == SL_NAME_INLINE ||
              (events[i].type.len && dict_id(dict, events[i].type) == SL_NAME_INLINE);
  if (!missing || db_begin_read(b->store->log->env, &txn) != SL_OK) return;
  for (size_t i = 0; i < b->count; i++) {
    dict_id_in(dict, txn, events[i].topic);
    if (events[i].type.len) dict_id_in(dict, txn, events[i].type);
  }
  db_abort(txn);
}

/* ---------------------------------------------------------------- public --- */

sl_status sl_append_many(sl_store *store, const sl_event *events, size_t count, uint64_t *first_seq,
                         size_t *bad) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!events || count == 0 || count > BATCH_EVENTS_MAX)
    return sl_fail(SL_E_INVALID, "a batch holds 1 to %u events, not %zu", BATCH_EVENTS_MAX,
                   events ? count : 0);
  batch b = {.store = store, .count = count};
  uint64_t first = 0;
  status = prepare_all(&b, events, bad);
  if (status == SL_OK) {
    const group_batch g = {.records = sl_buf_slice(&b.bytes), .count = (uint32_t)count, .now_us = b.now_us,
                           .relaxed = b.relaxed, .renumber = b.renumber};
    status = group_append(store, &g, &first);
  }
  if (status == SL_OK && b.renumber) learn_names(&b, events);
  if (status == SL_OK && first_seq) *first_seq = first;
  sl_buf_free(&b.bytes);
  return status;
}

sl_status sl_append(sl_store *store, const sl_event *event, uint64_t *seq) {
  if (store && !event) return sl_fail(SL_E_INVALID, "event is NULL");
  return sl_append_many(store, event, 1, seq, NULL);
}

sl_status sl_event_check(const sl_store *store, const sl_event *event) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!event) return sl_fail(SL_E_INVALID, "event is NULL");
  status = check_event(store, event);
  if (status != SL_OK) return status;
  /* The attributes' size is known once they are encoded; the value's bytes play no part in it. */
  sl_parts parts = {.topic = event->topic, .type = event->type, .event_id = event->event_id,
                    .correlation_id = event->correlation_id, .causation_id = event->causation_id,
                    .key = event->key, .tenant = event->tenant, .source = event->source,
                    .header_count = event->header_count, .headers = event->headers,
                    .topic_id = 1, .type_id = 1};
  sl_buf out = {0};
  status = sl_record_encode(&parts, &out);
  sl_buf_free(&out);
  return status;
}
