#include "sink.h"
#include "base/breathe.h"
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TXN_EVENTS = 100000, QUEUE = 24 << 20 };

uint64_t sink_deliver(sl_store *store, sl_delivery *delivery, uint64_t indexed, unsigned commit_us) {
  static delivery_verdict verdicts[TXN_EVENTS];
  static char *queue;
  const delivery_state *book = delivery_state_get(delivery);
  const sl_query query = {.first_seq = book->cursor.seq + 1, .last_seq = indexed};
  delivery_attempt attempt = {.progress = book->cursor, .verdicts = verdicts, .marked = true};
  if (book->cursor.seq >= indexed) return book->cursor.seq;
  if (!queue) queue = need(malloc(QUEUE));
  sl_iter *iter;
  const sl_record *record;
  sl_status status = SL_OK;
  size_t used = 0;
  must(sl_iter_start(store, &query, &iter), "read");
  while (attempt.count < TXN_EVENTS && (status = sl_iter_next(iter, &record)) == SL_OK) {
    if (used + record->value.len > QUEUE) used = 0;
    if (attempt.count % 32 == 0) sl_breathe();
    memcpy(queue + used, record->value.data, record->value.len);
    used += record->value.len;
    const bool again = record->duplicate_of != 0;
    verdicts[attempt.count] = (delivery_verdict){
      .seq = record->seq, .verdict = again ? SL_VERDICT_DUPLICATE : SL_VERDICT_SENT, .partition = again ? -1 : 0,
      .place = (int64_t)(again ? record->duplicate_of : record->seq)};
    attempt.progress.seq = verdicts[attempt.count++].seq;
  }
  if (status != SL_OK && status != SL_NOTFOUND) must(status, "read");
  sl_iter_close(iter);
  if (status == SL_NOTFOUND) attempt.progress.seq = indexed;
  attempt.progress.attempt = book->last_attempt + 1;
  must(delivery_intent(delivery, &attempt), "intent");
  if (commit_us) usleep(commit_us);
  must(delivery_settle(delivery), "settle");
  return delivery_state_get(delivery)->cursor.seq;
}
