/* What --check wants to know of the store: which topics will be written, and the largest event for each. */
#ifndef SYNC_CHECK_STORE_H
#define SYNC_CHECK_STORE_H
#include "settings.h"
#include "delivery/delivery.h"

typedef struct check_topic {
  char name[256];
  uint64_t pending;       /* events that wait; 0: only a rule names it */
  size_t largest;         /* bytes of the largest of them, as a record */
  uint64_t largest_seq;
} check_topic;

typedef struct check_topics {
  check_topic *list;
  size_t count, cap;
  uint64_t looked;        /* pending events that were looked at */
  bool all;               /* and there are no more */
} check_topics;

/* The topics of pending events (of the first CHECK_EVENTS of them), then those that a topic rule names without a
 * glob. `store` and `book` may be NULL: then only the rules'. */
enum { CHECK_EVENTS = 500000 };
sl_status check_topics_find(check_topics *topics, sl_store *store, const delivery_state *book,
                            const settings *settings);
void check_topics_free(check_topics *topics);
#endif
