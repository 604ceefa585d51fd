/* Times of day at which the agent may deliver. */
#include "unit.h"

#include "hours.h"

static int64_t wait_at(const char *text, int h, int m, int s) {
  hours spans;
  char reason[128];
  if (!hours_parse(text, &spans, reason, sizeof reason)) fail_msg("%s: %s", text, reason);
  return hours_wait_us(&spans, (h * 60 + m) * 60 + s) / 1000000;
}

static void spans_of_a_day(void **state) {
  (void)state;
  assert_int_equal(hours_wait_us(&(hours){0}, 0), 0);
  assert_int_equal(wait_at("08:00-12:00", 7, 59, 0), 60);
  assert_int_equal(wait_at("08:00-12:00", 8, 0, 0), 0);
  assert_int_equal(wait_at("8:00 - 12:00", 11, 59, 59), 0);
  assert_int_equal(wait_at("08:00-12:00", 12, 0, 0), 20 * 3600);
  assert_int_equal(wait_at("08:00-12:00,20:00-20:30", 12, 0, 0), 8 * 3600);
  assert_int_equal(wait_at("20:00-20:30, 08:00-12:00", 20, 30, 1), 12 * 3600 - 1800 - 1 + 0);
}

static void over_midnight(void **state) {
  (void)state;
  assert_int_equal(wait_at("22:00-06:00", 21, 0, 0), 3600);
  assert_int_equal(wait_at("22:00-06:00", 22, 0, 0), 0);
  assert_int_equal(wait_at("22:00-06:00", 23, 59, 59), 0);
  assert_int_equal(wait_at("22:00-06:00", 0, 0, 0), 0);
  assert_int_equal(wait_at("22:00-06:00", 5, 59, 59), 0);
  assert_int_equal(wait_at("22:00-06:00", 6, 0, 0), 16 * 3600);
  assert_int_equal(wait_at("22:00-24:00", 23, 59, 59), 0);
  assert_int_equal(wait_at("22:00-24:00", 0, 0, 0), 22 * 3600);
  assert_int_equal(wait_at("00:00-06:00", 23, 59, 0), 60);
  assert_int_equal(wait_at("24:00-06:00", 1, 0, 0), 0);
}

static void what_is_no_span(void **state) {
  (void)state;
  static const char *const wrong[] = {"", "22:00", "22-06", "25:00-06:00", "22:60-06:00", "24:01-06:00",
                                      "22:00-22:00",
                                      "00:00-24:00", "08:00-12:00,", ",08:00-12:00", "08:00-12:00;13:00-14:00",
                                      "008:00-12:00", "08:00-12:00 x", "night", "-1:00-02:00"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    hours spans = {.count = 99};
    char reason[128] = "";
    if (hours_parse(wrong[i], &spans, reason, sizeof reason)) fail_msg("\"%s\" was taken", wrong[i]);
    assert_string_not_equal(reason, "");
    assert_int_equal(spans.count, 99);
  }
  char many[HOURS_MAX * 12 + 13] = "";
  for (int i = 0; i <= HOURS_MAX; i++) strcat(many, i ? ",01:00-02:00" : "01:00-02:00");
  hours spans;
  char reason[128];
  assert_false(hours_parse(many, &spans, reason, sizeof reason));
  assert_non_null(strstr(reason, "16"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(spans_of_a_day), cmocka_unit_test(over_midnight),
                                     cmocka_unit_test(what_is_no_span)};
  return cmocka_run_group_tests_name("hours", tests, NULL, NULL);
}
