/*
 * Damage can be such that reading a mapped page ends in a signal. So the reading is done by a second run of
 * this program, and this one says what its end meant. The mark that tells the second run what it is is an
 * environment variable, because the store must not be open in a process that goes on after a fork.
 */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_MARK "SIDELOG_VERIFY_CHILD"

extern char **environ;

typedef struct reading {
  tool *t;
  json *json;
  uint64_t said;
} reading;

static void problem(void *arg, const char *words) {
  enum { MOST = 1000 };
  reading *r = arg;
  if (r->said++ >= MOST)
    return;
  if (r->json) {
    json_open(r->json);
    json_words(r->json, "problem", words);
    json_close(r->json);
    return;
  }
  out_styled(&r->t->out, STYLE_RED, "problem  ");
  out_safe(&r->t->out, STYLE_PLAIN, slice_of(words));
  out_puts(&r->t->out, "\n");
}

static void row(tool *t, const char *name, uint64_t n, uint64_t bad, const char *what) {
  text words = {0};
  text_count(&words, n);
  out_cell(&t->out, STYLE_DIM, name, 15, false);
  out_cell(&t->out, STYLE_PLAIN, text_str(&words), 13, true);
  text_clear(&words);
  text_puts(&words, "   ");
  if (bad)
    text_count(&words, bad);
  text_puts(&words, bad ? " " : "no ");
  text_puts(&words, what);
  out_styled(&t->out, bad ? STYLE_RED : STYLE_PLAIN, text_str(&words));
  out_puts(&t->out, "\n");
  text_free(&words);
}

static int read_all_of_it(tool *t) {
  sl_verify_report report = {0};
  reading r = {.t = t, .json = t->json ? json_new(&t->out) : NULL};
  int64_t begun = clock_monotonic_us();
  sl_status st = sl_verify(t->store, problem, &r, &report);
  if (st != SL_OK) {
    json_free(r.json);
    int code = tool_fail_status(t, st, "cannot read to the end");
    return st == SL_E_CORRUPT ? EXIT_WRONG : code;
  }
  if (r.json) {
    json_open(r.json);
    json_u64(r.json, "events", report.events);
    json_u64(r.json, "bad_records", report.bad_records);
    json_u64(r.json, "index_entries", report.index_entries);
    json_u64(r.json, "index_errors", report.index_errors);
    json_u64(r.json, "receipts", report.receipts);
    json_u64(r.json, "receipt_errors", report.receipt_errors);
    json_u64(r.json, "sequence_errors", report.sequence_errors);
    json_u64(r.json, "problems", report.problems);
    json_bool(r.json, "sound", report.problems == 0);
    json_close(r.json);
    json_free(r.json);
  } else {
    text words = {0};
    row(t, "events", report.events, report.bad_records, "bad records");
    row(t, "sequence", report.events, report.sequence_errors, "missing without a trim");
    row(t, "index entries", report.index_entries, report.index_errors, "errors");
    row(t, "receipts", report.receipts, report.receipt_errors, "errors");
    text_span(&words, clock_monotonic_us() - begun);
    out_styled(&t->out, report.problems ? STYLE_RED : STYLE_GREEN, report.problems ? "NOT SOUND" : "sound");
    out_printf(&t->out, ", read in %s\n", text_str(&words));
    text_free(&words);
  }
  if (report.problems == 0)
    return EXIT_DONE;
  text words = {0};
  text_counted(&words, report.problems, "problem", "problems");
  int code = tool_fail(t, EXIT_WRONG, "%s in the store at %s%s", text_str(&words), t->path,
                       report.index_errors == report.problems
                           ? ": all in the index; `sidelog reindex` builds it again from the log"
                           : "");
  text_free(&words);
  return code;
}

static int second_run(tool *t) {
  /* posix_spawn does not write to its arguments, whatever its type says. */
  const char *args[] = {t->program, "verify", "--store", t->path, "--color",
                        t->out.term.colour ? "always" : "never", t->json ? "--json" : NULL, NULL};
  char *const *argv = (char *const *)(uintptr_t)args;
  pid_t pid;
  int status;
  setenv(CHILD_MARK, "1", 1);
  out_flush(&t->out);
  int error = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
  if (error)
    error = posix_spawnp(&pid, t->program, NULL, NULL, argv, environ);
  if (error)
    return tool_fail(t, EXIT_STORE, "cannot start %s a second time to read the store: %s", t->program,
                     strerror(error));
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return tool_fail(t, EXIT_STORE, "cannot wait for the reading process: %s", strerror(errno));
  if (WIFEXITED(status))
    return WEXITSTATUS(status);
  int number = WTERMSIG(status);
  if (number == SIGINT || number == SIGTERM || number == SIGKILL || number == SIGHUP)
    return tool_fail(t, EXIT_STORE, "stopped by signal %d (%s) before the end", number, strsignal(number));
  return tool_fail(t, EXIT_WRONG,
                   "reading the store at %s ended with signal %d (%s): a data file is damaged or cut "
                   "short; keep a copy of it: `sidelog repair` copies what is readable",
                   t->path, number, strsignal(number));
}

int run_verify(tool *t) {
  if (!getenv(CHILD_MARK))
    return second_run(t);
  int code = tool_open(t, SL_OPEN_EXISTING);
  return code == EXIT_DONE ? read_all_of_it(t) : code;
}
