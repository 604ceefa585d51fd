/* Records: as the bytes are, and with a checksum that holds, to get behind it. */
#include "fuzz.h"

#include "format/record.h"

static void one(sl_slice bytes) {
  static sl_buf again;
  sl_parts parts, peeked;
  int peek = decoded(sl_record_peek(bytes, &peeked));
  if (!decoded(sl_record_decode(bytes, &parts))) return;
  PROMISE(peek);
  PROMISE(sl_slice_eq(peeked.event_id, parts.event_id) && sl_slice_eq(peeked.topic, parts.topic));
  PROMISE(sl_slice_eq(peeked.correlation_id, parts.correlation_id) && sl_slice_eq(peeked.type, parts.type));
  PROMISE(peeked.origin_seq == parts.origin_seq && peeked.appended_us == parts.appended_us);

  sl_header *headers = malloc((parts.header_count + 1) * sizeof *headers);
  PROMISE(sl_record_headers(&parts, headers) == SL_OK);
  parts.headers = headers;
  sl_buf_reset(&again);
  PROMISE(sl_record_encode(&parts, &again) == SL_OK);
  /* one form: shorter only by attributes that this version does not know */
  PROMISE(again.len <= bytes.len);
  if (again.len == bytes.len) PROMISE(memcmp(again.data, bytes.data, bytes.len) == 0);
  free(headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  as_it_is_and_sealed(one, data, size);
  return 0;
}
