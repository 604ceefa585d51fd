/* The shape of a trace, on graphs as the field has them and as it should not. */
#include "unit.h"

#include "trace_draw.h"
#include "trace_layout.h"

#include <locale.h>
#include <unistd.h>

#define MOST 64
#define CORRELATION "corr"

/* Of the node of each seq. */
static const char *ids[MOST + 1];

static trace_node node(uint64_t seq, int64_t at_us, const char *id, const char *cause) {
  ids[seq] = id;
  return (trace_node){.seq = seq,
                      .at_us = at_us,
                      .id = trace_key(sl_slice_of(id)),
                      .story = trace_key(SL_STR(CORRELATION)),
                      .cause = cause ? trace_key(sl_slice_of(cause)) : 0};
}

/* The order as drawn, with depth: "a0 b1 c2". */
static void check_order(trace_node *nodes, size_t count, const char *expected) {
  char words[1024] = "";
  trace_shape shape;
  assert_true(trace_layout(nodes, count, &shape));
  for (size_t k = 0; k < count; k++) {
    const trace_node *n = &nodes[shape.order[k]];
    snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s%u", k ? " " : "",
             ids[n->seq], n->depth);
  }
  assert_string_equal(words, expected);
  trace_shape_free(&shape);
  trace_shape_free(&shape);
}

static void an_ordinary_story(void **state) {
  (void)state;
  trace_node n[] = {node(1, 0, "a", CORRELATION), node(2, 12, "b", "a"), node(3, 1630, "c", "b"),
                    node(4, 1633, "d", "a"), node(5, 1842, "e", "a")};
  check_order(n, 5, "a0 b1 c2 d1 e1");
  assert_int_equal(n[0].origin, TRACE_ROOT);
  assert_int_equal(n[1].origin, TRACE_CHILD);
  assert_false(n[1].last);
  assert_true(n[4].last);
  assert_int_equal(trace_gap(n, 2), 1618);
  assert_int_equal(n[2].earlier, 1);
}

static void roots_of_every_kind(void **state) {
  (void)state;
  trace_node n[] = {node(1, 0, "a", CORRELATION), node(2, 1, "b", "b"), node(3, 2, "c", NULL),
                    node(4, 3, "d", "gone")};
  check_order(n, 4, "a0 b0 c0 d0");
  assert_int_equal(n[0].origin, TRACE_ROOT);
  assert_int_equal(n[1].origin, TRACE_ROOT);
  assert_int_equal(n[2].origin, TRACE_ROOT);
  assert_int_equal(n[3].origin, TRACE_ELSEWHERE);
}

/* Where an event's id is the correlation id, those that name it as their cause are its effects. */
static void a_root_that_gave_the_correlation_its_id(void **state) {
  (void)state;
  trace_node n[] = {node(1, 0, CORRELATION, CORRELATION), node(2, 1, "b", CORRELATION)};
  check_order(n, 2, "corr0 b1");
}

static void effects_before_causes(void **state) {
  (void)state;
  trace_node n[] = {node(1, 50, "b", "a"), node(2, 10, "c", "b"), node(3, 100, "a", NULL)};
  check_order(n, 3, "a0 b1 c2");
  assert_int_equal(trace_gap(n, 2), 50);
}

static void circles(void **state) {
  (void)state;
  trace_node two[] = {node(1, 5, "a", "b"), node(2, 3, "b", "a")};
  check_order(two, 2, "b0 a1");
  assert_int_equal(two[1].origin, TRACE_CYCLE);
  trace_node tail[] = {node(1, 1, "x", "a"), node(2, 2, "a", "b"), node(3, 3, "b", "c"), node(4, 4, "c", "a"),
                       node(5, 5, "y", "x")};
  check_order(tail, 5, "a0 x1 y2 c1 b2");
}

static void one_id_in_several_topics(void **state) {
  (void)state;
  trace_node n[] = {node(1, 0, "a", NULL), node(2, 1, "a", NULL), node(3, 2, "b", "a"),
                    node(4, 3, "a", NULL)};
  n[0].duplicate = true;
  check_order(n, 4, "a0 a0 b1 a0");
  assert_int_equal(n[2].parent, 1);
}

static void none_and_one(void **state) {
  (void)state;
  trace_node n[] = {node(1, 7, "a", "a")};
  trace_shape shape;
  check_order(n, 0, "");
  check_order(n, 1, "a0");
  assert_true(trace_layout(n, 1, &shape));
  assert_int_equal(shape.largest, TRACE_NONE);
  trace_shape_free(&shape);
}

/* On any graph: every event once, each below its parent, siblings in order of time, no endless walk. */
static void random_graphs(void **state) {
  (void)state;
  static char names[MOST][8];
  for (int i = 0; i < MOST; i++)
    snprintf(names[i], sizeof names[i], "n%d", i);
  random_seed();
  for (int round = 0; round < 3000; round++) {
    size_t count = 1 + random_below(MOST);
    trace_node n[MOST];
    uint32_t at[MOST];
    trace_shape shape;
    for (size_t i = 0; i < count; i++)
      n[i] = node(i + 1, (int64_t)random_below(20), names[random_below(4) ? i : random_below(count)],
                  random_below(5) ? names[random_below(count + 2 < MOST ? count + 2 : MOST)] : NULL);
    assert_true(trace_layout(n, count, &shape));
    for (size_t i = 0; i < count; i++)
      at[i] = TRACE_NONE;
    for (uint32_t k = 0; k < count; k++) {
      assert_int_equal(at[shape.order[k]], TRACE_NONE);
      at[shape.order[k]] = k;
    }
    for (size_t i = 0; i < count; i++) {
      assert_true(at[i] != TRACE_NONE && trace_gap(n, i) >= 0);
      if (n[i].parent == TRACE_NONE) {
        assert_int_equal(n[i].depth, 0);
      } else {
        assert_true(at[n[i].parent] < at[i]);
        assert_int_equal(n[i].depth, n[n[i].parent].depth + 1);
      }
      for (size_t k = 0; k < count; k++) /* siblings */
        if (n[k].parent == n[i].parent && at[i] < at[k])
          assert_true(n[i].at_us <= n[k].at_us && !n[i].last);
    }
    trace_shape_free(&shape);
  }
}

static void a_chain_of_a_hundred_thousand(void **state) {
  (void)state;
  enum { LONG = 100000 };
  trace_node *n = calloc(LONG, sizeof *n);
  trace_shape shape;
  for (uint32_t i = 0; i < LONG; i++) {
    uint32_t cause = i - 1;
    n[i] = (trace_node){.seq = i + 1,
                        .at_us = i,
                        .id = trace_key((sl_slice){&i, sizeof i}),
                        .cause = i ? trace_key((sl_slice){&cause, sizeof cause}) : 0};
  }
  assert_true(trace_layout(n, LONG, &shape));
  assert_int_equal(n[LONG - 1].depth, LONG - 1);
  trace_shape_free(&shape);
  free(n);
}

/* ------------------------------------------------------------- drawing --- */

static char *s(const char *words) { return (char *)(uintptr_t)words; }

static void row_of(void *rows, size_t at, trace_row *out) { *out = ((trace_row *)rows)[at]; }

static void draw(trace_node *n, trace_row *rows, size_t count, int width, bool unicode, char *out,
                 size_t cap) {
  FILE *file = tmpfile();
  output o;
  trace_shape shape;
  out_init(&o, (term){.unicode = unicode, .width = width});
  o.fd = fileno(file);
  assert_true(trace_layout(n, count, &shape));
  trace_draw(&o, n, &(trace_rows){row_of, rows}, count, &shape);
  out_flush(&o);
  rewind(file);
  size_t len = fread(out, 1, cap - 1, file);
  out[len] = 0;
  fclose(file);
  trace_shape_free(&shape);
  out_free(&o);
}

static void check_lines(const char *drawn, int width, size_t count) {
  size_t lines = 0;
  for (const char *p = drawn; *p; lines++) {
    char line[2048];
    size_t len = strcspn(p, "\n");
    snprintf(line, sizeof line, "%.*s", (int)len, p);
    if (text_width(line) > width)
      fail_msg("%d columns, not %d: %s", text_width(line), width, line);
    p += len + 1;
  }
  assert_int_equal(lines, count);
}

static void no_line_wraps(void **state) {
  (void)state;
  static char out[1 << 16];
  bool unicode = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
  trace_node n[] = {node(1, 0, "a", CORRELATION), node(2, 12000, "b", "a"),      node(3, 1630000, "c", "b"),
                    node(4, 1633000, "d", "a"),   node(5, 1842000, "e", "gone"), node(6, 1842001, "f", "e")};
  trace_row rows[] = {
      {s("WORKFLOW_STARTED"), s("orchestrator"), s("stamp-workflow-started.v1[2]@1041"),
       s("stamp-workflow-started.v1"), NULL, SL_SENT},
      {s("INTELLIGENCE_REQUESTED"), s("orchestrator"), s("onextree-intelligence-requested.v1[0]@318"),
       s("onextree-intelligence-requested.v1"), NULL, SL_SENT},
      {s("INTELLIGENCE_RECEIVED"), s("onextree"), s("onextree-intelligence-received.v1[0]@318"),
       s("onextree-intelligence-received.v1"), NULL, SL_SENT},
      {s("\xe6\xbc\xa2\xe5\xad\x97"), s(""), s("MSG_SIZE_TOO_LARGE after 1 try"),
       s("MSG_SIZE_TOO_LARGE after 1 try"), NULL, SL_DEAD},
      {s("WORKFLOW_COMPLETED"), s("orchestrator"), s("2nd in line"), s("2nd in line"),
       s("its cause gone is not in this store"), SL_PENDING},
      {s("A_TYPE_THAT_IS_MUCH_LONGER_THAN_ANY_OTHER_TYPE_THAT_ANYBODY_EVER_THOUGHT_OF"), s("x"),
       s("of seq 5"), s("of seq 5"), NULL, SL_DUPLICATE},
  };
  for (int width = 40; width <= 240; width++) {
    draw(n, rows, 6, width, unicode && width % 2, out, sizeof out);
    check_lines(out, width, 6);
    draw(n, rows, 5, width, unicode && width % 2, out, sizeof out);
    check_lines(out, width, 5);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_ordinary_story),
                                     cmocka_unit_test(roots_of_every_kind),
                                     cmocka_unit_test(a_root_that_gave_the_correlation_its_id),
                                     cmocka_unit_test(effects_before_causes),
                                     cmocka_unit_test(circles),
                                     cmocka_unit_test(one_id_in_several_topics),
                                     cmocka_unit_test(none_and_one),
                                     cmocka_unit_test(random_graphs),
                                     cmocka_unit_test(a_chain_of_a_hundred_thousand),
                                     cmocka_unit_test(no_line_wraps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
