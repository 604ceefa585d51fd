/* What the agent says of itself: a log line for each change that a person may care about, and its report. */
#include "agent.h"
#include "base/clock.h"
#include "log.h"
#include "notify.h"
#include "report.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAME_FAULT_US 60000000 /* an outage of days is told once a minute, not at each try */
#define SAME_REPORT_US 4000000 /* a report with no news is written so seldom; its readers allow ten seconds */

#define LANES_TOLD 64
#define LETTERS_COUNTED 10000 /* more are told as so many: counting them takes time */

typedef struct park_text { const char *reason, *text, *remedy; } park_text;

static park_text text_of_park(core_park park) {
  switch (park) {
  case PARK_FOREIGN_CLUSTER:
    return (park_text){"foreign-cluster", "these brokers are another cluster than the one this store delivered to",
                       "point the agent back to that cluster, or stop it and run `sidelogd --adopt`"};
  case PARK_MARKER_AHEAD:
    return (park_text){"marker-ahead",
                       "the cluster's progress for this store is not the one noted here: the store was restored "
                       "from a backup or copied, or a second agent drains a copy of it",
                       "stop both agents and run `sidelogd --adopt`: it says what can be done; nothing was sent"};
  case PARK_MARKER_MISSING:
    return (park_text){"marker-missing",
                       "this store has delivered events, but its progress is not on the cluster: the progress "
                       "topic was deleted, or the cluster recreated",
                       "it is looked for again now and then, should a broker only be behind; else stop the agent "
                       "and run `sidelogd --adopt`: it says what can be done; nothing was sent"};
  case PARK_SHARED_ID:
    return (park_text){"shared-id",
                       "another producer uses this agent's transactional id, and the two fenced each other again "
                       "and again: most likely another store has the same `transactions.id`",
                       "give each store one of its own (without the setting it has one), and start the agent "
                       "anew; it tries again after an hour; no event was lost or sent twice"};
  case PARK_REFUSED:
    return (park_text){"refused", "the cluster refuses this agent",
                       "see the error, and `sidelogd --check` for what is missing: credentials, ACLs, the "
                       "progress topic, this host's clock; the agent tries again by itself"};
  case PARK_NONE: break;
  }
  return (park_text){0};
}

static bool is_running(core_phase p) { return p >= PHASE_IDLE && p <= PHASE_ABANDON; }

static report_state state_of(const agent *a, const core_view *v) {
  if (v->phase == PHASE_STOPPED) return REPORT_STOPPED;
  if (v->park != PARK_NONE) return REPORT_PARKED;
  if (a->stopping) return REPORT_STOPPING;
  if (is_running(v->phase)) return a->settings.drain ? REPORT_DRAINING : REPORT_RUNNING;
  return v->phase == PHASE_BACKOFF ? REPORT_BACKOFF : REPORT_CONNECTING;
}

static void tell_end(const agent *a, const core_view *v) {
  if (a->settings.drain && a->exit_status == 0)
    log_line(LEVEL_INFO, "drained", "everything appended before the start is settled");
  else if (a->settings.drain && a->exit_status == 5)
    log_line(LEVEL_WARN, "timeout", "not everything is delivered; what is left waits in the store");
  else
    log_line(LEVEL_INFO, "stopped", "delivered up to seq %llu of %llu", (unsigned long long)v->cursor_seq,
             (unsigned long long)v->last_seq);
}

void tell_dead(agent *a) {
  const delivery_state *book = delivery_state_get(a->delivery);
  uint64_t news = book->dead - a->told_dead, named = 0;
  if (book->dead <= a->told_dead) return;
  a->told_dead = book->dead;
  const delivery_attempt *last = core_attempt(a->core);
  uint64_t expired = 0;
  const sl_letter *one = NULL;
  bool ours = last->progress.attempt == book->cursor.attempt; /* else a restart settled what another agent left */
  for (int lane = 0; ours && lane < 2; lane++) {
    const delivery_verdict *list = lane ? last->lane_verdicts : last->verdicts;
    size_t count = lane ? last->lane_count : last->count;
    for (size_t i = 0; i < count; i++) {
      const sl_letter *l = list[i].letter;
      if (!l || list[i].verdict != SL_VERDICT_DEAD) continue;
      if (l->error_code.len > 5 && memcmp(l->error_code.data, "LANE_", 5) == 0) { /* thousands at a time */
        one = l;
        expired++;
        named++;
        continue;
      }
      log_line(LEVEL_WARN, "dead-letter", "event %llu of %.*s: %.*s (%.*s, tries: %u), set aside: %.*s",
               (unsigned long long)l->seq, (int)l->topic.len, (const char *)l->topic.data, (int)l->error_code.len,
               (const char *)l->error_code.data, (int)l->error_class.len, (const char *)l->error_class.data,
               l->attempts, (int)l->error_text.len, (const char *)l->error_text.data);
      named++;
    }
  }
  if (one)
    log_line(LEVEL_WARN, "lane-expired", "%llu events of %.*s, up to %llu, set aside: %.*s (%.*s)",
             (unsigned long long)expired, (int)one->topic.len, (const char *)one->topic.data,
             (unsigned long long)one->seq, (int)one->error_text.len, (const char *)one->error_text.data,
             (int)one->error_code.len, (const char *)one->error_code.data);
  if (named < news)
    log_line(LEVEL_WARN, "dead-letter",
             "%llu events were set aside by the delivery now settled: `sidelog query --status dead` names them",
             (unsigned long long)(news - named));
}

static const char *text_of_renewal(core_renewal renewed) {
  switch (renewed) {
  case RENEWAL_NONE: break;
  case RENEWAL_BATCHES: return "; connected anew, since a topic takes smaller batches";
  case RENEWAL_QUEUE: return "; connected anew, since an event is larger than the queue";
  case RENEWAL_TIMEOUT: return "; connected anew, with another timeout of transactions, by what the link takes";
  case RENEWAL_LOGIN: return "; connected anew, since the credentials were read again";
  case RENEWAL_REFUSED: return "; connected anew, since a record was refused";
  }
  return "";
}

void tell_changes(agent *a) {
  core_view v;
  core_view_get(a->core, &v);
  bool was_running = is_running(a->told_phase), running = is_running(v.phase);
  if (v.last_fault_us != a->told_fault_us) {
    a->told_fault_us = v.last_fault_us;
    const fault *f = &v.last_fault;
    const char *event = f->scope == SCOPE_CONNECTION ? "broker-unreachable"
                        : f->scope == SCOPE_RECORD   ? "record-refused"
                        : f->scope == SCOPE_TOPIC    ? "topic-refused"
                                                     : "setback";
    bool again = strcmp(f->name, a->told_fault.name) == 0 && strcmp(f->text, a->told_fault.text) == 0 &&
                 v.last_fault_us - a->said_fault_us < SAME_FAULT_US;
    log_line(again ? LEVEL_DEBUG : LEVEL_WARN, event, "%s (%s): %s", f->name, fault_class_text(f->class_),
             f->text);
    if (!again) {
      a->told_fault = *f;
      a->said_fault_us = v.last_fault_us;
    }
  }
  if (v.park != a->told_park) {
    a->told_park = v.park;
    park_text t = text_of_park(v.park);
    if (v.park != PARK_NONE) log_line(LEVEL_ERROR, "parked", "%s: %s; %s", t.reason, t.text, t.remedy);
  }
  if (v.lane_count != a->told_lanes) {
    log_line(LEVEL_WARN, "lanes", "%zu topic%s cannot be written now: the events wait apart, the others go on",
             v.lane_count, v.lane_count == 1 ? "" : "s");
    a->told_lanes = v.lane_count;
  }
  if (v.offsets_back != a->told_back) {
    log_line(LEVEL_WARN, "topic-recreated",
             "%.*s: its offsets went back from %lld to %lld: it was deleted and created again (or a broker lost "
             "what it had acknowledged); receipts from before tell of places that are gone",
             (int)v.back_topic.len, (const char *)v.back_topic.data, (long long)v.back_from, (long long)v.back_to);
    a->told_back = v.offsets_back;
  }
  if (v.partition_changes != a->told_partitions) {
    log_line(LEVEL_WARN, "partitions-changed",
             "%.*s had %d partitions and has %d: from here on its keys go where a Java client puts them among %d",
             (int)v.changed_topic.len, (const char *)v.changed_topic.data,
             (int)v.partitions_were, (int)v.partitions_are, (int)v.partitions_are);
    a->told_partitions = v.partition_changes;
  }
  if (running && !was_running) {
    log_line(LEVEL_INFO, "delivering", "connected to %s; delivering from seq %llu on%s", a->settings.brokers,
             (unsigned long long)v.cursor_seq + 1, text_of_renewal(v.renewed));
    notify_ready();
  }
  if (v.phase == PHASE_STOPPED && a->told_phase != PHASE_STOPPED) tell_end(a, &v);
  /* Phases within a transaction are too quick to report one by one. */
  bool changed = v.phase != a->told_phase && !(running && was_running);
  a->told_phase = v.phase;
  if (changed) tell_report(a);
}

static int ascending(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void commit_times(const agent *a, agent_report *report) {
  uint32_t times[COMMITS_KEPT];
  const size_t n = a->commits_count < COMMITS_KEPT ? a->commits_count : COMMITS_KEPT;
  if (n == 0) return;
  memcpy(times, a->commits_us, n * sizeof *times);
  qsort(times, n, sizeof *times, ascending);
  report->commit_p50_us = times[n / 2];
  report->commit_p95_us = times[n * 95 / 100];
}

void tell_report(agent *a) {
  core_view v;
  core_view_get(a->core, &v);
  int64_t now = sl_clock_monotonic_us(), wall = sl_clock_wall_us();
  /* While it rests only the client notices an outage. */
  const int64_t alone_us = a->kafka && is_running(v.phase) ? kafka_alone_since_us(a->kafka) : 0;
  const bool down = alone_us > 0 || (v.last_fault.scope == SCOPE_CONNECTION && !is_running(v.phase));
  if (!down) a->unreachable_wall_us = 0;
  else if (a->unreachable_wall_us == 0) a->unreachable_wall_us = alone_us > 0 ? wall - (now - alone_us) : wall;
  park_text park = text_of_park(v.park);
  report_lane lanes[LANES_TOLD] = {0};
  sl_lane list[SL_LANES_MAX];
  const size_t all = core_lanes(a->core, list, SL_LANES_MAX), n = all < LANES_TOLD ? all : LANES_TOLD;
  for (size_t i = 0; i < n; i++) {
    const core_lane_view lane = core_lane_of(a->core, list[i].topic);
    const uint64_t behind = v.cursor_seq > list[i].seq ? v.cursor_seq - list[i].seq : 0;
    lanes[i] = (report_lane){.topic = list[i].topic, .seq = list[i].seq, .oldest_us = lane.oldest_us,
                             .refused_since_us = lane.refused_since_us, .max_age_us = lane.max_age_us,
                             .kept_bytes = behind * a->house.seen.bytes_per_event,
                             .code = lane.why ? lane.why->name : NULL, .text = lane.why ? lane.why->text : NULL};
  }
  int64_t shift = wall - now; /* kept while the clocks agree: the same instant is told as the same time */
  if (shift > a->clock_shift_us + 50000 || shift < a->clock_shift_us - 50000) a->clock_shift_us = shift;
#define WALL(us) ((us) ? (us) + a->clock_shift_us : 0)
  agent_report report = {
      .state = state_of(a, &v), .state_since_us = v.since_us ? WALL(v.since_us) : a->started_wall_us,
      .written_us = wall, .started_us = a->started_wall_us, .pid = (int64_t)getpid(),
      .mode = a->settings.mode == MODE_EXACTLY_ONCE ? "exactly-once" : "at-least-once",
      .brokers = a->settings.brokers, .cluster_id = a->cluster_id[0] ? a->cluster_id : NULL,
      .unreachable_since_us = a->unreachable_wall_us, .last_commit_us = WALL(v.last_commit_us),
      .error_code = v.last_fault_us ? v.last_fault.name : NULL,
      .error_text = v.last_fault_us ? v.last_fault.text : NULL, .error_us = WALL(v.last_fault_us),
      .next_try_us = v.phase == PHASE_BACKOFF || v.phase == PHASE_PARKED || v.held ? WALL(v.next_try_us) : 0,
      .held = v.held,
      .backlog = v.last_seq > v.cursor_seq ? v.last_seq - v.cursor_seq : 0, .cursor_seq = v.cursor_seq,
      .last_seq = v.last_seq, .indexed_seq = v.indexed_seq,
      .txn_events = (uint64_t)a->settings.txn_max_events, .txn_bytes = v.txn_bytes, .bytes_per_s = v.bytes_per_s,
      .events_per_s = v.events_per_s,
      .letters_published = v.letters_published, .transactions = v.transactions, .aborts = v.aborts,
      .handles = v.handles, .lanes = lanes, .lane_count = n,
      .lanes_limit_bytes = a->house.seen.lanes_limit, .lanes_expired = v.expired,
      .partition_changes = v.partition_changes, .topics_recreated = v.offsets_back,
      .monitor = monitor_report(a->monitor),
      .parked_reason = park.reason, .parked_text = park.text, .parked_remedy = park.remedy};
#undef WALL
  commit_times(a, &report);
  if (v.letters_wait) /* the book's own word belongs to the worker */
    (void)delivery_letters_count(a->delivery, LETTERS_COUNTED, &report.letters_waiting);
  char broker[160];
  if (a->kafka) {
    kafka_brokers(a->kafka, &report.brokers_up, &report.brokers_total);
    kafka_a_broker(a->kafka, broker, sizeof broker);
    if (broker[0]) report.broker = broker;
  }
  sl_buf json = {0};
  report.written_us = 0; /* is there more to say than the time? */
  bool made = agent_report_json(&report, &json);
  bool news = made && !sl_slice_eq(sl_buf_slice(&json), sl_buf_slice(&a->told_report));
  if (news || (made && wall - a->told_report_us >= SAME_REPORT_US) || wall < a->told_report_us) {
    sl_buf told = a->told_report;
    a->told_report = json;
    a->told_report_us = wall;
    json = told;
    sl_buf_reset(&json);
    report.written_us = wall;
    if (agent_report_json(&report, &json)) delivery_report_set(a->delivery, sl_buf_slice(&json));
  }
  sl_buf_free(&json);
}
