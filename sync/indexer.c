/* The order is what keeps an event from being missed: the watch is on before the look that is to see what came
 * without it. And no change of the file is waited for that may have come already: LMDB publishes a commit to
 * readers a moment after the write that wakes us, so a change is looked for more than once. What the worker found
 * is read on the loop, after it; from the next step on it is the worker's again. */
#include "agent.h"
#include "base/breathe.h"
#include "base/clock.h"
#include "log.h"
#include <stdio.h>
#include <unistd.h>

#define LOOK_MS 2 /* after a change that showed nothing new so soon again, doubling LOOKS times */
#define LOOKS 4

static void on_look(uv_timer_t *timer) { indexer_look(timer->data); }

static void on_log_change(uv_fs_event_t *watch, const char *name, int events, int status);

static void watch_log(agent *a) {
  indexer *x = &a->indexer;
  if (a->exiting || uv_is_active((uv_handle_t *)&x->watch)) return;
  const bool ok = uv_fs_event_start(&x->watch, on_log_change, delivery_watch_path(a->delivery), 0) == 0;
  if (!ok && !x->watch_failed)
    log_line(LEVEL_WARN, "watch-failed", "changes of the log cannot be watched: looking once a second");
  x->watch_failed = !ok;
}

static void on_pause_over(uv_timer_t *timer) {
  agent *a = timer->data;
  watch_log(a); /* before the look, which sees what came without it; */
  a->indexer.looks = LOOKS; /* but for a commit that is published only now: see on_log_change */
  indexer_look(a);
}

static void pause_index(indexer *x, uint64_t ms) {
  uv_fs_event_stop(&x->watch);
  uv_timer_start(&x->pause, on_pause_over, ms, 0);
}

static void work(uv_work_t *request) {
  agent *a = request->data;
  indexer *x = &a->indexer;
  sl_breathes = indexer_gives_way(x);
  uint64_t watermark = 0, last = 0;
  sl_status st = sl_index_advance(a->store, INDEX_STEP, &watermark);
  if (st == SL_OK) st = sl_wait(a->store, UINT64_MAX - 1, 0, &last);
  if (st == SL_TIMEOUT) st = SL_OK; /* it was only a look */
  x->status = st;
  if (st != SL_OK) {
    snprintf(x->detail, sizeof x->detail, "%s", sl_last_detail());
    return;
  }
  x->indexed = watermark;
  x->last_seq = last > watermark ? last : watermark;
}

static void after(uv_work_t *request, int status) {
  agent *a = request->data;
  indexer *x = &a->indexer;
  x->busy = false;
  if (status != 0) return;
  if (x->status == SL_E_MISMATCH) { /* who starts it anew gives it the files that are there now */
    log_line(LEVEL_ERROR, "store-gone", "%s", x->detail);
    _exit(3);
  }
  if (x->status != SL_OK) {
    log_line(LEVEL_ERROR, "index-failed", "%s: %s", sl_status_text(x->status), x->detail);
    x->again = false;
    return; /* the tick tries again */
  }
  if (x->last_seq > x->told_last_seq) {
    x->told_last_seq = x->last_seq;
    x->looks = 0;
  } else if (x->looks > 0 && !uv_is_active((uv_handle_t *)&x->look)) {
    uv_timer_start(&x->look, on_look, (uint64_t)LOOK_MS << (LOOKS - x->looks--), 0);
  }
  const core_event seen = {.kind = EVENT_LOG, .last_seq = x->last_seq, .indexed_seq = x->indexed};
  bool more = x->again || x->indexed < x->last_seq;
  x->again = false;
  const uint64_t pause_ms =
      a->settings.drain ? 0 : index_pause_next(&x->rhythm, x->indexed, sl_clock_monotonic_us());
  if (pause_ms > 0) {
    pause_index(x, pause_ms);
  } else if (more) {
    indexer_look(a); /* from here on both are the worker's again */
  }
  agent_event(a, seen);
}

void indexer_look(agent *a) {
  indexer *x = &a->indexer;
  if (a->exiting || uv_is_active((uv_handle_t *)&x->pause)) return;
  if (x->busy) {
    x->again = true;
    return;
  }
  x->busy = true;
  x->work.data = a;
  if (uv_queue_work(&a->loop, &x->work, work, after) != 0) x->busy = false;
}

/* LMDB publishes a commit to readers a moment after the write that wakes us. A look in between sees nothing, and
 * no further change would come for a lone event: so a look that found nothing is followed by a few more. */
static void on_log_change(uv_fs_event_t *watch, const char *name, int events, int status) {
  (void)name;
  (void)events;
  agent *a = watch->data;
  if (status != 0) return;
  a->indexer.looks = LOOKS;
  indexer_look(a);
}

void indexer_init(agent *a) {
  indexer *x = &a->indexer;
  uv_timer_init(&a->loop, &x->look);
  uv_timer_init(&a->loop, &x->pause);
  uv_fs_event_init(&a->loop, &x->watch);
  x->look.data = x->pause.data = x->watch.data = a;
}

void indexer_start(agent *a) {
  watch_log(a);
  indexer_look(a);
}
