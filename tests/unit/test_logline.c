/* One line always, whatever is in it; a flood of one event does not hide the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include "log_inner.h"

#define T INT64_C(1763788321123456) /* 2025-11-22T05:12:01.123456Z */

static const char *line(log_format format, const char *event, const log_field *fields, uint64_t suppressed,
                        const char *message) {
  static char out[LOG_LINE_MAX + 1];
  size_t len = log_render(out, format, T, LEVEL_WARN, event, fields, suppressed, message);
  assert_int_equal(strlen(out), len);
  assert_true(len <= LOG_LINE_MAX);
  assert_ptr_equal(strchr(out, '\n'), out + len - 1);
  return out;
}

static void text_lines(void **state) {
  (void)state;
  assert_string_equal(line(FORMAT_TEXT, "started", NULL, 0, "hello"),
      "2025-11-22T05:12:01.123Z warn started: hello\n");
  assert_string_equal(
    line(FORMAT_TEXT, "broker-unreachable",
         LOG_FIELDS(log_text("brokers", "r0:9092,r1:9092"), log_number("tries", -3), log_text("none", NULL)),
             4,
         "refused; next try in 2 s"),
    "2025-11-22T05:12:01.123Z warn broker-unreachable brokers=r0:9092,r1:9092 tries=-3 none=null "
    "suppressed=4: "
    "refused; next try in 2 s\n");
  assert_string_equal(
    line(FORMAT_TEXT, "e", LOG_FIELDS(log_text("a", "two words"), log_text("b", ""), log_text("c", "q\"\\"),
                                      log_text("d", "x=y"), log_text("e", "end:")), 0, "m"),
    "2025-11-22T05:12:01.123Z warn e a=\"two words\" b=\"\" c=\"q\\\"\\\\\" d=\"x=y\" e=\"end:\": m\n");
}

static void nothing_breaks_the_line(void **state) {
  (void)state;
  const char *bad = "a\nb\r\tc\x1b[31m\x7f \xc2\x9b \xff \xe2\x80\xae \xe2\x80\xa8 \xc3\xa9";
  assert_string_equal(line(FORMAT_TEXT, "e", NULL, 0, bad),
                      "2025-11-22T05:12:01.123Z warn e: a\\nb\\r\\tc\\u001b[31m\\u007f \\u009b \\xff "
                      "\\u202e \\u2028 "
                      "\xc3\xa9\n");
  assert_string_equal(line(FORMAT_JSON, "e", LOG_FIELDS(log_text("k", "\"\n")), 2, bad),
                      "{\"time\":\"2025-11-22T05:12:01.123Z\",\"level\":\"warn\",\"event\":\"e\","
                      "\"k\":\"\\\"\\n\","
                      "\"suppressed\":2,\"message\":\"a\\nb\\r\\tc\\u001b[31m\\u007f \\u009b \\ufffd "
                      "\\u202e \\u2028 "
                      "\xc3\xa9\"}\n");
}

/* Of any length, with any byte: one line, and JSON stays JSON. */
static void long_lines_stay_whole(void **state) {
  (void)state;
  static char message[3 * LOG_LINE_MAX], value[3 * LOG_LINE_MAX];
  unsigned seed = 7;
  for (size_t n = 0; n < sizeof message - 1; n = n < 20 ? n + 1 : n + 37) {
    for (size_t i = 0; i < n; i++) {
      seed = seed * 1103515245 + 12345;
      message[i] = (char)(1 + (seed >> 16) % 255);
      value[i] = n % 2 ? '"' : message[i];
    }
    message[n] = value[n] = 0;
    const log_field *fields = LOG_FIELDS(log_text("v", value), log_number("n", (int64_t)n), log_text("w",
        value));
    line(FORMAT_TEXT, "event", fields, n, message);
    const char *json = line(FORMAT_JSON, "event", fields, n, message);
    char error[200] = "";
    yajl_val tree = yajl_tree_parse(json, error, sizeof error);
    if (!tree) fail_msg("%zu bytes: %s\n%s", n, error, json);
    const char *path[] = {"message", NULL};
    assert_non_null(yajl_tree_get(tree, path, yajl_t_string));
    yajl_tree_free(tree);
  }
}

static void floods_are_held_back(void **state) {
  (void)state;
  log_limiter *limiter = calloc(1, sizeof *limiter);
  uint64_t suppressed = 99;
  int64_t now = 5000000;
  for (int i = 0; i < LOG_BURST; i++) {
    assert_true(log_admit(limiter, "flood", now + i, &suppressed));
    assert_int_equal(suppressed, 0);
  }
  for (int i = 0; i < 1000; i++) assert_false(log_admit(limiter, "flood", now + 9000000, &suppressed));
  assert_true(log_admit(limiter, "other", now, &suppressed));
  assert_int_equal(suppressed, 0);
  assert_true(log_admit(limiter, "flood", now + 10000000, &suppressed));
  assert_int_equal(suppressed, 1000);
  assert_true(log_admit(limiter, "flood", now + 10000001, &suppressed));
  assert_int_equal(suppressed, 0);

  /* more kinds of events than are remembered: none is ever lost */
  for (int i = 0; i < 10 * LOG_LIMITS; i++) {
    char name[20];
    snprintf(name, sizeof name, "event-%d", i);
    assert_true(log_admit(limiter, name, now + 20000000 + i, &suppressed));
  }
  free(limiter);
}

/* What is written to standard error while `run` runs. */
static char *caught(void (*run)(void)) {
  FILE *file = tmpfile();
  assert_non_null(file);
  int keep = dup(STDERR_FILENO);
  assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
  run();
  dup2(keep, STDERR_FILENO);
  close(keep);
  long len = lseek(fileno(file), 0, SEEK_END);
  char *text = calloc(1, (size_t)len + 1);
  assert_int_equal(pread(fileno(file), text, (size_t)len, 0), len);
  fclose(file);
  return text;
}

static void levels(void) {
  log_setup(LEVEL_WARN, FORMAT_TEXT);
  log_line(LEVEL_INFO, "quiet", "not this");
  log_line(LEVEL_ERROR, "loud", "%d %s", 1, "this");
  log_setup(LEVEL_DEBUG, FORMAT_JSON);
  for (int i = 0; i < 50; i++) log_line(LEVEL_DEBUG, "chatter", "all of them");
  log_with(LEVEL_INFO, "pair", LOG_FIELDS(log_number("seq", 7)), "x");
}

static size_t lines_with(const char *text, const char *what) {
  size_t count = 0;
  for (; (text = strstr(text, what)); text += strlen(what)) count++;
  return count;
}

static void levels_and_formats(void **state) {
  (void)state;
  char *text = caught(levels);
  assert_null(strstr(text, "not this"));
  assert_non_null(strstr(text, "Z error loud: 1 this\n"));
  assert_int_equal(lines_with(text, "chatter"), 50);
  assert_non_null(strstr(text, "\"event\":\"pair\",\"seq\":7,\"message\":\"x\"}\n"));
  assert_true(log_wants(LEVEL_DEBUG));
  free(text);
}

static void *talk(void *arg) {
  char name[20];
  snprintf(name, sizeof name, "thread-%d", *(int *)arg);
  for (int i = 0; i < 500; i++) log_with(LEVEL_INFO, name, LOG_FIELDS(log_number("i", i)), "said");
  return NULL;
}

static void many_threads(void) {
  pthread_t threads[8];
  int numbers[8];
  log_setup(LEVEL_INFO, FORMAT_TEXT);
  for (int i = 0; i < 8; i++) {
    numbers[i] = i;
    assert_int_equal(pthread_create(&threads[i], NULL, talk, &numbers[i]), 0);
  }
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}

static void threads_do_not_mix(void **state) {
  (void)state;
  char *text = caught(many_threads);
  size_t lines = 0;
  for (char *save = NULL, *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save), lines++) {
    size_t len = strlen(l);
    assert_true(len > 40 && strstr(l, "Z info thread-") && strcmp(l + len - 6, ": said") == 0);
  }
  assert_int_equal(lines, 8 * LOG_BURST);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(text_lines),
    cmocka_unit_test(nothing_breaks_the_line),
    cmocka_unit_test(long_lines_stay_whole),
    cmocka_unit_test(floods_are_held_back),
    cmocka_unit_test(levels_and_formats),
    cmocka_unit_test(threads_do_not_mix),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
