/* Faults of the operating system, for one process: linked into a test program, it stands in for the calls with
 * which LMDB and the library write, flush and allocate, and lets the Nth of them go wrong. The product's code
 * knows nothing of it. */
#ifndef SL_TESTS_FAULTS_H
#define SL_TESTS_FAULTS_H
#include <stdbool.h>

typedef enum fault_kind {
  FAULT_NONE,
  FAULT_WRITE_EIO,    /* the Nth write fails, the next ones work */
  FAULT_WRITE_SHORT,  /* the Nth write writes half of its bytes */
  FAULT_DISK_FULL,    /* from the Nth write on none finds room */
  FAULT_FLUSH_EIO,    /* the Nth fdatasync, fsync or synchronous write fails */
  FAULT_META_LATE,    /* the Nth meta page of LMDB reaches the file, but its write says that it failed; and what is
                         put back in its place does not reach it */
  FAULT_META_GONE,    /* from the Nth meta page on none can be written */
  FAULT_ALLOC,        /* the Nth allocation finds no memory (not under sanitizers, which own malloc) */
  FAULT_MAP,          /* the Nth mmap finds no address space, or the Nth ftruncate or fallocate no room */
  FAULT_KILL,         /* SIGKILL before the Nth write, flush or truncation */
  FAULT_KILL_HALFWAY, /* SIGKILL when half of the Nth write's bytes are written */
  FAULT_KINDS
} fault_kind;

/* Is plain write() to a file, by which copies and the ballast are written, among the writes? At first it is
 * not. */
extern bool fault_plain_writes;

extern const char *const fault_names[FAULT_KINDS];
bool fault_possible(fault_kind kind);

/* Arms a fault at the `nth` (1 is the next) call of its kind; FAULT_NONE, 0 disarms. */
void fault_arm(fault_kind kind, long nth);
/* Has it struck? */
bool fault_struck(void);
#endif
