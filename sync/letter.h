/* The copy of a dead letter as it goes to its dead-letter topic: payload, key and headers, with every secret
 * masked. Pure. docs/dead-letters.md has the three shapes. */
#ifndef SYNC_LETTER_H
#define SYNC_LETTER_H
#include "settings.h"
#include "base/base.h"

#define LETTER_HEADERS 16 /* of ours; the event's come behind */

typedef struct letter {
  sl_buf value;
  sl_buf texts;        /* backing of key and headers */
  sl_slice key;        /* the event's, or its id where it has none: a dead-letter topic may be compacted */
  sl_header *headers;
  size_t header_count, header_cap;
} letter; /* zeroed is valid; used again and again; letter_free ends it */

typedef struct letter_place {
  const char *topic;   /* the dead-letter topic */
  const char *store;   /* id of the sending store */
  letter_profile profile;
  bool slim;           /* without the event's value: its topic takes no record of that size */
} letter_place;

/* False: out of memory. */
bool letter_make(letter *l, const sl_record *r, const letter_place *place);
size_t letter_size(const letter *l); /* bytes in a batch, a little rounded up */
void letter_free(letter *l);
#endif
