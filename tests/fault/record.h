/* Records what a test program does to the files below one folder: linked into it, this stands in for the calls
 * with which LMDB and the library change files, and writes each call down, in the order in which they happened,
 * over all threads and forked processes of the program. What log/slots holds through shared maps is looked at with
 * each flush and written down as unflushed writes. The product's code knows nothing of it. */
#ifndef SL_TESTS_RECORD_H
#define SL_TESTS_RECORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum record_kind {
  RECORD_WRITE,        /* bytes at `at` of `file` */
  RECORD_WRITE_SYNCED, /* the same through a descriptor with O_DSYNC: these bytes are flushed, no others */
  RECORD_SIZE,         /* `file` is cut off or extended with zeros to `at` bytes */
  RECORD_FLUSH,        /* of `file`; of a folder: of the names in it */
  RECORD_MAKE,         /* bytes: a path; `file` has this name from now on; `at` is 1 for a folder */
  RECORD_REMOVE,       /* bytes: a path */
  RECORD_RENAME,       /* bytes: two paths, each with its NUL */
  RECORD_NOTE          /* what the program says: `at` and `len` are its own, `file` is its kind */
} record_kind;

typedef struct record_entry {
  uint32_t kind, file;
  uint64_t at, len;   /* len: bytes that follow in `bytes`, unless it is a note */
  uint8_t bytes[];
} record_entry;

enum { RECORD_FILES = 64, RECORD_PATH = 64 };

/* From here on what happens below `root` (an absolute path, nothing there yet) is written down. */
bool record_begin(const char *root);
/* From here on nothing is. The entries stay readable. */
void record_end(void);

/* Writes down a note. Any thread, any process. */
void record_note(uint32_t kind, uint64_t a, uint64_t b);

/* Writes down what lock.mdb holds. Only from a forked child that does not have the store open. */
void record_locks(void);

/* Walks the entries: NULL begins, NULL ends. */
const record_entry *record_next(const record_entry *entry);
/* Path of a file, relative to the root; "" is the root itself. */
const char *record_path(uint32_t file);

/* Moves the wall clock of all processes of the program by so many microseconds. */
void record_move_clock(int64_t us);
#endif
