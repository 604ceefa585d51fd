/* help: from the tables of commands and options. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

void option_words(text *words, option_id id) {
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
    out_printf(&t->out, " %s\n", option_help(taken, (option_id)i));
    text_free(&words);
  }
}

void usage_print(tool *t) {
  output *o = &t->out;
  out_puts(o, "sidelog [--store DIR] COMMAND [...]\n\n"
              "Events are on this machine first; sidelogd takes them to Kafka, once each.\n\n");
  for (size_t i = 0; i < command_count; i++) {
    out_puts(o, "  ");
    out_cell(o, STYLE_BOLD, command_table[i].name, 12, false);
    out_printf(o, "%s\n", command_table[i].summary);
  }
  out_puts(o, "\nEverywhere:\n");
  option_lines(t, OPTIONS(COMMON_OPTIONS, OPT_VERSION));
  out_puts(o, "\nThe store is --store, else $SIDELOG_STORE, else $XDG_STATE_HOME/sidelog/default\n"
              "(~/.local/state/sidelog/default). `sidelog help COMMAND` explains a command.\n"
              "Exit status: 0 found or done, 1 nothing found, 2 usage, 3 store, 4 something is\n"
              "wrong, 5 timeout, 6 some input rejected.\n");
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
  out_printf(o, "\nMore: man sidelog-%s\n", c->name);
  text_free(&usage);
}

int run_help(tool *t) {
  const command *c = t->arg_count ? command_find(t->args[0]) : NULL;
  if (t->arg_count && !c)
    return unknown_command(t, t->args[0]);
  if (option_has(&t->given, OPT_MAN))
    manual_print(t, c);
  else if (c)
    command_help(t, c);
  else
    usage_print(t);
  return EXIT_DONE;
}
