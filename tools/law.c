#include "law.h"

#include <stdbool.h>

void law_words(text *out, const sl_stats *s) {
  const struct {
    uint64_t n;
    const char *name;
  } terms[] = {
      {s->delivered, "delivered"}, {s->duplicates, s->duplicates == 1 ? "duplicate" : "duplicates"},
      {s->dead, "dead"},           {s->dropped, "dropped"},
      {s->pending, "pending"},
  };
  bool first = true;
  text_count(out, s->appended);
  text_printf(out, " appended %s", s->balanced ? "=" : "!=");
  for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
    if (terms[i].n == 0)
      continue;
    text_puts(out, first ? " " : " + ");
    text_count(out, terms[i].n);
    text_printf(out, " %s", terms[i].name);
    first = false;
  }
  if (first)
    text_puts(out, " 0 delivered");
}
