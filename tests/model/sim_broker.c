/* The broker, as strict as Kafka in what exactness rests on: a new epoch of our transactional id fences the older
 * ones and aborts what is open; records and markers count once their transaction is committed; an EndTxn that the
 * network holds back still ends whatever its epoch has open when it comes. What else goes wrong is decided by
 * sim_handle.c and sim_run.c.
 *
 * The oracle reads what lies in the partitions and in the book, and nothing of the core. Never make the broker
 * more lenient, or the oracle more patient, to let the core pass. */
#include "sim.h"
#include <stdio.h>
#include <stdlib.h>

void broker_init(sim *s) {
  sim_broker *b = &s->broker;
  b->topic_count = 1 + sim_below(s, SIM_TOPICS);
  for (size_t i = 0; i < b->topic_count; i++) {
    sim_topic *t = &b->topics[i];
    static const char *const names[SIM_TOPICS] = {"orders", "audit", "agent.steps", "a", "zz-last", "metrics_raw"};
    strcpy(t->name, names[i]);
    t->partitions = 1 + (int)sim_below(s, SIM_PARTITIONS);
    t->max_bytes = sim_below(s, 4) == 0 ? 5000 : sim_below(s, 3) == 0 ? -1 : 1000000;
    t->untold = sim_below(s, 4) == 0;
  }
  for (size_t i = 0; i < SIM_DLQS; i++) {
    sim_topic *t = &b->topics[SIM_TOPICS + i];
    snprintf(t->name, sizeof t->name, "dlq-%zu", i);
    t->partitions = 1;
    t->max_bytes = sim_below(s, 3) == 0 ? 400 : -1;
    t->untold = sim_below(s, 2) == 0;
  }
  b->epoch = 1;
  b->txn_count = 1; /* 0 means none */
  b->txns = calloc(1, sizeof *b->txns);
  b->txn_cap = 1;
}

void broker_free(sim *s) {
  sim_broker *b = &s->broker;
  for (size_t i = 0; i < SIM_TOPICS + SIM_DLQS; i++)
    for (size_t p = 0; p < SIM_PARTITIONS; p++) free(b->topics[i].parts[p].recs);
  free(b->txns);
  free(b->markers);
}

static void end_open(sim *s, bool commit) {
  sim_broker *b = &s->broker;
  if (!b->open) return;
  sim_trace(s, "broker: transaction %u %s", b->open, commit ? "COMMITTED" : "aborted");
  b->txns[b->open].state = commit ? TXN_COMMITTED : TXN_ABORTED;
  if (commit) s->commits++;
  else s->aborts++;
  b->open = 0;
  b->last_committed = commit;
}

int broker_bump(sim *s) {
  end_open(s, false);
  return ++s->broker.epoch;
}

/* What the coordinator does with an EndTxn of our transactional id. */
void broker_end(sim *s, int epoch, bool commit) {
  if (epoch == s->broker.epoch) end_open(s, commit);
}

void broker_hold(sim *s, int epoch, bool commit) {
  sim_broker *b = &s->broker;
  if (b->held_count == sizeof b->held / sizeof *b->held) return;
  sim_trace(s, "network: holds an EndTxn(%s) of epoch %d", commit ? "commit" : "abort", epoch);
  b->held[b->held_count++] = (sim_end){epoch, commit};
}

void broker_release_held(sim *s, size_t i) {
  sim_broker *b = &s->broker;
  sim_end end = b->held[i];
  b->held[i] = b->held[--b->held_count];
  sim_trace(s, "network: delivers the held EndTxn(%s) of epoch %d (now %d)", end.commit ? "commit" : "abort",
            end.epoch, b->epoch);
  broker_end(s, end.epoch, end.commit);
}

void broker_expire(sim *s) {
  sim_broker *b = &s->broker;
  if (!b->open || s->now_us < b->txns[b->open].began_us + b->txns[b->open].timeout_us) return;
  sim_trace(s, "broker: transaction %u expired", b->open);
  broker_bump(s);
}

static uint32_t txn_for(sim *s, int epoch, int64_t timeout_us) {
  sim_broker *b = &s->broker;
  if (b->open) return b->open;
  if (b->txn_count == b->txn_cap) {
    b->txn_cap *= 2;
    b->txns = realloc(b->txns, b->txn_cap * sizeof *b->txns);
  }
  b->txns[b->txn_count] = (sim_txn){TXN_OPEN, epoch, s->now_us, timeout_us};
  b->open = (uint32_t)b->txn_count++;
  return b->open;
}

int64_t broker_append(sim *s, const sim_wire *w, int epoch, bool transactional, int64_t timeout_us) {
  sim_broker *b = &s->broker;
  if (transactional && epoch != b->epoch) return -1;
  sim_part *p = &b->topics[w->topic].parts[w->part];
  if (p->n == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 64;
    p->recs = realloc(p->recs, p->cap * sizeof *p->recs);
  }
  p->recs[p->n] = (sim_rec){w->seq, transactional ? txn_for(s, epoch, timeout_us) : 0};
  return (int64_t)p->n++;
}

bool broker_append_marker(sim *s, const sim_marker *m, int epoch, int64_t timeout_us) {
  sim_broker *b = &s->broker;
  if (epoch != b->epoch) return false;
  if (b->marker_count == b->marker_cap) {
    b->marker_cap = b->marker_cap ? b->marker_cap * 2 : 64;
    b->markers = realloc(b->markers, b->marker_cap * sizeof *b->markers);
  }
  b->markers[b->marker_count] = *m;
  b->markers[b->marker_count++].txn = txn_for(s, epoch, timeout_us);
  return true;
}

bool broker_committed(const sim *s, uint32_t txn) {
  return txn == 0 || s->broker.txns[txn].state == TXN_COMMITTED;
}

const sim_marker *broker_marker(const sim *s, bool *undecided) {
  const sim_broker *b = &s->broker;
  const sim_marker *found = NULL;
  *undecided = false;
  for (size_t i = 0; i < b->marker_count; i++) {
    if (b->txns[b->markers[i].txn].state == TXN_OPEN) *undecided = true;
    if (broker_committed(s, b->markers[i].txn)) found = &b->markers[i];
  }
  return found;
}

/* --- the oracle --- */

bool broker_takes(const sim *s, const sim_event *e) {
  int64_t max = s->broker.topics[e->topic].max_bytes;
  return e->poison == POISON_NONE && (max < 0 || e->size <= max);
}

bool broker_takes_wire(const sim *s, const sim_wire *w) {
  if (!w->letter) return broker_takes(s, &s->log[w->seq - 1]);
  int64_t max = s->broker.topics[w->topic].max_bytes;
  return max < 0 || w->size <= max;
}

int sim_dlq_of(const sim *s, uint64_t seq) { return SIM_TOPICS + s->log[seq - 1].topic % SIM_DLQS; }

/* Or will be, once the intent is settled, whose transaction may be committed already. */
static bool is_dead(const sim_book *b, uint64_t seq) {
  return b->verdicts[seq].verdict == SL_VERDICT_DEAD ||
      (b->state.has_intent && b->pending[seq].verdict == SL_VERDICT_DEAD);
}

/* Each dead letter has one copy on its dead-letter topic, and nothing else has. */
static void audit_letters(sim *s, const sim_book *book, bool exactly_once, bool complete) {
  static unsigned seen[SIM_LOG_MAX + 1];
  memset(seen, 0, sizeof seen);
  for (int i = 0; i < SIM_DLQS; i++) {
    const sim_part *part = &s->broker.topics[SIM_TOPICS + i].parts[0];
    for (size_t k = 0; k < part->n && !s->broken; k++) {
      if (!broker_committed(s, part->recs[k].txn)) continue;
      const uint64_t seq = part->recs[k].seq;
      if (sim_dlq_of(s, seq) != SIM_TOPICS + i)
        sim_break(s, "the letter of event %llu is on the wrong topic", (unsigned long long)seq);
      if (seen[seq]++ && exactly_once)
        sim_break(s, "the letter of event %llu is there twice", (unsigned long long)seq);
      if (exactly_once && !s->options.copies && !is_dead(book, seq))
        sim_break(s, "event %llu has a letter and is not dead", (unsigned long long)seq);
    }
  }
  for (uint64_t seq = 1; seq <= s->last && complete && s->config.letters && !s->broken; seq++)
    if (book->verdicts[seq].verdict == SL_VERDICT_DEAD && seen[seq] == 0)
      sim_break(s, "the letter of event %llu was never published", (unsigned long long)seq);
}

/* Now, and at any time since it was appended. */
static bool always_taken(const sim *s, const sim_event *e) {
  return broker_takes(s, e) && s->broker.topics[e->topic].raised_us < e->appended_us;
}

static bool must_arrive(const sim *s, const sim_book *book, uint64_t seq) {
  return !s->log[seq - 1].duplicate_of && book->verdicts[seq].verdict != SL_VERDICT_DEAD;
}

void broker_audit(sim *s, const sim_book *book, bool exactly_once, bool complete) {
  sim_broker *b = &s->broker;
  static unsigned seen[SIM_LOG_MAX + 1];
  memset(seen, 0, sizeof seen);
  audit_letters(s, book, exactly_once, complete);
  for (size_t i = 0; i < b->topic_count && !s->broken; i++)
    for (int p = 0; p < b->topics[i].partitions; p++) {
      const sim_part *part = &b->topics[i].parts[p];
      uint64_t newest[SIM_KEYS] = {0};
      for (size_t k = 0; k < part->n; k++) {
        if (!broker_committed(s, part->recs[k].txn)) continue;
        uint64_t seq = part->recs[k].seq;
        const sim_event *e = &s->log[seq - 1];
        bool first = seen[seq]++ == 0;
        if (exactly_once && !first) sim_break(s, "event %llu is there twice", (unsigned long long)seq);
        if (e->duplicate_of) sim_break(s, "duplicate %llu was sent", (unsigned long long)seq);
        if (!first) continue;
        /* At least once: a copy of what was refused and set aside may come late, to a limit that was raised
         * meanwhile. */
        if (!exactly_once && book->verdicts[seq].verdict == SL_VERDICT_DEAD) continue;
        /* In order per key. At least once: the first copies are in order. */
        if (seq < newest[e->key])
          sim_break(s, "event %llu comes after %llu of its key", (unsigned long long)seq,
                    (unsigned long long)newest[e->key]);
        newest[e->key] = seq;
      }
    }
  for (uint64_t seq = 1; seq <= s->last && !s->broken; seq++) {
    bool there = seen[seq] > 0;
    if (complete && must_arrive(s, book, seq) && !there)
      sim_break(s, "event %llu is missing", (unsigned long long)seq);
    if (exactly_once && there && book->verdicts[seq].verdict == SL_VERDICT_DEAD)
      sim_break(s, "event %llu is dead and delivered", (unsigned long long)seq);
    if (book->verdicts[seq].verdict == SL_VERDICT_DEAD && !book->verdicts[seq].expired &&
        always_taken(s, &s->log[seq - 1]))
      sim_break(s, "innocent event %llu is dead", (unsigned long long)seq);
    if (book->verdicts[seq].verdict == SL_VERDICT_SENT && !there)
      sim_break(s, "event %llu counts as delivered and is not there", (unsigned long long)seq);
  }
}
