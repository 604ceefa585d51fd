/* One agent per store: the file lock that says so, and the agent's report. */
#ifndef SL_STORE_AGENT_LOCK_H
#define SL_STORE_AGENT_LOCK_H
#include "store/store.h"

typedef enum agent_role {
  AGENT_DELIVERS, /* an agent: it keeps the lock */
  AGENT_SETTLES   /* a producer that settles tombstones where no agent runs (space.h): for a moment */
} agent_role;

/* Takes the lock; *fd holds it until agent_unlock (or the end of the process). SL_E_BUSY names the holder. An
 * agent waits for a producer that settles as long as that one is seen to work; a producer waits for nobody. */
sl_status agent_lock(sl_store *store, agent_role role, int *fd);
void agent_unlock(int fd); /* negative: nothing */
/* A quick look without a wait: does somebody hold it? No when that cannot be told. */
bool agent_lock_held(sl_store *store);

/* Replaces the report atomically, without a flush. */
sl_status agent_report_set(sl_store *store, sl_slice json);
#endif
