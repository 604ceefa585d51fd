/*
 * Finding what is left of delivery/, and judging it.
 *
 * The cursor decides what is sent. A wrong one loses events or sends them twice, so it is believed only when
 * nothing speaks against it: both meta pages agree on which of them is the newer one, the values are whole, and no
 * page of the file holds progress of a later attempt. Receipts are believed by their checksums; one that is lost
 * costs the knowledge of where an event went, not the event.
 */
#include "repair/repair_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void distrust(repair *r, const char *format, ...) SL_PRINTF(2, 3);

static void distrust(repair *r, const char *format, ...) {
  va_list args;
  if (r->book.wrong) return;
  va_start(args, format);
  vsnprintf(r->book.wrong_text, sizeof r->book.wrong_text, format, args);
  va_end(args);
  r->book.wrong = r->book.wrong_text;
}

/* ---------------------------------------------------------------- receipts --- */

typedef struct items_read {
  repair *r;
  repair_items *items;
  unsigned table;
  sl_buf buf;
} items_read;

static sl_status take_item(void *arg, const pages_entry *e) {
  items_read *ir = arg;
  pages *file = ir->r->book.file;
  const uint64_t key = sl_get_u64(e->key.data);
  sl_receipt_block block = {0};
  sl_letter letter = {0};
  sl_status status = SL_E_CORRUPT;
  sl_buf_reset(&ir->buf);
  if (e->len > 0 && e->len <= e->room) {
    if (e->data) sl_buf_append(&ir->buf, e->data, (size_t)e->len);
    else if (sl_buf_extend(&ir->buf, (size_t)e->len) && !pages_read(file, e->at, ir->buf.data, (size_t)e->len))
      sl_buf_reset(&ir->buf);
    if (ir->buf.failed) return sl_fail(SL_E_NOMEM, "out of memory");
    status = ir->table == BOOK_DEAD ? sl_letter_decode(sl_buf_slice(&ir->buf), &letter)
                                    : sl_receipt_block_decode(sl_buf_slice(&ir->buf), &block);
  }
  if (status != SL_OK) {
    repair_add_range(&ir->r->book.damage, key, key, "it fails its checksum");
    return SL_E_CORRUPT;
  }
  /* The seq inside is under the checksum, LMDB's key is not. */
  repair_add(ir->items, (repair_item){.seq = ir->table == BOOK_DEAD ? letter.seq : block.first_seq, .at = e->at,
                                      .rank = (int64_t)(ir->table == BOOK_DEAD ? letter.attempt : block.attempt),
                                      .len = (uint32_t)e->len});
  return ir->items->failed ? sl_fail(SL_E_NOMEM, "out of memory") : SL_OK;
}

static void take_damage(void *arg, uint64_t first, uint64_t last, const char *why) {
  items_read *ir = arg;
  repair_add_range(&ir->r->book.damage, first, last, why);
}

static sl_status read_items(repair *r, const char *name, unsigned table, repair_items *items) {
  items_read ir = {.r = r, .items = items, .table = table};
  pages_tree tree;
  bool damaged;
  sl_status status = pages_table(r->book.file, name, &tree, &damaged);
  if (status == SL_OK) {
    status = pages_walk(r->book.file, &tree, true, take_item, take_damage, &ir);
    if (tree.old) repair_add_range(&r->book.damage, 1, UINT64_MAX, "the newest head of the table is lost");
    else if (tree.entries != items->count)
      repair_add_range(&r->book.damage, 1, UINT64_MAX, "the table does not hold as many entries as it counts");
  } else if (status == SL_NOTFOUND) {
    repair_add_range(&r->book.damage, 1, UINT64_MAX, "the table cannot be found");
    status = SL_OK;
  }
  sl_buf_free(&ir.buf);
  repair_sort(items);
  return status;
}

/* ------------------------------------------------------------------ cursor --- */

static sl_status look_for_progress(void *arg, const pages_entry *e, uint64_t *used) {
  static const char *const keys[] = {BOOK_KEY_CURSOR, BOOK_KEY_INTENT};
  uint64_t *highest = arg;
  *used = 0;
  if (!e->data || e->len > e->room) return SL_NOTFOUND;
  for (size_t i = 0; i < 2; i++) {
    if (!sl_slice_eq(e->key, sl_slice_of(keys[i]))) continue;
    sl_lane *lanes = malloc(SL_LANES_MAX * sizeof *lanes);
    sl_progress p;
    if (!lanes) return sl_fail(SL_E_NOMEM, "out of memory");
    if (sl_progress_decode((sl_slice){e->data, (size_t)e->len}, &p, lanes) == SL_OK && p.attempt > *highest)
      *highest = p.attempt;
    free(lanes);
  }
  return SL_NOTFOUND;
}

static bool decode_progress(repair *r, const char *key, sl_progress *progress, sl_lane *lanes, bool required) {
  const sl_buf *value = repair_value(&r->book.meta, key);
  if (!value) {
    if (required) distrust(r, "its %s cannot be found", key);
    return false;
  }
  if (sl_progress_decode(sl_buf_slice(value), progress, lanes) == SL_OK) return true;
  distrust(r, "its %s is damaged", key);
  return false;
}

/* The unfinished delivery is only kept whole: it is settled or abandoned by what the broker says. */
static void judge_intent(repair *r) {
  repair_book *b = &r->book;
  const sl_buf *totals = repair_value(&b->meta, BOOK_KEY_INTENT_TOTALS);
  const sl_buf *lanes = repair_value(&b->meta, "intent.lanes"), *moves = repair_value(&b->meta, "intent.moves");
  if (!totals || (totals->len != BOOK_TOTALS_SIZE + 1 && totals->len != BOOK_TOTALS_MOST + 1))
    distrust(r, "the totals of its unfinished delivery are damaged");
  if (b->intent.attempt <= b->cursor.attempt || b->intent.seq < b->cursor.seq)
    distrust(r, "its unfinished delivery lies behind its cursor");
  uint64_t next = b->cursor.seq + 1;
  for (size_t i = 0; i < b->receipts.count && next <= b->intent.seq; i++) {
    const repair_item *item = &b->receipts.list[i];
    if (item->seq < next) continue;
    if (item->seq != next || (uint64_t)item->rank != b->intent.attempt) break;
    next += (item->len - 40) / SL_RECEIPT_STRIDE;
  }
  if (b->intent.seq >= b->cursor.seq && next != b->intent.seq + 1)
    distrust(r, "receipts of its unfinished delivery are lost");
  for (size_t at = 0; lanes && at < lanes->len; at += 8) {
    const repair_item *item = lanes->len - at < 8 ? NULL : repair_find(&b->sparse, sl_get_u64(lanes->data + at));
    if (!item || (uint64_t)item->rank != b->intent.attempt) distrust(r, "its unfinished delivery is damaged");
  }
  for (size_t at = 0; moves && at < moves->len;) {
    sl_receipt_block block;
    const size_t len = moves->len - at < 12 ? 0 : sl_get_u32(moves->data + at + 8);
    if (len == 0 || len > moves->len - at - 12 ||
        sl_receipt_block_decode((sl_slice){moves->data + at + 12, len}, &block) != SL_OK ||
        block.first_seq != sl_get_u64(moves->data + at)) {
      distrust(r, "its unfinished delivery is damaged");
      return;
    }
    at += 12 + len;
  }
}

static sl_status judge(repair *r) {
  repair_book *b = &r->book;
  const pages_state *state = pages_state_get(b->file);
  const sl_buf *attempt = repair_value(&b->meta, BOOK_KEY_ATTEMPT);
  const sl_buf *totals = repair_value(&b->meta, BOOK_KEY_TOTALS);
  const sl_buf *version = repair_value(&b->meta, BOOK_KEY_VERSION), *id = repair_value(&b->meta, BOOK_KEY_STORE);
  if (version && version->len == 4 && sl_get_u32(version->data) == SL_FORMAT_VERSION + 1)
    return sl_fail(SL_E_VERSION, "%s/delivery has format version %u: use a newer sidelog", r->source,
                   SL_FORMAT_VERSION + 1);
  if (!state->certain)
    distrust(r, "a meta page of its data file is damaged: what is found may not be the newest state");
  if (b->meta.damaged) distrust(r, "its table of facts is damaged");
  if (!id || id->len != 16) distrust(r, "it does not say whose it is");
  if (!attempt || attempt->len != 8) distrust(r, "its attempt number is lost");
  if (!totals || !book_totals_get(sl_buf_slice(totals), &b->totals)) distrust(r, "its totals are lost");
  if (attempt && attempt->len == 8) b->attempt = sl_get_u64(attempt->data);
  const bool good = decode_progress(r, BOOK_KEY_CURSOR, &b->cursor, b->lanes, true);
  b->has_intent = decode_progress(r, BOOK_KEY_INTENT, &b->intent, b->intent_lanes, false);
  if (!b->has_intent && (repair_value(&b->meta, BOOK_KEY_INTENT_TOTALS) || repair_value(&b->meta, "intent.moves")))
    distrust(r, "half of its unfinished delivery is lost");
  sl_progress marker;
  sl_lane *lanes = malloc(SL_LANES_MAX * sizeof *lanes);
  if (!lanes) return sl_fail(SL_E_NOMEM, "out of memory");
  (void)decode_progress(r, BOOK_KEY_MARKER, &marker, lanes, false);
  free(lanes);
  if (!good) return SL_OK;
  uint64_t highest = 0;
  pages_forget(b->file);
  sl_status status = pages_search(b->file, 0, look_for_progress, &highest);
  if (status != SL_OK) return status;
  const bool ahead = b->has_intent && b->intent.attempt > b->cursor.attempt;
  const uint64_t known = ahead ? b->intent.attempt : b->cursor.attempt;
  /* An abandoned attempt may be later than the cursor, but never later than the highest number used. */
  if (b->attempt < known || highest > b->attempt)
    distrust(r, "it holds traces of delivery attempt %" PRIu64 ", but says that the last one was %" PRIu64,
             highest > known ? highest : known, b->attempt);
  if (b->has_intent) judge_intent(r);
  return SL_OK;
}

sl_status repair_read_book(repair *r) {
  repair_book *b = &r->book;
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/delivery/data.mdb", r->source) >= sizeof path)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", r->source);
  sl_status status = pages_open(path, &b->file);
  if (status == SL_E_NO_STORE || status == SL_E_CORRUPT) {
    distrust(r, status == SL_E_CORRUPT ? "neither of its meta pages can be read" : "it is missing");
    return SL_OK;
  }
  if (status == SL_OK) status = repair_read_pairs(b->file, "meta", &b->meta);
  if (status == SL_OK) status = repair_read_pairs(b->file, "cursors", &b->cursors);
  if (status == SL_OK) status = repair_read_pairs(b->file, "notes", &b->notes);
  if (status == SL_OK) status = read_items(r, "receipts", BOOK_RECEIPTS, &b->receipts);
  if (status == SL_OK) status = read_items(r, "sparse", BOOK_SPARSE, &b->sparse);
  if (status == SL_OK) status = read_items(r, "dead", BOOK_DEAD, &b->letters);
  if (status == SL_OK && (b->receipts.failed || b->damage.failed)) status = sl_fail(SL_E_NOMEM, "out of memory");
  return status == SL_OK ? judge(r) : status;
}

/* ----------------------------------------------------------------- answers --- */

bool repair_settled(const repair *r, uint64_t seq, sl_slice topic) {
  if (!r->keep || seq > r->book.cursor.seq) return false;
  for (size_t i = 0; i < r->book.cursor.lane_count; i++)
    if (sl_slice_eq(r->book.lanes[i].topic, topic)) return seq <= r->book.lanes[i].seq;
  return true;
}

/* The last block that begins at or before seq. */
static const repair_item *block_of(const repair_items *blocks, uint64_t seq) {
  size_t low = 0, high = blocks->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (blocks->list[middle].seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low > 0 ? &blocks->list[low - 1] : NULL;
}

bool repair_was_trimmed(const repair *r, uint64_t seq) {
  const repair_book *b = &r->book;
  const log_meta *head = &r->log.head;
  /* All below the first seq were trimmed, and counted: a bit of the head must not hide events that are there. */
  if (r->log.head_known && seq < head->first_seq && head->first_seq - 1 <= head->trimmed) return true;
  if (b->wrong || b->damage.count || seq > b->cursor.seq || repair_find(&b->sparse, seq)) return false;
  const repair_item *block = block_of(&b->receipts, seq);
  return !block || seq - block->seq >= (block->len - 40) / SL_RECEIPT_STRIDE;
}

const sl_lane *repair_waits_in(repair *r, uint64_t seq) {
  if (!r->keep || seq > r->book.cursor.seq || r->book.cursor.lane_count == 0) return NULL;
  const repair_item *at = block_of(&r->book.receipts, seq);
  sl_buf bytes = {0};
  sl_receipt_block block;
  sl_receipt receipt = {0};
  const sl_status read = at ? repair_bytes(r->book.file, at, &bytes) : SL_NOTFOUND;
  r->starved |= read == SL_E_NOMEM;
  const bool found = read == SL_OK &&
                     sl_receipt_block_decode(sl_buf_slice(&bytes), &block) == SL_OK &&
                     sl_receipt_at(&block, seq, &receipt) == SL_OK && receipt.verdict == SL_VERDICT_LANE;
  sl_buf_free(&bytes);
  for (size_t i = 0; found && i < r->book.cursor.lane_count; i++)
    if (book_topic_hash(r->book.lanes[i].topic) == (uint64_t)receipt.place)
      return seq > r->book.lanes[i].seq ? &r->book.lanes[i] : NULL;
  return NULL;
}
