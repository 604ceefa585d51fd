#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

bool notify_send(const char *assignments) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  size_t len = path ? strlen(path) : 0;
  /* "@name" is an abstract socket; vsock: and whatever comes next are not for us */
  if (len < 2 || (path[0] != '/' && path[0] != '@') || len >= sizeof to.sun_path) return false;
  memcpy(to.sun_path, path, len);
  /* an abstract name is as long as the address says, a path ends in NUL */
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
  if (path[0] == '@') to.sun_path[0] = 0;
  int type = SOCK_DGRAM;
#ifdef SOCK_CLOEXEC
  type |= SOCK_CLOEXEC;
#endif
  int fd = socket(AF_UNIX, type, 0);
  if (fd < 0) return false;
  ssize_t n;
  do {
    n = sendto(fd, assignments, strlen(assignments), MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&to, size);
  } while (n < 0 && errno == EINTR);
  close(fd);
  return n >= 0;
}

bool notify_ready(void) { return notify_send("READY=1"); }
bool notify_stopping(void) { return notify_send("STOPPING=1"); }

bool notify_reloading(void) {
  /* not base/clock.h: the manager compares it with its own CLOCK_MONOTONIC */
  struct timespec now;
  char text[80];
  clock_gettime(CLOCK_MONOTONIC, &now);
  snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
           (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
  return notify_send(text);
}
