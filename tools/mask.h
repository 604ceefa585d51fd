/* Records without the secrets of well-known shapes. */
#ifndef TOOLS_MASK_H
#define TOOLS_MASK_H

#include "text.h"

enum { MASK_FIELDS = 14 };

/* Zeroed is empty. */
typedef struct mask {
  sl_record record;
  text parts[MASK_FIELDS];
  sl_header *headers;
  text *values;
  size_t header_cap;
  bool failed; /* out of memory: what it returned is not masked */
} mask;

/* The masked record lives until the next one. */
const sl_record *mask_record(mask *m, const sl_record *r);
/* False: out of memory. */
bool mask_words(text *out, sl_slice words);
void mask_free(mask *m);
#endif
