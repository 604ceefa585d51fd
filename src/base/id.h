/* Identifiers: UUIDs as 16 bytes (RFC 9562), everything else as its text, both with a 16 byte index key. */
#ifndef SL_BASE_ID_H
#define SL_BASE_ID_H
#include "base/base.h"

/* True, and 16 bytes in `out`, if text is a UUID of any version in canonical form: 36 bytes, lower case,
 * hyphens at 8, 13, 18 and 23. */
bool sl_uuid_parse(sl_slice text, uint8_t out[16]);

/* Writes the canonical 36 characters, no NUL. */
void sl_uuid_format(const uint8_t uuid[16], char out[36]);

/* A UUIDv7: 48 bits of `unix_ms`, then random bits. False when the system gives no random bytes. */
bool sl_uuid_v7(int64_t unix_ms, uint8_t out[16]);

/* `len` random bytes from the operating system. */
bool sl_random(void *out, size_t len);

/* The 16 bytes under which an id stands in an index: the UUID itself, or XXH3-128 (canonical, big-endian)
 * of the text. A hit is confirmed by comparing the whole id in the log, so a collision costs a read only. */
void sl_id_key(sl_slice text, uint8_t out[16]);

/* Reads a prefix of a canonical UUID (1..36 characters, hyphens in their places; upper case is folded).
 * Sets low and high to the smallest and largest UUID that begin with it. False if it is none. */
bool sl_uuid_prefix_range(sl_slice text, uint8_t low[16], uint8_t high[16]);
#endif
