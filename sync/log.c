#include "log.h"

#include "base/clock.h"
#include "log_inner.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int wanted_level = LEVEL_INFO;
static atomic_int wanted_format = FORMAT_TEXT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static log_limiter limiter; /* under the lock */

void log_setup(log_level level, log_format format) {
  atomic_store(&wanted_level, (int)level);
  atomic_store(&wanted_format, (int)format);
}

bool log_wants(log_level level) { return (int)level <= atomic_load(&wanted_level); }

/* A log that cannot be written must not stop the agent, so what write says is let go. */
static void write_all(const char *data, size_t len) {
  while (len) {
    ssize_t n = write(STDERR_FILENO, data, len);
    if (n <= 0) return;
    data += n;
    len -= (size_t)n;
  }
}

static void emit(log_level level, const char *event, const log_field *fields, const char *format,
                 va_list args) __attribute__((format(printf, 4, 0)));

static void emit(log_level level, const char *event, const log_field *fields, const char *format,
                 va_list args) {
  if (!log_wants(level)) return;
  uint64_t suppressed = 0;
  pthread_mutex_lock(&lock);
  bool goes = level == LEVEL_DEBUG || log_admit(&limiter, event, sl_clock_monotonic_us(), &suppressed);
  pthread_mutex_unlock(&lock);
  if (!goes) return;
  char message[LOG_LINE_MAX], line[LOG_LINE_MAX + 1];
  vsnprintf(message, sizeof message, format, args);
  log_format as = (log_format)atomic_load(&wanted_format);
  size_t len = log_render(line, as, sl_clock_wall_us(), level, event, fields, suppressed, message);
  write_all(line, len);
}

void log_line(log_level level, const char *event, const char *message_format, ...) {
  va_list args;
  va_start(args, message_format);
  emit(level, event, NULL, message_format, args);
  va_end(args);
}

void log_with(log_level level, const char *event, const log_field *fields, const char *message_format, ...) {
  va_list args;
  va_start(args, message_format);
  emit(level, event, fields, message_format, args);
  va_end(args);
}
