/* What causes tell of clocks: the truth lies in what is said, nothing is said that causes do not tell. */
#include "unit.h"

#include "skew.h"

#define HOSTS 5
#define EVENTS 120
#define SECOND INT64_C(1000000)
static const int64_t BEGIN = INT64_C(1772359200000000);

static void learn(skew *s, size_t host, int id, int cause, int64_t us) {
  char a[16], b[16];
  snprintf(a, sizeof a, "e%d", id);
  snprintf(b, sizeof b, "e%d", cause);
  skew_learn(s, host, sl_slice_of(a), cause < 0 ? (sl_slice){NULL, 0} : sl_slice_of(b), us);
}

static void check_words(const skew *s, size_t host, const char *expected) {
  text words = {0};
  skew_words(&words, s, host, "b", "a");
  assert_string_equal(text_str(&words), expected);
  text_free(&words);
}

typedef struct world {
  size_t hosts;
  int64_t ahead[HOSTS];
  struct { size_t host; int cause; int64_t real, read; } events[EVENTS];
} world;

/* Some producers write whole milliseconds, or seconds. */
static int64_t cut(int64_t us, size_t how) { return how == 0 ? us - us % SECOND : how == 1 ? us - us % 1000 : us; }

static void make_world(world *w) {
  int64_t wide = (int64_t[]){1000, SECOND, 3600 * SECOND}[random_below(3)];
  w->hosts = 2 + random_below(HOSTS - 1);
  size_t precision[HOSTS];
  for (size_t h = 0; h < w->hosts; h++) {
    w->ahead[h] = (int64_t)random_below((size_t)(2 * wide + 1)) - wide;
    precision[h] = random_below(6);
  }
  for (int i = 0; i < EVENTS; i++) {
    w->events[i].host = random_below(w->hosts);
    w->events[i].cause = i && random_below(4) ? (int)random_below((size_t)i) : -1;
    int64_t after = w->events[i].cause < 0 ? BEGIN : w->events[w->events[i].cause].real;
    w->events[i].real = after + (int64_t)random_below((size_t)(random_below(8) ? 2000 : 3 * SECOND));
    size_t h = w->events[i].host;
    w->events[i].read = cut(w->events[i].real + w->ahead[h], precision[h]);
  }
}

/* Does a cause join the two, in this direction? */
static bool joined(const world *w, size_t from, size_t to) {
  for (int i = 0; i < EVENTS; i++) {
    int c = w->events[i].cause;
    if (c >= 0 && w->events[c].host == from && w->events[i].host == to)
      return true;
  }
  return false;
}

static void check_world(const world *w, const skew *s) {
  for (size_t h = 1; h < w->hosts; h++) {
    const skew_clock *c = skew_clock_of(s, h);
    assert_false(c->contradicts);
    if (c->than == SKEW_NONE) {
      for (size_t k = 0; k < h; k++)
        assert_false(joined(w, k, h) || joined(w, h, k));
      continue;
    }
    int64_t truth = w->ahead[h] - w->ahead[c->than];
    if (c->has_least)
      assert_true(truth >= c->least_us);
    if (c->has_most)
      assert_true(truth <= c->most_us);
    assert_true(c->has_most || !joined(w, c->than, h));
    assert_true(c->has_least || !joined(w, h, c->than));
  }
  /* Told together, no effect is before its cause, but for what was cut from its time. */
  for (int i = 0; i < EVENTS; i++) {
    int k = w->events[i].cause;
    if (k < 0 || w->events[k].host == w->events[i].host)
      continue;
    int64_t cause = w->events[k].read - skew_clock_of(s, w->events[k].host)->shift_us;
    int64_t effect = w->events[i].read - skew_clock_of(s, w->events[i].host)->shift_us;
    assert_true(effect + time_precision(w->events[i].read) > cause);
  }
}

static void the_truth_lies_in_what_is_said(void **state) {
  (void)state;
  world w;
  int order[EVENTS];
  random_seed();
  for (int round = 0; round < 3000; round++) {
    make_world(&w);
    skew *s = skew_new(w.hosts);
    for (int i = 0; i < EVENTS; i++) { /* in any order */
      size_t at = random_below((size_t)i + 1);
      order[i] = order[at];
      order[at] = i;
    }
    for (int i = 0; i < EVENTS; i++)
      learn(s, w.events[order[i]].host, order[i], w.events[order[i]].cause, w.events[order[i]].read);
    skew_solve(s);
    check_world(&w, s);
    skew_free(s);
  }
}

static void both_ways(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 1);
  learn(s, 1, 2, 1, BEGIN + 1 - SECOND - 200002); /* so b is behind by at least that */
  learn(s, 0, 3, 2, BEGIN + 150003);              /* ... and at most by so much more */
  skew_solve(s);
  const skew_clock *c = skew_clock_of(s, 1);
  assert_int_equal(c->most_us, -SECOND - 200002);
  assert_int_equal(c->least_us, -SECOND - 350004);
  assert_int_equal(c->causes, 2);
  assert_int_equal(c->shift_us, -SECOND - 275003);
  check_words(s, 1, "clock of b is 1.200 s..1.351 s behind a (from 2 causes)");
  skew_free(s);
}

/* What is said allows for times that were cut; what is drawn has no effect before its cause where that can be. */
static void times_that_may_be_cut(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 1000);
  learn(s, 1, 2, 1, BEGIN + 1000 - SECOND + 500000);
  learn(s, 1, 3, 1, BEGIN + 1000 - 130000);
  skew_solve(s);
  check_words(s, 1, "clock of b is at least 0.499 s behind a (from 2 causes, one way only)");
  assert_int_equal(skew_clock_of(s, 1)->shift_us, -500000);
  skew_free(s);

  s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 500001);
  learn(s, 1, 2, 1, BEGIN); /* the same second */
  learn(s, 0, 3, 2, BEGIN + 600001);
  skew_solve(s);
  assert_false(skew_moves(s));
  skew_free(s);
}

static void what_may_agree_is_left_alone(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 1);
  learn(s, 1, 2, 1, BEGIN + 200001);
  learn(s, 0, 3, 2, BEGIN + 300001);
  skew_solve(s);
  assert_false(skew_moves(s));
  check_words(s, 1, "clock of b is within -0.100 s..+0.200 s of a's, so they may agree (from 2 causes)");
  skew_free(s);
}

static void one_way_moves_no_more_than_is_needed(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 1);
  learn(s, 1, 2, 1, BEGIN + 1 - SECOND);
  skew_solve(s);
  assert_int_equal(skew_clock_of(s, 1)->shift_us, -SECOND);
  assert_false(skew_clock_of(s, 1)->has_least);
  check_words(s, 1, "clock of b is at least 1.000 s behind a (from 1 cause, one way only)");
  skew_free(s);

  s = skew_new(2);
  learn(s, 1, 1, -1, BEGIN + 1);
  learn(s, 0, 2, 1, BEGIN + 740);
  skew_solve(s);
  assert_false(skew_moves(s));
  check_words(s, 1, "clock of b is at most 739 us behind a (from 1 cause, one way only)");
  skew_free(s);
}

static void by_way_of_a_third(void **state) {
  (void)state;
  skew *s = skew_new(3);
  learn(s, 0, 1, -1, BEGIN + 1);
  learn(s, 2, 2, 1, BEGIN + 1 + 5 * SECOND);
  learn(s, 1, 3, 2, BEGIN + 1 + 2 * SECOND);
  skew_solve(s);
  assert_int_equal(skew_clock_of(s, 1)->most_us, 2 * SECOND);
  check_words(s, 1, "clock of b is at most 2.000 s ahead of a (by way of others)");
  skew_free(s);
}

static void nothing_joins_them(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN);
  learn(s, 1, 2, 7, BEGIN);
  skew_solve(s);
  assert_int_equal(skew_clock_of(s, 1)->than, SKEW_NONE);
  check_words(s, 1, "how the clock of b differs is not known: no cause joins it to another");
  skew_free(s);
}

static void a_clock_that_was_set(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, -1, BEGIN + 1);
  learn(s, 1, 2, 1, BEGIN + 1 - SECOND); /* a second behind at least */
  learn(s, 1, 3, -1, BEGIN + 1 + 9 * SECOND);
  learn(s, 0, 4, 3, BEGIN + 1 + 7 * SECOND); /* two ahead at least */
  skew_solve(s);
  assert_true(skew_clock_of(s, 1)->contradicts);
  assert_false(skew_moves(s));
  check_words(s, 1,
              "the clocks of a and b cannot be told: by one cause b is ahead by at most -1.000 s, by another at least "
                    "+2.000 s; a clock was set meanwhile, or a time is of another clock");
  skew_free(s);
}

static void three_that_contradict_each_other(void **state) {
  (void)state;
  skew *s = skew_new(4);
  for (size_t h = 0; h < 3; h++) {
    learn(s, h, 10 * (int)h, -1, BEGIN + 1);
    learn(s, (h + 1) % 3, 10 * (int)h + 1, 10 * (int)h, BEGIN + 1 - SECOND);
  }
  learn(s, 3, 40, 0, BEGIN + 1 - SECOND);
  skew_solve(s);
  for (size_t h = 1; h < 3; h++)
    assert_true(skew_clock_of(s, h)->contradicts);
  assert_int_equal(skew_clock_of(s, 3)->shift_us, -SECOND); /* of the fourth that tells nothing */
  skew_free(s);
}

static void what_tells_nothing(void **state) {
  (void)state;
  skew *s = skew_new(2);
  learn(s, 0, 1, 2, BEGIN + 1); /* a circle */
  learn(s, 1, 2, 1, BEGIN + 1 + SECOND);
  learn(s, 0, 3, -1, BEGIN + 1); /* one event in both: whose time is it? */
  learn(s, 1, 3, -1, BEGIN + 1);
  learn(s, 1, 4, 3, BEGIN - SECOND);
  learn(s, 0, 5, -1, 0); /* no time */
  learn(s, 1, 6, 5, BEGIN - SECOND);
  learn(s, 0, 7, -1, INT64_MAX);
  learn(s, 1, 8, 7, BEGIN);
  learn(s, 1, 9, 9, BEGIN); /* its own cause */
  skew_solve(s);
  assert_int_equal(skew_clock_of(s, 1)->than, SKEW_NONE);
  assert_false(skew_moves(s));
  skew_free(s);
  skew_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_truth_lies_in_what_is_said),
      cmocka_unit_test(both_ways),
      cmocka_unit_test(times_that_may_be_cut),
      cmocka_unit_test(what_may_agree_is_left_alone),
      cmocka_unit_test(one_way_moves_no_more_than_is_needed),
      cmocka_unit_test(by_way_of_a_third),
      cmocka_unit_test(nothing_joins_them),
      cmocka_unit_test(a_clock_that_was_set),
      cmocka_unit_test(three_that_contradict_each_other),
      cmocka_unit_test(what_tells_nothing),
  };
  return cmocka_run_group_tests_name("tools_skew", tests, NULL, NULL);
}
