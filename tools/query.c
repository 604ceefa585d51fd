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

/* Every event until the iterator ends. */
static int run(tool *t, sl_iter *iter, sl_status st, void (*each)(void *arg, const sl_record *r), void *arg,
               uint64_t *found) {
  const sl_record *record;
  uint64_t bad = 0;
  *found = 0;
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot read the store");
  while (!t->out.error) {
    st = sl_iter_next(iter, &record);
    if (st == SL_E_CORRUPT && bad++ < 1000) {
      tool_fail_status(t, st, "damage");
      continue;
    }
    if (st != SL_OK)
      break;
    ++*found;
    each(arg, record);
  }
  if (st != SL_OK && st != SL_NOTFOUND)
    tool_fail_status(t, st, "cannot read on");
  t->scanned = sl_iter_scanned(iter);
  return st != SL_OK && st != SL_NOTFOUND ? exit_of(st) : bad ? EXIT_WRONG : EXIT_DONE;
}

int tool_each(tool *t, const sl_query *query, void (*each)(void *arg, const sl_record *r), void *arg,
              uint64_t *found) {
  sl_iter *iter = NULL;
  uint64_t count;
  sl_status st = sl_iter_start(t->store, query, &iter);
  if (st == SL_OK)
    st = conditions_apply(t, iter);
  int code = run(t, iter, st, each, arg, found ? found : &count);
  sl_iter_close(iter);
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

int tool_visit(tool *t, const sl_query *query, uint32_t needs, void (*visit)(void *arg, const sl_record *r),
               void *arg) {
  sl_query all = *query;
  visitor v = {visit, arg};
  sl_iter *iter = NULL;
  uint64_t none;
  all.limit = 0;
  all.flags = 0;
  sl_status st = sl_iter_start(t->store, &all, &iter);
  if (st == SL_OK)
    st = conditions_apply(t, iter);
  if (st == SL_OK)
    st = sl_iter_filter(iter, needs | conditions_need(t, query), visit_one, &v);
  int code = run(t, iter, st, visit, arg, &none);
  sl_iter_close(iter);
  return code;
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

enum { COL_TIME, COL_SEQ, COL_STATUS, COL_TYPE, COL_TOPIC, COL_EVENT, COL_CORRELATION, COL_COUNT };

void lister_begin(lister *l, tool *t, int json_parts) {
  enum { TIME_WIDTH = 23 }; /* never cut */
  /* On a narrow terminal ids shrink to what is still likely to be unique. */
  bool narrow = t->out.term.width && t->out.term.width < 80;
  const column columns[COL_COUNT] = {
      [COL_TIME] = {"TIME", false, CUT_BARE, TIME_WIDTH, 6},
      [COL_SEQ] = {"SEQ", true, CUT_RIGHT, 20, 9},
      [COL_STATUS] = {"STATUS", false, CUT_RIGHT, 9, 8},
      [COL_TYPE] = {"TYPE", false, CUT_LEFT, 10, 5},
      [COL_TOPIC] = {"TOPIC", false, CUT_LEFT, 0, 3},
      [COL_EVENT] = {"EVENT", false, CUT_BARE, narrow ? 13 : 18, 4},
      [COL_CORRELATION] = {"CORRELATION", false, CUT_BARE, 0, 2},
  };
  *l = (lister){.tool = t, .parts = json_parts};
  if (t->json)
    l->json = json_new(&t->out);
  else
    l->table = table_new(&t->out, columns, COL_COUNT);
}

void lister_put(void *lister_, const sl_record *r) {
  lister *l = lister_;
  char when[WHEN_MAX], seq[24];
  text where = {0};
  int width = l->tool->out.term.width;
  if (l->json) {
    json_record(l->json, r, l->parts);
    return;
  }
  if (width && width < 100)
    when_brief(r->appended_at_us, l->tool->now_us, when);
  else
    when_local(r->appended_at_us, when, false);
  table_cell(l->table, STYLE_DIM, slice_of(when));
  table_cell(l->table, STYLE_PLAIN, (sl_slice){seq, (size_t)snprintf(seq, sizeof seq, "%" PRIu64, r->seq)});
  table_cell(l->table, state_style(r->state), slice_of(sl_state_text(r->state)));
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
}

void lister_flush(lister *l) {
  if (l->table)
    table_settle(l->table);
  out_flush(&l->tool->out);
}

void lister_end(lister *l) {
  table_free(l->table);
  json_free(l->json);
}
