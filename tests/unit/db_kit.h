/* An environment of LMDB in a folder of its own for a test, with a table of each kind. */
#ifndef SL_TESTS_DB_KIT_H
#define SL_TESTS_DB_KIT_H
#include "unit.h"

#include "db/db.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NUMBERS, NAMES, PAIRS, TABLES };
static const db_table_def tables[TABLES] = {
  {"numbers", DB_INTKEY | DB_TAIL}, {"names", 0}, {"pairs", DB_DUPFIXED | DB_DUPINT}};

typedef struct room {
  char dir[4096], data[4200];
  db_env_options options;
  db_env *env;
} room;

static inline int room_remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static inline int room_setup(void **state) {
  room *r = calloc(1, sizeof *r);
  const char *tmp = getenv("TMPDIR");
  snprintf(r->dir, sizeof r->dir, "%s/sidelog-db.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(r->dir)) return -1;
  snprintf(r->data, sizeof r->data, "%s/data.mdb", r->dir);
  r->options = (db_env_options){.map_size = 64u << 20, .map_floor = 1u << 20, .max_readers = 64, .mode = 0600,
                                .create = true};
  *state = r;
  return db_env_open(r->dir, tables, TABLES, &r->options, &r->env) == SL_OK ? 0 : -1;
}

static inline int room_teardown(void **state) {
  room *r = *state;
  db_env_close(r->env);
  nftw(r->dir, room_remove_one, 8, FTW_DEPTH | FTW_PHYS);
  free(r);
  return 0;
}

static inline void put_number(room *r, uint64_t key, const char *value) {
  db_txn *txn;
  assert_ok(db_begin_write(r->env, false, &txn));
  db_put(txn, NUMBERS, db_u64(&key), sl_slice_of(value));
  assert_ok(db_commit(txn));
}
#endif
