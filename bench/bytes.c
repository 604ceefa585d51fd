/* What an event costs the disk in bytes written, which is what wears a card out.
 *
 *   bench-bytes FOLDER PREFILL EVENTS     onto PREFILL events that were there before, EVENTS of 200 bytes a row
 *
 * written/N-a-commit/SIDE device: bytes an event that the block device wrote, the file system's journal and every
 * other process included: to be taken on a quiet machine. "sidelog" is the log alone; "sidelog-index" is its
 * index, brought up after every 500 events, and for comparison in one step. (What the kernel counts as written by
 * a process is no measure: it counts whole folios, which may be far larger than what was changed in them.) */
#include "engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { VALUE_SMALL = 200, INDEX_STEP = 500 };

static const char *folder;

static uint64_t written(void) {
  const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || syncfs(fd) != 0) stop("%s cannot be flushed", folder);
  close(fd);
  return device_written(folder);
}

static void tell_written(const char *row, const char *side, uint64_t before, uint64_t events) {
  char series[80];
  const double each = (double)(written() - before) / (double)events;
  snprintf(series, sizeof series, "written/%s/%s", row, side);
  tell(series, "device", &each, 1);
}

static void append(const engine *e, void *self, uint64_t *next, uint64_t events, unsigned batch) {
  static event made[BATCH_MAX];
  for (uint64_t done = 0; done < events; done += batch) {
    for (unsigned i = 0; i < batch; i++) event_make((*next)++, VALUE_SMALL, &made[i]);
    e->append(self, made, batch);
  }
}

static void index_in_steps(void *self, uint64_t *next, const char *row, uint64_t events, uint64_t step) {
  append(&engine_sidelog, self, next, events, 64);
  const uint64_t before = written();
  for (uint64_t done = 0; done < events; done += step) must(sl_index_advance(self, step, NULL), "index");
  tell_written(row, "sidelog-index", before, events);
}

static void measure(const engine *e, uint64_t prefill, uint64_t events) {
  static const unsigned batches[] = {1, 8, 64};
  char path[4200], row[32];
  snprintf(path, sizeof path, "%s/%s", folder, e->name);
  void *self = e->open(path, prefill);
  uint64_t next = 0;
  append(e, self, &next, prefill, BATCH_MAX);
  if (e->catch_up) e->catch_up(self); /* too long a tail would be indexed by the appends below */
  for (unsigned i = 0; i < 3; i++) {
    const uint64_t count = (batches[i] == 1 ? events / 8 : events) / batches[i] * batches[i], before = written();
    append(e, self, &next, count, batches[i]);
    snprintf(row, sizeof row, "%u-a-commit", batches[i]);
    tell_written(row, e->name, before, count);
    if (e->catch_up) e->catch_up(self);
  }
  if (e == &engine_sidelog) {
    index_in_steps(self, &next, "500-a-step", events, INDEX_STEP);
    index_in_steps(self, &next, "one-step", events, events);
  }
  e->close(self);
}

int main(int argc, char **argv) {
  const uint64_t prefill = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
  const uint64_t events = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
  if (events < 512) {
    fprintf(stderr, "usage: bench-bytes FOLDER PREFILL EVENTS\n");
    return 2;
  }
  folder = argv[1];
  remove_tree(folder);
  make_folder(folder);
  if (device_written(folder) == 0) {
    fprintf(stderr, "the block device of %s is not known: no bytes written\n", folder);
    return 0;
  }
  measure(&engine_sidelog, prefill, events);
  if (engine_sqlite.open) measure(&engine_sqlite, prefill, events);
  remove_tree(folder);
  return 0;
}
