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
#include "power_readers.h"
#include "record.h"
#include "replay.h"
#include "tree.h"

#include "base/base.h"
#include "delivery/delivery.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4096, BIG = 9000, WORKERS = 2, HOUR = 3600 };

enum note {
  NOTE_OPENED,    /* sl_open returned for the first time */
  NOTE_EVENT,     /* seq, number of the event: acknowledged as durable */
  NOTE_RELAXED,   /* the same, relaxed */
  NOTE_SYNCED,    /* seq: everything up to here is durable from now on */
  NOTE_MAY_TRIM,  /* seq: events up to here may be gone from now on */
  NOTE_SETTLED,   /* cursor, settled events: durable */
  NOTE_CURSOR     /* the named cursor: durable */
};

static char folder[4096], path[4200];


#define TRY(call)                                                                              \
  do {                                                                                         \
    sl_status status_ = (call);                                                                \
    if (status_ != SL_OK) {                                                                    \
      fprintf(stderr, "%s: %s: %s\n", #call, sl_status_text(status_), sl_last_detail());       \
      _exit(3);                                                                                \
    }                                                                                          \
  } while (0)

/* ----------------------------------------------------------------- events --- */

/* Event n is made from n alone. Every 23rd repeats the id of an earlier one in the same topic. */
typedef struct made_event {
  sl_event event;
  char topic[16], id[24], correlation[24];
  uint8_t value[BIG];
} made_event;

static uint64_t original_of(uint64_t n) { return n % 23 == 0 && n > 3 ? n - 3 : n; }

static void make_event(uint64_t n, made_event *m) {
  uint64_t first = original_of(n);
  size_t len = n % 11 == 0 ? BIG : n * 37 % 900;
  snprintf(m->topic, sizeof m->topic, "t%d", (int)(first / 40));
  snprintf(m->id, sizeof m->id, "event-%d", (int)first);
  snprintf(m->correlation, sizeof m->correlation, "c%d", (int)(n % 10));
  for (size_t i = 0; i < len; i++) m->value[i] = (uint8_t)(n * 31 + i);
  m->event = (sl_event){.topic = sl_slice_of(m->topic), .event_id = sl_slice_of(m->id),
                        .correlation_id = sl_slice_of(m->correlation), .value = {m->value, len},
                        .occurred_at_us = (int64_t)n};
}

static bool is_event(const sl_record *r, uint64_t n) {
  static made_event m;
  make_event(n, &m);
  return r->occurred_at_us == (int64_t)n && sl_slice_eq(r->topic, m.event.topic) &&
         sl_slice_eq(r->event_id, m.event.event_id) && sl_slice_eq(r->correlation_id, m.event.correlation_id) &&
         sl_slice_eq(r->value, m.event.value);
}

/* -------------------------------------------------------------- the life --- */

static sl_store *store;
static _Atomic uint64_t *numbers; /* shared by the processes: the last number given out */

static void open_store(uint64_t quota) {
  sl_options o = {.preallocate = 100000, .quota_bytes = quota};
  TRY(sl_open(path, &o, &store));
}

static void append(unsigned flags) {
  made_event m;
  uint64_t seq, n = atomic_fetch_add(numbers, 1) + 1;
  make_event(n, &m);
  m.event.flags = flags;
  TRY(sl_append(store, &m.event, &seq));
  record_note(flags & SL_EVENT_RELAXED ? NOTE_RELAXED : NOTE_EVENT, seq, n);
}

static void append_some(unsigned count, unsigned flags) {
  while (count-- > 0) append(flags);
}

/* False: the store is full. */
static bool append_batch(size_t count, unsigned flags) {
  made_event *m = calloc(count, sizeof *m);
  sl_event *events = calloc(count, sizeof *events);
  uint64_t seq, n = atomic_fetch_add(numbers, count) + 1;
  for (size_t i = 0; i < count; i++) {
    make_event(n + i, &m[i]);
    m[i].event.flags = flags;
    events[i] = m[i].event;
  }
  sl_status status = sl_append_many(store, events, count, &seq, NULL);
  if (status != SL_E_FULL) TRY(status);
  for (size_t i = 0; status == SL_OK && i < count; i++)
    record_note(flags & SL_EVENT_RELAXED ? NOTE_RELAXED : NOTE_EVENT, seq + i, n + i);
  free(events);
  free(m);
  return status == SL_OK;
}

static void *append_thread(void *arg) {
  unsigned flags = arg ? SL_EVENT_RELAXED : 0;
  for (int i = 0; i < 10; i++) append(i % 3 == 2 ? flags : 0);
  return NULL;
}

static void append_in_threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, append_thread, i % 2 ? &threads[i] : NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void called_back(void *arg, sl_status status, uint64_t seq, const char *detail) {
  if (status != SL_OK) {
    fprintf(stderr, "asynchronous: %s: %s\n", sl_status_text(status), detail);
    _exit(3);
  }
  record_note(NOTE_EVENT, seq, (uint64_t)(uintptr_t)arg);
}

static void append_async(unsigned count) {
  made_event m;
  while (count-- > 0) {
    const uint64_t n = atomic_fetch_add(numbers, 1) + 1;
    make_event(n, &m);
    TRY(sl_append_async(store, &m.event, called_back, (void *)(uintptr_t)n));
  }
  TRY(sl_append_wait(store, -1));
}

/* The store must not be open here. */
static void append_in_processes(void) {
  pid_t pids[3];
  for (int i = 0; i < 3; i++) {
    pids[i] = fork();
    if (pids[i] != 0) continue;
    open_store(0);
    append_some(12, 0);
    if (i == 2) append_batch(20, 0); /* larger than a slot */
    sl_close(store);
    _exit(0);
  }
  for (int i = 0; i < 3; i++) {
    int code;
    waitpid(pids[i], &code, 0);
    if (code != 0) _exit(3);
  }
}

typedef enum outcome { SETTLE, ABANDON, LEAVE_OPEN } outcome;

static const char *sick; /* the topic that has a lane; NULL: none, and the one that is open is emptied */

/* The events that wait in the lane, sent now. */
static size_t drain_lane(const sl_lane *lane, uint64_t cursor, delivery_verdict *v) {
  sl_iter *iter;
  const sl_record *r;
  size_t count = 0;
  const sl_query q = {.first_seq = lane->seq + 1, .last_seq = cursor, .topic = lane->topic};
  if (lane->seq >= cursor) return 0;
  TRY(sl_iter_start(store, &q, &iter));
  while (sl_iter_next(iter, &r) == SL_OK) {
    v[count] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .place = r->occurred_at_us};
    if (r->duplicate_of) {
      v[count].verdict = SL_VERDICT_DUPLICATE;
      v[count].place = (int64_t)r->duplicate_of;
    }
    count++;
  }
  sl_iter_close(iter);
  return count;
}

/* Delivers up to `most` waiting events, each to the offset that is its number. */
static void deliver(size_t most, outcome end) {
  static delivery_verdict v[MOST], waited[MOST];
  static sl_letter letters[MOST];
  sl_delivery *d;
  sl_iter *iter;
  const sl_record *r;
  size_t count = 0;
  uint64_t reached;
  TRY(sl_index_advance(store, 0, &reached));
  TRY(delivery_open(store, &d));
  const delivery_state *s = delivery_state_get(d);
  if (s->has_intent) TRY(delivery_abandon(d));
  const sl_query waiting = {.first_seq = s->cursor.seq + 1, .last_seq = reached, .limit = most};
  delivery_attempt a = {.progress = s->cursor, .verdicts = v, .lane_verdicts = waited, .marked = true};
  a.progress.attempt = s->last_attempt + 1;
  sl_lane lane = {.topic = sick ? sl_slice_of(sick) : (sl_slice){0}, .seq = s->cursor.seq};
  if (s->cursor.lane_count > 0) lane.seq = s->cursor.lanes[0].seq;
  if (s->cursor.lane_count > 0 && !sick) a.lane_count = drain_lane(&s->cursor.lanes[0], s->cursor.seq, waited);
  a.progress.lanes = &lane;
  a.progress.lane_count = sick != NULL;
  if (reached > s->cursor.seq) {
    TRY(sl_iter_start(store, &waiting, &iter));
    while (sl_iter_next(iter, &r) == SL_OK) {
      v[count] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .place = r->occurred_at_us};
      letters[count] = (sl_letter){.seq = r->seq, .attempt = a.progress.attempt, .first_failure_us = 1,
                                   .last_failure_us = 1, .attempts = 1, .error_class = SL_STR("C"),
                                   .error_code = SL_STR("E"), .topic = SL_STR("t")};
      if (sick && sl_slice_eq(r->topic, sl_slice_of(sick))) {
        v[count].verdict = SL_VERDICT_LANE;
      } else if (r->duplicate_of) {
        v[count].verdict = SL_VERDICT_DUPLICATE;
        v[count].place = (int64_t)r->duplicate_of;
      } else if (r->occurred_at_us % 29 == 0) {
        v[count].verdict = SL_VERDICT_DEAD;
        v[count].letter = &letters[count];
      }
      a.progress.seq = r->seq;
      count++;
    }
    sl_iter_close(iter);
  }
  a.count = count;
  TRY(delivery_intent(d, &a));
  if (end == SETTLE) TRY(delivery_settle(d));
  if (end == ABANDON) TRY(delivery_abandon(d));
  s = delivery_state_get(d);
  record_note(NOTE_SETTLED, s->cursor.seq, s->delivered + s->duplicates + s->dead + s->dropped);
  delivery_close(d);
}

static void trim(uint64_t keep) {
  sl_stats s;
  TRY(sl_stats_get(store, &s));
  record_note(NOTE_MAY_TRIM, s.delivery_seq, 0);
  TRY(sl_trim(store, &(sl_trim_policy){.max_events = keep}, NULL));
}

static void sync_all(void) {
  sl_stats s;
  TRY(sl_stats_get(store, &s));
  TRY(sl_sync(store));
  record_note(NOTE_SYNCED, s.last_seq, 0);
}

static atomic_bool over;
static void *deliver_thread(void *arg) {
  (void)arg;
  for (int i = 0; !atomic_load(&over); i++) {
    deliver(40, i % 4 == 3 ? ABANDON : SETTLE);
    if (i % 5 == 4) trim(30);
  }
  return NULL;
}

static void append_beside_delivery(void) {
  pthread_t agent, producer;
  pthread_create(&agent, NULL, deliver_thread, NULL);
  pthread_create(&producer, NULL, append_thread, &agent);
  append_some(40, 0);
  pthread_join(producer, NULL);
  atomic_store(&over, true);
  pthread_join(agent, NULL);
}

/* A process that has nothing open looks at the files that LMDB locks. */
static void look_at_locks(void) {
  pid_t pid = fork();
  if (pid == 0) {
    record_locks();
    _exit(0);
  }
  waitpid(pid, NULL, 0);
}

static void fill_quota(void) {
  sl_close(store);
  open_store(1u << 20);
  while (append_batch(40, 0)) {}
  sl_close(store);
  open_store(64u << 20);
}

static void live(void) {
  open_store(0);
  record_note(NOTE_OPENED, 0, 0);
  append_some(12, 0);
  append_batch(30, 0);
  deliver(25, SETTLE);
  append_some(6, 0);
  deliver(100, ABANDON);
  append_some(8, SL_EVENT_RELAXED);
  append_batch(5, SL_EVENT_RELAXED);
  look_at_locks();
  deliver(30, SETTLE); /* passes relaxed events */
  append_some(3, SL_EVENT_RELAXED);
  sync_all();
  append_some(2, SL_EVENT_RELAXED);
  TRY(readers_live(store) ? SL_OK : SL_E_IO);
  append_some(4, 0);
  append_in_threads();
  append_async(20);
  sick = "t2";
  deliver(1000, LEAVE_OPEN);
  record_move_clock(INT64_C(2000000) * HOUR);
  append_some(4, 0);
  record_move_clock(-INT64_C(2000000) * HOUR);
  append_some(4, 0);
  deliver(1000, SETTLE);
  trim(40);
  append_some(10, 0);
  TRY(sl_reindex(store));
  TRY(sl_cursor_set(store, "reader", 50));
  record_note(NOTE_CURSOR, 50, 0);
  append_batch(12, 0);
  append_some(2, SL_EVENT_RELAXED);
  TRY(readers_live(store) ? SL_OK : SL_E_IO); /* behind a trim; passes relaxed events */
  sl_close(store);
  TRY(sl_compact(path, NULL, NULL)); /* with a lane in the book */
  append_in_processes();
  open_store(0);
  look_at_locks();
  deliver(1000, SETTLE);
  sick = NULL;
  deliver(1000, ABANDON); /* the lane is empty, and is not */
  deliver(1000, SETTLE);
  append_beside_delivery();
  append_batch(60, 0);
  fill_quota();
  append_some(6, 0);
  trim(60);
  sl_close(store);
  TRY(sl_compact(path, NULL, NULL));
  open_store(0);
  append_some(3, 0);
  sl_close(store);
  _exit(0);
}

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

static bool check_events(sl_store *s, const promises *p, const sl_stats *stats) {
  sl_iter *iter;
  const sl_record *r;
  sl_status status;
  uint64_t next = 0;
  MUST(sl_iter_start(s, NULL, &iter) == SL_OK, "no iterator");
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    MUST(r->seq < MOST && number_of[r->seq], "event %" PRIu64 " was never appended", r->seq);
    MUST(is_event(r, number_of[r->seq]), "event %" PRIu64 " is not the one that got this seq", r->seq);
    if (next == 0) {
      MUST(r->seq <= p->may_trim + 1, "the log begins at %" PRIu64 ", of which nobody trimmed", r->seq);
    } else {
      MUST(r->seq == next, "%" PRIu64 " comes after %" PRIu64, r->seq, next - 1);
    }
    next = r->seq + 1;
    if (r->state == SL_SENT)
      MUST(r->offset == r->occurred_at_us, "event %" PRIu64 " has the receipt of another one", r->seq);
    if (r->state == SL_DUPLICATE)
      MUST(original_of(number_of[r->seq]) != number_of[r->seq], "event %" PRIu64 " is no duplicate", r->seq);
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
    store = s;
    deliver(MOST, SETTLE);
    TRY(sl_trim(s, &(sl_trim_policy){.max_events = 5}, NULL));
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
  numbers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (numbers == MAP_FAILED || !record_begin(path)) return false;
  pid_t pid = fork();
  int code;
  if (pid == 0) live();
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
