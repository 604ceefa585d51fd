/* The table of classes against every code that this librdkafka has, and against its golden text: a change of
 * what happens to an event must be seen by whoever reads the difference. SIDELOG_UPDATE_GOLDEN=1 writes it
 * anew. */
#include "kafka/classify.h"
#include "kafka/kafka.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GOLDEN GOLDEN_DIR "/kafka-codes.txt"

/* Fills gaps in the enumeration and delimiters: not codes that anything returns. */
static bool is_code(const struct rd_kafka_err_desc *d) {
  return d->name != NULL && d->code != RD_KAFKA_RESP_ERR__BEGIN && d->code != RD_KAFKA_RESP_ERR__END;
}

static void every_code_has_a_row(void **state) {
  const struct rd_kafka_err_desc *descs;
  size_t count;
  int missing = 0;
  (void)state;
  rd_kafka_get_err_descs(&descs, &count);
  assert_true(count > 100);
  for (size_t i = 0; i < count; i++) {
    if (!is_code(&descs[i]) || classify_find(descs[i].code)) continue;
    print_error("sync/kafka/classify.c has no row for %s (%d): %s\n", descs[i].name, descs[i].code,
                descs[i].desc);
    missing++;
  }
  assert_int_equal(missing, 0);
}

static char *table(void) {
  const struct rd_kafka_err_desc *descs;
  size_t count, size;
  char *text;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  rd_kafka_get_err_descs(&descs, &count);
  for (size_t i = 0; i < count; i++) {
    const classify_row *row = is_code(&descs[i]) ? classify_find(descs[i].code) : NULL;
    if (!row) continue;
    fprintf(out, "%4d  %-36s %-10s %-26s %s%s\n", descs[i].code, descs[i].name, fault_scope_text(row->scope),
            fault_class_text(row->class_), row->fenced ? "fenced: " : "", row->remark);
  }
  fclose(out);
  return text;
}

static char *slurp(const char *path) {
  char *text = calloc(1, 1 << 16);
  FILE *in = fopen(path, "r");
  if (in) {
    size_t n = fread(text, 1, (1 << 16) - 1, in);
    text[n] = '\0';
    fclose(in);
  }
  return text;
}

static void table_is_the_golden_one(void **state) {
  char *now = table(), *golden = slurp(GOLDEN);
  (void)state;
  if (getenv("SIDELOG_UPDATE_GOLDEN")) {
    FILE *out = fopen(GOLDEN, "w");
    assert_non_null(out);
    fputs(now, out);
    fclose(out);
  } else {
    char *a = now, *b = golden;
    while (*a && *b) { /* the first line that differs, rather than two tables */
      size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");
      if (la != lb || memcmp(a, b, la) != 0)
        fail_msg("table:  %.*s\ngolden: %.*s", (int)la, a, (int)lb, b);
      a += la + (a[la] == '\n');
      b += lb + (b[lb] == '\n');
    }
    assert_string_equal(a, b);
  }
  free(now);
  free(golden);
}

static void success_is_no_fault(void **state) {
  fault f = kafka_classify(RD_KAFKA_RESP_ERR_NO_ERROR);
  (void)state;
  assert_true(fault_is_ok(&f));
  assert_int_equal(f.class_, CLASS_NONE);
}

static void unknown_code_is_retried(void **state) {
  fault f = kafka_classify(12345);
  (void)state;
  assert_int_equal(f.scope, SCOPE_CONNECTION);
  assert_int_equal(f.class_, CLASS_RETRYABLE_TRANSIENT);
  assert_string_equal(f.name, "CODE_12345");
}

/* The rules behind the table, so that a careless row fails twice. */
static void rules_hold(void **state) {
  const struct rd_kafka_err_desc *descs;
  size_t count;
  (void)state;
  rd_kafka_get_err_descs(&descs, &count);
  for (size_t i = 0; i < count; i++) {
    const classify_row *row = is_code(&descs[i]) ? classify_find(descs[i].code) : NULL;
    if (!row || row->code == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    /* Outage is not poison. */
    if (row->scope == SCOPE_CONNECTION)
      assert_true(row->class_ == CLASS_RETRYABLE_TRANSIENT || row->class_ == CLASS_RETRYABLE_DEPENDENCY);
    /* A producer's session is made again, whatever it was. */
    if (row->scope == SCOPE_PRODUCER)
      assert_true(row->class_ == CLASS_RETRYABLE_TRANSIENT || row->class_ == CLASS_RETRYABLE_DEPENDENCY);
    /* No record is to blame for a missing right. */
    if (row->class_ == CLASS_NON_RETRYABLE_SECURITY)
      assert_true(row->scope == SCOPE_TOPIC || row->scope == SCOPE_CLUSTER);
    if (row->fenced) assert_int_equal(row->scope, SCOPE_PRODUCER);
    assert_true(row->remark && *row->remark);
  }
}

static void texts_are_total(void **state) {
  (void)state;
  for (int i = 0; i <= SCOPE_AGENT; i++) assert_string_not_equal(fault_scope_text((fault_scope)i), "?");
  for (int i = 0; i <= CLASS_NON_RETRYABLE_IDEMPOTENCY; i++)
    assert_string_not_equal(fault_class_text((fault_class)i), "?");
  assert_string_equal(fault_scope_text((fault_scope)99), "?");
  assert_string_equal(fault_class_text((fault_class)99), "?");
}

/* What the configuration may treat otherwise is what the table says of a single record, without the one that a
 * broker has. */
static void codes_of_a_record_are_the_tables(void **state) {
  const struct rd_kafka_err_desc *descs;
  size_t count, found = 0;
  (void)state;
  rd_kafka_get_err_descs(&descs, &count);
  for (size_t i = 0; i < count; i++) {
    const classify_row *row = is_code(&descs[i]) ? classify_find(descs[i].code) : NULL;
    if (!row) continue;
    const bool may = row->scope == SCOPE_RECORD && row->class_ != CLASS_NON_RETRYABLE_IDEMPOTENCY;
    if (may != (fault_record_code(descs[i].name) >= 0)) fail_msg("%s", descs[i].name);
    found += may;
  }
  assert_int_equal(found, FAULT_RECORD_CODES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_code_has_a_row), cmocka_unit_test(table_is_the_golden_one),
    cmocka_unit_test(success_is_no_fault),  cmocka_unit_test(unknown_code_is_retried),
    cmocka_unit_test(rules_hold),           cmocka_unit_test(texts_are_total),
    cmocka_unit_test(codes_of_a_record_are_the_tables),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
