#include "event_line.h"

#include "json.h"
#include "members.h"
#include "when.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { ID_MOST = SL_ID_MAX - 1, NAME_MOST = 255, TEXT_MOST = 1 << 20, KEY_MOST = 1 << 20 };
enum { HEADERS_MOST = 4096, PARTS_MOST = 64 };

typedef enum kind { TEXT, BYTES, TIME, NUMBER_64, SIGNED_64, SIGNED_32, UNSIGNED_32, WORD, BYTES_64 } kind;

/* What a line may say of a record; all other members are passed over. */
static const struct {
  const char *name;
  kind kind;
  size_t at, most;
} known[] = {
  {"seq", NUMBER_64, offsetof(sl_record, seq), 0},
  {"event_id", TEXT, offsetof(sl_record, event_id), ID_MOST},
  {"event_type", TEXT, offsetof(sl_record, type), NAME_MOST},
  {"topic", TEXT, offsetof(sl_record, topic), NAME_MOST},
  {"correlation_id", TEXT, offsetof(sl_record, correlation_id), ID_MOST},
  {"causation_id", TEXT, offsetof(sl_record, causation_id), ID_MOST},
  {"appended_at", TIME, offsetof(sl_record, appended_at_us), 0},
  {"occurred_at", TIME, offsetof(sl_record, occurred_at_us), 0},
  {"settled_at", TIME, offsetof(sl_record, settled_at_us), 0},
  {"partition", SIGNED_32, offsetof(sl_record, partition), 0},
  {"offset", SIGNED_64, offsetof(sl_record, offset), 0},
  {"topic_recreated", WORD, offsetof(sl_record, topic_recreated), 0},
  {"tenant", TEXT, offsetof(sl_record, tenant), NAME_MOST},
  {"source", TEXT, offsetof(sl_record, source), NAME_MOST},
  {"key", BYTES, offsetof(sl_record, key), KEY_MOST},
  {"key_base64", BYTES_64, offsetof(sl_record, key), KEY_MOST},
  {"duplicate_of", NUMBER_64, offsetof(sl_record, duplicate_of), 0},
  {"error_class", TEXT, offsetof(sl_record, error_class), NAME_MOST},
  {"error_code", TEXT, offsetof(sl_record, error_code), NAME_MOST},
  {"error_text", TEXT, offsetof(sl_record, error_text), TEXT_MOST},
  {"attempts", UNSIGNED_32, offsetof(sl_record, attempts), 0},
  {"first_failure_at", TIME, offsetof(sl_record, first_failure_us), 0},
  {"last_failure_at", TIME, offsetof(sl_record, last_failure_us), 0},
  {"dropped_by", TEXT, offsetof(sl_record, dropped_by), NAME_MOST},
  {"drop_reason", TEXT, offsetof(sl_record, drop_reason), TEXT_MOST},
  {"replay_of", NUMBER_64, offsetof(sl_record, replay_of), 0},
};
enum { KNOWN = sizeof known / sizeof *known };

static bool is(sl_slice s, const char *words) { return slice_eq(s, slice_of(words)); }
static bool is_null(sl_slice s) { return is(s, "null"); }

/* ----------------------------------------------------------------- values --- */

/* Texts never need more room than the line has. */
static char *room(event_line *e) { return e->arena + e->used; }

static sl_slice taken(event_line *e, size_t len, size_t most) {
  sl_slice s = {room(e), len};
  if (len > most) { /* cut at a whole character */
    s.len = most;
    while (s.len && ((unsigned char)room(e)[s.len] & 0xc0) == 0x80)
      s.len--;
  }
  e->used += s.len;
  return s;
}

static bool take_text(event_line *e, sl_slice value, bool any, size_t most, sl_slice *out) {
  size_t len = 0;
  if (!unescape(value, any, room(e), &len))
    return false;
  *out = taken(e, len, most);
  return true;
}

static bool take_base64(event_line *e, sl_slice value, sl_slice *out) {
  size_t len = 0;
  if (value.len < 2 || !base64_decode(value, room(e), &len))
    return false;
  *out = (sl_slice){room(e), len};
  e->used += len;
  return true;
}

static bool number_of(sl_slice value, bool negative, int64_t *out) {
  char digits[24];
  uint64_t n = 0;
  size_t minus = negative && value.len && *(const char *)value.data == '-';
  if (value.len - minus >= sizeof digits || value.len == minus)
    return false;
  memcpy(digits, (const char *)value.data + minus, value.len - minus);
  digits[value.len - minus] = 0;
  if (!number_parse(digits, &n) || n > INT64_MAX)
    return false;
  *out = minus ? -(int64_t)n : (int64_t)n;
  return true;
}

static bool time_of(sl_slice value, int64_t *us) {
  char words[WHEN_MAX];
  size_t len = value.len - 2;
  const char *p = value.data;
  if (value.len < 12 || len >= sizeof words || p[0] != '"' || p[1] < '0' || p[1] > '9')
    return false;
  memcpy(words, p + 1, len);
  words[len] = 0;
  return when_parse(words, 0, us) && *us > 0;
}

static bool take_known(event_line *e, size_t k, sl_slice value) {
  void *at = (char *)&e->record + known[k].at;
  int64_t n = 0;
  switch (known[k].kind) {
  case TEXT: return take_text(e, value, false, known[k].most, at);
  case BYTES: return take_text(e, value, true, known[k].most, at);
  case BYTES_64: return take_base64(e, value, at);
  case TIME: return time_of(value, at);
  case WORD: *(int *)at = is(value, "true"); return true;
  default: break;
  }
  if (!number_of(value, known[k].kind == SIGNED_64 || known[k].kind == SIGNED_32, &n))
    return false;
  if (known[k].kind == SIGNED_32 && (n < INT32_MIN || n > INT32_MAX))
    return false;
  if (known[k].kind == UNSIGNED_32 && n > UINT32_MAX)
    return false;
  if (known[k].kind == NUMBER_64)
    *(uint64_t *)at = (uint64_t)n;
  else if (known[k].kind == SIGNED_64)
    *(int64_t *)at = n;
  else if (known[k].kind == SIGNED_32)
    *(int32_t *)at = (int32_t)n;
  else
    *(uint32_t *)at = (uint32_t)n;
  return true;
}

static bool take_state(event_line *e, sl_slice value) {
  for (int s = 0; s < SL_STATE_COUNT; s++) {
    const char *name = sl_state_text((sl_state)s);
    if (value.len == strlen(name) + 2 && memcmp((const char *)value.data + 1, name, value.len - 2) == 0) {
      e->record.state = (sl_state)s;
      return true;
    }
  }
  return false;
}

static bool take_headers(event_line *e, sl_slice value) {
  members list, one;
  sl_slice item, name, part;
  if (!items_begin(&list, value))
    return false;
  while (items_next(&list, &item)) {
    size_t at = e->record.header_count;
    if (!members_begin(&one, item) || at == HEADERS_MOST)
      return false;
    if (at == e->header_cap) {
      e->header_cap = e->header_cap ? e->header_cap * 2 : 16;
      e->headers = tool_grow(e->headers, e->header_cap * sizeof *e->headers);
    }
    e->headers[at] = (sl_header){0};
    while (members_next(&one, &name, &part))
      if ((is(name, "name") && !take_text(e, part, false, NAME_MOST, &e->headers[at].name)) ||
          (is(name, "value") && !take_text(e, part, true, TEXT_MOST, &e->headers[at].value)) ||
          (is(name, "value_base64") && !take_base64(e, part, &e->headers[at].value)))
        return false;
    e->record.header_count++;
  }
  e->record.headers = e->headers;
  return true;
}

/* ------------------------------------------------------------------- line --- */

static line_kind damaged(text *why, const char *words, sl_slice name) {
  text_puts(why, words);
  text_add_safe(why, name, true);
  return LINE_DAMAGED;
}

static bool take_member(event_line *e, sl_slice name, sl_slice value, sl_slice *bytes) {
  if (is(name, "value")) {
    if (!bytes->data)
      *bytes = value;
    return true;
  }
  if (is(name, "value_base64"))
    return take_base64(e, value, bytes);
  if (is_null(value))
    return true;
  if (is(name, "status"))
    return take_state(e, value);
  if (is(name, "headers"))
    return take_headers(e, value);
  if (is(name, "store"))
    return take_text(e, value, false, NAME_MOST, &e->store);
  for (size_t k = 0; k < KNOWN; k++)
    if (is(name, known[k].name))
      return take_known(e, k, value);
  return true;
}

static line_kind head_or_other(sl_slice line, text *why) {
  members m;
  sl_slice name, value;
  line_kind what = LINE_OTHER;
  int64_t version = 0;
  members_begin(&m, line);
  while (members_next(&m, &name, &value)) {
    if (is(name, "sidelog_bundle_end"))
      what = LINE_END;
    if (!is(name, "sidelog_bundle"))
      continue;
    if (!number_of(value, false, &version) || version == 0)
      return damaged(why, "the number of its form is none: ", value);
    what = version > BUNDLE_VERSION ? LINE_NEWER : LINE_HEAD;
  }
  return what;
}

line_kind event_line_read(event_line *e, sl_slice line, text *why) {
  members m;
  sl_slice name, value, bytes = {NULL, 0};
  bool has_id = false, has_status = false;
  if (!json_valid_deep(line, 1100))
    return damaged(why, "is no JSON", SL_STR(""));
  if (!members_begin(&m, line))
    return damaged(why, "is no JSON object", SL_STR(""));
  if (line.len + 16 > e->cap) {
    e->cap = line.len + 16;
    free(e->arena);
    e->arena = tool_alloc(e->cap);
  }
  e->used = 0;
  e->record = (sl_record){.partition = -1, .offset = -1};
  e->store = (sl_slice){NULL, 0};
  while (members_next(&m, &name, &value)) {
    if (is(name, "sidelog_bundle") || is(name, "sidelog_bundle_end"))
      return head_or_other(line, why);
    if (!take_member(e, name, value, &bytes))
      return damaged(why, "does not have what it should in ", name);
    has_id = has_id || is(name, "event_id");
    has_status = has_status || is(name, "status");
  }
  if (!has_id && e->record.seq == 0)
    return LINE_OTHER;
  const sl_record *r = &e->record;
  const char *lacks = r->seq == 0              ? "seq"
                      : r->event_id.len == 0   ? "event_id"
                      : r->topic.len == 0      ? "topic"
                      : r->appended_at_us == 0 ? "appended_at"
                      : !has_status            ? "status"
                                               : NULL;
  if (lacks && has_status) /* a line of dlq or check has seq and event_id, too */
    return damaged(why, "lacks ", slice_of(lacks));
  e->record.value = bytes;
  return lacks ? LINE_OTHER : LINE_EVENT;
}

void event_line_free(event_line *e) {
  free(e->arena);
  free(e->headers);
  *e = (event_line){0};
}

/* ------------------------------------------------------------------- head --- */

static char *copy_text(sl_slice value) {
  char *words = tool_alloc(value.len + 16);
  size_t len = 0;
  if (!unescape(value, false, words, &len))
    len = 0;
  if (len > NAME_MOST)
    len = 0;
  words[len] = 0;
  return words;
}

static void set_text(char **at, sl_slice value) {
  free(*at);
  *at = copy_text(value);
}

static void read_part(bundle_part *p, sl_slice object) {
  members m;
  sl_slice name, value;
  *p = (bundle_part){.name = tool_copy("", 0), .store_id = tool_copy("", 0)};
  if (!members_begin(&m, object))
    return;
  while (members_next(&m, &name, &value)) {
    const struct {
      const char *name;
      uint64_t *at;
    } numbers[] = {{"first_seq", &p->stats.first_seq}, {"last_seq", &p->stats.last_seq},
                   {"trimmed", &p->stats.trimmed},     {"kept", &p->stats.kept},
                   {"delivery_seq", &p->stats.delivery_seq}, {"lanes", &p->stats.lanes}};
    int64_t n = 0;
    if (is(name, "name"))
      set_text(&p->name, value);
    else if (is(name, "store_id"))
      set_text(&p->store_id, value);
    else if (is(name, "oldest_at") && !time_of(value, &p->oldest_us))
      p->oldest_us = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
      if (is(name, numbers[i].name) && number_of(value, false, &n))
        *numbers[i].at = (uint64_t)n;
  }
}

void bundle_head_read(bundle_head *h, sl_slice line) {
  members m, list;
  sl_slice name, value, item;
  *h = (bundle_head){.host = tool_copy("", 0)};
  members_begin(&m, line);
  while (members_next(&m, &name, &value)) {
    if (is(name, "host"))
      set_text(&h->host, value);
    else if (is(name, "made_at") && !time_of(value, &h->made_us))
      h->made_us = 0;
    else if (is(name, "redacted"))
      h->redacted = is(value, "true");
    if (!is(name, "stores") || !items_begin(&list, value))
      continue;
    while (items_next(&list, &item) && h->count < PARTS_MOST) {
      h->parts = tool_grow(h->parts, (h->count + 1) * sizeof *h->parts);
      read_part(&h->parts[h->count++], item);
    }
  }
}

void bundle_head_free(bundle_head *h) {
  for (size_t i = 0; i < h->count; i++) {
    free(h->parts[i].name);
    free(h->parts[i].store_id);
  }
  free(h->parts);
  free(h->host);
  *h = (bundle_head){0};
}

uint64_t bundle_end_read(sl_slice line) {
  members m;
  sl_slice name, value;
  int64_t events = 0;
  members_begin(&m, line);
  while (members_next(&m, &name, &value))
    if (is(name, "events") && !number_of(value, false, &events))
      events = 0;
  return (uint64_t)events;
}
