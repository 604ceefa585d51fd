/* The audit trail of dropped dead letters: numbered notes in a table with text keys, `audit-` and 16
 * hexadecimal digits. It outlives the events, and is bounded by number and age (SL_DROPS_MOST, SL_DROPS_DAYS). */
#ifndef SL_STORE_AUDIT_H
#define SL_STORE_AUDIT_H
#include "format/reader.h"
#include "store/store.h"

#include <sidelog/dead.h>

#define AUDIT_PREFIX "audit-"

/* Gives the note its number and time, adds it, and lets old ones go. */
sl_status audit_add(db_txn *txn, unsigned table, sl_drop_note *note);
/* Who drops it and why: 1 to 255 bytes of UTF-8 each. SL_E_INVALID. */
sl_status audit_check(sl_slice who, sl_slice why);
/* Those of `reader` (empty: delivery; "*": any), oldest first. fn is called outside of transactions. */
sl_status audit_each(db_env *env, unsigned table, sl_slice reader, sl_drop_fn *fn, void *arg);
/* For verify: is it such a note, and whole? SL_NOTFOUND: it is none. SL_E_CORRUPT. */
sl_status audit_note_check(sl_slice key, sl_slice value);
#endif
