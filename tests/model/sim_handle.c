/* The simulated handle: what librdkafka and the network make of records on their way, and of a handle's that is
 * gone. */
#include "sim.h"
#include <stdio.h>
#include <stdlib.h>

void handle_push(sim_handle *h, sim_wire w) {
  if (h->wire_count == h->wire_cap) {
    h->wire_cap = h->wire_cap ? h->wire_cap * 2 : 64;
    h->wires = realloc(h->wires, h->wire_cap * sizeof *h->wires);
  }
  h->wires[h->wire_count++] = w;
  h->waiting += w.size;
}

static void wire_remove(sim_handle *h, size_t i) {
  h->waiting -= h->wires[i].size;
  memmove(&h->wires[i], &h->wires[i + 1], (h->wire_count - i - 1) * sizeof *h->wires);
  h->wire_count--;
}

void handle_report(sim_handle *h, const sim_wire *w, int64_t offset, const fault *why) {
  if (w->topic == SIM_MARKER_TOPIC) {
    if (why) h->marker_fault = *why;
    return;
  }
  if (h->report_count == h->report_cap) {
    h->report_cap = h->report_cap ? h->report_cap * 2 : 64;
    h->reports = realloc(h->reports, h->report_cap * sizeof *h->reports);
  }
  h->reports[h->report_count++] =
      (sim_report){w->tag, why ? -1 : w->part, offset, why ? *why : (fault){0}};
}

static void fail_wire(sim *s, sim_handle *h, size_t i, const fault *why) {
  sim_wire w = h->wires[i];
  sim_trace(s, "broker: event %llu of topic %d: %s", (unsigned long long)w.seq, w.topic, why->name);
  wire_remove(h, i);
  h->failed = true;
  h->part_failed[w.topic][w.part] = true;
  if (why->scope == SCOPE_RECORD) h->gap[w.topic][w.part] = true;
  handle_report(h, &w, -1, why);
}

static size_t head_of(const sim_handle *h, size_t i) {
  for (size_t k = 0; k < i; k++)
    if (h->wires[k].topic == h->wires[i].topic && h->wires[k].part == h->wires[i].part) return k;
  return i;
}

/* A record of the same batch that the broker refuses brings down its neighbours. What it calls that; NULL: none
 * is. */
static const char *poison_of_batch(sim *s, const sim_handle *h, size_t head, unsigned batch) {
  const sim_wire *first = &h->wires[head];
  for (size_t i = head; i < h->wire_count && batch > 0; i++) {
    if (h->wires[i].topic != first->topic || h->wires[i].part != first->part) continue;
    const sim_wire *w = &h->wires[i];
    const sim_event *e = &s->log[w->seq - 1];
    if (w->letter ? !broker_takes_wire(s, w) : e->poison == POISON_NONE && !broker_takes(s, e))
      return "MSG_SIZE_TOO_LARGE";
    if (!w->letter && e->poison == POISON_BROKER) return "INVALID_RECORD";
    batch--;
  }
  return NULL;
}

void agent_wire(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  if (h->wire_count == 0) return;
  size_t i = head_of(h, sim_below(s, h->wire_count));
  sim_wire w = h->wires[i];
  bool marker = w.topic == SIM_MARKER_TOPIC;
  const fault purge = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_PURGE_QUEUE");
  const fault lost = sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT, "_MSG_TIMED_OUT");
  if (h->transactional && h->gap[w.topic][w.part] && !h->part_failed[w.topic][w.part]) {
    sim_break(s, "event %llu is sent behind a batch that the broker refused: its sequence number is out of order",
              (unsigned long long)w.seq);
    return;
  }
  if (h->batch_failed[w.topic][w.part]) {
    const fault big = sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, "MSG_SIZE_TOO_LARGE");
    fail_wire(s, h, i, &big);
    h->batch_failed[w.topic][w.part] = broker_takes_wire(s, &w);
    return;
  }
  if (h->part_failed[w.topic][w.part] || h->mute || (h->failed && h->transactional && sim_below(s, 2))) {
    fail_wire(s, h, i, &purge);
    return;
  }
  if (s->broker.down) {
    if (sim_below(s, 4) == 0) {
      s->now_us += 1000000;
      fail_wire(s, h, i, &lost);
    }
    return;
  }
  if (h->transactional && h->epoch != s->broker.epoch) {
    h->dead = true;
    fail_wire(s, h, i, &purge);
    fault fenced = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_DEPENDENCY, "PRODUCER_FENCED");
    fenced.fenced = fenced.fatal = true;
    agent_give(s, a, (core_event){.kind = EVENT_ERROR, .why = fenced});
    return;
  }
  if (sim_fault(s, 3)) {
    fail_wire(s, h, i, &lost);
    return;
  }
  if (marker) {
    if (sim_fault(s, 3)) {
      fault no = sim_fault_of(SCOPE_TOPIC, CLASS_NON_RETRYABLE_SECURITY, "TOPIC_AUTHORIZATION_FAILED");
      fail_wire(s, h, i, &no);
      return;
    }
    broker_append_marker(s, &h->marker, h->epoch, h->timeout_us);
    wire_remove(h, i);
    if (sim_fault(s, 5)) handle_report(h, &w, -1, &lost);
    return;
  }
  const sim_topic *t = &s->broker.topics[w.topic];
  const sim_event *e = &s->log[w.seq - 1];
  if (t->rights == RIGHTS_NO_WRITE) {
    fault no = sim_fault_of(SCOPE_TOPIC, CLASS_NON_RETRYABLE_SECURITY, "TOPIC_AUTHORIZATION_FAILED");
    fail_wire(s, h, i, &no);
    return;
  }
  if (t->rights == RIGHTS_MUTE) {
    h->mute = h->transactional;
    fail_wire(s, h, i, &purge);
    return;
  }
  const char *poison = poison_of_batch(s, h, i, 1 + (unsigned)sim_below(s, 4));
  if (poison) {
    const fault refused = sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, poison);
    fail_wire(s, h, i, &refused);
    h->batch_failed[w.topic][w.part] = broker_takes_wire(s, &w);
    return;
  }
  if (!w.letter && e->poison == POISON_FLAKY && sim_below(s, 4)) {
    fault flaky = sim_fault_of(SCOPE_RECORD, CLASS_RETRYABLE_TRANSIENT, "INVALID_RECORD");
    fail_wire(s, h, i, &flaky);
    return;
  }
  int64_t offset = broker_append(s, &w, h->epoch, h->transactional, h->timeout_us);
  wire_remove(h, i);
  if (sim_fault(s, 3)) { /* it is there, but the answer was lost */
    h->failed = h->part_failed[w.topic][w.part] = true;
    handle_report(h, &w, -1, &lost);
  } else {
    handle_report(h, &w, sim_below(s, 50) ? offset : -1, NULL);
  }
}

/* What a dead or destroyed handle left in the network may still arrive, in order, up to some point. */
void ghost_add(sim *s, sim_handle *h) {
  /* behind a failed record the sequence has a gap: the broker refuses it */
  for (size_t i = 0; i < h->wire_count;) {
    if (h->part_failed[h->wires[i].topic][h->wires[i].part] || h->mute) wire_remove(h, i);
    else i++;
  }
  if (h->wire_count && s->ghost_count < sizeof s->ghosts / sizeof *s->ghosts && sim_below(s, 2)) {
    s->ghosts[s->ghost_count++] = (sim_ghost){h->wires, h->wire_count, h->epoch, h->transactional};
    h->wires = NULL;
    h->wire_cap = 0;
  }
  h->wire_count = 0;
}

void ghost_move(sim *s, size_t i) {
  sim_ghost *g = &s->ghosts[i];
  for (size_t k = 0; k < g->count; k++) {
    sim_wire w = g->wires[k];
    if (w.topic == SIM_MARKER_TOPIC || s->broker.topics[w.topic].rights != RIGHTS_ALL) break;
    if (!broker_takes_wire(s, &w) || sim_below(s, 8) == 0) break;
    /* An open transaction of this epoch takes it; without one nobody would end it. */
    if (g->transactional && (g->epoch != s->broker.epoch || !s->broker.open)) break;
    broker_append(s, &w, g->epoch, g->transactional, 0);
  }
  free(g->wires);
  s->ghosts[i] = s->ghosts[--s->ghost_count];
}

void handle_free(sim_handle *h) {
  free(h->wires);
  free(h->reports);
  *h = (sim_handle){0};
}

void handle_drop(sim *s, sim_handle *h) {
  ghost_add(s, h);
  handle_free(h);
}

fault handle_begin(sim *s, sim_agent *a) {
  sim_handle *h = &a->handle;
  if (h->dead) {
    fault f = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_FATAL");
    f.fatal = true;
    return f;
  }
  if (h->begun) sim_break(s, "begin_transaction inside a transaction");
  h->begun = true;
  h->failed = false;
  memset(h->part_failed, 0, sizeof h->part_failed);
  memset(h->batch_failed, 0, sizeof h->batch_failed);
  core_begun(a->core);
  return (fault){0};
}

/* `letter`: the size of a dead letter's copy; 0: it is the event itself. */
fault handle_produce(sim *s, sim_agent *a, uint64_t seq, uint64_t tag, uint32_t letter, bool *full) {
  sim_handle *h = &a->handle;
  const sim_event *e = &s->log[seq - 1];
  const uint32_t size = letter ? letter : e->size;
  const int topic = letter ? sim_dlq_of(s, seq) : e->topic;
  *full = false;
  if (h->dead || (h->failed && sim_below(s, 4) == 0)) {
    fault f = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, h->dead ? "_FATAL" : "_STATE");
    f.fatal = h->dead;
    return f;
  }
  if (h->waiting + size > h->queue_bytes) {
    *full = true;
    return (fault){0};
  }
  if (letter > 50000 || (!letter && e->poison == POISON_LOCAL))
    return sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, "MSG_SIZE_TOO_LARGE");
  sim_rights rights = s->broker.topics[topic].rights;
  if ((rights == RIGHTS_NO_LOOKUP || rights == RIGHTS_NO_WRITE) && sim_below(s, 3) == 0)
    return sim_fault_of(SCOPE_TOPIC, CLASS_RETRYABLE_DEPENDENCY, "_UNKNOWN_TOPIC");
  handle_push(h, (sim_wire){tag, seq, topic, e->key % s->broker.topics[topic].partitions, size, letter > 0});
  return (fault){0};
}

/* Offers a dead letter; false: the FILL has ended. */
