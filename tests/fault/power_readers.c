#include "power_readers.h"

#include <inttypes.h>
#include <sidelog/dead.h>
#include <sidelog/reader.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 4096, BUDGET = 3 };

enum note {
  NOTE_THERE = NOTE_READERS, /* the reader is: durable */
  NOTE_DONE,                 /* seq: acknowledged and committed */
  NOTE_FAILED,               /* seq, failures so far: committed */
  NOTE_DEAD,                 /* seq: a dead letter */
  NOTE_ASKED_AGAIN,          /* seq: about to be sent again, so it may come */
  NOTE_DROPPED               /* seq: given up, with a note */
};

static const sl_reader_options options = {.max_attempts = BUDGET, .commit_events = 7, .backoff_us = 1,
                                          .backoff_max_us = 1};

static bool fails(uint64_t seq) { return seq % 31 == 5; }
static bool hopeless(uint64_t seq) { return seq % 23 == 3; }

/* ----------------------------------------------------------------- a life --- */

static bool read_on(sl_reader *r) {
  static uint64_t acked[MOST];
  const sl_reader_event *e;
  size_t count = 0;
  sl_status status;
  while ((status = sl_reader_next(r, 0, &e)) == SL_OK) {
    const uint64_t seq = e->record->seq;
    const uint32_t before = e->attempts;
    const sl_reader_failure why = {.flags = hopeless(seq) ? SL_READER_FINAL : 0, .error_code = SL_STR("E")};
    const bool bad = (fails(seq) && before < BUDGET - 1) || hopeless(seq);
    int dead = 0;
    if (bad && sl_reader_fail(r, seq, &why, &dead) != SL_OK) return false;
    if (bad) record_note(dead ? NOTE_DEAD : NOTE_FAILED, seq, before + 1);
    if (!bad && sl_reader_ack(r, seq) != SL_OK) return false;
    if (!bad && count < MOST) acked[count++] = seq;
    if (count % 50 != 49) continue;
    if (sl_reader_commit(r) != SL_OK) return false;
    while (count > 0) record_note(NOTE_DONE, acked[--count], 0);
  }
  if (status != SL_TIMEOUT || sl_reader_commit(r) != SL_OK) return false;
  while (count > 0) record_note(NOTE_DONE, acked[--count], 0);
  return true;
}

static void take_first(void *arg, const sl_reader_letter *l) {
  uint64_t *seqs = arg;
  for (int i = 0; i < 2; i++)
    if (seqs[i] == 0) {
      seqs[i] = l->seq;
      return;
    }
}

bool readers_live(sl_store *store) {
  sl_reader *r;
  uint64_t letters[2] = {0};
  if (sl_reader_open(store, "r", &options, &r) != SL_OK) return false;
  record_note(NOTE_THERE, 0, 0);
  bool good = read_on(r);
  if (good) good = sl_reader_letters(store, "r", 0, take_first, letters) == SL_OK;
  if (good && letters[0]) {
    record_note(NOTE_ASKED_AGAIN, letters[0], 0);
    good = sl_reader_replay(store, "r", letters[0], &(sl_replay_options){.most = 1000}) == SL_OK;
  }
  if (good && letters[1]) {
    good = sl_reader_drop(store, "r", letters[1], SL_STR("me"), SL_STR("why")) == SL_OK;
    if (good) record_note(NOTE_DROPPED, letters[1], 0);
  }
  if (good) good = read_on(r);
  sl_reader_close(r);
  return good;
}

/* --------------------------------------------------------------- promises --- */

static struct { bool there, done[MOST], dead[MOST], dropped[MOST]; uint64_t failures[MOST]; } promised;

void readers_forget(void) { memset(&promised, 0, sizeof promised); }

void readers_promise(const record_entry *note) {
  const uint64_t seq = note->at;
  if (seq >= MOST) return;
  switch (note->file) {
    case NOTE_THERE: promised.there = true; break;
    case NOTE_DONE: promised.done[seq] = true; break;
    case NOTE_FAILED: promised.failures[seq] = note->len; break;
    case NOTE_DEAD: promised.dead[seq] = true; break;
    case NOTE_ASKED_AGAIN: promised.dead[seq] = false, promised.failures[seq] = 0; break;
    case NOTE_DROPPED: promised.dropped[seq] = true, promised.dead[seq] = false; break;
    default: break;
  }
}

typedef struct seen { bool dead[MOST], dropped[MOST]; bool twice; } seen;

static void see_letter(void *arg, const sl_reader_letter *l) {
  seen *s = arg;
  if (l->seq < MOST) s->twice |= s->dead[l->seq], s->dead[l->seq] = true;
}

static void see_drop(void *arg, const sl_drop *d) {
  seen *s = arg;
  if (d->seq < MOST) s->twice |= s->dropped[d->seq], s->dropped[d->seq] = true;
}

static void keep_info(void *arg, const sl_reader_info *i) { *(sl_reader_info *)arg = *i; }

const char *readers_judge(sl_store *store) {
  static char text[200];
  static seen s;
  sl_reader *r;
  sl_reader_options all = options;
  const sl_reader_event *e;
  sl_reader_info i;
  sl_stats stats;
  sl_status status;
  const char *wrong = NULL;
  if (!promised.there) return NULL;
  memset(&s, 0, sizeof s);
  all.flags = SL_READER_EXISTING;
  if (sl_stats_get(store, &stats) != SL_OK) return "no statistics";
  if (sl_drops_each(store, "r", see_drop, &s) != SL_OK) return "the audit trail cannot be read";
  if (sl_reader_letters(store, "r", 0, see_letter, &s) != SL_OK) return "its letters cannot be read";
  for (uint64_t seq = stats.first_seq; seq < MOST && !wrong; seq++) {
    if (promised.dead[seq] && !s.dead[seq] && !s.dropped[seq]) wrong = "a letter is lost";
    if (promised.dropped[seq] && (s.dead[seq] || !s.dropped[seq])) wrong = "a letter that was given up is back";
  }
  if (s.twice) wrong = "a letter or a note stands twice";
  if (wrong) return wrong;
  if (sl_reader_open(store, "r", &all, &r) != SL_OK) return "it does not open";
  while (!wrong && (status = sl_reader_next(r, 0, &e)) == SL_OK) {
    const uint64_t seq = e->record->seq;
    if (seq < MOST && promised.done[seq]) wrong = "what was acknowledged is handed out again";
    if (seq < MOST && (promised.dead[seq] || promised.dropped[seq])) wrong = "a dead letter is handed out";
    if (seq < MOST && e->attempts < promised.failures[seq]) wrong = "a failure is forgotten";
    if (sl_reader_ack(r, seq) != SL_OK) wrong = "it takes no word";
    if (wrong) snprintf(text, sizeof text, "event %" PRIu64 ": %s", seq, wrong);
  }
  sl_reader_close(r);
  if (wrong) return text;
  if (status != SL_TIMEOUT) return "it does not come to its end";
  if (sl_reader_info_get(store, "r", keep_info, &i) != SL_OK || !i.balanced || i.open || i.lag)
    return "it is not at the end";
  return NULL;
}
