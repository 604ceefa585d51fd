/* What others than the reader itself do with readers: look at them, and what a person does with their dead
 * letters. */
#include "delivery/audit.h"
#include "delivery/book_impl.h"
#include "readers/readers.h"
#include "store/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ info --- */

typedef struct tally {
  uint64_t seq, open, retrying;
} tally;

static sl_status count_open(void *arg, const sl_reader_entry *e) {
  tally *t = arg;
  if (e->seq > t->seq) return SL_OK; /* known from a crash, not seen yet */
  t->open++;
  t->retrying += e->attempts > 0;
  return SL_OK;
}

/* Of letters those count whose event is kept; trim takes the others in its own time. SL_NOTFOUND: it is not. */
static sl_status is_kept(log_view *log, uint64_t seq) {
  sl_slice bytes;
  const sl_status status = log_view_find(log, seq, &bytes);
  return status == SL_E_CORRUPT ? SL_OK : status;
}

typedef struct letters { log_view *log; uint64_t kept; } letters;

static sl_status count_letter(void *arg, const sl_reader_entry *e) {
  letters *l = arg;
  const sl_status status = is_kept(l->log, e->seq);
  l->kept += status == SL_OK;
  return status == SL_NOTFOUND ? SL_OK : status;
}

static sl_status count_letters(sl_store *store, db_txn *txn, uint32_t id, uint64_t *kept) {
  letters l = {0};
  sl_status status = log_view_open(store, &l.log);
  if (status != SL_OK) return status;
  status = readers_walk(txn, READERS_DEAD, id, 0, count_letter, &l);
  log_view_close(l.log);
  *kept = l.kept;
  return status;
}

static sl_status set_lag(sl_store *store, sl_reader_info *info) {
  log_view *log;
  sl_parts parts;
  uint64_t seq = 0;
  sl_status status = log_view_open(store, &log);
  if (status != SL_OK) return status;
  const log_head *head = log_view_head(log);
  const uint64_t from = info->seq + 1 > head->first_seq ? info->seq + 1 : head->first_seq;
  if (head->last_seq > info->seq) info->lag = head->last_seq - info->seq;
  status = info->lag ? log_view_next(log, from, true, &seq, &parts) : SL_NOTFOUND;
  if (status == SL_OK) info->oldest_us = parts.appended_us;
  log_view_close(log);
  return status == SL_NOTFOUND || status == SL_E_CORRUPT ? SL_OK : status;
}

sl_status sl_reader_info_get(sl_store *store, const char *name, sl_reader_info_fn *fn, void *arg) {
  sl_status status = store_enter(store);
  if (status == SL_OK) status = readers_check_name(name);
  if (status == SL_OK && !fn) status = sl_fail(SL_E_INVALID, "fn is NULL");
  db_env *env;
  db_txn *txn;
  if (status == SL_OK) status = readers_env(store, false, &env);
  if (status == SL_NOTFOUND) status = sl_fail(SL_NOTFOUND, "there is no reader %s", name);
  if (status == SL_OK) status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  char filter[2 * SL_READER_FILTER_MAX];
  sl_reader_state s;
  sl_reader_info info = {.name = name};
  tally t = {0};
  status = readers_state_get(txn, name, &s);
  if (status == SL_OK) {
    if (s.topics.len) memcpy(filter, s.topics.data, s.topics.len);
    if (s.types.len) memcpy(filter + s.topics.len, s.types.data, s.types.len);
    t.seq = s.seq;
    status = readers_walk(txn, READERS_OPEN, s.id, 0, count_open, &t);
  }
  if (status == SL_OK) status = count_letters(store, txn, s.id, &info.waiting_dead);
  if (status == SL_OK && (s.flags & SL_READER_HOLD_TRIM)) status = readers_held_seq(txn, &s, &info.held_seq);
  db_abort(txn);
  if (status != SL_OK) return status;
  info.topics = SL_BYTES(filter, s.topics.len);
  info.types = SL_BYTES(filter + s.topics.len, s.types.len);
  info.flags = s.flags;
  info.max_attempts = s.max_attempts;
  info.created_us = s.created_us;
  info.committed_us = s.committed_us;
  info.seq = s.seq;
  info.seen = s.totals.seen;
  info.acked = s.totals.acked;
  info.dead = s.totals.dead;
  info.dropped = s.totals.dropped;
  info.missed = s.totals.missed;
  info.open = t.open;
  info.retrying = t.retrying;
  info.balanced = info.seen == info.acked + info.dead + info.dropped + info.missed + info.open &&
                  info.waiting_dead <= info.dead;
  readers_holder(store, name, &info.pid, &info.since_us);
  status = set_lag(store, &info);
  if (status == SL_OK) fn(arg, &info);
  return status;
}

/* The names of all readers, each ending in NUL. */
static sl_status names_of(db_env *env, sl_buf *names) {
  db_txn *txn;
  db_cur *cur = NULL;
  sl_slice key = {"", 0}, value;
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  status = db_cur_open(txn, READERS_STATES, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_FIRST, &key, &value);
  for (; status == SL_OK; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    if (key.len > SL_READER_NAME_MAX) continue;
    sl_buf_append(names, key.data, key.len);
    sl_buf_append(names, "", 1);
  }
  db_cur_close(cur);
  db_abort(txn);
  if (status == SL_NOTFOUND) status = SL_OK;
  return status == SL_OK && names->failed ? sl_fail(SL_E_NOMEM, "out of memory") : status;
}

sl_status sl_readers_each(sl_store *store, sl_reader_info_fn *fn, void *arg) {
  sl_status status = store_enter(store);
  if (status == SL_OK && !fn) status = sl_fail(SL_E_INVALID, "fn is NULL");
  db_env *env;
  sl_buf names = {0};
  if (status == SL_OK) status = readers_env(store, false, &env);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  bool damaged = false;
  status = names_of(env, &names);
  for (size_t at = 0; status == SL_OK && at < names.len; at += strlen((char *)names.data + at) + 1) {
    status = sl_reader_info_get(store, (char *)names.data + at, fn, arg);
    damaged |= status == SL_E_CORRUPT;
    if (status == SL_E_CORRUPT || status == SL_NOTFOUND) status = SL_OK; /* others', or deleted meanwhile */
  }
  sl_buf_free(&names);
  return status == SL_OK && damaged ? SL_E_CORRUPT : status;
}

/* --------------------------------------------------------------- letters --- */

#define LETTERS_AT_ONCE 100u
#define FOUND ((sl_status)-1)

typedef struct gathering {
  log_view *log;
  sl_buf bytes;      /* entries, each behind its u64 length */
  unsigned count;
  uint64_t next;
  bool retrying;
} gathering;

static sl_status gather(void *arg, const sl_reader_entry *e) {
  gathering *g = arg;
  g->next = e->seq + 1;
  if (g->retrying && (!e->has_letter || e->attempts == 0)) return SL_OK;
  sl_status status = is_kept(g->log, e->seq);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  const size_t start = g->bytes.len;
  if (!sl_buf_extend(&g->bytes, 8)) return sl_fail(SL_E_NOMEM, "out of memory");
  status = sl_reader_entry_encode(e, &g->bytes);
  if (status != SL_OK) return status;
  sl_put_u64(g->bytes.data + start, g->bytes.len - start - 8);
  return ++g->count == LETTERS_AT_ONCE ? FOUND : SL_OK;
}

static void tell(const gathering *g, sl_reader_letter_fn *fn, void *arg) {
  for (size_t at = 0; at < g->bytes.len;) {
    const size_t len = (size_t)sl_get_u64(g->bytes.data + at);
    sl_reader_entry e;
    if (sl_reader_entry_decode(SL_BYTES(g->bytes.data + at + 8, len), &e) == SL_OK) {
      const sl_reader_letter letter = {
        .seq = e.seq, .dead = !g->retrying, .next_us = e.next_us, .attempts = e.attempts, .replays = e.replays,
        .first_failure_us = e.letter.first_failure_us, .last_failure_us = e.letter.last_failure_us,
        .topic = e.letter.topic, .error_class = e.letter.error_class, .error_code = e.letter.error_code,
        .error_text = e.letter.error_text};
      fn(arg, &letter);
    }
    at += 8 + len;
  }
}

static sl_status each_of(sl_store *store, db_env *env, uint32_t id, bool retrying, sl_reader_letter_fn *fn,
                         void *arg) {
  gathering g = {.retrying = retrying};
  sl_status status = FOUND;
  while (status == FOUND) {
    db_txn *txn;
    sl_buf_reset(&g.bytes);
    g.count = 0;
    status = db_begin_read(env, &txn);
    if (status != SL_OK) break;
    status = log_view_open(store, &g.log);
    if (status == SL_OK) {
      status = readers_walk(txn, retrying ? READERS_OPEN : READERS_DEAD, id, g.next, gather, &g);
      log_view_close(g.log);
    }
    db_abort(txn);
    if (status == SL_OK || status == FOUND) tell(&g, fn, arg);
  }
  sl_buf_free(&g.bytes);
  return status;
}

static sl_status find(sl_store *store, const char *name, db_env **env, sl_reader_state *state) {
  db_txn *txn;
  sl_status status = store_enter(store);
  if (status == SL_OK) status = readers_check_name(name);
  if (status == SL_OK) status = readers_env(store, false, env);
  if (status == SL_NOTFOUND) status = sl_fail(SL_NOTFOUND, "there is no reader %s", name);
  if (status == SL_OK) status = db_begin_read(*env, &txn);
  if (status != SL_OK) return status;
  status = readers_state_get(txn, name, state);
  db_abort(txn);
  return status;
}

sl_status sl_reader_letters(sl_store *store, const char *name, int retrying, sl_reader_letter_fn *fn, void *arg) {
  db_env *env;
  sl_reader_state state;
  sl_status status = find(store, name, &env, &state);
  if (status == SL_OK && !fn) status = sl_fail(SL_E_INVALID, "fn is NULL");
  if (status == SL_OK && retrying) status = each_of(store, env, state.id, true, fn, arg);
  if (status == SL_OK) status = each_of(store, env, state.id, false, fn, arg);
  return status;
}

/* ----------------------------------------------------------- replay, drop --- */

typedef struct deed {
  db_txn *txn;
  sl_reader_state state;
  sl_reader_entry letter; /* in the transaction */
  char key[READERS_KEY_LEN + 1];
} deed;

/* A write transaction in which the dead letter is at hand. On failure there is none. */
static sl_status begin(sl_store *store, const char *name, uint64_t seq, deed *d) {
  db_env *env;
  sl_slice value;
  sl_status status = find(store, name, &env, &d->state);
  if (status == SL_OK) status = db_begin_write(env, false, &d->txn);
  if (status != SL_OK) return status;
  status = readers_state_get(d->txn, name, &d->state);
  if (status == SL_OK) {
    const sl_slice key = readers_key(d->state.id, seq, d->key);
    status = db_get(d->txn, READERS_DEAD, key, &value);
    if (status == SL_OK) status = sl_reader_entry_decode(value, &d->letter);
    else if (status == SL_NOTFOUND && db_get(d->txn, READERS_OPEN, key, &value) == SL_OK)
      status = sl_fail(SL_E_BUSY, "event %" PRIu64 " is no dead letter of reader %s: it is on its way", seq, name);
    else if (status == SL_NOTFOUND)
      status = sl_fail(SL_NOTFOUND, "event %" PRIu64 " is no dead letter of reader %s", seq, name);
  }
  if (status != SL_OK) db_abort(d->txn);
  return status;
}

static sl_status end(const char *name, deed *d, sl_status status) {
  if (status == SL_OK) status = readers_state_put(d->txn, name, &d->state);
  if (status == SL_OK) return db_commit(d->txn);
  db_abort(d->txn);
  return status;
}

sl_status sl_reader_replay(sl_store *store, const char *name, uint64_t seq, const sl_replay_options *options) {
  if (options && options->version > SL_REPLAY_VERSION)
    return sl_fail(SL_E_INVALID, "sl_replay_options.version is %" PRIu32 ": this library knows up to %u",
                   options->version, SL_REPLAY_VERSION);
  const uint32_t most = options && options->most ? options->most : SL_REPLAYS_DEFAULT;
  deed d;
  log_view *log;
  sl_slice bytes;
  sl_status status = begin(store, name, seq, &d);
  if (status != SL_OK) return status;
  sl_reader_entry e = d.letter;
  if (e.replays >= most)
    status = sl_fail(SL_E_LIMIT,
                     "event %" PRIu64 " was sent again %" PRIu32 " times: is what made it fail mended?", seq,
                     e.replays);
  if (status == SL_OK) status = log_view_open(store, &log);
  if (status == SL_OK) {
    status = log_view_find(log, seq, &bytes);
    log_view_close(log);
    if (status == SL_NOTFOUND) status = sl_fail(SL_NOTFOUND, "event %" PRIu64 " was trimmed", seq);
  }
  e.replays++;
  e.attempts = 0;
  e.next_us = 0;
  if (status == SL_OK) status = readers_entry_put(d.txn, READERS_OPEN, d.state.id, &e);
  if (status == SL_OK) status = db_del(d.txn, READERS_DEAD, SL_BYTES(d.key, READERS_KEY_LEN));
  d.state.totals.dead--;
  d.state.changes++;
  return end(name, &d, status);
}

sl_status sl_reader_drop(sl_store *store, const char *name, uint64_t seq, sl_slice who, sl_slice why) {
  deed d;
  sl_iter *iter = NULL;
  const sl_record *record;
  const sl_query q = {.first_seq = seq, .last_seq = seq};
  sl_status status = audit_check(who, why);
  if (status == SL_OK) status = begin(store, name, seq, &d);
  if (status != SL_OK) return status;
  sl_drop_note note = {.seq = seq, .texts = {[DROP_READER] = sl_slice_of(name),
                                             [DROP_TOPIC] = d.letter.letter.topic,
                                             [DROP_CLASS] = d.letter.letter.error_class,
                                             [DROP_CODE] = d.letter.letter.error_code, [DROP_WHO] = who,
                                             [DROP_WHY] = why}};
  if (sl_iter_start(store, &q, &iter) == SL_OK && sl_iter_next(iter, &record) == SL_OK) {
    note.texts[DROP_EVENT_ID] = record->event_id;
    note.texts[DROP_TYPE] = record->type;
    note.texts[DROP_TOPIC] = record->topic;
  }
  status = audit_add(d.txn, READERS_AUDIT, &note);
  sl_iter_close(iter);
  if (status == SL_OK) status = db_del(d.txn, READERS_DEAD, SL_BYTES(d.key, READERS_KEY_LEN));
  d.state.totals.dead--;
  d.state.totals.dropped++;
  return end(name, &d, status);
}

sl_status sl_drops_each(sl_store *store, const char *reader, sl_drop_fn *fn, void *arg) {
  db_env *env;
  sl_status status = store_enter(store);
  if (status == SL_OK && !fn) status = sl_fail(SL_E_INVALID, "fn is NULL");
  if (status != SL_OK) return status;
  if (!reader) return audit_each(store->book->env, BOOK_NOTES, (sl_slice){0}, fn, arg);
  status = readers_env(store, false, &env);
  if (status == SL_NOTFOUND) return SL_OK;
  return status == SL_OK ? audit_each(env, READERS_AUDIT, sl_slice_of(reader), fn, arg) : status;
}

/* ---------------------------------------------------------------- delete --- */

static sl_status empty_of(db_txn *txn, unsigned table, uint32_t id) {
  char text[READERS_KEY_LEN + 1];
  db_cur *cur;
  uint32_t of;
  uint64_t seq;
  sl_slice key = readers_key(id, 0, text), value;
  sl_status status = db_cur_open(txn, table, &cur);
  if (status != SL_OK) return status;
  status = db_cur_move(cur, DB_SEEK, &key, &value);
  while (status == SL_OK && readers_key_parse(key, &of, &seq) && of == id) {
    status = db_cur_del(cur);
    key = readers_key(id, seq, text);
    if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  }
  db_cur_close(cur);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status sl_reader_delete(sl_store *store, const char *name) {
  db_env *env;
  db_txn *txn;
  sl_reader_state state;
  int fd = -1;
  sl_status status = find(store, name, &env, &state);
  if (status == SL_OK || status == SL_E_CORRUPT) status = readers_lock(store, name, &fd);
  if (status == SL_OK) status = db_begin_write(env, false, &txn);
  if (status == SL_OK) {
    status = readers_state_get(txn, name, &state);
    if (status == SL_OK) status = empty_of(txn, READERS_OPEN, state.id);
    if (status == SL_OK) status = empty_of(txn, READERS_DEAD, state.id);
    if (status == SL_E_CORRUPT) status = SL_OK; /* whatever is left belongs to a number that is not used again */
    if (status == SL_OK) status = db_del(txn, READERS_STATES, sl_slice_of(name));
    if (status == SL_OK) status = db_commit(txn);
    else db_abort(txn);
  }
  if (status == SL_OK) readers_hand_clear(fd); /* it is another reader's that may get the name */
  readers_unlock(fd);
  return status;
}

/* ---------------------------------------------------------------- verify --- */

typedef struct checking {
  readers_problem_fn *fn;
  void *arg;
} checking;

static void check_law(void *arg, const sl_reader_info *i) {
  checking *c = arg;
  char text[400];
  if (i->balanced) return;
  snprintf(text, sizeof text,
           "reader %s is out of balance: seen %" PRIu64 ", acked %" PRIu64 ", dead %" PRIu64 " (%" PRIu64
           " kept), dropped %" PRIu64 ", missed %" PRIu64 ", open %" PRIu64, i->name, i->seen, i->acked, i->dead,
           i->waiting_dead, i->dropped, i->missed, i->open);
  c->fn(c->arg, text);
}

static sl_status check_notes(db_env *env, unsigned table, checking *c) {
  db_txn *txn;
  db_cur *cur = NULL;
  sl_slice key = SL_STR(AUDIT_PREFIX), value;
  sl_status status = db_begin_read(env, &txn);
  if (status != SL_OK) return status;
  status = db_cur_open(txn, table, &cur);
  if (status == SL_OK) status = db_cur_move(cur, DB_SEEK, &key, &value);
  for (; status == SL_OK; status = db_cur_move(cur, DB_NEXT, &key, &value)) {
    const sl_status form = audit_note_check(key, value);
    if (form == SL_NOTFOUND) break;
    if (form != SL_OK) c->fn(c->arg, sl_last_detail());
  }
  db_cur_close(cur);
  db_abort(txn);
  return status == SL_NOTFOUND ? SL_OK : status;
}

sl_status readers_verify(sl_store *store, readers_problem_fn *fn, void *arg) {
  checking c = {fn, arg};
  db_env *env;
  sl_status status = check_notes(store->book->env, BOOK_NOTES, &c);
  if (status == SL_OK) status = readers_env(store, false, &env);
  if (status != SL_OK) return status == SL_NOTFOUND ? SL_OK : status;
  status = check_notes(env, READERS_AUDIT, &c);
  sl_buf names = {0};
  if (status == SL_OK) status = names_of(env, &names);
  for (size_t at = 0; status == SL_OK && at < names.len; at += strlen((char *)names.data + at) + 1) {
    status = sl_reader_info_get(store, (char *)names.data + at, check_law, &c);
    if (status == SL_E_CORRUPT) fn(arg, sl_last_detail());
    if (status == SL_E_CORRUPT || status == SL_NOTFOUND) status = SL_OK;
  }
  sl_buf_free(&names);
  return status;
}
