#include "trace_notes.h"

#include <inttypes.h>

/* Where is a cause that is not in this trace? */
static char *cause_note(tool *t, sl_slice cause) {
  sl_query query = {.event_id = cause, .limit = 1};
  sl_iter *iter = NULL;
  const sl_record *r;
  bool unicode = t->out.term.unicode;
  text words = {0};
  sl_status st = sl_iter_start(t->store, &query, &iter);
  if (st == SL_OK && sl_iter_next(iter, &r) == SL_OK) {
    text_printf(&words, "caused by seq %" PRIu64 " of ", r->seq);
    text_puts(&words, r->correlation_id.len ? "correlation " : "no correlation");
    text_add_safe(&words, r->correlation_id, unicode);
  } else {
    text_puts(&words, "its cause ");
    text_add_safe(&words, cause, unicode);
    text_puts(&words, " is not in this store");
  }
  sl_iter_close(iter);
  return words.data;
}

void trace_notes(tool *t, const trace_node *nodes, trace_row *rows, size_t count) {
  enum { MOST_LOOKUPS = 200 };
  size_t looked = 0;
  for (size_t i = 0; i < count; i++) {
    const trace_node *n = &nodes[i];
    if (n->origin == TRACE_CYCLE)
      rows[i].note = tool_copy("its causes form a circle", 24);
    else if (n->origin == TRACE_ELSEWHERE && looked++ < MOST_LOOKUPS)
      rows[i].note = cause_note(t, n->causation_id);
    else if (n->parent != TRACE_NONE && n->at_us < nodes[n->parent].at_us) {
      text words = {0};
      text_span(&words, nodes[n->parent].at_us - n->at_us);
      text_puts(&words, " before its cause: clocks differ");
      rows[i].note = words.data;
    }
  }
}
