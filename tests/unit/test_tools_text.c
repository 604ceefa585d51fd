/* What may reach a terminal, how wide it is, numbers for people; JSON for machines. */
#include "unit.h"

#include "json.h"
#include "text.h"

#include <locale.h>
#include <unistd.h>

static void check_safe(const char *bytes, size_t len, bool unicode, const char *expected) {
  text out = {0};
  text_add_safe(&out, SL_BYTES(bytes, len), unicode);
  assert_string_equal(text_str(&out), expected);
  text_free(&out);
}

static void hostile_bytes(void **state) {
  (void)state;
  check_safe("plain", 5, true, "plain");
  check_safe("\033[31mred\033[0m", 12, true, "\\x1b[31mred\\x1b[0m");
  check_safe("a\nb\tc\rd\0e\x7f", 10, true, "a\\nb\\tc\\rd\\x00e\\x7f");
  check_safe("\xc2\x9b"
             "2J",
             4, true, "\\u{9b}2J");                   /* CSI as one C1 character */
  check_safe("a\xe2\x80\xae"
             "b",
             5, true, "a\\u{202e}b");             /* right-to-left override */
  check_safe("\xe2\x81\xa6\xe2\x80\x8b", 6, true, "\\u{2066}\\u{200b}"); /* isolate, zero width */
  check_safe("\xf3\xa0\x81\x81", 4, true, "\\u{e0041}");               /* tag */
  check_safe("x\xff\xc0\xafy\xed\xa0\x80", 8, true, "x\\xff\\xc0\\xafy\\xed\\xa0\\x80");
  check_safe("gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2", 10, true, "gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2");
  check_safe("gr\xc3\xbc\xc3\x9f", 6, false, "gr\\u{fc}\\u{df}");
  check_safe("", 0, true, "");
}

/* No byte sequence of any kind puts a control byte on the terminal. */
static void nothing_gets_through(void **state) {
  (void)state;
  uint64_t random = 88172645463325252u;
  for (int round = 0; round < 3000; round++) {
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      bytes[i] = (char)(random >> 24);
    }
    text out = {0};
    text_add_safe(&out, SL_BYTES(bytes, sizeof bytes), round % 2);
    size_t size;
    for (size_t i = 0; i < out.len; i += size) {
      int32_t point = utf8_next(out.data + i, out.len - i, &size);
      assert_true(point >= 0x20 && !char_is_hostile(point));
    }
    text_clear(&out);
    json_escape(&out, SL_BYTES(bytes, sizeof bytes), false);
    assert_true(utf8_ok((sl_slice){out.data, out.len}));
    text quoted = {0};
    text_printf(&quoted, "\"%s\"", text_str(&out));
    assert_true(json_valid((sl_slice){quoted.data, quoted.len}));
    text_free(&quoted);
    text_free(&out);
  }
}

static void check_cut(const char *words, int width, bool from_left, bool unicode, const char *expected,
                      int columns) {
  text t = {0};
  text_puts(&t, words);
  assert_int_equal(text_cut(&t, width, from_left, unicode), columns);
  assert_string_equal(text_str(&t), expected);
  text_free(&t);
}

static void widths(void **state) {
  (void)state;
  assert_int_equal(text_width("gr\xc3\xbc\xc3\x9f"), 4);
  assert_int_equal(text_width("\xe6\xbc\xa2\xe5\xad\x97"), 4);
  assert_int_equal(text_width("e\xcc\x81"), 1);
  check_cut("abcdef", 6, false, true, "abcdef", 6);
  check_cut("abcdef", 4, false, true, "abc\xe2\x80\xa6", 4);
  check_cut("abcdef", 4, true, true,
            "\xe2\x80\xa6"
            "def",
            4);
  check_cut("abcdef", 4, false, false, "ab..", 4);
  check_cut("abcdef", 4, true, false, "..ef", 4);
  check_cut("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 4, false, true, "\xe6\xbc\xa2\xe2\x80\xa6", 3);
  check_cut("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 4, true, true, "\xe2\x80\xa6\xe6\xbc\xa2", 3);
  check_cut("abcdef", 0, false, true, "", 0);
}

#define CHECK_WORDS(call, expected)                                                                          \
  do {                                                                                                       \
    text t = {0};                                                                                            \
    call;                                                                                                    \
    assert_string_equal(text_str(&t), expected);                                                             \
    text_free(&t);                                                                                           \
  } while (0)

static void numbers_for_people(void **state) {
  (void)state;
  CHECK_WORDS(text_count(&t, 0), "0");
  CHECK_WORDS(text_count(&t, 999), "999");
  CHECK_WORDS(text_count(&t, 1204113), "1,204,113");
  CHECK_WORDS(text_count(&t, UINT64_MAX), "18,446,744,073,709,551,615");
  CHECK_WORDS(text_counted(&t, 1, "event", "events"), "1 event");
  CHECK_WORDS(text_ordinal(&t, 1), "1st");
  CHECK_WORDS(text_ordinal(&t, 12), "12th");
  CHECK_WORDS(text_ordinal(&t, 22), "22nd");
  CHECK_WORDS(text_ordinal(&t, 1111), "1,111th");
  CHECK_WORDS(text_ordinal(&t, 103), "103rd");
  CHECK_WORDS(text_bytes(&t, 0), "0 B");
  CHECK_WORDS(text_bytes(&t, 1000), "1 KiB");
  CHECK_WORDS(text_bytes(&t, 1536), "1.5 KiB");
  CHECK_WORDS(text_bytes(&t, 10737418240u), "10 GiB");
  CHECK_WORDS(text_bytes(&t, 432013312), "412 MiB");
  CHECK_WORDS(text_span(&t, 740), "740 us");
  CHECK_WORDS(text_span(&t, 7400), "7.4 ms");
  CHECK_WORDS(text_span(&t, 12000), "12 ms");
  CHECK_WORDS(text_span(&t, 1842000), "1.842 s");
  CHECK_WORDS(text_span(&t, 62000000), "1 min 2 s");
  CHECK_WORDS(text_span(&t, 8040000000), "2 h 14 min");
  CHECK_WORDS(text_span(&t, 274320000000), "3 d 04:12");
  CHECK_WORDS(text_span(&t, -12000), "-12 ms");
  const int64_t day = INT64_C(86400000000);
  CHECK_WORDS(text_full_in(&t, day * 3 + day / 2), "full in 3 d 12:00");
  CHECK_WORDS(text_full_in(&t, day * 700), "full in 700 d");
  CHECK_WORDS(text_full_in(&t, day * 4 * 366), "full in 4 years");
  CHECK_WORDS(text_full_in(&t, day * 10348), "not full within 10 years");
  CHECK_WORDS(text_ago(&t, 5), "just now");
  CHECK_WORDS(text_ago(&t, 200000), "0.2 s ago");
  CHECK_WORDS(text_ago(&t, 845000000), "14 min ago");
  CHECK_WORDS(text_ago(&t, 130000000), "2 min ago");
}

static void short_topics(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"dev.omninode_bridge.onex.evt.batch-processed.v1", "batch-processed.v1"},
      {"prod.omniarchon.codegen.cmd.x.y.v2", "x.y.v2"},
      {"omninode.agent.routing.requested.v1", "omninode.agent.routing.requested.v1"},
      {"omninode_codegen_request_analyze_v1", "omninode_codegen_request_analyze_v1"},
      {"a.b.c.evt.", "a.b.c.evt."},
      {"a.b.c.evt", "a.b.c.evt"},
      {"a.evt.c.d.e", "a.evt.c.d.e"},
      {"", ""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    sl_slice got = topic_short(slice_of(rows[i][0]));
    assert_true(slice_eq(got, slice_of(rows[i][1])));
  }
}

static void base64(void **state) {
  (void)state;
  CHECK_WORDS(text_base64(&t, SL_STR("")), "");
  CHECK_WORDS(text_base64(&t, SL_STR("f")), "Zg==");
  CHECK_WORDS(text_base64(&t, SL_STR("fo")), "Zm8=");
  CHECK_WORDS(text_base64(&t, SL_STR("\xff\xfe\x00")), "//4A");
}

static void what_is_json(void **state) {
  (void)state;
  static const char *const yes[] = {"{}",
                                    "[]",
                                    "1",
                                    "\"x\"",
                                    "null",
                                    " {\"a\" : 1e400 } ",
                                    "-0",
                                    "12345678901234567890123456789",
                                    "\"\\u0000\\ud800\"",
                                    "[1,[2,{\"a\":[]}]]"};
  static const char *const no[] = {"",        " ",    "{",   "{}x",      "{} {}",   "01",
                                   "{'a':1}", "[1,]", "nul", "\"\x01\"", "\"\xff\"",
                                   "\"\xc1\x9d\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\""}; /* RFC 3629 */
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
    if (!json_valid(slice_of(yes[i])))
      fail_msg("%s", yes[i]);
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    if (json_valid(slice_of(no[i])))
      fail_msg("%s", no[i]);
}

static void pretty(void **state) {
  (void)state;
  CHECK_WORDS(json_pretty(&t, SL_STR("{\"a\":1.50,\"b\":[1,{ }],\"c\":\"x,{\\\"\"}"), true),
              "{\n  \"a\": 1.50,\n  \"b\": [\n    1,\n    {}\n  ],\n  \"c\": \"x,{\\\"\"\n}");
  CHECK_WORDS(json_pretty(&t, SL_STR("\"\xe2\x80\xae\""), true), "\"\\u202e\"");
  CHECK_WORDS(json_pretty(&t, SL_STR("\"\xc3\xbc\xf0\x9f\x98\x80\""), false), "\"\\u00fc\\ud83d\\ude00\"");
}

static void a_record_is_one_line(void **state) {
  (void)state;
  int ends[2];
  char line[4096];
  assert_int_equal(pipe(ends), 0);
  output o;
  out_init(&o, (term){0});
  o.fd = ends[1];
  json *j = json_new(&o);
  sl_header headers[] = {{SL_STR("h\n"), SL_STR("\xff")}};
  sl_record r = {.seq = UINT64_MAX,
                 .appended_at_us = 1795325519123456,
                 .topic = SL_STR("t"),
                 .type = SL_STR("T\xff"),
                 .event_id = SL_STR("e\"\n\033"),
                 .key = SL_STR("\xfe"),
                 .headers = headers,
                 .header_count = 1,
                 .value = SL_STR("{\"n\":12345678901234567890,\n\"m\":1}"),
                 .state = SL_SENT,
                 .partition = 2,
                 .offset = -1};
  json_record(j, &r, JSON_VALUE | JSON_HEADERS);
  json_record(j, &r, 0);
  out_flush(&o);
  ssize_t n = read(ends[0], line, sizeof line - 1);
  assert_true(n > 0);
  line[n] = 0;
  const char *second = strchr(line, '\n') + 1;
  assert_string_equal(
      second, "{\"seq\":18446744073709551615,\"event_id\":\"e\\\"\\n\\u001b\",\"event_type\":\"T\\ufffd\","
              "\"topic\":\"t\",\"correlation_id\":null,\"causation_id\":null,"
              "\"appended_at\":\"2026-11-22T05:31:59.123456Z\",\"status\":\"sent\",\"partition\":2,"
              "\"offset\":null,\"key_base64\":\"/g==\"}\n");
  assert_non_null(strstr(line, "\"headers\":[{\"name\":\"h\\n\",\"value_base64\":\"/w==\"}],"
                               "\"value\":{\"n\":12345678901234567890, \"m\":1},\"value_base64\":\"eyJ"));
  assert_true(json_valid((sl_slice){line, (size_t)(second - line)}));
  json_free(j);
  out_free(&o);
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
  setlocale(LC_CTYPE, "C.UTF-8");
  const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_bytes),
                                     cmocka_unit_test(nothing_gets_through),
                                     cmocka_unit_test(widths),
                                     cmocka_unit_test(numbers_for_people),
                                     cmocka_unit_test(short_topics),
                                     cmocka_unit_test(base64),
                                     cmocka_unit_test(what_is_json),
                                     cmocka_unit_test(pretty),
                                     cmocka_unit_test(a_record_is_one_line)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
