#include "handle.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- cluster */

fault kafka_connect(kafka *k, int timeout_ms, char cluster_id[64]) {
  int64_t deadline = now_ms() + timeout_ms;
  const struct rd_kafka_metadata *md = NULL;
  rd_kafka_resp_err_t err;
  unsigned refused;
  fault f;
  kafka_security_fault(k, 0, &refused, NULL);
  /* In slices: metadata waits in silence for a broker while the refusal of our password is an error event. */
  do {
    err = rd_kafka_metadata(k->rk, 0, NULL, &md, left_ms(deadline, 500));
    if (!err) break;
    if (kafka_security_fault(k, refused, NULL, &f)) return f;
  } while (left_ms(deadline, 1) > 0);
  if (err) return fault_of_handle(k->rk, err, "no broker of %.100s answered within %d ms",
                                  k->options.brokers, timeout_ms);
  atomic_store(&k->known, md->broker_cnt);
  rd_kafka_metadata_destroy(md);
  char *id = rd_kafka_clusterid(k->rk, left_ms(deadline, 1000) + 1);
  snprintf(cluster_id, 64, "%s", id ? id : "");
  if (id) rd_kafka_mem_free(k->rk, id);
  return (fault){0};
}

/* ---------------------------------------------------------------- admin */

/* On the producer's handle: these are single requests that leave no state behind in librdkafka (unlike those
 * of groups), and a handle of its own costs 7 MB and a login. */

static rd_kafka_AdminOptions_t *admin_options(kafka *k, rd_kafka_admin_op_t op, int timeout_ms) {
  char error[128];
  rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(k->rk, op);
  rd_kafka_AdminOptions_set_request_timeout(o, timeout_ms, error, sizeof error);
  if (op == RD_KAFKA_ADMIN_OP_CREATETOPICS)
    rd_kafka_AdminOptions_set_operation_timeout(o, timeout_ms, error, sizeof error);
  return o;
}

static rd_kafka_NewTopic_t *topic_request(const char *topic, const kafka_topic_spec *spec, fault *why) {
  char error[256], number[24];
  rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, spec->partitions, spec->replication, error,
                                                 sizeof error);
  if (!t) {
    *why = fault_of_code(RD_KAFKA_RESP_ERR_INVALID_REQUEST, "cannot create %.60s: %.60s", topic, error);
    return NULL;
  }
  rd_kafka_NewTopic_set_config(t, "cleanup.policy", spec->compacted ? "compact" : "delete");
  if (!spec->compacted && spec->retention_ms != 0) {
    snprintf(number, sizeof number, "%lld", spec->retention_ms < 0 ? -1LL : (long long)spec->retention_ms);
    rd_kafka_NewTopic_set_config(t, "retention.ms", number);
  }
  if (spec->compacted) {
    /* Only closed segments are compacted, and every agent reads its partition from its last marker on. */
    rd_kafka_NewTopic_set_config(t, "segment.bytes", "4194304");
    rd_kafka_NewTopic_set_config(t, "segment.ms", "3600000");
    rd_kafka_NewTopic_set_config(t, "min.cleanable.dirty.ratio", "0.1");
  }
  return t;
}

fault topics_create(kafka *k, const char *topic, const kafka_topic_spec *spec, bool validate_only, int timeout_ms,
                    bool *created) {
  char error[128];
  fault f = {0};
  size_t count;
  rd_kafka_NewTopic_t *t = topic_request(topic, spec, &f);
  if (!t) return f;
  rd_kafka_queue_t *queue = rd_kafka_queue_new(k->rk);
  rd_kafka_AdminOptions_t *options = admin_options(k, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
  if (validate_only) rd_kafka_AdminOptions_set_validate_only(options, 1, error, sizeof error);
  rd_kafka_CreateTopics(k->rk, &t, 1, options, queue);
  rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
  if (!event) {
    f = fault_of_code(RD_KAFKA_RESP_ERR__TIMED_OUT, "creating %.100s", topic);
  } else if (rd_kafka_event_error(event)) {
    f = fault_of_handle(k->rk, rd_kafka_event_error(event), "creating %.100s", topic);
  } else {
    const rd_kafka_topic_result_t **results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    rd_kafka_resp_err_t err = count > 0 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
    *created = err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (err && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
      const char *text = rd_kafka_topic_result_error_string(results && count ? results[0] : NULL);
      f = kafka_classify(err);
      /* Without the right to create, some brokers refuse by the cluster; it is still only this topic. */
      if (err == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) f.scope = SCOPE_TOPIC;
      if (!text) text = rd_kafka_err2str(err);
      snprintf(f.text, sizeof f.text, "creating topic %.100s: %.120s", topic, text);
    }
  }
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_AdminOptions_destroy(options);
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy(t);
  return f;
}

fault topics_configs(kafka *k, const char *topic, int timeout_ms, topics_config_fn *fn, void *arg) {
  fault f = {0};
  size_t count, entry_count;
  rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
  if (!resource) return fault_of_code(RD_KAFKA_RESP_ERR__INVALID_ARG, "topic %.100s", topic);
  rd_kafka_queue_t *queue = rd_kafka_queue_new(k->rk);
  rd_kafka_AdminOptions_t *options = admin_options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
  rd_kafka_DescribeConfigs(k->rk, &resource, 1, options, queue);
  rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 500);
  rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
  const rd_kafka_ConfigResource_t **resources =
    err ? NULL : rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
  if (resources && count > 0) err = rd_kafka_ConfigResource_error(resources[0]);
  if (err) f = fault_of_code(err, "settings of topic %.100s", topic);
  if (!err && resources && count > 0) {
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &entry_count);
    for (size_t i = 0; i < entry_count; i++)
      if (rd_kafka_ConfigEntry_value(entries[i]))
        fn(arg, rd_kafka_ConfigEntry_name(entries[i]), rd_kafka_ConfigEntry_value(entries[i]));
  }
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_AdminOptions_destroy(options);
  rd_kafka_queue_destroy(queue);
  rd_kafka_ConfigResource_destroy(resource);
  return f;
}

static void take_limit(void *arg, const char *name, const char *value) {
  if (strcmp(name, "max.message.bytes") == 0) *(int64_t *)arg = strtoll(value, NULL, 10);
}

/* -1 for whatever reason: the limit only spares aborts, and the right to read it is often not given. */
static int64_t topic_limit(kafka *k, const char *topic, int timeout_ms) {
  int64_t limit = -1;
  topics_configs(k, topic, timeout_ms, take_limit, &limit);
  return limit;
}

/* ---------------------------------------------------------------- topics */

/* What metadata says of one topic: its error, its partitions, and those among them without a leader. */
typedef struct topic_look {
  rd_kafka_resp_err_t err;
  int32_t partitions, leaderless;
} topic_look;

static rd_kafka_resp_err_t look(kafka *k, rd_kafka_topic_t *rkt, int timeout_ms, topic_look *out) {
  const struct rd_kafka_metadata *md;
  rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, rkt, &md, timeout_ms);
  if (err) return err;
  atomic_store(&k->known, md->broker_cnt);
  *out = (topic_look){RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, 0, 0};
  if (md->topic_cnt > 0) {
    const rd_kafka_metadata_topic_t *t = &md->topics[0];
    out->err = t->err;
    out->partitions = t->partition_cnt;
    for (int i = 0; i < t->partition_cnt; i++) out->leaderless += t->partitions[i].leader < 0;
  }
  rd_kafka_metadata_destroy(md);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

fault kafka_prepare_topic(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms,
                          kafka_topic_info *info) {
  int64_t deadline = now_ms() + timeout_ms;
  bool created = false, asked = false;
  topic_look seen;
  fault f;
  rd_kafka_topic_t *rkt = kafka_topic(k, topic);
  if (!rkt) return fault_of_code(RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "topic %.100s", topic);
  for (int pause = 10;; pause = pause < 200 ? pause * 2 : 200) {
    int left = left_ms(deadline, timeout_ms);
    rd_kafka_resp_err_t err = look(k, rkt, left > 0 ? left : 1, &seen);
    if (err) return fault_of_handle(k->rk, err, "metadata of topic %.100s", topic);
    if (!seen.err && seen.partitions > 0 && seen.leaderless == 0) break;
    if (seen.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && !asked) {
      if (!spec || !spec->create) return fault_of_code(seen.err, "topic %.100s is missing", topic);
      asked = true;
      f = topics_create(k, topic, spec, false, left_ms(deadline, timeout_ms) + 1, &created);
      if (!fault_is_ok(&f)) return f;
    } else if (seen.err && seen.err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
               seen.err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
      return fault_of_code(seen.err, "topic %.100s", topic);
    }
    if (left_ms(deadline, 1) == 0) {
      if (seen.err == RD_KAFKA_RESP_ERR_NO_ERROR) seen.err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
      return fault_of_code(seen.err, "topic %.100s: %d of %d partitions have no leader", topic,
                           (int)seen.leaderless, (int)seen.partitions);
    }
    nap_ms(pause);
  }
  info->partitions = seen.partitions;
  info->created = created;
  info->max_message_bytes = topic_limit(k, topic, left_ms(deadline, 5000) + 100);
  return (fault){0};
}
