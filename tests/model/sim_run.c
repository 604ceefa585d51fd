/* The schedule: a storm of everything that can happen, then calm, then the oracle. */
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CALM_STEPS_MAX 60000
#define CALM_TIME_MAX_US (INT64_C(3600) * 1000000)

uint64_t sim_random(sim *s) {
  uint64_t z = (s->random += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t sim_below(sim *s, uint64_t n) { return sim_random(s) % n; }

bool sim_fault(sim *s, unsigned per_mille) {
  bool hit = sim_below(s, 1000) < per_mille;
  if (!hit || s->calm || s->faults >= s->options.faults) return false;
  s->faults++;
  return true;
}

/* --- history --- */

#define HISTORY 240
static char history[HISTORY][200];
static unsigned history_at;

void sim_trace(sim *s, const char *format, ...) {
  if (!s->tracing) return;
  va_list args;
  va_start(args, format);
  int n = snprintf(history[history_at % HISTORY], 200, "%9.3f  ", (double)s->now_us / 1e6);
  vsnprintf(history[history_at % HISTORY] + n, 200 - (size_t)n, format, args);
  history_at++;
  va_end(args);
}

void sim_break(sim *s, const char *format, ...) {
  if (s->broken) return;
  va_list args;
  va_start(args, format);
  vsnprintf(s->broken_text, sizeof s->broken_text, format, args);
  va_end(args);
  s->broken = s->broken_text;
  sim_trace(s, "BROKEN: %s", s->broken);
}

void sim_dump(const sim *s) {
  unsigned first = history_at > HISTORY ? history_at - HISTORY : 0;
  for (unsigned i = first; i < history_at; i++) fprintf(stderr, "%s\n", history[i % HISTORY]);
  for (uint64_t seq = 1; seq <= s->last && s->last <= 60; seq++) {
    const sim_event *e = &s->log[seq - 1];
    fprintf(stderr, "  event %llu: %s key %d%s%s\n", (unsigned long long)seq, s->broker.topics[e->topic].name,
            e->key,
            e->duplicate_of ? " duplicate" : "", e->poison ? " poison" : "");
  }
}

/* --- set-up --- */

fault sim_fault_of(fault_scope scope, fault_class class_, const char *name) {
  fault f = {.scope = scope, .class_ = class_, .code = 1};
  snprintf(f.name, sizeof f.name, "%s", name);
  snprintf(f.text, sizeof f.text, "simulated");
  return f;
}

sim *sim_new(const sim_options *options) {
  sim *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->options = *options;
  s->random = options->seed;
  s->now_us = 1000000;
  s->log = calloc(SIM_LOG_MAX, sizeof *s->log);
  history_at = 0;
  broker_init(s);
  static const int64_t events[] = {1, 3, 10, 50, 1000};
  s->config = (core_config){.txn_max_events = events[sim_below(s, 5)], .txn_max_bytes = 1 << 20,
                            .txn_start_bytes = sim_below(s, 2) ? 0 : 20000, .txn_timeout_us = 15000000,
                            .txn_timeout_max_us = 240000000,
                            .doubt_us = 5000000, .probe_us = 30000000,
                            .latency_budget_us = sim_below(s, 3) ? 0 : 2000000,
                            .letters = sim_below(s, 4) > 0,
                            .flow_bytes_per_s = sim_below(s, 4) ? 0 : 20000,
                            .flow_events_per_s = sim_below(s, 4) ? 0 : 200};
  static const int64_t ages[] = {0, 0, 60000000, 400000000};
  s->lane_max_age_us = ages[sim_below(s, 4)];
  if (sim_below(s, 3) == 0) s->config.look_us = 20000000;
  s->bulky = sim_below(s, 6) == 0;
  if (s->bulky && sim_below(s, 2)) {
    s->config.link_gap_us = 3500000;
    s->config.link_bytes_per_s = 20000;
  }
  for (int i = 0; i < SIM_AGENTS; i++) {
    s->agents[i].id = i;
    book_init(&s->agents[i].book);
  }
  return s;
}

void sim_free(sim *s) {
  if (!s) return;
  for (int i = 0; i < SIM_AGENTS; i++) agent_free(&s->agents[i]);
  for (size_t i = 0; i < s->ghost_count; i++) free(s->ghosts[i].wires);
  broker_free(s);
  free(s->log);
  free(s);
}

/* --- what happens --- */

static void append(sim *s) {
  for (uint64_t n = s->options.lone ? 1 : 1 + sim_below(s, 8);
       n > 0 && s->appended < s->options.appends && s->last < SIM_LOG_MAX; n--) {
    sim_event e = {.topic = (uint8_t)sim_below(s, s->broker.topic_count), .key = (uint8_t)sim_below(s, SIM_KEYS)};
    e.size = 100 + (uint32_t)sim_below(s, 400);
    if (sim_below(s, 100) < (s->bulky ? 60 : 3)) e.size = 6000;
    if (sim_below(s, 300) == 0) e.size = 60000; /* larger than the queue */
    if (s->last && sim_below(s, 100) < 5) {
      uint64_t first = 1 + sim_below(s, s->last);
      if (s->log[first - 1].duplicate_of) first = s->log[first - 1].duplicate_of;
      e.topic = s->log[first - 1].topic;
      e.duplicate_of = first;
    } else if (sim_below(s, 100) < (s->options.lone ? 40 : 2)) {
      e.poison = (sim_poison)(1 + sim_below(s, 3));
    }
    e.appended_us = s->now_us;
    s->log[s->last++] = e;
    s->appended++;
  }
}

static sim_topic *any_topic(sim *s) {
  uint64_t i = sim_below(s, s->broker.topic_count + SIM_DLQS);
  return &s->broker.topics[i < s->broker.topic_count ? i : SIM_TOPICS + i - s->broker.topic_count];
}

static void random_trouble(sim *s, sim_agent *a) {
  sim_broker *b = &s->broker;
  switch (sim_below(s, 14)) {
  case 0:
  case 1: agent_kill(s, a); break;
  case 2: b->down = true; break;
  case 3: {
    sim_topic *t = any_topic(s);
    t->rights = (sim_rights)sim_below(s, 4);
    t->ever_sick = t->ever_sick || t->rights != RIGHTS_ALL;
    sim_trace(s, "broker: topic %s has rights %d", t->name, t->rights);
    break;
  }
  case 4: s->store_full = true; break;
  case 5: agent_give(s, a, (core_event){.kind = EVENT_STOP}); break;
  case 6: /* a laptop sleeps */
    s->now_us += (int64_t)sim_below(s, 40) * 1000000;
    broker_expire(s);
    if (sim_below(s, 2)) agent_give(s, a, (core_event){.kind = EVENT_RESUMED});
    break;
  case 7:
    if (a->handle.exists && sim_below(s, 2)) agent_give(s, a, (core_event){.kind = EVENT_REACHED});
    if (a->handle.exists)
      agent_give(s, a, (core_event){.kind = EVENT_ERROR, .transport = true,
                                    .why = sim_fault_of(SCOPE_CONNECTION, CLASS_RETRYABLE_TRANSIENT,
                                                        "_TRANSPORT")});
    break;
  case 8:
    if (a->handle.exists) {
      a->handle.dead = true;
      fault f = sim_fault_of(SCOPE_PRODUCER, CLASS_RETRYABLE_TRANSIENT, "_FATAL");
      f.fatal = true;
      agent_give(s, a, (core_event){.kind = EVENT_ERROR, .why = f});
    }
    break;
  case 9: b->refuses = sim_below(s, 2); break;
  case 10: broker_bump(s); break; /* the coordinator ends the transaction: its timeout, or another producer */
  case 11: agent_give(s, a, (core_event){.kind = sim_below(s, 2) ? EVENT_LOGIN : EVENT_RULES}); break; /* SIGHUP */
  case 12: { /* a topic's limit changes under way */
    sim_topic *t = &b->topics[sim_below(s, b->topic_count)];
    if (t->max_bytes == 5000) t->raised_us = s->now_us;
    if (t->max_bytes > 0) t->max_bytes = t->max_bytes == 5000 ? 1000000 : 5000;
    break;
  }
  default:
    if (s->agents[0].exists) agent_give(s, a, (core_event){.kind = EVENT_TIMER}); /* too early: harmless */
    break;
  }
}

static void heal_some(sim *s) {
  sim_broker *b = &s->broker;
  if (sim_below(s, 6) == 0) b->down = false;
  if (sim_below(s, 10) == 0) s->store_full = false;
  if (sim_below(s, 10) == 0) b->refuses = false;
  if (sim_below(s, 40) == 0) any_topic(s)->rights = RIGHTS_ALL;
}

static bool network(sim *s) {
  if (s->broker.held_count && sim_below(s, 2)) broker_release_held(s, sim_below(s, s->broker.held_count));
  else if (s->ghost_count) ghost_move(s, sim_below(s, s->ghost_count));
  else return false;
  return true;
}

static void copy_store(sim *s) {
  sim_trace(s, "the store is copied");
  book_copy(&s->agents[1].book, &s->agents[0].book);
  agent_start(s, &s->agents[1], false);
}

static void step(sim *s) {
  sim_agent *a = &s->agents[s->options.copies ? sim_below(s, SIM_AGENTS) : 0];
  uint64_t r = sim_below(s, 1000);
  broker_expire(s);
  if (a->exists && a->exited) agent_kill(s, a);
  if (!a->exists) {
    if (a->id == 0 || s->copy_at) agent_start(s, a, false);
  } else if (r < 40) {
    append(s);
  } else if (r < 70) {
    s->indexed = s->last - sim_below(s, s->last - s->indexed + 1);
    agent_log(s, a);
  } else if (r < 85) {
    network(s);
  } else if (r < 100) {
    heal_some(s);
  } else if (sim_fault(s, 6)) {
    random_trouble(s, a);
  } else if (!agent_progress(s, a)) {
    if (sim_below(s, 3) == 0) agent_wake(s, a);
    else if (sim_below(s, 3) == 0) heal_some(s);
  }
}

/* --- the end --- */

static void calm(sim *s) {
  s->calm = true;
  s->store_full = false;
  s->broker.down = s->broker.refuses = false;
  while (network(s)) {}
  s->indexed = s->last;
  sim_trace(s, "CALM: %llu events", (unsigned long long)s->last);
}

static bool is_sick(const sim *s, sl_slice name) {
  for (size_t i = 0; i < s->broker.topic_count; i++)
    if (sl_slice_eq(name, sl_slice_of(s->broker.topics[i].name))) return s->broker.topics[i].rights != RIGHTS_ALL;
  return false;
}

/* Everything but the events of topics that are still sick. */
static bool settled(const sim *s, const sim_agent *a) {
  const sl_progress *cursor = &a->book.state.cursor;
  for (size_t i = 0; i < cursor->lane_count; i++)
    if (!is_sick(s, cursor->lanes[i].topic)) return false;
  if (s->config.letters && book_letters_wait(s, &a->book)) return false;
  return cursor->seq == s->last && !a->book.state.has_intent;
}

static bool parked_for_good(const sim_agent *a) {
  return a->exists && core_phase_of(a->core) == PHASE_PARKED && core_wake_at(a->core) == 0;
}

static void restart(sim *s, sim_agent *a, bool drain) {
  agent_kill(s, a);
  agent_start(s, a, drain);
  agent_log(s, a);
}

/* Goes on until everything is settled and the agent idle (or, with `drain`, gone); false: it is parked, as the
 * copy that lost should be. */
static bool settle(sim *s, sim_agent *a, bool drain) {
  int64_t until = s->now_us + CALM_TIME_MAX_US;
  if (drain || a->exited || !a->exists || s->options.copies || (s->options.mixed && !a->exactly_once))
    restart(s, a, drain);
  agent_log(s, a);
  for (unsigned i = 0; i < CALM_STEPS_MAX && s->now_us < until && !s->broken; i++) {
    broker_expire(s);
    if (parked_for_good(a)) return false;
    if (a->exited && drain) {
      if (a->exit_status == 4 && s->options.copies) return false;
      if (a->exit_status != 0 || !settled(s, a)) sim_break(s, "a drain ended with %d", a->exit_status);
      return true;
    }
    if (a->exited) restart(s, a, false);
    if (!drain && settled(s, a) && core_phase_of(a->core) == PHASE_IDLE) return true;
    if (!agent_progress(s, a) && !agent_wake(s, a))
      sim_break(s, "the agent sleeps for ever in %s", core_phase_text(core_phase_of(a->core)));
  }
  sim_break(s, "not drained in bounded time: cursor %llu of %llu, %zu lanes, phase %s",
            (unsigned long long)a->book.state.cursor.seq, (unsigned long long)s->last,
            a->book.state.cursor.lane_count,
            core_phase_text(core_phase_of(a->core)));
  return true;
}

static void must_stop(sim *s, sim_agent *a) {
  if (a->exited || s->broken) return;
  agent_give(s, a, (core_event){.kind = EVENT_STOP});
  for (unsigned i = 0; i < 2000 && !a->exited && !s->broken; i++)
    if (!agent_progress(s, a)) break;
  if (!a->exited || a->exit_status != 0) sim_break(s, "told to stop, it did not");
}

/* The winner has claimed anew: whoever comes with the other book must be recognised. */
static void copy_is_recognised(sim *s, sim_agent *winner, sim_agent *loser) {
  if (!s->copy_at || s->broken) return;
  restart(s, winner, false);
  if (!settle(s, winner, false)) sim_break(s, "the winner is parked");
  agent_kill(s, winner);
  restart(s, loser, false);
  for (unsigned i = 0; i < 2000 && !s->broken && !parked_for_good(loser); i++)
    if (!agent_progress(s, loser) && !agent_wake(s, loser)) break;
  if (!parked_for_good(loser)) sim_break(s, "a copy of the store is not recognised");
}

bool sim_run(sim *s) {
  bool exactly_once = !s->options.at_least_once && !s->options.mixed;
  unsigned copy_step = s->options.copies ? (unsigned)sim_below(s, s->options.storm_steps) : UINT32_MAX;
  agent_start(s, &s->agents[0], false);
  for (unsigned i = 0; i < s->options.storm_steps && !s->broken; i++) {
    if (i >= copy_step && !s->copy_at && s->agents[0].book.state.last_attempt) {
      copy_store(s);
      s->copy_at = i;
    }
    step(s);
    if (i % 256 == 0) broker_audit(s, &s->agents[0].book, exactly_once, false);
  }
  if (s->broken) return false;
  calm(s);
  sim_agent *winner = &s->agents[0], *loser = &s->agents[1];
  agent_kill(s, loser);
  if (!settle(s, winner, false)) {
    s->parks++;
    winner = &s->agents[1];
    loser = &s->agents[0];
    agent_kill(s, loser);
    while (network(s)) {}
    if (winner->book.state.last_attempt == 0 || !settle(s, winner, false)) sim_break(s, "nobody drains");
  }
  /* So far sick topics were waited for in their lanes; now they recover. */
  for (size_t i = 0; i < SIM_TOPICS + SIM_DLQS; i++) s->broker.topics[i].rights = RIGHTS_ALL;
  if (!s->broken) settle(s, winner, sim_below(s, 2));
  if (!s->broken) book_audit(s, &winner->book);
  if (!s->broken) broker_audit(s, &winner->book, exactly_once, true);
  must_stop(s, winner);
  copy_is_recognised(s, winner, loser);
  return !s->broken;
}
