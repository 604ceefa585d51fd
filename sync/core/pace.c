/* How large the next transaction is, and how long it may take, by what the last ones took. A transaction takes a fixed
 * time for its round trips, and the rest for what it carries. */
#include "core/inner.h"

#define GROWTH_MOST 16      /* what a small transaction took says little of a large one */
#define ROUND_TRIPS 5       /* its partitions, its last batch, the marker's partition, the marker, the end */
#define CLAIM_ROUND_TRIPS 3 /* the last three of them */
#define SHARE 20            /* a transaction may take so many times what its round trips do */
#define QUICK 20            /* so many quick ones in a row say that a longer timeout is not wanted any more */

#define CUTS 3              /* so many, each soon after the one before, make a link that breaks */
#define CUT_SOON_US 60000000
#define CUT_TOGETHER_US 300000 /* each connection tells the same cut */
#define CUTS_FORGOTTEN_US 600000000
#define CUT_LONGER 4        /* a commit is what a cut costs most at: fewer of them */
#define PIECES_A_GAP 16     /* batches that cross between two cuts: half of one is lost with each */
#define PIECE_LEAST (32 << 10)
#define PIECE_MOST (512 << 10)

int64_t pace_timeout_most(const core_config *config) {
  return config->txn_timeout_max_us > config->txn_timeout_us ? config->txn_timeout_max_us : config->txn_timeout_us;
}

int64_t pace_timeout(const core_config *config, int64_t wish_us) {
  const int64_t least = config->txn_timeout_us, most = pace_timeout_most(config);
  return wish_us < least ? least : wish_us < most ? wish_us : most;
}

/* Where round trips alone take what a transaction may, it stays small, and the link is idle most of the time (over 128 kB/s
 * with 2 s there and back it carried 0.19 of what it could). Then it may take longer, and hold as much more. */
static bool longer(core *c, uint64_t bytes) {
  const int64_t next = pace_timeout(&c->config, c->fixed_us * SHARE);
  const uint64_t times = (uint64_t)(next / c->timeout_us), max = (uint64_t)c->config.txn_max_bytes;
  if (c->timeout_refused || times < 2) return false;
  c->target_bytes = bytes < max / times ? bytes * times : max;
  c->timeout_us = next;
  c->recreate = true;
  return true;
}

/* A link that was slow, or far, is so no more: the host moved. A crash would hold back readers for all of the time that is
 * allowed. The size, too, was learned there. */
static void shorter(core *c, int64_t next_us) {
  const uint64_t less = c->target_bytes / (uint64_t)(c->timeout_us / next_us);
  if (less >= TARGET_START) c->target_bytes = less;
  else if (c->target_bytes > TARGET_START) c->target_bytes = TARGET_START;
  c->timeout_us = next_us;
  c->kept_long = false;
  c->quick = c->cuts = 0;
  c->piece_bytes = 0;
  c->recreate = true;
}

void pace_cut(core *c) {
  if (!c->txn.open || c->txn.outstanding == 0 || c->txn.bytes <= PIECE_LEAST) return;
  if (c->cuts > 0 && c->now_us - c->cut_us < CUT_TOGETHER_US) return;
  if (c->cuts == 0 || c->now_us - c->cut_us > CUT_SOON_US) {
    c->cuts = 0;
    c->first_cut_us = c->now_us;
  }
  c->cuts++;
  c->cut_us = c->now_us;
  c->quick = 0;
}

static int32_t partitions_of(const txn *t) {
  int32_t most = 1;
  for (size_t i = 0; i < t->count; i++)
    if (t->slots[i].produced && t->slots[i].topic->partitions > most) most = t->slots[i].topic->partitions;
  return most;
}

/* What is under way when a connection ends goes again, whole batches of it: over 128 kB/s, cut every 2 to 5 s, batches of
 * a quarter of a megabyte crossed twice and more. Where a link is fast, whole ones cross in between, and nothing changes.
 * Not too small: librdkafka 2.0.2 lets an idempotent producer have one batch under way to each partition, and the link is
 * idle until its answer. With one partition the best is sqrt(2 x what crosses in a gap x what crosses in a round trip). */
static void break_up(core *c) {
  if (c->cuts < CUTS || c->now_us - c->cut_us > CUT_SOON_US) return; /* what is over is no reason for a new handle */
  const double gap_us = (double)(c->cut_us - c->first_cut_us) / (c->cuts - 1);
  const double a_gap = c->bytes_per_s * gap_us / 1e6, a_round_trip = c->bytes_per_s * (double)(c->fixed_us / ROUND_TRIPS) / 1e6;
  double piece = a_gap / PIECES_A_GAP;
  if (piece < PIECE_LEAST) piece = PIECE_LEAST;
  const double all = (double)partitions_of(&c->txn);
  while (piece * all * piece * all < 2 * a_gap * a_round_trip && piece < PIECE_MOST) piece *= 1.25;
  if (piece > PIECE_MOST || (c->piece_bytes > 0 && piece > (double)c->piece_bytes / 2)) return;
  c->piece_bytes = (int64_t)piece;
  c->recreate = true;
  const int64_t next = pace_timeout(&c->config, c->config.txn_timeout_us * CUT_LONGER);
  if (!c->config.exactly_once || c->timeout_refused || next <= c->timeout_us) return;
  c->timeout_us = next;
  c->kept_long = true;
}

void pace_cut_short(core *c) { break_up(c); }

void pace_new_handle(core *c) {
  if (c->piece_bytes > 0 && c->now_us - c->cut_us > CUTS_FORGOTTEN_US) c->piece_bytes = 0;
}

void pace_connected(core *c, int64_t round_trip_us) {
  const int64_t fixed_us = round_trip_us * ROUND_TRIPS, least = c->config.txn_timeout_us;
  if (!c->config.exactly_once) return;
  /* In between, either is good: a handle that sees a little more than the last one must not undo what that one did. */
  const int64_t wanted = fixed_us < least / 6   ? least
                         : fixed_us < least / 3 ? c->timeout_us
                                                : pace_timeout(&c->config, fixed_us * SHARE);
  if (round_trip_us > 0 && !c->kept_long && wanted <= c->timeout_us / 2) {
    c->fixed_us = fixed_us;
    shorter(c, wanted);
    return;
  }
  if (fixed_us < c->timeout_us / 3) return;
  /* Before anything is begun it costs the least. What was learned on another link says nothing of this one. */
  const int64_t before = c->fixed_us;
  c->fixed_us = fixed_us;
  if (!longer(c, TARGET_START)) c->fixed_us = before;
}

void pace_claimed(core *c) { c->fixed_us = (c->now_us - c->txn.begun_us) / CLAIM_ROUND_TRIPS * ROUND_TRIPS; }

void pace_learn(core *c) {
  const txn *t = &c->txn;
  if (t->produced == 0 || t->begun_us == 0) return;
  int64_t took = c->now_us - t->begun_us;
  if (took < 1) took = 1;
  const double rate = (double)t->bytes * 1e6 / (double)took;
  const double events = (double)t->produced * 1e6 / (double)took;
  c->bytes_per_s = c->bytes_per_s > 0 ? c->bytes_per_s * 0.7 + rate * 0.3 : rate;
  c->events_per_s = c->events_per_s > 0 ? c->events_per_s * 0.7 + events * 0.3 : events;
  c->timeouts = 0;
  break_up(c);
  if (c->fixed_us > took) c->fixed_us = took;
  const int64_t carrying = took - c->fixed_us > took / 4 ? took - c->fixed_us : took / 4 + 1;
  const int64_t good = c->timeout_us / 3, least = c->config.txn_timeout_us;
  const uint64_t max = (uint64_t)c->config.txn_max_bytes;
  c->quick = c->timeout_us >= least * 2 && took < least / 3 ? c->quick + 1 : 0;
  if (c->quick == QUICK) {
    shorter(c, least);
  } else if (took <= good) {
    if (!t->cut || t->bytes < c->target_bytes / 2) return;
    int64_t sixteenths = (good - (took - carrying)) * 16 / carrying; /* the next one, too, ends in time */
    sixteenths = sixteenths < 2 * 16 ? 2 * 16 : sixteenths < GROWTH_MOST * 16 ? sixteenths : GROWTH_MOST * 16;
    const uint64_t next = c->target_bytes * (uint64_t)sixteenths / 16;
    c->target_bytes = next < max ? next : max;
  } else if (t->cut && carrying <= took / 2) {
    (void)longer(c, c->target_bytes); /* fewer bytes would not be sooner there */
  } else if (took > good * 2) {
    c->target_bytes = c->target_bytes / 2 > TARGET_MIN ? c->target_bytes / 2 : TARGET_MIN;
  }
}
