/* The values of the records that the producer has. librdkafka points to them here, and a value goes when its delivery
 * is reported: so an event costs one small allocation less of librdkafka's, and what is freed is whole slabs, which
 * leave no holes in the heap. One thread at a time. */
#ifndef SYNC_KAFKA_STOCK_H
#define SYNC_KAFKA_STOCK_H
#include "base/base.h"

typedef struct stock_slab stock_slab;

typedef struct stock_entry { /* one record in the producer; its value follows */
  uint64_t tag;
  stock_slab *slab;
  size_t len;
  size_t cost;             /* whatever the caller counts */
  uint8_t value[];
} stock_entry;

typedef struct stock {
  stock_slab *busy;        /* hold at least one entry, or are being filled */
  stock_slab *open;        /* the one of these that is being filled; NULL: none is */
  stock_slab *spare;
  size_t bytes;            /* memory of the busy ones */
  size_t slabs, most;      /* how many of the usual size are busy, and were since it was last empty */
  size_t live;             /* entries */
  size_t value_bytes;      /* of their values */
} stock;

/* Would so many bytes more be in memory already, or take it beyond `most` in all? A slab is busy until its last entry is
 * given back: one record that nobody acknowledges keeps the memory of its neighbours. */
bool stock_has_room(const stock *s, size_t value_len, size_t most);
/* A copy of the value. NULL: out of memory. */
stock_entry *stock_take(stock *s, sl_slice value);
void stock_give(stock *s, stock_entry *entry);
/* All entries, given back or not: nobody points to them any more. */
void stock_free(stock *s);
#endif
