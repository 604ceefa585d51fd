#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define HAVE_X86 1
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAVE_ARM 1
#endif

/* ---- portable: slicing-by-8, one table look-up a byte but eight bytes a step ---- */

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (0x82f63b78u & (0u - (c & 1u)));
    table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int t = 1; t < 8; t++) table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xff];
}

uint32_t sl_crc32c_portable(uint32_t crc, const void *data, size_t len) {
  pthread_once(&table_once, make_table);
  const uint8_t *p = data;
  uint32_t c = ~crc;
  while (len >= 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    w ^= c;
    c = table[7][w & 0xff] ^ table[6][(w >> 8) & 0xff] ^ table[5][(w >> 16) & 0xff] ^
        table[4][(w >> 24) & 0xff] ^ table[3][(w >> 32) & 0xff] ^ table[2][(w >> 40) & 0xff] ^
        table[1][(w >> 48) & 0xff] ^ table[0][w >> 56];
    p += 8;
    len -= 8;
  }
  while (len--) c = (c >> 8) ^ table[0][(c ^ *p++) & 0xff];
  return ~c;
}

#ifdef HAVE_X86
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t len) {
  uint64_t c = (uint32_t)~crc;
  while (len >= 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    c = _mm_crc32_u64(c, w);
    p += 8;
    len -= 8;
  }
  uint32_t c32 = (uint32_t)c;
  while (len--) c32 = _mm_crc32_u8(c32, *p++);
  return ~c32;
}
static int have_hardware(void) { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(HAVE_ARM)
static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t len) {
  uint32_t c = ~crc;
  while (len >= 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    c = __crc32cd(c, w);
    p += 8;
    len -= 8;
  }
  while (len--) c = __crc32cb(c, *p++);
  return ~c;
}
static int have_hardware(void) { return 1; }
#else
static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t len) {
  return sl_crc32c_portable(crc, p, len);
}
static int have_hardware(void) { return 0; }
#endif

uint32_t sl_crc32c(uint32_t crc, const void *data, size_t len) {
  return have_hardware() ? crc_hardware(crc, data, len) : sl_crc32c_portable(crc, data, len);
}
