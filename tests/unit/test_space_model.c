/* A full store under every order of events: appends, deliveries that end in every way, drops between any two steps of
 * them, trims, reopens. After each step the law holds, seqs are dense, and no event that was sent is dropped, or the
 * reverse. Then the same with threads. */
#include "kit.h"

#include "delivery/book_impl.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <stdatomic.h>

#define SEQS_MAX 40000u

enum { UNKNOWN, SENT, DUPLICATE, DROPPED };

typedef struct model {
  kit *k;
  uint64_t seed;
  uint64_t appended;
  uint8_t fate[SEQS_MAX];
} model;

static uint64_t below(model *m, uint64_t n) {
  m->seed ^= m->seed << 13;
  m->seed ^= m->seed >> 7;
  m->seed ^= m->seed << 17;
  return m->seed % n;
}

static sl_stats balanced(sl_store *store) {
  sl_stats s;
  assert_ok(sl_stats_get(store, &s));
  if (!s.balanced)
    print_error("%llu != %llu + %llu + %llu + %llu + %llu\n", (unsigned long long)s.appended,
                (unsigned long long)s.delivered, (unsigned long long)s.duplicates, (unsigned long long)s.dead,
                (unsigned long long)s.dropped, (unsigned long long)s.pending);
  assert_true(s.balanced);
  return s;
}

static int fate_of(sl_state state) {
  return state == SL_SENT ? SENT : state == SL_DUPLICATE ? DUPLICATE : state == SL_DROPPED ? DROPPED : UNKNOWN;
}

/* Every kept event says what it always said, and the totals are those of the model. */
static void check(model *m) {
  sl_iter *it;
  const sl_record *r;
  uint64_t counts[4] = {0}, next = 0;
  assert_ok(sl_iter_start(m->k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    assert_true(next == 0 || r->seq == next);
    next = r->seq + 1;
    const int fate = fate_of(r->state);
    if (m->fate[r->seq] != UNKNOWN) assert_int_equal(fate, m->fate[r->seq]);
    m->fate[r->seq] = (uint8_t)fate;
    if (fate == DROPPED) assert_int_equal(r->value.len, 0);
    if (fate == UNKNOWN) assert_true(r->value.len > 0);
  }
  sl_iter_close(it);
  assert_int_equal(next, m->appended ? m->appended + 1 : 0);
  for (uint64_t seq = 1; seq <= m->appended; seq++) counts[m->fate[seq]]++;
  const sl_stats s = balanced(m->k->store);
  assert_int_equal(s.appended, m->appended);
  assert_int_equal(s.delivered, counts[SENT]);
  assert_int_equal(s.duplicates, counts[DUPLICATE]);
  assert_int_equal(s.dropped, counts[DROPPED]);
  assert_int_equal(s.pending, counts[UNKNOWN]);
}

static void append(model *m) {
  static const char *const topics[] = {"m", "m", "o"};
  char id[16], value[700];
  memset(value, 'v', sizeof value);
  for (uint64_t n = 1 + below(m, 12); n > 0; n--) {
    snprintf(id, sizeof id, "id-%u", (unsigned)below(m, m->appended + 50));
    const sl_event e = {.topic = sl_slice_of(topics[below(m, 3)]), .event_id = sl_slice_of(id),
                        .value = SL_BYTES(value, 1 + below(m, sizeof value))};
    assert_ok(sl_append(m->k->store, &e, NULL));
    m->appended++;
  }
}

static uint64_t drop(sl_store *store, uint64_t bytes) {
  space_policy p;
  uint64_t dropped;
  assert_ok(space_policy_read(store, &p));
  assert_ok(space_drop_oldest(store, &p, bytes, &dropped));
  return dropped;
}

static const sl_letter store_full = {.error_class = {BOOK_CLASS_DROPPED, sizeof BOOK_CLASS_DROPPED - 1}};

/* What an agent would fill a transaction with. */
static size_t read_range(sl_store *store, uint64_t from, uint64_t to, delivery_verdict *v) {
  const sl_query q = {.first_seq = from, .last_seq = to};
  sl_iter *it;
  const sl_record *r;
  size_t n = 0;
  assert_ok(sl_iter_start(store, &q, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    v[n] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .partition = 0, .place = (int64_t)r->seq};
    if (r->state == SL_DROPPED) v[n].verdict = SL_VERDICT_DROPPED, v[n].letter = &store_full;
    else if (r->duplicate_of) v[n].verdict = SL_VERDICT_DUPLICATE, v[n].place = (int64_t)r->duplicate_of;
    n++;
  }
  sl_iter_close(it);
  return n;
}

static void deliver(model *m) {
  static delivery_verdict v[100];
  sl_delivery *d;
  uint64_t watermark;
  assert_ok(sl_index_advance(m->k->store, 1 + below(m, 200), &watermark));
  assert_ok(delivery_open(m->k->store, &d));
  const delivery_state *s = delivery_state_get(d);
  if (s->has_intent) { /* of the last time: its outcome is told now */
    assert_ok(below(m, 2) ? delivery_settle(d) : delivery_abandon(d));
  } else if (s->cursor.seq < watermark) {
    const uint64_t from = s->cursor.seq + 1, most = from + below(m, 60), to = most < watermark ? most : watermark;
    delivery_attempt a = {.progress = s->cursor, .verdicts = v, .marked = below(m, 8) > 0};
    a.count = read_range(m->k->store, from, to, v);
    a.progress.seq = to;
    a.progress.attempt = s->last_attempt + 1;
    const uint64_t between = below(m, 3) == 0 ? drop(m->k->store, 1 + below(m, 4000)) : 0;
    if (between) check(m);
    if (!a.marked) { /* on the broker already */
      for (size_t i = 0; i < a.count; i++)
        if (m->fate[v[i].seq] == DROPPED && v[i].verdict != SL_VERDICT_DROPPED) m->fate[v[i].seq] = UNKNOWN;
      assert_ok(delivery_record(d, &a));
    } else {
      bool overtaken = false;
      for (size_t i = 0; i < a.count; i++)
        overtaken |= m->fate[v[i].seq] == DROPPED && v[i].verdict != SL_VERDICT_DROPPED;
      if (overtaken) assert_fails(delivery_intent(d, &a), SL_NOTFOUND, "dropped by the full store");
      else assert_ok(delivery_intent(d, &a));
      if (!overtaken && below(m, 3) == 0) drop(m->k->store, 3000); /* beyond it */
      if (!overtaken && below(m, 4)) assert_ok(below(m, 4) ? delivery_settle(d) : delivery_abandon(d));
    }
  }
  delivery_close(d);
}

static void settle_tombstones(model *m) {
  uint64_t settled;
  assert_ok(sl_index_advance(m->k->store, 0, NULL));
  assert_ok(space_settle_tombstones(m->k->store, &settled));
}

static void trim(model *m) {
  const sl_trim_policy policy = {.max_events = 1 + below(m, 300)};
  assert_ok(sl_trim(m->k->store, &policy, NULL));
}

static void sound(kit *k) {
  sl_verify_report report;
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void policy(kit *k) {
  const sl_full_policy p = {.drop_oldest = SL_STR("m")};
  assert_ok(sl_full_policy_set(k->store, &p));
}

static void test_any_order_keeps_the_law(void **state) {
  kit *k = *state;
  const char *given = getenv("SIDELOG_SEED");
  model *m = calloc(1, sizeof *m);
  m->k = k;
  m->seed = given ? strtoull(given, NULL, 10) : 0x5eed;
  policy(k);
  for (int i = 0; i < 600 && m->appended + 20 < SEQS_MAX; i++) {
    switch (below(m, 12)) {
    case 0: drop(k->store, 1 + below(m, 10000)); break;
    case 1: trim(m); break;
    case 2: settle_tombstones(m); break;
    case 3: if (below(m, 10) == 0) kit_reopen(k); break;
    case 4: case 5: case 6: case 7: deliver(m); break;
    default: append(m); break;
    }
    check(m);
  }
  sound(k);
  free(m);
}

/* ---- threads ---- */

#define WRITERS 4
#define EACH 60
#define BATCH 25

typedef struct race {
  kit *k;
  _Atomic bool done;
  _Atomic unsigned overtaken;
  _Atomic unsigned refused; /* appends */
  uint8_t sent[SEQS_MAX];
} race;

static void *writer(void *arg) {
  race *r = arg;
  static const char value[1000] = {'v'};
  sl_event events[BATCH];
  for (size_t i = 0; i < BATCH; i++) events[i] = (sl_event){.topic = SL_STR("m"), .value = SL_BYTES(value, 1000)};
  for (int i = 0; i < EACH; i++)
    if (sl_append_many(r->k->store, events, BATCH, NULL, NULL) != SL_OK) {
      print_error("%s\n", sl_last_detail());
      atomic_fetch_add(&r->refused, 1);
    }
  return NULL;
}

static void *looker(void *arg) {
  race *r = arg;
  while (!atomic_load(&r->done)) balanced(r->k->store);
  return NULL;
}

static void *deliverer(void *arg) {
  race *r = arg;
  delivery_verdict *v = calloc(400, sizeof *v);
  sl_delivery *d;
  assert_ok(delivery_open(r->k->store, &d));
  while (!atomic_load(&r->done)) {
    uint64_t watermark;
    assert_ok(sl_index_advance(r->k->store, 2000, &watermark));
    const delivery_state *s = delivery_state_get(d);
    uint64_t to = s->cursor.seq + 200 < watermark ? s->cursor.seq + 200 : watermark;
    if (to <= s->cursor.seq) continue;
    delivery_attempt a = {.progress = s->cursor, .verdicts = v, .marked = true};
    a.count = read_range(r->k->store, s->cursor.seq + 1, to, v);
    a.progress.seq = to;
    a.progress.attempt = s->last_attempt + 1;
    const sl_status status = delivery_intent(d, &a);
    if (status == SL_NOTFOUND) {
      atomic_fetch_add(&r->overtaken, 1);
      continue;
    }
    assert_ok(status);
    assert_ok(delivery_settle(d));
    for (size_t i = 0; i < a.count; i++) r->sent[v[i].seq] = v[i].verdict == SL_VERDICT_SENT;
  }
  delivery_close(d);
  free(v);
  return NULL;
}

static void test_threads_at_a_full_quota(void **state) {
  kit *k = *state;
  sl_close(k->store);
  k->options.quota_bytes = 2u << 20;
  kit_open(k);
  policy(k);
  race *r = calloc(1, sizeof *r);
  r->k = k;
  pthread_t writers[WRITERS], others[2];
  for (int i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&writers[i], NULL, writer, r), 0);
  assert_int_equal(pthread_create(&others[0], NULL, deliverer, r), 0);
  assert_int_equal(pthread_create(&others[1], NULL, looker, r), 0);
  for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
  atomic_store(&r->done, true);
  for (int i = 0; i < 2; i++) pthread_join(others[i], NULL);
  assert_int_equal(atomic_load(&r->refused), 0);
  const sl_stats s = balanced(k->store);
  uint64_t sent = 0;
  for (uint64_t seq = 1; seq <= s.last_seq; seq++) sent += r->sent[seq];
  assert_int_equal(s.appended, WRITERS * EACH * BATCH);
  assert_int_equal(s.delivered, sent);
  assert_int_equal(s.delivered + s.dropped + s.pending, s.appended);
  sl_iter *it;
  const sl_record *rec;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  while (sl_iter_next(it, &rec) == SL_OK) assert_true(r->sent[rec->seq] == (rec->state == SL_SENT));
  sl_iter_close(it);
  sound(k);
  free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_any_order_keeps_the_law, kit_setup, kit_teardown),
    cmocka_unit_test_setup_teardown(test_threads_at_a_full_quota, kit_setup, kit_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
