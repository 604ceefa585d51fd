/* Globs and times: they end, and a pattern made from the text itself matches it. */
#include "fuzz.h"

#include "base/id.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  size_t cut = data[0] % size;
  sl_slice pattern = {data, cut}, text = {data + cut, size - cut}, whole = {data, size};
  (void)sl_glob_match(pattern, text);
  if (sl_glob_is_literal(whole)) {
    PROMISE(sl_glob_match(whole, whole));
    PROMISE(sl_glob_match(pattern, text) == sl_slice_eq(pattern, text));
  }
  PROMISE(sl_glob_match(SL_STR("*"), whole));
  PROMISE(sl_utf8_valid(whole) == (sl_utf8_prefix(whole) == size));
  PROMISE(sl_utf8_valid((sl_slice){data, sl_utf8_prefix(whole)}));

  int64_t us, back;
  char printed[32];
  if (sl_time_parse(whole, &us)) {
    sl_time_format(us, printed);
    if (strlen(printed) == 27) PROMISE(sl_time_parse(sl_slice_of(printed), &back) && back == us);
  }
  if (size >= 8) {
    memcpy(&us, data, 8);
    sl_time_format(us, printed);
    PROMISE(strlen(printed) < sizeof printed);
  }
  uint8_t low[16], high[16], uuid[16];
  if (sl_uuid_prefix_range(whole, low, high)) PROMISE(memcmp(low, high, 16) <= 0);
  if (sl_uuid_parse(whole, uuid)) {
    char text36[36];
    sl_uuid_format(uuid, text36);
    PROMISE(memcmp(text36, data, 36) == 0);
    PROMISE(sl_uuid_prefix_range(whole, low, high) && !memcmp(low, uuid, 16) && !memcmp(high, uuid, 16));
  }
  return 0;
}
