/* Keeping pages together (db_gather.c): that it does, and beside damage: it looks at pages that an append has no need of,
 * and so must not fall over them. */
#include "unit.h"

#include "db/db.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, EVENTS = 1000 };
static const db_table_def tables[] = {{"events", DB_INTKEY | DB_TAIL}, {"meta", 0}, {NULL, 0}};
enum { TABLES = sizeof tables / sizeof *tables };
static const db_env_options options = {
  .map_size = 64u << 20, .map_floor = 1u << 20, .max_readers = 64, .mode = 0600, .create = true};

static char dir[4096];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static int setup(void **state) {
  (void)state;
  const char *tmp = getenv("TMPDIR");
  snprintf(dir, sizeof dir, "%s/sidelog-gather.XXXXXX", tmp ? tmp : "/tmp");
  return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static sl_status append(db_env *env, uint64_t from, uint64_t count) {
  static const char value[200];
  sl_status status = SL_OK;
  db_txn *txn;
  for (uint64_t key = from; status == SL_OK && key < from + count; key++) {
    status = db_begin_write(env, false, &txn);
    if (status != SL_OK) break;
    db_append(txn, 0, db_u64(&key), SL_BYTES(value, sizeof value));
    status = db_commit(txn);
  }
  return status;
}

/* The number of the page that an event stands on. */
static uint64_t page_of(db_env *env, uint64_t key) {
  db_txn *txn;
  sl_slice value;
  assert_ok(db_begin_read(env, &txn));
  assert_ok(db_get(txn, 0, db_u64(&key), &value));
  const uint64_t page = sl_get_u64((const uint8_t *)((uintptr_t)value.data & ~(uintptr_t)(PAGE - 1)));
  db_abort(txn);
  return page;
}

/* A producer goes on in front of damage in an event that was appended a moment ago, as it does elsewhere in the file;
 * nothing else may be lost by it. */
static void producer_goes_on(size_t at, const void *bytes, size_t len) {
  db_env *env;
  char path[4200];
  assert_ok(db_env_open(dir, tables, TABLES, &options, &env));
  db_env_allow_slack(env, 1 << 20);
  assert_ok(append(env, 1, EVENTS));
  const uint64_t page = page_of(env, EVENTS - 60), newest = page_of(env, EVENTS);
  assert_int_not_equal(page, newest);
  db_env_close(env);
  snprintf(path, sizeof path, "%s/data.mdb", dir);
  const int fd = open(path, O_RDWR);
  assert_int_equal(pwrite(fd, bytes, len, (off_t)(page * PAGE + at)), (ssize_t)len);
  close(fd);
  const pid_t child = fork();
  if (child == 0) {
    if (db_env_open(dir, tables, TABLES, &options, &env) != SL_OK) _exit(1);
    db_env_allow_slack(env, 1 << 20);
    if (append(env, EVENTS + 1, 100) != SL_OK) _exit(2);
    for (uint64_t key = EVENTS - 20; key <= EVENTS + 100; key++) (void)page_of(env, key);
    _exit(0);
  }
  int code;
  waitpid(child, &code, 0);
  assert_int_equal(code, 0);
}

static void test_a_page_of_zeros(void **state) {
  (void)state;
  static const uint8_t zeros[PAGE];
  producer_goes_on(0, zeros, PAGE);
}

static void test_a_page_of_another_kind(void **state) {
  (void)state;
  producer_goes_on(10, "\x01\x00", 2);
}

static void test_a_page_with_too_many_records(void **state) {
  (void)state;
  producer_goes_on(12, "\xff\xff", 2);
}

static void test_records_that_lie_elsewhere(void **state) {
  (void)state;
  producer_goes_on(16, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
}

/* LMDB gives back the page that a page's head names: it would be one that is in use. */
static void test_a_page_that_calls_itself_by_another_number(void **state) {
  (void)state;
  producer_goes_on(0, "\x03", 1);
}

/* What this process wrote, ever. No calls: the system does not count them. */
typedef struct written { unsigned long long calls, bytes; } written;

static written written_so_far(void) {
  char line[128];
  written so_far = {0};
  FILE *f = fopen("/proc/self/io", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "wchar: %llu", &so_far.bytes) == 0) (void)sscanf(line, "syscw: %llu", &so_far.calls);
  if (f) fclose(f);
  return so_far;
}

/* What sixteen producers commit together: a row of leaves, and six pages that are free again with the next commit; the
 * tickets stand on one of them, and cost none of their own. LMDB left to itself comes to five runs, each of which makes
 * the flush longer. */
static void test_commits_of_sixteen_write_few_runs(void **state) {
  (void)state;
  enum { COMMITS = 3000, COUNTED = 1000, TOGETHER = 16 };
  static const char value[1024], tickets[1024];
  if (written_so_far().calls == 0) skip();
  db_env *env;
  db_txn *txn;
  uint64_t key = 0;
  written before = {0};
  db_env_options large = options;
  large.map_size = 256u << 20;
  assert_ok(db_env_open(dir, tables, TABLES, &large, &env));
  db_env_allow_slack(env, 1 << 20);
  for (unsigned commit = 0; commit < COMMITS; commit++) {
    if (commit == COMMITS - COUNTED) before = written_so_far();
    assert_ok(db_begin_write(env, true, &txn)); /* for speed */
    for (unsigned i = 0; i < TOGETHER; i++) {
      key++;
      db_append(txn, 0, db_u64(&key), SL_BYTES(value, sizeof value));
    }
    db_put(txn, TABLES - 1, SL_STR("tickets"), SL_BYTES(tickets, sizeof tickets));
    assert_ok(db_commit(txn));
  }
  const written now = written_so_far();
  db_env_close(env);
  assert_in_range(now.calls - before.calls - COUNTED, COUNTED, COUNTED * 32 / 10); /* one call is for the meta page */
  assert_in_range((now.bytes - before.bytes) / PAGE, COUNTED * 9, COUNTED * 106 / 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_commits_of_sixteen_write_few_runs),
    TEST(test_a_page_of_zeros),
    TEST(test_a_page_of_another_kind),
    TEST(test_a_page_with_too_many_records),
    TEST(test_records_that_lie_elsewhere),
    TEST(test_a_page_that_calls_itself_by_another_number),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
