#include "health.h"

#include <inttypes.h>
#include <string.h>

const char *trouble_name(trouble t) {
  static const char *const names[TROUBLE_COUNT] = {
      [TROUBLE_LAW] = "law",           [TROUBLE_PARKED] = "parked",
      [TROUBLE_NO_AGENT] = "no-agent", [TROUBLE_SILENT] = "agent-silent",
      [TROUBLE_BROKER] = "broker",     [TROUBLE_LANES] = "lanes",
      [TROUBLE_DISK] = "disk",         [TROUBLE_READERS] = "readers",
  };
  return names[t];
}

const char *trouble_words(trouble t) {
  static const char *const words[TROUBLE_COUNT] = {
      [TROUBLE_LAW] = "the books do not balance",
      [TROUBLE_PARKED] = "the agent is parked",
      [TROUBLE_NO_AGENT] = "no agent runs",
      [TROUBLE_SILENT] = "the agent does not answer",
      [TROUBLE_BROKER] = "the broker is not reached",
      [TROUBLE_LANES] = "a topic waits apart",
      [TROUBLE_DISK] = "the disk quota is nearly used up",
      [TROUBLE_READERS] = "the books of a reader do not balance",
  };
  return words[t];
}

/* The agent speaks every second; its word is that of the agent that is alive now. */
static bool silent(const look *l) {
  int64_t last = l->word.said && l->word.written_us > l->since_us ? l->word.written_us : l->since_us;
  return l->alive && l->now_us - last > HEALTH_GRACE_US;
}

static bool fresh(const look *l) {
  return l->alive && l->word.said && l->word.written_us >= l->since_us && !silent(l);
}

static bool unreachable(const look *l) {
  const agent_word *w = &l->word;
  if (!fresh(l) || w->state == AGENT_PARKED)
    return false;
  bool slow =
      w->state == AGENT_CONNECTING && w->state_since_us && l->now_us - w->state_since_us > HEALTH_GRACE_US;
  return w->unreachable_since_us != 0 || w->state == AGENT_BACKOFF || slow;
}

uint32_t health_judge(const look *l) {
  const sl_stats *s = &l->stats;
  uint32_t found = 0;
  if (!s->balanced)
    found |= 1u << TROUBLE_LAW;
  if (fresh(l) && l->word.state == AGENT_PARKED)
    found |= 1u << TROUBLE_PARKED;
  if (!l->alive && s->pending)
    found |= 1u << TROUBLE_NO_AGENT;
  if (silent(l))
    found |= 1u << TROUBLE_SILENT;
  if (unreachable(l))
    found |= 1u << TROUBLE_BROKER;
  if (s->lanes)
    found |= 1u << TROUBLE_LANES;
  if (s->bytes_quota && s->bytes_used / 100.0 >= s->bytes_quota / 10000.0 * HEALTH_DISK_PERCENT)
    found |= 1u << TROUBLE_DISK;
  if (l->readers_wrong)
    found |= 1u << TROUBLE_READERS;
  return found;
}

double health_seconds_left(const look *l) {
  return l->stats.full_in_us < 0 ? -1 : (double)l->stats.full_in_us / 1e6;
}

void health_agent(text *out, const look *l) {
  if (!l->alive) {
    text_puts(out, "not running");
    if (l->word.said && l->word.written_us) {
      text_puts(out, ", last seen ");
      text_ago(out, l->now_us - l->word.written_us);
    }
    if (*l->word.parked_text)
      text_puts(out, "; it was parked when it ended");
    else
      text_puts(out, l->stats.pending ? "; start sidelogd to deliver what is pending" : "; nothing is pending");
    return;
  }
  text_printf(out, "running, pid %" PRId64 ", up ", l->pid);
  text_span(out, l->now_us > l->since_us ? l->now_us - l->since_us : 0);
  if (silent(l))
    text_puts(out, ", but it does not answer: look at its log, or restart it");
  else if (fresh(l) && l->word.state != AGENT_RUNNING)
    text_printf(out, ", %s", agent_state_text(l->word.state));
}

static void add_safe(text *out, const char *words, bool unicode) {
  text_add_safe(out, slice_of(words), unicode);
}

static void add_last_commit(text *out, const look *l) {
  if (!l->word.last_commit_us)
    return;
  text_puts(out, ", last commit ");
  text_ago(out, l->now_us > l->word.last_commit_us ? l->now_us - l->word.last_commit_us : 0);
}

static void add_unreachable(text *out, const look *l, bool unicode) {
  const agent_word *w = &l->word;
  int64_t since = w->unreachable_since_us ? w->unreachable_since_us : w->state_since_us;
  text_puts(out, "unreachable");
  if (since) {
    text_puts(out, " for ");
    text_span(out, l->now_us > since ? l->now_us - since : 0);
  }
  const char *error = *w->error_text ? w->error_text : w->error_code;
  text_puts(out, ": ");
  /* The error's own words mostly name the broker. */
  if (!strstr(error, w->brokers)) {
    add_safe(out, w->brokers, unicode);
    text_puts(out, *error ? " " : "");
  }
  add_safe(out, error, unicode);
  if (w->next_try_us > l->now_us) {
    text_puts(out, "; next try in ");
    text_span(out, w->next_try_us - l->now_us);
  }
}

static void add_parked(text *out, const agent_word *w, bool unicode) {
  text_puts(out, "parked: ");
  add_safe(out, *w->parked_text ? w->parked_text : w->error_text, unicode);
  text_puts(out, *w->parked_remedy ? "; " : "");
  add_safe(out, w->parked_remedy, unicode);
}

void health_broker(text *out, const look *l, bool unicode) {
  const agent_word *w = &l->word;
  if (!l->alive && *w->parked_text) {
    add_parked(out, w, unicode); /* starting it again would change nothing */
  } else if (!fresh(l)) {
    text_puts(out, l->alive ? "not known yet" : "not known without an agent");
    add_last_commit(out, l);
  } else if (w->state == AGENT_PARKED) {
    add_parked(out, w, unicode);
  } else if (unreachable(l)) {
    add_unreachable(out, l, unicode);
  } else if (w->state == AGENT_RUNNING || w->state == AGENT_DRAINING) {
    text_puts(out, "connected");
    if (w->brokers_total)
      text_printf(out, " to %" PRId64 " of %" PRId64, w->brokers_up, w->brokers_total);
    text_puts(out, ", ");
    add_safe(out, *w->broker ? w->broker : w->brokers, unicode);
    add_last_commit(out, l);
  } else {
    text_printf(out, "%s ",
                w->state == AGENT_CONNECTING || w->state == AGENT_STARTING ? "connecting to" : "leaving");
    add_safe(out, w->brokers, unicode);
  }
}

/* What is ten years away is no news. */
static bool fills(const look *l) { return health_seconds_left(l) > 0 && health_seconds_left(l) < 86400.0 * 3650; }

static void add_room(text *out, const look *l) {
  double seconds = health_seconds_left(l);
  if (seconds >= 86400)
    text_printf(out, "%.0f days", seconds / 86400);
  else if (seconds >= 3600)
    text_printf(out, "%.0f h", seconds / 3600);
  else
    text_printf(out, "%.0f min", seconds / 60);
}

void health_backlog(text *out, const look *l) {
  const sl_stats *s = &l->stats;
  text_counted(out, s->pending, "event", "events");
  if (s->pending == 0) {
    text_puts(out, ", oldest pending none");
    return;
  }
  text_puts(out, ", oldest ");
  text_span(out, l->now_us > s->oldest_pending_us ? l->now_us - s->oldest_pending_us : 0);
  if (s->lanes)
    text_printf(out, ", %" PRIu64 " %s apart", s->lanes, s->lanes == 1 ? "topic waits" : "topics wait");
  if (l->word.held && fresh(l) && l->word.next_try_us > l->now_us) {
    text_puts(out, "; held back by the flow settings for ");
    text_span(out, l->word.next_try_us - l->now_us);
    return;
  }
  uint32_t stuck =
      1u << TROUBLE_NO_AGENT | 1u << TROUBLE_BROKER | 1u << TROUBLE_PARKED | 1u << TROUBLE_SILENT;
  if (!(health_judge(l) & stuck))
    return;
  text_puts(out, "; nothing is lost: appends go on");
  if (fills(l)) {
    text_puts(out, ", ");
    add_room(out, l);
    text_puts(out, " of room");
  }
}

void health_dead(text *out, const look *l) {
  text_counted(out, l->stats.dead, "letter", "letters");
  if (l->newest_dead_us) {
    text_puts(out, ", newest ");
    text_ago(out, l->now_us > l->newest_dead_us ? l->now_us - l->newest_dead_us : 0);
    text_printf(out, ": %s", text_str(&l->newest_dead));
  }
  if (l->stats.dead)
    text_puts(out, "  -> sidelog dlq list");
}

void health_readers(text *out, const look *l) {
  text_count(out, l->readers);
  if (l->reader_lag) {
    text_printf(out, ", %s is behind by ", l->reader_name);
    text_counted(out, l->reader_lag, "event", "events");
  }
  if (l->reader_letters) {
    text_puts(out, ", ");
    text_counted(out, l->reader_letters, "dead letter", "dead letters");
  }
  if (l->reader_missed) {
    text_puts(out, ", ");
    text_counted(out, l->reader_missed, "event", "events");
    text_puts(out, " missed by trim");
  }
  if (l->reader_lag || l->reader_letters || l->reader_missed || l->readers_wrong)
    text_puts(out, "  -> sidelog readers");
}

void health_disk(text *out, const look *l) {
  const sl_stats *s = &l->stats;
  text_bytes(out, s->bytes_used);
  if (s->bytes_quota) {
    text_puts(out, " of ");
    text_bytes(out, s->bytes_quota);
  }
  if (fills(l)) {
    text_puts(out, ", ");
    add_room(out, l);
    text_puts(out, " until full at the rate of late");
  }
  if (s->bytes_quota && s->bytes_used / 100.0 >= s->bytes_quota / 10000.0 * HEALTH_DISK_PERCENT)
    text_puts(out, "  -> sidelog trim, or append --quota");
}
