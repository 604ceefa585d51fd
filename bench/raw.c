/* The broker's side of what is measured of delivery: the raw producer that the agent is measured beside, and eyes.
 *
 *   bench-raw BROKERS topic NAME PARTITIONS    creates it; 0 partitions: deletes it
 *   bench-raw BROKERS produce TOPIC COUNT SIZE [BATCH]
 *                                              events 0..COUNT-1, values of SIZE bytes, by an idempotent producer
 *                                              with the agent's properties, keys and headers. Prints microseconds
 *                                              (monotonic): begun, metadata there, first and last acknowledgement,
 *                                              processor time. BATCH: batch.size, with timeouts of a slow link
 *   bench-raw BROKERS check TOPIC COUNT SIZE   a read_committed consumer: each event once, in order in its
 *                                              partition, byte for byte
 *   bench-raw BROKERS count TOPIC              prints how many records an uncommitted reader sees
 *   bench-raw BROKERS first TOPIC              prints "ready", then the time when the first record is to be seen,
 *                                              committed or not */
#include "bench.h"
#include "kafka/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { QUEUE = 24 << 20, TXN_TIMEOUT_MS = 15000, WAIT_MS = 60000, LINK_TIMEOUT_MS = 600000 };
static const char store_id[] = "0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f"; /* as long as one */

static uint64_t acknowledged;
static double first_ack, last_ack;

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *arg) {
  (void)rk, (void)arg;
  if (message->err) stop("not delivered: %s", rd_kafka_err2str(message->err));
  last_ack = now_us();
  if (acknowledged++ == 0) first_ack = last_ack;
}

static rd_kafka_t *producer(const char *brokers, int64_t batch) {
  /* The agent's own table of properties, so that nobody has to keep two alike. */
  const kafka_options options = {.brokers = brokers, .txn_timeout_ms = batch ? LINK_TIMEOUT_MS : TXN_TIMEOUT_MS,
                                 .queue_bytes = QUEUE, .batch_bytes = batch};
  fault why;
  char error[256];
  rd_kafka_conf_t *conf = conf_new(ROLE_PRODUCER, &options, 0, &why);
  if (!conf) stop("%s", why.text);
  rd_kafka_conf_set_dr_msg_cb(conf, on_report);
  rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  if (!rk) stop("producer: %s", error);
  return rk;
}

static void admin_topic(const char *brokers, const char *name, int partitions) {
  char error[256];
  size_t count = 0;
  rd_kafka_t *rk = producer(brokers, 0);
  rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
  rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions ? partitions : 1, -1, error, sizeof error);
  rd_kafka_DeleteTopic_t *old = rd_kafka_DeleteTopic_new(name);
  if (!topic) stop("topic: %s", error);
  if (partitions) rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
  else rd_kafka_DeleteTopics(rk, &old, 1, NULL, queue);
  rd_kafka_event_t *done = rd_kafka_queue_poll(queue, WAIT_MS);
  if (!done) stop("topic %s: no answer", name);
  const rd_kafka_topic_result_t **results =
      partitions ? rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(done), &count)
                 : rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(done), &count);
  if (count != 1 || rd_kafka_topic_result_error(results[0]))
    stop("topic %s: %s", name, count ? rd_kafka_topic_result_error_string(results[0])
                                     : rd_kafka_event_error_string(done));
  rd_kafka_event_destroy(done);
  rd_kafka_NewTopic_destroy(topic);
  rd_kafka_DeleteTopic_destroy(old);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy(rk);
}

static rd_kafka_headers_t *headers_of(const event *e, const char *topic) {
  char dedup[320], seq[24];
  rd_kafka_headers_t *h = rd_kafka_headers_new(6);
  const int dedup_len = snprintf(dedup, sizeof dedup, "%s/%s", topic, e->event_text);
  const int seq_len = snprintf(seq, sizeof seq, "%" PRIu64, e->n + 1);
  rd_kafka_header_add(h, "x-correlation-id", -1, e->correlation_text, 36);
  rd_kafka_header_add(h, "x-causation-id", -1, e->causation_text, 36);
  rd_kafka_header_add(h, "x-event-id", -1, e->event_text, 36);
  rd_kafka_header_add(h, "x-dedup-key", -1, dedup, dedup_len);
  rd_kafka_header_add(h, "x-sidelog-store", -1, store_id, 36);
  rd_kafka_header_add(h, "x-sidelog-seq", -1, seq, seq_len);
  return h;
}

static void produce(const char *brokers, const char *name, uint64_t count, size_t size, int64_t batch) {
  const double begun = now_us();
  const struct rd_kafka_metadata *metadata;
  event e;
  rd_kafka_t *rk = producer(brokers, batch);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
  const rd_kafka_resp_err_t there = rd_kafka_metadata(rk, 0, topic, &metadata, WAIT_MS);
  if (there) stop("metadata: %s", rd_kafka_err2str(there));
  rd_kafka_metadata_destroy(metadata);
  const double connected = now_us();
  for (uint64_t n = 0; n < count; n++) {
    event_make(n, size, &e);
    rd_kafka_headers_t *headers = headers_of(&e, name);
    rd_kafka_resp_err_t err;
    while ((err = rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                    RD_KAFKA_V_KEY(e.correlation_text, 36),
                                    RD_KAFKA_V_VALUE((void *)(uintptr_t)e.value, e.value_len),
                                    RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
      rd_kafka_poll(rk, 5);
    if (err) stop("produce: %s", rd_kafka_err2str(err));
    if (n % 500 == 0) rd_kafka_poll(rk, 0);
  }
  if (rd_kafka_flush(rk, batch ? LINK_TIMEOUT_MS : WAIT_MS) || acknowledged != count)
    stop("%" PRIu64 " of %" PRIu64 " acknowledged", acknowledged, count);
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  const double processor = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
                           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  printf("%.0f %.0f %.0f %.0f %.0f\n", begun, connected, first_ack, last_ack, processor);
  rd_kafka_topic_destroy(topic);
  rd_kafka_destroy(rk);
}

/* --- eyes --- */

static rd_kafka_t *reader(const char *brokers, bool committed) {
  const char *const properties[][2] = {{"bootstrap.servers", brokers}, {"group.id", "bench"},
                                       {"fetch.wait.max.ms", "50"}, {"enable.auto.commit", "false"},
                                       {"enable.partition.eof", "true"},
                                       {"isolation.level", committed ? "read_committed" : "read_uncommitted"}};
  char error[256];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
    if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1], error, sizeof error)) stop("%s", error);
  rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
  if (!rk) stop("consumer: %s", error);
  rd_kafka_poll_set_consumer(rk);
  return rk;
}

static int assign(rd_kafka_t *rk, const char *topic) {
  const struct rd_kafka_metadata *metadata;
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
  const rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, rkt, &metadata, WAIT_MS);
  if (err) stop("metadata: %s", rd_kafka_err2str(err));
  const int count = metadata->topics[0].partition_cnt;
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
  for (int i = 0; i < count; i++)
    rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(rk, list);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_metadata_destroy(metadata);
  rd_kafka_topic_destroy(rkt);
  return count;
}

/* Reads to the end; with `seen` each event is judged. The number of records. */
static uint64_t read_all(const char *brokers, const char *topic, bool committed, uint64_t count, size_t size,
                         uint8_t *seen) {
  enum { PARTITIONS = 64 };
  uint64_t next[PARTITIONS] = {0}, records = 0;
  bool at_end[PARTITIONS] = {false};
  rd_kafka_t *rk = reader(brokers, committed);
  const int partitions = assign(rk, topic);
  const double until = now_us() + WAIT_MS * 1e3;
  if (partitions > PARTITIONS) stop("at most %d partitions", PARTITIONS);
  for (int left = partitions; left > 0;) {
    if (now_us() > until) stop("%s is not read to its end after a minute", topic);
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 200);
    if (!m) continue;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      left -= !at_end[m->partition];
      at_end[m->partition] = true;
    } else if (m->err) {
      stop("read: %s", rd_kafka_message_errstr(m));
    } else {
      records++;
      uint64_t n = UINT64_MAX;
      if (seen && m->len == size) memcpy(&n, m->payload, 8);
      if (seen && (n >= count || seen[n])) stop("event %" PRIu64 " twice, or never appended", n);
      if (seen && n < next[m->partition]) stop("event %" PRIu64 " out of order", n);
      if (seen) {
        event_verify(m->payload, m->len, n);
        seen[n] = 1;
        next[m->partition] = n;
      }
    }
    rd_kafka_message_destroy(m);
  }
  rd_kafka_consumer_close(rk);
  rd_kafka_destroy(rk);
  return records;
}

static void check(const char *brokers, const char *topic, uint64_t count, size_t size) {
  uint8_t *seen = need(calloc(count, 1));
  const uint64_t records = read_all(brokers, topic, true, count, size, seen);
  free(seen);
  if (records != count) stop("%s: %" PRIu64 " of %" PRIu64 " events arrived", topic, records, count);
}

static void first(const char *brokers, const char *topic) {
  rd_kafka_t *rk = reader(brokers, false);
  bool ready = false;
  assign(rk, topic);
  for (;;) {
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
    if (!m) continue;
    if (!m->err) break;
    if (!ready) puts("ready");
    ready = true;
    fflush(stdout);
    rd_kafka_message_destroy(m);
  }
  printf("%.0f\n", now_us());
  fflush(stdout);
  _Exit(0); /* what waits in the reader is of no use */
}

int main(int argc, char **argv) {
  const char *verb = argc > 3 ? argv[2] : "";
  const uint64_t count = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
  const size_t size = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
  if (strcmp(verb, "topic") == 0 && argc == 5) admin_topic(argv[1], argv[3], (int)count);
  else if (strcmp(verb, "produce") == 0 && (argc == 6 || argc == 7))
    produce(argv[1], argv[3], count, size, argc == 7 ? strtoll(argv[6], NULL, 10) : 0);
  else if (strcmp(verb, "check") == 0 && argc == 6) check(argv[1], argv[3], count, size);
  else if (strcmp(verb, "count") == 0 && argc == 4)
    printf("%" PRIu64 "\n", read_all(argv[1], argv[3], false, 0, 0, NULL));
  else if (strcmp(verb, "first") == 0 && argc == 4) first(argv[1], argv[3]);
  else return fprintf(stderr, "usage: bench-raw BROKERS topic|produce|check|count|first TOPIC ...\n"), 2;
  return 0;
}
