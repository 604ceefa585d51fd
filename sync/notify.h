/* Words to the service manager: sd_notify's protocol over $NOTIFY_SOCKET, without libsystemd. Where the
 * variable is not set (no systemd, a container, a test) every call does nothing and returns false. Nothing
 * blocks, nothing is lost by a failure: the manager then only knows less. Any thread, as long as nobody
 * changes the environment. */
#ifndef SYNC_NOTIFY_H
#define SYNC_NOTIFY_H
#include <stdbool.h>

bool notify_ready(void);     /* READY=1: the store is open; also after a reload. Not: the broker answers. */
bool notify_reloading(void); /* RELOADING=1 and MONOTONIC_USEC; notify_ready ends it */
bool notify_stopping(void);  /* STOPPING=1 */

bool notify_send(const char *assignments); /* NAME=VALUE, one a line; true: handed over */
#endif
