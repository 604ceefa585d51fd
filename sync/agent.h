/* The running agent: performs the core's actions on a libuv loop. No decision is made here.
 *
 *   agent.c    set-up, signals, the core's clock, end
 *   ops.c      one function per operation of the core; blocking ones on worker threads, one at a time
 *   fill.c     reads records, offers them to the core, produces them
 *   tell.c     log lines and the status report
 *   places.c   compares receipts with where partitions end
 *   ahead.c    looks topics up early where brokers are far
 *   indexer.c  watches the log and has it indexed
 *   house.c    retention, how full the store is
 *   monitor.c  watches dead-letter topics
 *
 * Threads: everything belongs to the loop's thread, except inside the worker callbacks of ops.c, indexer.c,
 * house.c and monitor.c, which touch only their own request and the thread-safe sl_store. sl_delivery is used by
 * the operation under way, or by the loop while none is; the report may be set, and letters counted, at any time,
 * but its state is the worker's meanwhile.
 *
 * A handle that is being destroyed belongs to that operation: agent.kafka is NULL from its first moment. */
#ifndef SYNC_AGENT_H
#define SYNC_AGENT_H
#include "core/core.h"
#include "hours.h"
#include "house.h"
#include "indexer.h"
#include "keep.h"
#include "kafka/kafka.h"
#include "letter.h"
#include "monitor.h"
#include "settings.h"
#include "delivery/delivery.h"
#include <uv.h>

typedef struct agent agent;
typedef struct ahead ahead;

/* What is noted of a link that is cut again and again; zeros: it is not. */
typedef struct note_link { int64_t gap_us, bytes_per_s; } note_link;

typedef struct op_request { /* the operation under way, and what it will be DONE with */
  uv_work_t work;
  agent *agent;
  core_action action;
  core_event done;
  kafka *kafka;            /* the handle it works on */
  kafka_topic_spec spec;   /* of the marker's topic */
  char cluster_id[64];     /* CONNECT: what it learned */
  kafka_marker marker;
  bool reconciles;         /* SETTLE, ABANDON: of what an earlier handle or agent left in doubt */
  uint64_t doubt_seq;
  int64_t begun_us;
  int64_t note_bytes;      /* SETTLE: the learned size, where it is to be noted; else 0 */
  int64_t note_timeout_us; /* the same of the timeout */
  bool note_link;          /* and of how the link breaks: */
  struct note_link link;
} op_request;

#define REPLAYS_MOST 1000 /* in one transaction */

typedef struct fill { /* OP_FILL: see fill.c */
  uv_idle_t idle;
  sl_iter *iter;
  const sl_record *held;   /* did not fit the queue: offered again after deliveries */
  sl_header *headers;      /* of one record, while it is produced */
  size_t headers_cap;
  bool active, waiting;
  int64_t now_us, wall_us; /* looked at now and then: to ask for each event took a thirtieth of this thread */
  core_event done;
  uint64_t replays[REPLAYS_MOST]; /* originals of the copies that this transaction sends */
  size_t replay_count;
  /* of dead letters */
  bool letters;
  delivery_waiting *list;  /* those that wait, read in chunks */
  size_t list_count, list_at;
  uint64_t letters_to;     /* the last one to look at */
  uint64_t list_from;      /* where the next chunk begins; 0: there is none */
  letter letter;
} fill;

#define ERRORS_MAX 8
#define COMMITS_KEPT 256

typedef struct kafka_word { fault why; bool transport; } kafka_word;

struct agent {
  uv_loop_t loop;
  settings settings;
  int argc;
  char **argv;
  sl_store *store;
  sl_delivery *delivery;
  core *core;
  keep *keep;              /* records the core; NULL: nobody wants it */
  kafka *kafka;
  uv_poll_t *kafka_poll;   /* freed by its close callback */
  op_request op;
  bool op_running;
  kafka_topic_ask asks[CORE_TOPICS_MAX]; /* of the OP_TOPIC under way */
  core_topic_result topics[CORE_TOPICS_MAX];
  bool fresh[CORE_TOPICS_MAX]; /* not prepared before in this agent's life */
  fault_rules rules[CORE_TOPICS_MAX]; /* of theirs */
  ahead *ahead;            /* what is known before it is asked; NULL: nothing */
  kafka_word errors[ERRORS_MAX]; /* what the handle complained of while it was polled */
  size_t error_count;
  bool reached;            /* it connected */
  core_event pending;      /* an operation that was done at once */
  bool has_pending, stepping;
  fill fill;
  int64_t marker_offset;   /* of the marker produced last; -1: not acknowledged (or the broker did not say) */
  fault marker_fault;      /* why it was not delivered */
  bool marker_waiting;     /* OP_FLUSH waits for room in the producer's queue */
  core_action flush_action;
  int64_t settled_marker_offset;
  int64_t noted_timeout_us;
  note_link noted_link;
  int64_t noted_bytes, noted_us; /* the learned size of a transaction: what the book has of it, and since when */
  uint32_t commits_us[COMMITS_KEPT]; /* how long the last ones took; a ring */
  size_t commits_count;
  monitor *monitor;        /* of dead-letter topics; NULL: there is none */
  uv_timer_t monitor_timer; /* its own */
  hours hours;             /* of delivery */
  char store_id[37];       /* its sender's, as records and marker carry it */
  char transactional_id[256], cluster_id[64];

  indexer indexer;
  house house;
  uv_timer_t wake, tick, report;
  uv_signal_t term, intr, hup;
  uv_timer_t deadline, stop_look;
  uint64_t served, served_seen;  /* what handles have said so far; the same at the last look after SIGTERM */
  core_phase phase_seen;
  unsigned silent_looks;         /* in a row */

  int64_t started_wall_us;
  int64_t drain_deadline_us;   /* monotonic; 0: none */
  int64_t unreachable_wall_us; /* 0: reachable */
  int64_t suspend_us;      /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC when last looked */
  bool stopping, exiting, reload_due;
  int exit_status;
  core_phase told_phase;
  core_park told_park;
  int64_t told_fault_us, said_fault_us; /* when the last one happened; when it was last said as a warning */
  fault told_fault;        /* that one */
  uint64_t told_lanes, told_partitions, told_back;
  uint64_t told_dead;      /* dead letters in the book that have had their line */
  sl_buf told_report;      /* without its time */
  int64_t told_report_us, clock_shift_us;
};

/* Keeps TERM, INT and HUP waiting; agent_run lets them in. */
void agent_hold_signals(bool hold);

/* Runs until it is done; returns the exit status. `settings` is taken over. */
int agent_run(settings *settings, int argc, char **argv);

/* Gives the core an event (time is filled in) and performs what it answers. */
void agent_event(agent *a, core_event event);
void agent_serve_kafka(agent *a); /* delivers everything the handle has */

void agent_reload_if_due(agent *a);

/* ops.c */
void ops_perform(agent *a, const core_action *action);
void ops_done(agent *a, core_event done);
#define NOTE_TXN_BYTES "txn-bytes" /* in the book: the learned size of a transaction */
#define NOTE_TXN_TIMEOUT "txn-timeout" /* and how long it may take, in us */
#define NOTE_LINK "link-breaks" /* a note_link: of a link that is cut again and again */
/* Of a progress topic with so many: spreads the stores by their ids. */
int32_t ops_marker_partition(const char *sender, int32_t partitions);

/* fill.c */
void fill_start(agent *a, const core_action *action);
void fill_free(agent *a);
void fill_resume(agent *a);       /* deliveries made room, or it shall end */
#define TAG_MARKER UINT64_MAX
fault fill_produce_marker(agent *a, sl_slice marker);
size_t fill_record_size(const sl_record *r); /* bytes in a batch, a little rounded up */

/* tell.c */
void tell_dead(agent *a);         /* after an operation: a line for each event it set aside */
void tell_changes(agent *a);      /* after each step: log lines for what changed */
void tell_report(agent *a);       /* the status report */
#endif
