#include "core/inner.h"

/* The budgets and back-offs of docs/delivery.md. They count faults of a record; an outage consumes none. */
retry_rule retry_rule_of(fault_class class_) {
  switch (class_) {
  case CLASS_RETRYABLE_TRANSIENT: return (retry_rule){6, 100000, 5000000};
  case CLASS_RETRYABLE_DEPENDENCY: return (retry_rule){3, 500000, 10000000};
  case CLASS_NONE:
  case CLASS_NON_RETRYABLE_VALIDATION:
  case CLASS_NON_RETRYABLE_POLICY:
  case CLASS_NON_RETRYABLE_SECURITY:
  case CLASS_NON_RETRYABLE_IDEMPOTENCY: break;
  }
  return (retry_rule){0, 100000, 2000000};
}

static uint64_t next_random(uint64_t *seed) { /* splitmix64: Steele, Lea, Flood, OOPSLA 2014 */
  uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t retry_delay(uint64_t *seed, retry_rule rule, uint32_t failures) {
  int64_t span = rule.base_us;
  while (failures-- > 0 && span < rule.cap_us) span *= 2;
  if (span > rule.cap_us) span = rule.cap_us;
  int64_t delay = (int64_t)(next_random(seed) % (uint64_t)span);
  return delay < 1000 ? 1000 : delay;
}
