/* export: whole events in one of the formats of formats.h. */
#include "formats.h"

#include "conditions.h"

static void put(void *exporter_, const sl_record *r) {
  exporter *e = exporter_;
  e->format->put(e, r);
}

static void note_story(void *ids, const sl_record *r) {
  id_set_add(ids, r->correlation_id.len ? r->correlation_id : r->event_id);
}

/* Story by story: events without a correlation are one each. */
static int export_stories(exporter *e, const sl_query *query, uint64_t *found) {
  id_set ids = {0};
  tool *t = e->tool;
  int code = tool_each(t, query, note_story, &ids, found);
  for (size_t i = 0; i < ids.count && !t->out.error; i++) {
    sl_query one = *query;
    uint64_t count = 0;
    one.limit = 0;
    one.flags = 0;
    if (!one.correlation_id.len)
      one.correlation_id = slice_of(ids.items[i]);
    e->format->story_begin(e, slice_of(ids.items[i]));
    int part = tool_each(t, &one, put, e, &count);
    if (count == 0) { /* it is the id of an event without one */
      one.correlation_id = query->correlation_id;
      one.event_id = slice_of(ids.items[i]);
      part = tool_each(t, &one, put, e, &count);
    }
    code = part == EXIT_DONE ? code : part;
    e->format->story_end(e);
  }
  id_set_free(&ids);
  return code;
}

int run_export(tool *t) {
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  uint64_t found = 0;
  const char *name = option_text(&t->given, OPT_FORMAT);
  exporter e = {.tool = t, .out = &t->out, .format = format_find(name ? name : "jsonl")};
  if (!e.format) {
    text names = {0};
    format_names(&names);
    tool_fail(t, EXIT_USAGE, "--format %s: write one of %s", name, text_str(&names));
    text_free(&names);
    return EXIT_USAGE;
  }
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  e.json = json_new(&t->out);
  if (e.format->begin)
    e.format->begin(&e);
  code = e.format->by_story ? export_stories(&e, &query, &found) : tool_each(t, &query, put, &e, &found);
  if (e.format->end)
    e.format->end(&e);
  json_free(e.json);
  id_set_free(&e.drawn);
  id_set_free(&e.named);
  id_set_free(&e.sources);
  return code == EXIT_DONE && found == 0 && !t->out.error ? EXIT_NOTHING : code;
}
