/* What a person reads when the configuration is wrong; and what a mangled file does: a message, never
 * more. */
#include "settings_help.h"

static kafka_property_verdict check(const char *name, const char *value, char *reason, size_t cap) {
  if (strcmp(name, "linger.ms") == 0 && !strpbrk(value, "0123456789") && *value)
    return snprintf(reason, cap, "'%s' is no number", value), KAFKA_PROPERTY_BAD;
  static const char *const known[] = {"linger.ms", "sasl.password", "acks", "client.id", "socket.timeout.ms",
                                      "max.in.flight"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i], name) == 0) return KAFKA_PROPERTY_KNOWN;
  return KAFKA_PROPERTY_UNKNOWN;
}

typedef struct golden { const char *yaml, *line, *said; } golden;

#define F YAML_FILE ":"
static const golden cases[] = {
  /* names */
  {"broker: b\n", "", F "1:1: broker is no setting; the nearest is brokers\n"},
  {"transaction:\n  timeout: 5s\n", "", F "1:1: transaction is no setting; the nearest is transactions\n"},
  {"transactions:\n  max_event: 5\n", "",
   F "2:3: transactions.max_event is no setting; the nearest is transactions.max_events\n"},
  {"max_events: 5\n", "", F "1:1: max_events is no setting; the nearest is transactions.max_events\n"},
  {"quite_something_else: 5\n", "",
   F "1:1: quite_something_else is no setting; `sidelogd --help` lists them\n"},
  {"sasl.password: x\n", "", F "1:1: sasl.password is a librdkafka property; put it under kafka:\n"},
  {"\"a\\e[31mb\": x\n", "", F "1:1: a?[31mb is no setting; `sidelogd --help` lists them\n"},
  {"topics:\n- match: a\n  partition: 3\n", "", F "3:3: partition is no setting; the nearest is "
     "partitions\n"},
  {"drain: true\n", "", F "1:1: drain is no setting; `sidelogd --help` lists them\n"},
  /* values */
  {"transactions: {timeout: 15}\n", "",
   F "1:25: transactions.timeout '15' lacks a unit: ms, s, m, h or d, as in 15s\n"},
  {"transactions: {timeout: soon}\n", "",
   F "1:25: transactions.timeout 'soon' is no duration (as in 500ms, 15s, 1h30m, 7d)\n"},
  {"transactions: {timeout: 1h}\n", "", F "1:25: transactions.timeout '1h' is out of range: 1s..15m\n"},
  {"retention: {age: 0.5s}\n", "", F "1:18: retention.age '0.5s' is out of range: 1s..36500d, or forever\n"},
  {"retention: {bytes: 5G}\n", "",
   F "1:20: retention.bytes '5G' is no size (as in 32MiB, 500kB, 2GB; a bare number is bytes)\n"},
  {"transactions: {max_events: many}\n", "", F "1:28: transactions.max_events 'many' is no whole number\n"},
  {"transactions: {max_events: 2000000}\n", "",
   F "1:28: transactions.max_events '2000000' is out of range: 1..1,000,000\n"},
  {"new_topics: {create: perhaps}\n", "", F "1:22: new_topics.create 'perhaps' is neither true nor false\n"},
  {"mode: exactly\n", "", F "1:7: mode 'exactly' is none of exactly-once, at-least-once\n"},
  {"progress: {topic: a b}\n", "",
   F "1:19: progress.topic is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -\n"},
  {"brokers: 'a,,b'\n", "", F "1:10: brokers has an empty entry in its list of HOST:PORT\n"},
  {"brokers: 'a:b'\n", "", F "1:10: brokers 'a:b' is no HOST:PORT (as in redpanda-0:9092)\n"},
  {"brokers: '::1'\n", "", F "1:10: brokers '::1': write an IPv6 address as [ADDRESS]:PORT\n"},
  {"brokers: \"a\\0b\"\n", "", F "1:10: brokers has a NUL in its value\n"},
  {"brokers: ''\n", "", F "1:10: brokers is empty\n"},
  {"brokers:\nmode: at-least-once\n", "", F "1:9: brokers has no value: give it one, or remove the line\n"},
  {"brokers: ~\n", "", F "1:10: brokers has no value: give it one, or remove the line\n"},
  /* budgets: nothing that could break exactness or order */
  {"taxonomy: {codes: {_TRANSPORT: dead-letter}}\n", "",
   F "1:20: taxonomy.codes '_TRANSPORT' does not tell of a single record, so it is treated alike for all, "
   "or exactness and order would break; those that do: MSG_SIZE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP, _UNKNOWN_PARTITION, "
   "_KEY_SERIALIZATION, _VALUE_SERIALIZATION, _KEY_DESERIALIZATION, _VALUE_DESERIALIZATION\n"},
  {"taxonomy: {codes: {INVALID_RECORD: NON_RETRYABLE_IDEMPOTENCY}}\n", "",
   F "1:20: taxonomy.codes NON_RETRYABLE_IDEMPOTENCY is never a single record's; write dead-letter, lane or retry\n"},
  {"taxonomy: {codes: {INVALID_RECORD: skip}}\n", "",
   F "1:20: taxonomy.codes 'skip' is none of dead-letter, lane, retry, default, or a class such as "
   "RETRYABLE_DEPENDENCY\n"},
  {"taxonomy: {NON_RETRYABLE_SECURITY: 3 retries}\n", "",
   F "1:12: taxonomy.NON_RETRYABLE_SECURITY cannot be set: it never costs an event its budget, and never makes it "
   "a dead letter\n"},
  {"taxonomy: {RETRYABLE_TRANSIENT: '3 retries, 1s..2h'}\n", "",
   F "1:33: taxonomy.RETRYABLE_TRANSIENT '3 retries, 1s..2h' is not of the form 6 retries, 100ms..5s (0..100 retries, "
   "pauses of 1ms..1m)\n"},
  /* shapes */
  {"topics: [{match: a, taxonomy: soon}]\n", "",
   F "1:31: topics[0].taxonomy takes a map of settings, not a single value\n"},
  {"brokers: [a, b]\n", "", F "1:10: brokers takes a single value, not a list\n"},
  {"brokers: {a: b}\n", "", F "1:10: brokers takes a single value, not a map\n"},
  {"retention: 7d\n", "", F "1:12: retention takes a map of settings, not a single value\n"},
  {"log:\n- debug\n", "", F "2:1: log takes a map of settings, not a list\n"},
  {"topics: {match: a}\n", "", F "1:9: topics takes a list (- match: GLOB), not a map\n"},
  {"topics: [a]\n", "",
   F "1:10: an entry of topics is a map (match: GLOB and what holds for it), not a single value\n"},
  {"topics:\n- retention: 5d\n", "", F "2:3: an entry of topics lacks match: GLOB\n"},
  {"kafka: [a]\n", "", F "1:8: kafka takes a map of librdkafka properties, not a list\n"},
  {"- brokers\n", "", F "1:1: the file is a list; it should be a map of settings (brokers: HOST:PORT)\n"},
  {"brokers\n", "", F "1:1: the file is a single value; it should be a map of settings (brokers: "
     "HOST:PORT)\n"},
  {"? [a]\n: b\n", "", F "1:3: a list where the name of a setting is expected\n"},
  {"a: [[[[[[[[[[[[x]]]]]]]]]]]]\n", "",
   F "1:1: a is no setting; `sidelogd --help` lists them\n" F "1:12: nested deeper than any setting\n"},
  /* twice */
  {"brokers: b\nmode: exactly-once\nbrokers: c\n", "",
   F "3:1: brokers is set twice, first in line 1: keep one\n"},
  {"brokers: b\nlog: {level: info}\nlog: {format: json}\n", "",
   F "3:1: log is set twice, first in line 2: keep one\n"},
  {"log.level: info\nlog: {level: warn}\n", "", F "2:7: log.level is set twice, first in line 1: keep one\n"},
  {"topics: [{match: a, match: b}]\n", "", F "1:21: topics[0].match is set twice, first in line 1: keep "
     "one\n"},
  {"kafka:\n  linger.ms: 1\n  queue.buffering.max.ms: 2\n", "",
   F "3:3: kafka.linger.ms is set twice, first in line 2: keep one\n"},
  /* YAML beyond need */
  {"brokers: &b a\n", "", F "1:10: anchors and aliases (& and *) are not read here: write the value out\n"},
  {"x: *b\n", "", F "1:4: anchors and aliases (& and *) are not read here: write the value out\n"},
  {"<<: {brokers: a}\n", "", F "1:1: merge keys (<<) are not read here: write the settings out\n"},
  {"brokers: !secret a\n", "", F "1:10: tags (!) are not read here: leave it out\n"},
  {"brokers: b\n---\nmode: x\n", "", F "2:1: a second document (---): put all settings into one\n"},
  {"log:\n\tlevel: info\n", "",
   F "2:1: a character that cannot start a value: YAML is indented with blanks, never tabs, and a text with "
     "one of @ ` % in front needs quotes\n"},
  {"brokers: 'a\n", "", F "2:1: YAML: found unexpected end of stream while scanning a quoted scalar\n"},
  {"brokers: b\n mode: x\n", "",
   F "1:10: brokers 'b mode' is no HOST:PORT (as in redpanda-0:9092)\n"
   F "2:6: YAML: mapping values are not allowed in this context\n"},
  {"brokers: \xff\xff\n", "", YAML_FILE ": at byte 9: invalid leading UTF-8 octet\n"},
  /* librdkafka */
  {"brokers: b\nkafka: {acks: 1}\n", "",
   F "2:9: kafka.acks cannot be set: an event counts as delivered only when all in-sync replicas have it\n"},
  {"brokers: b\nkafka: {transactional.id: x}\n", "",
   F "2:9: kafka.transactional.id cannot be set: the agent derives it from the store; the setting "
     "transactions.id replaces it\n"},
  {"brokers: b\nkafka: {enable.idempotence: false}\n", "",
   F "2:9: kafka.enable.idempotence cannot be set: without it a retry may send an event twice or out of "
       "order\n"},
  {"brokers: b\nkafka: {enable.gapless.guarantee: true}\n", "",
   F "2:9: kafka.enable.gapless.guarantee cannot be set: the setting mode decides it; without it later "
       "events "
     "could pass a failed one\n"},
  {"brokers: b\nkafka: {max.in.flight: 6}\n", "",
   F "2:9: kafka.max.in.flight cannot be set: order holds up to 5 requests in flight, no further\n"},
  {"brokers: b\nkafka: {dr_msg_cb: 6}\n", "", F "2:9: kafka.dr_msg_cb cannot be set: it takes code, not "
     "text\n"},
  {"brokers: b\nkafka: {linger.ms: abc}\n", "", F "2:9: kafka.linger.ms: 'abc' is no number\n"},
  {"brokers: b\nkafka: {linger.ms: }\n", "",
   F "2:20: kafka.linger.ms has no value: give it one, or remove the line\n"},
  {"brokers: b\nkafka: {a: {b: c}}\n", "", F "2:12: kafka.a takes a single value, not a map\n"},
  {"brokers: b\ntransactions: {timeout: 5s}\nkafka: {socket.timeout.ms: 6000}\n", "",
   YAML_FILE ": kafka.socket.timeout.ms (6000) is above transactions.timeout (5000 ms); lower the one or "
       "raise "
             "the other\n"},
  /* the command line */
  {NULL, "", "sidelogd: no brokers: give --brokers HOST:PORT, or brokers: in the file\n"},
  {NULL, "--brokers b --timeout 5", "sidelogd: --timeout: goes with --drain\n"},
  {NULL, "--brokers b --brokrs c", "sidelogd: there is no --brokrs; the nearest is --brokers\n"},
  {NULL, "--brokers b --latency-budget 5s",
   "sidelogd: there is no --latency-budget; write --set transactions.latency_budget=VALUE\n"},
  {NULL, "--brokers b -q", "sidelogd: there is no -q; the nearest is -X\n"},
  {NULL, "--brokers b --drain=yes", "sidelogd: --drain: takes no value\n"},
  {NULL, "--brokers", "sidelogd: --brokers: needs a value: --brokers HOST:PORT[,...]\n"},
  {NULL, "--brokers --drain", "sidelogd: --brokers: needs a value: --brokers HOST:PORT[,...]\n"},
  {NULL, "--brokers b now", "sidelogd: 'now' is not an option, and nothing else is expected\n"},
  {NULL, "--brokers b --mode once",
   "sidelogd: --mode: 'once' is none of exactly-once, at-least-once\n"},
  {NULL, "--brokers b --set retention.age=7",
   "sidelogd: --set retention.age: '7' lacks a unit: ms, s, m, h or d, as in 7s\n"},
  {NULL, "--brokers b --set retention.ago=7d",
   "sidelogd: --set: retention.ago is no setting; the nearest is retention.age\n"},
  {NULL, "--brokers b --set topics=x", "sidelogd: --set: topics is a list: put it into a file (--config)\n"},
  {NULL, "--brokers b --set x", "sidelogd: --set: 'x' is no NAME=VALUE\n"},
  {NULL, "--brokers b -X acks=0",
   "sidelogd: -X: kafka.acks cannot be set: an event counts as delivered only when all in-sync replicas have "
   "it\n"},
  {NULL, "--brokers b --set kafka.linger.ms=abc", "sidelogd: --set: kafka.linger.ms: 'abc' is no number\n"},
  {NULL, "--config nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory\n"},
  {NULL, "--config /", "/: cannot be read: Is a directory\n"},
};

static void messages(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    parsed p = parse(cases[i].yaml, cases[i].line, check);
    if (p.status != 2 || strcmp(p.said, cases[i].said) != 0)
      fail_msg("status %d for\n%s[%s]\n  got: %s  not: %s", p.status, cases[i].yaml ? cases[i].yaml : "",
               cases[i].line, p.said, cases[i].said);
    for (char *line = p.said; *line; line++) assert_true((unsigned char)*line >= ' ' || *line == '\n');
    parsed_free(&p);
  }
}

/* Fine as they are: no error, no warning. */
static void oddities_that_are_fine(void **state) {
  (void)state;
  static const char *const files[] = {
    "", "# nothing\n", "---\n", "~\n", "--- {}\n...\n", "\xef\xbb\xbfmode: exactly-once\n",
    "kafka:\n  # linger.ms: 1\n", "topics:\nretention:\n", "mode: exactly-once\r\nlog: {level: info}\r\n",
    "log.level: debug\n", "'log': {\"level\": 'debug'}\n", "kafka.linger.ms: 5\n",
    "kafka: {acks: all, enable.idempotence: true}\n",
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    parsed p = parse(files[i], "--brokers b", NULL);
    if (p.status || *p.said) fail_msg("%s\n%s", files[i], p.said);
    parsed_free(&p);
  }
}

static void warnings_do_not_stop(void **state) {
  (void)state;
  parsed p = parse("brokers: b\nkafka:\n  no.such.thing: 5\n  linger.ms: 5\n", "-X sasl.password=pw", check);
  assert_int_equal(p.status, 0);
  assert_string_equal(p.said,
    F "3:3: warning: kafka.no.such.thing: this librdkafka has no such property; it is left out\n"
    "sidelogd: warning: -X sasl.password: other users can read it in the list of processes; a file of mode "
    "0600 "
    "is safer\n");
  assert_int_equal(p.s.kafka_count, 2);
  assert_int_equal(p.s.file_settings, 2);
  parsed_free(&p);
}

static void a_readable_password_is_named(void **state) {
  (void)state;
  const char *yaml = "brokers: b\nkafka: {sasl.password: pw}\n";
  settings s;
  settings_action action;
  const char *argv[] = {"sidelogd", "--config", YAML_FILE};
  char *said = NULL;
  size_t len = 0;
  write_file(YAML_FILE, yaml, strlen(yaml));
  chmod(YAML_FILE, 0644);
  FILE *errors = open_memstream(&said, &len);
  assert_int_equal(settings_parse_checked(&s, &action, 3, (char **)(uintptr_t)argv, NULL, errors), 0);
  fclose(errors);
  assert_string_equal(said, YAML_FILE ": warning: holds sasl.password and every user can read it: chmod "
      "o-r\n");
  free(said);
  settings_free(&s);
}

static void a_huge_file_is_refused(void **state) {
  (void)state;
  size_t len = (1 << 20) + 1;
  char *text = malloc(len + 1);
  memset(text, '#', len);
  text[len] = 0;
  parsed p = parse(text, "--brokers b", NULL);
  assert_string_equal(p.said, YAML_FILE ": is larger than 1 MiB: is it a configuration?\n");
  parsed_free(&p);
  free(text);
}

/* A few thousand mangled files: under the sanitizers nothing may happen but messages. */
static void mangled_files(void **state) {
  (void)state;
  static const char *const bits[] = {"\t", "\n", ": ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!x ", "<<: ",
      "---\n",
                                     "\"", "'", "\\", "\xff", "\xc2", "#", "| \n", "? ", "topics:\n",
                                     "kafka:\n", "%"};
  char *text = slurp(DOCS_DIR "/sidelogd.example.yaml");
  size_t len = strlen(text);
  uint64_t seed = 42;
  for (int round = 0; round < 4000; round++) {
    char *bent = malloc(len + 64);
    memcpy(bent, text, len);
    size_t n = len;
    for (int edits = 1 + round % 4; edits; edits--) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const char *bit = bits[(seed >> 33) % (sizeof bits / sizeof *bits)];
      size_t at = (seed >> 40) % n, cut = (seed >> 20) % 3, add = strlen(bit);
      if (at + cut > n) cut = n - at;
      if (round % 7 == 0) cut = n - at, add = 0; /* a file that ends early */
      memmove(bent + at + add, bent + at + cut, n - at - cut);
      memcpy(bent + at, bit, add);
      n = n - cut + add;
      if (n == 0) bent[n++] = ' ';
    }
    settings s = {0};
    char *said = NULL;
    size_t said_len = 0;
    problems p = {.out = open_memstream(&said, &said_len)};
    settings_read_yaml(&s, &p, "bent", bent, n);
    fclose(p.out);
    assert_true((p.errors + p.warnings == 0) == (said_len == 0));
    settings_free(&s);
    free(said);
    free(bent);
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(messages),
    cmocka_unit_test(oddities_that_are_fine),
    cmocka_unit_test(warnings_do_not_stop),
    cmocka_unit_test(a_readable_password_is_named),
    cmocka_unit_test(a_huge_file_is_refused),
    cmocka_unit_test(mangled_files),
  };
  return cmocka_run_group_tests(tests, in_own_folder, leave_folder);
}
