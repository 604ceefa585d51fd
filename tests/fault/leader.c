/*
 * The leader of a group commit is killed after its Nth instruction, N from none to its end. A tracer lets a
 * process take the lead, lets three others publish their appends (two into slots, one too large for that), goes on
 * by N instructions of our own code - calls into LMDB and the C library count as one - and kills it. The others
 * must be told, each that its event is there, once; the dead one's event is there once or not at all, and may be
 * appended again under its id.
 *
 * Then the same for the heir: the leader dies somewhere, the others are held, and the next one, which has to
 * settle what the dead one left, is killed after its Nth instruction.
 *
 *   leader       N goes on by 59, by 7 with SIDELOG_LONG=1. Exits with 77 (skipped) where no process can be traced
 */
#include "tree.h"

#include "base/base.h"
#include "store/log_inner.h"
#include <sidelog/sidelog.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/user.h>

enum { FOLLOWERS = 3, BIG = 40000, MOST = 1 << 18, PATIENCE_MS = 20000, STOPPED = -1, GONE = -2 };

static char folder[4096], path[4200];
static sl_store *store;      /* the judge's */
static uint64_t numbers, judged;
static uint64_t *told;       /* by number, shared: the seq that its producer was told */
static uint8_t *dead;        /* by number: its producer was killed */
static char what[128];

static void fail(const char *problem) {
  fprintf(stderr, "%s: %s (%s)\n", what, problem, sl_last_detail());
  exit(1);
}
#define MUST(condition, problem) do { if (!(condition)) fail(problem); } while (0)

/* ---------------------------------------------------------------- producers --- */

static void end_with_parent(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) _exit(0);
}

static sl_status append(sl_store *s, uint64_t n, bool big) {
  static char value[BIG];
  char id[24];
  uint64_t seq;
  snprintf(id, sizeof id, "event-%d", (int)n);
  sl_event e = {.topic = SL_STR("t"), .event_id = sl_slice_of(id), .value = {value, big ? BIG : n % 50},
                .occurred_at_us = (int64_t)n};
  sl_status status = sl_append(s, &e, &seq);
  if (status == SL_OK) told[n] = seq;
  return status;
}

typedef struct follower {
  pid_t pid;
  int ask, answer;
} follower;
static follower followers[FOLLOWERS];

static void follow(int ask, int answer, bool big) {
  sl_store *s;
  uint64_t n;
  end_with_parent();
  if (sl_open(path, NULL, &s) != SL_OK) _exit(3);
  while (read(ask, &n, sizeof n) == sizeof n) {
    sl_status status = append(s, n, big);
    if (status != SL_OK) fprintf(stderr, "%s\n", sl_last_detail());
    if (write(answer, &status, sizeof status) != sizeof status) break;
  }
  _exit(0);
}

static void start_followers(void) {
  for (int i = 0; i < FOLLOWERS; i++) {
    int ask[2], answer[2];
    MUST(pipe(ask) == 0 && pipe(answer) == 0, "no pipe");
    followers[i] = (follower){fork(), ask[1], answer[0]};
    if (followers[i].pid == 0) follow(ask[0], answer[1], i == FOLLOWERS - 1);
    close(ask[0]);
    close(answer[1]);
  }
}

static void signal_followers(int signal) {
  for (int i = 0; i < FOLLOWERS; i++) kill(followers[i].pid, signal);
}

static void must_be_told(void) {
  for (int i = 0; i < FOLLOWERS; i++) {
    struct pollfd p = {followers[i].answer, POLLIN, 0};
    sl_status status = SL_E_IO;
    MUST(poll(&p, 1, PATIENCE_MS) == 1, "a follower waits for ever");
    MUST(read(followers[i].answer, &status, sizeof status) == sizeof status, "a follower is gone");
    MUST(status == SL_OK, "a follower's append failed");
  }
}

/* ------------------------------------------------------------------ tracing --- */

extern char __executable_start, etext;

static bool is_ours(uint64_t address) {
  return address >= (uintptr_t)&__executable_start && address < (uintptr_t)&etext;
}

static int wait_for(pid_t pid) {
  int code;
  if (waitpid(pid, &code, 0) != pid) return GONE;
  return WIFSTOPPED(code) ? STOPPED : GONE;
}

/* Runs to an address. */
static int run_to(pid_t pid, uint64_t address) {
  struct user_regs_struct regs;
  errno = 0;
  const long was = ptrace(PTRACE_PEEKTEXT, pid, address, NULL);
  if (errno != 0) fail("the traced process cannot be read");
  ptrace(PTRACE_POKETEXT, pid, address, (was & ~0xffL) | 0xcc);
  ptrace(PTRACE_CONT, pid, NULL, NULL);
  if (wait_for(pid) == GONE) return GONE;
  ptrace(PTRACE_POKETEXT, pid, address, was);
  ptrace(PTRACE_GETREGS, pid, NULL, &regs);
  if (regs.rip != address + 1) fail("the traced process stopped elsewhere");
  regs.rip = address;
  ptrace(PTRACE_SETREGS, pid, NULL, &regs);
  return STOPPED;
}

/* The pure part: it touches nothing that others see. */
static bool is_codec(uint64_t address) {
  return address == (uintptr_t)&sl_record_decode || address == (uintptr_t)&sl_record_peek;
}

/* One instruction of ours, or a call of another's code, or of the codec, as a whole. */
static int step(pid_t pid) {
  struct user_regs_struct regs;
  ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
  if (wait_for(pid) == GONE) return GONE;
  for (;;) {
    ptrace(PTRACE_GETREGS, pid, NULL, &regs);
    if (is_ours(regs.rip) && !is_codec(regs.rip)) return STOPPED;
    const uint64_t back = (uint64_t)ptrace(PTRACE_PEEKDATA, pid, regs.rsp, NULL);
    if (is_ours(back)) return run_to(pid, back);
    ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL); /* the dynamic linker on its way */
    if (wait_for(pid) == GONE) return GONE;
  }
}

/* A process that has just taken the lead for event n. late: it has written its own record and waits for others. */
static pid_t start_leader(uint64_t n, bool late) {
  const pid_t pid = fork();
  if (pid == 0) {
    sl_store *s;
    end_with_parent();
    if (sl_open(path, NULL, &s) != SL_OK || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(3);
    raise(SIGSTOP);
    _exit(append(s, n, false) == SL_OK ? 0 : 4);
  }
  MUST(wait_for(pid) == STOPPED, "the leader does not come up");
  const uintptr_t place = late ? (uintptr_t)&slots_linger : (uintptr_t)&db_begin_write;
  MUST(run_to(pid, place) == STOPPED, "the leader has not taken the lead");
  return pid;
}

/* So many steps, and the end. False: it came to its own end before. */
static bool step_and_kill(pid_t pid, long steps) {
  for (long i = 0; i < steps; i++)
    if (step(pid) == GONE) return false;
  kill(pid, SIGKILL);
  int code;
  waitpid(pid, &code, 0);
  return true;
}

/* ------------------------------------------------------------------ judging --- */

static void wait_until_published(void) {
  for (;;) {
    int ready = 0, waiting = 0;
    for (unsigned i = 0; i < SLOT_COUNT; i++) {
      const uint32_t state = atomic_load(&slots_at(store->log->slots, i)->state);
      ready += state == SLOT_READY;
      waiting += state == SLOT_WAITING;
    }
    if (ready == FOLLOWERS - 1 && waiting == 1) return;
    const struct timespec moment = {0, 50000};
    nanosleep(&moment, NULL);
  }
}

/* The events since the last look: each the one that its producer was told of, or a dead one's; none twice. */
static void judge_new(void) {
  sl_iter *iter;
  const sl_record *r;
  uint64_t seen[8] = {0}, count = 0;
  const sl_query q = {.first_seq = judged + 1};
  MUST(sl_iter_start(store, &q, &iter) == SL_OK, "no iterator");
  while (sl_iter_next(iter, &r) == SL_OK) {
    const uint64_t n = (uint64_t)r->occurred_at_us;
    MUST(r->seq == ++judged, "out of order");
    MUST(n > 0 && n <= numbers && count < 8, "too many events");
    for (uint64_t i = 0; i < count; i++) MUST(seen[i] != n, "an event is there twice");
    MUST(told[n] == r->seq || (dead[n] && told[n] == 0), "an event is not where its producer was told");
    seen[count++] = n;
  }
  sl_iter_close(iter);
  for (uint64_t n = numbers > 8 ? numbers - 8 : 1; n <= numbers; n++)
    MUST(told[n] <= judged, "an event that was told of is not there");
}

/* What the dead left unanswered is appended again; of each id one event remains that is no duplicate. */
static void judge_all(void) {
  uint8_t *count = calloc(numbers + 1, 1);
  sl_iter *iter;
  const sl_record *r;
  sl_verify_report report;
  for (uint64_t n = 1; n <= numbers; n++)
    if (dead[n] && !told[n]) MUST(append(store, n, false) == SL_OK, "takes no event");
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  while (sl_iter_next(iter, &r) == SL_OK) count[r->occurred_at_us] += r->duplicate_of == 0;
  sl_iter_close(iter);
  for (uint64_t n = 1; n <= numbers; n++) MUST(count[n] == 1, "an event is lost or there twice");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  free(count);
}

/* ------------------------------------------------------------------- sweeps --- */

/* late: the others come while the leader waits for them. heir_steps: negative, none. False: the one to be killed
 * came to its own end. */
static bool life(bool late, long steps, long heir_steps) {
  const bool heir = heir_steps >= 0;
  if (heir) snprintf(what, sizeof what, "heir, %ld behind %ld", heir_steps, steps);
  else snprintf(what, sizeof what, "leader, %s, %ld", late ? "waiting" : "at its begin", steps);
  MUST(numbers + 8 < MOST, "too many lives");
  const uint64_t n = ++numbers;
  pid_t pid = start_leader(n, late);
  for (int i = 0; i < FOLLOWERS; i++) {
    const uint64_t next = ++numbers;
    MUST(write(followers[i].ask, &next, sizeof next) == sizeof next, "no follower");
  }
  wait_until_published();
  if (heir) signal_followers(SIGSTOP);
  bool killed = step_and_kill(pid, steps);
  dead[n] = killed;
  if (heir && killed) {
    const uint64_t m = ++numbers;
    killed = step_and_kill(start_leader(m, false), heir_steps);
    dead[m] = killed;
  }
  if (heir) signal_followers(SIGCONT);
  must_be_told();
  judge_new();
  return killed;
}

/* Returns the length of a life. */
static long sweep(bool late, long by) {
  long steps = 0;
  while (life(late, steps, -1)) steps += by;
  printf("leader%s: killed at %ld of %ld instructions\n", late ? ", waiting for others" : "", steps / by, steps);
  return steps;
}

static void sweep_heirs(long length, int places, long by) {
  long lives = 0;
  for (int place = 1; place < places; place++)
    for (long steps = place % by; life(false, length * place / places, steps); steps += by) lives++;
  printf("heir: killed in %ld lives, behind leaders killed at %d\n", lives, places - 1);
}

static pid_t owner;
static void clean(void) {
  if (getpid() == owner) remove_tree(folder);
}

static bool can_trace(void) {
  const pid_t pid = fork();
  int code;
  if (pid == 0) _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
  return waitpid(pid, &code, 0) == pid && code == 0;
}

int main(void) {
  const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", *text = getenv("SIDELOG_LONG");
  const bool all = text && *text == '1';
  if (!can_trace()) return printf("skipped: no process can be traced here\n"), 77;
  snprintf(folder, sizeof folder, "%s/sidelog-leader.XXXXXX", tmp);
  if (!mkdtemp(folder)) return 2;
  owner = getpid();
  atexit(clean);
  snprintf(path, sizeof path, "%s/store", folder);
  setvbuf(stdout, NULL, _IONBF, 0);
  told = mmap(NULL, MOST * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  dead = calloc(MOST, 1);
  MUST(told != MAP_FAILED && dead, "no memory");
  start_followers();
  MUST(sl_open(path, &(sl_options){.preallocate = 1u << 20}, &store) == SL_OK, "does not open");
  const long length = sweep(false, all ? 7 : 73);
  (void)sweep(true, all ? 7 : 59);
  sweep_heirs(length, all ? 9 : 5, all ? 97 : 293);
  judge_all();
  sl_close(store);
  return 0;
}
#else
int main(void) { return printf("skipped: steps are counted on x86-64 with Linux\n"), 77; }
#endif
