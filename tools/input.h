/* Lines of a stream, in bounded memory, as soon as they are there. Knows nothing of events. */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include <sidelog/sidelog.h>

#include <stdbool.h>

typedef enum line_result {
  LINE_HERE,     /* a line, without its newline and one carriage return before it */
  LINE_TOO_LONG, /* a line over the limit was passed over; the slice has its length alone */
  LINE_PAUSE,    /* no whole line is there now, more may come (only when not told to wait) */
  LINE_END,
  LINE_ERROR     /* errno says why */
} line_result;

typedef struct line_reader {
  int fd;
  size_t limit;              /* longest line */
  char *data;
  size_t cap, begin, end;    /* what is read and not yet given out */
  size_t looked;             /* no newline in [begin, looked) */
  size_t dropped;            /* bytes thrown away of a line that is too long; 0: none */
  uint64_t read_total;       /* bytes, for a progress bar */
  bool eof;
} line_reader;

/* Reads from fd, which stays the caller's. line_reader_free ends it (idempotent). */
void line_reader_init(line_reader *in, int fd, size_t limit);
void line_reader_free(line_reader *in);
/* The next line. The slice is valid until the next call. wait: block until there is one. */
line_result line_next(line_reader *in, bool wait, sl_slice *line);

/* All of a stream, at most `limit` bytes; malloc()ed. False: errno says why, EFBIG: longer than the limit. */
bool read_all(int fd, size_t limit, char **data, size_t *len);
#endif
