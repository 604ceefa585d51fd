/*
 * A reader's life - hand out, acknowledge, fail, dead letters, replay, drop, trim - in which the Nth write,
 * flush or allocation goes wrong, or the process is killed there, for every N until a life has no more. The
 * child tells its parent what it did and what it was told; after each life:
 *
 *   verify finds no problem, so the law holds; what was acknowledged and committed is not handed out again; a
 *   failure that was told as kept is remembered; nothing is handed out after its budget; and the reader, opened
 *   again, comes to the end: every event is acknowledged, dead, dropped or missed, once.
 *
 * And a reader that is opened after a crash, the same: the crash is counted once.
 */
#include "lives.h"
#include "must.h"

#include "base/base.h"
#include "delivery/delivery.h"

#include <inttypes.h>
#include <sidelog/reader.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVENTS = 40, MORE = 12, BUDGET = 3 };

static const sl_reader_options options = {.max_attempts = BUDGET, .commit_events = 3, .backoff_us = 1,
                                          .backoff_max_us = 1};

static bool fails(uint64_t seq) { return seq % 7 == 3; }
static bool hopeless(uint64_t seq) { return seq % 11 == 5; }

static void append(sl_store *store, uint64_t first, uint64_t count) {
  for (uint64_t i = first; i < first + count; i++) {
    const char key = (char)('a' + i % 5);
    const sl_event e = {.topic = SL_STR("t"), .key = {&key, 1}, .value = SL_STR("v")};
    if (sl_append(store, &e, NULL) != SL_OK) exit(4);
  }
}

/* Everything is sent, so that trim may take it. */
static void deliver(sl_store *store, uint64_t to) {
  sl_delivery *d;
  delivery_verdict v[EVENTS + MORE];
  size_t count = 0;
  if (sl_index_advance(store, 0, NULL) != SL_OK || delivery_open(store, &d) != SL_OK) exit(4);
  const delivery_state *s = delivery_state_get(d);
  for (uint64_t seq = s->cursor.seq + 1; seq <= to; seq++)
    v[count++] = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_SENT, .place = 1};
  delivery_attempt a = {.progress = s->cursor, .verdicts = v, .count = count, .marked = true};
  a.progress.seq = to;
  a.progress.attempt = s->last_attempt + 1;
  if (delivery_record(d, &a) != SL_OK) exit(4);
  delivery_close(d);
}

/* ---------------------------------------------------------------- child --- */

/* The reader keeps what it was told, also where the commit failed: SL_E_INVALID then says that it is not in
 * hand. */
static void decide(sl_reader *r, const sl_reader_event *e) {
  const uint64_t seq = e->record->seq, before = e->attempts;
  const sl_reader_failure why = {.flags = hopeless(seq) ? SL_READER_FINAL : 0, .error_code = SL_STR("E")};
  if (fails(seq) || hopeless(seq)) {
    TRY_OR(sl_reader_fail(r, seq, &why, NULL), SL_E_INVALID);
    TRY(sl_reader_commit(r));
    life_say("f", seq, before + 1);
  } else {
    TRY_OR(sl_reader_ack(r, seq), SL_E_INVALID);
    life_say("a", seq, 0);
  }
}

static void drain(sl_reader *r) {
  for (int failed = 0;;) {
    const sl_reader_event *e;
    const sl_status status = sl_reader_next(r, 0, &e);
    if (status == SL_TIMEOUT) break;
    if (status != SL_OK && fault_struck() && ++failed < LIFE_TRIES) continue;
    if (status != SL_OK) life_give_up("sl_reader_next", status);
    decide(r, e);
  }
  TRY(sl_reader_commit(r));
  life_say("c", 0, 0);
}

static void live(void) {
  sl_store *store;
  sl_reader *r;
  const sl_trim_policy policy = {.max_events = 20};
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  life_arm();
  TRY(sl_reader_open(store, "r", &options, &r));
  drain(r);
  TRY_OR(sl_reader_replay(store, "r", 3, NULL), SL_E_BUSY);
  TRY_OR(sl_reader_drop(store, "r", 5, SL_STR("me"), SL_STR("why")), SL_NOTFOUND);
  life_say("r", 3, 0);
  drain(r);
  sl_reader_close(r);
  TRY(sl_reader_open(store, "r", &options, &r));
  TRY(sl_trim(store, &policy, NULL));
  append(store, EVENTS + 1, 0);
  drain(r);
  sl_reader_close(r);
  sl_close(store);
}

/* --------------------------------------------------------------- parent --- */

static void make(void) {
  sl_store *store;
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  append(store, 1, EVENTS);
  deliver(store, EVENTS);
  sl_close(store);
}

typedef struct said {
  bool kept[EVENTS + MORE + 1];         /* acknowledged and committed */
  uint64_t failures[EVENTS + MORE + 1]; /* told as kept */
  bool replayed;
} said;

static void read_said(const char *text, said *s) {
  bool acked[EVENTS + MORE + 1] = {false};
  memset(s, 0, sizeof *s);
  for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
    char word;
    uint64_t seq, n;
    if (sscanf(line, "%c %" SCNu64 " %" SCNu64, &word, &seq, &n) != 3 || !strchr(line, '\n')) break;
    if (word == 'a') acked[seq] = true;
    if (word == 'f' && n > s->failures[seq]) s->failures[seq] = n;
    if (word == 'r') s->replayed = true;
    /* a failure commits what came before it */
    if (word == 'c' || word == 'f') memcpy(s->kept, acked, sizeof acked);
  }
}

static void keep_info(void *arg, const sl_reader_info *i) { *(sl_reader_info *)arg = *i; }

static void problem(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "%s: verify: %s\n", what, text);
}

static void judge(const char *text, bool killed) {
  (void)killed;
  sl_store *store;
  sl_reader *r;
  sl_verify_report report;
  sl_reader_info i;
  static said s;
  read_said(text, &s);
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_verify(store, problem, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  append(store, EVENTS + 1, MORE);
  MUST(sl_reader_open(store, "r", &options, &r) == SL_OK, "no reader");
  uint64_t last[5] = {0};
  const sl_reader_event *e;
  sl_status status;
  while ((status = sl_reader_next(r, 0, &e)) == SL_OK) {
    const uint64_t seq = e->record->seq;
    MUST(!s.kept[seq], "event %" PRIu64 " is handed out again", seq);
    MUST(seq == 3 || e->attempts >= s.failures[seq], "event %" PRIu64 " has failed %" PRIu64 " times, not %u", seq,
         s.failures[seq], e->attempts);
    MUST(e->attempts < BUDGET, "event %" PRIu64 " is beyond its budget", seq);
    MUST(seq > last[seq % 5] || e->replays, "event %" PRIu64 " comes after %" PRIu64, seq, last[seq % 5]);
    last[seq % 5] = seq;
    MUST(sl_reader_ack(r, seq) == SL_OK, "takes no word");
  }
  MUST(status == SL_TIMEOUT, "it ends with %s", sl_status_text(status));
  sl_reader_close(r);
  MUST(sl_reader_info_get(store, "r", keep_info, &i) == SL_OK, "no information");
  MUST(i.balanced && i.open == 0 && i.lag == 0, "not at the end: %" PRIu64 " open, %" PRIu64 " behind", i.open,
       i.lag);
  MUST(i.seen == EVENTS + MORE && i.acked + i.dead + i.dropped + i.missed == EVENTS + MORE, "%" PRIu64 " seen",
       i.seen);
  MUST(sl_verify(store, problem, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  sl_close(store);
}

/* ---------------------------------------------- opening after a crash --- */

/* Its process ended with the first event in hand. */
static void make_crashed(void) {
  int code;
  make();
  const pid_t pid = fork();
  if (pid == 0) {
    sl_store *store;
    sl_reader *r;
    const sl_reader_event *e;
    MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
    MUST(sl_reader_open(store, "r", &options, &r) == SL_OK, "no reader");
    MUST(sl_reader_next(r, 0, &e) == SL_OK && e->record->seq == 1, "no event");
    _exit(0);
  }
  waitpid(pid, &code, 0);
  MUST(code == 0, "it ended with %d", code);
}

static void open_and_close(void) {
  sl_store *store;
  sl_reader *r;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  life_arm();
  TRY(sl_reader_open(store, "r", &options, &r));
  sl_reader_close(r);
  sl_close(store);
}

/* Whatever the opener met, and however often it tried: the crash counts, once. */
static void judge_crash(const char *text, bool killed) {
  (void)text, (void)killed;
  sl_store *store;
  sl_reader *r;
  const sl_reader_event *e;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_reader_open(store, "r", &options, &r) == SL_OK, "no reader");
  MUST(sl_reader_next(r, 0, &e) == SL_OK && e->record->seq == 1, "no event");
  MUST(e->attempts == 1, "it has failed %u times", e->attempts);
  sl_reader_close(r);
  sl_close(store);
}

int main(int argc, char **argv) {
  static const life_plan plan = {.make = make, .live = live, .judge = judge, .dense = 12, .part = 6};
  if (!lives_begin("reader")) return 2;
  static const life_plan crash = {.make = make_crashed, .live = open_and_close, .judge = judge_crash};
  lives_run_all(&plan, argc > 1 ? argv[1] : NULL);
  puts("opened after a crash:");
  lives_run_all(&crash, argc > 1 ? argv[1] : NULL);
  return lives_end();
}
