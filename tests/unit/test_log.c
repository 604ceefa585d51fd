/* The log: what is appended is there, in order, whole; rules; names; time; views. */
#include "kit.h"

#include "store/log_inner.h"

#include <pthread.h>
#include <sys/wait.h>

static void test_every_field_comes_back(void **state) {
  kit *k = *state;
  sl_header headers[] = {{SL_STR("x-trace"), SL_STR("1")}, {SL_STR("empty"), {NULL, 0}}};
  static const char value[] = "{\"n\":12345678901234567890,\"nul\":\"\\u0000\"}\0\xff raw";
  sl_event e = {
    .topic = SL_STR("evt.user.created.v1"), .type = SL_STR("user.created"),
    .event_id = SL_STR("018f0000-0000-7000-8000-000000000001"), .correlation_id = SL_STR("Ünïcode id"),
    .causation_id = SL_STR("018f0000-0000-7000-8000-000000000000"), .key = SL_BYTES("k\0ey", 4),
    .tenant = SL_STR("acme"), .source = SL_STR("svc-a"), .headers = headers, .header_count = 2,
    .value = SL_BYTES(value, sizeof value), .occurred_at_us = 1234567,
  };
  uint64_t seq;
  assert_ok(sl_append(k->store, &e, &seq));
  assert_int_equal(seq, 1);
  kit_reopen(k);
  log_view *view;
  sl_parts parts;
  sl_header out[2];
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_get(view, 1, false, &parts));
  assert_slice(parts.topic, "evt.user.created.v1");
  assert_slice(parts.type, "user.created");
  assert_slice(parts.event_id, "018f0000-0000-7000-8000-000000000001");
  assert_slice(parts.correlation_id, "Ünïcode id");
  assert_slice(parts.causation_id, "018f0000-0000-7000-8000-000000000000");
  assert_true(sl_slice_eq(parts.key, e.key));
  assert_slice(parts.tenant, "acme");
  assert_slice(parts.source, "svc-a");
  assert_true(sl_slice_eq(parts.value, e.value));
  assert_int_equal(parts.occurred_us, 1234567);
  assert_int_equal(parts.header_count, 2);
  assert_ok(sl_record_headers(&parts, out));
  assert_slice(out[0].name, "x-trace");
  assert_slice(out[1].name, "empty");
  assert_int_equal(log_view_get(view, 2, false, &parts), SL_NOTFOUND);
  log_view_close(view);
}

static void test_an_event_needs_only_a_topic(void **state) {
  kit *k = *state;
  sl_parts parts;
  log_view *view;
  kit_append(k, "evt.a.v1", "");
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_get(view, 1, true, &parts));
  assert_slice(parts.type, "evt.a.v1");
  assert_int_equal(parts.event_id.len, 36);
  assert_int_equal(((const char *)parts.event_id.data)[14], '7'); /* UUIDv7 */
  assert_int_equal(parts.correlation_id.len, 0);
  assert_null(parts.key.data);
  log_view_close(view);
}

static void refuse(kit *k, const sl_event *e, sl_status status, const char *word) {
  assert_fails(sl_append(k->store, e, NULL), status, word);
  assert_int_equal(sl_event_check(k->store, e), status);
  assert_int_equal(kit_head(k).last_seq, 0);
}

static void test_what_breaks_a_rule_is_named_and_not_stored(void **state) {
  kit *k = *state;
  static char long_text[70000];
  memset(long_text, 'a', sizeof long_text);
  const sl_event good = {.topic = SL_STR("t"), .value = SL_STR("v")};
  sl_event e;
#define WITH(field, content) (e = good, e.field = (content), &e)
  refuse(k, WITH(topic, ((sl_slice){0})), SL_E_INVALID, "topic is empty");
  refuse(k, WITH(topic, SL_STR("a b")), SL_E_INVALID, "topic 'a b' has a blank at 2");
  refuse(k, WITH(topic, SL_STR("a/b")), SL_E_INVALID, "'/' at 2");
  refuse(k, WITH(topic, SL_STR("a\nb")), SL_E_INVALID, "control character (0x0a) at 2");
  refuse(k, WITH(topic, SL_STR("..")), SL_E_INVALID, "reserved");
  refuse(k, WITH(topic, SL_BYTES(long_text, 250)), SL_E_INVALID, "at most 249");
  refuse(k, WITH(type, SL_BYTES(long_text, 256)), SL_E_INVALID, "type has 256 bytes");
  refuse(k, WITH(type, SL_STR("\xc3\x28")), SL_E_INVALID, "type is not valid UTF-8");
  refuse(k, WITH(event_id, SL_BYTES("a\0b", 3)), SL_E_INVALID, "event_id contains a NUL");
  refuse(k, WITH(event_id, SL_BYTES(long_text, 256)), SL_E_INVALID, "event_id has 256");
  refuse(k, WITH(correlation_id, SL_STR("\xff")), SL_E_INVALID, "correlation_id");
  refuse(k, WITH(causation_id, SL_BYTES(long_text, 300)), SL_E_INVALID, "causation_id");
  refuse(k, WITH(tenant, SL_BYTES(long_text, 256)), SL_E_INVALID, "tenant");
  refuse(k, WITH(source, SL_STR("\x80")), SL_E_INVALID, "source");
  refuse(k, WITH(key, SL_BYTES(long_text, 32769)), SL_E_INVALID, "key has 32769");
  refuse(k, WITH(flags, 1u << 7), SL_E_INVALID, "flags");
  refuse(k, WITH(version, 99), SL_E_INVALID, "version");
  refuse(k, WITH(header_count, 1), SL_E_INVALID, "headers is NULL");
  refuse(k, WITH(value, ((sl_slice){NULL, 5})), SL_E_INVALID, "no data");
  static char value[SL_DEFAULT_MAX_VALUE + 1];
  refuse(k, WITH(value, SL_BYTES(value, sizeof value)), SL_E_TOO_LARGE, "max_value is 1000000");
  sl_header big = {SL_STR("h"), SL_BYTES(long_text, sizeof long_text)};
  e = good, e.headers = &big, e.header_count = 1;
  refuse(k, &e, SL_E_TOO_LARGE, "65536");
  sl_header nameless = {{0}, SL_STR("v")};
  e = good, e.headers = &nameless, e.header_count = 1;
  refuse(k, &e, SL_E_INVALID, "header 0: header name is empty");
#undef WITH
  assert_int_equal(kit_append(k, "t", "good"), 1);
}

/* Topic and type count as if they stood in the record, which they do until they have a number. */
static void test_what_is_taken_does_not_hang_on_who_wrote_before(void **state) {
  kit *k = *state;
  static char big[SL_MAX_ATTRIBUTES];
  /* 64 KiB without names */
  sl_header header = {.name = SL_STR("h"), .value = SL_BYTES(big, SL_MAX_ATTRIBUTES - 8)};
  sl_event e = {.topic = SL_STR("t"), .type = SL_STR("u"), .headers = &header, .header_count = 1};
  for (int known = 0; known < 2; known++) {
    for (size_t over = 1; over <= 6; over++) {
      header.value.len = SL_MAX_ATTRIBUTES - 8 - 6 + over;
      assert_int_equal(sl_append(k->store, &e, NULL), SL_E_TOO_LARGE);
      assert_int_equal(sl_event_check(k->store, &e), SL_E_TOO_LARGE);
    }
    header.value.len = SL_MAX_ATTRIBUTES - 8 - 6;
    assert_ok(sl_event_check(k->store, &e));
    assert_ok(sl_append(k->store, &e, NULL));
  }
}

static void test_a_batch_is_all_or_nothing(void **state) {
  kit *k = *state;
  sl_event events[3] = {{.topic = SL_STR("a")}, {.topic = SL_STR("b c")}, {.topic = SL_STR("d")}};
  uint64_t first = 77;
  size_t bad = 77;
  assert_fails(sl_append_many(k->store, events, 3, &first, &bad), SL_E_INVALID, "event 2 of 3");
  assert_int_equal(bad, 1);
  assert_int_equal(first, 77);
  assert_int_equal(kit_head(k).last_seq, 0);
  events[1].topic = SL_STR("b");
  assert_ok(sl_append_many(k->store, events, 3, &first, &bad));
  assert_int_equal(first, 1);
  assert_int_equal(kit_head(k).last_seq, 3);
  assert_int_equal(sl_append_many(k->store, events, 0, NULL, NULL), SL_E_INVALID);
  assert_int_equal(sl_append_many(k->store, NULL, 1, NULL, NULL), SL_E_INVALID);
}

static void test_seqs_go_on_over_a_reopen(void **state) {
  kit *k = *state;
  for (uint64_t i = 1; i <= 5; i++) {
    assert_int_equal(kit_append(k, "t", "v"), i);
    kit_reopen(k);
  }
  log_head head = kit_head(k);
  assert_int_equal(head.first_seq, 1);
  assert_int_equal(head.kept, 5);
  assert_int_equal(head.trimmed, 0);
}

static void test_values_of_every_size(void **state) {
  kit *k = *state;
  static char value[SL_MAX_VALUE];
  for (size_t i = 0; i < sizeof value; i++) value[i] = (char)(i * 2654435761u >> 13);
  k->options.max_value = SL_MAX_VALUE;
  kit_reopen(k);
  static const size_t sizes[] = {0, 1, 1900, 2000, 2038, 2100, 4080, 4096, 65536, 1000000, SL_MAX_VALUE};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    sl_event e = {.topic = SL_STR("t"), .value = {value, sizes[i]}};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  log_view *view;
  uint64_t seq = 0;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    assert_ok(log_view_next(view, seq + 1, false, &seq, &parts));
    assert_int_equal(seq, i + 1);
    assert_int_equal(parts.value.len, sizes[i]);
    assert_memory_equal(parts.value.data, value, sizes[i]);
  }
  assert_int_equal(log_view_next(view, seq + 1, false, &seq, &parts), SL_NOTFOUND);
  log_view_close(view);
}

static void test_a_view_is_a_snapshot(void **state) {
  kit *k = *state;
  log_view *view;
  sl_parts parts;
  uint64_t found;
  kit_append(k, "t", "1");
  assert_ok(log_view_open(k->store, &view));
  kit_append(k, "t", "2");
  assert_int_equal(log_view_head(view)->last_seq, 1);
  assert_int_equal(log_view_next(view, 2, false, &found, &parts), SL_NOTFOUND);
  log_view_close(view);
}

static void test_damage_is_found_and_named_and_passed_by(void **state) {
  kit *k = *state;
  kit_append(k, "t", "one");
  kit_append(k, "t", "a value to be damaged");
  kit_append(k, "t", "three");
  sl_close(k->store);
  k->store = NULL;
  FILE *f = fopen(kit_file(k, "log/data.mdb"), "r+b");
  assert_non_null(f);
  static char data[1 << 20];
  size_t len = fread(data, 1, sizeof data, f);
  int hits = 0;
  for (size_t i = 0; i + 21 < len; i++)
    if (memcmp(data + i, "a value to be damaged", 21) == 0) {
      fseek(f, (long)i, SEEK_SET);
      fputc('A', f);
      hits++;
    }
  fclose(f);
  assert_true(hits > 0);
  kit_open(k);
  log_view *view;
  sl_parts parts;
  uint64_t found = 0;
  assert_ok(log_view_open(k->store, &view));
  assert_fails(log_view_get(view, 2, false, &parts), SL_E_CORRUPT, "event 2");
  assert_ok(log_view_next(view, 1, false, &found, &parts));
  assert_int_equal(log_view_next(view, 2, false, &found, &parts), SL_E_CORRUPT);
  assert_int_equal(found, 2);
  assert_ok(log_view_next(view, found + 1, false, &found, &parts));
  assert_slice(parts.value, "three");
  log_view_close(view);
  assert_int_equal(kit_append(k, "t", "producers go on"), 4);
}

/* ---- names ---- */

static void test_names_are_kept_once(void **state) {
  kit *k = *state;
  char topic[64];
  for (int i = 0; i < 300; i++) {
    snprintf(topic, sizeof topic, "topic-%d", i % 100);
    kit_append(k, topic, "v");
  }
  kit_reopen(k);
  log_view *view;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  for (uint64_t seq = 1; seq <= 300; seq++) {
    snprintf(topic, sizeof topic, "topic-%d", (int)((seq - 1) % 100));
    assert_ok(log_view_get(view, seq, true, &parts));
    assert_slice(parts.topic, topic);
    assert_int_equal(parts.topic_id, log_view_name_id(view, sl_slice_of(topic)));
    assert_true(parts.topic_id >= 1 && parts.topic_id <= 100);
  }
  assert_int_equal(log_view_name_id(view, SL_STR("unknown")), SL_NAME_INLINE);
  log_view_close(view);
}

/* A number given out in a transaction that failed must not be believed: the next process gives it away. */
static void test_a_number_of_an_aborted_append_is_forgotten(void **state) {
  kit *k = *state;
  kit_append(k, "first", "v");
  sl_log *log = k->store->log;
  db_txn *txn;
  dict_pending pending = {0};
  uint32_t id;
  assert_ok(db_begin_write(log->env, false, &txn));
  assert_ok(dict_assign(log->dict, txn, &pending, SL_STR("never"), &id));
  assert_int_equal(id, 2);
  db_abort(txn);
  dict_pending_free(&pending);
  kit_append(k, "second", "v");
  kit_append(k, "never", "v");
  kit_reopen(k);
  log_view *view;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_get(view, 2, true, &parts));
  assert_slice(parts.topic, "second");
  assert_int_equal(parts.topic_id, 2);
  assert_ok(log_view_get(view, 3, true, &parts));
  assert_slice(parts.topic, "never");
  log_view_close(view);
}

static void test_a_full_dictionary_puts_names_into_records(void **state) {
  kit *k = *state;
  /* Only the last number counts, so the table need not hold the 65,534 before it. */
  sl_log *log = k->store->log;
  db_txn *txn;
  uint64_t last = DICT_MAX;
  assert_ok(db_begin_write(log->env, false, &txn));
  assert_ok(db_append(txn, LOG_DICT_IDS, db_u64(&last), SL_STR("the-last")));
  assert_ok(db_commit(txn));
  kit_append(k, "too-late", "v");
  kit_append(k, "too-late", "v");
  kit_reopen(k);
  log_view *view;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  assert_ok(log_view_get(view, 2, true, &parts));
  assert_int_equal(parts.topic_id, SL_NAME_INLINE);
  assert_slice(parts.topic, "too-late");
  assert_slice(parts.type, "too-late");
  log_view_close(view);
}

/* ---- quota ---- */

static void test_a_full_store_says_so_and_takes_more_when_there_is_room(void **state) {
  kit *k = *state;
  k->options.quota_bytes = 2u << 20;
  kit_reopen(k);
  static char value[3000];
  sl_event e = {.topic = SL_STR("t"), .value = SL_BYTES(value, sizeof value)};
  sl_status status;
  uint64_t stored = 0, used;
  while ((status = sl_append(k->store, &e, NULL)) == SL_OK && stored < 5000) stored++;
  assert_int_equal(status, SL_E_FULL);
  assert_non_null(strstr(sl_last_detail(), "is full"));
  assert_int_equal(kit_head(k).last_seq, stored);
  assert_true(stored > 300);
  assert_ok(log_bytes_used(k->store, &used));
  assert_true(used <= 2u << 20);
  /* The quota holds for the next opener, who did not ask for it. */
  k->options.quota_bytes = 0;
  kit_reopen(k);
  assert_int_equal(sl_append(k->store, &e, NULL), SL_E_FULL);
  sl_stats stats;
  assert_ok(sl_stats_get(k->store, &stats));
  assert_int_equal(stats.bytes_quota, 2u << 20);
  uint64_t gone[100];
  for (uint64_t i = 0; i < 100; i++) gone[i] = i + 1;
  assert_ok(log_remove(k->store, gone, 100));
  uint64_t again = 0;
  while ((status = sl_append(k->store, &e, NULL)) == SL_OK && again < 5000) again++;
  assert_int_equal(status, SL_E_FULL);
  assert_in_range(again, 60, 140);
  log_head head = kit_head(k);
  assert_int_equal(head.kept + head.trimmed, head.last_seq);
  /* A raised quota is taken up. */
  k->options.quota_bytes = 8u << 20;
  kit_reopen(k);
  assert_ok(sl_append(k->store, &e, NULL));
}

static void test_the_newest_record_is_never_removed(void **state) {
  kit *k = *state;
  uint64_t seqs[] = {1, 2, 3};
  for (int i = 0; i < 3; i++) kit_append(k, "t", "v");
  assert_int_equal(log_remove(k->store, seqs, 3), SL_E_INVALID);
  assert_int_equal(kit_head(k).kept, 3);
  assert_ok(log_remove(k->store, seqs, 2));
  log_head head = kit_head(k);
  assert_int_equal(head.first_seq, 3);
  assert_int_equal(head.trimmed, 2);
  assert_int_equal(kit_append(k, "t", "v"), 4);
}

/* ---- many at once ---- */

enum { THREADS = 8, EACH = 60 };

typedef struct producer { kit *k; int id; uint64_t seqs[EACH]; sl_status status; } producer;

static void *produce(void *arg) {
  producer *p = arg;
  char topic[32], value[32];
  for (int i = 0; i < EACH && p->status == SL_OK; i++) {
    /* New topics and new values at once: names are given out under contention. */
    snprintf(topic, sizeof topic, "topic-%d", i / 4);
    snprintf(value, sizeof value, "%d:%d", p->id, i);
    sl_event e = {.topic = sl_slice_of(topic), .value = sl_slice_of(value)};
    p->status = sl_append(p->k->store, &e, &p->seqs[i]);
  }
  return NULL;
}

typedef struct follower { kit *k; const char *trouble; } follower;

static void *read_along(void *arg) {
  follower *f = arg;
  uint64_t seen = 0;
  while (seen < THREADS * EACH && !f->trouble) {
    log_view *view;
    sl_parts parts;
    uint64_t found;
    if (sl_wait(f->k->store, seen, 10000, NULL) != SL_OK) f->trouble = "waited in vain";
    if (f->trouble || log_view_open(f->k->store, &view) != SL_OK) break;
    while (log_view_next(view, seen + 1, false, &found, &parts) == SL_OK) {
      if (found != seen + 1) f->trouble = "a gap";
      seen = found;
    }
    log_view_close(view);
  }
  if (seen < THREADS * EACH && !f->trouble) f->trouble = "no view";
  return NULL;
}

static void test_many_threads_append_while_others_follow(void **state) {
  kit *k = *state;
  pthread_t threads[THREADS], readers[2];
  static producer producers[THREADS];
  static bool seen[THREADS * EACH + 1];
  memset(seen, 0, sizeof seen);
  follower followers[2] = {{.k = k}, {.k = k}};
  for (int i = 0; i < 2; i++) pthread_create(&readers[i], NULL, read_along, &followers[i]);
  for (int i = 0; i < THREADS; i++) {
    producers[i] = (producer){.k = k, .id = i};
    pthread_create(&threads[i], NULL, produce, &producers[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; i++) {
    pthread_join(readers[i], NULL);
    if (followers[i].trouble) fail_msg("a follower: %s", followers[i].trouble);
  }
  log_view *view;
  assert_ok(log_view_open(k->store, &view));
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(producers[i].status, SL_OK);
    for (int n = 0; n < EACH; n++) {
      char value[32], topic[32];
      sl_parts parts;
      uint64_t seq = producers[i].seqs[n];
      assert_in_range(seq, 1, THREADS * EACH);
      assert_false(seen[seq]);
      seen[seq] = true;
      snprintf(value, sizeof value, "%d:%d", i, n);
      snprintf(topic, sizeof topic, "topic-%d", n / 4);
      assert_ok(log_view_get(view, seq, false, &parts));
      assert_slice(parts.value, value);
      assert_slice(parts.topic, topic);
    }
  }
  log_view_close(view);
}

static void test_an_append_in_another_process_is_noticed(void **state) {
  kit *k = *state;
  uint64_t last = 99;
  assert_int_equal(sl_wait(k->store, 0, 0, &last), SL_TIMEOUT);
  assert_fails(sl_wait(k->store, 0, 30, NULL), SL_TIMEOUT, "no event above 0 came within 30 ms");
  pid_t pid = fork();
  if (pid == 0) {
    sl_store *mine;
    sl_options o = {.preallocate = SL_NONE};
    usleep(50000);
    if (sl_open(k->path, &o, &mine) != SL_OK) _exit(1); /* the parent's store does not count as ours */
    sl_event e = {.topic = SL_STR("t")};
    sl_status status = sl_append(mine, &e, NULL);
    sl_close(mine);
    _exit(status == SL_OK ? 0 : 2);
  }
  assert_ok(sl_wait(k->store, 0, 20000, &last));
  assert_int_equal(last, 1);
  int code;
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
}

static void test_relaxed_appends_are_marked_for_those_who_pass_them(void **state) {
  kit *k = *state;
  db_txn *txn;
  log_meta meta;
  assert_ok(sl_sync(k->store));
  k->options.durability = SL_RELAXED;
  kit_reopen(k);
  kit_append(k, "t", "v");
  assert_ok(sl_sync(k->store));
  k->options.durability = SL_DURABLE;
  kit_reopen(k);
  assert_ok(db_begin_read(k->store->log->env, &txn));
  assert_ok(log_meta_read(txn, &meta));
  db_abort(txn);
  assert_true(meta.flags & LOG_RELAXED);
  assert_ok(log_flush_for(k->store));
  assert_int_equal(kit_head(k).last_seq, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_every_field_comes_back),
    TEST(test_an_event_needs_only_a_topic),
    TEST(test_what_breaks_a_rule_is_named_and_not_stored),
    TEST(test_what_is_taken_does_not_hang_on_who_wrote_before),
    TEST(test_a_batch_is_all_or_nothing),
    TEST(test_seqs_go_on_over_a_reopen),
    TEST(test_values_of_every_size),
    TEST(test_a_view_is_a_snapshot),
    TEST(test_damage_is_found_and_named_and_passed_by),
    TEST(test_names_are_kept_once),
    TEST(test_a_number_of_an_aborted_append_is_forgotten),
    TEST(test_a_full_dictionary_puts_names_into_records),
    TEST(test_a_full_store_says_so_and_takes_more_when_there_is_room),
    TEST(test_the_newest_record_is_never_removed),
    TEST(test_many_threads_append_while_others_follow),
    TEST(test_an_append_in_another_process_is_noticed),
    TEST(test_relaxed_appends_are_marked_for_those_who_pass_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
