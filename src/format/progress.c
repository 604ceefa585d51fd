#include "format/progress.h"

#include "base/crc32c.h"
#include "base/text.h"
#include "format/frame.h"
#include "format/pack.h"

#define VERSION 1u
#define FIELDS 7u
#define CRC_LEN 6u /* bin 8 of 4 bytes: the last field of every version */

static bool ascending(sl_slice a, sl_slice b) {
  size_t len = a.len < b.len ? a.len : b.len;
  int order = memcmp(a.data, b.data, len);
  return order < 0 || (order == 0 && a.len < b.len);
}

/* NULL, or the rule that a lane breaks. */
static const char *lane_fault(const sl_progress *progress, const sl_lane *lanes, size_t i) {
  if (!sl_topic_valid(lanes[i].topic)) return "a lane's topic is no topic name";
  if (i > 0 && !ascending(lanes[i - 1].topic, lanes[i].topic)) return "lanes are not in ascending order";
  if (lanes[i].seq > progress->seq) return "a lane is ahead of the cursor";
  return NULL;
}

sl_status sl_progress_encode(const sl_progress *progress, sl_buf *out) {
  if (progress->lane_count > SL_LANES_MAX)
    return sl_fail(SL_E_INVALID, "progress: %zu lanes, at most %u are possible", progress->lane_count,
                   SL_LANES_MAX);
  for (size_t i = 0; i < progress->lane_count; i++) {
    const char *fault = lane_fault(progress, progress->lanes, i);
    if (fault) return sl_fail(SL_E_INVALID, "progress: %s (lane %zu)", fault, i);
  }
  size_t start = out->len;
  msgpack_packer pk;
  pack_init(&pk, out);
  msgpack_pack_array(&pk, FIELDS);
  pack_uint(&pk, VERSION);
  pack_uint(&pk, progress->seq);
  pack_uint(&pk, progress->dlq_no);
  pack_uint(&pk, progress->attempt);
  pack_bytes(&pk, (sl_slice){progress->incarnation, sizeof progress->incarnation});
  msgpack_pack_array(&pk, progress->lane_count * 2);
  for (size_t i = 0; i < progress->lane_count; i++) {
    pack_text(&pk, progress->lanes[i].topic);
    pack_uint(&pk, progress->lanes[i].seq);
  }
  uint8_t crc[4] = {0};
  if (!out->failed) sl_put_u32(crc, sl_crc32c(0, out->data + start, out->len - start));
  pack_bytes(&pk, (sl_slice){crc, sizeof crc});
  if (out->failed) {
    out->len = start;
    return sl_fail(SL_E_NOMEM, "out of memory for the progress of %zu lanes", progress->lane_count);
  }
  return SL_OK;
}

static sl_status damaged(const char *why) { return frame_damaged("progress", why); }

sl_status sl_progress_decode(sl_slice bytes, sl_progress *progress, sl_lane *lanes) {
  if (bytes.len < CRC_LEN + 2) return damaged("too short");
  const uint8_t *p = bytes.data;
  size_t body = bytes.len - CRC_LEN;
  if (p[body] != 0xc4 || p[body + 1] != 4 || sl_get_u32(p + body + 2) != sl_crc32c(0, p, body))
    return damaged("its checksum does not hold");

  unpack in = unpack_of((sl_slice){p, body});
  sl_progress r = {0};
  uint32_t fields, count;
  uint64_t version;
  sl_slice incarnation;
  if (!unpack_array(&in, &fields) || !unpack_uint(&in, &version) || version == 0) return damaged("its form");
  if (version > VERSION) return frame_newer("progress", version, VERSION);
  if (fields != FIELDS || !unpack_uint(&in, &r.seq) || !unpack_uint(&in, &r.dlq_no) ||
      !unpack_uint(&in, &r.attempt) || !unpack_bytes(&in, &incarnation) ||
      incarnation.len != sizeof r.incarnation || !unpack_array(&in, &count))
    return damaged("its form");
  if (count % 2 != 0 || count / 2 > SL_LANES_MAX) return damaged("its number of lanes");
  memcpy(r.incarnation, incarnation.data, sizeof r.incarnation);
  for (uint32_t i = 0; i < count / 2; i++) {
    if (!unpack_text(&in, &lanes[i].topic) || !unpack_uint(&in, &lanes[i].seq))
      return damaged("a lane's form");
    const char *fault = lane_fault(&r, lanes, i);
    if (fault) return damaged(fault);
  }
  if (unpack_left(&in) > 0) return damaged("bytes are left behind it");
  r.lane_count = count / 2;
  r.lanes = lanes;
  *progress = r;
  return SL_OK;
}
