#include "format/receipt.h"

#include "format/frame.h"
#include "format/pack.h"

#define VERSION 1u

/* ---- blocks of receipts ---- */

enum { AT_FIRST = 8, AT_ATTEMPT = 16, AT_SETTLED = 24, AT_COUNT = 32, AT_SPARE = 36, HEAD = 40 };
enum { AT_VERDICT = 0, AT_PARTITION = 4, AT_PLACE = 8 };

static bool has_place(uint8_t verdict) {
  return verdict == SL_VERDICT_SENT || verdict == SL_VERDICT_DUPLICATE || verdict == SL_VERDICT_LANE;
}

static bool receipt_valid(const sl_receipt *r) {
  switch (r->verdict) {
    case SL_VERDICT_SENT: return r->partition >= 0 ? r->place >= -1 : r->partition == -1 && r->place == -1;
    case SL_VERDICT_DUPLICATE: return r->place >= 1;
    default: return r->verdict <= SL_VERDICT_LANE;
  }
}

sl_status sl_receipt_block_encode(const sl_receipt_block *head, const sl_receipt *receipts, sl_buf *out) {
  if (head->count < 1 || head->count > SL_RECEIPT_BLOCK_MAX || head->first_seq < 1 ||
      head->first_seq > UINT64_MAX - head->count)
    return sl_fail(SL_E_INVALID, "a block of %u receipts from seq %llu on (1 to %u from 1 on are possible)",
                   head->count, (unsigned long long)head->first_seq, SL_RECEIPT_BLOCK_MAX);
  for (uint32_t i = 0; i < head->count; i++)
    if (!receipt_valid(&receipts[i]))
      return sl_fail(SL_E_INVALID, "receipt of seq %llu: verdict %u, partition %d, place %lld",
                     (unsigned long long)(head->first_seq + i), receipts[i].verdict, receipts[i].partition,
                     (long long)receipts[i].place);

  size_t len = HEAD + (size_t)head->count * SL_RECEIPT_STRIDE;
  uint8_t *p = sl_buf_extend(out, len);
  if (!p) return sl_fail(SL_E_NOMEM, "out of memory for %zu bytes of receipts", len);
  memset(p, 0, len);
  sl_put_u64(p + AT_FIRST, head->first_seq);
  sl_put_u64(p + AT_ATTEMPT, head->attempt);
  sl_put_u64(p + AT_SETTLED, (uint64_t)head->settled_us);
  sl_put_u32(p + AT_COUNT, head->count);
  for (uint32_t i = 0; i < head->count; i++) {
    uint8_t *e = p + HEAD + (size_t)i * SL_RECEIPT_STRIDE;
    const sl_receipt *r = &receipts[i];
    /* What a verdict has no use for has one form, whatever the caller left there. */
    e[AT_VERDICT] = r->verdict;
    sl_put_u32(e + AT_PARTITION, (uint32_t)(r->verdict == SL_VERDICT_SENT ? r->partition : -1));
    sl_put_u64(e + AT_PLACE, (uint64_t)(has_place(r->verdict) ? r->place : 0));
  }
  frame_seal(p, len, VERSION);
  return SL_OK;
}

static sl_status bad_block(const char *why) { return frame_damaged("block of receipts", why); }

static bool read_entry(const uint8_t *e, sl_receipt *out) {
  sl_receipt r = {e[AT_VERDICT], (int32_t)sl_get_u32(e + AT_PARTITION), (int64_t)sl_get_u64(e + AT_PLACE)};
  if (e[1] | e[2] | e[3] || !receipt_valid(&r)) return false;
  if (r.verdict != SL_VERDICT_SENT && r.partition != -1) return false;
  if (!has_place(r.verdict) && r.place != 0) return false;
  *out = r;
  return true;
}

static sl_status read_block(sl_slice bytes, sl_receipt_block *block, bool all) {
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, HEAD, all, VERSION, "block of receipts");
  if (status) return status;
  sl_receipt_block b = {
    .first_seq = sl_get_u64(p + AT_FIRST),
    .attempt = sl_get_u64(p + AT_ATTEMPT),
    .settled_us = (int64_t)sl_get_u64(p + AT_SETTLED),
    .count = sl_get_u32(p + AT_COUNT),
    .entries = p + HEAD
  };
  if (p[1] | p[2] | p[3] || sl_get_u32(p + AT_SPARE) || b.count < 1 || b.count > SL_RECEIPT_BLOCK_MAX ||
      b.first_seq < 1 || b.first_seq > UINT64_MAX - b.count)
    return bad_block("a field of its header is out of range");
  if (bytes.len != HEAD + (size_t)b.count * SL_RECEIPT_STRIDE)
    return bad_block("its length is not that of its entries");
  if (all) {
    sl_receipt receipt;
    for (uint32_t i = 0; i < b.count; i++)
      if (!read_entry(b.entries + (size_t)i * SL_RECEIPT_STRIDE, &receipt))
        return bad_block("an entry is out of range");
  }
  *block = b;
  return SL_OK;
}

sl_status sl_receipt_block_decode(sl_slice bytes, sl_receipt_block *block) {
  return read_block(bytes, block, true);
}

sl_status sl_receipt_block_peek(sl_slice bytes, sl_receipt_block *block) {
  return read_block(bytes, block, false);
}

sl_status sl_receipt_at(const sl_receipt_block *block, uint64_t seq, sl_receipt *out) {
  if (seq < block->first_seq || seq - block->first_seq >= block->count)
    return sl_fail(SL_NOTFOUND, "seq %llu is not in this block of receipts", (unsigned long long)seq);
  if (!read_entry(block->entries + (size_t)(seq - block->first_seq) * SL_RECEIPT_STRIDE, out))
    return sl_fail(SL_E_CORRUPT, "damaged receipt of seq %llu: run `sidelog verify`",
                   (unsigned long long)seq);
  return SL_OK;
}

/* ---- dead letters ---- */

#define LETTER_HEAD 8u
#define LETTER_KEYS 10u
#define LETTER_DROPPED 3u /* keys more, which a letter has that a person dropped: all of them, or none */
#define ERROR_TEXT_MAX 1024u

sl_status sl_letter_encode(const sl_letter *letter, sl_buf *out) {
  if (letter->error_class.len > 255 || letter->error_code.len > 255 || letter->topic.len > 255 ||
      letter->dropped_by.len > 255 || letter->drop_reason.len > 255)
    return sl_fail(SL_E_INVALID, "dead letter of seq %llu: a class, code or topic of more than 255 bytes",
                   (unsigned long long)letter->seq);
  /* A letter is never refused for a long-winded broker: its text is cut, between characters. */
  sl_slice text = letter->error_text;
  if (text.len > ERROR_TEXT_MAX) {
    const uint8_t *p = text.data;
    size_t len = ERROR_TEXT_MAX;
    while (len > ERROR_TEXT_MAX - 4 && (p[len] & 0xc0) == 0x80) len--;
    text.len = len;
  }
  size_t start = out->len;
  uint8_t *head = sl_buf_extend(out, LETTER_HEAD);
  if (head) memset(head, 0, LETTER_HEAD);
  msgpack_packer pk;
  pack_init(&pk, out);
  msgpack_pack_map(&pk, letter->dropped_us ? LETTER_KEYS + LETTER_DROPPED : LETTER_KEYS);
  pack_uint(&pk, 1);
  pack_uint(&pk, letter->seq);
  pack_uint(&pk, 2);
  pack_uint(&pk, letter->attempt);
  pack_uint(&pk, 3);
  pack_int(&pk, letter->first_failure_us);
  pack_uint(&pk, 4);
  pack_int(&pk, letter->last_failure_us);
  pack_uint(&pk, 5);
  pack_uint(&pk, letter->attempts);
  pack_uint(&pk, 6);
  pack_int(&pk, letter->code);
  pack_uint(&pk, 7);
  pack_text(&pk, letter->error_class);
  pack_uint(&pk, 8);
  pack_text(&pk, letter->error_code);
  pack_uint(&pk, 9);
  pack_text(&pk, text);
  pack_uint(&pk, 10);
  pack_text(&pk, letter->topic);
  if (letter->dropped_us) {
    pack_uint(&pk, 11);
    pack_int(&pk, letter->dropped_us);
    pack_uint(&pk, 12);
    pack_text(&pk, letter->dropped_by);
    pack_uint(&pk, 13);
    pack_text(&pk, letter->drop_reason);
  }
  if (out->failed) {
    out->len = start;
    return sl_fail(SL_E_NOMEM, "out of memory for the dead letter of seq %llu",
                   (unsigned long long)letter->seq);
  }
  frame_seal(out->data + start, out->len - start, VERSION);
  return SL_OK;
}

static sl_status bad_letter(const char *why) { return frame_damaged("dead letter", why); }

sl_status sl_letter_decode(sl_slice bytes, sl_letter *letter) {
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, LETTER_HEAD, true, VERSION, "dead letter");
  if (status) return status;
  if (p[1] | p[2] | p[3]) return bad_letter("a field of its header is out of range");

  unpack in = unpack_of((sl_slice){p + LETTER_HEAD, bytes.len - LETTER_HEAD});
  sl_letter l = {0};
  uint32_t pairs;
  uint64_t last = 0, key, wide;
  int64_t code;
  if (!unpack_map(&in, &pairs)) return bad_letter("it is not a map");
  unsigned seen = 0;
  for (uint32_t i = 0; i < pairs; i++) {
    if (!unpack_uint(&in, &key) || key <= last) return bad_letter("its keys are not ascending numbers");
    last = key;
    bool ok;
    switch (key) {
      case 1: ok = unpack_uint(&in, &l.seq); break;
      case 2: ok = unpack_uint(&in, &l.attempt); break;
      case 3: ok = unpack_int(&in, &l.first_failure_us); break;
      case 4: ok = unpack_int(&in, &l.last_failure_us); break;
      case 5:
        ok = unpack_uint(&in, &wide) && wide <= UINT32_MAX;
        if (ok) l.attempts = (uint32_t)wide;
        break;
      case 6:
        ok = unpack_int(&in, &code) && code >= INT32_MIN && code <= INT32_MAX;
        if (ok) l.code = (int32_t)code;
        break;
      case 7: ok = unpack_text(&in, &l.error_class) && l.error_class.len <= 255; break;
      case 8: ok = unpack_text(&in, &l.error_code) && l.error_code.len <= 255; break;
      case 9: ok = unpack_text(&in, &l.error_text) && l.error_text.len <= ERROR_TEXT_MAX; break;
      case 10: ok = unpack_text(&in, &l.topic) && l.topic.len <= 255; break;
      case 11: ok = unpack_int(&in, &l.dropped_us); break;
      case 12: ok = unpack_text(&in, &l.dropped_by) && l.dropped_by.len <= 255; break;
      case 13: ok = unpack_text(&in, &l.drop_reason) && l.drop_reason.len <= 255; break;
      default: ok = unpack_skip(&in); break;
    }
    if (!ok) return bad_letter("a field is not of its kind");
    if (key <= LETTER_KEYS + LETTER_DROPPED) seen |= 1u << key;
  }
  const unsigned keys = l.dropped_us ? LETTER_KEYS + LETTER_DROPPED : LETTER_KEYS;
  if (seen != (2u << keys) - 2) return bad_letter("a field is missing, or stands there without its like");
  if (unpack_left(&in) > 0) return bad_letter("bytes are left behind it");
  *letter = l;
  return SL_OK;
}

/* ----------------------------------------------------------- recreations --- */

enum { RECREATION_HEAD = 32 };

size_t sl_recreation_encode(const sl_recreation *mark, uint8_t out[SL_RECREATION_MOST]) {
  const size_t len = RECREATION_HEAD + mark->topic.len;
  if (mark->topic.len == 0 || len > SL_RECREATION_MOST) return 0;
  memset(out, 0, RECREATION_HEAD);
  sl_put_u64(out + 8, mark->attempt);
  sl_put_u64(out + 16, mark->seq);
  sl_put_u64(out + 24, (uint64_t)mark->noticed_us);
  memcpy(out + RECREATION_HEAD, mark->topic.data, mark->topic.len);
  frame_seal(out, len, VERSION);
  return len;
}

sl_status sl_recreation_decode(sl_slice bytes, sl_recreation *mark) {
  static const char what[] = "note of a recreated topic";
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, RECREATION_HEAD, true, VERSION, what);
  if (status != SL_OK) return status;
  if (p[1] | p[2] | p[3]) return frame_damaged(what, "a field of its header is out of range");
  if (bytes.len == RECREATION_HEAD || bytes.len > SL_RECREATION_MOST)
    return frame_damaged(what, "its topic has not 1 to 255 bytes");
  *mark = (sl_recreation){.attempt = sl_get_u64(p + 8), .seq = sl_get_u64(p + 16),
                          .noticed_us = (int64_t)sl_get_u64(p + 24),
                          .topic = SL_BYTES(p + RECREATION_HEAD, bytes.len - RECREATION_HEAD)};
  return SL_OK;
}

bool sl_recreation_covers(const sl_recreation *mark, uint64_t attempt, uint64_t seq) {
  return attempt < mark->attempt || (attempt == mark->attempt && seq < mark->seq);
}
