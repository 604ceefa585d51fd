/* What went wrong, in the terms that decide what happens next: scope first, then class.
 * The Kafka room translates every librdkafka code into one of these (classify.c); the core knows no other. */
#ifndef SYNC_CORE_FAULT_H
#define SYNC_CORE_FAULT_H
#include <stdbool.h>
#include <stdint.h>

/* Whom it concerns. Outage is not poison: only RECORD scope consumes an event's budget. */
typedef enum fault_scope {
  SCOPE_NONE = 0,    /* no fault */
  SCOPE_RECORD,      /* this record, as it is */
  SCOPE_TOPIC,       /* every record of the topic */
  SCOPE_PRODUCER,    /* our producer's session: recreate it and go on from the cursor */
  SCOPE_CONNECTION,  /* brokers cannot be reached or do not answer: breaker */
  SCOPE_CLUSTER,     /* the cluster answers, but refuses this agent: park */
  SCOPE_AGENT        /* a fault of this program or its configuration */
} fault_scope;

typedef enum fault_class {
  CLASS_NONE = 0,
  CLASS_RETRYABLE_TRANSIENT,
  CLASS_RETRYABLE_DEPENDENCY,
  CLASS_NON_RETRYABLE_VALIDATION,
  CLASS_NON_RETRYABLE_POLICY,
  CLASS_NON_RETRYABLE_SECURITY,
  CLASS_NON_RETRYABLE_IDEMPOTENCY
} fault_class;

typedef struct fault {
  fault_scope scope;   /* SCOPE_NONE: success */
  fault_class class_;
  int32_t code;        /* rd_kafka_resp_err_t */
  bool fatal;          /* the handle is dead: destroy it */
  bool abortable;      /* the transaction must be aborted, the handle lives */
  bool fenced;         /* another producer with our transactional id took over */
  char name[48];       /* "MSG_SIZE_TOO_LARGE" */
  char text[256];      /* for people, with topic and broker where known */
} fault;

static inline bool fault_is_ok(const fault *f) { return f->scope == SCOPE_NONE; }
const char *fault_class_text(fault_class class_); /* "NON_RETRYABLE_VALIDATION", ... */
const char *fault_scope_text(fault_scope scope);
#endif
