/* MessagePack for the codecs of this room: msgpack-c writes it, and a small strict reader reads it.
 *
 * Why a reader of our own: msgpack-c's C unpackers all build an object tree in an allocated zone, read nested
 * forms to their own depth limit, and accept every width of an integer. The codecs promise to allocate
 * nothing, to point into the bytes they were given, and to know one encoding per value, which is what makes
 * equal progress equal bytes. So this reads the forms that the codecs write, in their shortest width, and can
 * step over any other well-formed value. A test holds the two against each other. */
#ifndef SL_FORMAT_PACK_H
#define SL_FORMAT_PACK_H
#include "base/base.h"

#include <msgpack.h>

/* A packer that appends to `buf`; its sticky error stands for the packer's. */
void pack_init(msgpack_packer *packer, sl_buf *buf);
void pack_text(msgpack_packer *packer, sl_slice text);
void pack_bytes(msgpack_packer *packer, sl_slice bytes);
static inline void pack_uint(msgpack_packer *packer, uint64_t v) { msgpack_pack_uint64(packer, v); }
static inline void pack_int(msgpack_packer *packer, int64_t v) { msgpack_pack_int64(packer, v); }

/* Where reading stands. Every function returns false, and moves nothing, when the next value is not of its
 * kind, not in its shortest form, or not wholly there. */
typedef struct unpack {
  const uint8_t *at, *end;
} unpack;

static inline unpack unpack_of(sl_slice bytes) {
  const uint8_t *p = bytes.data;
  return (unpack){p, bytes.len ? p + bytes.len : p};
}
static inline size_t unpack_left(const unpack *in) { return (size_t)(in->end - in->at); }

/* What is short, as nearly all is, is read in line: a scan reads a dozen of them in each event. */
bool unpack_long_uint(unpack *in, uint64_t *v);
bool unpack_long_text(unpack *in, sl_slice *text);
bool unpack_long_bytes(unpack *in, sl_slice *bytes);

static inline bool unpack_uint(unpack *in, uint64_t *v) {
  if (in->at == in->end || *in->at >= 0x80) return unpack_long_uint(in, v);
  *v = *in->at++;
  return true;
}

/* Takes the `len` bytes behind a head of `head` bytes, which is there. */
static inline bool unpack_body(unpack *in, size_t head, uint64_t len, sl_slice *out) {
  if (unpack_left(in) - head < len) return false;
  *out = (sl_slice){in->at + head, (size_t)len};
  in->at += head + len;
  return true;
}

/* str; not checked to be UTF-8 */
static inline bool unpack_text(unpack *in, sl_slice *text) {
  if (in->at == in->end || (*in->at & 0xe0) != 0xa0) return unpack_long_text(in, text);
  return unpack_body(in, 1, *in->at & 0x1f, text);
}

/* bin */
static inline bool unpack_bytes(unpack *in, sl_slice *bytes) {
  if (unpack_left(in) < 2 || *in->at != 0xc4) return unpack_long_bytes(in, bytes);
  return unpack_body(in, 2, in->at[1], bytes);
}

bool unpack_int(unpack *in, int64_t *v);
bool unpack_array(unpack *in, uint32_t *count);
bool unpack_map(unpack *in, uint32_t *pairs);
bool unpack_skip(unpack *in); /* any one value of any kind and width, however deep */
#endif
