/* What does a durable append cost beside the disk's own flush, and beside others? One writer, events of 1 KB, 1, 8
 * and 64 a commit, every engine in turn for each commit, each round beginning with another one.
 *
 *   bench-append FOLDER ROUNDS PREFILL     ROUNDS commits of 1 (half of them of 8, a quarter of 64) for each
 *                                          engine, onto PREFILL events that were there before
 *
 * append/N/SIDE p50_us, p99_us of a commit, rate in events/s. sidelog's index is not part of an append: the side
 * "sidelog+index" counts the time in that the index takes to catch up after each part of the run. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

static const engine *const all[] = {&engine_plain, &engine_sidelog, &engine_sqlite, &engine_rocksdb};
enum { ENGINES = sizeof all / sizeof *all };

typedef struct side {
  const engine *engine;
  void *self;
  uint64_t count;
  samples parts[PARTS];
  double catch_up_us[PARTS];
} side;

static void append(side *s, size_t batch, samples *took) {
  static event events[BATCH_MAX];
  for (size_t i = 0; i < batch; i++) event_make(s->count + i, VALUE_1K, &events[i]);
  const double start = now_us();
  s->engine->append(s->self, events, batch);
  if (took) samples_add(took, now_us() - start);
  s->count += batch;
}

static void report(side *s, unsigned batch) {
  char series[64];
  double rate[PARTS], with_index[PARTS];
  snprintf(series, sizeof series, "append/%u/%s", batch, s->engine->name);
  tell_percentile(series, "p50_us", s->parts, PARTS, 0.5);
  tell_percentile(series, "p99_us", s->parts, PARTS, 0.99);
  for (int p = 0; p < PARTS; p++) {
    const double events = (double)s->parts[p].count * batch, us = samples_sum(&s->parts[p]);
    rate[p] = events * 1e6 / us;
    with_index[p] = events * 1e6 / (us + s->catch_up_us[p]);
  }
  tell(series, "rate", rate, PARTS);
  if (!s->engine->catch_up) return;
  snprintf(series, sizeof series, "append/%u/%s+index", batch, s->engine->name);
  tell(series, "rate", with_index, PARTS);
}

static void measure(side *sides, unsigned count, unsigned batch, unsigned rounds) {
  for (unsigned p = 0; p < PARTS; p++) {
    for (unsigned r = 0; r < rounds / PARTS; r++)
      for (unsigned i = 0; i < count; i++) {
        side *s = &sides[(r + i) % count];
        append(s, batch, &s->parts[p]);
      }
    for (unsigned i = 0; i < count; i++) {
      const double start = now_us();
      if (sides[i].engine->catch_up) sides[i].engine->catch_up(sides[i].self);
      sides[i].catch_up_us[p] = now_us() - start;
    }
  }
  for (unsigned i = 0; i < count; i++) {
    report(&sides[i], batch);
    for (unsigned p = 0; p < PARTS; p++) samples_free(&sides[i].parts[p]);
  }
}

static void check_and_close(side *s) {
  const engine *e = s->engine;
  if (e->count(s->self) != s->count) stop("%s: events are missing", e->name);
  for (uint64_t k = 0; k < 200 && e->find; k++) {
    hits found = {0};
    const uint64_t n = mix(k) % s->count;
    e->find(s->self, 'e', n, &found);
    if (found.count != 1) stop("%s: event %llu was found %u times", e->name, (unsigned long long)n, found.count);
    event_verify(found.value[0], found.len[0], n);
  }
  e->close(s->self);
}

int main(int argc, char **argv) {
  const long rounds = argc == 4 ? atol(argv[2]) : 0, prefill = argc == 4 ? atol(argv[3]) : -1;
  side sides[ENGINES] = {0};
  unsigned count = 0;
  char path[4200];
  if (rounds < 4 * PARTS || prefill < 0) {
    fprintf(stderr, "usage: bench-append FOLDER ROUNDS PREFILL\n");
    return 2;
  }
  remove_tree(argv[1]);
  make_folder(argv[1]);
  const uint64_t most = (uint64_t)prefill + (uint64_t)rounds * (1 + 8 / 2 + 64 / 4) + BATCH_MAX;
  for (unsigned i = 0; i < ENGINES; i++) {
    if (!all[i]->open) {
      fprintf(stderr, "%s is left out: install %s\n", all[i]->name, all[i]->package);
      continue;
    }
    side *s = &sides[count++];
    snprintf(path, sizeof path, "%s/%s", argv[1], all[i]->name);
    s->engine = all[i];
    s->self = all[i]->open(path, most);
    while (s->count < (uint64_t)prefill) append(s, BATCH_MAX, NULL);
    if (s->engine->catch_up) s->engine->catch_up(s->self);
  }
  measure(sides, count, 1, (unsigned)rounds);
  measure(sides, count, 8, (unsigned)rounds / 2);
  measure(sides, count, 64, (unsigned)rounds / 4);
  for (unsigned i = 0; i < count; i++) check_and_close(&sides[i]);
  remove_tree(argv[1]);
  return 0;
}
