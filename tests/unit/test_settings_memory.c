/* No memory while a configuration is read: that is what is said, whatever it was wanted for. */
#include "fail_malloc.h"
#include "settings_help.h"

static const char text[] = "brokers: b:1\n"
                           "transactions: {timeout: 5s, max_events: 7}\n"
                           "topics:\n- match: a*\n  partitions: 3\n"
                           "kafka: {linger.ms: 5, client.id: me}\n";

/* It said that the file had more than 4096 keys. */
static void it_is_memory_that_is_short(void **state) {
  (void)state;
  for (long n = 0;; n++) {
    settings s = {0};
    char *said = NULL;
    size_t len = 0;
    problems p = {.out = open_memstream(&said, &len)};
    countdown = n;
    settings_read_yaml(&s, &p, "short", text, strlen(text));
    const bool all_was_had = countdown >= 0;
    countdown = -1;
    fclose(p.out);
    if (all_was_had != (p.errors == 0)) fail_msg("%ld: %s", n, said);
    if (p.errors && !strstr(said, "does not fit into memory")) fail_msg("%ld: %s", n, said);
    settings_free(&s);
    free(said);
    if (!all_was_had) continue;
    assert_in_range(n, 8, 100);
    break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_memory_that_is_short)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
