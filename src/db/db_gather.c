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
 *
 * LMDB would never write what it took there and got back, so those pages would be holes, for which a full disk has no
 * room: trim counts on free pages of the file being there (quota.c). So they are allocated, or not taken.
 *
 * The free list is looked at beforehand: LMDB believes its counts, and merges all of it for a run at its end.
 */
#include "db/db_inner.h"

#include "db/db_file.h"

#include <stdlib.h>
#include <string.h>

enum { GATHER_EVERY = 32, RUN = 64, RUN_LEAST = 4, PAGE_HEAD = 16 };
#define SPARE_PAGES 256u    /* at the end of the map, left to the transaction itself */
#define READER_LAG_MAX 128u  /* transactions; behind an older reader nothing is gathered: the file grows anyway */
#define LOOK_PAGES 16384u   /* of the free list that are looked at, and merged by LMDB: 64 MB of free space */
#define LMDB_TRIES 60u      /* records for each page of a run that LMDB merges before it takes new pages */

void db_env_allow_slack(db_env *env, uint64_t pages) {
  atomic_store_explicit(&env->slack_below, pages, memory_order_relaxed);
}

typedef struct free_look {
  uint64_t *is_free;     /* a bit for each page up to last_page */
  uint64_t last_page, records;
  bool all, damaged;     /* all: nothing was left out */
} free_look;

/* Marks the pages of the records below `id`. */
static void mark_free(free_look *f, MDB_cursor *cur, uint64_t id) {
  MDB_val key, value;
  for (uint64_t seen = 0; mdb_cursor_get(cur, &key, &value, MDB_NEXT) == 0; f->records++) {
    const uint8_t *pages = value.mv_data;
    f->damaged |= key.mv_size != 8 || value.mv_size < 8 || sl_get_u64(pages) > value.mv_size / 8 - 1;
    if (f->damaged || sl_get_u64(key.mv_data) >= id) break;
    const uint64_t count = sl_get_u64(pages);
    seen += count;
    f->all = seen <= LOOK_PAGES;
    if (!f->all) return;
    for (uint64_t i = 1; i <= count; i++) {
      const uint64_t page = sl_get_u64(pages + i * 8);
      f->damaged |= page < 2 || page > f->last_page;
      if (!f->damaged) f->is_free[page / 64] |= UINT64_C(1) << page % 64;
    }
  }
}

/* The longest run of free pages, up to RUN. */
static unsigned longest_run(const free_look *f) {
  unsigned longest = 0, run = 0;
  for (uint64_t i = 0; i <= f->last_page / 64 && longest < RUN; i++) {
    if (f->is_free[i] == 0) run = 0; /* mostly: a large file has few free pages */
    for (unsigned bit = 0; f->is_free[i] != 0 && bit < 64; bit++) {
      run = f->is_free[i] >> bit & 1 ? run + 1 : 0;
      if (run > longest) longest = run;
    }
  }
  return longest < RUN ? longest : RUN;
}

static unsigned run_to_ask_for(db_env *env, MDB_txn *txn, const MDB_envinfo *info, size_t page_size) {
  if (info->me_last_pgno + RUN + SPARE_PAGES >= info->me_mapsize / page_size) return 0;
  /* What was freed since the oldest snapshot is not to be had, as little as what the last commit freed. */
  const uint64_t id = mdb_txn_id(txn), oldest = db_oldest_reader(env), until = oldest < id - 1 ? oldest : id - 1;
  if (until + READER_LAG_MAX < id) return 0;
  free_look f = {.last_page = info->me_last_pgno, .all = true};
  db_txn *look; /* LMDB lets only read transactions see its free list */
  MDB_cursor *cur;
  if (db_begin_once(env, false, &look) != 0) return 0;
  unsigned run = 0;
  if ((f.is_free = calloc(f.last_page / 64 + 1, sizeof *f.is_free)) && mdb_cursor_open(look->lmdb, 0, &cur) == 0) {
    mark_free(&f, cur, until);
    mdb_cursor_close(cur);
    run = longest_run(&f);
    const bool may_grow = f.last_page + RUN < atomic_load_explicit(&env->slack_below, memory_order_relaxed);
    if (may_grow && f.all) run = RUN;
    if (f.damaged || run < RUN_LEAST || (!may_grow && f.records > run * LMDB_TRIES)) run = 0;
  }
  free(f.is_free);
  db_rest(look);
  return run;
}

int db_gather(db_env *env, MDB_txn *txn) {
  static char name[] = "gather";
  MDB_envinfo info;
  MDB_stat stat;
  int fd;
  if (mdb_txn_id(txn) % GATHER_EVERY != 0) return 0;
  unsigned table = 0; /* one whose values have any size */
  while (table < env->count && env->defs[table].flags != 0) table++;
  if (table == env->count || mdb_stat(txn, env->dbis[table], &stat) != 0) return 0;
  if (mdb_env_info(env->lmdb, &info) != 0 || mdb_env_get_fd(env->lmdb, &fd) != 0) return 0;
  const unsigned pages = run_to_ask_for(env, txn, &info, stat.ms_psize);
  if (pages == 0) return 0;
  MDB_val key = {sizeof name, name}, value = {.mv_size = (size_t)pages * stat.ms_psize - PAGE_HEAD};
  int rc = mdb_put(txn, env->dbis[table], &key, &value, MDB_RESERVE);
  if (rc != 0) return rc;
  /* With an empty free list the pages are written after all, and must not carry off what lay in memory. */
  memset(value.mv_data, 0, value.mv_size);
  const uint64_t page = sl_get_u64((const uint8_t *)value.mv_data - PAGE_HEAD);
  if (page > info.me_last_pgno) rc = db_file_allocate(fd, page * stat.ms_psize, (uint64_t)pages * stat.ms_psize);
  return rc == 0 ? mdb_del(txn, env->dbis[table], &key, NULL) : rc;
}
