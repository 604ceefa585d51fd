/* dlq audit: what people gave up, also when event and letter are trimmed. */
#include "dlq.h"

#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct trail {
  tool *t;
  json *json;
  table *table;
  int64_t since_us, until_us;
  sl_slice topic;
  uint64_t only, skip, count;
} trail;

static bool wanted(const trail *a, const sl_drop *d) {
  return (!a->since_us || d->dropped_us >= a->since_us) && (!a->until_us || d->dropped_us < a->until_us) &&
         (!a->topic.len || sl_glob_fits(a->topic, d->topic)) && (!a->only || a->only == d->seq);
}

static void count_one(void *arg, const sl_drop *d) {
  trail *a = arg;
  a->count += wanted(a, d);
}

static void put_json(json *j, const sl_drop *d) {
  json_open(j);
  json_u64(j, "number", d->number);
  json_time(j, "dropped_at", d->dropped_us);
  json_u64(j, "seq", d->seq);
  json_text_or_null(j, "reader", d->reader);
  json_text_or_null(j, "event_id", d->event_id);
  json_text_or_null(j, "topic", d->topic);
  json_text_or_null(j, "event_type", d->type);
  json_text(j, "error_class", d->error_class);
  json_text_or_null(j, "error_code", d->error_code);
  json_text(j, "dropped_by", d->who);
  json_text(j, "drop_reason", d->why);
  json_close(j);
}

static void put_one(void *arg, const sl_drop *d) {
  trail *a = arg;
  char when[WHEN_MAX], seq[24];
  if (!wanted(a, d))
    return;
  if (a->skip > 0) {
    a->skip--;
    return;
  }
  if (a->json) {
    put_json(a->json, d);
    return;
  }
  when_local(d->dropped_us, when, false);
  snprintf(seq, sizeof seq, "%" PRIu64, d->seq);
  table_cell(a->table, STYLE_DIM, slice_of(when));
  table_cell(a->table, STYLE_PLAIN, slice_of(seq));
  table_cell(a->table, STYLE_PLAIN, d->error_code.len ? d->error_code : d->error_class);
  table_cell(a->table, STYLE_PLAIN, d->topic);
  table_cell(a->table, STYLE_BOLD, d->who);
  table_cell(a->table, STYLE_PLAIN, d->why);
}

int dlq_audit(tool *t, const char *event) {
  static const column columns[] = {{"DROPPED", false, CUT_BARE, 23, 6}, {"SEQ", true, CUT_RIGHT, 20, 9},
                                   {"ERROR", false, CUT_RIGHT, 0, 2},   {"TOPIC", false, CUT_LEFT, 10, 3},
                                   {"BY", false, CUT_RIGHT, 8, 7},      {"REASON", false, CUT_RIGHT, 12, 8}};
  static const option_id taken[] = {OPT_SINCE, OPT_UNTIL, OPT_TOPIC, OPT_LIMIT, OPT_READER, COMMON_OPTIONS,
                                    OPTION_COUNT};
  const char *reader = option_text(&t->given, OPT_READER);
  trail a = {.t = t, .topic = slice_of(option_text(&t->given, OPT_TOPIC))};
  uint64_t limit = 0;
  if (option_foreign(&t->given, taken, NULL) != OPTION_COUNT || t->arg_count > 0 ||
      (event && !number_parse(event, &a.only)))
    return tool_fail(t, EXIT_USAGE, "dlq audit takes a seq, --reader, --topic, --since, --until and -n");
  if (!tool_time(t, OPT_SINCE, &a.since_us) || !tool_time(t, OPT_UNTIL, &a.until_us) ||
      !tool_number(t, OPT_LIMIT, &limit))
    return EXIT_USAGE;
  sl_status st = sl_drops_each(t->store, reader, count_one, &a);
  if (limit && a.count > limit)
    a.skip = a.count - limit;
  if (st == SL_OK && a.count == 0)
    return t->json ? EXIT_NOTHING : tool_fail(t, EXIT_NOTHING, "no such dead letter was dropped");
  if (t->json)
    a.json = json_new(&t->out);
  else
    a.table = table_new(&t->out, columns, 6);
  if (st == SL_OK)
    st = sl_drops_each(t->store, reader, put_one, &a);
  table_free(a.table);
  json_free(a.json);
  return st == SL_OK ? EXIT_DONE : tool_fail_status(t, st, "cannot read the audit trail");
}
