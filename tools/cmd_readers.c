/* sidelog readers: how local readers fare. */
#include "tool.h"

#include "when.h"

#include <inttypes.h>
#include <sidelog/reader.h>
#include <stdio.h>
#include <string.h>

typedef struct view {
  tool *t;
  json *json;
  table *table;
  const char *one; /* the reader that was asked for; NULL: all */
  uint64_t count;
  bool wrong;
} view;

/* Of one reader: what is to be tried again, and when. */
static void put_retry(void *arg, const sl_reader_letter *l) {
  view *v = arg;
  text words = {0};
  const sl_slice error = l->error_code.len ? l->error_code : l->error_class;
  if (l->dead)
    return;
  if (v->json) {
    json_open(v->json);
    json_u64(v->json, "seq", l->seq);
    json_u64(v->json, "attempts", l->attempts);
    json_u64(v->json, "replays", l->replays);
    json_time(v->json, "next_at", l->next_us);
    json_text(v->json, "error_class", l->error_class);
    json_text_or_null(v->json, "error_code", l->error_code);
    json_text_or_null(v->json, "error_text", l->error_text);
    json_close(v->json);
    return;
  }
  text_printf(&words, "  %" PRIu64 " failed %" PRIu32 "x, ", l->seq, l->attempts);
  text_add_safe(&words, error, v->t->out.term.unicode);
  if (l->next_us > v->t->now_us) {
    text_puts(&words, "; again in ");
    text_span(&words, l->next_us - v->t->now_us);
  } else {
    text_puts(&words, "; due");
  }
  out_printf(&v->t->out, "%s\n", text_str(&words));
  text_free(&words);
}

static void put_json(view *v, const sl_reader_info *i, const char *one) {
  json *j = v->json;
  json_open(j);
  json_words(j, "reader", i->name);
  if (i->pid) {
    json_i64(j, "pid", i->pid);
    json_time(j, "since", i->since_us);
  } else {
    json_null(j, "pid");
  }
  json_text_or_null(j, "topics", i->topics);
  json_text_or_null(j, "types", i->types);
  json_bool(j, "holds_trim", (i->flags & SL_READER_HOLD_TRIM) != 0);
  json_u64(j, "max_attempts", i->max_attempts);
  json_u64(j, "seq", i->seq);
  json_u64(j, "lag", i->lag);
  if (i->oldest_us)
    json_time(j, "oldest_at", i->oldest_us);
  else
    json_null(j, "oldest_at");
  json_u64(j, "seen", i->seen);
  json_u64(j, "acked", i->acked);
  json_u64(j, "dead", i->dead);
  json_u64(j, "dropped", i->dropped);
  json_u64(j, "missed", i->missed);
  json_u64(j, "open", i->open);
  json_u64(j, "retrying", i->retrying);
  json_u64(j, "letters", i->waiting_dead);
  json_bool(j, "balanced", i->balanced != 0);
  json_time(j, "created_at", i->created_us);
  if (i->committed_us)
    json_time(j, "committed_at", i->committed_us);
  else
    json_null(j, "committed_at");
  if (one) {
    json_key(j, "retries");
    json_array_open(j);
    (void)sl_reader_letters(v->t->store, one, 1, put_retry, v);
    json_array_close(j);
  }
  json_close(j);
}

static void cell(table *table_, style s, uint64_t n) {
  text words = {0};
  text_count(&words, n);
  table_cell(table_, n ? s : STYLE_DIM, slice_of(text_str(&words)));
  text_free(&words);
}

static void put_one(void *arg, const sl_reader_info *i) {
  view *v = arg;
  text behind = {0};
  char pid[24] = "-";
  v->count++;
  v->wrong = v->wrong || !i->balanced;
  if (v->json) {
    put_json(v, i, v->one);
    return;
  }
  if (i->pid)
    snprintf(pid, sizeof pid, "%" PRId64, i->pid);
  if (i->oldest_us)
    text_span(&behind, v->t->now_us > i->oldest_us ? v->t->now_us - i->oldest_us : 0);
  table_cell(v->table, STYLE_BOLD, slice_of(i->name));
  table_cell(v->table, STYLE_PLAIN, slice_of(pid));
  cell(v->table, STYLE_PLAIN, i->lag);
  table_cell(v->table, STYLE_PLAIN, slice_of(i->oldest_us ? text_str(&behind) : "-"));
  cell(v->table, STYLE_YELLOW, i->open);
  cell(v->table, STYLE_MAGENTA, i->waiting_dead);
  cell(v->table, STYLE_RED, i->missed);
  cell(v->table, STYLE_PLAIN, i->acked);
  const char *remark = i->flags & SL_READER_HOLD_TRIM ? "holds trim" : "";
  table_cell(v->table, STYLE_RED, slice_of(i->balanced ? remark : "out of balance"));
  text_free(&behind);
}

int run_readers(tool *t) {
  static const column columns[] = {{"READER", false, CUT_RIGHT, 12, 9}, {"PID", true, CUT_RIGHT, 0, 2},
                                   {"LAG", true, CUT_RIGHT, 12, 8},     {"BEHIND", true, CUT_RIGHT, 0, 5},
                                   {"OPEN", true, CUT_RIGHT, 8, 6},     {"DEAD", true, CUT_RIGHT, 8, 7},
                                   {"MISSED", true, CUT_RIGHT, 8, 6},   {"ACKED", true, CUT_RIGHT, 0, 3},
                                   {"", false, CUT_RIGHT, 0, 4}};
  const char *name = t->arg_count > 0 ? t->args[0] : NULL;
  sl_status st;
  if (t->arg_count == 2) {
    if (strcmp(t->args[0], "forget") != 0)
      return tool_fail(t, EXIT_USAGE, "readers %s: write a name, or forget and a name", t->args[0]);
    st = sl_reader_delete(t->store, t->args[1]);
    return st == SL_OK ? EXIT_DONE : tool_fail_reader(t, st, t->args[1], "cannot forget it");
  }
  view v = {.t = t, .one = name};
  if (t->json)
    v.json = json_new(&t->out);
  else
    v.table = table_new(&t->out, columns, sizeof columns / sizeof *columns);
  st = name ? sl_reader_info_get(t->store, name, put_one, &v) : sl_readers_each(t->store, put_one, &v);
  table_free(v.table);
  if (st == SL_OK && name && !t->json)
    st = sl_reader_letters(t->store, name, 1, put_retry, &v);
  json_free(v.json);
  if (st != SL_OK)
    return tool_fail_reader(t, st, name, "cannot tell");
  if (v.count == 0)
    return t->json ? EXIT_NOTHING : tool_fail(t, EXIT_NOTHING, "there are no readers in the store at %s", t->path);
  return v.wrong ? EXIT_WRONG : EXIT_DONE;
}
