/* Text rules that several rooms need. Pure. */
#ifndef SL_BASE_TEXT_H
#define SL_BASE_TEXT_H
#include "base/base.h"

bool sl_utf8_valid(sl_slice text);        /* RFC 3629: no surrogates, no overlong forms, <= U+10FFFF */
size_t sl_utf8_prefix(sl_slice text);     /* length of the well-formed beginning; all of it when valid */
bool sl_topic_valid(sl_slice topic);      /* Kafka's rule: 1..249 of [a-zA-Z0-9._-], not "." or ".." */

/* Glob: * any run, ? one character (a byte that is no UTF-8 counts as one), [a-z] and [!a-z] sets of
 * characters (a ] that comes first is in the set), \ escapes. Linear in the text for patterns with one star,
 * never exponential. An unclosed [ and a \ at the end stand for themselves. */
bool sl_glob_match(sl_slice pattern, sl_slice text);
bool sl_glob_is_literal(sl_slice pattern); /* has none of * ? [ \ */

/* RFC 3339 date-time (any fraction, Z or offset; also a blank for the T, and a date-time without an offset
 * taken as UTC) to microseconds since the epoch; digits beyond microseconds are cut off. A leap second,
 * 23:59:60 UTC, is the second after it. False when it is not one. */
bool sl_time_parse(sl_slice text, int64_t *us);
/* YYYY-MM-DDTHH:MM:SS.uuuuuuZ, 27 characters and a NUL (more for years outside 0000 to 9999). */
void sl_time_format(int64_t us, char out[32]);
#endif
