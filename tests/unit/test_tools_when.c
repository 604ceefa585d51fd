/* How people write times, spans and sizes. */
#include "unit.h"

#include "when.h"

#include <stdlib.h>
#include <time.h>

static const int64_t SECOND = 1000000;
/* 2026-11-22T05:31:59.123456Z, a Sunday */
static const int64_t NOW = 1795325519123456;

static void zone(const char *name) {
  setenv("TZ", name, 1);
  tzset();
}

static void points_in_time(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t us;
  } rows[] = {
      {"2026-11-22T05:31:59.123456Z", 1795325519123456},
      {"2026-11-22t05:31:59z", 1795325519000000},
      {"2026-11-22 05:31:59Z", 1795325519000000},
      {"2026-11-22T06:31:59+01:00", 1795325519000000},
      {"2026-11-22T00:01:59.5-05:30", 1795325519500000},
      {"2026-11-22T05:31:59.1234567891Z", 1795325519123456},
      {"1970-01-01T00:00:00Z", 0},
      {"1969-12-31T23:59:59Z", -1000000},
      {"2024-02-29T00:00:00Z", 1709164800000000},
      {"2026-11-22", 1795302000000000},
      {"2026-11-22 06:31", 1795325460000000},
      {"2026-11-22T06:31:59", 1795325519000000},
      {"now", 1795325519123456},
      {"-15m", 1795325519123456 - 15 * 60 * 1000000ll},
      {"-1h30m", 1795325519123456 - 90 * 60 * 1000000ll},
      {"-3d", 1795325519123456 - 3 * 86400 * 1000000ll},
      {"-1w", 1795325519123456 - 7 * 86400 * 1000000ll},
      {"-250ms", 1795325519123456 - 250000},
      {"today", 1795302000000000},
      {"yesterday", 1795215600000000},
      {"yesterday 14:00", 1795266000000000},
      {"today 06:00:30.5", 1795323630500000},
      {"06:00:30.5", 1795323630500000},
      {"06:31", 1795325460000000},
      {"06:32", 1795325520000000 - 86400000000ll}, /* it will be that only in a moment */
      {"23:15", 1795302000000000 - 45 * 60000000ll},
      {"@1795325519", 1795325519000000},
      {"@1.25", 1250000},
  };
  zone("CET-1");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t us = -7;
    if (!when_parse(rows[i].text, NOW, &us) || us != rows[i].us)
      fail_msg("%s: %lld", rows[i].text, (long long)us);
  }
}

static void no_points_in_time(void **state) {
  (void)state;
  static const char *const rows[] = {
      "",
      "-",
      "-15",
      "15m",
      "-15x",
      "-m",
      "tomorrow",
      "today14:00",
      "today 25:00",
      "2026-13-01",
      "2026-02-30",
      "2025-02-29",
      "2026-11-22T",
      "2026-11-22T05",
      "2026-11-22T05:31:59.Z",
      "2026-11-22T05:31:59+1",
      "2026-11-22x",
      "@",
      "@x",
      "@1.",
      "2026-1-1",
      "nowish",
      "2026-11-22T05:31:59Zx",
      "2026-11-22T05:61:00Z",
      "-99999999999999999999d",
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t us = -7;
    if (when_parse(rows[i], NOW, &us))
      fail_msg("%s: taken as %lld", rows[i], (long long)us);
    assert_int_equal(us, -7);
  }
}

static void days_where_clocks_change(void **state) {
  (void)state;
  int64_t today, yesterday;
  zone("CET-1CEST,M3.5.0,M10.5.0/3");
  /* Sunday 2026-10-25 has 25 hours there. */
  int64_t monday = 1793016000 * SECOND;
  assert_true(when_parse("today", monday, &today));
  assert_true(when_parse("yesterday", monday, &yesterday));
  assert_int_equal((today - yesterday) / SECOND, 25 * 3600);
}

static void spans(void **state) {
  (void)state;
  int64_t us = 0;
  assert_true(span_parse("7d", &us));
  assert_int_equal(us, 7 * 86400 * SECOND);
  assert_true(span_parse("1h30m", &us));
  assert_int_equal(us, 5400 * SECOND);
  assert_true(span_parse("90min", &us));
  assert_int_equal(us, 5400 * SECOND);
  assert_true(span_parse("0s", &us));
  assert_int_equal(us, 0);
  static const char *const wrong[] = {"", "7", "d", "7 d", "-7d", "7dd", "7.5d", "9999999999999w"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_false(span_parse(wrong[i], &us));
}

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } rows[] = {
      {"0", 0},
      {"1000000", 1000000},
      {"512K", 524288},
      {"10m", 10485760},
      {"2G", 2147483648u},
      {"2GiB", 2147483648u},
      {"2GB", 2000000000},
      {"1kB", 1000},
      {"1T", 1099511627776},
      {"17B", 17},
      {"3 MB", 3000000},
  };
  uint64_t bytes;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    bytes = 7;
    if (!size_parse(rows[i].text, &bytes) || bytes != rows[i].bytes)
      fail_msg("%s: %llu", rows[i].text, (unsigned long long)bytes);
  }
  static const char *const wrong[] = {
      "", "K", "-1", "1X", "1KK", "1.5G", "99999999999999999999", "99999999999P", "1Ki"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    if (size_parse(wrong[i], &bytes))
      fail_msg("%s: taken", wrong[i]);
  uint64_t number;
  assert_true(number_parse("18446744073709551615", &number));
  assert_false(number_parse("18446744073709551616", &number));
  assert_false(number_parse("1,000", &number));
}

static void words(void **state) {
  (void)state;
  char out[WHEN_MAX];
  zone("CET-1");
  when_rfc3339(NOW, out);
  assert_string_equal(out, "2026-11-22T05:31:59.123456Z");
  when_rfc3339(-1, out);
  assert_string_equal(out, "1969-12-31T23:59:59.999999Z");
  when_local(NOW, out, false);
  assert_string_equal(out, "2026-11-22 06:31:59.123");
  when_local(NOW, out, true);
  assert_string_equal(out, "2026-11-22 06:31:59.123456 +01:00");
  when_brief(NOW, NOW, out);
  assert_string_equal(out, "06:31:59.123");
  when_brief(NOW - 86400 * SECOND, NOW, out);
  assert_string_equal(out, "11-21 06:31");
  when_brief(NOW - 400 * 86400 * SECOND, NOW, out);
  assert_string_equal(out, "2025-10-18");
}

static void every_time_comes_back(void **state) {
  (void)state;
  char out[WHEN_MAX];
  uint64_t random = 88172645463325252u;
  for (int i = 0; i < 20000; i++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    int64_t us = (int64_t)(random % 253402300800000000u), back = 0;
    when_rfc3339(us, out);
    if (!when_parse(out, NOW, &back) || back != us)
      fail_msg("%s", out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(points_in_time),
                                     cmocka_unit_test(no_points_in_time),
                                     cmocka_unit_test(days_where_clocks_change),
                                     cmocka_unit_test(spans),
                                     cmocka_unit_test(sizes),
                                     cmocka_unit_test(words),
                                     cmocka_unit_test(every_time_comes_back)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
