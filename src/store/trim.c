/*
 * Trim in steps. Each looks at no more than 2,000 records in one read transaction, decides, and removes in
 * one write transaction, so that producers hardly wait and no long-lived snapshot holds pages.
 *
 * How far it may go is read before the log is looked at, from the index (its watermark) and the delivery book
 * (cursor, lanes, intent). Both only move forward, so an old reading is a careful one.
 *
 * The age of an event is that of its clamped time, bounded by the start of later eras (log_times.c): one
 * append dated 2038 does not stay until 2038.
 */
#include "base/breathe.h"
#include "base/clock.h"
#include "base/text.h"
#include "delivery/book.h"
#include "index/index.h"
#include "readers/readers.h"
#include "store/log_inner.h"

#include <stdlib.h>
#include <xxhash.h>

#define STEP 2000u
#define BREATHE_EVERY 32u

typedef struct trim {
  sl_store *store;
  const sl_trim_policy *policy;
  int64_t now_us;
  int64_t least_age_us;      /* the shortest of all ages; 0: the policy has none */
  uint64_t limit;            /* the highest seq that may go, by delivery and index */
  uint64_t at;               /* seqs below have been dealt with */
  uint64_t kept;             /* records in the log */
  uint64_t must_go;          /* the oldest so many records go whatever their age (max_events, max_bytes) */
  uint64_t budget;
  uint64_t removed;
  bool held, done;
  int64_t next_us;           /* when the first event that was left standing below `at` comes of age */
  log_era *eras;
  size_t era_count;
  uint64_t seqs[STEP];
  size_t count;
} trim;

/* ------------------------------------------------------------- removing --- */

static sl_status first_kept(db_txn *txn, uint64_t *first) {
  db_cur *cur;
  sl_slice key, value;
  sl_status status = db_cur_open(txn, LOG_EVENTS, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_FIRST, &key, &value);
  if (status == SL_OK) *first = sl_get_u64(key.data);
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

/* seqs ascend, and mostly follow each other: a cursor stands on the next record after it has deleted one. */
static sl_status remove_records(db_txn *txn, const uint64_t *seqs, size_t count, uint64_t *gone) {
  db_cur *cur;
  sl_status status = db_cur_open(txn, LOG_EVENTS, &cur);
  if (status != SL_OK) return status;
  db_move move = DB_FIND;
  for (size_t i = 0; status == SL_OK && i < count;) {
    sl_slice key = db_u64(&seqs[i]), value;
    status = db_cur_move(cur, move, &key, &value);
    if (status == SL_OK && sl_get_u64(key.data) == seqs[i]) {
      status = db_cur_del(cur);
      ++*gone;
      i++;
      move = DB_NEXT;
    } else if (status == SL_OK || status == SL_NOTFOUND) {
      if (move == DB_FIND) i++; /* another process's trim was here */
      move = DB_FIND;
      status = SL_OK;
    }
  }
  db_cur_close(cur);
  return status;
}

static sl_status remove_once(sl_store *store, const uint64_t *seqs, size_t count, uint64_t *removed) {
  db_txn *txn;
  log_meta meta;
  uint64_t last, gone = 0;
  int64_t ignored;
  *removed = 0;
  /* Durable also in a relaxed store: receipts are forgotten afterwards, and an event that a power cut brought
   * back without its receipt would have no fate. */
  sl_status status = db_begin_write(store->log->env, false, &txn);
  if (status != SL_OK) return status;
  status = log_newest(txn, &last, &ignored);
  if (status == SL_OK) status = log_meta_read(txn, &meta);
  if (status == SL_OK && count > 0 && seqs[count - 1] >= last)
    status = sl_fail(SL_E_INVALID, "the newest event is never removed: seqs would be used twice");
  if (status == SL_OK) status = remove_records(txn, seqs, count, &gone);
  if (status == SL_OK) status = first_kept(txn, &meta.first_seq);
  if (status == SL_OK) {
    meta.trimmed += gone;
    log_meta_write(txn, &meta);
    log_eras_prune(txn, meta.first_seq);
  }
  if (status != SL_OK) db_txn_fail(txn, status);
  status = db_commit(txn);
  if (status != SL_OK) return status;
  *removed = gone;
  return SL_OK;
}

sl_status log_remove_counted(sl_store *store, const uint64_t *seqs, size_t count, uint64_t *removed) {
  sl_status status = remove_once(store, seqs, count, removed);
  if (status == SL_E_FULL && space_release_ballast(store)) status = remove_once(store, seqs, count, removed);
  return status;
}

sl_status log_remove(sl_store *store, const uint64_t *seqs, size_t count) {
  uint64_t ignored;
  return log_remove_counted(store, seqs, count, &ignored);
}

/* ------------------------------------------------------------- deciding --- */

static int64_t age_of(const sl_trim_policy *p, sl_slice topic) {
  for (size_t i = 0; i < p->topic_count; i++)
    if (sl_glob_match(p->topics[i].topic, topic)) return p->topics[i].max_age_us;
  return p->max_age_us;
}

static int64_t least_age(const sl_trim_policy *p) {
  int64_t least = p->max_age_us;
  for (size_t i = 0; i < p->topic_count; i++)
    if (p->topics[i].max_age_us > 0 && (least == 0 || p->topics[i].max_age_us < least))
      least = p->topics[i].max_age_us;
  return least;
}

static int64_t time_of(const trim *t, uint64_t seq, const sl_parts *parts) {
  int64_t us = parts->appended_us + parts->clamp_us;
  for (size_t i = 0; i < t->era_count; i++)
    if (seq <= t->eras[i].last) return us < t->eras[i].bound_us ? us : t->eras[i].bound_us;
  return us;
}

/* Of what decides how old an event is: with a new era earlier ones may be older than they looked. */
static uint64_t ages_hash(const trim *t) {
  const sl_trim_policy *p = t->policy;
  uint64_t hash = XXH3_64bits(&p->max_age_us, sizeof p->max_age_us);
  for (size_t i = 0; i < p->topic_count; i++) {
    hash = XXH3_64bits_withSeed(p->topics[i].topic.data, p->topics[i].topic.len, hash);
    hash = XXH3_64bits_withSeed(&p->topics[i].max_age_us, sizeof p->topics[i].max_age_us, hash);
  }
  for (size_t i = 0; i < t->era_count; i++)
    hash = XXH3_64bits_withSeed(&t->eras[i].bound_us, sizeof t->eras[i].bound_us, hash);
  return hash ? hash : 1;
}

/* With ages of topics, old events of long-lived topics stay in front and would be read anew by every trim;
 * so what the last one found is remembered until the first of them comes of age. */
static void recall(trim *t) {
  trim_memo *memo = &t->store->log->memo;
  if (t->policy->topic_count == 0 || t->must_go > 0) return;
  pthread_mutex_lock(&memo->lock);
  if (memo->ages == ages_hash(t) && t->now_us < memo->next_us) {
    if (memo->upto > t->at) t->at = memo->upto;
    t->next_us = memo->next_us;
  }
  pthread_mutex_unlock(&memo->lock);
}

static void remember(const trim *t) {
  trim_memo *memo = &t->store->log->memo;
  if (t->policy->topic_count == 0) return;
  pthread_mutex_lock(&memo->lock);
  memo->ages = ages_hash(t);
  memo->upto = t->at;
  memo->next_us = t->next_us;
  pthread_mutex_unlock(&memo->lock);
}

/* One record: does the policy want it gone? Sets t->done at the first from which on nothing can. */
static bool wanted(trim *t, uint64_t seq, const sl_parts *parts) {
  if (t->must_go > 0) {
    t->must_go--;
    return true;
  }
  if (t->least_age_us == 0) {
    t->done = true;
    return false;
  }
  int64_t age = age_of(t->policy, parts->topic), us = time_of(t, seq, parts);
  if (age > 0 && us <= t->now_us - age) return true;
  if (us > t->now_us - t->least_age_us) t->done = true;
  else if (age > 0 && us <= INT64_MAX - age && us + age < t->next_us) t->next_us = us + age;
  return false;
}

/* Fills t->seqs from one read transaction. */
static sl_status look(trim *t) {
  log_view *view;
  t->count = 0;
  sl_status status = log_view_open(t->store, &view);
  if (status != SL_OK) return status;
  uint64_t last = log_view_head(view)->last_seq;
  if (t->at < log_view_head(view)->first_seq) t->at = log_view_head(view)->first_seq;
  for (unsigned seen = 0; seen < STEP && !t->done; seen++) {
    sl_parts parts;
    uint64_t seq = 0;
    if (seen % BREATHE_EVERY == 0) sl_breathe();
    sl_status found = log_view_next(view, t->at, true, &seq, &parts);
    if (found == SL_E_CORRUPT && seq == 0) status = found;
    else if (found != SL_OK && found != SL_E_CORRUPT && found != SL_NOTFOUND) status = found;
    if (status != SL_OK || found == SL_NOTFOUND || seq >= last || t->removed + t->count >= t->budget) {
      t->done = true;
      break;
    }
    /* An unreadable record has no age; verify and repair deal with it. */
    if (found == SL_E_CORRUPT) {
      t->at = seq + 1;
      continue;
    }
    bool gone = wanted(t, seq, &parts);
    if (gone && seq > t->limit) {
      t->held = t->done = true;
      break;
    }
    if (t->done) break;
    if (gone) t->seqs[t->count++] = seq;
    t->at = seq + 1;
  }
  log_view_close(view);
  return status;
}

/* How many of the oldest have to go for the two limits that no age shields from. */
static sl_status by_amount(trim *t) {
  const sl_trim_policy *p = t->policy;
  t->must_go = p->max_events && t->kept > p->max_events ? t->kept - p->max_events : 0;
  if (!p->max_bytes || t->kept == 0) return SL_OK;
  uint64_t used;
  sl_status status = log_bytes_used(t->store, &used);
  if (status != SL_OK || used <= p->max_bytes) return status;
  uint64_t each = used / t->kept + 1;
  uint64_t go = (used - p->max_bytes + each - 1) / each;
  if (go > t->must_go) t->must_go = go;
  return SL_OK;
}

static sl_status read_limit(trim *t) {
  index_view *index;
  book_view *book;
  sl_status status = index_view_open(t->store, &index);
  if (status != SL_OK) return status;
  t->limit = index_view_watermark(index);
  index_view_close(index);
  status = book_view_open(t->store, &book);
  if (status != SL_OK) return status;
  uint64_t settled = book_view_trim_limit(book);
  if (settled < t->limit) t->limit = settled;
  book_view_close(book);
  uint64_t held;
  status = readers_hold(t->store, &held);
  if (status == SL_OK && held < t->limit) t->limit = held;
  return status;
}

static sl_status read_log(trim *t, uint64_t *first_seq) {
  log_view *view;
  sl_status status = log_view_open(t->store, &view);
  if (status != SL_OK) return status;
  t->kept = log_view_head(view)->kept;
  *first_seq = log_view_head(view)->first_seq;
  free(t->eras);
  t->eras = NULL;
  status = log_view_eras(view, &t->eras, &t->era_count);
  log_view_close(view);
  return status;
}

/* One pass from the oldest event on. *more: a limit by amount is not met yet and another pass can help. What was
 * appended during a pass is the next one's: each is shorter than the last as long as trim is the faster of the
 * two, and whoever is not has removed a step at the least. */
static sl_status pass(trim *t, uint64_t *first_seq, bool *more) {
  uint64_t before = t->removed;
  sl_status status = read_log(t, first_seq);
  if (status == SL_OK) status = by_amount(t);
  if (status != SL_OK) return status;
  t->done = false;
  t->at = 0;
  t->next_us = INT64_MAX;
  recall(t);
  while (status == SL_OK && !t->done) {
    uint64_t gone = 0;
    status = look(t);
    if (status == SL_OK && t->count > 0) status = log_remove_counted(t->store, t->seqs, t->count, &gone);
    t->removed += gone;
  }
  if (status == SL_OK && !t->held) remember(t);
  const uint64_t gone = t->removed - before;
  *more = !t->held && t->removed < t->budget &&
          ((t->policy->max_bytes && gone > 0) || (t->policy->max_events && gone >= STEP));
  return status;
}

sl_status sl_trim(sl_store *store, const sl_trim_policy *policy, sl_trim_result *result) {
  static const sl_trim_policy nothing = {0};
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  if (!policy) policy = &nothing;
  if (policy->version > SL_TRIM_VERSION || policy->flags)
    return sl_fail(SL_E_INVALID, "sl_trim_policy: unknown version or flags");
  if (policy->max_age_us < 0 || (policy->topic_count > 0 && !policy->topics))
    return sl_fail(SL_E_INVALID, "sl_trim_policy: a negative age, or topics is NULL");
  for (size_t i = 0; i < policy->topic_count; i++)
    if (policy->topics[i].max_age_us < 0 || policy->topics[i].topic.len == 0 || !policy->topics[i].topic.data)
      return sl_fail(SL_E_INVALID, "sl_trim_policy: topic %zu has no name or a negative age", i);
  trim *t = calloc(1, sizeof *t);
  if (!t) return sl_fail(SL_E_NOMEM, "out of memory");
  uint64_t first_seq = 0;
  t->store = store;
  t->policy = policy;
  t->now_us = sl_clock_wall_us();
  t->least_age_us = least_age(policy);
  t->budget = policy->budget ? policy->budget : UINT64_MAX;
  bool more = true;
  status = read_limit(t);
  while (status == SL_OK && more) status = pass(t, &first_seq, &more);
  if (status == SL_OK) status = read_log(t, &first_seq);
  /* Also when nothing was removed now: a crash may have come between the removal and this. */
  if (status == SL_OK) status = index_drop_trimmed(store);
  if (status == SL_OK && first_seq > 1) status = book_forget_below(store, first_seq);
  if (status == SL_OK && first_seq > 1) status = readers_forget_below(store, first_seq);
  if (status == SL_OK) space_restore_ballast(store);
  if (status == SL_OK && result)
    *result = (sl_trim_result){.removed = t->removed, .held = t->held, .first_seq = t->kept ? first_seq : 0};
  free(t->eras);
  free(t);
  return status;
}
