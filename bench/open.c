/* How long does opening a large store take?
 *
 *   bench-open FOLDER GIB TIMES     a store of GIB gibibytes (values of 100 KB), opened TIMES times a part, each
 *                                   in a fresh process: its files in the page cache or dropped from it, in turns
 *
 * open/GIB-gib/warm and /cold p50_us, p99_us. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE_LARGE = 100000, BATCH = 50 };

static void build(const char *path, uint64_t bytes) {
  static event events[BATCH];
  sl_event batch[BATCH];
  sl_store *store;
  uint64_t n = 0;
  /* The count of bytes in use may lag: room for what comes meanwhile. */
  const sl_options options = {.quota_bytes = bytes * 2 + (UINT64_C(1) << 30), .preallocate = SL_NONE};
  must(sl_open(path, &options, &store), "open");
  do {
    for (unsigned i = 0; i < BATCH; i++, n++) {
      event_make(n, VALUE_LARGE, &events[i]);
      batch[i] = event_for_sidelog(&events[i]);
    }
    must(sl_append_many(store, batch, BATCH, NULL, NULL), "append");
  } while (n * VALUE_LARGE < bytes); /* by our own count: the statistics may lag a moment behind */
  must(sl_index_advance(store, 0, NULL), "index");
  sl_close(store);
}

static double open_once(const char *path) {
  double *took = mmap(NULL, sizeof *took, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (took == MAP_FAILED) stop("mmap: %s", strerror(errno));
  const pid_t pid = fork();
  int status = 0;
  if (pid < 0) stop("fork: %s", strerror(errno));
  if (pid == 0) {
    sl_store *store;
    const double start = now_us();
    must(sl_open(path, NULL, &store), "open");
    *took = now_us() - start;
    sl_close(store);
    exit(0);
  }
  if (waitpid(pid, &status, 0) != pid || status != 0) stop("the process that opened ended with %d", status);
  const double us = *took;
  munmap(took, sizeof *took);
  return us;
}

int main(int argc, char **argv) {
  static samples took[2][PARTS];
  const double gib = argc == 4 ? atof(argv[2]) : 0;
  const unsigned times = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
  if (gib <= 0 || times == 0) {
    fprintf(stderr, "usage: bench-open FOLDER GIB TIMES\n");
    return 2;
  }
  remove_tree(argv[1]);
  build(argv[1], (uint64_t)(gib * 1073741824));
  for (unsigned p = 0; p < PARTS; p++)
    for (unsigned i = 0; i < times; i++)
      for (unsigned cold = 2; cold-- > 0;) {
        if (cold) drop_cache(argv[1]);
        samples_add(&took[cold][p], open_once(argv[1]));
      }
  for (unsigned cold = 0; cold < 2; cold++) {
    char series[64];
    snprintf(series, sizeof series, "open/%s-gib/%s", argv[2], cold ? "cold" : "warm");
    tell_percentile(series, "p50_us", took[cold], PARTS, 0.5);
    tell_percentile(series, "p99_us", took[cold], PARTS, 0.99);
  }
  remove_tree(argv[1]);
  return 0;
}
