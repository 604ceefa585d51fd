/*
 * sl_repair of a damaged store while the Nth allocation, write, flush or map fails, or kills it. What it lacks to
 * do its work with is no damage of the store: once a repair says that it is done its report is, word for word,
 * that of an undisturbed one, and so is the store that it made. One that is killed leaves none, or a whole one.
 *
 *   repair_sweep [KIND[:FROM]]      SIDELOG_LONG=1: every N; else the later ones in growing steps
 */
#include "lives.h"
#include "must.h"
#include "tree.h"

#include "base/base.h"
#include "delivery/delivery.h"

#include <sidelog/reader.h>

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { EVENTS = 60, SENT = 30, BIG = 9000, LOST = 4 };

static char source[sizeof path + 16];
static uint64_t said, reference; /* hashes: of what this repair said, of what an undisturbed one does */

/* ---------------------------------------------------------------- source --- */

static sl_slice value_of(uint64_t seq) {
  static uint8_t bytes[BIG];
  const size_t len = seq % 10 == 7 ? BIG : 200;
  uint64_t x = seq;
  for (size_t i = 0; i < len; i++) {
    x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bytes[i] = (uint8_t)(x >> 56);
  }
  return (sl_slice){bytes, len};
}

static void append(sl_store *store, uint64_t seq) {
  const sl_event e = {.topic = seq % 3 ? SL_STR("a") : SL_STR("b"), .type = SL_STR("c"), .value = value_of(seq)};
  MUST(sl_append(store, &e, NULL) == SL_OK, "cannot fill it");
}

/* Half of them are sent, one dead; a topic waits in a lane; a reader has seen some. */
static void make_source(void) {
  static const sl_letter letter = {.attempts = 3, .error_class = {"NON_RETRYABLE_POLICY", 20}};
  static delivery_verdict v[SENT];
  sl_store *store;
  sl_delivery *d;
  sl_reader *reader;
  const sl_reader_event *event;
  MUST(sl_open(source, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "cannot make a store");
  for (uint64_t seq = 1; seq <= EVENTS; seq++) append(store, seq);
  MUST(sl_index_advance(store, 0, NULL) == SL_OK && delivery_open(store, &d) == SL_OK, "cannot deliver");
  for (uint64_t i = 0; i < SENT; i++)
    v[i] = (delivery_verdict){.seq = i + 1, .verdict = (i + 1) % 3 ? SL_VERDICT_SENT : SL_VERDICT_LANE, .place = 1};
  v[12] = (delivery_verdict){.seq = 13, .verdict = SL_VERDICT_DEAD, .letter = &letter};
  sl_lane lane = {.topic = SL_STR("b"), .seq = 0};
  delivery_attempt a = {.progress = {.seq = SENT, .attempt = 1, .lanes = &lane, .lane_count = 1}, .verdicts = v,
                        .count = SENT, .marked = true};
  MUST(delivery_record(d, &a) == SL_OK, "delivery");
  delivery_close(d);
  MUST(sl_cursor_set(store, "place", 5) == SL_OK, "cursor");
  MUST(sl_reader_open(store, "r", NULL, &reader) == SL_OK && sl_reader_next(reader, 0, &event) == SL_OK, "reader");
  MUST(sl_reader_ack(reader, event->record->seq) == SL_OK, "reader");
  sl_reader_close(reader);
  MUST(sl_trim(store, &(sl_trim_policy){.max_events = EVENTS - 2}, NULL) == SL_OK, "trim");
  sl_close(store);
}

/* Spoils every copy of an event's value. */
static void damage(uint64_t seq) {
  char file[sizeof source + 16];
  struct stat st;
  snprintf(file, sizeof file, "%s/log/data.mdb", source);
  const int fd = open(file, O_RDWR);
  MUST(fd >= 0 && fstat(fd, &st) == 0, "cannot damage it");
  uint8_t *bytes = malloc((size_t)st.st_size);
  MUST(bytes && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size, "cannot read it");
  const sl_slice value = value_of(seq);
  for (size_t at = 0; at + 200 <= (size_t)st.st_size; at++)
    if (memcmp(bytes + at, value.data, 200) == 0) MUST(pwrite(fd, "damaged", 7, (off_t)at + 20) == 7, "cannot damage it");
  free(bytes);
  close(fd);
}

/* ------------------------------------------------------------------ lives --- */

static void say(const void *bytes, size_t len) { said = XXH3_64bits_withSeed(bytes, len, said); }

static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  const uint64_t numbers[] = {kind, first, last};
  (void)arg;
  say(numbers, sizeof numbers);
  say(text, strlen(text));
}

static sl_status repair(void) {
  sl_repair_report report;
  said = 0;
  const sl_status status = sl_repair(source, path, NULL, hear, NULL, &report);
  if (status != SL_OK) return status;
  const uint64_t numbers[] = {report.events, report.recovered, report.lost_pending, report.lost_settled, report.first_seq,
                              report.last_seq, report.receipts_lost, report.findings, (uint64_t)report.delivery_kept,
                              (uint64_t)report.end_unknown};
  say(numbers, sizeof numbers);
  return SL_OK;
}

static void live(void) {
  life_arm();
  TRY(repair());
  life_say("done", said, 0);
}

static void problem(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "%s: verify: %s\n", what, text);
}

static void judge(const char *told, bool killed) {
  char left[sizeof path + 16];
  uint64_t hash = 0;
  sl_store *store;
  sl_stats s;
  sl_verify_report report;
  snprintf(left, sizeof left, "%s.unfinished", path);
  MUST(killed || access(left, F_OK) != 0, "it left %s behind", left);
  remove_tree(left);
  const bool done = sscanf(told, "done %" SCNu64, &hash) == 1;
  MUST(!done || hash == reference, "it did not say what an undisturbed repair does");
  if (access(path, F_OK) != 0) {
    MUST(!done, "there is no repaired store");
    return;
  }
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "the repaired store does not open");
  MUST(sl_verify(store, problem, NULL, &report) == SL_OK && report.problems == 0, "the repaired store is not sound");
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced && s.last_seq == EVENTS && s.dropped == LOST - 1, "totals");
  sl_iter *it;
  const sl_record *r;
  uint64_t there = 0;
  MUST(sl_iter_start(store, NULL, &it) == SL_OK, "no iterator");
  while (sl_iter_next(it, &r) == SL_OK) {
    if (sl_slice_eq(r->type, SL_STR("LOST_DAMAGED"))) continue; /* also in the place of the one that was sent */
    there++;
    MUST(sl_slice_eq(r->value, value_of(r->seq)), "event %" PRIu64 " has another value", r->seq);
    MUST(sl_slice_eq(r->topic, r->seq % 3 ? SL_STR("a") : SL_STR("b")), "event %" PRIu64 " has another topic", r->seq);
  }
  sl_iter_close(it);
  MUST(there == report.events - LOST, "%" PRIu64 " events of %" PRIu64, there, report.events);
  sl_close(store);
}

int main(int argc, char **argv) {
  const life_plan plan = {.live = live, .judge = judge, .dense = 3, .part = 1};
  if (!lives_begin("repair")) return 2;
  fault_plain_writes = true;
  snprintf(source, sizeof source, "%s.damaged", path);
  make_source();
  damage(2);       /* settled, */
  damage(12);      /* in a lane, */
  damage(47);      /* pending, on pages of its own, */
  damage(EVENTS);  /* the newest */
  MUST(repair() == SL_OK, "an undisturbed repair fails");
  reference = said;
  judge("", false);
  lives_run_all(&plan, argc > 1 ? argv[1] : NULL);
  remove_tree(source);
  return lives_end();
}
