/* What is out of the ordinary about the causes of a story's events, in words. */
#ifndef TOOLS_TRACE_NOTES_H
#define TOOLS_TRACE_NOTES_H

#include "tool.h"
#include "trace_draw.h"

/* Told of every note: `words` (malloc()ed, safe) are the taker's. */
typedef void trace_note_fn(void *arg, size_t at, char *words);

/* Where a circle was cut, where a cause is not among the nodes (it is looked for in the sources), where an event
 * is older than its cause; ascending. After trace_layout. */
void trace_notes(tool *t, const trace_node *nodes, size_t count, trace_note_fn *note, void *arg);
/* `more` behind what is there, if anything is; takes both. */
char *join_notes(char *note, char *more);
#endif
