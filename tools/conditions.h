/* The conditions that stand as arguments of query, tail and export: what the store can look up becomes part of the
 * query, the rest is looked at event by event. */
#ifndef TOOLS_CONDITIONS_H
#define TOOLS_CONDITIONS_H

#include "sources.h"

/* Takes every argument as a condition, into t->conditions and `query`. 0 or an exit status, after saying why. */
int conditions_take(tool *t, sl_query *query, query_ids *ids);
/* Adds those of t->conditions that the query does not have to an iterator, or a look. */
sl_status conditions_apply(tool *t, sl_iter *iter);
sl_status conditions_apply_to(tool *t, look *l);
/* SL_FILTER_*: what is to be read so that all conditions, the query's own too, are decided. */
uint32_t conditions_need(const tool *t, const sl_query *query);
void conditions_free(tool *t);

/* Nothing was found: says why on stderr, as far as a look at the store tells. Returns EXIT_NOTHING. */
int conditions_explain(tool *t, const sl_query *query);
#endif
