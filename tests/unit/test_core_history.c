/* A history of the core, recorded and replayed: the same calls on the same core give the same results, another
 * core's do not, and a recording that a kill has cut off is good up to there. (test_core_model.c replays whole
 * storms.) */
#include "core_rig.h"

#include "core/history_pack.h"

static void nothing(void *arg) { (void)arg; }
static void gather(void *arg, const void *data, size_t len) { sl_buf_append(arg, data, len); }

static void record(rig *r, sl_buf *to) {
  const core_recorder recorder = {.arg = to, .begin = nothing, .write = gather};
  assert_true(core_listen(r->core, &recorder));
}

/* Two topics, one of them refused; an oversize record that dies; a transaction in doubt; an outage. */
static sl_buf a_day(rig *r) {
  sl_buf told = {0};
  core_free(r->core);
  r->core = core_new(&r->config, &r->book->state);
  record(r, &told);
  give(r, (core_event){.kind = EVENT_START});
  bad(r, OP_CONNECT, outage());
  wake(r);
  claim(r);
  append(r, 0, 20);
  append(r, 1, 5);
  r->sick = "topic-1";
  tell_log(r);
  fill(r);
  all_delivered(r);
  commit(r);
  append(r, 0, 1);
  tell_log(r);
  assert_int_equal(fill(r), 1);
  const fault large = too_large();
  delivered(r, 0, &large);
  bad(r, OP_FLUSH, too_large());
  ok(r, OP_ABORT);
  ok(r, OP_DESTROY);
  wake(r);
  claim(r);
  fill(r);
  ok(r, OP_FLUSH);
  ok(r, OP_INTENT);
  r->now += 6 * SECOND; /* a slow commit is a doubt */
  ok(r, OP_COMMIT);
  assert_int_equal(r->act.op, OP_DESTROY);
  core_listen(r->core, NULL);
  return told;
}

static void test_replays_equal(void **state) {
  (void)state;
  rig *r = rig_new(true);
  sl_buf told = a_day(r);
  replay_result result;
  core_replay(sl_buf_slice(&told), NULL, NULL, &result);
  assert_true(result.readable);
  if (!result.equal) fail_msg("%s", result.text);
  assert_true(result.steps > 20 && result.calls > result.steps + 25);
  sl_buf_free(&told);
  rig_free(r);
}

static void count_line(void *arg, const char *text) {
  assert_true(strlen(text) > 10);
  ++*(unsigned *)arg;
}

static void test_each_step_is_told(void **state) {
  (void)state;
  rig *r = rig_new(true);
  sl_buf told = a_day(r);
  unsigned lines = 0;
  replay_result result;
  core_replay(sl_buf_slice(&told), count_line, &lines, &result);
  assert_int_equal(lines, result.steps);
  sl_buf_free(&told);
  rig_free(r);
}

typedef struct heard { const char *const *names; size_t next; } heard;

static void expect_name(void *arg, const char *text) {
  heard *h = arg;
  const char *name = h->names[h->next++];
  const char *said = strchr(text + strspn(text, " "), ' '); /* behind the time */
  assert_non_null(said);
  if (strncmp(said + 1, name, strlen(name)) != 0 || said[1 + strlen(name)] != ':')
    fail_msg("this should tell of \"%s\": %s", name, text);
}

static void test_each_event_is_told_by_its_name(void **state) {
  (void)state;
  static const core_event_kind kinds[] = {EVENT_START, EVENT_TIMER, EVENT_LOG, EVENT_REACHED, EVENT_BOOK,
                                          EVENT_LANES, EVENT_RULES, EVENT_LOGIN, EVENT_RESUMED, EVENT_STOP};
  static const char *const names[] = {"start", "timer", "log", "reached", "book", "lanes",
                                      "rules", "login", "resumed", "stop"};
  rig *r = rig_new(true);
  sl_buf told = {0};
  core_free(r->core);
  r->core = core_new(&r->config, &r->book->state);
  record(r, &told);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) give(r, (core_event){.kind = kinds[i]});
  heard h = {names, 0};
  replay_result result;
  core_replay(sl_buf_slice(&told), expect_name, &h, &result);
  assert_int_equal(h.next, sizeof names / sizeof *names);
  sl_buf_free(&told);
  rig_free(r);
}

/* Byte for byte the same recording, but the core's rule is another: as after a change of the code. */
static void test_another_core_diverges(void **state) {
  (void)state;
  rig *r = rig_new(true);
  sl_buf told = a_day(r), changed = {0};
  const uint8_t *line_end = memchr(told.data, '\n', told.len);
  assert_non_null(line_end);
  const size_t head = (size_t)(line_end - told.data) + 1;
  size_t used;
  core *other = core_image_load((sl_slice){told.data + head, told.len - head}, &used);
  assert_non_null(other);
  other->config.doubt_us = 3600 * SECOND; /* a slow commit is believed */
  sl_buf_append(&changed, told.data, head);
  assert_true(core_image_save(other, &changed));
  core_free(other);
  sl_buf_append(&changed, told.data + head + used, told.len - head - used);
  replay_result result;
  core_replay(sl_buf_slice(&changed), NULL, NULL, &result);
  assert_true(result.readable);
  assert_false(result.equal);
  if (!strstr(result.text, "settle")) fail_msg("it should have gone on with SETTLE: %s", result.text);
  sl_buf_free(&changed);
  sl_buf_free(&told);
  rig_free(r);
}

static void test_cut_off_anywhere(void **state) {
  (void)state;
  rig *r = rig_new(true);
  sl_buf told = a_day(r);
  uint64_t most = 0;
  for (size_t len = 0; len < told.len; len++) {
    uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees a read beyond it */
    memcpy(exact, told.data, len);
    replay_result result;
    core_replay((sl_slice){exact, len}, NULL, NULL, &result);
    free(exact);
    if (!result.readable) continue;
    if (!result.equal) fail_msg("cut at %zu: %s", len, result.text);
    assert_true(result.calls >= most);
    most = result.calls;
  }
  assert_true(most > 20);
  sl_buf_free(&told);
  rig_free(r);
}

static void test_of_another_build(void **state) {
  (void)state;
  static const char *const no[] = {"", "nonsense", HISTORY_MAGIC, HISTORY_MAGIC " 0.0.1 1 1\nxxxx"};
  replay_result result;
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    core_replay(sl_slice_of(no[i]), NULL, NULL, &result);
    assert_false(result.readable);
    assert_true(strlen(result.text) > 10);
  }
}

/* A long run keeps only its last parts; each begins with an image of its own and stands alone. */
typedef struct parts { sl_buf now; unsigned begun; } parts;

static void part_begins(void *arg) {
  parts *p = arg;
  replay_result result;
  if (p->now.len) {
    core_replay(sl_buf_slice(&p->now), NULL, NULL, &result);
    assert_true(result.readable);
    if (!result.equal) fail_msg("part %u: %s", p->begun, result.text);
  }
  sl_buf_reset(&p->now);
  p->begun++;
}

static void part_grows(void *arg, const void *data, size_t len) { sl_buf_append(&((parts *)arg)->now, data, len); }

static void test_parts_stand_alone(void **state) {
  (void)state;
  rig *r = rig_new(true);
  parts p = {0};
  start(r);
  claim(r);
  const core_recorder recorder = {.arg = &p, .begin = part_begins, .write = part_grows, .most = 4000};
  assert_true(core_listen(r->core, &recorder));
  for (unsigned i = 0; i < 60; i++) {
    append(r, (uint8_t)(i % 3), 20);
    tell_log(r);
    fill(r);
    all_delivered(r);
    commit(r);
  }
  assert_true(p.begun > 3);
  assert_true(p.now.len < 20000);
  core_listen(r->core, NULL);
  sl_buf_free(&p.now);
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_replays_equal),      cmocka_unit_test(test_each_step_is_told),
      cmocka_unit_test(test_each_event_is_told_by_its_name),
      cmocka_unit_test(test_another_core_diverges), cmocka_unit_test(test_cut_off_anywhere),
      cmocka_unit_test(test_of_another_build),   cmocka_unit_test(test_parts_stand_alone)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
