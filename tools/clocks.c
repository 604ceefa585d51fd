#include "clocks.h"

#include "hops.h"
#include "trace_layout.h"
#include "when.h"

void clocks_learn(tool *t, skew *s, const sl_record *r, const copies *c, tally *tallies) {
  bool shared = false;
  /* Of an event in two stores nobody knows whose time it has: told of both, it is left out. */
  for (size_t i = 0; i < c->count; i++) {
    skew_learn(s, c->items[i].source, r->event_id, r->causation_id, record_time(r));
    if (c->items[i].differs) /* it comes by itself */
      continue;
    shared = true;
    if (tallies) {
      tallies[c->items[i].source].events++;
      tallies[c->items[i].source].shared++;
    }
  }
  if (tallies) {
    tallies[t->from].events++;
    tallies[t->from].shared += shared;
  }
  skew_learn(s, t->from, r->event_id, r->causation_id, record_time(r));
  if (!t->sources[t->from].told_seq)
    t->sources[t->from].told_seq = r->seq;
}

/* ---------------------------------------------------------- other stories --- */

/* The events around a story, of all sources. */
typedef struct near {
  uint64_t id, cause; /* trace_key(); one in 2^64 is taken for another, and looked at in vain */
  uint64_t seq;
  size_t source;
} near;

typedef struct around {
  near *items;
  size_t count, from;
  room room;
} around;

static int note_near(void *around_, const sl_record *r) {
  around *a = around_;
  a->items = room_need(&a->room, (a->count + 1) * sizeof *a->items);
  a->items[a->count++] = (near){trace_key(r->event_id), trace_key(r->causation_id), r->seq, a->from};
  return 0;
}

static void look_around(tool *t, around *a) {
  for (a->from = 0; a->from < t->source_count; a->from++) {
    uint64_t told = t->sources[a->from].told_seq;
    sl_query query = {.first_seq = told > CLOCKS_AROUND ? told - CLOCKS_AROUND : 1,
                      .last_seq = told + CLOCKS_AROUND};
    const sl_record *r;
    look *l = NULL;
    if (!told || look_start_in(t, a->from, &query, &l) != SL_OK)
      continue;
    if (look_filter(l, 0, note_near, a) == SL_OK)
      while (look_next(l, &r) == SL_E_CORRUPT)
        continue;
    look_close(l);
  }
}

/* An event that may be a copy of another host's tells nothing, which clocks_learn sees to. */
static void learn_one(tool *t, skew *s, copies *c, const near *n) {
  sl_query query = {.first_seq = n->seq, .last_seq = n->seq};
  const sl_record *r;
  look *l = NULL;
  size_t outer = t->from;
  if (look_start_in(t, n->source, &query, &l) == SL_OK && look_next(l, &r) == SL_OK) {
    t->from = n->source;
    copies_find(t, n->source, r, c);
    clocks_learn(t, s, r, c, NULL);
    t->from = outer;
  }
  look_close(l);
}

static int by_id(const void *a, const void *b, void *arg) {
  const near *x = a, *y = b;
  (void)arg;
  return (x->id > y->id) - (x->id < y->id);
}

/* The cause of n, if it is in another source and not in n's own. */
static const near *cause_elsewhere(const around *a, const near *n) {
  size_t first = 0, behind = n->cause ? a->count : 0;
  const near *found = NULL;
  while (first < behind) {
    size_t middle = first + (behind - first) / 2;
    if (a->items[middle].id < n->cause)
      first = middle + 1;
    else
      behind = middle;
  }
  for (; n->cause && first < a->count && a->items[first].id == n->cause; first++) {
    if (a->items[first].source == n->source)
      return NULL;
    found = &a->items[first];
  }
  return found;
}

static void learn_others(tool *t, skew *s) {
  enum { MOST_CAUSES = 50 };
  around a = {0};
  copies c = {0};
  size_t joined = 0;
  look_around(t, &a);
  if (room_sort(a.items, a.count, sizeof *a.items, by_id, NULL))
    for (size_t i = 0; i < a.count && joined < MOST_CAUSES; i++) {
      const near *cause = cause_elsewhere(&a, &a.items[i]);
      if (!cause)
        continue;
      learn_one(t, s, &c, cause);
      learn_one(t, s, &c, &a.items[i]);
      joined++;
    }
  copies_free(&c);
  room_free(&a.room);
}

void clocks_solve(tool *t, skew *s) {
  if (!t->others) {
    t->others = skew_new(t->source_count);
    learn_others(t, t->others);
  }
  skew_others(s, t->others);
  skew_solve(s);
}

void clocks_settle(tool *t, skew *s) {
  clocks_solve(t, s);
  for (size_t i = 0; i < t->source_count && !option_has(&t->given, OPT_NO_SKEW); i++)
    t->sources[i].shift_us = skew_clock_of(s, i)->shift_us;
}

void clocks_words(text *out, const tool *t, const skew *s, size_t at) {
  const source *one = &t->sources[at];
  const skew_clock *c = skew_clock_of(s, at);
  if (at == 0)
    return;
  skew_words(out, s, at, one->name, c->than == SKEW_NONE ? "" : t->sources[c->than].name);
  if (one->shift_us == 0)
    return;
  text_puts(out, "; its times are told ");
  text_span(out, one->shift_us < 0 ? -one->shift_us : one->shift_us);
  text_puts(out, one->shift_us < 0 ? " later (~)" : " earlier (~)");
}

void source_words(text *out, const tool *t, const skew *s, size_t at, const tally *tallies) {
  const tally *n = &tallies[at];
  text_counted(out, n->events, "event", "events");
  if (n->shared) {
    text_puts(out, n->events == 1 ? ", " : n->shared == n->events ? ", all " : ", ");
    if (n->shared < n->events) {
      text_count(out, n->shared);
      text_puts(out, " of them ");
    }
    text_puts(out, "in another store, too");
  }
  text_puts(out, t->sources[at].bundle ? "; of a bundle" : "");
  if (t->sources[at].made_us) {
    char when[WHEN_MAX];
    when_local(t->sources[at].made_us, when, false);
    text_printf(out, " made %s", when);
  }
  text_puts(out, at ? "; " : "");
  clocks_words(out, t, s, at);
}

void clocks_draw(tool *t, const skew *s, const tally *tallies) {
  output *o = &t->out;
  int widest = 0;
  for (size_t i = 0; i < t->source_count; i++)
    widest = text_width(t->sources[i].name) > widest ? text_width(t->sources[i].name) : widest;
  for (size_t i = 0; i < t->source_count; i++) {
    text words = {0};
    source_words(&words, t, s, i, tallies);
    out_puts(o, "  ");
    out_cell(o, STYLE_CYAN, t->sources[i].name, widest + 2, false);
    out_wrapped(o, text_str(&words), widest + 4, true);
    text_free(&words);
  }
}

static void bound(json *j, const char *name, bool known, int64_t us) {
  if (known)
    json_i64(j, name, us);
  else
    json_null(j, name);
}

void clocks_json(tool *t, json *j, const skew *s) {
  json_open(j);
  json_key(j, "clocks");
  json_array_open(j);
  for (size_t i = 1; i < t->source_count; i++) {
    const skew_clock *c = skew_clock_of(s, i);
    const char *than = c->than == SKEW_NONE ? NULL : t->sources[c->than].name;
    text words = {0};
    skew_words(&words, s, i, t->sources[i].name, than ? than : "");
    json_open(j);
    json_words(j, "store", t->sources[i].name);
    if (than)
      json_words(j, "than", than);
    else
      json_null(j, "than");
    bound(j, "ahead_least_us", c->has_least, c->least_us);
    bound(j, "ahead_most_us", c->has_most, c->most_us);
    json_u64(j, "causes", c->causes);
    json_bool(j, "contradicts", c->contradicts);
    json_i64(j, "shift_us", c->shift_us);
    json_words(j, "text", text_str(&words));
    json_close(j);
    text_free(&words);
  }
  json_array_close(j);
  json_close(j);
}
