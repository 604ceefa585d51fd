/* How long the indexer waits before its next step.
 *
 * Each step flushes, and a step of many events writes less for each. So while producers are busy the indexer lets
 * events gather, longer as it goes on: step after step it would take processor and disk from them. What says that
 * they are busy is how many events come in a time, not how many a step finds: a quick indexer finds few, and would
 * never rest. A thousand events a second do not meet it, and a burst not before it lasts. */
#ifndef SYNC_INDEX_PAUSE_H
#define SYNC_INDEX_PAUSE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { INDEX_STEP = 20000,     /* events at most */
       INDEX_BUSY = 4000,      /* events a second */
       INDEX_WINDOW_US = 20000, /* the least time to count them in */
       INDEX_PAUSE_LEAST_MS = 25,
       INDEX_PAUSE_MOST_MS = 200 };

typedef struct index_pause { /* begins with zeros */
  int64_t since_us;
  uint64_t since_seq, last_seq;
  atomic_uint ms; /* the last answer; above 0: producers are busy. Other threads may look */
} index_pause;

/* How many ms to wait after a step that reached seq `indexed` at now_us (monotonic). A whole step found a backlog,
 * and is followed at once. */
static inline unsigned index_pause_next(index_pause *p, uint64_t indexed, int64_t now_us) {
  const uint64_t step = indexed - p->last_seq;
  const int64_t took_us = now_us - p->since_us;
  const bool first = p->since_us == 0;
  p->last_seq = indexed;
  if (!first && step < INDEX_STEP && took_us < INDEX_WINDOW_US) return 0;
  const bool busy = !first && step < INDEX_STEP && indexed > p->since_seq &&
                    (double)(indexed - p->since_seq) * 1e6 >= (double)INDEX_BUSY * (double)took_us;
  const unsigned before = p->ms, twice = before * 2 < INDEX_PAUSE_MOST_MS ? before * 2 : INDEX_PAUSE_MOST_MS;
  p->since_us = now_us;
  p->since_seq = indexed;
  p->ms = !busy ? 0 : before == 0 ? INDEX_PAUSE_LEAST_MS : twice;
  return p->ms;
}
#endif
