#include "bundle_page.h"

#include "when.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ text --- */

/* `lines`: line breaks and tabs stay. */
static void add_html(text *out, sl_slice bytes, bool lines) {
  static const char from[] = "&<>\"'", *const to[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
  const char *data = bytes.data;
  size_t size, plain = 0, i = 0;
  for (; i < bytes.len; i += size) {
    int32_t point = utf8_next(data + i, bytes.len - i, &size);
    const char *markup = point > 0 && point < 0x80 ? strchr(from, point) : NULL;
    bool breaks = point == '\n' || point == '\t';
    if (!markup && (breaks ? lines : !char_is_hostile(point)))
      continue;
    text_add(out, data + plain, i - plain);
    plain = i + size;
    if (markup)
      text_puts(out, to[markup - from]);
    else if (breaks || point == '\r')
      text_puts(out, point == '\n' ? "\\n" : point == '\t' ? "\\t" : "\\r");
    else if (point < 0)
      text_printf(out, "\\x%02x", (unsigned char)data[i]);
    else if (point < 0x80)
      text_printf(out, "\\x%02x", (unsigned)point);
    else
      text_printf(out, "\\u{%" PRIx32 "}", (uint32_t)point);
  }
  text_add(out, data + plain, bytes.len - plain);
}

static void add_masked(void *out, sl_slice words, int is_json) {
  (void)is_json;
  add_html(out, words, false);
}

static char *html_of(sl_slice bytes) {
  text words = {0};
  add_html(&words, bytes, false);
  return words.data ? words.data : tool_copy("", 0);
}

/* ---------------------------------------------------------------- events --- */

static void add_field(text *out, const char *name, sl_slice bytes) {
  if (!bytes.len)
    return;
  text_printf(out, "<tr><th>%s<td>", name);
  add_html(out, bytes, false);
  text_puts(out, "\n");
}

static void add_time(text *out, const char *name, int64_t us) {
  char when[WHEN_MAX];
  if (us == 0)
    return;
  when_rfc3339(us, when);
  add_field(out, name, slice_of(when));
}

static void add_number(text *out, const char *name, bool known, int64_t n) {
  if (known)
    text_printf(out, "<tr><th>%s<td>%" PRId64 "\n", name, n);
}

static void add_fields(text *out, const sl_record *r) {
  bool failed = r->state == SL_DEAD || r->state == SL_DROPPED;
  add_field(out, "event_id", r->event_id);
  add_field(out, "event_type", r->type);
  add_field(out, "topic", r->topic);
  add_field(out, "correlation_id", r->correlation_id);
  add_field(out, "causation_id", r->causation_id);
  add_field(out, "source", r->source);
  add_field(out, "tenant", r->tenant);
  add_field(out, "key", r->key);
  add_time(out, "occurred_at", r->occurred_at_us);
  add_time(out, "appended_at", r->appended_at_us);
  add_field(out, "status", slice_of(sl_state_text(r->state)));
  add_time(out, "settled_at", r->settled_at_us);
  add_number(out, "partition", r->state == SL_SENT && r->partition >= 0, r->partition);
  add_number(out, "offset", r->state == SL_SENT && r->offset >= 0, r->offset);
  add_number(out, "duplicate_of", r->duplicate_of != 0, (int64_t)r->duplicate_of);
  add_number(out, "replay_of", r->replay_of != 0, (int64_t)r->replay_of);
  add_field(out, "error_class", r->error_class);
  add_field(out, "error_code", r->error_code);
  add_field(out, "error_text", r->error_text);
  add_number(out, "attempts", failed, r->attempts);
  add_time(out, "first_failure_at", r->first_failure_us);
  add_time(out, "last_failure_at", r->last_failure_us);
  add_field(out, "dropped_by", r->dropped_by);
  add_field(out, "drop_reason", r->drop_reason);
  for (size_t i = 0; i < r->header_count; i++) {
    text_puts(out, "<tr><th>header ");
    add_html(out, r->headers[i].name, false);
    text_puts(out, "<td>");
    add_html(out, r->headers[i].value, false);
    text_puts(out, "\n");
  }
  text_puts(out, "</table>\n");
}

/* What fits, up to a whole character. */
static size_t cut_at(sl_slice bytes, size_t most) {
  const char *data = bytes.data;
  if (bytes.len <= most)
    return bytes.len;
  for (size_t back = 0; back < 4 && back < most; back++)
    if (((unsigned char)data[most - back] & 0xc0) != 0x80)
      return most - back;
  return most;
}

static void add_value(page *p, const sl_record *r) {
  text *out = &p->events, pretty = {0};
  size_t left = PAGE_VALUES - p->value_bytes, most = left < PAGE_VALUE ? left : PAGE_VALUE;
  size_t len = cut_at(r->value, most);
  sl_slice shown = {r->value.data, len};
  text_puts(out, "<p class=size>value: ");
  text_bytes(out, r->value.len);
  if (len < r->value.len) {
    text_puts(out, len ? ", <b>cut</b>: the first " : ", <b>left out</b>");
    if (len)
      text_bytes(out, len);
    text_puts(out, "; the whole value is in the file of events");
  }
  text_puts(out, "</p>\n");
  if (len == r->value.len && json_valid(r->value)) {
    json_pretty(&pretty, r->value, true);
    /* Indentation can make much of little. */
    if (pretty.len <= 2 * (size_t)PAGE_VALUE)
      shown = (sl_slice){pretty.data, pretty.len};
  }
  p->value_bytes += len;
  /* The first line break behind <pre> is no part of it. */
  text_puts(out, "<pre>\n");
  add_html(out, shown, true);
  text_puts(out, "</pre>\n");
  text_free(&pretty);
}

/* Seqs are each store's own. */
static void anchor_of(text *out, const tool *t, size_t from, uint64_t seq) {
  if (many(t))
    text_printf(out, "e%zu-%" PRIu64, from, seq);
  else
    text_printf(out, "e%" PRIu64, seq);
}

void page_add(page *p, const sl_record *r, const sl_record *shown) {
  text place = {0}, note = {0}, anchor = {0};
  tool *t = p->tool;
  p->count++;
  if (many(t)) {
    p->skew = p->skew ? p->skew : skew_new(t->source_count);
    copies_find(t, t->from, r, &p->copies);
    clocks_learn(t, p->skew, r, &p->copies, p->tallies);
  }
  if ((unsigned)r->state < SL_STATE_COUNT)
    p->states[r->state]++;
  if (p->shown == PAGE_EVENTS)
    return;
  if (p->shown == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 64;
    p->nodes = tool_grow(p->nodes, p->cap * sizeof *p->nodes);
    p->rows = tool_grow(p->rows, p->cap * sizeof *p->rows);
  }
  record_place(&place, shown, true, true);
  copies_words(&note, t, &p->copies);
  anchor_of(&anchor, t, t->from, r->seq);
  p->nodes[p->shown] = (trace_node){.seq = r->seq,
                                    .at_us = r->occurred_at_us ? r->occurred_at_us : r->appended_at_us,
                                    .id = trace_key(r->event_id),
                                    .cause = trace_key(r->causation_id),
                                    .story = trace_key(r->correlation_id),
                                    .duplicate = r->state == SL_DUPLICATE || r->duplicate_of != 0,
                                    .source = (uint16_t)t->from};
  p->rows[p->shown++] = (trace_row){.type = html_of(shown->type),
                                    .store = many(t) ? t->sources[t->from].name : NULL,
                                    .note = note.data,
                                    .source = html_of(shown->source),
                                    .place = html_of((sl_slice){text_str(&place), place.len}),
                                    .state = r->state,
                                    .occurred_us = r->occurred_at_us,
                                    .appended_us = r->appended_at_us,
                                    .settled_us = r->settled_at_us};
  const char *state = sl_state_text(r->state);
  text_puts(&p->events, "<details><summary>");
  place_words(&p->events, t, t->from, r->seq);
  text_printf(&p->events, " <b>%s</b> <i class=%s>%s</i></summary>\n", p->rows[p->shown - 1].type, state, state);
  /* Inside: browsers open what a link leads into. */
  text_printf(&p->events, "<table id=\"%s\">\n", text_str(&anchor));
  add_fields(&p->events, shown);
  add_value(p, shown);
  text_puts(&p->events, "</details>\n");
  text_free(&place);
  text_free(&anchor);
}

void page_free(page *p) {
  for (size_t i = 0; i < p->shown; i++) {
    free(p->rows[i].type);
    free(p->rows[i].source);
    free(p->rows[i].place);
    free(p->rows[i].note);
  }
  skew_free(p->skew);
  copies_free(&p->copies);
  free(p->nodes);
  free(p->rows);
  text_free(&p->events);
  *p = (page){.tool = p->tool, .redacted = p->redacted};
}

/* ------------------------------------------------------------------ page --- */

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'\">\n"
    "<meta name=\"referrer\" content=\"no-referrer\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n";

static const char styles[] =
    "<style>\n"
    ":root { color-scheme: light dark }\n"
    "body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5em }\n"
    "h1 { font-size: 1.2em } h2 { font-size: 1.05em; margin-top: 1.6em }\n"
    "table { border-collapse: collapse } .scroll { overflow-x: auto }\n"
    "th, td { text-align: left; padding: .1em .8em .1em 0; vertical-align: top; unicode-bidi: isolate;\n"
    "  font-weight: normal }\n"
    "th { opacity: .65 } b { unicode-bidi: isolate } i { font-style: normal }\n"
    ".story td { white-space: nowrap } .story .n { text-align: right }\n"
    ".story .tree { white-space: pre; font-family: monospace }\n"
    "details { border-top: 1px solid #8884; padding: .3em 0 } summary { cursor: pointer }\n"
    "details td, pre { overflow-wrap: anywhere; font-family: monospace }\n"
    "pre { white-space: pre-wrap; max-height: 40em; overflow: auto; background: #8881; padding: .6em;\n"
    "  margin: .2em 0 }\n"
    ".size, .note { opacity: .8; margin: .4em 0 0 }\n"
    "svg line { stroke: #888; stroke-width: 1.5 } svg circle { fill: currentColor } .largest line { stroke: #d80 }\n"
    ".sent { color: #2a7d2a } .dead { color: #d22; font-weight: bold } .pending { color: #b70 }\n"
    ".dropped { color: #a3a } .duplicate { opacity: .6 }\n"
    "</style>\n";

static void add_span(text *out, bool known, int64_t us) {
  text_puts(out, "<td class=n>");
  if (!known)
    return;
  text_puts(out, us < 0 ? "-" : "+");
  text_span(out, us < 0 ? -us : us);
}

static int column_of(int64_t at_us, const trace_shape *shape) {
  int64_t whole = shape->end_us - shape->begin_us;
  return 4 + (whole <= 0 ? 0 : (int)((double)(at_us - shape->begin_us) / (double)whole * 192 + 0.5));
}

static void add_note(page *p, text *out, const char *note) {
  if (!p->redacted)
    add_html(out, slice_of(note), false);
  else if (sl_redact(slice_of(note), add_masked, out) != SL_OK)
    text_puts(out, "[redacted]");
}

static void add_row(page *p, text *out, size_t i, const trace_shape *shape) {
  const trace_node *n = &p->nodes[i];
  const trace_row *r = &p->rows[i];
  int here = column_of(n->at_us, shape);
  int before = n->earlier == TRACE_NONE ? here : column_of(p->nodes[n->earlier].at_us, shape);
  text_puts(out, "<tr>");
  add_span(out, true, n->at_us - shape->begin_us);
  text_puts(out, r->moved ? " ~" : "");
  text_printf(out, "<td><svg width=200 height=12 aria-hidden=true%s>",
              shape->largest == i ? " class=largest" : "");
  text_printf(out, "<line x1=%d y1=6 x2=%d y2=6></line><circle cx=%d cy=6 r=3.5></circle></svg>", before, here,
              here);
  text_puts(out, "<td class=tree>");
  trace_tree(out, p->nodes, i, true);
  text_puts(out, "<a href=\"#");
  anchor_of(out, p->tool, n->source, n->seq);
  text_printf(out, "\">%s</a>%s%s<td>%s<td class=%s>%s<td>%s", r->type, r->store ? "<td>" : "",
              r->store ? r->store : "",
              r->source, sl_state_text(r->state), sl_state_text(r->state), r->place);
  text_puts(out, shape->largest == i ? "<td>\u25c0 largest gap" : "<td>");
  if (r->note) {
    text_puts(out, shape->largest == i ? ", " : "");
    add_note(p, out, r->note);
  }
  add_span(out, n->parent != TRACE_NONE, n->parent == TRACE_NONE ? 0 : n->at_us - p->nodes[n->parent].at_us);
  add_span(out, n->earlier != TRACE_NONE, trace_gap(p->nodes, i));
  add_span(out, r->occurred_us != 0, r->appended_us - r->occurred_us);
  add_span(out, r->settled_us != 0 && r->state == SL_SENT, r->settled_us - r->appended_us);
  text_puts(out, "\n");
}

static void add_stores(page *p, text *out) {
  text words = {0};
  for (size_t i = 0; i < p->tool->source_count && p->skew; i++) {
    text_clear(&words);
    source_words(&words, p->tool, p->skew, i, p->tallies);
    text_printf(out, "<p class=note><b>%s</b>: ", p->tool->sources[i].name);
    add_html(out, (sl_slice){text_str(&words), words.len}, false);
    text_puts(out, "</p>\n");
  }
  text_free(&words);
}

static void add_about(page *p, text *out, sl_slice id, const trace_shape *shape, const char *lines) {
  char when[WHEN_MAX], host[256] = "";
  text_puts(out, "<title>sidelog: ");
  add_html(out, id, false);
  text_puts(out, "</title>\n");
  text_puts(out, styles);
  text_puts(out, "</head><body>\n<h1>correlation <b>");
  add_html(out, id, false);
  text_puts(out, "</b></h1>\n<p>");
  text_counted(out, p->count, "event", "events");
  text_puts(out, " in ");
  text_span(out, shape->end_us - shape->begin_us);
  for (int s = 0; s < SL_STATE_COUNT; s++)
    if (p->states[s]) {
      text_printf(out, ", <i class=%s>", sl_state_text((sl_state)s));
      text_count(out, p->states[s]);
      text_printf(out, " %s</i>", sl_state_text((sl_state)s));
    }
  when_rfc3339(p->tool->now_us, when);
  text_puts(out, ".<br>As the store on host ");
  if (gethostname(host, sizeof host - 1) == 0)
    add_html(out, slice_of(host), false);
  text_printf(out, " had it at %s. Times are UTC, those in the table relative to the first event.</p>\n", when);
  add_stores(p, out);
  text_puts(out, "<p class=note>");
  text_puts(out,
            p->redacted ? "Secrets of well-known shapes were <b>redacted</b>. That is a net, not a wall: look "
                               "before you pass it on."
                             : "<b>Not redacted</b>: values are as they were appended.");
  text_puts(out, " For programs the same events are in ");
  add_html(out, slice_of(lines), false);
  text_puts(out, ".</p>\n");
  if (p->count > p->shown) {
    text_puts(out, "<p class=note><b>Cut</b>: the page shows the first ");
    text_count(out, p->shown);
    text_puts(out, " events; all are in the file of events.</p>\n");
  }
}

static void move(trace_node *n, trace_row *r, int64_t shift_us) {
  r->moved = shift_us != 0;
  n->at_us -= shift_us;
  r->occurred_us -= r->occurred_us ? shift_us : 0;
  r->appended_us -= shift_us;
  r->settled_us -= r->settled_us ? shift_us : 0;
}

static void move_times(page *p) {
  clocks_settle(p->tool, p->skew);
  for (size_t i = 0; i < p->shown; i++)
    move(&p->nodes[i], &p->rows[i], p->tool->sources[p->nodes[i].source].shift_us);
}

static void take_note(void *page_, size_t at, char *words) {
  page *p = page_;
  p->rows[at].note = join_notes(p->rows[at].note, words);
}

bool page_write(page *p, output *o, sl_slice id, const char *lines) {
  trace_shape shape;
  text part = {0};
  if (p->skew)
    move_times(p);
  if (!trace_layout(p->nodes, p->shown, &shape))
    return false;
  trace_notes(p->tool, p->nodes, p->shown, take_note, p);
  out_puts(o, head);
  add_about(p, &part, id, &shape, lines);
  text_puts(&part, "<h2>What happened, and what caused what</h2>\n<div class=scroll><table class=story>\n"
                   "<tr><th class=n>when<th><th>event");
  text_puts(&part, many(p->tool) ? "<th>store" : "");
  text_puts(&part, "<th>source<th>status<th>where<th>"
                   "<th class=n>after its cause<th class=n>gap<th class=n>appended<th class=n>acknowledged\n");
  for (size_t k = 0; k < p->shown && !o->error; k++) {
    add_row(p, &part, shape.order[k], &shape);
    out_add(o, part.data, part.len);
    text_clear(&part);
  }
  out_puts(o, "</table></div>\n<h2>Events</h2>\n");
  out_add(o, text_str(&p->events), p->events.len);
  out_puts(o, "</body></html>\n");
  text_free(&part);
  trace_shape_free(&shape);
  return true;
}
