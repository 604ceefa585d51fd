/* What a record that fails by its own fault may spend, where its topic has rules of its own. */
#include "core_rig.h"

static fault invalid(void) {
  return sim_fault_of(SCOPE_RECORD, CLASS_NON_RETRYABLE_VALIDATION, "INVALID_RECORD");
}

static uint64_t dead(const rig *r) { return r->book->state.dead; }

/* Two events of topic-1, then one of topic-0; topic-1 has the rules. Ready to fill. */
static rig *with_rules(const fault_rules *rules) {
  rig *r = rig_new(true);
  r->rules = rules;
  start(r);
  ready(r);
  append(r, 1, 2);
  append(r, 0, 1);
  tell_log(r);
  return r;
}

/* One step of whatever the core asks for; the broker refuses seq `bad`, wherever it is. */
static void step(rig *r, uint64_t bad, unsigned *alone) {
  switch (r->act.op) {
  case OP_NONE: wake(r); break;
  case OP_READ_MARKER: reads(r, r->book->state.marker_bytes); break;
  case OP_FLUSH:
    begun(r);
    ok(r, OP_FLUSH);
    break;
  case OP_FILL: {
    const size_t n = fill(r);
    const fault why = invalid(), purge = purged();
    size_t bad_at = n;
    for (size_t i = 0; i < n; i++)
      if (r->seqs[i] == bad) bad_at = i;
    for (size_t i = 0; i < n; i++) delivered(r, i, bad_at == n ? NULL : i == bad_at ? &why : &purge);
    *alone += bad_at < n && n == 1;
    break;
  }
  default: ok(r, r->act.op);
  }
}

static void until_settled(rig *r, uint64_t bad, unsigned *alone) {
  for (int i = 0; i < 300 && r->book->state.cursor.seq < 3; i++) step(r, bad, alone);
  assert_int_equal(r->book->state.cursor.seq, 3);
}

static void test_a_topic_has_a_budget_of_its_own(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  rules.of[CLASS_NON_RETRYABLE_VALIDATION] = (retry_rule){2, 40000000, 40000000};
  rig *r = with_rules(&rules);
  const int64_t begun = r->now;
  unsigned alone = 0;
  until_settled(r, 1, &alone);
  assert_int_equal(r->book->state.cursor.seq, 3);
  assert_int_equal(alone, 3); /* once, and two retries */
  assert_int_equal(dead(r), 1);
  assert_int_equal(r->book->state.delivered, 2);
  assert_true(r->now - begun > 100000); /* their pauses, too: without rules there is none */
  rig_free(r);
}

static void test_a_code_may_be_treated_as_another_class(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  rules.codes[fault_record_code("INVALID_RECORD")] = TREAT_AS + CLASS_RETRYABLE_DEPENDENCY;
  rig *r = with_rules(&rules);
  unsigned alone = 0;
  until_settled(r, 1, &alone);
  assert_int_equal(alone, 4);
  assert_int_equal(dead(r), 1);
  rig_free(r);
}

static void test_a_code_may_be_a_dead_letter_at_once(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  rules.of[CLASS_NON_RETRYABLE_VALIDATION].budget = 50;
  rules.codes[fault_record_code("INVALID_RECORD")] = TREAT_DEAD_LETTER;
  rig *r = with_rules(&rules);
  unsigned alone = 0;
  until_settled(r, 1, &alone);
  assert_int_equal(alone, 1);
  assert_int_equal(dead(r), 1);
  rig_free(r);
}

/* Nothing is set aside: the topic waits behind the record, the others pass; once it is taken all arrive in
 * order. */
static void test_a_code_may_make_its_topic_wait(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  rules.codes[fault_record_code("INVALID_RECORD")] = TREAT_LANE;
  for (int refused_by_the_client = 0; refused_by_the_client < 2; refused_by_the_client++) {
    rig *r = with_rules(&rules);
    r->refuse_seq = refused_by_the_client ? 1 : 0;
    r->refuse_why = invalid();
    unsigned alone = 0;
    for (int i = 0; i < 900 && r->now < 2000 * SECOND; i++) step(r, 1, &alone);
    assert_int_equal(r->book->state.cursor.seq, 3);
    assert_int_equal(r->book->state.delivered, 1);
    assert_int_equal(dead(r), 0);
    assert_int_equal(r->book->state.cursor.lane_count, 1);
    assert_string_equal(core_lane_of(r->core, SL_STR("topic-1")).why->name, "INVALID_RECORD");
    r->refuse_seq = 0; /* mended */
    for (int i = 0; i < 300 && r->book->state.delivered < 3; i++) step(r, 0, &alone);
    assert_int_equal(r->book->state.delivered, 3);
    assert_int_equal(dead(r), 0);
    assert_int_equal(r->book->state.cursor.lane_count, 0);
    rig_free(r);
  }
}

/* What is no record's own fault stays so, whatever its name. */
static void test_only_a_records_own_fault_is_ruled_on(void **state) {
  (void)state;
  fault_rules rules = fault_rules_default;
  for (size_t i = 0; i < FAULT_RECORD_CODES; i++) rules.codes[i] = TREAT_DEAD_LETTER;
  rig *r = with_rules(&rules);
  const size_t n = fill(r);
  const fault why = sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT, "INVALID_RECORD");
  for (size_t i = 0; i < n; i++) delivered(r, i, &why);
  ok(r, OP_FLUSH);
  ok(r, OP_DESTROY);
  wake(r);
  claim(r);
  fill(r);
  all_delivered(r);
  commit(r);
  assert_int_equal(r->book->state.delivered, 3);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_topic_has_a_budget_of_its_own),
      cmocka_unit_test(test_a_code_may_be_treated_as_another_class),
      cmocka_unit_test(test_a_code_may_be_a_dead_letter_at_once),
      cmocka_unit_test(test_a_code_may_make_its_topic_wait),
      cmocka_unit_test(test_only_a_records_own_fault_is_ruled_on)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
