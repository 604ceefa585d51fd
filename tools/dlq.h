/* Which dead letters `sidelog dlq` is about: delivery's, or with --reader those of a local reader. */
#ifndef TOOLS_DLQ_H
#define TOOLS_DLQ_H

#include "tool.h"

#include <sidelog/reader.h>

typedef void letter_fn(void *arg, const sl_record *r);

/* The letters that options and conditions name, or EVENT: a seq or an event id; NULL: any. EXIT_NOTHING: none.
 * A record of a reader's letter tells that reader's failures: for it the event is dead, whatever became of it
 * on Kafka. */
int dlq_each(tool *t, const char *event, letter_fn *fn, void *arg);
/* The same of EVENT alone, also where it is dead no more: a replay has brought it home, or a person has dropped
 * it. Its record then tells how it died all the same. */
int dlq_one(tool *t, const char *event, letter_fn *fn, void *arg);
/* How often the reader's letter, told of last by dlq_each, was sent again. 0 for delivery's. */
uint32_t dlq_replays(const tool *t, uint64_t seq);
/* The copies that replays made of delivery's letter, oldest first. */
void dlq_copies(tool *t, const sl_record *letter, letter_fn *fn, void *arg);
int dlq_show(tool *t, const char *event);
int dlq_audit(tool *t, const char *event);
#endif
