#include "filter.h"

#include "bytes.h"
#include "decimal.h"
#include "options.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- fields --- */

static const struct {
  const char *name, *brief;
  uint32_t needs;
} fields[FIELD_HEADER] = {
  [FIELD_SEQ] = {"seq", NULL, 0},
  [FIELD_EVENT_ID] = {"event_id", "event", 0},
  [FIELD_EVENT_TYPE] = {"event_type", "type", 0},
  [FIELD_TOPIC] = {"topic", NULL, 0},
  [FIELD_CORRELATION_ID] = {"correlation_id", "correlation", 0},
  [FIELD_CAUSATION_ID] = {"causation_id", "causation", 0},
  [FIELD_APPENDED_AT] = {"appended_at", "appended", 0},
  [FIELD_OCCURRED_AT] = {"occurred_at", "occurred", 0},
  [FIELD_STATUS] = {"status", NULL, SL_FILTER_FATE},
  [FIELD_PARTITION] = {"partition", NULL, SL_FILTER_FATE},
  [FIELD_OFFSET] = {"offset", NULL, SL_FILTER_FATE},
  [FIELD_SETTLED_AT] = {"settled_at", "settled", SL_FILTER_FATE},
  [FIELD_TENANT] = {"tenant", "tenant_id", SL_FILTER_ATTRIBUTES},
  [FIELD_SOURCE] = {"source", NULL, SL_FILTER_ATTRIBUTES},
  [FIELD_KEY] = {"key", NULL, SL_FILTER_ATTRIBUTES},
  [FIELD_DUPLICATE_OF] = {"duplicate_of", NULL, SL_FILTER_FATE},
  [FIELD_ERROR_CLASS] = {"error_class", NULL, SL_FILTER_FATE},
  [FIELD_ERROR_CODE] = {"error_code", "error", SL_FILTER_FATE},
  [FIELD_ERROR_TEXT] = {"error_text", NULL, SL_FILTER_FATE},
  [FIELD_ATTEMPTS] = {"attempts", NULL, SL_FILTER_FATE},
  [FIELD_SIZE] = {"size", NULL, SL_FILTER_WHOLE},
  [FIELD_VALUE] = {"value", NULL, SL_FILTER_WHOLE},
};

static bool is_named(const char *name, const char *words, size_t len) {
  return name && strlen(name) == len && memcmp(name, words, len) == 0;
}

static bool unknown_field(const char *words, char *error, size_t cap) {
  const char *names[FIELD_HEADER];
  for (size_t i = 0; i < FIELD_HEADER; i++)
    names[i] = fields[i].name;
  const char *near = nearest_name(words, names, FIELD_HEADER);
  if (near) {
    snprintf(error, cap, "there is no field %s; did you mean %s?", words, near);
    return false;
  }
  snprintf(error, cap, "there is no field %s: write one of", words);
  for (size_t i = 0; i < FIELD_HEADER; i++) {
    size_t used = strlen(error);
    snprintf(error + used, cap - used, "%s %s", i ? "," : "", names[i]);
  }
  size_t used = strlen(error);
  snprintf(error + used, cap - used, ", header.NAME, or /a/b into the value's JSON");
  return false;
}

bool field_parse(field *f, const char *words, size_t len, char *error, size_t cap) {
  static const char header[] = "header.";
  *f = (field){.words = tool_copy(words, len)};
  if (len && words[0] == '/') {
    f->id = FIELD_POINTER;
    f->needs = SL_FILTER_WHOLE;
    f->pointer = pointer_new((sl_slice){words, len});
    if (!f->pointer)
      snprintf(error, cap, "%s is no JSON pointer: in a name ~1 stands for / and ~0 for ~, at most 64 names",
               f->words);
    return f->pointer != NULL;
  }
  if (len > sizeof header - 1 && strncmp(words, header, sizeof header - 1) == 0) {
    f->id = FIELD_HEADER;
    f->needs = SL_FILTER_ATTRIBUTES;
    f->header = slice_of(f->words + sizeof header - 1);
    return true;
  }
  for (int i = 0; i < FIELD_HEADER; i++) {
    if (!is_named(fields[i].name, words, len) && !is_named(fields[i].brief, words, len))
      continue;
    f->id = (field_id)i;
    f->needs = fields[i].needs;
    return true;
  }
  return unknown_field(f->words, error, cap);
}

void field_free(field *f) {
  pointer_free(f->pointer);
  free(f->words);
  *f = (field){0};
}

bool field_is_id(const field *f) {
  return f->id == FIELD_EVENT_ID || f->id == FIELD_CORRELATION_ID || f->id == FIELD_CAUSATION_ID;
}

static void set_text(field_value *v, sl_slice words) {
  v->kind = words.len ? VALUE_TEXT : VALUE_NONE;
  v->text = words;
}

static void set_number(field_value *v, int64_t n) {
  v->kind = VALUE_NUMBER;
  v->text = (sl_slice){v->digits, (size_t)snprintf(v->digits, sizeof v->digits, "%" PRId64, n)};
}

static void set_time(field_value *v, int64_t us) {
  v->kind = us ? VALUE_TIME : VALUE_NONE;
  v->us = us;
}

static void set_header(field *f, const sl_record *r, field_value *v) {
  for (size_t i = 0; i < r->header_count; i++) {
    if (!slice_eq(r->headers[i].name, f->header))
      continue;
    v->kind = VALUE_TEXT;
    v->text = r->headers[i].value;
  }
}

static void set_pointed(field *f, const sl_record *r, field_value *v) {
  pointed what = pointer_find(f->pointer, r->value, &v->text);
  v->kind = what == POINTED_NOTHING ? VALUE_NONE : what == POINTED_NUMBER ? VALUE_NUMBER : VALUE_TEXT;
}

void field_get(field *f, const sl_record *r, field_value *out) {
  bool failed = r->state == SL_DEAD || r->state == SL_DROPPED;
  out->kind = VALUE_NONE;
  out->text = (sl_slice){NULL, 0};
  switch (f->id) {
  case FIELD_SEQ: set_number(out, (int64_t)r->seq); break;
  case FIELD_EVENT_ID: set_text(out, r->event_id); break;
  case FIELD_EVENT_TYPE: set_text(out, r->type); break;
  case FIELD_TOPIC: set_text(out, r->topic); break;
  case FIELD_CORRELATION_ID: set_text(out, r->correlation_id); break;
  case FIELD_CAUSATION_ID: set_text(out, r->causation_id); break;
  case FIELD_APPENDED_AT: set_time(out, r->appended_at_us); break;
  case FIELD_OCCURRED_AT: set_time(out, r->occurred_at_us); break;
  case FIELD_STATUS: set_text(out, slice_of(sl_state_text(r->state))); break;
  case FIELD_PARTITION:
    if (r->partition >= 0)
      set_number(out, r->partition);
    break;
  case FIELD_OFFSET:
    if (r->offset >= 0)
      set_number(out, r->offset);
    break;
  case FIELD_SETTLED_AT: set_time(out, r->settled_at_us); break;
  case FIELD_TENANT: set_text(out, r->tenant); break;
  case FIELD_SOURCE: set_text(out, r->source); break;
  case FIELD_KEY:
    set_text(out, r->key);
    if (r->key.data) /* an empty key is one, too */
      out->kind = VALUE_TEXT;
    break;
  case FIELD_DUPLICATE_OF:
    if (r->duplicate_of)
      set_number(out, (int64_t)r->duplicate_of);
    break;
  case FIELD_ERROR_CLASS: set_text(out, r->error_class); break;
  case FIELD_ERROR_CODE: set_text(out, r->error_code); break;
  case FIELD_ERROR_TEXT: set_text(out, r->error_text); break;
  case FIELD_ATTEMPTS:
    if (failed)
      set_number(out, r->attempts);
    break;
  case FIELD_SIZE: set_number(out, (int64_t)r->value.len); break;
  case FIELD_VALUE: out->kind = VALUE_TEXT, out->text = r->value; break;
  case FIELD_HEADER: set_header(f, r, out); break;
  case FIELD_POINTER: set_pointed(f, r, out); break;
  case FIELD_COUNT: break;
  }
}

/* ------------------------------------------------------------ conditions --- */

static bool is_time_field(field_id id) {
  return id == FIELD_APPENDED_AT || id == FIELD_OCCURRED_AT || id == FIELD_SETTLED_AT;
}

/* Where the operator begins: in a pointer ~0 and ~1 are no operator, and \ takes the next character as it is. */
static size_t find_op(const char *words, text *name) {
  size_t i = 0;
  for (; words[i]; i++) {
    bool escape = words[0] == '/' && words[i] == '~' && (words[i + 1] == '0' || words[i + 1] == '1');
    if (strchr("=!<>~", words[i]) && !escape)
      break;
    if (words[i] == '\\' && words[i + 1])
      i++;
    text_add(name, words + i, 1);
  }
  return i;
}

static bool parse_op(const char **at, filter_op *op) {
  static const struct {
    const char *sign;
    filter_op op;
  } signs[] = {{"!=", OP_UNEQUAL}, {"!~", OP_HAS_NOT}, {"<=", OP_AT_MOST}, {">=", OP_AT_LEAST},
               {"=", OP_EQUAL},    {"<", OP_LESS},     {">", OP_MORE},     {"~", OP_HAS}};
  for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
    size_t len = strlen(signs[i].sign);
    if (strncmp(*at, signs[i].sign, len) != 0)
      continue;
    *at += len;
    *op = signs[i].op;
    return true;
  }
  return false;
}

static bool check_value(filter *f, char *error, size_t cap) {
  bool compares = f->op >= OP_LESS && f->op <= OP_AT_LEAST;
  if (is_time_field(f->field.id) && !f->is_time && f->op < OP_HAS) {
    if (!compares && f->value.len == 1 && *(const char *)f->value.data == '*')
      return true; /* there at all? */
    snprintf(error, cap, "%s: %s is no time: write RFC 3339, 2026-11-22 14:00, -15m, today or yesterday",
             f->words, (const char *)f->value.data);
    return false;
  }
  return true;
}

bool filter_parse(filter *f, const char *words, int64_t now_us, char *error, size_t cap) {
  *f = (filter){.words = tool_copy(words, strlen(words))};
  text name = {0};
  const char *at = f->words + find_op(f->words, &name);
  bool fine = false;
  while (name.len && name.data[name.len - 1] == ' ')
    name.data[--name.len] = 0;
  bool blank = at > f->words && at[-1] == ' ';
  if (name.len == 0 || !parse_op(&at, &f->op))
    snprintf(error, cap, "%s is no condition: write FIELD=VALUE, or !=, <, <=, >, >=, ~ (contains), !~", words);
  else if (field_parse(&f->field, name.data, name.len, error, cap)) {
    at += blank && *at == ' '; /* blanks on both sides of an operator are for the eye */
    f->value = slice_of(at);
    f->literal = strpbrk(at, "*?[\\") == NULL;
    f->plain = bytes_plain_end(at, f->value.len) == at + f->value.len;
    f->is_number = decimal_is(f->value);
    f->is_time = when_parse(at, now_us, &f->us);
    fine = check_value(f, error, cap);
  }
  text_free(&name);
  return fine;
}

void filter_free(filter *f) {
  field_free(&f->field);
  free(f->words);
  *f = (filter){0};
}

/* Is `part` in it? Upper and lower case of ASCII are the same. */
static bool contains(sl_slice whole, sl_slice part) {
  const char *p = whole.data, *q = part.data;
  if (part.len == 0)
    return true;
  for (size_t i = 0; i + part.len <= whole.len; i++) {
    size_t k = 0;
    for (; k < part.len; k++) {
      unsigned char a = (unsigned char)p[i + k], b = (unsigned char)q[k];
      if (a != b && ((a | 32) != (b | 32) || (a | 32) < 'a' || (a | 32) > 'z'))
        break;
    }
    if (k == part.len)
      return true;
  }
  return false;
}

/* Numbers as numbers where both are, times as times, all else by its bytes. */
static int compare(const filter *f, field_value *v, int64_t now_us) {
  int64_t us;
  char words[WHEN_MAX];
  if (v->kind == VALUE_TIME)
    return v->us < f->us ? -1 : v->us > f->us;
  if (f->is_number && decimal_is(v->text))
    return decimal_compare(v->text, f->value);
  if (f->is_time && v->text.len > 4 && v->text.len < sizeof words && *(const char *)v->text.data >= '0' &&
      *(const char *)v->text.data <= '9') {
    memcpy(words, v->text.data, v->text.len);
    words[v->text.len] = 0;
    if (when_parse(words, now_us, &us))
      return us < f->us ? -1 : us > f->us;
  }
  size_t least = v->text.len < f->value.len ? v->text.len : f->value.len;
  int order = least ? memcmp(v->text.data, f->value.data, least) : 0;
  return order ? order : (v->text.len > f->value.len) - (v->text.len < f->value.len);
}

static bool equal(const filter *f, const field_value *v) {
  if (v->kind == VALUE_TIME)
    return !f->is_time || v->us == f->us; /* else it is *: there at all */
  if (v->kind == VALUE_NUMBER && f->is_number)
    return decimal_compare(v->text, f->value) == 0;
  return f->literal ? slice_eq(f->value, v->text) : sl_glob_fits(f->value, v->text);
}

/* A literal text that the value's JSON has nowhere, and no escape that could hide it. Exact. */
static bool cannot_equal(const filter *f, sl_slice json) {
  if (f->field.id != FIELD_POINTER || !f->literal || f->is_number || f->value.len == 0)
    return false;
  if (f->plain)
    return !text_may_have(json, f->value, memchr(f->value.data, '/', f->value.len) != NULL);
  return !bytes_find(json.data, json.len, f->value.data, f->value.len) && !memchr(json.data, '\\', json.len);
}

bool filter_match(filter *f, const sl_record *r, int64_t now_us) {
  field_value v;
  bool negative = f->op == OP_UNEQUAL || f->op == OP_HAS_NOT;
  if ((f->op == OP_EQUAL || f->op == OP_UNEQUAL) && cannot_equal(f, r->value))
    return negative;
  field_get(&f->field, r, &v);
  if (v.kind == VALUE_NONE)
    return negative;
  switch (f->op) {
  case OP_EQUAL: return equal(f, &v);
  case OP_UNEQUAL: return !equal(f, &v);
  case OP_LESS: return compare(f, &v, now_us) < 0;
  case OP_AT_MOST: return compare(f, &v, now_us) <= 0;
  case OP_MORE: return compare(f, &v, now_us) > 0;
  case OP_AT_LEAST: return compare(f, &v, now_us) >= 0;
  case OP_HAS:
  case OP_HAS_NOT: {
    char words[WHEN_MAX];
    if (v.kind == VALUE_TIME) {
      when_rfc3339(v.us, words);
      v.text = slice_of(words);
    }
    return contains(v.text, f->value) != negative;
  }
  }
  return false;
}
