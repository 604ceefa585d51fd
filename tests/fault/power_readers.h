/* The part of a recorded life (power.c) that a local reader plays, and what a power cut must have left of it. */
#ifndef SL_TESTS_POWER_READERS_H
#define SL_TESTS_POWER_READERS_H
#include "record.h"

#include <sidelog/sidelog.h>

enum { NOTE_READERS = 32 }; /* kinds of notes from here on are ours */

/* Reads what there is: acknowledges most of it, fails some for a while and some for good, sends one letter again
 * and drops another, and ends. True: it all went as it should. */
bool readers_live(sl_store *store);

/* Before a replay: nothing is promised. */
void readers_forget(void);
/* Takes a note of ours; others are passed over. */
void readers_promise(const record_entry *note);
/* What is wrong with the reader in an image, or NULL. Its law is verify's to check. It is at the end of the log
 * afterwards. */
const char *readers_judge(sl_store *store);
#endif
