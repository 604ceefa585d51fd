/* Looks at store and cluster with a handle that has no transactional id, so that nobody is fenced; then explains,
 * or does what was chosen, in the book alone. The next start of the agent reads the marker again, behind INIT_TXN:
 * is it not the one that was seen here, it parks again. A choice can be outdated, never wrong unnoticed. */
#include "adopt.h"
#include "adopt_cover.h"
#include "agent.h"
#include "base/clock.h"
#include "log.h"
#include "report.h"
#include "witness.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REACH_TIMEOUT_MS 10000
#define LOOK_TIMEOUT_MS 10000
#define MARKER_TIMEOUT_MS 40000 /* a dead agent's transaction may hold the marker back until its timeout */

typedef struct adopt {
  const settings *settings;
  FILE *out;
  sl_store *store;
  sl_delivery *delivery;
  kafka *kafka;
  sl_stats stats;
  char cluster_id[64];
  core_park park;
  kafka_marker marker;
  fault doubt;             /* why it is not to be believed */
  int32_t partition;       /* where it was looked for; -1: the topic is not there */
  cover cover;             /* what trust-cluster would take as delivered */
} adopt;

enum { EXIT_FINE = 0, EXIT_CHOICE = 2, EXIT_STORE = 3, EXIT_UNDECIDED = 4, EXIT_SILENT = 5 };

static int store_failed(void) {
  log_line(LEVEL_ERROR, "store-unusable", "%s", sl_last_detail());
  return EXIT_STORE;
}

/* ---------------------------------------------------------------- what is there */

static int open_store(adopt *a) {
  const sl_options options = {.flags = SL_OPEN_EXISTING};
  sl_status st = sl_open(a->settings->store, &options, &a->store);
  if (st == SL_OK) st = delivery_open(a->store, &a->delivery);
  if (st == SL_OK) st = sl_stats_get(a->store, &a->stats);
  return st == SL_OK ? EXIT_FINE : store_failed();
}

static fault read_marker(adopt *a) {
  const delivery_state *book = delivery_state_get(a->delivery);
  kafka_topic_look look;
  a->partition = -1;
  fault f = kafka_look_topic(a->kafka, a->settings->marker_topic, LOOK_TIMEOUT_MS, &look);
  if (!fault_is_ok(&f) || !look.exists || look.partitions == 0) return f;
  a->partition = book->marker_partition;
  /* Another cluster's topic has other partitions, and a recreated one may. */
  if (a->partition < 0 || a->partition >= look.partitions || a->park == PARK_FOREIGN_CLUSTER)
    a->partition = ops_marker_partition(book->sender, look.partitions);
  const kafka_sought sought = witness_sought(book);
  return kafka_read_marker(a->kafka, a->settings->marker_topic, a->partition, sl_slice_of(book->sender), -1,
                           &sought, MARKER_TIMEOUT_MS, &a->marker);
}

static int look_at_cluster(adopt *a) {
  const delivery_state *book = delivery_state_get(a->delivery);
  const kafka_options options = {.brokers = a->settings->brokers,
                                 .txn_timeout_ms = (int32_t)(a->settings->txn_timeout_us / 1000),
                                 .socket_timeout_ms =
                                   (int32_t)(core_socket_timeout_us(a->settings->txn_timeout_us) / 1000),
                                 .queue_bytes = a->settings->queue_bytes,
                                 .properties = a->settings->kafka, .property_count = a->settings->kafka_count};
  fault f;
  if (kafka_new(&options, &a->kafka, &f)) f = kafka_reach(a->kafka, REACH_TIMEOUT_MS, a->cluster_id);
  bool other =
      book->cluster_id.len && a->cluster_id[0] && !sl_slice_eq(book->cluster_id, sl_slice_of(a->cluster_id));
  if (fault_is_ok(&f)) {
    if (other && delivery_has_begun(book)) a->park = PARK_FOREIGN_CLUSTER;
    f = read_marker(a);
  }
  if (!fault_is_ok(&f)) {
    log_line(LEVEL_ERROR, "cluster-unusable",
             "%s (%s): %s; nothing was changed. `sidelogd --check` looks at each right and setting",
             f.name, fault_class_text(f.class_), f.text);
    return EXIT_SILENT;
  }
  const sl_slice there = SL_BYTES(a->marker.value, a->marker.found ? a->marker.len : 0);
  if (a->park == PARK_NONE && a->settings->mode == MODE_EXACTLY_ONCE) {
    a->doubt = witness_of_marker(a->store, book, &options, a->settings->marker_topic, &a->marker);
    a->park = !fault_is_ok(&a->doubt) ? PARK_MARKER_MISSING
                                      : core_judge_marker(there, book->marker_bytes, book->intent_bytes);
  }
  if (a->park != PARK_MARKER_AHEAD) return EXIT_FINE;
  if (cover_find(&a->cover, a->store, book, there, a->marker.timestamp_ms) != SL_OK) return store_failed();
  return EXIT_FINE;
}

/* ---------------------------------------------------------------- the choices */

static void events(FILE *out, uint64_t n) { fprintf(out, "%" PRIu64 " event%s", n, n == 1 ? "" : "s"); }

static void explain_cluster(const adopt *a) {
  FILE *out = a->out;
  const uint64_t left = a->stats.pending - a->cover.covered;
  fputs("    For a store restored from a backup. What the marker covers counts as delivered: ", out);
  events(out, a->cover.covered);
  fprintf(out, ", up to seq %" PRIu64 "\n    and not appended after the marker was written. The other ",
          a->cover.to);
  events(out, left);
  fputs(" will be sent.\n"
        "    Sent twice: none. Never sent: none, if the clocks of then and now agree; else an event\n"
        "    appended after the restore, with a time before the marker's, would be taken for a delivered one.\n"
        "    What the lost store had set aside as a dead letter counts as delivered here.\n", out);
}

static void explain_store(const adopt *a) {
  FILE *out = a->out;
  const delivery_state *book = delivery_state_get(a->delivery);
  uint64_t twice = a->cover.covered;
  if (a->park == PARK_MARKER_MISSING) twice = book->has_intent ? book->intent.seq - book->cursor.seq : 0;
  fputs("    The store's own notes stand: the ", out);
  events(out, a->stats.pending);
  fprintf(out, " behind seq %" PRIu64 " will be sent.\n    Sent twice: ", book->cursor.seq);
  if (a->park == PARK_MARKER_AHEAD && !a->cover.readable) fputs("unknown, up to all of them", out);
  else if (twice) fprintf(out, "up to "), events(out, twice);
  else fputs("none", out);
  fputs(". Never sent: none.\n", out);
}

static void explain_new(const adopt *a) {
  FILE *out = a->out;
  fputs("    For a copy of a store that goes on delivering elsewhere. "
        "This one gets an identity of its own (header\n"
        "    x-sidelog-store, transactional id, marker) and no longer touches the other's. Its ", out);
  events(out, a->stats.pending);
  fputs(" pending\n"
        "    will be sent. Sent twice: those of them that were in the store when it was copied, if the other\n"
        "    sends them too. Never sent: none.\n", out);
}

static void explain_accept(const adopt *a) {
  FILE *out = a->out;
  const delivery_state *book = delivery_state_get(a->delivery);
  fputs("    This cluster is where the store delivers from now on: the ", out);
  events(out, a->stats.pending);
  fprintf(out, " pending will be sent\n    here. Sent twice: none here%s. Never sent here: the ",
          a->marker.found ? " but what the marker found here covers" : "");
  events(out, book->delivered);
  fputs(" that the other\n    cluster has.", out);
  if (book->has_intent)
    fprintf(out,
            " The other cluster may hold %" PRIu64 " of the pending ones as well: their outcome there is unknown.",
            book->intent.seq - book->cursor.seq);
  fputc('\n', out);
}

static uint64_t attempt_of(sl_slice marker) {
  sl_lane lanes[SL_LANES_MAX];
  sl_progress p;
  return sl_progress_decode(marker, &p, lanes) == SL_OK ? p.attempt : 0;
}

/* Whichever cluster the marker was found on, its number is used: attempts' numbers ascend. */
static sl_status as_found(adopt *a) {
  const sl_slice marker = SL_BYTES(a->marker.value, a->marker.found ? a->marker.len : 0);
  delivery_adoption adoption = {.marker = marker, .cluster_id = sl_slice_of(a->cluster_id),
                                .marker_partition = a->partition, .attempt = attempt_of(marker)};
  return delivery_adopt(a->delivery, &adoption);
}

static sl_status do_cluster(adopt *a) {
  sl_status st = cover_take(&a->cover, a->delivery);
  /* Last: cut short before it, the agent parks as it did, and the choice can be made again. */
  return st == SL_OK ? as_found(a) : st;
}

static sl_status do_new(adopt *a) { return delivery_adopt(a->delivery, &(delivery_adoption){.as_new = true}); }

#define BIT(park) (1u << (park))

static const struct choice {
  const char *name;
  unsigned parks; /* what it answers */
  void (*explain)(const adopt *a);
  sl_status (*follow)(adopt *a);
} choices[] = {
  {"trust-cluster", BIT(PARK_MARKER_AHEAD), explain_cluster, do_cluster},
  {"trust-store", BIT(PARK_MARKER_AHEAD) | BIT(PARK_MARKER_MISSING), explain_store, as_found},
  {"accept-cluster", BIT(PARK_FOREIGN_CLUSTER), explain_accept, as_found},
  {"as-new", BIT(PARK_NONE) | BIT(PARK_MARKER_AHEAD) | BIT(PARK_MARKER_MISSING) | BIT(PARK_FOREIGN_CLUSTER),
   explain_new, do_new},
};
#define CHOICES (sizeof choices / sizeof *choices)

static bool fits(const adopt *a, const struct choice *c) {
  return (c->parks & BIT(a->park)) && (c->follow != do_cluster || a->cover.readable);
}

/* ---------------------------------------------------------------- telling */

static void tell_time(FILE *out, int64_t ms) {
  char text[32];
  const time_t seconds = (time_t)(ms / 1000);
  struct tm tm;
  if (ms > 0 && gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
    fprintf(out, ", written %s", text);
}

static void tell_found(const adopt *a) {
  FILE *out = a->out;
  const delivery_state *book = delivery_state_get(a->delivery);
  fprintf(out, "store    %s (%s)\n         settled up to seq %" PRIu64 " of %" PRIu64 ", attempt %" PRIu64 "; ",
          a->settings->store, book->sender, book->cursor.seq, a->stats.last_seq, book->cursor.attempt);
  events(out, a->stats.pending);
  fputs(" pending", out);
  if (book->has_intent) fprintf(out, "; attempt %" PRIu64 ", up to seq %" PRIu64 ", has no known outcome",
                                book->intent.attempt, book->intent.seq);
  fprintf(out, "\ncluster  %s (%s)", a->settings->brokers, a->cluster_id[0] ? a->cluster_id : "no id");
  if (a->park == PARK_FOREIGN_CLUSTER)
    fprintf(out, "; the store delivered to %.*s", (int)book->cluster_id.len, (const char *)book->cluster_id.data);
  fprintf(out, "\nmarker   ");
  if (a->partition < 0) {
    fprintf(out, "none: there is no topic %s", a->settings->marker_topic);
  } else if (!a->marker.found) {
    fprintf(out, "none in %s[%d]", a->settings->marker_topic, (int)a->partition);
  } else {
    if (a->cover.readable)
      fprintf(out, "seq %" PRIu64 ", attempt %" PRIu64 ", ", a->cover.there.seq, a->cover.attempt);
    fprintf(out, "in %s[%d] at offset %" PRId64, a->settings->marker_topic, (int)a->partition, a->marker.offset);
    tell_time(out, a->marker.timestamp_ms);
  }
  fputc('\n', out);
  if (!fault_is_ok(&a->doubt)) fprintf(out, "         %s: %s\n", a->doubt.name, a->doubt.text);
}

static int tell_situation(const adopt *a) {
  FILE *out = a->out;
  static const char *const texts[] = {
    [PARK_NONE] = "Store and cluster fit: there is nothing to decide, the agent goes on by itself.",
    [PARK_FOREIGN_CLUSTER] =
      "foreign-cluster: these brokers are another cluster than the one this store delivered to.\n"
      "If that is a mistake, point `brokers` back to the old one and choose nothing.",
    [PARK_MARKER_AHEAD] =
      "marker-ahead: the cluster's progress for this store is not the one noted here. The store was\n"
      "restored from a backup, or copied, or a second agent drains a copy of it. While another agent\n"
      "delivers under this identity, stop it first, or choose as-new.",
    [PARK_MARKER_MISSING] =
      "marker-missing: this store has delivered events, but its progress is not on the cluster: the\n"
      "topic was deleted or emptied, or lost records, `progress.topic` was changed, or the cluster was "
      "created anew."};
  fprintf(out, "\n%s\n", texts[a->park]);
  if (a->park == PARK_NONE) return EXIT_FINE;
  fputs("\nNothing was changed. The choices:\n", out);
  for (size_t i = 0; i < CHOICES; i++) {
    if (!fits(a, &choices[i])) continue;
    fprintf(out, "\n--adopt=%s\n", choices[i].name);
    choices[i].explain(a);
  }
  return EXIT_UNDECIDED;
}

/* The last word of the agent was that it is parked; it stood until its next start. */
static void report_done(adopt *a) {
  const delivery_state *book = delivery_state_get(a->delivery);
  const int64_t now = sl_clock_wall_us();
  const agent_report report = {
    .state = REPORT_STOPPED, .state_since_us = now, .written_us = now, .started_us = now, .pid = (int64_t)getpid(),
    .mode = a->settings->mode == MODE_EXACTLY_ONCE ? "exactly-once" : "at-least-once",
    .brokers = a->settings->brokers, .cluster_id = a->cluster_id[0] ? a->cluster_id : NULL,
    .backlog = a->stats.last_seq > book->cursor.seq ? a->stats.last_seq - book->cursor.seq : 0,
    .cursor_seq = book->cursor.seq, .last_seq = a->stats.last_seq};
  sl_buf json = {0};
  if (agent_report_json(&report, &json)) delivery_report_set(a->delivery, sl_buf_slice(&json));
  sl_buf_free(&json);
}

static int follow(adopt *a, const struct choice *c) {
  char before[37];
  memcpy(before, delivery_state_get(a->delivery)->sender, sizeof before);
  if (c->follow(a) != SL_OK) return store_failed();
  const delivery_state *book = delivery_state_get(a->delivery);
  fprintf(a->out, "\nDone: %s. ", c->name);
  if (strcmp(before, book->sender) != 0) fprintf(a->out, "The store delivers as %s now. ", book->sender);
  sl_stats now;
  if (sl_stats_get(a->store, &now) == SL_OK) events(a->out, now.pending);
  fputs(" will be sent. Start the agent.\n", a->out);
  report_done(a);
  return EXIT_FINE;
}

static const struct choice *chosen(const char *name) {
  for (size_t i = 0; i < CHOICES; i++)
    if (strcmp(choices[i].name, name) == 0) return &choices[i];
  return NULL;
}

static int decide(adopt *a) {
  const struct choice *c = a->settings->choice ? chosen(a->settings->choice) : NULL;
  if (a->settings->choice && !c) {
    log_line(LEVEL_ERROR, "no-such-choice", "--adopt=%.60s is no choice; --adopt alone says what there is",
             a->settings->choice);
    return EXIT_CHOICE;
  }
  if (c && c->follow == do_new && a->settings->transactional_id) {
    log_line(LEVEL_ERROR, "same-id",
             "transactions.id is set, so copy and original would fence each other: give each its own first");
    return EXIT_CHOICE;
  }
  int status = open_store(a);
  if (status == EXIT_FINE && c && c->follow == do_new) return follow(a, c); /* needs no cluster */
  if (status == EXIT_FINE) status = look_at_cluster(a);
  if (status != EXIT_FINE) return status;
  tell_found(a);
  if (!c || a->park == PARK_NONE) return tell_situation(a);
  if (fits(a, c)) return follow(a, c);
  tell_situation(a);
  log_line(LEVEL_ERROR, "no-such-choice", "%s is no answer to what was found; nothing was changed", c->name);
  return EXIT_CHOICE;
}

int adopt_run(const settings *s, FILE *out) {
  adopt a = {.settings = s, .out = out};
  log_setup(s->level, s->format);
  int status = decide(&a);
  if (fflush(out) != 0) status = EXIT_STORE;
  cover_free(&a.cover);
  free(a.marker.value);
  kafka_destroy(a.kafka);
  delivery_close(a.delivery);
  sl_close(a.store);
  return status;
}
