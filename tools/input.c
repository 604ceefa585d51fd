#include "input.h"

#include "text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 128 << 10 };

void line_reader_init(line_reader *in, int fd, size_t limit) {
  *in = (line_reader){.fd = fd, .limit = limit, .cap = 2 * READ_SIZE};
  in->data = tool_alloc(in->cap);
}

void line_reader_free(line_reader *in) {
  free(in->data);
  in->data = NULL;
}

static bool readable_now(int fd) {
  struct pollfd watch = {.fd = fd, .events = POLLIN};
  return poll(&watch, 1, 0) != 0;
}

static void make_room(line_reader *in) {
  if (in->begin > 0) {
    memmove(in->data, in->data + in->begin, in->end - in->begin);
    in->end -= in->begin;
    in->looked -= in->begin;
    in->begin = 0;
  }
  if (in->cap - in->end < READ_SIZE) {
    in->cap = in->cap * 2;
    in->data = tool_grow(in->data, in->cap);
  }
}

/* 1: something was read or the end was seen, 0: nothing there now, -1: errno. */
static int fill(line_reader *in, bool wait) {
  make_room(in);
  for (;;) {
    if (!wait && !readable_now(in->fd))
      return 0;
    ssize_t n = read(in->fd, in->data + in->end, READ_SIZE);
    if (n > 0) {
      in->end += (size_t)n;
      in->read_total += (uint64_t)n;
      return 1;
    }
    if (n == 0) {
      in->eof = true;
      return 1;
    }
    if (errno == EAGAIN) {
      if (!wait)
        return 0;
      poll(&(struct pollfd){.fd = in->fd, .events = POLLIN}, 1, -1);
    } else if (errno != EINTR) {
      return -1;
    }
  }
}

static line_result give(line_reader *in, size_t len, size_t next, sl_slice *line) {
  char *start = in->data + in->begin;
  size_t dropped = in->dropped;
  in->begin = in->looked = next;
  in->dropped = 0;
  if (len && start[len - 1] == '\r')
    len--;
  *line = (sl_slice){start, len + dropped};
  return dropped || len > in->limit ? LINE_TOO_LONG : LINE_HERE;
}

line_result line_next(line_reader *in, bool wait, sl_slice *line) {
  for (;;) {
    char *newline = memchr(in->data + in->looked, '\n', in->end - in->looked);
    if (newline)
      return give(in, (size_t)(newline - in->data) - in->begin, (size_t)(newline - in->data) + 1, line);
    in->looked = in->end;
    if (in->eof) {
      if (in->begin == in->end && !in->dropped)
        return LINE_END;
      return give(in, in->end - in->begin, in->end, line);
    }
    /* One byte more than the limit may be a carriage return. The last one is kept for that reason. */
    if (in->end - in->begin > in->limit + 1) {
      in->dropped += in->end - in->begin - 1;
      in->begin = in->end - 1;
    }
    int got = fill(in, wait);
    if (got < 0)
      return LINE_ERROR;
    if (got == 0)
      return LINE_PAUSE;
  }
}

bool read_all(int fd, size_t limit, char **data, size_t *len) {
  size_t cap = READ_SIZE, used = 0;
  char *all = tool_alloc(cap);
  for (;;) {
    if (used == cap) {
      cap *= 2;
      all = tool_grow(all, cap);
    }
    ssize_t n = read(fd, all + used, cap - used);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN) {
      poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
      continue;
    }
    if (n == 0) {
      *data = all;
      *len = used;
      return true;
    }
    if (n > 0)
      used += (size_t)n;
    if (n < 0 || used > limit) {
      int why = n < 0 ? errno : EFBIG;
      free(all);
      errno = why;
      return false;
    }
  }
}
