/* The codecs of readers/: a reader's state, what it has not done with, and the audit trail of drops. Pure. */
#ifndef SL_FORMAT_READER_H
#define SL_FORMAT_READER_H
#include "base/base.h"
#include "format/receipt.h"

typedef struct sl_reader_totals {
  uint64_t seen, acked, dead, dropped, missed;
} sl_reader_totals;

#define SL_READER_FLAGS_KEPT (1u << 0 | 1u << 2) /* SL_READER_HOLD_TRIM, SL_READER_TOGETHER */

typedef struct sl_reader_state {
  uint32_t id;             /* in the keys of its entries; never given twice in a store */
  uint32_t flags;          /* of SL_READER_FLAGS_KEPT */
  uint32_t max_attempts;
  uint64_t seq;            /* seen up to here */
  uint64_t born;           /* the log's newest event when it was created; 0: it held none */
  uint64_t expected;       /* events in front of it, up to `born`, that were kept then and that it has not come
                              to */
  sl_reader_totals totals;
  uint64_t commits;        /* by the reader itself */
  uint64_t changes;        /* by others: dead letters sent again or dropped */
  int64_t created_us, committed_us;
  sl_slice topics, types;  /* at most 4,096 bytes each */
} sl_reader_state;
/* SL_E_NOMEM. */
sl_status sl_reader_state_encode(const sl_reader_state *state, sl_buf *out);
/* Slices point into bytes. SL_E_CORRUPT, SL_E_VERSION. */
sl_status sl_reader_state_decode(sl_slice bytes, sl_reader_state *state);

/* An event that its reader has not done with: open, or a dead letter. */
typedef struct sl_reader_entry {
  uint64_t seq;
  uint64_t lane;           /* XXH3-64 of topic and key: the unit of order */
  int64_t next_us;         /* not handed out before; 0: at once */
  uint32_t attempts;       /* failures since it was sent again last */
  uint32_t replays;
  bool has_letter;         /* it has failed ever */
  sl_letter letter;        /* attempt 0; attempts: of all times */
} sl_reader_entry;
/* SL_E_INVALID (a text of the letter is too long), SL_E_NOMEM. */
sl_status sl_reader_entry_encode(const sl_reader_entry *entry, sl_buf *out);
sl_status sl_reader_entry_decode(sl_slice bytes, sl_reader_entry *entry); /* slices point into bytes */

/* A dead letter that a person gave up. */
#define SL_DROP_TEXTS 8u
typedef struct sl_drop_note {
  uint64_t number, seq;
  int64_t dropped_us;
  sl_slice texts[SL_DROP_TEXTS]; /* reader, event id, topic, type, class, code, who, why; at most 255 bytes each */
} sl_drop_note;
enum { DROP_READER, DROP_EVENT_ID, DROP_TOPIC, DROP_TYPE, DROP_CLASS, DROP_CODE, DROP_WHO, DROP_WHY };
sl_status sl_drop_note_encode(const sl_drop_note *note, sl_buf *out); /* SL_E_INVALID, SL_E_NOMEM */
sl_status sl_drop_note_decode(sl_slice bytes, sl_drop_note *note);
#endif
