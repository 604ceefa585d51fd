/* Manual pages, from the tables of commands and options. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char docs_mark[] = ".\\\" docs\n";

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

/* Paragraphs; one with columns in it stands as it is. */
static void roff_paragraphs(output *o, const char *words) {
  const char *gap;
  for (const char *next = words; next; words = next) {
    gap = strstr(words, "\n\n");
    next = gap ? gap + 2 : NULL;
    char *part = tool_copy(words, gap ? (size_t)(gap - words) : strlen(words));
    const bool columns = strstr(part, "   ") != NULL;
    out_puts(o, columns ? ".nf\n" : "");
    roff(o, part);
    out_puts(o, columns ? "\n.fi\n" : "\n");
    out_puts(o, next ? ".PP\n" : "");
    free(part);
  }
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
    roff(o, option_help(taken, (option_id)i));
    out_puts(o, "\n");
    text_free(&words);
  }
}

static void roff_examples(output *o, const command *c) {
  out_puts(o, ".nf\n.RS\n");
  roff(o, c->examples);
  out_puts(o, "\n.RE\n.fi\n");
}

static void title(output *o, const char *name, const char *summary) {
  out_puts(o,
           ".\\\" Made by `sidelog help --man` from the tables of commands and options: do not edit.\n.TH SIDELOG");
  for (const char *p = name; *p; p++)
    out_printf(o, "%c", *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
  out_printf(o, " 1 \"\" \"sidelog %d.%d\" \"sidelog\"\n.SH NAME\nsidelog%s%s \\- ", SL_VERSION_MAJOR,
             SL_VERSION_MINOR,
             *name ? "\\" : "", name);
  roff(o, summary);
  out_puts(o, "\n");
}

static void command_page(output *o, const command *c) {
  char name[32] = "-";
  strncat(name, c->name, sizeof name - 2);
  title(o, name, c->summary);
  out_printf(o, ".SH SYNOPSIS\n.B sidelog %s\n%s%s", c->name, c->options ? "[\\fIOPTION\\fR]..." : "",
             c->options && *c->args ? " " : "");
  roff(o, c->args);
  out_puts(o, c->options || *c->args ? "\n.SH DESCRIPTION\n" : ".SH DESCRIPTION\n");
  roff_paragraphs(o, c->about);
  if (c->options) {
    out_puts(o, ".SH OPTIONS\n");
    roff_options(o, c->options);
  }
  out_puts(o, ".PP\nEvery command takes");
  const char *gap = " ";
  for (int i = 0; i < OPTION_COUNT; i++)
    if (options_hold(OPTIONS(COMMON_OPTIONS), (option_id)i)) {
      out_printf(o, "%s\\fB\\-\\-%s\\fR", gap, option_table[i].name);
      gap = ", ";
    }
  out_puts(o, ":\n.BR sidelog (1)\nhas them, the exit status, and how times and spans are written.\n");
  out_puts(o, docs_mark);
  out_puts(o, ".SH EXAMPLES\n");
  roff_examples(o, c);
  out_puts(o, ".SH SEE ALSO\n.BR sidelog (1)");
  for (size_t i = 0; i < command_count; i++) {
    char mention[40];
    snprintf(mention, sizeof mention, "`sidelog %s`", command_table[i].name);
    if (&command_table[i] != c && strstr(c->about, mention))
      out_printf(o, ",\n.BR sidelog\\-%s (1)", command_table[i].name);
  }
  out_puts(o, ",\n.BR sidelog\\-output (5),\n.BR sidelogd (8)\n");
}

static void overview_page(output *o) {
  title(o, "", "append to a local event store and ask it questions");
  out_puts(o, ".SH SYNOPSIS\n.B sidelog\n[\\fB\\-\\-store\\fR \\fIDIR\\fR] \\fICOMMAND\\fR [...]\n"
              ".SH DESCRIPTION\n"
              "Keeps events durably on this machine, whether or not Kafka can be reached, and tells\n"
              "what happened and where each event is now.\n.BR sidelogd (8)\ntakes them to Kafka.\n"
              "Options may stand before or after the command and its arguments;\n.B \\-\\-\nends them.\n"
              ".SH COMMANDS\n");
  for (size_t i = 0; i < command_count; i++) {
    out_printf(o, ".TP\n.BR sidelog\\-%s (1)\n", command_table[i].name);
    roff(o, command_table[i].summary);
    out_puts(o, "\n");
  }
  out_puts(o, ".SH OPTIONS\nEvery command takes these.\n");
  roff_options(o, OPTIONS(COMMON_OPTIONS, OPT_VERSION));
  out_puts(o, docs_mark);
  out_puts(o, ".SH ENVIRONMENT\n"
              ".TP\n.B SIDELOG_STORE\nthe store\\(aqs folder, where \\-\\-store does not name it\n"
              ".TP\n.B XDG_STATE_HOME\nelse the store is sidelog/default in this folder\n"
              ".TP\n.B COLUMNS\nwidth of the output; without it the terminal\\(aqs, and no limit in a pipe\n"
              ".TP\n.B SIDELOG_PAGER, PAGER\nthe pager, where stdout is a terminal; empty: none\n"
              ".TP\n.B NO_COLOR\nno colour\n.TP\n.B TZ\nthe time zone of times for people\n"
              ".SH SEE ALSO\n.BR sidelog\\-output (5),\n.BR sidelogd (8),\n.BR sidelogd.yaml (5)\n");
}

void manual_print(tool *t, const command *c) {
  if (c)
    command_page(&t->out, c);
  else
    overview_page(&t->out);
}
