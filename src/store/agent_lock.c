/* The agent's lock: delivery/agent.lock, holding "pid since_us", and "settles" behind it where that is a producer.
 *
 * flock() and not fcntl(F_SETLK): a flock belongs to its open file, so a probe from the agent's own process opens
 * the file anew, finds it locked, and its close() does not drop the agent's lock, as it would with POSIX record
 * locks. Both Linux and macOS have it, and it dies with the process. A probe holds a shared lock for some
 * microseconds when no agent is there; an agent that starts just then tries again for a while before it believes
 * that another one is running. For a producer that settles it waits longer: that is one commit of delivery/, on a
 * card that may be busy. */
#include "store/agent_lock.h"
#include "base/clock.h"
#include "store/store_fs.h"
#include "store/store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_FILE "delivery/agent.lock"
#define REPORT_FILE "delivery/agent.json"
#define LOCK_PATIENCE_US 200000
#define SETTLE_PATIENCE_US 10000000

static void nap(void) {
  const struct timespec ms = {0, 1000000};
  nanosleep(&ms, NULL);
}

typedef struct holder {
  int64_t pid, since_us; /* 0: it has not yet said who it is */
  bool settles;
} holder;

static holder read_holder(int fd) {
  char text[80] = {0}, word[16] = {0};
  holder h = {0};
  if (pread(fd, text, sizeof text - 1, 0) > 0 &&
      sscanf(text, "%" SCNd64 " %" SCNd64 " %15s", &h.pid, &h.since_us, word) < 2) return (holder){0};
  h.settles = strcmp(word, "settles") == 0;
  return h;
}

static sl_status busy(const sl_store *store, const holder *h) {
  const time_t seconds = (time_t)(h->since_us / 1000000);
  struct tm tm;
  char when[32] = "an unknown time";
  if (h->since_us > 0 && gmtime_r(&seconds, &tm)) strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (h->settles)
    return sl_fail(SL_E_BUSY, "a producer (pid %" PRId64 ", since %s) settles events that the full store at %s "
                   "dropped, and has written nothing for %d seconds: see whether it is stopped", h->pid, when,
                   store->path, SETTLE_PATIENCE_US / 1000000);
  return sl_fail(SL_E_BUSY, "another agent (pid %" PRId64 ", since %s) delivers from %s: a store has one agent; "
                 "stop that one first", h->pid, when, store->path);
}

/* Waits for the lock: a moment for a probe, longer for producers that settle, one after the other perhaps. */
static sl_status wait_for(const sl_store *store, int fd, const char *path, agent_role role) {
  static const char *const worked_on[] = {LOCK_FILE, "delivery/data.mdb"};
  const int64_t begun = sl_clock_monotonic_us();
  int64_t seen_us = begun;
  uint64_t before = 0;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return sl_fail(sl_status_of_errno(errno), "cannot lock %s: %s", path, strerror(errno));
    const uint64_t pulse = store_lock_pulse(store->root, worked_on, sizeof worked_on / sizeof *worked_on);
    const int64_t now = sl_clock_monotonic_us();
    const holder h = read_holder(fd);
    if (pulse != before) seen_us = now;
    before = pulse;
    const bool patient = h.settles && role == AGENT_DELIVERS;
    if (patient ? now - seen_us > SETTLE_PATIENCE_US : now - begun > LOCK_PATIENCE_US) return busy(store, &h);
    nap();
  }
  return SL_OK;
}

sl_status agent_lock(sl_store *store, agent_role role, int *out) {
  char *path = store_path(store, LOCK_FILE), text[80];
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = store_fs_open_file(store, path, O_RDWR);
  sl_status status = fd >= 0 ? wait_for(store, fd, path, role)
                             : sl_fail(sl_status_of_errno(errno), "cannot open %s: %s", path, strerror(errno));
  if (status == SL_OK) {
    const int len = snprintf(text, sizeof text, "%ld %" PRId64 "%s\n", (long)getpid(), sl_clock_wall_us(),
                             role == AGENT_SETTLES ? " settles" : "");
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
      status = sl_fail(sl_status_of_errno(errno), "cannot write %s: %s", path, strerror(errno));
  }
  free(path);
  if (status == SL_OK) *out = fd;
  else if (fd >= 0) close(fd);
  return status;
}

void agent_unlock(int fd) {
  if (fd < 0) return;
  /* Unlocked by name, not by close alone: a child forked meanwhile shares the open file. */
  flock(fd, LOCK_UN);
  close(fd);
}

bool agent_lock_held(sl_store *store) {
  char *path = store_path(store, LOCK_FILE);
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  free(path);
  if (fd < 0) return false;
  const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  agent_unlock(fd); /* by name: a child forked just now shares it */
  return held;
}

sl_status sl_agent_alive(sl_store *store, int64_t *pid, int64_t *since_us) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  char *path = store_path(store, LOCK_FILE);
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) status = sl_fail(SL_NOTFOUND, "no agent ever ran on %s", store->path);
    else status = sl_fail(sl_status_of_errno(errno), "cannot open %s: %s", path, strerror(errno));
    free(path);
    return status;
  }
  const int64_t until = sl_clock_monotonic_us() + LOCK_PATIENCE_US;
  holder h = {0};
  for (;;) {
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
      flock(fd, LOCK_UN);
      h.settles = true; /* nobody, as good as a producer */
      break;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) {
      status = sl_fail(sl_status_of_errno(errno), "cannot probe %s: %s", path, strerror(errno));
      break;
    }
    h = read_holder(fd);
    if (h.pid > 0 || sl_clock_monotonic_us() > until) break; /* else it has not yet said who it is */
    nap();
  }
  close(fd);
  free(path);
  if (status == SL_OK && h.settles) status = sl_fail(SL_NOTFOUND, "no agent runs on %s", store->path);
  if (status != SL_OK) return status;
  if (pid) *pid = h.pid;
  if (since_us) *since_us = h.since_us;
  return SL_OK;
}

/* ---------------------------------------------------------------- report --- */

sl_status agent_report_set(sl_store *store, sl_slice json) {
  char *path = store_path(store, REPORT_FILE), *next = store_path(store, REPORT_FILE ".new");
  sl_status status = SL_OK;
  int fd = -1;
  if (!path || !next) {
    status = sl_fail(SL_E_NOMEM, "out of memory");
    goto out;
  }
  fd = store_fs_open_file(store, next, O_WRONLY | O_TRUNC);
  if (fd < 0) {
    status = sl_fail(sl_status_of_errno(errno), "cannot write %s: %s", next, strerror(errno));
    goto out;
  }
  const uint8_t *data = json.data;
  for (size_t done = 0; done < json.len;) {
    const ssize_t wrote = write(fd, data + done, json.len - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      status = sl_fail(sl_status_of_errno(wrote < 0 ? errno : ENOSPC), "cannot write %s: %s", next,
                       strerror(wrote < 0 ? errno : ENOSPC));
      goto out;
    }
    done += (size_t)wrote;
  }
  if (rename(next, path) != 0)
    status = sl_fail(sl_status_of_errno(errno), "cannot replace %s: %s", path, strerror(errno));
out:
  if (fd >= 0) close(fd);
  free(path);
  free(next);
  return status;
}

sl_status sl_agent_report(sl_store *store, char *json, size_t cap, size_t *len) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!json && cap) return sl_fail(SL_E_INVALID, "json is NULL but cap is not 0");
  char *path = store_path(store, REPORT_FILE);
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    if (fd < 0 && errno == ENOENT) status = sl_fail(SL_NOTFOUND, "no agent ever ran on %s", store->path);
    else status = sl_fail(sl_status_of_errno(errno), "cannot read %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    free(path);
    return status;
  }
  const size_t whole = (size_t)st.st_size, wanted = whole < cap ? whole : cap;
  size_t done = 0;
  while (done < wanted) {
    const ssize_t got = read(fd, json + done, wanted - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      status = sl_fail(SL_E_IO, "cannot read %s: %s", path, got < 0 ? strerror(errno) : "it is cut short");
      break;
    }
    done += (size_t)got;
  }
  close(fd);
  free(path);
  if (status != SL_OK) return status;
  if (whole < cap) json[whole] = '\0';
  if (len) *len = whole;
  return SL_OK;
}
