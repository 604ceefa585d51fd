/* The settings as a table for docs/configuration.md. */
#include "settings_inner.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define VERSION TEXT_OF(SL_VERSION_MAJOR) "." TEXT_OF(SL_VERSION_MINOR) "." TEXT_OF(SL_VERSION_PATCH)

enum { WIDTH = 79, INDENT = 32 };

/* ------------------------------------------------------------------ help --- */

/* Writes words from column `at`, broken at WIDTH, continued at INDENT. */
static void wrap(FILE *out, size_t at, const char *text) {
  bool first = true;
  while (*text) {
    size_t len = strcspn(text, " ");
    if (!first && at + 1 + len > WIDTH) {
      fprintf(out, "\n%*s", INDENT, "");
      at = INDENT;
      first = true;
    }
    if (!first) putc(' ', out), at++;
    fwrite(text, 1, len, out);
    at += len;
    first = false;
    text += len;
    text += strspn(text, " ");
  }
  putc('\n', out);
}

static void entry(FILE *out, const char *name, const char *text) {
  int n = fprintf(out, "  %s", name);
  if (n + 2 > INDENT) fprintf(out, "\n%*s", INDENT, "");
  else fprintf(out, "%*s", INDENT - n, "");
  wrap(out, INDENT, text);
}

static void name_of(const setting_row *row, char *out, size_t cap) {
  bool bare = row->type == TYPE_BOOL && row->flag;
  snprintf(out, cap, "%s%s%s", row->flag ? row->flag : row->path, bare ? "" : row->flag ? " " : "=",
           bare ? "" : row->argument);
}

static void help_row(FILE *out, const setting_row *row) {
  char name[100], text[400];
  name_of(row, name, sizeof name);
  if (row->preset && !(row->flags & SETTING_LINE_ONLY))
    snprintf(text, sizeof text, "%s (%s)", row->text, row->preset);
  else snprintf(text, sizeof text, "%s", row->text);
  entry(out, name, text);
}

void settings_help(FILE *out) {
  fputs("Usage: sidelogd [--store DIR] --brokers HOST:PORT[,...] [OPTION]...\n"
        "       sidelogd --config FILE [OPTION]...\n\n"
        "Delivers the events of a sidelog store to Kafka, exactly once, and goes on doing\n"
        "so until it is told to end. Producers never wait for it.\n", out);
  const char *group = "";
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (!row->flag) continue;
    if (strcmp(group, row->group) != 0) fprintf(out, "\n%s\n", group = row->group);
    help_row(out, row);
  }
  fputs("\nConfiguration and help\n", out);
  for (size_t i = 0; i < settings_option_count; i++) {
    const setting_option *o = &settings_options[i];
    char name[100];
    snprintf(name, sizeof name, "%s%s%s%s%s", o->letter ? o->letter : "", o->letter ? ", " : "", o->flag,
             o->argument && o->argument[0] != '[' ? " " : "", o->argument ? o->argument : "");
    entry(out, name, o->text);
  }
  fputs("\nFurther settings: in the file, or as --set NAME=VALUE (default in brackets).\n"
        "The command line goes before the file, the file before the environment.\n", out);
  group = "";
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (row->flag) continue;
    if (strcmp(group, row->group) != 0) fprintf(out, "\n%s\n", group = row->group);
    help_row(out, row);
  }
  fputs("\nOnly in the file: topics (a list of rules for topics), kafka (a map of\n"
        "properties of librdkafka).\nDurations: 500ms, 15s, 1h30m, 7d. Sizes: 500kB, 32MiB.\n\n"
        "Signals: SIGTERM ends it cleanly, SIGHUP reads the configuration again.\n"
        "Exit status: 0 done, 2 usage or configuration, 3 the store cannot be used,\n"
        "4 parked or something is missing, 5 timeout. More: man sidelogd\n", out);
}

/* -------------------------------------------------------------- markdown --- */

static void markdown_text(FILE *out, const char *text) {
  for (; *text; text++) {
    if (*text == '|' || *text == '<' || *text == '*') putc('\\', out);
    putc(*text, out);
  }
}

static void markdown_type(FILE *out, const setting_row *row) {
  char range[200];
  setting_range(row, range, sizeof range);
  fprintf(out, "%s%s%s", setting_type_text(row), range[0] ? " " : "", range);
}

static void markdown_rows(FILE *out, const char *group) {
  fprintf(out, "\n### %s\n\n| setting | value | default | SIGHUP | what it is |\n", group);
  fputs("|---|---|---|---|---|\n", out);
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (strcmp(row->group, group) != 0) continue;
    if (row->path) fprintf(out, "| `%s`", row->path);
    if (row->path && row->flag) fprintf(out, "<br>`%s`", row->flag);
    if (!row->path) fprintf(out, "| `%s`<br>command line only", row->flag);
    fputs(" | ", out);
    markdown_type(out, row);
    if (row->preset) fprintf(out, " | `%s` | ", row->preset);
    else fputs(" | | ", out);
    const char *live = row->flags & SETTING_RESTART ? "restart" : "yes";
    fprintf(out, "%s | ", row->flags & SETTING_LINE_ONLY ? "" : live);
    markdown_text(out, row->text);
    if (row->more) {
      fputs(". ", out);
      markdown_text(out, row->more);
    }
    fputs(" |\n", out);
  }
}

void settings_markdown(FILE *out) {
  const char *group = "";
  for (size_t i = 0; i < settings_row_count; i++)
    if (strcmp(group, settings_rows[i].group) != 0) markdown_rows(out, group = settings_rows[i].group);
  fputs("\n### An entry of `topics`\n\n| key | value | what it is |\n|---|---|---|\n", out);
  for (size_t i = 0; i < settings_topic_row_count; i++) {
    const setting_row *row = &settings_topic_rows[i];
    fprintf(out, "| `%s`%s | ", row->path, row->flags & SETTING_REQUIRED ? " (required)" : "");
    markdown_type(out, row);
    fputs(" | ", out);
    markdown_text(out, row->text);
    fputs(" |\n", out);
  }
  fputs("\n### Properties of librdkafka that cannot be set\n\n"
        "Or only to a value that does no harm: the protocol depends on them.\n\n", out);
  settings_kafka_markdown(out);
}

/* ------------------------------------------------------ effective values --- */

static bool plain_enough(const char *text) {
  static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";
  static const char inner[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-:,+";
  static const char *const words[] = {"null", "Null", "NULL", NULL};
  for (size_t i = 0; words[i]; i++)
    if (strcmp(text, words[i]) == 0) return false;
  size_t len = strlen(text);
  return len && strchr(safe, text[0]) && strspn(text, inner) == len && text[len - 1] != ':';
}

static void yaml_text(FILE *out, const char *text) {
  if (plain_enough(text)) {
    fputs(text, out);
    return;
  }
  putc('"', out);
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p == '"' || *p == '\\') fprintf(out, "\\%c", *p);
    else if (*p < 0x20 || *p == 0x7f) fprintf(out, "\\x%02x", *p);
    else putc(*p, out);
  }
  putc('"', out);
}

static void print_row(FILE *out, const setting_row *row, const settings *s) {
  char text[8192], preset[64];
  setting_format(row, s, text, sizeof text);
  const char *dot = strchr(row->path, '.');
  if (setting_is_text(row) && !text[0]) {
    fprintf(out, "%s# %s is not set\n", dot ? "  " : "", dot ? dot + 1 : row->path);
    return;
  }
  fprintf(out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : row->path);
  yaml_text(out, row->flags & SETTING_SECRET ? "********" : text);
  snprintf(preset, sizeof preset, "%s", row->preset ? row->preset : "");
  fputs(row->preset && strcmp(text, preset) == 0 ? "  # default\n" : "\n", out);
}

static void print_topics(FILE *out, const settings *s) {
  if (s->topic_count) fputs("topics:\n", out);
  for (size_t i = 0; i < s->topic_count; i++) {
    const char *lead = "  - ";
    for (size_t k = 0; k < settings_topic_row_count; k++) {
      char text[2048];
      const setting_row *row = &settings_topic_rows[k];
      static const topic_rule none;
      if (setting_equal(row, &s->topics[i], &none)) continue;
      setting_format(row, &s->topics[i], text, sizeof text);
      fprintf(out, "%s%s: ", lead, row->path);
      yaml_text(out, text);
      putc('\n', out);
      lead = "    ";
    }
  }
}

void settings_print(const settings *s, FILE *out) {
  char group[64] = "";
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    if (!row->path) continue;
    const char *dot = strchr(row->path, '.');
    int len = dot ? (int)(dot - row->path) : 0;
    if (len && (strncmp(group, row->path, (size_t)len) != 0 || group[len]))
      fprintf(out, "%.*s:\n", len, row->path);
    snprintf(group, sizeof group, "%.*s", len, row->path);
    print_row(out, row, s);
  }
  print_topics(out, s);
  if (s->kafka_count) fputs("kafka:\n", out);
  for (size_t i = 0; i < s->kafka_count; i++) {
    fputs("  ", out);
    yaml_text(out, s->kafka[i].name);
    fputs(": ", out);
    yaml_text(out, settings_kafka_secret(s->kafka[i].name) ? "********" : s->kafka[i].value);
    putc('\n', out);
  }
}

int settings_act(settings_action action, const settings *s, FILE *out) {
  switch (action) {
  case SETTINGS_RUN:
  case SETTINGS_CHECK:
  case SETTINGS_ADOPT:
  case SETTINGS_REPLAY: return 2;
  case SETTINGS_HELP: settings_help(out); break;
  case SETTINGS_MAN: settings_man(out); break;
  case SETTINGS_PRINT: settings_print(s, out); break;
  case SETTINGS_VERSION: fputs("sidelogd " VERSION "\n", out); break;
  case SETTINGS_CHECK_CONFIG: {
    char quoted[512];
    size_t count = s->file_settings + (s->config_path ? 0 : s->line_settings);
    fprintf(out, "%s: fine, %zu setting%s\n",
            s->config_path ? setting_quote(s->config_path, quoted, sizeof quoted) : "command line", count,
            count == 1 ? "" : "s");
    break;
  }
  }
  return 0;
}
