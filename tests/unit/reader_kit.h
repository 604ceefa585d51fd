/* A reader in a unit test, and the steps most tests of readers begin with. */
#ifndef SL_TESTS_READER_KIT_H
#define SL_TESTS_READER_KIT_H
#include "kit.h"

#include <sidelog/reader.h>

typedef struct info_copy {
  sl_reader_info i;
  char topics[SL_READER_FILTER_MAX];
} info_copy;

static inline void copy_info(void *arg, const sl_reader_info *i) {
  info_copy *c = arg;
  c->i = *i;
  memcpy(c->topics, i->topics.len ? i->topics.data : "", i->topics.len);
  c->i.topics.data = c->topics;
}

/* The reader as it is on disk; its law must hold. */
static inline sl_reader_info info_of(kit *k, const char *name) {
  static info_copy c;
  assert_ok(sl_reader_info_get(k->store, name, copy_info, &c));
  if (!c.i.balanced)
    fail_msg("%s: seen %lu, acked %lu, dead %lu, dropped %lu, missed %lu, open %lu", name, c.i.seen, c.i.acked,
             c.i.dead,
             c.i.dropped, c.i.missed, c.i.open);
  return c.i;
}

static inline void assert_law(kit *k, const char *name, uint64_t acked, uint64_t dead, uint64_t dropped,
                              uint64_t missed,
                              uint64_t open) {
  const sl_reader_info i = info_of(k, name);
  assert_int_equal(i.acked, acked);
  assert_int_equal(i.dead, dead);
  assert_int_equal(i.dropped, dropped);
  assert_int_equal(i.missed, missed);
  assert_int_equal(i.open, open);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

/* The next event's seq; 0: there is none now. */
static inline uint64_t next_of(sl_reader *r) {
  const sl_reader_event *e;
  const sl_status status = sl_reader_next(r, 0, &e);
  if (status == SL_TIMEOUT) return 0;
  assert_ok(status);
  return e->record->seq;
}

static inline void assert_next(sl_reader *r, uint64_t seq) {
  const uint64_t got = next_of(r);
  if (got != seq) fail_msg("event %lu was handed out, not %lu", got, seq);
}

static inline void put_keyed(kit *k, const char *topic, const char *key) {
  const sl_event e = {.topic = sl_slice_of(topic), .key = {key, key ? strlen(key) : 0}, .value = SL_STR("v")};
  assert_ok(sl_append(k->store, &e, NULL));
}

static inline sl_reader *reader_of(kit *k, const char *name, sl_reader_options options) {
  sl_reader *r;
  assert_ok(sl_reader_open(k->store, name, &options, &r));
  return r;
}

static inline int fail_at(sl_reader *r, uint64_t seq, const char *code, uint32_t flags) {
  const sl_reader_failure why = {.flags = flags, .error_code = sl_slice_of(code),
                                 .error_text = SL_STR("it broke")};
  int dead = -1;
  assert_ok(sl_reader_fail(r, seq, &why, &dead));
  return dead;
}

#define AT_ONCE .backoff_us = 1, .backoff_max_us = 1 /* a failed event is due again at once */
#define LATER .backoff_us = 3600000000, .backoff_max_us = 3600000000

typedef struct letters {
  sl_reader_letter list[16];
  char text[16][64];
  char topic[16][16];
  size_t count;
} letters;

static inline void take_letter(void *arg, const sl_reader_letter *l) {
  letters *all = arg;
  snprintf(all->text[all->count], 64, "%.*s %.*s %.*s", (int)l->error_class.len, (const char *)l->error_class.data,
           (int)l->error_code.len, (const char *)l->error_code.data, (int)l->error_text.len,
           (const char *)l->error_text.data);
  snprintf(all->topic[all->count], 16, "%.*s", (int)l->topic.len, (const char *)l->topic.data);
  all->list[all->count++] = *l;
}

static inline letters letters_of(kit *k, int retrying) {
  letters all = {.count = 0};
  assert_ok(sl_reader_letters(k->store, "r", retrying, take_letter, &all));
  return all;
}

typedef struct drops {
  size_t count;
  char text[300];
} drops;

static inline void take_drop(void *arg, const sl_drop *d) {
  drops *all = arg;
  all->count++;
  snprintf(all->text, sizeof all->text, "%.*s|%lu|%.*s|%.*s|%.*s|%.*s|%.*s", (int)d->reader.len,
           (const char *)d->reader.data,
           d->seq, (int)d->event_id.len, (const char *)d->event_id.data, (int)d->topic.len,
           (const char *)d->topic.data,
           (int)d->error_code.len, (const char *)d->error_code.data, (int)d->who.len, (const char *)d->who.data,
           (int)d->why.len,
           (const char *)d->why.data);
}
#endif
