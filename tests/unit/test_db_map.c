/* The map of an environment: full, outgrown by another process, wished larger. */
#include "db_kit.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static void test_a_small_map_is_full_and_recovers(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->options.map_size = 1u << 20;
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  char value[3000];
  memset(value, 'x', sizeof value);
  uint64_t key = 0, count;
  sl_status status = SL_OK;
  db_txn *txn;
  while (status == SL_OK && key < 1000) {
    key++;
    assert_ok(db_begin_write(r->env, false, &txn));
    db_append(txn, NUMBERS, db_u64(&key), SL_BYTES(value, sizeof value));
    status = db_commit(txn);
  }
  assert_int_equal(status, SL_E_FULL);
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, key - 1); /* all that was acknowledged, nothing of the one that was not */
  db_abort(txn);
}

static time_t wall_moved;

/* In place of the C library's, for the whole program. */
int clock_gettime(clockid_t id, struct timespec *now) {
  int rc = (int)syscall(SYS_clock_gettime, id, now);
  if (id == CLOCK_REALTIME) now->tv_sec += wall_moved;
  return rc;
}

/* Another process needs more of the file than our map covers. */
static void outgrow(room *r, db_txn **reader) {
  db_env_close(r->env);
  r->options.map_size = 1u << 20;
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  if (reader) assert_ok(db_begin_read(r->env, reader));
  pid_t pid = fork();
  if (pid == 0) {
    room child = *r;
    child.options.map_size = 64u << 20;
    if (db_env_open(child.dir, tables, TABLES, &child.options, &child.env) != SL_OK) _exit(1);
    char value[3000];
    memset(value, 'x', sizeof value);
    db_txn *txn;
    if (db_begin_write(child.env, false, &txn) != SL_OK) _exit(2);
    for (uint64_t i = 1; i <= 1000; i++) db_append(txn, NUMBERS, db_u64(&i), SL_BYTES(value, sizeof value));
    _exit(db_commit(txn) == SL_OK ? 0 : 3);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
}

static void test_a_map_that_another_process_outgrew(void **state) {
  room *r = *state;
  outgrow(r, NULL);
  put_number(r, 5000, "beyond the old map");
}

/* Who must wait until this process has no other transaction waits half a second, whatever the wall clock does. */
static void test_a_clock_that_jumps_while_a_map_must_grow(void **state) {
  room *r = *state;
  db_txn *reader, *writer;
  struct timespec before, after;
  outgrow(r, &reader);
  wall_moved = -86400;
  clock_gettime(CLOCK_MONOTONIC, &before);
  assert_fails(db_begin_write(r->env, false, &writer), SL_E_IO, "are still open: end them and try again");
  clock_gettime(CLOCK_MONOTONIC, &after);
  wall_moved = 0;
  const double waited = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
  assert_true(waited > 0.45 && waited < 30);
  db_abort(reader);
  put_number(r, 5000, "beyond the old map");
}

static void test_a_wish_for_too_much_address_space_is_halved(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->options.map_size = UINT64_C(1) << 50;
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  assert_true(info.map_size < r->options.map_size);
  put_number(r, 1, "works");
}

static uint64_t last_key(room *r) {
  db_txn *txn;
  db_cur *cur;
  sl_slice key, value;
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_cur_open(txn, NUMBERS, &cur));
  assert_ok(db_cur_move(cur, DB_LAST, &key, &value));
  const uint64_t last = sl_get_u64(key.data);
  db_cur_close(cur);
  db_abort(txn);
  return last;
}

/* Pointers into the old map are good until then. */
static void test_a_map_grows_when_nobody_is_in_it(void **state) {
  room *r = *state;
  db_txn *reader;
  sl_slice value;
  const uint64_t key = 1, wish = 256u << 20, before = db_env_map_size(r->env);
  put_number(r, 1, "old");
  assert_ok(db_begin_read(r->env, &reader));
  assert_ok(db_get(reader, NUMBERS, db_u64(&key), &value));
  db_env_wish_map(r->env, wish);
  put_number(r, 2, "beside the reader");
  assert_int_equal(db_env_map_size(r->env), before);
  assert_slice(value, "old");
  db_abort(reader);
  put_number(r, 3, "in the new map");
  assert_int_equal(db_env_map_size(r->env), wish);
  db_env_wish_map(r->env, before);
  put_number(r, 4, "it does not shrink");
  assert_int_equal(db_env_map_size(r->env), wish);
  assert_int_equal(last_key(r), 4);
}

static void test_a_map_that_cannot_grow_stays(void **state) {
  room *r = *state;
  const uint64_t before = db_env_map_size(r->env);
  db_env_wish_map(r->env, UINT64_C(1) << 50);
  put_number(r, 1, "works");
  assert_int_equal(db_env_map_size(r->env), before);
  assert_int_equal(last_key(r), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, room_setup, room_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_a_small_map_is_full_and_recovers),
    TEST(test_a_map_that_another_process_outgrew),
    TEST(test_a_clock_that_jumps_while_a_map_must_grow),
    TEST(test_a_wish_for_too_much_address_space_is_halved),
    TEST(test_a_map_grows_when_nobody_is_in_it),
    TEST(test_a_map_that_cannot_grow_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
