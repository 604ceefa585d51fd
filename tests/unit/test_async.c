/* Asynchronous appends: taken at once, decided in order, told once. */
#include "kit.h"

#include <pthread.h>
#include <sys/wait.h>

enum { COUNT = 3000 };

typedef struct heard {
  sl_store *store;
  size_t count, full, others;
  uint64_t last_seq;
  bool disorder;
  pthread_mutex_t gate;  /* held by a test: the callback, and so the thread, waits */
} heard;

static void on_append(void *arg, sl_status status, uint64_t seq, const char *detail) {
  heard *h = arg;
  if (status == SL_OK) {
    h->disorder |= seq <= h->last_seq;
    h->last_seq = seq;
  } else if (status == SL_E_FULL && strstr(detail, "full")) {
    h->full++;
  } else {
    h->others++;
  }
  h->count++;
}

static void on_append_gated(void *arg, sl_status status, uint64_t seq, const char *detail) {
  heard *h = arg;
  pthread_mutex_lock(&h->gate);
  pthread_mutex_unlock(&h->gate);
  on_append(arg, status, seq, detail);
}

static sl_status take(kit *k, heard *h, sl_append_fn *fn, size_t n, size_t size) {
  static char value[65536];
  char id[32];
  snprintf(id, sizeof id, "async-%zu", n);
  sl_event e = {.topic = SL_STR("async"), .event_id = sl_slice_of(id), .value = {value, size}};
  return sl_append_async(k->store, &e, fn, h);
}

static void all_are_decided_in_order_and_durable(void **state) {
  kit *k = *state;
  heard h = {0};
  for (size_t n = 0; n < COUNT; n++) assert_ok(take(k, &h, on_append, n, n % 300));
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, COUNT);
  assert_int_equal(h.full + h.others, 0);
  assert_false(h.disorder);
  assert_int_equal(h.last_seq, COUNT);
  kit_reopen(k);
  log_view *view;
  assert_ok(log_view_open(k->store, &view));
  for (uint64_t seq = 1; seq <= COUNT; seq++) {
    sl_parts parts;
    char id[32];
    snprintf(id, sizeof id, "async-%d", (int)seq - 1);
    assert_ok(log_view_get(view, seq, false, &parts));
    assert_slice(parts.event_id, id);
    assert_int_equal(parts.value.len, (seq - 1) % 300);
    assert_int_not_equal(parts.topic_id, SL_NAME_INLINE);
  }
  log_view_close(view);
}

static void what_gathers_during_a_commit_shares_the_next(void **state) {
  kit *k = *state;
  heard h = {.gate = PTHREAD_MUTEX_INITIALIZER};
  db_env_info before, after;
  pthread_mutex_lock(&h.gate);
  assert_ok(take(k, &h, on_append_gated, 0, 10)); /* the thread hangs in its callback */
  uint64_t last;
  assert_ok(sl_wait(k->store, 0, 10000, &last));
  assert_ok(log_env_info(k->store, &before));
  for (size_t n = 1; n <= 100; n++) assert_ok(take(k, &h, on_append, n, 10));
  assert_int_equal(sl_append_wait(k->store, 0), SL_TIMEOUT);
  pthread_mutex_unlock(&h.gate);
  assert_ok(sl_append_wait(k->store, -1));
  assert_ok(log_env_info(k->store, &after));
  assert_int_equal(after.last_txn - before.last_txn, 1);
  assert_int_equal(h.last_seq, 101);
}

static void a_full_queue_takes_nothing(void **state) {
  kit *k = *state;
  heard h = {.gate = PTHREAD_MUTEX_INITIALIZER};
  size_t taken = 0;
  k->options.async_bytes = 100000;
  kit_reopen(k);
  pthread_mutex_lock(&h.gate);
  sl_status status;
  while ((status = take(k, &h, on_append_gated, taken, 1000)) == SL_OK) taken++;
  assert_int_equal(status, SL_E_AGAIN);
  assert_true(taken > 80 && taken < 100);
  assert_int_equal(take(k, &h, on_append, taken, 60000), SL_E_AGAIN);
  pthread_mutex_unlock(&h.gate);
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, taken);
  assert_int_equal(h.last_seq, taken);
  assert_ok(take(k, &h, on_append, taken, 1000)); /* there is room again */
  assert_ok(sl_append_wait(k->store, -1));
}

static void a_bad_event_is_refused_at_once(void **state) {
  kit *k = *state;
  heard h = {0};
  sl_event e = {.topic = SL_STR("no good")};
  assert_fails(sl_append_async(k->store, &e, on_append, &h), SL_E_INVALID, "topic");
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, 0);
}

static void a_full_store_takes_what_fits_and_says_so_to_the_rest(void **state) {
  kit *k = *state;
  heard h = {.gate = PTHREAD_MUTEX_INITIALIZER};
  k->options.quota_bytes = 1u << 20;
  kit_reopen(k);
  pthread_mutex_lock(&h.gate);
  for (size_t n = 0; n < 300; n++) assert_ok(take(k, &h, on_append_gated, n, 10000));
  pthread_mutex_unlock(&h.gate);
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, 300);
  assert_int_equal(h.others, 0);
  assert_true(h.full > 150 && h.last_seq > 20);
  assert_int_equal(kit_head(k).last_seq, 300 - h.full);
}

static void closing_decides_what_was_taken(void **state) {
  kit *k = *state;
  heard h = {0};
  for (size_t n = 0; n < COUNT; n++) assert_ok(take(k, &h, on_append, n, 100));
  kit_reopen(k);
  assert_int_equal(h.count, COUNT);
  assert_int_equal(kit_head(k).last_seq, COUNT);
}

/* In the child the library's thread does not exist, and closing must not wait for it. */
static void a_forked_child_closes_at_once(void **state) {
  kit *k = *state;
  heard h = {0};
  int code;
  assert_ok(take(k, &h, on_append, 1, 10));
  assert_ok(sl_append_wait(k->store, -1)); /* the thread sleeps on an empty queue */
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    if (take(k, &h, on_append, 2, 10) != SL_E_FORKED) _exit(1);
    sl_close(k->store);
    _exit(0);
  }
  waitpid(child, &code, 0);
  assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
  assert_ok(take(k, &h, on_append, 3, 10));
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.last_seq, 2);
}

static void append_another(void *arg, sl_status status, uint64_t seq, const char *detail) {
  heard *h = arg;
  on_append(arg, status, seq, detail);
  sl_event e = {.topic = SL_STR("again")};
  if (seq < 50 && sl_append_async(h->store, &e, append_another, h) != SL_OK) h->others++;
}

static void a_callback_may_append(void **state) {
  kit *k = *state;
  heard h = {.store = k->store};
  sl_event e = {.topic = SL_STR("again")};
  assert_ok(sl_append_async(k->store, &e, append_another, &h));
  while (kit_head(k).last_seq < 50) assert_ok(sl_append_wait(k->store, -1));
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, 50);
  assert_int_equal(h.others, 0);
}

static void misuse(void *arg, sl_status status, uint64_t seq, const char *detail) {
  heard *h = arg;
  (void)seq, (void)detail;
  h->full += sl_append_wait(h->store, -1) == SL_E_INVALID;
  sl_close(h->store);
  h->count += status == SL_OK;
}

/* What would hang, or go on in freed memory, is refused. */
static void a_callback_can_neither_wait_nor_close(void **state) {
  kit *k = *state;
  heard h = {.store = k->store};
  for (size_t n = 0; n < 3; n++) assert_ok(take(k, &h, misuse, n, 10));
  assert_ok(sl_append_wait(k->store, -1));
  assert_int_equal(h.count, 3);
  assert_int_equal(h.full, 3);
  assert_int_equal(kit_append(k, "t", "v"), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)
    TEST(all_are_decided_in_order_and_durable),
    TEST(what_gathers_during_a_commit_shares_the_next),
    TEST(a_full_queue_takes_nothing),
    TEST(a_bad_event_is_refused_at_once),
    TEST(a_full_store_takes_what_fits_and_says_so_to_the_rest),
    TEST(closing_decides_what_was_taken),
    TEST(a_forked_child_closes_at_once),
    TEST(a_callback_may_append),
    TEST(a_callback_can_neither_wait_nor_close),
  };
  return cmocka_run_group_tests_name("async", tests, NULL, NULL);
}
