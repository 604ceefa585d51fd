#include "format/reader.h"

#include "format/frame.h"

#define VERSION 1u

/* ----------------------------------------------------------------- state --- */

enum {
  S_ID = 8, S_FLAGS = 12, S_ATTEMPTS = 16, S_TOPICS = 20, S_TYPES = 24, S_SPARE = 28, S_SEQ = 32, S_BORN = 40,
  S_EXPECTED = 48, S_SEEN = 56, S_ACKED = 64, S_DEAD = 72, S_DROPPED = 80, S_MISSED = 88, S_COMMITS = 96,
  S_CHANGES = 104, S_CREATED = 112, S_COMMITTED = 120, S_HEAD = 128
};
#define FILTER_MAX 4096u

static const char a_state[] = "state of a reader";

sl_status sl_reader_state_encode(const sl_reader_state *s, sl_buf *out) {
  const size_t start = out->len, len = S_HEAD + s->topics.len + s->types.len;
  uint8_t *p = sl_buf_extend(out, len);
  if (!p) return sl_fail(SL_E_NOMEM, "out of memory");
  memset(p, 0, S_HEAD);
  sl_put_u32(p + S_ID, s->id);
  sl_put_u32(p + S_FLAGS, s->flags);
  sl_put_u32(p + S_ATTEMPTS, s->max_attempts);
  sl_put_u32(p + S_TOPICS, (uint32_t)s->topics.len);
  sl_put_u32(p + S_TYPES, (uint32_t)s->types.len);
  sl_put_u64(p + S_SEQ, s->seq);
  sl_put_u64(p + S_BORN, s->born);
  sl_put_u64(p + S_EXPECTED, s->expected);
  sl_put_u64(p + S_SEEN, s->totals.seen);
  sl_put_u64(p + S_ACKED, s->totals.acked);
  sl_put_u64(p + S_DEAD, s->totals.dead);
  sl_put_u64(p + S_DROPPED, s->totals.dropped);
  sl_put_u64(p + S_MISSED, s->totals.missed);
  sl_put_u64(p + S_COMMITS, s->commits);
  sl_put_u64(p + S_CHANGES, s->changes);
  sl_put_u64(p + S_CREATED, (uint64_t)s->created_us);
  sl_put_u64(p + S_COMMITTED, (uint64_t)s->committed_us);
  if (s->topics.len) memcpy(p + S_HEAD, s->topics.data, s->topics.len);
  if (s->types.len) memcpy(p + S_HEAD + s->topics.len, s->types.data, s->types.len);
  frame_seal(out->data + start, len, VERSION);
  return SL_OK;
}

sl_status sl_reader_state_decode(sl_slice bytes, sl_reader_state *s) {
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, S_HEAD, true, VERSION, a_state);
  if (status != SL_OK) return status;
  const uint64_t topics = sl_get_u32(p + S_TOPICS), types = sl_get_u32(p + S_TYPES);
  if (p[1] | p[2] | p[3] || sl_get_u32(p + S_SPARE) || topics > FILTER_MAX || types > FILTER_MAX ||
      bytes.len != S_HEAD + topics + types || (sl_get_u32(p + S_FLAGS) & ~SL_READER_FLAGS_KEPT))
    return frame_damaged(a_state, "a field of its header is out of range");
  *s = (sl_reader_state){
    .id = sl_get_u32(p + S_ID), .flags = sl_get_u32(p + S_FLAGS), .max_attempts = sl_get_u32(p + S_ATTEMPTS),
    .seq = sl_get_u64(p + S_SEQ), .born = sl_get_u64(p + S_BORN), .expected = sl_get_u64(p + S_EXPECTED),
    .totals = {.seen = sl_get_u64(p + S_SEEN), .acked = sl_get_u64(p + S_ACKED), .dead = sl_get_u64(p + S_DEAD),
               .dropped = sl_get_u64(p + S_DROPPED), .missed = sl_get_u64(p + S_MISSED)},
    .commits = sl_get_u64(p + S_COMMITS), .changes = sl_get_u64(p + S_CHANGES),
    .created_us = (int64_t)sl_get_u64(p + S_CREATED), .committed_us = (int64_t)sl_get_u64(p + S_COMMITTED),
    .topics = SL_BYTES(p + S_HEAD, topics), .types = SL_BYTES(p + S_HEAD + topics, types)};
  return SL_OK;
}

/* ----------------------------------------------------------------- entry --- */

enum { E_SEQ = 8, E_LANE = 16, E_NEXT = 24, E_ATTEMPTS = 32, E_REPLAYS = 36, E_HEAD = 40 };

static const char an_entry[] = "entry of a reader";

sl_status sl_reader_entry_encode(const sl_reader_entry *e, sl_buf *out) {
  const size_t start = out->len;
  uint8_t *p = sl_buf_extend(out, E_HEAD);
  if (!p) return sl_fail(SL_E_NOMEM, "out of memory");
  memset(p, 0, E_HEAD);
  sl_put_u64(p + E_SEQ, e->seq);
  sl_put_u64(p + E_LANE, e->lane);
  sl_put_u64(p + E_NEXT, (uint64_t)e->next_us);
  sl_put_u32(p + E_ATTEMPTS, e->attempts);
  sl_put_u32(p + E_REPLAYS, e->replays);
  sl_status status = e->has_letter ? sl_letter_encode(&e->letter, out) : SL_OK;
  if (status == SL_OK) frame_seal(out->data + start, out->len - start, VERSION);
  else out->len = start;
  return status;
}

sl_status sl_reader_entry_decode(sl_slice bytes, sl_reader_entry *out) {
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, E_HEAD, true, VERSION, an_entry);
  if (status != SL_OK) return status;
  sl_reader_entry e = {.seq = sl_get_u64(p + E_SEQ), .lane = sl_get_u64(p + E_LANE),
                       .next_us = (int64_t)sl_get_u64(p + E_NEXT),
                       .attempts = sl_get_u32(p + E_ATTEMPTS), .replays = sl_get_u32(p + E_REPLAYS)};
  if (p[1] | p[2] | p[3] || e.seq == 0) return frame_damaged(an_entry, "a field of its header is out of range");
  if (bytes.len > E_HEAD) {
    status = sl_letter_decode(SL_BYTES(p + E_HEAD, bytes.len - E_HEAD), &e.letter);
    if (status == SL_OK && e.letter.seq != e.seq)
      status = frame_damaged(an_entry, "its letter is of another event");
    if (status != SL_OK) return status;
    e.has_letter = true;
  }
  *out = e;
  return SL_OK;
}

/* ------------------------------------------------------------------ drop --- */

enum { D_NUMBER = 8, D_SEQ = 16, D_WHEN = 24, D_HEAD = 32 };

static const char a_drop[] = "note of a drop";

sl_status sl_drop_note_encode(const sl_drop_note *n, sl_buf *out) {
  const size_t start = out->len;
  size_t len = D_HEAD;
  for (size_t i = 0; i < SL_DROP_TEXTS; i++) {
    if (n->texts[i].len > 255) return sl_fail(SL_E_INVALID, "note of a drop: a text of more than 255 bytes");
    len += 1 + n->texts[i].len;
  }
  uint8_t *p = sl_buf_extend(out, len);
  if (!p) return sl_fail(SL_E_NOMEM, "out of memory");
  uint8_t *at = p + D_HEAD;
  memset(p, 0, D_HEAD);
  sl_put_u64(p + D_NUMBER, n->number);
  sl_put_u64(p + D_SEQ, n->seq);
  sl_put_u64(p + D_WHEN, (uint64_t)n->dropped_us);
  for (size_t i = 0; i < SL_DROP_TEXTS; i++) {
    *at++ = (uint8_t)n->texts[i].len;
    if (n->texts[i].len) memcpy(at, n->texts[i].data, n->texts[i].len);
    at += n->texts[i].len;
  }
  frame_seal(out->data + start, len, VERSION);
  return SL_OK;
}

sl_status sl_drop_note_decode(sl_slice bytes, sl_drop_note *n) {
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, D_HEAD, true, VERSION, a_drop);
  if (status != SL_OK) return status;
  if (p[1] | p[2] | p[3]) return frame_damaged(a_drop, "a field of its header is out of range");
  *n = (sl_drop_note){.number = sl_get_u64(p + D_NUMBER), .seq = sl_get_u64(p + D_SEQ),
                      .dropped_us = (int64_t)sl_get_u64(p + D_WHEN)};
  size_t at = D_HEAD;
  for (size_t i = 0; i < SL_DROP_TEXTS; i++) {
    if (at == bytes.len || p[at] > bytes.len - at - 1) return frame_damaged(a_drop, "a text is cut short");
    n->texts[i] = SL_BYTES(p + at + 1, p[at]);
    at += 1u + p[at];
  }
  return at == bytes.len ? SL_OK : frame_damaged(a_drop, "bytes are left behind it");
}
