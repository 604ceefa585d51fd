/* Lines of bundles: any bytes are an event within the store's limits, or are refused with a reason; what was read
 * and written again is the same. */
#include "fuzz.h"

#include "event_line.h"
#include "json.h"

static void check_id(sl_slice id) {
  PROMISE(id.len < SL_ID_MAX && (id.len == 0 || !memchr(id.data, 0, id.len)));
}

static void same(sl_slice a, sl_slice b) { PROMISE(slice_eq(a, b)); }

static void check_event(const event_line *e) {
  const sl_record *r = &e->record;
  event_line again = {0};
  output o;
  text why = {0};
  check_id(r->event_id);
  check_id(r->correlation_id);
  check_id(r->causation_id);
  PROMISE(r->seq > 0 && r->event_id.len && r->topic.len && r->appended_at_us > 0);
  PROMISE((unsigned)r->state < SL_STATE_COUNT);
  out_init(&o, (term){0});
  json *j = json_new(&o);
  json_record(j, r, JSON_HEADERS | JSON_VALUE);
  PROMISE(o.pending.len > 1);
  PROMISE(event_line_read(&again, (sl_slice){o.pending.data, o.pending.len - 1}, &why) == LINE_EVENT);
  const sl_record *n = &again.record;
  same(r->event_id, n->event_id);
  same(r->correlation_id, n->correlation_id);
  same(r->causation_id, n->causation_id);
  same(r->type, n->type);
  same(r->topic, n->topic);
  same(r->key, n->key);
  same(r->source, n->source);
  same(r->value, n->value);
  PROMISE(r->seq == n->seq && r->appended_at_us == n->appended_at_us && r->occurred_at_us == n->occurred_at_us &&
          r->state == n->state && r->header_count == n->header_count);
  for (size_t i = 0; i < r->header_count; i++)
    same(r->headers[i].value, n->headers[i].value);
  json_free(j);
  out_free(&o);
  text_free(&why);
  event_line_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  event_line e = {0};
  bundle_head head;
  text why = {0};
  const sl_slice line = {data, size};
  switch (event_line_read(&e, line, &why)) {
  case LINE_EVENT: check_event(&e); break;
  case LINE_HEAD:
    bundle_head_read(&head, line);
    bundle_head_free(&head);
    break;
  case LINE_END: (void)bundle_end_read(line); break;
  case LINE_DAMAGED: PROMISE(why.len > 0); break;
  case LINE_OTHER:
  case LINE_NEWER: break;
  }
  event_line_free(&e);
  text_free(&why);
  return 0;
}
