/* How large the next transaction is, and how long it may take, by what the last ones took. A transaction takes a
 * fixed time for its round trips, and the rest for what it carries. */
#include "core/inner.h"

#define GROWTH_MOST 16      /* what a small transaction took says little of a large one */
#define ROUND_TRIPS 5       /* its partitions, its last batch, the marker's partition, the marker, the end */
#define CLAIM_ROUND_TRIPS 3 /* the last three of them */
#define SHARE 20            /* a transaction may take so many times what its round trips do */
#define NEAR_US 2000        /* a round trip; so near, TARGET_NEAR mostly goes within a third of the timeout */
#define QUICK 20            /* so many quick ones in a row say that a longer timeout is not wanted any more */

int64_t pace_timeout_most(const core_config *config) {
  return config->txn_timeout_max_us > config->txn_timeout_us ? config->txn_timeout_max_us : config->txn_timeout_us;
}

int64_t pace_timeout(const core_config *config, int64_t wish_us) {
  const int64_t least = config->txn_timeout_us, most = pace_timeout_most(config);
  return wish_us < least ? least : wish_us < most ? wish_us : most;
}

/* Where round trips alone take what a transaction may, it stays small, and the link is idle most of the time (over
 * 128 kB/s with 2 s there and back it carried 0.19 of what it could). Then it may take longer, and hold more. */
static bool longer(core *c, uint64_t bytes) {
  const int64_t next = pace_timeout(&c->config, c->fixed_us * SHARE);
  const uint64_t times = (uint64_t)(next / c->timeout_us), max = (uint64_t)c->config.txn_max_bytes;
  if (c->timeout_refused || times < 2) return false;
  c->target_bytes = bytes < max / times ? bytes * times : max;
  c->timeout_us = next;
  c->recreate = RENEWAL_TIMEOUT;
  return true;
}

/* A link that was slow, or far, is so no more: the host moved. A crash would hold back readers for all of the time
 * that is allowed. The size, too, was learned there. */
static void shorter(core *c, int64_t next_us) {
  const uint64_t less = c->target_bytes / (uint64_t)(c->timeout_us / next_us);
  if (less >= TARGET_START) c->target_bytes = less;
  else if (c->target_bytes > TARGET_START) c->target_bytes = TARGET_START;
  c->timeout_us = next_us;
  c->kept_long = false;
  c->quick = 0;
  cuts_forget(c);
  c->recreate = RENEWAL_TIMEOUT;
}

void pace_connected(core *c, int64_t round_trip_us) {
  const int64_t fixed_us = round_trip_us * ROUND_TRIPS, least = c->config.txn_timeout_us;
  const bool first = c->connected_us == 0;
  if (round_trip_us > 0) c->round_trip_us = round_trip_us;
  c->connected_us = c->now_us;
  /* Only before anything is known: where it was too much, the sizes tried next are not to be raised again. */
  if (first && c->config.txn_start_bytes == 0 && round_trip_us > 0 && round_trip_us <= NEAR_US) {
    const uint64_t max = (uint64_t)c->config.txn_max_bytes;
    c->target_bytes = max < TARGET_NEAR ? max : TARGET_NEAR;
  }
  if (!c->config.exactly_once) return;
  /* In between, either is good: a handle that sees a little more than the last must not undo what that one did. */
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

void pace_timeout_refused(core *c) {
  const int64_t good_us = c->timeout_accepted_us > 0 ? c->timeout_accepted_us : c->config.txn_timeout_us;
  if (c->timeout_us <= good_us) { /* the same was taken before, or was never raised: it is not that */
    c->timeout_us = c->config.txn_timeout_us;
    return;
  }
  c->timeout_refused = true;
  c->timeout_us = good_us;
  if (good_us == c->config.txn_timeout_us) c->kept_long = false;
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
  cuts_learn(c);
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
