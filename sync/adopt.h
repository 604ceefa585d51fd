/* `sidelogd --adopt`: the way on where store and cluster do not fit, which a person has to decide. Without a
 * choice it says what was found, what follows from each choice, and changes nothing. docs/delivery.md, "Parked",
 * has them all.
 *
 * Exit status: 0 done, or nothing to decide; 2 no such choice here; 3 the store cannot be used, or an agent runs;
 * 4 a choice is needed (without one); 5 the cluster did not answer. */
#ifndef SYNC_ADOPT_H
#define SYNC_ADOPT_H
#include "settings.h"
#include <stdio.h>

/* settings->choice: the answer, NULL for none. Takes the agent's lock, so it never works beside an agent. */
int adopt_run(const settings *settings, FILE *out);
#endif
