#include "base/breathe.h"

#include "base/clock.h"

#include <sched.h>

#define EVERY_US 200
#define LONG_US 2000 /* others have had the processor for so long: they are no short guests */
#define PATIENCE 20

_Thread_local bool sl_breathes;

void sl_breathe_now(void) {
  static _Thread_local int64_t due_us;
  const int64_t now = sl_clock_monotonic_us();
  if (now < due_us) return;
  sched_yield();
  const int64_t then = sl_clock_monotonic_us(), took = then - now;
  due_us = then + (took > LONG_US ? took * PATIENCE : EVERY_US);
}
