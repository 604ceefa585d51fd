/* What the scenarios of driver_check share: a producer with a loop of its own, blocking calls on a thread, and one
 * way to say what was wrong. */
#ifndef TESTS_KAFKA_DRIVER_H
#define TESTS_KAFKA_DRIVER_H
#include "kafka/kafka.h"
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const char *bootstrap, *broker_dir; /* "" where there is none */
extern int failures;
extern char run_id[16];
extern double last_seconds; /* of the last call() or prepare() */

#define CHECK(condition, ...)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      failures++;                                                          \
      printf("  FAILED %s:%d: %s: ", __func__, __LINE__, #condition);      \
      printf(__VA_ARGS__);                                                 \
      putchar('\n');                                                       \
    }                                                                      \
  } while (0)
#define OK(f) CHECK(fault_is_ok(&(f)), "%s %s %s", fault_scope_text((f).scope), (f).name, (f).text)

typedef struct host {
  kafka *k;
  uint64_t delivered, failed, transports, errors;
  int64_t last_offset;
  int32_t last_partition;
  uint64_t last_tag;
  fault last_fault, last_error;
} host;

typedef struct job {
  fault (*run)(struct job *);
  host *h;
  fault result;
  int timeout_ms, done[2];
  const char *topic;
  const kafka_topic_spec *spec;
  kafka_topic_info *info;
  char *cluster_id;
  double seconds;
} job;

double now(void); /* seconds */
void serve(host *h);
fault await(job *j); /* runs it on a thread, serving its producer meanwhile */
fault do_connect(job *j);
fault do_prepare(job *j);
fault do_init(job *j);
fault do_commit(job *j);
fault do_abort(job *j);
fault do_flush(job *j);
fault call(host *h, fault (*run)(job *), int timeout_ms);
fault prepare(host *h, const char *topic, const kafka_topic_spec *spec, kafka_topic_info *info);
host *host_with(const char *id, int txn_timeout_ms, const kv *properties, size_t count);
host *host_new(const char *id, int txn_timeout_ms);
double host_free(host *h); /* how long that took */
const char *name(char *buffer, const char *what); /* that nobody else uses; 64 bytes */
fault produce(host *h, const char *topic, int32_t partition, const char *key, const void *value, size_t len,
              uint64_t tag);
/* A ready transactional producer with its topic. */
host *ready(const char *id, const char *topic, const kafka_topic_spec *spec);
extern const kafka_topic_spec three, markers;

/* The scenarios. */
void connect_and_topics(void);
void bytes(void);
void commit_and_abort(void);
void strangers(void);
void fencing(void);
void lone_latency(void);
void throughput(void);
void outage(void);  /* the broker is killed */
void silence(void); /* the broker is stopped */
void security(void);
#endif
