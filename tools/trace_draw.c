#include "trace_draw.h"

#include "when.h"

#include <inttypes.h>
#include <string.h>

enum { GAP = 2, LEVELS = 12, BAR_MOST = 40, BAR_LEAST = 12, LABEL_LEAST = 16 };

typedef struct signs {
  const char *edge, *line, *point, *branch, *corner, *pipe, *mark, *more;
} signs;

static const signs unicode_signs = {
  "\u258f", "\u2501", "\u25cf", "\u251c ", "\u2514 ", "\u2502 ", "\u25c0", "\u2026"};
static const signs ascii_signs = {"|", "-", "*", "+ ", "` ", "| ", "<", ".."};

/* Columns of a drawing; 0: left out. */
typedef struct plan {
  const signs *signs;
  bool fine;  /* microseconds instead of milliseconds */
  int time, bar, label, store, source, status, place;
  bool short_place;
} plan;

static void add_tree(text *out, const trace_node *nodes, size_t at, const signs *s) {
  size_t above[LEVELS];
  int levels = 0;
  for (size_t i = at; nodes[i].depth > 0 && levels < LEVELS; i = nodes[i].parent)
    above[levels++] = i;
  if (nodes[at].depth > LEVELS)
    text_printf(out, "%s%" PRIu32 " ", s->more, nodes[at].depth - LEVELS);
  for (int k = levels; k > 1; k--)
    text_puts(out, nodes[above[k - 1]].last ? "  " : s->pipe);
  if (levels > 0)
    text_puts(out, nodes[at].last ? s->corner : s->branch);
}

/* What was moved is marked. */
static void add_time(text *out, int64_t us, bool fine, bool moved) {
  text_puts(out, moved ? "~" : "");
  if (us < 10000000000)
    text_printf(out, fine ? "+%.6f" : "+%.3f", (double)us / 1e6);
  else {
    text_puts(out, "+");
    text_span(out, us);
  }
}

static int wider(int a, const char *words) {
  int b = words ? text_width(words) : 0;
  return a > b ? a : b;
}

static void label_of(text *out, const trace_node *nodes, const trace_row *row, size_t i, const signs *s) {
  text_clear(out);
  add_tree(out, nodes, i, s);
  text_puts(out, row->type);
}

static int total(const plan *p, int place) {
  int cells[] = {p->time, p->bar ? p->bar + 1 : 0, p->label, p->store, p->source, p->status, place};
  int sum = 0;
  for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
    sum += cells[i] ? cells[i] + GAP : 0;
  return sum;
}

/* What the widest lines need from their place on: with a note, with the largest gap told in full and briefly,
 * and without either. */
typedef struct needs {
  int note, gap, brief_gap, place, short_place;
} needs;

/* Leaves out and cuts until a line fits. The bar yields to notes and to the gap only as far as it stays a
 * bar. */
static void fit(plan *p, int width, const needs *n) {
  const int wishes[] = {n->note, n->gap, n->brief_gap, n->place};
  int spare = 0, place = n->place, short_place = n->short_place;
  p->place = place;
  if (width == 0)
    return;
  for (size_t i = 0; i < sizeof wishes / sizeof *wishes && spare < BAR_LEAST; i++) {
    int need = wishes[i] > n->place ? wishes[i] : n->place;
    need = i < 1 && n->gap > need ? n->gap : need;
    spare = width - total(p, need) + p->bar;
  }
  p->bar = spare >= BAR_MOST ? BAR_MOST : spare >= BAR_LEAST ? spare : 0;
  if (total(p, p->place) <= width)
    return;
  p->short_place = true;
  p->place = short_place;
  if (total(p, p->place) <= width)
    return;
  int rest = width - total(p, 0) - GAP;
  if (rest < 10 && p->source) {
    p->source = 0;
    rest = width - total(p, 0) - GAP;
  }
  p->place = rest >= 8 ? (rest < short_place ? rest : short_place) : 0;
  if (total(p, 0) > width) {
    int label = p->label - (total(p, 0) - width);
    p->label = label > LABEL_LEAST ? label : LABEL_LEAST;
  }
}

/* What is said at the end of a line: the largest gap, and what is out of the ordinary. */
static void add_end(text *out, const signs *g, const trace_node *nodes, const trace_row *row, size_t i,
                    const trace_shape *shape, bool brief) {
  if (shape->largest == i) {
    if (brief)
      text_printf(out, "%s ", g->mark);
    if (row->moved || row->gap_moved)
      text_puts(out, "~"); /* as well as two clocks are known */
    text_span(out, trace_gap(nodes, i));
    if (!brief)
      text_printf(out, " %s largest gap", g->mark);
  }
  if (row->note)
    text_printf(out, "%s%s", out->len ? ", " : "", row->note);
}

static int more(int a, int b) { return a > b ? a : b; }

static plan make_plan(const output *o, const trace_node *nodes, const trace_rows *rows, size_t count,
                      const trace_shape *shape) {
  plan p = {.signs = o->term.unicode ? &unicode_signs : &ascii_signs, .bar = BAR_MOST / 2};
  needs n = {0};
  text words = {0};
  p.fine = shape->end_us - shape->begin_us < 100000;
  for (size_t i = 0; i < count; i++) {
    trace_row row = {0};
    rows->get(rows->arg, i, &row);
    label_of(&words, nodes, &row, i, p.signs);
    p.label = wider(p.label, text_str(&words));
    text_clear(&words);
    add_time(&words, nodes[i].at_us - shape->begin_us, p.fine, row.moved);
    p.time = wider(p.time, text_str(&words));
    p.store = wider(p.store, row.store);
    p.source = wider(p.source, row.source);
    p.status = wider(p.status, sl_state_text(row.state));
    n.place = wider(n.place, row.place);
    n.short_place = wider(n.short_place, row.place_short);
    if (shape->largest != i && !row.note)
      continue;
    int place = wider(0, row.place) + GAP;
    for (int brief = 0; brief < 2; brief++) {
      text_clear(&words);
      add_end(&words, p.signs, nodes, &row, i, shape, brief);
      int *need = row.note ? &n.note : brief ? &n.brief_gap : &n.gap;
      *need = more(*need, place + text_width(text_str(&words)));
    }
  }
  text_free(&words);
  fit(&p, o->term.width, &n);
  return p;
}

static int column_of(int64_t at_us, const trace_shape *shape, int bar) {
  int64_t whole = shape->end_us - shape->begin_us;
  return whole <= 0 ? 0 : (int)((double)(at_us - shape->begin_us) / (double)whole * (bar - 1) + 0.5);
}

static void draw_bar(output *o, const plan *p, const trace_node *nodes, size_t i, const trace_shape *shape) {
  int here = column_of(nodes[i].at_us, shape, p->bar);
  int before =
      nodes[i].earlier == TRACE_NONE ? here : column_of(nodes[nodes[i].earlier].at_us, shape, p->bar);
  text line = {0};
  out_styled(o, STYLE_DIM, p->signs->edge);
  out_blanks(o, before + 1 < here ? before + 1 : here);
  for (int c = before + 1; c < here; c++)
    text_puts(&line, p->signs->line);
  out_styled(o, shape->largest == i ? STYLE_YELLOW : STYLE_DIM, text_str(&line));
  out_styled(o, STYLE_BOLD, p->signs->point);
  out_blanks(o, p->bar - 1 - here + GAP);
  text_free(&line);
}

static void put(output *o, style s, const char *words, int width, bool from_left) {
  text cut = {0};
  if (width == 0)
    return;
  text_puts(&cut, words ? words : "");
  text_cut(&cut, width, from_left, o->term.unicode);
  out_cell(o, s, text_str(&cut), width + GAP, false);
  text_free(&cut);
}

static void draw_row(output *o, const plan *p, const trace_node *nodes, const trace_rows *rows, size_t i,
                     const trace_shape *shape) {
  trace_row got = {0};
  const trace_row *row = &got;
  rows->get(rows->arg, i, &got);
  text label = {0}, end = {0}, place = {0}, when = {0};
  int left = o->term.width ? o->term.width - total(p, 0) - GAP : INT32_MAX;
  add_time(&when, nodes[i].at_us - shape->begin_us, p->fine, row->moved);
  out_blanks(o, GAP);
  out_cell(o, STYLE_DIM, text_str(&when), p->time, true);
  out_blanks(o, p->bar ? 1 : GAP);
  if (p->bar)
    draw_bar(o, p, nodes, i, shape);
  label_of(&label, nodes, row, i, p->signs);
  text_cut(&label, p->label, false, o->term.unicode);
  out_cell(o, STYLE_BOLD, text_str(&label), p->label + GAP, false);
  put(o, STYLE_CYAN, row->store, p->store, false);
  put(o, STYLE_DIM, row->source, p->source, false);
  text_puts(&place, p->short_place ? row->place_short : row->place);
  if (left < 8)
    text_clear(&place);
  int place_width = text_width(text_str(&place)), end_width = 0;
  /* In full and briefly beside where the event went, the same with that cut, and at last without it. */
  const int spaces[] = {place_width, place_width, place_width < 24 ? place_width : 24, 0};
  for (int attempt = 0; attempt < 4 && left >= 8; attempt++) {
    text_clear(&end);
    add_end(&end, p->signs, nodes, row, i, shape, attempt % 2);
    end_width = text_width(text_str(&end));
    if (end_width + (end_width && spaces[attempt] ? GAP + spaces[attempt] : 0) <= left)
      break;
  }
  int room_left = end_width ? left - end_width - GAP : left;
  if (place_width > room_left && row->state != SL_SENT) {
    text_clear(&place);
    text_puts(&place, row->place_short);
    place_width = text_width(text_str(&place));
  }
  if (end_width && end_width + GAP + place_width > left)
    place_width = left - end_width - GAP;
  else if (place_width > left)
    place_width = left;
  if (p->place == 0 || (place_width < 8 && place_width < text_width(text_str(&place))))
    text_clear(&place);
  bool sent = row->state == SL_SENT;
  if (place.len)
    place_width = text_cut(&place, place_width < p->place ? place_width : p->place, sent, o->term.unicode);
  else
    place_width = 0;
  bool more = place_width || end_width;
  out_cell(o, state_style(row->state), sl_state_text(row->state), more ? p->status + GAP : 0, false);
  int pad = place_width && end_width && left - p->place - GAP >= end_width ? p->place + GAP
            : place_width && end_width                                     ? place_width + GAP
                                                                           : 0;
  out_cell(o, row->state == SL_DEAD ? STYLE_RED : STYLE_PLAIN, text_str(&place), pad, false);
  if (end_width) {
    text_cut(&end, left - (place_width ? place_width + GAP : 0), false, o->term.unicode);
    out_styled(o, STYLE_YELLOW, text_str(&end));
  }
  out_puts(o, "\n");
  text_free(&label);
  text_free(&end);
  text_free(&place);
  text_free(&when);
}

void trace_tree(text *out, const trace_node *nodes, size_t at, bool unicode) {
  add_tree(out, nodes, at, unicode ? &unicode_signs : &ascii_signs);
}

void trace_draw(output *o, const trace_node *nodes, const trace_rows *rows, size_t count,
                const trace_shape *shape) {
  plan p = make_plan(o, nodes, rows, count, shape);
  for (size_t k = 0; k < count && !o->error; k++)
    draw_row(o, &p, nodes, rows, shape->order[k], shape);
}

static void span_cell(table *t, style s, bool known, int64_t us) {
  text words = {0};
  if (known) {
    text_puts(&words, us < 0 ? "-" : "+");
    text_span(&words, us < 0 ? -us : us);
  }
  table_cell(t, s, (sl_slice){text_str(&words), words.len});
  text_free(&words);
}

void trace_times(output *o, const trace_node *nodes, const trace_rows *rows, size_t count,
                 const trace_shape *shape) {
  char day[WHEN_MAX], end[WHEN_MAX];
  when_local(shape->begin_us, day, false);
  when_local(shape->end_us, end, false);
  /* Of one day the day is said once. */
  size_t date = strcspn(day, " ");
  bool one_day = strncmp(day, end, date + 1) == 0;
  trace_row row = {0};
  if (count)
    rows->get(rows->arg, 0, &row);
  bool several = row.store != NULL;
  day[date] = 0;
  const column columns[] = {{"EVENT", false, CUT_RIGHT, LABEL_LEAST, 5},
                            {"STORE", false, CUT_RIGHT, 4, 10},
                            {one_day ? day : "OCCURRED", false, CUT_BARE, 12, 9},
                            {"AFTER CAUSE", true, CUT_RIGHT, 0, 4},      {"GAP", true, CUT_RIGHT, 8, 6},
                            {"APPENDED", true, CUT_RIGHT, several ? 0 : 8, 7},
                            {"ACKNOWLEDGED", true, CUT_RIGHT, 8, 8},
                            {"STATUS", false, CUT_RIGHT, 0, 3}};
  table *t = table_new(o, columns, sizeof columns / sizeof *columns);
  text words = {0};
  for (size_t k = 0; k < count && !o->error; k++) {
    size_t i = shape->order[k];
    const trace_node *n = &nodes[i];
    const trace_row *r = &row;
    row = (trace_row){0};
    rows->get(rows->arg, i, &row);
    char when[WHEN_MAX];
    label_of(&words, nodes, r, i, o->term.unicode ? &unicode_signs : &ascii_signs);
    table_cell(t, STYLE_BOLD, (sl_slice){text_str(&words), words.len});
    table_cell(t, STYLE_CYAN, slice_of(r->store));
    when_local(n->at_us, when, false);
    text_clear(&words);
    text_printf(&words, "%s%s", r->moved ? "~" : "", when + (one_day ? date + 1 : 0));
    table_cell(t, r->occurred_us ? STYLE_PLAIN : STYLE_DIM, (sl_slice){words.data, words.len});
    span_cell(t, STYLE_PLAIN, n->parent != TRACE_NONE,
              n->parent == TRACE_NONE ? 0 : n->at_us - nodes[n->parent].at_us);
    span_cell(t, shape->largest == i ? STYLE_YELLOW : STYLE_DIM, n->earlier != TRACE_NONE, trace_gap(nodes, i));
    span_cell(t, STYLE_PLAIN, r->occurred_us != 0, r->appended_us - r->occurred_us);
    span_cell(t, STYLE_PLAIN, r->settled_us != 0 && r->state == SL_SENT, r->settled_us - r->appended_us);
    table_cell(t, state_style(r->state), slice_of(sl_state_text(r->state)));
  }
  text_free(&words);
  table_free(t);
}
