/* What a secret looks like. */
#ifndef SL_ENVELOPE_REDACT_SHAPES_H
#define SL_ENVELOPE_REDACT_SHAPES_H
#include "redact.h"

/* Length of the secret's shape that begins at `at`, 0: none does. The first *keep bytes of it are not secret.
 * *barren (0 at first, one for all places of a text) keeps what was learned: else the time could go with the
 * square of the length. */
size_t shape_at(sl_slice text, size_t at, size_t *keep, size_t *barren);
#endif
