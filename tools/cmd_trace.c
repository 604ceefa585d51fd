/* trace: finds the story; trace_*.c reads, lays out and draws it. */
#include "trace_events.h"
#include "trace_walk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace {
  tool *tool;
  trace_events events;
  bool walked;     /* events of any correlation, by their causes */
} trace;

/* Where a walk comes into another story, unless something else is said there. */
static void note_stories(trace *tr) {
  trace_events *e = &tr->events;
  for (size_t i = 0; i < e->count && e->correlations.count > 1; i++) {
    const trace_node *n = &e->nodes[i];
    char id[SL_ID_MAX];
    text words = {0};
    if (trace_events_noted(e, i) || !n->story ||
        (n->parent != TRACE_NONE && n->story == e->nodes[n->parent].story))
      continue;
    event_ids(tr->tool, n->source, n->seq, NULL, id, NULL);
    text_puts(&words, "of correlation ");
    text_add_safe(&words, slice_of(id), tr->tool->out.term.unicode);
    trace_events_note(e, i, words.data);
  }
}

/* Those of another story are named, once each. */
static void name_others(trace *tr, const char *cause, id_set *named) {
  sl_query query = {.causation_id = slice_of(cause), .limit = 100};
  const id_set *own = &tr->events.correlations;
  output *o = &tr->tool->out;
  look *l = NULL;
  const sl_record *r;
  sl_status st = look_start(tr->tool, &query, &l);
  while (st == SL_OK && (st = look_next(l, &r)) == SL_OK) {
    if (!r->correlation_id.len || id_set_find(own, r->correlation_id) < own->count ||
        !id_set_add(named, r->correlation_id))
      continue;
    text words = {0};
    place_words(&words, tr->tool, look_source(l), r->seq);
    int whole =
        text_width("  led to  of correlation ") + text_width(text_str(&words)) + (int)r->correlation_id.len;
    out_printf(o, "%s  led to %s of %s", named->count == 1 ? "\n" : "", text_str(&words),
               o->term.width && whole > o->term.width ? "" : "correlation ");
    out_safe(o, STYLE_BOLD, r->correlation_id);
    out_puts(o, "\n");
    text_free(&words);
  }
  look_close(l);
}

/* Other stories that this one led to, as far as a short look finds them. */
static void name_effects(trace *tr) {
  enum { MOST_US = 20000, MOST_NAMED = 10 };
  int64_t end = clock_monotonic_us() + MOST_US;
  const trace_events *e = &tr->events;
  id_set named = {0};
  char id[SL_ID_MAX];
  for (size_t i = 0; i < e->count && named.count < MOST_NAMED && clock_monotonic_us() < end; i++)
    if (!e->nodes[i].duplicate && event_ids(tr->tool, e->nodes[i].source, e->nodes[i].seq, id, NULL, NULL))
      name_others(tr, id, &named);
  id_set_free(&named);
}

/* Pieces of a line, on as many lines as the width asks for. */
typedef struct flow {
  output *out;
  int used;
  bool first;
} flow;

static void flow_put(flow *f, style s, const char *words) {
  int width = text_width(words), limit = f->out->term.width;
  if (!f->first && limit && f->used + 4 + width > limit) {
    out_puts(f->out, "\n");
    f->used = 0;
    f->first = true;
  }
  if (!f->first)
    out_blanks(f->out, 4);
  out_styled(f->out, s, words);
  f->used += width + (f->first ? 0 : 4);
  f->first = false;
}

static void draw_head(trace *tr, const char *title, const char *id, const trace_shape *shape) {
  static const sl_state order[] = {SL_SENT, SL_DEAD, SL_DUPLICATE, SL_DROPPED, SL_PENDING};
  output *o = &tr->tool->out;
  trace_events *e = &tr->events;
  text words = {0};
  out_puts(o, title);
  out_safe(o, STYLE_BOLD, slice_of(id));
  flow f = {.out = o, .used = (int)(strlen(title) + strlen(id))};
  text_counted(&words, e->count, "event", "events");
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  text_span(&words, shape->end_us - shape->begin_us);
  if (e->count > 1)
    flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  text_counted(&words, e->topics.count, "topic", "topics");
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    if (e->states[order[i]] == 0)
      continue;
    text_puts(&words, words.len ? ", " : "");
    text_count(&words, e->states[order[i]]);
    text_printf(&words, " %s", sl_state_text(order[i]));
  }
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  out_puts(o, "\n");
  text_free(&words);
  if (many(tr->tool))
    clocks_draw(tr->tool, e->skew, e->tallies);
  out_puts(o, "\n");
}

/* How to see the first dead one whole, and what can be done; of several stores seqs are each one's own. */
static void draw_show(trace *tr) {
  const trace_events *e = &tr->events;
  output *o = &tr->tool->out;
  char id[SL_ID_MAX];
  size_t i = 0;
  while (i < e->count && trace_events_state(e, i) != SL_DEAD)
    i++;
  if (i == e->count)
    return;
  out_puts(o, many(tr->tool) || !tr->tool->store ? "\n  -> sidelog show " : "\n  -> sidelog dlq show ");
  if (many(tr->tool) && event_ids(tr->tool, e->nodes[i].source, e->nodes[i].seq, id, NULL, NULL))
    out_safe(o, STYLE_PLAIN, slice_of(id));
  else
    out_printf(o, "%" PRIu64, e->nodes[i].seq);
  out_puts(o, "\n");
}

static int draw(trace *tr, const char *title, const char *id) {
  trace_shape shape;
  output *o = &tr->tool->out;
  trace_events *e = &tr->events;
  trace_rows rows = trace_events_rows(e);
  trace_events_settle(e);
  if (!trace_layout(e->nodes, e->count, &shape))
    return tool_fail(tr->tool, EXIT_STORE, "out of memory");
  trace_notes(tr->tool, e->nodes, e->count, trace_events_note, e);
  if (tr->walked)
    note_stories(tr);
  draw_head(tr, title, id, &shape);
  if (option_has(&tr->tool->given, OPT_TIMES))
    trace_times(o, e->nodes, &rows, e->count, &shape);
  else
    trace_draw(o, e->nodes, &rows, e->count, &shape);
  if (e->untimed && e->untimed < e->count) {
    text words = {0};
    text_counted(&words, e->untimed, "event carries no time of its own and stands",
                 "events carry no time of their own "
                 "and stand");
    out_puts(o, "\n  ");
    out_styled(o, STYLE_DIM, text_str(&words));
    out_styled(o, STYLE_DIM, " where appended");
    out_puts(o, "\n");
    text_free(&words);
  }
  if (e->states[SL_DEAD])
    draw_show(tr);
  if (!tr->walked)
    name_effects(tr);
  trace_shape_free(&shape);
  return EXIT_DONE;
}

/* Events as they come, by whatever brings them. */
typedef int bring_fn(tool *t, void *arg, void (*each)(void *arg, const sl_record *r), void *each_arg,
                     uint64_t *found);

static int bring_story(tool *t, void *id, void (*each)(void *arg, const sl_record *r), void *each_arg,
                       uint64_t *found) {
  sl_query query = {.correlation_id = slice_of(id)};
  return tool_each(t, &query, each, each_arg, found);
}

static int bring_seqs(tool *t, void *seqs_, void (*each)(void *arg, const sl_record *r), void *each_arg,
                      uint64_t *found) {
  const seq_list *seqs = seqs_;
  int code = EXIT_DONE;
  *found = 0;
  for (size_t i = 0; i < seqs->count && !t->out.error; i++) {
    uint64_t one = 0;
    int read = tool_one(t, seqs->items[i].source, seqs->items[i].seq, each, each_arg, &one);
    code = read == EXIT_DONE ? code : read;
    *found += one;
  }
  return code;
}

/* Events as they are; what is known of the clocks comes last. */
typedef struct lines {
  lister lister;
  skew *skew;
} lines;

static void put_line_of(void *lines_, const sl_record *r) {
  lines *l = lines_;
  tool *t = l->lister.tool;
  lister_put(&l->lister, r);
  if (!l->skew)
    return;
  copies_find(t, t->from, r, &l->lister.copies);
  clocks_learn(t, l->skew, r, &l->lister.copies, NULL);
}

static int show_lines(tool *t, bring_fn *bring, void *arg, uint64_t *found) {
  lines l = {.skew = many(t) ? skew_new(t->source_count) : NULL};
  lister_begin(&l.lister, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
  int code = bring(t, arg, put_line_of, &l, found);
  if (l.skew && *found) {
    clocks_solve(t, l.skew);
    clocks_json(t, l.lister.json, l.skew);
  }
  skew_free(l.skew);
  lister_end(&l.lister);
  return code;
}

static int show(tool *t, const char *title, const char *id, bring_fn *bring, void *arg) {
  uint64_t found = 0;
  int code;
  if (t->json) {
    code = show_lines(t, bring, arg, &found);
  } else {
    trace tr = {.tool = t, .walked = bring == bring_seqs};
    trace_events_begin(&tr.events, t);
    code = bring(t, arg, trace_events_add, &tr.events, &found);
    if (found) {
      int drawn = draw(&tr, title, id);
      code = drawn == EXIT_DONE ? code : drawn;
    }
    trace_events_free(&tr.events);
  }
  if (code == EXIT_DONE && found == 0 && !t->out.error) {
    text words = {0};
    sources_words(&words, t);
    code = tool_fail(t, EXIT_NOTHING, "no events with correlation id %s are kept in %s", id, text_str(&words));
    text_free(&words);
  }
  return code;
}

static int show_walk(tool *t, const char *title, const char *words, int code, seq_list *seqs) {
  text safe = {0};
  if (code == EXIT_DONE && seqs->cut)
    tool_note(t, "more than %d events: the rest is left out", WALK_MOST);
  text_add_safe(&safe, slice_of(words), t->out.term.unicode);
  if (code == EXIT_DONE)
    code = show(t, title, text_str(&safe), bring_seqs, seqs);
  text_free(&safe);
  seq_list_free(seqs);
  return code;
}

int run_trace(tool *t) {
  char id[SL_ID_MAX];
  seq_list seqs = {0};
  const char *cause = option_text(&t->given, OPT_CAUSE), *effects = option_text(&t->given, OPT_EFFECTS),
             *path = option_text(&t->given, OPT_PATH);
  size_t wanted = cause || effects ? 0 : 1;
  if ((cause != NULL) + (effects != NULL) + (path != NULL) > 1)
    return tool_fail(t, EXIT_USAGE, "--cause, --effects and --path: give one of them");
  if (t->arg_count != wanted)
    return tool_fail(t, EXIT_USAGE, "trace needs %s; see `sidelog help trace`",
                     path     ? "a second event: --path A B"
                     : wanted ? "CORRELATION"
                              : "nothing more beside --cause or --effects");
  if (cause)
    return show_walk(t, "causes of ", cause, walk_causes(t, cause, &seqs), &seqs);
  if (effects)
    return show_walk(t, "effects of ", effects, walk_effects(t, effects, &seqs), &seqs);
  if (path)
    return show_walk(t, "path to ", t->args[0], walk_path(t, path, t->args[0], &seqs), &seqs);
  int code = story_resolve(t, t->args[0], id);
  return code == EXIT_DONE ? show(t, "correlation ", id, bring_story, id) : code;
}
