/* What handing out events through a reader costs, and how soon a waiting one has a new event.
 *
 *   bench-reader FOLDER EVENTS LONE     EVENTS of 1 KB are read in each turn of each way, LONE times one is
 *   waited for
 *
 * reader/WAY/sidelog rate; WAY is iterate (sl_iter alone: the limit), ack-100 (one after the other, a commit
 * each 100), ack-1 (a commit each; a 50th of the events), batch-500 (500 in hand, then acknowledged), poison
 * (as ack-100; each 100th fails for good). waiting/reader/from-return p50_us, p95_us, p99_us: from the return
 * of the append in one thread to that of sl_reader_next in another. An event that is missing or twice ends the
 * program with status 1. */
#include "bench.h"

#include <pthread.h>
#include <sidelog/reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct way {
  const char *name;
  sl_reader_options options;
  uint64_t part;  /* of the events: 1 / part */
  uint64_t batch, poison;
} way;

static const way ways[] = {
  {"iterate", {0}, 1, 0, 0},
  {"ack-100", {0}, 1, 1, 0},
  {"ack-1", {.commit_events = 1}, 50, 1, 0},
  {"batch-500", {.flags = SL_READER_TOGETHER, .commit_events = 500}, 1, 500, 0},
  {"poison", {0}, 1, 1, 100},
};
enum { WAYS = sizeof ways / sizeof *ways };

static sl_store *store;

static void fill(uint64_t events) {
  static event made[BATCH_MAX];
  static sl_event batch[BATCH_MAX];
  for (uint64_t n = 0; n < events;) {
    size_t count = 0;
    for (; count < BATCH_MAX && n < events; count++, n++) {
      event_make(n, VALUE_1K, &made[count]);
      batch[count] = event_for_sidelog(&made[count]);
    }
    must(sl_append_many(store, batch, count, NULL, NULL), "append");
  }
}

static double iterate(uint64_t events) {
  sl_iter *iter;
  const sl_record *record;
  uint64_t count = 0;
  const double begun = now_us();
  must(sl_iter_start(store, NULL, &iter), "iterate");
  while (count < events && sl_iter_next(iter, &record) == SL_OK) count++;
  sl_iter_close(iter);
  if (count != events) stop("%llu events were read", (unsigned long long)count);
  return (double)events * 1e6 / (now_us() - begun);
}

static void decide(sl_reader *r, const way *w, uint64_t seq) {
  static const sl_reader_failure final = {.flags = SL_READER_FINAL};
  if (w->poison && seq % w->poison == 0) must(sl_reader_fail(r, seq, &final, NULL), "fail");
  else must(sl_reader_ack(r, seq), "ack");
}

static double read_all(const way *w, uint64_t events) {
  sl_reader *r;
  const sl_reader_event *got;
  uint64_t seqs[500], in_hand = 0;
  must(sl_reader_open(store, w->name, &w->options, &r), "open the reader");
  const double begun = now_us();
  for (uint64_t seq = 1; seq <= events; seq++) {
    must(sl_reader_next(r, 0, &got), "next");
    if (got->record->seq != seq) stop("event %llu, not %llu", (unsigned long long)got->record->seq,
                                      (unsigned long long)seq);
    seqs[in_hand++] = seq;
    if (in_hand < w->batch && seq < events) continue;
    for (uint64_t i = 0; i < in_hand; i++) decide(r, w, seqs[i]);
    in_hand = 0;
  }
  must(sl_reader_commit(r), "commit");
  const double rate = (double)events * 1e6 / (now_us() - begun);
  sl_reader_close(r);
  must(sl_reader_delete(store, w->name), "delete the reader");
  return rate;
}

/* ----------------------------------------------------------------- alone --- */

static double returned[100000];
static uint64_t first;
static samples late[PARTS];

static void *wait_for_each(void *lone_) {
  const uint64_t lone = *(const uint64_t *)lone_;
  sl_reader *r;
  const sl_reader_event *got;
  const sl_reader_options options = {.flags = SL_READER_FROM_NEWEST};
  must(sl_reader_open(store, "alone", &options, &r), "open the reader");
  for (uint64_t n = 0; n < lone * PARTS; n++) {
    must(sl_reader_next(r, 60000, &got), "next");
    const double now = now_us();
    /* It may be here before the append has returned. */
    volatile const double *back = &returned[got->record->seq - first];
    while (*back == 0) continue;
    samples_add(&late[n / lone], now > *back ? now - *back : 0);
    must(sl_reader_ack(r, got->record->seq), "ack");
  }
  sl_reader_close(r);
  return NULL;
}

static void alone(uint64_t lone) {
  pthread_t thread;
  sl_stats s;
  must(sl_stats_get(store, &s), "stats");
  first = s.last_seq + 1;
  if (pthread_create(&thread, NULL, wait_for_each, &lone) != 0) stop("no thread");
  struct timespec ms = {0, 200000000}; /* until it waits */
  nanosleep(&ms, NULL);
  for (uint64_t n = 0; n < lone * PARTS; n++) {
    event e;
    uint64_t seq;
    event_make(n, VALUE_1K, &e);
    const sl_event ev = event_for_sidelog(&e);
    must(sl_append(store, &ev, &seq), "append");
    ((volatile double *)returned)[seq - first] = now_us();
    ms.tv_nsec = (long)(mix(n) % 10000000);
    nanosleep(&ms, NULL);
  }
  pthread_join(thread, NULL);
  tell_percentile("waiting/reader/from-return", "p50_us", late, PARTS, 0.5);
  tell_percentile("waiting/reader/from-return", "p95_us", late, PARTS, 0.95);
  tell_percentile("waiting/reader/from-return", "p99_us", late, PARTS, 0.99);
}

int main(int argc, char **argv) {
  if (argc != 4) stop("bench-reader FOLDER EVENTS LONE");
  const uint64_t events = strtoull(argv[2], NULL, 10), lone = strtoull(argv[3], NULL, 10);
  double rates[WAYS][PARTS];
  char name[64];
  if (lone * PARTS > sizeof returned / sizeof *returned) stop("too many");
  remove_tree(argv[1]);
  must(sl_open(argv[1], &(sl_options){0}, &store), "open");
  fill(events);
  for (int part = 0; part < PARTS; part++)
    for (int i = 0; i < WAYS; i++)
      rates[i][part] = ways[i].batch ? read_all(&ways[i], events / ways[i].part) : iterate(events);
  for (int i = 0; i < WAYS; i++) {
    snprintf(name, sizeof name, "reader/%s/sidelog", ways[i].name);
    tell(name, "rate", rates[i], PARTS);
  }
  alone(lone);
  sl_close(store);
  remove_tree(argv[1]);
  return 0;
}
