/* How long from an append until `sidelog tail -f`, another process, has written the event's line into a pipe?
 *
 *   bench-tail FOLDER SIDELOG LONE BURSTS     in each part LONE events, each alone (0 to 20 ms apart), and BURSTS
 *                                             times 50 events from each of 8 threads at once
 *
 * tail/alone/SIDE and tail/burst/SIDE p50_us, p95_us, p99_us, max_us; SIDE is from-call (the append itself is in
 * it) or from-return. A line that is missing, twice or out of order ends the program with status 1. */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, EACH = 50, ROOM = 1 << 20 };

static double called[ROOM], returned[ROOM], arrived[ROOM]; /* by seq, us */
static volatile uint64_t shown;
static sl_store *store;

static uint64_t append_one(uint64_t n) {
  event e;
  uint64_t seq;
  event_make(n, 200, &e);
  const sl_event ev = event_for_sidelog(&e);
  const double begun = now_us();
  must(sl_append(store, &ev, &seq), "append");
  if (seq >= ROOM) stop("more than %d events", ROOM);
  returned[seq] = now_us();
  called[seq] = begun;
  return seq;
}

/* Notes when each line came. The first is the event that was there before the follower. */
static void *read_lines(void *fd_) {
  static char buffer[1 << 20];
  static const char begin[] = "{\"seq\":";
  const int fd = *(const int *)fd_;
  size_t len = 0;
  ssize_t n;
  while ((n = read(fd, buffer + len, sizeof buffer - len)) > 0) {
    const double now = now_us();
    char *line = buffer, *end;
    len += (size_t)n;
    while ((end = memchr(line, '\n', len - (size_t)(line - buffer)))) {
      const bool begins = strncmp(line, begin, sizeof begin - 1) == 0;
      const uint64_t seq = begins ? strtoull(line + sizeof begin - 1, NULL, 10) : 0;
      if (seq != shown + 1)
        stop("after seq %llu the line of seq %llu", (unsigned long long)shown, (unsigned long long)seq);
      arrived[seq] = now;
      shown = seq;
      line = end + 1;
    }
    len -= (size_t)(line - buffer);
    memmove(buffer, line, len);
  }
  return NULL;
}

static void await(uint64_t seq) {
  for (int i = 0; shown < seq; i++) {
    if (i > 10000) stop("seq %llu was not shown within 10 s", (unsigned long long)seq);
    usleep(1000);
  }
}

static pid_t follow(const char *sidelog, const char *folder, int *fd) {
  int ends[2];
  if (pipe(ends) != 0) stop("pipe: %s", strerror(errno));
  const pid_t pid = fork();
  if (pid < 0) stop("fork: %s", strerror(errno));
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl(sidelog, sidelog, "--store", folder, "tail", "-f", "-n", "1", "--json", (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  *fd = ends[0];
  return pid;
}

static void *burst(void *first) {
  for (unsigned i = 0; i < EACH; i++) append_one(*(uint64_t *)first + i);
  return NULL;
}

static void tell_side(const char *which, const char *side, const double *since, uint64_t from[PARTS + 1]) {
  static samples took[PARTS];
  static const struct { const char *unit; double share; } units[] = {{"p50_us", 0.5}, {"p95_us", 0.95},
                                                                     {"p99_us", 0.99}, {"max_us", 1}};
  char series[64];
  snprintf(series, sizeof series, "tail/%s/%s", which, side);
  for (unsigned p = 0; p < PARTS; p++) {
    samples_free(&took[p]);
    for (uint64_t seq = from[p]; seq < from[p + 1]; seq++)
      samples_add(&took[p], arrived[seq] > since[seq] ? arrived[seq] - since[seq] : 0);
  }
  for (unsigned u = 0; u < sizeof units / sizeof *units; u++)
    tell_percentile(series, units[u].unit, took, PARTS, units[u].share);
}

int main(int argc, char **argv) {
  const unsigned lone = argc == 5 ? (unsigned)atoi(argv[3]) : 0, bursts = argc == 5 ? (unsigned)atoi(argv[4]) : 0;
  if (lone == 0 || bursts == 0 || (lone + bursts * THREADS * EACH) * PARTS + 2 > ROOM) {
    fprintf(stderr, "usage: bench-tail FOLDER SIDELOG LONE BURSTS\n");
    return 2;
  }
  uint64_t n = 0, last, alone[PARTS + 1], together[PARTS + 1];
  int fd;
  pthread_t reader;
  const sl_options options = {.preallocate = 64u << 20};
  remove_tree(argv[1]);
  must(sl_open(argv[1], &options, &store), "open");
  last = append_one(n++);
  const pid_t pid = follow(argv[2], argv[1], &fd);
  if (pthread_create(&reader, NULL, read_lines, &fd) != 0) stop("no thread");
  await(last);
  alone[0] = last + 1;
  for (unsigned p = 0; p < PARTS; p++) {
    for (unsigned i = 0; i < lone; i++) {
      last = append_one(n++);
      usleep((useconds_t)(mix(n) % 20000));
    }
    await(last);
    alone[p + 1] = last + 1;
  }
  together[0] = last + 1;
  for (unsigned p = 0; p < PARTS; p++) {
    for (unsigned b = 0; b < bursts; b++) {
      pthread_t threads[THREADS];
      uint64_t first[THREADS];
      for (unsigned i = 0; i < THREADS; i++, n += EACH) {
        first[i] = n;
        if (pthread_create(&threads[i], NULL, burst, &first[i]) != 0) stop("no thread");
      }
      for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
      last += THREADS * EACH;
      usleep((useconds_t)(mix(n) % 20000));
    }
    await(last);
    together[p + 1] = last + 1;
  }
  kill(pid, SIGTERM);
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || status != 0) stop("tail ended with %d", status);
  pthread_join(reader, NULL);
  sl_close(store);
  tell_side("alone", "from-call", called, alone);
  tell_side("alone", "from-return", returned, alone);
  tell_side("burst", "from-call", called, together);
  tell_side("burst", "from-return", returned, together);
  remove_tree(argv[1]);
  return 0;
}
