#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

void stop(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("bench: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(1);
}

void must(sl_status status, const char *what) {
  if (status != SL_OK) stop("%s: %s: %s", what, sl_status_text(status), sl_last_detail());
}

void *need(void *memory) {
  if (!memory) stop("out of memory");
  return memory;
}

double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* --- percentiles --- */

void samples_add(samples *s, double value) {
  if (s->count == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 1024;
    s->values = need(realloc(s->values, s->cap * sizeof *s->values));
  }
  s->values[s->count++] = value;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double samples_at(samples *s, double share) {
  if (s->count == 0) return 0;
  qsort(s->values, s->count, sizeof *s->values, ascending);
  return s->values[(size_t)(share * (double)(s->count - 1))];
}

double samples_sum(const samples *s) {
  double sum = 0;
  for (size_t i = 0; i < s->count; i++) sum += s->values[i];
  return sum;
}

void samples_free(samples *s) {
  free(s->values);
  *s = (samples){0};
}

void tell(const char *series, const char *unit, const double *values, size_t count) {
  printf("%s %s", series, unit);
  for (size_t i = 0; i < count; i++) printf(" %.6g", values[i]);
  putchar('\n');
  fflush(stdout);
}

void tell_percentile(const char *series, const char *unit, samples *parts, size_t count, double share) {
  double *values = need(calloc(count, sizeof *values));
  for (size_t i = 0; i < count; i++) values[i] = samples_at(&parts[i], share);
  tell(series, unit, values, count);
  free(values);
}

/* --- events --- */

#define POOL (UINT32_C(1) << 21)
static uint8_t *pool;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void pool_fill(void) {
  pool = need(malloc(POOL));
  for (uint32_t i = 0; i < POOL; i += 8) {
    const uint64_t word = mix(i + 1);
    memcpy(pool + i, &word, 8);
  }
}

uint64_t group_of(uint64_t n) { return n / (OPEN_GROUPS * GROUP_SIZE) * OPEN_GROUPS + n % OPEN_GROUPS; }

void event_uuid(uint64_t number, char kind, uint8_t out[16]) {
  const uint64_t a = mix(number * 2 + (uint64_t)kind * 7919), b = mix(a + number);
  memcpy(out, &a, 8);
  memcpy(out + 8, &b, 8);
  out[6] = (uint8_t)(0x40 | (out[6] & 0x0f));
  out[8] = (uint8_t)(0x80 | (out[8] & 0x3f));
}

void uuid_text(const uint8_t uuid[16], char out[37]) {
  static const char digits[] = "0123456789abcdef";
  char *p = out;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
    *p++ = digits[uuid[i] >> 4];
    *p++ = digits[uuid[i] & 15];
  }
  *p = '\0';
}

void event_make(uint64_t n, size_t value_len, event *out) {
  static _Thread_local uint8_t *ring;
  static _Thread_local size_t ring_len, slot;
  pthread_once(&pool_once, pool_fill);
  if (value_len < 8 || value_len > POOL / 2) stop("values have 8 to %u bytes", POOL / 2);
  event_uuid(n, 'e', out->event_id);
  event_uuid(group_of(n), 'c', out->correlation_id);
  event_uuid(n ? n - 1 : 0, 'e', out->causation_id);
  uuid_text(out->event_id, out->event_text);
  uuid_text(out->correlation_id, out->correlation_text);
  uuid_text(out->causation_id, out->causation_text);
  const size_t slots = value_len > 65536 ? 64 : BATCH_MAX;
  if (ring_len != value_len) {
    ring = need(realloc(ring, slots * value_len));
    ring_len = value_len;
    slot = 0;
  }
  uint8_t *value = ring + slot++ % slots * value_len;
  memcpy(value, &n, 8);
  memcpy(value + 8, pool + mix(n) % (POOL / 2), value_len - 8);
  out->n = n;
  out->value = value;
  out->value_len = value_len;
}

sl_event event_for_sidelog(const event *e) {
  return (sl_event){.topic = SL_STR("bench.events.v1"), .type = SL_STR("EVENT_HAPPENED"),
                    .event_id = SL_BYTES(e->event_text, 36), .correlation_id = SL_BYTES(e->correlation_text, 36),
                    .causation_id = SL_BYTES(e->causation_text, 36), .value = SL_BYTES(e->value, e->value_len)};
}

void event_verify(const void *value, size_t len, uint64_t n) {
  uint64_t found;
  pthread_once(&pool_once, pool_fill);
  if (len < 8) stop("a value has %zu bytes", len);
  memcpy(&found, value, 8);
  if (found != n) stop("event %llu where %llu should be", (unsigned long long)found, (unsigned long long)n);
  if (memcmp((const uint8_t *)value + 8, pool + mix(n) % (POOL / 2), len - 8) != 0)
    stop("the value of event %llu is not what was appended", (unsigned long long)n);
}

/* --- files --- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void make_folder(const char *path) {
  if (mkdir(path, 0700) != 0 && errno != EEXIST) stop("%s: %s", path, strerror(errno));
}

/* nftw has no argument for its caller; these are used by one thread. */
static uint64_t sum;

static int add_blocks(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)path, (void)ftw;
  if (flag == FTW_F) sum += (uint64_t)st->st_blocks * 512;
  return 0;
}

uint64_t disk_bytes(const char *path) {
  sum = 0;
  nftw(path, add_blocks, 16, FTW_PHYS);
  return sum;
}

static int drop_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)ftw;
  if (flag != FTW_F || st->st_size == 0) return 0;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) stop("%s: %s", path, strerror(errno));
  fsync(fd); /* dirty pages are not dropped */
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  const size_t len = (size_t)st->st_size, page = (size_t)sysconf(_SC_PAGESIZE), pages = (len + page - 1) / page;
  void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
  unsigned char *in_memory = need(malloc(pages));
  if (map == MAP_FAILED || mincore(map, len, in_memory) != 0) stop("%s: %s", path, strerror(errno));
  for (size_t i = 0; i < pages; i++) sum += (in_memory[i] & 1u) * page;
  free(in_memory);
  munmap(map, len);
  close(fd);
  return 0;
}

uint64_t drop_cache(const char *path) {
  sum = 0;
  nftw(path, drop_one, 16, FTW_PHYS);
  return sum;
}

uint64_t device_written(const char *path) {
  char name[64];
  struct stat st;
  unsigned long long sectors = 0;
  if (stat(path, &st) != 0) stop("%s: %s", path, strerror(errno));
  snprintf(name, sizeof name, "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
  FILE *file = fopen(name, "r");
  if (!file || fscanf(file, "%*u %*u %*u %*u %*u %*u %llu", &sectors) != 1) sectors = 0;
  if (file) fclose(file);
  return (uint64_t)sectors * 512;
}
