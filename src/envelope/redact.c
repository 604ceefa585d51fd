/* Secrets in a copy. JSON is checked by yajl and then walked token by token, so that only the tokens that hold a
 * secret get new bytes: regular expressions over serialised JSON break it, and miss "token":"x". */
#include "redact.h"

#include "redact_shapes.h"

#include <ctype.h>
#include <setjmp.h>
#include <sidelog/dead.h>
#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

/* ---- text ---- */

static bool is_name(unsigned char c) { return isalnum(c) || c == '_' || c == '-'; }

/* NAME=VALUE, NAME: VALUE, "NAME":"VALUE" in text, where NAME begins at `at` and says that VALUE is a secret.
 * Returns the length up to the end of the value, *keep up to its beginning. */
static size_t assignment_at(sl_slice text, size_t at, size_t *keep, size_t *barren) {
  const unsigned char *p = text.data;
  size_t i = at;
  if (!is_name(p[at]) || (at > 0 && is_name(p[at - 1]))) return 0;
  while (i < text.len && is_name(p[i])) i++;
  const size_t name = i - at;
  while (i < text.len && (p[i] == '\\' || p[i] == '"' || p[i] == '\'' || p[i] == ' ')) i++;
  if (i >= text.len || (p[i] != '=' && p[i] != ':') || !redact_name(SL_BYTES(p + at, name))) return 0;
  i++;
  while (i < text.len && (p[i] == ' ' || p[i] == '\\' || p[i] == '=')) i++;
  char quote = 0;
  if (i < text.len && (p[i] == '"' || p[i] == '\'')) quote = (char)p[i++];
  *keep = i - at;
  const size_t from = i;
  if (quote) while (i < text.len && p[i] != (unsigned char)quote && p[i] != '\\') i++;
  else while (i < text.len && !strchr(" \t\r\n,;&\"'}])", p[i])) i++;
  size_t word, shape = from < text.len ? shape_at(text, from, &word, barren) : 0; /* "Bearer X": two words */
  if (from + shape > i) i = from + shape;
  return i > from ? i - at : 0;
}

/* Appends the text with its secrets masked. True: there were some. */
static bool mask_text(sl_slice text, sl_buf *out) {
  const unsigned char *p = text.data;
  bool any = false;
  size_t done = 0, barren = 0;
  for (size_t at = 0; at < text.len;) {
    size_t keep = 0, len = shape_at(text, at, &keep, &barren);
    if (len == 0) len = assignment_at(text, at, &keep, &barren);
    if (len == 0) {
      at++;
      continue;
    }
    sl_buf_append(out, p + done, at + keep - done);
    sl_buf_append(out, REDACTED, sizeof REDACTED - 1);
    at += len;
    done = at;
    any = true;
  }
  sl_buf_append(out, p + done, text.len - done);
  return any;
}

/* ---- JSON ---- */

typedef struct scan {
  const unsigned char *p;
  size_t len, at;
  sl_buf *out, plain, masked;
} scan;

static void blanks(scan *s) {
  while (s->at < s->len && strchr(" \t\r\n", s->p[s->at])) s->at++;
}

static void put_utf8(sl_buf *b, uint32_t c) {
  uint8_t u[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  if (n == 1) u[0] = (uint8_t)c;
  else {
    for (size_t i = n; i-- > 1; c >>= 6) u[i] = (uint8_t)(0x80 | (c & 0x3f));
    u[0] = (uint8_t)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
  }
  sl_buf_append(b, u, n);
}

static uint32_t hex4(const unsigned char *p) {
  char text[5] = {(char)p[0], (char)p[1], (char)p[2], (char)p[3], 0};
  return (uint32_t)strtoul(text, NULL, 16);
}

/* Reads the string token at s->at, decoded into s->plain; returns its length in bytes, quotes included. */
static size_t read_string(scan *s) {
  static const char letters[] = "bfnrt", means[] = "\b\f\n\r\t";
  size_t i = s->at + 1;
  sl_buf_reset(&s->plain);
  while (i < s->len && s->p[i] != '"') {
    if (s->p[i] != '\\' || i + 1 >= s->len) {
      sl_buf_append(&s->plain, &s->p[i++], 1);
      continue;
    }
    const unsigned char c = s->p[i + 1];
    const char *letter = memchr(letters, c, sizeof letters - 1);
    if (c == 'u' && i + 6 <= s->len) {
      uint32_t u = hex4(s->p + i + 2);
      i += 6;
      const bool pair = u >= 0xd800 && u < 0xdc00 && i + 6 <= s->len && s->p[i] == '\\' && s->p[i + 1] == 'u';
      const uint32_t low = pair ? hex4(s->p + i + 2) : 0;
      if (low >= 0xdc00 && low < 0xe000) {
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
        i += 6;
      }
      put_utf8(&s->plain, u >= 0xd800 && u < 0xe000 ? 0xfffd : u); /* half a character is none */
    } else {
      sl_buf_append(&s->plain, letter ? &means[letter - letters] : (const char *)&c, 1);
      i += 2;
    }
  }
  if (s->plain.failed) s->out->failed = true; /* now: the next reset forgets it */
  return i + 1 - s->at;
}

static void put_string(sl_buf *out, sl_slice text) {
  const unsigned char *p = text.data;
  char escape[8];
  sl_buf_append(out, "\"", 1);
  for (size_t i = 0; i < text.len; i++) {
    if (p[i] == '"' || p[i] == '\\') sl_buf_append(out, "\\", 1);
    if (p[i] >= 0x20) sl_buf_append(out, &p[i], 1);
    else sl_buf_append(out, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", p[i]));
  }
  sl_buf_append(out, "\"", 1);
}

static void copy(scan *s, size_t len) {
  sl_buf_append(s->out, s->p + s->at, len);
  s->at += len;
}

static void string_value(scan *s, bool secret) {
  const size_t len = read_string(s);
  sl_buf_reset(&s->masked);
  if (secret && s->plain.len > 0) {
    put_string(s->out, SL_STR(REDACTED));
    s->at += len;
  } else if (mask_text(sl_buf_slice(&s->plain), &s->masked)) {
    if (s->masked.failed) s->out->failed = true;
    put_string(s->out, sl_buf_slice(&s->masked));
    s->at += len;
  } else {
    copy(s, len);
  }
}

static void other_value(scan *s, bool secret) { /* a number, true, false, null */
  const size_t from = s->at;
  size_t end = from;
  while (end < s->len && !strchr(",]} \t\r\n", s->p[end])) end++;
  if (secret && s->p[from] != 'n') {
    put_string(s->out, SL_STR(REDACTED));
    s->at = end;
  } else {
    copy(s, end - from);
  }
}

/* Walks JSON that is known to be valid. One bit a level, for any depth: is it an object? is its content secret? */
static void walk(scan *s) {
  sl_buf levels = {0}; /* one byte each: 1 object, 2 secret */
  bool secret = false, name = false;
  while (s->at < s->len && !s->out->failed && !levels.failed) {
    const size_t blank = s->at;
    blanks(s);
    sl_buf_append(s->out, s->p + blank, s->at - blank);
    if (s->at >= s->len) break;
    const unsigned char c = s->p[s->at];
    const uint8_t level = levels.len ? levels.data[levels.len - 1] : 0;
    if (c == '{' || c == '[') {
      const uint8_t next = (uint8_t)((c == '{') | (secret || (level & 2) ? 2 : 0));
      sl_buf_append(&levels, &next, 1);
      name = c == '{';
      secret = false;
      copy(s, 1);
    } else if (c == '}' || c == ']') {
      if (levels.len) levels.len--;
      name = secret = false;
      copy(s, 1);
    } else if (c == ',') {
      name = level & 1;
      secret = false;
      copy(s, 1);
    } else if (c == ':') {
      name = false;
      copy(s, 1);
    } else if (c == '"' && name) {
      const size_t len = read_string(s);
      secret = redact_name(sl_buf_slice(&s->plain));
      copy(s, len);
    } else if (c == '"') {
      string_value(s, secret || (level & 2));
    } else {
      other_value(s, secret || (level & 2));
    }
  }
  if (levels.failed) s->out->failed = true;
  sl_buf_free(&levels);
}

/* yajl overlooks an endless string that begins behind the value, and takes two more characters for blanks. */
static bool ends_whole(sl_slice text) {
  const unsigned char *p = text.data;
  size_t depth = 0, values = 0;
  for (size_t i = 0; i < text.len; i++) {
    const unsigned char c = p[i];
    if (c == 0x0b || c == 0x0c) return false;
    if (depth == 0 && !strchr(" \t\r\n", c) && ++values > 1) return false;
    if (c == '"') {
      for (i++; i < text.len && p[i] != '"'; i++) i += p[i] == '\\';
      if (i >= text.len) return false;
    } else if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      depth--;
    } else if (depth == 0 && values == 1 && !strchr(" \t\r\n", c)) { /* a number or a word */
      while (i + 1 < text.len && !strchr(" \t\r\n\"", p[i + 1])) i++;
    }
  }
  return depth == 0;
}

/* yajl's memory, which it does not look at before it writes there: without any its call does not return. */
typedef struct chunk { struct chunk *next; size_t size; } chunk;
typedef struct chunks { chunk *all; jmp_buf none; } chunks;

static void *lend(void *ctx, size_t size) {
  chunks *c = ctx;
  chunk *one = malloc(sizeof *one + size);
  if (!one) longjmp(c->none, 1);
  *one = (chunk){c->all, size};
  c->all = one;
  return one + 1;
}

static void *lend_more(void *ctx, void *old, size_t size) {
  const size_t had = old ? ((chunk *)old)[-1].size : 0;
  if (old && size <= had) return old;
  void *more = lend(ctx, size);
  if (had) memcpy(more, old, had);
  return more;
}

static void keep(void *ctx, void *old) { /* until the end */
  (void)ctx;
  (void)old;
}

typedef enum shape_of { NO_MEMORY, IS_TEXT, IS_JSON } shape_of;

static shape_of parse(chunks *c, sl_slice text) {
  yajl_alloc_funcs memory = {lend, lend_more, keep, c};
  if (setjmp(c->none)) return NO_MEMORY;
  yajl_handle y = yajl_alloc(NULL, &memory, NULL);
  if (yajl_parse(y, text.data, text.len) != yajl_status_ok) return IS_TEXT;
  return yajl_complete_parse(y) == yajl_status_ok ? IS_JSON : IS_TEXT;
}

static shape_of look_at(sl_slice text) {
  chunks c = {.all = NULL};
  const shape_of shape = text.len ? parse(&c, text) : IS_TEXT;
  for (chunk *one = c.all, *next; one; one = next) {
    next = one->next;
    free(one);
  }
  return shape == IS_JSON && !ends_whole(text) ? IS_TEXT : shape;
}

bool redact(sl_slice text, sl_buf *out, bool *json) {
  const shape_of shape = look_at(text);
  const bool is = shape == IS_JSON;
  if (shape == NO_MEMORY) return false; /* as text some of its secrets would pass */
  if (json) *json = is;
  if (is) {
    scan s = {.p = text.data, .len = text.len, .out = out};
    walk(&s);
    sl_buf_free(&s.plain);
    sl_buf_free(&s.masked);
  } else {
    mask_text(text, out);
  }
  return !out->failed;
}

sl_status sl_redact(sl_slice text, sl_redacted_fn *fn, void *arg) {
  if (!fn || (text.len > 0 && !text.data))
    return sl_fail(SL_E_INVALID, "fn is NULL, or a text has a length but no data");
  sl_buf out = {0};
  bool json;
  const bool ok = redact(text, &out, &json);
  if (ok) fn(arg, sl_buf_slice(&out), json);
  sl_buf_free(&out);
  return ok ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
}

int sl_secret_name(sl_slice name) { return name.data && redact_name(name); }
