/* Ids: canonical text, UUIDv7 that ascend, over threads and forks, prefixes, the index's keys. */
#include "unit.h"

#include "base/clock.h"
#include "base/id.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID "0190a5d2-1fa3-7abc-8def-0123456789ab"

static void only_canonical_text_is_a_uuid(void **state) {
  (void)state;
  uint8_t uuid[16];
  char text[37] = {0};
  assert_true(sl_uuid_parse(SL_STR(ID), uuid));
  assert_int_equal(uuid[0], 0x01);
  assert_int_equal(uuid[15], 0xab);
  sl_uuid_format(uuid, text);
  assert_string_equal(text, ID);
  assert_true(sl_uuid_parse(SL_STR("00000000-0000-0000-0000-000000000000"), uuid));
  assert_true(sl_uuid_parse(SL_STR("ffffffff-ffff-ffff-ffff-ffffffffffff"), uuid));
  static const char *none[] = {
    "", "0190A5D2-1fa3-7abc-8def-0123456789ab", "0190a5d21fa37abc8def0123456789ab",
    "{0190a5d2-1fa3-7abc-8def-0123456789ab}", "0190a5d2-1fa3-7abc-8def-0123456789a",
    "0190a5d2-1fa3-7abc-8def-0123456789ab0", "0190a5d2_1fa3-7abc-8def-0123456789ab",
    "0190a5d2-1fa37-abc-8def-0123456789ab", "0190a5d2-1fa3-7abc-8def-0123456789ag",
    "urn:uuid:0190a5d2-1fa3-7abc-8def-012", "0190a5d2-1fa3-7abc-8def-01234567-9ab"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_false(sl_uuid_parse(sl_slice_of(none[i]),
                                                                                     uuid));
  /* nothing but the 36 places of the canonical text, whatever stands in one of them */
  for (int at = 0; at < 36; at++)
    for (int c = 0; c < 256; c++) {
      memcpy(text, ID, 36);
      text[at] = (char)c;
      bool hyphen = at == 8 || at == 13 || at == 18 || at == 23;
      bool good = hyphen ? c == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      assert_int_equal(sl_uuid_parse(SL_BYTES(text, 36), uuid), good);
    }
}

static void v7_has_version_variant_and_time(void **state) {
  (void)state;
  uint8_t uuid[16];
  assert_true(sl_uuid_v7(INT64_C(0x0190a5d21fa3), uuid));
  static const uint8_t time[6] = {0x01, 0x90, 0xa5, 0xd2, 0x1f, 0xa3};
  assert_memory_equal(uuid, time, 6);
  assert_int_equal(uuid[6] >> 4, 7);
  assert_int_equal(uuid[8] >> 6, 2);
}

static void new_ids_are_uuids_of_now_and_ascend(void **state) {
  (void)state;
  char last[37] = "", id[37];
  uint8_t uuid[16];
  int64_t before = sl_clock_wall_us() / 1000;
  for (int i = 0; i < 100000; i++) {
    assert_ok(sl_event_id_new(id));
    assert_int_equal(strlen(id), 36);
    /* but for a wall clock that steps back meanwhile */
    if (memcmp(last, id, 13) <= 0) assert_true(strcmp(last, id) < 0);
    memcpy(last, id, 37);
  }
  assert_true(sl_uuid_parse(sl_slice_of(id), uuid));
  int64_t ms = 0;
  for (int i = 0; i < 6; i++) ms = ms << 8 | uuid[i];
  assert_in_range(ms, before, sl_clock_wall_us() / 1000);
}

static void one_millisecond_ascends_and_another_begins_anew(void **state) {
  (void)state;
  uint8_t last[16] = {0}, uuid[16], other[16];
  for (int i = 0; i < 10000; i++) {
    assert_true(sl_uuid_v7(1000, uuid));
    assert_true(memcmp(last, uuid, 16) < 0);
    memcpy(last, uuid, 16);
  }
  assert_true(sl_uuid_v7(999, other)); /* a clock that stepped back: the time given is the time taken */
  assert_int_equal(other[4] << 8 | other[5], 999);
  assert_memory_not_equal(other + 8, last + 8, 8);
}

#define THREADS 4
#define EACH 20000

static void *make_ids(void *arg) {
  uint8_t(*ids)[16] = arg;
  for (int i = 0; i < EACH; i++)
    if (!sl_uuid_v7(5000, ids[i])) return arg;
  return NULL;
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, 16); }

static void threads_never_share_an_id(void **state) {
  (void)state;
  uint8_t(*ids)[16] = malloc((size_t)THREADS * EACH * 16);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, make_ids,
                                                                    ids + i * EACH), 0);
  for (int i = 0; i < THREADS; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    assert_null(failed);
  }
  qsort(ids, THREADS * EACH, 16, by_bytes);
  for (int i = 1; i < THREADS * EACH; i++) assert_memory_not_equal(ids[i - 1], ids[i], 16);
  free(ids);
}

/* All of them in one millisecond, when only the random part can tell them apart. */
static void a_forked_child_never_repeats_its_parent(void **state) {
  (void)state;
  enum { CHILDREN = 4, N = 100 };
  static uint8_t ids[(CHILDREN + 1) * N][16];
  assert_true(sl_uuid_v7(7000, ids[0])); /* fills the parent's block before the fork */
  int pipes[CHILDREN][2];
  for (int c = 0; c < CHILDREN; c++) {
    assert_int_equal(pipe(pipes[c]), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      bool ok = true;
      for (int i = 0; i < N; i++) {
        uint8_t uuid[16];
        ok = ok && sl_uuid_v7(7000, uuid) && write(pipes[c][1], uuid, 16) == 16;
      }
      _exit(ok ? 0 : 1);
    }
    close(pipes[c][1]);
    for (int i = 0; i < N; i++) assert_int_equal(read(pipes[c][0], ids[(c + 1) * N + i], 16), 16);
    close(pipes[c][0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
  }
  for (int i = 1; i < N; i++) assert_true(sl_uuid_v7(7000, ids[i]));
  qsort(ids, (CHILDREN + 1) * N, 16, by_bytes);
  for (int i = 1; i < (CHILDREN + 1) * N; i++) assert_memory_not_equal(ids[i - 1], ids[i], 16);
}

static void random_bytes_are_not_constant(void **state) {
  (void)state;
  uint8_t a[700] = {0}, b[700] = {0};
  assert_true(sl_random(a, sizeof a));
  assert_true(sl_random(b, sizeof b));
  assert_memory_not_equal(a, b, sizeof a);
  assert_memory_not_equal(a + 600, b + 600, 100);
}

static void prefixes_span_their_uuids(void **state) {
  (void)state;
  static const struct { const char *prefix, *low, *high; } rows[] = {
    {"0", "00000000-0000-0000-0000-000000000000", "0fffffff-ffff-ffff-ffff-ffffffffffff"},
    {"0190a5d2", "0190a5d2-0000-0000-0000-000000000000", "0190a5d2-ffff-ffff-ffff-ffffffffffff"},
    {"0190a5d2-", "0190a5d2-0000-0000-0000-000000000000", "0190a5d2-ffff-ffff-ffff-ffffffffffff"},
    {"0190A5D2-1F", "0190a5d2-1f00-0000-0000-000000000000", "0190a5d2-1fff-ffff-ffff-ffffffffffff"},
    {"0190a5d2-1fa3-7", "0190a5d2-1fa3-7000-0000-000000000000", "0190a5d2-1fa3-7fff-ffff-ffffffffffff"},
    {ID, ID, ID}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint8_t low[16], high[16];
    char text[37] = {0};
    assert_true(sl_uuid_prefix_range(sl_slice_of(rows[i].prefix), low, high));
    sl_uuid_format(low, text);
    assert_string_equal(text, rows[i].low);
    sl_uuid_format(high, text);
    assert_string_equal(text, rows[i].high);
  }
  static const char *none[] = {"", "x", "-", "0190a5d21", "0190a5d2-1fa37", "0190a5d2--", "01 ", ID "0",
  "0190a5d-"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    uint8_t low[16], high[16];
    assert_false(sl_uuid_prefix_range(sl_slice_of(none[i]), low, high));
  }
}

static void index_keys_are_stable(void **state) {
  (void)state;
  uint8_t key[16], uuid[16];
  assert_true(sl_uuid_parse(SL_STR(ID), uuid));
  sl_id_key(SL_STR(ID), key);
  assert_memory_equal(key, uuid, 16);
  /* XXH3-128 of the empty text and of "order-42", big-endian: on disk, so they may never change */
  static const uint8_t none[16] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                   0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f};
  sl_id_key(SL_BYTES(NULL, 0), key);
  assert_memory_equal(key, none, 16);
  static const uint8_t order[16] = {0xd3, 0x03, 0xab, 0x4e, 0xcd, 0x50, 0x1a, 0x89,
                                    0xfb, 0xc3, 0x5a, 0x92, 0xd7, 0xec, 0x0b, 0x0a};
  sl_id_key(SL_STR("order-42"), key);
  assert_memory_equal(key, order, 16);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_canonical_text_is_a_uuid),
    cmocka_unit_test(v7_has_version_variant_and_time),
    cmocka_unit_test(new_ids_are_uuids_of_now_and_ascend),
    cmocka_unit_test(one_millisecond_ascends_and_another_begins_anew),
    cmocka_unit_test(threads_never_share_an_id),
    cmocka_unit_test(a_forked_child_never_repeats_its_parent),
    cmocka_unit_test(random_bytes_are_not_constant),
    cmocka_unit_test(prefixes_span_their_uuids),
    cmocka_unit_test(index_keys_are_stable)};
  return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
