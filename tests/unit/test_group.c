/* Group commit: many appends, one transaction; whoever dies, each append happens once or is not told of. */
#include "kit.h"

#include "store/commit.h"
#include "store/slots.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 6, ROUNDS = 60, PROCESSES = 3, BIG = 40000, MANY = 5 };

/* What a producer was told: the event with this id is at this seq. */
typedef struct told {
  uint64_t seq;
  char id[48];
} told;

typedef struct producer {
  sl_store *store;
  char name[24];
  uint32_t random;
  told *told;
  size_t count;
  bool failed;
} producer;

static uint32_t roll(producer *p) { return p->random = p->random * 1664525u + 1013904223u; }

static void one(producer *p, size_t n) {
  told *t = &p->told[p->count];
  static char big[BIG];
  snprintf(t->id, sizeof t->id, "%s-%zu", p->name, n);
  char topic[64];
  /* Now and then a topic that nobody has seen. */
  if (roll(p) >> 28 == 0) snprintf(topic, sizeof topic, "new.%s.%zu", p->name, n);
  else snprintf(topic, sizeof topic, "common.%u", roll(p) >> 30);
  sl_event e = {.topic = sl_slice_of(topic), .event_id = sl_slice_of(t->id), .value = sl_slice_of(t->id)};
  e.flags = roll(p) >> 31 ? SL_EVENT_RELAXED : 0;
  if (roll(p) >> 29 == 0) e.value = (sl_slice){big, BIG};
  if (sl_append(p->store, &e, &t->seq) != SL_OK) p->failed = true;
  p->count++;
}

static void many(producer *p, size_t n) {
  sl_event events[MANY];
  uint64_t first = 0;
  for (size_t i = 0; i < MANY; i++) {
    told *t = &p->told[p->count + i];
    snprintf(t->id, sizeof t->id, "%s-%zu.%zu", p->name, n, i);
    events[i] = (sl_event){.topic = SL_STR("batches"), .event_id = sl_slice_of(t->id),
                           .value = sl_slice_of(t->id)};
  }
  if (sl_append_many(p->store, events, MANY, &first, NULL) != SL_OK) p->failed = true;
  for (size_t i = 0; i < MANY; i++) p->told[p->count++].seq = first + i;
}

static void *produce(void *arg) {
  producer *p = arg;
  for (size_t n = 0; n < ROUNDS; n++)
    if (roll(p) >> 30 == 0) many(p, n);
    else one(p, n);
  return NULL;
}

/* Runs THREADS producers. Their tellings are in *told, which the caller frees. */
static size_t run_threads(sl_store *store, const char *name, told **out) {
  pthread_t threads[THREADS];
  producer p[THREADS];
  told *all = calloc(THREADS * ROUNDS * MANY, sizeof *all);
  size_t count = 0;
  for (size_t i = 0; i < THREADS; i++) {
    p[i] = (producer){.store = store, .random = (uint32_t)(i + 1) * 7919u, .told = all + i * ROUNDS * MANY};
    snprintf(p[i].name, sizeof p[i].name, "%s.%zu", name, i);
    assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_false(p[i].failed);
    for (size_t k = 1; k < p[i].count; k++) assert_true(p[i].told[k].seq > p[i].told[k - 1].seq);
    memmove(all + count, p[i].told, p[i].count * sizeof *all);
    count += p[i].count;
  }
  *out = all;
  return count;
}

static void check_told(sl_store *store, const told *all, size_t count) {
  log_view *view;
  assert_ok(log_view_open(store, &view));
  for (size_t i = 0; i < count; i++) {
    sl_parts parts;
    assert_ok(log_view_get(view, all[i].seq, false, &parts));
    assert_slice(parts.event_id, all[i].id);
    if (parts.value.len != BIG) assert_slice(parts.value, all[i].id);
    /* Also the names that were new to its producer got a number, and in time its producer learned it. */
    assert_int_not_equal(parts.topic_id, SL_NAME_INLINE);
  }
  assert_int_equal(log_view_head(view)->last_seq, count); /* each once */
  log_view_close(view);
  sl_verify_report report;
  assert_ok(sl_index_advance(store, 0, NULL));
  assert_ok(sl_verify(store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void threads_append_together(void **state) {
  kit *k = *state;
  told *all;
  assert_true(slots_shared(k->store->log->slots));
  size_t count = run_threads(k->store, "t", &all);
  check_told(k->store, all, count);
  free(all);
}

static void run_processes(kit *k, bool each_believes_to_be_alone) {
  int pipes[PROCESSES][2];
  pid_t children[PROCESSES];
  told *all = calloc(PROCESSES * THREADS * ROUNDS * MANY, sizeof *all);
  size_t count = 0;
  sl_close(k->store);
  k->store = NULL;
  for (int i = 0; i < PROCESSES; i++) {
    assert_int_equal(pipe(pipes[i]), 0);
    children[i] = fork();
    if (children[i] == 0) {
      char name[16];
      told *mine;
      sl_store *store;
      snprintf(name, sizeof name, "p%d", i);
      if (each_believes_to_be_alone) (void)unlink(kit_file(k, "store.lock"));
      if (sl_open(k->path, &k->options, &store) != SL_OK) _exit(2);
      size_t len = run_threads(store, name, &mine) * sizeof *mine;
      for (size_t at = 0; at < len;) {
        ssize_t done = write(pipes[i][1], (char *)mine + at, len - at);
        if (done <= 0) _exit(3);
        at += (size_t)done;
      }
      sl_close(store);
      _exit(0);
    }
    close(pipes[i][1]);
  }
  for (int i = 0; i < PROCESSES; i++) {
    int code;
    size_t len = 0;
    for (ssize_t n; (n = read(pipes[i][0], (char *)(all + count) + len, 65536)) > 0;) len += (size_t)n;
    close(pipes[i][0]);
    waitpid(children[i], &code, 0);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    count += len / sizeof *all;
  }
  kit_open(k);
  check_told(k->store, all, count);
  free(all);
}

static void processes_append_together(void **state) { run_processes(*state, false); }

/* Somebody removes the lock file: each process then makes slots of its own. LMDB's lock still keeps commits
 * apart. */
static void without_the_lock_file_nothing_is_lost(void **state) { run_processes(*state, true); }

static void own_commits_and_group_commits_mix(void **state) {
  kit *k = *state;
  told *all;
  k->options.flags = SL_OPEN_OWN_COMMITS;
  kit_reopen(k);
  assert_null(k->store->log->slots);
  size_t count = run_threads(k->store, "o", &all);
  check_told(k->store, all, count);
  free(all);
}

static void without_shared_memory_threads_still_share_commits(void **state) {
  kit *k = *state;
  told *all;
  sl_close(k->store);
  assert_int_equal(unlink(kit_file(k, "log/slots")), 0);
  assert_int_equal(mkdir(kit_file(k, "log/slots"), 0700), 0);
  kit_open(k);
  assert_false(slots_shared(k->store->log->slots));
  size_t count = run_threads(k->store, "s", &all);
  check_told(k->store, all, count);
  free(all);
}

/* A neighbour's slot with `bytes` in it, as its process would have published it. */
static unsigned publish(slots *s, const void *bytes, uint32_t len, uint32_t count) {
  int i = slots_claim(s);
  assert_true(i >= 0);
  append_slot *at = slots_at(s, (unsigned)i);
  memcpy(slots_bytes(s, (unsigned)i), bytes, len);
  at->len = len;
  at->count = count;
  at->now_us = 1700000000000000;
  at->relaxed = 0;
  at->renumber = 1;
  slots_publish(s, (unsigned)i);
  return (unsigned)i;
}

static void a_neighbours_damaged_records_are_refused_and_harm_nobody(void **state) {
  kit *k = *state;
  slots *s = k->store->log->slots;
  uint8_t bytes[200];
  for (uint32_t len = 0; len < sizeof bytes; len++) {
    for (uint32_t i = 0; i < len; i++) bytes[i] = (uint8_t)random_next();
    if (len >= 4 && len % 2) sl_put_u32(bytes, len - 4); /* at least the frame is right */
    unsigned i = publish(s, bytes, len, 1);
    assert_int_equal(kit_append(k, "good", "value"), len + 1);
    assert_int_equal(slots_at(s, i)->state, SLOT_REJECTED);
    slots_release(s, i);
  }
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.events, sizeof bytes);
  assert_int_equal(report.problems, 0);
}

/* A full store: each gets its own answer. */
static void where_all_do_not_fit_together_some_do(void **state) {
  kit *k = *state;
  k->options.quota_bytes = 1u << 20;
  kit_reopen(k);
  static char value[15000];
  size_t stored = 0, refused = 0;
  sl_event e = {.topic = SL_STR("t"), .value = {value, sizeof value}};
  while (refused == 0) {
    sl_status status = sl_append(k->store, &e, NULL);
    if (status == SL_E_FULL) {
      refused++;
    } else {
      assert_ok(status);
      stored++;
    }
  }
  /* A small one still fits; the large one of the neighbour does not, and waits for its own turn. */
  unsigned i = publish(k->store->log->slots, value, sizeof value, 1);
  sl_status status = sl_append(k->store, &(sl_event){.topic = SL_STR("t"), .value = SL_STR("x")}, NULL);
  assert_true(status == SL_OK || status == SL_E_FULL);
  if (status == SL_OK) assert_int_not_equal(slots_at(k->store->log->slots, i)->state, SLOT_DONE);
  slots_release(k->store->log->slots, i);
  assert_true(stored > 20);
}

/* What a commit was granted for its first producers counts for those that join it, also where only they need a
 * look at the free list, and that was counted a while ago. */
static void who_joins_a_commit_finds_what_it_was_granted(void **state) {
  kit *k = *state;
  db_txn *txn;
  log_meta meta;
  uint64_t pages, size;
  k->options.quota_bytes = 4u << 20;
  kit_reopen(k);
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(log_meta_read(txn, &meta));
  assert_ok(db_high_water(txn, &pages, &size));
  const uint64_t limit = (meta.quota - quota_reserve(meta.quota)) / size, granted = limit - pages - 100;
  assert_int_equal(quota_check(k->store, txn, &meta, 0, limit * 2), SL_E_FULL); /* this one counts */
  assert_ok(quota_check(k->store, txn, &meta, 0, granted));
  assert_ok(quota_check(k->store, txn, &meta, granted, 50));
  assert_int_equal(quota_check(k->store, txn, &meta, granted + 50, 200), SL_E_FULL);
  db_abort(txn);
}

/* Who opened the store behind that has another log: its events would be called stored, and never be found. */
static void a_leader_whose_log_was_replaced_commits_for_nobody(void **state) {
  kit *k = *state;
  slots *s = k->store->log->slots;
  char copy[4400];
  if (!slots_shared(s)) skip();
  kit_append(k, "t", "v");
  snprintf(copy, sizeof copy, "%s/copy", k->dir);
  assert_ok(db_env_copy(k->store->log->env, copy));
  assert_int_equal(rename(copy, kit_file(k, "log/data.mdb")), 0);
  const unsigned i = publish(s, "", 0, 0);
  (void)sl_append(k->store, &(sl_event){.topic = SL_STR("t")}, NULL);
  assert_int_equal(slots_at(s, i)->state, SLOT_READY);
  slots_release(s, i);
}

/* ------------------------------------------------------------------- deaths --- */

static void *append_one(void *arg) {
  producer *p = arg;
  sl_event e = {.topic = SL_STR("survivor"), .event_id = SL_STR("survivor"), .value = SL_STR("v")};
  if (sl_append(p->store, &e, &p->told->seq) != SL_OK) p->failed = true;
  return NULL;
}

typedef enum death { BEFORE_TAKING, TAKEN_HALF, BEFORE_COMMIT, AFTER_COMMIT, TOLD_HALF, DEATHS } death;

/* Takes the lead, tells so, waits for a slot, goes as far as `how`, and dies. */
static void lead_and_die(const char *path, death how, int ready) {
  sl_store *store;
  commit_stage stage;
  db_txn *txn;
  if (sl_open(path, NULL, &store) != SL_OK) _exit(2);
  slots *s = store->log->slots;
  while (slots_try_lead(s, -1) != LEAD_TAKEN) continue;
  if (write(ready, "l", 1) != 1) _exit(2);
  uint64_t mask;
  while ((mask = slots_ready(s)) == 0) continue;
  const unsigned i = (unsigned)__builtin_ctzll(mask);
  append_slot *at = slots_at(s, i);
  if (how == BEFORE_TAKING) _exit(0);
  slots_take(s, mask);
  if (how == TAKEN_HALF) {
    atomic_store(&at->state, SLOT_READY);
    _exit(0);
  }
  if (db_begin_write(store->log->env, false, &txn) != SL_OK) _exit(3);
  commit_unit unit = {.slot = (int)i, .ticket = at->ticket,
                      .batch = {.records = {slots_bytes(s, i), at->len}, .count = at->count, .now_us = at->now_us,
                                .relaxed = at->relaxed, .renumber = at->renumber}};
  if (how == BEFORE_COMMIT) _exit(0);
  if (commit_units(store, txn, &unit, 1, &stage) != SL_OK) _exit(4);
  if (how == TOLD_HALF) {
    at->first_seq = unit.first_seq;
    atomic_store(&at->state, SLOT_DONE); /* but its bit still stands among the taken */
  }
  _exit(0);
}

static void a_dead_leaders_slots_are_decided_by_the_log(void **state) {
  kit *k = *state;
  for (death how = 0; how < DEATHS; how++) {
    int pipes[2], code;
    char c;
    pthread_t thread;
    told t = {0};
    sl_close(k->store);
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) lead_and_die(k->path, how, pipes[1]);
    assert_int_equal(read(pipes[0], &c, 1), 1);
    kit_open(k);
    const uint64_t before = kit_head(k).last_seq;
    producer p = {.store = k->store, .told = &t};
    assert_int_equal(pthread_create(&thread, NULL, append_one, &p), 0);
    pthread_join(thread, NULL);
    waitpid(child, &code, 0);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    assert_false(p.failed);
    assert_int_equal(t.seq, before + 1);
    assert_int_equal(kit_head(k).last_seq, before + 1); /* once */
    assert_int_equal(kit_append(k, "next", "v"), before + 2);
    for (unsigned i = 0; i < SLOT_COUNT; i++) assert_int_equal(slots_at(k->store->log->slots, i)->owner, 0);
    close(pipes[0]);
    close(pipes[1]);
  }
}

static void the_slots_of_the_dead_are_freed(void **state) {
  kit *k = *state;
  int code;
  static const slot_state states[] = {SLOT_CLAIMED, SLOT_WAITING, SLOT_READY, SLOT_DONE, SLOT_REJECTED};
  sl_close(k->store);
  k->store = NULL;
  kit_open(k);
  pid_t child = fork();
  if (child == 0) {
    sl_store *store; /* the child's own */
    if (sl_open(k->path, NULL, &store) != SL_OK) _exit(2);
    slots *s = store->log->slots;
    for (unsigned n = 0; n < SLOT_COUNT; n++) {
      int i = slots_claim(s);
      if (i < 0) _exit(3);
      slot_state want = states[n % 5];
      if (want == SLOT_WAITING) slots_queue(s, (unsigned)i);
      else if (want == SLOT_READY) slots_publish(s, (unsigned)i);
      else atomic_store(&slots_at(s, (unsigned)i)->state, want);
    }
    _exit(0);
  }
  waitpid(child, &code, 0);
  assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
  assert_int_equal(kit_append(k, "alone", "v"), 1);
  for (unsigned i = 0; i < SLOT_COUNT; i++) assert_int_equal(slots_at(k->store->log->slots, i)->owner, 0);
  assert_int_equal(kit_append(k, "alone", "v"), 2);
}

/* A producer whose batch is too large for a slot, and who waits for the lead; that is seen from outside. */
static pid_t start_waiting(kit *k, bool appends, int tell) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when it is stopped, and the test fails */
  static char big[BIG];
  sl_store *store; /* the child's own */
  if (sl_open(k->path, NULL, &store) != SL_OK) _exit(2);
  if (!appends) { /* ends as one that nobody waits for: a zombie */
    const int i = slots_claim(store->log->slots);
    slots_queue(store->log->slots, (unsigned)i);
    _exit(0);
  }
  const sl_event e = {.topic = SL_STR("late"), .value = {big, BIG}};
  uint64_t seq = 0;
  const sl_status status = sl_append(store, &e, &seq);
  if (write(tell, &seq, sizeof seq) != sizeof seq) _exit(3);
  _exit(status == SL_OK ? 0 : 4);
}

static double append_some_more(kit *k, int count) {
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (int i = 0; i < count; i++) kit_append(k, "t", "v");
  clock_gettime(CLOCK_MONOTONIC, &after);
  return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
}

/* The turn is kept for it once, not at every commit: who found it kept would sleep 10 ms each time. */
static void who_does_not_come_for_its_turn_holds_nobody_up(void **state) {
  enum { APPENDS = 500 };
  kit *k = *state;
  slots *s = k->store->log->slots;
  for (int zombie = 0; zombie < 2; zombie++) {
    int tell[2], code;
    uint64_t seq = 0;
    siginfo_t info;
    assert_int_equal(pipe(tell), 0);
    const double alone = append_some_more(k, APPENDS);
    while (slots_try_lead(s, -1) != LEAD_TAKEN) continue;
    const pid_t pid = start_waiting(k, !zombie, tell[1]);
    assert_true(pid > 0);
    for (bool waits = false; !waits;)
      for (unsigned i = 0; i < SLOT_COUNT; i++) waits |= atomic_load(&slots_at(s, i)->state) == SLOT_WAITING;
    if (zombie) assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    else assert_int_equal(kill(pid, SIGSTOP) + waitpid(pid, &code, WUNTRACED), pid);
    slots_end_lead(s, 1);
    const double beside = append_some_more(k, APPENDS);
    if (beside > 2 * alone + APPENDS * 0.006) fail_msg("%.3f s alone, %.3f s beside it", alone, beside);
    const uint64_t last = kit_head(k).last_seq;
    if (!zombie) { /* it goes on where it stood */
      assert_int_equal(kill(pid, SIGCONT), 0);
      assert_int_equal(read(tell[0], &seq, sizeof seq), sizeof seq);
      assert_int_equal(seq, last + 1);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
    append_some_more(k, 1025); /* the dead are looked for now and then */
    for (unsigned i = 0; i < SLOT_COUNT; i++) assert_int_equal(atomic_load(&slots_at(s, i)->owner), 0);
    close(tell[0]);
    close(tell[1]);
  }
}

static void who_opens_alone_finds_no_slots_of_earlier_processes(void **state) {
  kit *k = *state;
  slots *s = k->store->log->slots;
  publish(s, "ghost", 5, 1);
  kit_reopen(k);
  assert_int_equal(slots_ready(k->store->log->slots), 0);
  assert_int_equal(kit_append(k, "t", "v"), 1);
}

/* --------------------------------------------------------------- durability --- */

static void one_event_may_be_relaxed_and_the_log_knows(void **state) {
  kit *k = *state;
  db_txn *txn;
  log_meta meta;
  kit_append(k, "t", "durable");
  assert_ok(db_begin_read(k->store->log->env, &txn));
  assert_ok(log_meta_read(txn, &meta));
  assert_false(meta.flags & LOG_RELAXED);
  db_abort(txn);
  sl_event e = {.topic = SL_STR("t"), .flags = SL_EVENT_RELAXED};
  assert_ok(sl_append(k->store, &e, NULL));
  assert_ok(db_begin_read(k->store->log->env, &txn));
  assert_ok(log_meta_read(txn, &meta));
  assert_true(meta.flags & LOG_RELAXED);
  db_abort(txn);
}

int main(void) {
  random_seed();
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)
    TEST(threads_append_together),
    TEST(processes_append_together),
    TEST(without_the_lock_file_nothing_is_lost),
    TEST(own_commits_and_group_commits_mix),
    TEST(without_shared_memory_threads_still_share_commits),
    TEST(a_neighbours_damaged_records_are_refused_and_harm_nobody),
    TEST(where_all_do_not_fit_together_some_do),
    TEST(who_joins_a_commit_finds_what_it_was_granted),
    TEST(a_leader_whose_log_was_replaced_commits_for_nobody),
    TEST(a_dead_leaders_slots_are_decided_by_the_log),
    TEST(the_slots_of_the_dead_are_freed),
    TEST(who_does_not_come_for_its_turn_holds_nobody_up),
    TEST(who_opens_alone_finds_no_slots_of_earlier_processes),
    TEST(one_event_may_be_relaxed_and_the_log_knows),
  };
  return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
