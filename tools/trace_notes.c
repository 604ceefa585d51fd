#include "trace_notes.h"

#include "skew.h"
#include "sources.h"

#include <inttypes.h>
#include <stdlib.h>

/* Where is a cause that is not in this trace? */
static char *cause_note(tool *t, const trace_node *n) {
  char cause[SL_ID_MAX] = "";
  event_ids(t, n->source, n->seq, NULL, NULL, cause);
  sl_query query = {.event_id = slice_of(cause), .limit = 1};
  look *l = NULL;
  bool unicode = t->out.term.unicode;
  text words = {0};
  const sl_record *r;
  sl_status st = look_start(t, &query, &l);
  st = st == SL_OK ? look_next(l, &r) : st;
  if (st == SL_OK) {
    text_puts(&words, "caused by ");
    place_words(&words, t, look_source(l), r->seq);
    text_puts(&words, r->correlation_id.len ? " of correlation " : " of no correlation");
    text_add_safe(&words, r->correlation_id, unicode);
  } else {
    text_puts(&words, "its cause ");
    text_add_safe(&words, slice_of(cause), unicode);
    text_printf(&words, st == SL_E_CORRUPT ? " cannot be read %s" : " is not %s", sources_here(t));
  }
  look_close(l);
  return words.data;
}

/* Of two clocks: too little to tell, since the time may have been cut. */
static bool may_be_cut(const tool *t, const trace_node *n, const trace_node *cause) {
  return n->source != cause->source &&
         cause->at_us - n->at_us < time_precision(n->at_us + t->sources[n->source].shift_us);
}

char *join_notes(char *note, char *more) {
  text both = {0};
  if (!note)
    return more;
  text_printf(&both, "%s, %s", note, more);
  free(note);
  free(more);
  return both.data;
}

void trace_notes(tool *t, const trace_node *nodes, size_t count, trace_note_fn *note, void *arg) {
  enum { MOST_LOOKUPS = 200 };
  size_t looked = 0;
  for (size_t i = 0; i < count; i++) {
    const trace_node *n = &nodes[i];
    if (n->origin == TRACE_CYCLE) {
      note(arg, i, tool_copy("its causes form a circle", 24));
    } else if (n->origin == TRACE_ELSEWHERE && looked++ < MOST_LOOKUPS) {
      note(arg, i, cause_note(t, n));
    } else if (n->parent != TRACE_NONE && n->at_us < nodes[n->parent].at_us &&
               !may_be_cut(t, n, &nodes[n->parent])) {
      text words = {0};
      text_span(&words, nodes[n->parent].at_us - n->at_us);
      text_puts(&words, " before its cause: clocks differ");
      note(arg, i, words.data);
    }
  }
}
