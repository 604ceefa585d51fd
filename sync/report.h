/* The agent's word on how it is, as one JSON object: what sl_agent_report gives and `sidelog status` reads.
 * docs/agent.md lists the members; names are only ever added. Knows nothing of the core: tell.c fills it. */
#ifndef SYNC_REPORT_H
#define SYNC_REPORT_H
#include "base/base.h"

typedef enum report_state {
  REPORT_STARTING = 0, /* the store is being opened */
  REPORT_CONNECTING,   /* up to the first transaction */
  REPORT_RUNNING,      /* delivers, or has nothing to */
  REPORT_DRAINING,     /* the same with --drain */
  REPORT_BACKOFF,      /* waits until next_try_us */
  REPORT_PARKED,       /* waits for a person: parked_* say why */
  REPORT_STOPPING,
  REPORT_STOPPED       /* the last word of an agent that ended in order */
} report_state;

typedef struct report_lane {
  sl_slice topic;
  uint64_t seq;        /* delivered up to here */
  int64_t oldest_us;   /* append time of its oldest event */
  int64_t refused_since_us;
  int64_t max_age_us;  /* its oldest events become dead letters beyond that; 0: never */
  uint64_t kept_bytes; /* about: of the log that cannot be trimmed for its sake */
  const char *code, *text; /* why it cannot be written; NULL: not known */
} report_lane;

typedef struct report_monitor { /* of dead-letter topics; `topics` and `webhooks_waiting` now, the rest so far */
  uint64_t topics;     /* watched */
  int64_t looked_us;   /* the last look that saw all of them */
  uint64_t failed;     /* looks that did not */
  uint64_t fresh;      /* dead letters counted; */
  bool more;           /* at least so many: others were passed over */
  uint64_t alerts;
  uint64_t webhooks_sent, webhooks_failed, webhooks_lost, webhooks_waiting; /* failed tries; alerts given up */
} report_monitor;

/* All times are wall clock, since the epoch; 0 or NULL where there is nothing to say: null in the JSON.
 * Texts are borrowed for the call. */
typedef struct agent_report {
  report_state state;
  int64_t state_since_us;
  int64_t written_us;
  int64_t started_us;
  int64_t pid;
  const char *mode;           /* exactly-once | at-least-once */

  const char *brokers;        /* as configured */
  const char *broker;         /* one that is connected, host:port */
  const char *cluster_id;
  int brokers_up, brokers_total; /* total 0: not known yet */
  int64_t unreachable_since_us;

  int64_t last_commit_us;
  const char *error_code;     /* name of the last error: _TRANSPORT */
  const char *error_text;
  int64_t error_us;
  int64_t next_try_us;
  bool held;                  /* by the settings of flow, until next_try_us */

  uint64_t backlog;           /* events behind the cursor */
  uint64_t cursor_seq, last_seq, indexed_seq;

  uint64_t txn_events, txn_bytes; /* present target size of a transaction */
  double events_per_s, bytes_per_s;
  uint64_t letters_published, letters_waiting; /* copies of dead letters */
  const report_monitor *monitor; /* NULL: there is none */
  uint64_t transactions, aborts, handles; /* of this agent's life */
  int64_t commit_p50_us, commit_p95_us;   /* how long the last commits took on the broker */

  const report_lane *lanes;
  size_t lane_count;
  uint64_t lanes_limit_bytes; /* what lanes may keep of the log together; 0: no limit */
  uint64_t lanes_expired;     /* events that waited too long in them, or kept too much; of this agent's life */
  uint64_t topics_recreated;  /* topics whose offsets went back; of this agent's life */
  uint64_t partition_changes; /* topics whose number of partitions changed; of this agent's life */

  const char *parked_reason;  /* kebab-case: marker-ahead, marker-missing, shared-id, foreign-cluster, refused */
  const char *parked_text;    /* what was found */
  const char *parked_remedy;  /* what to do */
} agent_report;

/* Appends the object, one line without a newline, to `out`. False when out of memory (out->failed is set).
 * Bytes that are no UTF-8 become U+FFFD. */
bool agent_report_json(const agent_report *report, sl_buf *out);
const char *report_state_text(report_state state);
#endif
