/*
 * Disks that fill. On a file system of a few megabytes of its own (tmpfs, and ext4 through a loop device) a store
 * lives - appends small and large, indexes, delivers, trims, is closed and opened - while a filler leaves it more
 * and more room, block by block, up to where nothing fails any more. What does not find room says SL_E_FULL;
 * everything acknowledged stays readable; and when the filler is gone everything works, and the store is sound.
 * The same with a quota in place of the disk's end.
 *
 *   full      exits with 77 (skipped) where nothing can be mounted. SIDELOG_LONG=1: ext4, too, block by block
 */
#include "tree.h"

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
#include <sys/statvfs.h>
#include <unistd.h>

enum { MOST = 2000, BIG = 9000, BLOCK = 4096, KINDS = 6 };

static char folder[4096], mounted[4200], path[4300], filler[4300];
static const char *kind_of_disk;
static long room;
static int failures;

#define MUST(condition, ...)                                                                   \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      failures++;                                                                              \
      fprintf(stderr, "%s, room for %ld bytes: ", kind_of_disk, room);                         \
      fprintf(stderr, __VA_ARGS__);                                                            \
      fprintf(stderr, " (%s)\n", sl_last_detail());                                            \
      return false;                                                                            \
    }                                                                                          \
  } while (0)

static void remove_store(void) { remove_tree(path); }

/* --------------------------------------------------------------- the store --- */

static sl_store *store;
static uint64_t number_of[MOST], last; /* by seq: what was acknowledged */
static uint64_t quota;                   /* 0: the store's */

static sl_slice value_of(uint64_t n) {
  static uint8_t bytes[BIG];
  size_t len = n % 5 == 0 ? BIG : 50 + n * 37 % 900;
  for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)(n * 31 + i);
  return (sl_slice){bytes, len};
}

static sl_status open_store(void) {
  sl_options o = {.preallocate = SL_NONE, .quota_bytes = quota};
  return sl_open(path, &o, &store);
}

static sl_status append(void) {
  static uint64_t n;
  uint64_t seq = 0;
  sl_event e = {.topic = SL_STR("t"), .value = value_of(++n)};
  sl_status status = sl_append(store, &e, &seq);
  if (status == SL_OK) number_of[last = seq] = n;
  return status;
}

static sl_status make_index(void) { return sl_index_advance(store, 0, NULL); }

/* The next five events, as the agent would. */
static sl_status deliver(void) {
  delivery_verdict v[5];
  sl_delivery *d;
  sl_stats s;
  sl_status status = delivery_open(store, &d);
  if (status != SL_OK) return status;
  status = sl_stats_get(store, &s);
  const delivery_state *now = delivery_state_get(d);
  delivery_attempt a = {.progress = now->cursor, .verdicts = v, .marked = true};
  a.progress.attempt = now->last_attempt + 1;
  while (a.count < 5 && a.progress.seq < s.indexed_seq) {
    a.progress.seq++;
    v[a.count++] = (delivery_verdict){.seq = a.progress.seq, .verdict = SL_VERDICT_SENT, .place = 1};
  }
  if (status == SL_OK && now->has_intent) status = delivery_settle(d);
  else if (status == SL_OK) status = delivery_intent(d, &a);
  delivery_close(d);
  return status;
}

static sl_status trim(void) { return sl_trim(store, &(sl_trim_policy){.max_events = 20}, NULL); }
static sl_status place(void) { return sl_cursor_set(store, "reader", last); }

/* Shut and opened again; while it cannot be opened there is no store to go on with. */
static sl_status reopen(void) {
  sl_close(store);
  store = NULL;
  return open_store();
}

static sl_status (*const steps[KINDS])(void) = {append, make_index, deliver, trim, place, reopen};
static const char *const names[KINDS] = {"append", "index", "deliver", "trim", "cursor", "reopen"};

static bool is_whole(bool verify) {
  sl_iter *iter;
  const sl_record *r;
  sl_status status;
  sl_stats s;
  uint64_t next = 0;
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    MUST(next == 0 || r->seq == next, "%" PRIu64 " instead of %" PRIu64, r->seq, next);
    MUST(r->seq <= last, "event %" PRIu64 " was refused", r->seq);
    MUST(sl_slice_eq(r->value, value_of(number_of[r->seq])), "event %" PRIu64 " has another value", r->seq);
    next = r->seq + 1;
  }
  MUST(status == SL_NOTFOUND, "reading ended with %s", sl_status_text(status));
  sl_iter_close(iter);
  MUST(last == 0 || next == last + 1, "event %" PRIu64 " is lost", last);
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced, "out of balance");
  if (!verify) return true;
  sl_verify_report report;
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK, "verify stopped");
  MUST(report.problems == 0, "%" PRIu64 " problems", report.problems);
  return true;
}

/* ---------------------------------------------------------------- the disk --- */

static void leave_room(long bytes) {
  static const uint8_t block[16 * BLOCK];
  struct statvfs fs;
  int fd = open(filler, O_WRONLY | O_CREAT | O_APPEND, 0600);
  while (fd >= 0 && fsync(fd) == 0 && fstatvfs(fd, &fs) == 0) {
    const long excess = (long)(fs.f_bavail * fs.f_frsize) - bytes;
    if (excess <= 0 || write(fd, block, excess > 20 * BLOCK ? 16 * BLOCK : BLOCK) <= 0) break;
  }
  if (fd >= 0) close(fd);
}

/* Goes round until every kind of step has had its chance. *full: how many found no room. */
static bool press_on(unsigned *full) {
  *full = 0;
  for (unsigned i = 0; i < 40 * KINDS && last + 1 < MOST; i++) {
    const unsigned step = i / 4 % KINDS;
    if (!store && steps[step] != reopen) continue;
    const sl_status status = steps[step]();
    MUST(status == SL_OK || status == SL_E_FULL, "%s: %s", names[step], sl_status_text(status));
    *full += status == SL_E_FULL;
    if (store && !is_whole(false)) return false;
  }
  return true;
}

static bool recovers(void) {
  if (!store) MUST(open_store() == SL_OK, "does not open with room");
  for (unsigned step = 0; step < KINDS; step++) {
    const sl_status status = steps[step]();
    MUST(status == SL_OK, "%s with room: %s", names[step], sl_status_text(status));
  }
  return is_whole(true);
}

static bool begin(uint64_t events) {
  last = 0;
  quota = 0;
  MUST(open_store() == SL_OK, "does not open");
  while (events-- > 0) MUST(append() == SL_OK, "append");
  MUST(make_index() == SL_OK && deliver() == SL_OK && deliver() == SL_OK, "delivery");
  return true;
}

static void end(void) {
  sl_close(store);
  store = NULL;
  unlink(filler);
  remove_store();
}

/* With growing room, until all goes well. */
static void fill_disk(const char *disk, long step) {
  unsigned lives = 0, full = 1;
  kind_of_disk = disk;
  for (room = 0; full > 0 && failures < 5; room += step, lives++) {
    bool ok = begin(30);
    leave_room(room);
    ok = ok && press_on(&full);
    unlink(filler);
    if (ok) recovers();
    end();
  }
  const long enough = room - step;
  for (long at = 0; at < 2 << 20 && failures < 5; at += step * 16, lives++) { /* a creation in that much */
    room = at;
    last = 0;
    quota = 0;
    leave_room(room);
    sl_status status = open_store();
    if (status != SL_OK && status != SL_E_FULL) {
      fprintf(stderr, "%s, room for %ld bytes: creation: %s (%s)\n", disk, room, sl_status_text(status),
              sl_last_detail());
      failures++;
    }
    unlink(filler);
    if (status != SL_OK) recovers();
    end();
  }
  printf("%s: %u lives, all went well with room for %ld bytes\n", disk, lives, enough);
}

static bool fill_quota(void) {
  unsigned full;
  kind_of_disk = "a quota";
  if (!begin(30)) return false;
  quota = 1u << 20;
  MUST(reopen() == SL_OK, "does not open with a quota");
  for (int refused = 0; refused < 10 && last + 1 < MOST;) { /* small ones, too */
    const sl_status status = append();
    MUST(status == SL_OK || status == SL_E_FULL, "a full quota said %s", sl_status_text(status));
    refused += status == SL_E_FULL;
  }
  if (!press_on(&full) || !is_whole(true)) return false;
  MUST(full > 0, "nothing was refused");
  quota = 8u << 20;
  MUST(reopen() == SL_OK && append() == SL_OK, "more quota is no room");
  return recovers();
}

/* ------------------------------------------------------------------ mounts --- */

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

static bool mount_ext4(void) {
  char command[20000];
  if (geteuid() != 0) return false;
  snprintf(command, sizeof command, "{ PATH=$PATH:/sbin:/usr/sbin; truncate -s 16M '%s/disk' && "
           "mkfs.ext4 -q -O ^has_journal -m 0 '%s/disk' && mount -o loop '%s/disk' '%s'; } 2>/dev/null",
           folder, folder, folder, mounted);
  return system(command) == 0;
}

int main(void) {
  const char *tmp = getenv("TMPDIR"), *text = getenv("SIDELOG_LONG");
  const bool all = text && *text == '1';
  snprintf(folder, sizeof folder, "%s/sidelog-full.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) return 2;
  snprintf(mounted, sizeof mounted, "%s/mounted", folder);
  snprintf(path, sizeof path, "%s/store", mounted);
  snprintf(filler, sizeof filler, "%s/filler", mounted);
  setvbuf(stdout, NULL, _IONBF, 0);
  int code = 77;
  if (mkdir(mounted, 0700) != 0 || !own_mounts() || mount("none", mounted, "tmpfs", 0, "size=8m") != 0) {
    printf("skipped: nothing can be mounted here: %s\n", strerror(errno));
  } else {
    fill_disk("tmpfs", BLOCK);
    if (fill_quota()) printf("a quota: sound\n");
    end();
    umount(mounted);
    if (!mount_ext4()) printf("no ext4 on a loop device here\n");
    else fill_disk("ext4", all ? BLOCK : 4 * BLOCK), umount(mounted);
    code = failures ? 1 : 0;
  }
  remove_tree(folder);
  return code;
}
