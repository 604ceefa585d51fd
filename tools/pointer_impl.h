/* What pointer.c and pointer_walk.c share. Private to them. */
#ifndef TOOLS_POINTER_IMPL_H
#define TOOLS_POINTER_IMPL_H

#include "pointer.h"

#include <yajl/yajl_parse.h>

enum { TOKENS = 64, BLOCK = 16 << 10 };

typedef struct token {
  sl_slice name;
  size_t at;     /* as a place in an array */
  bool is_place; /* it can be one */
} token;

struct pointer {
  char *names;
  token tokens[TOKENS];
  size_t count;
  /* What stands in every text that has it, if nothing in the text is escaped; empty: nothing is known. */
  text must;
  bool has_slash; /* ... or its name's slash is */

  /* While parsing. */
  sl_slice json;
  yajl_handle parser;
  size_t depth, on;     /* open containers; those of them that lie on the way, all from the outermost */
  size_t place[TOKENS + 1];
  bool array[TOKENS + 1];
  bool hit;             /* the value that comes next is on the way */
  size_t many_depth, many_begin; /* the container that it points at is open */
  bool many;
  pointed kind;
  sl_slice found;
  text unescaped;
  /* yajl's memory: one block, and what did not fit. */
  char *block;
  size_t used;
  struct spill { struct spill *next; max_align_t data[]; } *spills;
};

/* False: yajl must decide. True: the text is JSON, and p->kind and p->found say what it has. */
bool pointer_walk(pointer *p, sl_slice json);
#endif
