/* Which lines are JSON objects: RFC 8259, accepted and refused, with the place and the reason. */
#include "unit.h"

#include <sidelog/envelope.h>

static sl_envelope_reader *reader;

static int set_up(void **state) {
  (void)state;
  return sl_envelope_reader_new(&reader);
}

static int tear_down(void **state) {
  (void)state;
  sl_envelope_reader_free(reader);
  return 0;
}

static sl_status read_bytes(const void *json, size_t len) {
  sl_event event;
  /* a copy of exactly this size: a read beyond it is seen by the sanitizer */
  void *copy = malloc(len + !len);
  memcpy(copy, json, len);
  sl_status status = sl_envelope_read(reader, SL_BYTES(copy, len), &event, NULL);
  free(copy);
  return status;
}

#define ROW(text) {text, sizeof(text) - 1}
typedef struct row { const char *text; size_t len; } row;

static void accepted(void **state) {
  (void)state;
  static const row rows[] = {
    ROW("{}"), ROW(" \t\r\n{ \t\r\n} \t\r\n"), ROW("{\"a\":null}"), ROW("{\"a\":true,\"b\":false}"),
    ROW("{\"\":\"\"}"),
    ROW("{\"a\":[]}"), ROW("{\"a\":[1,[2,[3]]]}"), ROW("{\"a\":{}}"), ROW("{\"a\":0}"), ROW("{\"a\":-0}"),
    ROW("{\"a\":-0.0}"), ROW("{\"a\":0e0}"), ROW("{\"a\":1E+2}"), ROW("{\"a\":1e-2}"),
    ROW("{\"a\":123.456e78}"),
    ROW("{\"a\":12345678901234567890}"), ROW("{\"a\":1e400}"), ROW("{\"a\":-1e-400}"),
    ROW("{\"a\":1234567890123456789012345678901234567890123456789012345678901234567890}"),
    ROW("{\"a\":0.1234567890123456789012345678901234567890123456789012345678901234567890}"),
    ROW("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"), ROW("{\"a\":\"\\u0000\"}"), ROW("{\"\\u0000\":1}"),
    ROW("{\"a\":\"\\uD834\\uDD1E\"}"), ROW("{\"a\":\"\\ud800\"}"), ROW("{\"a\":\"\\udc00\"}"),
    ROW("{\"a\":\"\\ud800\\n\"}"), ROW("{\"a\":\"\\ud800\\ud800\"}"), ROW("{\"a\":\"\\uDFAA\"}"),
    ROW("{\"a\":\"\\uFFFE\\uFFFF\"}"), ROW("{\"a\":\"\x7f\"}"), ROW("{\"a\":\"/\"}"),
    ROW("{\"a\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}"), ROW("{\"\xc3\xa9\":1}"),
    ROW("{\"a\":\"\xe2\x80\xa8\"}"),
    ROW("{\"a\":\"\xef\xbb\xbf\"}"), ROW("{\"a\":\"\xef\xbf\xbf\"}"), ROW("{\"a\":1,\"a\":2}"),
    ROW("{\"a\":1}\n"),
    ROW("{\"a\":1}\r"), ROW("{\"a\" : 1 , \"b\" : [ 1 , 2 ] }"), ROW("{\"a\":\"{[\\\"]}\"}")};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (read_bytes(rows[i].text, rows[i].len)) fail_msg("%s: %s", rows[i].text, sl_last_detail());
}

static void refused(void **state) {
  (void)state;
  static const row rows[] = {
    ROW(""), ROW(" "), ROW("\n"), ROW("null"), ROW("true"), ROW("1"), ROW("\"a\""), ROW("[]"), ROW("[{}]"),
    ROW("a"),
    ROW("{"), ROW("}"), ROW("{]"), ROW("{\"a\""), ROW("{\"a\":"), ROW("{\"a\":1"), ROW("{\"a\":1,"),
    ROW("{\"a\":\"b"),
    ROW("{\"a\":\"b\\"), ROW("{\"a\":\"b\\u00"), ROW("{\"a\":[1}"), ROW("{\"a\":[1"), ROW("{\"a\":tru"),
    ROW("{\"a\":-"),
    ROW("{\"a\":1]"), ROW("{\"a\":1}}"), ROW("{\"a\":1}]"), ROW("{}{}"), ROW("{} {}"), ROW("{}\n{}"),
    ROW("{},"),
    ROW("{}\""), ROW("{}\"a"), ROW("{}tru"), ROW("{}-"), ROW("{}1"), ROW("{}x"), ROW("{}\"a\""), ROW("{} null"),
    ROW("{}#"), ROW("x{}"),
    ROW("{,}"), ROW("{\"a\":1,}"), ROW("{,\"a\":1}"), ROW("{\"a\":1,,\"b\":2}"), ROW("{\"a\" 1}"),
    ROW("{\"a\"::1}"),
    ROW("{\"a\":}"), ROW("{:1}"), ROW("{a:1}"), ROW("{'a':1}"), ROW("{1:1}"), ROW("{null:1}"),
    ROW("{\"a\":1 \"b\":2}"),
    ROW("{\"a\":'b'}"), ROW("{\"a\":b}"), ROW("{\"a\":True}"), ROW("{\"a\":nul}"), ROW("{\"a\":nullx}"),
    ROW("{\"a\":NaN}"),
    ROW("{\"a\":Infinity}"), ROW("{\"a\":-Infinity}"), ROW("{\"a\":undefined}"),
    ROW("{\"a\":[1,]}"), ROW("{\"a\":[,1]}"), ROW("{\"a\":[,]}"), ROW("{\"a\":[1,,2]}"),
    ROW("{\"a\":[1 2]}"), ROW("{\"a\":[1:2]}"),
    ROW("{\"a\":01}"), ROW("{\"a\":-01}"), ROW("{\"a\":+1}"), ROW("{\"a\":.5}"), ROW("{\"a\":1.}"),
    ROW("{\"a\":1.e1}"),
    ROW("{\"a\":1e}"), ROW("{\"a\":1e+}"), ROW("{\"a\":0x1}"), ROW("{\"a\":--1}"), ROW("{\"a\":1-}"),
    ROW("{\"a\":-}"),
    ROW("{\"a\":1_000}"), ROW("{\"a\":1 000}"), ROW("{\"a\":1f}"), ROW("{\"a\":-.5}"), ROW("{\"a\":0.}"),
    ROW("{\"a\":1.5.5}"),
    ROW("{\"a\":\xef\xbc\x91}"),
    ROW("{\"a\":\"\\x\"}"), ROW("{\"a\":\"\\'\"}"), ROW("{\"a\":\"\\0\"}"), ROW("{\"a\":\"\\u\"}"),
    ROW("{\"a\":\"\\u12\"}"),
    ROW("{\"a\":\"\\u12g4\"}"), ROW("{\"a\":\"\\U0041\"}"), ROW("{\"a\":\"\\\"}"), ROW("{\"a\":\"\\ \"}"),
    ROW("{\"a\":\"\\\xc3\xa9\"}"),
    ROW("{\"a\":\"\t\"}"), ROW("{\"a\":\"\n\"}"), ROW("{\"a\":\"\r\"}"), ROW("{\"a\":\"\x1f\"}"),
    ROW("{\"a\":\"\x01\"}"),
    ROW("{\"a\":\"\0\"}"), ROW("\0{}"), ROW("{}\0"), ROW("{\0}"), ROW("{\"a\":1\0}"),
    ROW("\v{}"), ROW("{\v}"), ROW("{\"a\":\f1}"), ROW("{}\f"), ROW("{\xc2\xa0}"), ROW("{\xe2\x80\xa8}"),
    ROW("{}\xe2\x81\xa0"),
    ROW("\xef\xbb\xbf{}"), ROW("\xfe\xff\0{\0}"), ROW("{\0}\0"),
    ROW("/*c*/{}"), ROW("{}//c"), ROW("{/*c*/}"), ROW("{\"a\":1/*c*/}"), ROW("{\"a\":/**/1}"),
    ROW("{\"a\":\"\xff\"}"), ROW("{\"\xff\":1}"), ROW("{}\xff"), ROW("{\"a\":\"\xc3\"}"),
    ROW("{\"a\":\"\xc0\x80\"}"),
    ROW("{\"a\":\"\xc0\xaf\"}"), ROW("{\"a\":\"\xe0\x80\xaf\"}"), ROW("{\"a\":\"\xed\xa0\x80\"}"),
    ROW("{\"a\":\"\xed\xa0\xbd\xed\xb8\x80\"}"), ROW("{\"a\":\"\xf4\x90\x80\x80\"}"),
    ROW("{\"a\":\"\xf5\x80\x80\x80\"}"),
    ROW("{\"a\":\"\xf8\x88\x80\x80\x80\"}"), ROW("{\"a\":\"\x80\"}"), ROW("{\"a\":\"\xe9\"}")};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (read_bytes(rows[i].text, rows[i].len) != SL_E_INVALID) fail_msg("row %zu was accepted: %s", i,
                                                                        rows[i].text);
    if (!strstr(sl_last_detail(), "(byte ")) fail_msg("row %zu: no place in \"%s\"", i, sl_last_detail());
  }
}

static void every_beginning_of_a_line_is_refused(void **state) {
  (void)state;
  static const char line[] = "{\"event_id\":\"a\\u0041\\n\",\"n\":[-12.5e+3,true,false,null,{\"\\\\\":\"\"}],"
                             "\"payload\":{\"x\":\"\xe2\x82\xac\"}}";
  for (size_t len = 0; len < sizeof line - 1; len++) assert_int_equal(read_bytes(line, len), SL_E_INVALID);
  assert_ok(read_bytes(line, sizeof line - 1));
}

static void says_where_and_why(void **state) {
  (void)state;
  static const struct { const char *json, *place, *reason; } rows[] = {
    {"", "(byte 1)", "the line is empty"},
    {"[1]", "(byte 1)", "not an object"},
    {"  42", "(byte 3)", "not an object"},
    {"\xef\xbb\xbf{}", "(byte 1)", "byte order mark"},
    {"{\"a\":\"\xff\"}", "(byte 7)", "not valid UTF-8"},
    {"{\"a\":\v1}", "(byte 6)", "control character 0x0b"},
    {"{\"a\":1", "(byte 7)", "ends inside the object"},
    {"{\"a\":\"bc", "(byte 9)", "ends inside the object"},
    {"{\"a\":1} x", "(byte 9)", "after the object"},
    {"{\"a\":1}{}", "(byte 8)", "after the object"},
    {"{\"a\":1}  null", "(byte 10)", "after the object"},
    {"{\"a\":01}", "(byte 7)", "a comma or } is expected"},
    {"{\"a\":[1 2]}", "(byte 9)", "a comma or ] is expected"},
    {"{\"a\":tru}", "(byte 9)", "neither true, false nor null"},
    {"{\"a\" 1}", "(byte 6)", "a colon is expected"},
    {"{\"a\":1,}", "(byte 8)", "a name in double quotes is expected"},
    {"{1:2}", "(byte 2)", "a name in double quotes is expected"},
    {"{\"a\":,}", "(byte 6)", "may not stand here"},
    {"{\"a\":'b'}", "(byte 6)", "this character may not stand here"},
    {"{\"a\":/* */1}", "(byte 6)", "no comments"},
    {"{\"a\":-}", "(byte 7)", "a minus sign without digits"},
    {"{\"a\":1.}", "(byte 8)", "after its point"},
    {"{\"a\":1e}", "(byte 8)", "in its exponent"},
    {"{\"a\":\"\\x\"}", "(byte 8)", "a backslash before a character that has no escape"},
    {"{\"a\":\"\\u12g4\"}", "(byte 11)", "without four hexadecimal digits"},
    {"{\"a\":\"\t\"}", "(byte 7)", "control character inside a string"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    assert_int_equal(read_bytes(rows[i].json, strlen(rows[i].json)), SL_E_INVALID);
    const char *detail = sl_last_detail();
    if (!strstr(detail, rows[i].place) || !strstr(detail, rows[i].reason) || strchr(detail, '\n'))
      fail_msg("%s: \"%s\" is not %s, %s", rows[i].json, detail, rows[i].place, rows[i].reason);
  }
}

static void depth(void **state) {
  (void)state;
  static char json[20000];
  for (int deep = 2; deep <= 5000; deep = deep < 999 ? deep * 3 : deep + (deep < 1003 ? 1 : 1999))
    for (int objects = 0; objects < 2; objects++) {
      size_t len = 0;
      len += (size_t)sprintf(json, "{\"a\":");
      for (int i = 1; i < deep; i++) {
        if (objects && len + 5 * (size_t)deep < sizeof json) len += (size_t)sprintf(json + len, "{\"\":");
        else json[len++] = '[';
      }
      if (json[len - 1] == ':') json[len++] = '0';
      char stack[5001];
      size_t opened = 0;
      for (size_t i = 0; i < len; i++)
        if (json[i] == '{' || json[i] == '[') stack[opened++] = json[i] == '{' ? '}' : ']';
      assert_int_equal(opened, deep);
      while (opened > 0) json[len++] = stack[--opened];
      if (deep <= SL_ENVELOPE_MAX_DEPTH)
        assert_ok(read_bytes(json, len));
      else
        assert_fails(read_bytes(json, len), SL_E_INVALID, "deeper than 1000 levels");
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(accepted),
    cmocka_unit_test(refused),
    cmocka_unit_test(every_beginning_of_a_line_is_refused),
    cmocka_unit_test(says_where_and_why),
    cmocka_unit_test(depth)};
  return cmocka_run_group_tests_name("JSON", tests, set_up, tear_down);
}
