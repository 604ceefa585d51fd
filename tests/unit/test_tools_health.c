/* The judgement of `sidelog status`, and its words. */
#include "unit.h"

#include "health.h"
#include "law.h"

static const int64_t NOW = 1795325519123456, SECOND = 1000000;

static look well(void) {
  look l = {.now_us = NOW, .alive = true, .pid = 4121, .since_us = NOW - 274320 * SECOND};
  l.stats = (sl_stats){.appended = 1204113,
                       .delivered = 1204089,
                       .duplicates = 22,
                       .dead = 2,
                       .balanced = 1,
                       .bytes_used = 432013312,
                       .bytes_quota = 10737418240u,
                       .kept = 1000,
                       .last_seq = 1204113};
  l.word = (agent_word){.said = true,
                        .state = AGENT_RUNNING,
                        .written_us = NOW - SECOND,
                        .pid = 4121,
                        .last_commit_us = NOW - 200000,
                        .brokers_up = 3,
                        .brokers_total = 3};
  snprintf(l.word.brokers, sizeof l.word.brokers, "redpanda-0:9092");
  snprintf(l.word.broker, sizeof l.word.broker, "redpanda-0:9092");
  return l;
}

static void check(void (*words)(text *, const look *), const look *l, const char *expected) {
  text t = {0};
  words(&t, l);
  assert_string_equal(text_str(&t), expected);
  text_free(&t);
}

static void broker(text *out, const look *l) { health_broker(out, l, true); }

static void all_well(void **state) {
  (void)state;
  look l = well();
  assert_int_equal(health_judge(&l), 0);
  check(health_agent, &l, "running, pid 4121, up 3 d 04:12");
  check(broker, &l, "connected to 3 of 3, redpanda-0:9092, last commit 0.2 s ago");
  check(health_backlog, &l, "0 events, oldest pending none");
  check(health_disk, &l, "412 MiB of 10 GiB");
  l.stats.full_in_us = 31 * 86400 * SECOND;
  check(health_disk, &l, "412 MiB of 10 GiB, 31 days until full at the rate of late");
}

static void an_agent_that_is_not_running(void **state) {
  (void)state;
  look l = well();
  l.alive = false;
  assert_int_equal(health_judge(&l), 0);
  check(health_agent, &l, "not running, last seen 1.0 s ago; nothing is pending");
  l.stats.pending = 1;
  l.stats.oldest_pending_us = NOW - 90 * SECOND;
  assert_int_equal(health_judge(&l), 1 << TROUBLE_NO_AGENT);
  check(health_backlog, &l, "1 event, oldest 1 min 30 s; nothing is lost: appends go on");
  l.stats.full_in_us = 31 * 86400 * SECOND;
  check(health_backlog, &l, "1 event, oldest 1 min 30 s; nothing is lost: appends go on, 31 days of room");
  l.stats.full_in_us = 4599 * 86400 * SECOND; /* no news */
  check(health_backlog, &l, "1 event, oldest 1 min 30 s; nothing is lost: appends go on");
  l.word = (agent_word){0};
  check(health_agent, &l, "not running; start sidelogd to deliver what is pending");
  check(broker, &l, "not known without an agent");
}

static void events_held_back_by_the_flow_settings(void **state) {
  (void)state;
  look l = well();
  l.stats.pending = 3;
  l.stats.oldest_pending_us = NOW - 90 * SECOND;
  l.word.held = true;
  l.word.next_try_us = NOW + 7200 * SECOND;
  assert_int_equal(health_judge(&l), 0);
  check(health_backlog, &l, "3 events, oldest 1 min 30 s; held back by the flow settings for 2 h 0 min");
}

static void a_broker_that_is_not_there(void **state) {
  (void)state;
  look l = well();
  l.word.state = AGENT_BACKOFF;
  l.word.unreachable_since_us = NOW - 8040 * SECOND;
  l.word.next_try_us = NOW + 1600000;
  snprintf(l.word.error_text, sizeof l.word.error_text, "redpanda-0:9092 connection refused");
  assert_int_equal(health_judge(&l), 1 << TROUBLE_BROKER);
  check(broker, &l, "unreachable for 2 h 14 min: redpanda-0:9092 connection refused; next try in 1.600 s");
  l.word.state = AGENT_CONNECTING;
  l.word.unreachable_since_us = 0;
  l.word.state_since_us = NOW - SECOND;
  assert_int_equal(health_judge(&l), 0);
  l.word.state_since_us = NOW - 11 * SECOND;
  assert_int_equal(health_judge(&l), 1 << TROUBLE_BROKER);
}

static void an_agent_that_is_parked_or_silent(void **state) {
  (void)state;
  look l = well();
  l.word.state = AGENT_PARKED;
  snprintf(l.word.parked_text, sizeof l.word.parked_text, "the marker is ahead");
  snprintf(l.word.parked_remedy, sizeof l.word.parked_remedy, "run \033[31m--adopt");
  assert_int_equal(health_judge(&l), 1 << TROUBLE_PARKED);
  check(broker, &l, "parked: the marker is ahead; run \\x1b[31m--adopt");
  l = well();
  l.word.written_us = NOW - 11 * SECOND;
  assert_int_equal(health_judge(&l), 1 << TROUBLE_SILENT);
  /* One that ended so (--drain does) would only be parked again. */
  l = well();
  l.alive = false;
  l.word.state = AGENT_STOPPED;
  l.stats.pending = 1;
  snprintf(l.word.parked_text, sizeof l.word.parked_text, "the marker is ahead");
  snprintf(l.word.parked_remedy, sizeof l.word.parked_remedy, "run --adopt");
  check(health_agent, &l, "not running, last seen 1.0 s ago; it was parked when it ended");
  check(broker, &l, "parked: the marker is ahead; run --adopt");
  /* The word of an agent before this one says nothing about it. */
  l = well();
  l.since_us = NOW - SECOND / 2;
  l.word.state = AGENT_PARKED;
  assert_int_equal(health_judge(&l), 0);
  check(broker, &l, "not known yet, last commit 0.2 s ago");
}

static void books_lanes_and_disk(void **state) {
  (void)state;
  look l = well();
  l.stats.balanced = 0;
  l.stats.lanes = 1;
  l.stats.bytes_used = l.stats.bytes_quota / 10 * 9 + 100;
  l.readers_wrong = true;
  assert_int_equal(health_judge(&l),
                   1 << TROUBLE_LAW | 1 << TROUBLE_LANES | 1 << TROUBLE_DISK | 1 << TROUBLE_READERS);
  for (int i = 0; i < TROUBLE_COUNT; i++) {
    assert_non_null(trouble_name((trouble)i));
    assert_non_null(trouble_words((trouble)i));
  }
}

static void the_law(void **state) {
  (void)state;
  look l = well();
  text t = {0};
  law_words(&t, &l.stats);
  assert_string_equal(text_str(&t), "1,204,113 appended = 1,204,089 delivered + 22 duplicates + 2 dead");
  text_clear(&t);
  law_words(&t, &(sl_stats){.balanced = 1});
  assert_string_equal(text_str(&t), "0 appended = 0 delivered");
  text_clear(&t);
  law_words(&t, &(sl_stats){.appended = 3, .pending = 1, .duplicates = 1});
  assert_string_equal(text_str(&t), "3 appended != 1 duplicate + 1 pending");
  text_free(&t);
}

static void words_of_an_agent(void **state) {
  (void)state;
  agent_word w;
  agent_word_read(
      &w,
      "{\"state\":\"backoff\",\"written_us\":5,\"cluster\":{\"brokers\":\"a:1\",\"up\":0,\"total\":3,"
      "\"unreachable_since_us\":7},\"error\":{\"code\":\"_TRANSPORT\",\"text\":\"refused\"},\"parked\":null,"
      "\"next_try_us\":null,\"new_member\":[1],\"lanes\":[7,{\"seq\":1},{\"topic\":\"a.v1\",\"code\":"
      "\"TOPIC_AUTHORIZATION_FAILED\",\"text\":null}]}");
  assert_int_equal(w.lane_count, 1);
  assert_string_equal(w.lanes[0].topic, "a.v1");
  assert_string_equal(w.lanes[0].code, "TOPIC_AUTHORIZATION_FAILED");
  assert_string_equal(w.lanes[0].text, "");
  assert_true(w.said);
  assert_int_equal(w.state, AGENT_BACKOFF);
  assert_int_equal(w.written_us, 5);
  assert_int_equal(w.unreachable_since_us, 7);
  assert_int_equal(w.next_try_us, 0);
  assert_string_equal(w.brokers, "a:1");
  assert_string_equal(w.error_text, "refused");
  assert_string_equal(w.parked_text, "");
  static const char *const odd[] = {"{}", "{\"state\":7,\"cluster\":3,\"error\":[],\"written_us\":\"x\"}",
                                    "{\"state\":\"dancing\",\"written_us\":-5}"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    agent_word_read(&w, odd[i]);
    assert_true(w.said);
    assert_int_equal(w.state, AGENT_UNKNOWN);
    assert_int_equal(w.written_us, 0);
  }
  static const char *const none[] = {"", "null", "[]", "{", "{\"a\":1e"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    agent_word_read(&w, none[i]);
    assert_false(w.said);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_well),
                                     cmocka_unit_test(an_agent_that_is_not_running),
                                     cmocka_unit_test(events_held_back_by_the_flow_settings),
                                     cmocka_unit_test(a_broker_that_is_not_there),
                                     cmocka_unit_test(an_agent_that_is_parked_or_silent),
                                     cmocka_unit_test(books_lanes_and_disk),
                                     cmocka_unit_test(the_law),
                                     cmocka_unit_test(words_of_an_agent)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
