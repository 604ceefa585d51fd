/* What the agent last said of itself (docs/agent.md), as far as `status` needs it. A member that is missing,
 * or of another type than expected, counts as not said: an agent of another version must not break the look.
 * Pure. */
#ifndef TOOLS_AGENT_WORD_H
#define TOOLS_AGENT_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum agent_state {
  AGENT_UNKNOWN = 0,
  AGENT_STARTING,
  AGENT_CONNECTING,
  AGENT_RUNNING,
  AGENT_DRAINING,
  AGENT_BACKOFF,
  AGENT_PARKED,
  AGENT_STOPPING,
  AGENT_STOPPED
} agent_state;

#define AGENT_LANES_SHOWN 8

typedef struct agent_lane { /* a topic that cannot be written and waits apart */
  char topic[256], code[64], text[256]; /* "": not said */
  int64_t oldest_us;       /* append of its first event; 0: not said */
  int64_t kept_bytes;      /* of the log, for its sake */
} agent_lane;

typedef struct agent_word {
  bool held;               /* by the settings of flow, until next_try_us */
  bool said;               /* false: there is no report, or it is no JSON object */
  agent_state state;
  int64_t state_since_us, written_us, last_commit_us, next_try_us, unreachable_since_us,
      pid; /* 0: not said */
  int64_t brokers_up, brokers_total;
  char brokers[256], broker[256], error_text[512], error_code[64]; /* "": not said */
  char parked_text[512], parked_remedy[512];
  size_t lane_count;       /* in `lanes`: the first AGENT_LANES_SHOWN */
  agent_lane lanes[AGENT_LANES_SHOWN];
} agent_word;

void agent_word_read(agent_word *word, const char *json);
const char *agent_state_text(agent_state state);
#endif
