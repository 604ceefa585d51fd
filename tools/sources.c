#include "sources.h"

#include "skew.h"
#include "story_ids.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------ names --- */

enum { NAME_MOST = 24 };

static bool is_name_char(char c) {
  return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("._-", c));
}

/* NAME=PATH, where NAME is one and no file is called like the whole. The length of NAME, or 0. */
static size_t given_name(const char *typed) {
  struct stat about;
  size_t n = 0;
  while (is_name_char(typed[n]))
    n++;
  return typed[n] == '=' && typed[n + 1] && n > 0 && n <= NAME_MOST && lstat(typed, &about) != 0 ? n : 0;
}

static void add_name(text *out, const char *words, size_t len) {
  for (size_t i = 0; i < len && out->len < NAME_MOST; i++)
    text_add(out, is_name_char(words[i]) ? &words[i] : "_", 1);
}

/* Parts of a path that tell nothing of whose store it is. */
static bool tells_nothing(const char *words, size_t len) {
  static const char *const common[] = {"default", "sidelog", "state", ".local", "store", "lib", "var", ".", ".."};
  for (size_t i = 0; i < sizeof common / sizeof *common; i++)
    if (strlen(common[i]) == len && memcmp(common[i], words, len) == 0)
      return true;
  return len == 0;
}

/* The `back`th telling part of a path from its end. False: it has no so many. */
static bool name_of_path(text *out, const char *path, size_t back, bool is_file) {
  char *whole = realpath(path, NULL);
  const char *words = whole ? whole : path;
  size_t end = strlen(words);
  bool found = false;
  while (end > 0 && !found) {
    size_t begin = end;
    while (begin > 0 && words[begin - 1] != '/')
      begin--;
    size_t len = end - begin;
    if (is_file && len > 6 && memcmp(words + end - 6, ".jsonl", 6) == 0)
      len -= 6;
    is_file = false;
    if (!tells_nothing(words + begin, len) && back-- == 0) {
      add_name(out, words + begin, len);
      found = true;
    }
    end = begin > 0 ? begin - 1 : 0;
  }
  free(whole);
  return found;
}

static void name_of_host(text *out) {
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) == 0)
    add_name(out, host, strcspn(host, "."));
}

/* Taken by another one? */
static bool is_taken(const tool *t, size_t but, const char *name) {
  for (size_t i = 0; i < t->source_count; i++)
    if (i != but && t->sources[i].name && strcmp(t->sources[i].name, name) == 0)
      return true;
  return false;
}

/* A bundle's own word first, else where it lies; then what sets it apart. */
static void choose_name(tool *t, size_t at, bool is_default) {
  source *s = &t->sources[at];
  text name = {0};
  bundle_about about = {.name = "", .host = ""};
  if (s->bundle)
    bundle_about_of(s->bundle, s->part, &about);
  if (*about.name)
    add_name(&name, about.name, strlen(about.name));
  else if (*about.host)
    add_name(&name, about.host, strcspn(about.host, "."));
  else if (is_default)
    name_of_host(&name);
  for (size_t back = 0; back < 4 && (name.len == 0 || is_taken(t, at, text_str(&name))); back++) {
    text_clear(&name);
    if (!name_of_path(&name, s->path, back, s->bundle != NULL))
      break;
  }
  if (name.len == 0)
    text_puts(&name, "store");
  size_t plain = name.len;
  for (unsigned n = 2; is_taken(t, at, text_str(&name)); n++) {
    name.data[name.len = plain] = 0;
    text_printf(&name, "-%u", n);
  }
  s->name = name.data;
}

/* ------------------------------------------------------------------- open --- */

static void say_fault(void *tool_, const char *path, uint64_t line, const char *words) {
  enum { MOST = 20 };
  tool *t = tool_;
  t->faults++;
  if (t->faults > MOST)
    return;
  if (line)
    tool_note(t, "%s: line %" PRIu64 " %s; passed over", path, line, words);
  else
    tool_note(t, "%s %s", path, words);
  if (t->faults == MOST)
    tool_note(t, "more such lines are not listed");
}

static source *add_source(tool *t, const char *path) {
  if (t->source_count == SOURCES_MOST)
    return NULL;
  t->sources = tool_grow(t->sources, (t->source_count + 1) * sizeof *t->sources);
  source *s = &t->sources[t->source_count++];
  *s = (source){.path = tool_copy(path, strlen(path))};
  return s;
}

static int too_many(tool *t) {
  return tool_fail(t, EXIT_USAGE, "at most %d stores can be looked at together", SOURCES_MOST);
}

static int open_bundle(tool *t, const char *path, sl_slice name) {
  text why = {0};
  bundle_file *b = bundle_file_open(path, say_fault, t, &why);
  int code = b ? EXIT_DONE : tool_fail(t, EXIT_STORE, "%s", text_str(&why));
  text_free(&why);
  for (size_t i = 0; b && i < bundle_parts(b); i++) {
    bundle_about about;
    source *s = add_source(t, path);
    if (!s) {
      if (i == 0)
        bundle_file_close(b);
      return too_many(t);
    }
    bundle_about_of(b, i, &about);
    s->bundle = b;
    s->part = i;
    s->owner = i == 0;
    s->made_us = about.made_us;
    s->redacted = about.redacted;
    if (!name.len)
      continue;
    text whole = {0};
    text_add(&whole, name.data, name.len);
    if (bundle_parts(b) > 1) {
      text_puts(&whole, ".");
      add_name(&whole, about.name, strlen(about.name));
    }
    s->name = whole.data;
    s->named = true;
  }
  return code;
}

static int open_one(tool *t, const char *typed, bool is_default) {
  struct stat about, other;
  size_t name = is_default ? 0 : given_name(typed);
  const char *path = name ? typed + name + 1 : typed;
  bool there = strcmp(path, "-") != 0 && stat(path, &about) == 0;
  for (size_t i = 0; i < t->source_count && there; i++)
    if (stat(t->sources[i].path, &other) == 0 && other.st_dev == about.st_dev && other.st_ino == about.st_ino)
      return tool_fail(t, EXIT_USAGE, "%s and %s are the same store: give each once", t->sources[i].path, path);
  if (strcmp(path, "-") == 0 || (there && !S_ISDIR(about.st_mode)))
    return open_bundle(t, path, (sl_slice){typed, name});
  source *s = add_source(t, path);
  if (!s)
    return too_many(t);
  s->named = name > 0;
  if (name)
    s->name = tool_copy(typed, name);
  free(t->path);
  t->path = tool_copy(path, strlen(path));
  int code = tool_open(t, SL_OPEN_EXISTING);
  s->store = t->store;
  t->store = NULL;
  return code;
}

static int name_all(tool *t, bool is_default) {
  for (size_t i = 0; i < t->source_count; i++)
    if (t->sources[i].name && is_taken(t, i, t->sources[i].name))
      return tool_fail(t, EXIT_USAGE,
                       "two stores are called %s: give each a name of its own, as in --store NAME=FOLDER",
                       t->sources[i].name);
  for (size_t i = 0; i < t->source_count; i++)
    if (!t->sources[i].name)
      choose_name(t, i, is_default);
  return EXIT_DONE;
}

int sources_open(tool *t) {
  int code = EXIT_DONE;
  bool given = option_has(&t->given, OPT_STORE);
  for (size_t i = 0; i < t->given.given_count && code == EXIT_DONE; i++)
    if (t->given.given[i].id == OPT_STORE)
      code = open_one(t, t->given.given[i].value, false);
  if (!given) {
    char *path = tool_copy(t->path, strlen(t->path));
    code = open_one(t, path, true);
    free(path);
  }
  if (code == EXIT_DONE)
    code = name_all(t, !given);
  if (code != EXIT_DONE)
    return code;
  free(t->path);
  t->path = tool_copy(t->sources[0].path, strlen(t->sources[0].path));
  if (t->source_count == 1)
    t->store = t->sources[0].store;
  return EXIT_DONE;
}

void sources_close(tool *t) {
  if (t->source_count == 1 && t->sources[0].store)
    t->store = NULL;
  for (size_t i = 0; i < t->source_count; i++) {
    source *s = &t->sources[i];
    sl_close(s->store);
    if (s->owner)
      bundle_file_close(s->bundle);
    free(s->name);
    free(s->path);
  }
  skew_free(t->others);
  t->others = NULL;
  free(t->sources);
  t->sources = NULL;
  t->source_count = 0;
}

/* ------------------------------------------------------------------ about --- */

bool many(const tool *t) { return t->source_count > 1; }

void sources_words(text *out, const tool *t) {
  if (many(t)) {
    text_printf(out, "these %zu stores", t->source_count);
    return;
  }
  text_puts(out, t->store ? "the store at " : "");
  text_add_safe(out, slice_of(t->path), t->out.term.unicode);
}

const char *sources_here(const tool *t) {
  return many(t) ? "in any of these stores" : t->store ? "in this store" : "in this bundle";
}

void place_words(text *out, const tool *t, size_t from, uint64_t seq) {
  text_printf(out, "seq %" PRIu64, seq);
  if (many(t))
    text_printf(out, " of %s", t->sources[from].name);
}

sl_status source_stats(tool *t, size_t at, sl_stats *stats, int64_t *oldest_us) {
  source *s = &t->sources[at];
  bundle_about about;
  if (s->store) {
    sl_status st = sl_stats_get(s->store, stats);
    if (st == SL_OK && oldest_us)
      *oldest_us = appended_at(t, at, stats->first_seq);
    return st;
  }
  bundle_about_of(s->bundle, s->part, &about);
  *stats = about.stats;
  if (oldest_us)
    *oldest_us = about.oldest_us;
  return SL_OK;
}

const char *source_store_id(const tool *t, size_t at) {
  const source *s = &t->sources[at];
  bundle_about about;
  if (s->store)
    return sl_store_id(s->store);
  bundle_about_of(s->bundle, s->part, &about);
  return about.store_id;
}

/* ---------------------------------------------------------------- resolve --- */

static int compare_ids(const void *a, const void *b) { return strcmp(a, b); }

sl_status sources_resolve(tool *t, sl_id_kind kind, sl_slice typed, char (*out)[SL_ID_MAX], size_t max,
                          size_t *count) {
  char (*part)[SL_ID_MAX] = tool_alloc((max + 1) * sizeof *part);
  sl_status result = SL_OK;
  bool more = false; /* than fit into `out` */
  *count = 0;
  for (size_t i = 0; i < t->source_count && result == SL_OK; i++) {
    source *s = &t->sources[i];
    size_t found = 0;
    sl_status st = s->store ? sl_resolve(s->store, kind, typed, part, max, &found)
                            : bundle_resolve(s->bundle, s->part, kind, typed, part, max, &found);
    if (st != SL_OK && st != SL_NOTFOUND && st != SL_E_AMBIGUOUS) {
      result = st;
      break;
    }
    if (st == SL_OK && slice_eq(slice_of(part[0]), typed)) { /* an exact one wins alone, wherever it is */
      memcpy(out[0], part[0], sizeof *part);
      *count = 1;
      more = false;
      break;
    }
    more = more || (st == SL_E_AMBIGUOUS && found == max);
    for (size_t k = 0; st != SL_NOTFOUND && k < found; k++) {
      bool had = false;
      for (size_t n = 0; n < *count; n++)
        had = had || strcmp(out[n], part[k]) == 0;
      more = more || (!had && *count == max);
      if (!had && *count < max)
        memcpy(out[(*count)++], part[k], sizeof *part);
    }
  }
  free(part);
  if (result != SL_OK)
    return result;
  qsort(out, *count, sizeof *out, compare_ids);
  return *count == 0 ? SL_NOTFOUND : *count == 1 && !more ? SL_OK : SL_E_AMBIGUOUS;
}
