/* The data file of an environment: cut off, foreign, unfinished; and its mode. */
#include "db_kit.h"

#include "db/db_file.h"

#include <fcntl.h>
#if defined(__linux__)
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

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

/* A file that asks for blocks which it has is written with its inode at the next flush, which takes twice as long; a hole
 * must be filled all the same. */
static void test_blocks_are_asked_for_only_where_there_are_none(void **state) {
  (void)state;
#if defined(__linux__)
  enum { PART = 64 << 10 };
  static const char zeros[PART];
  static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
  char path[] = "./blocks.XXXXXX"; /* where the file systems are those of disks; TMPDIR may be memory */
  struct fiemap ask = {.fm_length = PART};
  struct stat st;
  const int fd = mkstemp(path);
  assert_true(fd >= 0 && unlink(path) == 0);
  assert_int_equal(write(fd, zeros, PART), PART);
  assert_int_equal(fsync(fd), 0);
  const bool can_tell = ioctl(fd, FS_IOC_FIEMAP, &ask) == 0;
  assert_int_equal(futimens(fd, long_ago), 0);
  assert_int_equal(db_file_allocate(fd, 0, PART), 0);
  assert_int_equal(db_file_allocate(fd, PART / 4, PART / 2), 0);
  assert_int_equal(fstat(fd, &st), 0);
  if (can_tell) assert_int_equal(st.st_mtim.tv_sec, 1000);
  assert_int_equal(ftruncate(fd, 4 * PART), 0);
  assert_int_equal(db_file_allocate(fd, PART / 2, PART), 0); /* it has half of them */
  assert_int_equal(db_file_allocate(fd, 3 * PART, PART), 0);
  assert_int_equal(fstat(fd, &st), 0);
  assert_true((uint64_t)st.st_blocks * 512 >= 2 * PART + PART / 2);
  /* Beyond its end a file system may take them back (XFS adds some to files that grow, and does so on a full disk). */
  (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, 4 * PART, PART);
  assert_int_equal(db_file_allocate(fd, 4 * PART, PART), 0);
  assert_int_equal(fstat(fd, &st), 0);
  close(fd);
  if (can_tell) assert_int_equal(st.st_size, 5 * PART);
  if (!can_tell) skip();
#else
  skip();
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, room_setup, room_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_a_file_cut_off_is_refused),
    TEST(test_a_file_that_ends_in_free_pages_opens),
    TEST(test_a_foreign_file_is_refused_and_left_alone),
    TEST(test_zeros_of_an_interrupted_creation_are_replaced),
    TEST(test_a_page_without_meta_pages_of_an_interrupted_creation_is_replaced),
    TEST(test_one_meta_page_of_an_interrupted_creation_is_replaced),
    TEST(test_files_have_the_mode_asked_for_whatever_umask_says),
    TEST(test_blocks_are_asked_for_only_where_there_are_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
