#include "handle.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void nap_ms(int ms) {
  struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
  nanosleep(&t, NULL);
}

int left_ms(int64_t deadline, int cap) {
  int64_t left = deadline - now_ms();
  return left <= 0 ? 0 : left < cap ? (int)left : cap;
}

/* ---------------------------------------------------------------- faults */

fault fault_of_code(rd_kafka_resp_err_t code, const char *format, ...) {
  fault f = kafka_classify(code);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return f;
  char detail[sizeof f.text / 2];
  va_list args;
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  snprintf(f.text, sizeof f.text, "%s: %s", detail, rd_kafka_err2str(code));
  return f;
}

static bool fatal_cause(rd_kafka_t *rk, rd_kafka_resp_err_t *code, char *text, size_t cap) {
  rd_kafka_resp_err_t cause = rd_kafka_fatal_error(rk, text, cap);
  if (cause) *code = cause;
  return cause != RD_KAFKA_RESP_ERR_NO_ERROR;
}

fault fault_of_handle(rd_kafka_t *rk, rd_kafka_resp_err_t code, const char *format, ...) {
  char detail[128], cause[200] = "";
  va_list args;
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  /* A dead handle refuses calls with _STATE as well as with _FATAL. */
  bool fatal = code && fatal_cause(rk, &code, cause, sizeof cause);
  fault f = fault_of_code(code, "%s", detail);
  f.fatal = fatal;
  if (fatal && cause[0]) snprintf(f.text, sizeof f.text, "%.110s: %.140s", detail, cause);
  return f;
}

fault fault_consume_error(rd_kafka_t *rk, rd_kafka_error_t *error) {
  if (!error) return (fault){0};
  rd_kafka_resp_err_t code = rd_kafka_error_code(error);
  char cause[200] = "";
  bool fatal = fatal_cause(rk, &code, cause, sizeof cause) || rd_kafka_error_is_fatal(error);
  fault f = kafka_classify(code);
  f.fatal = fatal;
  f.abortable = !fatal && rd_kafka_error_txn_requires_abort(error);
  snprintf(f.text, sizeof f.text, "%s", rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  return f;
}

/* ---------------------------------------------------------------- life */

static bool open_pipe(int out[2]) {
  int p[2];
  if (pipe(p) != 0) return false;
  for (int i = 0; i < 2; i++) {
    fcntl(p[i], F_SETFD, FD_CLOEXEC);
    fcntl(p[i], F_SETFL, O_NONBLOCK);
    out[i] = p[i];
  }
  return true;
}

/* Frees what there is; the rd_kafka_t is gone already or never was. */
static void dispose(kafka *k) {
  if (k->pipe[0] >= 0) close(k->pipe[0]);
  if (k->pipe[1] >= 0) close(k->pipe[1]);
  wire_free(k->wire);
  conf_options_free(&k->options);
  pthread_mutex_destroy(&k->lock);
  free(k);
}

static bool out_of_memory(fault *why) {
  *why = fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "cannot create a Kafka handle: %s",
                       strerror(errno));
  return false;
}

/* After rd_kafka_new failed. 2.0.2 frees the interceptors' list when it fails behind them, and again with the
 * configuration: a crash for a wrong sasl.mechanisms. Then it stays; the agent ends or waits for a better
 * one. */
static void conf_abandon(const kafka *k, rd_kafka_conf_t *conf) {
  static rd_kafka_conf_t *volatile last;
  if (wire_attached(k->wire))
    last = conf;
  else
    rd_kafka_conf_destroy(conf);
  (void)last;
}

bool kafka_new(const kafka_options *options, kafka **out, fault *why) {
  char error[200];
  kafka *k = calloc(1, sizeof *k);
  if (!k) return out_of_memory(why);
  k->pipe[0] = k->pipe[1] = -1;
  pthread_mutex_init(&k->lock, NULL);
  k->patience_ms = PATIENCE_LEAST_MS;
  k->transactional = options->transactional_id != NULL;
  if (!conf_options_copy(&k->options, options) || !open_pipe(k->pipe) || !(k->wire = wire_new(k->pipe[1]))) {
    out_of_memory(why);
    dispose(k);
    return false;
  }
  rd_kafka_conf_t *conf = conf_new(ROLE_PRODUCER, options, 0, why);
  if (!conf) {
    dispose(k);
    return false;
  }
  rd_kafka_conf_set(conf, "log.queue", "true", NULL, 0);
  rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
  wire_attach(k->wire, conf);
  k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  if (!k->rk) {
    conf_abandon(k, conf);
    *why = kafka_classify(RD_KAFKA_RESP_ERR__INVALID_ARG);
    snprintf(why->text, sizeof why->text, "librdkafka: %s", error);
    dispose(k);
    return false;
  }
  rd_kafka_set_log_queue(k->rk, NULL);
  k->queue = rd_kafka_queue_get_main(k->rk);
  rd_kafka_queue_io_event_enable(k->queue, k->pipe[1], "1", 1);
  /* What was said before that line woke nobody, and then nothing would: only an empty queue that fills
   * does. */
  bool asked = write(k->pipe[1], "1", 1) == 1;
  (void)asked; /* an empty pipe has room */
  *out = k;
  return true;
}

static void purge_queue(kafka *k) {
  rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Not what is in flight. The answer to it must come before the abort: a request that the abort's EndTxn overtakes
 * on its way (they go by two connections) is appended behind the transaction's end, under an epoch that nothing
 * has fenced yet. Brokers before 3.6 take that for a transaction's begin, which holds back read_committed
 * consumers until the next commit to the partition makes it valid: its records twice. */
void kafka_give_up(kafka *k) {
  if (!atomic_exchange(&k->given_up, true)) purge_queue(k); /* a refused batch tells it for each of its records */
}

void kafka_destroy(kafka *k) {
  if (!k) return;
  rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
  /* Otherwise destroy waits for requests in flight. */
  rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  if (k->batch) rd_kafka_event_destroy(k->batch);
  headers_forget(k);
  rd_kafka_queue_destroy(k->queue);
  for (size_t i = 0; i < TOPIC_BUCKETS; i++)
    for (topic_entry *e = k->topics[i], *next; e; e = next) {
      next = e->next;
      rd_kafka_topic_destroy(e->rkt);
      free(e);
    }
  rd_kafka_destroy(k->rk);
  dispose(k);
}

int kafka_fd(const kafka *k) { return k->pipe[0]; }

void kafka_brokers(const kafka *k, int *up, int *known) {
  int live = wire_up(k->wire), all = atomic_load(&k->known);
  *known = all ? all : live;
  *up = live < *known ? live : *known;
}

int64_t kafka_alone_since_us(const kafka *k) { return wire_alone_since_us(k->wire); }

int64_t kafka_round_trip_us(const kafka *k) { return wire_round_trip_us(k->wire); }

void kafka_a_broker(const kafka *k, char *name, size_t cap) { wire_one(k->wire, name, cap); }

/* ---------------------------------------------------------------- topics of this handle */

static size_t bucket(const char *name) {
  uint32_t h = 2166136261u;
  for (; *name; name++) h = (h ^ (uint8_t)*name) * 16777619u;
  return h % TOPIC_BUCKETS;
}

/* A handle for each topic: naming it in every record would search librdkafka's list under its lock. */
static topic_entry *topic_locked(kafka *k, const char *name, fault *why) {
  topic_entry **head = &k->topics[bucket(name)], *e;
  for (e = *head; e; e = e->next)
    if (strcmp(e->name, name) == 0) return e;
  size_t size = strlen(name) + 1;
  e = malloc(sizeof *e + size);
  if (!e) {
    *why = fault_of_code(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "topic %.100s: out of memory", name);
    return NULL;
  }
  e->rkt = rd_kafka_topic_new(k->rk, name, NULL);
  if (!e->rkt) {
    *why = fault_of_code(RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "topic %.100s", name);
    free(e);
    return NULL;
  }
  memcpy(e->name, name, size);
  e->next = *head;
  *head = e;
  return e;
}

rd_kafka_topic_t *kafka_topic(kafka *k, const char *name, fault *why) {
  pthread_mutex_lock(&k->lock);
  topic_entry *e = topic_locked(k, name, why);
  pthread_mutex_unlock(&k->lock);
  return e ? e->rkt : NULL;
}

/* ---------------------------------------------------------------- records */

/* What librdkafka holds for a record besides key and value, by resident memory: its struct, and an allocation
 * for each header. Its own limit counts values only: 100-byte events with 8 headers took twelve times as
 * much. */
enum { RECORD_OVERHEAD = 180 };

static size_t record_cost(size_t key, size_t value, size_t headers) {
  return key + value + RECORD_OVERHEAD + headers * HEADER_OVERHEAD;
}

bool kafka_fault_is_queue_full(const fault *f) { return f->code == RD_KAFKA_RESP_ERR__QUEUE_FULL; }

size_t kafka_waiting(const kafka *k) { return k->waiting; }

fault kafka_produce(kafka *k, const kafka_record *r, uint64_t tag) {
  size_t cost = record_cost(r->key.len, r->value.len, r->header_count);
  if (k->waiting > 0 && k->waiting + cost > (size_t)k->options.queue_bytes)
    return kafka_classify(RD_KAFKA_RESP_ERR__QUEUE_FULL);
  if (!k->last_topic || strcmp(k->last_topic->name, r->topic) != 0) {
    fault why;
    pthread_mutex_lock(&k->lock);
    k->last_topic = topic_locked(k, r->topic, &why);
    pthread_mutex_unlock(&k->lock);
    if (!k->last_topic) return why;
  }
  rd_kafka_headers_t *headers = headers_new(k, r);
  headers_make_room(k, cost);
  rd_kafka_resp_err_t err = rd_kafka_producev(
    k->rk, RD_KAFKA_V_RKT(k->last_topic->rkt), RD_KAFKA_V_PARTITION(r->partition),
    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE((void *)r->value.data, r->value.len),
    RD_KAFKA_V_KEY((void *)r->key.data, r->key.len), RD_KAFKA_V_HEADERS(headers),
    RD_KAFKA_V_TIMESTAMP(r->timestamp_ms), RD_KAFKA_V_OPAQUE((void *)(uintptr_t)tag), RD_KAFKA_V_END);
  if (!err) {
    k->waiting += cost;
    return (fault){0};
  }
  if (headers) rd_kafka_headers_destroy(headers);
  if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL) return kafka_classify(err);
  return fault_of_handle(k->rk, err, "topic %.100s", r->topic);
}

fault kafka_flush(kafka *k, int timeout_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  rd_kafka_resp_err_t err;
  /* Given up, an answer that refuses a batch for the gap before it puts its records back into the queue. */
  do {
    const bool given_up = atomic_load(&k->given_up);
    if (given_up) purge_queue(k);
    err = rd_kafka_flush(k->rk, left_ms(deadline, given_up ? 10 : 50));
  } while (err == RD_KAFKA_RESP_ERR__TIMED_OUT && left_ms(deadline, 1) > 0);
  if (!err) return (fault){0};
  return fault_of_handle(k->rk, err, "%d records not delivered within %d ms", rd_kafka_outq_len(k->rk),
                         timeout_ms);
}

/* ---------------------------------------------------------------- events */

/* The record of a report makes room. Its headers are ours from here on. (Const: the event owns the message.) */
static void settle_cost(kafka *k, const rd_kafka_message_t *m) {
  rd_kafka_headers_t *headers;
  if (rd_kafka_message_detach_headers((rd_kafka_message_t *)(uintptr_t)m, &headers)) headers = NULL;
  const size_t cost = record_cost(m->key_len, m->len, headers ? rd_kafka_header_cnt(headers) : 0);
  k->waiting = k->waiting > cost ? k->waiting - cost : 0;
  if (headers) headers_keep(k, headers);
}

static size_t serve_deliveries(kafka *k, size_t max, const kafka_sink *sink) {
  static const fault success = {0};
  const rd_kafka_message_t *m = NULL;
  size_t served = 0;
  while (served < max && (m = rd_kafka_event_message_next(k->batch))) {
    uint64_t tag = (uint64_t)(uintptr_t)m->_private;
    settle_cost(k, m);
    served++;
    if (!m->err) {
      sink->delivered(sink->arg, tag, m->partition, m->offset, &success);
    } else {
      fault f = fault_of_code(m->err, "topic %.100s partition %d", m->rkt ? rd_kafka_topic_name(m->rkt) : "?",
                              (int)m->partition);
      sink->delivered(sink->arg, tag, m->partition, -1, &f);
    }
  }
  if (!m) {
    rd_kafka_event_destroy(k->batch);
    k->batch = NULL;
  }
  return served;
}

static bool about_connection(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION: return true;
    default: return false;
  }
}

static void serve_error(kafka *k, rd_kafka_event_t *event, const kafka_sink *sink) {
  rd_kafka_resp_err_t code = rd_kafka_event_error(event);
  fault f;
  if (rd_kafka_event_error_is_fatal(event)) {
    f = fault_of_handle(k->rk, code, "fatal");
    f.fatal = true;
  } else {
    f = kafka_classify(code);
    snprintf(f.text, sizeof f.text, "%s", rd_kafka_event_error_string(event));
  }
  if (f.class_ == CLASS_NON_RETRYABLE_SECURITY && f.scope == SCOPE_CLUSTER) {
    pthread_mutex_lock(&k->lock);
    k->security = f;
    k->security_count++;
    pthread_mutex_unlock(&k->lock);
  }
  sink->error(sink->arg, &f, about_connection(code));
}

bool kafka_security_fault(kafka *k, unsigned since, unsigned *count, fault *out) {
  pthread_mutex_lock(&k->lock);
  bool fresh = k->security_count != since;
  if (fresh && out) *out = k->security;
  if (count) *count = k->security_count;
  pthread_mutex_unlock(&k->lock);
  return fresh;
}

static void serve_event(kafka *k, rd_kafka_event_t *event, const kafka_sink *sink) {
  const char *facility, *text;
  int level;
  switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR: k->batch = event; return;
    case RD_KAFKA_EVENT_ERROR: serve_error(k, event, sink); break;
    case RD_KAFKA_EVENT_LOG:
      if (rd_kafka_event_log(event, &facility, &text, &level) == 0) conf_log(level, facility, text);
      break;
    default: break;
  }
  rd_kafka_event_destroy(event);
}

size_t kafka_poll(kafka *k, size_t max, const kafka_sink *sink) {
  char drain[64], lost[160];
  size_t served = 0;
  /* Before the queue: an item that comes in between wakes us once too often, never once too seldom. */
  while (read(k->pipe[0], drain, sizeof drain) == (ssize_t)sizeof drain) continue;
  if (wire_take_lost(k->wire, lost, sizeof lost)) {
    fault f = fault_of_code(RD_KAFKA_RESP_ERR__TRANSPORT, "connection to %.100s lost", lost);
    sink->error(sink->arg, &f, true);
    served++;
  }
  if (wire_take_made(k->wire) && sink->reached) {
    sink->reached(sink->arg);
    served++;
  }
  while (served < max) {
    if (!k->batch) {
      rd_kafka_event_t *event = rd_kafka_queue_poll(k->queue, 0);
      if (!event) break;
      serve_event(k, event, sink);
      if (!k->batch) served++;
    }
    if (k->batch) served += serve_deliveries(k, max - served, sink);
  }
  return served;
}
