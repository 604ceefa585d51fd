/* The agent's life: opens the store, starts the core, gives it what happens and has done what it answers, reads
 * its configuration again, stops cleanly. */
#include "agent.h"
#include "base/clock.h"
#include "base/id.h"
#include "log.h"
#include "notify.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 1000            /* looks at the log by itself so often, should a change go unnoticed */
#define TOMBSTONE_ROUNDS 8      /* of up to 4,000 events, a tick */
#define STOP_LOOK_MS 250        /* after SIGTERM: whether the broker still says something */
#define STOP_SILENCE_MS 3000

/* --- the core --- */

static int64_t suspended_us(void) {
#ifdef CLOCK_BOOTTIME
  struct timespec boot, mono;
  if (clock_gettime(CLOCK_BOOTTIME, &boot) == 0 && clock_gettime(CLOCK_MONOTONIC, &mono) == 0)
    return ((int64_t)boot.tv_sec - mono.tv_sec) * 1000000 + (boot.tv_nsec - mono.tv_nsec) / 1000;
#endif
  return 0;
}

/* How long delivery is closed by the time of day; 0: it is open. */
static int64_t closed_us(const agent *a) {
  if (a->hours.count == 0) return 0;
  const time_t now = (time_t)(sl_clock_wall_us() / 1000000);
  struct tm tm;
  if (!localtime_r(&now, &tm)) return 0;
  const int second = (tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec;
  return hours_wait_us(&a->hours, second < 86400 ? second : 86399);
}

static void on_wake(uv_timer_t *timer) {
  agent *a = timer->data;
  agent_event(a, (core_event){.kind = EVENT_TIMER});
  fill_resume(a); /* the time of a drain is over: one that waits for room ends */
}

static void step_once(agent *a, core_event event) {
  core_actions actions;
  event.now_us = sl_clock_monotonic_us();
  event.wall_us = sl_clock_wall_us();
  event.slept_us = suspended_us();
  event.closed_us = closed_us(a);
  core_step(a->core, &event, &actions);
#ifndef NDEBUG
  const char *broken = core_check(a->core);
  if (broken) {
    log_line(LEVEL_ERROR, "invariant-broken", "%s (phase %s): stopping rather than delivering wrongly", broken,
             core_phase_text(core_phase_of(a->core)));
    keep_flush(a->keep);
    abort();
  }
#endif
  for (size_t i = 0; i < actions.count; i++) ops_perform(a, &actions.list[i]);
  tell_changes(a);
}

void agent_event(agent *a, core_event event) {
  /* An operation that is done at once leaves its event in a->pending; the outermost call works it off. */
  if (a->stepping) {
    step_once(a, event);
    return;
  }
  a->stepping = true;
  step_once(a, event);
  while (a->has_pending) {
    a->has_pending = false;
    step_once(a, a->pending);
  }
  a->stepping = false;
  if (!keep_flush(a->keep))
    log_line(LEVEL_WARN, "history-failed", "%s cannot be written: recording has ended", a->settings.history);
  int64_t wake = core_wake_at(a->core);
  if (wake == 0) {
    uv_timer_stop(&a->wake);
  } else {
    int64_t in_ms = (wake - sl_clock_monotonic_us() + 999) / 1000;
    uv_timer_start(&a->wake, on_wake, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
  }
}

static void on_delivered(void *arg, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  agent *a = arg;
  if (tag != TAG_MARKER) {
    core_delivered(a->core, tag, partition, offset, why);
    /* It left a gap in its partition's numbers: librdkafka kept what was behind until the timeout. */
    const bool refused = why->scope == SCOPE_RECORD || why->scope == SCOPE_TOPIC;
    if (refused && a->settings.mode == MODE_EXACTLY_ONCE) kafka_give_up(a->kafka);
  } else if (fault_is_ok(why)) {
    a->marker_offset = offset;
  } else {
    a->marker_fault = *why;
  }
}

/* The core may answer with the handle's end, which must not begin while the handle is being polled. */
static void on_error(void *arg, const fault *why, bool transport) {
  agent *a = arg;
  /* What the core takes note of is told by tell_changes. */
  log_line(why->fatal ? LEVEL_WARN : LEVEL_DEBUG, why->fatal ? "kafka-fatal" : "kafka-error", "%s: %s", why->name,
           why->text);
  if (a->error_count < ERRORS_MAX) {
    a->errors[a->error_count++] = (kafka_word){*why, transport};
  } else {
    kafka_word *last = &a->errors[ERRORS_MAX - 1];
    if (why->fatal) last->why = *why;
    last->transport = last->transport || transport;
  }
}

static void on_reached(void *arg) { ((agent *)arg)->reached = true; }

void agent_serve_kafka(agent *a) {
  static const size_t chunk = 10000;
  const kafka_sink sink = {a, on_delivered, on_error, on_reached};
  for (size_t served = 1; a->kafka && served > 0;) a->served += served = kafka_poll(a->kafka, chunk, &sink);
  kafka_word errors[ERRORS_MAX];
  size_t count = a->error_count;
  memcpy(errors, a->errors, count * sizeof *errors);
  a->error_count = 0;
  for (size_t i = 0; i < count; i++)
    agent_event(a, (core_event){.kind = EVENT_ERROR, .why = errors[i].why, .transport = errors[i].transport});
  if (a->reached) {
    a->reached = false;
    agent_event(a, (core_event){.kind = EVENT_REACHED});
  }
  if (a->marker_waiting) {
    a->marker_waiting = false;
    ops_perform(a, &a->flush_action);
    while (a->has_pending && !a->stepping) {
      a->has_pending = false;
      agent_event(a, a->pending);
    }
  }
  fill_resume(a);
}

/* --- the tick --- */

/* While the broker is away a full store may go on dropping: the tombstones at the cursor need no broker to be
 * settled, and trim then frees what is left of them. */
static void settle_tombstones(agent *a) {
  core_phase phase = core_phase_of(a->core);
  if (a->op_running || a->stepping || (phase != PHASE_BACKOFF && phase != PHASE_PARKED)) return;
  uint64_t settled = 0, sum = 0;
  for (int i = 0; i < TOMBSTONE_ROUNDS; i++) {
    if (delivery_settle_tombstones(a->delivery, a->store, &settled) != SL_OK || settled == 0) break;
    sum += settled;
  }
  if (sum > 0) agent_event(a, (core_event){.kind = EVENT_BOOK, .book = delivery_state_get(a->delivery)});
}

static void on_tick(uv_timer_t *timer) {
  agent *a = timer->data;
  settle_tombstones(a);
  int64_t slept = suspended_us();
  if (slept - a->suspend_us > 5000000) {
    log_line(LEVEL_INFO, "resumed", "the host slept for %lld s: connecting anew",
             (long long)((slept - a->suspend_us + 500000) / 1000000));
    agent_event(a, (core_event){.kind = EVENT_RESUMED});
    fill_resume(a); /* no report would come from a dead connection */
  }
  a->suspend_us = slept;
  indexer_look(a);
}

static void on_report(uv_timer_t *timer) { tell_report(timer->data); }

/* --- signals --- */

void agent_hold_signals(bool hold) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void on_deadline(uv_timer_t *timer) {
  agent *a = timer->data;
  log_line(LEVEL_WARN, "stop-forced",
           "still in %s without an answer from the broker: exiting now; nothing is lost, the next start reads the "
           "outcome from it", core_phase_text(core_phase_of(a->core)));
  /* Blocked calls of librdkafka hold worker threads; leaving them is safe, as a kill would be. */
  _exit(a->exiting ? a->exit_status : a->settings.drain ? 5 : 0);
}

/* A broker that has fallen silent need not be waited for until the deadline: what it has not answered by now is as
 * unknown as at the deadline. Our own writes are waited for, and what a slow link may still carry. */
static void on_stop_look(uv_timer_t *timer) {
  agent *a = timer->data;
  core_view v;
  core_view_get(a->core, &v);
  const double waiting = a->kafka ? (double)kafka_waiting(a->kafka) : 0;
  const double patience_ms = STOP_SILENCE_MS + waiting / (v.bytes_per_s > 1 ? v.bytes_per_s : 1) * 1500;
  const bool ours =
      v.phase == PHASE_INTENT || v.phase == PHASE_SETTLE || v.phase == PHASE_ABANDON || v.phase == PHASE_RECONCILE;
  if (ours || a->served != a->served_seen || v.phase != a->phase_seen) a->silent_looks = 0;
  else a->silent_looks++;
  a->served_seen = a->served;
  a->phase_seen = v.phase;
  if (a->silent_looks * STOP_LOOK_MS >= patience_ms && !a->exiting) on_deadline(timer);
}

static void on_stop(uv_signal_t *signal, int number) {
  agent *a = signal->data;
  if (a->stopping) return;
  a->stopping = true;
  log_line(LEVEL_INFO, "stopping", "signal %d: finishing what is in hand", number);
  notify_stopping();
  uv_timer_start(&a->deadline, on_deadline, (uint64_t)(a->settings.shutdown_timeout_us / 1000), 0);
  uv_timer_start(&a->stop_look, on_stop_look, STOP_LOOK_MS, STOP_LOOK_MS);
  agent_event(a, (core_event){.kind = EVENT_STOP});
  fill_resume(a); /* one that waits for room need not */
}

static uint64_t report_ms(const agent *a) { return (uint64_t)(a->settings.report_interval_us / 1000); }

void agent_reload_if_due(agent *a) {
  /* Workers read the settings: they are swapped while none runs. */
  if (!a->reload_due || a->op_running || a->house.busy || monitor_busy(a->monitor)) return;
  a->reload_due = false;
  settings next;
  if (settings_reload(&a->settings, &next, a->argc, a->argv, stderr) != 0) {
    log_line(LEVEL_ERROR, "reload-failed", "the configuration has errors (above); nothing was changed");
  } else {
    int waiting = settings_needs_restart(&a->settings, &next, stderr);
    bool login = settings_login_changed(&a->settings, &next);
    bool taken = settings_take(&a->settings, &next);
    settings_free(&next);
    log_setup(a->settings.level, a->settings.format);
    uv_timer_start(&a->report, on_report, report_ms(a), report_ms(a));
    if (!taken) log_line(LEVEL_ERROR, "reload-failed", "out of memory; nothing was changed");
    else
      log_line(LEVEL_INFO, "reloaded", "configuration read again%s%s",
               login ? "; connecting anew with its credentials once nothing is in hand" : "",
               waiting ? "; the settings named above change at the next start" : "");
    monitor_reloaded(a->monitor, login);
    if (taken) agent_event(a, (core_event){.kind = EVENT_RULES});
    if (taken && login) agent_event(a, (core_event){.kind = EVENT_LOGIN});
  }
  notify_ready();
}

static void on_hup(uv_signal_t *signal, int number) {
  (void)number;
  agent *a = signal->data;
  notify_reloading();
  a->reload_due = true;
  agent_reload_if_due(a);
}

/* --- set-up --- */

static bool setup_loop(agent *a) {
  uv_loop_t *loop = &a->loop;
  if (uv_loop_init(loop) != 0) return false;
  uv_timer_init(loop, &a->wake);
  uv_timer_init(loop, &a->tick);
  uv_timer_init(loop, &a->report);
  uv_timer_init(loop, &a->deadline);
  uv_timer_init(loop, &a->stop_look);
  uv_timer_init(loop, &a->monitor_timer);
  uv_idle_init(loop, &a->fill.idle);
  uv_signal_init(loop, &a->term);
  uv_signal_init(loop, &a->intr);
  uv_signal_init(loop, &a->hup);
  a->wake.data = a->tick.data = a->report.data = a->deadline.data = a->stop_look.data = a;
  a->term.data = a->intr.data = a->hup.data = a;
  indexer_init(a);
  house_init(a);
  return true;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static int open_store(agent *a) {
  sl_options options = {.flags = 0};
  sl_status st = sl_open(a->settings.store, &options, &a->store);
  if (st == SL_OK) st = delivery_open(a->store, &a->delivery);
  if (st == SL_OK) return 0;
  log_line(LEVEL_ERROR, st == SL_E_BUSY ? "store-taken" : "store-unusable", "%s%s", sl_last_detail(),
           st != SL_E_ACCESS ? "" : "; an agent runs as the store's owner, or in the group that the store was "
                                    "made for; --store (in the file store) names another");
  return 3;
}

/* A property of the client's that the core follows, too, where it is configured. */
static int64_t property_ms(const settings *s, const char *name, int64_t preset) {
  for (size_t i = 0; i < s->kafka_count; i++)
    if (strcmp(s->kafka[i].name, name) == 0 && atoll(s->kafka[i].value) != 0) return atoll(s->kafka[i].value);
  return preset;
}

static bool make_core(agent *a) {
  core_config config = {.exactly_once = a->settings.mode == MODE_EXACTLY_ONCE,
                        .letters = a->settings.letters_publish,
                        .drain = a->settings.drain,
                        .latency_budget_us = a->settings.latency_budget_us,
                        .txn_max_events = a->settings.txn_max_events,
                        .txn_max_bytes = a->settings.txn_max_bytes,
                        .txn_timeout_us = a->settings.txn_timeout_us,
                        .txn_timeout_max_us = a->settings.txn_timeout_max_us,
                        /* what took longer than half of it may have been sent twice */
                        .doubt_us = property_ms(&a->settings, "socket.timeout.ms", 0) * 500,
                        .flow_bytes_per_s = a->settings.flow_bytes_per_s,
                        .flow_events_per_s = a->settings.flow_events_per_s,
                        /* seldomer than the client, who sees new partitions by itself: it asks for limits, too */
                        .look_us = property_ms(&a->settings, "topic.metadata.refresh.interval.ms", 300000) * 1000,
                        .probe_us = a->settings.refused_retry_us};
  char ignored[128];
  if (a->settings.flow_hours) /* the settings have checked it */
    (void)hours_parse(a->settings.flow_hours, &a->hours, ignored, sizeof ignored);
  uint64_t last = 0;
  if (sl_wait(a->store, 0, 0, &last) == SL_OK) config.drain_to = last;
  if (a->settings.drain && a->settings.drain_timeout_us > 0)
    config.drain_deadline_us = a->drain_deadline_us = sl_clock_monotonic_us() + a->settings.drain_timeout_us;
  size_t len = 0;
  int64_t bytes = 0;
  if (delivery_note_get(a->delivery, NOTE_TXN_BYTES, &bytes, sizeof bytes, &len) == SL_OK && len == sizeof bytes)
    config.txn_start_bytes = a->noted_bytes = bytes;
  a->noted_timeout_us = config.txn_timeout_us;
  if (delivery_note_get(a->delivery, NOTE_TXN_TIMEOUT, &bytes, sizeof bytes, &len) == SL_OK && len == sizeof bytes)
    config.txn_start_timeout_us = a->noted_timeout_us = bytes;
  if (delivery_note_get(a->delivery, NOTE_LINK, &a->noted_link, sizeof a->noted_link, &len) != SL_OK ||
      len != sizeof a->noted_link)
    a->noted_link = (note_link){0};
  config.link_gap_us = a->noted_link.gap_us;
  config.link_bytes_per_s = a->noted_link.bytes_per_s;
  if (!sl_random(config.incarnation, sizeof config.incarnation) ||
      !sl_random(&config.seed, sizeof config.seed))
    return false;
  a->core = core_new(&config, delivery_state_get(a->delivery));
  if (a->core && a->settings.history) {
    a->keep = keep_start(a->core, a->settings.history, a->settings.history_bytes);
    if (!a->keep) log_line(LEVEL_WARN, "history-failed", "%s: %s", a->settings.history, strerror(errno));
  }
  return a->core != NULL;
}

static void remember(agent *a) {
  core_view view;
  core_view_get(a->core, &view);
  int64_t bytes = (int64_t)view.txn_bytes;
  delivery_note_set(a->delivery, NOTE_TXN_BYTES, SL_BYTES(&bytes, sizeof bytes));
}

int agent_run(settings *taken, int argc, char **argv) {
  agent *a = calloc(1, sizeof *a);
  if (!a) return 3;
  a->settings = *taken;
  a->argc = argc;
  a->argv = argv;
  a->started_wall_us = sl_clock_wall_us();
  a->marker_offset = a->settled_marker_offset = -1;
  a->suspend_us = suspended_us();
  log_setup(a->settings.level, a->settings.format);
  bool left = false;
  int status = open_store(a);
  if (status == 0) a->told_dead = delivery_state_get(a->delivery)->dead;
  if (status == 0 && (!make_core(a) || !setup_loop(a))) {
    log_line(LEVEL_ERROR, "no-memory", "the agent could not be set up");
    status = 3;
  }
  if (status == 0) {
    memcpy(a->store_id, delivery_state_get(a->delivery)->sender, sizeof a->store_id);
    if (a->settings.transactional_id)
      snprintf(a->transactional_id, sizeof a->transactional_id, "%s", a->settings.transactional_id);
    else
      snprintf(a->transactional_id, sizeof a->transactional_id, "sidelog-%s", a->store_id);
    uv_signal_start(&a->term, on_stop, SIGTERM);
    uv_signal_start(&a->intr, on_stop, SIGINT);
    uv_signal_start(&a->hup, on_hup, SIGHUP);
    agent_hold_signals(false);
    uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS);
    uv_timer_start(&a->report, on_report, 0, report_ms(a));
    house_start(a);
    if (a->settings.drain && a->settings.drain_timeout_us > 0) /* a call that blocks beyond it is cut short */
      uv_timer_start(&a->deadline, on_deadline,
                     (uint64_t)(a->settings.drain_timeout_us + a->settings.shutdown_timeout_us) / 1000, 0);
    log_line(LEVEL_INFO, "started", "store %s (%s), brokers %s, %s", a->settings.store, a->store_id,
             a->settings.brokers, a->settings.mode == MODE_EXACTLY_ONCE ? "exactly-once" : "at-least-once");
    monitor_start(a);
    notify_ready(); /* the store, not the broker: producers depend on nothing else */
    agent_event(a, (core_event){.kind = EVENT_START});
    indexer_start(a);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    while (a->indexer.busy || a->house.busy) uv_run(&a->loop, UV_RUN_ONCE); /* the deadline still holds */
    status = a->exit_status;
    remember(a);
    tell_report(a);
    left = !monitor_end(a);
    if (!left) {
      uv_walk(&a->loop, close_handle, NULL);
      uv_run(&a->loop, UV_RUN_DEFAULT);
      uv_loop_close(&a->loop);
    }
  }
  fill_free(a);
  sl_buf_free(&a->told_report);
  keep_end(a->keep);
  core_free(a->core);
  delivery_close(a->delivery);
  sl_close(a->store);
  if (left) _exit(status); /* a worker still waits for somebody: see monitor_end */
  settings_free(&a->settings);
  free(a);
  return status;
}
