/*
 * A reader's process is killed again and again at any moment, while a producer appends; some events kill the
 * process that has them in hand. What the processes did stands in memory that they share with their parent. At
 * the end:
 *
 *   every event was acknowledged, but those that kill, and they are dead letters, class READER_CRASHED; no
 *   other event is;
 *   nothing that was acknowledged and committed was handed out again; within a key nothing was handed out
 *   before what
 *   came earlier was done with; the law holds, and verify finds no problem.
 *
 *   SIDELOG_LONG=1: more kills
 */
#include "lives.h"
#include "must.h"

#include "base/base.h"

#include <inttypes.h>
#include <sidelog/reader.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILLS = 60, KILLS_LONG = 1500, EACH = 40, MOST = 200000, KEYS = 7, BUDGET = 3, POISON = 211 };

typedef struct shared {
  volatile uint64_t appended;
  volatile uint8_t acked[MOST + 1], committed[MOST + 1], tries[MOST + 1];
  volatile uint64_t again, early; /* an event each: handed out although it must not be */
} shared;

static shared *all;

static bool kills(uint64_t seq) { return seq % POISON == 0; }

static void append_some(sl_store *store) {
  for (int i = 0; i < EACH && all->appended < MOST; i++) {
    const uint64_t seq = all->appended + 1;
    const char key = (char)('a' + seq % KEYS);
    const sl_event e = {.topic = SL_STR("t"), .key = {&key, 1}, .value = SL_STR("v"), .flags = SL_EVENT_RELAXED};
    MUST(sl_append(store, &e, NULL) == SL_OK, "takes no event");
    all->appended = seq;
  }
}

static bool done(uint64_t seq) { return all->acked[seq] || (kills(seq) && all->tries[seq] >= BUDGET); }

/* Reads until it is killed; `once`: until there is nothing more. */
static void read_on(bool once) {
  static const sl_reader_options options = {.max_attempts = BUDGET, .commit_events = 10, .backoff_us = 1,
                                            .backoff_max_us = 1};
  sl_store *store;
  sl_reader *r;
  const sl_reader_event *e;
  sl_status status;
  static uint64_t waits[MOST + 1];
  uint64_t count = 0;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_reader_open(store, "r", &options, &r) == SL_OK, "no reader");
  while ((status = sl_reader_next(r, once ? 0 : 1000, &e)) == SL_OK || (status == SL_TIMEOUT && !once)) {
    if (status == SL_TIMEOUT) continue;
    const uint64_t seq = e->record->seq;
    if (all->committed[seq]) all->again = seq;
    if (seq > KEYS && !done(seq - KEYS)) all->early = seq;
    all->tries[seq]++;
    if (kills(seq)) kill(getpid(), SIGKILL);
    all->acked[seq] = 1;
    MUST(sl_reader_ack(r, seq) == SL_OK, "takes no word");
    waits[count++] = seq;
    if (count % 25 != 0) continue;
    MUST(sl_reader_commit(r) == SL_OK, "no commit");
    for (; count > 0; count--) all->committed[waits[count - 1]] = 1;
  }
  MUST(status == SL_TIMEOUT, "it ends with %s", sl_status_text(status));
  sl_reader_close(r);
  sl_close(store);
  _exit(0);
}

static void keep_info(void *arg, const sl_reader_info *i) { *(sl_reader_info *)arg = *i; }

static void check_letter(void *arg, const sl_reader_letter *l) {
  ++*(uint64_t *)arg;
  MUST(kills(l->seq), "event %" PRIu64 " is a dead letter", l->seq);
  MUST(sl_slice_eq(l->error_class, SL_STR("READER_CRASHED")) && l->attempts == BUDGET, "letter %" PRIu64, l->seq);
}

int main(void) {
  const int rounds = lives_long() ? KILLS_LONG : KILLS;
  sl_store *store;
  int code;
  srand(7);
  if (!lives_begin("reader-kills")) return 2;
  all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  sl_close(store);
  for (int i = 0; i < rounds; i++) {
    const pid_t pid = fork();
    if (pid == 0) read_on(false);
    MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
    append_some(store);
    const struct timespec nap = {0, (long)(rand() % 15) * 1000000};
    nanosleep(&nap, NULL);
    sl_close(store);
    kill(pid, SIGKILL);
    waitpid(pid, &code, 0);
    MUST(WIFSIGNALED(code) && WTERMSIG(code) == SIGKILL, "it ended with %d", code);
  }
  for (int lives = 0;; lives++) {
    const pid_t pid = fork();
    if (pid == 0) read_on(true);
    waitpid(pid, &code, 0);
    if (WIFEXITED(code)) break;
    MUST(WTERMSIG(code) == SIGKILL && lives < BUDGET * (int)(all->appended / POISON + 1),
         "it does not come to an end");
  }
  MUST(WEXITSTATUS(code) == 0, "it ended with %d", code);
  sl_reader_info info;
  sl_verify_report report;
  uint64_t letters = 0, harmed = 0;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  MUST(sl_reader_info_get(store, "r", keep_info, &info) == SL_OK && info.balanced && info.open == 0,
       "out of balance");
  MUST(sl_reader_letters(store, "r", 0, check_letter, &letters) == SL_OK, "no letters");
  for (uint64_t seq = 1; seq <= all->appended; seq++) harmed += !kills(seq) && !all->acked[seq];
  MUST(harmed == 0, "%" PRIu64 " events were never done", harmed);
  MUST(all->again == 0, "event %" PRIu64 " was handed out again", all->again);
  MUST(all->early == 0, "event %" PRIu64 " came before its turn", all->early);
  MUST(letters == all->appended / POISON && info.acked == all->appended - letters, "%" PRIu64 " letters", letters);
  sl_close(store);
  printf("%d kills, %" PRIu64 " events, %" PRIu64 " that kill: sound\n", rounds, (uint64_t)all->appended, letters);
  return lives_end();
}
