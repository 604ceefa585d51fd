/*
 * What does a durable append cost beside the disk's own flush? In one run, in turns, on one disk:
 *
 *   plain     pwrite at the end of a file written with zeros before, fdatasync: the limit
 *   sidelog   sl_append, sl_append_many
 *
 *   append [FOLDER] [ROUNDS]     prints medians, p99 and ratios for 1, 8 and 64 events of 1 KB a commit
 *
 * Absolute figures drift between runs; ratios of one run are what counts. The spread is the lowest and highest
 * ratio of five parts of the run.
 */
#include <sidelog/sidelog.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { VALUE = 1024, PARTS = 5, BATCH_MAX = 64 };

static char folder[4096];

static void stop(const char *what) {
  fprintf(stderr, "append: %s: %s\n", what, sl_last_detail());
  exit(1);
}

static double now_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double at(const double *times, int count, double part) {
  double *sorted = malloc((size_t)count * sizeof *sorted);
  memcpy(sorted, times, (size_t)count * sizeof *sorted);
  qsort(sorted, (size_t)count, sizeof *sorted, ascending);
  double value = sorted[(int)(part * (count - 1))];
  free(sorted);
  return value;
}

static int plain_open(size_t bytes) {
  char path[4200], zeros[65536] = {0};
  snprintf(path, sizeof path, "%s/plain", folder);
  int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
  for (size_t done = 0; fd >= 0 && done < bytes; done += sizeof zeros)
    if (write(fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros) stop("plain file");
  if (fd < 0 || fsync(fd) != 0) stop("plain file");
  return fd;
}

static void measure(sl_store *store, int batch, int rounds) {
  static char value[VALUE * BATCH_MAX];
  sl_event events[BATCH_MAX];
  double *plain = malloc((size_t)rounds * sizeof *plain), *ours = malloc((size_t)rounds * sizeof *ours);
  size_t len = (size_t)batch * VALUE;
  int fd = plain_open((size_t)rounds * len + (1u << 20));
  memset(value, 'v', sizeof value);
  for (int i = 0; i < batch; i++)
    events[i] = (sl_event){.topic = SL_STR("bench.v1"), .value = {value, VALUE - 64}};
  for (int i = 0; i < rounds; i++) {
    double t0 = now_us();
    if (pwrite(fd, value, len, (off_t)i * (off_t)len) != (ssize_t)len || fdatasync(fd) != 0) stop("plain write");
    double t1 = now_us();
    if (sl_append_many(store, events, (size_t)batch, NULL, NULL) != SL_OK) stop("append");
    ours[i] = now_us() - t1;
    plain[i] = t1 - t0;
  }
  double low = 1e9, high = 0;
  for (int p = 0; p < PARTS; p++) {
    int from = rounds / PARTS * p, n = rounds / PARTS;
    double ratio = at(ours + from, n, 0.5) / at(plain + from, n, 0.5);
    low = ratio < low ? ratio : low;
    high = ratio > high ? ratio : high;
  }
  double a = at(plain, rounds, 0.5), b = at(ours, rounds, 0.5);
  printf("%2d a commit: plain p50 %7.1f us p99 %7.1f | sidelog p50 %7.1f us p99 %7.1f | time %.2fx (%.2f..%.2f), "
         "rate %.2f of plain\n", batch, a, at(plain, rounds, 0.99), b, at(ours, rounds, 0.99), b / a, low, high,
         a / b);
  close(fd);
  free(plain);
  free(ours);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

int main(int argc, char **argv) {
  char path[4200];
  int rounds = argc > 2 ? atoi(argv[2]) : 3000;
  sl_store *store;
  sl_options options = {.preallocate = 256u << 20};
  snprintf(folder, sizeof folder, "%s/sidelog-bench.XXXXXX", argc > 1 ? argv[1] : ".");
  if (rounds < 50 || !mkdtemp(folder)) {
    fprintf(stderr, "usage: append [FOLDER] [ROUNDS >= 50]\n");
    return 2;
  }
  snprintf(path, sizeof path, "%s/store", folder);
  if (sl_open(path, &options, &store) != SL_OK) stop("open");
  measure(store, 1, rounds);
  measure(store, 8, rounds / 2);
  measure(store, 64, rounds / 4);
  sl_close(store);
  nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return 0;
}
