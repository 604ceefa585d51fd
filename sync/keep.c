#include "keep.h"
#include "core/history.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define GATHER (256u << 10) /* beyond it, what one turn of the loop records is written within the turn */

struct keep {
  core *core;
  char *path, *before; /* before: path.1 */
  int fd;
  sl_buf bytes;
  bool failed;
};

static void write_out(keep *k) {
  size_t done = 0;
  while (!k->failed && done < k->bytes.len) {
    const ssize_t n = k->fd < 0 ? -1 : write(k->fd, k->bytes.data + done, k->bytes.len - done);
    if (n < 0 && k->fd >= 0 && errno == EINTR) continue;
    k->failed = n < 0;
    if (n > 0) done += (size_t)n;
  }
  k->failed = k->failed || k->bytes.failed;
  sl_buf_reset(&k->bytes);
}

static void begin(void *arg) {
  keep *k = arg;
  write_out(k);
  if (k->fd >= 0) close(k->fd);
  (void)rename(k->path, k->before); /* there may be none */
  k->fd = open(k->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void take(void *arg, const void *data, size_t len) {
  keep *k = arg;
  sl_buf_append(&k->bytes, data, len);
  if (k->bytes.len >= GATHER) write_out(k);
}

keep *keep_start(core *c, const char *path, int64_t most) {
  keep *k = calloc(1, sizeof *k);
  const size_t len = strlen(path);
  if (!k) return NULL;
  k->core = c;
  k->fd = -1;
  k->path = strdup(path);
  k->before = malloc(len + 3);
  if (k->path && k->before) {
    snprintf(k->before, len + 3, "%s.1", path);
    const core_recorder recorder = {.arg = k, .begin = begin, .write = take, .most = (size_t)(most / 2)};
    if (core_listen(c, &recorder) && keep_flush(k)) return k;
  }
  const int why = errno;
  keep_end(k);
  errno = why;
  return NULL;
}

bool keep_flush(keep *k) {
  if (!k || k->failed) return true;
  write_out(k);
  if (k->failed) core_listen(k->core, NULL);
  return !k->failed;
}

void keep_end(keep *k) {
  if (!k) return;
  keep_flush(k);
  core_listen(k->core, NULL);
  if (k->fd >= 0) close(k->fd);
  sl_buf_free(&k->bytes);
  free(k->path);
  free(k->before);
  free(k);
}

static void print_line(void *arg, const char *text) { fprintf(arg, "%s\n", text); }

int keep_replay(const char *path, FILE *out) {
  sl_buf bytes = {0};
  uint8_t part[65536];
  FILE *file = fopen(path, "re");
  if (!file) {
    fprintf(stderr, "sidelogd: %s: %s\n", path, strerror(errno));
    return 3;
  }
  for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;) sl_buf_append(&bytes, part, n);
  const bool read = !ferror(file) && !bytes.failed;
  fclose(file);
  replay_result result = {0};
  if (read) core_replay(sl_buf_slice(&bytes), print_line, out, &result);
  sl_buf_free(&bytes);
  if (!result.readable) {
    fprintf(stderr, "sidelogd: %s: %s\n", path, read ? result.text : "cannot be read");
    return 3;
  }
  fprintf(out, "%s: %s\n", path, result.text);
  return result.equal ? 0 : 1;
}
