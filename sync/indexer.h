/* Sees what comes into the log, has it indexed, and tells the core of both (EVENT_LOG). On a worker, one step at a
 * time.
 *
 * A look follows each change of the log's file, each tick of the agent's (a change may go unnoticed), and each
 * step that left something. While producers are busy there is a pause between steps, in which the file is not
 * watched: each write would wake the loop, by the producer's own work. */
#ifndef SYNC_INDEXER_H
#define SYNC_INDEXER_H
#include "index_pause.h"
#include <sidelog/sidelog.h>
#include <uv.h>

struct agent;

typedef struct indexer {
  uv_fs_event_t watch;        /* of the log's file */
  bool watch_failed;
  uv_timer_t look;            /* soon after a change that showed nothing new: see on_log_change */
  unsigned looks;             /* of those, still to be made */
  uv_timer_t pause;
  index_pause rhythm;
  uv_work_t work;
  bool busy;                  /* a step is under way; */
  bool again;                 /* another was wanted meanwhile */
  uint64_t indexed, last_seq; /* written by the worker, read after it */
  uint64_t told_last_seq;
  sl_status status;
  char detail[512];
} indexer;

void indexer_init(struct agent *a);  /* its handles, on the agent's loop */
void indexer_start(struct agent *a); /* watches, and looks for the first time */
void indexer_look(struct agent *a);  /* now, or once the pause or the step under way is over */
/* Producers are busy, and the indexer keeps up with them: what the agent does may wait for them (base/breathe.h).
 * Any thread. */
static inline bool indexer_gives_way(const indexer *x) {
  return atomic_load_explicit(&x->rhythm.ms, memory_order_relaxed) > 0;
}
#endif
