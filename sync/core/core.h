/* The delivery core: a pure state machine. No clock, no socket, no file, no thread: time arrives inside the
 * event, and what must be done leaves as actions. docs/delivery.md draws it and argues why it is exact.
 *
 *   core_step(core, event, actions)    everything but single records goes through here
 *   core_offer / core_refused / core_delivered    single records, on the hot path; same rules, no actions
 *
 * The driver (sync/ops.c, sync/fill.c) performs each action and reports its end with one EVENT_DONE naming the
 * same operation. At most one operation is under way at a time; EVENT_LOG, EVENT_TIMER, EVENT_STOP and the
 * handle's errors may arrive at any moment.
 *
 * Phases, exactly-once (in at-least-once those marked * do not exist):
 *
 *   BACKOFF -> CONNECT -> *MARKER_TOPIC -> *INIT_TXN -> *READ_MARKER -> *RECONCILE -> *claim -> IDLE
 *   IDLE -> [TOPIC ->] FILL -> FLUSH -> INTENT -> *COMMIT -> SETTLE -> IDLE      a transaction
 *   FILL, FLUSH, INTENT: any failure -> *ABORT -> [ABANDON ->] IDLE or BACKOFF
 *   any doubt (below), any fatal fault -> DESTROY -> BACKOFF
 *   a refusal that needs a person -> DESTROY -> PARKED
 *
 * THE RULE OF DOUBT. A commit or abort that did not succeed at its first call, took longer than half of
 * socket.timeout, or met a transport error without being sure that each EndTxn written has been answered: the
 * handle is destroyed and the outcome is read from the marker after INIT_TXN, before anything else is begun.
 * (librdkafka 2.0.2 resends EndTxn under the same epoch: a copy held in the network aborted the NEXT transaction,
 * whose commit then returned ok: seen, 0 of 10 events.)
 *
 * Copies of dead letters go in transactions of their own, in turn with the others: FILL (letters) -> FLUSH ->
 * INTENT -> COMMIT -> SETTLE. So a dead-letter topic that cannot be written breaks nothing but the copies, and
 * they wait. Where nothing is sent but a verdict or few, the copies go along in the same transaction (letters.c):
 * a lone event that fails is on its dead-letter topic as soon as another would be on its own.
 *
 * The claim is a transaction without events: FILL (nothing) -> FLUSH -> INTENT -> COMMIT -> SETTLE. It carries the
 * new incarnation, so that whoever else drains this store is recognised. */
#ifndef SYNC_CORE_CORE_H
#define SYNC_CORE_CORE_H
#include "base/base.h"
#include "core/fault.h"
#include "delivery/delivery.h"

typedef enum core_phase {
  PHASE_BACKOFF = 0, /* no operation; waits for wake_at */
  PHASE_CONNECT,
  PHASE_MARKER_TOPIC,
  PHASE_INIT_TXN,
  PHASE_READ_MARKER,
  PHASE_RECONCILE,   /* settling or abandoning the intent, as the marker says */
  PHASE_IDLE,        /* ready; no transaction */
  PHASE_TOPIC,       /* a topic is being looked up; no transaction is open */
  PHASE_FILL,        /* records are offered and produced */
  PHASE_FLUSH,       /* waits for every delivery */
  PHASE_INTENT,      /* the intent is being written */
  PHASE_COMMIT,
  PHASE_SETTLE,      /* the intent is becoming the cursor */
  PHASE_ABORT,
  PHASE_ABANDON,     /* the intent of an aborted transaction is being forgotten */
  PHASE_DESTROY,
  PHASE_PARKED,      /* waits for a person (or, where a probe may help, for wake_at) */
  PHASE_STOPPED,     /* the driver may exit */
  PHASE_COUNT
} core_phase;

typedef enum core_op { /* also the kind of an action */
  OP_NONE = 0,
  OP_CONNECT,        /* create the handle unless there is one; reach the cluster. DONE: cluster_id */
  OP_MARKER_TOPIC,   /* prepare the marker topic, note its partition. DONE: partitions */
  OP_INIT_TXN,
  OP_READ_MARKER,    /* DONE: marker, marker_offset */
  OP_TOPIC,          /* prepare action.topics, all at once. DONE: topics (or why: of all of them) */
  OP_FILL,           /* offer records from action.from on (of one lane or of all topics), or dead letters that wait
                        (action.letters) from that number on. DONE: fill_end */
  OP_FLUSH,          /* produce the marker (action.marker, unless empty), then flush */
  OP_INTENT,         /* delivery_intent(core_attempt()); at-least-once: delivery_record */
  OP_COMMIT,
  OP_SETTLE,
  OP_ABORT,
  OP_ABANDON,
  OP_DESTROY,
  OP_EXIT            /* not an operation: the core has come to rest, exit with action.exit_status */
} core_op;

typedef enum core_park {
  PARK_NONE = 0,
  PARK_FOREIGN_CLUSTER, /* another cluster id than before */
  PARK_MARKER_AHEAD,    /* the cluster's progress is not one of ours: restored or copied store, second agent */
  PARK_MARKER_MISSING,  /* events were delivered, but the marker is gone: marker topic or cluster recreated. Looked
                           for again, since who leads the topic may only be behind; but before INIT_TXN, so that no
                           look fences anybody */
  PARK_REFUSED,         /* credentials or cluster rights: probed again by itself */
  PARK_SHARED_ID        /* somebody who does not touch our marker fences us, again and again: another store with
                           this transactional id, say. Tried again after an hour */
} core_park;

/* What the marker on the cluster (empty: none) means for a book: PARK_NONE when it is the intent's or the one
 * known to be there, byte for byte. */
static inline core_park core_judge_marker(sl_slice there, sl_slice known, sl_slice intent) {
  if (there.len == 0) return known.len == 0 ? PARK_NONE : PARK_MARKER_MISSING;
  if (intent.len > 0 && sl_slice_eq(there, intent)) return PARK_NONE;
  return known.len > 0 && sl_slice_eq(there, known) ? PARK_NONE : PARK_MARKER_AHEAD;
}

typedef struct core_config {
  bool exactly_once;
  bool letters;                /* copies of dead letters are published */
  bool drain;                  /* stop when everything appended before the start is settled */
  uint64_t drain_to;           /* newest seq at the start */
  int64_t drain_deadline_us;   /* 0: none */
  int64_t latency_budget_us;
  int64_t txn_max_events, txn_max_bytes;
  int64_t txn_start_bytes;     /* learned size of last time; 0: the default */
  int64_t txn_timeout_us;
  int64_t txn_timeout_max_us;  /* it may be raised so far; at or below txn_timeout_us: it is not */
  int64_t txn_start_timeout_us; /* learned last time (core_txn_timeout_us); 0: txn_timeout_us */
  int64_t link_gap_us, link_bytes_per_s; /* the same of a link that breaks (core_view); 0: it does not */
  int64_t doubt_us;            /* half of socket.timeout; 0: of core_socket_timeout_us */
  int64_t flow_bytes_per_s, flow_events_per_s; /* to the brokers, before compression; 0: no limit */
  int64_t look_us;             /* topics are looked up again after so long, before a transaction; 0: never */
  int64_t probe_us;            /* lanes are tried again after so long, and a parked core where a probe may help */
  uint8_t incarnation[16];
  uint64_t seed;               /* of the jitter */
} core_config;

typedef struct core core;

typedef enum core_event_kind {
  EVENT_START,   /* once, first */
  EVENT_TIMER,   /* core_wake_at has passed (too early is harmless) */
  EVENT_LOG,     /* last_seq, indexed_seq */
  EVENT_DONE,    /* the operation `op` ended */
  EVENT_ERROR,   /* the handle's own error: why, transport */
  EVENT_REACHED, /* a broker answers again */
  EVENT_BOOK,    /* the driver settled events itself, at rest (no operation under way): book */
  EVENT_RESUMED, /* the host slept: connections are dead, recreate the handle */
  EVENT_LOGIN,   /* other credentials: a new handle, as soon as nothing is in hand */
  EVENT_RULES,   /* the rules of topics are others: letters that had nowhere to go may have now */
  EVENT_STOP,    /* finish what is in hand, then stop */
  EVENT_LANES    /* lanes_full_to */
} core_event_kind;

typedef enum core_fill_end { FILL_END_OF_LOG = 0, FILL_STOPPED /* core_offer said so */ } core_fill_end;

typedef struct core_topic_result { /* of one topic that was looked up */
  fault why;
  int32_t partitions;
  int64_t max_message_bytes;    /* -1: unknown */
  bool needs_key;               /* it is compacted: a record without a key is refused */
  int64_t stamp_max_age_us;     /* a record with an older time is refused; 0: none is */
  int64_t lane_max_age_us;      /* how long its events may wait in a lane; 0: for ever. Also with a fault */
  const fault_rules *rules;     /* of its records; NULL: the default. Read within the step; also with a fault */
  bool recreated;               /* a receipt names offset receipt_at: its partition ends at ends_at, no later */
  int64_t receipt_at, ends_at;
} core_topic_result;

typedef struct core_event {
  core_event_kind kind;
  int64_t now_us;               /* monotonic */
  int64_t wall_us;
  int64_t slept_us;             /* for how long the host has slept, ever: now_us stood still, wall_us did not */
  int64_t closed_us;            /* nothing shall be delivered for so long (time of day); 0: now is fine */
  /* EVENT_DONE */
  core_op op;
  fault why;                    /* SCOPE_NONE: success. Store failures come as SCOPE_AGENT */
  const delivery_state *book;   /* after CONNECT; INTENT, SETTLE and ABANDON, failed ones too; EVENT_BOOK */
  bool refused;                 /* INTENT failed, the book in order: the attempt no longer fits the log, as when
                                   an event of it was dropped meanwhile. The same attempt would be refused again */
  const char *cluster_id;       /* CONNECT */
  int64_t round_trip_us;        /* CONNECT: the shortest one seen; 0: none was */
  bool answered;                /* COMMIT, ABORT: each EndTxn of this handle has its answer, none is under way */
  const core_topic_result *topics; /* TOPIC: of the action's, in its order. Not read where `why` is a fault */
  int64_t age_us;               /* TOPIC: they were asked for so long before they are told */
  sl_slice marker;              /* READ_MARKER; empty: none found */
  int64_t marker_offset;
  core_fill_end fill_end;       /* FILL */
  /* EVENT_LOG */
  uint64_t last_seq, indexed_seq;
  /* EVENT_LANES: what the log holds up to this seq is too much to be kept for lanes alone; 0: it is not */
  uint64_t lanes_full_to;
  /* EVENT_ERROR */
  bool transport;
} core_event;

typedef struct core_action {
  core_op op;
  const char *topic;     /* FILL of a lane: its topic, else NULL. Valid until the operation is DONE, like topics */
  const char *const *topics; /* TOPIC */
  size_t topic_count;        /* at most CORE_TOPICS_MAX */
  uint64_t from, to;     /* FILL: seqs, inclusive; of letters: numbers */
  bool letters;          /* FILL: of dead letters */
  sl_slice marker;       /* FLUSH; valid until DONE */
  int exit_status;       /* EXIT: 0 done, 4 parked, 5 drain timeout */
} core_action;

#define CORE_ACTIONS_MAX 4
#define CORE_TOPICS_MAX 128
typedef struct core_actions {
  size_t count;
  core_action list[CORE_ACTIONS_MAX];
} core_actions;

/* NULL: out of memory. `book` is copied. core_free accepts NULL. */
core *core_new(const core_config *config, const delivery_state *book);
void core_free(core *c);

void core_step(core *c, const core_event *event, core_actions *out);
/* When EVENT_TIMER is wanted (monotonic); 0: not at all. Ask after each step. */
int64_t core_wake_at(const core *c);

/* --- single records, between the FILL action and its DONE --- */

typedef enum core_offer_result {
  OFFER_PRODUCE, /* produce it with *tag, then offer the next */
  OFFER_SETTLED, /* it needs no producing (duplicate, lane, dead letter); offer the next */
  OFFER_WEIGH,   /* its topic may not take it: weigh it (size, least) and offer it again */
  OFFER_STOP     /* not now: end the FILL with FILL_STOPPED */
} core_offer_result;
typedef struct core_record { /* what the core needs to know of an event */
  uint64_t seq;
  sl_slice topic;
  uint64_t duplicate_of;
  size_t size;             /* in a batch of its own; about, unless it is weighed */
  bool weighed;            /* size is exact, and */
  size_t least;            /* once compressed it takes no less, alone; 0: who knows */
  bool exact;              /* nor more */
  bool keyless;
  int64_t appended_us;     /* wall clock */
} core_record;
/* Before the first OFFER_PRODUCE of an exactly-once transaction is carried out the driver calls kafka_begin. */
core_offer_result core_offer(core *c, const core_record *record, int64_t now_us, uint64_t *tag);
/* The same of a record that the full store has dropped: it is settled as that, and never produced. */
core_offer_result core_offer_dropped(core *c, uint64_t seq, sl_slice topic, sl_slice class_, sl_slice text,
                                     int64_t dropped_us);
/* May a dead letter go to this dead-letter topic now? OFFER_PRODUCE: make the copy and offer it; OFFER_SETTLED: it
 * waits on, go on with the next; OFFER_STOP. */
core_offer_result core_letter_ready(core *c, sl_slice topic, int64_t now_us);
/* One dead letter of an OP_FILL with action.letters, by its number (delivery_letters); else the one of core_dead,
 * by its seq. `size` of the whole copy; *slim: it must go without the value, for the topic does not take it. The
 * rest as core_offer. */
core_offer_result core_offer_letter(core *c, uint64_t number, sl_slice topic, size_t size, int64_t now_us,
                                    bool *slim, uint64_t *tag);
/* There is nothing to copy any more: it was replayed, dropped or trimmed. False: not now, end the FILL. */
bool core_letter_gone(core *c, uint64_t number, sl_slice topic);
/* The letter of record `seq`, where the last answer made it dead and its copy may go along in the same
 * transaction: make it, ask core_letter_ready and offer it, before the next record. NULL: there is none, or its
 * copy waits for a transaction of its own. Valid until the next call. */
const sl_letter *core_dead(core *c, uint64_t seq, int64_t now_us);
/* Has a transaction been begun on the broker's side? (the driver must begin before producing when not) */
bool core_txn_begun(const core *c);
void core_begun(core *c);
/* The producer's queue is full: takes the last offer back; offer the same record again after deliveries. True:
 * deliveries are outstanding, wait for them; false: none are, so the record does not fit: end the FILL. */
bool core_queue_full(core *c, size_t size);
/* Is as much under way as the link may lose? Then deliveries are waited for before the next record is offered. */
bool core_waits(const core *c);
/* The handle refused the record just offered. True: go on offering (a letter: with the same one). False: end the
 * FILL; a letter that would have gone along just waits, instead. */
bool core_refused(core *c, uint64_t tag, const fault *why, int64_t wall_us);
/* How old its topic lets the time of the record just offered be; 0: as old as it is. */
int64_t core_stamp_max_age_us(const core *c, uint64_t tag);
/* A delivery report. Reports of earlier transactions are ignored. */
void core_delivered(core *c, uint64_t tag, int32_t partition, int64_t offset, const fault *why);

/* --- what the driver reads --- */

/* The attempt to be written, during OP_INTENT. */
const delivery_attempt *core_attempt(const core *c);
core_phase core_phase_of(const core *c);
const char *core_phase_text(core_phase phase);
int64_t core_queue_bytes(const core *c, int64_t configured); /* raised where a record did not fit */
int64_t core_batch_bytes(const core *c);     /* for kafka_options; 0: the default */
/* For kafka_options, of a handle whose transactions may take so long. A long one is of a link that takes more than
 * ten seconds for what waits its turn: not to be sent again. */
static inline int64_t core_socket_timeout_us(int64_t txn_timeout_us) {
  if (txn_timeout_us > 30000000) return txn_timeout_us / 3;
  return txn_timeout_us < 10000000 ? txn_timeout_us : 10000000;
}
int64_t core_txn_timeout_us(const core *c);  /* raised where a single event could not cross in time */

typedef enum core_renewal { /* why there is another handle where nothing was wrong with the last one */
  RENEWAL_NONE = 0,
  RENEWAL_BATCHES,      /* a topic takes fewer bytes at once */
  RENEWAL_QUEUE,        /* an event is larger than the queue */
  RENEWAL_TIMEOUT,      /* transactions may take longer, or need not any more */
  RENEWAL_LOGIN,
  RENEWAL_REFUSED       /* a record was refused: the next batches would leave a gap */
} core_renewal;

typedef struct core_view {
  core_phase phase;
  int64_t since_us;            /* monotonic time the phase began (IDLE..SETTLE count as one: running) */
  core_park park;
  bool park_probes;            /* and looks again by itself */
  fault last_fault;
  int64_t last_fault_us;       /* monotonic; 0: none */
  int64_t last_commit_us;
  int64_t next_try_us;
  bool held;                   /* events wait for their share of the link, or for their time of day */
  uint64_t cursor_seq, last_seq, indexed_seq;
  uint64_t letters_published;  /* copies of dead letters, ever */
  bool letters_wait;           /* some are not published */
  uint64_t transactions, aborts, handles; /* of this agent's life */
  core_renewal renewed;        /* the present handle was made for it */
  uint64_t expired;            /* dead letters of lanes: too old, or too much was kept; of this agent's life */
  uint64_t partition_changes;  /* of this agent's life; the last one: */
  sl_slice changed_topic;
  int32_t partitions_were, partitions_are;
  uint64_t offsets_back;       /* how often offsets went back: the topic was created again. The last one: */
  sl_slice back_topic;
  int64_t back_from, back_to;
  uint64_t txn_bytes;          /* present target size */
  double bytes_per_s, events_per_s; /* of the last transactions, smoothed */
  int64_t link_gap_us;         /* connections are cut, and live so long; 0: they are not */
  uint64_t link_room;          /* so much may be under way then; 0: any */
  size_t lane_count;           /* of the book; core_lanes has them */
  sl_slice marker_here, marker_there; /* PARK_MARKER_AHEAD: what was compared */
} core_view;
void core_view_get(const core *c, core_view *view);
typedef struct core_lane_view {
  const fault *why;         /* NULL: not known, as of one that an earlier agent left. Valid until the next step */
  int64_t oldest_us;        /* when its oldest event was appended (wall clock); 0: not known yet */
  int64_t refused_since_us; /* wall clock; 0: not refused in this agent's life */
  int64_t max_age_us;       /* 0: none */
} core_lane_view;
core_lane_view core_lane_of(const core *c, sl_slice topic);
/* The book's lanes, by topic, at most `max` of them; how many. Their topics are valid as long as the core. */
size_t core_lanes(const core *c, sl_lane *list, size_t max);
bool core_topic_is_new(const core *c, sl_slice topic); /* it was not READY before in this agent's life */

/* Checks every invariant; NULL when they hold, else which one does not. Debug builds call it after each step. */
const char *core_check(const core *c);
#endif
