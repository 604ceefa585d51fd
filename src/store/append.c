/*
 * An append, from the caller's event to its records: check the fields, make ids, read the clock, look names up in the
 * cache, encode. group.c and commit.c bring them into the log. What a leader of another process did with names that
 * were new is learned afterwards.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "index/index.h"
#include "store/append.h"
#include "store/log_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM_FIRST 4096u  /* one event fits, mostly */
#define RECORD_ROOM 512u /* beside its value, of most records */
#define NAMES_MOST 1024u /* bytes that topic and type take at most where they stand in a record, and its header */

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

/* The attributes' size as if topic and type had no number yet: what is taken must not hang on who wrote before.
 * The value's bytes play no part in it. */
static sl_status check_size(const sl_event *e) {
  const sl_parts parts = {.topic = e->topic, .type = e->type.len ? e->type : e->topic, .event_id = e->event_id,
                          .correlation_id = e->correlation_id, .causation_id = e->causation_id, .key = e->key,
                          .tenant = e->tenant, .source = e->source, .header_count = e->header_count,
                          .headers = e->headers};
  sl_buf out = {0};
  sl_status status = sl_record_encode(&parts, &out);
  sl_buf_free(&out);
  return status;
}

static sl_status frame(const sl_parts *parts, sl_buf *bytes) {
  const size_t at = bytes->len;
  if (sl_buf_extend(bytes, parts->value.len + RECORD_ROOM)) bytes->len = at; /* room at once */
  sl_buf_extend(bytes, 4);
  sl_status status = sl_record_encode(parts, bytes);
  if (status == SL_OK) sl_put_u32(bytes->data + at, (uint32_t)(bytes->len - at - 4));
  return status;
}

static sl_status encode(const sl_store *store, const sl_event *e, sl_buf *bytes, group_batch *batch) {
  sl_status status = check_event(store, e);
  if (status != SL_OK) return status;
  const sl_dict *dict = store->log->dict;
  const size_t before = bytes->len;
  char made_id[36];
  sl_parts parts = {
    .appended_us = batch->now_us, .occurred_us = e->occurred_at_us,
    .topic = e->topic, .type = e->type.len ? e->type : e->topic,
    .event_id = e->event_id, .correlation_id = e->correlation_id, .causation_id = e->causation_id,
    .key = e->key, .tenant = e->tenant, .source = e->source,
    .header_count = e->header_count, .headers = e->headers, .value = e->value,
  };
  parts.topic_id = dict_id(dict, parts.topic);
  parts.type_id = e->type.len ? dict_id(dict, parts.type) : parts.topic_id;
  batch->renumber |= parts.topic_id == SL_NAME_INLINE || parts.type_id == SL_NAME_INLINE;
  const bool relaxed = store->options.durability == SL_RELAXED || (e->flags & SL_EVENT_RELAXED);
  if (!relaxed || (e->flags & SL_EVENT_DURABLE)) batch->relaxed = false;
  if (e->event_id.len == 0) {
    uint8_t uuid[16];
    if (!sl_uuid_v7(batch->now_us / 1000, uuid)) return sl_fail(SL_E_IO, "the system gives no random bytes");
    sl_uuid_format(uuid, made_id);
    parts.event_id = SL_BYTES(made_id, 36);
  }
  status = frame(&parts, bytes);
  const bool near_limit = status == SL_OK && bytes->len - before > e->value.len + SL_MAX_ATTRIBUTES - NAMES_MOST;
  return near_limit ? check_size(e) : status;
}

sl_status append_encode(sl_store *store, const sl_event *events, size_t count, sl_buf *bytes, group_batch *batch,
                        size_t *bad) {
  *batch = (group_batch){.count = (uint32_t)count, .now_us = sl_clock_wall_us(), .relaxed = true};
  for (size_t i = 0; i < count; i++) {
    sl_status status = encode(store, &events[i], bytes, batch);
    if (status == SL_OK && bytes->len > APPEND_BYTES_MAX)
      status = sl_fail(SL_E_TOO_LARGE, "a batch may hold %" PRIu64 " MiB: use smaller ones", APPEND_BYTES_MAX >> 20);
    if (status == SL_OK) continue;
    if (status != SL_E_INVALID && status != SL_E_TOO_LARGE) return status;
    if (bad) *bad = i;
    return count > 1 ? sl_fail_context(status, "event %zu of %zu", i + 1, count) : status;
  }
  batch->records = sl_buf_slice(bytes);
  return SL_OK;
}

sl_status append_encode_copy(sl_store *store, const sl_parts *from, uint64_t origin, sl_buf *bytes, group_batch *batch) {
  sl_parts parts = {
    .flags = SL_RECORD_REPLAY, .origin_seq = origin, .appended_us = sl_clock_wall_us(), .occurred_us = from->occurred_us,
    .topic = from->topic, .type = from->type, .event_id = from->event_id, .correlation_id = from->correlation_id,
    .causation_id = from->causation_id, .key = from->key, .tenant = from->tenant, .source = from->source,
    .header_count = from->header_count, .value = from->value,
  };
  sl_header *headers = NULL;
  if (from->header_count) {
    headers = malloc(from->header_count * sizeof *headers);
    if (!headers) return sl_fail(SL_E_NOMEM, "out of memory");
    sl_status status = sl_record_headers(from, headers);
    if (status != SL_OK) {
      free(headers);
      return status;
    }
  }
  parts.headers = headers;
  parts.topic_id = dict_id(store->log->dict, parts.topic);
  parts.type_id = dict_id(store->log->dict, parts.type);
  *batch = (group_batch){.count = 1, .copies = 1, .now_us = parts.appended_us,
                         .relaxed = store->options.durability == SL_RELAXED,
                         .renumber = parts.topic_id == SL_NAME_INLINE || parts.type_id == SL_NAME_INLINE};
  sl_status status = frame(&parts, bytes);
  batch->records = sl_buf_slice(bytes);
  free(headers);
  return status;
}

/* ---------------------------------------------------------------- commit --- */

/* Numbers that the names have since: another process may have committed for us. Best effort: a name that is not
 * learned costs the next leader a look. */
static void learn_names(sl_store *store, const group_batch *batch) {
  sl_dict *dict = store->log->dict;
  sl_slice rest = batch->records, record;
  sl_parts parts;
  db_txn *txn = NULL;
  while (group_next(&rest, &record) && sl_record_peek(record, &parts) == SL_OK) {
    const bool known = (parts.topic_id || dict_id(dict, parts.topic)) && (parts.type_id || dict_id(dict, parts.type));
    if (known) continue;
    if (!txn && db_begin_read(store->log->env, &txn) != SL_OK) return;
    if (!parts.topic_id) dict_id_in(dict, txn, parts.topic);
    if (!parts.type_id) dict_id_in(dict, txn, parts.type);
  }
  db_abort(txn);
}

sl_status append_commit(sl_store *store, const group_batch *batch, uint64_t *first_seq) {
  sl_status (*const write)(sl_store *, const group_batch *, uint64_t *) = batch->copies ? group_append_alone : group_append;
  sl_status status = write(store, batch, first_seq);
  space_tries tries = {0};
  while (status == SL_E_FULL && space_make_room(store, batch->records.len, &tries))
    status = write(store, batch, first_seq);
  if (status == SL_OK && batch->renumber) learn_names(store, batch);
  return status;
}

/* ---------------------------------------------------------------- public --- */

sl_status sl_append_many(sl_store *store, const sl_event *events, size_t count, uint64_t *first_seq,
                         size_t *bad) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!events || count == 0 || count > APPEND_EVENTS_MAX)
    return sl_fail(SL_E_INVALID, "a batch holds 1 to %u events, not %zu", APPEND_EVENTS_MAX,
                   events ? count : 0);
  uint8_t room[ROOM_FIRST]; /* the heap's own pages are cold again each time that a producer has waited */
  sl_buf bytes = sl_buf_on(room, sizeof room);
  group_batch batch;
  uint64_t first = 0;
  status = append_encode(store, events, count, &bytes, &batch, bad);
  if (status == SL_OK) status = append_commit(store, &batch, &first);
  if (status == SL_OK && first_seq) *first_seq = first;
  sl_buf_free(&bytes);
  if (status == SL_OK) index_help_append(store, first, count);
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
  return status == SL_OK ? check_size(event) : status;
}
