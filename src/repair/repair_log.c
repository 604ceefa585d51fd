/*
 * Finding what is left of log/.
 *
 * The tree of the newer meta page comes first: what it leads to is in the store, nothing else is. Only where the
 * tree is damaged every page of the file is searched for records, whatever the pages say of themselves, and a
 * record is believed by its checksum. LMDB never writes over a page that the last transaction used, so older
 * copies of a damaged page are often still there. They may also hold events that trim has removed since: so what
 * the search finds is taken only where the tree has a gap, or above what is settled.
 *
 * A record's checksum does not cover its seq, which is LMDB's key. The order of the keys and the counts tell a
 * damaged key.
 */
#include "repair/repair_impl.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECORD_HEAD = 40 };

/* ---------------------------------------------------------------- records --- */

/* The length that a record itself says it has; 0: it does not look like one. */
static uint64_t own_length(const uint8_t *p) {
  const uint64_t attributes = sl_get_u32(p + 32), value = sl_get_u32(p + 36);
  if (p[0] == 0 || p[3] != 0 || attributes > SL_MAX_ATTRIBUTES || value > SL_MAX_VALUE) return 0;
  uint64_t len = RECORD_HEAD + attributes + value;
  for (int i = 0; i < 3; i++)
    if ((p[2] >> (2 * i) & 3) == 1) len += 16;
  return len;
}

typedef struct events_read {
  repair *r;
  sl_buf buf;
  uint64_t settled, highest; /* what trim may have reached; the tree's last key */
  uint64_t found;
  int64_t appended_us;       /* of the record looked at last */
  bool open_end;             /* events may have followed the tree's last one */
  bool starved;              /* no memory to read a record: that is no damage */
} events_read;

/* The length of the sound record at an entry; 0: there is none. LMDB's own length may be what is damaged. */
static uint64_t sound_record(events_read *er, const pages_entry *e) {
  pages *file = er->r->log.file;
  sl_buf *buf = &er->buf;
  uint8_t head[RECORD_HEAD];
  sl_parts parts;
  if (e->room < RECORD_HEAD) return 0;
  if (e->data) memcpy(head, e->data, RECORD_HEAD);
  else if (!pages_read(file, e->at, head, RECORD_HEAD)) return 0;
  const uint64_t len = own_length(head);
  er->appended_us = (int64_t)sl_get_u64(head + 8);
  if (len == 0 || len > e->room) return 0;
  if (e->data) return sl_record_decode((sl_slice){e->data, (size_t)len}, &parts) == SL_OK ? len : 0;
  sl_buf_reset(buf);
  uint8_t *to = sl_buf_extend(buf, (size_t)len);
  er->starved |= !to;
  if (!to || !pages_read(file, e->at, to, (size_t)len)) return 0;
  return sl_record_decode(sl_buf_slice(buf), &parts) == SL_OK ? len : 0;
}

static sl_status take_event(void *arg, const pages_entry *e) {
  events_read *er = arg;
  repair_log *log = &er->r->log;
  const uint64_t seq = sl_get_u64(e->key.data), len = sound_record(er, e);
  if (er->starved) return sl_fail(SL_E_NOMEM, "out of memory");
  er->found++;
  if (seq > er->highest) er->highest = seq;
  if (len == 0) {
    repair_add_range(&log->damage, seq, seq, "its record fails its checksum");
    return SL_E_CORRUPT; /* the page is not sound: older copies may be */
  }
  repair_add(&log->events, (repair_item){.seq = seq, .at = e->at, .rank = er->appended_us, .len = (uint32_t)len});
  return log->events.failed ? sl_fail(SL_E_NOMEM, "out of memory") : SL_OK;
}

static void take_damage(void *arg, uint64_t first, uint64_t last, const char *why) {
  events_read *er = arg;
  repair_add_range(&er->r->log.damage, first, last, why);
}

static sl_status search_event(void *arg, const pages_entry *e, uint64_t *used) {
  events_read *er = arg;
  repair_log *log = &er->r->log;
  const uint64_t seq = sl_get_u64(e->key.data);
  if (seq == 0 || e->room < RECORD_HEAD) return SL_NOTFOUND;
  const uint64_t len = sound_record(er, e);
  if (er->starved) return sl_fail(SL_E_NOMEM, "out of memory");
  if (len == 0) return SL_NOTFOUND;
  *used = len;
  const bool gap = repair_why(&log->damage, seq) != NULL;
  if ((!gap && seq <= er->settled && seq <= er->highest) || repair_was_trimmed(er->r, seq)) return SL_OK;
  repair_add(&log->events, (repair_item){.seq = seq, .at = e->at, .rank = er->appended_us, .len = (uint32_t)len,
                                         .searched = true});
  return log->events.failed ? sl_fail(SL_E_NOMEM, "out of memory") : SL_OK;
}

/* A file cannot hold more records than this. */
static uint64_t most_records(const repair_log *log) {
  const pages_state *state = pages_state_get(log->file);
  return state->file_pages * (state->page_size / (RECORD_HEAD + 24));
}

/* The count of the table and what trim removed tell the newest seq: keys above it are damaged, unless they follow
 * the one before (then the counts are). So is a key further on than a file can hold records. */
static void check_last_keys(repair *r, events_read *er) {
  repair_log *log = &r->log;
  const uint64_t counted = log->entries + log->head.trimmed, most = most_records(log);
  const bool known = log->head_known && log->entries && log->entries <= most && !log->old_table;
  while (log->events.count > 1) {
    const uint64_t last = log->events.list[log->events.count - 1].seq;
    const uint64_t before = log->events.list[log->events.count - 2].seq;
    const bool beyond = known && last > counted && last != before + 1;
    if (!beyond && last - before <= most) return;
    log->events.count--;
    er->highest = known && counted > before && counted - before <= most ? counted : before;
    if (er->highest > before)
      repair_add_range(&log->damage, before + 1, er->highest, "the key of an entry is damaged");
  }
}

/* Of the same store, as far as any other part of it tells. */
static bool is_index_of(const repair *r) {
  const sl_buf *log = repair_value(&r->log.meta, "store"), *book = repair_value(&r->book.meta, BOOK_KEY_STORE);
  const bool by_log = log && log->len >= 16 && memcmp(log->data, r->index.id, 16) == 0;
  const bool by_book = book && book->len == 16 && memcmp(book->data, r->index.id, 16) == 0;
  return r->index.has_id && (by_log || by_book);
}

/* What an older copy of the table holds although trim has removed it since. */
static void leave_out_trimmed(repair *r) {
  repair_log *log = &r->log;
  const size_t count = log->events.count;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++)
    if (!repair_was_trimmed(r, log->events.list[i].seq)) log->events.list[kept++] = log->events.list[i];
  log->events.count = kept;
  repair_tell(r, SL_REPAIR_LOG, kept ? log->events.list[0].seq : 0, kept ? log->events.list[kept - 1].seq : 0,
              "the newest head of the table of events is lost, an older one is taken: %zu events that trim has "
              "removed since are left out, %s may be back", count - kept,
              r->book.wrong ? "others, which will be sent again," : "others among those that are settled");
}

/* May events have followed the last one that the tree has? */
static bool end_is_open(const repair_log *log, const events_read *er) {
  if (log->old_table || (log->damage.count == 0 && er->found != log->entries)) return true;
  for (size_t i = 0; i < log->damage.count; i++)
    if (log->damage.list[i].last > er->highest) return true;
  return false;
}

static void settle_last(repair *r, const events_read *er) {
  repair_log *log = &r->log;
  uint64_t last = log->events.count ? log->events.list[log->events.count - 1].seq : 0;
  const uint64_t most = most_records(log);
  /* An older count and what has been trimmed since do not belong together. */
  const bool known = log->head_known && log->entries && !log->old_table;
  const uint64_t counted = known ? log->entries + log->head.trimmed : 0;
  const bool whole = log->damage.count == 0 && er->found == log->entries && !log->old_table;
  if (er->highest > last && er->highest - last <= most) last = er->highest;
  if (!whole && counted > last && counted - last <= most) last = counted;
  if (!r->book.wrong && r->book.cursor.seq > last) last = r->book.cursor.seq;
  if (!r->book.wrong && r->book.has_intent && r->book.intent.seq > last) last = r->book.intent.seq;
  /* The index knows no event that was not in the log. It is asked where the log itself cannot tell. */
  if (!known && is_index_of(r) && r->index.watermark > last && r->index.watermark - last <= most)
    last = r->index.watermark;
  if (!known && er->open_end) {
    r->report.end_unknown = 1;
    repair_tell(r, SL_REPAIR_LOG, 0, 0, "the newest count of the log's events is lost: whether events followed "
                "seq %" PRIu64 ", and how many, cannot be told", last);
  }
  log->last_seq = last;
  log->first_seq = log->events.count ? log->events.list[0].seq : last;
}

static sl_status read_events(repair *r) {
  repair_log *log = &r->log;
  events_read er = {.r = r};
  pages_tree tree;
  bool damaged = false;
  pages_forget(log->file);
  er.settled = r->book.wrong ? 0 : r->book.cursor.seq;
  sl_status status = pages_table(log->file, "events", &tree, &damaged);
  if (status == SL_OK) {
    log->entries = tree.entries;
    log->old_table = tree.old;
    status = pages_walk(log->file, &tree, true, take_event, take_damage, &er);
  } else if (status == SL_NOTFOUND) {
    repair_add_range(&log->damage, 1, UINT64_MAX, "the table of events cannot be found");
    status = SL_OK;
  }
  er.open_end = status != SL_OK || end_is_open(log, &er);
  /* Fewer than were counted and nothing to see: the root leads elsewhere, or the count is wrong. */
  if (status == SL_OK && log->entries != er.found)
    repair_add_range(&log->damage, 1, UINT64_MAX, "the table does not hold as many events as it counts");
  repair_sort(&log->events);
  check_last_keys(r, &er);
  if (status == SL_OK && log->old_table) leave_out_trimmed(r);
  /* Always: one bit can make the older of two meta pages the newer one, and what the last commit wrote lies in
   * pages that its tree does not know. What is found so follows the last event, or it is not believed. */
  if (status == SL_OK) status = pages_search(log->file, 8, search_event, &er);
  sl_buf_free(&er.buf);
  if (status == SL_OK && (log->events.failed || log->damage.failed)) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (status != SL_OK) return status;
  repair_sort(&log->events);
  check_last_keys(r, &er);
  settle_last(r, &er);
  return SL_OK;
}

/* ------------------------------------------------------------------ names --- */

/* Both tables of the dictionary know every name; neither has a checksum. Where they differ, older copies of their
 * pages are asked, too, and a name is only believed when more places have it than any other. */
typedef struct sighting {
  uint32_t votes, next; /* next: of the same number, as an index + 1; 0: none */
  sl_buf name;
} sighting;

typedef struct names_read {
  repair *r;
  sighting *list;
  size_t count, cap;
  uint32_t first[DICT_MAX + 1]; /* as sighting.next */
  bool by_name, again;
} names_read;

static sl_status vote(names_read *nr, uint64_t id, sl_slice name) {
  if (id == 0 || id > DICT_MAX || name.len == 0 || name.len > 255 || memchr(name.data, 0, name.len) ||
      !sl_utf8_valid(name))
    return SL_OK;
  for (uint32_t i = nr->first[id]; i; i = nr->list[i - 1].next)
    if (sl_slice_eq(sl_buf_slice(&nr->list[i - 1].name), name)) {
      nr->list[i - 1].votes++;
      return SL_OK;
    }
  if (nr->again) return SL_OK; /* a search only asks about names that are known */
  if (nr->count == nr->cap) {
    const size_t cap = nr->cap ? nr->cap * 2 : 64;
    void *grown = realloc(nr->list, cap * sizeof *nr->list);
    if (!grown) return sl_fail(SL_E_NOMEM, "out of memory");
    nr->list = grown;
    nr->cap = cap;
  }
  sighting *s = &nr->list[nr->count++];
  *s = (sighting){.votes = 1, .next = nr->first[id]};
  nr->first[id] = (uint32_t)nr->count;
  sl_buf_append(&s->name, name.data, name.len);
  return s->name.failed ? sl_fail(SL_E_NOMEM, "out of memory") : SL_OK;
}

static sl_status take_name(void *arg, const pages_entry *e) {
  names_read *nr = arg;
  if (!e->data) return SL_OK;
  if (nr->by_name) return e->len == 4 ? vote(nr, sl_get_u32(e->data), e->key) : SL_OK;
  return e->key.len == 8 ? vote(nr, sl_get_u64(e->key.data), (sl_slice){e->data, (size_t)e->len}) : SL_OK;
}

static void ignore_damage(void *arg, uint64_t first, uint64_t last, const char *why) {
  (void)arg, (void)first, (void)last, (void)why; /* the other table has the names, too */
}

static sl_status search_name(void *arg, const pages_entry *e, uint64_t *used) {
  *used = 0;
  if (!e->data || e->len > e->room) return SL_NOTFOUND;
  names_read *nr = arg;
  if (e->len == 4) (void)vote(nr, sl_get_u32(e->data), e->key);
  if (e->key.len == 8) (void)vote(nr, sl_get_u64(e->key.data), (sl_slice){e->data, (size_t)e->len});
  return SL_NOTFOUND; /* whatever else lies there is looked at, too */
}

static bool is_chosen(const repair *r, const sighting *s) {
  for (size_t i = 0; i < r->name_count; i++)
    if (sl_slice_eq(sl_slice_of(r->names[i]), sl_buf_slice(&s->name))) return true;
  return false;
}

/* Fills in the names. *doubt: a number has several; SL_E_AMBIGUOUS when no majority and no choice of the caller
 * decides. */
static sl_status decide_names(names_read *nr, bool *doubt) {
  repair_log *log = &nr->r->log;
  sl_status status = SL_OK;
  *doubt = false;
  for (uint32_t id = 1; id <= DICT_MAX; id++) {
    const sighting *best = NULL, *rival = NULL;
    for (uint32_t i = nr->first[id]; i; i = nr->list[i - 1].next) {
      const sighting *s = &nr->list[i - 1];
      *doubt |= best != NULL;
      if (best && s->votes == best->votes && is_chosen(nr->r, best) == is_chosen(nr->r, s)) rival = s;
      else if (!best || s->votes > best->votes || (s->votes == best->votes && is_chosen(nr->r, s)))
        best = s, rival = NULL;
    }
    free(log->names[id]);
    log->names[id] = best ? malloc(best->name.len + 1) : NULL;
    if (log->names[id]) {
      memcpy(log->names[id], best->name.data, best->name.len);
      log->names[id][best->name.len] = 0;
    } else if (best) {
      return sl_fail(SL_E_NOMEM, "out of memory");
    }
    if (rival && status == SL_OK)
      status = sl_fail(SL_E_AMBIGUOUS, "name %" PRIu32 " of the store's topics and types is '%.*s' in one place "
                       "and '%.*s' in another: say which one is right", id, (int)best->name.len,
                       (const char *)best->name.data, (int)rival->name.len, (const char *)rival->name.data);
  }
  return status;
}

static sl_status read_names(repair *r) {
  static const char *const tables[] = {"dict_ids", "dict_names"};
  names_read *nr = calloc(1, sizeof *nr);
  bool doubt = false, damaged;
  if (!nr) return sl_fail(SL_E_NOMEM, "out of memory");
  nr->r = r;
  sl_status status = SL_OK;
  for (size_t i = 0; i < 2 && status == SL_OK; i++) {
    pages_tree tree;
    nr->by_name = i == 1;
    status = pages_table(r->log.file, tables[i], &tree, &damaged);
    if (status == SL_OK) status = pages_walk(r->log.file, &tree, i == 0, take_name, ignore_damage, nr);
    if (status == SL_NOTFOUND) status = SL_OK;
  }
  if (status == SL_OK) status = decide_names(nr, &doubt);
  if (status == SL_E_AMBIGUOUS) status = SL_OK; /* it is asked for more, since there is doubt */
  if (status == SL_OK && doubt) {
    nr->again = true;
    pages_forget(r->log.file);
    status = pages_search(r->log.file, 0, search_name, nr);
    if (status == SL_OK) status = decide_names(nr, &doubt);
    repair_tell(r, SL_REPAIR_NAMES, 0, 0,
                "the two tables of names in log/ differ; what most places agree on is kept");
  }
  for (size_t i = 0; i < nr->count; i++) sl_buf_free(&nr->list[i].name);
  free(nr->list);
  free(nr);
  return status;
}

sl_status repair_record(repair *r, const repair_item *item, sl_buf *bytes, sl_parts *parts) {
  sl_status status = repair_bytes(r->log.file, item, bytes);
  if (status == SL_OK) status = sl_record_decode(sl_buf_slice(bytes), parts);
  if (status != SL_OK) return status;
  if (parts->topic_id) parts->topic = sl_slice_of(r->log.names[parts->topic_id]);
  if (parts->type_id) parts->type = sl_slice_of(r->log.names[parts->type_id]);
  if (parts->topic.len && parts->type.len) return SL_OK;
  return sl_fail(SL_E_CORRUPT, "the name of its %s (number %u of the dictionary) is lost",
                 parts->topic.len ? "type" : "topic", parts->topic.len ? parts->type_id : parts->topic_id);
}

/* ------------------------------------------------------------------- meta --- */

static void read_head(repair *r) {
  const sl_buf *head = repair_value(&r->log.meta, "head");
  r->log.head = (log_meta){.first_seq = 1, .quota = LOG_DEFAULT_QUOTA};
  if (!head || head->len < LOG_META_SIZE) {
    repair_tell(r, SL_REPAIR_LOG, 0, 0,
                "the head of the log is lost: its counts are made anew, its quota is %u GiB",
                (unsigned)(LOG_DEFAULT_QUOTA >> 30));
    return;
  }
  const uint8_t *p = head->data;
  r->log.head_known = true;
  r->log.head = (log_meta){.first_seq = sl_get_u64(p), .trimmed = sl_get_u64(p + 8), .copies = sl_get_u64(p + 16),
                           .quota = sl_get_u64(p + 24), .flags = sl_get_u64(p + 32)};
  if (r->log.head.quota >= 1u << 20 && r->log.head.quota <= UINT64_C(1) << 44) return;
  r->log.head.quota = LOG_DEFAULT_QUOTA;
  repair_tell(r, SL_REPAIR_LOG, 0, 0, "the log's quota is damaged: it is %u GiB now",
              (unsigned)(LOG_DEFAULT_QUOTA >> 30));
}

sl_status repair_read_log(repair *r) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/log/data.mdb", r->source) >= sizeof path)
    return sl_fail(SL_E_INVALID, "%s: the path is too long", r->source);
  sl_status status = pages_open(path, &r->log.file);
  if (status != SL_OK) return status;
  const pages_state *state = pages_state_get(r->log.file);
  if (!state->certain)
    repair_tell(r, SL_REPAIR_LOG, 0, 0, "a meta page of log/ is damaged: the newest events may be of a commit "
                "that was never acknowledged");
  if (state->cut)
    repair_tell(r, SL_REPAIR_LOG, 0, 0, "log/data.mdb has %" PRIu64 " pages, its meta page says %" PRIu64
                ": it was cut off", state->file_pages, state->last_page + 1);
  status = repair_read_pairs(r->log.file, "meta", &r->log.meta);
  if (status != SL_OK) return status;
  const sl_buf *format = repair_value(&r->log.meta, "format");
  /* The next version is news, any other number is damage. */
  if (format && format->len == 4 && sl_get_u32(format->data) == LOG_FORMAT_DROPS + 1)
    return sl_fail(SL_E_VERSION, "the store at %s was written by format %u: use a newer sidelog", r->source,
                   LOG_FORMAT_DROPS + 1);
  read_head(r);
  status = read_names(r);
  return status == SL_OK ? read_events(r) : status;
}
