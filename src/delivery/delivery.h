/*
 * The agent's side of the delivery book: the one door through which delivery changes the store.
 * sync/ includes this header and the public ones, nothing else of src/store.
 *
 * The protocol (docs/delivery.md), as far as the store keeps it:
 *
 *   attempt n:   delivery_intent(progress n, verdicts)   one durable write, before the broker's commit
 *                ... commit on the broker ...
 *   it happened: delivery_settle()                       the intent becomes the cursor, totals move with it
 *   it did not:  delivery_abandon()                      the intent is forgotten; number n is never used again
 *
 * Invariants kept here, so that no error of the agent can break the conservation law:
 *   I1  The intent covers the seqs (cursor, intent] with exactly one verdict for every record that the log
 *       holds there. Anything else is refused: nothing is lost or counted twice by an intent.
 *   I2  Attempt numbers ascend and are never reused, over restarts too.
 *   I3  Receipts and letters above the cursor belong to the intent that is there, or to nobody: writing an
 *       intent first removes what earlier attempts left above the cursor (a stale block behind a shorter
 *       later transaction once answered for events it had not delivered).
 *   I4  Totals are those of the cursor; they change in delivery_settle's transaction only.
 *   I5  Delivery never passes the index's watermark: duplicates are recognised by the indexer.
 *   I6  No event is both sent and dropped. A drop (a full store whose policy says so) turns the record of an
 *       unsettled event beyond the intent into a tombstone, under the lock that an intent is written under. So an
 *       intent that is there keeps its events, and one that comes too late is refused before its commit. Where the
 *       events are on the broker before the intent (at-least-once), such an event is sent, and no longer dropped.
 *   I7  The copy of a dead letter is published by one settled attempt: whatever an attempt publishes has waited
 *       for it, or is written by the attempt itself, and dlq_no grows by as many. Any other letter waits from the
 *       settling of the attempt that wrote it.
 *
 * Threads: one thread at a time may use an sl_delivery (it need not always be the same one). delivery_letters,
 * delivery_letters_count and delivery_report_set alone may be called beside it, and what takes the store.
 */
#ifndef SL_STORE_DELIVERY_H
#define SL_STORE_DELIVERY_H
#include "format/progress.h"
#include "format/receipt.h"
#include <sidelog/sidelog.h>

typedef struct sl_delivery sl_delivery;

/* Takes the store's agent lock (a file lock that dies with the process) and loads the book. SL_E_BUSY: another
 * agent has it; the detail names its pid and since when (see also sl_agent_alive). A producer that settles what a
 * full store dropped has it for a moment: that one is waited for as long as it is seen to work. delivery_close
 * ends it and gives the lock back. */
sl_status delivery_open(sl_store *store, sl_delivery **delivery);
void delivery_close(sl_delivery *delivery);
/* As delivery_open without the lock: what the book says at this moment, also beside a running agent. Every call
 * that would change the book is SL_E_INVALID. */
sl_status delivery_look(sl_store *store, sl_delivery **delivery);

/* What the book says. Everything belongs to the sl_delivery and is valid until its next call. */
typedef struct delivery_state {
  sl_progress cursor;        /* settled */
  bool has_intent;
  sl_progress intent;        /* written, outcome unknown */
  uint64_t intent_marker_end; /* as in its attempt: a partition that ends before it cannot tell the outcome */
  uint64_t last_attempt;     /* highest attempt number ever used */
  sl_slice cursor_bytes;     /* encoded forms: what the marker on the broker is compared with */
  sl_slice intent_bytes;     /* empty: none */
  sl_slice marker_bytes;     /* encoded progress of the last marker known to be on the broker; empty: none.
                                In exactly-once it is the cursor's; in at-least-once it stays behind */
  sl_slice cluster_id;       /* empty: none seen yet */
  int32_t marker_partition;  /* -1: not chosen yet */
  char sender[37];           /* the id under which the events are sent and the marker is kept: the store's, or
                                that of the last delivery_adopt with as_new */
  uint64_t delivered, duplicates, dead, dropped;
  uint64_t last_letter;      /* the highest number that a dead letter has waited under; 0: none ever did */
  bool letters_wait;         /* some wait for their copy (or would, if the intent were settled) */
} delivery_state;
const delivery_state *delivery_state_get(const sl_delivery *delivery);
/* Is there anything on a cluster, or set aside, that binds the store to it? */
static inline bool delivery_has_begun(const delivery_state *s) {
  return s->delivered > 0 || s->dead > 0 || s->marker_bytes.len > 0;
}

typedef struct delivery_verdict {
  uint64_t seq;
  int64_t place;             /* SENT: offset or -1; DUPLICATE: seq of the first; LANE: set by the store */
  const sl_letter *letter;   /* DEAD, DROPPED: required */
  int32_t partition;         /* SENT; -1: not known (then neither is the place) */
  uint8_t verdict;           /* SL_VERDICT_SENT, DUPLICATE, DEAD, DROPPED or LANE */
  bool copied;               /* DEAD: this very attempt publishes its copy, so it never waits for that */
} delivery_verdict;

typedef struct delivery_copy { /* of a dead letter, on its dead-letter topic */
  uint64_t number;           /* under which it waited (delivery_letters) */
  bool gone;                 /* it was not published: there is nothing to publish any more */
} delivery_copy;

typedef struct delivery_recreated { /* a topic that was deleted and created again, as the attempt knows by now */
  sl_slice topic;
  uint64_t seq;              /* its events of this attempt below it, and all of earlier ones, went to the old */
} delivery_recreated;

typedef struct delivery_attempt {
  sl_progress progress;      /* attempt = last_attempt + 1 */
  const delivery_verdict *verdicts;      /* of (cursor, progress.seq], ascending, one for every record */
  size_t count;
  const delivery_verdict *lane_verdicts; /* of events of lanes at or below the cursor, any order */
  size_t lane_count;
  const delivery_copy *copies;           /* ascending. dlq_no is the cursor's and one more for each not gone, and
                                            for each verdict that is copied */
  size_t copy_count;
  const delivery_recreated *recreated;   /* noted with the intent, and true also if the attempt comes to nothing */
  size_t recreated_count;
  bool marked;               /* the progress is written to the broker as a marker (exactly-once) */
  uint64_t marker_end;       /* where that was acknowledged: right before this offset; 0: not known */
} delivery_attempt;

/* Writes the intent, its receipts and its letters, durably. A claim is an attempt without verdicts. An
 * intent whose outcome is unknown is never overwritten: settle or abandon it first.
 * A lane's seq never steps back, a new lane opens at or above the old cursor, and a lane that is gone has
 * met the cursor: each waiting event that a lane moves beyond needs its lane verdict.
 * SL_E_INVALID: breaks I1, I2 or I5 (the detail says how; nothing was written), also where the log has
 * changed since it was read, an event of the attempt having been dropped: abort, and begin again at the
 * cursor. SL_NOTFOUND: the same by I6, where a full store has dropped an event of a marked attempt; no intent was
 * written, and for half a minute the store leaves these events alone. SL_E_FULL, SL_E_IO. */
sl_status delivery_intent(sl_delivery *delivery, const delivery_attempt *attempt);

typedef struct delivery_waiting {
  uint64_t number, seq;
  char topic[256];           /* of the event */
} delivery_waiting;
/* Settled dead letters whose copy is still to be published, from number `from` on, ascending, at most `max`. */
sl_status delivery_letters(sl_delivery *delivery, uint64_t from, delivery_waiting *out, size_t max, size_t *count);
/* How many wait: counts up to `most` of them. */
sl_status delivery_letters_count(sl_delivery *delivery, uint64_t most, uint64_t *count);

/* The intent becomes the cursor (and, when it was marked, the marker known to be on the broker).
 * SL_E_INVALID: there is no intent. */
sl_status delivery_settle(sl_delivery *delivery);

/* delivery_intent and delivery_settle as one durable write: for at-least-once, after acknowledgement. */
sl_status delivery_record(sl_delivery *delivery, const delivery_attempt *attempt);

/* Gives the tombstones at the cursor (and duplicates among them) their receipts, without a broker: up to 4,000
 * events. *settled: how far the cursor moved; 0: there is none, or an intent of unknown outcome. */
sl_status delivery_settle_tombstones(sl_delivery *delivery, sl_store *store, uint64_t *settled);

typedef struct delivery_place { uint64_t seq; int32_t partition; int64_t offset; } delivery_place;
/* Where events of the intent were acknowledged: at most `max`, from all over it. None without an intent. */
sl_status delivery_intent_places(sl_store *store, delivery_place *out, size_t max, size_t *count);

/* The intent's transaction certainly did not commit. */
sl_status delivery_abandon(sl_delivery *delivery);

/* Remembers the cluster this store delivers to and where its marker lies. */
sl_status delivery_set_cluster(sl_delivery *delivery, sl_slice cluster_id, int32_t marker_partition);

/* What a person decided about a cluster that does not fit the book (sidelogd --adopt). */
typedef struct delivery_adoption {
  bool as_new;               /* a new random sender, which has never delivered: no marker, no cluster. What else is
                                here is not looked at */
  sl_slice marker;           /* encoded progress that lies on the broker: from here on the one known to be there;
                                empty: none is */
  sl_slice cluster_id;       /* empty: stays */
  int32_t marker_partition;  /* -1: to be chosen */
  uint64_t attempt;          /* numbers up to this count as used */
} delivery_adoption;

/* Follows the decision, in one durable write. Cursor, totals and receipts stay as they are, so the conservation
 * law does; an intent whose outcome is unknown is abandoned: its events are pending again. */
sl_status delivery_adopt(sl_delivery *delivery, const delivery_adoption *adoption);

/* The note that says where the marker was seen last (i64 offset); delivery_adopt forgets it. */
#define DELIVERY_NOTE_MARKER "marker-offset"

/* Small facts the agent keeps over a restart (the learned transaction size, for example): name of
 * 1..64 bytes, value up to 4 KiB. Get copies at most `cap` bytes; SL_NOTFOUND. Not flushed on its own. */
sl_status delivery_note_set(sl_delivery *delivery, const char *name, sl_slice value);
sl_status delivery_note_get(sl_delivery *delivery, const char *name, void *value, size_t cap, size_t *len);

/* The agent's word on how it is, for sl_agent_report: one JSON object, replaced atomically (no flush). */
sl_status delivery_report_set(sl_delivery *delivery, sl_slice json);

/* The folder whose changes tell of new events, for a file watcher: "<store>/log/data.mdb". Valid until close. */
const char *delivery_watch_path(const sl_delivery *delivery);
#endif
