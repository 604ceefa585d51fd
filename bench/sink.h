/* Delivery to nowhere: what the agent does to a store around a transaction, without a broker. */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H
#include "delivery/delivery.h"

/* Reads the events behind the cursor up to the index's watermark `indexed`, at most 100,000 as the agent takes
 * them, copies each as a client library would, and gives every one its verdict: the intent, `commit_us` that a
 * broker would take, then the settling. Returns the cursor. */
uint64_t sink_deliver(sl_store *store, sl_delivery *delivery, uint64_t indexed, unsigned commit_us);
#endif
