/* The command line on a large store with a skew like real traffic: each figure is a whole process's, exec to exit.
 *
 *   bench-forensics fill FOLDER EVENTS        makes the store FOLDER/store, indexed, 1,000 not delivered
 *   bench-forensics ask FOLDER SIDELOG TIMES  asks it: TIMES traces of 20 events a part, the rest once a part
 *
 * The store: stories of 2 to 2,000 events (most are short), 1,000 of them under way at a time; every 40th has 20
 * events; one has a hundredth of all events, at most 50,000, spread over the whole time. 40 types, 12 sources, 5
 * tenants, some much more frequent than others; values are JSON of 300 to 1,100 bytes; each event has two headers,
 * and a cause in its story.
 *
 * forensics/trace-20/terminal p50_ms, p99_ms; forensics/trace-large/SIDE ms, anonymous_mib;
 * forensics/scan/QUESTION rate (events looked at a second), mb_s (bytes of values passed a second), ms. What is
 * found is checked. */
#include "bench.h"
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPEN_MOST = 1000, CAUSES = 8, FILL_BATCH = 1000, UNDELIVERED = 1000, ASKED = 200 };
enum { TYPES = 40, SOURCES = 12, TENANTS = 5 };
#define LARGE_STORY UINT64_MAX

/* What `fill` tells `ask`. */
typedef struct facts {
  uint64_t events, value_bytes, large_events, of_source, of_tenant, of_agent, asked_count;
  char asked[ASKED][37]; /* correlation ids with 20 events */
  char large[37];
} facts;

typedef struct story {
  uint64_t number;
  unsigned length, done;
  uint64_t recent[CAUSES]; /* its newest events */
} story;

/* ------------------------------------------------------------------ fill --- */

static double unit(uint64_t n, uint64_t salt) { return (double)(mix(n * 64 + salt) >> 11) / 9007199254740992.0; }

/* 0 .. count - 1, small ones much more often. */
static unsigned skewed(uint64_t n, uint64_t salt, unsigned count) {
  const double u = unit(n, salt);
  return (unsigned)(u * u * u * count);
}

static void begin_story(story *s, uint64_t number) {
  const double u = unit(number, 7);
  double length = 2 / (u * u + 0.001);
  if (length > 2000) length = 2000;
  *s = (story){.number = number, .length = number % 40 == 0 ? GROUP_SIZE : (unsigned)length};
}

typedef struct made {
  char event_id[37], correlation_id[37], causation_id[37], type[48], topic[64], source[16], tenant[16],
      value[2048];
  sl_header headers[2];
} made;

static void id_of(uint64_t number, char kind, char out[37]) {
  uint8_t uuid[16];
  event_uuid(number, kind, uuid);
  uuid_text(uuid, out);
}

static sl_slice text_of(const char *text) { return (sl_slice){text, strlen(text)}; }

static sl_event make(uint64_t n, story *s, made *m, facts *f) {
  static const char *const ends[] = {"REQUESTED", "COMPLETED", "STARTED", "FAILED"};
  static const char filler[] = "the quick brown fox jumps over the lazy dog while seven wizards mix a strange "
                               "\\\"potion\\\" for nobody; ";
  const unsigned type = skewed(n, 1, TYPES), source = skewed(n, 2, SOURCES);
  const unsigned tenant = skewed(n, 3, TENANTS), agent = skewed(n, 4, 50);
  id_of(n, 'e', m->event_id);
  id_of(s->number, 'c', m->correlation_id);
  const unsigned known = s->done < CAUSES ? s->done : CAUSES;
  if (known) id_of(s->recent[unit(n, 5) < 0.7 ? (s->done - 1) % CAUSES : mix(n) % known], 'e', m->causation_id);
  else strcpy(m->causation_id, m->correlation_id);
  snprintf(m->type, sizeof m->type, "STEP_%u_%s", type / 4, ends[type % 4]);
  snprintf(m->topic, sizeof m->topic, "dev.omninode_bridge.onex.evt.step-%u.v1", type);
  snprintf(m->source, sizeof m->source, "service-%u", source);
  snprintf(m->tenant, sizeof m->tenant, "tenant-%u", tenant);
  char text[1024] = "";
  size_t want = 40 + (size_t)(800 * unit(n, 6) * unit(n, 6));
  for (size_t len = 0; len < want; len += sizeof filler - 1) strcat(text, filler);
  const int len = snprintf(m->value, sizeof m->value,
                           "{\"event_id\":\"%s\",\"event_type\":\"%s\",\"correlation_id\":\"%s\","
                           "\"timestamp\":\"2026-03-01T10:00:00Z\",\"payload\":{\"user_request\":\"%s\","
                           "\"agent_name\":\"agent-%u\",\"confidence\":0.%04u,\"duration_ms\":%u}}",
                           m->event_id, m->type, m->correlation_id, text, agent, (unsigned)(mix(n) % 10000),
                           (unsigned)(mix(n) % 5000));
  m->headers[0] = (sl_header){SL_STR("x-tenant"), text_of(m->tenant)};
  m->headers[1] = (sl_header){SL_STR("x-schema-hash"), SL_STR("registry://bridge/onex/step/v1")};
  s->recent[s->done++ % CAUSES] = n;
  f->value_bytes += (uint64_t)len;
  f->of_source += source == SOURCES - 1;
  f->of_tenant += tenant == TENANTS - 1;
  f->of_agent += agent == 49;
  return (sl_event){.topic = text_of(m->topic), .type = text_of(m->type), .event_id = text_of(m->event_id),
                    .correlation_id = text_of(m->correlation_id), .causation_id = text_of(m->causation_id),
                    .source = text_of(m->source), .tenant = text_of(m->tenant), .key = text_of(m->correlation_id),
                    .headers = m->headers, .header_count = 2, .value = SL_BYTES(m->value, (size_t)len)};
}

static void deliver(sl_store *store) {
  sl_delivery *delivery;
  sl_stats stats;
  must(delivery_open(store, &delivery), "delivery");
  must(sl_stats_get(store, &stats), "stats");
  while (stats.last_seq > UNDELIVERED &&
         sink_deliver(store, delivery, stats.last_seq - UNDELIVERED, 0) < stats.last_seq - UNDELIVERED) continue;
  delivery_close(delivery);
}

static void fill(const char *folder, uint64_t events) {
  static story open[OPEN_MOST], large = {.number = LARGE_STORY, .length = UINT32_MAX};
  static made batch[FILL_BATCH];
  static sl_event list[FILL_BATCH];
  static facts f;
  char path[4200];
  sl_store *store;
  uint64_t stories = 0, n = 0, each = events / 50000 > 100 ? events / 50000 : 100;
  const sl_options options = {.quota_bytes = events * 4096 + (UINT64_C(1) << 30), .durability = SL_RELAXED};
  f.events = events;
  make_folder(folder);
  snprintf(path, sizeof path, "%s/store", folder);
  remove_tree(path);
  must(sl_open(path, &options, &store), "open");
  const unsigned under_way = events < 100000 ? 20 : OPEN_MOST;
  for (unsigned i = 0; i < under_way; i++) begin_story(&open[i], stories++);
  while (n < events) {
    unsigned count = 0;
    for (; count < FILL_BATCH && n < events; count++, n++) {
      story *s = n % each == each - 1 ? &large : &open[mix(n + 99) % under_way];
      list[count] = make(n, s, &batch[count], &f);
      if (s == &large) f.large_events++;
      if (s->done < s->length) continue;
      if (s->number % 40 == 0) id_of(s->number, 'c', f.asked[f.asked_count++ % ASKED]);
      begin_story(s, stories++);
    }
    must(sl_append_many(store, list, count, NULL, NULL), "append");
  }
  must(sl_index_advance(store, 0, NULL), "index");
  deliver(store);
  sl_close(store);
  id_of(LARGE_STORY, 'c', f.large);
  snprintf(path, sizeof path, "%s/facts", folder);
  FILE *out = fopen(path, "we");
  if (!out || fwrite(&f, sizeof f, 1, out) != 1 || fclose(out) != 0) stop("%s: %s", path, strerror(errno));
  fprintf(stderr, "%" PRIu64 " events, %" PRIu64 " stories, values of %" PRIu64 " bytes, the large story has "
          "%" PRIu64 "\n", events, stories, f.value_bytes / events, f.large_events);
}

/* ------------------------------------------------------------------- ask --- */

typedef struct answer {
  double us;
  double anonymous_mib; /* most seen, if it was asked for */
  uint64_t lines;
  char last[256];       /* line */
} answer;

static double anonymous_of(pid_t pid) {
  char path[64], line[128];
  double kib = 0;
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *in = fopen(path, "re");
  while (in && fgets(line, sizeof line, in))
    if (strncmp(line, "RssAnon:", 8) == 0) kib = atof(line + 8);
  if (in) fclose(in);
  return kib / 1024;
}

/* Runs a command to its end and reads what it prints: from a terminal of 60 rows, or from a pipe. */
static answer run(const char *const *argv, bool terminal, bool memory) {
  answer a = {0};
  int ends[2];
  const struct winsize size = {.ws_row = 60, .ws_col = 160};
  if (terminal ? openpty(&ends[0], &ends[1], NULL, NULL, &size) != 0 : pipe(ends) != 0)
    stop("no terminal or pipe: %s", strerror(errno));
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  const double begun = now_us();
  const pid_t pid = vfork();
  if (pid < 0) stop("fork: %s", strerror(errno));
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
  }
  close(ends[1]);
  static char buffer[1 << 20];
  size_t at = 0;
  double looked = 0;
  for (;;) {
    if (memory && now_us() - looked > 2000) {
      const double now = anonymous_of(pid);
      a.anonymous_mib = now > a.anonymous_mib ? now : a.anonymous_mib;
      looked = now_us();
    }
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    if (poll(&p, 1, memory ? 2 : -1) == 0) continue;
    const ssize_t got = read(ends[0], buffer, sizeof buffer);
    if (got <= 0) break; /* a terminal whose last writer is gone says EIO */
    for (ssize_t i = 0; i < got; i++) {
      if (buffer[i] == '\n') {
        a.lines++;
        a.last[at < sizeof a.last ? at : sizeof a.last - 1] = 0;
        at = 0;
      } else if (at < sizeof a.last - 1) {
        a.last[at++] = buffer[i];
      }
    }
  }
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
    stop("%s %s ended with %d", argv[1], argv[2], status);
  a.us = now_us() - begun;
  close(ends[0]);
  return a;
}

static const char *sidelog, *store_path;
#define ASK(terminal, memory, ...) \
  run((const char *const[]){sidelog, "--store", store_path, __VA_ARGS__, NULL}, terminal, memory)

static void large_trace(const facts *f) {
  static const char *const sides[] = {"text", "json"};
  for (int side = 0; side < 2; side++) {
    double ms[PARTS], mib[PARTS];
    char series[64];
    for (unsigned p = 0; p < PARTS; p++) {
      const answer a = side ? ASK(false, true, "trace", f->large, "--json") : ASK(false, true, "trace", f->large);
      if (a.lines < f->large_events) stop("the large story: %" PRIu64 " lines", a.lines);
      ms[p] = a.us / 1000;
      mib[p] = a.anonymous_mib;
    }
    snprintf(series, sizeof series, "forensics/trace-large/%s", sides[side]);
    tell(series, "ms", ms, PARTS);
    tell(series, "anonymous_mib", mib, PARTS);
  }
}

static void scans(const facts *f) {
  const struct { const char *name, *condition; uint64_t matched; bool values; } questions[] = {
    {"source", "source=service-11", f->of_source, false},
    {"tenant", "tenant!=tenant-4", f->events - f->of_tenant, false},
    {"type", "event_type~no_such", 0, false},
    {"topic", "topic=*.nothing.v1", 0, false},
    {"header", "header.x-tenant=tenant-4", f->of_tenant, false},
    {"pointer", "/payload/agent_name=agent-49", f->of_agent, true},
    {"pointer-number", "/payload/confidence<0", 0, true},
    {"pointer-absent", "/payload/no_such=1", 0, true},
  };
  for (unsigned q = 0; q < sizeof questions / sizeof *questions; q++) {
    double rate[PARTS], mb[PARTS], ms[PARTS];
    char series[64];
    for (unsigned p = 0; p < PARTS; p++) {
      const answer a = ASK(false, false, "query", "--count", "--json", questions[q].condition);
      const char *matched = strstr(a.last, "\"matched\":");
      if (!matched || strtoull(matched + 10, NULL, 10) != questions[q].matched)
        stop("%s: %s, not %" PRIu64, questions[q].condition, a.last, questions[q].matched);
      rate[p] = (double)f->events / a.us * 1e6;
      mb[p] = (double)f->value_bytes / a.us;
      ms[p] = a.us / 1000;
    }
    snprintf(series, sizeof series, "forensics/scan/%s", questions[q].name);
    tell(series, "rate", rate, PARTS);
    if (questions[q].values) tell(series, "mb_s", mb, PARTS);
    tell(series, "ms", ms, PARTS);
  }
}

static void ask(const char *folder, unsigned times) {
  static samples took[PARTS], piped[PARTS];
  static facts f;
  char path[4200];
  snprintf(path, sizeof path, "%s/facts", folder);
  FILE *in = fopen(path, "re");
  if (!in || fread(&f, sizeof f, 1, in) != 1) stop("%s: %s", path, strerror(errno));
  fclose(in);
  snprintf(path, sizeof path, "%s/store", folder);
  store_path = path;
  setenv("TERM", "xterm-256color", 1);
  setenv("LC_ALL", "C.UTF-8", 1);
  const unsigned asked = f.asked_count < ASKED ? (unsigned)f.asked_count : ASKED;
  if (asked == 0) stop("no story of 20 events");
  ASK(false, false, "query", "--count", "size>0"); /* all is in memory */
  for (unsigned p = 0; p < PARTS; p++)
    for (unsigned i = 0; i < times; i++) {
      const char *id = f.asked[mix(p * 1000 + i) % asked];
      const answer a = ASK(true, false, "trace", id), b = ASK(false, false, "trace", id);
      if (a.lines < GROUP_SIZE + 1 || b.lines < GROUP_SIZE + 1) stop("trace %s: %" PRIu64 " lines", id, a.lines);
      samples_add(&took[p], a.us / 1000);
      samples_add(&piped[p], b.us / 1000);
    }
  tell_percentile("forensics/trace-20/terminal", "p50_ms", took, PARTS, 0.5);
  tell_percentile("forensics/trace-20/terminal", "p99_ms", took, PARTS, 0.99);
  tell_percentile("forensics/trace-20/pipe", "p50_ms", piped, PARTS, 0.5);
  tell_percentile("forensics/trace-20/pipe", "p99_ms", piped, PARTS, 0.99);
  large_trace(&f);
  scans(&f);
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "fill") == 0 && atoll(argv[3]) > 0) {
    fill(argv[2], (uint64_t)atoll(argv[3]));
    return 0;
  }
  if (argc == 5 && strcmp(argv[1], "ask") == 0 && atoi(argv[4]) > 0) {
    sidelog = argv[3];
    ask(argv[2], (unsigned)atoi(argv[4]));
    return 0;
  }
  fprintf(stderr, "usage: bench-forensics fill FOLDER EVENTS | ask FOLDER SIDELOG TIMES\n");
  return 2;
}
