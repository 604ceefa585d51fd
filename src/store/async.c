/*
 * The happy path: the caller's thread checks and encodes the event, hangs it into the queue and goes on. The
 * thread takes everything that hangs there, up to a commit's worth, gives it the present time (the append happens
 * now), commits it as one batch through the same group commit as everybody, and calls back in order.
 *
 * A batch that does not fit is split, down to single events, so that the first ones get the room there is; every
 * other failure is the failure of each event in it. The thread ends in sl_close, when the queue is empty.
 */
#include "store/async.h"

#include "base/clock.h"
#include "format/record.h"
#include "index/index.h"
#include "store/append.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_BYTES (1u << 20)
#define BATCH_EVENTS 4096u

typedef struct item {
  struct item *next;
  sl_append_fn *fn;
  void *arg;
  bool relaxed, renumber;
  uint32_t len;
  uint8_t record[]; /* framed */
} item;

struct sl_async {
  pthread_mutex_t lock;
  pthread_cond_t more, decided_some;
  pthread_t thread;
  bool running, stopping;
  item *first, **last;
  uint64_t bytes;          /* taken and not decided */
  uint64_t taken, decided;
};

sl_async *async_new(void) {
  sl_async *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  pthread_mutex_init(&a->lock, NULL);
  pthread_condattr_t attr;
  pthread_cond_init(&a->more, NULL);
  pthread_condattr_init(&attr);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a timeout that the wall clock does not move */
#endif
  pthread_cond_init(&a->decided_some, &attr);
  pthread_condattr_destroy(&attr);
  a->last = &a->first;
  return a;
}

/* -------------------------------------------------------------- the thread --- */

/* Takes the front of the queue: a list of *count events. NULL: it is empty, and the store is being closed. */
static item *take(sl_async *a, size_t *count) {
  size_t bytes = 0;
  *count = 0;
  pthread_mutex_lock(&a->lock);
  while (!a->first && !a->stopping) pthread_cond_wait(&a->more, &a->lock);
  item *list = a->first, **end = &a->first;
  while (*end && *count < BATCH_EVENTS && (*count == 0 || bytes + (*end)->len <= BATCH_BYTES)) {
    bytes += (*end)->len;
    ++*count;
    end = &(*end)->next;
  }
  a->first = *end;
  if (!a->first) a->last = &a->first;
  if (*count) *end = NULL;
  pthread_mutex_unlock(&a->lock);
  return *count ? list : NULL;
}

static item *behind(item *list, size_t count) {
  while (count-- > 0) list = list->next;
  return list;
}

static void decide(sl_async *a, item *list, size_t count, sl_status status, uint64_t first_seq) {
  char detail[1024] = ""; /* a callback's own calls change this thread's */
  if (status != SL_OK) snprintf(detail, sizeof detail, "%s", sl_last_detail());
  for (size_t i = 0; i < count; i++, list = list->next) {
    if (list->fn) list->fn(list->arg, status, status == SL_OK ? first_seq + i : 0, detail);
    pthread_mutex_lock(&a->lock);
    a->bytes -= list->len;
    a->decided++;
    pthread_cond_broadcast(&a->decided_some);
    pthread_mutex_unlock(&a->lock);
  }
}

static void commit(sl_store *store, item *list, size_t count, sl_buf *bytes) {
  group_batch batch = {.count = (uint32_t)count, .now_us = sl_clock_wall_us(), .relaxed = true};
  uint64_t first_seq = 0;
  sl_buf_reset(bytes);
  item *at = list;
  for (size_t i = 0; i < count; i++, at = at->next) {
    const size_t start = bytes->len;
    sl_buf_append(bytes, at->record, at->len);
    if (!bytes->failed) sl_record_set_appended(bytes->data + start + 4, at->len - 4, batch.now_us);
    batch.relaxed &= at->relaxed;
    batch.renumber |= at->renumber;
  }
  batch.records = sl_buf_slice(bytes);
  sl_status status = bytes->failed ? sl_fail(SL_E_NOMEM, "out of memory for %zu events", count)
                                   : append_commit(store, &batch, &first_seq);
  if (count > 1 && (status == SL_E_FULL || status == SL_E_NOMEM || status == SL_E_TOO_LARGE)) {
    commit(store, list, count / 2, bytes);
    commit(store, behind(list, count / 2), count - count / 2, bytes);
    return;
  }
  decide(store->async, list, count, status, first_seq);
  if (status == SL_OK) index_help_append(store, first_seq, count);
}

static void *work(void *arg) {
  sl_store *store = arg;
  sl_buf bytes = {0};
  size_t count;
  for (item *list; (list = take(store->async, &count)) != NULL;) {
    commit(store, list, count, &bytes);
    for (item *next; list; list = next) {
      next = list->next;
      free(list);
    }
  }
  sl_buf_free(&bytes);
  return NULL;
}

/* With the lock held. The host's signals are not for this thread, but for those of its own faults: blocked they
 * would end the process past the host's handlers, and its report of the crash. */
static bool start(sl_store *store) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sl_async *a = store->async;
  sigset_t all, before;
  if (a->running) return true;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  a->running = pthread_create(&a->thread, NULL, work, store) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return a->running;
}

/* ----------------------------------------------------------------- callers --- */

static sl_status queue(sl_store *store, item *it) {
  sl_async *a = store->async;
  sl_status status = SL_OK;
  pthread_mutex_lock(&a->lock);
  if (a->bytes > 0 && a->bytes + it->len > store->options.async_bytes)
    status = sl_fail(SL_E_AGAIN, "%llu bytes of events wait for the disk already: try again when some are "
                     "decided, or raise async_bytes", (unsigned long long)a->bytes);
  else if (!start(store))
    status = sl_fail(SL_E_NOMEM, "no thread can be started for asynchronous appends");
  if (status == SL_OK) {
    *a->last = it;
    a->last = &it->next;
    a->bytes += it->len;
    a->taken++;
    pthread_cond_signal(&a->more);
  }
  pthread_mutex_unlock(&a->lock);
  return status;
}

sl_status sl_append_async(sl_store *store, const sl_event *event, sl_append_fn *fn, void *arg) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!event) return sl_fail(SL_E_INVALID, "event is NULL");
  sl_buf bytes = {0};
  group_batch batch;
  status = append_encode(store, event, 1, &bytes, &batch, NULL);
  item *it = status == SL_OK ? malloc(sizeof *it + bytes.len) : NULL;
  if (status == SL_OK && !it) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (it) {
    *it = (item){.fn = fn, .arg = arg, .relaxed = batch.relaxed, .renumber = batch.renumber,
                 .len = (uint32_t)bytes.len};
    memcpy(it->record, bytes.data, bytes.len);
    status = queue(store, it);
    if (status != SL_OK) free(it);
  }
  sl_buf_free(&bytes);
  return status;
}

bool async_is_callback(const sl_store *store) {
  sl_async *a = store->async;
  pthread_mutex_lock(&a->lock);
  const bool is = a->running && pthread_equal(a->thread, pthread_self());
  pthread_mutex_unlock(&a->lock);
  return is;
}

sl_status sl_append_wait(sl_store *store, int timeout_ms) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  sl_async *a = store->async;
  struct timespec until = {0};
  if (timeout_ms >= 0) {
#if defined(__APPLE__)
    const int64_t now = sl_clock_wall_us();
#else
    const int64_t now = sl_clock_monotonic_us();
#endif
    const int64_t end = now + (int64_t)timeout_ms * 1000;
    until = (struct timespec){.tv_sec = (time_t)(end / 1000000), .tv_nsec = (long)(end % 1000000) * 1000};
  }
  if (async_is_callback(store)) return sl_fail(SL_E_INVALID, "sl_append_wait in a callback would wait for itself");
  pthread_mutex_lock(&a->lock);
  const uint64_t goal = a->taken;
  int rc = 0;
  while (a->decided < goal && rc != ETIMEDOUT)
    rc = timeout_ms < 0 ? pthread_cond_wait(&a->decided_some, &a->lock)
                        : pthread_cond_timedwait(&a->decided_some, &a->lock, &until);
  const uint64_t left = a->decided < goal ? goal - a->decided : 0;
  pthread_mutex_unlock(&a->lock);
  if (left == 0) return SL_OK;
  return sl_fail(SL_TIMEOUT, "%llu asynchronous appends were not decided within %d ms; they go on",
                 (unsigned long long)left, timeout_ms);
}

void async_close(sl_store *store) {
  sl_async *a = store->async;
  if (!a) return;
  const bool ours = store_enter(store) == SL_OK;
  if (a->running && ours) {
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
  }
  for (item *at = a->first, *next; at; at = next) { /* in a forked child: the parent's */
    next = at->next;
    free(at);
  }
  if (ours) { /* in a child the thread that sleeps on them does not exist, and destroying would wait for it */
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->more);
    pthread_cond_destroy(&a->decided_some);
  }
  free(a);
}
