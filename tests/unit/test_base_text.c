/* The rules of text: UTF-8, names of topics, globs, times. */
#include "unit.h"

#include "base/text.h"

static void utf8(void **state) {
  (void)state;
  static const struct { const char *text; size_t len; bool valid; } rows[] = {
    {"", 0, true}, {"plain ascii, longer than eight", 30, true}, {"\0", 1, true}, {"\x7f", 1, true},
    {"\xc3\xa9", 2, true}, {"\xe2\x82\xac", 3, true}, {"\xf0\x9f\x98\x80", 4, true},
    {"\xc2\x80", 2, true}, {"\xe0\xa0\x80", 3, true}, {"\xf0\x90\x80\x80", 4, true},
    {"\xed\x9f\xbf", 3, true}, {"\xee\x80\x80", 3, true}, {"\xf4\x8f\xbf\xbf", 4, true},
    {"\xef\xbf\xbf", 3, true},
    {"12345678\xc3\xa9", 10, true}, {"1234567\xc3\xa9", 9, true},
    {"\x80", 1, false}, {"\xbf", 1, false}, {"\xc3", 1, false}, {"\xe2\x82", 2, false},
    {"\xf0\x9f\x98", 3, false},
    {"\xc0\x80", 2, false}, {"\xc1\xbf", 2, false}, {"\xe0\x9f\xbf", 3, false},
    {"\xf0\x8f\xbf\xbf", 4, false},
    {"\xed\xa0\x80", 3, false}, {"\xed\xbf\xbf", 3, false},
    {"\xf4\x90\x80\x80", 4, false}, {"\xf5\x80\x80\x80", 4, false}, {"\xff", 1, false}, {"\xfe", 1, false},
    {"\xc3\x28", 2, false}, {"\xe2\x28\xa1", 3, false}, {"\xf0\x9f\x28\x80", 4, false},
    {"12345678\xff", 9, false}, {"\xff" "12345678", 9, false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (sl_utf8_valid(SL_BYTES(rows[i].text, rows[i].len)) != rows[i].valid) fail_msg("row %zu", i);
  assert_int_equal(sl_utf8_prefix(SL_STR("ab\xc3\xa9\xff")), 4);
}

/* Every code point in its own encoding, and nothing else of two and three bytes. */
static void utf8_exhaustively(void **state) {
  (void)state;
  size_t count = 0;
  for (uint32_t v = 0; v < 0x10000; v++) {
    uint8_t p[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    if (p[0] >= 0x80) count += sl_utf8_valid(SL_BYTES(p, 2));
  }
  assert_int_equal(count, 0x800 - 0x80);
  count = 0;
  for (uint32_t v = 0xe00000; v <= 0xffffff; v++) {
    uint8_t p[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    count += sl_utf8_valid(SL_BYTES(p, 3));
  }
  assert_int_equal(count, 0x10000 - 0x800 - 0x800);
}

static void topics(void **state) {
  (void)state;
  char longest[251];
  memset(longest, 'a', sizeof longest);
  static const char *good[] = {"a", "dev.omninode_bridge.onex.evt.stamp-workflow-started.v1", "...", ".a",
  "A-Z_09"};
  static const char *bad[] = {"", ".", "..", "a b", "a/b", "a:b", "\xc3\xa9", "a\n", "a*"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(sl_topic_valid(sl_slice_of(good[i])));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(sl_topic_valid(sl_slice_of(bad[i])));
  assert_true(sl_topic_valid(SL_BYTES(longest, 249)));
  assert_false(sl_topic_valid(SL_BYTES(longest, 250)));
  assert_false(sl_topic_valid(SL_BYTES("a\0b", 3)));
}

static void globs(void **state) {
  (void)state;
  static const struct { const char *pattern, *text; bool match; } rows[] = {
    {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "anything", true}, {"**", "x", true},
    {"abc", "abc", true}, {"abc", "abcd", false}, {"abc", "ab", false},
    {"a*c", "abbbc", true}, {"a*c", "ac", true}, {"a*c", "acb", false},
    {"*.v1", "a.b.v1", true}, {"*.v1", "a.b.v12", false}, {"dev.*", "dev.", true}, {"dev.*", "dev", false},
    {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"*ab", "aab", true}, {"*aab", "aaaab", true},
    {"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"??", "ab", true}, {"a?c", "abc", true},
    {"?", "\xe2\x82\xac", true}, {"??", "\xe2\x82\xac", false}, {"*??", "\xe2\x82\xac", false},
    {"*??", "a\xe2\x82\xac", true}, {"?", "\xff", true}, {"??", "\xff\xfe", true},
    {"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
    {"[a-c]", "", false},
    {"[!a-c]", "d", true}, {"[!a-c]", "b", false}, {"[!a-c]", "", false}, {"[]a]", "]", true},
    {"[!]a]", "]", false},
    {"[a-]", "-", true}, {"[-a]", "-", true}, {"[\\]]", "]", true}, {"[\\!a]", "!", true},
    {"[a\\-c]", "b", false},
    {"[a\\-c]", "-", true}, {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true}, {"[\xc3\xa9]", "\xc3", false},
    {"v[0-9]", "v1", true}, {"v[0-9]*", "v12", true}, {"*[0-9]", "v1", true}, {"[z-a]", "m", false},
    {"[abc", "[abc", true}, {"[abc", "a", false}, {"[", "[", true}, {"[!", "[!", true}, {"a[", "a[", true},
    {"[]", "[]", true}, {"*[", "x[", true},
    {"\\*", "*", true}, {"\\*", "a", false}, {"\\?", "?", true}, {"\\[a]", "[a]", true}, {"\\\\", "\\", true},
    {"a\\", "a\\", true}, {"\\a", "a", true}, {"\\\xc3\xa9", "\xc3\xa9", true}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (sl_glob_match(sl_slice_of(rows[i].pattern), sl_slice_of(rows[i].text)) != rows[i].match)
      fail_msg("%s against %s", rows[i].pattern, rows[i].text);
  assert_true(sl_glob_match(SL_BYTES(NULL, 0), SL_BYTES(NULL, 0)));
  assert_true(sl_glob_match(SL_STR("a*"), SL_BYTES("a\0b", 3)));
  assert_true(sl_glob_is_literal(SL_STR("dev.a-b_c.v1")));
  assert_false(sl_glob_is_literal(SL_STR("dev.*")));
  assert_false(sl_glob_is_literal(SL_STR("a?")));
  assert_false(sl_glob_is_literal(SL_STR("[a]")));
  assert_false(sl_glob_is_literal(SL_STR("a\\b")));
}

/* Ends at all: a matcher that recurses into stars would need 2^30 steps. */
static void globs_never_explode(void **state) {
  (void)state;
  char text[20001];
  memset(text, 'a', sizeof text);
  assert_false(sl_glob_match(SL_STR("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"),
                             SL_BYTES(text, sizeof text)));
  assert_false(sl_glob_match(SL_STR("*[a]?[!b]*[a-z]*?b"), SL_BYTES(text, sizeof text)));
}

static void times(void **state) {
  (void)state;
  static const struct { const char *text; int64_t us; } good[] = {
    {"1970-01-01T00:00:00Z", 0}, {"1970-01-01T00:00:00.000001Z", 1}, {"1969-12-31T23:59:59.999999Z", -1},
    {"2024-02-29T12:34:56.789Z", INT64_C(1709210096789000)},
    {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
    {"2024-02-29T14:34:56.789+02:00", INT64_C(1709210096789000)},
    {"2024-02-29T07:04:56.789-05:30", INT64_C(1709210096789000)},
    {"2024-02-29t12:34:56.789z", INT64_C(1709210096789000)},
    {"2024-02-29 12:34:56.789Z", INT64_C(1709210096789000)},
    {"2024-02-29T12:34:56.789", INT64_C(1709210096789000)},
    {"2024-02-29 12:34:56", INT64_C(1709210096000000)}, {"1970-01-01T00:00:00-00:00", 0},
    {"1970-01-01T00:00:00.1234567899999999999999Z", 123456}, {"1970-01-01T00:00:00.5+00:00", 500000},
    {"1970-01-01T23:59:00+23:59", 0}, {"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
    {"2016-12-31T18:59:60.5-05:00", INT64_C(1483228800500000)},
    {"0000-01-01T00:00:00Z", INT64_C(-62167219200000000)},
    {"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999)}};
  static const char *bad[] = {
    "", "2024", "2024-02-29", "2024-02-29T", "2024-02-29T12:34Z", "2024-02-29T12:34:5Z",
    "2023-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z",
    "2024-04-31T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:61Z",
    "2024-01-01T12:00:60Z", "2016-12-31T23:59:60+01:00", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.",
    "2024-01-01T00:00:00,5Z", "2024-01-01T00:00:00+0100", "2024-01-01T00:00:00+01",
    "2024-01-01T00:00:00+24:00",
    "2024-01-01T00:00:00+01:60", "2024-01-01T00:00:00+01:0", "2024-01-01T00:00:00ZZ", "2024-01-01T00:00:00Z ",
    " 2024-01-01T00:00:00Z", "2024-1-01T00:00:00Z", "2024/01/01T00:00:00Z", "+024-01-01T00:00:00Z",
    "2024-01-01_00:00:00Z", "2024-01-01T00-00-00Z", "20240101T000000Z", "yesterday at a time"};
  int64_t us = 42;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (sl_time_parse(sl_slice_of(bad[i]), &us)) fail_msg("%s", bad[i]);
  assert_int_equal(us, 42);
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    if (!sl_time_parse(sl_slice_of(good[i].text), &us)) fail_msg("%s", good[i].text);
    if (us != good[i].us) fail_msg("%s: %lld", good[i].text, (long long)us);
  }
}

static void times_come_back(void **state) {
  (void)state;
  random_seed();
  char text[32];
  int64_t back;
  const int64_t first = INT64_C(-62167219200000000), span = INT64_C(253402300800000000) - first;
  for (int i = 0; i < 200000; i++) {
    int64_t us = first + (int64_t)(random_next() % (uint64_t)span);
    sl_time_format(us, text);
    assert_int_equal(strlen(text), 27);
    assert_true(sl_time_parse(sl_slice_of(text), &back));
    if (back != us) fail_msg("%lld %s %lld", (long long)us, text, (long long)back);
  }
  sl_time_format(INT64_C(1709210096789000), text);
  assert_string_equal(text, "2024-02-29T12:34:56.789000Z");
  sl_time_format(-1, text);
  assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
  sl_time_format(INT64_MAX, text);
  assert_string_equal(text, "294247-01-10T04:00:54.775807Z");
  sl_time_format(INT64_MIN, text);
  assert_string_equal(text, "-290308-12-21T19:59:05.224192Z");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(utf8),       cmocka_unit_test(utf8_exhaustively),
    cmocka_unit_test(topics),     cmocka_unit_test(globs),
    cmocka_unit_test(globs_never_explode),
    cmocka_unit_test(times),      cmocka_unit_test(times_come_back)};
  return cmocka_run_group_tests_name("text rules", tests, NULL, NULL);
}
