/* Every setting, once. A row says how people name it, where its value lies, what it may be, and what is told of
 * it: the parser, --help, the manual pages, --print-config and docs/configuration.md are made of the rows. So a
 * new setting is a field (settings.h) and a row, and a test fails where the documents are behind.
 *
 * A row's type must be that of the field at its offset; names of an enum stand in the enum's order. The order of
 * rows is that of the documents. */
#include "settings_inner.h"

#include <limits.h>
#include <string.h>

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const char *const mode_names[] = {"exactly-once", "at-least-once", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const profile_names[] = {"infra", "bridge", "archon", NULL};
static const char *const rule_profile_names[] = {"default", "infra", "bridge", "archon", NULL};
static const char *const format_names[] = {"text", "json", NULL};

#define TAXONOMY_AT(owner, class_) \
  (offsetof(owner, taxonomy) + (class_ - CLASS_RETRYABLE_TRANSIENT) * sizeof(char *))
#define TAXONOMY(class_, preset_, text_) \
  {.group = "Events that fail by themselves", .path = "taxonomy." #class_, .type = TYPE_RETRIES, \
   .offset = TAXONOMY_AT(settings, CLASS_##class_), .min = 1, .max = 100, .preset = preset_, \
   .argument = "RETRIES", .text = text_}
#define TOPIC_TAXONOMY(class_) \
  {.path = "taxonomy." #class_, .type = TYPE_RETRIES, .offset = TAXONOMY_AT(topic_rule, CLASS_##class_), \
   .min = 1, .max = 100, .argument = "RETRIES", .text = "instead of the one for all topics"}

const setting_row settings_rows[] = {
  {.group = "What and where", .path = "store", .flag = "--store", .type = TYPE_PATH,
   .offset = offsetof(settings, store), .min = 1, .max = 4000, .flags = SETTING_RESTART, .argument = "DIR",
   .text = "folder of the local store",
   .more = "Created when missing. The default is $SIDELOG_STORE, else $XDG_STATE_HOME/sidelog/default, "
           "else ~/.local/state/sidelog/default: the same as for the command line tool."},
  {.group = "What and where", .path = "brokers", .flag = "--brokers", .type = TYPE_BROKERS,
   .offset = offsetof(settings, brokers), .min = 1, .max = 8000, .flags = SETTING_RESTART,
   .argument = "HOST:PORT[,...]",
   .text = "where the Kafka cluster is found",
   .more = "One broker is enough to find the others; name two or three so that one may be down. The port "
           "is 9092 when left out."},
  {.group = "What and where", .path = "mode", .flag = "--mode", .type = TYPE_ENUM,
   .offset = offsetof(settings, mode), .preset = "exactly-once", .names = mode_names,
   .flags = SETTING_RESTART, .argument = "MODE",
   .text = "delivery, exactly-once or at-least-once",
   .more = "exactly-once uses Kafka transactions: consumers with isolation.level=read_committed see each "
           "event once, in order. at-least-once is for brokers without transactions: an event may arrive "
           "again after a crash, with the same dedup header."},

  {.group = "Transactions", .path = "transactions.latency_budget", .type = TYPE_DURATION,
   .offset = offsetof(settings, latency_budget_us), .min = 0, .max = 5 * MINUTE, .preset = "0s",
   .flags = SETTING_RESTART, .argument = "DURATION",
   .text = "how long to gather events before a commit",
   .more = "0s delivers a lone event at once. A fleet pays per transaction, not per event: with thousands "
           "of agents on one cluster give each a few seconds. Nothing is open in Kafka while the agent "
           "gathers."},
  {.group = "Transactions", .path = "transactions.max_events", .type = TYPE_INT64,
   .offset = offsetof(settings, txn_max_events), .min = 1, .max = 1000000, .preset = "100000",
   .flags = SETTING_RESTART, .argument = "N",
   .text = "most events in one transaction",
   .more = "The size adapts by itself below this: it grows while there is a backlog, shrinks on a slow "
           "link. 10,000 reach about 0.6 of the raw rate, 50,000 0.85, 100,000 0.95."},
  {.group = "Transactions", .path = "transactions.max_bytes", .type = TYPE_SIZE,
   .offset = offsetof(settings, txn_max_bytes), .min = 64 * KIB, .max = 4 * GIB, .preset = "256MiB",
   .flags = SETTING_RESTART, .argument = "SIZE",
   .text = "most bytes of values in one transaction",
   .more = "A single event above it still goes, in a transaction of its own."},
  {.group = "Transactions", .path = "transactions.timeout", .type = TYPE_DURATION,
   .offset = offsetof(settings, txn_timeout_us), .min = 1 * SECOND, .max = 15 * MINUTE, .preset = "15s",
   .flags = SETTING_RESTART, .argument = "DURATION",
   .text = "when the broker gives up an open transaction",
   .more = "After a crash of the agent, read_committed consumers of its partitions wait up to this long "
           "and ten seconds more. The cluster's transaction.max.timeout.ms (15 minutes unless changed) "
           "bounds it. Where the round trips of a link take most of it the agent asks for more, up to "
           "transactions.timeout_max."},
  {.group = "Transactions", .path = "transactions.timeout_max", .type = TYPE_DURATION,
   .offset = offsetof(settings, txn_timeout_max_us), .min = 1 * SECOND, .max = 15 * MINUTE, .preset = "4m",
   .flags = SETTING_RESTART, .argument = "DURATION",
   .text = "the longest that the agent may make transactions.timeout",
   .more = "With round trips of a second short transactions leave the link idle most of the time, and an event "
           "may be too large to cross in one. But as long as a transaction is open, read_committed consumers of "
           "its partitions wait. Where they must not, set it to transactions.timeout or less: then none is ever "
           "longer, and what cannot cross in that time waits for a better link."},
  {.group = "Transactions", .path = "transactions.queue", .type = TYPE_SIZE,
   .offset = offsetof(settings, queue_bytes), .min = 1 * MIB, .max = 1 * GIB, .preset = "24MiB",
   .flags = SETTING_RESTART, .argument = "SIZE",
   .text = "memory for events on their way to the broker",
   .more = "This, not the size of a transaction, bounds the agent's memory. An event larger than the queue "
           "makes it grow for that event."},
  {.group = "Transactions", .path = "transactions.id", .type = TYPE_TEXT,
   .offset = offsetof(settings, transactional_id), .min = 1, .max = 249, .flags = SETTING_RESTART,
   .argument = "ID",
   .text = "transactional.id; by default sidelog- and the store's id",
   .more = "Needed only where the cluster's ACLs prescribe a name. Two stores must never share one: they "
           "would fence each other off, until one of them parks (shared-id)."},

  {.group = "The link", .path = "flow.bytes_per_second", .type = TYPE_SIZE,
   .offset = offsetof(settings, flow_bytes_per_s), .min = 1 * KIB, .max = 1 * TIB, .preset = "unlimited",
   .word = "unlimited", .word_value = 0, .flags = SETTING_RESTART, .argument = "SIZE",
   .text = "most bytes of records to the brokers in a second",
   .more = "For metered and shared links. Counted before compression, so the link carries less. What a failed "
           "transaction sent counts too. A single event above it still goes, and its debt is waited for."},
  {.group = "The link", .path = "flow.events_per_second", .type = TYPE_INT64,
   .offset = offsetof(settings, flow_events_per_s), .min = 1, .max = 100000000, .preset = "unlimited",
   .word = "unlimited", .word_value = 0, .flags = SETTING_RESTART, .argument = "N",
   .text = "most events to the brokers in a second"},
  {.group = "The link", .path = "flow.hours", .type = TYPE_HOURS,
   .offset = offsetof(settings, flow_hours), .min = 1, .max = 300, .flags = SETTING_RESTART, .argument = "SPANS",
   .text = "times of day to deliver at, local time; by default always",
   .more = "\"22:00-06:00, 12:30-13:00\" for example. A transaction that has begun is finished. Outside of them "
           "the agent stays connected and sends nothing but the client's own small requests."},

  {.group = "Progress in Kafka", .path = "progress.topic", .type = TYPE_TOPIC,
   .offset = offsetof(settings, marker_topic), .min = 1, .max = 249, .preset = "__sidelog_progress",
   .flags = SETTING_RESTART, .argument = "TOPIC",
   .text = "topic that holds how far each store is delivered",
   .more = "Compacted; each transaction writes one small record to it, and a restart reads it. Do not "
           "change it for a store that has delivered: the agent then parks, because its progress is "
           "missing."},
  {.group = "Progress in Kafka", .path = "progress.partitions", .type = TYPE_INT32,
   .offset = offsetof(settings, marker_partitions), .min = 1, .max = 10000, .preset = "50",
   .flags = SETTING_RESTART, .argument = "N",
   .text = "its partitions, when the agent creates it"},
  {.group = "Progress in Kafka", .path = "progress.replication", .type = TYPE_INT32,
   .offset = offsetof(settings, marker_replication), .min = 1, .max = 100, .preset = "broker",
   .word = "broker", .word_value = -1, .flags = SETTING_RESTART, .argument = "N",
   .text = "its replicas; broker: the cluster's default"},

  {.group = "Topics that are missing", .path = "new_topics.create", .type = TYPE_BOOL,
   .offset = offsetof(settings, create_topics), .preset = "true", .argument = "BOOL",
   .text = "create topics that events name and the cluster lacks",
   .more = "When false, events of a missing topic wait in a lane of their own while the others go on."},
  {.group = "Topics that are missing", .path = "new_topics.partitions", .type = TYPE_INT32,
   .offset = offsetof(settings, topic_partitions), .min = 1, .max = 10000, .preset = "3", .argument = "N",
   .text = "partitions of a created topic"},
  {.group = "Topics that are missing", .path = "new_topics.replication", .type = TYPE_INT32,
   .offset = offsetof(settings, topic_replication), .min = 1, .max = 100, .preset = "broker",
   .word = "broker", .word_value = -1, .argument = "N",
   .text = "its replicas; broker: the cluster's default"},
  {.group = "Topics that are missing", .path = "new_topics.retention", .type = TYPE_DURATION,
   .offset = offsetof(settings, topic_retention_us), .min = 1 * SECOND, .max = 100 * YEAR, .preset = "7d",
   .word = "forever", .word_value = INT64_MAX, .argument = "DURATION",
   .text = "its retention.ms in Kafka",
   .more = "Created topics have cleanup.policy=delete."},

  {.group = "Dead letters", .path = "dead_letters.publish", .type = TYPE_BOOL,
   .offset = offsetof(settings, letters_publish), .preset = "true", .flags = SETTING_RESTART, .argument = "BOOL",
   .text = "copy events that cannot be delivered to a dead-letter topic",
   .more = "The event itself stays in the store either way, where `sidelog dlq` shows it. A copy that cannot be "
           "written waits, and holds up nothing."},
  {.group = "Dead letters", .path = "dead_letters.topic", .type = TYPE_TEMPLATE,
   .offset = offsetof(settings, letter_topic), .min = 1, .max = 249, .preset = "{topic}.dlq",
   .flags = SETTING_RESTART, .argument = "TOPIC",
   .text = "where the copies go; {topic} is the event's topic",
   .more = "none keeps them local. An event of a dead-letter topic has no dead-letter topic itself."},
  {.group = "Dead letters", .path = "dead_letters.profile", .type = TYPE_ENUM,
   .offset = offsetof(settings, letter_profile), .preset = "infra", .names = profile_names,
   .flags = SETTING_RESTART, .argument = "PROFILE",
   .text = "shape of a copy: infra, bridge or archon"},
  {.group = "Dead letters", .path = "dead_letters.partitions", .type = TYPE_INT32,
   .offset = offsetof(settings, letter_partitions), .min = 1, .max = 10000, .preset = "1", .argument = "N",
   .text = "partitions of a created dead-letter topic"},
  {.group = "Dead letters", .path = "dead_letters.replication", .type = TYPE_INT32,
   .offset = offsetof(settings, letter_replication), .min = 1, .max = 100, .preset = "broker", .word = "broker",
   .word_value = -1, .argument = "N",
   .text = "its replicas; broker: the cluster's default"},
  {.group = "Dead letters", .path = "dead_letters.retention", .type = TYPE_DURATION,
   .offset = offsetof(settings, letter_retention_us), .min = 1 * SECOND, .max = 100 * YEAR, .preset = "30d",
   .word = "forever", .word_value = INT64_MAX, .argument = "DURATION",
   .text = "its retention.ms in Kafka"},

  TAXONOMY(RETRYABLE_TRANSIENT, "6 retries, 100ms..5s", "what a record of this class may spend"),
  TAXONOMY(RETRYABLE_DEPENDENCY, "3 retries, 500ms..10s", "likewise"),
  TAXONOMY(NON_RETRYABLE_VALIDATION, "0 retries", "likewise; 0: a dead letter at once"),
  TAXONOMY(NON_RETRYABLE_POLICY, "0 retries", "likewise"),
  {.group = "Events that fail by themselves", .path = "taxonomy.codes", .type = TYPE_CODES,
   .offset = offsetof(settings, taxonomy_codes), .min = 1, .max = 1000, .argument = "CODE=TREATMENT[,...]",
   .text = "single codes: dead-letter, lane, retry, or a class",
   .more = "Only codes that tell of one record can be given. lane: nothing is set aside, the record's topic "
           "waits in order, as one that is refused. What tells of a topic, the producer, the connection or the "
           "cluster costs no event its budget, and cannot be made to. Taken when a topic is looked up next, "
           "after five minutes at most."},

  {.group = "Watching dead letters", .path = "dlq_monitor.enabled", .type = TYPE_BOOL,
   .offset = offsetof(settings, monitor_enabled), .preset = "false", .flags = SETTING_RESTART, .argument = "BOOL",
   .text = "watch the cluster's dead-letter topics and raise alerts",
   .more = "Of letters from anybody. One agent a cluster is enough: each that watches raises its own alerts. It "
           "costs a connection, some 2 MB, a list of all topics each interval, and reading what is new in the "
           "watched ones. Not with --drain."},
  {.group = "Watching dead letters", .path = "dlq_monitor.topics", .type = TYPE_TEXT,
   .offset = offsetof(settings, monitor_topics), .min = 1, .max = 4000, .preset = "*.dlq",
   .argument = "GLOB[,...]",
   .text = "topics to watch, besides the configured dead-letter topics"},
  {.group = "Watching dead letters", .path = "dlq_monitor.interval", .type = TYPE_DURATION,
   .offset = offsetof(settings, monitor_interval_us), .min = 1 * SECOND, .max = 1 * DAY, .preset = "1m",
   .argument = "DURATION",
   .text = "how often to look"},
  {.group = "Watching dead letters", .path = "dlq_monitor.threshold", .type = TYPE_INT64,
   .offset = offsetof(settings, monitor_threshold), .min = 1, .max = 1000000000, .preset = "10", .argument = "N",
   .text = "new letters in a topic that raise an alert",
   .more = "Since its last alert, or since it was first seen. Counted as a read_committed consumer sees them."},
  {.group = "Watching dead letters", .path = "dlq_monitor.cooldown", .type = TYPE_DURATION,
   .offset = offsetof(settings, monitor_cooldown_us), .min = 0, .max = 30 * DAY, .preset = "15m",
   .argument = "DURATION",
   .text = "no second alert for a topic within so long",
   .more = "What comes meanwhile counts for the next."},
  {.group = "Watching dead letters", .path = "dlq_monitor.webhook_url", .type = TYPE_TEXT,
   .offset = offsetof(settings, monitor_webhook), .min = 1, .max = 2000, .flags = SETTING_SECRET,
   .argument = "URL",
   .text = "where each alert is POSTed as JSON; default: nowhere",
   .more = "http:// or https://, with the certificates that libcurl trusts. Treated as a secret."},
  {.group = "Watching dead letters", .path = "dlq_monitor.webhook_header", .type = TYPE_TEXT,
   .offset = offsetof(settings, monitor_header), .min = 3, .max = 4000, .flags = SETTING_SECRET,
   .argument = "HEADER",
   .text = "a header of that request, as \"Authorization: Bearer ...\"",
   .more = "Treated as a secret."},

  {.group = "Refusals",
   .path = "refused_retry", .type = TYPE_DURATION, .offset = offsetof(settings, refused_retry_us),
   .min = 100 * MS, .max = 1 * HOUR, .preset = "30s", .flags = SETTING_RESTART, .argument = "DURATION",
   .text = "how often a refused topic or cluster is tried again",
   .more = "A topic that cannot be written waits in a lane of its own, and an agent without rights is parked, "
           "until a try succeeds: nobody needs to restart it once the rights are mended."},
  {.group = "Refusals", .path = "lanes.max_age", .type = TYPE_DURATION,
   .offset = offsetof(settings, lane_max_age_us), .min = 1 * SECOND, .max = 100 * YEAR, .preset = "7d",
   .word = "never", .word_value = 0, .argument = "DURATION",
   .text = "how long an event waits for a topic that is refused",
   .more = "Counted from the append; then it becomes a dead letter. Only a topic that an answering cluster has "
           "refused for ten times refused_retry counts: an outage, however long, sets nothing aside."},
  {.group = "Refusals", .path = "lanes.quota_share", .type = TYPE_INT32, .offset = offsetof(settings, lane_share),
   .min = 1, .max = 100, .preset = "25", .word = "unlimited", .word_value = 0, .argument = "PERCENT",
   .text = "how much of the quota may be kept for refused topics",
   .more = "The log behind the oldest event that waits for such a topic cannot be trimmed. Beyond the share the "
           "oldest of them become dead letters, under the same condition."},

  {.group = "The local store",
   .path = "retention.age", .type = TYPE_DURATION, .offset = offsetof(settings, retention_us),
   .min = 1 * SECOND, .max = 100 * YEAR, .preset = "7d", .word = "forever", .word_value = 0,
   .argument = "DURATION",
   .text = "how long settled events stay to be asked about",
   .more = "Counted from the append. An event that still waits for delivery is never removed."},
  {.group = "The local store", .path = "retention.bytes", .type = TYPE_SIZE,
   .offset = offsetof(settings, retention_bytes), .min = 1 * MIB, .max = 1024 * TIB, .preset = "unlimited",
   .word = "unlimited", .word_value = 0, .argument = "SIZE",
   .text = "most bytes of events to keep; oldest go first"},

  {.group = "Running",
   .path = NULL, .flag = "--drain", .type = TYPE_BOOL, .offset = offsetof(settings, drain),
   .preset = "false", .flags = SETTING_LINE_ONLY | SETTING_RESTART,
   .text = "deliver what is there now, then exit",
   .more = "Exits with 0 once everything appended before the start is settled, 5 at the timeout, 4 at once "
           "when parked."},
  {.group = "Running", .path = NULL, .flag = "--timeout", .type = TYPE_DURATION,
   .offset = offsetof(settings, drain_timeout_us), .min = 1 * MS, .max = YEAR, .preset = "none",
   .word = "none", .word_value = 0, .flags = SETTING_LINE_ONLY | SETTING_RESTART | SETTING_SECONDS,
   .argument = "SECONDS",
   .text = "with --drain: give up after so long"},
  {.group = "Running", .path = "shutdown_timeout", .type = TYPE_DURATION,
   .offset = offsetof(settings, shutdown_timeout_us), .min = 0, .max = 5 * MINUTE, .preset = "10s",
   .argument = "DURATION",
   .text = "from SIGTERM to the exit, at the latest",
   .more = "Within it the transaction at hand is committed. Cut short, nothing is lost: the next start "
           "finds out what arrived. A broker that has said nothing for 3 s, and longer on a slow link, is not "
           "waited for any more."},
  {.group = "Running", .path = "report_interval", .type = TYPE_DURATION,
   .offset = offsetof(settings, report_interval_us), .min = 100 * MS, .max = 10 * SECOND, .preset = "1s",
   .argument = "DURATION",
   .text = "how often the agent says how it is",
   .more = "Read by `sidelog status`."},
  {.group = "Running", .path = "log.level", .flag = "--log-level", .type = TYPE_ENUM,
   .offset = offsetof(settings, level), .preset = "info", .names = level_names, .argument = "LEVEL",
   .text = "how much to say: error, warn, info or debug"},
  {.group = "Running", .path = "log.format", .flag = "--log-format", .type = TYPE_ENUM,
   .offset = offsetof(settings, format), .preset = "text", .names = format_names, .argument = "FORMAT",
   .text = "how to say it, on standard error: text or json"},
  {.group = "Running", .path = "debug.history", .type = TYPE_PATH, .offset = offsetof(settings, history),
   .min = 1, .max = 4000, .flags = SETTING_RESTART, .argument = "FILE",
   .text = "file to record each step of delivery in; default: none",
   .more = "For a failure that cannot be explained: `sidelogd --replay-history FILE` repeats it, step by step. "
           "No key, header or value of an event is in it; topics, numbers and error texts are. About 15 bytes "
           "an event."},
  {.group = "Running", .path = "debug.history_size", .type = TYPE_SIZE,
   .offset = offsetof(settings, history_bytes), .min = 64 * KIB, .max = 64 * GIB, .preset = "64MiB",
   .flags = SETTING_RESTART, .argument = "SIZE",
   .text = "most bytes of it, about; the older half is in FILE.1"},
};
const size_t settings_row_count = sizeof settings_rows / sizeof *settings_rows;

const setting_row settings_topic_rows[] = {
  {.path = "match", .type = TYPE_TEXT, .offset = offsetof(topic_rule, match), .min = 1, .max = 1000,
   .flags = SETTING_REQUIRED, .argument = "GLOB",
   .text = "topics it is for: * any text, ? one character, [a-z]"},
  {.path = "retention", .type = TYPE_DURATION, .offset = offsetof(topic_rule, retention_us),
   .min = 1 * SECOND, .max = 100 * YEAR, .word = "forever", .word_value = INT64_MAX, .argument = "DURATION",
   .text = "instead of retention.age"},
  {.path = "partitions", .type = TYPE_INT32, .offset = offsetof(topic_rule, partitions), .min = 1,
   .max = 10000, .argument = "N",
   .text = "instead of new_topics.partitions"},
  {.path = "replication", .type = TYPE_INT32, .offset = offsetof(topic_rule, replication), .min = 1,
   .max = 100, .word = "broker", .word_value = -1, .argument = "N",
   .text = "instead of new_topics.replication"},
  {.path = "kafka_retention", .type = TYPE_DURATION, .offset = offsetof(topic_rule, kafka_retention_us),
   .min = 1 * SECOND, .max = 100 * YEAR, .word = "forever", .word_value = INT64_MAX, .argument = "DURATION",
   .text = "instead of new_topics.retention"},
  {.path = "lane_max_age", .type = TYPE_DURATION, .offset = offsetof(topic_rule, lane_max_age_us),
   .min = 1 * SECOND, .max = 100 * YEAR, .word = "never", .word_value = INT64_MAX, .argument = "DURATION",
   .text = "instead of lanes.max_age"},
  {.path = "dead_letter_topic", .type = TYPE_TEMPLATE, .offset = offsetof(topic_rule, letter_topic), .min = 1,
   .max = 249, .argument = "TOPIC",
   .text = "instead of dead_letters.topic"},
  {.path = "dead_letter_profile", .type = TYPE_ENUM, .offset = offsetof(topic_rule, letter_profile),
   .names = rule_profile_names, .argument = "PROFILE",
   .text = "instead of dead_letters.profile"},
  TOPIC_TAXONOMY(RETRYABLE_TRANSIENT),
  TOPIC_TAXONOMY(RETRYABLE_DEPENDENCY),
  TOPIC_TAXONOMY(NON_RETRYABLE_VALIDATION),
  TOPIC_TAXONOMY(NON_RETRYABLE_POLICY),
  {.path = "taxonomy.codes", .type = TYPE_CODES, .offset = offsetof(topic_rule, taxonomy_codes), .min = 1,
   .max = 1000, .argument = "CODE=TREATMENT[,...]",
   .text = "on top of those for all topics; default: as if not given"},
};
const size_t settings_topic_row_count = sizeof settings_topic_rows / sizeof *settings_topic_rows;

const char *const settings_groups[] = {"transactions", "flow", "progress", "new_topics", "dead_letters",
                                       "taxonomy", "dlq_monitor", "lanes", "retention", "log", "debug",
                                       "topics", "kafka", NULL};

const setting_option settings_options[] = {
  {"--config", NULL, "FILE", "read settings from this YAML file"},
  {"--set", NULL, "NAME=VALUE", "make any setting, by its name in the file"},
  {"-X", NULL, "NAME=VALUE", "pass a property to librdkafka"},
  {"--check", NULL, NULL, "connect and say what is missing there: rights, topics, limits; send nothing, and exit"},
  {"--json", NULL, NULL, "with --check: one JSON object a line"},
  {"--adopt", NULL, "[=CHOICE]",
   "where store and cluster do not fit: what was found and the choices, or follow one, and exit"},
  {"--replay-history", NULL, "FILE", "repeat what debug.history recorded, step by step, compare, and exit"},
  {"--check-config", NULL, NULL, "say whether the configuration is fine, and exit"},
  {"--print-config", NULL, NULL, "print the settings in effect as YAML, and exit"},
  {"--man", NULL, NULL, "print the manual page (for man -l -), and exit"},
  {"--help", "-h", NULL, "print this, and exit"},
  {"--version", "-V", NULL, "print the version, and exit"},
};
const size_t settings_option_count = sizeof settings_options / sizeof *settings_options;

const setting_row *settings_row_of_path(const char *path) {
  for (size_t i = 0; i < settings_row_count; i++)
    if (settings_rows[i].path && strcmp(settings_rows[i].path, path) == 0) return &settings_rows[i];
  return NULL;
}

size_t settings_distance(const char *a, const char *b, size_t limit) {
  enum { LONGEST = 64 };
  size_t la = strlen(a), lb = strlen(b);
  if (la > LONGEST || lb > LONGEST) return limit + 1;
  size_t row[LONGEST + 1];
  for (size_t j = 0; j <= lb; j++) row[j] = j;
  for (size_t i = 1; i <= la; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      size_t best = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[lb] > limit ? limit + 1 : row[lb];
}

static const char *last_part(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? dot + 1 : path;
}

const char *settings_nearest(const setting_row *rows, size_t count, const char *path) {
  const char *found = NULL;
  size_t best = strlen(path) / 3 < 2 ? 2 : strlen(path) / 3;
  for (size_t i = 0; i < count; i++) {
    if (!rows[i].path) continue;
    size_t d = settings_distance(path, rows[i].path, best);
    if (d < best || (d == best && !found)) best = d, found = rows[i].path;
  }
  for (size_t i = 0; rows == settings_rows && settings_groups[i]; i++) {
    size_t d = settings_distance(path, settings_groups[i], best);
    if (d < best || (d == best && !found)) best = d, found = settings_groups[i];
  }
  if (found) return found;
  /* the right word in the wrong group, or without one */
  for (size_t i = 0; i < count; i++)
    if (rows[i].path && settings_distance(last_part(path), last_part(rows[i].path), 1) <= 1)
      return rows[i].path;
  return NULL;
}
