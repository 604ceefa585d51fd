/* A host that slept, or whose clock is wrong, for one process: preloaded (LD_PRELOAD), it adds to CLOCK_BOOTTIME
 * as many seconds as the file $SIDELOG_SLEPT says, as the kernel does after a suspend, and to the time of day what
 * $SIDELOG_AHEAD says. A time namespace cannot: its offset is fixed before its first process begins, and the time
 * of day has none. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long seconds_of(const char *variable) {
  const char *path = getenv(variable);
  FILE *file = path ? fopen(path, "re") : NULL;
  long seconds = 0;
  if (file && fscanf(file, "%ld", &seconds) != 1) seconds = 0;
  if (file) fclose(file);
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real(clock, ts);
  if (clock == CLOCK_BOOTTIME) ts->tv_sec += seconds_of("SIDELOG_SLEPT");
  if (clock == CLOCK_REALTIME) ts->tv_sec += seconds_of("SIDELOG_AHEAD");
  return result;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
  struct timespec ts;
  (void)zone;
  const int result = clock_gettime(CLOCK_REALTIME, &ts);
  *tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
  return result;
}
