/* One value of a setting, from text and to text. */
#include "base/text.h"
#include "settings_inner.h"

#include "hours.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

_Static_assert(sizeof(delivery_mode) == sizeof(int) && sizeof(log_level) == sizeof(int)
                   && sizeof(log_format) == sizeof(int), "TYPE_ENUM stores an int");

typedef struct unit { const char *name; int64_t factor; } unit;

/* largest first: formatting takes the first that divides */
static const unit duration_units[] = {
  {"d", INT64_C(86400000000)}, {"h", INT64_C(3600000000)}, {"m", INT64_C(60000000)},
  {"s", INT64_C(1000000)}, {"ms", INT64_C(1000)}, {"us", INT64_C(1)},
};
static const unit size_units[] = {
  {"TiB", INT64_C(1) << 40}, {"GiB", INT64_C(1) << 30}, {"MiB", INT64_C(1) << 20}, {"KiB", INT64_C(1) << 10},
  {"TB", INT64_C(1000000000000)}, {"GB", INT64_C(1000000000)}, {"MB", INT64_C(1000000)},
  {"kB", INT64_C(1000)}, {"B", INT64_C(1)},
};
enum {
  DURATION_UNITS = sizeof duration_units / sizeof *duration_units,
  SIZE_UNITS = sizeof size_units / sizeof *size_units,
};

bool setting_is_text(const setting_row *row) { return row->type >= TYPE_TEXT; }

const char *setting_type_text(const setting_row *row) {
  switch (row->type) {
  case TYPE_BOOL: return "true or false";
  case TYPE_INT32:
  case TYPE_INT64: return "number";
  case TYPE_SIZE: return "size";
  case TYPE_DURATION: return "duration";
  case TYPE_ENUM: return "one of";
  case TYPE_TEXT: return "text";
  case TYPE_PATH: return "path";
  case TYPE_BROKERS: return "list of host:port";
  case TYPE_TOPIC: return "topic name";
  case TYPE_HOURS: return "spans of the day";
  case TYPE_RETRIES: return "N retries, SHORTEST..LONGEST pause";
  case TYPE_CODES: return "map of codes";
  case TYPE_TEMPLATE: return "topic name with {topic}, or none";
  }
  return "";
}

const char *setting_quote(const char *text, char *out, size_t cap) {
  enum { ROOM = 8 }; /* one character, three dots, the NUL */
  size_t n = 0;
  bool utf8 = sl_utf8_valid((sl_slice){text, strlen(text)});
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (n + ROOM > cap && (!utf8 || (*p & 0xc0) != 0x80)) {
      memcpy(out + n, "...", 3);
      n += 3;
      break;
    }
    bool control = *p < 0x20 || *p == 0x7f || (!utf8 && *p >= 0x80);
    if (utf8 && *p == 0xc2 && p[1] < 0xa0) control = true, p++; /* U+0080 to U+009F */
    out[n++] = control ? '?' : (char)*p;
  }
  out[n] = 0;
  return out;
}

/* ------------------------------------------------------------------ text --- */

static bool brokers_valid(const char *text, char *reason, size_t cap) {
  char quoted[SETTING_QUOTE];
  const char *item = text;
  for (;;) {
    size_t len = strcspn(item, ",");
    while (len && isspace((unsigned char)*item)) item++, len--;
    while (len && isspace((unsigned char)item[len - 1])) len--;
    char one[300];
    if (len == 0) return snprintf(reason, cap, "has an empty entry in its list of HOST:PORT"), false;
    if (len >= sizeof one)
      return snprintf(reason, cap, "has an entry of more than %zu bytes", sizeof one - 1), false;
    memcpy(one, item, len);
    one[len] = 0;
    char *host = strstr(one, "://");
    host = host ? host + 3 : one;
    char *port = *host == '[' ? strchr(host, ']') : host;
    port = port ? strchr(port, ':') : NULL;
    bool bad = strpbrk(one, " \t\r\n\"'") || !*host || port == host;
    if (port && *host != '[' && strchr(port + 1, ':'))
      return snprintf(reason, cap, "'%s': write an IPv6 address as [ADDRESS]:PORT",
                      setting_quote(one, quoted, sizeof quoted)), false;
    if (port && !bad) {
      char *end;
      long number = isdigit((unsigned char)port[1]) ? strtol(port + 1, &end, 10) : (end = port, 0);
      bad = *end || number < 1 || number > 65535;
    }
    if (bad)
      return snprintf(reason, cap, "'%s' is no HOST:PORT (as in redpanda-0:9092)",
                      setting_quote(one, quoted, sizeof quoted)), false;
    item = strchr(item, ',');
    if (!item) return true;
    item++;
  }
}

static char *path_expand(const char *text) {
  const char *home = getenv("HOME");
  if (text[0] != '~' || text[1] != '/' || !home || !*home) return strdup(text);
  size_t need = strlen(home) + strlen(text);
  char *path = malloc(need);
  if (path) snprintf(path, need, "%s%s", home, text + 1);
  return path;
}

static bool template_valid(const char *text) {
  char name[512];
  const char *mark = strstr(text, SETTING_TOPIC_MARK);
  const int lead = mark ? (int)(mark - text) : (int)strlen(text);
  int n = snprintf(name, sizeof name, "%.*s%s%s", lead, text, mark ? "x" : "",
                   mark ? mark + sizeof SETTING_TOPIC_MARK - 1 : "");
  if (mark && strcmp(text, SETTING_TOPIC_MARK) == 0) return false; /* its own dead-letter topic */
  return n > 0 && (size_t)n < sizeof name && sl_topic_valid((sl_slice){name, (size_t)n});
}

static bool assign_text(const setting_row *row, char **field, const char *text, char *reason, size_t cap) {
  size_t len = strlen(text);
  if ((int64_t)len < row->min)
    return snprintf(reason, cap, "is empty"), false;
  if ((int64_t)len > row->max)
    return snprintf(reason, cap, "is longer than %" PRId64 " bytes", row->max), false;
  if (!sl_utf8_valid((sl_slice){text, len})) return snprintf(reason, cap, "is not valid UTF-8"), false;
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
      return snprintf(reason, cap, "has a control character in it"), false;
  if (row->type == TYPE_BROKERS && !brokers_valid(text, reason, cap)) return false;
  if (row->type == TYPE_TOPIC && !sl_topic_valid((sl_slice){text, len}))
    return snprintf(reason, cap, "is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -"), false;
  if (row->type == TYPE_TEMPLATE && !template_valid(text))
    return snprintf(reason, cap, "is no topic name in which {topic} stands at most once, and not none"), false;
  retry_rule rule = {0};
  if (row->type == TYPE_RETRIES && !taxonomy_rule(text, &rule, reason, cap)) return false;
  uint8_t codes[FAULT_RECORD_CODES] = {0};
  if (row->type == TYPE_CODES && !taxonomy_codes(text, codes, reason, cap)) return false;
  hours spans;
  if (row->type == TYPE_HOURS && !hours_parse(text, &spans, reason, cap)) return false;
  char *copy = row->type == TYPE_PATH ? path_expand(text) : strdup(text);
  if (!copy) return snprintf(reason, cap, "does not fit into memory"), false;
  free(*field);
  *field = copy;
  return true;
}

/* --------------------------------------------------------------- numbers --- */

static bool is_bool(const char *text, bool *value) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(text, words[i]) == 0) return *value = i % 2, true;
  return false;
}

/* Digits, with _ allowed between them. Moves *at behind them. */
static bool read_digits(const char **at, int64_t *value) {
  const char *p = *at;
  int64_t v = 0;
  if (!isdigit((unsigned char)*p)) return false;
  for (; isdigit((unsigned char)*p) || (*p == '_' && isdigit((unsigned char)p[1])); p++) {
    if (*p == '_') continue;
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v)) return false;
  }
  *at = p;
  *value = v;
  return true;
}

static bool read_integer(const char *text, int64_t *value) {
  bool minus = *text == '-';
  if (minus || *text == '+') text++;
  int64_t v;
  if (!read_digits(&text, &v) || *text) return false;
  *value = minus ? -v : v;
  return true;
}

static const unit *unit_of(const char *name, size_t len, const unit *units, size_t count, bool any_case) {
  for (size_t i = 0; i < count; i++)
    if (strlen(units[i].name) == len
        && (any_case ? strncasecmp(units[i].name, name, len) : strncmp(units[i].name, name, len)) == 0)
      return &units[i];
  return NULL;
}

/* One or more of DIGITS[.DIGITS] UNIT, as 1h30m or 1.5GiB. `bare`: the factor of a number without a unit,
 * 0: none. */
static bool read_quantity(const char *text, const unit *units, size_t count, bool any_case, bool several,
                          int64_t bare, int64_t *value) {
  int64_t total = 0;
  for (int parts = 0; *text || parts == 0; parts++) {
    int64_t whole, tenths = 0, scale = 1;
    if (!read_digits(&text, &whole)) return false;
    if (*text == '.') {
      if (!isdigit((unsigned char)*++text)) return false;
      for (; isdigit((unsigned char)*text); text++)
        if (scale < 1000000) tenths = tenths * 10 + (*text - '0'), scale *= 10;
    }
    while (*text == ' ') text++;
    size_t len = 0;
    while (isalpha((unsigned char)text[len])) len++;
    const unit *u = unit_of(text, len, units, count, any_case);
    int64_t factor = u ? u->factor : bare;
    if (!u && (len || parts || *text)) return false;
    if (!factor) {
      if (whole || tenths) return false;
      factor = 1; /* nothing is nothing in every unit */
    }
    if (parts && !several) return false;
    text += len;
    int64_t part;
    if (__builtin_mul_overflow(whole, factor, &part)) return false;
    /* six digits and a factor of at most 2^40 */
    if (__builtin_add_overflow(part, tenths * factor / scale, &part)) return false;
    if (__builtin_add_overflow(total, part, &total)) return false;
    while (*text == ' ') text++;
  }
  *value = total;
  return true;
}

bool setting_duration(const char *text, int64_t *us) {
  return read_quantity(text, duration_units, DURATION_UNITS, false, true, 0, us);
}

static bool read_number(const setting_row *row, const char *text, int64_t *value, char *reason, size_t cap) {
  char quoted[SETTING_QUOTE];
  setting_quote(text, quoted, sizeof quoted);
  switch (row->type) {
  case TYPE_DURATION:
    if (read_quantity(text, duration_units, DURATION_UNITS, false, true,
                      row->flags & SETTING_SECONDS ? INT64_C(1000000) : 0, value))
      return true;
    if (read_integer(text, value) && *value >= 0)
      snprintf(reason, cap, "'%s' lacks a unit: ms, s, m, h or d, as in %ss", quoted, quoted);
    else
      snprintf(reason, cap, "'%s' is no duration (as in 500ms, 15s, 1h30m, 7d)", quoted);
    return false;
  case TYPE_SIZE:
    if (read_quantity(text, size_units, SIZE_UNITS, true, false, 1, value)) return true;
    snprintf(reason, cap, "'%s' is no size (as in 32MiB, 500kB, 2GB; a bare number is bytes)", quoted);
    return false;
  default:
    if (read_integer(text, value)) return true;
    snprintf(reason, cap, "'%s' is no whole number", quoted);
    return false;
  }
}

static bool assign_enum(const setting_row *row, int *field, const char *text, char *reason, size_t cap) {
  for (int i = 0; row->names[i]; i++)
    if (strcmp(row->names[i], text) == 0) return *field = i, true;
  char quoted[SETTING_QUOTE], range[200];
  setting_range(row, range, sizeof range);
  snprintf(reason, cap, "'%s' is none of %s", setting_quote(text, quoted, sizeof quoted), range);
  return false;
}

bool setting_assign(const setting_row *row, void *base, const char *text, char *reason, size_t cap) {
  void *field = (char *)base + row->offset;
  if (setting_is_text(row)) return assign_text(row, field, text, reason, cap);
  if (row->type == TYPE_ENUM) return assign_enum(row, field, text, reason, cap);
  if (row->type == TYPE_BOOL) {
    char quoted[SETTING_QUOTE];
    if (is_bool(text, field)) return true;
    setting_quote(text, quoted, sizeof quoted);
    return snprintf(reason, cap, "'%s' is neither true nor false", quoted), false;
  }
  int64_t value;
  if (row->word && strcmp(text, row->word) == 0) {
    value = row->word_value;
  } else {
    if (!read_number(row, text, &value, reason, cap)) return false;
    bool as_word = row->word && value == row->word_value && value <= 0;
    if (!as_word && (value < row->min || value > row->max)) {
      char quoted[SETTING_QUOTE], range[200];
      setting_range(row, range, sizeof range);
      snprintf(reason, cap, "'%s' is out of range: %s", setting_quote(text, quoted, sizeof quoted), range);
      return false;
    }
  }
  if (row->type == TYPE_INT32) *(int32_t *)field = (int32_t)value;
  else *(int64_t *)field = value;
  return true;
}

/* ------------------------------------------------------------ formatting --- */

static void format_quantity(int64_t value, const unit *units, size_t count, char *out, size_t cap) {
  for (size_t i = 0; i < count; i++)
    if (value && value % units[i].factor == 0) {
      snprintf(out, cap, "%" PRId64 "%s", value / units[i].factor, units[i].name);
      return;
    }
  snprintf(out, cap, "%" PRId64 "%s", value, units == duration_units ? "s" : "B");
}

static int64_t number_of(const setting_row *row, const void *base) {
  const char *field = (const char *)base + row->offset;
  if (row->type == TYPE_BOOL) return *(const bool *)field;
  if (row->type == TYPE_ENUM) return *(const int *)field;
  if (row->type == TYPE_INT32) return *(const int32_t *)(const void *)field;
  return *(const int64_t *)(const void *)field;
}

static void format_number(const setting_row *row, int64_t value, char *out, size_t cap) {
  if (row->word && value == row->word_value) snprintf(out, cap, "%s", row->word);
  else if (row->type == TYPE_BOOL) snprintf(out, cap, "%s", value ? "true" : "false");
  else if (row->type == TYPE_ENUM) snprintf(out, cap, "%s", row->names[value]);
  else if (row->type == TYPE_DURATION) format_quantity(value, duration_units, DURATION_UNITS, out, cap);
  else if (row->type == TYPE_SIZE) format_quantity(value, size_units, SIZE_UNITS, out, cap);
  else snprintf(out, cap, "%" PRId64, value);
}

void setting_format(const setting_row *row, const void *base, char *out, size_t cap) {
  if (setting_is_text(row)) {
    const char *text = *(char *const *)(const void *)((const char *)base + row->offset);
    snprintf(out, cap, "%s", text ? text : "");
  } else {
    format_number(row, number_of(row, base), out, cap);
  }
}

static void format_grouped(int64_t value, char *out, size_t cap) {
  char digits[32];
  int n = snprintf(digits, sizeof digits, "%" PRId64, value);
  size_t at = 0;
  for (int i = 0; i < n && at + 2 < cap; i++) {
    if (i && digits[i - 1] != '-' && (n - i) % 3 == 0) out[at++] = ',';
    out[at++] = digits[i];
  }
  out[at] = 0;
}

void setting_range(const setting_row *row, char *out, size_t cap) {
  out[0] = 0;
  size_t n = 0;
  if (row->type == TYPE_ENUM) {
    for (int i = 0; row->names[i] && n < cap; i++)
      n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? ", " : "", row->names[i]);
    return;
  }
  if (setting_is_text(row) || row->type == TYPE_BOOL) return;
  char low[40], high[40];
  if (row->type == TYPE_INT32 || row->type == TYPE_INT64) {
    format_grouped(row->min, low, sizeof low);
    format_grouped(row->max, high, sizeof high);
  } else {
    bool duration = row->type == TYPE_DURATION;
    const unit *units = duration ? duration_units : size_units;
    format_quantity(row->min, units, duration ? DURATION_UNITS : SIZE_UNITS, low, sizeof low);
    format_quantity(row->max, units, duration ? DURATION_UNITS : SIZE_UNITS, high, sizeof high);
  }
  snprintf(out, cap, "%s..%s%s%s", low, high, row->word ? ", or " : "", row->word ? row->word : "");
}

bool setting_equal(const setting_row *row, const void *a, const void *b) {
  if (!setting_is_text(row)) return number_of(row, a) == number_of(row, b);
  const char *ta = *(char *const *)(const void *)((const char *)a + row->offset);
  const char *tb = *(char *const *)(const void *)((const char *)b + row->offset);
  return ta && tb ? strcmp(ta, tb) == 0 : ta == tb;
}

/* -------------------------------------------------------------- problems --- */

static void say(problems *p, setting_place place, const char *kind, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));

static void say(problems *p, setting_place place, const char *kind, const char *format, va_list args) {
  char quoted[512];
  if (place.file) fprintf(p->out, "%s:", setting_quote(place.file, quoted, sizeof quoted));
  else fprintf(p->out, "sidelogd:");
  if (place.file && place.line) fprintf(p->out, "%zu:%zu:", place.line, place.column);
  fprintf(p->out, " %s", kind);
  if (place.option) fprintf(p->out, "%s: ", setting_quote(place.option, quoted, sizeof quoted));
  vfprintf(p->out, format, args);
  putc('\n', p->out);
}

void problem(problems *p, setting_place place, const char *format, ...) {
  enum { SHOWN = 50 };
  if (p->errors++ == SHOWN) fprintf(p->out, "sidelogd: more problems are not shown\n");
  if (p->errors > SHOWN) return;
  va_list args;
  va_start(args, format);
  say(p, place, "", format, args);
  va_end(args);
}

void warning(problems *p, setting_place place, const char *format, ...) {
  p->warnings++;
  va_list args;
  va_start(args, format);
  say(p, place, "warning: ", format, args);
  va_end(args);
}
