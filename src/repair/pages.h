/* The pages of an LMDB data file, read without LMDB: with pread and nothing believed, so that a damaged file, or
 * one that is cut short, ends in a finding and never in a signal. For repair; a sound store is read through db.h.
 * The layout is LMDB 0.9's, as db_file.c tells it. Never writes. One thread. */
#ifndef SL_STORE_PAGES_H
#define SL_STORE_PAGES_H
#include "base/base.h"

typedef struct pages pages;

/* SL_E_NO_STORE: no such file. SL_E_CORRUPT: neither meta page says how large a page is. SL_E_IO, SL_E_ACCESS. */
sl_status pages_open(const char *path, pages **out);
void pages_close(pages *p); /* NULL is fine */

typedef struct pages_tree {
  uint64_t root; /* UINT64_MAX: empty */
  uint64_t entries;
  bool integer_keys;
  bool old;      /* pages_table found its head among older copies only: what the last commits added may be missing,
                    and what they removed be there */
} pages_tree;

/* What the newer meta page says. *certain: both can be read and agree on which of them is the newer one. */
typedef struct pages_state {
  uint64_t txn, last_page, file_pages, page_size;
  bool certain;
  bool cut; /* pages in use lie beyond the end of the file */
  pages_tree main;
} pages_state;
const pages_state *pages_state_get(const pages *p);

/* An entry of a leaf. `data` is what of the value lies in the page and is valid in the callback only; a value with
 * pages of its own has no data there. `len` is what the entry says; `room` what there is at most behind `at`, a
 * place in the file, before the page or the run of pages ends. */
typedef struct pages_entry {
  sl_slice key;
  const uint8_t *data; /* NULL: pages of its own */
  uint64_t at, len, room;
  bool tree;           /* the value is the head of a named table */
} pages_entry;

typedef sl_status pages_entry_fn(void *arg, const pages_entry *entry);
/* Keys from first to last are lost, or some of them (in tables with integer keys; else 0 and UINT64_MAX). */
typedef void pages_damage_fn(void *arg, uint64_t first, uint64_t last, const char *why);

/* Reads the tree from its root, leaf by leaf, ascending. Damage is told and passed over. Each page is read once at
 * most, whatever the pointers say. Other statuses than SL_OK are `fn`'s, SL_E_NOMEM or SL_E_IO. */
sl_status pages_walk(pages *p, const pages_tree *tree, bool integer_keys, pages_entry_fn *fn,
                     pages_damage_fn *damage, void *arg);

/* The named table in the main tree, or else the newest of its older copies (tree->old). SL_NOTFOUND: it is not
 * there, or cannot be read (*damaged). */
sl_status pages_table(pages *p, const char *name, pages_tree *tree, bool *damaged);

/* Looks for entries with keys of `key_len` bytes (0: of any length) at every place of every page, whatever the
 * page says of itself, in pages that pages_walk has not found sound since pages_forget. `fn` has to know by itself
 * what is an entry and what only looks like one: it returns SL_NOTFOUND for the latter, and *used = the length of
 * the value otherwise. */
typedef sl_status pages_find_fn(void *arg, const pages_entry *entry, uint64_t *used);
sl_status pages_search(pages *p, size_t key_len, pages_find_fn *fn, void *arg);
/* Forgets which pages were found sound. */
void pages_forget(pages *p);

/* Copies `len` bytes of the file. False: they are not there. */
bool pages_read(pages *p, uint64_t at, void *to, size_t len);
#endif
