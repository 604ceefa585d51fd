/* Lives of a child process in which the Nth write, flush or allocation goes wrong, or which is killed there, for
 * every N until a life has no more: what the fault programs share. After each life the parent judges what is
 * left. */
#ifndef SL_TESTS_LIVES_H
#define SL_TESTS_LIVES_H
#include "faults.h"
#include "sidelog/sidelog.h"

#include <stddef.h>

extern char path[4200]; /* of the store, in a folder of the program's own */
extern char what[128];  /* what it is at, for MUST */

/* Makes the folder, in memory where there is room: what a flush costs plays no part here. False: it cannot. */
bool lives_begin(const char *name);
/* Removes the store and the folder. Returns 0, for main. */
int lives_end(void);
bool lives_long(void); /* SIDELOG_LONG=1 */

typedef struct life_plan {
  void (*make)(void); /* the store, before each life; NULL: the child makes it */
  /* In the child. It returns when it has come to its end; what went wrong beside the fault it tells by
   * _exit(3). */
  void (*live)(void);
  /* In the parent, by what the child said (life_say). */
  void (*judge)(const char *said, bool killed);
  long dense, part; /* without SIDELOG_LONG=1: from the dense-th fault on N grows by a part of itself; 0: never */
} life_plan;

/* Every kind in turn; `only` chooses one by its number (NULL: all), and where to begin: "7:2000". Ends the program where
 * something does not hold. */
void lives_run(const life_plan *plan, const fault_kind *kinds, size_t count, const char *only);
/* All of them. */
void lives_run_all(const life_plan *plan, const char *only);

/* --- in the child --- */

void life_arm(void); /* from here on faults are counted */
fault_kind life_kind(void);
/* A line for the parent: a word and two numbers. */
void life_say(const char *word, uint64_t a, uint64_t b);
/* A call failed for good. Where the fault lasts, and the status says what it was, that ends the life well. */
void life_give_up(const char *call, sl_status status);

/* Runs a call until it works: one fault must not stop a second try; one that lasts ends the life. `good` is
 * another status that is as good after a first try. */
#define LIFE_TRIES 4
#define TRY_OR(call, good)                                                                     \
  do {                                                                                         \
    sl_status status_ = SL_OK;                                                                 \
    for (int try_ = 0; try_ < LIFE_TRIES && (status_ = (call)) != SL_OK; try_++) {             \
      if (status_ == (good) && fault_struck()) status_ = SL_OK;                                \
      if (status_ == SL_OK) break;                                                             \
      if (!fault_struck()) life_give_up(#call, status_);                                       \
    }                                                                                          \
    if (status_ != SL_OK) life_give_up(#call, status_);                                        \
  } while (0)
#define TRY(call) TRY_OR(call, SL_OK)
#endif
