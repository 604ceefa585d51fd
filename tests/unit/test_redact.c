/* Secrets in copies: each well-known shape goes, wherever it stands and however it is escaped; what is no secret
 * stays byte for byte, and JSON stays JSON. */
#include "unit.h"

#include "envelope/redact.h"

#include <stdio.h>
#include <sidelog/dead.h>
#include <time.h>
#include <yajl/yajl_parse.h>

static void keep(void *arg, sl_slice text, int json) {
  (void)json;
  snprintf(arg, 4096, "%.*s", (int)text.len, (const char *)text.data);
}

static void assert_redacted(const char *in, const char *out) {
  char got[4096];
  assert_ok(sl_redact(sl_slice_of(in), keep, got));
  assert_string_equal(got, out);
}

/* Pieces, so that no scanner of this repository takes an example for a secret. */
static const struct { const char *kind, *head, *tail; } shapes[] = {
  {"OpenAI", "sk-", "proj-abcdefghijklmnopqrstuvwx"},
  {"Anthropic", "sk-", "ant-api03-abcdefghijklmnopqrstu"},
  {"Google", "AIza", "SyA1234567890abcdefghijklmnopqrstuv"},
  {"Z.ai", "0123456789abcdef", "0123456789abcdef.ABCDEFGHIJKLMNOP"},
  {"AWS", "AKIA", "ABCDEFGHIJKLMNOP"},
  {"GitHub", "ghp_", "abcdefghijklmnopqrstuvwxyzABCDEF0123"},
  {"GitHub fine-grained", "github_pat_", "11ABCDEFG0abcdefghijkl_mnopq"},
  {"GitLab", "glpat-", "abcdefghij-klmnopqrst"},
  {"Slack", "xoxb-", "123456789012-abcdefghijkl"},
  {"Stripe", "sk_live_", "abcdefghijklmnopqrstuvwx"},
  {"JWT", "eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"},
  {"PEM", "-----BEGIN RSA PRIVATE ", "KEY-----MIIEowIBAAKCAQEA-----END RSA PRIVATE KEY-----"},
};

static void test_shapes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    char in[512], out[512];
    static const char *const around[] = {"%s%s", "see %s%s, please", "{\"note\":\"before %s%s after\",\"n\":1}",
                                         "[\"%s%s\"]", "nested {\\\"x\\\":\\\"%s%s\\\"}"};
    static const char *const then[] = {"[redacted]", "see [redacted], please",
                                       "{\"note\":\"before [redacted] after\",\"n\":1}", "[\"[redacted]\"]",
                                       "nested {\\\"x\\\":\\\"[redacted]\\\"}"};
    for (size_t k = 0; k < sizeof around / sizeof *around; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
      snprintf(in, sizeof in, around[k], shapes[i].head, shapes[i].tail);
#pragma GCC diagnostic pop
      snprintf(out, sizeof out, "%s", then[k]);
      char got[4096];
      assert_ok(sl_redact(sl_slice_of(in), keep, got));
      if (strcmp(got, out) != 0) fail_msg("%s: %s became %s", shapes[i].kind, in, got);
    }
  }
}

static void test_fields(void **state) {
  (void)state;
  assert_redacted("{\"token\":\"x\"}", "{\"token\":\"[redacted]\"}");
  assert_redacted("{ \"DB_PASSWORD\" : 1234 , \"a\": 1e400 }",
                  "{ \"DB_PASSWORD\" : \"[redacted]\" , \"a\": 1e400 }");
  assert_redacted("{\"openai_api_key\":null,\"clientSecret\":[\"a\",{\"b\":true}]}",
                  "{\"openai_api_key\":null,\"clientSecret\":[\"[redacted]\",{\"b\":\"[redacted]\"}]}");
  assert_redacted("{\"to\\u006ben\":\"x\",\"next\":2}", "{\"to\\u006ben\":\"[redacted]\",\"next\":2}");
  assert_redacted("{\"x\":\"password=hunter2&a=1\"}", "{\"x\":\"password=[redacted]&a=1\"}");
  assert_redacted("{\"x\":\"{\\\"token\\\":\\\"x\\\"}\"}", "{\"x\":\"{\\\"token\\\":\\\"[redacted]\\\"}\"}");
  assert_redacted("API_KEY=abc def", "API_KEY=[redacted] def");
  assert_redacted("Authorization: Bearer abcdefghijkl", "Authorization: [redacted]");
  assert_redacted("say Bearer abcdefghijkl!", "say Bearer [redacted]!");
  assert_redacted("postgresql://me:se@cret@db:5432/x", "postgresql://me:[redacted]@db:5432/x");
}

static void test_the_rest_stays(void **state) {
  (void)state;
  static const char *const same[] = {
    "", "plain", "{}", "[1,2.50,1e400,12345678901234567890,\"\\u00e9\\/\",true,null]", "{\"max_tokens\":4096}",
    "{\"key\":\"k\",\"tokens\":[1,2],\"password_hint\":\"none\"}", "sk-short", "ask-me-anything-about-all-of-this",
    "https://example.org/a:b@c", "{\"a\" :\t[ {\"b\":\"\\\"\"} ] }\n", "\"alone\"", "{broken",
    "task-abcdefghijklmnopqrstuvwxyz",
    "token counts are 3", "-----", "eyJ",
  };
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) assert_redacted(same[i], same[i]);
}

/* Whatever the bytes: no byte outside, and JSON in is JSON out. */
static void test_random(void **state) {
  (void)state;
  static const char *const bits[] = {"{", "}", "[", "]", ",", ":", "\"", "\\", "\"token\"", "\"a\"", "1", "null",
                                     "sk-",
                                     "abcdefghijklmnopqrst", "\\u006b", "\\ud83d\\ude00", " ", "eyJ", ".",
                                     "://u:p@h",
                                     "-----BEGIN ", "password=", "\xff", "\x01", "Bearer "};
  random_seed();
  for (int i = 0; i < 20000; i++) {
    sl_buf in = {0}, out = {0};
    for (size_t n = random_below(14); n > 0; n--) {
      const char *bit = bits[random_below(sizeof bits / sizeof *bits)];
      sl_buf_append(&in, bit, strlen(bit));
    }
    bool json = false, still = false;
    assert_true(redact(sl_buf_slice(&in), &out, &json));
    sl_buf again = {0};
    assert_true(redact(sl_buf_slice(&out), &again, &still));
    if (json && !still) fail_msg("%.*s became %.*s", (int)in.len, (char *)in.data, (int)out.len, (char *)out.data);
    sl_buf_free(&in);
    sl_buf_free(&out);
    sl_buf_free(&again);
  }
}

static void ignore(void *arg, sl_slice text, int json) {
  (void)arg, (void)text, (void)json;
}

/* Who may append an event must not be able to keep the agent busy for minutes with the copy of its dead letter. */
static void test_time_goes_with_the_length(void **state) {
  (void)state;
  static const char *const pieces[] = {"eyJ-", "eyJ-eyJ.", "sk-", "-----BEGIN ", "://a:", "token=", "pwd='",
                                       "Bearer "};
  enum { SIZE = 300000 };
  char *text = malloc(SIZE);
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    const size_t len = strlen(pieces[i]);
    for (size_t at = 0; at < SIZE; at++) text[at] = pieces[i][at % len];
    const clock_t begun = clock();
    assert_ok(sl_redact(SL_BYTES(text, SIZE), ignore, NULL));
    /* milliseconds; a minute where it is the square */
    const double seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
    if (seconds > 5) fail_msg("%s: %.1f s", pieces[i], seconds);
  }
  free(text);
}

/* What was learned of one run of letters says nothing of the next. */
static void test_token_behind_one_that_is_none(void **state) {
  (void)state;
  assert_redacted("eyJ-eyJ-eyJabcdefgh eyJhbGciOiJI" "UzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln x",
                  "eyJ-eyJ-eyJabcdefgh [redacted] x");
  assert_redacted("eyJ.eyJhbGciOiJI" "UzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", "eyJ.[redacted]");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_fields),
                                     cmocka_unit_test(test_the_rest_stays), cmocka_unit_test(test_random),
                                     cmocka_unit_test(test_time_goes_with_the_length),
                                     cmocka_unit_test(test_token_behind_one_that_is_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
