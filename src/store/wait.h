/* Waiting for new events (sl_wait): watchers of the log's data file. */
#ifndef SL_STORE_WAIT_H
#define SL_STORE_WAIT_H

typedef struct sl_waiters sl_waiters;

sl_waiters *wait_open(void); /* NULL: out of memory. Makes no watcher yet */
void wait_close(sl_waiters *waiters);
#endif
