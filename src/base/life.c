/* getpid is a system call, and pthread_atfork tells of fork() alone. So the answer lies on a page that the kernel
 * empties in a child, whoever made it, where there are such pages. */
#include "base/life.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *page;
static pthread_once_t page_once = PTHREAD_ONCE_INIT;

static void make_page(void) {
#ifdef MADV_WIPEONFORK
  void *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return;
  if (madvise(made, 4096, MADV_WIPEONFORK) == 0) page = made;
  else (void)munmap(made, 4096);
#endif
}

sl_life sl_life_now(void) {
  sl_life life = {.pid = getpid()};
  uint64_t none = 0;
  pthread_once(&page_once, make_page);
  if (!page) return life;
  const uint64_t mine = (uint64_t)life.pid << 40 | ((uint64_t)sl_clock_monotonic_us() & 0xffffffffff);
  atomic_compare_exchange_strong(page, &none, mine);
  life.number = atomic_load(page);
  return life;
}

bool sl_life_goes_on(const sl_life *life) {
  return life->number ? atomic_load_explicit(page, memory_order_relaxed) == life->number : getpid() == life->pid;
}
