/* What is longer than the screen goes to a pager, if a terminal is there to page on. */
#ifndef TOOLS_PAGER_H
#define TOOLS_PAGER_H

#include "output.h"

/* Has output held back (output.h) until it is more than a screen, and then taken to $SIDELOG_PAGER, else $PAGER,
 * else `less -FRX`. Nothing happens without a terminal that can page, and when the variable is empty or cat. A
 * pager that cannot be started is said on stderr (the default is not), and stdout is used. */
void pager_offer(output *o);
/* All that is held back is written, to the pager if it does not fit the screen; waits for the pager. */
void pager_finish(output *o);
#endif
