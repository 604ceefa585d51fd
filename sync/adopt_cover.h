/* What a marker covers of a store whose book is behind it: events that an earlier life of the store delivered. */
#ifndef SYNC_ADOPT_COVER_H
#define SYNC_ADOPT_COVER_H
#include "delivery/delivery.h"

typedef struct cover_topic {  /* a topic with a lane in the book or in the marker */
  char name[256];
  size_t len;
  bool waits;                 /* its lane in the book, and where */
  uint64_t lane_seq;
  uint64_t goal;              /* settled up to here, once the cover is taken */
} cover_topic;

typedef struct cover {
  sl_store *store;
  bool readable;              /* the marker is a progress */
  sl_progress there;          /* its lanes are gone */
  uint64_t attempt;
  uint64_t from, to;          /* the cursor moves between them */
  uint64_t covered;           /* events that become delivered */
  cover_topic *topics;        /* ascending by name */
  size_t topic_count;
} cover;

/* Counts. An event is covered if it lies at or below the marker's seq for its topic and was appended no later than
 * the marker was written (`marker_ms`): seqs beyond the backup were given anew, to events that nobody ever sent.
 * Indexes what is not indexed yet. A marker that cannot be read covers nothing. */
sl_status cover_find(cover *c, sl_store *store, const delivery_state *book, sl_slice marker, int64_t marker_ms);

/* Settles what cover_find counted as sent, where is not known; in steps, each durable and complete in itself. An
 * intent of unknown outcome is abandoned first. */
sl_status cover_take(cover *c, sl_delivery *delivery);

void cover_free(cover *c); /* zeroed ones too */
#endif
