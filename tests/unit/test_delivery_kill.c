/* A process that appends, indexes, delivers, trims and rebuilds is killed with SIGKILL at any instant. The
 * store opens, verifies and balances; what the process had acknowledged is there. SIDELOG_ROUNDS for more. */
#include "kit.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* What the child says it has finished, in memory shared with the test. */
typedef struct promise {
  volatile uint64_t appended, settled, delivered;
} promise;

static void step_append(kit *k, promise *p) {
  sl_event e[10] = {0};
  char ids[10][24];
  for (size_t i = 0; i < 10; i++) {
    snprintf(ids[i], sizeof ids[i], "id %zu", random_below(2000));
    e[i] = (sl_event){.topic = i % 2 ? SL_STR("a") : SL_STR("b"), .event_id = sl_slice_of(ids[i]),
                      .correlation_id = SL_STR("c"), .value = SL_STR("v")};
  }
  uint64_t first;
  if (sl_append_many(k->store, e, 1 + random_below(10), &first, NULL) != SL_OK) _exit(2);
  p->appended = first;
}

static void step_deliver(kit *k, promise *p, sl_delivery *d) {
  const delivery_state *s = delivery_state_get(d);
  if (s->has_intent && (random_below(2) ? delivery_settle(d) : delivery_abandon(d)) != SL_OK) _exit(3);
  uint64_t reached;
  if (sl_index_advance(k->store, 0, &reached) != SL_OK) _exit(4);
  delivery_verdict v[256];
  size_t count = 0;
  sl_lane lane = {SL_STR("b"), 0};
  delivery_attempt a = {.progress = {.seq = s->cursor.seq, .attempt = s->last_attempt + 1}, .verdicts = v};
  delivery_verdict w[4096];
  size_t waiting = 0;
  const bool had = s->cursor.lane_count > 0, has = random_below(3) == 0;
  const sl_query q = {.first_seq = had ? s->cursor.lanes[0].seq + 1 : s->cursor.seq + 1,
                      .last_seq = reached, .states = SL_STATE_BIT(SL_PENDING)};
  sl_iter *it;
  const sl_record *r;
  const uint64_t cursor = s->cursor.seq;
  if (sl_iter_start(k->store, &q, &it) != SL_OK) _exit(5);
  if (has) lane.seq = had ? s->cursor.lanes[0].seq : cursor;
  sl_status status;
  while ((status = sl_iter_next(it, &r)) == SL_OK && count < 256 && waiting < 4096) {
    delivery_verdict one = {.seq = r->seq, .verdict = SL_VERDICT_SENT, .place = (int64_t)r->seq};
    if (r->duplicate_of) {
      one.verdict = SL_VERDICT_DUPLICATE;
      one.place = (int64_t)r->duplicate_of;
    }
    const bool sick = has && sl_slice_eq(r->topic, SL_STR("b")); /* a lane stands still while it is there */
    if (r->seq <= cursor && !sick) w[waiting++] = one;
    if (r->seq <= cursor) continue;
    if (sick) one = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_LANE};
    v[count++] = one;
    a.progress.seq = r->seq;
  }
  sl_iter_close(it);
  if (status != SL_OK && status != SL_NOTFOUND) _exit(6);
  if (waiting == 4096) return;
  a.count = count;
  a.lane_verdicts = w;
  a.lane_count = waiting;
  a.progress.lanes = &lane;
  a.progress.lane_count = has;
  if (delivery_intent(d, &a) != SL_OK) {
    fprintf(stderr, "intent: %s\n", sl_last_detail());
    _exit(7);
  }
  if (random_below(5) == 0) return; /* its outcome stays open for a while */
  if (random_below(5) == 0) {
    if (delivery_abandon(d) != SL_OK) _exit(8);
    return;
  }
  if (delivery_settle(d) != SL_OK) _exit(9);
  p->settled = s->cursor.seq;
  p->delivered = s->delivered + s->duplicates;
}

static void child(kit *k, promise *p, uint64_t seed) {
  random_state = seed;
  sl_delivery *d;
  if (sl_open(k->path, &k->options, &k->store) != SL_OK || delivery_open(k->store, &d) != SL_OK) {
    fprintf(stderr, "open: %s\n", sl_last_detail());
    _exit(1);
  }
  for (;;) {
    const size_t dice = random_below(20);
    const sl_trim_policy policy = {.max_events = random_below(300)};
    if (dice < 9) step_append(k, p);
    else if (dice < 16) step_deliver(k, p, d);
    else if (dice < 18 && sl_trim(k->store, &policy, NULL) != SL_OK) _exit(10);
    else if (dice == 18 && sl_reindex(k->store) != SL_OK) _exit(11);
  }
}

static void hear(void *arg, const char *text) {
  (void)arg;
  print_error("verify: %s\n", text);
}

static void check(kit *k, const promise *p) {
  sl_stats s;
  sl_verify_report report;
  kit_open(k);
  assert_ok(sl_verify(k->store, hear, NULL, &report));
  assert_int_equal(report.problems, 0);
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  assert_true(s.last_seq >= p->appended);
  assert_true(s.delivery_seq >= p->settled);
  assert_true(s.delivered + s.duplicates >= p->delivered);
  sl_close(k->store);
  k->store = NULL;
}

static void test_killed_at_any_instant(void **state) {
  kit *k = *state;
  promise *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(p, MAP_FAILED);
  sl_close(k->store);
  k->store = NULL;
  const char *text = getenv("SIDELOG_ROUNDS");
  const unsigned rounds = text ? (unsigned)atoi(text) : 60;
  print_message("seed %llu\n", (unsigned long long)random_seed());
  for (unsigned i = 0; i < rounds; i++) {
    const uint64_t seed = random_next();
    const struct timespec pause = {0, (long)(1000000 + random_below(60) * 1000000)};
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(k, p, seed);
    nanosleep(&pause, NULL);
    kill(pid, SIGKILL);
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    if (!WIFSIGNALED(how)) fail_msg("round %u: the child ended by itself with %d", i, WEXITSTATUS(how));
    check(k, p);
  }
  print_message("%llu appended, %llu settled\n", (unsigned long long)p->appended,
                (unsigned long long)p->settled);
  munmap(p, sizeof *p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_killed_at_any_instant, kit_setup, kit_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
