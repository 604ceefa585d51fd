/* Completions for shells, made from the tables of commands and options: they cannot be out of step. */
#include "tool.h"

#include <stdio.h>
#include <string.h>

static void words_of(output *o, const option_id *list) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (options_hold(list, (option_id)i))
      out_printf(o, " --%s", option_table[i].name);
}

/* Ids of the newest events, as a shell finds them. Only plain ones: bash expands what it is offered, and an id may
 * be any text, $(...) too. */
static const char ids_of[] =
    "sidelog tail -n 30 --json 2>/dev/null | sed -n 's/.*\"%s\":\"\\([A-Za-z0-9._:-]*\\)\".*/\\1/p' | sort -u";

/* What stands after a command: the member of an event whose recent values fit; NULL: none. */
static const char *argument_of(const command *c) {
  return strcmp(c->args, "EVENT") == 0 ? "event_id" : strstr(c->args, "CORRELATION") || strcmp(c->args, "A B") == 0
                                               ? "correlation_id"
                                               : NULL;
}

static void ids(output *o, const char *member) {
  char line[256];
  const char *at = strchr(ids_of, '%');
  snprintf(line, sizeof line, "%.*s%s%s", (int)(at - ids_of), ids_of, member, at + 2);
  out_puts(o, line);
}

static void bash(output *o) {
  out_puts(o, "# sidelog's completion for bash: eval \"$(sidelog completion bash)\"\n"
              "_sidelog() {\n"
              "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i\n"
              "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
              "    case ${COMP_WORDS[i]} in\n"
              "      --store) i=$((i + 1)) ;;\n"
              "      -*) ;;\n"
              "      *) command=${COMP_WORDS[i]}; break ;;\n"
              "    esac\n"
              "  done\n"
              "  case $prev in\n"
              "    --event|--cause|--effects|--path|--causation) words=$(");
  ids(o, "event_id");
  out_puts(o, ") ;;\n    --correlation) words=$(");
  ids(o, "correlation_id");
  out_puts(o, ") ;;\n    --status) words='pending sent dead duplicate dropped' ;;\n"
              "    --color) words='auto always never' ;;\n"
              "    --format) words='jsonl csv cloudevents otlp jaeger dot mermaid' ;;\n"
              "    --out) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
              "    --store|--into) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n"
              "  esac\n"
              "  if [[ -z $words ]]; then case $command in\n    '') words='");
  for (size_t i = 0; i < command_count; i++)
    out_printf(o, "%s%s", i ? " " : "", command_table[i].name);
  words_of(o, OPTIONS(COMMON_OPTIONS, OPT_VERSION));
  out_puts(o, "' ;;\n");
  for (size_t i = 0; i < command_count; i++) {
    const command *c = &command_table[i];
    out_printf(o, "    %s) words='", c->name);
    words_of(o, c->options);
    words_of(o, OPTIONS(COMMON_OPTIONS));
    out_puts(o, "'");
    if (strcmp(c->name, "help") == 0)
      for (size_t k = 0; k < command_count; k++)
        out_printf(o, "' %s'", command_table[k].name);
    if (argument_of(c)) {
      out_puts(o, "; [[ $cur == -* ]] || words=$(");
      ids(o, argument_of(c));
      out_puts(o, ")");
    }
    out_puts(o, " ;;\n");
  }
  out_puts(o, "  esac; fi\n"
              "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
              "}\ncomplete -o default -F _sidelog sidelog\n");
}

/* zsh runs bash's completions. */
static void zsh(output *o) {
  out_puts(o, "# sidelog's completion for zsh: eval \"$(sidelog completion zsh)\"\n"
              "autoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n");
  bash(o);
}

static void fish_text(output *o, const char *words) {
  out_puts(o, "'");
  for (; *words; words++) {
    if (*words == '\'' || *words == '\\')
      out_add(o, "\\", 1);
    out_add(o, words, 1);
  }
  out_puts(o, "'");
}

static void fish_option(output *o, const command *c, option_id id) {
  const option_spec *spec = &option_table[id];
  out_puts(o, "complete -c sidelog");
  if (c)
    out_printf(o, " -n '__fish_seen_subcommand_from %s'", c->name);
  out_printf(o, " -l %s", spec->name);
  if (spec->letter)
    out_printf(o, " -s %c", spec->letter);
  out_puts(o, spec->value ? " -r -d " : " -d ");
  fish_text(o, option_help(c ? c->options : NULL, id));
  out_puts(o, "\n");
}

static void fish(output *o) {
  out_puts(o, "# sidelog's completion for fish: sidelog completion fish | source\ncomplete -c sidelog -f\n");
  for (size_t i = 0; i < command_count; i++) {
    const command *c = &command_table[i];
    out_printf(o, "complete -c sidelog -n __fish_use_subcommand -a %s -d ", c->name);
    fish_text(o, c->summary);
    out_puts(o, "\n");
    for (int id = 0; id < OPTION_COUNT; id++)
      if (options_hold(c->options, (option_id)id))
        fish_option(o, c, (option_id)id);
    if (argument_of(c)) {
      out_printf(o, "complete -c sidelog -n '__fish_seen_subcommand_from %s' -a '(", c->name);
      for (const char *p = ids_of; *p; p++) { /* its own quotes, in quotes */
        if (*p == '%') {
          out_puts(o, argument_of(c));
          p++;
        } else {
          out_puts(o, *p == '\'' || *p == '\\' ? "\\" : "");
          out_add(o, p, 1);
        }
      }
      out_puts(o, ")'\n");
    }
  }
  for (int id = 0; id < OPTION_COUNT; id++)
    if (options_hold(OPTIONS(COMMON_OPTIONS, OPT_VERSION), (option_id)id))
      fish_option(o, NULL, (option_id)id);
}

int run_completion(tool *t) {
  static const struct {
    const char *name;
    void (*print)(output *o);
  } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
  for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
    if (strcmp(t->args[0], shells[i].name) == 0) {
      shells[i].print(&t->out);
      return EXIT_DONE;
    }
  return tool_fail(t, EXIT_USAGE, "completion %s: write bash, zsh or fish", t->args[0]);
}
