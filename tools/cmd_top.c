/* A live view. It draws on the terminal's other screen and never changes the terminal's modes, so that what was there
 * comes back whatever ends it but a kill. */
#include "hops.h"
#include "status_view.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LEARN = 5000, HOPS_SHOWN = 5, HOPS_EVERY = 5 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
  (void)number;
  interrupted = 1;
}

typedef struct view {
  tool *tool;
  sl_stats before;
  int64_t before_us; /* 0: this is the first look */
  hops *usual;
  unsigned frames;
} view;

static void learn(void *usual, const sl_record *r) { hops_learn(usual, r, (sl_slice){NULL, 0}); }

static int by_p99(const void *a_, const void *b_) {
  const hop *const *a = a_, *const *b = b_;
  int64_t x = hop_percentile(*a, 99), y = hop_percentile(*b, 99);
  return x != y ? (x > y ? -1 : 1) : strcmp((*a)->from, (*b)->from);
}

/* Of the newest events; anew only now and then, for it is most of the work. */
static void draw_hops(view *v) {
  output *o = &v->tool->out;
  size_t count = 0;
  if (v->frames % HOPS_EVERY == 0) {
    uint64_t last = v->before.last_seq;
    sl_query query = {.first_seq = last > LEARN ? last - LEARN + 1 : 1};
    hops_free(v->usual);
    v->usual = hops_new();
    tool_visit(v->tool, &query, 0, learn, v->usual);
  }
  const hop *all = hops_follows(v->usual, &count);
  if (count == 0)
    return;
  const hop **slowest = tool_alloc(count * sizeof(hop *));
  for (size_t i = 0; i < count; i++)
    slowest[i] = &all[i];
  qsort(slowest, count, sizeof *slowest, by_p99);
  text words = {0};
  text_puts(&words, "\nslowest steps of the newest events, in 99 of 100 cases at most\n");
  out_styled(o, STYLE_DIM, text_str(&words));
  for (size_t i = 0; i < count && i < HOPS_SHOWN; i++) {
    text_clear(&words);
    text_span(&words, hop_percentile(slowest[i], 99));
    out_cell(o, STYLE_BOLD, text_str(&words), 13, true);
    text_clear(&words);
    text_puts(&words, "  ");
    text_add_safe(&words, slice_of(slowest[i]->from), o->term.unicode);
    text_puts(&words, " -> ");
    text_add_safe(&words, slice_of(slowest[i]->to), o->term.unicode);
    text_cut(&words, o->term.width ? o->term.width - 13 : INT32_MAX, false, o->term.unicode);
    out_printf(o, "%s\n", text_str(&words));
  }
  free(slowest);
  text_free(&words);
}

static void add_rate(text *words, uint64_t now, uint64_t before, int64_t us, const char *what) {
  uint64_t more = now > before ? now - before : 0;
  text_count(words, (uint64_t)((double)more * 1e6 / (double)(us > 0 ? us : 1) + 0.5));
  text_puts(words, what);
}

static sl_status draw(view *v) {
  look l = {.now_us = clock_us()};
  char *report = NULL;
  output *o = &v->tool->out;
  text words = {0};
  sl_status st = status_look(v->tool, &l, &report);
  if (st == SL_OK) {
    int64_t now = clock_monotonic_us(), span = now - v->before_us;
    status_people(v->tool, &l, health_judge(&l));
    if (v->before_us) {
      add_rate(&words, l.stats.appended, v->before.appended, span, " appended a second, ");
      add_rate(&words, l.stats.delivered, v->before.delivered, span, " delivered");
    }
    out_cell(o, STYLE_DIM, "rates", 9, false);
    out_printf(o, "%s\n", v->before_us ? text_str(&words) : "after the next look");
    v->before = l.stats;
    v->before_us = now;
    draw_hops(v);
    v->frames++;
  }
  text_free(&l.newest_dead);
  free(report);
  text_free(&words);
  return st;
}

/* What was drawn becomes a frame: over the one before, each line cleared behind its end, as many as there are rows. */
static void put_frame(output *o) {
  struct winsize size;
  text frame = {0};
  int rows = ioctl(o->fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row - 1 : 23;
  text_puts(&frame, "\033[H");
  const char *p = text_str(&o->pending), *end = p + o->pending.len;
  for (int row = 0; row < rows && p < end; row++) {
    size_t len = strcspn(p, "\n");
    text_add(&frame, p, len);
    text_puts(&frame, "\033[K\n");
    p += len + (p + len < end);
  }
  text_puts(&frame, "\033[J");
  text_clear(&o->pending);
  out_add(o, frame.data, frame.len);
  out_flush(o);
  text_free(&frame);
}

static void sleep_a_second(const sigset_t *open) {
  const struct timespec second = {.tv_sec = 1};
  ppoll(NULL, 0, &second, open);
}

int run_top(tool *t) {
  struct sigaction action = {.sa_handler = on_signal};
  sigset_t ending, open;
  view v = {.tool = t, .usual = hops_new()};
  output *o = &t->out;
  if (t->json) {
    hops_free(v.usual);
    return tool_fail(t, EXIT_USAGE, "top is for people: `sidelog status --json` is for programs");
  }
  sigemptyset(&ending);
  const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    sigaddset(&ending, numbers[i]);
    sigaction(numbers[i], &action, NULL);
  }
  sigprocmask(SIG_BLOCK, &ending, &open); /* a signal is heard while it sleeps, and in no other place */
  sl_status st = draw(&v);
  if (o->term.tty) {
    text first = {0};
    text_add(&first, o->pending.data, o->pending.len);
    text_clear(&o->pending);
    out_puts(o, "\033[?1049h\033[?25l");
    out_flush(o);
    out_add(o, first.data, first.len);
    put_frame(o);
    text_free(&first);
    while (st == SL_OK && !interrupted && !out_abandoned(o)) {
      sleep_a_second(&open);
      if (interrupted)
        break;
      o->term.width = term_look("never").width;
      st = draw(&v);
      put_frame(o);
    }
    out_puts(o, "\033[?25h\033[?1049l");
    out_flush(o);
  }
  hops_free(v.usual);
  return st == SL_OK ? EXIT_DONE : tool_fail_status(t, st, "cannot read the books");
}
