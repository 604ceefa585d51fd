/*
 * Power cuts. A program lives with a store - creates it, appends alone, in batches, from threads and from
 * processes, durably, relaxed and asynchronously, indexes, delivers, gives up attempts, opens a lane and empties
 * it, trims, compacts, moves its clock, fills its quota, builds its index anew, and lets a local reader work on
 * the events and give up some of them - while record.c writes down every change of a file, every flush, and what
 * was promised when. Then, for each flush, replay.c makes the disks that a power cut in the middle of it can have
 * left, and each is judged:
 *
 *   it opens; it holds every event that was acknowledged as durable, byte for byte, at its seq; no other event
 *   than the one that got that seq; its index, receipts, totals and cursors hold together (sl_verify); what it
 *   calls delivered is the event that was delivered; it takes the next event, and that one is pending; and it goes
 *   on.
 *
 *   power [IMAGES_PER_FLUSH]     default 2; the number of random ones, beside the extremes
 *   power --blind                sees to it that broken promises of the disk are noticed: flushes, synchronous
 *                                writes or flushes of folders that do nothing
 */
#include "power_life.h"
#include "power_readers.h"
#include "record.h"
#include "replay.h"
#include "tree.h"

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = POWER_EVENTS_MOST, WORKERS = 2 };

static char folder[4096], path[4200];

/* ---------------------------------------------------------------- judging --- */

/* What holds at a point of the recording. */
typedef struct promises {
  bool opened;
  uint64_t durable;    /* every event up to here is there ... */
  uint64_t may_trim;   /* ... but for those up to here, which may be gone */
  uint64_t cursor, settled, reader;
} promises;

static uint64_t number_of[MOST]; /* by seq */

static void promise(promises *p, const record_entry *e) {
  switch (e->file) {
    case NOTE_OPENED: p->opened = true; break;
    case NOTE_EVENT:
    case NOTE_SYNCED: if (e->at > p->durable) p->durable = e->at; break;
    case NOTE_MAY_TRIM: p->may_trim = e->at; break;
    case NOTE_SETTLED: p->cursor = e->at, p->settled = e->len; break;
    case NOTE_CURSOR: p->reader = e->at; break;
    default: readers_promise(e); break;
  }
}

typedef struct where { long entry; unsigned cut; } where; /* of the image at hand, in case of a crash */
static where *at_hand;
static bool silent;

#define MUST(condition, ...)                                                                   \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      if (silent) return false;                                                                \
      fprintf(stderr, "entry %ld, cut %u: ", at_hand->entry, at_hand->cut);                    \
      fprintf(stderr, __VA_ARGS__);                                                            \
      fprintf(stderr, " (%s)\n", sl_last_detail());                                            \
      return false;                                                                            \
    }                                                                                          \
  } while (0)

static void problem(void *arg, const char *text) {
  (void)arg;
  if (!silent) fprintf(stderr, "verify: %s\n", text);
}

static bool is_sound(sl_store *s) {
  sl_verify_report report;
  sl_stats stats;
  MUST(sl_verify(s, problem, NULL, &report) == SL_OK, "verify stopped");
  MUST(report.problems == 0, "%" PRIu64 " problems", report.problems);
  MUST(sl_stats_get(s, &stats) == SL_OK && stats.balanced, "out of balance");
  return true;
}

/* Is there one of the same event id before it? Of producers side by side the second one may come first. */
static bool has_earlier(uint64_t seq) {
  for (uint64_t before = 1; before < seq; before++)
    if (number_of[before] && power_original_of(number_of[before]) == power_original_of(number_of[seq])) return true;
  return false;
}

static bool check_events(sl_store *s, const promises *p, const sl_stats *stats) {
  sl_iter *iter;
  const sl_record *r;
  sl_status status;
  uint64_t next = 0;
  MUST(sl_iter_start(s, NULL, &iter) == SL_OK, "no iterator");
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    MUST(r->seq < MOST && number_of[r->seq], "event %" PRIu64 " was never appended", r->seq);
    MUST(power_is_event(r, number_of[r->seq]), "event %" PRIu64 " is not the one that got this seq", r->seq);
    if (next == 0) {
      MUST(r->seq <= p->may_trim + 1, "the log begins at %" PRIu64 ", of which nobody trimmed", r->seq);
    } else {
      MUST(r->seq == next, "%" PRIu64 " comes after %" PRIu64, r->seq, next - 1);
    }
    next = r->seq + 1;
    if (r->state == SL_SENT)
      MUST(r->offset == r->occurred_at_us, "event %" PRIu64 " has the receipt of another one", r->seq);
    if (r->state == SL_DUPLICATE)
      MUST(has_earlier(r->seq), "event %" PRIu64 " is no duplicate", r->seq);
  }
  MUST(status == SL_NOTFOUND, "reading ended with %s", sl_status_text(status));
  sl_iter_close(iter);
  MUST(stats->last_seq + 1 == (next ? next : 1), "the newest event is not the newest");
  return true;
}

/* It takes the next event, and nobody believes that one delivered. */
static bool goes_on(sl_store *s, uint64_t last) {
  sl_event e = {.topic = SL_STR("after")};
  sl_iter *iter;
  const sl_record *r;
  uint64_t seq;
  MUST(sl_append(s, &e, &seq) == SL_OK && seq == last + 1, "takes no event");
  const sl_query q = {.first_seq = seq, .last_seq = seq};
  MUST(sl_iter_start(s, &q, &iter) == SL_OK && sl_iter_next(iter, &r) == SL_OK, "the new event is not found");
  MUST(r->state == SL_PENDING, "the new event is called %s", sl_state_text(r->state));
  sl_iter_close(iter);
  return true;
}

static bool judge(const char *image, const promises *p, bool thorough) {
  sl_store *s;
  sl_stats stats;
  sl_options o = {.flags = p->opened ? SL_OPEN_EXISTING : 0, .preallocate = 100000};
  MUST(sl_open(image, &o, &s) == SL_OK, "does not open");
  MUST(is_sound(s), "unsound");
  MUST(sl_stats_get(s, &stats) == SL_OK, "no statistics");
  MUST(stats.last_seq >= p->durable, "acknowledged and lost: event %" PRIu64 " of %" PRIu64,
       stats.last_seq + 1, p->durable);
  MUST(stats.delivery_seq >= p->cursor, "the cursor stepped back to %" PRIu64, stats.delivery_seq);
  MUST(stats.delivered + stats.duplicates + stats.dead + stats.dropped >= p->settled, "settled events are lost");
  if (!check_events(s, p, &stats)) return false;
  uint64_t reader = 0;
  if (p->reader) MUST(sl_cursor_get(s, "reader", &reader) == SL_OK && reader == p->reader, "the cursor is lost");
  const char *wrong = readers_judge(s);
  MUST(!wrong, "the reader: %s", wrong);
  if (!goes_on(s, stats.last_seq)) return false;
  if (thorough) {
    power_live_on(s);
    MUST(is_sound(s), "unsound after it went on");
  }
  sl_close(s);
  return true;
}

/* ------------------------------------------------------------------- main --- */

/* All images of one point. In a process of its own: a damaged image may end it by a signal. */
static void judge_cuts(const replay_disk *disk, const promises *p, long entry, unsigned cuts, unsigned worker) {
  char image[4300];
  snprintf(image, sizeof image, "%s/image-%u", folder, worker);
  for (unsigned cut = 0; cut < cuts; cut++) {
    at_hand->entry = entry;
    at_hand->cut = cut;
    if (!replay_image(disk, cut, (uint64_t)entry * 1000 + cut, image)) _exit(4);
    bool good = judge(image, p, (unsigned long)(entry + cut) % 8 == 0);
    remove_tree(image);
    if (!good) _exit(1);
  }
  _exit(0);
}

typedef struct tally { unsigned points, images, bad; } tally;

static void wait_one(tally *t, pid_t *pids, where *places) {
  int code, worker = 0;
  pid_t pid = wait(&code);
  while (worker < WORKERS && pids[worker] != pid) worker++;
  pids[worker] = 0;
  if (WIFEXITED(code) && WEXITSTATUS(code) == 0) return;
  t->bad++;
  if (!silent && WIFSIGNALED(code))
    fprintf(stderr, "entry %ld, cut %u: signal %d\n", places[worker].entry, places[worker].cut, WTERMSIG(code));
  char image[4300];
  snprintf(image, sizeof image, "%s/image-%d", folder, worker);
  remove_tree(image);
}

static tally replay(replay_lie lie, unsigned random_cuts, unsigned stop_after) {
  tally t = {0};
  promises p = {0};
  readers_forget();
  pid_t pids[WORKERS] = {0};
  where *places = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  replay_disk *disk = replay_new(lie);
  long entry = 0;
  for (const record_entry *e = NULL; (e = record_next(e)) && t.bad < stop_after; entry++) {
    if (e->kind == RECORD_NOTE) promise(&p, e);
    bool flush = e->kind == RECORD_FLUSH || e->kind == RECORD_WRITE_SYNCED;
    if (!flush) {
      replay_step(disk, e);
      continue;
    }
    unsigned worker = 0;
    while (worker < WORKERS && pids[worker]) worker++;
    if (worker == WORKERS) {
      wait_one(&t, pids, places);
      for (worker = 0; pids[worker];) worker++;
    }
    pids[worker] = fork();
    /* Of nothing, or of one write that fits into a sector, there is no mixture. */
    size_t pending = replay_pending(disk) + (e->kind == RECORD_WRITE_SYNCED);
    unsigned cuts = pending == 0 ? 1 : pending == 1 && e->len <= 512 ? 2 : CUT_RANDOM + random_cuts;
    if (pids[worker] == 0) {
      at_hand = &places[worker];
      replay_half_step(disk, e);
      judge_cuts(disk, &p, entry, cuts, worker);
    }
    t.points++;
    t.images += cuts;
    replay_step(disk, e);
  }
  for (int i = 0; i < WORKERS; i++)
    if (pids[i]) wait_one(&t, pids, places), i = -1;
  replay_free(disk);
  munmap(places, 4096);
  return t;
}

static bool record(void) {
  _Atomic uint64_t *numbers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (numbers == MAP_FAILED || !record_begin(path)) return false;
  pid_t pid = fork();
  int code;
  if (pid == 0) power_live(path, numbers);
  waitpid(pid, &code, 0);
  record_end();
  remove_tree(path);
  for (const record_entry *e = NULL; (e = record_next(e));)
    if (e->kind == RECORD_NOTE && (e->file == NOTE_EVENT || e->file == NOTE_RELAXED)) number_of[e->at] = e->len;
  return code == 0;
}

static int blind(void) {
  static const char *const lies[LIES] = {"", "flushes", "synchronous writes", "flushes of folders"};
  int missed = 0;
  silent = true;
  for (replay_lie lie = LIE_FLUSH; lie < LIES; lie++) {
    tally r = replay(lie, 2, 1);
    printf("%s that do nothing: %s after %u images\n", lies[lie], r.bad ? "noticed" : "NOT NOTICED", r.images);
    missed += r.bad == 0;
  }
  return missed ? 1 : 0;
}

int main(int argc, char **argv) {
  const char *tmp = getenv("TMPDIR");
  /* In memory where there is room for it: the cuts are simulated, what is slow about a disk plays no part. */
  if (access("/dev/shm", W_OK) == 0) tmp = "/dev/shm";
  bool blindly = argc > 1 && strcmp(argv[1], "--blind") == 0;
  unsigned random_cuts = argc > 1 && !blindly ? (unsigned)atoi(argv[1]) : 2;
  snprintf(folder, sizeof folder, "%s/sidelog-power.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store", folder);
  setvbuf(stdout, NULL, _IONBF, 0);
  int code = 1;
  if (!record()) {
    fprintf(stderr, "the recorded life ended early\n");
  } else if (blindly) {
    code = blind();
  } else {
    tally r = replay(LIE_NONE, random_cuts, 10);
    printf("%u flushes, %u images, %u bad\n", r.points, r.images, r.bad);
    code = r.bad || r.images < 2000 ? 1 : 0;
  }
  remove_tree(folder);
  return code;
}
