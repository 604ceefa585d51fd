/* The limit: records one behind the other in a file whose blocks are there, flushed with fdatasync. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct plain {
  int fd;
  uint64_t count;
  uint8_t bytes[BATCH_MAX * RECORD];
} plain;

static void *plain_open(const char *folder, uint64_t events) {
  static uint8_t zeros[1 << 20];
  char path[4200];
  plain *p = need(malloc(sizeof *p));
  make_folder(folder);
  snprintf(path, sizeof path, "%s/plain", folder);
  p->fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  p->count = 0;
  for (uint64_t done = 0; p->fd >= 0 && done < events * RECORD; done += sizeof zeros)
    if (write(p->fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros) stop("%s: %s", path, strerror(errno));
  if (p->fd < 0 || fsync(p->fd) != 0) stop("%s: %s", path, strerror(errno));
  return p;
}

static void plain_append(void *self, const event *events, size_t count) {
  plain *p = self;
  for (size_t i = 0; i < count; i++) {
    uint8_t *at = p->bytes + i * RECORD;
    memset(at, 0, HEADER);
    memcpy(at + HEADER, events[i].event_id, 16);
    memcpy(at + HEADER + 16, events[i].correlation_id, 16);
    memcpy(at + HEADER + 32, events[i].causation_id, 16);
    memcpy(at + HEADER + ID_BYTES, events[i].value, VALUE_1K);
  }
  const size_t len = count * RECORD;
  if (pwrite(p->fd, p->bytes, len, (off_t)(p->count * RECORD)) != (ssize_t)len || fdatasync(p->fd) != 0)
    stop("plain file: %s", strerror(errno));
  p->count += count;
}

static uint64_t plain_count(void *self) { return ((plain *)self)->count; }

static void plain_close(void *self) {
  close(((plain *)self)->fd);
  free(self);
}

const engine engine_plain = {.name = "plain", .open = plain_open, .append = plain_append, .count = plain_count,
                             .close = plain_close};
