/*
 * sl_repair: reads what is left (repair_log.c, repair_book.c, both through pages.c and never through LMDB),
 * decides whether the delivery state can be taken over, and writes a new store (repair_write.c, repair_settle.c).
 */
#include "index/index.h"
#include "repair/repair_impl.h"

#include "base/id.h"
#include "db/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* ------------------------------------------------------------------- lists --- */

/* Room for one more of `size` bytes. */
static bool grow(void **list, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return true;
  const size_t more = *cap ? *cap * 2 : 256;
  void *grown = realloc(*list, more * size);
  if (!grown) return false;
  *list = grown;
  *cap = more;
  return true;
}

void repair_add(repair_items *items, repair_item item) {
  void *list = items->list;
  if (!grow(&list, items->count, &items->cap, sizeof item)) items->failed = true;
  items->list = list;
  if (!items->failed) items->list[items->count++] = item;
}

static int by_seq(const void *a, const void *b) {
  const repair_item *x = a, *y = b;
  if (x->seq != y->seq) return x->seq > y->seq ? 1 : -1;
  if (x->searched != y->searched) return x->searched ? 1 : -1;
  return (x->rank < y->rank) - (x->rank > y->rank);
}

void repair_sort(repair_items *items) {
  if (items->count == 0) return;
  qsort(items->list, items->count, sizeof *items->list, by_seq);
  size_t kept = 1;
  for (size_t i = 1; i < items->count; i++)
    if (items->list[i].seq != items->list[kept - 1].seq) items->list[kept++] = items->list[i];
  items->count = kept;
}

const repair_item *repair_find(const repair_items *items, uint64_t seq) {
  size_t low = 0, high = items->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (items->list[middle].seq == seq) return &items->list[middle];
    if (items->list[middle].seq < seq) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

void repair_add_range(repair_ranges *ranges, uint64_t first, uint64_t last, const char *why) {
  void *list = ranges->list;
  if (!grow(&list, ranges->count, &ranges->cap, sizeof *ranges->list)) ranges->failed = true;
  ranges->list = list;
  if (!ranges->failed) ranges->list[ranges->count++] = (repair_range){first, last, why, last};
  ranges->sorted = false;
}

static int by_first(const void *a, const void *b) {
  const repair_range *x = a, *y = b;
  return (x->first > y->first) - (x->first < y->first);
}

const char *repair_why(repair_ranges *ranges, uint64_t seq) {
  if (!ranges->sorted && ranges->count) {
    qsort(ranges->list, ranges->count, sizeof *ranges->list, by_first);
    for (size_t i = 0; i < ranges->count; i++) {
      repair_range *r = &ranges->list[i];
      r->reach = i > 0 && ranges->list[i - 1].reach > r->last ? ranges->list[i - 1].reach : r->last;
    }
    ranges->sorted = true;
  }
  size_t low = 0, high = ranges->count; /* the first that begins behind seq */
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (ranges->list[middle].first <= seq) low = middle + 1;
    else high = middle;
  }
  for (; low > 0 && ranges->list[low - 1].reach >= seq; low--)
    if (ranges->list[low - 1].last >= seq) return ranges->list[low - 1].why;
  return NULL;
}

/* ------------------------------------------------------------------- pairs --- */

typedef struct pairs_read {
  pages *file;
  repair_pairs *out;
} pairs_read;

static sl_status take_pair(void *arg, const pages_entry *e) {
  pairs_read *pr = arg;
  void *list = pr->out->list;
  if (e->key.len >= sizeof pr->out->list->key || e->len > e->room || e->len > 1u << 20) {
    pr->out->damaged = true;
    return SL_E_CORRUPT;
  }
  if (!grow(&list, pr->out->count, &pr->out->cap, sizeof *pr->out->list)) pr->out->failed = true;
  pr->out->list = list;
  if (pr->out->failed) return sl_fail(SL_E_NOMEM, "out of memory");
  repair_pair *pair = &pr->out->list[pr->out->count++];
  memset(pair, 0, sizeof *pair);
  memcpy(pair->key, e->key.data, e->key.len);
  uint8_t *to = sl_buf_extend(&pair->value, (size_t)e->len);
  if (e->len == 0) return SL_OK;
  if (!to) return sl_fail(SL_E_NOMEM, "out of memory");
  if (e->data) memcpy(to, e->data, (size_t)e->len);
  else if (!pages_read(pr->file, e->at, to, (size_t)e->len)) pr->out->damaged = true;
  return SL_OK;
}

static void damaged_pairs(void *arg, uint64_t first, uint64_t last, const char *why) {
  (void)first, (void)last, (void)why;
  ((pairs_read *)arg)->out->damaged = true;
}

sl_status repair_read_pairs(pages *file, const char *table, repair_pairs *out) {
  pairs_read pr = {.file = file, .out = out};
  pages_tree tree;
  bool damaged;
  sl_status status = pages_table(file, table, &tree, &damaged);
  out->damaged |= damaged || status == SL_NOTFOUND;
  if (status == SL_OK) return pages_walk(file, &tree, false, take_pair, damaged_pairs, &pr);
  return status == SL_NOTFOUND ? SL_OK : status;
}

const sl_buf *repair_value(const repair_pairs *pairs, const char *key) {
  for (size_t i = 0; i < pairs->count; i++)
    if (strcmp(pairs->list[i].key, key) == 0) return &pairs->list[i].value;
  return NULL;
}

sl_status repair_bytes(pages *file, const repair_item *item, sl_buf *out) {
  sl_buf_reset(out);
  uint8_t *to = sl_buf_extend(out, item->len);
  if (!to) return sl_fail(SL_E_NOMEM, "out of memory");
  return pages_read(file, item->at, to, item->len) ? SL_OK : sl_fail(SL_E_IO, "it could be read a moment ago");
}

void repair_free_pairs(repair_pairs *pairs) {
  for (size_t i = 0; i < pairs->count; i++) sl_buf_free(&pairs->list[i].value);
  free(pairs->list);
}

/* ------------------------------------------------------------------ report --- */

const char *sl_repair_kind_text(sl_repair_kind kind) {
  static const char *const texts[] = {"lost-pending", "lost-settled", "recovered", "receipts", "names", "log",
                                      "delivery"};
  return (unsigned)kind < sizeof texts / sizeof *texts ? texts[kind] : "unknown";
}

void repair_tell(repair *r, sl_repair_kind kind, uint64_t first, uint64_t last, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  r->report.findings++;
  if (r->fn) r->fn(r->arg, kind, first, last, text);
}

/* ---------------------------------------------------------------- identity --- */

static unsigned bits_apart(const uint8_t *a, const uint8_t *b) {
  unsigned n = 0;
  for (int i = 0; i < 16; i++) n += (unsigned)__builtin_popcount((unsigned)(a[i] ^ b[i]));
  return n;
}

/* The index knows the id (a third witness where the two others differ by a few bits), and how far the log went. */
static sl_status read_index(repair *r) {
  char path[4096];
  pages *file;
  repair_pairs meta = {0};
  if ((size_t)snprintf(path, sizeof path, "%s/index/data.mdb", r->source) >= sizeof path) return SL_OK;
  sl_status status = pages_open(path, &file);
  if (status != SL_OK) return status == SL_E_NOMEM ? status : SL_OK;
  status = repair_read_pairs(file, "meta", &meta);
  const sl_buf *value = status == SL_OK ? repair_value(&meta, "store") : NULL;
  r->index.has_id = value && value->len == 16;
  if (r->index.has_id) memcpy(r->index.id, value->data, 16);
  value = repair_value(&meta, INDEX_STATE_NAME);
  if (r->index.has_id && value && index_state_sound(sl_buf_slice(value)))
    r->index.watermark = sl_get_u64(value->data);
  repair_free_pairs(&meta);
  pages_close(file);
  return status == SL_E_NOMEM ? status : SL_OK;
}

static sl_status new_id(repair *r) {
  if (!sl_random(r->id, 16)) return sl_fail(SL_E_IO, "the system gives no random bytes for the store's identity");
  r->id[6] = (uint8_t)((r->id[6] & 0x0f) | 0x40);
  r->id[8] = (uint8_t)((r->id[8] & 0x3f) | 0x80);
  return SL_OK;
}

/* Whose log and whose delivery state this is. The ids have no checksums. */
static sl_status settle_id(repair *r) {
  const sl_buf *log = repair_value(&r->log.meta, "store"), *book = repair_value(&r->book.meta, BOOK_KEY_STORE);
  const uint8_t *index = r->index.id;
  const bool has_index = r->index.has_id;
  const bool log_ok = log && log->len >= 16, book_ok = book && book->len == 16;
  if (!book_ok) return SL_E_CORRUPT; /* distrusted already */
  if (log_ok && memcmp(log->data, book->data, 16) == 0) {
    memcpy(r->id, book->data, 16);
    return SL_OK;
  }
  if (!log_ok && has_index && memcmp(index, book->data, 16) == 0) {
    memcpy(r->id, book->data, 16);
    repair_tell(r, SL_REPAIR_LOG, 0, 0, "the log's identity is lost: that of index/ and delivery/ is taken");
    return SL_OK;
  }
  if (log_ok && has_index && bits_apart(log->data, book->data) <= 8) {
    const uint8_t *right = memcmp(index, log->data, 16) == 0 ? log->data : book->data;
    if (memcmp(index, right, 16) == 0) {
      memcpy(r->id, right, 16);
      repair_tell(r, right == log->data ? SL_REPAIR_DELIVERY : SL_REPAIR_LOG, 0, 0,
                  "the store's identity in %s differs in a few bits: that of the two other parts is taken",
                  right == log->data ? "delivery/" : "log/");
      return SL_OK;
    }
  }
  return sl_fail(SL_E_MISMATCH, "%s: log/ and delivery/ do not say that they are of the same store", r->source);
}

/* ------------------------------------------------------------------ repair --- */

/* Nobody else may write meanwhile. The lock is only taken, never made: nothing in the source changes. */
static sl_status lock_source(const repair *r, int *fd) {
  char path[4096];
  snprintf(path, sizeof path, "%s/store.lock", r->source);
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return SL_OK;
  close(*fd);
  *fd = -1;
  return sl_fail(SL_E_BUSY, "the store at %s is open in another process: stop its agent and producers first",
                 r->source);
}

static sl_status decide_delivery(repair *r) {
  if (r->flags & SL_REPAIR_NO_DELIVERY) {
    if (!r->book.wrong) r->book.wrong = "it is left behind, as asked for";
    repair_tell(r, SL_REPAIR_DELIVERY, 0, 0, "the delivery state is not taken over (%s): the new store has a new "
                "id, and every event in it is pending. What was delivered before is sent again", r->book.wrong);
    return new_id(r);
  }
  if (r->book.wrong)
    return sl_fail(SL_E_MISMATCH, "%s/delivery cannot be trusted: %s; restore delivery/ of the same moment, or "
                   "repair without it: everything that is kept is delivered again then", r->source, r->book.wrong);
  r->keep = true;
  return settle_id(r);
}

static void repair_free(repair *r) {
  pages_close(r->log.file);
  pages_close(r->book.file);
  repair_free_pairs(&r->log.meta);
  repair_free_pairs(&r->book.meta);
  repair_free_pairs(&r->book.cursors);
  repair_free_pairs(&r->book.notes);
  free(r->log.events.list);
  free(r->log.damage.list);
  free(r->book.receipts.list);
  free(r->book.sparse.list);
  free(r->book.letters.list);
  free(r->book.damage.list);
  for (size_t i = 0; i <= DICT_MAX; i++) free(r->log.names[i]);
  free(r->building);
  free(r);
}

sl_status sl_repair(const char *source, const char *target, const sl_repair_options *options, sl_repair_fn *fn,
                    void *arg, sl_repair_report *report) {
  if (!source || !target || !*source || !*target) return sl_fail(SL_E_INVALID, "sl_repair needs two paths");
  if (options && (options->version > SL_REPAIR_VERSION || (options->flags & ~(uint32_t)SL_REPAIR_NO_DELIVERY)))
    return sl_fail(SL_E_INVALID, "sl_repair_options: unknown version or flags");
  if (access(target, F_OK) == 0) return sl_fail(SL_E_INVALID, "%s exists: name a folder that does not", target);
  repair *r = calloc(1, sizeof *r);
  const size_t len = strlen(target) + sizeof ".unfinished";
  if (r) r->building = malloc(len);
  if (!r || !r->building || strlen(source) > 3900 || len > 3900) {
    if (r) repair_free(r);
    return r ? sl_fail(SL_E_INVALID, "a path is too long") : sl_fail(SL_E_NOMEM, "out of memory");
  }
  snprintf(r->building, len, "%s.unfinished", target);
  r->source = source;
  r->target = target;
  r->flags = options ? options->flags : 0;
  r->names = options ? options->names : NULL;
  r->name_count = r->names ? options->name_count : 0;
  r->fn = fn;
  r->arg = arg;
  int lock = -1;
  sl_status status = lock_source(r, &lock);
  if (status == SL_OK) status = read_index(r);
  if (status == SL_OK) status = repair_read_book(r);
  if (status == SL_OK && (r->flags & SL_REPAIR_NO_DELIVERY) && !r->book.wrong)
    r->book.wrong = "it is left behind, as asked for";
  if (status == SL_OK) status = repair_read_log(r);
  if (status == SL_OK) status = decide_delivery(r);
  if (status == SL_OK) status = repair_write(r);
  if (lock >= 0) close(lock);
  if (status == SL_OK && report) *report = r->report;
  repair_free(r);
  return status;
}
