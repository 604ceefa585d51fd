/* A producer and its loop, for scenarios that read from top to bottom: what blocks in kafka.h runs on a thread,
 * and the caller meanwhile serves the handle as the agent does, woken by its descriptor alone. So a descriptor
 * that does not tell of something makes a scenario hang here, as it would make the agent. */
#include "driver.h"

double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void delivered(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  host *h = arg;
  h->last_tag = tag;
  if (fault_is_ok(why)) {
    h->delivered++;
    h->last_partition = partition;
    h->last_offset = offset;
  } else {
    h->failed++;
    h->last_fault = *why;
  }
}

static void error(void *arg, const fault *why, bool transport) {
  host *h = arg;
  h->errors++;
  h->transports += transport;
  h->last_error = *why;
}

void serve(host *h) {
  const kafka_sink sink = {h, delivered, error, NULL};
  while (kafka_poll(h->k, 1000, &sink) > 0) continue;
}

static void *job_main(void *arg) {
  job *j = arg;
  double start = now();
  j->result = j->run(j);
  j->seconds = now() - start;
  if (write(j->done[1], "1", 1) != 1) abort();
  return NULL;
}

fault await(job *j) {
  pthread_t thread;
  if (pipe(j->done) != 0 || pthread_create(&thread, NULL, job_main, j) != 0) abort();
  for (;;) {
    struct pollfd p[2] = {{kafka_fd(j->h->k), POLLIN, 0}, {j->done[0], POLLIN, 0}};
    serve(j->h);
    poll(p, 2, -1);
    if (p[1].revents) break;
  }
  pthread_join(thread, NULL);
  close(j->done[0]);
  close(j->done[1]);
  serve(j->h);
  return j->result;
}

fault do_connect(job *j) { return kafka_connect(j->h->k, j->timeout_ms, j->cluster_id); }
fault do_prepare(job *j) {
  return kafka_prepare_topic(j->h->k, j->topic, j->spec, j->timeout_ms, j->info);
}
fault do_init(job *j) { return kafka_init_transactions(j->h->k, j->timeout_ms); }
fault do_commit(job *j) { return kafka_commit(j->h->k, j->timeout_ms); }
fault do_abort(job *j) { return kafka_abort(j->h->k, j->timeout_ms); }
fault do_flush(job *j) { return kafka_flush(j->h->k, j->timeout_ms); }

double last_seconds;
fault call(host *h, fault (*run)(job *), int timeout_ms) {
  job j = {.run = run, .h = h, .timeout_ms = timeout_ms};
  await(&j);
  last_seconds = j.seconds;
  return j.result;
}
fault prepare(host *h, const char *topic, const kafka_topic_spec *spec, kafka_topic_info *info) {
  job j = {.run = do_prepare, .h = h, .timeout_ms = 10000, .topic = topic, .spec = spec, .info = info};
  await(&j);
  last_seconds = j.seconds;
  return j.result;
}

host *host_with(const char *id, int txn_timeout_ms, const kv *properties, size_t count) {
  host *h = calloc(1, sizeof *h);
  kafka_options o = {.brokers = bootstrap, .transactional_id = id, .txn_timeout_ms = txn_timeout_ms,
                     .queue_bytes = 24 << 20, .properties = properties, .property_count = count};
  fault why;
  if (!h || !kafka_new(&o, &h->k, &why)) {
    printf("kafka_new: %s\n", why.text);
    exit(1);
  }
  return h;
}

host *host_new(const char *id, int txn_timeout_ms) { return host_with(id, txn_timeout_ms, NULL, 0); }

double host_free(host *h) {
  double start = now();
  kafka_destroy(h->k);
  free(h);
  return now() - start;
}

const char *name(char *buffer, const char *what) {
  snprintf(buffer, 64, "%s-%s", what, run_id);
  return buffer;
}

fault produce(host *h, const char *topic, int32_t partition, const char *key, const void *value, size_t len,
              uint64_t tag) {
  kafka_record r = {.topic = topic, .partition = partition, .value = {value, len}};
  if (key) r.key = (sl_slice){key, strlen(key)};
  return kafka_produce(h->k, &r, tag);
}

const kafka_topic_spec three = {true, 3, -1, 7 * 86400000LL, false};
const kafka_topic_spec markers = {true, 50, -1, -1, true};

host *ready(const char *id, const char *topic, const kafka_topic_spec *spec) {
  host *h = host_new(id, 15000);
  kafka_topic_info info;
  fault f = prepare(h, topic, spec, &info);
  OK(f);
  f = call(h, do_init, 10000);
  OK(f);
  return h;
}
