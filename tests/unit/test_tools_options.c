/* The one parser of options of the command line. */
#include "unit.h"

#include "options.h"

#include <stdio.h>

static parsed parse(bool fine, const char *line) {
  static char words[512], error[256];
  char *argv[32] = {(char *)(uintptr_t) "sidelog"};
  int argc = 1;
  parsed p;
  snprintf(words, sizeof words, "%s", line);
  for (char *w = strtok(words, "|"); w; w = strtok(NULL, "|"))
    argv[argc++] = w;
  error[0] = 0;
  bool got = options_parse(&p, argc, argv, error, sizeof error);
  if (got != fine)
    fail_msg("%s: %s", line, error);
  assert_int_equal(got, error[0] == 0);
  return p;
}

static void forms(void **state) {
  (void)state;
  static const char *const lines[] = {"tail|-f|-n|5|--topic|a",
                                      "-f|tail|-n5|--topic=a",
                                      "-fn5|--topic=a|tail",
                                      "--topic|a|-fn|5|tail",
                                      "tail|--follow|--limit=5|--topic=b|--topic=a",
                                      "-fn=5|--topic|a|--|tail"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    parsed p = parse(true, lines[i]);
    assert_int_equal(p.arg_count, 1);
    assert_string_equal(p.args[0], "tail");
    assert_true(option_has(&p, OPT_FOLLOW));
    assert_string_equal(option_text(&p, OPT_LIMIT), "5");
    assert_string_equal(option_text(&p, OPT_TOPIC), "a");
    assert_null(option_text(&p, OPT_STORE));
    options_free(&p);
    options_free(&p);
  }
}

static void values_are_taken_as_they_are(void **state) {
  (void)state;
  parsed p = parse(true, "query|--since|-15m|--key=|--type|--topic|-");
  assert_string_equal(option_text(&p, OPT_SINCE), "-15m");
  assert_string_equal(option_text(&p, OPT_KEY), "");
  assert_string_equal(option_text(&p, OPT_TYPE), "--topic");
  assert_int_equal(p.arg_count, 2);
  assert_string_equal(p.args[1], "-");
  options_free(&p);
}

static void two_hyphens_end_the_options(void **state) {
  (void)state;
  parsed p = parse(true, "append|--|--topic|-f|--");
  assert_int_equal(p.arg_count, 4);
  assert_string_equal(p.args[1], "--topic");
  assert_string_equal(p.args[3], "--");
  assert_int_equal(p.given_count, 0);
  options_free(&p);
}

static void mistakes(void **state) {
  (void)state;
  static const char *const lines[] = {"--topik|a", "--topic", "-n",  "-x",  "--json=yes",
                                      "-fx",       "--",      "---", "--=x"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    parsed p = parse(strcmp(lines[i], "--") == 0, lines[i]);
    options_free(&p);
  }
  char error[256], *argv[] = {(char *)(uintptr_t) "sidelog", (char *)(uintptr_t) "--topik"};
  parsed p;
  assert_false(options_parse(&p, 2, argv, error, sizeof error));
  assert_non_null(strstr(error, "--topic"));
  options_free(&p);
}

static void repeated_ones_keep_their_order(void **state) {
  (void)state;
  parsed p = parse(true, "--header|a=1|append|--header|b=2|-f|--header=c=3");
  const char *seen[3];
  size_t n = 0;
  for (size_t i = 0; i < p.given_count; i++)
    if (p.given[i].id == OPT_HEADER)
      seen[n++] = p.given[i].value;
  assert_int_equal(n, 3);
  assert_string_equal(seen[0], "a=1");
  assert_string_equal(seen[2], "c=3");
  assert_int_equal(option_foreign(&p, OPTIONS(OPT_HEADER), NULL), OPT_FOLLOW);
  assert_int_equal(option_foreign(&p, OPTIONS(OPT_HEADER), OPTIONS(OPT_FOLLOW)), OPTION_COUNT);
  options_free(&p);
}

static void the_table_is_sound(void **state) {
  (void)state;
  for (int i = 0; i < OPTION_COUNT; i++) {
    assert_non_null(option_table[i].name);
    assert_non_null(option_table[i].help);
    for (int k = 0; k < i; k++) {
      assert_string_not_equal(option_table[i].name, option_table[k].name);
      assert_true(option_table[i].letter == 0 || option_table[i].letter != option_table[k].letter);
    }
  }
}

static void slips_of_the_hand(void **state) {
  (void)state;
  static const char *const names[] = {"append", "query", "status", "stats", "tail"};
  assert_string_equal(nearest_name("apend", names, 5), "append");
  assert_string_equal(nearest_name("querry", names, 5), "query");
  assert_string_equal(nearest_name("tial", names, 5), "tail");
  static const char *const alike[] = {"stats", "status"};
  assert_string_equal(nearest_name("stauts", alike, 2), "status");
  assert_string_equal(nearest_name("stas", alike, 2), "stats");
  assert_null(nearest_name("frobnicate", names, 5));
  assert_null(nearest_name("", names, 5));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forms),
                                     cmocka_unit_test(values_are_taken_as_they_are),
                                     cmocka_unit_test(two_hyphens_end_the_options),
                                     cmocka_unit_test(mistakes),
                                     cmocka_unit_test(repeated_ones_keep_their_order),
                                     cmocka_unit_test(the_table_is_sound),
                                     cmocka_unit_test(slips_of_the_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
