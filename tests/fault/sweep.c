/*
 * For N = 1, 2, 3 ... a child process lives through a store's life - create, append, index, deliver, trim,
 * append - while the Nth write (flush, allocation ...) fails, until a life passes without the fault. After
 * each the parent judges by what the child acknowledged through a pipe:
 *
 *   the store opens (a creation that was cut short is done again); every acknowledged event is there, whole,
 *   at its seq; nothing is there that was refused (after a kill: at most the commit under way); sl_verify
 *   finds no problem; the books balance; and it takes another event.
 *
 * The child itself must come through any single fault: what failed must work when it is tried again.
 *
 *   sweep [KIND[:FROM]]      SIDELOG_LONG=1: every N; else the later ones in growing steps
 */
#include "lives.h"
#include "must.h"

#include "base/base.h"
#include "delivery/delivery.h"
#include "index/index_impl.h"

#include <inttypes.h>
#include <string.h>

enum { BATCH = 40, SINGLES = 12, BIG = 30000 };

/* ---------------------------------------------------------------- child --- */

/* The value of event n: some fit in a leaf, some take pages of their own. */
static sl_slice value_of(uint64_t n) {
  static uint8_t bytes[BIG];
  size_t len = n % 7 == 0 ? BIG : 50 + n * 37 % 1900;
  for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)(n * 31 + i);
  return (sl_slice){bytes, len};
}

static void append_one(sl_store *store, uint64_t n, const char *topic) {
  sl_event e = {.topic = sl_slice_of(topic), .value = value_of(n)};
  uint64_t seq;
  TRY(sl_append(store, &e, &seq));
  life_say("ack", seq, n);
}

static void append_batch(sl_store *store, uint64_t n) {
  static uint8_t copies[BATCH][2000];
  sl_event events[BATCH];
  uint64_t first;
  for (int i = 0; i < BATCH; i++) {
    uint64_t m = (n + (uint64_t)i) * 7 + 1; /* none of the large ones */
    sl_slice v = value_of(m);
    memcpy(copies[i], v.data, v.len);
    events[i] = (sl_event){.topic = SL_STR("batch"), .value = {copies[i], v.len}};
  }
  TRY(sl_append_many(store, events, BATCH, &first, NULL));
  for (int i = 0; i < BATCH; i++)
    life_say("ack", first + (uint64_t)i, (n + (uint64_t)i) * 7 + 1);
}

static void deliver(sl_store *store, uint64_t seq) {
  sl_delivery *d;
  static delivery_verdict verdicts[1000];
  TRY(delivery_open(store, &d));
  int tries = 0;
  while (delivery_state_get(d)->cursor.seq < seq) {
    const delivery_state *s = delivery_state_get(d);
    size_t count = 0;
    for (uint64_t at = s->cursor.seq + 1; at <= seq; at++)
      verdicts[count++] = (delivery_verdict){.seq = at, .verdict = SL_VERDICT_SENT, .place = (int64_t)at};
    delivery_attempt attempt = {.verdicts = verdicts, .count = count, .marked = true};
    attempt.progress = s->cursor;
    attempt.progress.seq = seq;
    attempt.progress.attempt = s->last_attempt + 1;
    sl_status status = delivery_record(d, &attempt);
    if (status == SL_OK) continue;
    if (!fault_struck() || life_kind() == FAULT_DISK_FULL || ++tries == LIFE_TRIES)
      life_give_up("delivery_record", status);
    /* It may have been committed all the same, with no memory to read it back: the book knows. */
    delivery_close(d);
    TRY(delivery_open(store, &d));
  }
  delivery_close(d);
}

static void live(void) {
  sl_store *store;
  sl_options o = {.preallocate = 300000, .quota_bytes = 8u << 20};
  uint64_t n = 1;
  life_arm();
  TRY(sl_open(path, &o, &store));
  life_say("open", 0, 0);
  for (int i = 0; i < SINGLES; i++, n++) append_one(store, n, i % 2 ? "a" : "b");
  append_batch(store, n);
  n += BATCH;
  /* In small steps, each a generation, which are merged in small pieces. */
  store->index->small = 4;
  store->index->piece = 60;
  for (uint64_t reached = 0; reached < SINGLES + BATCH;) TRY(sl_index_advance(store, 6, &reached));
  deliver(store, 30);
  TRY(sl_trim(store, &(sl_trim_policy){.max_events = 40}, NULL));
  life_say("trimmed", 0, 0);
  for (int i = 0; i < SINGLES; i++, n++) append_one(store, n, "c");
  TRY(sl_index_advance(store, 0, NULL));
  TRY(sl_sync(store));
  sl_close(store);
}

/* --------------------------------------------------------------- parent --- */

static void problem(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "%s: verify: %s\n", what, text);
}

static void judge(const char *said, bool killed) {
  const uint64_t under_way = killed ? BATCH : 0; /* so many may be there without having been acknowledged */
  sl_store *store;
  sl_options o = {.flags = strstr(said, "open") ? SL_OPEN_EXISTING : 0, .preallocate = 100000};
  MUST(sl_open(path, &o, &store) == SL_OK, "does not open");
  sl_iter *iter;
  const sl_record *r;
  static uint64_t number[1000];
  uint64_t last = 0, found = 0, next = 0;
  memset(number, 0, sizeof number);
  for (const char *line = said; (line = strpbrk(line, "0123456789")) && *line;) {
    uint64_t seq, n;
    int used = 0;
    if (sscanf(line, "%" SCNu64 " %" SCNu64 "%n", &seq, &n, &used) != 2) break;
    line += used;
    if (seq == 0) continue; /* "open 0 0" */
    MUST(seq < 1000 && seq == last + 1, "acknowledged seq %" PRIu64 " after %" PRIu64, seq, last);
    number[last = seq] = n;
  }
  sl_stats s;
  MUST(sl_stats_get(store, &s) == SL_OK, "no statistics");
  MUST(s.balanced, "out of balance");
  MUST(s.last_seq >= last && s.last_seq <= last + under_way, "%" PRIu64 " events, %" PRIu64 " acknowledged",
       s.last_seq, last);
  MUST(s.trimmed <= 30, "trimmed too much");
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  sl_status status;
  while ((status = sl_iter_next(iter, &r)) == SL_OK) {
    MUST(r->seq > next, "order");
    next = r->seq;
    found++;
    if (r->seq > last) continue;
    sl_slice expected = value_of(number[r->seq]);
    MUST(sl_slice_eq(r->value, expected), "event %" PRIu64 " has another value", r->seq);
  }
  MUST(status == SL_NOTFOUND, "reading ended with %s", sl_status_text(status));
  MUST(found == s.last_seq - s.trimmed, "%" PRIu64 " found", found);
  sl_iter_close(iter);
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
  sl_verify_report report;
  MUST(sl_verify(store, problem, NULL, &report) == SL_OK, "verify stopped");
  MUST(report.problems == 0, "%" PRIu64 " problems", report.problems);
  sl_event e = {.topic = SL_STR("after")};
  uint64_t seq;
  MUST(sl_append(store, &e, &seq) == SL_OK && seq == s.last_seq + 1, "takes no event");
  sl_close(store);
}

int main(int argc, char **argv) {
  static const life_plan plan = {.live = live, .judge = judge, .dense = 40, .part = 15};
  if (!lives_begin("sweep")) return 2;
  lives_run_all(&plan, argc > 1 ? argv[1] : NULL);
  return lives_end();
}
