/* The members of a JSON object, each as it stands there. Pure. */
#ifndef TOOLS_MEMBERS_H
#define TOOLS_MEMBERS_H

#include "text.h"

typedef struct members {
  const char *at, *end;
} members;

/* `json` must be an object that json_valid_deep took. False: it is no object. */
bool members_begin(members *m, sl_slice json);
/* The next one: its name without quotes (escapes as they are), and its value. False: there is no more. */
bool members_next(members *m, sl_slice *name, sl_slice *value);
/* The same for an array. */
bool items_begin(members *m, sl_slice json);
bool items_next(members *m, sl_slice *value);

/* A JSON string with its quotes, without its escapes; `out` has room for as many bytes as the string. Returns its
 * length. What is no text in UTF-8 (half a surrogate pair) becomes U+FFFD, as does NUL unless `any`. False: it is
 * no string. */
bool unescape(sl_slice string, bool any, char *out, size_t *len);
/* Of the text of a JSON string, with its quotes. False: it is no base64 (RFC 4648, padded). */
bool base64_decode(sl_slice string, char *out, size_t *len);
#endif
