/* What records, blocks of receipts and letters have in common, in every version: the version in byte 0, the
 * CRC-32C of all other bytes in bytes 4 to 7. So a reader can tell damage from what is newer than itself. */
#ifndef SL_FORMAT_FRAME_H
#define SL_FORMAT_FRAME_H
#include "base/base.h"

/* Writes version and CRC of the finished frame. */
void frame_seal(uint8_t *frame, size_t len, uint8_t version);

/* Checks that `bytes` holds `head` bytes, the CRC if `whole` or before SL_E_VERSION, and a version of 1 to
 * `version`. `what` names
 * the thing in the detail ("record"). SL_E_CORRUPT, SL_E_VERSION. */
sl_status frame_check(sl_slice bytes, size_t head, bool whole, uint8_t version, const char *what);

/* SL_E_CORRUPT and SL_E_VERSION with their details. */
sl_status frame_damaged(const char *what, const char *why);
sl_status frame_newer(const char *what, uint64_t version, unsigned known);
#endif
