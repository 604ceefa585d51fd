/*
 * readers/NAME.lock: held with flock by the process that has the reader open. Its first bytes say who and since
 * when, as text; from OWNER on which reader had what follows in hand, by its number, and the commit that counts
 * its crash; from HEAD on come slots of 8 bytes, each the seq of an event in hand, or 0.
 *
 * A slot is written when its event is handed out and cleared when it is decided, without a flush: it is for the
 * next opener after a kill, which leaves what is in the page cache. After a power cut the slots may be old:
 * those of events that were decided since are passed over by who reads them (reader_commit.c).
 */
#include "base/clock.h"
#include "db/db_file.h"
#include "readers/readers.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWNER 40
#define HEAD 64
#define PATIENCE_US 200000 /* who only asks whether it is held (readers_holder) holds it for a moment */
#define SLOTS_MOST 10000u

static char *lock_path(sl_store *store, const char *name) {
  char file[160];
  snprintf(file, sizeof file, "readers/%s.lock", name);
  return store_path(store, file);
}

static void read_head(int fd, int64_t *pid, int64_t *since_us) {
  char text[OWNER + 1] = {0};
  *pid = *since_us = 0;
  if (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%" SCNd64 " %" SCNd64, pid, since_us) < 2)
    *pid = *since_us = 0;
}

sl_status readers_lock(sl_store *store, const char *name, int *out) {
  char *path = lock_path(store, name), text[OWNER + 1];
  if (!path) return sl_fail(SL_E_NOMEM, "out of memory");
  const int fd = store_fs_open_file(store, path, O_RDWR);
  sl_status status = fd >= 0 ? SL_OK : sl_fail(sl_status_of_errno(errno), "cannot open %s: %s", path,
                                               strerror(errno));
  const int64_t until = sl_clock_monotonic_us() + PATIENCE_US;
  int rc = 0;
  while (status == SL_OK && (rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && (errno == EINTR || errno == EWOULDBLOCK)) {
    const struct timespec ms = {0, 1000000};
    if (sl_clock_monotonic_us() > until) break;
    nanosleep(&ms, NULL);
    errno = EWOULDBLOCK;
  }
  if (rc != 0 && errno == EWOULDBLOCK) {
    int64_t pid, since_us;
    read_head(fd, &pid, &since_us);
    status = sl_fail(SL_E_BUSY,
                     "reader %s is open already, in process %" PRId64 ": a reader is open once on a host", name,
                     pid);
  } else if (rc != 0) {
    status = sl_fail(sl_status_of_errno(errno), "cannot lock %s: %s", path, strerror(errno));
  }
  if (status == SL_OK) {
    char who[OWNER];
    snprintf(who, sizeof who, "%ld %" PRId64, (long)getpid(), sl_clock_wall_us());
    snprintf(text, sizeof text, "%-*s\n", OWNER - 1, who);
    if (pwrite(fd, text, OWNER, 0) != OWNER)
      status = sl_fail(sl_status_of_errno(errno), "cannot write %s: %s", path, strerror(errno));
  }
  free(path);
  if (status == SL_OK) *out = fd;
  else if (fd >= 0) close(fd);
  return status;
}

void readers_unlock(int fd) {
  if (fd < 0) return;
  flock(fd, LOCK_UN); /* by name: a child forked meanwhile shares the open file */
  close(fd);
}

void readers_holder(sl_store *store, const char *name, int64_t *pid, int64_t *since_us) {
  char *path = lock_path(store, name);
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  free(path);
  *pid = *since_us = 0;
  if (fd < 0) return;
  if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) read_head(fd, pid, since_us);
  readers_unlock(fd);
}

/* ------------------------------------------------------------------ hand --- */

void readers_hand_put(int fd, uint32_t slot, uint64_t seq) {
  const ssize_t ignored = pwrite(fd, &seq, sizeof seq, HEAD + (off_t)slot * 8);
  (void)ignored;
}

sl_status readers_hand_get(int fd, readers_hand *hand) {
  struct stat st;
  char text[HEAD - OWNER + 1] = {0};
  *hand = (readers_hand){0};
  if (fstat(fd, &st) != 0 || st.st_size <= HEAD) return SL_OK;
  size_t slots = (size_t)(st.st_size - HEAD) / 8;
  if (slots > SLOTS_MOST) slots = SLOTS_MOST;
  if (pread(fd, text, sizeof text - 1, OWNER) <= 0 ||
      sscanf(text, "%" SCNu32 " %" SCNu64, &hand->reader, &hand->judged_by) < 2)
    hand->reader = 0, hand->judged_by = 0;
  uint64_t *found = malloc((slots + 1) * sizeof *found);
  if (!found) return sl_fail(SL_E_NOMEM, "out of memory");
  const ssize_t got = pread(fd, found, slots * 8, HEAD);
  for (ssize_t i = 0; i < got / 8; i++)
    if (found[i]) found[hand->count++] = found[i];
  hand->seqs = found;
  return SL_OK;
}

static void write_owner(int fd, uint32_t reader, uint64_t commit) {
  char text[HEAD - OWNER + 1], both[HEAD - OWNER + 16];
  snprintf(both, sizeof both, "%" PRIu32 " %" PRIu64, reader, commit);
  snprintf(text, sizeof text, "%-*.*s\n", HEAD - OWNER - 1, HEAD - OWNER - 1, both);
  const ssize_t ignored = pwrite(fd, text, HEAD - OWNER, OWNER);
  (void)ignored;
}

void readers_hand_judge(int fd, uint32_t reader, uint64_t commit) {
  write_owner(fd, reader, commit);
  (void)db_file_flush(fd);
}

void readers_hand_own(int fd, uint32_t reader) { write_owner(fd, reader, 0); }

void readers_hand_clear(int fd) {
  const int ignored = ftruncate(fd, OWNER);
  (void)ignored;
}
