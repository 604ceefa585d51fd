/* One run of the command line: what every command is given, how it fails, and the table of commands. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include "filter.h"
#include "json.h"
#include "options.h"
#include "output.h"

/* Exit statuses; sidelogd has the same. */
enum {
  EXIT_DONE = 0,     /* found or done */
  EXIT_NOTHING = 1,  /* nothing found */
  EXIT_USAGE = 2,    /* usage or configuration, an ambiguous prefix too */
  EXIT_STORE = 3,    /* the store cannot be opened, read, written, is locked or full */
  EXIT_WRONG = 4,    /* out of balance, verify failed, parked, not well */
  EXIT_TIMEOUT = 5,
  EXIT_REJECTED = 6  /* some input was rejected */
};

/* The only place where a status becomes an exit status. */
int exit_of(sl_status status);

typedef struct conditions {
  filter *items;
  size_t count;
} conditions;

struct source;

typedef struct tool {
  const struct command *command;
  const char *program; /* argv[0] */
  parsed given;
  const char *const *args; /* after the command */
  size_t arg_count;
  bool json, verbose;
  int64_t now_us; /* when the program began */
  char *path;     /* the store's folder */
  sl_store *store; /* open as the command's `need` says */
  struct source *sources; /* of a command that takes several (sources.h) */
  size_t source_count;
  struct skew *others;    /* of several: what events around the first story tell of their clocks (clocks.h) */
  size_t from;            /* whose record tool_each or tool_visit hands out now */
  bool every_copy;        /* tool_each: of an event in several sources each comes (look_copies_too) */
  uint64_t faults;        /* damage met in bundles */
  uint64_t unread;        /* records that could not be read */
  output out;
  conditions conditions; /* of the arguments */
  uint64_t scanned;      /* events that the last tool_each or tool_visit looked at */
} tool;

/* NEED_STORES: several too, and bundles; the command reads through sources.h. */
typedef enum need { NEED_NOTHING, NEED_STORE, NEED_STORES } need;

typedef struct command {
  const char *name;
  const char *args;    /* as usage names them */
  const char *summary; /* a line without a full stop */
  const char *about;   /* help: paragraphs of at most 78 columns */
  const char *examples; /* lines of commands */
  const option_id *options; /* besides those that every command takes; NULL: none */
  size_t least_args, most_args;
  need need;
  int (*run)(tool *t); /* returns the exit status; opens nothing that main does not close */
  bool paged; /* what it prints is read, so it may go to a pager */
} command;

#define ANY_NUMBER SIZE_MAX /* of arguments */
extern const command command_table[];
extern const size_t command_count;
const command *command_find(const char *name);
/* Options that stand before or after any command. */
#define COMMON_OPTIONS OPT_STORE, OPT_JSON, OPT_UTC, OPT_COLOR, OPT_VERBOSE, OPT_NO_PAGER, OPT_HELP

/* Writes "sidelog: ..." to stderr, one line, made safe for a terminal, stdout flushed before. */
int tool_fail(tool *t, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void tool_note(tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A failure of the library: the words, its detail, the store's path where neither names it. Returns
 * exit_of(). */
int tool_fail_status(tool *t, sl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A failure of what the library did with the reader NAME (NULL: with all): that there is none is said with
 * where to look; anything else as by tool_fail_status. */
int tool_fail_reader(tool *t, sl_status status, const char *name, const char *doing);

/* --store, $SIDELOG_STORE, $XDG_STATE_HOME/sidelog/default, ~/.local/state/sidelog/default. malloc()ed. */
char *find_store_path(const char *option);
/* The path as people know it: ~ for the home folder. malloc()ed. */
char *path_brief(const char *path);
/* Opens t->store. 0, or an exit status after saying why. */
int tool_open(tool *t, uint32_t flags);

/* What is printed from now on is read by a person: to the pager with what does not fit the screen (pager.h),
 * unless --no-pager. Of commands with `paged` main calls it. */
void tool_page(tool *t);

int64_t clock_us(void);           /* wall clock */
int64_t clock_monotonic_us(void);

/* Options with a number in them. False after saying what is wrong; absent: *out is untouched. */
bool tool_size(tool *t, option_id id, uint64_t *out);
bool tool_span(tool *t, option_id id, int64_t *out);
bool tool_number(tool *t, option_id id, uint64_t *out);
bool tool_time(tool *t, option_id id, int64_t *out);

/* A whole id for what a person typed: itself, or the one id that begins with it. 0: `out` has it. Else an
 * exit status after saying why, with the candidates when there are several. */
int tool_resolve(tool *t, sl_id_kind kind, const char *typed, char out[SL_ID_MAX]);
/* What follows "there is no id TYPED" where that is all that is known. */
const char *tool_not_found_why(const char *typed);
/* Adds ids that begin as the one that is not there (a slip of the hand, a line cut off), with commas. How many of
 * its characters they begin with; 0: there are none. */
size_t tool_near(tool *t, sl_id_kind kind, const char *typed, text *words);

/* "dead,pending" to SL_STATE_BIT()s. */
bool states_parse(const char *typed, uint32_t *states);
/* The query that options (--event ... -n) and arguments (FIELD=VALUE) ask for. `ids` keeps the resolved ids alive.
 * 0 or an exit status. */
#define FILTER_OPTIONS                                                                                       \
  OPT_EVENT, OPT_CORRELATION, OPT_CAUSATION, OPT_TYPE, OPT_TOPIC, OPT_TENANT, OPT_SOURCE, OPT_KEY,           \
    OPT_STATUS, OPT_SINCE, OPT_UNTIL
typedef struct query_ids {
  char event[SL_ID_MAX], correlation[SL_ID_MAX], causation[SL_ID_MAX];
} query_ids;
int tool_query(tool *t, sl_query *query, query_ids *ids);
/* Runs a query, with the conditions of the arguments, and calls `each` for every event. A record that cannot be
 * read is said and passed over; then the result is EXIT_WRONG. *found (may be NULL) counts. Stops early when
 * stdout fails. */
int tool_each(tool *t, const sl_query *query, void (*each)(void *arg, const sl_record *r), void *arg,
              uint64_t *found);

/* The same without copying anything out of the store: `visit` is called inside of the read transactions
 * (sl_iter_filter) with what `needs` (SL_FILTER_*) asks for. The query's limit does not count. */
int tool_visit(tool *t, const sl_query *query, uint32_t needs, void (*visit)(void *arg, const sl_record *r),
               void *arg);
/* The newest `count` of each source. */
int tool_visit_recent(tool *t, uint64_t count, uint32_t needs, void (*visit)(void *arg, const sl_record *r),
                      void *arg);
/* One event of one source, without conditions. */
int tool_one(tool *t, size_t from, uint64_t seq, void (*each)(void *arg, const sl_record *r), void *arg,
             uint64_t *found);
/* The event that tool_each hands out, as a line of JSON: of several stores with `store`, and `also_in`. */
void record_json(tool *t, json *j, const sl_record *r, int parts);
/* "stamp-workflow-started.v1[2]@1041", "duplicate of 17", "MSG_SIZE_TOO_LARGE after 1 try", "" when pending.
 * Made safe. */
void record_place(text *out, const sl_record *r, bool with_offset, bool unicode);

void usage_print(tool *t);                /* sidelog --help */
void command_help(tool *t, const command *c);
void option_words(text *words, option_id id); /* "-n, --limit N" */
/* manual.c: sidelog(1) as roff, or (c is not NULL) the page of a command. A line `.\" docs` stands where
 * tools/manual.py adds what docs/cli.md says. */
void manual_print(tool *t, const command *c);
int unknown_command(tool *t, const char *name); /* says which one is near */

int run_append(tool *t);
int run_append_lines(tool *t); /* append --jsonl */
int run_query(tool *t);
int run_show(tool *t);
int run_trace(tool *t);
int run_tail(tool *t);
int run_stats(tool *t);
int run_verify(tool *t);
int run_repair(tool *t);
int run_reindex(tool *t);
int run_trim(tool *t);
int run_dlq(tool *t);
int run_readers(tool *t);
int run_full(tool *t);
int run_compact(tool *t);
int run_export(tool *t);
int run_bundle(tool *t);
int run_status(tool *t);
int run_help(tool *t);
int run_check(tool *t);
int run_top(tool *t);
int run_diff(tool *t);
int run_completion(tool *t);
int run_stats_hops(tool *t); /* stats --hops */
#endif
