#include "base/id.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>
#include <xxhash.h>

#if defined(__APPLE__)
#include <stdlib.h>
#elif defined(__linux__)
#include <sys/random.h>
#endif

/* ---- text and bytes ---- */

/* A digit's value with bit 4 set; 0: none. A table, since each id of each event is read through it. */
static const uint8_t hex_values[256] = {
  ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21, ['6'] = 22, ['7'] = 23,
  ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27, ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31,
};

static int hex_value(uint8_t c) { return hex_values[c] ? hex_values[c] & 15 : -1; }

/* Where byte i of a UUID has its two digits in the canonical text. */
static const uint8_t digit_at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

bool sl_uuid_parse(sl_slice text, uint8_t out[16]) {
  if (text.len != 36) return false;
  const uint8_t *p = text.data;
  if (p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-') return false;
  uint8_t bytes[16], all = 16;
  for (int i = 0; i < 16; i++) {
    const uint8_t high = hex_values[p[digit_at[i]]], low = hex_values[p[digit_at[i] + 1]];
    all &= high & low;
    bytes[i] = (uint8_t)(high << 4 | (low & 15));
  }
  if (!all) return false;
  memcpy(out, bytes, 16);
  return true;
}

/* Four bytes as eight digits, all at once in the bytes of one word: each event of a scan has three ids. */
static uint64_t eight_digits(const uint8_t *four) {
  uint64_t x = sl_get_u32(four);
  x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
  x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
  x = (x >> 4 & UINT64_C(0x000f000f000f000f)) | (x & UINT64_C(0x000f000f000f000f)) << 8;
  const uint64_t letters = (x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
  return x + UINT64_C(0x3030303030303030) + letters * ('a' - '9' - 1);
}

void sl_uuid_format(const uint8_t uuid[16], char out[36]) {
  const uint64_t a = eight_digits(uuid), b = eight_digits(uuid + 4);
  const uint64_t c = eight_digits(uuid + 8), d = eight_digits(uuid + 12);
  const uint32_t b_end = (uint32_t)(b >> 32), c_end = (uint32_t)(c >> 32);
  memcpy(out, &a, 8);
  memcpy(out + 9, &b, 4);
  memcpy(out + 14, &b_end, 4);
  memcpy(out + 19, &c, 4);
  memcpy(out + 24, &c_end, 4);
  memcpy(out + 28, &d, 8);
  out[8] = out[13] = out[18] = out[23] = '-';
}

bool sl_uuid_prefix_range(sl_slice text, uint8_t low[16], uint8_t high[16]) {
  if (text.len < 1 || text.len > 36) return false;
  const uint8_t *p = text.data;
  uint8_t nibbles[32];
  size_t count = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (p[i] != '-') return false;
      continue;
    }
    uint8_t c = p[i] >= 'A' && p[i] <= 'F' ? (uint8_t)(p[i] + 32) : p[i];
    int v = hex_value(c);
    if (v < 0) return false;
    nibbles[count++] = (uint8_t)v;
  }
  for (size_t i = 0; i < 32; i += 2) {
    uint8_t a = i < count ? nibbles[i] : 0, b = i + 1 < count ? nibbles[i + 1] : 0;
    low[i / 2] = (uint8_t)(a << 4 | b);
    a = i < count ? nibbles[i] : 15;
    b = i + 1 < count ? nibbles[i + 1] : 15;
    high[i / 2] = (uint8_t)(a << 4 | b);
  }
  return true;
}

void sl_id_key(sl_slice text, uint8_t out[16]) {
  if (sl_uuid_parse(text, out)) return;
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.len ? text.data : "", text.len));
  memcpy(out, canonical.digest, 16);
}

/* ---- randomness ---- */

#if !defined(__APPLE__)
static bool random_from_device(uint8_t *p, size_t len) {
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  while (len > 0) {
    ssize_t n = read(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    p += n;
    len -= (size_t)n;
  }
  close(fd);
  return len == 0;
}
#endif

bool sl_random(void *out, size_t len) {
#if defined(__APPLE__)
  arc4random_buf(out, len);
  return true;
#else
  uint8_t *p = out;
#if defined(__linux__)
  while (len > 0) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break; /* an old kernel, or a filter that forbids the call */
    p += n;
    len -= (size_t)n;
  }
#endif
  return len == 0 || random_from_device(p, len);
#endif
}

/* Random bytes are fetched by the block, per thread, because a system call per id would cost more than the
 * rest of the id. A forked child must not hand out what its parent has in its block: the handler counts
 * forks, and the pid covers children made without the handlers (a plain clone). */
static atomic_uint forks;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static void count_fork(void) { atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

static _Thread_local struct {
  uint8_t block[512];
  size_t left;       /* unused bytes, at the end of block */
  unsigned fork_no;  /* the process that filled it */
  pid_t pid;
  int64_t last_ms;   /* of the id made last, */
  uint64_t last_low; /* and its 62 random bits */
  uint16_t last_a;   /* and the 12 before them */
  bool have_last;
} ids;

static bool take_random(void *out, size_t len) {
  if (ids.left < len) {
    if (!sl_random(ids.block, sizeof ids.block)) return false;
    ids.left = sizeof ids.block;
  }
  uint8_t *from = ids.block + sizeof ids.block - ids.left;
  memcpy(out, from, len);
  memset(from, 0, len);
  ids.left -= len;
  return true;
}

#define LOW_MASK ((UINT64_C(1) << 62) - 1)

bool sl_uuid_v7(int64_t unix_ms, uint8_t out[16]) {
  pthread_once(&fork_once, watch_forks);
  unsigned fork_no = atomic_load_explicit(&forks, memory_order_relaxed);
  pid_t pid = getpid();
  if (ids.pid != pid || ids.fork_no != fork_no) {
    ids.left = 0;
    ids.have_last = false;
    ids.pid = pid;
    ids.fork_no = fork_no;
  }

  /* Within a millisecond a thread's ids ascend (RFC 9562 section 6.2, method 2: the random part grows by a
   * random step), so that an index takes them in order. */
  uint64_t low = 0;
  uint16_t a = 0;
  bool next = false;
  if (ids.have_last && ids.last_ms == unix_ms) {
    uint32_t step;
    if (!take_random(&step, sizeof step)) return false;
    low = (ids.last_low + 1 + step) & LOW_MASK;
    a = (uint16_t)(ids.last_a + (low <= ids.last_low));
    next = a <= 0xfff;
  }
  if (!next) {
    if (!take_random(&low, sizeof low) || !take_random(&a, sizeof a)) return false;
    low &= LOW_MASK;
    a &= 0x7ff; /* room to grow, as the RFC advises for the leading bit */
  }
  ids.last_ms = unix_ms;
  ids.last_low = low;
  ids.last_a = a;
  ids.have_last = true;

  uint64_t high = (uint64_t)unix_ms << 16 | 0x7000u | a;
  low |= UINT64_C(2) << 62;
  for (int i = 0; i < 8; i++) {
    out[i] = (uint8_t)(high >> (56 - 8 * i));
    out[8 + i] = (uint8_t)(low >> (56 - 8 * i));
  }
  return true;
}

sl_status sl_event_id_new(char out[37]) {
  uint8_t uuid[16];
  if (!out) return sl_fail(SL_E_INVALID, "out is NULL");
  if (!sl_uuid_v7(sl_clock_wall_us() / 1000, uuid))
    return sl_fail(SL_E_IO, "cannot make an event id: the system gave no random bytes (/dev/urandom)");
  sl_uuid_format(uuid, out);
  out[36] = 0;
  return SL_OK;
}
