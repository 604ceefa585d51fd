/*
 * A person sends dead letters again (sl_replay) and gives others up (sl_dead_drop), and the Nth write, flush or
 * allocation goes wrong, or the process is killed there, for every N until a life has no more. After each the
 * store is sound and balanced, each letter is what it was or what it was to be, and the audit trail holds those
 * that were dropped and no others. Doing it all again then ends where an undisturbed life does: one copy on its
 * way for each, one note for each.
 */
#include "lives.h"
#include "must.h"

#include "base/base.h"
#include "delivery/delivery.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <string.h>
#include <unistd.h>

enum { LETTERS = 8, REPLAYED = 4 }; /* the first ones are sent again, the others dropped */

static void make(void) {
  static const sl_letter letter = {.attempts = 1, .error_class = {"C", 1}, .error_code = {"E", 1},
                                   .error_text = {"t", 1}};
  sl_store *store;
  sl_delivery *d;
  delivery_verdict v[LETTERS];
  MUST(sl_open(path, &(sl_options){.preallocate = SL_NONE}, &store) == SL_OK, "does not open");
  for (uint64_t seq = 1; seq <= LETTERS; seq++) {
    const sl_event e = {.topic = SL_STR("t"), .value = SL_STR("v")};
    MUST(sl_append(store, &e, NULL) == SL_OK, "takes no event");
    v[seq - 1] = (delivery_verdict){.seq = seq, .verdict = SL_VERDICT_DEAD, .partition = -1, .letter = &letter};
  }
  MUST(sl_index_advance(store, 0, NULL) == SL_OK, "no index");
  MUST(delivery_open(store, &d) == SL_OK, "no book");
  delivery_attempt a = {.progress = {.seq = LETTERS, .attempt = 1}, .verdicts = v, .count = LETTERS,
                        .marked = true};
  MUST(delivery_record(d, &a) == SL_OK, "no delivery");
  delivery_close(d);
  sl_close(store);
}

/* The first status that is none of a letter that was done with before. */
static sl_status act(void) {
  sl_store *store;
  sl_status status = sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store);
  if (status != SL_OK) return status;
  for (uint64_t seq = 1; seq <= LETTERS && status == SL_OK; seq++) {
    const bool replays = seq <= REPLAYED;
    status = replays ? sl_replay(store, seq, NULL, NULL) : sl_dead_drop(store, seq, SL_STR("me"), SL_STR("why"));
    if (status == (replays ? SL_E_BUSY : SL_E_INVALID)) status = SL_OK;
  }
  sl_close(store);
  return status;
}

typedef struct trail {
  uint64_t seqs[LETTERS + 1];
  size_t count;
} trail;

static void take(void *arg, const sl_drop *d) {
  trail *t = arg;
  MUST(t->count <= LETTERS, "too many notes");
  MUST(sl_slice_eq(d->why, SL_STR("why")) && sl_slice_eq(d->who, SL_STR("me")) && d->number == t->count + 1,
       "a note");
  t->seqs[t->count++] = d->seq;
}

static void check_sound(bool done) {
  sl_store *store;
  sl_stats s;
  sl_verify_report report;
  sl_iter *iter;
  const sl_record *r;
  trail notes = {.count = 0};
  uint64_t copies[LETTERS + 1] = {0}, dropped = 0, replayed = 0;
  MUST(sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) == SL_OK, "does not open");
  MUST(sl_verify(store, NULL, NULL, &report) == SL_OK && report.problems == 0, "unsound");
  MUST(sl_stats_get(store, &s) == SL_OK && s.balanced, "out of balance");
  MUST(s.appended == LETTERS && s.pending == 0, "%" PRIu64 " appended, %" PRIu64 " pending", s.appended,
       s.pending);
  MUST(sl_drops_each(store, NULL, take, &notes) == SL_OK, "no audit trail");
  MUST(sl_iter_start(store, NULL, &iter) == SL_OK, "no iterator");
  while (sl_iter_next(iter, &r) == SL_OK) {
    if (r->replay_of) {
      MUST(r->replay_of <= REPLAYED && ++copies[r->replay_of] == 1, "a second copy of %" PRIu64, r->replay_of);
      replayed++;
      continue;
    }
    if (r->seq <= REPLAYED) MUST(r->state == SL_DEAD, "event %" PRIu64 " is %s", r->seq, sl_state_text(r->state));
    if (r->state != SL_DROPPED) continue;
    MUST(dropped < notes.count && notes.seqs[dropped] == r->seq, "no note of event %" PRIu64, r->seq);
    dropped++;
  }
  sl_iter_close(iter);
  MUST(dropped == notes.count && dropped == s.dropped, "%" PRIu64 " dropped, %zu notes", dropped, notes.count);
  if (done) MUST(replayed == REPLAYED && dropped == LETTERS - REPLAYED, "%" PRIu64 " and %" PRIu64, replayed,
                 dropped);
  sl_close(store);
}

static void live(void) {
  life_arm();
  const sl_status status = act();
  if (status != SL_OK && !fault_struck()) life_give_up("act", status);
}

static void judge(const char *said, bool killed) {
  (void)said, (void)killed;
  check_sound(false);
  MUST(act() == SL_OK, "it cannot be done again");
  check_sound(true);
}

int main(int argc, char **argv) {
  static const fault_kind kinds[] = {FAULT_KILL, FAULT_KILL_HALFWAY, FAULT_WRITE_EIO, FAULT_WRITE_SHORT,
                                     FAULT_DISK_FULL, FAULT_FLUSH_EIO, FAULT_META_LATE, FAULT_META_GONE,
                                     FAULT_ALLOC};
  static const life_plan plan = {.make = make, .live = live, .judge = judge, .dense = 12, .part = 6};
  if (!lives_begin("dead")) return 2;
  lives_run(&plan, kinds, sizeof kinds / sizeof *kinds, argc > 1 ? argv[1] : NULL);
  return lives_end();
}
