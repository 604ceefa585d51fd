/* Structured log lines on standard error, one line each whatever is in them, rate limited.
 *
 * text:  2026-11-22T05:12:01.123Z warn broker-unreachable brokers=r0:9092 suppressed=4: connection refused
 * json:  {"time":"2026-11-22T05:12:01.123Z","level":"warn","event":"broker-unreachable","brokers":"r0:9092",
 *        "suppressed":4,"message":"connection refused"}                                     (in one line)
 *
 * `event` is a stable kebab-case name, for machines; the message is for people. Control characters, and
 * bytes that are no UTF-8, are escaped. A line of the same event repeats at most LOG_BURST times in 10 s;
 * what was held back is counted in the next one (suppressed=N). Debug lines are not limited: who asks for
 * them wants them all. */
#ifndef SYNC_LOG_H
#define SYNC_LOG_H
#include "settings.h"

enum { LOG_BURST = 10, LOG_LINE_MAX = 4000 /* below PIPE_BUF: lines of several processes do not mix */ };

/* Any thread; also to change them while running. Before the first call: info, text. */
void log_setup(log_level level, log_format format);
bool log_wants(log_level level); /* worth the work of making a message? Any thread. */

void log_line(log_level level, const char *event, const char *message_format, ...)
    __attribute__((format(printf, 3, 4)));

/* A pair of a line. Names are literals of a-z and _. Texts are read before log_with returns; NULL is null. */
typedef struct log_field {
  const char *name; /* NULL: the end */
  bool is_text;
  const char *text;
  int64_t number;
} log_field;
static inline log_field log_text(const char *name, const char *text) {
  return (log_field){name, true, text, 0};
}
static inline log_field log_number(const char *name, int64_t n) {
  return (log_field){name, false, NULL, n};
}
#define LOG_FIELDS(...) ((const log_field[]){__VA_ARGS__, {NULL, false, NULL, 0}})

/* As log_line, with pairs: log_with(LEVEL_WARN, "lane-opened", LOG_FIELDS(log_text("topic", t)), "...", ...).
 * `fields` may be NULL. */
void log_with(log_level level, const char *event, const log_field *fields, const char *message_format, ...)
    __attribute__((format(printf, 4, 5)));
#endif
