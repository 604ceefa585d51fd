/* Was a topic deleted and created again while no agent ran? Then it ends before places that receipts name. */
#ifndef SYNC_PLACES_H
#define SYNC_PLACES_H
#include "agent.h"

/* [worker] Of the topics of the OP_TOPIC under way that are new to this agent's life (a->fresh) and could be
 * prepared: compares the receipts of the newest events with where the partitions end, and tells what it found in
 * a->topics. Where the broker does not say it, nothing is told: it is no reason to keep events waiting. */
void places_look(agent *a, kafka *k, size_t count, int timeout_ms);
#endif
