/* Appends that nobody waits for: a queue and the one thread that works it off. */
#ifndef SL_STORE_ASYNC_H
#define SL_STORE_ASYNC_H
#include "store/store.h"

sl_async *async_new(void); /* no thread yet; NULL: out of memory */
/* Is this the thread of the callbacks? */
bool async_is_callback(const sl_store *store);
/* Waits until all that was taken is decided. In a forked child it only frees memory. */
void async_close(sl_store *store);
#endif
