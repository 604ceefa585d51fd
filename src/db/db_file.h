/* The data file of an LMDB environment, looked at without LMDB: LMDB maps it and trusts its meta page, so a
 * file shorter than that page says opens well and kills the process with SIGBUS at some later read. */
#ifndef SL_STORE_DB_FILE_H
#define SL_STORE_DB_FILE_H
#include "base/base.h"

typedef enum db_file_state {
  DB_FILE_ABSENT,  /* not there */
  DB_FILE_EMPTY,   /* there, but its creation never got as far as a meta page */
  DB_FILE_PRESENT  /* an LMDB data file of a version this library reads, as long as it has to be */
} db_file_state;

/* Reads both meta pages of `path` with pread; changes nothing. SL_E_CORRUPT: shorter than its meta page says
 * (pages that the free list holds may be missing), or not LMDB's; SL_E_VERSION: LMDB's, of a later format;
 * SL_E_ACCESS, SL_E_IO. */
sl_status db_file_check(const char *path, db_file_state *state);

/* Gives a file of `size` bytes (made with `mode` if it is not there; a file of another size keeps it) all its
 * blocks, without changing a byte. LMDB makes its lock file sparse and maps it, so on a full disk the first
 * touch of a block that is not there kills the process with SIGBUS. SL_E_FULL; where the system cannot do it,
 * or the file cannot be opened, nothing is done (LMDB says what is wrong with it). */
sl_status db_file_reserve(const char *path, uint64_t size, uint32_t mode);

/* Allocates blocks for a part of a file, which becomes longer by what lies beyond its end; nothing that is there changes.
 * ENOSPC or EDQUOT: there are none. 0: there they are, or the system cannot do it. */
int db_file_allocate(int fd, uint64_t from, uint64_t len);

/* Keeps others who make a data file in folder `dir` out until the descriptor is closed. -1: it cannot be had. */
int db_file_guard(const char *dir);

/* fsync of a folder, so that the names in it survive a power cut. */
sl_status db_file_sync_dir(const char *path);

/* Flushes a file through the drive's own cache (F_FULLFSYNC on Apple's systems, fdatasync elsewhere).
 * 0, or -1 with errno. */
int db_file_flush(int fd);

/* Asks the system to fetch mapped bytes from the disk now, without waiting for them; not if the last of them is
 * in memory. A hint: it may do nothing. It costs system calls, so it is for bytes that are probably not there: a
 * look that took longer than DB_SLOW_US went to the disk. */
void db_file_will_need(const void *data, size_t len);
#define DB_SLOW_US 40
#endif
