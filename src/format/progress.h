/* The codec of the delivery's progress: the one value that the agent keeps locally as cursor and intent,
 * and writes to the broker as the marker of each transaction. Equal progress has equal bytes, so
 * reconciliation compares bytes. Pure, fuzzed. */
#ifndef SL_FORMAT_PROGRESS_H
#define SL_FORMAT_PROGRESS_H
#include "base/base.h"

#define SL_LANES_MAX 1024u

typedef struct sl_lane {
  sl_slice topic;
  uint64_t seq; /* every event of the topic up to here is settled */
} sl_lane;

typedef struct sl_progress {
  uint64_t seq;            /* every event up to here is settled, but those of lanes beyond their lane's seq */
  uint64_t dlq_no;         /* dead-letter copies published so far */
  uint64_t attempt;        /* number of the delivery attempt; ascends, never reused */
  uint8_t incarnation[16]; /* random per agent start */
  size_t lane_count;
  const sl_lane *lanes;    /* ascending by topic bytes, each topic once */
} sl_progress;

/* SL_E_INVALID: lanes out of order, too many, of no legal topic, or a lane's seq above seq. SL_E_NOMEM. */
sl_status sl_progress_encode(const sl_progress *progress, sl_buf *out);
/* `lanes` has room for SL_LANES_MAX; topics point into bytes. SL_E_CORRUPT, SL_E_VERSION. */
sl_status sl_progress_decode(sl_slice bytes, sl_progress *progress, sl_lane *lanes);
#endif
