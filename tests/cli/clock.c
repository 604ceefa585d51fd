/* A wall clock that stands still, for one process: preloaded (LD_PRELOAD), it has CLOCK_REALTIME at as many
 * microseconds since 1970 as SIDELOG_CLOCK says. The other clocks go on.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
  const char *told = id == CLOCK_REALTIME ? getenv("SIDELOG_CLOCK") : NULL;
  if (!told)
    return (int)syscall(SYS_clock_gettime, id, now);
  long long us = strtoll(told, NULL, 10);
  *now = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
  return 0;
}
