/* A story as two files that another person can read without the store. */
#include "bundle_page.h"
#include "story_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sidelog/dead.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- secrets --- */

enum { FIELDS = 14 };

/* A record without its secrets; the texts live until the next one. */
typedef struct mask {
  sl_record record;
  text parts[FIELDS];
  sl_header *headers;
  text *values;
  size_t header_cap;
  bool failed;
} mask;

static void take(void *out, sl_slice words, int is_json) {
  (void)is_json;
  text_add(out, words.data, words.len);
}

static sl_slice masked(mask *m, text *into, sl_slice bytes) {
  text_clear(into);
  if (bytes.len && sl_redact(bytes, take, into) != SL_OK)
    m->failed = true;
  return bytes.data ? (sl_slice){text_str(into), into->len} : bytes;
}

static const sl_record *mask_record(mask *m, const sl_record *r) {
  m->record = *r;
  sl_record *n = &m->record;
  sl_slice *const fields[FIELDS] = {
      &n->topic,  &n->type,  &n->event_id,    &n->correlation_id, &n->causation_id, &n->key,        &n->tenant,
      &n->source, &n->value, &n->error_class, &n->error_code,     &n->error_text,   &n->dropped_by, &n->drop_reason};
  for (size_t i = 0; i < FIELDS; i++)
    *fields[i] = masked(m, &m->parts[i], *fields[i]);
  if (r->header_count > m->header_cap) {
    m->headers = tool_grow(m->headers, r->header_count * sizeof *m->headers);
    m->values = tool_grow(m->values, r->header_count * sizeof *m->values);
    while (m->header_cap < r->header_count)
      m->values[m->header_cap++] = (text){0};
  }
  for (size_t i = 0; i < r->header_count; i++) {
    m->headers[i].name = r->headers[i].name;
    m->headers[i].value = sl_secret_name(r->headers[i].name) ? slice_of("[redacted]")
                                                             : masked(m, &m->values[i], r->headers[i].value);
  }
  n->headers = m->headers;
  return n;
}

static void mask_free(mask *m) {
  for (size_t i = 0; i < FIELDS; i++)
    text_free(&m->parts[i]);
  for (size_t i = 0; i < m->header_cap; i++)
    text_free(&m->values[i]);
  free(m->values);
  free(m->headers);
}

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
} bundle;

static void put(void *bundle_, const sl_record *r) {
  bundle *b = bundle_;
  const sl_record *shown = b->page.redacted ? mask_record(&b->mask, r) : r;
  if (b->mask.failed || b->lines.out.error)
    return;
  json_record(b->json, shown, JSON_VALUE | JSON_HEADERS);
  page_add(&b->page, r, shown);
}

static int finish(bundle *b, const char *id) {
  tool *t = b->page.tool;
  const char *slash = strrchr(b->lines.path, '/');
  text shown = {0};
  bool fine = !b->mask.failed;
  if (b->page.redacted && sl_redact(slice_of(id), take, &shown) != SL_OK)
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
    sl_query query = {.correlation_id = slice_of(id)};
    b.json = json_new(&b.lines.out);
    int read = tool_each(t, &query, put, &b, NULL);
    if (b.page.count == 0)
      code = read != EXIT_DONE
                 ? read
                 : tool_fail(t, EXIT_NOTHING, "no events with correlation id %s are kept in the store", id);
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
