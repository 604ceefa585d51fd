/* The history of the delivery core in a file (core/history.h): `debug.history` of the settings. */
#ifndef SYNC_KEEP_H
#define SYNC_KEEP_H
#include "core/core.h"
#include <stdio.h>

typedef struct keep keep;

/* Records `c` into `path`, from now on. What was in that file, and what has filled half of `most` bytes since, is
 * moved to `path`.1: so the last two parts stay. NULL: the file cannot be made, or no memory (errno says). */
keep *keep_start(core *c, const char *path, int64_t most);
/* Writes out what has gathered. False once: something could not be written, and the recording has ended. */
bool keep_flush(keep *k);
void keep_end(keep *k); /* before the core ends; NULL is fine */

/* `sidelogd --replay-history FILE`: a line for each step, then the verdict. Exit status: 0 as recorded, 1
 * otherwise, 3 unreadable. */
int keep_replay(const char *path, FILE *out);
#endif
