/* Envelopes: a line is accepted exactly if a second, independent reading of RFC 8259 accepts it. */
#include "fuzz.h"

#include "base/text.h"

#include <sidelog/envelope.h>

/* A validator as the RFC's grammar reads, with its own stack and no regard for speed. */
typedef struct text { const uint8_t *at, *end; } text;

static int next(const text *t) { return t->at < t->end ? *t->at : -1; }
static int take(text *t, int c) { return next(t) == c ? (t->at++, 1) : 0; }
static void blanks(text *t) {
  while (next(t) == ' ' || next(t) == '\t' || next(t) == '\n' || next(t) == '\r') t->at++;
}
static int word(text *t, const char *w) {
  size_t len = strlen(w);
  if ((size_t)(t->end - t->at) < len || memcmp(t->at, w, len) != 0) return 0;
  t->at += len;
  return 1;
}
static int digits(text *t) {
  const uint8_t *from = t->at;
  while (next(t) >= '0' && next(t) <= '9') t->at++;
  return t->at > from;
}
static int number(text *t) {
  take(t, '-');
  if (!take(t, '0') && !digits(t)) return 0;
  if (take(t, '.') && !digits(t)) return 0;
  if (take(t, 'e') || take(t, 'E')) {
    if (!take(t, '+')) take(t, '-');
    if (!digits(t)) return 0;
  }
  return 1;
}
static int string(text *t) {
  if (!take(t, '"')) return 0;
  while (next(t) != '"') {
    int c = next(t);
    if (c < 0x20) return 0;
    t->at++;
    if (c != '\\') continue;
    c = next(t);
    if (c < 0) return 0;
    t->at++;
    if (c == 'u') {
      for (int i = 0; i < 4; i++, t->at++)
        if (next(t) < 0 || !strchr("0123456789abcdefABCDEF", next(t)) || next(t) == 0) return 0;
    } else if (c == 0 || !strchr("\"\\/bfnrt", c)) {
      return 0;
    }
  }
  t->at++;
  return 1;
}

static int object(text *t) {
  static char stack[SL_ENVELOPE_MAX_DEPTH + 1];
  int depth = 0;
  blanks(t);
  if (next(t) != '{') return 0;
  for (;;) {
    /* a value begins here */
    blanks(t);
    int opened = take(t, '{') ? '}' : take(t, '[') ? ']' : 0;
    if (opened) {
      if (depth == SL_ENVELOPE_MAX_DEPTH) return 0;
      stack[depth++] = (char)opened;
      blanks(t);
      if (next(t) != opened) {
        if (opened == '}') {
          if (!string(t)) return 0;
          blanks(t);
          if (!take(t, ':')) return 0;
        }
        continue;
      }
    } else if (!word(t, "true") && !word(t, "false") && !word(t, "null")) {
      if (next(t) == '"' ? !string(t) : !number(t)) return 0;
    }
    /* a value has ended */
    for (;;) {
      blanks(t);
      if (take(t, ',')) break;
      if (depth == 0 || !take(t, stack[depth - 1])) return 0;
      if (--depth == 0) {
        blanks(t);
        return t->at == t->end;
      }
    }
    if (stack[depth - 1] == '}') {
      blanks(t);
      if (!string(t)) return 0;
      blanks(t);
      if (!take(t, ':')) return 0;
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static sl_envelope_reader *reader;
  if (!reader) PROMISE(sl_envelope_reader_new(&reader) == SL_OK);
  sl_event event = {.flags = 77};
  uint32_t missing = 0;
  text t = {data, data + size};
  int right = sl_utf8_valid((sl_slice){data, size}) && object(&t);
  sl_status status = sl_envelope_read(reader, (sl_slice){data, size}, &event, &missing);
  PROMISE(status == (right ? SL_OK : SL_E_INVALID));
  if (!right) {
    PROMISE(event.flags == 77 && missing == 0 && strstr(sl_last_detail(), "(byte "));
    return 0;
  }
  PROMISE(event.value.data == data && event.value.len == size);
  const sl_slice fields[] = {event.topic, event.type, event.event_id, event.correlation_id,
                             event.causation_id, event.tenant, event.source};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) PROMISE(sl_utf8_valid(fields[i]));
  PROMISE(!event.topic.len == !!(missing & SL_ENVELOPE_NO_TOPIC));
  PROMISE(!event.event_id.len == !!(missing & SL_ENVELOPE_NO_EVENT_ID));
  return 0;
}
