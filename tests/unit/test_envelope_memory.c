/* Every allocation of the library fails once: an error, nothing lost, and the next call works. */
#include "fail_malloc.h"
#include "unit.h"

#include <sidelog/dead.h>
#include <sidelog/envelope.h>

#include "format/record.h"

/* A line that outgrows every buffer: depth for yajl's stack, escapes for its text buffer,
long fields for ours. */
static sl_slice long_line(void) {
  static char json[600000];
  char *p = json;
  p += sprintf(p, "{\"a\":");
  for (int i = 0; i < 900; i++) *p++ = '[';
  for (int i = 0; i < 900; i++) *p++ = ']';
  for (int i = 0; i < 3; i++) {
    p += sprintf(p, ",\"%s\":\"", i == 0 ? "event_id" : i == 1 ? "topic" : "source");
    for (int k = 0; k < 20000; k++) p += sprintf(p, "\\n\\u0041");
    *p++ = '"';
  }
  *p++ = '}';
  return SL_BYTES(json, p - json);
}

static void envelopes(void **state) {
  (void)state;
  sl_slice line = long_line();
  for (long n = 0;; n++) {
    sl_envelope_reader *reader = NULL;
    sl_event event = {0};
    countdown = n;
    sl_status status = sl_envelope_reader_new(&reader);
    if (status) {
      assert_int_equal(status, SL_E_NOMEM);
      assert_null(reader);
      continue;
    }
    status = sl_envelope_read(reader, line, &event, NULL);
    bool swept = countdown >= 0;
    countdown = -1;
    if (status) {
      assert_fails(status, SL_E_NOMEM, "out of memory");
      assert_null(event.value.data);
    }
    assert_ok(sl_envelope_read(reader, line, &event, NULL));
    assert_int_equal(event.topic.len, 40000);
    sl_envelope_reader_free(reader);
    if (!swept) continue;
    assert_in_range(n, 5, 1000);
    break;
  }
}

static void records(void **state) {
  (void)state;
  static char text[3000];
  sl_header header = {{text, 255}, {text, 3000}};
  sl_parts parts = {.event_id = SL_STR("x"), .topic = SL_STR("t"), .key = SL_BYTES(text, 1000),
  .headers = &header,
                    .header_count = 1, .value = SL_BYTES(text, 3000)};
  for (long n = 0;; n++) {
    sl_buf buf = {0};
    sl_buf_append(&buf, "kept", 4);
    countdown = n;
    sl_status status = sl_record_encode(&parts, &buf);
    bool swept = countdown >= 0;
    countdown = -1;
    if (status) {
      assert_fails(status, SL_E_NOMEM, "out of memory");
      assert_int_equal(buf.len, 4);
      sl_buf_reset(&buf);
      assert_ok(sl_record_encode(&parts, &buf));
    }
    sl_buf_free(&buf);
    if (!swept) continue;
    assert_in_range(n, 2, 100);
    break;
  }
}

static void keep_text(void *arg, sl_slice text, int is_json) {
  assert_true(is_json);
  sl_buf_append(arg, text.data, text.len);
}

/* Never half of it, nor as plain text, in which this secret would pass. */
static void secrets(void **state) {
  (void)state;
  static char json[70000] = "{\"token\":{\"a\":\"s3same\"},\"deep\":";
  char *p = json + strlen(json);
  for (int i = 0; i < 300; i++) *p++ = '[';
  for (int i = 0; i < 300; i++) *p++ = ']';
  p += sprintf(p, ",\"long\":\"");
  for (int i = 0; i < 8000; i++) p += sprintf(p, "\\u0041");
  p += sprintf(p, "\",\"url\":\"http://me:s3same@x\"}");
  for (long n = 0;; n++) {
    sl_buf out = {0}, whole = {0};
    sl_buf_append(&out, "", 1);
    sl_buf_append(&whole, "", 1);
    countdown = -1;
    assert_ok(sl_redact(SL_BYTES(json, p - json), keep_text, &whole));
    countdown = n;
    const sl_status status = sl_redact(SL_BYTES(json, p - json), keep_text, &out);
    const bool swept = countdown >= 0 || out.failed;
    countdown = -1;
    if (status) {
      assert_int_equal(status, SL_E_NOMEM);
      assert_int_equal(out.len, 1);
    } else if (!out.failed) {
      assert_int_equal(out.len, whole.len);
      assert_memory_equal(out.data, whole.data, whole.len);
    }
    assert_null(memmem(whole.data, whole.len, "s3same", 6));
    sl_buf_free(&out);
    sl_buf_free(&whole);
    if (!swept) continue;
    assert_in_range(n, 10, 1000);
    break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(envelopes), cmocka_unit_test(records),
                                     cmocka_unit_test(secrets)};
  return cmocka_run_group_tests_name("out of memory", tests, NULL, NULL);
}
