/* Every setting of sidelogd. One table (settings_table.c) declares name, type, range, default and text; it
 * drives the YAML parser, the command line, defaults, --help, --check-config, the man page and
 * docs/configuration.md. Precedence: defaults < environment ($SIDELOG_STORE) < file < command line. */
#ifndef SYNC_SETTINGS_H
#define SYNC_SETTINGS_H
#include "core/fault.h"
#include <sidelog/sidelog.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum delivery_mode { MODE_EXACTLY_ONCE = 0, MODE_AT_LEAST_ONCE = 1 } delivery_mode;
typedef enum log_level { LEVEL_ERROR = 0, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG } log_level;
typedef enum log_format { FORMAT_TEXT = 0, FORMAT_JSON = 1 } log_format;

typedef struct kv { char *name; char *value; } kv;

/* The classes whose budget can be set: from RETRYABLE_TRANSIENT to NON_RETRYABLE_POLICY. The others have none. */
enum { TAXONOMY_CLASSES = CLASS_NON_RETRYABLE_POLICY - CLASS_RETRYABLE_TRANSIENT + 1 };

/* A topic rule: the first whose glob fits a topic decides; its fields left 0/NULL fall to the default. */
typedef struct topic_rule {
  char *match;                /* glob over topic names */
  int64_t retention_us;       /* in the local store, once settled; 0: the default, INT64_MAX: for ever */
  int32_t partitions;         /* when the agent creates it; 0: the default */
  int32_t replication;        /* 0: the default, -1: the broker's */
  int64_t kafka_retention_us; /* retention.ms of a created topic; 0: the default, INT64_MAX: for ever */
  int64_t lane_max_age_us;    /* of events that wait while the topic is refused; 0: default, INT64_MAX: never */
  char *letter_topic;         /* of its dead letters, as dead_letters.topic; NULL: the default */
  int letter_profile;         /* 0: the default, else 1 and a letter_profile */
  char *taxonomy[TAXONOMY_CLASSES]; /* as in settings; NULL: the default */
  char *taxonomy_codes;       /* on top of the default's */
} topic_rule;

typedef enum letter_profile { PROFILE_INFRA = 0, PROFILE_BRIDGE, PROFILE_ARCHON } letter_profile;

/* What the Kafka client says to a property of the `kafka:` map. */
typedef enum kafka_property_verdict {
  KAFKA_PROPERTY_KNOWN = 0, /* and this value is fine */
  KAFKA_PROPERTY_UNKNOWN,   /* a warning: it is left out */
  KAFKA_PROPERTY_BAD        /* an error: `reason` says why the value cannot be */
} kafka_property_verdict;
typedef kafka_property_verdict kafka_property_check(const char *name, const char *value, char *reason,
                                                    size_t cap);

typedef struct settings {
  char *store;                 /* folder */
  char *brokers;               /* host:port[,...] */
  delivery_mode mode;
  /* transactions */
  int64_t latency_budget_us;   /* how long to gather before a commit; 0: at once */
  int64_t txn_max_events;      /* 1..1,000,000 */
  int64_t txn_max_bytes;
  int64_t txn_timeout_us;      /* transaction.timeout.ms */
  int64_t txn_timeout_max_us;  /* what the core may make of it */
  int64_t queue_bytes;         /* librdkafka's producer queue */
  /* what may go to the brokers */
  int64_t flow_bytes_per_s;    /* before compression; 0: no limit */
  int64_t flow_events_per_s;   /* 0: no limit */
  char *flow_hours;            /* hours.h; NULL: always */
  char *transactional_id;      /* NULL: "sidelog-" and the store id */
  char *marker_topic;          /* __sidelog_progress */
  int32_t marker_partitions;   /* 50 */
  int32_t marker_replication;  /* -1: the broker's default */
  /* topics */
  bool create_topics;
  int32_t topic_partitions;    /* 3 */
  int32_t topic_replication;   /* -1: the broker's default */
  int64_t topic_retention_us;  /* 7 days; INT64_MAX: for ever */
  topic_rule *topics;
  size_t topic_count;
  int64_t lane_max_age_us;     /* events of a refused topic become dead letters after so long; 0: never */
  int32_t lane_share;          /* percent of the quota that lanes may keep; 0: no limit */
  /* dead letters */
  bool letters_publish;
  char *letter_topic;          /* template: {topic} stands for the event's */
  letter_profile letter_profile;
  int32_t letter_partitions;   /* of a created dead-letter topic */
  int32_t letter_replication;  /* -1: the broker's default */
  int64_t letter_retention_us; /* INT64_MAX: for ever */
  char *taxonomy[TAXONOMY_CLASSES]; /* "6 retries, 100ms..5s"; in the order of fault_class */
  char *taxonomy_codes;        /* "MSG_SIZE_TOO_LARGE=lane, ..."; NULL: none */
  /* the monitor of dead-letter topics */
  bool monitor_enabled;
  char *monitor_topics;        /* globs, separated by commas; the configured dead-letter topics besides */
  int64_t monitor_interval_us;
  int64_t monitor_threshold;
  int64_t monitor_cooldown_us;
  char *monitor_webhook;       /* URL, http or https; NULL: none. A secret, as is the header */
  char *monitor_header;        /* "Name: value"; NULL: none */
  int64_t refused_retry_us;    /* lanes and PARK_REFUSED are tried again after so long */
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
  char *history;               /* file of the delivery core's history; NULL: none is kept */
  int64_t history_bytes;
  kv *kafka;                   /* librdkafka properties passed through; none that the protocol owns */
  size_t kafka_count;
  const char *choice;          /* of --adopt=CHOICE or --replay-history FILE, in argv; NULL: none */
  bool json;                   /* --json, of --check */
  char *config_path;           /* the file it came from; NULL: none */
  size_t file_settings;        /* how many settings that file makes */
  size_t line_settings;        /* how many the command line makes */
  kafka_property_check *kafka_check; /* NULL: property names and values were not looked at */
} settings;

typedef enum settings_action {
  SETTINGS_RUN, SETTINGS_HELP, SETTINGS_VERSION, SETTINGS_CHECK_CONFIG, SETTINGS_MAN, SETTINGS_PRINT,
  SETTINGS_CHECK, SETTINGS_ADOPT, SETTINGS_REPLAY
} settings_action;

/* Reads everything in order of precedence. Returns 0, or exit status 2 after writing each problem to
 * `errors`, one a line with file, line, column, the key and the remedy. Warnings go there too and begin
 * with "warning:" after the place. `check` may be NULL. *out is valid either way; settings_free ends it. */
int settings_parse_checked(settings *out, settings_action *action, int argc, char **argv,
                           kafka_property_check *check, FILE *errors);
/* Reads the file and command line again for SIGHUP, with the check that *now was read with. 0: *next is
 * good; ask settings_needs_restart what of it can be taken. 2: problems written, *next is empty, nothing
 * changed. */
int settings_reload(const settings *now, settings *next, int argc, char **argv, FILE *errors);
/* Idempotent; accepts half-built and zeroed ones, leaves it zeroed. */
void settings_free(settings *settings);

/* Does what an action asks for that needs the settings alone; returns the exit status (0; 2 for the others: RUN,
 * CHECK, ADOPT and REPLAY). */
int settings_act(settings_action action, const settings *settings, FILE *out);

void settings_help(FILE *out);
void settings_man(FILE *out);                             /* roff of sidelogd(8) */
void settings_man_yaml(FILE *out);                        /* roff of sidelogd.yaml(5) */
void settings_markdown(FILE *out);                        /* the tables of docs/configuration.md */
void settings_print(const settings *settings, FILE *out); /* effective values as YAML, secrets masked */

/* The rule for a topic, every field filled from the defaults. `match` is the rule's (NULL: none fitted) and lives
 * as long as the settings. retention_us is 0 for "for ever" here, as sl_trim_policy wants it; kafka_retention_us
 * keeps INT64_MAX (as milliseconds still a legal retention.ms); lane_max_age_us is 0 for never. */
topic_rule settings_topic(const settings *settings, sl_slice topic);

/* What the records of a topic may spend when they fail by their own fault. */
void settings_rules(const settings *settings, sl_slice topic, fault_rules *out);

/* The dead-letter topic of a topic, into `out`. False: it has none (it is one itself, or the configuration says
 * none, or the name would be too long). */
bool settings_letter_topic(const settings *settings, sl_slice topic, char out[250]);
/* Is this a dead-letter topic, by what the configuration says? */
bool settings_is_letter_topic(const settings *settings, sl_slice topic);
/* Does dlq_monitor watch this topic? */
bool settings_monitors(const settings *settings, sl_slice topic);

/* How many settings differ and cannot change while running; their names go to `errors` (may be NULL), one
 * a line. Of the `kafka:` map only what settings_kafka_login names can. */
int settings_needs_restart(const settings *now, const settings *next, FILE *errors);
/* Moves the settings that can change while running from *next to *now, and what they replace to *next, so
 * that settings_free(next) ends the old ones: nobody may keep pointers into *now over this call. False: out of
 * memory, nothing was moved. */
bool settings_take(settings *now, settings *next);

/* How the agent says who it is and whom it trusts: security.protocol, sasl.*, ssl.*. */
bool settings_kafka_login(const char *name);
/* Would a Kafka handle of *next log in otherwise than one of *now? True also where a property names a file (a
 * certificate, a key): what is in it may have changed. */
bool settings_login_changed(const settings *now, const settings *next);

/* True for names whose value must never be shown (passwords, keys, tokens). */
bool settings_kafka_secret(const char *name);
#endif
