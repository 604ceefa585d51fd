/* Poison that only the broker refuses costs an abort and a new producer, 100 ms and more. What the settings of its
 * topic say of it is cheap. But a setting is no proof that the broker acts on it, and may have changed since it
 * was read: nobody is set aside for it before the broker itself has refused a record for the same reason, under
 * the same setting, and before the setting was read anew since the record was appended. So the first costs an
 * abort, and the thousand behind it none.
 *
 * The right to read settings is often not given. Of sizes a refusal then tells as much: what is as large as a
 * record that was refused alone, a few seconds ago and after this one was appended, would have been, too. */
#include "core/inner.h"
#include <stdio.h>

#define NEAR 1024 /* what the estimate of a record's size may be short of: our headers */
#define FRESH_US 5000000

static bool is_of_size(const char *name) {
  return strcmp(name, "MSG_SIZE_TOO_LARGE") == 0 || strcmp(name, "RECORD_LIST_TOO_LARGE") == 0;
}

static bool is_refusal_for(suspicion s, const char *name) {
  return s == SUSPECT_SIZE ? is_of_size(name) : s == SUSPECT_KEY && strcmp(name, "INVALID_RECORD") == 0;
}

bool suspect_by_refusal(const topic *tp, suspicion s) { return s == SUSPECT_SIZE && tp->max_message_bytes <= 0; }

static bool may_be_too_large(const topic *tp, const core_record *r) {
  return tp->max_message_bytes <= 0 && tp->too_big.there && r->size > tp->taken;
}

bool suspect_unweighed(const topic *tp, const core_record *r) {
  if (r->weighed) return false;
  if (tp->max_message_bytes <= 0) return may_be_too_large(tp, r);
  return (uint64_t)r->size + NEAR > (uint64_t)tp->max_message_bytes;
}

bool suspect_is_doubtful(const topic *tp, const core_record *r) {
  return may_be_too_large(tp, r) || (tp->max_message_bytes <= 0 && tp->keyless_refused && r->keyless);
}

static bool is_too_large(const topic *tp, const core_record *r) {
  if (tp->proofs[SUSPECT_SIZE].refuted) return false;
  if (tp->max_message_bytes > 0) return r->least > (uint64_t)tp->max_message_bytes;
  return tp->too_big.least > 0 && r->least >= tp->too_big.least;
}

suspicion suspect_of(const topic *tp, const core_record *r) {
  if (is_too_large(tp, r)) return SUSPECT_SIZE;
  return tp->needs_key && r->keyless && !tp->proofs[SUSPECT_KEY].refuted ? SUSPECT_KEY : SUSPECT_NOTHING;
}

static fault fault_of(const topic *tp, suspicion s) {
  const proof *p = &tp->proofs[s];
  fault why = {.scope = SCOPE_RECORD, .class_ = p->class_, .code = p->code};
  memcpy(why.name, p->name, sizeof p->name);
  return why;
}

bool suspect_is_proved(const topic *tp, suspicion s) {
  if (s == SUSPECT_NOTHING || !tp->proofs[s].there) return false;
  const fault why = fault_of(tp, s);
  const ruling rule = rule_on(tp, &why); /* its topic's rule may be to wait, or to try it again */
  return !rule.lane && rule.retry.budget == 0;
}

bool suspect_is_fresh(const topic *tp, const core_record *r, int64_t now_us) {
  if (tp->known_for == r->seq) return true;
  return tp->known_wall_us > r->appended_us && now_us - tp->known_us < FRESH_US;
}

bool suspect_was_seen(const topic *tp, const core_record *r, int64_t now_us) {
  return tp->too_big.wall_us > r->appended_us && now_us - tp->too_big.at_us < FRESH_US;
}

fault suspect_fault(const topic *tp, const core_record *r, suspicion s) {
  fault why = fault_of(tp, s);
  why.class_ = rule_on(tp, &why).class_;
  if (s == SUSPECT_KEY)
    snprintf(why.text, sizeof why.text,
             "not sent: it has no key and %.100s is compacted; the broker refused another for it", tp->name);
  else if (suspect_by_refusal(tp, s))
    snprintf(why.text, sizeof why.text, "not sent: %zu bytes at least, by itself; the broker refused another for "
             "%.100s that is no larger, a moment ago", r->least, tp->name);
  else
    snprintf(why.text, sizeof why.text, "not sent: %zu bytes at least, by itself, and %.100s takes %lld "
             "(max.message.bytes, segment.bytes); the broker refused another for it", r->least, tp->name,
             (long long)tp->max_message_bytes);
  return why;
}

/* One that is larger for sure was to be refused as well; by two estimates it may be the smaller one. */
size_t suspect_most(const core_record *r) {
  return r->exact || r->least == 0 ? r->least : r->least + r->least / 16 + 1;
}

static void note_size(core *c, topic *tp, size_t most) {
  too_big *b = &tp->too_big;
  if (tp->max_message_bytes > 0) return;
  b->there = true;
  if (most == 0) return;
  if (b->least == 0 || most < b->least) b->least = most;
  b->at_us = c->now_us;
  b->wall_us = c->wall_us;
}

bool suspect_is_of_size(const fault *why) { return is_of_size(why->name); }

void suspect_note(core *c, topic *tp, const slot *of, const fault *why) {
  suspicion s = (suspicion)of->suspect;
  if (is_of_size(why->name)) {
    note_size(c, tp, of->most);
    if (tp->too_big.least > 0) s = SUSPECT_SIZE;
  }
  if (of->keyless && is_refusal_for(SUSPECT_KEY, why->name)) tp->keyless_refused = true;
  if (s == SUSPECT_NOTHING || !is_refusal_for(s, why->name)) return;
  tp->proofs[s] = (proof){.there = true, .class_ = why->class_, .code = why->code};
  memcpy(tp->proofs[s].name, why->name, sizeof why->name);
}

void suspect_taken(topic *tp, const slot *of) {
  const suspicion s = (suspicion)of->suspect;
  if (of->keyless) tp->keyless_refused = false;
  if (of->size > tp->taken) tp->taken = of->size;
  if (s == SUSPECT_NOTHING) return;
  tp->proofs[s] = (proof){.refuted = !suspect_by_refusal(tp, s)};
  if (s == SUSPECT_SIZE) tp->too_big = (too_big){0};
}

void suspect_settings(core *c, topic *tp, const core_topic_result *r) {
  if (tp->max_message_bytes != r->max_message_bytes) {
    tp->proofs[SUSPECT_SIZE] = (proof){0};
    tp->too_big = (too_big){0};
  }
  if (tp->needs_key != r->needs_key) tp->proofs[SUSPECT_KEY] = (proof){0};
  tp->max_message_bytes = r->max_message_bytes;
  tp->needs_key = r->needs_key;
  tp->stamp_max_age_us = r->stamp_max_age_us;
  tp->known_us = c->asked_us;
  tp->known_wall_us = c->asked_wall_us;
  tp->known_for = tp->asked_for;
}
