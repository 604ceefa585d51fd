#include "mask.h"

#include <sidelog/dead.h>
#include <stdlib.h>

static void take(void *out, sl_slice words, int is_json) {
  (void)is_json;
  text_add(out, words.data, words.len);
}

static sl_slice masked(mask *m, text *into, sl_slice bytes) {
  text_clear(into);
  if (bytes.len && sl_redact(bytes, take, into) != SL_OK)
    m->failed = true;
  return bytes.data ? (sl_slice){text_str(into), into->len} : bytes;
}

const sl_record *mask_record(mask *m, const sl_record *r) {
  m->record = *r;
  sl_record *n = &m->record;
  sl_slice *const fields[MASK_FIELDS] = {
      &n->topic,  &n->type,  &n->event_id,    &n->correlation_id, &n->causation_id, &n->key,        &n->tenant,
      &n->source, &n->value, &n->error_class, &n->error_code,     &n->error_text,   &n->dropped_by,
      &n->drop_reason};
  for (size_t i = 0; i < MASK_FIELDS; i++)
    *fields[i] = masked(m, &m->parts[i], *fields[i]);
  if (r->header_count > m->header_cap) {
    m->headers = tool_grow(m->headers, r->header_count * sizeof *m->headers);
    m->values = tool_grow(m->values, r->header_count * sizeof *m->values);
    while (m->header_cap < r->header_count)
      m->values[m->header_cap++] = (text){0};
  }
  for (size_t i = 0; i < r->header_count; i++) {
    m->headers[i].name = r->headers[i].name;
    m->headers[i].value = sl_secret_name(r->headers[i].name) ? slice_of("[redacted]")
                                                             : masked(m, &m->values[i], r->headers[i].value);
  }
  n->headers = m->headers;
  return n;
}

void mask_free(mask *m) {
  for (size_t i = 0; i < MASK_FIELDS; i++)
    text_free(&m->parts[i]);
  for (size_t i = 0; i < m->header_cap; i++)
    text_free(&m->values[i]);
  free(m->values);
  free(m->headers);
}

bool mask_words(text *out, sl_slice words) { return sl_redact(words, take, out) == SL_OK; }
