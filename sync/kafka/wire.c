/* librdkafka suppresses a broker's error when it is the same as the one before (30 s), and has no call that
 * tells which connections live; both matter here. Interceptors see every change of a connection's state and
 * every request written, so the counts are exact. They run on librdkafka's threads under its locks: nothing
 * here may call librdkafka, and our lock is a leaf. */
#include "handle.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { API_PRODUCE = 0, API_END_TXN = 26, CONNECTIONS = 256 };

typedef struct connection {
  char name[256]; /* as long as librdkafka takes one */
  int port;
  bool up, trying;
} connection;

struct wire {
  pthread_mutex_t lock;
  int wake_fd;
  size_t count;
  connection connections[CONNECTIONS];
  bool lost;
  char lost_name[160];
  bool made; /* a connection to a broker was */
  int64_t alone_us; /* since when there is none; 0: there is one, or never was */
  bool tried_in_vain; /* since then */
  bool attached;
  int64_t round_trip_us; /* the shortest; 0: none */
  unsigned end_txn_unanswered;
  pthread_t end_txn_thread; /* the one that wrote the last of them */
};

wire *wire_new(int wake_fd) {
  wire *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  pthread_mutex_init(&w->lock, NULL);
  w->wake_fd = wake_fd;
  return w;
}

void wire_free(wire *w) {
  if (!w) return;
  pthread_mutex_destroy(&w->lock);
  free(w);
}

static connection *connection_find(wire *w, const char *name, int port) {
  connection *c = w->connections;
  for (; c < w->connections + w->count; c++)
    if (c->port == port && strncmp(c->name, name, sizeof c->name - 1) == 0) return c;
  if (w->count == CONNECTIONS) return NULL;
  w->count++;
  snprintf(c->name, sizeof c->name, "%s", name);
  c->port = port;
  return c;
}

/* librdkafka's inner "broker", always up, is nobody. */
static bool any_up(const wire *w) {
  for (size_t i = 0; i < w->count; i++) {
    const connection *c = &w->connections[i];
    const bool inner = c->port == 0 && (!c->name[0] || strcmp(c->name, "internal") == 0);
    if (c->up && !inner) return true;
  }
  return false;
}

/* What the broker closed as idle is not missed until it is needed: only who tries in vain is alone. */
static void note_alone(wire *w, connection *c, const char *state, bool lost) {
  const bool rests = strcmp(state, "INIT") == 0 || strcmp(state, "TRY_CONNECT") == 0;
  const bool down = strcmp(state, "DOWN") == 0;
  if (any_up(w)) {
    w->alone_us = 0;
    w->tried_in_vain = false;
  } else if (lost && w->alone_us == 0) {
    w->alone_us = sl_clock_monotonic_us();
  } else if (down && c->trying && w->alone_us) {
    w->tried_in_vain = true;
  }
  c->trying = !rests && !down && !c->up;
}

static rd_kafka_resp_err_t on_state(rd_kafka_t *rk, int32_t id, const char *protocol, const char *name,
                                    int port, const char *state, void *arg) {
  wire *w = arg;
  bool up = strcmp(state, "UP") == 0 || strcmp(state, "UPDATE") == 0, lost = false, made = false;
  (void)rk, (void)id, (void)protocol;
  pthread_mutex_lock(&w->lock);
  connection *c = connection_find(w, name, port);
  if (c) {
    lost = c->up && !up;
    made = up && !c->up && port != 0;
    c->up = up;
    note_alone(w, c, state, lost);
  }
  if (lost) {
    w->lost = true;
    snprintf(w->lost_name, sizeof w->lost_name, port ? "%s:%d" : "%s", name, port);
  }
  w->made = w->made || made;
  pthread_mutex_unlock(&w->lock);
  /* Full pipe: the reader is awake anyway. */
  if ((lost || made) && write(w->wake_fd, "1", 1) < 0) return RD_KAFKA_RESP_ERR_NO_ERROR;
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_sent(rd_kafka_t *rk, int fd, const char *name, int32_t id, int16_t api,
                                   int16_t version, int32_t correlation, size_t size, void *arg) {
  wire *w = arg;
  (void)rk, (void)fd, (void)name, (void)id, (void)correlation;
  if (api == API_PRODUCE) weigh_sent(size, version);
  if (api != API_END_TXN) return RD_KAFKA_RESP_ERR_NO_ERROR;
  pthread_mutex_lock(&w->lock);
  w->end_txn_unanswered++;
  w->end_txn_thread = pthread_self();
  pthread_mutex_unlock(&w->lock);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_answer(rd_kafka_t *rk, int fd, const char *name, int32_t id, int16_t api,
                                     int16_t version, int32_t correlation, size_t size, int64_t rtt,
                                     rd_kafka_resp_err_t err, void *arg) {
  wire *w = arg;
  (void)rk, (void)fd, (void)name, (void)id, (void)version, (void)correlation, (void)size;
  if (err || (api != API_END_TXN && rtt <= 0)) return RD_KAFKA_RESP_ERR_NO_ERROR;
  /* 2.0.2 tells each answer twice, on the thread that received it (the one that writes, too) and on the main
   * one that handles it, both with a correlation id of 0. */
  pthread_mutex_lock(&w->lock);
  if (rtt > 0 && (w->round_trip_us == 0 || rtt < w->round_trip_us)) w->round_trip_us = rtt;
  if (api == API_END_TXN && w->end_txn_unanswered > 0 && pthread_equal(w->end_txn_thread, pthread_self()))
    w->end_txn_unanswered--;
  pthread_mutex_unlock(&w->lock);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *arg, char *error,
                                  size_t cap) {
  (void)conf, (void)error, (void)cap;
  ((wire *)arg)->attached = true;
  rd_kafka_interceptor_add_on_broker_state_change(rk, "sidelog", on_state, arg);
  rd_kafka_interceptor_add_on_request_sent(rk, "sidelog", on_sent, arg);
  rd_kafka_interceptor_add_on_response_received(rk, "sidelog", on_answer, arg);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void wire_attach(wire *w, rd_kafka_conf_t *conf) {
  rd_kafka_conf_interceptor_add_on_new(conf, "sidelog", on_new, w);
}

bool wire_attached(const wire *w) { return w->attached; }

int wire_up(wire *w) {
  int up = 0;
  pthread_mutex_lock(&w->lock);
  /* Port 0: the coordinator's second connection to a broker, or the internal one. */
  for (size_t i = 0; i < w->count; i++) up += w->connections[i].up && w->connections[i].port != 0;
  pthread_mutex_unlock(&w->lock);
  return up;
}

int64_t wire_alone_since_us(wire *w) {
  pthread_mutex_lock(&w->lock);
  const int64_t since = w->tried_in_vain ? w->alone_us : 0;
  pthread_mutex_unlock(&w->lock);
  return since;
}

void wire_one(wire *w, char *name, size_t cap) {
  name[0] = '\0';
  pthread_mutex_lock(&w->lock);
  for (size_t i = 0; i < w->count && !name[0]; i++)
    if (w->connections[i].up && w->connections[i].port != 0)
      snprintf(name, cap, "%s:%d", w->connections[i].name, w->connections[i].port);
  pthread_mutex_unlock(&w->lock);
}

bool wire_take_lost(wire *w, char *name, size_t cap) {
  bool lost;
  pthread_mutex_lock(&w->lock);
  lost = w->lost;
  w->lost = false;
  if (lost) snprintf(name, cap, "%s", w->lost_name);
  pthread_mutex_unlock(&w->lock);
  return lost;
}

bool wire_take_made(wire *w) {
  pthread_mutex_lock(&w->lock);
  const bool made = w->made;
  w->made = false;
  pthread_mutex_unlock(&w->lock);
  return made;
}

unsigned wire_end_txn_unanswered(wire *w) {
  pthread_mutex_lock(&w->lock);
  unsigned unanswered = w->end_txn_unanswered;
  pthread_mutex_unlock(&w->lock);
  return unanswered;
}

int64_t wire_round_trip_us(wire *w) {
  int64_t us;
  pthread_mutex_lock(&w->lock);
  us = w->round_trip_us;
  pthread_mutex_unlock(&w->lock);
  return us;
}
