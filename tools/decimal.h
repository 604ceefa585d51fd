/* Numbers as they are written, compared exactly: no digit is lost, whatever their size. Pure. */
#ifndef TOOLS_DECIMAL_H
#define TOOLS_DECIMAL_H

#include <sidelog/sidelog.h>

#include <stdbool.h>

/* Is it one: an optional sign, digits, perhaps a point with digits behind it, perhaps an exponent? */
bool decimal_is(sl_slice words);

/* <0, 0, >0: both are decimals; 1.0, 1e0 and 0.1E1 are equal. An exponent beyond 15 digits counts as the
 * largest. */
int decimal_compare(sl_slice a, sl_slice b);
#endif
