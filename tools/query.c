/* What query, tail and export share: options to a query, events to lines. */
#include "conditions.h"

#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool states_parse(const char *typed, uint32_t *states) {
  while (*typed) {
    size_t len = strcspn(typed, ",");
    bool known = false;
    for (int s = 0; s < SL_STATE_COUNT && !known; s++) {
      const char *name = sl_state_text((sl_state)s);
      if (strlen(name) == len && memcmp(name, typed, len) == 0) {
        *states |= SL_STATE_BIT(s);
        known = true;
      }
    }
    if (!known)
      return false;
    typed += len;
    typed += *typed == ',';
  }
  return *states != 0;
}

int tool_query(tool *t, sl_query *query, query_ids *ids) {
  const struct {
    option_id option;
    sl_id_kind kind;
    char *id;
    sl_slice *slice;
  } kinds[] = {
      {OPT_EVENT, SL_ID_EVENT, ids->event, &query->event_id},
      {OPT_CORRELATION, SL_ID_CORRELATION, ids->correlation, &query->correlation_id},
      {OPT_CAUSATION, SL_ID_CAUSATION, ids->causation, &query->causation_id},
  };
  const char *states = option_text(&t->given, OPT_STATUS);
  if (states && !states_parse(states, &query->states))
    return tool_fail(t, EXIT_USAGE,
                     "--status %s: write pending, sent, dead, duplicate or dropped, or several with "
                     "commas",
                     states);
  if (!tool_time(t, OPT_SINCE, &query->since_us) || !tool_time(t, OPT_UNTIL, &query->until_us) ||
      !tool_number(t, OPT_LIMIT, &query->limit))
    return EXIT_USAGE;
  if (query->since_us && query->until_us && query->since_us > query->until_us)
    return tool_fail(t, EXIT_USAGE, "--since %s is later than --until %s: there is nothing between them",
                     option_text(&t->given, OPT_SINCE), option_text(&t->given, OPT_UNTIL));
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const char *typed = option_text(&t->given, kinds[i].option);
    int code = typed ? tool_resolve(t, kinds[i].kind, typed, kinds[i].id) : EXIT_DONE;
    if (code != EXIT_DONE)
      return code;
    *kinds[i].slice = typed ? slice_of(kinds[i].id) : (sl_slice){NULL, 0};
  }
  query->type = slice_of(option_text(&t->given, OPT_TYPE));
  query->topic = slice_of(option_text(&t->given, OPT_TOPIC));
  query->tenant = slice_of(option_text(&t->given, OPT_TENANT));
  query->source = slice_of(option_text(&t->given, OPT_SOURCE));
  query->key = slice_of(option_text(&t->given, OPT_KEY));
  if (query->limit)
    query->flags |= SL_QUERY_NEWEST;
  return conditions_take(t, query, ids);
}

static void say_failure(tool *t, size_t from, sl_status st, const char *words) {
  const source *s = &t->sources[from];
  if (s->store)
    tool_fail_status(t, st, "%s%s%s", many(t) ? s->name : "", many(t) ? ": " : "", words);
  else
    tool_fail(t, EXIT_STORE, "%s: %s: %s", s->path, words,
              st == SL_E_CORRUPT ? "the file was changed while it was read" : sl_status_text(st));
}

/* Every event until the look ends. */
static int run(tool *t, look *l, sl_status st, void (*each)(void *arg, const sl_record *r), void *arg,
               uint64_t *found) {
  const sl_record *record;
  uint64_t bad = 0;
  size_t outer = t->from;
  *found = 0;
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot read the store");
  while (!t->out.error) {
    st = look_next(l, &record);
    t->unread += st == SL_E_CORRUPT;
    if (st == SL_E_CORRUPT && bad++ < 1000) {
      say_failure(t, look_source(l), st, "damage");
      continue;
    }
    if (st != SL_OK)
      break;
    ++*found;
    t->from = look_source(l);
    each(arg, record);
  }
  t->from = outer;
  if (st != SL_OK && st != SL_NOTFOUND)
    say_failure(t, look_source(l), st, "cannot read on");
  t->scanned = look_scanned(l);
  return st != SL_OK && st != SL_NOTFOUND ? exit_of(st) : bad ? EXIT_WRONG : EXIT_DONE;
}

int tool_each(tool *t, const sl_query *query, void (*each)(void *arg, const sl_record *r), void *arg,
              uint64_t *found) {
  look *l = NULL;
  uint64_t count;
  sl_status st = look_start(t, query, &l);
  if (st == SL_OK && t->every_copy)
    look_copies_too(l);
  if (st == SL_OK)
    st = conditions_apply_to(t, l);
  int code = run(t, l, st, each, arg, found ? found : &count);
  look_close(l);
  return code;
}

int tool_one(tool *t, size_t from, uint64_t seq, void (*each)(void *arg, const sl_record *r), void *arg,
             uint64_t *found) {
  sl_query query = {.first_seq = seq, .last_seq = seq};
  look *l = NULL;
  uint64_t count;
  sl_status st = look_start_in(t, from, &query, &l);
  int code = run(t, l, st, each, arg, found ? found : &count);
  look_close(l);
  return code;
}

typedef struct visitor {
  void (*visit)(void *arg, const sl_record *r);
  void *arg;
} visitor;

static int visit_one(void *visitor_, const sl_record *r) {
  visitor *v = visitor_;
  v->visit(v->arg, r);
  return 0;
}

static int visit_recent(tool *t, uint64_t recent, const sl_query *query, uint32_t needs,
                        void (*visit)(void *arg, const sl_record *r), void *arg) {
  const sl_query every = SL_QUERY_INIT;
  query = query ? query : &every;
  sl_query all = *query;
  visitor v = {visit, arg};
  look *l = NULL;
  uint64_t none;
  all.limit = 0;
  all.flags = 0;
  sl_status st = look_start(t, &all, &l);
  if (recent && st == SL_OK)
    look_recent(l, recent);
  if (t->every_copy && st == SL_OK)
    look_copies_too(l);
  if (st == SL_OK)
    st = conditions_apply_to(t, l);
  /* Several are merged, so they must come out of their transactions. */
  if (st == SL_OK && !many(t))
    st = look_filter(l, needs | conditions_need(t, query), visit_one, &v);
  int code = run(t, l, st, visit, arg, &none);
  look_close(l);
  return code;
}

int tool_visit(tool *t, const sl_query *query, uint32_t needs, void (*visit)(void *arg, const sl_record *r),
               void *arg) {
  return visit_recent(t, 0, query, needs, visit, arg);
}

int tool_visit_recent(tool *t, uint64_t count, uint32_t needs, void (*visit)(void *arg, const sl_record *r),
                      void *arg) {
  return visit_recent(t, count, NULL, needs, visit, arg);
}

void record_place(text *out, const sl_record *r, bool with_offset, bool unicode) {
  switch (r->state) {
  case SL_SENT:
    text_add_safe(out, topic_short(r->topic), unicode);
    if (with_offset && r->offset >= 0)
      text_printf(out, "[%" PRId32 "]@%" PRId64, r->partition, r->offset);
    else if (with_offset && r->partition >= 0)
      text_printf(out, "[%" PRId32 "]", r->partition);
    if (with_offset && r->topic_recreated)
      text_puts(out, " (of a topic since deleted)");
    break;
  case SL_DUPLICATE: text_printf(out, "of %" PRIu64, r->duplicate_of); break;
  case SL_DEAD:
    text_add_safe(out, r->error_code.len ? r->error_code : r->error_class, unicode);
    text_printf(out, " after %" PRIu32 " %s", r->attempts, r->attempts == 1 ? "try" : "tries");
    break;
  case SL_DROPPED: text_add_safe(out, r->error_code.len ? r->error_code : r->error_class, unicode); break;
  case SL_PENDING:
    if (r->duplicate_of)
      text_printf(out, with_offset ? "duplicate of %" PRIu64 : "dup. of %" PRIu64, r->duplicate_of);
    break;
  }
}

enum { COL_TIME, COL_STORE, COL_SEQ, COL_STATUS, COL_TYPE, COL_TOPIC, COL_EVENT, COL_CORRELATION, COL_COUNT };

void lister_begin(lister *l, tool *t, int json_parts) {
  enum { TIME_WIDTH = 23 }; /* never cut */
  /* On a narrow terminal ids shrink to what is still likely to be unique. */
  bool narrow = t->out.term.width && t->out.term.width < 80;
  const column columns[COL_COUNT] = {
      [COL_TIME] = {"TIME", false, CUT_BARE, TIME_WIDTH, 6},
      [COL_STORE] = {"STORE", false, CUT_RIGHT, 6, 9},
      [COL_SEQ] = {"SEQ", true, CUT_RIGHT, 20, 9},
      [COL_STATUS] = {"STATUS", false, CUT_RIGHT, 9, 8},
      [COL_TYPE] = {"TYPE", false, CUT_LEFT, 10, 5},
      [COL_TOPIC] = {"TOPIC", false, CUT_LEFT, 0, 3},
      [COL_EVENT] = {"EVENT", false, CUT_BARE, narrow ? many(t) ? 12 : 13 : 18, 4},
      [COL_CORRELATION] = {"CORRELATION", false, CUT_BARE, 0, 2},
  };
  *l = (lister){.tool = t, .parts = json_parts, .marked = many(t)};
  if (t->json)
    l->json = json_new(&t->out);
  else
    l->table = table_new(&t->out, columns, COL_COUNT);
}

void record_json(tool *t, json *j, const sl_record *r, int parts) {
  copies c = {0};
  if (!many(t)) {
    json_record(j, r, parts);
    return;
  }
  copies_find(t, t->from, r, &c);
  json_record_begin(j, t->sources[t->from].name, r, parts);
  if (c.count) {
    json_key(j, "also_in");
    json_array_open(j);
  }
  for (size_t i = 0; i < c.count; i++) {
    const copy *k = &c.items[i];
    json_open(j);
    json_words(j, "store", t->sources[k->source].name);
    json_u64(j, "seq", k->seq);
    json_time(j, "appended_at", k->appended_us);
    json_words(j, "status", sl_state_text(k->state));
    if (k->state == SL_SENT && k->partition >= 0)
      json_i64(j, "partition", k->partition);
    if (k->state == SL_SENT && k->offset >= 0)
      json_i64(j, "offset", k->offset);
    if (k->settled_us)
      json_time(j, "settled_at", k->settled_us);
    if (k->differs)
      json_bool(j, "differs", true);
    json_close(j);
  }
  if (c.count)
    json_array_close(j);
  json_close(j);
  copies_free(&c);
}

/* Whose event it is, and what became of it, where it is in several. */
static void store_cells(lister *l, const sl_record *r, text *store, text *state) {
  tool *t = l->tool;
  text_puts(state, sl_state_text(r->state));
  if (!l->marked)
    return;
  copies_find(t, t->from, r, &l->copies);
  text_puts(store, t->sources[t->from].name);
  for (size_t i = 0; i < l->copies.count; i++) {
    const copy *c = &l->copies.items[i];
    if (c->differs)
      continue;
    text_printf(store, "+%s", t->sources[c->source].name);
    if (c->state != r->state)
      text_printf(state, "+%s", sl_state_text(c->state));
  }
}

void lister_put(void *lister_, const sl_record *r) {
  lister *l = lister_;
  char when[WHEN_MAX], seq[24];
  text where = {0}, store = {0}, state = {0};
  int width = l->tool->out.term.width;
  if (l->json) {
    record_json(l->tool, l->json, r, l->parts);
    return;
  }
  store_cells(l, r, &store, &state);
  if (width && width < 100)
    when_brief(r->appended_at_us, l->tool->now_us, when);
  else
    when_local(r->appended_at_us, when, false);
  table_cell(l->table, STYLE_DIM, slice_of(when));
  table_cell(l->table, STYLE_PLAIN, (sl_slice){store.data, store.len});
  table_cell(l->table, STYLE_PLAIN, (sl_slice){seq, (size_t)snprintf(seq, sizeof seq, "%" PRIu64, r->seq)});
  table_cell(l->table, state_style(r->state), (sl_slice){state.data, state.len});
  table_cell(l->table, STYLE_BOLD, r->type);
  if (r->state == SL_SENT) {
    record_place(&where, r, true, true);
    table_cell(l->table, STYLE_PLAIN, (sl_slice){text_str(&where), where.len});
  } else {
    table_cell(l->table, STYLE_PLAIN, topic_short(r->topic));
  }
  table_cell(l->table, STYLE_PLAIN, r->event_id);
  table_cell(l->table, STYLE_DIM, r->correlation_id);
  text_free(&where);
  text_free(&store);
  text_free(&state);
}

void lister_flush(lister *l) {
  if (l->table)
    table_settle(l->table);
  out_flush(&l->tool->out);
}

void lister_end(lister *l) {
  table_free(l->table);
  json_free(l->json);
  copies_free(&l->copies);
}
