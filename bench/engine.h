/* A store under test: sidelog and what it is measured beside, each used as a careful user of it would.
 * Events come in order 0, 1, 2 ... over the life of the folder. Every failure ends the process. */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H
#include "bench.h"

enum { HITS_MAX = 64, HIT_BYTES = 256 };
typedef struct hits { /* what a look-up copied out: the beginnings of the values */
  unsigned count;
  size_t len[HITS_MAX];
  uint8_t value[HITS_MAX][HIT_BYTES];
} hits;
void hits_add(hits *h, const void *value, size_t len);

typedef struct engine {
  const char *name;
  const char *package; /* what to install when open is NULL */
  void *(*open)(const char *folder, uint64_t events); /* `events`: how many will be appended at most */
  void (*append)(void *self, const event *events, size_t count); /* durable when it returns, one commit */
  void (*bulk)(void *self, bool on); /* appends need not be durable; indexes are made at the end */
  void (*catch_up)(void *self); /* the work that append left for later; NULL: it leaves none */
  void (*find)(void *self, char kind, uint64_t number, hits *out); /* kind e: event id, c: correlation id; NULL */
  uint64_t (*count)(void *self); /* events there */
  void (*close)(void *self);
} engine;

extern const engine engine_plain;   /* a file written with zeros before, pwrite and fdatasync: the disk's limit */
extern const engine engine_sidelog;
extern const engine engine_sqlite;
extern const engine engine_rocksdb;
#endif
