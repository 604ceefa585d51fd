#include "tool.h"

#include <stdlib.h>
#include <string.h>

/* "-n, --limit N" */
static void option_words(text *words, option_id id) {
  const option_spec *spec = &option_table[id];
  if (spec->letter)
    text_printf(words, "-%c, ", spec->letter);
  text_printf(words, "--%s%s%s", spec->name, spec->value ? " " : "", spec->value ? spec->value : "");
}

static void option_lines(tool *t, const option_id *taken) {
  for (int i = 0; i < OPTION_COUNT; i++) {
    if (!options_hold(taken, (option_id)i))
      continue;
    text words = {0};
    option_words(&words, (option_id)i);
    out_puts(&t->out, "  ");
    out_cell(&t->out, STYLE_BOLD, text_str(&words), 25, false);
    out_printf(&t->out, " %s\n", option_table[i].help);
    text_free(&words);
  }
}

void usage_print(tool *t) {
  output *o = &t->out;
  out_puts(o, "sidelog [--store DIR] COMMAND [...]\n\n"
              "Events are on this machine first; sidelogd takes them to Kafka, once each.\n\n");
  for (size_t i = 0; i < command_count; i++) {
    out_puts(o, "  ");
    out_cell(o, STYLE_BOLD, command_table[i].name, 10, false);
    out_printf(o, "%s\n", command_table[i].summary);
  }
  out_puts(o, "\nEverywhere:\n");
  option_lines(t, OPTIONS(COMMON_OPTIONS, OPT_VERSION));
  out_puts(o, "\nThe store is --store, else $SIDELOG_STORE, else $XDG_STATE_HOME/sidelog/default\n"
              "(~/.local/state/sidelog/default). `sidelog help COMMAND` explains a command.\n"
              "Exit status: 0 found or done, 1 nothing found, 2 usage, 3 store, 4 something is wrong,\n"
              "5 timeout, 6 some input rejected.\n");
}

void command_help(tool *t, const command *c) {
  output *o = &t->out;
  text usage = {0};
  text_printf(&usage, "sidelog %s%s%s%s", c->name, c->options ? " [OPTION]..." : "", *c->args ? " " : "",
              c->args);
  out_styled(o, STYLE_BOLD, text_str(&usage));
  out_puts(o, "\n\n");
  out_puts(o, c->about);
  out_puts(o, "\n");
  if (c->options) {
    out_puts(o, "\nOptions:\n");
    option_lines(t, c->options);
  }
  out_puts(o, "\nExamples:\n");
  for (const char *p = c->examples; *p;) {
    size_t len = strcspn(p, "\n");
    out_puts(o, "  ");
    out_add(o, p, len);
    out_puts(o, "\n");
    p += len + (p[len] == '\n');
  }
  text_free(&usage);
}

/* ------------------------------------------------------------ sidelog(1) --- */

/* Text for roff: hyphens as typed, no line that begins with a control character. */
static void roff(output *o, const char *words) {
  bool line_begins = true;
  for (; *words; words++) {
    if (line_begins && (*words == '.' || *words == '\''))
      out_puts(o, "\\&");
    if (*words == '\\')
      out_puts(o, "\\e");
    else if (*words == '-')
      out_puts(o, "\\-");
    else if (*words == '~')
      out_puts(o, "\\(ti");
    else if (*words == '\'')
      out_puts(o, "\\(aq");
    else if (*words == '`')
      out_puts(o, "\\(ga");
    else
      out_add(o, words, 1);
    line_begins = *words == '\n';
  }
}

static void roff_paragraphs(output *o, const char *words) {
  const char *gap;
  for (; (gap = strstr(words, "\n\n")); words = gap + 2) {
    char *part = tool_copy(words, (size_t)(gap - words));
    roff(o, part);
    out_puts(o, "\n.PP\n");
    free(part);
  }
  roff(o, words);
  out_puts(o, "\n");
}

static void roff_options(output *o, const option_id *taken) {
  for (int i = 0; i < OPTION_COUNT; i++) {
    if (!options_hold(taken, (option_id)i))
      continue;
    text words = {0};
    option_words(&words, (option_id)i);
    out_puts(o, ".TP\n.B ");
    roff(o, text_str(&words));
    out_puts(o, "\n");
    roff(o, option_table[i].help);
    out_puts(o, "\n");
    text_free(&words);
  }
}

void manual_print(tool *t) {
  output *o = &t->out;
  out_printf(o, ".\\\" Made by `sidelog help --man` from the table of commands: do not edit.\n"
                ".TH SIDELOG 1 \"\" \"sidelog %d.%d\" \"sidelog\"\n", SL_VERSION_MAJOR, SL_VERSION_MINOR);
  out_puts(o, ".SH NAME\nsidelog \\- append to a local event store and ask it questions\n"
              ".SH SYNOPSIS\n.B sidelog\n[\\fB\\-\\-store\\fR \\fIDIR\\fR] \\fICOMMAND\\fR [...]\n"
              ".SH DESCRIPTION\n"
              "Keeps events durably on this machine, whether or not Kafka can be reached, and tells\n"
              "what happened and where each event is now.\n.BR sidelogd (8)\ntakes them to Kafka.\n"
              "Options may stand before or after the command and its arguments;\n.B \\-\\-\nends them.\n"
              ".SH OPTIONS\n");
  roff_options(o, OPTIONS(COMMON_OPTIONS, OPT_VERSION));
  out_puts(o, ".SH COMMANDS\n");
  for (size_t i = 0; i < command_count; i++) {
    const command *c = &command_table[i];
    out_printf(o, ".SS %s%s\\fI%s\\fR\n", c->name, *c->args ? " " : "", c->args);
    roff_paragraphs(o, c->about);
    roff_options(o, c->options);
    out_puts(o, ".PP\n.nf\n");
    roff(o, c->examples);
    out_puts(o, "\n.fi\n");
  }
  out_puts(o, ".SH EXIT STATUS\n"
              ".TP\n.B 0\nfound or done\n.TP\n.B 1\nnothing found\n"
              ".TP\n.B 2\nusage or configuration; an ambiguous prefix, with its candidates\n"
              ".TP\n.B 3\nthe store cannot be opened, read or written, is locked or full; or the output\n"
              "cannot be written\n"
              ".TP\n.B 4\nsomething is wrong: out of balance, verify failed, status not well\n"
              ".TP\n.B 5\ntimeout\n.TP\n.B 6\nsome input was rejected\n"
              ".SH ENVIRONMENT\n"
              ".TP\n.B SIDELOG_STORE\nthe store\\(aqs folder, where \\-\\-store does not name it\n"
              ".TP\n.B XDG_STATE_HOME\nelse the store is sidelog/default in this folder\n"
              ".TP\n.B COLUMNS\nwidth of the output; without it the terminal\\(aqs, and no limit in a pipe\n"
              ".TP\n.B NO_COLOR\nno colour\n.TP\n.B TZ\nthe time zone of times for people\n"
              ".SH SEE ALSO\n.BR sidelogd (8)\n");
}

int run_help(tool *t) {
  if (option_has(&t->given, OPT_MAN)) {
    manual_print(t);
  } else if (t->arg_count == 0) {
    usage_print(t);
  } else {
    const command *c = command_find(t->args[0]);
    if (!c)
      return tool_fail(t, EXIT_USAGE, "there is no command %s; `sidelog help` lists them", t->args[0]);
    command_help(t, c);
  }
  return EXIT_DONE;
}
