/* Lines of a stream, however it is cut into reads. */
#include "unit.h"

#include "input.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int ends[2];

static int open_pipe(void **state) {
  (void)state;
  return pipe(ends);
}

static int close_pipe(void **state) {
  (void)state;
  close(ends[0]);
  if (ends[1] >= 0)
    close(ends[1]);
  return 0;
}

static void put(const char *bytes) {
  assert_int_equal(write(ends[1], bytes, strlen(bytes)), (int)strlen(bytes));
}

static void end(void) {
  close(ends[1]);
  ends[1] = -1;
}

static void expect(line_reader *in, line_result result, const char *words) {
  sl_slice line;
  assert_int_equal(line_next(in, false, &line), result);
  if (result == LINE_HERE) {
    assert_int_equal(line.len, strlen(words));
    assert_memory_equal(line.data, words, line.len);
  }
}

static void lines_as_they_come(void **state) {
  (void)state;
  line_reader in;
  line_reader_init(&in, ends[0], 100);
  expect(&in, LINE_PAUSE, NULL);
  put("one\n\ntw");
  expect(&in, LINE_HERE, "one");
  expect(&in, LINE_HERE, "");
  expect(&in, LINE_PAUSE, NULL);
  put("o\r\nthree\r\r\n\rfour");
  expect(&in, LINE_HERE, "two");
  expect(&in, LINE_HERE, "three\r");
  expect(&in, LINE_PAUSE, NULL);
  end();
  expect(&in, LINE_HERE, "\rfour");
  expect(&in, LINE_END, NULL);
  expect(&in, LINE_END, NULL);
  line_reader_free(&in);
  line_reader_free(&in);
}

static void lines_too_long(void **state) {
  (void)state;
  line_reader in;
  line_reader_init(&in, ends[0], 4);
  put("1234\n1234\r\n12345\n12345\r\n1234567");
  expect(&in, LINE_HERE, "1234");
  expect(&in, LINE_HERE, "1234");
  expect(&in, LINE_TOO_LONG, NULL);
  expect(&in, LINE_TOO_LONG, NULL);
  expect(&in, LINE_PAUSE, NULL);
  put("89\r\nab\n123456");
  sl_slice line;
  assert_int_equal(line_next(&in, true, &line), LINE_TOO_LONG);
  assert_int_equal(line.len, 9);
  expect(&in, LINE_HERE, "ab");
  end();
  expect(&in, LINE_TOO_LONG, NULL);
  expect(&in, LINE_END, NULL);
  line_reader_free(&in);
}

/* A line without an end does not grow the buffer beyond a small multiple of the limit. */
static void memory_is_bounded(void **state) {
  (void)state;
  line_reader in;
  char block[16384];
  memset(block, 'x', sizeof block);
  line_reader_init(&in, ends[0], 1000);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(write(ends[1], block, sizeof block), (int)sizeof block);
    expect(&in, LINE_PAUSE, NULL);
  }
  assert_true(in.cap <= 1 << 20);
  put("\nok\n");
  sl_slice line;
  assert_int_equal(line_next(&in, true, &line), LINE_TOO_LONG);
  assert_int_equal(line.len, 16384000);
  expect(&in, LINE_HERE, "ok");
  line_reader_free(&in);
}

static void all_of_it(void **state) {
  (void)state;
  char *data = NULL;
  size_t len = 0;
  put("12345");
  end();
  assert_true(read_all(ends[0], 5, &data, &len));
  assert_int_equal(len, 5);
  free(data);
}

static void more_than_all(void **state) {
  (void)state;
  char *data = NULL;
  size_t len = 0;
  put("123456");
  end();
  assert_false(read_all(ends[0], 5, &data, &len));
  assert_int_equal(errno, EFBIG);
  assert_null(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(lines_as_they_come, open_pipe, close_pipe),
      cmocka_unit_test_setup_teardown(lines_too_long, open_pipe, close_pipe),
      cmocka_unit_test_setup_teardown(memory_is_bounded, open_pipe, close_pipe),
      cmocka_unit_test_setup_teardown(all_of_it, open_pipe, close_pipe),
      cmocka_unit_test_setup_teardown(more_than_all, open_pipe, close_pipe)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
