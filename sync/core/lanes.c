/* Topics that cannot be written: their lanes, and what may wait there no longer. */
#include "core/inner.h"
#include <stdio.h>
#include <time.h>

#define REFUSED_PROBES 10 /* refused for so many probes' time, at least, before the first of a lane is set aside */

/* Nothing waits in a lane for longer than its age, nor keeps more of the log than its share: but only what the
 * cluster itself refuses, again and again, counts: an outage sets nothing aside, nor a first refusal after it. */
static bool is_too_old(const core *c, const topic *tp, int64_t appended_us) {
  const int64_t ahead_us = appended_us <= c->clock_before_us ? c->clock_ahead_us : 0;
  return tp->max_age_us > 0 && c->wall_us - ahead_us - appended_us > tp->max_age_us;
}

static bool is_too_much(const core *c, const topic *tp, uint64_t seq, int64_t appended_us) {
  return is_too_old(c, tp, appended_us) || seq <= c->lanes_full_to;
}

static void count_refusal(core *c, topic *tp) {
  const int64_t since = c->now_us - tp->refused_at_us, most = 3 * c->config.probe_us;
  if (tp->refused_at_us) tp->refused_us += since < most ? since : most;
  tp->refused_at_us = c->now_us;
  if (tp->refusals++ == 0) tp->refused_wall_us = c->wall_us;
  int64_t enough = REFUSED_PROBES * c->config.probe_us;
  if (tp->max_age_us > 0 && tp->max_age_us < enough) enough = tp->max_age_us;
  if (!tp->has_lane || tp->refusals < 2 || tp->refused_us < enough) return;
  tp->expire = tp->oldest_us == 0 ? tp->max_age_us > 0 || c->lanes_full_to > tp->lane_seq
                                  : is_too_much(c, tp, tp->lane_seq + 1, tp->oldest_us);
}

void topic_sicken(core *c, topic *tp, const fault *why) {
  tp->health = TOPIC_SICK;
  tp->sick_of = *why;
  tp->lane_try_us = c->now_us + c->config.probe_us;
  count_refusal(c, tp);
}

size_t lanes_next(const core *c) {
  size_t n = 0;
  for (size_t i = 0; i < c->topics.count; i++) n += c->topics.list[i]->next_has_lane;
  return n;
}

int lanes_by_topic(const void *a, const void *b) {
  const sl_lane *x = a, *y = b;
  size_t n = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
  int order = memcmp(x->topic.data, y->topic.data, n);
  return order ? order : (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
}

core_offer_result lane_take(core *c, uint64_t seq, topic *tp, int64_t appended_us) {
  if (!tp->next_has_lane) {
    if (lanes_next(c) >= SL_LANES_MAX) return txn_stop(&c->txn, false);
    tp->next_has_lane = true;
    tp->next_lane_seq = seq - 1;
    tp->oldest_us = appended_us;
  }
  return txn_settle_as(&c->txn, seq, tp, SL_VERDICT_LANE, -1);
}

static void text_of_time(int64_t wall_us, char *to, size_t cap) {
  const time_t s = (time_t)(wall_us / 1000000);
  struct tm tm;
  if (!gmtime_r(&s, &tm) || strftime(to, cap, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) to[0] = '\0';
}

core_offer_result lane_offer_expired(core *c, const core_record *r, topic *tp) {
  txn *t = &c->txn;
  char since[40];
  if (t->letter_count >= EXPIRE_MAX) {
    tp->expire = true; /* on, after main's turn */
    return txn_stop(t, true);
  }
  if (!is_too_much(c, tp, r->seq, r->appended_us)) {
    tp->oldest_us = r->appended_us;
    if (t->count > 0) t->looked_to = r->seq - 1; /* nothing of the topic is between */
    return txn_stop(t, false);
  }
  if (!txn_add_slot(t, r->seq, tp, SL_VERDICT_DEAD)) return txn_stop(t, true);
  fault why = tp->sick_of;
  const bool old = is_too_old(c, tp, r->appended_us);
  snprintf(why.name, sizeof why.name, "%s", old ? "LANE_TOO_OLD" : "LANE_OVER_SHARE");
  text_of_time(tp->refused_wall_us, since, sizeof since);
  snprintf(why.text, sizeof why.text, "%s; refused since %s: %s: %.100s",
           old ? "it waited longer than lanes.max_age" : "what waits for refused topics filled lanes.quota_share",
           since, tp->sick_of.name, tp->sick_of.text);
  if (txn_add_letter(c, t->count - 1, &why, tp->refusals, tp->refused_wall_us, c->wall_us)) return OFFER_SETTLED;
  txn_drop_last(t);
  return txn_stop(t, true);
}

bool lanes_load(core *c, const sl_lane *lanes, size_t count) {
  bool ok = true;
  for (size_t i = 0; i < c->topics.count; i++) c->topics.list[i]->next_has_lane = false;
  for (size_t i = 0; i < count; i++) {
    topic *tp = topics_get(&c->topics, lanes[i].topic);
    if (!tp) {
      ok = false;
      continue;
    }
    /* A lane that was opened just now may wait; one that the last agent left is tried at once. */
    if (!tp->has_lane && c->phase != PHASE_BACKOFF) tp->lane_try_us = c->now_us + c->config.probe_us;
    tp->has_lane = tp->next_has_lane = true;
    tp->lane_seq = tp->next_lane_seq = lanes[i].seq;
  }
  for (size_t i = 0; i < c->topics.count; i++) {
    topic *tp = c->topics.list[i];
    if (!tp->next_has_lane) {
      tp->has_lane = false;
      tp->narrow = (narrow){0};
    }
  }
  return ok;
}
