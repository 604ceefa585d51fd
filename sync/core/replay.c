/* A history happens again: the image becomes a core, each record a call. The core that replays has a recorder of
 * its own, and what that writes must be the history, byte for byte. */
#include "core/history_pack.h"
#include <stdio.h>
#include <stdlib.h>

/* --- reading --- */

typedef struct reader { const uint8_t *p, *end; bool short_; } reader; /* short_: a record is cut off */

static uint64_t get(reader *r) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (r->p == r->end) break;
    const uint8_t b = *r->p++;
    v |= (uint64_t)(b & 0x7f) << shift;
    if (!(b & 0x80)) return v;
  }
  r->short_ = true;
  return 0;
}

static int64_t get_signed(reader *r) { return unzigzag(get(r)); }

static sl_slice get_slice(reader *r) {
  const uint64_t len = get(r);
  if (r->short_ || len > (uint64_t)(r->end - r->p)) {
    r->short_ = true;
    return (sl_slice){0};
  }
  r->p += len;
  return (sl_slice){r->p - len, (size_t)len};
}

static void get_text(reader *r, char *to, size_t cap) {
  const sl_slice s = get_slice(r);
  snprintf(to, cap, "%.*s", (int)s.len, (const char *)s.data);
}

static int64_t get_now(reader *r, history_base *base) { return base->now_us += get_signed(r); }
static uint64_t get_seq(reader *r, history_base *base) { return base->seq += (uint64_t)get_signed(r); }
static uint64_t get_tag(reader *r, history_base *base) { return base->tag += (uint64_t)get_signed(r); }

static fault get_fault(reader *r, history_base *base) {
  const uint64_t scope = get(r);
  if (scope == 0) return (fault){0};
  if (scope == 1) return base->why;
  fault f = {.scope = (fault_scope)(scope - 1)};
  f.class_ = (fault_class)get(r);
  f.code = (int32_t)get_signed(r);
  const uint64_t flags = get(r);
  f.fatal = flags & 1;
  f.abortable = flags & 2;
  f.fenced = flags & 4;
  get_text(r, f.name, sizeof f.name);
  get_text(r, f.text, sizeof f.text);
  return base->why = f;
}

/* --- calling --- */

typedef struct replay {
  core *core;
  reader in;
  history_base base;
  core_actions actions;            /* of the last step */
  core_topic_result topics[CORE_TOPICS_MAX];
  fault_rules rules[CORE_TOPICS_MAX];
  delivery_state book;
  sl_lane lanes[2][SL_LANES_MAX];
  sl_buf again;                    /* what the new recorder wrote of this call */
  char cluster_id[64], name[256];
} replay;

static void take_begin(void *arg) { (void)arg; }

static void take_bytes(void *arg, const void *data, size_t len) { sl_buf_append(arg, data, len); }

static bool get_book(replay *r, core_event *e) {
  reader *in = &r->in;
  if (!get(in)) return true;
  delivery_state *b = &r->book;
  *b = (delivery_state){0};
  b->cursor_bytes = get_slice(in);
  b->intent_bytes = get_slice(in);
  b->marker_bytes = get_slice(in);
  b->last_attempt = get(in);
  b->delivered = get(in);
  b->dead = get(in);
  const uint64_t letters = get(in);
  b->last_letter = letters >> 1;
  b->letters_wait = letters & 1;
  if (in->short_) return true;
  b->has_intent = b->intent_bytes.len > 0;
  e->book = b;
  return sl_progress_decode(b->cursor_bytes, &b->cursor, r->lanes[0]) == SL_OK &&
         (!b->has_intent || sl_progress_decode(b->intent_bytes, &b->intent, r->lanes[1]) == SL_OK);
}

/* What came out then: it is compared as bytes, here only passed over. */
static void skip_results(reader *in) {
  get(in);
  get_signed(in);
  uint64_t count = get(in);
  while (count-- > 0 && !in->short_) {
    const uint64_t op = get(in);
    get_slice(in);
    for (uint64_t names = get(in); names > 0 && !in->short_; names--) get_slice(in);
    for (int i = 0; i < 4; i++) get(in);
    get_signed(in);
    if (op == OP_INTENT) get(in);
  }
}

static const fault_rules *get_rules(reader *in, fault_rules *to) {
  if (!get(in)) return NULL;
  *to = fault_rules_default;
  for (size_t i = 0; i < FAULT_CLASSES; i++) {
    to->of[i].budget = (uint32_t)get(in);
    to->of[i].base_us = get_signed(in);
    to->of[i].cap_us = get_signed(in);
  }
  for (size_t i = 0; i < FAULT_RECORD_CODES; i++) to->codes[i] = (uint8_t)get(in);
  return to;
}

static bool call_step(replay *r, core_event *e) {
  reader *in = &r->in;
  *e = (core_event){0};
  e->now_us = get_now(in, &r->base);
  r->base.wall_us += get_signed(in);
  e->wall_us = e->now_us + r->base.wall_us;
  e->slept_us = get_signed(in);
  e->closed_us = (int64_t)get(in);
  e->kind = (core_event_kind)get(in);
  e->op = (core_op)get(in);
  e->why = get_fault(in, &r->base);
  if (!get_book(r, e)) return false;
  const uint64_t flags = get(in);
  e->refused = flags & 1;
  e->transport = flags & 2;
  e->answered = flags & 8;
  if (flags & 4) {
    get_text(in, r->cluster_id, sizeof r->cluster_id);
    e->cluster_id = r->cluster_id;
  }
  const uint64_t topics = get(in);
  if (topics > CORE_TOPICS_MAX) return false;
  for (uint64_t i = 0; i < topics && !in->short_; i++) {
    r->topics[i].why = get_fault(in, &r->base);
    r->topics[i].partitions = (int32_t)get_signed(in);
    r->topics[i].max_message_bytes = get_signed(in);
    r->topics[i].needs_key = get(in) != 0;
    r->topics[i].stamp_max_age_us = get_signed(in);
    r->topics[i].lane_max_age_us = get_signed(in);
    r->topics[i].rules = get_rules(in, &r->rules[i]);
    r->topics[i].recreated = get(in) != 0;
    r->topics[i].receipt_at = get_signed(in);
    r->topics[i].ends_at = get_signed(in);
  }
  if (topics) e->topics = r->topics;
  if (e->kind == EVENT_DONE && e->op == OP_TOPIC && fault_is_ok(&e->why) && topics < r->core->wanted_count)
    return false;
  e->lanes_full_to = get(in);
  e->marker = get_slice(in);
  e->marker_offset = get_signed(in);
  e->round_trip_us = get_signed(in);
  e->age_us = get_signed(in);
  e->fill_end = (core_fill_end)get(in);
  e->last_seq = get(in);
  e->indexed_seq = get(in);
  if (!in->short_) core_step(r->core, e, &r->actions);
  skip_results(in);
  return true;
}

static bool call_offer(replay *r) {
  reader *in = &r->in;
  const int64_t now_us = get_now(in, &r->base);
  const uint64_t seq = get_seq(in, &r->base), ref = get(in);
  if (ref > r->core->topics.count) return false;
  const topic *tp = ref ? r->core->topics.list[ref - 1] : NULL;
  const sl_slice name = tp ? (sl_slice){tp->name, tp->len} : get_slice(in);
  core_record record = {.seq = seq, .topic = name};
  record.duplicate_of = get(in);
  record.size = (size_t)get(in);
  const uint64_t more = get(in);
  record.keyless = more & 1;
  record.weighed = more & 2;
  if (more & 4) record.least = (size_t)get(in);
  record.exact = more & 8;
  record.appended_us = r->base.appended_us += get_signed(in);
  uint64_t tag = 0;
  if (!in->short_) core_offer(r->core, &record, now_us, &tag);
  if (get(in) == OFFER_PRODUCE) get_tag(in, &r->base);
  return true;
}

static bool call_dropped(replay *r) {
  reader *in = &r->in;
  const uint64_t seq = get_seq(in, &r->base);
  const sl_slice name = get_slice(in), class_ = get_slice(in), text = get_slice(in);
  const int64_t dropped_us = get_signed(in);
  if (!in->short_) core_offer_dropped(r->core, seq, name, class_, text, dropped_us);
  get(in);
  return true;
}

static bool call_letter(replay *r, uint64_t kind) {
  reader *in = &r->in;
  const int64_t now_us = get_now(in, &r->base);
  const uint64_t number = get(in);
  const sl_slice name = get_slice(in);
  const uint64_t size = get(in);
  uint64_t tag = 0;
  bool slim;
  if (!in->short_ && kind == CALL_LETTER_READY) core_letter_ready(r->core, name, now_us);
  if (!in->short_ && kind == CALL_LETTER_GONE) core_letter_gone(r->core, number, name);
  if (!in->short_ && kind == CALL_OFFER_LETTER)
    core_offer_letter(r->core, number, name, (size_t)size, now_us, &slim, &tag);
  if (get(in) == OFFER_PRODUCE && kind == CALL_OFFER_LETTER) get_tag(in, &r->base);
  return true;
}

/* One record. False: no such record can have been written. */
static bool call(replay *r, uint64_t kind, core_event *e) {
  reader *in = &r->in;
  switch (kind) {
  case CALL_STEP: return call_step(r, e);
  case CALL_OFFER: return call_offer(r);
  case CALL_OFFER_DROPPED: return call_dropped(r);
  case CALL_LETTER_READY:
  case CALL_OFFER_LETTER:
  case CALL_LETTER_GONE: return call_letter(r, kind);
  case CALL_BEGUN: core_begun(r->core); return true;
  case CALL_QUEUE_FULL: {
    const uint64_t size = get(in);
    if (!in->short_) core_queue_full(r->core, (size_t)size);
    get(in);
    return true;
  }
  case CALL_REFUSED: {
    const uint64_t tag = get_tag(in, &r->base);
    const fault why = get_fault(in, &r->base);
    const int64_t wall_us = get_signed(in);
    if (!in->short_) core_refused(r->core, tag, &why, wall_us);
    get(in);
    return true;
  }
  case CALL_DELIVERED: {
    const uint64_t tag = get_tag(in, &r->base);
    const int32_t partition = (int32_t)get_signed(in);
    const int64_t offset = get_signed(in);
    const fault why = get_fault(in, &r->base);
    if (!in->short_) core_delivered(r->core, tag, partition, offset, &why);
    return true;
  }
  default: return false;
  }
}

/* --- telling --- */

static const char *text_of_op(core_op op) {
  static const char *const text[] = {
    [OP_NONE] = "nothing", [OP_CONNECT] = "connect", [OP_MARKER_TOPIC] = "marker-topic",
    [OP_INIT_TXN] = "init-txn", [OP_READ_MARKER] = "read-marker", [OP_TOPIC] = "topic",
    [OP_FILL] = "fill", [OP_FLUSH] = "flush", [OP_INTENT] = "intent", [OP_COMMIT] = "commit",
    [OP_SETTLE] = "settle", [OP_ABORT] = "abort", [OP_ABANDON] = "abandon",
    [OP_DESTROY] = "destroy", [OP_EXIT] = "exit",
  };
  return (unsigned)op < sizeof text / sizeof *text ? text[op] : "?";
}

static const char *text_of_event(core_event_kind kind) {
  static const char *const text[] = {
    [EVENT_START] = "start", [EVENT_TIMER] = "timer", [EVENT_LOG] = "log", [EVENT_DONE] = "done",
    [EVENT_ERROR] = "error", [EVENT_REACHED] = "reached", [EVENT_BOOK] = "book", [EVENT_RESUMED] = "resumed",
    [EVENT_LOGIN] = "login", [EVENT_RULES] = "rules", [EVENT_STOP] = "stop", [EVENT_LANES] = "lanes",
  };
  return (unsigned)kind < sizeof text / sizeof *text ? text[kind] : "?";
}

static void describe(const replay *r, const core_event *e, core_phase before, char *to, size_t cap) {
  const core_action *a = r->actions.count ? &r->actions.list[0] : NULL;
  char range[64] = "";
  if (a && a->op == OP_FILL)
    snprintf(range, sizeof range, " %llu..%llu", (unsigned long long)a->from, (unsigned long long)a->to);
  const char *which = !a ? "" : a->topic ? a->topic : a->topic_count ? a->topics[0] : "";
  snprintf(to, cap, "%13.6f %s%s%s%s%s%.120s: %s -> %s, cursor %llu%s%s%s%s%.80s", (double)e->now_us / 1e6,
           text_of_event(e->kind),
           e->kind == EVENT_DONE ? " " : "", e->kind == EVENT_DONE ? text_of_op(e->op) : "",
           fault_is_ok(&e->why) ? "" : " ", fault_is_ok(&e->why) ? "" : e->why.name,
           fault_is_ok(&e->why) ? "" : e->why.fatal ? " (fatal)" : "", core_phase_text(before),
           core_phase_text(r->core->phase), (unsigned long long)r->core->cursor.seq, a ? ": " : "",
           a ? text_of_op(a->op) : "", range, *which ? " of " : "", which);
}

static bool open_history(replay *r, sl_slice bytes, replay_result *out) {
  char want[120];
  const int len = snprintf(want, sizeof want, "%s %s %zu %zu\n", HISTORY_MAGIC, sl_version(), sizeof(core),
                           sizeof(topic));
  const size_t magic = sizeof HISTORY_MAGIC - 1;
  if (bytes.len < magic || memcmp(bytes.data, HISTORY_MAGIC, magic) != 0) {
    snprintf(out->text, sizeof out->text, "this is no history of a delivery core");
    return false;
  }
  if (bytes.len < (size_t)len || memcmp(bytes.data, want, (size_t)len) != 0) {
    snprintf(out->text, sizeof out->text, "another build of sidelogd recorded it: only that one can replay it");
    return false;
  }
  const sl_slice rest = {(const uint8_t *)bytes.data + len, bytes.len - (size_t)len};
  size_t used = 0;
  r->core = core_image_load(rest, &used);
  if (!r->core) {
    snprintf(out->text, sizeof out->text, "its beginning is not whole");
    return false;
  }
  r->in = (reader){(const uint8_t *)rest.data + used, (const uint8_t *)rest.data + rest.len, false};
  const core_recorder recorder = {.arg = &r->again, .begin = take_begin, .write = take_bytes};
  r->core->history = history_of_replay(&recorder);
  return r->core->history != NULL;
}

void core_replay(sl_slice bytes, void (*line)(void *arg, const char *text), void *arg, replay_result *out) {
  *out = (replay_result){0};
  replay *r = calloc(1, sizeof *r);
  if (!r) return;
  out->readable = open_history(r, bytes, out);
  out->equal = out->readable;
  while (out->equal && r->in.p < r->in.end) {
    const uint8_t *from = r->in.p;
    const core_phase before = r->core->phase;
    core_event e = {0};
    char text[400] = "";
    sl_buf_reset(&r->again);
    const uint64_t kind = get(&r->in);
    const bool known = call(r, kind, &e);
    if (r->in.short_) break; /* cut off by a kill */
    if (!known) {
      out->equal = false;
      snprintf(out->text, sizeof out->text, "call %llu cannot be read", (unsigned long long)out->calls + 1);
      break;
    }
    out->calls++;
    if (kind == CALL_STEP) {
      out->steps++;
      describe(r, &e, before, text, sizeof text);
      if (line) line(arg, text);
    }
    const size_t len = (size_t)(r->in.p - from);
    const char *wrong = core_check(r->core);
    if (wrong && line) line(arg, wrong);
    if (r->again.len == len && memcmp(r->again.data, from, len) == 0) continue;
    out->equal = false;
    snprintf(out->text, sizeof out->text, "call %llu went otherwise than recorded%s%.300s",
             (unsigned long long)out->calls, text[0] ? "; now: " : "", text);
  }
  if (out->equal)
    snprintf(out->text, sizeof out->text, "%llu calls, %llu of them steps: each gave what was recorded",
             (unsigned long long)out->calls, (unsigned long long)out->steps);
  core_free(r->core);
  sl_buf_free(&r->again);
  free(r);
}
