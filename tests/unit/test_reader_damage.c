/* Readers that are killed, damaged, repaired, forked, or whose commit fails. */
#include "reader_kit.h"

#include "readers/reader_impl.h"
#include "store/log_inner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* ----------------------------------------------------------------- crashes --- */

/* A process that takes `count` events of a key each, and ends as by a kill. */
static void crash_with(kit *k, int count) {
  sl_close(k->store);
  const pid_t pid = fork();
  if (pid == 0) {
    const sl_reader_event *e;
    sl_reader *r;
    if (sl_open(k->path, &k->options, &k->store) != SL_OK) _exit(1);
    if (sl_reader_open(k->store, "r", NULL, &r) != SL_OK) _exit(1);
    for (int i = 0; i < count; i++)
      if (sl_reader_next(r, 0, &e) != SL_OK) _exit(2);
    kill(getpid(), SIGKILL);
  }
  int code;
  waitpid(pid, &code, 0);
  assert_true(WIFSIGNALED(code));
  kit_open(k);
}

static void test_an_event_that_kills_its_reader_ends_as_a_letter(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a");
  put_keyed(k, "t", "b");
  for (int i = 0; i < 5; i++) crash_with(k, 1);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 2);
  assert_ok(sl_reader_ack(r, 2));
  sl_reader_close(r);
  assert_law(k, "r", 1, 1, 0, 0, 0);
  letters all = letters_of(k, 0);
  assert_int_equal(all.list[0].attempts, 5);
  assert_non_null(strstr(all.text[0], "READER_CRASHED"));
  assert_string_equal(all.topic[0], "t");
}

/* Whoever deletes a reader may be killed before its lock file is cleared. */
static void test_a_new_reader_of_an_old_name_is_not_blamed(void **state) {
  kit *k = *state;
  const sl_reader_event *e;
  char before[200];
  for (int i = 0; i < 3; i++) kit_append(k, "t", "v");
  crash_with(k, 1);
  const int fd = open(kit_file(k, "readers/r.lock"), O_RDWR);
  const ssize_t len = pread(fd, before, sizeof before, 0);
  assert_ok(sl_reader_delete(k->store, "r"));
  assert_int_equal(pwrite(fd, before, (size_t)len, 0), len);
  close(fd);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){AT_ONCE});
  assert_ok(sl_reader_next(r, 0, &e));
  assert_int_equal(e->record->seq, 1);
  assert_int_equal(e->attempts, 0);
  sl_reader_close(r);
}

static void test_suspects_are_handed_out_alone(void **state) {
  kit *k = *state;
  static const char *const keys[] = {"a", "b", "c", "d"};
  for (int i = 0; i < 4; i++) put_keyed(k, "t", keys[i]);
  crash_with(k, 3);
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  for (uint64_t seq = 1; seq <= 3; seq++) {
    const sl_reader_event *e;
    assert_ok(sl_reader_next(r, 0, &e));
    assert_int_equal(e->record->seq, seq);
    assert_int_equal(e->attempts, 0);
    assert_next(r, 0);
    assert_ok(sl_reader_ack(r, seq));
  }
  assert_next(r, 4);
  assert_ok(sl_reader_ack(r, 4));
  sl_reader_close(r);
  assert_law(k, "r", 4, 0, 0, 0, 0);
}

static void test_an_event_that_cannot_be_read_blocks_nothing(void **state) {
  kit *k = *state;
  for (int i = 0; i < 3; i++) kit_append(k, "t", "value");
  db_txn *txn;
  uint64_t seq = 2;
  sl_slice value;
  uint8_t bytes[4096];
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(db_get(txn, LOG_EVENTS, db_u64(&seq), &value));
  memcpy(bytes, value.data, value.len);
  bytes[value.len - 1] ^= 1;
  assert_ok(db_put(txn, LOG_EVENTS, db_u64(&seq), SL_BYTES(bytes, value.len)));
  assert_ok(db_commit(txn));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  assert_ok(sl_reader_ack(r, 1));
  assert_next(r, 3);
  assert_ok(sl_reader_ack(r, 3));
  sl_reader_close(r);
  letters all = letters_of(k, 0);
  assert_int_equal(all.count, 1);
  assert_non_null(strstr(all.text[0], "LOST_DAMAGED"));
  assert_int_equal(info_of(k, "r").dead, 1);
}

/* A commit that is reported as failed may have happened all the same (the flush of its last page failed): the
 * next one must see that, and count nothing twice and leave nothing behind. */
static void test_a_commit_that_happened_after_all_counts_once(void **state) {
  kit *k = *state;
  put_keyed(k, "t", "a");
  put_keyed(k, "t", "b");
  put_keyed(k, "t", "c");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  for (uint64_t seq = 1; seq <= 3; seq++) assert_next(r, seq);
  assert_ok(sl_reader_ack(r, 1));
  const sl_reader_totals sent = r->delta;
  assert_ok(sl_reader_commit(r));
  assert_law(k, "r", 1, 0, 0, 0, 2);
  r->unsure = true; /* as it is behind a failed db_commit */
  r->sent = r->delta = sent;
  r->sent_gone = r->sent_letters = 0;
  r->commits--;
  for (uint64_t seq = 2; seq <= 3; seq++) {
    item *it = sl_map_get(&r->items, seq);
    it->stored = false;
    item_touch(r, it);
  }
  assert_ok(sl_reader_ack(r, 2));
  assert_ok(sl_reader_commit(r));
  assert_law(k, "r", 2, 0, 0, 0, 1);
  assert_ok(sl_reader_ack(r, 3));
  sl_reader_close(r);
  assert_law(k, "r", 3, 0, 0, 0, 0);
}

/* ------------------------------------------------------------------- damage --- */

static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  (void)kind, (void)first, (void)last;
  strncat(arg, text, 2000);
}

/* Into a new store, which is the kit's then. */
static void repair(kit *k, char said[4096]) {
  char target[4400];
  snprintf(target, sizeof target, "%s/repaired", k->dir);
  sl_close(k->store);
  k->store = NULL;
  said[0] = '\0';
  assert_ok(sl_repair(k->path, target, NULL, hear, said, NULL));
  assert_ok(sl_open(target, &(sl_options){.flags = SL_OPEN_EXISTING}, &k->store));
}

static void make_some_of_each(kit *k) {
  for (int i = 0; i < 5; i++) kit_append(k, i < 4 ? "t" : "u", "v");
  const sl_event keyed = {.topic = SL_STR("t"), .key = SL_STR("k")};
  assert_ok(sl_append(k->store, &keyed, NULL)); /* 6 */
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER, .topics = SL_STR("t,u,needle")});
  assert_next(r, 1);
  assert_ok(sl_reader_ack(r, 1));
  for (uint64_t seq = 2; seq <= 3; seq++) {
    assert_next(r, seq);
    fail_at(r, seq, "E", SL_READER_FINAL);
  }
  assert_next(r, 4);
  fail_at(r, 4, "E", 0);
  sl_reader_close(r);
  assert_ok(sl_reader_drop(k->store, "r", 3, SL_STR("me"), SL_STR("why")));
}

static void test_repair_takes_readers_over(void **state) {
  kit *k = *state;
  char said[4096];
  drops d = {0};
  make_some_of_each(k);
  repair(k, said);
  assert_law(k, "r", 1, 1, 1, 0, 1);
  assert_ok(sl_drops_each(k->store, "r", take_drop, &d));
  assert_int_equal(d.count, 1);
  assert_ok(sl_reader_replay(k->store, "r", 2, NULL));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){LATER});
  assert_next(r, 2);
  assert_next(r, 5);
  assert_next(r, 6);
  assert_next(r, 0); /* 4 waits */
  sl_reader_close(r);
}

static void test_a_damaged_reader_begins_anew(void **state) {
  kit *k = *state;
  char said[4096];
  make_some_of_each(k);
  sl_close(k->store);
  FILE *f = fopen(kit_file(k, "readers/data.mdb"), "r+b");
  static char bytes[1 << 20];
  const size_t len = fread(bytes, 1, sizeof bytes, f);
  for (size_t at = 0; at + 6 <= len; at++)
    if (memcmp(bytes + at, "needle", 6) == 0) {
      fseek(f, (long)at, SEEK_SET);
      fputc('x', f);
    }
  fclose(f);
  kit_open(k);
  sl_verify_report report;
  assert_ok(sl_verify(k->store, NULL, NULL, &report));
  assert_int_equal(report.problems, 1);
  sl_reader *r;
  assert_fails(sl_reader_open(k->store, "r", NULL, &r), SL_E_CORRUPT, "reader r");
  assert_ok(sl_trim(k->store, NULL, NULL)); /* it is in nobody's way */
  repair(k, said);
  assert_non_null(strstr(said, "begins anew"));
  r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  sl_reader_close(r);
}

/* log/ was put back from a backup, readers/ was not: new events would get seqs that the reader has seen. */
static void test_a_reader_beyond_the_log_is_refused(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader_close(reader_of(k, "r", (sl_reader_options){0}));
  db_env *env;
  db_txn *txn;
  sl_reader_state s;
  assert_ok(readers_env(k->store, false, &env));
  assert_ok(db_begin_write(env, false, &txn));
  assert_ok(readers_state_get(txn, "r", &s));
  s.seq = 2;
  assert_ok(readers_state_put(txn, "r", &s));
  assert_ok(db_commit(txn));
  sl_reader *r;
  assert_fails(sl_reader_open(k->store, "r", NULL, &r), SL_E_MISMATCH, "stands at event 2");
}

static void test_a_child_has_no_reader(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  const sl_reader_event *e;
  int code;
  const pid_t pid = fork();
  if (pid == 0) {
    const bool told = sl_reader_next(r, 0, &e) == SL_E_FORKED && sl_reader_commit(r) == SL_E_FORKED;
    sl_reader_close(r);
    _exit(told ? 0 : 1);
  }
  waitpid(pid, &code, 0);
  assert_int_equal(code, 0);
  sl_reader *other;
  /* the lock is still the parent's */
  assert_fails(sl_reader_open(k->store, "r", NULL, &other), SL_E_BUSY, "open already");
  assert_next(r, 1);
  sl_reader_close(r);
}

static void test_a_damaged_reader_can_be_forgotten(void **state) {
  kit *k = *state;
  kit_append(k, "t", "v");
  sl_reader_close(reader_of(k, "r", (sl_reader_options){0}));
  db_env *env;
  db_txn *txn;
  assert_ok(readers_env(k->store, false, &env));
  assert_ok(db_begin_write(env, false, &txn));
  assert_ok(db_put(txn, READERS_STATES, SL_STR("r"), SL_STR("nonsense")));
  assert_ok(db_commit(txn));
  assert_int_equal(sl_readers_each(k->store, NULL, NULL), SL_E_INVALID);
  assert_fails(sl_reader_letters(k->store, "r", 0, take_letter, NULL), SL_E_CORRUPT, "reader r");
  assert_ok(sl_reader_delete(k->store, "r"));
  sl_reader *r = reader_of(k, "r", (sl_reader_options){0});
  assert_next(r, 1);
  sl_reader_close(r);
}

#define WITH_STORE(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void) {
  random_seed();
  const struct CMUnitTest tests[] = {
      WITH_STORE(test_an_event_that_kills_its_reader_ends_as_a_letter),
      WITH_STORE(test_a_new_reader_of_an_old_name_is_not_blamed),
      WITH_STORE(test_suspects_are_handed_out_alone),
      WITH_STORE(test_an_event_that_cannot_be_read_blocks_nothing),
      WITH_STORE(test_a_commit_that_happened_after_all_counts_once),
      WITH_STORE(test_repair_takes_readers_over),
      WITH_STORE(test_a_damaged_reader_begins_anew),
      WITH_STORE(test_a_reader_beyond_the_log_is_refused),
      WITH_STORE(test_a_child_has_no_reader),
      WITH_STORE(test_a_damaged_reader_can_be_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
