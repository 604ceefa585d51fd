/* A line of the log as text or JSON. */
#include "base/text.h"
#include "log_inner.h"

#include <inttypes.h>
#include <string.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* A line under construction. `room` leaves space for what must follow. */
typedef struct text {
  char *at;
  size_t len, room;
  bool cut;
} text;

static void put(text *t, const char *bytes, size_t len) {
  if (t->cut || t->len + len > t->room) {
    t->cut = true;
    return;
  }
  memcpy(t->at + t->len, bytes, len);
  t->len += len;
}
static void puts_(text *t, const char *s) { put(t, s, strlen(s)); }

/* Bytes of the valid UTF-8 character at p, 0 if there is none. */
static size_t character(const unsigned char *p, size_t left) {
  for (size_t n = 1; n <= 4 && n <= left; n++)
    if (sl_utf8_valid((sl_slice){p, n})) return n;
  return 0;
}

static uint32_t code_point(const unsigned char *p, size_t n) {
  if (n == 1) return p[0];
  uint32_t c = p[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) c = c << 6 | (p[i] & 0x3fu);
  return c;
}

/* Controls, and what turns or breaks the line on a terminal: C1, line separators, direction marks. */
static bool unprintable(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e)
         || (c >= 0x2066 && c <= 0x2069);
}

/* Escapes as JSON and C agree to: \n \r \t \" \\, and \u00XX (JSON) or \xXX of bytes that are no text. */
static void put_escaped(text *t, const char *s, bool json, bool quotes) {
  const unsigned char *p = (const unsigned char *)s;
  for (size_t left = strlen(s); left && !t->cut;) {
    size_t n = character(p, left);
    uint32_t c = n ? code_point(p, n) : 0xfffd;
    char e[16] = "";
    if (!n && json) snprintf(e, sizeof e, "\\ufffd");
    else if (!n) snprintf(e, sizeof e, "\\x%02x", *p);
    else if (c == '\n') snprintf(e, sizeof e, "\\n");
    else if (c == '\r') snprintf(e, sizeof e, "\\r");
    else if (c == '\t') snprintf(e, sizeof e, "\\t");
    else if (quotes && (c == '"' || c == '\\')) snprintf(e, sizeof e, "\\%c", (int)c);
    else if (unprintable(c)) snprintf(e, sizeof e, "\\u%04x", (unsigned)c);
    if (e[0]) puts_(t, e);
    else put(t, (const char *)p, n);
    n = n ? n : 1;
    p += n;
    left -= n;
  }
}

static void put_quoted(text *t, const char *s, bool json) {
  size_t room = t->room;
  puts_(t, "\"");
  if (t->cut) return;
  t->room = room - 1;
  put_escaped(t, s, json, true);
  bool cut = t->cut;
  t->cut = false;
  t->room = room;
  puts_(t, "\"");
  t->cut = cut;
}

static bool bare(const char *s) {
  if (!*s) return false;
  for (; *s; s++)
    if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f || strchr("\"\\=", *s)) return false;
  return s[-1] != ':';
}

static void put_number(text *t, int64_t n) {
  char digits[32];
  snprintf(digits, sizeof digits, "%" PRId64, n);
  puts_(t, digits);
}

/* One pair, or nothing of it when it does not fit. */
static void put_field(text *t, bool json, const log_field *f) {
  text before = *t;
  puts_(t, json ? ",\"" : " ");
  puts_(t, f->name);
  puts_(t, json ? "\":" : "=");
  if (!f->is_text) put_number(t, f->number);
  else if (!f->text) puts_(t, "null");
  else if (!json && bare(f->text)) puts_(t, f->text);
  else put_quoted(t, f->text, json);
  if (t->cut) *t = before;
}

size_t log_render(char out[LOG_LINE_MAX + 1], log_format format, int64_t wall_us, log_level level,
                  const char *event, const log_field *fields, uint64_t suppressed, const char *message) {
  bool json = format == FORMAT_JSON;
  char time[32];
  sl_time_format(wall_us, time);
  memcpy(time + 23, "Z", 2); /* milliseconds will do */
  /* half for the pairs at most: the message says more */
  text t = {.at = out, .room = LOG_LINE_MAX / 2};
  puts_(&t, json ? "{\"time\":\"" : "");
  puts_(&t, time);
  puts_(&t, json ? "\",\"level\":\"" : " ");
  puts_(&t, level_names[level]);
  puts_(&t, json ? "\",\"event\":" : " ");
  if (json) put_quoted(&t, event, true);
  else put_escaped(&t, event, false, false);
  t.cut = false;
  for (; fields && fields->name; fields++) put_field(&t, json, fields);
  if (suppressed) {
    log_field count = log_number("suppressed", (int64_t)suppressed);
    t.room += 32;
    put_field(&t, json, &count);
  }
  t.room = LOG_LINE_MAX - 2;
  if (json) {
    puts_(&t, ",\"message\":");
    put_quoted(&t, message, true);
  } else {
    puts_(&t, ": ");
    t.room -= 3;
    put_escaped(&t, message, false, false);
    t.room += 3;
    if (t.cut) t.cut = false, puts_(&t, "...");
  }
  t.cut = false;
  t.room = LOG_LINE_MAX;
  puts_(&t, json ? "}\n" : "\n");
  out[t.len] = 0;
  return t.len;
}

bool log_admit(log_limiter *limiter, const char *event, int64_t now_us, uint64_t *suppressed) {
  enum { WINDOW_US = 10000000 };
  log_limit *limit = NULL, *oldest = &limiter->limits[0];
  for (size_t i = 0; i < LOG_LIMITS && !limit; i++) {
    log_limit *one = &limiter->limits[i];
    if (strncmp(one->event, event, LOG_EVENT_MAX - 1) == 0) limit = one;
    else if (oldest->event[0] && (!one->event[0] || one->window_us < oldest->window_us)) oldest = one;
  }
  if (!limit) {
    limit = oldest;
    *limit = (log_limit){.window_us = now_us};
    snprintf(limit->event, sizeof limit->event, "%s", event);
  }
  if (now_us - limit->window_us >= WINDOW_US) {
    limit->window_us = now_us;
    limit->count = 0;
  }
  if (limit->count >= LOG_BURST) {
    limit->held++;
    return false;
  }
  limit->count++;
  *suppressed = limit->held;
  limit->held = 0;
  return true;
}
