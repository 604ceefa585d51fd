/* Why nothing was found: the question a person has next. */
#include "conditions.h"
#include "story_ids.h"

#include "when.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MOST = 48, LOOK = 200000 };

/* Each condition on its own, over the newest events. */
typedef struct alone {
  tool *tool;
  filter filters[MOST];
  uint64_t hits[MOST], looked;
  size_t count;
} alone;

static int look_alone(void *arg, const sl_record *r) {
  alone *a = arg;
  a->looked++;
  for (size_t i = 0; i < a->count; i++)
    a->hits[i] += filter_match(&a->filters[i], r, a->tool->now_us);
  return 0;
}

static void add_words(alone *a, const char *words) {
  char error[256];
  if (a->count == MOST)
    return;
  if (filter_parse(&a->filters[a->count], words, a->tool->now_us, error, sizeof error))
    a->count++;
  else
    filter_free(&a->filters[a->count]);
}

static void add_text(alone *a, const char *name, sl_slice value) {
  text words = {0};
  if (value.len) {
    text_printf(&words, "%s=", name);
    text_add(&words, value.data, value.len);
    add_words(a, text_str(&words));
  }
  text_free(&words);
}

/* The query's own conditions in the same form; ids are known to exist, times and states are said otherwise. */
static void gather(alone *a, const sl_query *q) {
  add_text(a, "event_id", q->event_id);
  add_text(a, "correlation_id", q->correlation_id);
  add_text(a, "causation_id", q->causation_id);
  add_text(a, "event_type", q->type);
  add_text(a, "topic", q->topic);
  add_text(a, "tenant", q->tenant);
  add_text(a, "source", q->source);
  add_text(a, "key", q->key);
  for (size_t i = 0; i < a->tool->conditions.count; i++)
    if (!a->tool->conditions.items[i].taken)
      add_words(a, a->tool->conditions.items[i].words);
  for (int s = 0; s < SL_STATE_COUNT; s++)
    if (q->states & SL_STATE_BIT(s))
      add_text(a, "status", slice_of(sl_state_text((sl_state)s)));
}

static void say_alone(tool *t, const sl_query *q) {
  alone a = {.tool = t};
  look *l = NULL;
  const sl_record *r;
  sl_status st = SL_OK;
  gather(&a, q);
  if (a.count == 0)
    return;
  /* Within the times that were asked for: outside of them nothing is a clue. */
  sl_query query = {.since_us = q->since_us, .until_us = q->until_us};
  if (look_start(t, &query, &l) == SL_OK) {
    look_recent(l, LOOK);
    if (look_filter(l, SL_FILTER_FATE, look_alone, &a) == SL_OK)
      while ((st = look_next(l, &r)) == SL_OK || st == SL_E_CORRUPT) {}
  }
  look_close(l);
  text count = {0}, words = {0};
  text_counted(&words, a.looked, "event", "events");
  for (size_t i = 0; i < a.count && a.looked; i++) {
    text_clear(&count);
    text_count(&count, a.hits[i]);
    tool_note(t, "  of %s%s, %s alone %s %s", a.looked >= LOOK ? "the newest " : "", text_str(&words),
              a.filters[i].words, a.hits[i] == 1 ? "finds" : "would find", text_str(&count));
  }
  text_free(&count);
  text_free(&words);
  for (size_t i = 0; i < a.count; i++)
    filter_free(&a.filters[i]);
}

/* Is there anything at all in the times that were asked for? */
static bool times_hold_none(tool *t, const sl_query *q) {
  sl_query query = {.since_us = q->since_us, .until_us = q->until_us, .limit = 1};
  look *l = NULL;
  if (!q->since_us && !q->until_us)
    return false;
  bool none = look_first(t, &query, &l) == NULL;
  look_close(l);
  return none;
}

int conditions_explain(tool *t, const sl_query *q) {
  sl_stats s;
  char oldest[WHEN_MAX], newest[WHEN_MAX];
  if (t->json)
    return EXIT_NOTHING;
  if (!t->store) { /* what is kept, and what was trimmed, is each one's own */
    text words = {0};
    sources_words(&words, t);
    tool_fail(t, EXIT_NOTHING, "no event in %s meets these conditions", text_str(&words));
    text_free(&words);
    say_alone(t, q);
    return EXIT_NOTHING;
  }
  if (sl_stats_get(t->store, &s) != SL_OK)
    return EXIT_NOTHING;
  if (s.kept == 0)
    return tool_fail(t, EXIT_NOTHING, "the store at %s holds no events", t->path);
  int64_t first_us = appended_at(t, 0, s.first_seq);
  when_local(first_us, oldest, false);
  when_local(s.newest_us, newest, false);
  text words = {0};
  text_counted(&words, s.kept, "event", "events");
  text_printf(&words, " kept, appended from %s to %s", oldest, newest);
  bool none = times_hold_none(t, q);
  tool_fail(t, EXIT_NOTHING, "%s (%s)",
            none ? "no event was appended in these times" : "no event meets these conditions", text_str(&words));
  text_clear(&words);
  text_counted(&words, s.trimmed, "event", "events");
  if (s.trimmed)
    tool_note(t, "  %s before seq %" PRIu64 " %s trimmed; nothing before %s is here", text_str(&words),
              s.first_seq,
              s.trimmed == 1 ? "was" : "were", oldest);
  text_free(&words);
  if (!none)
    say_alone(t, q);
  return EXIT_NOTHING;
}
