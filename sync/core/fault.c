#include "fault.h"
#include <stddef.h>

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
