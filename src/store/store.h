/* What the files of this room share: the open store and the rooms inside it. */
#ifndef SL_STORE_STORE_H
#define SL_STORE_STORE_H
#include "base/base.h"
#include "base/life.h"
#include "db/db.h"
#include <pthread.h>
#include <sys/types.h>

#define SL_FORMAT_VERSION 1u

typedef struct sl_dict sl_dict;
typedef struct sl_log sl_log;
typedef struct sl_index sl_index;
typedef struct sl_book sl_book;
typedef struct sl_async sl_async;
typedef struct sl_readers sl_readers;

struct sl_store {
  sl_life life;         /* of the process that opened it */
  char *path;           /* as given to sl_open */
  char *root;           /* absolute: the process may change its working directory */
  uint8_t uuid[16];
  char uuid_text[37];
  sl_options options;   /* with defaults filled in; group is not kept */
  bool existed;
  uint32_t file_mode, dir_mode;
  int64_t gid;          /* -1: none */
  int64_t uid;          /* root in another's store gives it what it makes there; -1: what is made stays ours */

  sl_log *log;          /* log.h: the truth */
  sl_index *index;      /* index.h: derived */
  sl_book *book;        /* book.h: receipts, dead letters, cursors: what delivery knows */
  sl_readers *readers;  /* readers.h: places of local readers */
  struct sl_waiters *wait; /* wait.h */
  sl_async *async;      /* async.h: appends that nobody waits for */
  int lock_fd, gate_fd;       /* store_lock.h; -1: none */
  struct sl_store *next_open; /* registry of open stores, by device and inode */
  uint64_t dev, ino;
};

/* First line of every public function. SL_E_FORKED, SL_E_INVALID for NULL. */
sl_status store_enter(const sl_store *store);

/* Path of a file or folder inside the store; free() it. NULL: out of memory. */
char *store_path(const sl_store *store, const char *name);
#endif
