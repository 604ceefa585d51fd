/* Queries: the most selective condition that has an index gives the candidates up to the watermark, a scan of
 * the log gives the rest, each confirmed in the log. Reads a chunk per snapshot and copies it out: a reader
 * that stayed open for 20,000 transactions once grew a file by 750 MB. */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "db/db_file.h"
#include "query/query_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SEQS_AT_ONCE 256u
#define HITS_AHEAD 32u
#define FETCH_BYTES (16u << 10)  /* around a guess */
#define FETCH_SPREAD (16u << 10) /* bytes an event above which there is nothing to guess */
#define QUERY_TEXTS 8u

/* ----------------------------------------------------------------- start --- */

static sl_status check_query(const sl_query *q) {
  if (q->version > SL_QUERY_VERSION)
    return sl_fail(SL_E_INVALID, "sl_query version %u is newer than this library", q->version);
  if (q->flags & ~(uint32_t)(SL_QUERY_FOLLOW | SL_QUERY_NEWEST))
    return sl_fail(SL_E_INVALID, "unknown query flags 0x%x", q->flags);
  if ((q->flags & SL_QUERY_FOLLOW) && (q->flags & SL_QUERY_NEWEST))
    return sl_fail(SL_E_INVALID, "a query cannot both follow and ask for the newest");
  const sl_slice texts[QUERY_TEXTS] = {q->event_id, q->correlation_id, q->causation_id, q->type,
                                       q->topic,    q->tenant,         q->source,       q->key};
  static const char *const names[QUERY_TEXTS] = {"event_id", "correlation_id", "causation_id", "type",
                                                 "topic",    "tenant",         "source",       "key"};
  for (size_t i = 0; i < QUERY_TEXTS; i++) {
    if (texts[i].len && !texts[i].data) return sl_fail(SL_E_INVALID, "%s has a length but no data", names[i]);
    if (texts[i].len > (i + 1 == QUERY_TEXTS ? 32768u : 4096u))
      return sl_fail(SL_E_INVALID, "%s has %zu bytes", names[i], texts[i].len);
  }
  if (q->states >> SL_STATE_COUNT) return sl_fail(SL_E_INVALID, "unknown states 0x%x", q->states);
  return SL_OK;
}

static sl_status copy_query(sl_iter *it, const sl_query *query) {
  it->query = *query;
  sl_query *q = &it->query;
  sl_slice *const texts[QUERY_TEXTS] = {&q->event_id, &q->correlation_id, &q->causation_id, &q->type,
                                        &q->topic,    &q->tenant,         &q->source,       &q->key};
  size_t len = 1;
  for (size_t i = 0; i < QUERY_TEXTS; i++) len += texts[i]->len;
  char *to = it->text = malloc(len);
  if (!to) return sl_fail(SL_E_NOMEM, "out of memory");
  for (size_t i = 0; i < QUERY_TEXTS; i++) {
    if (texts[i]->len) memcpy(to, texts[i]->data, texts[i]->len);
    texts[i]->data = to;
    to += texts[i]->len;
  }
  return SL_OK;
}

static bool use(sl_iter *it, index_attr attr, sl_slice text) {
  if (text.len == 0) return false;
  it->source = (int)attr;
  index_key_of(attr, text, it->key);
  return true;
}

/* The most selective secondary attribute asked for that the newest generation has; `covered` NULL: of all. */
static bool use_secondary(sl_iter *it, const index_view *covered) {
  const struct { index_attr attr; sl_slice text; } asked[] = {
    {INDEX_KEY, it->query.key}, {INDEX_TENANT, it->query.tenant}, {INDEX_SOURCE, it->query.source}};
  uint64_t first, last;
  for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
    if (asked[i].text.len &&
        (!covered || index_view_covers(covered, asked[i].attr, index_view_watermark(covered), &first, &last)))
      return use(it, asked[i].attr, asked[i].text);
  return false;
}

static sl_status choose_source(sl_iter *it) {
  const sl_query *q = &it->query;
  const bool secondary = q->key.len || q->tenant.len || q->source.len;
  bool chosen = use(it, INDEX_EVENT, q->event_id) || use(it, INDEX_CORRELATION, q->correlation_id) ||
                use(it, INDEX_CAUSATION, q->causation_id);
  if (!chosen && secondary) {
    index_view *view;
    sl_status status = index_view_open(it->store, &view);
    if (status != SL_OK) return status;
    chosen = use_secondary(it, view);
    index_view_close(view);
  }
  chosen = chosen || (sl_glob_is_literal(q->type) && use(it, INDEX_TYPE, q->type)) || use_secondary(it, NULL);
  it->ids = q->event_id.len || q->correlation_id.len || q->causation_id.len;
  const bool others = q->topic.len || secondary || q->since_us || q->until_us;
  /* A candidate of the index fails almost only by another condition: without one it is read once, and whole. */
  const size_t exact = (q->event_id.len > 0) + (q->correlation_id.len > 0) + (q->causation_id.len > 0) +
                       (q->type.len > 0) + (q->key.len > 0) + (q->tenant.len > 0) + (q->source.len > 0);
  it->peek_hits = exact > 1 || q->topic.len || q->since_us || q->until_us || q->states;
  it->peek = chosen || q->type.len || others || (q->states && q->states != SL_STATE_BIT(SL_PENDING));
  return SL_OK;
}

/* Memory of one iteration that has ended: a look-up would else take and give back 76 KB, too large for malloc's
 * quick ways. It is the process's, not the store's: some close the store first. */
static _Atomic(sl_iter *) spare;

static sl_iter *new_iter(void) {
  sl_iter *it = atomic_exchange(&spare, NULL);
  if (!it) return calloc(1, sizeof *it);
  *it = (sl_iter){.items = it->items, .cap = it->cap, .arena = it->arena};
  return it;
}

static void free_iter(sl_iter *it) {
  if (!it) return;
  free(it->items);
  arena_free(&it->arena);
  free(it);
}

sl_status sl_iter_start(sl_store *store, const sl_query *query, sl_iter **out) {
  static const sl_query everything = SL_QUERY_INIT;
  sl_status status = store_enter(store);
  if (!query) query = &everything;
  if (status == SL_OK && !out) status = sl_fail(SL_E_INVALID, "iter is NULL");
  if (status == SL_OK) status = check_query(query);
  if (status != SL_OK) return status;
  sl_iter *it = new_iter();
  if (!it) return sl_fail(SL_E_NOMEM, "out of memory");
  it->store = store;
  it->source = -1;
  status = copy_query(it, query);
  if (status == SL_OK) status = choose_source(it);
  if (status != SL_OK) {
    sl_iter_close(it);
    return status;
  }
  it->next = query->first_seq ? query->first_seq : 1;
  it->collected = !(query->flags & SL_QUERY_NEWEST) || query->limit == 0;
  *out = it;
  return SL_OK;
}

void sl_iter_close(sl_iter *it) {
  if (!it) return;
  free(it->newest);
  free(it->text);
  free(it->headers);
  free(it->types.verdicts);
  free(it->topics.verdicts);
  const bool small = it->cap <= QUERY_ITEMS_LEAST && arena_is_small(&it->arena);
  free_iter(small ? atomic_exchange(&spare, it) : it);
}

uint64_t sl_iter_scanned(const sl_iter *it) { return it ? it->scanned : 0; }

uint64_t sl_iter_trimmed(const sl_iter *it) { return it ? it->trimmed : 0; }

/* ----------------------------------------------------------------- chunk --- */

sl_status query_ranges(const sl_iter *it, snapshot *snap, uint64_t end, log_range *ranges, size_t *count) {
  if (!it->query.since_us && !it->query.until_us) {
    ranges[0] = (log_range){1, end};
    *count = 1;
    return SL_OK;
  }
  return log_view_time_ranges(snap->log, it->query.since_us, it->query.until_us, ranges, QUERY_RANGES, count);
}

/* One event that was read with `status`: matched and copied, or reported as damaged. */
static sl_status take(sl_iter *it, snapshot *snap, uint64_t seq, sl_status status, sl_parts *parts,
                      bool whole) {
  it->looks++;
  it->scanned++;
  book_fate fate;
  if (status == SL_OK) status = query_match(it, snap, seq, parts, whole, &fate);
  if (status == SL_OK) status = query_copy(it, snap, seq, parts, &fate);
  if (status == SL_NOTFOUND) return SL_OK;
  return status == SL_E_CORRUPT ? query_copy_damage(it, seq) : status;
}

/* The first candidate was not in memory: the others' places are guessed from the first's and the last's, and all
 * are fetched at the same time. */
static void fetch_between(const uint64_t *seqs, size_t count, const uint8_t *first, const uint8_t *last) {
  const uint64_t run = seqs[count - 1] - seqs[0];
  if (last <= first || (uint64_t)(last - first) / run > FETCH_SPREAD) return;
  for (size_t i = 1; i + 1 < count; i++) {
    const double part = (double)(seqs[i] - seqs[0]) / (double)run;
    db_file_will_need(first + (ptrdiff_t)(part * (double)(last - first)) - FETCH_BYTES / 2, FETCH_BYTES);
  }
}

/* Where the records of candidates lie: all are found before the first is decoded, so that their bytes come from
 * memory meanwhile. Stops in front of one that cannot be looked up, *found is then less than count. One that was
 * trimmed, while its generation is still there, has no bytes. */
static sl_status find_hits(log_view *log, const uint64_t *seqs, size_t count, sl_slice *bytes, size_t *found) {
  const int64_t begun = count > 3 ? sl_clock_monotonic_us() : 0;
  for (*found = 0; *found < count; ++*found) {
    if (*found == 1 && count > 3 && bytes[0].data && sl_clock_monotonic_us() - begun > DB_SLOW_US &&
        log_view_find(log, seqs[count - 1], &bytes[count - 1]) == SL_OK)
      fetch_between(seqs, count, bytes[0].data, bytes[count - 1].data);
    const sl_status status = log_view_find(log, seqs[*found], &bytes[*found]);
    if (status == SL_NOTFOUND) bytes[*found] = (sl_slice){0};
    else if (status != SL_OK) return status;
  }
  return SL_OK;
}

/* Candidates of the index from *pos to last, where it covers all of them. */
static sl_status run_index(sl_iter *it, snapshot *snap, uint64_t *pos, uint64_t last) {
  uint64_t seqs[SEQS_AT_ONCE];
  sl_slice bytes[HITS_AHEAD];
  size_t count = 0, found = 0, most = SEQS_AT_ONCE;
  if (it->query.limit && it->query.limit - it->returned < most)
    most = (size_t)(it->query.limit - it->returned);
  sl_status status = index_view_seqs(snap->index, (index_attr)it->source, it->key, *pos, seqs, most, &count);
  if (status != SL_OK) return status;
  for (size_t i = 0; i < count && i < HITS_AHEAD; i++) book_view_expect(snap->book, seqs[i]);
  const bool all = count < most || seqs[count - 1] > last;
  while (count > 0 && seqs[count - 1] > last) count--;
  for (size_t i = 0, from = 0; i < count && status == SL_OK; i++) {
    sl_parts parts;
    sl_status read = SL_OK;
    if (query_full(it)) return SL_OK;
    if (i >= from + found) {
      from = i;
      read = find_hits(snap->log, seqs + i, count - i < HITS_AHEAD ? count - i : HITS_AHEAD, bytes, &found);
    }
    if (found > 0) {
      const sl_slice record = bytes[i - from];
      const log_part part = it->peek_hits ? LOG_FRONT : LOG_WHOLE;
      read = record.data ? log_view_decode(snap->log, seqs[i], record, part, &parts) : SL_NOTFOUND;
    }
    if (read != SL_NOTFOUND) status = take(it, snap, seqs[i], read, &parts, !it->peek_hits);
    if (status == SL_OK) *pos = seqs[i] + 1; /* what could not be read is read again, not passed over */
  }
  if (status == SL_OK && all) *pos = last + 1;
  return status;
}

static sl_status run_scan(sl_iter *it, snapshot *snap, uint64_t *pos, uint64_t last) {
  log_place places[QUERY_PLACES];
  size_t count;
  while (*pos <= last && !query_full(it)) {
    sl_status status = log_view_places(snap->log, *pos, last, places, QUERY_PLACES, &count);
    if (status != SL_OK) return status;
    if (count == 0) *pos = last + 1;
    for (size_t i = 0; i < count && !query_full(it); i++) {
      sl_parts parts;
      status = log_view_decode(snap->log, places[i].seq, places[i].bytes, query_part(it), &parts);
      status = take(it, snap, places[i].seq, status, &parts, !it->peek);
      if (status != SL_OK) return status;
      *pos = places[i].seq + 1;
    }
  }
  return SL_OK;
}

static sl_status run_ranges(sl_iter *it, snapshot *snap) {
  const log_head *head = log_view_head(snap->log);
  uint64_t end = head->last_seq;
  if (it->query.last_seq && it->query.last_seq < end) end = it->query.last_seq;
  if (it->bounded && it->end < end) end = it->end;
  if (!(it->query.flags & SL_QUERY_FOLLOW) && !it->bounded) {
    it->end = end; /* what is appended from now on is not awaited: the iteration ends while producers run */
    it->bounded = true;
  }
  if (it->next < head->first_seq) {
    if (it->looked || it->query.first_seq) it->trimmed += head->first_seq - it->next;
    it->next = head->first_seq;
  }
  it->looked = true;
  log_range ranges[QUERY_RANGES];
  size_t count = 0;
  sl_status status = it->next <= end ? query_ranges(it, snap, end, ranges, &count) : SL_OK;
  for (size_t i = 0; i < count && status == SL_OK; i++) {
    const uint64_t last = ranges[i].last < end ? ranges[i].last : end;
    if (it->next < ranges[i].first) it->next = ranges[i].first;
    while (it->next <= last && status == SL_OK) {
      uint64_t from, to = last;
      if (query_full(it)) return SL_OK;
      if (it->source >= 0 && index_view_covers(snap->index, (index_attr)it->source, it->next, &from, &to))
        status = run_index(it, snap, &it->next, last < to ? last : to);
      else
        status = run_scan(it, snap, &it->next, last < to ? last : to);
    }
  }
  if (status != SL_OK) return status;
  if (it->next <= end) it->next = end + 1;
  if (it->bounded || (it->query.last_seq && it->next > it->query.last_seq)) it->finished = true;
  return SL_OK;
}

static sl_status run_newest(sl_iter *it, snapshot *snap) {
  while (it->newest_pos < it->newest_count) {
    if (it->looks >= QUERY_LOOKS || it->bytes >= QUERY_BYTES) return SL_OK;
    const uint64_t seq = it->newest[it->newest_pos];
    sl_parts parts;
    sl_status status = log_view_get(snap->log, seq, true, &parts);
    if (status != SL_NOTFOUND) status = take(it, snap, seq, status, &parts, false);
    if (status != SL_OK && status != SL_NOTFOUND) return status;
    it->newest_pos++;
  }
  it->finished = true;
  return SL_OK;
}

static sl_status fill(sl_iter *it) {
  it->count = it->pos = it->bytes = 0;
  it->looks = 0;
  arena_reset(&it->arena);
  sl_status status = SL_OK;
  if (!it->collected) {
    status = query_collect_newest(it);
    if (status != SL_OK) return status;
    it->collected = true;
  }
  snapshot snap;
  status = snapshot_open(it->store, &snap);
  if (status != SL_OK) return status;
  it->watermark = index_view_watermark(snap.index);
  it->last_seq = log_view_head(snap.log)->last_seq;
  const bool newest = (it->query.flags & SL_QUERY_NEWEST) && it->query.limit;
  status = newest ? run_newest(it, &snap) : run_ranges(it, &snap);
  snapshot_close(&snap);
  return status;
}

sl_status sl_iter_next(sl_iter *it, const sl_record **record) {
  if (!it || !record) return sl_fail(SL_E_INVALID, "%s is NULL", it ? "record" : "iter");
  sl_status status = store_enter(it->store);
  if (status != SL_OK) return status;
  while (it->pos == it->count) {
    if (it->finished || (it->query.limit && it->returned >= it->query.limit)) {
      if (it->source >= 0 && !it->helped) index_help_query(it->store, it->watermark, it->last_seq);
      it->helped = true;
      return sl_fail(SL_NOTFOUND, "no more events");
    }
    const uint64_t before = it->next;
    status = fill(it);
    if (status != SL_OK && it->count == 0) {
      /* Damage that is no record's cannot be passed: said once, or callers who go on behind it never end. */
      if (status == SL_E_CORRUPT) it->finished = true;
      return status;
    }
    if (status != SL_OK) break; /* what was read before the failure comes first; it shows again */
    if (it->count == 0 && it->next == before && !it->finished)
      return sl_fail(SL_NOTFOUND, "no more events now");
  }
  const query_item *item = &it->items[it->pos++];
  if (item->damage) return sl_fail(SL_E_CORRUPT, "%s", item->damage);
  it->returned++;
  *record = &item->record;
  return SL_OK;
}
