#include "fault.h"
#include <stddef.h>
#include <string.h>

static const char *const class_texts[] = {
  [CLASS_NONE] = "NONE",
  [CLASS_RETRYABLE_TRANSIENT] = "RETRYABLE_TRANSIENT",
  [CLASS_RETRYABLE_DEPENDENCY] = "RETRYABLE_DEPENDENCY",
  [CLASS_NON_RETRYABLE_VALIDATION] = "NON_RETRYABLE_VALIDATION",
  [CLASS_NON_RETRYABLE_POLICY] = "NON_RETRYABLE_POLICY",
  [CLASS_NON_RETRYABLE_SECURITY] = "NON_RETRYABLE_SECURITY",
  [CLASS_NON_RETRYABLE_IDEMPOTENCY] = "NON_RETRYABLE_IDEMPOTENCY",
};

static const char *const scope_texts[] = {
  [SCOPE_NONE] = "none",       [SCOPE_RECORD] = "record",         [SCOPE_TOPIC] = "topic",
  [SCOPE_PRODUCER] = "producer", [SCOPE_CONNECTION] = "connection", [SCOPE_CLUSTER] = "cluster",
  [SCOPE_AGENT] = "agent",
};

const char *fault_class_text(fault_class class_) {
  size_t i = (size_t)class_;
  return i < sizeof class_texts / sizeof *class_texts ? class_texts[i] : "?";
}

const char *fault_scope_text(fault_scope scope) {
  size_t i = (size_t)scope;
  return i < sizeof scope_texts / sizeof *scope_texts ? scope_texts[i] : "?";
}

const char *const fault_record_codes[FAULT_RECORD_CODES + 1] = {
  "MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP", "_UNKNOWN_PARTITION",
  "_KEY_SERIALIZATION", "_VALUE_SERIALIZATION", "_KEY_DESERIALIZATION", "_VALUE_DESERIALIZATION", NULL,
};

int fault_record_code(const char *name) {
  for (int i = 0; i < FAULT_RECORD_CODES; i++)
    if (strcmp(fault_record_codes[i], name) == 0) return i;
  return -1;
}

/* The budgets and back-offs of docs/delivery.md. They count faults of a record; an outage consumes none. */
#define NO_RETRY {0, 100000, 2000000}
const fault_rules fault_rules_default = {.of = {
  [CLASS_NONE] = NO_RETRY,
  [CLASS_RETRYABLE_TRANSIENT] = {6, 100000, 5000000},
  [CLASS_RETRYABLE_DEPENDENCY] = {3, 500000, 10000000},
  [CLASS_NON_RETRYABLE_VALIDATION] = NO_RETRY,
  [CLASS_NON_RETRYABLE_POLICY] = NO_RETRY,
  [CLASS_NON_RETRYABLE_SECURITY] = NO_RETRY,
  [CLASS_NON_RETRYABLE_IDEMPOTENCY] = NO_RETRY,
}};
