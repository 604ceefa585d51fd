/* How many bytes librdkafka's own snappy makes of data: no library is quite the same. Only counts them. */
#ifndef SYNC_KAFKA_SNAPPY_H
#define SYNC_KAFKA_SNAPPY_H
#include <stddef.h>
#include <stdint.h>

#define SNAPPY_BLOCK 65536

/* Of one block, at most SNAPPY_BLOCK bytes, each compressed by itself; without the length before the first. */
size_t snappy_block_size(const uint8_t *data, size_t len);
#endif
