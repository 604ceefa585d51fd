/* Structured log lines on stderr, rate limited: time, level, event name, key=value pairs (or JSON). */
#ifndef SYNC_LOG_H
#define SYNC_LOG_H
#include "settings.h"

void log_setup(log_level level, log_format format);

/* `event` is a stable kebab-case name ("broker-unreachable"); `message` is for people. A line of the same event
 * repeats at most `burst` times in 10 s; what was held back is counted in the next one (suppressed=N). Control characters
 * and quotes are escaped. Any thread. */
void log_line(log_level level, const char *event, const char *message_format, ...)
    __attribute__((format(printf, 3, 4)));
#endif
