/* Which dead letters a command line means, of delivery or of a local reader. */
#include "dlq.h"

#include "conditions.h"
#include "when.h"

#include <sidelog/dead.h>
#include <stdlib.h>
#include <string.h>

typedef struct chosen {
  letter_fn *fn;
  void *arg;
  uint64_t count;
  tool *t;
  const sl_record *record; /* whose letter is being asked for */
} chosen;

static void originals_only(void *arg, const sl_record *r) {
  chosen *c = arg;
  if (r->replay_of)
    return;
  c->count++;
  c->fn(c->arg, r);
}

static void with_letter(void *arg, const sl_dead_letter *l) {
  chosen *c = arg;
  sl_record r = *c->record;
  r.attempts = l->attempts;
  r.error_class = l->error_class;
  r.error_code = l->error_code;
  r.error_text = l->error_text;
  r.error_number = l->error_number;
  r.first_failure_us = l->first_failure_us;
  r.last_failure_us = l->last_failure_us;
  c->count++;
  c->fn(c->arg, &r);
}

static void dead_once(void *arg, const sl_record *r) {
  chosen *c = arg;
  c->record = r;
  if (!r->replay_of)
    (void)sl_dead_letter_of(c->t->store, r->seq, with_letter, c);
}

/* ---------------------------------------------------------------- a reader's --- */

typedef struct letter {
  sl_reader_letter l;
  char *texts;
} letter;

typedef struct letters {
  letter *list;
  size_t count, cap;
  uint64_t only; /* a seq; 0: all */
} letters;

static void keep_letter(void *arg, const sl_reader_letter *l) {
  letters *all = arg;
  if (all->only && l->seq != all->only)
    return;
  if (all->count == all->cap) {
    all->cap = all->cap ? all->cap * 2 : 64;
    all->list = tool_grow(all->list, all->cap * sizeof *all->list);
  }
  letter *one = &all->list[all->count++];
  one->l = *l;
  one->texts = tool_alloc(l->error_class.len + l->error_code.len + l->error_text.len + 1);
  char *to = one->texts;
  sl_slice *const texts[] = {&one->l.error_class, &one->l.error_code, &one->l.error_text};
  for (size_t i = 0; i < 3; i++) {
    if (texts[i]->len)
      memcpy(to, texts[i]->data, texts[i]->len);
    texts[i]->data = to;
    to += texts[i]->len;
  }
}

static const letter *told; /* by dlq_each, at this moment */

uint32_t dlq_replays(const tool *t, uint64_t seq) {
  (void)t;
  return told && told->l.seq == seq ? told->l.replays : 0;
}

/* The letter's event as the reader sees it, if it meets the query and the conditions. */
static bool meets(tool *t, const sl_query *query, const letter *one, letter_fn *fn, void *arg) {
  sl_query q = *query;
  sl_iter *iter = NULL;
  const sl_record *record;
  bool good = true;
  if ((q.first_seq && one->l.seq < q.first_seq) || (q.last_seq && one->l.seq > q.last_seq))
    return false;
  q.first_seq = q.last_seq = one->l.seq;
  q.states = 0;
  q.limit = 0;
  q.flags = 0;
  if (sl_iter_start(t->store, &q, &iter) != SL_OK)
    return false;
  if (sl_iter_next(iter, &record) == SL_OK) {
    sl_record r = *record;
    r.state = SL_DEAD;
    r.settled_at_us = one->l.last_failure_us;
    r.partition = -1;
    r.offset = -1;
    r.topic_recreated = 0;
    r.attempts = one->l.attempts;
    r.error_class = one->l.error_class;
    r.error_code = one->l.error_code;
    r.error_text = one->l.error_text;
    r.error_number = 0;
    r.first_failure_us = one->l.first_failure_us;
    r.last_failure_us = one->l.last_failure_us;
    r.dropped_by = r.drop_reason = (sl_slice){0};
    for (size_t i = 0; good && i < t->conditions.count; i++)
      good = t->conditions.items[i].taken || filter_match(&t->conditions.items[i], &r, t->now_us);
    told = one;
    if (good && fn)
      fn(arg, &r);
    told = NULL;
  } else {
    good = false;
  }
  sl_iter_close(iter);
  return good;
}

static int each_of_reader(tool *t, const char *name, const sl_query *query, chosen *c) {
  letters all = {.only = query->first_seq == query->last_seq ? query->first_seq : 0};
  sl_status st = sl_reader_letters(t->store, name, 0, keep_letter, &all);
  size_t first = 0;
  if (query->limit) { /* the newest ones */
    uint64_t found = 0;
    for (first = all.count; first > 0 && found < query->limit; first--)
      found += meets(t, query, &all.list[first - 1], NULL, NULL);
  }
  for (size_t i = first; st == SL_OK && i < all.count && !t->out.error; i++)
    c->count += meets(t, query, &all.list[i], c->fn, c->arg);
  for (size_t i = 0; i < all.count; i++)
    free(all.list[i].texts);
  free(all.list);
  return st == SL_OK ? EXIT_DONE : tool_fail_reader(t, st, name, "cannot read the reader's dead letters");
}

/* -------------------------------------------------------------------- which --- */

/* Says what there is none of. */
static int say_none(tool *t, const char *event, const char *reader) {
  static const option_id filters[] = {FILTER_OPTIONS};
  const char *of = reader ? " of reader " : "", *name = reader ? reader : "";
  bool asked = t->conditions.count > 0;
  if (t->json)
    return EXIT_NOTHING;
  if (event)
    return tool_fail(t, EXIT_NOTHING,
                     "there is no dead letter %s%s%s; `sidelog show %s` tells what became of that event",
                     event, of, name, event);
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
    asked = asked || option_has(&t->given, filters[i]);
  return asked ? tool_fail(t, EXIT_NOTHING, "no dead letter%s%s meets these conditions", of, name)
               : tool_fail(t, EXIT_NOTHING, "there are no dead letters%s%s in the store at %s", of, name, t->path);
}

static int each(tool *t, const char *event, bool once, letter_fn *fn, void *arg) {
  const char *reader = option_text(&t->given, OPT_READER);
  sl_query query = SL_QUERY_INIT;
  query_ids ids;
  chosen c = {.fn = fn, .arg = arg, .t = t};
  int code = tool_query(t, &query, &ids);
  if (code != EXIT_DONE)
    return code;
  query.states = SL_STATE_BIT(SL_DEAD) | (once ? SL_STATE_BIT(SL_SENT) | SL_STATE_BIT(SL_DROPPED) : 0);
  char id[SL_ID_MAX];
  if (event) {
    uint64_t seq;
    if (number_parse(event, &seq) && seq > 0) {
      query.first_seq = query.last_seq = seq;
    } else {
      code = tool_resolve(t, SL_ID_EVENT, event, id);
      query.event_id = slice_of(id);
    }
  }
  if (code == EXIT_DONE)
    code = reader ? each_of_reader(t, reader, &query, &c)
                  : tool_each(t, &query, once ? dead_once : originals_only, &c, NULL);
  if (code != EXIT_DONE || c.count > 0)
    return code;
  return say_none(t, event, reader);
}

int dlq_each(tool *t, const char *event, letter_fn *fn, void *arg) { return each(t, event, false, fn, arg); }
int dlq_one(tool *t, const char *event, letter_fn *fn, void *arg) { return each(t, event, true, fn, arg); }
