/* Memory for what grows with a story, so that a command's own stays the same however long the story is: small
 * it is malloc's, beyond 64 KiB it lies in an unlinked temporary file that is mapped, whose pages the kernel
 * writes out and takes back when it wants them. The file is in $TMPDIR, else /var/tmp, else /tmp; its space is
 * reserved first, so that a disk that is full is told, not met. Where none of them takes it, it is memory as
 * any other. Knows nothing of events. */
#ifndef TOOLS_ROOM_H
#define TOOLS_ROOM_H

#include <sidelog/sidelog.h>

#include <stdbool.h>
#include <stddef.h>

enum { ROOM_BOUND = 64 << 10 };

/* One array. Zeroed is empty. */
typedef struct room {
  void *data;
  size_t size; /* bytes there are */
  int fd;      /* of its file, where there is one */
  bool mapped;
} room;

/* Room for at least `size` bytes: what is there stays, though it may move; what is new is undefined. Grows by
 * more than was asked for. False: out of memory, and all is as it was. */
bool room_fit(room *r, size_t size);
/* The same, and its data; out of memory ends the program as in text.h. */
void *room_need(room *r, size_t size);
void room_free(room *r); /* idempotent */

/* Many texts, which stay where they are until all are freed. Zeroed is empty. */
typedef struct room_texts {
  room *parts;
  size_t count, used; /* used: of the last part */
} room_texts;
char *room_copy(room_texts *t, sl_slice words); /* with a NUL; out of memory as above */
void room_texts_free(room_texts *t);            /* idempotent */

/* Sorts count items of `size` bytes, those that compare equal as they stood; quick where nearly all is in order.
 * False: out of memory, and the order is undefined. */
bool room_sort(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b, void *arg),
               void *arg);
#endif
