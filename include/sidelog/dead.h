/*
 * sidelog - dead letters: events that cannot be delivered as they are.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The law of sidelog.h holds here, too. A dead letter is an event in state SL_DEAD: it stays in the store with why, how
 * often and when it failed (sl_record), and a person decides: send it again (sl_replay), or give it up
 * (sl_dead_drop). To find them: sl_query with SL_STATE_BIT(SL_DEAD).
 */
#ifndef SIDELOG_DEAD_H
#define SIDELOG_DEAD_H

#include <sidelog/sidelog.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------- secrets --- */

/* Is given the text without its secrets, valid during the call, and whether it is one JSON value. */
typedef void sl_redacted_fn(void *arg, sl_slice text, int is_json);

/* Copies `text` with every secret of a well-known shape replaced by [redacted], as copies of dead letters have it.
 * In JSON: the values of members whose name says so (ends in password, secret, token, api_key and the like), and such
 * shapes inside any string, whatever escapes hide them; everything else stays byte for byte, and what was valid JSON is
 * valid JSON. In other text: the shapes, NAME=VALUE and NAME: VALUE. docs/dead-letters.md lists them. It is a net, not a
 * wall: a secret that looks like a word passes. SL_E_NOMEM. */
SL_API sl_status sl_redact(sl_slice text, sl_redacted_fn *fn, void *arg);

/* 1: the name of a member, a header or a variable says that its value is a secret. Any thread. */
SL_API int sl_secret_name(sl_slice name);

#ifdef __cplusplus
}
#endif
#endif
