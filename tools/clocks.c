#include "clocks.h"

#include "hops.h"
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
}

void clocks_settle(tool *t, skew *s) {
  skew_solve(s);
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
