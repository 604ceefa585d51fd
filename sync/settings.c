#include "base/text.h"
#include "settings_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX = 1 << 20 };

/* One setting made on the command line, kept until the file below it is read. */
typedef struct line_setting {
  const setting_row *row;  /* NULL: a property of librdkafka */
  char *name;              /* of that */
  const char *value;
  char option[64];         /* as the user wrote it, for messages */
} line_setting;

typedef struct line {
  settings_action action;
  const char *config, *choice;
  bool json;
  line_setting *made;
  size_t count;
} line;

/* ------------------------------------------------------ the command line --- */

static setting_place on_line(const char *option) { return (setting_place){.option = option}; }

static void line_add(line *l, problems *p, const setting_row *row, const char *name, size_t name_len,
                     const char *value, const char *option) {
  line_setting *made = realloc(l->made, (l->count + 1) * sizeof *made);
  if (made) l->made = made;
  char *copy = made && name ? strndup(name, name_len) : NULL;
  if (!made || (name && !copy)) {
    problem(p, on_line(option), "does not fit into memory");
    return;
  }
  line_setting *one = &made[l->count++];
  *one = (line_setting){.row = row, .name = copy, .value = value};
  setting_quote(option, one->option, sizeof one->option);
}

/* NAME=VALUE of -X and --set. */
static void line_pair(line *l, problems *p, bool property, const char *pair) {
  const char *option = property ? "-X" : "--set", *equals = strchr(pair, '=');
  char quoted[SETTING_QUOTE], name[160], label[200];
  if (!equals || equals == pair || equals - pair >= (ptrdiff_t)sizeof name) {
    problem(p, on_line(option), "'%s' is no NAME=VALUE", setting_quote(pair, quoted, sizeof quoted));
    return;
  }
  snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
  snprintf(label, sizeof label, "%s %s", option, name);
  if (!property && strncmp(name, "kafka.", 6) == 0) {
    line_add(l, p, NULL, name + 6, strlen(name + 6), equals + 1, label);
    return;
  }
  if (property) {
    line_add(l, p, NULL, name, strlen(name), equals + 1, label);
    return;
  }
  const setting_row *row = settings_row_of_path(name);
  if (row) {
    line_add(l, p, row, NULL, 0, equals + 1, label);
    return;
  }
  const char *nearest = settings_nearest(settings_rows, settings_row_count, name);
  setting_quote(name, quoted, sizeof quoted);
  if (strncmp(name, "topics", 6) == 0 && (!name[6] || name[6] == '[' || name[6] == '.'))
    problem(p, on_line(option), "topics is a list: put it into a file (--config)");
  else if (nearest) problem(p, on_line(option), "%s is no setting; the nearest is %s", quoted, nearest);
  else problem(p, on_line(option), "%s is no setting; `sidelogd --help` lists them", quoted);
}

static bool same_flag(const char *flag, const char *arg, size_t len) {
  return flag && strlen(flag) == len && strncmp(flag, arg, len) == 0;
}

static void unknown_flag(problems *p, const char *arg, size_t len) {
  char name[80], quoted[SETTING_QUOTE];
  snprintf(name, sizeof name, "%.*s", (int)len, arg);
  const char *nearest = NULL;
  size_t best = 3;
  for (size_t i = 0; i < settings_row_count + settings_option_count; i++) {
    const char *flag = i < settings_row_count ? settings_rows[i].flag
                                              : settings_options[i - settings_row_count].flag;
    size_t d = flag ? settings_distance(name, flag, best) : best;
    if (d < best) best = d, nearest = flag;
  }
  /* --transactions.timeout is a fair guess, and so is --latency_budget */
  char path[80];
  snprintf(path, sizeof path, "%s", name + strspn(name, "-"));
  for (char *c = path; *c; c++)
    if (*c == '-') *c = '_';
  const char *setting = nearest ? NULL : settings_nearest(settings_rows, settings_row_count, path);
  setting_quote(name, quoted, sizeof quoted);
  if (nearest) problem(p, on_line(NULL), "there is no %s; the nearest is %s", quoted, nearest);
  else if (setting) problem(p, on_line(NULL), "there is no %s; write --set %s=VALUE", quoted, setting);
  else problem(p, on_line(NULL), "there is no %s; `sidelogd --help` lists what there is", quoted);
}

static void line_action(line *l, const char *flag, const char *value, problems *p) {
  if (strcmp(flag, "--config") == 0) l->config = value;
  else if (strcmp(flag, "--set") == 0) line_pair(l, p, false, value);
  else if (strcmp(flag, "-X") == 0) line_pair(l, p, true, value);
  else if (strcmp(flag, "--check") == 0) l->action = SETTINGS_CHECK;
  else if (strcmp(flag, "--json") == 0) l->json = true;
  else if (strcmp(flag, "--adopt") == 0) l->action = SETTINGS_ADOPT, l->choice = value;
  else if (strcmp(flag, "--check-config") == 0) l->action = SETTINGS_CHECK_CONFIG;
  else if (strcmp(flag, "--print-config") == 0) l->action = SETTINGS_PRINT;
  else problem(p, on_line(flag), "cannot stand here");
}

/* Needs no settings, and no store. */
static bool asks_for_replay(int argc, char **argv, const char **file) {
  static const char flag[] = "--replay-history";
  for (int i = 1; i < argc; i++) {
    if (strncmp(argv[i], flag, sizeof flag - 1) != 0) continue;
    const char *behind = argv[i] + sizeof flag - 1, *value = NULL;
    if (*behind == '=') value = behind + 1;
    else if (!*behind && i + 1 < argc) value = argv[i + 1];
    if (value && *value) return *file = value, true;
  }
  return false;
}

/* --help and its like answer whatever else is on the line. */
static bool asks_for_text(int argc, char **argv, settings_action *action) {
  static const struct { const char *flag, *letter; settings_action action; } texts[] = {
    {"--help", "-h", SETTINGS_HELP}, {"--version", "-V", SETTINGS_VERSION}, {"--man", NULL, SETTINGS_MAN}};
  for (int i = 1; i < argc; i++)
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
      if (strcmp(argv[i], texts[k].flag) == 0 || (texts[k].letter && strcmp(argv[i], texts[k].letter) == 0))
        return *action = texts[k].action, true;
  return false;
}

static void line_read(line *l, problems *p, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    char quoted[SETTING_QUOTE];
    if (strncmp(arg, "-X", 2) == 0 && arg[2]) {
      line_pair(l, p, true, arg + 2);
      continue;
    }
    if (arg[0] != '-' || !arg[1]) {
      problem(p, on_line(NULL), "'%s' is not an option, and nothing else is expected",
              setting_quote(arg, quoted, sizeof quoted));
      continue;
    }
    size_t len = strcspn(arg, "=");
    const char *flag = NULL, *argument = NULL;
    const setting_row *row = NULL;
    for (size_t k = 0; k < settings_row_count && !row; k++)
      if (same_flag(settings_rows[k].flag, arg, len)) row = &settings_rows[k];
    for (size_t k = 0; k < settings_option_count && !row && !flag; k++)
      if (same_flag(settings_options[k].flag, arg, len))
        flag = settings_options[k].flag, argument = settings_options[k].argument;
    if (row) flag = row->flag, argument = row->type == TYPE_BOOL ? NULL : row->argument;
    if (!flag) {
      unknown_flag(p, arg, len);
      /* its value, most likely */
      if (!arg[len] && i + 1 < argc && argv[i + 1][0] != '-') i++;
      continue;
    }
    const char *value = arg[len] ? arg + len + 1 : NULL;
    if (!argument && value) {
      problem(p, on_line(flag), "takes no value");
      continue;
    }
    bool alone = argument && argument[0] == '['; /* its value is optional */
    if (argument && !alone && !value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0) value = argv[++i];
    if (argument && !alone && (!value || !*value)) {
      problem(p, on_line(flag), "needs a value: %s %s", flag, argument);
      continue;
    }
    if (row) line_add(l, p, row, NULL, 0, argument ? value : "true", flag);
    else line_action(l, flag, value, p);
  }
}

static void warn_of_the_line(problems *p, setting_place place) {
  warning(p, place, "other users can read it in the list of processes; a file of mode 0600 is safer");
}

static void line_apply(const line *l, problems *p, settings *out) {
  char reason[512];
  for (size_t i = 0; i < l->count; i++) {
    const line_setting *one = &l->made[i];
    setting_place place = on_line(one->option);
    size_t before = p->errors + p->warnings;
    if (!one->row) {
      settings_kafka_set(out, p, on_line(strncmp(one->option, "-X", 2) == 0 ? "-X" : "--set"), one->name,
                         one->value);
      if (settings_kafka_secret(one->name))
        warn_of_the_line(p, place);
    } else if (!setting_assign(one->row, out, one->value, reason, sizeof reason)) {
      problem(p, place, "%s", reason);
    } else if (one->row->flags & SETTING_SECRET) {
      warn_of_the_line(p, place);
    }
    out->line_settings += before == p->errors + p->warnings;
  }
}

static void line_free(line *l) {
  for (size_t i = 0; i < l->count; i++) free(l->made[i].name);
  free(l->made);
  *l = (line){0};
}

/* ----------------------------------------------- defaults, environment, file --- */

static void set_defaults(settings *out, problems *p) {
  char reason[512];
  for (size_t i = 0; i < settings_row_count; i++)
    if (settings_rows[i].preset
        && !setting_assign(&settings_rows[i], out, settings_rows[i].preset, reason, sizeof reason))
      problem(p, on_line(settings_rows[i].path), "default: %s", reason);
}

static void set_environment(settings *out, problems *p) {
  const setting_row *row = settings_row_of_path("store");
  const char *store = getenv("SIDELOG_STORE"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  char path[4096], reason[512];
  /* the base directory specification: a relative path there is to be ignored */
  int n = 0;
  if (store && *store) n = snprintf(path, sizeof path, "%s", store);
  else if (state && *state == '/') n = snprintf(path, sizeof path, "%s/sidelog/default", state);
  else if (home && *home) n = snprintf(path, sizeof path, "%s/.local/state/sidelog/default", home);
  else return;
  setting_place place = on_line(store && *store ? "$SIDELOG_STORE" : "the default store");
  if (n < 0 || (size_t)n >= sizeof path) problem(p, place, "is longer than a path may be");
  else if (!setting_assign(row, out, path, reason, sizeof reason)) problem(p, place, "%s", reason);
}

static void warn_of_readable_secrets(const settings *s, problems *p, setting_place place, FILE *file) {
  static const char readable[] = "holds %s and every user can read it: chmod o-r";
  struct stat st;
  if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode) || !(st.st_mode & S_IROTH)) return;
  for (size_t i = 0; i < s->kafka_count; i++)
    if (settings_kafka_secret(s->kafka[i].name)) {
      warning(p, place, readable, s->kafka[i].name);
      return;
    }
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (!(row->flags & SETTING_SECRET) || !*(char *const *)(const void *)((const char *)s + row->offset)) continue;
    warning(p, place, readable, row->path);
    return;
  }
}

static void read_file(settings *out, problems *p, const char *path) {
  setting_place place = {.file = path};
  FILE *file = fopen(path, "re");
  if (!file) {
    problem(p, place, "cannot be read: %s", strerror(errno));
    return;
  }
  char *data = malloc(FILE_MAX + 1);
  errno = 0;
  size_t len = data ? fread(data, 1, FILE_MAX + 1, file) : 0;
  if (!data) problem(p, place, "does not fit into memory");
  else if (ferror(file)) problem(p, place, "cannot be read: %s", strerror(errno));
  else if (len > FILE_MAX) problem(p, place, "is larger than 1 MiB: is it a configuration?");
  else {
    settings_read_yaml(out, p, path, data, len);
    warn_of_readable_secrets(out, p, place, file);
  }
  free(data);
  fclose(file);
}

static void finish_webhook(const settings *s, problems *p, setting_place place) {
  const char *url = s->monitor_webhook, *header = s->monitor_header, *colon = header ? strchr(header, ':') : NULL;
  if (url && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
    problem(p, place, "dlq_monitor.webhook_url begins with neither https:// nor http://");
  if (header && (!colon || colon == header || strcspn(header, " ") < (size_t)(colon - header)))
    problem(p, place, "dlq_monitor.webhook_header is no \"Name: value\"");
#ifndef SIDELOG_WEBHOOK
  if (url)
    problem(p, place, "dlq_monitor.webhook_url: this sidelogd was built without libcurl and can call no webhook");
#endif
}

static void finish(const settings *s, problems *p) {
  setting_place place = {.file = s->config_path};
  if (!s->store)
    problem(p, place, "no store: give --store DIR (neither SIDELOG_STORE, XDG_STATE_HOME nor HOME is set)");
  if (!s->brokers) problem(p, place, "no brokers: give --brokers HOST:PORT, or brokers: in the file");
  if (s->drain_timeout_us && !s->drain) problem(p, on_line("--timeout"), "goes with --drain");
  finish_webhook(s, p, place);
  settings_kafka_finish(s, p, place);
}

int settings_parse_checked(settings *out, settings_action *action, int argc, char **argv,
                           kafka_property_check *check, FILE *errors) {
  problems p = {.out = errors};
  line l = {.action = SETTINGS_RUN};
  *out = (settings){.kafka_check = check};
  *action = SETTINGS_RUN;
  if (asks_for_text(argc, argv, action)) return 0;
  if (asks_for_replay(argc, argv, &out->choice)) return *action = SETTINGS_REPLAY, 0;
  line_read(&l, &p, argc, argv);
  set_defaults(out, &p);
  set_environment(out, &p);
  if (l.config) {
    out->config_path = strdup(l.config);
    read_file(out, &p, l.config);
  }
  line_apply(&l, &p, out);
  /* what is missing cannot be told from what could not be read */
  if (p.errors == 0) finish(out, &p);
  if (l.json && l.action != SETTINGS_CHECK) problem(&p, on_line("--json"), "goes with --check");
  out->choice = l.choice;
  out->json = l.json;
  *action = l.action;
  line_free(&l);
  return p.errors ? 2 : 0;
}

int settings_reload(const settings *now, settings *next, int argc, char **argv, FILE *errors) {
  settings_action action;
  int status = settings_parse_checked(next, &action, argc, argv, now->kafka_check, errors);
  if (status) settings_free(next);
  return status;
}

static void free_lists(settings *s) {
  for (size_t i = 0; i < s->topic_count; i++)
    for (size_t k = 0; k < settings_topic_row_count; k++)
      if (setting_is_text(&settings_topic_rows[k]))
        free(*(char **)(void *)((char *)&s->topics[i] + settings_topic_rows[k].offset));
  for (size_t i = 0; i < s->kafka_count; i++) {
    free(s->kafka[i].name);
    free(s->kafka[i].value);
  }
  free(s->topics);
  free(s->kafka);
}

void settings_free(settings *s) {
  if (!s) return;
  for (size_t i = 0; i < settings_row_count; i++)
    if (setting_is_text(&settings_rows[i])) free(*(char **)(void *)((char *)s + settings_rows[i].offset));
  free_lists(s);
  free(s->config_path);
  *s = (settings){0};
}

/* ------------------------------------------------------------- while running --- */

int settings_needs_restart(const settings *now, const settings *next, FILE *errors) {
  int count = 0;
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (!(row->flags & SETTING_RESTART) || setting_equal(row, now, next)) continue;
    count++;
    if (errors) fprintf(errors, "%s\n", row->path ? row->path : row->flag);
  }
  if (!settings_kafka_same(now, next, false)) {
    count++;
    if (errors) fputs("kafka\n", errors);
  }
  return count;
}

static void swap_bytes(void *a, void *b, size_t len) {
  unsigned char hold[sizeof(int64_t)];
  memcpy(hold, a, len);
  memcpy(a, b, len);
  memcpy(b, hold, len);
}

static size_t field_size(const setting_row *row) {
  if (row->type == TYPE_BOOL) return sizeof(bool);
  if (row->type == TYPE_INT32) return sizeof(int32_t);
  if (row->type == TYPE_ENUM) return sizeof(int);
  return setting_is_text(row) ? sizeof(char *) : sizeof(int64_t);
}

bool settings_take(settings *now, settings *next) {
  if (!settings_kafka_swap_login(now, next)) return false;
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (!(row->flags & SETTING_RESTART))
      swap_bytes((char *)now + row->offset, (char *)next + row->offset, field_size(row));
  }
  swap_bytes(&now->topics, &next->topics, sizeof now->topics);
  swap_bytes(&now->topic_count, &next->topic_count, sizeof now->topic_count);
  return true;
}

topic_rule settings_topic(const settings *s, sl_slice topic) {
  topic_rule rule = {0};
  for (size_t i = 0; i < s->topic_count && !rule.match; i++) {
    const char *match = s->topics[i].match;
    if (match && sl_glob_match((sl_slice){match, strlen(match)}, topic)) rule = s->topics[i];
  }
  if (rule.retention_us == 0) rule.retention_us = s->retention_us;
  if (rule.retention_us == INT64_MAX) rule.retention_us = 0;
  if (rule.partitions == 0) rule.partitions = s->topic_partitions;
  if (rule.replication == 0) rule.replication = s->topic_replication;
  if (rule.kafka_retention_us == 0) rule.kafka_retention_us = s->topic_retention_us;
  if (rule.lane_max_age_us == 0) rule.lane_max_age_us = s->lane_max_age_us;
  if (rule.lane_max_age_us == INT64_MAX) rule.lane_max_age_us = 0;
  if (!rule.letter_topic) rule.letter_topic = s->letter_topic;
  if (rule.letter_profile == 0) rule.letter_profile = 1 + (int)s->letter_profile;
  return rule;
}

static bool fits_template(const char *form, sl_slice topic) {
  if (!form || strcmp(form, SETTING_NO_TOPIC) == 0) return false;
  const char *mark = strstr(form, SETTING_TOPIC_MARK);
  if (!mark) return sl_slice_eq(topic, sl_slice_of(form));
  const size_t lead = (size_t)(mark - form);
  const sl_slice tail = sl_slice_of(mark + sizeof SETTING_TOPIC_MARK - 1);
  const char *name = topic.data;
  return topic.len > lead + tail.len && memcmp(name, form, lead) == 0 &&
         memcmp(name + topic.len - tail.len, tail.data, tail.len) == 0;
}

bool settings_is_letter_topic(const settings *s, sl_slice topic) {
  for (size_t i = 0; i < s->topic_count; i++)
    if (fits_template(s->topics[i].letter_topic, topic)) return true;
  return fits_template(s->letter_topic, topic);
}

bool settings_letter_topic(const settings *s, sl_slice topic, char out[250]) {
  const topic_rule rule = settings_topic(s, topic);
  if (!rule.letter_topic || strcmp(rule.letter_topic, SETTING_NO_TOPIC) == 0) return false;
  if (settings_is_letter_topic(s, topic)) return false; /* or dead letters would have dead letters, for ever */
  const char *mark = strstr(rule.letter_topic, SETTING_TOPIC_MARK);
  const int lead = mark ? (int)(mark - rule.letter_topic) : (int)strlen(rule.letter_topic);
  const int n = mark ? snprintf(out, 250, "%.*s%.*s%s", lead, rule.letter_topic, (int)topic.len,
                                (const char *)topic.data, mark + sizeof SETTING_TOPIC_MARK - 1)
                     : snprintf(out, 250, "%s", rule.letter_topic);
  return n > 0 && n < 250 && !sl_slice_eq(topic, SL_BYTES(out, n));
}

bool settings_monitors(const settings *s, sl_slice topic) {
  for (const char *at = s->monitor_topics; at && *at; at += *at == ',') {
    while (*at == ' ') at++;
    size_t len = strcspn(at, ",");
    const char *glob = at;
    at += len;
    while (len > 0 && glob[len - 1] == ' ') len--;
    if (len > 0 && sl_glob_match(SL_BYTES(glob, len), topic)) return true;
  }
  return settings_is_letter_topic(s, topic);
}
