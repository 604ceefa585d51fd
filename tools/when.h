/* How people write times, spans and sizes. Pure: "now" is an argument; only the time zone comes from outside.
 */
#ifndef TOOLS_WHEN_H
#define TOOLS_WHEN_H

#include <stdbool.h>
#include <stdint.h>

enum { WHEN_MAX = 96 }; /* room for a time in text */

/* A point in time, in microseconds since 1970:
 *   RFC 3339          2026-11-22T05:31:59.25Z, with an offset, or a blank for the T
 *   without an offset local time: 2026-11-22 05:31, 2026-11-22T05:31:59, 2026-11-22
 *   relative          now, -15m, -2h, -1h30m, -3d, -1w (before now)
 *   days              today, yesterday, today 14:00, yesterday 09:30:15 (local)
 *   o'clock           14:00, 09:30:15: the last time that it was
 *   epoch             @1763789519, @1763789519.5
 * False: it is none of these. */
bool when_parse(const char *text, int64_t now_us, int64_t *us);

/* A span: 90s, 15m, 1h30m, 7d, 2w, 250ms. At least one number with its unit. */
bool span_parse(const char *text, int64_t *us);

/* A size in bytes: 1000000, 512K, 10M, 2G, 1T (powers of 1,024, also KiB ...), KB, MB, GB, TB (of 1,000). */
bool size_parse(const char *text, uint64_t *bytes);

/* A plain number without a sign. */
bool number_parse(const char *text, uint64_t *number);

/* YYYY-MM-DDTHH:MM:SS.uuuuuuZ, as --json has it. */
void when_rfc3339(int64_t us, char out[WHEN_MAX]);
/* Local time for people: "2026-11-22 05:31:59.123", and with its offset "2026-11-22 05:31:59.123456 +01:00".
 */
void when_local(int64_t us, char out[WHEN_MAX], bool precise);
/* Twelve columns: "05:31:59.123" when it is the day of `now`, else "11-22 05:31 ", else "2025-11-22  ". */
void when_brief(int64_t us, int64_t now_us, char out[WHEN_MAX]);
#endif
