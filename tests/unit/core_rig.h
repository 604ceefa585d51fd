/* Drives the delivery core by hand, operation by operation, over the simulated book (tests/model). Inline: no test
 * program needs every helper. */
#ifndef TESTS_CORE_RIG_H
#define TESTS_CORE_RIG_H
#include "unit.h"

#include "model/sim.h"

#define SECOND INT64_C(1000000)

typedef struct rig {
  sim *s;
  sim_book *book;
  core *core;
  core_action act;  /* what the last step asked for; OP_NONE: nothing */
  int64_t now, wall_ahead_us, slept_us;
  uint64_t tags[2000];
  size_t tag_count; /* of the FILL */
  core_config config;
  const char *sick;     /* a topic whose look-up fails */
  int64_t max_bytes;    /* of every topic */
  bool needs_key;       /* so does every topic */
  unsigned keyless;     /* every so manieth seq has no key; 0: all have one */
  unsigned packs;       /* to what part of its size a record is compressed; 0: nobody can say */
  uint64_t vague_to;    /* of seqs up to here not exactly: one part in 64 is taken off */
  int32_t partitions;   /* 0: 3 */
  int64_t lane_max_age_us;
  bool recreated;
  const fault_rules *rules; /* of topic-1 */
  uint64_t seqs[2000];      /* of the tags */
  uint64_t refuse_seq;      /* the client refuses it; 0: none */
  fault refuse_why;
  unsigned looked;          /* look-ups of topics */
  const char *dlq;          /* the driver sends letters along, there; NULL: it does not */
  fault refuse_along;       /* the client refuses them, */
  unsigned refuse_along_times; /* so often */
  uint64_t along[8];        /* tags */
  size_t along_count;
  bool slim;                /* the last one went without its value */
  size_t letter_size;
} rig;

static inline void give(rig *r, core_event e) {
  core_actions out;
  e.now_us = r->s->now_us = r->now;
  e.wall_us = r->now + r->wall_ahead_us;
  e.slept_us = r->slept_us;
  r->s->lane_max_age_us = r->lane_max_age_us;
  if (e.kind == EVENT_DONE) e.book = &r->book->state;
  core_step(r->core, &e, &out);
  const char *wrong = core_check(r->core);
  if (wrong) fail_msg("core_check: %s", wrong);
  assert_true(out.count <= 1);
  r->act = out.count ? out.list[0] : (core_action){.op = OP_NONE};
}

static inline void done_with(rig *r, core_event e) {
  e.kind = EVENT_DONE;
  e.op = r->act.op;
  give(r, e);
}

static inline void ok(rig *r, core_op op) {
  if (r->act.op != op) fail_msg("the core asks for %d, not for %d", r->act.op, op);
  const delivery_attempt *a = core_attempt(r->core);
  if (op == OP_INTENT) {
    book_intent(r->s, r->book, a);
    if (!r->config.exactly_once) book_settle(r->s, r->book);
  }
  if (op == OP_SETTLE) book_settle(r->s, r->book);
  if (op == OP_ABANDON) book_abandon(r->s, r->book);
  if (r->s->broken) fail_msg("%s", r->s->broken);
  core_topic_result topics[CORE_TOPICS_MAX];
  r->looked += op == OP_TOPIC;
  for (size_t i = 0; i < r->act.topic_count && op == OP_TOPIC; i++) {
    topics[i] = (core_topic_result){.partitions = r->partitions ? r->partitions : 3,
                                    .max_message_bytes = r->max_bytes,
                                    .needs_key = r->needs_key, .lane_max_age_us = r->lane_max_age_us,
                                    .recreated = r->recreated};
    if (strcmp(r->act.topics[i], "topic-1") == 0) topics[i].rules = r->rules;
    if (r->sick && strcmp(r->sick, r->act.topics[i]) == 0)
      topics[i].why = sim_fault_of(SCOPE_TOPIC, CLASS_NON_RETRYABLE_SECURITY, "TOPIC_AUTHORIZATION_FAILED");
  }
  done_with(r, (core_event){.topics = topics, .cluster_id = "cluster-1"});
}

static inline void bad(rig *r, core_op op, fault why) {
  if (r->act.op != op) fail_msg("the core asks for %d, not for %d", r->act.op, op);
  done_with(r, (core_event){.why = why});
}

static inline fault outage(void) { return sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT,
                                                       "_TRANSPORT"); }
static inline fault too_large(void) {
  return sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, "MSG_SIZE_TOO_LARGE");
}
static inline fault no_write(void) {
  return sim_fault_of(SCOPE_TOPIC, CLASS_NON_RETRYABLE_SECURITY, "TOPIC_AUTHORIZATION_FAILED");
}
static inline fault disk_full(void) { return sim_fault_of(SCOPE_AGENT, CLASS_RETRYABLE_DEPENDENCY, "STORE"); }
static inline fault purged(void) { return sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT,
                                                       "_PURGE_QUEUE"); }

static inline rig *rig_new(bool exactly_once) {
  rig *r = calloc(1, sizeof *r);
  r->s = sim_new(&(sim_options){.seed = 1});
  for (size_t i = 0; i < SIM_TOPICS; i++) {
    snprintf(r->s->broker.topics[i].name, sizeof r->s->broker.topics[i].name, "topic-%zu", i);
    r->s->broker.topics[i].partitions = 1;
    r->s->broker.topics[i].ever_sick = true; /* here a lane needs no reason */
  }
  r->s->broker.topic_count = SIM_TOPICS;
  r->book = &r->s->agents[0].book;
  r->now = 100 * SECOND;
  r->max_bytes = -1;
  r->letter_size = 500;
  r->config = (core_config){.exactly_once = exactly_once, .txn_max_events = 1000, .txn_max_bytes = 1 << 24,
                            .txn_timeout_us = 15 * SECOND, .txn_timeout_max_us = 240 * SECOND,
                            .doubt_us = 5 * SECOND, .probe_us = 30 * SECOND,
                            .incarnation = {1}, .seed = 1};
  return r;
}

static inline void rig_free(rig *r) {
  core_free(r->core);
  sim_free(r->s);
  free(r);
}

static inline void start(rig *r) {
  core_free(r->core);
  r->core = core_new(&r->config, &r->book->state);
  assert_non_null(r->core);
  give(r, (core_event){.kind = EVENT_START});
}

static inline void append(rig *r, uint8_t topic, size_t n) {
  for (size_t i = 0; i < n; i++)
    r->s->log[r->s->last++] = (sim_event){.topic = topic, .size = 100, .appended_us = r->now + r->wall_ahead_us};
  r->s->indexed = r->s->last;
}

static inline void tell_log(rig *r) {
  core_action under_way = r->act;
  give(r, (core_event){.kind = EVENT_LOG, .last_seq = r->s->last, .indexed_seq = r->s->indexed});
  if (r->act.op == OP_NONE) r->act = under_way;
}

static inline void wake(rig *r) {
  int64_t at = core_wake_at(r->core);
  assert_true(at > 0);
  if (r->now < at) r->now = at;
  give(r, (core_event){.kind = EVENT_TIMER});
}

static inline void to_marker(rig *r) {
  ok(r, OP_CONNECT);
  ok(r, OP_MARKER_TOPIC);
  ok(r, OP_INIT_TXN);
  assert_int_equal(r->act.op, OP_READ_MARKER);
}

static inline void reads(rig *r, sl_slice marker) { done_with(r, (core_event){.marker = marker}); }
static inline void begun(rig *r) {
  if (!core_txn_begun(r->core)) core_begun(r->core);
}

static inline void commit(rig *r) { /* from FLUSH on, on a good day */
  begun(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  ok(r, OP_COMMIT);
  ok(r, OP_SETTLE);
}

static inline void claim(rig *r) {
  to_marker(r);
  reads(r, r->book->state.marker_bytes);
  commit(r);
}

static inline void ready(rig *r) { /* connected, claimed, idle or on its way */
  if (r->config.exactly_once) claim(r);
  else ok(r, OP_CONNECT);
}

static inline void begun(rig *r);

/* What send_along() in fill.c does. */
static inline void send_along(rig *r, uint64_t seq) {
  const sl_slice topic = sl_slice_of(r->dlq ? r->dlq : "");
  uint64_t tag;
  while (r->dlq && core_dead(r->core, seq, r->now) && core_letter_ready(r->core, topic, r->now) == OFFER_PRODUCE &&
         core_offer_letter(r->core, seq, topic, r->letter_size, r->now, &r->slim, &tag) == OFFER_PRODUCE) {
    begun(r);
    if (r->refuse_along_times == 0) {
      r->along[r->along_count++] = tag;
      return;
    }
    r->refuse_along_times--;
    if (!core_refused(r->core, tag, &r->refuse_along, r->now)) return;
  }
}

/* Looks topics up and offers what the FILL wants; how many were produced. The FILL is done, the flush asked
 * for. */
static inline size_t fill_sized(rig *r, uint32_t size) {
  while (r->act.op == OP_TOPIC || r->act.op == OP_FILL) {
    if (r->act.op == OP_TOPIC) {
      ok(r, OP_TOPIC);
      continue;
    }
    core_action fill = r->act;
    core_fill_end end = FILL_END_OF_LOG;
    r->tag_count = r->along_count = 0;
    for (uint64_t seq = fill.from; seq <= fill.to && end == FILL_END_OF_LOG; seq++) {
      const sim_event *e = &r->s->log[seq - 1];
      const char *name = r->s->broker.topics[e->topic].name;
      if (fill.topic && strcmp(fill.topic, name) != 0) continue;
      uint64_t tag;
      core_record record = {.seq = seq, .topic = sl_slice_of(name), .duplicate_of = e->duplicate_of,
                            .size = size ? size : e->size, .keyless = r->keyless && seq % r->keyless == 0,
                            .appended_us = e->appended_us};
      core_offer_result offered = core_offer(r->core, &record, r->now, &tag);
      if (offered == OFFER_WEIGH) {
        record.weighed = true;
        record.least = r->packs ? record.size / r->packs : 0;
        record.exact = seq > r->vague_to;
        if (!record.exact) record.least -= record.least / 64;
        offered = core_offer(r->core, &record, r->now, &tag);
      }
      switch (offered) {
      case OFFER_WEIGH: fail_msg("seq %d is to be weighed again", (int)seq); break;
      case OFFER_PRODUCE:
        begun(r);
        if (seq == r->refuse_seq) {
          if (!core_refused(r->core, tag, &r->refuse_why, r->now)) end = FILL_STOPPED;
          else send_along(r, seq);
          break;
        }
        r->seqs[r->tag_count] = seq;
        r->tags[r->tag_count++] = tag;
        break;
      case OFFER_SETTLED: send_along(r, seq); break;
      case OFFER_STOP: end = FILL_STOPPED; break;
      }
    }
    done_with(r, (core_event){.fill_end = end});
  }
  return r->tag_count;
}
static inline size_t fill(rig *r) { return fill_sized(r, 0); }

static inline void delivered(rig *r, size_t i, const fault *why) {
  static const fault none = {0};
  core_delivered(r->core, r->tags[i], why ? -1 : 0, -1, why ? why : &none);
}
static inline void all_delivered(rig *r) {
  for (size_t i = 0; i < r->tag_count; i++) delivered(r, i, NULL);
}

static inline core_phase phase(rig *r) { return core_phase_of(r->core); }
static inline core_park parked(rig *r) {
  core_view v;
  core_view_get(r->core, &v);
  return v.phase == PHASE_PARKED ? v.park : PARK_NONE;
}
#endif
