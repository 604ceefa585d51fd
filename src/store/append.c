/*
 * An append, from the caller's event to the disk:
 *
 *   outside the writer lock   check the fields, make ids, read the clock, look names up in the cache, encode
 *   inside                    next seq = last + 1 (trim leaves the newest record, so no counter is written);
 *                             clamp the time against the newest record; give numbers to new names;
 *                             encode again if either changed a record; quota; put; commit
 *   after the commit          the cache learns the new names
 *
 * A record is encoded again inside only for a new name, or when another producer's clock reading, taken
 * later, was committed earlier (then `clamp` is not zero): under contention mostly the latter. That costs a
 * fraction of a microsecond per KB against a flush of 100 and more.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "store/log_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_EVENTS_MAX 65536u
#define BATCH_BYTES_MAX (UINT64_C(256) << 20) /* of encoded records: LMDB holds a commit's pages in memory */
#define ERA_STEP_US INT64_C(60000000)

typedef struct item {
  const sl_event *event;
  sl_slice topic, type;
  uint32_t topic_id, type_id;
  size_t at, len;            /* in the batch's bytes */
  char made_id[36];          /* the event id, if the producer gave none */
} item;

typedef struct batch {
  sl_store *store;
  item *items;
  size_t count;
  item one;                  /* of the commonest batch */
  sl_buf bytes;
  int64_t now_us;
  uint32_t clamp_us;
  uint64_t pages;
  dict_pending pending;
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
  if (s == SL_OK && e->flags)
    s = sl_fail(SL_E_INVALID, "sl_event.flags is %#" PRIx32 ": it must be 0", e->flags);
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

static sl_status encode(batch *b, item *it) {
  const sl_event *e = it->event;
  sl_parts parts = {
    .appended_us = b->now_us, .clamp_us = b->clamp_us, .occurred_us = e->occurred_at_us,
    .topic_id = it->topic_id, .type_id = it->type_id, .topic = it->topic, .type = it->type,
    .event_id = e->event_id.len ? e->event_id : SL_BYTES(it->made_id, 36),
    .correlation_id = e->correlation_id, .causation_id = e->causation_id,
    .key = e->key, .tenant = e->tenant, .source = e->source,
    .header_count = e->header_count, .headers = e->headers, .value = e->value,
  };
  it->at = b->bytes.len;
  sl_status status = sl_record_encode(&parts, &b->bytes);
  it->len = b->bytes.len - it->at;
  return status;
}

static sl_status prepare(batch *b, item *it, const sl_event *event) {
  sl_status status = check_event(b->store, event);
  if (status != SL_OK) return status;
  it->event = event;
  it->topic = event->topic;
  it->type = event->type.len ? event->type : event->topic;
  it->topic_id = dict_id(b->store->log->dict, it->topic);
  it->type_id = event->type.len ? dict_id(b->store->log->dict, it->type) : it->topic_id;
  if (event->event_id.len == 0) {
    uint8_t uuid[16];
    if (!sl_uuid_v7(b->now_us / 1000, uuid)) return sl_fail(SL_E_IO, "the system gives no random bytes");
    sl_uuid_format(uuid, it->made_id);
  }
  return encode(b, it);
}

static sl_status prepare_all(batch *b, const sl_event *events, size_t *bad) {
  b->now_us = sl_clock_wall_us();
  for (size_t i = 0; i < b->count; i++) {
    sl_status status = prepare(b, &b->items[i], &events[i]);
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

/* ---------------------------------------------------------------- commit --- */

/* Numbers for the names the cache did not know. True in *changed: records must be encoded anew. */
static sl_status assign_names(batch *b, db_txn *txn, bool *changed) {
  sl_dict *dict = b->store->log->dict;
  for (size_t i = 0; i < b->count; i++) {
    item *it = &b->items[i];
    if (it->topic_id != SL_NAME_INLINE && it->type_id != SL_NAME_INLINE) continue;
    uint32_t topic = it->topic_id, type = it->type_id;
    sl_status status = SL_OK;
    if (topic == SL_NAME_INLINE) status = dict_assign(dict, txn, &b->pending, it->topic, &topic);
    if (status == SL_OK && type == SL_NAME_INLINE)
      status = dict_assign(dict, txn, &b->pending, it->type, &type);
    if (status != SL_OK) return status;
    *changed |= topic != it->topic_id || type != it->type_id;
    it->topic_id = topic;
    it->type_id = type;
  }
  return SL_OK;
}

/* The time of the batch against the newest record's. */
static sl_status fit_time(batch *b, db_txn *txn, uint64_t last, int64_t newest_us, bool *changed) {
  if (last == 0 || b->now_us >= newest_us) return SL_OK;
  if (newest_us - b->now_us > ERA_STEP_US) return log_era_begin(txn, last + 1);
  b->clamp_us = (uint32_t)(newest_us - b->now_us);
  *changed = true;
  return SL_OK;
}

static sl_status encode_again(batch *b) {
  sl_buf_reset(&b->bytes);
  for (size_t i = 0; i < b->count; i++) {
    sl_status status = encode(b, &b->items[i]);
    if (status != SL_OK) return status;
  }
  return SL_OK;
}

static uint64_t pages_of(const batch *b) {
  uint64_t pages = 0, leaf_bytes = 0;
  for (size_t i = 0; i < b->count; i++) {
    uint64_t own = quota_pages_of(b->items[i].len);
    if (own > 1) pages += own;
    else leaf_bytes += b->items[i].len + 24;
  }
  return pages + leaf_bytes / 3000 + 1; /* leaves that are split are not filled to the end */
}

static sl_status write_all(batch *b, db_txn *txn, uint64_t *first) {
  uint64_t last;
  int64_t newest_us;
  bool changed = false;
  log_meta meta;
  sl_status status = log_newest(txn, &last, &newest_us);
  if (status == SL_OK) status = log_meta_read(txn, &meta);
  if (status == SL_OK) status = fit_time(b, txn, last, newest_us, &changed);
  if (status == SL_OK) status = assign_names(b, txn, &changed);
  if (status == SL_OK && changed) status = encode_again(b);
  if (status == SL_OK) status = quota_check(b->store, txn, &meta, pages_of(b));
  if (status != SL_OK) return db_txn_fail(txn, status);
  for (size_t i = 0; i < b->count; i++) {
    uint64_t seq = last + 1 + i;
    db_append(txn, LOG_EVENTS, db_u64(&seq), SL_BYTES(b->bytes.data + b->items[i].at, b->items[i].len));
  }
  *first = last + 1;
  return db_txn_status(txn);
}

static sl_status commit(batch *b, uint64_t *first) {
  sl_log *log = b->store->log;
  db_txn *txn;
  sl_status status = db_begin_write(log->env, b->store->options.durability == SL_RELAXED, &txn);
  if (status != SL_OK) return status;
  write_all(b, txn, first);
  status = db_commit(txn); /* aborts, and says why, if write_all failed */
  if (status == SL_OK) dict_pending_learn(log->dict, &b->pending);
  return status;
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
  b.items = count == 1 ? &b.one : calloc(count, sizeof *b.items);
  uint64_t first = 0;
  status = b.items ? prepare_all(&b, events, bad)
                   : sl_fail(SL_E_NOMEM, "out of memory for %zu events", count);
  if (status == SL_OK) status = commit(&b, &first);
  if (status == SL_OK && first_seq) *first_seq = first;
  if (b.items != &b.one) free(b.items);
  sl_buf_free(&b.bytes);
  dict_pending_free(&b.pending);
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
