/* The conservation law in words. Pure. */
#ifndef TOOLS_LAW_H
#define TOOLS_LAW_H

#include "text.h"

/* "1,204,113 appended = 1,204,089 delivered + 22 duplicates + 2 dead": terms that are 0 are left out, but for
 * the first. */
void law_words(text *out, const sl_stats *s);
#endif
