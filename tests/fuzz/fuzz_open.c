/* Damaged stores: a small real one, changed in places that the input names. What reads it without LMDB (the check
 * at opening, the page reader, repair) has to end well under the sanitizers. LMDB trusts its pages and may die on
 * them: opening, verifying and reading the whole store is done in a child, and asserted is that it ends, and that
 * no wrong value is called right.
 *
 * Input: edits of 5 bytes: which file, place (u24, modulo its size), what to do with the byte there. */
#define _GNU_SOURCE
#include "fuzz.h"

#include "db/db_file.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS 60u
#define FILES 2u

static const char *const parts[FILES] = {"log", "delivery"};
static char root[64];
static struct image { uint8_t *bytes; size_t len; } images[FILES];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static void remove_all(void) { nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static size_t value_of(uint64_t seq, char *value) {
  const size_t size = seq % 20 == 7 ? 5000 : 40;
  memset(value, (int)('a' + seq % 26), size);
  return size;
}

static void make_store(void) {
  char path[128], value[5000];
  const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  sl_store *store;
  snprintf(root, sizeof root, "%s/sidelog-fuzz.XXXXXX", tmp);
  PROMISE(mkdtemp(root));
  atexit(remove_all);
  snprintf(path, sizeof path, "%s/whole", root);
  const sl_options options = {.preallocate = SL_NONE};
  PROMISE(sl_open(path, &options, &store) == SL_OK);
  for (uint64_t i = 1; i <= EVENTS; i++) {
    const size_t size = value_of(i, value);
    const sl_event e = {.topic = SL_STR("fuzzed"), .value = {value, size}};
    PROMISE(sl_append(store, &e, NULL) == SL_OK);
  }
  PROMISE(sl_cursor_set(store, "reader", 3) == SL_OK);
  sl_close(store);
  for (size_t i = 0; i < FILES; i++) {
    struct stat st;
    snprintf(path, sizeof path, "%s/whole/%s/data.mdb", root, parts[i]);
    const int fd = open(path, O_RDONLY);
    PROMISE(fd >= 0 && fstat(fd, &st) == 0);
    images[i].len = (size_t)st.st_size;
    images[i].bytes = malloc(images[i].len);
    PROMISE(read(fd, images[i].bytes, images[i].len) == st.st_size);
    close(fd);
  }
}

static void write_store(const uint8_t *data, size_t size) {
  char path[128];
  for (size_t i = 0; i < FILES; i++) {
    snprintf(path, sizeof path, "%s/damaged", root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/damaged/%s", root, parts[i]);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/damaged/%s/data.mdb", root, parts[i]);
    uint8_t *bytes = malloc(images[i].len);
    size_t len = images[i].len;
    memcpy(bytes, images[i].bytes, len);
    for (size_t at = 0; at + 5 <= size; at += 5) {
      const uint8_t *e = data + at;
      const size_t where = ((size_t)e[1] | (size_t)e[2] << 8 | (size_t)e[3] << 16) % images[i].len;
      if (e[0] % FILES != i) continue;
      if (e[0] >= 250) len = where;
      else if (e[0] >= 200) bytes[where] = e[4];
      else bytes[where] ^= (uint8_t)(1u << (e[4] % 8));
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    PROMISE(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
    free(bytes);
    db_file_state state;
    (void)db_file_check(path, &state);
  }
}

/* Values that are called right are right. */
static int read_store(const char *path, bool all) {
  char value[5000];
  sl_store *store;
  sl_iter *it;
  const sl_record *r;
  if (sl_open(path, &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK) return all ? 2 : 0;
  if (sl_iter_start(store, NULL, &it) == SL_OK) {
    sl_status status;
    for (unsigned i = 0; i < 1000 && (status = sl_iter_next(it, &r)) != SL_NOTFOUND; i++) {
      if (status != SL_OK || sl_slice_eq(r->type, SL_STR("LOST_DAMAGED")) || r->seq > EVENTS) continue;
      if (!sl_slice_eq(r->value, (sl_slice){value, value_of(r->seq, value)}) && all) return 3;
    }
    sl_iter_close(it);
  }
  sl_verify_report report;
  const sl_status status = sl_verify(store, NULL, NULL, &report);
  if (all && (status != SL_OK || report.problems)) return 4;
  sl_close(store);
  return 0;
}

static void read_in_child(const char *path) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    _exit(read_store(path, false));
  }
  int status;
  PROMISE(waitpid(pid, &status, 0) == pid);
  PROMISE(!(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned runs;
  char damaged[80], into[80];
  if (!images[0].bytes) make_store();
  snprintf(damaged, sizeof damaged, "%s/damaged", root);
  snprintf(into, sizeof into, "%s/repaired", root);
  nftw(damaged, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  nftw(into, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  write_store(data, size);
  const char *const names[] = {"fuzzed"};
  sl_repair_options options = {.names = names, .name_count = 1};
  sl_status status = sl_repair(damaged, into, &options, NULL, NULL, NULL);
  if (status == SL_E_MISMATCH) {
    options.flags = SL_REPAIR_NO_DELIVERY;
    status = sl_repair(damaged, into, &options, NULL, NULL, NULL);
  }
  if (status != SL_OK && status != SL_E_AMBIGUOUS && status != SL_E_VERSION)
    PROMISE(status == SL_E_CORRUPT && strstr(sl_last_detail(), "meta pages"));
  if (status == SL_OK) PROMISE(read_store(into, true) == 0);
  if (++runs % 8 == 0) read_in_child(damaged);
  return 0;
}
