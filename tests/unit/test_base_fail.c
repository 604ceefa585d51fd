/* Failures: the detail is of the thread, whole, and of what happened last. Names of statuses, buffers, clocks. */
#include "unit.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <pthread.h>

static void says_what_happened(void **state) {
  (void)state;
  assert_int_equal(sl_fail(SL_E_IO, "cannot read %s", "/a/b"), SL_E_IO);
  assert_string_equal(sl_last_detail(), "cannot read /a/b");
  assert_int_equal(sl_fail_context(SL_E_CORRUPT, "event %d", 7), SL_E_CORRUPT);
  assert_string_equal(sl_last_detail(), "event 7: cannot read /a/b");
}

static void may_quote_itself(void **state) {
  (void)state;
  (void)sl_fail(SL_E_IO, "inner");
  (void)sl_fail(SL_E_IO, "outer (%s)", sl_last_detail());
  assert_string_equal(sl_last_detail(), "outer (inner)");
}

static void leaves_errno_alone(void **state) {
  (void)state;
  errno = ENOSPC;
  (void)sl_fail(SL_E_FULL, "%s", "full");
  assert_int_equal(errno, ENOSPC);
}

static void is_one_line_of_utf8(void **state) {
  (void)state;
  (void)sl_fail(SL_E_INVALID, "a\nb\tc\x1b[31m \xff \xc3\xa9 \xed\xa0\x80 \xe2\x82");
  assert_string_equal(sl_last_detail(), "a b c [31m ? \xc3\xa9 ??? ??");
}

static void a_long_one_is_cut_between_characters(void **state) {
  (void)state;
  char text[2000];
  for (size_t i = 0; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
  for (int shift = 0; shift < 3; shift++) {
    (void)sl_fail(SL_E_INVALID, "%.*s%.*s", shift, "xx", 1998, text);
    const char *detail = sl_last_detail();
    assert_in_range(strlen(detail), 1020, 1023);
    assert_true(sl_utf8_valid(sl_slice_of(detail)));
    assert_null(strchr(detail, '?'));
    (void)sl_fail_context(SL_E_INVALID, "front");
    assert_in_range(strlen(sl_last_detail()), 1020, 1023);
    assert_true(sl_utf8_valid(sl_slice_of(sl_last_detail())));
  }
}

static void *other_thread(void *arg) {
  (void)arg;
  char *first = strdup(sl_last_detail());
  (void)sl_fail(SL_E_IO, "theirs");
  return first;
}

static void belongs_to_the_thread(void **state) {
  (void)state;
  (void)sl_fail(SL_E_IO, "mine");
  pthread_t thread;
  void *first;
  assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
  assert_int_equal(pthread_join(thread, &first), 0);
  assert_string_equal(first, "");
  free(first);
  assert_string_equal(sl_last_detail(), "mine");
}

static void errno_to_status(void **state) {
  (void)state;
  assert_int_equal(sl_status_of_errno(ENOSPC), SL_E_FULL);
  assert_int_equal(sl_status_of_errno(EDQUOT), SL_E_FULL);
  assert_int_equal(sl_status_of_errno(EROFS), SL_E_ACCESS);
  assert_int_equal(sl_status_of_errno(EACCES), SL_E_ACCESS);
  assert_int_equal(sl_status_of_errno(ENOMEM), SL_E_NOMEM);
  assert_int_equal(sl_status_of_errno(EIO), SL_E_IO);
}

static void every_status_and_state_has_a_name(void **state) {
  (void)state;
  for (int i = SL_OK; i <= SL_E_UNCERTAIN; i++) {
    assert_string_not_equal(sl_status_text((sl_status)i), "unknown status");
    for (int k = 0; k < i; k++)
      assert_string_not_equal(sl_status_text((sl_status)i), sl_status_text((sl_status)k));
  }
  assert_string_equal(sl_status_text((sl_status)999), "unknown status");
  assert_string_equal(sl_status_text(SL_E_FULL), "store full");
  static const char *states[SL_STATE_COUNT] = {"pending", "sent", "duplicate", "dead", "dropped"};
  for (int i = 0; i < SL_STATE_COUNT; i++) assert_string_equal(sl_state_text((sl_state)i), states[i]);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", SL_VERSION_MAJOR, SL_VERSION_MINOR, SL_VERSION_PATCH);
  assert_string_equal(sl_version(), version);
}

static void buffers_grow_and_stay_failed(void **state) {
  (void)state;
  sl_buf buf = {0};
  for (int i = 0; i < 1000; i++) sl_buf_append(&buf, "0123456789", 10);
  assert_int_equal(buf.len, 10000);
  assert_memory_equal(buf.data + 9990, "0123456789", 10);
  sl_buf_append(&buf, NULL, 0);
  assert_null(sl_buf_extend(&buf, SIZE_MAX - 20));
  assert_true(buf.failed);
  sl_buf_append(&buf, "x", 1);
  assert_int_equal(buf.len, 10000);
  sl_buf_reset(&buf);
  sl_buf_append(&buf, "x", 1);
  assert_int_equal(buf.len, 1);
  sl_buf_free(&buf);
  sl_buf_free(&buf);
  assert_non_null(sl_buf_extend(&buf, 0));
  sl_buf_free(&buf);
}

static void clocks_run(void **state) {
  (void)state;
  assert_true(sl_clock_wall_us() > INT64_C(1600000000000000));
  int64_t last = sl_clock_monotonic_us();
  for (int i = 0; i < 1000; i++) {
    int64_t now = sl_clock_monotonic_us();
    assert_true(now >= last);
    last = now;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(says_what_happened),
    cmocka_unit_test(may_quote_itself),
    cmocka_unit_test(leaves_errno_alone),
    cmocka_unit_test(is_one_line_of_utf8),
    cmocka_unit_test(a_long_one_is_cut_between_characters),
    cmocka_unit_test(belongs_to_the_thread),
    cmocka_unit_test(errno_to_status),
    cmocka_unit_test(every_status_and_state_has_a_name),
    cmocka_unit_test(buffers_grow_and_stay_failed),
    cmocka_unit_test(clocks_run)};
  return cmocka_run_group_tests_name("failures, buffers, clocks", tests, NULL, NULL);
}
