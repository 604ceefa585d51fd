/* Whose turn it is to write the index, and who helps out where no agent keeps it fresh.
 *
 * LMDB's writer lock cannot be tried, only waited for. So whoever writes the index takes a turn before that lock:
 * indexers wait for it, helpers only try. The turn is a mutex among the threads of a process and a POSIX record
 * lock among processes: unlike a flock a forked child does not keep it alive. Where it cannot be had the writer
 * lock alone keeps writers apart.
 *
 * Helping is best effort: its failures are nobody's, and after one it rests for a while. */
#include "base/clock.h"
#include "index/index_impl.h"
#include "store/agent_lock.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TURN_FILE "index/turn.lock"
#define REST_US INT64_C(1000000) /* after a failure: a full disk is not asked again at every append */
#define LOOK_EVERY 250u          /* seqs; each producer past the cap adds at most half of what it helps with */
#define APPEND_EVENTS 500u       /* a few milliseconds after an acknowledgement */
#define QUERY_SHARE 32u          /* a query helps with this part of the tail it scanned: about as long again */
#define QUERY_EVENTS_MIN 1000u
#define QUERY_EVENTS_MAX 32768u

/* ------------------------------------------------------------------ turn --- */

void index_turn_open(sl_index *index) {
  char *path = store_path(index->store, TURN_FILE);
  pthread_mutex_init(&index->turn_lock, NULL);
  index->turn_fd = path ? store_fs_open_file(index->store, path, O_RDWR) : -1;
  free(path);
}

void index_turn_close(sl_index *index) {
  if (index->turn_fd >= 0) close(index->turn_fd);
  pthread_mutex_destroy(&index->turn_lock);
}

static bool lock_file(const sl_index *index, int command, short type) {
  struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
  int rc;
  do rc = index->turn_fd < 0 ? -1 : fcntl(index->turn_fd, command, &whole);
  while (rc != 0 && index->turn_fd >= 0 && errno == EINTR);
  return rc == 0;
}

void index_turn_take(sl_index *index) {
  pthread_mutex_lock(&index->turn_lock);
  (void)lock_file(index, F_SETLKW, F_WRLCK);
  if (index->env) db_env_renew(index->env);
}

bool index_turn_try(sl_index *index) {
  if (pthread_mutex_trylock(&index->turn_lock) != 0) return false;
  if (!lock_file(index, F_SETLK, F_WRLCK)) {
    pthread_mutex_unlock(&index->turn_lock);
    return false;
  }
  db_env_renew(index->env);
  return true;
}

void index_turn_end(sl_index *index) {
  (void)lock_file(index, F_SETLK, F_UNLCK);
  pthread_mutex_unlock(&index->turn_lock);
}

/* ------------------------------------------------------------------ help --- */

/* Indexes up to `max` events if more than `cap` wait and nobody else is at it. */
static sl_status help(sl_index *index, uint64_t last_seq, uint64_t cap, uint64_t max) {
  index_view *view;
  uint64_t watermark, ignored;
  bool more;
  sl_status status = index_view_open(index->store, &view);
  if (status != SL_OK) return status;
  watermark = index_view_watermark(view);
  index_view_close(view);
  if (watermark >= last_seq || last_seq - watermark <= cap) return SL_OK;
  /* The agent may be busy with a new one, while this process asks an old one. */
  if (db_env_is_removed(index->env) && index_turn_try(index)) index_turn_end(index);
  if (agent_lock_held(index->store) || !index_turn_try(index)) return SL_OK;
  status = index_step_in_turn(index, max, true, &ignored, &more, NULL);
  index_turn_end(index);
  return status;
}

/* The caller's own call has succeeded or said why not: its detail stays. */
static void help_quietly(sl_index *index, uint64_t last_seq, uint64_t cap, uint64_t max) {
  char detail[1024];
  if (sl_clock_monotonic_us() < atomic_load_explicit(&index->rest_until_us, memory_order_relaxed)) return;
  snprintf(detail, sizeof detail, "%s", sl_last_detail());
  if (help(index, last_seq, cap, max) == SL_OK) return;
  atomic_store_explicit(&index->rest_until_us, sl_clock_monotonic_us() + REST_US, memory_order_relaxed);
  sl_fail(SL_OK, "%s", detail);
}

/* Seqs are dense, so of all producers in all processes one in LOOK_EVERY events looks: no counter, no crowd, and a
 * script that runs a process per event takes its part. */
void index_help_append(sl_store *store, uint64_t first_seq, uint64_t count) {
  const uint64_t last_seq = first_seq + count - 1;
  if (last_seq / LOOK_EVERY == (first_seq - 1) / LOOK_EVERY) return;
  if (last_seq <= store->index->append_cap) return;
  help_quietly(store->index, last_seq, store->index->append_cap, count < APPEND_EVENTS ? APPEND_EVENTS : count);
}

void index_help_query(sl_store *store, uint64_t watermark, uint64_t last_seq) {
  if (last_seq <= watermark || last_seq - watermark <= store->index->query_cap) return;
  uint64_t max = (last_seq - watermark) / QUERY_SHARE;
  if (max < QUERY_EVENTS_MIN) max = QUERY_EVENTS_MIN;
  if (max > QUERY_EVENTS_MAX) max = QUERY_EVENTS_MAX;
  help_quietly(store->index, last_seq, store->index->query_cap, max);
}
