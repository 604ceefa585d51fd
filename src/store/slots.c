#include "store/slots.h"

#include "base/clock.h"
#include "base/id.h"
#include "db/db_file.h"
#include "store/store_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#define MAGIC UINT64_C(0x736c6f7473736c32) /* with the layout's version in its last byte */
#define LINGER_US 80
#define TURN_US 2000     /* whose turn it is has so long to come for it */
#define SLEEP_US 10000   /* a leader that was killed wakes nobody */
#define FRESH_US 10000  /* who claimed its slot within it is taken for alive */
#define REAP_ROUNDS 1024u

typedef struct header {
  _Atomic uint64_t magic; /* written last */
  uint32_t slots, slot_bytes, mutex_bytes;
  uint64_t pid_space;     /* in another pid namespace the owners' numbers are other processes */
  _Alignas(64) pthread_mutex_t lead; /* at 64: tests/fault/kills.c looks here for whom to kill */
  _Alignas(64) _Atomic uint32_t round;
  _Atomic uint32_t expected;     /* appends that the next commit may hope for */
  _Atomic uint32_t turn;         /* slot + 1 of who is to have the lead next; 0: anybody */
  _Atomic int64_t turn_until_us;
  _Atomic uint64_t ticket;       /* the last one given out; begins at random */
  char boot[40];                 /* a file that a power cut left belongs to another boot, and to nobody */
  _Alignas(64) _Atomic uint64_t ready, waiting, taken; /* slots by state: hints, but for `taken` (see S2) */
  _Alignas(64) append_slot slot[SLOT_COUNT];
} header;

#define PAGES(bytes) (((bytes) + 4095) / 4096 * 4096)
#define SIZE (PAGES(sizeof(header)) + (size_t)SLOT_COUNT * SLOT_BYTES)

struct slots {
  header *h;
  bool shared;
  uint32_t pid;
  uint64_t dev, ino; /* of the file that is mapped */
};

/* ------------------------------------------------------------------ open --- */

static bool init_lead(header *h, bool shared) {
  pthread_mutexattr_t attr;
  if (pthread_mutexattr_init(&attr) != 0) return false;
  bool ok = true;
#if defined(__linux__)
  if (shared)
    ok = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
         pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0;
#else
  (void)shared;
#endif
  ok = ok && pthread_mutex_init(&h->lead, &attr) == 0;
  pthread_mutexattr_destroy(&attr);
  return ok;
}

static uint64_t pid_space(void) {
  struct stat st;
  return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static void read_boot(char out[40]) {
  const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  memset(out, 0, 40);
  if (fd < 0) return;
  if (read(fd, out, 36) < 0) out[0] = 0;
  close(fd);
}

static bool init(header *h, bool shared) {
  uint64_t ticket;
  memset((void *)h, 0, sizeof *h);
  h->slots = SLOT_COUNT;
  h->slot_bytes = SLOT_BYTES;
  h->mutex_bytes = sizeof(pthread_mutex_t);
  h->pid_space = pid_space();
  read_boot(h->boot);
  /* Random, so that tickets of an earlier file, which may stand in the log, are none of this one's. */
  if (!sl_random(&ticket, sizeof ticket) || !init_lead(h, shared)) return false;
  atomic_store(&h->ticket, ticket);
  atomic_store(&h->magic, MAGIC);
  return true;
}

#if defined(__linux__)
static bool usable(const header *h) {
  char boot[40];
  read_boot(boot);
  return atomic_load(&h->magic) == MAGIC && h->slots == SLOT_COUNT && h->slot_bytes == SLOT_BYTES &&
         h->mutex_bytes == sizeof(pthread_mutex_t) && h->pid_space == pid_space() &&
         memcmp(h->boot, boot, sizeof boot) == 0;
}

/* Maps the open file if it is of the right size. */
static bool map(slots *s, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size != (off_t)SIZE) return false;
  void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return false;
  s->h = at;
  s->shared = true;
  s->dev = (uint64_t)st.st_dev;
  s->ino = (uint64_t)st.st_ino;
  return true;
}

static void unmap(slots *s) {
  if (s->shared) munmap((void *)s->h, SIZE);
  s->h = NULL;
  s->shared = false;
}

/* Made under another name and then put in place whole: a process that still has an older file mapped goes on with it
 * unharmed, and nobody ever sees half a file. */
static void make_file(slots *s, const sl_store *store, const char *path, const char *fresh) {
  (void)unlink(fresh);
  int fd = store_fs_open_file(store, fresh, O_RDWR | O_EXCL);
  /* Its blocks first: the touch of a page for which the full disk has no block would be a SIGBUS. */
  bool ok = fd >= 0 && ftruncate(fd, (off_t)SIZE) == 0 && db_file_reserve(fresh, SIZE, store->file_mode) == SL_OK &&
            map(s, fd);
  if (ok && (!init(s->h, true) || rename(fresh, path) != 0)) {
    unmap(s);
    ok = false;
  }
  if (fd >= 0) close(fd);
  if (!ok) {
    (void)unlink(fresh);
    (void)unlink(path); /* of an earlier life: nobody shall take it for a living one */
  }
}

static void map_file(slots *s, const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  if (map(s, fd) && !usable(s->h)) unmap(s);
  close(fd);
}
#endif

static bool go_private(slots *s) {
  s->h = aligned_alloc(64, (SIZE + 63) / 64 * 64);
  if (s->h && init(s->h, false)) return true;
  free(s->h);
  s->h = NULL;
  return false;
}

slots *slots_open(sl_store *store, bool fresh) {
  slots *s = calloc(1, sizeof *s);
  char *path = store_path(store, "log/slots"), *made = store_path(store, "log/slots.new");
  bool ok = s && path && made;
  if (s) s->pid = (uint32_t)getpid();
#if defined(__linux__) /* elsewhere there are no robust mutexes, no futexes */
  if (ok && fresh) make_file(s, store, path, made);
  else if (ok) map_file(s, path);
#else
  (void)fresh;
#endif
  ok = ok && (s->shared || go_private(s));
  free(path);
  free(made);
  if (ok) return s;
  slots_close(s);
  return NULL;
}

bool slots_settle(sl_store *store, slots *s) {
  bool ok = true;
#if defined(__linux__)
  char *path = store_path(store, "log/slots");
  struct stat st;
  if (s->shared && path && (stat(path, &st) != 0 || (uint64_t)st.st_dev != s->dev || (uint64_t)st.st_ino != s->ino)) {
    unmap(s);
    map_file(s, path);
    ok = s->shared || go_private(s);
  }
  free(path);
#else
  (void)store, (void)s;
#endif
  return ok;
}

void slots_close(slots *s) {
  if (!s) return;
  if (s->shared) {
    munmap((void *)s->h, SIZE);
  } else if (s->h) {
    pthread_mutex_destroy(&s->h->lead);
    free(s->h);
  }
  free(s);
}

bool slots_shared(const slots *s) { return s->shared; }
append_slot *slots_at(slots *s, unsigned i) { return &s->h->slot[i]; }
uint8_t *slots_bytes(slots *s, unsigned i) {
  return (uint8_t *)s->h + PAGES(sizeof(header)) + (size_t)i * SLOT_BYTES;
}

/* ---------------------------------------------------------------- owners --- */

static uint64_t bit(unsigned i) { return UINT64_C(1) << i; }

int slots_claim(slots *s) {
  for (unsigned i = 0; i < SLOT_COUNT; i++) { /* the lowest free one: few producers touch few pages */
    uint32_t nobody = 0;
    append_slot *slot = slots_at(s, i);
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed) != 0 ||
        !atomic_compare_exchange_strong(&slot->owner, &nobody, s->pid))
      continue;
    atomic_store(&slot->state, SLOT_CLAIMED);
    slot->since_us = sl_clock_monotonic_us();
    return (int)i;
  }
  return -1;
}

void slots_publish(slots *s, unsigned i) {
  slots_at(s, i)->ticket = atomic_fetch_add(&s->h->ticket, 1) + 1;
  atomic_store(&slots_at(s, i)->state, SLOT_READY);
  atomic_fetch_or(&s->h->ready, bit(i));
}

void slots_queue(slots *s, unsigned i) {
  atomic_store(&slots_at(s, i)->state, SLOT_WAITING);
  atomic_fetch_or(&s->h->waiting, bit(i));
}

/* By its owner, or by the leader for a dead one. */
void slots_release(slots *s, unsigned i) {
  atomic_fetch_and(&s->h->waiting, ~bit(i));
  atomic_fetch_and(&s->h->ready, ~bit(i));
  atomic_store(&slots_at(s, i)->state, SLOT_FREE);
  atomic_store(&slots_at(s, i)->owner, 0);
}

uint32_t slots_round(slots *s) { return atomic_load(&s->h->round); }

#if defined(__linux__)
/* By which one of those who sleep can be woken. */
static uint32_t wake_bit(unsigned i) { return UINT32_C(1) << i % 32; }
#endif

void slots_sleep(slots *s, int i, uint32_t round) {
#if defined(__linux__)
  const int64_t until = sl_clock_monotonic_us() + SLEEP_US;
  const struct timespec at = {(time_t)(until / 1000000), (long)(until % 1000000) * 1000};
  const uint32_t bits = i < 0 ? FUTEX_BITSET_MATCH_ANY : wake_bit((unsigned)i);
  (void)syscall(SYS_futex, &s->h->round, FUTEX_WAIT_BITSET, round, &at, NULL, bits);
#else
  const struct timespec nap = {0, 50000};
  for (int n = 0; n < SLEEP_US / 50 && atomic_load(&s->h->round) == round; n++) nanosleep(&nap, NULL);
  (void)i;
#endif
}

slots_lead slots_try_lead(slots *s, int i) {
  header *h = s->h;
  const uint32_t turn = atomic_load(&h->turn);
  if (turn != 0 && turn != (uint32_t)(i + 1) && sl_clock_monotonic_us() < atomic_load(&h->turn_until_us))
    return LEAD_HELD;
  int rc = pthread_mutex_trylock(&h->lead);
#if defined(__linux__)
  if (rc == EOWNERDEAD) rc = pthread_mutex_consistent(&h->lead); /* what it left TAKEN says slots_left */
#endif
  if (rc == EBUSY) return LEAD_HELD;
  if (rc != 0) return LEAD_BROKEN;
  if (turn != 0) {
    /* Who did not come for its turn is stopped, or dead in a way that cannot be seen (a zombie, a number given to
     * another process): it is not waited for again. A living one queues anew each time it looks. */
    if (turn != (uint32_t)(i + 1)) atomic_fetch_and(&h->waiting, ~bit(turn - 1));
    atomic_store(&h->turn, 0);
  }
  if (i >= 0 && atomic_load(&slots_at(s, (unsigned)i)->state) == SLOT_WAITING) {
    atomic_fetch_and(&h->waiting, ~bit((unsigned)i));
    atomic_store(&slots_at(s, (unsigned)i)->state, SLOT_CLAIMED);
  }
  return LEAD_TAKEN;
}

/* ------------------------------------------------------------ the leader --- */

static bool is_alive(uint32_t pid) {
  return pid == (uint32_t)getpid() || kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

static unsigned count(uint64_t mask) {
  unsigned n = 0;
  for (; mask; mask &= mask - 1) n++;
  return n;
}

bool slots_linger(slots *s, unsigned have, linger *l) {
  const unsigned goal = atomic_load_explicit(&s->h->expected, memory_order_relaxed);
  if (goal <= 1 || have >= goal) return false;
  const bool came = have != l->have;
  l->have = have;
  if (came && atomic_load(&s->h->ready) != 0) return true;
  if (l->waited_us >= LINGER_US) return false;
  const int64_t begun = sl_clock_monotonic_us();
  sched_yield();
  l->waited_us += sl_clock_monotonic_us() - begun;
  return true;
}

/* To ask for a process is a system call, and most who published have done so just now. */
static bool may_live(const slots *s, const append_slot *slot, int64_t now_us) {
  const uint32_t owner = atomic_load(&slot->owner);
  return owner == s->pid || now_us - slot->since_us < FRESH_US || is_alive(owner);
}

uint64_t slots_ready(slots *s) {
  uint64_t mask = atomic_load(&s->h->ready), alive = 0;
  const int64_t now = mask ? sl_clock_monotonic_us() : 0;
  for (; mask; mask &= mask - 1) {
    const unsigned i = (unsigned)__builtin_ctzll(mask);
    append_slot *slot = slots_at(s, i);
    if (atomic_load(&slot->state) != SLOT_READY) continue;
    if (may_live(s, slot, now)) alive |= bit(i);
    else slots_release(s, i);
  }
  return alive;
}

void slots_take(slots *s, uint64_t mask) {
  atomic_fetch_or(&s->h->taken, mask); /* before any is: a new leader looks here */
  atomic_fetch_and(&s->h->ready, ~mask);
  for (uint64_t m = mask; m; m &= m - 1) atomic_store(&slots_at(s, (unsigned)__builtin_ctzll(m))->state, SLOT_TAKEN);
}

uint64_t slots_left(slots *s) {
  uint64_t mask = atomic_load(&s->h->taken), left = 0;
  for (; mask; mask &= mask - 1) {
    const unsigned i = (unsigned)__builtin_ctzll(mask);
    const uint32_t state = atomic_load(&slots_at(s, i)->state);
    if (state == SLOT_TAKEN || state == SLOT_READY) left |= bit(i); /* READY: killed while taking */
  }
  return left;
}

void slots_untake(slots *s, unsigned i) {
  append_slot *slot = slots_at(s, i);
  if (!is_alive(atomic_load(&slot->owner))) {
    slots_release(s, i);
  } else {
    atomic_store(&slot->state, SLOT_READY);
    atomic_fetch_or(&s->h->ready, bit(i));
  }
  atomic_fetch_and(&s->h->taken, ~bit(i));
}

void slots_decide(slots *s, unsigned i, slot_state state, uint64_t first_seq) {
  append_slot *slot = slots_at(s, i);
  slot->first_seq = first_seq;
  atomic_fetch_and(&s->h->ready, ~bit(i));
  atomic_store(&slot->state, state); /* from here on it is its owner's */
  atomic_fetch_and(&s->h->taken, ~bit(i));
}

/* Frees what dead owners left in states that nobody else would ever look at. */
static void reap(slots *s) {
  for (unsigned i = 0; i < SLOT_COUNT; i++) {
    const uint32_t owner = atomic_load(&slots_at(s, i)->owner);
    if (owner != 0 && !is_alive(owner)) slots_release(s, i);
  }
}

/* The one who waits longest has the next turn: first those who must lead to be served, whom the others, served by every
 * leader, would keep away; then those who came too late for this commit. Without that who has just led is the first to
 * lead again, misses no commit, and gets ahead of the others. */
static uint32_t give_turn(slots *s) {
  header *h = s->h;
  uint64_t mask = atomic_load(&h->waiting);
  const slot_state wanted = mask ? SLOT_WAITING : SLOT_READY;
  if (!mask) mask = atomic_load(&h->ready);
  int64_t oldest = INT64_MAX;
  uint32_t turn = 0;
  for (; mask; mask &= mask - 1) {
    const unsigned i = (unsigned)__builtin_ctzll(mask);
    const append_slot *slot = slots_at(s, i);
    if (atomic_load(&slot->state) != wanted || slot->since_us >= oldest) continue;
    oldest = slot->since_us;
    turn = i + 1;
  }
  if (turn != 0) atomic_store(&h->turn_until_us, sl_clock_monotonic_us() + TURN_US);
  atomic_store(&h->turn, turn);
  return turn;
}

void slots_end_lead(slots *s, unsigned units) {
  header *h = s->h;
  const uint32_t round = atomic_load(&h->round);
  const unsigned ready = count(atomic_load(&h->ready));
  atomic_store(&h->taken, 0);
  atomic_store_explicit(&h->expected, units + ready, memory_order_relaxed);
  bool full = false;
  if (round % REAP_ROUNDS == 0 || (full = atomic_load(&slots_at(s, SLOT_COUNT - 1)->owner) != 0)) reap(s);
  const uint32_t turn = give_turn(s);
  pthread_mutex_unlock(&h->lead);
  /* Behind the unlocking: who is woken tries for the lead, and who found it held has read an older round. */
  atomic_fetch_add(&h->round, 1);
#if defined(__linux__)
  const bool somebody = units > 1 || full || atomic_load(&h->ready) != 0 || atomic_load(&h->waiting) != 0;
  /* Whose turn it is comes first: nobody else may lead, and they wake in the order in which they went to sleep. */
  if (turn) (void)syscall(SYS_futex, &h->round, FUTEX_WAKE_BITSET, INT32_MAX, NULL, NULL, wake_bit(turn - 1));
  if (somebody) (void)syscall(SYS_futex, &h->round, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
#else
  (void)turn;
#endif
}
