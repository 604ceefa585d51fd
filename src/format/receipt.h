/* The codec of receipts, packed: what became of a run of events. Pure, fuzzed.
 * A block holds consecutive seqs from its key on, fixed stride, at most 64 KiB. */
#ifndef SL_FORMAT_RECEIPT_H
#define SL_FORMAT_RECEIPT_H
#include "base/base.h"

typedef enum sl_verdict {
  SL_VERDICT_NONE = 0,      /* a hole: no event with this seq was in the log when the block was written */
  SL_VERDICT_SENT = 1,      /* partition, offset */
  SL_VERDICT_DUPLICATE = 2, /* place: seq of the first */
  SL_VERDICT_DEAD = 3,      /* details under dead/<seq> */
  SL_VERDICT_DROPPED = 4,   /* details under dead/<seq>, as for DEAD */
  SL_VERDICT_LANE = 5       /* skipped by the main cursor; its lane decides; place: XXH3-64 of the topic */
} sl_verdict;

typedef struct sl_receipt {
  uint8_t verdict;   /* sl_verdict */
  int32_t partition; /* SENT; else -1 */
  int64_t place;     /* SENT: offset or -1; DUPLICATE: seq; LANE: hash */
} sl_receipt;

#define SL_RECEIPT_STRIDE 16u
#define SL_RECEIPT_BLOCK_MAX 4000u /* entries: header and entries stay below 64 KiB */

typedef struct sl_receipt_block {
  uint64_t first_seq;
  uint64_t attempt;     /* the delivery attempt that wrote it; never reused */
  int64_t settled_us;   /* wall clock of the attempt's acknowledgement */
  uint32_t count;
  const uint8_t *entries; /* decoding: into the bytes */
} sl_receipt_block;

/* Appends a block of `count` (1..SL_RECEIPT_BLOCK_MAX) receipts. Fields that a verdict does not use are
 * ignored: they are written as -1 (partition) and 0 (place). SL_E_NOMEM, SL_E_INVALID (an unknown verdict,
 * SENT without a partition, DUPLICATE without a seq). */
sl_status sl_receipt_block_encode(const sl_receipt_block *head, const sl_receipt *receipts, sl_buf *out);
/* Checks form and CRC. SL_E_CORRUPT, SL_E_VERSION. */
sl_status sl_receipt_block_decode(sl_slice bytes, sl_receipt_block *block);
/* Header only, no CRC: for point look-ups, whose entry is checked by verify and on write. */
sl_status sl_receipt_block_peek(sl_slice bytes, sl_receipt_block *block);
sl_status sl_receipt_at(const sl_receipt_block *block, uint64_t seq, sl_receipt *out); /* SL_NOTFOUND */

/* A dead letter (or a drop): why an event was not delivered. MessagePack map in a CRC'd frame. */
typedef struct sl_letter {
  uint64_t seq;
  uint64_t attempt;          /* of the delivery that wrote it */
  int64_t first_failure_us, last_failure_us;
  uint32_t attempts;         /* deliveries tried of this event */
  int32_t code;              /* rd_kafka_resp_err_t, or 0 */
  sl_slice error_class;      /* "NON_RETRYABLE_VALIDATION" ...; like error_code and topic at most 255 bytes */
  sl_slice error_code;       /* "MSG_SIZE_TOO_LARGE" ... */
  sl_slice error_text;       /* cut to 1,024 bytes by the encoder, between characters */
  sl_slice topic;
  sl_slice dropped_by;       /* a dead letter that a person dropped: who, when and why; at most 255 bytes each */
  sl_slice drop_reason;
  int64_t dropped_us;        /* 0: nobody did */
} sl_letter;
/* SL_E_INVALID (a text too long), SL_E_NOMEM. */
sl_status sl_letter_encode(const sl_letter *letter, sl_buf *out);
/* Slices point into bytes. SL_E_CORRUPT, SL_E_VERSION. */
sl_status sl_letter_decode(sl_slice bytes, sl_letter *letter);

/* A topic was deleted and created again: what was sent before lies no longer where its receipts say. */
typedef struct sl_recreation {
  uint64_t attempt, seq;     /* receipts of earlier attempts, and its own below seq, are of the topic before */
  int64_t noticed_us;        /* wall clock */
  sl_slice topic;            /* 1 to 255 bytes */
} sl_recreation;
#define SL_RECREATION_MOST (32u + 255u)
/* Writes it to `out` and says how many bytes that are; 0: the topic's name is empty or too long. */
size_t sl_recreation_encode(const sl_recreation *mark, uint8_t out[SL_RECREATION_MOST]);
/* The topic points into bytes. SL_E_CORRUPT, SL_E_VERSION. */
sl_status sl_recreation_decode(sl_slice bytes, sl_recreation *mark);
bool sl_recreation_covers(const sl_recreation *mark, uint64_t attempt, uint64_t seq);
#endif
