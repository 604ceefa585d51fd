#include "append.h"

#include "input.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------- batch --- */

typedef struct batch_block {
  struct batch_block *next;
  size_t used, cap;
  char data[];
} batch_block;

void batch_init(batch *b) {
  *b = (batch){.events = tool_alloc(BATCH_EVENTS * sizeof *b->events),
               .lines = tool_alloc(BATCH_EVENTS * sizeof *b->lines),
               .missing = tool_alloc(BATCH_EVENTS * sizeof *b->missing)};
}

static void free_blocks(batch_block *block) {
  while (block) {
    batch_block *next = block->next;
    free(block);
    block = next;
  }
}

void batch_clear(batch *b) {
  b->count = b->bytes = 0;
  if (!b->blocks)
    return;
  free_blocks(b->blocks->next);
  b->blocks->next = NULL;
  b->blocks->used = 0;
}

void batch_free(batch *b) {
  free_blocks(b->blocks);
  free(b->events);
  free(b->lines);
  free(b->missing);
  *b = (batch){0};
}

bool batch_full(const batch *b) { return b->count == BATCH_EVENTS || b->bytes >= BATCH_BYTES; }

sl_slice batch_copy(batch *b, sl_slice bytes) {
  if (bytes.data == NULL)
    return bytes;
  if (!b->blocks || b->blocks->cap - b->blocks->used < bytes.len) {
    size_t cap = bytes.len > 1 << 20 ? bytes.len : 1 << 20;
    batch_block *block = tool_alloc(sizeof *block + cap);
    *block = (batch_block){.next = b->blocks, .cap = cap};
    b->blocks = block;
  }
  char *copy = b->blocks->data + b->blocks->used;
  if (bytes.len)
    memcpy(copy, bytes.data, bytes.len);
  b->blocks->used += bytes.len;
  b->bytes += bytes.len;
  return (sl_slice){copy, bytes.len};
}

void batch_add(batch *b, const sl_event *event, uint64_t line, uint32_t missing) {
  sl_event *copy = &b->events[b->count];
  b->missing[b->count] = missing;
  b->lines[b->count++] = line;
  *copy = *event;
  copy->topic = batch_copy(b, event->topic);
  copy->type = batch_copy(b, event->type);
  copy->event_id = batch_copy(b, event->event_id);
  copy->correlation_id = batch_copy(b, event->correlation_id);
  copy->causation_id = batch_copy(b, event->causation_id);
  copy->tenant = batch_copy(b, event->tenant);
  copy->source = batch_copy(b, event->source);
  copy->key = batch_copy(b, event->key);
  copy->value = batch_copy(b, event->value);
}

/* --------------------------------------------------------------- options --- */

bool append_headers(tool *t, sl_header **headers, size_t *count) {
  *headers = tool_alloc((t->given.given_count + 1) * sizeof **headers);
  *count = 0;
  for (size_t i = 0; i < t->given.given_count; i++) {
    const char *typed = t->given.given[i].value, *equals = strchr(typed, '=');
    if (t->given.given[i].id != OPT_HEADER)
      continue;
    if (!equals || equals == typed) {
      tool_note(t, "--header %s: write NAME=VALUE", typed);
      return false;
    }
    (*headers)[(*count)++] = (sl_header){{typed, (size_t)(equals - typed)}, slice_of(equals + 1)};
  }
  return true;
}

size_t append_max_value(tool *t) {
  uint64_t size = SL_DEFAULT_MAX_VALUE;
  tool_size(t, OPT_MAX_VALUE, &size);
  return (size_t)size;
}

int append_open(tool *t, const char *file) {
  if (!file || strcmp(file, "-") == 0) {
    if (!file && isatty(STDIN_FILENO)) {
      tool_note(t, "nothing to append: name a file, or - for standard input");
      return -1;
    }
    return STDIN_FILENO;
  }
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    tool_note(t, "cannot read %s: %s", file, strerror(errno));
  return fd;
}

/* ------------------------------------------------------------- one event --- */

/* DATA, @FILE or -. 0, or an exit status after saying why. *owned is malloc()ed or NULL. */
static int read_value(tool *t, sl_slice *value, char **owned) {
  const char *arg = t->arg_count ? t->args[0] : NULL, *file = NULL;
  *owned = NULL;
  if (arg && arg[0] == '@')
    file = arg + 1;
  else if (arg && strcmp(arg, "-") != 0) {
    *value = slice_of(arg);
    return EXIT_DONE;
  } else {
    file = arg;
  }
  int fd = append_open(t, file), code = EXIT_DONE;
  size_t limit = append_max_value(t), len = 0;
  if (fd < 0)
    return EXIT_USAGE;
  if (!read_all(fd, limit, owned, &len)) {
    text words = {0};
    text_count(&words, limit);
    code = errno == EFBIG ? tool_fail(t, EXIT_REJECTED,
                                      "the value is larger than max_value (%s bytes): nothing was stored; "
                                      "--max-value raises it to at most 16M",
                                      text_str(&words))
                          : tool_fail(t, EXIT_USAGE, "cannot read %s: %s", file ? file : "standard input",
                                      strerror(errno));
    text_free(&words);
  }
  if (fd != STDIN_FILENO)
    close(fd);
  *value = (sl_slice){*owned, len};
  return code;
}

static sl_slice given(tool *t, option_id id) { return slice_of(option_text(&t->given, id)); }

static int append_one(tool *t, sl_event *event) {
  char made[37];
  uint64_t seq = 0;
  if (event->event_id.len == 0) {
    sl_status st = sl_event_id_new(made);
    if (st != SL_OK)
      return tool_fail_status(t, st, "cannot make an event id");
    event->event_id = slice_of(made);
  }
  int code = tool_open(t, 0);
  if (code != EXIT_DONE)
    return code;
  sl_status st = sl_append(t->store, event, &seq);
  if (st != SL_OK)
    return tool_fail_status(t, st, "nothing was stored");
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_u64(j, "seq", seq);
    json_text(j, "event_id", event->event_id);
    json_close(j);
    json_free(j);
  } else {
    out_printf(&t->out, "%" PRIu64 " ", seq);
    out_safe(&t->out, STYLE_PLAIN, event->event_id);
    out_puts(&t->out, "\n");
  }
  out_flush(&t->out);
  /* The caller wants the id; if it cannot be had, "done" would not be the truth. */
  if (t->out.error == EPIPE)
    return tool_fail(t, EXIT_STORE, "stored as seq %" PRIu64 ", but nobody read that from standard output",
                     seq);
  return EXIT_DONE;
}

int run_append(tool *t) {
  static const option_id lines_only[] = {OPT_ACK, OPT_STRICT, OPT_PROGRESS};
  if (option_has(&t->given, OPT_JSONL))
    return run_append_lines(t);
  for (size_t i = 0; i < sizeof lines_only / sizeof *lines_only; i++)
    if (option_has(&t->given, lines_only[i]))
      return tool_fail(t, EXIT_USAGE, "--%s goes with --jsonl only", option_table[lines_only[i]].name);
  if (!option_has(&t->given, OPT_TOPIC))
    return tool_fail(t, EXIT_USAGE, "append needs --topic TOPIC; see `sidelog help append`");
  sl_event event = SL_EVENT_INIT;
  sl_header *headers = NULL;
  char *owned = NULL;
  event.topic = given(t, OPT_TOPIC);
  event.type = given(t, OPT_TYPE);
  event.correlation_id = given(t, OPT_CORRELATION);
  event.causation_id = given(t, OPT_CAUSATION);
  event.event_id = given(t, OPT_EVENT_ID);
  event.tenant = given(t, OPT_TENANT);
  event.source = given(t, OPT_SOURCE);
  event.key = option_has(&t->given, OPT_NO_KEY) ? (sl_slice){NULL, 0} : given(t, OPT_KEY);
  int code =
      tool_time(t, OPT_OCCURRED_AT, &event.occurred_at_us) && append_headers(t, &headers, &event.header_count)
          ? EXIT_DONE
          : EXIT_USAGE;
  event.headers = headers;
  if (code == EXIT_DONE)
    code = read_value(t, &event.value, &owned);
  if (code == EXIT_DONE)
    code = append_one(t, &event);
  free(headers);
  free(owned);
  return code;
}
