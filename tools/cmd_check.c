/* check: what is out of the ordinary in one story, or in all since a time. The rules are in check.c. */
#include "check.h"
#include "story_ids.h"
#include "trace_walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEARN = 500000, MOST_STORIES = 100000 };

/* ---------------------------------------------------------------- output --- */

typedef struct printer {
  check *check;
  const char *title; /* the correlation; "" : events without one */
  bool begun;
} printer;

static void to_json(check *c, const story *s, size_t at, const char *kind, const char *words) {
  json *j = c->json;
  json_open(j);
  json_text_or_null(j, "correlation_id", s->events[at].correlation_id);
  json_words(j, "finding", kind);
  if (s->skew)
    json_words(j, "store", c->tool->sources[s->nodes[at].source].name);
  json_u64(j, "seq", s->nodes[at].seq);
  json_text(j, "event_id", s->events[at].event_id);
  json_words(j, "event_type", s->events[at].type);
  json_words(j, "text", words);
  json_close(j);
}

static void print(void *printer_, const story *s, size_t at, const char *kind, const char *words) {
  printer *p = printer_;
  output *o = &p->check->tool->out;
  text safe = {0}, type = {0};
  if (p->check->json) {
    to_json(p->check, s, at, kind, words);
    return;
  }
  if (!p->begun) {
    out_puts(o, *p->title ? "correlation " : "events without a correlation");
    out_safe(o, STYLE_BOLD, slice_of(p->title));
    out_puts(o, "\n");
  }
  p->begun = true;
  text_puts(&type, "  ");
  place_words(&type, p->check->tool, s->nodes[at].source, s->nodes[at].seq);
  text_puts(&type, "  ");
  text_add_safe(&type, slice_of(s->events[at].type), o->term.unicode);
  out_puts(o, "  ");
  out_cell(o, strcmp(kind, "duplicate") == 0 ? STYLE_YELLOW : STYLE_RED, kind, 12, false);
  text_cut(&type, o->term.width ? o->term.width - 14 : INT32_MAX, false, o->term.unicode);
  out_puts(o, text_str(&type));
  out_puts(o, "\n");
  text_add_safe(&safe, slice_of(words), o->term.unicode);
  out_wrapped(o, text_str(&safe), 16, false);
  text_free(&safe);
  text_free(&type);
}

/* ----------------------------------------------------------------- input --- */

typedef struct survey {
  check *check;
  sl_slice skip;
  int64_t since_us; /* 0: of one correlation */
  id_set ids;       /* the stories to check */
  seq_list alone;   /* events without one */
} survey;

static void learn(void *survey_, const sl_record *r) {
  survey *s = survey_;
  hops_learn(s->check->usual[s->check->tool->from], r, s->skip);
}

static void gather(void *survey_, const sl_record *r) {
  survey *s = survey_;
  if (!r->correlation_id.len)
    seq_list_add(&s->alone, (struct spot){r->seq, s->check->tool->from, r->appended_at_us});
  else if (s->ids.count < MOST_STORIES)
    id_set_add(&s->ids, r->correlation_id);
}

static void look_at(void *survey_, const sl_record *r) {
  survey *s = survey_;
  learn(s, r);
  if (s->since_us && r->appended_at_us >= s->since_us)
    gather(s, r);
}

/* What is usual is learned from the newest events, and from all since the time that is asked for. */
static int survey_store(survey *s) {
  tool *t = s->check->tool;
  uint64_t last = s->check->known[0].stats.last_seq, from = last > LEARN ? last - LEARN + 1 : 1;
  sl_query since = {.since_us = s->since_us}, early = {.since_us = s->since_us, .last_seq = from - 1};
  int code = EXIT_DONE;
  if (!t->store) { /* their seqs are no common measure */
    int learned = tool_visit_recent(t, LEARN, 0, learn, s);
    code = s->since_us ? tool_visit(t, &since, 0, gather, s) : EXIT_DONE;
    return code == EXIT_DONE ? learned : code;
  }
  if (s->since_us && from > 1)
    code = tool_visit(t, &early, 0, look_at, s);
  int more = tool_visit_recent(t, LEARN, 0, look_at, s);
  return code == EXIT_DONE ? more : code;
}

/* A correlation, or (`alone`) one event without. */
static int check_one(check *c, const char *id, const struct spot *alone) {
  tool *t = c->tool;
  sl_query query = {.correlation_id = slice_of(id)};
  story s = {.skew = many(t) ? skew_new(t->source_count) : NULL};
  story_reader reader = {c, &s};
  printer p = {.check = c, .title = id};
  skew *own = s.skew;
  uint64_t unread = t->unread;
  for (size_t i = 0; i < t->source_count; i++)
    t->sources[i].shift_us = 0;
  int code = alone ? tool_one(t, alone->source, alone->seq, story_add, &reader, NULL)
                   : tool_each(t, &query, story_add, &reader, NULL);
  s.damaged = t->unread > unread;
  if (!check_story(c, &s, print, &p))
    code = tool_fail(c->tool, EXIT_STORE, "out of memory");
  story_free(&s);
  skew_free(own);
  return code;
}

static int check_all(survey *s) {
  check *c = s->check;
  int code = EXIT_DONE;
  for (size_t i = 0; i < s->ids.count && !c->tool->out.error; i++) {
    int one = check_one(c, s->ids.items[i], NULL);
    code = one == EXIT_DONE ? code : one;
  }
  for (size_t i = 0; i < s->alone.count && !c->tool->out.error; i++) {
    int one = check_one(c, "", &s->alone.items[i]);
    c->stories--;
    code = one == EXIT_DONE ? code : one;
  }
  if (s->ids.count == MOST_STORIES)
    tool_note(c->tool, "only the first %d correlations since then are checked: ask for less", MOST_STORIES);
  return code;
}

static void sum_up(check *c) {
  enum { MOST_SEEN = 3 }; /* findings that nobody has to count */
  text words = {0};
  if (c->json) {
    json_open(c->json);
    json_u64(c->json, "correlations", c->stories);
    json_u64(c->json, "events", c->events);
    json_u64(c->json, "findings", c->findings);
    json_key(c->json, "by_finding");
    json_open(c->json);
    for (size_t i = 0; i < CHECK_KINDS && c->kinds[i].kind; i++)
      json_u64(c->json, c->kinds[i].kind, c->kinds[i].count);
    json_close(c->json);
    json_close(c->json);
    return;
  }
  out_puts(&c->tool->out, c->findings ? "\n" : "");
  if (c->findings)
    text_counted(&words, c->findings, "finding", "findings");
  out_styled(&c->tool->out, c->findings ? STYLE_RED : STYLE_GREEN,
             c->findings ? text_str(&words) : "nothing is wrong");
  text_clear(&words);
  text_puts(&words, c->findings ? " in " : " with ");
  text_counted(&words, c->events, "event", "events");
  text_puts(&words, " of ");
  text_counted(&words, c->stories, "correlation", "correlations");
  out_printf(&c->tool->out, "%s\n", text_str(&words));
  text_clear(&words);
  for (size_t i = 0; i < CHECK_KINDS && c->kinds[i].kind && c->findings > MOST_SEEN; i++) {
    text_puts(&words, i ? ", " : "");
    text_count(&words, c->kinds[i].count);
    text_printf(&words, " %s", c->kinds[i].kind);
  }
  if (words.len)
    out_wrapped(&c->tool->out, text_str(&words), 0, false);
  text_free(&words);
}

int run_check(tool *t) {
  char id[SL_ID_MAX] = "";
  check c = {.tool = t};
  survey s = {.check = &c};
  int code = EXIT_DONE;
  if ((t->arg_count == 1) == option_has(&t->given, OPT_SINCE))
    return tool_fail(t, EXIT_USAGE, "check needs a correlation id, or --since TIME; see `sidelog help check`");
  if (!tool_time(t, OPT_SINCE, &s.since_us))
    return EXIT_USAGE;
  if (t->arg_count)
    code = story_resolve(t, t->args[0], id);
  if (code != EXIT_DONE)
    return code;
  struct known known[SOURCES_MOST];
  sl_status st = sl_envelope_reader_new(&c.reader);
  for (size_t i = 0; i < t->source_count && st == SL_OK; i++)
    st = source_stats(t, i, &known[i].stats, &known[i].oldest_us);
  if (st != SL_OK) {
    sl_envelope_reader_free(c.reader);
    return tool_fail_status(t, st, "cannot read the store");
  }
  c.known = known;
  for (size_t i = 0; i < t->source_count; i++)
    c.usual[i] = hops_new();
  c.json = t->json ? json_new(&t->out) : NULL;
  s.skip = slice_of(id);
  c.learned_all = t->arg_count == 0;
  code = survey_store(&s);
  int checked = code;
  if (code == EXIT_DONE || code == EXIT_WRONG)
    checked = t->arg_count ? check_one(&c, id, NULL) : check_all(&s);
  code = checked == EXIT_DONE ? code : checked;
  if (code == EXIT_DONE || code == EXIT_WRONG) {
    if (c.events)
      sum_up(&c);
    if (c.findings)
      code = EXIT_WRONG;
    else if (c.events == 0 && code == EXIT_DONE)
      code = tool_fail(t, EXIT_NOTHING, "no event was appended since then");
  }
  json_free(c.json);
  for (size_t i = 0; i < t->source_count; i++)
    hops_free(c.usual[i]);
  sl_envelope_reader_free(c.reader);
  id_set_free(&s.ids);
  seq_list_free(&s.alone);
  return code;
}
