/* What everything else stands on: errors, slices, little-endian bytes, buffers. Knows nothing of events. */
#ifndef SL_BASE_BASE_H
#define SL_BASE_BASE_H

#include <sidelog/sidelog.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define SL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SL_PRINTF(fmt, args)
#endif

/* Records the detail of a failure for sl_last_detail() of this thread and returns `status`, so that a
 * failing function ends with `return sl_fail(SL_E_IO, "...", ...)`. One line, at most 1,023 bytes; says
 * what happened, to which thing, what to do. errno is left alone. */
sl_status sl_fail(sl_status status, const char *format, ...) SL_PRINTF(2, 3);

/* Puts text in front of the present detail (": " between), keeps the status: for callers that know more. */
sl_status sl_fail_context(sl_status status, const char *format, ...) SL_PRINTF(2, 3);

/* Maps errno to a status: ENOSPC, EDQUOT -> FULL; EACCES, EPERM, EROFS -> ACCESS; ENOMEM -> NOMEM;
 * else IO. */
sl_status sl_status_of_errno(int err);

static inline sl_slice sl_slice_of(const char *text) { return (sl_slice){text, text ? strlen(text) : 0}; }
static inline bool sl_slice_eq(sl_slice a, sl_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Little-endian integers at any alignment. */
static inline void sl_put_u16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void sl_put_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void sl_put_u64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }
static inline uint16_t sl_get_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t sl_get_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t sl_get_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "sidelog stores live on 64-bit little-endian hosts only"
#endif
_Static_assert(sizeof(void *) == 8, "sidelog stores live on 64-bit little-endian hosts only");

/* A growable byte buffer with a sticky error: after a failed growth every later append is a no-op and
 * `failed` stays set, so a caller checks once at the end. Zeroed is valid and empty. */
typedef struct sl_buf {
  uint8_t *data;
  size_t len, cap;
  bool failed;
  bool lent; /* sl_buf_on */
} sl_buf;

/* An empty one that begins in memory of the caller's, which lives longer; what does not fit there moves to the heap. */
static inline sl_buf sl_buf_on(void *memory, size_t cap) { return (sl_buf){.data = memory, .cap = cap, .lent = true}; }

void sl_buf_append(sl_buf *buf, const void *data, size_t len);
/* Room for `len` bytes at the end, counted in; NULL when failed. */
void *sl_buf_extend(sl_buf *buf, size_t len);
static inline void sl_buf_reset(sl_buf *buf) { buf->len = 0; buf->failed = false; }
void sl_buf_free(sl_buf *buf); /* idempotent; leaves it empty and valid */
static inline sl_slice sl_buf_slice(const sl_buf *buf) { return (sl_slice){buf->data, buf->len}; }

#endif
