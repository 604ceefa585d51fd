#include "power_life.h"

#include "power_readers.h"
#include "record.h"

#include "base/base.h"
#include "delivery/delivery.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = POWER_EVENTS_MOST, BIG = 9000, HOUR = 3600 };

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

uint64_t power_original_of(uint64_t n) { return n % 23 == 0 && n > 3 ? n - 3 : n; }

static void make_event(uint64_t n, made_event *m) {
  uint64_t first = power_original_of(n);
  size_t len = n % 11 == 0 ? BIG : n * 37 % 900;
  snprintf(m->topic, sizeof m->topic, "t%d", (int)(first / 40));
  snprintf(m->id, sizeof m->id, "event-%d", (int)first);
  snprintf(m->correlation, sizeof m->correlation, "c%d", (int)(n % 10));
  for (size_t i = 0; i < len; i++) m->value[i] = (uint8_t)(n * 31 + i);
  m->event = (sl_event){.topic = sl_slice_of(m->topic), .event_id = sl_slice_of(m->id),
                        .correlation_id = sl_slice_of(m->correlation), .value = {m->value, len},
                        .occurred_at_us = (int64_t)n};
}

bool power_is_event(const sl_record *r, uint64_t n) {
  static made_event m;
  make_event(n, &m);
  return r->occurred_at_us == (int64_t)n && sl_slice_eq(r->topic, m.event.topic) &&
         sl_slice_eq(r->event_id, m.event.event_id) && sl_slice_eq(r->correlation_id, m.event.correlation_id) &&
         sl_slice_eq(r->value, m.event.value);
}

/* -------------------------------------------------------------- the life --- */

static sl_store *store;
static const char *path;
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

void power_live(const char *at, _Atomic uint64_t *shared) {
  path = at;
  numbers = shared;
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

void power_live_on(sl_store *s) {
  store = s;
  deliver(MOST, SETTLE);
  TRY(sl_trim(s, &(sl_trim_policy){.max_events = 5}, NULL));
}
