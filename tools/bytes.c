#include "bytes.h"

#include <stdbool.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SSE2__)
static __m128i load(const char *at) { return _mm_loadu_si128((const __m128i *)(const void *)at); }

/* Sixteen places at a time: where both the first and the last byte fit, the bytes between are compared. */
const char *bytes_find(const char *text, size_t len, const char *needle, size_t needle_len) {
  if (needle_len == 0)
    return text;
  if (len < needle_len)
    return NULL;
  if (needle_len == 1)
    return memchr(text, needle[0], len);
  const __m128i first = _mm_set1_epi8(needle[0]), last = _mm_set1_epi8(needle[needle_len - 1]);
  const size_t places = len - needle_len + 1;
  size_t at = 0;
  for (; at + 16 <= places; at += 16) {
    const __m128i fits = _mm_and_si128(_mm_cmpeq_epi8(load(text + at), first),
                                       _mm_cmpeq_epi8(load(text + at + needle_len - 1), last));
    for (unsigned mask = (unsigned)_mm_movemask_epi8(fits); mask; mask &= mask - 1) {
      const char *place = text + at + __builtin_ctz(mask);
      if (memcmp(place + 1, needle + 1, needle_len - 2) == 0)
        return place;
    }
  }
  for (; at < places; at++)
    if (text[at] == needle[0] && memcmp(text + at, needle, needle_len) == 0)
      return text + at;
  return NULL;
}
#else
const char *bytes_find(const char *text, size_t len, const char *needle, size_t needle_len) {
  return needle_len == 0 ? text : memmem(text, len, needle, needle_len);
}
#endif

static bool is_plain(char c) { return c != '"' && c != '\\' && (unsigned char)c >= 0x20; }

const char *bytes_plain_end(const char *text, size_t len) {
  const char *end = text + len;
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"'), escape = _mm_set1_epi8('\\'), below = _mm_set1_epi8(0x1f);
  for (; end - text >= 16; text += 16) {
    const __m128i c = load(text);
    const __m128i stops = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(c, quote), _mm_cmpeq_epi8(c, escape)),
                                       _mm_cmpeq_epi8(_mm_min_epu8(c, below), c));
    const unsigned mask = (unsigned)_mm_movemask_epi8(stops);
    if (mask)
      return text + __builtin_ctz(mask);
  }
#endif
  while (text < end && is_plain(*text)) text++;
  return text;
}
