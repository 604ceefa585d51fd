/* For programs without a loop: what --check and --adopt ask of a cluster. Everything here blocks up to its timeout
 * and serves the handle's events itself, so nobody else may poll it meanwhile. */
#include "handle.h"
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct probe {
  fault said;          /* what a connection said last */
  bool all_down;       /* each was tried in vain */
  bool delivered;
  fault delivery;      /* how the record fared */
  int64_t append_ms;   /* -1: the topic keeps the producer's time */
} probe;

static void serve_delivery(probe *p, rd_kafka_event_t *event) {
  const rd_kafka_message_t *m;
  while ((m = rd_kafka_event_message_next(event))) {
    rd_kafka_timestamp_type_t type;
    const int64_t at = rd_kafka_message_timestamp(m, &type);
    p->delivered = true;
    p->append_ms = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? at : -1;
    if (m->err) p->delivery = fault_of_code(m->err, "topic %.100s", m->rkt ? rd_kafka_topic_name(m->rkt) : "?");
  }
}

static void serve_error(kafka *k, probe *p, rd_kafka_event_t *event) {
  const rd_kafka_resp_err_t code = rd_kafka_event_error(event);
  fault f = rd_kafka_event_error_is_fatal(event) ? fault_of_handle(k->rk, code, "fatal") : kafka_classify(code);
  if (!rd_kafka_event_error_is_fatal(event))
    snprintf(f.text, sizeof f.text, "%s", rd_kafka_event_error_string(event));
  p->all_down = p->all_down || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
  /* "All brokers are down" says less than what it follows. */
  if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || fault_is_ok(&p->said)) p->said = f;
}

static void serve(kafka *k, probe *p, int wait_ms) {
  rd_kafka_event_t *event = rd_kafka_queue_poll(k->queue, wait_ms);
  for (; event; event = rd_kafka_queue_poll(k->queue, 0)) {
    const char *facility, *text;
    int level;
    switch (rd_kafka_event_type(event)) {
      case RD_KAFKA_EVENT_DR: serve_delivery(p, event); break;
      case RD_KAFKA_EVENT_ERROR: serve_error(k, p, event); break;
      case RD_KAFKA_EVENT_LOG:
        if (rd_kafka_event_log(event, &facility, &text, &level) == 0) conf_log(level, facility, text);
        break;
      default: break;
    }
    rd_kafka_event_destroy(event);
  }
}

#define ALL_DOWN_MS 2000 /* one that is just starting may answer yet */

fault kafka_reach(kafka *k, int timeout_ms, char cluster_id[64]) {
  const int64_t begun = now_ms(), deadline = begun + timeout_ms;
  probe p = {.append_ms = -1};
  fault f;
  do {
    const int left = left_ms(deadline, 500) + 1;
    f = kafka_connect(k, left, cluster_id);
    if (fault_is_ok(&f)) return f;
    serve(k, &p, 0);
    if (p.said.class_ == CLASS_NON_RETRYABLE_SECURITY) return p.said;
    if (p.all_down && now_ms() - begun >= ALL_DOWN_MS) break;
  } while (left_ms(deadline, 1) > 0);
  return fault_is_ok(&p.said) ? f : p.said;
}

bool kafka_scram_is_old(void) { return rd_kafka_version() < 0x020601ff; }

/* ---------------------------------------------------------------- looking */

static void take_config(void *arg, const char *name, const char *value) {
  kafka_topic_look *look = arg;
  if (strcmp(name, "max.message.bytes") == 0) look->max_message_bytes = strtoll(value, NULL, 10);
  if (strcmp(name, "message.timestamp.type") == 0) look->append_time = strcmp(value, "LogAppendTime") == 0;
  if (strcmp(name, "cleanup.policy") == 0) {
    look->compacted = strstr(value, "compact") != NULL;
    look->deletes = strstr(value, "delete") != NULL;
  }
}

fault kafka_look_topic(kafka *k, const char *topic, int timeout_ms, kafka_topic_look *out) {
  const int64_t deadline = now_ms() + timeout_ms;
  const struct rd_kafka_metadata *md;
  fault f = {0};
  rd_kafka_topic_t *rkt = kafka_topic(k, topic, &f);
  *out = (kafka_topic_look){.max_message_bytes = -1};
  if (!rkt) return f;
  rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, rkt, &md, timeout_ms);
  if (err) return fault_of_handle(k->rk, err, "metadata of topic %.100s", topic);
  err = md->topic_cnt > 0 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  for (int i = 0; !err && i < md->topics[0].partition_cnt; i++) {
    out->partitions++;
    out->leaderless += md->topics[0].partitions[i].leader < 0;
  }
  rd_kafka_metadata_destroy(md);
  if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return (fault){0};
  if (err && err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) return fault_of_code(err, "topic %.100s", topic);
  out->exists = true;
  f = topics_configs(k, topic, left_ms(deadline, 5000) + 100, take_config, out);
  out->configs_read = fault_is_ok(&f);
  return (fault){0};
}

fault kafka_try_create(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms) {
  bool created = false;
  return topics_create(k, topic, spec, true, timeout_ms, &created);
}

/* ---------------------------------------------------------------- writing */

fault kafka_try_write(kafka *k, const char *topic, int32_t partition, const char *key, int timeout_ms,
                      int64_t *append_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  probe p = {.append_ms = -1};
  if (append_ms) *append_ms = -1;
  fault f = kafka_begin(k);
  if (!fault_is_ok(&f)) return f;
  const kafka_record record = {.topic = topic, .partition = partition, .key = sl_slice_of(key),
                               .value = SL_BYTES("", 0)};
  f = kafka_produce(k, &record, 1);
  if (fault_is_ok(&f)) {
    while (!p.delivered && left_ms(deadline, 1) > 0) serve(k, &p, left_ms(deadline, 100));
    f = p.delivered ? p.delivery : fault_of_code(RD_KAFKA_RESP_ERR__TIMED_OUT, "writing to topic %.100s", topic);
  }
  /* A topic that may be described but not written says _PURGE for its records: they were never sent. A commit, of
   * nothing, tells what is wrong with the transaction; an abort does not. */
  const bool purged = strncmp(f.name, "_PURGE", 6) == 0;
  if (purged) {
    const fault reason = kafka_commit(k, left_ms(deadline, timeout_ms) + 1000);
    if (!fault_is_ok(&reason)) f = reason;
  }
  const fault aborted = kafka_abort(k, left_ms(deadline, timeout_ms) + 1000);
  serve(k, &p, 0);
  k->waiting = 0; /* its report was served here */
  if (fault_is_ok(&f) && !fault_is_ok(&aborted)) f = aborted;
  if (append_ms) *append_ms = p.append_ms;
  return f;
}
