/* What is out of the ordinary about the causes of a story's events, in words. */
#ifndef TOOLS_TRACE_NOTES_H
#define TOOLS_TRACE_NOTES_H

#include "tool.h"
#include "trace_draw.h"

/* Adds to rows[i].note (malloc()ed; made safe) where a circle was cut, the cause is not among the nodes (looked for in the
 * sources), or the event is older than its cause. After trace_layout. */
void trace_notes(tool *t, const trace_node *nodes, trace_row *rows, size_t count);
#endif
