/* reindex and trim: upkeep of the store. */
#include "tool.h"

#include <inttypes.h>
#include <sidelog/reader.h>
#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  uint32_t bit;
} attributes[] = {{"key", SL_INDEX_KEY}, {"tenant", SL_INDEX_TENANT}, {"source", SL_INDEX_SOURCE}};
#define ATTRIBUTES (sizeof attributes / sizeof *attributes)

static bool parse_attributes(const char *list, uint32_t *bits) {
  *bits = 0;
  if (strcmp(list, "none") == 0)
    return true;
  for (const char *at = list;; at++) {
    const size_t len = strcspn(at, ",");
    size_t i = 0;
    while (i < ATTRIBUTES && (strlen(attributes[i].name) != len || memcmp(attributes[i].name, at, len) != 0))
      i++;
    if (i == ATTRIBUTES)
      return false;
    *bits |= attributes[i].bit;
    at += len;
    if (!*at)
      return true;
  }
}

static void put_attributes(json *j, uint32_t bits) {
  json_key(j, "attributes");
  json_array_open(j);
  for (size_t i = 0; i < ATTRIBUTES; i++)
    if (bits & attributes[i].bit)
      json_item(j, attributes[i].name);
  json_array_close(j);
}

int run_reindex(tool *t) {
  sl_stats stats;
  uint32_t bits = 0;
  int64_t begun = clock_monotonic_us();
  const char *list = option_text(&t->given, OPT_ATTRIBUTES);
  if (list && !parse_attributes(list, &bits))
    return tool_fail(t, EXIT_USAGE, "--attributes %s: write key, tenant or source, several with commas, or none",
                     list);
  sl_status st = list ? sl_index_attributes_set(t->store, bits) : sl_index_attributes_get(t->store, &bits);
  if (st == SL_OK)
    st = sl_reindex(t->store);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot build the index");
  st = sl_stats_get(t->store, &stats);
  if (st != SL_OK)
    return tool_fail_status(t, st, "the index is built, but the books cannot be read");
  int64_t took = clock_monotonic_us() - begun;
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_u64(j, "indexed_seq", stats.indexed_seq);
    json_u64(j, "events", stats.kept);
    json_i64(j, "microseconds", took);
    put_attributes(j, bits);
    json_close(j);
    json_free(j);
    return EXIT_DONE;
  }
  text words = {0};
  text_counted(&words, stats.kept, "event", "events");
  text_printf(&words, " indexed, up to seq %" PRIu64 ", in ", stats.indexed_seq);
  text_span(&words, took);
  out_printf(&t->out, "%s\n", text_str(&words));
  text_free(&words);
  return EXIT_DONE;
}

typedef struct holder {
  char name[SL_READER_NAME_MAX + 1];
  uint64_t seq;
} holder;

static void first_holder(void *arg, const sl_reader_info *i) {
  holder *h = arg;
  if (!(i->flags & SL_READER_HOLD_TRIM) || (h->name[0] && i->held_seq >= h->seq))
    return;
  snprintf(h->name, sizeof h->name, "%s", i->name);
  h->seq = i->held_seq;
}

/* What keeps trim from going on. */
static void add_holder(text *words, sl_store *store, const sl_stats *s, uint64_t first_seq) {
  holder h = {.seq = 0};
  text_printf(words, "; held at seq %" PRIu64 ": ", first_seq);
  if (sl_readers_each(store, first_holder, &h) == SL_OK && h.name[0] && h.seq < first_seq) {
    text_printf(words, "reader %s holds trim back (`sidelog readers`)", h.name);
  } else if (s->pending && (s->lanes || s->delivery_seq <= first_seq)) {
    text_counted(words, s->pending, "event is", "events are");
    text_puts(words, s->lanes ? " pending, some in a topic that waits apart" : " pending");
  } else if (s->indexed_seq <= first_seq) {
    text_puts(words, "not yet indexed (`sidelog reindex`, or a running agent, does that)");
  } else {
    text_puts(words, "not yet settled");
  }
}

int run_trim(tool *t) {
  sl_trim_policy policy = {0};
  sl_trim_result result = {0};
  sl_stats stats;
  const option_id limits[] = {OPT_OLDER_THAN, OPT_MAX_BYTES, OPT_MAX_EVENTS};
  bool any = false;
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    any = any || option_has(&t->given, limits[i]);
  if (!any)
    return tool_fail(t, EXIT_USAGE, "trim needs --older-than AGE, --max-bytes SIZE or --max-events N");
  if (!tool_span(t, OPT_OLDER_THAN, &policy.max_age_us) || !tool_size(t, OPT_MAX_BYTES, &policy.max_bytes) ||
      !tool_number(t, OPT_MAX_EVENTS, &policy.max_events))
    return EXIT_USAGE;
  /* In the policy 0 means "no limit"; a person who writes 0 means "as little as can be". */
  if (option_has(&t->given, OPT_OLDER_THAN) && policy.max_age_us == 0)
    policy.max_age_us = 1;
  if (option_has(&t->given, OPT_MAX_BYTES) && policy.max_bytes == 0)
    policy.max_bytes = 1;
  if (option_has(&t->given, OPT_MAX_EVENTS) && policy.max_events == 0)
    policy.max_events = 1;
  sl_status st = sl_trim(t->store, &policy, &result);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot trim");
  st = sl_stats_get(t->store, &stats);
  if (st != SL_OK)
    return tool_fail_status(t, st, "trimmed, but the books cannot be read");
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_u64(j, "removed", result.removed);
    json_bool(j, "held", result.held != 0);
    json_u64(j, "first_seq", result.first_seq);
    json_u64(j, "kept", stats.kept);
    json_u64(j, "bytes_used", stats.bytes_used);
    json_close(j);
    json_free(j);
    return EXIT_DONE;
  }
  text words = {0};
  text_counted(&words, result.removed, "event", "events");
  text_puts(&words, " removed, ");
  text_count(&words, stats.kept);
  text_puts(&words, " kept in ");
  text_bytes(&words, stats.bytes_used);
  if (result.held)
    add_holder(&words, t->store, &stats, result.first_seq);
  out_printf(&t->out, "%s\n", text_str(&words));
  text_free(&words);
  return EXIT_DONE;
}
