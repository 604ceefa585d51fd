/* Text rules that several rooms need. Pure. */
#ifndef SL_BASE_TEXT_H
#define SL_BASE_TEXT_H
#include "base/base.h"

bool sl_utf8_valid(sl_slice text);        /* RFC 3629: no surrogates, no overlong forms, <= U+10FFFF */
bool sl_topic_valid(sl_slice topic);      /* Kafka's rule: 1..249 of [a-zA-Z0-9._-], not "." or ".." */

/* Glob: * any run of bytes, ? one byte, [a-z] and [!a-z] sets, \ escapes. Linear in the text for patterns
 * with one star, never exponential. An unclosed [ stands for itself. */
bool sl_glob_match(sl_slice pattern, sl_slice text);
bool sl_glob_is_literal(sl_slice pattern); /* has none of * ? [ \ */

/* RFC 3339 date-time (any fraction, Z or offset; also a blank for the T, and a date-time without an offset
 * taken as UTC) to microseconds since the epoch. False when it is not one or is out of int64 range. */
bool sl_time_parse(sl_slice text, int64_t *us);
/* YYYY-MM-DDTHH:MM:SS.uuuuuuZ, 27 characters and a NUL. */
void sl_time_format(int64_t us, char out[32]);
#endif
