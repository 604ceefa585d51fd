#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const option_spec option_table[OPTION_COUNT] = {
  [OPT_STORE] = {"store", 0, "DIR", "the store's folder; some commands take several"},
  [OPT_JSON] = {"json", 0, NULL, "one JSON object a line; keys: man sidelog-output"},
  [OPT_UTC] = {"utc", 0, NULL, "times are UTC: those read and those for people"},
  [OPT_COLOR] = {"color", 0, "WHEN", "auto (a terminal without NO_COLOR), always or never"},
  [OPT_VERBOSE] = {"verbose", 'v', NULL, "say more on stderr"},
  [OPT_NO_PAGER] = {"no-pager", 0, NULL, "no pager for what is longer than the screen"},
  [OPT_HELP] = {"help", 'h', NULL, "explain the command"},
  [OPT_VERSION] = {"version", 'V', NULL, "print the version"},
  [OPT_TOPIC] = {"topic", 0, "TOPIC", "the topic", "the topic, or a glob"},
  [OPT_TYPE] = {"type", 0, "TYPE", "the event type", "the event type, or a glob"},
  [OPT_CORRELATION] = {"correlation", 0, "ID", "the correlation id",
                       "the correlation id or a unique prefix of it"},
  [OPT_CAUSATION] = {"causation", 0, "ID", "the event id of the cause",
                     "the event id of the cause or a unique prefix of it"},
  [OPT_EVENT_ID] = {"event-id", 0, "ID", "the event id; without it a UUIDv7 is made"},
  [OPT_KEY] = {"key", 0, "KEY", "the Kafka key, the unit of order; of every line",
               "the Kafka key"},
  [OPT_NO_KEY] = {"no-key", 0, NULL, "no key; without it a line's is its correlation id"},
  [OPT_TENANT] = {"tenant", 0, "TENANT", "the tenant; with --jsonl where a line names none", "the tenant"},
  [OPT_SOURCE] = {"source", 0, "NAME", "the producer; with --jsonl where a line names none", "the producer"},
  [OPT_HEADER] = {"header", 0, "NAME=VALUE", "a Kafka header; may be given many times"},
  [OPT_OCCURRED_AT] = {"occurred-at", 0, "TIME", "the producer's own time of the event"},
  [OPT_JSONL] = {"jsonl", 0, NULL, "read one JSON envelope a line"},
  [OPT_ACK] = {"ack", 0, NULL, "print seq and event id of each line once durable"},
  [OPT_STRICT] = {"strict", 0, NULL, "stop at the first bad line; its batch is not stored"},
  [OPT_PROGRESS] = {"progress", 0, NULL, "show a bar on a terminal"},
  [OPT_MAX_VALUE] = {"max-value", 0, "SIZE", "the largest value taken: 1000000 bytes, at most 16M"},
  [OPT_QUOTA] = {"quota", 0, "SIZE", "set the quota of disk space, for all who append"},
  [OPT_GROUP] = {"group", 0, "NAME", "when the store is made: a group that may use it too"},
  [OPT_RELAXED] = {"relaxed", 0, NULL, "do not wait for the disk; a power cut may lose some"},
  [OPT_EVENT] = {"event", 0, "ID", "the event id or a unique prefix of it"},
  [OPT_STATUS] = {"status", 0, "STATUS[,...]", "pending, sent, dead, duplicate or dropped"},
  [OPT_SINCE] = {"since", 0, "TIME", "appended at TIME or later"},
  [OPT_UNTIL] = {"until", 0, "TIME", "appended before TIME"},
  [OPT_LIMIT] = {"limit", 'n', "N", "only the newest N"},
  [OPT_VALUE] = {"value", 0, NULL, "with --json: the value too"},
  [OPT_COUNT] = {"count", 0, NULL, "only how many"},
  [OPT_GROUP_BY] = {"group-by", 0, "FIELD", "how many of each value of a field"},
  [OPT_ORDER] = {"order", 0, "FIELD", "oldest, newest, or a field; -FIELD: largest first"},
  [OPT_HOPS] = {"hops", 0, NULL, "how long it takes from one event type to the next"},
  [OPT_CAUSE] = {"cause", 0, "EVENT", "what led to an event, across correlations"},
  [OPT_EFFECTS] = {"effects", 0, "EVENT", "what an event led to, across correlations"},
  [OPT_PATH] = {"path", 0, "A B", "the chain of causes that joins two events"},
  [OPT_FORMAT] = {"format", 0, "FORMAT", "jsonl csv cloudevents otlp jaeger dot mermaid"},
  [OPT_CURSOR] = {"cursor", 0, "NAME", "go on behind what was shown last under this name"},
  [OPT_TIMES] = {"times", 0, NULL, "when events occurred, were appended and acknowledged"},
  [OPT_RAW] = {"raw", 0, NULL, "only the value, byte for byte"},
  [OPT_FOLLOW] = {"follow", 'f', NULL, "go on with new events until interrupted"},
  [OPT_OLDER_THAN] = {"older-than", 0, "AGE", "remove events appended longer ago, as 7d or 12h"},
  [OPT_MAX_BYTES] = {"max-bytes", 0, "SIZE", "keep at most so much (500M, 2G); oldest go first"},
  [OPT_MAX_EVENTS] = {"max-events", 0, "N", "keep at most so many events; oldest go first"},
  [OPT_INTO] = {"into", 0, "FOLDER", "where the repaired store is made; it must not exist"},
  [OPT_DELIVERY] = {"delivery", 0, "keep|none", "take the state over (default), or send all again"},
  [OPT_NAME] = {"name", 0, "TEXT", "a topic or type that damage left in two forms"},
  [OPT_ATTRIBUTES] = {"attributes", 0, "NAME[,...]", "index key, tenant or source, too; none: none of them"},
  [OPT_WHEN_FULL] = {"when-full", 0, "POLICY", "refuse or drop-delivered-early"},
  [OPT_DROP_OLDEST] = {"drop-oldest", 0, "TOPICS", "globs; drop their oldest undelivered; '': none"},
  [OPT_BALLAST] = {"ballast", 0, "SIZE", "keep so much of the disk for trim and agent; 0: none"},
  [OPT_BY] = {"by", 0, "WHAT", "group by class, error, topic, type or time (hours)"},
  [OPT_ALL] = {"all", 0, NULL, "every dead letter"},
  [OPT_DRY_RUN] = {"dry-run", 0, NULL, "say what would be done, and do nothing"},
  [OPT_REASON] = {"reason", 0, "TEXT", "why; it is kept, with your name and the time"},
  [OPT_MOST] = {"most", 0, "N", "replay a letter at most N times, ever (3)"},
  [OPT_READER] = {"reader", 0, "NAME", "dead letters of this local reader"},
  [OPT_OUT] = {"out", 0, "FILE.html", "the page; the events go beside it, into FILE.jsonl"},
  [OPT_NO_REDACT] = {"no-redact", 0, NULL, "leave secrets in"},
  [OPT_NO_SKEW] = {"no-skew", 0, NULL, "of several stores: times as each clock had them"},
  [OPT_MAN] = {"man", 0, NULL, "print the manual page"},
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Edit distance, where two letters that have changed places count once; names here are short. */
static size_t distance(const char *a, const char *b) {
  enum { LONGEST = 40 };
  size_t rows[3][LONGEST + 1], na = strlen(a), nb = strlen(b);
  if (na > LONGEST || nb > LONGEST)
    return LONGEST;
  for (size_t j = 0; j <= nb; j++)
    rows[0][j] = j;
  for (size_t i = 1; i <= na; i++) {
    size_t *row = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      row[j] = least(least(before[j], row[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = least(row[j], two_before[j - 2] + 1);
    }
  }
  return rows[na % 3][nb];
}

/* Of two that are as near the one of the same length: letters change places more often than they are left out. */
const char *nearest_name(const char *text, const char *const *names, size_t count) {
  const char *best = NULL;
  size_t best_distance = strlen(text) < 4 ? 2 : 3;
  for (size_t i = 0; i < count; i++) {
    size_t d = distance(text, names[i]);
    if (d < best_distance ||
        (best && d == best_distance && strlen(best) != strlen(text) && strlen(names[i]) == strlen(text))) {
      best = names[i];
      best_distance = d;
    }
  }
  return best;
}

static option_id find_long(const char *name, size_t len) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (strlen(option_table[i].name) == len && memcmp(option_table[i].name, name, len) == 0)
      return (option_id)i;
  return OPTION_COUNT;
}

static option_id find_letter(char letter) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (option_table[i].letter != 0 && option_table[i].letter == letter)
      return (option_id)i;
  return OPTION_COUNT;
}

static void give(parsed *out, option_id id, const char *value) {
  out->given[out->given_count++] = (struct option_given){id, value};
}

static bool unknown_long(const char *name, size_t len, char *error, size_t cap) {
  char text[64];
  const char *names[OPTION_COUNT];
  snprintf(text, sizeof text, "%.*s", (int)len, name);
  for (int i = 0; i < OPTION_COUNT; i++)
    names[i] = option_table[i].name;
  const char *near = nearest_name(text, names, OPTION_COUNT);
  if (near)
    snprintf(error, cap, "there is no option --%s; did you mean --%s?", text, near);
  else
    snprintf(error, cap, "there is no option --%s", text);
  return false;
}

static bool parse_long(parsed *out, const char *text, char **argv, int argc, int *at, char *error,
                       size_t cap) {
  const char *equals = strchr(text, '=');
  size_t len = equals ? (size_t)(equals - text) : strlen(text);
  option_id id = find_long(text, len);
  if (id == OPTION_COUNT)
    return unknown_long(text, len, error, cap);
  const option_spec *spec = &option_table[id];
  if (spec->value == NULL && equals) {
    snprintf(error, cap, "--%s takes no value", spec->name);
    return false;
  }
  if (spec->value && !equals && *at + 1 >= argc) {
    snprintf(error, cap, "--%s needs its %s", spec->name, spec->value);
    return false;
  }
  give(out, id, spec->value == NULL ? "" : equals ? equals + 1 : argv[++*at]);
  return true;
}

static bool parse_letters(parsed *out, const char *letters, char **argv, int argc, int *at, char *error,
                          size_t cap) {
  for (; *letters; letters++) {
    option_id id = find_letter(*letters);
    if (id == OPTION_COUNT) {
      snprintf(error, cap, "there is no option -%c", *letters);
      return false;
    }
    if (option_table[id].value == NULL) {
      give(out, id, "");
      continue;
    }
    if (letters[1])
      give(out, id, letters + 1 + (letters[1] == '='));
    else if (*at + 1 < argc)
      give(out, id, argv[++*at]);
    else {
      snprintf(error, cap, "-%c needs its %s", *letters, option_table[id].value);
      return false;
    }
    return true;
  }
  return true;
}

bool options_parse(parsed *out, int argc, char **argv, char *error, size_t cap) {
  /* A cluster of letters can give more options than there are arguments, never more than characters. */
  size_t most = 1;
  for (int i = 1; i < argc; i++)
    most += strlen(argv[i]) + 1;
  *out = (parsed){0};
  out->given = calloc(most, sizeof *out->given);
  out->args = calloc((size_t)argc + 1, sizeof *out->args);
  if (!out->given || !out->args) {
    snprintf(error, cap, "out of memory");
    return false;
  }
  bool open = true;
  for (int i = 1; i < argc; i++) {
    const char *text = argv[i];
    bool fine = true;
    if (!open || text[0] != '-' || text[1] == 0)
      out->args[out->arg_count++] = text;
    else if (strcmp(text, "--") == 0)
      open = false;
    else if (text[1] == '-')
      fine = parse_long(out, text + 2, argv, argc, &i, error, cap);
    else
      fine = parse_letters(out, text + 1, argv, argc, &i, error, cap);
    if (!fine)
      return false;
  }
  return true;
}

void options_free(parsed *given) {
  free(given->given);
  free(given->args);
  *given = (parsed){0};
}

const char *option_text(const parsed *given, option_id id) {
  for (size_t i = given->given_count; i > 0; i--)
    if (given->given[i - 1].id == id)
      return given->given[i - 1].value;
  return NULL;
}

bool option_has(const parsed *given, option_id id) { return option_text(given, id) != NULL; }

bool options_hold(const option_id *list, option_id id) {
  for (; list && *list != OPTION_COUNT; list++)
    if (*list == id)
      return true;
  return false;
}

const char *option_help(const option_id *taken, option_id id) {
  const option_spec *spec = &option_table[id];
  return spec->sought && options_hold(taken, OPT_EVENT) ? spec->sought : spec->help;
}

option_id option_foreign(const parsed *given, const option_id *taken, const option_id *taken_too) {
  for (size_t i = 0; i < given->given_count; i++) {
    option_id id = given->given[i].id;
    if (!options_hold(taken, id) && !options_hold(taken_too, id))
      return id;
  }
  return OPTION_COUNT;
}
