/* Watches dead-letter topics, whoever writes to them, and raises an alert where many letters arrive: a line of the
 * log, a count in the report, a webhook. Counts the records that a read_committed consumer gets, and writes to no
 * topic. On a worker of its own, one thing at a time: neither a slow cluster nor a webhook that hangs holds up
 * delivery. What it has noted does not survive the process. */
#ifndef SYNC_MONITOR_H
#define SYNC_MONITOR_H
#include "report.h"

struct agent;
typedef struct monitor monitor;

/* Where it is enabled: a->monitor, which looks once the agent delivers. NULL otherwise, or without memory. */
void monitor_start(struct agent *a);
/* It reads the settings just now. NULL is fine. */
bool monitor_busy(const monitor *m);
/* They are others now, and it looks at once. `login`: connect anew. While it is not busy. */
void monitor_reloaded(monitor *m, bool login);
/* For the report; NULL: there is none. Valid until the next call. */
const report_monitor *monitor_report(const monitor *m);
/* Ends it, on a loop that nobody runs any more. False: it still waits for an answer somewhere, and the process has
 * to end without freeing what a worker uses. */
bool monitor_end(struct agent *a);
#endif
