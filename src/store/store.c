#include "store/store.h"

#include "db/db_file.h"
#include "delivery/book.h"
#include "index/index.h"
#include "readers/readers.h"
#include "store/async.h"
#include "store/log_inner.h"
#include "store/store_fs.h"
#include "store/store_lock.h"
#include "store/wait.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The stores this process has open. LMDB loses its reader table when one environment is opened twice in a
 * process: closing either descriptor of lock.mdb drops the fcntl lock that says "this process is alive". */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static sl_store *registry;

static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static void in_child(void) {
  static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  registry_lock = fresh; /* another thread of the parent may have held it */
}
static void watch_forks(void) { pthread_atfork(NULL, NULL, in_child); }

sl_status store_enter(const sl_store *store) {
  if (!store) return sl_fail(SL_E_INVALID, "store is NULL");
  if (sl_life_goes_on(&store->life)) return SL_OK;
  return sl_fail(SL_E_FORKED, "the store at %s was opened by process %ld, the parent of this one: open it "
                 "anew after fork", store->path, (long)store->life.pid);
}

char *store_path(const sl_store *store, const char *name) {
  size_t size = strlen(store->root) + strlen(name) + 2;
  char *path = malloc(size);
  if (path) snprintf(path, size, "%s/%s", store->root, name);
  return path;
}

static sl_status register_store(sl_store *store) {
  struct stat st;
  if (stat(store->root, &st) != 0)
    return sl_fail(sl_status_of_errno(errno), "%s: %s", store->path, strerror(errno));
  store->dev = (uint64_t)st.st_dev;
  store->ino = (uint64_t)st.st_ino;
  pthread_mutex_lock(&registry_lock);
  const sl_store *other = registry;
  /* Entries of another pid are the parent's, inherited by fork. */
  while (other && !(other->dev == store->dev && other->ino == store->ino && other->life.pid == store->life.pid))
    other = other->next_open;
  if (!other) {
    store->next_open = registry;
    registry = store;
  }
  pthread_mutex_unlock(&registry_lock);
  if (!other) return SL_OK;
  return sl_fail(SL_E_BUSY, "this process has the store at %s open already: use that sl_store, from any "
                 "thread", store->path);
}

static void unregister_store(sl_store *store) {
  pthread_mutex_lock(&registry_lock);
  for (sl_store **at = &registry; *at; at = &(*at)->next_open)
    if (*at == store) {
      *at = store->next_open;
      break;
    }
  pthread_mutex_unlock(&registry_lock);
}

static sl_status read_options(sl_store *store, const sl_options *given) {
  sl_options *o = &store->options;
  if (given) *o = *given;
  if (o->version > SL_OPTIONS_VERSION)
    return sl_fail(SL_E_INVALID, "sl_options.version is %" PRIu32 ": this library knows up to %u", o->version,
                   SL_OPTIONS_VERSION);
  if (o->flags & ~(uint32_t)(SL_OPEN_EXISTING | SL_OPEN_OWN_COMMITS))
    return sl_fail(SL_E_INVALID, "sl_options.flags has unknown bits: %#" PRIx32, o->flags);
  if (o->durability != SL_DURABLE && o->durability != SL_RELAXED)
    return sl_fail(SL_E_INVALID, "sl_options.durability is %d: it is SL_DURABLE or SL_RELAXED",
                   (int)o->durability);
  if (o->max_value > SL_MAX_VALUE)
    return sl_fail(SL_E_INVALID, "max_value is %" PRIu32 ": at most %u", o->max_value, SL_MAX_VALUE);
  if (o->quota_bytes != 0 && (o->quota_bytes < (1u << 20) || o->quota_bytes > (UINT64_C(1) << 44)))
    return sl_fail(SL_E_INVALID, "quota_bytes is %" PRIu64 ": at least 1 MiB, at most 16 TiB",
                   o->quota_bytes);
  if (o->max_value == 0) o->max_value = SL_DEFAULT_MAX_VALUE;
  if (o->async_bytes == 0) o->async_bytes = UINT64_C(16) << 20;
  if (o->preallocate == 0) o->preallocate = UINT64_C(64) << 20;
  return SL_OK;
}

static bool is_there(const char *path) {
  char file[PATH_MAX];
  int len = snprintf(file, sizeof file, "%s/log/data.mdb", path);
  return len < (int)sizeof file && access(file, F_OK) == 0;
}

/* The folder: made if need be, with its absolute path and who may use it. */
static sl_status settle_folder(sl_store *store) {
  bool there = is_there(store->path), made = false, barred = !there && errno == EACCES;
  sl_status status = store_fs_check(store->path);
  if (status != SL_OK) return status;
  if (!there && (store->options.flags & SL_OPEN_EXISTING)) {
    if (barred) return sl_fail(SL_E_ACCESS, "%s: permission denied", store->path);
    return store_fs_no_log(store->path);
  }
  if (!there) status = store_fs_owner_new(store);
  if (status == SL_OK && !there) status = store_fs_make(store->path, &made);
  if (status != SL_OK) return status;
  store->root = realpath(store->path, NULL);
  if (!store->root) return sl_fail(sl_status_of_errno(errno), "%s: %s", store->path, strerror(errno));
  if (there) store_fs_owner_old(store);
  /* A folder that holds other things keeps its mode; the store's own folders inside it are closed anyway. */
  return made ? store_fs_own_root(store) : SL_OK;
}

/* The place in the registry is given up last: who opens the store in between would have it open twice. */
static void free_store(sl_store *store) {
  async_close(store);
  wait_close(store->wait);
  readers_close(store->readers);
  book_close(store->book);
  index_close(store->index);
  log_close(store->log);
  store_lock_leave(store, store_enter(store) == SL_OK);
  unregister_store(store);
  free(store->root);
  free(store->path);
  free(store);
}

/* The shared memory of group commit, and then the store's lock for others, too. Who is alone makes it for those
 * who come, also if it does not use it itself: what they found would be of an earlier life. */
static sl_status open_slots(sl_store *store, bool alone) {
  const bool same = store_lock_same_log(store, db_env_file(store->log->env));
  const bool used = same && !(store->options.flags & SL_OPEN_OWN_COMMITS);
  if (alone) compact_tidy(store);
  slots *s = used || alone ? slots_open(store, alone) : NULL;
  if (!s && used) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = alone ? store_lock_share(store) : SL_OK;
  if (status == SL_OK && used && !slots_settle(store, s)) status = sl_fail(SL_E_NOMEM, "out of memory");
  if (used) store->log->slots = s;
  else slots_close(s);
  return status;
}

sl_status sl_open(const char *path, const sl_options *options, sl_store **out) {
  if (!path || !out) return sl_fail(SL_E_INVALID, "sl_open needs a path and a place for the store");
  if (!*path) return sl_fail(SL_E_INVALID, "the store's path is empty: name a folder");
  sl_store *store = calloc(1, sizeof *store);
  if (!store) return sl_fail(SL_E_NOMEM, "out of memory");
  pthread_once(&forks_once, watch_forks);
  store->life = sl_life_now();
  store->lock_fd = store->gate_fd = -1;
  store->path = strdup(path);
  sl_status status = store->path ? SL_OK : sl_fail(SL_E_NOMEM, "out of memory");
  if (status == SL_OK) status = read_options(store, options);
  if (status == SL_OK) status = settle_folder(store);
  if (status == SL_OK) status = register_store(store);
  bool alone = false;
  if (status == SL_OK) status = store_lock_enter(store, &alone);
  if (status == SL_OK) {
    store->wait = wait_open();
    store->async = async_new();
    store->readers = readers_new();
    const bool made = store->wait && store->async && store->readers;
    status = made ? log_open(store) : sl_fail(SL_E_NOMEM, "out of memory");
  }
  /* A power cut must not leave a delivery/ without the log/ that it belongs to. */
  if (status == SL_OK && !store->existed) status = db_file_sync_dir(store->root);
  if (status == SL_OK) status = open_slots(store, alone);
  if (status == SL_OK) status = index_open(store);
  if (status == SL_OK) status = book_open(store);
  if (status == SL_OK) status = store_fs_own_files(store);
  if (status == SL_OK && !store->existed) status = db_file_sync_dir(store->root);
  if (status == SL_OK) {
    store->options.group = NULL; /* the caller's memory */
    space_restore_ballast(store);
    *out = store;
    return SL_OK;
  }
  free_store(store);
  return status;
}

void sl_close(sl_store *store) {
  if (!store) return;
  if (store_enter(store) == SL_OK && async_is_callback(store)) { /* its thread would go on in freed memory */
    sl_fail(SL_E_INVALID, "sl_close in a callback of sl_append_async: the store stays open");
    return;
  }
  free_store(store); /* in a forked child too: its copy of the list must not keep the entry */
}

const char *sl_store_id(const sl_store *store) { return store->uuid_text; }
const char *sl_store_path(const sl_store *store) { return store->path; }
