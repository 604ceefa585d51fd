#include "tool.h"

/* Says why nothing was found, where the conditions alone do not. */
static int nothing_found(tool *t) {
  sl_stats stats;
  if (t->json || sl_stats_get(t->store, &stats) != SL_OK)
    return EXIT_NOTHING;
  if (stats.kept == 0)
    return tool_fail(t, EXIT_NOTHING, "the store at %s holds no events", t->path);
  text words = {0};
  text_counted(&words, stats.kept, "event", "events");
  if (stats.trimmed)
    text_puts(&words, " kept; older ones were trimmed");
  tool_fail(t, EXIT_NOTHING, "no event meets these conditions (%s)", text_str(&words));
  text_free(&words);
  return EXIT_NOTHING;
}

int run_query(tool *t) {
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  lister l;
  uint64_t found = 0;
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  if (option_has(&t->given, OPT_LIMIT) && query.limit == 0)
    return tool_fail(t, EXIT_USAGE, "-n 0: give at least 1");
  lister_begin(&l, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
  code = tool_each(t, &query, lister_put, &l, &found);
  lister_end(&l);
  return code == EXIT_DONE && found == 0 && !t->out.error ? nothing_found(t) : code;
}

int run_export(tool *t) {
  t->json = true;
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  lister l;
  uint64_t found = 0;
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  lister_begin(&l, t, JSON_VALUE | JSON_HEADERS);
  code = tool_each(t, &query, lister_put, &l, &found);
  lister_end(&l);
  return code == EXIT_DONE && found == 0 && !t->out.error ? EXIT_NOTHING : code;
}
