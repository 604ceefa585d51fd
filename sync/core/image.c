/* A core as bytes: its structures as they lie in memory, without what they point at, then that. */
#include "core/history_pack.h"
#include <stdlib.h>

#define NOBODY UINT32_MAX

bool core_image_fits(const core *c) {
  return (c->txn.count == 0 || !c->txn.open) && (c->op == OP_NONE || c->op == OP_FILL) && c->wanted_count == 0;
}

static void save_bytes(sl_buf *out, const void *data, size_t len) {
  const uint64_t n = len;
  sl_buf_append(out, &n, sizeof n);
  sl_buf_append(out, data, len);
}

bool core_image_save(const core *c, sl_buf *out) {
  core plain = *c;
  plain.topics = (topic_table){0};
  plain.txn.lane = NULL;
  memset(plain.wanted, 0, sizeof plain.wanted);
  memset(plain.wanted_names, 0, sizeof plain.wanted_names);
  plain.txn.verdicts = NULL;
  plain.txn.slots = NULL;
  plain.txn.letters = NULL;
  plain.txn.cap = plain.txn.letter_cap = 0;
  plain.txn.count = plain.txn.letter_count = 0; /* it is over, or has not begun */
  plain.txn.produced = plain.txn.outstanding = plain.txn.under_way = 0;
  plain.attempt = (delivery_attempt){0}; /* of a transaction that is over */
  plain.lanes = NULL;
  plain.copies = NULL;
  plain.recreated = NULL;
  plain.lane_cap = plain.copy_cap = plain.recreated_cap = 0;
  plain.cursor_bytes = plain.intent_bytes = plain.marker_bytes = plain.marker_there = plain.marker = (sl_buf){0};
  plain.history = NULL;
  save_bytes(out, &plain, sizeof plain);
  save_bytes(out, c->cursor_bytes.data, c->cursor_bytes.len);
  save_bytes(out, c->intent_bytes.data, c->intent_bytes.len);
  save_bytes(out, c->marker_bytes.data, c->marker_bytes.len);
  save_bytes(out, c->marker_there.data, c->marker_there.len);
  const uint32_t lane = c->txn.lane ? c->txn.lane->index : NOBODY;
  save_bytes(out, &lane, sizeof lane);
  const uint64_t count = c->topics.count;
  save_bytes(out, &count, sizeof count);
  for (size_t i = 0; i < c->topics.count; i++) {
    topic t = *c->topics.list[i];
    t.name = NULL;
    save_bytes(out, c->topics.list[i]->name, t.len);
    save_bytes(out, &t, sizeof t);
  }
  return !out->failed;
}

static bool load_slice(sl_slice *in, sl_slice *out) {
  if (in->len < 8) return false;
  const uint8_t *p = in->data;
  const uint64_t len = sl_get_u64(p);
  if (len > in->len - 8) return false;
  *out = (sl_slice){p + 8, (size_t)len};
  *in = (sl_slice){p + 8 + len, in->len - 8 - (size_t)len};
  return true;
}

static bool load_exact(sl_slice *in, void *to, size_t len) {
  sl_slice s;
  if (!load_slice(in, &s) || s.len != len) return false;
  memcpy(to, s.data, len);
  return true;
}

static bool load_buf(sl_slice *in, sl_buf *to) {
  sl_slice s;
  if (!load_slice(in, &s)) return false;
  sl_buf_append(to, s.data, s.len);
  return !to->failed;
}

static bool load_topics(sl_slice *in, core *c) {
  uint64_t count;
  if (!load_exact(in, &count, sizeof count)) return false;
  for (uint64_t i = 0; i < count; i++) {
    sl_slice name;
    topic t;
    if (!load_slice(in, &name) || !load_exact(in, &t, sizeof t) || name.len != t.len) return false;
    topic *tp = topics_get(&c->topics, name);
    if (!tp || tp->index != i) return false;
    t.name = tp->name;
    *tp = t;
  }
  return true;
}

static bool load_ref(const core *c, uint32_t ref, topic **out) {
  if (ref != NOBODY && ref >= c->topics.count) return false;
  *out = ref == NOBODY ? NULL : c->topics.list[ref];
  return true;
}

core *core_image_load(sl_slice bytes, size_t *used) {
  sl_slice in = bytes;
  uint32_t lane;
  core *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  if (load_exact(&in, c, sizeof *c) && load_buf(&in, &c->cursor_bytes) && load_buf(&in, &c->intent_bytes) &&
      load_buf(&in, &c->marker_bytes) && load_buf(&in, &c->marker_there) && load_exact(&in, &lane, sizeof lane) &&
      load_topics(&in, c) && load_ref(c, lane, &c->txn.lane)) {
    *used = bytes.len - in.len;
    return c;
  }
  core_free(c);
  return NULL;
}
