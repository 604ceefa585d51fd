/* The worker trims, then looks at the store's counts; what it found is taken over on the loop, after it, and the
 * next round is set. It reads the settings, so they are swapped only while it does not run. */
#include "agent.h"
#include "base/breathe.h"
#include "log.h"
#include <stdlib.h>

#define HOUSE_MS 30000
#define HOUSE_SOON_MS 2000     /* the first time, and while the store nears its quota */
#define HOUSE_NEAR_PERCENT 80
#define HOUSE_BUDGET 100000    /* events removed a round; the next round follows at once when it was used up */
#define READER_LAG_ALARM 50000 /* transactions */

static bool trim_topics(const settings *s, sl_trim_topic **out) {
  sl_trim_topic *topics = calloc(s->topic_count + 1, sizeof *topics);
  if (!topics) return false;
  for (size_t i = 0; i < s->topic_count; i++) { /* the first rule that fits decides, also by the default */
    int64_t age = s->topics[i].retention_us ? s->topics[i].retention_us : s->retention_us;
    topics[i] = (sl_trim_topic){sl_slice_of(s->topics[i].match), age == INT64_MAX ? 0 : age};
  }
  *out = topics;
  return true;
}

/* Removes what nobody wants any more. True: there is more of it. */
static bool trim(sl_store *store, const settings *s) {
  sl_trim_topic *topics;
  if (!trim_topics(s, &topics)) return false;
  sl_trim_policy policy = {.max_age_us = s->retention_us, .max_bytes = (uint64_t)s->retention_bytes,
                           .topics = topics, .topic_count = s->topic_count, .budget = HOUSE_BUDGET};
  sl_trim_result result = {0};
  sl_status st = SL_OK;
  if (policy.max_age_us || policy.max_bytes || policy.topic_count) st = sl_trim(store, &policy, &result);
  free(topics);
  if (st != SL_OK)
    log_line(LEVEL_WARN, "trim-failed", "%s: %s", sl_status_text(st), sl_last_detail());
  else if (result.removed)
    log_line(LEVEL_INFO, "trimmed", "%llu events by retention; the oldest kept is seq %llu",
             (unsigned long long)result.removed, (unsigned long long)result.first_seq);
  return st == SL_OK && result.removed >= HOUSE_BUDGET;
}

static void warn(house *h, const sl_stats *stats) {
  if (stats->reader_lag > READER_LAG_ALARM)
    log_line(LEVEL_WARN, "reader-lag", "a reader is %llu transactions behind: the log's file grows until it ends",
             (unsigned long long)stats->reader_lag);
  if (stats->dropped_full > h->told_drops)
    log_line(LEVEL_WARN, "dropped-full",
             "the store was full: %llu undelivered events were dropped by its policy since the last look, "
             "%llu ever; `sidelog query --status dropped` names those still kept",
             (unsigned long long)(stats->dropped_full - h->told_drops), (unsigned long long)stats->dropped_full);
  h->told_drops = stats->dropped_full;
  if (!stats->balanced)
    log_line(LEVEL_ERROR, "law-broken",
             "appended %llu is not delivered %llu + duplicates %llu + dead %llu + dropped %llu + pending %llu: "
             "run `sidelog verify`", (unsigned long long)stats->appended, (unsigned long long)stats->delivered,
             (unsigned long long)stats->duplicates, (unsigned long long)stats->dead,
             (unsigned long long)stats->dropped, (unsigned long long)stats->pending);
}

static void work(uv_work_t *request) {
  agent *a = request->data;
  house *h = &a->house;
  const settings *s = &a->settings;
  sl_stats stats;
  sl_breathes = indexer_gives_way(&a->indexer);
  h->near = false;
  h->again = trim(a->store, s);
  if (sl_stats_get(a->store, &stats) != SL_OK) return;
  h->near = stats.bytes_used / HOUSE_NEAR_PERCENT >= stats.bytes_quota / 100;
  const uint64_t each = stats.kept ? stats.bytes_used / stats.kept : 0;
  const uint64_t limit = s->lane_share ? stats.bytes_quota / 100 * (uint64_t)s->lane_share : 0;
  const uint64_t events = each ? limit / each : 0;
  const bool full = stats.lanes && events && stats.delivery_seq > events;
  h->look = (house_look){full ? stats.delivery_seq - events : 0, limit, each};
  warn(h, &stats);
}

static void on_timer(uv_timer_t *timer);

static void next(agent *a, uint64_t in_ms) {
  if (!a->exiting) uv_timer_start(&a->house.timer, on_timer, in_ms, 0);
}

static void after(uv_work_t *request, int status) {
  (void)status;
  agent *a = request->data;
  house *h = &a->house;
  const uint64_t told = h->seen.lanes_full_to;
  h->busy = false;
  h->seen = h->look;
  if (h->seen.lanes_full_to != told)
    agent_event(a, (core_event){.kind = EVENT_LANES, .lanes_full_to = h->seen.lanes_full_to});
  agent_reload_if_due(a);
  next(a, h->again ? 0 : h->near ? HOUSE_SOON_MS : HOUSE_MS);
}

static void on_timer(uv_timer_t *timer) {
  agent *a = timer->data;
  house *h = &a->house;
  if (h->busy || a->exiting) return;
  h->work.data = a;
  h->busy = uv_queue_work(&a->loop, &h->work, work, after) == 0;
  if (!h->busy) next(a, HOUSE_MS);
}

void house_init(agent *a) {
  sl_stats stats;
  uv_timer_init(&a->loop, &a->house.timer);
  a->house.timer.data = a;
  if (sl_stats_get(a->store, &stats) == SL_OK) a->house.told_drops = stats.dropped_full;
}

void house_start(agent *a) { next(a, HOUSE_SOON_MS); }
