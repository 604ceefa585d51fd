#include "room.h"

#include "text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ------------------------------------------------------------------ file --- */

#if defined(__linux__)
static int file_in(const char *folder) {
  char path[4096];
  int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (fd >= 0 || snprintf(path, sizeof path, "%s/sidelog-XXXXXX", folder) >= (int)sizeof path)
    return fd;
  fd = mkostemp(path, O_CLOEXEC); /* not every file system makes files without a name */
  if (fd >= 0)
    unlink(path);
  return fd;
}

/* An unlinked file of `size` bytes that are its own, or -1. */
static int file_new(size_t size) {
  const char *const folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    int fd = folders[i] && folders[i][0] == '/' ? file_in(folders[i]) : -1;
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)size) == 0)
      return fd;
    if (fd >= 0)
      close(fd);
  }
  return -1;
}

static void *map_file(int fd, size_t size) {
  void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return data == MAP_FAILED ? NULL : data;
}

static void leave_file(room *r) {
  munmap(r->data, r->size);
  close(r->fd);
}

static bool into_file(room *r, size_t size) {
  int fd = file_new(size);
  void *data = fd < 0 ? NULL : map_file(fd, size);
  if (!data) {
    if (fd >= 0)
      close(fd);
    return false;
  }
  if (r->size)
    memcpy(data, r->data, r->size);
  free(r->data);
  *r = (room){.data = data, .size = size, .fd = fd, .mapped = true};
  return true;
}

static bool grow_file(room *r, size_t size) {
  if (posix_fallocate(r->fd, 0, (off_t)size) != 0)
    return false;
  void *data = mremap(r->data, r->size, size, MREMAP_MAYMOVE);
  if (data == MAP_FAILED)
    return false;
  r->data = data;
  r->size = size;
  return true;
}
#else
static void leave_file(room *r) { (void)r; }
static bool into_file(room *r, size_t size) { return r->mapped && size == 0; }
static bool grow_file(room *r, size_t size) { return into_file(r, size); }
#endif

/* ------------------------------------------------------------------ room --- */

static bool into_memory(room *r, size_t size) {
  void *data = r->mapped ? malloc(size) : realloc(r->data, size);
  if (!data)
    return false;
  if (r->mapped) {
    memcpy(data, r->data, r->size);
    leave_file(r);
  }
  *r = (room){.data = data, .size = size};
  return true;
}

bool room_fit(room *r, size_t size) {
  if (size <= r->size)
    return true;
  size_t more = r->size + r->size / 2;
  size = size > more ? size : more;
  size = size < 1024 ? 1024 : size;
  if (size > ROOM_BOUND && (r->mapped ? grow_file(r, size) : into_file(r, size)))
    return true;
  return into_memory(r, size);
}

void *room_need(room *r, size_t size) {
  if (!room_fit(r, size)) {
    fputs("sidelog: out of memory\n", stderr);
    exit(3);
  }
  return r->data;
}

void room_free(room *r) {
  if (r->mapped)
    leave_file(r);
  else
    free(r->data);
  *r = (room){0};
}

/* ----------------------------------------------------------------- texts --- */

/* Each part has twice the room of the one before it, so that even very many are few files. */
char *room_copy(room_texts *t, sl_slice words) {
  if (t->count == 0 || t->parts[t->count - 1].size - t->used < words.len + 1) {
    size_t size = t->count ? t->parts[t->count - 1].size * 2 : 4096;
    t->parts = tool_grow(t->parts, (t->count + 1) * sizeof *t->parts);
    t->parts[t->count] = (room){0};
    room_need(&t->parts[t->count++], size > words.len ? size : words.len + 1);
    t->used = 0;
  }
  char *copy = (char *)t->parts[t->count - 1].data + t->used;
  if (words.len)
    memcpy(copy, words.data, words.len);
  copy[words.len] = 0;
  t->used += words.len + 1;
  return copy;
}

void room_texts_free(room_texts *t) {
  for (size_t i = 0; i < t->count; i++)
    room_free(&t->parts[i]);
  free(t->parts);
  *t = (room_texts){0};
}

/* ------------------------------------------------------------------ sort --- */

typedef struct sorting {
  size_t size;
  int (*compare)(const void *a, const void *b, void *arg);
  void *arg;
  char *left; /* room for half of all */
} sorting;

/* Both halves are in order; the right one lies behind where they go to. */
static void merge(const sorting *s, char *items, size_t half, size_t count) {
  const char *a = s->left, *a_end = a + half * s->size;
  const char *b = items + half * s->size, *b_end = items + count * s->size;
  memcpy(s->left, items, half * s->size);
  for (char *to = items; a < a_end; to += s->size) {
    bool from_b = b < b_end && s->compare(b, a, s->arg) < 0;
    memcpy(to, from_b ? b : a, s->size);
    *(from_b ? &b : &a) += s->size;
  }
}

static void sort_part(const sorting *s, char *items, size_t count) {
  size_t half = count / 2;
  if (count < 2)
    return;
  sort_part(s, items, half);
  sort_part(s, items + half * s->size, count - half);
  if (s->compare(items + (half - 1) * s->size, items + half * s->size, s->arg) > 0)
    merge(s, items, half, count);
}

bool room_sort(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b, void *arg),
               void *arg) {
  room left = {0};
  if (!room_fit(&left, count / 2 * size))
    return false;
  sort_part(&(sorting){size, compare, arg, left.data}, items, count);
  room_free(&left);
  return true;
}
