/* Blocks of receipts. */
#include "fuzz.h"

#include "format/receipt.h"

static void one(sl_slice bytes) {
  static sl_buf again;
  static sl_receipt all[SL_RECEIPT_BLOCK_MAX];
  sl_receipt_block block, peeked;
  sl_receipt receipt;
  int peek = decoded(sl_receipt_block_peek(bytes, &peeked));
  if (peek)
    for (uint32_t i = 0; i < peeked.count; i++)
      (void)decoded(sl_receipt_at(&peeked, peeked.first_seq + i, &receipt));
  if (!decoded(sl_receipt_block_decode(bytes, &block))) return;
  PROMISE(peek && peeked.first_seq == block.first_seq && peeked.count == block.count);
  for (uint32_t i = 0; i < block.count; i++)
    PROMISE(sl_receipt_at(&block, block.first_seq + i, &all[i]) == SL_OK);
  PROMISE(sl_receipt_at(&block, block.first_seq + block.count, &receipt) == SL_NOTFOUND);
  sl_buf_reset(&again);
  PROMISE(sl_receipt_block_encode(&block, all, &again) == SL_OK);
  PROMISE(sl_slice_eq(sl_buf_slice(&again), bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  as_it_is_and_sealed(one, data, size);
  return 0;
}
