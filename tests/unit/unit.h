/* What every unit test includes: cmocka in its required order, and a seeded stream of random numbers. */
#ifndef SL_TESTS_UNIT_H
#define SL_TESTS_UNIT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define assert_ok(call)                                                                           \
  do {                                                                                            \
    sl_status status_ = (call);                                                                   \
    if (status_ != SL_OK) fail_msg("%s: %s: %s", #call, sl_status_text(status_), sl_last_detail()); \
  } while (0)

/* The status, and a word that its detail must hold. */
#define assert_fails(call, status, word)                                                          \
  do {                                                                                            \
    assert_int_equal((call), (status));                                                           \
    if (!strstr(sl_last_detail(), (word)))                                                        \
      fail_msg("%s: the detail \"%s\" lacks \"%s\"", #call, sl_last_detail(), (word));             \
  } while (0)

#define assert_slice(slice, text)                                                                 \
  do {                                                                                            \
    sl_slice s_ = (slice);                                                                        \
    const char *bytes_ = s_.len ? s_.data : "";                                                   \
    if (!sl_slice_eq(s_, sl_slice_of(text)))                                                      \
      fail_msg("%s is \"%.*s\", not \"%s\"", #slice, (int)s_.len, bytes_, text);                  \
  } while (0)

/* splitmix64. SIDELOG_SEED sets another seed. */
static uint64_t random_state;
static inline uint64_t random_seed(void) {
  const char *text = getenv("SIDELOG_SEED");
  random_state = text ? strtoull(text, NULL, 0) : 20240229;
  return random_state;
}
static inline uint64_t random_next(void) {
  uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}
static inline size_t random_below(size_t n) { return (size_t)(random_next() % n); }
#endif
