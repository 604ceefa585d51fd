/* Tells somebody over HTTP: one POST of JSON. The only code that knows libcurl, which it loads. Where it was not
 * there at the build (see meson.build) the settings refuse a webhook; is it missing now, each post fails. */
#ifndef SYNC_HOOK_H
#define SYNC_HOOK_H
#include "base/base.h"
#include <stdatomic.h>

/* Before there are other threads, and after. */
bool hook_setup(void);
void hook_end(void);

/* POSTs `body` as application/json, with one more header ("Name: value", NULL: none). True when the answer is 2xx;
 * else `why` says what happened, without the path of the URL, which may be a secret. Redirects are not
 * followed. Blocks up to 10 s, and about a second once *stop is set. Any thread. */
bool hook_post(const char *url, const char *header, sl_slice body, const atomic_bool *stop, char *why, size_t cap);
#endif
