/* A story as two files that another person can read without the store. */
#include "bundle_page.h"
#include "mask.h"
#include "sources.h"
#include "story_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ files --- */

/* A file that is there whole or not at all, for its owner alone. */
typedef struct draft {
  const char *path;
  char *draft;
  output out;
} draft;

static bool draft_open(draft *d, const char *path) {
  text name = {0};
  text_printf(&name, "%s.XXXXXX", path);
  *d = (draft){.path = path, .draft = name.data};
  out_init(&d->out, (term){.unicode = true});
  d->out.fd = mkostemp(d->draft, O_CLOEXEC); /* 0600 */
  if (d->out.fd < 0)
    d->out.error = errno;
  return d->out.fd >= 0;
}

static bool draft_finish(draft *d) {
  out_flush(&d->out);
  if (!d->out.error && (fsync(d->out.fd) != 0 || rename(d->draft, d->path) != 0))
    d->out.error = errno;
  return d->out.error == 0;
}

/* What was not finished is removed. */
static void draft_free(draft *d) {
  if (d->out.fd >= 0)
    close(d->out.fd);
  if (d->draft && d->out.fd >= 0)
    unlink(d->draft); /* of a finished one the name is gone */
  free(d->draft);
  out_free(&d->out);
}

/* sidelog-ID.html, whatever is in the id. */
static void default_name(text *out, const char *id) {
  enum { MOST = 80 };
  text_puts(out, "sidelog-");
  for (size_t i = 0; id[i] && i < MOST; i++) {
    bool letter = (id[i] | 32) >= 'a' && (id[i] | 32) <= 'z', digit = id[i] >= '0' && id[i] <= '9';
    text_add(out, letter || digit || id[i] == '-' ? &id[i] : "_", 1);
  }
  text_puts(out, ".html");
}

static void lines_name(text *out, const char *html) {
  size_t len = strlen(html);
  if (len > 5 && strcmp(html + len - 5, ".html") == 0)
    len -= 5;
  text_add(out, html, len);
  text_puts(out, ".jsonl");
}

/* ---------------------------------------------------------------- command --- */

typedef struct bundle {
  page page;
  mask mask;
  json *json;
  draft html, lines;
  uint64_t written; /* lines of events */
} bundle;

static const sl_record *shown_of(bundle *b, const sl_record *r) {
  return b->page.redacted ? mask_record(&b->mask, r) : r;
}

/* Every copy as its source has it: who reads the file finds out again which are one. */
static void put_line(void *bundle_, const sl_record *r) {
  bundle *b = bundle_;
  tool *t = b->page.tool;
  const sl_record *shown = shown_of(b, r);
  if (b->mask.failed || b->lines.out.error)
    return;
  json_record_begin(b->json, many(t) ? t->sources[t->from].name : NULL, shown, JSON_VALUE | JSON_HEADERS);
  json_close(b->json);
  b->written++;
}

static void put_event(void *bundle_, const sl_record *r) {
  bundle *b = bundle_;
  const sl_record *shown = shown_of(b, r);
  if (!b->mask.failed)
    page_add(&b->page, r, shown);
}

static void put(void *bundle_, const sl_record *r) {
  put_line(bundle_, r);
  put_event(bundle_, r);
}

static void put_source(bundle *b, size_t at) {
  tool *t = b->page.tool;
  json *j = b->json;
  sl_stats stats;
  int64_t oldest = 0;
  json_open(j);
  /* Without a name of its own a store is called like its host. */
  json_words(j, "name", many(t) || t->sources[at].named ? t->sources[at].name : "");
  json_words(j, "store_id", source_store_id(t, at));
  if (source_stats(t, at, &stats, &oldest) == SL_OK) {
    json_u64(j, "first_seq", stats.first_seq);
    json_u64(j, "last_seq", stats.last_seq);
    json_u64(j, "kept", stats.kept);
    json_u64(j, "trimmed", stats.trimmed);
    json_u64(j, "delivery_seq", stats.delivery_seq);
    json_u64(j, "lanes", stats.lanes);
  }
  if (oldest)
    json_time(j, "oldest_at", oldest);
  json_close(j);
}

/* The first line says what the file is, the last one that it is whole. */
static void put_head(bundle *b, const char *id) {
  tool *t = b->page.tool;
  json *j = b->json;
  char host[256] = "";
  bool masked = b->page.redacted;
  bundle_about about = {.host = ""};
  text words = {0};
  gethostname(host, sizeof host - 1);
  for (size_t i = 0; i < t->source_count; i++)
    masked = masked || t->sources[i].redacted;
  if (!many(t) && t->sources[0].bundle)
    bundle_about_of(t->sources[0].bundle, t->sources[0].part, &about);
  if (!b->page.redacted || !mask_words(&words, slice_of(id))) {
    text_clear(&words);
    text_puts(&words, b->page.redacted ? "" : id);
  }
  json_open(j);
  json_u64(j, "sidelog_bundle", BUNDLE_VERSION);
  json_text_or_null(j, "correlation_id", (sl_slice){text_str(&words), words.len});
  json_time(j, "made_at", about.made_us ? about.made_us : t->now_us);
  json_words(j, "host", *about.host ? about.host : host);
  json_bool(j, "redacted", masked);
  json_key(j, "stores");
  json_array_open(j);
  for (size_t i = 0; i < t->source_count; i++)
    put_source(b, i);
  json_array_close(j);
  json_close(j);
  text_free(&words);
}

static void put_end(bundle *b) {
  json_open(b->json);
  json_bool(b->json, "sidelog_bundle_end", true);
  json_u64(b->json, "events", b->written);
  json_close(b->json);
}

static int put_all(bundle *b, const char *id) {
  tool *t = b->page.tool;
  sl_query query = {.correlation_id = slice_of(id)};
  put_head(b, id);
  t->every_copy = many(t);
  int code = tool_each(t, &query, many(t) ? put_line : put, b, NULL);
  t->every_copy = false;
  int drawn = many(t) ? tool_each(t, &query, put_event, b, NULL) : EXIT_DONE;
  put_end(b);
  return code == EXIT_DONE ? drawn : code;
}

static int finish(bundle *b, const char *id) {
  tool *t = b->page.tool;
  const char *slash = strrchr(b->lines.path, '/');
  text shown = {0};
  bool fine = !b->mask.failed;
  if (b->page.redacted && !mask_words(&shown, slice_of(id)))
    fine = false;
  if (!b->page.redacted)
    text_puts(&shown, id);
  fine = fine && page_write(&b->page, &b->html.out, (sl_slice){text_str(&shown), shown.len},
                            slash ? slash + 1 : b->lines.path);
  text_free(&shown);
  if (!fine)
    return tool_fail(t, EXIT_STORE, "out of memory");
  if (!draft_finish(&b->lines))
    return tool_fail(t, EXIT_STORE, "cannot write %s: %s", b->lines.path, strerror(b->lines.out.error));
  if (!draft_finish(&b->html))
    return tool_fail(t, EXIT_STORE, "cannot write %s: %s", b->html.path, strerror(b->html.out.error));
  return EXIT_DONE;
}

static void say(bundle *b) {
  tool *t = b->page.tool;
  output *o = &t->out;
  if (t->json) {
    json *j = json_new(o);
    json_open(j);
    json_words(j, "html", b->html.path);
    json_words(j, "jsonl", b->lines.path);
    json_u64(j, "events", b->page.count);
    json_bool(j, "redacted", b->page.redacted);
    json_close(j);
    json_free(j);
    return;
  }
  text words = {0};
  text_counted(&words, b->page.count, "event", "events");
  out_safe(o, STYLE_BOLD, slice_of(b->html.path));
  out_printf(o, "   %s, %s\n", text_str(&words),
             b->page.redacted ? "secrets of well-known shapes masked" : "nothing masked");
  out_safe(o, STYLE_BOLD, slice_of(b->lines.path));
  out_puts(o, "  the same for programs\n");
  text_free(&words);
}

int run_bundle(tool *t) {
  char id[SL_ID_MAX];
  text html = {0}, lines = {0};
  const char *given = option_text(&t->given, OPT_OUT);
  if (given && (strcmp(given, "-") == 0 || !*given))
    return tool_fail(t, EXIT_USAGE, "--out '%s': give the name of a file; a second one goes beside it", given);
  int code = story_resolve(t, t->args[0], id);
  if (code != EXIT_DONE)
    return code;
  if (given)
    text_puts(&html, given);
  else
    default_name(&html, id);
  lines_name(&lines, text_str(&html));
  bundle b = {.page = {.tool = t, .redacted = !option_has(&t->given, OPT_NO_REDACT)},
              .html.out.fd = -1,
              .lines.out.fd = -1};
  if (draft_open(&b.lines, text_str(&lines)) && draft_open(&b.html, text_str(&html))) {
    b.json = json_new(&b.lines.out);
    int read = put_all(&b, id);
    if (b.page.count == 0)
      code = read != EXIT_DONE
                 ? read
                 : tool_fail(t, EXIT_NOTHING, "no events with correlation id %s are kept %s", id, sources_here(t));
    else
      code = finish(&b, id);
    if (code == EXIT_DONE) {
      say(&b);
      code = read; /* a record that cannot be read was said */
    }
  } else {
    const draft *d = b.lines.out.error ? &b.lines : &b.html;
    code = tool_fail(t, EXIT_STORE, "cannot write %s: %s", d->path, strerror(d->out.error));
  }
  json_free(b.json);
  draft_free(&b.html);
  draft_free(&b.lines);
  page_free(&b.page);
  mask_free(&b.mask);
  text_free(&html);
  text_free(&lines);
  return code;
}
