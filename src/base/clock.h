/* The two clocks. Nothing else in the project asks the operating system for the time. */
#ifndef SL_BASE_CLOCK_H
#define SL_BASE_CLOCK_H
#include <stdint.h>

int64_t sl_clock_wall_us(void);      /* since 1970-01-01T00:00:00Z; may jump */
int64_t sl_clock_monotonic_us(void); /* never steps back; no relation between processes */
#endif
