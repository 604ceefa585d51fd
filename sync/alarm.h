/* Which dead-letter topics grow so fast that somebody should know: ends of partitions and counts of records come
 * in, places to be read and alerts go out. Pure; time is an argument.
 *
 * Offsets tell only that something is new: a transaction takes one more than its records, and those of an aborted
 * one are nobody's. So what lies between the place counted so far and the end is given out to be read
 * (alarms_unread), and the records found there are counted (alarms_read). What was there when a topic is first
 * seen is old; a topic that appears after a whole list was seen without it is new with all that it holds. Once a
 * topic has more than an alert wants the rest is passed over, and its count is "at least": that bounds what is
 * read, however much comes. */
#ifndef SYNC_ALARM_H
#define SYNC_ALARM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ALARM_TOPICS_MAX = 10000,
  ALARM_PARTITIONS_MAX = 10000, /* more are not watched */
  ALARM_COUNT_LEAST = 1000,     /* so many are counted exactly, and up to the threshold where that is more */
  ALARM_ERROR_MAX = 256
};

typedef struct alarm_part {
  int64_t counted;     /* every record below is; -1: not seen yet */
  int64_t end;
} alarm_part;

typedef struct alarm_topic {
  char *name;
  alarm_part *parts;
  int32_t partitions;
  uint64_t fresh;      /* since the last alert, or since it was first seen */
  bool more;           /* at least so many: others were passed over */
  int64_t since_us;    /* when that was */
  bool told;           /* it has had an alert */
  char error[ALARM_ERROR_MAX]; /* of the newest of them that says why it is dead; empty: none did */
} alarm_topic;

/* Zeroed is empty. */
typedef struct alarms {
  alarm_topic *topics; /* by name */
  size_t count;
  bool listed;         /* what comes from now on is new */
  size_t turn, left;   /* of the round: the topic to be read next, and how many more are */
  int32_t part;        /* of that topic, next */
  uint64_t fresh;      /* ever, of all topics */
  bool more;           /* at least so many */
} alarms;

/* One end offset of a look; `partitions` is how many the topic has. False: out of memory, or too many topics. */
bool alarms_end(alarms *a, const char *topic, int32_t partitions, int32_t partition, int64_t end, int64_t now_us);
/* The look that ends here saw every topic there is. */
void alarms_listed(alarms *a);
/* Other topics are watched from here on: those that are new to us need not be new. */
void alarms_relist(alarms *a);

typedef struct alarm_span { /* records to be counted: from `from` to below `to`, at most so many */
  const char *topic;   /* lives as long as the alarms */
  int32_t partition;
  int64_t from, to;
  uint64_t most;
} alarm_span;
/* Begins a round of reading: each part that has something unread comes once, the topics in turns, so that those
 * behind one that took all the time of the last round come first in this. */
void alarms_round(alarms *a);
/* The next of the round; false: there is none. Where a topic has more new ones than an alert of `threshold` wants,
 * the rest is passed over. */
bool alarms_unread(alarms *a, uint64_t threshold, alarm_span *out);
/* So many records were found in it below `reached`. */
void alarms_read(alarms *a, const alarm_span *span, int64_t reached, uint64_t records);
/* Why the newest letter of that topic is dead. */
void alarms_error(alarms *a, const alarm_span *span, const char *text);

typedef struct alert {
  const char *topic;   /* lives as long as the alarms */
  uint64_t fresh;
  bool more;           /* at least so many */
  int64_t span_us;     /* in which they came */
  char error[ALARM_ERROR_MAX]; /* why the newest of them is dead; empty: it does not say */
} alert;
/* The next topic with at least `threshold` new ones whose last alert is `cooldown_us` old. It has been told then;
 * false: there is none. */
bool alarms_next(alarms *a, uint64_t threshold, int64_t cooldown_us, int64_t now_us, alert *out);
void alarms_free(alarms *a); /* leaves it empty */
#endif
