/* Reaches the cluster; looks topics up and creates those that are missing and may be. On a good day one answer of
 * metadata says that every partition has a leader, while another tells what the topics take: two requests side by
 * side, however many topics. What is missing then is created and waited for, and so are leaders, until the time is
 * over.
 *
 * What befell one topic stands in its ask; a fault that is returned is none of theirs. That a topic's limits may
 * not be read is no fault at all. Topics are created here alone, never by a broker, which would give them its
 * defaults. */
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
  /* In slices: metadata waits in silence for a broker while the refusal of our password is an error event. What is
   * asked in one slice is forgotten in the next, so where a broker is connected and yet does not answer in time,
   * they grow: over a satellite with round trips of 2 s no slice of 500 ms ever had an answer (seen). */
  do {
    const int slice = wire_up(k->wire) > 0 ? k->patience_ms : PATIENCE_LEAST_MS;
    err = rd_kafka_metadata(k->rk, 0, NULL, &md, slice > PATIENCE_LEAST_MS ? slice : left_ms(deadline, slice));
    if (!err) break;
    if (kafka_security_fault(k, refused, NULL, &f)) return f;
    if (wire_up(k->wire) > 0 && k->patience_ms < PATIENCE_MOST_MS) k->patience_ms *= 2;
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

static fault judge_created(const rd_kafka_topic_result_t *result, kafka_topic_ask *ask) {
  fault f = {0};
  rd_kafka_resp_err_t err = rd_kafka_topic_result_error(result);
  ask->info.created = err == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (err && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
    const char *text = rd_kafka_topic_result_error_string(result);
    f = kafka_classify(err);
    /* Without the right to create, some brokers refuse by the cluster; it is still only this topic. */
    if (err == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) f.scope = SCOPE_TOPIC;
    if (!text) text = rd_kafka_err2str(err);
    snprintf(f.text, sizeof f.text, "creating topic %.100s: %.120s", ask->topic, text);
  }
  return f;
}

/* One request for all of them; what it says of each goes into the ask. */
static fault create_all(kafka *k, kafka_topic_ask **asks, size_t count, bool validate_only, int timeout_ms) {
  char error[128];
  fault f = {0};
  size_t wanted = 0, results_count = 0;
  rd_kafka_NewTopic_t **list = calloc(count + 1, sizeof *list);
  if (!list) return fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "no memory to create topics");
  for (size_t i = 0; i < count; i++) {
    list[wanted] = topic_request(asks[i]->topic, &asks[i]->spec, &asks[i]->why);
    if (list[wanted]) asks[wanted++] = asks[i];
  }
  if (wanted == 0) {
    free(list);
    return f;
  }
  rd_kafka_queue_t *queue = rd_kafka_queue_new(k->rk);
  rd_kafka_AdminOptions_t *options = admin_options(k, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
  if (validate_only) rd_kafka_AdminOptions_set_validate_only(options, 1, error, sizeof error);
  rd_kafka_CreateTopics(k->rk, list, wanted, options, queue);
  rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
  if (!event) {
    f = fault_of_code(RD_KAFKA_RESP_ERR__TIMED_OUT, "creating %.100s", asks[0]->topic);
  } else if (rd_kafka_event_error(event)) {
    f = fault_of_handle(k->rk, rd_kafka_event_error(event), "creating %.100s", asks[0]->topic);
  } else {
    const rd_kafka_topic_result_t **results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &results_count);
    for (size_t r = 0; r < results_count; r++)
      for (size_t i = 0; i < wanted; i++)
        if (strcmp(rd_kafka_topic_result_name(results[r]), asks[i]->topic) == 0)
          asks[i]->why = judge_created(results[r], asks[i]);
  }
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_AdminOptions_destroy(options);
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy_array(list, wanted);
  free(list);
  return f;
}

fault topics_create(kafka *k, const char *topic, const kafka_topic_spec *spec, bool validate_only, int timeout_ms,
                    bool *created) {
  kafka_topic_ask ask = {.topic = topic, .spec = *spec}, *list[] = {&ask};
  fault f = create_all(k, list, 1, validate_only, timeout_ms);
  if (fault_is_ok(&f)) f = ask.why;
  *created = ask.info.created;
  return f;
}

typedef void any_config_fn(void *arg, const char *topic, const char *name, const char *value);

/* Asks for the settings of all these topics in one request; configs_take has the answer. NULL: none was asked. */
static rd_kafka_queue_t *configs_ask(kafka *k, const char *const *topics, size_t topic_count, int timeout_ms,
                                     fault *why) {
  size_t wanted = 0;
  rd_kafka_queue_t *queue = NULL;
  rd_kafka_ConfigResource_t **list = calloc(topic_count + 1, sizeof *list);
  if (!list) {
    *why = fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "no memory to read topics");
    return NULL;
  }
  for (size_t i = 0; i < topic_count; i++) {
    list[wanted] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topics[i]);
    if (list[wanted]) wanted++;
    else *why = fault_of_code(RD_KAFKA_RESP_ERR__INVALID_ARG, "topic %.100s", topics[i]);
  }
  if (wanted > 0) {
    queue = rd_kafka_queue_new(k->rk);
    rd_kafka_AdminOptions_t *options = admin_options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_DescribeConfigs(k->rk, list, wanted, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(list, wanted);
  }
  free(list);
  return queue;
}

/* The fault of the last one that could not be read. */
static fault configs_take(rd_kafka_queue_t *queue, int timeout_ms, any_config_fn *fn, void *arg) {
  fault f = {0};
  size_t count = 0, entry_count = 0;
  rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
  rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
  if (err) f = fault_of_code(err, "settings of topics");
  const rd_kafka_ConfigResource_t **resources =
    err ? NULL : rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
  for (size_t r = 0; r < count; r++) {
    const char *topic = rd_kafka_ConfigResource_name(resources[r]);
    err = rd_kafka_ConfigResource_error(resources[r]);
    if (err) f = fault_of_code(err, "settings of topic %.100s", topic);
    const rd_kafka_ConfigEntry_t **entries =
      err ? NULL : rd_kafka_ConfigResource_configs(resources[r], &entry_count);
    for (size_t i = 0; entries && i < entry_count; i++)
      if (rd_kafka_ConfigEntry_value(entries[i]))
        fn(arg, topic, rd_kafka_ConfigEntry_name(entries[i]), rd_kafka_ConfigEntry_value(entries[i]));
  }
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  return f;
}

static fault configs_of(kafka *k, const char *const *topics, size_t topic_count, int timeout_ms, any_config_fn *fn,
                        void *arg) {
  fault f = {0};
  rd_kafka_queue_t *queue = configs_ask(k, topics, topic_count, timeout_ms, &f);
  const fault answer = queue ? configs_take(queue, timeout_ms + 500, fn, arg) : f;
  return fault_is_ok(&answer) ? f : answer;
}

typedef struct one_topic { topics_config_fn *fn; void *arg; } one_topic;

static void pass_on(void *arg, const char *topic, const char *name, const char *value) {
  (void)topic;
  const one_topic *one = arg;
  one->fn(one->arg, name, value);
}

fault topics_configs(kafka *k, const char *topic, int timeout_ms, topics_config_fn *fn, void *arg) {
  one_topic one = {fn, arg};
  return configs_of(k, &topic, 1, timeout_ms, pass_on, &one);
}

/* ---------------------------------------------------------------- topics */

typedef struct preparing { /* one of the topics that are being prepared */
  kafka_topic_ask *ask;
  rd_kafka_resp_err_t err;
  int32_t partitions, leaderless;
  bool asked, ready;
} preparing;

static bool is_open(const preparing *p) { return !p->ready && fault_is_ok(&p->ask->why); }

/* What metadata says of them; of one alone, or of every topic that the handle knows. */
static rd_kafka_resp_err_t look(kafka *k, preparing *list, size_t count, int timeout_ms) {
  const struct rd_kafka_metadata *md;
  fault ignored; /* it is there: kafka_prepare_topics has made it */
  rd_kafka_topic_t *only = count == 1 ? kafka_topic(k, list[0].ask->topic, &ignored) : NULL;
  rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, only, &md, timeout_ms);
  if (err) return err;
  atomic_store(&k->known, md->broker_cnt);
  for (size_t n = 0; n < count; n++) {
    preparing *p = &list[n];
    p->err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    p->partitions = p->leaderless = 0;
    for (int i = 0; i < md->topic_cnt; i++) {
      const rd_kafka_metadata_topic_t *t = &md->topics[i];
      if (strcmp(t->topic, p->ask->topic) != 0) continue;
      p->err = t->err;
      p->partitions = t->partition_cnt;
      for (int32_t part = 0; part < t->partition_cnt; part++) p->leaderless += t->partitions[part].leader < 0;
      break;
    }
  }
  rd_kafka_metadata_destroy(md);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool is_missing(const preparing *p) { return p->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; }

static void judge(preparing *p) {
  kafka_topic_ask *ask = p->ask;
  if (!p->err && p->partitions > 0 && p->leaderless == 0) p->ready = true;
  else if (is_missing(p) && !p->asked && !ask->spec.create)
    ask->why = fault_of_code(p->err, "topic %.100s is missing", ask->topic);
  else if (p->err && !is_missing(p) && p->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
    ask->why = fault_of_code(p->err, "topic %.100s", ask->topic);
}

static void give_up(preparing *p) {
  if (!is_open(p)) return;
  p->ask->why = fault_of_code(p->err ? p->err : RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                              "topic %.100s: %d of %d partitions have no leader", p->ask->topic,
                              (int)p->leaderless, (int)p->partitions);
}

static fault prepare(kafka *k, preparing *list, kafka_topic_ask **missing, size_t count, int timeout_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  for (int pause = 10;; pause = pause < 200 ? pause * 2 : 200) {
    const int left = left_ms(deadline, timeout_ms);
    const rd_kafka_resp_err_t err = look(k, list, count, left > 0 ? left : 1);
    if (err) return fault_of_handle(k->rk, err, "metadata of topic %.100s", list[0].ask->topic);
    size_t open = 0, to_create = 0;
    for (size_t i = 0; i < count; i++) {
      if (is_open(&list[i])) judge(&list[i]);
      if (!is_open(&list[i])) continue;
      open++;
      if (!is_missing(&list[i]) || list[i].asked) continue;
      list[i].asked = true;
      missing[to_create++] = list[i].ask;
    }
    if (open == 0) return (fault){0};
    if (to_create > 0) {
      const fault f = create_all(k, missing, to_create, false, left_ms(deadline, timeout_ms) + 1);
      if (!fault_is_ok(&f)) return f;
    }
    if (left_ms(deadline, 1) == 0) {
      for (size_t i = 0; i < count; i++) give_up(&list[i]);
      return (fault){0};
    }
    nap_ms(pause);
  }
}

static void take_setting(kafka_topic_info *info, const char *name, const char *value) {
  const int64_t number = strtoll(value, NULL, 10);
  if (strcmp(name, "cleanup.policy") == 0) info->needs_key = strstr(value, "compact") != NULL;
  else if (strcmp(name, "max.message.bytes") == 0 || strcmp(name, "segment.bytes") == 0) { /* it must fit both */
    if (info->max_message_bytes < 0 || number < info->max_message_bytes) info->max_message_bytes = number;
  }
  else if (strcmp(name, "message.timestamp.before.max.ms") == 0 || /* and as brokers before 3.6 call it: */
           strcmp(name, "message.timestamp.difference.max.ms") == 0)
    if (number < INT64_MAX / 1000 && (info->stamp_max_age_ms == 0 || number < info->stamp_max_age_ms))
      info->stamp_max_age_ms = number;
}

static void take_limit(void *arg, const char *topic, const char *name, const char *value) {
  for (preparing *p = arg; p->ask; p++)
    if (strcmp(p->ask->topic, topic) == 0) take_setting(&p->ask->info, name, value);
}

/* Beside metadata, which takes as long: on a long way each answer counts. Not of the progress topic. */
static rd_kafka_queue_t *ask_limits(kafka *k, const preparing *list, const char **names, size_t count,
                                    int timeout_ms) {
  size_t asked = 0;
  fault ignored = {0};
  for (size_t i = 0; i < count; i++)
    if (fault_is_ok(&list[i].ask->why) && !list[i].ask->spec.compacted) names[asked++] = list[i].ask->topic;
  return asked ? configs_ask(k, names, asked, timeout_ms, &ignored) : NULL;
}

/* A limit is -1 for whatever reason: it only spares aborts, and the right to read it is often not given. */
static void read_limits(kafka *k, rd_kafka_queue_t *asked, preparing *list, const char **names, size_t count,
                        int timeout_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  size_t late = 0;
  for (size_t i = 0; i < count; i++) list[i].ask->info.partitions = list[i].partitions;
  if (asked) configs_take(asked, timeout_ms, take_limit, list);
  for (size_t i = 0; i < count; i++) /* what was not there yet when they were asked for */
    if (list[i].ready && list[i].asked && !list[i].ask->spec.compacted) names[late++] = list[i].ask->topic;
  if (late) configs_of(k, names, late, left_ms(deadline, timeout_ms) + 100, take_limit, list);
}

fault kafka_prepare_topics(kafka *k, kafka_topic_ask *asks, size_t count, int timeout_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  preparing *list = calloc(count + 1, sizeof *list); /* ends in one without an ask */
  kafka_topic_ask **missing = calloc(count + 1, sizeof *missing);
  const char **names = calloc(count + 1, sizeof *names);
  fault f = {0};
  if (!list || !missing || !names)
    f = fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "no memory to look up topics");
  for (size_t i = 0; i < count && fault_is_ok(&f); i++) {
    list[i].ask = &asks[i];
    asks[i].why = (fault){0};
    asks[i].info = (kafka_topic_info){.max_message_bytes = -1};
    (void)kafka_topic(k, asks[i].topic, &asks[i].why);
  }
  bool any = false;
  for (size_t i = 0; i < count && fault_is_ok(&f); i++) any = any || is_open(&list[i]);
  rd_kafka_queue_t *limits = any ? ask_limits(k, list, names, count, timeout_ms) : NULL;
  if (any) f = prepare(k, list, missing, count, timeout_ms);
  if (any && fault_is_ok(&f)) read_limits(k, limits, list, names, count, left_ms(deadline, 5000) + 100);
  else if (limits) rd_kafka_queue_destroy(limits); /* the answer finds nobody */
  free(list);
  free(missing);
  free(names);
  return f;
}

fault kafka_prepare_topic(kafka *k, const char *topic, const kafka_topic_spec *spec, int timeout_ms,
                          kafka_topic_info *info) {
  kafka_topic_ask ask = {.topic = topic};
  if (spec) ask.spec = *spec;
  fault f = kafka_prepare_topics(k, &ask, 1, timeout_ms);
  if (fault_is_ok(&f)) f = ask.why;
  if (fault_is_ok(&f)) *info = ask.info;
  return f;
}
