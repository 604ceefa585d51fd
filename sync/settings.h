/* Every setting of sidelogd: one table in settings.c declares name, type, range, default, unit and text, and
 * drives the YAML parser, the command line, defaults, --help, --check-config and the man page. */
#ifndef SYNC_SETTINGS_H
#define SYNC_SETTINGS_H
#include <sidelog/sidelog.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum delivery_mode { MODE_EXACTLY_ONCE = 0, MODE_AT_LEAST_ONCE = 1 } delivery_mode;
typedef enum log_level { LEVEL_ERROR = 0, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG } log_level;
typedef enum log_format { FORMAT_TEXT = 0, FORMAT_JSON = 1 } log_format;

typedef struct kv { char *name; char *value; } kv;

/* A topic rule: the first whose glob fits a topic decides, field by field left 0/NULL falls to the default. */
typedef struct topic_rule {
  char *match;                /* glob over topic names */
  int64_t retention_us;       /* in the local store, after delivery; 0: the default */
  int32_t partitions;         /* when the agent creates it; 0: the default */
  int32_t replication;        /* 0: the default */
  int64_t kafka_retention_us; /* retention.ms of a created topic; 0: the default */
} topic_rule;

typedef struct settings {
  char *store;                 /* folder */
  char *brokers;               /* host:port[,...] */
  delivery_mode mode;
  /* transactions */
  int64_t latency_budget_us;   /* how long to gather before a commit; 0: at once */
  int64_t txn_max_events;      /* 1..1,000,000 */
  int64_t txn_max_bytes;
  int64_t txn_timeout_us;      /* transaction.timeout.ms */
  int64_t queue_bytes;         /* librdkafka's producer queue */
  char *transactional_id;      /* NULL: "sidelog-" and the store id */
  char *marker_topic;          /* __sidelog_progress */
  int32_t marker_partitions;   /* 50 */
  int32_t marker_replication;  /* -1: the broker's default */
  /* topics */
  bool create_topics;
  int32_t topic_partitions;    /* 3 */
  int32_t topic_replication;   /* -1: the broker's default */
  int64_t topic_retention_us;  /* 7 days */
  topic_rule *topics;
  size_t topic_count;
  /* local retention */
  int64_t retention_us;        /* settled events stay so long; 0: for ever */
  int64_t retention_bytes;     /* 0: no limit */
  /* life */
  bool drain;                  /* --drain */
  int64_t drain_timeout_us;    /* --timeout; 0: none */
  int64_t shutdown_timeout_us; /* SIGTERM to exit at the latest */
  int64_t report_interval_us;
  log_level level;
  log_format format;
  kv *kafka;                   /* librdkafka properties passed through */
  size_t kafka_count;
  char *config_path;           /* the file it came from; NULL: none */
} settings;

typedef enum settings_action {
  SETTINGS_RUN, SETTINGS_HELP, SETTINGS_VERSION, SETTINGS_CHECK_CONFIG, SETTINGS_MAN
} settings_action;

/* Defaults, then --config FILE (YAML), then the command line. Returns 0, or exit status 2 after writing each
 * problem to `errors`, one a line with file, line and remedy. An unknown librdkafka property is a warning.
 * settings_free ends it (idempotent, accepts half-built ones). */
int settings_parse(settings *out, settings_action *action, int argc, char **argv, FILE *errors);
/* Reads the file and command line again for SIGHUP. 0: *next is good. 2: problems written, nothing changed. */
int settings_reload(const settings *now, settings *next, int argc, char **argv, FILE *errors);
void settings_free(settings *settings);

void settings_help(FILE *out);
void settings_man(FILE *out);                           /* roff of sidelogd(8) */
void settings_print(const settings *settings, FILE *out); /* effective values as YAML, secrets masked */

/* The rule for a topic, every field filled from the defaults. */
topic_rule settings_topic(const settings *settings, sl_slice topic);
/* Can this setting change while running? Names of those that differ and cannot go to `errors`. */
int settings_needs_restart(const settings *now, const settings *next, FILE *errors);
#endif
