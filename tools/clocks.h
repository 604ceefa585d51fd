/* What is said of several sources, and of how their clocks differ (skew.h). */
#ifndef TOOLS_CLOCKS_H
#define TOOLS_CLOCKS_H

#include "skew.h"
#include "sources.h"

/* How many events a source has, and of these others, too. */
typedef struct tally {
  uint64_t events, shared;
} tally;

/* The next event of t->from; `c`: its copies elsewhere. tallies (may be NULL): of each source. */
void clocks_learn(tool *t, skew *s, const sl_record *r, const copies *c, tally *tallies);
/* After the last one: what other stories say of the clocks, and skew_solve. Those are the causes that join two
 * sources among the CLOCKS_AROUND events before and behind the first one that was learned of each; they are looked
 * for once. */
enum { CLOCKS_AROUND = 2000 };
void clocks_solve(tool *t, skew *s);
/* The same, and sets the sources' shift_us, unless --no-skew. */
void clocks_settle(tool *t, skew *s);

/* "clock of b is ...; its times are told 1.200 s later (~)". Nothing for the first source. Safe. */
void clocks_words(text *out, const tool *t, const skew *s, size_t source);
/* A line for each source: how many events, whose they are, its clock. */
void clocks_draw(tool *t, const skew *s, const tally *tallies);
/* "3 events, 1 of them in others, too; clock of b ...". Safe. */
void source_words(text *out, const tool *t, const skew *s, size_t source, const tally *tallies);
/* {"clocks": [...]}: the members documented in docs/cli.md. */
void clocks_json(tool *t, json *j, const skew *s);
#endif
