/* Topics that were deleted and created again, by the offsets of their partitions: the book is told, since receipts
 * from before name places that are gone. */
#include "core/inner.h"
#include <stdlib.h>
#include <string.h>

void txn_offsets_back(core *c, topic *tp, int64_t from, int64_t to) {
  c->offsets_back++;
  c->back_topic = tp->index;
  c->back_from = from;
  c->back_to = to;
  memset(tp->seen, 0, sizeof tp->seen); /* of its other partitions too: they would tell it again */
}

/* Offsets of a partition only ascend. Where they do not, the topic was deleted and created again since (or a
 * broker lost records that it had acknowledged): receipts from before tell of places that are gone. */
static void watch_offset(core *c, topic *tp, const delivery_verdict *v) {
  const size_t at = (size_t)v->partition % SEEN_PLACES;
  if (tp->seen[at].partition == v->partition + 1 && v->place <= tp->seen[at].offset) {
    txn_offsets_back(c, tp, tp->seen[at].offset, v->place);
    if (!c->txn.copies) {
      tp->back = true;
      tp->back_txn = c->txn.number;
      tp->back_seq = v->seq;
    }
  }
  tp->seen[at].partition = v->partition + 1;
  tp->seen[at].offset = v->place;
}

/* Events of a later transaction were sent when the topic was a new one already, all of them. */
void txn_note_recreated(core *c) {
  txn *t = &c->txn;
  for (size_t i = 0; i < t->count && !t->watched; i++)
    if (t->verdicts[i].verdict == SL_VERDICT_SENT && t->verdicts[i].place >= 0 && t->verdicts[i].partition >= 0)
      watch_offset(c, t->slots[i].topic, &t->verdicts[i]);
  t->watched = true;
  size_t count = 0;
  for (size_t i = 0; i < c->topics.count; i++) count += c->topics.list[i]->back;
  if (count > c->recreated_cap) {
    delivery_recreated *list = realloc(c->recreated, count * sizeof *list);
    if (!list) return; /* with the next attempt, then */
    c->recreated = list;
    c->recreated_cap = count;
  }
  count = 0;
  for (size_t i = 0; i < c->topics.count; i++) {
    const topic *tp = c->topics.list[i];
    if (!tp->back) continue;
    const uint64_t from = tp->back_txn == t->number ? tp->back_seq : 0;
    c->recreated[count++] = (delivery_recreated){{tp->name, tp->len}, from};
  }
  c->attempt.recreated = c->recreated;
  c->attempt.recreated_count = count;
}

void txn_noted(core *c) {
  if (c->attempt.recreated_count == 0) return;
  for (size_t i = 0; i < c->topics.count; i++) c->topics.list[i]->back = false;
}
