/* A reader against a model in memory: random appends, hand-outs, acknowledgements, failures, releases, commits,
 * replays, drops, trims and reopens. What is handed out is what the model allows; whenever nothing is, there is
 * nothing; after each commit the reader's totals on disk are the model's. SIDELOG_SEED sets the seed. */
#include "reader_kit.h"

enum { EVENTS_MAX = 600, STEPS = 1500, KEYS = 5, BUDGET = 3, MOST_REPLAYS = 2 };

typedef enum fate { UNDECIDED, IN_HAND, ACKED, DEAD, DROPPED } fate;

typedef struct event {
  fate fate;
  unsigned lane;           /* 0: no key */
  uint32_t attempts, replays;
  bool trimmed, handed;    /* handed: ever */
} event;

typedef struct model {
  event events[EVENTS_MAX + 1]; /* by seq */
  uint64_t last, acked, dead, dropped, missed_told;
  size_t in_hand;
  bool together;
} model;

static uint64_t of_fate(const model *m, fate wanted) {
  uint64_t seqs[EVENTS_MAX], count = 0;
  for (uint64_t seq = 1; seq <= m->last; seq++)
    if (m->events[seq].fate == wanted) seqs[count++] = seq;
  return count ? seqs[random_below(count)] : 0;
}

static void do_append(kit *k, model *m) {
  for (size_t n = 1 + random_below(6); n > 0 && m->last < EVENTS_MAX; n--) {
    event *e = &m->events[++m->last];
    *e = (event){.lane = (unsigned)random_below(KEYS)};
    const char key = (char)('a' + e->lane);
    const sl_event one = {.topic = SL_STR("t"), .key = {e->lane ? &key : NULL, e->lane ? 1 : 0}};
    assert_ok(sl_append(k->store, &one, NULL));
  }
}

/* An earlier event of its key that is not done with. One that a person sent again may not have been noticed
 * yet. */
static uint64_t earlier(const model *m, uint64_t seq, bool in_hand_too) {
  for (uint64_t s = 1; s < seq; s++) {
    const event *e = &m->events[s];
    if (e->lane != m->events[seq].lane || e->trimmed || e->replays) continue;
    if (e->fate == UNDECIDED || (e->fate == IN_HAND && in_hand_too)) return s;
  }
  return 0;
}

static bool lane_in_hand(const model *m, unsigned lane) {
  for (uint64_t s = 1; s <= m->last; s++)
    if (m->events[s].lane == lane && m->events[s].fate == IN_HAND) return true;
  return false;
}

/* False: nothing was handed out. */
static bool do_next(sl_reader *r, model *m) {
  const sl_reader_event *got;
  const sl_status status = sl_reader_next(r, 0, &got);
  if (status == SL_TIMEOUT) {
    if (m->in_hand > 0) return false;
    for (uint64_t s = 1; s <= m->last; s++)
      if (m->events[s].fate == UNDECIDED && !m->events[s].trimmed) fail_msg("event %lu is not handed out", s);
    return false;
  }
  assert_ok(status);
  const uint64_t seq = got->record->seq;
  event *e = &m->events[seq];
  if (e->fate != UNDECIDED || e->trimmed)
    fail_msg("event %lu is handed out: fate %d, trimmed %d", seq, e->fate, e->trimmed);
  if (e->attempts != got->attempts || e->replays != got->replays)
    fail_msg("event %lu: %u attempts, %u replays, not %u, %u", seq, got->attempts, got->replays, e->attempts,
             e->replays);
  const uint64_t before = earlier(m, seq, !m->together);
  if (before) fail_msg("event %lu is handed out, but event %lu of its key is not done with", seq, before);
  if (!m->together && lane_in_hand(m, e->lane))
    fail_msg("event %lu is handed out beside another one of its key", seq);
  m->missed_told += got->missed;
  e->fate = IN_HAND;
  e->handed = true;
  m->in_hand++;
  return true;
}

static void do_decide(sl_reader *r, model *m) {
  const uint64_t seq = of_fate(m, IN_HAND);
  event *e = &m->events[seq];
  if (!seq) return;
  m->in_hand--;
  const size_t way = random_below(10);
  if (way < 6) {
    assert_ok(sl_reader_ack(r, seq));
    e->fate = ACKED;
    m->acked++;
  } else if (way < 9) {
    const bool final = way == 8, ends = final || e->attempts + 1 == BUDGET;
    assert_int_equal(fail_at(r, seq, "E", final ? SL_READER_FINAL : 0), ends);
    e->attempts++;
    e->fate = ends ? DEAD : UNDECIDED;
    m->dead += ends;
  } else {
    assert_ok(sl_reader_release(r, seq));
    e->fate = UNDECIDED;
  }
}

static void do_person(kit *k, model *m) {
  const uint64_t seq = of_fate(m, DEAD);
  event *e = &m->events[seq];
  if (!seq) return;
  if (random_below(3) == 0) {
    const sl_status status = sl_reader_drop(k->store, "r", seq, SL_STR("me"), SL_STR("why"));
    /* A letter of an event that was trimmed while it was in hand stays until the next trim. */
    if (!e->trimmed || status != SL_NOTFOUND) assert_ok(status);
    if (status != SL_OK) return;
    e->fate = DROPPED;
    m->dropped++;
  } else {
    const sl_replay_options o = {.most = MOST_REPLAYS};
    const sl_status status = sl_reader_replay(k->store, "r", seq, &o);
    assert_int_equal(status, e->trimmed ? SL_NOTFOUND : e->replays == MOST_REPLAYS ? SL_E_LIMIT : SL_OK);
    if (status != SL_OK) return;
    assert_fails(sl_reader_replay(k->store, "r", seq, &o), SL_E_BUSY, "on its way");
    e->fate = UNDECIDED;
    e->attempts = 0;
    e->replays++;
  }
  m->dead--;
}

static void do_trim(kit *k, model *m) {
  if (m->last == 0) return;
  const sl_trim_policy policy = {.max_events = 1 + random_below(m->last)};
  kit_deliver(k, m->last);
  assert_ok(sl_trim(k->store, &policy, NULL));
  for (uint64_t s = 1; s < kit_head(k).first_seq; s++) m->events[s].trimmed = true;
}

static void check_totals(kit *k, model *m) {
  const sl_reader_info i = info_of(k, "r");
  assert_int_equal(i.acked, m->acked);
  assert_int_equal(i.dead, m->dead);
  assert_int_equal(i.dropped, m->dropped);
  assert_true(i.missed >= m->missed_told);
}

static sl_reader *open_it(kit *k, const model *m) {
  /* A failed event is due again at once, so that the model needs no clock. */
  return reader_of(k, "r", (sl_reader_options){.flags = m->together ? SL_READER_TOGETHER : 0,
                                               .max_attempts = BUDGET,
                                               .backoff_us = 1, .backoff_max_us = 1,
                                               .commit_events = 1 + (uint32_t)random_below(20)});
}

static sl_reader *do_reopen(kit *k, model *m, sl_reader *r) {
  sl_reader_close(r);
  check_totals(k, m);
  for (uint64_t s = 1; s <= m->last; s++)
    if (m->events[s].fate == IN_HAND) m->events[s].fate = UNDECIDED;
  m->in_hand = 0;
  if (random_below(3) == 0) kit_reopen(k);
  return open_it(k, m);
}

/* To the end: everything is acknowledged, dead, dropped or missed, once. */
static void finish(kit *k, model *m, sl_reader *r) {
  r = do_reopen(k, m, r);
  while (do_next(r, m))
    while (m->in_hand) do_decide(r, m);
  sl_reader_close(r);
  check_totals(k, m);
  uint64_t missed = 0;
  for (uint64_t s = 1; s <= m->last; s++) missed += m->events[s].fate == UNDECIDED;
  const sl_reader_info i = info_of(k, "r");
  assert_int_equal(i.missed, missed);
  assert_int_equal(i.open, 0);
  assert_int_equal(i.seen, m->last);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void run(kit *k, bool together) {
  model *m = calloc(1, sizeof *m);
  m->together = together;
  sl_reader *r = open_it(k, m);
  const size_t busy = 2 + random_below(6);
  for (int step = 0; step < STEPS; step++) {
    const size_t what = random_below(100);
    if (what < 12) do_append(k, m);
    else if (what < 50) do_next(r, m);
    else if (what < 50 + busy * 5) do_decide(r, m);
    else if (what < 90) do_person(k, m);
    else if (what < 97) {
      assert_ok(sl_reader_commit(r));
      check_totals(k, m);
    } else if (what < 98) do_trim(k, m);
    else r = do_reopen(k, m, r);
  }
  finish(k, m, r);
  free(m);
}

static void test_one_at_a_time(void **state) { run(*state, false); }
static void test_in_batches(void **state) { run(*state, true); }

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const uint64_t seed = random_seed();
  const char *all = getenv("SIDELOG_LONG");
  const struct CMUnitTest tests[] = {WITH_STORE(test_one_at_a_time), WITH_STORE(test_in_batches)};
  int failed = 0;
  for (uint64_t n = 0; n < (all && *all == '1' ? 40u : 3u) && !failed; n++) {
    random_state = seed + n;
    print_message("seed %lu\n", seed + n);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
  }
  return failed;
}
