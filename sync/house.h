/* Keeps house, on a worker: removes what its retention has let go, and looks how full the store is, for the report
 * and for lanes, which may keep only a share of it (EVENT_LANES). Every half minute; sooner while the store nears
 * its quota, and at once while there is more to remove. */
#ifndef SYNC_HOUSE_H
#define SYNC_HOUSE_H
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct agent;

typedef struct house_look {
  uint64_t lanes_full_to;   /* as in EVENT_LANES */
  uint64_t lanes_limit;     /* bytes that lanes may keep; 0: any */
  uint64_t bytes_per_event; /* of those kept; 0: none is */
} house_look;

typedef struct house {
  uv_timer_t timer;
  uv_work_t work;
  bool busy;           /* the worker runs. It reads the settings, too */
  house_look seen;     /* by the last look */
  /* The worker's while it runs. */
  bool again, near;    /* there is more to remove; the quota is near */
  house_look look;
  uint64_t told_drops; /* drops of a full store that have had their line */
} house;

void house_init(struct agent *a);  /* on the agent's loop; what the store dropped before now is not told again */
void house_start(struct agent *a);
#endif
