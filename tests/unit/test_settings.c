/* The table itself, precedence, what the settings turn into, and changes while running. */
#include "settings_help.h"

static void rows_are_sound(void **state) {
  (void)state;
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    assert_true(row->path || row->flag);
    assert_non_null(row->group);
    assert_non_null(row->text);
    assert_true(strlen(row->text) <= 60);
    assert_int_not_equal(row->text[strlen(row->text) - 1], '.');
    if (row->more) assert_int_equal(row->more[strlen(row->more) - 1], '.');
    assert_true(row->path != NULL || (row->flags & SETTING_LINE_ONLY));
    if (row->type == TYPE_ENUM) assert_non_null(row->names);
    else if (row->type != TYPE_BOOL) assert_true(row->min < row->max);
    if (row->type == TYPE_INT32) assert_true(row->min >= INT32_MIN && row->max <= INT32_MAX);
    for (size_t k = 0; k < i; k++) {
      if (row->path && settings_rows[k].path) assert_string_not_equal(row->path, settings_rows[k].path);
      if (row->flag && settings_rows[k].flag) assert_string_not_equal(row->flag, settings_rows[k].flag);
      assert_int_not_equal(row->offset, settings_rows[k].offset);
    }
  }
}

/* Every default parses, lies in its range, and is written as settings_print would write it. */
static void defaults_are_sound(void **state) {
  (void)state;
  for (size_t i = 0; i < settings_row_count; i++) {
    const setting_row *row = &settings_rows[i];
    settings s = {0};
    char reason[512] = "", text[512];
    if (!row->preset) continue;
    if (!setting_assign(row, &s, row->preset, reason, sizeof reason))
      fail_msg("%s: %s", row->path ? row->path : row->flag, reason);
    setting_format(row, &s, text, sizeof text);
    assert_string_equal(text, row->preset);
    settings_free(&s);
  }
}

/* The ends of every range are inside, what is beyond them is not. */
static void ranges_hold(void **state) {
  (void)state;
  const struct { const setting_row *rows; size_t count; } tables[] = {
    {settings_rows, settings_row_count}, {settings_topic_rows, settings_topic_row_count}};
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < tables[t].count; i++) {
      const setting_row *row = &tables[t].rows[i];
      if (row->type != TYPE_INT32 && row->type != TYPE_INT64 && row->type != TYPE_SIZE
          && row->type != TYPE_DURATION)
        continue;
      const char *unit = row->type == TYPE_SIZE ? "B" : row->type == TYPE_DURATION ? "us" : "";
      const struct { int64_t value; bool good; } cases[] = {
        {row->min, true}, {row->max, true}, {row->max + 1, false},
        {row->min - 1, row->word && row->word_value == row->min - 1}};
      for (size_t k = 0; k < 4; k++) {
        union { settings s; topic_rule r; } base = {0};
        char text[64], reason[512] = "";
        snprintf(text, sizeof text, "%lld%s", (long long)cases[k].value, unit);
        if (setting_assign(row, &base, text, reason, sizeof reason) != cases[k].good)
          fail_msg("%s = %s: %s", row->path, text, reason);
      }
    }
}

static void groups_are_those_of_the_rows(void **state) {
  (void)state;
  size_t known = 0;
  for (size_t i = 0; i < settings_row_count; i++) {
    const char *path = settings_rows[i].path, *dot = path ? strchr(path, '.') : NULL;
    bool found = !dot;
    for (size_t g = 0; settings_groups[g] && !found; g++)
      found = strlen(settings_groups[g]) == (size_t)(dot - path)
              && strncmp(settings_groups[g], path, (size_t)(dot - path)) == 0;
    if (!found) fail_msg("%s: its group is not in settings_groups", path);
  }
  while (settings_groups[known]) known++;
  assert_string_equal(settings_groups[known - 2], "topics");
  assert_string_equal(settings_groups[known - 1], "kafka");
}

static void defaults_are_the_measured_ones(void **state) {
  (void)state;
  parsed p = parse(NULL, "--brokers localhost", NULL);
  assert_int_equal(p.status, 0);
  assert_string_equal(p.said, "");
  assert_int_equal(p.action, SETTINGS_RUN);
  assert_string_equal(p.s.store, "/home/tester/.local/state/sidelog/default");
  assert_string_equal(p.s.brokers, "localhost");
  assert_int_equal(p.s.mode, MODE_EXACTLY_ONCE);
  assert_int_equal(p.s.latency_budget_us, 0);
  assert_int_equal(p.s.txn_max_events, 100000);
  assert_int_equal(p.s.txn_timeout_us, 15000000);
  assert_int_equal(p.s.queue_bytes, 24 << 20);
  assert_null(p.s.transactional_id);
  assert_string_equal(p.s.marker_topic, "__sidelog_progress");
  assert_int_equal(p.s.marker_partitions, 50);
  assert_int_equal(p.s.marker_replication, -1);
  assert_true(p.s.create_topics);
  assert_int_equal(p.s.topic_partitions, 3);
  assert_int_equal(p.s.topic_replication, -1);
  assert_int_equal(p.s.topic_retention_us, INT64_C(604800000000));
  assert_int_equal(p.s.retention_us, INT64_C(604800000000));
  assert_int_equal(p.s.retention_bytes, 0);
  assert_false(p.s.drain);
  assert_int_equal(p.s.shutdown_timeout_us, 10000000);
  assert_int_equal(p.s.report_interval_us, 1000000);
  assert_int_equal(p.s.level, LEVEL_INFO);
  assert_int_equal(p.s.format, FORMAT_TEXT);
  parsed_free(&p);
}

static void later_sources_win(void **state) {
  (void)state;
  const char *yaml = "brokers: b\nstore: /from/file\nlog: {level: warn}\nkafka: {client.id: file, "
      "linger.ms: 1}\n";
  setenv("XDG_STATE_HOME", "relative", 1); /* to be ignored, says its specification */
  parsed p = parse(NULL, "--brokers b", NULL);
  assert_string_equal(p.s.store, "/home/tester/.local/state/sidelog/default");
  parsed_free(&p);
  setenv("XDG_STATE_HOME", "/state", 1);
  p = parse(NULL, "--brokers b", NULL);
  assert_string_equal(p.s.store, "/state/sidelog/default");
  parsed_free(&p);
  setenv("SIDELOG_STORE", "/from/environment", 1);
  p = parse(NULL, "--brokers b", NULL);
  assert_string_equal(p.s.store, "/from/environment");
  parsed_free(&p);
  p = parse(yaml, "", NULL);
  assert_string_equal(p.s.store, "/from/file");
  assert_int_equal(p.s.level, LEVEL_WARN);
  parsed_free(&p);
  p = parse(yaml, "--store=/from/line --log-level error --set log.level=debug -X queue.buffering.max.ms=9",
                     NULL);
  assert_int_equal(p.status, 0);
  assert_string_equal(p.s.store, "/from/line");
  assert_int_equal(p.s.level, LEVEL_DEBUG);
  assert_int_equal(p.s.kafka_count, 2); /* two names of one property */
  assert_string_equal(p.s.kafka[0].value, "file");
  assert_string_equal(p.s.kafka[1].name, "queue.buffering.max.ms");
  assert_string_equal(p.s.kafka[1].value, "9");
  parsed_free(&p);
  unsetenv("XDG_STATE_HOME");
  unsetenv("SIDELOG_STORE");
}

static void a_store_is_needed(void **state) {
  (void)state;
  unsetenv("HOME");
  parsed p = parse(NULL, "--brokers b", NULL);
  assert_int_equal(p.status, 2);
  assert_non_null(strstr(p.said, "no store: give --store DIR"));
  parsed_free(&p);
  setenv("HOME", "/home/tester", 1);
  p = parse(NULL, "--brokers b --store ~/here", NULL);
  assert_string_equal(p.s.store, "/home/tester/here");
  parsed_free(&p);
}

static void drain_and_timeout(void **state) {
  (void)state;
  parsed p = parse(NULL, "--brokers b --drain --timeout 2.5", NULL);
  assert_int_equal(p.status, 0);
  assert_true(p.s.drain);
  assert_int_equal(p.s.drain_timeout_us, 2500000);
  parsed_free(&p);
  p = parse(NULL, "--brokers b --drain --timeout 1m30s", NULL);
  assert_int_equal(p.s.drain_timeout_us, 90000000);
  parsed_free(&p);
}

static void units(void **state) {
  (void)state;
  const struct { const char *path, *text; int64_t value; } good[] = {
    {"retention.age", "7d", INT64_C(604800000000)}, {"retention.age", "1h30m", INT64_C(5400000000)},
    {"retention.age", "1d 12h", INT64_C(129600000000)}, {"retention.age", "forever", 0},
    {"retention.age", "0", 0}, {"retention.age", "2.5s", 2500000},
    {"report_interval", "100ms", 100000}, {"transactions.latency_budget", "0", 0},
    {"transactions.latency_budget", "250 ms", 250000},
    {"retention.bytes", "10 GB", INT64_C(10000000000)}, {"retention.bytes", "10GiB", INT64_C(10737418240)},
    {"retention.bytes", "10gib", INT64_C(10737418240)}, {"retention.bytes", "2000000", 2000000},
    {"retention.bytes", "2_000_000", 2000000}, {"retention.bytes", "unlimited", 0},
    {"retention.bytes", "1.5MiB", 1572864}, {"transactions.max_events", "1_000_000", 1000000},
  };
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    const setting_row *row = settings_row_of_path(good[i].path);
    settings s = {0};
    char reason[512] = "";
    if (!setting_assign(row, &s, good[i].text, reason, sizeof reason))
      fail_msg("%s: %s", good[i].text, reason);
    assert_int_equal(*(int64_t *)(void *)((char *)&s + row->offset), good[i].value);
  }
  const struct { const char *path, *text; } bad[] = {
    {"retention.age", "7"}, {"retention.age", ""}, {"retention.age", "-7d"}, {"retention.age", "7x"},
    {"retention.age", "7dd"}, {"retention.age", "d"}, {"retention.age", "1.d"}, {"retention.age", "7d 3"},
    {"retention.age", "99999999999999999999d"}, {"retention.age", "9223372036854775807d"},
    {"retention.age", "7D"}, {"retention.age", "7M"}, {"retention.bytes", "10G"}, {"retention.bytes",
       "1GiB 5MiB"},
    {"retention.bytes", "-1"}, {"retention.bytes", "8388608TiB"}, {"retention.bytes", "0x100000"},
    {"transactions.max_events", "1e5"}, {"transactions.max_events", "10.5"}, {"transactions.max_events",
       "_5"},
    {"transactions.max_events", "5_"}, {"transactions.max_events", "99999999999999999999"},
    {"new_topics.create", "2"}, {"new_topics.create", ""}, {"new_topics.replication", "0"},
    {"progress.topic", "a/b"}, {"progress.topic", ".."}, {"store", "a\nb"}, {"store", "\xff"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    settings s = {0};
    char reason[512] = "";
    if (setting_assign(settings_row_of_path(bad[i].path), &s, bad[i].text, reason, sizeof reason))
      fail_msg("%s took '%s'", bad[i].path, bad[i].text);
    assert_true(strlen(reason) > 5);
    settings_free(&s);
  }
}

static void rules_for_topics(void **state) {
  (void)state;
  parsed p = parse("brokers: b\nretention: {age: forever}\nnew_topics: {replication: 3}\ntopics:\n"
                   "  - {match: '*.audit.*', retention: forever, partitions: 12, kafka_retention: forever}\n"
                   "  - {match: 'dev.*', retention: 1d, replication: broker}\n"
                   "  - match: '*.audit.never'\n    partitions: 99\n", "", NULL);
  assert_string_equal(p.said, "");
  topic_rule r = settings_topic(&p.s, SL_STR("x.audit.never"));
  assert_string_equal(r.match, "*.audit.*");
  assert_int_equal(r.retention_us, 0);
  assert_int_equal(r.partitions, 12);
  assert_int_equal(r.replication, 3);
  assert_int_equal(r.kafka_retention_us, INT64_MAX);
  r = settings_topic(&p.s, SL_STR("dev.a"));
  assert_int_equal(r.retention_us, INT64_C(86400000000));
  assert_int_equal(r.partitions, 3);
  assert_int_equal(r.replication, -1);
  r = settings_topic(&p.s, SL_STR("other"));
  assert_null(r.match);
  assert_int_equal(r.retention_us, 0);
  assert_int_equal(r.kafka_retention_us, INT64_C(604800000000));
  parsed_free(&p);
}

static void reload(void **state) {
  (void)state;
  parsed p = parse("brokers: b\nlog: {level: warn}\ntopics: [{match: a}]\nkafka: {a: 1, b: 2}\n",
                     "--set store=/s",
                   NULL);
  char *argv[] = {(char *)"sidelogd", (char *)"--config", (char *)YAML_FILE, (char *)"--set",
      (char *)"store=/s"};
  char *said = NULL;
  size_t len = 0;
  settings next;

  const char *broken = "brokers: b\nlog: {level: loud}\n";
  write_file(YAML_FILE, broken, strlen(broken));
  FILE *errors = open_memstream(&said, &len);
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, errors), 2);
  fclose(errors);
  assert_string_equal(said, YAML_FILE ":2:14: log.level 'loud' is none of error, warn, info, debug\n");
  free(said);

  const char *fine = "brokers: c\nlog: {level: debug}\nretention: {age: 1d}\ntopics: [{match: x}, {match: "
      "y}]\n"
                     "kafka: {b: 2, a: 1}\n";
  write_file(YAML_FILE, fine, strlen(fine));
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  errors = open_memstream(&said, &len);
  assert_int_equal(settings_needs_restart(&p.s, &next, errors), 1);
  fclose(errors);
  assert_string_equal(said, "brokers\n");
  free(said);
  assert_false(settings_login_changed(&p.s, &next));
  assert_true(settings_take(&p.s, &next));
  settings_free(&next);
  assert_string_equal(p.s.brokers, "b");
  assert_int_equal(p.s.level, LEVEL_DEBUG);
  assert_int_equal(p.s.retention_us, INT64_C(86400000000));
  assert_int_equal(p.s.topic_count, 2);
  assert_string_equal(p.s.topics[1].match, "y");

  const char *other = "brokers: b\nmode: at-least-once\nkafka: {a: 1, b: 3}\n";
  write_file(YAML_FILE, other, strlen(other));
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  assert_int_equal(settings_needs_restart(&p.s, &next, NULL), 2);
  settings_free(&next);
  settings_free(&next); /* idempotent */
  parsed_free(&p);
}

/* Credentials change while the agent runs; what else is in the map waits for a restart. */
static void reload_of_credentials(void **state) {
  (void)state;
  const char *before = "brokers: b\nkafka: {sasl.password: old, sasl.username: u, linger.ms: 5, ssl.key.password: k}\n";
  parsed p = parse(before, "--set store=/s", NULL);
  char *argv[] = {(char *)"sidelogd", (char *)"--config", (char *)YAML_FILE, (char *)"--set", (char *)"store=/s"};
  settings next;
  const char *after = "brokers: b\nkafka: {linger.ms: 6, sasl.password: new, sasl.username: u, sasl.mechanisms: PLAIN}\n";
  write_file(YAML_FILE, after, strlen(after));
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  assert_int_equal(settings_needs_restart(&p.s, &next, NULL), 1);
  assert_true(settings_login_changed(&p.s, &next));
  assert_true(settings_take(&p.s, &next));
  settings_free(&next);
  assert_int_equal(p.s.kafka_count, 4);
  size_t seen = 0;
  for (size_t i = 0; i < p.s.kafka_count; i++) {
    const kv *one = &p.s.kafka[i];
    if (strcmp(one->name, "linger.ms") == 0) assert_string_equal(one->value, "5");
    else if (strcmp(one->name, "sasl.password") == 0) assert_string_equal(one->value, "new");
    else if (strcmp(one->name, "sasl.mechanisms") == 0) assert_string_equal(one->value, "PLAIN");
    else assert_string_equal(one->name, "sasl.username");
    seen++;
  }
  assert_int_equal(seen, 4);

  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  assert_false(settings_login_changed(&p.s, &next));
  settings_free(&next);
  const char *file = "brokers: b\nkafka: {linger.ms: 5, sasl.password: new, sasl.username: u, sasl.mechanisms: PLAIN, "
                     "ssl.ca.location: /c}\n";
  write_file(YAML_FILE, file, strlen(file));
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  assert_true(settings_login_changed(&p.s, &next));
  assert_true(settings_take(&p.s, &next));
  settings_free(&next);
  assert_int_equal(settings_reload(&p.s, &next, 5, argv, stderr), 0);
  assert_true(settings_login_changed(&p.s, &next)); /* the same name, but what is in the file? */
  assert_int_equal(settings_needs_restart(&p.s, &next, NULL), 0);
  settings_free(&next);
  parsed_free(&p);
}

/* What --print-config prints reads back as the same settings. */
static void printed_settings_read_back(void **state) {
  (void)state;
  parsed p = parse("brokers: 'a:1, [::1]:2'\nstore: \"/tmp/a b: #c\\\"\\\\\"\nretention: {age: 36h, bytes: "
                     "5GB}\n"
                   "transactions: {id: 'null', latency_budget: 1500ms}\n"
                   "topics:\n- {match: '*', retention: forever, replication: broker}\n"
                   "kafka: {sasl.password: hunter2, sasl.username: 'yes', statistics.interval.ms: 5}\n", "",
                   NULL);
  assert_string_equal(p.said, "");
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  assert_int_equal(settings_act(SETTINGS_PRINT, &p.s, out), 0);
  fclose(out);
  assert_null(strstr(text, "hunter2"));
  parsed q = parse(text, "", NULL);
  assert_string_equal(q.said, "");
  for (size_t i = 0; i < settings_row_count; i++)
    if (!setting_equal(&settings_rows[i], &p.s, &q.s)) fail_msg("%s in\n%s", settings_rows[i].path, text);
  for (size_t i = 0; i < settings_topic_row_count; i++)
    assert_true(setting_equal(&settings_topic_rows[i], &p.s.topics[0], &q.s.topics[0]));
  assert_string_equal(q.s.kafka[0].value, "********");
  assert_string_equal(q.s.kafka[1].value, "yes");
  free(text);
  parsed_free(&p);
  parsed_free(&q);
}

static void actions(void **state) {
  (void)state;
  parsed p = parse(NULL, "--nonsense --help", NULL);
  assert_int_equal(p.status, 0);
  assert_int_equal(p.action, SETTINGS_HELP);
  parsed_free(&p);
  p = parse("brokers: b\nlog: {level: warn}\nkafka: {a: 1}\ntopics: [{match: a, partitions: 3}]\n",
                     "--check-config",
            NULL);
  assert_int_equal(p.action, SETTINGS_CHECK_CONFIG);
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  assert_int_equal(settings_act(p.action, &p.s, out), 0);
  assert_int_equal(settings_act(SETTINGS_VERSION, &p.s, out), 0);
  fclose(out);
  assert_string_equal(text, YAML_FILE ": fine, 5 settings\nsidelogd 0.1.0\n");
  free(text);
  parsed_free(&p);
}

/* What is commented out below a name is as if the name were not there, at the top and in a topic's rule. */
static void groups_of_nothing(void **state) {
  (void)state;
  parsed p = parse("brokers: b\nlog:\n#  level: warn\nkafka:\n"
                   "topics:\n- match: a\n  taxonomy:\n#   codes: {}\n  partitions: 3\n", "", NULL);
  if (p.status) fail_msg("%s", p.said);
  assert_int_equal(p.s.topics[0].partitions, 3);
  parsed_free(&p);
}

/* However it is written, it must never start an agent. */
static void a_history_to_replay(void **state) {
  (void)state;
  for (size_t i = 0; i < 2; i++) {
    parsed p = parse("brokers: b\n", i ? "--replay-history=core.history" : "--replay-history core.history", NULL);
    assert_int_equal(p.status, 0);
    assert_int_equal(p.action, SETTINGS_REPLAY);
    assert_non_null(p.s.choice);
    parsed_free(&p);
    p = parse("brokers: b\n", i ? "--replay-history=" : "--replay-history", NULL);
    assert_int_equal(p.status, 2);
    assert_non_null(strstr(p.said, "--replay-history"));
    parsed_free(&p);
  }
}

/* Those of the table only do what they say: one that nothing was written for started the agent. */
static void no_option_alone_starts_the_agent(void **state) {
  (void)state;
  for (size_t i = 0; i < settings_option_count; i++) {
    const setting_option *o = &settings_options[i];
    char line[200];
    const char *value = o->argument && *o->argument != '[' ? " it" : "";
    snprintf(line, sizeof line, "--brokers b --store s %s%s", o->flag, value);
    parsed p = parse(NULL, line, NULL);
    if (p.status == 0 && p.action == SETTINGS_RUN) fail_msg("%s", line);
    parsed_free(&p);
  }
}

/* What a topic's records may spend: the defaults are the core's, a topic's rule goes before the one for all, what
 * it leaves out stays; and what is printed reads back as the same. */
static void budgets_for_topics(void **state) {
  (void)state;
  fault_rules rules;
  parsed p = parse(NULL, "--brokers b", NULL);
  settings_rules(&p.s, SL_STR("any"), &rules);
  assert_memory_equal(&rules, &fault_rules_default, sizeof rules);
  parsed_free(&p);
  p = parse("brokers: b\ntaxonomy:\n  RETRYABLE_TRANSIENT: 9 retries, 50ms..2s\n"
            "  codes: {MSG_SIZE_TOO_LARGE: lane, INVALID_RECORD: NON_RETRYABLE_POLICY}\n"
            "topics:\n- match: a\n  taxonomy:\n    RETRYABLE_TRANSIENT: 1 retry\n    NON_RETRYABLE_VALIDATION: 2 retries\n"
            "    codes: {MSG_SIZE_TOO_LARGE: default, INVALID_TIMESTAMP: dead-letter}\n", "", NULL);
  assert_string_equal(p.said, "");
  settings_rules(&p.s, SL_STR("b"), &rules);
  const retry_rule *t = &rules.of[CLASS_RETRYABLE_TRANSIENT];
  assert_true(t->budget == 9 && t->base_us == 50000 && t->cap_us == 2000000);
  assert_int_equal(rules.codes[fault_record_code("MSG_SIZE_TOO_LARGE")], TREAT_LANE);
  assert_int_equal(rules.codes[fault_record_code("INVALID_RECORD")], TREAT_AS + CLASS_NON_RETRYABLE_POLICY);
  settings_rules(&p.s, SL_STR("a"), &rules);
  assert_true(t->budget == 1 && t->base_us == 50000 && t->cap_us == 2000000);
  assert_int_equal(rules.of[CLASS_NON_RETRYABLE_VALIDATION].budget, 2);
  assert_int_equal(rules.codes[fault_record_code("MSG_SIZE_TOO_LARGE")], TREAT_BY_CLASS);
  assert_int_equal(rules.codes[fault_record_code("INVALID_TIMESTAMP")], TREAT_DEAD_LETTER);
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  settings_print(&p.s, out);
  fclose(out);
  parsed again = parse(text, "", NULL);
  assert_string_equal(again.said, "");
  fault_rules same;
  settings_rules(&again.s, SL_STR("a"), &same);
  assert_memory_equal(&same, &rules, sizeof same);
  free(text);
  parsed_free(&again);
  parsed_free(&p);
  p = parse(NULL, "--brokers b --set taxonomy.codes=INVALID_RECORD=retry,_UNKNOWN_PARTITION=lane", NULL);
  settings_rules(&p.s, SL_STR("a"), &rules);
  assert_int_equal(rules.codes[fault_record_code("INVALID_RECORD")], TREAT_AS + CLASS_RETRYABLE_TRANSIENT);
  assert_int_equal(rules.codes[fault_record_code("_UNKNOWN_PARTITION")], TREAT_LANE);
  parsed_free(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_are_sound),
    cmocka_unit_test(defaults_are_sound),
    cmocka_unit_test(ranges_hold),
    cmocka_unit_test(groups_are_those_of_the_rows),
    cmocka_unit_test(defaults_are_the_measured_ones),
    cmocka_unit_test(later_sources_win),
    cmocka_unit_test(a_store_is_needed),
    cmocka_unit_test(drain_and_timeout),
    cmocka_unit_test(units),
    cmocka_unit_test(rules_for_topics), cmocka_unit_test(budgets_for_topics),
    cmocka_unit_test(reload), cmocka_unit_test(reload_of_credentials),
    cmocka_unit_test(printed_settings_read_back),
    cmocka_unit_test(actions),
    cmocka_unit_test(a_history_to_replay), cmocka_unit_test(no_option_alone_starts_the_agent),
    cmocka_unit_test(groups_of_nothing),
  };
  return cmocka_run_group_tests(tests, in_own_folder, leave_folder);
}
