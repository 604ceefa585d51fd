#include "letter.h"

#include "base/text.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_gen.h>

#define BATCH_OVERHEAD 120

/* --- texts without secrets --- */

typedef struct masked { sl_buf *to; bool json; } masked;

static void take(void *arg, sl_slice text, int json) {
  masked *m = arg;
  sl_buf_append(m->to, text.data, text.len);
  m->json = json;
}

static bool mask(sl_buf *to, sl_slice text, bool *json) {
  masked m = {to, false};
  const bool ok = sl_redact(text, take, &m) == SL_OK && !to->failed;
  if (json) *json = m.json;
  return ok;
}

/* --- JSON --- */

static void put_name(yajl_gen g, const char *name) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
}

/* Bytes that are no UTF-8 are told in base64, with a word in front that says so. */
static void put_bytes(yajl_gen g, sl_slice bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (sl_utf8_valid(bytes)) {
    yajl_gen_string(g, bytes.data ? bytes.data : (const unsigned char *)"", bytes.len);
    return;
  }
  sl_buf text = {0};
  const uint8_t *p = bytes.data;
  sl_buf_append(&text, "base64:", 7);
  for (size_t i = 0; i < bytes.len; i += 3) {
    const size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
    const uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0u);
    const char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                          n > 2 ? digits[v & 63] : '='};
    sl_buf_append(&text, four, 4);
  }
  yajl_gen_string(g, text.failed ? (const unsigned char *)"" : text.data, text.failed ? 0 : text.len);
  sl_buf_free(&text);
}

static void put_text(yajl_gen g, const char *name, sl_slice text) {
  put_name(g, name);
  if (text.data) put_bytes(g, text);
  else yajl_gen_null(g);
}

static void put_number(yajl_gen g, const char *name, int64_t n) {
  put_name(g, name);
  yajl_gen_integer(g, n);
}

static void put_time(yajl_gen g, const char *name, int64_t us) {
  char text[32];
  sl_time_format(us, text);
  put_text(g, name, sl_slice_of(text));
}

typedef struct made {
  yajl_gen g;
  const sl_record *r;
  const letter_place *place;
  sl_slice value, key, reason; /* masked; value.data NULL: left out */
  bool json;
  int64_t failed_us;
} made;

/* The value as JSON where it is: byte for byte, but for what was masked. */
static void put_value(const made *m, const char *name, bool as_json) {
  char note[120], omitted[48];
  if (m->place->slim) {
    put_text(m->g, name, (sl_slice){0});
    snprintf(omitted, sizeof omitted, "%s_omitted", name);
    snprintf(note, sizeof note, "%zu bytes, more than this topic takes: in the store, seq %" PRIu64,
             m->r->value.len, m->r->seq);
    put_text(m->g, omitted, sl_slice_of(note));
  } else if (as_json && m->json) {
    put_name(m->g, name);
    yajl_gen_number(m->g, m->value.data, m->value.len); /* as it stands */
  } else {
    put_name(m->g, name);
    put_bytes(m->g, m->value);
  }
}

static void put_infra(const made *m) {
  const sl_record *r = m->r;
  put_text(m->g, "original_topic", r->topic);
  put_name(m->g, "original_message");
  yajl_gen_map_open(m->g);
  put_text(m->g, "key", m->key);
  put_value(m, "value", false);
  put_text(m->g, "offset", (sl_slice){0}); /* it never got one */
  put_text(m->g, "partition", (sl_slice){0});
  yajl_gen_map_close(m->g);
  put_text(m->g, "failure_reason", m->reason);
  put_time(m->g, "failure_timestamp", m->failed_us);
  put_text(m->g, "correlation_id", r->correlation_id.len ? r->correlation_id : (sl_slice){0});
  put_number(m->g, "retry_count", r->attempts > 0 ? r->attempts - 1 : 0);
  put_text(m->g, "error_type", r->error_code);
  put_text(m->g, "failure_class", r->error_class);
}

static void put_bridge(const made *m) {
  put_text(m->g, "original_topic", m->r->topic);
  put_text(m->g, "original_key", m->key);
  put_value(m, "original_data", true);
  put_text(m->g, "failure_reason", m->reason);
  put_time(m->g, "failure_timestamp", m->failed_us);
  put_number(m->g, "retry_attempts", m->r->attempts > 0 ? m->r->attempts - 1 : 0);
}

static void put_archon(const made *m) {
  put_text(m->g, "original_topic", m->r->topic);
  put_value(m, "original_envelope", true);
  put_text(m->g, "error_message", m->reason);
  put_name(m->g, "error_timestamp");
  char seconds[40];
  const int n = snprintf(seconds, sizeof seconds, "%" PRId64 ".%06d", m->failed_us / 1000000,
                         (int)(m->failed_us % 1000000));
  yajl_gen_number(m->g, seconds, (size_t)n);
  put_text(m->g, "service", SL_STR("sidelog"));
  put_text(m->g, "instance_id", sl_slice_of(m->place->store));
  put_number(m->g, "retry_count", m->r->attempts > 0 ? m->r->attempts - 1 : 0);
}

/* --- headers --- */

static bool add(letter *l, sl_slice name, sl_slice value) {
  if (value.len == 0) return true;
  if (l->header_count == l->header_cap) {
    const size_t cap = l->header_cap ? l->header_cap * 2 : LETTER_HEADERS;
    sl_header *more = realloc(l->headers, cap * sizeof *more);
    if (!more) return false;
    l->headers = more;
    l->header_cap = cap;
  }
  l->headers[l->header_count++] = (sl_header){name, value};
  return true;
}

static bool is_ours(const letter *l, size_t ours, sl_slice name) {
  for (size_t i = 0; i < ours; i++)
    if (sl_slice_eq(l->headers[i].name, name)) return true;
  return false;
}

static bool mask_header(sl_buf *to, const sl_header *h) {
  if (!sl_secret_name(h->name)) return mask(to, h->value, NULL);
  sl_buf_append(to, "[redacted]", 10);
  return !to->failed;
}

static bool put_headers(letter *l, const made *m, sl_slice failed_at, sl_slice seq, const size_t *ends) {
  const sl_record *r = m->r;
  bool ok = add(l, SL_STR("original_topic"), r->topic) &&
            add(l, SL_STR("dlq_topic"), sl_slice_of(m->place->topic)) &&
            add(l, SL_STR("failure_reason"), m->reason) && add(l, SL_STR("failure_timestamp"), failed_at) &&
            add(l, SL_STR("x-correlation-id"), r->correlation_id) &&
            add(l, SL_STR("x-causation-id"), r->causation_id) &&
            add(l, SL_STR("x-tenant"), r->tenant) && add(l, SL_STR("x-event-id"), r->event_id) &&
            add(l, SL_STR("x-sidelog-store"), sl_slice_of(m->place->store)) &&
            add(l, SL_STR("x-sidelog-seq"), seq) && add(l, SL_STR("x-error-class"), r->error_class) &&
            add(l, SL_STR("x-error-code"), r->error_code);
  const size_t ours = l->header_count;
  for (size_t i = 0; i < r->header_count && ok; i++) {
    const size_t from = i ? ends[i - 1] : 0;
    if (!is_ours(l, ours, r->headers[i].name))
      ok = add(l, r->headers[i].name, SL_BYTES(l->texts.data + from, ends[i] - from));
  }
  return ok;
}

/* --- all of it --- */

static bool generate(made *m, sl_buf *out) {
  m->g = yajl_gen_alloc(NULL);
  if (!m->g) return false;
  yajl_gen_map_open(m->g);
  switch (m->place->profile) {
  case PROFILE_INFRA: put_infra(m); break;
  case PROFILE_BRIDGE: put_bridge(m); break;
  case PROFILE_ARCHON: put_archon(m); break;
  }
  yajl_gen_map_close(m->g);
  const unsigned char *json = NULL;
  size_t len = 0;
  const bool ok = yajl_gen_get_buf(m->g, &json, &len) == yajl_gen_status_ok && len > 0;
  if (ok) sl_buf_append(out, json, len);
  yajl_gen_free(m->g);
  return ok && !out->failed;
}

bool letter_make(letter *l, const sl_record *r, const letter_place *place) {
  char reason[1400], when[32], seq[24];
  sl_buf value = {0};
  size_t *ends = malloc((r->header_count + 1) * sizeof *ends);
  made m = {.r = r, .place = place, .failed_us = r->last_failure_us > 0 ? r->last_failure_us : r->settled_at_us};
  const int n = snprintf(reason, sizeof reason, "%.*s: %.*s", (int)r->error_code.len,
                         (const char *)r->error_code.data, (int)r->error_text.len,
                         (const char *)r->error_text.data);
  sl_buf_reset(&l->value);
  sl_buf_reset(&l->texts);
  l->header_count = 0;
  sl_time_format(m.failed_us, when);
  const int seq_len = snprintf(seq, sizeof seq, "%" PRIu64, r->seq);
  /* Header values, key, reason and time, one behind the other; slices are taken once it no longer grows. */
  bool ok = ends != NULL;
  for (size_t i = 0; i < r->header_count && ok; i++) {
    ok = mask_header(&l->texts, &r->headers[i]);
    ends[i] = l->texts.len;
  }
  const size_t key_at = l->texts.len;
  ok = ok && mask(&l->texts, r->key.data ? r->key : r->event_id, NULL);
  const size_t reason_at = l->texts.len;
  ok = ok && mask(&l->texts, SL_BYTES(reason, n > 0 ? n : 0), NULL);
  const size_t when_at = l->texts.len;
  sl_buf_append(&l->texts, when, strlen(when));
  sl_buf_append(&l->texts, seq, (size_t)seq_len);
  ok = ok && !l->texts.failed && (place->slim || mask(&value, r->value, &m.json));
  if (ok) {
    l->key = SL_BYTES(l->texts.data + key_at, reason_at - key_at);
    m.key = r->key.data ? l->key : (sl_slice){0};
    m.reason = SL_BYTES(l->texts.data + reason_at, when_at - reason_at);
    m.value = value.data ? sl_buf_slice(&value) : SL_STR("");
    ok = generate(&m, &l->value) &&
         put_headers(l, &m, SL_BYTES(l->texts.data + when_at, strlen(when)),
                     SL_BYTES(l->texts.data + l->texts.len - (size_t)seq_len, seq_len), ends);
  }
  sl_buf_free(&value);
  free(ends);
  return ok;
}

size_t letter_size(const letter *l) {
  size_t size = BATCH_OVERHEAD + l->value.len + l->key.len;
  for (size_t i = 0; i < l->header_count; i++) size += l->headers[i].name.len + l->headers[i].value.len + 4;
  return size;
}

void letter_free(letter *l) {
  sl_buf_free(&l->value);
  sl_buf_free(&l->texts);
  free(l->headers);
  *l = (letter){0};
}
