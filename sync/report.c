#include "report.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <yajl/yajl_gen.h>

const char *report_state_text(report_state state) {
  static const char *const names[] = {"starting", "connecting", "running",  "draining",
                                      "backoff",  "parked",     "stopping", "stopped"};
  return names[state];
}

static void put_slice(yajl_gen g, sl_slice text) {
  sl_buf fixed = {0};
  const char *bytes = text.data;
  if (!sl_utf8_valid(text)) {
    for (size_t i = 0, n; i < text.len; i += n) {
      for (n = 4; n && (i + n > text.len || !sl_utf8_valid((sl_slice){bytes + i, n})); n--) {}
      if (n) sl_buf_append(&fixed, bytes + i, n);
      else sl_buf_append(&fixed, "\xef\xbf\xbd", 3), n = 1;
    }
    bytes = (const char *)fixed.data;
    text.len = fixed.failed ? 0 : fixed.len;
  }
  yajl_gen_string(g, (const unsigned char *)(bytes ? bytes : ""), text.len);
  sl_buf_free(&fixed);
}

static void key(yajl_gen g, const char *name) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
}

static void put_text(yajl_gen g, const char *name, const char *text) {
  key(g, name);
  if (text) put_slice(g, (sl_slice){text, strlen(text)});
  else yajl_gen_null(g);
}

/* as text: yajl's integers are signed */
static void put_count(yajl_gen g, const char *name, uint64_t n) {
  char digits[32];
  int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
  key(g, name);
  yajl_gen_number(g, digits, (size_t)len);
}

static void put_time(yajl_gen g, const char *name, int64_t us) {
  if (us > 0) {
    put_count(g, name, (uint64_t)us);
  } else {
    key(g, name);
    yajl_gen_null(g);
  }
}

static void put_rate(yajl_gen g, const char *name, double rate) {
  char digits[64];
  int len = snprintf(digits, sizeof digits, "%.1f", isfinite(rate) && rate > 0 && rate < 1e15 ? rate : 0.0);
  /* a decimal comma, where a locale has been set, is no JSON */
  for (char *p = digits; *p; p++)
    if (*p == ',') *p = '.';
  key(g, name);
  yajl_gen_number(g, digits, (size_t)len);
}

static void put_cluster(yajl_gen g, const agent_report *r) {
  key(g, "cluster");
  yajl_gen_map_open(g);
  put_text(g, "brokers", r->brokers);
  put_text(g, "broker", r->broker);
  put_text(g, "id", r->cluster_id);
  put_count(g, "up", r->brokers_up > 0 ? (uint64_t)r->brokers_up : 0);
  put_count(g, "total", r->brokers_total > 0 ? (uint64_t)r->brokers_total : 0);
  put_time(g, "unreachable_since_us", r->unreachable_since_us);
  yajl_gen_map_close(g);
}

static void put_error(yajl_gen g, const agent_report *r) {
  key(g, "error");
  if (!r->error_code && !r->error_text) {
    yajl_gen_null(g);
    return;
  }
  yajl_gen_map_open(g);
  put_text(g, "code", r->error_code);
  put_text(g, "text", r->error_text);
  put_time(g, "at_us", r->error_us);
  yajl_gen_map_close(g);
}

static void put_transactions(yajl_gen g, const agent_report *r) {
  key(g, "transactions");
  yajl_gen_map_open(g);
  put_count(g, "committed", r->transactions);
  put_count(g, "aborted", r->aborts);
  put_count(g, "handles", r->handles);
  put_count(g, "target_events", r->txn_events);
  put_count(g, "target_bytes", r->txn_bytes);
  put_rate(g, "events_per_s", r->events_per_s);
  put_rate(g, "bytes_per_s", r->bytes_per_s);
  put_time(g, "commit_p50_us", r->commit_p50_us);
  put_time(g, "commit_p95_us", r->commit_p95_us);
  yajl_gen_map_close(g);
}

static void put_lanes(yajl_gen g, const agent_report *r) {
  key(g, "lanes");
  yajl_gen_array_open(g);
  for (size_t i = 0; i < r->lane_count; i++) {
    const report_lane *lane = &r->lanes[i];
    yajl_gen_map_open(g);
    key(g, "topic");
    put_slice(g, lane->topic);
    put_count(g, "seq", lane->seq);
    put_time(g, "oldest_us", lane->oldest_us);
    put_time(g, "refused_since_us", lane->refused_since_us);
    put_time(g, "max_age_us", lane->max_age_us);
    put_count(g, "kept_bytes", lane->kept_bytes);
    put_text(g, "code", lane->code);
    put_text(g, "text", lane->text);
    yajl_gen_map_close(g);
  }
  yajl_gen_array_close(g);
}

static void put_letters(yajl_gen g, const agent_report *r) {
  key(g, "dead_letters");
  yajl_gen_map_open(g);
  put_count(g, "published", r->letters_published);
  put_count(g, "waiting", r->letters_waiting);
  yajl_gen_map_close(g);
}

static void put_monitor(yajl_gen g, const report_monitor *m) {
  key(g, "dlq_monitor");
  if (!m) {
    yajl_gen_null(g);
    return;
  }
  yajl_gen_map_open(g);
  put_count(g, "topics", m->topics);
  put_time(g, "looked_us", m->looked_us);
  put_count(g, "looks_failed", m->failed);
  put_count(g, "new", m->fresh);
  key(g, "new_is_at_least");
  yajl_gen_bool(g, m->more);
  put_count(g, "alerts", m->alerts);
  put_count(g, "webhooks_sent", m->webhooks_sent);
  put_count(g, "webhooks_failed", m->webhooks_failed);
  put_count(g, "webhooks_lost", m->webhooks_lost);
  put_count(g, "webhooks_waiting", m->webhooks_waiting);
  yajl_gen_map_close(g);
}

static void put_parked(yajl_gen g, const agent_report *r) {
  key(g, "parked");
  if (!r->parked_reason) {
    yajl_gen_null(g);
    return;
  }
  yajl_gen_map_open(g);
  put_text(g, "reason", r->parked_reason);
  put_text(g, "text", r->parked_text);
  put_text(g, "remedy", r->parked_remedy);
  yajl_gen_map_close(g);
}

bool agent_report_json(const agent_report *r, sl_buf *out) {
  yajl_gen g = yajl_gen_alloc(NULL);
  if (!g) return out->failed = true, false;
  yajl_gen_map_open(g);
  put_count(g, "format", 1);
  put_text(g, "version", sl_version());
  put_count(g, "pid", r->pid > 0 ? (uint64_t)r->pid : 0);
  put_text(g, "mode", r->mode);
  put_text(g, "state", report_state_text(r->state));
  put_time(g, "state_since_us", r->state_since_us);
  put_time(g, "started_us", r->started_us);
  put_time(g, "written_us", r->written_us);
  put_cluster(g, r);
  put_time(g, "last_commit_us", r->last_commit_us);
  put_error(g, r);
  put_time(g, "next_try_us", r->next_try_us);
  key(g, "held");
  yajl_gen_bool(g, r->held);
  put_count(g, "backlog", r->backlog);
  put_count(g, "cursor_seq", r->cursor_seq);
  put_count(g, "last_seq", r->last_seq);
  put_count(g, "indexed_seq", r->indexed_seq);
  put_transactions(g, r);
  put_lanes(g, r);
  put_count(g, "lanes_limit_bytes", r->lanes_limit_bytes);
  put_count(g, "lanes_expired", r->lanes_expired);
  put_count(g, "partition_changes", r->partition_changes);
  put_count(g, "topics_recreated", r->topics_recreated);
  put_letters(g, r);
  put_monitor(g, r->monitor);
  put_parked(g, r);
  yajl_gen_map_close(g);
  const unsigned char *json = NULL;
  size_t len = 0;
  bool good = yajl_gen_get_buf(g, &json, &len) == yajl_gen_status_ok && len;
  if (good) sl_buf_append(out, json, len);
  else out->failed = true;
  yajl_gen_free(g);
  return good && !out->failed;
}
