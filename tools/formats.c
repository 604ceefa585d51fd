#include "formats.h"

#include "hops.h"
#include "sources.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const format *const all[] = {&format_jsonl, &format_csv, &format_cloudevents, &format_otlp, &format_jaeger,
                                    &format_dot,   &format_mermaid};

const format *format_find(const char *name) {
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcmp(all[i]->name, name) == 0)
      return all[i];
  return NULL;
}

void format_names(text *out) {
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    text_printf(out, "%s%s", i ? ", " : "", all[i]->name);
}

/* ----------------------------------------------------------------- jsonl --- */

static void jsonl_put(exporter *e,
                      const sl_record *r) { record_json(e->tool, e->json, r, JSON_VALUE | JSON_HEADERS); }

const format format_jsonl = {.name = "jsonl", .put = jsonl_put};

/* ------------------------------------------------------------------- csv --- */

/* RFC 4180. On a terminal nothing hostile is written as it is. */
static void csv_text(exporter *e, sl_slice s) {
  text safe = {0};
  const char *p = s.data;
  if (e->out->term.tty) {
    text_add_safe(&safe, s, e->out->term.unicode);
    s = (sl_slice){text_str(&safe), safe.len};
    p = s.data;
  }
  bool quotes = false;
  for (size_t i = 0; i < s.len && !quotes; i++)
    quotes = strchr("\",\r\n ", p[i]) != NULL && p[i];
  out_puts(e->out, quotes ? "\"" : "");
  for (size_t i = 0; i < s.len; i++) {
    if (p[i] == '"')
      out_add(e->out, "\"", 1);
    out_add(e->out, p + i, 1);
  }
  out_puts(e->out, quotes ? "\"" : "");
  text_free(&safe);
}

static void csv_next(exporter *e, sl_slice s) {
  out_puts(e->out, ",");
  csv_text(e, s);
}

static void csv_time(exporter *e, int64_t us) {
  char when[WHEN_MAX] = "";
  if (us)
    when_rfc3339(us, when);
  csv_next(e, slice_of(when));
}

static void csv_number(exporter *e, bool known, int64_t n) {
  out_puts(e->out, ",");
  if (known)
    out_printf(e->out, "%" PRId64, n);
}

static void csv_begin(exporter *e) {
  out_puts(e->out,
           "seq,event_id,event_type,topic,correlation_id,causation_id,appended_at,occurred_at,status,partition,"
                   "offset,settled_at,tenant,source,key,duplicate_of,error_class,error_code,error_text,attempts,value,"
                   "value_base64");
  out_puts(e->out, many(e->tool) ? ",store\r\n" : "\r\n");
}

static void csv_put(exporter *e, const sl_record *r) {
  bool failed = r->state == SL_DEAD || r->state == SL_DROPPED, words = utf8_ok(r->value);
  text coded = {0};
  out_printf(e->out, "%" PRIu64, r->seq);
  const sl_slice names[] = {r->event_id, r->type, r->topic, r->correlation_id, r->causation_id};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    csv_next(e, names[i]);
  csv_time(e, r->appended_at_us);
  csv_time(e, r->occurred_at_us);
  csv_next(e, slice_of(sl_state_text(r->state)));
  csv_number(e, r->partition >= 0, r->partition);
  csv_number(e, r->offset >= 0, r->offset);
  csv_time(e, r->settled_at_us);
  csv_next(e, r->tenant);
  csv_next(e, r->source);
  csv_next(e, utf8_ok(r->key) ? r->key : SL_STR(""));
  csv_number(e, r->duplicate_of != 0, (int64_t)r->duplicate_of);
  csv_next(e, r->error_class);
  csv_next(e, r->error_code);
  csv_next(e, r->error_text);
  csv_number(e, failed, r->attempts);
  csv_next(e, words ? r->value : SL_STR(""));
  if (!words)
    text_base64(&coded, r->value);
  csv_next(e, (sl_slice){text_str(&coded), coded.len});
  if (many(e->tool))
    csv_next(e, slice_of(e->tool->sources[e->tool->from].name));
  out_puts(e->out, "\r\n");
  text_free(&coded);
}

const format format_csv = {.name = "csv", .begin = csv_begin, .put = csv_put};

/* ----------------------------------------------------------- cloudevents --- */

/* A URI reference: what may not stand in one is percent-encoded. */
static void uri_text(text *out, sl_slice s) {
  const unsigned char *p = s.data;
  for (size_t i = 0; i < s.len; i++)
    if ((p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z') ||
        (p[i] && strchr("-._~/", p[i])))
      text_add(out, p + i, 1);
    else
      text_printf(out, "%%%02X", p[i]);
}

static void cloudevents_put(exporter *e, const sl_record *r) {
  json *j = e->json;
  text words = {0};
  char seq[24];
  const char *store = source_store_id(e->tool, e->tool->from);
  text_printf(&words, "urn:sidelog:%s/", *store ? store : "unknown");
  uri_text(&words, r->source.len ? r->source : r->topic);
  snprintf(seq, sizeof seq, "%020" PRIu64, r->seq);
  json_open(j);
  json_words(j, "specversion", "1.0");
  json_text(j, "id", r->event_id);
  json_words(j, "source", text_str(&words));
  json_text(j, "type", r->type);
  json_time(j, "time", record_time(r));
  if (r->key.len)
    json_text(j, "subject", r->key);
  if (r->key.len)
    json_text(j, "partitionkey", r->key);
  json_words(j, "sequence", seq); /* ordered as text: the extension's numbers have 32 bits */
  json_text(j, "topic", r->topic);
  if (r->correlation_id.len)
    json_text(j, "correlationid", r->correlation_id);
  if (r->causation_id.len)
    json_text(j, "causationid", r->causation_id);
  if (r->tenant.len)
    json_text(j, "tenant", r->tenant);
  json_words(j, "deliverystatus", sl_state_text(r->state));
  if (json_valid(r->value)) {
    json_words(j, "datacontenttype", "application/json");
    json_key(j, "data");
    json_raw(j, r->value);
  } else if (r->value.len) {
    text_clear(&words);
    text_base64(&words, r->value);
    json_words(j, "datacontenttype", "application/octet-stream");
    json_words(j, "data_base64", text_str(&words));
  }
  json_close(j);
  text_free(&words);
}

const format format_cloudevents = {.name = "cloudevents", .put = cloudevents_put};
