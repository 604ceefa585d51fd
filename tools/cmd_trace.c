#include "clocks.h"
#include "hops.h"
#include "story_ids.h"
#include "trace_notes.h"
#include "trace_walk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace {
  tool *tool;
  trace_node *nodes;
  trace_row *rows;
  size_t count, cap;
  size_t untimed;                 /* without a time of their own */
  uint64_t states[SL_STATE_COUNT];
  sl_stats *stats;                /* of each source, for places in line */
  skew *skew;                     /* of several */
  copies copies;
  tally tallies[SOURCES_MOST];
  char **topics;                  /* distinct */
  size_t topic_count, topic_cap;
  bool walked;                    /* events of any correlation, by their causes */
  id_set correlations;            /* of the events drawn */
} trace;

static sl_slice keep(sl_slice s) {
  return s.len ? (sl_slice){tool_copy(s.data, s.len), s.len} : (sl_slice){NULL, 0};
}

static char *safe_copy(trace *tr, sl_slice s) {
  text words = {0};
  text_add_safe(&words, s, tr->tool->out.term.unicode);
  return words.data ? words.data : tool_copy("", 0);
}

static void note_topic(trace *tr, sl_slice topic) {
  for (size_t i = 0; i < tr->topic_count; i++)
    if (slice_eq(slice_of(tr->topics[i]), topic))
      return;
  if (tr->topic_count == tr->topic_cap) {
    tr->topic_cap = tr->topic_cap ? tr->topic_cap * 2 : 16;
    tr->topics = tool_grow(tr->topics, tr->topic_cap * sizeof *tr->topics);
  }
  tr->topics[tr->topic_count++] = tool_copy(topic.data, topic.len);
}

static char *place_of(trace *tr, const sl_record *r, bool with_offset) {
  text words = {0};
  record_place(&words, r, with_offset, tr->tool->out.term.unicode);
  /* Seqs are dense and delivered in order, so the distance to the cursor is the place in line. */
  const sl_stats *s = &tr->stats[tr->tool->from];
  if (r->state == SL_PENDING && !r->duplicate_of && s->lanes == 0 && s->last_seq && r->seq > s->delivery_seq) {
    text_ordinal(&words, r->seq - s->delivery_seq);
    text_puts(&words, with_offset ? " in line" : "");
  }
  return words.data ? words.data : tool_copy("", 0);
}

static void add_event(void *arg, const sl_record *r) {
  trace *tr = arg;
  size_t from = tr->tool->from;
  bool several = many(tr->tool);
  text note = {0};
  if (several) {
    copies_find(tr->tool, from, r, &tr->copies);
    copies_words(&note, tr->tool, &tr->copies);
    clocks_learn(tr->tool, tr->skew, r, &tr->copies, tr->tallies);
  }
  if (tr->count == tr->cap) {
    tr->cap = tr->cap ? tr->cap * 2 : 64;
    tr->nodes = tool_grow(tr->nodes, tr->cap * sizeof *tr->nodes);
    tr->rows = tool_grow(tr->rows, tr->cap * sizeof *tr->rows);
  }
  tr->nodes[tr->count] = (trace_node){.seq = r->seq,
                                      .at_us = record_time(r),
                                      .event_id = keep(r->event_id),
                                      .correlation_id = keep(r->correlation_id),
                                      .causation_id = keep(r->causation_id),
                                      .duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0,
                                      .source = (uint32_t)from};
  tr->rows[tr->count++] = (trace_row){.type = safe_copy(tr, r->type),
                                      .store = several ? tr->tool->sources[from].name : NULL,
                                      .note = note.data,
                                      .source = safe_copy(tr, r->source),
                                      .place = place_of(tr, r, true),
                                      .place_short = place_of(tr, r, false),
                                      .state = r->state,
                                      .occurred_us = r->occurred_at_us,
                                      .appended_us = r->appended_at_us,
                                      .settled_us = r->settled_at_us};
  if (r->correlation_id.len)
    id_set_add(&tr->correlations, r->correlation_id);
  tr->untimed += r->occurred_at_us == 0;
  if ((unsigned)r->state < SL_STATE_COUNT)
    tr->states[r->state]++;
  note_topic(tr, r->topic);
}

static void free_slice(sl_slice s) { free((void *)(uintptr_t)s.data); }

static void trace_free(trace *tr) {
  for (size_t i = 0; i < tr->count; i++) {
    free_slice(tr->nodes[i].event_id);
    free_slice(tr->nodes[i].correlation_id);
    free_slice(tr->nodes[i].causation_id);
    free(tr->rows[i].type);
    free(tr->rows[i].source);
    free(tr->rows[i].place);
    free(tr->rows[i].place_short);
    free(tr->rows[i].note);
  }
  for (size_t i = 0; i < tr->topic_count; i++)
    free(tr->topics[i]);
  free(tr->topics);
  id_set_free(&tr->correlations);
  skew_free(tr->skew);
  copies_free(&tr->copies);
  free(tr->stats);
  free(tr->nodes);
  free(tr->rows);
}

static void add_notes(trace *tr) {
  trace_notes(tr->tool, tr->nodes, tr->rows, tr->count);
  for (size_t i = 0; i < tr->count && tr->walked; i++) {
    const trace_node *n = &tr->nodes[i];
    if (!tr->rows[i].note && tr->correlations.count > 1 && n->correlation_id.len &&
        (n->parent == TRACE_NONE || !slice_eq(n->correlation_id, tr->nodes[n->parent].correlation_id))) {
      text words = {0};
      text_puts(&words, "of correlation ");
      text_add_safe(&words, n->correlation_id, tr->tool->out.term.unicode);
      tr->rows[i].note = words.data;
    }
  }
}

/* Other stories that this one led to, as far as a short look finds them. */
static void name_effects(trace *tr) {
  enum { MOST_US = 20000, MOST_NAMED = 10 };
  int64_t end = clock_monotonic_us() + MOST_US;
  output *o = &tr->tool->out;
  id_set named = {0};
  for (size_t i = 0; i < tr->count && named.count < MOST_NAMED && clock_monotonic_us() < end; i++) {
    sl_query query = {.causation_id = tr->nodes[i].event_id, .limit = 100};
    look *l = NULL;
    const sl_record *r;
    if (tr->nodes[i].duplicate || look_start(tr->tool, &query, &l) != SL_OK)
      continue;
    while (look_next(l, &r) == SL_OK)
      if (r->correlation_id.len && id_set_find(&tr->correlations, r->correlation_id) == tr->correlations.count &&
          id_set_add(&named, r->correlation_id)) {
        text words = {0};
        place_words(&words, tr->tool, look_source(l), r->seq);
        out_printf(o, "%s  led to %s of correlation ", named.count == 1 ? "\n" : "", text_str(&words));
        out_safe(o, STYLE_BOLD, r->correlation_id);
        out_puts(o, "\n");
        text_free(&words);
      }
    look_close(l);
  }
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

/* All times as the clock of the first source would have had them, as far as that is known. */
static void move_times(trace *tr) {
  tool *t = tr->tool;
  clocks_settle(t, tr->skew);
  for (size_t i = 0; i < tr->count; i++)
    trace_move(&tr->nodes[i], &tr->rows[i], t->sources[tr->nodes[i].source].shift_us);
}

static void draw_head(trace *tr, const char *title, const char *id, const trace_shape *shape) {
  static const sl_state order[] = {SL_SENT, SL_DEAD, SL_DUPLICATE, SL_DROPPED, SL_PENDING};
  output *o = &tr->tool->out;
  text words = {0};
  out_puts(o, title);
  out_safe(o, STYLE_BOLD, slice_of(id));
  flow f = {.out = o, .used = (int)(strlen(title) + strlen(id))};
  text_counted(&words, tr->count, "event", "events");
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  text_span(&words, shape->end_us - shape->begin_us);
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  text_counted(&words, tr->topic_count, "topic", "topics");
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  text_clear(&words);
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    if (tr->states[order[i]] == 0)
      continue;
    text_puts(&words, words.len ? ", " : "");
    text_count(&words, tr->states[order[i]]);
    text_printf(&words, " %s", sl_state_text(order[i]));
  }
  flow_put(&f, STYLE_PLAIN, text_str(&words));
  out_puts(o, "\n");
  text_free(&words);
  if (many(tr->tool))
    clocks_draw(tr->tool, tr->skew, tr->tallies);
  out_puts(o, "\n");
}

/* Seqs are each store's own. */
static void draw_show(trace *tr, size_t i) {
  output *o = &tr->tool->out;
  const trace_node *n = &tr->nodes[i];
  if (!many(tr->tool)) {
    out_printf(o, "\n  -> sidelog show %" PRIu64 "\n", n->seq);
    return;
  }
  out_puts(o, "\n  -> sidelog show ");
  out_safe(o, STYLE_PLAIN, n->event_id);
  out_puts(o, "\n");
}

static int draw(trace *tr, const char *title, const char *id) {
  trace_shape shape;
  output *o = &tr->tool->out;
  if (many(tr->tool))
    move_times(tr);
  if (!trace_layout(tr->nodes, tr->count, &shape))
    return tool_fail(tr->tool, EXIT_STORE, "out of memory");
  add_notes(tr);
  draw_head(tr, title, id, &shape);
  if (option_has(&tr->tool->given, OPT_TIMES))
    trace_times(o, tr->nodes, tr->rows, tr->count, &shape);
  else
    trace_draw(o, tr->nodes, tr->rows, tr->count, &shape);
  if (tr->untimed && tr->untimed < tr->count) {
    text words = {0};
    text_counted(&words, tr->untimed, "event carries no time of its own and stands",
                 "events carry no time of their own "
                 "and stand");
    out_puts(o, "\n  ");
    out_styled(o, STYLE_DIM, text_str(&words));
    out_styled(o, STYLE_DIM, " where appended");
    out_puts(o, "\n");
    text_free(&words);
  }
  for (size_t i = 0; i < tr->count && tr->states[SL_DEAD]; i++) {
    if (tr->rows[i].state != SL_DEAD)
      continue;
    draw_show(tr, i);
    break;
  }
  if (!tr->walked)
    name_effects(tr);
  trace_shape_free(&shape);
  return EXIT_DONE;
}

/* Events as they come, by whatever brings them. */
typedef int bring_fn(tool *t, void *arg, void (*each)(void *arg, const sl_record *r), void *each_arg, uint64_t *found);

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
    skew_solve(l.skew);
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
    tr.stats = tool_alloc(t->source_count * sizeof *tr.stats);
    tr.skew = many(t) ? skew_new(t->source_count) : NULL;
    for (size_t i = 0; i < t->source_count; i++)
      if (source_stats(t, i, &tr.stats[i], NULL) != SL_OK)
        tr.stats[i] = (sl_stats){.lanes = 1};
    code = bring(t, arg, add_event, &tr, &found);
    if (found) {
      int drawn = draw(&tr, title, id);
      code = drawn == EXIT_DONE ? code : drawn;
    }
    trace_free(&tr);
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
