/* The only room that knows librdkafka. One `kafka` is one producer handle (transactional or idempotent).
 * Functions marked [worker] block up to their timeout and run on a worker thread, one at a time a handle;
 * the others are quick and belong to the loop's thread, also while a [worker] one runs.
 * Nothing here decides what to do about a fault; it only says what it is. */
#ifndef SYNC_KAFKA_KAFKA_H
#define SYNC_KAFKA_KAFKA_H
#include "core/fault.h"
#include "settings.h"
#include <stdatomic.h>

typedef struct kafka kafka;

typedef struct kafka_options {
  const char *brokers;
  const char *transactional_id;  /* NULL: idempotent, gapless, no transactions (at-least-once) */
  int32_t txn_timeout_ms;        /* transaction.timeout.ms; message.timeout.ms is the same */
  int32_t socket_timeout_ms;     /* 0: 10 s, or as txn_timeout_ms where that is less */
  int64_t queue_bytes;           /* what the records in the handle may take in memory, headers and bookkeeping
                                    included; a larger record is taken alone, when nothing else waits */
  int64_t batch_bytes;           /* 0: about 1 MB; smaller where a topic allows less, or connections are cut */
  const kv *properties;          /* passed through; ours stand where they say nothing */
  size_t property_count;
} kafka_options;

/* Creates the handle; connects in the background. False with *why: SCOPE_AGENT (a property is refused). */
bool kafka_new(const kafka_options *options, kafka **out, fault *why);
/* [worker] Ends the handle; may block some seconds (a name being resolved). The last call of all, with no
 * kafka_poll beside it. Outstanding deliveries are dropped without a report; an open transaction stays open
 * until the next INIT_TXN or its timeout. NULL is fine. */
void kafka_destroy(kafka *k);

/* A descriptor that becomes readable when kafka_poll has something. Edge: call kafka_poll until 0.
 * Valid until destroy. */
int kafka_fd(const kafka *k);

/* What comes out of the handle. Called only from within kafka_poll, on its thread. */
typedef struct kafka_sink {
  void *arg;
  /* One per produced record: *why is success with partition and offset (-1: unknown), or the fault. */
  void (*delivered)(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why);
  /* The handle's own errors (brokers down, fatal). `transport`: a connection was lost or could not be made;
   * told for each one, also when the broker only closed it as idle. */
  void (*error)(void *arg, const fault *why, bool transport);
  void (*reached)(void *arg); /* a broker answered a new connection; NULL: nobody wants to know */
} kafka_sink;
/* Serves at most `max` items; returns how many. Call until 0. */
size_t kafka_poll(kafka *k, size_t max, const kafka_sink *sink);

/* Brokers known and connected now, for the report. Connections are made where they are needed: fewer up than
 * known is normal, none is an outage or an idle handle. */
void kafka_brokers(const kafka *k, int *up, int *known);
/* Since when it has no connection at all (the coordinator's is not counted there, but here), where a try to make
 * one has failed since; 0: it has one, or needs none. Monotonic. */
int64_t kafka_alone_since_us(const kafka *k);
void kafka_a_broker(const kafka *k, char *name, size_t cap); /* one that is connected; empty: none is */

/* [worker] Reaches the cluster: its id (NUL-terminated; "" where the broker gives none). Refused credentials
 * are told at once (SCOPE_CLUSTER) if kafka_poll runs meanwhile; an outage takes the whole timeout. May take up to
 * 8 s more where a broker is connected but slow: calls on the same handle become more patient. */
fault kafka_connect(kafka *k, int timeout_ms, char cluster_id[64]);
/* The shortest that an answer to this handle took; 0: there was none. Any thread. */
int64_t kafka_round_trip_us(const kafka *k);

typedef struct kafka_topic_spec { /* how to create it when it is missing */
  bool create;
  int32_t partitions, replication; /* replication -1: the broker's default */
  int64_t retention_ms;            /* 0: the broker's default; -1: for ever */
  bool compacted;                  /* cleanup.policy=compact with small segments (the marker topic) */
} kafka_topic_spec;
typedef struct kafka_topic_info {
  int32_t partitions;
  int64_t max_message_bytes;       /* -1: could not be read */
  bool needs_key;                  /* compacted */
  int64_t stamp_max_age_ms;        /* of a record's time; 0: any */
  bool created;                    /* by this call */
} kafka_topic_info;
/* [worker] Looks the topic up, creates it if it may, warms the producer's metadata (the first message to an
 * unknown topic would wait a second), reads its max.message.bytes; waits until every partition has a leader.
 * Never lets the broker create a topic by itself. *info is written on success only. Faults: SCOPE_TOPIC
 * (missing and not to be created, no right to describe or create), SCOPE_CONNECTION, ... */
fault kafka_prepare_topic(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms,
                          kafka_topic_info *info);
typedef struct kafka_topic_ask {
  const char *topic;
  kafka_topic_spec spec;
  kafka_topic_info info;           /* written on success */
  fault why;                       /* of this topic */
} kafka_topic_ask;
/* [worker] The same of many topics, in as few requests as one of them takes. Returns a fault that is none of a
 * topic's own (nobody answers); what `why` says of each is then unfinished. */
fault kafka_prepare_topics(kafka *k, kafka_topic_ask *asks, size_t count, int timeout_ms);

typedef struct kafka_place { const char *topic; int32_t partition; int64_t end; } kafka_place;
/* [worker] Where these partitions end (their high watermarks): writes each `end`, -1 where it could not be had. */
fault kafka_ends(kafka *k, kafka_place *places, size_t count, int timeout_ms);

/* [worker] INIT_TXN: fences older producers of our transactional id; afterwards none of its transactions is
 * open. Takes 0.5 s longer when it found one open. After a timeout it goes on in the background: call it
 * again, nothing else (another call is a _CONFLICT), or destroy. */
fault kafka_init_transactions(kafka *k, int timeout_ms);
/* Right after a commit the first record of the next transaction waits 20 ms longer: the coordinator still
 * writes the markers of the one before. */
fault kafka_begin(kafka *k);
/* Why the open transaction can only be aborted: what its records' _PURGE does not say. Success: nothing is known.
 * Only inside a transaction. */
fault kafka_why_abort(kafka *k);
/* [worker] Each says by the fault whether it happened; the core treats anything but a quick, clean success as
 * doubt. kafka_poll must run meanwhile. One doubt is named here: success while an EndTxn of this handle was
 * written and never answered is the fault "END_TXN_RESENT" (SCOPE_PRODUCER): its copy may end a later one.
 * `fenced` alone does not say that somebody else is there: the coordinator fences us too when a transaction
 * ran out of time. */
fault kafka_commit(kafka *k, int timeout_ms);
fault kafka_abort(kafka *k, int timeout_ms);

typedef struct kafka_record {
  const char *topic;               /* NUL-terminated */
  int32_t partition;               /* -1: the partitioner's (by key as the Java client does) */
  sl_slice key;                    /* data NULL: none */
  sl_slice value;                  /* data NULL: tombstone; empty: data not NULL */
  const sl_header *headers;        /* copied; an absent value is sent as an empty one */
  size_t header_count;
  int64_t timestamp_ms;            /* 0: now */
} kafka_record;
/* How many bytes a batch takes that holds the record alone: *whole without compression, *least at the least with
 * the codec that this handle uses (0: cannot be said). True: exactly *least, as without compression, or with it
 * after a few records that were sent alone. A large record takes milliseconds. */
bool kafka_weigh(const kafka *k, const kafka_record *record, size_t *whole, size_t *least);
/* Copies and enqueues. A fault QUEUE_FULL (RETRYABLE_TRANSIENT, SCOPE_NONE never) means: poll, try again.
 * SCOPE_RECORD: larger than message.max.bytes, nothing was enqueued. */
fault kafka_produce(kafka *k, const kafka_record *record, uint64_t tag);
bool kafka_fault_is_queue_full(const fault *f);
/* [worker] Sends what waits, without linger, until every delivery has been reported (kafka_poll must run
 * meanwhile) or the timeout. */
fault kafka_flush(kafka *k, int timeout_ms);
/* What is not sent yet is given up and reported as _PURGE, at once: its transaction is to be aborted anyway. What
 * is in flight is waited for by kafka_flush and kafka_abort, but not sent again. Until kafka_begin. */
void kafka_give_up(kafka *k);
/* Bytes that the records in the handle take, by the measure of queue_bytes; 0: none is left unreported. */
size_t kafka_waiting(const kafka *k);

typedef struct kafka_sought { /* a record with the key that the broker acknowledged once, committed or not */
  int64_t offset;
  sl_slice value;
} kafka_sought;
typedef enum kafka_sight { /* what lies there now */
  SIGHT_UNKNOWN = 0,               /* nobody asked, or it was not read as far back */
  SIGHT_SAME,
  SIGHT_OTHER,                     /* another record */
  SIGHT_NOTHING                    /* no record: compaction took it, or it is the end of somebody's transaction */
} kafka_sight;
typedef struct kafka_marker {
  bool found;                      /* the newest committed record with our key */
  int64_t offset;
  int64_t timestamp_ms;            /* of the record: when its producer wrote it */
  int64_t end_offset;              /* high watermark of the partition when it was read */
  kafka_sight sought;
  uint8_t *value;                  /* free() it */
  size_t len;
} kafka_marker;
/* [worker] The newest committed record with `key` in topic[partition] at or above `from_offset` (-1: from the
 * beginning). Call after kafka_init_transactions. Reads uncommitted from there to the high watermark, which
 * no stranger's open transaction can hold back; only if a record of ours is among them, reads committed as
 * far as the last of those. A `from_offset` beyond the end of the partition: fault SCOPE_CLUSTER, name
 * "OFFSET_OUT_OF_RANGE" (the topic was deleted or this is another cluster); a partition that is not there:
 * SCOPE_CLUSTER, "_UNKNOWN_PARTITION". Where a stranger's transaction does hold back a record of ours:
 * "_TIMED_OUT" with a text that says so; it ends by that transaction's timeout. A topic deleted and created
 * again that has grown past from_offset is not recognised here: compare the value, and see what became of `sought`
 * (NULL: of nothing). Consumer handles of its own, no group, no commits. *out is written on success only. */
fault kafka_read_marker(kafka *k, const char *topic, int32_t partition, sl_slice key, int64_t from_offset,
                        const kafka_sought *sought, int timeout_ms, kafka_marker *out);

/* --- what has come to topics, whoever writes them: a handle of its own, used by one worker at a time --- */

typedef struct kafka_watch kafka_watch;
/* Of the options only brokers and properties count. False with *why: SCOPE_AGENT. timeout_ms is a request's. */
bool kafka_watch_new(const kafka_options *options, int timeout_ms, kafka_watch **out, fault *why);
void kafka_watch_free(kafka_watch *w); /* [worker] NULL is fine */

typedef struct kafka_watch_sink {
  void *arg;
  bool (*wants)(void *arg, const char *topic);
  /* Where a read_committed consumer's reading ends now: what an open transaction holds back has not come yet. */
  void (*end)(void *arg, const char *topic, int32_t partitions, int32_t partition, int64_t end);
} kafka_watch_sink;
/* [worker] Lists the topics that this user may describe and tells the end of each partition of those that are
 * wanted; one without a leader is left out. Reads no record, writes nothing. After a fault some ends may be
 * missing; *listed says that every topic was seen. */
fault kafka_watch_look(kafka_watch *w, int timeout_ms, const kafka_watch_sink *sink, bool *listed);

typedef struct kafka_watch_span { /* records from `from` to below `to`: at most so many, and about so many bytes */
  const char *topic;
  int32_t partition;
  int64_t from, to;
  uint64_t most;
  size_t most_bytes;
} kafka_watch_span;
/* [worker] Do the brokers say that there is no such partition? (A reading of it only takes its whole time.) Two
 * looks at most, of up to timeout_ms each. */
bool kafka_watch_is_gone(kafka_watch *w, const char *topic, int32_t partition, int timeout_ms);
/* [worker] Reads them as a read_committed consumer does: no ends of transactions, nothing that was aborted. see()
 * gets the value and the named header of each (data NULL: it has none). *reached: everything below has been read;
 * `to` where all of it was, or what is left is no record. After a fault it says how far it came. Ends early when
 * *stop is set. What was read is added to *bytes. */
fault kafka_watch_read(kafka_watch *w, const kafka_watch_span *span, int timeout_ms, const atomic_bool *stop,
                       const char *header, void (*see)(void *arg, sl_slice value, sl_slice header), void *arg,
                       int64_t *reached, size_t *bytes);

/* --- for programs without a loop (--check, --adopt): they serve the handle's events themselves --- */

/* [worker] As kafka_connect; two seconds are enough where each broker was tried in vain. Where nobody answers the
 * fault is what the connection said last: a TLS handshake that failed, a name that cannot be resolved. */
fault kafka_reach(kafka *k, int timeout_ms, char cluster_id[64]);

/* True where this librdkafka cannot log in by SCRAM to Kafka 4: before 2.6.1 it repeats its nonce in the last
 * message, which brokers took until then. */
bool kafka_scram_is_old(void);

typedef struct kafka_topic_look {  /* what metadata and configuration say */
  bool exists;
  int32_t partitions, leaderless;
  int64_t max_message_bytes;       /* -1: could not be read */
  bool configs_read;               /* the rest could be */
  bool compacted, deletes;         /* cleanup.policy */
  bool append_time;                /* message.timestamp.type=LogAppendTime */
} kafka_topic_look;
/* [worker] Looks, changes nothing. A fault: the topic may not be described, or nobody answers. */
fault kafka_look_topic(kafka *k, const char *topic, int timeout_ms, kafka_topic_look *look);
/* [worker] Would the cluster let us create it? Nothing is created. */
fault kafka_try_create(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms);
/* [worker] May the topic be written? One record in a transaction that is then aborted: no read_committed consumer
 * sees it. After kafka_init_transactions, with no transaction open. partition -1: any. After a fault that is fatal
 * or not about the record the handle is of no more use. *append_ms (may be NULL) is the broker's clock where the
 * topic keeps it, else -1. */
fault kafka_try_write(kafka *k, const char *topic, int32_t partition, const char *key, int timeout_ms,
                      int64_t *append_ms);

/* The kafka_property_check of the settings: does librdkafka know the property and take the value? */
kafka_property_verdict kafka_check_property(const char *name, const char *value, char *reason, size_t cap);

/* The fault for a librdkafka code (classify.c). Total: an unknown code is RETRYABLE_TRANSIENT,
 * SCOPE_CONNECTION, on purpose: retrying loses nothing, a wrong dead letter does. */
fault kafka_classify(int32_t code);
#endif
