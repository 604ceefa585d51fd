#include "skew.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t UNBOUNDED = INT64_MAX;
/* Times beyond the year 3000 are no times; so sums along all sources stay in range. */
static const int64_t LAST_US = INT64_C(1) << 55;

typedef struct seen {
  uint64_t id, cause; /* hashes: two ids of one hash are not told apart, one in 2^64. cause 0: none */
  int64_t us;
  uint32_t source;
  bool shared, circle;
} seen;

struct skew {
  size_t count;
  seen *events;
  size_t event_count, event_cap, own_count; /* own_count: without those of other stories; 0: all are own */
  size_t *slots, mask; /* by id: the place of an event + 1 */
  /* [i][j]: the clock of j is ahead of that of i by at most so much. */
  int64_t most[SKEW_MOST][SKEW_MOST];
  /* The same if no time was cut: what is drawn agrees with this where it can. */
  int64_t drawn[SKEW_MOST][SKEW_MOST];
  uint64_t causes[SKEW_MOST][SKEW_MOST];
  bool contradicts[SKEW_MOST];
  /* What two said of each other that cannot both be: kept for the words. */
  int64_t said[SKEW_MOST][SKEW_MOST];
  skew_clock clocks[SKEW_MOST];
};

int64_t time_precision(int64_t us) { return us % 1000000 == 0 ? 1000000 : us % 1000 == 0 ? 1000 : 1; }

static uint64_t hash(sl_slice s) {
  const unsigned char *p = s.data;
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
  h ^= h >> 32;
  return h ? h : 1;
}

/* Nothing is known. */
static void begin(skew *s) {
  for (size_t i = 0; i < SKEW_MOST; i++) {
    s->clocks[i] = (skew_clock){.than = SKEW_NONE};
    s->contradicts[i] = false;
    for (size_t j = 0; j < SKEW_MOST; j++) {
      s->most[i][j] = s->said[i][j] = s->drawn[i][j] = UNBOUNDED;
      s->causes[i][j] = 0;
    }
  }
}

skew *skew_new(size_t sources) {
  skew *s = tool_alloc(sizeof *s);
  memset(s, 0, sizeof *s);
  s->count = sources < SKEW_MOST ? sources : SKEW_MOST;
  begin(s);
  return s;
}

void skew_free(skew *s) {
  if (!s)
    return;
  free(s->events);
  free(s->slots);
  free(s);
}

static size_t *slot_of(const skew *s, uint64_t id) {
  size_t i = id & s->mask;
  while (s->slots[i] && s->events[s->slots[i] - 1].id != id)
    i = (i + 1) & s->mask;
  return &s->slots[i];
}

static void make_room(skew *s) {
  if (s->event_count < s->event_cap)
    return;
  s->event_cap = s->event_cap ? s->event_cap * 2 : 64;
  s->events = tool_grow(s->events, s->event_cap * sizeof *s->events);
  free(s->slots);
  s->mask = s->event_cap * 2 - 1;
  s->slots = tool_alloc((s->mask + 1) * sizeof *s->slots);
  memset(s->slots, 0, (s->mask + 1) * sizeof *s->slots);
  for (size_t i = 0; i < s->event_count; i++) {
    size_t *slot = slot_of(s, s->events[i].id);
    *slot = *slot ? *slot : i + 1;
  }
}

static void learn(skew *s, const seen *one) {
  make_room(s);
  size_t *slot = slot_of(s, one->id);
  seen *first = *slot ? &s->events[*slot - 1] : NULL;
  if (first && first->us == one->us && first->source == one->source && first->cause == one->cause)
    return; /* the same again */
  s->events[s->event_count++] = *one;
  if (!first) {
    *slot = s->event_count;
    return;
  }
  /* One id several times in a source (in several topics): as a cause the earliest, which claims least. */
  first->shared = first->shared || one->shared || first->source != one->source;
  if (!first->shared && one->us < first->us)
    first->us = one->us;
}

void skew_learn(skew *s, size_t source, sl_slice event_id, sl_slice causation_id, int64_t us) {
  if (source >= s->count || us <= 0 || us > LAST_US || event_id.len == 0)
    return;
  seen one = {.id = hash(event_id), .us = us, .source = (uint32_t)source};
  one.cause = causation_id.len ? hash(causation_id) : 0;
  if (one.cause == one.id)
    one.cause = 0;
  learn(s, &one);
}

void skew_others(skew *s, const skew *others) {
  s->own_count = s->event_count;
  for (size_t i = 0; i < others->event_count; i++)
    learn(s, &others->events[i]);
}

/* Of a circle of causes none tells anything. */
static void find_circles(skew *s) {
  size_t *trail = tool_alloc((s->event_count + 1) * sizeof *trail);
  memset(trail, 0, (s->event_count + 1) * sizeof *trail);
  for (size_t k = 0; k < s->event_count; k++) {
    size_t at = k + 1;
    while (at && trail[at - 1] == 0) {
      trail[at - 1] = k + 1;
      at = s->events[at - 1].cause ? *slot_of(s, s->events[at - 1].cause) : 0;
    }
    if (!at || trail[at - 1] != k + 1)
      continue;
    for (size_t on = at; !s->events[on - 1].circle; on = *slot_of(s, s->events[on - 1].cause))
      s->events[on - 1].circle = true;
  }
  free(trail);
}

static void gather_bounds(skew *s, size_t count) {
  for (size_t k = 0; k < count; k++) {
    const seen *effect = &s->events[k];
    size_t at = effect->cause ? *slot_of(s, effect->cause) : 0;
    if (!at || at > count || effect->circle || s->events[*slot_of(s, effect->id) - 1].shared)
      continue;
    const seen *cause = &s->events[at - 1];
    size_t i = cause->source, j = effect->source;
    if (cause->shared || i == j)
      continue;
    int64_t most = effect->us + time_precision(effect->us) - 1 - cause->us;
    if (most < s->most[i][j])
      s->most[i][j] = most;
    if (effect->us - cause->us < s->drawn[i][j])
      s->drawn[i][j] = effect->us - cause->us;
    s->causes[i][j]++;
  }
}

/* What both directions say must leave room for one difference. */
static void drop_contradictions(skew *s) {
  for (size_t i = 0; i < s->count; i++)
    for (size_t j = 0; j < i; j++) {
      int64_t a = s->most[i][j], b = s->most[j][i];
      if (a == UNBOUNDED || b == UNBOUNDED || a + b >= 0)
        continue;
      s->said[i][j] = a;
      s->said[j][i] = b;
      s->most[i][j] = s->most[j][i] = UNBOUNDED;
      s->contradicts[i] = s->contradicts[j] = true;
    }
}

static void add_up(size_t count, int64_t most[SKEW_MOST][SKEW_MOST]) {
  for (size_t k = 0; k < count; k++)
    for (size_t i = 0; i < count; i++)
      for (size_t j = 0; j < count; j++) {
        int64_t a = most[i][k], b = most[k][j];
        if (a != UNBOUNDED && b != UNBOUNDED && a + b < most[i][j])
          most[i][j] = a + b;
      }
}

/* Three and more that together leave no room: all that lie on such a way around are left out. */
static void drop_ways_around(skew *s, int64_t direct[SKEW_MOST][SKEW_MOST]) {
  bool bad[SKEW_MOST], any = false;
  for (size_t i = 0; i < s->count; i++) {
    bad[i] = s->most[i][i] < 0;
    any = any || bad[i];
    s->contradicts[i] = s->contradicts[i] || bad[i];
  }
  memcpy(s->most, direct, sizeof s->most);
  for (size_t i = 0; i < s->count && any; i++)
    for (size_t j = 0; j < s->count; j++)
      if (bad[i] && bad[j])
        s->most[i][j] = UNBOUNDED;
}

static bool joined(const skew *s, size_t i, size_t j) {
  return s->most[i][j] != UNBOUNDED || s->most[j][i] != UNBOUNDED;
}

/* With those before it placed, the room that is left for it; never empty, for the bounds are added up. */
static void room_for(const skew *s, int64_t most[SKEW_MOST][SKEW_MOST], size_t at, int64_t *least_us,
                     int64_t *most_us) {
  *least_us = INT64_MIN;
  *most_us = INT64_MAX;
  for (size_t i = 0; i < at; i++) {
    int64_t there = s->clocks[i].shift_us;
    if (most[i][at] != UNBOUNDED && there + most[i][at] < *most_us)
      *most_us = there + most[i][at];
    if (most[at][i] != UNBOUNDED && there - most[at][i] > *least_us)
      *least_us = there - most[at][i];
  }
}

/* As near to "the clocks agree" as it can be, but in the middle where both sides are known and they do not. */
static int64_t place(skew *s, size_t at) {
  int64_t least, most, drawn_least, drawn_most;
  room_for(s, s->most, at, &least, &most);
  if (least <= 0 && most >= 0)
    return 0;
  room_for(s, s->drawn, at, &drawn_least, &drawn_most);
  if (drawn_least <= drawn_most) {
    least = drawn_least;
    most = drawn_most;
  }
  if (least == INT64_MIN)
    return most;
  return most == INT64_MAX ? least : least + (most - least) / 2;
}

/* Cut times may leave no room for each other; of what is contradicted nothing is drawn. */
static void keep_drawable(skew *s) {
  bool fine = true;
  for (size_t i = 0; i < s->count; i++)
    for (size_t j = 0; j < s->count; j++)
      if (s->most[i][j] == UNBOUNDED)
        s->drawn[i][j] = UNBOUNDED;
  add_up(s->count, s->drawn);
  for (size_t i = 0; i < s->count; i++)
    fine = fine && s->drawn[i][i] >= 0;
  if (!fine)
    memcpy(s->drawn, s->most, sizeof s->drawn);
}

static void solve(skew *s, size_t count) {
  int64_t direct[SKEW_MOST][SKEW_MOST];
  begin(s);
  gather_bounds(s, count);
  drop_contradictions(s);
  memcpy(direct, s->most, sizeof direct);
  add_up(s->count, s->most);
  drop_ways_around(s, direct);
  add_up(s->count, s->most);
  keep_drawable(s);
  for (size_t at = 1; at < s->count; at++) {
    skew_clock *c = &s->clocks[at];
    c->shift_us = place(s, at);
    for (size_t i = 0; i < at && c->than == SKEW_NONE; i++)
      if (joined(s, i, at))
        c->than = i;
    if (c->than == SKEW_NONE) {
      c->contradicts = s->contradicts[at];
      for (size_t i = 0; i < at && c->contradicts && c->than == SKEW_NONE; i++)
        if (s->contradicts[i])
          c->than = i;
      c->contradicts = c->than != SKEW_NONE;
      continue;
    }
    size_t i = c->than;
    c->has_most = s->most[i][at] != UNBOUNDED;
    c->has_least = s->most[at][i] != UNBOUNDED;
    c->most_us = c->has_most ? s->most[i][at] : 0;
    c->least_us = c->has_least ? -s->most[at][i] : 0;
    c->causes = s->causes[i][at] + s->causes[at][i];
  }
}

void skew_solve(skew *s) {
  bool fine = true;
  find_circles(s);
  solve(s, s->event_count);
  for (size_t i = 0; i < s->count; i++)
    fine = fine && !s->contradicts[i];
  if (!fine && s->own_count)
    solve(s, s->own_count);
}

const skew_clock *skew_clock_of(const skew *s, size_t source) { return &s->clocks[source]; }

bool skew_moves(const skew *s) {
  for (size_t i = 0; i < s->count; i++)
    if (s->clocks[i].shift_us)
      return true;
  return false;
}

/* ----------------------------------------------------------------- words --- */

/* A span that is at most, or with `up` at least, the one given. */
static void add_span(text *out, int64_t us, bool up) {
  int64_t unit = us < 1000 ? 1 : us < INT64_C(600000000) ? 1000 : 60000000, n = us / unit + (up && us % unit != 0);
  if (unit == 1)
    text_printf(out, us ? "%" PRId64 " us" : "0 s", n);
  else if (unit == 1000)
    text_printf(out, "%" PRId64 ".%03" PRId64 " s", n / 1000, n % 1000);
  else if (n < 120)
    text_printf(out, "%" PRId64 " min", n);
  else
    text_printf(out, "%" PRId64 " h %" PRId64 " min", n / 60, n % 60);
}

static void add_signed(text *out, int64_t us, bool up) {
  text_puts(out, us < 0 ? "-" : us > 0 ? "+" : "");
  add_span(out, us < 0 ? -us : us, us < 0 ? !up : up);
}

static void add_causes(text *out, const skew_clock *c, bool one_way) {
  if (c->causes == 0) {
    text_puts(out, " (by way of others)");
    return;
  }
  text_puts(out, " (from ");
  text_counted(out, c->causes, "cause", "causes");
  text_puts(out, one_way ? ", one way only)" : ")");
}

static void add_contradiction(text *out, const skew *s, size_t i, size_t j, const char *name, const char *than) {
  text_printf(out, "the clocks of %s and %s cannot be told: ", than, name);
  if (s->said[i][j] == UNBOUNDED) {
    text_puts(out, "what causes say of them, and of others, contradicts itself");
  } else {
    text_printf(out, "by one cause %s is ahead by at most ", name);
    add_signed(out, s->said[i][j], true);
    text_puts(out, ", by another at least ");
    add_signed(out, -s->said[j][i], false);
  }
  text_puts(out, "; a clock was set meanwhile, or a time is of another clock");
}

void skew_words(text *out, const skew *s, size_t source, const char *name, const char *than) {
  const skew_clock *c = &s->clocks[source];
  if (c->contradicts) {
    add_contradiction(out, s, c->than, source, name, than);
  } else if (c->than == SKEW_NONE) {
    text_printf(out, "how the clock of %s differs is not known: no cause joins it to another", name);
  } else if (c->has_least && c->has_most && c->least_us <= 0 && c->most_us >= 0) {
    text_printf(out, "clock of %s is within ", name);
    add_signed(out, c->least_us, false);
    text_puts(out, "..");
    add_signed(out, c->most_us, true);
    text_printf(out, " of %s's, so they may agree", than);
    add_causes(out, c, false);
  } else if (c->has_least && c->has_most) {
    bool behind = c->most_us < 0;
    text_printf(out, "clock of %s is ", name);
    add_span(out, behind ? -c->most_us : c->least_us, false);
    text_puts(out, "..");
    add_span(out, behind ? -c->least_us : c->most_us, true);
    text_printf(out, behind ? " behind %s" : " ahead of %s", than);
    add_causes(out, c, false);
  } else {
    bool least = c->has_least, ahead = least ? c->least_us > 0 : c->most_us >= 0;
    int64_t us = least ? c->least_us : c->most_us;
    text_printf(out, "clock of %s is at %s ", name, least == ahead ? "least" : "most");
    add_span(out, us < 0 ? -us : us, least != ahead);
    text_printf(out, ahead ? " ahead of %s" : " behind %s", than);
    add_causes(out, c, true);
  }
}
