#include "check_store.h"
#include "agent.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static check_topic *topic_of(check_topics *t, sl_slice name) {
  for (size_t i = t->count; i-- > 0;) /* neighbours in the log tend to share a topic */
    if (sl_slice_eq(sl_slice_of(t->list[i].name), name)) return &t->list[i];
  if (name.len >= sizeof t->list->name) return NULL;
  if (t->count == t->cap) {
    const size_t cap = t->cap ? t->cap * 2 : 16;
    check_topic *grown = realloc(t->list, cap * sizeof *grown);
    if (!grown) return NULL;
    t->list = grown;
    t->cap = cap;
  }
  check_topic *one = &t->list[t->count++];
  *one = (check_topic){.pending = 0};
  memcpy(one->name, name.data, name.len);
  return one;
}

static sl_status find_pending(check_topics *t, sl_store *store, const delivery_state *book) {
  sl_query query = {.first_seq = book->cursor.seq + 1};
  for (size_t i = 0; i < book->cursor.lane_count; i++)
    if (book->cursor.lanes[i].seq < query.first_seq) query.first_seq = book->cursor.lanes[i].seq + 1;
  sl_iter *iter;
  const sl_record *r;
  sl_status st = sl_iter_start(store, &query, &iter);
  if (st != SL_OK) return st;
  while (t->looked < CHECK_EVENTS && (st = sl_iter_next(iter, &r)) == SL_OK) {
    if (r->state != SL_PENDING || r->duplicate_of) continue;
    check_topic *one = topic_of(t, r->topic);
    if (!one) continue;
    const size_t size = fill_record_size(r);
    t->looked++;
    one->pending++;
    if (size <= one->largest) continue;
    one->largest = size;
    one->largest_seq = r->seq;
  }
  sl_iter_close(iter);
  t->all = st == SL_NOTFOUND;
  return st == SL_NOTFOUND ? SL_OK : st;
}

sl_status check_topics_find(check_topics *t, sl_store *store, const delivery_state *book, const settings *s) {
  *t = (check_topics){.all = true};
  const sl_status st = store && book ? find_pending(t, store, book) : SL_OK;
  for (size_t i = 0; i < s->topic_count; i++) {
    const sl_slice match = {s->topics[i].match, strlen(s->topics[i].match)};
    if (sl_glob_is_literal(match) && sl_topic_valid(match)) topic_of(t, match);
  }
  return st;
}

void check_topics_free(check_topics *t) {
  free(t->list);
  *t = (check_topics){0};
}
