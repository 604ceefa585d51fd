/* A reader's state, its entries, and notes of drops: what decodes encodes to the same bytes. */
#include "fuzz.h"

#include "format/reader.h"

static void one(sl_slice bytes) {
  static sl_buf again;
  sl_reader_state state;
  sl_reader_entry entry;
  sl_drop_note note;
  sl_buf_reset(&again);
  if (decoded(sl_reader_state_decode(bytes, &state))) {
    PROMISE(sl_reader_state_encode(&state, &again) == SL_OK);
    PROMISE(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
  }
  sl_buf_reset(&again);
  if (decoded(sl_reader_entry_decode(bytes, &entry))) {
    PROMISE(sl_reader_entry_encode(&entry, &again) == SL_OK);
    PROMISE(again.len <= bytes.len); /* a letter may hold what this version does not know */
  }
  sl_buf_reset(&again);
  if (decoded(sl_drop_note_decode(bytes, &note))) {
    PROMISE(sl_drop_note_encode(&note, &again) == SL_OK);
    PROMISE(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  as_it_is_and_sealed(one, data, size);
  return 0;
}
