/* The codec of a log record. Pure: no I/O, no clock, no allocation but the caller's buffer. Fuzzed.
 * docs/disk-format.md specifies every byte; the golden files hold both to it. */
#ifndef SL_FORMAT_RECORD_H
#define SL_FORMAT_RECORD_H
#include "base/base.h"

/* A name (topic or type) by its number in the store's dictionary; 0: the record carries the name itself. */
#define SL_NAME_INLINE 0u

enum {
  SL_RECORD_REPLAY = 1u << 0,  /* a copy of the dead letter `origin_seq`, to be delivered in its place */
  SL_RECORD_DROPPED = 1u << 1  /* a tombstone: a full store gave the event up at dropped_us, undelivered. Its ids,
                                  times, topic, type are left; key, headers, tenant, source and value are gone */
};

/* A record in its parts. In encoding all slices are inputs; in decoding they point into the encoded
 * bytes, except that ids decoded from 16 bytes are formatted into `id_text`: so a decoded one must not be
 * copied by assignment. After a failed decode its contents mean nothing. */
typedef struct sl_parts {
  uint32_t flags;             /* SL_RECORD_* */
  int64_t appended_us;        /* raw wall clock */
  uint32_t clamp_us;          /* appended_us + clamp_us: the clamped time, which never steps back in an era */
  int64_t occurred_us;        /* 0: unknown */
  uint32_t topic_id, type_id; /* dictionary numbers, or SL_NAME_INLINE with the names below */
  sl_slice topic, type;       /* only when inline */
  sl_slice event_id, correlation_id, causation_id;
  sl_slice key;               /* data NULL: none */
  sl_slice tenant, source;
  uint64_t origin_seq;        /* with SL_RECORD_REPLAY */
  int64_t dropped_us;         /* with SL_RECORD_DROPPED, above 0 */
  size_t header_count;
  sl_slice headers_raw;       /* decoding: the MessagePack of the headers; sl_record_headers reads them */
  const sl_header *headers;   /* encoding; of decoded ones see sl_record_attributes */
  sl_slice value;
  char id_text[3][36];        /* decoding: backing of the three ids when they were stored as UUIDs */
} sl_parts;

/* Appends the encoded record, CRC included, to `out`. SL_E_TOO_LARGE (attributes above
 * SL_MAX_ATTRIBUTES, value above SL_MAX_VALUE), SL_E_NOMEM; `out` is then as long as before. Field rules are
 * checked by the store, not here; SL_E_INVALID for a dictionary number above 65,535 and unknown flags. */
sl_status sl_record_encode(const sl_parts *parts, sl_buf *out);

/* Decodes `bytes`. Checks lengths, the CRC and the MessagePack's form; never reads outside `bytes`.
 * SL_E_CORRUPT, SL_E_VERSION (a record version above ours). */
sl_status sl_record_decode(sl_slice bytes, sl_parts *parts);

/* The fixed header alone, without the CRC over the value: for scans that look at times, names and ids only.
 * Fills everything but key, tenant, source, headers, value; long ids and inline names are filled too.
 * Same errors, except that damage in what it does not read goes unseen. */
sl_status sl_record_peek(sl_slice bytes, sl_parts *parts);

/* The same without ids, which may be empty afterwards. */
sl_status sl_record_peek_names(sl_slice bytes, sl_parts *parts);

/* What is missing of a record that was peeked at, and parts filled from it: key, tenant, source, headers. Neither
 * the value nor the CRC over it is looked at. If `room` has place for all its headers, they are filled in there,
 * and parts->headers points at them; else it stays NULL. SL_E_CORRUPT. */
sl_status sl_record_attributes(sl_slice bytes, sl_parts *parts, sl_header *room, size_t cap);

/* Changes of a record that is encoded already, for whoever puts it into the log in another's place. */
/* Gives the record in `bytes`, which is sound, another append time, or another clamp. */
void sl_record_set_appended(uint8_t *bytes, size_t len, int64_t appended_us);
void sl_record_set_clamp(uint8_t *bytes, size_t len, uint32_t clamp_us);
/* Appends the record with names that stand in it replaced by their numbers (SL_NAME_INLINE: left as it is).
 * SL_E_CORRUPT, SL_E_NOMEM; `out` is then as long as before. */
sl_status sl_record_renumber(sl_slice bytes, uint32_t topic_id, uint32_t type_id, sl_buf *out);

/* Fills out[0..parts->header_count). The slices point into the record. SL_E_CORRUPT. */
sl_status sl_record_headers(const sl_parts *parts, sl_header *out);

/* Appends the tombstone of the record to `out`. SL_E_CORRUPT, SL_E_NOMEM. */
sl_status sl_record_drop(sl_slice bytes, int64_t dropped_us, sl_buf *out);
#endif
