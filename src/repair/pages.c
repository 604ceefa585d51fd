#include "repair/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  PAGE_HEAD = 16, META_SIZE = 136,
  FLAG_BRANCH = 0x01, FLAG_LEAF = 0x02, FLAG_META = 0x08,
  NODE_HEAD = 8, NODE_BIG = 0x01, NODE_TREE = 0x02,
  TREE_SIZE = 48, TREE_INTEGERS = 0x08, KEY_MAX = 511, CANDIDATES_MOST = 64,
  DEPTH_MAX = 32, SIZES_LEAST = 512, SIZES_MOST = 65536
};
#define LMDB_MAGIC 0xBEEFC0DEu
#define LMDB_VERSION 1u
#define NO_PAGE UINT64_MAX

struct pages {
  int fd;
  char *path;
  uint64_t size;
  pages_state state;
  uint8_t *seen;    /* a bit a page: read by this walk */
  uint8_t *sound;   /* a bit a page: found sound since pages_forget */
  uint8_t *levels;  /* a page for each level of a walk */
};

static bool get_bit(const uint8_t *bits, uint64_t i) { return bits[i / 8] >> (i % 8) & 1; }
static void set_bit(uint8_t *bits, uint64_t i) { bits[i / 8] |= (uint8_t)(1u << (i % 8)); }

bool pages_read(pages *p, uint64_t at, void *to, size_t len) {
  uint8_t *out = to;
  if (at > p->size || len > p->size - at) return false;
  while (len > 0) {
    const ssize_t got = pread(p->fd, out, len, (off_t)at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false; /* a sector that cannot be read is damage like any other */
    out += got, at += (uint64_t)got, len -= (size_t)got;
  }
  return true;
}

/* ------------------------------------------------------------------ meta --- */

typedef struct meta {
  bool sound;
  uint64_t psize, txn, last_page;
  pages_tree main;
} meta;

static pages_tree tree_of(const uint8_t *head) {
  return (pages_tree){.entries = sl_get_u64(head + 32), .root = sl_get_u64(head + 40),
                      .integer_keys = (sl_get_u16(head + 4) & TREE_INTEGERS) != 0};
}

static meta read_meta(pages *p, uint64_t at, uint64_t number) {
  uint8_t page[PAGE_HEAD + META_SIZE];
  const uint8_t *m = page + PAGE_HEAD;
  meta out = {0};
  if (!pages_read(p, at, page, sizeof page)) return out;
  out.psize = sl_get_u32(m + 24);
  out.txn = sl_get_u64(m + 128);
  out.last_page = sl_get_u64(m + 120);
  out.main = tree_of(m + 72);
  out.sound = sl_get_u64(page) == number && (sl_get_u16(page + 10) & FLAG_META) && sl_get_u32(m) == LMDB_MAGIC &&
              sl_get_u32(m + 4) == LMDB_VERSION && out.psize >= SIZES_LEAST && out.psize <= SIZES_MOST &&
              (out.psize & (out.psize - 1)) == 0 && out.last_page < UINT64_MAX / SIZES_MOST;
  return out;
}

static sl_status read_metas(pages *p) {
  meta metas[2] = {read_meta(p, 0, 0)};
  uint64_t psize = metas[0].sound ? metas[0].psize : 0;
  for (uint64_t size = SIZES_LEAST; !psize && size <= SIZES_MOST; size *= 2) {
    const meta other = read_meta(p, size, 1);
    if (other.sound && other.psize == size) psize = size;
  }
  if (!psize)
    return sl_fail(SL_E_CORRUPT, "%s: neither of its meta pages can be read: nothing in it can be found", p->path);
  metas[1] = read_meta(p, psize, 1);
  if (metas[1].psize != psize) metas[1].sound = false;
  const meta *best = !metas[1].sound || (metas[0].sound && metas[0].txn >= metas[1].txn) ? &metas[0] : &metas[1];
  /* LMDB writes them in turns, an even transaction in page 0, and each follows the other. */
  const bool turns = metas[0].txn % 2 == 0 &&
      (metas[0].txn + 1 == metas[1].txn || metas[1].txn + 1 == metas[0].txn ||
       (metas[0].txn == 0 && metas[1].txn == 0));
  p->state = (pages_state){.txn = best->txn, .last_page = best->last_page, .file_pages = p->size / psize,
                           .page_size = psize, .certain = metas[0].sound && metas[1].sound && turns,
                           .main = best->main};
  p->state.cut = best->last_page >= p->state.file_pages;
  return SL_OK;
}

sl_status pages_open(const char *path, pages **out) {
  pages *p = calloc(1, sizeof *p);
  if (!p) return sl_fail(SL_E_NOMEM, "out of memory");
  p->path = strdup(path);
  p->fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  sl_status status = p->path ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK && (p->fd < 0 || fstat(p->fd, &st) != 0))
    status = sl_fail(errno == ENOENT ? SL_E_NO_STORE : sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  if (status == SL_OK) {
    p->size = (uint64_t)st.st_size;
    status = read_metas(p);
  }
  if (status == SL_OK) {
    p->seen = calloc(1, p->state.file_pages / 8 + 1);
    p->sound = calloc(1, p->state.file_pages / 8 + 1);
    p->levels = malloc(p->state.page_size * (DEPTH_MAX + 1));
    if (!p->seen || !p->sound || !p->levels) status = sl_fail(SL_E_NOMEM, "out of memory");
  }
  if (status != SL_OK) {
    pages_close(p);
    return status;
  }
  *out = p;
  return SL_OK;
}

void pages_close(pages *p) {
  if (!p) return;
  if (p->fd >= 0) close(p->fd);
  free(p->path);
  free(p->seen);
  free(p->sound);
  free(p->levels);
  free(p);
}

const pages_state *pages_state_get(const pages *p) { return &p->state; }
void pages_forget(pages *p) { memset(p->sound, 0, p->state.file_pages / 8 + 1); }

/* ------------------------------------------------------------------ walk --- */

typedef struct walk {
  pages *p;
  bool integer_keys;
  pages_entry_fn *fn;
  pages_damage_fn *damage;
  void *arg;
} walk;

/* Keys that a page may hold: low <= key < end; end 0: without end. */
typedef struct span { uint64_t low, end; } span;

static void tell(const walk *w, uint64_t first, uint64_t end, const char *why) {
  const uint64_t last = end ? end - 1 : UINT64_MAX;
  if (first <= last) w->damage(w->arg, first, last, why);
}

/* The node at a place of the page, as far as it lies inside. False: it does not. */
static bool node_at(const pages *p, const uint8_t *page, uint64_t number, size_t at, pages_entry *e,
                    uint64_t *child) {
  const size_t size = (size_t)p->state.page_size;
  if (at < PAGE_HEAD || at + NODE_HEAD > size) return false;
  const uint8_t *node = page + at;
  const uint64_t low = (uint64_t)sl_get_u16(node) | (uint64_t)sl_get_u16(node + 2) << 16;
  const unsigned flags = sl_get_u16(node + 4), key_len = sl_get_u16(node + 6);
  if (key_len > KEY_MAX || at + NODE_HEAD + key_len > size) return false;
  const size_t data = at + NODE_HEAD + key_len;
  *e = (pages_entry){.key = {node + NODE_HEAD, key_len}, .len = low, .tree = (flags & NODE_TREE) != 0};
  *child = low | (uint64_t)flags << 32;
  if (!(flags & NODE_BIG)) {
    e->data = page + data;
    e->at = number * size + data;
    e->room = size - data;
    return true;
  }
  if (data + 8 > size) return false;
  const uint64_t big = sl_get_u64(page + data);
  if (big < 2 || big >= p->state.file_pages) return false;
  e->at = big * size + PAGE_HEAD;
  e->room = p->size - e->at;
  return true;
}

static uint64_t int_key(const pages_entry *e) { return e->key.len == 8 ? sl_get_u64(e->key.data) : 0; }

static bool key_fits(const pages_entry *e, const span *s) {
  if (e->key.len != 8) return false;
  const uint64_t key = sl_get_u64(e->key.data);
  return key >= s->low && (s->end == 0 || key < s->end);
}

static size_t node_place(const uint8_t *page, unsigned i) { return sl_get_u16(page + PAGE_HEAD + 2 * i); }

/* A node whose key breaks the order is the damaged one, unless the order is whole without the one before it. */
static bool leaf_node(const walk *w, const uint8_t *page, uint64_t number, unsigned i, unsigned nodes,
                      const span *s, pages_entry *e) {
  uint64_t child;
  if (!node_at(w->p, page, number, node_place(page, i), e, &child)) return false;
  if (e->data && e->len > e->room) e->len = e->room; /* the reader of the value sees that it does not fit */
  if (!w->integer_keys) return e->key.len > 0;
  if (!key_fits(e, s)) return false;
  pages_entry next;
  return i + 1 == nodes || !node_at(w->p, page, number, node_place(page, i + 1), &next, &child) ||
      !key_fits(&next, s) || int_key(&next) > int_key(e);
}

/* One node outside of what the page above says is damaged; of several, the page above is. */
static span believed(const walk *w, const uint8_t *page, uint64_t number, unsigned nodes, span s) {
  unsigned outside = 0;
  for (unsigned i = 0; w->integer_keys && i < nodes; i++) {
    pages_entry e;
    uint64_t child;
    outside += node_at(w->p, page, number, node_place(page, i), &e, &child) && !key_fits(&e, &s);
  }
  return outside > 1 ? (span){0, 0} : s;
}

static sl_status walk_leaf(const walk *w, const uint8_t *page, uint64_t number, unsigned nodes, bool whole,
                           span s) {
  bool hole = false;
  s = believed(w, page, number, nodes, s);
  for (unsigned i = 0; i < nodes; i++) {
    pages_entry e = {0};
    if (!leaf_node(w, page, number, i, nodes, &s, &e)) {
      hole = true;
      whole = false;
      /* In order, but not where the page above has it: one of the two is damaged. */
      if (w->integer_keys && e.key.len == 8 && int_key(&e) >= s.low && !key_fits(&e, &s))
        tell(w, int_key(&e), int_key(&e) + 1, "an entry of the table is damaged");
      continue;
    }
    const uint64_t key = int_key(&e);
    if (hole) tell(w, s.low, w->integer_keys ? key : 0, "an entry of the table is damaged");
    hole = false;
    sl_status status = w->fn(w->arg, &e);
    if (status == SL_E_CORRUPT) {
      whole = false;
      status = SL_OK;
    }
    if (status != SL_OK) return status;
    if (w->integer_keys) s.low = key + 1;
  }
  if (hole) tell(w, s.low, s.end, "an entry of the table is damaged");
  if (whole) set_bit(w->p->sound, number);
  return SL_OK;
}

static sl_status walk_page(const walk *w, uint64_t number, unsigned depth, span s);

static sl_status walk_branch(const walk *w, const uint8_t *page, uint64_t number, unsigned nodes, unsigned depth,
                             bool whole, span s) {
  uint64_t from = s.low;
  for (unsigned i = 0; i < nodes; i++) {
    pages_entry e, next;
    uint64_t child, ignored;
    span part = {from, s.end};
    const bool good = node_at(w->p, page, number, node_place(page, i), &e, &child);
    /* The first node's key says nothing; the others begin where the part before them ends. */
    if (w->integer_keys && i + 1 < nodes &&
        node_at(w->p, page, number, node_place(page, i + 1), &next, &ignored) && key_fits(&next, &part))
      part.end = int_key(&next);
    if (w->integer_keys && part.end == s.end && i + 1 < nodes) whole = false; /* leaves tell the parts apart */
    sl_status status = SL_OK;
    if (good) status = walk_page(w, child, depth + 1, part);
    else tell(w, part.low, part.end, "a page that leads to others is damaged");
    whole = whole && good;
    if (status != SL_OK) return status;
    if (part.end != s.end) from = part.end;
  }
  if (whole) set_bit(w->p->sound, number);
  return SL_OK;
}

/* Do the sizes of the nodes add up to what lies behind `upper`? LMDB packs them. *nodes grows where `lower`, which
 * says how many there are, is damaged and says too few. */
static bool packed(const walk *w, const uint8_t *page, uint64_t number, bool leaf, unsigned *nodes) {
  const size_t size = (size_t)w->p->state.page_size, upper = sl_get_u16(page + 14);
  const unsigned told = *nodes;
  size_t sum = 0;
  bool found = false;
  if (upper < PAGE_HEAD || upper > size) return false;
  for (unsigned i = 0; PAGE_HEAD + 2u * i <= upper; i++) {
    if (sum == size - upper) {
      found = i >= told;
      if (found) {
        *nodes = i;
        break;
      }
    }
    pages_entry e;
    uint64_t child;
    if (PAGE_HEAD + 2u * (i + 1) > size || !node_at(w->p, page, number, node_place(page, i), &e, &child)) break;
    const size_t own = NODE_HEAD + e.key.len + (leaf ? (e.data ? (size_t)e.len : 8) : 0);
    sum += (own + 1) & ~(size_t)1;
    if (sum > size) break;
  }
  return found && *nodes == told;
}

static bool one_bit(uint64_t a, uint64_t b) { return a != b && ((a ^ b) & ((a ^ b) - 1)) == 0; }

/* What kind of page it is; a bit of its flags may be wrong. A branch's first node has no key. */
static unsigned kind_of(const walk *w, const uint8_t *page, uint64_t number) {
  const unsigned flags = sl_get_u16(page + 10);
  if (flags == FLAG_BRANCH || flags == FLAG_LEAF) return flags;
  const bool branch = one_bit(flags, FLAG_BRANCH), leaf = one_bit(flags, FLAG_LEAF);
  if (branch != leaf) return branch ? FLAG_BRANCH : FLAG_LEAF;
  pages_entry e;
  uint64_t child;
  if (!leaf || !node_at(w->p, page, number, node_place(page, 0), &e, &child)) return 0;
  return e.key.len == 0 ? FLAG_BRANCH : FLAG_LEAF;
}

static sl_status walk_page(const walk *w, uint64_t number, unsigned depth, span s) {
  pages *p = w->p;
  const char *wrong = NULL;
  uint8_t *page = p->levels + (size_t)depth * p->state.page_size;
  unsigned kind = 0;
  if (depth > DEPTH_MAX) wrong = "the tree is too deep: its pointers are damaged";
  else if (number < 2 || number >= p->state.file_pages) wrong = "a page lies beyond the end of the file";
  else if (get_bit(p->seen, number)) wrong = "a page stands twice in the tree";
  else if (!pages_read(p, number * p->state.page_size, page, (size_t)p->state.page_size))
    wrong = "a page cannot be read";
  else if (sl_get_u64(page) != number && !one_bit(sl_get_u64(page), number))
    wrong = "a page is not the one it should be";
  else if ((kind = kind_of(w, page, number)) == 0) wrong = "a page is not of its kind";
  if (wrong) {
    tell(w, s.low, s.end, wrong);
    return SL_OK;
  }
  set_bit(p->seen, number);
  const unsigned lower = sl_get_u16(page + 12);
  unsigned nodes = lower < PAGE_HEAD || lower > p->state.page_size ? 0 : (lower - PAGE_HEAD) / 2;
  const bool whole = packed(w, page, number, kind == FLAG_LEAF, &nodes);
  if (!whole) tell(w, s.low, s.end, "a page's head or one of its entries is damaged");
  return kind == FLAG_LEAF ? walk_leaf(w, page, number, nodes, whole, s)
                           : walk_branch(w, page, number, nodes, depth, whole, s);
}

sl_status pages_walk(pages *p, const pages_tree *tree, bool integer_keys, pages_entry_fn *fn,
                     pages_damage_fn *damage, void *arg) {
  const walk w = {.p = p, .integer_keys = integer_keys, .fn = fn, .damage = damage, .arg = arg};
  if (tree->root == NO_PAGE) return SL_OK;
  memset(p->seen, 0, p->state.file_pages / 8 + 1);
  return walk_page(&w, tree->root, 0, (span){0, 0});
}

/* ---------------------------------------------------------------- tables --- */

typedef struct candidate { pages_tree tree; uint64_t last; } candidate;

typedef struct table_search {
  pages *p;
  sl_slice name;
  pages_tree tree;
  bool found, own, damaged, searched;
  candidate list[CANDIDATES_MOST]; /* of older copies, the newest first */
  size_t count;
} table_search;

static sl_status take_table(void *arg, const pages_entry *e) {
  table_search *s = arg;
  if (!e->tree || !e->data || e->len < TREE_SIZE) return SL_OK;
  if (!sl_slice_eq(e->key, s->name)) return SL_OK;
  s->tree = tree_of(e->data);
  s->found = true;
  return SL_OK;
}

static void take_damage(void *arg, uint64_t first, uint64_t last, const char *why) {
  (void)first, (void)last, (void)why;
  ((table_search *)arg)->damaged = true;
}

/* ---------------------------------------------------------------- search --- */

static sl_status search_page(pages *p, uint64_t number, size_t key_len, pages_find_fn *fn, void *arg) {
  const uint8_t *page = p->levels;
  const size_t size = (size_t)p->state.page_size;
  for (size_t at = PAGE_HEAD; at + NODE_HEAD <= size; at += 2) { /* LMDB puts nodes at even places */
    pages_entry e;
    uint64_t child, used = 0;
    const size_t has = sl_get_u16(page + at + 6);
    if (has == 0 || (key_len && has != key_len)) continue;
    if (!node_at(p, page, number, at, &e, &child)) continue;
    sl_status status = fn(arg, &e, &used);
    if (status == SL_NOTFOUND && !e.data) { /* or its mark of a value with pages of its own is the damage */
      const size_t data = at + NODE_HEAD + has;
      e.data = page + data, e.at = number * size + data, e.room = size - data;
      status = fn(arg, &e, &used);
    }
    if (status == SL_NOTFOUND) continue;
    if (status != SL_OK) return status;
    /* What looks like an entry inside a value is part of the value. */
    if (e.data && used <= e.room) at = ((size_t)(e.at - number * size) + (size_t)used - 2) & ~(size_t)1;
  }
  return SL_OK;
}

sl_status pages_search(pages *p, size_t key_len, pages_find_fn *fn, void *arg) {
  const size_t size = (size_t)p->state.page_size;
  for (uint64_t number = 2; number < p->state.file_pages; number++) {
    if (get_bit(p->sound, number)) continue;
    if (!pages_read(p, number * size, p->levels, size)) continue;
    if (sl_get_u16(p->levels + 10) == 0 && sl_get_u64(p->levels) == 0) continue; /* not in use: zeros */
    sl_status status = search_page(p, number, key_len, fn, arg);
    if (status != SL_OK) return status;
  }
  return SL_OK;
}

/* ------------------------------------------------------- tables, once more --- */

/* How many entries the tree has, by the pages that it leads to, and its last key (of integer keys). False: it
 * leads to pages that are none of its own, or not whole. */
static bool measure(pages *p, uint64_t number, unsigned depth, uint64_t *entries, uint64_t *last) {
  const size_t size = (size_t)p->state.page_size;
  uint8_t *page = p->levels + (size_t)depth * size;
  if (depth > DEPTH_MAX || number < 2 || number >= p->state.file_pages) return false;
  if (!pages_read(p, number * size, page, size) || sl_get_u64(page) != number) return false;
  const unsigned kind = sl_get_u16(page + 10), lower = sl_get_u16(page + 12);
  const unsigned nodes = lower < PAGE_HEAD || lower > size ? 0 : (lower - PAGE_HEAD) / 2;
  pages_entry e;
  uint64_t child;
  if (nodes == 0) return false;
  if (kind == FLAG_LEAF) {
    *entries += nodes;
    const bool there = node_at(p, page, number, node_place(page, nodes - 1), &e, &child);
    if (there) *last = int_key(&e);
    return there;
  }
  if (kind != FLAG_BRANCH) return false;
  for (unsigned i = 0; i < nodes; i++)
    if (!node_at(p, page, number, node_place(page, i), &e, &child) || !measure(p, child, depth + 1, entries, last))
      return false;
  return true;
}

/* Events and receipts are appended at the end and trimmed at the front: of two copies the one that ends later is
 * the newer one, and of two with the same end the one with fewer entries. Names are only added. */
static bool is_newer(const candidate *a, const candidate *b) {
  if (a->last != b->last) return a->last > b->last;
  return a->tree.integer_keys ? a->tree.entries < b->tree.entries : a->tree.entries > b->tree.entries;
}

/* The last key at the end of the pages to the right: cheap. */
static uint64_t last_key(pages *p, const pages_tree *tree) {
  const size_t size = (size_t)p->state.page_size;
  uint8_t *page = p->levels + size; /* the search has the first */
  uint64_t number = tree->root;
  for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
    pages_entry e;
    uint64_t child;
    if (number < 2 || number >= p->state.file_pages || !pages_read(p, number * size, page, size)) return 0;
    const unsigned kind = sl_get_u16(page + 10), lower = sl_get_u16(page + 12);
    if (sl_get_u64(page) != number || lower < PAGE_HEAD + 2 || lower > size) return 0;
    if (!node_at(p, page, number, node_place(page, (lower - PAGE_HEAD) / 2 - 1), &e, &child)) return 0;
    if (kind == FLAG_LEAF) return int_key(&e);
    if (kind != FLAG_BRANCH) return 0;
    number = child;
  }
  return 0;
}

static void add_candidate(table_search *s, const pages_tree *tree) {
  const candidate c = {*tree, tree->integer_keys ? last_key(s->p, tree) : 0};
  for (size_t i = 0; i < s->count; i++)
    if (s->list[i].tree.root == tree->root && s->list[i].tree.entries == tree->entries) return;
  size_t at = s->count;
  if (at < CANDIDATES_MOST) s->count++;
  else if (is_newer(&c, &s->list[at - 1])) at--;
  else return;
  for (; at > 0 && is_newer(&c, &s->list[at - 1]); at--) s->list[at] = s->list[at - 1];
  s->list[at] = c;
}

static bool is_name(const table_search *s, const pages_entry *e, bool own) {
  unsigned bits = 0;
  if (e->key.len != s->name.len) return false;
  for (size_t i = 0; i < s->name.len; i++)
    bits += (unsigned)__builtin_popcount((unsigned)(((const uint8_t *)e->key.data)[i] ^
                                                    ((const uint8_t *)s->name.data)[i]));
  return bits == 0 || (own && bits == 1);
}

/* The main tree does not lead to the table: its head in the main tree's page, where a bit of the name may be
 * wrong, or else in older copies of that page. */
static sl_status search_table(void *arg, const pages_entry *e, uint64_t *used) {
  table_search *s = arg;
  *used = 0;
  const bool own = e->at / s->p->state.page_size == s->p->state.main.root;
  if (s->own || !e->data || e->room < TREE_SIZE || !is_name(s, e, own)) return SL_NOTFOUND;
  const pages_tree tree = tree_of(e->data);
  if (tree.root != NO_PAGE && (tree.root < 2 || tree.root >= s->p->state.file_pages)) return SL_NOTFOUND;
  if (own) s->tree = tree;
  else add_candidate(s, &tree);
  s->found = true;
  s->own = own;
  return SL_NOTFOUND;
}

/* The newest whose pages are still its own; the pages of the others have been used anew, at least in part. */
static void choose_copy(table_search *s) {
  s->tree = s->list[0].tree;
  for (size_t i = 0; i < s->count; i++) {
    const pages_tree *tree = &s->list[i].tree;
    uint64_t entries = 0, last = 0;
    if (tree->root != NO_PAGE && !measure(s->p, tree->root, 0, &entries, &last)) continue;
    if (entries != tree->entries || (tree->integer_keys && last != s->list[i].last)) continue;
    s->tree = *tree;
    return;
  }
}

sl_status pages_table(pages *p, const char *name, pages_tree *tree, bool *damaged) {
  table_search *s = calloc(1, sizeof *s);
  if (!s) return sl_fail(SL_E_NOMEM, "out of memory");
  s->p = p;
  s->name = sl_slice_of(name);
  sl_status status = pages_walk(p, &p->state.main, false, take_table, take_damage, s);
  *damaged = s->damaged || !s->found;
  if (status == SL_OK && !s->found) {
    s->searched = true;
    pages_forget(p);
    status = pages_search(p, s->name.len, search_table, s);
    if (status == SL_OK && s->found && !s->own) choose_copy(s);
  }
  if (status == SL_OK && s->found) {
    *tree = s->tree;
    tree->old = s->searched && !s->own;
  } else if (status == SL_OK) {
    status = SL_NOTFOUND;
  }
  free(s);
  return status;
}
