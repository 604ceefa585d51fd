/* The quick way to what a pointer points at: one pass over text that is JSON as it mostly is. It knows when it is
 * not sure, and then yajl decides (pointer.c); so it need not know everything, but what it says must be what yajl
 * would say. */
#include "bytes.h"
#include "pointer_impl.h"

#include <string.h>

enum { DEEPEST = 256, OFF = -1 };

typedef struct walk {
  pointer *p;
  const char *at, *end;
  int depth;
} walk;

static bool value(walk *w, int on);

static void blanks(walk *w) {
  while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\r' || *w->at == '\t'))
    w->at++;
}

static bool is_digit(const walk *w) { return w->at < w->end && *w->at >= '0' && *w->at <= '9'; }

static bool digits(walk *w) {
  if (!is_digit(w))
    return false;
  while (is_digit(w))
    w->at++;
  return true;
}

static bool number(walk *w) {
  if (w->at < w->end && *w->at == '-')
    w->at++;
  if (w->at < w->end && *w->at == '0')
    w->at++;
  else if (!digits(w))
    return false;
  if (w->at < w->end && *w->at == '.') {
    w->at++;
    if (!digits(w))
      return false;
  }
  if (w->at < w->end && (*w->at | 32) == 'e') {
    w->at++;
    if (w->at < w->end && (*w->at == '+' || *w->at == '-'))
      w->at++;
    if (!digits(w))
      return false;
  }
  return true;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

static bool escape(walk *w) {
  if (w->end - w->at < 2 || !strchr("\"\\/bfnrtu", w->at[1]) || w->at[1] == 0)
    return false;
  if (w->at[1] != 'u') {
    w->at += 2;
    return true;
  }
  if (w->end - w->at < 6 || !is_hex(w->at[2]) || !is_hex(w->at[3]) || !is_hex(w->at[4]) || !is_hex(w->at[5]))
    return false;
  w->at += 6;
  return true;
}

/* At the opening quote. *inside is what stands between the quotes, *escaped: not as it is meant. */
static bool string(walk *w, sl_slice *inside, bool *escaped) {
  const char *from = ++w->at;
  *escaped = false;
  for (;;) {
    w->at = bytes_plain_end(w->at, (size_t)(w->end - w->at));
    if (w->at == w->end || (*w->at != '"' && *w->at != '\\'))
      return false;
    if (*w->at == '"')
      break;
    *escaped = true;
    if (!escape(w))
      return false;
  }
  *inside = (sl_slice){from, (size_t)(w->at - from)};
  w->at++;
  return true;
}

static bool word(walk *w, const char *letters) {
  const size_t len = strlen(letters);
  if ((size_t)(w->end - w->at) < len || memcmp(w->at, letters, len) != 0)
    return false;
  w->at += len;
  return true;
}

static bool object(walk *w, int on) {
  w->at++;
  blanks(w);
  if (w->at < w->end && *w->at == '}') {
    w->at++;
    return true;
  }
  for (;;) {
    sl_slice name;
    bool escaped, hit = false;
    blanks(w);
    if (w->at == w->end || *w->at != '"' || !string(w, &name, &escaped))
      return false;
    if (on != OFF) {
      if (escaped)
        return false;
      const sl_slice wanted = w->p->tokens[on].name;
      hit = wanted.len == name.len && memcmp(wanted.data, name.data, name.len) == 0;
      if (hit)
        w->p->kind = POINTED_NOTHING; /* the last of a name counts, with all that stands in it */
    }
    blanks(w);
    if (w->at == w->end || *w->at != ':')
      return false;
    w->at++;
    if (!value(w, hit ? on + 1 : OFF))
      return false;
    blanks(w);
    if (w->at == w->end || (*w->at != ',' && *w->at != '}'))
      return false;
    if (*w->at++ == '}')
      return true;
  }
}

static bool array(walk *w, int on) {
  w->at++;
  blanks(w);
  if (w->at < w->end && *w->at == ']') {
    w->at++;
    return true;
  }
  for (size_t place = 0;; place++) {
    const bool hit = on != OFF && w->p->tokens[on].is_place && w->p->tokens[on].at == place;
    if (!value(w, hit ? on + 1 : OFF))
      return false;
    blanks(w);
    if (w->at == w->end || (*w->at != ',' && *w->at != ']'))
      return false;
    if (*w->at++ == ']')
      return true;
  }
}

/* `on`: so many names of the pointer lead here; OFF: it leads elsewhere. */
static bool value(walk *w, int on) {
  pointer *p = w->p;
  const bool here = on == (int)p->count;
  bool escaped;
  sl_slice words;
  blanks(w);
  if (w->at == w->end)
    return false;
  const char *from = w->at;
  pointed kind = POINTED_WORD;
  switch (*w->at) {
  case '"':
    if (!string(w, &words, &escaped) || (here && escaped))
      return false;
    if (here) {
      p->kind = POINTED_TEXT;
      p->found = words;
    }
    return true;
  case '{':
  case '[':
    if (++w->depth > DEEPEST || !(*w->at == '{' ? object(w, here ? OFF : on) : array(w, here ? OFF : on)))
      return false;
    w->depth--;
    kind = POINTED_MANY;
    break;
  case 't':
    if (!word(w, "true"))
      return false;
    break;
  case 'f':
    if (!word(w, "false"))
      return false;
    break;
  case 'n':
    if (!word(w, "null"))
      return false;
    break;
  default:
    if (!number(w))
      return false;
    kind = POINTED_NUMBER;
  }
  if (here) {
    p->kind = kind;
    p->found = (sl_slice){from, (size_t)(w->at - from)};
  }
  return true;
}

bool pointer_walk(pointer *p, sl_slice json) {
  walk w = {.p = p, .at = json.data, .end = (const char *)json.data + json.len};
  p->kind = POINTED_NOTHING;
  if (!value(&w, 0))
    return false;
  blanks(&w);
  return w.at == w.end;
}
