/* repair: the damaged store is read page by page and never mapped, so no second process is needed, as verify needs
 * one. */
#include "tool.h"

#include <inttypes.h>
#include <string.h>

typedef struct findings {
  tool *t;
  json *json;
} findings;

static bool is_loss(sl_repair_kind kind) { return kind != SL_REPAIR_RECOVERED; }

static void finding(void *arg, sl_repair_kind kind, uint64_t first, uint64_t last, const char *words) {
  findings *f = arg;
  if (f->json) {
    json_open(f->json);
    json_words(f->json, "finding", sl_repair_kind_text(kind));
    if (first) {
      json_u64(f->json, "first_seq", first);
      json_u64(f->json, "last_seq", last);
    }
    json_words(f->json, "text", words);
    json_close(f->json);
    return;
  }
  text where = {0};
  if (first && first == last)
    text_printf(&where, "event %" PRIu64 ": ", first);
  else if (first)
    text_printf(&where, "events %" PRIu64 " to %" PRIu64 ": ", first, last);
  out_cell(&f->t->out, is_loss(kind) ? STYLE_RED : STYLE_DIM, sl_repair_kind_text(kind), 14, false);
  out_safe(&f->t->out, STYLE_PLAIN, slice_of(text_str(&where)));
  out_safe(&f->t->out, STYLE_PLAIN, slice_of(words));
  out_puts(&f->t->out, "\n");
  text_free(&where);
}

static void print_json(findings *f, const sl_repair_report *r, const char *into) {
  json_open(f->json);
  json_words(f->json, "into", into);
  json_u64(f->json, "events", r->events);
  json_u64(f->json, "recovered", r->recovered);
  json_u64(f->json, "lost_pending", r->lost_pending);
  json_u64(f->json, "lost_settled", r->lost_settled);
  json_u64(f->json, "receipts_lost", r->receipts_lost);
  json_u64(f->json, "first_seq", r->first_seq);
  json_u64(f->json, "last_seq", r->last_seq);
  json_bool(f->json, "delivery_kept", r->delivery_kept != 0);
  json_bool(f->json, "end_unknown", r->end_unknown != 0);
  json_u64(f->json, "findings", r->findings);
  json_close(f->json);
}

static void row(tool *t, const char *name, uint64_t n, bool bad) {
  text words = {0};
  text_count(&words, n);
  out_cell(&t->out, STYLE_DIM, name, 22, false);
  out_cell(&t->out, bad && n ? STYLE_RED : STYLE_PLAIN, text_str(&words), 13, true);
  out_puts(&t->out, "\n");
  text_free(&words);
}

static void print_text(tool *t, const sl_repair_report *r, const char *into) {
  row(t, "events kept", r->events, false);
  row(t, "  recovered", r->recovered, false);
  row(t, "lost, were pending", r->lost_pending, true);
  row(t, "lost, were settled", r->lost_settled, true);
  row(t, "receipts lost", r->receipts_lost, true);
  if (r->end_unknown)
    out_styled(&t->out, STYLE_RED, "events may have followed the last one: how many cannot be told\n");
  out_styled(&t->out, STYLE_GREEN, "repaired");
  out_printf(&t->out, " into %s, seqs %" PRIu64 " to %" PRIu64 ", verified; the delivery state was %s\n", into,
             r->first_seq,
             r->last_seq, r->delivery_kept ? "kept" : "left behind");
}

int run_repair(tool *t) {
  sl_repair_report report = {0};
  sl_repair_options options = {0};
  const char *into = option_text(&t->given, OPT_INTO), *delivery = option_text(&t->given, OPT_DELIVERY);
  if (!into)
    return tool_fail(t, EXIT_USAGE, "repair needs --into FOLDER, for the new store");
  if (delivery && strcmp(delivery, "keep") && strcmp(delivery, "none"))
    return tool_fail(t, EXIT_USAGE, "--delivery %s: write keep or none", delivery);
  if (delivery && strcmp(delivery, "none") == 0)
    options.flags = SL_REPAIR_NO_DELIVERY;
  const char *names[64];
  for (size_t i = 0; i < t->given.given_count && options.name_count < 64; i++)
    if (t->given.given[i].id == OPT_NAME)
      names[options.name_count++] = t->given.given[i].value;
  options.names = names;
  findings f = {.t = t, .json = t->json ? json_new(&t->out) : NULL};
  sl_status st = sl_repair(t->path, into, &options, finding, &f, &report);
  if (st == SL_OK) {
    if (f.json)
      print_json(&f, &report, into);
    else
      print_text(t, &report, into);
  }
  json_free(f.json);
  if (st == SL_E_MISMATCH)
    return tool_fail(t, exit_of(st), "no store was made: %s (--delivery none)", sl_last_detail());
  if (st == SL_E_AMBIGUOUS)
    return tool_fail_status(t, st, "no store was made; --name TEXT chooses");
  if (st != SL_OK)
    return tool_fail_status(t, st, "no store was made");
  return report.lost_pending || report.lost_settled || report.receipts_lost || report.end_unknown ? EXIT_WRONG
      : EXIT_DONE;
}
