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

enum { FAULT_CLASSES = CLASS_NON_RETRYABLE_IDEMPOTENCY + 1 };

/* How often a record that failed by its own fault is tried again, and the bounds of the pause between. */
typedef struct retry_rule { uint32_t budget; int64_t base_us, cap_us; } retry_rule;

/* The codes that tell of a single record, NULL at the end: those alone may be treated otherwise than classify.c
 * says. What tells of a topic, a producer, a connection or a cluster must not be laid at one record's door: events
 * would be set aside by an outage, or pass those that wait. DUPLICATE_SEQUENCE_NUMBER is a record's, and never a
 * reason to bury it. */
enum { FAULT_RECORD_CODES = 9 };
extern const char *const fault_record_codes[FAULT_RECORD_CODES + 1];
int fault_record_code(const char *name); /* its place there, or -1 */

typedef enum fault_treatment {
  TREAT_BY_CLASS = 0,
  TREAT_DEAD_LETTER, /* at once, whatever the class's budget */
  TREAT_LANE,        /* not set aside: its topic waits, in order, until the record is taken */
  TREAT_AS           /* plus a fault_class: that one's budget */
} fault_treatment;

/* What a topic's records may spend. The core takes one for each topic; the configuration makes it. */
typedef struct fault_rules {
  retry_rule of[FAULT_CLASSES];
  uint8_t codes[FAULT_RECORD_CODES]; /* fault_treatment, or TREAT_AS + a class */
} fault_rules;
extern const fault_rules fault_rules_default;

static inline bool fault_is_ok(const fault *f) { return f->scope == SCOPE_NONE; }
const char *fault_class_text(fault_class class_); /* "NON_RETRYABLE_VALIDATION", ... */
const char *fault_scope_text(fault_scope scope);
#endif
