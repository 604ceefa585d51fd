/* How long it usually takes from one kind of event to the next: learned from what a store holds. Pure: knows
 * records, not stores. A span is counted in classes of about 3 %; counts and maxima are exact. */
#ifndef TOOLS_HOPS_H
#define TOOLS_HOPS_H

#include "text.h"

enum { HOP_CLASSES = 64 * 32 };

typedef struct hop {
  char *from, *to; /* event types; of an answer: its question's stem, and NULL */
  uint64_t count;
  int64_t max_us;
  uint64_t open;   /* of questions: how many were asked in all */
  uint32_t *classes;
} hop;

/* The span that `percent` of them do not exceed. 0 when there are none. */
int64_t hop_percentile(const hop *h, double percent);
/* The same of all but one of `but_us`, which is to be judged and must not be its own measure. */
int64_t hop_percentile_but(const hop *h, double percent, int64_t but_us);

typedef struct hops hops;
hops *hops_new(void);
void hops_free(hops *h); /* accepts NULL */

/* The next event, ascending by seq. `skip` (may be empty): a correlation that is left out, for it is to be
 * judged. */
void hops_learn(hops *h, const sl_record *r, sl_slice skip);

/* Who followed whom under one correlation; the most frequent first. Nothing is learned afterwards. */
const hop *hops_follows(hops *h, size_t *count);
/* From the cause to its effect. NULL: not known. */
const hop *hops_causes(const hops *h, sl_slice from, sl_slice to);
/* From the question to its answer, by their names (see question_stem). NULL: not known. */
const hop *hops_answers(const hops *h, sl_slice stem);

/* Is an event of this type a question or an answer by its name? The stem, the same for both, is added to `stem`:
 * INTELLIGENCE_REQUESTED and INTELLIGENCE_RECEIVED, agent.routing.started.v1 and agent.routing.failed.v1. */
typedef enum role { ROLE_NONE, ROLE_QUESTION, ROLE_ANSWER } role;
role question_stem(sl_slice type, text *stem);

int64_t record_time(const sl_record *r); /* when it occurred, or else was appended */
#endif
