/* What the programs of the benchmark share: a clock, percentiles, the lines they print, test events, files.
 *
 * Every program prints lines of one form, for bench/run.py and for people:
 *
 *   GROUP/CASE/SIDE UNIT VALUE VALUE ...      one value for each part of the run, in the order of time
 *
 * A part's values of all sides were measured in turns, so a ratio is taken part by part and drift cancels out.
 * Notes for people go to stderr. A result that is not what was appended ends the program with status 1. */
#ifndef BENCH_H
#define BENCH_H
#include <sidelog/sidelog.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARTS = 5, RECORD = 1024, ID_BYTES = 48, HEADER = 40 };
#define PREALLOCATE (256u << 20) /* of stores that are appended to: as docs/performance.md says */
#define VALUE_1K (RECORD - HEADER - ID_BYTES) /* with three UUIDs such a record has 1,024 bytes */

/* Prints what failed and ends the process with 1. `must` adds what the library says about it. */
_Noreturn void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
void must(sl_status status, const char *what);
void *need(void *memory); /* stops when it is NULL */

double now_us(void);
uint64_t mix(uint64_t x); /* a number that looks random for every number */

/* --- percentiles --- */

typedef struct samples {
  double *values;
  size_t count, cap;
} samples;
void samples_add(samples *s, double value);
double samples_at(samples *s, double share); /* sorts; 0.5 is the median; 0 when there are none */
double samples_sum(const samples *s);
void samples_free(samples *s);

/* Prints a line. */
void tell(const char *series, const char *unit, const double *values, size_t count);
/* The same with a percentile of each part. */
void tell_percentile(const char *series, const char *unit, samples *parts, size_t count, double share);

/* --- events --- */

/* Event `n` of a benchmark: random-looking UUIDs (version 4: the worst case for an index), GROUP_SIZE events with
 * one correlation id, which lie OPEN_GROUPS apart; each caused by the one before. The value begins with n. */
enum { GROUP_SIZE = 20, OPEN_GROUPS = 500 };
typedef struct event {
  uint64_t n;
  uint8_t event_id[16], correlation_id[16], causation_id[16];
  char event_text[37], correlation_text[37], causation_text[37];
  const uint8_t *value; /* incompressible; valid while this thread makes BATCH_MAX (large: 64) more of its size */
  size_t value_len;
} event;
enum { BATCH_MAX = 1000 };
uint64_t group_of(uint64_t n); /* the number of event n's correlation id */
void event_make(uint64_t n, size_t value_len, event *out);
void event_uuid(uint64_t number, char kind, uint8_t out[16]); /* kind e or c */
void uuid_text(const uint8_t uuid[16], char out[37]);
sl_event event_for_sidelog(const event *e); /* borrows from e */
/* Stops unless the value is event n's. */
void event_verify(const void *value, size_t len, uint64_t n);

/* --- files --- */

void remove_tree(const char *path);
void make_folder(const char *path);
uint64_t disk_bytes(const char *path); /* allocated by a file or by all files of a folder; 0: not there */
/* Drops the files of a folder from the page cache (nobody may have them mapped); the bytes that stayed. */
uint64_t drop_cache(const char *path);
/* Bytes that the block device below `path` has written so far, for whomever; 0: there is none that says. */
uint64_t device_written(const char *path);
#endif
