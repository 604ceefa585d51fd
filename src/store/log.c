#include "store/log_inner.h"

#include "base/id.h"
#include "db/db_file.h"
#include "store/store_fs.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_READERS 1024u
#define MAP_LEAST (UINT64_C(64) << 30) /* address space, not memory */
#define MAP_FLOOR (UINT64_C(64) << 20)

const db_table_def log_tables[LOG_TABLES] = {
  [LOG_EVENTS] = {"events", DB_INTKEY | DB_TAIL},
  [LOG_META] = {"meta", 0},
  [LOG_DICT_IDS] = {"dict_ids", DB_INTKEY},
  [LOG_DICT_NAMES] = {"dict_names", 0},
  [LOG_HEADS] = {NULL, 0},
};

#define SCAN_RUN 32u            /* so many in order are a scan */
#define SCAN_AHEAD (2u << 20)
#define LARGE_RECORD (32u << 10) /* on pages of its own, in order */

struct log_view {
  db_kept kept; /* what `head` is of: a view's memory that is used again may have it already */
  log_head head;
  sl_store *store;
  db_txn *txn;
  db_cur *cur;
  uint64_t at; /* the seq the cursor stands on; 0: nowhere */
  unsigned run; /* records read in order */
  log_place decoded;    /* the latest one */
  const uint8_t *ahead; /* from here on SCAN_AHEAD bytes were asked for */
};

/* ------------------------------------------------------------------ meta --- */

sl_status log_meta_read(db_txn *txn, log_meta *meta) {
  sl_slice value;
  sl_status status = db_get(txn, LOG_META, LOG_KEY_HEAD, &value);
  if (status == SL_NOTFOUND || (status == SL_OK && value.len < LOG_META_SIZE))
    return db_txn_fail(txn, sl_fail(SL_E_CORRUPT, "the head of the log is missing: run `sidelog verify`"));
  if (status != SL_OK) return status;
  const uint8_t *p = value.data;
  *meta = (log_meta){.first_seq = sl_get_u64(p), .trimmed = sl_get_u64(p + 8), .copies = sl_get_u64(p + 16),
                     .quota = sl_get_u64(p + 24), .flags = sl_get_u64(p + 32),
                     .drops = value.len >= LOG_META_DROPS_SIZE ? sl_get_u64(p + 40) : 0};
  return SL_OK;
}

sl_status log_meta_write(db_txn *txn, const log_meta *meta) {
  uint8_t p[LOG_META_DROPS_SIZE];
  sl_put_u64(p, meta->first_seq);
  sl_put_u64(p + 8, meta->trimmed);
  sl_put_u64(p + 16, meta->copies);
  sl_put_u64(p + 24, meta->quota);
  sl_put_u64(p + 32, meta->flags);
  sl_put_u64(p + 40, meta->drops);
  return db_put(txn, LOG_META, LOG_KEY_HEAD, SL_BYTES(p, meta->drops ? LOG_META_DROPS_SIZE : LOG_META_SIZE));
}

/* Writes down what this opener asks to hold for all processes. */
static sl_status keep_options(sl_store *store, db_env *env) {
  db_txn *txn;
  log_meta meta, wanted;
  bool write = false;
  do {
    sl_status status = write ? db_begin_write(env, false, &txn) : db_begin_read(env, &txn);
    if (status != SL_OK) return status;
    status = log_meta_read(txn, &meta);
    if (status != SL_OK) {
      db_abort(txn);
      return status;
    }
    wanted = meta;
    if (store->options.quota_bytes) wanted.quota = store->options.quota_bytes;
    if (store->options.durability == SL_RELAXED) wanted.flags |= LOG_RELAXED;
    bool changed = wanted.quota != meta.quota || wanted.flags != meta.flags;
    if (!changed || write) {
      if (changed) log_meta_write(txn, &wanted);
      return db_commit(txn);
    }
    db_abort(txn);
    write = true;
  } while (true);
}

static sl_status load_identity(sl_store *store, db_env *env) {
  db_txn *txn;
  sl_slice value;
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  status = db_get(txn, LOG_META, LOG_KEY_STORE, &value);
  if (status == SL_NOTFOUND || (status == SL_OK && value.len < 16))
    status = sl_fail(SL_E_CORRUPT, "%s: the store's identity is missing", store->path);
  if (status == SL_OK) {
    memcpy(store->uuid, value.data, 16);
    sl_uuid_format(store->uuid, store->uuid_text);
    store->uuid_text[36] = 0;
  }
  db_abort(txn);
  return status;
}

/* ------------------------------------------------------------------ open --- */

uint64_t log_map_for(uint64_t quota) {
  return quota > MAP_LEAST ? quota * 2 + (UINT64_C(1) << 30) : MAP_LEAST * 2;
}

static sl_status open_env(sl_store *store, const char *dir, uint64_t quota, bool create, db_env **env) {
  db_env_options options = {.map_size = log_map_for(quota), .map_floor = MAP_FLOOR, .max_readers = MAX_READERS,
                            .mode = store->file_mode, .create = create};
  return db_env_open(dir, log_tables, LOG_TABLES, &options, env);
}

sl_status log_open(sl_store *store) {
  char *dir = store_path(store, "log");
  sl_log *log = calloc(1, sizeof *log);
  uint64_t quota = 0;
  if (log) {
    pthread_mutex_init(&log->quota.lock, NULL);
    pthread_mutex_init(&log->memo.lock, NULL);
    pthread_mutex_init(&log->drops.lock, NULL);
    log->dict = dict_new();
  }
  sl_status status = dir && log && log->dict ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK) {
    status = log_peek(store, dir, &quota);
    /* delivery/ is made when the log is complete: another process was faster, or the log is lost. */
    if (status == SL_E_NO_STORE && store_fs_no_log(store->path) == SL_E_MISMATCH) {
      status = log_peek(store, dir, &quota);
      if (status == SL_E_NO_STORE) status = store_fs_no_log(store->path);
    }
    store->existed = status == SL_OK;
  }
  if (status == SL_E_NO_STORE && !(store->options.flags & SL_OPEN_EXISTING)) {
    quota = LOG_DEFAULT_QUOTA;
    status = SL_OK;
  }
  if (store->options.quota_bytes > quota) quota = store->options.quota_bytes;
  if (status == SL_OK) status = open_env(store, dir, quota, !store->existed, &log->env);
  if (status == SL_OK && !store->existed) status = log_create(store, log->env, dir);
  if (status == SL_OK) status = load_identity(store, log->env);
  if (status == SL_OK) status = keep_options(store, log->env);
  free(dir);
  if (status != SL_OK) {
    log_close(log);
    return status;
  }
  store->log = log;
  return SL_OK;
}

void log_close(sl_log *log) {
  if (!log) return;
  slots_close(log->slots);
  db_env_close(log->env);
  free(atomic_load(&log->spare));
  dict_free(log->dict);
  pthread_mutex_destroy(&log->quota.lock);
  pthread_mutex_destroy(&log->memo.lock);
  pthread_mutex_destroy(&log->drops.lock);
  free(log);
}

sl_status log_env_info(sl_store *store, db_env_info *info) { return db_env_info_get(store->log->env, info); }

/* The flag is read anew each time: another process may have begun to append relaxed a moment ago. */
sl_status log_flush_for(sl_store *store) {
  db_txn *txn;
  log_meta meta;
  sl_status status = db_begin_read(store->log->env, &txn);
  if (status != SL_OK) return status;
  status = log_meta_read(txn, &meta);
  db_abort(txn);
  if (status != SL_OK || !(meta.flags & LOG_RELAXED)) return status;
  return db_env_sync(store->log->env);
}

sl_status sl_sync(sl_store *store) {
  sl_status status = store_enter(store);
  return status == SL_OK ? log_flush_for(store) : status;
}

/* ----------------------------------------------------------------- views --- */

static sl_status newest(db_txn *txn, uint64_t *seq, sl_slice *value) {
  db_cur *cur;
  sl_slice key;
  sl_status status = db_cur_open(txn, LOG_EVENTS, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_LAST, &key, value);
  *seq = status == SL_OK ? sl_get_u64(key.data) : 0;
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status log_newest(db_txn *txn, uint64_t *seq, int64_t *clamped_us) {
  sl_slice value;
  sl_parts parts;
  sl_status status = newest(txn, seq, &value);
  /* A damaged newest record must not stop the producers: an unknown time makes a new era begin behind it. */
  *clamped_us = INT64_MAX;
  if (status == SL_OK && *seq > 0 && sl_record_peek(value, &parts) == SL_OK)
    *clamped_us = parts.appended_us + parts.clamp_us;
  return status;
}

sl_status log_last_seq(sl_store *store, uint64_t *seq) {
  db_txn *txn;
  sl_slice value;
  sl_status status = db_begin_read(store->log->env, &txn);
  if (status != SL_OK) return status;
  status = newest(txn, seq, &value);
  db_abort(txn);
  return status;
}

static sl_status load_head(log_view *view) {
  log_meta meta;
  sl_slice value;
  uint64_t last, kept;
  sl_status status = log_meta_read(view->txn, &meta);
  if (status == SL_OK) status = newest(view->txn, &last, &value);
  if (status == SL_OK) status = db_count(view->txn, LOG_EVENTS, &kept);
  if (status != SL_OK) return status;
  view->head = (log_head){.first_seq = meta.first_seq, .last_seq = last, .kept = kept, .trimmed = meta.trimmed,
                          .copies = meta.copies, .drops = meta.drops,
                          .quota = quota_limit(view->store->log, meta.quota)};
  return SL_OK;
}

sl_status log_view_open(sl_store *store, log_view **out) {
  log_view *view = atomic_exchange(&store->log->spare, NULL);
  if (view) memset(&view->store, 0, sizeof *view - offsetof(log_view, store));
  else view = calloc(1, sizeof *view);
  if (!view) return sl_fail(SL_E_NOMEM, "out of memory");
  view->store = store;
  bool same = false;
  sl_status status = db_begin_kept(store->log->env, &view->kept, &same, &view->txn);
  if (status == SL_OK && !same) status = load_head(view);
  if (status != SL_OK) {
    view->kept = (db_kept){0};
    log_view_close(view);
    return status;
  }
  *out = view;
  return SL_OK;
}

void log_view_close(log_view *view) {
  if (!view) return;
  db_cur_close(view->cur);
  db_abort(view->txn);
  free(atomic_exchange(&view->store->log->spare, view));
}

const log_head *log_view_head(const log_view *view) { return &view->head; }

uint32_t log_view_name_id(log_view *view, sl_slice name) {
  return dict_id_in(view->store->log->dict, view->txn, name);
}

sl_status log_view_decode(log_view *view, uint64_t seq, sl_slice bytes, log_part part, sl_parts *parts) {
  view->decoded = (log_place){seq, bytes};
  if (part == LOG_WHOLE && bytes.len >= LARGE_RECORD) db_file_will_need(bytes.data, bytes.len);
  sl_status status = part == LOG_WHOLE   ? sl_record_decode(bytes, parts)
                     : part == LOG_FRONT ? sl_record_peek(bytes, parts)
                                         : sl_record_peek_names(bytes, parts);
  if (status == SL_OK) {
    if (parts->topic_id) parts->topic = dict_name_in(view->store->log->dict, view->txn, parts->topic_id);
    if (parts->type_id) parts->type = dict_name_in(view->store->log->dict, view->txn, parts->type_id);
    if (!parts->topic.data) status = sl_fail(SL_E_CORRUPT, "its topic's name is not in the dictionary");
    else if (!parts->type.data) status = sl_fail(SL_E_CORRUPT, "its type's name is not in the dictionary");
  }
  return status == SL_OK ? SL_OK : sl_fail_context(status, "event %" PRIu64, seq);
}

#define PREFETCH_BYTES 512u /* of a record, from its header on; the processor fetches on by itself */
#define PREFETCH_FRONT 256u /* of one whose value most likely is not looked at */

static void prefetch(sl_slice bytes, size_t most) {
  const char *at = bytes.data;
  for (size_t line = 0; line < bytes.len && line < most; line += 64) __builtin_prefetch(at + line);
}

sl_status log_view_find(log_view *view, uint64_t seq, sl_slice *bytes) {
  sl_status status = db_get(view->txn, LOG_EVENTS, db_u64(&seq), bytes);
  if (status != SL_OK) return status;
  prefetch(*bytes, PREFETCH_BYTES);
  return SL_OK;
}

/* A query asks again for the record whose front it has seen. */
static sl_status bytes_of(log_view *view, uint64_t seq, sl_slice *bytes) {
  if (view->decoded.seq != seq || seq == 0) return db_get(view->txn, LOG_EVENTS, db_u64(&seq), bytes);
  *bytes = view->decoded.bytes;
  return SL_OK;
}

sl_status log_view_get(log_view *view, uint64_t seq, bool peek, sl_parts *parts) {
  sl_slice value;
  sl_status status = bytes_of(view, seq, &value);
  return status == SL_OK ? log_view_decode(view, seq, value, peek ? LOG_FRONT : LOG_WHOLE, parts) : status;
}

sl_status log_view_attributes(log_view *view, uint64_t seq, sl_parts *parts, sl_header *room, size_t cap) {
  sl_slice value;
  sl_status status = bytes_of(view, seq, &value);
  if (status == SL_OK) status = sl_record_attributes(value, parts, room, cap);
  return status == SL_OK ? SL_OK : sl_fail_context(status, "event %" PRIu64, seq);
}

/* Records lie on the disk mostly in the order of their seqs. */
static void read_ahead(log_view *view, const uint8_t *at) {
  if (view->run++ < SCAN_RUN || (view->ahead && at >= view->ahead && at < view->ahead + SCAN_AHEAD / 2)) return;
  db_file_will_need(at, SCAN_AHEAD);
  view->ahead = at;
}

sl_status log_view_raw(log_view *view, uint64_t seq, sl_slice *record) {
  return db_get(view->txn, LOG_EVENTS, db_u64(&seq), record);
}

sl_status log_view_size(log_view *view, uint64_t seq, uint64_t *bytes) {
  sl_slice value;
  sl_status status = log_view_raw(view, seq, &value);
  if (status != SL_OK) return status;
  const uint64_t pages = quota_pages_of(value.len);
  *bytes = pages > 1 ? pages * 4096 : value.len + 24;
  return SL_OK;
}

/* Moves to the first record at or above seq. */
static sl_status seek(log_view *view, uint64_t seq, uint64_t *found, sl_slice *value) {
  sl_status status = view->cur ? SL_OK : db_cur_open(view->txn, LOG_EVENTS, &view->cur);
  if (status != SL_OK) return status;
  sl_slice key = db_u64(&seq);
  const bool next = view->at > 0 && seq == view->at + 1;
  status = db_cur_move(view->cur, next ? DB_NEXT : DB_SEEK, &key, value);
  if (!next) view->run = 0;
  else if (status == SL_OK) read_ahead(view, value->data);
  view->at = status == SL_OK ? sl_get_u64(key.data) : 0;
  *found = view->at;
  return status;
}

/* In a damaged table; going on from here would never end. */
static sl_status out_of_order(uint64_t seq) {
  return sl_fail(SL_E_CORRUPT, "log/: events are out of order behind event %" PRIu64 ": run `sidelog repair`",
                 seq - 1);
}

sl_status log_view_places(log_view *view, uint64_t seq, uint64_t last, log_place *places, size_t most,
                          size_t *count) {
  for (*count = 0; *count < most && seq <= last; ++*count) {
    log_place *place = &places[*count];
    sl_status status = seek(view, seq, &place->seq, &place->bytes);
    if (status == SL_OK && place->seq < seq) status = out_of_order(seq);
    if (status == SL_NOTFOUND || (status == SL_OK && place->seq > last)) break;
    if (status != SL_OK) return *count ? SL_OK : status; /* what was found first comes first; it shows again */
    prefetch(place->bytes, PREFETCH_FRONT);
    seq = place->seq + 1;
  }
  return SL_OK;
}

sl_status log_view_next(log_view *view, uint64_t seq, bool peek, uint64_t *found, sl_parts *parts) {
  sl_slice value;
  uint64_t at;
  sl_status status = seek(view, seq, &at, &value);
  if (status != SL_OK) return status;
  *found = at;
  if (at < seq) return out_of_order(seq);
  return log_view_decode(view, at, value, peek ? LOG_FRONT : LOG_WHOLE, parts);
}

sl_status log_view_eras(log_view *view, log_era **out, size_t *out_count) {
  uint64_t *firsts;
  size_t count, kept = 0;
  sl_status status = log_eras_read(view->txn, &firsts, &count);
  if (status != SL_OK) return status;
  log_era *eras = calloc(count, sizeof *eras);
  if (!eras) status = sl_fail(SL_E_NOMEM, "out of memory");
  for (size_t i = 0; status == SL_OK && i < count; i++) {
    uint64_t first = firsts[i], last = i + 1 < count ? firsts[i + 1] - 1 : view->head.last_seq;
    if (first < view->head.first_seq) first = view->head.first_seq;
    if (last > view->head.last_seq) last = view->head.last_seq;
    if (first <= last) eras[kept++] = (log_era){first, last, INT64_MAX};
  }
  /* Backwards: what came in a later era came later, whatever an earlier era's clock said. */
  int64_t bound = INT64_MAX;
  for (size_t i = kept; status == SL_OK && i-- > 0;) {
    sl_parts parts;
    uint64_t found;
    eras[i].bound_us = bound;
    sl_status look = log_view_next(view, eras[i].first, true, &found, &parts);
    if (look == SL_OK && found <= eras[i].last && parts.appended_us + parts.clamp_us < bound)
      bound = parts.appended_us + parts.clamp_us;
    else if (look != SL_OK && look != SL_NOTFOUND && look != SL_E_CORRUPT)
      status = look;
  }
  free(firsts);
  if (status != SL_OK) {
    free(eras);
    return status;
  }
  *out = eras;
  *out_count = kept;
  return SL_OK;
}
