/* The transactional calls, one to one, plus what librdkafka's success leaves out: a commit or abort has happened
 * for sure only if no EndTxn of this handle is without its answer, and an abort must not overtake what is in
 * flight. Nothing is tried again here: anything but a clean success is the core's to doubt (core/core.h). */
#include "handle.h"
#include <stdio.h>

fault kafka_init_transactions(kafka *k, int timeout_ms) {
  return fault_consume_error(k->rk, rd_kafka_init_transactions(k->rk, timeout_ms));
}

fault kafka_why_abort(kafka *k) {
  /* A call that the open transaction does not allow is refused with its error, where it has one. */
  const fault f = fault_consume_error(k->rk, rd_kafka_begin_transaction(k->rk));
  return f.abortable || f.fatal ? f : (fault){0};
}

fault kafka_begin(kafka *k) {
  atomic_store(&k->given_up, false);
  return fault_consume_error(k->rk, rd_kafka_begin_transaction(k->rk));
}

/* librdkafka 2.0.2 sends EndTxn again under the same epoch when its answer does not come. A copy that the
 * network held back ended the *next* transaction, whose own commit then returned success: marker there,
 * events not. So success counts only where every EndTxn of this handle was answered. */
static fault ended(kafka *k, fault f, const char *what) {
  unsigned unanswered = wire_end_txn_unanswered(k->wire);
  if (!fault_is_ok(&f) || unanswered == 0) return f;
  f = kafka_classify(RD_KAFKA_RESP_ERR__OUTDATED);
  snprintf(f.name, sizeof f.name, "END_TXN_RESENT");
  snprintf(f.text, sizeof f.text,
           "the %s succeeded, but %u EndTxn of this handle had no answer and may still reach the broker",
           what, unanswered);
  return f;
}

fault kafka_commit(kafka *k, int timeout_ms) {
  return ended(k, fault_consume_error(k->rk, rd_kafka_commit_transaction(k->rk, timeout_ms)), "commit");
}

fault kafka_abort(kafka *k, int timeout_ms) {
  if (atomic_load(&k->given_up)) {
    const int64_t deadline = now_ms() + timeout_ms;
    const fault f = kafka_flush(k, timeout_ms); /* answers first: see kafka_give_up */
    if (!fault_is_ok(&f)) return f;
    timeout_ms = left_ms(deadline, timeout_ms) + 100;
  }
  return ended(k, fault_consume_error(k->rk, rd_kafka_abort_transaction(k->rk, timeout_ms)), "abort");
}
