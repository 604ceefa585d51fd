/* The status report: golden, always JSON, and every member documented. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "report.h"

static const report_lane lanes[] = {
  {.topic = {"audit\xff.v1", 9}, .seq = 18446744073709551615u, .oldest_us = 15, .refused_since_us = 16,
   .max_age_us = 17,
   .kept_bytes = 18, .code = "TOPIC_AUTHORIZATION_FAILED", .text = "not \"yours\""},
  {.seq = 0},
};

static const agent_report full = {
  .state = REPORT_PARKED, .state_since_us = 1, .written_us = 2, .started_us = 3, .pid = 4121,
  .mode = "exactly-once", .brokers = "r0:9092", .broker = "r0:9092", .cluster_id = "abc", .brokers_up = 1,
  .brokers_total = 3, .unreachable_since_us = 4, .last_commit_us = 5, .error_code = "_TRANSPORT",
  .error_text = "connection\nrefused", .error_us = 6, .next_try_us = 7, .backlog = 48211,
  .cursor_seq = 9, .last_seq = 10, .indexed_seq = 11, .txn_events = 100000,
  .txn_bytes = 1000000, .events_per_s = 1234.56, .bytes_per_s = 1e300, .transactions = 12, .aborts = 13,
  .handles = 14, .commit_p50_us = 7100, .commit_p95_us = 20300,
  .lanes = lanes, .lane_count = 2,
  .lanes_limit_bytes = 19, .lanes_expired = 20, .partition_changes = 21, .topics_recreated = 22,
  .letters_published = 15, .letters_waiting = 16,
  .monitor = &(const report_monitor){.topics = 23, .looked_us = 24, .failed = 25, .fresh = 26, .more = true,
                                     .alerts = 27, .webhooks_sent = 28,
                                     .webhooks_failed = 29, .webhooks_lost = 30, .webhooks_waiting = 31},
  .parked_reason = "marker-ahead",
      .parked_text = "1,041 > 981",
  .parked_remedy = "restored?"};

static char *json_of(const agent_report *report) {
  sl_buf out = {0};
  assert_true(agent_report_json(report, &out));
  sl_buf_append(&out, "", 1);
  return (char *)out.data;
}

static void golden(void **state) {
  (void)state;
  char *json = json_of(&full);
  assert_string_equal(json,
    "{\"format\":1,\"version\":\"0.1.0\",\"pid\":4121,\"mode\":\"exactly-once\",\"state\":\"parked\","
    "\"state_since_us\":1,\"started_us\":3,\"written_us\":2,"
    "\"cluster\":{\"brokers\":\"r0:9092\",\"broker\":\"r0:9092\",\"id\":\"abc\",\"up\":1,\"total\":3,"
    "\"unreachable_since_us\":4},\"last_commit_us\":5,"
    "\"error\":{\"code\":\"_TRANSPORT\",\"text\":\"connection\\nrefused\",\"at_us\":6},\"next_try_us\":7,\"held\":false,"
    "\"backlog\":48211,\"cursor_seq\":9,\"last_seq\":10,\"indexed_seq\":11,"
    "\"transactions\":{\"committed\":12,\"aborted\":13,\"handles\":14,\"target_events\":100000,"
    "\"target_bytes\":1000000,\"events_per_s\":1234.6,\"bytes_per_s\":0.0,"
    "\"commit_p50_us\":7100,\"commit_p95_us\":20300},"
    "\"lanes\":[{\"topic\":\"audit\xef\xbf\xbd.v1\",\"seq\":18446744073709551615,"
    "\"oldest_us\":15,\"refused_since_us\":16,\"max_age_us\":17,\"kept_bytes\":18,"
    "\"code\":\"TOPIC_AUTHORIZATION_FAILED\",\"text\":\"not \\\"yours\\\"\"},"
    "{\"topic\":\"\",\"seq\":0,\"oldest_us\":null,\"refused_since_us\":null,\"max_age_us\":null,\"kept_bytes\":0,"
    "\"code\":null,\"text\":null}],\"lanes_limit_bytes\":19,\"lanes_expired\":20,\"partition_changes\":21,\"topics_recreated\":22,"
    "\"dead_letters\":{\"published\":15,\"waiting\":16},"
    "\"dlq_monitor\":{\"topics\":23,\"looked_us\":24,\"looks_failed\":25,\"new\":26,\"new_is_at_least\":true,\"alerts\":27,\"webhooks_sent\":28,"
    "\"webhooks_failed\":29,\"webhooks_lost\":30,\"webhooks_waiting\":31},"
    "\"parked\":{\"reason\":\"marker-ahead\",\"text\":\"1,041 > 981\",\"remedy\":\"restored?\"}}");
  free(json);
}

static void nothing_to_say_is_null(void **state) {
  (void)state;
  char *json = json_of(&(agent_report){0});
  assert_non_null(strstr(json, "\"state\":\"starting\""));
  assert_non_null(strstr(json, "\"error\":null"));
  assert_non_null(strstr(json, "\"parked\":null"));
  assert_non_null(strstr(json, "\"dlq_monitor\":null"));
  assert_non_null(strstr(json, "\"last_commit_us\":null"));
  assert_non_null(strstr(json, "\"lanes\":[]"));
  yajl_val tree = yajl_tree_parse(json, NULL, 0);
  assert_non_null(tree);
  yajl_tree_free(tree);
  free(json);
}

static void every_state_has_a_name(void **state) {
  (void)state;
  assert_string_equal(report_state_text(REPORT_STARTING), "starting");
  assert_string_equal(report_state_text(REPORT_BACKOFF), "backoff");
  assert_string_equal(report_state_text(REPORT_STOPPED), "stopped");
}

/* Each member, at any depth, is in docs/agent.md as `name`. */
static void look_up(yajl_val value, const char *text) {
  if (YAJL_IS_ARRAY(value))
    for (size_t i = 0; i < value->u.array.len; i++) look_up(value->u.array.values[i], text);
  if (!YAJL_IS_OBJECT(value)) return;
  for (size_t i = 0; i < value->u.object.len; i++) {
    char name[80];
    snprintf(name, sizeof name, "`%s`", value->u.object.keys[i]);
    if (!strstr(text, name)) fail_msg("docs/agent.md does not tell what %s is", name);
    look_up(value->u.object.values[i], text);
  }
}

static void members_are_documented(void **state) {
  (void)state;
  FILE *file = fopen(DOCS_DIR "/agent.md", "re");
  assert_non_null(file);
  char *text = calloc(1, 1 << 20);
  assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
  fclose(file);
  char *json = json_of(&full);
  yajl_val tree = yajl_tree_parse(json, NULL, 0);
  look_up(tree, text);
  yajl_tree_free(tree);
  free(json);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden),
    cmocka_unit_test(nothing_to_say_is_null),
    cmocka_unit_test(every_state_has_a_name),
    cmocka_unit_test(members_are_documented),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
