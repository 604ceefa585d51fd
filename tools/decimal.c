#include "decimal.h"

#include <stdint.h>

/* digits[0..count) without zeros at either end, as 0.DIGITS times ten to the power of `scale`; the point, if it
 * stands among them, is stepped over. */
typedef struct decimal {
  bool negative;
  const char *digits;
  size_t count;  /* characters, the point among them */
  int64_t scale; /* count 0: the number is zero */
} decimal;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool exponent(const char *p, const char *end, int64_t *out) {
  enum { MOST_DIGITS = 15 };
  bool negative = p < end && *p == '-';
  int64_t value = 0;
  p += p < end && (*p == '-' || *p == '+');
  if (p == end)
    return false;
  for (; p < end; p++) {
    if (!is_digit(*p))
      return false;
    value = value < INT64_C(100000000000000) ? value * 10 + (*p - '0') : INT64_C(1000000000000000);
  }
  *out = negative ? -value : value;
  return true;
}

static bool read(sl_slice words, decimal *d) {
  const char *p = words.data, *end = p + words.len, *point = NULL;
  *d = (decimal){.negative = words.len && *p == '-'};
  p += words.len && (*p == '-' || *p == '+');
  const char *begin = p;
  for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++)
    if (*p == '.')
      point = p;
  const char *behind = p;
  if (begin == behind || begin == point || (point && point + 1 == behind))
    return false;
  if (p < end && ((*p != 'e' && *p != 'E') || !exponent(p + 1, end, &d->scale)))
    return false;
  while (begin < behind && (*begin == '0' || *begin == '.'))
    begin++;
  while (behind > begin && (behind[-1] == '0' || behind[-1] == '.'))
    behind--;
  /* Zeros in front of the point are no loss: what was cut off at the end lies behind it, or is told by the
   * point. */
  const char *last = point ? point : (const char *)words.data;
  if (!point)
    for (last = words.data, last += !is_digit(*last); last < end && is_digit(*last);)
      last++;
  d->digits = begin;
  d->count = (size_t)(behind - begin);
  d->scale += begin <= last ? last - begin : last - begin + 1;
  if (d->count == 0)
    *d = (decimal){.negative = false};
  return true;
}

bool decimal_is(sl_slice words) {
  decimal d;
  return read(words, &d);
}

static int compare_size(const decimal *a, const decimal *b) {
  if (a->count == 0 || b->count == 0)
    return (a->count != 0) - (b->count != 0);
  if (a->scale != b->scale)
    return a->scale < b->scale ? -1 : 1;
  for (size_t i = 0, j = 0;; i++, j++) {
    i += i < a->count && a->digits[i] == '.';
    j += j < b->count && b->digits[j] == '.';
    if (i >= a->count || j >= b->count)
      return (i < a->count) - (j < b->count);
    if (a->digits[i] != b->digits[j])
      return a->digits[i] < b->digits[j] ? -1 : 1;
  }
}

int decimal_compare(sl_slice a, sl_slice b) {
  decimal x, y;
  if (!read(a, &x) || !read(b, &y))
    return 0;
  if (x.negative != y.negative)
    return x.negative ? -1 : 1;
  return x.negative ? -compare_size(&x, &y) : compare_size(&x, &y);
}
