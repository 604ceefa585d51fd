#include "story_ids.h"

#include "trace_draw.h"

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
  uint64_t delivery_seq, lanes;   /* for places in line */
  char **topics;                  /* distinct */
  size_t topic_count, topic_cap;
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
  if (r->state == SL_PENDING && !r->duplicate_of && tr->lanes == 0 && r->seq > tr->delivery_seq) {
    text_ordinal(&words, r->seq - tr->delivery_seq);
    text_puts(&words, with_offset ? " in line" : "");
  }
  return words.data ? words.data : tool_copy("", 0);
}

static void add_event(void *arg, const sl_record *r) {
  trace *tr = arg;
  if (tr->count == tr->cap) {
    tr->cap = tr->cap ? tr->cap * 2 : 64;
    tr->nodes = tool_grow(tr->nodes, tr->cap * sizeof *tr->nodes);
    tr->rows = tool_grow(tr->rows, tr->cap * sizeof *tr->rows);
  }
  tr->nodes[tr->count] = (trace_node){.seq = r->seq,
                                      .at_us = r->occurred_at_us ? r->occurred_at_us : r->appended_at_us,
                                      .event_id = keep(r->event_id),
                                      .correlation_id = keep(r->correlation_id),
                                      .causation_id = keep(r->causation_id),
                                      .duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0};
  tr->rows[tr->count++] = (trace_row){.type = safe_copy(tr, r->type),
                                      .source = safe_copy(tr, r->source),
                                      .place = place_of(tr, r, true),
                                      .place_short = place_of(tr, r, false),
                                      .state = r->state};
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
  free(tr->nodes);
  free(tr->rows);
}

/* Where is a cause that is not in this trace? */
static char *cause_note(trace *tr, sl_slice cause) {
  sl_query query = {.event_id = cause, .limit = 1};
  sl_iter *iter = NULL;
  const sl_record *r;
  bool unicode = tr->tool->out.term.unicode;
  text words = {0};
  sl_status st = sl_iter_start(tr->tool->store, &query, &iter);
  if (st == SL_OK && sl_iter_next(iter, &r) == SL_OK) {
    text_printf(&words, "caused by seq %" PRIu64 " of ", r->seq);
    text_puts(&words, r->correlation_id.len ? "correlation " : "no correlation");
    text_add_safe(&words, r->correlation_id, unicode);
  } else {
    text_puts(&words, "its cause ");
    text_add_safe(&words, cause, unicode);
    text_puts(&words, " is not in this store");
  }
  sl_iter_close(iter);
  return words.data;
}

static void add_notes(trace *tr) {
  enum { MOST_LOOKUPS = 200 };
  size_t looked = 0;
  for (size_t i = 0; i < tr->count; i++) {
    trace_node *n = &tr->nodes[i];
    if (n->origin == TRACE_CYCLE)
      tr->rows[i].note = tool_copy("its causes form a circle", 24);
    else if (n->origin == TRACE_ELSEWHERE && looked++ < MOST_LOOKUPS)
      tr->rows[i].note = cause_note(tr, n->causation_id);
    else if (n->parent != TRACE_NONE && n->at_us < tr->nodes[n->parent].at_us) {
      text words = {0};
      text_span(&words, tr->nodes[n->parent].at_us - n->at_us);
      text_puts(&words, " before its cause: clocks differ");
      tr->rows[i].note = words.data;
    }
  }
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

static void draw_head(trace *tr, const char *id, const trace_shape *shape) {
  static const sl_state order[] = {SL_SENT, SL_DEAD, SL_DUPLICATE, SL_DROPPED, SL_PENDING};
  output *o = &tr->tool->out;
  text words = {0};
  out_puts(o, "correlation ");
  out_safe(o, STYLE_BOLD, slice_of(id));
  flow f = {.out = o, .used = 12 + (int)strlen(id)};
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
  out_puts(o, "\n\n");
  text_free(&words);
}

static int draw(trace *tr, const char *id) {
  trace_shape shape;
  output *o = &tr->tool->out;
  if (!trace_layout(tr->nodes, tr->count, &shape))
    return tool_fail(tr->tool, EXIT_STORE, "out of memory");
  add_notes(tr);
  draw_head(tr, id, &shape);
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
    out_printf(o, "\n  -> sidelog show %" PRIu64 "\n", tr->nodes[i].seq);
    break;
  }
  trace_shape_free(&shape);
  return EXIT_DONE;
}

int run_trace(tool *t) {
  char id[SL_ID_MAX];
  uint64_t found = 0;
  int code = story_resolve(t, t->args[0], id);
  if (code != EXIT_DONE)
    return code;
  sl_query query = {.correlation_id = slice_of(id)};
  if (t->json) {
    lister l;
    lister_begin(&l, t, option_has(&t->given, OPT_VALUE) ? JSON_VALUE : 0);
    code = tool_each(t, &query, lister_put, &l, &found);
    lister_end(&l);
  } else {
    sl_stats stats;
    trace tr = {.tool = t, .lanes = 1};
    if (sl_stats_get(t->store, &stats) == SL_OK) {
      tr.delivery_seq = stats.delivery_seq;
      tr.lanes = stats.lanes;
    }
    code = tool_each(t, &query, add_event, &tr, &found);
    if (found) {
      int drawn = draw(&tr, id);
      code = drawn == EXIT_DONE ? code : drawn;
    }
    trace_free(&tr);
  }
  if (code == EXIT_DONE && found == 0 && !t->out.error)
    return tool_fail(t, EXIT_NOTHING, "no events with correlation id %s are kept in the store at %s", id,
                     t->path);
  return code;
}
