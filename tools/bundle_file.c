#include "bundle_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MOST = 64 << 20, CHUNK = 256 << 10, HELD = 20 };

uint64_t bundle_hash(sl_slice s) {
  const unsigned char *p = s.data;
  uint64_t h = 14695981039346656037u;
  if (s.len == 0)
    return 0;
  for (size_t i = 0; i < s.len; i++)
    h = (h ^ p[i]) * 1099511628211u;
  h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
  h ^= h >> 32;
  return h ? h : 1;
}

sl_slice bundle_id_of(const sl_record *r, order by) {
  return by == BY_EVENT ? r->event_id : by == BY_CORRELATION ? r->correlation_id : r->causation_id;
}

/* ------------------------------------------------------------------- open --- */

typedef struct loader {
  bundle_file *file;
  bundle_fault_fn *fault;
  void *arg;
  text line, *why;
  uint64_t number, at;     /* of the line */
  size_t first_part;       /* of the bundle that is being read */
  uint64_t since_head;     /* lines of events since then, damaged ones too */
  bool open, newer;        /* a head was read, its end not yet */
  struct { uint64_t line; char *words; } held[HELD]; /* of faults in front of all that a bundle has */
  size_t held_count;
  event_line reader;
} loader;

/* Faults in front of all that a bundle has are told when something of it comes: of a file that is none they say
 * nothing. */
static void say(loader *l, uint64_t line, const char *words) {
  if (l->file->count || l->file->head_count) {
    l->fault(l->arg, l->file->path, line, words);
  } else if (l->held_count < HELD) {
    l->held[l->held_count].line = line;
    l->held[l->held_count++].words = tool_copy(words, strlen(words));
  }
}

static void release_held(loader *l, bool tell) {
  for (size_t i = 0; i < l->held_count; i++) {
    if (tell)
      l->fault(l->arg, l->file->path, l->held[i].line, l->held[i].words);
    free(l->held[i].words);
  }
  l->held_count = 0;
}

static void close_bundle(loader *l) {
  if (l->open)
    say(l, 0, "is cut short: the line that ends a bundle is not there");
  l->open = false;
}

static size_t part_named(loader *l, sl_slice name) {
  bundle_file *b = l->file;
  for (size_t i = l->first_part; i < b->part_count; i++)
    if (slice_eq(slice_of(b->parts[i].name), name) || (name.len == 0 && l->open && b->parts[i].head))
      return i;
  if (b->part_count == BUNDLE_PARTS_MOST)
    return BUNDLE_PARTS_MOST;
  b->parts[b->part_count] = (struct part){.name = tool_copy(name.data, name.len)};
  return b->part_count++;
}

static void begin_bundle(loader *l, sl_slice line) {
  bundle_file *b = l->file;
  close_bundle(l);
  b->heads = tool_grow(b->heads, (b->head_count + 1) * sizeof *b->heads);
  bundle_head *h = &b->heads[b->head_count++];
  bundle_head_read(h, line);
  l->first_part = b->part_count;
  l->open = true;
  l->since_head = 0;
  for (size_t i = 0; i < h->count && b->part_count < BUNDLE_PARTS_MOST; i++)
    b->parts[b->part_count++] = (struct part){
        .name = tool_copy(h->parts[i].name, strlen(h->parts[i].name)), .head = b->head_count, .in_head = i};
}

static void add_event(loader *l) {
  bundle_file *b = l->file;
  const sl_record *r = &l->reader.record;
  size_t part = part_named(l, l->reader.store);
  if (part == BUNDLE_PARTS_MOST) {
    say(l, l->number, "names one store more than can be read together");
    return;
  }
  if (b->count == b->cap) {
    b->cap = b->cap ? b->cap * 2 : 256;
    b->entries = tool_grow(b->entries, b->cap * sizeof *b->entries);
  }
  entry *e = &b->entries[b->count++];
  *e = (entry){.at = l->at, .seq = r->seq, .len = (uint32_t)l->line.len, .part = (uint32_t)part};
  for (order by = 0; by < ORDERS; by++)
    e->hash[by] = bundle_hash(bundle_id_of(r, by));
}

static void take_line(loader *l) {
  text why = {0};
  sl_slice line = {text_str(&l->line), l->line.len};
  l->number++;
  if (line.len == 0)
    return;
  line_kind kind = event_line_read(&l->reader, line, &why);
  l->since_head += kind == LINE_EVENT || kind == LINE_DAMAGED;
  switch (kind) {
  case LINE_EVENT: add_event(l); break;
  case LINE_HEAD: begin_bundle(l, line); break;
  case LINE_END:
    if (l->open && bundle_end_read(line) != l->since_head)
      say(l, 0, "is not whole: events are missing that it once had");
    l->open = false;
    break;
  case LINE_OTHER: break;
  case LINE_DAMAGED: say(l, l->number, text_str(&why)); break;
  case LINE_NEWER: l->newer = true; break;
  }
  text_free(&why);
  if (l->held_count && (l->file->count || l->file->head_count))
    release_held(l, true);
}

static void end_line(loader *l, bool too_long) {
  uint64_t behind = l->at + l->line.len + 1;
  if (l->line.len && l->line.data[l->line.len - 1] == '\r')
    l->line.len--;
  if (too_long) {
    l->number++;
    l->since_head++;
    say(l, l->number, "is longer than any event can be");
  } else {
    take_line(l);
  }
  l->at = behind;
  text_clear(&l->line);
}

/* Line by line, in memory for the longest line at most. */
static bool load(loader *l) {
  char *chunk = tool_alloc(CHUNK);
  bool too_long = false;
  uint64_t passed = 0;
  ssize_t got = 0;
  while (!l->newer && (got = pread(l->file->fd, chunk, CHUNK, (off_t)passed)) > 0) {
    const char *p = chunk, *end = chunk + got;
    passed += (uint64_t)got;
    while (p < end && !l->newer) {
      const char *newline = memchr(p, '\n', (size_t)(end - p));
      size_t len = (size_t)((newline ? newline : end) - p);
      if (l->line.len + len > LINE_MOST)
        too_long = true;
      if (!too_long)
        text_add(&l->line, p, len);
      p += len + (newline != NULL);
      if (!newline)
        continue;
      end_line(l, too_long);
      if (too_long)
        l->at = passed - (uint64_t)(end - p);
      too_long = false;
    }
  }
  int error = got < 0 ? errno : 0;
  if (!error && !l->newer && (l->line.len || too_long))
    end_line(l, too_long);
  if (!error && !l->newer)
    close_bundle(l);
  free(chunk);
  errno = error;
  return error == 0;
}

/* A pipe cannot be read twice: it goes into a file without a name. */
static int readable(const char *path) {
  struct stat about;
  char chunk[1 << 16];
  ssize_t got = 0;
  int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)))
    return fd;
  FILE *copy = tmpfile();
  int copied = copy ? dup(fileno(copy)) : -1;
  if (copy)
    fclose(copy);
  while (copied >= 0 && (got = read(fd, chunk, sizeof chunk)) > 0)
    if (write(copied, chunk, (size_t)got) != got) {
      got = -1;
      break;
    }
  int error = errno;
  close(fd);
  if (copied >= 0 && got < 0) {
    close(copied);
    copied = -1;
  }
  errno = error;
  return copied;
}

static int compare(const void *a_, const void *b_) {
  const entry *a = a_, *b = b_;
  if (a->part != b->part)
    return a->part < b->part ? -1 : 1;
  if (a->seq != b->seq)
    return a->seq < b->seq ? -1 : 1;
  return (a->at > b->at) - (a->at < b->at);
}

typedef struct hashed {
  uint64_t hash;
  uint32_t place;
} hashed;

static int compare_hashed(const void *a_, const void *b_) {
  const hashed *a = a_, *b = b_;
  if (a->hash != b->hash)
    return a->hash < b->hash ? -1 : 1;
  return (a->place > b->place) - (a->place < b->place);
}

/* A seq that stands twice is another event's, or the same line twice: the first counts. */
static void sort_entries(loader *l) {
  bundle_file *b = l->file;
  size_t kept = 0, dropped = 0;
  qsort(b->entries, b->count, sizeof *b->entries, compare);
  for (size_t i = 0; i < b->count; i++) {
    if (kept && b->entries[kept - 1].part == b->entries[i].part && b->entries[kept - 1].seq == b->entries[i].seq)
      dropped++;
    else
      b->entries[kept++] = b->entries[i];
  }
  b->count = kept;
  if (dropped)
    say(l, 0, "has lines of one seq: only the first of each is read");
  for (size_t i = b->count; i > 0; i--) {
    struct part *p = &b->parts[b->entries[i - 1].part];
    p->first = i - 1;
    p->count++;
  }
  hashed *all = tool_alloc((b->count + 1) * sizeof *all);
  for (order by = 0; by < ORDERS; by++) {
    for (size_t i = 0; i < b->count; i++)
      all[i] = (hashed){b->entries[i].hash[by], (uint32_t)i};
    qsort(all, b->count, sizeof *all, compare_hashed);
    b->by[by] = tool_alloc((b->count + 1) * sizeof *b->by[by]);
    for (size_t i = 0; i < b->count; i++)
      b->by[by][i] = all[i].place;
  }
  free(all);
}

bundle_file *bundle_file_open(const char *path, bundle_fault_fn *fault, void *arg, text *why) {
  bundle_file *b = tool_alloc(sizeof *b);
  *b = (bundle_file){.path = tool_copy(path, strlen(path)), .fd = readable(path)};
  loader l = {.file = b, .fault = fault, .arg = arg, .why = why};
  bool fine = b->fd >= 0 && load(&l);
  if (!fine)
    text_printf(why, "cannot read %s: %s", path, strerror(errno));
  else if (l.newer)
    text_printf(why, "%s is a bundle of a later form than this sidelog reads (%d): use a newer sidelog", path,
                BUNDLE_VERSION);
  else if (b->count == 0)
    text_printf(why,
                "%s has no event in it: it is neither a store nor the .jsonl file that `sidelog bundle` or `sidelog "
                "export` writes", path);
  else if (b->count > UINT32_MAX)
    text_printf(why, "%s has more events than can be read from a file", path);
  release_held(&l, false);
  text_free(&l.line);
  event_line_free(&l.reader);
  if (why->len) {
    bundle_file_close(b);
    return NULL;
  }
  sort_entries(&l);
  return b;
}

void bundle_file_close(bundle_file *b) {
  if (!b)
    return;
  for (size_t i = 0; i < b->part_count; i++)
    free(b->parts[i].name);
  for (size_t i = 0; i < b->head_count; i++)
    bundle_head_free(&b->heads[i]);
  for (order by = 0; by < ORDERS; by++)
    free(b->by[by]);
  free(b->heads);
  free(b->entries);
  if (b->fd >= 0)
    close(b->fd);
  free(b->path);
  free(b);
}

size_t bundle_parts(const bundle_file *b) { return b->part_count; }

void bundle_about_of(const bundle_file *b, size_t part, bundle_about *about) {
  const struct part *p = &b->parts[part];
  *about = (bundle_about){.name = p->name, .host = "", .store_id = ""};
  if (p->head) {
    const bundle_head *h = &b->heads[p->head - 1];
    const bundle_part *said = &h->parts[p->in_head];
    about->headed = true;
    about->host = h->host;
    about->made_us = h->made_us;
    about->redacted = h->redacted;
    about->store_id = said->store_id;
    about->stats = said->stats;
    about->oldest_us = said->oldest_us;
  }
  about->stats.kept = p->count;
}
