/*
 * Readers: handing out, and what is said of an event. reader_impl.h has the picture.
 *
 * Who waits for an event sleeps on the log (sl_wait) while nothing is in hand, in slices, to see what others
 * did to the reader's dead letters. While events are in hand, other threads may decide them: then it sleeps on
 * `changed`, in short slices, and looks at the log in between.
 */
#include "readers/reader_impl.h"

#include "base/clock.h"
#include "base/text.h"
#include "delivery/book.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SLICE_US INT64_C(250000)      /* others' changes are seen so soon */
#define BUSY_SLICE_US INT64_C(10000)  /* a new event, while others are in hand */
#define DAY_US INT64_C(86400000000)

/* ------------------------------------------------------------------ open --- */

static sl_status in_range(const char *what, uint64_t n, uint64_t most) {
  return n >= 1 && n <= most ? SL_OK : sl_fail(SL_E_INVALID, "%s is %" PRIu64 ": 1 to %" PRIu64, what, n, most);
}

static sl_status read_options(sl_reader *r, const sl_reader_options *given) {
  sl_reader_options *o = &r->options;
  if (given) *o = *given;
  if (o->version > SL_READER_VERSION)
    return sl_fail(SL_E_INVALID, "sl_reader_options.version is %" PRIu32 ": this library knows up to %u",
                   o->version, SL_READER_VERSION);
  if (o->flags >= SL_READER_EXISTING << 1)
    return sl_fail(SL_E_INVALID, "sl_reader_options.flags has unknown bits: %#" PRIx32, o->flags);
  if (!reader_filter_ok(o->topics) || !reader_filter_ok(o->types))
    return sl_fail(SL_E_INVALID, "topics and types are globs separated by commas, of at most %u bytes",
                   SL_READER_FILTER_MAX);
  if (o->commit_us < 0 || o->backoff_us < 0 || o->backoff_max_us < 0)
    return sl_fail(SL_E_INVALID, "sl_reader_options: a time is negative");
  if (!o->max_attempts) o->max_attempts = 5;
  if (!o->max_waiting) o->max_waiting = 10000;
  if (!o->max_in_hand) o->max_in_hand = 1000;
  if (!o->commit_events) o->commit_events = 100;
  if (!o->commit_us) o->commit_us = 1000000;
  if (!o->backoff_us) o->backoff_us = 1000000;
  if (!o->backoff_max_us) o->backoff_max_us = o->backoff_us > 60000000 ? o->backoff_us : 60000000;
  sl_status status = in_range("max_attempts", o->max_attempts, 1000);
  if (status == SL_OK) status = in_range("max_waiting", o->max_waiting, 100000);
  if (status == SL_OK) status = in_range("max_in_hand", o->max_in_hand, 10000);
  if (status == SL_OK) status = in_range("commit_events", o->commit_events, 100000);
  if (status == SL_OK) status = in_range("backoff_us", (uint64_t)o->backoff_us, DAY_US);
  if (status == SL_OK) status = in_range("backoff_max_us", (uint64_t)o->backoff_max_us, DAY_US);
  if (status != SL_OK) return status;
  /* The filter's texts, and the free slots of the lock file: the lowest are used first. */
  r->texts = malloc(o->topics.len + o->types.len + 1);
  r->free_slots = malloc(o->max_in_hand * sizeof *r->free_slots);
  if (!r->texts || !r->free_slots) return sl_fail(SL_E_NOMEM, "out of memory");
  if (o->topics.len) memcpy(r->texts, o->topics.data, o->topics.len);
  if (o->types.len) memcpy(r->texts + o->topics.len, o->types.data, o->types.len);
  o->topics.data = r->texts;
  o->types.data = r->texts + o->topics.len;
  for (uint32_t slot = o->max_in_hand; slot > 0; slot--) r->free_slots[r->free_count++] = slot - 1;
  return SL_OK;
}

static void free_reader(sl_reader *r, bool ours) {
  readers_unlock(r->lock_fd);
  items_free(r);
  sl_buf_free(&r->gone);
  sl_buf_free(&r->letters);
  if (ours) { /* a forked child has none of the threads that sleep on them, and would wait for them */
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
  }
  free(r->free_slots);
  free(r->texts);
  free(r);
}

static void init_locks(sl_reader *r) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->changed, &attr);
  pthread_condattr_destroy(&attr);
}

sl_status sl_reader_open(sl_store *store, const char *name, const sl_reader_options *options, sl_reader **out) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = readers_check_name(name);
  if (status == SL_OK && !out) status = sl_fail(SL_E_INVALID, "reader is NULL");
  sl_reader *r = status == SL_OK ? calloc(1, sizeof *r) : NULL;
  if (status == SL_OK && !r) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (status != SL_OK) return status;
  r->store = store;
  r->lock_fd = -1;
  r->random = (uint64_t)sl_clock_wall_us() ^ (uint64_t)(uintptr_t)r;
  memcpy(r->name, name, strlen(name) + 1);
  init_locks(r);
  status = read_options(r, options);
  if (status == SL_OK) status = readers_env(store, !(r->options.flags & SL_READER_EXISTING), &r->env);
  if (status == SL_NOTFOUND) status = sl_fail(SL_NOTFOUND, "there is no reader %s", name);
  if (status == SL_OK) status = readers_lock(store, name, &r->lock_fd);
  if (status == SL_OK) status = reader_load(r);
  if (status == SL_OK) *out = r;
  else free_reader(r, true);
  return status;
}

void sl_reader_close(sl_reader *r) {
  if (!r) return;
  const bool ours = store_enter(r->store) == SL_OK;
  if (ours) {
    (void)reader_save(r);
    readers_hand_clear(r->lock_fd);
  } else if (r->lock_fd >= 0) { /* a forked child: the lock is its parent's */
    close(r->lock_fd);
    r->lock_fd = -1;
  }
  free_reader(r, ours);
}

/* ---------------------------------------------------------------- decide --- */

sl_status reader_room(sl_reader *r, const item *it) {
  if (!it->stored && !r->unsure) return SL_OK;
  const bool room = sl_buf_extend(&r->gone, 8) != NULL;
  if (room) r->gone.len -= 8;
  r->gone.failed = false;
  return room ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
}

static void leave_hand(sl_reader *r, item *it) {
  if (!it->in_hand) return;
  arena_free(&it->memory);
  readers_hand_put(r->lock_fd, it->slot, 0);
  r->free_slots[r->free_count++] = it->slot;
  if (it->suspect) r->suspect_in_hand = it->suspect = false;
}

void reader_settle(sl_reader *r, item *it) {
  leave_hand(r, it);
  /* A commit that failed may have written it, too. */
  if (it->stored || r->unsure) {
    uint8_t *seq = sl_buf_extend(&r->gone, 8);
    if (seq) sl_put_u64(seq, it->e.seq);
  }
  if (it->lane) item_remove(r, it);
  else item_clean(r, it);
  item_free(it);
}

sl_status reader_miss(sl_reader *r, item *it) {
  sl_status status = reader_room(r, it);
  if (status != SL_OK) return status;
  r->delta.missed++;
  r->missed_untold++;
  reader_settle(r, it);
  return SL_OK;
}

sl_status reader_bury(sl_reader *r, item *it) {
  const size_t start = r->letters.len;
  sl_status status = reader_room(r, it);
  if (status != SL_OK) return status;
  it->e.next_us = 0;
  if (!sl_buf_extend(&r->letters, 8)) status = SL_E_NOMEM;
  if (status == SL_OK) status = sl_reader_entry_encode(&it->e, &r->letters);
  if (status != SL_OK) {
    r->letters.len = start;
    r->letters.failed = false;
    return status;
  }
  sl_put_u64(r->letters.data + start, r->letters.len - start - 8);
  r->delta.dead++;
  reader_settle(r, it);
  return SL_OK;
}

static sl_status enter(sl_reader *r, uint64_t seq, item **it) {
  sl_status status = r ? store_enter(r->store) : sl_fail(SL_E_INVALID, "reader is NULL");
  if (status != SL_OK) return status;
  pthread_mutex_lock(&r->lock);
  *it = sl_map_get(&r->items, seq);
  if (*it && (*it)->in_hand) return SL_OK;
  pthread_mutex_unlock(&r->lock);
  return sl_fail(SL_E_INVALID, "event %" PRIu64 " is not in hand of reader %s", seq, r->name);
}

static sl_status leave(sl_reader *r, sl_status status) {
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
  return status;
}

static sl_status save_in_time(sl_reader *r) {
  if (!reader_unsaved(r)) return SL_OK;
  const bool due = r->decisions >= r->options.commit_events ||
                   (r->decisions > 0 && sl_clock_monotonic_us() - r->decided_us >= r->options.commit_us);
  return due ? reader_save(r) : SL_OK;
}

static sl_status decided(sl_reader *r) {
  if (r->decisions++ == 0) r->decided_us = sl_clock_monotonic_us();
  return save_in_time(r);
}

sl_status sl_reader_ack(sl_reader *r, uint64_t seq) {
  item *it;
  sl_status status = enter(r, seq, &it);
  if (status != SL_OK) return status;
  status = reader_room(r, it);
  if (status == SL_OK) {
    r->delta.acked++;
    r->outages = 0;
    reader_settle(r, it);
    status = decided(r);
  }
  return leave(r, status);
}

sl_status sl_reader_release(sl_reader *r, uint64_t seq) {
  item *it;
  sl_status status = enter(r, seq, &it);
  if (status != SL_OK) return status;
  leave_hand(r, it);
  item_put_back(r, it, 0);
  return leave(r, SL_OK);
}

static int64_t backoff(sl_reader *r, uint32_t attempts) {
  int64_t wait = r->options.backoff_us;
  for (uint32_t i = 1; i < attempts && wait < r->options.backoff_max_us; i++) wait *= 2;
  if (wait > r->options.backoff_max_us) wait = r->options.backoff_max_us;
  r->random ^= r->random << 13; /* xorshift64 */
  r->random ^= r->random >> 7;
  r->random ^= r->random << 17;
  return wait / 2 + (int64_t)(r->random % (uint64_t)(wait / 2 + 1));
}

static sl_status check_failure(const sl_reader_failure *f) {
  const sl_slice texts[] = {f->error_class, f->error_code, f->error_text};
  if (f->version > SL_READER_FAILURE_VERSION || f->flags > SL_READER_OUTAGE) /* one of the two at most */
    return sl_fail(SL_E_INVALID, "sl_reader_failure: unknown version or flags");
  for (size_t i = 0; i < 3; i++)
    if ((texts[i].len && !texts[i].data) || !sl_utf8_valid(texts[i]) || (i < 2 && texts[i].len > 255))
      return sl_fail(SL_E_INVALID,
                     "sl_reader_failure: a text is no UTF-8, or class or code has more than 255 bytes");
  if (f->retry_after_us < 0 || f->retry_after_us > DAY_US)
    return sl_fail(SL_E_INVALID, "sl_reader_failure.retry_after_us is %" PRId64 ": 0 to a day", f->retry_after_us);
  return SL_OK;
}

/* Several threads meet the same outage: it is one. */
static void pause_all(sl_reader *r, item *it, int64_t retry_after_us) {
  const int64_t now = sl_clock_monotonic_us();
  if (now >= r->paused_us)
    r->paused_us = now + (retry_after_us ? retry_after_us : backoff(r, ++r->outages));
  leave_hand(r, it);
  item_put_back(r, it, 0);
}

sl_status sl_reader_fail(sl_reader *r, uint64_t seq, const sl_reader_failure *failure, int *dead) {
  static const sl_reader_failure unknown = {0};
  item *it;
  if (!failure) failure = &unknown;
  sl_status status = check_failure(failure);
  if (status == SL_OK) status = enter(r, seq, &it);
  if (status != SL_OK) return status;
  if (failure->flags & SL_READER_OUTAGE) {
    pause_all(r, it, failure->retry_after_us);
    if (dead) *dead = 0;
    return leave(r, save_in_time(r));
  }
  const bool final = failure->flags & SL_READER_FINAL;
  sl_slice class_ = failure->error_class;
  if (!class_.len) class_ = final ? SL_STR("NON_RETRYABLE") : SL_STR("RETRYABLE");
  const int64_t now_us = sl_clock_wall_us();
  const bool ends = final || it->e.attempts + 1 >= r->options.max_attempts;
  status = item_blame(it, now_us, class_, failure->error_code, failure->error_text, it->event.record->topic);
  if (status == SL_OK && ends) {
    status = reader_bury(r, it);
  } else if (status == SL_OK) {
    const int64_t wait = failure->retry_after_us ? failure->retry_after_us : backoff(r, it->e.attempts);
    it->e.next_us = now_us + wait;
    leave_hand(r, it);
    item_put_back(r, it, sl_clock_monotonic_us() + wait);
    item_touch(r, it);
  }
  if (status == SL_OK) {
    if (dead) *dead = ends;
    status = reader_save(r);
  }
  return leave(r, status);
}

sl_status sl_reader_commit(sl_reader *r) {
  sl_status status = r ? store_enter(r->store) : sl_fail(SL_E_INVALID, "reader is NULL");
  if (status != SL_OK) return status;
  pthread_mutex_lock(&r->lock);
  return leave(r, reader_save(r));
}

/* ------------------------------------------------------------------ next --- */

/* Takes in the next event of the log, if there is room for it. SL_NOTFOUND: none now. */
static sl_status take_in(sl_reader *r, item **out) {
  found f;
  sl_status status = reader_peek(r, &f);
  if (status == SL_OK && lane_busy(r, f.lane) && r->waiting >= r->options.max_waiting) return SL_NOTFOUND;
  if (status != SL_OK) return status;
  item *it = sl_map_get(&r->early, f.seq);
  if (!it) it = item_new(f.seq, f.lane);
  if (!it) return sl_fail(SL_E_NOMEM, "out of memory");
  const bool known = it->stored || it->suspect || it->dirty, busy = lane_busy(r, f.lane);
  it->e.lane = f.lane;
  status = item_add(r, it);
  if (status != SL_OK) {
    if (!known) item_free(it);
    return status;
  }
  sl_map_take(&r->early, f.seq);
  reader_take(r);
  item_touch(r, it);
  *out = busy || it->suspect ? NULL : it;
  return SL_OK;
}

/* Hands the item out. SL_NOTFOUND: it turned out that it cannot be; go on. */
static sl_status hand_out(sl_reader *r, item *it, const sl_reader_event **event) {
  /* It killed its readers, or they were more patient once. */
  if (it->e.attempts >= r->options.max_attempts && it->e.has_letter) {
    sl_status status = reader_bury(r, it);
    return status == SL_OK ? SL_NOTFOUND : status;
  }
  sl_status status = reader_fetch(r, it);
  if (status == SL_NOTFOUND) {
    status = reader_miss(r, it);
    return status == SL_OK ? SL_NOTFOUND : status;
  }
  if (status == SL_E_CORRUPT) {
    status = item_blame(it, sl_clock_wall_us(), SL_STR(BOOK_CLASS_LOST), SL_STR(""), sl_slice_of(sl_last_detail()),
                        SL_STR(""));
    if (status == SL_OK) status = reader_bury(r, it);
    return status == SL_OK ? SL_NOTFOUND : status;
  }
  if (status != SL_OK) return status;
  it->event = (sl_reader_event){.record = &it->fetched.record, .attempts = it->e.attempts,
                                .replays = it->e.replays, .missed = r->missed_untold};
  r->missed_untold = 0;
  item_hand(r, it);
  it->slot = r->free_slots[--r->free_count];
  readers_hand_put(r->lock_fd, it->slot, it->e.seq);
  if (it->suspect) r->suspect_in_hand = true;
  *event = &it->event;
  return SL_OK;
}

/* SL_NOTFOUND: nothing now; *due_us says when something of what waits is due. */
static sl_status step(sl_reader *r, const sl_reader_event **event, int64_t *due_us) {
  for (;;) {
    const int64_t now = sl_clock_monotonic_us();
    *due_us = now < r->paused_us ? r->paused_us : INT64_MAX;
    if (now < r->paused_us) return SL_NOTFOUND;
    if (r->suspect_in_hand || r->in_hand >= r->options.max_in_hand) return SL_NOTFOUND;
    sl_status status = SL_OK;
    item *it = item_ready(r, now, due_us);
    if (it && it->suspect && r->in_hand > 0) return SL_NOTFOUND;
    if (!it) status = take_in(r, &it);
    if (status == SL_OK && it) status = hand_out(r, it, event);
    else if (status == SL_OK) continue;
    else return status;
    if (status != SL_NOTFOUND) return status;
  }
}

static void sleep_changed(sl_reader *r, int64_t us) {
#if defined(__APPLE__)
  const struct timespec at = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
  pthread_cond_timedwait_relative_np(&r->changed, &r->lock, &at);
#else
  const int64_t until = sl_clock_monotonic_us() + us;
  const struct timespec at = {.tv_sec = (time_t)(until / 1000000), .tv_nsec = (long)(until % 1000000) * 1000};
  pthread_cond_timedwait(&r->changed, &r->lock, &at);
#endif
}

/* What was decided. What was only taken in is not worth a commit: a batch in hand would be written twice. But
 * the place of a reader whose filter lets little pass, or that missed much, goes to disk in time. */
static sl_status save_before_wait(sl_reader *r) {
  const bool decided = r->decisions > 0 || r->gone.len || r->letters.len || r->unsure || r->delta.dead;
  const bool moved = r->in_hand == 0 && sl_clock_monotonic_us() - r->saved_us >= r->options.commit_us;
  return decided || moved ? reader_save(r) : SL_OK;
}

/* Until something may have changed, at most `us`. */
static sl_status sleep_for_news(sl_reader *r, int64_t us) {
  const int64_t slice = r->in_hand > 0 ? BUSY_SLICE_US : SLICE_US;
  /* Is it what others have in hand that is waited for? A new event would change nothing where there is no room, or
   * while nothing is handed out. */
  const bool theirs = r->in_hand > 0 && (r->waiting > 0 || r->suspect_in_hand ||
                                         r->in_hand >= r->options.max_in_hand);
  const bool room = r->window_at == r->window_count, paused = sl_clock_monotonic_us() < r->paused_us;
  if (us > slice) us = slice;
  if (theirs || !room || paused) {
    sleep_changed(r, us);
    return SL_OK;
  }
  const uint64_t after = r->scanned;
  pthread_mutex_unlock(&r->lock);
  const sl_status status = sl_wait(r->store, after, (int)((us + 999) / 1000), NULL);
  pthread_mutex_lock(&r->lock);
  return status == SL_TIMEOUT ? SL_OK : status;
}

sl_status sl_reader_next(sl_reader *r, int timeout_ms, const sl_reader_event **event) {
  sl_status status = r ? store_enter(r->store) : SL_OK;
  if (status != SL_OK) return status;
  if (!r || !event) return sl_fail(SL_E_INVALID, "%s is NULL", r ? "event" : "reader");
  const int64_t begun = sl_clock_monotonic_us();
  const int64_t end = timeout_ms < 0 ? INT64_MAX : begun + (int64_t)timeout_ms * 1000;
  pthread_mutex_lock(&r->lock);
  status = save_in_time(r);
  while (status == SL_OK) {
    int64_t due_us = INT64_MAX, later_us;
    status = step(r, event, &due_us);
    if (status != SL_NOTFOUND) break;
    status = save_before_wait(r);
    if (status == SL_OK) status = reader_look(r);
    const int64_t now = sl_clock_monotonic_us();
    if (status != SL_OK) break;
    /* Others have sent letters again. */
    if (item_ready(r, now, &later_us) && r->in_hand == 0 && now >= r->paused_us) continue;
    if (now >= end) {
      status = sl_fail(SL_TIMEOUT, "no event for reader %s came within %d ms", r->name, timeout_ms);
      break;
    }
    if (end < due_us) due_us = end;
    status = sleep_for_news(r, due_us - now);
  }
  pthread_mutex_unlock(&r->lock);
  return status;
}
