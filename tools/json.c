#include "json.h"

#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

struct json {
  output *out;
  yajl_gen gen;
  int depth;
  text scratch;
};

static void print(void *arg, const char *data, size_t len) { out_add(arg, data, len); }

json *json_new(output *o) {
  json *j = tool_alloc(sizeof *j);
  *j = (json){.out = o, .gen = yajl_gen_alloc(NULL)};
  if (!j->gen) {
    fputs("sidelog: out of memory\n", stderr);
    exit(3);
  }
  yajl_gen_config(j->gen, yajl_gen_print_callback, print, (void *)o);
  return j;
}

void json_free(json *j) {
  if (!j)
    return;
  yajl_gen_free(j->gen);
  text_free(&j->scratch);
  free(j);
}

void json_open(json *j) {
  yajl_gen_map_open(j->gen);
  j->depth++;
}

void json_close(json *j) {
  yajl_gen_map_close(j->gen);
  if (--j->depth == 0) {
    out_add(j->out, "\n", 1);
    yajl_gen_reset(j->gen, NULL);
  }
}

void json_array_open(json *j) { yajl_gen_array_open(j->gen); }
void json_array_close(json *j) { yajl_gen_array_close(j->gen); }

void json_key(json *j, const char *name) {
  yajl_gen_string(j->gen, (const unsigned char *)name, strlen(name));
}

static void raw(json *j, const char *data, size_t len) { yajl_gen_number(j->gen, data, len); }

static void escape_point(text *out, int32_t point) {
  if (point > 0xffff) {
    point -= 0x10000;
    text_printf(out, "\\u%04x\\u%04x", 0xd800u + (unsigned)(point >> 10),
                0xdc00u + (unsigned)(point & 0x3ff));
  } else {
    text_printf(out, "\\u%04x", (unsigned)point);
  }
}

void json_escape(text *out, sl_slice bytes, bool ascii) {
  static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
  const char *data = bytes.data;
  size_t size, plain = 0, i = 0;
  for (; i < bytes.len; i += size) {
    int32_t point = utf8_next(data + i, bytes.len - i, &size);
    bool named = point > 0 && point < 0x80 && strchr(from, point);
    if (!named && point >= 0 && !char_is_hostile(point) && !(ascii && point > 0x7e))
      continue;
    text_add(out, data + plain, i - plain);
    plain = i + size;
    if (named)
      text_printf(out, "\\%c", to[strchr(from, point) - from]);
    else
      escape_point(out, point < 0 ? 0xfffd : point);
  }
  text_add(out, data + plain, i - plain);
}

static void put_text(json *j, sl_slice bytes) {
  text_clear(&j->scratch);
  text_puts(&j->scratch, "\"");
  json_escape(&j->scratch, bytes, false);
  text_puts(&j->scratch, "\"");
  raw(j, j->scratch.data, j->scratch.len);
}

void json_text(json *j, const char *name, sl_slice bytes) {
  json_key(j, name);
  put_text(j, bytes);
}

void json_words(json *j, const char *name, const char *words) { json_text(j, name, slice_of(words)); }

void json_text_or_null(json *j, const char *name, sl_slice bytes) {
  if (bytes.len)
    json_text(j, name, bytes);
  else
    json_null(j, name);
}

static void put_base64(json *j, sl_slice bytes) {
  text_clear(&j->scratch);
  text_puts(&j->scratch, "\"");
  text_base64(&j->scratch, bytes);
  text_puts(&j->scratch, "\"");
  raw(j, j->scratch.data, j->scratch.len);
}

void json_bytes(json *j, const char *name, sl_slice bytes) {
  if (utf8_ok(bytes)) {
    json_text(j, name, bytes);
    return;
  }
  char long_name[64];
  snprintf(long_name, sizeof long_name, "%s_base64", name);
  json_key(j, long_name);
  put_base64(j, bytes);
}

void json_u64(json *j, const char *name, uint64_t n) {
  char digits[24];
  json_key(j, name);
  raw(j, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n));
}

void json_i64(json *j, const char *name, int64_t n) {
  json_key(j, name);
  yajl_gen_integer(j->gen, n);
}

void json_bool(json *j, const char *name, bool b) {
  json_key(j, name);
  yajl_gen_bool(j->gen, b);
}

void json_null(json *j, const char *name) {
  json_key(j, name);
  yajl_gen_null(j->gen);
}

void json_time(json *j, const char *name, int64_t us) {
  char words[WHEN_MAX];
  when_rfc3339(us, words);
  json_words(j, name, words);
}

void json_item(json *j, const char *words) { put_text(j, slice_of(words)); }

/* Valid JSON can hold hostile characters inside strings only, so an escape in their place means the same. */
static void add_defused(text *out, sl_slice bytes, bool ascii) {
  const char *data = bytes.data;
  size_t size, plain = 0, i = 0;
  for (; i < bytes.len; i += size) {
    int32_t point = utf8_next(data + i, bytes.len - i, &size);
    if (point == '\n' || point == '\r' || point == '\t') {
      text_add(out, data + plain, i - plain);
      text_puts(out, " ");
      plain = i + size;
    } else if (char_is_hostile(point) || (ascii && point > 0x7e)) {
      text_add(out, data + plain, i - plain);
      escape_point(out, point < 0 ? 0xfffd : point);
      plain = i + size;
    }
  }
  text_add(out, data + plain, i - plain);
}

void json_raw(json *j, sl_slice object) {
  if (!json_valid(object)) {
    yajl_gen_null(j->gen);
    return;
  }
  text_clear(&j->scratch);
  add_defused(&j->scratch, object, false);
  raw(j, j->scratch.data, j->scratch.len);
}

void json_value(json *j, sl_slice bytes) {
  bool valid = json_valid(bytes);
  bool breaks = bytes.len && (memchr(bytes.data, '\n', bytes.len) || memchr(bytes.data, '\r', bytes.len));
  if (valid) {
    json_key(j, "value");
    if (breaks || j->out->term.tty) {
      text_clear(&j->scratch);
      add_defused(&j->scratch, bytes, false);
      raw(j, j->scratch.data, j->scratch.len);
    } else {
      raw(j, bytes.data, bytes.len);
    }
  }
  if (!valid || breaks) {
    json_key(j, "value_base64");
    put_base64(j, bytes);
  }
}

static void put_headers(json *j, const sl_record *r) {
  json_key(j, "headers");
  json_array_open(j);
  for (size_t i = 0; i < r->header_count; i++) {
    json_open(j);
    json_text(j, "name", r->headers[i].name);
    json_bytes(j, "value", r->headers[i].value);
    json_close(j);
  }
  json_array_close(j);
}

void json_record(json *j, const sl_record *r, int parts) {
  json_record_begin(j, NULL, r, parts);
  json_close(j);
}

void json_record_begin(json *j, const char *store, const sl_record *r, int parts) {
  json_open(j);
  if (store)
    json_words(j, "store", store);
  json_u64(j, "seq", r->seq);
  json_text(j, "event_id", r->event_id);
  json_text(j, "event_type", r->type);
  json_text(j, "topic", r->topic);
  json_text_or_null(j, "correlation_id", r->correlation_id);
  json_text_or_null(j, "causation_id", r->causation_id);
  json_time(j, "appended_at", r->appended_at_us);
  json_words(j, "status", sl_state_text(r->state));
  if (r->state == SL_SENT) {
    if (r->partition >= 0)
      json_i64(j, "partition", r->partition);
    else
      json_null(j, "partition");
    if (r->offset >= 0)
      json_i64(j, "offset", r->offset);
    else
      json_null(j, "offset");
    if (r->topic_recreated)
      json_bool(j, "topic_recreated", true);
  }
  if (r->occurred_at_us)
    json_time(j, "occurred_at", r->occurred_at_us);
  if (r->settled_at_us)
    json_time(j, "settled_at", r->settled_at_us);
  if (r->tenant.len)
    json_text(j, "tenant", r->tenant);
  if (r->source.len)
    json_text(j, "source", r->source);
  if (r->key.data)
    json_bytes(j, "key", r->key);
  if (r->duplicate_of)
    json_u64(j, "duplicate_of", r->duplicate_of);
  if (r->state == SL_DEAD || r->state == SL_DROPPED || r->error_class.len) {
    json_text(j, "error_class", r->error_class);
    json_text(j, "error_code", r->error_code);
    json_text(j, "error_text", r->error_text);
    json_u64(j, "attempts", r->attempts);
  }
  if (r->last_failure_us) {
    json_time(j, "first_failure_at", r->first_failure_us);
    json_time(j, "last_failure_at", r->last_failure_us);
  }
  if (r->drop_reason.len) {
    json_text(j, "dropped_by", r->dropped_by);
    json_text(j, "drop_reason", r->drop_reason);
  }
  if (r->replay_of)
    json_u64(j, "replay_of", r->replay_of);
  if (parts & JSON_HEADERS)
    put_headers(j, r);
  if (parts & JSON_VALUE)
    json_value(j, r->value);
}

/* ------------------------------------------------------------ the reader --- */

/* Counts down what depth is left. */
static int depth_up(void *arg) { return --*(int *)arg >= 0; }
static int depth_down(void *arg) { return ++*(int *)arg, 1; }
static int any_number(void *arg, const char *digits, size_t len) {
  (void)arg, (void)digits, (void)len;
  return 1;
}

bool json_valid(sl_slice bytes) { return json_valid_deep(bytes, 1000); }

bool json_valid_deep(sl_slice bytes, int depth) {
  /* The raw number callback keeps yajl from judging the size of numbers. */
  static const yajl_callbacks callbacks = {.yajl_number = any_number,
                                           .yajl_start_map = depth_up,
                                           .yajl_end_map = depth_down,
                                           .yajl_start_array = depth_up,
                                           .yajl_end_array = depth_down};
  /* yajl takes these two for blanks. */
  if (bytes.len == 0 || memchr(bytes.data, '\v', bytes.len) || memchr(bytes.data, '\f', bytes.len))
    return false;
  /* It lets overlong forms, surrogates and what is above U+10FFFF pass in strings. */
  if (!utf8_ok(bytes))
    return false;
  yajl_handle parser = yajl_alloc(&callbacks, NULL, &depth);
  if (!parser)
    return false;
  bool fine = yajl_parse(parser, bytes.data, bytes.len) == yajl_status_ok &&
              yajl_complete_parse(parser) == yajl_status_ok;
  yajl_free(parser);
  return fine;
}

static void indent(text *out, int depth) {
  text_puts(out, "\n");
  for (int i = 0; i < depth && i < 40; i++)
    text_puts(out, "  ");
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

void json_pretty(text *out, sl_slice bytes, bool unicode) {
  const char *p = bytes.data, *end = p + bytes.len;
  int depth = 0;
  while (p < end) {
    const char *begin = p++;
    if (is_blank(*begin))
      continue;
    if (*begin == '"') {
      while (*p != '"')
        p += *p == '\\' ? 2 : 1;
      p++;
      add_defused(out, (sl_slice){begin, (size_t)(p - begin)}, !unicode);
    } else if (*begin == '{' || *begin == '[') {
      text_add(out, begin, 1);
      const char *next = p;
      while (is_blank(*next))
        next++;
      if (*next == '}' || *next == ']') {
        text_add(out, next, 1);
        p = next + 1;
      } else {
        indent(out, ++depth);
      }
    } else if (*begin == '}' || *begin == ']') {
      indent(out, --depth);
      text_add(out, begin, 1);
    } else {
      text_add(out, begin, 1);
      if (*begin == ',')
        indent(out, depth);
      else if (*begin == ':')
        text_puts(out, " ");
    }
  }
}
