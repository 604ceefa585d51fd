/* What the core does next: the actions, and how an idle core chooses among claim, letters, lanes and the log. */
#include "core/inner.h"

#define FLOW_LOOK_US 60000000
#define LETTERS_GATHER_US 500000
#define FENCES_MOST 40
#define REACHED_SPREAD_US 200000

/* --- actions --- */

core_action *core_act(core *c, core_actions *out, core_phase phase, core_op op) {
  core_enter(c, phase);
  c->op = op;
  c->wake_at = 0;
  core_action *a = &out->list[out->count++];
  *a = (core_action){.op = op};
  return a;
}

void core_connect(core *c, core_actions *out) {
  c->next_try_us = 0;
  if (!c->handle) {
    c->handle = true;
    c->handles++;
    c->doubt_us = c->config.doubt_us > 0 ? c->config.doubt_us : core_socket_timeout_us(c->timeout_us) / 2;
    c->renewed = c->recreate;
    c->recreate = RENEWAL_NONE;
    cuts_new_handle(c);
  }
  core_act(c, out, PHASE_CONNECT, OP_CONNECT);
}

void core_rest(core *c, core_actions *out, int status) {
  core_enter(c, PHASE_STOPPED);
  c->op = OP_NONE;
  c->wake_at = 0;
  out->list[out->count++] = (core_action){.op = OP_EXIT, .exit_status = status};
}

int core_rest_status(const core *c) {
  if (!c->config.drain) return 0;
  if (c->drained) return 0;
  return c->park != PARK_NONE ? 4 : 5;
}

/* Partitions are added and limits changed under way: what was known of topics is asked for anew before their next
 * record, all that it takes in one request. */
static void look_again(core *c) {
  c->looked_us = c->now_us;
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->health == TOPIC_READY) c->topics.list[i]->health = TOPIC_UNKNOWN;
}

/* Ends the handle, then waits (BACKOFF), parks or stops. */
void core_destroy(core *c, core_actions *out, core_phase after) {
  if (c->fences >= FENCES_MOST && after == PHASE_BACKOFF && c->fenced_handle == c->handles) {
    c->fences = 0;
    c->park = PARK_SHARED_ID;
    c->park_probes = true; /* seldom: each look fences the other one, which is to go on */
    after = PHASE_PARKED;
  }
  c->after_destroy = after;
  c->claimed = false;
  c->next_try_us = 0;
  txn_reset(c);
  look_again(c); /* what was known of READY topics came from this handle */
  core_act(c, out, PHASE_DESTROY, OP_DESTROY);
}

void core_back_off(core *c) {
  core_enter(c, PHASE_BACKOFF);
  c->op = OP_NONE;
  /* At most 2 s, spread evenly: the agent is back within 2 s of its broker, and a thousand agents are not all
   * back in the same instant. */
  int64_t delay = retry_delay(&c->config.seed, (retry_rule){0, 100000, 2000000}, c->failures);
  if (c->recreate) delay = 0; /* nothing is wrong with the broker */
  else if (c->failures < 16) c->failures++;
  c->wake_at = c->next_try_us = c->now_us + delay;
}

/* The client tries its connections apart from us, each agent's in a rhythm of its own, at least once a second: so
 * who is told by them comes neither late nor with all the others. */
void core_reached(core *c) {
  if (c->phase != PHASE_BACKOFF || !c->handle || c->op != OP_NONE) return;
  const retry_rule spread = {0, REACHED_SPREAD_US, REACHED_SPREAD_US};
  const int64_t at = c->now_us + retry_delay(&c->config.seed, spread, 0);
  if (at < c->wake_at) c->wake_at = c->next_try_us = at;
}

void core_go_park(core *c, core_actions *out, core_park park) {
  c->park = park;
  c->park_probes = park == PARK_REFUSED;
  core_destroy(c, out, PHASE_PARKED);
}

void core_flush(core *c, core_actions *out) {
  if (!txn_seal(c)) {
    core_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  core_action *a = core_act(c, out, PHASE_FLUSH, OP_FLUSH);
  if (c->config.exactly_once) a->marker = sl_buf_slice(&c->marker);
}

void core_intent(core *c, core_actions *out) {
  txn_note_recreated(c);
  core_act(c, out, PHASE_INTENT, OP_INTENT);
}

/* --- idle: what next? --- */

static void do_fill(core *c, core_actions *out, topic *lane) {
  txn_reset(c);
  txn *t = &c->txn;
  topics_want_none(c);
  c->behind_since_us = 0;
  cuts_begin(c);
  if (!lane && c->config.look_us > 0 && c->now_us - c->looked_us >= c->config.look_us) look_again(c);
  t->open = true;
  t->lane = lane;
  t->from = (lane ? lane->lane_seq : c->cursor.seq) + 1;
  t->to = lane ? c->cursor.seq : c->indexed_seq;
  t->looked_to = t->from - 1;
  core_action *a = core_act(c, out, PHASE_FILL, OP_FILL);
  a->from = t->from;
  a->to = t->to;
  a->topic = lane ? lane->name : NULL;
}

static void do_letters(core *c, core_actions *out) {
  txn_reset(c);
  txn *t = &c->txn;
  topics_want_none(c);
  t->open = t->copies = true;
  c->letters_put_off = false;
  t->from = c->letters_from ? c->letters_from : 1;
  t->to = c->last_letter;
  t->looked_to = t->from - 1;
  core_action *a = core_act(c, out, PHASE_FILL, OP_FILL);
  a->letters = true;
  a->from = t->from;
  a->to = t->to;
}

static void do_claim(core *c, core_actions *out) {
  txn_reset(c);
  c->txn.open = true;
  c->txn.claim = true;
  c->txn.begun_us = c->now_us;
  c->txn.from = c->cursor.seq + 1;
  c->txn.looked_to = c->txn.to = c->cursor.seq;
  core_flush(c, out);
}

void core_look_up(core *c, core_actions *out) {
  c->asked_us = c->now_us;
  c->asked_wall_us = c->wall_us;
  core_action *a = core_act(c, out, PHASE_TOPIC, OP_TOPIC);
  a->topics = c->wanted_names;
  a->topic_count = c->wanted_count;
}

static void do_topic(core *c, core_actions *out, topic *tp) {
  topics_want_none(c);
  topics_want(c, tp);
  core_look_up(c, out);
}

/* The next lane with events to set aside. */
static topic *lane_to_expire(core *c) {
  for (size_t k = 0; k < c->topics.count; k++) {
    topic *tp = c->topics.list[(c->lane_turn + k) % c->topics.count];
    if (!tp->expire) continue;
    tp->expire = false;
    if (tp->has_lane) return tp;
  }
  return NULL;
}

/* The next lane whose time has come; NULL: none is, and the earliest is at *next_try (0: there is none). */
static topic *lane_due(core *c, int64_t *next_try) {
  const size_t n = c->topics.count;
  *next_try = 0;
  for (size_t k = 0; k < n; k++) {
    topic *tp = c->topics.list[(c->lane_turn + k) % n];
    if (!tp->has_lane) continue;
    if (tp->lane_try_us <= c->now_us) {
      c->lane_turn = (c->lane_turn + k + 1) % n;
      return tp;
    }
    core_earlier(next_try, tp->lane_try_us);
  }
  return NULL;
}

/* Is there a dead letter that nobody has looked at, or is it time to look at all of them again? */
static bool letters_due(core *c) {
  if (!c->config.letters || !c->letters_wait || c->letters_try_us > c->now_us) return false;
  if (c->letters_anew) c->letters_from = 0;
  c->letters_anew = false;
  if (c->letters_again_us > 0 && c->letters_again_us <= c->now_us) {
    c->letters_from = 0;
    c->letters_again_us = 0;
  }
  return c->letters_from <= c->last_letter;
}

static bool any_lane(const core *c, uint64_t below) {
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->has_lane && c->topics.list[i]->lane_seq < below) return true;
  return false;
}

bool core_nothing_to_drain(const core *c) {
  return c->config.drain && c->cursor.seq >= c->config.drain_to && !any_lane(c, c->config.drain_to);
}

void core_earlier(int64_t *wake, int64_t at) {
  if (at > 0 && (*wake == 0 || at < *wake)) *wake = at;
}

void core_idle(core *c, core_actions *out) {
  core_enter(c, PHASE_IDLE);
  c->op = OP_NONE;
  c->wake_at = 0;
  c->drained = core_nothing_to_drain(c);
  /* A drain tries each letter, and does not wait for a dead-letter topic that cannot be written. */
  const bool letters = letters_due(c);
  if (c->stopping || (c->drained && !letters) || c->drain_expired) {
    core_destroy(c, out, PHASE_STOPPED);
    return;
  }
  if (c->recreate || c->stale) {
    core_destroy(c, out, PHASE_BACKOFF);
    return;
  }
  if (c->hold_us > c->now_us) {
    c->wake_at = c->hold_us;
    return;
  }
  if (c->config.exactly_once && !c->claimed) {
    do_claim(c, out);
    return;
  }
  c->park = PARK_NONE;
  int64_t lane_at = 0;
  bool work = c->indexed_seq > c->cursor.seq;
  int64_t flow_us = work || letters || any_lane(c, UINT64_MAX) ? flow_wait_us(c) : 0;
  c->next_try_us = 0;
  if (flow_us > 0) {
    c->next_try_us = c->now_us + flow_us;
    c->wake_at = c->now_us + (flow_us < FLOW_LOOK_US ? flow_us : FLOW_LOOK_US); /* the wall clock may be set */
    return;
  }
  /* Letters and the rest take turns, too: neither a flood of letters nor a backlog keeps the other waiting. But
   * beside a backlog they gather: a transaction for the few of each turn took a third of its rate. */
  const bool gather = work && c->config.latency_budget_us == 0 && c->letters_us > 0 &&
                      c->now_us - c->letters_us < LETTERS_GATHER_US;
  if (letters && !gather && !(c->letters_last && work)) {
    c->letters_last = true;
    c->letters_us = c->now_us;
    do_letters(c, out);
    return;
  }
  c->letters_last = false;
  /* Lanes and main take turns, failed ones counted: a thousand sick lanes must not keep main waiting. */
  topic *lane = work && c->lane_last ? NULL : lane_to_expire(c);
  if (lane) {
    c->lane_last = true;
    do_fill(c, out, lane);
    c->txn.expire = true;
    return;
  }
  lane = work && c->lane_last ? NULL : lane_due(c, &lane_at);
  c->lane_last = lane != NULL;
  if (lane) {
    lane->lane_try_us = c->now_us + c->config.probe_us; /* unless it goes well */
    if (lane->health == TOPIC_SICK) lane->health = TOPIC_UNKNOWN;
    if (lane->health == TOPIC_UNKNOWN) do_topic(c, out, lane);
    else do_fill(c, out, lane);
    return;
  }
  if (work) {
    int64_t due = c->pending_since_us + c->config.latency_budget_us;
    if (c->config.latency_budget_us == 0 || due <= c->now_us || c->config.drain ||
        c->indexed_seq - c->cursor.seq >= (uint64_t)c->config.txn_max_events) {
      do_fill(c, out, NULL);
      return;
    }
    c->wake_at = due;
  } else {
    c->failures = 0;
  }
  core_earlier(&c->wake_at, lane_at);
  if (!c->config.letters || !c->letters_wait) return;
  /* None is looked at before letters_try_us: woken earlier the core would wake for nothing, again and again. */
  const bool some = c->letters_from <= c->last_letter || c->letters_anew;
  const int64_t at = some ? c->letters_try_us : c->letters_again_us;
  core_earlier(&c->wake_at, at > 0 && at < c->letters_try_us ? c->letters_try_us : at);
}
