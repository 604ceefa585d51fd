/* What a fault costs, and how long to wait after it. The class of a fault says how often the record that failed by
 * it is tried again; its topic's rules may say otherwise, also of single codes, but of those alone that tell of a
 * record: an outage must never spend an event's budget. Pauses are spread over their whole span, so that many
 * agents that failed at one time do not come back at one time. Chance comes from the core's own seed: a history
 * repeats it, too. */
#include "core/inner.h"

ruling rule_on(const topic *tp, const fault *why) {
  const int code = why->scope == SCOPE_RECORD ? fault_record_code(why->name) : -1;
  const unsigned treatment = code < 0 ? TREAT_BY_CLASS : tp->rules.codes[code];
  const unsigned ruled = treatment >= TREAT_AS ? treatment - TREAT_AS : (unsigned)why->class_;
  const fault_class class_ = ruled < FAULT_CLASSES ? (fault_class)ruled : CLASS_NONE; /* from a damaged history */
  ruling r = {.class_ = class_, .retry = tp->rules.of[class_], .lane = treatment == TREAT_LANE};
  if (treatment == TREAT_LANE || treatment == TREAT_DEAD_LETTER) r.retry.budget = 0;
  return r;
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
