/* Reads the marker: how far this store has delivered, in the cluster's own word. What happened to a transaction in
 * doubt is decided by it, so it must be final (INIT_TXN comes before, and ends what of ours was open), and "there
 * is none" must never be a reading that came to no end: that is a fault.
 *
 * Other stores write to the partition, too, and may leave transactions open. So it is read twice: uncommitted
 * up to the high watermark, which nobody can hold back, to see where records with our key lie; then, only if
 * there are any, committed from the first of them to the last. The newest that the second reading gives is the
 * marker. */
#include "handle.h"
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A consumer that belongs to no group: rd_kafka_assign would want a group.id, and with it a right to a group
 * and a coordinator that we have no other use for. The simple consumer needs neither. */
typedef struct reader {
  rd_kafka_t *rk;
  rd_kafka_topic_t *rkt;
  rd_kafka_queue_t *queue;
  int32_t partition;
  bool started;
} reader;

static void reader_close(reader *r) {
  if (r->started) rd_kafka_consume_stop(r->rkt, r->partition);
  if (r->queue) rd_kafka_queue_destroy(r->queue);
  if (r->rkt) rd_kafka_topic_destroy(r->rkt);
  if (r->rk) rd_kafka_destroy(r->rk);
  memset(r, 0, sizeof *r);
}

static fault reader_open(kafka *k, reader *r, kafka_role role, const char *topic, int32_t partition,
                         int timeout_ms) {
  char error[200];
  fault why = {0};
  memset(r, 0, sizeof *r);
  rd_kafka_conf_t *conf = conf_new(role, &k->options, timeout_ms, &why);
  if (!conf) return why;
  rd_kafka_conf_set_log_cb(conf, conf_reader_log);
  r->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
  if (!r->rk) {
    rd_kafka_conf_destroy(conf);
    why = kafka_classify(RD_KAFKA_RESP_ERR__INVALID_ARG);
    snprintf(why.text, sizeof why.text, "librdkafka: %s", error);
    return why;
  }
  r->partition = partition;
  r->queue = rd_kafka_queue_new(r->rk);
  r->rkt = rd_kafka_topic_new(r->rk, topic, NULL);
  if (!r->rkt) why = fault_of_code(rd_kafka_last_error(), "topic %.100s", topic);
  return why;
}

static fault reader_start(reader *r, int64_t offset) {
  if (rd_kafka_consume_start_queue(r->rkt, r->partition, offset, r->queue) != 0)
    return fault_of_code(rd_kafka_last_error(), "reading %.100s", rd_kafka_topic_name(r->rkt));
  r->started = true;
  return (fault){0};
}

/* The topic was deleted, or emptied, or this is another cluster: somebody has to look. */
static fault gone(const char *topic, int32_t partition, int64_t from, int64_t end) {
  fault f = kafka_classify(RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
  snprintf(f.text, sizeof f.text,
           "%.100s [%d] ends at offset %lld, before our marker at %lld: the topic was deleted and created "
           "again, or this is another cluster",
           topic, (int)partition, (long long)end, (long long)from);
  return f;
}

static fault gone_meanwhile(const char *topic, int32_t partition, int64_t at, int64_t end) {
  fault f = kafka_classify(RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
  snprintf(f.text, sizeof f.text,
           "%.100s [%d] has no offset %lld any more, which was there when the reading up to %lld began: the "
           "topic was deleted and created again, or lost records",
           topic, (int)partition, (long long)at, (long long)end);
  return f;
}

/* Metadata first: it names a missing right or topic at once, where the offsets' request only runs out of
 * time. */
static fault watermarks(reader *r, int64_t deadline, int64_t *low, int64_t *high) {
  const struct rd_kafka_metadata *md;
  const char *topic = rd_kafka_topic_name(r->rkt);
  rd_kafka_resp_err_t err = rd_kafka_metadata(r->rk, 0, r->rkt, &md, left_ms(deadline, 60000) + 1);
  if (err) return fault_of_code(err, "metadata of %.100s", topic);
  err = md->topic_cnt > 0 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  bool there = !err && r->partition < md->topics[0].partition_cnt;
  int partitions = err ? 0 : md->topics[0].partition_cnt;
  rd_kafka_metadata_destroy(md);
  if (err) return fault_of_code(err, "topic %.100s", topic);
  if (!there) {
    fault f = kafka_classify(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION);
    f.scope = SCOPE_CLUSTER;
    f.class_ = CLASS_NON_RETRYABLE_POLICY;
    snprintf(f.text, sizeof f.text, "%.100s has %d partitions, our marker is in %d: it was created again",
             topic, partitions, (int)r->partition);
    return f;
  }
  /* A leader that metadata names already may not know it yet, right after the topic was created. */
  for (int pause = 20;; pause = pause < 200 ? pause * 2 : 200) {
    int left = left_ms(deadline, 60000) + 1;
    err = rd_kafka_query_watermark_offsets(r->rk, topic, r->partition, low, high, left);
    bool broker_said = err > RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!broker_said || kafka_classify(err).scope != SCOPE_CONNECTION || left_ms(deadline, 1) == 0) break;
    nap_ms(pause);
  }
  return fault_of_code(err, "offsets of %.100s [%d]", topic, (int)r->partition);
}

/* ---------------------------------------------------------------- reading */

typedef struct sighting {
  int64_t first, last; /* of records with our key; -1: none */
  kafka_marker *keep;  /* NULL: only look */
  const kafka_sought *sought;
  kafka_sight sight;   /* of that */
} sighting;

static bool see(sighting *s, const rd_kafka_message_t *m, sl_slice key, int64_t end) {
  bool ours = m->key_len == key.len && (key.len == 0 || memcmp(m->key, key.data, key.len) == 0);
  if (s->sought && m->offset == s->sought->offset)
    s->sight = ours && sl_slice_eq(SL_BYTES(m->payload, m->len), s->sought->value) ? SIGHT_SAME : SIGHT_OTHER;
  if (m->offset >= end || !ours) return true;
  if (s->first < 0) s->first = m->offset;
  s->last = m->offset;
  if (!s->keep) return true;
  uint8_t *copy = malloc(m->len ? m->len : 1);
  if (!copy) return false;
  if (m->len) memcpy(copy, m->payload, m->len);
  free(s->keep->value);
  s->keep->value = copy;
  s->keep->len = m->len;
  s->keep->offset = m->offset;
  s->keep->timestamp_ms = rd_kafka_message_timestamp(m, NULL);
  s->keep->found = true;
  return true;
}

/* Reads from `from` on, where the reader was started, until the position has reached `end`. The end of a partition
 * is known by the position (an EOF event), not by a record at end-1: that place may hold a transaction's control
 * record, or be gone by compaction. */
static fault scan(reader *r, sl_slice key, int64_t from, int64_t end, int64_t deadline, sighting *s) {
  const char *topic = rd_kafka_topic_name(r->rkt);
  int64_t position = -1;
  while (position < end) {
    int left = left_ms(deadline, 1000);
    if (left == 0) {
      fault f = fault_of_code(RD_KAFKA_RESP_ERR__TIMED_OUT, "reading %.100s [%d]", topic, (int)r->partition);
      if (position >= 0)
        snprintf(f.text, sizeof f.text, "reading %.100s [%d]: stopped at offset %lld of %lld%s", topic,
                 (int)r->partition, (long long)position, (long long)end,
                 s->keep ? ", held back by another producer's open transaction" : "");
      return f;
    }
    rd_kafka_message_t *m = rd_kafka_consume_queue(r->queue, left);
    if (!m) continue;
    fault f = {0};
    if (!m->err) {
      if (!see(s, m, key, end)) f = fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "out of memory");
      position = m->offset + 1;
    } else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      position = m->offset;
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
               m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
      f = gone_meanwhile(topic, r->partition, position < 0 ? from : position, end);
    } else {
      f = fault_of_code(m->err, "reading %.100s [%d]", topic, (int)r->partition);
      /* librdkafka goes on by itself after an outage; only what waiting does not mend ends the read. */
      if (f.scope == SCOPE_CONNECTION) f = (fault){0};
    }
    rd_kafka_message_destroy(m);
    if (!fault_is_ok(&f)) return f;
  }
  return (fault){0};
}

static fault find_any(kafka *k, const char *topic, int32_t partition, sl_slice key, int64_t from,
                      int64_t deadline, int64_t *end, sighting *s) {
  reader r;
  int64_t low = 0, high = 0;
  fault f = reader_open(k, &r, ROLE_READER_UNCOMMITTED, topic, partition, left_ms(deadline, 60000));
  if (fault_is_ok(&f)) f = watermarks(&r, deadline, &low, &high);
  if (fault_is_ok(&f) && from > high) f = gone(topic, partition, from, high);
  if (from < low) from = low;
  if (fault_is_ok(&f) && from < high) {
    if (s->sought && s->sought->offset >= from && s->sought->offset < high) s->sight = SIGHT_NOTHING;
    f = reader_start(&r, from);
    if (fault_is_ok(&f)) f = scan(&r, key, from, high, deadline, s);
  }
  reader_close(&r);
  *end = high;
  return f;
}

fault kafka_read_marker(kafka *k, const char *topic, int32_t partition, sl_slice key, int64_t from_offset,
                        const kafka_sought *sought, int timeout_ms, kafka_marker *out) {
  int64_t deadline = now_ms() + timeout_ms, end = 0;
  sighting any = {.first = -1, .last = -1, .sought = sought};
  kafka_marker marker = {0};
  fault f = find_any(k, topic, partition, key, from_offset, deadline, &end, &any);
  if (fault_is_ok(&f) && any.last >= 0) {
    reader r;
    sighting committed = {.first = -1, .last = -1, .keep = &marker};
    f = reader_open(k, &r, ROLE_READER_COMMITTED, topic, partition, left_ms(deadline, 60000));
    if (fault_is_ok(&f)) f = reader_start(&r, any.first);
    if (fault_is_ok(&f)) f = scan(&r, key, any.first, any.last + 1, deadline, &committed);
    reader_close(&r);
  }
  if (!fault_is_ok(&f)) {
    free(marker.value);
    return f;
  }
  marker.end_offset = end;
  marker.sought = any.sight;
  *out = marker;
  return f;
}
