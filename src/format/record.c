#include "format/record.h"

#include "base/id.h"
#include "format/frame.h"
#include "format/pack.h"

#include <stdlib.h>

#define VERSION 1u

/* The fixed header; frame.h says what stands in bytes 0 and 4 to 7. */
enum {
  AT_FLAGS = 1,
  AT_KINDS = 2, /* two bits per id */
  AT_SPARE = 3,
  AT_APPENDED = 8,
  AT_OCCURRED = 16,
  AT_CLAMP = 24,
  AT_TOPIC = 28,
  AT_TYPE = 30,
  AT_ATTR_LEN = 32,
  AT_VALUE_LEN = 36,
  HEAD = 40
};

enum { KIND_NONE = 0, KIND_UUID = 1, KIND_TEXT = 2 };

/* Keys of the attributes. Numbers are never given a new meaning; the next free one is 14; 11 and 12
 * stand for unknown ones in a golden file. */
enum {
  KEY_KEY = 1,
  KEY_HEADERS = 2,
  KEY_TENANT = 3,
  KEY_SOURCE = 4,
  KEY_EVENT_ID = 5, /* + 1: correlation id, + 2: causation id */
  KEY_CAUSATION_ID = 7,
  KEY_TOPIC = 8,
  KEY_TYPE = 9,
  KEY_ORIGIN_SEQ = 10,
  KEY_DROPPED_AT = 13
};

#define FLAGS ((uint32_t)(SL_RECORD_REPLAY | SL_RECORD_DROPPED))
/* What a tombstone has lost. */
#define LOST (1u << KEY_KEY | 1u << KEY_HEADERS | 1u << KEY_TENANT | 1u << KEY_SOURCE)

/* ---- encode ---- */

static void encode_attributes(const sl_parts *parts, const sl_slice ids[3], unsigned kinds, sl_buf *out) {
  bool topic = parts->topic_id == SL_NAME_INLINE && parts->topic.len > 0;
  bool type = parts->type_id == SL_NAME_INLINE && parts->type.len > 0;
  bool replay = parts->flags & SL_RECORD_REPLAY, dropped = parts->flags & SL_RECORD_DROPPED;
  uint32_t count = (parts->key.data != NULL) + (parts->header_count > 0) + (parts->tenant.len > 0) +
                   (parts->source.len > 0) + topic + type + replay + dropped;
  for (int i = 0; i < 3; i++) count += (kinds >> (2 * i) & 3) == KIND_TEXT;
  if (count == 0) return;

  msgpack_packer pk;
  pack_init(&pk, out);
  msgpack_pack_map(&pk, count);
  if (parts->key.data) {
    pack_uint(&pk, KEY_KEY);
    pack_bytes(&pk, parts->key);
  }
  if (parts->header_count > 0) {
    pack_uint(&pk, KEY_HEADERS);
    msgpack_pack_array(&pk, parts->header_count * 2);
    for (size_t i = 0; i < parts->header_count; i++) {
      pack_text(&pk, parts->headers[i].name);
      pack_bytes(&pk, parts->headers[i].value);
    }
  }
  if (parts->tenant.len > 0) {
    pack_uint(&pk, KEY_TENANT);
    pack_text(&pk, parts->tenant);
  }
  if (parts->source.len > 0) {
    pack_uint(&pk, KEY_SOURCE);
    pack_text(&pk, parts->source);
  }
  for (unsigned i = 0; i < 3; i++) {
    if ((kinds >> (2 * i) & 3) != KIND_TEXT) continue;
    pack_uint(&pk, KEY_EVENT_ID + i);
    pack_text(&pk, ids[i]);
  }
  if (topic) {
    pack_uint(&pk, KEY_TOPIC);
    pack_text(&pk, parts->topic);
  }
  if (type) {
    pack_uint(&pk, KEY_TYPE);
    pack_text(&pk, parts->type);
  }
  if (replay) {
    pack_uint(&pk, KEY_ORIGIN_SEQ);
    pack_uint(&pk, parts->origin_seq);
  }
  if (dropped) {
    pack_uint(&pk, KEY_DROPPED_AT);
    pack_uint(&pk, (uint64_t)parts->dropped_us);
  }
}

/* A length for a sum that must not wrap: what is larger is refused in any case. */
static uint64_t at_most(size_t len) { return len > SL_MAX_ATTRIBUTES ? SL_MAX_ATTRIBUTES + 1u : len; }

sl_status sl_record_encode(const sl_parts *parts, sl_buf *out) {
  const bool lost = !parts->key.data && !parts->header_count && !parts->tenant.len && !parts->source.len &&
                    !parts->value.len && parts->dropped_us > 0;
  if (parts->topic_id > UINT16_MAX || parts->type_id > UINT16_MAX || (parts->flags & ~FLAGS) ||
      ((parts->flags & SL_RECORD_DROPPED) && !lost))
    return sl_fail(SL_E_INVALID, "record: topic number %u, type number %u or flags %#x out of range",
                   parts->topic_id, parts->type_id, parts->flags);
  /* Refused before it is packed: the headers could be larger than memory. */
  uint64_t about = (uint64_t)parts->key.len + parts->tenant.len + parts->source.len;
  for (size_t i = 0; i < parts->header_count && about <= SL_MAX_ATTRIBUTES; i++)
    about += at_most(parts->headers[i].name.len) + at_most(parts->headers[i].value.len) + 2;
  const sl_slice ids[3] = {parts->event_id, parts->correlation_id, parts->causation_id};
  for (int i = 0; i < 3; i++) about += ids[i].len > 36 ? ids[i].len : 0;
  if (parts->topic_id == SL_NAME_INLINE) about += parts->topic.len;
  if (parts->type_id == SL_NAME_INLINE) about += parts->type.len;
  if (about > SL_MAX_ATTRIBUTES)
    return sl_fail(SL_E_TOO_LARGE, "key, headers, tenant, source and ids take more than %u bytes",
                   SL_MAX_ATTRIBUTES);
  if (parts->value.len > SL_MAX_VALUE)
    return sl_fail(SL_E_TOO_LARGE, "the value has %zu bytes, a record can hold %u", parts->value.len,
                   SL_MAX_VALUE);

  size_t start = out->len;
  uint8_t uuids[3][16];
  unsigned kinds = 0;
  for (int i = 0; i < 3; i++) {
    unsigned kind = ids[i].len == 0 ? KIND_NONE : sl_uuid_parse(ids[i], uuids[i]) ? KIND_UUID : KIND_TEXT;
    kinds |= kind << (2 * i);
  }
  sl_buf_extend(out, HEAD);
  for (int i = 0; i < 3; i++)
    if ((kinds >> (2 * i) & 3) == KIND_UUID) sl_buf_append(out, uuids[i], 16);
  size_t attr_start = out->len;
  encode_attributes(parts, ids, kinds, out);
  size_t attr_len = out->len - attr_start;
  sl_buf_append(out, parts->value.data, parts->value.len);

  if (out->failed) {
    out->len = start;
    return sl_fail(SL_E_NOMEM, "out of memory for a record of %zu bytes", parts->value.len + attr_len + HEAD);
  }
  if (attr_len > SL_MAX_ATTRIBUTES) {
    out->len = start;
    return sl_fail(SL_E_TOO_LARGE, "key, headers, tenant, source and ids take %zu bytes, at most %u may",
                   attr_len, SL_MAX_ATTRIBUTES);
  }
  uint8_t *p = out->data + start;
  p[AT_FLAGS] = (uint8_t)parts->flags;
  p[AT_KINDS] = (uint8_t)kinds;
  p[AT_SPARE] = 0;
  sl_put_u64(p + AT_APPENDED, (uint64_t)parts->appended_us);
  sl_put_u64(p + AT_OCCURRED, (uint64_t)parts->occurred_us);
  sl_put_u32(p + AT_CLAMP, parts->clamp_us);
  sl_put_u16(p + AT_TOPIC, (uint16_t)parts->topic_id);
  sl_put_u16(p + AT_TYPE, (uint16_t)parts->type_id);
  sl_put_u32(p + AT_ATTR_LEN, (uint32_t)attr_len);
  sl_put_u32(p + AT_VALUE_LEN, (uint32_t)parts->value.len);
  frame_seal(p, out->len - start, VERSION);
  return SL_OK;
}

/* ---- decode ---- */

static sl_status damaged(const char *why) { return frame_damaged("record", why); }

/* Reads `pairs` headers of the array at `in` and checks each; `out` may be NULL. */
static bool read_headers(unpack *in, size_t pairs, sl_header *out) {
  for (size_t i = 0; i < pairs; i++) {
    sl_header header;
    if (!unpack_text(in, &header.name) || !unpack_bytes(in, &header.value)) return false;
    if (out) out[i] = header;
  }
  return true;
}

typedef enum extent { NAMES, FRONT, WHOLE } extent;

static const char *decode_attributes(sl_slice bytes, unsigned kinds, bool all, sl_parts *parts, sl_header *room,
                                     size_t cap) {
  unpack in = unpack_of(bytes);
  uint32_t pairs = 0;
  unsigned seen = 0;
  uint64_t last = 0;
  bool ok = true;
  if (bytes.len > 0 && (!unpack_map(&in, &pairs) || pairs == 0)) return "its attributes are not a map";
  sl_slice *texts[] = {&parts->event_id, &parts->correlation_id, &parts->causation_id, &parts->topic,
                       &parts->type};
  for (uint32_t i = 0; i < pairs; i++) {
    uint64_t key;
    if (!unpack_uint(&in, &key) || key <= last) return "its attributes' keys are not ascending numbers";
    last = key;
    const bool known = key <= KEY_ORIGIN_SEQ || key == KEY_DROPPED_AT;
    if (known) seen |= 1u << key;
    bool wanted = all || key >= KEY_EVENT_ID;
    if (!wanted || !known) {
      ok = unpack_skip(&in);
    } else if (key == KEY_KEY) {
      ok = unpack_bytes(&in, &parts->key);
    } else if (key == KEY_HEADERS) {
      uint32_t count = 0;
      ok = unpack_array(&in, &count) && count > 0 && count % 2 == 0;
      const uint8_t *from = in.at;
      const bool fits = room && count / 2 <= cap;
      ok = ok && read_headers(&in, count / 2, fits ? room : NULL);
      if (fits) parts->headers = room;
      parts->header_count = count / 2;
      parts->headers_raw = (sl_slice){from, (size_t)(in.at - from)};
    } else if (key == KEY_TENANT || key == KEY_SOURCE) {
      sl_slice *text = key == KEY_TENANT ? &parts->tenant : &parts->source;
      ok = unpack_text(&in, text) && text->len > 0;
    } else if (key == KEY_ORIGIN_SEQ) {
      ok = unpack_uint(&in, &parts->origin_seq);
    } else if (key == KEY_DROPPED_AT) {
      uint64_t us = 0;
      ok = unpack_uint(&in, &us) && us > 0 && us <= INT64_MAX;
      parts->dropped_us = (int64_t)us;
    } else {
      sl_slice *text = texts[key - KEY_EVENT_ID];
      uint8_t uuid[16];
      ok = unpack_text(&in, text) && text->len > 0 && (key > KEY_CAUSATION_ID || !sl_uuid_parse(*text, uuid));
    }
    if (!ok) return "an attribute is not of its kind";
  }
  if (unpack_left(&in) > 0) return "bytes are left behind its attributes";

  for (unsigned i = 0; i < 3; i++)
    if (((kinds >> (2 * i) & 3) == KIND_TEXT) != (seen >> (KEY_EVENT_ID + i) & 1))
      return "an id is missing or stands twice";
  if ((seen >> KEY_TOPIC & 1) && parts->topic_id != SL_NAME_INLINE) return "its topic stands twice";
  if ((seen >> KEY_TYPE & 1) && parts->type_id != SL_NAME_INLINE) return "its type stands twice";
  if ((parts->flags & SL_RECORD_REPLAY) != (seen >> KEY_ORIGIN_SEQ & 1))
    return "origin and replay flag disagree";
  bool dropped = parts->flags & SL_RECORD_DROPPED;
  if (dropped != (seen >> KEY_DROPPED_AT & 1)) return "time of the drop and dropped flag disagree";
  if (dropped && (seen & LOST)) return "it was dropped, but has an attribute that went with the value";
  return NULL;
}

static sl_status decode(sl_slice bytes, sl_parts *parts, extent part) {
  const bool all = part == WHOLE;
  const uint8_t *p = bytes.data;
  sl_status status = frame_check(bytes, HEAD, all, VERSION, "record");
  if (status) return status;
  unsigned kinds = p[AT_KINDS];
  if ((p[AT_FLAGS] & ~FLAGS) || p[AT_SPARE] || kinds > 0x3f)
    return damaged("a field of its header is out of range");

  size_t ids_len = 0;
  for (int i = 0; i < 3; i++) {
    unsigned kind = kinds >> (2 * i) & 3;
    if (kind > KIND_TEXT) return damaged("an id is of no known kind");
    if (kind == KIND_UUID) ids_len += 16;
  }
  uint64_t attr_len = sl_get_u32(p + AT_ATTR_LEN), value_len = sl_get_u32(p + AT_VALUE_LEN);
  if (HEAD + ids_len + attr_len + value_len != bytes.len) return damaged("its lengths do not add up");
  if (attr_len > SL_MAX_ATTRIBUTES || value_len > SL_MAX_VALUE) return damaged("a length is out of range");
  if ((p[AT_FLAGS] & SL_RECORD_DROPPED) && value_len > 0) return damaged("it was dropped, but has a value");

  parts->flags = p[AT_FLAGS];
  parts->appended_us = (int64_t)sl_get_u64(p + AT_APPENDED);
  parts->occurred_us = (int64_t)sl_get_u64(p + AT_OCCURRED);
  parts->clamp_us = sl_get_u32(p + AT_CLAMP);
  parts->topic_id = sl_get_u16(p + AT_TOPIC);
  parts->type_id = sl_get_u16(p + AT_TYPE);
  parts->topic = parts->type = parts->key = parts->tenant = parts->source = (sl_slice){0};
  parts->origin_seq = 0;
  parts->dropped_us = 0;
  parts->header_count = 0;
  parts->headers_raw = (sl_slice){0};
  parts->headers = NULL;
  parts->value = (sl_slice){0};

  sl_slice *ids[3] = {&parts->event_id, &parts->correlation_id, &parts->causation_id};
  const uint8_t *at = p + HEAD;
  bool texts = false;
  for (int i = 0; i < 3; i++) {
    unsigned kind = kinds >> (2 * i) & 3;
    *ids[i] = (sl_slice){0};
    if (kind == KIND_TEXT) texts = true;
    if (kind != KIND_UUID) continue;
    if (part != NAMES) {
      sl_uuid_format(at, parts->id_text[i]);
      *ids[i] = (sl_slice){parts->id_text[i], 36};
    }
    at += 16;
  }
  if (all || texts || !parts->topic_id || !parts->type_id || parts->flags) {
    const char *wrong = decode_attributes((sl_slice){at, (size_t)attr_len}, kinds, all, parts, NULL, 0);
    if (wrong) return damaged(wrong);
  }
  if (all) parts->value = (sl_slice){at + attr_len, (size_t)value_len};
  return SL_OK;
}

sl_status sl_record_attributes(sl_slice bytes, sl_parts *parts, sl_header *room, size_t cap) {
  const uint8_t *p = bytes.data;
  const unsigned kinds = p[AT_KINDS];
  size_t at = HEAD;
  for (int i = 0; i < 3; i++) at += (kinds >> (2 * i) & 3) == KIND_UUID ? 16 : 0;
  const char *wrong = decode_attributes((sl_slice){p + at, sl_get_u32(p + AT_ATTR_LEN)}, kinds, true, parts, room,
                                        cap);
  return wrong ? damaged(wrong) : SL_OK;
}

sl_status sl_record_decode(sl_slice bytes, sl_parts *parts) { return decode(bytes, parts, WHOLE); }
sl_status sl_record_peek(sl_slice bytes, sl_parts *parts) { return decode(bytes, parts, FRONT); }
sl_status sl_record_peek_names(sl_slice bytes, sl_parts *parts) { return decode(bytes, parts, NAMES); }

sl_status sl_record_headers(const sl_parts *parts, sl_header *out) {
  unpack in = unpack_of(parts->headers_raw);
  if (!read_headers(&in, parts->header_count, out) || unpack_left(&in) > 0) return damaged("its headers");
  return SL_OK;
}

/* ---- changes ---- */

void sl_record_set_appended(uint8_t *bytes, size_t len, int64_t appended_us) {
  sl_put_u64(bytes + AT_APPENDED, (uint64_t)appended_us);
  frame_seal(bytes, len, VERSION);
}

void sl_record_set_clamp(uint8_t *bytes, size_t len, uint32_t clamp_us) {
  sl_put_u32(bytes + AT_CLAMP, clamp_us);
  frame_seal(bytes, len, VERSION);
}

sl_status sl_record_renumber(sl_slice bytes, uint32_t topic_id, uint32_t type_id, sl_buf *out) {
  sl_parts parts;
  sl_status status = sl_record_decode(bytes, &parts);
  if (status != SL_OK) return status;
  sl_header *headers = parts.header_count ? calloc(parts.header_count, sizeof *headers) : NULL;
  if (parts.header_count && !headers) return sl_fail(SL_E_NOMEM, "out of memory");
  if (headers) status = sl_record_headers(&parts, headers);
  parts.headers = headers;
  if (topic_id != SL_NAME_INLINE) parts.topic_id = topic_id;
  if (type_id != SL_NAME_INLINE) parts.type_id = type_id;
  if (status == SL_OK) status = sl_record_encode(&parts, out);
  free(headers);
  return status;
}

sl_status sl_record_drop(sl_slice bytes, int64_t dropped_us, sl_buf *out) {
  sl_parts parts;
  sl_status status = sl_record_decode(bytes, &parts);
  if (status != SL_OK) return status;
  parts.flags |= SL_RECORD_DROPPED;
  parts.dropped_us = dropped_us > 0 ? dropped_us : 1;
  parts.key = parts.tenant = parts.source = parts.value = (sl_slice){0};
  parts.header_count = 0;
  return sl_record_encode(&parts, out);
}
