/* Dead letters. */
#include "fuzz.h"

#include "format/frame.h"
#include "format/receipt.h"

static void one(sl_slice bytes) {
  static sl_buf again;
  sl_letter letter;
  if (!decoded(sl_letter_decode(bytes, &letter))) return;
  sl_buf_reset(&again);
  PROMISE(sl_letter_encode(&letter, &again) == SL_OK);
  PROMISE(again.len <= bytes.len);
  if (again.len == bytes.len) PROMISE(memcmp(again.data, bytes.data, bytes.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  one((sl_slice){data, size});
  if (size >= 8) {
    uint8_t *sealed = malloc(size);
    memcpy(sealed, data, size);
    frame_seal(sealed, size, data[0]);
    one((sl_slice){sealed, size});
    free(sealed);
  }
  return 0;
}
