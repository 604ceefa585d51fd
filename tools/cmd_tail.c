/* tail: the newest events, and with -f each as it becomes durable. */
#include "conditions.h"

#include <inttypes.h>
#include <signal.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
  (void)number;
  interrupted = 1;
}

/* A reader with a name. What it has shown is remembered once it is written, so that a kill shows it again rather
 * than never; at most so often, for it is a commit. */
typedef struct bookmark {
  tool *tool;
  const char *name; /* NULL: none */
  uint64_t saved;
  int64_t saved_us;
} bookmark;

static sl_status bookmark_save(bookmark *b, uint64_t seq, bool now) {
  enum { OFTEN_US = 200000 };
  int64_t at = clock_monotonic_us();
  if (!b->name || seq <= b->saved || b->tool->out.error || (!now && at - b->saved_us < OFTEN_US))
    return SL_OK;
  out_flush(&b->tool->out);
  if (b->tool->out.error)
    return SL_OK;
  sl_status st = sl_cursor_set(b->tool->store, b->name, seq);
  if (st == SL_OK) {
    b->saved = seq;
    b->saved_us = at;
  }
  return st;
}

/* Where it was; SL_NOTFOUND: it is new. Says what it will not see. */
static sl_status bookmark_open(bookmark *b, tool *t) {
  sl_stats stats;
  *b = (bookmark){.tool = t, .name = option_text(&t->given, OPT_CURSOR)};
  if (!b->name)
    return SL_NOTFOUND;
  sl_status st = sl_cursor_get(t->store, b->name, &b->saved);
  if (st == SL_OK && sl_stats_get(t->store, &stats) == SL_OK && stats.first_seq > b->saved + 1) {
    text words = {0};
    text_counted(&words, stats.first_seq - b->saved - 1, "event", "events");
    tool_note(t, "%s behind cursor %s (seq %" PRIu64 ") were trimmed unseen", text_str(&words), b->name, b->saved);
    text_free(&words);
  }
  return st;
}

typedef struct shown {
  lister *lister;
  uint64_t last; /* the newest shown */
} shown;

static void show(void *shown_, const sl_record *r) {
  shown *s = shown_;
  lister_put(s->lister, r);
  s->last = r->seq;
}

/* What the follower could not show. *said: how many were told of before. */
static void say_trimmed(tool *t, const sl_iter *iter, uint64_t *said) {
  const uint64_t now = sl_iter_trimmed(iter);
  if (now == *said)
    return;
  text words = {0};
  text_counted(&words, now - *said, "event was", "events were");
  tool_note(t, "%s trimmed before they could be looked at", text_str(&words));
  text_free(&words);
  *said = now;
}

/* New events as they become durable. A wait is short, so that an interrupt or a reader of stdout that has
 * gone away ends it soon. */
static int follow(tool *t, sl_query *query, shown *s, bookmark *mark, uint64_t after) {
  enum { WAIT_MS = 200, LATE_US = 5000 };
  sl_iter *iter = NULL;
  uint64_t trimmed = 0;
  int64_t flushed_us = 0;
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
    say_trimmed(t, iter, &trimmed);
    if (st == SL_OK) {
      show(s, record);
      /* The next match may be a long scan away; without conditions it follows at once. */
      if (t->conditions.count || clock_monotonic_us() - flushed_us > LATE_US) {
        lister_flush(s->lister);
        flushed_us = clock_monotonic_us();
      }
      st = bookmark_save(mark, record->seq, false);
      if (st == SL_OK)
        continue;
      break;
    }
    if (st == SL_E_CORRUPT) {
      tool_fail_status(t, st, "damage");
      continue;
    }
    lister_flush(s->lister);
    /* All up to `after` was looked at, whether or not it was shown. */
    sl_status saved = bookmark_save(mark, after > s->last ? after : s->last, false);
    if (st == SL_NOTFOUND)
      st = saved == SL_OK ? sl_wait(t->store, after, WAIT_MS, &after) : saved;
    if (st != SL_OK && st != SL_TIMEOUT)
      break;
  }
  sl_iter_close(iter);
  lister_flush(s->lister);
  if (interrupted && st != SL_E_IO)
    bookmark_save(mark, s->last, true);
  return interrupted || t->out.error || st == SL_OK || st == SL_TIMEOUT
             ? EXIT_DONE
             : tool_fail_status(t, st, "cannot follow on");
}

int run_tail(tool *t) {
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  lister l;
  bookmark mark;
  uint64_t found = 0, last = 0;
  bool following = option_has(&t->given, OPT_FOLLOW);
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  if (!option_has(&t->given, OPT_LIMIT))
    query.limit = 10;
  sl_status st = bookmark_open(&mark, t);
  bool resumed = st == SL_OK;
  if (st == SL_OK || st == SL_NOTFOUND)
    st = sl_wait(t->store, 0, 0, &last);
  if (st != SL_OK && st != SL_TIMEOUT)
    return tool_fail_status(t, st, "cannot read the store");
  query.last_seq = last;
  query.flags = SL_QUERY_NEWEST;
  if (resumed) {
    query.first_seq = mark.saved + 1;
    query.flags = 0;
    query.limit = 0;
  }
  lister_begin(&l, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
  shown s = {.lister = &l};
  if ((query.limit || resumed) && last && !(resumed && mark.saved >= last))
    code = tool_each(t, &query, show, &s, &found);
  if (following && code != EXIT_STORE)
    code = follow(t, &query, &s, &mark, last);
  else if (code == EXIT_DONE && found == 0)
    code = EXIT_NOTHING;
  if (!following && code != EXIT_STORE) {
    lister_flush(&l);
    st = bookmark_save(&mark, last, true);
    if (st != SL_OK)
      code = tool_fail_status(t, st, "cannot keep the cursor");
  }
  lister_end(&l);
  if (code == EXIT_NOTHING && !t->json)
    tool_note(t, "there are no %s events in the store at %s", resumed ? "new" : "such", t->path);
  return code;
}
