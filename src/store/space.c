/*
 * A full store. What an append does that meets one, by policy:
 *
 *   refuse                 nothing: the caller gets SL_E_FULL (the default)
 *   drop-delivered-early   settled and indexed events go, oldest first, whatever their age: sl_trim in small steps
 *   drop-oldest            for topics: the same, and where that is not enough undelivered events go (space_drop.c)
 *
 * Each call makes a little room and lets the append try again, so that no append waits for long and no more is
 * given up than is needed. Threads of a process take turns: one makes room for all that wait.
 */
#include "base/text.h"
#include "index/index.h"
#include "store/log_inner.h"
#include "store/space.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define POLICY_HEAD 16u /* u32 flags, u32 0, u64 ballast; then the topics */
#define ROOM_LEAST (UINT64_C(64) << 10)
#define ROOM_MOST (UINT64_C(4) << 20)
#define MADE_MOST 64u
#define NOTHING_MOST 2u
#define TRIM_LEAST 16u
#define TRIM_STEP 2000u
#define INDEX_STEP 2000u
#define BALLAST_DEFAULT (UINT64_C(1) << 20)
#define BALLAST_MOST (UINT64_C(1) << 30)
#define BALLAST_MARGIN (UINT64_C(16) << 20) /* so much beside it must be free before it is made again */

/* ---------------------------------------------------------------- policy --- */

static sl_status read_policy(db_txn *txn, space_policy *p) {
  sl_slice value;
  *p = (space_policy){.ballast = BALLAST_DEFAULT};
  sl_status status = db_get(txn, LOG_META, LOG_KEY_FULL, &value);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  if (value.len < POLICY_HEAD || value.len - POLICY_HEAD > sizeof p->topics)
    return sl_fail(SL_E_CORRUPT, "log/: the policy of a full store is damaged: set it anew");
  const uint8_t *bytes = value.data;
  const uint64_t ballast = sl_get_u64(bytes + 8);
  p->flags = sl_get_u32(bytes);
  p->ballast = ballast == SL_NONE ? 0 : ballast ? ballast : BALLAST_DEFAULT;
  p->topics_len = value.len - POLICY_HEAD;
  if (p->topics_len) memcpy(p->topics, bytes + POLICY_HEAD, p->topics_len);
  return SL_OK;
}

sl_status space_policy_read(sl_store *store, space_policy *policy) {
  db_txn *txn;
  sl_status status = db_begin_read(store->log->env, &txn);
  if (status != SL_OK) return status;
  status = read_policy(txn, policy);
  db_abort(txn);
  return status;
}

static bool next_glob(const char **at, const char *end, sl_slice *glob) {
  if (*at >= end) return false;
  const char *comma = memchr(*at, ',', (size_t)(end - *at));
  if (!comma) comma = end;
  *glob = SL_BYTES(*at, comma - *at);
  *at = comma + 1;
  return true;
}

bool space_drops(const space_policy *policy, sl_slice topic) {
  const char *at = policy->topics, *end = at + policy->topics_len;
  for (sl_slice glob; next_glob(&at, end, &glob);)
    if (sl_glob_match(glob, topic)) return true;
  return false;
}

static sl_status check_policy(const sl_full_policy *p) {
  if (p->version > SL_FULL_VERSION || (p->flags & ~(uint32_t)SL_FULL_DROP_DELIVERED))
    return sl_fail(SL_E_INVALID, "sl_full_policy: unknown version or flags");
  if (p->drop_oldest.len > SL_FULL_TOPICS_MAX || (p->drop_oldest.len && !p->drop_oldest.data))
    return sl_fail(SL_E_INVALID, "sl_full_policy: drop_oldest has %zu bytes, at most %u are allowed",
                   p->drop_oldest.len, SL_FULL_TOPICS_MAX);
  if (p->ballast_bytes != SL_NONE && p->ballast_bytes > BALLAST_MOST)
    return sl_fail(SL_E_INVALID, "sl_full_policy: a ballast of %" PRIu64 " bytes: at most 1 GiB",
                   p->ballast_bytes);
  const char *at = p->drop_oldest.data, *end = p->drop_oldest.len ? at + p->drop_oldest.len : at;
  if (p->drop_oldest.len && end[-1] == ',')
    return sl_fail(SL_E_INVALID, "sl_full_policy: drop_oldest ends with a comma");
  for (sl_slice glob; next_glob(&at, end, &glob);)
    if (glob.len == 0 || !sl_utf8_valid(glob) || memchr(glob.data, 0, glob.len))
      return sl_fail(SL_E_INVALID, "sl_full_policy: drop_oldest has an empty or illegal glob: name topics, as "
                     "metrics.*,debug.v1");
  return SL_OK;
}

sl_status sl_full_policy_set(sl_store *store, const sl_full_policy *policy) {
  sl_status status = store_enter(store);
  if (status == SL_OK && !policy) status = sl_fail(SL_E_INVALID, "policy is NULL");
  if (status == SL_OK) status = check_policy(policy);
  if (status != SL_OK) return status;
  uint8_t bytes[POLICY_HEAD + SL_FULL_TOPICS_MAX] = {0};
  const size_t topics = policy->drop_oldest.len;
  /* Before something undelivered goes, what is delivered goes. */
  sl_put_u32(bytes, policy->flags | (topics ? (uint32_t)SL_FULL_DROP_DELIVERED : 0));
  sl_put_u64(bytes + 8, policy->ballast_bytes);
  if (topics) memcpy(bytes + POLICY_HEAD, policy->drop_oldest.data, topics);
  db_txn *txn;
  status = db_begin_write(store->log->env, false, &txn);
  if (status != SL_OK) return status;
  db_put(txn, LOG_META, LOG_KEY_FULL, SL_BYTES(bytes, POLICY_HEAD + topics));
  if (topics) {
    uint8_t format[4];
    sl_put_u32(format, LOG_FORMAT_DROPS);
    db_put(txn, LOG_META, LOG_KEY_FORMAT, SL_BYTES(format, sizeof format));
  }
  status = db_commit(txn);
  if (status == SL_OK) space_restore_ballast(store);
  return status;
}

sl_status sl_full_policy_get(sl_store *store, sl_full_policy *policy, char topics[SL_FULL_TOPICS_MAX]) {
  sl_status status = store_enter(store);
  if (status == SL_OK && (!policy || !topics)) status = sl_fail(SL_E_INVALID, "policy or topics is NULL");
  space_policy p;
  if (status == SL_OK) status = space_policy_read(store, &p);
  if (status != SL_OK) return status;
  memcpy(topics, p.topics, sizeof p.topics);
  *policy = (sl_full_policy){.flags = p.flags, .drop_oldest = SL_BYTES(topics, p.topics_len),
                             .ballast_bytes = p.ballast ? p.ballast : SL_NONE};
  return SL_OK;
}

/* ------------------------------------------------------------------ room --- */

/* By number and not down to a size: how much is in use is only known as of a moment ago. */
static sl_status trim_some(sl_store *store, uint64_t room, uint64_t *removed) {
  uint64_t used;
  log_view *log;
  sl_trim_result result = {0};
  sl_status status = log_bytes_used(store, &used);
  if (status == SL_OK) status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  const uint64_t kept = log_view_head(log)->kept;
  log_view_close(log);
  uint64_t events = (uint64_t)((double)room * (double)kept / (double)(used + 1));
  if (events < TRIM_LEAST) events = TRIM_LEAST;
  if (events > TRIM_STEP) events = TRIM_STEP;
  const sl_trim_policy policy = {.max_events = 1, .budget = events};
  status = sl_trim(store, &policy, &result);
  *removed = result.removed;
  if (status != SL_OK || result.removed || !result.held) return status;
  /* Perhaps it waits for the index, which nobody has brought up to date. */
  status = sl_index_advance(store, INDEX_STEP, NULL);
  if (status == SL_OK) status = sl_trim(store, &policy, &result);
  *removed = result.removed;
  return status;
}

static sl_status make_some(sl_store *store, const space_policy *policy, uint64_t room, uint64_t *made) {
  sl_status status = trim_some(store, room, made);
  if (status != SL_OK || *made || policy->topics_len == 0) return status;
  status = space_settle_tombstones(store, made);
  if (status != SL_OK || *made) return status;
  return space_drop_oldest(store, policy, room, made);
}

static uint64_t room_of(sl_store *store, uint64_t bytes) {
  log_space space;
  uint64_t room = log_space_get(store, &space) == SL_OK ? space.used / 64 : 0;
  if (room < ROOM_LEAST) room = ROOM_LEAST;
  if (room > ROOM_MOST) room = ROOM_MOST;
  return room < bytes * 2 ? bytes * 2 : room;
}

/* The append's own failure, and behind it what has just failed: the caller must know both. */
static bool told(const char *full) {
  char why[512];
  snprintf(why, sizeof why, "%s", sl_last_detail());
  sl_fail(SL_E_FULL, "%s; and room could not be made: %s", full, why);
  return false;
}

bool space_make_room(sl_store *store, uint64_t bytes, space_tries *tries) {
  space_policy policy;
  char full[512];
  snprintf(full, sizeof full, "%s", sl_last_detail());
  sl_status status = space_policy_read(store, &policy);
  if (status != SL_OK) return told(full);
  if (!(policy.flags & SL_FULL_DROP_DELIVERED)) return false;
  space_memo *memo = &store->log->drops;
  const uint64_t round = atomic_load(&store->log->room_made);
  pthread_mutex_lock(&memo->lock);
  uint64_t made = 0;
  if (atomic_load(&store->log->room_made) != round) made = 1; /* somebody did while this one waited */
  else status = make_some(store, &policy, room_of(store, bytes), &made);
  if (made) atomic_fetch_add(&store->log->room_made, 1);
  pthread_mutex_unlock(&memo->lock);
  if (status != SL_OK) return told(full);
  /* What one makes others may take; and one that finds nothing may have come after others made all there was. */
  if (made) return ++tries->made <= MADE_MOST;
  if (++tries->nothing <= NOTHING_MOST) return true;
  sl_fail(SL_E_FULL, "the store at %s is full, and its policy finds nothing that may go: what is left is "
          "undelivered%s; the event was not stored. Let the agent deliver, or raise the quota", store->path,
          policy.topics_len ? " and of other topics, waits in a lane, or is being sent" : " or not indexed");
  return false;
}

/* --------------------------------------------------------------- ballast --- */

uint64_t space_ballast_bytes(const sl_store *store) {
  struct stat st;
  char *path = store_path(store, "ballast");
  const uint64_t bytes = path && stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
  free(path);
  return bytes;
}

/* Appends look at the flag, which costs them nothing: they read the head anyway. */
static sl_status set_tight(sl_store *store, bool tight) {
  db_txn *txn;
  log_meta meta;
  if (tight) db_env_allow_slack(store->log->env, 0); /* until an append finds it otherwise */
  sl_status status = db_begin_write(store->log->env, false, &txn);
  if (status != SL_OK) return status;
  status = log_meta_read(txn, &meta);
  if (status == SL_OK && tight == !!(meta.flags & LOG_TIGHT)) {
    db_abort(txn);
    return SL_OK;
  }
  meta.flags = tight ? meta.flags | LOG_TIGHT : meta.flags & ~(uint64_t)LOG_TIGHT;
  if (status == SL_OK) log_meta_write(txn, &meta);
  return db_commit(txn);
}

bool space_release_ballast(sl_store *store) {
  char *path = store_path(store, "ballast");
  const bool released = path && unlink(path) == 0;
  free(path);
  if (released) (void)set_tight(store, true); /* best effort: it is the first to use the room */
  return released;
}

bool space_disk_free(const sl_store *store, uint64_t *bytes) {
  struct statvfs fs;
  if (statvfs(store->root, &fs) != 0) return false;
  *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
  return true;
}

static bool disk_has(const sl_store *store, uint64_t bytes) {
  uint64_t there;
  return space_disk_free(store, &there) && there >= bytes;
}

static bool others_write(int fd) { return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; }

/* What a killed process left takes room from those who will need it. */
static void remove_stray(const char *path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (!others_write(fd)) (void)unlink(path);
  close(fd);
}

/* Whoever has it locked makes it: two at once would leave it with a hole. */
static int open_next(const sl_store *store, const char *path) {
  struct stat own, named;
  const int fd = store_fs_open_file(store, path, O_WRONLY);
  if (fd < 0) return -1;
  const bool ours = !others_write(fd) && fstat(fd, &own) == 0 && stat(path, &named) == 0 &&
                    own.st_dev == named.st_dev && own.st_ino == named.st_ino && ftruncate(fd, 0) == 0;
  if (ours) return fd;
  close(fd);
  return -1;
}

/* Written, not only allocated: a file system may promise blocks that it has not. Put in its place while locked. */
static bool write_ballast(const sl_store *store, const char *next, const char *path, uint64_t bytes) {
  static const uint8_t block[64 << 10] = {1}; /* not all zeros: some file systems store those as holes */
  const int fd = open_next(store, next);
  if (fd < 0) return false;
  bool ok = true;
  for (uint64_t at = 0; ok && at < bytes;) {
    const size_t len = bytes - at < sizeof block ? (size_t)(bytes - at) : sizeof block;
    const ssize_t done = write(fd, block, len);
    if (done > 0) at += (uint64_t)done;
    else if (done == 0 || errno != EINTR) ok = false;
  }
  if (ok) ok = rename(next, path) == 0;
  if (!ok) (void)unlink(next);
  if (close(fd) != 0 && ok) (void)unlink(path);
  return ok;
}

/* Only written when it is not so already: every sl_open comes here. */
static void loosen(sl_store *store) {
  db_txn *txn;
  log_meta meta;
  if (db_begin_read(store->log->env, &txn) != SL_OK) return;
  const bool tight = log_meta_read(txn, &meta) == SL_OK && (meta.flags & LOG_TIGHT);
  db_abort(txn);
  if (tight) (void)set_tight(store, false);
}

void space_restore_ballast(sl_store *store) {
  space_policy policy;
  struct stat st;
  char *path = store_path(store, "ballast"), *next = store_path(store, "ballast.new");
  if (next) remove_stray(next);
  if (path && next && space_policy_read(store, &policy) == SL_OK) {
    const bool there = stat(path, &st) == 0;
    const bool whole = there && (uint64_t)st.st_size == policy.ballast;
    if (policy.ballast == 0) {
      if (there) (void)unlink(path);
      loosen(store);
    } else if (whole) {
      loosen(store);
    } else if (disk_has(store, policy.ballast + BALLAST_MARGIN)) {
      if (write_ballast(store, next, path, policy.ballast)) loosen(store);
    }
  }
  free(path);
  free(next);
}
