/* Inside of the Kafka room: what its files know of each other. */
#ifndef SYNC_KAFKA_HANDLE_H
#define SYNC_KAFKA_HANDLE_H
#include "kafka.h"
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- conf.c: the properties of our handles ---- */
typedef enum kafka_role { ROLE_PRODUCER, ROLE_READER_UNCOMMITTED, ROLE_READER_COMMITTED } kafka_role;
/* Ours, then the user's, then those that the protocol owns. NULL with *why where librdkafka refuses a value.
 * `timeout_ms` bounds single requests of a reader. The options may go away afterwards. */
rd_kafka_conf_t *conf_new(kafka_role role, const kafka_options *options, int timeout_ms, fault *why);
/* A deep copy, for the readers that are created later. conf_options_free accepts half-built ones. */
bool conf_options_copy(kafka_options *to, const kafka_options *from);
void conf_options_free(kafka_options *options);
/* One line of librdkafka's to our log, levelled down where the error event says the same. */
void conf_log(int level, const char *facility, const char *text);
/* The same as a callback of consumers: a producer's properties are no concern of theirs. */
void conf_reader_log(const rd_kafka_t *rk, int level, const char *facility, const char *text);

/* ---- wire.c: what interceptors see of the connections, on librdkafka's threads ---- */
typedef struct wire wire;
wire *wire_new(int wake_fd); /* wake_fd gets a byte when a connection is lost */
void wire_free(wire *w);     /* only after the handle was destroyed */
/* Before rd_kafka_new. */
void wire_attach(wire *w, rd_kafka_conf_t *conf);
/* Has rd_kafka_new got as far as calling the interceptors? */
bool wire_attached(const wire *w);
/* Distinct addresses with a live connection. */
int wire_up(wire *w);
int64_t wire_alone_since_us(wire *w); /* see kafka_alone_since_us */
void wire_one(wire *w, char *name, size_t cap); /* a broker that is connected; empty: none is */
/* True once for each time connections were lost; `name` is the last of them. */
bool wire_take_lost(wire *w, char *name, size_t cap);
bool wire_take_made(wire *w); /* the same of connections that were made */
/* From a request to its answer, the shortest; 0: there was none. */
int64_t wire_round_trip_us(wire *w);
/* EndTxn requests written to a socket whose answer never came, ever: such a copy may still reach the
 * broker. */
unsigned wire_end_txn_unanswered(wire *w);

/* ---- weigh.c ---- */
/* A Produce request of so many bytes was written to a socket. Any thread. */
void weigh_sent(size_t size, int version);

/* ---- headers.c: lists of headers, used again and again. The loop's thread ---- */
enum { HEADER_OVERHEAD = 115 }; /* what librdkafka holds for a header, by resident memory */
/* Copies of the record's, for rd_kafka_producev; NULL: it has none. */
rd_kafka_headers_t *headers_new(kafka *k, const kafka_record *r);
/* Takes those of a delivered record for later ones, or frees them. */
void headers_keep(kafka *k, rd_kafka_headers_t *headers);
/* Frees as many as must go, so that `bytes` more may wait. */
void headers_make_room(kafka *k, size_t bytes);
void headers_forget(kafka *k); /* frees all that were kept */

/* ---- handle.c ---- */
typedef struct topic_entry {
  struct topic_entry *next;
  rd_kafka_topic_t *rkt;
  char name[]; /* ends in NUL */
} topic_entry;

enum { TOPIC_BUCKETS = 256, PATIENCE_LEAST_MS = 500, PATIENCE_MOST_MS = 8000 };

struct kafka {
  rd_kafka_t *rk;
  rd_kafka_queue_t *queue;
  wire *wire;
  int pipe[2];
  bool transactional;
  kafka_options options;          /* a copy */
  int patience_ms;                /* of kafka_connect */
  atomic_int known;               /* brokers by the last metadata */
  atomic_bool given_up;           /* what the open transaction has not sent is not to be sent */
  /* the loop's thread */
  rd_kafka_event_t *batch;        /* delivery reports, partly served */
  size_t waiting;                 /* bytes, with an estimate of what a record costs besides */
  topic_entry *last_topic;
  rd_kafka_headers_t **spare;     /* of delivered records, for the next ones */
  size_t spare_count, spare_cap, spare_bytes;
  /* any thread */
  pthread_mutex_t lock;
  topic_entry *topics[TOPIC_BUCKETS]; /* entries live until destroy */
  fault security;                 /* the last refusal of our credentials or TLS, from the error events */
  unsigned security_count;
};

/* The handle for a topic of this producer; NULL, with *why, when out of memory or the name is impossible. Any
 * thread. */
rd_kafka_topic_t *kafka_topic(kafka *k, const char *name, fault *why);
/* A refusal of credentials since `since` (a value of *count before)? */
bool kafka_security_fault(kafka *k, unsigned since, unsigned *count, fault *out);

/* Translations; each copies the text. */
fault fault_of_code(rd_kafka_resp_err_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As fault_of_code, but a dead handle's cause instead of _FATAL. */
fault fault_of_handle(rd_kafka_t *rk, rd_kafka_resp_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Consumes `error`; NULL is success. */
fault fault_consume_error(rd_kafka_t *rk, rd_kafka_error_t *error);

/* ---- topics.c ---- */
fault topics_create(kafka *k, const char *topic, const kafka_topic_spec *spec, bool validate_only, int timeout_ms,
                    bool *created);
typedef void topics_config_fn(void *arg, const char *name, const char *value);
/* Calls fn for each setting of the topic that has a value. */
fault topics_configs(kafka *k, const char *topic, int timeout_ms, topics_config_fn *fn, void *arg);

int64_t now_ms(void); /* monotonic */
void nap_ms(int ms);
/* Milliseconds until `deadline`, at least 0, at most `cap`. */
int left_ms(int64_t deadline, int cap);
#endif
