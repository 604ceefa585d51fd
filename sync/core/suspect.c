/* Poison that only the broker refuses costs an abort and a new producer, 100 ms and more. What the settings of its
 * topic say of it is cheap. But a setting is no proof that the broker acts on it, and may have changed since it was
 * read: nobody is set aside for it before the broker itself has refused a record for the same reason, under the same
 * setting, and before the setting was read anew since the record was appended. So the first costs an abort, and the
 * thousand behind it none. */
#include "core/inner.h"
#include <stdio.h>

#define NEAR 1024 /* what the estimate of a record's size may be short of: our headers */
#define FRESH_US 5000000

static const char *const refusals[SUSPICIONS] = {
    [SUSPECT_NOTHING] = "", [SUSPECT_SIZE] = "MSG_SIZE_TOO_LARGE", [SUSPECT_KEY] = "INVALID_RECORD"};

bool suspect_unweighed(const topic *tp, const core_record *r) {
  return !r->weighed && tp->max_message_bytes > 0 && (uint64_t)r->size + NEAR > (uint64_t)tp->max_message_bytes;
}

suspicion suspect_of(const topic *tp, const core_record *r) {
  if (tp->max_message_bytes > 0 && r->least > (uint64_t)tp->max_message_bytes && !tp->proofs[SUSPECT_SIZE].refuted)
    return SUSPECT_SIZE;
  return tp->needs_key && r->keyless && !tp->proofs[SUSPECT_KEY].refuted ? SUSPECT_KEY : SUSPECT_NOTHING;
}

bool suspect_is_proved(const topic *tp, suspicion s) {
  if (s == SUSPECT_NOTHING || !tp->proofs[s].there) return false;
  fault why = {.scope = SCOPE_RECORD, .class_ = tp->proofs[s].class_};
  snprintf(why.name, sizeof why.name, "%s", refusals[s]);
  const ruling rule = rule_on(tp, &why); /* its topic's rule may be to wait, or to try it again */
  return !rule.lane && rule.retry.budget == 0;
}

bool suspect_is_fresh(const topic *tp, const core_record *r, int64_t now_us) {
  return tp->known_for == r->seq || (tp->known_wall_us > r->appended_us && now_us - tp->known_us < FRESH_US);
}

fault suspect_fault(const topic *tp, const core_record *r, suspicion s) {
  const proof *p = &tp->proofs[s];
  fault why = {.scope = SCOPE_RECORD, .class_ = p->class_, .code = p->code};
  snprintf(why.name, sizeof why.name, "%s", refusals[s]);
  why.class_ = rule_on(tp, &why).class_;
  if (s == SUSPECT_KEY)
    snprintf(why.text, sizeof why.text, "not sent: it has no key and %.100s is compacted; the broker refused another "
             "for it", tp->name);
  else
    snprintf(why.text, sizeof why.text, "not sent: %zu bytes at least, by itself, and %.100s takes %lld "
             "(max.message.bytes); the broker refused another for it", r->least, tp->name,
             (long long)tp->max_message_bytes);
  return why;
}

void suspect_note(topic *tp, suspicion s, const fault *why) {
  if (s == SUSPECT_NOTHING || strcmp(why->name, refusals[s]) != 0) return;
  tp->proofs[s] = (proof){.there = true, .class_ = why->class_, .code = why->code};
}

void suspect_refuted(topic *tp, suspicion s) {
  if (s != SUSPECT_NOTHING) tp->proofs[s] = (proof){.refuted = true};
}

void suspect_settings(core *c, topic *tp, const core_topic_result *r) {
  if (tp->max_message_bytes != r->max_message_bytes) tp->proofs[SUSPECT_SIZE] = (proof){0};
  if (tp->needs_key != r->needs_key) tp->proofs[SUSPECT_KEY] = (proof){0};
  tp->max_message_bytes = r->max_message_bytes;
  tp->needs_key = r->needs_key;
  tp->stamp_max_age_us = r->stamp_max_age_us;
  tp->known_us = c->asked_us;
  tp->known_wall_us = c->asked_wall_us;
  tp->known_for = tp->asked_for;
}
