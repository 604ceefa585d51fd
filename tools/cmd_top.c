/* A live view: status, rates, the slowest steps. */
#include "hops.h"
#include "screen.h"
#include "status_view.h"

#include <stdlib.h>
#include <string.h>

enum { LEARN = 5000, HOPS_SHOWN = 5, HOPS_EVERY = 5, NAMES_FROM = 13, WIDE = 100 };

typedef enum order { BY_P99, BY_P95, BY_P50, BY_MAX, BY_COUNT, ORDERS } order;
static const struct { const char *title, *words; double percent; } orders[ORDERS] = {
  {"p99", "99 of 100 take at most", 99}, {"p95", "95 of 100 take at most", 95}, {"p50", "half take at most", 50},
  {"max", "the longest takes", 0}, {"times", "how often", 0}};

typedef struct view {
  tool *tool;
  look look;
  char *report;
  sl_stats before;
  int64_t before_us, looked_us; /* 0: there was no look before */
  hops *usual;
  unsigned looks;
  order by;
  size_t from; /* the first step shown */
  size_t room; /* for steps, in the last frame */
  bool paused, help;
} view;

static void learn(void *usual, const sl_record *r) { hops_learn(usual, r, (sl_slice){NULL, 0}); }

/* Looks at the books; at the steps anew only now and then, for it is most of the work. */
static sl_status observe(view *v) {
  if (v->looks) {
    v->before = v->look.stats;
    v->before_us = v->looked_us;
    text_free(&v->look.newest_dead);
    free(v->report);
    v->report = NULL;
  }
  v->look = (look){.now_us = clock_us()};
  sl_status st = status_look(v->tool, &v->look, &v->report);
  v->looked_us = clock_monotonic_us();
  if (st == SL_OK && v->looks % HOPS_EVERY == 0) {
    hops_free(v->usual);
    v->usual = hops_new();
    tool_visit_recent(v->tool, LEARN, 0, learn, v->usual);
  }
  v->looks++;
  return st;
}

/* ------------------------------------------------------------------ draw --- */

static order sorting; /* for qsort */

static int64_t measure(const hop *h, order by) {
  return by == BY_COUNT ? (int64_t)h->count : by == BY_MAX ? h->max_us : hop_percentile(h, orders[by].percent);
}

static int by_measure(const void *a_, const void *b_) {
  const hop *const *a = a_, *const *b = b_;
  const int64_t x = measure(*a, sorting), y = measure(*b, sorting);
  return x != y ? (x > y ? -1 : 1) : strcmp((*a)->from, (*b)->from);
}

static void put_measure(output *o, const hop *h, order by, bool sorted, int width) {
  text words = {0};
  if (by == BY_COUNT)
    text_count(&words, h->count);
  else
    text_span(&words, measure(h, by));
  out_cell(o, sorted ? STYLE_BOLD : STYLE_PLAIN, text_str(&words), width, true);
  text_free(&words);
}

static void draw_hop(view *v, const hop *h, bool wide) {
  output *o = &v->tool->out;
  int used = NAMES_FROM;
  text words = {0};
  if (!wide)
    put_measure(o, h, v->by, true, NAMES_FROM);
  for (int by = 0; wide && by < ORDERS; by++, used = NAMES_FROM * ORDERS)
    put_measure(o, h, (order)by, v->by == (order)by, NAMES_FROM);
  text_puts(&words, "  ");
  text_add_safe(&words, slice_of(h->from), o->term.unicode);
  text_puts(&words, " -> ");
  text_add_safe(&words, slice_of(h->to), o->term.unicode);
  text_cut(&words, o->term.width ? o->term.width - used : INT32_MAX, false, o->term.unicode);
  out_printf(o, "%s\n", text_str(&words));
  text_free(&words);
}

static void draw_hops(view *v, size_t room) {
  output *o = &v->tool->out;
  size_t count = 0;
  const hop *all = hops_follows(v->usual, &count);
  if (count == 0)
    return;
  const hop **sorted = tool_alloc(count * sizeof(hop *));
  const bool wide = o->term.width == 0 || o->term.width >= WIDE;
  for (size_t i = 0; i < count; i++)
    sorted[i] = &all[i];
  sorting = v->by;
  qsort(sorted, count, sizeof *sorted, by_measure);
  text words = {0};
  text_printf(&words, "\nsteps in the newest events, by %s", orders[v->by].words);
  out_styled(o, STYLE_DIM, text_str(&words));
  out_puts(o, "\n");
  for (int by = 0; wide && by < ORDERS; by++)
    out_cell(o, v->by == (order)by ? STYLE_BOLD : STYLE_DIM, orders[by].title, NAMES_FROM, true);
  out_puts(o, wide ? "\n" : "");
  v->room = room = room > 3 ? room - 2 - wide : 1;
  if (v->from + room > count)
    v->from = count > room ? count - room : 0;
  for (size_t i = v->from; i < count && i < v->from + room; i++)
    draw_hop(v, sorted[i], wide);
  free(sorted);
  text_free(&words);
}

static void add_rate(text *words, uint64_t now, uint64_t before, int64_t us, const char *what) {
  uint64_t more = now > before ? now - before : 0;
  text_count(words, (uint64_t)((double)more * 1e6 / (double)(us > 0 ? us : 1) + 0.5));
  text_puts(words, what);
}

static size_t lines_of(const output *o) {
  size_t lines = 0;
  for (size_t i = 0; i < o->pending.len; i++)
    lines += o->pending.data[i] == '\n';
  return lines;
}

static void draw_help(output *o) {
  out_puts(o, "\n  q            end (Ctrl-C, too)\n  space        pause, and go on\n"
              "  left, right  or s: what the steps are sorted by\n  up, down     the other steps; page up, page down\n"
              "  ?            this help, and away\n");
}

static void draw(view *v) {
  output *o = &v->tool->out;
  text words = {0};
  status_people(v->tool, &v->look, health_judge(&v->look));
  if (v->before_us) {
    const int64_t span = v->looked_us - v->before_us;
    add_rate(&words, v->look.stats.appended, v->before.appended, span, " appended a second, ");
    add_rate(&words, v->look.stats.delivered, v->before.delivered, span, " delivered");
  }
  out_cell(o, STYLE_DIM, "rates", 9, false);
  out_printf(o, "%s\n", v->before_us ? text_str(&words) : "after the next look");
  if (v->help)
    draw_help(o);
  else if (o->term.tty)
    draw_hops(v, screen_rows() > (int)lines_of(o) + 2 ? (size_t)screen_rows() - lines_of(o) - 2 : 1);
  else
    draw_hops(v, HOPS_SHOWN + 3);
  text_free(&words);
}

/* A frame: the picture and what the keys do. */
static void show(view *v) {
  output *o = &v->tool->out;
  text words = {0};
  o->term.width = term_look("never").width;
  draw(v);
  text_printf(&words, "%sq end  space %s  s sort  ? help", v->paused ? "paused   " : "",
              v->paused ? "go on" : "pause");
  text_cut(&words, o->term.width, false, o->term.unicode);
  out_styled(o, v->paused ? STYLE_YELLOW : STYLE_DIM, text_str(&words));
  screen_frame(o);
  text_free(&words);
}

/* ------------------------------------------------------------------ keys --- */

/* False: end. */
static bool press(view *v, int key) {
  /* the lines above may become more; two steps are seen twice */
  const size_t page = v->room > 2 ? v->room - 2 : 1;
  switch (key) {
  case 'q': case 'Q': case 4 /* Ctrl-D */: case KEY_END: return false;
  case ' ': case 'p': v->paused = !v->paused; break;
  case '?': case 'h': v->help = !v->help; break;
  case 's': case KEY_RIGHT: v->by = (order)((v->by + 1) % ORDERS); break;
  case KEY_LEFT: v->by = (order)((v->by + ORDERS - 1) % ORDERS); break;
  case KEY_UP: case 'k': v->from -= v->from > 0; break;
  case KEY_DOWN: case 'j': v->from++; break;
  case KEY_PAGE_UP: v->from -= v->from > page ? page : v->from; break;
  case KEY_PAGE_DOWN: v->from += page; break;
  default: break;
  }
  return true;
}

static sl_status live(view *v) {
  enum { EVERY_US = 1000000 };
  output *o = &v->tool->out;
  sl_status st = SL_OK;
  screen_open(o);
  show(v);
  while (st == SL_OK && !o->error) {
    const int64_t next = v->looked_us + EVERY_US - clock_monotonic_us();
    const int key = screen_wait(v->paused ? 3600000 : next > 0 ? (next + 999) / 1000 : 0);
    if (!press(v, key))
      break;
    if (!v->paused && clock_monotonic_us() - v->looked_us >= EVERY_US)
      st = observe(v);
    if (st == SL_OK)
      show(v);
  }
  screen_close(o);
  return st;
}

int run_top(tool *t) {
  view v = {.tool = t};
  if (t->json)
    return tool_fail(t, EXIT_USAGE, "top is for people: `sidelog status --json` is for programs");
  sl_status st = observe(&v);
  if (st == SL_OK && t->out.term.tty)
    st = live(&v);
  else if (st == SL_OK)
    draw(&v);
  hops_free(v.usual);
  text_free(&v.look.newest_dead);
  free(v.report);
  return st == SL_OK ? EXIT_DONE : tool_fail_status(t, st, "cannot read the books");
}
