#include "conditions.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------- into the query --- */

typedef struct taker {
  tool *tool;
  sl_query *query;
  query_ids *ids;
} taker;

static int take_id(taker *k, filter *f, sl_id_kind kind, char id[SL_ID_MAX], sl_slice *slot) {
  if (f->op != OP_EQUAL || !f->literal || slot->len)
    return EXIT_DONE;
  int code = tool_resolve(k->tool, kind, f->value.data, id);
  *slot = slice_of(id);
  f->taken = code == EXIT_DONE;
  return code;
}

static void take_text(filter *f, sl_slice *slot, bool globs) {
  if (f->op != OP_EQUAL || slot->len || f->value.len == 0 || !(f->literal || globs))
    return;
  *slot = f->value;
  f->taken = true;
}

static int take_states(taker *k, filter *f) {
  uint32_t states = 0, all = (1u << SL_STATE_COUNT) - 1, *have = &k->query->states;
  if (f->op > OP_UNEQUAL || !f->literal)
    return EXIT_DONE;
  if (!states_parse(f->value.data, &states))
    return tool_fail(k->tool, EXIT_USAGE,
                     "%s: write pending, sent, dead, duplicate or dropped, or several with commas", f->words);
  states = (f->op == OP_EQUAL ? states : all & ~states) & (*have ? *have : all);
  if (states) /* nothing can be in no state at all: then the filter says so, event by event */
    *have = states, f->taken = true;
  return EXIT_DONE;
}

static void take_time(filter *f, sl_query *q) {
  if (!f->is_time || f->op == OP_UNEQUAL || f->op > OP_AT_LEAST)
    return;
  if (f->op == OP_MORE || f->op == OP_AT_LEAST || f->op == OP_EQUAL) {
    int64_t since = f->us + (f->op == OP_MORE);
    q->since_us = since > q->since_us ? since : q->since_us;
  }
  if (f->op == OP_LESS || f->op == OP_AT_MOST || f->op == OP_EQUAL) {
    int64_t until = f->us + (f->op != OP_LESS);
    q->until_us = q->until_us == 0 || until < q->until_us ? until : q->until_us;
  }
  f->taken = true;
}

static int take(taker *k, filter *f) {
  sl_query *q = k->query;
  switch (f->field.id) {
  case FIELD_EVENT_ID: return take_id(k, f, SL_ID_EVENT, k->ids->event, &q->event_id);
  case FIELD_CORRELATION_ID: return take_id(k, f, SL_ID_CORRELATION, k->ids->correlation, &q->correlation_id);
  case FIELD_CAUSATION_ID: return take_id(k, f, SL_ID_CAUSATION, k->ids->causation, &q->causation_id);
  case FIELD_EVENT_TYPE: take_text(f, &q->type, true); break;
  case FIELD_TOPIC: take_text(f, &q->topic, true); break;
  case FIELD_TENANT: take_text(f, &q->tenant, false); break;
  case FIELD_SOURCE: take_text(f, &q->source, false); break;
  case FIELD_KEY: take_text(f, &q->key, false); break;
  case FIELD_STATUS: return take_states(k, f);
  case FIELD_APPENDED_AT: take_time(f, q); break;
  default: break;
  }
  return EXIT_DONE;
}

int conditions_take(tool *t, sl_query *query, query_ids *ids) {
  char error[1024];
  conditions *c = &t->conditions;
  taker k = {t, query, ids};
  c->items = tool_alloc((t->arg_count + 1) * sizeof *c->items);
  for (size_t i = 0; i < t->arg_count; i++) {
    filter *f = &c->items[c->count++];
    if (!filter_parse(f, t->args[i], t->now_us, error, sizeof error))
      return tool_fail(t, EXIT_USAGE, "%s", error);
    int code = take(&k, f);
    if (code != EXIT_DONE)
      return code;
  }
  return EXIT_DONE;
}

void conditions_free(tool *t) {
  for (size_t i = 0; i < t->conditions.count; i++)
    filter_free(&t->conditions.items[i]);
  free(t->conditions.items);
  t->conditions = (conditions){0};
}

/* ------------------------------------------------------ event by event --- */

static int accept(tool *t, uint32_t needs, const sl_record *r) {
  for (size_t i = 0; i < t->conditions.count; i++) {
    filter *f = &t->conditions.items[i];
    if (!f->taken && f->field.needs == needs && !filter_match(f, r, t->now_us))
      return 0;
  }
  return 1;
}

static int accept_header(void *arg, const sl_record *r) { return accept(arg, 0, r); }
static int accept_attributes(void *arg, const sl_record *r) { return accept(arg, SL_FILTER_ATTRIBUTES, r); }
static int accept_whole(void *arg, const sl_record *r) { return accept(arg, SL_FILTER_WHOLE, r); }
static int accept_fate(void *arg, const sl_record *r) { return accept(arg, SL_FILTER_FATE, r); }

/* Those that need as much as this. *flags: what the store is told of them. */
static bool any(const tool *t, uint32_t needs, uint32_t *flags) {
  bool found = false;
  *flags = needs | SL_FILTER_NO_IDS;
  for (size_t i = 0; i < t->conditions.count; i++) {
    const filter *f = &t->conditions.items[i];
    if (f->taken || f->field.needs != needs)
      continue;
    found = true;
    *flags &= field_is_id(&f->field) ? ~(uint32_t)SL_FILTER_NO_IDS : ~(uint32_t)0;
  }
  return found;
}

static const struct {
  uint32_t needs;
  sl_filter_fn *accept;
} steps[] = {{0, accept_header}, {SL_FILTER_ATTRIBUTES, accept_attributes}, {SL_FILTER_WHOLE, accept_whole},
             {SL_FILTER_FATE, accept_fate}};

sl_status conditions_apply(tool *t, sl_iter *iter) {
  sl_status st = SL_OK;
  uint32_t flags;
  for (size_t i = 0; i < sizeof steps / sizeof *steps && st == SL_OK; i++)
    if (any(t, steps[i].needs, &flags))
      st = sl_iter_filter(iter, flags, steps[i].accept, t);
  return st;
}

sl_status conditions_apply_to(tool *t, look *l) {
  sl_status st = SL_OK;
  uint32_t flags;
  for (size_t i = 0; i < sizeof steps / sizeof *steps && st == SL_OK; i++)
    if (any(t, steps[i].needs, &flags))
      st = look_filter(l, flags, steps[i].accept, t);
  return st;
}

uint32_t conditions_need(const tool *t, const sl_query *q) {
  uint32_t needs = q->states || q->tenant.len || q->source.len || q->key.len ? SL_FILTER_ATTRIBUTES : 0;
  for (size_t i = 0; i < t->conditions.count; i++)
    if (!t->conditions.items[i].taken)
      needs |= t->conditions.items[i].field.needs;
  return needs;
}
