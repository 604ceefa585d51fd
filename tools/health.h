/* Is everything all right? The judgement behind `sidelog status`, and its words. Pure. */
#ifndef TOOLS_HEALTH_H
#define TOOLS_HEALTH_H

#include "agent_word.h"
#include "text.h"

/* Everything that is looked at. */
typedef struct look {
  int64_t now_us;
  sl_stats stats;
  bool alive;               /* an agent holds the store */
  int64_t pid, since_us;
  agent_word word;
  int64_t newest_dead_us;   /* 0: none */
  text newest_dead;         /* "MSG_SIZE_TOO_LARGE on orders.v1", safe */
  uint64_t readers, reader_letters, reader_missed; /* local readers, and of all of them */
  uint64_t reader_lag;      /* of the one that is furthest behind, */
  char reader_name[129];    /* which is this one */
  bool readers_wrong;       /* the law of one does not hold, or it is damaged */
} look;

typedef enum trouble {
  TROUBLE_LAW,
  TROUBLE_PARKED,
  TROUBLE_NO_AGENT,
  TROUBLE_SILENT,
  TROUBLE_BROKER,
  TROUBLE_LANES,
  TROUBLE_DISK,
  TROUBLE_READERS,
  TROUBLE_COUNT
} trouble;

enum {
  HEALTH_GRACE_US = 10000000, /* an agent may take so long to connect or to speak before that is a trouble */
  HEALTH_DISK_PERCENT = 90 /* used of the quota */
};

/* Bits of `trouble`; 0: all well. */
uint32_t health_judge(const look *l);
const char *trouble_name(trouble t); /* stable, for --json: "no-agent" */
const char *trouble_words(trouble t); /* for people: "no agent runs while events are pending" */
/* Seconds until the quota is full at the rate of late; -1: unknown. */
double health_seconds_left(const look *l);

/* The lines behind their labels, safe for a terminal. */
void health_agent(text *out, const look *l);
void health_broker(text *out, const look *l, bool unicode);
void health_backlog(text *out, const look *l);
void health_dead(text *out, const look *l);
void health_disk(text *out, const look *l);
void health_readers(text *out, const look *l);
#endif
