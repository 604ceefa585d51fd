/*
 * Processes of several threads append to one store, alone and in batches, small and large, durable and relaxed,
 * and are killed with SIGKILL, again and again: three times of four the one whose thread has the lead of the group
 * commit, else any; now and then all. Each is replaced at once. After every kill the others must go on by
 * themselves. After each ROUND kills the store is judged:
 *
 *   every acknowledged event is there, at its seq, whole; no event is there twice, no batch torn; the store is
 *   sound. Then each append that a kill left unanswered is done again with its event id: of each id one event
 *   remains that is no duplicate.
 *
 *   kills [KILLS [FOLDER]]     400 kills in memory; 20000 take some minutes
 */
#include "tree.h"

#include "base/base.h"
#include <sidelog/sidelog.h>

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  PROCESSES = 6, THREADS = 2, ROUND = 100, BATCH = 3, BIG = 40000, RING = 1 << 16, MOST = 1 << 20, PATIENCE = 30
};

/* What a thread was told, in memory that outlives it. */
typedef struct ring {
  _Atomic uint64_t asked, asked_count;  /* the append under way: numbers of its events; 0: none */
  _Atomic uint64_t told;
  struct { uint64_t seq, n; } ack[RING];
} ring;

typedef struct shared {
  _Atomic uint64_t numbers;
  ring ring[PROCESSES][THREADS];
} shared;

static shared *all;
static char folder[4096], path[4200];
static pid_t pids[PROCESSES];
static sl_store *store;
static uint64_t seq_of[MOST];                /* by number: 0 was not acknowledged */
static uint64_t unanswered[ROUND * THREADS * PROCESSES * BATCH];
static size_t unanswered_count;
static long kills, of_leaders, acknowledged;
static uint64_t random_state = 20240229;

static void remove_store(void);
static void fail(const char *what) {
  fprintf(stderr, "after %ld kills: %s: %s\n", kills, what, sl_last_detail());
  for (int i = 0; i < PROCESSES; i++)
    if (pids[i] > 0) kill(pids[i], SIGKILL);
  remove_store();
  rmdir(folder);
  exit(1);
}

/* splitmix64 */
static uint64_t dice(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* ---------------------------------------------------------------- producers --- */

/* Event n, made from n alone. */
typedef struct made_event {
  sl_event event;
  char id[24];
  uint8_t value[BIG];
} made_event;

static void make_event(uint64_t n, bool batch, made_event *m) {
  size_t len = !batch && n % 50 == 0 ? BIG : n * 37 % 400;
  snprintf(m->id, sizeof m->id, "event-%d", (int)n);
  memset(m->value, (int)(n * 31 % 251), len);
  m->event = (sl_event){.topic = n % 40 == 7 ? sl_slice_of(m->id) : SL_STR("common"),
                        .event_id = sl_slice_of(m->id),
                        .flags = n % 4 == 1 ? SL_EVENT_RELAXED : 0, .occurred_at_us = (int64_t)n,
                        .key = batch ? SL_STR("batch") : SL_STR("alone"), .value = {m->value, len}};
}

static void *produce(void *arg) {
  ring *r = arg;
  made_event *m = malloc(BATCH * sizeof *m);
  sl_event events[BATCH];
  uint64_t state = random_state + (uintptr_t)arg;
  for (uint64_t told = atomic_load(&r->told);;) {
    uint64_t first, count = dice(&state) % 16 == 0 ? BATCH : 1;
    const uint64_t n = atomic_fetch_add(&all->numbers, count) + 1;
    if (n + count >= MOST || told + count > RING) pause();
    for (uint64_t i = 0; i < count; i++) {
      make_event(n + i, count > 1, &m[i]);
      events[i] = m[i].event;
    }
    atomic_store(&r->asked_count, count);
    atomic_store(&r->asked, n);
    if (sl_append_many(store, events, count, &first, NULL) != SL_OK) {
      fprintf(stderr, "append: %s\n", sl_last_detail());
      _exit(3);
    }
    for (uint64_t i = 0; i < count; i++) {
      r->ack[told + i].seq = first + i;
      r->ack[told + i].n = n + i;
    }
    atomic_store(&r->told, told += count); /* all at once: a kill in here leaves them unanswered */
    atomic_store(&r->asked, 0);
  }
  return NULL;
}

static void start(int i) {
  const pid_t parent = getpid();
  pids[i] = fork();
  if (pids[i] != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  random_state ^= (uint64_t)getpid() << 20;
  sl_options o = {.preallocate = 1u << 20};
  pthread_t thread;
  if (sl_open(path, &o, &store) != SL_OK) {
    fprintf(stderr, "open: %s\n", sl_last_detail());
    _exit(4);
  }
  for (int t = 1; t < THREADS; t++) pthread_create(&thread, NULL, produce, &all->ring[i][t]);
  produce(&all->ring[i][0]);
}

/* ------------------------------------------------------------------- killing --- */

static void collect(int i) {
  for (int t = 0; t < THREADS; t++) {
    ring *r = &all->ring[i][t];
    const uint64_t told = atomic_load(&r->told), asked = atomic_load(&r->asked);
    for (uint64_t a = 0; a < told; a++) seq_of[r->ack[a].n] = r->ack[a].seq;
    acknowledged += (long)told;
    for (uint64_t n = asked; asked && n < asked + atomic_load(&r->asked_count); n++)
      if (!seq_of[n]) unanswered[unanswered_count++] = n;
    atomic_store(&r->told, 0);
    atomic_store(&r->asked, 0);
  }
}

static void end(int i) {
  int code;
  kill(pids[i], SIGKILL);
  waitpid(pids[i], &code, 0);
  if (!WIFSIGNALED(code)) fail("a producer ended by itself");
  pids[i] = 0;
  collect(i);
}

/* The process whose thread has the lead, or -1 when none is seen in a few milliseconds. A robust lock's first word
 * is its holder's thread id (Linux: robust-futex-ABI); where it stands is src/store/slots.c's layout. */
static int leader(void) {
  static _Atomic uint32_t *lead;
  static ino_t ino;
  char name[4300];
  struct stat st;
  snprintf(name, sizeof name, "%s/log/slots", path);
  if (stat(name, &st) != 0 || st.st_size < 4096) return -1;
  if (!lead || ino != st.st_ino) {
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return -1;
    if (lead) munmap((char *)(uintptr_t)lead - 64, 4096);
    lead = (_Atomic uint32_t *)(void *)((char *)map + 64);
    ino = st.st_ino;
  }
  for (int look = 0; look < 200000; look++) {
    if (look % 200 == 199) sched_yield();
    const uint32_t tid = atomic_load(lead) & 0x3fffffff;
    for (int i = 0; tid && i < PROCESSES; i++) {
      snprintf(name, sizeof name, "/proc/%d/task/%u", (int)pids[i], tid);
      if (pids[i] == (pid_t)tid || access(name, F_OK) == 0) return i;
    }
  }
  return -1;
}

static uint64_t told_in_all(void) {
  uint64_t sum = 0;
  for (int i = 0; i < PROCESSES; i++)
    for (int t = 0; t < THREADS; t++) sum += atomic_load(&all->ring[i][t].told);
  return sum;
}

/* Nobody may wait for the dead: somebody is told something new. */
static void wait_for_life(void) {
  const uint64_t before = told_in_all();
  const struct timespec moment = {0, 50000};
  /* Counted in naps: the whole test may be stopped for a while. */
  for (long naps = 0; told_in_all() == before; naps++) {
    nanosleep(&moment, NULL);
    if (naps > PATIENCE * 10000) fail("nobody appends any more");
  }
}

static void kill_one(void) {
  const struct timespec pause = {0, (long)(dice(&random_state) % 1500000)};
  nanosleep(&pause, NULL);
  int victim = dice(&random_state) % 4 ? leader() : -1;
  if (victim >= 0) of_leaders++;
  else victim = (int)(dice(&random_state) % PROCESSES);
  end(victim);
  kills++;
  for (int i = 0; dice(&random_state) % 50 == 0 && i < PROCESSES; i++)
    if (pids[i]) end(i), kills++;
  for (int i = 0; i < PROCESSES; i++)
    if (!pids[i]) start(i);
  wait_for_life();
}

/* ------------------------------------------------------------------- judging --- */

static void remove_store(void) { remove_tree(path); }

static void problem(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "verify: %s\n", text);
}

static void must(bool condition, const char *what, uint64_t seq) {
  char text[128];
  if (condition) return;
  snprintf(text, sizeof text, "event %" PRIu64 ": %s", seq, what);
  fail(text);
}

/* `again`: unanswered appends were repeated; then an id may be there twice, but only one of them is no duplicate.
 * */
static void check_events(bool again) {
  static uint8_t count[MOST];
  static made_event m;
  sl_iter *iter;
  const sl_record *r;
  sl_status status;
  uint64_t next = 1, batch = 0;
  memset(count, 0, sizeof count);
  if (sl_iter_start(store, NULL, &iter) != SL_OK) fail("no iterator");
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    const uint64_t n = (uint64_t)r->occurred_at_us;
    must(r->seq == next++, "out of order", r->seq);
    must(n > 0 && n < MOST, "never appended", r->seq);
    make_event(n, sl_slice_eq(r->key, SL_STR("batch")), &m);
    must(sl_slice_eq(r->event_id, m.event.event_id) && sl_slice_eq(r->topic, m.event.topic) &&
         sl_slice_eq(r->value, m.event.value), "is not what was appended", r->seq);
    must(again || seq_of[n] == 0 || seq_of[n] == r->seq, "is there again", r->seq);
    if (!again && batch) must(n == batch + 1, "a batch is torn", r->seq);
    /* Which event of its batch: the first one's number is not known, but three in a row are. */
    if (!again && sl_slice_eq(r->key, SL_STR("batch"))) {
      static int part;
      part = batch ? part + 1 : 1;
      batch = part == BATCH ? 0 : n;
    }
    if (r->duplicate_of == 0) count[n]++;
    must(count[n] <= 1, "is there twice", r->seq);
  }
  sl_iter_close(iter);
  if (status != SL_NOTFOUND) fail("reading");
  must(batch == 0, "a batch is torn", next);
  for (uint64_t n = 1; n < MOST; n++)
    if (seq_of[n]) must(count[n] == 1, "acknowledged and lost", seq_of[n]);
  for (size_t i = 0; again && i < unanswered_count; i++) must(count[unanswered[i]] == 1, "repeated and lost", 0);
}

static void judge(void) {
  sl_verify_report report;
  sl_stats stats;
  static made_event m;
  if (sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK) fail("does not open");
  check_events(false);
  for (size_t i = 0; i < unanswered_count; i++) {
    make_event(unanswered[i], true, &m);
    if (sl_append(store, &m.event, NULL) != SL_OK) fail("takes no event");
  }
  if (sl_index_advance(store, 0, NULL) != SL_OK) fail("no index");
  check_events(true);
  if (sl_verify(store, problem, NULL, &report) != SL_OK || report.problems) fail("unsound");
  if (sl_stats_get(store, &stats) != SL_OK || !stats.balanced) fail("out of balance");
  sl_close(store);
  store = NULL;
}

int main(int argc, char **argv) {
  const long goal = argc > 1 ? atol(argv[1]) : 400;
  const char *tmp = argc > 2 ? argv[2] : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  const char *seed = getenv("SIDELOG_SEED");
  if (seed) random_state = strtoull(seed, NULL, 0);
  snprintf(folder, sizeof folder, "%s/sidelog-kills.XXXXXX", tmp);
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store", folder);
  all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return 2;
  while (kills < goal) {
    memset(seq_of, 0, sizeof seq_of);
    unanswered_count = 0;
    atomic_store(&all->numbers, 0);
    for (int i = 0; i < PROCESSES; i++) start(i);
    wait_for_life();
    for (long until = kills + ROUND; kills < until;) kill_one();
    for (int i = 0; i < PROCESSES; i++) end(i), kills++;
    judge();
    remove_store();
  }
  rmdir(folder);
  printf("%ld kills, %ld of leaders, %ld acknowledged: none lost, none twice\n", kills, of_leaders, acknowledged);
  return 0;
}
