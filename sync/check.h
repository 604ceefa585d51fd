/* `sidelogd --check`: connects as the agent would and says what is missing, before any event is risked. It sends
 * no event and changes nothing: what has to be written to be proven is written in transactions that are aborted,
 * under a transactional id of its own (the agent's and "-check"), so it may run beside the agent.
 *
 * One line a check: ok, warning or missing, what it is about, what was found and what to do. With --json an object
 * a line: verdict, check, subject (may be null), text, remedy (null when ok).
 *
 * Exit status: 0 nothing is missing (there may be warnings); 3 the store cannot be read; 4 something is. */
#ifndef SYNC_CHECK_H
#define SYNC_CHECK_H
#include "settings.h"
#include <stdio.h>

int check_run(const settings *settings, FILE *out);
#endif
