/* A timer looks what is due and gives it to a worker: a look at the cluster, one POST. Whatever fails is tried
 * again: a look after the interval, on a new handle; a POST after a pause that doubles, POST_TRIES times. The
 * worker has the monitor for itself while `busy`; the loop copies what the report needs when it is done. */
#include "monitor.h"
#include "agent.h"
#include "alarm.h"
#include "base/clock.h"
#include "base/text.h"
#include "hook.h"
#include "log.h"
#include <sidelog/dead.h>
#include <stdlib.h>
#include <unistd.h>
#include <yajl/yajl_gen.h>

#define LOOK_TIMEOUT_MS 5000
#define READ_MS 5000       /* for all that is read in one look */
#define READ_BYTES (16u << 20)
#define PART_BYTES (4u << 20)
#define CRITICAL 10        /* so many thresholds */
#define ALERT_TYPE "dead-letters"
#define NOT_YET_MS 1000    /* until it is asked again whether the agent delivers */
#define END_MS 1500
#define POSTS_MAX 64       /* that wait; the oldest gives way */
#define POST_TRIES 8
#define POST_PAUSE_US 1000000

typedef struct post {
  sl_buf body;
  unsigned tries;
  int64_t due_us;
} post;

struct monitor {
  uv_work_t work;
  agent *agent;
  bool busy;
  atomic_bool stop;
  bool look_due;           /* this work: look, too */
  char cluster[64];        /* its id, for this work */
  int64_t look_at_us;      /* monotonic */
  bool anew;               /* the handle has old credentials */
  kafka_watch *watch;
  alarms alarms;
  post posts[POSTS_MAX];   /* oldest first */
  size_t post_count;
  char failed[48];         /* why the last look failed; empty: it did not */
  report_monitor counts;   /* the worker's */
  report_monitor told;     /* the loop's */
};

/* --- on the worker --- */

static void drop_first_post(monitor *m) {
  sl_buf_free(&m->posts[0].body);
  memmove(&m->posts[0], &m->posts[1], --m->post_count * sizeof m->posts[0]);
}

static void put(yajl_gen g, const char *name, const char *text) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
  if (text) yajl_gen_string(g, (const unsigned char *)text, strlen(text));
  else yajl_gen_null(g);
}

static void put_number(yajl_gen g, const char *name, int64_t n) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
  yajl_gen_integer(g, n);
}

static void put_bool(yajl_gen g, const char *name, bool yes) {
  yajl_gen_string(g, (const unsigned char *)name, strlen(name));
  yajl_gen_bool(g, yes);
}

static bool body_of(const monitor *m, const alert *one, sl_buf *out) {
  const agent *a = m->agent;
  const uint64_t threshold = (uint64_t)a->settings.monitor_threshold;
  char host[256] = "", at[32];
  const unsigned char *json;
  size_t len;
  yajl_gen g = yajl_gen_alloc(NULL);
  if (!g) return false;
  if (gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  sl_time_format(sl_clock_wall_us(), at);
  yajl_gen_map_open(g);
  put(g, "alert_type", ALERT_TYPE); /* first: is_alert() looks for it there */
  put(g, "topic", one->topic);
  put_number(g, "count", (int64_t)one->fresh);
  put_bool(g, "count_is_at_least", one->more);
  put_number(g, "threshold", a->settings.monitor_threshold);
  put(g, "recent_error", one->error[0] ? one->error : NULL);
  put(g, "timestamp", at);
  put(g, "severity", one->fresh / CRITICAL >= threshold ? "critical" : "warning");
  put_number(g, "seconds", one->span_us / 1000000);
  put(g, "brokers", a->settings.brokers);
  put(g, "cluster", m->cluster);
  put(g, "store", a->store_id);
  put(g, "host", host);
  yajl_gen_map_close(g);
  if (yajl_gen_get_buf(g, &json, &len) == yajl_gen_status_ok) sl_buf_append(out, json, len);
  yajl_gen_free(g);
  return out->len > 0 && !out->failed;
}

static void raise_alert(monitor *m, const alert *one, int64_t now_us) {
  const settings *s = &m->agent->settings;
  m->counts.alerts++;
  log_with(LEVEL_WARN, "dlq-alert", LOG_FIELDS(log_text("topic", one->topic),
           log_number("new", (int64_t)one->fresh)),
           "%s%llu new dead letters in %s within %lld s%s%s", one->more ? "at least " : "",
           (unsigned long long)one->fresh, one->topic, (long long)(one->span_us / 1000000),
           one->error[0] ? "; the newest: " : "", one->error);
  if (!s->monitor_webhook) return;
  if (m->post_count == POSTS_MAX) {
    drop_first_post(m);
    m->counts.webhooks_lost++;
  }
  post *p = &m->posts[m->post_count];
  *p = (post){.due_us = now_us};
  if (body_of(m, one, &p->body)) m->post_count++;
  else sl_buf_free(&p->body);
}

static bool wants(void *arg, const char *topic) {
  const monitor *m = arg;
  return settings_monitors(&m->agent->settings, sl_slice_of(topic));
}

static void take_end(void *arg, const char *topic, int32_t partitions, int32_t partition, int64_t end) {
  monitor *m = arg;
  (void)alarms_end(&m->alarms, topic, partitions, partition, end, sl_clock_monotonic_us());
}

/* --- counting --- */

typedef struct count {
  monitor *m;
  const alarm_span *span;
  uint64_t letters;
} count;

/* An alert that somebody's webhook writes into a topic that is watched must not raise the next. */
static bool is_alert(sl_slice value) {
  static const char beginning[] = "{\"alert_type\":\"" ALERT_TYPE "\"";
  return value.len >= sizeof beginning - 1 && memcmp(value.data, beginning, sizeof beginning - 1) == 0;
}

static void take_error(void *arg, sl_slice text, int is_json) {
  char error[ALARM_ERROR_MAX + 1];
  const count *c = arg;
  (void)is_json;
  snprintf(error, sizeof error, "%.*s", (int)(text.len < sizeof error ? text.len : sizeof error - 1),
           (const char *)text.data);
  alarms_error(&c->m->alarms, c->span, error);
}

static void see_letter(void *arg, sl_slice value, sl_slice reason) {
  count *c = arg;
  if (is_alert(value)) return;
  c->letters++;
  if (reason.len > 0 && sl_utf8_valid(reason)) (void)sl_redact(reason, take_error, c);
}

/* What is new since the last look, within bounds of time and traffic; the rest waits for the next one. */
static fault read_new(monitor *m) {
  const int64_t deadline_us = sl_clock_monotonic_us() + (int64_t)READ_MS * 1000;
  size_t bytes = 0;
  alarm_span span;
  fault f = {0}, first = {0};
  alarms_round(&m->alarms);
  while ((fault_is_ok(&f) || f.scope == SCOPE_TOPIC) && bytes < READ_BYTES && !atomic_load(&m->stop)) {
    const int64_t left_us = deadline_us - sl_clock_monotonic_us();
    if (left_us <= 0 || !alarms_unread(&m->alarms, (uint64_t)m->agent->settings.monitor_threshold, &span)) break;
    count c = {m, &span, 0};
    const kafka_watch_span part = {span.topic, span.partition, span.from, span.to, span.most, PART_BYTES};
    int64_t reached = span.from;
    f = kafka_watch_read(m->watch, &part, (int)(left_us / 1000) + 1, &m->stop, "failure_reason", see_letter, &c,
                         &reached, &bytes);
    if (fault_is_ok(&first)) first = f; /* a topic that may not be read: the others may */
    alarms_read(&m->alarms, &span, reached, c.letters);
  }
  return first;
}

static void look(monitor *m) {
  const settings *s = &m->agent->settings;
  const kafka_options options = {.brokers = s->brokers, .properties = s->kafka, .property_count = s->kafka_count,
                                 .txn_timeout_ms = LOOK_TIMEOUT_MS};
  const kafka_watch_sink sink = {m, wants, take_end};
  fault f = {0};
  bool listed = false;
  if (m->anew) kafka_watch_free(m->watch), m->watch = NULL;
  m->anew = false;
  if (m->watch || kafka_watch_new(&options, LOOK_TIMEOUT_MS, &m->watch, &f))
    f = kafka_watch_look(m->watch, LOOK_TIMEOUT_MS, &sink, &listed);
  if (listed) alarms_listed(&m->alarms);
  if (fault_is_ok(&f)) f = read_new(m);
  const int64_t now_us = sl_clock_monotonic_us();
  if (listed && fault_is_ok(&f)) m->counts.looked_us = sl_clock_wall_us();
  m->counts.topics = m->alarms.count;
  m->counts.fresh = m->alarms.fresh;
  m->counts.more = m->alarms.more;
  if (!fault_is_ok(&f)) {
    m->anew = true;
    m->counts.failed++;
    const bool again_so = strcmp(f.name, m->failed) == 0;
    log_line(again_so ? LEVEL_DEBUG : LEVEL_WARN, "dlq-monitor-failed", "%s: %s", f.name, f.text);
  }
  snprintf(m->failed, sizeof m->failed, "%s", f.name);
  for (alert one; alarms_next(&m->alarms, (uint64_t)s->monitor_threshold, s->monitor_cooldown_us, now_us, &one);)
    raise_alert(m, &one, now_us);
}

/* The one that is due first; NULL: none waits. */
static post *first_due(monitor *m) {
  post *first = NULL;
  for (size_t i = 0; i < m->post_count; i++)
    if (!first || m->posts[i].due_us < first->due_us) first = &m->posts[i];
  return first;
}

static void remove_post(monitor *m, post *p) {
  const size_t at = (size_t)(p - m->posts);
  sl_buf_free(&p->body);
  memmove(p, p + 1, (--m->post_count - at) * sizeof *p);
}

static void send_one(monitor *m) {
  const settings *s = &m->agent->settings;
  post *p = first_due(m);
  char why[256] = "";
  if (!p || p->due_us > sl_clock_monotonic_us()) return;
  if (!s->monitor_webhook) { /* it was taken out meanwhile */
    remove_post(m, p);
    return;
  }
  if (hook_post(s->monitor_webhook, s->monitor_header, sl_buf_slice(&p->body), &m->stop, why, sizeof why)) {
    m->counts.webhooks_sent++;
    remove_post(m, p);
    return;
  }
  if (atomic_load(&m->stop)) return;
  m->counts.webhooks_failed++;
  if (++p->tries < POST_TRIES) {
    log_line(p->tries == 1 ? LEVEL_WARN : LEVEL_DEBUG, "webhook-failed", "%s; it is tried again, %d times in all",
             why, POST_TRIES);
    p->due_us = sl_clock_monotonic_us() + ((int64_t)POST_PAUSE_US << (p->tries - 1));
    return;
  }
  m->counts.webhooks_lost++;
  log_line(LEVEL_ERROR, "webhook-lost", "an alert was given up after %d tries: %s; it is in this log as dlq-alert",
           POST_TRIES, why);
  remove_post(m, p);
}

static void work(uv_work_t *request) {
  monitor *m = request->data;
  if (m->look_due && !atomic_load(&m->stop)) look(m);
  if (!atomic_load(&m->stop)) send_one(m);
  m->counts.webhooks_waiting = m->post_count;
}

/* --- on the loop --- */

static void on_timer(uv_timer_t *timer);

static void again(monitor *m, int64_t at_us) {
  const int64_t in_ms = (at_us - sl_clock_monotonic_us() + 999) / 1000;
  if (!m->agent->exiting) uv_timer_start(&m->agent->monitor_timer, on_timer, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

static void after(uv_work_t *request, int status) {
  (void)status;
  monitor *m = request->data;
  m->busy = false;
  m->told = m->counts;
  if (m->look_due) m->look_at_us = sl_clock_monotonic_us() + m->agent->settings.monitor_interval_us;
  agent_reload_if_due(m->agent); /* behind it, for monitor_reloaded has the last word */
  const post *p = first_due(m);
  again(m, p && p->due_us < m->look_at_us ? p->due_us : m->look_at_us);
}

static void on_timer(uv_timer_t *timer) {
  monitor *m = timer->data;
  agent *a = m->agent;
  if (m->busy || a->exiting || a->stopping) return;
  const int64_t now_us = sl_clock_monotonic_us();
  const core_phase phase = core_phase_of(a->core);
  /* While the cluster is away it need not be asked, and nobody waits for an answer at the end. */
  m->look_due = now_us >= m->look_at_us && phase >= PHASE_IDLE && phase <= PHASE_ABANDON;
  const post *p = first_due(m);
  if (!m->look_due && !(p && p->due_us <= now_us)) {
    const int64_t look_us = now_us >= m->look_at_us ? now_us + NOT_YET_MS * 1000 : m->look_at_us;
    again(m, p && p->due_us < look_us ? p->due_us : look_us);
    return;
  }
  m->work.data = m;
  memcpy(m->cluster, a->cluster_id, sizeof m->cluster);
  m->busy = uv_queue_work(&a->loop, &m->work, work, after) == 0;
  if (!m->busy) again(m, now_us + NOT_YET_MS * 1000);
}

void monitor_start(agent *a) {
  if (!a->settings.monitor_enabled || a->settings.drain) return;
  monitor *m = calloc(1, sizeof *m);
  if (!m || !hook_setup()) {
    log_line(LEVEL_ERROR, "dlq-monitor-failed", "it could not be set up");
    free(m);
    return;
  }
  m->agent = a;
  a->monitor = m;
  a->monitor_timer.data = m;
  again(m, 0);
}

bool monitor_busy(const monitor *m) { return m && m->busy; }

void monitor_reloaded(monitor *m, bool login) {
  if (!m) return;
  m->anew = m->anew || login;
  alarms_relist(&m->alarms);
  m->look_at_us = 0; /* what was set may be another interval, other topics */
  again(m, 0);
}

const report_monitor *monitor_report(const monitor *m) { return m ? &m->told : NULL; }

static void on_end(uv_timer_t *timer) { (void)timer; }

bool monitor_end(agent *a) {
  monitor *m = a->monitor;
  if (!m) return true;
  atomic_store(&m->stop, true);
  uv_timer_start(&a->monitor_timer, on_end, END_MS, 0);
  while (m->busy && uv_is_active((uv_handle_t *)&a->monitor_timer)) uv_run(&a->loop, UV_RUN_ONCE);
  uv_timer_stop(&a->monitor_timer);
  if (m->busy) return false;
  a->monitor = NULL;
  kafka_watch_free(m->watch);
  while (m->post_count) drop_first_post(m);
  alarms_free(&m->alarms);
  hook_end();
  free(m);
  return true;
}
