/* sidelog dlq show: a dead letter with its history, to the end of it, without secrets. */
#include "dlq.h"

#include "mask.h"
#include "when.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <stdio.h>

static void put_field(tool *t, const char *name, const char *words) {
  out_cell(&t->out, STYLE_DIM, name, 13, false);
  out_safe(&t->out, STYLE_PLAIN, slice_of(words));
  out_puts(&t->out, "\n");
}

static void put_redacted(void *arg, sl_slice words, int is_json) {
  tool *t = arg;
  (void)is_json;
  out_safe(&t->out, STYLE_PLAIN, words);
}

static void redacted(tool *t, const char *name, sl_slice words) {
  out_cell(&t->out, STYLE_DIM, name, 13, false);
  (void)sl_redact(words, put_redacted, t);
  out_puts(&t->out, "\n");
}

static void moment(tool *t, int64_t us, const char *what, sl_slice more) {
  char when[WHEN_MAX];
  if (us <= 0)
    return;
  when_local(us, when, true);
  out_printf(&t->out, "  %s  ", when);
  out_safe(&t->out, STYLE_PLAIN, slice_of(what));
  (void)sl_redact(more, put_redacted, t);
  out_puts(&t->out, "\n");
}

static void put_copy(void *arg, const sl_record *r) {
  char what[96];
  snprintf(what, sizeof what, "replayed as %" PRIu64 ", %s ", r->seq, sl_state_text(r->state));
  moment(arg, r->appended_at_us, what, r->state == SL_DEAD ? r->error_code : slice_of(""));
}

typedef struct ending {
  tool *t;
  const sl_record *record;
} ending;

static void put_drop(void *arg, const sl_dead_letter *l) {
  const ending *e = arg;
  char what[200];
  snprintf(what, sizeof what, "dropped by %.*s: ", (int)e->record->dropped_by.len,
           (const char *)e->record->dropped_by.data);
  moment(e->t, l->dropped_us, what, e->record->drop_reason);
}

/* What became of it in the end, where it is dead no more. */
static void put_end(tool *t, const sl_record *r) {
  char place[64] = "";
  ending e = {t, r};
  if (r->state == SL_DROPPED)
    (void)sl_dead_letter_of(t->store, r->seq, put_drop, &e);
  if (r->state != SL_SENT)
    return;
  if (r->offset >= 0)
    snprintf(place, sizeof place, " to [%" PRId32 "]@%" PRId64, r->partition, r->offset);
  moment(t, r->settled_at_us, "delivered", slice_of(place));
}

static void put_copy_json(void *arg, const sl_record *r) {
  json *j = arg;
  json_open(j);
  json_u64(j, "seq", r->seq);
  json_words(j, "status", sl_state_text(r->state));
  json_time(j, "appended_at", r->appended_at_us);
  if (r->state == SL_DEAD)
    json_text(j, "error_code", r->error_code);
  json_close(j);
}

typedef struct shown {
  tool *t;
  json *json;
} shown;

/* As people are shown it: whole, with its history, without secrets. */
static void show_json(void *arg, const sl_record *r) {
  shown *s = arg;
  mask m = {0};
  const sl_record *masked = mask_record(&m, r);
  if (m.failed) {
    tool_fail(s->t, EXIT_STORE, "out of memory");
  } else {
    json_record_begin(s->json, NULL, masked, JSON_VALUE | JSON_HEADERS);
    json_key(s->json, "replays");
    json_array_open(s->json);
    dlq_copies(s->t, r, put_copy_json, s->json);
    json_array_close(s->json);
    if (option_has(&s->t->given, OPT_READER))
      json_u64(s->json, "handed_again", dlq_replays(s->t, r->seq));
    json_close(s->json);
  }
  mask_free(&m);
}

static void show_letter(void *arg, const sl_record *r) {
  tool *t = arg;
  char number[32];
  snprintf(number, sizeof number, "%" PRIu64, r->seq);
  put_field(t, "seq", number);
  redacted(t, "event", r->event_id);
  redacted(t, "type", r->type);
  redacted(t, "topic", r->topic);
  redacted(t, "class", r->error_class);
  redacted(t, "code", r->error_code);
  redacted(t, "error", r->error_text);
  if (r->key.data)
    redacted(t, "key", r->key);
  for (size_t i = 0; i < r->header_count; i++) {
    out_cell(&t->out, STYLE_DIM, i ? "" : "headers", 13, false);
    out_safe(&t->out, STYLE_PLAIN, r->headers[i].name);
    out_puts(&t->out, ": ");
    if (sl_secret_name(r->headers[i].name))
      out_puts(&t->out, "[redacted]");
    else
      (void)sl_redact(r->headers[i].value, put_redacted, t);
    out_puts(&t->out, "\n");
  }
  out_puts(&t->out, "history\n");
  moment(t, r->appended_at_us, "appended", slice_of(""));
  moment(t, r->first_failure_us, "failed first", slice_of(""));
  snprintf(number, sizeof number, "failed last, try %" PRIu32, r->attempts);
  moment(t, r->last_failure_us, number, slice_of(""));
  if (r->state != SL_SENT)
    moment(t, r->settled_at_us, "set aside", slice_of(""));
  const uint32_t replays = dlq_replays(t, r->seq);
  if (replays) {
    snprintf(number, sizeof number, "%" PRIu32, replays);
    put_field(t, "replays", number);
  }
  dlq_copies(t, r, put_copy, t);
  put_end(t, r);
  if (r->value.len)
    redacted(t, "value", r->value);
  else
    put_field(t, "value", "0 bytes");
  out_puts(&t->out, "\n");
}

int dlq_show(tool *t, const char *event) {
  if (!event)
    return tool_fail(t, EXIT_USAGE, "dlq show needs EVENT: a seq or an event id");
  if (!t->json)
    return dlq_one(t, event, show_letter, t);
  shown s = {t, json_new(&t->out)};
  int code = dlq_one(t, event, show_json, &s);
  json_free(s.json);
  return code;
}
