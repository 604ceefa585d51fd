/* Dead letters. */
#include "fuzz.h"

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
  as_it_is_and_sealed(one, data, size);
  return 0;
}
