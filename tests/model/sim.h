/* The world around the delivery core, simulated: a log with producers, the delivery book with its invariants, a
 * broker with transactions, epochs and fencing, the network between, and the agent's driver. One random stream
 * from one seed decides everything, so a seed is a history.
 *
 *   sim_broker.c   topics, transactions, the marker topic, EndTxn copies that the network holds back
 *   sim_book.c     delivery.h's protocol in memory; refuses whatever breaks I1..I5
 *   sim_agent.c    performs the core's actions as sync/ops.c and sync/fill.c do, with everything that can go wrong
 *   sim_run.c      schedules, injects faults, lets the storm pass, and asks the oracle
 *
 * Nothing here asserts: the first violation is noted in sim.broken and ends the run. */
#ifndef TESTS_MODEL_SIM_H
#define TESTS_MODEL_SIM_H
#include "core/core.h"
#include "core/history.h"

#define SIM_TOPICS 6
#define SIM_PARTITIONS 3
#define SIM_KEYS 5
#define SIM_LOG_MAX 4096
#define SIM_AGENTS 2
#define SIM_DLQS 2 /* dead-letter topics, behind the others */
#define SIM_MARKER_TOPIC (SIM_TOPICS + SIM_DLQS) /* in sim_wire.topic */

/* --- the log --- */

typedef enum sim_poison {
  POISON_NONE = 0,
  POISON_BROKER, /* the broker refuses it, and with it the rest of its batch */
  POISON_LOCAL,  /* the handle refuses it */
  POISON_FLAKY   /* refused as RETRYABLE: sometimes it passes */
} sim_poison;

typedef struct sim_event {
  uint8_t topic, key;
  uint64_t duplicate_of;
  int64_t appended_us;
  sim_poison poison;
  uint32_t size;
} sim_event; /* seq = index + 1 */

/* --- the broker --- */

typedef enum sim_txn_state { TXN_OPEN = 0, TXN_COMMITTED, TXN_ABORTED } sim_txn_state;
typedef struct sim_txn { sim_txn_state state; int epoch; int64_t began_us, timeout_us; } sim_txn;

typedef struct sim_rec { uint64_t seq; uint32_t txn; } sim_rec; /* txn 0: written without one */
typedef struct sim_part { sim_rec *recs; size_t n, cap; } sim_part;

typedef enum sim_rights {
  RIGHTS_ALL = 0,
  RIGHTS_NO_LOOKUP, /* preparing the topic says TOPIC */
  RIGHTS_NO_WRITE,  /* each record says TOPIC */
  RIGHTS_MUTE       /* each record says _PURGE, and the abort is fatal */
} sim_rights;

typedef struct sim_topic {
  char name[24];
  int partitions;
  int64_t max_bytes;
  bool untold;               /* nobody may read that */
  int64_t raised_us;         /* when it was raised last */
  sim_rights rights;
  bool ever_sick;
  sim_part parts[SIM_PARTITIONS];
} sim_topic;

typedef struct sim_marker { uint8_t bytes[512]; size_t len; uint32_t txn; } sim_marker;
typedef struct sim_end { int epoch; bool commit; } sim_end; /* an EndTxn that is still in the network */

typedef struct sim_broker {
  sim_topic topics[SIM_TOPICS + SIM_DLQS];
  size_t topic_count;
  sim_txn *txns;
  size_t txn_count, txn_cap;
  sim_marker *markers;
  size_t marker_count, marker_cap;
  int epoch;          /* of our transactional id */
  uint32_t open;      /* its open transaction; 0: none */
  bool last_committed;
  sim_end held[16];
  size_t held_count;
  bool down, refuses; /* unreachable; refuses our credentials */
} sim_broker;

/* --- the book --- */

typedef struct sim_verdict { uint8_t verdict; int32_t partition; int64_t place; bool expired; } sim_verdict;

typedef enum sim_letter_state { LETTER_NONE = 0, LETTER_INTENT, LETTER_WAITS, LETTER_PUBLISHED } sim_letter_state;
typedef struct sim_letter { uint64_t seq; sim_letter_state state; } sim_letter;

typedef struct sim_book {
  delivery_state state;
  sl_lane cursor_lanes[SIM_TOPICS], intent_lanes[SIM_TOPICS], scratch[SL_LANES_MAX];
  char lane_names[2][SIM_TOPICS][24];
  sl_buf cursor, intent, marker;
  bool intent_marked;
  sim_verdict verdicts[SIM_LOG_MAX + 1];      /* settled */
  sim_verdict pending[SIM_LOG_MAX + 1];       /* of the intent */
  uint64_t touched[SIM_LOG_MAX];
  size_t touched_count;
  sim_letter letters[SIM_LOG_MAX * 4 + 1];    /* by number: those of abandoned attempts leave holes */
  uint64_t copies[SIM_LOG_MAX];               /* numbers that the intent publishes */
  size_t copy_count;
} sim_book;

/* --- the agent --- */

typedef struct sim_wire { /* a record between librdkafka and the broker */
  uint64_t tag, seq;
  int topic, part;
  uint32_t size;
  bool letter; /* the copy of a dead letter */
} sim_wire;

typedef struct sim_report { uint64_t tag; int32_t partition; int64_t offset; fault why; } sim_report;

typedef struct sim_handle {
  bool exists, transactional, begun, dead, failed, mute;
  bool part_failed[SIM_MARKER_TOPIC + 1][SIM_PARTITIONS];
  bool batch_failed[SIM_MARKER_TOPIC + 1][SIM_PARTITIONS]; /* with the reason of a record that is still to come */
  /* of sequence numbers: an earlier transaction's batch was refused */
  bool gap[SIM_MARKER_TOPIC + 1][SIM_PARTITIONS];
  int epoch;
  int64_t timeout_us, queue_bytes, waiting;
  sim_wire *wires;
  size_t wire_count, wire_cap;
  sim_report *reports;
  size_t report_count, report_cap;
  sim_marker marker;   /* produced last */
  fault marker_fault;
  unsigned unanswered; /* EndTxn copies of this handle that may still arrive */
} sim_handle;

typedef struct sim_agent {
  int id;
  core *core;
  sim_book book;
  bool exists, exactly_once, exited;
  int exit_status;
  sim_handle handle;
  core_action action;   /* under way; OP_NONE: none */
  char topic[24];
  char topics[CORE_TOPICS_MAX][24];
  size_t topic_count;
  core_topic_result topic_results[CORE_TOPICS_MAX];
  unsigned vain_wakes;  /* in a row, each due again at once */
  int64_t ahead_us;     /* topics were looked up while the marker was read; 0: they were not, or have been told */
  sim_topic ahead[SIM_TOPICS + SIM_DLQS];
  sim_marker marker;
  uint64_t fill_at;
  bool fill_waiting;
  int64_t still_us;     /* for the hunt for hot loops: since when, and how many actions since */
  uint64_t still_at;
  unsigned still_actions;
  int mute_waits;
  struct sim *of;
  sl_buf history;       /* what the core's recorder wrote: replayed when it is complete */
} sim_agent;

typedef struct sim_ghost { sim_wire *wires; size_t count; int epoch; bool transactional; } sim_ghost;

typedef struct sim_options {
  uint64_t seed;
  bool at_least_once, mixed;  /* mixed: the mode changes from start to start */
  bool copies;                /* a second agent over a copy of the book */
  bool record;                /* every core is recorded, and each history must replay equal */
  bool instant;               /* operations take no time: shows cycles that never wait */
  unsigned appends, faults;   /* how many at most */
  bool lone;                  /* events come one by one, and many are poison */
  unsigned storm_steps;       /* of the schedule, before the faults stop */
} sim_options;

typedef struct sim {
  sim_options options;
  uint64_t random;
  int64_t now_us;
  sim_event *log;
  uint64_t last, indexed;
  sim_broker broker;
  sim_agent agents[SIM_AGENTS];
  sim_ghost ghosts[32];
  size_t ghost_count;
  core_config config;
  bool calm;                  /* no more faults */
  bool bulky;                 /* many events are large: the same cuts matter more */
  bool store_full;
  int64_t lane_max_age_us;
  unsigned appended, faults, copy_at;
  uint64_t expired;           /* verdicts of lanes' ages */
  uint64_t steps, kills, commits, aborts, parks, doubts, replayed; /* replayed: calls of the core */
  uint64_t along;             /* copies produced with their verdict */
  uint64_t waited;            /* pauses of a FILL for that reason: */
  uint64_t cut;               /* links that broke, and less is under way for it */
  const char *broken;
  char broken_text[256];
  bool tracing;
} sim;

/* sim_run.c */
uint64_t sim_random(sim *s);
uint64_t sim_below(sim *s, uint64_t n);
bool sim_fault(sim *s, unsigned per_mille); /* counts, and says no once there were enough */
void sim_break(sim *s, const char *format, ...) SL_PRINTF(2, 3);
void sim_trace(sim *s, const char *format, ...) SL_PRINTF(2, 3);
fault sim_fault_of(fault_scope scope, fault_class class_, const char *name);
sim *sim_new(const sim_options *options);
void sim_free(sim *s);
/* The whole history: storm, calm, oracle. True: nothing was broken. */
bool sim_run(sim *s);
void sim_dump(const sim *s); /* the end of the traced history, on stderr */

/* sim_broker.c */
void broker_init(sim *s);
void broker_free(sim *s);
int broker_bump(sim *s);                     /* INIT_TXN: fences, aborts what is open; the new epoch */
void broker_end(sim *s, int epoch, bool commit);
void broker_expire(sim *s);
void broker_release_held(sim *s, size_t i);
void broker_hold(sim *s, int epoch, bool commit);
/* Appends; the offset. Opens a transaction if need be. -1: fenced. */
int64_t broker_append(sim *s, const sim_wire *w, int epoch, bool transactional, int64_t timeout_us);
bool broker_append_marker(sim *s, const sim_marker *m, int epoch, int64_t timeout_us);
const sim_marker *broker_marker(const sim *s, bool *undecided); /* the newest committed one; NULL: none */
bool broker_committed(const sim *s, uint32_t txn);
bool broker_takes(const sim *s, const sim_event *e); /* it is no poison, of whatever kind */
bool broker_takes_wire(const sim *s, const sim_wire *w);
int sim_dlq_of(const sim *s, uint64_t seq); /* the dead-letter topic of the event's topic */
/* The oracle: exactly once (or at least once), in order per key; what does not hold is noted in sim.broken.
 * `complete`: every event that must be there is. */
void broker_audit(sim *s, const sim_book *book, bool exactly_once, bool complete);

/* sim_book.c */
void book_init(sim_book *b);
void book_free(sim_book *b);
void book_copy(sim_book *to, const sim_book *from);
bool book_intent(sim *s, sim_book *b, const delivery_attempt *a);
bool book_settle(sim *s, sim_book *b);
bool book_abandon(sim *s, sim_book *b);
/* The conservation law, and that every receipt is true. */
void book_audit(sim *s, const sim_book *b);
uint64_t book_pending(const sim *s, const sim_book *b);
bool book_letters_wait(const sim *s, const sim_book *b); /* for topics that can be written */

/* sim_agent.c */
void agent_start(sim *s, sim_agent *a, bool drain);
void agent_kill(sim *s, sim_agent *a);
void agent_free(sim_agent *a);
void agent_give(sim *s, sim_agent *a, core_event e);
void agent_log(sim *s, sim_agent *a);
bool agent_progress(sim *s, sim_agent *a);    /* one random thing that can go on; false: nothing can */
bool agent_wake(sim *s, sim_agent *a);        /* lets time pass until its timer */

/* sim_handle.c */
void handle_push(sim_handle *h, sim_wire w);
void handle_report(sim_handle *h, const sim_wire *w, int64_t offset, const fault *why); /* to the agent, in time */
fault handle_begin(sim *s, sim_agent *a);
/* `letter`: the size of a dead letter's copy; 0: it is the event itself. */
fault handle_produce(sim *s, sim_agent *a, uint64_t seq, uint64_t tag, uint32_t letter, bool *full);
void handle_free(sim_handle *h);
void handle_drop(sim *s, sim_handle *h);     /* what is on its way may still arrive: a ghost */
void agent_wire(sim *s, sim_agent *a);       /* something of the agent's that is on its way arrives, or is lost */
void ghost_add(sim *s, sim_handle *h);
void ghost_move(sim *s, size_t i);
#endif
