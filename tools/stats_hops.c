/* stats --hops: the usual time from one kind of event to the next. */
#include "clocks.h"
#include "hops.h"

#include <stdio.h>

typedef struct learner {
  tool *tool;
  hops *usual;
  skew *skew;
} learner;

static void learn_clock(void *learner_, const sl_record *r) {
  learner *l = learner_;
  skew_learn(l->skew, l->tool->from, r->event_id, r->causation_id, record_time(r));
}

/* All times as the first source's clock would have had them. */
static void learn(void *learner_, const sl_record *r) {
  learner *l = learner_;
  sl_record moved = *r;
  int64_t shift = l->tool->sources[l->tool->from].shift_us;
  moved.occurred_at_us -= moved.occurred_at_us ? shift : 0;
  moved.appended_at_us -= shift;
  hops_learn(l->usual, &moved, (sl_slice){NULL, 0});
}

/* Of several sources: how their clocks differ, from the newest events. */
static int learn_clocks(learner *l) {
  enum { LEARN = 200000 };
  tool *t = l->tool;
  l->skew = skew_new(t->source_count);
  t->every_copy = true; /* an event in two is of neither clock */
  int code = tool_visit_recent(t, LEARN, 0, learn_clock, l);
  t->every_copy = false;
  clocks_settle(t, l->skew); /* nothing was told yet, so nothing is looked for around it */
  for (size_t i = 1; i < t->source_count; i++) {
    text words = {0};
    clocks_words(&words, t, l->skew, i);
    tool_note(t, "%s", text_str(&words));
    text_free(&words);
  }
  return code;
}

static void to_json(tool *t, const hop *h, size_t count) {
  json *j = json_new(&t->out);
  for (size_t i = 0; i < count; i++) {
    json_open(j);
    json_words(j, "from", h[i].from);
    json_words(j, "to", h[i].to);
    json_u64(j, "count", h[i].count);
    json_i64(j, "p50_us", hop_percentile(&h[i], 50));
    json_i64(j, "p95_us", hop_percentile(&h[i], 95));
    json_i64(j, "p99_us", hop_percentile(&h[i], 99));
    json_i64(j, "max_us", h[i].max_us);
    json_close(j);
  }
  json_free(j);
}

static void span_cell(table *rows, style s, int64_t us) {
  text words = {0};
  text_span(&words, us);
  table_cell(rows, s, slice_of(text_str(&words)));
  text_free(&words);
}

static void to_people(tool *t, const hop *h, size_t count) {
  const column columns[] = {{"FROM", false, CUT_LEFT, 10, 2}, {"TO", false, CUT_LEFT, 10, 3},
                            {"COUNT", true, CUT_RIGHT, 20, 9}, {"P50", true, CUT_RIGHT, 12, 8},
                            {"P95", true, CUT_RIGHT, 0, 1},    {"P99", true, CUT_RIGHT, 12, 7},
                            {"MAX", true, CUT_RIGHT, 12, 6}};
  table *rows = table_new(&t->out, columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; i < count; i++) {
    text words = {0};
    text_count(&words, h[i].count);
    table_cell(rows, STYLE_PLAIN, slice_of(h[i].from));
    table_cell(rows, STYLE_PLAIN, slice_of(h[i].to));
    table_cell(rows, STYLE_DIM, slice_of(text_str(&words)));
    span_cell(rows, STYLE_BOLD, hop_percentile(&h[i], 50));
    span_cell(rows, STYLE_PLAIN, hop_percentile(&h[i], 95));
    span_cell(rows, STYLE_PLAIN, hop_percentile(&h[i], 99));
    span_cell(rows, STYLE_PLAIN, h[i].max_us);
    text_free(&words);
  }
  table_free(rows);
}

int run_stats_hops(tool *t) {
  sl_query query = SL_QUERY_INIT;
  if (!tool_time(t, OPT_SINCE, &query.since_us) || !tool_time(t, OPT_UNTIL, &query.until_us) ||
      !tool_number(t, OPT_LIMIT, &query.limit))
    return EXIT_USAGE;
  learner l = {.tool = t, .usual = hops_new()};
  size_t count = 0;
  int clocks = many(t) ? learn_clocks(&l) : EXIT_DONE;
  int code = tool_visit(t, &query, 0, learn, &l);
  code = code == EXIT_DONE ? clocks : code;
  const hop *all = hops_follows(l.usual, &count);
  if (query.limit && query.limit < count)
    count = (size_t)query.limit;
  (t->json ? to_json : to_people)(t, all, count);
  hops_free(l.usual);
  skew_free(l.skew);
  if (code == EXIT_DONE && count == 0)
    return tool_fail(t, EXIT_NOTHING, "no two events follow each other under a correlation in these times");
  return code;
}
