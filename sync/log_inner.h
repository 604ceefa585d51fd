/* The pure halves of log.c: time comes in, text goes out. Nobody else includes this but their tests. */
#ifndef SYNC_LOG_INNER_H
#define SYNC_LOG_INNER_H
#include "log.h"

/* One line with its newline and a NUL, at most LOG_LINE_MAX bytes; returns its length. What does not fit
 * is cut, in the message last of all, and the line stays well formed. */
size_t log_render(char out[LOG_LINE_MAX + 1], log_format format, int64_t wall_us, log_level level,
                  const char *event, const log_field *fields, uint64_t suppressed, const char *message);

enum { LOG_LIMITS = 64, LOG_EVENT_MAX = 48 };

typedef struct log_limit {
  char event[LOG_EVENT_MAX];
  int64_t window_us; /* its start */
  unsigned count;    /* let through in this window */
  uint64_t held;     /* since the last that was let through */
} log_limit;

/* Zeroed is empty. Remembers the LOG_LIMITS events seen last; one that is forgotten starts anew. */
typedef struct log_limiter {
  log_limit limits[LOG_LIMITS];
} log_limiter;

/* May this line go out? *suppressed is how many were held back before it. `now_us` is monotonic. */
bool log_admit(log_limiter *limiter, const char *event, int64_t now_us, uint64_t *suppressed);
#endif
