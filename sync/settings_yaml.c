/* The configuration file: events of libyaml become values of rows. People write it by hand, so whatever is wrong
 * is told with line and column, and the reading goes on: only where the syntax breaks it cannot. What YAML can do
 * and a list of settings need not (anchors, tags, merge keys, a second document, a name twice) is refused, not
 * guessed at.
 *
 * Each function that reads a value leaves its last event in hand, whatever was wrong with it: next() is then
 * behind it. */
#include "settings_inner.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 8, KEYS_MAX = 4096, PATH_CAP = 512 };

typedef struct seen { char *path; size_t line; } seen;

typedef struct reader {
  settings *settings;
  problems *problems;
  const char *file;
  yaml_parser_t parser;
  yaml_event_t event; /* the one in hand */
  bool stop;          /* syntax error: nothing more can be read */
  seen *keys;         /* every path of the document so far */
  size_t key_count;
} reader;

static setting_place place_of(const reader *r, yaml_mark_t mark) {
  return (setting_place){.file = r->file, .line = mark.line + 1, .column = mark.column + 1};
}
static setting_place here(const reader *r) { return place_of(r, r->event.start_mark); }

static void syntax_problem(reader *r) {
  const yaml_parser_t *p = &r->parser;
  setting_place place = place_of(r, p->problem_mark);
  const char *why = p->problem ? p->problem : "not readable";
  if (p->error == YAML_MEMORY_ERROR) {
    problem(r->problems, (setting_place){.file = r->file}, "does not fit into memory");
  } else if (p->error == YAML_READER_ERROR) {
    problem(r->problems, (setting_place){.file = r->file}, "at byte %zu: %s", p->problem_offset, why);
  } else if (strstr(why, "cannot start any token")) {
    problem(r->problems, place, "a character that cannot start a value: YAML is indented with blanks, never "
            "tabs, and a text with one of @ ` %% in front needs quotes");
  } else {
    problem(r->problems, place, "YAML: %s%s%s", why, p->context ? " " : "", p->context ? p->context : "");
  }
}

/* Moves to the next event. False at the end of what can be read. */
static bool next(reader *r) {
  if (r->stop) return false;
  yaml_event_delete(&r->event);
  if (!yaml_parser_parse(&r->parser, &r->event)) {
    syntax_problem(r);
    r->stop = true;
    return false;
  }
  return true;
}

static bool opens(const yaml_event_t *event) {
  return event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
}

/* Goes to the last event of the value in hand, so that the next event is behind it. */
static void skip(reader *r) {
  if (!opens(&r->event)) return;
  for (int depth = 1; depth > 0 && next(r);) {
    bool closes = r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT;
    depth += opens(&r->event) ? 1 : closes ? -1 : 0;
    if (depth > DEPTH_MAX) {
      problem(r->problems, here(r), "nested deeper than any setting");
      r->stop = true;
    }
  }
}

static const char *scalar(const reader *r) { return (const char *)r->event.data.scalar.value; }

/* An unquoted nothing, ~ or null. */
static bool is_null(const reader *r) {
  if (r->event.type != YAML_SCALAR_EVENT) return false;
  if (r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
  const char *text = scalar(r);
  return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0
         || strcmp(text, "NULL") == 0;
}

/* Refuses what YAML can do and this file needs not. The value in hand is then to be skipped. */
static bool plain_yaml(reader *r) {
  static const char no_anchors[] = "anchors and aliases (& and *) are not read here: write the value out";
  const yaml_event_t *e = &r->event;
  const yaml_char_t *anchor = NULL, *tag = NULL;
  if (e->type == YAML_ALIAS_EVENT) {
    problem(r->problems, here(r), "%s", no_anchors);
    return false;
  }
  if (e->type == YAML_SCALAR_EVENT) anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
  if (e->type == YAML_MAPPING_START_EVENT)
    anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
  if (e->type == YAML_SEQUENCE_START_EVENT)
    anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
  if (anchor) problem(r->problems, here(r), "%s", no_anchors);
  if (tag) problem(r->problems, here(r), "tags (!) are not read here: leave it out");
  return !anchor && !tag;
}

static const char *kind_text(const reader *r) {
  return r->event.type == YAML_MAPPING_START_EVENT    ? "a map"
         : r->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                      : "a single value";
}

/* Notes a path; a second time is a problem. */
static bool first_time(reader *r, const char *path, yaml_mark_t mark) {
  char quoted[SETTING_QUOTE];
  for (size_t i = 0; i < r->key_count; i++)
    if (strcmp(r->keys[i].path, path) == 0) {
      problem(r->problems, place_of(r, mark), "%s is set twice, first in line %zu: keep one",
              setting_quote(path, quoted, sizeof quoted), r->keys[i].line);
      return false;
    }
  const bool room = r->key_count < KEYS_MAX;
  seen *keys = room ? realloc(r->keys, (r->key_count + 1) * sizeof *keys) : NULL;
  if (keys) r->keys = keys;
  char *copy = keys ? strdup(path) : NULL;
  if (!copy) {
    if (room) problem(r->problems, place_of(r, mark), "does not fit into memory");
    else problem(r->problems, place_of(r, mark), "more than %d keys in one file", KEYS_MAX);
    r->stop = true;
    return false;
  }
  r->keys[r->key_count++] = (seen){copy, mark.line + 1};
  return true;
}

typedef enum key_result { KEY_GOOD, KEY_SKIPPED, KEY_END } key_result;

/* Reads the next key of the map into `path`, behind `prefix`, and moves to its value. SKIPPED: something was
 * wrong, was said, and its value is skipped. END: of the map, or of what can be read. */
static key_result read_key(reader *r, const char *prefix, char *path, yaml_mark_t *mark) {
  if (!next(r) || r->event.type == YAML_MAPPING_END_EVENT) return KEY_END;
  *mark = r->event.start_mark;
  bool good = plain_yaml(r);
  if (good && r->event.type != YAML_SCALAR_EVENT) {
    problem(r->problems, here(r), "%s where the name of a setting is expected", kind_text(r));
    good = false;
  }
  if (!good) {
    skip(r);
  } else if (strcmp(scalar(r), "<<") == 0) {
    problem(r->problems, here(r), "merge keys (<<) are not read here: write the settings out");
    good = false;
  } else if (strlen(scalar(r)) != r->event.data.scalar.length
             || (size_t)snprintf(path, PATH_CAP, "%s%s", prefix, scalar(r)) >= PATH_CAP) {
    problem(r->problems, here(r), "a name that is too long or has a NUL in it");
    good = false;
  }
  if (!next(r)) return KEY_END;
  if (good) good = plain_yaml(r);
  if (good) return KEY_GOOD;
  skip(r);
  return KEY_SKIPPED;
}

/* The value in hand as text. False after saying why it is none. */
static bool single_value(reader *r, const char *path) {
  char quoted[SETTING_QUOTE];
  setting_quote(path, quoted, sizeof quoted);
  if (opens(&r->event))
    problem(r->problems, here(r), "%s takes a single value, not %s", quoted, kind_text(r));
  else if (is_null(r))
    problem(r->problems, here(r), "%s has no value: give it one, or remove the line", quoted);
  else if (strlen(scalar(r)) != r->event.data.scalar.length)
    problem(r->problems, here(r), "%s has a NUL in its value", quoted);
  else return true;
  skip(r);
  return false;
}

static void unknown_key(reader *r, const setting_row *rows, size_t count, const char *path,
                        yaml_mark_t mark) {
  char quoted[SETTING_QUOTE];
  setting_quote(path, quoted, sizeof quoted);
  const char *nearest = settings_nearest(rows, count, path);
  settings *s = r->settings;
  char reason[256];
  if (strstr(path, "NON_RETRYABLE_SECURITY") || strstr(path, "NON_RETRYABLE_IDEMPOTENCY"))
    problem(r->problems, place_of(r, mark), "%s cannot be set: it never costs an event its budget, and never "
            "makes it a dead letter", quoted);
  else if (nearest)
    problem(r->problems, place_of(r, mark), "%s is no setting; the nearest is %s", quoted, nearest);
  else if (s->kafka_check && s->kafka_check(path, "", reason, sizeof reason) != KAFKA_PROPERTY_UNKNOWN)
    problem(r->problems, place_of(r, mark), "%s is a librdkafka property; put it under kafka:", quoted);
  else
    problem(r->problems, place_of(r, mark), "%s is no setting; `sidelogd --help` lists them", quoted);
  skip(r);
}

/* A map of codes becomes the text that the command line takes. */
static void assign_codes(reader *r, const setting_row *row, void *base, const char *path) {
  char text[PATH_CAP * 2] = "", prefix[PATH_CAP], full[PATH_CAP], reason[512];
  uint8_t codes[FAULT_RECORD_CODES] = {0};
  bool good = true;
  size_t n = 0;
  yaml_mark_t mark;
  const setting_place start = here(r);
  snprintf(prefix, sizeof prefix, "%.100s.", path);
  for (key_result key; (key = read_key(r, prefix, full, &mark)) != KEY_END;) {
    char pair[PATH_CAP * 2];
    if (key == KEY_SKIPPED || !first_time(r, full, mark) || !single_value(r, full)) {
      good = false;
      if (key != KEY_SKIPPED) skip(r);
      continue;
    }
    snprintf(pair, sizeof pair, "%.200s=%.200s", full + strlen(prefix), scalar(r));
    if (taxonomy_codes(pair, codes, reason, sizeof reason)) {
      n += (size_t)snprintf(text + n, n < sizeof text ? sizeof text - n : 0, "%s%s", n ? ", " : "", pair);
    } else {
      problem(r->problems, place_of(r, mark), "%s %s", path, reason);
      good = false;
    }
  }
  if (!good || r->stop) return;
  if (n >= sizeof text) problem(r->problems, start, "%s is too long", path);
  else if (setting_assign(row, base, text, reason, sizeof reason)) r->settings->file_settings++;
  else problem(r->problems, start, "%s %s", path, reason);
}

static void assign(reader *r, const setting_row *row, void *base, const char *path) {
  char reason[512];
  if (row->type == TYPE_CODES && r->event.type == YAML_MAPPING_START_EVENT) {
    assign_codes(r, row, base, path);
    return;
  }
  if (!single_value(r, path)) return;
  if (setting_assign(row, base, scalar(r), reason, sizeof reason)) r->settings->file_settings++;
  else problem(r->problems, here(r), "%s %s", path, reason);
}

static void read_property(reader *r, const char *name, yaml_mark_t mark) {
  char path[PATH_CAP + 8];
  snprintf(path, sizeof path, "kafka.%s", settings_kafka_canonical(name));
  if (!first_time(r, path, mark)) {
    skip(r);
    return;
  }
  snprintf(path, sizeof path, "kafka.%s", name);
  if (!single_value(r, path)) return;
  size_t before = r->problems->errors + r->problems->warnings;
  settings_kafka_set(r->settings, r->problems, place_of(r, mark), name, scalar(r));
  r->settings->file_settings += before == r->problems->errors + r->problems->warnings;
}

static void read_kafka(reader *r) {
  if (is_null(r)) return; /* all of it commented out */
  if (r->event.type != YAML_MAPPING_START_EVENT) {
    problem(r->problems, here(r), "kafka takes a map of librdkafka properties, not %s", kind_text(r));
    skip(r);
    return;
  }
  char name[PATH_CAP];
  yaml_mark_t mark;
  for (key_result key; (key = read_key(r, "", name, &mark)) != KEY_END;)
    if (key == KEY_GOOD) read_property(r, name, mark);
}

static const setting_row *topic_row(const char *name) {
  for (size_t i = 0; i < settings_topic_row_count; i++)
    if (strcmp(settings_topic_rows[i].path, name) == 0) return &settings_topic_rows[i];
  return NULL;
}

/* What stands in an entry of topics; its names begin behind the first `lead` characters of `prefix`. Calls itself
 * once, for a group. */
static void read_rule(reader *r, topic_rule *rule, const char *prefix, size_t lead) {
  char path[PATH_CAP];
  yaml_mark_t mark;
  for (key_result key; (key = read_key(r, prefix, path, &mark)) != KEY_END;) {
    if (key == KEY_SKIPPED) continue;
    const char *name = path + lead;
    const setting_row *row = topic_row(name);
    const bool group = !row && strcmp(name, "taxonomy") == 0;
    if (!row && !group) unknown_key(r, settings_topic_rows, settings_topic_row_count, name, mark);
    else if (!first_time(r, path, mark)) skip(r);
    else if (row) assign(r, row, rule, path);
    else if (r->event.type == YAML_MAPPING_START_EVENT) {
      char inner[PATH_CAP + 1];
      snprintf(inner, sizeof inner, "%s.", path);
      read_rule(r, rule, inner, lead);
    } else if (!is_null(r)) {
      problem(r->problems, here(r), "%s takes a map of settings, not %s", path, kind_text(r));
      skip(r);
    }
  }
}

static void read_topic(reader *r) {
  settings *s = r->settings;
  if (!plain_yaml(r)) {
    skip(r);
    return;
  }
  if (r->event.type != YAML_MAPPING_START_EVENT) {
    problem(r->problems, here(r), "an entry of topics is a map (match: GLOB and what holds for it), not %s",
            kind_text(r));
    skip(r);
    return;
  }
  setting_place start = here(r);
  topic_rule *topics = realloc(s->topics, (s->topic_count + 1) * sizeof *topics);
  if (!topics) {
    problem(r->problems, start, "does not fit into memory");
    r->stop = true;
    return;
  }
  s->topics = topics;
  topic_rule *rule = &topics[s->topic_count++];
  *rule = (topic_rule){0};
  char prefix[40];
  snprintf(prefix, sizeof prefix, "topics[%zu].", s->topic_count - 1);
  read_rule(r, rule, prefix, strlen(prefix));
  if (!rule->match && !r->stop) problem(r->problems, start, "an entry of topics lacks match: GLOB");
}

static void read_topics(reader *r) {
  if (is_null(r)) return;
  if (r->event.type != YAML_SEQUENCE_START_EVENT) {
    problem(r->problems, here(r), "topics takes a list (- match: GLOB), not %s", kind_text(r));
    skip(r);
    return;
  }
  while (next(r) && r->event.type != YAML_SEQUENCE_END_EVENT) read_topic(r);
}

static bool is_group(const char *path) {
  for (size_t i = 0; settings_groups[i]; i++)
    if (strcmp(settings_groups[i], path) == 0) return true;
  return false;
}

/* Groups are one level deep, so this calls itself once at most. */
static void read_map(reader *r, const char *prefix) {
  char path[PATH_CAP], quoted[SETTING_QUOTE];
  yaml_mark_t mark;
  for (key_result key; (key = read_key(r, prefix, path, &mark)) != KEY_END;) {
    if (key == KEY_SKIPPED) continue;
    const setting_row *row = settings_row_of_path(path);
    bool top = !*prefix, list = top && strcmp(path, "topics") == 0, kafka = top && strcmp(path, "kafka") == 0;
    bool group = top && is_group(path);
    if (top && strncmp(path, "kafka.", 6) == 0) read_property(r, path + 6, mark);
    else if (!row && !list && !kafka && !group) unknown_key(r, settings_rows, settings_row_count, path, mark);
    else if (!first_time(r, path, mark)) skip(r);
    else if (row) assign(r, row, r->settings, path);
    else if (list) read_topics(r);
    else if (kafka) read_kafka(r);
    else if (r->event.type == YAML_MAPPING_START_EVENT) {
      char inner[PATH_CAP + 1];
      snprintf(inner, sizeof inner, "%s.", path);
      read_map(r, inner);
    } else if (!is_null(r)) {
      problem(r->problems, here(r), "%s takes a map of settings, not %s",
              setting_quote(path, quoted, sizeof quoted), kind_text(r));
      skip(r);
    }
  }
}

static void read_document(reader *r) {
  if (!plain_yaml(r) || is_null(r)) return;
  if (r->event.type != YAML_MAPPING_START_EVENT) {
    problem(r->problems, here(r), "the file is %s; it should be a map of settings (brokers: HOST:PORT)",
            kind_text(r));
    r->stop = true;
    return;
  }
  read_map(r, "");
}

void settings_read_yaml(settings *s, problems *p, const char *file, const char *data, size_t len) {
  reader r = {.settings = s, .problems = p, .file = file};
  if (!yaml_parser_initialize(&r.parser)) {
    problem(p, (setting_place){.file = file}, "does not fit into memory");
    return;
  }
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)data, len);
  for (int documents = 0; next(&r) && r.event.type != YAML_STREAM_END_EVENT;) {
    if (r.event.type != YAML_DOCUMENT_START_EVENT) continue;
    if (documents++) {
      problem(p, here(&r), "a second document (---): put all settings into one");
      break;
    }
    if (next(&r)) read_document(&r);
  }
  yaml_event_delete(&r.event);
  yaml_parser_delete(&r.parser);
  for (size_t i = 0; i < r.key_count; i++) free(r.keys[i].path);
  free(r.keys);
}
