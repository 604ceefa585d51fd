#include "trace_events.h"

#include "hops.h"

#include <stdlib.h>
#include <string.h>

struct event_row {
  int64_t appended_us, settled_us;
  char *note;                  /* in notes; NULL: none */
  int64_t number;              /* its offset, or of which seq it is a duplicate */
  uint32_t type, source, what; /* places in texts; what: in topics, or of an error in texts */
  int32_t partition;           /* or attempts */
  uint8_t state;
  bool timed, recreated, duplicate;
};

void trace_events_begin(trace_events *e, tool *t) {
  *e = (trace_events){.tool = t, .skew = many(t) ? skew_new(t->source_count) : NULL};
  e->stats = tool_alloc(t->source_count * sizeof *e->stats);
  for (size_t i = 0; i < t->source_count; i++)
    if (source_stats(t, i, &e->stats[i], NULL) != SL_OK)
      e->stats[i] = (sl_stats){.lanes = 1};
}

void trace_events_free(trace_events *e) {
  room_texts_free(&e->notes);
  id_set_free(&e->topics);
  id_set_free(&e->correlations);
  id_set_free(&e->texts);
  skew_free(e->skew);
  copies_free(&e->copies);
  text_free(&e->type);
  text_free(&e->source);
  text_free(&e->place);
  text_free(&e->place_short);
  free(e->stats);
  room_free(&e->node_room);
  room_free(&e->row_room);
}

/* -------------------------------------------------------------------- add --- */

static uint32_t place_in(id_set *set, sl_slice words) {
  size_t at = id_set_find(set, words);
  if (at == set->count)
    id_set_add(set, words);
  return (uint32_t)at;
}

static uint32_t safe_place(trace_events *e, sl_slice words) {
  text_clear(&e->type);
  text_add_safe(&e->type, words, e->tool->out.term.unicode);
  return place_in(&e->texts, (sl_slice){text_str(&e->type), e->type.len});
}

void trace_events_note(void *trace_events_, size_t at, char *words) {
  trace_events *e = trace_events_;
  event_row *row = &e->rows[at];
  words = row->note ? join_notes(tool_copy(row->note, strlen(row->note)), words) : words;
  row->note = room_copy(&e->notes, slice_of(words));
  free(words);
}

bool trace_events_noted(const trace_events *e, size_t at) { return e->rows[at].note != NULL; }
sl_state trace_events_state(const trace_events *e, size_t at) { return (sl_state)e->rows[at].state; }

static void take_copies(trace_events *e, const sl_record *r) {
  text note = {0};
  copies_find(e->tool, e->tool->from, r, &e->copies);
  clocks_learn(e->tool, e->skew, r, &e->copies, e->tallies);
  copies_words(&note, e->tool, &e->copies);
  if (note.data)
    trace_events_note(e, e->count, note.data);
}

void trace_events_add(void *trace_events_, const sl_record *r) {
  trace_events *e = trace_events_;
  bool failed = r->state == SL_DEAD || r->state == SL_DROPPED;
  bool duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0;
  e->nodes = room_need(&e->node_room, (e->count + 1) * sizeof *e->nodes);
  e->rows = room_need(&e->row_room, (e->count + 1) * sizeof *e->rows);
  e->nodes[e->count] = (trace_node){.seq = r->seq,
                                    .at_us = record_time(r),
                                    .id = trace_key(r->event_id),
                                    .cause = trace_key(r->causation_id),
                                    .story = trace_key(r->correlation_id),
                                    .duplicate = duplicate,
                                    .source = (uint16_t)e->tool->from};
  uint32_t topic = place_in(&e->topics, r->topic);
  sl_slice error = r->error_code.len ? r->error_code : r->error_class;
  e->rows[e->count] = (event_row){.type = safe_place(e, r->type),
                                  .source = safe_place(e, r->source),
                                  .what = failed ? safe_place(e, error) : topic,
                                  .partition = failed ? (int32_t)r->attempts : r->partition,
                                  .number = duplicate ? (int64_t)r->duplicate_of : r->offset,
                                  .appended_us = r->appended_at_us,
                                  .settled_us = r->settled_at_us,
                                  .state = (uint8_t)r->state,
                                  .timed = r->occurred_at_us != 0,
                                  .duplicate = duplicate,
                                  .recreated = r->topic_recreated != 0};
  if (e->skew)
    take_copies(e, r);
  e->count++;
  if (r->correlation_id.len)
    place_in(&e->correlations, r->correlation_id);
  e->untimed += r->occurred_at_us == 0;
  if ((unsigned)r->state < SL_STATE_COUNT)
    e->states[r->state]++;
}

void trace_events_settle(trace_events *e) {
  if (!e->skew)
    return;
  clocks_settle(e->tool, e->skew);
  for (size_t i = 0; i < e->count; i++)
    e->nodes[i].at_us -= e->tool->sources[e->nodes[i].source].shift_us;
}

/* ------------------------------------------------------------------- rows --- */

static const char *text_at(const trace_events *e, uint32_t place) { return e->texts.items[place]; }

static void place_of(trace_events *e, size_t at, bool with_offset, text *out) {
  const event_row *row = &e->rows[at];
  const trace_node *n = &e->nodes[at];
  const sl_stats *s = &e->stats[n->source];
  bool failed = row->state == SL_DEAD || row->state == SL_DROPPED;
  const sl_record r = {.state = (sl_state)row->state,
                       .topic = failed ? (sl_slice){NULL, 0} : slice_of(e->topics.items[row->what]),
                       .error_code = failed ? slice_of(text_at(e, row->what)) : (sl_slice){NULL, 0},
                       .attempts = failed ? (uint32_t)row->partition : 0,
                       .partition = failed ? -1 : row->partition,
                       .offset = row->duplicate ? -1 : row->number,
                       .duplicate_of = row->duplicate ? (uint64_t)row->number : 0,
                       .topic_recreated = row->recreated};
  text_clear(out);
  record_place(out, &r, with_offset, e->tool->out.term.unicode);
  /* Seqs are dense and delivered in order, so the distance to the cursor is the place in line. */
  if (row->state == SL_PENDING && !row->duplicate && s->lanes == 0 && s->last_seq && n->seq > s->delivery_seq) {
    text_ordinal(out, n->seq - s->delivery_seq);
    text_puts(out, with_offset ? " in line" : "");
  }
}

static int64_t shift_of(const trace_events *e, size_t at) {
  return e->tool->sources[e->nodes[at].source].shift_us;
}

static char *chars(text *t) {
  text_puts(t, "");
  return t->data;
}

static void get(void *trace_events_, size_t at, trace_row *out) {
  trace_events *e = trace_events_;
  const event_row *row = &e->rows[at];
  const trace_node *n = &e->nodes[at];
  int64_t shift = shift_of(e, at);
  place_of(e, at, true, &e->place);
  place_of(e, at, false, &e->place_short);
  *out = (trace_row){.type = e->texts.items[row->type],
                     .source = e->texts.items[row->source],
                     .place = chars(&e->place),
                     .place_short = chars(&e->place_short),
                     .note = row->note,
                     .state = (sl_state)row->state,
                     .occurred_us = row->timed ? n->at_us : 0,
                     .appended_us = row->appended_us - shift,
                     .settled_us = row->settled_us ? row->settled_us - shift : 0,
                     .store = e->skew ? e->tool->sources[n->source].name : NULL,
                     .moved = shift != 0,
                     .gap_moved = n->earlier != TRACE_NONE && shift_of(e, n->earlier) != 0};
}

trace_rows trace_events_rows(trace_events *e) { return (trace_rows){get, e}; }
