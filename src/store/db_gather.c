/*
 * Keeps what a commit writes together on the disk.
 *
 * LMDB writes each run of neighbouring pages with a call of its own, and a flush takes longer for each of them: for
 * seven pages in four runs half as long again as for seven in a row. It takes pages from the oldest record of its free
 * list, lowest first, and reads the next record when that one is used up. A commit frees some six pages, as one record;
 * the next one to use them needs seven, from two records, and frees them in two pieces; so the free pages of a busy
 * store that is trimmed come to lie one by one. Sixteen producers beside a trim wrote 11 pages in 10 runs, at half the
 * rate that they had begun with.
 *
 * Only a request for several pages in a row makes LMDB read further records, merge them all in order, and write them
 * back as few. So every GATHER_EVERY-th write transaction asks for such a run, as a value of that size, and takes it
 * away again at once: at the transaction's begin, so that all it took is back on the list before anything is written.
 *
 * Where there is no run of RUN pages, LMDB takes one from the end of the file. That is wanted as long as the file is
 * small beside what it may take (db_env_allow_slack): free pages that lie together are the room that commits need to
 * stay together. Beyond, the request is for the longest run that there is, and the file hardly grows by it.
 */
#include "store/db_inner.h"

#include <stdlib.h>
#include <string.h>

enum { GATHER_EVERY = 32, RUN = 64, RUN_LEAST = 4, PAGE_HEAD = 16 };
#define SPARE_PAGES 256u    /* at the end of the map, left to the transaction itself */
#define READER_LAG_MAX 128u  /* transactions; behind an older reader nothing is gathered: the file grows anyway */
#define LOOK_PAGES 65536u   /* of the free list that are looked at: 256 MB of free space */

void db_env_allow_slack(db_env *env, uint64_t pages) {
  atomic_store_explicit(&env->slack_below, pages, memory_order_relaxed);
}

/* The longest run, up to RUN, among the free pages of the records below `id`. 0: none, or not known. */
static unsigned longest_run(MDB_txn *look, uint64_t id, uint64_t last_page) {
  MDB_cursor *cur;
  MDB_val key, value;
  unsigned longest = 0;
  uint64_t seen = 0;
  uint64_t *is_free = calloc(last_page / 64 + 1, sizeof *is_free);
  if (!is_free || mdb_cursor_open(look, 0, &cur) != 0) {
    free(is_free);
    return 0;
  }
  while (seen < LOOK_PAGES && mdb_cursor_get(cur, &key, &value, MDB_NEXT) == 0 && sl_get_u64(key.mv_data) < id) {
    const uint8_t *pages = value.mv_data;
    const uint64_t count = sl_get_u64(pages);
    if (count > value.mv_size / 8 - 1) break; /* damaged; LMDB will say so, or repair */
    seen += count;
    for (uint64_t i = 1; i <= count; i++) {
      const uint64_t page = sl_get_u64(pages + i * 8);
      if (page <= last_page) is_free[page / 64] |= UINT64_C(1) << page % 64;
    }
  }
  mdb_cursor_close(cur);
  unsigned run = 0;
  for (uint64_t i = 0; i <= last_page / 64 && longest < RUN; i++) {
    if (is_free[i] == 0) run = 0; /* mostly: a large file has few free pages */
    for (unsigned bit = 0; is_free[i] != 0 && bit < 64; bit++) {
      run = is_free[i] >> bit & 1 ? run + 1 : 0;
      if (run > longest) longest = run;
    }
  }
  free(is_free);
  return longest < RUN ? longest : RUN;
}

static unsigned run_to_ask_for(db_env *env, MDB_txn *txn, size_t page_size) {
  MDB_envinfo info;
  if (mdb_env_info(env->lmdb, &info) != 0 || info.me_last_pgno + RUN + SPARE_PAGES >= info.me_mapsize / page_size) return 0;
  /* What was freed since the oldest snapshot is not to be had, as little as what the last commit freed. */
  const uint64_t id = mdb_txn_id(txn), oldest = db_oldest_reader(env), until = oldest < id - 1 ? oldest : id - 1;
  if (until + READER_LAG_MAX < id) return 0;
  if (info.me_last_pgno + RUN < atomic_load_explicit(&env->slack_below, memory_order_relaxed)) return RUN;
  db_txn *look; /* LMDB lets only read transactions see its free list */
  if (db_begin_once(env, false, &look) != 0) return 0;
  const unsigned longest = longest_run(look->lmdb, until, info.me_last_pgno);
  db_rest(look);
  return longest < RUN_LEAST ? 0 : longest;
}

int db_gather(db_env *env, MDB_txn *txn) {
  static char name[] = "gather";
  MDB_stat stat;
  if (mdb_txn_id(txn) % GATHER_EVERY != 0) return 0;
  unsigned table = 0; /* one whose values have any size */
  while (table < env->count && env->defs[table].flags != 0) table++;
  if (table == env->count || mdb_stat(txn, env->dbis[table], &stat) != 0) return 0;
  const unsigned pages = run_to_ask_for(env, txn, stat.ms_psize);
  if (pages == 0) return 0;
  MDB_val key = {sizeof name, name}, value = {.mv_size = (size_t)pages * stat.ms_psize - PAGE_HEAD};
  int rc = mdb_put(txn, env->dbis[table], &key, &value, MDB_RESERVE);
  return rc == 0 ? mdb_del(txn, env->dbis[table], &key, NULL) : rc;
}
