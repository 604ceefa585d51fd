/* When dead letters raise an alert: ends of partitions and counts in, alerts out. */
#include "unit.h"

#include "alarm.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define COOLDOWN (15 * MINUTE)

/* Everything between is a letter. */
static void read_all(alarms *a) {
  alarm_span span;
  alarms_round(a);
  while (alarms_unread(a, 10, &span)) alarms_read(a, &span, span.to, (uint64_t)(span.to - span.from));
}

static void look(alarms *a, const char *topic, int64_t end, int64_t now_us) {
  assert_true(alarms_end(a, topic, 1, 0, end, now_us));
  alarms_listed(a);
}

/* Its count and topic; 0: there is no alert. */
static uint64_t next(alarms *a, int64_t now_us, const char **topic) {
  alert one;
  read_all(a);
  if (!alarms_next(a, 10, COOLDOWN, now_us, &one)) return 0;
  if (topic) *topic = one.topic;
  return one.fresh;
}

static void old_letters_raise_none(void **state) {
  (void)state;
  alarms a = {0};
  look(&a, "a.dlq", 5000, 0);
  assert_int_equal(next(&a, 0, NULL), 0);
  look(&a, "a.dlq", 5009, MINUTE);
  assert_int_equal(next(&a, MINUTE, NULL), 0);
  look(&a, "a.dlq", 5010, 2 * MINUTE);
  alert one;
  read_all(&a);
  assert_true(alarms_next(&a, 10, COOLDOWN, 2 * MINUTE, &one));
  assert_string_equal(one.topic, "a.dlq");
  assert_int_equal(one.fresh, 10);
  assert_int_equal(one.span_us, 2 * MINUTE);
  assert_int_equal(next(&a, 2 * MINUTE, NULL), 0);
  alarms_free(&a);
}

static void cooldown_is_of_one_topic(void **state) {
  (void)state;
  alarms a = {0};
  const char *topic = NULL;
  look(&a, "a.dlq", 0, 0);
  look(&a, "b.dlq", 0, 0);
  look(&a, "a.dlq", 12, MINUTE);
  assert_int_equal(next(&a, MINUTE, NULL), 12);
  look(&a, "a.dlq", 100, 2 * MINUTE);
  look(&a, "b.dlq", 10, 2 * MINUTE);
  assert_int_equal(next(&a, 2 * MINUTE, &topic), 10);
  assert_string_equal(topic, "b.dlq");
  assert_int_equal(next(&a, MINUTE + COOLDOWN - 1, NULL), 0);
  assert_int_equal(next(&a, MINUTE + COOLDOWN, &topic), 88); /* what came meanwhile is told */
  assert_string_equal(topic, "a.dlq");
  look(&a, "a.dlq", 109, 60 * MINUTE);
  assert_int_equal(next(&a, 60 * MINUTE, NULL), 0);
  assert_int_equal(a.fresh, 119);
  alarms_free(&a);
}

static void a_topic_created_again_counts_from_its_start(void **state) {
  (void)state;
  alarms a = {0};
  look(&a, "a.dlq", 1000, 0);
  look(&a, "a.dlq", 7, MINUTE);
  assert_int_equal(next(&a, MINUTE, NULL), 0);
  look(&a, "a.dlq", 10, 2 * MINUTE);
  assert_int_equal(next(&a, 2 * MINUTE, NULL), 10);
  alarms_free(&a);
}

static void a_topic_that_appears_later_is_new(void **state) {
  (void)state;
  alarms a = {0};
  assert_true(alarms_end(&a, "early.dlq", 1, 0, 50, 0));
  assert_true(alarms_end(&a, "seen.dlq", 1, 0, 50, 0)); /* the look before had failed half way */
  assert_int_equal(next(&a, 0, NULL), 0);
  alarms_listed(&a);
  look(&a, "late.dlq", 11, MINUTE);
  assert_int_equal(next(&a, MINUTE, NULL), 11);
  alarms_relist(&a); /* the configuration names others now */
  look(&a, "other.dlq", 500, 2 * MINUTE);
  assert_int_equal(next(&a, 2 * MINUTE, NULL), 0);
  alarms_free(&a);
}

static void partitions_count_together(void **state) {
  (void)state;
  alarms a = {0};
  assert_true(alarms_end(&a, "a.dlq", 3, 0, 100, 0)); /* 1 and 2 have no leader at the first look */
  alarms_listed(&a);
  assert_true(alarms_end(&a, "a.dlq", 3, 0, 104, MINUTE));
  assert_true(alarms_end(&a, "a.dlq", 3, 2, 70, MINUTE));
  assert_int_equal(next(&a, MINUTE, NULL), 0);
  assert_true(alarms_end(&a, "a.dlq", 4, 2, 75, 2 * MINUTE));
  assert_true(alarms_end(&a, "a.dlq", 4, 3, 1, 2 * MINUTE)); /* added since: all of it is new */
  assert_int_equal(next(&a, 2 * MINUTE, NULL), 10);
  assert_false(alarms_end(&a, "a.dlq", 4, 4, 1, 2 * MINUTE));
  assert_false(alarms_end(&a, "a.dlq", 4, 0, -1, 2 * MINUTE));
  alarms_free(&a);
}

static void many_topics(void **state) {
  (void)state;
  alarms a = {0};
  char name[32];
  int told = 0;
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < ALARM_TOPICS_MAX; i++) {
      snprintf(name, sizeof name, "%d.dlq", i * 7919 % ALARM_TOPICS_MAX);
      assert_true(alarms_end(&a, name, 1, 0, round ? i % 20 : 0, round * MINUTE));
    }
    alarms_listed(&a);
  }
  assert_int_equal(a.count, ALARM_TOPICS_MAX);
  assert_false(alarms_end(&a, "one more.dlq", 1, 0, 99, MINUTE));
  read_all(&a);
  for (alert one; alarms_next(&a, 10, COOLDOWN, MINUTE, &one);) told++;
  assert_int_equal(told, ALARM_TOPICS_MAX / 2);
  alarms_free(&a);
}

static void only_what_was_read_counts(void **state) {
  (void)state;
  alarms a = {0};
  alarm_span span;
  alert one;
  look(&a, "a.dlq", 100, 0);
  alarms_round(&a);
  assert_false(alarms_unread(&a, 10, &span));
  look(&a, "a.dlq", 140, MINUTE); /* 40 offsets: 9 letters, and what transactions leave */
  alarms_round(&a);
  assert_true(alarms_unread(&a, 10, &span));
  assert_string_equal(span.topic, "a.dlq");
  assert_int_equal(span.from, 100);
  assert_int_equal(span.to, 140);
  alarms_read(&a, &span, 120, 5); /* time was up */
  assert_false(alarms_unread(&a, 10, &span));
  alarms_round(&a);
  assert_true(alarms_unread(&a, 10, &span));
  assert_int_equal(span.from, 120);
  alarms_read(&a, &span, 140, 4);
  assert_false(alarms_next(&a, 10, COOLDOWN, MINUTE, &one));
  look(&a, "a.dlq", 142, 2 * MINUTE);
  alarms_round(&a);
  assert_true(alarms_unread(&a, 10, &span));
  alarms_error(&a, &span, "the last one's reason");
  alarms_read(&a, &span, 142, 1);
  assert_true(alarms_next(&a, 10, COOLDOWN, 2 * MINUTE, &one));
  assert_int_equal(one.fresh, 10);
  assert_false(one.more);
  assert_string_equal(one.error, "the last one's reason");
  alarms_free(&a);
}

static void a_flood_is_not_read_to_its_end(void **state) {
  (void)state;
  alarms a = {0};
  alarm_span span;
  alert one;
  look(&a, "a.dlq", 0, 0);
  look(&a, "a.dlq", 1000000, MINUTE);
  alarms_round(&a);
  assert_true(alarms_unread(&a, 10, &span));
  assert_int_equal(span.most, ALARM_COUNT_LEAST);
  alarms_read(&a, &span, 1010, span.most);
  alarms_round(&a);
  assert_false(alarms_unread(&a, 10, &span));
  assert_true(alarms_next(&a, 10, COOLDOWN, MINUTE, &one));
  assert_int_equal(one.fresh, ALARM_COUNT_LEAST);
  assert_true(one.more);
  look(&a, "a.dlq", 1000010, 2 * MINUTE); /* exact again */
  assert_int_equal(next(&a, MINUTE + COOLDOWN, NULL), 10);
  /* but for a threshold beyond, all of it is */
  look(&a, "a.dlq", 2000010, 60 * MINUTE);
  alarms_round(&a);
  assert_true(alarms_unread(&a, 500000, &span));
  assert_int_equal(span.most, 500000);
  alarms_free(&a);
}

static void a_topic_that_takes_all_the_time_has_one_turn(void **state) {
  (void)state;
  alarms a = {0};
  alarm_span span;
  for (int end = 0; end <= 500; end += 500)
    for (const char *name = "a\0b\0c\0"; *name; name += 2) look(&a, name, end, end);
  for (const char *want = "abca"; *want; want++) { /* each look has time for some of one topic */
    alarms_round(&a);
    assert_true(alarms_unread(&a, 10, &span));
    assert_int_equal(span.topic[0], *want);
    alarms_read(&a, &span, span.from + 1, 1);
  }
  alarms_free(&a);
}

static void an_error_is_cut_between_characters(void **state) {
  (void)state;
  alarms a = {0};
  alarm_span span;
  char text[ALARM_ERROR_MAX + 10];
  alert one;
  memset(text, 'x', sizeof text);
  memcpy(text + ALARM_ERROR_MAX - 2, "\xe2\x82\xac", 3); /* a euro sign across the end */
  text[sizeof text - 1] = '\0';
  look(&a, "a", 0, 0);
  look(&a, "a", 10, 1);
  alarms_round(&a);
  assert_true(alarms_unread(&a, 10, &span));
  alarms_error(&a, &span, text);
  alarms_read(&a, &span, 10, 10);
  assert_true(alarms_next(&a, 10, COOLDOWN, 2, &one));
  assert_int_equal(strlen(one.error), ALARM_ERROR_MAX - 2);
  alarms_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(old_letters_raise_none), cmocka_unit_test(cooldown_is_of_one_topic),
    cmocka_unit_test(a_topic_created_again_counts_from_its_start),
    cmocka_unit_test(a_topic_that_appears_later_is_new),
    cmocka_unit_test(partitions_count_together), cmocka_unit_test(many_topics),
    cmocka_unit_test(only_what_was_read_counts), cmocka_unit_test(a_flood_is_not_read_to_its_end),
    cmocka_unit_test(a_topic_that_takes_all_the_time_has_one_turn),
    cmocka_unit_test(an_error_is_cut_between_characters)};
  return cmocka_run_group_tests_name("alarm", tests, NULL, NULL);
}
