/* An agent without a broker, for bench-producers: indexes, delivers to nowhere, writes receipts, trims, each in a
 * thread of its own as sidelogd has it.
 *
 *   bench-agent COMMIT_MS KEEP [WORKS] STORE
 *       A commit "on the broker" takes COMMIT_MS; the newest KEEP events are kept. WORKS: how much of it is done,
 *       to see what each costs: 0 nothing, 1 the index, 2 delivery, too, 3 (as without it) trim, too.
 *
 * Lines on stdin: see producers.c. At the end it says on stderr what it did, and what processor time each took. */
#include "base/breathe.h"
#include "bench.h"
#include "sink.h"

#include "../sync/index_pause.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TRIM_PAUSE_US = 500000, LOOK_MS = 100 };

static sl_store *store;
static sl_delivery *delivery;
static unsigned commit_us;
static uint64_t keep;
static atomic_uint_fast64_t indexed, settled;
static index_pause rhythm; /* the indexer's */
static uint64_t transactions, steps, trims, removed; /* read at the end */
static int works = 3;
static pthread_t threads[3];
/* A thread holds its gate while it works; whoever holds all gates has the agent at rest. */
static pthread_mutex_t gates[3] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                   PTHREAD_MUTEX_INITIALIZER};

static uint64_t last_seq(void) {
  uint64_t last = 0;
  const sl_status status = sl_wait(store, UINT64_MAX - 1, 0, &last);
  if (status != SL_TIMEOUT) must(status, "look");
  return last;
}

static void *indexer(void *none) {
  for (;;) {
    sl_breathes = rhythm.ms > 0;
    const sl_status status = sl_wait(store, indexed, LOOK_MS, NULL);
    if (status != SL_TIMEOUT) must(status, "wait");
    uint64_t watermark;
    pthread_mutex_lock(&gates[0]);
    steps++;
    must(sl_index_advance(store, INDEX_STEP, &watermark), "index");
    indexed = watermark;
    pthread_mutex_unlock(&gates[0]);
    usleep(index_pause_next(&rhythm, watermark, (int64_t)now_us()) * 1000);
  }
  return none;
}

static void *courier(void *none) {
  for (;;) {
    sl_breathes = rhythm.ms > 0;
    if (indexed <= settled) usleep(2000);
    pthread_mutex_lock(&gates[1]);
    if (indexed > settled) {
      settled = sink_deliver(store, delivery, indexed, commit_us);
      transactions++;
    }
    pthread_mutex_unlock(&gates[1]);
  }
  return none;
}

static void *trimmer(void *none) {
  const sl_trim_policy policy = {.max_events = keep};
  for (;;) {
    sl_trim_result result;
    usleep(TRIM_PAUSE_US);
    sl_breathes = rhythm.ms > 0;
    pthread_mutex_lock(&gates[2]);
    must(sl_trim(store, &policy, &result), "trim");
    trims++;
    removed += result.removed;
    pthread_mutex_unlock(&gates[2]);
  }
  return none;
}

static double cpu_s(pthread_t thread) {
  clockid_t clock;
  struct timespec t;
  if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void catch_up(void) {
  const uint64_t last = last_seq();
  const double begun = now_us();
  while ((works > 1 ? settled : indexed) < last && works > 0) {
    usleep(2000);
    if (now_us() - begun > 60e6) stop("agent: event %llu is not settled after a minute", (unsigned long long)last);
  }
}

int main(int argc, char **argv) {
  static void *(*const work[])(void *) = {indexer, courier, trimmer};
  char line[64];
  bool resting = true;
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: bench-agent COMMIT_MS KEEP [WORKS] STORE\n");
    return 2;
  }
  if (argc == 5) works = atoi(argv[3]);
  commit_us = (unsigned)(atof(argv[1]) * 1000);
  keep = strtoull(argv[2], NULL, 10);
  must(sl_open(argv[argc - 1], NULL, &store), "open");
  must(delivery_open(store, &delivery), "delivery");
  settled = delivery_state_get(delivery)->cursor.seq;
  for (int i = 0; i < 3; i++) pthread_mutex_lock(&gates[i]);
  for (int i = 0; i < works; i++)
    if (pthread_create(&threads[i], NULL, work[i], NULL) != 0) stop("no thread");
  while (fgets(line, sizeof line, stdin)) {
    for (int i = 0; resting && i < 3; i++) pthread_mutex_unlock(&gates[i]);
    catch_up();
    resting = strcmp(line, "rest\n") == 0;
    for (int i = 0; resting && i < 3; i++) pthread_mutex_lock(&gates[i]);
    puts(resting ? "resting" : "working");
    fflush(stdout);
  }
  for (int i = 0; !resting && i < 3; i++) pthread_mutex_lock(&gates[i]);
  static const char *const names[] = {"index", "delivery", "trim"};
  fprintf(stderr, "agent: %llu events in %llu steps of the index, %llu transactions; %llu trimmed in %llu trims\n",
          (unsigned long long)indexed, (unsigned long long)steps, (unsigned long long)transactions,
          (unsigned long long)removed, (unsigned long long)trims);
  for (int i = 0; i < works; i++)
    fprintf(stderr, "agent: %s %.2f s of processor, %.2f us an event\n", names[i], cpu_s(threads[i]),
            indexed ? cpu_s(threads[i]) / (double)indexed * 1e6 : 0);
  delivery_close(delivery);
  _exit(0); /* the threads stand at their gates */
}
