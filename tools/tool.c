#include "sources.h"

#include "pager.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int exit_of(sl_status status) {
  switch (status) {
  case SL_OK: return EXIT_DONE;
  case SL_NOTFOUND: return EXIT_NOTHING;
  case SL_TIMEOUT: return EXIT_TIMEOUT;
  case SL_E_INVALID:
  case SL_E_AMBIGUOUS: return EXIT_USAGE;
  case SL_E_TOO_LARGE: return EXIT_REJECTED;
  case SL_E_FULL:
  case SL_E_NOMEM:
  case SL_E_IO:
  case SL_E_CORRUPT:
  case SL_E_VERSION:
  case SL_E_BUSY:
  case SL_E_FORKED:
  case SL_E_ACCESS:
  case SL_E_UNSUPPORTED:
  case SL_E_MISMATCH:
  case SL_E_AGAIN:
  case SL_E_LIMIT:
  case SL_E_UNCERTAIN:
  case SL_E_NO_STORE: return EXIT_STORE;
  }
  return EXIT_STORE;
}

int64_t clock_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---------------------------------------------------------------- saying --- */

static void say(tool *t, const text *words) {
  text safe = {0};
  text_puts(&safe, "sidelog: ");
  text_add_safe(&safe, (sl_slice){text_str(words), words->len}, t->out.term.unicode);
  text_puts(&safe, "\n");
  const bool paged = t->out.begin || t->out.fd != STDOUT_FILENO; /* the screen is the pager's */
  if (paged && isatty(STDERR_FILENO) == 1) {
    out_add(&t->out, safe.data, safe.len);
  } else {
    out_flush(&t->out);
    fwrite(safe.data, 1, safe.len, stderr);
    fflush(stderr);
  }
  text_free(&safe);
}

__attribute__((format(printf, 2, 0))) static void add_formatted(text *out, const char *format, va_list args) {
  char words[4096];
  vsnprintf(words, sizeof words, format, args);
  text_puts(out, words);
}

int tool_fail(tool *t, int code, const char *format, ...) {
  text words = {0};
  va_list args;
  va_start(args, format);
  add_formatted(&words, format, args);
  va_end(args);
  say(t, &words);
  text_free(&words);
  return code;
}

void tool_note(tool *t, const char *format, ...) {
  text words = {0};
  va_list args;
  va_start(args, format);
  add_formatted(&words, format, args);
  va_end(args);
  say(t, &words);
  text_free(&words);
}

/* What a person can do, where the library's detail may not say it. */
static const char *remedy(sl_status status, const char *detail) {
  switch (status) {
  case SL_E_NO_STORE: return "`sidelog append` creates one; --store DIR or SIDELOG_STORE names another";
  case SL_E_ACCESS:
    if (strstr(detail, strerror(EROFS)))
      return "copy it to a place that can be written, and read the copy";
    if (strstr(detail, " cannot be created: "))
      return "--store DIR or SIDELOG_STORE names another place";
    return "a store is for its owner, or for the group it was made for (append --group)";
  case SL_E_CORRUPT: return "`sidelog verify` says what is damaged";
  default: return NULL; /* of a full store or disk the detail says it */
  }
}

int tool_fail_status(tool *t, sl_status status, const char *format, ...) {
  text words = {0};
  const char *detail = sl_last_detail(), *help = remedy(status, detail);
  va_list args;
  va_start(args, format);
  add_formatted(&words, format, args);
  va_end(args);
  text_puts(&words, words.len ? ": " : "");
  text_puts(&words, *detail ? detail : sl_status_text(status));
  if (exit_of(status) == EXIT_STORE && t->path && !strstr(text_str(&words), t->path))
    text_printf(&words, " (store %s)", t->path);
  if (help && !strstr(detail, "sidelog "))
    text_printf(&words, "; %s", help);
  say(t, &words);
  text_free(&words);
  return exit_of(status);
}

int tool_fail_reader(tool *t, sl_status status, const char *name, const char *doing) {
  if (status == SL_NOTFOUND && name)
    return tool_fail(t, EXIT_NOTHING, "there is no reader %s in the store at %s; `sidelog readers` lists them",
                     name,
                     t->path);
  return tool_fail_status(t, status, "%s", doing);
}

/* ------------------------------------------------------------- the store --- */

static const char *home_folder(void) {
  const char *home = getenv("HOME");
  if (home && *home)
    return home;
  const struct passwd *user = getpwuid(getuid());
  return user && user->pw_dir ? user->pw_dir : "";
}

char *find_store_path(const char *option) {
  const char *env = getenv("SIDELOG_STORE"), *state = getenv("XDG_STATE_HOME");
  text path = {0};
  if (option || (env && *env))
    text_puts(&path, option ? option : env);
  else if (state && *state == '/') /* the XDG specification has relative paths ignored */
    text_printf(&path, "%s/sidelog/default", state);
  else
    text_printf(&path, "%s/.local/state/sidelog/default", home_folder());
  return path.data;
}

char *path_brief(const char *path) {
  const char *home = home_folder();
  size_t n = strlen(home);
  text brief = {0};
  if (n > 1 && strncmp(path, home, n) == 0 && path[n] == '/')
    text_printf(&brief, "~%s", path + n);
  else
    text_puts(&brief, path);
  return brief.data;
}

void tool_page(tool *t) {
  if (!option_has(&t->given, OPT_NO_PAGER))
    pager_offer(&t->out);
}

int tool_open(tool *t, uint32_t flags) {
  sl_options options = {.flags = flags, .group = option_text(&t->given, OPT_GROUP)};
  uint64_t max_value = 0;
  if (!tool_size(t, OPT_MAX_VALUE, &max_value) || !tool_size(t, OPT_QUOTA, &options.quota_bytes))
    return EXIT_USAGE;
  if (max_value > SL_MAX_VALUE || (option_has(&t->given, OPT_MAX_VALUE) && max_value == 0))
    return tool_fail(t, EXIT_USAGE, "--max-value %s: give 1 byte to 16M",
                     option_text(&t->given, OPT_MAX_VALUE));
  if (option_has(&t->given, OPT_QUOTA) && options.quota_bytes < 1 << 20)
    return tool_fail(t, EXIT_USAGE, "--quota %s: give at least 1M", option_text(&t->given, OPT_QUOTA));
  options.max_value = (uint32_t)max_value;
  options.durability = option_has(&t->given, OPT_RELAXED) ? SL_RELAXED : SL_DURABLE;
  sl_status st = sl_open(t->path, &options, &t->store);
  return st == SL_OK ? EXIT_DONE : tool_fail_status(t, st, "%s", "");
}

/* --------------------------------------------------------------- options --- */

bool tool_size(tool *t, option_id id, uint64_t *out) {
  const char *typed = option_text(&t->given, id);
  if (!typed || size_parse(typed, out))
    return true;
  tool_note(t, "--%s %s is no size: write bytes, or 512K, 10M, 2G", option_table[id].name, typed);
  return false;
}

bool tool_span(tool *t, option_id id, int64_t *out) {
  const char *typed = option_text(&t->given, id);
  if (!typed || span_parse(typed, out))
    return true;
  tool_note(t, "--%s %s is no span of time: write 90s, 15m, 12h, 7d or 1h30m", option_table[id].name, typed);
  return false;
}

bool tool_number(tool *t, option_id id, uint64_t *out) {
  const char *typed = option_text(&t->given, id);
  if (!typed || number_parse(typed, out))
    return true;
  const option_spec *o = &option_table[id];
  if (o->letter)
    tool_note(t, "-%c %s is no number", o->letter, typed);
  else
    tool_note(t, "--%s %s is no number", o->name, typed);
  return false;
}

bool tool_time(tool *t, option_id id, int64_t *out) {
  const char *typed = option_text(&t->given, id);
  if (!typed || when_parse(typed, t->now_us, out))
    return true;
  tool_note(t, "--%s %s is no time: write RFC 3339, 2026-11-22 14:00, 14:00, -15m, -2h, -3d, today or yesterday",
            option_table[id].name, typed);
  return false;
}

size_t tool_near(tool *t, sl_id_kind kind, const char *typed, text *words) {
  enum { MOST = 3 };
  static const size_t lengths[] = {35, 30, 23, 18, 13, 8, 6, 4};
  char found[MOST][SL_ID_MAX];
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    size_t count = 0;
    if (strlen(typed) <= lengths[i])
      continue;
    sl_status st = sources_resolve(t, kind, (sl_slice){typed, lengths[i]}, found, MOST, &count);
    if (st != SL_OK && st != SL_E_AMBIGUOUS)
      continue;
    for (size_t k = 0; k < count; k++)
      text_printf(words, "%s%s", k ? ", " : "", found[k]);
    return lengths[i];
  }
  return 0;
}

const char *tool_not_found_why(const char *typed) {
  enum { LEAST_DIGITS = 4 };
  size_t digits = 0, others = 0;
  for (const char *p = typed; *p; p++) {
    digits += strchr("0123456789abcdef", *p) != NULL;
    others += !strchr("0123456789abcdef-", *p);
  }
  return !others && digits < LEAST_DIGITS
             ? "; the beginning of a UUID is looked for from 4 digits on (other ids need their whole text)"
             : ", and no UUID begins with it (other ids need their whole text)";
}

int tool_resolve(tool *t, sl_id_kind kind, const char *typed, char out[SL_ID_MAX]) {
  enum { CANDIDATES = 10 };
  static const char *const names[] = {"event", "correlation", "causation"};
  char found[CANDIDATES + 1][SL_ID_MAX];
  size_t count = 0;
  sl_status st = sources_resolve(t, kind, slice_of(typed), found, CANDIDATES + 1, &count);
  if (st == SL_OK) {
    memcpy(out, found[0], SL_ID_MAX);
    return EXIT_DONE;
  }
  if (st == SL_NOTFOUND) {
    text near = {0};
    size_t alike = tool_near(t, kind, typed, &near);
    tool_fail(t, EXIT_NOTHING, "no %s id %s is %s%s%s%s", names[kind], sources_here(t), typed,
              tool_not_found_why(typed), alike ? "; close to it: " : "", text_str(&near));
    text_free(&near);
    return EXIT_NOTHING;
  }
  if (st != SL_E_AMBIGUOUS)
    return tool_fail_status(t, st, "%s id %s", names[kind], typed);
  tool_note(t, "%s fits %s %s ids; give more of it:", typed, count > CANDIDATES ? "more than 10" : "several",
            names[kind]);
  for (size_t i = 0; i < count && i < CANDIDATES; i++)
    tool_note(t, "  %s", found[i]);
  return EXIT_USAGE;
}
