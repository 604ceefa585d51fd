/* The folder a store lives in: is it on a file system that can hold one, who may use it. */
#ifndef SL_STORE_STORE_FS_H
#define SL_STORE_STORE_FS_H
#include "store/store.h"

#include <sys/stat.h>

/* SL_E_UNSUPPORTED if `path`, or the nearest folder above it that exists, is on a network or FUSE file
 * system: LMDB needs a coherent shared map and locks that work. */
sl_status store_fs_check(const char *path);

/* What it means that there is no log in the store's folder: SL_E_MISMATCH when its delivery/ is there, and
 * SL_E_NO_STORE else. */
sl_status store_fs_no_log(const char *path);

/* Makes the store's folder and missing parents, durably. *made: it was not there, or was empty. */
sl_status store_fs_make(const char *path, bool *made);

/* Modes and group of a new store, from its options; its owner, from its folder if there is one. SL_E_INVALID:
 * no such group. */
sl_status store_fs_owner_new(sl_store *store);
/* The same of a store that is there, from its log/ folder. */
void store_fs_owner_old(sl_store *store);
/* Applies mode and group to the store's own folder. SL_E_ACCESS: not a member of the group. */
sl_status store_fs_own_root(const sl_store *store);
/* Gives folders and files below it the group, and the owner, where they are ours to give. */
sl_status store_fs_own_files(const sl_store *store);
/* Is it this user's alone to give away: a folder or a file, and no second name of another file? */
bool store_fs_is_ours(const struct stat *st);
/* Opens a file of the store, made if it is not there; a new one gets the store's mode, group and owner whatever
 * the umask. -1 with errno: ELOOP for a symbolic link. */
int store_fs_open_file(const sl_store *store, const char *path, int flags);
#endif
