/* The calls that change a core, for the world outside: each tells the recorder, where one listens, and goes in.
 * Whoever adds a way to change the core adds it here too: what a history lacks cannot be replayed. */
#include "core/history_pack.h"

void core_step(core *c, const core_event *e, core_actions *out) {
  history_step(c->history, c, e);
  core_take(c, e, out);
  history_step_end(c->history, c, out);
}

core_offer_result core_offer(core *c, const core_record *record, int64_t now_us, uint64_t *tag) {
  history_offer(c->history, c, record, now_us);
  const core_offer_result result = txn_offer(c, record, now_us, tag);
  history_offer_end(c->history, result, result == OFFER_PRODUCE ? *tag : 0);
  return result;
}

core_offer_result core_offer_dropped(core *c, uint64_t seq, sl_slice name, sl_slice class_, sl_slice text,
                                     int64_t dropped_us) {
  history_dropped(c->history, seq, name, class_, text, dropped_us);
  const core_offer_result result = txn_offer_dropped(c, seq, name, class_, text, dropped_us);
  history_result(c->history, result);
  return result;
}

core_offer_result core_letter_ready(core *c, sl_slice name, int64_t now_us) {
  history_letter(c->history, CALL_LETTER_READY, 0, name, 0, now_us);
  const core_offer_result result = txn_letter_ready(c, name, now_us);
  history_result(c->history, result);
  return result;
}

core_offer_result core_offer_letter(core *c, uint64_t number, sl_slice name, size_t size, int64_t now_us,
                                    bool *slim, uint64_t *tag) {
  history_letter(c->history, CALL_OFFER_LETTER, number, name, size, now_us);
  const core_offer_result result = txn_offer_letter(c, number, name, size, now_us, slim, tag);
  history_offer_end(c->history, result, result == OFFER_PRODUCE ? *tag : 0);
  return result;
}

bool core_letter_gone(core *c, uint64_t number, sl_slice name) {
  history_letter(c->history, CALL_LETTER_GONE, number, name, 0, c->now_us);
  const bool on = txn_letter_gone(c, number, name);
  history_result(c->history, on);
  return on;
}

void core_begun(core *c) {
  history_begun(c->history);
  c->txn.begun = true;
}

bool core_queue_full(core *c, size_t size) {
  history_queue_full(c->history, size);
  const bool wait = txn_queue_full(c, size);
  history_result(c->history, wait);
  return wait;
}

bool core_refused(core *c, uint64_t tag, const fault *why, int64_t wall_us) {
  history_refused(c->history, tag, why, wall_us);
  const bool on = txn_refused(c, tag, why, wall_us);
  history_result(c->history, on);
  return on;
}

void core_delivered(core *c, uint64_t tag, int32_t partition, int64_t offset, const fault *why) {
  history_delivered(c->history, tag, partition, offset, why);
  txn_delivered(c, tag, partition, offset, why);
}
