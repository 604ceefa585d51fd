/* Envelope fields of one JSON line, found with yajl in one pass.
 *
 * What yajl 2.1 leaves to its caller, each held by a test: it takes vertical tab and form feed for blanks,
 * and overlong forms, surrogates and characters beyond U+10FFFF for UTF-8 (so scan() looks at the bytes
 * first); it turns a lone surrogate escape into '?' or into bytes that are no UTF-8, which would make
 * different ids equal (so such a string keeps its escapes, see take_string); it overlooks a string that
 * begins behind the object and never ends (so parse() looks there itself); it knows no limit of depth; it
 * does not check its allocations (so a failed one ends in no_memory). */
#include <sidelog/envelope.h>

#include "base/base.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

/* ---- which fields stand where ---- */

typedef enum place {
  NOWHERE,
  TOP,
  TOP_CONTEXT,
  TOP_METADATA,
  TOP_SOURCE,
  PAYLOAD,
  PAYLOAD_CONTEXT,
  PAYLOAD_METADATA,
  PAYLOAD_SOURCE,
  PLACES
} place;

typedef enum name {
  EVENT_ID, ENVELOPE_ID, EVENT_TYPE, CORRELATION_ID, CAUSATION_ID, TENANT_ID, TENANT,
  SOURCE, SERVICE, SOURCE_SERVICE, SOURCE_NODE_ID, SOURCE_TOOL, SOURCE_NODE,
  TIMESTAMP, EVENT_TIMESTAMP, ENVELOPE_TIMESTAMP, EMITTED_AT, TOPIC,
  CONTEXT, METADATA, PAYLOAD_NAME,
  NAMES
} name;

static const struct { const char *text; uint8_t len; } names[NAMES] = {
#define NAME(text) {text, sizeof(text) - 1}
  NAME("event_id"), NAME("envelope_id"), NAME("event_type"), NAME("correlation_id"), NAME("causation_id"),
  NAME("tenant_id"), NAME("tenant"), NAME("source"), NAME("service"), NAME("source_service"),
  NAME("source_node_id"), NAME("source_tool"), NAME("source_node"), NAME("timestamp"),
  NAME("event_timestamp"), NAME("envelope_timestamp"), NAME("emitted_at"), NAME("topic"), NAME("context"),
  NAME("metadata"), NAME("payload")
#undef NAME
};

/* The object that a field's value opens, if we look into it. */
static place inside(place where, name field) {
  if (where == TOP) {
    if (field == PAYLOAD_NAME) return PAYLOAD;
    if (field == CONTEXT) return TOP_CONTEXT;
    if (field == METADATA) return TOP_METADATA;
    if (field == SOURCE) return TOP_SOURCE;
  } else if (where == PAYLOAD) {
    if (field == CONTEXT) return PAYLOAD_CONTEXT;
    if (field == METADATA) return PAYLOAD_METADATA;
    if (field == SOURCE) return PAYLOAD_SOURCE;
  }
  return NOWHERE;
}

/* Where each field is looked for, in order; PLACES ends a list. */
typedef struct spot { place where; name field; } spot;
#define LAST {PLACES, NAMES}
static const spot event_id_spots[] = {
  {TOP, EVENT_ID}, {TOP, ENVELOPE_ID}, {PAYLOAD, EVENT_ID}, {PAYLOAD, ENVELOPE_ID}, LAST};
static const spot type_spots[] = {{TOP, EVENT_TYPE}, {PAYLOAD, EVENT_TYPE}, LAST};
static const spot correlation_spots[] = {
  {TOP, CORRELATION_ID}, {TOP_CONTEXT, CORRELATION_ID}, {TOP_METADATA, CORRELATION_ID},
  {PAYLOAD, CORRELATION_ID}, {PAYLOAD_CONTEXT, CORRELATION_ID}, {PAYLOAD_METADATA, CORRELATION_ID}, LAST};
static const spot causation_spots[] = {{TOP, CAUSATION_ID}, {PAYLOAD, CAUSATION_ID}, LAST};
static const spot tenant_spots[] = {
  {TOP, TENANT_ID}, {TOP, TENANT}, {TOP_METADATA, TENANT_ID},
  {PAYLOAD, TENANT_ID}, {PAYLOAD, TENANT}, {PAYLOAD_METADATA, TENANT_ID}, LAST};
static const spot source_spots[] = {
  {TOP, SOURCE}, {TOP_SOURCE, SERVICE}, {TOP, SERVICE}, {TOP, SOURCE_SERVICE}, {TOP, SOURCE_NODE_ID},
  {TOP, SOURCE_TOOL}, {TOP_METADATA, SOURCE_NODE},
  {PAYLOAD, SOURCE}, {PAYLOAD_SOURCE, SERVICE}, {PAYLOAD, SERVICE}, {PAYLOAD, SOURCE_SERVICE},
  {PAYLOAD, SOURCE_NODE_ID}, {PAYLOAD, SOURCE_TOOL}, {PAYLOAD_METADATA, SOURCE_NODE}, LAST};
static const spot time_spots[] = {
  {TOP, TIMESTAMP}, {TOP, EVENT_TIMESTAMP}, {TOP, ENVELOPE_TIMESTAMP}, {TOP, EMITTED_AT},
  {PAYLOAD, TIMESTAMP}, {PAYLOAD, EVENT_TIMESTAMP}, {PAYLOAD, ENVELOPE_TIMESTAMP}, {PAYLOAD, EMITTED_AT},
  LAST};
/* Not in the payload: a payload's own "topic" must never decide where its event goes. */
static const spot topic_spots[] = {{TOP, TOPIC}, LAST};

/* ---- the reader ---- */

typedef enum kind { ABSENT, TEXT, NUMBER } kind;

typedef struct found {
  kind kind;
  bool copied;  /* unescaped into texts, at `at`; else it stands in the line at `at` */
  size_t at, len;
} found;

/* yajl's memory: handed out from one block that is kept between lines, freed all at once. */
#define BLOCK_SIZE (64u << 10)
typedef struct extra { struct extra *next; } extra;

struct sl_envelope_reader {
  char *block;
  size_t used;
  extra *extras;          /* what did not fit */
  jmp_buf no_memory;

  sl_slice line;
  yajl_handle parser;
  found found[PLACES][NAMES];
  sl_buf texts;           /* unescaped strings of this line */
  unsigned depth;
  place places[4];        /* the object open at depth 1, 2, 3 */
  name field;             /* the key just read in it; NAMES: none that matters */
  size_t end;             /* behind the outermost object, once it is closed */
  bool too_deep;
};

static void *arena_alloc(void *ctx, size_t size) {
  sl_envelope_reader *r = ctx;
  size = (size + 31) & ~(size_t)15; /* its size stands in front, for realloc */
  size_t *p;
  if (size <= BLOCK_SIZE - r->used) {
    p = (size_t *)(void *)(r->block + r->used);
    r->used += size;
  } else {
    extra *e = malloc(sizeof *e + 16 + size);
    if (!e) longjmp(r->no_memory, 1);
    e->next = r->extras;
    r->extras = e;
    p = (size_t *)(void *)((char *)e + 16);
  }
  p[0] = size - 16;
  return p + 2;
}

static void *arena_realloc(void *ctx, void *old, size_t size) {
  if (!old) return arena_alloc(ctx, size);
  size_t had = ((size_t *)old)[-2];
  if (size <= had) return old;
  void *p = arena_alloc(ctx, size);
  memcpy(p, old, had);
  return p;
}

static void arena_free(void *ctx, void *p) {
  (void)ctx;
  (void)p;
}

static void arena_reset(sl_envelope_reader *r) {
  while (r->extras) {
    extra *next = r->extras->next;
    free(r->extras);
    r->extras = next;
  }
  r->used = 0;
}

sl_status sl_envelope_reader_new(sl_envelope_reader **reader) {
  if (!reader) return sl_fail(SL_E_INVALID, "reader is NULL");
  sl_envelope_reader *r = calloc(1, sizeof *r);
  if (r) r->block = malloc(BLOCK_SIZE);
  if (!r || !r->block) {
    free(r);
    return sl_fail(SL_E_NOMEM, "out of memory for a reader of envelopes");
  }
  *reader = r;
  return SL_OK;
}

void sl_envelope_reader_free(sl_envelope_reader *reader) {
  if (!reader) return;
  arena_reset(reader);
  sl_buf_free(&reader->texts);
  free(reader->block);
  free(reader);
}

/* ---- what yajl tells ---- */

static found *pending(sl_envelope_reader *r) {
  if (r->depth > 3 || r->places[r->depth] == NOWHERE || r->field == NAMES) return NULL;
  found *f = &r->found[r->places[r->depth]][r->field];
  r->field = NAMES;
  return f;
}

/* Does the JSON text of a string hold an escape of what no id can: NUL, or a surrogate without a partner? */
static bool has_odd_escape(const uint8_t *p, size_t len) {
  bool high = false; /* a high one directly before this place */
  for (size_t i = 0; i < len;) {
    if (p[i] != '\\') {
      if (high) return true;
      i++;
      continue;
    }
    unsigned code = 0;
    if (p[i + 1] == 'u')
      for (int k = 2; k < 6; k++) {
        unsigned c = p[i + k];
        code = code << 4 | (c <= '9' ? c - '0' : (c | 32u) - 'a' + 10);
      }
    bool low = code >= 0xdc00 && code <= 0xdfff;
    if (high != low || (code == 0 && p[i + 1] == 'u')) return true;
    high = code >= 0xd800 && code <= 0xdbff;
    i += p[i + 1] == 'u' ? 6 : 2;
  }
  return high;
}

/* Keeps a string. One without escapes is still in the line. One that has no UTF-8 form, or a NUL in it, keeps
 * its escapes: different strings must stay different, and no line is refused for an escape. */
static int take_string(void *ctx, const unsigned char *text, size_t len) {
  sl_envelope_reader *r = ctx;
  found *f = pending(r);
  if (!f) return 1;
  const uint8_t *line = r->line.data;
  f->kind = TEXT;
  f->len = len;
  if (len == 0 || (uintptr_t)text - (uintptr_t)line < r->line.len) {
    f->copied = false;
    f->at = len ? (size_t)(text - line) : 0;
    return 1;
  }
  /* The token ends where the parser stands, with its quote; a quote inside has a backslash before it. */
  size_t end = yajl_get_bytes_consumed(r->parser) - 1, start = end;
  do start--; while (line[start] != '"' || line[start - 1] == '\\');
  start++;
  if (has_odd_escape(line + start, end - start)) {
    f->copied = false;
    f->at = start;
    f->len = end - start;
    return 1;
  }
  f->copied = true;
  f->at = r->texts.len;
  sl_buf_append(&r->texts, text, len);
  return 1;
}

static int take_number(void *ctx, const char *text, size_t len) {
  sl_envelope_reader *r = ctx;
  found *f = pending(r);
  if (f) *f = (found){NUMBER, false, (size_t)((const uint8_t *)text - (const uint8_t *)r->line.data), len};
  return 1;
}

static int take_other(void *ctx) {
  (void)pending(ctx);
  return 1;
}

static int take_boolean(void *ctx, int value) {
  (void)value;
  return take_other(ctx);
}

static int take_key(void *ctx, const unsigned char *text, size_t len) {
  sl_envelope_reader *r = ctx;
  r->field = NAMES;
  if (r->depth > 3 || r->places[r->depth] == NOWHERE) return 1;
  place where = r->places[r->depth];
  for (name n = 0; n < NAMES; n++) {
    if (names[n].len != len || memcmp(names[n].text, text, len) != 0) continue;
    r->field = n;
    /* The last of a name counts, with all that stands in it. */
    r->found[where][n].kind = ABSENT;
    place in = inside(where, n);
    if (in == NOWHERE) break;
    memset(r->found[in], 0, sizeof r->found[in]);
    if (in == PAYLOAD)
      for (place p = PAYLOAD_CONTEXT; p < PLACES; p++) memset(r->found[p], 0, sizeof r->found[p]);
    break;
  }
  return 1;
}

static int open_any(sl_envelope_reader *r, place where) {
  if (r->depth == SL_ENVELOPE_MAX_DEPTH) {
    r->too_deep = true;
    return 0;
  }
  r->depth++;
  if (r->depth <= 3) r->places[r->depth] = where;
  r->field = NAMES;
  return 1;
}

static int open_object(void *ctx) {
  sl_envelope_reader *r = ctx;
  place where = NOWHERE;
  if (r->depth == 0) where = TOP;
  else if (r->depth < 3 && r->field != NAMES) where = inside(r->places[r->depth], r->field);
  return open_any(r, where);
}

static int open_array(void *ctx) { return open_any(ctx, NOWHERE); }

static int close_any(void *ctx) {
  sl_envelope_reader *r = ctx;
  r->field = NAMES;
  if (--r->depth == 0) r->end = yajl_get_bytes_consumed(r->parser);
  return 1;
}

static const yajl_callbacks callbacks = {
  .yajl_null = take_other,
  .yajl_boolean = take_boolean,
  .yajl_number = take_number, /* as text: with it yajl converts no number, so none is too large */
  .yajl_string = take_string,
  .yajl_start_map = open_object,
  .yajl_map_key = take_key,
  .yajl_end_map = close_any,
  .yajl_start_array = open_array,
  .yajl_end_array = close_any
};

/* ---- one line ---- */

static sl_status refuse(size_t position, const char *why) {
  return sl_fail(SL_E_INVALID, "not a JSON envelope: %s (byte %zu)", why, position + 1);
}

static size_t skip_blanks(sl_slice json, size_t i) {
  const uint8_t *p = json.data;
  while (i < json.len && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r')) i++;
  return i;
}

/* Looks at the bytes before yajl does. */
static sl_status scan(sl_slice json) {
  const uint8_t *p = json.data;
  size_t good = sl_utf8_prefix(json);
  if (good < json.len) return refuse(good, "it is not valid UTF-8");
  if (json.len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
    return refuse(0, "it begins with a byte order mark");

  size_t i = skip_blanks(json, 0);
  if (i == json.len) return refuse(i, "the line is empty");
  if (p[i] == 0) return refuse(i, "it holds a NUL byte");
  if (p[i] != '{') return refuse(i, "it is not an object: it must begin with {");

  while (i < json.len) {
    if (json.len - i >= 8) {
      uint64_t w;
      memcpy(&w, p + i, 8);
      /* Eight bytes at once: none of them is below 0x20. */
      if (!((w - UINT64_C(0x2020202020202020)) & ~w & UINT64_C(0x8080808080808080))) {
        i += 8;
        continue;
      }
    }
    size_t stop = json.len - i < 8 ? json.len : i + 8;
    for (; i < stop; i++) {
      if (p[i] >= 0x20 || p[i] == '\t' || p[i] == '\n' || p[i] == '\r') continue;
      char why[64];
      snprintf(why, sizeof why, p[i] ? "it holds the control character 0x%02x" : "it holds a NUL byte", p[i]);
      return refuse(i, why);
    }
  }
  return SL_OK;
}

/* yajl's reasons in our words; a reason of a later yajl is passed on as it is. */
static const struct {
  const char *yajl, *ours;
  bool at; /* the parser stands at the fault, else behind it */
} reasons[] = {
  {"unallowed token", "this may not stand here"},
  {"invalid object key", "a name in double quotes is expected here"},
  {"object key and value", "a colon is expected here"},
  {"after key and value", "a comma or } is expected here", true},
  {"after array element", "a comma or ] is expected here"},
  {"invalid char in json", "this character may not stand here"},
  {"invalid string in json", "neither true, false nor null is spelled like this", true},
  {"'\\' occurs before", "a backslash before a character that has no escape", true},
  {"invalid character inside", "a control character inside a string (write it as an escape)", true},
  {"(non-hex) character", "\\u without four hexadecimal digits", true},
  {"after the exponent", "a number without digits in its exponent", true},
  {"after the decimal point", "a number without digits after its point", true},
  {"after the minus sign", "a minus sign without digits", true},
  {"probable comment", "JSON has no comments", true}};

static sl_status refuse_as_yajl(sl_envelope_reader *r) {
  size_t at = yajl_get_bytes_consumed(r->parser), behind = at > 0 ? at - 1 : 0;
  char *text = (char *)yajl_get_error(r->parser, 0, NULL, 0);
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (strstr(text, reasons[i].yajl)) return refuse(reasons[i].at ? at : behind, reasons[i].ours);
  text[strcspn(text, "\n")] = 0;
  return refuse(behind, text);
}

static sl_status parse(sl_envelope_reader *r, sl_slice json) {
  yajl_alloc_funcs memory = {arena_alloc, arena_realloc, arena_free, r};
  if (setjmp(r->no_memory))
    return sl_fail(SL_E_NOMEM, "out of memory for a JSON line of %zu bytes", json.len);
  r->parser = yajl_alloc(&callbacks, &memory, r);
  yajl_config(r->parser, yajl_dont_validate_strings, 1); /* scan() has done it */
  yajl_config(r->parser, yajl_allow_trailing_garbage, 1);
  yajl_status status = yajl_parse(r->parser, json.data, json.len);
  if (r->too_deep) {
    char why[64];
    snprintf(why, sizeof why, "it is nested deeper than %d levels", SL_ENVELOPE_MAX_DEPTH);
    return refuse(yajl_get_bytes_consumed(r->parser) - 1, why);
  }
  if (status != yajl_status_ok) return refuse_as_yajl(r);
  if (r->depth > 0) return refuse(json.len, "the line ends inside the object");
  size_t rest = skip_blanks(json, r->end);
  if (rest < json.len) return refuse(rest, "something stands after the object");
  if (r->texts.failed) return sl_fail(SL_E_NOMEM, "out of memory for a JSON line of %zu bytes", json.len);
  return SL_OK;
}

enum { OR_NUMBER = 1 };

static sl_slice pick(const sl_envelope_reader *r, const spot *spots, int numbers, kind *which) {
  for (; spots->where != PLACES; spots++) {
    const found *f = &r->found[spots->where][spots->field];
    if (f->kind == ABSENT || f->len == 0) continue;
    if (f->kind == NUMBER && (!numbers || f->len >= SL_ID_MAX)) continue;
    if (which) *which = f->kind;
    return (sl_slice){(f->copied ? r->texts.data : (const uint8_t *)r->line.data) + f->at, f->len};
  }
  return (sl_slice){0};
}

/* Epoch seconds, or milliseconds from 1e11 on (which is 1973 in milliseconds and 5138 in seconds). */
static bool epoch_parse(sl_slice text, int64_t *us) {
  char digits[40];
  if (text.len >= sizeof digits) return false;
  memcpy(digits, text.data, text.len);
  digits[text.len] = 0;
  /* Whole digits by hand: a double has not enough of them, and strtod minds the locale. */
  const char *p = digits;
  bool negative = *p == '-';
  if (negative) p++;
  int64_t whole = 0, micro = 0, unit = 100000;
  for (; *p >= '0' && *p <= '9'; p++) {
    whole = whole * 10 + (*p - '0');
    if (whole >= INT64_C(100000000000000)) return false;
  }
  if (*p == '.')
    for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10) micro += unit * (*p - '0');
  if (*p) return false; /* an exponent: no clock writes one */
  int64_t value = whole >= INT64_C(100000000000) ? whole * 1000 + micro / 1000 : whole * 1000000 + micro;
  *us = negative ? -value : value;
  return true;
}

sl_status sl_envelope_read(sl_envelope_reader *reader, sl_slice json, sl_event *event, uint32_t *missing) {
  sl_envelope_reader *r = reader;
  if (!r || !event || (json.len > 0 && !json.data))
    return sl_fail(SL_E_INVALID, "reader or event is NULL, or json has a length but no data");
  if (json.len > SL_MAX_VALUE)
    return sl_fail(SL_E_TOO_LARGE, "the line has %zu bytes, a value at most %u", json.len, SL_MAX_VALUE);
  sl_status status = scan(json);
  if (status) return status;

  r->line = json;
  memset(r->found, 0, sizeof r->found);
  sl_buf_reset(&r->texts);
  if (r->texts.cap > (1u << 20)) sl_buf_free(&r->texts);
  r->depth = 0;
  r->field = NAMES;
  r->too_deep = false;
  status = parse(r, json);
  arena_reset(r);
  r->parser = NULL;
  if (status) return status;

  sl_event e = SL_EVENT_INIT;
  uint32_t lack = 0;
  e.value = json;
  e.topic = pick(r, topic_spots, 0, NULL);
  e.type = pick(r, type_spots, 0, NULL);
  e.event_id = pick(r, event_id_spots, OR_NUMBER, NULL);
  e.correlation_id = pick(r, correlation_spots, OR_NUMBER, NULL);
  e.causation_id = pick(r, causation_spots, OR_NUMBER, NULL);
  e.tenant = pick(r, tenant_spots, OR_NUMBER, NULL);
  e.source = pick(r, source_spots, 0, NULL);
  kind which = ABSENT;
  sl_slice time = pick(r, time_spots, OR_NUMBER, &which);
  if (time.len && !(which == NUMBER ? epoch_parse : sl_time_parse)(time, &e.occurred_at_us)) {
    e.occurred_at_us = 0;
    lack |= SL_ENVELOPE_BAD_TIMESTAMP;
  }
  if (!e.topic.len) lack |= SL_ENVELOPE_NO_TOPIC;
  if (!e.type.len) lack |= SL_ENVELOPE_NO_TYPE;
  if (!e.event_id.len) lack |= SL_ENVELOPE_NO_EVENT_ID;
  if (!e.correlation_id.len) lack |= SL_ENVELOPE_NO_CORRELATION;
  *event = e;
  if (missing) *missing = lack;
  return SL_OK;
}
