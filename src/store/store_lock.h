/* Who has the store open: every sl_store holds a shared flock on <store>/store.lock, and what needs the store for
 * itself (compacting, a fresh slots file) takes it exclusively. It dies with its process. */
#ifndef SL_STORE_STORE_LOCK_H
#define SL_STORE_STORE_LOCK_H
#include "store/store.h"

/* Takes the lock of an sl_store being opened (its lock_fd, and while it is alone its gate_fd: -1 before);
 * store->root is known. lock_fd stays -1 where the file system has no flock: then nobody can be told to be alone.
 * *alone: no other process has the store open, and none will have it open before store_lock_share. Waits for one
 * that has the store for itself as long as that one is seen to work. SL_E_BUSY: it has changed no file of the
 * store for ten seconds. */
sl_status store_lock_enter(sl_store *store, bool *alone);
/* From here on others may open the store, too. What was made while alone may have been made anew by another opener
 * that was alone in the moment between: look at it after this. Nobody can have it for itself in that moment. */
sl_status store_lock_share(sl_store *store);
/* Says which file is this process's log (db_env_file), and asks the others: does each of them have the same? Who
 * has one that was replaced shares the slots file, and numbers topics by the old log. True where it cannot ask. */
bool store_lock_same_log(const sl_store *store, uint64_t file);
/* Ends it. `ours` false: a forked child's copy, closed without giving up the parent's lock; true: also unlocked by
 * name, as a child forked meanwhile shares the open file. */
void store_lock_leave(sl_store *store, bool ours);

/* Takes the store in folder `root` for this process, for as long as *fd stays open. SL_E_BUSY: some process has
 * it open. SL_E_UNSUPPORTED: the file system has no flock. SL_E_NO_STORE: there is no such folder. */
sl_status store_lock_exclusive(const char *root, int *fd);
void store_lock_close(int fd); /* ends it; negative: nothing */
/* Removes what a compaction that was killed has left. For who is alone. */
void compact_tidy(const sl_store *store);

/* A number that changes with each of these files below `root`: how it is seen that somebody is at work. */
uint64_t store_lock_pulse(const char *root, const char *const *names, size_t count);
#endif
