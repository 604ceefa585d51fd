/* The door to LMDB: tables, sticky errors, kept readers, damaged files. */
#include "unit.h"

#include "db/db.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__)
# include <malloc.h>
#endif

enum { NUMBERS, NAMES, PAIRS, TABLES };
static const db_table_def tables[TABLES] = {
  {"numbers", DB_INTKEY | DB_TAIL}, {"names", 0}, {"pairs", DB_DUPFIXED | DB_DUPINT}};

typedef struct room {
  char dir[4096], data[4200];
  db_env_options options;
  db_env *env;
} room;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static int setup(void **state) {
  room *r = calloc(1, sizeof *r);
  const char *tmp = getenv("TMPDIR");
  snprintf(r->dir, sizeof r->dir, "%s/sidelog-db.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(r->dir)) return -1;
  snprintf(r->data, sizeof r->data, "%s/data.mdb", r->dir);
  r->options = (db_env_options){.map_size = 64u << 20, .map_floor = 1u << 20, .max_readers = 64, .mode = 0600,
                                .create = true};
  *state = r;
  return db_env_open(r->dir, tables, TABLES, &r->options, &r->env) == SL_OK ? 0 : -1;
}

static int teardown(void **state) {
  room *r = *state;
  db_env_close(r->env);
  nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  free(r);
  return 0;
}

static void put_number(room *r, uint64_t key, const char *value) {
  db_txn *txn;
  assert_ok(db_begin_write(r->env, false, &txn));
  db_put(txn, NUMBERS, db_u64(&key), sl_slice_of(value));
  assert_ok(db_commit(txn));
}

static void test_what_is_committed_is_read(void **state) {
  room *r = *state;
  db_txn *txn;
  sl_slice value;
  uint64_t key = 7, count;
  put_number(r, key, "seven");
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_get(txn, NUMBERS, db_u64(&key), &value));
  assert_slice(value, "seven");
  key = 8;
  assert_int_equal(db_get(txn, NUMBERS, db_u64(&key), &value), SL_NOTFOUND);
  assert_ok(db_txn_status(txn)); /* a miss is no error */
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 1);
  db_abort(txn);
}

static void test_a_snapshot_stays_as_it_was(void **state) {
  room *r = *state;
  db_txn *old;
  sl_slice value;
  uint64_t key = 1;
  put_number(r, 1, "old");
  assert_ok(db_begin_read(r->env, &old));
  put_number(r, 1, "new");
  assert_ok(db_get(old, NUMBERS, db_u64(&key), &value));
  assert_slice(value, "old");
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 1);
  assert_true(info.reader_lag > 0);
  db_abort(old);
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 0); /* the kept transaction is at rest and holds no space */
}

static bool holds(room *r, db_kept *kept) {
  db_txn *txn;
  bool same;
  assert_ok(db_begin_kept(r->env, kept, &same, &txn));
  db_abort(txn);
  return same;
}

static void test_what_is_kept_holds_for_one_snapshot_in_one_map(void **state) {
  room *r = *state;
  db_kept kept = {0};
  put_number(r, 1, "one");
  assert_false(holds(r, &kept));
  assert_true(holds(r, &kept));
  put_number(r, 2, "two");
  assert_false(holds(r, &kept));
  assert_true(holds(r, &kept));
  kept.opening++; /* of the same snapshot in another map */
  assert_false(holds(r, &kept));
}

static void test_the_first_error_stays_and_nothing_is_stored(void **state) {
  room *r = *state;
  db_txn *txn;
  sl_slice value;
  uint64_t key = 5, lower = 4, count;
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_append(txn, NUMBERS, db_u64(&key), SL_STR("five")));
  assert_fails(db_append(txn, NUMBERS, db_u64(&lower), SL_STR("four")), SL_E_INVALID, "ascending");
  assert_int_equal(db_put(txn, NUMBERS, db_u64(&key), SL_STR("x")), SL_E_INVALID);
  assert_int_equal(db_get(txn, NUMBERS, db_u64(&key), &value), SL_E_INVALID);
  assert_int_equal(db_commit(txn), SL_E_INVALID);
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 0);
  db_abort(txn);
}

static void test_cursors_walk_both_ways_and_through_values(void **state) {
  room *r = *state;
  db_txn *txn;
  db_cur *cur;
  sl_slice key, value;
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_cur_open(txn, PAIRS, &cur));
  for (uint64_t i = 0; i < 30; i++) {
    uint64_t v = i;
    assert_ok(db_cur_put_sorted(cur, i < 10 ? SL_STR("a") : i < 11 ? SL_STR("b") : SL_STR("c"), db_u64(&v),
                                 i != 0 && i != 10 && i != 11));
  }
  db_cur_close(cur);
  assert_ok(db_commit(txn));
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_cur_open(txn, PAIRS, &cur));
  key = SL_STR("c");
  assert_ok(db_cur_move(cur, DB_FIND, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 11);
  assert_ok(db_cur_move(cur, DB_LAST_VALUE, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 29);
  assert_slice(key, "c");
  assert_int_equal(db_cur_move(cur, DB_NEXT_VALUE, &key, &value), SL_NOTFOUND);
  uint64_t from = 15;
  key = SL_STR("c"), value = db_u64(&from);
  assert_ok(db_cur_move(cur, DB_SEEK_VALUE, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 15);
  assert_ok(db_cur_move(cur, DB_FIRST, &key, &value));
  assert_ok(db_cur_move(cur, DB_NEXT_KEY, &key, &value));
  assert_slice(key, "b");
  assert_ok(db_cur_move(cur, DB_LAST_VALUE, &key, &value)); /* of a key with one value */
  assert_slice(key, "b");
  assert_int_equal(sl_get_u64(value.data), 10);
  assert_ok(db_cur_move(cur, DB_PREV, &key, &value));
  assert_int_equal(sl_get_u64(value.data), 9);
  db_cur_close(cur);
  db_abort(txn);
}

static void test_an_emptied_table_is_empty_and_usable(void **state) {
  room *r = *state;
  db_txn *txn;
  uint64_t count;
  put_number(r, 1, "one");
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_empty(txn, NUMBERS));
  assert_ok(db_commit(txn));
  put_number(r, 2, "two");
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NUMBERS, &count));
  assert_int_equal(count, 1);
  db_abort(txn);
}

static void fill(room *r, unsigned commits) {
  char value[3000];
  memset(value, 'x', sizeof value);
  for (uint64_t i = 1; i <= commits; i++) {
    db_txn *txn;
    assert_ok(db_begin_write(r->env, false, &txn));
    assert_ok(db_append(txn, NUMBERS, db_u64(&i), SL_BYTES(value, sizeof value)));
    assert_ok(db_commit(txn));
  }
}

static void test_a_file_cut_off_is_refused(void **state) {
  room *r = *state;
  struct stat st;
  fill(r, 50);
  db_env_close(r->env);
  r->env = NULL;
  assert_int_equal(stat(r->data, &st), 0);
  /* Every page boundary, and the middle of a page: whatever is refused must not be a crash. */
  for (off_t size = st.st_size - 4096; size >= 0; size -= 2048) {
    assert_int_equal(truncate(r->data, size), 0);
    r->options.create = size % 4096 == 0;
    sl_status status = db_env_open(r->dir, tables, TABLES, &r->options, &r->env);
    if (status == SL_OK) { /* only pages that the free list holds were cut, or all was: an empty file is new */
      db_env_close(r->env);
      r->env = NULL;
      if (size == 0) break;
      assert_true(size > st.st_size - 5 * 4096);
    } else if (size >= 8192 + 4096) {
      assert_int_equal(status, SL_E_CORRUPT);
      assert_non_null(strstr(sl_last_detail(), "data.mdb is"));
      assert_non_null(strstr(sl_last_detail(), "pages"));
    } else {
      assert_true(status == SL_E_CORRUPT || status == SL_E_NO_STORE);
    }
  }
}

/* Pages taken and given back in one transaction are never written: the file is shorter than its meta page
 * says, and sound. */
static void test_a_file_that_ends_in_free_pages_opens(void **state) {
  room *r = *state;
  db_txn *txn;
  uint64_t key = 1;
  char big[200000];
  memset(big, 'b', sizeof big);
  put_number(r, 2, "stays");
  put_number(r, 2, "stays on"); /* now there is a free list */
  put_number(r, 2, "stays");
  assert_ok(db_begin_write(r->env, false, &txn));
  assert_ok(db_put(txn, NAMES, SL_STR("touched"), SL_STR("x")));
  assert_ok(db_put(txn, NUMBERS, db_u64(&key), SL_BYTES(big, sizeof big)));
  assert_ok(db_del(txn, NUMBERS, db_u64(&key)));
  assert_ok(db_commit(txn));
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  db_env_close(r->env);
  r->env = NULL;
  struct stat st;
  assert_int_equal(stat(r->data, &st), 0);
  assert_true((uint64_t)st.st_size < (info.last_page + 1) * info.page_size); /* else this tests nothing */
  r->options.create = false;
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  put_number(r, 3, "and goes on");
}

static void test_a_foreign_file_is_refused_and_left_alone(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->env = NULL;
  char text[9000];
  memset(text, 'n', sizeof text);
  int fd = open(r->data, O_WRONLY | O_TRUNC);
  assert_int_equal(write(fd, text, sizeof text), sizeof text);
  close(fd);
  assert_fails(db_env_open(r->dir, tables, TABLES, &r->options, &r->env), SL_E_CORRUPT, "not a data file");
  struct stat st;
  assert_int_equal(stat(r->data, &st), 0);
  assert_int_equal(st.st_size, sizeof text);
}

static void test_zeros_of_an_interrupted_creation_are_replaced(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->env = NULL;
  assert_int_equal(truncate(r->data, 0), 0);
  assert_int_equal(truncate(r->data, 8192), 0);
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  put_number(r, 1, "works");
}

/* Of the first commit the page with the tables' names may be on the disk, and none of the meta pages. */
static void test_a_page_without_meta_pages_of_an_interrupted_creation_is_replaced(void **state) {
  room *r = *state;
  uint8_t pages[3 * 4096] = {0};
  db_env_close(r->env);
  r->env = NULL;
  memset(pages + 2 * 4096, 7, 512);
  for (int more = 0; more < 2; more++) { /* a page more, and there may be something in it */
    assert_int_equal(truncate(r->data, 0), 0);
    int fd = open(r->data, O_WRONLY);
    assert_int_equal(write(fd, pages, sizeof pages), sizeof pages);
    close(fd);
    if (more) assert_int_equal(truncate(r->data, 4 * 4096), 0);
    const sl_status status = db_env_open(r->dir, tables, TABLES, &r->options, &r->env);
    assert_int_equal(status, more ? SL_E_CORRUPT : SL_OK);
    if (more) continue;
    put_number(r, 1, "works");
    db_env_close(r->env);
    r->env = NULL;
  }
}

/* LMDB's first write makes two meta pages. A power cut before the first flush may leave either of them. */
static void test_one_meta_page_of_an_interrupted_creation_is_replaced(void **state) {
  room *r = *state;
  uint8_t pages[2 * 4096] = {0};
  db_env_close(r->env);
  r->env = NULL;
  int fd = open(r->data, O_RDONLY);
  assert_int_equal(read(fd, pages, sizeof pages), sizeof pages);
  close(fd);
  for (int lost = 0; lost < 2; lost++)
    for (uint8_t txn = 0; txn < 2; txn++) { /* one that was committed is no creation: it is damage */
      uint8_t torn[sizeof pages];
      memcpy(torn, pages, sizeof pages);
      memset(torn + lost * 4096, 0, 4096);
      torn[(1 - lost) * 4096 + 16 + 128] = txn;
      fd = open(r->data, O_WRONLY | O_TRUNC);
      assert_int_equal(write(fd, torn, sizeof torn), sizeof torn);
      close(fd);
      sl_status status = db_env_open(r->dir, tables, TABLES, &r->options, &r->env);
      assert_int_equal(status, txn ? SL_E_CORRUPT : SL_OK);
      if (status == SL_OK) put_number(r, 1, "works");
      db_env_close(r->env);
      r->env = NULL;
    }
}

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

static void test_more_readers_than_slots(void **state) {
  room *r = *state;
  db_txn *held[100];
  int n = 0;
  sl_status status = SL_OK;
  while (n < 100 && (status = db_begin_read(r->env, &held[n])) == SL_OK) n++;
  assert_int_equal(status, SL_E_BUSY);
  assert_non_null(strstr(sl_last_detail(), "reader"));
  while (n > 0) db_abort(held[--n]);
  assert_ok(db_begin_read(r->env, &held[0]));
  db_abort(held[0]);
}

/* Readers that were killed leave their slots taken; a begin that finds none free looks for the dead. */
static void test_slots_of_dead_readers_are_taken_back(void **state) {
  room *r = *state;
  db_env_close(r->env);
  r->env = NULL;
  for (int i = 0; i < 3; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      db_env *env;
      db_txn *txn;
      if (db_env_open(r->dir, tables, TABLES, &r->options, &env) != SL_OK) _exit(1);
      for (int n = 0; n < 60; n++)
        if (db_begin_read(env, &txn) != SL_OK) _exit(2);
      _exit(0);
    }
    int code;
    waitpid(pid, &code, 0);
    assert_int_equal(code, 0);
  }
  assert_ok(db_env_open(r->dir, tables, TABLES, &r->options, &r->env));
  db_env_info info;
  assert_ok(db_env_info_get(r->env, &info));
  assert_int_equal(info.readers, 0);
}

static void test_a_child_is_told_so(void **state) {
  room *r = *state;
  db_txn *txn;
  put_number(r, 1, "parent");
  assert_ok(db_begin_read(r->env, &txn)); /* one kept transaction for the child to leave alone */
  db_abort(txn);
  pid_t pid = fork();
  if (pid == 0) {
    sl_status a = db_begin_read(r->env, &txn), b = db_begin_write(r->env, false, &txn);
    db_env_close(r->env);
    _exit(a == SL_E_FORKED && b == SL_E_FORKED ? 0 : 1);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  put_number(r, 2, "parent goes on");
  assert_ok(db_begin_read(r->env, &txn));
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

static void test_files_have_the_mode_asked_for_whatever_umask_says(void **state) {
  room *r = *state;
  char dir[4300], file[4400];
  struct stat st;
  db_env *env;
  snprintf(dir, sizeof dir, "%s/inner", r->dir);
  r->options.mode = 0660;
  mode_t old = umask(0777);
  sl_status status = db_env_open(dir, tables, TABLES, &r->options, &env);
  umask(old);
  /* With such a umask LMDB cannot open what it made (unless root); with an ordinary one it must work. */
  if (status != SL_OK) {
    assert_int_equal(chmod(dir, 0700), 0);
    old = umask(077);
    status = db_env_open(dir, tables, TABLES, &r->options, &env);
    umask(old);
  }
  assert_ok(status);
  db_env_close(env);
  static const char *const names[] = {"data.mdb", "lock.mdb"};
  for (int i = 0; i < 2; i++) {
    snprintf(file, sizeof file, "%s/%s", dir, names[i]);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
  }
  assert_int_equal(stat(dir, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0770);
}

/* Write calls of this process so far; 0: the system does not say. */
static uint64_t write_calls(void) {
  char line[128];
  unsigned long long calls = 0;
  FILE *f = fopen("/proc/self/io", "r");
  while (f && fgets(line, sizeof line, f)) (void)sscanf(line, "syscw: %llu", &calls);
  if (f) fclose(f);
  return calls;
}

enum { KEPT = 3000, BATCH = 16 };

static void append_and_trim(room *r, uint64_t *first, uint64_t *last) {
  static const uint8_t value[1000];
  db_txn *txn;
  assert_ok(db_begin_write(r->env, false, &txn));
  for (unsigned i = 0; i < BATCH; i++) {
    ++*last;
    db_append(txn, NUMBERS, db_u64(last), SL_BYTES(value, sizeof value));
  }
  db_put(txn, NAMES, SL_STR("last"), db_u64(last));
  assert_ok(db_commit(txn));
  if (*last - *first < KEPT + 1000) return;
  assert_ok(db_begin_write(r->env, false, &txn));
  for (; *last - *first >= KEPT; ++*first) db_del(txn, NUMBERS, db_u64(first));
  assert_ok(db_commit(txn));
}

/* Write calls a commit, after `commits` of them, over 1,000 more; 0: the system does not say. *pages: of the file. */
static double live_on(room *r, uint64_t slack_pages, unsigned commits, uint64_t *pages) {
  uint64_t first = 1, last = 0, count;
  db_txn *txn;
  db_env_info info;
  db_env_allow_slack(r->env, slack_pages);
  for (unsigned i = 0; i < commits; i++) append_and_trim(r, &first, &last);
  const uint64_t before = write_calls();
  for (unsigned i = 0; i < 1000; i++) append_and_trim(r, &first, &last);
  const uint64_t calls = write_calls() - before;
  assert_ok(db_env_info_get(r->env, &info));
  *pages = info.last_page + 1;
  assert_ok(db_begin_read(r->env, &txn));
  assert_ok(db_count(txn, NAMES, &count));
  assert_int_equal(count, 1); /* what gathering puts there is never left */
  db_abort(txn);
  return (double)calls / 1000;
}

/* Each run of neighbouring pages is a write call. Pages that are freed a few at a time, in a store that is trimmed
 * beside its appends, once came to lie apart: 8 calls a commit here, where 4 are enough. */
static void test_commits_write_few_runs_however_long_a_store_lives(void **state) {
  uint64_t pages;
  if (write_calls() == 0) skip();
  assert_true(live_on(*state, 1 << 20, 6000, &pages) < 5);
}

/* The value of a key, unlike its neighbours'. */
static sl_slice long_value(uint64_t key) {
  static uint64_t words[125];
  for (unsigned i = 0; i < 125; i++) words[i] = key * 1000 + i;
  return SL_BYTES(words, sizeof words);
}

/* Commits of one record each leave a page of every nineteen that they write, and use the others again. Where the left ones
 * stayed in between, 7 pages came to be 4 runs; now they are moved out of the way, and no record may change by that. */
static void test_commits_of_one_record_write_hardly_more_than_one_run(void **state) {
  enum { BEFORE = 20000, COMMITS = 3000, META = 1 };
  room *r = *state;
  db_txn *txn;
  db_env_info info;
  uint64_t key = 1;
  if (write_calls() == 0) skip();
  db_env_allow_slack(r->env, 1 << 20);
  assert_ok(db_begin_write(r->env, false, &txn));
  for (; key <= BEFORE; key++) db_append(txn, NUMBERS, db_u64(&key), long_value(key));
  assert_ok(db_commit(txn));
  assert_ok(db_env_info_get(r->env, &info));
  const uint64_t before = write_calls(), pages = info.last_page;
  for (; key <= BEFORE + COMMITS; key++) {
    assert_ok(db_begin_write(r->env, false, &txn));
    db_append(txn, NUMBERS, db_u64(&key), long_value(key));
    assert_ok(db_commit(txn));
  }
  assert_true((double)(write_calls() - before) / COMMITS - META < 2.5);
  assert_ok(db_env_info_get(r->env, &info));
  assert_true(info.last_page - pages < COMMITS / 3 + 400); /* that room is bounded */
  assert_ok(db_begin_read(r->env, &txn));
  for (key = 1; key <= BEFORE + COMMITS; key++) {
    sl_slice value;
    assert_ok(db_get(txn, NUMBERS, db_u64(&key), &value));
    assert_true(sl_slice_eq(value, long_value(key)));
  }
  db_abort(txn);
}

static void test_free_pages_are_kept_together_only_within_the_slack_allowed(void **state) {
  uint64_t pages;
  (void)live_on(*state, 1500, 6000, &pages);
  assert_true(pages < 1700);
}

/* A full disk has no room for holes, and trim relies on the free pages of the file. */
static void test_pages_kept_together_are_on_the_disk(void **state) {
  room *r = *state;
  struct stat st;
  uint64_t pages;
  (void)live_on(r, 1 << 20, 0, &pages);
  assert_int_equal(stat(r->data, &st), 0);
  assert_in_range(st.st_blocks * 512 / 4096, pages - 4, UINT64_MAX);
}

/* LMDB writes what a value left open of what it was given, too. */
static void test_what_lay_in_memory_does_not_get_into_the_file(void **state) {
#if defined(__GLIBC__)
  enum { BLOCKS = 8, LEN = 300000 };
  static const char secret[] = "the password of somebody";
  room *r = *state;
  char *blocks[BLOCKS];
  if (!mallopt(M_MMAP_THRESHOLD, 8 << 20) || !mallopt(M_TRIM_THRESHOLD, 64 << 20)) skip(); /* not this malloc */
  for (int i = 0; i < BLOCKS; i++) {
    assert_non_null(blocks[i] = malloc(LEN));
    for (size_t at = 0; at + sizeof secret <= LEN; at += sizeof secret) memcpy(blocks[i] + at, secret, sizeof secret);
  }
  for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
  db_txn *reader; /* no page is free yet: then LMDB does not take back what it gave */
  assert_ok(db_begin_read(r->env, &reader));
  db_env_allow_slack(r->env, 1 << 20);
  for (uint64_t key = 0; key < 64; key++) put_number(r, key, "one");
  db_abort(reader);
  const int fd = open(r->data, O_RDONLY);
  static char file[4 << 20];
  const ssize_t len = read(fd, file, sizeof file);
  close(fd);
  assert_true(len > 0 && len < (ssize_t)sizeof file);
  assert_null(memmem(file, (size_t)len, secret, sizeof secret));
#else
  (void)state;
  skip();
#endif
}

/* While somebody reads an old snapshot nothing can be gathered, and the file must not grow for it as well. */
static void test_behind_an_old_reader_nothing_is_gathered(void **state) {
  room *r = *state;
  db_txn *reader;
  db_env_info info;
  uint64_t pages[2];
  for (int i = 0; i < 2; i++) {
    put_number(r, 1, "one");
    assert_ok(db_begin_read(r->env, &reader));
    assert_ok(db_env_info_get(r->env, &info));
    pages[i] = info.last_page;
    db_env_allow_slack(r->env, i == 0 ? 0 : 1 << 20);
    for (uint64_t key = 0; key < 640; key++) put_number(r, key, "more");
    assert_ok(db_env_info_get(r->env, &info));
    pages[i] = info.last_page - pages[i];
    db_abort(reader);
  }
  assert_true(pages[1] <= pages[0] + 64 * 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_what_is_committed_is_read),
    TEST(test_a_snapshot_stays_as_it_was),
    TEST(test_what_is_kept_holds_for_one_snapshot_in_one_map),
    TEST(test_the_first_error_stays_and_nothing_is_stored),
    TEST(test_cursors_walk_both_ways_and_through_values),
    TEST(test_an_emptied_table_is_empty_and_usable),
    TEST(test_a_file_cut_off_is_refused),
    TEST(test_a_file_that_ends_in_free_pages_opens),
    TEST(test_a_foreign_file_is_refused_and_left_alone),
    TEST(test_zeros_of_an_interrupted_creation_are_replaced),
    TEST(test_a_page_without_meta_pages_of_an_interrupted_creation_is_replaced),
    TEST(test_one_meta_page_of_an_interrupted_creation_is_replaced),
    TEST(test_a_small_map_is_full_and_recovers),
    TEST(test_more_readers_than_slots),
    TEST(test_slots_of_dead_readers_are_taken_back),
    TEST(test_a_child_is_told_so),
    TEST(test_a_map_that_another_process_outgrew),
    TEST(test_a_clock_that_jumps_while_a_map_must_grow),
    TEST(test_a_wish_for_too_much_address_space_is_halved),
    TEST(test_commits_write_few_runs_however_long_a_store_lives),
    TEST(test_commits_of_one_record_write_hardly_more_than_one_run),
    TEST(test_free_pages_are_kept_together_only_within_the_slack_allowed),
    TEST(test_pages_kept_together_are_on_the_disk),
    TEST(test_what_lay_in_memory_does_not_get_into_the_file),
    TEST(test_behind_an_old_reader_nothing_is_gathered),
    TEST(test_files_have_the_mode_asked_for_whatever_umask_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
