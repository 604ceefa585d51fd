/* Masks secrets in copies of events: what leaves the store for people's eyes. Pure. Contract: sidelog/dead.h. */
#ifndef SL_ENVELOPE_REDACT_H
#define SL_ENVELOPE_REDACT_H
#include "base/base.h"

#define REDACTED "[redacted]"

/* Appends the text without its secrets. *json (may be NULL): it is one JSON value. False: out of memory. */
bool redact(sl_slice text, sl_buf *out, bool *json);
/* Does the name of a field or header say that its value is a secret? */
bool redact_name(sl_slice name);
#endif
