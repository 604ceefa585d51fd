/* The store against a model in memory: random appends, duplicates, indexing, attempts with lanes, settles,
 * abandons, trims, rebuilds and reopens. After each step the law holds, and queries agree with the model. */
#include "kit.h"

#include "base/text.h"
#include "index/index_impl.h"

#define EVENTS_MAX 3000
#define TOPICS 4
static const char *const topics[TOPICS] = {"wf.run", "wf.step", "agent.say", "audit"};
static const char *const types[] = {"started", "step.done", "step.failed", "said"};

typedef struct event {
  char id[40], correlation[40], causation[40], topic[16], type[16], tenant[8], source[8], key[8], value[24];
  bool trimmed;
  uint8_t verdict; /* SL_VERDICT_NONE: pending */
  int32_t partition;
  int64_t place;
  uint64_t duplicate_of; /* as the index knows it */
  int64_t appended_us;
} event;

typedef struct model {
  event events[EVENTS_MAX + 1]; /* by seq */
  uint64_t last, watermark, cursor;
  uint64_t lane[TOPICS]; /* UINT64_MAX: none */
  uint64_t attempts;
} model;

static const char *pick_id(char out[40]) {
  const size_t kind = random_below(10);
  const size_t n = random_below(kind < 3 ? 20 : 100000);
  if (kind < 8) snprintf(out, 40, "%08zx-0000-7000-8000-%012zx", n * 2654435761u % 0xffffffffu, n);
  else snprintf(out, 40, "id/%zu", n);
  return out;
}

static void do_append(kit *k, model *m) {
  sl_event batch[8] = {0};
  size_t count = 1 + random_below(8);
  if (m->last + count > EVENTS_MAX) return;
  for (size_t i = 0; i < count; i++) {
    event *e = &m->events[m->last + 1 + i];
    *e = (event){.partition = -1};
    pick_id(e->id);
    if (random_below(4))
      snprintf(e->correlation, 40, "%08zx-1111-4111-8111-000000000000", random_below(12) << 20);
    else if (random_below(2))
      snprintf(e->correlation, 40, "job %zu", random_below(5));
    if (m->last > 0 && random_below(2)) strcpy(e->causation, m->events[1 + random_below(m->last)].id);
    strcpy(e->topic, topics[random_below(TOPICS)]);
    strcpy(e->type, types[random_below(4)]);
    /* one text, three meanings */
    if (random_below(2)) snprintf(e->tenant, sizeof e->tenant, "x%zu", random_below(4));
    if (random_below(2)) snprintf(e->source, sizeof e->source, "x%zu", random_below(4));
    if (random_below(2)) snprintf(e->key, sizeof e->key, "x%zu", random_below(40));
    snprintf(e->value, sizeof e->value, "v%zu", random_below(1000000));
    batch[i].tenant = sl_slice_of(e->tenant);
    batch[i].source = sl_slice_of(e->source);
    batch[i].key = (sl_slice){e->key[0] ? e->key : NULL, strlen(e->key)};
    batch[i].event_id = sl_slice_of(e->id);
    batch[i].correlation_id = sl_slice_of(e->correlation);
    batch[i].causation_id = sl_slice_of(e->causation);
    batch[i].topic = sl_slice_of(e->topic);
    batch[i].type = sl_slice_of(e->type);
    batch[i].value = sl_slice_of(e->value);
  }
  uint64_t first = 0;
  assert_ok(sl_append_many(k->store, batch, count, &first, NULL));
  assert_int_equal(first, m->last + 1);
  m->last += count;
}

static void model_index(model *m, uint64_t from, uint64_t to) {
  for (uint64_t s = from; s <= to; s++) {
    event *e = &m->events[s];
    if (e->trimmed) continue;
    e->duplicate_of = 0;
    for (uint64_t o = 1; o < s && !e->duplicate_of; o++)
      if (!m->events[o].trimmed && !strcmp(m->events[o].id, e->id) && !strcmp(m->events[o].topic, e->topic))
        e->duplicate_of = o;
  }
}

/* Merged all the time, in pieces that end anywhere. */
static void small_generations(kit *k) {
  k->store->index->small = 4u << random_below(4);
  k->store->index->piece = 1 + random_below(100);
}

static void do_index(kit *k, model *m) {
  uint64_t max = random_below(3) ? random_below(60) + 1 : 0, reached = 0;
  assert_ok(sl_index_advance(k->store, max, &reached));
  uint64_t wanted = max && m->watermark + max < m->last ? m->watermark + max : m->last;
  assert_int_equal(reached, wanted);
  model_index(m, m->watermark + 1, reached);
  m->watermark = reached;
}

static void do_reindex(kit *k, model *m) {
  assert_ok(sl_reindex(k->store));
  model_index(m, 1, m->last);
  m->watermark = m->last;
}

static void do_attributes(kit *k) {
  static const uint32_t all[] = {SL_INDEX_KEY, SL_INDEX_TENANT, SL_INDEX_SOURCE};
  uint32_t wanted = 0, found = 99;
  for (size_t i = 0; i < 3; i++) wanted |= random_below(3) ? all[i] : 0;
  assert_ok(sl_index_attributes_set(k->store, wanted));
  assert_ok(sl_index_attributes_get(k->store, &found));
  assert_int_equal(found, wanted);
}

static uint64_t settled_to(const uint64_t *lane, size_t topic, uint64_t cursor) {
  return lane[topic] == UINT64_MAX ? cursor : lane[topic];
}

static size_t topic_of(const event *e) {
  size_t t = 0;
  while (strcmp(topics[t], e->topic)) t++;
  return t;
}

static delivery_verdict make_verdict(const model *m, uint64_t seq, const sl_letter *letter) {
  const event *e = &m->events[seq];
  delivery_verdict v = {.seq = seq, .verdict = SL_VERDICT_SENT, .partition = (int32_t)random_below(3),
                        .place = random_below(5) ? (int64_t)random_below(1000) : -1};
  const size_t dice = random_below(12);
  const int64_t first = (int64_t)e->duplicate_of;
  if (first) v = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_DUPLICATE, .place = first};
  else if (dice == 0) v = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_DEAD, .letter = letter};
  else if (dice == 1) v = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_DROPPED, .letter = letter};
  return v;
}

static void apply(model *m, const delivery_verdict *verdicts, size_t count) {
  for (size_t i = 0; i < count; i++) {
    event *e = &m->events[verdicts[i].seq];
    if (verdicts[i].verdict == SL_VERDICT_LANE) continue;
    assert_int_equal(e->verdict, SL_VERDICT_NONE);
    e->verdict = verdicts[i].verdict;
    e->partition = verdicts[i].partition;
    e->place = verdicts[i].place;
  }
}

static void do_attempt(kit *k, model *m) {
  const uint64_t reach = m->watermark < m->cursor ? m->cursor : m->watermark;
  const uint64_t to = m->cursor + (random_below(4) ? random_below(reach - m->cursor + 1) : reach - m->cursor);
  uint64_t lane[TOPICS];
  sl_lane lanes[TOPICS];
  size_t lane_count = 0;
  /* "agent.say" < "audit" < "wf.run" < "wf.step" */
  static const size_t order[TOPICS] = {2, 3, 0, 1};
  for (size_t i = 0; i < TOPICS; i++) {
    const size_t t = order[i];
    const uint64_t from = settled_to(m->lane, t, m->cursor);
    lane[t] = UINT64_MAX;
    if (random_below(m->lane[t] == UINT64_MAX ? 12 : 3) != 0 && m->lane[t] == UINT64_MAX) continue;
    if (m->lane[t] != UINT64_MAX && random_below(4) == 0) continue; /* rejoins */
    lane[t] = from + random_below(to - from + 1);
    lanes[lane_count++] = (sl_lane){sl_slice_of(topics[t]), lane[t]};
  }
  const sl_letter letter = {.attempts = 3, .error_class = SL_STR("NON_RETRYABLE_VALIDATION"),
                            .error_code = SL_STR("MSG_SIZE_TOO_LARGE"), .error_text = SL_STR("too large"),
                            .topic = SL_STR("t")};
  static delivery_verdict main_verdicts[EVENTS_MAX], lane_verdicts[EVENTS_MAX];
  size_t count = 0, waiting = 0;
  for (uint64_t s = 1; s <= to; s++) {
    const event *e = &m->events[s];
    const size_t t = topic_of(e);
    const uint64_t now = settled_to(lane, t, to);
    if (e->trimmed) continue;
    if (s > m->cursor) {
      main_verdicts[count] = s > now ? (delivery_verdict){.seq = s, .verdict = SL_VERDICT_LANE}
                                     : make_verdict(m, s, &letter);
      count++;
    } else if (s > settled_to(m->lane, t, m->cursor) && s <= now) {
      lane_verdicts[waiting++] = make_verdict(m, s, &letter);
    }
  }
  sl_delivery *d;
  assert_ok(delivery_open(k->store, &d));
  const delivery_state *state = delivery_state_get(d);
  assert_int_equal(state->cursor.seq, m->cursor);
  assert_int_equal(state->last_attempt, m->attempts);
  delivery_attempt a = {.progress = {.seq = to, .attempt = ++m->attempts, .lane_count = lane_count,
                                     .lanes = lanes},
                        .verdicts = main_verdicts, .count = count, .lane_verdicts = lane_verdicts,
                        .lane_count = waiting, .marked = true};
  bool settled = random_below(4) != 0;
  if (settled && random_below(3) == 0) {
    assert_ok(delivery_record(d, &a));
  } else {
    assert_ok(delivery_intent(d, &a));
    if (random_below(4) == 0) { /* the agent dies and comes back */
      delivery_close(d);
      kit_reopen(k);
      small_generations(k);
      assert_ok(delivery_open(k->store, &d));
      assert_true(delivery_state_get(d)->has_intent);
    }
    if (settled) assert_ok(delivery_settle(d));
    else assert_ok(delivery_abandon(d));
  }
  delivery_close(d);
  if (!settled) return;
  apply(m, main_verdicts, count);
  apply(m, lane_verdicts, waiting);
  m->cursor = to;
  memcpy(m->lane, lane, sizeof lane);
}

static void do_trim(kit *k, model *m) {
  const sl_trim_topic age = {SL_STR("audit"), INT64_C(1000000000000)};
  sl_trim_policy policy = {.max_events = 1 + random_below(m->last + 1)};
  if (random_below(3) == 0) policy = (sl_trim_policy){.max_age_us = 1, .topics = &age, .topic_count = 1};
  sl_trim_result result;
  assert_ok(sl_trim(k->store, &policy, &result));
  sl_iter *it;
  const sl_record *r;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  uint64_t next = 1, gone = 0;
  while (sl_iter_next(it, &r) == SL_OK) {
    for (; next < r->seq; next++) {
      if (m->events[next].trimmed) continue;
      assert_int_not_equal(m->events[next].verdict, SL_VERDICT_NONE);
      assert_true(next <= m->watermark && next <= m->cursor);
      m->events[next].trimmed = true;
      gone++;
    }
    next = r->seq + 1;
  }
  sl_iter_close(it);
  assert_int_equal(next, m->last + 1);
  assert_int_equal(gone, result.removed);
}

/* ---------------------------------------------------------------- checks --- */

static sl_state state_of(const event *e) {
  switch (e->verdict) {
  case SL_VERDICT_SENT: return SL_SENT;
  case SL_VERDICT_DUPLICATE: return SL_DUPLICATE;
  case SL_VERDICT_DEAD: return SL_DEAD;
  case SL_VERDICT_DROPPED: return SL_DROPPED;
  default: return SL_PENDING;
  }
}

static void check_stats(kit *k, const model *m) {
  uint64_t counts[SL_STATE_COUNT] = {0}, kept = 0;
  for (uint64_t s = 1; s <= m->last; s++) {
    counts[state_of(&m->events[s])]++;
    kept += !m->events[s].trimmed;
  }
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_int_equal(s.appended, m->last);
  assert_int_equal(s.pending, counts[SL_PENDING]);
  assert_int_equal(s.delivered, counts[SL_SENT]);
  assert_int_equal(s.duplicates, counts[SL_DUPLICATE]);
  assert_int_equal(s.dead, counts[SL_DEAD]);
  assert_int_equal(s.dropped, counts[SL_DROPPED]);
  assert_true(s.balanced);
  assert_int_equal(s.kept, kept);
  assert_int_equal(s.indexed_seq, m->watermark);
  assert_int_equal(s.delivery_seq, m->cursor);
  assert_true((s.oldest_pending_us != 0) == (s.pending > 0));
}

static bool fits(const event *e, uint64_t seq, const sl_query *q) {
  if (e->trimmed || seq < q->first_seq || (q->last_seq && seq > q->last_seq)) return false;
  if (q->event_id.len && !sl_slice_eq(q->event_id, sl_slice_of(e->id))) return false;
  if (q->correlation_id.len && !sl_slice_eq(q->correlation_id, sl_slice_of(e->correlation))) return false;
  if (q->causation_id.len && !sl_slice_eq(q->causation_id, sl_slice_of(e->causation))) return false;
  if (q->type.len && !sl_glob_match(q->type, sl_slice_of(e->type))) return false;
  if (q->topic.len && !sl_glob_match(q->topic, sl_slice_of(e->topic))) return false;
  if (q->tenant.len && !sl_slice_eq(q->tenant, sl_slice_of(e->tenant))) return false;
  if (q->source.len && !sl_slice_eq(q->source, sl_slice_of(e->source))) return false;
  if (q->key.len && !sl_slice_eq(q->key, sl_slice_of(e->key))) return false;
  if (q->states && !(q->states & SL_STATE_BIT(state_of(e)))) return false;
  if (q->since_us && e->appended_us < q->since_us) return false;
  if (q->until_us && e->appended_us >= q->until_us) return false;
  return true;
}

static void check_record(const model *m, const sl_record *r) {
  const event *e = &m->events[r->seq];
  assert_slice(r->event_id, e->id);
  assert_slice(r->correlation_id, e->correlation);
  assert_slice(r->causation_id, e->causation);
  assert_slice(r->topic, e->topic);
  assert_slice(r->type, e->type);
  assert_slice(r->value, e->value);
  assert_int_equal(r->state, state_of(e));
  if (r->state == SL_SENT) {
    assert_int_equal(r->partition, e->partition);
    assert_int_equal(r->offset, e->place);
  } else {
    assert_int_equal(r->partition, -1);
    assert_int_equal(r->offset, -1);
  }
  if (r->state == SL_DUPLICATE) assert_int_equal(r->duplicate_of, e->place);
  if (r->state == SL_PENDING) assert_int_equal(r->duplicate_of, r->seq <= m->watermark ? e->duplicate_of : 0);
  if (r->state == SL_DEAD || r->state == SL_DROPPED) {
    assert_int_equal(r->attempts, 3);
    assert_slice(r->error_class, "NON_RETRYABLE_VALIDATION");
  } else {
    assert_int_equal(r->error_class.len, 0);
  }
  assert_true((r->settled_at_us == 0) == (r->state == SL_PENDING));
}

static void learn_times(kit *k, model *m) {
  sl_iter *it;
  const sl_record *r;
  assert_ok(sl_iter_start(k->store, NULL, &it));
  while (sl_iter_next(it, &r) == SL_OK) m->events[r->seq].appended_us = r->appended_at_us;
  sl_iter_close(it);
}

static void check_query(kit *k, const model *m) {
  static const char *const globs[] = {"step.*", "*", "said", "s[t-z]*", "nothing"};
  const event *some = &m->events[1 + random_below(m->last)];
  char id[40];
  sl_query q = SL_QUERY_INIT;
  if (random_below(4) == 0) q.event_id = sl_slice_of(random_below(2) ? some->id : pick_id(id));
  if (random_below(3) == 0) q.correlation_id = sl_slice_of(some->correlation);
  if (random_below(4) == 0) q.causation_id = sl_slice_of(some->causation);
  if (random_below(4) == 0) q.type = sl_slice_of(globs[random_below(5)]);
  if (random_below(4) == 0) q.topic = sl_slice_of(random_below(2) ? "wf.*" : "audit");
  if (random_below(4) == 0) q.tenant = sl_slice_of(some->tenant);
  if (random_below(4) == 0) q.source = sl_slice_of(some->source);
  if (random_below(4) == 0) q.key = sl_slice_of(some->key);
  if (random_below(3) == 0) q.states = (uint32_t)random_below(32);
  if (random_below(4) == 0) q.first_seq = random_below(m->last + 2);
  if (random_below(4) == 0) q.last_seq = random_below(m->last + 2);
  if (random_below(4) == 0) q.since_us = some->appended_us;
  if (random_below(4) == 0) q.until_us = m->events[1 + random_below(m->last)].appended_us;
  if (random_below(2) == 0) q.limit = 1 + random_below(30);
  if (random_below(2) == 0) q.flags = SL_QUERY_NEWEST;
  static uint64_t wanted[EVENTS_MAX];
  size_t count = 0, at = 0;
  for (uint64_t s = 1; s <= m->last; s++)
    if (fits(&m->events[s], s, &q)) wanted[count++] = s;
  if (q.limit && count > q.limit) {
    if (q.flags) at = count - q.limit;
    else count = q.limit;
  }
  sl_iter *it;
  const sl_record *r;
  assert_ok(sl_iter_start(k->store, &q, &it));
  for (; at < count; at++) {
    assert_ok(sl_iter_next(it, &r));
    assert_int_equal(r->seq, wanted[at]);
    check_record(m, r);
  }
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  assert_int_equal(sl_iter_next(it, &r), SL_NOTFOUND);
  sl_iter_close(it);
}

static const char *id_of(const event *e, sl_id_kind kind) {
  return kind == SL_ID_EVENT ? e->id : kind == SL_ID_CORRELATION ? e->correlation : e->causation;
}

static void check_resolve(kit *k, const model *m) {
  const event *some = &m->events[1 + random_below(m->last)];
  const sl_id_kind kind = (sl_id_kind)random_below(3);
  const char *id = id_of(some, kind);
  if (!*id) return;
  size_t len = random_below(3) ? 4 + random_below(8) : strlen(id);
  if (len > strlen(id)) len = strlen(id);
  const bool uuid = strlen(id) == 36;
  char best[40] = "", out[3][SL_ID_MAX];
  size_t found = 0, count = 99;
  bool exact = false;
  char seen[64][40];
  for (uint64_t s = 1; s <= m->last; s++) {
    const event *e = &m->events[s];
    const char *own = id_of(e, kind);
    if (e->trimmed || !*own) continue;
    if (strlen(own) == len && !strncmp(own, id, len)) exact = true;
    if (!uuid || strlen(own) != 36 || strncmp(own, id, len)) continue;
    bool new = true;
    for (size_t i = 0; i < found && i < 64; i++) new = new && strcmp(seen[i], own);
    if (!new || found >= 64) continue;
    strcpy(seen[found++], own);
    if (!*best || strcmp(own, best) < 0) strcpy(best, own);
  }
  const sl_status status = sl_resolve(k->store, kind, SL_BYTES(id, len), out, 3, &count);
  if (exact) {
    assert_int_equal(status, SL_OK);
    assert_memory_equal(out[0], id, len);
  } else if (found == 0) {
    assert_int_equal(status, SL_NOTFOUND);
    assert_int_equal(count, 99);
  } else {
    assert_int_equal(status, found == 1 ? SL_OK : SL_E_AMBIGUOUS);
    assert_int_equal(count, found < 3 ? found : 3);
    if (found < 3) assert_string_equal(out[0], best);
  }
}

static void say(void *arg, const char *text) {
  (void)arg;
  print_error("verify: %s\n", text);
}

static void check_verify(kit *k) {
  sl_verify_report report;
  assert_ok(sl_verify(k->store, say, NULL, &report));
  assert_int_equal(report.problems, 0);
}

static void test_model(void **state) {
  kit *k = *state;
  model *m = calloc(1, sizeof *m);
  print_message("seed %llu\n", (unsigned long long)random_seed());
  const char *rounds = getenv("SIDELOG_ROUNDS");
  const size_t steps = rounds ? strtoull(rounds, NULL, 10) : 600;
  for (size_t t = 0; t < TOPICS; t++) m->lane[t] = UINT64_MAX;
  small_generations(k);
  for (size_t step = 0; step < steps; step++) {
    const size_t dice = random_below(100);
    if (dice < 45) do_append(k, m);
    else if (dice < 65) do_index(k, m);
    else if (dice < 88) do_attempt(k, m);
    else if (dice < 92) do_trim(k, m);
    else if (dice < 94) do_reindex(k, m);
    else if (dice < 96) do_attributes(k);
    else if (dice < 98) kit_reopen(k);
    else check_verify(k);
    small_generations(k);
    if (m->last == 0) continue;
    learn_times(k, m);
    check_stats(k, m);
    for (int i = 0; i < 4; i++) check_query(k, m);
    check_resolve(k, m);
  }
  check_verify(k);
  free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_model, kit_setup, kit_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
