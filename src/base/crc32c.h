/* CRC-32C (Castagnoli, RFC 3720 appendix B.4; reflected polynomial 0x82f63b78). Any thread. */
#ifndef SL_BASE_CRC32C_H
#define SL_BASE_CRC32C_H
#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over `len` bytes. crc32c("123456789") is 0xe3069283. Uses the processor's
 * instruction where there is one, found at run time; otherwise slicing-by-8 tables. */
uint32_t sl_crc32c(uint32_t crc, const void *data, size_t len);

/* The same by tables alone: what hosts without the instruction run. Tests hold the two against each other. */
uint32_t sl_crc32c_portable(uint32_t crc, const void *data, size_t len);
#endif
