/* The agent's side of the book: each invariant of delivery.h refused when broken, every verdict's way to the
 * reader, attempts that end in every possible way, the lock and the report. */
#include "kit.h"

#include "delivery/book_impl.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

static const sl_letter too_large = {.attempts = 2,
                                    .code = 10,
                                    .error_class = {"NON_RETRYABLE_VALIDATION", 24},
                                    .error_code = {"MSG_SIZE_TOO_LARGE", 18},
                                    .error_text = {"it is", 5}};

static delivery_verdict sent(uint64_t seq, int64_t offset) {
  return (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_SENT, .partition = 1, .place = offset};
}

static delivery_attempt attempt_to(const sl_delivery *d, uint64_t seq, const delivery_verdict *v,
                                   size_t count) {
  const delivery_state *s = delivery_state_get(d);
  delivery_attempt a = {.progress = s->cursor, .verdicts = v, .count = count, .marked = true};
  a.progress.seq = seq;
  a.progress.attempt = s->last_attempt + 1;
  return a;
}

static sl_delivery *open_filled(kit *k, size_t events) {
  sl_delivery *d;
  for (size_t i = 0; i < events; i++) kit_append(k, i % 2 ? "b" : "a", "x");
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  return d;
}

static sl_record record_of(kit *k, uint64_t seq) {
  static sl_iter *it;
  const sl_record *r;
  const sl_query q = {.first_seq = seq, .last_seq = seq};
  sl_iter_close(it);
  it = NULL;
  if (seq == 0) return (sl_record){0};
  assert_ok(sl_iter_start(k->store, &q, &it));
  assert_ok(sl_iter_next(it, &r));
  return *r;
}

static void assert_balanced(kit *k, uint64_t pending) {
  sl_stats s;
  assert_ok(sl_stats_get(k->store, &s));
  assert_true(s.balanced);
  assert_int_equal(s.pending, pending);
}

static void test_every_verdict_reaches_the_reader(void **state) {
  kit *k = *state;
  sl_event e = {.topic = SL_STR("a"), .event_id = SL_STR("same"), .value = SL_STR("v")};
  assert_ok(sl_append(k->store, &e, NULL));
  sl_delivery *d = open_filled(k, 3);
  assert_ok(sl_append(k->store, &e, NULL)); /* 5, of 1 */
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_int_equal(record_of(k, 5).duplicate_of, 1);
  assert_int_equal(record_of(k, 5).state, SL_PENDING);
  const delivery_verdict v[] = {sent(1, 70), sent(2, -1),
                                {.seq = 3, .verdict = SL_VERDICT_DEAD, .letter = &too_large},
                                {.seq = 4, .verdict = SL_VERDICT_DROPPED, .letter = &too_large},
                                {.seq = 5, .verdict = SL_VERDICT_DUPLICATE, .place = 1}};
  const delivery_attempt a = attempt_to(d, 5, v, 5);
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(record_of(k, 1).state, SL_PENDING); /* an intent settles nothing */
  assert_balanced(k, 5);
  assert_int_equal(delivery_state_get(d)->delivered, 0);
  assert_ok(delivery_settle(d));
  assert_int_equal(record_of(k, 1).offset, 70);
  assert_int_equal(record_of(k, 1).partition, 1);
  assert_int_equal(record_of(k, 2).offset, -1);
  assert_int_equal(record_of(k, 3).state, SL_DEAD);
  assert_slice(record_of(k, 3).error_code, "MSG_SIZE_TOO_LARGE");
  assert_int_equal(record_of(k, 4).state, SL_DROPPED);
  assert_int_equal(record_of(k, 5).state, SL_DUPLICATE);
  assert_int_equal(record_of(k, 5).duplicate_of, 1);
  const delivery_state *s = delivery_state_get(d);
  assert_int_equal(s->delivered, 2);
  assert_int_equal(s->duplicates, 1);
  assert_int_equal(s->dead, 1);
  assert_int_equal(s->dropped, 1);
  assert_balanced(k, 0);
  record_of(k, 0);
  delivery_close(d);
}

static void test_an_attempt_covers_each_event_once(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 4);
  const delivery_verdict hole[] = {sent(1, 0), sent(3, 0)}, twice[] = {sent(1, 0), sent(1, 1), sent(2, 0)};
  const delivery_verdict odd[] = {{.seq = 1, .verdict = SL_VERDICT_NONE}};
  const delivery_verdict self[] = {{.seq = 1, .verdict = SL_VERDICT_DUPLICATE, .place = 1}};
  const delivery_verdict silent[] = {{.seq = 1, .verdict = SL_VERDICT_DEAD}};
  const delivery_verdict lane[] = {{.seq = 1, .verdict = SL_VERDICT_LANE}};
  const delivery_verdict good[] = {sent(1, 0), sent(2, 0), sent(3, 0), sent(4, 0)};
  const struct {
    uint64_t to;
    const delivery_verdict *v;
    size_t count;
    const char *word;
  } bad[] = {
      {3, hole, 2, "event 2 has no verdict"}, {2, good, 1, "event 2 has no verdict"},
      {2, twice, 3, "has one already"},       {2, good, 3, "event 3, which the log does not hold"},
      {1, odd, 1, "unknown verdict"},         {1, self, 1, "cannot be a duplicate"},
      {1, silent, 1, "without a letter"},     {1, lane, 1, "settled up to"},
      {5, good, 4, "would pass the index"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const delivery_attempt a = attempt_to(d, bad[i].to, bad[i].v, bad[i].count);
    assert_fails(delivery_intent(d, &a), SL_E_INVALID, bad[i].word);
    assert_fails(delivery_record(d, &a), SL_E_INVALID, bad[i].word);
  }
  delivery_attempt a = attempt_to(d, 2, good, 2);
  a.lane_verdicts = good + 2;
  a.lane_count = 1;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "does not wait in a lane");
  assert_int_equal(delivery_state_get(d)->last_attempt, 0);
  assert_balanced(k, 4);
  delivery_close(d);
}

static void test_attempt_numbers_are_never_reused(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 2);
  const delivery_verdict v[] = {sent(1, 0), sent(2, 0)};
  delivery_attempt a = attempt_to(d, 1, v, 1);
  assert_ok(delivery_intent(d, &a));
  a.progress.attempt = 2;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "no known outcome");
  assert_ok(delivery_abandon(d));
  assert_fails(delivery_abandon(d), SL_E_INVALID, "no intent");
  assert_fails(delivery_settle(d), SL_E_INVALID, "no intent");
  delivery_close(d);
  kit_reopen(k);
  assert_ok(delivery_open(k->store, &d));
  assert_int_equal(delivery_state_get(d)->last_attempt, 1);
  a.progress.attempt = 1;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "never reused");
  a.progress.attempt = 3;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "never reused");
  a.progress.attempt = 2;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  a.progress.attempt = 3;
  a.progress.seq = 0;
  a.count = 0;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "steps back");
  delivery_close(d);
}

/* A block of a longer attempt that was given up once answered for the events behind a shorter one. */
static void test_a_stale_block_answers_for_nothing(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 6);
  delivery_verdict v[6];
  for (uint64_t i = 0; i < 6; i++) v[i] = sent(i + 1, (int64_t)(100 + i));
  v[4] = (delivery_verdict){.seq = 5, .verdict = SL_VERDICT_DEAD, .letter = &too_large};
  delivery_attempt a = attempt_to(d, 6, v, 6);
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_abandon(d));
  a = attempt_to(d, 2, v, 2);
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  assert_int_equal(record_of(k, 2).state, SL_SENT);
  for (uint64_t seq = 3; seq <= 6; seq++) assert_int_equal(record_of(k, seq).state, SL_PENDING);
  v[4] = sent(5, 9);
  a = attempt_to(d, 6, v + 2, 4);
  assert_ok(delivery_record(d, &a));
  assert_int_equal(record_of(k, 5).state, SL_SENT);
  assert_int_equal(record_of(k, 5).offset, 9);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  record_of(k, 0);
  delivery_close(d);
}

static void test_a_lane_waits_and_rejoins(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 8); /* a: 1 3 5 7, b: 2 4 6 8 */
  sl_lane lane = {SL_STR("b"), 2};
  delivery_verdict v[8];
  for (uint64_t i = 0; i < 8; i++) v[i] = sent(i + 1, (int64_t)i);
  v[3].verdict = v[5].verdict = SL_VERDICT_LANE;
  delivery_attempt a = attempt_to(d, 6, v, 6);
  a.progress.lanes = &lane;
  a.progress.lane_count = 1;
  assert_ok(delivery_record(d, &a));
  assert_balanced(k, 4); /* 4 6 7 8 */
  assert_int_equal(record_of(k, 2).state, SL_SENT);
  assert_int_equal(record_of(k, 4).state, SL_PENDING);
  book_view *book;
  assert_ok(book_view_open(k->store, &book));
  assert_int_equal(book_view_trim_limit(book), 2);
  book_view_close(book);

  /* The lane moves to 4, then its attempt is abandoned, then it moves with another fate. */
  lane.seq = 4;
  delivery_verdict waiting[2] = {{.seq = 4, .verdict = SL_VERDICT_DEAD, .letter = &too_large}, sent(6, 66)};
  a = attempt_to(d, 6, NULL, 0);
  a.progress.lanes = &lane;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "event 4 waits in the lane");
  a.lane_verdicts = waiting;
  a.lane_count = 2;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "beyond its lane's new seq");
  a.lane_count = 1;
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(record_of(k, 4).state, SL_PENDING);
  assert_ok(delivery_abandon(d));
  assert_int_equal(record_of(k, 4).state, SL_PENDING);
  waiting[0] = sent(4, 44);
  a.progress.attempt++;
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  assert_int_equal(record_of(k, 4).offset, 44);
  assert_balanced(k, 3);

  lane.seq = 3;
  a = attempt_to(d, 6, NULL, 0);
  a.progress.lanes = &lane;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "steps back");
  sl_lane early = {SL_STR("a"), 5};
  a.progress.lanes = &early;
  a.lane_verdicts = waiting + 1;
  a.lane_count = 1;
  assert_fails(delivery_intent(d, &a), SL_E_INVALID, "below the cursor");
  a = attempt_to(d, 8, v + 6, 2); /* it meets the cursor */
  a.progress.lane_count = 0;
  a.lane_verdicts = waiting + 1;
  a.lane_count = 1;
  assert_ok(delivery_record(d, &a));
  assert_int_equal(record_of(k, 6).offset, 66);
  assert_balanced(k, 0);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 0);
  record_of(k, 0);
  delivery_close(d);
}

static void look_at_fates(kit *k, uint64_t events, uint64_t settled) {
  for (uint64_t i = 0; i < events; i++) {
    const uint64_t seq = i * 7919 % events + 1;
    book_view *book;
    book_fate fate;
    assert_ok(book_view_open(k->store, &book));
    book_view_expect(book, seq);
    assert_ok(book_view_fate(book, seq, SL_STR("t"), &fate));
    assert_int_equal(fate.state, seq <= settled ? SL_SENT : SL_PENDING);
    if (seq <= settled) assert_int_equal(fate.offset, seq + 100);
    book_view_close(book);
  }
}

/* Where blocks of receipts lie is kept from one look to the next, as long as nothing was written. */
static void test_what_a_look_keeps_is_of_its_snapshot(void **state) {
  kit *k = *state;
  sl_delivery *d;
  kit_fill(k, "t", 1000, 10);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  assert_ok(delivery_open(k->store, &d));
  look_at_fates(k, 1000, 0);
  for (uint64_t done = 0; done < 1000; done += 100) {
    delivery_verdict v[100];
    for (uint64_t i = 0; i < 100; i++) v[i] = sent(done + i + 1, (int64_t)(done + i + 101));
    delivery_attempt a = attempt_to(d, done + 100, v, 100);
    assert_ok(delivery_record(d, &a));
    look_at_fates(k, 1000, done + 100);
  }
  look_at_fates(k, 1000, 1000);
  delivery_close(d);
}

static void test_large_attempts_span_blocks(void **state) {
  kit *k = *state;
  const size_t count = 2 * SL_RECEIPT_BLOCK_MAX + 500;
  kit_fill(k, "t", count, 10);
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sl_delivery *d;
  assert_ok(delivery_open(k->store, &d));
  delivery_verdict *v = calloc(count, sizeof *v);
  for (size_t i = 0; i < count; i++) v[i] = sent(i + 1, (int64_t)i);
  const delivery_attempt a = attempt_to(d, count, v, count);
  assert_ok(delivery_intent(d, &a));
  assert_ok(delivery_settle(d));
  const uint64_t edges[] = {1, SL_RECEIPT_BLOCK_MAX, SL_RECEIPT_BLOCK_MAX + 1, 2 * SL_RECEIPT_BLOCK_MAX,
                            count};
  for (size_t i = 0; i < 5; i++) assert_int_equal(record_of(k, edges[i]).offset, edges[i] - 1);
  assert_balanced(k, 0);
  assert_ok(book_forget_below(k->store, SL_RECEIPT_BLOCK_MAX + 1));
  book_view *book;
  book_fate fate;
  assert_ok(book_view_open(k->store, &book));
  assert_fails(book_view_fate(book, 1, SL_STR("t"), &fate), SL_E_CORRUPT, "no receipt");
  assert_ok(book_view_fate(book, SL_RECEIPT_BLOCK_MAX + 1, SL_STR("t"), &fate));
  book_view_close(book);
  record_of(k, 0);
  free(v);
  delivery_close(d);
}

static void test_receipts_of_a_topic_created_again(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 6); /* a b a b a b */
  const delivery_verdict v[] = {sent(1, 70), sent(2, 40), sent(3, 71), sent(4, 41), sent(5, 0), sent(6, 42)};
  delivery_attempt a = attempt_to(d, 2, v, 2);
  assert_ok(delivery_record(d, &a));
  const delivery_recreated back = {SL_STR("a"), 5};
  a = attempt_to(d, 6, v + 2, 4);
  a.recreated = &back;
  a.recreated_count = 1;
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(record_of(k, 1).topic_recreated, 1); /* whatever becomes of the attempt: it has been seen */
  assert_ok(delivery_settle(d));
  const int gone[] = {1, 0, 1, 0, 0, 0};
  for (uint64_t seq = 1; seq <= 6; seq++) assert_int_equal(record_of(k, seq).topic_recreated, gone[seq - 1]);
  assert_int_equal(record_of(k, 3).offset, 71); /* it still says where it was */
  delivery_close(d);
  kit_reopen(k);
  assert_int_equal(record_of(k, 1).topic_recreated, 1);
  assert_int_equal(record_of(k, 5).topic_recreated, 0);
  record_of(k, 0);
}

static void test_markers_and_cluster(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 2);
  const delivery_state *s = delivery_state_get(d);
  assert_true(s->cursor_bytes.len > 0);
  assert_int_equal(s->marker_bytes.len, 0);
  assert_int_equal(s->marker_partition, -1);
  assert_ok(delivery_set_cluster(d, SL_STR("cluster-1"), 17));
  const delivery_verdict v[] = {sent(1, 0), sent(2, 0)};
  delivery_attempt a = attempt_to(d, 1, v, 1);
  memset(a.progress.incarnation, 7, 16);
  assert_ok(delivery_intent(d, &a));
  assert_int_equal(s->marker_bytes.len, 0);
  assert_ok(delivery_settle(d));
  assert_true(sl_slice_eq(s->marker_bytes, s->cursor_bytes));
  a = attempt_to(d, 2, v + 1, 1);
  a.marked = false; /* at-least-once: the marker stays behind */
  assert_ok(delivery_record(d, &a));
  assert_false(sl_slice_eq(s->marker_bytes, s->cursor_bytes));
  delivery_close(d);
  kit_reopen(k);
  assert_ok(delivery_open(k->store, &d));
  s = delivery_state_get(d);
  assert_slice(s->cluster_id, "cluster-1");
  assert_int_equal(s->marker_partition, 17);
  assert_int_equal(s->cursor.incarnation[3], 7);
  assert_int_equal(s->cursor.seq, 2);
  assert_false(sl_slice_eq(s->marker_bytes, s->cursor_bytes));
  delivery_close(d);
}

static void test_notes(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 0);
  char text[8] = "";
  size_t len = 0;
  assert_fails(delivery_note_get(d, "size", text, sizeof text, &len), SL_NOTFOUND, "size");
  assert_ok(delivery_note_set(d, "size", SL_STR("0123456789")));
  assert_ok(delivery_note_get(d, "size", text, 4, &len));
  assert_memory_equal(text, "0123", 5);
  assert_int_equal(len, 10);
  assert_fails(delivery_note_set(d, "", SL_STR("x")), SL_E_INVALID, "1 to 64");
  delivery_close(d);
}

static void test_one_agent(void **state) {
  kit *k = *state;
  int64_t pid = 0, since = 0;
  assert_int_equal(sl_agent_alive(k->store, &pid, &since), SL_NOTFOUND);
  sl_delivery *d = open_filled(k, 0), *second = NULL;
  char busy[64];
  snprintf(busy, sizeof busy, "pid %d", (int)getpid());
  assert_fails(delivery_open(k->store, &second), SL_E_BUSY, busy);
  for (int i = 0; i < 3; i++) { /* a probe of the agent's own process does not drop its lock */
    assert_ok(sl_agent_alive(k->store, &pid, &since));
    assert_int_equal(pid, getpid());
    assert_true(since > 0);
  }
  assert_fails(delivery_open(k->store, &second), SL_E_BUSY, busy);
  assert_null(second);
  delivery_close(d);
  assert_int_equal(sl_agent_alive(k->store, NULL, NULL), SL_NOTFOUND);
  assert_ok(delivery_open(k->store, &d));
  delivery_close(d);
}

static void test_a_killed_agent_is_seen_at_once(void **state) {
  kit *k = *state;
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  sl_close(k->store);
  const pid_t child = fork();
  if (child == 0) {
    sl_delivery *d;
    char one = sl_open(k->path, &k->options, &k->store) == SL_OK && delivery_open(k->store, &d) == SL_OK;
    if (write(ready[1], &one, 1) == 1) pause();
    _exit(1);
  }
  char one = 0;
  assert_int_equal(read(ready[0], &one, 1), 1);
  assert_int_equal(one, 1);
  kit_open(k);
  int64_t pid;
  sl_delivery *d;
  assert_ok(sl_agent_alive(k->store, &pid, NULL));
  assert_int_equal(pid, child);
  assert_int_equal(delivery_open(k->store, &d), SL_E_BUSY);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  assert_int_equal(sl_agent_alive(k->store, &pid, NULL), SL_NOTFOUND);
  assert_ok(delivery_open(k->store, &d));
  delivery_close(d);
  close(ready[0]);
  close(ready[1]);
}

static void test_report(void **state) {
  kit *k = *state;
  char json[16];
  size_t len = 0;
  assert_int_equal(sl_agent_report(k->store, json, sizeof json, &len), SL_NOTFOUND);
  sl_delivery *d = open_filled(k, 0);
  assert_ok(delivery_report_set(d, SL_STR("{\"state\":\"DRAIN\"}")));
  assert_ok(delivery_report_set(d, SL_STR("{\"a\":1}")));
  assert_ok(sl_agent_report(k->store, json, sizeof json, &len));
  assert_string_equal(json, "{\"a\":1}");
  assert_int_equal(len, 7);
  memset(json, 'z', sizeof json);
  assert_ok(sl_agent_report(k->store, json, 7, &len));
  assert_int_equal(json[7], 'z');
  assert_int_equal(json[6], '}');
  struct stat st;
  assert_int_equal(stat(kit_file(k, "delivery/agent.json"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  delivery_close(d);
}

/* Where the intent's marker was acknowledged is known as long as its outcome is not, after a restart, too. */
static void test_the_place_of_a_marker(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 1);
  for (int how = 0; how < 2; how++) {
    delivery_attempt a = attempt_to(d, 0, NULL, 0);
    a.marker_end = 78;
    assert_ok(delivery_intent(d, &a));
    assert_int_equal(delivery_state_get(d)->intent_marker_end, 78);
    delivery_close(d);
    assert_ok(delivery_open(k->store, &d));
    assert_int_equal(delivery_state_get(d)->intent_marker_end, 78);
    assert_ok(how ? delivery_settle(d) : delivery_abandon(d));
    assert_int_equal(delivery_state_get(d)->intent_marker_end, 0);
  }
  const delivery_attempt unknown = attempt_to(d, 0, NULL, 0);
  assert_ok(delivery_intent(d, &unknown));
  assert_int_equal(delivery_state_get(d)->intent_marker_end, 0);
  delivery_close(d);
}

static void assert_places(kit *k, const uint64_t *seqs, size_t count, size_t max) {
  delivery_place places[8];
  size_t found = 99;
  assert_ok(delivery_intent_places(k->store, places, max, &found));
  assert_int_equal(found, count);
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(places[i].seq, seqs[i]);
    assert_int_equal(places[i].partition, 1);
    assert_int_equal(places[i].offset, seqs[i] * 10);
  }
}

/* Where the events of an intent were acknowledged can be asked as long as its outcome is not known; of no earlier
 * ones, and of lanes, too. */
static void test_the_places_of_an_intent(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 90);
  assert_places(k, NULL, 0, 8);
  delivery_verdict v[80];
  for (uint64_t i = 0; i < 80; i++)
    v[i] = i < 70 ? (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_DEAD, .letter = &too_large}
                  : sent(i + 1, (int64_t)(i + 1) * 10);
  v[79] = (delivery_verdict){.seq = 80, .verdict = SL_VERDICT_LANE}; /* of topic b */
  sl_lane lane = {SL_STR("b"), 79};
  delivery_attempt a = attempt_to(d, 80, v, 80);
  a.progress.lanes = &lane;
  a.progress.lane_count = 1;
  assert_ok(delivery_intent(d, &a));
  assert_places(k, (uint64_t[]){71, 72, 73}, 3, 3); /* most were set aside: it looked further */
  assert_ok(delivery_settle(d));
  assert_places(k, NULL, 0, 8);
  a = attempt_to(d, 80, NULL, 0);
  const delivery_verdict later = sent(80, 800);
  a.progress.lane_count = 0;
  a.lane_verdicts = &later;
  a.lane_count = 1;
  assert_ok(delivery_intent(d, &a));
  assert_places(k, (uint64_t[]){80}, 1, 8);
  assert_ok(delivery_abandon(d));
  assert_places(k, NULL, 0, 8);
  delivery_close(d);
}

typedef struct reporter { sl_delivery *d; atomic_bool stop; unsigned reports, failed; } reporter;

static void *report_again_and_again(void *arg) {
  reporter *r = arg;
  for (; !atomic_load(&r->stop); r->reports++) r->failed += delivery_report_set(r->d, SL_STR("{}")) != SL_OK;
  return NULL;
}

/* The agent's loop reports while a worker writes the book. The report loaded the book anew where it met the worker
 * doing so: both wrote the same state, and it became an older one, or garbage. */
static void test_a_report_beside_each_write(void **state) {
  kit *k = *state;
  sl_delivery *d = open_filled(k, 1);
  const uint64_t first = delivery_state_get(d)->last_attempt;
  reporter r = {.d = d};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, report_again_and_again, &r), 0);
  bool right = true;
  for (uint64_t i = 1; i <= 5000 && right; i++) {
    const delivery_attempt a = attempt_to(d, 0, NULL, 0);
    sl_status status = delivery_intent(d, &a);
    const delivery_state *s = delivery_state_get(d);
    right = status == SL_OK && s->has_intent && s->last_attempt == first + i && s->intent.attempt == first + i;
    if (right) status = delivery_settle(d);
    right = right && status == SL_OK && !s->has_intent && s->cursor.attempt == first + i &&
            sl_slice_eq(s->marker_bytes, s->cursor_bytes);
  }
  atomic_store(&r.stop, true);
  pthread_join(thread, NULL);
  assert_true(right);
  assert_true(r.reports > 0);
  assert_int_equal(r.failed, 0);
  delivery_close(d);
}

static void test_a_book_that_is_ahead_of_the_log(void **state) {
  kit *k = *state;
  kit_append(k, "t", "x");
  kit_deliver(k, 1);
  db_txn *txn;
  sl_buf bytes = {0};
  const sl_progress ahead = {.seq = 2, .attempt = 9};
  assert_ok(sl_progress_encode(&ahead, &bytes));
  assert_ok(db_begin_write(k->store->book->env, false, &txn));
  book_meta_put(txn, BOOK_KEY_CURSOR, sl_buf_slice(&bytes));
  assert_ok(db_commit(txn));
  sl_buf_free(&bytes);
  sl_close(k->store);
  k->store = NULL;
  assert_fails(sl_open(k->path, &k->options, &k->store), SL_E_MISMATCH, "delivery/ is at event 2");
}

static void test_a_book_that_is_gone(void **state) {
  kit *k = *state;
  kit_append(k, "t", "x");
  sl_close(k->store);
  k->store = NULL;
  char other[4500];
  snprintf(other, sizeof other, "%s/elsewhere", k->dir);
  assert_int_equal(rename(kit_file(k, "delivery"), other), 0);
  assert_fails(sl_open(k->path, &k->options, &k->store), SL_E_MISMATCH, "delivery/ is missing");
  assert_int_equal(rename(other, kit_file(k, "delivery")), 0);
  kit_open(k);
}

static void test_cursors(void **state) {
  kit *k = *state;
  uint64_t seq = 99;
  kit_append(k, "t", "x");
  assert_fails(sl_cursor_get(k->store, "me", &seq), SL_NOTFOUND, "me");
  assert_int_equal(seq, 99);
  assert_fails(sl_cursor_set(k->store, "me", 2), SL_E_INVALID, "ends at 1");
  assert_ok(sl_cursor_set(k->store, "me", 1));
  kit_reopen(k);
  assert_ok(sl_cursor_get(k->store, "me", &seq));
  assert_int_equal(seq, 1);
  assert_ok(sl_cursor_set(k->store, "me", 0));
  assert_fails(sl_cursor_set(k->store, "a/b", 0), SL_E_INVALID, "name");
  assert_fails(sl_cursor_set(k->store, "", 0), SL_E_INVALID, "name");
  assert_ok(sl_cursor_delete(k->store, "me"));
  assert_fails(sl_cursor_delete(k->store, "me"), SL_NOTFOUND, "me");
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_every_verdict_reaches_the_reader),
      WITH_STORE(test_an_attempt_covers_each_event_once),
      WITH_STORE(test_attempt_numbers_are_never_reused),
      WITH_STORE(test_a_stale_block_answers_for_nothing),
      WITH_STORE(test_a_lane_waits_and_rejoins),
      WITH_STORE(test_what_a_look_keeps_is_of_its_snapshot),
      WITH_STORE(test_large_attempts_span_blocks),
      WITH_STORE(test_receipts_of_a_topic_created_again),
      WITH_STORE(test_markers_and_cluster),
      WITH_STORE(test_notes),
      WITH_STORE(test_one_agent),
      WITH_STORE(test_a_killed_agent_is_seen_at_once),
      WITH_STORE(test_report),
      WITH_STORE(test_a_report_beside_each_write),
      WITH_STORE(test_the_place_of_a_marker),
      WITH_STORE(test_the_places_of_an_intent),
      WITH_STORE(test_a_book_that_is_ahead_of_the_log),
      WITH_STORE(test_a_book_that_is_gone),
      WITH_STORE(test_cursors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
