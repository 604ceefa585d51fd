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
#endif
