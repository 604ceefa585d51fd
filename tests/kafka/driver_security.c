/* On a cluster of broker.sh --sasl: what is said of each right that is missing. */
#include "driver.h"

/* The settings own their strings; these are literals. */
static kv pair(const char *key, const char *value) { return (kv){(char *)key, (char *)value}; }

/* On a cluster of broker.sh --sasl. */
static host *user(const char *id, const char *who, const char *password) {
  const kv p[] = {pair("security.protocol", "sasl_plaintext"), pair("sasl.mechanisms", "PLAIN"),
                  pair("sasl.username", who), pair("sasl.password", password)};
  return host_with(id, 15000, p, 4);
}

static void allow(const char *rights) {
  char command[512];
  snprintf(command, sizeof command, "%s %s acls --add --allow-principal User:agent %s >/dev/null",
           getenv("SIDELOG_BROKER_SH"), broker_dir, rights);
  if (system(command) != 0) printf("  %s failed\n", command);
}

void security(void) {
  char t[64], id[64], m[64], cluster[64], rights[256];
  kafka_topic_info info;
  kafka_marker marker;
  const kafka_topic_spec no = {0};
  host *h = user(NULL, "agent", "wrong");
  job j = {.run = do_connect, .h = h, .timeout_ms = 10000, .cluster_id = cluster};
  fault f = await(&j);
  CHECK(f.scope == SCOPE_CLUSTER && f.class_ == CLASS_NON_RETRYABLE_SECURITY && j.seconds < 4,
        "%s %s %.1f s", f.name,
        f.text, j.seconds);
  printf("  wrong password after %.1f s: %s\n", j.seconds, f.text);
  host_free(h);

  h = user(name(id, "secured"), "agent", "agent");
  j = (job){.run = do_connect, .h = h, .timeout_ms = 10000, .cluster_id = cluster};
  f = await(&j);
  OK(f);
  f = prepare(h, name(t, "secured"), &three, &info);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  printf("  no right to create: %s\n", f.text);
  f = call(h, do_init, 5000);
  CHECK(f.scope == SCOPE_CLUSTER && f.class_ == CLASS_NON_RETRYABLE_SECURITY && f.fatal, "%s %s", f.name,
        f.text);
  printf("  no right to the id: %s\n", f.text);
  host_free(h);

  host *admin = user(NULL, "admin", "admin");
  f = prepare(admin, t, &three, &info);
  OK(f);
  f = prepare(admin, name(m, "secured-markers"), &markers, &info);
  OK(f);
  host_free(admin);
  snprintf(rights, sizeof rights, "--operation Write --operation Describe --transactional-id %s", id);
  allow(rights);
  h = user(id, "agent", "agent");
  f = call(h, do_init, 5000);
  OK(f);
  f = prepare(h, t, &no, &info);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  snprintf(rights, sizeof rights, "--operation Describe --topic %s", t);
  allow(rights);
  f = prepare(h, t, &no, &info);
  OK(f);
  CHECK(info.max_message_bytes == -1, "%" PRId64, info.max_message_bytes);
  /* Describe without Write */
  f = kafka_begin(h->k);
  OK(f);
  produce(h, t, 0, "k", "v", 1, 1);
  f = call(h, do_flush, 3000);
  printf("  no right to write: record %s; flush %s; ", h->last_fault.name, f.name);
  f = call(h, do_commit, 5000);
  printf("commit %s %s (abortable %d fatal %d); ", f.name, fault_scope_text(f.scope), f.abortable, f.fatal);
  CHECK(f.class_ == CLASS_NON_RETRYABLE_SECURITY && f.scope == SCOPE_TOPIC, "%s %s", f.name, f.text);
  f = call(h, do_abort, 5000);
  printf("abort %s (fatal %d)\n", f.scope ? f.name : "ok", f.fatal);
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, NULL, 5000, &marker);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY, "%s %s", f.name, f.text);
  printf("  no right to the marker topic: %s\n", f.text);
  snprintf(rights, sizeof rights, "--operation Describe --operation Write --topic %s", m);
  allow(rights);
  double start = now();
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, NULL, 5000, &marker);
  printf("  may not read it, empty: %s (%.1f s)\n", f.scope ? f.text : "ok", now() - start);
  host_free(h);
  h = user(id, "agent", "agent");
  f = call(h, do_init, 5000);
  OK(f);
  f = prepare(h, m, &no, &info);
  OK(f);
  f = kafka_begin(h->k);
  produce(h, m, 0, "k", "v", 1, 1);
  f = call(h, do_commit, 5000);
  OK(f);
  start = now();
  f = kafka_read_marker(h->k, m, 0, SL_STR("k"), -1, NULL, 5000, &marker);
  CHECK(f.scope == SCOPE_TOPIC && f.class_ == CLASS_NON_RETRYABLE_SECURITY && now() - start < 3,
        "%s %s %.1f s", f.name,
        f.text, now() - start);
  printf("  may not read it: %s\n", f.text);
  host_free(h);
}
