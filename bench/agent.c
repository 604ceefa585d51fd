/* An agent without a broker, for bench-producers: indexes, delivers to nowhere, writes receipts, trims, each in a
 * thread of its own as sidelogd has it.
 *
 *   bench-agent COMMIT_MS KEEP STORE     a commit "on the broker" takes COMMIT_MS; the newest KEEP events are kept
 *
 * Lines on stdin: see producers.c. At the end it says on stderr how many transactions of what size it made. */
#include "bench.h"
#include "sink.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INDEX_STEP = 20000, INDEX_BUSY = 100, PAUSE_LEAST_US = 25000, PAUSE_MOST_US = 200000, TRIM_PAUSE_US = 500000, LOOK_MS = 100 };

static sl_store *store;
static sl_delivery *delivery;
static unsigned commit_us;
static uint64_t keep;
static atomic_uint_fast64_t indexed, settled;
static uint64_t transactions, removed; /* read at the end */
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
  unsigned pause_us = 0;
  for (;;) {
    const sl_status status = sl_wait(store, indexed, LOOK_MS, NULL);
    if (status != SL_TIMEOUT) must(status, "wait");
    uint64_t watermark, before = indexed;
    pthread_mutex_lock(&gates[0]);
    must(sl_index_advance(store, INDEX_STEP, &watermark), "index");
    indexed = watermark;
    pthread_mutex_unlock(&gates[0]);
    /* As sidelogd does while producers are busy. */
    const bool busy = watermark - before >= INDEX_BUSY && watermark - before < INDEX_STEP;
    pause_us = !busy ? 0 : pause_us == 0 ? PAUSE_LEAST_US : pause_us * 2 < PAUSE_MOST_US ? pause_us * 2 : PAUSE_MOST_US;
    if (pause_us) usleep(pause_us);
  }
  return none;
}

static void *courier(void *none) {
  for (;;) {
    if (indexed <= settled) usleep(200);
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
    pthread_mutex_lock(&gates[2]);
    must(sl_trim(store, &policy, &result), "trim");
    removed += result.removed;
    pthread_mutex_unlock(&gates[2]);
  }
  return none;
}

static void catch_up(void) {
  const uint64_t last = last_seq();
  const double begun = now_us();
  while (settled < last) {
    usleep(2000);
    if (now_us() - begun > 60e6) stop("agent: event %llu is not settled after a minute", (unsigned long long)last);
  }
}

int main(int argc, char **argv) {
  static void *(*const work[])(void *) = {indexer, courier, trimmer};
  char line[64];
  pthread_t thread;
  bool resting = true;
  if (argc != 4) {
    fprintf(stderr, "usage: bench-agent COMMIT_MS KEEP STORE\n");
    return 2;
  }
  commit_us = (unsigned)(atof(argv[1]) * 1000);
  keep = strtoull(argv[2], NULL, 10);
  must(sl_open(argv[3], NULL, &store), "open");
  must(delivery_open(store, &delivery), "delivery");
  settled = delivery_state_get(delivery)->cursor.seq;
  for (int i = 0; i < 3; i++) pthread_mutex_lock(&gates[i]);
  for (int i = 0; i < 3; i++)
    if (pthread_create(&thread, NULL, work[i], NULL) != 0) stop("no thread");
  while (fgets(line, sizeof line, stdin)) {
    for (int i = 0; resting && i < 3; i++) pthread_mutex_unlock(&gates[i]);
    catch_up();
    resting = strcmp(line, "rest\n") == 0;
    for (int i = 0; resting && i < 3; i++) pthread_mutex_lock(&gates[i]);
    puts(resting ? "resting" : "working");
    fflush(stdout);
  }
  for (int i = 0; !resting && i < 3; i++) pthread_mutex_lock(&gates[i]);
  fprintf(stderr, "agent: %llu events in %llu transactions, %llu trimmed\n", (unsigned long long)settled,
          (unsigned long long)transactions, (unsigned long long)removed);
  delivery_close(delivery);
  _exit(0); /* the threads stand at their gates */
}
