/* sl_verify: reads everything and says what does not fit. All of it runs beside producers, agent and trim, so
 * each pass looks through snapshots of its own (short: see snapshot.h for what each promises) and calls only
 * that a problem which no concurrent work can explain. */
#include "repair/verify_impl.h"

#include "base/id.h"
#include "index/index_impl.h"
#include "readers/readers.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define STEP VERIFY_STEP
#define LAW_TRIES 5  /* literal counting begins again when a trim came between */

void verify_problem(verifier *v, uint64_t *counter, const char *format, ...) {
  char text[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (counter) ++*counter;
  v->report.problems++;
  if (v->fn) v->fn(v->arg, text);
}

/* --------------------------------------------------------------- records --- */

static const char *attribute_name(unsigned attr) {
  static const char *const names[] = {"event", "correlation", "causation", "type"};
  switch (attr) {
  case INDEX_KEY: return "key";
  case INDEX_TENANT: return "tenant";
  case INDEX_SOURCE: return "source";
  case INDEX_SECONDARY_ATTR: return "key, tenant or source";
  default: return names[attr];
  }
}

/* An earlier event with the same id in the same topic that is still kept; 0: none. */
static sl_status earlier_twin(verifier *v, uint64_t seq, const sl_parts *p, const uint8_t key[16],
                              uint64_t *twin) {
  uint64_t seqs[64], from = 1;
  *twin = 0;
  for (size_t count = 64; count == 64;) {
    sl_status status = index_view_seqs(v->snap.index, INDEX_EVENT, key, from, seqs, 64, &count);
    if (status != SL_OK) return status;
    for (size_t i = 0; i < count; i++) {
      if (seqs[i] >= seq) return SL_OK;
      sl_parts other;
      status = log_view_get(v->snap.log, seqs[i], true, &other);
      if (status == SL_NOTFOUND || status == SL_E_CORRUPT) continue;
      if (status != SL_OK) return status;
      if (!sl_slice_eq(other.event_id, p->event_id) || !sl_slice_eq(other.topic, p->topic)) continue;
      *twin = seqs[i];
      return SL_OK;
    }
    if (count) from = seqs[count - 1] + 1;
  }
  return SL_OK;
}

/* Log to index: is every attribute of an indexed event there, and is it known as a duplicate if it is one? */
static sl_status check_indexed(verifier *v, uint64_t seq, const sl_parts *p) {
  uint8_t key[16];
  const uint32_t secondary = index_view_attributes(v->snap.index, seq);
  for (unsigned i = 0; i < INDEX_LIST_SECONDARY + INDEX_SECONDARY_COUNT; i++) {
    const index_attr attr = i < INDEX_LIST_SECONDARY ? (index_attr)i : index_secondary[i - INDEX_LIST_SECONDARY];
    const sl_slice text = index_text_of(attr, p);
    if (text.len == 0 || (i >= INDEX_LIST_SECONDARY && !(secondary & index_bit(attr)))) continue;
    index_key_of(attr, text, key);
    sl_status status = index_view_has(v->snap.index, attr, key, seq);
    if (status == SL_NOTFOUND)
      verify_problem(v, &v->report.index_errors,
              "event %" PRIu64 ": its %s is not in the index: run `sidelog reindex`", seq,
              attribute_name(attr));
    else if (status != SL_OK) return status;
  }
  uint64_t known = 0, twin = 0;
  sl_status status = index_view_duplicate_of(v->snap.index, seq, &known);
  if (status != SL_OK || known || (p->flags & SL_RECORD_REPLAY)) return status;
  sl_id_key(p->event_id, key);
  status = earlier_twin(v, seq, p, key, &twin);
  if (status == SL_OK && twin)
    verify_problem(v, &v->report.index_errors,
            "event %" PRIu64 " is a duplicate of event %" PRIu64 " and the index does not know it: run "
            "`sidelog reindex`", seq, twin);
  return status;
}

/* A settled event must have its receipt, with all that belongs to it. */
static sl_status check_fate(verifier *v, uint64_t seq, sl_slice topic) {
  book_fate fate;
  sl_status status = book_view_fate(v->snap.book, seq, topic, &fate);
  if (status == SL_E_CORRUPT) {
    verify_problem(v, &v->report.receipt_errors, "%s", sl_last_detail());
    return SL_OK;
  }
  return status;
}

static sl_status check_record(verifier *v, uint64_t seq, bool damaged, const sl_parts *p) {
  v->report.events++;
  if (damaged) {
    verify_problem(v, &v->report.bad_records, "%s", sl_last_detail());
    return SL_OK;
  }
  sl_status status = verify_time(v, seq, p->appended_us + p->clamp_us);
  if (status == SL_OK && seq <= index_view_watermark(v->snap.index)) status = check_indexed(v, seq, p);
  return status == SL_OK ? check_fate(v, seq, p->topic) : status;
}

/* Trim removes nothing above its limit, so a hole there is a record lost. The limit of the snapshot's book
 * will not do: trim may have gone further between it and the log. *limit is one read after the log. */
static sl_status limit_now(verifier *v, uint64_t beyond, uint64_t *limit) {
  *limit = book_view_trim_limit(v->snap.book);
  if (beyond <= *limit) return SL_OK;
  book_view *book;
  sl_status status = book_view_open(v->store, &book);
  if (status != SL_OK) return status;
  *limit = book_view_trim_limit(book);
  book_view_close(book);
  return SL_OK;
}

static sl_status check_hole(verifier *v, uint64_t first, uint64_t last) {
  uint64_t limit;
  sl_status status = limit_now(v, last, &limit);
  if (status != SL_OK || last <= limit) return status;
  if (first <= limit) first = limit + 1;
  if (first == last)
    verify_problem(v, NULL, "event %" PRIu64 " is missing from the log, and no trim removed it", first);
  else
    verify_problem(v, NULL, "events %" PRIu64 " to %" PRIu64 " are missing from the log, and no trim removed them",
            first, last);
  v->report.sequence_errors += last - first + 1;
  return SL_OK;
}

static sl_status check_records(verifier *v) {
  uint64_t next = 1;
  for (bool more = true; more;) {
    sl_status status = snapshot_open(v->store, &v->snap);
    if (status != SL_OK) return status;
    const uint64_t first = log_view_head(v->snap.log)->first_seq, end = log_view_head(v->snap.log)->last_seq;
    if (next < first) next = first;
    more = false;
    for (unsigned looks = 0; status == SL_OK && next <= end; looks++) {
      if (looks == STEP) {
        more = true;
        break;
      }
      sl_parts parts;
      uint64_t found = 0;
      bool damaged;
      status = snapshot_next(v->snap.log, next, false, &found, &parts, &damaged);
      if (status == SL_OK) status = check_record(v, found, damaged, &parts);
      if (status == SL_OK && found > next) status = check_hole(v, next, found - 1);
      next = found + 1;
    }
    snapshot_close(&v->snap);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
  }
  return SL_OK;
}

/* Below the cursor trim leaves holes wherever its policy says so: there the log's own counts tell. */
static sl_status check_counts(verifier *v) {
  log_view *log;
  sl_status status = log_view_open(v->store, &log);
  if (status != SL_OK) return status;
  const log_head head = *log_view_head(log);
  log_view_close(log);
  const uint64_t known = head.kept + head.trimmed;
  if (known == head.last_seq) return SL_OK;
  if (known < head.last_seq) {
    const uint64_t lost = head.last_seq - known;
    if (lost <= v->report.sequence_errors) return SL_OK; /* said already, one by one */
    verify_problem(v, NULL,
            "%" PRIu64 " events are missing from the log: %" PRIu64 " appended, %" PRIu64 " kept, %" PRIu64
            " trimmed", lost, head.last_seq, head.kept, head.trimmed);
    v->report.sequence_errors = lost;
  } else {
    verify_problem(v, &v->report.sequence_errors,
            "the log has too many events: %" PRIu64 " appended, %" PRIu64 " kept, %" PRIu64 " trimmed",
            head.last_seq, head.kept, head.trimmed);
  }
  return SL_OK;
}

/* ----------------------------------------------------------------- index --- */

/* Does the event have this key? All secondary attributes share a table, so there it may be that of any of them. */
static bool has_key(const sl_parts *parts, index_attr attr, const uint8_t key[16]) {
  const bool shared = attr == INDEX_SECONDARY_ATTR;
  bool same = false;
  for (size_t i = 0; i < (shared ? INDEX_SECONDARY_COUNT : 1) && !same; i++) {
    const index_attr one = shared ? index_secondary[i] : attr;
    const sl_slice text = index_text_of(one, parts);
    uint8_t own[16];
    if (text.len == 0) continue;
    index_key_of(one, text, own);
    same = memcmp(own, key, 16) == 0;
  }
  return same;
}

/* Index to log: does each entry's event exist and say the same? */
static sl_status check_entry(void *arg, index_attr attr, const uint8_t key[16], uint64_t seq) {
  verifier *v = arg;
  v->report.index_entries++;
  if (seq > index_view_watermark(v->snap.index))
    verify_problem(v, &v->report.index_errors, "index/ has an entry of event %" PRIu64 " above its watermark",
                   seq);
  sl_parts parts;
  sl_status status = log_view_get(v->snap.log, seq, attr != INDEX_SECONDARY_ATTR, &parts);
  if (status == SL_NOTFOUND) {
    uint64_t limit;
    status = limit_now(v, seq, &limit);
    if (status != SL_OK) return status;
    if (seq > limit) /* else trimmed: its generation goes when all of it is */
      verify_problem(v, &v->report.index_errors, "index/ has the %s of event %" PRIu64 ", which is not in the log",
              attribute_name(attr), seq);
    return SL_OK;
  }
  if (status == SL_E_CORRUPT) return SL_OK; /* reported with the records */
  if (status != SL_OK) return status;
  if (!has_key(&parts, attr, key))
    verify_problem(v, &v->report.index_errors, "index/ has another %s for event %" PRIu64 " than the log: run "
            "`sidelog reindex`", attribute_name(attr), seq);
  return SL_OK;
}

static sl_status check_index(verifier *v) {
  index_pos pos = {0};
  for (bool done = false; !done;) {
    sl_status status = snapshot_open(v->store, &v->snap);
    if (status == SL_OK) status = index_scan(v->snap.index, &pos, STEP, check_entry, v, &done);
    snapshot_close(&v->snap);
    if (status != SL_OK) return status;
  }
  return SL_OK;
}

/* -------------------------------------------------------------- receipts --- */

static sl_status check_receipt(void *arg, uint64_t seq, const sl_receipt *receipt) {
  verifier *v = arg;
  v->report.receipts++;
  v->verdicts[receipt->verdict]++;
  if (receipt->verdict == SL_VERDICT_DUPLICATE && (uint64_t)receipt->place >= seq)
    verify_problem(v, &v->report.receipt_errors,
            "the receipt of event %" PRIu64 " calls it a duplicate of the later %" PRId64, seq,
            receipt->place);
  return SL_OK;
}

static sl_status check_receipts(verifier *v) {
  uint64_t from = 0;
  while (from != UINT64_MAX) {
    sl_status status = book_view_open(v->store, &v->snap.book);
    uint64_t damaged = 0;
    if (status == SL_OK) status = book_scan(v->snap.book, &from, STEP, check_receipt, v, &damaged);
    snapshot_close(&v->snap);
    if (status != SL_OK) return status;
    for (; damaged > 0; damaged--) verify_problem(v, &v->report.receipt_errors, "%s", sl_last_detail());
  }
  return SL_OK;
}

/* ------------------------------------------------------------------- law --- */

typedef struct tally {
  uint64_t cursor, last; /* of the first snapshot: totals are of its instant */
  uint64_t appended, pending;
  uint64_t tombstones; /* not settled: dropped by their own word */
  uint64_t drops;      /* the log's counter of tombstones ever made */
  bool dropping;       /* it moved meanwhile */
  book_totals totals;
} tally;

/* Counts what is pending record by record, as the book stood in the first snapshot. *disturbed: a trim has
 * removed meanwhile what was pending then (delivered since), so this count says nothing. */
static sl_status count_pending(verifier *v, tally *t, bool *disturbed) {
  uint64_t next = 1;
  book_view *book = NULL; /* kept open: the lanes of that instant decide. It holds pages of delivery/ only */
  sl_status status = snapshot_open(v->store, &v->snap);
  if (status != SL_OK) return status;
  *t = (tally){.cursor = book_view_cursor(v->snap.book)->seq,
               .last = log_view_head(v->snap.log)->last_seq,
               .appended = log_view_head(v->snap.log)->last_seq - log_view_head(v->snap.log)->copies,
               .totals = *book_view_totals(v->snap.book)};
  t->drops = log_view_head(v->snap.log)->drops;
  const uint64_t limit = book_view_trim_limit(v->snap.book);
  book = v->snap.book;
  v->snap.book = NULL;
  next = limit + 1;
  for (bool more = true; more && status == SL_OK;) {
    more = false;
    for (unsigned looks = 0; next <= t->last; looks++) {
      if (looks == STEP) {
        more = true;
        break;
      }
      sl_parts parts;
      uint64_t found = 0;
      bool damaged;
      status = snapshot_next(v->snap.log, next, true, &found, &parts, &damaged);
      if (status != SL_OK || found > t->last) break;
      const bool copy = !damaged && (parts.flags & SL_RECORD_REPLAY);
      const bool settled = damaged ? found <= t->cursor : book_view_settled(book, found, parts.topic);
      const bool tombstone = !damaged && (parts.flags & SL_RECORD_DROPPED);
      if (!settled && tombstone) t->tombstones++;
      else if (!settled && !copy) t->pending++;
      next = found + 1;
    }
    if (status == SL_NOTFOUND) status = SL_OK;
    t->dropping |= log_view_head(v->snap.log)->drops != t->drops;
    log_view_close(v->snap.log);
    v->snap.log = NULL;
    if (status == SL_OK && more) status = log_view_open(v->store, &v->snap.log);
  }
  book_view_close(book);
  snapshot_close(&v->snap);
  if (status != SL_OK) return status;
  status = book_view_open(v->store, &book);
  if (status != SL_OK) return status;
  *disturbed = book_view_trim_limit(book) > limit;
  book_view_close(book);
  return SL_OK;
}

static sl_status check_law(verifier *v) {
  tally t;
  bool disturbed = true;
  for (int i = 0; i < LAW_TRIES && disturbed; i++) {
    sl_status status = count_pending(v, &t, &disturbed);
    if (status != SL_OK) return status;
  }
  if (disturbed) { /* delivery moves all the time: count as statistics do, in one instant */
    sl_stats s;
    sl_status status = sl_stats_get(v->store, &s);
    if (status != SL_OK) return status;
    t.appended = s.appended;
    t.pending = s.pending;
    t.tombstones = 0;
    t.totals = (book_totals){.delivered = s.delivered, .duplicates = s.duplicates, .dead = s.dead,
                             .dropped = s.dropped};
  } else if (!t.dropping && t.drops != t.totals.drops + t.tombstones)
    verify_problem(v, NULL, "the log counts %" PRIu64 " events that the full store dropped, but %" PRIu64
                   " of them are settled and %" PRIu64 " wait for that", t.drops, t.totals.drops, t.tombstones);
  t.totals.dropped += t.tombstones;
  const book_totals *b = &t.totals;
  if (t.appended != b->delivered + b->duplicates + b->dead + b->dropped + t.pending)
    verify_problem(v, NULL,
            "out of balance: %" PRIu64 " appended, but %" PRIu64 " delivered, %" PRIu64 " duplicates, "
            "%" PRIu64 " dead, %" PRIu64 " dropped and %" PRIu64 " pending", t.appended, b->delivered,
            b->duplicates, b->dead, b->dropped, t.pending);
  return SL_OK;
}

/* In a store that was never trimmed every settled event has its receipt, so the totals can be recounted. A
 * replay gives its original a second one: then only the sum is compared, in check_law. */
static sl_status check_totals(verifier *v, uint64_t attempt_before) {
  snapshot snap;
  sl_status status = snapshot_open(v->store, &snap);
  if (status != SL_OK) return status;
  const log_head head = *log_view_head(snap.log);
  const book_totals totals = *book_view_totals(snap.book);
  const bool same = book_view_cursor(snap.book)->attempt == attempt_before;
  const bool quiet = same && head.trimmed == 0 && head.copies == 0;
  snapshot_close(&snap);
  if (!quiet || v->report.receipt_errors) return SL_OK;
  const uint64_t counted[] = {v->verdicts[SL_VERDICT_SENT], v->verdicts[SL_VERDICT_DUPLICATE],
                              v->verdicts[SL_VERDICT_DEAD], v->verdicts[SL_VERDICT_DROPPED]};
  const uint64_t kept[] = {totals.delivered, totals.duplicates, totals.dead, totals.dropped};
  static const char *const names[] = {"delivered", "duplicate", "dead", "dropped"};
  for (size_t i = 0; i < 4; i++)
    if (counted[i] != kept[i])
      verify_problem(v, &v->report.receipt_errors, "%" PRIu64 " receipts say %s, but the book's total is %" PRIu64,
              counted[i], names[i], kept[i]);
  return SL_OK;
}

static void tell_of_readers(void *arg, const char *text) { verify_problem(arg, NULL, "%s", text); }

sl_status sl_verify(sl_store *store, sl_verify_fn *fn, void *arg, sl_verify_report *report) {
  sl_status status = store_enter(store);
  if (status != SL_OK) return status;
  verifier v = {.store = store, .fn = fn, .arg = arg};
  uint64_t attempt = 0;
  book_view *book;
  status = book_view_open(store, &book);
  if (status != SL_OK) return status;
  attempt = book_view_cursor(book)->attempt;
  book_view_close(book);
  status = check_receipts(&v);
  if (status == SL_OK) status = verify_book(&v);
  if (status == SL_OK) status = check_totals(&v, attempt);
  if (status == SL_OK) status = check_records(&v);
  if (status == SL_OK) status = check_counts(&v);
  if (status == SL_OK) status = verify_names(&v);
  if (status == SL_OK) status = check_index(&v);
  if (status == SL_OK) status = verify_duplicates(&v);
  if (status == SL_OK) status = check_law(&v);
  if (status == SL_OK) status = readers_verify(store, tell_of_readers, &v);
  if (status == SL_OK && report) *report = v.report;
  return status;
}
