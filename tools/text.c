#include "text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static void *checked(void *memory) {
  if (!memory) {
    fputs("sidelog: out of memory\n", stderr);
    exit(3);
  }
  return memory;
}

void *tool_alloc(size_t size) { return checked(malloc(size ? size : 1)); }

void *tool_grow(void *old, size_t size) { return checked(realloc(old, size ? size : 1)); }

char *tool_copy(const void *data, size_t len) {
  char *copy = tool_alloc(len + 1);
  if (len)
    memcpy(copy, data, len);
  copy[len] = 0;
  return copy;
}

void text_add(text *out, const void *data, size_t len) {
  if (out->len + len + 1 > out->cap) {
    size_t cap = out->cap ? out->cap * 2 : 64;
    while (cap < out->len + len + 1)
      cap *= 2;
    out->data = tool_grow(out->data, cap);
    out->cap = cap;
  }
  if (len)
    memcpy(out->data + out->len, data, len);
  out->len += len;
  out->data[out->len] = 0;
}

void text_puts(text *out, const char *words) { text_add(out, words, strlen(words)); }

void text_printf(text *out, const char *format, ...) {
  char small[256];
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(small, sizeof small, format, args);
  if (n >= 0 && (size_t)n < sizeof small) {
    text_add(out, small, (size_t)n);
  } else if (n >= 0) {
    char *large = tool_alloc((size_t)n + 1);
    vsnprintf(large, (size_t)n + 1, format, again);
    text_add(out, large, (size_t)n);
    free(large);
  }
  va_end(again);
  va_end(args);
}

void text_clear(text *out) {
  out->len = 0;
  if (out->data)
    out->data[0] = 0;
}

void text_free(text *out) {
  free(out->data);
  *out = (text){0};
}

const char *text_str(const text *t) { return t->data ? t->data : ""; }

bool slice_eq(sl_slice a, sl_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int32_t utf8_next(const char *data, size_t len, size_t *size) {
  const unsigned char *p = (const unsigned char *)data;
  *size = 1;
  if (p[0] < 0x80)
    return p[0];
  size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || len < n)
    return -1;
  int32_t point = p[0] & (0x7f >> n);
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80)
      return -1;
    point = point << 6 | (p[i] & 0x3f);
  }
  static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < smallest[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
    return -1;
  *size = n;
  return point;
}

bool utf8_ok(sl_slice bytes) {
  const char *data = bytes.data;
  size_t size;
  for (size_t i = 0; i < bytes.len; i += size)
    if (utf8_next(data + i, bytes.len - i, &size) < 0)
      return false;
  return true;
}

bool char_is_hostile(int32_t point) {
  static const struct {
    int32_t first, last;
  } ranges[] = {
      {0x0000, 0x001f}, {0x007f, 0x009f},    {0x00ad, 0x00ad},     /* C0, DEL and C1, soft hyphen */
      {0x061c, 0x061c}, {0x180e, 0x180e},    {0x200b, 0x200f},     /* marks of direction, zero width */
      {0x2028, 0x202e}, {0x2060, 0x206f},                       /* separators, overrides, isolates */
      {0xfeff, 0xfeff}, {0xfff0, 0xfffb},    {0xe0000, 0xe0fff},   /* byte order mark, annotations, tags */
      {0xd800, 0xf8ff}, {0xf0000, 0x10ffff},                    /* surrogates and private use */
  };
  if (point < 0)
    return true;
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (point >= ranges[i].first && point <= ranges[i].last)
      return true;
  return (point & 0xfffe) == 0xfffe || (point >= 0xfdd0 && point <= 0xfdef);
}

void text_add_safe(text *out, sl_slice bytes, bool unicode) {
  const char *data = bytes.data;
  size_t size;
  for (size_t i = 0; i < bytes.len; i += size) {
    int32_t point = utf8_next(data + i, bytes.len - i, &size);
    if (point < 0)
      text_printf(out, "\\x%02x", (unsigned char)data[i]);
    else if (point == '\n' || point == '\t' || point == '\r')
      text_puts(out, point == '\n' ? "\\n" : point == '\t' ? "\\t" : "\\r");
    else if (point < 0x20 || point == 0x7f)
      text_printf(out, "\\x%02x", (unsigned)point);
    else if (char_is_hostile(point) || (point > 0x7f && (!unicode || wcwidth((wchar_t)point) < 0)))
      text_printf(out, "\\u{%" PRIx32 "}", (uint32_t)point);
    else
      text_add(out, data + i, size);
  }
}

static int point_width(int32_t point) {
  if (point < 0x80)
    return 1;
  int width = wcwidth((wchar_t)point);
  return width < 0 ? 1 : width;
}

int text_width(const char *words) {
  int width = 0;
  size_t size, len = strlen(words);
  for (size_t i = 0; i < len; i += size)
    width += point_width(utf8_next(words + i, len - i, &size));
  return width;
}

int text_cut(text *words, int width, bool from_left, bool unicode) {
  int whole = text_width(text_str(words));
  if (whole <= width)
    return whole;
  const char *mark = unicode ? "\u2026" : "..";
  int room = width - (unicode ? 1 : 2), used = 0;
  if (room < 0) {
    text_clear(words);
    return 0;
  }
  const char *data = words->data;
  size_t size, i = 0;
  text cut = {0};
  if (from_left) {
    for (int skip = whole - room, gone = 0; i < words->len && gone < skip; i += size)
      gone += point_width(utf8_next(data + i, words->len - i, &size));
    /* A combining mark must not attach itself to the ellipsis. */
    while (i < words->len && point_width(utf8_next(data + i, words->len - i, &size)) == 0)
      i += size;
    text_puts(&cut, mark);
    text_add(&cut, data + i, words->len - i);
    used = text_width(text_str(&cut));
  } else {
    while (i < words->len) {
      int w = point_width(utf8_next(data + i, words->len - i, &size));
      if (used + w > room)
        break;
      used += w;
      i += size;
    }
    text_add(&cut, data, i);
    text_puts(&cut, mark);
    used += width - room;
  }
  text_free(words);
  *words = cut;
  return used;
}

void text_count(text *out, uint64_t n) {
  char digits[24];
  int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
  for (int i = 0; i < len; i++) {
    if (i && (len - i) % 3 == 0)
      text_add(out, ",", 1);
    text_add(out, digits + i, 1);
  }
}

void text_counted(text *out, uint64_t n, const char *one, const char *many) {
  text_count(out, n);
  text_printf(out, " %s", n == 1 ? one : many);
}

void text_ordinal(text *out, uint64_t n) {
  static const char *const ends[] = {"th", "st", "nd", "rd"};
  uint64_t tens = n % 100, last = n % 10;
  text_count(out, n);
  text_puts(out, ends[(tens >= 11 && tens <= 13) || last > 3 ? 0 : last]);
}

void text_bytes(text *out, uint64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double size = (double)bytes;
  size_t unit = 0;
  while (size >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
    size /= 1024;
    unit++;
  }
  double nearest = (double)(uint64_t)(size + 0.5), off = size - nearest;
  bool whole = unit == 0 || size >= 99.95 || (off < 0.05 && off > -0.05);
  text_printf(out, whole ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

void text_span(text *out, int64_t us) {
  if (us < 0) {
    text_puts(out, "-");
    us = us == INT64_MIN ? INT64_MAX : -us;
  }
  const int64_t second = 1000000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
  if (us < 1000)
    text_printf(out, "%" PRId64 " us", us);
  else if (us < second)
    text_printf(out, us < 10000 ? "%.1f ms" : "%.0f ms", (double)us / 1e3);
  else if (us < minute)
    text_printf(out, us < 10 * second ? "%.3f s" : "%.1f s", (double)us / 1e6);
  else if (us < hour && us % minute >= second && us < 10 * minute)
    text_printf(out, "%" PRId64 " min %" PRId64 " s", us / minute, us % minute / second);
  else if (us < hour)
    text_printf(out, "%" PRId64 " min", us / minute);
  else if (us < day)
    text_printf(out, "%" PRId64 " h %" PRId64 " min", us / hour, us % hour / minute);
  else if (us < 60 * day)
    text_printf(out, "%" PRId64 " d %02" PRId64 ":%02" PRId64, us / day, us % day / hour, us % hour / minute);
  else {
    text_count(out, (uint64_t)(us / day));
    text_puts(out, " d");
  }
}

void text_full_in(text *out, int64_t us) {
  const int64_t year = INT64_C(31557600000000);
  if (us >= 10 * year) {
    text_puts(out, "not full within 10 years");
  } else if (us >= 2 * year) {
    text_printf(out, "full in %" PRId64 " years", us / year);
  } else {
    text_puts(out, "full in ");
    text_span(out, us);
  }
}

void text_ago(text *out, int64_t us) {
  if (us < 0) {
    text_span(out, -us);
    text_puts(out, " ahead of this clock");
  } else if (us < 100000) {
    text_puts(out, "just now");
  } else if (us < 10000000) {
    text_printf(out, "%.1f s ago", (double)us / 1e6);
  } else if (us < 60000000) {
    text_printf(out, "%.0f s ago", (double)us / 1e6);
  } else {
    text_span(out, us / 60000000 * 60000000);
    text_puts(out, " ago");
  }
}

sl_slice topic_short(sl_slice topic) {
  static const char *const classes[] = {"evt", "cmd", "qrs", "doc"};
  const char *data = topic.data;
  size_t part = 0, begin = 0;
  for (size_t i = 0; i < topic.len; i++) {
    if (data[i] != '.')
      continue;
    for (size_t c = 0; part == 3 && c < sizeof classes / sizeof *classes; c++)
      if (i - begin == 3 && memcmp(data + begin, classes[c], 3) == 0 && i + 1 < topic.len)
        return (sl_slice){data + i + 1, topic.len - i - 1};
    part++;
    begin = i + 1;
  }
  return topic;
}

void text_base64(text *out, sl_slice bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const unsigned char *p = bytes.data;
  for (size_t i = 0; i < bytes.len; i += 3) {
    size_t left = bytes.len - i;
    uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
    char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                    left > 2 ? digits[v & 63] : '='};
    text_add(out, four, 4);
  }
}
