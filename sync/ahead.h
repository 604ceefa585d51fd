/* On a long way each answer counts: the topics of the events that wait are looked up while the marker is read,
 * which is done by other connections. Nothing is created, nobody is told: it answers the first OP_TOPIC. */
#ifndef SYNC_AHEAD_H
#define SYNC_AHEAD_H
#include "agent.h"

/* [worker] ahead_start begins it on a thread of its own, unless brokers are near or no event waits; ahead_end
 * waits for it, before the handle may be used otherwise. */
void ahead_start(agent *a, kafka *k, int timeout_ms);
void ahead_end(agent *a);
/* [worker] The answers to a->asks, where all are known; *age_us: for how long. Once: they are forgotten then. */
bool ahead_take(agent *a, size_t count, int64_t *age_us);
/* With the handle, or with the agent. */
void ahead_forget(agent *a);
#endif
