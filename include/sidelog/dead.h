/*
 * sidelog - dead letters: events that cannot be delivered as they are.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The law of sidelog.h holds here, too. A dead letter is an event in state SL_DEAD: it stays in the store with
 * why, how often and when it failed (sl_record), and a person decides: send it again (sl_replay), or give it up
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
 * In JSON: the values of members whose name says so (ends in password, secret, token, api_key and the like), and
 * such shapes inside any string, whatever escapes hide them; everything else stays byte for byte, and what was
 * valid JSON is valid JSON. In other text: the shapes, NAME=VALUE and NAME: VALUE. docs/dead-letters.md lists
 * them. It is a net, not a wall: a secret that looks like a word passes. SL_E_NOMEM. */
SL_API sl_status sl_redact(sl_slice text, sl_redacted_fn *fn, void *arg);

/* 1: the name of a member, a header or a variable says that its value is a secret. Any thread. */
SL_API int sl_secret_name(sl_slice name);

/* ------------------------------------------------------------------ why --- */

/* How an event died. Slices are valid during the call. */
typedef struct sl_dead_letter {
  uint64_t seq;
  uint32_t attempts;
  sl_slice error_class, error_code, error_text;
  int32_t error_number;          /* librdkafka's number of the code, or 0 */
  int64_t first_failure_us, last_failure_us;
  int64_t dropped_us;            /* 0: nobody dropped it */
} sl_dead_letter;

typedef void sl_dead_letter_fn(void *arg, const sl_dead_letter *letter);

/* The letter of event `seq`, which stays when a replay has brought the event home and sl_record no longer tells.
 * `fn` is called once, and may call other functions of this library. SL_NOTFOUND: it was never dead, or is
 * trimmed. SL_E_IO. */
SL_API sl_status sl_dead_letter_of(sl_store *store, uint64_t seq, sl_dead_letter_fn *fn, void *arg);

/* ---------------------------------------------------------------- replay --- */

#define SL_REPLAY_VERSION 1u
#define SL_REPLAYS_DEFAULT 3u

typedef struct sl_replay_options {
  uint32_t version;
  uint32_t most;           /* so many copies of one letter, ever (a guard against loops); 0: SL_REPLAYS_DEFAULT */
} sl_replay_options;

/* Sends dead event `seq` again: appends a copy of it, as durable as an append, with its topic, type, ids, key,
 * headers and value, which the indexer does not take for a duplicate. Where `seq` is such a copy itself, its
 * original is meant. *copy_seq (may be NULL) is the copy's seq; sl_record.replay_of of the copy names the
 * original. The copy is no event of its own: it counts neither as appended nor as pending. The original stays dead
 * until the delivery of the copy is settled, which moves it to sent. A copy that fails leaves it dead. However
 * often it is called, an event is sent once: a copy whose original is no longer dead when its turn comes is not
 * sent. `options` may be NULL. SL_NOTFOUND: no such event. SL_E_INVALID: it is not dead (the detail says what
 * became of it). SL_E_BUSY: a copy of it is on its way. SL_E_LIMIT: it was replayed as often as `most` allows.
 * SL_E_FULL, SL_E_IO, SL_E_UNCERTAIN (as in sl_append: ask again, and it is SL_E_BUSY if the copy was stored). */
SL_API sl_status sl_replay(sl_store *store, uint64_t seq, const sl_replay_options *options, uint64_t *copy_seq);

/* ------------------------------------------------------------------ drop --- */

/* Gives dead event `seq` up: from dead to dropped, durably, with who (1 to 255 bytes of UTF-8) and why (the same),
 * which stay with the event (sl_record.dropped_by, drop_reason), as does how it failed. It is not sent any more,
 * nor is a copy that waits for its turn. SL_NOTFOUND: no such event. SL_E_INVALID: it is not dead, or a text
 * breaks its rule. SL_E_BUSY: a copy of it is being sent at this moment; look again in a few seconds. SL_E_FULL,
 * SL_E_IO. */
SL_API sl_status sl_dead_drop(sl_store *store, uint64_t seq, sl_slice who, sl_slice why);

/* ----------------------------------------------------------------- audit --- */

#define SL_DROPS_MOST 100000u    /* of delivery, and of all readers together: older ones go, */
#define SL_DROPS_DAYS 400u       /* and those from so long ago */

/* What a person gave up. It is kept when the event and its letter are trimmed. */
typedef struct sl_drop {
  uint64_t number;               /* ascending, never reused */
  int64_t dropped_us;
  uint64_t seq;                  /* of the event */
  sl_slice reader;               /* whose dead letter; empty: delivery's. Slices are valid during the call */
  sl_slice event_id, topic, type;
  sl_slice error_class, error_code;
  sl_slice who, why;
} sl_drop;

typedef void sl_drop_fn(void *arg, const sl_drop *drop);

/* The audit trail of dropped dead letters, oldest first: of delivery (sl_dead_drop) with `reader` NULL, else of
 * that reader (sl_reader_drop; "*": of all readers, deleted ones too). `fn` may call other functions of this
 * library. SL_E_IO. */
SL_API sl_status sl_drops_each(sl_store *store, const char *reader, sl_drop_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
