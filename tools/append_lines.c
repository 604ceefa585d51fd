/*
 * append --jsonl: a stream of envelopes into durable batches.
 *
 * Lines are gathered as long as more are there at once; when the input pauses, or the batch is full, what is
 * gathered is committed and acknowledged. So a lone line waits for nothing but the disk, and a backlog goes
 * by the thousand. A batch is all or nothing: when the store is full it is halved until what still fits is
 * in.
 */
#include "append.h"
#include "input.h"

#include <sidelog/envelope.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct feed {
  tool *tool;
  line_reader in;
  sl_envelope_reader *reader;
  batch batch;
  json *json;
  sl_header *headers;
  size_t header_count;
  bool ack, strict, progress, no_key;
  sl_slice topic, type, tenant, source, key;

  uint64_t line;      /* number of the last line read */
  uint64_t stored, rejected, without_correlation, bad_times;
  uint64_t first_seq, last_seq;
  uint64_t size;      /* of the input; 0: unknown */
  int64_t begun_us, shown_us;
  int code;           /* EXIT_DONE, or why it stops */
} feed;

/* -------------------------------------------------------------- progress --- */

static void show_progress(feed *f) {
  enum { BAR = 24 };
  int64_t now = clock_monotonic_us();
  if (!f->progress || now - f->shown_us < 100000)
    return;
  f->shown_us = now;
  text line = {0};
  text_puts(&line, "\r");
  if (f->size) {
    uint64_t done = f->in.read_total < f->size ? f->in.read_total : f->size;
    int filled = (int)(done * BAR / f->size);
    bool unicode = f->tool->out.term.unicode;
    for (int i = 0; i < BAR; i++)
      text_puts(&line, i < filled ? (unicode ? "\u2501" : "=") : (unicode ? "\u2500" : "-"));
    text_printf(&line, " %3d %%  ", (int)(done * 100 / f->size));
  }
  text_counted(&line, f->stored, "event", "events");
  double seconds = (double)(now - f->begun_us) / 1e6;
  text_puts(&line, "  ");
  text_count(&line, (uint64_t)((double)f->stored / (seconds > 0.001 ? seconds : 0.001)));
  text_puts(&line, "/s\033[K");
  fwrite(line.data, 1, line.len, stderr);
  fflush(stderr);
  text_free(&line);
}

static void hide_progress(feed *f) {
  if (f->progress && f->shown_us) {
    fputs("\r\033[K", stderr);
    f->shown_us = 0;
  }
}

/* ---------------------------------------------------------------- commit --- */

static void acknowledge(feed *f, size_t begin, size_t count, uint64_t first_seq) {
  output *out = &f->tool->out;
  for (size_t i = 0; f->ack && i < count; i++) {
    sl_slice id = f->batch.events[begin + i].event_id;
    if (f->json) {
      json_open(f->json);
      json_u64(f->json, "line", f->batch.lines[begin + i]);
      json_u64(f->json, "seq", first_seq + i);
      json_text(f->json, "event_id", id);
      json_close(f->json);
    } else {
      out_printf(out, "%" PRIu64 " ", first_seq + i);
      out_safe(out, STYLE_PLAIN, id);
      out_puts(out, "\n");
    }
  }
  if (f->ack)
    out_flush(out);
  for (size_t i = begin; i < begin + count; i++) {
    f->without_correlation += (f->batch.missing[i] & SL_ENVELOPE_NO_CORRELATION) != 0;
    f->bad_times += (f->batch.missing[i] & SL_ENVELOPE_BAD_TIMESTAMP) != 0;
  }
  if (f->stored == 0)
    f->first_seq = first_seq;
  f->last_seq = first_seq + count - 1;
  f->stored += count;
  if (f->ack && out->error == EPIPE)
    f->code = tool_fail(f->tool, EXIT_STORE,
                        "nobody reads the acknowledgements any more: stopped after line %" PRIu64
                        ", which is stored",
                        f->batch.lines[begin + count - 1]);
  else if (out->error)
    f->code = EXIT_STORE;
}

static void stopped_by(feed *f, sl_status st, size_t begin) {
  char place[192];
  uint64_t line = f->batch.lines[begin];
  hide_progress(f);
  if (line > 1)
    snprintf(place, sizeof place,
             "lines 1 to %" PRIu64 " are stored%s, line %" PRIu64 " and later ones are not", line - 1,
             f->rejected ? " (but for those rejected)" : "", line);
  else
    snprintf(place, sizeof place, "nothing is stored");
  f->code = tool_fail_status(f->tool, st, "%s", place);
}

static void commit(feed *f) {
  size_t begin = 0, step = f->batch.count;
  while (begin < f->batch.count && f->code == EXIT_DONE) {
    uint64_t first_seq = 0;
    size_t count = step < f->batch.count - begin ? step : f->batch.count - begin;
    sl_status st = sl_append_many(f->tool->store, f->batch.events + begin, count, &first_seq, NULL);
    if (st == SL_OK) {
      acknowledge(f, begin, count, first_seq);
      begin += count;
    } else if (st == SL_E_FULL && count > 1) {
      step = count / 2;
    } else {
      stopped_by(f, st, begin);
    }
  }
  batch_clear(&f->batch);
  show_progress(f);
}

/* ------------------------------------------------------------- one line --- */

static void reject(feed *f, const char *reason) {
  hide_progress(f);
  f->rejected++;
  tool_note(f->tool, "line %" PRIu64 ": %s", f->line, reason);
  if (!f->strict)
    return;
  f->code = EXIT_REJECTED;
  text words = {0};
  text_counted(&words, f->stored, "line was", "lines were");
  if (f->batch.count)
    tool_note(f->tool,
              "stopped at line %" PRIu64 ": nothing from line %" PRIu64 " on is stored; %s stored before",
              f->line, f->batch.lines[0], text_str(&words));
  else
    tool_note(f->tool, "stopped at line %" PRIu64 ": it is not stored; %s stored before", f->line,
              text_str(&words));
  text_free(&words);
  batch_clear(&f->batch);
}

static bool blank(sl_slice line) {
  const char *p = line.data;
  for (size_t i = 0; i < line.len; i++)
    if (p[i] != ' ' && p[i] != '\t')
      return false;
  return true;
}

static sl_slice either(sl_slice own, sl_slice other) { return own.len ? own : other; }

static void too_long(feed *f, size_t len) {
  text words = {0};
  text_puts(&words, "longer than max_value (");
  text_count(&words, len);
  text_puts(&words, " > ");
  text_count(&words, f->in.limit);
  text_puts(&words, " bytes): not stored; --max-value raises it to at most 16M");
  reject(f, text_str(&words));
  text_free(&words);
}

static void take_line(feed *f, sl_slice line) {
  sl_event event = SL_EVENT_INIT;
  uint32_t missing = 0;
  char made[37];
  if (blank(line))
    return;
  if (sl_envelope_read(f->reader, line, &event, &missing) != SL_OK) {
    reject(f, *sl_last_detail() ? sl_last_detail() : "not a JSON object in UTF-8");
    return;
  }
  event.topic = either(event.topic, f->topic);
  event.type = either(event.type, f->type);
  event.tenant = either(event.tenant, f->tenant);
  event.source = either(event.source, f->source);
  event.key = f->key.data                              ? f->key
              : f->no_key || !event.correlation_id.len ? (sl_slice){NULL, 0}
                                                       : event.correlation_id;
  event.headers = f->headers;
  event.header_count = f->header_count;
  event.value = line;
  if (event.topic.len == 0) {
    reject(f, "no topic: give the line a \"topic\", or all such lines one with --topic");
    return;
  }
  if (event.event_id.len == 0) {
    sl_status st = sl_event_id_new(made);
    if (st != SL_OK) {
      f->code = tool_fail_status(f->tool, st, "line %" PRIu64 ": cannot make an event id", f->line);
      return;
    }
    event.event_id = slice_of(made);
  }
  sl_status st = sl_event_check(f->tool->store, &event);
  if (st != SL_OK) {
    reject(f, *sl_last_detail() ? sl_last_detail() : sl_status_text(st));
    return;
  }
  if (event.correlation_id.len == 0 && f->tool->verbose)
    tool_note(f->tool, "line %" PRIu64 ": correlation_id is not there; stored without one", f->line);
  batch_add(&f->batch, &event, f->line, missing);
}

static void run_feed(feed *f) {
  while (f->code == EXIT_DONE) {
    sl_slice line;
    line_result got = line_next(&f->in, f->batch.count == 0, &line);
    if (got == LINE_PAUSE) {
      commit(f);
      continue;
    }
    if (got == LINE_END || got == LINE_ERROR) {
      int why = errno;
      commit(f);
      if (got == LINE_ERROR && f->code == EXIT_DONE)
        f->code = tool_fail(f->tool, EXIT_STORE,
                            "cannot read on after line %" PRIu64 ": %s; it and all before it are "
                            "stored",
                            f->line, strerror(why));
      return;
    }
    f->line++;
    if (got == LINE_TOO_LONG)
      too_long(f, line.len);
    else
      take_line(f, line);
    if (batch_full(&f->batch))
      commit(f);
  }
}

/* --------------------------------------------------------------- the end --- */

static void report(feed *f) {
  output *out = &f->tool->out;
  text words = {0};
  if (f->json && !f->ack) {
    json_open(f->json);
    json_u64(f->json, "appended", f->stored);
    json_u64(f->json, "rejected", f->rejected);
    json_u64(f->json, "without_correlation", f->without_correlation);
    json_u64(f->json, "first_seq", f->first_seq);
    json_u64(f->json, "last_seq", f->last_seq);
    json_close(f->json);
  } else if (!f->ack) {
    text_counted(&words, f->stored, "event", "events");
    text_puts(&words, " appended");
    if (f->stored)
      text_printf(&words, ", seq %" PRIu64 " to %" PRIu64, f->first_seq, f->last_seq);
    text_puts(&words, ", in ");
    text_span(&words, clock_monotonic_us() - f->begun_us);
    out_printf(out, "%s\n", text_str(&words));
  }
  text_clear(&words);
  if (f->rejected && !f->strict) {
    text_counted(&words, f->rejected, "line was", "lines were");
    tool_note(f->tool, "%s rejected, all others are stored", text_str(&words));
  }
  text_clear(&words);
  if (f->without_correlation) {
    text_counted(&words, f->without_correlation, "line has", "lines have");
    tool_note(f->tool,
              "%s no correlation id (looked for correlation_id at the top, in payload, context and "
              "metadata); stored without one",
              text_str(&words));
  }
  text_clear(&words);
  if (f->bad_times) {
    text_counted(&words, f->bad_times, "line has", "lines have");
    tool_note(f->tool, "%s a timestamp that is not RFC 3339; stored without a time of its own",
              text_str(&words));
  }
  text_free(&words);
}

int run_append_lines(tool *t) {
  static const option_id single[] = {OPT_EVENT_ID, OPT_CORRELATION, OPT_CAUSATION, OPT_OCCURRED_AT};
  for (size_t i = 0; i < sizeof single / sizeof *single; i++)
    if (option_has(&t->given, single[i]))
      return tool_fail(t, EXIT_USAGE, "--%s is of one event: with --jsonl each line has its own",
                       option_table[single[i]].name);
  feed f = {.tool = t,
            .ack = option_has(&t->given, OPT_ACK),
            .strict = option_has(&t->given, OPT_STRICT),
            .no_key = option_has(&t->given, OPT_NO_KEY),
            .topic = slice_of(option_text(&t->given, OPT_TOPIC)),
            .type = slice_of(option_text(&t->given, OPT_TYPE)),
            .key = slice_of(option_text(&t->given, OPT_KEY)),
            .tenant = slice_of(option_text(&t->given, OPT_TENANT)),
            .source = slice_of(option_text(&t->given, OPT_SOURCE)),
            .begun_us = clock_monotonic_us()};
  const char *dumb = getenv("TERM");
  f.progress = option_has(&t->given, OPT_PROGRESS) && isatty(STDERR_FILENO) && dumb && strcmp(dumb, "dumb");
  if (!append_headers(t, &f.headers, &f.header_count)) {
    free(f.headers);
    return EXIT_USAGE;
  }
  struct stat info;
  int fd = append_open(t, t->arg_count ? t->args[0] : NULL);
  f.code = fd < 0 ? EXIT_USAGE : tool_open(t, 0);
  if (f.code == EXIT_DONE && sl_envelope_reader_new(&f.reader) != SL_OK)
    f.code = tool_fail_status(t, SL_E_NOMEM, "cannot begin");
  if (f.code == EXIT_DONE) {
    line_reader_init(&f.in, fd, append_max_value(t));
    batch_init(&f.batch);
    f.json = t->json ? json_new(&t->out) : NULL;
    f.size = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
    run_feed(&f);
    hide_progress(&f);
    report(&f);
    if (f.code == EXIT_DONE && f.rejected)
      f.code = EXIT_REJECTED;
  }
  json_free(f.json);
  batch_free(&f.batch);
  line_reader_free(&f.in);
  sl_envelope_reader_free(f.reader);
  free(f.headers);
  if (fd > STDERR_FILENO)
    close(fd);
  return f.code;
}
