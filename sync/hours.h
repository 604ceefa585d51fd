/* Times of day at which the agent may deliver: "22:00-06:00, 12:00-13:00", in the host's local time. Pure text and
 * arithmetic; the caller brings the time. */
#ifndef SYNC_HOURS_H
#define SYNC_HOURS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOURS_MAX 16

typedef struct hours {
  size_t count; /* 0: always */
  struct { int from, to; } list[HOURS_MAX]; /* minutes of the day; from > to: over midnight */
} hours;

/* False: `reason` says what is wrong with it. */
bool hours_parse(const char *text, hours *out, char *reason, size_t cap);

/* Microseconds until a time of day that is allowed; 0: now is. second_of_day: 0..86,399, local time. */
int64_t hours_wait_us(const hours *h, int second_of_day);
#endif
