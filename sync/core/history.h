/* What happened to a core, written down so that it can happen again.
 *
 * A history is an image of the core at a moment at which it had nothing in hand, and then every call that changed
 * it, with its time and with what came out: events and their actions, offers, refusals, delivery reports. Since
 * the core reads no clock and nothing else from outside, the same calls on the same image give the same results: a
 * failure of the field is replayed in a unit test, or by `sidelogd --replay-history FILE`. No key, header or value
 * of an event ever comes near a core, so none is in it; topics, seqs, sizes and the texts of errors are.
 *
 * Form: a line of text (HISTORY_MAGIC, the version, the sizes of the inner structures: an image fits only the
 * build that made it), the image, then records: a byte that says which call, then its fields in the order in which
 * history.c writes them, numbers as LEB128 (signed ones zigzag), times, seqs and tags as what they differ by from
 * the last, texts with their length in front. An offer and its report take about 15 bytes together. */
#ifndef SYNC_CORE_HISTORY_H
#define SYNC_CORE_HISTORY_H
#include "core/core.h"

#define HISTORY_MAGIC "sidelog-history 2"

typedef struct core_recorder {
  void *arg;
  void (*begin)(void *arg); /* a new history begins with the next write; the one before is whole up to here */
  void (*write)(void *arg, const void *data, size_t len);
  size_t most;              /* grown so large, a new one begins at the next moment that allows it; 0: never */
} core_recorder;

/* From now on `recorder` (copied) hears of every call. NULL: it stops. False: out of memory. */
bool core_listen(core *c, const core_recorder *recorder);

typedef struct replay_result {
  bool readable;          /* it is a history, of this build, at least to its first call */
  bool equal;             /* every call gave what was recorded; also where the last one is cut off (a kill) */
  uint64_t calls, steps;  /* how many were made; steps: of core_step */
  char text[400];         /* one line: the first difference, or why it cannot be read */
} replay_result;

/* Makes the calls of a history again on a fresh core. `line`, unless NULL, gets a text for each step. */
void core_replay(sl_slice history, void (*line)(void *arg, const char *text), void *arg, replay_result *result);
#endif
