/* Producers, indexer, agent, trim, rebuilds and readers at once: the law holds at every look, every query is
 * complete, verify finds nothing. Made to be run under a thread checker, too. */
#include "kit.h"

#include "base/clock.h"
#include "index/index_impl.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct race {
  sl_store *store;
  atomic_bool stop;
  atomic_uint looks, queries, verifies, attempts, trims;
  char failure[2048];
  pthread_mutex_t lock;
} race;

/* cmocka's assertions jump, which only the main thread may: others say it here and stop everything. */
static void report(race *r, const char *what) {
  pthread_mutex_lock(&r->lock);
  if (!r->failure[0]) snprintf(r->failure, sizeof r->failure, "%s: %s", what, sl_last_detail());
  pthread_mutex_unlock(&r->lock);
  r->stop = true;
}

static void *produce(void *arg) {
  race *r = arg;
  uint64_t n = 0;
  while (!r->stop) {
    char id[40], correlation[40];
    sl_event e[20] = {0};
    for (size_t i = 0; i < 20; i++)
      e[i] = (sl_event){.topic = i % 3 ? SL_STR("a") : SL_STR("b"), .value = SL_STR("value"),
                        .correlation_id = SL_BYTES(correlation, 8)};
    snprintf(correlation, sizeof correlation, "c%07llu", (unsigned long long)(n % 50));
    snprintf(id, sizeof id, "id %llu", (unsigned long long)(n % 500));
    e[3].event_id = sl_slice_of(id); /* sometimes a duplicate */
    if (sl_append_many(r->store, e, 20, NULL, NULL) != SL_OK) report(r, "append");
    n++;
  }
  return NULL;
}

static void *indexer(void *arg) {
  race *r = arg;
  for (unsigned n = 0; !r->stop; n++) {
    sl_status status = n % 200 == 199 ? sl_reindex(r->store) : sl_index_advance(r->store, 300, NULL);
    if (status != SL_OK) report(r, "index");
  }
  return NULL;
}

static sl_status deliver(race *r, sl_delivery *d, unsigned n) {
  const delivery_state *s = delivery_state_get(d);
  delivery_verdict v[200];
  size_t count = 0;
  const sl_letter letter = {.attempts = 1};
  const sl_query q = {.first_seq = s->cursor.seq + 1, .limit = 200};
  delivery_attempt a = {.progress = s->cursor, .verdicts = v};
  sl_stats stats;
  sl_iter *it;
  const sl_record *record;
  sl_status status = sl_stats_get(r->store, &stats);
  if (status == SL_OK) status = sl_iter_start(r->store, &q, &it);
  if (status != SL_OK) return status;
  while ((status = sl_iter_next(it, &record)) == SL_OK && record->seq <= stats.indexed_seq) {
    v[count] = (delivery_verdict){.seq = record->seq, .verdict = SL_VERDICT_SENT, .place = -1};
    if (record->duplicate_of) {
      v[count].verdict = SL_VERDICT_DUPLICATE;
      v[count].place = (int64_t)record->duplicate_of;
    } else if (record->seq % 97 == 0) {
      v[count].verdict = SL_VERDICT_DEAD;
      v[count].letter = &letter;
    }
    a.progress.seq = record->seq;
    count++;
  }
  sl_iter_close(it);
  if (status != SL_OK && status != SL_NOTFOUND) return status;
  a.count = count;
  a.progress.attempt = s->last_attempt + 1;
  status = delivery_intent(d, &a);
  if (status == SL_E_INVALID && strstr(sl_last_detail(), "pass the index")) return SL_OK; /* a rebuild */
  if (status != SL_OK) return status;
  return n % 5 == 4 ? delivery_abandon(d) : delivery_settle(d);
}

static void *agent(void *arg) {
  race *r = arg;
  sl_delivery *d;
  if (delivery_open(r->store, &d) != SL_OK) {
    report(r, "delivery_open");
    return NULL;
  }
  for (unsigned n = 0; !r->stop; n++) {
    if (deliver(r, d, n) != SL_OK) report(r, "deliver");
    r->attempts++;
  }
  delivery_close(d);
  return NULL;
}

static void *trimmer(void *arg) {
  race *r = arg;
  const sl_trim_topic stays = {SL_STR("b"), INT64_C(100000)};
  while (!r->stop) {
    const sl_trim_policy by_age = {.max_age_us = 1, .topics = &stays, .topic_count = 1};
    const sl_trim_policy by_count = {.max_events = 500};
    if (sl_trim(r->store, r->trims % 4 ? &by_age : &by_count, NULL) != SL_OK) report(r, "trim");
    r->trims++;
  }
  return NULL;
}

static void *reader(void *arg) {
  race *r = arg;
  for (unsigned n = 0; !r->stop; n++) {
    sl_stats s;
    if (sl_stats_get(r->store, &s) != SL_OK) report(r, "stats");
    else if (!s.balanced) {
      char text[256];
      snprintf(text, sizeof text, "unbalanced: %llu appended, %llu %llu %llu %llu, %llu pending, cursor %llu",
               (unsigned long long)s.appended, (unsigned long long)s.delivered,
               (unsigned long long)s.duplicates, (unsigned long long)s.dead, (unsigned long long)s.dropped,
               (unsigned long long)s.pending, (unsigned long long)s.delivery_seq);
      report(r, text);
    }
    r->looks++;
    const sl_query q = {.correlation_id = SL_STR("c0000007"),
                        .first_seq = s.last_seq > 3000 ? s.last_seq - 3000 : 0,
                        .states = n % 2 ? SL_STATE_BIT(SL_PENDING) : 0,
                        .flags = n % 3 ? 0 : SL_QUERY_NEWEST,
                        .limit = 50};
    sl_iter *it;
    const sl_record *record;
    uint64_t last = 0;
    if (sl_iter_start(r->store, &q, &it) != SL_OK) {
      report(r, "query");
      break;
    }
    sl_status status;
    while ((status = sl_iter_next(it, &record)) == SL_OK) {
      if (record->seq <= last) report(r, "order");
      last = record->seq;
    }
    if (status != SL_NOTFOUND) report(r, "query");
    sl_iter_close(it);
    r->queries++;
  }
  return NULL;
}

/* Follows the log without a gap among what is still there: each seq once, ascending. */
static void *follower(void *arg) {
  race *r = arg;
  const sl_query q = {.flags = SL_QUERY_FOLLOW};
  sl_iter *it;
  const sl_record *record;
  uint64_t last = 0;
  if (sl_iter_start(r->store, &q, &it) != SL_OK) report(r, "follow");
  while (!r->stop) {
    sl_status status = sl_iter_next(it, &record);
    if (status == SL_NOTFOUND) {
      sl_wait(r->store, last, 5, NULL);
      continue;
    }
    if (status != SL_OK || record->seq <= last) report(r, "follow");
    last = record->seq;
  }
  sl_iter_close(it);
  return NULL;
}

static void hear(void *arg, const char *text) {
  race *r = arg;
  sl_fail(SL_E_CORRUPT, "%s", text);
  report(r, "verify");
}

static void *verifier(void *arg) {
  race *r = arg;
  while (!r->stop) {
    if (sl_verify(r->store, hear, r, NULL) != SL_OK) report(r, "verify");
    r->verifies++;
  }
  return NULL;
}

static void test_everything_at_once(void **state) {
  kit *k = *state;
  static race r;
  r = (race){.store = k->store};
  pthread_mutex_init(&r.lock, NULL);
  void *(*const roles[])(void *) = {produce, produce, indexer, agent, trimmer, reader, follower, verifier};
  pthread_t threads[8];
  const char *seconds = getenv("SIDELOG_SECONDS");
  const int64_t until = sl_clock_monotonic_us() + (seconds ? atoll(seconds) : 4) * 1000000;
  for (size_t i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &r), 0);
  while (!r.stop && sl_clock_monotonic_us() < until) usleep(20000);
  r.stop = true;
  for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  print_message("%u looks, %u queries, %u verifies, %u attempts, %u trims\n", r.looks, r.queries, r.verifies,
                r.attempts, r.trims);
  if (r.failure[0]) fail_msg("%s", r.failure);
  assert_true(r.looks && r.queries && r.verifies && r.attempts && r.trims);
  sl_verify_report verified;
  assert_ok(sl_verify(k->store, NULL, NULL, &verified));
  assert_int_equal(verified.problems, 0);
}

/* ------------------------------------------------------------- a rebuild --- */

typedef struct rebuild {
  race r;
  atomic_ullong kept; /* events of the topic that no trim touches, acknowledged */
  atomic_uint rebuilds, held;
} rebuild;

static void *keep(void *arg) {
  rebuild *b = arg;
  while (!b->r.stop) {
    char value[24];
    snprintf(value, sizeof value, "%llu", (unsigned long long)b->kept);
    const sl_event e = {.topic = SL_STR("kept"), .correlation_id = SL_STR("whole"), .tenant = SL_STR("whole"),
                        .value = sl_slice_of(value)};
    if (sl_append(b->r.store, &e, NULL) != SL_OK) report(&b->r, "append");
    b->kept++;
  }
  return NULL;
}

static void *rebuilder(void *arg) {
  rebuild *b = arg;
  while (!b->r.stop) {
    if (sl_index_attributes_set(b->r.store, b->rebuilds % 2 ? SL_INDEX_TENANT : 0) != SL_OK) report(&b->r, "set");
    if (sl_reindex(b->r.store) != SL_OK) report(&b->r, "reindex");
    b->rebuilds++;
  }
  return NULL;
}

/* Everything acknowledged before the query began, each once, in order. */
static void *complete(void *arg) {
  rebuild *b = arg;
  for (unsigned n = 0; !b->r.stop; n++) {
    const sl_query by_id = {.correlation_id = SL_STR("whole")}, by_tenant = {.tenant = SL_STR("whole")};
    const uint64_t before = b->kept;
    uint64_t count = 0;
    sl_iter *it;
    const sl_record *record;
    if (sl_iter_start(b->r.store, n % 2 ? &by_id : &by_tenant, &it) != SL_OK) report(&b->r, "query");
    if (b->r.stop) break;
    sl_status status;
    while ((status = sl_iter_next(it, &record)) == SL_OK) {
      char value[24];
      snprintf(value, sizeof value, "%llu", (unsigned long long)count++);
      if (!sl_slice_eq(record->value, sl_slice_of(value))) report(&b->r, "a gap, or one twice");
    }
    if (status != SL_NOTFOUND || count < before) report(&b->r, "incomplete");
    sl_iter_close(it);
    b->r.queries++;
  }
  return NULL;
}

/* The law at every look; `held` counts those that find the watermark thrown back behind the cursor. */
static void *watch(void *arg) {
  rebuild *b = arg;
  while (!b->r.stop) {
    sl_stats s;
    if (sl_stats_get(b->r.store, &s) != SL_OK) report(&b->r, "stats");
    if (!s.balanced) report(&b->r, "unbalanced");
    b->held += s.indexed_seq < s.delivery_seq;
    b->r.looks++;
  }
  return NULL;
}

static void *trim_others(void *arg) {
  race *r = arg;
  const sl_trim_topic stays = {SL_STR("kept"), INT64_C(1000000000000)};
  while (!r->stop) {
    const sl_trim_policy by_age = {.max_age_us = 1, .topics = &stays, .topic_count = 1};
    if (sl_trim(r->store, &by_age, NULL) != SL_OK) report(r, "trim");
    r->trims++;
  }
  return NULL;
}

static void test_rebuilds_while_everything_runs(void **state) {
  kit *k = *state;
  static rebuild b;
  b = (rebuild){.r.store = k->store};
  pthread_mutex_init(&b.r.lock, NULL);
  k->store->index->small = 60; /* merged all the time */
  k->store->index->piece = 500;
  void *(*const roles[])(void *) = {produce, keep, rebuilder, agent, trim_others, complete, watch};
  pthread_t threads[7];
  const char *seconds = getenv("SIDELOG_SECONDS");
  const int64_t until = sl_clock_monotonic_us() + (seconds ? atoll(seconds) : 3) * 1000000;
  for (size_t i = 0; i < 7; i++) assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &b), 0);
  while (!b.r.stop && sl_clock_monotonic_us() < until) usleep(20000);
  b.r.stop = true;
  for (size_t i = 0; i < 7; i++) pthread_join(threads[i], NULL);
  print_message("%u rebuilds, %u queries, %u attempts, %u trims, %u times held, %llu kept\n", b.rebuilds,
                b.r.queries,
                b.r.attempts, b.r.trims, b.held, (unsigned long long)b.kept);
  if (b.r.failure[0]) fail_msg("%s", b.r.failure);
  assert_true(b.rebuilds && b.r.queries && b.r.attempts && b.r.trims);
  sl_verify_report verified;
  assert_ok(sl_verify(k->store, NULL, NULL, &verified));
  assert_int_equal(verified.problems, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_rebuilds_while_everything_runs, kit_setup, kit_teardown),
      cmocka_unit_test_setup_teardown(test_everything_at_once, kit_setup, kit_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
