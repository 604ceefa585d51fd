/* What has come to topics, on a consumer handle of its own: the producer's must not wait for the answers of a
 * cluster with many topics, and a monitor that is refused must not park an agent that may write. */
#include "handle.h"
#include <stdio.h>
#include <stdlib.h>

struct kafka_watch {
  rd_kafka_t *rk;
};

bool kafka_watch_new(const kafka_options *options, int timeout_ms, kafka_watch **out, fault *why) {
  char error[200];
  rd_kafka_conf_t *conf = conf_new(ROLE_READER_COMMITTED, options, timeout_ms, why);
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

static rd_kafka_resp_err_t look_for(kafka_watch *w, const char *topic, int32_t partition, int timeout_ms) {
  const struct rd_kafka_metadata *md;
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(w->rk, topic, NULL);
  if (!rkt) return rd_kafka_last_error();
  rd_kafka_resp_err_t err = rd_kafka_metadata(w->rk, 0, rkt, &md, timeout_ms);
  rd_kafka_topic_destroy(rkt);
  if (err) return err;
  if (md->topic_cnt == 0) err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  else if (md->topics[0].err) err = md->topics[0].err;
  else if (partition >= md->topics[0].partition_cnt) err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  rd_kafka_metadata_destroy(md);
  return err;
}

bool kafka_watch_is_gone(kafka_watch *w, const char *topic, int32_t partition, int timeout_ms) {
  for (int look = 0; look < 2; look++) {
    if (look) nap_ms(1000); /* a broker that has just started may not know of it yet */
    if (look_for(w, topic, partition, timeout_ms) != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return false;
  }
  return true;
}

/* It may have been emptied up to here by its retention. */
static fault skip_what_is_gone(kafka_watch *w, const kafka_watch_span *span, int timeout_ms, int64_t *from) {
  int64_t low, high;
  const rd_kafka_resp_err_t err =
    rd_kafka_query_watermark_offsets(w->rk, span->topic, span->partition, &low, &high, timeout_ms);
  if (err) return fault_of_code(err, "offsets of %.100s [%d]", span->topic, (int)span->partition);
  *from = low > *from ? low : span->to; /* else it ends before: it is another topic by now */
  return (fault){0};
}

typedef struct reading {
  const kafka_watch_span *span;
  const char *header;
  void (*see)(void *arg, sl_slice value, sl_slice header);
  void *arg;
  uint64_t seen;
  size_t bytes;
  int64_t position;
  bool gone;           /* there is nothing at the position any more */
} reading;

static fault take(reading *r, const rd_kafka_message_t *m) {
  rd_kafka_headers_t *headers;
  const void *value;
  size_t len;
  switch (m->err) {
  case RD_KAFKA_RESP_ERR_NO_ERROR: break;
  case RD_KAFKA_RESP_ERR__PARTITION_EOF: return r->position = m->offset, (fault){0};
  case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
  case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE: return r->gone = true, (fault){0};
  default: return fault_of_code(m->err, "reading %.100s [%d]", r->span->topic, (int)r->span->partition);
  }
  if (m->offset >= r->span->to) return r->position = m->offset, (fault){0};
  sl_slice header = {0};
  if (!rd_kafka_message_headers(m, &headers) && !rd_kafka_header_get_last(headers, r->header, &value, &len))
    header = SL_BYTES(value ? value : "", len);
  r->see(r->arg, SL_BYTES(m->payload, m->len), header);
  r->seen++;
  r->bytes += m->len + m->key_len;
  r->position = m->offset + 1;
  return (fault){0};
}

static bool is_done(const reading *r) {
  return r->gone || r->position >= r->span->to || r->seen >= r->span->most || r->bytes >= r->span->most_bytes;
}

fault kafka_watch_read(kafka_watch *w, const kafka_watch_span *span, int timeout_ms, const atomic_bool *stop,
                       const char *header, void (*see)(void *arg, sl_slice value, sl_slice header), void *arg,
                       int64_t *reached, size_t *bytes) {
  const int64_t deadline = now_ms() + timeout_ms;
  reading r = {.span = span, .header = header, .see = see, .arg = arg, .position = span->from};
  fault f = {0};
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(w->rk, span->topic, NULL);
  if (!rkt) return fault_of_code(rd_kafka_last_error(), "topic %.100s", span->topic);
  /* One for each reading: what the last one had fetched beyond its end is not to come out of this one. */
  rd_kafka_queue_t *queue = rd_kafka_queue_new(w->rk);
  if (rd_kafka_consume_start_queue(rkt, span->partition, span->from, queue) != 0) {
    f = fault_of_code(rd_kafka_last_error(), "reading %.100s", span->topic);
  } else {
    while (fault_is_ok(&f) && !is_done(&r) && !atomic_load(stop) && left_ms(deadline, 1) > 0) {
      rd_kafka_message_t *m = rd_kafka_consume_queue(queue, left_ms(deadline, 100));
      if (!m) continue;
      f = take(&r, m);
      rd_kafka_message_destroy(m);
    }
    rd_kafka_consume_stop(rkt, span->partition);
  }
  rd_kafka_queue_destroy(queue);
  rd_kafka_topic_destroy(rkt);
  if (r.gone && fault_is_ok(&f)) f = skip_what_is_gone(w, span, left_ms(deadline, timeout_ms) + 100, &r.position);
  *bytes += r.bytes;
  *reached = r.position < span->to ? r.position : span->to;
  return f;
}
