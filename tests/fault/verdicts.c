/*
 * What an append is told when another one commits for it and something fails in between.
 *
 *   - The leader has committed an append and died before it said so. Its owner, who takes over, meets the Nth
 *     failing allocation, write or flush, for every N until none is left. Whatever it is told is true: SL_OK, and
 *     the event is there, once; an error, and it is not; or an error that says that this cannot be told.
 *   - A commit of several threads' appends fails in private slots, which know no tickets: where it can be told
 *     that nothing of it is in the store, each of them tries again; where it cannot, each is told so. The store
 *     goes on.
 *   - An append alone, in a slot or without: the meta page of its commit fails, and is in the file or not.
 */
#include "lives.h"
#include "must.h"
#include "tree.h"

#include "base/base.h"
#include "store/commit.h"
#include "store/log_inner.h"
#include "store/slots.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void clean(void) { remove_tree(path); }

static sl_status append(sl_store *store, const char *id, uint64_t *seq) {
  const sl_event e = {.topic = SL_STR("t"), .event_id = sl_slice_of(id), .value = SL_STR("value")};
  return sl_append(store, &e, seq);
}

static uint64_t count(sl_store *store, const char *id) {
  sl_iter *iter;
  const sl_record *r;
  uint64_t n = 0;
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  while (sl_iter_next(iter, &r) == SL_OK) n += sl_slice_eq(r->event_id, sl_slice_of(id));
  sl_iter_close(iter);
  return n;
}

/* ---------------------------------------------------------- a dead leader --- */

/* Takes the lead, tells so, commits what comes, or not, and ends without a word. */
static void lead_and_die(int ready, bool commit) {
  sl_store *store;
  commit_stage stage;
  db_txn *txn;
  if (sl_open(path, NULL, &store) != SL_OK) _exit(2);
  slots *s = store->log->slots;
  while (slots_try_lead(s, -1) != LEAD_TAKEN) sched_yield();
  if (write(ready, "l", 1) != 1) _exit(2);
  uint64_t mask;
  while ((mask = slots_ready(s)) == 0) sched_yield();
  const unsigned i = (unsigned)__builtin_ctzll(mask);
  append_slot *at = slots_at(s, i);
  slots_take(s, mask);
  if (!commit) _exit(0);
  if (db_begin_write(store->log->env, false, &txn) != SL_OK) _exit(3);
  commit_unit unit = {.slot = (int)i, .ticket = at->ticket,
                      .batch = {.records = {slots_bytes(s, i), at->len}, .count = at->count, .now_us = at->now_us,
                                .relaxed = at->relaxed, .renumber = at->renumber}};
  _exit(commit_units(store, txn, &unit, 1, &stage) == SL_OK ? 0 : 4);
}

typedef struct told { uint64_t right, undone, open; } told;

/* False: the fault never struck. */
static bool take_over(fault_kind kind, long nth, bool commit, told *t) {
  sl_store *store;
  sl_verify_report report;
  int ready[2], code;
  char c;
  uint64_t seq = 0;
  snprintf(what, sizeof what, "%s number %ld, a leader that %s", fault_names[kind], nth,
           commit ? "committed" : "did not");
  MUST(pipe(ready) == 0, "no pipe");
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  MUST(append(store, "first", NULL) == SL_OK, "takes no event");
  const pid_t pid = fork();
  if (pid == 0) lead_and_die(ready[1], commit);
  MUST(read(ready[0], &c, 1) == 1, "no leader");
  fault_arm(kind, nth);
  const sl_status status = append(store, "ours", &seq);
  const bool struck = fault_struck();
  fault_arm(FAULT_NONE, 0);
  const bool doubt = status == SL_E_UNCERTAIN;
  if (!slots_ready(store->log->slots)) MUST(waitpid(pid, &code, WNOHANG) != pid || code == 0, "the leader failed");
  const uint64_t there = count(store, "ours");
  MUST(there <= 1, "there %" PRIu64 " times", there);
  if (status == SL_OK) MUST(there == 1 && seq == 2, "told of and not there");
  else MUST(there == 0 || doubt, "there, and an error said nothing of it");
  *(status == SL_OK ? &t->right : doubt ? &t->open : &t->undone) += 1;
  kill(pid, SIGKILL); /* where the append failed before it came to a slot */
  waitpid(pid, &code, 0);
  MUST(append(store, "next", &seq) == SL_OK && seq == there + 2, "takes no other event");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  sl_close(store);
  close(ready[0]);
  close(ready[1]);
  clean();
  return struck;
}

static void sweep(fault_kind kind, bool commit) {
  told t = {0};
  long nth = 1;
  if (!fault_possible(kind)) return;
  while (take_over(kind, nth, commit, &t)) nth++;
  printf("%s, a leader that %s: %ld lives, %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64 " left open\n",
         fault_names[kind], commit ? "committed" : "did not", nth, t.right, t.undone, t.open);
}

/* ---------------------------------------------------------- private slots --- */

enum { THREADS = 3 };
typedef struct producer {
  pthread_t thread;
  sl_store *store;
  sl_status status;
  char id[16], detail[512];
} producer;

static void *produce(void *arg) {
  producer *p = arg;
  p->status = append(p->store, p->id, NULL);
  snprintf(p->detail, sizeof p->detail, "%s", p->status == SL_OK ? "" : sl_last_detail());
  return NULL;
}

/* A store whose slots are private: their file cannot be made where a folder has its name. */
static sl_store *open_private(void) {
  sl_store *store;
  char slots_path[4300];
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  sl_close(store);
  snprintf(slots_path, sizeof slots_path, "%s/log/slots", path);
  MUST(unlink(slots_path) == 0 && mkdir(slots_path, 0700) == 0, "no folder");
  MUST(sl_open(path, NULL, &store) == SL_OK && !slots_shared(store->log->slots), "slots are shared");
  return store;
}

static void fail_together(fault_kind kind) {
  producer p[THREADS];
  int open = 0;
  snprintf(what, sizeof what, "private slots, %s", fault_names[kind]);
  sl_store *store = open_private();
  slots *s = store->log->slots;
  while (slots_try_lead(s, -1) != LEAD_TAKEN) sched_yield();
  for (int i = 0; i < THREADS; i++) {
    p[i] = (producer){.store = store};
    snprintf(p[i].id, sizeof p[i].id, "event-%d", i);
    MUST(pthread_create(&p[i].thread, NULL, produce, &p[i]) == 0, "no thread");
  }
  while (__builtin_popcountll(slots_ready(s)) < THREADS) sched_yield();
  fault_arm(kind, 1);
  slots_end_lead(s, THREADS);
  for (int i = 0; i < THREADS; i++) pthread_join(p[i].thread, NULL);
  MUST(fault_struck(), "no fault");
  fault_arm(FAULT_NONE, 0);
  for (int i = 0; i < THREADS; i++) {
    const uint64_t there = count(store, p[i].id);
    if (p[i].status == SL_OK) MUST(there == 1, "there %" PRIu64 " times", there);
    else MUST(p[i].status == SL_E_UNCERTAIN && there <= 1 && strstr(p[i].detail, "cannot be told"), "told %s",
              sl_status_text(p[i].status));
    open += p[i].status != SL_OK;
  }
  MUST(open == (kind == FAULT_META_GONE ? THREADS : 0), "%d were told that it cannot be told", open);
  for (int i = 0; i < THREADS; i++) MUST(append(store, p[i].id, NULL) == SL_OK, "takes no event afterwards");
  sl_verify_report report;
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  for (unsigned i = 0; i < SLOT_COUNT; i++)
    MUST(atomic_load(&slots_at(s, i)->owner) == 0, "a slot is not given back");
  sl_close(store);
  clean();
  printf("%s: %d told\n", what, THREADS);
}

/* ----------------------------------------------------------------- alone --- */

static void fail_alone(fault_kind kind, bool private_slots) {
  sl_store *store;
  sl_verify_report report;
  uint64_t seq = 0;
  snprintf(what, sizeof what, "alone%s, %s", private_slots ? " with private slots" : "", fault_names[kind]);
  if (private_slots) store = open_private();
  else MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  MUST(append(store, "first", NULL) == SL_OK, "takes no event");
  fault_arm(kind, 1);
  const sl_status status = append(store, "ours", &seq);
  MUST(fault_struck(), "no fault");
  const bool uncertain = status == SL_E_UNCERTAIN && strstr(sl_last_detail(), "same event id");
  fault_arm(FAULT_NONE, 0);
  const uint64_t there = count(store, "ours");
  /* Once more and all is decided, where the disk writes again. */
  if (kind == FAULT_META_GONE) MUST(uncertain && there <= 1, "told %s", sl_status_text(status));
  else if (kind == FAULT_META_LATE)
    MUST(status == SL_OK && there == 1 && seq == 2, "told %s", sl_status_text(status));
  else MUST(status == SL_E_IO && there == 0, "told %s", sl_status_text(status));
  MUST(append(store, "next", &seq) == SL_OK && seq == there + 2, "takes no other event");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  sl_close(store);
  clean();
  printf("%s: %s\n", what, sl_status_text(status));
}

int main(void) {
  if (!lives_begin("verdicts")) return 2;
  alarm(300);
  static const fault_kind kinds[] = {FAULT_ALLOC, FAULT_WRITE_EIO, FAULT_FLUSH_EIO, FAULT_META_LATE,
                                     FAULT_META_GONE};
  static const fault_kind writes[] = {FAULT_WRITE_EIO, FAULT_FLUSH_EIO, FAULT_META_LATE, FAULT_META_GONE};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (int commit = 0; commit < 2; commit++) sweep(kinds[i], commit);
  for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
    fail_together(writes[i]);
    fail_alone(writes[i], false);
    fail_alone(writes[i], true);
  }
  return lives_end();
}
