/* Progress: equal values have equal bytes, so what is read back is written the same. */
#include "fuzz.h"

#include "base/crc32c.h"
#include "format/progress.h"

static void one(sl_slice bytes) {
  static sl_buf again;
  static sl_lane lanes[SL_LANES_MAX];
  sl_progress progress;
  if (!decoded(sl_progress_decode(bytes, &progress, lanes))) return;
  sl_buf_reset(&again);
  PROMISE(sl_progress_encode(&progress, &again) == SL_OK);
  PROMISE(sl_slice_eq(sl_buf_slice(&again), bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  one((sl_slice){data, size});
  uint8_t *sealed = malloc(size + 6);
  memcpy(sealed, data, size);
  sealed[size] = 0xc4;
  sealed[size + 1] = 4;
  sl_put_u32(sealed + size + 2, sl_crc32c(0, data, size));
  one((sl_slice){sealed, size + 6});
  free(sealed);
  return 0;
}
