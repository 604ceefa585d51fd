/* Properties of librdkafka: which may be set, and to what. */
#include "settings_inner.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Two names of one property; the second is the one compared. */
static const char *const aliases[][2] = {
  {"request.required.acks", "acks"},
  {"metadata.broker.list", "bootstrap.servers"},
  {"max.in.flight", "max.in.flight.requests.per.connection"},
  {"queue.buffering.max.ms", "linger.ms"},
  {"message.send.max.retries", "retries"},
  {"compression.type", "compression.codec"},
  {"sasl.mechanism", "sasl.mechanisms"},
  {"delivery.timeout.ms", "message.timeout.ms"},
};

const char *settings_kafka_canonical(const char *name) {
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (strcmp(name, aliases[i][0]) == 0) return aliases[i][1];
  return name;
}

/* Properties that exactly-once or the agent's own settings depend on. `allowed` lists values that do no
 * harm. */
typedef struct owned { const char *name, *allowed[5], *why; } owned;

static const owned owned_properties[] = {
  {"transactional.id", {0}, "the agent derives it from the store; the setting transactions.id replaces it"},
  {"transaction.timeout.ms", {0}, "use the setting transactions.timeout"},
  {"message.timeout.ms", {0}, "no event may outlive its transaction; use the setting transactions.timeout"},
  {"bootstrap.servers", {0}, "use the setting brokers"},
  {"queue.buffering.max.kbytes", {0}, "use the setting transactions.queue"},
  {"queue.buffering.max.messages", {0}, "use the settings transactions.queue and transactions.max_events"},
  {"enable.idempotence", {"true"}, "without it a retry may send an event twice or out of order"},
  {"enable.gapless.guarantee", {0},
   "the setting mode decides it; without it later events could pass a failed one"},
  {"acks", {"all", "-1"}, "an event counts as delivered only when all in-sync replicas have it"},
  {"max.in.flight.requests.per.connection", {"1", "2", "3", "4", "5"},
   "order holds up to 5 requests in flight, no further"},
  {"queuing.strategy", {"fifo"}, "lifo sends events out of order"},
  {"delivery.report.only.error", {"false"}, "receipts need a report for every event"},
  {"group.id", {0}, "the agent only reads back its own progress, without a consumer group"},
  {"enable.auto.commit", {0}, "the agent only reads back its own progress, without a consumer group"},
  {"auto.offset.reset", {0}, "the agent seeks its progress by itself"},
  {"isolation.level", {0}, "the agent chooses it for each look at its progress"},
  {"enable.partition.eof", {0}, "the agent chooses it for each look at its progress"},
  {"enabled_events", {0}, "the agent listens to the events that it handles"},
  {"log.queue", {0}, "the agent takes librdkafka's lines into its own log"},
  {"interceptors", {0}, "it takes code, not text"},
  {"opaque", {0}, "it takes code, not text"},
  {"default_topic_conf", {0}, "it takes code, not text"},
  {"ssl_engine_callback_data", {0}, "it takes code, not text"},
};

static const owned *owned_of(const char *canonical) {
  for (size_t i = 0; i < sizeof owned_properties / sizeof *owned_properties; i++)
    if (strcmp(owned_properties[i].name, canonical) == 0) return &owned_properties[i];
  return NULL;
}

static const char *const secrets[] = {
  "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "ssl_key",
  "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
};

bool settings_kafka_secret(const char *name) {
  for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
    if (strcmp(name, secrets[i]) == 0) return true;
  /* a property of a newer librdkafka */
  return strstr(name, "password") || strstr(name, "secret") || strstr(name, "private");
}

static bool is_callback(const char *name) {
  size_t len = strlen(name);
  return len > 3 && strcmp(name + len - 3, "_cb") == 0;
}

static bool harmless(const owned *rule, const char *value) {
  for (size_t i = 0; i < sizeof rule->allowed / sizeof *rule->allowed && rule->allowed[i]; i++)
    if (strcasecmp(rule->allowed[i], value) == 0) return true;
  return false;
}

static kv *find(const settings *s, const char *name) {
  const char *canonical = settings_kafka_canonical(name);
  for (size_t i = 0; i < s->kafka_count; i++)
    if (strcmp(settings_kafka_canonical(s->kafka[i].name), canonical) == 0) return &s->kafka[i];
  return NULL;
}

void settings_kafka_set(settings *s, problems *p, setting_place place, const char *name,
                        const char *value) {
  char quoted[SETTING_QUOTE], reason[256] = "";
  setting_quote(name, quoted, sizeof quoted);
  if (!*name) {
    problem(p, place, "a librdkafka property without a name");
    return;
  }
  const owned *rule = owned_of(settings_kafka_canonical(name));
  if (rule && !harmless(rule, value)) {
    problem(p, place, "kafka.%s cannot be set: %s", quoted, rule->why);
    return;
  }
  if (is_callback(name)) {
    problem(p, place, "kafka.%s cannot be set: it takes code, not text", quoted);
    return;
  }
  kafka_property_verdict verdict =
      s->kafka_check ? s->kafka_check(name, value, reason, sizeof reason) : KAFKA_PROPERTY_KNOWN;
  if (verdict == KAFKA_PROPERTY_UNKNOWN) {
    warning(p, place, "kafka.%s: this librdkafka has no such property; it is left out", quoted);
    return;
  }
  if (verdict == KAFKA_PROPERTY_BAD) {
    char line[256];
    problem(p, place, "kafka.%s: %s", quoted, setting_quote(reason, line, sizeof line));
    return;
  }

  char *name_copy = strdup(name), *value_copy = strdup(value);
  kv *old = find(s, name);
  kv *more = old ? s->kafka : realloc(s->kafka, (s->kafka_count + 1) * sizeof *more);
  if (more) s->kafka = more;
  if (!name_copy || !value_copy || !more) {
    free(name_copy);
    free(value_copy);
    problem(p, place, "kafka.%s does not fit into memory", quoted);
    return;
  }
  if (old) {
    free(old->name);
    free(old->value);
  } else {
    old = &s->kafka[s->kafka_count++];
  }
  *old = (kv){name_copy, value_copy};
}

/* ----------------------------------------------------------------- login --- */

bool settings_kafka_login(const char *name) {
  return strcmp(name, "security.protocol") == 0 || strncmp(name, "sasl.", 5) == 0 ||
         strncmp(name, "ssl.", 4) == 0 || strncmp(name, "ssl_", 4) == 0 ||
         strcmp(name, "enable.ssl.certificate.verification") == 0 ||
         strcmp(name, "enable.sasl.oauthbearer.unsecure.jwt") == 0;
}

static size_t count_kind(const settings *s, bool login) {
  size_t count = 0;
  for (size_t i = 0; i < s->kafka_count; i++) count += settings_kafka_login(s->kafka[i].name) == login;
  return count;
}

bool settings_kafka_same(const settings *a, const settings *b, bool login) {
  if (count_kind(a, login) != count_kind(b, login)) return false;
  for (size_t i = 0; i < a->kafka_count; i++) {
    if (settings_kafka_login(a->kafka[i].name) != login) continue;
    const kv *other = find(b, a->kafka[i].name);
    if (!other || strcmp(other->value, a->kafka[i].value) != 0) return false;
  }
  return true;
}

static bool names_a_file(const char *name) {
  const size_t len = strlen(name);
  return settings_kafka_login(name) && len > 9 && strcmp(name + len - 9, ".location") == 0;
}

bool settings_login_changed(const settings *now, const settings *next) {
  if (!settings_kafka_same(now, next, true)) return true;
  for (size_t i = 0; i < next->kafka_count; i++)
    if (names_a_file(next->kafka[i].name)) return true;
  return false;
}

/* The one's login properties and the other's rest, as one list. */
static size_t mix(kv *out, const settings *login, const settings *rest) {
  size_t n = 0;
  for (size_t i = 0; i < rest->kafka_count; i++)
    if (!settings_kafka_login(rest->kafka[i].name)) out[n++] = rest->kafka[i];
  for (size_t i = 0; i < login->kafka_count; i++)
    if (settings_kafka_login(login->kafka[i].name)) out[n++] = login->kafka[i];
  return n;
}

bool settings_kafka_swap_login(settings *now, settings *next) {
  const size_t most = now->kafka_count + next->kafka_count;
  kv *a = calloc(most + 1, sizeof *a), *b = calloc(most + 1, sizeof *b);
  if (!a || !b) {
    free(a);
    free(b);
    return false;
  }
  const size_t a_count = mix(a, next, now), b_count = mix(b, now, next);
  free(now->kafka);
  free(next->kafka);
  now->kafka = a;
  now->kafka_count = a_count;
  next->kafka = b;
  next->kafka_count = b_count;
  return true;
}

void settings_kafka_finish(const settings *s, problems *p, setting_place place) {
  kv *socket = find(s, "socket.timeout.ms");
  if (socket && strtoll(socket->value, NULL, 10) > s->txn_timeout_us / 1000)
    problem(p, place, "kafka.socket.timeout.ms (%s) is above transactions.timeout (%" PRId64 " ms); "
            "lower the one or raise the other", socket->value, s->txn_timeout_us / 1000);
}

void settings_kafka_markdown(FILE *out) {
  fputs("| librdkafka property | allowed | why |\n|---|---|---|\n", out);
  for (size_t i = 0; i < sizeof owned_properties / sizeof *owned_properties; i++) {
    const owned *o = &owned_properties[i];
    fprintf(out, "| `%s` | ", o->name);
    for (size_t k = 0; k < sizeof o->allowed / sizeof *o->allowed && o->allowed[k]; k++)
      fprintf(out, "%s`%s`", k ? ", " : "", o->allowed[k]);
    fprintf(out, "%s | %s |\n", o->allowed[0] ? "" : "nothing", o->why);
  }
  fputs("| names ending in `_cb` | nothing | they take code, not text |\n", out);
}
