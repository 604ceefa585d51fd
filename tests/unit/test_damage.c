/* A bit flips, or the file is cut, anywhere: opening, verifying and reading end in an answer, no wrong byte is
 * ever told as a right one, what is missing is told, and repair keeps whatever the damage has not touched.
 *
 * LMDB trusts its pages, so a process that reads a damaged store may die by a signal. The library cannot keep it
 * from that (the command line reads in a second process); here each store is read in a child. Repair reads without
 * LMDB: it must not die. SIDELOG_LONG=1 takes many more places. */
#include "kit.h"

#include "base/clock.h"
#include "store/log_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

enum { COPY = 34, ORIGINAL = 13, LANE = 20 }; /* of the life with a lane and a replay */
enum { EVENTS = 80, SETTLED = 40, INTENT = 50, SECONDS = 60 };
enum { FINE, REFUSED, WRONG_VALUE, UNSEEN, FAILED };

static const char *const files[] = {"log/data.mdb", "delivery/data.mdb", "index/data.mdb"};

typedef struct rig {
  kit *kit;
  char damaged[4300], repaired[4300];
  struct image { uint8_t *bytes; size_t len; } images[3];
  unsigned tried, crashed, refused, failed;
} rig;

static bool with_lane; /* topic-b has a lane, and event COPY is the replay of a dead letter */

static bool is_copy(uint64_t seq) { return with_lane && seq == COPY; }
static bool in_b(uint64_t seq) { return seq % 4 == 3; }

static size_t size_of(uint64_t seq) {
  if (is_copy(seq)) seq = ORIGINAL;
  return seq % 20 == 7 ? 9000 : seq % 10 == 3 ? 1500 : 60;
}

static void value_of(uint64_t seq, char *value) {
  char name[16];
  if (is_copy(seq)) seq = ORIGINAL;
  for (size_t i = 0; i < size_of(seq); i++) value[i] = (char)('a' + (seq * 31 + i * 7) % 26);
  memcpy(value, name, (size_t)snprintf(name, sizeof name, "event %d.", (int)seq));
}

static void append_copy(kit *k) {
  char value[9000];
  sl_buf copy = {0};
  db_txn *txn;
  log_meta meta;
  const uint64_t seq = COPY;
  value_of(seq, value);
  const sl_parts parts = {.flags = SL_RECORD_REPLAY, .origin_seq = ORIGINAL, .topic = SL_STR("topic-a"),
                          .type = SL_STR("topic-a"), .event_id = SL_STR("id 13"),
                          .appended_us = sl_clock_wall_us(),
                          .value = {value, size_of(seq)}};
  assert_ok(sl_record_encode(&parts, &copy));
  assert_ok(db_begin_write(k->store->log->env, false, &txn));
  assert_ok(log_meta_read(txn, &meta));
  meta.copies++;
  db_append(txn, LOG_EVENTS, db_u64(&seq), sl_buf_slice(&copy));
  log_meta_write(txn, &meta);
  static const uint8_t tickets[1024];
  db_put(txn, LOG_HEADS, LOG_KEY_TICKETS, SL_BYTES(tickets, sizeof tickets));
  assert_ok(db_commit(txn));
  sl_buf_free(&copy);
}

static void fill_store(kit *k) {
  char value[9000];
  for (uint64_t i = 1; i <= EVENTS; i++) {
    char id[16];
    snprintf(id, sizeof id, "id %d", i == 12 ? 11 : (int)i);
    value_of(i, value);
    if (is_copy(i)) {
      append_copy(k);
      continue;
    }
    const sl_event e = {.topic = in_b(i) ? SL_STR("topic-b") : SL_STR("topic-a"), .event_id = sl_slice_of(id),
                        .correlation_id = SL_STR("c"), .value = {value, size_of(i)}};
    assert_ok(sl_append(k->store, &e, NULL));
  }
  assert_ok(sl_index_advance(k->store, 0, NULL));
  sl_delivery *d;
  assert_ok(delivery_open(k->store, &d));
  const sl_letter letter = {.attempts = 3, .error_class = SL_STR("NON_RETRYABLE_POLICY")};
  delivery_verdict v[INTENT];
  for (uint64_t i = 0; i < INTENT; i++)
    v[i] = (delivery_verdict){.seq = i + 1, .verdict = SL_VERDICT_SENT, .partition = 2, .place = (int64_t)i + 500};
  v[11] = (delivery_verdict){.seq = 12, .verdict = SL_VERDICT_DUPLICATE, .place = 11};
  v[12] = (delivery_verdict){.seq = 13, .verdict = SL_VERDICT_DEAD, .letter = &letter};
  v[13] = (delivery_verdict){.seq = 14, .verdict = SL_VERDICT_DROPPED, .letter = &letter};
  const sl_lane lane = {SL_STR("topic-b"), LANE};
  for (uint64_t i = LANE + 1; with_lane && i <= INTENT; i++)
    if (in_b(i)) v[i - 1] = (delivery_verdict){.seq = i, .verdict = SL_VERDICT_LANE};
  for (uint64_t n = 1; n <= 5; n++) {
    delivery_attempt a = {.progress = {.seq = n * 10, .attempt = n}, .verdicts = v + (n - 1) * 10, .count = 10,
                          .marked = true};
    a.progress.lanes = &lane;
    a.progress.lane_count = with_lane && n * 10 > LANE;
    assert_ok(n <= 4 ? delivery_record(d, &a) : delivery_intent(d, &a));
  }
  delivery_close(d);
}

static void place(char *path, size_t cap, const char *root,
                  const char *name) { snprintf(path, cap, "%s/%s", root, name); }

static void write_file(const char *path, const uint8_t *bytes, size_t len) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_int_equal(write(fd, bytes, len), len);
  close(fd);
}

static void write_images(const rig *r) {
  char path[4400];
  nftw(r->damaged, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  mkdir(r->damaged, 0700);
  for (size_t i = 0; i < 3; i++) {
    place(path, sizeof path, r->damaged, files[i]);
    *strrchr(path, '/') = '\0';
    mkdir(path, 0700);
    place(path, sizeof path, r->damaged, files[i]);
    write_file(path, r->images[i].bytes, r->images[i].len);
  }
}

static int setup(void **state) {
  void *k = NULL;
  rig *r = calloc(1, sizeof *r);
  *state = r;
  random_seed();
  if (kit_setup(&k) != 0) return -1;
  r->kit = k;
  sl_close(r->kit->store);
  nftw(r->kit->path, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  r->kit->options.preallocate = SL_NONE;
  kit_open(r->kit);
  fill_store(r->kit);
  sl_close(r->kit->store);
  r->kit->store = NULL;
  place(r->damaged, sizeof r->damaged, r->kit->dir, "damaged");
  place(r->repaired, sizeof r->repaired, r->kit->dir, "repaired");
  for (size_t i = 0; i < 3; i++) {
    char path[4400];
    struct stat st;
    place(path, sizeof path, r->kit->path, files[i]);
    const int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    r->images[i].len = (size_t)st.st_size;
    r->images[i].bytes = malloc(r->images[i].len);
    assert_int_equal(read(fd, r->images[i].bytes, r->images[i].len), st.st_size);
    close(fd);
  }
  return 0;
}

static int setup_with_lane(void **state) {
  with_lane = true;
  return setup(state);
}

static int teardown(void **state) {
  with_lane = false;
  rig *r = *state;
  void *k = r->kit;
  for (size_t i = 0; i < 3; i++) free(r->images[i].bytes);
  free(r);
  return kit_teardown(&k);
}

/* ------------------------------------------------------------------ children --- */

/* What a child finds out, in words, on its standard error. */
static int say(int code, const char *what, const char *more) {
  fprintf(stderr, "%s: %s\n", what, more);
  return code;
}

typedef struct count { unsigned there, stones, wrong; } count;

static count read_events(sl_store *store) {
  count c = {0};
  sl_iter *it;
  const sl_record *e;
  char value[9000];
  if (sl_iter_start(store, NULL, &it) != SL_OK) return c;
  sl_status status;
  for (unsigned steps = 0; steps < 10 * EVENTS && (status = sl_iter_next(it, &e)) != SL_NOTFOUND; steps++) {
    if (status != SL_OK) continue;
    if (sl_slice_eq(e->type, SL_STR("LOST_DAMAGED"))) {
      c.stones++;
      continue;
    }
    c.there++;
    if (e->seq == 0 || e->seq > EVENTS) {
      c.wrong++;
      continue;
    }
    value_of(e->seq, value);
    c.wrong += !sl_slice_eq(e->value, SL_BYTES(value, size_of(e->seq))) ||
               !sl_slice_eq(e->topic, in_b(e->seq) ? SL_STR("topic-b") : SL_STR("topic-a"));
  }
  sl_iter_close(it);
  return c;
}

static int look(const rig *r) {
  sl_store *store;
  sl_verify_report found;
  if (sl_open(r->damaged, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK) return REFUSED;
  const count c = read_events(store);
  if (sl_verify(store, NULL, NULL, &found) != SL_OK) return FINE; /* that is an answer */
  if (found.problems == 0 && c.wrong) return say(WRONG_VALUE, "a wrong event", "and verify is silent");
  if (found.problems == 0 && c.there < EVENTS) return say(UNSEEN, "an event is missing", "and verify is silent");
  sl_close(store);
  return FINE;
}

static char said[16384];
static void hear(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *text) {
  (void)arg;
  const size_t len = strlen(said);
  snprintf(said + len, sizeof said - len, "%s %d-%d %s\n", sl_repair_kind_text(kind), (int)first, (int)last, text);
}

/* `most`: so many events may be lost. */
static int mend(const rig *r, unsigned most, bool delivery) {
  sl_repair_report report = {0};
  sl_store *store;
  said[0] = '\0';
  sl_status status = sl_repair(r->damaged, r->repaired, NULL, hear, NULL, &report);
  if (status == SL_E_MISMATCH && delivery) {
    const sl_repair_options options = {.flags = SL_REPAIR_NO_DELIVERY};
    said[0] = '\0';
    status = sl_repair(r->damaged, r->repaired, &options, hear, NULL, &report);
  }
  if (status == SL_E_AMBIGUOUS && strstr(sl_last_detail(), "say which")) {
    static const char *const names[] = {"topic-a", "topic-b"};
    const sl_repair_options options = {.names = names, .name_count = 2};
    status = sl_repair(r->damaged, r->repaired, &options, hear, NULL, &report);
  }
  if (status != SL_OK) return say(FAILED, sl_last_detail(), said);
  if (sl_open(r->repaired, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK)
    return say(FAILED, "the repaired store does not open", sl_last_detail());
  const count c = read_events(store);
  sl_stats s;
  if (sl_stats_get(store, &s) != SL_OK || !s.balanced) return say(FAILED, "out of balance", said);
  sl_close(store);
  if (c.wrong) return say(WRONG_VALUE, "a wrong event in the repaired store", said);
  if (c.there + most < EVENTS) return say(FAILED, "events are lost that the damage had not touched", said);
  if (c.there < EVENTS && report.lost_pending + report.lost_settled == 0 && !report.end_unknown)
    return say(UNSEEN, "a loss is not told", said);
  return report.delivery_kept || delivery ? FINE : say(FAILED, "the delivery state is lost", said);
}

typedef struct outcome { int signal, code; } outcome;

static outcome in_child(int (*what)(const rig *, unsigned, bool), const rig *r, unsigned most, bool delivery) {
  fflush(NULL);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(SECONDS);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    _exit(what(r, most, delivery));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return (outcome){WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

static int look_child(const rig *r, unsigned most, bool delivery) {
  (void)most, (void)delivery;
  if (!getenv("SIDELOG_DAMAGE_WORDS")) (void)!freopen("/dev/null", "w", stderr); /* LMDB's last words */
  return look(r);
}

/* A long run tells everything that it finds, and fails at its end. */
static void wrong(rig *r, const char *what, const char *which, outcome o) {
  print_error("%s: %s (signal %d, code %d)\n", what, which, o.signal, o.code);
  r->failed++;
}

/* Both, on the damaged store that is there. Repair first: it changes nothing. */
static void examine(rig *r, const char *what, unsigned most, bool delivery) {
  nftw(r->repaired, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  r->tried++;
  outcome o = in_child(mend, r, most, delivery);
  if (o.signal || o.code != FINE) wrong(r, what, "repair fails", o);
  o = in_child(look_child, r, 0, false);
  if (o.signal == SIGALRM) wrong(r, what, "opening and reading it does not end", o);
  if (o.code == WRONG_VALUE || o.code == UNSEEN) wrong(r, what, "verify is silent", o);
  r->crashed += o.signal != 0;
  r->refused += o.code == REFUSED;
}

static void flip(rig *r, size_t file, size_t bit) {
  char path[4400], what[128];
  uint8_t byte = r->images[file].bytes[bit / 8] ^ (uint8_t)(1u << (bit % 8));
  write_images(r);
  place(path, sizeof path, r->damaged, files[file]);
  const int fd = open(path, O_WRONLY);
  assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
  close(fd);
  snprintf(what, sizeof what, "%s, byte %zu, bit %zu", files[file], bit / 8, bit % 8);
  examine(r, what, file == 0 ? 1 : 0, file == 1);
}

static unsigned samples(unsigned few, unsigned many) { return getenv("SIDELOG_LONG") ? many : few; }

/* Which meta page is the newer one is said by one number in each: a bit of it makes an older tree the newest. */
static void test_flips_of_transaction_numbers(void **state) {
  enum { TXN = 16 + 128 }; /* in a meta page */
  rig *r = *state;
  for (size_t file = 0; file < 2; file++)
    for (size_t bit = 0; bit < 8; bit++)
      for (size_t page = 0; page < 2; page++) flip(r, file, (page * 4096 + TXN) * 8 + bit);
  assert_int_equal(r->failed, 0);
}

/* Half anywhere, half where pages are led to: their heads and the meta pages. */
static void test_flips(void **state) {
  rig *r = *state;
  unsigned one_file, one_byte, one_bit;
  const char *one = getenv("SIDELOG_DAMAGE"); /* FILE:BYTE:BIT, to look at one that failed */
  if (one && sscanf(one, "%u:%u:%u", &one_file, &one_byte, &one_bit) == 3 && one_file < 3) {
    flip(r, one_file, (size_t)one_byte * 8 + one_bit % 8);
    assert_int_equal(r->failed, 0);
    return;
  }
  static const unsigned few[] = {60, 40, 12}, many[] = {6000, 4000, 600};
  for (size_t file = 0; file < 3; file++) {
    const size_t bytes = r->images[file].len, pages = bytes / 4096;
    for (unsigned i = 0, n = samples(few[file], many[file]); i < n; i++) {
      const size_t at = i % 2 ? random_below(bytes) : random_below(pages) * 4096 + random_below(i % 4 ? 64 : 160);
      flip(r, file, at * 8 + random_below(8));
    }
  }
  print_message("%u flips: %u stores refused, %u readers ended by a signal\n", r->tried, r->refused, r->crashed);
  assert_int_equal(r->failed, 0);
}

static void test_cuts(void **state) {
  rig *r = *state;
  for (size_t file = 0; file < 2; file++)
    for (unsigned i = 0, n = samples(12, 300); i < n; i++) {
      char path[4400], what[128];
      const size_t pages = r->images[file].len / 4096 - 2; /* the long form cuts at each of them */
      const size_t len = samples(0, 1) && i < pages ? (2 + i) * 4096
                         : i % 3                    ? 2 * 4096 + random_below(pages * 4096)
                                                    : (2 + random_below(pages)) * 4096;
      write_images(r);
      place(path, sizeof path, r->damaged, files[file]);
      assert_int_equal(truncate(path, (off_t)len), 0);
      snprintf(what, sizeof what, "%s cut to %zu bytes", files[file], len);
      examine(r, what, file == 0 ? EVENTS : 0, file == 1);
    }
  print_message("%u cuts: %u stores refused, %u readers ended by a signal\n", r->tried, r->refused, r->crashed);
  assert_int_equal(r->failed, 0);
}

int main(void) {
  /* Hundreds of stores are made; whether a disk holds them is not the question here. */
  if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_flips_of_transaction_numbers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_flips, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cuts, setup, teardown),
      cmocka_unit_test_setup_teardown(test_flips, setup_with_lane, teardown),
      cmocka_unit_test_setup_teardown(test_cuts, setup_with_lane, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
