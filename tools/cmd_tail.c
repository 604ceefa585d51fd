#include "conditions.h"

#include <inttypes.h>
#include <signal.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
  (void)number;
  interrupted = 1;
}

/* New events as they become durable. A wait is short, so that an interrupt or a reader of stdout that has
 * gone away ends it soon. */
static int follow(tool *t, sl_query *query, lister *l, uint64_t after) {
  enum { WAIT_MS = 200 };
  sl_iter *iter = NULL;
  const sl_record *record;
  struct sigaction action = {.sa_handler = on_signal};
  query->flags = SL_QUERY_FOLLOW;
  query->limit = 0;
  query->first_seq = after + 1;
  query->last_seq = 0;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sl_status st = sl_iter_start(t->store, query, &iter);
  if (st == SL_OK)
    st = conditions_apply(t, iter);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot follow the store");
  while (!interrupted && !out_abandoned(&t->out)) {
    st = sl_iter_next(iter, &record);
    if (st == SL_OK) {
      lister_put(l, record);
      continue;
    }
    if (st == SL_E_CORRUPT) {
      tool_fail_status(t, st, "damage");
      continue;
    }
    lister_flush(l);
    if (st == SL_NOTFOUND)
      st = sl_wait(t->store, after, WAIT_MS, &after);
    if (st != SL_OK && st != SL_TIMEOUT)
      break;
  }
  sl_iter_close(iter);
  return interrupted || t->out.error || st == SL_OK || st == SL_TIMEOUT
             ? EXIT_DONE
             : tool_fail_status(t, st, "cannot follow on");
}

int run_tail(tool *t) {
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  lister l;
  uint64_t found = 0, last = 0;
  bool following = option_has(&t->given, OPT_FOLLOW);
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  if (!option_has(&t->given, OPT_LIMIT))
    query.limit = 10;
  sl_status st = sl_wait(t->store, 0, 0, &last);
  if (st != SL_OK && st != SL_TIMEOUT)
    return tool_fail_status(t, st, "cannot read the store");
  query.last_seq = last;
  query.flags = SL_QUERY_NEWEST;
  lister_begin(&l, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
  if (query.limit && last)
    code = tool_each(t, &query, lister_put, &l, &found);
  if (following && code != EXIT_STORE)
    code = follow(t, &query, &l, last);
  else if (code == EXIT_DONE && found == 0)
    code = EXIT_NOTHING;
  lister_end(&l);
  if (code == EXIT_NOTHING && !t->json)
    tool_note(t, "there are no such events in the store at %s", t->path);
  return code;
}
