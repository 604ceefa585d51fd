/* What a dead letter costs an event: lone events that fail and lone events that do not, in turns, in one run.
 *
 *   bench-letters STORE BROKERS TOPIC DLQ-TOPIC COUNT BYTES    BYTES: the value of one that fails; 0: no key
 *
 * An agent delivers STORE meanwhile. A line for each event, `sent SETTLED SEEN` or `dead SETTLED SEEN`:
 * microseconds from the call of sl_append to its receipt or letter in the store, durable, and until a
 * read_committed consumer has it, or the copy of its letter. */
#include "bench.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_US = 100, PATIENCE_US = 60000000 };

/* --- what a consumer sees --- */

typedef struct eye {
  rd_kafka_t *rk;
  atomic_uint_fast64_t seq;  /* of the newest record, by its header */
  atomic_uint_fast64_t when; /* stored before seq */
  atomic_bool ready, end;
} eye;

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
  char why[200];
  if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) stop("%s: %s", name, why);
}

static uint64_t seq_of(const rd_kafka_message_t *m) {
  rd_kafka_headers_t *headers;
  const void *value;
  size_t len;
  char text[32] = "";
  if (rd_kafka_message_headers(m, &headers) || rd_kafka_header_get_last(headers, "x-sidelog-seq", &value, &len))
    return 0;
  memcpy(text, value, len < sizeof text - 1 ? len : sizeof text - 1);
  return strtoull(text, NULL, 10);
}

static void *look(void *arg) {
  eye *e = arg;
  int at_end = 0;
  while (!atomic_load(&e->end)) {
    rd_kafka_message_t *m = rd_kafka_consumer_poll(e->rk, 100);
    if (!m) continue;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && ++at_end == 2) atomic_store(&e->ready, true);
    if (!m->err) {
      atomic_store(&e->when, (uint64_t)now_us());
      atomic_store(&e->seq, seq_of(m));
    }
    rd_kafka_message_destroy(m);
  }
  return NULL;
}

static void open_eye(eye *e, const char *brokers, const char *topic, const char *dlq) {
  char why[200];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "bootstrap.servers", brokers);
  set(conf, "group.id", "bench-letters");
  set(conf, "enable.auto.commit", "false");
  set(conf, "enable.partition.eof", "true");
  set(conf, "isolation.level", "read_committed");
  set(conf, "fetch.error.backoff.ms", "1");
  e->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
  if (!e->rk) stop("%s", why);
  rd_kafka_poll_set_consumer(e->rk);
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
  rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_topic_partition_list_add(list, dlq, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(e->rk, list);
  rd_kafka_topic_partition_list_destroy(list);
}

/* --- one event --- */

static sl_state state_of(sl_store *store, uint64_t seq) {
  const sl_query query = {.first_seq = seq, .last_seq = seq};
  sl_iter *iter;
  const sl_record *record;
  must(sl_iter_start(store, &query, &iter), "look");
  must(sl_iter_next(iter, &record), "look");
  const sl_state state = record->state;
  sl_iter_close(iter);
  return state;
}

static void one(sl_store *store, eye *e, const char *topic, size_t bytes, bool dead, bool told) {
  event made;
  uint64_t seq;
  event_make((uint64_t)now_us(), dead && bytes ? bytes : 200, &made);
  sl_event ev = event_for_sidelog(&made);
  ev.topic = SL_BYTES(topic, strlen(topic));
  if (!dead || bytes) ev.key = SL_BYTES(made.correlation_text, 36);
  usleep(60000 + (unsigned)(mix(made.n) % 50000)); /* idle, and in step with no timer */
  const double begun = now_us(), until = begun + PATIENCE_US;
  must(sl_append(store, &ev, &seq), "append");
  sl_state state;
  while ((state = state_of(store, seq)) == SL_PENDING) {
    if (now_us() > until) stop("event %" PRIu64 " waits for a minute", seq);
    usleep(LOOK_US);
  }
  const double settled = now_us() - begun;
  if (state != (dead ? SL_DEAD : SL_SENT)) stop("event %" PRIu64 " is %s", seq, sl_state_text(state));
  while (atomic_load(&e->seq) != seq) {
    if (now_us() > until) stop("nobody sees event %" PRIu64, seq);
    usleep(LOOK_US);
  }
  if (told) printf("%s %.0f %.0f\n", dead ? "dead" : "sent", settled, (double)atomic_load(&e->when) - begun);
}

int main(int argc, char **argv) {
  if (argc != 7) return fprintf(stderr, "usage: bench-letters STORE BROKERS TOPIC DLQ-TOPIC COUNT BYTES\n"), 2;
  static eye e;
  pthread_t thread;
  sl_store *store;
  const unsigned long count = strtoul(argv[5], NULL, 10), bytes = strtoul(argv[6], NULL, 10);
  must(sl_open(argv[1], NULL, &store), "open");
  open_eye(&e, argv[2], argv[3], argv[4]);
  if (pthread_create(&thread, NULL, look, &e) != 0) stop("no thread");
  while (!atomic_load(&e.ready)) usleep(1000);
  for (unsigned long i = 0; i < count + 2; i++) /* the broker refuses the first, where its topic is to blame */
    for (int dead = 0; dead < 2; dead++) one(store, &e, argv[3], bytes, dead, i >= 2);
  atomic_store(&e.end, true);
  pthread_join(thread, NULL);
  rd_kafka_consumer_close(e.rk);
  rd_kafka_destroy(e.rk);
  sl_close(store);
  return 0;
}
