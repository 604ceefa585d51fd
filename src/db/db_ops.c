/* Reading and writing inside a transaction. */
#include "db/db_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_status txn_fail(db_txn *txn, int rc, const char *doing, unsigned table) {
  if (txn->status != SL_OK) return txn->status;
  char what[128];
  const char *name = txn->env->defs[table].name;
  snprintf(what, sizeof what, "%s table %s", doing, name ? name : "of tables");
  sl_status status = db_fail(txn->env, rc, what);
  /* Not SL_NOTFOUND: callers that may miss have asked before they came here. */
  return txn->status = status == SL_NOTFOUND ? SL_E_CORRUPT : status;
}

/* ------------------------------------------------------------- operations --- */

static MDB_val val(sl_slice s) { return (MDB_val){.mv_size = s.len, .mv_data = (void *)(uintptr_t)s.data}; }
static sl_slice slice(MDB_val v) { return (sl_slice){v.mv_data, v.mv_size}; }

sl_status db_get(db_txn *txn, unsigned table, sl_slice key, sl_slice *value) {
  if (txn->status != SL_OK) return txn->status;
  MDB_val k = val(key), v;
  int rc = mdb_get(txn->lmdb, txn->env->dbis[table], &k, &v);
  if (rc == MDB_NOTFOUND) return SL_NOTFOUND;
  if (rc != 0) return txn_fail(txn, rc, "reading", table);
  *value = slice(v);
  return SL_OK;
}

static sl_status put(db_txn *txn, unsigned table, sl_slice key, sl_slice value, unsigned flags) {
  if (txn->status != SL_OK) return txn->status;
  MDB_val k = val(key), v = val(value);
  int rc = mdb_put(txn->lmdb, txn->env->dbis[table], &k, &v, flags);
  return rc == 0 ? SL_OK : txn_fail(txn, rc, "writing to", table);
}

sl_status db_put(db_txn *txn, unsigned table, sl_slice key, sl_slice value) {
  return put(txn, table, key, value, 0);
}

sl_status db_append(db_txn *txn, unsigned table, sl_slice key, sl_slice value) {
  return put(txn, table, key, value, MDB_APPEND);
}

sl_status db_append_reserve(db_txn *txn, unsigned table, sl_slice key, size_t len, void **where) {
  if (txn->status != SL_OK) return txn->status;
  MDB_val k = val(key), v = {.mv_size = len};
  int rc = mdb_put(txn->lmdb, txn->env->dbis[table], &k, &v, MDB_APPEND | MDB_RESERVE);
  if (rc != 0) return txn_fail(txn, rc, "writing to", table);
  *where = v.mv_data;
  return SL_OK;
}

sl_status db_del(db_txn *txn, unsigned table, sl_slice key) {
  if (txn->status != SL_OK) return txn->status;
  MDB_val k = val(key);
  int rc = mdb_del(txn->lmdb, txn->env->dbis[table], &k, NULL);
  if (rc == MDB_NOTFOUND) return SL_NOTFOUND;
  return rc == 0 ? SL_OK : txn_fail(txn, rc, "deleting from", table);
}

sl_status db_empty(db_txn *txn, unsigned table) {
  if (txn->status != SL_OK) return txn->status;
  int rc = mdb_drop(txn->lmdb, txn->env->dbis[table], 0);
  return rc == 0 ? SL_OK : txn_fail(txn, rc, "emptying", table);
}

static bool is_ours(const db_env *env, MDB_val name) {
  for (unsigned i = 0; i < env->count; i++)
    if (env->defs[i].name && sl_slice_eq(slice(name), sl_slice_of(env->defs[i].name))) return true;
  return false;
}

/* *name: the first table of the file that is none of ours; empty: there is none. */
static int find_other(db_txn *txn, char *name, size_t size) {
  MDB_dbi names;
  MDB_cursor *cur;
  MDB_val k, v;
  *name = 0;
  int rc = mdb_dbi_open(txn->lmdb, NULL, 0, &names);
  if (rc == 0) rc = mdb_cursor_open(txn->lmdb, names, &cur);
  if (rc != 0) return rc;
  while ((rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) == 0 && is_ours(txn->env, k)) {}
  if (rc == 0 && k.mv_size < size) {
    memcpy(name, k.mv_data, k.mv_size);
    name[k.mv_size] = 0;
  }
  mdb_cursor_close(cur);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

sl_status db_drop_others(db_txn *txn) {
  char name[64];
  MDB_dbi table;
  for (;;) {
    if (txn->status != SL_OK) return txn->status;
    int rc = find_other(txn, name, sizeof name);
    if (rc == 0 && *name == 0) return SL_OK;
    if (rc == 0) rc = mdb_dbi_open(txn->lmdb, name, 0, &table);
    if (rc == 0) rc = mdb_drop(txn->lmdb, table, 1); /* its handle has never been anybody's */
    if (rc != 0) return db_txn_fail(txn, db_fail(txn->env, rc, "removing tables of an older layout"));
  }
}

sl_status db_count(db_txn *txn, unsigned table, uint64_t *entries) {
  if (txn->status != SL_OK) return txn->status;
  MDB_stat stat;
  int rc = mdb_stat(txn->lmdb, txn->env->dbis[table], &stat);
  if (rc != 0) return txn_fail(txn, rc, "reading", table);
  *entries = stat.ms_entries;
  return SL_OK;
}

sl_status db_high_water(db_txn *txn, uint64_t *pages, uint64_t *page_size) {
  if (txn->status != SL_OK) return txn->status;
  MDB_envinfo info;
  MDB_stat stat;
  mdb_env_info(txn->env->lmdb, &info);
  mdb_env_stat(txn->env->lmdb, &stat);
  *pages = info.me_last_pgno + 1;
  *page_size = stat.ms_psize;
  return SL_OK;
}

sl_status db_used_pages(db_txn *txn, uint64_t *pages) {
  const db_env *env = txn->env;
  uint64_t sum = 2; /* meta pages */
  if (txn->status != SL_OK) return txn->status;
  for (unsigned i = 0; i < env->count + 2; i++) {
    MDB_stat stat;
    if (i < env->count && !env->defs[i].name) continue; /* it is LMDB's 1 */
    const int rc = mdb_stat(txn->lmdb, i < env->count ? env->dbis[i] : i - env->count, &stat); /* 0 and 1: LMDB's own */
    if (rc != 0) return db_txn_fail(txn, db_fail(env, rc, "counting pages"));
    sum += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  }
  *pages = sum;
  return SL_OK;
}

/* --------------------------------------------------------------- cursors --- */

sl_status db_cur_open(db_txn *txn, unsigned table, db_cur **out) {
  if (txn->status != SL_OK) return txn->status;
  db_cur *cur = malloc(sizeof *cur);
  if (!cur) return db_txn_fail(txn, sl_fail(SL_E_NOMEM, "%s: out of memory", txn->env->dir));
  *cur = (db_cur){.txn = txn, .table = table};
  int rc = mdb_cursor_open(txn->lmdb, txn->env->dbis[table], &cur->lmdb);
  if (rc != 0) {
    free(cur);
    return txn_fail(txn, rc, "reading", table);
  }
  *out = cur;
  return SL_OK;
}

void db_cur_close(db_cur *cur) {
  if (!cur) return;
  mdb_cursor_close(cur->lmdb);
  free(cur);
}

sl_status db_cur_move(db_cur *cur, db_move move, sl_slice *key, sl_slice *value) {
  static const MDB_cursor_op ops[] = {
    [DB_FIRST] = MDB_FIRST, [DB_LAST] = MDB_LAST, [DB_NEXT] = MDB_NEXT, [DB_PREV] = MDB_PREV,
    [DB_SEEK] = MDB_SET_RANGE, [DB_FIND] = MDB_SET_KEY, [DB_NEXT_VALUE] = MDB_NEXT_DUP,
    [DB_NEXT_KEY] = MDB_NEXT_NODUP, [DB_SEEK_VALUE] = MDB_GET_BOTH_RANGE, [DB_LAST_VALUE] = MDB_LAST_DUP,
  };
  if (cur->txn->status != SL_OK) return cur->txn->status;
  MDB_val k = {0}, v = {0};
  if (move == DB_SEEK || move == DB_FIND || move == DB_SEEK_VALUE) k = val(*key);
  if (move == DB_SEEK_VALUE) v = val(*value);
  int rc = mdb_cursor_get(cur->lmdb, &k, &v, ops[move]);
  if (rc == MDB_NOTFOUND) return SL_NOTFOUND;
  if (rc != 0) return txn_fail(cur->txn, rc, "reading", cur->table);
  /* MDB_LAST_DUP gives the value only. */
  if (move == DB_LAST_VALUE && k.mv_data == NULL) {
    MDB_val ignored;
    rc = mdb_cursor_get(cur->lmdb, &k, &ignored, MDB_GET_CURRENT);
    if (rc != 0) return txn_fail(cur->txn, rc, "reading", cur->table);
  }
  *key = slice(k);
  *value = slice(v);
  return SL_OK;
}

sl_status db_cur_del(db_cur *cur) {
  if (cur->txn->status != SL_OK) return cur->txn->status;
  int rc = mdb_cursor_del(cur->lmdb, 0);
  return rc == 0 ? SL_OK : txn_fail(cur->txn, rc, "deleting from", cur->table);
}

sl_status db_cur_put(db_cur *cur, sl_slice key, sl_slice value) {
  if (cur->txn->status != SL_OK) return cur->txn->status;
  MDB_val k = val(key), v = val(value);
  int rc = mdb_cursor_put(cur->lmdb, &k, &v, 0);
  return rc == 0 ? SL_OK : txn_fail(cur->txn, rc, "writing to", cur->table);
}

sl_status db_cur_put_sorted(db_cur *cur, sl_slice key, sl_slice value, bool same) {
  db_txn *txn = cur->txn;
  if (txn->status != SL_OK) return txn->status;
  MDB_val k = val(key), v = val(value);
  /* MDB_APPEND alone refuses a key that is there already, MDB_APPENDDUP alone is for exactly that. */
  int rc = mdb_cursor_put(cur->lmdb, &k, &v, same ? MDB_APPENDDUP : MDB_APPEND);
  return rc == 0 ? SL_OK : txn_fail(txn, rc, "writing to", cur->table);
}
