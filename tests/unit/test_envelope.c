/* Which fields an envelope has: the shapes that producers write, and what counts when they disagree. */
#include "unit.h"

#include <sidelog/envelope.h>

#include "base/text.h"

static sl_envelope_reader *reader;
static sl_event event;
static uint32_t missing;

static int set_up(void **state) {
  (void)state;
  return sl_envelope_reader_new(&reader);
}

static int tear_down(void **state) {
  (void)state;
  sl_envelope_reader_free(reader);
  sl_envelope_reader_free(NULL);
  return 0;
}

static void read_as_it_is(const char *json) {
  assert_ok(sl_envelope_read(reader, sl_slice_of(json), &event, &missing));
}

/* JSON with ' for ", which reads better in C. */
static char line[4096];
static void read_line(const char *json) {
  snprintf(line, sizeof line, "%s", json);
  for (char *p = line; *p; p++)
    if (*p == '\'') *p = '"';
  read_as_it_is(line);
}

static int64_t at(const char *time) {
  int64_t us = 0;
  assert_true(sl_time_parse(sl_slice_of(time), &us));
  return us;
}

#define ID1 "11111111-1111-4111-8111-111111111111"
#define ID2 "22222222-2222-4222-8222-222222222222"
#define ID3 "33333333-3333-4333-8333-333333333333"

static void the_guides_shape(void **state) {
  (void)state;
  const char *json =
    "{'event_type':'omninode.agent.routing.requested.v1','event_id':'" ID1 "','timestamp':"
    "'2025-01-15T10:30:00Z','tenant_id':'acme','namespace':'default','source':'omniclaude',"
    "'correlation_id':'" ID2 "','causation_id':'" ID3 "','schema_ref':'registry://a/b/c/v1',"
    "'payload':{'event_type':'inner','timestamp':'1999-01-01T00:00:00Z','tenant_id':'inner',"
    "'event_id':'inner','correlation_id':'inner'},'topic':'a.b','version':'1'}";
  read_line(json);
  assert_slice(event.type, "omninode.agent.routing.requested.v1");
  assert_slice(event.event_id, ID1);
  assert_slice(event.correlation_id, ID2);
  assert_slice(event.causation_id, ID3);
  assert_slice(event.tenant, "acme");
  assert_slice(event.source, "omniclaude");
  assert_slice(event.topic, "a.b");
  assert_int_equal(event.occurred_at_us, at("2025-01-15T10:30:00Z"));
  assert_ptr_equal(event.value.data, line);
  assert_int_equal(event.value.len, strlen(line));
  assert_int_equal(missing, 0);
  assert_null(event.key.data);
  assert_int_equal(event.header_count, 0);
  assert_ptr_equal(event.headers, NULL);
}

static void the_onex_envelope(void **state) {
  (void)state;
  read_line("{'envelope_version':'1','event_id':'" ID1 "','event_type':'X_DONE','event_timestamp':"
            "'2025-01-15T10:30:00.5+01:00','source_node_id':'n1','source_service':'svc',"
            "'payload':{},'metadata':{'correlation_id':'" ID2 "'}}");
  assert_slice(event.source, "svc");
  assert_slice(event.correlation_id, ID2);
  assert_int_equal(event.occurred_at_us, at("2025-01-15T09:30:00.5Z"));
  assert_int_equal(missing, SL_ENVELOPE_NO_TOPIC);
}

static void the_workflow_shape(void **state) {
  (void)state;
  read_line("{'event_id':'" ID1 "','correlation_id':'" ID2 "','event_type':'WORKFLOW_STARTED',"
            "'timestamp':'2025-01-15T10:30:00','workflow_id':'w','metadata':{'source_node':"
            "'NodeBridgeOrchestrator','node_version':'1.0','tenant_id':'t9'},'payload':{'duration_ms':1.5}}");
  assert_slice(event.source, "NodeBridgeOrchestrator");
  assert_slice(event.tenant, "t9");
}

static void the_archon_shape(void **state) {
  (void)state;
  read_line("{'event_id':'" ID1 "','event_type':'a.b.c.v1','source':{'instance_id':'i','service':"
            "'archon','hostname':{'service':'no'}},'correlation_id':'" ID2 "','payload':{}}");
  assert_slice(event.source, "archon");
}

static void the_core_shape(void **state) {
  (void)state;
  read_line("{'envelope_id':'" ID1 "','envelope_timestamp':'2025-01-15T10:30:00Z','payload':{'a':1},"
            "'payload_type':'T','source_tool':'tool','target_tool':'x','priority':5,'retry_count':0}");
  assert_slice(event.event_id, ID1);
  assert_slice(event.source, "tool");
  assert_int_equal(event.occurred_at_us, at("2025-01-15T10:30:00Z"));
  assert_int_equal(missing, SL_ENVELOPE_NO_TYPE | SL_ENVELOPE_NO_CORRELATION | SL_ENVELOPE_NO_TOPIC);
}

static void the_hook_shape(void **state) {
  (void)state;
  read_line("{'event_type':'session.started','payload':{'correlation_id':'" ID2 "','causation_id':null,"
            "'emitted_at':'2025-01-15T10:30:00Z','entity_id':'e','session_id':'s'}}");
  assert_slice(event.correlation_id, ID2);
  assert_slice(event.causation_id, "");
  assert_int_equal(event.occurred_at_us, at("2025-01-15T10:30:00Z"));
  assert_int_equal(missing, SL_ENVELOPE_NO_EVENT_ID | SL_ENVELOPE_NO_TOPIC);
}

static void the_flat_shape(void **state) {
  (void)state;
  read_line("{'event_id':'" ID1 "','timestamp':'2025-01-15T10:30:00Z','user_request':'x',"
            "'selected_agent':'a','context':{'domain':'d','correlation_id':'" ID2 "'}}");
  assert_slice(event.correlation_id, ID2);
  assert_slice(event.source, "");
  assert_int_equal(missing, SL_ENVELOPE_NO_TYPE | SL_ENVELOPE_NO_TOPIC);
}

static void the_payload_is_asked_only_for_what_is_lacking(void **state) {
  (void)state;
  read_line("{'payload':{'event_type':'inner','event_id':'i','tenant':'t','service':'s',"
            "'source':{'service':'deep'},'metadata':{'correlation_id':'c'}},'envelope_id':'top'}");
  assert_slice(event.type, "inner");
  assert_slice(event.event_id, "top");
  assert_slice(event.tenant, "t");
  assert_slice(event.source, "deep");
  assert_slice(event.correlation_id, "c");
}

static void a_payloads_topic_does_not_decide_the_way(void **state) {
  (void)state;
  read_line("{'payload':{'topic':'weather'}}");
  assert_slice(event.topic, "");
  assert_true(missing & SL_ENVELOPE_NO_TOPIC);
}

static void only_the_known_objects_are_looked_into(void **state) {
  (void)state;
  read_line("{'data':{'event_id':'no'},'payload':[{'event_id':'no'}],'metadata':['correlation_id'],"
            "'context':{'context':{'correlation_id':'no'},'event_id':'no'},'source':['no']}");
  assert_slice(event.event_id, "");
  assert_slice(event.correlation_id, "");
  assert_slice(event.source, "");
}

static void null_empty_and_other_kinds_are_not_there(void **state) {
  (void)state;
  read_line("{'event_id':null,'envelope_id':'" ID1 "','event_type':'','correlation_id':{},"
            "'causation_id':[],'tenant_id':true,'tenant':'t','source':7,'service':'s','topic':12}");
  assert_slice(event.event_id, ID1);
  assert_slice(event.type, "");
  assert_slice(event.correlation_id, "");
  assert_slice(event.causation_id, "");
  assert_slice(event.tenant, "t");
  assert_slice(event.source, "s");
  assert_slice(event.topic, "");
}

static void numbers_are_ids_as_they_are_written(void **state) {
  (void)state;
  read_line("{'event_id':12345678901234567890,'correlation_id':1e400,'causation_id':-0,'tenant_id':1.50}");
  assert_slice(event.event_id, "12345678901234567890");
  assert_slice(event.correlation_id, "1e400");
  assert_slice(event.causation_id, "-0");
  assert_slice(event.tenant, "1.50");
}

static void the_last_of_a_name_counts(void **state) {
  (void)state;
  read_line("{'event_id':'a','event_id':'b'}");
  assert_slice(event.event_id, "b");
  read_line("{'event_id':'a','envelope_id':'e','event_id':null}");
  assert_slice(event.event_id, "e");
  read_line("{'payload':{'event_id':'a','context':{'correlation_id':'a'}},'payload':{'event_type':'b'}}");
  assert_slice(event.event_id, "");
  assert_slice(event.correlation_id, "");
  assert_slice(event.type, "b");
  read_line("{'payload':{'event_id':'a'},'payload':3}");
  assert_slice(event.event_id, "");
  read_line("{'source':{'service':'a'},'source':'b'}");
  assert_slice(event.source, "b");
  read_line("{'source':'b','source':{'service':'a'}}");
  assert_slice(event.source, "a");
  read_line("{'event_id':{'event_id':'inner'},'x':'event_id'}");
  assert_slice(event.event_id, "");
}

static void escapes_are_read(void **state) {
  (void)state;
  read_as_it_is("{\"event\\u005fid\":\"a\\\"b\\\\c\\/\\u00e9\\ud83d\\ude00\\n\","
                "\"correlation_id\":\"\\\"\",\"source\":\"\\\\\"}");
  assert_slice(event.event_id, "a\"b\\c/\xc3\xa9\xf0\x9f\x98\x80\n");
  assert_slice(event.correlation_id, "\"");
  assert_slice(event.source, "\\");
  /* No id may have a NUL, and no line is refused for an escape. */
  read_as_it_is("{\"event_id\":\"a\\u0000b\\n\"}");
  assert_slice(event.event_id, "a\\u0000b\\n");
}

/* Two different ids must not become one: the second event would be taken for a duplicate of the first. */
static void a_lone_surrogate_keeps_its_escape(void **state) {
  (void)state;
  static const char *rows[] = {"\\ud800", "\\udc00", "x\\ud801", "\\uD800\\n", "\\ud800\\ud800",
  "\\udc00\\ud800",
                               "\\\"\\ud800\\u0041", "\\ud83d\\ude00\\udfff"};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[200];
    snprintf(json, sizeof json, "{ \"a\" : [\"\\\\\"], \"event_id\" : \"%s\" , \"topic\":\"t\"}", rows[i]);
    read_as_it_is(json);
    assert_slice(event.event_id, rows[i]);
    assert_slice(event.topic, "t");
  }
}

/* No line is refused for the size of a number. */
static void a_number_too_long_for_an_id_is_none(void **state) {
  (void)state;
  char json[600];
  for (int digits = 254; digits < 258; digits++) {
    snprintf(json, sizeof json, "{\"event_id\":%0*d,\"envelope_id\":\"other\"}", digits - 1, 0);
    json[12] = '1';
    read_as_it_is(json);
    if (digits - 1 <= 255) assert_int_equal(event.event_id.len, digits - 1);
    else assert_slice(event.event_id, "other");
  }
}

static void times_of_all_kinds(void **state) {
  (void)state;
  static const struct { const char *value; int64_t us; bool bad; } rows[] = {
    {"1700000000", INT64_C(1700000000000000), false}, {"1700000000.123456789", INT64_C(1700000000123456),
    false},
    {"1700000000123", INT64_C(1700000000123000), false}, {"1700000000123.5", INT64_C(1700000000123500),
    false},
    {"0", 0, false}, {"-1.5", -1500000, false}, {"null", 0, false}, {"''", 0, false}, {"{}", 0, false},
    {"'yesterday'", 0, true}, {"'1700000000'", 0, true}, {"1e9", 0, true}, {"1700000000000000", 0, true},
    {"12345678901234567890123456789012345678901234567890", 0, true},
    {"'2024-02-29 12:34:56.789'", INT64_C(1709210096789000), false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[200];
    snprintf(json, sizeof json, "{'timestamp':%s}", rows[i].value);
    read_line(json);
    if (event.occurred_at_us != rows[i].us || !!(missing & SL_ENVELOPE_BAD_TIMESTAMP) != rows[i].bad)
      fail_msg("%s: %lld, missing %x", json, (long long)event.occurred_at_us, missing);
  }
  read_line("{'timestamp':'soon','event_timestamp':'2025-01-15T10:30:00Z'}");
  assert_int_equal(event.occurred_at_us, 0);
  assert_true(missing & SL_ENVELOPE_BAD_TIMESTAMP);
}

static void a_refused_line_leaves_the_event_alone(void **state) {
  (void)state;
  read_as_it_is("{\"event_id\":\"a\"}");
  sl_event before = event;
  missing = 77;
  assert_int_equal(sl_envelope_read(reader, SL_STR("{\"event_id\":\"b\""), &event, &missing), SL_E_INVALID);
  assert_memory_equal(&before, &event, sizeof event);
  assert_int_equal(missing, 77);
  assert_ok(sl_envelope_read(reader, SL_STR("{\"event_id\":\"c\"}"), &event, NULL));
  assert_slice(event.event_id, "c");
}

/* Memory of a huge line is given back, and small lines go on. */
static void long_lines_and_long_strings(void **state) {
  (void)state;
  size_t len = 5u << 20;
  char *json = malloc(len);
  memset(json, 'x', len);
  memcpy(json, "{\"event_id\":\"\\n", 15);
  memcpy(json + len - 2, "\"}", 2);
  assert_ok(sl_envelope_read(reader, SL_BYTES(json, len), &event, NULL));
  assert_int_equal(event.event_id.len, len - 17 + 1);
  assert_int_equal(((const char *)event.event_id.data)[0], '\n');
  free(json);
  read_as_it_is("{\"event_id\":\"\\u0061\"}");
  assert_slice(event.event_id, "a");
  json = malloc(SL_MAX_VALUE + 1);
  memset(json, ' ', SL_MAX_VALUE + 1);
  memcpy(json, "{}", 2);
  assert_fails(sl_envelope_read(reader, SL_BYTES(json, SL_MAX_VALUE + 1), &event, NULL), SL_E_TOO_LARGE,
               "16777217");
  assert_ok(sl_envelope_read(reader, SL_BYTES(json, SL_MAX_VALUE), &event, NULL));
  free(json);
}

static void what_is_missing_of_a_call_is_told(void **state) {
  (void)state;
  sl_event e = SL_EVENT_INIT;
  assert_int_equal(sl_envelope_reader_new(NULL), SL_E_INVALID);
  assert_int_equal(sl_envelope_read(NULL, SL_STR("{}"), &e, NULL), SL_E_INVALID);
  assert_int_equal(sl_envelope_read(reader, SL_STR("{}"), NULL, NULL), SL_E_INVALID);
  assert_int_equal(sl_envelope_read(reader, (sl_slice){NULL, 2}, &e, NULL), SL_E_INVALID);
  assert_int_equal(sl_event_id_new(NULL), SL_E_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_guides_shape),
    cmocka_unit_test(the_onex_envelope),
    cmocka_unit_test(the_workflow_shape),
    cmocka_unit_test(the_archon_shape),
    cmocka_unit_test(the_core_shape),
    cmocka_unit_test(the_hook_shape),
    cmocka_unit_test(the_flat_shape),
    cmocka_unit_test(the_payload_is_asked_only_for_what_is_lacking),
    cmocka_unit_test(a_payloads_topic_does_not_decide_the_way),
    cmocka_unit_test(only_the_known_objects_are_looked_into),
    cmocka_unit_test(null_empty_and_other_kinds_are_not_there),
    cmocka_unit_test(numbers_are_ids_as_they_are_written),
    cmocka_unit_test(the_last_of_a_name_counts),
    cmocka_unit_test(escapes_are_read),
    cmocka_unit_test(a_lone_surrogate_keeps_its_escape),
    cmocka_unit_test(a_number_too_long_for_an_id_is_none),
    cmocka_unit_test(times_of_all_kinds),
    cmocka_unit_test(a_refused_line_leaves_the_event_alone),
    cmocka_unit_test(long_lines_and_long_strings),
    cmocka_unit_test(what_is_missing_of_a_call_is_told)};
  return cmocka_run_group_tests_name("envelope fields", tests, set_up, tear_down);
}
