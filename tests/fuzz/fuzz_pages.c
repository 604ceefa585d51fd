/* The page reader: any bytes as a data file of LMDB. It ends, stays inside the file, and visits no page twice. */
#define _GNU_SOURCE
#include "fuzz.h"

#include "repair/pages.h"

#include <sys/mman.h>
#include <unistd.h>

typedef struct seen {
  pages *p;
  uint64_t entries, damages, sum;
  size_t size;
} seen;

static void touch(seen *s, const pages_entry *e) {
  uint8_t bytes[64];
  PROMISE(e->key.len <= 511);
  PROMISE(e->at + e->room <= s->size || e->room == 0);
  for (size_t i = 0; i < e->key.len; i++) s->sum += ((const uint8_t *)e->key.data)[i];
  for (size_t i = 0; e->data && i < e->room; i++) s->sum += e->data[i];
  if (!e->data && e->room > sizeof bytes && pages_read(s->p, e->at, bytes, sizeof bytes)) s->sum += bytes[63];
  s->entries++;
}

static sl_status take(void *arg, const pages_entry *e) {
  touch(arg, e);
  return ((seen *)arg)->entries % 7 ? SL_OK : SL_E_CORRUPT;
}

static void damage(void *arg, uint64_t first, uint64_t last, const char *why) {
  PROMISE(first <= last && why && *why);
  ((seen *)arg)->damages++;
}

static sl_status find(void *arg, const pages_entry *e, uint64_t *used) {
  touch(arg, e);
  *used = e->room / 2;
  return ((seen *)arg)->entries % 3 ? SL_OK : SL_NOTFOUND;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  pages *p;
  const int fd = memfd_create("pages", 0);
  PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  sl_status status = pages_open(path, &p);
  PROMISE(status == SL_OK || status == SL_E_CORRUPT);
  if (status == SL_OK) {
    static const char *const names[] = {"events", "meta", "dict_ids", "receipts"};
    seen s = {.p = p, .size = size};
    const uint64_t most = pages_state_get(p)->file_pages * pages_state_get(p)->page_size / 8 + 8;
    for (size_t i = 0; i < 4; i++) {
      pages_tree tree;
      bool damaged;
      status = pages_table(p, names[i], &tree, &damaged);
      PROMISE(status == SL_OK || status == SL_NOTFOUND);
      s.entries = 0;
      if (status == SL_OK) PROMISE(pages_walk(p, &tree, i % 2 == 0, take, damage, &s) == SL_OK);
      PROMISE(s.entries <= most);
    }
    pages_forget(p);
    PROMISE(pages_search(p, 8, find, &s) == SL_OK);
    PROMISE(pages_search(p, 0, find, &s) == SL_OK);
    pages_close(p);
  }
  close(fd);
  return 0;
}
