/* How far the clocks of several hosts differ, told by causes: an effect cannot be before its cause. Pure.
 *
 * A cause in one source whose effect is in another bounds the difference of their clocks on one side; causes the
 * other way bound it on the other. Bounds add up along a third source. What no cause bounds stays unknown. Taken
 * for granted: a source's times are those of one clock, which was not set meanwhile. Where causes contradict
 * that, it is said. */
#ifndef TOOLS_SKEW_H
#define TOOLS_SKEW_H

#include "text.h"

enum { SKEW_MOST = 32 }; /* sources */
#define SKEW_NONE ((size_t) - 1)

typedef struct skew skew;
skew *skew_new(size_t sources);
void skew_free(skew *s); /* accepts NULL */

/* The next event, in any order: its time as its source has it (0: unknown, and then of no use). An id that
 * several sources have tells nothing, for nobody knows whose clock its time is of. */
void skew_learn(skew *s, size_t source, sl_slice event_id, sl_slice causation_id, int64_t us);
/* And what was learned of other stories: if anything contradicts then, all of that is left out. */
void skew_others(skew *s, const skew *others);
/* After the last one. */
void skew_solve(skew *s);

typedef struct skew_clock {
  size_t than;                  /* whose clock it is compared with; SKEW_NONE: no causes join it to another */
  bool has_least, has_most;
  int64_t least_us, most_us;    /* its clock is ahead of that one's by at least and at most so much */
  uint64_t causes;              /* that join the two directly, both ways */
  bool contradicts;             /* causes say what no two clocks can; nothing is known then */
  int64_t shift_us;             /* to be taken from its times, for them to be told together with the first one's */
} skew_clock;
/* After skew_solve. */
const skew_clock *skew_clock_of(const skew *s, size_t source);
/* Is any time to be moved? */
bool skew_moves(const skew *s);

/* "clock of b is 1.200 s..1.351 s behind a (from 14 causes)". Rounded so that what is said holds. Names are added
 * as they are. */
void skew_words(text *out, const skew *s, size_t source, const char *name, const char *than);

/* What a time may be later than it says: one of whole seconds, or milliseconds, may have been cut. */
int64_t time_precision(int64_t us);
#endif
