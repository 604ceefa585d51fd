/* What is known of each topic. One is added when its name first comes up, in a record, a letter or a lane, and
 * none is ever removed or moved: records of the transaction in hand and the list of the wanted point at them.
 *
 * A topic that is not known well enough is wanted, and all that are wanted are looked up together, while no
 * transaction is open. What comes back is taken in here: the topic is READY, with what it takes now; or the fault
 * is the topic's own, and its events wait in a lane while all others go on. Any other fault is nobody's in
 * particular, and for core.c. */
#include "core/inner.h"
#include <stdlib.h>
#include <xxhash.h>

static size_t place(const topic_table *t, sl_slice name) {
  size_t at = (size_t)XXH3_64bits(name.data, name.len) & (t->hash_cap - 1);
  while (t->hash[at]) {
    const topic *have = t->list[t->hash[at] - 1];
    if (have->len == name.len && memcmp(have->name, name.data, name.len) == 0) break;
    at = (at + 1) & (t->hash_cap - 1);
  }
  return at;
}

topic *topics_find(const topic_table *t, sl_slice name) {
  if (t->hash_cap == 0) return NULL;
  uint32_t found = t->hash[place(t, name)];
  return found ? t->list[found - 1] : NULL;
}

static bool grow(topic_table *t) {
  size_t cap = t->cap ? t->cap * 2 : 32;
  topic **list = realloc(t->list, cap * sizeof *list);
  if (!list) return false;
  t->list = list;
  uint32_t *hash = calloc(cap * 2, sizeof *hash);
  if (!hash) return false;
  free(t->hash);
  t->hash = hash;
  t->cap = cap;
  t->hash_cap = cap * 2;
  for (size_t i = 0; i < t->count; i++)
    t->hash[place(t, (sl_slice){t->list[i]->name, t->list[i]->len})] = (uint32_t)i + 1;
  return true;
}

topic *topics_get(topic_table *t, sl_slice name) {
  topic *have = topics_find(t, name);
  if (have) return have;
  if (t->count == t->cap && !grow(t)) return NULL;
  topic *add = calloc(1, sizeof *add);
  if (!add) return NULL;
  add->name = malloc(name.len + 1);
  if (!add->name) {
    free(add);
    return NULL;
  }
  memcpy(add->name, name.data, name.len);
  add->name[name.len] = '\0';
  add->len = name.len;
  add->max_message_bytes = -1;
  add->rules = fault_rules_default;
  add->index = (uint32_t)t->count;
  t->list[t->count] = add;
  t->hash[place(t, name)] = (uint32_t)++t->count;
  return add;
}

void topics_want(core *c, topic *tp) {
  if (tp->wanted || c->wanted_count == CORE_TOPICS_MAX) return;
  tp->wanted = true;
  c->wanted_names[c->wanted_count] = tp->name;
  c->wanted[c->wanted_count++] = tp;
}

void topics_want_none(core *c) {
  for (size_t i = 0; i < c->wanted_count; i++) c->wanted[i]->wanted = false;
  c->wanted_count = 0;
}

void topics_forget_refusals(core *c) {
  for (size_t i = 0; i < c->topics.count; i++) c->topics.list[i]->refused_at_us = 0;
}

void topics_free(topic_table *t) {
  for (size_t i = 0; i < t->count; i++) {
    free(t->list[i]->name);
    free(t->list[i]);
  }
  free(t->list);
  free(t->hash);
  *t = (topic_table){0};
}

/* A topic that takes fewer bytes than a batch holds would refuse whole batches of small records. */
#define BATCH_DEFAULT 1000000
#define BATCH_MIN 1024

static void fit_batches(core *c, int64_t max_message_bytes) {
  int64_t fit = max_message_bytes > BATCH_MIN ? max_message_bytes : BATCH_MIN;
  if (max_message_bytes <= 0 || fit >= (c->batch_bytes ? c->batch_bytes : BATCH_DEFAULT)) return;
  c->batch_bytes = fit;
  c->recreate = RENEWAL_BATCHES;
}

/* A key goes on to the partition where the Java client puts it, of as many as there are now; who reads by key
 * should know that it moved. */
static void note_partitions(core *c, topic *tp, int32_t now) {
  if (now <= 0 || now == tp->partitions) return;
  if (tp->partitions > 0) {
    c->partition_changes++;
    c->changed_topic = tp->index;
    c->partitions_were = tp->partitions;
  }
  tp->partitions = now;
}

/* All that was sent before lies in a topic that is gone. */
static void note_recreated(core *c, topic *tp, const core_topic_result *r) {
  if (!r->recreated) return;
  txn_offsets_back(c, tp, r->receipt_at, r->ends_at);
  tp->back = true;
  tp->back_txn = c->txn.number; /* no transaction is in hand: the next one has another number */
  tp->back_seq = 0;
}

bool topic_take_result(core *c, topic *tp, const core_topic_result *r) {
  tp->max_age_us = r->lane_max_age_us;
  tp->rules = r->rules ? *r->rules : fault_rules_default;
  if (fault_is_ok(&r->why)) {
    tp->health = TOPIC_READY;
    note_partitions(c, tp, r->partitions);
    note_recreated(c, tp, r);
    suspect_settings(c, tp, r);
    fit_batches(c, r->max_message_bytes);
    if (tp->has_lane) tp->lane_try_us = c->now_us;
    return true;
  }
  if (r->why.scope != SCOPE_TOPIC && r->why.scope != SCOPE_RECORD && /* a name that librdkafka refuses, say: */
      (r->why.scope != SCOPE_AGENT || r->why.fatal))
    return false;
  core_fault(c, &r->why);
  topic_sicken(c, tp, &r->why);
  return true;
}
