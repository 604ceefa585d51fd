/* The operations of the core. Each is started by ops_perform and ends in ops_done, once. Blocking ones run on a
 * worker thread; their timeouts are bounded, so that SIGTERM is heard (an infinite one defeats it). */
#include "agent.h"
#include "ahead.h"
#include "base/breathe.h"
#include "base/clock.h"
#include "log.h"
#include "places.h"
#include "witness.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 4000
#define TOPIC_TIMEOUT_MS 15000
#define INIT_TIMEOUT_MS 30000
#define AHEAD_TIMEOUT_MS 5000
#define MARKER_TIMEOUT_MS 40000 /* a stranger's dead transaction may hold ours back until its timeout */
/* The learned size is noted so often at most, or when it is four times what was noted, or a quarter: after a kill
 * a slow link must not begin anew. */
#define NOTE_EVERY_US 10000000
#define MARKER_STRIDE 256 /* the note may lag so many offsets: reading them again costs less than a write each */

/* A call before the transaction need not outlast `--drain --timeout`. */
static int within(const agent *a, int wish_ms) {
  if (a->drain_deadline_us == 0) return wish_ms;
  int64_t left_ms = (a->drain_deadline_us - sl_clock_monotonic_us()) / 1000 + 50;
  return left_ms < 100 ? 100 : left_ms < wish_ms ? (int)left_ms : wish_ms;
}

static fault store_fault(sl_status st, const char *what) {
  fault f = {.scope = SCOPE_AGENT, .class_ = CLASS_RETRYABLE_DEPENDENCY};
  snprintf(f.name, sizeof f.name, "STORE");
  snprintf(f.text, sizeof f.text, "%s: %s: %.180s", what, sl_status_text(st), sl_last_detail());
  return f;
}

static void store_result(op_request *r, sl_status st, const char *what) {
  if (st != SL_OK) r->done.why = store_fault(st, what);
  r->done.book = delivery_state_get(r->agent->delivery);
}

/* --- on the worker --- */

int32_t ops_marker_partition(const char *sender, int32_t partitions) {
  uint32_t sum = 0;
  for (const char *p = sender; *p; p++) sum = sum * 31 + (uint8_t)*p;
  return (int32_t)(sum % (uint32_t)(partitions > 0 ? partitions : 1));
}

static void work_marker_topic(op_request *r) {
  agent *a = r->agent;
  kafka_topic_info info;
  r->done.why = kafka_prepare_topic(r->kafka, a->settings.marker_topic, &r->spec, within(a, TOPIC_TIMEOUT_MS),
                                    &info);
  if (!fault_is_ok(&r->done.why)) return;
  const delivery_state *book = delivery_state_get(a->delivery);
  int32_t partition = book->marker_partition;
  /* Chosen once and kept; anew where it is gone before a marker was ever in it. */
  if (partition < 0 || (partition >= info.partitions && book->marker_bytes.len == 0))
    partition = ops_marker_partition(a->store_id, info.partitions);
  sl_slice id = sl_slice_of(a->cluster_id);
  if (partition == book->marker_partition && (id.len == 0 || sl_slice_eq(id, book->cluster_id))) return;
  sl_status st = delivery_set_cluster(a->delivery, id.len ? id : book->cluster_id, partition);
  if (st != SL_OK) r->done.why = store_fault(st, "the marker's partition could not be kept");
}

static void work_connect(op_request *r) {
  agent *a = r->agent;
  r->done.why = kafka_connect(r->kafka, within(a, CONNECT_TIMEOUT_MS), r->cluster_id);
  const delivery_state *book = delivery_state_get(a->delivery);
  /* Exactly-once notes it with the marker's partition. Another is the store's until something was delivered. */
  if (fault_is_ok(&r->done.why) && a->settings.mode == MODE_AT_LEAST_ONCE && r->cluster_id[0] &&
      (book->cluster_id.len == 0 || !delivery_has_begun(book)) &&
      !sl_slice_eq(book->cluster_id, sl_slice_of(r->cluster_id))) {
    sl_status st = delivery_set_cluster(a->delivery, sl_slice_of(r->cluster_id), book->marker_partition);
    if (st != SL_OK) r->done.why = store_fault(st, "the cluster's id could not be kept");
  }
  r->done.book = delivery_state_get(a->delivery);
}

static kafka_options plain_options(const agent *a) {
  return (kafka_options){.brokers = a->settings.brokers, .properties = a->settings.kafka,
                         .property_count = a->settings.kafka_count};
}

static void work_read_marker(op_request *r) {
  agent *a = r->agent;
  int64_t from = -1;
  size_t len = 0;
  if (delivery_note_get(a->delivery, DELIVERY_NOTE_MARKER, &from, sizeof from, &len) != SL_OK ||
      len != sizeof from)
    from = -1;
  ahead_start(a, r->kafka, within(a, AHEAD_TIMEOUT_MS));
  const delivery_state *book = delivery_state_get(a->delivery);
  const kafka_sought sought = witness_sought(book);
  r->done.why = kafka_read_marker(r->kafka, a->settings.marker_topic, book->marker_partition,
                                  sl_slice_of(a->store_id), from, &sought, within(a, MARKER_TIMEOUT_MS),
                                  &r->marker);
  ahead_end(a);
  const kafka_options options = plain_options(a);
  if (fault_is_ok(&r->done.why))
    r->done.why = witness_of_marker(a->store, book, &options, a->settings.marker_topic, &r->marker);
  if (!fault_is_ok(&r->done.why)) return;
  if (!r->marker.found) return;
  r->done.marker = SL_BYTES(r->marker.value, r->marker.len);
  r->done.marker_offset = r->marker.offset;
}

/* At the start there may be a transaction whose outcome nobody was told: the marker has told it now. */
static void tell_reconciled(const op_request *r) {
  if (!r->reconciles || !fault_is_ok(&r->done.why)) return;
  log_line(LEVEL_INFO, "reconciled", "the transaction in doubt, up to seq %llu, %s",
           (unsigned long long)r->doubt_seq,
           r->action.op == OP_SETTLE ? "had been committed: its events are delivered"
                                     : "had not been committed: its events are sent again");
}

static void work_intent(op_request *r) {
  delivery_attempt attempt = *core_attempt(r->agent->core);
  if (attempt.marked && r->agent->marker_offset >= 0) attempt.marker_end = (uint64_t)r->agent->marker_offset + 1;
  bool exactly_once = r->agent->settings.mode == MODE_EXACTLY_ONCE;
  sl_status st = exactly_once ? delivery_intent(r->agent->delivery, &attempt)
                              : delivery_record(r->agent->delivery, &attempt);
  r->done.refused = st == SL_E_INVALID || st == SL_NOTFOUND; /* the log changed below it: see delivery_intent */
  store_result(r, st, exactly_once ? "the intent could not be written" : "the receipts could not be written");
}

static void work_topics(op_request *r) {
  const size_t count = r->action.topic_count;
  size_t created = 0;
  if (!ahead_take(r->agent, count, &r->done.age_us)) {
    r->done.age_us = 0;
    r->done.why = kafka_prepare_topics(r->kafka, r->agent->asks, count, within(r->agent, TOPIC_TIMEOUT_MS));
  }
  for (size_t i = 0; i < count && fault_is_ok(&r->done.why); i++) {
    const kafka_topic_ask *ask = &r->agent->asks[i];
    r->agent->topics[i].why = ask->why;
    r->agent->topics[i].partitions = ask->info.partitions;
    r->agent->topics[i].max_message_bytes = ask->info.max_message_bytes;
    r->agent->topics[i].needs_key = ask->info.needs_key;
    r->agent->topics[i].stamp_max_age_us = ask->info.stamp_max_age_ms * 1000;
    if (!fault_is_ok(&ask->why) || !ask->info.created) continue;
    created++;
    log_line(count > 4 ? LEVEL_DEBUG : LEVEL_INFO, "topic-created", "%s with %d partition%s", ask->topic,
             (int)ask->info.partitions, ask->info.partitions == 1 ? "" : "s");
  }
  if (created > 0 && count > 4) log_line(LEVEL_INFO, "topics-created", "%zu topics", created);
  if (fault_is_ok(&r->done.why)) places_look(r->agent, r->kafka, count, within(r->agent, TOPIC_TIMEOUT_MS));
  r->done.topics = r->agent->topics;
}

/* What could not be written is tried again with the next transaction. */
static void write_learned(op_request *r) {
  agent *a = r->agent;
  sl_delivery *d = a->delivery;
  if (r->note_bytes > 0 &&
      delivery_note_set(d, NOTE_TXN_BYTES, SL_BYTES(&r->note_bytes, sizeof r->note_bytes)) == SL_OK) {
    a->noted_bytes = r->note_bytes;
    a->noted_us = r->begun_us;
  }
  if (r->note_timeout_us > 0 &&
      delivery_note_set(d, NOTE_TXN_TIMEOUT, SL_BYTES(&r->note_timeout_us, sizeof r->note_timeout_us)) == SL_OK)
    a->noted_timeout_us = r->note_timeout_us;
  if (r->note_link && delivery_note_set(d, NOTE_LINK, SL_BYTES(&r->link, sizeof r->link)) == SL_OK)
    a->noted_link = r->link;
}

static void work_settle(op_request *r) {
  agent *a = r->agent;
  int64_t offset = a->marker_offset;
  int64_t noted = a->settled_marker_offset;
  sl_status st = delivery_settle(a->delivery);
  if (st == SL_OK && offset >= 0 && (noted < 0 || offset < noted || offset >= noted + MARKER_STRIDE) &&
      delivery_note_set(a->delivery, DELIVERY_NOTE_MARKER, SL_BYTES(&offset, sizeof offset)) == SL_OK)
    a->settled_marker_offset = offset;
  if (st == SL_OK) write_learned(r);
  store_result(r, st, "the settled transaction could not be noted");
}

static void work(uv_work_t *request) {
  op_request *r = request->data;
  agent *a = r->agent;
  sl_breathes = indexer_gives_way(&a->indexer);
  int timeout_ms = (int)(core_txn_timeout_us(a->core) / 1000);
  switch (r->action.op) {
  case OP_CONNECT: work_connect(r); break;
  case OP_MARKER_TOPIC: work_marker_topic(r); break;
  case OP_INIT_TXN: r->done.why = kafka_init_transactions(r->kafka, within(a, INIT_TIMEOUT_MS)); break;
  case OP_READ_MARKER: work_read_marker(r); break;
  case OP_TOPIC: work_topics(r); break;
  case OP_FLUSH: r->done.why = kafka_flush(r->kafka, timeout_ms); break;
  case OP_INTENT: work_intent(r); break;
  case OP_COMMIT: r->done.why = kafka_commit(r->kafka, timeout_ms); break;
  case OP_ABORT: r->done.why = kafka_abort(r->kafka, timeout_ms); break;
  case OP_SETTLE: work_settle(r); break;
  case OP_ABANDON:
    store_result(r, delivery_abandon(a->delivery), "the aborted transaction could not be noted");
    break;
  case OP_DESTROY:
    ahead_forget(a);
    kafka_destroy(r->kafka);
    break;
  case OP_FILL:
  case OP_EXIT:
  case OP_NONE: break;
  }
}

/* What befell the marker. A topic that may be described but not written says nothing but _PURGE: then the
 * transaction knows why. With events beside it the reason may be a topic of theirs; the next claim has none. */
static fault marker_setback(agent *a) {
  const delivery_attempt *attempt = core_attempt(a->core);
  fault why = a->marker_fault;
  if (strncmp(why.name, "_PURGE", 6) != 0) return why;
  if (attempt->count + attempt->lane_count + attempt->copy_count > 0) return why;
  const fault reason = kafka_why_abort(a->kafka);
  if (fault_is_ok(&reason)) return why;
  why = reason;
  snprintf(why.text, sizeof why.text, "topic %.100s: %.140s", a->settings.marker_topic, reason.text);
  return why;
}

static void after(uv_work_t *request, int status) {
  (void)status;
  op_request *r = request->data;
  agent *a = r->agent;
  a->op_running = false;
  /* Deliveries and errors that happened before the end are told before it: the core decides about doubt. */
  agent_serve_kafka(a);
  if (r->action.op == OP_FLUSH && fault_is_ok(&r->done.why)) r->done.why = marker_setback(a);
  if (r->action.op == OP_CONNECT && fault_is_ok(&r->done.why)) {
    memcpy(a->cluster_id, r->cluster_id, sizeof a->cluster_id);
    r->done.cluster_id = a->cluster_id;
    r->done.round_trip_us = kafka_round_trip_us(r->kafka);
  }
  if (r->action.op == OP_COMMIT && fault_is_ok(&r->done.why))
    a->commits_us[a->commits_count++ % COMMITS_KEPT] = (uint32_t)(sl_clock_monotonic_us() - r->begun_us);
  r->done.answered = fault_is_ok(&r->done.why); /* see kafka_commit, kafka_abort */
  tell_reconciled(r);
  tell_dead(a); /* before the event: the next transaction takes the attempt's memory */
  uint8_t *marker = r->marker.value; /* the event leads to the next operation, which takes the request */
  agent_event(a, r->done);
  free(marker);
  agent_reload_if_due(a);
}

/* --- on the loop --- */

static void kafka_ready(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  agent_serve_kafka(poll->data);
}

static void free_handle(uv_handle_t *handle) { free(handle); }

static bool open_handle(agent *a, fault *why) {
  kafka_options options = plain_options(a);
  options.transactional_id = a->settings.mode == MODE_EXACTLY_ONCE ? a->transactional_id : NULL;
  options.txn_timeout_ms = (int32_t)(core_txn_timeout_us(a->core) / 1000);
  options.socket_timeout_ms = (int32_t)(core_socket_timeout_us(core_txn_timeout_us(a->core)) / 1000);
  options.queue_bytes = core_queue_bytes(a->core, a->settings.queue_bytes);
  options.batch_bytes = core_batch_bytes(a->core);
  if (!kafka_new(&options, &a->kafka, why)) return false;
  a->kafka_poll = calloc(1, sizeof *a->kafka_poll);
  if (!a->kafka_poll || uv_poll_init(&a->loop, a->kafka_poll, kafka_fd(a->kafka)) != 0) {
    free(a->kafka_poll);
    a->kafka_poll = NULL;
    kafka_destroy(a->kafka);
    a->kafka = NULL;
    *why = (fault){.scope = SCOPE_AGENT, .name = "NO_MEMORY", .text = "no memory for the Kafka client"};
    return false;
  }
  a->kafka_poll->data = a;
  uv_poll_start(a->kafka_poll, UV_READABLE, kafka_ready);
  return true;
}

static void topic_specs(agent *a, op_request *r) {
  const settings *s = &a->settings;
  r->spec = (kafka_topic_spec){.create = true, .partitions = a->settings.marker_partitions,
                               .replication = a->settings.marker_replication, .retention_ms = -1,
                               .compacted = true};
  for (size_t i = 0; i < r->action.topic_count; i++) {
    topic_rule rule = settings_topic(&a->settings, sl_slice_of(r->action.topics[i]));
    bool for_ever = rule.kafka_retention_us < 0 || rule.kafka_retention_us == INT64_MAX;
    r->agent->asks[i] = (kafka_topic_ask){
        .topic = r->action.topics[i],
        .spec = {.create = a->settings.create_topics, .partitions = rule.partitions,
                 .replication = rule.replication,
                 .retention_ms = for_ever ? -1 : rule.kafka_retention_us / 1000}};
    if (settings_is_letter_topic(s, sl_slice_of(r->action.topics[i])))
      r->agent->asks[i].spec = (kafka_topic_spec){
          .create = s->create_topics, .partitions = s->letter_partitions, .replication = s->letter_replication,
          .retention_ms = s->letter_retention_us == INT64_MAX ? -1 : s->letter_retention_us / 1000};
    settings_rules(s, sl_slice_of(r->action.topics[i]), &r->agent->rules[i]);
    r->agent->fresh[i] = core_topic_is_new(a->core, sl_slice_of(r->action.topics[i]));
    r->agent->topics[i] =
        (core_topic_result){.lane_max_age_us = rule.lane_max_age_us, .rules = &r->agent->rules[i]};
  }
}

/* What write_learned is to write. */
static void note_learned(const agent *a, op_request *r) {
  core_view view;
  core_view_get(a->core, &view);
  if (core_txn_timeout_us(a->core) != a->noted_timeout_us) r->note_timeout_us = core_txn_timeout_us(a->core);
  const int64_t gap_us = view.link_room ? view.link_gap_us : 0, noted_us = a->noted_link.gap_us;
  if (view.link_room) r->link = (note_link){gap_us, (int64_t)view.bytes_per_s};
  r->note_link = gap_us != noted_us && (gap_us >= noted_us * 4 || gap_us <= noted_us / 4);
  const int64_t bytes = (int64_t)view.txn_bytes, noted = a->noted_bytes;
  const bool far = bytes >= noted * 4 || bytes <= noted / 4;
  if (bytes == noted || (!far && a->noted_us && r->begun_us - a->noted_us < NOTE_EVERY_US)) return;
  r->note_bytes = bytes;
}

void ops_done(agent *a, core_event done) {
  a->pending = done; /* agent_event's loop picks it up: no recursion */
  a->has_pending = true;
}

void ops_perform(agent *a, const core_action *action) {
  op_request *r = &a->op;
  core_event done = {.kind = EVENT_DONE, .op = action->op};
  if (action->op == OP_EXIT) {
    a->exit_status = action->exit_status;
    a->exiting = true;
    uv_stop(&a->loop);
    return;
  }
  if (action->op == OP_FILL) {
    fill_start(a, action);
    return;
  }
  if (action->op == OP_CONNECT && !a->kafka && !open_handle(a, &done.why)) {
    ops_done(a, done);
    return;
  }
  if (action->op == OP_FLUSH && action->marker.len > 0) {
    done.why = fill_produce_marker(a, action->marker);
    a->marker_waiting = kafka_fault_is_queue_full(&done.why) && kafka_waiting(a->kafka) > 0;
    if (a->marker_waiting) { /* agent_serve_kafka performs it again once deliveries have made room */
      a->flush_action = *action;
      return;
    }
    if (!fault_is_ok(&done.why)) {
      ops_done(a, done);
      return;
    }
  }
  *r = (op_request){.agent = a, .action = *action, .done = done, .kafka = a->kafka};
  if (action->op == OP_DESTROY) {
    if (a->kafka_poll) uv_close((uv_handle_t *)a->kafka_poll, free_handle);
    a->kafka_poll = NULL;
    a->kafka = NULL; /* whoever looks at it from here on would race with its end */
    if (!r->kafka) {
      ops_done(a, done);
      return;
    }
  }
  if (action->op == OP_TOPIC || action->op == OP_MARKER_TOPIC) topic_specs(a, r);
  r->begun_us = sl_clock_monotonic_us();
  if (action->op == OP_SETTLE) note_learned(a, r);
  r->reconciles = core_phase_of(a->core) == PHASE_RECONCILE;
  if (r->reconciles) r->doubt_seq = delivery_state_get(a->delivery)->intent.seq;
  r->work.data = r;
  a->op_running = true;
  if (uv_queue_work(&a->loop, &r->work, work, after) != 0) {
    a->op_running = false;
    r->done.why = (fault){.scope = SCOPE_AGENT, .name = "NO_WORKER", .text = "no worker thread could be had"};
    ops_done(a, r->done);
  }
}
