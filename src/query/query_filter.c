/* Conditions of the caller's own, and globs for whoever needs the same ones. */
#include "base/text.h"
#include "query/query_impl.h"

#include <stdlib.h>

int sl_glob_fits(sl_slice glob, sl_slice text) {
  return (glob.data || !glob.len) && (text.data || !text.len) && sl_glob_match(glob, text);
}

sl_status sl_iter_filter(sl_iter *it, uint32_t needs, sl_filter_fn *fn, void *arg) {
  if (!it || !fn) return sl_fail(SL_E_INVALID, "%s is NULL", it ? "fn" : "iter");
  if (needs & ~(uint32_t)(SL_FILTER_WHOLE | SL_FILTER_FATE | SL_FILTER_ATTRIBUTES | SL_FILTER_NO_IDS))
    return sl_fail(SL_E_INVALID, "unknown needs 0x%x", needs);
  if (it->filter_count == SL_FILTERS_MAX)
    return sl_fail(SL_E_INVALID, "an iterator has at most %u filters", SL_FILTERS_MAX);
  if (it->scanned) return sl_fail(SL_E_INVALID, "the iteration has begun: add filters before");
  const bool ids = !(needs & SL_FILTER_NO_IDS);
  needs &= ~(uint32_t)SL_FILTER_NO_IDS;
  if (needs & SL_FILTER_FATE) needs |= SL_FILTER_WHOLE;
  if (needs & SL_FILTER_WHOLE) needs &= ~(uint32_t)SL_FILTER_ATTRIBUTES;
  size_t at = it->filter_count++;
  for (; at > 0 && it->filters[at - 1].needs > needs; at--) it->filters[at] = it->filters[at - 1];
  it->filters[at] = (query_filter){needs, fn, arg};
  if (!(needs & SL_FILTER_WHOLE)) {
    it->peek = it->peek_hits = true;
    it->ids = it->ids || ids;
  }
  return SL_OK;
}

bool query_filters_need(const sl_iter *it, uint32_t needs) {
  for (size_t i = 0; i < it->filter_count; i++)
    if (it->filters[i].needs == needs) return true;
  return false;
}

sl_status query_header_room(sl_iter *it, size_t count) {
  if (count <= it->header_cap) return SL_OK;
  sl_header *grown = realloc(it->headers, count * sizeof *grown);
  if (!grown) return sl_fail(SL_E_NOMEM, "out of memory");
  it->headers = grown;
  it->header_cap = count;
  return SL_OK;
}

static sl_status headers_of(sl_iter *it, const sl_parts *parts, sl_record *r) {
  sl_status status = parts->headers ? SL_OK : query_header_room(it, parts->header_count);
  if (status != SL_OK) return status;
  r->headers = parts->header_count ? it->headers : NULL;
  r->header_count = parts->header_count;
  return parts->headers || !parts->header_count ? SL_OK : sl_record_headers(parts, it->headers);
}

sl_status query_filter_parts(sl_iter *it, snapshot *snap, uint64_t seq, const sl_parts *p, uint32_t needs,
                             const book_fate *fate) {
  if (!query_filters_need(it, needs)) return SL_OK;
  sl_record r = {.seq = seq, .appended_at_us = p->appended_us, .occurred_at_us = p->occurred_us, .topic = p->topic,
                 .type = p->type, .event_id = p->event_id, .correlation_id = p->correlation_id,
                 .causation_id = p->causation_id, .partition = -1, .offset = -1};
  sl_status status = SL_OK;
  if (needs) {
    r.key = p->key;
    r.tenant = p->tenant;
    r.source = p->source;
    r.value = p->value;
    status = headers_of(it, p, &r);
  }
  if (status == SL_OK && fate) status = query_set_fate(&r, snap, fate);
  for (size_t i = 0; i < it->filter_count && status == SL_OK; i++)
    if (it->filters[i].needs == needs && !it->filters[i].fn(it->filters[i].arg, &r)) status = SL_NOTFOUND;
  return status;
}

sl_status query_set_fate(sl_record *r, snapshot *snap, const book_fate *fate) {
  r->state = fate->state;
  r->settled_at_us = fate->settled_us;
  r->partition = fate->state == SL_SENT ? fate->partition : -1;
  r->offset = fate->state == SL_SENT ? fate->offset : -1;
  r->topic_recreated = fate->state == SL_SENT && fate->topic_recreated;
  r->duplicate_of = fate->duplicate_of;
  if (fate->state == SL_DEAD || fate->state == SL_DROPPED) {
    r->attempts = fate->letter.attempts;
    r->error_class = fate->letter.error_class;
    r->error_code = fate->letter.error_code;
    r->error_text = fate->letter.error_text;
    r->error_number = fate->letter.code;
    r->first_failure_us = fate->letter.first_failure_us;
    r->last_failure_us = fate->letter.last_failure_us;
    r->dropped_by = fate->letter.dropped_by;
    r->drop_reason = fate->letter.drop_reason;
  }
  return fate->state == SL_PENDING ? index_view_duplicate_of(snap->index, r->seq, &r->duplicate_of) : SL_OK;
}
