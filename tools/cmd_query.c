/* query: a list, a count, groups, or an order by a field. */
#include "conditions.h"
#include "decimal.h"
#include "groups.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "7 events looked at, 3 match, in 12 ms": on a terminal, and where more is asked for. */
static void say_work(tool *t, uint64_t found) {
  if (!t->verbose && (!t->out.term.tty || t->json))
    return;
  text words = {0};
  text_counted(&words, t->scanned, "event", "events");
  text_puts(&words, " looked at, ");
  text_count(&words, found);
  text_puts(&words, found == 1 ? " matches, in " : " match, in ");
  text_span(&words, clock_us() - t->now_us);
  tool_note(t, "%s", text_str(&words));
  text_free(&words);
}

static int nothing_or(tool *t, int code, uint64_t found, const sl_query *query) {
  if (code != EXIT_DONE || t->out.error)
    return code;
  if (found == 0)
    return conditions_explain(t, query);
  say_work(t, found);
  return code;
}

/* What a visitor must see that looks at one field. */
static uint32_t field_visit_needs(const field *f) { return f->needs | (field_is_id(f) ? 0u : SL_FILTER_NO_IDS); }

/* ------------------------------------------------------ --count, --group-by --- */

static void count_one(void *count, const sl_record *r) {
  (void)r;
  ++*(uint64_t *)count;
}

static int run_count(tool *t, const sl_query *query) {
  uint64_t found = 0;
  int code = tool_visit(t, query, SL_FILTER_NO_IDS, count_one, &found);
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_u64(j, "matched", found);
    json_u64(j, "scanned", t->scanned);
    json_u64(j, "microseconds", (uint64_t)(clock_us() - t->now_us));
    json_close(j);
    json_free(j);
  } else {
    out_printf(&t->out, "%" PRIu64 "\n", found);
  }
  return nothing_or(t, code, found, query);
}

typedef struct grouping {
  field field;
  groups groups;
  uint64_t found;
} grouping;

static void group_one(void *grouping_, const sl_record *r) {
  grouping *g = grouping_;
  field_value v;
  char when[WHEN_MAX];
  field_get(&g->field, r, &v);
  if (v.kind == VALUE_TIME) {
    when_rfc3339(v.us, when);
    v.text = slice_of(when);
  } else if (v.kind != VALUE_NONE && !v.text.data) {
    v.text.data = "";
  }
  groups_add(&g->groups, v.kind == VALUE_NONE ? (sl_slice){NULL, 0} : v.text, r->seq, r->appended_at_us);
  g->found++;
}

static void groups_to_json(tool *t, const grouping *g, size_t count) {
  json *j = json_new(&t->out);
  for (size_t i = 0; i < count; i++) {
    const group *one = &g->groups.items[i];
    json_open(j);
    json_words(j, "field", g->field.words);
    if (one->value.data)
      json_bytes(j, "value", one->value);
    else
      json_null(j, "value");
    json_u64(j, "count", one->count);
    json_u64(j, "first_seq", one->first_seq);
    json_u64(j, "last_seq", one->last_seq);
    json_time(j, "newest_at", one->newest_us);
    json_close(j);
  }
  json_free(j);
}

static void groups_to_people(tool *t, const grouping *g, size_t count) {
  const column columns[] = {{"COUNT", true, CUT_RIGHT, 20, 9},
                            {"NEWEST", false, CUT_BARE, 23, 3},
                            {"LAST SEQ", true, CUT_RIGHT, 0, 1},
                            {g->field.words, false, CUT_RIGHT, 10, 5}};
  table *rows = table_new(&t->out, columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; i < count; i++) {
    const group *one = &g->groups.items[i];
    char when[WHEN_MAX], seq[24];
    text words = {0};
    text_count(&words, one->count);
    when_local(one->newest_us, when, false);
    snprintf(seq, sizeof seq, "%" PRIu64, one->last_seq);
    if (many(t)) /* of which store? */
      seq[0] = 0;
    table_cell(rows, STYLE_BOLD, slice_of(text_str(&words)));
    table_cell(rows, STYLE_DIM, slice_of(when));
    table_cell(rows, STYLE_PLAIN, slice_of(seq));
    table_cell(rows, one->value.data ? STYLE_PLAIN : STYLE_DIM, one->value.data ? one->value : SL_STR("(none)"));
    text_free(&words);
  }
  table_free(rows);
}

static int run_groups(tool *t, const sl_query *query) {
  char error[1024];
  grouping g = {0};
  const char *words = option_text(&t->given, OPT_GROUP_BY);
  int code = EXIT_USAGE;
  if (field_parse(&g.field, words, strlen(words), error, sizeof error))
    code = tool_visit(t, query, field_visit_needs(&g.field), group_one, &g);
  else
    tool_note(t, "--group-by: %s", error);
  if (code == EXIT_DONE || code == EXIT_WRONG) {
    groups_sort(&g.groups);
    size_t count = query->limit && query->limit < g.groups.count ? (size_t)query->limit : g.groups.count;
    (t->json ? groups_to_json : groups_to_people)(t, &g, count);
    if (g.groups.left_out)
      tool_note(t, "%" PRIu64 " events have other values: more than a million values are not told apart",
                g.groups.left_out);
    code = nothing_or(t, code, g.found, query);
  }
  groups_free(&g.groups);
  field_free(&g.field);
  return code;
}

/* --------------------------------------------------------------- --order --- */

typedef struct place {
  uint64_t seq;
  size_t source;
  value_kind kind;
  int64_t us;
  sl_slice text;
} place;

typedef struct sorting {
  tool *tool;
  field field;
  place *places;
  size_t count, cap;
} sorting;

static void place_one(void *sorting_, const sl_record *r) {
  sorting *s = sorting_;
  field_value v;
  field_get(&s->field, r, &v);
  if (s->count == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 256;
    s->places = tool_grow(s->places, s->cap * sizeof *s->places);
  }
  place *p = &s->places[s->count++];
  *p = (place){.seq = r->seq, .source = s->tool->from, .kind = v.kind, .us = v.us};
  if (v.kind == VALUE_TEXT || v.kind == VALUE_NUMBER)
    p->text = (sl_slice){tool_copy(v.text.data, v.text.len), v.text.len};
}

/* What is not there comes last, numbers before texts; what is equal by seq. */
static int compare(const void *a_, const void *b_) {
  const place *a = a_, *b = b_;
  bool numbers = decimal_is(a->text) && decimal_is(b->text);
  int order = (a->kind == VALUE_NONE) - (b->kind == VALUE_NONE);
  if (order == 0 && a->kind == VALUE_TIME)
    order = (a->us > b->us) - (a->us < b->us);
  if (order == 0 && numbers)
    order = decimal_compare(a->text, b->text);
  if (order == 0 && !numbers && a->kind != VALUE_TIME) {
    size_t least = a->text.len < b->text.len ? a->text.len : b->text.len;
    order = decimal_is(b->text) - decimal_is(a->text);
    order = order || !least ? order : memcmp(a->text.data, b->text.data, least);
    order = order ? order : (a->text.len > b->text.len) - (a->text.len < b->text.len);
  }
  if (order == 0)
    order = (a->source > b->source) - (a->source < b->source);
  return order ? order : (a->seq > b->seq) - (a->seq < b->seq);
}

static int compare_down(const void *a, const void *b) {
  const place *x = a, *y = b;
  return (x->kind == VALUE_NONE) != (y->kind == VALUE_NONE) ? compare(a, b) : compare(b, a);
}

static int run_ordered(tool *t, const sl_query *query, const char *words, lister *l) {
  char error[1024];
  sorting s = {.tool = t};
  bool down = words[0] == '-' || strcmp(words, "newest") == 0;
  const char *name = strcmp(words, "newest") == 0 || strcmp(words, "oldest") == 0
      ? (many(t) ? "appended_at" : "seq") : words + (words[0] == '-');
  int code = EXIT_USAGE;
  if (field_parse(&s.field, name, strlen(name), error, sizeof error))
    code = tool_visit(t, query, field_visit_needs(&s.field), place_one, &s);
  else
    tool_note(t, "--order: %s", error);
  uint64_t scanned = t->scanned, found = 0;
  if (s.count)
    qsort(s.places, s.count, sizeof *s.places, down ? compare_down : compare);
  size_t count = query->limit && query->limit < s.count ? (size_t)query->limit : s.count;
  for (size_t i = 0; i < count && (code == EXIT_DONE || code == EXIT_WRONG) && !t->out.error; i++) {
    int read = tool_one(t, s.places[i].source, s.places[i].seq, lister_put, l, &found);
    code = read == EXIT_DONE ? code : read;
  }
  t->scanned = scanned;
  found = s.count;
  for (size_t i = 0; i < s.count; i++)
    free((void *)(uintptr_t)s.places[i].text.data);
  free(s.places);
  field_free(&s.field);
  lister_flush(l);
  return code == EXIT_USAGE ? code : nothing_or(t, code, found, query);
}

/* ----------------------------------------------------------------- query --- */

int run_query(tool *t) {
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  lister l;
  uint64_t found = 0;
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  const char *order = option_text(&t->given, OPT_ORDER);
  bool count = option_has(&t->given, OPT_COUNT), grouped = option_has(&t->given, OPT_GROUP_BY);
  if (option_has(&t->given, OPT_LIMIT) && query.limit == 0)
    return tool_fail(t, EXIT_USAGE, "-n 0: give at least 1");
  if (count + grouped + (order != NULL) > 1)
    return tool_fail(t, EXIT_USAGE, "--count, --group-by and --order: give one of them");
  if (count)
    return run_count(t, &query);
  if (grouped)
    return run_groups(t, &query);
  lister_begin(&l, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
  if (order) {
    code = run_ordered(t, &query, order, &l);
  } else {
    code = tool_each(t, &query, lister_put, &l, &found);
    lister_flush(&l);
    code = nothing_or(t, code, found, &query);
  }
  lister_end(&l);
  return code;
}
