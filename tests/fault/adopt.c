/*
 * A store whose cluster is ahead of it is made to fit (sidelogd --adopt), and its process is killed at the Nth
 * write or flush, for every N until a life has no more; the same with writes and flushes that fail. After each the
 * store is sound and balanced, and doing it again ends where an undisturbed life does: each event that the marker
 * covers is delivered once, the others wait.
 */
#include "lives.h"
#include "must.h"

#include "adopt_cover.h"
#include "base/base.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 120, CURSOR = 60, INTENT = 70, LANE = 20, MARKER = 90, MARKER_LANE = 50, ATTEMPT = 40 };

static bool is_sick(uint64_t seq) { return seq % 3 == 0; }

static void fill(sl_store *store) {
  for (uint64_t i = 1; i <= EVENTS; i++) {
    char id[24];
    snprintf(id, sizeof id, "id %d", (int)(i % 17 == 0 ? i - 3 : i)); /* some are duplicates */
    const sl_event e = {.topic = is_sick(i) ? SL_STR("sick") : SL_STR("well"), .event_id = sl_slice_of(id),
                        .value = SL_STR("v")};
    MUST(sl_append(store, &e, NULL) == SL_OK, "takes no event");
  }
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
}

/* Delivers from..to; the sick topic has a lane from LANE on. */
static void deliver(sl_store *store, sl_delivery *d, uint64_t from, uint64_t to, uint64_t lane_seq) {
  delivery_verdict v[EVENTS];
  size_t count = 0;
  sl_iter *iter;
  const sl_record *r;
  const sl_query q = {.first_seq = from, .last_seq = to};
  const sl_lane lane = {SL_STR("sick"), lane_seq};
  MUST(sl_iter_start(store, &q, &iter) == SL_OK, "no iterator");
  while (sl_iter_next(iter, &r) == SL_OK) {
    v[count] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .partition = 0,
                                  .place = (int64_t)r->seq};
    if (r->duplicate_of) v[count].verdict = SL_VERDICT_DUPLICATE, v[count].place = (int64_t)r->duplicate_of;
    if (lane_seq && is_sick(r->seq) && r->seq > lane_seq) v[count].verdict = SL_VERDICT_LANE;
    count++;
  }
  sl_iter_close(iter);
  const delivery_state *s = delivery_state_get(d);
  delivery_attempt a = {.progress = {.seq = to, .attempt = s->last_attempt + 1, .lanes = &lane,
                                     .lane_count = lane_seq != 0}, .verdicts = v, .count = count, .marked = true};
  if (to == INTENT) MUST(delivery_intent(d, &a) == SL_OK, "no intent");
  else MUST(delivery_record(d, &a) == SL_OK, "no delivery");
}

/* As an older backup: delivered up to CURSOR, an intent of unknown outcome. */
static void make(void) {
  sl_store *store;
  sl_delivery *d;
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  fill(store);
  MUST(delivery_open(store, &d) == SL_OK, "no book");
  deliver(store, d, 1, LANE, 0);
  deliver(store, d, LANE + 1, CURSOR, LANE);
  deliver(store, d, CURSOR + 1, INTENT, LANE);
  delivery_close(d);
  sl_close(store);
}

/* What sidelogd --adopt does for the choice "cluster". */
static sl_status adopt(void) {
  sl_store *store;
  sl_delivery *d;
  cover c = {0};
  sl_buf marker = {0};
  const sl_lane lane = {SL_STR("sick"), MARKER_LANE};
  const sl_progress there = {.seq = MARKER, .attempt = ATTEMPT, .lanes = &lane, .lane_count = 1};
  sl_status status = sl_progress_encode(&there, &marker);
  if (status == SL_OK) status = sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store);
  if (status != SL_OK) goto out;
  status = delivery_open(store, &d);
  if (status == SL_OK) {
    status = cover_find(&c, store, delivery_state_get(d), sl_buf_slice(&marker),
                        ((int64_t)time(NULL) + 60) * 1000);
    if (status == SL_OK) status = cover_take(&c, d);
    const delivery_adoption a = {.marker = sl_buf_slice(&marker), .cluster_id = SL_STR("cluster"),
                                 .marker_partition = 3,
                                 .attempt = c.attempt};
    if (status == SL_OK) status = delivery_adopt(d, &a);
    cover_free(&c);
    delivery_close(d);
  }
  sl_close(store);
out:
  sl_buf_free(&marker);
  return status;
}

static void check_sound(bool whole) {
  sl_store *store;
  sl_delivery *d;
  sl_stats s;
  sl_verify_report report;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced, "out of balance");
  MUST(s.appended == EVENTS, "%" PRIu64 " appended", s.appended);
  sl_iter *iter;
  const sl_record *r;
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  while (whole && sl_iter_next(iter, &r) == SL_OK) {
    const bool covered = r->seq <= (is_sick(r->seq) ? (uint64_t)MARKER_LANE : (uint64_t)MARKER);
    MUST((r->state == SL_PENDING) == !covered, "event %" PRIu64 " is %s", r->seq, sl_state_text(r->state));
    /* What was delivered before has its place still. */
    if (r->state == SL_SENT && r->seq <= LANE) MUST(r->offset == (int64_t)r->seq, "event %" PRIu64, r->seq);
  }
  sl_iter_close(iter);
  MUST(delivery_open(store, &d) == SL_OK, "no book");
  const delivery_state *b = delivery_state_get(d);
  if (whole) {
    MUST(b->cursor.seq == MARKER && b->cursor.lane_count == 1 && b->cursor.lanes[0].seq == MARKER_LANE,
         "the cursor");
    MUST(!b->has_intent && b->marker_partition == 3 && b->last_attempt >= ATTEMPT, "the marker");
  }
  delivery_close(d);
  sl_close(store);
}

static void live(void) {
  life_arm();
  const sl_status status = adopt();
  if (status != SL_OK && !fault_struck()) life_give_up("adopt", status);
}

static void judge(const char *said, bool killed) {
  (void)said, (void)killed;
  check_sound(false);
  MUST(adopt() == SL_OK, "it cannot be done again");
  check_sound(true);
}

int main(int argc, char **argv) {
  static const fault_kind kinds[] = {FAULT_KILL, FAULT_KILL_HALFWAY, FAULT_WRITE_EIO, FAULT_FLUSH_EIO,
                                     FAULT_META_LATE, FAULT_META_GONE};
  static const life_plan plan = {.make = make, .live = live, .judge = judge};
  if (!lives_begin("adopt")) return 2;
  lives_run(&plan, kinds, sizeof kinds / sizeof *kinds, argc > 1 ? argv[1] : NULL);
  return lives_end();
}
