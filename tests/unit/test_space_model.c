/* A full store under every order of events: appends, deliveries that end in every way, drops between any two steps
 * of them, dead letters that are sent again, fail again or are given up, trims, reopens. After each step the law
 * holds, seqs are dense, no event that was sent is dropped, or the reverse, and a letter moves only by what was
 * done to it. Then the same with threads. */
#include "kit.h"

#include "delivery/book_impl.h"
#include "store/log_inner.h"

#include <pthread.h>
#include <sidelog/dead.h>
#include <stdatomic.h>

#define SEQS_MAX 40000u

enum { UNKNOWN, SENT, DUPLICATE, DROPPED, DEAD, COPY, FATES };
#define RANGE_MOST 100u

/* What an attempt would settle. */
typedef struct moves {
  uint64_t sent;                 /* events that are no copies */
  uint64_t origins[RANGE_MOST];  /* of copies that are sent */
  size_t count;
} moves;

typedef struct model {
  kit *k;
  uint64_t seed;
  uint64_t appended, copies; /* records, and copies of dead letters among them */
  uint8_t fate[SEQS_MAX];
  uint64_t copy_of[SEQS_MAX]; /* 0: it is no copy */
  moves open;                 /* of the intent that is there */
  unsigned came_home, given_up, came_again;
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
  static const int fates[SL_STATE_COUNT] = {UNKNOWN, SENT, DUPLICATE, DEAD, DROPPED};
  return fates[state];
}

/* Every kept event says what it always said, and the totals are those of the model. */
static void check(model *m) {
  sl_iter *it;
  const sl_record *r;
  uint64_t counts[FATES] = {0}, next = 0;
  assert_ok(sl_iter_start(m->k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    assert_true(next == 0 || r->seq == next);
    next = r->seq + 1;
    const int fate = m->copy_of[r->seq] ? COPY : fate_of(r->state);
    assert_int_equal(r->replay_of, m->copy_of[r->seq]);
    if (m->fate[r->seq] != UNKNOWN) assert_int_equal(fate, m->fate[r->seq]);
    m->fate[r->seq] = (uint8_t)fate;
    if (fate == DROPPED && r->dropped_by.len == 0) assert_int_equal(r->value.len, 0);
    if (fate == UNKNOWN) assert_true(r->value.len > 0);
  }
  sl_iter_close(it);
  assert_int_equal(next, m->appended ? m->appended + 1 : 0);
  for (uint64_t seq = 1; seq <= m->appended; seq++) counts[m->fate[seq]]++;
  const sl_stats s = balanced(m->k->store);
  assert_int_equal(counts[COPY], m->copies);
  assert_int_equal(s.appended, m->appended - m->copies);
  assert_int_equal(s.delivered, counts[SENT]);
  assert_int_equal(s.dead, counts[DEAD]);
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
static const sl_letter refused = {.error_class = {"NON_RETRYABLE_VALIDATION", 24}, .attempts = 1};

/* What an agent would fill a transaction with; m may be NULL. */
static size_t read_range(model *m, sl_store *store, uint64_t from, uint64_t to, delivery_verdict *v) {
  const sl_query q = {.first_seq = from, .last_seq = to};
  sl_iter *it;
  const sl_record *r;
  size_t n = 0;
  assert_ok(sl_iter_start(store, &q, &it));
  while (sl_iter_next(it, &r) == SL_OK) {
    v[n] = (delivery_verdict){.seq = r->seq, .verdict = SL_VERDICT_SENT, .partition = 0, .place = (int64_t)r->seq};
    if (r->state == SL_DROPPED) v[n].verdict = SL_VERDICT_DROPPED, v[n].letter = &store_full;
    else if (r->duplicate_of) v[n].verdict = SL_VERDICT_DUPLICATE, v[n].place = (int64_t)r->duplicate_of;
    else if (m && m->copy_of[r->seq] && m->fate[m->copy_of[r->seq]] != DEAD)
      v[n].verdict = SL_VERDICT_DUPLICATE, v[n].place = (int64_t)m->copy_of[r->seq];
    else if (m && below(m, 5) == 0) v[n].verdict = SL_VERDICT_DEAD, v[n].letter = &refused, v[n].partition = -1;
    n++;
  }
  sl_iter_close(it);
  return n;
}

/* ---- dead letters ---- */

/* A random one; 0: the looks found none. */
static uint64_t some_letter(model *m) {
  for (int looks = 0; looks < 50 && m->appended; looks++) {
    const uint64_t seq = 1 + below(m, m->appended);
    if (m->fate[seq] == DEAD) return seq;
  }
  return 0;
}

static bool is_kept(model *m, uint64_t seq) { return seq >= kit_head(m->k).first_seq; }

static void replay(model *m) {
  const uint64_t seq = some_letter(m);
  uint64_t copy = 0;
  if (!seq) return;
  const sl_status status = sl_replay(m->k->store, seq, NULL, &copy);
  if (status == SL_OK) {
    m->copy_of[++m->appended] = seq;
    m->copies++;
    assert_int_equal(copy, m->appended);
  } else {
    assert_true(status == (is_kept(m, seq) ? SL_E_BUSY : SL_NOTFOUND) || status == SL_E_LIMIT);
    m->came_again += status == SL_E_LIMIT;
  }
}

static void give_up(model *m) {
  const uint64_t seq = some_letter(m);
  if (!seq) return;
  const sl_status status = sl_dead_drop(m->k->store, seq, SL_STR("me"), SL_STR("enough"));
  bool moved = false;
  for (size_t i = 0; i < m->open.count; i++) moved |= m->open.origins[i] == seq;
  assert_int_equal(status, !is_kept(m, seq) ? SL_NOTFOUND : moved ? SL_E_BUSY : SL_OK);
  if (status != SL_OK) return;
  m->fate[seq] = DROPPED;
  m->given_up++;
}

static moves moves_of(const model *m, const delivery_attempt *a) {
  moves all = {0};
  for (size_t i = 0; i < a->count; i++) {
    const delivery_verdict *v = &a->verdicts[i];
    if (v->verdict == SL_VERDICT_SENT && m->copy_of[v->seq]) all.origins[all.count++] = m->copy_of[v->seq];
    else all.sent += v->verdict == SL_VERDICT_SENT;
  }
  return all;
}

/* The letters whose copies were sent. One that was trimmed since has moved only if its receipt was still there. */
static void came_home(model *m, const moves *all, uint64_t delivered_before) {
  uint64_t more = balanced(m->k->store).delivered - delivered_before - all->sent;
  for (size_t i = 0; i < all->count; i++) {
    if (!is_kept(m, all->origins[i])) continue;
    m->fate[all->origins[i]] = SENT;
    m->came_home++;
    more--;
  }
  for (size_t i = 0; i < all->count && more > 0; i++) {
    if (is_kept(m, all->origins[i])) continue;
    m->fate[all->origins[i]] = SENT;
    more--;
  }
  assert_int_equal(more, 0);
}

/* ---- delivery ---- */

static void deliver(model *m) {
  static delivery_verdict v[RANGE_MOST];
  sl_delivery *d;
  uint64_t watermark;
  assert_ok(sl_index_advance(m->k->store, 1 + below(m, 200), &watermark));
  assert_ok(delivery_open(m->k->store, &d));
  const delivery_state *s = delivery_state_get(d);
  if (s->has_intent) { /* of the last time: its outcome is told now */
    const uint64_t before = balanced(m->k->store).delivered;
    const bool settled = below(m, 2);
    assert_ok(settled ? delivery_settle(d) : delivery_abandon(d));
    if (settled) came_home(m, &m->open, before);
    m->open = (moves){0};
  } else if (s->cursor.seq < watermark) {
    const uint64_t from = s->cursor.seq + 1, most = from + below(m, 60), to = most < watermark ? most : watermark;
    delivery_attempt a = {.progress = s->cursor, .verdicts = v, .marked = below(m, 8) > 0};
    a.count = read_range(m, m->k->store, from, to, v);
    const moves all = moves_of(m, &a);
    a.progress.seq = to;
    a.progress.attempt = s->last_attempt + 1;
    const uint64_t between = below(m, 3) == 0 ? drop(m->k->store, 1 + below(m, 4000)) : 0;
    if (between) check(m);
    if (below(m, 3) == 0) give_up(m);
    const uint64_t before = balanced(m->k->store).delivered;
    if (!a.marked) { /* on the broker already */
      for (size_t i = 0; i < a.count; i++)
        if (m->fate[v[i].seq] == DROPPED && v[i].verdict != SL_VERDICT_DROPPED) m->fate[v[i].seq] = UNKNOWN;
      assert_ok(delivery_record(d, &a));
      came_home(m, &all, before);
    } else {
      bool overtaken = false;
      for (size_t i = 0; i < a.count; i++)
        overtaken |= m->fate[v[i].seq] == DROPPED && v[i].verdict != SL_VERDICT_DROPPED;
      for (size_t i = 0; i < all.count; i++) overtaken |= m->fate[all.origins[i]] != DEAD;
      if (overtaken) assert_fails(delivery_intent(d, &a), SL_NOTFOUND, "abort it");
      else assert_ok(delivery_intent(d, &a));
      if (!overtaken && below(m, 3) == 0) drop(m->k->store, 3000); /* beyond it */
      if (!overtaken && below(m, 4)) {
        const bool settled = below(m, 4);
        assert_ok(settled ? delivery_settle(d) : delivery_abandon(d));
        if (settled) came_home(m, &all, before);
      } else if (!overtaken) {
        m->open = all;
      }
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

static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  unsigned *losses = arg;
  if (kind == SL_REPAIR_LOG && strstr(text, "the policy for a full store is not taken over")) return;
  ++*losses;
  print_error("%s %llu-%llu: %s\n", sl_repair_kind_text(kind), (unsigned long long)first, (unsigned long long)last,
              text);
}

/* As it is, or what repair makes of it: that changes nothing of what a sound store says. */
static void reopen(model *m) {
  kit *k = m->k;
  char made[4300];
  const uint64_t way = below(m, 16);
  if (way > 1) return;
  sl_close(k->store);
  k->store = NULL;
  if (way == 1) {
    unsigned losses = 0;
    snprintf(made, sizeof made, "%s/made", k->dir);
    assert_ok(sl_repair(k->path, made, NULL, hear, &losses, NULL));
    assert_int_equal(losses, 0);
    nftw(k->path, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(rename(made, k->path), 0);
  }
  kit_open(k);
  policy(k);
}

static void test_any_order_keeps_the_law(void **state) {
  kit *k = *state;
  const char *given = getenv("SIDELOG_SEED");
  model *m = calloc(1, sizeof *m);
  m->k = k;
  m->seed = given ? strtoull(given, NULL, 10) : 0x5eed;
  policy(k);
  for (int i = 0; i < 600 && m->appended + 20 < SEQS_MAX; i++) {
    switch (below(m, 14)) {
    case 0: drop(k->store, 1 + below(m, 10000)); break;
    case 1: trim(m); break;
    case 2: settle_tombstones(m); break;
    case 3: reopen(m); break;
    case 4: case 5: case 6: case 7: deliver(m); break;
    case 8: case 9: replay(m); break;
    case 10: give_up(m); break;
    default: append(m); break;
    }
    check(m);
  }
  sound(k);
  assert_true(m->came_home > 3 && m->given_up > 3); /* else this tests too little */
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
    a.count = read_range(NULL, r->k->store, s->cursor.seq + 1, to, v);
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
