/* Look-ups and the rebuild of the index, on a store of COUNT events (default 1,000,000) of 200 bytes, groups
 * of 20 under one correlation id, spread over the log.
 *
 *   bench-query FOLDER [COUNT]     the folder is made and kept: a second run finds it there
 *
 * Prints medians and 99th percentiles in microseconds, and events per second. */
#include <sidelog/sidelog.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP 20u
#define OPEN_GROUPS 500u /* interleaved: the events of one group lie this far apart */
#define LOOKS 20000u

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(sl_status status, const char *what) {
  if (status == SL_OK) return;
  fprintf(stderr, "%s: %s: %s\n", what, sl_status_text(status), sl_last_detail());
  exit(1);
}

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* A random-looking UUID (version 4) for a number: the worst case for an index. */
static void uuid_of(uint64_t n, char kind, char out[37]) {
  const uint64_t a = mix(n * 2 + (uint64_t)kind * 7919 + 1), b = mix(a + n);
  snprintf(out, 37, "%08llx-%04llx-4%03llx-8%03llx-%012llx", (unsigned long long)(a >> 32),
           (unsigned long long)(a >> 16 & 0xffff), (unsigned long long)(a & 0xfff),
           (unsigned long long)(b >> 52), (unsigned long long)(b & 0xffffffffffff));
}

static uint64_t group_of(uint64_t n) { return n / (OPEN_GROUPS * GROUP) * OPEN_GROUPS + n % OPEN_GROUPS; }

static void fill(sl_store *store, uint64_t from, uint64_t count) {
  static sl_event events[500];
  static char ids[500][3][37], value[200];
  memset(value, 'v', sizeof value);
  for (uint64_t n = from; n < count;) {
    size_t batch = 0;
    for (; batch < 500 && n < count; batch++, n++) {
      uuid_of(n, 'e', ids[batch][0]);
      uuid_of(group_of(n), 'c', ids[batch][1]);
      uuid_of(n ? n - 1 : 0, 'e', ids[batch][2]);
      events[batch] = (sl_event){.topic = SL_STR("bench.events"), .type = SL_STR("bench.happened"),
                                 .event_id = SL_BYTES(ids[batch][0], 36),
                                 .correlation_id = SL_BYTES(ids[batch][1], 36),
                                 .causation_id = SL_BYTES(ids[batch][2], 36),
                                 .value = SL_BYTES(value, sizeof value)};
    }
    must(sl_append_many(store, events, batch, NULL, NULL), "append");
  }
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void look_up(sl_store *store, const char *name, char kind, uint64_t numbers, unsigned wanted) {
  static double took[LOOKS];
  for (unsigned i = 0; i < LOOKS; i++) {
    char id[37];
    uuid_of(mix(i + 1) % numbers, kind, id);
    sl_query q = SL_QUERY_INIT;
    if (kind == 'e') q.event_id = SL_BYTES(id, 36);
    else q.correlation_id = SL_BYTES(id, 36);
    sl_iter *it;
    const sl_record *r;
    unsigned found = 0;
    const double start = now_us();
    must(sl_iter_start(store, &q, &it), name);
    while (sl_iter_next(it, &r) == SL_OK) found++;
    sl_iter_close(it);
    took[i] = now_us() - start;
    if (found != wanted) {
      fprintf(stderr, "%s: %u events, not %u\n", name, found, wanted);
      exit(1);
    }
  }
  qsort(took, LOOKS, sizeof *took, ascending);
  printf("%-32s p50 %8.1f us   p99 %8.1f us\n", name, took[LOOKS / 2], took[LOOKS / 100 * 99]);
}

int main(int argc, char **argv) {
  const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
  if (argc < 2 || count < OPEN_GROUPS * GROUP) {
    fprintf(stderr, "usage: bench-query FOLDER [COUNT, at least %u]\n", OPEN_GROUPS * GROUP);
    return 2;
  }
  const sl_options options = {.quota_bytes = UINT64_C(100) << 30};
  sl_store *store;
  sl_stats stats;
  must(sl_open(argv[1], &options, &store), "open");
  must(sl_stats_get(store, &stats), "stats");
  fill(store, stats.last_seq, count);
  must(sl_index_advance(store, 0, NULL), "index");
  must(sl_stats_get(store, &stats), "stats");
  printf("%llu events\n", (unsigned long long)stats.last_seq);
  const uint64_t groups = count / (OPEN_GROUPS * GROUP) * OPEN_GROUPS; /* the whole ones */
  look_up(store, "correlation, 20 events", 'c', groups, GROUP);
  look_up(store, "event id", 'e', count, 1);
  const double start = now_us();
  must(sl_reindex(store), "reindex");
  const double seconds = (now_us() - start) / 1e6;
  printf("%-32s %.2f s, %.0f events/s\n", "rebuild of the index", seconds, (double)count / seconds);
  sl_close(store);
  return 0;
}
