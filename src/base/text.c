#include "base/text.h"

#include <stdio.h>

/* ---- UTF-8 ---- */

/* Length of the well-formed character at p (RFC 3629), 0 if there is none. */
static size_t utf8_char(const uint8_t *p, size_t left) {
  uint8_t a = p[0];
  if (a < 0x80) return 1;
  if (a < 0xc2 || a > 0xf4) return 0;
  size_t len = a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;
  if (left < len) return 0;
  uint8_t low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
  uint8_t high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < len; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return len;
}

bool sl_utf8_valid(sl_slice text) { return sl_utf8_prefix(text) == text.len; }

size_t sl_utf8_prefix(sl_slice text) {
  const uint8_t *p = text.data;
  size_t i = 0;
  while (i < text.len) {
    if (text.len - i >= 8) {
      uint64_t w;
      memcpy(&w, p + i, 8);
      if (!(w & UINT64_C(0x8080808080808080))) {
        i += 8;
        continue;
      }
    }
    size_t n = utf8_char(p + i, text.len - i);
    if (n == 0) break;
    i += n;
  }
  return i;
}

/* ---- topics ---- */

bool sl_topic_valid(sl_slice topic) {
  const uint8_t *p = topic.data;
  if (topic.len < 1 || topic.len > 249) return false;
  if (p[0] == '.' && (topic.len == 1 || (topic.len == 2 && p[1] == '.'))) return false;
  for (size_t i = 0; i < topic.len; i++) {
    uint8_t c = p[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

/* ---- globs ---- */

/* The character at p as one number: its bytes. A byte that begins no character stands for itself. */
static uint32_t char_at(const uint8_t *p, size_t left, size_t *len) {
  size_t n = utf8_char(p, left);
  if (n == 0) n = 1;
  uint32_t c = 0;
  for (size_t i = 0; i < n; i++) c = c << 8 | p[i];
  *len = n;
  return c;
}

/* The set that begins behind the '[' at p: its length with the ']', 0 if it is not closed. */
static size_t match_set(const uint8_t *p, size_t left, uint32_t c, bool *hit) {
  size_t i = 0, n;
  bool negate = false, in = false;
  if (i < left && p[i] == '!') {
    negate = true;
    i++;
  }
  for (bool first = true;; first = false) {
    if (i >= left) return 0;
    if (p[i] == ']' && !first) break;
    if (p[i] == '\\' && i + 1 < left) i++;
    uint32_t low = char_at(p + i, left - i, &n), high = low;
    i += n;
    if (i + 1 < left && p[i] == '-' && p[i + 1] != ']') {
      i++;
      if (p[i] == '\\' && i + 1 < left) i++;
      high = char_at(p + i, left - i, &n);
      i += n;
    }
    if (c >= low && c <= high) in = true;
  }
  *hit = in != negate;
  return i + 1;
}

bool sl_glob_match(sl_slice pattern, sl_slice text) {
  const uint8_t *p = pattern.data, *t = text.data;
  size_t pi = 0, ti = 0, star_p = SIZE_MAX, star_t = 0, n;
  /* Only the last star is ever widened: an earlier one has already matched as little as it could. */
  for (;;) {
    if (pi < pattern.len && p[pi] == '*') {
      star_p = ++pi;
      star_t = ti;
      continue;
    }
    if (pi == pattern.len && ti == text.len) return true;
    bool hit = false;
    size_t pattern_len = 0, text_len = 0;
    if (pi < pattern.len && ti < text.len) {
      uint32_t c = char_at(t + ti, text.len - ti, &text_len);
      if (p[pi] == '?') {
        hit = true;
        pattern_len = 1;
      } else {
        if (p[pi] == '[') {
          n = match_set(p + pi + 1, pattern.len - pi - 1, c, &hit);
          if (n) pattern_len = 1 + n;
        }
        if (pattern_len == 0) {
          size_t skip = p[pi] == '\\' && pi + 1 < pattern.len;
          hit = char_at(p + pi + skip, pattern.len - pi - skip, &n) == c;
          pattern_len = skip + n;
        }
      }
    }
    if (hit) {
      pi += pattern_len;
      ti += text_len;
      continue;
    }
    if (star_p == SIZE_MAX || star_t >= text.len) return false;
    char_at(t + star_t, text.len - star_t, &n);
    star_t += n;
    ti = star_t;
    pi = star_p;
  }
}

bool sl_glob_is_literal(sl_slice pattern) {
  const uint8_t *p = pattern.data;
  for (size_t i = 0; i < pattern.len; i++)
    if (p[i] == '*' || p[i] == '?' || p[i] == '[' || p[i] == '\\') return false;
  return true;
}

/* ---- time ---- */

/* Days since 1970-01-01, proleptic Gregorian; years begin in March so that the leap day is their last. */
static int64_t days_of(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t yoe = year - era * 400;
  int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool digits(const uint8_t *p, size_t count, int *out) {
  int v = 0;
  for (size_t i = 0; i < count; i++) {
    if (p[i] < '0' || p[i] > '9') return false;
    v = v * 10 + (p[i] - '0');
  }
  *out = v;
  return true;
}

bool sl_time_parse(sl_slice text, int64_t *us) {
  static const uint8_t month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const uint8_t *p = text.data;
  int year, month, day, hour, minute, second;
  if (text.len < 19) return false;
  if (!digits(p, 4, &year) || p[4] != '-' || !digits(p + 5, 2, &month) || p[7] != '-' ||
      !digits(p + 8, 2, &day))
    return false;
  if (p[10] != 'T' && p[10] != 't' && p[10] != ' ') return false;
  if (!digits(p + 11, 2, &hour) || p[13] != ':' || !digits(p + 14, 2, &minute) || p[16] != ':' ||
      !digits(p + 17, 2, &second))
    return false;
  if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1]) return false;
  if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0))) return false;
  if (hour > 23 || minute > 59 || second > 60) return false;

  size_t i = 19;
  int64_t micro = 0;
  if (i < text.len && p[i] == '.') {
    size_t first = ++i;
    int64_t unit = 100000;
    for (; i < text.len && p[i] >= '0' && p[i] <= '9'; i++, unit /= 10) micro += unit * (p[i] - '0');
    if (i == first) return false;
  }
  int64_t offset = 0;
  if (i < text.len) {
    if (p[i] == 'Z' || p[i] == 'z') {
      i++;
    } else if (p[i] == '+' || p[i] == '-') {
      int oh, om;
      if (text.len - i < 6 || !digits(p + i + 1, 2, &oh) || p[i + 3] != ':' || !digits(p + i + 4, 2, &om))
        return false;
      if (oh > 23 || om > 59) return false;
      offset = (oh * 60 + om) * (p[i] == '-' ? -60 : 60);
      i += 6;
    }
  }
  if (i != text.len) return false;

  int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
  /* A leap second ends a day in UTC; it is given the time of the second that follows, as POSIX has it. */
  if (second == 60 && seconds % 86400 != 0) return false;
  *us = seconds * 1000000 + micro;
  return true;
}

void sl_time_format(int64_t us, char out[32]) {
  int64_t seconds = us / 1000000, micro = us % 1000000;
  if (micro < 0) {
    micro += 1000000;
    seconds--;
  }
  int64_t days = seconds / 86400, rest = seconds % 86400;
  if (rest < 0) {
    rest += 86400;
    days--;
  }
  int64_t z = days + 719468;
  int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  int64_t doe = z - era * 146097;
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  int mp = (int)((5 * doy + 2) / 153);
  int day = (int)(doy - (153 * mp + 2) / 5 + 1);
  int month = mp < 10 ? mp + 3 : mp - 9;
  int64_t year = yoe + era * 400 + (month <= 2);
  char text[80]; /* more than any int can need, so that the compiler sees it too */
  int len = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", (int)year, month, day,
                     (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60), (int)micro);
  memcpy(out, text, (size_t)len + 1);
}
