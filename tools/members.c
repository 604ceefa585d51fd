#include "members.h"

#include <string.h>

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_blanks(members *m) {
  while (m->at < m->end && is_blank(*m->at))
    m->at++;
}

/* Over one value; the text is valid, so quotes and brackets match. */
static sl_slice take_value(members *m) {
  const char *begin = m->at;
  size_t depth = 0;
  do {
    char c = *m->at++;
    if (c == '"') {
      while (m->at < m->end && *m->at != '"')
        m->at += *m->at == '\\' ? 2 : 1;
      m->at++;
    } else if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      depth--;
    } else {
      while (m->at < m->end && !strchr(",]}: \t\r\n\"{[", *m->at))
        m->at++;
    }
    if (depth)
      while (m->at < m->end && (is_blank(*m->at) || *m->at == ',' || *m->at == ':'))
        m->at++;
  } while (depth && m->at < m->end);
  if (m->at > m->end)
    m->at = m->end;
  return (sl_slice){begin, (size_t)(m->at - begin)};
}

static bool begin(members *m, sl_slice json, char sign) {
  m->at = json.data;
  m->end = m->at + json.len;
  skip_blanks(m);
  if (m->at == m->end || *m->at != sign)
    return false;
  m->at++;
  return true;
}

bool members_begin(members *m, sl_slice json) { return begin(m, json, '{'); }
bool items_begin(members *m, sl_slice json) { return begin(m, json, '['); }

static bool more(members *m) {
  skip_blanks(m);
  if (m->at < m->end && *m->at == ',')
    m->at++;
  skip_blanks(m);
  return m->at < m->end && *m->at != '}' && *m->at != ']';
}

bool items_next(members *m, sl_slice *value) {
  if (!more(m))
    return false;
  *value = take_value(m);
  return true;
}

bool members_next(members *m, sl_slice *name, sl_slice *value) {
  if (!more(m))
    return false;
  sl_slice quoted = take_value(m);
  *name = (sl_slice){(const char *)quoted.data + 1, quoted.len - 2};
  skip_blanks(m);
  m->at += m->at < m->end; /* the colon */
  skip_blanks(m);
  *value = take_value(m);
  return true;
}

/* --------------------------------------------------------------- strings --- */

static size_t put_utf8(char *out, uint32_t point) {
  if (point < 0x80) {
    out[0] = (char)point;
    return 1;
  }
  size_t more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
  out[0] = (char)(lead[more] | point >> 6 * more);
  for (size_t i = 1; i <= more; i++)
    out[i] = (char)(0x80 | ((point >> 6 * (more - i)) & 0x3f));
  return more + 1;
}

static uint32_t hex4(const char *p) {
  uint32_t n = 0;
  for (int i = 0; i < 4; i++)
    n = n * 16 + (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
  return n;
}

static uint32_t take_point(const char **at, const char *end) {
  uint32_t point = hex4(*at);
  *at += 4;
  if (point < 0xd800 || point > 0xdfff)
    return point;
  if (point < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
    uint32_t low = hex4(*at + 2);
    if (low >= 0xdc00 && low <= 0xdfff) {
      *at += 6;
      return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
  }
  return 0xfffd;
}

static char plain_of(char c) {
  switch (c) {
  case 'b': return '\b';
  case 'f': return '\f';
  case 'n': return '\n';
  case 'r': return '\r';
  case 't': return '\t';
  default: return c;
  }
}

bool unescape(sl_slice string, bool any, char *out, size_t *len) {
  const char *at = string.data, *end = at + string.len - 1;
  size_t n = 0;
  if (string.len < 2 || *at != '"')
    return false;
  for (at++; at < end;) {
    if (*at != '\\') {
      out[n++] = *at++;
      continue;
    }
    at++;
    if (*at != 'u') {
      out[n++] = plain_of(*at++);
      continue;
    }
    at++;
    uint32_t point = take_point(&at, end);
    n += put_utf8(out + n, point == 0 && !any ? 0xfffd : point);
  }
  *len = n;
  return true;
}

bool base64_decode(sl_slice string, char *out, size_t *len) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *p = (const char *)string.data + 1;
  size_t count = string.len - 2, n = 0;
  if (string.len < 2 || p[-1] != '"' || count % 4)
    return false;
  for (size_t i = 0; i < count; i += 4) {
    uint32_t bits = 0;
    size_t pad = i + 4 == count ? (size_t)(p[i + 3] == '=') + (p[i + 3] == '=' && p[i + 2] == '=') : 0;
    for (size_t k = 0; k < 4; k++) {
      const char *digit = k >= 4 - pad ? digits : p[i + k] ? strchr(digits, p[i + k]) : NULL;
      if (!digit)
        return false;
      bits = bits << 6 | (uint32_t)(digit - digits);
    }
    for (size_t k = 0; k < 3 - pad; k++)
      out[n++] = (char)(bits >> (16 - 8 * k));
  }
  *len = n;
  return true;
}
