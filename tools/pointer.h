/* JSON pointers (RFC 6901) into text that stays as it is: nothing is built, nothing is written anew. Pure. */
#ifndef TOOLS_POINTER_H
#define TOOLS_POINTER_H

#include "text.h"

typedef struct pointer pointer;

/* "/payload/agent_name", "/items/0/id", "" (the whole text); ~1 stands for / and ~0 for ~ in a name. NULL: it does
 * not begin with /, or has a ~ with neither behind it. pointer_free ends it; accepts NULL. */
pointer *pointer_new(sl_slice words);
void pointer_free(pointer *p);

typedef enum pointed { POINTED_NOTHING, POINTED_TEXT, POINTED_NUMBER, POINTED_WORD, POINTED_MANY } pointed;

/* What it points at: a string without its escapes, a number digit for digit, true, false or null, an object or
 * array as it stands there. Of a name that stands twice in an object the last counts. *found belongs to `p` or to
 * `json`, until the next call. POINTED_NOTHING: it points at nothing there, or `json` is no JSON.
 * Most texts without it are told by a search for its last name, before anything is parsed. */
pointed pointer_find(pointer *p, sl_slice json, sl_slice *found);
/* The same by a parser that knows all of JSON, which pointer_find asks where it is not sure. For tests. */
pointed pointer_find_slowly(pointer *p, sl_slice json, sl_slice *found);

/* Can a string that means `plain` (without quotes, backslashes and control characters; has_slash: with a slash)
 * stand in the text? False is certain: it is neither there as it is nor in escapes. */
bool text_may_have(sl_slice json, sl_slice plain, bool has_slash);
#endif
