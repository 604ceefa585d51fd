/* Which events a question about causes is about, whatever their correlation, and whichever source has them. */
#ifndef TOOLS_TRACE_WALK_H
#define TOOLS_TRACE_WALK_H

#include "sources.h"
#include "story_ids.h"

typedef struct seq_list {
  struct spot { uint64_t seq; size_t source; int64_t at_us; } *items; /* at_us: of the append */
  size_t count;
  room room;
  bool cut; /* more than WALK_MOST: the rest is left out */
} seq_list;
enum { WALK_MOST = 100000 };

/* The event and its chain of causes; it and all its effects; the chain that joins two. In the order of their
 * appends. 0, or an exit status after saying why. seq_list_free is idempotent. */
int walk_causes(tool *t, const char *event, seq_list *out);
int walk_effects(tool *t, const char *event, seq_list *out);
int walk_path(tool *t, const char *from, const char *to, seq_list *out);
void seq_list_add(seq_list *list, struct spot spot); /* any number */
void seq_list_free(seq_list *list);
#endif
