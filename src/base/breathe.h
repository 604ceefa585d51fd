/* Long work that gives way to whoever else wants the processor.
 *
 * A thread that computes for milliseconds keeps its processor for the scheduler's whole slice, and those who were
 * woken on it meanwhile wait, though each of them needs microseconds only. So the agent's work calls sl_breathe()
 * every few dozen events: in a thread that asked for it, and when it has run for a while, others are let in front.
 *
 * It is no lower priority: where they are many and never sleep, it would hardly run any more. When a breath took
 * long, the next ones are left out for a multiple of that, so that it keeps most of its share. */
#ifndef SL_BASE_BREATHE_H
#define SL_BASE_BREATHE_H
#include <stdbool.h>

extern _Thread_local bool sl_breathes; /* does this thread? */

void sl_breathe_now(void);

/* With no lock held for which such others wait. */
static inline void sl_breathe(void) {
  if (sl_breathes) sl_breathe_now();
}
#endif
