/*
 * The happy path: take a watcher, empty its queue, look at the log, sleep until the kernel reports a write to
 * data.mdb, look again. What came before the look is seen by the look, what comes after it wakes the sleep,
 * so nothing falls between.
 *
 * One thing does fall between: LMDB writes its meta page (the last write of a commit, the one the kernel
 * reports) a moment before it publishes the transaction's number to readers. A waiter that is very quick
 * looks too early, sees nothing new, and no further report comes. So a report without a new event is followed
 * by a few short sleeps, and no sleep is longer than a second.
 *
 * Each waiting thread has a watcher of its own (two threads at one queue take each other's reports); a few
 * are kept, because the kernel allows a user only some 128. Where there is none: a poll, backing off to 20 ms.
 */
#include "store/wait.h"

#include "base/clock.h"
#include "store/log_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/inotify.h>
#endif

#define KEPT_MAX 4
#define SLEEP_MAX_US 1000000
#define REPORT_FIRST_US 25
#define POLL_FIRST_US 200
#define POLL_MAX_US 20000

struct sl_waiters {
  pthread_mutex_t lock;
  int kept[KEPT_MAX];
  int count;
};

sl_waiters *wait_open(void) {
  sl_waiters *w = calloc(1, sizeof *w);
  if (w) pthread_mutex_init(&w->lock, NULL);
  return w;
}

void wait_close(sl_waiters *w) {
  if (!w) return;
  while (w->count > 0) close(w->kept[--w->count]);
  pthread_mutex_destroy(&w->lock);
  free(w);
}

/* A watcher of the data file, or -1. */
static int take(sl_store *store) {
  sl_waiters *w = store->wait;
  int fd = -1;
  pthread_mutex_lock(&w->lock);
  if (w->count > 0) fd = w->kept[--w->count];
  pthread_mutex_unlock(&w->lock);
  if (fd >= 0) return fd;
#if defined(__linux__)
  char *path = store_path(store, "log/data.mdb");
  fd = path ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
  if (fd >= 0 && inotify_add_watch(fd, path, IN_MODIFY) < 0) {
    close(fd);
    fd = -1;
  }
  free(path);
#endif
  return fd;
}

static void give_back(sl_store *store, int fd) {
  sl_waiters *w = store->wait;
  if (fd < 0) return;
  pthread_mutex_lock(&w->lock);
  bool keep = w->count < KEPT_MAX;
  if (keep) w->kept[w->count++] = fd;
  pthread_mutex_unlock(&w->lock);
  if (!keep) close(fd);
}

static void drain(int fd) {
  char reports[4096];
  while (fd >= 0 && read(fd, reports, sizeof reports) > 0) continue;
}

/* Sleeps at most `us`. True if the kernel reported a write. */
static bool sleep_on(int fd, int64_t us) {
  const struct timespec ts = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
  if (fd < 0) {
    nanosleep(&ts, NULL);
    return false;
  }
#if defined(__linux__)
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return ppoll(&p, 1, &ts, NULL) > 0;
#else
  return false;
#endif
}

sl_status sl_wait(sl_store *store, uint64_t after, int timeout_ms, uint64_t *last_seq) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  int64_t end = timeout_ms < 0 ? INT64_MAX : sl_clock_monotonic_us() + (int64_t)timeout_ms * 1000;
  uint64_t last = 0;
  status = log_last_seq(store, &last);
  if (status == SL_OK && last <= after && timeout_ms != 0) {
    int fd = take(store);
    int64_t nap = fd < 0 ? POLL_FIRST_US : SLEEP_MAX_US;
    for (;;) {
      drain(fd);
      status = log_last_seq(store, &last);
      int64_t left = end - sl_clock_monotonic_us();
      if (status != SL_OK || last > after || left <= 0) break;
      if (sleep_on(fd, nap < left ? nap : left)) nap = REPORT_FIRST_US; /* in case the look comes too early */
      else if (fd < 0) nap = nap * 2 < POLL_MAX_US ? nap * 2 : POLL_MAX_US;
      else nap = nap * 2 < SLEEP_MAX_US ? nap * 2 : SLEEP_MAX_US;
    }
    give_back(store, fd);
  }
  if (status != SL_OK) return status;
  if (last_seq) *last_seq = last;
  if (last > after) return SL_OK;
  return sl_fail(SL_TIMEOUT, "no event above %" PRIu64 " came within %d ms", after, timeout_ms);
}
