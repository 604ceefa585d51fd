/* The options of every command: one table. An option means the same wherever it is taken, so that options may
 * stand before or after the command. Pure: prints nothing, exits nowhere. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum option_id {
  OPT_STORE, OPT_JSON, OPT_UTC, OPT_COLOR, OPT_VERBOSE, OPT_NO_PAGER, OPT_HELP, OPT_VERSION,
  OPT_TOPIC, OPT_TYPE, OPT_CORRELATION, OPT_CAUSATION, OPT_EVENT_ID, OPT_KEY, OPT_NO_KEY, OPT_TENANT,
  OPT_SOURCE, OPT_HEADER, OPT_OCCURRED_AT, OPT_JSONL, OPT_ACK, OPT_STRICT, OPT_PROGRESS,
  OPT_MAX_VALUE, OPT_QUOTA, OPT_GROUP, OPT_RELAXED,
  OPT_EVENT, OPT_STATUS, OPT_SINCE, OPT_UNTIL, OPT_LIMIT, OPT_VALUE, OPT_COUNT, OPT_GROUP_BY, OPT_ORDER,
  OPT_HOPS, OPT_CAUSE, OPT_EFFECTS, OPT_PATH, OPT_TIMES, OPT_CURSOR, OPT_FORMAT, OPT_RAW, OPT_FOLLOW,
  OPT_OLDER_THAN, OPT_MAX_BYTES, OPT_MAX_EVENTS, OPT_ATTRIBUTES, OPT_INTO, OPT_DELIVERY, OPT_NAME,
  OPT_WHEN_FULL, OPT_DROP_OLDEST, OPT_BALLAST, OPT_BY, OPT_ALL, OPT_DRY_RUN, OPT_REASON, OPT_MOST, OPT_READER,
  OPT_OUT, OPT_NO_REDACT, OPT_NO_SKEW, OPT_MAN,
  OPTION_COUNT
} option_id;

typedef struct option_spec {
  const char *name;  /* long name without its hyphens */
  char letter;       /* 0: none */
  const char *value; /* what follows, as help names it; NULL: a flag */
  const char *help;
  const char *sought; /* the same where it says which events are looked for; NULL: no other */
} option_spec;

extern const option_spec option_table[OPTION_COUNT]; /* in the order of option_id */

/* A list of options, as a constant that lives as long as the program (at file scope) or the block. NULL is the
 * empty list. */
#define OPTIONS(...) ((const option_id[]){__VA_ARGS__, OPTION_COUNT})
bool options_hold(const option_id *list, option_id id);
/* What the option is for, to a command that takes these. */
const char *option_help(const option_id *taken, option_id id);

typedef struct parsed {
  struct option_given { option_id id; const char *value; } *given; /* in the order of the command line */
  size_t given_count;
  const char **args; /* what is no option; the first is the command */
  size_t arg_count;
} parsed;

/* Sorts argv[1..] into options and arguments. `--opt value`, `--opt=value`, `-n 5`, `-n5`, `-fn5`; an option
 * that takes a value takes the next argument whatever it looks like; "-" is an argument; "--" ends the
 * options. False: `error` says what is wrong in one line. options_free ends it in both cases (idempotent).
 * The texts belong to argv. */
bool options_parse(parsed *out, int argc, char **argv, char *error, size_t cap);
void options_free(parsed *given);

bool option_has(const parsed *given, option_id id);
/* The value given last; NULL: not given. */
const char *option_text(const parsed *given, option_id id);
/* The first option that is given and stands in neither list; OPTION_COUNT: none. */
option_id option_foreign(const parsed *given, const option_id *taken, const option_id *taken_too);

/* The entry of names[0..count) nearest to `text`, close enough to be a slip of the hand; NULL: none. */
const char *nearest_name(const char *text, const char *const *names, size_t count);
#endif
