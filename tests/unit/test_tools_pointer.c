/* The quick way to what a JSON pointer points at says what the parser says, of JSON and of what nearly is; and the
 * searches through bytes find what a plain loop finds. */
#include "unit.h"

#include "bytes.h"
#include "pointer.h"


static unsigned chance(unsigned below) { return (unsigned)random_below(below); }

/* ------------------------------------------------------------ searches --- */

static void test_find(void **state) {
  (void)state;
  char hay[200], needle[8];
  for (int turn = 0; turn < 20000; turn++) {
    const size_t len = chance(sizeof hay), want = chance(sizeof needle);
    for (size_t i = 0; i < len; i++) hay[i] = (char)('a' + chance(3));
    for (size_t i = 0; i < want; i++) needle[i] = (char)('a' + chance(3));
    char *exact = malloc(len + 1); /* sanitizers see a look beyond its end */
    memcpy(exact, hay, len);
    const char *found = NULL;
    for (size_t i = 0; i + want <= len && !found; i++)
      if (memcmp(exact + i, needle, want) == 0) found = exact + i;
    assert_ptr_equal(bytes_find(exact, len, needle, want), found);
    free(exact);
  }
}

static void test_plain_end(void **state) {
  (void)state;
  for (int c = 0; c < 256; c++)
    for (size_t len = 1; len < 40; len++) {
      char *exact = malloc(len);
      memset(exact, 'x', len);
      exact[len - 1] = (char)c;
      const bool plain = c >= 0x20 && c != '"' && c != '\\';
      assert_ptr_equal(bytes_plain_end(exact, len), exact + (plain ? len : len - 1));
      free(exact);
    }
}

/* ------------------------------------------------------------ pointers --- */

static const char *const pointers[] = {"", "/a", "/a/b", "/a/0", "/a/0/b", "/b/1", "/", "/a~1b", "/x/y/z", "/01"};
enum { POINTERS = sizeof pointers / sizeof *pointers };

static void check(pointer *p, const char *json, size_t len) {
  char *exact = malloc(len + 1);
  memcpy(exact, json, len);
  const sl_slice whole = {exact, len};
  sl_slice quick = {NULL, 0}, slow = {NULL, 0};
  const pointed a = pointer_find(p, whole, &quick);
  char *kept = malloc(quick.len + 1); /* the next call may use its memory */
  if (quick.len) memcpy(kept, quick.data, quick.len);
  const pointed b = len ? pointer_find_slowly(p, whole, &slow) : POINTED_NOTHING;
  if (a != b || quick.len != slow.len || (quick.len && memcmp(kept, slow.data, slow.len) != 0))
    fail_msg("of %.*s: %d %.*s, the parser says %d %.*s", (int)len, json, a, (int)quick.len, kept, b,
             (int)slow.len,
             slow.len ? (const char *)slow.data : "");
  free(kept);
  free(exact);
}

typedef struct growing {
  char text[4096];
  size_t len;
} growing;

static void add(growing *g, const char *words) {
  const size_t len = strlen(words);
  if (g->len + len > sizeof g->text) return;
  memcpy(g->text + g->len, words, len);
  g->len += len;
}

static const char *one_of(const char *const *list, unsigned count) { return list[chance(count)]; }
#define ONE_OF(...) one_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void add_value(growing *g, int depth) {
  const unsigned kind = chance(depth > 4 ? 6 : 9);
  add(g, ONE_OF("", "", "", " ", "\n\t"));
  if (kind < 3) add(g, ONE_OF("1", "-0", "0.5e+10", "123456789012345678901234567890", "1e400", "0"));
  else if (kind < 5)
    add(g,
        ONE_OF("\"\"", "\"x\"", "\"a long one, longer than sixteen bytes\"", "\"\\u00e9\\n\\\"\"",
               "\"\\/\\ud800\"", "\"\xc3\xa9\xff\""));
  else if (kind < 6) add(g, ONE_OF("true", "false", "null"));
  else {
    const bool map = kind < 8;
    add(g, map ? "{" : "[");
    for (unsigned n = chance(4), i = 0; i < n; i++) {
      add(g, i ? "," : "");
      if (map) {
        add(g,
            ONE_OF("\"a\"", "\"a\"", "\"b\"", "\"x\"", "\"y\"", "\"0\"", "\"\"", "\"a/b\"", "\"\\u0061\"",
                   "\"a\\/b\"", "\"z\""));
        add(g, ONE_OF(":", ":", " : "));
      }
      add_value(g, depth + 1);
    }
    add(g, map ? "}" : "]");
  }
  add(g, ONE_OF("", "", "", " "));
}

static void test_as_the_parser_says(void **state) {
  static const char odd[] = "\"\\{}[]:,0159-+.eEtrufalsn \n\v\x01\xff/*";
  (void)state;
  pointer *all[POINTERS];
  for (unsigned i = 0; i < POINTERS; i++) assert_non_null(all[i] = pointer_new(slice_of(pointers[i])));
  for (int turn = 0; turn < 30000; turn++) {
    growing g = {.len = 0};
    add_value(&g, 0);
    if (turn % 2) /* not quite JSON */
      for (unsigned n = 1 + chance(2); n > 0 && g.len; n--) {
        const size_t at = chance((unsigned)g.len);
        if (chance(3) == 0) memmove(g.text + at, g.text + at + 1, --g.len - at);
        else g.text[at] = odd[chance(sizeof odd - 1)];
      }
    for (unsigned i = 0; i < POINTERS; i++) check(all[i], g.text, g.len);
  }
  for (unsigned i = 0; i < POINTERS; i++) pointer_free(all[i]);
}

static void test_corners(void **state) {
  (void)state;
  static const char *const texts[] = {
    "", " ", "01", "-", "1.", "1e", "1e+", ".5", "+1", "\"", "\"\\", "\"\\u12\"", "\"\\x\"", "\"a\tb\"", "{", "[",
    "[1,]", "{\"a\":1,}", "{\"a\"}",
    "{\"a\":1 \"b\":2}", "tru", "nul", "true false", "{\"a\":1}}", "[1]x", "/**/1", "\xef\xbb\xbf{}",
    "{\"a\":{\"b\":1},\"a\":2}",
    "{\"a\":2,\"a\":{\"b\":1}}", "{\"a\":[{\"b\":1},{\"b\":2}]}", "{\"\\u0061\":1}", "{\"a\":1,\"\\u0061\":2}",
    "{\"a/b\":1}", "{\"a\\/b\":1}", "{\"\":1}",
    "{\"a\":[]}", "{\"a\":{}}", "[[[1]]]", "{\"0\":1}", "\v1", "{\"01\":1}"};
  for (unsigned i = 0; i < POINTERS; i++) {
    pointer *p = pointer_new(slice_of(pointers[i]));
    for (unsigned k = 0; k < sizeof texts / sizeof *texts; k++) check(p, texts[k], strlen(texts[k]));
    pointer_free(p);
  }
}

static void test_deep(void **state) {
  (void)state;
  pointer *p = pointer_new(SL_STR("/a/b"));
  for (size_t depth = 250; depth < 262; depth++) {
    char json[1024] = "{\"a\":{\"b\":";
    size_t len = strlen(json);
    memset(json + len, '[', depth);
    memset(json + len + depth, ']', depth);
    memcpy(json + len + 2 * depth, "}}", 2);
    check(p, json, len + 2 * depth + 2);
    check(p, json, len + 2 * depth + 1);
  }
  pointer_free(p);
}

int main(void) {
  print_message("SIDELOG_SEED=%llu\n", (unsigned long long)random_seed());
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_plain_end),
                                     cmocka_unit_test(test_as_the_parser_says),
                                     cmocka_unit_test(test_corners), cmocka_unit_test(test_deep)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
