/* Memory for long stories: what is in it stays, on whichever side of its bound, and where no file can be made. */
#include "unit.h"

#include "room.h"

#include <sys/resource.h>
#include <signal.h>

#if defined(__linux__)
enum { FILES = true };
#else
enum { FILES = false };
#endif

static void fill_and_check(bool mapped) {
  room r = {0};
  uint32_t *numbers = NULL;
  for (uint32_t i = 0; i < 300000; i++) {
    numbers = room_need(&r, (i + 1) * sizeof *numbers);
    numbers[i] = i * 7;
    assert_true(r.size >= (i + 1) * sizeof *numbers);
    assert_int_equal(r.mapped, mapped && r.size > ROOM_BOUND);
  }
  for (uint32_t i = 0; i < 300000; i++)
    assert_int_equal(numbers[i], i * 7);
  room_free(&r);
  room_free(&r);
  assert_null(r.data);
}

static void grows_into_a_file(void **state) {
  (void)state;
  fill_and_check(FILES);
}

/* No file may be larger than `most`. */
static void limit_files(rlim_t most) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = most;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void without_files(void **state) {
  (void)state;
  signal(SIGXFSZ, SIG_IGN);
  limit_files(0);
  fill_and_check(false);
  limit_files(200000); /* full on the way */
  room r = {0};
  unsigned char *bytes = room_need(&r, 150000);
  assert_int_equal(r.mapped, FILES);
  memset(bytes, 42, 150000);
  bytes = room_need(&r, 1000000);
  assert_false(r.mapped);
  for (size_t i = 0; i < 150000; i++)
    assert_int_equal(bytes[i], 42);
  room_free(&r);
  limit_files(RLIM_INFINITY);
}

static void texts_stay_where_they_are(void **state) {
  (void)state;
  enum { COUNT = 40000 };
  static const char *kept[COUNT];
  static char large[100000];
  room_texts t = {0};
  char words[32];
  memset(large, 'x', sizeof large);
  for (int i = 0; i < COUNT; i++) {
    snprintf(words, sizeof words, "text %d", i);
    kept[i] = room_copy(&t, sl_slice_of(words));
  }
  assert_int_equal(strlen(room_copy(&t, SL_BYTES(large, sizeof large))), sizeof large);
  assert_string_equal(room_copy(&t, (sl_slice){NULL, 0}), "");
  for (int i = 0; i < COUNT; i++) {
    snprintf(words, sizeof words, "text %d", i);
    assert_string_equal(kept[i], words);
  }
  room_texts_free(&t);
  room_texts_free(&t);
}

typedef struct pair {
  uint32_t key, place;
} pair;

static int by_key(const void *a, const void *b, void *down) {
  const pair *x = a, *y = b;
  int order = (x->key > y->key) - (x->key < y->key);
  return down ? -order : order;
}

static void sorts_and_keeps_the_order_of_equals(void **state) {
  (void)state;
  static pair items[50000];
  random_seed();
  for (int round = 0; round < 60; round++) {
    size_t count = round < 50 ? random_below(40) : random_below(50000);
    uint32_t keys = round % 2 ? 10 : 100000;
    void *down = round % 3 ? NULL : items;
    for (uint32_t i = 0; i < count; i++)
      items[i] = (pair){round % 5 ? (uint32_t)random_below(keys) : i, i};
    assert_true(room_sort(items, count, sizeof *items, by_key, down));
    for (size_t i = 1; i < count; i++) {
      int order = by_key(&items[i - 1], &items[i], down);
      assert_true(order < 0 || (order == 0 && items[i - 1].place < items[i].place));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(grows_into_a_file), cmocka_unit_test(without_files),
                                     cmocka_unit_test(texts_stay_where_they_are),
                                     cmocka_unit_test(sorts_and_keeps_the_order_of_equals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
