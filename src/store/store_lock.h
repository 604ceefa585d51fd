/* Who has the store open: every sl_store holds a shared flock on <store>/store.lock, and what needs the store for
 * itself (compacting, a fresh slots file) takes it exclusively. It dies with its process. */
#ifndef SL_STORE_STORE_LOCK_H
#define SL_STORE_STORE_LOCK_H
#include "store/store.h"

/* Takes the lock of an sl_store being opened; store->root is known. *alone: no other process has the store open, and
 * none will have it open before store_lock_share. *fd is -1 where the file system has no flock: then nobody can be
 * told to be alone. SL_E_BUSY: somebody has the store for itself and did not end within ten seconds. */
sl_status store_lock_enter(sl_store *store, int *fd, bool *alone);
/* From here on others may open the store, too. What was made while alone may have been made anew by another one that
 * was alone in the moment between: look at it after this. */
sl_status store_lock_share(const sl_store *store, int fd);

/* Takes the store in folder `root` for this process, for as long as *fd stays open. SL_E_BUSY: some process has
 * it open. SL_E_UNSUPPORTED: the file system has no flock. SL_E_NO_STORE: there is no such folder. */
sl_status store_lock_exclusive(const char *root, int *fd);

/* Ends any of them; negative: nothing. `ours` false: a forked child's copy, closed without giving up the parent's lock;
 * true: also unlocked by name, as a child forked meanwhile shares the open file. */
void store_lock_close(int fd, bool ours);
#endif
