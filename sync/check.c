#include "check.h"
#include "agent.h"
#include "base/clock.h"
#include "check_store.h"
#include "log.h"
#include "witness.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#define REACH_TIMEOUT_MS 10000
#define CALL_TIMEOUT_MS 10000
#define MARKER_TIMEOUT_MS 30000
#define SKEW_ALARM_MS 5000
#define CLIENT_MAX 16908288 /* message.max.bytes, unless the configuration says otherwise */

typedef enum verdict { OK, WARNING, MISSING } verdict;

typedef struct check {
  const settings *settings;
  FILE *out;
  sl_store *store;         /* NULL: there is none yet */
  sl_delivery *book;
  bool agent_alive;
  char sender[37];         /* empty without a store */
  char id[264];            /* the transactional id of the probes */
  kafka *kafka;            /* NULL: to be made anew */
  char cluster_id[64];
  check_topics topics;
  bool create_proven;
  bool skew_known;
  int64_t skew_ms;         /* the brokers' clock less ours */
  size_t missing, warnings;
} check;

/* ---------------------------------------------------------------- telling */

static void put(yajl_gen g, const char *name, const char *text) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
  if (text && *text) yajl_gen_string(g, (const unsigned char *)text, strlen(text));
  else yajl_gen_null(g);
}

static void tell_json(FILE *out, const char *word, const char *what, const char *subject, const char *text,
                      const char *remedy) {
  const unsigned char *json;
  size_t len;
  yajl_gen g = yajl_gen_alloc(NULL);
  if (!g) return;
  yajl_gen_map_open(g);
  put(g, "verdict", word);
  put(g, "check", what);
  put(g, "subject", subject);
  put(g, "text", text);
  put(g, "remedy", remedy);
  yajl_gen_map_close(g);
  if (yajl_gen_get_buf(g, &json, &len) == yajl_gen_status_ok) fprintf(out, "%.*s\n", (int)len, (const char *)json);
  yajl_gen_free(g);
}

/* `remedy` may be NULL. */
static void tell(check *c, verdict v, const char *what, const char *subject, const char *remedy,
                 const char *format, ...)
    __attribute__((format(printf, 6, 7)));
static void tell(check *c, verdict v, const char *what, const char *subject, const char *remedy,
                 const char *format, ...) {
  static const char *const words[] = {"ok", "warning", "missing"};
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < ' ') *p = ' ';
  c->missing += v == MISSING;
  c->warnings += v == WARNING;
  if (c->settings->json) tell_json(c->out, words[v], what, subject, text, remedy);
  else
    fprintf(c->out, "%-8s %s%s%s: %s%s%s\n", words[v], what, subject ? " " : "", subject ? subject : "", text,
            remedy ? " -> " : "", remedy ? remedy : "");
  fflush(c->out);
}

static const char *remedy_of(const fault *f) {
  static const struct { const char *name, *remedy; } remedies[] = {
    {"_AUTHENTICATION", "check sasl.username, sasl.password and sasl.mechanisms, and that the brokers know the "
                        "user"},
    {"SASL_AUTHENTICATION_FAILED", "check sasl.username, sasl.password and sasl.mechanisms"},
    {"_SSL", "check ssl.ca.location, the certificate's name and dates, and that this port speaks TLS"},
    {"_RESOLVE", "check the brokers' names and the DNS of this host"},
    {"_TRANSPORT", "check address, port and firewall, and that security.protocol is that of the port"},
    {"_TIMED_OUT", "check address, port and firewall, and that security.protocol is that of the port"},
    {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
     "allow Write and Describe on transactional ids with the agent's id as prefix"},
    {"TOPIC_AUTHORIZATION_FAILED", "allow the agent's user Write and Describe on the topic"},
    {"CLUSTER_AUTHORIZATION_FAILED", "allow the agent's user Create on the cluster or on the topic's name"},
    {"INVALID_TRANSACTION_TIMEOUT",
     "lower transactions.timeout, or raise the brokers' transaction.max.timeout.ms"},
    {"UNSUPPORTED_VERSION", "these brokers are too old for transactions: mode: at-least-once"},
    {"_UNSUPPORTED_FEATURE", "these brokers are too old for transactions: mode: at-least-once"},
    {"INVALID_TIMESTAMP", "set this host's clock"},
    {"POLICY_VIOLATION", "ask who runs the cluster: a policy there refuses it"}};
  for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
    if (strcmp(remedies[i].name, f->name) == 0) return remedies[i].remedy;
  return "see the reason; docs/delivery.md tells what the agent needs";
}

static void tell_fault(check *c, const char *what, const char *subject, const fault *f) {
  tell(c, MISSING, what, subject, remedy_of(f), "%s: %s", f->name, f->text);
}

static const char *property(const settings *s, const char *name) {
  for (size_t i = 0; i < s->kafka_count; i++)
    if (strcmp(s->kafka[i].name, name) == 0) return s->kafka[i].value;
  return NULL;
}

/* The brokers only say "invalid credentials", whatever the password. */
static bool scram_fails(const check *c, const fault *f) {
  const char *mechanism = property(c->settings, "sasl.mechanisms");
  if (!mechanism) mechanism = property(c->settings, "sasl.mechanism");
  return mechanism && strncasecmp(mechanism, "SCRAM", 5) == 0 && kafka_scram_is_old() &&
         strcmp(f->name, "_AUTHENTICATION") == 0;
}

/* ---------------------------------------------------------------- store and configuration */

static bool look_at_store(check *c) {
  const sl_options options = {.flags = SL_OPEN_EXISTING};
  sl_status st = sl_open(c->settings->store, &options, &c->store);
  if (st == SL_E_NO_STORE) {
    tell(c, WARNING, "store", NULL, "nothing, if no program has appended yet", "there is none at %s",
         c->settings->store);
    return true;
  }
  if (st == SL_OK) st = delivery_look(c->store, &c->book);
  if (st == SL_OK) st = check_topics_find(&c->topics, c->store, delivery_state_get(c->book), c->settings);
  if (st != SL_OK) {
    tell(c, MISSING, "store", NULL, "sidelog verify", "%s: %s", sl_status_text(st), sl_last_detail());
    return false;
  }
  int64_t pid = 0;
  c->agent_alive = sl_agent_alive(c->store, &pid, NULL) == SL_OK;
  snprintf(c->sender, sizeof c->sender, "%s", delivery_state_get(c->book)->sender);
  tell(c, OK, "store", NULL, NULL, "%s, %s%" PRIu64 " event%s%s", c->settings->store,
       c->topics.all ? "" : "more than ", c->topics.looked, c->topics.looked == 1 ? " waits" : "s wait",
       c->agent_alive ? ", an agent runs" : "");
  return true;
}

static void look_at_login(check *c) {
  const char *protocol = property(c->settings, "security.protocol");
  bool sasl = protocol && strncasecmp(protocol, "sasl", 4) == 0;
  bool tls = protocol && strlen(protocol) >= 3 && strcasecmp(protocol + strlen(protocol) - 3, "ssl") == 0;
  bool user = property(c->settings, "sasl.username") || property(c->settings, "sasl.password");
  if (user && !sasl)
    tell(c, WARNING, "login", NULL, "security.protocol: sasl_ssl", "a user is configured, but security.protocol "
         "is %s: nobody logs in", protocol ? protocol : "plaintext");
  else
    tell(c, OK, "login", NULL, NULL, "%s, %s",
         sasl ? "as a user (SASL)" : tls ? "by certificate, if at all" : "none",
         tls ? "encrypted (TLS)" : "not encrypted");
}

/* ---------------------------------------------------------------- handle */

static bool exactly_once(const check *c) { return c->settings->mode == MODE_EXACTLY_ONCE; }

static fault open_handle(check *c) {
  fault f = {0};
  const kafka_options options = {.brokers = c->settings->brokers,
                                 .transactional_id = exactly_once(c) ? c->id : NULL,
                                 .txn_timeout_ms = (int32_t)(c->settings->txn_timeout_us / 1000),
                                 .socket_timeout_ms =
                                   (int32_t)(core_socket_timeout_us(c->settings->txn_timeout_us) / 1000),
                                 .queue_bytes = c->settings->queue_bytes,
                                 .properties = c->settings->kafka, .property_count = c->settings->kafka_count};
  if (!kafka_new(&options, &c->kafka, &f)) return f;
  return kafka_reach(c->kafka, REACH_TIMEOUT_MS, c->cluster_id);
}

static void close_handle(check *c) {
  kafka_destroy(c->kafka);
  c->kafka = NULL;
}

/* After a probe that failed the handle is of no more use. */
static fault ready(check *c) {
  if (c->kafka) return (fault){0};
  fault f = open_handle(c);
  if (fault_is_ok(&f)) f = kafka_init_transactions(c->kafka, CALL_TIMEOUT_MS);
  if (!fault_is_ok(&f)) close_handle(c);
  return f;
}

static bool look_at_brokers(check *c) {
  const fault f = open_handle(c);
  if (scram_fails(c, &f)) {
    tell(c, MISSING, "brokers", c->settings->brokers, "check user and password; for Kafka 4 update librdkafka to "
         "2.6.1 or use another mechanism: older ones cannot log in to it by SCRAM", "%s: %s", f.name, f.text);
    return false;
  }
  if (!fault_is_ok(&f)) {
    tell_fault(c, "brokers", c->settings->brokers, &f);
    return false;
  }
  int up = 0, known = 0;
  kafka_brokers(c->kafka, &up, &known);
  tell(c, OK, "brokers", c->settings->brokers, NULL, "reached; the cluster has %d", known);
  const delivery_state *book = c->book ? delivery_state_get(c->book) : NULL;
  if (!c->cluster_id[0])
    tell(c, WARNING, "cluster", NULL, "nothing, if these brokers give none: a change of cluster is then seen by "
         "the marker only", "it has no id");
  else if (book && book->cluster_id.len && !sl_slice_eq(book->cluster_id, sl_slice_of(c->cluster_id)) &&
           delivery_has_begun(book))
    tell(c, MISSING, "cluster", c->cluster_id, "point `brokers` to the other one, or see `sidelogd --adopt`",
         "this store delivered to another one, %.*s", (int)book->cluster_id.len,
         (const char *)book->cluster_id.data);
  else
    tell(c, OK, "cluster", c->cluster_id, NULL, "%s",
         book && book->cluster_id.len ? "the one of this store" : "new to this store");
  return true;
}

static bool look_at_transactions(check *c) {
  if (!exactly_once(c)) {
    tell(c, WARNING, "transactions", NULL, "mode: exactly-once, where the brokers have transactions",
         "not used in at-least-once, so no right to write can be proven without being seen");
    return false;
  }
  const fault f = kafka_init_transactions(c->kafka, CALL_TIMEOUT_MS);
  if (!fault_is_ok(&f)) {
    tell_fault(c, "transactions", c->id, &f);
    close_handle(c);
    return false;
  }
  tell(c, OK, "transactions", c->id, NULL, "may be used");
  return true;
}

/* ---------------------------------------------------------------- topics */

static fault try_write(check *c, const char *topic, int32_t partition) {
  int64_t append_ms;
  fault f = ready(c);
  if (!fault_is_ok(&f)) return f;
  f = kafka_try_write(c->kafka, topic, partition, "sidelog-check", CALL_TIMEOUT_MS, &append_ms);
  if (!fault_is_ok(&f)) {
    close_handle(c);
  } else if (append_ms >= 0) {
    c->skew_ms = append_ms - sl_clock_wall_us() / 1000;
    c->skew_known = true;
  }
  return f;
}

static fault look(check *c, const char *topic, kafka_topic_look *out) {
  fault f = ready(c);
  return fault_is_ok(&f) ? kafka_look_topic(c->kafka, topic, CALL_TIMEOUT_MS, out) : f;
}

static fault try_create(check *c, const char *topic, bool marker) {
  const settings *s = c->settings;
  const topic_rule rule = settings_topic(s, sl_slice_of(topic));
  const kafka_topic_spec spec = {.create = true, .compacted = marker,
                                 .partitions = marker ? s->marker_partitions : rule.partitions,
                                 .replication = marker ? s->marker_replication : rule.replication,
                                 .retention_ms = -1};
  fault f = ready(c);
  if (fault_is_ok(&f)) f = kafka_try_create(c->kafka, topic, &spec, CALL_TIMEOUT_MS);
  return f;
}

static fault read_marker(check *c, int32_t partition, kafka_marker *marker) {
  const delivery_state *book = delivery_state_get(c->book);
  const kafka_sought sought = witness_sought(book);
  int64_t from = -1;
  size_t len = 0;
  if (delivery_note_get(c->book, DELIVERY_NOTE_MARKER, &from, sizeof from, &len) != SL_OK || len != sizeof from)
    from = -1;
  const fault f = ready(c);
  if (!fault_is_ok(&f)) return f;
  return kafka_read_marker(c->kafka, c->settings->marker_topic, partition, sl_slice_of(book->sender), from,
                           &sought, MARKER_TIMEOUT_MS, marker);
}

static void tell_unread(check *c, const fault *f) {
  const bool gone = strcmp(f->name, "OFFSET_OUT_OF_RANGE") == 0 || strcmp(f->name, "_UNKNOWN_PARTITION") == 0;
  tell(c, MISSING, "marker", c->settings->marker_topic,
       gone ? "see `sidelogd --adopt`" : "allow the agent's user Read on the topic", "%s: %s", f->name, f->text);
}

/* Asked before anything is written there: with our probe in it the partition would be long enough to be believed.
 * Nor may it be written where that cannot be read: it would grow with each look. */
static bool is_doubtful(check *c, int32_t partition) {
  const delivery_state *book = delivery_state_get(c->book);
  const char *topic = c->settings->marker_topic;
  const kafka_options options = {.brokers = c->settings->brokers, .properties = c->settings->kafka,
                                 .property_count = c->settings->kafka_count};
  kafka_marker marker = {0};
  if (c->agent_alive || !book->has_intent) return false;
  fault f = read_marker(c, partition, &marker);
  if (!fault_is_ok(&f)) {
    tell_unread(c, &f);
    return true;
  }
  f = witness_of_marker(c->store, book, &options, topic, &marker);
  if (!fault_is_ok(&f))
    tell(c, MISSING, "marker", topic,
         f.scope == SCOPE_CONNECTION ? "bring back the broker that has it, or see `sidelogd --adopt`"
                                     : "see `sidelogd --adopt`",
         "the agent would %s (%s): %s", f.scope == SCOPE_CONNECTION ? "wait" : "park", f.name, f.text);
  free(marker.value);
  return !fault_is_ok(&f);
}

static void compare_marker(check *c, int32_t partition) {
  const char *topic = c->settings->marker_topic;
  const delivery_state *book = delivery_state_get(c->book);
  kafka_marker marker = {0};
  const fault f = read_marker(c, partition, &marker);
  if (!fault_is_ok(&f)) {
    tell_unread(c, &f);
    return;
  }
  if (marker.end_offset == 0 && book->marker_bytes.len == 0) {
    tell(c, WARNING, "marker", topic, "check again once the topic may be written", "its partition is empty, so "
         "the right to read it is not proven");
    return;
  }
  const core_park park = c->agent_alive ? PARK_NONE /* it moves on meanwhile */
                         : core_judge_marker(SL_BYTES(marker.value, marker.found ? marker.len : 0),
                                             book->marker_bytes, book->intent_bytes);
  if (park != PARK_NONE)
    tell(c, MISSING, "marker", topic, "see `sidelogd --adopt`", "%s", park == PARK_MARKER_AHEAD ?
         "the cluster's progress is not this store's: the agent would park (marker-ahead)" :
         "the store has delivered, but its progress is not there: the agent would park (marker-missing)");
  else
    tell(c, OK, "marker", topic, NULL, "may be read%s",
         c->agent_alive ? "" : marker.found ? "; it is this store's" : "; none yet");
  free(marker.value);
}

static void look_at_marker(check *c) {
  const char *topic = c->settings->marker_topic;
  const delivery_state *book = c->book ? delivery_state_get(c->book) : NULL;
  kafka_topic_look seen;
  fault f = look(c, topic, &seen);
  if (!fault_is_ok(&f)) {
    tell_fault(c, "progress topic", topic, &f);
    return;
  }
  if (!seen.exists) {
    f = try_create(c, topic, true);
    if (!fault_is_ok(&f))
      tell(c, MISSING, "progress topic", topic, "create it (cleanup.policy=compact), or allow Create",
           "is not there, and cannot be created: %s: %s", f.name, f.text);
    else if (book && book->marker_bytes.len)
      tell(c, MISSING, "progress topic", topic, "see `sidelogd --adopt`", "is not there, but this store has "
           "delivered: the agent would park (marker-missing)");
    else tell(c, OK, "progress topic", topic, NULL, "is not there and may be created");
    return;
  }
  const bool bare = book && book->marker_partition >= seen.partitions;
  if (seen.leaderless || bare)
    tell(c, MISSING, "progress topic", topic, bare ? "see `sidelogd --adopt`" : "bring its brokers back", bare ?
         "has %d partitions: the marker's is gone, it was created again (%d without a leader)" :
         "%d partitions, %d of them without a leader", (int)seen.partitions, (int)seen.leaderless);
  else if (!seen.configs_read)
    tell(c, WARNING, "progress topic", topic, "allow DescribeConfigs, or see that cleanup.policy is compact",
         "its settings cannot be read");
  else if (!seen.compacted || seen.deletes)
    tell(c, MISSING, "progress topic", topic, "set cleanup.policy=compact", "cleanup.policy is not compact alone: "
         "the progress of an idle store would be deleted in time");
  else
    tell(c, OK, "progress topic", topic, NULL, "%d partition%s, compacted", (int)seen.partitions,
         seen.partitions == 1 ? "" : "s");
  int32_t partition = book ? book->marker_partition : -1;
  if (book && (partition < 0 || bare)) partition = ops_marker_partition(book->sender, seen.partitions);
  if (book && !bare && is_doubtful(c, partition)) return;
  f = try_write(c, topic, partition); /* which also leaves something to read there */
  if (!fault_is_ok(&f)) tell_fault(c, "write", topic, &f);
  else tell(c, OK, "write", topic, NULL, "may be written");
  if (book && !bare) compare_marker(c, partition);
}

static void look_at_size(check *c, const check_topic *t, const kafka_topic_look *seen) {
  const char *set = property(c->settings, "message.max.bytes");
  const int64_t client = set ? strtoll(set, NULL, 10) : CLIENT_MAX, largest = (int64_t)t->largest;
  const bool topic_first = seen->max_message_bytes >= 0 && seen->max_message_bytes < client;
  const int64_t limit = topic_first ? seen->max_message_bytes : client;
  if (largest > limit)
    tell(c, WARNING, "size", t->name,
         topic_first ? "raise max.message.bytes of the topic" : "raise kafka.message.max.bytes",
         "event %" PRIu64 " takes about %" PRId64 " bytes, the limit is %" PRId64 ": it would become a dead "
         "letter", t->largest_seq, largest, limit);
  else if (seen->max_message_bytes < 0)
    tell(c, WARNING, "size", t->name, "allow DescribeConfigs on the topic", "its limit cannot be read: an event "
         "that is too large costs a transaction before it is recognised");
  else if (t->pending)
    tell(c, OK, "size", t->name, NULL, "the largest waiting event takes about %" PRId64 " of %" PRId64 " bytes",
         largest, limit);
  else tell(c, OK, "size", t->name, NULL, "events up to %" PRId64 " bytes", limit);
}

static void look_at_topic(check *c, const check_topic *t) {
  kafka_topic_look seen;
  fault f = look(c, t->name, &seen);
  if (!fault_is_ok(&f)) {
    tell_fault(c, "topic", t->name, &f);
    return;
  }
  if (!seen.exists) {
    if (!c->settings->create_topics) {
      tell(c, MISSING, "topic", t->name, "create it, or new_topics.create: true",
           "is not there; %" PRIu64 " events wait for it", t->pending);
      return;
    }
    f = try_create(c, t->name, false);
    if (fault_is_ok(&f)) tell(c, OK, "topic", t->name, NULL, "is not there and may be created");
    else
      tell(c, MISSING, "topic", t->name, "create it, or allow Create", "is not there, and cannot be created: "
           "%s: %s", f.name, f.text);
    c->create_proven = true;
    return;
  }
  if (seen.leaderless)
    tell(c, WARNING, "topic", t->name, "bring its brokers back", "%d of %d partitions have no leader: the topic "
         "waits", (int)seen.leaderless, (int)seen.partitions);
  else tell(c, OK, "topic", t->name, NULL, "%d partition%s", (int)seen.partitions,
            seen.partitions == 1 ? "" : "s");
  look_at_size(c, t, &seen);
  if (seen.leaderless) return;
  f = try_write(c, t->name, -1);
  if (!fault_is_ok(&f)) tell_fault(c, "write", t->name, &f);
  else tell(c, OK, "write", t->name, NULL, "may be written");
}

static void look_at_create(check *c) {
  if (!c->settings->create_topics || c->create_proven) return;
  const fault f = try_create(c, "sidelog-check", false);
  if (fault_is_ok(&f)) tell(c, OK, "create topics", NULL, NULL, "allowed");
  else
    tell(c, WARNING, "create topics", NULL, "allow Create, or new_topics.create: false",
         "not under any name: %s: %s", f.name, f.text);
}

static void look_at_clock(check *c) {
  if (!c->skew_known)
    tell(c, OK, "clock", NULL, NULL, "no topic here keeps the broker's time; this host's was accepted wherever it "
         "was written");
  else if (c->skew_ms > SKEW_ALARM_MS || c->skew_ms < -SKEW_ALARM_MS)
    tell(c, WARNING, "clock", NULL, "set the clock of the one that is wrong",
         "the brokers' differs by %" PRId64 " ms from this host's", c->skew_ms);
  else tell(c, OK, "clock", NULL, NULL, "within %" PRId64 " ms of the brokers'",
            c->skew_ms < 0 ? -c->skew_ms : c->skew_ms);
}

static void run(check *c) {
  const settings *s = c->settings;
  snprintf(c->id, sizeof c->id, "%s%s-check", s->transactional_id ? "" : "sidelog-",
           s->transactional_id ? s->transactional_id : c->sender[0] ? c->sender : "new");
  look_at_login(c);
  if (!look_at_brokers(c) || !look_at_transactions(c)) return;
  look_at_marker(c);
  for (size_t i = 0; i < c->topics.count; i++) look_at_topic(c, &c->topics.list[i]);
  look_at_create(c);
  look_at_clock(c);
}

int check_run(const settings *s, FILE *out) {
  check c = {.settings = s, .out = out};
  /* What it finds it says itself; librdkafka's lines are for who asks for them. */
  log_setup(s->level == LEVEL_DEBUG ? LEVEL_DEBUG : LEVEL_ERROR, s->format);
  const bool readable = look_at_store(&c);
  if (!c.store && check_topics_find(&c.topics, NULL, NULL, s) != SL_OK) c.topics.count = 0;
  if (readable) run(&c);
  close_handle(&c);
  check_topics_free(&c.topics);
  delivery_close(c.book);
  sl_close(c.store);
  const int status = !readable ? 3 : c.missing ? 4 : 0;
  if (!s->json)
    fprintf(out, "%zu missing, %zu warning%s\n", c.missing, c.warnings, c.warnings == 1 ? "" : "s");
  return fflush(out) == 0 ? status : 3;
}
