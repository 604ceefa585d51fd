/*
 * A disk that is full of the store itself, and has a ballast: appends fail, and yet what is there can be indexed,
 * delivered and trimmed, and then appends go on; compacted, the store has a ballast for the next time.
 *
 *   ballast   exits with 77 (skipped) where nothing can be mounted
 */
#include "base/base.h"
#include "delivery/delivery.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 20, STEP = 500, ROUNDS = 4 };

static sl_store *store;
static char path[4200];

#define MUST(condition, ...)                         \
  do {                                               \
    if (!(condition)) {                              \
      fprintf(stderr, "round %d: ", round);          \
      fprintf(stderr, __VA_ARGS__);                  \
      fprintf(stderr, " (%s)\n", sl_last_detail());  \
      return false;                                  \
    }                                                \
  } while (0)

static sl_status append(size_t count, size_t len) {
  static uint8_t value[1000];
  sl_event events[BATCH];
  for (size_t i = 0; i < count; i++) events[i] = (sl_event){.topic = SL_STR("t"), .value = SL_BYTES(value, len)};
  return sl_append_many(store, events, count, NULL, NULL);
}

static sl_status fill_up(uint64_t *stored) {
  sl_status status;
  *stored = 0;
  /* The index is kept up to date, as queries and an agent do, for as long as the disk lets it. */
  while ((status = append(BATCH, 1000)) == SL_OK) {
    *stored += BATCH;
    if (*stored % STEP == 0 && (status = sl_index_advance(store, 0, NULL)) != SL_OK) break;
  }
  if (status != SL_E_FULL) return status;
  while ((status = append(1, 10)) == SL_OK) ++*stored;
  return status;
}

static sl_status deliver(void) {
  static delivery_verdict v[STEP];
  sl_delivery *d;
  sl_stats s;
  sl_status status = delivery_open(store, &d);
  if (status != SL_OK) return status;
  status = sl_stats_get(store, &s);
  while (status == SL_OK && delivery_state_get(d)->cursor.seq < s.indexed_seq) {
    delivery_attempt a = {.progress = delivery_state_get(d)->cursor, .verdicts = v, .marked = true};
    a.progress.attempt = delivery_state_get(d)->last_attempt + 1;
    while (a.count < STEP && a.progress.seq < s.indexed_seq)
      v[a.count++] = (delivery_verdict){.seq = ++a.progress.seq, .verdict = SL_VERDICT_SENT, .place = 1};
    status = delivery_intent(d, &a);
    if (status == SL_OK) status = delivery_settle(d);
  }
  delivery_close(d);
  return status;
}

static bool live(void) {
  for (int round = 1; round <= ROUNDS; round++) {
    uint64_t stored;
    MUST(fill_up(&stored) == SL_E_FULL, "a full disk is not called full");
    MUST(stored > 500, "only %" PRIu64 " events found room", stored);
    sl_status status = SL_OK;
    for (uint64_t last = 0, mark = 0; status == SL_OK; last = mark) {
      status = sl_index_advance(store, STEP, &mark);
      if (status == SL_OK && mark == last) break;
    }
    MUST(status == SL_OK, "the index cannot go on: %s", sl_status_text(status));
    status = deliver();
    MUST(status == SL_OK, "nothing can be delivered: %s", sl_status_text(status));
    sl_trim_result trimmed;
    status = sl_trim(store, &(sl_trim_policy){.max_events = 100}, &trimmed);
    MUST(status == SL_OK && trimmed.removed > 500, "nothing can be trimmed: %s", sl_status_text(status));
    sl_stats s;
    sl_verify_report report;
    MUST(sl_stats_get(store, &s) == SL_OK && s.balanced && s.pending == 0, "the law does not hold");
    MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "the store is not sound");
    MUST(append(BATCH, 1000) == SL_OK, "there is no room after a trim");
    /* The log's file keeps what it has of the disk, and with it the ballast away: compacting gives both back. */
    const uint64_t without = s.bytes_reserved;
    sl_compact_result compacted;
    sl_close(store);
    store = NULL;
    MUST(sl_compact(path, NULL, &compacted) == SL_OK, "it cannot be compacted");
    MUST(sl_open(path, NULL, &store) == SL_OK && sl_stats_get(store, &s) == SL_OK, "it does not open again");
    MUST(s.bytes_reserved == without + (1u << 20), "the ballast is not back");
    printf("round %d: %" PRIu64 " stored, %" PRIu64 " trimmed, %" PRIu64 " bytes compacted to %" PRIu64 "\n",
           round, stored,
           trimmed.removed, compacted.bytes_before, compacted.bytes_after);
  }
  return true;
}

static bool write_text(const char *file, const char *text) {
  int fd = open(file, O_WRONLY);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0) close(fd);
  return ok;
}

/* Mounts of our own, which end with us. */
static bool own_mounts(void) {
  char map[64];
  snprintf(map, sizeof map, "0 %u 1", (unsigned)geteuid());
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map)) return false;
  }
  return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void) {
  char folder[4096];
  const char *tmp = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/sidelog-ballast.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store", folder);
  int code = 77;
  if (!own_mounts() || mount("none", folder, "tmpfs", 0, "size=32m") != 0) {
    printf("skipped: nothing can be mounted here: %s\n", strerror(errno));
  } else {
    const sl_options options = {.preallocate = SL_NONE};
    sl_status status = sl_open(path, &options, &store);
    code = status == SL_OK && live() ? 0 : 1;
    sl_close(store);
    umount(folder);
  }
  (void)rmdir(folder);
  return code;
}
