#include "check.h"

#include "when.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The rules' numbers, as docs/cli.md has them. */
enum {
  LEAST_HOPS = 20,     /* a hop is judged when it was seen so often in other stories */
  LEAST_ANSWERS = 5,   /* a question, when so many were answered ... */
  ANSWERED_PART = 80,  /* ... and so many in a hundred */
  FAR_BEYOND = 3       /* times the 99th percentile */
};
static const int64_t LEAST_GAP_US = 100000, LEAST_WAIT_US = 1000000;

/* ----------------------------------------------------------------- story --- */

static sl_slice keep(story *s, sl_slice words) {
  return words.len ? (sl_slice){room_copy(&s->texts, words), words.len} : (sl_slice){NULL, 0};
}

/* NULL: there is none. `words` is freed. */
static const char *keep_text(story *s, text *words) {
  const char *kept = words->len ? room_copy(&s->texts, (sl_slice){words->data, words->len}) : NULL;
  text_free(words);
  return kept;
}

static const char *keep_common(story *s, sl_slice words) {
  size_t at = id_set_find(&s->common, words);
  if (at == s->common.count)
    id_set_add(&s->common, words);
  return s->common.items[at];
}

static bool says_other(sl_slice inside, sl_slice own) { return inside.len && own.len && !slice_eq(inside, own); }

static void say_other(text *words, const char *name, sl_slice inside, sl_slice own) {
  if (!says_other(inside, own))
    return;
  text_printf(words, "%sits value names %s ", words->len ? "; " : "", name);
  text_add_safe(words, inside, true);
  text_puts(words, ", it was appended with ");
  text_add_safe(words, own, true);
}

/* Any bytes may be a value; what begins as a JSON object is held to be an envelope. */
static text broken_envelope(check *c, const sl_record *r) {
  const char *p = r->value.data;
  size_t i = 0;
  sl_event e = SL_EVENT_INIT;
  uint32_t missing = 0;
  text words = {0};
  while (i < r->value.len && strchr(" \t\r\n", p[i]) && p[i])
    i++;
  if (i == r->value.len || p[i] != '{')
    return words;
  if (sl_envelope_read(c->reader, r->value, &e, &missing) != SL_OK) {
    text_add_safe(&words, slice_of(sl_last_detail()), true);
    return words;
  }
  say_other(&words, "event id", e.event_id, r->event_id);
  say_other(&words, "correlation id", e.correlation_id, r->correlation_id);
  say_other(&words, "causation id", e.causation_id, r->causation_id);
  say_other(&words, "type", e.type, r->type);
  if (missing & SL_ENVELOPE_BAD_TIMESTAMP)
    text_printf(&words, "%sits timestamp is not RFC 3339", words.len ? "; " : "");
  return words;
}

static text error_of(const sl_record *r) {
  text words = {0};
  if (r->state != SL_DEAD && r->state != SL_DROPPED)
    return words;
  text_add_safe(&words, r->error_code.len ? r->error_code : r->error_class, true);
  if (r->state == SL_DEAD)
    text_printf(&words, " after %" PRIu32 " %s", r->attempts, r->attempts == 1 ? "try" : "tries");
  if (r->error_text.len) {
    text_puts(&words, ": ");
    text_add_safe(&words, r->error_text, true);
  }
  return words;
}

/* The same event in other sources, and what is not the same. */
static void take_copies(tool *t, story *s, const sl_record *r, check_event *e) {
  text same = {0}, other = {0};
  copies_find(t, t->from, r, &s->copies);
  clocks_learn(t, s->skew, r, &s->copies, NULL);
  for (size_t i = 0; i < s->copies.count; i++) {
    const copy *c = &s->copies.items[i];
    if (c->differs) {
      text_puts(&other, other.len ? ", " : "");
      place_words(&other, t, c->source, c->seq);
    } else {
      text_printf(&same, "; in %s: %s%s%s", t->sources[c->source].name, sl_state_text(c->state),
                  *c->place ? " " : "",
                  c->place);
    }
  }
  e->elsewhere = keep_text(s, &same);
  e->differs = keep_text(s, &other);
}

void story_add(void *story_reader_, const sl_record *r) {
  story_reader *reader = story_reader_;
  tool *t = reader->check->tool;
  story *s = reader->story;
  text error = error_of(r), broken = broken_envelope(reader->check, r);
  s->nodes = room_need(&s->node_room, (s->count + 1) * sizeof *s->nodes);
  s->events = room_need(&s->event_room, (s->count + 1) * sizeof *s->events);
  s->nodes[s->count] = (trace_node){.seq = r->seq,
                                    .at_us = record_time(r),
                                    .id = trace_key(r->event_id),
                                    .cause = trace_key(r->causation_id),
                                    .story = trace_key(r->correlation_id),
                                    .duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0,
                                    .source = (uint16_t)t->from};
  s->events[s->count] = (check_event){
    .event_id = keep(s, r->event_id),
    .correlation_id = {keep_common(s, r->correlation_id), r->correlation_id.len},
    .causation_id = keep(s, r->causation_id),
    .type = keep_common(s, r->type),
    .error = keep_text(s, &error),
    .broken = keep_text(s, &broken),
    .state = r->state,
    .duplicate_of = r->duplicate_of,
    .timed = r->occurred_at_us != 0};
  if (s->skew)
    take_copies(t, s, r, &s->events[s->count]);
  s->count++;
}

void story_free(story *s) {
  id_set_free(&s->common);
  room_texts_free(&s->texts);
  copies_free(&s->copies);
  room_free(&s->node_room);
  room_free(&s->event_room);
  *s = (story){0};
}

/* ----------------------------------------------------------------- rules --- */

typedef struct judge {
  check *check;
  const story *story;
  check_fn *found;
  void *arg;
  text words;
  struct last_answer { char *stem; size_t at; int64_t us; } *answers; /* of each kind, which are few */
  size_t answer_count;
} judge;

static void find(judge *j, size_t at, const char *kind) {
  size_t k = 0;
  j->check->findings++;
  while (k < CHECK_KINDS - 1 && j->check->kinds[k].kind && strcmp(j->check->kinds[k].kind, kind))
    k++;
  j->check->kinds[k].kind = kind;
  j->check->kinds[k].count++;
  j->found(j->arg, j->story, at, kind, text_str(&j->words));
}

/* The time in a UUIDv7, in microseconds; 0: it is none. */
static int64_t uuid_time(sl_slice id) {
  const char *p = id.data;
  int64_t ms = 0;
  if (id.len != 36 || p[8] != '-' || p[13] != '-' || p[14] != '7')
    return 0;
  for (int i = 0; i < 13; i++) {
    if (i == 8)
      continue;
    const char *digits = "0123456789abcdef", *at = strchr(digits, p[i]);
    if (!at || !p[i])
      return 0;
    ms = ms * 16 + (at - digits);
  }
  return ms * 1000;
}

/* Why is a cause not in a source? Only what is known is said. */
static void say_why(text *w, const struct known *k, int64_t made) {
  char when[WHEN_MAX];
  when_local(made ? made : k->oldest_us, when, false);
  if (k->stats.trimmed == 0)
    text_puts(w, " and nothing was ever trimmed from it: it was appended elsewhere, or never");
  else if (made && made < k->oldest_us)
    text_printf(w, ": made at %s, before all that is kept; trimmed, or appended elsewhere", when);
  else if (made)
    text_printf(w, ": made at %s, and events from then are kept: it was appended elsewhere, or never", when);
  else
    text_printf(w, ": trimmed (events appended before %s are), or appended elsewhere", when);
}

/* Of several: those from which it may have been trimmed, and bundles, which hold one story. */
static void say_where(judge *j, sl_slice cause) {
  tool *t = j->check->tool;
  int64_t made = uuid_time(cause);
  text *w = &j->words;
  bool any = false;
  text_clear(w);
  text_puts(w, "its cause ");
  text_add_safe(w, cause, true);
  text_printf(w, " is not %s", sources_here(t));
  if (t->store) {
    say_why(w, &j->check->known[0], made);
    return;
  }
  for (size_t i = 0; i < t->source_count; i++) {
    const struct known *k = &j->check->known[i];
    const char *name = t->sources[i].name;
    if (t->sources[i].bundle)
      text_printf(w, "%s %s is a bundle, which holds a part of its store", any ? "," : ":", name);
    else if (k->stats.trimmed && !(made && made >= k->oldest_us))
      text_printf(w, "%s from %s it may have been trimmed", any ? "," : ":", name);
    else
      continue;
    any = true;
  }
  if (!any)
    text_puts(w, ", and was trimmed from none: it was appended elsewhere, or never");
}

/* A time may have been cut to whole milliseconds or seconds, which is no skew. */
static void judge_order(judge *j, size_t at, size_t cause_source, int64_t cause_us, bool cause_timed) {
  const trace_node *n = &j->story->nodes[at];
  const source *sources = j->check->tool->sources;
  int64_t before = cause_us - n->at_us, as_read = n->at_us + sources[n->source].shift_us;
  if (!cause_timed || !j->story->events[at].timed || before < time_precision(as_read))
    return;
  text_clear(&j->words);
  text_puts(&j->words, "occurred ");
  text_span(&j->words, before);
  if (cause_source == n->source)
    text_puts(&j->words, " before its cause: the clocks of the two producers differ by at least that");
  else
    text_printf(&j->words, " before its cause in %s: the clocks differ by at least that",
                sources[cause_source].name);
  find(j, at, "before-cause");
}

/* A cause in another story, or in none at all. */
static void judge_cause(judge *j, size_t at) {
  sl_slice cause = j->story->events[at].causation_id;
  sl_query query = {.event_id = cause, .limit = 1};
  tool *t = j->check->tool;
  look *l = NULL;
  const sl_record *r;
  sl_status st = look_start(t, &query, &l);
  if (st == SL_OK)
    st = look_next(l, &r);
  if (st == SL_OK) {
    judge_order(j, at, look_source(l), r->occurred_at_us - t->sources[look_source(l)].shift_us,
                r->occurred_at_us != 0);
  } else if (st == SL_NOTFOUND) {
    say_where(j, cause);
    find(j, at, "orphan");
  }
  look_close(l);
}

static void judge_hop(judge *j, size_t at) {
  const trace_node *n = &j->story->nodes[at], *cause = &j->story->nodes[n->parent];
  const check_event *e = &j->story->events[at], *c = &j->story->events[n->parent];
  const hop *h = NULL;
  if (n->source == cause->source)
    h = hops_causes(j->check->usual[n->source], slice_of(c->type), slice_of(e->type));
  int64_t gap = n->at_us - cause->at_us;
  if (!h || h->count < LEAST_HOPS || gap < LEAST_GAP_US || !e->timed || !c->timed)
    return;
  bool own = j->check->learned_all;
  uint64_t count = h->count - own;
  int64_t usual = own ? hop_percentile_but(h, 99, gap) : hop_percentile(h, 99);
  if (count < LEAST_HOPS || gap <= FAR_BEYOND * usual)
    return;
  text_clear(&j->words);
  text_puts(&j->words, "came ");
  text_span(&j->words, gap);
  text_puts(&j->words, " after its cause ");
  text_add_safe(&j->words, slice_of(c->type), true);
  text_puts(&j->words, "; usual are ");
  text_span(&j->words, own ? hop_percentile_but(h, 50, gap) : hop_percentile(h, 50));
  text_puts(&j->words, ", in 99 of 100 at most ");
  text_span(&j->words, usual);
  text_puts(&j->words, " (of ");
  text_count(&j->words, count);
  text_puts(&j->words, ")");
  find(j, at, "slow");
}

static struct last_answer *answer_of(const judge *j, sl_slice stem) {
  for (size_t i = 0; i < j->answer_count; i++)
    if (slice_eq(slice_of(j->answers[i].stem), stem))
      return &j->answers[i];
  return NULL;
}

static void gather_answers(judge *j) {
  text stem = {0};
  for (size_t i = 0; i < j->story->count; i++) {
    text_clear(&stem);
    if (question_stem(slice_of(j->story->events[i].type), &stem) != ROLE_ANSWER)
      continue;
    struct last_answer *a = answer_of(j, (sl_slice){stem.data, stem.len});
    if (!a) {
      j->answers = tool_grow(j->answers, (j->answer_count + 1) * sizeof *j->answers);
      a = &j->answers[j->answer_count++];
      a->stem = tool_copy(stem.data, stem.len);
    }
    a->at = i;
    a->us = j->story->nodes[i].at_us;
  }
  text_free(&stem);
}

static void free_answers(judge *j) {
  for (size_t i = 0; i < j->answer_count; i++)
    free(j->answers[i].stem);
  free(j->answers);
}

static bool answered(const judge *j, size_t at, sl_slice stem) {
  const struct last_answer *a = answer_of(j, stem);
  /* Across stores the order of appends is that of several clocks. */
  return a && (a->at > at || (j->story->skew && a->us >= j->story->nodes[at].at_us));
}

/* Judged only where answers to such questions are known to land in this store. */
static void judge_answer(judge *j, size_t at) {
  text stem = {0};
  const check_event *e = &j->story->events[at];
  /* What cannot be read may have been the answer. */
  if (!j->story->damaged && question_stem(slice_of(e->type), &stem) == ROLE_QUESTION &&
      !j->story->nodes[at].duplicate) {
    const hop *h = hops_answers(j->check->usual[j->story->nodes[at].source], (sl_slice){stem.data, stem.len});
    int64_t waited = j->check->tool->now_us - j->story->nodes[at].at_us;
    if (h && h->count >= LEAST_ANSWERS && h->count * 100 >= h->open * ANSWERED_PART) {
      int64_t usual = hop_percentile(h, 99);
      if (waited > LEAST_WAIT_US && waited > FAR_BEYOND * usual &&
          !answered(j, at, (sl_slice){stem.data, stem.len})) {
        text_clear(&j->words);
        text_puts(&j->words, "nothing answered it in ");
        text_span(&j->words, waited);
        text_puts(&j->words, "; usual are ");
        text_span(&j->words, hop_percentile(h, 50));
        text_puts(&j->words, ", in 99 of 100 at most ");
        text_span(&j->words, usual);
        text_puts(&j->words, " (of ");
        text_count(&j->words, h->count);
        text_puts(&j->words, ")");
        find(j, at, "no-answer");
      }
    }
  }
  text_free(&stem);
}

/* The last word of its type, before a version, says that something failed. */
static bool says_failed(const char *type) {
  size_t len = strlen(type), digits = len;
  while (digits > 0 && type[digits - 1] >= '0' && type[digits - 1] <= '9')
    digits--;
  if (digits < len && digits > 1 && type[digits - 1] == 'v' && strchr("._-", type[digits - 2]))
    len = digits - 2;
  return len >= 7 && strchr("._-", type[len - 7]) && strncasecmp(type + len - 6, "failed", 6) == 0;
}

static void judge_fate(judge *j, size_t at) {
  const check_event *e = &j->story->events[at];
  text_clear(&j->words);
  if (e->state == SL_DEAD || e->state == SL_DROPPED) {
    text_puts(&j->words, e->state == SL_DEAD ? "was never delivered: " : "was given up: ");
    text_puts(&j->words, e->error ? e->error : "");
    text_puts(&j->words, e->elsewhere ? e->elsewhere : "");
    find(j, at, e->state == SL_DEAD ? "dead" : "dropped");
  }
  text_clear(&j->words);
  if (e->duplicate_of) {
    text_printf(&j->words, "has the event id of seq %" PRIu64 " in the same topic, and is not sent again",
                e->duplicate_of);
    find(j, at, "duplicate");
  } else if (says_failed(e->type)) {
    text_puts(&j->words, "says itself that something failed");
    find(j, at, "failed");
  }
  text_clear(&j->words);
  if (e->differs) {
    text_printf(&j->words, "has the event id and topic of %s, and is not the same event", e->differs);
    find(j, at, "differs");
  }
  text_clear(&j->words);
  if (e->broken) {
    text_puts(&j->words, e->broken);
    find(j, at, "envelope");
  }
}

/* Clocks that differ for sure, each told once, at its store's first event; and times told together from then
 * on. */
static void judge_clocks(judge *j, story *s) {
  tool *t = j->check->tool;
  bool *told = j->check->told, several = false;
  for (size_t i = 1; i < s->count; i++)
    several = several || s->nodes[i].source != s->nodes[0].source;
  if (!several) /* one clock needs no other, and there may be very many such stories */
    return;
  clocks_settle(t, s->skew);
  for (size_t i = 0; i < s->count; i++)
    s->nodes[i].at_us -= t->sources[s->nodes[i].source].shift_us;
  for (size_t i = 0; i < s->count; i++) {
    size_t from = s->nodes[i].source;
    const skew_clock *c = skew_clock_of(s->skew, from);
    bool differ = from && ((c->has_least && c->least_us > 0) || (c->has_most && c->most_us < 0) || c->contradicts);
    if (told[from] || !differ)
      continue;
    told[from] = true;
    text_clear(&j->words);
    skew_words(&j->words, s->skew, from, t->sources[from].name, t->sources[c->than].name);
    find(j, i, "clocks");
  }
}

bool check_story(check *c, story *s, check_fn *found, void *arg) {
  trace_shape shape;
  judge j = {.check = c, .story = s, .found = found, .arg = arg};
  if (s->skew)
    judge_clocks(&j, s);
  if (!trace_layout(s->nodes, s->count, &shape))
    return false;
  gather_answers(&j);
  for (size_t i = 0; i < s->count; i++) {
    const trace_node *n = &s->nodes[i];
    judge_fate(&j, i);
    if (n->origin == TRACE_CYCLE) {
      text_clear(&j.words);
      text_puts(&j.words, "its causes lead back to itself");
      find(&j, i, "cycle");
    } else if (n->origin == TRACE_ELSEWHERE) {
      judge_cause(&j, i);
    } else if (n->parent != TRACE_NONE) {
      judge_order(&j, i, s->nodes[n->parent].source, s->nodes[n->parent].at_us, s->events[n->parent].timed);
      judge_hop(&j, i);
    }
    judge_answer(&j, i);
  }
  c->stories++;
  c->events += s->count;
  free_answers(&j);
  text_free(&j.words);
  trace_shape_free(&shape);
  return true;
}
