/* The only room that knows librdkafka. One `kafka` is one producer handle (transactional or idempotent).
 * Functions marked [worker] block up to their timeout and run on a worker thread, one at a time a handle;
 * the others are quick and belong to the loop's thread, also while a [worker] one runs.
 * Nothing here decides what to do about a fault; it only says what it is. */
#ifndef SYNC_KAFKA_KAFKA_H
#define SYNC_KAFKA_KAFKA_H
#include "core/fault.h"
#include "settings.h"

typedef struct kafka kafka;

typedef struct kafka_options {
  const char *brokers;
  const char *transactional_id;  /* NULL: idempotent, gapless, no transactions (at-least-once) */
  int32_t txn_timeout_ms;        /* transaction.timeout.ms; message.timeout.ms is the same */
  int64_t queue_bytes;           /* queue.buffering.max.kbytes, rounded up */
  int64_t batch_bytes;           /* 0: about 1 MB; smaller where a topic allows less */
  const kv *properties;          /* passed through; ours stand where they say nothing */
  size_t property_count;
} kafka_options;

/* Creates the handle; connects in the background. False with *why: SCOPE_AGENT (a property is refused). */
bool kafka_new(const kafka_options *options, kafka **out, fault *why);
/* [worker] Ends the handle; may block some seconds. Outstanding deliveries are dropped without a report.
 * NULL is fine. */
void kafka_destroy(kafka *k);

/* A descriptor that becomes readable when kafka_poll has something. Edge: drain fully. Valid until destroy. */
int kafka_fd(const kafka *k);

/* What comes out of the handle. Called only from within kafka_poll, on its thread. */
typedef struct kafka_sink {
  void *arg;
  /* One per produced record: *why is success with partition and offset (-1: unknown), or the fault. */
  void (*delivered)(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why);
  /* The handle's own errors (brokers down, fatal). `transport`: a connection was lost or could not be made. */
  void (*error)(void *arg, const fault *why, bool transport);
} kafka_sink;
/* Serves at most `max` items; returns how many. Call until 0. */
size_t kafka_poll(kafka *k, size_t max, const kafka_sink *sink);

/* Brokers known and connected now, for the report. */
void kafka_brokers(const kafka *k, int *up, int *known);

/* [worker] Reaches the cluster: its id (NUL-terminated; "" where the broker gives none). */
fault kafka_connect(kafka *k, int timeout_ms, char cluster_id[64]);

typedef struct kafka_topic_spec { /* how to create it when it is missing */
  bool create;
  int32_t partitions, replication; /* replication -1: the broker's default */
  int64_t retention_ms;            /* -1: no setting */
  bool compacted;                  /* cleanup.policy=compact with small segments (the marker topic) */
} kafka_topic_spec;
typedef struct kafka_topic_info {
  int32_t partitions;
  int64_t max_message_bytes;       /* -1: could not be read */
  bool created;                    /* by this call */
} kafka_topic_info;
/* [worker] Looks the topic up, creates it if it may, warms the producer's metadata (the first message to an
 * unknown topic would wait a second), reads its max.message.bytes. Faults: SCOPE_TOPIC (missing and not to be
 * created, no right to describe or create), SCOPE_CONNECTION, ... */
fault kafka_prepare_topic(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms,
                          kafka_topic_info *info);

/* [worker] INIT_TXN: fences older producers of our transactional id; afterwards none of its transactions is open. */
fault kafka_init_transactions(kafka *k, int timeout_ms);
fault kafka_begin(kafka *k);
/* [worker] Each says by the fault whether it happened; the core treats anything but a quick, clean success as doubt. */
fault kafka_commit(kafka *k, int timeout_ms);
fault kafka_abort(kafka *k, int timeout_ms);

typedef struct kafka_record {
  const char *topic;               /* NUL-terminated */
  int32_t partition;               /* -1: the partitioner's (by key as the Java client does) */
  sl_slice key;                    /* data NULL: none */
  sl_slice value;                  /* data NULL: tombstone; empty: data not NULL */
  const sl_header *headers;        /* names must end in NUL behind their len (librdkafka wants that: we copy) */
  size_t header_count;
  int64_t timestamp_ms;            /* 0: now */
} kafka_record;
/* Copies and enqueues. A fault QUEUE_FULL (RETRYABLE_TRANSIENT, SCOPE_NONE never) means: poll, try again. */
fault kafka_produce(kafka *k, const kafka_record *record, uint64_t tag);
bool kafka_fault_is_queue_full(const fault *f);
/* [worker] Sends what waits, without linger, until every delivery has been reported (kafka_poll must run
 * meanwhile) or the timeout. */
fault kafka_flush(kafka *k, int timeout_ms);
/* Bytes and messages waiting in the handle. */
size_t kafka_waiting(const kafka *k);

typedef struct kafka_marker {
  bool found;                      /* the newest committed record with our key */
  int64_t offset;
  int64_t end_offset;              /* high watermark of the partition when it was read */
  uint8_t *value;                  /* free() it */
  size_t len;
} kafka_marker;
/* [worker] The newest committed record with `key` in topic[partition] at or above `from_offset` (-1: from the
 * beginning). Call after kafka_init_transactions. Reads uncommitted from there to the high watermark, which no
 * stranger's open transaction can hold back; only if a record of ours is among them, reads committed as far as
 * the last of those. A `from_offset` beyond the end of the partition: fault SCOPE_CLUSTER, name
 * "OFFSET_OUT_OF_RANGE" (the topic was deleted or this is another cluster). Uses a consumer handle of its own,
 * assign(), no group, no commits. */
fault kafka_read_marker(kafka *k, const char *topic, int32_t partition, sl_slice key, int64_t from_offset,
                        int timeout_ms, kafka_marker *out);

/* The kafka_property_check of the settings: does librdkafka know the property and take the value? */
kafka_property_verdict kafka_check_property(const char *name, const char *value, char *reason, size_t cap);

/* The fault for a librdkafka code (classify.c). Total: an unknown code is RETRYABLE_TRANSIENT, SCOPE_CONNECTION,
 * on purpose: retrying loses nothing, a wrong dead letter does. */
fault kafka_classify(int32_t code);
#endif
