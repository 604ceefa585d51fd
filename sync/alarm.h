/* Which dead-letter topics grow so fast that somebody should know: ends of partitions come in, alerts go out.
 * Pure; time is an argument.
 *
 * Counted are offsets, so everything that a producer leaves in a partition: records, and of a transactional
 * producer one more for each transaction. What was there when a topic is first seen is old and counts not; a
 * topic that appears after a whole list was seen without it is new with all that it holds. */
#ifndef SYNC_ALARM_H
#define SYNC_ALARM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ALARM_TOPICS_MAX = 10000, ALARM_PARTITIONS_MAX = 10000 }; /* more are not watched */

typedef struct alarm_topic {
  char *name;
  int64_t *ends;       /* by partition; -1: not seen yet */
  int32_t partitions;
  uint64_t fresh;      /* since the last alert, or since it was first seen */
  int64_t since_us;    /* when that was */
  bool told;           /* it has had an alert */
} alarm_topic;

/* Zeroed is empty. */
typedef struct alarms {
  alarm_topic *topics; /* by name */
  size_t count;
  bool listed;         /* what comes from now on is new */
  uint64_t fresh;      /* ever, of all topics */
} alarms;

/* One end offset of a look; `partitions` is how many the topic has. False: out of memory, or too many topics. */
bool alarms_end(alarms *a, const char *topic, int32_t partitions, int32_t partition, int64_t end, int64_t now_us);
/* The look that ends here saw every topic there is. */
void alarms_listed(alarms *a);
/* Other topics are watched from here on: those that are new to us need not be new. */
void alarms_relist(alarms *a);

typedef struct alert {
  const char *topic;   /* lives as long as the alarms */
  uint64_t fresh;
  int64_t span_us;     /* in which they came */
} alert;
/* The next topic with at least `threshold` new ones whose last alert is `cooldown_us` old. It has been told then;
 * false: there is none. */
bool alarms_next(alarms *a, uint64_t threshold, int64_t cooldown_us, int64_t now_us, alert *out);
void alarms_free(alarms *a); /* leaves it empty */
#endif
