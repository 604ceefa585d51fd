/* When dead letters raise an alert: ends of partitions in, alerts out. */
#include "unit.h"

#include "alarm.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define COOLDOWN (15 * MINUTE)

static void look(alarms *a, const char *topic, int64_t end, int64_t now_us) {
  assert_true(alarms_end(a, topic, 1, 0, end, now_us));
  alarms_listed(a);
}

/* Its count and topic; 0: there is no alert. */
static uint64_t next(alarms *a, int64_t now_us, const char **topic) {
  alert one;
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
  for (const char *topic; next(&a, MINUTE, &topic) >= 10;) told++;
  assert_int_equal(told, ALARM_TOPICS_MAX / 2);
  alarms_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(old_letters_raise_none), cmocka_unit_test(cooldown_is_of_one_topic),
    cmocka_unit_test(a_topic_created_again_counts_from_its_start),
    cmocka_unit_test(a_topic_that_appears_later_is_new),
    cmocka_unit_test(partitions_count_together), cmocka_unit_test(many_topics)};
  return cmocka_run_group_tests_name("alarm", tests, NULL, NULL);
}
