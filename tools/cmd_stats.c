/* stats: the books of the store. The steps between events (--hops) are in stats_hops.c. */
#include "tool.h"

#include "law.h"
#include "sources.h"
#include "when.h"

#include <inttypes.h>

static void to_json(tool *t, const sl_stats *s) {
  json *j = json_new(&t->out);
  json_open(j);
  json_words(j, "store_id", sl_store_id(t->store));
  json_u64(j, "appended", s->appended);
  json_u64(j, "delivered", s->delivered);
  json_u64(j, "duplicates", s->duplicates);
  json_u64(j, "dead", s->dead);
  json_u64(j, "dropped", s->dropped);
  json_u64(j, "dropped_full", s->dropped_full);
  json_u64(j, "pending", s->pending);
  json_bool(j, "balanced", s->balanced);
  json_u64(j, "first_seq", s->first_seq);
  json_u64(j, "last_seq", s->last_seq);
  json_u64(j, "kept", s->kept);
  json_u64(j, "trimmed", s->trimmed);
  json_u64(j, "delivery_seq", s->delivery_seq);
  json_u64(j, "indexed_seq", s->indexed_seq);
  json_u64(j, "without_correlation", s->without_correlation);
  json_u64(j, "lanes", s->lanes);
  if (s->oldest_pending_us)
    json_time(j, "oldest_pending_at", s->oldest_pending_us);
  else
    json_null(j, "oldest_pending_at");
  if (s->newest_us)
    json_time(j, "newest_at", s->newest_us);
  else
    json_null(j, "newest_at");
  json_u64(j, "bytes_used", s->bytes_used);
  json_u64(j, "bytes_quota", s->bytes_quota);
  json_u64(j, "bytes_on_disk", s->bytes_on_disk);
  json_u64(j, "bytes_free", s->bytes_free);
  json_u64(j, "bytes_reserved", s->bytes_reserved);
  json_u64(j, "bytes_per_s", s->bytes_per_s);
  if (s->full_in_us >= 0)
    json_u64(j, "seconds_until_full", (uint64_t)(s->full_in_us / 1000000));
  else
    json_null(j, "seconds_until_full");
  json_u64(j, "readers", s->readers);
  json_u64(j, "reader_lag", s->reader_lag);
  json_close(j);
  json_free(j);
}

enum { LABEL = 14, COUNT = 15 };

static void row(tool *t, const char *name, uint64_t n, const char *more) {
  text words = {0};
  text_count(&words, n);
  out_cell(&t->out, STYLE_DIM, name, LABEL, false);
  out_cell(&t->out, STYLE_PLAIN, text_str(&words), COUNT, true);
  out_puts(&t->out, *more ? "   " : "");
  out_wrapped(&t->out, more, LABEL + COUNT + 3, true);
  text_free(&words);
}

static void to_people(tool *t, const sl_stats *s) {
  text words = {0};
  row(t, "appended", s->appended, "");
  row(t, "delivered", s->delivered, "");
  row(t, "duplicates", s->duplicates, s->duplicates ? "same event id in the same topic: not sent again" : "");
  row(t, "dead", s->dead, s->dead ? "-> sidelog dlq list" : "");
  text_clear(&words);
  if (s->dropped_full) {
    text_count(&words, s->dropped_full);
    text_puts(&words, " undelivered, by a full store  -> sidelog full");
  }
  row(t, "dropped", s->dropped, text_str(&words));
  text_clear(&words);
  if (s->oldest_pending_us) {
    text_puts(&words, "oldest appended ");
    text_ago(&words, t->now_us - s->oldest_pending_us);
  }
  row(t, "pending", s->pending, text_str(&words));
  text_clear(&words);
  out_cell(&t->out, STYLE_DIM, "law", LABEL, false);
  law_words(&words, s);
  const char *verdict = s->balanced ? "holds" : "DOES NOT HOLD";
  const int wide = LABEL + text_width(text_str(&words)) + 2 + text_width(verdict);
  if (t->out.term.width && wide > t->out.term.width) {
    out_wrapped(&t->out, text_str(&words), LABEL, true);
    out_blanks(&t->out, LABEL);
  } else {
    out_printf(&t->out, "%s  ", text_str(&words));
  }
  out_styled(&t->out, s->balanced ? STYLE_GREEN : STYLE_RED, verdict);
  out_puts(&t->out, "\n\n");
  text_clear(&words);
  if (s->kept)
    text_printf(&words, "seq %" PRIu64 " to %" PRIu64, s->first_seq, s->last_seq);
  row(t, "kept", s->kept, text_str(&words));
  row(t, "trimmed", s->trimmed, "");
  uint64_t behind = s->last_seq > s->indexed_seq ? s->last_seq - s->indexed_seq : 0;
  text_clear(&words);
  if (behind) {
    text_count(&words, behind);
    text_puts(&words, " behind; queries scan those");
  }
  row(t, "indexed to", s->indexed_seq, text_str(&words));
  row(t, "uncorrelated", s->without_correlation, behind ? "of those indexed" : "");
  if (s->lanes)
    row(t, "lanes", s->lanes, "topics that wait apart, see `sidelog status`");
  out_cell(&t->out, STYLE_DIM, "size", LABEL, false);
  text_clear(&words);
  text_bytes(&words, s->bytes_used);
  if (s->bytes_quota) {
    text_puts(&words, " of ");
    text_bytes(&words, s->bytes_quota);
  }
  text_puts(&words, " used, ");
  text_bytes(&words, s->bytes_on_disk);
  text_puts(&words, " on disk");
  out_wrapped(&t->out, text_str(&words), LABEL, true);
  out_cell(&t->out, STYLE_DIM, "space", LABEL, false);
  text_clear(&words);
  text_bytes(&words, s->bytes_free);
  text_puts(&words, " of the log's file free, ");
  text_bytes(&words, s->bytes_reserved);
  text_puts(&words, " reserved");
  if (s->bytes_per_s) {
    text_puts(&words, ", ");
    text_bytes(&words, s->bytes_per_s);
    text_puts(&words, "/s of late, ");
    text_full_in(&words, s->full_in_us);
  }
  out_wrapped(&t->out, text_str(&words), LABEL, true);
  text_free(&words);
}

int run_stats(tool *t) {
  sl_stats stats;
  if (option_has(&t->given, OPT_HOPS))
    return run_stats_hops(t);
  if ((option_has(&t->given, OPT_SINCE) || option_has(&t->given, OPT_UNTIL) ||
                                   option_has(&t->given, OPT_LIMIT) || option_has(&t->given, OPT_NO_SKEW)))
    return tool_fail(t, EXIT_USAGE, "stats is of the whole store: --since, --until and -n go with --hops");
  if (!t->store)
    return tool_fail(t, EXIT_USAGE, "stats is of one store%s",
                     many(t) ? ": several go with --hops" : ", not of a bundle");
  sl_status st = sl_stats_get(t->store, &stats);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot read the books");
  if (t->json)
    to_json(t, &stats);
  else
    to_people(t, &stats);
  if (!stats.balanced)
    return tool_fail(t, EXIT_WRONG, "the books of %s do not balance; `sidelog verify` says more", t->path);
  return EXIT_DONE;
}
