/* The properties of our handles: first our defaults, then what the user configured, then what the protocol owns.
 * So a user may tune anything but what exactness rests on: idempotence, acks, the transactional id, isolation, and
 * that a record is given up no sooner and no later than its transaction.
 *
 * A value that librdkafka refuses ends it all (SCOPE_AGENT). A name that it does not know is only warned of: an
 * older one than the configuration was written for delivers as well. What librdkafka says of a refusal quotes the
 * value: of a secret, other words stand for it. */
#include "handle.h"
#include "log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The bound that counts is ours (handle.c): librdkafka's counts values only, and refuses an event larger
 * than the queue for ever. So its own is wider by the largest event. */
#define QUEUE_SLACK_KB (20 * 1024 + 1)

typedef struct property { const char *name, *value; } property;

static const property producer_defaults[] = {
  {"compression.type", "lz4"},
  {"partitioner", "murmur2_random"},
  /* Only while a transaction fills: its end is a flush, which sends at once. With 5 ms a backlog went in batches
   * of a tenth of a megabyte, and the broker took half as much processor again for it. */
  {"linger.ms", "50"},
  {"batch.num.messages", "100000"},
  {"max.in.flight.requests.per.connection", "5"},
  /* A metadata request of ours must not create a topic with the broker's defaults. */
  {"allow.auto.create.topics", "false"},
  {"topic.metadata.refresh.interval.ms", "60000"},
};

static const property reader_defaults[] = {
  /* The end of a partition is told by an empty fetch, which waits so long at the broker. */
  {"fetch.wait.max.ms", "20"},
  {"fetch.error.backoff.ms", "50"},
  {"queued.max.messages.kbytes", "4096"},
};

static const property common_defaults[] = {
  {"client.id", "sidelogd"},
  {"socket.keepalive.enable", "true"},
  {"socket.nagle.disable", "true"},
  {"reconnect.backoff.ms", "100"},
  {"reconnect.backoff.max.ms", "1000"},
  {"message.max.bytes", "16908288"},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Sticky: after the first refusal the rest does nothing. */
typedef struct builder {
  rd_kafka_conf_t *conf;
  fault *why;
  bool failed;
} builder;

static void refuse(builder *b, const char *name, const char *error) {
  b->failed = true;
  *b->why = kafka_classify(RD_KAFKA_RESP_ERR__INVALID_ARG);
  /* librdkafka's text quotes the value. */
  if (settings_kafka_secret(name)) error = "the value is refused";
  snprintf(b->why->text, sizeof b->why->text, "librdkafka property %s: %.192s", name, error);
}

static void set(builder *b, const char *name, const char *value) {
  char error[512];
  if (b->failed) return;
  if (rd_kafka_conf_set(b->conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
    refuse(b, name, error);
}

static void set_number(builder *b, const char *name, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)value);
  set(b, name, text);
}

static void set_table(builder *b, const property *table, size_t count) {
  for (size_t i = 0; i < count; i++) set(b, table[i].name, table[i].value);
}

static void set_users(builder *b, const kafka_options *options) {
  for (size_t i = 0; i < options->property_count && !b->failed; i++) {
    char error[512];
    const kv *p = &options->properties[i];
    switch (rd_kafka_conf_set(b->conf, p->name, p->value, error, sizeof error)) {
      case RD_KAFKA_CONF_OK: break;
      case RD_KAFKA_CONF_UNKNOWN:
        log_line(LEVEL_WARN, "unknown-property", "librdkafka does not know %s", p->name);
        break;
      default: refuse(b, p->name, error);
    }
  }
}

static int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

static void set_producer(builder *b, const kafka_options *o) {
  int64_t kilobytes = (o->queue_bytes + 1023) / 1024;
  set(b, "batch.size", "1000000");
  set_number(b, "socket.timeout.ms",
             o->socket_timeout_ms > 0 ? o->socket_timeout_ms : at_most(10000, o->txn_timeout_ms));
  set_users(b, o);
  if (o->batch_bytes > 0) set_number(b, "batch.size", o->batch_bytes);
  set(b, "isolation.level", "read_uncommitted"); /* ends.c asks for high watermarks, not for what is stable */
  set(b, "enable.idempotence", "true");
  set(b, "acks", "all");
  if (o->transactional_id) {
    set(b, "transactional.id", o->transactional_id);
    set_number(b, "transaction.timeout.ms", o->txn_timeout_ms);
  } else {
    /* Without it later records passed one that had failed. */
    set(b, "enable.gapless.guarantee", "true");
  }
  set_number(b, "message.timeout.ms", o->txn_timeout_ms);
  set_number(b, "queue.buffering.max.kbytes", at_most(kilobytes + QUEUE_SLACK_KB, 2147483647));
  set(b, "queue.buffering.max.messages", "0");
  set(b, "delivery.report.only.error", "false");
}

static void set_reader(builder *b, const kafka_options *o, bool committed, int timeout_ms) {
  set_number(b, "socket.timeout.ms", timeout_ms < 1000 ? 1000 : at_most(10000, timeout_ms));
  set_users(b, o);
  set(b, "isolation.level", committed ? "read_committed" : "read_uncommitted");
  set(b, "enable.partition.eof", "true");
  set(b, "auto.offset.reset", "error");
  set(b, "enable.auto.commit", "false");
  set(b, "allow.auto.create.topics", "false");
}

rd_kafka_conf_t *conf_new(kafka_role role, const kafka_options *options, int timeout_ms, fault *why) {
  builder b = {rd_kafka_conf_new(), why, false};
  set_table(&b, common_defaults, COUNT(common_defaults));
  if (role == ROLE_PRODUCER) {
    set_table(&b, producer_defaults, COUNT(producer_defaults));
    set_producer(&b, options);
  } else {
    set_table(&b, reader_defaults, COUNT(reader_defaults));
    set_reader(&b, options, role == ROLE_READER_COMMITTED, timeout_ms);
  }
  set(&b, "bootstrap.servers", options->brokers);
  if (!b.failed) return b.conf;
  rd_kafka_conf_destroy(b.conf);
  return NULL;
}

kafka_property_verdict kafka_check_property(const char *name, const char *value, char *reason, size_t cap) {
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, reason, cap);
  rd_kafka_conf_destroy(conf);
  if (result == RD_KAFKA_CONF_OK) return KAFKA_PROPERTY_KNOWN;
  if (result == RD_KAFKA_CONF_UNKNOWN) return KAFKA_PROPERTY_UNKNOWN;
  /* librdkafka's text quotes the value. */
  if (settings_kafka_secret(name)) snprintf(reason, cap, "the value is refused");
  return KAFKA_PROPERTY_BAD;
}

bool conf_options_copy(kafka_options *to, const kafka_options *from) {
  kv *properties = calloc(from->property_count + 1, sizeof *properties);
  kafka_options copy = *from;
  copy.brokers = strdup(from->brokers);
  copy.transactional_id = from->transactional_id ? strdup(from->transactional_id) : NULL;
  copy.properties = properties;
  copy.property_count = 0;
  bool ok = properties && copy.brokers && (!from->transactional_id || copy.transactional_id);
  for (size_t i = 0; ok && i < from->property_count; i++) {
    kv *p = &properties[copy.property_count++];
    p->name = strdup(from->properties[i].name);
    p->value = strdup(from->properties[i].value);
    ok = p->name && p->value;
  }
  *to = copy;
  return ok;
}

void conf_options_free(kafka_options *options) {
  kv *properties = (kv *)options->properties;
  for (size_t i = 0; i < options->property_count; i++) {
    free(properties[i].name);
    free(properties[i].value);
  }
  free(properties);
  free((char *)options->brokers);
  free((char *)options->transactional_id);
  memset(options, 0, sizeof *options);
}

void conf_log(int level, const char *facility, const char *text) {
  /* These come as faults too, or are tried again, or say that messages were given up, as we asked. */
  static const char *const echoes[] = {"FAIL", "ERROR", "FATAL", "TXNERR", "TERMINATE", "PURGE", "GETPID"};
  log_level ours = level <= 4 ? LEVEL_WARN : level <= 6 ? LEVEL_INFO : LEVEL_DEBUG;
  for (size_t i = 0; i < COUNT(echoes); i++)
    if (strcmp(facility, echoes[i]) == 0) ours = LEVEL_DEBUG;
  /* We set those. */
  if (strstr(text, "enable.gapless.guarantee is experimental") ||
      strstr(text, "property isolation.level is a consumer"))
    ours = LEVEL_DEBUG;
  log_line(ours, "librdkafka", "%s: %s", facility, text);
}

void conf_reader_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
  (void)rk;
  if (strcmp(facility, "CONFWARN") != 0) conf_log(level, facility, text);
}
