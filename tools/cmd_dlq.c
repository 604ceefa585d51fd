/* sidelog dlq: what a person does with dead letters. A copy that a replay made is no letter of its own: it is told
 * with its original. */
#include "dlq.h"

#include "when.h"

#include <inttypes.h>
#include <pwd.h>
#include <sidelog/dead.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool names_some(const tool *t, const char *event) {
  static const option_id filters[] = {FILTER_OPTIONS, OPT_LIMIT, OPT_ALL};
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
    if (option_has(&t->given, filters[i]))
      return true;
  return event || t->arg_count > 0;
}

/* ------------------------------------------------------------------ list --- */

typedef struct group {
  char *name;
  uint64_t count;
  int64_t first_us, last_us;
} group;

typedef struct groups {
  tool *t;
  const char *by;
  group *list;
  size_t count, cap;
  bool failed;
} groups;

static void name_of_group(const groups *g, const sl_record *r, char *out, size_t cap) {
  char when[WHEN_MAX];
  sl_slice name = r->error_class;
  if (strcmp(g->by, "error") == 0) name = r->error_code;
  if (strcmp(g->by, "topic") == 0) name = r->topic;
  if (strcmp(g->by, "type") == 0) name = r->type;
  if (strcmp(g->by, "time") == 0) {
    when_local(r->last_failure_us, when, false);
    name = (sl_slice){when, strlen(when) < 13 ? strlen(when) : 13}; /* the hour */
  }
  snprintf(out, cap, "%.*s", (int)name.len, (const char *)name.data);
}

static void add_to_group(void *arg, const sl_record *r) {
  groups *g = arg;
  char name[300];
  size_t i = 0;
  name_of_group(g, r, name, sizeof name);
  while (i < g->count && strcmp(g->list[i].name, name) != 0)
    i++;
  if (i == g->cap) {
    size_t cap = g->cap ? g->cap * 2 : 16;
    group *more = realloc(g->list, cap * sizeof *more);
    if (!more) {
      g->failed = true;
      return;
    }
    g->list = more;
    g->cap = cap;
  }
  if (i == g->count) {
    g->list[i] = (group){strdup(name), 0, r->last_failure_us, r->last_failure_us};
    if (!g->list[i].name) {
      g->failed = true;
      return;
    }
    g->count++;
  }
  group *one = &g->list[i];
  one->count++;
  if (r->last_failure_us < one->first_us) one->first_us = r->last_failure_us;
  if (r->last_failure_us > one->last_us) one->last_us = r->last_failure_us;
}

static int most_first(const void *a, const void *b) {
  const group *x = a, *y = b;
  return (x->count < y->count) - (x->count > y->count);
}

static int oldest_first(const void *a, const void *b) {
  const group *x = a, *y = b;
  return (x->first_us > y->first_us) - (x->first_us < y->first_us);
}

static void put_groups(groups *g) {
  tool *t = g->t;
  qsort(g->list, g->count, sizeof *g->list, strcmp(g->by, "time") == 0 ? oldest_first : most_first);
  if (t->json) {
    json *j = json_new(&t->out);
    for (size_t i = 0; i < g->count; i++) {
      json_open(j);
      json_words(j, g->by, g->list[i].name);
      json_u64(j, "letters", g->list[i].count);
      json_time(j, "first_failure_at", g->list[i].first_us);
      json_time(j, "last_failure_at", g->list[i].last_us);
      json_close(j);
    }
    json_free(j);
    return;
  }
  static const column columns[] = {{"LETTERS", true, CUT_RIGHT, 9, 9}, {"OF", false, CUT_LEFT, 20, 8},
                                   {"FIRST", false, CUT_BARE, 0, 2},   {"LAST", false, CUT_BARE, 23, 5}};
  table *table_ = table_new(&t->out, columns, 4);
  for (size_t i = 0; i < g->count; i++) {
    char count[24], first[WHEN_MAX], last[WHEN_MAX];
    snprintf(count, sizeof count, "%" PRIu64, g->list[i].count);
    when_local(g->list[i].first_us, first, false);
    when_local(g->list[i].last_us, last, false);
    table_cell(table_, STYLE_MAGENTA, slice_of(count));
    table_cell(table_, STYLE_BOLD, slice_of(g->list[i].name));
    table_cell(table_, STYLE_DIM, slice_of(first));
    table_cell(table_, STYLE_DIM, slice_of(last));
  }
  table_free(table_);
}

typedef struct listing {
  tool *t;
  json *json;
  table *table;
} listing;

static void put_letter(void *arg, const sl_record *r) {
  listing *l = arg;
  char when[WHEN_MAX], seq[24], tries[16];
  if (l->json) {
    json_record(l->json, r, 0);
    return;
  }
  int width = l->t->out.term.width;
  if (width && width < 100)
    when_brief(r->last_failure_us, l->t->now_us, when);
  else
    when_local(r->last_failure_us, when, false);
  snprintf(seq, sizeof seq, "%" PRIu64, r->seq);
  snprintf(tries, sizeof tries, "%" PRIu32, r->attempts);
  table_cell(l->table, STYLE_DIM, slice_of(when));
  table_cell(l->table, STYLE_PLAIN, slice_of(seq));
  table_cell(l->table, STYLE_BOLD, r->error_code.len ? r->error_code : r->error_class);
  table_cell(l->table, STYLE_PLAIN, slice_of(tries));
  table_cell(l->table, STYLE_PLAIN, r->topic);
  table_cell(l->table, STYLE_PLAIN, r->event_id);
}

static int list(tool *t, const char *event) {
  const char *by = option_text(&t->given, OPT_BY);
  if (by) {
    static const char *const known[] = {"class", "error", "topic", "type", "time"};
    bool fine = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
      fine = fine || strcmp(by, known[i]) == 0;
    if (!fine)
      return tool_fail(t, EXIT_USAGE, "--by %s: write class, error, topic, type or time", by);
    groups g = {.t = t, .by = by};
    int code = dlq_each(t, event, add_to_group, &g);
    if (code == EXIT_DONE && g.failed)
      code = tool_fail(t, EXIT_STORE, "out of memory");
    if (code == EXIT_DONE)
      put_groups(&g);
    for (size_t i = 0; i < g.count; i++)
      free(g.list[i].name);
    free(g.list);
    return code;
  }
  static const column columns[] = {{"FAILED", false, CUT_BARE, 23, 6},  {"SEQ", true, CUT_RIGHT, 20, 9},
                                   {"ERROR", false, CUT_RIGHT, 12, 8},  {"TRIES", true, CUT_RIGHT, 0, 3},
                                   {"TOPIC", false, CUT_LEFT, 10, 5},   {"EVENT", false, CUT_BARE, 13, 4}};
  listing l = {.t = t};
  if (t->json)
    l.json = json_new(&t->out);
  else
    l.table = table_new(&t->out, columns, 6);
  int code = dlq_each(t, event, put_letter, &l);
  table_free(l.table);
  json_free(l.json);
  return code;
}

/* -------------------------------------------------------- replay and drop --- */

typedef struct doomed { /* a letter that something is to be done with */
  uint64_t seq, on_its_way; /* a copy, 0: none is */
  uint32_t copies;
} doomed;

typedef struct deed {
  tool *t;
  bool dry, drop;
  sl_replay_options options;
  const char *who, *why, *reader;
  doomed *list; /* gathered first: a replay appends to the log that is being read */
  size_t count, cap;
  bool failed;
} deed;

static void count_copy(void *arg, const sl_record *r) {
  doomed *one = arg;
  one->copies++;
  if (r->state == SL_PENDING)
    one->on_its_way = r->seq;
}

static void gather(void *arg, const sl_record *r) {
  deed *d = arg;
  if (d->count == d->cap) {
    size_t cap = d->cap ? d->cap * 2 : 256;
    doomed *more = realloc(d->list, cap * sizeof *more);
    if (!more) {
      d->failed = true;
      return;
    }
    d->list = more;
    d->cap = cap;
  }
  d->list[d->count] = (doomed){.seq = r->seq};
  if (d->dry && !d->drop)
    dlq_copies(d->t, r, count_copy, &d->list[d->count]);
  d->count++;
}

static void tell(deed *d, json *j, uint64_t seq, const char *what, uint64_t copy) {
  if (j) {
    json_open(j);
    json_u64(j, "seq", seq);
    json_words(j, "result", what);
    if (copy)
      json_u64(j, "copy", copy);
    json_close(j);
  } else if (copy) {
    out_printf(&d->t->out, "%" PRIu64 " %s %" PRIu64 "\n", seq, what, copy);
  } else {
    out_printf(&d->t->out, "%" PRIu64 " %s\n", seq, what);
  }
}

static sl_status perform_one(deed *d, uint64_t seq, uint64_t *copy) {
  sl_store *store = d->t->store;
  if (d->reader)
    return d->drop ? sl_reader_drop(store, d->reader, seq, slice_of(d->who), slice_of(d->why))
                   : sl_reader_replay(store, d->reader, seq, &d->options);
  return d->drop ? sl_dead_drop(store, seq, slice_of(d->who), slice_of(d->why))
                 : sl_replay(store, seq, &d->options, copy);
}

/* As the store would say it. */
static bool refused_dry(const deed *d, const doomed *one) {
  const uint32_t most = d->options.most ? d->options.most : SL_REPLAYS_DEFAULT;
  if (one->on_its_way)
    tool_fail(d->t, EXIT_REJECTED, "event %" PRIu64 " is on its way already, as %" PRIu64, one->seq,
              one->on_its_way);
  else if (one->copies >= most)
    tool_fail(d->t, EXIT_REJECTED,
              "event %" PRIu64 " was replayed %" PRIu32 " times: is what made it fail mended?",
              one->seq, one->copies);
  return one->on_its_way || one->copies >= most;
}

/* Each by itself: where it ends halfway, the same command goes on with what is left. */
static int perform(deed *d) {
  json *j = d->t->json ? json_new(&d->t->out) : NULL;
  int code = EXIT_DONE;
  for (size_t i = 0; i < d->count && !d->t->out.error; i++) {
    uint64_t copy = 0;
    sl_status st = SL_OK;
    const uint64_t seq = d->list[i].seq;
    if (d->dry) {
      if (refused_dry(d, &d->list[i]))
        code = EXIT_REJECTED;
      else
        tell(d, j, seq, d->drop ? "would be dropped" : "would be replayed", 0);
      continue;
    }
    st = perform_one(d, seq, &copy);
    if (st == SL_OK)
      tell(d, j, seq, d->drop ? "dropped" : d->reader ? "replayed" : "replayed as", copy);
    if (st == SL_OK)
      continue;
    /* no other will do better */
    if (st != SL_E_BUSY && st != SL_E_LIMIT && st != SL_E_INVALID && st != SL_NOTFOUND) {
      code = tool_fail_status(d->t, st, d->drop ? "cannot drop" : "cannot replay");
      break;
    }
    tool_fail(d->t, EXIT_REJECTED, "%s", sl_last_detail());
    code = EXIT_REJECTED;
  }
  json_free(j);
  return code;
}

static int act(tool *t, const char *event, bool drop) {
  struct passwd *user = getpwuid(geteuid());
  const char *person = geteuid() == 0 ? getenv("SUDO_USER") : NULL; /* "root" says little */
  uint64_t most = 0;
  char who[128];
  snprintf(who, sizeof who, "%.50s%s%.50s", user ? user->pw_name : "unknown", person ? ", sudo by " : "",
           person ? person : "");
  deed d = {.t = t, .drop = drop, .dry = option_has(&t->given, OPT_DRY_RUN), .who = who,
            .why = option_text(&t->given, OPT_REASON), .reader = option_text(&t->given, OPT_READER)};
  if (!names_some(t, event))
    return tool_fail(t, EXIT_USAGE, "dlq %s needs EVENT, a condition, or --all", drop ? "drop" : "replay");
  if (drop && !d.why)
    return tool_fail(t, EXIT_USAGE, "dlq drop needs --reason TEXT: it is kept");
  if (!tool_number(t, OPT_MOST, &most))
    return EXIT_USAGE;
  d.options.most = most > 1000000 ? 1000000 : (uint32_t)most;
  int code = dlq_each(t, event, gather, &d);
  if (code == EXIT_DONE && d.failed)
    code = tool_fail(t, EXIT_STORE, "out of memory");
  if (code == EXIT_DONE)
    code = perform(&d);
  free(d.list);
  return code;
}

/* ---------------------------------------------------------------- export --- */

static void export_letter(void *arg, const sl_record *r) {
  listing *l = arg;
  json_record(l->json, r, JSON_VALUE | JSON_HEADERS);
}

static int export_all(tool *t, const char *event) {
  t->json = true;
  listing l = {.t = t, .json = json_new(&t->out)};
  int code = dlq_each(t, event, export_letter, &l);
  json_free(l.json);
  return code;
}

int run_dlq(tool *t) {
  const char *verb = "list", *event = NULL;
  if (t->arg_count > 0) {
    verb = t->args[0];
    t->args++;
    t->arg_count--;
  }
  if (t->arg_count > 0 && !strpbrk(t->args[0], "=<>!~")) { /* no condition */
    event = t->args[0];
    t->args++;
    t->arg_count--;
  }
  if (strcmp(verb, "list") == 0 || strcmp(verb, "show") == 0)
    tool_page(t);
  if (strcmp(verb, "list") == 0)
    return list(t, event);
  if (strcmp(verb, "show") == 0)
    return dlq_show(t, event);
  if (strcmp(verb, "replay") == 0)
    return act(t, event, false);
  if (strcmp(verb, "drop") == 0)
    return act(t, event, true);
  if (strcmp(verb, "export") == 0)
    return export_all(t, event);
  if (strcmp(verb, "audit") == 0)
    return dlq_audit(t, event);
  return tool_fail(t, EXIT_USAGE, "dlq %s: write list, show, replay, drop, export or audit", verb);
}
