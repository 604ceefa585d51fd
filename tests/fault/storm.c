/*
 * Writes and flushes fail again and again while threads append to and read one store: a failed meta write makes
 * LMDB refuse everything until its environment is reopened, which may only happen while no transaction of the
 * process is open. Afterwards each acknowledged event is there with its value, and no other but those of which it
 * was said that this cannot be told, each once at most.
 */
#include "faults.h"
#include "tree.h"

#include "base/base.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 6, EACH = 1500, ROUNDS = 400, SEQS = 2 * THREADS * EACH };

static sl_store *store;
static atomic_bool over, wrong;
static atomic_long refused, reads;

typedef struct producer {
  pthread_t thread;
  int id, count, open_count;
  uint64_t seqs[EACH];
  int numbers[EACH], open[EACH]; /* open: it may be there */
} producer;
static producer producers[THREADS];

static void say(const char *what, sl_status status) {
  fprintf(stderr, "%s: %s: %s\n", what, sl_status_text(status), sl_last_detail());
  atomic_store(&wrong, true);
}

static void *produce(void *arg) {
  producer *p = arg;
  for (int n = 0; !atomic_load(&over) && p->count < EACH; n++) {
    char value[64];
    uint64_t seq;
    snprintf(value, sizeof value, "%d:%d", p->id, n);
    sl_event e = {.topic = SL_STR("storm"), .value = sl_slice_of(value)};
    sl_status status = sl_append(store, &e, &seq);
    if (status == SL_OK) {
      p->seqs[p->count] = seq;
      p->numbers[p->count++] = n;
    } else if (status == SL_E_UNCERTAIN && p->open_count < EACH) {
      p->open[p->open_count++] = n;
    } else if (status == SL_E_IO || status == SL_E_FULL) {
      atomic_fetch_add(&refused, 1);
    } else {
      say("append", status);
    }
  }
  return NULL;
}

static void *read_all(void *arg) {
  (void)arg;
  while (!atomic_load(&over)) {
    sl_iter *iter;
    const sl_record *r;
    sl_status status = sl_iter_start(store, NULL, &iter);
    if (status != SL_OK) {
      if (status != SL_E_IO) say("iterator", status);
      continue;
    }
    while ((status = sl_iter_next(iter, &r)) == SL_OK && !atomic_load(&over)) atomic_fetch_add(&reads, 1);
    if (status != SL_OK && status != SL_NOTFOUND && status != SL_E_IO) say("reading", status);
    sl_iter_close(iter);
  }
  return NULL;
}

/* Is it one of those that are left open, and seen for the first time? */
static bool is_open(const sl_record *r, bool seen[THREADS][EACH]) {
  for (int t = 0; t < THREADS; t++)
    for (int i = 0; i < producers[t].open_count; i++) {
      char value[64];
      snprintf(value, sizeof value, "%d:%d", t, producers[t].open[i]);
      if (seen[t][i] || !sl_slice_eq(r->value, sl_slice_of(value))) continue;
      return seen[t][i] = true;
    }
  return false;
}

static void judge(void) {
  static int owner[SEQS + 1], number[SEQS + 1];
  static bool there[THREADS][EACH];
  uint64_t total = 0, seen = 0, open = 0;
  sl_iter *iter;
  const sl_record *r;
  memset(owner, -1, sizeof owner);
  memset(there, 0, sizeof there);
  for (int t = 0; t < THREADS; t++)
    for (int i = 0; i < producers[t].count; i++, total++) {
      uint64_t seq = producers[t].seqs[i];
      if (seq > SEQS || owner[seq] != -1) {
        fprintf(stderr, "seq %" PRIu64 " was given out twice, or never\n", seq);
        atomic_store(&wrong, true);
        return;
      }
      owner[seq] = t;
      number[seq] = producers[t].numbers[i];
    }
  sl_status status = sl_iter_start(store, NULL, &iter);
  if (status != SL_OK) {
    say("iterator", status);
    return;
  }
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    char value[64];
    if (r->seq <= SEQS && owner[r->seq] == -1 && is_open(r, there)) {
      open++;
      continue;
    }
    seen++;
    snprintf(value, sizeof value, "%d:%d", r->seq <= SEQS ? owner[r->seq] : -1,
             r->seq <= SEQS ? number[r->seq] : -1);
    if (!sl_slice_eq(r->value, sl_slice_of(value))) {
      fprintf(stderr, "event %" PRIu64 " is not what was acknowledged\n", r->seq);
      atomic_store(&wrong, true);
    }
  }
  sl_iter_close(iter);
  if (status != SL_NOTFOUND) say("reading", status);
  if (seen != total) {
    fprintf(stderr, "%" PRIu64 " events, %" PRIu64 " acknowledged\n", seen, total);
    atomic_store(&wrong, true);
  }
  printf("%" PRIu64 " appended, %ld refused, %" PRIu64 " left open and there, %ld read\n", total,
         atomic_load(&refused),
         open, atomic_load(&reads));
}

int main(void) {
  char folder[4096], path[4200];
  const char *tmp = getenv("TMPDIR");
  sl_options options = {.preallocate = 1u << 20};
  pthread_t reader;
  snprintf(folder, sizeof folder, "%s/sidelog-storm.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store", folder);
  sl_status status = sl_open(path, &options, &store);
  if (status != SL_OK) return say("open", status), 2;
  for (int i = 0; i < THREADS; i++) {
    producers[i].id = i;
    pthread_create(&producers[i].thread, NULL, produce, &producers[i]);
  }
  pthread_create(&reader, NULL, read_all, NULL);
  for (int round = 0; round < ROUNDS; round++) {
    fault_arm(round % 3 == 0 ? FAULT_WRITE_EIO : round % 3 == 1 ? FAULT_FLUSH_EIO : FAULT_WRITE_SHORT,
              1 + round % 5);
    usleep(5000);
  }
  fault_arm(FAULT_NONE, 0);
  atomic_store(&over, true);
  for (int i = 0; i < THREADS; i++) pthread_join(producers[i].thread, NULL);
  pthread_join(reader, NULL);
  judge();
  sl_close(store);
  status = sl_open(path, &options, &store);
  if (status != SL_OK) say("reopen", status);
  else judge(), sl_close(store);
  remove_tree(folder);
  return atomic_load(&wrong) ? 1 : 0;
}
