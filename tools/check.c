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

static sl_slice keep(sl_slice s) {
  return s.len ? (sl_slice){tool_copy(s.data, s.len), s.len} : (sl_slice){NULL, 0};
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
static char *broken_envelope(check *c, const sl_record *r) {
  const char *p = r->value.data;
  size_t i = 0;
  sl_event e = SL_EVENT_INIT;
  uint32_t missing = 0;
  text words = {0};
  while (i < r->value.len && strchr(" \t\r\n", p[i]) && p[i])
    i++;
  if (i == r->value.len || p[i] != '{')
    return NULL;
  if (sl_envelope_read(c->reader, r->value, &e, &missing) != SL_OK) {
    text_add_safe(&words, slice_of(sl_last_detail()), true);
    return words.data;
  }
  say_other(&words, "event id", e.event_id, r->event_id);
  say_other(&words, "correlation id", e.correlation_id, r->correlation_id);
  say_other(&words, "causation id", e.causation_id, r->causation_id);
  say_other(&words, "type", e.type, r->type);
  if (missing & SL_ENVELOPE_BAD_TIMESTAMP)
    text_printf(&words, "%sits timestamp is not RFC 3339", words.len ? "; " : "");
  return words.data;
}

static char *error_of(const sl_record *r) {
  text words = {0};
  if (r->state != SL_DEAD && r->state != SL_DROPPED)
    return NULL;
  text_add_safe(&words, r->error_code.len ? r->error_code : r->error_class, true);
  if (r->state == SL_DEAD)
    text_printf(&words, " after %" PRIu32 " %s", r->attempts, r->attempts == 1 ? "try" : "tries");
  if (r->error_text.len) {
    text_puts(&words, ": ");
    text_add_safe(&words, r->error_text, true);
  }
  return words.data;
}

void story_add(void *story_reader_, const sl_record *r) {
  story_reader *reader = story_reader_;
  story *s = reader->story;
  text type = {0};
  if (s->count == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 32;
    s->nodes = tool_grow(s->nodes, s->cap * sizeof *s->nodes);
    s->events = tool_grow(s->events, s->cap * sizeof *s->events);
  }
  text_add(&type, r->type.data, r->type.len);
  s->nodes[s->count] = (trace_node){.seq = r->seq,
                                    .at_us = record_time(r),
                                    .event_id = keep(r->event_id),
                                    .correlation_id = keep(r->correlation_id),
                                    .causation_id = keep(r->causation_id),
                                    .duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0};
  s->events[s->count++] = (check_event){.type = type.data ? type.data : tool_copy("", 0),
                                        .error = error_of(r),
                                        .broken = broken_envelope(reader->check, r),
                                        .state = r->state,
                                        .duplicate_of = r->duplicate_of,
                                        .timed = r->occurred_at_us != 0};
}

static void free_slice(sl_slice s) { free((void *)(uintptr_t)s.data); }

void story_free(story *s) {
  for (size_t i = 0; i < s->count; i++) {
    free_slice(s->nodes[i].event_id);
    free_slice(s->nodes[i].correlation_id);
    free_slice(s->nodes[i].causation_id);
    free(s->events[i].type);
    free(s->events[i].error);
    free(s->events[i].broken);
  }
  free(s->nodes);
  free(s->events);
  *s = (story){0};
}

/* ----------------------------------------------------------------- rules --- */

typedef struct judge {
  check *check;
  const story *story;
  check_fn *found;
  void *arg;
  text words;
  struct last_answer { char *stem; uint64_t seq; } *answers; /* of each kind, which are few */
  size_t answer_count;
} judge;

static void find(judge *j, size_t at, const char *kind) {
  j->check->findings++;
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

/* Why is a cause not here? Only what is known is said. */
static void say_where(judge *j, sl_slice cause) {
  const sl_stats *s = &j->check->stats;
  int64_t made = uuid_time(cause), oldest = j->check->oldest_us;
  char when[WHEN_MAX];
  text *w = &j->words;
  text_clear(w);
  text_puts(w, "its cause ");
  text_add_safe(w, cause, true);
  text_puts(w, " is not in this store");
  when_local(made ? made : oldest, when, false);
  if (s->trimmed == 0)
    text_puts(w, " and nothing was ever trimmed from it: it was appended elsewhere, or never");
  else if (made && made < oldest)
    text_printf(w, ": made at %s, before all that is kept; trimmed, or appended elsewhere", when);
  else if (made)
    text_printf(w, ": made at %s, and events from then are kept: it was appended elsewhere, or never", when);
  else
    text_printf(w, ": trimmed (events appended before %s are), or appended elsewhere", when);
}

/* A time may have been cut to whole milliseconds or seconds, which is no skew. */
static int64_t precision(int64_t us) { return us % 1000000 == 0 ? 1000000 : us % 1000 == 0 ? 1000 : 1; }

static void judge_order(judge *j, size_t at, int64_t cause_us, bool cause_timed) {
  const trace_node *n = &j->story->nodes[at];
  int64_t before = cause_us - n->at_us;
  if (!cause_timed || !j->story->events[at].timed || before < precision(n->at_us))
    return;
  text_clear(&j->words);
  text_puts(&j->words, "occurred ");
  text_span(&j->words, before);
  text_puts(&j->words, " before its cause: the clocks of the two producers differ by at least that");
  find(j, at, "before-cause");
}

/* A cause in another story, or in none at all. */
static void judge_cause(judge *j, size_t at) {
  const trace_node *n = &j->story->nodes[at];
  sl_query query = {.event_id = n->causation_id, .limit = 1};
  sl_iter *iter = NULL;
  const sl_record *r;
  sl_status st = sl_iter_start(j->check->tool->store, &query, &iter);
  if (st == SL_OK)
    st = sl_iter_next(iter, &r);
  if (st == SL_OK) {
    judge_order(j, at, r->occurred_at_us, r->occurred_at_us != 0);
  } else if (st == SL_NOTFOUND) {
    say_where(j, n->causation_id);
    find(j, at, "orphan");
  }
  sl_iter_close(iter);
}

static void judge_hop(judge *j, size_t at) {
  const trace_node *n = &j->story->nodes[at], *cause = &j->story->nodes[n->parent];
  const check_event *e = &j->story->events[at], *c = &j->story->events[n->parent];
  const hop *h = hops_causes(j->check->usual, slice_of(c->type), slice_of(e->type));
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
    a->seq = j->story->nodes[i].seq;
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
  return a && a->seq > j->story->nodes[at].seq;
}

/* Judged only where answers to such questions are known to land in this store. */
static void judge_answer(judge *j, size_t at) {
  text stem = {0};
  const check_event *e = &j->story->events[at];
  if (question_stem(slice_of(e->type), &stem) == ROLE_QUESTION && !j->story->nodes[at].duplicate) {
    const hop *h = hops_answers(j->check->usual, (sl_slice){stem.data, stem.len});
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
    find(j, at, e->state == SL_DEAD ? "dead" : "dropped");
  }
  text_clear(&j->words);
  if (e->duplicate_of) {
    text_printf(&j->words, "has the event id of seq %" PRIu64 " in the same topic, and is not sent again", e->duplicate_of);
    find(j, at, "duplicate");
  } else if (says_failed(e->type)) {
    text_puts(&j->words, "says itself that something failed");
    find(j, at, "failed");
  }
  text_clear(&j->words);
  if (e->broken) {
    text_puts(&j->words, e->broken);
    find(j, at, "envelope");
  }
}

bool check_story(check *c, story *s, check_fn *found, void *arg) {
  trace_shape shape;
  judge j = {.check = c, .story = s, .found = found, .arg = arg};
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
      judge_order(&j, i, s->nodes[n->parent].at_us, s->events[n->parent].timed);
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
