/* What the fuzz targets share. Each takes any bytes and aborts when a promise of its codec does not hold. */
#ifndef SL_TESTS_FUZZ_H
#define SL_TESTS_FUZZ_H
#include "base/base.h"
#include "format/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMISE(condition)                                                          \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                      \
    }                                                                               \
  } while (0)

/* A decoder may refuse bytes as damaged or newer, and nothing else. */
static inline int decoded(sl_status status) {
  PROMISE(status == SL_OK || status == SL_E_CORRUPT || status == SL_E_VERSION);
  PROMISE(status == SL_OK || sl_last_detail()[0]);
  return status == SL_OK;
}

/* Tries the bytes as they are, and with the checksum of a frame (format/frame.h) that holds, to get behind it. */
static inline void as_it_is_and_sealed(void (*one)(sl_slice bytes), const uint8_t *data, size_t size) {
  one((sl_slice){data, size});
  if (size < 8) return;
  uint8_t *sealed = malloc(size);
  memcpy(sealed, data, size);
  frame_seal(sealed, size, data[0]);
  one((sl_slice){sealed, size});
  free(sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#endif
