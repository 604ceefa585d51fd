/* RocksDB: a synced write batch for each commit, which holds the record under its seq and a key for each of the
 * three ids. Values do not compress, so compression is off. */
#include "engine.h"

#ifdef HAVE_ROCKSDB
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rocks {
  rocksdb_options_t *options;
  rocksdb_t *db;
  rocksdb_writeoptions_t *synced;
  uint64_t next;
} rocks;

static void ok(char *error, const char *what) {
  if (error) stop("rocksdb: %s: %s", what, error);
}

static void put_be64(uint8_t *p, uint64_t v) {
  for (int i = 8; i-- > 0; v >>= 8) p[i] = (uint8_t)v;
}

static uint64_t rocks_count(void *self) {
  rocks *r = self;
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_iterator_t *at = rocksdb_create_iterator(r->db, options);
  uint64_t count = 0;
  size_t len;
  for (rocksdb_iter_seek(at, "s", 1); rocksdb_iter_valid(at) && *rocksdb_iter_key(at, &len) == 's';
       rocksdb_iter_next(at))
    count++;
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(options);
  return count;
}

static void *rocks_open(const char *folder, uint64_t events) {
  char *error = NULL;
  rocks *r = need(calloc(1, sizeof *r));
  (void)events;
  r->options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(r->options, 1);
  rocksdb_options_increase_parallelism(r->options, 2);
  rocksdb_options_set_compression(r->options, rocksdb_no_compression);
  r->db = rocksdb_open(r->options, folder, &error);
  ok(error, folder);
  r->synced = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(r->synced, 1);
  r->next = rocks_count(r);
  return r;
}

static void rocks_append(void *self, const event *events, size_t count) {
  rocks *r = self;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  char *error = NULL;
  uint8_t key[25], *record = need(malloc(HEADER + ID_BYTES + events[0].value_len));
  for (size_t i = 0; i < count; i++, r->next++) {
    const event *e = &events[i];
    const struct { char kind; const uint8_t *id; } ids[] = {
      {'e', e->event_id}, {'c', e->correlation_id}, {'p', e->causation_id}};
    memset(record, 0, HEADER);
    for (size_t k = 0; k < 3; k++) {
      memcpy(record + HEADER + 16 * k, ids[k].id, 16);
      key[0] = (uint8_t)ids[k].kind;
      memcpy(key + 1, ids[k].id, 16);
      put_be64(key + 17, r->next);
      rocksdb_writebatch_put(batch, (const char *)key, sizeof key, "", 0);
    }
    memcpy(record + HEADER + ID_BYTES, e->value, e->value_len);
    key[0] = 's';
    put_be64(key + 1, r->next);
    rocksdb_writebatch_put(batch, (const char *)key, 9, (const char *)record, HEADER + ID_BYTES + e->value_len);
  }
  rocksdb_write(r->db, r->synced, batch, &error);
  ok(error, "write");
  rocksdb_writebatch_destroy(batch);
  free(record);
}

static void rocks_close(void *self) {
  rocks *r = self;
  rocksdb_writeoptions_destroy(r->synced);
  rocksdb_close(r->db);
  rocksdb_options_destroy(r->options);
  free(r);
}

const engine engine_rocksdb = {.name = "rocksdb", .package = "librocksdb-dev", .open = rocks_open,
                               .append = rocks_append, .count = rocks_count, .close = rocks_close};
#else
const engine engine_rocksdb = {.name = "rocksdb", .package = "librocksdb-dev"};
#endif
