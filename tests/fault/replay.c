#include "replay.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define MOST_PENDING 65536u
#define MOST_NAMES 64u

typedef struct bytes {
  uint8_t *data;
  size_t size, cap;
} bytes;

typedef struct name {
  char path[RECORD_PATH];
  uint32_t file;
  bool folder;
} name;

typedef struct names {
  name at[MOST_NAMES];
  unsigned count;
} names;

struct replay_disk {
  replay_lie lie;
  bytes durable[RECORD_FILES];
  names names;                           /* durable ones */
  const record_entry *pending[MOST_PENDING]; /* in their order */
  size_t count;
};

replay_disk *replay_new(replay_lie lie) {
  replay_disk *d = calloc(1, sizeof *d);
  if (d) d->lie = lie;
  return d;
}

void replay_free(replay_disk *d) {
  for (unsigned i = 0; d && i < RECORD_FILES; i++) free(d->durable[i].data);
  free(d);
}

size_t replay_pending(const replay_disk *d) { return d->count; }

/* ------------------------------------------------------------ one change --- */

static void resize(bytes *b, size_t size) {
  if (size > b->cap) {
    b->cap = size + size / 2 + 4096;
    b->data = realloc(b->data, b->cap);
    if (!b->data) abort();
  }
  if (size > b->size) memset(b->data + b->size, 0, size - b->size);
  b->size = size;
}

static void put(bytes *b, uint64_t at, const uint8_t *data, size_t len) {
  if (at + len > b->size) resize(b, at + len);
  memcpy(b->data + at, data, len);
}

static void forget(names *n, const char *path) {
  for (unsigned i = 0; i < n->count; i++)
    if (strcmp(n->at[i].path, path) == 0) n->at[i--] = n->at[--n->count];
}

static void rename_in(names *n, const char *from, const char *to) {
  for (unsigned i = 0; i < n->count; i++) {
    if (strcmp(n->at[i].path, from) != 0) continue;
    name moved = n->at[i];
    strcpy(moved.path, to);
    forget(n, from);
    forget(n, to);
    n->at[n->count++] = moved;
    return;
  }
}

static void name_change(names *n, const record_entry *e) {
  const char *path = (const char *)e->bytes;
  if (e->kind == RECORD_RENAME) {
    rename_in(n, path, path + strlen(path) + 1);
    return;
  }
  forget(n, path);
  if (e->kind == RECORD_REMOVE || n->count == MOST_NAMES) return;
  n->at[n->count] = (name){.file = e->file, .folder = e->at == 1};
  strcpy(n->at[n->count++].path, path);
}

static bool is_name_change(const record_entry *e) {
  return e->kind == RECORD_MAKE || e->kind == RECORD_REMOVE || e->kind == RECORD_RENAME;
}

static void content_change(bytes *b, const record_entry *e) {
  if (e->kind == RECORD_SIZE) resize(b, e->at);
  else put(b, e->at, e->bytes, e->len);
}

/* -------------------------------------------------------------- the disk --- */

static bool lies_in(const char *path, const char *folder) {
  const char *slash = strrchr(path, '/');
  size_t len = slash ? (size_t)(slash - path) : 0;
  return *path && strlen(folder) == len && strncmp(path, folder, len) == 0;
}

static void flush(replay_disk *d, uint32_t file) {
  size_t kept = 0;
  for (size_t i = 0; i < d->count; i++) {
    const record_entry *e = d->pending[i];
    bool named = is_name_change(e) && lies_in((const char *)e->bytes, record_path(file));
    bool content = !is_name_change(e) && e->file == file;
    if (named && d->lie != LIE_FOLDER) name_change(&d->names, e);
    else if (content && d->lie != LIE_FLUSH) content_change(&d->durable[file], e);
    else d->pending[kept++] = e;
  }
  d->count = kept;
}

/* A file that is written through a shared map. Nobody flushes it, so every version can stay; the last one is the
 * one that a reader after the cut might take for its own. */
static bool is_map(uint32_t file) {
  const char *path = record_path(file);
  return strstr(path, "lock.mdb") || strcmp(path, "log/slots") == 0;
}

void replay_half_step(replay_disk *d, const record_entry *e) {
  if (e->kind == RECORD_NOTE || e->kind == RECORD_FLUSH) return;
  if (!is_name_change(e) && is_map(e->file)) {
    content_change(&d->durable[e->file], e);
    return;
  }
  if (d->count == MOST_PENDING) abort();
  /* The folder that holds the store is not part of the recording. */
  if (e->kind == RECORD_MAKE && e->bytes[0] == 0) return;
  d->pending[d->count++] = e;
}

void replay_step(replay_disk *d, const record_entry *e) {
  if (e->kind == RECORD_FLUSH) {
    flush(d, e->file);
  } else if (e->kind == RECORD_WRITE_SYNCED && d->lie != LIE_SYNCED_WRITE) {
    /* Earlier versions of these sectors cannot come back; other writes still wait for their flush. */
    content_change(&d->durable[e->file], e);
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
      const record_entry *p = d->pending[i];
      bool write = p->file == e->file && (p->kind == RECORD_WRITE || p->kind == RECORD_WRITE_SYNCED);
      bool over = write && p->at >= e->at && p->at + p->len <= e->at + e->len;
      /* Sound disks have flushed what a synchronous write meets only in part. */
      if (d->lie == LIE_NONE && write && !over && p->at < e->at + e->len && e->at < p->at + p->len) abort();
      if (!over) d->pending[kept++] = p;
    }
    d->count = kept;
  } else {
    replay_half_step(d, e);
  }
}

/* ---------------------------------------------------------------- images --- */

/* splitmix64 */
static uint64_t dice(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

typedef struct choice {
  unsigned cut, percent; /* of what survives */
  bool torn, grown;      /* sector by sector; files keep the size they were to have */
  uint64_t seed;
} choice;

static bool survives(choice *c, size_t i, size_t count) {
  switch (c->cut) {
    case CUT_NONE: return false;
    case CUT_ALL: return true;
    case CUT_ONLY_LAST: return i + 1 == count;
    case CUT_ALL_BUT_FIRST: return i > 0;
    case CUT_ALL_BUT_LAST: return i + 1 < count;
    default: return dice(&c->seed) % 100 < c->percent;
  }
}

static void change(choice *c, bytes *b, const record_entry *e, bool whole) {
  if (c->cut < CUT_RANDOM || !c->torn || e->kind == RECORD_SIZE) {
    if (whole) content_change(b, e);
    return;
  }
  for (uint64_t at = e->at, end = e->at + e->len; at < end;) {
    uint64_t next = (at / SECTOR + 1) * SECTOR;
    if (next > end) next = end;
    if (dice(&c->seed) % 100 < c->percent) put(b, at, e->bytes + (at - e->at), next - at);
    at = next;
  }
}

static uint64_t wished_size(const replay_disk *d, uint32_t file) {
  uint64_t size = d->durable[file].size;
  for (size_t i = 0; i < d->count; i++) {
    const record_entry *e = d->pending[i];
    if (is_name_change(e) || e->file != file) continue;
    if (e->kind == RECORD_SIZE) size = e->at;
    else if (e->at + e->len > size) size = e->at + e->len;
  }
  return size;
}

static bool write_file(const char *path, const bytes *b) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  bool ok = fd >= 0;
  for (size_t at = 0; ok && at < b->size;) {
    ssize_t n = write(fd, b->data + at, b->size - at);
    ok = n > 0;
    at += ok ? (size_t)n : 0;
  }
  if (fd >= 0) close(fd);
  return ok;
}

static bool has_parent(const names *n, const char *path) {
  const char *slash = strrchr(path, '/');
  for (unsigned i = 0; slash && i < n->count; i++)
    if (n->at[i].folder && lies_in(path, n->at[i].path)) return true;
  return !slash;
}

static bool write_names(const names *n, const bytes *files, const char *dir) {
  char path[PATH_MAX];
  bool ok = mkdir(dir, 0700) == 0;
  for (int folders = 1; folders >= 0; folders--) /* no folder of a store lies in another one */
    for (unsigned i = 0; ok && i < n->count; i++) {
      const name *at = &n->at[i];
      if (at->folder != (folders == 1) || !has_parent(n, at->path)) continue;
      snprintf(path, sizeof path, "%s/%s", dir, at->path);
      ok = folders ? mkdir(path, 0700) == 0 : write_file(path, &files[at->file]);
    }
  return ok;
}

/* As it was, empty of content, or a mixture of both. */
static void spoil_map(choice *c, bytes *b) {
  unsigned way = (unsigned)(dice(&c->seed) % 3);
  for (size_t at = 0; way > 0 && at < b->size; at += SECTOR)
    if (way == 1 || dice(&c->seed) % 2) memset(b->data + at, 0, b->size - at < SECTOR ? b->size - at : SECTOR);
}

bool replay_image(const replay_disk *d, unsigned cut, uint64_t seed, const char *dir) {
  static bytes files[RECORD_FILES];
  names n = d->names;
  choice c = {.cut = cut, .seed = seed};
  static const unsigned percents[] = {10, 50, 90};
  c.percent = percents[dice(&c.seed) % 3];
  c.torn = dice(&c.seed) % 2;
  c.grown = dice(&c.seed) % 2;
  for (unsigned i = 0; i < RECORD_FILES; i++) {
    files[i].size = 0;
    put(&files[i], 0, d->durable[i].data ? d->durable[i].data : (const uint8_t *)"", d->durable[i].size);
  }
  for (size_t i = 0; i < d->count; i++) {
    const record_entry *e = d->pending[i];
    bool whole = survives(&c, i, d->count);
    if (!is_name_change(e)) change(&c, &files[e->file], e, whole);
    else if (whole) name_change(&n, e);
  }
  for (uint32_t i = 0; cut >= CUT_RANDOM && c.grown && i < RECORD_FILES; i++)
    if (wished_size(d, i) > files[i].size) resize(&files[i], wished_size(d, i));
  for (uint32_t i = 0; cut >= CUT_RANDOM && i < RECORD_FILES; i++)
    if (files[i].size > 0 && is_map(i)) spoil_map(&c, &files[i]);
  return write_names(&n, files, dir);
}
