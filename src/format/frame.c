#include "format/frame.h"

#include "base/crc32c.h"

enum { AT_VERSION = 0, AT_CRC = 4, BEHIND_CRC = 8 };

static uint32_t frame_crc(const uint8_t *p, size_t len) {
  return sl_crc32c(sl_crc32c(0, p, AT_CRC), p + BEHIND_CRC, len - BEHIND_CRC);
}

void frame_seal(uint8_t *frame, size_t len, uint8_t version) {
  frame[AT_VERSION] = version;
  sl_put_u32(frame + AT_CRC, frame_crc(frame, len));
}

sl_status frame_damaged(const char *what, const char *why) {
  return sl_fail(SL_E_CORRUPT, "damaged %s: %s", what, why);
}

sl_status frame_newer(const char *what, uint64_t version, unsigned known) {
  return sl_fail(SL_E_VERSION, "a %s of format version %llu, this one reads up to %u: use a newer sidelog",
                 what, (unsigned long long)version, known);
}

sl_status frame_check(sl_slice bytes, size_t head, bool whole, uint8_t version, const char *what) {
  const uint8_t *p = bytes.data;
  if (bytes.len < head) return frame_damaged(what, "it is shorter than its header");
  /* A version that is not ours is news only if the whole is sound; who peeks must not take damage for it. */
  if ((whole || p[AT_VERSION] > version) && sl_get_u32(p + AT_CRC) != frame_crc(p, bytes.len))
    return frame_damaged(what, "its checksum does not hold");
  if (p[AT_VERSION] > version) return frame_newer(what, p[AT_VERSION], version);
  if (p[AT_VERSION] == 0) return frame_damaged(what, "it has no version");
  return SL_OK;
}
