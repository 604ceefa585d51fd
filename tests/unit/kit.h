/* A store in a folder of its own for a test, and the steps most tests begin with. */
#ifndef SL_TESTS_KIT_H
#define SL_TESTS_KIT_H
#include "unit.h"

#include "delivery/book.h"
#include "delivery/delivery.h"
#include "index/index.h"
#include "store/log.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct kit {
  char dir[4096];   /* removed at the end */
  char path[4200];  /* dir/store */
  sl_options options;
  sl_store *store;
} kit;

static inline int kit_remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static inline void kit_open(kit *k) { assert_ok(sl_open(k->path, &k->options, &k->store)); }
static inline void kit_close(kit *k) {
  sl_close(k->store);
  k->store = NULL;
}
static inline void kit_reopen(kit *k) {
  kit_close(k);
  kit_open(k);
}

/* For cmocka's setup: an open store with little preallocated. */
static inline int kit_setup(void **state) {
  kit *k = calloc(1, sizeof *k);
  const char *tmp = getenv("TMPDIR");
  snprintf(k->dir, sizeof k->dir, "%s/sidelog-unit.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(k->dir)) return -1;
  snprintf(k->path, sizeof k->path, "%s/store", k->dir);
  k->options.preallocate = 1u << 20;
  *state = k;
  if (sl_open(k->path, &k->options, &k->store) == SL_OK) return 0;
  print_error("%s\n", sl_last_detail());
  return -1;
}

static inline int kit_teardown(void **state) {
  kit *k = *state;
  sl_close(k->store);
  nftw(k->dir, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  free(k);
  return 0;
}

static inline const char *kit_file(const kit *k, const char *name) {
  static char path[4400];
  snprintf(path, sizeof path, "%s/%s", k->path, name);
  return path;
}

static inline uint64_t kit_append(kit *k, const char *topic, const char *value) {
  sl_event e = SL_EVENT_INIT;
  uint64_t seq = 0;
  e.topic = sl_slice_of(topic);
  e.value = sl_slice_of(value);
  assert_ok(sl_append(k->store, &e, &seq));
  return seq;
}

/* `count` events with values of `size` bytes in commits of 500. */
static inline void kit_fill(kit *k, const char *topic, size_t count, size_t size) {
  char *value = calloc(1, size + 1);
  sl_event *events = calloc(500, sizeof *events);
  memset(value, 'v', size);
  while (count > 0) {
    size_t n = count < 500 ? count : 500;
    for (size_t i = 0; i < n; i++)
      events[i] = (sl_event){.topic = sl_slice_of(topic), .value = {value, size}};
    assert_ok(sl_append_many(k->store, events, n, NULL, NULL));
    count -= n;
  }
  free(events);
  free(value);
}

/* Everything up to `seq` was sent: what the agent would have written. */
static inline void kit_deliver(kit *k, uint64_t seq) {
  sl_delivery *delivery;
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &delivery));
  while (delivery_state_get(delivery)->cursor.seq < seq) {
    const delivery_state *state = delivery_state_get(delivery);
    uint64_t from = state->cursor.seq + 1, to = from + 999 < seq ? from + 999 : seq;
    delivery_verdict *verdicts = calloc(1000, sizeof *verdicts);
    size_t count = 0;
    for (uint64_t s = from; s <= to; s++)
      verdicts[count++] = (delivery_verdict){.seq = s, .verdict = SL_VERDICT_SENT, .place = -1};
    delivery_attempt attempt = {.verdicts = verdicts, .count = count, .marked = true};
    attempt.progress = state->cursor;
    attempt.progress.seq = to;
    attempt.progress.attempt = state->last_attempt + 1;
    assert_ok(delivery_record(delivery, &attempt));
    free(verdicts);
  }
  delivery_close(delivery);
}

/* What `work` returns in a process of its own, which must end by itself. It inherits k->store, and may not use
 * it. */
static inline int kit_in_child(int (*work)(kit *k), kit *k) {
  int code;
  const pid_t pid = fork();
  if (pid == 0) _exit(work(k));
  assert_int_equal(waitpid(pid, &code, 0), pid);
  assert_true(WIFEXITED(code));
  return WEXITSTATUS(code);
}

static inline log_head kit_head(kit *k) {
  log_view *view;
  assert_ok(log_view_open(k->store, &view));
  log_head head = *log_view_head(view);
  log_view_close(view);
  return head;
}
#endif
