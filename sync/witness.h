/* May the newest marker on the broker be believed where a transaction's outcome is in doubt? It may say "not
 * committed" only because the newest markers are lost (a leader that was not in sync, a disk that was replaced):
 * then events that have arrived would be sent again. docs/delivery.md, "Why it is exactly once". */
#ifndef SYNC_WITNESS_H
#define SYNC_WITNESS_H
#include "delivery/delivery.h"
#include "kafka/kafka.h"

/* What kafka_read_marker shall look for: the marker of the intent. */
kafka_sought witness_sought(const delivery_state *book);

/* [worker] Success: it may (also where nothing is in doubt, and a marker of a later attempt). Else
 *   MARKER_BEHIND, SCOPE_CONNECTION    the partition ends before the place that the intent's marker had
 *   MARKER_LOST, SCOPE_CLUSTER         something else lies there now; or nothing does, and events of it arrived
 *   MARKER_UNPROVEN, SCOPE_CONNECTION  nothing does, and nobody answers for the events
 * Where their topics may not be read, or are there no more, a place without a record counts as cleaned by
 * compaction, and the marker is believed. Of the options only brokers and properties count. */
fault witness_of_marker(sl_store *store, const delivery_state *book, const kafka_options *options,
                        const char *topic, const kafka_marker *marker);
#endif
