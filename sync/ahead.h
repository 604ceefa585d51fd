/* On a long way each answer counts: the topics of the events that wait are looked up while the marker is read, which is
 * done by other connections. Nothing is created, and nobody is told: what was learned answers the first OP_TOPIC. */
#ifndef SYNC_AHEAD_H
#define SYNC_AHEAD_H
#include "agent.h"

/* [worker] ahead_start begins it on a thread of its own, unless brokers are near or no event waits; ahead_end waits for it,
 * before the handle may be used otherwise. */
void ahead_start(agent *a, kafka *k, int timeout_ms);
void ahead_end(agent *a);
/* [worker] The answers to a->asks, where all of them are known; *age_us: how long they have been. Once: they are forgotten. */
bool ahead_take(agent *a, size_t count, int64_t *age_us);
/* With the handle, or with the agent. */
void ahead_forget(agent *a);
#endif
