/* The inside of history.c, image.c, replay.c and doors.c: how records are written and read. */
#ifndef SYNC_CORE_HISTORY_PACK_H
#define SYNC_CORE_HISTORY_PACK_H
#include "core/history.h"
#include "core/inner.h"

enum { /* the first byte of a record */
  CALL_STEP = 1, CALL_OFFER, CALL_OFFER_DROPPED, CALL_BEGUN, CALL_QUEUE_FULL, CALL_REFUSED, CALL_DELIVERED,
  CALL_LETTER_READY, CALL_OFFER_LETTER, CALL_LETTER_GONE
};

/* What the numbers of the next record are told against. */
typedef struct history_base {
  int64_t now_us, wall_us;
  uint64_t seq, tag;
  int64_t appended_us;
  fault why;
} history_base;

typedef struct history {
  core_recorder to;
  sl_buf record;       /* the one being made */
  bool begun, wanted;  /* wanted: a new one, as soon as the core can be imaged */
  uint64_t written;
  history_base base;
} history;

/* The core without a transaction in hand, as bytes that this build can read. core_image_load: NULL where they are
 * not whole, or of another build. *used: how many bytes it took. */
bool core_image_save(const core *c, sl_buf *out);
core *core_image_load(sl_slice bytes, size_t *used);
bool core_image_fits(const core *c); /* nothing is in hand */

/* Writes records into memory of the caller's; the core has just been loaded from the image before them. */
history *history_of_replay(const core_recorder *to);

void history_free(history *h);

/* doors.c tells a call's arguments before it is made and its results afterwards; NULL is fine. */
void history_step(history *h, const core *c, const core_event *e);
void history_step_end(history *h, core *c, const core_actions *out);
void history_offer(history *h, const core *c, const core_record *r, int64_t now_us);
void history_offer_end(history *h, core_offer_result result, uint64_t tag);
void history_dropped(history *h, uint64_t seq, sl_slice topic, sl_slice class_, sl_slice text, int64_t dropped_us);
void history_letter(history *h, unsigned call, uint64_t number, sl_slice topic, size_t size, int64_t now_us);
void history_begun(history *h);
void history_queue_full(history *h, size_t size);
void history_refused(history *h, uint64_t tag, const fault *why, int64_t wall_us);
void history_delivered(history *h, uint64_t tag, int32_t partition, int64_t offset, const fault *why);
void history_result(history *h, unsigned result); /* of offer_dropped, queue_full, refused */

static inline uint64_t zigzag(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }
static inline int64_t unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }
#endif
