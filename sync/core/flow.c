/* The limit of what goes to the brokers: a bucket for bytes and one for events, each filled at its rate and
 * holding one second's worth. A transaction begins when both are half full, so that a limited link carries two
 * transactions a second and not one for each event; it takes what they hold, or a single event that is larger,
 * whose debt the next one waits for. What an aborted one sent has crossed the link, too, and is not given back. */
#include "core/inner.h"

static void fill_bucket(double *level, int64_t rate, int64_t elapsed_us) {
  *level += (double)rate * (double)elapsed_us / 1e6;
  if (*level > (double)rate) *level = (double)rate;
}

static void earliest(int64_t *wait_us, double level, int64_t rate) {
  const double missing = (double)rate / 2 - level;
  if (rate == 0 || missing <= 0) return;
  const int64_t us = (int64_t)(missing * 1e6 / (double)rate) + 1;
  if (us > *wait_us) *wait_us = us;
}

int64_t flow_wait_us(core *c) {
  flow *f = &c->flow;
  int64_t wait_us = c->closed_us;
  const int64_t elapsed = f->at_us ? c->now_us - f->at_us : 1000000; /* full at the start */
  f->at_us = c->now_us;
  fill_bucket(&f->bytes, c->config.flow_bytes_per_s, elapsed);
  fill_bucket(&f->events, c->config.flow_events_per_s, elapsed);
  earliest(&wait_us, f->bytes, c->config.flow_bytes_per_s);
  earliest(&wait_us, f->events, c->config.flow_events_per_s);
  return wait_us;
}

bool flow_has_room(const core *c, size_t size) {
  return (c->config.flow_bytes_per_s == 0 || c->flow.bytes >= (double)size) &&
         (c->config.flow_events_per_s == 0 || c->flow.events >= 1);
}

void flow_take(core *c, size_t size, int sign) {
  if (c->config.flow_bytes_per_s) c->flow.bytes -= sign * (double)size;
  if (c->config.flow_events_per_s) c->flow.events -= sign;
}
