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
 * stay together. Beyond, the request is for the longest run that there is, less what it takes itself before it is met
 * (TOUCHED), or it would not be met, and the file would grow by it.
 *
 * LMDB would never write what it took there and got back, so those pages would be holes, for which a full disk has no
 * room: trim counts on free pages of the file being there (quota.c). So they are allocated, or not taken.
 *
 * The free list is looked at beforehand: LMDB believes its counts, and merges all of it for a run at its end.
 *
 * Commits of one event each are another case. Six or seven pages are written, and all but a third of a leaf are free again
 * two commits later. Together they need little room (AREA), but the leaves that stay, one of nineteen pages, lie scattered
 * in it, and the free pages between them are used again and again until hardly two are neighbours. So, as logs on disks
 * are cleaned: the few leaves that have been left since the last time are written once more, the oldest first. As LMDB
 * takes the lowest free pages first, they come to lie side by side at the lower end of that room, which is whole again
 * behind them, and the next commits write one run each. Where commits leave whole rows of leaves, it would cost more than it
 * brings.
 *
 * Those gather twice as often, and a longer run, while few pages are free. It lasts them for some eight commits. Behind
 * it they would use what each of them has left free (seven of its twelve pages) two commits later, and the four that each
 * of them writes first (branches of the tree, which are free again at once) would take the lowest of these, single ones,
 * again and again. In a store that is trimmed there are thousands of free pages, and it brings little.
 */
#include "db/db_inner.h"

#include "db/db_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GATHER_EVERY = 32, SETTLE_EVERY = 16, RUN = 64, RUN_ROWS = 96, RUN_MOST = 256, RUN_LEAST = 4 };
enum { PAGE_HEAD = 16, NODE_HEAD = 8, TREE_HEAD = 48, FLAG_BRANCH = 0x01, FLAG_LEAF = 0x02, NODE_BIG = 0x01 };
#define AREA 192u            /* free pages for the commits between two times that leaves are moved */
#define TOUCHED 4u           /* pages that the request takes before it is met */
#define SPARE_PAGES 256u     /* at the end of the map, left to the transaction itself */
#define READER_LAG_MAX 128u  /* transactions; behind an older reader nothing is gathered: the file grows anyway */
#define LOOK_PAGES 16384u    /* of the free list that are looked at, and merged by LMDB: 64 MB of free space */
#define FEW_PAGES 1024u      /* free: the store is not trimmed, or hardly */
#define LMDB_TRIES 60u       /* records for each page of a run that LMDB merges before it takes new pages */
#define LEAVES_MOST 24u      /* moved at once */
#define LEAVES_LEAST 4u      /* to tell how they came */
#define VISITS_MOST 64u      /* pages looked at to find them */
#define DEPTH_MOST 16u
#define IN_ORDER 3u          /* so many leaves in a row lie as they should: those before have been moved */

void db_env_allow_slack(db_env *env, uint64_t pages) {
  atomic_store_explicit(&env->slack_below, pages, memory_order_relaxed);
}

typedef struct free_look {
  uint64_t *is_free;     /* a bit for each page up to last_page */
  uint64_t last_page, most, records, pages, lowest, highest; /* most: pages to look at */
  bool all, damaged;     /* all: nothing was left out */
} free_look;

/* Marks the pages of the records below `id`. */
static void mark_free(free_look *f, MDB_cursor *cur, uint64_t id) {
  MDB_val key, value;
  for (; mdb_cursor_get(cur, &key, &value, MDB_NEXT) == 0; f->records++) {
    const uint8_t *pages = value.mv_data;
    f->damaged |= key.mv_size != 8 || value.mv_size < 8 || sl_get_u64(pages) > value.mv_size / 8 - 1;
    if (f->damaged || sl_get_u64(key.mv_data) >= id) break;
    const uint64_t count = sl_get_u64(pages);
    f->pages += count;
    f->all = f->pages <= f->most;
    if (!f->all) return;
    for (uint64_t i = 1; i <= count; i++) {
      const uint64_t page = sl_get_u64(pages + i * 8);
      f->damaged |= page < 2 || page > f->last_page;
      if (f->damaged) return;
      f->is_free[page / 64] |= UINT64_C(1) << page % 64;
      if (page < f->lowest) f->lowest = page;
      if (page > f->highest) f->highest = page;
    }
  }
}

/* The longest run of free pages. */
static uint64_t longest_run(const free_look *f) {
  uint64_t longest = 0, run = 0;
  for (uint64_t i = f->lowest / 64; i <= f->highest / 64; i++) {
    if (f->is_free[i] == 0) run = 0; /* mostly: a large file has few free pages */
    for (unsigned bit = 0; f->is_free[i] != 0 && bit < 64; bit++) {
      run = f->is_free[i] >> bit & 1 ? run + 1 : 0;
      if (run > longest) longest = run;
    }
  }
  return longest;
}

/* ---------------------------------------------------------------- leaves --- */

typedef struct leaf {
  uint64_t key, page; /* key: of its last record */
  bool own_pages;     /* that record's value has pages of its own */
} leaf;

/* The last leaves of the table that grows at its end, newest first, with one more on either side. */
typedef struct tail {
  unsigned table;
  size_t count, in_order;
  unsigned visits;
  bool ended;
  leaf leaves[LEAVES_MOST + 2];
  const uint8_t *map; /* page 0 */
  size_t page_size;
  uint64_t last_page;
} tail;

static bool neighbours(leaf a, leaf b) { return a.page + 1 == b.page || b.page + 1 == a.page; }
static bool lies_alone(const tail *t, size_t i) {
  return !neighbours(t->leaves[i], t->leaves[i - 1]) && !neighbours(t->leaves[i], t->leaves[i + 1]);
}

static const uint8_t *page_at(const tail *t, uint64_t number) { return t->map + number * t->page_size; }

/* A node's place in its page; 0: it does not lie within. Layout: db_file.c. */
static size_t node_at(const tail *t, const uint8_t *page, unsigned i, bool is_leaf) {
  const size_t at = sl_get_u16(page + PAGE_HEAD + i * 2), end = t->page_size;
  if (at < sl_get_u16(page + 14) || at + NODE_HEAD > end) return 0;
  const uint8_t *node = page + at;
  const size_t key = sl_get_u16(node + 6), size = sl_get_u16(node) | (size_t)sl_get_u16(node + 2) << 16;
  const size_t data = !is_leaf ? 0 : sl_get_u16(node + 4) & NODE_BIG ? 8 : size;
  return at + NODE_HEAD + key + data <= end && (!is_leaf || key == 8) ? at : 0;
}

/* LMDB ends the process over a page of another kind that it comes to from a neighbour, and gives back the page that a
 * page's head names. A producer has no need of these pages, so it must not meet what is wrong with them. */
static bool page_is_sound(const tail *t, uint64_t number) {
  if (number < 2 || number > t->last_page) return false;
  const uint8_t *page = page_at(t, number);
  const unsigned flags = sl_get_u16(page + 10), lower = sl_get_u16(page + 12), upper = sl_get_u16(page + 14);
  if (sl_get_u64(page) != number || (flags != FLAG_BRANCH && flags != FLAG_LEAF)) return false;
  if (lower <= PAGE_HEAD || lower % 2 != 0 || lower > upper || upper > t->page_size) return false;
  for (unsigned i = 0; i < (lower - PAGE_HEAD) / 2u; i++)
    if (node_at(t, page, i, flags == FLAG_LEAF) == 0) return false;
  return true;
}

/* From the right to the left, up to what is damaged. */
static void walk_tail(tail *t, uint64_t number, unsigned depth) {
  if (t->ended) return;
  t->ended = depth == 0 || ++t->visits > VISITS_MOST || t->count == LEAVES_MOST + 2 || !page_is_sound(t, number);
  if (t->ended) return;
  const uint8_t *page = page_at(t, number);
  const bool is_leaf = sl_get_u16(page + 10) == FLAG_LEAF;
  for (unsigned i = (sl_get_u16(page + 12) - PAGE_HEAD) / 2u; i-- > 0 && !t->ended;) {
    const uint8_t *node = page + node_at(t, page, i, is_leaf);
    const uint64_t low = sl_get_u16(node) | (uint64_t)sl_get_u16(node + 2) << 16;
    const unsigned flags = sl_get_u16(node + 4);
    if (!is_leaf) {
      walk_tail(t, low | (uint64_t)flags << 32, depth - 1);
      continue;
    }
    const leaf found = {sl_get_u64(node + NODE_HEAD), number, flags & NODE_BIG};
    t->in_order = t->count > 0 && neighbours(t->leaves[t->count - 1], found) ? t->in_order + 1 : 0;
    t->leaves[t->count++] = found;
    t->ended = t->in_order == IN_ORDER;
    return;
  }
}

/* Page 0, by an address in a page whose head tells its number; NULL: not a likely one. */
static const uint8_t *map_of(const tail *t, const void *inside) {
  const uint8_t *page = (const uint8_t *)((uintptr_t)inside & ~(uintptr_t)(t->page_size - 1));
  const uint64_t number = sl_get_u64(page);
  return number >= 2 && number <= t->last_page ? page - number * t->page_size : NULL;
}

/* Of a transaction that has written nothing yet: all its pages lie in the map. */
static int look_at_tail(const db_env *env, MDB_txn *txn, tail *t) {
  MDB_dbi names;
  MDB_cursor *cur;
  MDB_val key, head, value;
  while (t->table < env->count && !(env->defs[t->table].flags & DB_TAIL)) t->table++;
  if (t->table == env->count || t->page_size > (size_t)sysconf(_SC_PAGESIZE)) return 0;
  int rc = mdb_cursor_open(txn, env->dbis[t->table], &cur);
  if (rc != 0) return rc;
  rc = mdb_cursor_get(cur, &key, &value, MDB_LAST);
  mdb_cursor_close(cur);
  if (rc != 0) return rc == MDB_NOTFOUND ? 0 : rc;
  t->map = map_of(t, key.mv_data);
  const char *name = env->defs[t->table].name;
  key = (MDB_val){strlen(name), (void *)(uintptr_t)name};
  rc = mdb_dbi_open(txn, NULL, 0, &names);
  if (rc == 0) rc = mdb_get(txn, names, &key, &head); /* the tree's head */
  if (rc != 0 || head.mv_size != TREE_HEAD || !t->map || t->map != map_of(t, head.mv_data)) return rc;
  walk_tail(t, sl_get_u64((const uint8_t *)head.mv_data + TREE_HEAD - 8), DEPTH_MOST);
  return 0;
}

/* How commits leave their leaves: less than one each, which lies alone, or rows of them. */
typedef enum leaves_lie { LIE_SOMEHOW, LIE_APART, LIE_IN_ROWS } leaves_lie;

static leaves_lie how_leaves_lie(const tail *t) {
  size_t apart = 0;
  if (t->count < LEAVES_LEAST) return LIE_SOMEHOW;
  for (size_t i = 1; i + 1 < t->count; i++) apart += lies_alone(t, i);
  if (apart * 2 >= t->count - 2) return LIE_APART;
  return apart * 4 <= t->count - 2 && !lies_alone(t, 1) && !lies_alone(t, 2) ? LIE_IN_ROWS : LIE_SOMEHOW;
}

/* To write a record over itself gives its leaf the lowest page that is free. The oldest first, so they stay in order. */
static int move_leaves(db_env *env, MDB_txn *txn, const tail *t, uint64_t lowest) {
  MDB_cursor *cur;
  int rc = mdb_cursor_open(txn, env->dbis[t->table], &cur);
  if (rc != 0) return rc;
  for (size_t i = t->count - 2; rc == 0 && i > 0; i--) {
    leaf at = t->leaves[i];
    MDB_val key = {sizeof at.key, &at.key}, value;
    if (at.page < lowest || at.own_pages || !lies_alone(t, i)) continue;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_KEY);
    if (rc == 0 && (uintptr_t)key.mv_data - (uintptr_t)page_at(t, at.page) < t->page_size)
      rc = mdb_cursor_put(cur, &key, &value, MDB_CURRENT);
  }
  mdb_cursor_close(cur);
  return rc;
}

/* --------------------------------------------------------------- gathering --- */

static uint64_t run_to_ask_for(db_env *env, MDB_txn *txn, const MDB_envinfo *info, size_t page_size, leaves_lie lie,
                               uint64_t *lowest, bool *any_free) {
  if (info->me_last_pgno + AREA + SPARE_PAGES >= info->me_mapsize / page_size) return 0;
  /* What was freed since the oldest snapshot is not to be had, as little as what the last commit freed. */
  const uint64_t id = mdb_txn_id(txn), oldest = db_oldest_reader(env), until = oldest < id - 1 ? oldest : id - 1;
  if (until + READER_LAG_MAX < id) return 0;
  const bool apart = lie == LIE_APART;
  free_look f = {.last_page = info->me_last_pgno, .most = LOOK_PAGES, .lowest = UINT64_MAX, .all = true};
  const bool extra = lie == LIE_IN_ROWS && id % GATHER_EVERY != 0;
  if (extra) f.most = FEW_PAGES;
  db_txn *look; /* LMDB lets only read transactions see its free list */
  MDB_cursor *cur;
  if (db_begin_once(env, false, &look) != 0) return 0;
  uint64_t run = 0;
  if ((f.is_free = calloc(f.last_page / 64 + 1, sizeof *f.is_free)) && mdb_cursor_open(look->lmdb, 0, &cur) == 0) {
    mark_free(&f, cur, until);
    mdb_cursor_close(cur);
    const bool rows = lie == LIE_IN_ROWS && f.pages <= FEW_PAGES;
    const uint64_t wanted = rows ? RUN_ROWS : RUN, most = apart ? RUN_MOST : wanted;
    const uint64_t longest = longest_run(&f);
    run = longest >= most + TOUCHED ? most : longest > TOUCHED ? longest - TOUCHED : 0;
    const bool may_grow = f.last_page + AREA < atomic_load_explicit(&env->slack_below, memory_order_relaxed);
    const bool grow = may_grow && f.all && (apart ? f.pages < AREA : run < wanted);
    if (grow) run = !apart ? wanted : AREA - f.pages > longest ? AREA - f.pages : longest + 1;
    if (f.damaged || (extra && !f.all) || run < RUN_LEAST || (!grow && f.records > run * LMDB_TRIES)) run = 0;
    *lowest = f.lowest;
    *any_free = f.pages > 0;
  }
  free(f.is_free);
  db_rest(look);
  return run;
}

static int ask_for_run(db_env *env, MDB_txn *txn, const MDB_envinfo *info, size_t page_size, uint64_t pages,
                       bool any_free) {
  static char name[] = "gather";
  int fd, rc = mdb_env_get_fd(env->lmdb, &fd);
  MDB_dbi names; /* every commit writes its page */
  if (rc == 0) rc = mdb_dbi_open(txn, NULL, 0, &names);
  if (rc != 0) return rc;
  MDB_val key = {sizeof name, name}, value = {.mv_size = (size_t)pages * page_size - PAGE_HEAD};
  rc = mdb_put(txn, names, &key, &value, MDB_RESERVE);
  if (rc != 0) return rc;
  const uint64_t page = sl_get_u64((const uint8_t *)value.mv_data - PAGE_HEAD);
  if (page > info->me_last_pgno) {
    /* With an empty free list the pages are written after all, and must not carry off what lay in memory. */
    if (!any_free) memset(value.mv_data, 0, value.mv_size);
    rc = db_file_allocate(fd, page * page_size, pages * page_size);
  }
  return rc == 0 ? mdb_del(txn, names, &key, NULL) : rc;
}

int db_gather(db_env *env, MDB_txn *txn) {
  MDB_envinfo info;
  MDB_stat stat;
  uint64_t lowest;
  bool any_free = false;
  if (mdb_txn_id(txn) % SETTLE_EVERY != 0) return 0;
  if (mdb_env_info(env->lmdb, &info) != 0 || mdb_env_stat(env->lmdb, &stat) != 0) return 0;
  const size_t page_size = stat.ms_psize;
  tail t = {.page_size = page_size, .last_page = info.me_last_pgno};
  const int looked = look_at_tail(env, txn, &t);
  if (looked != 0) return looked; /* LMDB would refuse everything in this transaction now */
  const leaves_lie lie = how_leaves_lie(&t);
  if (lie == LIE_SOMEHOW && mdb_txn_id(txn) % GATHER_EVERY != 0) return 0;
  const uint64_t pages = run_to_ask_for(env, txn, &info, page_size, lie, &lowest, &any_free);
  if (pages == 0) return 0;
  const int rc = ask_for_run(env, txn, &info, page_size, pages, any_free);
  return rc == 0 && lie == LIE_APART ? move_leaves(env, txn, &t, lowest) : rc;
}
