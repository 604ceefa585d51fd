/* status: one look at store and agent. What is said of each is in health.c. */
#include "status_view.h"

#include "health.h"
#include "law.h"

#include <sidelog/reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_agent(tool *t, look *l, char **report) {
  size_t len = 0, cap = 64 << 10;
  *report = tool_alloc(cap);
  l->alive = sl_agent_alive(t->store, &l->pid, &l->since_us) == SL_OK;
  sl_status st = sl_agent_report(t->store, *report, cap, &len);
  if (st != SL_OK || len >= cap) {
    free(*report);
    *report = NULL;
    return;
  }
  (*report)[len] = 0;
  agent_word_read(&l->word, *report);
}

/* The one event that a query finds first; `each` copies what it needs. */
static bool first_of(tool *t, const sl_query *query, look *l,
                     void (*each)(look *l, const sl_record *r, bool unicode)) {
  sl_iter *iter = NULL;
  const sl_record *r;
  bool found = sl_iter_start(t->store, query, &iter) == SL_OK && sl_iter_next(iter, &r) == SL_OK;
  if (found)
    each(l, r, t->out.term.unicode);
  sl_iter_close(iter);
  return found;
}

static void note_dead(look *l, const sl_record *r, bool unicode) {
  l->newest_dead_us = r->settled_at_us ? r->settled_at_us : r->appended_at_us;
  text_add_safe(&l->newest_dead, r->error_code.len ? r->error_code : r->error_class, unicode);
  text_puts(&l->newest_dead, " on ");
  text_add_safe(&l->newest_dead, topic_short(r->topic), unicode);
}

static void add_reader(void *arg, const sl_reader_info *i) {
  look *l = arg;
  l->readers++;
  l->reader_letters += i->waiting_dead;
  l->reader_missed += i->missed;
  l->readers_wrong = l->readers_wrong || !i->balanced;
  if (i->lag <= l->reader_lag)
    return;
  l->reader_lag = i->lag;
  snprintf(l->reader_name, sizeof l->reader_name, "%s", i->name);
}

sl_status status_look(tool *t, look *l, char **report) {
  sl_query dead = {.states = SL_STATE_BIT(SL_DEAD), .flags = SL_QUERY_NEWEST, .limit = 1};
  sl_status st = sl_stats_get(t->store, &l->stats);
  if (st != SL_OK)
    return st;
  read_agent(t, l, report);
  l->now_us = clock_us();
  if (l->stats.dead)
    first_of(t, &dead, l, note_dead);
  st = sl_readers_each(t->store, add_reader, l);
  l->readers_wrong = l->readers_wrong || st == SL_E_CORRUPT;
  return st == SL_E_CORRUPT ? SL_OK : st;
}

/* ----------------------------------------------------------------- people --- */

/* A label and words behind it, broken at blanks where the width asks for it. */
static void line(output *o, const char *label, text *words, style s) {
  enum { INDENT = 9 };
  int room = o->term.width ? o->term.width - INDENT : INT32_MAX, used = 0;
  out_cell(o, STYLE_DIM, label, INDENT, false);
  for (const char *p = text_str(words); *p;) {
    size_t blanks = strspn(p, " "), len = strcspn(p + blanks, " ");
    char *word = tool_copy(p + blanks, len);
    int width = text_width(word);
    if (used && used + (int)blanks + width > room) {
      out_puts(o, "\n");
      out_blanks(o, INDENT);
      used = 0;
    }
    if (used) {
      out_blanks(o, (int)blanks);
      used += (int)blanks;
    }
    out_styled(o, s, word);
    used += width;
    p += blanks + len;
    free(word);
  }
  out_puts(o, "\n");
  text_clear(words);
}

static void head(tool *t, uint32_t troubles) {
  output *o = &t->out;
  text path = {0}, verdict = {0};
  char *brief = path_brief(t->path);
  text_add_safe(&path, slice_of(brief), o->term.unicode);
  free(brief);
  for (int i = 0; i < TROUBLE_COUNT; i++)
    if (troubles & 1u << i)
      text_printf(&verdict, "%s%s", verdict.len ? ", " : "not well: ", trouble_words((trouble)i));
  if (!troubles)
    text_puts(&verdict, "all well");
  int wide = o->term.width, words = text_width(text_str(&verdict));
  out_styled(o, STYLE_BOLD, "sidelog");
  out_puts(o, "  ");
  if (wide && 9 + text_width(text_str(&path)) + 2 + words > wide) {
    /* The verdict stands alone below a long path. */
    text_cut(&path, wide - 9, true, o->term.unicode);
    out_printf(o, "%s\n         ", text_str(&path));
    text_cut(&verdict, wide - 9, false, o->term.unicode);
  } else {
    int at = wide == 0 || wide > 80 ? 61 : wide - words - 9 < 43 ? wide - words - 9 : 43;
    out_cell(o, STYLE_PLAIN, text_str(&path), at > text_width(text_str(&path)) + 2 ? at : 0, false);
    if (at <= text_width(text_str(&path)) + 2)
      out_puts(o, "  ");
  }
  out_styled(o, troubles ? STYLE_RED : STYLE_GREEN, text_str(&verdict));
  out_puts(o, "\n");
  text_free(&path);
  text_free(&verdict);
}

void status_people(tool *t, const look *l, uint32_t troubles) {
  output *o = &t->out;
  text words = {0};
  uint32_t agent = 1u << TROUBLE_NO_AGENT | 1u << TROUBLE_SILENT,
           broker = 1u << TROUBLE_BROKER | 1u << TROUBLE_PARKED;
  head(t, troubles);
  health_agent(&words, l);
  line(o, "agent", &words, troubles & agent ? STYLE_RED : STYLE_PLAIN);
  health_broker(&words, l, o->term.unicode);
  line(o, "broker", &words, troubles & broker ? STYLE_RED : STYLE_PLAIN);
  health_backlog(&words, l);
  line(o, "backlog", &words, troubles & 1u << TROUBLE_LANES ? STYLE_RED : STYLE_PLAIN);
  for (size_t i = 0; l->stats.lanes && i < l->word.lane_count; i++) {
    const agent_lane *lane = &l->word.lanes[i];
    text_printf(&words, "%s cannot be written: %s%s%s; its events wait in order", lane->topic,
                lane->code[0] ? lane->code : "not tried yet", lane->text[0] ? ", " : "", lane->text);
    if (lane->oldest_us > 0 && lane->oldest_us < l->now_us) {
      text_puts(&words, ", the oldest from ");
      text_ago(&words, l->now_us - lane->oldest_us);
    }
    if (lane->kept_bytes > 0) {
      text_puts(&words, "; they keep ");
      text_bytes(&words, (uint64_t)lane->kept_bytes);
      text_puts(&words, " of the log");
    }
    line(o, "lane", &words, STYLE_RED);
  }
  health_dead(&words, l);
  line(o, "dead", &words, STYLE_PLAIN);
  if (l->readers || l->readers_wrong) {
    health_readers(&words, l);
    line(o, "readers", &words, troubles & 1u << TROUBLE_READERS ? STYLE_RED : STYLE_PLAIN);
  }
  health_disk(&words, l);
  line(o, "disk", &words, troubles & 1u << TROUBLE_DISK ? STYLE_RED : STYLE_PLAIN);
  law_words(&words, &l->stats);
  line(o, "law", &words, troubles & 1u << TROUBLE_LAW ? STYLE_RED : STYLE_PLAIN);
  text_free(&words);
}

/* ---------------------------------------------------------------- machines --- */

static void time_or_null(json *j, const char *name, int64_t us) {
  if (us)
    json_time(j, name, us);
  else
    json_null(j, name);
}

static void to_json(tool *t, const look *l, uint32_t troubles, const char *report) {
  const sl_stats *s = &l->stats;
  json *j = json_new(&t->out);
  json_open(j);
  json_bool(j, "well", troubles == 0);
  json_key(j, "problems");
  json_array_open(j);
  for (int i = 0; i < TROUBLE_COUNT; i++)
    if (troubles & 1u << i)
      json_item(j, trouble_name((trouble)i));
  json_array_close(j);
  json_words(j, "store", t->path);
  json_words(j, "store_id", sl_store_id(t->store));
  json_key(j, "agent");
  json_open(j);
  json_bool(j, "running", l->alive);
  if (l->alive) {
    json_i64(j, "pid", l->pid);
    json_time(j, "since", l->since_us);
  }
  json_words(j, "state", agent_state_text(l->word.state));
  time_or_null(j, "last_commit_at", l->word.last_commit_us);
  json_key(j, "report");
  json_raw(j, report ? slice_of(report) : (sl_slice){NULL, 0});
  json_close(j);
  json_key(j, "backlog");
  json_open(j);
  json_u64(j, "pending", s->pending);
  time_or_null(j, "oldest_pending_at", s->oldest_pending_us);
  json_u64(j, "lanes", s->lanes);
  json_close(j);
  json_key(j, "dead");
  json_open(j);
  json_u64(j, "letters", s->dead);
  time_or_null(j, "newest_at", l->newest_dead_us);
  json_close(j);
  json_key(j, "readers");
  json_open(j);
  json_u64(j, "readers", l->readers);
  json_u64(j, "lag", l->reader_lag);
  json_u64(j, "letters", l->reader_letters);
  json_u64(j, "missed", l->reader_missed);
  json_close(j);
  json_key(j, "disk");
  json_open(j);
  json_u64(j, "bytes_used", s->bytes_used);
  json_u64(j, "bytes_free", s->bytes_free);
  json_u64(j, "bytes_reserved", s->bytes_reserved);
  json_u64(j, "bytes_quota", s->bytes_quota);
  json_u64(j, "bytes_on_disk", s->bytes_on_disk);
  double left = health_seconds_left(l);
  if (left >= 0)
    json_u64(j, "seconds_until_full", (uint64_t)left);
  else
    json_null(j, "seconds_until_full");
  json_close(j);
  json_key(j, "law");
  json_open(j);
  json_u64(j, "appended", s->appended);
  json_u64(j, "delivered", s->delivered);
  json_u64(j, "duplicates", s->duplicates);
  json_u64(j, "dead", s->dead);
  json_u64(j, "dropped", s->dropped);
  json_u64(j, "pending", s->pending);
  json_bool(j, "balanced", s->balanced);
  json_close(j);
  json_close(j);
  json_free(j);
}

int run_status(tool *t) {
  look l = {.now_us = t->now_us};
  char *report = NULL;
  sl_status st = status_look(t, &l, &report);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot read the books");
  uint32_t troubles = health_judge(&l);
  if (t->json)
    to_json(t, &l, troubles, report);
  else
    status_people(t, &l, troubles);
  text_free(&l.newest_dead);
  free(report);
  return troubles ? EXIT_WRONG : EXIT_DONE;
}
