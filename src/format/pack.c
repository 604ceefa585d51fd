#include "format/pack.h"

static int append(void *data, const char *bytes, size_t len) {
  sl_buf *buf = data;
  sl_buf_append(buf, bytes, len);
  return buf->failed ? -1 : 0;
}

void pack_init(msgpack_packer *packer, sl_buf *buf) { msgpack_packer_init(packer, buf, append); }

void pack_text(msgpack_packer *packer, sl_slice text) {
  msgpack_pack_str(packer, text.len);
  msgpack_pack_str_body(packer, text.data, text.len);
}

void pack_bytes(msgpack_packer *packer, sl_slice bytes) {
  msgpack_pack_bin(packer, bytes.len);
  msgpack_pack_bin_body(packer, bytes.data, bytes.len);
}

/* The big-endian number of `width` bytes behind the first one. */
static bool number(const unpack *in, unsigned width, uint64_t *v) {
  if (unpack_left(in) < 1u + width) return false;
  uint64_t n = 0;
  for (unsigned i = 1; i <= width; i++) n = n << 8 | in->at[i];
  *v = n;
  return true;
}

bool unpack_long_uint(unpack *in, uint64_t *v) {
  if (in->at == in->end) return false;
  uint8_t lead = *in->at;
  if (lead < 0xcc || lead > 0xcf) return false;
  unsigned width = 1u << (lead - 0xcc);
  uint64_t n, least = lead == 0xcc ? 0x80 : UINT64_C(1) << (4 * width);
  if (!number(in, width, &n) || n < least) return false;
  *v = n;
  in->at += 1 + width;
  return true;
}

bool unpack_int(unpack *in, int64_t *v) {
  if (in->at == in->end) return false;
  uint8_t lead = *in->at;
  if (lead >= 0xe0) {
    *v = (int8_t)lead;
    in->at++;
    return true;
  }
  uint64_t n;
  if (lead < 0xd0 || lead > 0xd3) {
    unpack ahead = *in;
    if (!unpack_uint(&ahead, &n) || n > INT64_MAX) return false;
    *v = (int64_t)n;
    *in = ahead;
    return true;
  }
  unsigned width = 1u << (lead - 0xd0);
  if (!number(in, width, &n)) return false;
  int64_t value = width == 1 ? (int8_t)n : width == 2 ? (int16_t)n : width == 4 ? (int32_t)n : (int64_t)n;
  int64_t above = width == 1 ? -32 : width == 2 ? INT8_MIN : width == 4 ? INT16_MIN : INT32_MIN;
  if (value >= above) return false;
  *v = value;
  in->at += 1 + width;
  return true;
}

bool unpack_long_text(unpack *in, sl_slice *text) {
  if (in->at == in->end) return false;
  uint8_t lead = *in->at;
  if (lead < 0xd9 || lead > 0xdb) return false;
  unsigned width = 1u << (lead - 0xd9);
  uint64_t len, least = width == 1 ? 32 : width == 2 ? 0x100 : 0x10000;
  if (!number(in, width, &len) || len < least) return false;
  return unpack_body(in, 1 + width, len, text);
}

bool unpack_long_bytes(unpack *in, sl_slice *bytes) {
  if (in->at == in->end) return false;
  uint8_t lead = *in->at;
  if (lead < 0xc4 || lead > 0xc6) return false;
  unsigned width = 1u << (lead - 0xc4);
  uint64_t len, least = width == 1 ? 0 : width == 2 ? 0x100 : 0x10000;
  if (!number(in, width, &len) || len < least) return false;
  return unpack_body(in, 1 + width, len, bytes);
}

static bool count_of(unpack *in, uint8_t small, uint8_t wide, uint32_t *count) {
  if (in->at == in->end) return false;
  uint8_t lead = *in->at;
  if ((lead & 0xf0) == small) {
    *count = lead & 0x0f;
    in->at++;
    return true;
  }
  if (lead != wide && lead != wide + 1) return false;
  unsigned width = lead == wide ? 2 : 4;
  uint64_t n;
  if (!number(in, width, &n) || n < (width == 2 ? 16u : 0x10000u)) return false;
  *count = (uint32_t)n;
  in->at += 1 + width;
  return true;
}

bool unpack_array(unpack *in, uint32_t *count) { return count_of(in, 0x90, 0xdc, count); }
bool unpack_map(unpack *in, uint32_t *pairs) { return count_of(in, 0x80, 0xde, pairs); }

bool unpack_skip(unpack *in) {
  /* For the first bytes 0xc4 to 0xdf: bytes of length field, and bytes that follow it in any case. */
  static const struct { uint8_t width, fixed; } forms[28] = {
    {1, 0}, {2, 0}, {4, 0},                         /* bin */
    {1, 1}, {2, 1}, {4, 1},                         /* ext: length, then a type */
    {0, 4}, {0, 8},                                 /* float */
    {0, 1}, {0, 2}, {0, 4}, {0, 8},                 /* uint */
    {0, 1}, {0, 2}, {0, 4}, {0, 8},                 /* int */
    {0, 2}, {0, 3}, {0, 5}, {0, 9}, {0, 17},        /* fixext */
    {1, 0}, {2, 0}, {4, 0},                         /* str */
    {2, 0}, {4, 0}, {2, 0}, {4, 0}                  /* array, map: the length is a count */
  };
  unpack ahead = *in;
  uint64_t todo = 1; /* a count, not a stack: depth costs nothing */
  while (todo > 0) {
    if (todo > unpack_left(&ahead)) return false;
    uint8_t lead = *ahead.at;
    uint64_t step = 1, more = 0, n = 0;
    if (lead >= 0x80 && lead <= 0x8f) more = 2u * (lead & 0x0f);
    else if (lead >= 0x90 && lead <= 0x9f) more = lead & 0x0f;
    else if (lead >= 0xa0 && lead <= 0xbf) step += lead & 0x1f;
    else if (lead == 0xc1) return false;
    else if (lead >= 0xc4 && lead <= 0xdf) {
      unsigned width = forms[lead - 0xc4].width;
      if (!number(&ahead, width, &n)) return false;
      step += width + forms[lead - 0xc4].fixed;
      if (lead >= 0xde) more = 2 * n;
      else if (lead >= 0xdc) more = n;
      else step += n;
    }
    if (step > unpack_left(&ahead)) return false;
    ahead.at += step;
    todo += more;
    todo--;
  }
  *in = ahead;
  return true;
}
