/* The copies that replays made of dead letters, found from their originals. */
#include "dlq.h"

typedef struct looking {
  letter_fn *fn;
  void *arg;
  uint64_t origin;
} looking;

static void copies_only(void *arg, const sl_record *r) {
  const looking *l = arg;
  if (r->replay_of == l->origin)
    l->fn(l->arg, r);
}

void dlq_copies(tool *t, const sl_record *letter, letter_fn *fn, void *arg) {
  if (option_has(&t->given, OPT_READER)) /* a reader is handed the event itself again */
    return;
  looking l = {fn, arg, letter->seq};
  const sl_query query = {.event_id = letter->event_id, .topic = letter->topic, .first_seq = letter->seq + 1};
  (void)tool_each(t, &query, copies_only, &l, NULL);
}
