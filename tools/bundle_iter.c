/* Questions to a bundle, answered as a store answers them. */
#include "bundle_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILTERS = SL_FILTERS_MAX };

struct bundle_iter {
  bundle_file *file;
  size_t part;
  sl_query query;
  char *texts;             /* of the query */
  const uint32_t *places;  /* NULL: entries as they lie */
  size_t at, end;          /* of places, or entries */
  uint32_t *newest;        /* of a query for those: places, the last first */
  struct { uint32_t needs; sl_filter_fn *fn; void *arg; } filters[FILTERS];
  size_t filter_count;
  uint64_t scanned, left;
  bool begun;
  event_line reader;
  char *line;
  size_t line_cap;
};

bool record_fits(const sl_query *q, const sl_record *r) {
  const sl_slice exact[][2] = {{q->event_id, r->event_id}, {q->correlation_id, r->correlation_id},
                               {q->causation_id, r->causation_id}, {q->tenant, r->tenant}, {q->source, r->source},
                               {q->key, r->key}};
  for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
    if (exact[i][0].len && !slice_eq(exact[i][0], exact[i][1]))
      return false;
  return (!q->type.len || sl_glob_fits(q->type, r->type)) && (!q->topic.len || sl_glob_fits(q->topic, r->topic)) &&
         (!q->states || q->states & SL_STATE_BIT(r->state)) &&
         (!q->since_us || r->appended_at_us >= q->since_us) &&
         (!q->until_us || r->appended_at_us < q->until_us) && r->seq >= q->first_seq &&
         (!q->last_seq || r->seq <= q->last_seq);
}

/* The places of one hash. */
static void find_range(const bundle_file *b, order by, uint64_t wanted, size_t *first, size_t *end) {
  size_t low = 0, high = b->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (b->entries[b->by[by][middle]].hash[by] < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  *first = *end = low;
  while (*end < b->count && b->entries[b->by[by][*end]].hash[by] == wanted)
    ++*end;
}

static sl_slice copy_slice(char **room, sl_slice s) {
  if (!s.len)
    return s;
  memcpy(*room, s.data, s.len);
  sl_slice copy = {*room, s.len};
  *room += s.len;
  return copy;
}

static void copy_query(bundle_iter *i, const sl_query *query) {
  if (query)
    i->query = *query;
  sl_query *q = &i->query;
  sl_slice *texts[] = {&q->event_id, &q->correlation_id, &q->causation_id, &q->type,
                       &q->topic,    &q->tenant,         &q->source,       &q->key};
  size_t all = 1;
  for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
    all += texts[k]->len;
  char *room = i->texts = tool_alloc(all);
  for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
    *texts[k] = copy_slice(&room, *texts[k]);
}

sl_status bundle_iter_start(bundle_file *b, size_t part, const sl_query *query, bundle_iter **iter) {
  bundle_iter *i = tool_alloc(sizeof *i);
  *i = (bundle_iter){.file = b, .part = part};
  copy_query(i, query);
  const sl_slice ids[ORDERS] = {i->query.event_id, i->query.correlation_id, i->query.causation_id};
  i->at = b->parts[part].first;
  i->end = i->at + b->parts[part].count;
  for (order by = 0; by < ORDERS; by++) {
    size_t first, end;
    if (!ids[by].len)
      continue;
    find_range(b, by, bundle_hash(ids[by]), &first, &end);
    if (i->places && end - first >= i->end - i->at)
      continue;
    i->places = b->by[by];
    i->at = first;
    i->end = end;
  }
  i->left = i->query.limit ? i->query.limit : UINT64_MAX;
  *iter = i;
  return SL_OK;
}

sl_status bundle_iter_filter(bundle_iter *i, uint32_t needs, sl_filter_fn *fn, void *arg) {
  if (i->filter_count == FILTERS)
    return SL_E_INVALID;
  i->filters[i->filter_count].needs = needs;
  i->filters[i->filter_count].fn = fn;
  i->filters[i->filter_count++].arg = arg;
  return SL_OK;
}

/* The whole line again. The file may have changed since it was opened: then it is what the checks find. */
static sl_status read_entry(bundle_iter *i, const entry *e) {
  text why = {0};
  if (e->len > i->line_cap) {
    i->line_cap = e->len;
    i->line = tool_grow(i->line, i->line_cap);
  }
  ssize_t got = pread(i->file->fd, i->line, e->len, (off_t)e->at);
  if (got < 0)
    return SL_E_IO;
  bool fine = (size_t)got == e->len &&
              event_line_read(&i->reader, (sl_slice){i->line, e->len}, &why) == LINE_EVENT &&
              i->reader.record.seq == e->seq;
  text_free(&why);
  return fine ? SL_OK : SL_E_CORRUPT;
}

static bool fits(bundle_iter *i) {
  const sl_record *r = &i->reader.record;
  if (!record_fits(&i->query, r))
    return false;
  for (size_t k = 0; k < i->filter_count; k++)
    if (!i->filters[k].fn(i->filters[k].arg, r))
      return false;
  return true;
}

static const entry *entry_at(const bundle_iter *i, size_t at) {
  return &i->file->entries[i->newest ? i->newest[at] : i->places ? i->places[at] : at];
}

static sl_status look_at(bundle_iter *i, const entry *e, bool *hit) {
  *hit = false;
  if (e->part != i->part || e->seq < i->query.first_seq || (i->query.last_seq && e->seq > i->query.last_seq))
    return SL_OK;
  i->scanned++;
  sl_status st = read_entry(i, e);
  *hit = st == SL_OK && fits(i);
  return st;
}

/* From the end, until there are enough; then they are read again in their order. */
static sl_status find_newest(bundle_iter *i) {
  uint64_t wanted = i->query.limit;
  size_t count = 0, cap = 0;
  uint32_t *found = NULL;
  for (size_t at = i->end; at > i->at && count < wanted; at--) {
    bool hit;
    const entry *e = entry_at(i, at - 1);
    sl_status st = look_at(i, e, &hit);
    if (st != SL_OK) {
      free(found);
      i->end = i->at;
      return st;
    }
    if (!hit)
      continue;
    if (count == cap) {
      cap = cap ? cap * 2 : 64;
      found = tool_grow(found, cap * sizeof *found);
    }
    found[count++] = (uint32_t)(e - i->file->entries);
  }
  for (size_t k = 0; k < count / 2; k++) {
    uint32_t swap = found[k];
    found[k] = found[count - 1 - k];
    found[count - 1 - k] = swap;
  }
  i->newest = found;
  i->at = 0;
  i->end = count;
  return SL_OK;
}

sl_status bundle_iter_next(bundle_iter *i, const sl_record **record) {
  bool begins = !i->begun;
  i->begun = true;
  if (begins && i->query.limit && i->query.flags & SL_QUERY_NEWEST) {
    sl_status st = find_newest(i);
    if (st != SL_OK)
      return st;
  }
  while (i->at < i->end && i->left) {
    bool hit;
    sl_status st = look_at(i, entry_at(i, i->at++), &hit);
    if (st != SL_OK)
      return st;
    if (!hit)
      continue;
    i->left--;
    *record = &i->reader.record;
    return SL_OK;
  }
  return SL_NOTFOUND;
}

uint64_t bundle_iter_scanned(const bundle_iter *i) { return i->scanned; }

void bundle_iter_close(bundle_iter *i) {
  if (!i)
    return;
  event_line_free(&i->reader);
  free(i->newest);
  free(i->line);
  free(i->texts);
  free(i);
}

/* ---------------------------------------------------------------- resolve --- */

static bool is_uuid(sl_slice id) {
  const char *p = id.data;
  if (id.len != 36)
    return false;
  for (size_t i = 0; i < 36; i++) {
    bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? p[i] != '-' : !p[i] || !strchr("0123456789abcdef", p[i]))
      return false;
  }
  return true;
}

static int compare_ids(const void *a, const void *b) { return strcmp(a, b); }

static bool add_id(char (*out)[SL_ID_MAX], size_t max, size_t *count, sl_slice id) {
  for (size_t i = 0; i < *count; i++)
    if (slice_eq(slice_of(out[i]), id))
      return true;
  if (*count == max)
    return false;
  memcpy(out[*count], id.data, id.len);
  out[(*count)++][id.len] = 0;
  return true;
}

static sl_status resolve_prefix(bundle_iter *i, order by, sl_slice typed, char (*out)[SL_ID_MAX], size_t max,
                                size_t *count) {
  const sl_record *r;
  sl_status st;
  while ((st = bundle_iter_next(i, &r)) == SL_OK) {
    sl_slice id = bundle_id_of(r, by);
    bool begins = id.len > typed.len && is_uuid(id) && memcmp(id.data, typed.data, typed.len) == 0;
    if (begins && !add_id(out, max, count, id))
      break;
  }
  return st == SL_NOTFOUND ? SL_OK : st;
}

sl_status bundle_resolve(bundle_file *b, size_t part, sl_id_kind kind, sl_slice typed, char (*out)[SL_ID_MAX],
                         size_t max, size_t *count) {
  order by = kind == SL_ID_EVENT ? BY_EVENT : kind == SL_ID_CORRELATION ? BY_CORRELATION : BY_CAUSATION;
  sl_query query = {.limit = 1};
  bundle_iter *iter = NULL;
  const sl_record *r;
  *(by == BY_EVENT ? &query.event_id : by == BY_CORRELATION ? &query.correlation_id : &query.causation_id) = typed;
  *count = 0;
  if (typed.len == 0 || typed.len >= SL_ID_MAX)
    return SL_E_INVALID;
  bundle_iter_start(b, part, &query, &iter);
  sl_status st = bundle_iter_next(iter, &r);
  bundle_iter_close(iter);
  if (st == SL_OK) {
    add_id(out, max, count, typed);
    return SL_OK;
  }
  if (typed.len < 4)
    return SL_NOTFOUND;
  bundle_iter_start(b, part, NULL, &iter);
  st = resolve_prefix(iter, by, typed, out, max, count);
  bundle_iter_close(iter);
  qsort(out, *count, sizeof *out, compare_ids);
  return st != SL_OK && st != SL_E_CORRUPT ? st : *count == 0 ? SL_NOTFOUND : *count == 1 ? SL_OK : SL_E_AMBIGUOUS;
}
