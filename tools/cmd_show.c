/* show: one event with all that is known of it. */
#include "sources.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void label(tool *t, const char *name) { out_cell(&t->out, STYLE_DIM, name, 13, false); }

static void id_field(tool *t, const char *name, sl_slice value) {
  if (value.len == 0)
    return;
  label(t, name);
  out_safe(&t->out, STYLE_PLAIN, value);
  out_puts(&t->out, "\n");
}

static void time_field(tool *t, const char *name, int64_t us, const char *more) {
  char when[WHEN_MAX];
  text ago = {0};
  if (us == 0)
    return;
  when_local(us, when, true);
  text_ago(&ago, t->now_us - us);
  label(t, name);
  out_printf(&t->out, "%s  (%s)%s\n", when, text_str(&ago), more);
  text_free(&ago);
}

static void status_field(tool *t, const sl_record *r) {
  text words = {0};
  label(t, "status");
  out_styled(&t->out, state_style(r->state), sl_state_text(r->state));
  if (r->state == SL_SENT) {
    if (r->partition >= 0)
      text_printf(&words, " to partition %" PRId32, r->partition);
    if (r->partition < 0)
      text_puts(&words, ", as the cluster's progress says; where is not known");
    else if (r->offset >= 0)
      text_printf(&words, " at offset %" PRId64, r->offset);
    else
      text_puts(&words, ", offset not told by the broker");
    if (r->topic_recreated)
      text_puts(&words, " of a topic since deleted and created again");
  } else if (r->state == SL_DEAD || r->state == SL_DROPPED) {
    text_puts(&words, ": ");
    text_add_safe(&words, r->error_code, t->out.term.unicode);
    text_printf(&words, " after %" PRIu32 " %s (", r->attempts, r->attempts == 1 ? "try" : "tries");
    text_add_safe(&words, r->error_class, t->out.term.unicode);
    text_puts(&words, ")");
  } else if (r->duplicate_of) {
    text_printf(&words, "%s of seq %" PRIu64, r->state == SL_PENDING ? ", a duplicate" : "", r->duplicate_of);
  }
  if (r->settled_at_us && r->settled_at_us >= r->appended_at_us) {
    text_puts(&words, ", ");
    text_span(&words, r->settled_at_us - r->appended_at_us);
    text_puts(&words, " after its append");
  }
  out_printf(&t->out, "%s\n", text_str(&words));
  text_free(&words);
  if (r->error_text.len)
    id_field(t, "error", r->error_text);
  if (r->state == SL_DEAD && t->store) { /* of one store */
    label(t, "");
    out_printf(&t->out, "-> sidelog dlq show %" PRIu64 "\n", r->seq);
  }
}

/* Bytes that are no text, as people look at them. */
static void hex_dump(tool *t, sl_slice bytes) {
  enum { MOST = 512 };
  const unsigned char *p = bytes.data;
  for (size_t i = 0; i < bytes.len && i < MOST; i += 16) {
    out_printf(&t->out, "%08zx ", i);
    for (size_t k = 0; k < 16; k++)
      if (i + k < bytes.len)
        out_printf(&t->out, " %02x", p[i + k]);
      else
        out_puts(&t->out, "   ");
    out_puts(&t->out, "  ");
    for (size_t k = 0; k < 16 && i + k < bytes.len; k++)
      out_printf(&t->out, "%c", p[i + k] >= 0x20 && p[i + k] < 0x7f ? p[i + k] : '.');
    out_puts(&t->out, "\n");
  }
  if (bytes.len > MOST)
    out_puts(&t->out, "... (--raw writes all of it)\n");
}

static void lines_of_text(tool *t, sl_slice bytes) {
  const char *p = bytes.data, *end = p + bytes.len;
  while (p < end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    size_t len = newline ? (size_t)(newline - p) : (size_t)(end - p);
    out_safe(&t->out, STYLE_PLAIN, (sl_slice){p, len});
    out_puts(&t->out, "\n");
    p += len + 1;
  }
}

static void show_value(tool *t, const sl_record *r) {
  bool is_json = json_valid(r->value), words = utf8_ok(r->value);
  text line = {0};
  text_count(&line, r->value.len);
  label(t, "value");
  out_printf(&t->out, "%s %s%s\n", text_str(&line), r->value.len == 1 ? "byte" : "bytes",
             r->value.len == 0 ? ""
             : is_json         ? ", JSON"
             : words           ? ", text"
                               : ", binary");
  text_clear(&line);
  if (r->value.len)
    out_puts(&t->out, "\n");
  if (is_json && t->out.term.tty) {
    json_pretty(&line, r->value, t->out.term.unicode);
    out_add(&t->out, text_str(&line), line.len);
    out_puts(&t->out, "\n");
  } else if (words) {
    lines_of_text(t, r->value);
  } else {
    hex_dump(t, r->value);
  }
  text_free(&line);
}

typedef struct showing {
  tool *t;
  json *json;
  uint64_t count;
  uint64_t first_seq;
  bool many;
} showing;

/* Of several stores: which one, and what became of the event in others. */
static void store_field(tool *t, const sl_record *r) {
  copies c = {0};
  text words = {0};
  if (!many(t))
    return;
  copies_find(t, t->from, r, &c);
  text_puts(&words, t->sources[t->from].name);
  text_puts(&words, c.count ? ", " : "");
  text also = {0};
  copies_words(&also, t, &c);
  text_puts(&words, text_str(&also));
  id_field(t, "store", (sl_slice){text_str(&words), words.len});
  text_free(&words);
  text_free(&also);
  copies_free(&c);
}

static void show_event(void *arg, const sl_record *r) {
  showing *s = arg;
  tool *t = s->t;
  if (s->json) {
    record_json(t, s->json, r, JSON_VALUE | JSON_HEADERS);
    return;
  }
  if (s->count++)
    out_puts(&t->out, "\n");
  id_field(t, "event", r->event_id);
  store_field(t, r);
  label(t, "seq");
  out_printf(&t->out, "%" PRIu64 "\n", r->seq);
  id_field(t, "type", r->type);
  id_field(t, "topic", r->topic);
  status_field(t, r);
  id_field(t, "correlation", r->correlation_id);
  id_field(t, "causation", r->causation_id);
  id_field(t, "key", r->key);
  id_field(t, "tenant", r->tenant);
  id_field(t, "source", r->source);
  time_field(t, "occurred", r->occurred_at_us, "");
  time_field(t, "appended", r->appended_at_us, "");
  time_field(t, "settled", r->settled_at_us, "");
  for (size_t i = 0; i < r->header_count; i++) {
    label(t, i == 0 ? "headers" : "");
    out_safe(&t->out, STYLE_PLAIN, r->headers[i].name);
    out_puts(&t->out, ": ");
    out_safe(&t->out, STYLE_PLAIN, r->headers[i].value);
    out_puts(&t->out, "\n");
  }
  show_value(t, r);
}

static void count_event(void *arg, const sl_record *r) {
  showing *s = arg;
  if (r->state != SL_DUPLICATE && !r->duplicate_of)
    s->many = s->count++ > 0;
}

static void write_value(void *arg, const sl_record *r) {
  showing *s = arg;
  if (s->first_seq == 0)
    out_add(&s->t->out, r->value.data, r->value.len);
  s->first_seq = r->seq;
}

static void name_event(void *arg, const sl_record *r) {
  showing *s = arg;
  text words = {0};
  place_words(&words, s->t, s->t->from, r->seq);
  tool_note(s->t, "  %s in topic %.*s", text_str(&words), (int)r->topic.len, (const char *)r->topic.data);
  text_free(&words);
}

static int show_raw(tool *t, const sl_query *query) {
  showing s = {.t = t};
  int code = tool_each(t, query, count_event, &s, NULL);
  if (code == EXIT_DONE && s.many) {
    tool_note(t, many(t) ? "this is more than one event; name one by its seq, in one store:"
                         : "this event id stands in several topics; name one event by its seq:");
    tool_each(t, query, name_event, &s, NULL);
    return EXIT_USAGE;
  }
  uint64_t found = 0;
  code = code == EXIT_DONE ? tool_each(t, query, write_value, &s, &found) : code;
  return code == EXIT_DONE && found == 0 ? EXIT_NOTHING : code;
}

int run_show(tool *t) {
  char id[SL_ID_MAX];
  sl_query query;
  uint64_t found = 0;
  int code = look_event(t, t->args[0], &query, id);
  if (code != EXIT_DONE)
    return code;
  if (option_has(&t->given, OPT_RAW)) {
    code = show_raw(t, &query);
  } else {
    showing s = {.t = t, .json = t->json ? json_new(&t->out) : NULL};
    code = tool_each(t, &query, show_event, &s, &found);
    json_free(s.json);
    code = code == EXIT_DONE && found == 0 ? EXIT_NOTHING : code;
  }
  if (code == EXIT_NOTHING) {
    text words = {0};
    sources_words(&words, t);
    tool_note(t, "there is no event %s in %s", t->args[0], text_str(&words));
    text_free(&words);
  }
  return code;
}
