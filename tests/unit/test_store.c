/* Opening and closing a store: who may, what is refused, what is made, and forks. */
#include "kit.h"

#include <sidelog/reader.h>

#ifdef __linux__
#include <linux/capability.h>
#include <sys/syscall.h>
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static void test_a_store_is_opened_once_in_a_process(void **state) {
  kit *k = *state;
  sl_store *second = NULL;
  char link[4300];
  assert_fails(sl_open(k->path, NULL, &second), SL_E_BUSY, k->path);
  snprintf(link, sizeof link, "%s/link", k->dir);
  assert_int_equal(symlink(k->path, link), 0);
  assert_fails(sl_open(link, NULL, &second), SL_E_BUSY, "open already");
  assert_null(second);
  kit_append(k, "t", "the first one is unharmed");
  kit_reopen(k); /* after a close it may be opened again */
  assert_int_equal(kit_head(k).last_seq, 1);
}

static void *open_and_close(void *arg) {
  kit *k = arg;
  for (int i = 0; i < 20; i++) {
    sl_store *store;
    sl_status status = sl_open(k->path, &k->options, &store);
    if (status == SL_OK) sl_close(store);
    else if (status != SL_E_BUSY) return arg; /* any other refusal is wrong */
  }
  return NULL;
}

static void test_threads_that_race_for_the_open(void **state) {
  kit *k = *state;
  pthread_t threads[4];
  sl_close(k->store);
  k->store = NULL;
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, open_and_close, k);
  for (int i = 0; i < 4; i++) {
    void *trouble;
    pthread_join(threads[i], &trouble);
    assert_null(trouble);
  }
  kit_open(k);
}

static void test_a_missing_store_is_not_made_when_not_asked_for(void **state) {
  kit *k = *state;
  char path[4300];
  sl_store *store = NULL;
  sl_options o = {.flags = SL_OPEN_EXISTING};
  snprintf(path, sizeof path, "%s/none", k->dir);
  assert_fails(sl_open(path, &o, &store), SL_E_NO_STORE, path);
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(mkdir(path, 0755), 0);
  assert_fails(sl_open(path, &o, &store), SL_E_NO_STORE, path);
  DIR *dir = opendir(path);
  int entries = 0;
  while (readdir(dir)) entries++;
  closedir(dir);
  assert_int_equal(entries, 2); /* . and .. */
}

static void test_parents_are_made_and_modes_are_kept_from_umask(void **state) {
  kit *k = *state;
  char path[4300], file[4400];
  struct stat st;
  sl_store *store;
  sl_options o = {.preallocate = SL_NONE};
  snprintf(path, sizeof path, "%s/a/b/c", k->dir);
  mode_t old = umask(027);
  sl_status status = sl_open(path, &o, &store);
  umask(old);
  assert_ok(status);
  sl_close(store);
  static const char *const folders[] = {"", "/log", "/index", "/delivery"};
  static const char *const files[] = {"/log/data.mdb", "/log/lock.mdb", "/index/data.mdb", "/delivery/data.mdb"};
  for (int i = 0; i < 4; i++) {
    snprintf(file, sizeof file, "%s%s", path, folders[i]);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    snprintf(file, sizeof file, "%s%s", path, files[i]);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
  }
}

static void test_a_group_may_use_the_store(void **state) {
  kit *k = *state;
  char path[4300], file[4400], group[32];
  struct stat st;
  sl_store *store;
  /* Any other group we may give files to: as root all, else one of ours. */
  gid_t groups[64], gid = getegid();
  int n = getgroups(64, groups);
  for (int i = 0; i < n; i++)
    if (groups[i] != getegid()) gid = groups[i];
  if (geteuid() == 0) gid = 4242;
  snprintf(group, sizeof group, "%u", (unsigned)gid);
  snprintf(path, sizeof path, "%s/shared", k->dir);
  sl_options o = {.preallocate = SL_NONE, .group = group};
  mode_t old = umask(077);
  for (int turn = 0; turn < 2; turn++) {
    /* The second time without the option, and with a lock file that has to be made anew. */
    if (turn == 1) {
      o.group = NULL;
      snprintf(file, sizeof file, "%s/log/lock.mdb", path);
      assert_int_equal(unlink(file), 0);
    }
    assert_ok(sl_open(path, &o, &store));
    sl_close(store);
    static const char *const files[] = {"log/data.mdb", "log/lock.mdb", "index/data.mdb", "delivery/lock.mdb"};
    for (int i = 0; i < 4; i++) {
      snprintf(file, sizeof file, "%s/%s", path, files[i]);
      assert_int_equal(stat(file, &st), 0);
      assert_int_equal(st.st_mode & 0777, 0660);
      assert_int_equal(st.st_gid, gid);
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0770);
    assert_int_equal(st.st_gid, gid);
  }
  umask(old);
  snprintf(path, sizeof path, "%s/other", k->dir);
  o.group = "no-such-group-here";
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "no-such-group-here");
}

static void test_a_folder_with_other_things_in_it_keeps_its_mode(void **state) {
  kit *k = *state;
  char path[4300], file[4400];
  struct stat st;
  sl_store *store;
  sl_options o = {.preallocate = SL_NONE};
  snprintf(path, sizeof path, "%s/home", k->dir);
  assert_int_equal(mkdir(path, 0755), 0);
  assert_int_equal(chmod(path, 0755), 0);
  snprintf(file, sizeof file, "%s/letter.txt", path);
  fclose(fopen(file, "w"));
  assert_ok(sl_open(path, &o, &store));
  sl_close(store);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0755);
  snprintf(file, sizeof file, "%s/log", path);
  assert_int_equal(stat(file, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_bad_options_are_refused(void **state) {
  kit *k = *state;
  sl_store *store = NULL;
  char path[4300];
  snprintf(path, sizeof path, "%s/other", k->dir);
  sl_options o = {.version = 99};
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "version");
  o = (sl_options){.flags = 1u << 31};
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "flags");
  o = (sl_options){.max_value = SL_MAX_VALUE + 1};
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "max_value");
  o = (sl_options){.quota_bytes = 1000};
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "1 MiB");
  assert_int_equal(sl_open(NULL, NULL, &store), SL_E_INVALID);
  assert_fails(sl_open("", NULL, &store), SL_E_INVALID, "path is empty");
  o = (sl_options){.group = "no-such-group"};
  assert_fails(sl_open(path, &o, &store), SL_E_INVALID, "no-such-group");
  assert_int_equal(access(path, F_OK), -1); /* and no folder is left behind */
  FILE *f = fopen(path, "w");
  fclose(f);
  assert_fails(sl_open(path, NULL, &store), SL_E_IO, "not a folder");
  assert_int_equal(access(path, F_OK), 0);
}

static void test_the_identity_stays(void **state) {
  kit *k = *state;
  char id[64];
  snprintf(id, sizeof id, "%s", sl_store_id(k->store));
  assert_int_equal(strlen(id), 36);
  assert_string_equal(sl_store_path(k->store), k->path);
  kit_reopen(k);
  assert_string_equal(sl_store_id(k->store), id);
}

static void test_the_reserve_is_written_and_not_counted_as_used(void **state) {
  kit *k = *state;
  struct stat st;
  uint64_t used;
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &st), 0);
  assert_int_equal(st.st_size, 1 << 20);
  assert_true(st.st_blocks * 512 >= 1 << 20); /* really there, not a hole */
  assert_ok(log_bytes_used(k->store, &used));
  assert_true(used < 200000);
  kit_fill(k, "t", 2000, 1000); /* twice the reserve */
  kit_reopen(k);
  assert_int_equal(kit_head(k).last_seq, 2000);
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &st), 0);
  assert_true(st.st_size > 2 << 20);
}

static void test_a_working_directory_may_change(void **state) {
  kit *k = *state;
  char old[4096];
  sl_store *store;
  sl_options o = {.preallocate = SL_NONE};
  assert_non_null(getcwd(old, sizeof old));
  assert_int_equal(chdir(k->dir), 0);
  assert_ok(sl_open("relative", &o, &store));
  assert_int_equal(chdir("/"), 0);
  sl_event e = {.topic = SL_STR("t")};
  assert_ok(sl_append(store, &e, NULL));
  assert_ok(sl_wait(store, 0, 100, NULL));
  assert_string_equal(sl_store_path(store), "relative");
  sl_close(store);
  assert_int_equal(chdir(old), 0);
}

/* ---- forks ---- */

static void test_a_child_is_refused_and_the_parent_goes_on(void **state) {
  kit *k = *state;
  kit_append(k, "t", "before");
  pid_t pid = fork();
  if (pid == 0) {
    sl_event e = {.topic = SL_STR("t")};
    sl_store *own;
    int wrong = sl_append(k->store, &e, NULL) != SL_E_FORKED;
    wrong |= (sl_event_check(k->store, &e) != SL_E_FORKED) << 1;
    wrong |= (sl_wait(k->store, 0, 0, NULL) != SL_E_FORKED) << 2;
    wrong |= (sl_sync(k->store) != SL_E_FORKED) << 3;
    wrong |= (sl_trim(k->store, NULL, NULL) != SL_E_FORKED) << 4;
    sl_close(k->store);
    wrong |= (sl_open(k->path, NULL, &own) != SL_OK || sl_append(own, &e, NULL) != SL_OK) << 5;
    _exit(wrong);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  assert_int_equal(kit_append(k, "t", "after"), 3);
}

/* ---- creation ---- */

static void test_processes_that_create_one_store_together(void **state) {
  kit *k = *state;
  char path[4300];
  pid_t pids[6];
  snprintf(path, sizeof path, "%s/together", k->dir);
  for (int i = 0; i < 6; i++) {
    pids[i] = fork();
    if (pids[i] != 0) continue;
    sl_store *store;
    sl_options o = {.preallocate = 4u << 20};
    if (sl_open(path, &o, &store) != SL_OK) {
      fprintf(stderr, "%s\n", sl_last_detail());
      _exit(1);
    }
    sl_event e = {.topic = SL_STR("t")};
    for (int n = 0; n < 20; n++)
      if (sl_append(store, &e, NULL) != SL_OK) _exit(2);
    sl_close(store);
    _exit(0);
  }
  for (int i = 0; i < 6; i++) {
    int code;
    waitpid(pids[i], &code, 0);
    assert_int_equal(code, 0);
  }
  sl_close(k->store);
  snprintf(k->path, sizeof k->path, "%.4000s/together", k->dir);
  kit_open(k);
  log_head head = kit_head(k);
  assert_int_equal(head.last_seq, 120);
  assert_int_equal(head.kept, 120);
  log_view *view;
  sl_parts parts;
  assert_ok(log_view_open(k->store, &view));
  for (uint64_t seq = 1; seq <= 120; seq++) assert_ok(log_view_get(view, seq, false, &parts));
  log_view_close(view);
}

static void test_a_creation_that_was_killed_is_finished_by_the_next_open(void **state) {
  kit *k = *state;
  char path[4300];
  int finished = 0;
  for (int turn = 0; turn < 40 && finished < 3; turn++) {
    snprintf(path, sizeof path, "%s/killed-%d", k->dir, turn);
    pid_t pid = fork();
    if (pid == 0) {
      sl_store *store;
      sl_options o = {.preallocate = 8u << 20};
      _exit(sl_open(path, &o, &store) == SL_OK ? 0 : 1);
    }
    usleep((useconds_t)(turn * 700));
    kill(pid, SIGKILL);
    int code;
    waitpid(pid, &code, 0);
    if (!WIFSIGNALED(code)) finished++;
    sl_store *store;
    sl_options o = {.preallocate = 1u << 20};
    assert_ok(sl_open(path, &o, &store));
    sl_event e = {.topic = SL_STR("t")};
    uint64_t seq;
    assert_ok(sl_append(store, &e, &seq));
    assert_int_equal(seq, 1);
    sl_close(store);
  }
}

/* ---- what must be refused ---- */

static void test_a_newer_format_is_refused_and_nothing_is_touched(void **state) {
  kit *k = *state;
  static const db_table_def meta = {"meta", 0};
  db_env_options o = {.map_size = 16u << 20, .map_floor = 1u << 20, .max_readers = 8, .mode = 0600};
  kit_append(k, "t", "v");
  sl_close(k->store);
  k->store = NULL;
  char dir[4400];
  snprintf(dir, sizeof dir, "%s", kit_file(k, "log"));
  db_env *env;
  db_txn *txn;
  uint8_t format[4];
  sl_put_u32(format, SL_FORMAT_VERSION + 2);
  assert_ok(db_env_open(dir, &meta, 1, &o, &env));
  assert_ok(db_begin_write(env, false, &txn));
  assert_ok(db_put(txn, 0, SL_STR("format"), SL_BYTES(format, 4)));
  assert_ok(db_commit(txn));
  db_env_close(env);
  struct stat before, after;
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &before), 0);
  sl_options options = {.quota_bytes = 5u << 20, .durability = SL_RELAXED};
  sl_store *store;
  assert_fails(sl_open(k->path, &options, &store), SL_E_VERSION, "was written by format 3");
  assert_non_null(strstr(sl_last_detail(), "use a newer sidelog"));
  assert_int_equal(stat(kit_file(k, "log/data.mdb"), &after), 0);
  assert_int_equal(before.st_mtime, after.st_mtime);
  assert_int_equal(before.st_size, after.st_size);
}

static void test_a_lost_log_is_not_replaced_by_an_empty_one(void **state) {
  kit *k = *state;
  sl_store *store;
  sl_options existing = {.flags = SL_OPEN_EXISTING};
  kit_append(k, "t", "v");
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(truncate(kit_file(k, "log/data.mdb"), 0), 0);
  assert_fails(sl_open(k->path, NULL, &store), SL_E_MISMATCH, "log/ is missing or empty");
  assert_fails(sl_open(k->path, &existing, &store), SL_E_MISMATCH, "log/ is missing or empty");
  assert_int_equal(unlink(kit_file(k, "log/data.mdb")), 0);
  assert_fails(sl_open(k->path, NULL, &store), SL_E_MISMATCH, "log/ is missing or empty");
  assert_fails(sl_open(k->path, &existing, &store), SL_E_MISMATCH, "log/ is missing or empty");
  assert_int_equal(access(kit_file(k, "log/data.mdb"), F_OK), -1);
}

static void test_a_log_cut_off_is_refused(void **state) {
  kit *k = *state;
  sl_store *store;
  kit_fill(k, "t", 2000, 1000);
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(truncate(kit_file(k, "log/data.mdb"), 1 << 20), 0);
  assert_fails(sl_open(k->path, NULL, &store), SL_E_CORRUPT, "was cut off");
}

static void copy(const char *from, const char *to) {
  char buffer[65536];
  int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_TRUNC);
  assert_true(in >= 0 && out >= 0);
  for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;) assert_int_equal(write(out, buffer, (size_t)n), n);
  close(in);
  close(out);
}

/* log/ restored from yesterday's copy beside today's index and delivery book. */
static void test_parts_that_do_not_belong_together_are_refused(void **state) {
  kit *k = *state;
  char kept[4300];
  sl_store *store;
  snprintf(kept, sizeof kept, "%s/yesterday.mdb", k->dir);
  kit_append(k, "t", "yesterday");
  sl_close(k->store);
  fclose(fopen(kept, "w"));
  copy(kit_file(k, "log/data.mdb"), kept);
  kit_open(k);
  for (int i = 0; i < 5; i++) kit_append(k, "t", "today");
  kit_deliver(k, 6);
  sl_close(k->store);
  k->store = NULL;
  copy(kept, kit_file(k, "log/data.mdb"));
  assert_fails(sl_open(k->path, NULL, &store), SL_E_MISMATCH, "index/ has reached event 6");
  assert_int_equal(remove(kit_file(k, "index/data.mdb")), 0); /* the index can be rebuilt, delivery cannot */
  assert_fails(sl_open(k->path, NULL, &store), SL_E_MISMATCH, "delivery/ is at event 6");
}

/* Root may write anywhere, until it lays that capability down. False: this system has no such thing. */
static bool held_to_modes(bool held) {
  if (geteuid() != 0) return true;
#ifdef __linux__
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2];
  const uint32_t bits = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;
  if (syscall(SYS_capget, &head, sets) != 0) return false;
  sets[0].effective = held ? sets[0].effective & ~bits : sets[0].effective | (bits & sets[0].permitted);
  return syscall(SYS_capset, &head, sets) == 0;
#else
  return false;
#endif
}

static void test_a_folder_that_cannot_be_written(void **state) {
  kit *k = *state;
  char path[4400], shut[4300];
  if (!held_to_modes(true)) skip();
  sl_store *store;
  snprintf(shut, sizeof shut, "%s/shut", k->dir);
  assert_int_equal(mkdir(shut, 0500), 0);
  snprintf(path, sizeof path, "%s/store", shut);
  assert_fails(sl_open(path, NULL, &store), SL_E_ACCESS, shut);
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(chmod(kit_file(k, "log/data.mdb"), 0400), 0);
  assert_fails(sl_open(k->path, NULL, &store), SL_E_ACCESS, "must be able to write");
  held_to_modes(false);
}

/* What cannot be looked at is not "not there". */
static void test_a_part_that_cannot_be_reached_is_not_passed_over_by_compact(void **state) {
  kit *k = *state;
  if (!held_to_modes(true)) skip();
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(chmod(kit_file(k, "index"), 0), 0);
  assert_fails(sl_compact(k->path, NULL, NULL), SL_E_ACCESS, "index/data.mdb");
  assert_int_equal(chmod(kit_file(k, "index"), 0700), 0);
  held_to_modes(false);
}

/* `sudo sidelog ...` on the store of a service: what root makes there the service must be able to open
 * afterwards. */

#define NOBODY 65534

static int give_away(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return lchown(path, NOBODY, NOBODY);
}

static int is_nobodys(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)flag, (void)ftw;
  if (st->st_uid != NOBODY) print_error("%s is of user %u\n", path, (unsigned)st->st_uid);
  return st->st_uid != NOBODY;
}

enum { UNREACHED = 77 };

/* The folder around the store is nobody's own; those above it may be closed to nobody. */
static bool may_come_to(const char *path) {
  char folder[4400];
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  return access(folder, X_OK) == 0;
}

static void check_nobody_can_go_on(const char *path) {
  int code;
  assert_int_equal(nftw(path, is_nobodys, 16, FTW_PHYS), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    sl_store *store;
    sl_delivery *delivery;
    const sl_event e = {.topic = SL_STR("t")};
    if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0) _exit(1);
    if (!may_come_to(path)) _exit(UNREACHED);
    if (sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK) _exit(2);
    if (sl_append(store, &e, NULL) != SL_OK || sl_index_advance(store, 0, NULL) != SL_OK) _exit(3);
    if (delivery_open(store, &delivery) != SL_OK) _exit(4);
    delivery_close(delivery);
    sl_close(store);
    _exit(0);
  }
  assert_int_equal(waitpid(pid, &code, 0), pid);
  if (!WIFEXITED(code) || WEXITSTATUS(code) != UNREACHED) assert_int_equal(code, 0);
}

/* A service that was broken into must not get root's files from who works on its store with sudo. */
static void test_root_gives_no_file_away_that_a_link_leads_to(void **state) {
  kit *k = *state;
  char victim[4400];
  struct stat st;
  static const char *const names[] = {"store.lock", "log/compact.tmp", "delivery/agent.lock", "index/turn.lock",
                                      "ballast.new"};
  if (geteuid() != 0) skip();
  kit_append(k, "t", "v");
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(nftw(k->dir, give_away, 16, FTW_PHYS), 0);
  snprintf(victim, sizeof victim, "%s/roots", k->dir);
  const int fd = open(victim, O_RDWR | O_CREAT, 0640);
  assert_int_equal(write(fd, "secret", 6), 6);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int hard = 0; hard < 2; hard++) {
      const char *name = kit_file(k, names[i]);
      (void)remove(name);
      assert_int_equal(ftruncate(fd, 6), 0);
      assert_int_equal(hard ? link(victim, name) : symlink(victim, name), 0);
      sl_store *store;
      sl_delivery *delivery;
      (void)sl_compact(k->path, NULL, NULL);
      if (sl_open(k->path, NULL, &store) == SL_OK) {
        if (delivery_open(store, &delivery) == SL_OK) delivery_close(delivery);
        sl_close(store);
      }
      (void)remove(name);
      assert_int_equal(fstat(fd, &st), 0);
      assert_int_equal(st.st_uid, 0);
      assert_int_equal(st.st_mode & 07777, 0640);
      if (!hard) assert_int_equal(st.st_size, 6); /* a hard link to root's files the system itself refuses */
    }
  close(fd);
}

static void test_root_leaves_another_users_store_usable(void **state) {
  kit *k = *state;
  char repaired[4400];
  sl_delivery *delivery;
  if (geteuid() != 0) skip();
  kit_append(k, "t", "v");
  sl_close(k->store);
  k->store = NULL;
  assert_int_equal(nftw(k->dir, give_away, 16, FTW_PHYS), 0);
  assert_ok(sl_compact(k->path, NULL, NULL));
  check_nobody_can_go_on(k->path);
  static const char *const lost[] = {"index/data.mdb", "index/lock.mdb", "index/turn.lock", "index",
                                     "log/lock.mdb",
                                     "log/slots", "store.lock", "ballast", "delivery/agent.lock"};
  for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) (void)remove(kit_file(k, lost[i]));
  kit_open(k);
  assert_ok(delivery_open(k->store, &delivery));
  delivery_close(delivery);
  sl_reader *reader;
  assert_ok(sl_reader_open(k->store, "r", NULL, &reader));
  sl_reader_close(reader);
  sl_close(k->store);
  k->store = NULL;
  check_nobody_can_go_on(k->path);
  snprintf(repaired, sizeof repaired, "%s/repaired", k->dir);
  assert_ok(sl_repair(k->path, repaired, NULL, NULL, NULL, NULL));
  check_nobody_can_go_on(repaired);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(test_a_store_is_opened_once_in_a_process),
    TEST(test_threads_that_race_for_the_open),
    TEST(test_a_missing_store_is_not_made_when_not_asked_for),
    TEST(test_parents_are_made_and_modes_are_kept_from_umask),
    TEST(test_a_group_may_use_the_store),
    TEST(test_a_folder_with_other_things_in_it_keeps_its_mode),
    TEST(test_bad_options_are_refused),
    TEST(test_the_identity_stays),
    TEST(test_the_reserve_is_written_and_not_counted_as_used),
    TEST(test_a_working_directory_may_change),
    TEST(test_a_child_is_refused_and_the_parent_goes_on),
    TEST(test_processes_that_create_one_store_together),
    TEST(test_a_creation_that_was_killed_is_finished_by_the_next_open),
    TEST(test_a_newer_format_is_refused_and_nothing_is_touched),
    TEST(test_a_lost_log_is_not_replaced_by_an_empty_one),
    TEST(test_a_log_cut_off_is_refused),
    TEST(test_parts_that_do_not_belong_together_are_refused),
    TEST(test_a_folder_that_cannot_be_written),
    TEST(test_a_part_that_cannot_be_reached_is_not_passed_over_by_compact),
    TEST(test_root_leaves_another_users_store_usable),
    TEST(test_root_gives_no_file_away_that_a_link_leads_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
