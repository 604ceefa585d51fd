/* The gate in front of the book: an attempt passes only if it keeps I1, I2 and I5 of delivery.h.
 *
 * What "covers" means with lanes. For each topic T let S(T) be its lane's seq, or the progress's seq when it
 * has no lane: everything of T up to S(T) is settled. An attempt moves S to S'. Then
 *   - S'(T) >= S(T) for every T;
 *   - an event above the old cursor has one verdict: LANE if it lies beyond S'(T), else another;
 *   - an event that waits in a lane has one lane verdict if it lies at or below S'(T), else none.
 * With these three every event is settled exactly once over all attempts, whatever the agent does. */
#include "base/breathe.h"
#include "base/clock.h"
#include "delivery/delivery_impl.h"
#include "index/index.h"
#include "store/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>

#define VIEW_STEP 2000u /* events read in one log transaction */
#define PLACES 32u      /* of them found at once */

typedef struct walk {
  sl_store *store;
  const delivery_attempt *attempt;
  delivery_plan *plan;
  book_view *book;
  log_view *log;
  uint64_t looked; /* in this log view */
  int64_t now;
} walk;

void delivery_plan_free(delivery_plan *plan) {
  sl_buf_free(&plan->bytes);
  sl_buf_free(&plan->progress);
  free(plan->puts);
  plan->puts = NULL;
  plan->count = plan->cap = 0;
}

/* Opens the log view, or a fresh one when this one has served long enough. Invalidates parts. */
static sl_status walk_log(walk *w) {
  if (w->log && w->looked < VIEW_STEP) return SL_OK;
  log_view_close(w->log);
  w->log = NULL;
  w->looked = 0;
  return log_view_open(w->store, &w->log);
}

/* ------------------------------------------------------------------ puts --- */

static delivery_put *plan_begin(delivery_plan *plan, unsigned table, uint64_t seq) {
  if (plan->count == plan->cap) {
    const size_t cap = plan->cap ? plan->cap * 2 : 16;
    delivery_put *grown = realloc(plan->puts, cap * sizeof *grown);
    if (!grown) return NULL;
    plan->puts = grown;
    plan->cap = cap;
  }
  delivery_put *put = &plan->puts[plan->count];
  *put = (delivery_put){.table = table, .seq = seq, .offset = plan->bytes.len};
  return put;
}

static sl_status plan_receipts(walk *w, unsigned table, uint64_t seq, const sl_receipt *receipts,
                               uint32_t count, bool at_settle) {
  delivery_put *put = plan_begin(w->plan, table, seq);
  if (!put) return sl_fail(SL_E_NOMEM, "out of memory");
  const sl_receipt_block head = {.first_seq = seq,
                                 .attempt = w->attempt->progress.attempt,
                                 .settled_us = w->now,
                                 .count = count};
  sl_status status = sl_receipt_block_encode(&head, receipts, &w->plan->bytes);
  if (status != SL_OK) return status;
  put->at_settle = at_settle;
  put->len = w->plan->bytes.len - put->offset;
  w->plan->count++;
  return SL_OK;
}

/* A dead letter waits for its copy on a dead-letter topic; what was dropped on purpose does not. */
static sl_status plan_outbox(walk *w, uint64_t seq, sl_slice topic) {
  delivery_put *put = plan_begin(w->plan, DELIVERY_OUTBOX, seq);
  if (!put) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_buf_append(&w->plan->bytes, topic.data, topic.len);
  put->len = topic.len;
  w->plan->count++;
  return SL_OK;
}

static sl_status plan_letter(walk *w, const delivery_verdict *verdict) {
  delivery_put *put = plan_begin(w->plan, BOOK_DEAD, verdict->seq);
  if (!put) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_letter letter = *verdict->letter;
  letter.seq = verdict->seq;
  letter.attempt = w->attempt->progress.attempt;
  sl_status status = sl_letter_encode(&letter, &w->plan->bytes);
  if (status != SL_OK) return status;
  put->len = w->plan->bytes.len - put->offset;
  w->plan->count++;
  return SL_OK;
}

/* -------------------------------------------------------------- verdicts --- */

static const sl_lane *find_lane(const sl_progress *progress, sl_slice topic) {
  for (size_t i = 0; i < progress->lane_count; i++)
    if (sl_slice_eq(progress->lanes[i].topic, topic)) return &progress->lanes[i];
  return NULL;
}

static uint64_t settled_to(const sl_progress *progress, sl_slice topic) {
  const sl_lane *lane = progress->lane_count ? find_lane(progress, topic) : NULL;
  return lane ? lane->seq : progress->seq;
}

static sl_status check_verdict(const delivery_verdict *v) {
  if (v->copied && v->verdict != SL_VERDICT_DEAD)
    return sl_fail(SL_E_INVALID, "event %" PRIu64 " is not dead, so there is no letter to copy", v->seq);
  switch (v->verdict) {
  case SL_VERDICT_SENT:
    if (v->partition < -1 || v->place < -1 || (v->partition < 0 && v->place >= 0))
      return sl_fail(SL_E_INVALID,
                     "event %" PRIu64 ": sent to partition %d at offset %" PRId64 " makes no sense", v->seq,
                     (int)v->partition, v->place);
    return SL_OK;
  case SL_VERDICT_DUPLICATE:
    if (v->place <= 0 || (uint64_t)v->place >= v->seq)
      return sl_fail(SL_E_INVALID, "event %" PRIu64 " cannot be a duplicate of event %" PRId64, v->seq,
                     v->place);
    return SL_OK;
  case SL_VERDICT_DEAD:
  case SL_VERDICT_DROPPED:
    if (!v->letter) return sl_fail(SL_E_INVALID, "event %" PRIu64 " is given up without a letter", v->seq);
    return SL_OK;
  case SL_VERDICT_LANE: return SL_OK;
  default: return sl_fail(SL_E_INVALID, "event %" PRIu64 " has the unknown verdict %u", v->seq, v->verdict);
  }
}

static sl_receipt receipt_of(const delivery_verdict *v) {
  sl_receipt receipt = {.verdict = v->verdict, .partition = -1, .place = 0};
  if (v->verdict == SL_VERDICT_SENT) receipt.partition = v->partition;
  if (v->verdict == SL_VERDICT_SENT || v->verdict == SL_VERDICT_DUPLICATE) receipt.place = v->place;
  return receipt;
}

/* A replay's copy is no event: it moves its original from dead to what became of the copy, once. */
static sl_status tally_copy(walk *w, uint64_t origin, const delivery_verdict *v) {
  book_totals *totals = &w->plan->totals;
  totals->copies++;
  if (v->verdict != SL_VERDICT_SENT && v->verdict != SL_VERDICT_DROPPED) return SL_OK;
  for (size_t i = 0; i < w->plan->count; i++)
    if (w->plan->puts[i].at_settle && w->plan->puts[i].seq == origin) return SL_OK;
  sl_receipt receipt;
  sl_receipt_block head;
  sl_status status = book_receipt_find(w->book, origin, &receipt, &head);
  if (status == SL_NOTFOUND) return SL_OK; /* trimmed since */
  if (status != SL_OK) return status;
  if (receipt.verdict == SL_VERDICT_DROPPED && v->verdict == SL_VERDICT_SENT && !w->attempt->marked &&
      totals->dropped > 0) {
    totals->dropped--; /* it is on the broker already, whatever a person wanted meanwhile */
  } else if (receipt.verdict != SL_VERDICT_DEAD && v->verdict == SL_VERDICT_SENT && w->attempt->marked) {
    return sl_fail(SL_NOTFOUND, "event %" PRIu64 " is no longer dead, so its replay %" PRIu64 " must not be sent: "
                   "abort it", origin, v->seq);
  } else if (receipt.verdict != SL_VERDICT_DEAD || totals->dead == 0) {
    return SL_OK;
  } else {
    totals->dead--;
  }
  if (v->verdict == SL_VERDICT_SENT) totals->delivered++;
  else totals->dropped++;
  receipt = receipt_of(v);
  return plan_receipts(w, BOOK_SPARSE, origin, &receipt, 1, true);
}

static sl_status tally(walk *w, const sl_parts *parts, const delivery_verdict *v) {
  sl_status status = SL_OK;
  const bool tombstone = parts && (parts->flags & SL_RECORD_DROPPED);
  /* Before its commit a transaction can still be aborted, and then the event was not sent. What is on the broker
   * already (at-least-once) was sent, whatever became of its record meanwhile. */
  if (tombstone && w->attempt->marked && v->verdict != SL_VERDICT_DROPPED && v->verdict != SL_VERDICT_LANE)
    return sl_fail(SL_NOTFOUND, "event %" PRIu64 " was dropped by the full store before its transaction was "
                   "committed: abort it", v->seq);
  if (v->verdict == SL_VERDICT_DEAD || v->verdict == SL_VERDICT_DROPPED) status = plan_letter(w, v);
  if (status == SL_OK && v->verdict == SL_VERDICT_DEAD && parts && !v->copied)
    status = plan_outbox(w, v->seq, parts->topic);
  if (status != SL_OK || v->verdict == SL_VERDICT_LANE) return status;
  if (parts && (parts->flags & SL_RECORD_REPLAY)) return tally_copy(w, parts->origin_seq, v);
  book_totals *totals = &w->plan->totals;
  totals->drops += tombstone;
  switch (v->verdict) {
  case SL_VERDICT_SENT: totals->delivered++; break;
  case SL_VERDICT_DUPLICATE: totals->duplicates++; break;
  case SL_VERDICT_DEAD: totals->dead++; break;
  default: totals->dropped++; break;
  }
  return SL_OK;
}

/* ------------------------------------------------- events above the cursor --- */

/* An event of the log with its verdict. parts NULL: it cannot be read, and so can only be given up. */
static sl_status take_event(walk *w, uint64_t seq, const sl_parts *parts, const delivery_verdict *v,
                            sl_receipt *receipt) {
  sl_status status = check_verdict(v);
  if (status != SL_OK) return status;
  const bool lane = v->verdict == SL_VERDICT_LANE;
  *receipt = receipt_of(v);
  if (!parts) {
    if (v->verdict == SL_VERDICT_DEAD || v->verdict == SL_VERDICT_DROPPED) return tally(w, NULL, v);
    return sl_fail(SL_E_CORRUPT, "event %" PRIu64 " cannot be read, so it cannot have been delivered", seq);
  }
  const uint64_t settled = settled_to(&w->attempt->progress, parts->topic);
  if (lane != (seq > settled))
    return sl_fail(SL_E_INVALID,
                   "event %" PRIu64 " of topic %.*s has the verdict %u, but its topic is settled up to "
                   "%" PRIu64,
                   seq, (int)parts->topic.len, (const char *)parts->topic.data, v->verdict, settled);
  if (lane) receipt->place = (int64_t)book_topic_hash(parts->topic);
  return tally(w, parts, v);
}

/* One event of the log. *next is the position in the attempt's verdicts. */
static sl_status take_place(walk *w, const log_place *place, size_t *next, sl_receipt *receipt) {
  const delivery_attempt *attempt = w->attempt;
  const delivery_verdict *v = *next < attempt->count ? &attempt->verdicts[*next] : NULL;
  sl_parts parts;
  if (!v || v->seq > place->seq)
    return sl_fail(SL_E_INVALID,
                   "event %" PRIu64 " has no verdict: an intent must cover every event up to %" PRIu64,
                   place->seq, attempt->progress.seq);
  if (v->seq < place->seq)
    return sl_fail(SL_E_INVALID,
                   "there is a verdict of event %" PRIu64
                   ", which the log does not hold or which has one already",
                   v->seq);
  ++*next;
  const sl_status status = log_view_decode(w->log, place->seq, place->bytes, LOG_NAMES, &parts);
  if (status != SL_OK && status != SL_E_CORRUPT) return status;
  return take_event(w, place->seq, status == SL_OK ? &parts : NULL, v, receipt);
}

/* One block of receipts: seqs first..last. Many records are found before the first is looked at: their bytes come
 * from memory meanwhile, and nothing else takes as long here. */
static sl_status take_block(walk *w, uint64_t first, uint64_t last, size_t *next, sl_receipt *receipts) {
  log_place places[PLACES];
  size_t count;
  for (uint64_t i = 0; i <= last - first; i++)
    receipts[i] = (sl_receipt){.verdict = SL_VERDICT_NONE, .partition = -1};
  for (uint64_t seq = first; seq <= last; seq = places[count - 1].seq + 1) {
    sl_status status = walk_log(w);
    if (status == SL_OK) status = log_view_places(w->log, seq, last, places, PLACES, &count);
    if (status != SL_OK) return status;
    if (count == 0) break;
    sl_breathe();
    for (size_t i = 0; i < count && status == SL_OK; i++)
      status = take_place(w, &places[i], next, &receipts[places[i].seq - first]);
    if (status != SL_OK) return status;
    w->looked += count;
  }
  return plan_receipts(w, BOOK_RECEIPTS, first, receipts, (uint32_t)(last - first + 1), false);
}

static sl_status take_range(walk *w) {
  const delivery_attempt *attempt = w->attempt;
  const uint64_t cursor = w->book->cursor.seq, end = attempt->progress.seq;
  size_t next = 0;
  sl_receipt *receipts = malloc(SL_RECEIPT_BLOCK_MAX * sizeof *receipts);
  if (!receipts) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = SL_OK;
  for (uint64_t first = cursor + 1; first <= end && status == SL_OK;) {
    const uint64_t last = end - first < SL_RECEIPT_BLOCK_MAX ? end : first + SL_RECEIPT_BLOCK_MAX - 1;
    status = take_block(w, first, last, &next, receipts);
    first = last + 1;
  }
  free(receipts);
  if (status == SL_OK && next < attempt->count)
    return sl_fail(SL_E_INVALID,
                   "there is a verdict of event %" PRIu64
                   ", which the log does not hold between the cursor %" PRIu64 " and %" PRIu64,
                   attempt->verdicts[next].seq, cursor, end);
  return status;
}

/* --------------------------------------------------------- events in lanes --- */

typedef struct lane_walk {
  walk *w;
  const delivery_verdict **sorted;
  size_t next;
} lane_walk;

static int by_seq(const void *a, const void *b) {
  const delivery_verdict *const *p = a, *const *q = b;
  const uint64_t x = (*p)->seq, y = (*q)->seq;
  return (x > y) - (x < y);
}

static sl_status take_waiting(void *arg, uint64_t seq, size_t lane) {
  lane_walk *lw = arg;
  walk *w = lw->w;
  const delivery_attempt *attempt = w->attempt;
  const uint64_t settled = settled_to(&attempt->progress, w->book->lanes[lane].topic);
  const delivery_verdict *v = lw->next < attempt->lane_count ? lw->sorted[lw->next] : NULL;
  if (v && v->seq < seq)
    return sl_fail(SL_E_INVALID,
                   "there is a lane verdict of event %" PRIu64 ", which does not wait in a lane", v->seq);
  if (seq > settled) {
    if (v && v->seq == seq)
      return sl_fail(SL_E_INVALID,
                     "event %" PRIu64 " has a lane verdict but lies beyond its lane's new seq %" PRIu64, seq,
                     settled);
    return SL_OK;
  }
  if (!v || v->seq != seq)
    return sl_fail(SL_E_INVALID,
                   "event %" PRIu64 " waits in the lane of %.*s, which moves beyond it, without a verdict",
                   seq, (int)w->book->lanes[lane].topic.len, (const char *)w->book->lanes[lane].topic.data);
  if (v->verdict == SL_VERDICT_LANE)
    return sl_fail(SL_E_INVALID, "event %" PRIu64 " leaves its lane without a verdict", seq);
  sl_status status = check_verdict(v);
  if (status == SL_OK) status = walk_log(w);
  if (status != SL_OK) return status;
  sl_parts parts;
  const sl_status read = log_view_get(w->log, seq, true, &parts);
  w->looked++;
  if (read != SL_OK && read != SL_NOTFOUND && read != SL_E_CORRUPT) return read;
  lw->next++;
  const sl_receipt receipt = receipt_of(v);
  status = plan_receipts(w, BOOK_SPARSE, seq, &receipt, 1, false);
  return status == SL_OK ? tally(w, read == SL_OK ? &parts : NULL, v) : status;
}

static sl_status take_lanes(walk *w) {
  const delivery_attempt *attempt = w->attempt;
  const sl_progress *before = &w->book->cursor, *after = &attempt->progress;
  uint64_t reach = 0; /* how far the lanes that move go */
  for (size_t i = 0; i < before->lane_count; i++) {
    const uint64_t from = before->lanes[i].seq, to = settled_to(after, before->lanes[i].topic);
    if (to < from)
      return sl_fail(SL_E_INVALID, "the lane of %.*s steps back from %" PRIu64 " to %" PRIu64,
                     (int)before->lanes[i].topic.len, (const char *)before->lanes[i].topic.data, from, to);
    if (to > from && to > reach) reach = to;
  }
  for (size_t i = 0; i < after->lane_count; i++)
    if (!find_lane(before, after->lanes[i].topic) && after->lanes[i].seq < before->seq)
      return sl_fail(SL_E_INVALID, "the lane of %.*s opens at %" PRIu64 ", below the cursor %" PRIu64,
                     (int)after->lanes[i].topic.len, (const char *)after->lanes[i].topic.data,
                     after->lanes[i].seq, before->seq);
  if (attempt->lane_count == 0 && reach == 0) return SL_OK;
  lane_walk lw = {.w = w};
  lw.sorted = malloc((attempt->lane_count + 1) * sizeof *lw.sorted);
  if (!lw.sorted) return sl_fail(SL_E_NOMEM, "out of memory");
  for (size_t i = 0; i < attempt->lane_count; i++) lw.sorted[i] = &attempt->lane_verdicts[i];
  qsort(lw.sorted, attempt->lane_count, sizeof *lw.sorted, by_seq);
  if (attempt->lane_count && lw.sorted[attempt->lane_count - 1]->seq > reach)
    reach = lw.sorted[attempt->lane_count - 1]->seq;
  sl_status status = book_lane_each(w->book, reach, take_waiting, &lw);
  if (status == SL_OK && lw.next < attempt->lane_count)
    status = sl_fail(SL_E_INVALID,
                     "there is a lane verdict of event %" PRIu64 ", which does not wait in a lane",
                     lw.sorted[lw.next]->seq);
  free(lw.sorted);
  return status;
}

/* ------------------------------------------------------------------ gate --- */

static sl_status check_progress(walk *w) {
  const sl_progress *before = &w->book->cursor, *after = &w->attempt->progress;
  if (w->book->has_intent)
    return sl_fail(SL_E_INVALID,
                   "attempt %" PRIu64 " has no known outcome yet: settle or abandon it before the next one",
                   w->book->intent_attempt);
  sl_slice value;
  sl_status status = book_meta_get(w->book->txn, BOOK_KEY_ATTEMPT, &value);
  if (status == SL_NOTFOUND || (status == SL_OK && value.len != 8))
    return sl_fail(SL_E_CORRUPT, "delivery/ has no attempt number: restore it from a backup");
  if (status != SL_OK) return status;
  const uint64_t last = sl_get_u64(value.data);
  if (after->attempt != last + 1)
    return sl_fail(SL_E_INVALID,
                   "attempt %" PRIu64 " follows attempt %" PRIu64 ": numbers ascend by one, never reused",
                   after->attempt, last);
  if (after->seq < before->seq || after->dlq_no < before->dlq_no)
    return sl_fail(SL_E_INVALID, "progress steps back from %" PRIu64 " to %" PRIu64, before->seq, after->seq);
  index_view *index;
  status = index_view_open(w->store, &index);
  if (status != SL_OK) return status;
  const uint64_t watermark = index_view_watermark(index);
  index_view_close(index);
  /* A duplicate not yet recognised would be delivered. Nothing new is no delivery: a claim may be written
   * while a reindex has the watermark below the cursor. */
  if (after->seq > watermark && after->seq > before->seq)
    return sl_fail(SL_E_INVALID, "progress to %" PRIu64 " would pass the index, which has reached %" PRIu64,
                   after->seq, watermark);
  return SL_OK;
}

sl_status delivery_plan_make(sl_store *store, const delivery_attempt *attempt, delivery_plan *plan) {
  *plan = (delivery_plan){0};
  walk w = {.store = store, .attempt = attempt, .plan = plan, .now = sl_clock_wall_us()};
  sl_status status = sl_progress_encode(&attempt->progress, &plan->progress);
  if (status == SL_OK) status = book_view_open(store, &w.book);
  if (status == SL_OK) {
    plan->before = plan->totals = w.book->totals;
    plan->number = attempt->progress.attempt;
    status = check_progress(&w);
  }
  if (status == SL_OK) status = outbox_check(w.book, attempt);
  if (status == SL_OK) status = take_lanes(&w);
  if (status == SL_OK) status = take_range(&w);
  if (status == SL_OK && plan->bytes.failed) status = sl_fail(SL_E_NOMEM, "out of memory");
  log_view_close(w.log);
  book_view_close(w.book);
  return status;
}
