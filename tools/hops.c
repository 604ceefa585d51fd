#include "hops.h"

#include <stdlib.h>
#include <string.h>

int64_t record_time(const sl_record *r) { return r->occurred_at_us ? r->occurred_at_us : r->appended_at_us; }

/* ------------------------------------------------------- spans in classes --- */

static unsigned class_of(int64_t us) {
  uint64_t n = us < 0 ? 0 : (uint64_t)us;
  if (n < 32)
    return (unsigned)n;
  unsigned octave = 63 - (unsigned)__builtin_clzll(n);
  return (octave - 4) * 32 + (unsigned)((n >> (octave - 5)) & 31);
}

/* The largest span of a class. */
static int64_t class_end(unsigned c) {
  if (c < 32)
    return c;
  unsigned octave = c / 32 + 4;
  return (int64_t)(((UINT64_C(32) + c % 32 + 1) << (octave - 5)) - 1);
}

static void hop_add(hop *h, int64_t us) {
  h->count++;
  h->classes[class_of(us)]++;
  if (us > h->max_us)
    h->max_us = us;
}

static int64_t percentile(const hop *h, double percent, unsigned but) {
  uint64_t count = h->count - (but < HOP_CLASSES), wanted = (uint64_t)((double)count * percent / 100), sum = 0;
  if ((double)wanted < (double)count * percent / 100)
    wanted++;
  for (unsigned c = 0; c < HOP_CLASSES && count; c++) {
    sum += h->classes[c] - (c == but);
    if (sum >= wanted && sum > 0)
      return class_end(c) < h->max_us ? class_end(c) : h->max_us;
  }
  return h->max_us;
}

int64_t hop_percentile(const hop *h, double percent) { return percentile(h, percent, HOP_CLASSES); }

int64_t hop_percentile_but(const hop *h, double percent, int64_t but_us) {
  unsigned c = class_of(but_us);
  return percentile(h, percent, h->classes[c] ? c : HOP_CLASSES);
}

/* ---------------------------------------------------------------- tables --- */

static uint64_t mix(uint64_t h, sl_slice s) {
  const unsigned char *p = s.data;
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  return (h ^ h >> 29) * UINT64_C(0x9e3779b97f4a7c15) + s.len;
}

enum { SEED = 5381 };

/* By the hash of a text: its last type, and when. Two texts of one hash are not told apart: one in 2^64. */
typedef struct mark {
  uint64_t hash; /* 0: free */
  int64_t us;
  uint32_t type;
} mark;
typedef struct marks {
  mark *items;
  size_t count, size;
} marks;

static mark *marks_at(marks *m, uint64_t hash) {
  hash += hash == 0;
  if (m->count * 2 >= m->size) {
    marks old = *m;
    m->size = old.size ? old.size * 2 : 1024;
    m->items = tool_alloc(m->size * sizeof *m->items);
    memset(m->items, 0, m->size * sizeof *m->items);
    m->count = 0;
    for (size_t i = 0; i < old.size; i++)
      if (old.items[i].hash)
        *marks_at(m, old.items[i].hash) = old.items[i];
    free(old.items);
  }
  size_t i = hash & (m->size - 1);
  while (m->items[i].hash && m->items[i].hash != hash)
    i = (i + 1) & (m->size - 1);
  m->count += m->items[i].hash == 0;
  m->items[i].hash = hash;
  return &m->items[i];
}

typedef struct hop_table {
  hop *items;
  size_t count, cap;
  marks index; /* by both names: its place + 1 as `type` */
} hop_table;

static uint64_t names_hash(sl_slice from, sl_slice to) { return mix(mix(SEED, from), to); }

static hop *table_at(hop_table *t, sl_slice from, sl_slice to) {
  mark *m = marks_at(&t->index, names_hash(from, to));
  if (m->type)
    return &t->items[m->type - 1];
  if (t->count == t->cap) {
    t->cap = t->cap ? t->cap * 2 : 32;
    t->items = tool_grow(t->items, t->cap * sizeof *t->items);
  }
  hop *h = &t->items[t->count++];
  *h = (hop){.from = tool_copy(from.data, from.len),
             .to = to.data ? tool_copy(to.data, to.len) : NULL,
             .classes = tool_alloc(HOP_CLASSES * sizeof *h->classes)};
  memset(h->classes, 0, HOP_CLASSES * sizeof *h->classes);
  m->type = (uint32_t)t->count;
  return h;
}

static const hop *table_find(const hop_table *t, sl_slice from, sl_slice to) {
  const marks *m = &t->index;
  uint64_t hash = names_hash(from, to);
  hash += hash == 0;
  for (size_t i = hash & (m->size - 1); m->size && m->items[i].hash; i = (i + 1) & (m->size - 1))
    if (m->items[i].hash == hash)
      return &t->items[m->items[i].type - 1];
  return NULL;
}

static void table_free(hop_table *t) {
  for (size_t i = 0; i < t->count; i++) {
    free(t->items[i].from);
    free(t->items[i].to);
    free(t->items[i].classes);
  }
  free(t->items);
  free(t->index.items);
}

/* ----------------------------------------------------------------- learn --- */

struct hops {
  char **types; /* their numbers are places here + 1 */
  size_t type_count, type_cap;
  marks type_index;
  marks stories;    /* the last event of each correlation */
  marks events;     /* every event by its id */
  marks questions;  /* the last question of a stem in a correlation */
  hop_table follows, causes, answers;
  text stem;
};

hops *hops_new(void) {
  hops *h = tool_alloc(sizeof *h);
  *h = (hops){0};
  return h;
}

void hops_free(hops *h) {
  if (!h)
    return;
  for (size_t i = 0; i < h->type_count; i++)
    free(h->types[i]);
  free(h->types);
  free(h->type_index.items);
  free(h->stories.items);
  free(h->events.items);
  free(h->questions.items);
  table_free(&h->follows);
  table_free(&h->causes);
  table_free(&h->answers);
  text_free(&h->stem);
  free(h);
}

static uint32_t type_number(hops *h, sl_slice type) {
  mark *m = marks_at(&h->type_index, mix(SEED, type));
  if (m->type)
    return m->type;
  if (h->type_count == h->type_cap) {
    h->type_cap = h->type_cap ? h->type_cap * 2 : 64;
    h->types = tool_grow(h->types, h->type_cap * sizeof *h->types);
  }
  h->types[h->type_count++] = tool_copy(type.data, type.len);
  m->type = (uint32_t)h->type_count;
  return m->type;
}

static sl_slice type_name(const hops *h, uint32_t number) { return slice_of(h->types[number - 1]); }

static int64_t forward(int64_t us) { return us > 0 ? us : 0; } /* clocks differ: no span is below nothing */

static void learn_answer(hops *h, const sl_record *r, int64_t at) {
  text_clear(&h->stem);
  role what = question_stem(r->type, &h->stem);
  if (what == ROLE_NONE)
    return;
  sl_slice stem = {h->stem.data, h->stem.len};
  hop *pair = table_at(&h->answers, stem, (sl_slice){NULL, 0});
  mark *m = marks_at(&h->questions, mix(mix(SEED, r->correlation_id), stem));
  if (what == ROLE_QUESTION) {
    pair->open++;
    m->us = at;
    m->type = 1;
  } else if (m->type) {
    hop_add(pair, forward(at - m->us));
    m->type = 0; /* the first answer counts */
  }
}

void hops_learn(hops *h, const sl_record *r, sl_slice skip) {
  int64_t at = record_time(r);
  if (r->correlation_id.len == 0 || (skip.len && slice_eq(skip, r->correlation_id)))
    return;
  uint32_t type = type_number(h, r->type);
  mark *last = marks_at(&h->stories, mix(SEED, r->correlation_id));
  if (last->type)
    hop_add(table_at(&h->follows, type_name(h, last->type), r->type), forward(at - last->us));
  last->type = type;
  last->us = at;
  if (r->causation_id.len && !slice_eq(r->causation_id, r->event_id)) {
    mark *cause = marks_at(&h->events, mix(SEED, r->causation_id));
    if (cause->type)
      hop_add(table_at(&h->causes, type_name(h, cause->type), r->type), forward(at - cause->us));
  }
  mark *own = marks_at(&h->events, mix(SEED, r->event_id));
  if (!own->type) { /* of a duplicate the first one is the cause of others */
    own->type = type;
    own->us = at;
  }
  learn_answer(h, r, at);
}

static int compare(const void *a_, const void *b_) {
  const hop *a = a_, *b = b_;
  if (a->count != b->count)
    return a->count > b->count ? -1 : 1;
  int order = strcmp(a->from, b->from);
  return order ? order : strcmp(a->to, b->to);
}

const hop *hops_follows(hops *h, size_t *count) {
  if (h->follows.count)
    qsort(h->follows.items, h->follows.count, sizeof *h->follows.items, compare);
  free(h->follows.index.items); /* their places have changed */
  h->follows.index = (marks){0};
  *count = h->follows.count;
  return h->follows.items;
}

const hop *hops_causes(const hops *h, sl_slice from, sl_slice to) { return table_find(&h->causes, from, to); }

const hop *hops_answers(const hops *h,
                        sl_slice stem) { return table_find(&h->answers, stem, (sl_slice){NULL, 0}); }

/* ----------------------------------------------------------------- names --- */

static bool is_separator(char c) { return c == '_' || c == '.' || c == '-'; }

static bool is_word(const char *p, size_t len, const char *word) {
  for (size_t i = 0; i < len; i++, word++)
    if (*word == 0 || ((p[i] | 32) != *word))
      return false;
  return *word == 0;
}

static role role_of(const char *p, size_t len) {
  static const char *const questions[] = {"requested", "request", "started", "initiated", "submitted"};
  static const char *const answers[] = {"completed", "received", "failed",   "response", "responded",
                                        "succeeded", "finished", "rejected", "cancelled"};
  for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
    if (is_word(p, len, questions[i]))
      return ROLE_QUESTION;
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
    if (is_word(p, len, answers[i]))
      return ROLE_ANSWER;
  return ROLE_NONE;
}

role question_stem(sl_slice type, text *stem) {
  const char *begin = type.data, *end = begin + type.len;
  for (const char *behind = end; behind > begin;) {
    const char *word = behind;
    while (word > begin && !is_separator(word[-1]))
      word--;
    role what = role_of(word, (size_t)(behind - word));
    if (what != ROLE_NONE) {
      text_add(stem, begin, (size_t)(word - begin));
      text_puts(stem, "*");
      text_add(stem, behind, (size_t)(end - behind));
      return what;
    }
    behind = word > begin ? word - 1 : begin;
  }
  return ROLE_NONE;
}
