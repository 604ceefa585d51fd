/* Many producers at once, 1 KB events, durable, each append a call of its own: what they reach together, how long
 * each append takes, how evenly they get their turns. Two ways are measured in alternating slices:
 *
 *   bench-producers FOLDER threads|processes PRODUCERS SLICES SECONDS group
 *       "group": as the library does it. "own": each append commits alone (SL_OPEN_OWN_COMMITS), in another store
 *   bench-producers FOLDER threads|processes PRODUCERS SLICES SECONDS NAME COMMAND...
 *       "alone" and "NAME": with COMMAND, an agent, at work beside them. COMMAND gets the store's path as its last
 *       argument, reads lines on stdin and answers each with a line on stdout: "work": it works, and has no
 *       backlog; "rest": it has no backlog, and from now on rests. It ends when its stdin ends.
 *
 * WAY/CASE/SIDE rate events/s of all together, p50_us and p99_us of an append, fairness: the slowest producer's
 * count over the fastest's. One value a slice. At the end each store is read: every producer's events are there,
 * each once and in its order. */
#include "bench.h"
#include "delivery/delivery.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PRODUCERS_MAX = 64, SLICES_MAX = 64, TOOK_MAX = 1 << 18, SIDES = 2 };
/* More than the faster way fills: a store in its steady state writes where it has written before, and one that is
 * still growing pays the file system for each flush. Only then are both ways measured in the same state. */
#define ZEROED 1e9

/* Shared by all producers, be they threads or processes. */
typedef struct shared {
  pthread_barrier_t start, end;
  atomic_bool over;
  uint64_t appended[SIDES][PRODUCERS_MAX];     /* ever, by store */
  uint32_t count[PRODUCERS_MAX];               /* in this slice */
  float took_us[PRODUCERS_MAX][TOOK_MAX];
} shared;

static shared *all;
static unsigned producers, slices;
static uint64_t preallocate;
static bool threads, agent; /* threads, not processes; an agent is what is measured, not group commit */
static char paths[SIDES][4200];
static sl_store *stores[SIDES];

static unsigned store_of(unsigned side) { return agent ? 0 : side; }

static void open_stores(void) {
  for (unsigned i = 0; i <= store_of(1); i++) {
    const sl_options options = {.quota_bytes = UINT64_C(64) << 30, .flags = i == 1 ? SL_OPEN_OWN_COMMITS : 0,
                                .preallocate = preallocate};
    must(sl_open(paths[i], &options, &stores[i]), "open");
  }
}

static void close_stores(void) {
  for (unsigned i = 0; i <= store_of(1); i++) sl_close(stores[i]);
}

/* Where no agent is, producers index what lies too far behind, and the faster way would pay for that: so the
 * stores are held as an agent holds them. */
static void hold_as_agent(bool hold) {
  static sl_delivery *held[SIDES];
  for (unsigned i = 0; i <= store_of(1) && !agent; i++) {
    if (hold) must(delivery_open(stores[i], &held[i]), "hold");
    else delivery_close(held[i]);
  }
}

/* --- a producer --- */

typedef struct stamp { uint64_t producer, number; } stamp;

static void one_slice(unsigned me, unsigned side) {
  uint8_t value[VALUE_1K];
  char id[37], correlation[37];
  uint8_t uuid[16];
  uint64_t last = 0, *appended = &all->appended[store_of(side)][me];
  memset(value, 'v', sizeof value);
  pthread_barrier_wait(&all->start);
  while (!atomic_load_explicit(&all->over, memory_order_relaxed)) {
    const stamp now = {me, *appended};
    memcpy(value, &now, sizeof now);
    event_uuid(now.number * PRODUCERS_MAX + me, 'e', uuid);
    uuid_text(uuid, id);
    event_uuid(now.number / GROUP_SIZE * PRODUCERS_MAX + me, 'c', uuid);
    uuid_text(uuid, correlation);
    const sl_event one = {.topic = SL_STR("bench.events.v1"), .type = SL_STR("EVENT_HAPPENED"),
                            .event_id = SL_BYTES(id, 36), .correlation_id = SL_BYTES(correlation, 36),
                            .causation_id = SL_BYTES(id, 36), .value = SL_BYTES(value, sizeof value)};
    uint64_t seq;
    const double start = now_us();
    must(sl_append(stores[store_of(side)], &one, &seq), "append");
    const double took = now_us() - start;
    if (seq <= last)
      stop("producer %u: seq %llu after %llu", me, (unsigned long long)seq, (unsigned long long)last);
    last = seq;
    if (all->count[me] == TOOK_MAX) stop("a slice is too long");
    all->took_us[me][all->count[me]++] = (float)took;
    (*appended)++;
  }
  pthread_barrier_wait(&all->end);
}

static void *producer(void *number) {
  for (unsigned slice = 0; slice < slices * SIDES; slice++)
    one_slice((unsigned)(uintptr_t)number, slice % SIDES);
  return NULL;
}

/* --- all of them --- */

static pid_t children[PRODUCERS_MAX];
static pthread_t ids[PRODUCERS_MAX];

static void on_child(int number) {
  int status;
  (void)number;
  const int kept = errno;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    if (status != 0) _exit(1); /* it said why; the others die with this process */
  errno = kept;
}

static void begin_producers(void) {
  for (unsigned i = 0; i < producers; i++) {
    if (threads) {
      if (pthread_create(&ids[i], NULL, producer, (void *)(uintptr_t)i) != 0) stop("no thread");
      continue;
    }
    const pid_t parent = getpid();
    children[i] = fork();
    if (children[i] < 0) stop("fork: %s", strerror(errno));
    if (children[i] > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    open_stores();
    producer((void *)(uintptr_t)i);
    close_stores();
    exit(0);
  }
}

static void end_producers(void) {
  for (unsigned i = 0; threads && i < producers; i++) pthread_join(ids[i], NULL);
  while (!threads && wait(NULL) > 0) {}
}

/* --- the agent beside them --- */

static FILE *to_agent, *from_agent;

static void start_agent(char **command, int count) {
  int in[2], out[2];
  char *argv[64] = {0};
  if (count > 62 || pipe(in) != 0 || pipe(out) != 0) stop("agent: %s", strerror(errno));
  memcpy(argv, command, (size_t)count * sizeof *argv);
  argv[count] = paths[0];
  const pid_t pid = fork();
  if (pid < 0) stop("fork: %s", strerror(errno));
  if (pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[1]);
    close(out[0]);
    execvp(argv[0], argv);
    stop("%s: %s", argv[0], strerror(errno));
  }
  close(in[0]);
  close(out[1]);
  to_agent = fdopen(in[1], "w");
  from_agent = fdopen(out[0], "r");
}

static void tell_agent(const char *word) {
  char line[256];
  if (!to_agent) return;
  fprintf(to_agent, "%s\n", word);
  fflush(to_agent);
  if (!fgets(line, sizeof line, from_agent)) stop("the agent ended");
}

/* --- figures --- */

static void tell_slices(const char *way, const char *side, double values[4][SLICES_MAX]) {
  static const char *const units[] = {"rate", "p50_us", "p99_us", "fairness"};
  char series[128];
  snprintf(series, sizeof series, "%s/%u-%s/%s", agent ? "beside" : "many", producers, way, side);
  for (int i = 0; i < 4; i++) tell(series, units[i], values[i], slices);
}

static void take_slice(double seconds, double *rate, double *p50, double *p99, double *fairness) {
  uint32_t least = UINT32_MAX, most = 0, sum = 0;
  samples took = {0};
  for (unsigned i = 0; i < producers; i++) {
    const uint32_t n = all->count[i];
    for (uint32_t k = 0; k < n; k++) samples_add(&took, (double)all->took_us[i][k]);
    least = n < least ? n : least;
    most = n > most ? n : most;
    sum += n;
  }
  *rate = sum / seconds;
  *p50 = samples_at(&took, 0.5);
  *p99 = samples_at(&took, 0.99);
  *fairness = most ? (double)least / most : 0;
  samples_free(&took);
}

/* Every event of every producer, each once and in order; what a trim removed was the oldest. */
static void check_store(const char *path, const uint64_t *appended) {
  sl_store *store;
  sl_iter *iter;
  const sl_record *record;
  sl_stats stats;
  sl_status status;
  uint64_t next[PRODUCERS_MAX] = {0}, sum = 0;
  bool seen[PRODUCERS_MAX] = {false};
  must(sl_open(path, NULL, &store), "open");
  must(sl_stats_get(store, &stats), "stats");
  must(sl_iter_start(store, NULL, &iter), "read");
  while ((status = sl_iter_next(iter, &record)) == SL_OK) {
    stamp at;
    memcpy(&at, record->value.data, sizeof at);
    if (at.producer >= producers) stop("%s: a stranger's event", path);
    uint64_t *expected = &next[at.producer];
    if (stats.trimmed > 0 && !seen[at.producer]) *expected = at.number;
    seen[at.producer] = true;
    if (at.number != (*expected)++)
      stop("%s: producer %u: event %llu where %llu should be", path, (unsigned)at.producer,
           (unsigned long long)at.number, (unsigned long long)*expected - 1);
  }
  if (status != SL_NOTFOUND) must(status, "read");
  sl_iter_close(iter);
  for (unsigned i = 0; i < producers; i++) {
    sum += appended[i];
    if (next[i] != appended[i] && (stats.trimmed == 0 || seen[i]))
      stop("%s: producer %u: %llu of %llu events", path, i, (unsigned long long)next[i],
           (unsigned long long)appended[i]);
  }
  if (stats.appended != sum || !stats.balanced)
    stop("%s: %llu events acknowledged, the store counts %llu", path, (unsigned long long)sum,
         (unsigned long long)stats.appended);
  sl_close(store);
}

static void measure(double seconds, double figures[SIDES][4][SLICES_MAX]) {
  for (unsigned slice = 0; slice < slices * SIDES; slice++) {
    const unsigned side = slice % SIDES, at = slice / SIDES;
    tell_agent(side == 1 ? "work" : "rest");
    memset(all->count, 0, sizeof all->count); /* all stand at the barrier, or on their way to it */
    atomic_store(&all->over, false);
    pthread_barrier_wait(&all->start);
    const double begun = now_us();
    struct timespec rest = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&rest, &rest) != 0) {}
    atomic_store(&all->over, true);
    pthread_barrier_wait(&all->end);
    take_slice((now_us() - begun) / 1e6, &figures[side][0][at], &figures[side][1][at], &figures[side][2][at],
               &figures[side][3][at]);
  }
}

int main(int argc, char **argv) {
  static double figures[SIDES][4][SLICES_MAX];
  if (argc >= 7) {
    threads = strcmp(argv[2], "threads") == 0;
    producers = (unsigned)atoi(argv[3]);
    slices = (unsigned)atoi(argv[4]);
  }
  const double seconds = argc >= 7 ? atof(argv[5]) : 0;
  const double room = slices * seconds * 100e6 + 1; /* a short run needs less */
  preallocate = room < ZEROED ? (uint64_t)room : ZEROED;
  agent = argc > 7;
  if (producers < 1 || producers > PRODUCERS_MAX || slices < 1 || slices > SLICES_MAX || seconds <= 0 ||
      (!agent && strcmp(argv[6], "group") != 0)) {
    fprintf(stderr, "usage: bench-producers FOLDER threads|processes PRODUCERS SLICES SECONDS "
                    "group | NAME COMMAND...\n");
    return 2;
  }
  all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) stop("mmap: %s", strerror(errno));
  pthread_barrierattr_t attr;
  pthread_barrierattr_init(&attr);
  pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&all->start, &attr, producers + 1);
  pthread_barrier_init(&all->end, &attr, producers + 1);
  remove_tree(argv[1]);
  make_folder(argv[1]);
  for (unsigned side = 0; side < SIDES; side++)
    snprintf(paths[side], sizeof paths[side], "%s/store-%u", argv[1], side);
  open_stores(); /* creates them */
  close_stores(); /* nobody forks with a store open */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, on_child);
  if (agent) start_agent(argv + 7, argc - 7);
  if (threads) open_stores();
  begin_producers();
  if (!threads) open_stores();
  hold_as_agent(true);
  measure(seconds, figures);
  hold_as_agent(false);
  tell_agent("rest");
  signal(SIGCHLD, SIG_DFL);
  if (to_agent) {
    fclose(to_agent);
    fclose(from_agent);
  }
  end_producers();
  close_stores();
  tell_slices(argv[2], agent ? "alone" : "group", figures[0]);
  tell_slices(argv[2], agent ? argv[6] : "own", figures[1]);
  for (unsigned i = 0; i <= store_of(1); i++) check_store(paths[i], all->appended[i]);
  remove_tree(argv[1]);
  return 0;
}
