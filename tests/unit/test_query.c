/* What queries promise beyond what the model test compares: every field, large values, following, limits. */
#include "kit.h"

static void test_every_field_comes_back(void **state) {
  kit *k = *state;
  const sl_header headers[] = {{SL_STR("x-one"), SL_STR("1")}, {SL_STR("empty"), {0}}};
  const sl_event full = {.topic = SL_STR("t"), .type = SL_STR("ty"), .event_id = SL_STR("e"),
                         .correlation_id = SL_STR("c"), .causation_id = SL_STR("p"), .key = SL_STR("key"),
                         .tenant = SL_STR("ten"), .source = SL_STR("src"), .headers = headers,
                         .header_count = 2, .value = SL_STR("val"), .occurred_at_us = 77};
  const sl_event bare = {.topic = SL_STR("t")};
  assert_ok(sl_append(k->store, &full, NULL));
  assert_ok(sl_append(k->store, &bare, NULL));
  sl_iter *it;
  const sl_record *r;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  assert_ok(sl_iter_next(it, &r));
  assert_slice(r->key, "key");
  assert_slice(r->tenant, "ten");
  assert_slice(r->source, "src");
  assert_int_equal(r->occurred_at_us, 77);
  assert_int_equal(r->header_count, 2);
  assert_slice(r->headers[0].name, "x-one");
  assert_slice(r->headers[0].value, "1");
  assert_slice(r->headers[1].name, "empty");
  assert_int_equal(r->headers[1].value.len, 0);
  assert_ok(sl_iter_next(it, &r));
  assert_null(r->key.data);
  assert_slice(r->type, "t");
  assert_int_equal(r->event_id.len, 36);
  assert_int_equal(r->value.len, 0);
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  assert_int_equal(sl_iter_scanned(it), 2);
  sl_iter_close(it);

  const sl_query q = {.tenant = SL_STR("ten")};
  assert_ok(sl_iter_start(k->store, &q, &it));
  assert_ok(sl_iter_next(it, &r));
  assert_int_equal(r->seq, 1);
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  sl_iter_close(it);
}

/* Values far above a chunk's memory, each valid until the next call. */
static void test_large_values(void **state) {
  kit *k = *state;
  const size_t sizes[] = {10, 300000, 900000, 70000, 1000000, 65536, 1, 500000};
  char *value = malloc(1000000);
  for (size_t i = 0; i < 8; i++) {
    memset(value, 'a' + (int)i, sizes[i]);
    const sl_event e = {.topic = SL_STR("t"), .value = SL_BYTES(value, sizes[i])};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  for (uint32_t flags = 0; flags <= SL_QUERY_NEWEST; flags += SL_QUERY_NEWEST) {
    const sl_query q = {.flags = flags, .limit = 8};
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, &q, &it));
    for (size_t i = 0; i < 8; i++) {
      assert_ok(sl_iter_next(it, &r));
      memset(value, 'a' + (int)i, sizes[i]);
      assert_int_equal(r->value.len, sizes[i]);
      assert_memory_equal(r->value.data, value, sizes[i]);
    }
    assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
    sl_iter_close(it);
  }
  free(value);
}

static void test_follow(void **state) {
  kit *k = *state;
  const sl_query q = {.flags = SL_QUERY_FOLLOW, .topic = SL_STR("yes"), .last_seq = 9};
  sl_iter *it;
  const sl_record *r;
  assert_ok(sl_iter_start(k->store, &q, &it));
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  for (uint64_t seq = 1; seq <= 12; seq++) kit_append(k, seq % 2 ? "yes" : "no", "x");
  for (uint64_t seq = 1; seq <= 9; seq += 2) {
    assert_ok(sl_iter_next(it, &r));
    assert_int_equal(r->seq, seq);
    if (seq == 5) assert_ok(sl_index_advance(k->store, 0, NULL));
  }
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  kit_append(k, "yes", "x");
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  sl_iter_close(it);
}

/* An iteration that does not follow ends, however fast events are appended. */
static void test_ends_while_events_come(void **state) {
  kit *k = *state;
  kit_fill(k, "t", 2500, 5);
  sl_iter *it;
  const sl_record *r;
  size_t count = 0;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    if (count++ % 50 == 0) kit_append(k, "t", "x");
    assert_true(count < 4000);
  }
  assert_true(count >= 2500);
  sl_iter_close(it);
}

static void test_bad_queries(void **state) {
  kit *k = *state;
  sl_iter *it = NULL;
  const sl_query both = {.flags = SL_QUERY_FOLLOW | SL_QUERY_NEWEST}, flags = {.flags = 64},
                 states = {.states = 1u << SL_STATE_COUNT}, newer = {.version = 9},
                 null = {.topic = {NULL, 3}};
  assert_fails(sl_iter_start(k->store, &both, &it), SL_E_INVALID, "follow");
  assert_fails(sl_iter_start(k->store, &flags, &it), SL_E_INVALID, "flags");
  assert_fails(sl_iter_start(k->store, &states, &it), SL_E_INVALID, "states");
  assert_fails(sl_iter_start(k->store, &newer, &it), SL_E_INVALID, "version");
  assert_fails(sl_iter_start(k->store, &null, &it), SL_E_INVALID, "topic");
  assert_null(it);
  char out[2][SL_ID_MAX];
  size_t count;
  assert_fails(sl_resolve(k->store, SL_ID_EVENT, (sl_slice){0}, out, 2, &count), SL_E_INVALID, "1 to 255");
  assert_fails(sl_resolve(k->store, SL_ID_EVENT, SL_STR("x"), out, 0, &count), SL_E_INVALID, "max");
}

static void test_resolve(void **state) {
  kit *k = *state;
  const char *const ids[] = {"0198c5b2-aaaa-7000-8000-000000000001", "0198c5b2-aaab-7000-8000-000000000002",
                             "0198c5b3-0000-7000-8000-000000000003", "0198c5", "not a uuid"};
  for (size_t i = 0; i < 5; i++) {
    const sl_event e = {.topic = SL_STR("t"), .event_id = sl_slice_of(ids[i])};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  char out[2][SL_ID_MAX];
  size_t count;
  for (int indexed = 0; indexed < 2; indexed++) {
    count = 9;
    assert_ok(sl_resolve(k->store, SL_ID_EVENT, SL_STR("0198c5b3"), out, 2, &count));
    assert_string_equal(out[0], ids[2]);
    assert_ok(sl_resolve(k->store, SL_ID_EVENT, SL_STR("0198C5B2-AAAB"), out, 2, &count));
    assert_string_equal(out[0], ids[1]);
    assert_int_equal(sl_resolve(k->store, SL_ID_EVENT, SL_STR("0198c5b2"), out, 2, &count), SL_E_AMBIGUOUS);
    assert_int_equal(count, 2);
    assert_string_equal(out[0], ids[0]);
    assert_string_equal(out[1], ids[1]);
    assert_int_equal(sl_resolve(k->store, SL_ID_EVENT, SL_STR("0198"), out, 2, &count), SL_E_AMBIGUOUS);
    assert_int_equal(count, 2);
    assert_ok(sl_resolve(k->store, SL_ID_EVENT, SL_STR("0198c5"), out, 1, &count)); /* exact wins alone */
    assert_string_equal(out[0], "0198c5");
    assert_ok(sl_resolve(k->store, SL_ID_EVENT, SL_STR("not a uuid"), out, 1, &count));
    count = 9;
    assert_int_equal(sl_resolve(k->store, SL_ID_EVENT, SL_STR("not a"), out, 2, &count), SL_NOTFOUND);
    assert_fails(sl_resolve(k->store, SL_ID_EVENT, SL_STR("019"), out, 2, &count), SL_NOTFOUND, "no id is 019");
    assert_int_equal(sl_resolve(k->store, SL_ID_CAUSATION, SL_STR("0198c5b3"), out, 2, &count), SL_NOTFOUND);
    assert_int_equal(count, 9);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
}

/* ---------------------------------------------------------------- filters --- */

typedef struct seen {
  unsigned calls;
  char order[64]; /* who was asked, in turn */
  bool values;    /* all that were asked for were there */
} seen;

static void asked(seen *s, char who) { s->order[s->calls++] = who; }

static int even_seq(void *arg, const sl_record *r) {
  seen *s = arg;
  asked(s, 'h');
  s->values &= r->seq > 0 && r->topic.len == 1 && r->event_id.len > 0 && r->value.len == 0;
  return r->seq % 2 == 0;
}

static int value_is_b(void *arg, const sl_record *r) {
  seen *s = arg;
  asked(s, 'w');
  s->values &= r->value.len == 1 && r->header_count == 1 && r->tenant.len == 3;
  return *(const char *)r->value.data == 'b';
}

static int is_pending(void *arg, const sl_record *r) {
  seen *s = arg;
  asked(s, 'f');
  s->values &= r->value.len == 1;
  return r->state == SL_PENDING;
}

static void test_filters(void **state) {
  kit *k = *state;
  const sl_header header = {SL_STR("n"), SL_STR("v")};
  static const char values[] = "abab";
  for (size_t i = 0; i < 4; i++) {
    const sl_event e = {.topic = SL_STR("t"), .value = SL_BYTES(values + i, 1), .tenant = SL_STR("ten"),
                        .headers = &header, .header_count = 1};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  for (int newest = 0; newest < 2; newest++) {
    const sl_query q = {.flags = newest ? SL_QUERY_NEWEST : 0, .limit = newest ? 1 : 0};
    seen s = {.values = true};
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, &q, &it));
    assert_ok(sl_iter_filter(it, SL_FILTER_FATE, is_pending, &s));
    assert_ok(sl_iter_filter(it, SL_FILTER_WHOLE, value_is_b, &s));
    assert_ok(sl_iter_filter(it, 0, even_seq, &s));
    assert_ok(sl_iter_next(it, &r));
    assert_int_equal(r->seq, newest ? 4 : 2);
    assert_slice(r->tenant, "ten");
    if (!newest) {
      assert_ok(sl_iter_next(it, &r));
      assert_string_equal(s.order, "hhwfhhwf"); /* what needs less is asked first, and alone when it says no */
    }
    assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
    assert_true(s.values);
    assert_int_equal(sl_iter_filter(it, 0, even_seq, &s), SL_E_INVALID); /* too late */
    sl_iter_close(it);
  }
  sl_iter *it;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  assert_int_equal(sl_iter_filter(it, 1u << 4, even_seq, NULL), SL_E_INVALID);
  assert_int_equal(sl_iter_filter(it, 0, NULL, NULL), SL_E_INVALID);
  for (unsigned i = 0; i < SL_FILTERS_MAX; i++) assert_ok(sl_iter_filter(it, 0, even_seq, NULL));
  assert_int_equal(sl_iter_filter(it, 0, even_seq, NULL), SL_E_INVALID);
  sl_iter_close(it);
  assert_int_equal(sl_glob_fits(SL_STR("a*"), SL_STR("abc")), 1);
  assert_int_equal(sl_glob_fits(SL_STR("a?"), SL_STR("abc")), 0);
}

/* Counts, and accepts what has the header that it wants. */
static int has_the_header(void *asked_, const sl_record *r) {
  unsigned *asked = asked_;
  ++*asked;
  assert_null(r->value.data);
  return r->header_count == 1 && sl_slice_eq(r->headers[0].value, SL_STR("yes")) &&
      sl_slice_eq(r->tenant, SL_STR("ten"));
}

/* A filter of attributes is asked without the value; what it accepts comes back whole. By a scan, and by the
 * index. */
static void test_filter_of_attributes(void **state) {
  kit *k = *state;
  for (unsigned i = 0; i < 20; i++) {
    const sl_header header = {SL_STR("h"), i % 5 == 0 ? SL_STR("yes") : SL_STR("no")};
    const sl_event e = {.topic = SL_STR("t"), .tenant = SL_STR("ten"), .correlation_id = SL_STR("c"),
                        .headers = &header,
                        .header_count = 1, .value = SL_STR("the value")};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  for (unsigned indexed = 0; indexed < 2; indexed++) {
    const sl_query q = {.correlation_id = SL_STR("c")};
    unsigned asked = 0, found = 0;
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, &q, &it));
    assert_ok(sl_iter_filter(it, SL_FILTER_ATTRIBUTES, has_the_header, &asked));
    while (sl_iter_next(it, &r) == SL_OK) {
      assert_int_equal(r->seq, 1 + 5 * found++);
      assert_slice(r->value, "the value");
    }
    assert_int_equal(asked, 20);
    assert_int_equal(found, 4);
    sl_iter_close(it);
    assert_ok(sl_index_advance(k->store, 0, NULL));
  }
}

/* How many of its headers are as they were appended, and whether the ids came with it. */
typedef struct glance {
  uint64_t headers, ids;
} glance;

static int looks(void *glance_, const sl_record *r) {
  glance *g = glance_;
  char value[48];
  for (size_t i = 0; i < r->header_count; i++) {
    snprintf(value, sizeof value, "%zu of %zu", i, r->header_count);
    g->headers += sl_slice_eq(r->headers[i].value, sl_slice_of(value));
  }
  g->ids += r->event_id.len == 36 && r->correlation_id.len == 36;
  return r->seq % 2 == 0;
}

/* Some without headers, some with more than there is room for at first; more names than are learnt at once. The
 * filters see what they asked for, and who asked for less spares nobody else his ids. */
static void test_scan_sees_what_was_asked_for(void **state) {
  enum { EVENTS = 700, HEADERS = 30 };
  kit *k = *state;
  uint64_t headers = 0, found;
  for (unsigned i = 0; i < EVENTS; i++) {
    sl_header list[HEADERS];
    char values[HEADERS][48], topic[32], type[32], id[37];
    const size_t count = i % HEADERS;
    for (size_t h = 0; h < count; h++) {
      snprintf(values[h], sizeof values[h], "%zu of %zu", h, count);
      list[h] = (sl_header){SL_STR("n"), sl_slice_of(values[h])};
    }
    snprintf(topic, sizeof topic, "topic-%u", i % 350);
    snprintf(type, sizeof type, "TYPE_%u", i);
    snprintf(id, sizeof id, "0190a6c2-7c1e-7000-8000-%012u", i);
    const sl_event e = {.topic = sl_slice_of(topic), .type = sl_slice_of(type), .event_id = sl_slice_of(id),
                        .correlation_id = SL_STR("0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f"), .headers = list,
                        .header_count = count};
    assert_ok(sl_append(k->store, &e, NULL));
    headers += count;
  }
  for (unsigned with_ids = 0; with_ids < 2; with_ids++) {
    glance lean = {0}, rich = {0};
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, NULL, &it));
    assert_ok(sl_iter_filter(it, SL_FILTER_ATTRIBUTES | SL_FILTER_NO_IDS, looks, &lean));
    if (with_ids) assert_ok(sl_iter_filter(it, 0, looks, &rich));
    for (found = 0; sl_iter_next(it, &r) == SL_OK; found++) {
      char id[37];
      snprintf(id, sizeof id, "0190a6c2-7c1e-7000-8000-%012u", (unsigned)r->seq - 1);
      assert_slice(r->event_id, id);
      assert_int_equal(r->header_count, (r->seq - 1) % HEADERS);
    }
    assert_int_equal(found, EVENTS / 2);
    if (!with_ids) assert_int_equal(lean.headers, headers);
    assert_int_equal(rich.ids, with_ids ? EVENTS : 0);
    sl_iter_close(it);
  }
  static const struct { const char *type, *topic; unsigned matches; } globs[] = {
    {"TYPE_6?9", "", 10}, {"", "topic-3?9", 10}, {"TYPE_*", "topic-349", 2}, {"*_1*", "*-1*", 111},
    {"TYPE_1", "topic-2", 0},
  };
  for (unsigned g = 0; g < sizeof globs / sizeof *globs; g++) {
    const sl_query q = {.type = sl_slice_of(globs[g].type), .topic = sl_slice_of(globs[g].topic)};
    sl_iter *it;
    const sl_record *r;
    assert_ok(sl_iter_start(k->store, &q, &it));
    for (found = 0; sl_iter_next(it, &r) == SL_OK; found++) {}
    assert_int_equal(found, globs[g].matches);
    sl_iter_close(it);
  }
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_every_field_comes_back), WITH_STORE(test_large_values),
      WITH_STORE(test_follow),                 WITH_STORE(test_ends_while_events_come),
      WITH_STORE(test_bad_queries),            WITH_STORE(test_resolve),
      WITH_STORE(test_filters),                WITH_STORE(test_filter_of_attributes),
      WITH_STORE(test_scan_sees_what_was_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
