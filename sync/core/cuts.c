/* Links whose connections are cut again and again. What is under way at a cut goes again, and a commit in doubt
 * costs a new handle, so on such a link less is under way at a time, and transactions are longer. How much is
 * under way is the core's to say for each record, so the first lesson costs no new handle. */
#include "core/inner.h"

#define CUTS 3            /* so many, each soon after the one before, make a link that breaks */
#define FAR_US 100000     /* where a round trip takes so long, each cut costs so much that one is enough */
#define SOON_US 60000000
#define TOGETHER_US 300000 /* each connection tells the same cut */
#define FORGOTTEN_US 600000000
#define LONGER 4          /* transactions, since a commit is what a cut costs most at */
#define SLACK_S 0.3       /* until an answer has led to the next batch */
#define LATE_S 0.05
#define LEAST_BYTES (32 << 10)
#define MOST_BYTES (512 << 10)

static int32_t partitions(const core *c) {
  int32_t most = 1;
  for (size_t i = 0; i < c->topics.count; i++)
    if (c->topics.list[i]->partitions > most) most = c->topics.list[i]->partitions;
  return most;
}

/* Of the transaction in hand, where none was committed yet. */
static void guess_rate(core *c) {
  const txn *t = &c->txn;
  const int64_t took_us = t->begun_us > 0 ? c->now_us - t->begun_us : 0;
  if (c->bytes_per_s > 0 || took_us <= 0) return;
  c->bytes_per_s = (double)(t->bytes - t->under_way / 2) * 1e6 / (double)took_us;
  c->events_per_s = (double)t->produced * 1e6 / (double)took_us;
}

/* Librdkafka 2.0.2 has one batch of an idempotent producer under way to each partition, and makes the next one of
 * all that waits. With one partition the link is idle until its answer: the best is sqrt(2 x what crosses in a gap
 * x what crosses in a round trip). With more it is enough that the others' batches take as long as the answer.
 * Half as much again waits behind it. Where a link is so fast that this is much, nothing changes. */
static void make_room(core *c) {
  const double bytes_per_s = c->bytes_per_s, all = partitions(c);
  const double gap_s = (double)c->gap_us / 1e6, trip_s = (double)c->round_trip_us / 1e6;
  const double in_a_gap = bytes_per_s * gap_s, in_a_trip = bytes_per_s * (trip_s + LATE_S);
  const double several = all > 1 ? bytes_per_s * (1.5 * trip_s * all / (all - 1) + SLACK_S) : in_a_gap;
  double crossing = LEAST_BYTES;
  while (crossing * crossing < 2 * in_a_gap * in_a_trip && crossing < several && crossing <= MOST_BYTES)
    crossing *= 1.1;
  c->room_bytes = bytes_per_s <= 0 || crossing > MOST_BYTES ? 0 : (uint64_t)crossing * 3 / 2;
}

static bool was_soon(const core *c) { return c->gap_us > 0 && c->now_us - c->cut_us <= SOON_US; }

/* True: the next handle has it. */
static bool take_longer(core *c) {
  const int64_t next_us = pace_timeout(&c->config, c->config.txn_timeout_us * LONGER);
  if (!c->config.exactly_once || c->timeout_refused) return false;
  if (next_us <= c->timeout_us || c->room_bytes == 0) return false;
  const double in_time = c->bytes_per_s * (double)next_us / 3e6, most = (double)c->config.txn_max_bytes;
  const double larger = (double)c->target_bytes * (double)(next_us / c->timeout_us);
  const double target = larger < in_time ? larger : in_time;
  if (target > (double)c->target_bytes) c->target_bytes = (uint64_t)(target < most ? target : most);
  c->timeout_us = next_us;
  c->kept_long = true;
  return true;
}

void cuts_start(core *c) {
  if (c->config.link_gap_us <= 0) return;
  c->gap_us = c->config.link_gap_us;
  c->bytes_per_s = (double)c->config.link_bytes_per_s;
  c->cut_us = c->now_us;
  c->kept_long = c->timeout_us > c->config.txn_timeout_us;
}

void cuts_begin(core *c) {
  if (c->gap_us > 0) make_room(c); /* other partitions may be known by now */
}

void cuts_seen(core *c) {
  const txn *t = &c->txn;
  if (!t->open || t->bytes <= LEAST_BYTES) return;
  if (c->cuts > 0 && c->now_us - c->cut_us < TOGETHER_US) return;
  if (c->cuts == 0 || c->now_us - c->cut_us > SOON_US) {
    c->cuts = 0;
    c->first_cut_us = c->now_us;
  }
  c->cuts++;
  c->cut_us = c->now_us;
  c->quick = 0;
  const int64_t since_us = c->now_us - c->connected_us;
  if (c->cuts < CUTS && (c->round_trip_us < FAR_US || since_us > SOON_US)) return;
  guess_rate(c);
  c->gap_us = c->cuts > 1 ? (c->cut_us - c->first_cut_us) / (c->cuts - 1) : since_us;
  make_room(c);
}

void cuts_forget(core *c) {
  c->cuts = 0;
  c->gap_us = 0;
  c->room_bytes = 0;
}

void cuts_learn(core *c) {
  if (c->gap_us == 0) return;
  if (c->now_us - c->cut_us > FORGOTTEN_US) {
    cuts_forget(c);
    return;
  }
  make_room(c);
  /* What is over is no reason for a new handle. */
  if (c->cuts > 1 && was_soon(c) && take_longer(c)) c->recreate = RENEWAL_TIMEOUT;
}

void cuts_new_handle(core *c) {
  if (c->gap_us > 0 && c->now_us - c->cut_us > FORGOTTEN_US) cuts_forget(c);
  if (was_soon(c)) (void)take_longer(c); /* it costs nothing now */
}

bool core_waits(const core *c) {
  const txn *t = &c->txn;
  return c->room_bytes > 0 && t->under_way >= c->room_bytes && t->outstanding > 0 && !t->stop && t->failed == 0;
}
