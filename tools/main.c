/* Finds the command, opens what it needs, runs it, and ends with its status. */
#include "conditions.h"
#include "pager.h"
#include "sources.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What people call a command who come from elsewhere. */
static const char *other_name(const char *name) {
  static const char *const known[][2] = {
    {"ls", "query"}, {"list", "query"}, {"find", "query"}, {"grep", "query"}, {"search", "query"}, {"log", "tail"},
    {"follow", "tail -f"},
    {"watch", "top"}, {"get", "show"}, {"cat", "show"}, {"story", "trace"}, {"write", "append"}, {"add", "append"},
    {"send", "append"},
    {"fsck", "verify"}, {"info", "status"}, {"health", "status"}, {"gc", "trim"}, {"prune", "trim"},
    {"delete", "trim"},
    {"vacuum", "compact"}, {"dead", "dlq"}, {"replay", "dlq replay"}, {"drop", "dlq drop"},
    {"version", "--version"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i][0], name) == 0)
      return known[i][1];
  return NULL;
}

int unknown_command(tool *t, const char *name) {
  const char *names[32];
  for (size_t i = 0; i < command_count; i++)
    names[i] = command_table[i].name;
  const char *near = other_name(name);
  if (!near)
    near = nearest_name(name, names, command_count);
  if (near)
    return tool_fail(t, EXIT_USAGE, "there is no command %s; did you mean `sidelog %s`?", name, near);
  return tool_fail(t, EXIT_USAGE, "there is no command %s; `sidelog help` lists them", name);
}

static int check_usage(tool *t) {
  const command *c = t->command;
  option_id foreign = option_foreign(&t->given, OPTIONS(COMMON_OPTIONS), c->options);
  if (foreign != OPTION_COUNT) {
    text takers = {0};
    for (size_t i = 0, n = 0; i < command_count && n < 4; i++)
      if (options_hold(command_table[i].options, foreign))
        text_printf(&takers, "%s%s", n++ ? ", " : "", command_table[i].name);
    tool_fail(t, EXIT_USAGE, "%s takes no --%s, which is for %s; see `sidelog help %s`", c->name,
              option_table[foreign].name, text_str(&takers), c->name);
    text_free(&takers);
    return EXIT_USAGE;
  }
  size_t stores = 0;
  for (size_t i = 0; i < t->given.given_count; i++)
    stores += t->given.given[i].id == OPT_STORE;
  if (stores > 1 && c->need != NEED_STORES)
    return tool_fail(t, EXIT_USAGE, "%s is of one store, not of several: give --store once", c->name);
  if (t->arg_count < c->least_args)
    return tool_fail(t, EXIT_USAGE, "%s needs %s; see `sidelog help %s`", c->name, c->args, c->name);
  if (t->arg_count > c->most_args)
    return tool_fail(t, EXIT_USAGE, "%s does not know what to do with %s; see `sidelog help %s`", c->name,
                     t->args[c->most_args], c->name);
  return EXIT_DONE;
}

static int run_command(tool *t) {
  const command *c = t->command;
  int code = check_usage(t);
  if (code == EXIT_DONE && c->paged && !option_has(&t->given, OPT_RAW))
    tool_page(t);
  if (code == EXIT_DONE && c->need != NEED_NOTHING)
    code = sources_open(t);
  if (code == EXIT_DONE && c->need == NEED_STORE && t->store == NULL)
    code = tool_fail(t, EXIT_USAGE, "%s is a bundle, and %s needs a store", t->path, c->name);
  if (code == EXIT_DONE)
    code = c->run(t);
  return code == EXIT_DONE && t->faults ? EXIT_WRONG : code;
}

static int dispatch(tool *t, const char *colour) {
  if (strcmp(colour, "auto") && strcmp(colour, "always") && strcmp(colour, "never"))
    return tool_fail(t, EXIT_USAGE, "--color %s: write auto, always or never", colour);
  if (option_has(&t->given, OPT_VERSION)) {
    out_printf(&t->out, "sidelog %s\n", sl_version());
    return EXIT_DONE;
  }
  if (t->given.arg_count == 0) {
    if (!option_has(&t->given, OPT_HELP))
      return tool_fail(t, EXIT_USAGE,
                       "which command? `sidelog help` lists them; `sidelog status` is a first look, `sidelog tail` the "
                       "newest events");
    usage_print(t);
    return EXIT_DONE;
  }
  t->command = command_find(t->given.args[0]);
  t->args = t->given.args + 1;
  t->arg_count = t->given.arg_count - 1;
  if (!t->command)
    return unknown_command(t, t->given.args[0]);
  if (option_has(&t->given, OPT_HELP)) {
    command_help(t, t->command);
    return EXIT_DONE;
  }
  return run_command(t);
}

/* A reader that closed its end has seen enough; anything else that keeps stdout from being written is a
 * failure. */
static int finish_output(tool *t, int code) {
  pager_finish(&t->out);
  if (t->out.error == 0 && close(STDOUT_FILENO) != 0 && errno != EBADF)
    t->out.error = errno;
  if (t->out.error == 0 || t->out.error == EPIPE)
    return code;
  return tool_fail(t, EXIT_STORE, "cannot write the output: %s", strerror(t->out.error));
}

int main(int argc, char **argv) {
  char error[256];
  tool t = {.program = argv[0], .now_us = clock_us()};
  setlocale(LC_CTYPE, "");
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error as any other */
  out_init(&t.out, term_look("auto"));
  if (!options_parse(&t.given, argc, argv, error, sizeof error)) {
    const command *c = t.given.arg_count ? command_find(t.given.args[0]) : NULL;
    options_free(&t.given);
    return tool_fail(&t, EXIT_USAGE, "%s; see `sidelog help%s%s`", error, c ? " " : "", c ? c->name : "");
  }
  const char *colour = option_text(&t.given, OPT_COLOR);
  if (colour)
    t.out.term = term_look(colour);
  t.json = option_has(&t.given, OPT_JSON);
  t.verbose = option_has(&t.given, OPT_VERBOSE);
  if (option_has(&t.given, OPT_UTC))
    setenv("TZ", "UTC0", 1);
  t.path = find_store_path(option_text(&t.given, OPT_STORE));
  int code = dispatch(&t, colour ? colour : "auto");
  conditions_free(&t);
  sources_close(&t);
  sl_close(t.store);
  code = finish_output(&t, code);
  out_free(&t.out);
  options_free(&t.given);
  free(t.path);
  return code;
}
