/* Two stories side by side. Events are the same when they have the same type and topic and are the same of their
 * kind in order of time: the second STEP_COMPLETED of one is the second of the other. */
#include "clocks.h"
#include "hops.h"
#include "story_ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What kinds of events there are, of both sides; in rooms, as is all that grows with a story. */
typedef struct kinds {
  id_set names;           /* type and topic */
  struct kind {
    sl_slice type, topic; /* in names */
    size_t seen;          /* of the side that is numbered */
    size_t first;         /* where its events stand in the other side's order by kind */
    size_t there;         /* how many there are */
  } *items;
  room room;
} kinds;

typedef struct item {
  uint64_t seq;
  int64_t at_us;
  size_t kind, number; /* the number is of its kind, in order of time, from 0 */
  sl_state state;
  size_t source;
} item;

typedef struct side {
  kinds *kinds;
  item *items;
  size_t count;
  room room;
  char id[SL_ID_MAX];
  tool *tool;
  skew *skew;     /* of several sources */
  copies copies;
} side;

static size_t kind_of(kinds *k, const sl_record *r) {
  text name = {0};
  text_add(&name, r->type.data, r->type.len);
  text_puts(&name, "\n");
  text_add(&name, r->topic.data, r->topic.len);
  const sl_slice words = {text_str(&name), name.len};
  size_t at = id_set_find(&k->names, words);
  if (id_set_add(&k->names, words)) {
    k->items = room_need(&k->room, k->names.count * sizeof *k->items);
    const char *type = k->names.items[at];
    k->items[at] = (struct kind){.type = {type, r->type.len}, .topic = {type + r->type.len + 1, r->topic.len}};
  }
  text_free(&name);
  return at;
}

/* An event of one side, or of both. */
typedef struct row {
  const item *a, *b;
  int64_t a_us, b_us;      /* since the first event of its side */
  int64_t step_us;         /* how much longer the way from the last common event took in the second */
  bool stepped;
} row;

static void add(void *side_, const sl_record *r) {
  side *s = side_;
  if (s->skew) {
    copies_find(s->tool, s->tool->from, r, &s->copies);
    clocks_learn(s->tool, s->skew, r, &s->copies, NULL);
  }
  if (r->state == SL_DUPLICATE || r->duplicate_of)
    return;
  s->items = room_need(&s->room, (s->count + 1) * sizeof *s->items);
  s->items[s->count++] = (item){.kind = kind_of(s->kinds, r),
                                .seq = r->seq,
                                .at_us = record_time(r),
                                .state = r->state,
                                .source = s->tool->from};
}

static int by_time(const void *a_, const void *b_, void *arg) {
  const item *a = a_, *b = b_;
  (void)arg;
  if (a->at_us != b->at_us)
    return a->at_us < b->at_us ? -1 : 1;
  if (a->source != b->source)
    return a->source < b->source ? -1 : 1;
  return (a->seq > b->seq) - (a->seq < b->seq);
}

static int out_of_memory(tool *t) { return tool_fail(t, EXIT_STORE, "out of memory"); }

static int read_side(tool *t, const char *typed, kinds *k, side *s) {
  int code = story_resolve(t, typed, s->id);
  sl_query query = {.correlation_id = slice_of(s->id)};
  s->tool = t;
  s->kinds = k;
  s->skew = many(t) ? skew_new(t->source_count) : NULL;
  if (code == EXIT_DONE)
    code = tool_each(t, &query, add, s, NULL);
  if (s->skew)
    clocks_settle(t, s->skew);
  for (size_t i = 0; i < s->count; i++)
    s->items[i].at_us -= t->sources[s->items[i].source].shift_us;
  if (!room_sort(s->items, s->count, sizeof *s->items, by_time, NULL))
    return out_of_memory(t);
  for (size_t i = 0; i < k->names.count; i++)
    k->items[i].seen = 0;
  for (size_t i = 0; i < s->count; i++)
    s->items[i].number = k->items[s->items[i].kind].seen++;
  return code;
}

static void free_side(side *s) {
  room_free(&s->room);
  skew_free(s->skew);
  copies_free(&s->copies);
}

static int by_offset(const void *a_, const void *b_, void *arg) {
  const row *a = a_, *b = b_;
  int64_t x = a->a ? a->a_us : a->b_us, y = b->a ? b->a_us : b->b_us;
  (void)arg;
  if (x != y)
    return x < y ? -1 : 1;
  const item *p = a->a ? a->a : a->b, *q = b->a ? b->a : b->b;
  if (p->source != q->source)
    return p->source < q->source ? -1 : 1;
  return (p->seq > q->seq) - (p->seq < q->seq);
}

/* The places of a side's events by kind, in each by number: a kind's begin at `first` and are `there`. */
static void order_by_kind(kinds *k, const side *s, size_t *places) {
  size_t first = 0;
  for (size_t i = 0; i < k->names.count; i++)
    k->items[i].there = 0;
  for (size_t i = 0; i < s->count; i++)
    k->items[s->items[i].kind].there++;
  for (size_t i = 0; i < k->names.count; i++) {
    k->items[i].first = first;
    first += k->items[i].there;
  }
  for (size_t i = 0; i < s->count; i++)
    places[k->items[s->items[i].kind].first + s->items[i].number] = i;
}

/* What both have is one row; then how the ways between those differ. False: out of memory. */
static bool pair(kinds *k, const side *a, const side *b, room *rows_room, size_t *count) {
  room place_room = {0};
  row *rows = room_need(rows_room, (a->count + b->count + 1) * sizeof *rows);
  size_t *places = room_need(&place_room, (b->count + 1) * sizeof *places), n = 0;
  order_by_kind(k, b, places);
  for (size_t i = 0; i < a->count; i++) {
    const item *x = &a->items[i];
    const struct kind *kind = &k->items[x->kind];
    rows[n] = (row){.a = x, .a_us = x->at_us - a->items[0].at_us};
    if (x->number < kind->there) {
      rows[n].b = &b->items[places[kind->first + x->number]];
      rows[n].b_us = rows[n].b->at_us - b->items[0].at_us;
    }
    n++;
  }
  room_free(&place_room);
  for (size_t i = 0; i < k->names.count; i++)
    k->items[i].there = 0;
  for (size_t i = 0; i < a->count; i++)
    k->items[a->items[i].kind].there++;
  for (size_t i = 0; i < b->count; i++)
    if (b->items[i].number >= k->items[b->items[i].kind].there)
      rows[n++] = (row){.b = &b->items[i], .b_us = b->items[i].at_us - b->items[0].at_us};
  if (!room_sort(rows, n, sizeof *rows, by_offset, NULL))
    return false;
  const row *last = NULL;
  for (size_t i = 0; i < n; i++) {
    if (!rows[i].a || !rows[i].b)
      continue;
    rows[i].stepped = last != NULL;
    rows[i].step_us = last ? (rows[i].b_us - last->b_us) - (rows[i].a_us - last->a_us) : 0;
    last = &rows[i];
  }
  *count = n;
  return true;
}

/* ---------------------------------------------------------------- output --- */

static void time_cell(table *t, bool known, int64_t us) {
  text words = {0};
  if (known) {
    text_puts(&words, "+");
    text_span(&words, us);
  }
  table_cell(t, STYLE_PLAIN, (sl_slice){text_str(&words), words.len});
  text_free(&words);
}

static void step_cell(table *t, const row *r, bool largest) {
  text words = {0};
  if (!r->a || !r->b) {
    text_puts(&words, r->a ? "only in A" : "only in B");
  } else if (r->stepped && r->step_us) {
    text_puts(&words, r->step_us < 0 ? "-" : "+");
    text_span(&words, r->step_us < 0 ? -r->step_us : r->step_us);
  }
  table_cell(t, !r->a || !r->b ? STYLE_RED : largest ? STYLE_YELLOW : STYLE_DIM,
             (sl_slice){text_str(&words), words.len});
  text_free(&words);
}

static void stores_cell(tool *t, table *lines, const row *r) {
  text words = {0};
  const item *first = r->a ? r->a : r->b;
  if (many(t))
    text_puts(&words, t->sources[first->source].name);
  if (many(t) && r->a && r->b && r->a->source != r->b->source)
    text_printf(&words, ", %s", t->sources[r->b->source].name);
  table_cell(lines, STYLE_CYAN, (sl_slice){words.data, words.len});
  text_free(&words);
}

static void states_cell(table *t, const row *r) {
  text words = {0};
  text_puts(&words, sl_state_text(r->a ? r->a->state : r->b->state));
  if (r->a && r->b && r->a->state != r->b->state)
    text_printf(&words, ", %s", sl_state_text(r->b->state));
  table_cell(t, r->a && r->b && r->a->state != r->b->state ? STYLE_YELLOW : STYLE_PLAIN,
             (sl_slice){words.data, words.len});
  text_free(&words);
}

static int64_t size_of_step(const row *r) { return r->step_us < 0 ? -r->step_us : r->step_us; }

static void to_people(tool *t, const side *a, const side *b, const row *rows, size_t count) {
  const column columns[] = {{"EVENT", false, CUT_LEFT, 12, 2}, {"STORE", false, CUT_RIGHT, 4, 7},
                            {"A", true, CUT_RIGHT, 9, 8}, {"B", true, CUT_RIGHT, 9, 8},
                            {"B'S STEP", true, CUT_RIGHT, 9, 9}, {"STATUS", false, CUT_RIGHT, 0, 1}};
  size_t largest = 0, only_a = 0, only_b = 0;
  text words = {0};
  for (size_t i = 0; i < count; i++) {
    largest = size_of_step(&rows[i]) > size_of_step(&rows[largest]) ? i : largest;
    only_a += !rows[i].b;
    only_b += !rows[i].a;
  }
  for (int k = 0; k < 2; k++) {
    const side *s = k ? b : a;
    out_puts(&t->out, k ? "B  " : "A  ");
    out_safe(&t->out, STYLE_BOLD, slice_of(s->id));
    text_clear(&words);
    text_counted(&words, s->count, "event", "events");
    if (s->count) {
      text_puts(&words, ", ");
      text_span(&words, s->items[s->count - 1].at_us - s->items[0].at_us);
    }
    text_printf(&words, ", %zu only here\n", k ? only_b : only_a);
    int whole = 5 + text_width(s->id) + (int)words.len - 1;
    out_printf(&t->out, "%s%s", t->out.term.width && whole > t->out.term.width ? "\n   " : "  ", text_str(&words));
    for (size_t i = 1; i < t->source_count && s->skew; i++) {
      text_clear(&words);
      clocks_words(&words, t, s->skew, i);
      out_wrapped(&t->out, text_str(&words), 3, false);
    }
  }
  out_puts(&t->out, "\n");
  table *lines = table_new(&t->out, columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; i < count; i++) {
    table_cell(lines, STYLE_BOLD, a->kinds->items[(rows[i].a ? rows[i].a : rows[i].b)->kind].type);
    stores_cell(t, lines, &rows[i]);
    time_cell(lines, rows[i].a != NULL, rows[i].a_us);
    time_cell(lines, rows[i].b != NULL, rows[i].b_us);
    step_cell(lines, &rows[i], i == largest);
    states_cell(lines, &rows[i]);
  }
  table_free(lines);
  text_free(&words);
}

static void side_to_json(tool *t, json *j, const char *name, const item *i, int64_t us) {
  json_key(j, name);
  if (!i) {
    json_raw(j, SL_STR("null"));
    return;
  }
  json_open(j);
  if (many(t))
    json_words(j, "store", t->sources[i->source].name);
  json_u64(j, "seq", i->seq);
  json_i64(j, "after_us", us);
  json_words(j, "status", sl_state_text(i->state));
  json_close(j);
}

static void to_json(tool *t, const kinds *k, const row *rows, size_t count) {
  json *j = json_new(&t->out);
  for (size_t i = 0; i < count; i++) {
    const item *either = rows[i].a ? rows[i].a : rows[i].b;
    json_open(j);
    json_text(j, "event_type", k->items[either->kind].type);
    json_text(j, "topic", k->items[either->kind].topic);
    side_to_json(t, j, "a", rows[i].a, rows[i].a_us);
    side_to_json(t, j, "b", rows[i].b, rows[i].b_us);
    if (rows[i].stepped)
      json_i64(j, "step_us", rows[i].step_us);
    else
      json_null(j, "step_us");
    json_close(j);
  }
  json_free(j);
}

int run_diff(tool *t) {
  kinds k = {0};
  side a = {0}, b = {0};
  room rows = {0};
  size_t count = 0;
  int code = read_side(t, t->args[0], &k, &a), other = EXIT_DONE;
  if (code == EXIT_DONE || code == EXIT_WRONG)
    other = read_side(t, t->args[1], &k, &b);
  code = code == EXIT_DONE ? other : code;
  if (code == EXIT_DONE || code == EXIT_WRONG) {
    if (!pair(&k, &a, &b, &rows, &count))
      code = out_of_memory(t);
    else if (t->json)
      to_json(t, &k, rows.data, count);
    else
      to_people(t, &a, &b, rows.data, count);
  }
  room_free(&rows);
  room_free(&k.room);
  id_set_free(&k.names);
  free_side(&a);
  free_side(&b);
  return code;
}
