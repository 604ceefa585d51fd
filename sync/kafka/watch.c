/* How far topics have grown, on a consumer handle of its own: the producer's must not wait for the answers of a
 * cluster with many topics, and a monitor that is refused must not park an agent that may write. */
#include "handle.h"
#include <stdio.h>
#include <stdlib.h>

struct kafka_watch {
  rd_kafka_t *rk;
};

bool kafka_watch_new(const kafka_options *options, int timeout_ms, kafka_watch **out, fault *why) {
  char error[200];
  rd_kafka_conf_t *conf = conf_new(ROLE_READER_UNCOMMITTED, options, timeout_ms, why);
  if (!conf) return false;
  rd_kafka_conf_set_log_cb(conf, conf_reader_log);
  kafka_watch *w = calloc(1, sizeof *w);
  if (w) w->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
  if (w && w->rk) return *out = w, true;
  rd_kafka_conf_destroy(conf);
  *why = fault_of_code(RD_KAFKA_RESP_ERR__INVALID_ARG, "librdkafka: %.100s", w ? error : "out of memory");
  free(w);
  return false;
}

void kafka_watch_free(kafka_watch *w) {
  if (!w) return;
  rd_kafka_destroy(w->rk);
  free(w);
}

static rd_kafka_topic_partition_list_t *partitions_of(const struct rd_kafka_metadata *md,
                                                      const kafka_watch_sink *sink) {
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
  for (int i = 0; i < md->topic_cnt; i++) {
    const struct rd_kafka_metadata_topic *t = &md->topics[i];
    if (t->err || !sink->wants(sink->arg, t->topic)) continue;
    for (int p = 0; p < t->partition_cnt; p++) {
      if (t->partitions[p].leader < 0) continue; /* one without a leader is looked at when it has one */
      rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(list, t->topic, t->partitions[p].id);
      one->offset = RD_KAFKA_OFFSET_END;
      one->opaque = (void *)(intptr_t)t->partition_cnt;
    }
  }
  return list;
}

fault kafka_watch_look(kafka_watch *w, int timeout_ms, const kafka_watch_sink *sink, bool *listed) {
  const int64_t deadline = now_ms() + timeout_ms;
  const struct rd_kafka_metadata *md;
  *listed = false;
  rd_kafka_poll(w->rk, 0); /* its errors have had their lines */
  rd_kafka_resp_err_t err = rd_kafka_metadata(w->rk, 1, NULL, &md, timeout_ms);
  if (err) return fault_of_code(err, "the list of topics");
  rd_kafka_topic_partition_list_t *list = partitions_of(md, sink);
  const bool some = md->topic_cnt > 0; /* a broker that has just started may know of none yet */
  rd_kafka_metadata_destroy(md);
  /* One request a broker, whatever the number of topics. */
  if (list->cnt > 0) err = rd_kafka_offsets_for_times(w->rk, list, left_ms(deadline, timeout_ms) + 100);
  for (int i = 0; !err && i < list->cnt; i++) {
    const rd_kafka_topic_partition_t *one = &list->elems[i];
    if (!one->err && one->offset >= 0)
      sink->end(sink->arg, one->topic, (int32_t)(intptr_t)one->opaque, one->partition, one->offset);
  }
  rd_kafka_topic_partition_list_destroy(list);
  if (err) return fault_of_code(err, "the ends of dead-letter topics");
  *listed = some;
  return (fault){0};
}
