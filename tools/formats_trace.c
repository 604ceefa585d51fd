/* Formats of tracing tools, and drawings. An event is a point: its span begins and ends at the same time. */
#include "formats.h"

#include "hops.h"
#include "sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- ids --- */

static uint64_t hash(sl_slice s, uint64_t seed) {
  const unsigned char *p = s.data;
  uint64_t h = 14695981039346656037u ^ seed * UINT64_C(0x9e3779b97f4a7c15);
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
  h ^= h >> 32;
  return h ? h : 1; /* all zeros are no id */
}

static bool uuid_digits(sl_slice id, char out[33]) {
  const char *p = id.data;
  size_t n = 0;
  if (id.len != 36)
    return false;
  for (size_t i = 0; i < 36; i++) {
    bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? p[i] != '-' : !p[i] || !strchr("0123456789abcdef", p[i]))
      return false;
    if (!hyphen)
      out[n++] = p[i];
  }
  out[n] = 0;
  return strspn(out, "0") < 32;
}

/* The ids of OpenTelemetry, in hexadecimal: of a trace the correlation's UUID, or a hash of other text; of a span
 * a hash of the event id. */
static void trace_id_of(const sl_record *r, char out[33]) {
  sl_slice id = r->correlation_id.len ? r->correlation_id : r->event_id;
  if (!uuid_digits(id, out))
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, hash(id, 1), hash(id, 2));
}

static void span_id_of(sl_slice event_id, char out[17]) { snprintf(out, 17, "%016" PRIx64, hash(event_id, 3)); }

/* Has it a cause of its own story's kind? To name itself or the correlation is to have none. */
static bool has_cause(const sl_record *r) {
  return r->causation_id.len && !slice_eq(r->causation_id, r->event_id) &&
         !slice_eq(r->causation_id, r->correlation_id);
}

/* ------------------------------------------------------------------ otlp --- */

static void otlp_attribute(json *j, const char *name, sl_slice value) {
  if (value.len == 0)
    return;
  json_open(j);
  json_words(j, "key", name);
  json_key(j, "value");
  json_open(j);
  json_text(j, "stringValue", value);
  json_close(j);
  json_close(j);
}

static void otlp_number(json *j, const char *name, int64_t n) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRId64, n);
  json_open(j);
  json_words(j, "key", name);
  json_key(j, "value");
  json_open(j);
  json_words(j, "intValue", digits); /* 64 bits are text in the protocol's JSON */
  json_close(j);
  json_close(j);
}

/* NULL: there is but one. */
static const char *store_name(const exporter *e) {
  return many(e->tool) ? e->tool->sources[e->tool->from].name : NULL;
}

static void otlp_span(exporter *e, const sl_record *r) {
  json *j = e->json;
  char id[33], ns[32];
  json_open(j);
  trace_id_of(r, id);
  json_words(j, "traceId", id);
  span_id_of(r->event_id, id);
  json_words(j, "spanId", id);
  if (has_cause(r)) {
    span_id_of(r->causation_id, id);
    json_words(j, "parentSpanId", id);
  }
  json_text(j, "name", r->type);
  json_u64(j, "kind", 4); /* a producer */
  snprintf(ns, sizeof ns, "%" PRId64 "000", record_time(r));
  json_words(j, "startTimeUnixNano", ns);
  json_words(j, "endTimeUnixNano", ns);
  json_key(j, "attributes");
  json_array_open(j);
  otlp_attribute(j, "messaging.system", SL_STR("kafka"));
  otlp_attribute(j, "messaging.destination.name", r->topic);
  otlp_attribute(j, "messaging.message.id", r->event_id);
  otlp_attribute(j, "messaging.message.conversation_id", r->correlation_id);
  otlp_attribute(j, "sidelog.causation_id", r->causation_id);
  otlp_attribute(j, "sidelog.tenant", r->tenant);
  otlp_attribute(j, "sidelog.store", slice_of(store_name(e)));
  otlp_attribute(j, "sidelog.status", slice_of(sl_state_text(r->state)));
  otlp_number(j, "sidelog.seq", (int64_t)r->seq);
  if (r->offset >= 0)
    otlp_number(j, "messaging.kafka.offset", r->offset);
  json_array_close(j);
  json_key(j, "status");
  json_open(j);
  if (r->state == SL_DEAD || r->state == SL_DROPPED) {
    json_u64(j, "code", 2);
    json_text(j, "message", r->error_code.len ? r->error_code : r->error_class);
  }
  json_close(j);
  json_close(j);
}

/* A line is a whole TracesData, as OpenTelemetry's file exporter writes it. */
static void otlp_put(exporter *e, const sl_record *r) {
  json *j = e->json;
  json_open(j);
  json_key(j, "resourceSpans");
  json_array_open(j);
  json_open(j);
  json_key(j, "resource");
  json_open(j);
  json_key(j, "attributes");
  json_array_open(j);
  otlp_attribute(j, "service.name", r->source.len ? r->source : SL_STR("unknown_service"));
  json_array_close(j);
  json_close(j);
  json_key(j, "scopeSpans");
  json_array_open(j);
  json_open(j);
  json_key(j, "scope");
  json_open(j);
  json_words(j, "name", "sidelog");
  json_close(j);
  json_key(j, "spans");
  json_array_open(j);
  otlp_span(e, r);
  json_array_close(j);
  json_close(j);
  json_array_close(j);
  json_close(j);
  json_array_close(j);
  json_close(j);
}

const format format_otlp = {.name = "otlp", .put = otlp_put};

/* ---------------------------------------------------------------- jaeger --- */

static void jaeger_begin(exporter *e) {
  json_open(e->json);
  json_key(e->json, "data");
  json_array_open(e->json);
}

static void jaeger_end(exporter *e) {
  json_array_close(e->json);
  json_close(e->json);
}

static void jaeger_story_begin(exporter *e, sl_slice correlation) {
  char id[33];
  sl_record r = {.correlation_id = correlation};
  trace_id_of(&r, id);
  json_open(e->json);
  json_words(e->json, "traceID", id);
  json_key(e->json, "spans");
  json_array_open(e->json);
}

static void jaeger_tag(json *j, const char *name, sl_slice value) {
  if (value.len == 0)
    return;
  json_open(j);
  json_words(j, "key", name);
  json_words(j, "type", "string");
  json_text(j, "value", value);
  json_close(j);
}

static void jaeger_put(exporter *e, const sl_record *r) {
  json *j = e->json;
  char trace[33], id[17];
  sl_slice producer = r->source.len ? r->source : SL_STR("unknown");
  id_set_add(&e->sources, producer);
  trace_id_of(r, trace);
  span_id_of(r->event_id, id);
  json_open(j);
  json_words(j, "traceID", trace);
  json_words(j, "spanID", id);
  json_text(j, "operationName", r->type);
  json_key(j, "references");
  json_array_open(j);
  if (has_cause(r)) {
    span_id_of(r->causation_id, id);
    json_open(j);
    json_words(j, "refType", "FOLLOWS_FROM");
    json_words(j, "traceID", trace);
    json_words(j, "spanID", id);
    json_close(j);
  }
  json_array_close(j);
  json_i64(j, "startTime", record_time(r));
  json_u64(j, "duration", 0);
  json_key(j, "tags");
  json_array_open(j);
  jaeger_tag(j, "event_id", r->event_id);
  jaeger_tag(j, "topic", r->topic);
  jaeger_tag(j, "tenant", r->tenant);
  jaeger_tag(j, "store", slice_of(store_name(e)));
  jaeger_tag(j, "status", slice_of(sl_state_text(r->state)));
  if (r->state == SL_DEAD || r->state == SL_DROPPED) {
    json_open(j);
    json_words(j, "key", "error");
    json_words(j, "type", "bool");
    json_bool(j, "value", true);
    json_close(j);
    jaeger_tag(j, "error_code", r->error_code.len ? r->error_code : r->error_class);
  }
  json_array_close(j);
  json_key(j, "logs");
  json_array_open(j);
  json_array_close(j);
  snprintf(id, sizeof id, "p%zu", id_set_find(&e->sources, producer) + 1);
  json_words(j, "processID", id);
  json_close(j);
}

static void jaeger_story_end(exporter *e) {
  json *j = e->json;
  json_array_close(j);
  json_key(j, "processes");
  json_open(j);
  for (size_t i = 0; i < e->sources.count; i++) {
    char id[24];
    snprintf(id, sizeof id, "p%zu", i + 1);
    json_key(j, id);
    json_open(j);
    json_words(j, "serviceName", e->sources.items[i]);
    json_key(j, "tags");
    json_array_open(j);
    json_array_close(j);
    json_close(j);
  }
  json_close(j);
  json_close(j);
  id_set_free(&e->sources);
}

const format format_jaeger = {.name = "jaeger", .begin = jaeger_begin, .put = jaeger_put, .end = jaeger_end,
                              .by_story = true,
                              .story_begin = jaeger_story_begin, .story_end = jaeger_story_end};

/* -------------------------------------------------------------- drawings --- */

/* Words in a label: all that could end it, or disturb a terminal, written otherwise. */
static void label_text(output *o, sl_slice s, bool mermaid) {
  text safe = {0};
  text_add_safe(&safe, s, true);
  for (size_t i = 0; i < safe.len; i++) {
    char c = safe.data[i];
    if (mermaid && strchr("\"#<>&`;[](){}\\", c))
      out_printf(o, "#%d;", c); /* its form of a character's number */
    else if (!mermaid && (c == '"' || c == '\\'))
      out_printf(o, "\\%c", c);
    else
      out_add(o, &c, 1);
  }
  text_free(&safe);
}

static void node_name(output *o, sl_slice event_id) {
  char id[17];
  span_id_of(event_id, id);
  out_printf(o, "e%s", id);
}

static void draw_node(exporter *e, const sl_record *r, bool mermaid) {
  output *o = e->out;
  const char *line = mermaid ? "<br/>" : "\\n";
  bool failed = r->state == SL_DEAD || r->state == SL_DROPPED;
  if (!id_set_add(&e->drawn, r->event_id))
    return;
  out_puts(o, "  ");
  node_name(o, r->event_id);
  out_puts(o, mermaid ? "[\"" : " [label=\"");
  label_text(o, r->type, mermaid);
  if (r->source.len) {
    out_puts(o, line);
    label_text(o, r->source, mermaid);
  }
  text words = {0};
  place_words(&words, e->tool, e->tool->from, r->seq);
  out_printf(o, "%s%s, %s", line, text_str(&words), sl_state_text(r->state));
  text_free(&words);
  out_puts(o, mermaid ? "\"]\n" : failed ? "\", color=red];\n" : "\"];\n");
  if (mermaid && failed) {
    out_puts(o, "  style ");
    node_name(o, r->event_id);
    out_puts(o, " stroke:#c00\n");
  }
  if (!has_cause(r))
    return;
  id_set_add(&e->named, r->causation_id);
  out_puts(o, "  ");
  node_name(o, r->causation_id);
  out_puts(o, mermaid ? " --> " : " -> ");
  node_name(o, r->event_id);
  out_puts(o, mermaid ? "\n" : ";\n");
}

/* Causes that are not among the events. */
static void draw_absent(exporter *e, bool mermaid) {
  output *o = e->out;
  for (size_t i = 0; i < e->named.count; i++) {
    sl_slice id = slice_of(e->named.items[i]);
    if (id_set_find(&e->drawn, id) < e->drawn.count)
      continue;
    out_puts(o, "  ");
    node_name(o, id);
    out_puts(o, mermaid ? "([\"" : " [style=dashed, label=\"");
    label_text(o, id, mermaid);
    out_puts(o, mermaid ? "<br/>not among these\"])\n" : "\\nnot among these\"];\n");
  }
}

static void dot_begin(exporter *e) {
  out_puts(e->out, "digraph sidelog {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
}
static void dot_put(exporter *e, const sl_record *r) { draw_node(e, r, false); }
static void dot_end(exporter *e) {
  draw_absent(e, false);
  out_puts(e->out, "}\n");
}
const format format_dot = {.name = "dot", .begin = dot_begin, .put = dot_put, .end = dot_end};

static void mermaid_begin(exporter *e) { out_puts(e->out, "flowchart LR\n"); }
static void mermaid_put(exporter *e, const sl_record *r) { draw_node(e, r, true); }
static void mermaid_end(exporter *e) { draw_absent(e, true); }
const format format_mermaid = {.name = "mermaid", .begin = mermaid_begin, .put = mermaid_put, .end = mermaid_end};
