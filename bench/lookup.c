/* Looking up among millions, sidelog and SQLite on the same events, in turns.
 *
 *   bench-lookup fill FOLDER EVENTS    appends what is missing to FOLDER/sidelog and FOLDER/sqlite, with values of
 *                                      200 bytes; the indexes made anew; all but the newest 1,000 events delivered
 *   bench-lookup warm FOLDER LOOKS     LOOKS look-ups of each kind in each part, everything in the page cache
 *   bench-lookup cold FOLDER LOOKS     each look-up in a fresh process, the files dropped from the page cache
 *                                      before it opens the store
 *   bench-lookup rebuild FOLDER TIMES  the index thrown away and built again
 *
 * lookup/KIND-warm/SIDE p50_us, p99_us: KIND is correlation (20 events, copied out) or event (one).
 * lookup/KIND-cold/SIDE p50_us, p99_us and, with opening the store, all_p50_us. Every result is checked. */
#include "engine.h"
#include "sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIDES = 2, VALUE_SMALL = 200, FILL_BATCH = 1000, UNDELIVERED = 1000, KINDS = 2 };

static const engine *const engines[SIDES] = {&engine_sidelog, &engine_sqlite};
static const struct { char kind; const char *name; unsigned hits; } kinds[KINDS] = {
  {'c', "correlation", GROUP_SIZE}, {'e', "event", 1}};
static char paths[SIDES][4200];

static unsigned sides(void) { return engines[1]->open ? 2 : 1; }

/* The events under number `number` of a kind are the right ones, in order. */
static void check(const hits *found, unsigned kind, uint64_t number) {
  if (found->count != kinds[kind].hits)
    stop("%s %llu: %u events, not %u", kinds[kind].name, (unsigned long long)number, found->count,
         kinds[kind].hits);
  for (unsigned i = 0; i < found->count; i++) {
    const uint64_t n = kinds[kind].kind == 'e' ? number
      : number / OPEN_GROUPS * OPEN_GROUPS * GROUP_SIZE + number % OPEN_GROUPS + (uint64_t)i * OPEN_GROUPS;
    event_verify(found->value[i], found->len[i], n);
  }
}

/* Ids to ask for: any event; a correlation id whose events are all there. */
static uint64_t pick(unsigned kind, uint64_t events, uint64_t turn) {
  const uint64_t groups = events / (OPEN_GROUPS * GROUP_SIZE) * OPEN_GROUPS;
  return mix(turn * 31 + kind) % (kinds[kind].kind == 'e' ? events : groups);
}

/* --- fill --- */

static void deliver(const char *path) {
  sl_store *store;
  sl_delivery *delivery;
  sl_stats stats;
  must(sl_open(path, NULL, &store), "open");
  must(delivery_open(store, &delivery), "delivery");
  must(sl_stats_get(store, &stats), "stats");
  while (stats.last_seq > UNDELIVERED && sink_deliver(store, delivery, stats.last_seq - UNDELIVERED, 0) <
                                           stats.last_seq - UNDELIVERED) {}
  delivery_close(delivery);
  sl_close(store);
}

static void fill(uint64_t events) {
  static event batch[FILL_BATCH];
  for (unsigned s = 0; s < sides(); s++) {
    void *self = engines[s]->open(paths[s], events);
    const double begun = now_us();
    uint64_t n = engines[s]->count(self);
    const uint64_t there = n;
    const bool bulk = n < events;
    if (bulk) engines[s]->bulk(self, true);
    while (n < events) {
      size_t count = 0;
      for (; count < FILL_BATCH && n < events; count++, n++) event_make(n, VALUE_SMALL, &batch[count]);
      engines[s]->append(self, batch, count);
    }
    if (bulk) engines[s]->bulk(self, false);
    engines[s]->close(self);
    fprintf(stderr, "%s: %llu events added in %.1f s\n", engines[s]->name, (unsigned long long)(n - there),
            (now_us() - begun) / 1e6);
  }
  deliver(paths[0]);
}

static void tell_size(const char *side, const char *path, uint64_t events) {
  char series[64];
  const double each = (double)disk_bytes(path) / (double)events;
  snprintf(series, sizeof series, "disk/event/%s", side);
  tell(series, "bytes", &each, 1);
}

static void tell_sizes(uint64_t events) {
  char path[4400];
  static const char *const rooms[] = {"log", "index", "delivery"};
  for (int i = 0; i < 3; i++) {
    char side[32];
    snprintf(side, sizeof side, "sidelog-%s", rooms[i]);
    snprintf(path, sizeof path, "%s/%s", paths[0], rooms[i]);
    tell_size(side, path, events);
  }
  if (sides() > 1) tell_size("sqlite", paths[1], events);
}

/* --- warm --- */

static void warm(unsigned looks) {
  static samples took[SIDES][KINDS][PARTS];
  void *self[SIDES];
  uint64_t events[SIDES];
  for (unsigned s = 0; s < sides(); s++) {
    self[s] = engines[s]->open(paths[s], 0);
    events[s] = engines[s]->count(self[s]);
  }
  uint64_t turn = 0;
  for (unsigned p = 0; p < PARTS + 1; p++) /* the first is for the caches */
    for (unsigned i = 0; i < looks; i++, turn++)
      for (unsigned k = 0; k < KINDS; k++)
        for (unsigned s = 0; s < sides(); s++) {
          hits found;
          found.count = 0;
          const uint64_t number = pick(k, events[s], turn);
          const double start = now_us();
          engines[s]->find(self[s], kinds[k].kind, number, &found);
          if (p > 0) samples_add(&took[s][k][p - 1], now_us() - start);
          check(&found, k, number);
        }
  for (unsigned k = 0; k < KINDS; k++)
    for (unsigned s = 0; s < sides(); s++) {
      char series[64];
      snprintf(series, sizeof series, "lookup/%s-warm/%s", kinds[k].name, engines[s]->name);
      tell_percentile(series, "p50_us", took[s][k], PARTS, 0.5);
      tell_percentile(series, "p99_us", took[s][k], PARTS, 0.99);
    }
  for (unsigned s = 0; s < sides(); s++) engines[s]->close(self[s]);
  tell_sizes(events[0]);
}

/* --- cold --- */

typedef struct cold_look { double open_us, find_us; } cold_look;

static void cold_one(unsigned s, unsigned k, uint64_t number, cold_look *out) {
  hits found = {0};
  const double start = now_us();
  void *self = engines[s]->open(paths[s], 0);
  const double opened = now_us();
  engines[s]->find(self, kinds[k].kind, number, &found);
  *out = (cold_look){opened - start, now_us() - opened};
  check(&found, k, number);
  engines[s]->close(self);
}

/* In a process that has never seen the store. */
static cold_look cold_process(unsigned s, unsigned k, uint64_t number) {
  cold_look *out = mmap(NULL, sizeof *out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (out == MAP_FAILED) stop("mmap: %s", strerror(errno));
  const pid_t pid = fork();
  int status = 0;
  if (pid < 0) stop("fork: %s", strerror(errno));
  if (pid == 0) {
    cold_one(s, k, number, out);
    exit(0);
  }
  if (waitpid(pid, &status, 0) != pid || status != 0) stop("the process that looked up ended with %d", status);
  const cold_look look = *out;
  munmap(out, sizeof *out);
  return look;
}

static void cold(unsigned looks) {
  static samples find[SIDES][KINDS][PARTS], whole[SIDES][KINDS][PARTS];
  uint64_t events, stayed = 0;
  sl_store *store;
  sl_stats stats;
  must(sl_open(paths[0], NULL, &store), "open");
  must(sl_stats_get(store, &stats), "stats");
  events = stats.kept;
  sl_close(store);
  uint64_t turn = UINT64_C(1) << 32;
  for (unsigned p = 0; p < PARTS; p++)
    for (unsigned i = 0; i < looks; i++, turn++)
      for (unsigned k = 0; k < KINDS; k++)
        for (unsigned s = 0; s < sides(); s++) {
          const uint64_t left = drop_cache(paths[s]);
          stayed = left > stayed ? left : stayed;
          const cold_look look = cold_process(s, k, pick(k, events, turn));
          samples_add(&find[s][k][p], look.find_us);
          samples_add(&whole[s][k][p], look.open_us + look.find_us);
        }
  for (unsigned k = 0; k < KINDS; k++)
    for (unsigned s = 0; s < sides(); s++) {
      char series[64];
      snprintf(series, sizeof series, "lookup/%s-cold/%s", kinds[k].name, engines[s]->name);
      tell_percentile(series, "p50_us", find[s][k], PARTS, 0.5);
      tell_percentile(series, "p99_us", find[s][k], PARTS, 0.99);
      tell_percentile(series, "all_p50_us", whole[s][k], PARTS, 0.5);
    }
  if (stayed > 0) fprintf(stderr, "up to %llu bytes stayed in the page cache\n", (unsigned long long)stayed);
}

/* --- rebuild --- */

static void rebuild(unsigned times) {
  double rate[PARTS];
  sl_store *store;
  sl_stats stats;
  must(sl_open(paths[0], NULL, &store), "open");
  for (unsigned i = 0; i < times; i++) {
    const double start = now_us();
    must(sl_reindex(store), "reindex");
    const double took = now_us() - start;
    must(sl_stats_get(store, &stats), "stats");
    if (stats.indexed_seq != stats.last_seq) stop("the index ends at %llu", (unsigned long long)stats.indexed_seq);
    rate[i] = (double)stats.kept * 1e6 / took;
  }
  for (uint64_t turn = 0; turn < 1000; turn++) {
    hits found = {0};
    const uint64_t number = pick(0, stats.kept, turn);
    engine_sidelog.find(store, 'c', number, &found);
    check(&found, 0, number);
  }
  sl_close(store);
  tell("index/rebuild/sidelog", "rate", rate, times);
}

int main(int argc, char **argv) {
  const uint64_t number = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
  if (number > 0) {
    make_folder(argv[2]);
    for (unsigned s = 0; s < SIDES; s++) snprintf(paths[s], sizeof paths[s], "%s/%s", argv[2], engines[s]->name);
    if (strcmp(argv[1], "fill") == 0) fill(number);
    else if (strcmp(argv[1], "warm") == 0) warm((unsigned)number);
    else if (strcmp(argv[1], "cold") == 0) cold((unsigned)number);
    else if (strcmp(argv[1], "rebuild") == 0 && number <= PARTS) rebuild((unsigned)number);
    else return fprintf(stderr, "bench-lookup: %s: no such word, or too large a number\n", argv[1]), 2;
    return 0;
  }
  fprintf(stderr, "usage: bench-lookup fill|warm|cold|rebuild FOLDER NUMBER\n");
  return 2;
}
