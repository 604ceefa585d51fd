/* The store's side of what is measured of delivery.
 *
 *   bench-uplink fill STORE TOPIC COUNT SIZE INDEXED   appends events 0..COUNT-1 with values of SIZE bytes;
 *                                                      INDEXED 1: the index is caught up, 0: there is none
 *   bench-uplink drop STORE                            drops its files from the page cache
 *   bench-uplink watch STORE SEQ                       waits until event SEQ is sent, prints when (monotonic us)
 *   bench-uplink lone STORE TOPIC COUNT                each when nothing is pending: microseconds from the call of
 *                                                      sl_append to its receipt, a line each
 *   bench-uplink steady STORE TOPIC RATE SECONDS       so many a second by four threads, each in a call of its
 *                                                      own; lines as above
 *   bench-uplink fleet FOLDER STORES TOPIC SECONDS     one a second into each of FOLDER/0, FOLDER/1, ...;
 *                                                      lines as above */
#include "bench.h"
#include "delivery/delivery.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_US = 200, WATCH_US = 5000, PATIENCE_US = 60000000 }; /* each look takes processor from the agent */

static sl_event event_on(const char *topic, const event *e) {
  sl_event out = event_for_sidelog(e);
  out.topic = SL_BYTES(topic, strlen(topic));
  out.key = SL_BYTES(e->correlation_text, 36);
  return out;
}

static sl_store *open_store(const char *path, uint64_t bytes) {
  sl_store *store;
  const sl_options options = {.quota_bytes = bytes * 3 + (UINT64_C(4) << 30), .preallocate = SL_NONE,
                              .durability = bytes ? SL_RELAXED : SL_DURABLE};
  must(sl_open(path, &options, &store), "open");
  return store;
}

static void fill(const char *path, const char *topic, uint64_t count, size_t size, bool indexed) {
  static event events[BATCH_MAX];
  static sl_event batch[BATCH_MAX];
  const uint64_t at_once = size > 65536 ? 50 : BATCH_MAX;
  sl_store *store = open_store(path, count * size);
  sl_delivery *held; /* as an agent holds it: producers make no index then */
  must(delivery_open(store, &held), "delivery");
  for (uint64_t n = 0; n < count;) {
    uint64_t k = 0;
    for (; k < at_once && n < count; k++, n++) {
      event_make(n, size, &events[k]);
      batch[k] = event_on(topic, &events[k]);
    }
    must(sl_append_many(store, batch, k, NULL, NULL), "append");
  }
  must(sl_sync(store), "sync");
  if (indexed) must(sl_index_advance(store, 0, NULL), "index");
  delivery_close(held);
  sl_close(store);
}

/* The state of an event. A log may be trimmed of it: then it is settled. */
static bool is_sent(sl_store *store, uint64_t seq) {
  const sl_query query = {.first_seq = seq, .last_seq = seq};
  sl_iter *iter;
  const sl_record *record;
  must(sl_iter_start(store, &query, &iter), "look");
  const sl_status status = sl_iter_next(iter, &record);
  if (status != SL_NOTFOUND) must(status, "look");
  const bool sent = status == SL_NOTFOUND || record->state == SL_SENT;
  if (!sent && record->state != SL_PENDING) stop("event %" PRIu64 " is %s", seq, sl_state_text(record->state));
  sl_iter_close(iter);
  return sent;
}

static void await(sl_store *store, uint64_t seq, double patience_us, unsigned look_us) {
  const double until = now_us() + patience_us;
  while (!is_sent(store, seq)) {
    if (now_us() > until) stop("event %" PRIu64 " is not sent after %.0f s", seq, patience_us / 1e6);
    usleep(look_us);
  }
}

static void watch(const char *path, uint64_t seq) {
  sl_store *store = open_store(path, 0);
  await(store, seq, 10 * (double)PATIENCE_US, WATCH_US);
  printf("%.0f\n", now_us());
  sl_close(store);
}

static void lone(const char *path, const char *topic, unsigned count) {
  sl_store *store = open_store(path, 0);
  for (unsigned i = 0; i < count; i++) {
    event e;
    uint64_t seq;
    event_make((uint64_t)now_us(), 200, &e); /* ids that no earlier call has given */
    const sl_event one = event_on(topic, &e);
    usleep(50000 + (unsigned)(mix(i) % 50000)); /* idle, and in step with no timer */
    const double begun = now_us();
    must(sl_append(store, &one, &seq), "append");
    await(store, seq, PATIENCE_US, 100);
    printf("%.0f\n", now_us() - begun);
  }
  sl_close(store);
}

/* --- a steady rate: some threads append by the clock, one looks for receipts --- */

enum { APPENDERS = 4 };

typedef struct pace {
  sl_store *store;
  const char *topic;
  unsigned rate;
  uint64_t total, before; /* newest seq before */
  double start;
  atomic_uint_fast64_t *due; /* by seq; 0: not appended yet */
} pace;

typedef struct appender { pace *pace; unsigned number; pthread_t thread; } appender;

static void until_us(double when) {
  const double left = when - now_us();
  if (left > 0) usleep((unsigned)left);
}

static void *append_steadily(void *arg) {
  const appender *a = arg;
  pace *p = a->pace;
  for (uint64_t i = a->number; i < p->total; i += APPENDERS) {
    event e;
    uint64_t seq;
    event_make((uint64_t)p->start + i, 200, &e);
    const sl_event one = event_on(p->topic, &e);
    const double due = p->start + (double)i * 1e6 / p->rate; /* a late append counts as waiting */
    until_us(due);
    must(sl_append(p->store, &one, &seq), "append");
    if (seq <= p->before || seq > p->before + p->total) stop("somebody else appends");
    atomic_store(&p->due[seq - p->before - 1], (uint64_t)due);
  }
  return NULL;
}

static void steady(const char *path, const char *topic, unsigned rate, unsigned seconds) {
  static appender appenders[APPENDERS];
  pace p = {.topic = topic, .rate = rate, .total = (uint64_t)rate * seconds};
  p.store = open_store(path, 0);
  p.due = need(calloc(p.total, sizeof *p.due));
  const sl_status looked = sl_wait(p.store, UINT64_MAX - 1, 0, &p.before);
  if (looked != SL_TIMEOUT) must(looked, "look");
  p.start = now_us();
  for (unsigned i = 0; i < APPENDERS; i++) {
    appenders[i] = (appender){.pace = &p, .number = i};
    if (pthread_create(&appenders[i].thread, NULL, append_steadily, &appenders[i]) != 0) stop("no thread");
  }
  for (uint64_t i = 0; i < p.total; i++) {
    const double until = now_us() + PATIENCE_US;
    while (atomic_load(&p.due[i]) == 0 || !is_sent(p.store, p.before + i + 1)) {
      if (now_us() > until) stop("event %" PRIu64 " of the steady rate is not sent after a minute", i);
      usleep(LOOK_US);
    }
    printf("%.0f\n", now_us() - (double)atomic_load(&p.due[i]));
  }
  for (unsigned i = 0; i < APPENDERS; i++) pthread_join(appenders[i].thread, NULL);
  free(p.due);
  sl_close(p.store);
}

/* --- a fleet --- */

typedef struct host { sl_store *store; uint64_t seq; double begun; bool waits; } host;

static void look_at(host *hosts, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    if (!hosts[i].waits || !is_sent(hosts[i].store, hosts[i].seq)) continue;
    printf("%.0f\n", now_us() - hosts[i].begun);
    hosts[i].waits = false;
  }
}

static void fleet(const char *folder, unsigned count, const char *topic, unsigned seconds) {
  host *hosts = need(calloc(count, sizeof *hosts));
  char path[4096];
  for (unsigned i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%u", folder, i);
    hosts[i].store = open_store(path, 0);
  }
  const double start = now_us();
  for (uint64_t k = 0; k < (uint64_t)count * seconds; k++) {
    event e;
    host *h = &hosts[k % count];
    event_make((uint64_t)start + k, 200, &e);
    const sl_event one = event_on(topic, &e);
    const double due = start + (double)k * 1e6 / count;
    while (now_us() < due) {
      look_at(hosts, count);
      until_us(due < now_us() + 2000 ? due : now_us() + 2000);
    }
    const double begun = now_us();
    uint64_t seq;
    must(sl_append(h->store, &one, &seq), "append");
    if (h->waits) continue; /* its event of a second ago is watched still */
    *h = (host){h->store, seq, begun, true};
  }
  const double until = now_us() + PATIENCE_US;
  for (unsigned i = 0; i < count; i++)
    while (hosts[i].waits) {
      if (now_us() > until) stop("the event of host %u is not sent after a minute", i);
      look_at(hosts, count);
      usleep(2000);
    }
  for (unsigned i = 0; i < count; i++) sl_close(hosts[i].store);
  free(hosts);
}

int main(int argc, char **argv) {
  const char *verb = argc > 2 ? argv[1] : "";
  const unsigned long third = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
  const unsigned long fourth = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
  if (strcmp(verb, "fill") == 0 && argc == 7) fill(argv[2], argv[3], third, fourth, argv[6][0] == '1');
  else if (strcmp(verb, "drop") == 0 && argc == 3) drop_cache(argv[2]);
  else if (strcmp(verb, "watch") == 0 && argc == 4) watch(argv[2], strtoull(argv[3], NULL, 10));
  else if (strcmp(verb, "lone") == 0 && argc == 5) lone(argv[2], argv[3], (unsigned)third);
  else if (strcmp(verb, "steady") == 0 && argc == 6) steady(argv[2], argv[3], (unsigned)third, (unsigned)fourth);
  else if (strcmp(verb, "fleet") == 0 && argc == 6)
    fleet(argv[2], (unsigned)strtoul(argv[3], NULL, 10), argv[4], (unsigned)fourth);
  else return fprintf(stderr, "usage: bench-uplink fill|drop|watch|lone|steady|fleet ...\n"), 2;
  return 0;
}
